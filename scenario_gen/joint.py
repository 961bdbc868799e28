"""Scenarios from fitted models: one draw is one coherent world across the markets.

Every draw of the day-ahead price names a past day, its residual day. The errors of the intraday,
capacity and aFRR energy prices and the path of the activated volumes of the same draw are those of
the same residual day, so that what happened together stays together
(docs/math.md, "Price models" and "Activation as a process").

Models are fitted once a week, at the gate of the Monday of the delivery day's week, and read what
that gate let them know; draws read what the gate of the delivery day lets them know.

LOOK-AHEAD: the gate is the only door; `market` is cut with ``as_of`` before anything is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stochbess.errors import NotEnoughHistoryError, ScenarioError
from stochbess.rng import stream
from stochbess.scenario_gen.activation_fallback import with_borrowed_activation
from stochbess.scenario_gen.activation_paths import ActivationFit, activation_paths, fit_activation
from stochbess.scenario_gen.activation_price import draw_energy_prices, fit_energy_price
from stochbess.scenario_gen.day_panel import (
    DayPanel,
    block_table,
    complete,
    day_panel,
    to_wall_clock,
    wall_clock_table,
)
from stochbess.scenario_gen.draws import day_names, gate_rule
from stochbess.scenario_gen.fit_store import FitStore, view_sha256
from stochbess.scenario_gen.price_day_ahead import DayAheadDraws, draw_day_ahead, fit_day_ahead
from stochbess.scenario_gen.price_fit import DayAheadFit, PriceModel
from stochbess.scenario_gen.price_followers import FOLLOWERS, draw_following
from stochbess.scenario_gen.realised import MARKET_COLUMN, market_provenance, require_same_clock
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.series import SERIES, Array, labels_of, require_known
from stochbess.timegrid import Horizon, gate_utc

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

DAY_AHEAD = "day_ahead_eur_mwh"
VOLUMES = ("activation_up_mw", "activation_down_mw")
ENERGY = ("afrr_energy_up_eur_mwh", "afrr_energy_down_eur_mwh")
KEEP_NOTHING = FitStore()
MIN_COMMON_DAYS = 14


@dataclass(frozen=True)
class _World:
    """What the gate of one delivery day shows, and how to look at an earlier one."""

    market: MarketData
    horizon: Horizon
    rule: str
    lender: MarketData | None
    seed: int
    store: FitStore

    @property
    def day(self) -> date:
        return self.horizon.first_day

    def gate(self, day: date) -> datetime:
        return gate_utc(self.rule, day, self.horizon.timezone)

    def view(self, day: date) -> MarketData:
        """The market as known at the gate of `day`, with borrowed volumes where it has none."""
        view = self.market.as_of(self.gate(day))
        if self.lender is None:
            return view
        span = Horizon(day, 1, self.horizon.timezone, 15, self.horizon.day_ahead_min)
        return with_borrowed_activation(view, self.lender, span, self.gate(day))

    def depends_on(self, fit_day: date) -> dict[str, str]:
        """All that a fit for `fit_day` can depend on; data that arrive later do not change it."""
        return {
            "view": view_sha256(self.view(fit_day)),
            "fit_day": fit_day.isoformat(),
            "gate": self.rule,
            "seed": str(self.seed),
        }

    @property
    def fallback_note(self) -> dict[str, str]:
        """What a report must say of volumes that are not those of the zone."""
        if self.lender is None or "afrr_activation" in self.market.series:
            return {}
        kind = "synthetic" if self.lender.synthetic else "observed"
        text = f"{kind} volumes of {self.lender.zone}, independent of the prices of this zone"
        return {"activation_fallback": text}

    @property
    def fit_days(self) -> tuple[date, ...]:
        """Monday of the delivery week; the delivery day itself where Monday knew too little."""
        monday = self.day - timedelta(days=self.day.weekday())
        return tuple(dict.fromkeys((monday, self.day)))


def joint_scenarios(
    market: MarketData,
    horizon: Horizon,
    gate: datetime,
    needed: Sequence[str],
    n: int,
    seed: int,
    forecast_known_gate_utc: datetime | None = None,
    activation_from: MarketData | None = None,
    model: PriceModel = "pool",
    store: FitStore = KEEP_NOTHING,
    fit_seed: int | None = None,
) -> ScenarioSet:
    """`n` equally probable scenarios of the series `needed` for one delivery day.

    Parameters
    ----------
    market : the whole market; only what was known at the gate is looked at
    horizon : one delivery day
    gate : timezone-aware instant of the decision
    n : number of scenarios
    seed : root seed; streams ``scenarios.day_ahead`` and ``scenarios.activation``
    forecast_known_gate_utc : assume that the forecasts for a day are known at this local time
        before it. LOOK-AHEAD if they are published later; the provenance says so
    activation_from : market whose activated volumes stand in where the zone has none
    model : price model, see `fit_day_ahead`
    store : where fits are kept; a fit from the store gives the same bytes as a new one
    fit_seed : of the fits; None = `seed`. Draws of several seeds can so share a fit

    Raises
    ------
    NotEnoughHistoryError : a model lacks history
    DataError : the zone lacks a needed series
    ScenarioError : more than one delivery day, `n` below 1, or a series without a model
    """
    _require_answerable(market, horizon, needed, n)
    rule = gate_rule(gate, horizon)
    if forecast_known_gate_utc is not None:
        market = market.assume_forecasts_known(gate_rule(forecast_known_gate_utc, horizon))
    volumes = [s for s in (*VOLUMES, *ENERGY) if s in needed]
    lender = activation_from if volumes else None
    world = _World(market, horizon, rule, lender, seed if fit_seed is None else fit_seed, store)
    view = world.view(world.day)
    prices = _price_fit(world, model)
    draws = draw_day_ahead(prices, view, world.day, n, stream(seed, "scenarios.day_ahead"))
    values: dict[str, Array] = {DAY_AHEAD: _on_units(draws.values_eur_mwh, horizon)}
    notes = {f"day_ahead_{k}": v for k, v in prices.provenance.items() if k != "assumptions"}
    others = [s for s in needed if s != DAY_AHEAD]
    if others:
        draws, notes["residual_days"] = _with_common_days(world, view, draws, others)
    for series in (s for s in others if s not in volumes):
        values[series] = draw_following(view, series, world.day, draws).values
    if volumes:
        made, said = _activation(world, view, draws, stream(seed, "scenarios.activation"))
        values |= made
        notes |= said | world.fallback_note
    return ScenarioSet(
        names=day_names("model", draws.residual_day),
        probability=np.full(n, 1 / n),
        values={s: _within(values[s], s) for s in SERIES if s in needed},
        index={s: labels_of(horizon, s) for s in SERIES if s in needed},
        provenance={
            "source": "model",
            "gate_utc": f"{gate.astimezone(UTC):%Y-%m-%dT%H:%MZ}",
            "seed": str(seed),
            **market_provenance(view),
            **notes,
        },
    )


def _require_answerable(
    market: MarketData, horizon: Horizon, needed: Sequence[str], n: int
) -> None:
    require_same_clock(market, horizon)
    require_known(needed)
    modelled = (DAY_AHEAD, *FOLLOWERS, *VOLUMES)
    odd = [s for s in needed if s not in modelled]
    if odd:
        raise ScenarioError(
            f"there is no model for {', '.join(odd)}; known are {', '.join(modelled)}. "
            "Use scenarios.source=analog."
        )
    if n < 1 or not needed:
        raise ScenarioError(
            f"scenarios need n >= 1 and a series; got n = {n}, {len(needed)} series"
        )
    if horizon.n_days != 1:
        raise ScenarioError(
            f"the models make scenarios of one delivery day, not of {horizon.n_days} together. "
            "Use scenarios.source=analog, or decide one day (market.n_days=1)."
        )


def _with_common_days(
    world: _World, view: MarketData, draws: DayAheadDraws, series: Sequence[str]
) -> tuple[DayAheadDraws, str]:
    """The draws with residual days on which all of `series` are known, and how many were replaced.

    The day that stands in is the one whose day-ahead price is nearest to the drawn one, among those
    that no draw has yet: it is the same for all series, so that they stay one world.
    """
    panel = day_panel(view, world.day)
    price = panel.price_eur_mwh
    usable = complete(price)
    usable[-1] = False
    for name in series:
        usable &= _known_rows(view, name, panel)
    rows = np.flatnonzero(usable)
    if len(rows) < MIN_COMMON_DAYS:
        raise NotEnoughHistoryError(
            f"zone {view.zone}, delivery {world.day}: on {len(rows)} days before the gate are all "
            f"of {', '.join((DAY_AHEAD, *series))} known, expected at least {MIN_COMMON_DAYS}. "
            "Choose a later delivery day, import earlier data, or close a market."
        )
    wanted = np.array([panel.row(day) for day in draws.residual_day])
    away = np.flatnonzero(~usable[wanted])
    if len(away):
        drawn = to_wall_clock(draws.values_eur_mwh[away], world.day, view.timezone)
        squared = ((drawn[:, None, :] - price[rows][None, :, :]) ** 2).sum(axis=2)
        wanted[away] = rows[_nearest_free(squared, ~np.isin(rows, wanted))]
    days = tuple(panel.day(row) for row in wanted)
    note = f"{len(away)} of {len(wanted)} lack a series and took the day of the nearest prices"
    return replace(draws, residual_day=days), note


def _nearest_free(distance: Array, free: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Nearest column of every row, each column once while there are free ones left.

    Few days that stand in many times would make the scenarios too much alike.
    """
    left, found = free.copy(), np.empty(len(distance), np.int64)
    for i, row in enumerate(distance):
        if not left.any():
            left[:] = True
        found[i] = np.where(left, row, np.inf).argmin()
        left[found[i]] = False
    return found


