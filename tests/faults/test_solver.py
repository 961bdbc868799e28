"""The solver is missing, dies, hangs, lies, or is given what it cannot solve."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highspy
import numpy as np
import numpy.typing as npt
import pyomo.environ as pyo
import pytest

from stochbess.assemble import build_case
from stochbess.config import Config, load_config
from stochbess.conflict import CAUSES, in_keys
from stochbess.engine import highs
from stochbess.engine.highs import SolveOptions, solve_problem
from stochbess.engine.matrix import single
from stochbess.engine.outcome import SolveOutcome, Status
from stochbess.engine.two_stage import Engine, solve_two_stage
from stochbess.errors import ConfigError, InfeasibleError, SolverError
from stochbess.models.two_stage import two_stage
from stochbess.store import Store
from stochbess.strict_yaml import schema_at, words
from tests.faults.test_clock_and_prices import decided
from tests.small_case import Small, best, changed, energy_only, plain, small

Floats = npt.NDArray[np.float64]
ENGINES: tuple[Engine, ...] = ("extensive", "decomposition")
CYCLES = "aging.max_cycles_per_day=1"
AFRR = "markets.afrr.activation_fallback=reference"
FULL_OUTAGE = (
    "battery.self_discharge_per_h=0.005",
    'battery.state.outages=[{from_local: "2024-06-26T00:00",'
    ' to_local: "2024-06-27T00:00", available_frac: 0.0}]',
)


# ------------------------------------------------------------------------- what cannot be solved


def test_a_start_that_cannot_be_reached_again_is_infeasible_with_exit_code_4() -> None:
    with pytest.raises(InfeasibleError, match="exclude each other: soc_balance") as caught:
        decided("market.day=2024-06-26", *FULL_OUTAGE)
    assert caught.value.exit_code == 4


EQUAL = ("terminal.mode", "battery.state.soc_frac", "battery.self_discharge_per_h")


@pytest.mark.parametrize(
    ("settings", "keys", "innocent"),
    [
        (FULL_OUTAGE, (*EQUAL, "battery.state.outages", "in 24 of 24 h"), "max_cycles"),
        (
            (FULL_OUTAGE[0], "connection.import_limit_mw=0"),
            (*EQUAL, "connection.import_limit_mw", "charges with at most 0 MW"),
            "outages",
        ),
        (
            (*FULL_OUTAGE, "terminal.mode=value", "battery.soc_min_frac=0.5"),
            ("battery.soc_min_frac", "battery.state.soc_frac", "battery.state.outages"),
            "terminal.mode",
        ),
    ],
)
def test_an_infeasible_day_names_the_inputs_that_conflict(
    settings: tuple[str, ...], keys: tuple[str, ...], innocent: str
) -> None:
    with pytest.raises(InfeasibleError) as caught:
        decided("market.day=2024-06-26", *settings)
    told, _, model = str(caught.value).partition("\nIn the model: ")
    assert "no decision is possible" in told and "Try: " in told and "soc_balance" in model
    for key in keys:
        assert key in told, key
    assert innocent not in told


def test_every_constraint_of_the_model_leads_to_keys_that_exist() -> None:
    """The table of causes speaks of components and keys; a renamed one is found here."""
    schema = words(Config)
    for cause in CAUSES:
        for key in cause.keys:
            assert schema_at(schema, tuple(key.split("."))) is not None, key
    settings = ["market.day=2024-06-26", "terminal.mode=equal_start", CYCLES, AFRR]
    known = set()
    for more in ([], ["battery.efficiency_model=loss_cuts"]):
        data = build_case(load_config(None, settings + more)).data
        for exclusive in ("relaxed", "binary"):
            model = two_stage(replace(data, exclusive=exclusive))
            known |= {part.name for part in model.component_objects((pyo.Constraint, pyo.Var))}
    named = {name for cause in CAUSES for name in cause.components}
    assert named - known == set()


def test_what_is_sold_already_and_what_is_limited_are_told_in_numbers() -> None:
    sold = '{market: fcr, start_local: "2024-06-26T08:00", mw: 1}'
    case = build_case(
        load_config(None, ["market.day=2024-06-26", f"battery.state.commitments=[{sold}]", CYCLES])
    )
    for component, expected in (
        ("recharge_band_up[2]", "up to 1 MW of FCR are sold already (battery.state.commitments)"),
        ("cycle_limit[0]", "at most 4.472 MWh are withdrawn in a day (aging.max_cycles_per_day)"),
        ("lot_hull[1,afrr_up,0]", "whole lots (markets.integer_lots"),
        ("buy_mw[3]", "at most 2 MW are traded in a step (markets.intraday.liquidity_mw"),
    ):
        told = in_keys(InfeasibleError(f"these exclude each other: {component}"), case.data)
        assert expected in str(told)
    unknown = InfeasibleError("no integer solution exists")
    assert in_keys(unknown, case.data) is unknown


def boundless(n_scenarios: int = 3) -> Small:
    """Being long and short at once earns a euro for every MWh."""
    case = small(plain(), n_scenarios)
    case.series["imbalance_long_eur_mwh"] = case.series["imbalance_short_eur_mwh"] + 1.0
    return case


@pytest.mark.parametrize("relax", [True, False])
def test_an_arbitrage_without_limit_names_the_variables_that_grow(relax: bool) -> None:
    block = boundless().blocks
    with pytest.raises(SolverError, match=r"without end: long_mw\[\d+\].*short_mw\[\d+\]"):
        solve_two_stage(block, gap_frac=1e-6, time_limit_s=9.0, engine="decomposition", relax=relax)
    alone = single(block, 0)
    found = solve_problem(alone.relaxed() if relax else alone, SolveOptions())
    assert found.status is Status.UNBOUNDED and found.values is None
    assert "long_mw[" in found.message and "short_mw[" in found.message
    assert "charge_mw" not in found.message


def test_an_infeasible_problem_is_not_taken_for_an_unbounded_one() -> None:
    """Both at once, and presolve does not say which: infeasible is the one to mend first."""
    problem = single(boundless(1).blocks, 0)
    lower, upper = problem.lower.copy(), problem.upper.copy()
    at = problem.columns.index("energy_mwh[1]")
    lower[at] = upper[at] = 1e6
    found = solve_problem(replace(problem, lower=lower, upper=upper), SolveOptions())
    assert found.status is Status.INFEASIBLE and "soc_balance" in found.message


def test_a_rejected_solution_is_told_with_the_sizes_of_the_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = single(small(plain(), 1).blocks, 0).relaxed()
    sizes = np.abs(problem.matrix.data[problem.matrix.data != 0])
    real = highs.load
    monkeypatch.setattr(highs, "load", lambda p, o: Lying(real(p, o), moved(1e-3, 0.4)))
    with pytest.raises(SolverError) as caught:
        solve_problem(problem, SolveOptions())
    assert f"sizes: coefficients {sizes.min():.1e} to {sizes.max():.1e}, " in str(caught.value)


def test_bad_scaling_is_warned_of_with_the_range_of_coefficients(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not for any battery that the configuration accepts, but for what else may be built."""
    problem = single(small(plain(), 1).blocks, 0).relaxed()
    solve_problem(problem, SolveOptions())
    assert caplog.text == ""
    matrix = problem.matrix.copy()
    matrix.data[0] *= 1e12
    solve_problem(replace(problem, matrix=matrix), SolveOptions())
    assert f"to {np.abs(matrix.data).max():.1e}" in caplog.text and "wrong unit" in caplog.text


