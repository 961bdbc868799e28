"""Decisions on MPI ranks against the other engines and against mpi-sppy's own extensive form."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stochbess.engine.matrix import Blocks, blocks
from stochbess.engine.risk import NEUTRAL, Risk
from stochbess.engine.template import compile_template
from stochbess.engine.two_stage import evaluate_first_stage, solve_two_stage
from stochbess.store import Store
from tests.test_mpisppy_reference import farm, reference_cost
from tests.test_ranks import MPIEXEC, ROOT, needs_mpi, on_ranks

pytestmark = [needs_mpi, pytest.mark.slow]
SOLVE = "from stochbess.cli import main; main()"


@cache
def found(case: str, *options: str, n: int = 3) -> dict[str, Any]:
    script = str(ROOT / "tests" / "on_ranks.py")
    done = on_ranks(n, "-m", "mpi4py", script, case, *options, timeout_s=280.0)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def priced(block: Blocks, first_stage: dict[str, float], risk: Risk = NEUTRAL) -> float:
    """Risk-adjusted cost of a decision, by our own recourse."""
    names = [block.template.columns[j] for j in block.template.first_stage]
    outcome = evaluate_first_stage(block, np.array([first_stage[name] for name in names]))
    return risk.of_cost(outcome.scenario_cost, block.probability)


def test_the_farmer_on_three_ranks_earns_what_is_published() -> None:
    result = found("farmer")
    cost = priced(farm(), result["first_stage"])
    assert result["bound"] <= -108390.0 + 0.5 and cost >= -108390.0 - 0.5
    assert cost - result["bound"] <= 2e-3 * 108390.0
    assert result["iterations"] > 1 and not result["hit_time_limit"]


def test_the_risk_averse_farmer_on_three_ranks_earns_what_is_documented() -> None:
    """A third of E + 2 CVaR at 0.8; the decision of the mean year bounds its value at risk."""
    risk = Risk(2 / 3, 0.8)
    known = priced(farm(), {"acres[0]": 120.0, "acres[1]": 80.0, "acres[2]": 300.0}, risk)
    result = found("farmer", f"cvar={risk.weight!r},{risk.level},{known!r}")
    cost = priced(farm(), result["first_stage"], risk)
    assert 3 * result["bound"] <= -220700.0 + 1.0 and 3 * cost >= -220700.0 - 1.0
    assert 3 * (cost - result["bound"]) <= 5e-3 * 220700.0


@pytest.mark.parametrize(
    ("case", "options", "n"),
    [
        ("plain-3", (), 3),
        ("everything-3", (), 3),
        ("plain-4", ("bundle=2",), 3),
        ("fractional-3", (), 5),  # two of the ranks have no cylinder
        ("fractional-4", (), 6),  # two ranks a cylinder
    ],
)
def test_the_battery_on_ranks_agrees_with_every_other_engine(
    case: str, options: tuple[str, ...], n: int
) -> None:
    from tests.on_ranks import job_of

    job = job_of(case)
    block = blocks(compile_template(job.build()), job.series, job.probability)
    effort: dict[str, Any] = {"gap_frac": 1e-7, "time_limit_s": 120.0}
    extensive = solve_two_stage(block, engine="extensive", **effort)
    decomposed = solve_two_stage(block, engine="decomposition", **effort)
    series = {name: np.asarray(values) for name, values in job.series.items()}
    foreign = reference_cost(job.build, series, job.probability, 1e-7)
    assert decomposed.cost == pytest.approx(extensive.cost, rel=1e-5)
    assert foreign == pytest.approx(extensive.cost, rel=1e-5)
    result = found(case, "time_limit_s=25", *options, n=n)
    cost = priced(block, result["first_stage"])
    slack = 1e-5 * abs(foreign)
    assert result["bound"] - slack <= foreign <= cost + slack
    assert cost - result["bound"] <= 0.1 * abs(foreign)


def command(store: Path, *more: str) -> list[str]:
    options = ["--engine", "cylinders", "--n-scenarios", "3", "--markets", "day-ahead,intraday"]
    return ["-c", SOLVE, "solve", *options, "--store", str(store), "--no-worth", *more]


def test_the_command_on_ranks_stores_one_run_like_any_other(tmp_path: Path) -> None:
    done = on_ranks(3, *command(tmp_path / "a", "--json", "--time-limit", "60"), timeout_s=280.0)
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)  # nothing of mpi-sppy's between
    with Store(tmp_path / "a", read_only=True) as kept:
        (record,) = kept.list()
    assert record.status == "done" and record.engine == "cylinders" and not record.reproducible
    facts = {fact["name"]: fact["value"] for fact in json.loads(record.facts_json)["facts"]}
    assert facts["profit"] <= facts["profit_bound"]
    assert "mpi-sppy" in facts["solver"]
    arguments = [a if a != "cylinders" else "extensive" for a in command(tmp_path / "b")]
    subprocess.run([sys.executable, *arguments, "--gap", "0.0001", "-q"], check=True, cwd=ROOT)
    with Store(tmp_path / "b", read_only=True) as kept:
        (other,) = kept.list()
    alone = {fact["name"]: fact["value"] for fact in json.loads(other.facts_json)["facts"]}
    assert facts["profit"] <= alone["profit_bound"] + 1e-6
    assert facts["profit_bound"] >= alone["profit"] - 1e-6


def test_a_rank_killed_in_the_search_leaves_no_result_and_no_process(tmp_path: Path) -> None:
    """The store calls such a run interrupted as soon as somebody writes to it again."""
    arguments = command(tmp_path, "--gap", "0", "--time-limit", "120")
    process = subprocess.Popen(
        [str(MPIEXEC), "-n", "3", sys.executable, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if ("solve " in line and "no incumbent" in line) or "incumbent " in line:
            break
    ranks = descendants(process.pid)
    os.kill(ranks[-1], signal.SIGKILL)
    began = time.monotonic()
    process.communicate(timeout=30)
    assert process.returncode != 0 and time.monotonic() - began < 20.0
    with Store(tmp_path) as kept:
        (record,) = kept.list()
        assert record.status == "interrupted" and not kept.frame_names(record.run_id)


def descendants(pid: int) -> list[int]:
    """The processes started by `pid` that have no children of their own."""
    found: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        found.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    leaves, to_see = [], [pid]
    while to_see:
        parent = to_see.pop()
        to_see += found.get(parent, [])
        if parent not in found:
            leaves.append(parent)
    return sorted(leaves)
