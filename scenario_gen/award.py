"""Probability that a pay-as-bid capacity bid is accepted, from the history of published prices.

A bid is taken to win if it is not above the price that will be published for its block. The price
is predicted in logarithms by a weighted least-squares line of the latest prices known at the gate,
of the same block and of all blocks; what the past deviated from that line, weighted by recency and
spread by a kernel, is the distribution (49). It falls with the bid by construction.

PROXY: which bid was the last accepted one is not in the data. Where the published price is an
average of accepted bids, the marginal bid was dearer, and a bid at the published price was
accepted more often than this says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr

from stochbess.errors import DataError, NotEnoughHistoryError
from stochbess.timegrid import BLOCK_HOURS_LOCAL, gate_utc

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BLOCKS = 24 // BLOCK_HOURS_LOCAL
HALF_LIFE_DAYS = 90.0
MIN_DAYS = 21
FLOOR_EUR_MW_H = 0.5  # added before the logarithm: cents around zero are no relative change
RIDGE_ROWS = 1.0
OTHER_BLOCK_WEIGHT = 0.05
KERNEL = 1.06  # rule of thumb for the width of a kernel (Silverman 1986)
PROXY_NOTE = (
    "acceptance is judged against the published capacity price, a proxy of the last accepted bid"
)


@dataclass(frozen=True)
class PriceBelief:
    """Distribution of the published price of one block, as weighted centres under a kernel.

    Attributes
    ----------
    centre_log : logarithm of (price + floor), ascending, shape (n,)
    weight : of the centres, summing to 1, shape (n,)
    bandwidth : standard deviation of the kernel in the logarithm
    note : what a report must say
    """

    centre_log: Array
    weight: Array
    bandwidth: float
    note: str = PROXY_NOTE

    def acceptance(self, bid_eur_mw_h: float | Array) -> Array:
        """P(bid <= published price) for one bid or several, falling in the bid.

        Raises
        ------
        DataError : a bid that is not finite or below zero
        """
        bid = np.asarray(bid_eur_mw_h, np.float64)
        if not np.isfinite(bid).all() or (bid < 0).any():
            raise DataError(
                f"capacity bids must be finite and >= 0 EUR/MW per hour, got {bid_eur_mw_h}"
            )
        distance = (self.centre_log - np.log(bid + FLOOR_EUR_MW_H)[..., None]) / self.bandwidth
        return np.asarray(ndtr(distance) @ self.weight, np.float64)

    def bid_for(self, acceptance_frac: float) -> float:
        """Highest bid [EUR/MW per hour], in cents, that is accepted with this probability.

        Raises
        ------
        DataError : a probability outside (0, 1)
        """
        if not 0 < acceptance_frac < 1:
            raise DataError(f"acceptance probability {acceptance_frac} is not between 0 and 1")
        low, high = 0, 1
        while self.acceptance(high / 100)[()] >= acceptance_frac:
            high *= 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (middle, high)
                if self.acceptance(middle / 100)[()] >= acceptance_frac
                else (low, middle)
            )
        return low / 100


def acceptance_probability(
    view: MarketData,
    direction: str,
    bid_eur_mw_h: float | Array,
    day: date,
    block: int,
) -> Array:
    """Probability that capacity bids of a block of `day` are accepted; see `price_belief`."""
    return price_belief(view, direction, day, block).acceptance(bid_eur_mw_h)


def price_belief(view: MarketData, direction: str, day: date, block: int) -> PriceBelief:
    """Distribution of the published aFRR capacity price of one block.

    Parameters
    ----------
    view : market data cut at the gate; every price in it may be used
    direction : "up" or "down"
    day, block : delivery day and 4-h block 0..5 (local 00, 04, ..., 20 h)

    Raises
    ------
    DataError : the zone has no such prices, or the block does not exist
    NotEnoughHistoryError : fewer than 21 days with this block
    """
    if block not in range(BLOCKS):
        raise DataError(f"block {block} does not exist; expected 0 to {BLOCKS - 1}")
    table, first = _log_prices(view, direction, day)
    target = len(table) - 1
    known = np.isfinite(table[:target])
    if int(known[:, block].sum()) < MIN_DAYS:
        raise NotEnoughHistoryError(
            f"zone {view.zone}: the {direction} capacity price of block {block} was known on "
            f"{int(known[:, block].sum())} days before {day}, expected at least {MIN_DAYS}. "
            "Choose a later day or import earlier prices."
        )
    age = target - 1 - int(np.flatnonzero(known.any(axis=1)).max())
    rows, y, weight = _regression_rows(table, first, target, block, age)
    line, leverage = _weighted_ridge(rows[:-1], y, weight)
    # What each day would have deviated from a line fitted without it.
    error = (y - rows[:-1] @ line) / (1.0 - leverage)
    centre = rows[-1] @ line + error
    order = np.argsort(centre, kind="stable")
    share = weight[order] / weight.sum()
    effective = 1.0 / float(share @ share)
    spread = float(
        np.sqrt(np.average((error - np.average(error, weights=weight)) ** 2, weights=weight))
    )
    bandwidth = max(KERNEL * spread * effective**-0.2, 1e-3)
    return PriceBelief(centre[order], share, bandwidth)


def accepted_from(published: Array, probability: Array, levels: Sequence[float]) -> Array:
    """Published price from which on a bid is accepted in as much of the scenarios as its level.

    Bid and scenarios come from different models of the same price; what ties them is that the
    dearest scenarios accept. The share is met as nearly as the scenarios' weights allow.

    Parameters
    ----------
    published : (S, B) published price of every block in every scenario
    probability : (S,)
    levels : K probabilities of acceptance

    Returns
    -------
    (B, K) thresholds, inf where a level is nearer to never
    """
    out = np.empty((published.shape[1], len(levels)))
    for b, column in enumerate(published.T):
        prices = np.unique(column)[::-1]
        share = np.array([probability[column >= price].sum() for price in prices])
        share /= probability.sum()
        for k, level in enumerate(levels):
            at = int(np.argmin(np.abs(share - level)))
            never = level < abs(float(share[at]) - level)
            out[b, k] = np.inf if never else prices[at]
    return out


def _log_prices(view: MarketData, direction: str, day: date) -> tuple[Array, date]:
    """log(price + floor) by local day and block up to `day`, whose own row stays empty."""
    column = f"{direction}_eur_mw_h"
    prices = view.column("afrr_capacity", column)
    local = pd.DatetimeIndex(prices.index).tz_convert(view.timezone)
    start = pd.Timestamp(gate_utc("D 00:00", day, view.timezone))
    before = np.asarray(local < start)
    local, values = local[before], prices.to_numpy(np.float64)[before]
    if len(local) == 0:
        return np.full((1, BLOCKS), np.nan), day
    first = local[0].date()
    row = np.asarray((local.tz_localize(None).normalize() - pd.Timestamp(first)).days, np.int64)
    table = np.full(((day - first).days + 1, BLOCKS), np.nan)
    table[row, np.asarray(local.hour // BLOCK_HOURS_LOCAL)] = np.log(
        np.maximum(values, 0.0) + FLOOR_EUR_MW_H
    )
    return table, first


def _regression_rows(
    table: Array, first: date, target: int, block: int, age: int
) -> tuple[Array, Array, Array]:
    """Regressors (the target block last), log prices and weights of past blocks."""
    weekend = (np.arange(target + 1) + first.weekday()) % 7 >= 5
    parts, ys, ws = [], [], []
    for b in [*(k for k in range(BLOCKS) if k != block), block]:
        x = _regressors(table, b, age, weekend)
        usable = np.isfinite(x).all(axis=1) & np.isfinite(table[:, b])
        usable[target] = False
        days = np.flatnonzero(usable)
        recency = 0.5 ** ((target - days) / HALF_LIFE_DAYS)
        parts.append(x[days])
        ys.append(table[days, b])
        ws.append(recency * (1.0 if b == block else OTHER_BLOCK_WEIGHT))
        if b == block:
            parts.append(np.nan_to_num(x[target], nan=0.0)[None])
    return np.concatenate(parts), np.concatenate(ys), np.concatenate(ws)


def _regressors(table: Array, block: int, age: int, weekend: npt.NDArray[np.bool_]) -> Array:
    """What was known of each day's price: `age` days lie between the day and the latest prices."""
    lag = age + 1
    own = table[:, block]
    all_blocks = _row_mean(table)
    last = _filled(_shifted(own, lag), _shifted(all_blocks, lag))
    week = np.stack([_shifted(own, lag + k) for k in range(7)], axis=1)
    seven = _filled(_shifted(own, 7 if lag <= 7 else 14), last)
    same = np.r_[False, weekend[1:] != weekend[:-1]]
    return np.column_stack(
        [
            np.ones(len(own)),
            last,
            _row_mean(week),
            seven,
            _shifted(all_blocks, lag),
            weekend.astype(np.float64),
            same.astype(np.float64),
        ]
    )


def _row_mean(values: Array) -> Array:
    known = np.isfinite(values)
    n = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def _filled(values: Array, other: Array) -> Array:
    return np.where(np.isfinite(values), values, other)


def _shifted(values: Array, lag: int) -> Array:
    return np.concatenate([np.full(lag, np.nan), values])[: len(values)]


def _weighted_ridge(x: Array, y: Array, weight: Array) -> tuple[Array, Array]:
    """Coefficients drawn towards the latest own prices, and the leverage of each row (< 1)."""
    towards = np.array([0.0, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0])
    scale = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2])
    gram = (x * weight[:, None]).T @ x + RIDGE_ROWS * np.diag(scale)
    right = (x * weight[:, None]).T @ (y - x @ towards)
    leverage = weight * np.einsum("ij,ji->i", x, np.linalg.solve(gram, x.T))
    return towards + np.asarray(np.linalg.solve(gram, right), np.float64), leverage