# ---------------------------------------------------------------- missing, dying, hanging, lying

PROGRAM = "from stochbess.cli import main; main()"
QUICK = ["solve", "--markets", "day-ahead", "--n-scenarios", "3", "--no-worth"]


def program(folder: Path, stub: str) -> subprocess.CompletedProcess[str]:
    """`stochbess solve` in a process of its own that finds `stub` in place of highspy."""
    (folder / "highspy.py").write_text(textwrap.dedent(stub), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *QUICK],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_without_a_solver_the_line_that_installs_it_is_told(tmp_path: Path) -> None:
    done = program(tmp_path, "raise ImportError('no such library')")
    assert done.returncode == 5
    assert "pip install highspy" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_solver_that_crashes_leaves_a_store_that_can_be_used(tmp_path: Path) -> None:
    """The real solver, but its run ends the process as a segmentation fault does."""
    stub = """
        import importlib.util, os, signal, sys
        here = os.path.dirname(os.path.abspath(__file__))
        sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != here]
        del sys.modules["highspy"]
        import highspy
        highspy.Highs.run = lambda self: os.kill(os.getpid(), signal.SIGSEGV)
        sys.modules[__name__] = highspy
    """
    done = program(tmp_path, stub)
    assert done.returncode == -11 and done.stdout == ""
    with Store(tmp_path / "runs") as store:
        assert [record.status for record in store.list()] == ["interrupted"]
        assert store.frame_names(store.list()[0].run_id) == ()


