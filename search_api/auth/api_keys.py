"""API keys: a file of hashes that `marketlens keys` writes and the service follows."""

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

# Each contains those before it.
Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_BYTES = 32
_PREFIX = "mlk_"  # so that scanners for leaked secrets, and people, know what it is


class ApiKey(BaseModel):
    """What is kept of a key.

    SHA-256 without salt or stretching is right here, where it would be wrong for passwords: a key is 256 random bits,
    so nobody can try them all however fast the hash, no two are alike, and every request pays for the check.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    scope: Scope
    sha256: str
    created: datetime


class KeyFile(BaseModel):
    """The file. `secret` signs the addresses of photos: every process has to read the same."""

    secret: str = Field(min_length=1)
    keys: list[ApiKey] = []

    @classmethod
    def new(cls) -> "KeyFile":
        """One without keys."""
        return cls(secret=_new_secret())

    @classmethod
    def read(cls, path: Path) -> "KeyFile":
        """Read it. Raises InvalidSetting, FileNotFoundError."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise
        except (OSError, ValidationError) as error:
            # Not what pydantic says: it shows the values.
            raise InvalidSetting(
                f"{path} cannot be read as a file of API keys.",
                hint="Put it back from a backup, or delete it and make keys anew: marketlens keys create NAME",
            ) from error

    def write(self, path: Path) -> None:
        """Write it whole or not at all, for its owner alone. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path, per_process=True) as draft:
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(self.model_dump_json(indent=1))


def read_keys(path: Path) -> list[ApiKey]:
    """The keys that there are. Raises InvalidSetting."""
    return _read_or_new(path).keys


def create_key(path: Path, name: str, scope: Scope) -> str:
    """Make a key and keep its hash; what is returned is not kept anywhere. Raises InvalidSetting, OSError."""
    file = _read_or_new(path)
    if any(key.name == name for key in file.keys):
        raise InvalidSetting(
            f"There is a key {name!r} already.",
            hint=f"Choose another name, or revoke it first: marketlens keys revoke {name}",
        )
    token = _PREFIX + secrets.token_urlsafe(_BYTES)
    try:
        key = ApiKey(name=name, scope=scope, sha256=_hash(token), created=datetime.now(UTC))
    except ValidationError as error:
        raise InvalidSetting(f"{name!r} is no name for a key: up to 64 letters, digits, _, . and -.") from error
    file.keys.append(key)
    file.write(path)
    return token


def revoke_key(path: Path, name: str) -> None:
    """Forget a key. Raises NotFound, InvalidSetting, OSError."""
    file = _read_or_new(path)
    left = [key for key in file.keys if key.name != name]
    if left == file.keys:
        raise NotFound(f"There is no key {name!r} in {path}.", hint="marketlens keys list shows those that there are.")
    file.keys = left
    file.write(path)


def rotate_secret(path: Path) -> None:
    """End all addresses of photos that were given out; keys stay. Raises NotFound, InvalidSetting, OSError."""
    try:
        file = KeyFile.read(path)
    except FileNotFoundError as error:
        # Not made here: from the moment that there is a file, the service needs keys.
        raise NotFound(
            f"There is no key file at {path}, and without one addresses of photos have no signature.",
            hint="marketlens keys create NAME makes it.",
        ) from error
    file.secret = _new_secret()
    file.write(path)


class KeyRing:
    """The keys that the service knows. Follows the file, so that a revoked key ends at once. Safe for threads."""

    def __init__(self, path: Path, *, public: bool) -> None:
        """`public`: others than this machine can connect. Raises InvalidSetting."""
        self._path = path
        self._reading = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._file = KeyFile.new()
        self.required = public
        """Whether a request needs a key: from the moment that there is a file, whatever becomes of it."""
        with suppress(FileNotFoundError):
            KeyFile.read(path)
        self._follow()

    def find(self, token: str) -> ApiKey | None:
        """The key with this token; None for any other text. Takes the same time for all that is wrong."""
        self._follow()
        given, found = _hash(token), None
        for key in self._file.keys:
            if hmac.compare_digest(key.sha256, given):
                found = key
        return found

    @property
    def secret(self) -> str:
        """What the addresses of photos are signed with."""
        self._follow()
        return self._file.secret

    def _follow(self) -> None:
        with self._reading:
            try:
                status = self._path.stat()
                seen = (status.st_mtime_ns, status.st_size, status.st_ino)
                if seen != self._seen:
                    self._seen, self.required = seen, True
                    self._file = KeyFile.read(self._path)
            except FileNotFoundError:
                self._seen = ()  # put back as it was, it is read again
                self._close()
            except InvalidSetting as error:
                logger.error("%s %s", error.message, error.hint)
                self._close()

    def _close(self) -> None:
        """Know no key: a file that is lost or damaged lets nobody in."""
        self._file = self._file.model_copy(update={"keys": []})


def is_public(host: str) -> bool:
    """Whether a service on this address can be reached from other machines."""
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
