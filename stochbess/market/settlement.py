"""What market, grid operator and TSO would pay for one schedule.

An independent judge: it knows arrays of a schedule, prices and rules, and no model. Everything is
recomputed from the schedule: imbalance, reserve shortfall, penalties and the physics. All power is
in MW at the AC connection, net > 0 = export; cash in EUR, > 0 = received.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stochbess.errors import DataError
from stochbess.market.settlement_input import (
    TOLERANCE,
    FloatArray,
    Prices,
    Schedule,
    SettlementTerms,
    axis_sizes,
    check_calls,
    complete,
    finite,
    require_price,
)

__all__ = ["Prices", "Schedule", "Settlement", "SettlementTerms", "cash_frame", "settle"]
EXPECTED = "expected"


@dataclass(frozen=True, eq=False)
class Settlement:
    """Cash by line, and what the schedule breaks.

    Attributes
    ----------
    cash_eur : line -> EUR; lines and signs as in `settle`
    imbalance_mw : (T,) > 0 = long
    reserve_shortfall_mwh_h : dt_h times the shortfalls of all check points, MWh for energy and MW
        for power; what the penalty is charged on
    loop_energy_mwh : charged and discharged at once beyond what delivered calls explain
    violations : physical rule -> largest violation, in the unit of its name; 0 = kept
    """

    cash_eur: dict[str, float]
    imbalance_mw: FloatArray
    reserve_shortfall_mwh_h: float
    loop_energy_mwh: float
    violations: dict[str, float]

    @property
    def total_cash_eur(self) -> float:
        """Sum of all lines, before aging, the value of stored energy and the profit tax."""
        return float(sum(self.cash_eur.values()))


def _shortfalls(
    terms: SettlementTerms,
    energy_mwh: FloatArray,
    set_point_mw: FloatArray,
    reserve_mw: Mapping[str, FloatArray],
) -> float:
    """Sum over all check points of the shortfall, MWh for energy and MW for power.

    Energy is checked at every step end with the reserves of the step's block, and at the start of
    every block; power at every step, over the set point: what the unit runs at outside calls.
    """
    b = terms.block_of_step
    starts = np.searchsorted(b, np.arange(terms.block_hours.size))
    fcr, up, down = (reserve_mw[name] for name in ("fcr", "up", "down"))
    hold_up = terms.most_drawn_per_mw * (terms.fcr_energy_h * fcr + terms.afrr_energy_h * up)
    hold_down = terms.most_stored_per_mw * (terms.fcr_energy_h * fcr + terms.afrr_energy_h * down)
    at = np.concatenate([energy_mwh[1:], energy_mwh[starts]])
    block = np.concatenate([b, np.arange(terms.block_hours.size)])
    checks = (
        hold_up[block] - (at - terms.energy_min_mwh),
        hold_down[block] - (terms.energy_max_mwh - at),
        set_point_mw + (fcr + up)[b] - terms.discharge_limit_mw,
        -set_point_mw + (fcr + down)[b] - terms.charge_limit_mw,
    )
    return float(sum(np.maximum(check, 0.0).sum() for check in checks))


def _netted(s: Schedule, prices: Prices, called_mw: Mapping[str, FloatArray]) -> list[FloatArray]:
    """Discharge and charge that calls require while they last and that the flows do not show.

    A call fills its share of the step: in that time the unit runs at its power outside calls plus
    what the call delivers, and calls in both directions do not net out.
    """
    up = called_mw["up"] - s.undelivered_up_mw
    down = called_mw["down"] - s.undelivered_down_mw
    base = s.discharge_mw - s.charge_mw - up + down
    return [
        up + prices.activation_up_frac * base - s.discharge_mw,
        down - prices.activation_down_frac * base - s.charge_mw,
    ]


def _violations(
    schedule: Schedule,
    terms: SettlementTerms,
    reserve_mw: Mapping[str, FloatArray],
    called_mw: Mapping[str, FloatArray],
    prices: Prices,
) -> dict[str, float]:
    """Largest violation of each physical rule; 0 where it is kept."""
    s, b, e = schedule, terms.block_of_step, schedule.energy_mwh
    kept = 1.0 - terms.self_discharge_per_h * terms.dt_h
    flow = terms.stored_mw(s.charge_mw) - terms.drawn_mw(s.discharge_mw)
    band = terms.recharge_factor * reserve_mw["fcr"]
    # What was sold before an outage may exceed the power that is left; new sales may not.
    committed = terms.recharge_factor * s.committed_fcr_mw
    least_out, least_in = (
        np.maximum([limit[b == i].min() for i in range(band.size)], committed + sold)
        for limit, sold in (
            (terms.discharge_limit_mw, s.committed_afrr_up_mw),
            (terms.charge_limit_mw, s.committed_afrr_down_mw),
        )
    )
    quantities = (s.charge_mw, s.discharge_mw, s.buy_mw, s.sell_mw, *reserve_mw.values())
    undelivered = {"up": s.undelivered_up_mw, "down": s.undelivered_down_mw}
    excess = {
        "soc_balance_mwh": [np.abs(e[1:] - kept * e[:-1] - terms.dt_h * flow)],
        "energy_window_mwh": [terms.energy_min_mwh - e, e - terms.energy_max_mwh],
        "charge_limit_mw": [s.charge_mw - terms.charge_limit_mw],
        "discharge_limit_mw": [s.discharge_mw - terms.discharge_limit_mw],
        "intraday_liquidity_mw": [v - terms.intraday_liquidity_mw for v in (s.buy_mw, s.sell_mw)],
        "recharge_band_mw": [
            band + reserve_mw["up"] - least_out,
            band + reserve_mw["down"] - least_in,
        ],
        "undelivered_mw": [
            part
            for side, mw in undelivered.items()
            for part in (-mw, mw - np.maximum(called_mw[side], 0.0))
        ],
        "gross_flow_mw": _netted(s, prices, called_mw),
        "negative_quantity_mw": [-quantity for quantity in quantities],
    }
    return {
        rule: max(0.0, *(float(part.max()) for part in parts)) for rule, parts in excess.items()
    }


def settle(schedule: Schedule, prices: Prices, terms: SettlementTerms) -> Settlement:
    """Settle one scenario of one schedule.

    With r = newly sold + committed reserve, the net position owed to the balance group is

        owed = (day_ahead + committed)[step] + sell - buy + delivered_up - delivered_down + fcr_net
        imbalance = (discharge - charge) - owed

    Lines of `cash_eur`: fcr_capacity, afrr_up_capacity, afrr_down_capacity, day_ahead (newly sold
    only), intraday (at the mid price), intraday_spread, activation_up, activation_down (the
    provider pays for what it takes, so < 0 at positive prices), imbalance, import_fee, export_fee,
    levy, capacity_fee, undelivered_penalty, reserve_shortfall_penalty.

    Raises
    ------
    DataError : NaN or infinity, arrays of different horizons, a share of a bid outside its range,
        or a traded quantity without a price; the message names the array
    """
    sizes = axis_sizes(terms)
    terms, s = complete(terms, sizes), complete(schedule, sizes)
    raw, p = prices, complete(prices, sizes)
    check_calls(p)
    dt_h, b, unit = terms.dt_h, terms.block_of_step, terms.day_ahead_of_step

    reserve_mw = {
        "fcr": s.fcr_mw + s.committed_fcr_mw,
        "up": s.afrr_up_mw + s.committed_afrr_up_mw,
        "down": s.afrr_down_mw + s.committed_afrr_down_mw,
    }
    called_mw = {
        "up": p.activation_up_frac * reserve_mw["up"][b],
        "down": p.activation_down_frac * reserve_mw["down"][b],
    }
    up_mw = called_mw["up"] - s.undelivered_up_mw
    down_mw = called_mw["down"] - s.undelivered_down_mw
    fcr_net_mw = p.fcr_activation_frac * reserve_mw["fcr"][b]
    sched_mw = (s.day_ahead_mw + s.committed_day_ahead_mw)[unit] + s.sell_mw - s.buy_mw
    net_mw = s.discharge_mw - s.charge_mw
    imbalance_mw = net_mw - (sched_mw + up_mw - down_mw + fcr_net_mw)
    long_mw, short_mw = np.maximum(imbalance_mw, 0.0), np.maximum(-imbalance_mw, 0.0)
    for name, quantity_mw in (
        ("fcr_eur_mw", s.fcr_mw),
        ("afrr_up_eur_mw_h", s.afrr_up_mw),
        ("afrr_down_eur_mw_h", s.afrr_down_mw),
        ("day_ahead_eur_mwh", s.day_ahead_mw),
        ("intraday_eur_mwh", s.buy_mw + s.sell_mw),
        ("activation_up_eur_mwh", up_mw),
        ("activation_down_eur_mwh", down_mw),
        ("imbalance_long_eur_mwh", long_mw),
        ("imbalance_short_eur_mwh", short_mw),
    ):
        require_price(name, getattr(raw, name), quantity_mw)

    shortfall_mwh_h = dt_h * _shortfalls(terms, s.energy_mwh, sched_mw + imbalance_mw, reserve_mw)
    loop_mw = np.minimum(s.charge_mw - down_mw, s.discharge_mw - up_mw)
    undelivered_mwh = dt_h * (s.undelivered_up_mw + s.undelivered_down_mw).sum()
    t = terms.tariff
    cash_eur = {
        "fcr_capacity": p.fcr_eur_mw @ s.fcr_mw,
        "afrr_up_capacity": p.afrr_up_eur_mw_h @ (s.afrr_up_mw * terms.block_hours),
        "afrr_down_capacity": p.afrr_down_eur_mw_h @ (s.afrr_down_mw * terms.block_hours),
        "day_ahead": dt_h * (p.day_ahead_eur_mwh @ (s.day_ahead_mw * np.bincount(unit))),
        "intraday": dt_h * (p.intraday_eur_mwh @ (s.sell_mw - s.buy_mw)),
        "intraday_spread": -dt_h * p.half_spread_eur_mwh * (s.sell_mw + s.buy_mw).sum(),
        "activation_up": dt_h * (p.activation_up_eur_mwh @ up_mw),
        "activation_down": -dt_h * (p.activation_down_eur_mwh @ down_mw),
        "imbalance": dt_h
        * (p.imbalance_long_eur_mwh @ long_mw - p.imbalance_short_eur_mwh @ short_mw),
        "import_fee": -dt_h * (t.import_fee_eur_mwh @ s.charge_mw),
        "export_fee": -dt_h * (t.export_fee_eur_mwh @ s.discharge_mw),
        "levy": dt_h * t.levy_eur_mwh * net_mw.sum(),
        "capacity_fee": -t.capacity_fee_eur,
        "undelivered_penalty": -terms.undelivered_eur_mwh * undelivered_mwh,
        "reserve_shortfall_penalty": -terms.reserve_shortfall_eur_mwh_h * shortfall_mwh_h,
    }
    return Settlement(
        cash_eur={line: float(eur) for line, eur in cash_eur.items()},
        imbalance_mw=imbalance_mw,
        reserve_shortfall_mwh_h=shortfall_mwh_h,
        loop_energy_mwh=dt_h * float(np.maximum(loop_mw, 0.0).sum()),
        violations=_violations(s, terms, reserve_mw, called_mw, p),
    )


def cash_frame(
    settlements: Mapping[str, Settlement], probabilities: Sequence[float] | FloatArray
) -> pd.DataFrame:
    """Cash by line and scenario [EUR]: rows = lines, columns = scenario names and ``expected``.

    Parameters
    ----------
    settlements : scenario name -> settlement, in the order of `probabilities`
    probabilities : one per scenario, not negative, sum 1

    Raises
    ------
    DataError : no scenario, probabilities that do not fit, or a scenario named ``expected``
    """
    weight = finite("cash_frame", "probabilities", probabilities)
    if weight.shape != (len(settlements),) or not len(settlements) or EXPECTED in settlements:
        raise DataError(
            f"cash_frame: {len(settlements)} settlements and probabilities of shape "
            f"{weight.shape}. Expected one probability for each of at least one scenario, none of "
            f"them named {EXPECTED!r}."
        )
    if (weight < 0.0).any() or abs(weight.sum() - 1.0) > TOLERANCE:
        raise DataError(
            f"cash_frame: probabilities sum to {weight.sum():.9g}, smallest {weight.min():.3g}. "
            "Expected values that are not negative and sum to 1."
        )
    frame = pd.DataFrame({name: item.cash_eur for name, item in settlements.items()})
    frame[EXPECTED] = frame.to_numpy() @ weight
    return frame.rename_axis(index="line", columns="scenario")
