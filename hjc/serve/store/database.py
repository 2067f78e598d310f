"""Opening a store: SQLite (a file) or PostgreSQL (a URL), brought to the newest schema."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine

#: seconds that a writer waits for another one
BUSY = 20


def url_of(spec: str) -> sa.URL:
    """The URL of a store: as given, or of a SQLite file.

    Raises:
        ValueError: a database that the store does not run on.
    """
    if "://" not in spec:
        return sa.URL.create("sqlite", database=spec)
    url = sa.make_url(spec)
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(f"store: got a {url.get_backend_name()} URL, allowed are a file (SQLite) or postgresql://...")
    return url


class Store:
    """An open store. Transactions come from :meth:`write` and :meth:`read`; both end whole or not at all."""

    def __init__(self, spec: str | Path) -> None:
        self.url = url_of(str(spec))
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._writing = threading.Lock()
        self.engine = _engine(self.url, self.is_sqlite)
        try:
            self._migrate()
        except sa.exc.OperationalError as error:
            raise OSError(f"store {self.label}: cannot be opened ({error.orig}); is the path or URL right?") from error
        except sa.exc.DatabaseError as error:
            raise ValueError(
                f"store {self.label}: {error.orig}; give a file that hjc serve made, or a new name"
            ) from error

    @property
    def label(self) -> str:
        """The URL without a password, or the file."""
        return str(self.url.database) if self.is_sqlite else self.url.render_as_string(hide_password=True)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes. On the disk when it ends well, undone when it raises."""
        if not self.is_sqlite:
            with self.engine.begin() as connection:
                yield connection
            return
        # one writer at a time: threads of this process wait here, in turn, instead of polling the file
        with self._writing, self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view of the store."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self.engine.dispose()

    def _migrate(self) -> None:
        if self.is_sqlite and self.url.database not in (None, "", ":memory:"):
            Path(str(self.url.database)).parent.mkdir(parents=True, exist_ok=True)
        config = alembic_config()
        with self.write() as connection:
            if not self.is_sqlite:  # two servers that start at once
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7241)"))
            check_version(connection, config)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def alembic_config() -> Config:
    """Where the migrations lie, also in an installed wheel."""
    config = Config()
    config.set_main_option("script_location", "hjc.serve.store:migrations")
    return config


def check_version(connection: Connection, config: Config) -> None:
    """Raise ValueError where a newer hjc wrote the store, or it is another program's database."""
    tables = set(sa.inspect(connection).get_table_names())
    if "alembic_version" not in tables:
        if tables & {"ads", "decisions", "users"}:
            raise ValueError("store: the database has tables of another program; give a new name")
        return
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if unknown := [name for name in found if name not in known]:
        raise ValueError(f"store: a newer hjc wrote it (schema {unknown[0]}): upgrade hjc")


def _engine(url: sa.URL, is_sqlite: bool) -> Engine:
    if not is_sqlite:
        try:
            return sa.create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=10, hide_parameters=True)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f'a store in PostgreSQL needs psycopg: pip install "hjc[postgres]" ({error})'
            ) from None
    # hide_parameters: no text of an ad in the message of an error, and so in a log
    engine = sa.create_engine(
        url, hide_parameters=True, connect_args={"timeout": BUSY, "check_same_thread": False}, pool_size=10,
        max_overflow=30, poolclass=sa.pool.QueuePool,
    )  # fmt: skip

    @sa.event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        # FULL: what was answered is on the disk. secure_delete: an erased text is overwritten, not only unlinked
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON",
                       f"busy_timeout={BUSY * 1000}"):  # fmt: skip
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
