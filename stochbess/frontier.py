"""What less risk costs: the efficient frontier and the price of robustness, point by point.

Three curves over one number: mean against CVaR over the weight of CVaR, the worst activation over
the budget of high calls, the worst expectation over the Wasserstein radius. Every point is a
decision with proven bounds of what it maximises, priced on the same scenarios as all others. The
points share their cuts, and those over the budget the courses of calls found so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from stochbess.assemble import Case, build_case, open_market
from stochbess.clock import cpu_s
from stochbess.config import Config
from stochbess.decide import Problem
from stochbess.engine.ccg import Courses
from stochbess.engine.lshaped import CutPool
from stochbess.engine.risk import Risk, cvar
from stochbess.engine.wasserstein import Wasserstein, scenario_distance
from stochbess.errors import ConfigError
from stochbess.formulate import (
    called_set,
    one_machine,
    price_scenarios,
    require_own_measure,
    with_cvar_weight,
)
from stochbess.market.data import MarketData
from stochbess.offers import without_offer_data
from stochbess.robust import RobustProblem
from stochbess.run import Progress, effort_of, loaded
from stochbess.valuation import mean_series

Over = Literal["cvar", "budget", "radius"]
VALUES: dict[str, tuple[float, ...]] = {
    "cvar": (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
    "budget": (0.0, 1.0, 2.0, 3.0, 4.0),
    "radius": (0.0, 0.05, 0.1, 0.2, 0.4, 0.8),
}


@dataclass(frozen=True)
class Frontier:
    """A curve and what it was computed from.

    Attributes
    ----------
    points : one row per value, in rising order: parameter; own_profit_eur and own_bound_eur, proven
        bounds of the best value of the objective; gap_frac; expected_profit_eur and
        expected_profit_upper_eur, cvar_eur, worst_scenario_eur and reserve_lots of the decision on
        the scenarios; efficient (no other point has more mean and more CVaR); violation, the
        certificate of the pricing; hit_time_limit; cpu_s
    decisions : here-and-now decision of every row, variable name -> value
    """

    over: str
    case: Case
    points: pd.DataFrame
    decisions: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class _Point:
    """A decision with the bounds of its objective."""

    parameter: float
    profit_eur: float
    bound_eur: float
    first_stage: dict[str, float]
    hit_time_limit: bool
    cpu_s: float


def frontier(
    config: Config | Path | str | None = None,
    over: Over = "cvar",
    values: Sequence[float] | None = None,
    *,
    overrides: Sequence[str] = (),
    market: MarketData | None = None,
    progress: Progress | None = None,
) -> Frontier:
    """Decide for every value and price every decision on the same scenarios.

    Parameters
    ----------
    values : weights of CVaR in [0, 1], budgets in periods (whole), or radii; each curve has its own
        default (`VALUES`). Sorted, and equal ones count once.

    Raises
    ------
    ConfigError : a value is out of range, or the curve needs what the configuration does not have
    """
    config = with_cvar_weight(loaded(config, overrides), 0.0)
    wanted = checked(over, VALUES.get(over, ()) if values is None else values)
    tell: Progress = progress or (lambda stage, detail: None)
    tell("scenarios", "building scenarios and model data")
    case = build_case(config, open_market(config) if market is None else market)
    if over != "cvar":
        require_own_measure(case, "robust" if over == "budget" else "wasserstein")
    elif case.judge is not None:
        raise ConfigError(
            "a frontier prices aging by the model alone; found aging.mechanisms="
            f"{','.join(config.aging.mechanisms)}. Set aging.mechanisms=[cycle]."
        )
    points = _CURVES[over](case, wanted, tell)
    if over != "cvar":
        points = _carried(points)
    problem, effort = Problem(case.data, "two-stage"), effort_of(config)
    rows = []
    for i, point in enumerate(points):
        tell("frontier", f"pricing point {i + 1} of {len(points)}")
        priced = problem.evaluate(case.series, case.probability, point.first_stage, effort)
        profit = priced.scenario_profit_eur
        rows.append(
            {
                "parameter": point.parameter,
                "own_profit_eur": point.profit_eur,
                "own_bound_eur": point.bound_eur,
                "gap_frac": max(0.0, point.bound_eur - point.profit_eur)
                / max(1.0, abs(point.profit_eur)),
                "expected_profit_eur": priced.profit_lb_eur,
                "expected_profit_upper_eur": priced.profit_ub_eur,
                "cvar_eur": cvar(profit, case.probability, config.risk.cvar_level),
                "worst_scenario_eur": float(profit.min()),
                "reserve_lots": sum(
                    v for k, v in point.first_stage.items() if "_lots[" in k or "_offer[" in k
                ),
                "violation": priced.outcome.violation,
                "hit_time_limit": point.hit_time_limit,
                "cpu_s": round(point.cpu_s, 2),
            }
        )
    frame = pd.DataFrame(rows)
    frame.insert(len(frame.columns) - 3, "efficient", _efficient(frame))
    return Frontier(over, case, frame, tuple(point.first_stage for point in points))


def checked(over: str, values: Sequence[float]) -> list[float]:
    """The values of a curve in rising order, each once.

    Raises
    ------
    ConfigError : the curve is unknown, or a value is not one of it
    """
    if over not in VALUES:
        raise ConfigError(f"no frontier over {over!r}; expected one of {', '.join(VALUES)}")
    fits: Callable[[float], bool]
    if over == "cvar":
        fits, expected = (lambda v: 0 <= v <= 1), "weights from 0 to 1"
    elif over == "budget":
        fits, expected = (lambda v: v >= 0 and v == int(v)), "whole numbers of periods, 0 or more"
    else:
        fits, expected = (lambda v: v >= 0), "radii of 0 or more"
    wrong = [f"{v:g}" for v in values if not (np.isfinite(v) and fits(v))]
    if wrong or not values:
        raise ConfigError(
            f"frontier over {over}: found {', '.join(wrong) or 'no values'}; expected {expected}"
        )
    return sorted(dict.fromkeys(float(v) for v in values))


def _cvar(case: Case, values: list[float], tell: Progress) -> list[_Point]:
    level = case.config.risk.cvar_level
    return _measured(case, [(v, Risk(v, level)) for v in values], tell)


def _radius(case: Case, values: list[float], tell: Progress) -> list[_Point]:
    if len(case.probability) < 2:
        raise ConfigError("a frontier over the radius needs more than one scenario: scenarios.n")
    distance = scenario_distance(without_offer_data(case.series), case.probability)
    measures = [(v, Wasserstein(radius=v, distance=distance)) for v in values]
    return _measured(case, measures, tell)


def _measured(case: Case, measures: Sequence[tuple[float, Risk]], tell: Progress) -> list[_Point]:
    """The two-stage problem under several measures of risk: same costs, so the same cuts."""
    problem, effort = Problem(case.data, "two-stage"), effort_of(case.config)
    mean = problem.decide(mean_series(case), np.ones(1), effort, engine="extensive")
    start = mean.first_stage
    cuts = CutPool.empty(len(start))
    points = []
    for i, (value, risk) in enumerate(measures):
        began = cpu_s()
        tell("frontier", f"point {i + 1} of {len(measures)}, at {value:g}")
        found = problem.decide(
            case.series, case.probability, effort, engine=one_machine(case.config), risk=risk,
            start=start, cuts=cuts,
        )  # fmt: skip
        start = found.first_stage
        points.append(
            _Point(
                value, found.profit_lb_eur, found.profit_ub_eur, start,
                found.outcome.hit_time_limit, cpu_s() - began,
            )
        )  # fmt: skip
    return points


def _budget(case: Case, values: list[float], tell: Progress) -> list[_Point]:
    effort = effort_of(case.config)
    problem = RobustProblem(case.data, called_set(case, int(values[-1])))
    prices, weights = price_scenarios(case)
    courses, points = Courses(), []
    for i, value in enumerate(values):
        began = cpu_s()
        tell("frontier", f"point {i + 1} of {len(values)}, budget {value:g}")
        found = problem.budgeted(int(value)).solve(
            prices, weights, effort, engine=one_machine(case.config), courses=courses
        )
        points.append(
            _Point(
                value, -found.cost, -found.bound, problem.names(found.x), found.hit_time_limit,
                cpu_s() - began,
            )
        )  # fmt: skip
    return points


_CURVES: dict[str, Callable[[Case, list[float], Progress], list[_Point]]] = {
    "cvar": _cvar,
    "budget": _budget,
    "radius": _radius,
}


def _carried(points: list[_Point]) -> list[_Point]:
    """The same points with what each proves about the others (121a).

    The best value does not rise with the budget or the radius: a bound holds for all larger ones,
    and what a decision is sure of against more it is sure of against less.
    """
    out = list(points)
    for i in range(1, len(out)):
        out[i] = replace(out[i], bound_eur=min(out[i].bound_eur, out[i - 1].bound_eur))
    for i in range(len(out) - 2, -1, -1):
        if out[i + 1].profit_eur > out[i].profit_eur:
            better = out[i + 1]
            out[i] = replace(out[i], profit_eur=better.profit_eur, first_stage=better.first_stage)
    return out


def _efficient(frame: pd.DataFrame) -> list[bool]:
    """Whether no other point has at least as much mean and CVaR, and more of one, by a cent."""
    pairs = frame[["expected_profit_eur", "cvar_eur"]].to_numpy(np.float64)
    out = []
    for own in pairs:
        beaten = (pairs >= own).all(axis=1) & (pairs > own + 0.01).any(axis=1)
        out.append(not beaten.any())
    return out
