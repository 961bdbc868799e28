"""What is read from the database of runs is what was written to it, or an error."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import pytest

from stochbess.errors import StoreError
from stochbess.store import RunRecord, Store
from tests.test_store import RECORD, dispatch

DATABASE = "stochbess.sqlite"
READERS: dict[str, Callable[[Store], object]] = {
    "get": lambda store: store.get(RECORD.run_id[:4]),
    "find": lambda store: store.find(RECORD.run_id),
    "list": lambda store: store.list(),
    "frame_names": lambda store: store.frame_names(RECORD.run_id),
    "frame": lambda store: store.frame(RECORD.run_id, "a"),
    "frames": lambda store: store.frames(RECORD.run_id),
}
# Every column that a run is read from, in another value that SQLite and `RunRecord` accept.
OTHER = {
    "created_utc": "2024-06-26T12:00:01.000000+00:00",
    "status": "failed",
    "formulation": "deterministic",
    "zone": "AT",
    "day": "2024-06-27",
    "synthetic": 0,
    "config_json": '{"seed":2}',
    "config_sha256": "b" * 64,
    "data_sha256": "b" * 64,
    "code_sha256": "b" * 64,
    "seed": "7",
    "engine": "decomposition",
    "facts_json": '{"profit_eur":412.8}',
    "volatile_json": '{"wall_s":1.6}',
    "reproducible": 0,
    "directory": "elsewhere",
    "record_sha256": "a" * 64,
}


def saved(root: Path) -> None:
    with Store(root) as store:
        store.save(RECORD, {"a": dispatch(), "b": dispatch(2.0)})


def by_hand(root: Path, statement: str, *values: object) -> None:
    """What an editor of SQLite files does."""
    with closing(sqlite3.connect(root / DATABASE)) as other, other:
        assert other.execute(statement, values).rowcount == 1


def test_every_column_of_a_record_is_tried_below() -> None:
    assert {*OTHER, "run_id"} == {f.name for f in fields(RunRecord)} | {
        "directory",
        "record_sha256",
    }


@pytest.mark.parametrize("column", OTHER)
def test_a_changed_column_is_found_by_every_reader(tmp_path: Path, column: str) -> None:
    saved(tmp_path)
    by_hand(tmp_path, f"UPDATE run SET {column} = ?", OTHER[column])
    for read_only in (True, False):
        with Store(tmp_path, read_only=read_only) as store:
            for name, read in READERS.items():
                with pytest.raises(StoreError, match=r"not as it was stored.*--force"):
                    read(store)
                    pytest.fail(name)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE frame SET name = 'c' WHERE name = 'b'",
        "UPDATE frame SET sha256 = 'a' WHERE name = 'b'",
        "UPDATE frame SET n_bytes = n_bytes + 1 WHERE name = 'b'",
        "DELETE FROM frame WHERE name = 'b'",
        f"INSERT INTO frame VALUES ('{RECORD.run_id}', 'c', 'a', 1)",
        "UPDATE run SET facts_json = x'7b7d'",
        "UPDATE run SET seed = 9e999",
    ],
)
def test_a_changed_row_of_a_frame_or_another_type_is_found(tmp_path: Path, statement: str) -> None:
    saved(tmp_path)
    by_hand(tmp_path, statement)
    with Store(tmp_path) as store, pytest.raises(StoreError, match="not as it was stored"):
        store.list()


def test_a_renamed_run_is_found(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.save(RECORD, {})
    by_hand(tmp_path, "UPDATE run SET run_id = 'ffff'")
    with Store(tmp_path) as store, pytest.raises(StoreError, match="not as it was stored"):
        store.get("ffff")


def test_the_status_of_a_run_that_is_not_done_may_change_but_not_to_done(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.begin(RECORD)
        for status in ("failed", "interrupted", "running"):
            store.mark(RECORD.run_id, status)
            assert store.get(RECORD.run_id).status == status
    by_hand(tmp_path, "UPDATE run SET status = 'done'")
    with Store(tmp_path) as store:
        with pytest.raises(StoreError, match="not as it was stored"):
            store.get(RECORD.run_id)
        # Nor does a run that only claims to be done keep its results from being stored.
        with pytest.raises(StoreError, match="not as it was stored"):
            store.save(RECORD, {"a": dispatch()})
        store.save(RECORD, {"a": dispatch()}, overwrite=True)
        assert store.frame_names(RECORD.run_id) == ("a",)


def test_what_is_damaged_is_kept_when_a_repetition_replaces_it(tmp_path: Path) -> None:
    saved(tmp_path)
    path = tmp_path / "runs" / RECORD.run_id / "a.parquet"
    damaged = path.read_bytes()[:-1]
    path.write_bytes(damaged)
    with Store(tmp_path) as store:
        with pytest.raises(StoreError, match=r"a\.parquet is damaged.*quarantine/"):
            store.frame(RECORD.run_id, "a")
        assert path.read_bytes() == damaged
        store.save(RECORD, {"a": dispatch()}, overwrite=True)
        assert store.frame_names(RECORD.run_id) == ("a",)
        place = tmp_path / "quarantine" / f"{RECORD.run_id}.1"
        assert (place / "frames" / "a.parquet").read_bytes() == damaged
        assert (place / "frames" / "b.parquet").is_file()
        told = json.loads((place / "row.json").read_text())
        assert told["columns"]["facts_json"] == RECORD.facts_json

        store.save(RECORD, {"a": dispatch()}, overwrite=True)  # sound by now
        assert [p.name for p in (tmp_path / "quarantine").iterdir()] == [place.name]
        assert len([*(tmp_path / "runs").iterdir()]) == 1


def test_a_directory_that_somebody_else_named_is_never_removed(tmp_path: Path) -> None:
    saved(tmp_path / "s")
    precious = tmp_path / "precious"
    precious.mkdir()
    for name in (f"{RECORD.run_id}/../../../precious", "../../precious", str(precious)):
        by_hand(tmp_path / "s", "UPDATE run SET directory = ?", name)
        with Store(tmp_path / "s") as store:
            store.save(RECORD, {"a": dispatch()}, overwrite=True)
            assert store.frame_names(RECORD.run_id) == ("a",)
    assert precious.is_dir()


def test_runs_of_schema_version_1_get_a_hash_and_say_since_when(tmp_path: Path) -> None:
    """A store as version 1 wrote it: run and frames without a hash over the row."""
    saved(tmp_path)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as old, old:
        old.execute("ALTER TABLE run DROP COLUMN record_sha256")
        old.execute("PRAGMA user_version = 1")
    with pytest.raises(StoreError, match=r"schema version 1, expected 2"):
        Store(tmp_path, read_only=True)
    with Store(tmp_path) as store:
        found = store.get(RECORD.run_id)
        told = json.loads(found.volatile_json)
        assert "changes before that are not found" in told.pop("record_hash")
        assert told == json.loads(RECORD.volatile_json)
        same = replace(found, volatile_json=RECORD.volatile_json)
        assert same == replace(RECORD, status="done")
        assert [*store.frames(RECORD.run_id)] == ["a", "b"]
    with closing(sqlite3.connect(tmp_path / f"{DATABASE}.v1.bak")) as copy:
        assert copy.execute("SELECT volatile_json FROM run").fetchone() == (RECORD.volatile_json,)
    by_hand(tmp_path, "UPDATE run SET facts_json = '{}'")
    with Store(tmp_path) as store, pytest.raises(StoreError, match="not as it was stored"):
        store.get(RECORD.run_id)


def test_a_migration_survives_what_version_1_let_pass(tmp_path: Path) -> None:
    """One run whose text was spoilt by hand does not keep the others from being read."""
    saved(tmp_path)
    with Store(tmp_path) as store:
        store.save(replace(RECORD, run_id="sound"), {})
    with closing(sqlite3.connect(tmp_path / DATABASE)) as old, old:
        old.execute("UPDATE run SET volatile_json = '{' WHERE run_id != 'sound'")
        old.execute("ALTER TABLE run DROP COLUMN record_sha256")
        old.execute("PRAGMA user_version = 1")
    with Store(tmp_path) as store:
        assert store.get("sound").status == "done"
        with pytest.raises(StoreError, match="volatile_json"):
            store.get(RECORD.run_id)


def test_a_row_and_its_frames_are_read_at_one_moment(tmp_path: Path) -> None:
    """A reader between two commits of a writer sees one of them whole."""
    saved(tmp_path)
    with Store(tmp_path) as writer, Store(tmp_path, read_only=True) as reader:
        connection = reader._connection
        seen: list[str] = []

        def meanwhile(statement: str) -> None:
            seen.append(statement)
            if statement.startswith("SELECT name, sha256") and len(seen) < 20:
                connection.set_trace_callback(None)
                writer.save(RECORD, {"only": dispatch()}, overwrite=True)

        connection.set_trace_callback(meanwhile)
        assert reader.get(RECORD.run_id).status == "done"
        assert seen[-1].startswith("SELECT name")
        assert reader.frame_names(RECORD.run_id) == ("only",)