def _known_rows(view: MarketData, series: str, panel: DayPanel) -> npt.NDArray[np.bool_]:
    """Days on which every value of `series` is known, shape (days of the panel,)."""
    stem, column = MARKET_COLUMN[series]
    if stem not in view.series:
        view.column(stem, column)  # says what the zone has
    if SERIES[series].grid == "block":
        return complete(block_table(view, stem, column, panel.first_day, panel.target_day))
    return complete(wall_clock_table(view, stem, column, panel.first_day, panel.target_day, 15))


def _price_fit(world: _World, model: PriceModel) -> DayAheadFit:
    """The fit of the week; yesterday's week, if it is stored, only saves time."""
    short: NotEnoughHistoryError | None = None
    for fit_day in world.fit_days:
        key = {**world.depends_on(fit_day), "model": model}

        def fit(day: date = fit_day) -> DayAheadFit:
            earlier = {**world.depends_on(day - timedelta(days=7)), "model": model}
            previous = world.store.read("day_ahead", earlier, DayAheadFit)
            view, zone = world.view(day), world.horizon.timezone
            return fit_day_ahead(view, day, zone, world.seed, model, previous)

        try:
            return world.store.get("day_ahead", key, DayAheadFit, fit)
        except NotEnoughHistoryError as error:
            short = error
    raise short or NotEnoughHistoryError(f"no history before {world.day}")