class Lying:
    """HiGHS with one value of every solution it returns moved by `spoil`."""

    def __init__(self, real: Any, spoil: Callable[[Floats], Floats]) -> None:
        object.__setattr__(self, "_real", real)
        object.__setattr__(self, "_spoil", spoil)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._real, name, value)

    def getSolution(self) -> Any:
        solution = self._real.getSolution()
        solution.col_value = list(self._spoil(np.array(solution.col_value)))
        return solution


class Hanging(Lying):
    """HiGHS that goes on until `released` is set, or, if it `heeds`, until it is told to end."""

    released = threading.Event()
    heeds = False

    def run(self) -> None:
        self.released.wait(30.0)

    def cancelSolve(self) -> None:
        if self.heeds:
            self._real.setOptionValue("time_limit", 0.0)
            self._real.run()
            self.released.set()


class Heeding(Hanging):
    heeds = True


def solve_hanging(kind: type[Hanging], patch: pytest.MonkeyPatch) -> SolveOutcome:
    """A MIP that must end soon after its time limit; a bell ends the solver should it not."""
    real = highs.load
    patch.setattr(highs, "load", lambda p, o: kind(real(p, o), lambda values: values))
    patch.setattr(highs, "GRACE_S", 0.2)
    patch.setattr(highs, "CANCEL_S", 0.2)
    patch.setattr(kind, "released", threading.Event())
    bell = threading.Timer(5.0, kind.released.set)
    bell.start()
    began_s = time.monotonic()
    try:
        return solve_problem(single(small(plain(), 1).blocks, 0), SolveOptions(time_limit_s=0.1))
    finally:
        assert time.monotonic() - began_s < 2.0
        bell.cancel()
        kind.released.set()


def test_a_solver_that_hangs_is_given_up_after_the_time_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SolverError, match=r"0\.4 s after its time limit of 0\.1 s.*--n-scenarios"):
        solve_hanging(Hanging, monkeypatch)


def test_a_solver_that_only_forgets_the_time_keeps_what_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = solve_hanging(Heeding, monkeypatch)
    assert found.hit_time_limit and found.status is Status.TIME_LIMIT_NO_SOLUTION


def test_an_interruption_is_not_held_up_by_a_solver_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(highs, "CANCEL_S", 0.2)
    monkeypatch.setattr(Hanging, "released", threading.Event())
    began_s = time.monotonic()
    with pytest.raises(SolverError, match="stopped from outside"):
        highs.run_interruptible(Hanging(highspy.Highs(), lambda values: values), stop)
    assert time.monotonic() - began_s < 2.0
    Hanging.released.set()


