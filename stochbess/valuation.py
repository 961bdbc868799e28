"""The solves behind the worth of a decision: wait-and-see, expected value, and opponents.

All decision rules are priced on the same scenarios, with the same recourse, terminal value and
information. The expected-value decision can be degenerate: EEV is that of the decision the solver
returned for the mean scenario.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from stochbess.aging_prices import unsteered_aging
from stochbess.assemble import Case, without_battery
from stochbess.decide import Decision, Effort, Formulation, Problem
from stochbess.engine.two_stage import Engine
from stochbess.evaluate.worth import Interval, Worth
from stochbess.models.aging_cuts import charged_eur
from stochbess.models.data import ModelData, Reserves
from stochbess.offers import as_offers, single_quantities

Floats = npt.NDArray[np.float64]
Tell = Callable[[str, str], None]
# Shares of the power that the derated opponent may sell as reserve; the best one counts.
DERATINGS = (0.0, 0.25, 0.5, 0.75)


def mean_series(case: Case) -> dict[str, Floats]:
    """The expected scenario of a case, as one scenario."""
    return {name: (case.probability @ values)[None, :] for name, values in case.series.items()}


def decide_for_mean(case: Case, effort: Effort) -> Decision:
    """The expected-value decision; single quantities become offers that do not depend on prices."""
    rule = Problem(single_quantities(case.data), "two-stage")
    found = rule.decide(mean_series(case), np.ones(1), effort, engine="extensive")
    return replace(found, first_stage=as_offers(found.first_stage, case.data))


def value_decision(
    case: Case,
    problem: Problem,
    decision: Decision,
    expected_value: Decision,
    effort: Effort,
    tell: Tell,
) -> Worth:
    """WS, RP, EEV and opponents of a risk-neutral two-stage decision, as intervals of bounds."""
    mean = mean_series(case)
    tell("worth", "wait-and-see, every scenario on its own")
    limits = [expected_value.outcome.hit_time_limit]
    ws = wait_and_see(case, problem, effort, tell, limits)
    tell("worth", "pricing the expected-value decision")
    eev = _priced(case, problem, expected_value, effort)
    opponents: dict[str, Interval] = {}
    if case.data.reserves.any:
        tell("worth", "opponents: derated and full-activation reserves")
        opponents["reserve-derated deterministic"] = _derated(case, problem, mean, effort, limits)
        opponents["full-activation deterministic"] = _priced_rule(
            case,
            problem,
            Problem(single_quantities(full_activation(case.data)), "two-stage"),
            mean,
            effort,
            limits,
        )
    rp = Interval(decision.profit_lb_eur, decision.profit_ub_eur)
    return Worth(ws, rp, eev, opponents, cut_short=any(limits))


def wait_and_see(
    case: Case, problem: Problem, effort: Effort, tell: Tell, limits: list[bool]
) -> Interval:
    """Expectation of the scenarios' own optima."""
    stop = threading.Event()
    alone = replace(effort, threads=1, stop=stop)
    n = len(case.probability)
    one = np.ones(1)
    problem.relaxed, problem.binary  # noqa: B018  compiled once, before the threads share them

    def best(s: int) -> Interval:
        series = {name: values[s : s + 1] for name, values in case.series.items()}
        found = problem.decide(series, one, alone, engine="extensive")
        limits.append(found.outcome.hit_time_limit)
        return Interval(found.profit_lb_eur, found.profit_ub_eur)

    intervals: list[Interval] = []
    with ThreadPoolExecutor(effort.threads) as pool:
        try:
            for interval in pool.map(best, range(n)):
                intervals.append(interval)
                tell("worth", f"wait-and-see {len(intervals)} of {n}")
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Interval(
        float(case.probability @ [i.low for i in intervals]),
        float(case.probability @ [i.high for i in intervals]),
    )


