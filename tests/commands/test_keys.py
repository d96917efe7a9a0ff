"""`marketlens keys`."""

from pathlib import Path

from search_api.auth.api_keys import KeyFile, KeyRing
from tests.support.commands import RunHere


def test_keys_by_command(tmp_path: Path, run_here: RunHere) -> None:
    """Create, list and revoke a key, and rotate the secret. Only the key goes to stdout, so a script can read it."""
    path = tmp_path / "data" / "api-keys.json"
    assert run_here("keys", "rotate-secret", cwd=tmp_path).returncode == 2
    assert not path.exists(), "a key file created by accident would make a running service require keys"
    created = run_here("keys", "create", "shop", "--scope", "write", cwd=tmp_path)
    token = created.stdout.strip()
    assert (created.returncode, len(token.split())) == (0, 1)
    assert KeyRing(path, public=True).find(token).name == "shop"
    before = KeyFile.read(path)
    assert run_here("keys", "rotate-secret", cwd=tmp_path).returncode == 0
    after = KeyFile.read(path)
    assert (after.keys, after.secret != before.secret) == (before.keys, True)
    listed = run_here("keys", "list", cwd=tmp_path).stdout
    assert "shop" in listed
    assert "write" in listed
    assert token not in listed + path.read_text()
    assert run_here("keys", "revoke", "shop", cwd=tmp_path).returncode == 0
    assert KeyRing(path, public=True).find(token) is None
    assert run_here("keys", "revoke", "shop", cwd=tmp_path).returncode == 2
