"""The database of the verdicts: connections, migration, and translation of its errors into domain errors."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from catalog.errors import InvalidSetting, MarketlensError, OutputFailed, VerdictsUnavailable
from catalog.extras import needs

_SETTING = "MARKETLENS_VERDICTS__URL"
_EXAMPLES = "sqlite:///data/verdicts.db or postgresql://user:password@host/database"
_WAIT_SECONDS = 10
_LOCK = 0x6D6C76657264  # PostgreSQL's advisory lock for the migration: "mlverd"
# Messages of SQLite and PostgreSQL when writing fails although reading works.
_READ_ONLY = ("readonly database", "read-only", "database or disk is full", "permission denied", "no space left")
_migrating = threading.Lock()  # Alembic's context belongs to the process


class Database:
    """Connections to one database. Thread-safe."""

    def __init__(self, url: str) -> None:
        """Check the address; nothing is opened yet. Raises InvalidSetting."""
        self._url = _parse_url(url)
        self.uri_without_password = make_url(url).render_as_string(hide_password=True)
        self._engine = _engine(self._url)
        self._is_current = False

    def migrate(self) -> None:
        """Migrate the tables if needed; of several processes at the same time, one migrates and the others wait.

        Raises VerdictsUnavailable, OutputFailed.
        """
        if self._is_current:
            return
        with _migrating, self._translated():
            if self._url.get_backend_name() == "sqlite":
                _make_folder(str(self._url.database))
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
            with self._engine.connect() as connection:  # only reads, so it works on a read-only database too
                is_current = _revision(connection) == ScriptDirectory.from_config(config).get_current_head()
            if not is_current:
                with self._begin() as connection:
                    if connection.dialect.name == "postgresql":
                        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
        self._is_current = True

    @contextmanager
    def read_connection(self) -> Iterator[Connection]:
        """Yield a connection for reading. Raises VerdictsUnavailable."""
        self.migrate()
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write_transaction(self) -> Iterator[Connection]:
        """Yield a connection in a transaction, committed at the end. Raises VerdictsUnavailable, OutputFailed."""
        self.migrate()
        with self._translated(), self._begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise  # another writer was first; the caller handles it
        except (SQLAlchemyError, OSError) as error:
            raise self._domain_error(error) from error
        except CommandError as error:
            raise VerdictsUnavailable(
                f"The verdicts in {self.uri_without_password} were written by another version of marketlens: {error}",
                hint=f"Run the newer version, or name another database with {_SETTING}.",
            ) from error

    def _domain_error(self, error: Exception) -> MarketlensError:
        message = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        if any(words in message.lower() for words in _READ_ONLY):
            return OutputFailed(
                f"The verdicts in {self.uri_without_password} cannot be written: {message}",
                hint=f"Is there room, and may this user write there? {_SETTING} names another database.",
            )
        return VerdictsUnavailable(
            f"The verdicts in {self.uri_without_password} cannot be reached: {message}",
            hint=f"Is the database up, and the address right? {_SETTING} names another database: {_EXAMPLES}",
        )


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        # SQLAlchemy's message is left out: it shows the address with its password.
        raise InvalidSetting(
            f"{_SETTING} is not the address of a database.", hint=f"Write it like {_EXAMPLES}"
        ) from error
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        return parsed.set(drivername="sqlite+pysqlite")
    if backend in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    what = "a database in memory, which ends with the process" if backend == "sqlite" else f"a {backend} database"
    raise InvalidSetting(f"{_SETTING} names {what}.", hint=f"Verdicts are kept in {_EXAMPLES}")


def _engine(url: URL) -> Engine:
    is_sqlite = url.get_backend_name() == "sqlite"
    wait = {"timeout" if is_sqlite else "connect_timeout": _WAIT_SECONDS}
    with needs("postgres"):
        engine = create_engine(url, pool_pre_ping=True, connect_args=wait)
    if is_sqlite:
        # As SQLAlchemy's documentation recommends, the driver starts no transactions itself. Ours take the write lock
        # at the start, because SQLite refuses two transactions that read first and write later.
        event.listen(engine, "connect", _disable_driver_transactions)
        event.listen(engine, "begin", _begin_on_sqlite)
    return engine


def _make_folder(database: str) -> None:
    if not database.startswith("file:"):  # SQLite's URIs, which say how to open an existing file
        Path(database).parent.mkdir(parents=True, exist_ok=True)


def _disable_driver_transactions(connection: Any, _: object) -> None:
    connection.isolation_level = None


def _begin_on_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
