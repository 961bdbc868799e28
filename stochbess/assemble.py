"""From configuration, rules, market data and scenarios to the numbers of one decision.

Nothing is solved here. Every assumption that is not verified by a source is collected in words, so
that it can be printed wherever the result is. Long, because it is the one place where every setting
of the configuration meets the rule, the series and the number of the model that it becomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.aging_prices import cycle_cost, held_prices, plant_aging
from stochbess.battery.cut_cycle import CycleCost
from stochbess.battery.cycle_curve import (
    SegmentCurve,
    fill_from_turning_points,
    segment_costs_eur_mwh,
)
from stochbess.battery.plant_cost import PlantAging
from stochbess.config import Config
from stochbess.conversion import Conversion, constant_only, conversion_of
from stochbess.errors import ConfigError, DataError, ScenarioError
from stochbess.market.data import MarketData, load_market
from stochbess.market.order_curve import price_points
from stochbess.market.reference import REFERENCE_DAY, reference_market
from stochbess.market.rules import MarketRule, rules_for
from stochbess.market.settlement import SettlementTerms
from stochbess.market.tariffs import Tariff, build_tariff
from stochbess.models.data import (
    Aging,
    Asset,
    BidMenu,
    EnergyMarkets,
    Fees,
    Grid,
    ModelData,
    Reserves,
    Terminal,
)
from stochbess.offers import with_offer_data
from stochbess.scenario_gen.analog import analog_scenarios
from stochbess.scenario_gen.award import BLOCKS, PROXY_NOTE, accepted_from, price_belief
from stochbess.scenario_gen.fit_store import FitStore
from stochbess.scenario_gen.joint import joint_scenarios
from stochbess.scenario_gen.mean_selection import match_means
from stochbess.scenario_gen.realised import realised_scenario
from stochbess.scenario_gen.scenario_file import read_scenarios
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.timegrid import Horizon, gate_utc

Floats = npt.NDArray[np.float64]


# Quantiles of the recent day-ahead prices that value stored energy, from empty to full, and how
# many days are looked at (docs/adr/0004).
TERMINAL_QUANTILES = (0.5, 0.4, 0.3, 0.2)
TERMINAL_DAYS = 28
_TOO_OLD_DAYS = 7
# Parameters of the rulebook that enter a decision; the others need no warning.
_RULES_USED = {
    "day_ahead": ("gate_local", "mtu_min"),
    "fcr": ("gate_local", "lot_mw", "energy_h", "recharge_factor"),
    "afrr_capacity": ("gate_local", "lot_mw", "energy_h"),
}


@dataclass(frozen=True)
class Case:
    """One decision in numbers, and where they come from.

    Attributes
    ----------
    series : scenario data of the model, name -> (S, length)
    terms : grid and rules for the settlement
    conversion : which efficiency model the decision counts with
    curve : price of a cycle by depth, None unless the segment model is in use
    cycle_cost : rainflow cost of a path, None unless aging is priced by cuts
    judge : the plant that shows aging, None unless more than cycling is priced
    assumptions : what the result rests on and no source verifies, one sentence each
    """

    config: Config
    market: MarketData
    horizon: Horizon
    gate: datetime
    scenarios: ScenarioSet
    data: ModelData
    series: dict[str, Floats]
    terms: SettlementTerms
    conversion: Conversion
    curve: SegmentCurve | None
    assumptions: tuple[str, ...]
    cycle_cost: CycleCost | None = None
    judge: PlantAging | None = None

    @property
    def synthetic(self) -> bool:
        """Whether any number that enters the decision is invented: market, scenarios or calls."""
        origins = self.scenarios.provenance.values()
        return self.market.synthetic or any("synthetic" in text for text in origins)

    @property
    def probability(self) -> Floats:
        return self.scenarios.probability


def open_market(config: Config) -> MarketData:
    """The configured market data, or the embedded synthetic reference market."""
    if config.market.data_dir is None:
        return reference_market()
    return load_market(config.market.data_dir, config.market.zone)


def build_case(
    config: Config, market: MarketData | None = None, draw_seed: int | None = None
) -> Case:
    """Assemble the decision that `config` describes.

    With `draw_seed` the scenarios are drawn with this seed; models are fitted with that of `config`
    all the same, so that cases of several seeds differ in their draws alone.

    Raises
    ------
    ConfigError : the configuration contradicts itself or the data
    DataError : data or scenarios are missing or malformed
    NotEnoughHistoryError : too little is known at the gate
    """
    market = open_market(config) if market is None else market
    first_day = config.market.day
    if first_day is None:
        if not market.synthetic:
            raise ConfigError(
                f"market.day is not set. Market data of {market.zone} need a delivery day: "
                "pass --day YYYY-MM-DD or set market.day."
            )
        first_day = REFERENCE_DAY
    plan = _Plan(config, market, first_day, config.seed if draw_seed is None else draw_seed)
    scenarios = plan.scenarios()
    series = plan.series(scenarios)
    tariff = _tariff(config, plan.horizon)
    data, curve = plan.model_data(tariff)
    data = plan.with_offers(data, scenarios)
    series = with_offer_data(series, data)
    return Case(
        config=config,
        market=market,
        horizon=plan.horizon,
        gate=plan.gate,
        scenarios=scenarios,
        data=data,
        series=series,
        terms=_terms(config, data, tariff, plan.conversion),
        conversion=plan.conversion,
        curve=curve,
        assumptions=tuple(plan.assumptions),
        cycle_cost=plan.cycle_cost,
        judge=plan.judge,
    )


def gate_of(config: Config, market: MarketData, day: date) -> datetime:
    """The earliest gate of what is decided here and now for `day` (UTC)."""
    return _Plan(config, market, day, config.seed).gate


def with_battery(case: Case, config: Config) -> Case:
    """The same gate and scenarios with the battery as `config` has it; all else must be equal."""
    plan = _Plan(config, case.market, case.horizon.first_day, config.seed)
    tariff = _tariff(config, plan.horizon)
    data, curve = plan.model_data(tariff)
    return replace(
        case,
        config=config,
        data=data,
        terms=_terms(config, data, tariff, plan.conversion),
        conversion=plan.conversion,
        curve=curve,
        cycle_cost=plan.cycle_cost,
        judge=plan.judge,
    )


class _Plan:
    """Which markets are open, on which grid, by which rules; collects assumptions."""

    def __init__(self, config: Config, market: MarketData, first_day: date, draw_seed: int) -> None:
        self.config, self.market, self.draw_seed = config, market, draw_seed
        self.assumptions: list[str] = []
        self.cycle_cost = cycle_cost(config) if config.aging.model == "cuts" else None
        self.conversion = conversion_of(config)
        if market.synthetic:
            self.assumptions.append(
                "All market data are SYNTHETIC: no result is a statement about a real market."
            )
        self.assumptions += [*market.assumptions, *(f"Data: {text}" for text in market.warnings)]
        self.assumptions += self.conversion.assumptions
        self.rules = {
            name: rules_for(market.zone, name, first_day)
            for name in ("day_ahead", "intraday_auction", "fcr", "afrr_capacity")
        }
        self.afrr = self._afrr_open()
        sold = config.battery.state.commitments
        self.afrr_called = self.afrr or any(c.market.startswith("afrr") for c in sold)
        if sold:
            self.assumptions.append(
                "What was sold earlier binds, and its cost of delivery counts; its income was "
                "booked when it was sold and is not part of the profit."
            )
        self.fcr = config.markets.fcr.enabled
        enabled = config.markets
        open_names = [
            name
            for name, is_open in (
                ("day_ahead", enabled.day_ahead.enabled),
                ("fcr", self.fcr),
                ("afrr_capacity", self.afrr),
            )
            if is_open
        ]
        if not (open_names or enabled.intraday.enabled):
            raise ConfigError("markets: every market is disabled. Enable at least one.")
        unit = int(self.rules["day_ahead"].number("mtu_min"))
        quarter = enabled.intraday.enabled or self.fcr or self.afrr
        self.horizon = Horizon(
            first_day, config.market.n_days, market.timezone, 15 if quarter else unit, unit
        )
        self.gate = self._gate(open_names, first_day)
        self.judge: PlantAging | None = None
        if len(config.aging.mechanisms) > 1:
            constant_only(config, "aging as the plant shows it (aging.mechanisms beyond cycle)")
            self.judge = plant_aging(config, self.horizon.dt_h)
        if config.markets.day_ahead.enabled and config.markets.day_ahead.here_and_now:
            self.assumptions.append(
                "Day-ahead positions are continuous; the exchange's volume tick is not imposed."
            )
        for name in open_names:
            self._note_unverified(self.rules[name], _RULES_USED[name])

    def _afrr_open(self) -> bool:
        afrr = self.config.markets.afrr
        has_calls = "afrr_activation" in self.market.series
        fallback = afrr.activation_fallback == "reference"
        if afrr.enabled == "auto":
            if not has_calls and not fallback:
                self.assumptions.append(
                    f"aFRR is off: {self.market.zone} has no activation data "
                    "(markets.afrr.activation_fallback=reference would borrow a synthetic signal)."
                )
            return has_calls or fallback
        if afrr.enabled and not (has_calls or fallback):
            raise DataError(
                f"markets.afrr.enabled is true, but {self.market.zone} has no series "
                "afrr_activation. Set markets.afrr.activation_fallback=reference to borrow the "
                "synthetic signal, or leave aFRR off."
            )
        return bool(afrr.enabled)

    def _gate(self, open_names: Sequence[str], day: date) -> datetime:
        """The earliest gate of what is decided here and now: all decisions see what it sees."""
        names = [n for n in open_names if n != "day_ahead"]
        if self.config.markets.day_ahead.here_and_now and "day_ahead" in open_names:
            names.append("day_ahead")
        rules = [self.rules[n].text("gate_local") for n in names or ["day_ahead"]]
        return min(gate_utc(rule, day, self.market.timezone) for rule in rules)

    def _note_unverified(self, rule: MarketRule, names: Sequence[str]) -> None:
        """Say which of the numbers that are used no source vouches for."""
        doubtful = [n for n in names if not rule.is_verified(n)]
        if doubtful:
            values = ", ".join(f"{n} = {rule.params[n]}" for n in doubtful)
            self.assumptions.append(f"Unverified rule of {rule.market}: {values} [{rule.source}].")

    # -- scenarios ------------------------------------------------------------------------------
    def needed(self) -> list[str]:
        markets = self.config.markets
        names = []
        if markets.day_ahead.enabled or not markets.intraday.enabled:
            names.append("day_ahead_eur_mwh")
        if markets.intraday.enabled:
            names.append("intraday_eur_mwh")
        if self.fcr:
            names.append("fcr_eur_mw")
        if self.afrr:
            names += ["afrr_up_eur_mw_h", "afrr_down_eur_mw_h"]
        if self.afrr_called:
            names += [
                "afrr_energy_up_eur_mwh",
                "afrr_energy_down_eur_mwh",
                "activation_up_mw",
                "activation_down_mw",
            ]
        if "imbalance" in self.market.series:
            names.append("imbalance_eur_mwh")
        return names

    def scenarios(self) -> ScenarioSet:
        scenario, needed = self.config.scenarios, self.needed()
        borrowed = None
        if self.afrr_called and "afrr_activation" not in self.market.series:
            if self.config.markets.afrr.activation_fallback != "reference":
                raise DataError(
                    f"battery.state.commitments holds aFRR, but {self.market.zone} has no series "
                    "afrr_activation, so its calls are unknown. Set "
                    "markets.afrr.activation_fallback=reference to borrow the synthetic signal."
                )
            borrowed = reference_market()
            self.assumptions.append(
                f"aFRR activation of {self.market.zone} is the SYNTHETIC signal of the reference "
                "market, independent of the zone's prices."
            )
        if scenario.source == "file":
            if scenario.file is None:
                raise ConfigError("scenarios.source is file, but scenarios.file is not set.")
            return read_scenarios(scenario.file).for_horizon(self.horizon, needed)
        if scenario.source == "realised":
            self.assumptions.append(
                "Perfect foresight: the realised prices and activation are taken as known."
            )
            return realised_scenario(self.market, self.horizon, needed, borrowed)
        assumed = scenario.forecast_known_local
        if assumed is not None:
            self.assumptions.append(
                f"LOOK-AHEAD: forecasts for D are assumed known at {assumed} local, before they "
                "are published."
            )
        self._check_age()
        n = scenario.n if scenario.reduce_from is None else scenario.reduce_from
        known = (
            None
            if assumed is None
            else gate_utc(assumed, self.horizon.first_day, self.market.timezone)
        )
        drawn = (
            self._modelled(needed, n, known, borrowed)
            if scenario.source == "model"
            else self._analog(needed, n, known, borrowed)
        )
        if scenario.reduce_from is None:
            return drawn
        reduced = match_means(drawn, scenario.n)
        self.assumptions.append(
            f"{scenario.n} of {n} scenarios stand for all: their mean prices and calls miss those "
            f"of all by {reduced.relative:.0%} of what as many random draws would."
        )
        return reduced.set

    def _modelled(
        self, needed: list[str], n: int, known: datetime | None, borrowed: MarketData | None
    ) -> ScenarioSet:
        return joint_scenarios(
            self.market,
            self.horizon,
            self.gate,
            needed,
            n,
            self.draw_seed,
            forecast_known_gate_utc=known,
            activation_from=borrowed,
            store=FitStore(Path(self.config.report.store_dir) / "fits"),
            fit_seed=self.config.seed,
        )

    def _analog(
        self, needed: list[str], n: int, known: datetime | None, borrowed: MarketData | None
    ) -> ScenarioSet:
        scenario = self.config.scenarios
        if n > scenario.neighbours:
            self.assumptions.append(
                f"{n} scenarios are drawn from {scenario.neighbours} past days with "
                "repetition: the tails are those of the distinct days."
            )
        return analog_scenarios(
            self.market,
            self.horizon,
            self.gate,
            needed,
            n,
            self.draw_seed,
            scenario.neighbours,
            scenario.min_history_days,
            known,
            borrowed,
        )

    def _check_age(self) -> None:
        """Old data make a plausible decision for the wrong time; say so, or refuse."""
        stem, column = "day_ahead", "price_eur_mwh"
        known = self.market.as_of(self.gate).column(stem, column)
        if known.empty:
            return
        age = pd.Timestamp(self.gate) - known.index[-1]
        if age > pd.Timedelta(days=_TOO_OLD_DAYS):
            raise DataError(
                f"{stem} of {self.market.zone} known at the gate {self.gate:%Y-%m-%d %H:%MZ} ends "
                f"{known.index[-1]:%Y-%m-%d %H:%MZ}, {age.days} days before. Expected at most "
                f"{_TOO_OLD_DAYS}. Choose an earlier day (--day, market.day), or import newer data."
            )
        if age > pd.Timedelta(days=1):
            self.assumptions.append(
                f"STALE DATA: the last price known at the gate is {age.days} day(s) old "
                f"({known.index[-1]:%Y-%m-%d %H:%MZ})."
            )

    def series(self, scenarios: ScenarioSet) -> dict[str, Floats]:
        """Scenario data of the model from a scenario set (docs/math.md, section Scenario data)."""
        config, horizon, values = self.config, self.horizon, scenarios.values
        shape = (len(scenarios), len(horizon.steps))
        out: dict[str, Floats] = {}
        if config.markets.day_ahead.enabled:
            out["day_ahead_eur_mwh"] = values["day_ahead_eur_mwh"]
        if config.markets.intraday.enabled:
            reference = out["intraday_eur_mwh"] = values["intraday_eur_mwh"]
        else:
            reference = values["day_ahead_eur_mwh"][:, horizon.day_ahead_of_step]
        out |= self._imbalance(reference, values.get("imbalance_eur_mwh"))
        if self.fcr or self.afrr or config.battery.state.commitments:
            per_block = np.zeros((len(scenarios), len(horizon.block_starts)))
            zeros = np.zeros(shape)
            out["fcr_eur_mw"] = values.get("fcr_eur_mw", per_block)
            out["afrr_up_eur_mw_h"] = values.get("afrr_up_eur_mw_h", per_block)
            out["afrr_down_eur_mw_h"] = values.get("afrr_down_eur_mw_h", per_block)
            out["fcr_activation_frac"] = values.get("fcr_activation_frac", zeros)
            if self.fcr and "fcr_activation_frac" not in values:
                self.assumptions.append(
                    "FCR is not activated (no frequency scenario); its energy is held in reserve."
                )
            out |= self._activation(values, zeros)
        return out

    def _imbalance(self, reference: Floats, price: Floats | None) -> dict[str, Floats]:
        """Prices at which the *decision* counts imbalance; no price is an arbitrage against it."""
        markets = self.config.markets
        half = markets.intraday.half_spread_eur_mwh if markets.intraday.enabled else 0.0
        if price is None:
            # Below the half-spread, imbalance would be the cheaper and unlimited market.
            spread = max(markets.imbalance.spread_eur_mwh, half)
            self.assumptions.append(
                "No imbalance price is known: imbalance is settled at the energy price plus or "
                f"minus {spread:g} EUR/MWh."
            )
            long, short = reference - spread, reference + spread
        else:
            long = np.minimum(price, reference - half)
            short = np.maximum(price, reference + half)
        if (long > short).any():
            raise ScenarioError(
                "imbalance: the long price exceeds the short price, an unlimited arbitrage; "
                "markets.imbalance.spread_eur_mwh must not be negative"
            )
        return {"imbalance_long_eur_mwh": long, "imbalance_short_eur_mwh": short}

    def _activation(self, values: dict[str, Floats], zeros: Floats) -> dict[str, Floats]:
        afrr = self.config.markets.afrr
        if self.afrr_called:
            self.assumptions += [
                f"aFRR bids stand {afrr.depth_mw:g} MW deep in the merit order and are called "
                f"linearly over the next {afrr.width_mw:g} MW.",
                *(
                    ()
                    if afrr.bid_menu
                    else (
                        "aFRR capacity is awarded with certainty at the published average price "
                        "(pay-as-bid market).",
                    )
                ),
                "aFRR energy prices are proxies clipped to [0, 600] EUR/MWh: quarter hours in "
                "which a provider would be paid to charge are missing.",
            ]

        def share(name: str) -> Floats:
            if name not in values:
                return zeros
            called = (values[name] - afrr.depth_mw) / afrr.width_mw
            return np.asarray(np.clip(called, 0.0, 1.0))

        up = values.get("afrr_energy_up_eur_mwh", zeros)
        down = values.get("afrr_energy_down_eur_mwh", zeros)
        share_up, share_down = share("activation_up_mw"), share("activation_down_mw")
        # A bid beyond the marginal price is not called; one within it is paid the marginal price.
        if afrr.bid_up_eur_mwh is not None:
            share_up = np.where(up >= afrr.bid_up_eur_mwh, share_up, 0.0)
        if afrr.bid_down_eur_mwh is not None:
            share_down = np.where(down <= afrr.bid_down_eur_mwh, share_down, 0.0)
        # Shares are parts of the time (docs/math.md): both directions together fill at most all.
        whole = np.maximum(1.0, share_up + share_down)
        return {
            "activation_up_frac": share_up / whole,
            "activation_down_frac": share_down / whole,
            "activation_up_eur_mwh": up,
            "activation_down_eur_mwh": down,
        }

    # -- model data -----------------------------------------------------------------------------
    def model_data(self, tariff: Tariff) -> tuple[ModelData, SegmentCurve | None]:
        config, horizon = self.config, self.horizon
        asset = _asset(config, horizon, self.conversion)
        aging, curve = _aging(config, asset, self.cycle_cost)
        if self.judge is not None:
            self.assumptions += _judged_how(config)
            prices = held_prices(self.judge, len(horizon.steps))
            aging = replace(aging, step_prices=prices)
        priced = curve if self.cycle_cost is None else self.cycle_cost.curve
        if priced is not None and priced.extrapolated is not None:
            self.assumptions.append(f"Aging curve: {priced.extrapolated}")
        fees = Fees(
            tariff.import_fee_eur_mwh,
            tariff.export_fee_eur_mwh,
            tariff.levy_eur_mwh,
            tariff.capacity_fee_eur,
            tariff.profit_tax_frac,
        )
        markets = config.markets
        energy = EnergyMarkets(
            day_ahead=(
                "off"
                if not markets.day_ahead.enabled
                else "here_and_now"
                if markets.day_ahead.here_and_now
                else "recourse"
            ),
            intraday=markets.intraday.enabled,
            half_spread_eur_mwh=markets.intraday.half_spread_eur_mwh,
            liquidity_mw=markets.intraday.liquidity_mw,
            committed_day_ahead_mw=_committed(config, horizon, "day_ahead"),
        )
        grid = Grid(
            horizon.dt_h,
            horizon.block_of_step,
            horizon.block_hours,
            horizon.day_ahead_of_step,
            horizon.day_of_step,
        )
        terminal = self._terminal(asset)
        return ModelData(grid, asset, self._reserves(), energy, fees, terminal, aging), curve

    def with_offers(self, data: ModelData, scenarios: ScenarioSet) -> ModelData:
        """`data` with the prices of the offers, from what the scenarios expect."""
        if self.config.markets.afrr.bid_menu and self.afrr:
            menu = self._menu(scenarios)
            data = replace(data, reserves=replace(data.reserves, menu=menu))
        n_points = self.config.markets.day_ahead.curve_points
        if n_points == 1 or data.energy.day_ahead != "here_and_now":
            return data
        tick = self.rules["day_ahead"].number("tick_eur_mwh")
        prices = scenarios.values["day_ahead_eur_mwh"]
        points = price_points(prices, scenarios.probability, n_points, tick)
        self.assumptions.append(
            f"Day-ahead curves of {n_points} points stand at quantiles of the scenarios' prices; "
            "between points the quantity is interpolated, beyond them it is that of the last."
        )
        return replace(data, energy=replace(data.energy, curve_price_eur_mwh=points))

    def _menu(self, scenarios: ScenarioSet) -> BidMenu:
        """Capacity bids by their probability of award, and where they count as accepted.

        The price of a bid comes from the history of published prices (49); the scenarios in which
        it is accepted are the dearest ones, in number as the probability says.
        """
        levels, view = self.config.markets.afrr.bid_menu, self.market.as_of(self.gate)
        places = [(day, block) for day in self.horizon.days for block in range(BLOCKS)]
        found: dict[str, Floats] = {}
        for way in ("up", "down"):
            beliefs = [price_belief(view, way, day, block) for day, block in places]
            found[way] = np.array([[b.bid_for(level) for level in levels] for b in beliefs])
            published = scenarios.values[f"afrr_{way}_eur_mw_h"]
            found[f"{way}_threshold"] = accepted_from(published, scenarios.probability, levels)
        self.assumptions.append(
            "aFRR capacity bids are paid as bid and accepted with the stated probabilities in the "
            "scenarios with the highest published prices; " + PROXY_NOTE + "."
        )
        return BidMenu(found["up"], found["down"], found["up_threshold"], found["down_threshold"])

    def _reserves(self) -> Reserves:
        config, markets = self.config, self.config.markets
        fcr, afrr = self.rules["fcr"], self.rules["afrr_capacity"]
        inf = float("inf")
        return Reserves(
            fcr="here_and_now" if self.fcr else "off",
            afrr="here_and_now" if self.afrr else "off",
            fcr_lot_mw=markets.fcr.lot_mw or fcr.number("lot_mw"),
            afrr_lot_mw=markets.afrr.lot_mw or afrr.number("lot_mw"),
            fcr_max_mw=inf if markets.fcr.max_mw is None else markets.fcr.max_mw,
            afrr_max_mw=inf if markets.afrr.max_mw is None else markets.afrr.max_mw,
            integer_lots=markets.integer_lots,
            fcr_energy_h=fcr.number("energy_h"),
            afrr_energy_h=afrr.number("energy_h"),
            recharge_factor=fcr.number("recharge_factor"),
            shortfall_eur_mwh_h=config.penalties.reserve_shortfall_eur_mwh_h,
            undelivered_eur_mwh=config.penalties.undelivered_eur_mwh,
            committed_fcr_mw=_committed(config, self.horizon, "fcr"),
            committed_afrr_up_mw=_committed(config, self.horizon, "afrr_up"),
            committed_afrr_down_mw=_committed(config, self.horizon, "afrr_down"),
        )

    def _terminal(self, asset: Asset) -> Terminal:
        terminal = self.config.terminal
        if terminal.mode == "equal_start":
            return Terminal(np.zeros(0), True)
        if terminal.marginal_values_eur_mwh != "auto":
            return Terminal(np.array(terminal.marginal_values_eur_mwh, float), False)
        known = self.market.as_of(self.gate).column("day_ahead", "price_eur_mwh")
        recent = known[known.index >= self.gate - timedelta(days=TERMINAL_DAYS)]
        if recent.empty:
            raise DataError(
                f"terminal.marginal_values_eur_mwh is auto, but no day-ahead price of the "
                f"{TERMINAL_DAYS} days before {self.gate:%Y-%m-%d %H:%MZ} is known. "
                "State the values, or set terminal.mode=equal_start."
            )
        discharge = self.conversion.discharge
        efficiency = (
            asset.discharge_efficiency_frac if discharge is None else discharge.efficiency_frac
        )
        values = np.quantile(recent.to_numpy(), TERMINAL_QUANTILES) * efficiency
        words = ", ".join(f"{v:.2f}" for v in values)
        self.assumptions.append(
            f"Stored energy at the end is worth {words} EUR/MWh from empty to full (quantiles of "
            f"the last {TERMINAL_DAYS} days' day-ahead prices; a rule of thumb)."
        )
        return Terminal(values, False)


def _asset(config: Config, horizon: Horizon, conversion: Conversion) -> Asset:
    cuts = conversion.cuts
    battery, connection, state = config.battery, config.connection, config.battery.state
    usable = battery.energy_mwh * state.soh_frac
    available = _availability(config, horizon)
    importing = (
        battery.power_mw if connection.import_limit_mw is None else connection.import_limit_mw
    )
    exporting = (
        battery.power_mw if connection.export_limit_mw is None else connection.export_limit_mw
    )
    return Asset(
        energy_min_mwh=battery.soc_min_frac * usable,
        energy_max_mwh=battery.soc_max_frac * usable,
        energy_start_mwh=state.soc_frac * usable,
        charge_efficiency_frac=battery.charge_efficiency_frac if cuts is None else np.nan,
        discharge_efficiency_frac=battery.discharge_efficiency_frac if cuts is None else np.nan,
        self_discharge_per_h=battery.self_discharge_per_h,
        charge_limit_mw=np.minimum(battery.power_mw * available, importing),
        discharge_limit_mw=np.minimum(battery.power_mw * available, exporting),
        trade_limit_mw=min(battery.power_mw, max(importing, exporting)),
        losses=cuts,
    )


def _availability(config: Config, horizon: Horizon) -> Floats:
    """Available share of the power in every step; the worst overlapping outage counts."""
    available = np.ones(len(horizon.steps))
    zone = ZoneInfo(horizon.timezone)
    width = timedelta(minutes=horizon.step_min)
    for outage in config.battery.state.outages:
        begin = _instant(outage.from_local, zone, "battery.state.outages")
        end = _instant(outage.to_local, zone, "battery.state.outages")
        hit = (horizon.steps + width > pd.Timestamp(begin)) & (horizon.steps < pd.Timestamp(end))
        available[hit] = np.minimum(available[hit], outage.available_frac)
    return available


def _instant(local: datetime, zone: ZoneInfo, key: str) -> datetime:
    """A local time in its zone; the first of the two in autumn.

    Raises
    ------
    ConfigError : the clock skips that time in spring
    """
    aware = local.replace(tzinfo=zone)
    back = aware.astimezone(UTC).astimezone(zone)
    if back.replace(tzinfo=None) != local:
        raise ConfigError(
            f"{key}: {local:%Y-%m-%dT%H:%M} does not exist in {zone.key}; the clock skips to "
            f"{back:%H:%M} that night. State a time that exists."
        )
    return aware


def _committed(config: Config, horizon: Horizon, market: str) -> Floats:
    """Capacity or energy sold earlier, per block or day-ahead unit of the horizon [MW]."""
    labels = horizon.day_ahead_steps if market == "day_ahead" else horizon.block_starts
    out = np.zeros(len(labels))
    zone = ZoneInfo(horizon.timezone)
    for commitment in config.battery.state.commitments:
        if commitment.market != market:
            continue
        start = pd.DatetimeIndex(
            [_instant(commitment.start_local, zone, "battery.state.commitments")]
        )
        at = labels.get_indexer(start.tz_convert("UTC"))[0]
        if at < 0:
            raise ConfigError(
                f"battery.state.commitments: {market} at {commitment.start_local} is not the start "
                f"of a {'unit' if market == 'day_ahead' else '4-hour block'} of the horizon "
                f"{horizon.first_day} to {horizon.days[-1]} ({horizon.timezone})."
            )
        out[at] += commitment.mw
    return out


def _tariff(config: Config, horizon: Horizon) -> Tariff:
    return build_tariff(
        **config.tariffs.model_dump(), horizon=horizon, power_mw=config.battery.power_mw
    )


def _aging(
    config: Config, asset: Asset, cycle_cost: CycleCost | None
) -> tuple[Aging, SegmentCurve | None]:
    aging, battery, state = config.aging, config.battery, config.battery.state
    most, floor = None, aging.floor_eur_mwh
    if aging.max_cycles_per_day is not None:
        most = aging.max_cycles_per_day * battery.energy_mwh
    if cycle_cost is not None:
        return Aging(
            "cuts",
            max_withdrawn_mwh_per_day=most,
            path_cost=cycle_cost,
            floor_eur_mwh=floor,
        ), None
    if aging.model != "segments":
        return Aging(
            aging.model,
            aging.throughput_cost_eur_mwh,
            max_withdrawn_mwh_per_day=most,
            floor_eur_mwh=floor,
        ), None
    usable = battery.energy_mwh * state.soh_frac
    curve = segment_costs_eur_mwh(
        n_segments=aging.n_segments,
        energy_mwh=usable,
        discharge_efficiency_frac=battery.discharge_efficiency_frac,
        replacement_cost_eur_kwh=battery.replacement_cost_eur_kwh,
        usable_fade_frac=aging.usable_fade_frac,
        cycle_loss_frac=aging.cycle_loss_frac,
        c_rate_per_h=aging.c_rate_per_h,
    )
    # The law counts losses of nameplate capacity; the segments divide what is left of it.
    curve = replace(curve, cost_eur_mwh=curve.cost_eur_mwh / state.soh_frac)
    above_floor = state.soc_frac - battery.soc_min_frac
    points = np.array(state.open_turning_points_frac) - battery.soc_min_frac
    fill = fill_from_turning_points(points, above_floor, aging.n_segments)
    return (
        Aging(
            "segments",
            floor_eur_mwh=floor,
            width_mwh=curve.width_mwh,
            cost_eur_mwh=curve.cost_eur_mwh,
            start_fill_mwh=fill * curve.width_mwh,
            max_withdrawn_mwh_per_day=most,
        ),
        curve,
    )


def _judged_how(config: Config) -> list[str]:
    """What the aging of the plant rests on."""
    aging = config.aging
    texts = [
        f"The plant that shows aging is idle at {aging.surroundings_degc:g} degC before the "
        "horizon; its heat capacity and cooling are assumed and grow with its energy.",
        "Profit counts the aging that the plant shows. WS, EV, EEV, the opponents, comparisons and "
        "dispatch step by step are counted at held prices of aging, with idle cells.",
    ]
    if config.battery.state.open_turning_points_frac:
        texts.append(
            "Half cycles that were open before the horizon are taken to have run at "
            f"{aging.c_rate_per_h:g} per h; the bound takes them to keep that C-rate."
        )
    return texts


def _terms(
    config: Config, data: ModelData, tariff: Tariff, conversion: Conversion
) -> SettlementTerms:
    asset, reserves, grid = data.asset, data.reserves, data.grid
    charge, discharge = conversion.charge, conversion.discharge
    nodes = {}
    if charge is not None and discharge is not None:
        nodes = {
            "charge_node_mw": charge.node_mw,
            "stored_node_mw": charge.store_mw,
            "discharge_node_mw": discharge.node_mw,
            "drawn_node_mw": discharge.store_mw,
        }
    return SettlementTerms(
        dt_h=grid.dt_h,
        block_of_step=grid.block_of_step,
        block_hours=grid.block_hours,
        day_ahead_of_step=grid.day_ahead_of_step,
        energy_min_mwh=asset.energy_min_mwh,
        energy_max_mwh=asset.energy_max_mwh,
        charge_efficiency_frac=config.battery.charge_efficiency_frac,
        discharge_efficiency_frac=config.battery.discharge_efficiency_frac,
        self_discharge_per_h=asset.self_discharge_per_h,
        charge_limit_mw=asset.charge_limit_mw,
        discharge_limit_mw=asset.discharge_limit_mw,
        fcr_energy_h=reserves.fcr_energy_h,
        afrr_energy_h=reserves.afrr_energy_h,
        recharge_factor=reserves.recharge_factor,
        reserve_shortfall_eur_mwh_h=reserves.shortfall_eur_mwh_h,
        undelivered_eur_mwh=reserves.undelivered_eur_mwh,
        tariff=tariff,
        intraday_liquidity_mw=config.markets.intraday.liquidity_mw,
        **nodes,
    )


def series_of_leaves(case: Case, leaves: ScenarioSet) -> dict[str, Floats]:
    """Scenario data of the model for other scenarios of the same decision: leaves of a tree."""
    plan = _Plan(case.config, case.market, case.horizon.first_day, case.config.seed)
    return with_offer_data(plan.series(leaves), case.data)


def without_battery(case: Case) -> Case:
    """The same decision with no battery and no reserves: what remains is trade between markets."""
    data = case.data
    n_steps, n_blocks = data.grid.n_steps, data.grid.n_blocks
    asset = replace(
        data.asset,
        energy_min_mwh=0.0,
        energy_max_mwh=0.0,
        energy_start_mwh=0.0,
        charge_limit_mw=np.zeros(n_steps),
        discharge_limit_mw=np.zeros(n_steps),
    )
    none = np.zeros(n_blocks)
    reserves = replace(
        data.reserves,
        fcr="off",
        afrr="off",
        committed_fcr_mw=none,
        committed_afrr_up_mw=none,
        committed_afrr_down_mw=none,
    )
    energy = replace(data.energy, committed_day_ahead_mw=np.zeros(data.grid.n_day_ahead))
    bare = replace(
        data,
        asset=asset,
        reserves=reserves,
        energy=energy,
        terminal=Terminal(np.zeros(0), False),
        aging=Aging(),
        fees=replace(data.fees, capacity_fee_eur=0.0),
    )
    return replace(case, data=bare)
