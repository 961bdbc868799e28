"""Kills, twins and too little memory: what is committed stays, what is lost comes back the same."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stochbess.errors import StoreError
from stochbess.store import Store
from tests.report_case import finished_run

# What every child has at hand: a quick solve by number, stored below ROOT / name.
PRELUDE = """
    import hashlib, os, resource, signal, sys, time
    from pathlib import Path
    import numpy as np
    import stochbess as sb
    import stochbess.run  # before the first fork: children start at once
    from stochbess.market.reference import reference_market
    from stochbess.store import Store, code_sha256
    code_sha256()  # once for all children, so that sources edited meanwhile are no other runs
    ROOT = Path(sys.argv[1])
    MARKET = reference_market()
    QUICK = [
        "scenarios.n=3", "markets.intraday.enabled=false", "markets.fcr.enabled=false",
        "markets.afrr.enabled=false", "solver.threads=1",
    ]

    def solve(name, number):
        settings = [*QUICK, f"seed={number}", f"report.store_dir={ROOT / name}"]
        return sb.solve(None, overrides=settings, market=MARKET, worth=False)

    def hashes(name):
        with Store(ROOT / name) as store:
            records = store.list()
            assert {r.status for r in records} == {"done"}, records
            return {
                r.run_id: (
                    r.facts_json,
                    *(hashlib.sha256(path.read_bytes()).hexdigest()
                      for path in sorted((ROOT / name / "runs" / r.run_id).iterdir())),
                )
                for r in records
            }

    def fork(work, most_s=60):
        pid = os.fork()
        if pid == 0:
            signal.alarm(most_s)  # a child that hangs dies, and the test says so
            try:
                work()
                os._exit(0)
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
        return pid
"""


def child(folder: Path, body: str, timeout_s: float = 90) -> str:
    """Run Python lines in a process of their own after the prelude; their standard output."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PRELUDE) + textwrap.dedent(body), str(folder)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_batch_killed_at_random_moments_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Three solves, killed again and again, are at last those of a batch that nobody killed."""
    body = """
        def batch(name):
            for number in (1, 2, 3):
                solve(name, number)

        began = time.monotonic()
        fork(lambda: batch("calm"))
        assert os.wait()[1] == 0
        span = time.monotonic() - began
        rng, killed = np.random.default_rng(11), 0
        for attempt in range(6):
            pid = fork(lambda: batch("killed"))
            time.sleep(rng.uniform(0.02, 0.6) * span)
            os.kill(pid, signal.SIGKILL)
            killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
            with Store(ROOT / "killed") as store:
                assert {r.status for r in store.list()} <= {"done", "interrupted"}
                for r in store.list():
                    assert bool(store.frames(r.run_id)) == (r.status == "done")
        fork(lambda: batch("killed"))
        assert os.wait()[1] == 0
        assert hashes("killed") == hashes("calm")
        print(killed)
    """
    assert int(child(tmp_path, body)) >= 2


