"""What a dispatcher expects of the rest of the day, given what it has seen of it.

Everything here is a function of the revealed part of the true data and of scenarios that do not
contain it; the unrevealed part is never read, which tests/test_rolling.py proves by corrupting it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from stochbess.errors import ConfigError
from stochbess.models.data import Grid, ModelData

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
# Local gates of the day before, as hours before the delivery day begins.
DAY_AHEAD_GATE_H, INTRADAY_AUCTION_GATE_H = 12.0, 9.0
# The market closes 5 to 60 minutes before delivery; reserve calls are planned 25 minutes ahead.
SHORTEST_REAL_LEAD_MIN = 25.0
_CALLS = ("activation_up_frac", "activation_down_frac", "fcr_activation_frac")
_CALL_PRICES = {
    "activation_up_eur_mwh": "activation_up_frac",
    "activation_down_eur_mwh": "activation_down_frac",
}
_IMBALANCE = ("imbalance_long_eur_mwh", "imbalance_short_eur_mwh")
# A deviation that has decayed to this share of its size is forgotten.
_FORGOTTEN = 0.05


@dataclass(frozen=True)
class Information:
    """Who knows what when, while the day goes on (docs/rolling.md).

    Attributes
    ----------
    lead_min : minutes before its delivery at which a continuous intraday trade is decided
    intraday_prices : "auction": the prices of a day are known from its intraday auction on;
        "gate": the price of a step is a forecast until its trade is decided
    safety_frac : None, or the quantile of unforeseen calls over the time in which no trade can
        answer them that plans keep as energy beside the reserve, in (0.5, 1)
    """

    lead_min: float = 30.0
    intraday_prices: Literal["auction", "gate"] = "auction"
    safety_frac: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lead_min) and self.lead_min >= 0):
            raise ConfigError(
                f"lead_min is {self.lead_min:g}; expected minutes >= 0 (a real market needs about "
                f"{SHORTEST_REAL_LEAD_MIN:g} or more)."
            )
        if self.safety_frac is not None and not 0.5 < self.safety_frac < 1:
            raise ConfigError(
                f"safety_frac is {self.safety_frac:g}; expected a quantile in (0.5, 1), or None."
            )

    def lead_steps(self, dt_h: float) -> int:
        """Whole steps of `dt_h` hours between the decision of a trade and its delivery."""
        return math.ceil(self.lead_min / 60 / dt_h - 1e-9)


class Clock:
    """At which stage what becomes known on a grid of T steps (99a).

    Stage -2 is the day-ahead gate of the first day, -1 the moment before delivery begins, stage t
    the inside of step t, and T the account afterwards. All arrays hold stages.
    """

    def __init__(self, grid: Grid, information: Information) -> None:
        n, lead = grid.n_steps, information.lead_steps(grid.dt_h)
        steps = np.arange(n)
        first_of_day = np.searchsorted(grid.day_of_step, grid.day_of_step)
        later = grid.day_of_step > 0

        def gate(hours_before: float, first: int) -> Ints:
            """Stage at which something of each step's day is known; `first` on the first day."""
            stage = first_of_day - round(hours_before / grid.dt_h) - 1
            return np.where(later, np.maximum(stage, first), first).astype(np.int64)

        self.n_steps, self.lead_steps = n, lead
        # A trade is decided on the last stage before its gate.
        self.trade = np.maximum(steps - lead - 1, -1)
        self.day_ahead = gate(DAY_AHEAD_GATE_H, -2)
        auction = gate(INTRADAY_AUCTION_GATE_H, -1)
        self.intraday = (
            np.minimum(auction, self.trade)
            if information.intraday_prices == "auction"
            else self.trade
        )
        self.calls = steps


