"""What must hold for every two-stage problem, whatever its numbers are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pytest
from scipy import sparse as sp
from scipy.optimize import linprog

from stochbess.engine.matrix import Blocks, blocks, extensive_form
from stochbess.engine.risk import Risk, cvar
from stochbess.engine.template import compile_template
from stochbess.engine.two_stage import (
    Engine,
    TwoStageOutcome,
    evaluate_first_stage,
    solve_two_stage,
)
from stochbess.models.data import AgingCut, ModelData
from stochbess.models.deterministic import deterministic
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.timegrid import Horizon
from tests.small_case import (
    Series,
    Small,
    blocks_of,
    changed,
    energy_only,
    everything,
    grid,
    plain,
    small,
)

Floats = npt.NDArray[np.float64]
LP_GAP, MIP_GAP = 1e-9, 1e-6
NEUTRAL = Risk()
CASES = {"plain": plain(), "everything": everything()}
COARSE = everything(grid((3.0, 5.0, 4.0), dt_h=1.0))


def solved(
    block: Blocks, engine: Engine = "extensive", *, relax: bool = False, risk: Risk = NEUTRAL
) -> TwoStageOutcome:
    gap = LP_GAP if relax else MIP_GAP
    return solve_two_stage(
        block, gap_frac=gap, time_limit_s=60.0, engine=engine, relax=relax, risk=risk
    )


def profit(block: Blocks, engine: Engine = "extensive", *, relax: bool = False) -> float:
    return -solved(block, engine, relax=relax).cost


def wait_and_see(block: Blocks, relax: bool) -> float:
    """Expectation of the scenarios' own optima."""
    own = [profit(block.subset(np.array([s])), relax=relax) for s in range(block.n_scenarios)]
    return float(block.probability @ own)


def expected_value_result(case: Small, block: Blocks, relax: bool) -> float:
    """EEV: decide on the mean scenario, pay on all of them."""
    mean = {name: (case.probability @ v)[None, :] for name, v in case.series.items()}
    decided = solved(blocks(block.template, mean, np.ones(1)), relax=relax)
    return -evaluate_first_stage(block, decided.x).cost


# -- one scenario, WS, RP, EEV --------------------------------------------------------------------
@pytest.mark.parametrize("name", CASES)
def test_two_stage_with_one_scenario_earns_what_the_deterministic_problem_earns(name: str) -> None:
    case = small(CASES[name], 1, seed=3)
    alone = compile_template(deterministic(case.data))
    assert alone.first_stage.size == 0
    certain = profit(blocks(alone, case.series, case.probability))
    for engine in ("extensive", "decomposition"):
        assert profit(case.blocks, engine) == pytest.approx(certain, rel=2 * MIP_GAP)


@pytest.mark.parametrize("relax", [True, False], ids=["fractional lots", "whole lots"])
@pytest.mark.parametrize("name", CASES)
def test_wait_and_see_beats_the_recourse_problem_and_that_beats_the_mean_scenario(
    name: str, relax: bool
) -> None:
    case = small(CASES[name], 5, seed=4)
    block = case.blocks
    ws, rp = wait_and_see(block, relax), profit(block, relax=relax)
    eev = expected_value_result(case, block, relax)
    slack = 2 * MIP_GAP * abs(rp)
    assert ws >= rp - slack and rp >= eev - slack
    # Not by equality: the instance has something to know and something to hedge.
    assert ws > rp + 1.0 and rp > eev + 1.0


def test_nothing_is_gained_by_stochastic_bidding_in_a_market_without_friction() -> None:
    """Separable in the day-ahead position, whose mean price alone counts (Kim et al. 2021)."""
    data = energy_only(plain(grid((4.0, 4.0, 4.0))), half_spread_eur_mwh=0.0, liquidity_mw=100.0)
    gained = []
    for seed in range(4):
        case = small(data, 8, seed=seed)
        block = case.blocks
        rp, eev = profit(block, relax=True), expected_value_result(case, block, relax=True)
        assert rp == pytest.approx(eev, rel=1e-8)
        assert wait_and_see(block, relax=True) > rp + 1.0
        spread = energy_only(data, half_spread_eur_mwh=15.0)
        hedged = Small(spread, case.series, case.probability)
        gained.append(
            profit(hedged.blocks, relax=True)
            - expected_value_result(hedged, hedged.blocks, relax=True)
        )
    # The same prices with a spread: now a position taken on the mean scenario costs money.
    assert max(gained) > 0.1


