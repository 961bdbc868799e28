"""Worst expectation over a Wasserstein ball: closed form, risk measure of both engines, metric."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import linprog

from stochbess.engine.risk import Risk
from stochbess.engine.two_stage import Engine, TwoStageOutcome, solve_two_stage
from stochbess.engine.wasserstein import (
    Wasserstein,
    scenario_distance,
    support,
    worst_distribution,
)
from stochbess.errors import ConfigError, ScenarioError, SolverError
from tests.small_case import Small, blocks_of, grid, plain, small, uneven

Floats = npt.NDArray[np.float64]


def transport(cost: Floats, probability: Floats, distance: Floats, radius: float) -> float:
    """The worst expectation as a linear programme over all transport plans."""
    n = len(cost)
    found = linprog(
        -np.tile(cost, n),
        A_eq=np.kron(np.eye(n), np.ones((1, n))),
        b_eq=probability,
        A_ub=distance.reshape(1, -1),
        b_ub=[radius],
    )
    return -float(found.fun)


def ball(n: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Costs with ties, probabilities some of which are zero, distances some of which are zero."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 3))
    if seed % 3 == 0:
        points[-1] = points[0]
    probability = rng.dirichlet(np.ones(n))
    if seed % 2 == 0:
        probability[rng.integers(n)] = 0.0
        probability /= probability.sum()
    apart = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=-1))
    return rng.normal(0.0, 50.0, n).round(seed % 3), probability, apart


def solved(case: Small, risk: Risk, engine: Engine = "extensive") -> TwoStageOutcome:
    return solve_two_stage(case.blocks, gap_frac=1e-7, time_limit_s=60.0, engine=engine, risk=risk)


CASE = small(plain(grid((2.0, 2.0))), 6)
APART = scenario_distance(CASE.series, CASE.probability)


# -- costs that are given -------------------------------------------------------------------------
@pytest.mark.parametrize("radius", [0.0, 0.05, 0.4, 1.5, 20.0])
def test_the_worst_expectation_is_the_optimum_over_all_transport_plans(radius: float) -> None:
    for seed in range(25):
        cost, p, apart = ball(2 + seed % 9, seed)
        found = worst_distribution(cost, p, apart, radius)
        assert found.cost == pytest.approx(transport(cost, p, apart, radius), abs=1e-6)
        assert found.cost == pytest.approx(found.probability @ cost)
        assert (found.plan >= 0).all()
        assert found.plan.sum(axis=1) == pytest.approx(p)
        assert (found.plan * apart).sum() <= radius + 1e-9


def test_the_worst_expectation_grows_with_the_radius_from_the_mean_to_the_worst_scenario() -> None:
    cost, p, apart = ball(8, 1)
    radii = np.linspace(0.0, 1.2 * apart.max(), 30)
    worst = [worst_distribution(cost, p, apart, r).cost for r in radii]
    assert worst[0] == pytest.approx(p @ cost)
    assert worst[-1] == pytest.approx(cost.max())
    assert (np.diff(worst) >= -1e-9).all()
    assert (np.diff(worst, 2) <= 1e-9).all(), "concave in the radius"


def test_the_price_of_the_radius_is_the_slope_of_the_worst_expectation() -> None:
    cost, p, apart = ball(7, 4)
    here, beyond = (worst_distribution(cost, p, apart, r) for r in (0.30, 0.30 + 1e-6))
    assert here.price > 1.0
    assert (beyond.cost - here.cost) / 1e-6 == pytest.approx(here.price, rel=1e-4)


def test_points_of_probability_zero_take_mass_but_give_none() -> None:
    apart = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
    p = np.array([0.5, 0.5, 0.0])
    found = worst_distribution(np.array([0.0, 10.0, 40.0]), p, apart, 0.25)
    # From the second scenario a unit of distance earns 30, from the first to the third 20.
    assert found.cost == pytest.approx(5.0 + 0.25 * 30.0)
    assert found.probability == pytest.approx([0.5, 0.25, 0.25])
    same = worst_distribution(np.array([0.0, 10.0, -40.0]), p, apart, 0.25)
    assert same.probability[2] == 0.0


def test_costs_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(SolverError, match="NaN"):
        worst_distribution(np.array([1.0, np.nan]), np.full(2, 0.5), np.zeros((2, 2)), 0.1)


# -- as a risk measure ----------------------------------------------------------------------------
def test_a_radius_of_zero_is_the_two_stage_expectation() -> None:
    robust = solved(CASE, Wasserstein(radius=0.0, distance=APART))
    assert robust.cost == pytest.approx(solved(CASE, Risk()).cost, rel=1e-6)


def test_a_large_radius_is_the_worst_scenario_of_the_support() -> None:
    robust = solved(CASE, Wasserstein(radius=10 * float(APART.max()), distance=APART))
    worst = solved(CASE, Risk(1.0, 1 - 0.9 * float(CASE.probability.min())))
    assert robust.cost == pytest.approx(worst.cost, rel=1e-6)
    assert robust.cost == pytest.approx(robust.scenario_cost.max(), rel=1e-6)


@pytest.mark.parametrize("radius", [0.1, 0.5])
def test_both_engines_find_the_same_worst_expectation(radius: float) -> None:
    risk = Wasserstein(radius=radius, distance=APART)
    extensive, decomposed = solved(CASE, risk), solved(CASE, risk, "decomposition")
    assert extensive.cost == pytest.approx(decomposed.cost, rel=1e-5)
    assert extensive.bound <= decomposed.cost + 1e-4 and decomposed.bound <= extensive.cost + 1e-4
    again = worst_distribution(extensive.scenario_cost, CASE.probability, APART, radius)
    assert extensive.cost == pytest.approx(again.cost, rel=1e-9)


def test_the_optimal_profit_does_not_rise_with_the_radius() -> None:
    costs = [solved(CASE, Wasserstein(radius=r, distance=APART)).cost for r in (0.0, 0.2, 0.6, 1.5)]
    assert (np.diff(costs) >= -1e-5).all() and costs[-1] > costs[0] + 1.0


def test_the_decision_is_better_in_its_ball_than_the_risk_neutral_one() -> None:
    risk = Wasserstein(radius=0.4, distance=APART)
    neutral, robust = solved(CASE, Risk()), solved(CASE, risk)
    assert robust.cost <= risk.of_cost(neutral.scenario_cost, CASE.probability) + 1e-4
    assert CASE.probability @ robust.scenario_cost >= neutral.cost - 1e-4


def test_further_points_of_the_support_make_the_worst_expectation_no_better() -> None:
    more = {name: values[:3].copy() for name, values in CASE.series.items()}
    more["fcr_eur_mw"] *= 0.2
    series, p, new = support(CASE.series, CASE.probability, more)
    assert list(new) == [6, 7, 8] and p.sum() == pytest.approx(1.0)
    apart = scenario_distance(series, p)
    assert apart[:6, :6] == pytest.approx(APART), "new points must not change the unit"
    assert apart[0, 6] < APART[0, 1:].min()
    wide = solve_two_stage(
        blocks_of(CASE.data, series, p),
        gap_frac=1e-7,
        time_limit_s=60.0,
        engine="extensive",
        risk=Wasserstein(radius=0.4, distance=apart),
    )
    assert wide.cost > solved(CASE, Wasserstein(radius=0.4, distance=APART)).cost + 0.1


def test_halving_a_scenario_changes_nothing() -> None:
    twice = [0, 0, 1, 2, 3, 4, 5]
    series = {name: values[twice] for name, values in CASE.series.items()}
    p = CASE.probability[twice]
    p[:2] /= 2
    apart = scenario_distance(series, p)
    assert apart[0, 1] == 0.0
    halved = solved(
        replace(CASE, series=series, probability=p), Wasserstein(radius=0.3, distance=apart)
    )
    whole = solved(CASE, Wasserstein(radius=0.3, distance=APART))
    assert halved.cost == pytest.approx(whole.cost, rel=1e-6)


# -- the metric -----------------------------------------------------------------------------------
def test_the_distance_counts_standard_deviations() -> None:
    series = {"a": np.array([[0.0, 0.0], [2.0, 2.0]]), "b": np.full((2, 3), 7.0)}
    p = np.full(2, 0.5)
    assert scenario_distance(series, p) == pytest.approx(np.array([[0.0, 2.0], [2.0, 0.0]]))
    assert scenario_distance(series, p, {"a": 4.0})[0, 1] == pytest.approx(
        np.sqrt((2 * 0.5**2 + 0.0) / 2)
    )


def test_money_in_another_unit_leaves_distances_as_they_are() -> None:
    cents = {name: 100.0 * values for name, values in CASE.series.items()}
    assert scenario_distance(cents, uneven(6)) == pytest.approx(APART)


def test_what_is_no_ball_is_refused() -> None:
    with pytest.raises(ConfigError, match="radius"):
        Wasserstein(radius=-0.1, distance=APART)
    with pytest.raises(ScenarioError, match="symmetric"):
        Wasserstein(radius=0.1, distance=np.triu(APART))
    with pytest.raises(ScenarioError, match="expected \\(S, S\\)"):
        Wasserstein(radius=0.1, distance=APART[:3])
    with pytest.raises(ScenarioError, match="6 of them"):
        Wasserstein(radius=0.1, distance=APART).rows(5)
    with pytest.raises(ScenarioError, match="no series differs"):
        scenario_distance({"a": np.ones((2, 3))}, np.full(2, 0.5))
    with pytest.raises(ScenarioError, match="scale of a"):
        scenario_distance({"a": np.eye(2)}, np.full(2, 0.5), {"a": 0.0})
