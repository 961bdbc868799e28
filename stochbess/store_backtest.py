"""Days of backtests that are done: one row per day and policy in an SQLite file of their own.

The key of a row says what it was computed from: configuration, data, code, information, policy, day
and the state that it began with. A row is there whole or not at all, so that a backtest that was
killed goes on behind its last row. Every row has a hash of its content and is checked against it
when it is read.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from stochbess.errors import StoreError
from stochbess.run_record import canonical_json
from stochbess.store_schema import store_errors

NAME = "backtests.sqlite"
_APPLICATION_ID = 0x53424254  # "SBBT"
_TABLE = """CREATE TABLE IF NOT EXISTS day (
    key TEXT PRIMARY KEY NOT NULL,
    backtest TEXT NOT NULL,
    policy TEXT NOT NULL,
    day TEXT NOT NULL,
    content_json TEXT NOT NULL,
    cpu_s REAL NOT NULL,
    record_sha256 TEXT NOT NULL
)"""


class BacktestStore:
    """Rows of backtests below one directory; several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.path = Path(root) / NAME
        with store_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=60.0, isolation_level=None)
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise

    def _open(self) -> None:
        (owner,) = self._connection.execute("PRAGMA application_id").fetchone()
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if owner != _APPLICATION_ID and (owner or tables):
            raise StoreError(
                f"{self.path} is an SQLite file of another program. Expected days of backtests; "
                "name another store (--store)."
            )
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(_TABLE)
        self._connection.execute("COMMIT")
        if owner != _APPLICATION_ID:
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        self._connection.close()

    def find(self, key: str) -> dict[str, Any] | None:
        """Content of the row with this key, or None.

        Raises
        ------
        StoreError : the row is not as it was stored
        """
        with store_errors(self.path):
            row = self._connection.execute(
                "SELECT backtest, policy, day, content_json, record_sha256 FROM day WHERE key = ?",
                (key,),
            ).fetchone()
        if row is None:
            return None
        *content, sha256 = row
        if record_sha256(key, *content) != sha256:
            raise StoreError(
                f"{self.path}: the row of {row[1]} on {row[2]} is not as it was stored: it no "
                "longer has the recorded SHA-256. Put back a copy of the file, or name another "
                "store (--store) and compute it again."
            )
        found: dict[str, Any] = json.loads(row[3])
        return found

    def add(
        self, key: str, backtest: str, policy: str, day: str, content: Mapping[str, Any],
        cpu_s: float,
    ) -> None:  # fmt: skip
        """Keep a row; one that is there already stays as it is.

        Raises
        ------
        StoreError : the file cannot be written
        """
        text = canonical_json(dict(content))
        sha256 = record_sha256(key, backtest, policy, day, text)
        with store_errors(self.path):
            self._connection.execute(
                "INSERT OR IGNORE INTO day VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key, backtest, policy, day, text, cpu_s, sha256),
            )

    def cpu_s(self, backtest: str) -> dict[str, float]:
        """Processor time per day of each policy of a backtest [s]."""
        with store_errors(self.path):
            rows = self._connection.execute(
                "SELECT policy, avg(cpu_s) FROM day WHERE backtest = ? GROUP BY policy", (backtest,)
            ).fetchall()
        return {str(policy): float(mean) for policy, mean in rows}


def record_sha256(key: str, backtest: str, policy: str, day: str, content_json: str) -> str:
    """Hash of a row."""
    text = canonical_json([key, backtest, policy, day, content_json])
    return hashlib.sha256(text.encode()).hexdigest()