def _activation_fit(world: _World) -> ActivationFit:
    short: NotEnoughHistoryError | None = None
    for fit_day in world.fit_days:

        def fit(day: date = fit_day) -> ActivationFit:
            return fit_activation(
                world.view(day), world.horizon.timezone, world.seed, rule=world.rule
            )

        try:
            return world.store.get("activation", world.depends_on(fit_day), ActivationFit, fit)
        except NotEnoughHistoryError as error:
            short = error
    raise short or NotEnoughHistoryError(f"no history before {world.day}")


def _activation(
    world: _World, view: MarketData, draws: DayAheadDraws, rng: np.random.Generator
) -> tuple[dict[str, Array], dict[str, str]]:
    """Volumes on the residual days of the draws, and the energy prices that go with them."""
    fit = _activation_fit(world)
    paths = activation_paths(fit, view, world.day, draws.residual_day, rng)
    swapped = dict(paths.substituted)
    taken = [swapped.get(day, day) for day in draws.residual_day]
    hourly = np.asarray(draws.values_eur_mwh)
    quarter_hourly = np.repeat(hourly, paths.up_mw.shape[1] // hourly.shape[1], axis=1)
    price = fit_energy_price(view, world.horizon.timezone)
    up, down = draw_energy_prices(
        price, view, world.day, taken, paths.up_mw, paths.down_mw, quarter_hourly
    )
    values = dict(zip((*VOLUMES, *ENERGY), (paths.up_mw, paths.down_mw, up, down), strict=True))
    return values, {
        "activation": paths.note,
        "activation_features": fit.sources,
        "activation_history": fit.history,
        "afrr_energy": price.note,
    }


def _on_units(hourly: Array, horizon: Horizon) -> Array:
    """Hourly prices on the day-ahead time units; a finer unit holds the price of its hour."""
    return np.repeat(hourly, 60 // horizon.day_ahead_min, axis=1)


def _within(values: Array, series: str) -> Array:
    """Clipped to the range of the market: an error that is added may leave it."""
    return np.clip(values, SERIES[series].low, SERIES[series].high)
