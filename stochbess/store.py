"""The store of runs: SQLite for the records, Parquet beside it for the frames.

    root/stochbess.sqlite                 one row a run, one row a frame (name, sha256, size)
    root/runs/<run_id>/<name>.parquet
    root/quarantine/<run_id>.<n>/         damaged results that a repetition has replaced

A run is whole or it is not there. `save` writes the frames to a temporary directory, forces them to
disk, renames the directory and then commits the row, all under SQLite's write lock: whoever holds
that lock knows that a `.tmp-*` directory has no living owner. What a kill leaves behind is removed
at the next opening. This has been tested against killed processes, not against a loss of power.

The row of a run has a hash over itself and over the hashes of its frames (`store_row`). Whatever is
read has been checked against it.

A run is known by what it was computed from (`run_id`), so that saving it twice stores it once.
Times, hosts and other things that change between identical runs live in `volatile_json` and
`created_utc`, outside the identity. The write-ahead log needs a local file system.

Every failure is a `StoreError` (exit code 6) that names the file and says what to do.
"""

from __future__ import annotations

import builtins
import hashlib
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Self

import pandas as pd

from stochbess.errors import StoreError
from stochbess.frame_bytes import from_parquet_bytes, to_parquet_bytes
from stochbess.run_record import (
    STATUSES,
    RunRecord,
    canonical_json,
    check_name,
    code_sha256,
    run_id,
)
from stochbess.store_files import (
    TEMPORARY,
    clear_superseded,
    read_frame_file,
    remove,
    sync_directory,
    write_temporary,
)
from stochbess.store_row import FIELDS, StoredRow, read_row, read_rows, row_sha256
from stochbess.store_schema import open_database, store_errors, write_lock

__all__ = ["RunRecord", "Store", "canonical_json", "code_sha256", "run_id"]

DATABASE_NAME = "stochbess.sqlite"
_COLUMNS = (*FIELDS, "directory", "owner_host", "owner_pid", "record_sha256")
_INSERT = (
    f"INSERT INTO run ({', '.join(_COLUMNS)}) "  # noqa: S608 - our own column names
    f"VALUES ({', '.join(':' + name for name in _COLUMNS)})"
)


