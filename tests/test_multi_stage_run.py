"""Multi-stage runs: stored, settled, valued, compared, and what a reader is told of the tree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stochbess.assemble import build_case
from stochbess.comparison import compare
from stochbess.config import load_config
from stochbess.decide import Problem
from stochbess.errors import ConfigError
from stochbess.market.order_curve import price_points
from stochbess.models.data import BidMenu
from stochbess.multi_stage import MultiStage, gate_tree, leaf_case, orders_of, stages_of_tree
from stochbess.multi_stage_worth import rolling_mean_profit
from stochbess.offers import with_offer_data
from stochbess.rolling_forecast import Information
from stochbess.rolling_run import value_run
from stochbess.run import Run, effort_of, solve
from stochbess.scenario_gen.tree_build import build_tree
from stochbess.scenario_gen.tree_file import write_tree
from tests.small_case import changed
from tests.test_multi_stage import EFFORT, nodes, stages_for, tiny, tree_series, weights

QUICK = (
    "scenarios.n=8",
    "markets.afrr.enabled=false",
    "tree.day_ahead=2",
    "tree.delivery=[2, 2]",
    "solver.gap_frac=0.02",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    store = tmp_path_factory.mktemp("store")
    return solve(None, "multi-stage", overrides=[*QUICK, f"report.store_dir={store}"])


def test_a_run_on_a_tree_is_bounded_settled_and_tells_its_tree(run: Run) -> None:
    assert run.record.formulation == "multi-stage" and run.record.status == "done"
    profit, bound = run.fact("profit").value, run.fact("profit_bound").value
    assert isinstance(profit, float) and isinstance(bound, float) and profit <= bound + 1e-6
    leaves = len(run.frames["scenarios"])
    assert (
        run.fact("tree_leaves").value == leaves == run.frames["scenario_set"]["scenario"].nunique()
    )
    assert "1 the gates" in str(run.fact("tree_nodes").value)
    # The ledger settled every leaf; its mean is the promised profit.
    rows = run.frames["scenarios"]
    assert rows["probability"] @ rows["profit_eur"] == pytest.approx(profit, rel=1e-6)
    assert set(run.bids["market"]) == {"FCR", "day-ahead"}


def test_its_worth_has_the_signs_that_theory_gives(run: Run) -> None:
    worth = run.frames["worth"].set_index("measure")["high_eur"]
    for name in ("EVPI = WS - RP", "VSS = RP - EEV", "gain over two-stage bids"):
        assert float(worth[name]) >= -1e-6, name
    assert float(worth["gain over mean planned again at every node"]) >= 0


@pytest.mark.slow
def test_a_stored_run_on_a_tree_is_valued_on_the_scenarios_of_the_tree(run: Run) -> None:
    import json

    store = Path(json.loads(run.record.config_json)["report"]["store_dir"])
    value = value_run(run.record, run.frames, store, Information())
    assert len(value.scenarios.days) == 8
    assert value.scenarios.optimism_eur >= -1e-6


@pytest.mark.slow
def test_formulations_are_compared_on_the_same_scenarios() -> None:
    rows = compare(
        None, ("two-stage", "multi-stage"), overrides=[*QUICK, "markets.fcr.enabled=false"],
        store=False,
    ).set_index("formulation")  # fmt: skip
    best = 1.02 * float(rows["expected_profit_upper_eur"].to_numpy()[0])
    assert float(rows["expected_profit_eur"].to_numpy()[1]) <= best
    assert np.isfinite(rows["expected_profit_eur"]).all()


@pytest.mark.slow
def test_positions_that_depend_on_the_reserve_result_are_no_bids_and_have_no_one_price() -> None:
    overrides = [*QUICK, "tree.reserves=2", "tree.delivery=[1]"]
    found = solve(None, "multi-stage", overrides=overrides, worth=False, store=False)
    assert set(found.bids["market"]) == {"FCR"}
    with pytest.raises(ConfigError, match=r"tree\.reserves=1"):
        compare(None, ("multi-stage",), overrides=overrides, store=False)


def test_a_tree_file_is_read_instead_of_grown(tmp_path: Path) -> None:
    overrides = ["scenarios.n=6", "markets.afrr.enabled=false", "markets.fcr.enabled=false"]
    drawn = build_case(load_config(None, overrides)).scenarios
    path = tmp_path / "tree.parquet"
    write_tree(build_tree(drawn, [2, 2]).tree, path)
    case = build_case(load_config(None, [*overrides, f"tree.file={path}"]))
    tree = gate_tree(case)
    assert tree.stages == ("day_ahead", "intraday_auction") and tree.distance is None
    problem = MultiStage(case.data, tree.node_of, stages_of_tree(tree))
    leaves = leaf_case(case, tree)
    found = problem.decide(leaves.series, leaves.probability, effort_of(case.config))
    assert found.gap_frac < 0.011


def test_orders_of_a_grown_tree_are_the_ones_of_the_page() -> None:
    case = build_case(load_config(None, QUICK))
    tree = gate_tree(case)
    orders = orders_of(tree)
    last = len(tree.stages)
    assert orders.multi_stage.fcr == orders.reserves_only.fcr == 0
    assert orders.wait_and_see.fcr == last and orders.two_stage.day_ahead == 0
    assert orders.reserves_only.day_ahead == last and (orders.two_stage.trade == last).all()
    assert (orders.multi_stage.dispatch == orders.multi_stage.trade + 1).all()
    assert orders.day_ahead_early.day_ahead == 0


@pytest.mark.parametrize("offers", ["quantities", "curves", "menu"])
@pytest.mark.parametrize("reserves", [1, 2])
def test_planning_for_the_mean_at_every_node_is_a_policy_and_earns_no_more_than_the_best(
    offers: str, reserves: int
) -> None:
    data, node_of = tiny(), nodes((reserves, 2, 1, 2, 2))
    n = node_of.shape[1]
    series, p = tree_series(data, node_of, 3), weights(n)
    if offers == "curves":
        points = price_points(series["day_ahead_eur_mwh"], p, 3, 0.01)
        data = changed(data, energy={"curve_price_eur_mwh": points})
    elif offers == "menu":
        price = np.median(series["afrr_up_eur_mw_h"], axis=0)[:, None]
        data = changed(data, reserves={"menu": BidMenu(price, price, price, price)})
    series = with_offer_data(series, data)
    problem = MultiStage(data, node_of, stages_for(data))
    mean = {name: (p @ values)[None, :] for name, values in series.items()}
    root = Problem(data, "two-stage").decide(mean, np.ones(1), EFFORT, engine="extensive")
    profit = rolling_mean_profit(problem, series, p, root.first_stage)
    best = problem.decide(series, p, EFFORT)
    assert p @ profit <= best.profit_ub_eur + 1e-6
    if reserves == 1:
        fixed = problem.evaluate(series, p, root.first_stage, EFFORT)
        assert p @ profit <= fixed.profit_ub_eur + 1e-6 <= best.profit_ub_eur + 2e-6


def test_bids_are_priced_with_free_trades_where_the_tree_branches_late() -> None:
    """Trades of the first window belong to the trunk, but they are no bids."""
    data, node_of = tiny(), nodes((1, 1, 1, 2, 2))
    series, p = tree_series(data, node_of, 3), weights(4)
    problem = MultiStage(data, node_of, stages_for(data))
    best = problem.decide(series, p, EFFORT)
    bids = {k: v for k, v in best.first_stage.items() if not k.startswith(("buy", "sell"))}
    assert len(bids) < len(best.first_stage)
    again = problem.evaluate(series, p, bids, EFFORT)
    assert again.profit_lb_eur == pytest.approx(best.profit_lb_eur, rel=1e-6)


def test_planning_for_the_mean_is_optimal_where_nothing_is_uncertain() -> None:
    data, node_of = tiny(), nodes((1, 1, 1, 1, 1))
    series = tree_series(data, node_of, 3)
    alone = Problem(data, "two-stage").decide(series, np.ones(1), EFFORT, engine="extensive")
    problem = MultiStage(data, node_of, stages_for(data))
    profit = rolling_mean_profit(problem, series, np.ones(1), alone.first_stage)
    assert profit[0] == pytest.approx(alone.profit_lb_eur, rel=1e-5)
