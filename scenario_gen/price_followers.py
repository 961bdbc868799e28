"""Intraday, capacity and aFRR energy prices that go with draws of the day-ahead price.

Small models on purpose: the series are short, and most of what can be known of them is the level,
the shape of the day and the day-ahead price. Each has a mean that is fitted by ridge regression and
takes its error from the residual day of the draw (equations 57 to 59), so that what happened
together on that day stays together.

Where the series does not reach back to the residual day, the error is that of the past day whose
day-ahead price is nearest to the draw; `FollowerDraws.substituted_frac` says how often.

LOOK-AHEAD: only the view is read; it must be cut with ``as_of`` at the gate of the target day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stochbess.errors import NotEnoughHistoryError, ScenarioError
from stochbess.scenario_gen.day_panel import (
    DayPanel,
    block_table,
    complete,
    day_panel,
    lag_days,
    lagged,
    on_day,
    to_wall_clock,
    wall_clock_table,
)
from stochbess.scenario_gen.price_day_ahead import DayAheadDraws
from stochbess.scenario_gen.price_ridge import fit_ridge
from stochbess.scenario_gen.realised import MARKET_COLUMN
from stochbess.scenario_gen.series import SERIES

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

INTRADAY = "intraday_eur_mwh"
ENERGY = ("afrr_energy_up_eur_mwh", "afrr_energy_down_eur_mwh")
CAPACITY = ("fcr_eur_mw", "afrr_up_eur_mw_h", "afrr_down_eur_mw_h")
FOLLOWERS = (INTRADAY, *ENERGY, *CAPACITY)
QUARTERS = 4
SATURDAY = 5
MIN_DAYS = 21
TRAINING_DAYS = 182
LOG_SHIFT = 1.0  # capacity prices of zero occur
LOG_REACH = 0.7  # how far a capacity price may leave the range of its past, in logs


@dataclass(frozen=True)
class FollowerDraws:
    """Draws of one series, in the order of the day-ahead draws.

    Attributes
    ----------
    values : shape (n, labels of the day) in the unit of the series; a day has six blocks
    substituted_frac : share of the draws whose residual day has no value of the series
    """

    values: Array
    substituted_frac: float


@dataclass(frozen=True)
class _History:
    """Known values of a series by day, beside the panel of the same rows.

    Attributes
    ----------
    table : shape (days, labels of a day of 24 hours); NaN where not known
    rows : past rows on which the series and the day-ahead price are complete
    """

    panel: DayPanel
    table: Array
    rows: Ints

    @property
    def training(self) -> Ints:
        return self.rows[self.rows >= self.panel.target - TRAINING_DAYS]


def draw_following(
    view: MarketData, series: str, target_day: date, draws: DayAheadDraws
) -> FollowerDraws:
    """Prices of `series` for each draw of the day-ahead price of `target_day`.

    What is known of the series at the gate is the same in every draw.

    Parameters
    ----------
    view : ``market.as_of(gate)``, the view of the draws
    series : one of `FOLLOWERS`; quarter hours for energy, 4-h blocks for capacity
    draws : of `draw_day_ahead`

    Raises
    ------
    ScenarioError : `series` is none of `FOLLOWERS`
    DataError : the zone lacks the series
    NotEnoughHistoryError : fewer than 21 complete days of it are known
    """
    if series not in FOLLOWERS:
        raise ScenarioError(f"no price model for {series!r}; known are {', '.join(FOLLOWERS)}")
    history = _history(view, series, target_day)
    drawn = to_wall_clock(draws.values_eur_mwh, target_day, view.timezone)
    source, substituted = _residual_rows(history, draws.residual_day, drawn)
    if series in CAPACITY:
        values = _capacity(history, source)
    else:
        values = _energy(history, source, drawn, series)
    known = history.table[-1]
    values = np.where(np.isfinite(known), known, values)
    values = np.clip(values, SERIES[series].low, SERIES[series].high)
    if series not in CAPACITY:
        values = on_day(values, target_day, view.timezone)
    return FollowerDraws(values, float(np.mean(substituted)))


def _history(view: MarketData, series: str, target_day: date) -> _History:
    panel = day_panel(view, target_day)
    stem, column = MARKET_COLUMN[series]
    if series in CAPACITY:
        table = block_table(view, stem, column, panel.first_day, target_day)
    else:
        table = wall_clock_table(view, stem, column, panel.first_day, target_day, 60 // QUARTERS)
    usable = complete(table) & complete(panel.price_eur_mwh)
    rows = np.flatnonzero(usable[:-1]).astype(np.int64)
    if len(rows) < MIN_DAYS:
        raise NotEnoughHistoryError(
            f"zone {view.zone}, delivery {target_day}: {len(rows)} complete days of {series} are "
            f"known at the gate, expected at least {MIN_DAYS}. Choose a later delivery day, import "
            "earlier data, or close the market."
        )
    return _History(panel, table, rows)


def _residual_rows(history: _History, days: tuple[date, ...], drawn: Array) -> tuple[Ints, Flags]:
    """Rows from which the errors are taken, and which of them stand in for another day."""
    wanted = np.array([history.panel.row(day) for day in days], np.int64)
    there = np.isin(wanted, history.rows)
    if there.all():
        return wanted, ~there
    past = history.panel.price_eur_mwh[history.rows]
    odd = drawn[~there]
    squared = (odd**2).sum(1)[:, None] - 2.0 * odd @ past.T + (past**2).sum(1)
    wanted[~there] = history.rows[squared.argmin(axis=1)]
    return wanted, ~there


# -------------------------------------------------------------------------------------- energy


def _energy(history: _History, source: Ints, drawn: Array, series: str) -> Array:
    """Day-ahead draw + mean difference given the draw + error of the residual day (57, 59)."""
    price = history.panel.price_eur_mwh
    difference = history.table - np.repeat(price, QUARTERS, axis=1)
    rows = history.training
    mean = fit_ridge(_energy_inputs(history, price[rows], rows), difference[rows])
    error = difference[source] - mean(_energy_inputs(history, price[source], source))
    target = np.full(len(drawn), history.panel.target)
    made = np.repeat(drawn, QUARTERS, axis=1) + error
    made = made + mean(_energy_inputs(history, drawn, target))
    if series == INTRADAY:
        return made
    past = history.table[history.rows]
    return np.clip(made, past.min(), past.max())  # some sources clip these prices


def _energy_inputs(history: _History, day_ahead: Array, rows: Ints) -> Array:
    """Ramps, level and position of the day-ahead price, kind of day: (rows, 96, inputs)."""
    before = np.concatenate([day_ahead[:, :1], day_ahead[:, :-1]], axis=1)
    after = np.concatenate([day_ahead[:, 1:], day_ahead[:, -1:]], axis=1)
    level = day_ahead.mean(axis=1, keepdims=True)
    weekend = (history.panel.day_type[rows] >= SATURDAY)[:, None].astype(np.float64)
    columns = [after - day_ahead, day_ahead - before, day_ahead - level, level, weekend]
    hourly = np.stack([np.broadcast_to(c, day_ahead.shape) for c in columns], axis=2)
    return np.repeat(hourly, QUARTERS, axis=1)


# -------------------------------------------------------------------------------------- capacity


def _capacity(history: _History, source: Ints) -> Array:
    """Mean of the log price times the ratio of the residual day (58)."""
    log_price = np.log(np.maximum(history.table, 0.0) + LOG_SHIFT)
    inputs = _capacity_inputs(history, log_price)
    usable = np.asarray(np.isfinite(inputs).all(axis=(1, 2)))
    rows = history.training[usable[history.training]]
    if len(rows) < MIN_DAYS or not usable[-1]:
        mean = np.broadcast_to(log_price[history.training].mean(axis=0), log_price.shape)
    else:
        made = fit_ridge(inputs[rows], log_price[rows])(np.nan_to_num(inputs))
        mean = np.where(usable[:, None], made, log_price[rows].mean(axis=0))
    past = log_price[history.rows]
    drawn = mean[-1] + (log_price - mean)[source]
    bounded = np.clip(drawn, past.min() - LOG_REACH, past.max() + LOG_REACH)
    return np.asarray(np.exp(bounded) - LOG_SHIFT, np.float64)


def _capacity_inputs(history: _History, log_price: Array) -> Array:
    """Latest price, mean of a week, a week ago, kinds of day, wind and solar: (days, 6, P)."""
    panel = history.panel
    lag = lag_days(log_price, 1) or 1
    latest = lagged(log_price, lag)
    week = np.mean([lagged(latest, k) for k in range(7)], axis=0)
    kind = np.stack([panel.day_type == SATURDAY, panel.day_type > SATURDAY], axis=1)
    columns = [latest, week, lagged(log_price, max(7, lag)), latest.mean(axis=1, keepdims=True)]
    columns += [kind[:, k : k + 1].astype(np.float64) for k in range(2)]
    columns += [lagged(kind[:, k : k + 1].astype(np.float64), lag) for k in range(2)]
    for name in sorted(panel.forecast_mw):
        lead = lag_days(panel.forecast_mw[name])
        if lead is not None and lead < 7:
            by_block = lagged(panel.forecast_mw[name], lead).reshape(len(latest), 6, -1)
            columns.append(by_block.mean(axis=2))
    return np.stack([np.broadcast_to(c, latest.shape) for c in columns], axis=2)
