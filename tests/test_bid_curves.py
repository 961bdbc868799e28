"""Day-ahead price-quantity curves: what clears, what they are worth, and the file they go to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stochbess.cli_curve import curve_path, read_curves, with_ends, write_curves
from stochbess.config import load_config
from stochbess.decide import Decision, Effort, Problem
from stochbess.errors import DataError, ReportError
from stochbess.market.order_curve import curve_shares, price_points
from stochbess.models.data import Aging, ModelData, Terminal
from stochbess.multi_stage import MultiStage
from stochbess.offers import as_offers, single_quantities, with_offer_data
from stochbess.rolling import nonanticipative_value, realised_series
from stochbess.rolling_forecast import Information
from stochbess.run import Run, effort_of, solve
from tests.small_case import Series, changed, energy_only, grid, plain, series_of
from tests.test_multi_stage import nodes, stages_for, tiny, tree_series, weights

Floats = npt.NDArray[np.float64]
EFFORT = Effort(gap_frac=1e-7, time_limit_s=60.0, threads=1)


def with_curve(data: ModelData, series: Series, p: Floats, n_points: int) -> ModelData:
    points = price_points(series["day_ahead_eur_mwh"], p, n_points, 0.01)
    return changed(data, energy={"curve_price_eur_mwh": points})


def decided(data: ModelData, series: Series, p: Floats) -> Decision:
    return Problem(data, "two-stage").decide(with_offer_data(series, data), p, EFFORT)


def test_a_curve_of_one_point_is_a_quantity() -> None:
    data, series, p = tiny(), series_of(tiny(), 4, 2), weights(4)
    one = decided(with_curve(data, series, p, 1), series, p)
    quantity = decided(data, series, p)
    assert one.profit_lb_eur == pytest.approx(quantity.profit_lb_eur, rel=1e-6)
    assert np.ptp(one.values["day_ahead_mw"], axis=0).max() < 1e-9


@pytest.mark.parametrize("n_points", [2, 3, 5])
def test_a_curve_never_falls_and_never_earns_less_than_a_quantity(n_points: int) -> None:
    data, series, p = tiny(), series_of(tiny(), 6, 5), weights(6)
    curve = decided(with_curve(data, series, p, n_points), series, p)
    quantity = decided(data, series, p)
    assert curve.profit_ub_eur >= quantity.relaxed_profit_eur - 1e-4
    assert curve.profit_lb_eur > quantity.profit_ub_eur, "on this instance prices tell something"
    offered = curve.values["day_ahead_curve_mw"][0]
    assert (np.diff(offered, axis=1) >= -1e-9).all() and np.ptp(offered, axis=1).max() > 0.1


def test_a_flat_curve_is_priced_like_its_quantity() -> None:
    data, series, p = tiny(), series_of(tiny(), 4, 2), weights(4)
    quantity = decided(data, series, p)
    curved = with_curve(data, series, p, 3)
    flat = Problem(curved, "two-stage").evaluate(
        with_offer_data(series, curved), p, as_offers(quantity.first_stage, curved), EFFORT
    )
    assert flat.profit_lb_eur == pytest.approx(quantity.profit_lb_eur, rel=1e-6)
    assert single_quantities(curved).energy.curve_points == 0


def test_what_clears_is_the_curve_at_the_price_by_hand() -> None:
    """1 MWh in store, one hour, prices 20 and 80: the curve sells at 80 and nothing at 20."""
    data = energy_only(plain(grid((1.0,), dt_h=1.0), power_mw=1.0, energy_mwh=2.0), intraday=False)
    data = changed(data, asset={"charge_efficiency_frac": 1.0, "discharge_efficiency_frac": 1.0})
    # What stays in store is worth 50, so selling pays at 80 only; buying pays at 20.
    data = replace(data, terminal=Terminal(np.array([50.0]), False), aging=Aging())
    series = {
        "day_ahead_eur_mwh": np.array([[20.0], [80.0], [65.0]]),
        "imbalance_long_eur_mwh": np.full((3, 1), -900.0),
        "imbalance_short_eur_mwh": np.full((3, 1), 900.0),
    }
    p = np.array([0.5, 0.25, 0.25])
    points = np.array([[20.0, 50.0, 80.0]])
    curved = changed(data, energy={"curve_price_eur_mwh": points})
    found = decided(curved, series, p)
    assert found.values["day_ahead_curve_mw"][0, 0] == pytest.approx([-1.0, 1.0, 1.0])
    assert found.values["day_ahead_mw"][:, 0] == pytest.approx([-1.0, 1.0, 1.0])
    # 0.5 * (50 - 20) + 0.25 * (80 - 50) + 0.25 * (65 - 50)
    assert found.profit_lb_eur == pytest.approx(26.25)
    # One quantity: the mean price is 46.25, so it buys: 50 - 46.25.
    assert decided(data, series, p).profit_lb_eur == pytest.approx(3.75)


def test_between_points_the_quantity_is_interpolated_and_beyond_them_it_is_kept() -> None:
    points = np.array([[10.0, 20.0, 40.0]])
    price = np.array([[5.0], [10.0], [15.0], [20.0], [35.0], [40.0], [99.0]])
    share = curve_shares(points, price)
    offered = np.array([-1.0, 0.0, 2.0])
    assert share @ offered == pytest.approx([-1.0, -1.0, -0.5, 0.0, 1.5, 2.0, 2.0])
    expected = np.interp(price[:, 0], points[0], offered)
    assert share @ offered == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-500, 4000), min_size=1, max_size=12),
    st.integers(1, 6),
)
def test_points_rise_on_the_tick_and_shares_are_shares(prices: list[float], n: int) -> None:
    column = np.array(prices)[:, None]
    points = price_points(column, np.full(len(prices), 1 / len(prices)), n, 0.01)
    assert points.shape == (1, n)
    assert (np.diff(points) > 0.009).all() if n > 1 else True
    assert points * 100 == pytest.approx(np.round(points * 100), abs=1e-6)
    share = curve_shares(points, column)
    assert (share >= 0).all() and share.sum(axis=1) == pytest.approx(np.ones(len(prices)))
    rising = np.arange(float(n))
    assert share @ rising == pytest.approx(np.interp(column[:, 0], points[0], rising))


def test_a_curve_without_points_is_refused() -> None:
    with pytest.raises(DataError, match="expected one point or more"):
        price_points(np.ones((2, 1)), np.full(2, 0.5), 0, 0.01)


def test_curves_work_on_a_tree() -> None:
    data, node_of = tiny(), nodes((1, 2, 1, 2, 2))
    series, p = tree_series(data, node_of, 3), weights(8)
    curved = with_curve(data, series, p, 2)
    stages = stages_for(data)
    quantity = MultiStage(data, node_of, stages).decide(series, p, EFFORT)
    curve = MultiStage(curved, node_of, stages).decide(with_offer_data(series, curved), p, EFFORT)
    assert curve.profit_lb_eur > quantity.profit_ub_eur
    cleared = curve.values["day_ahead_mw"]
    for node in np.unique(node_of[2]):
        assert np.ptp(cleared[node_of[2] == node], axis=0).max() == 0.0
    assert np.ptp(cleared, axis=0).max() > 0.1


# -- runs and files -------------------------------------------------------------------------------
QUICK = ["scenarios.n=4", "markets.afrr.enabled=false", "markets.fcr.enabled=false"]


@pytest.fixture(scope="module")
def run() -> Run:
    return solve(
        None, overrides=[*QUICK, "markets.day_ahead.curve_points=3"], worth=True, store=False
    )


def test_a_run_with_curves_settles_and_keeps_its_points(run: Run) -> None:
    curve = run.frames["curve"]
    assert len(curve) == 3 * 24 and run.fact("vss_low").value is not None
    for _, points in curve.groupby("start_utc"):
        assert (np.diff(points["price_eur_mwh"]) > 0).all()
        assert (np.diff(points["mw"]) >= 0).all()
    assert run.bids["price"].str.contains("curve of 3 points").all()
    plain_run = solve(None, overrides=QUICK, worth=False, store=False)
    assert "curve" not in plain_run.frames
    promised = run.fact("profit").value
    assert isinstance(promised, float)
    assert promised >= float(plain_run.fact("profit").value or 0) * (1 - 0.011)


def test_the_file_of_curves_reads_back_to_the_curves_on_the_tick(run: Run, tmp_path: Path) -> None:
    path = curve_path(tmp_path / "bids.csv")
    assert path.name == "bids-curve.csv"
    write_curves(run.record, run.frames["curve"], path)
    found = read_curves(path)
    assert len(found) == 24
    for start, points in run.frames["curve"].groupby("start_utc"):
        order = found[f"{pd.Timestamp(str(start)):%Y-%m-%dT%H:%MZ}"]
        assert order.price_eur_mwh[0] == -500.0 and order.price_eur_mwh[-1] == 4000.0
        mw = points["mw"].to_numpy()
        assert np.abs(order.sell_mw[1:-1] - mw).max() <= 0.05 + 1e-9
        assert order.sell_mw[0] == order.sell_mw[1] and order.sell_mw[-1] == order.sell_mw[-2]
        assert order.sell_mw * 10 == pytest.approx(np.round(order.sell_mw * 10))
    again = tmp_path / "again.csv"
    write_curves(run.record, run.frames["curve"], again)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("line", [2, 3])
def test_a_file_with_a_falling_curve_is_refused(run: Run, tmp_path: Path, line: int) -> None:
    path = tmp_path / "c.csv"
    write_curves(run.record, run.frames["curve"], path)
    rows = path.read_text().splitlines()
    cells = rows[line].split(",")
    cells[7] = "-99"
    path.write_text("\n".join([*rows[:line], ",".join(cells), *rows[line + 1 :]]) + "\n")
    with pytest.raises(ReportError, match="do not fall"):
        read_curves(path)


def test_another_file_is_no_file_of_curves(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ReportError, match="day-ahead curve order"):
        read_curves(path)


def test_ends_are_added_only_where_they_are_missing() -> None:
    order = with_ends(np.array([-500.0, 30.0]), np.array([-0.26, 1.24]), -500.0, 4000.0, 0.1)
    assert order.price_eur_mwh.tolist() == [-500.0, 30.0, 4000.0]
    assert order.sell_mw == pytest.approx([-0.3, 1.2, 1.2])


def test_the_rolling_dispatch_clears_the_curve_at_what_really_happened() -> None:
    from stochbess.assemble import build_case

    config = load_config(None, [*QUICK, "markets.day_ahead.curve_points=2"])
    case = build_case(config)
    truth = realised_series(case)
    first_stage = {f"day_ahead_curve_mw[{n},{j}]": float(j) for n in range(24) for j in (0, 1)}
    value = nonanticipative_value(
        case, first_stage, Information(), effort_of(config), truth=truth, names=["realised"]
    )
    price = truth["day_ahead_eur_mwh"][0]
    points = case.data.energy.curve_price_eur_mwh
    expected = [np.interp(price[n], points[n], [0.0, 1.0]) for n in range(24)]
    assert value.values["day_ahead_mw"][0] == pytest.approx(expected, abs=1e-9)