@pytest.mark.parametrize("data", [plain(), COARSE], ids=["plain", "everything"])
def test_knowing_more_before_day_ahead_never_earns_less(data: ModelData) -> None:
    """WS >= A (lots now, the rest clairvoyant) >= M (lots and day-ahead now)."""
    case = small(data, 4, seed=5)
    late = replace(case, data=changed(case.data, energy={"day_ahead": "recourse"}))
    ws = wait_and_see(case.blocks, relax=False)
    a, m = profit(late.blocks), profit(case.blocks)
    slack = 2 * MIP_GAP * abs(m)
    assert ws >= a - slack and a >= m - slack
    assert ws > a + 1e-2 and a > m + 1.0


# -- extensive form and decomposition -------------------------------------------------------------
RISKS = {
    "expectation": Risk(),
    "half CVaR 0.7": Risk(0.5, 0.7),
    "CVaR 0.9": Risk(1.0, 0.9),
}


@pytest.mark.parametrize("risk", RISKS)
@pytest.mark.parametrize("name", CASES)
def test_decomposition_finds_the_optimum_of_the_continuous_extensive_form(
    name: str, risk: str
) -> None:
    block = small(CASES[name], 6, seed=6).blocks
    whole = solved(block, relax=True, risk=RISKS[risk])
    split = solved(block, "decomposition", relax=True, risk=RISKS[risk])
    assert split.cost == pytest.approx(whole.cost, rel=1e-8)
    assert split.bound == pytest.approx(whole.cost, rel=1e-8)
    assert split.bound <= split.cost


@pytest.mark.parametrize("risk", RISKS)
@pytest.mark.parametrize("name", CASES)
def test_decomposition_finds_the_optimum_of_the_extensive_form_with_whole_lots(
    name: str, risk: str
) -> None:
    block = small(CASES[name], 4, seed=7).blocks
    whole = solved(block, risk=RISKS[risk])
    split = solved(block, "decomposition", risk=RISKS[risk])
    assert split.cost == pytest.approx(whole.cost, rel=1e-5)
    # Each lower bound holds for the other's incumbent.
    assert split.bound <= whole.cost + 1e-6 * abs(whole.cost)
    assert whole.bound <= split.cost + 1e-6 * abs(split.cost)


# -- risk -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ["extensive", "decomposition"])
def test_without_weight_or_with_the_whole_distribution_as_tail_risk_is_the_expectation(
    engine: Engine,
) -> None:
    block = small(plain(), 5, seed=8).blocks
    neutral = solved(block, engine, relax=True).cost
    for risk in (Risk(0.0, 0.95), Risk(1e-12, 0.9), Risk(1.0, 0.0), Risk(0.4, 0.0)):
        assert solved(block, engine, relax=True, risk=risk).cost == pytest.approx(neutral, rel=1e-8)


def worst_case_cost(block: Blocks) -> float:
    """Smallest possible cost of the worst scenario: an epigraph over the extensive form."""
    problem, columns = extensive_form(block)
    position = columns.positions()
    rows = np.repeat(np.arange(block.n_scenarios), block.cost.shape[1])
    costs = sp.csr_array(
        (block.cost.ravel(), (rows, position.ravel())),
        shape=(block.n_scenarios, problem.n_columns),
    )
    upper = np.isfinite(problem.row_upper)
    lower = np.isfinite(problem.row_lower)
    matrix = sp.vstack([problem.matrix[upper], -problem.matrix[lower]])
    matrix = sp.block_array(
        [
            [matrix, sp.csr_array((matrix.shape[0], 1))],
            [costs, -np.ones((block.n_scenarios, 1))],
        ]
    )
    bounds = np.column_stack((np.append(problem.lower, -np.inf), np.append(problem.upper, np.inf)))
    found = linprog(
        np.append(np.zeros(problem.n_columns), 1.0),
        A_ub=matrix,
        b_ub=np.concatenate((problem.row_upper[upper], -problem.row_lower[lower], -block.offset)),
        bounds=bounds,
    )
    assert found.status == 0
    return float(found.fun)


@pytest.mark.parametrize("engine", ["extensive", "decomposition"])
def test_a_tail_thinner_than_any_scenario_makes_the_worst_scenario_as_good_as_possible(
    engine: Engine,
) -> None:
    case = small(everything(), 4, seed=9)
    block = case.blocks
    level = 1 - 0.5 * float(case.probability.min())
    found = solved(block, engine, relax=True, risk=Risk(1.0, level))
    assert found.cost == pytest.approx(float(found.scenario_cost.max()), rel=1e-7)
    assert found.cost == pytest.approx(worst_case_cost(block), rel=1e-7)
    assert found.cost < float(solved(block, relax=True).scenario_cost.max()) - 1.0


def test_more_risk_aversion_buys_a_better_tail_with_expected_profit() -> None:
    block = small(plain(), 6, seed=10).blocks
    means, tails = [], []
    for weight in (0.0, 0.3, 0.7, 1.0):
        found = solved(block, relax=True, risk=Risk(weight, 0.8))
        earned = -found.scenario_cost
        means.append(float(block.probability @ earned))
        tails.append(cvar(earned, block.probability, 0.8))
    tolerance = 1e-6 * abs(means[0])
    assert (np.diff(means) <= tolerance).all() and (np.diff(tails) >= -tolerance).all()
    assert means[0] > means[-1] + 1.0 and tails[-1] > tails[0] + 1.0


