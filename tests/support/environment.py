"""The settings of whoever runs the tests."""

import os


def forget_settings() -> None:
    """What the developer has set is for the developer's catalogue: no test, nor a command that it starts, uses it."""
    for name in [name for name in os.environ if name.upper().startswith("MARKETLENS_")]:
        if not name.upper().startswith("MARKETLENS_TEST_"):
            del os.environ[name]
