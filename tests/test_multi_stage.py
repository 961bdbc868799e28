"""The multi-stage problem: information orders, special cases, a dumb extensive form, a DP."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import scipy.optimize as so
import scipy.sparse as sp

from stochbess.decide import Decision, Effort, Problem
from stochbess.engine.matrix import single
from stochbess.engine.risk import Risk
from stochbess.engine.tree import TreeBlocks, solve_tree, tree_form
from stochbess.errors import ConfigError, SolverError
from stochbess.models.data import Aging, ModelData, Terminal
from stochbess.models.multi_stage import DecisionStages, column_stages
from stochbess.multi_stage import MultiStage
from tests.small_case import Series, changed, energy_only, grid, plain, segments, series_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
EFFORT = Effort(gap_frac=1e-7, time_limit_s=60.0, threads=1)
WINDOWS = 2
# What becomes known at which row: reserves, day-ahead, intraday, then windows of the delivery.
GATES = {
    1: ("fcr_eur_mw", "afrr_up_eur_mw_h", "afrr_down_eur_mw_h"),
    2: ("day_ahead_eur_mwh",),
    3: ("intraday_eur_mwh",),
}


def nodes(branching: tuple[int, ...]) -> Ints:
    """(K + 1, L) nodes of a full tree with so many children after each stage."""
    leaves = int(np.prod(branching))
    rows = [np.arange(leaves) // int(np.prod(branching[k:])) for k in range(len(branching) + 1)]
    return np.array(rows, np.int64)


def stages_for(data: ModelData, windows: int = WINDOWS) -> DecisionStages:
    """The gates of `GATES`, then equal windows."""
    window = np.arange(data.grid.n_steps) * windows // data.grid.n_steps
    return DecisionStages(0, 0, 1, 1, 2, 3 + window, 4 + window, 3 + windows)


def tree_series(data: ModelData, node_of: Ints, seed: int = 3, windows: int = WINDOWS) -> Series:
    """Leaf series that agree wherever the leaves have not been told apart."""
    drawn = series_of(data, node_of.shape[1], seed)
    out = {name: values.copy() for name, values in drawn.items()}
    window = np.arange(data.grid.n_steps) * windows // data.grid.n_steps
    early = {name: row for row, names in GATES.items() for name in names}
    for name, values in drawn.items():
        for w in range(windows):
            row = early.get(name, 4 + w)
            at = slice(None) if name in early else window == w
            _, first, back = np.unique(node_of[row], return_index=True, return_inverse=True)
            out[name][:, at] = values[first][back][:, at]
    if "intraday_eur_mwh" in out and "imbalance_long_eur_mwh" in out:
        # Redrawn prices of a node may have crossed; imbalance must stay the worse market.
        out["imbalance_long_eur_mwh"] = np.minimum(
            out["imbalance_long_eur_mwh"], out["intraday_eur_mwh"] - 3.0
        )
        out["imbalance_short_eur_mwh"] = np.maximum(
            out["imbalance_short_eur_mwh"], out["intraday_eur_mwh"] + 3.0
        )
    return out


def weights(n: int) -> Floats:
    weight = np.arange(2.0, n + 2)
    return np.asarray(weight / weight.sum())


def tiny(**energy: object) -> ModelData:
    """Two blocks of an hour, four steps, two day-ahead units, all reserves, segment aging."""
    data = plain(grid((1.0, 1.0), dt_h=0.5, unit_h=1.0), power_mw=3.0, energy_mwh=3.0)
    return segments(changed(data, energy=energy), 3.0, (4.0, 9.0))


def bounds(found: Decision) -> tuple[float, float]:
    slack = 1e-5 * max(1.0, abs(found.profit_ub_eur))
    return found.relaxed_profit_eur - slack, found.profit_ub_eur + slack


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_whoever_knows_more_earns_no_less(seed: int) -> None:
    data, node_of = tiny(), nodes((2, 2, 1, 2, 2))
    series, p = tree_series(data, node_of, seed), weights(node_of.shape[1])
    tree = stages_for(data)
    orders = {
        "WS": tree.foreseen(),
        "A": tree.clairvoyant_after(tree.last),
        "B": tree,
        "M": tree.clairvoyant_after(0),
        "C": replace(tree, day_ahead=0),
    }
    problem = MultiStage(data, node_of, tree)
    found = {
        name: bounds(problem.with_stages(stages).decide(series, p, EFFORT, engine="extensive"))
        for name, stages in orders.items()
    }
    for more, less in [("WS", "A"), ("A", "B"), ("B", "C"), ("A", "M"), ("M", "C")]:
        assert found[more][1] >= found[less][0], (more, less, found)
    # The orders differ on this instance, or the chain would prove nothing.
    assert found["A"][0] > found["B"][1] > found["B"][0] > found["C"][1]
    assert found["WS"][0] > found["A"][1] > found["M"][1]


def test_a_tree_of_one_path_is_the_deterministic_problem() -> None:
    data, node_of = tiny(), nodes((1, 1, 1, 1, 1))
    series = tree_series(data, node_of)
    found = MultiStage(data, node_of, stages_for(data)).decide(series, np.ones(1), EFFORT)
    alone = Problem(data, "deterministic").decide(series, np.ones(1), EFFORT, engine="extensive")
    assert found.profit_lb_eur == pytest.approx(alone.profit_lb_eur, rel=1e-6)
    assert found.profit_ub_eur == pytest.approx(alone.profit_ub_eur, rel=1e-6)


@pytest.mark.parametrize("engine", ["extensive", "decomposition"])
def test_a_tree_that_branches_once_is_the_two_stage_problem(engine: str) -> None:
    data = tiny()
    series, p = series_of(data, 5, 2), weights(5)
    node_of = np.array([np.zeros(5, int), np.arange(5)])
    every = np.ones(data.grid.n_steps, np.int64)
    stages = DecisionStages(0, 0, 0, 1, 1, every, every, 1)
    found = MultiStage(data, node_of, stages).decide(
        series,
        p,
        EFFORT,
        engine=engine,  # type: ignore[arg-type]
    )
    known = Problem(data, "two-stage").decide(series, p, EFFORT)
    assert found.profit_lb_eur == pytest.approx(known.profit_lb_eur, rel=1e-6)
    assert found.outcome.engine == engine


def test_the_decomposition_finds_what_the_extensive_form_finds() -> None:
    data, node_of = tiny(), nodes((1, 3, 1, 2, 2))
    series, p = tree_series(data, node_of, 6), weights(12)
    problem = MultiStage(data, node_of, stages_for(data))
    whole = problem.decide(series, p, EFFORT, engine="extensive")
    parts = problem.decide(series, p, EFFORT, engine="decomposition")
    assert parts.profit_lb_eur == pytest.approx(whole.profit_lb_eur, rel=1e-6)
    assert parts.profit_ub_eur == pytest.approx(whole.profit_ub_eur, rel=1e-6)
    assert parts.outcome.engine == "decomposition"


def test_all_leaves_of_a_node_decide_alike_and_leaves_may_differ() -> None:
    data, node_of = tiny(), nodes((1, 2, 1, 2, 2))
    series, p = tree_series(data, node_of, 3), weights(8)
    problem = MultiStage(data, node_of, stages_for(data))
    found = problem.decide(series, p, EFFORT)
    window = np.arange(data.grid.n_steps) * WINDOWS // data.grid.n_steps
    differs: list[bool] = []
    for name, row_of_window in [("sell_mw", 3), ("discharge_mw", 4)]:
        for t in range(data.grid.n_steps):
            row = node_of[row_of_window + window[t]]
            column = found.values[name][:, t]
            for node in np.unique(row):
                assert np.ptp(column[row == node]) == 0.0, (name, t)
            differs.append(bool(np.ptp(column) > 1e-6))
    assert sum(differs) >= 3
    assert np.ptp(found.values["day_ahead_mw"], axis=0).max() == 0.0


def test_order_and_copies_of_leaves_change_nothing() -> None:
    data, node_of = tiny(), nodes((1, 2, 1, 2, 2))
    series, p = tree_series(data, node_of, 3), weights(8)
    stages = stages_for(data)
    profit = MultiStage(data, node_of, stages).decide(series, p, EFFORT).profit_lb_eur

    turned = np.array([6, 1, 4, 3, 0, 7, 2, 5])
    again = MultiStage(data, node_of[:, turned], stages).decide(
        {name: v[turned] for name, v in series.items()}, p[turned], EFFORT
    )
    assert again.profit_lb_eur == pytest.approx(profit, rel=1e-6)

    twice = np.array([0, 1, 2, 3, 4, 5, 6, 7, 7])
    nodes_twice = node_of[:, twice].copy()
    nodes_twice[-1, -1] = 8  # a leaf of its own, with equal values
    halved = np.append(p[:-1], [p[-1] / 2, p[-1] / 2])
    split = MultiStage(data, nodes_twice, stages).decide(
        {name: v[twice] for name, v in series.items()}, halved, EFFORT
    )
    assert split.profit_lb_eur == pytest.approx(profit, rel=1e-6)


def copies_with_equal_rows(tree: TreeBlocks) -> float:
    """Optimal cost of one copy of every column per leaf, with rows that equate copies of a node."""
    block, n = tree.block, len(tree.column_stage)
    parts = [single(block, s) for s in range(block.n_scenarios)]
    equal = []
    for j, k in enumerate(tree.column_stage):
        for node in np.unique(tree.node_of[k]):
            same = np.flatnonzero(tree.node_of[k] == node)
            equal += [(same[0] * n + j, other * n + j) for other in same[1:]]
    links = sp.lil_array((len(equal), n * len(parts)))
    for i, (a, b) in enumerate(equal):
        links[i, a], links[i, b] = 1.0, -1.0
    found = so.milp(
        np.concatenate([w * q.cost for w, q in zip(block.probability, parts, strict=True)]),
        integrality=np.concatenate([q.integer for q in parts]).astype(int),
        bounds=so.Bounds(
            np.concatenate([q.lower for q in parts]), np.concatenate([q.upper for q in parts])
        ),
        constraints=[
            so.LinearConstraint(
                sp.block_diag([q.matrix for q in parts], format="csr"),
                np.concatenate([q.row_lower for q in parts]),
                np.concatenate([q.row_upper for q in parts]),
            ),
            so.LinearConstraint(links.tocsr(), 0.0, 0.0),
        ],
        options={"mip_rel_gap": 1e-9},
    )
    assert found.status == 0
    return float(found.fun) + float(block.probability @ block.offset)


def test_shared_columns_give_what_copies_with_equality_rows_give() -> None:
    data, node_of = tiny(), nodes((2, 1, 1, 2, 2))
    series, p = tree_series(data, node_of, 8), weights(8)
    problem = MultiStage(data, node_of, stages_for(data))
    tree = problem.tree(problem._problem.relaxed, series, p)
    found = solve_tree(tree, gap_frac=1e-9, time_limit_s=60.0, engine="extensive")
    assert found.cost == pytest.approx(copies_with_equal_rows(tree), rel=1e-6)
    form, position = tree_form(tree)
    assert form.n_columns < position.size and form.n_rows < 8 * len(tree.block.template.rows)


# -- a dynamic programme that knows nothing of the model ------------------------------------------
def by_enumeration(
    day_ahead: Floats, intraday: Floats, node_of: Ints, p: Floats, energy: int, start: int
) -> float:
    """Best profit of a lossless battery of 1 MW with whole trades, by trying everything.

    Two steps of an hour. Day-ahead positions in {-1, 0, 1} are fixed at the root. At the nodes of
    row 2 intraday prices are known and the trade of step 0 is chosen, at row 3 that of step 1.
    """
    best = -np.inf
    for q in product((-1, 0, 1), repeat=2):
        total = 0.0
        for node in np.unique(node_of[2]):
            leaves = np.flatnonzero(node_of[2] == node)
            options = []
            for first in (-1, 0, 1):
                level = start - q[0] - first
                if not (0 <= level <= energy and abs(q[0] + first) <= 1):
                    continue
                value = sum(p[s] * (q @ day_ahead[s] + first * intraday[s, 0]) for s in leaves)
                for inner in np.unique(node_of[3][leaves]):
                    here = leaves[node_of[3][leaves] == inner]
                    value += max(
                        sum(p[s] * second * intraday[s, 1] for s in here)
                        for second in (-1, 0, 1)
                        if 0 <= level - q[1] - second <= energy and abs(q[1] + second) <= 1
                    )
                options.append(value)
            total += max(options)
        best = max(best, total)
    return best


@pytest.mark.parametrize("seed", range(6))
def test_a_tiny_tree_earns_what_trying_everything_earns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    where = grid((2.0,), dt_h=1.0, unit_h=1.0)
    data = energy_only(plain(where, power_mw=1.0, energy_mwh=2.0))
    data = changed(
        data,
        asset={"charge_efficiency_frac": 1.0, "discharge_efficiency_frac": 1.0},
        energy={"half_spread_eur_mwh": 0.0, "liquidity_mw": 1.0},
    )
    data = replace(data, terminal=Terminal(np.zeros(0), False), aging=Aging())
    node_of = nodes((2, 2, 2))  # after day-ahead; intraday of step 0; intraday of step 1
    p = weights(8)
    _, first, back = np.unique(node_of[1], return_index=True, return_inverse=True)
    day_ahead = rng.integers(10, 90, (8, 2)).astype(float)[first][back]
    intraday = rng.integers(10, 90, (8, 2)).astype(float)
    _, first, back = np.unique(node_of[2], return_index=True, return_inverse=True)
    intraday[:, 0] = intraday[first][back][:, 0]
    series = {
        "day_ahead_eur_mwh": day_ahead,
        "intraday_eur_mwh": intraday,
        "imbalance_long_eur_mwh": np.full((8, 2), -1000.0),
        "imbalance_short_eur_mwh": np.full((8, 2), 2000.0),
    }
    stages = DecisionStages(0, 0, 0, 0, 1, np.array([2, 3]), np.array([2, 3]), 3)
    found = MultiStage(data, node_of, stages).decide(series, p, EFFORT)
    expected = by_enumeration(day_ahead, intraday, node_of, p, energy=2, start=1)
    assert found.profit_lb_eur == pytest.approx(expected, abs=1e-4)


def test_the_cvar_of_the_leaves_is_at_most_their_mean() -> None:
    data, node_of = tiny(), nodes((1, 2, 1, 2, 1))
    series, p = tree_series(data, node_of, 3), weights(4)
    problem = MultiStage(data, node_of, stages_for(data))
    mean = problem.decide(series, p, EFFORT)
    careful = problem.decide(series, p, EFFORT, risk=Risk(1.0, 0.9))
    # 1 - level is below the smallest probability: CVaR is the worst leaf.
    worst = float(careful.scenario_profit_eur.min())
    assert careful.profit_lb_eur == pytest.approx(worst, rel=1e-6)
    assert worst >= float(mean.scenario_profit_eur.min()) - 1e-6 and worst < mean.profit_lb_eur
    with pytest.raises(SolverError, match="no risk weight"):
        problem.decide(series, p, EFFORT, risk=Risk(1.0, 0.9), engine="decomposition")


def test_given_bids_are_priced_on_the_tree_and_earn_no_more_than_the_best() -> None:
    data, node_of = tiny(), nodes((1, 2, 1, 2, 2))
    series, p = tree_series(data, node_of, 3), weights(8)
    problem = MultiStage(data, node_of, stages_for(data))
    best = problem.decide(series, p, EFFORT)
    again = problem.evaluate(series, p, best.first_stage, EFFORT)
    assert again.profit_lb_eur == pytest.approx(best.profit_lb_eur, rel=1e-6)
    nothing = problem.evaluate(series, p, {}, EFFORT)
    assert nothing.profit_lb_eur < best.profit_lb_eur
    assert all(value == 0.0 for value in nothing.first_stage.values())


def test_a_variable_without_a_stage_is_refused() -> None:
    with pytest.raises(SolverError, match="variable dance_mw has no stage"):
        column_stages(["dance_mw[0]"], tiny(), stages_for(tiny()))


def test_every_variable_of_the_model_has_a_stage() -> None:
    data = tiny()
    for template in (Problem(data, "two-stage").relaxed, Problem(data, "two-stage").binary):
        stage = column_stages(template.columns, data, stages_for(data))
        assert stage.min() == 0 and stage.max() == stages_for(data).last
        at = dict(zip(template.columns, stage, strict=True))
        # Energy is known with the step that ends there, a trade before its window.
        assert at["energy_mwh[2]"] == 4 and at["energy_mwh[3]"] == 5 and at["buy_mw[2]"] == 4
        assert at["fcr_lots[0]"] == 0 and at["day_ahead_mw[1]"] == 1


def test_aging_by_cuts_is_refused_in_words() -> None:
    data = replace(tiny(), aging=Aging("cuts"))
    with pytest.raises(ConfigError, match=r"aging\.model=segments"):
        MultiStage(data, nodes((1,)), stages_for(data))
