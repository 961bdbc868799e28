"""The program as a whole: interrupted while it solves, and the default job from end to end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from stochbess.store import Store

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-c", "from stochbess.cli import main; main()"]
STOPPED_WITHIN_S = 15.0


def start(arguments: Sequence[str], cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(child: subprocess.Popen[str], words: str, limit_s: float = 90.0) -> None:
    """Read standard error until a line holds `words`."""
    assert child.stderr is not None
    deadline_s = time.monotonic() + limit_s
    for line in child.stderr:
        if words in line:
            return
        assert time.monotonic() < deadline_s, f"no {words!r} within {limit_s} s"
    pytest.fail(f"the program ended without {words!r}")


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
    ids=["ctrl-c", "sigterm"],
)
@pytest.mark.parametrize("stage", ["solve ", "worth "])
def test_an_interrupted_run_is_marked_and_can_be_repeated(
    number: signal.Signals, code: int, said: str, stage: str, tmp_path: Path
) -> None:
    child = start(["solve", "--n-scenarios", "6", "--gap", "0.03"], tmp_path)
    wait_for(child, stage)
    began_s = time.monotonic()
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert child.returncode == code
    assert time.monotonic() - began_s < STOPPED_WITHIN_S
    assert out == ""
    assert err.splitlines()[-1] == f"error: {said}"
    assert "Traceback" not in err
    with Store(tmp_path / "runs") as store:
        (record,) = store.list()
        assert record.status == "interrupted"
        assert store.frame_names(record.run_id) == ()
    assert not list((tmp_path / "runs").glob("runs/.tmp-*"))


def test_a_signal_while_the_solver_runs_ends_the_program_in_order(tmp_path: Path) -> None:
    """The solver's thread has ended before the program does; it aborted otherwise."""
    child = start(["solve", "-f", "deterministic", "--gap", "0", "--no-worth"], tmp_path)
    wait_for(child, "solve ")
    time.sleep(1.0)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert err.splitlines()[-1] == "error: interrupted"


def test_the_default_job_runs_shows_and_lists(tmp_path: Path) -> None:
    solved = subprocess.run(
        [*PROGRAM, "solve", "--n-scenarios", "6", "--gap", "0.03", "--bids", "bids.csv"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert solved.returncode == 0, solved.stderr
    assert "Reserve capacity to offer" in solved.stdout
    assert "VSS = RP - EEV" in solved.stdout
    assert max(map(len, solved.stdout.splitlines())) <= 100
    assert len((tmp_path / "bids.csv").read_text().splitlines()) == 1 + 24 + 3 * 6
    listed = subprocess.run(
        [*PROGRAM, "runs", "list", "--json"], cwd=tmp_path, capture_output=True, text=True
    )
    (row,) = json.loads(listed.stdout)
    shown = subprocess.run(
        [*PROGRAM, "runs", "show", row["run_id"]], cwd=tmp_path, capture_output=True, text=True
    )
    assert shown.stdout == solved.stdout
