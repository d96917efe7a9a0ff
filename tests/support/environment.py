"""The environment of the developer who runs the tests."""

import os


def forget_settings() -> None:
    """Delete the developer's settings: they are for the developer's catalogue, not for tests and their commands."""
    for name in [name for name in os.environ if name.upper().startswith("MARKETLENS_")]:
        if not name.upper().startswith("MARKETLENS_TEST_"):
            del os.environ[name]
