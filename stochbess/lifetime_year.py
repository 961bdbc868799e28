"""Years of operation by aging price and health: decide days, let the plant tell what they did.

Every representative day is decided with perfect foresight and ends as it began. The plant follows
it twice; the second time counts, with the temperature and the open cycles that the day leaves to
itself. Days of one price are solved together, prices share one compiled template. What is known of
a day at a price is kept in the store and not computed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stochbess.aging_prices import cycle_curve, plant_of
from stochbess.assemble import Case, build_case
from stochbess.battery.cut_cycle import CycleCost
from stochbess.battery.cut_step import calendar_cost, price_of_w_eur
from stochbess.battery.cycle_curve import TESTED_DEPTH_FRAC
from stochbess.battery.half_cycle_stress import rated_half_cycles
from stochbess.battery.naumann import NaumannCalendar
from stochbess.battery.plant import Plant, PlantState
from stochbess.battery.recursion import GrossSchedule
from stochbess.battery.simulation import Trajectory, simulate
from stochbess.config import Config
from stochbess.conversion import constant_only
from stochbess.decide import Effort, Problem
from stochbess.engine.template import Template
from stochbess.errors import ConfigError
from stochbess.lifetime_store import DayStore, DayUse
from stochbess.market.data import MarketData
from stochbess.models.aging_cuts import charged_eur
from stochbess.models.data import Aging
from stochbess.run_record import canonical_json, code_sha256

Floats = npt.NDArray[np.float64]
Progress = Callable[[str, str], None]
CELL_DEGC = 27.0  # at which the decision prices calendar aging; the plant has its own temperature
_GAP_FRAC = 1e-4
_FORM = 1  # of the lines that are kept
_DAYS_TOGETHER = 92


def lifetime_config(config: Config) -> Config:
    """`config` as days of a life are decided: perfect foresight, a new battery, closed days.

    Raises
    ------
    ConfigError : aging has no price by depth, or the state of the battery names single days
    """
    if config.aging.model not in ("segments", "cuts"):
        raise ConfigError(
            f"aging.model = {config.aging.model}: the price of health acts on the cost of cycling "
            "by depth; expected segments or cuts."
        )
    state = config.battery.state
    if state.commitments or state.outages:
        raise ConfigError(
            "battery.state.commitments and outages belong to single days; a life has none. Remove "
            "them."
        )
    new = state.model_copy(update={"soh_frac": 1.0, "open_turning_points_frac": ()})
    parts = {
        "battery": config.battery.model_copy(update={"state": new}),
        "scenarios": config.scenarios.model_copy(update={"source": "realised"}),
        "terminal": config.terminal.model_copy(update={"mode": "equal_start"}),
        "market": config.market.model_copy(update={"n_days": 1}),
    }
    return config.model_copy(update=parts)


def naive_price_eur_kwh(config: Config) -> float:
    """The replacement cost, used up at the usable fade [EUR per kWh of capacity lost]."""
    return config.battery.replacement_cost_eur_kwh / config.aging.usable_fade_frac


class Operation:
    """Days of a market that are decided at a price of aging and followed by the plant.

    Parameters
    ----------
    config : as of `lifetime_config`
    floor_eur_mwh : added to the price of every MWh withdrawn, instead of aging.floor_eur_mwh
    calendar_frac : price of calendar aging over that of cycling (model "cuts" only)

    Raises
    ------
    ConfigError : the model of aging has no place for the floor or for calendar aging
    """

    def __init__(
        self,
        config: Config,
        market: MarketData,
        floor_eur_mwh: float = 0.0,
        calendar_frac: float = 0.0,
    ) -> None:
        constant_only(config, "the value of a life")
        if calendar_frac and config.aging.model != "cuts":
            raise ConfigError(
                f"a price of calendar aging ({calendar_frac:g} of that of cycling) needs "
                f"aging.model=cuts, found {config.aging.model}."
            )
        if not 0.0 <= calendar_frac <= 100.0:
            raise ConfigError(f"calendar price {calendar_frac}: expected 0 to 100 of cycling's.")
        if not 0.0 <= floor_eur_mwh < float("inf"):
            raise ConfigError(f"throughput floor {floor_eur_mwh}: expected EUR/MWh, not below 0.")
        aging = config.aging.model_copy(update={"floor_eur_mwh": floor_eur_mwh})
        self.config = config.model_copy(update={"aging": aging})
        self.market, self.floor_eur_mwh = market, floor_eur_mwh
        self.calendar_frac = calendar_frac
        self._cases: dict[str, Case] = {}
        self._problems: dict[float, Problem] = {}

    # -- identity -------------------------------------------------------------------------------
    @cached_property
    def sha256(self) -> str:
        """Everything but day, price and health that a `DayUse` depends on."""
        report = self.config.report.model_copy(update={"store_dir": Path("runs")})
        market = self.config.market.model_copy(update={"day": None})
        identity = self.config.model_copy(update={"report": report, "market": market})
        parts = {
            "config": identity.sha256,
            "market": self.market.sha256,
            "code": code_sha256(),
            "floor": repr(float(self.floor_eur_mwh)),
            "calendar": repr(float(self.calendar_frac)),
            "form": str(_FORM),
        }
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()

    # -- decisions ------------------------------------------------------------------------------
    def case(self, day: str) -> Case:
        """One delivery day with a new battery."""
        if day not in self._cases:
            market = self.config.market.model_validate(
                {**self.config.market.model_dump(), "day": day, "n_days": 1}
            )
            config = self.config.model_copy(update={"market": market})
            self._cases[day] = build_case(config, self.market)
        return self._cases[day]

    def _base(self, day: str, health_frac: float) -> Problem:
        """The problem at the configured price with so much capacity left, compiled once."""
        if health_frac not in self._problems:
            config = self.case(day).config
            state = config.battery.state.model_copy(update={"soh_frac": health_frac})
            battery = config.battery.model_copy(update={"state": state})
            case = build_case(config.model_copy(update={"battery": battery}), self.market)
            self._problems[health_frac] = Problem(case.data, "deterministic")
        return self._problems[health_frac]

    def problem(self, day: str, price_eur_kwh: float, health_frac: float) -> Problem:
        """The decision of a day at a price and a health; prices of a health share templates."""
        base = self._base(day, health_frac)
        aging = base.data.aging
        if aging.model == "segments":
            scale = price_eur_kwh / naive_price_eur_kwh(self.config)
            cost = scale * aging.cost_eur_mwh
            other = Problem(
                replace(base.data, aging=replace(aging, cost_eur_mwh=cost)), "deterministic"
            )
            other.__dict__["relaxed"] = _repriced(base.relaxed, scale)
            other.__dict__["binary"] = _repriced(base.binary, scale)
            return other
        return Problem(replace(base.data, aging=self._cuts(base, price_eur_kwh)), "deterministic")

    def _cuts(self, base: Problem, price_eur_kwh: float) -> Aging:
        """Rainflow cost of cycling at a price, and the hull of calendar aging if it is priced."""
        config, aging, asset = self.config, base.data.aging, base.data.asset
        most = aging.max_withdrawn_mwh_per_day
        if price_eur_kwh == 0.0 or not isinstance(aging.path_cost, CycleCost):
            floor = aging.floor_eur_mwh
            return Aging("none", max_withdrawn_mwh_per_day=most, floor_eur_mwh=floor)
        fade, loss = config.aging.usable_fade_frac, config.aging.cycle_loss_frac
        nameplate, replacement = config.battery.energy_mwh, price_eur_kwh * fade
        path = replace(aging.path_cost, curve=cycle_curve(config, replacement))
        if not self.calendar_frac:
            return replace(aging, path_cost=path, step_prices=())
        calendar = calendar_cost(
            NaumannCalendar().w_rate_per_h,
            price_of_w_eur(nameplate, self.calendar_frac * replacement, fade, loss),
            np.full(base.data.grid.n_steps, CELL_DEGC),
            asset.energy_max_mwh / config.battery.soc_max_frac,
            base.data.grid.dt_h,
        )
        return replace(aging, path_cost=path, step_prices=(calendar,))

    def decide(self, days: Sequence[str], price_eur_kwh: float, health_frac: float) -> list[DayUse]:
        """Decide days at a price and a health, and let the plant follow them."""
        problem = self.problem(days[0], price_eur_kwh, health_frac)
        solver = self.config.solver
        effort = Effort(_GAP_FRAC, solver.time_limit_s, solver.threads, self.config.seed % 2**31)
        joint = not problem.relaxed.integer.any()
        size = _DAYS_TOGETHER if joint else 1
        groups = [days[i : i + size] for i in range(0, len(days), size)]
        found: list[DayUse] = []
        for group in groups:
            series = {
                name: np.concatenate([self.case(day).series[name] for day in group])
                for name in self.case(group[0]).series
            }
            decision = problem.decide(
                series, np.full(len(group), 1 / len(group)), effort, engine="extensive"
            )
            tax = problem.data.fees.profit_tax_frac
            charged = charged_eur(problem.data, decision.values)
            revenue = decision.scenario_profit_eur + (1 - tax) * charged
            for i, day in enumerate(group):
                flows = GrossSchedule(
                    np.maximum(decision.values["charge_mw"][i], 0.0),
                    np.maximum(decision.values["discharge_mw"][i], 0.0),
                )
                ran = self.follow(flows, health_frac, problem)
                found.append(_use(day, price_eur_kwh, health_frac, float(revenue[i]), *ran))
        return found

    # -- the plant ------------------------------------------------------------------------------
    @cached_property
    def plant(self) -> Plant:
        """The configured battery with all laws of aging; its cooling grows with its energy."""
        return plant_of(self.config)

    def follow(
        self, flows: GrossSchedule, health_frac: float, problem: Problem
    ) -> tuple[Trajectory, Trajectory]:
        """The day as it follows itself: first and second time."""
        new = PlantState.new(self.plant, 0.0, CELL_DEGC).with_health(1.0 - health_frac)
        start = replace(new, energy_mwh=problem.data.asset.energy_start_mwh)
        dt_h = problem.data.grid.dt_h
        first = simulate(self.plant, flows, dt_h, start)
        return first, simulate(self.plant, flows, dt_h, first.end)


def _repriced(template: Template, scale: float) -> Template:
    """`template` with the costs of segments times `scale`."""
    base = template.cost.base.copy()
    for name, j in template.column_position.items():
        if name.startswith("withdrawn_mwh["):
            base[j] *= scale
    return replace(template, cost=replace(template.cost, base=base))


def _use(
    day: str, price: float, health: float, revenue: float, first: Trajectory, ran: Trajectory
) -> DayUse:
    cycles = rated_half_cycles(ran.path, first.end.open_cycles)
    moved = cycles.weight * cycles.depth_frac
    is_shallow = cycles.depth_frac < TESTED_DEPTH_FRAC[0] - 1e-6
    return DayUse(
        day=day,
        price_eur_kwh=price,
        health_frac=health,
        revenue_eur=revenue,
        growth=tuple(ran.aging_increments.sum(axis=0).tolist()),
        full_cycles=float(moved.sum()) / 2,
        moved=float(moved.sum()),
        shallow=float(moved[is_shallow].sum()),
        shortfall_mwh=float(np.abs(ran.shortfall_mw).sum() * ran.dt_h),
        mean_degc=float(ran.path.temperature_degc.mean()),
        flags=ran.aging_flags,
    )


def years(
    operation: Operation,
    days: Sequence[str],
    prices_eur_kwh: Sequence[float],
    health_frac: Sequence[float],
    store: DayStore,
    tell: Progress,
) -> dict[tuple[float, float], list[DayUse]]:
    """Uses of all days by (price, health), in the order of `days`; what is known is read back."""
    found = {}
    total = len(prices_eur_kwh) * len(health_frac)
    for i, (health, price) in enumerate((h, p) for h in health_frac for p in prices_eur_kwh):
        missing = [day for day in days if (day, price, health) not in store.known]
        tell("days", f"{i + 1} of {total}: {price:g} EUR/kWh lost at health {health:g}")
        if missing:
            store.add(operation.decide(missing, price, health))
        found[price, health] = [store.known[day, price, health] for day in days]
    return found
