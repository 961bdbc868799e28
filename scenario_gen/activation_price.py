"""aFRR energy prices that fit simulated volumes.

The price of a past day and the volume of the same day belong together. Where a volume is moved, the
price follows along a curve that rises with the net volume (up less down): upward energy gets
dearer with every megawatt called, and what is paid for downward energy falls. The curve is an
isotonic regression (Barlow et al. 1972, via scikit-learn) of the past day itself, drawn towards
that of the whole history. What the day deviated from its curve is carried along, so that an
unmoved volume at an unmoved day-ahead price keeps its own price.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.isotonic import IsotonicRegression

from stochbess.errors import DataError, NotEnoughHistoryError
from stochbess.scenario_gen.activation_features import (
    DIRECTIONS,
    FeatureGrid,
    local_day_steps,
    quarter_hour_of_day,
)
from stochbess.scenario_gen.activation_paths import known_volumes

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HISTORY_DAYS = 90
OWN_DAY_SHARE = 0.5  # of the curve of the day itself; the rest is that of the history
MIN_ROWS = 7 * 96
_KNOTS = 41


@dataclass(frozen=True)
class PriceCurve:
    """Price less the day-ahead share, rising with the net volume; linear between knots.

    Attributes
    ----------
    net_mw, premium_eur_mwh : knots, both ascending, shape (knots,)
    day_ahead_share : change of the price per change of the day-ahead price, in [0, 1]
    """

    net_mw: Array
    premium_eur_mwh: Array
    day_ahead_share: float

    def at(self, net_mw: Array) -> Array:
        """Premium at net volumes; held beyond the outer knots."""
        return np.asarray(np.interp(net_mw, self.net_mw, self.premium_eur_mwh), np.float64)


@dataclass(frozen=True)
class PriceFit:
    """Price-volume curves of the history, and the known days.

    Attributes
    ----------
    curve : of the history, by direction
    low_eur_mwh, high_eur_mwh : least and greatest known price; drawn prices stay within
    note : what a report must say of the prices
    """

    timezone: str
    curve: Mapping[str, PriceCurve]
    low_eur_mwh: float
    high_eur_mwh: float
    note: str


def fit_energy_price(view: MarketData, timezone: str) -> PriceFit:
    """Curves of the last 90 days of which volumes, energy and day-ahead prices were known.

    Raises
    ------
    DataError : the zone has no volumes or no aFRR energy prices
    NotEnoughHistoryError : less than a week of them
    """
    table = _known_table(view)
    if len(table) < MIN_ROWS:
        raise NotEnoughHistoryError(
            f"zone {view.zone}: {len(table)} quarter hours with volume, aFRR energy price and "
            f"day-ahead price were known, expected at least {MIN_ROWS}. Choose a later day."
        )
    both = table[[f"{d}_eur_mwh" for d in DIRECTIONS]].to_numpy(np.float64)
    low, high = float(both.min()), float(both.max())
    recent = table.iloc[-HISTORY_DAYS * 96 :]
    net = (recent["up_mw"] - recent["down_mw"]).to_numpy(np.float64)
    level = recent["day_ahead"].to_numpy(np.float64)
    curve = {d: _curve(net, recent[f"{d}_eur_mwh"].to_numpy(np.float64), level) for d in DIRECTIONS}
    clipped = float(((both <= low) | (both >= high)).mean())
    note = (
        f"aFRR energy prices are those of the data, which lie in [{low:g}, {high:g}] EUR/MWh with "
        f"{100 * clipped:.1f} % of them on a bound: where the source clips them, so are the "
        "scenarios"
    )
    return PriceFit(timezone, curve, low, high, note)


def draw_energy_prices(
    fit: PriceFit,
    view: MarketData,
    target_day: date,
    residual_days: Sequence[date],
    up_mw: Array,
    down_mw: Array,
    day_ahead_eur_mwh: Array,
) -> tuple[Array, Array]:
    """aFRR energy prices up and down [EUR/MWh] for simulated volumes, shape (paths, quarter hours).

    Parameters
    ----------
    residual_days : the days whose paths the volumes are (`ActivationPaths`, substitutes included)
    up_mw, down_mw : volumes, shape (paths, quarter hours of `target_day`)
    day_ahead_eur_mwh : day-ahead price of each path and quarter hour, same shape

    Raises
    ------
    DataError : shapes differ, or a price of a residual day was not known
    """
    steps = local_day_steps(target_day, fit.timezone)
    shape = (len(residual_days), len(steps))
    for name, array in (("up_mw", up_mw), ("down_mw", down_mw), ("day_ahead", day_ahead_eur_mwh)):
        if array.shape != shape:
            raise DataError(
                f"{name} has shape {array.shape}, expected {shape}: residual days by quarter hours"
            )
    table = _known_table(view)
    slot = quarter_hour_of_day(steps, fit.timezone)
    up, down = np.empty(shape), np.empty(shape)
    days: dict[date, tuple[pd.DataFrame, dict[str, PriceCurve]]] = {}
    for i, day in enumerate(residual_days):
        if day not in days:
            past = _day_rows(table, day, view, fit)
            days[day] = (past, {d: _own_curve(past, fit.curve[d], d) for d in DIRECTIONS})
        past, curves = days[day]
        row = _row_of(past, slot, fit.timezone)
        for d, out in (("up", up), ("down", down)):
            out[i] = _moved(past, curves[d], d, row, up_mw[i] - down_mw[i], day_ahead_eur_mwh[i])
    limits = fit.low_eur_mwh, fit.high_eur_mwh
    return np.clip(up, *limits), np.clip(down, *limits)


def _moved(
    past: pd.DataFrame, curve: PriceCurve, direction: str, row: Ints, net: Array, level: Array
) -> Array:
    """The prices of the past day, moved along the curve and with the day-ahead price."""
    was_net = (past["up_mw"] - past["down_mw"]).to_numpy(np.float64)[row]
    was_level = past["day_ahead"].to_numpy(np.float64)[row]
    was = past[f"{direction}_eur_mwh"].to_numpy(np.float64)[row]
    along = curve.at(net) - curve.at(was_net)
    return np.asarray(was + along + curve.day_ahead_share * (level - was_level), np.float64)


def _curve(net: Array, price: Array, level: Array) -> PriceCurve:
    """Isotonic premium over a share of the day-ahead price, the share by least squares."""
    first = _isotonic(net, price)
    centred = level - level.mean()
    variance = float(centred @ centred)
    share = float(centred @ (price - np.interp(net, *first))) / variance if variance > 0 else 0.0
    share = min(max(share, 0.0), 1.0)
    return PriceCurve(*_isotonic(net, price - share * level), share)


def _isotonic(net: Array, value: Array) -> tuple[Array, Array]:
    model = IsotonicRegression(out_of_bounds="clip").fit(net, value)
    knots = np.unique(np.quantile(net, np.linspace(0, 1, _KNOTS)))
    return knots, np.maximum.accumulate(np.asarray(model.predict(knots), np.float64))


def _own_curve(past: pd.DataFrame, history: PriceCurve, direction: str) -> PriceCurve:
    """The curve of one day and that of the history, mixed; a sum of rising curves rises."""
    net = (past["up_mw"] - past["down_mw"]).to_numpy(np.float64)
    level = past["day_ahead"].to_numpy(np.float64)
    price = past[f"{direction}_eur_mwh"].to_numpy(np.float64)
    own = PriceCurve(*_isotonic(net, price - history.day_ahead_share * level), 0.0)
    # Beyond what the day saw, the history alone says how prices go on.
    inside = np.clip(history.net_mw, own.net_mw[0], own.net_mw[-1])
    beyond = history.premium_eur_mwh - history.at(inside)
    mixed = OWN_DAY_SHARE * (own.at(inside) + beyond)
    mixed = mixed + (1 - OWN_DAY_SHARE) * history.premium_eur_mwh
    return PriceCurve(history.net_mw, np.maximum.accumulate(mixed), history.day_ahead_share)


def _known_table(view: MarketData) -> pd.DataFrame:
    """Volumes, energy prices and the day-ahead price on the quarter hours where all are known."""
    volumes = known_volumes(view)
    if "afrr_energy" not in view.series:
        raise DataError(
            f"zone {view.zone} has no aFRR energy prices (afrr_energy). Import them, or close aFRR "
            "(markets.afrr.enabled)."
        )
    table = volumes.join(view.series["afrr_energy"].frame, how="inner")
    if len(table) == 0:
        return table.assign(day_ahead=np.zeros(0))
    index = pd.DatetimeIndex(table.index)
    grid = FeatureGrid(view, index[-1])
    price, _ = grid.values("day_ahead", "price_eur_mwh")
    place = grid.index.get_indexer(index)
    return table.assign(day_ahead=price[place]).dropna()


def _day_rows(table: pd.DataFrame, day: date, view: MarketData, fit: PriceFit) -> pd.DataFrame:
    steps = local_day_steps(day, fit.timezone)
    past = table.loc[table.index.isin(steps)]
    if len(past) < len(steps) - 4:  # an hour may be missing where a source begins or ends
        raise DataError(
            f"zone {view.zone}: on {day}, aFRR energy prices and volumes were known for "
            f"{len(past)} of {len(steps)} quarter hours. Draw from days on which they are."
        )
    return past


def _row_of(past: pd.DataFrame, slot: Ints, timezone: str) -> Ints:
    """Row of the past day at each wall-clock quarter hour; the next one where it lacks it."""
    slots = quarter_hour_of_day(pd.DatetimeIndex(past.index), timezone)
    unique, first = np.unique(slots, return_index=True)
    found = np.minimum(np.searchsorted(unique, slot, side="left"), len(unique) - 1)
    return np.asarray(first[found], np.int64)
