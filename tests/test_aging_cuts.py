"""Aging by cuts: the curve, its layers and minorants, and decisions that price the true path."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from stochbess.battery.cut_cycle import CycleCost, cycle_cost_of, turning_positions
from stochbess.battery.cycle_curve import hulled_cycle_increment, loss_to_eur
from stochbess.battery.hull_curve import HullCurve, hull_curve, naumann_hull_curve
from stochbess.battery.rainflow import carry, cycle_cost
from stochbess.decide import Decision, Effort, Problem
from stochbess.engine import lazy as lazy_module
from stochbess.engine.exclusive import exclusive_recourse
from stochbess.engine.highs import SolveOptions, solve_problem
from stochbess.engine.lazy import RowPool, Separation, with_rows
from stochbess.engine.lshaped import Recourse
from stochbess.engine.matrix import single
from stochbess.engine.risk import NEUTRAL, Risk
from stochbess.engine.two_stage import (
    Engine,
    TwoStageOutcome,
    evaluate_first_stage,
    solve_two_stage,
)
from stochbess.errors import ConfigError, SolverError
from stochbess.models.aging_cuts import AgingRows, aging_rows
from stochbess.models.data import Aging, ModelData, Terminal
from stochbess.run import solve
from tests.small_case import (
    TURNING_POINTS_FRAC,
    Small,
    arr,
    blocks_of,
    changed,
    energy_only,
    everything,
    grid,
    plain,
    segments,
    small,
    template_of,
)

Floats = npt.NDArray[np.float64]
CURVE = naumann_hull_curve(
    energy_mwh=8.0,
    replacement_cost_eur_kwh=40.0,
    usable_fade_frac=0.2,
    cycle_loss_frac=0.05,
    c_rate_per_h=0.5,
)
EFFORT = Effort(gap_frac=1e-6, time_limit_s=60.0, threads=1)


def with_cuts(
    data: ModelData,
    curve: HullCurve = CURVE,
    usable_mwh: float = 8.0,
    past_frac: tuple[float, ...] = (),
    gap_frac: float = 1e-7,
) -> ModelData:
    """`data` with aging by cuts on `curve`."""
    floor = data.asset.energy_min_mwh / usable_mwh
    cost = cycle_cost_of(curve, usable_mwh, floor, past_frac)
    aging = Aging("cuts", path_cost=cost, cut_gap_frac=gap_frac)
    return replace(data, aging=aging)


def solved(
    case: Small, engine: Engine, gap_frac: float = 1e-6, risk: Risk = NEUTRAL
) -> TwoStageOutcome:
    return solve_two_stage(
        case.blocks,
        gap_frac=gap_frac,
        time_limit_s=60.0,
        engine=engine,
        risk=risk,
        lazy=aging_rows(case.data),
    )


def decided(case: Small, formulation: str = "two-stage", effort: Effort = EFFORT) -> Decision:
    problem = Problem(case.data, "two-stage" if formulation == "two-stage" else "deterministic")
    return problem.decide(case.series, case.probability, effort)


def source_of(data: ModelData) -> CycleCost:
    cost = data.aging.path_cost
    assert isinstance(cost, CycleCost)
    return cost


def moved_eur(data: ModelData, values: dict[str, Floats], s: int) -> float:
    """The price of gross throughput in scenario s."""
    asset = data.asset
    moved = asset.charge_efficiency_frac * values["charge_mw"][s].sum()
    moved += values["discharge_mw"][s].sum() / asset.discharge_efficiency_frac
    return float(source_of(data).shallow_eur_mwh * data.grid.dt_h * moved)


def random_pairs(count: int, seed: int) -> list[tuple[Floats, Floats]]:
    """Pairs of paths [MWh of 8] with a common start: far apart, close, and on coarse levels."""
    rng = np.random.default_rng(seed)
    pairs = []
    for i in range(count):
        n = int(rng.integers(2, 30))
        a, b = rng.random(n), rng.random(n)
        if i % 3 == 1:
            b = np.clip(a + rng.normal(0.0, 0.03, n), 0.0, 1.0)
        if i % 3 == 2:
            a, b = np.round(a * 6) / 6, np.round(b * 6) / 6
        b[0] = a[0]
        pairs.append((8.0 * a, 8.0 * b))
    return pairs


# -- the curve ------------------------------------------------------------------------------------
def test_the_curve_is_the_convex_hull_of_the_law_as_the_segments_know_it() -> None:
    depth = np.linspace(0.0, 1.0, 41)
    loss = hulled_cycle_increment(depth, 0.5, 0.05)
    full_eur = loss_to_eur(loss, 8.0, 40.0, 0.2)
    assert CURVE.cost_full_eur(depth) == pytest.approx(full_eur, abs=1e-9)
    assert (CURVE.half_cost_eur(depth) <= CURVE.half_law_eur(depth) + 1e-9).all()
    assert (np.diff(CURVE.slope_eur) >= 0).all() and CURVE.cost_eur[0] == 0
    assert CURVE.hull_gap_frac == pytest.approx(0.0664, abs=2e-4)


def test_the_slope_of_the_curve_is_that_of_its_price_also_beyond_the_deepest_cycle() -> None:
    for depth in (0.1003, 0.4, 0.9002, 1.2):
        rise = CURVE.half_cost_eur(depth + 1e-5) - CURVE.half_cost_eur(depth - 1e-5)
        assert CURVE.half_slope_eur(depth) == pytest.approx(rise / 2e-5, rel=1e-5)


def test_layers_are_convex_begin_at_zero_and_add_up_to_the_price() -> None:
    for count in (1, 3, 8, 20):
        layers = CURVE.layers(count)
        assert 1 <= len(layers) <= count
        for layer in layers:
            assert layer.cost_eur[0] == 0 and layer.slope_eur.max() > 0
            assert (np.diff(layer.slope_eur) >= 0).all() and layer.slope_eur.min() >= 0
        total = CURVE.shallow_eur * CURVE.depth + sum(layer.cost_eur for layer in layers)
        assert total == pytest.approx(CURVE.cost_eur, abs=1e-9)
    starts = [float(CURVE.depth[np.flatnonzero(x.slope_eur > 1e-9)[0]]) for x in CURVE.layers(8)]
    assert starts == sorted(starts) and starts[0] < 0.01 and starts[-1] > 0.9
    assert not [s for s in starts if 0.22 < s < 0.70]  # the hull is straight there


def test_a_straight_price_has_no_layers_and_needs_no_rows() -> None:
    straight = hull_curve(np.linspace(0.0, 30.0, 11), "straight")
    assert straight.layers(8) == ()
    data = with_cuts(energy_only(plain(grid((4.0,), dt_h=1.0))), straight)
    assert aging_rows(data) is None
    case = small(data, 1)
    priced = changed(data, aging={"model": "throughput", "path_cost": None})
    priced = changed(priced, aging={"throughput_eur_mwh": 30.0 / 8.0})
    low = decided(case).profit_lb_eur
    # a price on energy in and out is a price on what is withdrawn plus one on what is charged
    values = decided(case).values
    assert low <= decided(Small(priced, case.series, case.probability)).profit_ub_eur + 1e-6
    assert values["charge_mw"].sum() > 0


def test_a_price_that_is_no_price_of_depth_is_refused() -> None:
    for bad in ([1.0, 2.0, 3.0], [0.0, -1.0, 3.0], [0.0, np.nan, 1.0], [0.0, 1.0]):
        with pytest.raises(ConfigError, match="half cycle"):
            hull_curve(bad, "bad")
    with pytest.raises(ConfigError, match="usable energy"):
        CycleCost(CURVE, 0.0)


# -- minorants ------------------------------------------------------------------------------------
@pytest.mark.parametrize("past", [(), (0.1, 0.95, 0.3, 0.6)])
def test_cuts_minorise_the_cost_of_three_thousand_random_paths(past: tuple[float, ...]) -> None:
    cost = CycleCost(CURVE, 8.0, past_frac=past)
    worst = -np.inf
    for at, other in random_pairs(3000, seed=len(past)):
        value, gradient = cost.minorants(at)
        excess = value + gradient @ (other - at) - cost.deep_eur(other)
        worst = max(worst, float(excess.max()))
    assert worst <= 1e-9


def test_the_cost_of_a_mixture_of_paths_is_at_most_the_mixture_of_costs() -> None:
    cost = CycleCost(CURVE, 8.0, past_frac=(0.1, 0.95, 0.3))
    rng = np.random.default_rng(3)
    for a, b in random_pairs(3000, seed=4):
        w = rng.random()
        middle = cost.rainflow_eur(w * a + (1 - w) * b)
        assert middle <= w * cost.rainflow_eur(a) + (1 - w) * cost.rainflow_eur(b) + 1e-9


def test_the_law_itself_is_not_convex_which_is_why_its_hull_is_used() -> None:
    law = HullCurve(CURVE.depth, CURVE.law_eur, CURVE.law_eur, "law")
    cost = CycleCost(law, 8.0)
    a, b = arr(0.0, 8 * 0.25), arr(0.0, 8 * 0.65)
    half = cost.rainflow_law_eur((a + b) / 2)
    assert half > (cost.rainflow_law_eur(a) + cost.rainflow_law_eur(b)) / 2 * 1.03


def test_shallow_and_deep_part_add_up_to_the_rainflow_cost() -> None:
    cost = CycleCost(CURVE, 8.0, floor_mwh=0.8, past_frac=(0.1, 0.8, 0.2))
    for path, _ in random_pairs(200, seed=5):
        shallow = cost.shallow_eur_mwh * np.abs(np.diff(path)).sum()
        expected = cycle_cost((path - 0.8) / 8.0, cost.past_frac, CURVE.half_cost_eur)
        assert cost.rainflow_eur(path) == pytest.approx(expected, abs=1e-9)
        assert shallow + cost.deep_eur(path).sum() == pytest.approx(expected, abs=1e-9)


def test_days_with_carried_turning_points_add_up_to_the_joined_path() -> None:
    rng = np.random.default_rng(6)
    days = [np.clip(np.cumsum(rng.normal(0, 0.8, 97)) + 4, 0, 8) for _ in range(6)]
    for before, after in pairwise(days):
        after[0] = before[-1]
    past: tuple[float, ...] = ()
    total = 0.0
    for day in days:
        total += CycleCost(CURVE, 8.0, past_frac=past).rainflow_eur(day)
        past = carry(day / 8.0, past)
    joined = np.concatenate([days[0], *(day[1:] for day in days[1:])])
    assert total == pytest.approx(CycleCost(CURVE, 8.0).rainflow_eur(joined), abs=1e-9)


def test_turning_positions_keep_the_ends_and_every_change_of_direction() -> None:
    path = arr(1, 1, 2, 3, 3, 3, 2, 2, 4, 4)
    assert path[turning_positions(path)].tolist() == [1, 3, 2, 4]
    assert turning_positions(arr(2, 2, 2)).tolist() == [0, 2]
    assert turning_positions(arr(5)).tolist() == [0]


def test_cuts_of_another_past_or_law_have_another_provenance() -> None:
    base = CycleCost(CURVE, 8.0, past_frac=(0.2,))
    same = CycleCost(replace(CURVE), 8.0, past_frac=(0.2,))
    assert base.provenance == same.provenance
    others = [
        replace(base, past_frac=(0.3,)),
        replace(base, usable_mwh=7.9),
        replace(base, n_layers=3),
        replace(base, curve=hull_curve(CURVE.law_eur * 1.01, CURVE.law)),
    ]
    assert len({base.provenance, *(other.provenance for other in others)}) == 5


# -- rows -----------------------------------------------------------------------------------------
def test_rows_are_violated_where_they_are_found_and_end_when_the_columns_tell_the_truth() -> None:
    cost = CycleCost(CURVE, 8.0)
    rows = AgingRows(cost, 6, 1e-4)
    path = arr(4, 8, 1, 5, 2, 7, 4)
    values = np.concatenate((np.zeros(cost.size), path))
    coefficients, lower = rows.rows(values)
    assert len(lower) and (coefficients @ values < lower).all()
    lifted = rows.lifted(values)
    assert (coefficients @ lifted >= lower - 1e-9).all()
    assert not len(rows.rows(lifted)[1])
    almost = lifted.copy()
    almost[: cost.size] *= 1 - 0.5e-4
    assert not len(rows.rows(almost)[1])
    almost[: cost.size] *= 1 - 5e-4
    assert len(rows.rows(almost)[1])
    shallow = cost.shallow_eur_mwh * np.abs(np.diff(path)).sum()
    assert rows.cost_eur(values) == pytest.approx(lifted[: cost.size].sum() + shallow)


def test_a_pool_keeps_each_row_once_and_hands_on_the_nearest() -> None:
    pool = RowPool(2)
    pool.add(np.array([[1.0, 0.0], [0.0, 1.0]]), arr(1.0, 2.0))
    pool.add(np.array([[0.0, 1.0], [1.0, 1.0]]), arr(2.0, 0.0))
    assert len(pool) == 3
    near, lower = pool.near(arr(1.5, 5.0), most=1)
    assert near.tolist() == [[1.0, 0.0]] and lower.tolist() == [1.0]


def test_rows_that_touch_a_missing_or_a_first_stage_column_are_refused() -> None:
    class Odd(AgingRows):
        def __init__(self, name: str) -> None:
            super().__init__(CycleCost(CURVE, 8.0), 1, 1e-4)
            self.columns = (name,)

    template = template_of(plain(grid((4.0,), dt_h=1.0)))
    with pytest.raises(SolverError, match="no_such_mw"):
        Separation(Odd("no_such_mw"), template)
    with pytest.raises(SolverError, match="here-and-now"):
        Separation(Odd("fcr_lots[0]"), template)


def test_the_model_without_its_path_cost_is_refused() -> None:
    with pytest.raises(ConfigError, match="path cost"):
        template_of(replace(plain(grid((4.0,), dt_h=1.0)), aging=Aging("cuts")))


def test_a_solve_that_is_not_told_the_rows_is_refused() -> None:
    case = small(with_cuts(plain(grid((4.0,), dt_h=1.0))), 2)
    block = case.blocks
    x = np.zeros(len(block.template.first_stage))
    for solve_it in (
        lambda: solve_two_stage(block, gap_frac=1e-3, time_limit_s=9.0, engine="extensive"),
        lambda: solve_two_stage(block, gap_frac=1e-3, time_limit_s=9.0, engine="decomposition"),
        lambda: evaluate_first_stage(block, x),
        lambda: Recourse(block, 1),
        lambda: exclusive_recourse(block, x, 1),
    ):
        with pytest.raises(SolverError, match=r"cycle_theta_eur\[0\].*lazy="):
            solve_it()


# -- decisions ------------------------------------------------------------------------------------
def test_the_cost_in_the_profit_is_the_rainflow_cost_of_the_decided_path() -> None:
    data = with_cuts(energy_only(plain(grid((4.0, 4.0, 4.0)))), past_frac=TURNING_POINTS_FRAC)
    case = small(data, 3, seed=8)
    found = decided(case)
    source = source_of(data)
    for s in range(3):
        energy = found.values["energy_mwh"][s]
        theta = found.values["cycle_theta_eur"][s]
        assert theta == pytest.approx(source.deep_eur(energy), abs=1e-9)
        charged = theta.sum() + moved_eur(data, found.values, s)
        assert charged > 1.0
        assert charged == pytest.approx(source.rainflow_eur(energy), abs=1e-6)
    assert 0 <= found.cycle_gap_frac <= 2e-3


def test_cuts_and_segments_with_the_same_nodes_have_the_same_optimum() -> None:
    # From empty to empty every charge half cycle has its discharge half cycle, so that the cost of
    # both halves is the cost that segments put on the discharge.
    base = changed(energy_only(plain(grid((4.0, 4.0)))), asset={"energy_start_mwh": 0.0})
    base = replace(base, terminal=Terminal(np.zeros(0), True))
    prices = arr(4.0, 9.0, 16.0, 30.0)
    by_segments = segments(base, 8.0, prices.tolist())
    half_eur = np.concatenate(([0.0], np.cumsum(prices) * 2.0)) / 2.0
    by_cuts = with_cuts(base, hull_curve(half_eur, "the same nodes"))
    assert source_of(by_cuts).size == 3
    for seed in (1, 2, 3):
        one = small(by_segments, 1, seed, swing_eur_mwh=110.0)
        first = decided(one, "deterministic")
        second = decided(Small(by_cuts, one.series, one.probability), "deterministic")
        assert first.values["energy_mwh"].max() > 4.2
        assert second.profit_lb_eur == pytest.approx(first.profit_lb_eur, abs=2e-3)


@pytest.mark.parametrize("risk", [NEUTRAL, Risk(0.6, 0.7)], ids=["mean", "mean-CVaR"])
def test_decomposition_and_extensive_form_agree_with_cuts(risk: Risk) -> None:
    data = with_cuts(everything(grid((3.0, 5.0), dt_h=1.0)), past_frac=TURNING_POINTS_FRAC)
    case = small(data, 4, seed=11)
    whole = solved(case, "extensive", risk=risk)
    parts = solved(case, "decomposition", risk=risk)
    assert parts.cost == pytest.approx(whole.cost, rel=1e-5)
    for one, other in ((whole, parts), (parts, whole)):
        assert one.bound <= other.cost + 1e-6
        assert one.excess is not None and one.excess.min() > -1e-7


def test_a_search_that_stops_with_loose_cuts_still_brackets_the_optimum() -> None:
    data = with_cuts(plain(grid((4.0, 4.0), dt_h=1.0)))
    loose = with_cuts(plain(grid((4.0, 4.0), dt_h=1.0)), gap_frac=0.3)
    exact_case, loose_case = small(data, 3, seed=12), small(loose, 3, seed=12)
    exact = solved(exact_case, "extensive")
    engines: tuple[Engine, ...] = ("extensive", "decomposition")
    for engine in engines:
        rough = solved(loose_case, engine)
        assert rough.bound <= exact.cost + 1e-6 and exact.bound <= rough.cost + 1e-6
        assert rough.excess is not None and rough.excess.max() > 0.0


def test_rows_of_one_solve_are_kept_by_every_schedule_of_another() -> None:
    data = with_cuts(energy_only(plain(grid((4.0, 4.0), dt_h=1.0))))
    one, other = small(data, 3, seed=13), small(data, 4, seed=14)
    rows = solved(one, "decomposition").rows
    assert rows is not None and len(rows) > 20
    found = solved(other, "decomposition")
    lazy = aging_rows(data)
    assert lazy is not None
    position = Separation(lazy, other.blocks.template).position
    slack = rows.coefficients @ found.values[:, position].T - rows.lower[:, None]
    assert slack.min() >= -1e-7
    again = solve_two_stage(other.blocks, gap_frac=1e-6, time_limit_s=60.0, lazy=lazy, rows=rows)
    assert again.cost == pytest.approx(found.cost, rel=1e-5)


def test_adding_rows_never_raises_an_exactly_solved_profit() -> None:
    data = with_cuts(energy_only(plain(grid((4.0, 4.0), dt_h=1.0))))
    case = small(data, 1, seed=15)
    block, lazy = case.blocks, aging_rows(data)
    assert lazy is not None
    rows = solved(case, "extensive").rows
    assert rows is not None
    position = Separation(lazy, block.template).position

    profits = []
    for count in (0, 5, 20, len(rows)):
        part = (rows.coefficients[:count], rows.lower[:count])
        outcome = solve_problem(with_rows(single(block, 0), position, *part), SolveOptions(0.0))
        profits.append(-outcome.objective)
    assert all(a >= b - 1e-7 for a, b in pairwise(profits))
    assert profits[0] > profits[-1] + 1.0


def test_rows_that_leave_a_problem_are_found_again_when_they_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = small(with_cuts(plain(grid((4.0, 4.0), dt_h=1.0))), 3, seed=18)
    kept = solved(case, "decomposition")
    monkeypatch.setattr(lazy_module, "_IDLE_SOLVES", 0)
    monkeypatch.setattr(lazy_module, "_LARGE", 4)
    dropped = solved(case, "decomposition")
    assert dropped.cost == pytest.approx(kept.cost, rel=1e-5)
    assert dropped.bound <= kept.cost + 1e-6


def test_an_evaluation_that_stops_early_gives_a_valid_cut_and_an_attained_cost() -> None:
    case = small(with_cuts(plain(grid((4.0, 4.0), dt_h=1.0))), 3, seed=19)
    block, lazy = case.blocks, aging_rows(case.data)
    t = block.template
    assert lazy is not None
    early, full = (Recourse(block, 1, Separation(lazy, t)) for _ in range(2))
    low, high = t.lower[t.first_stage], t.upper[t.first_stage]
    rng = np.random.default_rng(20)
    points = [low + rng.random(len(low)) * 0.4 * (high - low) for _ in range(5)]
    truth, most = [full.priced(x) for x in points], 0.0
    for x, (tight, _, rest) in zip(points, truth, strict=True):
        cost, gradient, excess = early.priced(x, 1)
        most = max(most, float(excess.max()))
        assert rest.max() < 1e-4
        assert (cost <= tight + 1e-6).all() and (cost + excess >= tight - 1e-6).all()
        for other, (there, _, lack) in zip(points, truth, strict=True):
            assert (cost + gradient @ (other - x) <= there + lack + 1e-6).all()
    assert most > 0.1


def test_a_fixed_first_stage_is_priced_from_both_sides() -> None:
    data = with_cuts(plain(grid((4.0, 4.0), dt_h=1.0)), gap_frac=1e-2)
    case = small(data, 3, seed=16)
    best = solved(case, "extensive")
    priced = evaluate_first_stage(case.blocks, best.x, lazy=aging_rows(data))
    assert priced.bound <= priced.cost
    assert priced.bound <= best.cost + 1e-6 and priced.cost >= best.bound - 1e-6


def test_nobody_charges_and_discharges_at_once_and_the_price_says_so() -> None:
    base = plain(grid((4.0, 4.0), dt_h=1.0))
    data = with_cuts(base)
    case = small(data, 2, seed=60, level_eur_mwh=-150.0, swing_eur_mwh=80.0)
    found = decided(case, effort=replace(EFFORT, gap_frac=1e-4))
    up, down = found.values["delivered_up_mw"], found.values["delivered_down_mw"]
    loops = np.minimum(found.values["charge_mw"] - down, found.values["discharge_mw"] - up)
    assert loops.max() <= 1e-6 and found.made_whole > 0
    binary = replace(data, exclusive="binary")
    whole = solve_two_stage(
        blocks_of(binary, case.series, case.probability),
        gap_frac=1e-6,
        time_limit_s=60.0,
        engine="extensive",
        lazy=aging_rows(binary),
    )
    assert found.profit_ub_eur >= -whole.cost - 1e-4
    assert found.profit_lb_eur <= -whole.bound + 1e-4


def test_energy_that_loops_inside_a_step_pays_the_price_of_a_shallow_cycle() -> None:
    data = with_cuts(plain(grid((4.0,), dt_h=1.0)))
    block = blocks_of(data, small(data, 1).series, np.ones(1))
    t, cost = block.template, block.cost[0]
    charge, discharge = t.column_position["charge_mw[1]"], t.column_position["discharge_mw[1]"]
    price = source_of(data).shallow_eur_mwh
    assert cost[charge] == pytest.approx(price * 0.95)
    assert cost[discharge] == pytest.approx(price / 0.93)


def test_the_same_case_gives_the_same_bytes_with_two_threads() -> None:
    data = with_cuts(plain(grid((4.0, 4.0), dt_h=1.0)), gap_frac=1e-4)
    case = small(data, 4, seed=17)
    effort = replace(EFFORT, gap_frac=1e-3, threads=2)
    first, second = decided(case, effort=effort), decided(case, effort=effort)
    assert first.values["energy_mwh"].tobytes() == second.values["energy_mwh"].tobytes()
    assert first.profit_lb_eur == second.profit_lb_eur


def test_a_run_books_the_rainflow_cost_of_its_path() -> None:
    run = solve(
        None,
        "deterministic",
        overrides=[
            "aging.model=cuts",
            "markets.intraday.enabled=false",
            "markets.fcr.enabled=false",
            "markets.afrr.enabled=false",
            "battery.state.open_turning_points_frac=[0.1, 0.9]",
        ],
        worth=False,
        store=False,
    )
    assert run.fact("aging").value == pytest.approx(run.fact("aging_rainflow").value, rel=1e-9)
    assert float(run.fact("aging").value or 0.0) > 10.0
