"""From the arrays of a decision to schedules, settled cash, aging and cycles of every scenario.

Reads values only, so that it can disagree with the model that produced them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.battery.cut_cycle import CycleCost
from stochbess.battery.cut_step import StepCost
from stochbess.battery.cycle_curve import SegmentCurve
from stochbess.battery.plant_cost import PlantAging
from stochbess.battery.rainflow import discharge_cycle_cost
from stochbess.market.settlement import (
    Prices,
    Schedule,
    Settlement,
    SettlementTerms,
    cash_frame,
    settle,
)

Floats = npt.NDArray[np.float64]
_PRICES = (
    "day_ahead_eur_mwh",
    "intraday_eur_mwh",
    "fcr_eur_mw",
    "afrr_up_eur_mw_h",
    "afrr_down_eur_mw_h",
    "activation_up_eur_mwh",
    "activation_down_eur_mwh",
    "activation_up_frac",
    "activation_down_frac",
    "fcr_activation_frac",
    "imbalance_long_eur_mwh",
    "imbalance_short_eur_mwh",
)


@dataclass(frozen=True)
class Books:
    """What the ledger needs to know besides the arrays.

    Attributes
    ----------
    committed : product (fcr, afrr_up, afrr_down, day_ahead) -> MW sold earlier
    lot_mw : product -> MW per lot
    terminal_eur : values of stored energy at the end, a concave function given by `stored_eur`
    curve : price of a cycle by depth and the open turning points carried in, or None
    cycle_cost : rainflow cost of a path, where aging is priced by cuts
    step_prices : prices of calendar aging and plating beside it, as the decision held them
    judge : the plant whose aging counts instead, where more than cycling is priced
    floor_eur_mwh : added to the price of every MWh drawn from the store
    """

    terms: SettlementTerms
    half_spread_eur_mwh: float
    committed: Mapping[str, Floats]
    lot_mw: Mapping[str, float]
    terminal_edges_mwh: Floats
    terminal_marginal_eur_mwh: Floats
    energy_full_mwh: float
    nameplate_mwh: float
    throughput_eur_mwh: float
    curve: SegmentCurve | None
    turning_points_frac: Sequence[float]
    floor_frac: float
    cycle_cost: CycleCost | None = None
    step_prices: tuple[StepCost, ...] = ()
    judge: PlantAging | None = None
    floor_eur_mwh: float = 0.0

    def stored_eur(self, energy_mwh: Floats) -> Floats:
        """Value of stored energy; zero where no value function is in use."""
        if not self.terminal_marginal_eur_mwh.size:
            return np.zeros_like(energy_mwh)
        width = np.diff(self.terminal_edges_mwh)
        filled = np.clip(energy_mwh[:, None] - self.terminal_edges_mwh[:-1], 0.0, width)
        return np.asarray(filled @ self.terminal_marginal_eur_mwh)


@dataclass(frozen=True)
class Ledger:
    """Cash by line and scenario, and the battery's books.

    Attributes
    ----------
    cash : lines x scenarios and ``expected`` [EUR]; ends with aging, stored energy value and tax.
        Aging is what the held prices charge, `aging_beyond` what the plant shows beyond it, and
        `aging_floor` a price without a cost
    scenarios : one row per scenario: probability, profit_eur, cycles, aging_eur, ...
    settlements : scenario name -> settlement
    """

    cash: pd.DataFrame
    scenarios: pd.DataFrame
    settlements: dict[str, Settlement]


def schedule_of(values: Mapping[str, Floats], s: int, books: Books, series: Prices) -> Schedule:
    """Scenario s of the decision's arrays as a schedule."""
    terms = books.terms
    none = np.zeros(0)

    def take(name: str) -> Floats:
        return values[name][s] if name in values else none

    def capacity(product: str) -> Floats:
        name = f"{product}_lots"
        return values[name][s] * books.lot_mw[product] if name in values else none

    undelivered = {}
    for side in ("up", "down"):
        name = f"delivered_{side}_mw"
        if name in values:
            sold = capacity(f"afrr_{side}") + books.committed[f"afrr_{side}"]
            called = getattr(series, f"activation_{side}_frac") * sold[terms.block_of_step]
            undelivered[side] = called - values[name][s]
    return Schedule(
        fcr_mw=capacity("fcr"),
        afrr_up_mw=capacity("afrr_up"),
        afrr_down_mw=capacity("afrr_down"),
        committed_fcr_mw=books.committed["fcr"],
        committed_afrr_up_mw=books.committed["afrr_up"],
        committed_afrr_down_mw=books.committed["afrr_down"],
        day_ahead_mw=take("day_ahead_mw"),
        committed_day_ahead_mw=books.committed["day_ahead"],
        buy_mw=take("buy_mw"),
        sell_mw=take("sell_mw"),
        charge_mw=values["charge_mw"][s],
        discharge_mw=values["discharge_mw"][s],
        energy_mwh=values["energy_mwh"][s],
        undelivered_up_mw=undelivered.get("up", none),
        undelivered_down_mw=undelivered.get("down", none),
    )


def prices_of(series: Mapping[str, Floats], s: int, half_spread_eur_mwh: float) -> Prices:
    """Scenario s of the scenario data as prices and calls."""
    held = {name: series[name][s] for name in _PRICES if name in series}
    return Prices(half_spread_eur_mwh=half_spread_eur_mwh, **held)


