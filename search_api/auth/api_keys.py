"""API keys: a file of hashes that `marketlens keys` writes and the service reloads when it changes."""

import hashlib
import hmac
import logging
import os
import secrets
import threading
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, Field, ValidationError

from catalog.atomic_files import replace_file
from catalog.errors import InvalidSetting, NotFound

logger = logging.getLogger("marketlens.api")

# Each scope includes those before it.
Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_BYTES = 32
_PREFIX = "mlk_"  # so that people and scanners for leaked secrets recognise a key


class ApiKey(BaseModel):
    """A key as stored.

    SHA-256 without salt or stretching is right here, although it would be wrong for passwords: a key is 256 random
    bits, so nobody can try them all however fast the hash is, no two are equal, and every request pays for the check.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    scope: Scope
    sha256: str
    created: datetime


class KeyFile(BaseModel):
    """The key file. `secret` signs photo URLs, so every process must read the same one."""

    secret: str = Field(min_length=1)
    keys: list[ApiKey] = []

    @classmethod
    def new(cls) -> "KeyFile":
        """Return a file without keys."""
        return cls(secret=_new_secret())

    @classmethod
    def read(cls, path: Path) -> "KeyFile":
        """Read the file. Raises InvalidSetting, FileNotFoundError."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise
        except (OSError, ValidationError) as error:
            # Without pydantic's message: it shows the values.
            raise InvalidSetting(
                f"{path} cannot be read as a file of API keys.",
                hint="Restore it from a backup, or delete it and create new keys: marketlens keys create NAME",
            ) from error

    def write(self, path: Path) -> None:
        """Write the file atomically, readable by its owner only. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path, per_process=True) as draft:
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(self.model_dump_json(indent=1))


def read_keys(path: Path) -> list[ApiKey]:
    """Return all keys. Raises InvalidSetting."""
    return _read_or_new(path).keys


def create_key(path: Path, name: str, scope: Scope) -> str:
    """Create a key, store its hash and return the key, which is stored nowhere. Raises InvalidSetting, OSError."""
    file = _read_or_new(path)
    if any(key.name == name for key in file.keys):
        raise InvalidSetting(
            f"The key {name!r} already exists.",
            hint=f"Choose another name, or revoke it first: marketlens keys revoke {name}",
        )
    token = _PREFIX + secrets.token_urlsafe(_BYTES)
    try:
        key = ApiKey(name=name, scope=scope, sha256=_hash(token), created=datetime.now(UTC))
    except ValidationError as error:
        raise InvalidSetting(f"{name!r} is not a valid key name: use up to 64 letters, digits, _, . and -.") from error
    file.keys.append(key)
    file.write(path)
    return token


def revoke_key(path: Path, name: str) -> None:
    """Delete a key. Raises NotFound, InvalidSetting, OSError."""
    file = _read_or_new(path)
    remaining = [key for key in file.keys if key.name != name]
    if remaining == file.keys:
        raise NotFound(f"There is no key {name!r} in {path}.", hint="marketlens keys list shows all keys.")
    file.keys = remaining
    file.write(path)


def rotate_secret(path: Path) -> None:
    """Invalidate all signed photo URLs; keys stay valid. Raises NotFound, InvalidSetting, OSError."""
    try:
        file = KeyFile.read(path)
    except FileNotFoundError as error:
        # Do not create the file here: once it exists, the service requires keys.
        raise NotFound(
            f"There is no key file at {path}; without one, photo URLs have no signature.",
            hint="marketlens keys create NAME creates it.",
        ) from error
    file.secret = _new_secret()
    file.write(path)


class KeyRing:
    """The keys that the service accepts. Reloads a changed file, so revoking takes effect at once. Thread-safe."""

    def __init__(self, path: Path, *, public: bool) -> None:
        """`public`: other machines can connect. Raises InvalidSetting."""
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] = ()
        self._file = KeyFile.new()
        self.required = public
        """Whether a request needs a key: always if public, else once the file exists, even if it is lost later."""
        with suppress(FileNotFoundError):
            KeyFile.read(path)
        self._reload()

    def find(self, token: str) -> ApiKey | None:
        """Return the key with this token, or None. Takes the same time for every wrong token."""
        self._reload()
        token_hash, found = _hash(token), None
        for key in self._file.keys:
            if hmac.compare_digest(key.sha256, token_hash):
                found = key
        return found

    @property
    def secret(self) -> str:
        """The secret that signs photo URLs."""
        self._reload()
        return self._file.secret

    def _reload(self) -> None:
        with self._lock:
            try:
                status = self._path.stat()
                stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
                if stamp != self._stamp:
                    self._stamp, self.required = stamp, True
                    self._file = KeyFile.read(self._path)
            except FileNotFoundError:
                self._stamp = ()  # so that a restored file is read again
                self._drop_keys()
            except InvalidSetting as error:
                logger.error("%s %s", error.message, error.hint)
                self._drop_keys()

    def _drop_keys(self) -> None:
        """Accept no key: a lost or damaged file lets nobody in."""
        self._file = self._file.model_copy(update={"keys": []})


def is_public(host: str) -> bool:
    """Whether other machines can reach a service on this address."""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def _read_or_new(path: Path) -> KeyFile:
    try:
        return KeyFile.read(path)
    except FileNotFoundError:
        return KeyFile.new()


def _new_secret() -> str:
    return secrets.token_urlsafe(_BYTES)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()