class Forecast:
    """Scenario data as seen at each stage of one true day (99b).

    Parameters
    ----------
    series : scenarios that the forecast is made of, name -> (K, length)
    probability : (K,) their weights
    truth : the day that is revealed, name -> (length,)
    """

    def __init__(
        self,
        data: ModelData,
        clock: Clock,
        series: Mapping[str, Floats],
        probability: Floats,
        truth: Mapping[str, Floats],
    ) -> None:
        self._grid, self._clock, self._truth = data.grid, clock, dict(truth)
        weight = probability / probability.sum()
        self._mean = {name: weight @ values for name, values in series.items()}
        for price, call in _CALL_PRICES.items():
            if price in series:
                self._mean[price] = _weighted_mean(series[price], series[call], weight)
        self._keeps = {
            name: _persistence(series[name], weight)
            for name in (*_CALLS, "intraday_eur_mwh")
            if name in series
        }
        reference = self._reference(series)
        self._premium = {
            name: weight @ np.abs(series[name] - reference) for name in _IMBALANCE if name in series
        }

    def _reference(self, series: Mapping[str, Floats]) -> Floats:
        if "intraday_eur_mwh" in series:
            return np.asarray(series["intraday_eur_mwh"])
        if "day_ahead_eur_mwh" in series:
            return np.asarray(series["day_ahead_eur_mwh"][..., self._grid.day_ahead_of_step])
        return np.zeros_like(series["imbalance_long_eur_mwh"])

    def at(self, stage: int) -> dict[str, Floats]:
        """Scenario data at `stage`, name -> (length,): known values and forecasts."""
        clock, seen = self._clock, dict(self._truth)
        if stage >= clock.n_steps:
            return seen
        if "intraday_eur_mwh" in seen:
            seen["intraday_eur_mwh"] = self._carried("intraday_eur_mwh", clock.intraday <= stage)
        if "day_ahead_eur_mwh" in seen:
            unit = self._grid.day_ahead_of_step
            known = np.zeros(self._grid.n_day_ahead, bool)
            known[unit] = clock.day_ahead <= stage
            for name in ("day_ahead_eur_mwh", "day_ahead_curve_frac"):
                if name in seen:  # a curve has several shares a unit
                    there = np.repeat(known, len(self._truth[name]) // len(known))
                    seen[name] = np.where(there, self._truth[name], self._mean[name])
        called = clock.calls <= stage
        for name in _CALLS:
            if name in seen:
                low = -1.0 if name == "fcr_activation_frac" else 0.0
                seen[name] = np.clip(self._carried(name, called), low, 1.0)
        if "activation_up_frac" in seen:
            # Shares of one step's time fill at most all of it; what is carried can exceed that.
            most = np.maximum(1.0, self._mean[_CALLS[0]] + self._mean[_CALLS[1]])
            whole = np.maximum(1.0, (seen[_CALLS[0]] + seen[_CALLS[1]]) / most)
            for name in _CALLS[:2]:
                seen[name] = np.where(called, self._truth[name], seen[name] / whole)
        for name in _CALL_PRICES:
            if name in seen:
                seen[name] = np.where(called, self._truth[name], self._mean[name])
        # Imbalance is settled after the day; what earlier steps will have cost decides nothing.
        reference = self._reference(seen)
        for name, sign in zip(_IMBALANCE, (-1.0, 1.0), strict=True):
            seen[name] = reference + sign * self._premium[name]
        return seen

    def _carried(self, name: str, known: Bools) -> Floats:
        """Known values, then the mean plus what is left of the last known deviation from it."""
        mean, truth = self._mean[name], self._truth[name]
        if known.all() or not known.any():
            return np.where(known, truth, mean)
        last = int(np.flatnonzero(known)[-1])
        ahead = np.arange(len(mean)) - last
        share = self._keeps[name] ** np.maximum(ahead, 0)
        share = np.where((ahead > 0) & (share >= _FORGOTTEN), share, 0.0)
        return np.where(known, truth, mean + share * (truth[last] - mean[last]))


def _weighted_mean(price: Floats, call: Floats, weight: Floats) -> Floats:
    """Mean price of what is called; the plain mean where nothing ever is."""
    called = weight[:, None] * call
    total = called.sum(axis=0)
    plain = weight @ price
    paid = (called * price).sum(axis=0)
    return np.asarray(np.where(total > 0, paid / np.where(total > 0, total, 1.0), plain))


def _persistence(values: Floats, weight: Floats) -> float:
    """Correlation of neighbouring deviations from the mean day, pooled; 0 without any."""
    deviation = values - weight @ values
    size = float(weight @ (deviation[:, :-1] ** 2).sum(axis=1))
    if size <= 1e-12:
        return 0.0
    together = float(weight @ (deviation[:, :-1] * deviation[:, 1:]).sum(axis=1))
    return min(0.99, max(0.0, together / size))


def safety_mwh(
    data: ModelData,
    series: Mapping[str, Floats],
    probability: Floats,
    capacity_mw: tuple[Floats, Floats],
    window: int,
    quantile: float,
) -> tuple[Floats, Floats]:
    """Energy and room (B,) beside the reserve that cover unforeseen calls of `window` steps (99e).

    `capacity_mw` is what was sold of aFRR up and down, (B,) each. The quantile is over all
    scenarios and all windows that end in a block.
    """
    grid, asset, block = data.grid, data.asset, data.grid.block_of_step
    if "activation_up_frac" not in series:
        return np.zeros(grid.n_blocks), np.zeros(grid.n_blocks)
    up, down = (series[f"activation_{side}_frac"] for side in ("up", "down"))
    drawn = up * capacity_mw[0][block] / asset.reserve_discharge_efficiency_frac
    stored = asset.reserve_charge_efficiency_frac * down * capacity_mw[1][block]
    net = grid.dt_h * (drawn - stored)
    weight = probability / probability.sum()
    unforeseen = np.cumsum(net - weight @ net, axis=1)
    lag = np.concatenate((np.zeros((len(net), window)), unforeseen), axis=1)[:, : net.shape[1]]
    moved = unforeseen - lag
    out, room = np.zeros(grid.n_blocks), np.zeros(grid.n_blocks)
    for b in range(grid.n_blocks):
        of_block = moved[:, block == b]
        weights = np.repeat(weight, of_block.shape[1])
        out[b] = max(0.0, _quantile(of_block.ravel(), weights, quantile))
        room[b] = max(0.0, _quantile(-of_block.ravel(), weights, quantile))
    return out, room


def _quantile(values: Floats, weight: Floats, level: float) -> float:
    """Smallest value that is not exceeded with weight `level`."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order]) / weight.sum()
    at = int(np.searchsorted(reached, level - 1e-12))
    return float(values[order[min(at, len(order) - 1)]])
