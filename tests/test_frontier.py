"""Curves of what less risk costs: their identities, their order, and what they write."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stochbess.cli_frontier import document
from stochbess.cli_picture import draw_frontier
from stochbess.engine.lshaped import CutPool
from stochbess.engine.risk import Risk
from stochbess.engine.two_stage import solve_two_stage
from stochbess.errors import ConfigError
from stochbess.frontier import Frontier, _carried, _efficient, _Point, checked, frontier
from stochbess.run import solve
from tests.small_case import blocks_of, everything, grid, series_of, uneven

SMALL = (
    "scenarios.n=4", "solver.gap_frac=0.02", "aging.model=none", "markets.fcr.enabled=false",
    "robust.period_h=4",
)  # fmt: skip
ENERGY = (*SMALL, "markets.afrr.enabled=false")


@cache
def curve(over: str, *values: float) -> Frontier:
    overrides = SMALL if over == "budget" else ENERGY
    return frontier(None, over, values, overrides=overrides)  # type: ignore[arg-type]


# -- identities -----------------------------------------------------------------------------------
def test_the_ends_of_the_efficient_frontier_are_the_mean_and_the_worst_scenario() -> None:
    points = curve("cvar", 0.0, 0.5, 1.0).points
    run = solve(None, overrides=ENERGY, worth=False, store=False)
    first, last = points.iloc[0], points.iloc[-1]
    # Both bracket the same optimum.
    assert first["own_profit_eur"] <= float(run.fact("profit_bound").value) + 1e-6  # type: ignore[arg-type]
    assert float(run.fact("profit").value) <= first["own_bound_eur"] + 1e-6  # type: ignore[arg-type]
    assert first["own_profit_eur"] == pytest.approx(first["expected_profit_eur"], rel=1e-6)
    # Four scenarios: the worst five percent are a part of one of them.
    assert last["own_profit_eur"] == pytest.approx(last["worst_scenario_eur"], rel=1e-6)
    assert last["cvar_eur"] == pytest.approx(last["worst_scenario_eur"], rel=1e-9)


def test_less_weight_on_the_tail_never_has_a_lower_proven_mean() -> None:
    points = curve("cvar", 0.0, 0.5, 1.0).points
    gap = (points["own_bound_eur"] - points["own_profit_eur"]).max()
    assert (np.diff(points["expected_profit_eur"]) <= gap + 1e-6).all()
    assert (np.diff(points["cvar_eur"]) >= -2 * gap - 1e-6).all()


def test_the_worst_expectation_does_not_rise_with_the_radius() -> None:
    points = curve("radius", 0.0, 0.2, 5.0).points
    assert (np.diff(points["own_profit_eur"]) <= 1e-6).all()
    assert (np.diff(points["own_bound_eur"]) <= 1e-6).all()
    assert points["own_profit_eur"].iloc[0] > points["own_profit_eur"].iloc[-1] + 1.0
    # A radius beyond all distances: the worst scenario alone.
    last = points.iloc[-1]
    assert last["own_profit_eur"] == pytest.approx(last["worst_scenario_eur"], rel=1e-6)


@pytest.mark.slow
def test_the_worst_activation_does_not_rise_with_the_budget() -> None:
    points = curve("budget", 0.0, 1.0, 2.0).points
    assert (np.diff(points["own_profit_eur"]) <= 1e-6).all()
    assert (np.diff(points["own_bound_eur"]) <= 1e-6).all()
    assert (points["own_profit_eur"] <= points["own_bound_eur"] + 1e-6).all()
    assert points["own_profit_eur"].iloc[0] > points["own_profit_eur"].iloc[-1] + 1.0


def test_every_point_is_certified_and_prices_its_own_decision() -> None:
    found = curve("cvar", 0.0, 0.5, 1.0)
    assert found.points["violation"].max() <= 1e-6
    assert len(found.decisions) == len(found.points)
    written = document(found)
    assert [row["parameter"] for row in written["points"]] == [0.0, 0.5, 1.0]
    assert all(any(name.startswith("day_ahead_mw") for name in row["decision"])
               for row in written["points"])  # fmt: skip


# -- parts ----------------------------------------------------------------------------------------
def test_what_a_point_proves_is_carried_to_the_others() -> None:
    base = _Point(0.0, 0.0, 0.0, {}, False, 0.0)
    points = [
        replace(base, parameter=0.0, profit_eur=90.0, bound_eur=100.0, first_stage={"a": 0.0}),
        replace(base, parameter=1.0, profit_eur=95.0, bound_eur=101.0, first_stage={"a": 1.0}),
        replace(base, parameter=2.0, profit_eur=80.0, bound_eur=85.0, first_stage={"a": 2.0}),
    ]
    found = _carried(points)
    assert [p.bound_eur for p in found] == [100.0, 100.0, 85.0]
    assert [p.profit_eur for p in found] == [95.0, 95.0, 80.0]
    assert found[0].first_stage == {"a": 1.0} and found[2].first_stage == {"a": 2.0}
    assert [p.parameter for p in found] == [0.0, 1.0, 2.0]


def test_a_point_is_beaten_by_one_that_has_no_less_of_both_and_more_of_one() -> None:
    frame = pd.DataFrame(
        {"expected_profit_eur": [100.0, 90.0, 99.0], "cvar_eur": [50.0, 60.0, 50.0]}
    )
    assert _efficient(frame) == [True, True, False]


def test_cuts_of_one_measure_serve_another() -> None:
    data = everything(grid((2.0, 2.0)))
    block = blocks_of(data, series_of(data, 4, seed=2), uneven(4))
    cuts = CutPool.empty(len(block.template.first_stage))
    options = {"gap_frac": 1e-6, "time_limit_s": 60.0, "engine": "decomposition"}
    solve_two_stage(block, **options, cuts=cuts)  # type: ignore[arg-type]
    n_cuts = len(cuts.intercept)
    assert n_cuts > 0 and cuts.gradient.shape[0] == len(cuts.scenario) == n_cuts
    warm = solve_two_stage(block, **options, risk=Risk(0.7, 0.5), cuts=cuts)  # type: ignore[arg-type]
    cold = solve_two_stage(block, **options, risk=Risk(0.7, 0.5))  # type: ignore[arg-type]
    assert warm.cost == pytest.approx(cold.cost, rel=1e-5)
    assert len(cuts.intercept) >= n_cuts


@pytest.mark.parametrize(
    ("over", "values", "words"),
    [
        ("cvar", [0.5, 1.5], "found 1.5; expected weights from 0 to 1"),
        ("budget", [0.5], "whole numbers"),
        ("radius", [-0.1], "radii"),
        ("radius", [float("nan")], "radii"),
        ("cvar", [], "no values"),
        ("mean", [1.0], "expected one of cvar, budget, radius"),
    ],
)
def test_values_that_are_none_of_a_curve_are_refused(
    over: str, values: list[float], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        checked(over, values)
    assert checked("cvar", [1.0, 0.0, 1.0]) == [0.0, 1.0]


# -- pictures -------------------------------------------------------------------------------------
@pytest.mark.parametrize("over", ["cvar", "radius"])
def test_the_picture_of_a_curve_is_the_same_when_it_is_drawn_again(
    over: str, tmp_path: Path
) -> None:
    found = curve("cvar", 0.0, 0.5, 1.0) if over == "cvar" else curve("radius", 0.0, 0.2, 5.0)
    for name in ("a.svg", "b.svg"):
        draw_frontier(found, tmp_path / name)
    first, second = ((tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second and b"SYNTHETIC" in first
