"""What a battery earns over its life, as a function of the price that operation puts on aging.

A year of operation at an aging price earns a revenue and lets the state of every mechanism of aging
grow. Both shrink with the capacity. The life is the recursion of these years until the capacity or
the calendar ends it; its value is discounted (docs/math.md (98a) to (98e)). The price is a control,
not a cost: no money is paid for aging but by what is earned later, and by a replacement.

All amounts are per kWh of nameplate capacity, and a price of aging is per kWh of capacity lost.
Nothing here is a forecast of a lifetime: the laws of aging disagree by a factor of two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from stochbess.errors import ConfigError, DataError

FloatArray = npt.NDArray[np.float64]
Ending = Literal["capacity", "calendar"]
_BISECTIONS = 60
_TIME_ROUNDING = 1e-9


class Rates(NamedTuple):
    """A year of operation by node of health: revenue (H,), growth (H, M), full cycles (H,)."""

    revenue_eur_kwh_year: FloatArray
    growth_per_year: FloatArray
    cycles_per_year: FloatArray


@dataclass(frozen=True, eq=False)
class Frontier:
    """Years of operation by aging price and by health (98a).

    Between prices everything is linear: a year that follows one price on a part of its days and the
    next price on the others. Between nodes of health it is linear too; below the lowest node
    revenue is in proportion to health and growth stays as it is. A single node at 1 is the rule
    that revenue shrinks like the capacity.

    Attributes
    ----------
    price_eur_kwh : (P,) aging prices, increasing, none below zero
    health_frac : (H,) capacity over nameplate, increasing, the last one 1
    revenue_eur_kwh_year : (P, H) revenue before any cost of aging
    growth_per_year : (P, H, M) growth of the states of the mechanisms that take capacity
    cycles_per_year : (P, H) full equivalent cycles of the capacity that is left
    power : (M,) loss of a mechanism = state ** power

    Raises
    ------
    DataError : shapes do not fit, an axis does not increase, or a number is not finite
    """

    price_eur_kwh: FloatArray
    health_frac: FloatArray
    revenue_eur_kwh_year: FloatArray
    growth_per_year: FloatArray
    cycles_per_year: FloatArray
    power: FloatArray

    def __post_init__(self) -> None:
        grid = (self.price_eur_kwh.size, self.health_frac.size)
        shapes = {
            "revenue_eur_kwh_year": (self.revenue_eur_kwh_year, grid),
            "growth_per_year": (self.growth_per_year, (*grid, self.power.size)),
            "cycles_per_year": (self.cycles_per_year, grid),
        }
        for name, (values, expected) in shapes.items():
            if values.shape != expected or not np.isfinite(values).all():
                raise DataError(
                    f"frontier: {name} has shape {values.shape}; expected {expected} finite "
                    "numbers by price and health."
                )
        if (self.growth_per_year < 0).any() or (self.power <= 0).any():
            raise DataError("frontier: a state shrinks over a year, or a power is not above 0.")
        prices, health = self.price_eur_kwh, self.health_frac
        if not (min(grid) > 0 and prices[0] >= 0 and (np.diff(prices) > 0).all()):
            raise DataError(f"frontier: prices {prices}: expected increasing numbers >= 0.")
        if not (health[0] > 0 and health[-1] == 1.0 and (np.diff(health) > 0).all()):
            raise DataError(f"frontier: health {health}: expected increasing fractions up to 1.")

    def at(self, price_eur_kwh: float) -> Rates:
        """A year at a price between those of the grid; outside, the nearest of them."""
        nodes = self.price_eur_kwh
        price = min(max(price_eur_kwh, float(nodes[0])), float(nodes[-1]))
        i = max(min(int(np.searchsorted(nodes, price, side="right")) - 1, nodes.size - 2), 0)
        j = min(i + 1, nodes.size - 1)
        share = 0.0 if i == j else (price - nodes[i]) / (nodes[j] - nodes[i])
        tables = (self.revenue_eur_kwh_year, self.growth_per_year, self.cycles_per_year)
        return Rates(*(table[i] + share * (table[j] - table[i]) for table in tables))


@dataclass(frozen=True)
class Terms:
    """Under which terms a life is lived and valued.

    Attributes
    ----------
    wacc_frac : discount rate per year; 0 = money keeps its value
    end_of_life_frac : capacity over nameplate at which the battery is retired
    max_years : calendar limit of one life
    replacements : how often the battery is replaced by a new one of its kind when a life ends
    replacement_cost_eur_kwh : what each replacement costs, when it happens
    fixed_cost_eur_kwh_year : paid every year of operation
    price_growth_frac : growth of the aging price per year, e.g. the discount rate
    step_years : step of the recursion

    Raises
    ------
    ConfigError : a value makes no sense
    """

    wacc_frac: float = 0.05
    end_of_life_frac: float = 0.7
    max_years: float = 20.0
    replacements: int = 0
    replacement_cost_eur_kwh: float = 200.0
    fixed_cost_eur_kwh_year: float = 0.0
    price_growth_frac: float = 0.0
    step_years: float = 0.25

    def __post_init__(self) -> None:
        ranges = {
            "wacc_frac": (0.0 <= self.wacc_frac < 1.0, "a fraction from 0 to below 1"),
            "end_of_life_frac": (0.0 < self.end_of_life_frac < 1.0, "a fraction between 0 and 1"),
            "max_years": (0.0 < self.max_years <= 100.0, "years above 0, at most 100"),
            "replacements": (0 <= self.replacements <= 20, "a whole number from 0 to 20"),
            "replacement_cost_eur_kwh": (0.0 <= self.replacement_cost_eur_kwh < math.inf, ">= 0"),
            "fixed_cost_eur_kwh_year": (0.0 <= self.fixed_cost_eur_kwh_year < math.inf, ">= 0"),
            "price_growth_frac": (-0.5 <= self.price_growth_frac <= 1.0, "from -0.5 to 1"),
            "step_years": (0.0 < self.step_years <= 1.0, "a part of a year"),
        }
        for name, (holds, expected) in ranges.items():
            if not holds:
                raise ConfigError(f"lifetime: {name} = {getattr(self, name)}: expected {expected}.")

    def discounted_years(self, start: float, end: float) -> float:
        """One per year, paid evenly between two times, at the value of time 0."""
        if self.wacc_frac == 0.0:
            return end - start
        rate = math.log1p(self.wacc_frac)
        return (math.exp(-rate * start) - math.exp(-rate * end)) / rate


@dataclass(frozen=True, eq=False)
class Life:
    """One life, and the value of the chain of lives that begins with it.

    Attributes
    ----------
    price_eur_kwh : aging price at its start
    npv_eur_kwh : value of all lives before the first investment
    years : length of one life
    ended_by : what ended it
    discounted_years : of operation, over the whole chain
    time_years, health_frac : (N+1,) steps of the first life
    state : (M,) of the mechanisms at its end
    revenue_eur_kwh_year : (N,) mean of each step
    full_cycles : over one life
    """

    price_eur_kwh: float
    npv_eur_kwh: float
    years: float
    ended_by: Ending
    discounted_years: float
    time_years: FloatArray
    health_frac: FloatArray
    state: FloatArray
    revenue_eur_kwh_year: FloatArray
    full_cycles: float

    @property
    def full_cycles_per_year(self) -> float:
        return self.full_cycles / self.years if self.years > 0 else 0.0


class _Year:
    """Rates as functions of health, for one price."""

    def __init__(self, frontier: Frontier, price: float, extra: FloatArray) -> None:
        self.health, self.rates, self.extra = frontier.health_frac, frontier.at(price), extra

    def _at(self, health: float) -> tuple[int, float]:
        i = int(np.searchsorted(self.health, health)) - 1
        if i < 0:
            return 0, 0.0
        i = min(i, self.health.size - 2)
        if i < 0:
            return 0, 0.0
        return i, float((health - self.health[i]) / (self.health[i + 1] - self.health[i]))

    def _between(self, table: FloatArray, health: float) -> FloatArray:
        i, share = self._at(health)
        if not share:
            return np.asarray(table[i], np.float64)
        return np.asarray(table[i] + share * (table[i + 1] - table[i]), np.float64)

    def growth(self, health: float) -> FloatArray:
        return self._between(self.rates.growth_per_year, health) + self.extra

    def revenue(self, health: float) -> float:
        below = min(health / float(self.health[0]), 1.0)
        return below * float(self._between(self.rates.revenue_eur_kwh_year, health))

    def cycles(self, health: float) -> float:
        return float(self._between(self.rates.cycles_per_year, health))


def live(
    frontier: Frontier,
    price_eur_kwh: float,
    terms: Terms,
    start: npt.ArrayLike | None = None,
    extra_growth_per_year: npt.ArrayLike | None = None,
) -> Life:
    """One life at an aging price: the recursion (98b) to (98d), valued by (98e).

    Each step takes the rates in its middle. The end by capacity is found inside its step.

    Parameters
    ----------
    price_eur_kwh : aging price at the start [EUR per kWh of capacity lost]
    start : (M,) states at the start; None = a new battery
    extra_growth_per_year : (M,) added to the growth in every year, for marginal values
    """
    power = frontier.power
    state = np.zeros(power.size) if start is None else np.array(start, np.float64)
    extra = np.zeros(power.size)
    if extra_growth_per_year is not None:
        extra = np.asarray(extra_growth_per_year, np.float64)
    worn = 1.0 - terms.end_of_life_frac

    def loss(at: FloatArray) -> float:
        return float((np.maximum(at, 0.0) ** power).sum())

    year = _Year(frontier, price_eur_kwh, extra)
    now, value, cycles = 0.0, 0.0, 0.0
    times, health, revenues = [0.0], [1.0 - loss(state)], []
    ended: Ending = "capacity" if loss(state) >= worn else "calendar"
    while now < terms.max_years - _TIME_ROUNDING and loss(state) < worn:
        dt = min(terms.step_years, terms.max_years - now)
        if terms.price_growth_frac:
            grown = price_eur_kwh * (1.0 + terms.price_growth_frac) ** now
            year = _Year(frontier, grown, extra)
        middle = state + year.growth(1.0 - loss(state)) * dt / 2
        growth = year.growth(1.0 - loss(middle))
        if loss(state + growth * dt) >= worn:
            dt = _time_to_loss(state, growth, power, worn, dt)
            ended = "capacity"
        mean_health = 1.0 - loss(state + growth * dt / 2)
        revenue = year.revenue(mean_health)
        paid = terms.discounted_years(now, now + dt)
        value += paid * (revenue - terms.fixed_cost_eur_kwh_year)
        cycles += year.cycles(mean_health) * dt
        state, now = state + growth * dt, now + dt
        times.append(now)
        health.append(1.0 - loss(state))
        revenues.append(revenue)
        if ended == "capacity":
            break
    chain = _chain(value, now, terms)
    return Life(
        price_eur_kwh=float(price_eur_kwh),
        npv_eur_kwh=chain[0],
        years=now,
        ended_by=ended,
        discounted_years=chain[1],
        time_years=np.array(times),
        health_frac=np.array(health),
        state=state,
        revenue_eur_kwh_year=np.array(revenues),
        full_cycles=cycles,
    )


def _time_to_loss(
    state: FloatArray, growth: FloatArray, power: FloatArray, worn: float, dt: float
) -> float:
    """When the loss reaches `worn` within a step (98d); the loss only grows, so by bisection."""
    low, high = 0.0, dt
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if float(((state + growth * middle) ** power).sum()) >= worn:
            high = middle
        else:
            low = middle
    return high


def _chain(value: float, years: float, terms: Terms) -> tuple[float, float]:
    """Value and discounted years of a life and its replacements, each a new life (98e)."""
    later = (1.0 + terms.wacc_frac) ** -years
    one = terms.discounted_years(0.0, years)
    total, operated = value, one
    for k in range(1, terms.replacements + 1):
        total += later**k * (value - terms.replacement_cost_eur_kwh)
        operated += later**k * one
    return total, operated


def sweep(frontier: Frontier, terms: Terms) -> tuple[Life, ...]:
    """The life at every price of the frontier."""
    return tuple(live(frontier, float(price), terms) for price in frontier.price_eur_kwh)


def best_life(lives: tuple[Life, ...]) -> Life:
    """The life of the highest value; of equal ones that of the lowest price."""
    return max(lives, key=lambda life: life.npv_eur_kwh)
