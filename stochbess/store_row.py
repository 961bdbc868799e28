"""Rows of the store's database, read back only if they are the ones that were written.

Every run has in `record_sha256` the SHA-256 of its row and of the rows of its frames, and those
hold the hashes of the files: one digit that is changed anywhere is found. It guards against an
editor, a script or a disk, not against somebody who computes the hash anew.

Whether a run is done is part of the hash. Which way it is not done (running, interrupted, failed)
is not, nor who computes it: both change without the run being written again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date, datetime
from pathlib import Path
from typing import Any

from stochbess.clock import now_utc
from stochbess.errors import StoreError
from stochbess.run_record import RunRecord, canonical_json

FIELDS = tuple(field.name for field in fields(RunRecord))
# What the hash covers besides `done`. Another list means another schema version.
_HASHED = (
    "run_id", "created_utc", "formulation", "zone", "day", "synthetic", "config_json",
    "config_sha256", "data_sha256", "code_sha256", "seed", "engine", "facts_json", "volatile_json",
    "reproducible", "directory",
)  # fmt: skip
_READ = (*FIELDS, "directory", "record_sha256")
_SELECT = f"SELECT {', '.join(_READ)} FROM run "  # noqa: S608 - our own column names
_FRAMES = "SELECT name, sha256, n_bytes FROM frame WHERE run_id = ? ORDER BY name"


@dataclass(frozen=True)
class StoredRow:
    """A run in the database: its columns as SQLite holds them, and frame name -> (sha256, size)."""

    columns: Mapping[str, Any]
    frames: Mapping[str, tuple[str, int]]

    @property
    def is_sound(self) -> bool:
        """Whether this is what was written."""
        return bool(row_sha256(self.columns, self.frames) == self.columns["record_sha256"])

    def record(self, file: Path) -> RunRecord:
        """The run that was stored.

        Raises
        ------
        StoreError : the row or a frame's row was changed after it was written
        """
        if not self.is_sound:
            raise StoreError(
                f"{file}: run {str(self.columns['run_id'])[:100]!r} is not as it was stored: its "
                "record no longer has the recorded SHA-256, so nothing of it is shown. Put back a "
                "copy of the store, or compute the run again with --force."
            )
        values = {name: self.columns[name] for name in FIELDS}
        values["created_utc"] = datetime.fromisoformat(values["created_utc"])
        values["day"] = date.fromisoformat(values["day"])
        values["seed"] = int(values["seed"])
        for name in ("synthetic", "reproducible"):
            values[name] = bool(values[name])
        return RunRecord(**values)


def row_sha256(columns: Mapping[str, Any], frames: Mapping[str, tuple[str, int]]) -> str:
    """Hash of a row and of its frames; empty for values that no store writes."""
    content = {name: columns[name] for name in _HASHED}
    content["done"] = columns["status"] == "done"
    content["frames"] = [[name, *frames[name]] for name in sorted(frames)]
    try:
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()
    except (TypeError, ValueError):  # bytes or infinity, by another hand
        return ""


def read_row(connection: sqlite3.Connection, run_id: str) -> StoredRow | None:
    """The row with exactly this id, unchecked; None if there is none."""
    found = read_rows(connection, "WHERE run_id = ?", (run_id,))
    return found[0] if found else None


def read_rows(
    connection: sqlite3.Connection, rest: str, values: tuple[Any, ...]
) -> list[StoredRow]:
    """Rows for the end of a SELECT statement, unchecked, with their frames of the same moment."""
    with _one_moment(connection):
        rows = [
            dict(zip(_READ, row, strict=True))
            for row in connection.execute(_SELECT + rest, values).fetchall()
        ]
        return [
            StoredRow(
                row,
                {
                    name: (sha256, n_bytes)
                    for name, sha256, n_bytes in connection.execute(_FRAMES, (row["run_id"],))
                },
            )
            for row in rows
        ]


@contextmanager
def _one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """Several questions, one answer: nobody's commit comes between them."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def hash_old_rows(connection: sqlite3.Connection) -> None:
    """Migration to schema version 2: every row gets the hash of what it holds by now.

    What was changed before cannot be found any more; `volatile_json` says so.
    """
    when = f"{now_utc():%Y-%m-%d %H:%MZ}"
    note = f"computed {when} when the store was migrated; changes before that are not found"
    connection.execute("UPDATE run SET record_sha256 = ''")
    for row in read_rows(connection, "ORDER BY run_id", ()):
        columns = {**row.columns, "volatile_json": _noted(row.columns["volatile_json"], note)}
        connection.execute(
            "UPDATE run SET volatile_json = ?, record_sha256 = ? WHERE run_id = ?",
            (columns["volatile_json"], row_sha256(columns, row.frames), columns["run_id"]),
        )


def _noted(volatile_json: Any, note: str) -> Any:
    """The text with one more entry; what is no JSON object stays, its run is refused at reading."""
    try:
        volatile = json.loads(volatile_json)
        return canonical_json({**volatile, "record_hash": note})
    except (TypeError, ValueError):
        return volatile_json
