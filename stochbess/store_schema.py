"""The SQLite file under the store of runs: its schema, its opening, and what its errors mean."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stochbess.clock import monotonic_s
from stochbess.errors import StoreError
from stochbess.store_row import hash_old_rows

_APPLICATION_ID = 0x53424553  # "SBES": tells a store from any other program's SQLite file

Step = str | Callable[[sqlite3.Connection], None]
# Migration k takes a store from schema version k to k + 1. Never edit one that was released.
MIGRATIONS: tuple[tuple[Step, ...], ...] = (
    (
        """CREATE TABLE run (
            run_id TEXT PRIMARY KEY NOT NULL,
            created_utc TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('running', 'done', 'interrupted', 'failed')),
            formulation TEXT NOT NULL,
            zone TEXT NOT NULL,
            day TEXT NOT NULL,
            synthetic INTEGER NOT NULL CHECK (synthetic IN (0, 1)),
            config_json TEXT NOT NULL,
            config_sha256 TEXT NOT NULL,
            data_sha256 TEXT NOT NULL,
            code_sha256 TEXT NOT NULL,
            seed TEXT NOT NULL,
            engine TEXT NOT NULL,
            facts_json TEXT NOT NULL,
            volatile_json TEXT NOT NULL,
            reproducible INTEGER NOT NULL CHECK (reproducible IN (0, 1)),
            directory TEXT,
            owner_host TEXT NOT NULL,
            owner_pid INTEGER NOT NULL
        )""",
        "CREATE INDEX run_by_age ON run (created_utc DESC, run_id)",
        """CREATE TABLE frame (
            run_id TEXT NOT NULL REFERENCES run (run_id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            n_bytes INTEGER NOT NULL,
            PRIMARY KEY (run_id, name)
        )""",
    ),
    ("ALTER TABLE run ADD COLUMN record_sha256 TEXT NOT NULL DEFAULT ''", hash_old_rows),
)

_ADVICE = {
    "SQLITE_BUSY": "Another process is writing; repeat when it has ended.",
    "SQLITE_READONLY": "Make the directory writable, or set report.store_dir to one that is.",
    "SQLITE_CANTOPEN": "Check that the directory exists and that you may read and write it.",
    "SQLITE_FULL": "Free some space; nothing of this run was stored.",
    "SQLITE_IOERR": "Check the disk and its free space; nothing of this run was stored.",
    "SQLITE_NOTADB": "Move the file away, or set report.store_dir to another directory.",
    "SQLITE_CORRUPT": "The file is damaged; put back a copy, or move it away and repeat the runs.",
}
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into a StoreError that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "")
        advice = next((text for key, text in _ADVICE.items() if code.startswith(key)), "")
        raise StoreError(f"{path}: {error} ({code or 'SQLite'}). {advice}".rstrip()) from error
    except OSError as error:
        advice = _ADVICE["SQLITE_FULL" if error.errno in _NO_SPACE else "SQLITE_CANTOPEN"]
        raise StoreError(f"{error.filename or path}: {error.strerror}. {advice}") from error


@contextmanager
def write_lock(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold SQLite's write lock; commit at the end, roll back if anything is raised."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def open_database(file: Path, read_only: bool, busy_timeout_s: float) -> sqlite3.Connection:
    """Open the store's file, made or migrated as needed.

    Parameters
    ----------
    file : the SQLite file; its directory is made if missing, unless `read_only`
    read_only : change nothing, not even the schema version
    busy_timeout_s : how long to wait for another process that is writing [s]

    Raises
    ------
    StoreError : missing (when `read_only`), foreign, damaged, from a newer release, or not writable
    """
    with store_errors(file):
        connection = _connect(file, read_only, busy_timeout_s)
        try:
            _refuse_what_is_not_ours(connection, file, read_only)
            if not read_only:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                _refuse_damage(connection, file)
                _use_write_ahead_log(connection, busy_timeout_s)
                _migrate(connection, file)
        except BaseException:
            connection.close()
            raise
    return connection


def _connect(file: Path, read_only: bool, busy_timeout_s: float) -> sqlite3.Connection:
    mode = "rwc"
    if read_only:
        if not file.is_file():
            raise StoreError(
                f"{file}: no runs are stored here. Expected a store made by `stochbess solve`; "
                "check report.store_dir."
            )
        # Beside a file in a directory that we may not write to, SQLite cannot make the index of
        # its log; without a log there is nothing that such an index would have to find.
        log = file.with_name(file.name + "-wal")
        frozen = not os.access(file.parent, os.W_OK) and not log.exists()
        mode = "ro&immutable=1" if frozen else "ro"
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
    uri = f"{file.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, isolation_level=None)


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _refuse_what_is_not_ours(connection: sqlite3.Connection, file: Path, read_only: bool) -> None:
    """Look before anything is written."""
    connection.execute("BEGIN")  # one snapshot for the three answers
    owner, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    (n_tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    connection.execute("COMMIT")
    if owner != _APPLICATION_ID and (owner or version or n_tables):
        raise StoreError(
            f"{file} is an SQLite file of another program. Expected a store of stochbess; "
            "set report.store_dir to another directory."
        )
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{file} has schema version {version}, made by a newer stochbess; this one knows "
            f"versions up to {len(MIGRATIONS)}. Upgrade stochbess, or set report.store_dir to "
            "another directory."
        )
    if read_only and version < len(MIGRATIONS):
        raise StoreError(
            f"{file} has schema version {version}, expected {len(MIGRATIONS)}. Open it once for "
            "writing (any `stochbess solve`) to migrate it."
        )


def _refuse_damage(connection: sqlite3.Connection, file: Path) -> None:
    (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if finding != "ok":
        first = finding.splitlines()[-1]
        raise StoreError(f"{file}: {first}. {_ADVICE['SQLITE_CORRUPT']}")


def _use_write_ahead_log(connection: sqlite3.Connection, busy_timeout_s: float) -> None:
    """Switch the journal mode; SQLite does not wait by itself while others have the file open."""
    deadline_s = monotonic_s() + busy_timeout_s
    while _pragma(connection, "journal_mode") != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic_s() > deadline_s:
                raise
            time.sleep(0.01)


def _migrate(connection: sqlite3.Connection, file: Path) -> None:
    version = _pragma(connection, "user_version")
    if version == len(MIGRATIONS):
        return
    if version > 0:
        copy = file.with_name(f"{file.name}.v{version}.bak")
        partial = file.with_name(f"{copy.name}.{os.getpid()}")
        with sqlite3.connect(partial) as target:
            connection.backup(target)
        target.close()
        partial.replace(copy)
    with write_lock(connection):
        # Another process may have been faster; what counts is the version under the lock.
        for number in range(_pragma(connection, "user_version"), len(MIGRATIONS)):
            for step in MIGRATIONS[number]:
                if isinstance(step, str):
                    connection.execute(step)
                else:
                    step(connection)
            connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
