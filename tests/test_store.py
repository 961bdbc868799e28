"""The store of runs: whole or not there, whatever happens to the process or the disk."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from stochbess import store_schema
from stochbess.errors import StoreError
from stochbess.frame_bytes import from_parquet_bytes, to_parquet_bytes
from stochbess.store import RunRecord, Store, canonical_json, code_sha256, run_id

RECORD = RunRecord(
    run_id="0123456789abcdef",
    created_utc=datetime(2024, 6, 26, 12, tzinfo=UTC),
    status="running",
    formulation="two_stage",
    zone="DE_LU",
    day=date(2024, 6, 26),
    synthetic=True,
    config_json='{"seed":1}',
    config_sha256="c" * 64,
    data_sha256="d" * 64,
    code_sha256="e" * 64,
    seed=2**63 + 1,
    engine="extensive",
    facts_json='{"profit_eur":412.7}',
    volatile_json='{"wall_s":1.5}',
    reproducible=True,
)


def dispatch(level_mw: float = 1.0) -> pd.DataFrame:
    steps = pd.date_range(
        "2024-06-25 22:00", periods=96, freq="15min", tz="UTC", unit="us", name="delivery_start_utc"
    )
    values = level_mw * np.sin(np.arange(96))
    values[3] = np.nan
    return pd.DataFrame({"net_mw": values, "market": "intraday", "is_full": False}, index=steps)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "runs of June") as opened:
        yield opened


def child(
    root: Path, body: str, *arguments: str, expect: int | None = 0
) -> subprocess.CompletedProcess[str]:
    """Run Python lines in a process of their own, with Store, `record()` and `frame` at hand."""
    prelude = f"""
        import os, signal, sys
        from dataclasses import replace
        from pathlib import Path
        import numpy as np, pandas as pd
        from datetime import UTC, date, datetime
        from stochbess.errors import StoreError
        from stochbess.store import RunRecord, Store
        ROOT = Path({str(root)!r})
        RECORD = {RECORD!r}
        frame = pd.DataFrame({{"net_mw": np.arange(2000.0)}})
        def record(name):
            return replace(RECORD, run_id=name)
    """.replace("datetime.timezone.utc", "UTC").replace("datetime.datetime(", "datetime(")
    prelude = prelude.replace("datetime.date(", "date(")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(body), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert expect is None or done.returncode == expect, done.stderr
    return done


def assert_whole(root: Path) -> set[str]:
    """Every run that is done has all its frames, and nothing temporary is left after opening."""
    with Store(root) as store:
        records = store.list()
        for record in records:
            if record.status == "done":
                assert set(store.frames(record.run_id)) == {"a", "b"}
        check = sqlite3.connect(root / "stochbess.sqlite")
        assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        check.close()
        assert not [*(root / "runs").glob(".tmp-*")]
        return {record.run_id for record in records if record.status == "done"}


# ---------------------------------------------------------------------- what is kept


def test_a_saved_run_comes_back_as_it_was(store: Store) -> None:
    two_levels = dispatch().set_index("market", append=True)
    unnamed = pd.DataFrame({"eur": [1, 2]}, index=["x", "y"])
    plain = pd.DataFrame({"eur": [1.0, 2.0]})
    store.save(RECORD, {"dispatch": dispatch(), "levels": two_levels, "u": unnamed, "p": plain})

    assert store.get(RECORD.run_id) == replace(RECORD, status="done")
    assert_frame_equal(store.frame(RECORD.run_id, "dispatch"), dispatch(), check_freq=False)
    frames = store.frames(RECORD.run_id)
    assert [*frames] == ["dispatch", "levels", "p", "u"]
    assert_frame_equal(frames["levels"], two_levels, check_freq=False)
    assert_frame_equal(frames["u"], unnamed)
    assert_frame_equal(frames["p"], plain)


def test_equal_frames_give_equal_bytes_without_any_version_of_pandas() -> None:
    first, second = to_parquet_bytes("a", dispatch()), to_parquet_bytes("a", dispatch().copy())
    assert first == second
    assert b"pandas" not in first
    assert pd.__version__.encode() not in first
    assert_frame_equal(from_parquet_bytes(first), dispatch(), check_freq=False)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({1: [1.0]}),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame({"a": [1, "two"]}),
        pd.DataFrame({"a": [1]}, index=pd.Index([5], name=7)),
        pd.DataFrame({"__index_0__": [1]}, index=pd.Index([5], name="n")),
    ],
)
def test_a_frame_that_parquet_cannot_hold_is_refused_by_name(
    store: Store, frame: pd.DataFrame
) -> None:
    with pytest.raises(StoreError, match="frame 'odd'"):
        store.save(RECORD, {"odd": frame})
    assert store.list() == []


def test_runs_are_listed_from_the_newest(store: Store) -> None:
    for hours in (3, 1, 2):
        later = RECORD.created_utc + timedelta(hours=hours)
        store.save(replace(RECORD, run_id=f"run{hours}", created_utc=later), {})
    assert [record.run_id for record in store.list()] == ["run3", "run2", "run1"]
    assert [record.run_id for record in store.list(limit=2)] == ["run3", "run2"]


def test_a_run_is_found_by_the_beginning_of_its_id_if_only_one_begins_so(store: Store) -> None:
    for name in ("abc1", "abc2", "abc"):
        store.save(replace(RECORD, run_id=name), {})
    assert store.get("abc1").run_id == "abc1"
    assert store.get("abc").run_id == "abc"
    assert store.find("abc") == store.get("abc")
    assert store.find("ab") is None
    with pytest.raises(StoreError, match="several runs: abc, abc1, abc2"):
        store.get("ab")
    for unknown in ("", "%", "b", "' OR 1=1 --"):
        with pytest.raises(StoreError, match="no run"):
            store.get(unknown)


def test_an_unknown_frame_is_answered_with_the_names_there_are(store: Store) -> None:
    store.save(RECORD, {"dispatch": dispatch()})
    with pytest.raises(StoreError, match="It has: dispatch"):
        store.frame(RECORD.run_id, "../../secret")


# ---------------------------------------------------------------------- identity and status


def test_the_identity_depends_on_every_part_and_on_no_order() -> None:
    parts = {"config": "c", "data": "d", "seed": "1"}
    assert run_id(parts) == run_id(dict(reversed(parts.items())))
    assert len({run_id(parts), *(run_id(parts | {key: "x"}) for key in parts)}) == 4
    assert len(run_id(parts)) == 16


def test_the_code_hash_is_the_same_for_another_place_and_line_end(tmp_path: Path) -> None:
    """An installed package has models/ inside stochbess/, a checkout has it beside."""
    import shutil

    import stochbess

    root = Path(stochbess.__file__).parent.parent
    wheel = tmp_path / "site"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "stochbess", wheel / "stochbess", ignore=ignore)
    for folder in ("models", "scenario_gen", "reports"):
        shutil.copytree(root / folder, wheel / "stochbess" / folder, ignore=ignore)
    errors = wheel / "stochbess" / "errors.py"
    errors.write_bytes(errors.read_bytes().replace(b"\n", b"\r\n"))
    script = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); sys.meta_path = "
        "[f for f in sys.meta_path if 'editable' not in getattr(f, '__name__', str(f)).lower()]\n"
        "import stochbess; from stochbess.store import code_sha256\n"
        "print(stochbess.__file__, code_sha256())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd="/")
    where, digest = done.stdout.split()
    assert where.startswith(str(wheel)), done.stderr
    assert digest == code_sha256()


def test_saving_a_run_again_changes_nothing_unless_told_to(store: Store) -> None:
    store.save(RECORD, {"dispatch": dispatch(1.0)})
    store.save(replace(RECORD, facts_json="{}"), {"dispatch": dispatch(2.0), "more": dispatch()})
    assert store.get(RECORD.run_id).facts_json == RECORD.facts_json
    assert store.frame_names(RECORD.run_id) == ("dispatch",)

    store.save(replace(RECORD, facts_json="{}"), {"dispatch": dispatch(2.0)}, overwrite=True)
    assert store.get(RECORD.run_id).facts_json == "{}"
    assert_frame_equal(store.frame(RECORD.run_id, "dispatch"), dispatch(2.0), check_freq=False)
    assert len([*(store.root / "runs").iterdir()]) == 1
    store.save(RECORD, {"dispatch": dispatch(3.0)}, overwrite=True)
    assert [path.name for path in (store.root / "runs").iterdir()] == [RECORD.run_id]


def test_a_run_that_ends_early_says_how(store: Store) -> None:
    store.begin(RECORD)
    assert store.get(RECORD.run_id).status == "running"
    with pytest.raises(KeyboardInterrupt), store.running(RECORD):
        raise KeyboardInterrupt
    assert store.get(RECORD.run_id).status == "interrupted"
    with pytest.raises(ValueError, match="solver"), store.running(RECORD):
        raise ValueError("solver")
    assert store.get(RECORD.run_id).status == "failed"
    with store.running(RECORD):
        store.save(RECORD, {"dispatch": dispatch()})
    assert store.get(RECORD.run_id).status == "done"


def test_a_run_that_is_done_stays_done_when_a_repetition_fails(store: Store) -> None:
    store.save(RECORD, {"dispatch": dispatch()})
    with pytest.raises(KeyboardInterrupt), store.running(RECORD):
        raise KeyboardInterrupt
    store.mark(RECORD.run_id, "failed")
    assert store.get(RECORD.run_id).status == "done"
    assert store.frame_names(RECORD.run_id) == ("dispatch",)


@pytest.mark.parametrize("status", ["done", "lost", ""])
def test_a_run_becomes_done_only_by_its_results(store: Store, status: str) -> None:
    store.begin(RECORD)
    with pytest.raises(StoreError, match="cannot be marked"):
        store.mark(RECORD.run_id, status)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "lost"),
        ("created_utc", datetime(2024, 1, 1)),  # noqa: DTZ001 - that is the fault
        ("facts_json", "{"),
        ("facts_json", '{"profit_eur":NaN}'),
        ("zone", "DE\ud800"),
    ],
)
def test_a_record_that_could_not_come_back_is_refused(field: str, value: object) -> None:
    with pytest.raises(StoreError, match=field if field != "created_utc" else "timezone"):
        replace(RECORD, **{field: value})  # type: ignore[arg-type]


# ---------------------------------------------------------------------- names (F44, F45)


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "/etc/passwd", "a/b", "a\\b", "a b"])
@pytest.mark.parametrize("end", ["", "\0", "\n", "x" * 300, "ü"])
def test_a_name_that_could_leave_the_store_is_refused(store: Store, name: str, end: str) -> None:
    refuse(store, name + end)


@pytest.mark.parametrize("name", [".hidden", "NUL", "com1.txt", "x" * 81])
def test_a_name_that_some_system_treats_apart_is_refused(store: Store, name: str) -> None:
    refuse(store, name)


def refuse(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="file name"):
        replace(RECORD, run_id=name)
    with pytest.raises(StoreError, match="file name"):
        store.save(RECORD, {name: dispatch()})
    assert store.list() == []
    assert not (store.root / "runs").exists()


def test_frames_that_differ_only_by_case_are_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="upper and lower case"):
        store.save(RECORD, {"a": dispatch(), "A": dispatch()})


@settings(deadline=None, max_examples=50)
@given(name=st.text(max_size=90), zone=st.text(), facts=st.dictionaries(st.text(), st.text()))
def test_any_text_is_stored_verbatim_or_refused(
    name: str, zone: str, facts: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "s") as store:
        odd = replace(RECORD, zone=zone, engine="'; DROP TABLE run; --")
        odd = replace(odd, facts_json=canonical_json(facts))
        store.save(odd, {})
        assert store.get(odd.run_id) == replace(odd, status="done")
        try:
            store.save(replace(odd, run_id=name), {name: dispatch()})
        except StoreError:
            assert len(store.list()) == 1
        else:
            assert (Path(folder) / "s" / "runs" / name / f"{name}.parquet").is_file()
        assert {path.name for path in Path(folder).iterdir()} == {"s"}


def test_a_link_in_the_place_of_results_is_not_followed(store: Store, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("keep")
    (store.root / "runs").mkdir()
    (store.root / "runs" / RECORD.run_id).symlink_to(elsewhere)
    store.save(RECORD, {"a": dispatch()})
    assert [path.name for path in elsewhere.iterdir()] == ["precious"]

    results = store.root / "runs" / RECORD.run_id
    results.rename(elsewhere / "moved")
    results.symlink_to(elsewhere / "moved")
    with pytest.raises(StoreError, match="link"):
        store.frame(RECORD.run_id, "a")

    (store.root / "runs").rename(tmp_path / "real")
    (store.root / "runs").symlink_to(tmp_path / "real")
    with pytest.raises(StoreError, match="link"):
        store.save(replace(RECORD, run_id="other"), {"a": dispatch()})


# ---------------------------------------------------------------------- damaged files (F38, F39)


def test_every_flipped_byte_of_a_frame_is_found(store: Store) -> None:
    store.save(RECORD, {"a": dispatch()})
    path = store.root / "runs" / RECORD.run_id / "a.parquet"
    sound = path.read_bytes()
    for position in np.linspace(0, len(sound) - 1, 64).astype(int):
        path.write_bytes(sound[:position] + bytes([sound[position] ^ 0xFF]) + sound[position + 1 :])
        with pytest.raises(StoreError, match=r"a\.parquet is damaged"):
            store.frame(RECORD.run_id, "a")
    path.write_bytes(sound[:-1])
    with pytest.raises(StoreError, match="overwrite"):
        store.frame(RECORD.run_id, "a")
    path.unlink()
    with pytest.raises(StoreError, match=r"a\.parquet"):
        store.frame(RECORD.run_id, "a")


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.99])
def test_a_truncated_database_is_refused_and_left_as_it_is(
    tmp_path: Path, share: float, read_only: bool
) -> None:
    with Store(tmp_path) as store:
        for number in range(40):
            store.begin(replace(RECORD, run_id=f"r{number}"))
    file = tmp_path / "stochbess.sqlite"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    cut = file.read_bytes()
    with (
        pytest.raises(StoreError, match=r"stochbess\.sqlite.*(damaged|Move)"),
        Store(tmp_path, read_only=read_only) as store,
    ):
        store.list()
    assert file.read_bytes() == cut


def test_files_of_other_programs_are_refused_and_left_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "stochbess.sqlite"
    file.write_text("meter readings, not a database\n" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store(tmp_path)
    file.unlink()
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.commit()
    other.close()
    before = file.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        Store(tmp_path)
    assert file.read_bytes() == before


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    """A process killed while it made the store leaves one."""
    (tmp_path / "stochbess.sqlite").touch()
    with Store(tmp_path) as store:
        assert store.list() == []


def test_a_store_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    Store(tmp_path).close()
    other = sqlite3.connect(tmp_path / "stochbess.sqlite")
    other.execute("PRAGMA user_version = 99")
    other.close()
    for read_only in (False, True):
        with pytest.raises(StoreError, match=r"schema version 99.*Upgrade"):
            Store(tmp_path, read_only=read_only)


def test_an_older_store_is_copied_and_then_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store:
        store.save(RECORD, {"a": dispatch()})
    version = len(store_schema.MIGRATIONS)
    newer = (*store_schema.MIGRATIONS, ("ALTER TABLE run ADD COLUMN note TEXT",))
    monkeypatch.setattr(store_schema, "MIGRATIONS", newer)
    with pytest.raises(StoreError, match="Open it once for writing"):
        Store(tmp_path, read_only=True)
    with Store(tmp_path) as store:
        assert store.get(RECORD.run_id).status == "done"
    check = sqlite3.connect(tmp_path / f"stochbess.sqlite.v{version}.bak")
    assert check.execute("PRAGMA user_version").fetchone() == (version,)
    assert check.execute("SELECT count(*) FROM run").fetchone() == (1,)
    check.close()


def test_a_migration_that_fails_leaves_the_old_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store:
        store.save(RECORD, {"a": dispatch()})
    broken = ("ALTER TABLE run ADD COLUMN note TEXT", "ALTER TABLE nowhere ADD COLUMN x TEXT")
    with monkeypatch.context() as patch:
        patch.setattr(store_schema, "MIGRATIONS", (*store_schema.MIGRATIONS, broken))
        with pytest.raises(StoreError, match="nowhere"):
            Store(tmp_path)
    with Store(tmp_path) as store:
        assert_frame_equal(store.frame(RECORD.run_id, "a"), dispatch(), check_freq=False)


# ---------------------------------------------------------------------- processes (F40, F42, F49)


def test_eight_processes_make_a_store_and_lose_no_row(tmp_path: Path) -> None:
    body = """
        def write(process):
            with Store(ROOT) as store:
                for number in range(10):
                    store.save(record(f"p{process}n{number}"), {"a": frame, "b": frame})
        pids = []
        for process in range(8):
            pid = os.fork()
            if pid == 0:
                try:
                    write(process)
                    os._exit(0)
                except BaseException as error:
                    print(error, file=sys.stderr, flush=True)
                    os._exit(1)
            pids.append(pid)
        sys.exit(sum(os.waitpid(pid, 0)[1] != 0 for pid in pids))
    """
    child(tmp_path, body)
    assert len(assert_whole(tmp_path)) == 80


def test_a_kill_at_any_step_of_saving_leaves_the_run_whole_or_absent(tmp_path: Path) -> None:
    """SIGKILL after each step that can be seen from outside: files, renames, statements."""
    body = """
        def countdown(function, left):
            def call(*arguments, **keywords):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **keywords)
            return call

        def die_at(step, overwrite):
            with Store(ROOT) as store:
                left = [step]
                os.fsync = countdown(os.fsync, left)
                os.mkdir = countdown(os.mkdir, left)
                os.rename = countdown(os.rename, left)
                store._connection.set_trace_callback(countdown(lambda text: None, left))
                store.save(record("victim"), {"a": frame * step, "b": frame}, overwrite=overwrite)

        killed = 0
        with Store(ROOT) as store:
            store.save(record("witness"), {"a": frame, "b": frame})
        for overwrite in (False, True):
            for step in range(1, 100):
                pid = os.fork()
                if pid == 0:
                    die_at(step, overwrite)
                    os._exit(0)
                ended = os.waitpid(pid, 0)[1]
                with Store(ROOT) as store:
                    statuses = {r.run_id: r.status for r in store.list()}
                    assert statuses.pop("witness") == "done", statuses
                    assert set(statuses.values()) <= {"done"}, statuses
                    for name in ["witness", *statuses]:
                        assert set(store.frames(name)) == {"a", "b"}
                    assert not [*(ROOT / "runs").glob(".tmp-*")]
                if ended == 0:
                    assert "victim" in statuses
                    break
                assert os.WTERMSIG(ended) == signal.SIGKILL, ended
                killed += 1
        print(killed)
    """
    killed = int(child(tmp_path, body).stdout)
    assert killed >= 20
    assert assert_whole(tmp_path) == {"witness", "victim"}


def test_runs_committed_before_a_kill_at_a_random_moment_are_all_there(tmp_path: Path) -> None:
    body = """
        import time
        rng = np.random.default_rng(7)
        for attempt in range(15):
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                with Store(ROOT) as store:
                    for number in range(1000):
                        store.save(record(f"t{attempt}n{number}"), {"a": frame, "b": frame})
                        os.write(writing, b".")
            os.close(writing)
            os.read(reading, 1)
            time.sleep(rng.uniform(0, 0.02))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            announced = 1
            while more := os.read(reading, 4096):
                announced += len(more)
            os.close(reading)
            with Store(ROOT) as store:
                stored = [r for r in store.list() if r.run_id.startswith(f"t{attempt}n")]
            assert len(stored) - announced in (0, 1), (len(stored), announced)
    """
    child(tmp_path, body)
    assert len(assert_whole(tmp_path)) >= 15


def test_ctrl_c_and_a_kill_both_leave_an_interrupted_run(tmp_path: Path) -> None:
    for name, ending, code in [("c", signal.SIGINT, 130), ("k", signal.SIGKILL, -9)]:
        body = f"""
            signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                with Store(ROOT) as store, store.running(record({name!r})):
                    os.kill(os.getpid(), {int(ending)})
                    signal.pause()
            except KeyboardInterrupt:
                sys.exit(130)
        """
        child(tmp_path, body, expect=code)
    with Store(tmp_path) as store:
        assert {record.run_id: record.status for record in store.list()} == {
            "c": "interrupted",
            "k": "interrupted",
        }


def test_a_writer_that_does_not_let_go_is_reported_after_the_timeout(tmp_path: Path) -> None:
    with Store(tmp_path, busy_timeout_s=0.05) as store, Store(tmp_path) as other:
        blocker = sqlite3.connect(tmp_path / "stochbess.sqlite", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="Another process is writing"):
            store.save(RECORD, {"a": dispatch()})
        assert other.list() == []  # readers are not held up
        blocker.execute("ROLLBACK")
        blocker.close()
        store.save(RECORD, {"a": dispatch()})
        assert [record.run_id for record in other.list()] == [RECORD.run_id]


# ---------------------------------------------------------------------- the disk refuses (F41)


def test_a_store_opened_for_reading_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no runs are stored here"):
        Store(tmp_path, read_only=True)
    assert [*tmp_path.iterdir()] == []
    with Store(tmp_path) as store:
        store.save(RECORD, {"a": dispatch()})
    with Store(tmp_path, read_only=True) as store:
        assert store.get("0123").status == "done"
        assert [*store.frames("0123")] == ["a"]
        with pytest.raises(StoreError, match="for reading only"):
            store.save(RECORD, {})
        with pytest.raises(StoreError, match="for reading only"):
            store.begin(replace(RECORD, run_id="new"))


def test_a_directory_without_write_permission_can_be_read_but_not_written() -> None:
    body = """
        with Store(ROOT) as store:
            store.save(record("kept"), {"a": frame, "b": frame})
            store.frames("kept")
        ROOT.chmod(0o555)
        (ROOT / "runs").chmod(0o555)
        if os.geteuid() == 0:
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
        with Store(ROOT, read_only=True) as store:
            assert [r.run_id for r in store.list()] == ["kept"]
            assert set(store.frames("kept")) == {"a", "b"}
        for attempt in (lambda: Store(ROOT), lambda: Store(ROOT / "below")):
            try:
                with attempt() as store:
                    store.save(record("new"), {"a": frame, "b": frame})
            except StoreError as error:
                assert str(ROOT) in str(error), error
                print("refused")
            else:
                sys.exit("written without permission")
    """
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        root = Path(folder) / "s"
        said = child(root, body).stdout
        assert said.split() == ["refused", "refused"]
        root.chmod(0o755)
        assert assert_whole(root) == {"kept"}


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    """Files may grow to a limit only, as on a full disk; every limit ends whole or not at all."""
    body = """
        import resource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with Store(ROOT) as store:
            store.save(record("kept"), {"a": frame, "b": frame})
        refused = 0
        for limit in (0, 100, 1000, 4000, 8000, 16000, 30000, 60000, 200000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                with Store(ROOT) as store:
                    store.save(record(f"r{limit}"), {"a": frame, "b": frame * np.pi})
                stored = True
            except StoreError as error:
                stored = False
                refused += 1
                assert str(ROOT) in str(error) and "space" in str(error), error
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            with Store(ROOT) as store:
                names = {r.run_id for r in store.list()}
                assert (f"r{limit}" in names) == stored, (limit, names)
                for name in names:
                    assert set(store.frames(name)) == {"a", "b"}
        print(refused)
    """
    refused = int(child(tmp_path, body).stdout)
    assert 3 <= refused < 9
    assert "kept" in assert_whole(tmp_path)


def test_a_store_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="file"):
        Store(tmp_path / "file" / "runs")
