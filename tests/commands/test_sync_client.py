"""The synchronous client is generated from the asynchronous one."""

from tests.support.sync_client import FOLDER, TARGET, generate_client


def test_both_clients_are_equal() -> None:
    """client.py is what `make client` generates from async_client.py."""
    assert (FOLDER / TARGET).read_text(encoding="utf-8") == generate_client(), (
        "Run `make client`, and commit client.py."
    )