def keep_ledger(
    names: Sequence[str],
    probability: Floats,
    values: Mapping[str, Floats],
    series: Mapping[str, Floats],
    books: Books,
) -> Ledger:
    """Settle every scenario and book aging, the value of stored energy and tax beside the cash.

    Aging is recounted by rainflow from the stored energy; `aging_eur` beside it is what the model
    charges for the same schedule (it also sees charge and discharge inside one step). With a judge
    the profit counts the aging that the plant shows: the charge and, as a line of its own, the rest
    (docs/math.md, Aging as the plant shows it).
    """
    settlements: dict[str, Settlement] = {}
    rows = []
    stored = books.stored_eur(values["energy_mwh"][:, -1]) - books.stored_eur(
        values["energy_mwh"][:, 0]
    )
    for s, name in enumerate(names):
        prices = prices_of(series, s, books.half_spread_eur_mwh)
        schedule = schedule_of(values, s, books, prices)
        settlement = settle(schedule, prices, books.terms)
        settlements[name] = settlement
        stored_mw = books.terms.stored_mw(schedule.charge_mw)
        drawn_mw = books.terms.drawn_mw(schedule.discharge_mw)
        drawn = books.terms.dt_h * drawn_mw
        lost_mw = schedule.charge_mw - stored_mw + drawn_mw - schedule.discharge_mw
        withdrawn = values["withdrawn_mwh"][s] if "withdrawn_mwh" in values else None
        segments, rainflow = _aging_eur(books, schedule, float(drawn.sum()), withdrawn)
        by_step = _by_step_eur(books, schedule)
        beyond = _beyond_eur(books, schedule, segments + by_step)
        floor = books.floor_eur_mwh * float(drawn.sum())
        aged = segments + by_step + beyond + floor
        before_tax = settlement.total_cash_eur - aged + float(stored[s])
        tax = books.terms.tariff.profit_tax_frac * before_tax
        rows.append(
            {
                "scenario": name,
                "probability": float(probability[s]),
                "profit_eur": before_tax - tax,
                "cash_eur": settlement.total_cash_eur,
                "aging_eur": segments + by_step,
                "aging_rainflow_eur": rainflow,
                "aging_by_step_eur": by_step,
                "aging_beyond_eur": beyond,
                "aging_floor_eur": floor,
                "stored_value_eur": float(stored[s]),
                "profit_tax_eur": tax,
                "full_cycles": float(drawn.sum()) / books.nameplate_mwh,
                "lost_mwh": books.terms.dt_h * float(lost_mw.sum()),
                "energy_end_mwh": float(schedule.energy_mwh[-1]),
                "imbalance_mwh": books.terms.dt_h * float(np.abs(settlement.imbalance_mw).sum()),
                "undelivered_mwh": books.terms.dt_h
                * float(np.sum(schedule.undelivered_up_mw) + np.sum(schedule.undelivered_down_mw)),
                "reserve_shortfall_mwh_h": settlement.reserve_shortfall_mwh_h,
                "loop_energy_mwh": settlement.loop_energy_mwh,
                "worst_violation": max(settlement.violations.values()),
            }
        )
    scenarios = pd.DataFrame(rows)
    cash = cash_frame(settlements, probability)
    extra = {
        "aging": -scenarios["aging_eur"],
        **({"aging_beyond": -scenarios["aging_beyond_eur"]} if books.judge is not None else {}),
        **({"aging_floor": -scenarios["aging_floor_eur"]} if books.floor_eur_mwh else {}),
        "stored_energy_value": scenarios["stored_value_eur"],
        "profit_tax": -scenarios["profit_tax_eur"],
    }
    for line, amounts in extra.items():
        cash.loc[line] = [*amounts, float(amounts @ probability)]
    cash.loc["profit"] = cash.sum()
    return Ledger(cash, scenarios, settlements)


def _by_step_eur(books: Books, schedule: Schedule) -> float:
    """Calendar aging and plating at the prices that the decision held."""
    energy, charge = np.asarray(schedule.energy_mwh), np.asarray(schedule.charge_mw)
    read = {"energy": (energy[:-1] + energy[1:]) / 2, "charge": charge}
    return sum(float(price.at(read[price.reads])[0].sum()) for price in books.step_prices)


def _beyond_eur(books: Books, schedule: Schedule, charged_eur: float) -> float:
    """What the plant shows beyond what was charged for the same schedule."""
    if books.judge is None:
        return 0.0
    seen = books.judge.of(np.asarray(schedule.charge_mw), np.asarray(schedule.discharge_mw))
    return seen.aging_eur - charged_eur


def _aging_eur(
    books: Books, schedule: Schedule, drawn_mwh: float, withdrawn: Floats | None
) -> tuple[float, float]:
    """Aging by the model's own measure, and recounted by rainflow from the stored energy."""
    if books.cycle_cost is not None:
        path, terms = books.cycle_cost, books.terms
        moved_mwh = drawn_mwh + terms.dt_h * float(terms.stored_mw(schedule.charge_mw).sum())
        deep_eur = float(path.deep_eur(schedule.energy_mwh).sum())
        return path.shallow_eur_mwh * moved_mwh + deep_eur, path.rainflow_eur(schedule.energy_mwh)
    if books.curve is None or withdrawn is None:
        cost = books.throughput_eur_mwh * drawn_mwh
        return cost, cost
    soc = schedule.energy_mwh / books.energy_full_mwh - books.floor_frac
    prefix = tuple(books.turning_points_frac) or (0.0,)
    segments = float(withdrawn.sum(axis=1) @ books.curve.cost_eur_mwh)
    return segments, discharge_cycle_cost(soc, prefix, books.curve)