@pytest.mark.slow
def test_a_solve_killed_at_every_stage_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Whatever it was at, valuing included: nothing half is kept, and a repetition is the same."""
    body = """
        def valued(name, tell=None):
            settings = [*QUICK, "seed=5", f"report.store_dir={ROOT / name}"]
            sb.solve(None, overrides=settings, market=MARKET, worth=True, progress=tell)

        def stages():
            seen = []
            valued("calm", lambda stage, detail: seen.append((stage, detail)))
            names = [stage for stage, _ in seen]
            # The first news of every stage, and the last of all, just before the run is stored.
            return sorted({names.index(name) for name in names} | {len(names) - 1}), names

        class Dies:
            def __init__(self, at):
                self.left = at
            def __call__(self, stage, detail):
                if self.left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                self.left -= 1

        points, names = stages()
        assert {"data", "scenarios", "solve", "worth"} <= {*names}, names
        for at in points:
            pid = fork(lambda: valued("killed", Dies(at)))
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9, names[at]
            with Store(ROOT / "killed") as store:
                assert {r.status for r in store.list()} <= {"interrupted"}, names[at]
                assert not [*(ROOT / "killed").glob("runs/*")]
        fork(lambda: valued("killed"))
        assert os.wait()[1] == 0
        assert hashes("killed") == hashes("calm")
        print(len(points))
    """
    assert int(child(tmp_path, body)) >= 4


@pytest.mark.slow
def test_fifty_kills_at_random_moments_of_a_batch_lose_nothing(tmp_path: Path) -> None:
    """From the first millisecond to the last; every run that was done once stays, bit by bit."""
    body = """
        def batch(name):
            for number in range(8):
                solve(name, number)

        began = time.monotonic()
        fork(lambda: batch("calm"), 300)
        assert os.wait()[1] == 0
        span = time.monotonic() - began
        rng, killed, seen, anew = np.random.default_rng(13), 0, {}, 0
        expected = hashes("calm")
        while killed < 50:
            pid = fork(lambda: batch("killed"))
            time.sleep(rng.uniform(0.0, 0.4 * span))
            os.kill(pid, signal.SIGKILL)
            killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
            with Store(ROOT / "killed") as store:
                records = store.list()
                assert {r.status for r in records} <= {"done", "interrupted"}
                for r in records:
                    assert bool(store.frames(r.run_id)) == (r.status == "done")
            done = {r.run_id for r in records if r.status == "done"}
            assert done >= {*seen}
            for name in done:
                files = sorted((ROOT / "killed" / "runs" / name).iterdir())
                found = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
                assert found == expected[name][1:]
                seen[name] = found
            if len(seen) == 8:  # all there: begin anew
                import shutil
                shutil.rmtree(ROOT / "killed")
                seen, anew = {}, anew + 1
        fork(lambda: batch("killed"), 300)
        assert os.wait()[1] == 0
        assert hashes("killed") == expected
        print(killed, anew)
    """
    done = child(tmp_path, body, timeout_s=580)
    assert int(done.split()[0]) == 50


def test_the_same_run_started_twice_at_once_is_stored_once(tmp_path: Path) -> None:
    body = """
        twins = [fork(lambda: solve("twins", 1)) for _ in range(3)]
        assert all(os.waitpid(pid, 0)[1] == 0 for pid in twins)
        fork(lambda: solve("alone", 1))
        assert os.wait()[1] == 0
        assert len(hashes("twins")) == 1
        assert hashes("twins") == hashes("alone")
        assert [*(ROOT / "twins" / "runs").iterdir()] == [
            ROOT / "twins" / "runs" / name for name in hashes("twins")
        ]
    """
    child(tmp_path, body)


def test_too_little_memory_ends_with_an_error_or_a_dead_process_and_a_whole_store(
    tmp_path: Path,
) -> None:
    """Writable memory may grow by so many bytes only, from nothing to enough."""
    body = """
        QUICK[0] = "scenarios.n=40"  # more than fits into what was freed and is held in reserve

        def limited(room):
            # Writable memory, also in space that libraries have reserved and not yet touched.
            status = Path("/proc/self/status").read_text()
            used = 1024 * int(status.partition("VmData:")[2].split()[0])
            resource.setrlimit(resource.RLIMIT_DATA, (used + room, used + room))
            solve("poor", 1)

        ends = []
        for room in (0, 3_000_000, 30_000_000, 4_000_000_000):
            pid = fork(lambda: limited(room))
            ends.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            assert ends[-1] != -signal.SIGALRM, room
            with Store(ROOT / "poor") as store:
                for r in store.list():
                    assert (r.status == "done") == (ends[-1] == 0), (room, ends, r.status)
                    assert bool(store.frames(r.run_id)) == (r.status == "done")
            if ends[-1] == 0:
                break
        assert ends[0] != 0 and ends[-1] == 0, ends
        fork(lambda: solve("rich", 1))
        assert os.wait()[1] == 0
        assert hashes("poor") == hashes("rich")
        print(ends)
    """
    child(tmp_path, body)


def test_a_changed_digit_in_the_database_is_found(tmp_path: Path) -> None:
    record, frames = finished_run()
    with Store(tmp_path) as store:
        store.save(record, frames)
        profit = f"{record.facts_json}".split('"name":"worst"')[1].split('"value":')[1][:7].encode()
    database = tmp_path / "stochbess.sqlite"
    content = database.read_bytes()
    digit = next(i for i, c in enumerate(profit) if 48 <= c < 57)
    spoilt = profit[:digit] + bytes([profit[digit] + 1]) + profit[digit + 1 :]
    assert content.count(profit) > 0
    database.write_bytes(content.replace(profit, spoilt))
    with pytest.raises(StoreError, match="not as it was stored"), Store(tmp_path) as store:
        store.get(record.run_id)