# -- symmetries -----------------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ["extensive", "decomposition"])
@pytest.mark.parametrize("risk", [Risk(), Risk(0.6, 0.75)], ids=["neutral", "averse"])
def test_the_order_of_the_scenarios_changes_nothing(engine: Engine, risk: Risk) -> None:
    case = small(COARSE, 4, seed=11)
    order = np.array([2, 0, 3, 1])
    mixed = {name: values[order] for name, values in case.series.items()}
    before = solved(case.blocks, engine, risk=risk)
    after = solved(blocks_of(case.data, mixed, case.probability[order]), engine, risk=risk)
    assert after.cost == pytest.approx(before.cost, rel=2 * MIP_GAP)


@pytest.mark.parametrize("engine", ["extensive", "decomposition"])
@pytest.mark.parametrize("risk", [Risk(), Risk(0.6, 0.75)], ids=["neutral", "averse"])
def test_halving_a_scenario_into_two_changes_nothing(engine: Engine, risk: Risk) -> None:
    case = small(COARSE, 3, seed=12)
    twice = np.array([0, 1, 1, 2])
    weight = case.probability[twice] * np.array([1.0, 0.5, 0.5, 1.0])
    doubled = {name: values[twice] for name, values in case.series.items()}
    before = solved(case.blocks, engine, risk=risk)
    after = solved(blocks_of(case.data, doubled, weight), engine, risk=risk)
    assert after.cost == pytest.approx(before.cost, rel=2 * MIP_GAP)


def dearer(data: ModelData, k: float) -> ModelData:
    """`data` with every amount of money multiplied by k."""
    res, fees, aging = data.reserves, data.fees, data.aging
    return changed(
        data,
        reserves={
            "shortfall_eur_mwh_h": k * res.shortfall_eur_mwh_h,
            "undelivered_eur_mwh": k * res.undelivered_eur_mwh,
        },
        energy={"half_spread_eur_mwh": k * data.energy.half_spread_eur_mwh},
        fees={
            "import_fee_eur_mwh": k * fees.import_fee_eur_mwh,
            "export_fee_eur_mwh": k * fees.export_fee_eur_mwh,
            "levy_eur_mwh": k * fees.levy_eur_mwh,
            "capacity_fee_eur": k * fees.capacity_fee_eur,
        },
        terminal={"marginal_eur_mwh": k * data.terminal.marginal_eur_mwh},
        aging={
            "throughput_eur_mwh": k * aging.throughput_eur_mwh,
            "cost_eur_mwh": k * aging.cost_eur_mwh,
            "cuts": tuple(
                AgingCut(k * cut.intercept_eur, k * cut.gradient_eur_mwh) for cut in aging.cuts
            ),
        },
    )


def in_other_money(series: Mapping[str, Floats], k: float) -> Series:
    return {n: v if n.endswith("_frac") else k * v for n, v in series.items()}


def with_a_cut(data: ModelData) -> ModelData:
    """A cut that is dear at any stored energy, so that its money counts too."""
    cut = AgingCut(50.0, np.full(data.grid.n_steps, 1.5))
    return changed(data, aging={"cuts": (cut,)})


@pytest.mark.parametrize("k", [0.01, 7.5])
def test_profit_is_counted_in_any_currency(k: float) -> None:
    data = with_a_cut(COARSE)
    case = small(data, 3, seed=13)
    other = blocks_of(dearer(data, k), in_other_money(case.series, k), case.probability)
    for relax in (True, False):
        expected = k * profit(case.blocks, relax=relax)
        assert profit(other, relax=relax) == pytest.approx(expected, rel=2 * MIP_GAP)


def test_the_time_zone_of_the_labels_is_of_no_consequence() -> None:
    horizon = Horizon(date(2024, 10, 27), 1, "Europe/Berlin", 15, 60)
    prices = np.random.default_rng(0).normal(50.0, 20.0, (2, len(horizon.steps)))
    sets = [
        ScenarioSet(
            names=("a", "b"),
            probability=np.array([0.25, 0.75]),
            values={"intraday_eur_mwh": prices},
            index={"intraday_eur_mwh": horizon.steps.tz_convert(zone)},
            provenance={},
        ).for_horizon(horizon, ["intraday_eur_mwh"])
        for zone in ("UTC", "Europe/Berlin", "America/New_York")
    ]
    for other in sets[1:]:
        assert other.sha256 == sets[0].sha256
        assert (other.values["intraday_eur_mwh"] == prices).all()
