"""Menus of aFRR capacity bids: what is awarded, what it is paid, and what it needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from stochbess.config import load_config
from stochbess.decide import Decision, Effort, Problem
from stochbess.errors import ConfigError
from stochbess.models.data import BidMenu, ModelData
from stochbess.multi_stage import MultiStage, gate_tree
from stochbess.offers import as_offers, judged_by_price, paid_series, with_offer_data
from stochbess.run import Run, solve
from stochbess.scenario_gen.award import accepted_from
from tests.small_case import Series, changed, series_of
from tests.test_multi_stage import nodes, stages_for, tiny, tree_series, weights

Floats = npt.NDArray[np.float64]
EFFORT = Effort(gap_frac=1e-7, time_limit_s=60.0, threads=1)


def with_menu(data: ModelData, price: Floats, threshold: Floats) -> ModelData:
    """The same prices and thresholds (B, K) in both directions."""
    return changed(data, reserves={"menu": BidMenu(price, price, threshold, threshold)})


def decided(data: ModelData, series: Series, p: Floats) -> Decision:
    return Problem(data, "two-stage").decide(with_offer_data(series, data), p, EFFORT)


def afrr_only() -> tuple[ModelData, Series, Floats]:
    data = changed(tiny(), reserves={"fcr": "off"})
    series, p = series_of(data, 3, 2), weights(3)
    return data, series, p


def test_one_price_that_is_always_accepted_is_the_certain_award_at_that_price() -> None:
    data, series, p = afrr_only()
    for name in ("afrr_up_eur_mw_h", "afrr_down_eur_mw_h"):
        series[name] = np.full_like(series[name], 12.0)
    sure = np.full((2, 1), 12.0)
    menu = decided(with_menu(data, sure, np.full((2, 1), -1.0)), series, p)
    certain = decided(data, series, p)
    assert certain.values["afrr_up_lots"].max() > 0
    assert menu.profit_lb_eur == pytest.approx(certain.profit_lb_eur, rel=1e-6)


def test_what_is_awarded_and_paid_follows_from_the_price_of_the_scenario() -> None:
    data, series, p = afrr_only()
    for name in ("afrr_up_eur_mw_h", "afrr_down_eur_mw_h"):
        series[name] = np.tile(np.array([[5.0], [15.0], [30.0]]), (1, 2))
    price = np.tile([4.0, 20.0], (2, 1))
    menu = with_menu(data, price, price)
    offers = {"afrr_up_offer[0,0]": 1.0, "afrr_up_offer[0,1]": 2.0, "afrr_down_offer[1,1]": 1.0}
    told = with_offer_data(series, menu)
    found = Problem(menu, "two-stage").evaluate(told, p, offers, EFFORT)
    assert found.values["afrr_up_lots"][:, 0].tolist() == [1.0, 1.0, 3.0]
    assert found.values["afrr_down_lots"][:, 1].tolist() == [0.0, 0.0, 1.0]
    paid = paid_series(told, found.values, menu)
    assert paid["afrr_up_eur_mw_h"][:, 0] == pytest.approx([4.0, 4.0, (4 + 2 * 20) / 3])
    assert paid["afrr_down_eur_mw_h"][:, 1] == pytest.approx([0.0, 0.0, 20.0])
    nothing = Problem(menu, "two-stage").evaluate(told, p, {}, EFFORT)
    # Income differs by the awards; what delivery costs is the same model with those lots.
    fixed = changed(data, reserves={"menu": None})
    lots = {"afrr_up_lots[0]": 3.0, "afrr_down_lots[1]": 1.0}
    free = {n: v * 0 if n.endswith("_eur_mw_h") else v for n, v in series.items()}
    dear = Problem(fixed, "two-stage").evaluate(free, p, lots, EFFORT)
    hour = float(data.grid.block_hours[0])
    assert found.scenario_profit_eur[2] == pytest.approx(
        dear.scenario_profit_eur[2] + hour * (4 + 2 * 20 + 20), rel=1e-6
    )
    assert nothing.values["afrr_up_lots"].max() == 0.0


def test_all_offers_together_fit_into_the_power_even_if_none_is_likely() -> None:
    data, series, p = afrr_only()
    price = np.tile([1.0, 400.0], (2, 1))  # the second is never accepted, but tempting
    never = np.tile([-1.0, np.inf], (2, 1))
    found = decided(with_menu(data, price, never), series, p)
    offered = found.values["afrr_up_offer"][0].sum(axis=1)
    assert (offered <= 3.0 + 1e-9).all()
    assert found.values["afrr_up_lots"].max() <= offered.max() + 1e-9


def test_more_prices_to_choose_from_never_earn_less() -> None:
    data, series, p = afrr_only()
    one, two = np.full((2, 1), 8.0), np.tile([8.0, 20.0], (2, 1))
    less = decided(with_menu(data, one, one), series, p)
    more = decided(with_menu(data, two, two), series, p)
    assert more.profit_ub_eur >= less.relaxed_profit_eur - 1e-4


def test_a_certain_decision_is_offered_at_the_likeliest_price() -> None:
    data, _, _ = afrr_only()
    menu = with_menu(data, np.tile([4.0, 9.0], (2, 1)), np.zeros((2, 2)))
    told = as_offers({"afrr_up_lots[1]": 2.0}, menu)
    assert told["afrr_up_offer[1,0]"] == 2.0 and "afrr_up_offer[1,1]" not in told
    offered, judged = menu.reserves.menu, judged_by_price(menu).reserves.menu
    assert judged is not None and offered is not None
    assert (judged.up_threshold_eur_mw_h == offered.up_eur_mw_h).all()


def test_a_menu_on_a_tree_is_awarded_after_the_gate() -> None:
    data, node_of = changed(tiny(), reserves={"fcr": "off"}), nodes((2, 1, 1, 2, 1))
    series, p = tree_series(data, node_of, 3), weights(4)
    price = np.median(series["afrr_up_eur_mw_h"], axis=0)[:, None]
    menu = with_menu(data, price, price)
    told = with_offer_data(series, menu)
    stages = replace(stages_for(data), awarded=1)
    found = MultiStage(menu, node_of, stages).decide(told, p, EFFORT)
    assert np.ptp(found.values["afrr_up_offer"], axis=0).max() == 0.0
    assert found.profit_ub_eur - found.profit_lb_eur <= 1e-4 * abs(found.profit_lb_eur)


@pytest.mark.parametrize(
    ("level", "share"), [(0.9, 1.0), (0.5, 0.5), (0.3, 0.25), (0.26, 0.25), (0.05, 0.0)]
)
def test_thresholds_meet_the_acceptance_as_nearly_as_the_weights_allow(
    level: float, share: float
) -> None:
    published = np.array([[1.0], [2.0], [3.0], [4.0]])
    p = np.full(4, 0.25)
    threshold = accepted_from(published, p, [level])
    assert p @ (published >= threshold[0, 0])[:, 0] == share


def test_thresholds_rise_as_acceptance_falls() -> None:
    rng = np.random.default_rng(5)
    published, p = rng.uniform(0, 30, (40, 6)), rng.dirichlet(np.ones(40))
    threshold = accepted_from(published, p, [0.9, 0.6, 0.3, 0.1])
    assert (np.diff(threshold, axis=1) >= 0).all()


@pytest.fixture(scope="module")
def run() -> Run:
    overrides = ["scenarios.n=4", "markets.fcr.enabled=false", "solver.gap_frac=0.2",
                 "markets.afrr.bid_menu=[0.8, 0.4]"]  # fmt: skip
    return solve(None, overrides=overrides, worth=False, store=False)


@pytest.mark.slow
def test_a_run_with_a_menu_settles_what_was_awarded(run: Run) -> None:
    menu = run.frames["menu"]
    assert len(menu) == 2 * 6 * 2 and set(menu["product"]) == {"up", "down"}
    for _, block in menu.groupby(["product", "start_utc"]):
        assert (np.diff(block["price_eur_mw_h"]) > 0).all()
        assert (np.diff(block["accepted_frac"]) <= 0).all()
    offered = run.bids[run.bids["market"] == "aFRR"]["mw"].sum()
    assert offered == pytest.approx(menu["mw"].sum()) and offered > 0
    assert run.bids["price"].str.contains("pay-as-bid").any()
    assert not any("awarded with certainty" in text for text in run.assumptions)


def test_a_menu_needs_a_tree_that_tells_awards_apart() -> None:
    from stochbess.assemble import build_case

    case = build_case(load_config(None, ["scenarios.n=4", "markets.afrr.bid_menu=[0.5]"]))
    with pytest.raises(ConfigError, match=r"tree\.reserves=1"):
        gate_tree(case)
