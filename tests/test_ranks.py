"""One program on several ranks: who speaks, who works, and how every failure ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MPIEXEC = next(
    (str(p) for p in [Path(sys.executable).with_name("mpiexec")] if p.exists()),
    shutil.which("mpiexec"),
)
needs_mpi = pytest.mark.skipif(
    find_spec("mpi4py") is None or MPIEXEC is None,
    reason='no MPI here: pip install "stochbess[mpi]" brings it',
)


def on_ranks(n: int, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """`arguments` as a Python program on `n` ranks."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [str(MPIEXEC), "-n", str(n), sys.executable, *arguments],
        capture_output=True, text=True, timeout=timeout_s, env=environment,
    )  # fmt: skip


def program(what: str, n: int = 3, limit_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    return on_ranks(n, str(ROOT / "tests" / "ranks_program.py"), what, str(limit_s))


@needs_mpi
def test_rank_zero_speaks_alone_and_all_ranks_work() -> None:
    done = program("add")
    assert (done.returncode, done.stdout.splitlines()) == (0, ["sum 3", "sum 3"]), done.stderr


@needs_mpi
def test_ranks_without_work_leave_the_processor_alone() -> None:
    first, _, last = program("idle").stdout.splitlines()
    assert first == "sum 3"
    assert float(last.split()[1]) < 2 * 1.2  # two ranks, mostly importing; busy waiting costs 1 s


@needs_mpi
def test_the_exit_code_of_the_program_is_that_of_mpiexec() -> None:
    assert program("exit").returncode == 3


@needs_mpi
def test_an_error_of_the_program_ends_the_other_ranks() -> None:
    done = program("fail before")
    assert done.returncode == 3 and done.stderr.count("error: nothing to read") == 1


@needs_mpi
def test_an_error_of_a_rank_ends_all_of_them_with_its_exit_code() -> None:
    done = program("raise")
    assert done.returncode == 4, done.stderr
    assert "error: rank 1: scenario 7 has no feasible decision" in done.stderr


@needs_mpi
def test_an_error_that_the_ranks_agree_on_is_told_once_by_the_program() -> None:
    done = program("agree")
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines() == ["error: rank 1 has no share"]


@needs_mpi
def test_an_error_of_rank_zero_among_working_ranks_ends_all_of_them() -> None:
    began = time.monotonic()
    done = program("raise on rank 0")
    assert done.returncode == 3, done.stderr
    assert time.monotonic() - began < 20.0


@needs_mpi
def test_a_killed_rank_ends_all_of_them_at_once() -> None:
    began = time.monotonic()
    assert program("killed").returncode != 0
    assert time.monotonic() - began < 20.0


@needs_mpi
def test_a_rank_that_stands_still_ends_all_of_them_within_the_limit() -> None:
    began = time.monotonic()
    done = program("stopped", limit_s=2.0)
    assert done.returncode == 5, done.stderr
    assert "waited for 2 s" in done.stderr
    assert time.monotonic() - began < 30.0


@needs_mpi
def test_ranks_that_wait_without_hearing_their_clock_are_ended_a_little_later() -> None:
    began = time.monotonic()
    assert program("stopped deaf", limit_s=1.0).returncode != 0
    assert time.monotonic() - began < 30.0


@needs_mpi
def test_a_command_on_several_ranks_prints_once() -> None:
    code = "from stochbess.cli import main; main()"
    done = on_ranks(2, "-c", code, "--version")
    assert (done.returncode, done.stdout.count("stochbess")) == (0, 1), done.stderr


@needs_mpi
@pytest.mark.parametrize("n", [1, 2])
def test_too_few_ranks_are_told_how_many_there_should_be(n: int, tmp_path: Path) -> None:
    code = "from stochbess.cli import main; main()"
    arguments = ("solve", "--engine", "cylinders", "--n-scenarios", "2", "--markets", "day-ahead")
    done = on_ranks(n, "-c", code, *arguments, "--store", str(tmp_path), "-q", "--no-worth")
    assert done.returncode == 5 and "at least 3" in done.stderr, done.stderr
    assert not any(tmp_path.iterdir())
    assert done.stderr.count("error:") == 1