def _priced_rule(
    case: Case,
    problem: Problem,
    rule: Problem,
    forecast: Mapping[str, Floats],
    effort: Effort,
    limits: list[bool],
) -> Interval:
    """Decide by `rule` on one forecast; price the decision on the scenarios of the case."""
    decided = rule.decide(forecast, np.ones(1), effort, engine="extensive")
    limits.append(decided.outcome.hit_time_limit)
    return _priced(case, problem, decided, effort)


def _priced(case: Case, problem: Problem, decided: Decision, effort: Effort) -> Interval:
    """What a decision earns on the scenarios of the case, with the recourse of all others."""
    first_stage = as_offers(decided.first_stage, case.data)
    priced = problem.evaluate(case.series, case.probability, first_stage, effort)
    # Where aging is bounded by cuts the relaxed profit is attained, and its bound lies above.
    high = priced.relaxed_profit_eur if problem.lazy is None else priced.profit_ub_eur
    return Interval(priced.profit_lb_eur, high)


def _derated(
    case: Case,
    problem: Problem,
    mean: Mapping[str, Floats],
    effort: Effort,
    limits: list[bool],
) -> Interval:
    """The mean scenario with a cap on reserve, tuned on the same scenarios: a strong opponent."""
    power = case.config.battery.power_mw
    tried: dict[tuple[int, int], Interval] = {}
    for share in DERATINGS:
        lots, reserves = capped(case.data.reserves, power, share)
        if lots in tried:
            continue
        rule = Problem(single_quantities(replace(case.data, reserves=reserves)), "two-stage")
        tried[lots] = _priced_rule(case, problem, rule, mean, effort, limits)
    return max(tried.values(), key=lambda interval: interval.low)


def capped(reserves: Reserves, power_mw: float, share: float) -> tuple[tuple[int, int], Reserves]:
    """Most lots of FCR and of aFRR at a share of the power, and the reserves capped at them."""
    lots = (
        int(share * power_mw // reserves.fcr_lot_mw),
        int(share * power_mw // reserves.afrr_lot_mw),
    )
    return lots, replace(
        reserves,
        fcr_max_mw=min(reserves.fcr_max_mw, lots[0] * reserves.fcr_lot_mw),
        afrr_max_mw=min(reserves.afrr_max_mw, lots[1] * reserves.afrr_lot_mw),
    )


def full_activation(data: ModelData) -> ModelData:
    """Hold energy for a whole block of full activation instead of the rule's duration."""
    longest = float(data.grid.block_hours.max())
    return replace(data, reserves=replace(data.reserves, afrr_energy_h=longest))


def virtual_profit(
    case: Case,
    series: Mapping[str, Floats],
    probability: Floats,
    effort: Effort,
    formulation: Formulation,
) -> float:
    """Expected profit of the same model without a battery and without reserves [EUR]."""
    bare = without_battery(case)
    found = Problem(bare.data, formulation).decide(
        series, probability, replace(effort, gap_frac=1e-6), engine="extensive"
    )
    return float(probability @ found.scenario_profit_eur)


def steering_cost(
    case: Case,
    decision: Decision,
    series: Mapping[str, Floats],
    probability: Floats,
    effort: Effort,
    formulation: Literal["deterministic", "two-stage"],
) -> Interval:
    """What a throughput floor or the dearest law gives up by the law of Naumann [EUR].

    The best risk-neutral profit without either, between bounds, less that of `decision` counted
    alike.
    """
    bare = replace(case.data, aging=unsteered_aging(case.config, case.data.aging))
    engine: Engine = "extensive" if formulation == "deterministic" else "auto"
    free = Problem(bare, formulation).decide(series, probability, effort, engine=engine)
    more = charged_eur(case.data, decision.values) - charged_eur(bare, decision.values)
    kept = decision.scenario_profit_eur + (1 - case.data.fees.profit_tax_frac) * more
    earned = float(probability @ kept)
    return Interval(free.profit_lb_eur - earned, free.profit_ub_eur - earned)