def moved(step: float, at: float) -> Callable[[Floats], Floats]:
    def spoil(values: Floats) -> Floats:
        out = values.copy()
        out[int(at * (len(out) - 1))] += step
        return out

    return spoil


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("step", [1e-3, -1e-3])
@pytest.mark.parametrize("at", [0.0, 0.4, 1.0])
def test_a_solver_that_returns_a_wrong_optimum_is_found_out(
    engine: Engine, step: float, at: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    solve_lying(engine, step, at, monkeypatch)


def solve_lying(engine: Engine, step: float, at: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A two-stage solve in which every solution has one value moved must end as an error."""
    block = small(energy_only(plain(), intraday=True), 3, seed=71).blocks
    real = highs.load
    monkeypatch.setattr(highs, "load", lambda p, o: Lying(real(p, o), moved(step, at)))
    with pytest.raises(SolverError):
        solve_two_stage(block, gap_frac=1e-6, time_limit_s=0.5, engine=engine, relax=True)
    if engine == "extensive":
        with pytest.raises(SolverError, match="its certificate rejects"):
            solve_problem(single(block, 0).relaxed(), SolveOptions())


@pytest.mark.parametrize("engine", ["extensive", "decomposition"])
def test_a_solver_that_returns_nan_is_found_out(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    solve_lying(engine, np.nan, 0.0, monkeypatch)


def test_every_end_that_the_solver_can_report_is_called_what_it_is() -> None:
    problem = single(small(plain(), 1).blocks, 0)
    seen = {solve_problem(problem, SolveOptions(time_limit_s=0.0)).status}
    seen.add(solve_problem(problem.relaxed(), SolveOptions()).status)
    assert seen == {Status.TIME_LIMIT_NO_SOLUTION, Status.OPTIMAL}
    without = solve_problem(problem, SolveOptions(time_limit_s=0.0))
    assert without.values is None and without.hit_time_limit and not without.status.has_solution
    for reported, status in highs._STATUS.items():
        assert status.has_solution == (reported.name in ("kOptimal", "kModelEmpty")), reported.name


# ------------------------------------------------------------------------------ scale and ties


def rescaled(case: Small, size: float, money: float) -> Small:
    """The same decision in other units: power and energy times `size`, prices times `money`."""
    asset = case.data.asset
    data = changed(
        case.data,
        asset={
            name: getattr(asset, name) * size
            for name in (
                "energy_min_mwh",
                "energy_max_mwh",
                "energy_start_mwh",
                "charge_limit_mw",
                "discharge_limit_mw",
                "trade_limit_mw",
            )
        },
        energy={
            "liquidity_mw": case.data.energy.liquidity_mw * size,
            "half_spread_eur_mwh": case.data.energy.half_spread_eur_mwh * money,
        },
        terminal={"marginal_eur_mwh": case.data.terminal.marginal_eur_mwh * money},
    )
    data = replace(
        data,
        reserves=replace(
            data.reserves,
            shortfall_eur_mwh_h=data.reserves.shortfall_eur_mwh_h * money,
            undelivered_eur_mwh=data.reserves.undelivered_eur_mwh * money,
        ),
    )
    series = {name: values * money for name, values in case.series.items()}
    return Small(data, series, case.probability)


@pytest.mark.parametrize(("size", "money"), [(0.002, 1.0), (1000.0, 1.0), (1.0, 1e-3), (250, 100)])
def test_profit_in_other_units_is_the_same_profit(size: float, money: float) -> None:
    """From the smallest to the largest battery that the configuration accepts."""
    case = small(energy_only(plain()), 1, seed=72)
    there = rescaled(case, size, money)
    profit, _ = best(case.data, case.series)
    scaled, _ = best(there.data, there.series)
    assert abs(profit) > 1.0
    assert scaled == pytest.approx(profit * size * money, rel=1e-5)


@pytest.mark.parametrize(
    "setting",
    ["battery.energy_mwh=1e-6", "battery.power_mw=1e4", "battery.energy_mwh=1e6"],
)
def test_a_battery_beyond_all_scales_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="the size of a price-taking battery"):
        decided("market.day=2024-06-26", setting)


def test_ties_are_broken_alike_in_every_process() -> None:
    """One price all day: thousands of schedules earn the same, one of them is always taken."""
    code = """
        import hashlib, numpy as np
        from tests.small_case import best, energy_only, plain, small
        case = small(energy_only(plain()), 1, seed=73)
        for values in case.series.values():
            values[:] = 50.0
        case.series["imbalance_long_eur_mwh"][:] = -50.0
        case.series["imbalance_short_eur_mwh"][:] = 150.0
        profit, found = best(case.data, case.series)
        digest = hashlib.sha256()
        for name in sorted(found):
            digest.update(name.encode() + found[name].tobytes())
        print(repr(profit), digest.hexdigest())
    """
    started = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in ("0", "4711")
    ]
    said = [child.communicate(timeout=60)[0] for child in started]
    assert said[0] and said[0] == said[1]