class Store:
    """The runs below one directory.

    Parameters
    ----------
    root : directory of the store; made if missing, unless `read_only`
    read_only : look only. Nothing is created, repaired or migrated, and the directory may be one
        that this user cannot write to.
    busy_timeout_s : how long to wait for another process that is writing [s]

    Raises
    ------
    StoreError : the directory or the file in it cannot be used as a store
    """

    def __init__(
        self, root: Path, *, read_only: bool = False, busy_timeout_s: float = 30.0
    ) -> None:
        self.root = Path(root)
        self.read_only = read_only
        self._database = self.root / DATABASE_NAME
        self._runs = self.root / "runs"
        self._connection = open_database(self._database, read_only, busy_timeout_s)
        if not read_only:
            try:
                self._sweep()
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; the store cannot be used afterwards."""
        self._connection.close()

    # ------------------------------------------------------------------ writing

    def begin(self, record: RunRecord) -> None:
        """Note that a run has begun: status running. A run that is done stays as it is."""
        with self._writing():
            held = read_row(self._connection, record.run_id)
            if held is None or held.columns["status"] != "done":
                self._insert(replace(record, status="running"), None, {})

    def mark(self, run_id: str, status: str) -> None:
        """Set the status of a run that is not done: running, interrupted or failed.

        A run that is done stays done, whatever befalls a repetition of it; only `save` makes one.
        """
        if status not in STATUSES or status == "done":
            raise StoreError(
                f"run {run_id} cannot be marked {status!r}. Expected running, interrupted or "
                "failed; a run becomes done when its results are saved."
            )
        with self._writing():
            known = self._full_id(run_id)
            self._connection.execute(
                "UPDATE run SET status = ? WHERE run_id = ? AND status != 'done'", (status, known)
            )

    @contextmanager
    def running(self, record: RunRecord) -> Iterator[None]:
        """`begin` the run and, if the block is left by an exception, mark how it ended.

        Ctrl-C and SystemExit leave it interrupted, anything else failed.
        """
        self.begin(record)
        try:
            yield
        except BaseException as error:
            self.mark(record.run_id, "failed" if isinstance(error, Exception) else "interrupted")
            raise

    def save(
        self, record: RunRecord, frames: Mapping[str, pd.DataFrame], *, overwrite: bool = False
    ) -> None:
        """Store a run with its frames, whole or not at all; its status becomes done.

        Parameters
        ----------
        record : the run
        frames : tables by name. Column labels are strings; the index is kept (a default RangeIndex
            is not stored). NaN stays NaN. Equal frames give equal bytes.
        overwrite : replace the results of a run that is done; if they are damaged, they are kept
            in `quarantine`. Otherwise saving it again changes nothing: the same identity means the
            same results.

        Raises
        ------
        StoreError : a name or a frame that cannot be stored, the disk refuses, or (unless
            `overwrite`) the run is stored and was changed since; nothing changes
        """
        files = {
            check_name(name, "frame name"): to_parquet_bytes(name, frames[name])
            for name in sorted(frames)
        }
        if len({name.lower() for name in files}) < len(files):
            raise StoreError(
                f"frames of run {record.run_id} differ only by upper and lower case, which some "
                f"file systems do not tell apart: {', '.join(sorted(frames))}. Rename one."
            )
        with self._writing():
            held = read_row(self._connection, record.run_id)
            done = held is not None and held.columns["status"] == "done"
            if held is not None and done and not overwrite:
                held.record(self._database)
                return
            directory = self._publish(record.run_id, files)
            self._insert(replace(record, status="done"), directory, files)
        if held is not None and done:
            with store_errors(self._runs):
                clear_superseded(self.root, held)

    # ------------------------------------------------------------------ reading

    def get(self, run_id: str) -> RunRecord:
        """The record of a run, by its id or by a unique beginning of it."""
        return self._row(run_id).record(self._database)

    def find(self, run_id: str) -> RunRecord | None:
        """The record with exactly this id, or None."""
        with store_errors(self._database):
            row = read_row(self._connection, run_id)
        return None if row is None else row.record(self._database)

    def list(self, limit: int | None = None) -> builtins.list[RunRecord]:
        """Records from the newest to the oldest, at most `limit` of them."""
        with store_errors(self._database):
            rows = read_rows(
                self._connection,
                "ORDER BY created_utc DESC, run_id LIMIT ?",
                (-1 if limit is None else limit,),
            )
        return [row.record(self._database) for row in rows]

    def frame_names(self, run_id: str) -> tuple[str, ...]:
        """Names of the frames of a run, sorted."""
        row = self._row(run_id)
        row.record(self._database)
        return tuple(row.frames)

    def frame(self, run_id: str, name: str) -> pd.DataFrame:
        """One frame of a run, after row and bytes have been checked against the recorded hashes."""
        row = self._row(run_id)
        known = row.record(self._database).run_id
        if name not in row.frames:
            names = ", ".join(row.frames) or "none"
            raise StoreError(f"run {known} has no frame {name!r}. It has: {names}.")
        path = self._runs / str(row.columns["directory"]) / f"{name}.parquet"
        return from_parquet_bytes(read_frame_file(path, row.frames[name][0]))

    def frames(self, run_id: str) -> dict[str, pd.DataFrame]:
        """All frames of a run by name."""
        return {name: self.frame(run_id, name) for name in self.frame_names(run_id)}

    def _sweep(self) -> None:
        """Remove what killed processes left, and call their runs interrupted."""
        orphans = [*self._runs.glob(f"{TEMPORARY}*")]
        owners = self._connection.execute(
            "SELECT run_id, owner_pid FROM run WHERE status = 'running' AND owner_host = ?",
            (socket.gethostname(),),
        ).fetchall()
        dead = [(run_id,) for run_id, pid in owners if not _is_alive(pid)]
        if not orphans and not dead:
            return
        with self._writing():
            # Under the lock nobody is between a temporary directory and its name. Look again.
            for path in self._runs.glob(f"{TEMPORARY}*"):
                remove(path)
            self._connection.executemany(
                "UPDATE run SET status = 'interrupted' WHERE run_id = ? AND status = 'running'",
                dead,
            )

    # ------------------------------------------------------------------ inside

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if self.read_only:
            raise StoreError(f"{self._database} was opened for reading only.")
        with store_errors(self._database), write_lock(self._connection):
            yield

    def _row(self, run_id: str) -> StoredRow:
        """The row of the one run that `run_id` is or begins, unchecked."""
        with store_errors(self._database):
            known = self._full_id(run_id)
            row = read_row(self._connection, known)
        if row is None:
            raise StoreError(f"run {known} has just been removed from {self._database}.")
        return row

    def _full_id(self, run_id: str) -> str:
        """The one run id that `run_id` is or begins."""
        rows = self._connection.execute(
            "SELECT run_id FROM run WHERE substr(run_id, 1, length(:given)) = :given "
            "ORDER BY run_id != :given, run_id LIMIT 6",
            {"given": run_id},
        ).fetchall()
        found = [known for (known,) in rows]
        if run_id and found and (found[0] == run_id or len(found) == 1):
            return str(found[0])
        if not run_id or not found:
            raise StoreError(
                f"no run {run_id[:100]!r} in {self._database}. Expected a run id or its "
                "beginning; `stochbess runs list` shows them."
            )
        several = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
        raise StoreError(
            f"{run_id!r} is the beginning of several runs: {several}. Give more of it."
        )

    def _insert(self, record: RunRecord, directory: str | None, files: Mapping[str, bytes]) -> None:
        """Put the row of a run and those of its frames in place of what is there."""
        values = {
            **{name: getattr(record, name) for name in FIELDS},
            "created_utc": record.created_utc.astimezone(UTC).isoformat(timespec="microseconds"),
            "day": record.day.isoformat(),
            "synthetic": int(record.synthetic),
            "reproducible": int(record.reproducible),
            "seed": str(record.seed),  # wider than SQLite's integers
            "directory": directory,
            "owner_host": socket.gethostname(),
            "owner_pid": os.getpid(),
        }
        frames = {
            name: (hashlib.sha256(content).hexdigest(), len(content))
            for name, content in files.items()
        }
        values["record_sha256"] = row_sha256(values, frames)
        self._connection.execute("DELETE FROM run WHERE run_id = ?", (record.run_id,))
        self._connection.execute(_INSERT, values)
        self._connection.executemany(
            "INSERT INTO frame (run_id, name, sha256, n_bytes) VALUES (?, ?, ?, ?)",
            [(record.run_id, name, *frame) for name, frame in frames.items()],
        )

    def _publish(self, run_id: str, files: Mapping[str, bytes]) -> str:
        """Write the files under a temporary name, force them to disk, give them their name.

        Returns the name of the directory below `runs`. Called under the write lock.
        """
        temporary = write_temporary(self._runs, run_id, files)
        try:
            directory = self._free_directory(run_id)
            temporary.rename(self._runs / directory)
            sync_directory(self._runs)
        except BaseException:
            remove(temporary)
            raise
        return directory

    def _free_directory(self, run_id: str) -> str:
        """`run_id`, or `run_id.2` and so on while results that are to be replaced still hold it."""
        used = {
            name
            for (name,) in self._connection.execute(
                "SELECT directory FROM run WHERE directory IS NOT NULL"
            )
        }
        name, number = run_id, 1
        while name in used:
            number += 1
            name = f"{run_id}.{number}"
        remove(self._runs / name)  # renamed by a process that was killed before COMMIT
        return name


def _is_alive(pid: int) -> bool:
    """Whether a process of this machine is there; True where that cannot be asked."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
