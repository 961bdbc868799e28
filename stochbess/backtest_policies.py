"""Policies of a backtest: what is decided here and now for a day, given what its gate knows.

A policy is a function from `Asked` to a here-and-now decision by name. It sees market data cut at
the gate, scenarios made from them and the battery as it was expected then; it shares dispatch,
terminal value and information with every other policy. `POLICIES` is the one place where a policy
gets its name: another formulation joins by an entry there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stochbess.assemble import Case
from stochbess.decide import Decision, Effort, Problem
from stochbess.engine.risk import Risk
from stochbess.models.data import ModelData
from stochbess.valuation import DERATINGS, capped, full_activation, mean_series

Floats = npt.NDArray[np.float64]
Series = Mapping[str, Floats]
# Policies beyond the names of `POLICIES`: one that stands still, and a bound that is no policy.
IDLE, FORESIGHT = "idle", "perfect-foresight"
# Quantile of calls for which the activation-quantile policy plans.
CALL_QUANTILE = 0.8
# Attitude of the two-stage policy with CVaR where the configuration is risk-neutral.
CVAR = Risk(0.5, 0.9)


@dataclass(frozen=True)
class Asked:
    """What a policy is asked at the gate of a day.

    Attributes
    ----------
    case : the decision as of the gate; `case.market` holds nothing that was known later
    problem : the two-stage problem of the case, compiled once
    start : reserve lots of the day before by variable name, a place to begin the search from
    """

    case: Case
    problem: Problem
    effort: Effort
    start: Mapping[str, float]


@dataclass(frozen=True)
class Plan:
    """A here-and-now decision: variable name such as ``"fcr_lots[0]"`` -> value, none means zero.

    `cut_short`: a wall-clock limit ended a solve, so that a repetition may differ.
    """

    first_stage: Mapping[str, float]
    cut_short: bool = False


class Policy(Protocol):
    """Decides here and now for one day."""

    def __call__(self, asked: Asked) -> Plan: ...


def rolling_intrinsic(asked: Asked) -> Plan:
    """Nothing here and now: everything is left to intraday trade and dispatch."""
    return Plan({})


def rule_of_thumb(asked: Asked) -> Plan:
    """Day-ahead by ranks of the mean forecast: buy in the cheapest hours, sell in the dearest.

    One cycle a day at full power, hours in pairs as long as the spread pays for the losses. What
    the battery could not follow from its expected state is left out.
    """
    data = asked.case.data
    series = mean_series(asked.case)
    if "day_ahead_eur_mwh" not in series:
        return Plan({})
    price = series["day_ahead_eur_mwh"][0]
    hours = np.asarray(data.grid.dt_h * np.bincount(data.grid.day_ahead_of_step), np.float64)
    asset = data.asset
    window = asset.energy_max_mwh - asset.energy_min_mwh
    unit_mwh = asset.trade_limit_mw * float(hours.max()) * asset.charge_efficiency_frac
    order = np.argsort(price, kind="stable")
    kept = asset.charge_efficiency_frac * asset.discharge_efficiency_frac
    wish = np.zeros(len(price))
    for k in range(min(int(np.ceil(window / unit_mwh)), len(price) // 2)):
        cheap, dear = int(order[k]), int(order[-1 - k])
        if kept * price[dear] <= price[cheap]:
            break
        wish[cheap], wish[dear] = -1.0, 1.0
    position = _followed(data, wish * asset.trade_limit_mw, hours)
    return Plan({f"day_ahead_mw[{n}]": float(mw) for n, mw in enumerate(position) if mw})


def _followed(data: ModelData, wish_mw: Floats, hours: Floats) -> Floats:
    """The part of a day-ahead position that the expected stored energy can follow."""
    asset, energy = data.asset, data.asset.energy_start_mwh
    position = np.zeros(len(wish_mw))
    for n, mw in enumerate(wish_mw):
        if mw < 0:
            room = (asset.energy_max_mwh - energy) / asset.charge_efficiency_frac / hours[n]
            position[n] = -min(-mw, max(0.0, room))
            energy -= position[n] * hours[n] * asset.charge_efficiency_frac
        elif mw > 0:
            stored = (energy - asset.energy_min_mwh) * asset.discharge_efficiency_frac / hours[n]
            position[n] = min(mw, max(0.0, stored))
            energy -= position[n] * hours[n] / asset.discharge_efficiency_frac
    return position


def sequential(asked: Asked) -> Plan:
    """Market after market: day-ahead as if it were the only one, intraday on top, no reserves."""
    data = asked.case.data
    alone = replace(
        data,
        reserves=replace(data.reserves, fcr="off", afrr="off"),
        energy=replace(data.energy, intraday=False),
    )
    mean = mean_series(asked.case)
    if data.energy.day_ahead == "off":
        return Plan({})
    return _decided(asked, alone, mean)


def deterministic(asked: Asked) -> Plan:
    """The mean scenario taken to be true: expected calls trickle, prices are expected ones."""
    return _decided(asked, asked.case.data, mean_series(asked.case))


def constant_activation(asked: Asked) -> Plan:
    """The mean scenario with the mean call of the whole day in every step."""
    mean = mean_series(asked.case)
    flat = {
        name: np.full_like(values, values.mean()) if _is_call(name) else values
        for name, values in mean.items()
    }
    return _decided(asked, asked.case.data, flat)


def activation_quantile(asked: Asked) -> Plan:
    """Mean prices with a high quantile of the calls of every step."""
    case = asked.case
    series = dict(mean_series(case))
    calls = [name for name in series if _is_call(name) and name.startswith("activation")]
    for name in calls:
        high = np.quantile(
            case.series[name], CALL_QUANTILE, axis=0, weights=case.probability,
            method="inverted_cdf",
        )  # fmt: skip
        series[name] = high[None, :]
    if calls:
        whole = np.maximum(1.0, sum(series[name] for name in calls))
        series |= {name: series[name] / whole for name in calls}
    return _decided(asked, case.data, series)


def _is_call(name: str) -> bool:
    return name in ("activation_up_frac", "activation_down_frac", "fcr_activation_frac")


def derated(asked: Asked) -> Plan:
    """The mean scenario with reserve capped at a share of the power, tuned on the scenarios."""
    case, tried = asked.case, {}
    for share in DERATINGS:
        lots, reserves = capped(case.data.reserves, case.config.battery.power_mw, share)
        if lots not in tried:
            plan = _decided(asked, replace(case.data, reserves=reserves), mean_series(case))
            tried[lots] = plan, _expected_eur(asked, plan)
    best = max(tried.values(), key=lambda item: item[1])[0]
    return Plan(best.first_stage, any(plan.cut_short for plan, _ in tried.values()))


def _expected_eur(asked: Asked, plan: Plan) -> float:
    case = asked.case
    priced = asked.problem.evaluate(case.series, case.probability, plan.first_stage, asked.effort)
    return priced.profit_lb_eur


def one_lot(asked: Asked) -> Plan:
    """The mean scenario with at most one lot of every product in every block."""
    reserves = asked.case.data.reserves
    few = replace(reserves, fcr_max_mw=reserves.fcr_lot_mw, afrr_max_mw=reserves.afrr_lot_mw)
    return _decided(asked, replace(asked.case.data, reserves=few), mean_series(asked.case))


def full_reserve(asked: Asked) -> Plan:
    """The mean scenario with energy held for a whole block of uninterrupted calls."""
    return _decided(asked, full_activation(asked.case.data), mean_series(asked.case))


def fcr_only(asked: Asked) -> Plan:
    """The mean scenario without aFRR."""
    data = asked.case.data
    closed = replace(data, reserves=replace(data.reserves, afrr_max_mw=0.0))
    return _decided(asked, closed, mean_series(asked.case))


def _decided(asked: Asked, data: ModelData, forecast: Series) -> Plan:
    """Best decision for one forecast under the rules of `data`."""
    problem = asked.problem if data is asked.case.data else Problem(data, "two-stage")
    return _plan(problem.decide(forecast, np.ones(1), asked.effort, engine="extensive"))


def _plan(decision: Decision) -> Plan:
    kept = {name: value for name, value in decision.first_stage.items() if value}
    return Plan(kept, decision.outcome.hit_time_limit)


def two_stage(asked: Asked) -> Plan:
    """The two-stage stochastic programme, risk-neutral."""
    return _stochastic(asked, Risk(0.0, 0.0))


def two_stage_cvar(asked: Asked) -> Plan:
    """The two-stage programme with CVaR, at the configured weight or, without one, at `CVAR`."""
    given = asked.case.config.risk
    risk = Risk(given.cvar_weight, given.cvar_level) if given.cvar_weight else CVAR
    return _stochastic(asked, risk)


def _stochastic(asked: Asked, risk: Risk) -> Plan:
    """Start from the reserve lots of yesterday: prices move more from day to day than lots do."""
    case = asked.case
    found = asked.problem.decide(
        case.series,
        case.probability,
        asked.effort,
        engine=case.config.solver.engine,
        risk=risk,
        start=dict(asked.start) or None,
    )
    return _plan(found)


POLICIES: dict[str, Policy] = {
    "rolling-intrinsic": rolling_intrinsic,
    "rule": rule_of_thumb,
    "sequential": sequential,
    "deterministic": deterministic,
    "constant-activation": constant_activation,
    "activation-quantile": activation_quantile,
    "derated": derated,
    "one-lot": one_lot,
    "full-activation": full_reserve,
    "fcr-only": fcr_only,
    "two-stage": two_stage,
    "two-stage-cvar": two_stage_cvar,
}
