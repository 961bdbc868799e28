"""The price of health: what a life earns at each price of aging, by which law, and which to use.

Representative days are decided at a grid of aging prices and healths, the plant follows them, and
the years that they make are lived through (docs/math.md, The price of health). All laws of aging
see the same decisions; each of them judges the prices of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stochbess.battery.aging import RangeFlag, members, merge_flags
from stochbess.battery.health_value import FixedPoint, Verdict, fixed_point, judge
from stochbess.battery.lifetime import Frontier, Life, Terms, best_life, sweep
from stochbess.config import Config
from stochbess.errors import ConfigError
from stochbess.lifetime_days import RepresentativeDays, representative_days
from stochbess.lifetime_store import DayStore, DayUse
from stochbess.lifetime_year import Operation, lifetime_config, naive_price_eur_kwh, years
from stochbess.market.data import MarketData

Floats = npt.NDArray[np.float64]
Progress = Callable[[str, str], None]
# Multiples of the naive price that are tried by default.
PRICE_STEPS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
HEALTH_NODES = (0.7, 0.85, 1.0)
# More of the energy than this in cycles less deep than any tested one: the law is a guess there.
SHALLOW_ALARM_FRAC = 0.5
_KWH_PER_MWH = 1000.0
# Ranges of battery.replacement_cost_eur_kwh and aging.usable_fade_frac.
_LEAST_COST_EUR_KWH, _MOST_COST_EUR_KWH, _MOST_FADE_FRAC = 10.0, 2000.0, 0.5
_LEAST_LOSS_FRAC, _MOST_LOSS_FRAC = 0.002, 0.5  # of aging.calendar_loss_frac
_PRICED_LAW, _PRICED_MECHANISM = "Naumann", 1  # what the decision prices: its cycling


@dataclass(frozen=True)
class Use:
    """How the battery is used at one price while new.

    Attributes
    ----------
    shallow_frac : part of the energy moved in half cycles less deep than any that was tested
    """

    price_eur_kwh: float
    revenue_eur_kwh_year: float
    full_cycles_per_day: float
    shallow_frac: float
    mean_degc: float
    shortfall_mwh_year: float
    flags: tuple[RangeFlag, ...]


@dataclass(frozen=True, eq=False)
class Study:
    """Lives by law, terms and price.

    Attributes
    ----------
    naive_eur_kwh : replacement cost over usable fade; one of the prices
    frontier : by law
    terms : under which lives were valued
    lives : (law, position in `terms`) -> life at every price
    uses : of a new battery, by price
    fixed : by terms, on the law that the decision prices
    """

    config: Config
    zone: str
    synthetic: bool
    days: RepresentativeDays
    naive_eur_kwh: float
    frontier: dict[str, Frontier]
    terms: tuple[Terms, ...]
    lives: dict[tuple[str, int], tuple[Life, ...]]
    uses: tuple[Use, ...]
    fixed: tuple[FixedPoint, ...]
    floor_eur_mwh: float = 0.0
    calendar_frac: float = 0.0

    @property
    def laws(self) -> tuple[str, ...]:
        return tuple(self.frontier)

    @property
    def price_eur_kwh(self) -> Floats:
        return self.frontier[self.laws[0]].price_eur_kwh

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """By terms."""
        return tuple(
            judge(
                self.price_eur_kwh,
                {law: [life.npv_eur_kwh for life in self.lives[law, i]] for law in self.laws},
            )
            for i in range(len(self.terms))
        )

    def position(self, price_eur_kwh: float) -> int:
        """Place of the price of the grid that is nearest."""
        return int(np.abs(self.price_eur_kwh - price_eur_kwh).argmin())

    def life(self, law: str, terms: int, price_eur_kwh: float) -> Life:
        return self.lives[law, terms][self.position(price_eur_kwh)]

    def best(self, law: str, terms: int) -> Life:
        return best_life(self.lives[law, terms])

    @property
    def robust_eur_kwh(self) -> float:
        """The price whose worst share of an own optimum is largest, under the first terms."""
        return float(self.price_eur_kwh[self.verdicts[0].robust])

    @property
    def settings(self) -> tuple[str, ...]:
        """Overrides that put the recommended price into force, on what it acted on here."""
        price, share = self.robust_eur_kwh, self.calendar_frac
        return settings_for(self.config, price, share, self.floor_eur_mwh)

    def shallow_alarms(self) -> tuple[Use, ...]:
        """Prices at which most energy moves in cycles that no test has seen."""
        return tuple(use for use in self.uses if use.shallow_frac > SHALLOW_ALARM_FRAC)


def settings_for(
    config: Config, price_eur_kwh: float, calendar_frac: float = 0.0, floor_eur_mwh: float = 0.0
) -> tuple[str, ...]:
    """Overrides of the configuration under which a decision uses a price of aging.

    The replacement cost is a fact, so the fade at which it is used up gives way; where that leaves
    its range the replacement cost does. A price that is next to nothing is none. A price of
    calendar aging over that of cycling is put into the loss at which it is linearised, as far as
    its range goes.
    """
    floor = (f"aging.floor_eur_mwh={floor_eur_mwh:g}",) if floor_eur_mwh else ()
    if price_eur_kwh < _LEAST_COST_EUR_KWH / _MOST_FADE_FRAC:
        return ("aging.model=none", *floor)
    more = floor
    if calendar_frac:
        loss = config.aging.cycle_loss_frac / calendar_frac
        loss = min(max(loss, _LEAST_LOSS_FRAC), _MOST_LOSS_FRAC)
        mechanisms = "aging.mechanisms=[cycle,calendar]"
        more = ("aging.model=cuts", mechanisms, f"aging.calendar_loss_frac={loss:.4g}", *floor)
    cost, fade = config.battery.replacement_cost_eur_kwh, config.aging.usable_fade_frac
    if config.aging.cycle_loss_frac < cost / price_eur_kwh <= _MOST_FADE_FRAC:
        return (f"aging.usable_fade_frac={cost / price_eur_kwh:.4g}", *more)
    cost = min(max(price_eur_kwh * fade, _LEAST_COST_EUR_KWH), _MOST_COST_EUR_KWH)
    return (
        f"battery.replacement_cost_eur_kwh={cost:.5g}",
        f"aging.usable_fade_frac={cost / price_eur_kwh:.4g}",
        *more,
    )


def study(
    config: Config,
    market: MarketData,
    terms: Sequence[Terms],
    *,
    n_days: int = 12,
    year: int | None = None,
    prices_eur_kwh: Sequence[float] | None = None,
    health_frac: Sequence[float] = HEALTH_NODES,
    floor_eur_mwh: float = 0.0,
    calendar_frac: float = 0.0,
    progress: Progress | None = None,
) -> Study:
    """Decide, follow, live and judge.

    Parameters
    ----------
    config : asset, market and way of pricing cycles; aging.model is segments or cuts
    n_days : representative days of `year`, or of the last 365 days of the data
    prices_eur_kwh : grid of aging prices; default: multiples of the naive one, which is always in
    health_frac : capacities at which days are decided; (1,) lets revenue shrink like the capacity
    floor_eur_mwh : added to the cost of every MWh withdrawn, against shallow cycles
    calendar_frac : price of calendar aging over that of cycling; 0 = only cycling has a price

    Raises
    ------
    StochbessError : see stochbess.errors; what is known of days is kept in the store all the same
    """
    tell: Progress = progress or (lambda stage, detail: None)
    if not terms:
        raise ConfigError("lifetime: no terms; expected at least one discount rate and end of life")
    config = lifetime_config(config)
    days = representative_days(market, n_days, year)
    naive = naive_price_eur_kwh(config)
    prices = _grid(prices_eur_kwh, naive)
    health = _healths(health_frac)
    operation = Operation(config, market, floor_eur_mwh, calendar_frac)
    store = DayStore(Path(config.report.store_dir), operation.sha256)
    names = [str(day) for day in days.day]
    found = years(operation, names, prices, health, store, tell)
    tell("lives", f"{len(terms)} terms, {len(prices)} prices")
    frontier = _frontiers(operation, days, prices, health, found)
    lives = {
        (law, i): sweep(one, term) for law, one in frontier.items() for i, term in enumerate(terms)
    }
    reference = config.aging.cycle_loss_frac
    return Study(
        config=config,
        zone=market.zone,
        synthetic=market.synthetic,
        days=days,
        naive_eur_kwh=naive,
        frontier=frontier,
        terms=tuple(terms),
        lives=lives,
        uses=tuple(_use(days, price, found[price, 1.0], config) for price in prices),
        fixed=tuple(
            fixed_point(frontier[_PRICED_LAW], term, _PRICED_MECHANISM, reference) for term in terms
        ),
        floor_eur_mwh=floor_eur_mwh,
        calendar_frac=calendar_frac,
    )


def _grid(prices_eur_kwh: Sequence[float] | None, naive: float) -> list[float]:
    """The prices in increasing order, zero and the naive one among them."""
    given = [step * naive for step in PRICE_STEPS] if prices_eur_kwh is None else prices_eur_kwh
    grid = sorted({0.0, float(naive), *(float(price) for price in given)})
    if grid[0] < 0 or not np.isfinite(grid).all():
        raise ConfigError(f"--prices {list(given)}: expected finite EUR/kWh, none below zero.")
    return grid


def _healths(health_frac: Sequence[float]) -> list[float]:
    nodes = sorted({float(node) for node in health_frac})
    if not nodes or not nodes[0] >= 0.3 or nodes[-1] != 1.0:
        raise ConfigError(
            f"--health {list(health_frac)}: expected fractions from 0.3 to 1, 1 among them."
        )
    return nodes


def _frontiers(
    operation: Operation,
    days: RepresentativeDays,
    prices: Sequence[float],
    health: Sequence[float],
    found: dict[tuple[float, float], list[DayUse]],
) -> dict[str, Frontier]:
    """One frontier per law, from the same decisions."""
    kwh = operation.config.battery.energy_mwh * _KWH_PER_MWH
    weight = days.days_per_year

    def table(value: Callable[[DayUse], float | tuple[float, ...]]) -> Floats:
        rows = [
            [weight @ np.array([value(use) for use in found[p, h]]) for h in health] for p in prices
        ]
        return np.array(rows, np.float64)

    revenue = table(lambda use: use.revenue_eur) / kwh
    cycles, growth = table(lambda use: use.full_cycles), table(lambda use: use.growth)
    frontier, first = {}, 0
    for law in members(operation.plant.aging):
        mechanisms = law.mechanisms
        columns = [first + i for i, m in enumerate(mechanisms) if m.effect == "capacity"]
        power = np.array([m.power for m in mechanisms if m.effect == "capacity"])
        first += len(mechanisms)
        frontier[law.name] = Frontier(
            np.array(prices), np.array(health), revenue, growth[..., columns], cycles, power
        )
    return frontier


def _use(days: RepresentativeDays, price: float, uses: Sequence[DayUse], config: Config) -> Use:
    weight = days.days_per_year
    moved = float(weight @ [use.moved for use in uses])
    shallow = float(weight @ [use.shallow for use in uses])
    kwh = config.battery.energy_mwh * _KWH_PER_MWH
    return Use(
        price_eur_kwh=price,
        revenue_eur_kwh_year=float(weight @ [use.revenue_eur for use in uses]) / kwh,
        full_cycles_per_day=float(weight @ [use.full_cycles for use in uses] / weight.sum()),
        shallow_frac=shallow / moved if moved > 0 else 0.0,
        mean_degc=float(weight @ [use.mean_degc for use in uses] / weight.sum()),
        shortfall_mwh_year=float(weight @ [use.shortfall_mwh for use in uses]),
        flags=merge_flags(flag for use in uses for flag in use.flags),
    )
