"""`marketlens keys`."""

from pathlib import Path

from search_api.auth.api_keys import KeyFile, KeyRing
from tests.support.commands import RunHere


def test_keys_by_command(tmp_path: Path, run_here: RunHere) -> None:
    """Made, listed, revoked; the key alone goes to stdout, so that a script can take it. The secret is changed."""
    path = tmp_path / "data" / "api-keys.json"
    assert run_here("keys", "rotate-secret", cwd=tmp_path).returncode == 2
    assert not path.exists(), "a key file that nobody asked for would close a service"
    made = run_here("keys", "create", "shop", "--scope", "write", cwd=tmp_path)
    token = made.stdout.strip()
    assert (made.returncode, len(token.split())) == (0, 1)
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
