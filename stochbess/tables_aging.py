"""Facts on aging: what the plant shows beyond the prices that decided, and what other laws say.

The judges see the schedules of a run, whatever its aging was priced by. They are opinions on the
same cell: nothing adds them up, and the band between them is the honest width of any number on
aging.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stochbess.aging_passes import Shown
from stochbess.aging_prices import plant_aging
from stochbess.assemble import Case
from stochbess.battery.aging import RangeFlag, merge_flags
from stochbess.battery.cycle_curve import TESTED_DEPTH_FRAC
from stochbess.battery.half_cycle_stress import rated_half_cycles
from stochbess.battery.judges import Opinion, opinions
from stochbess.decide import Decision
from stochbess.evaluate.ledger import Ledger
from stochbess.evaluate.worth import Interval
from stochbess.reports.facts import Fact

Floats = npt.NDArray[np.float64]
PRICED_LAW = "Naumann"
# Shallow cycles are exploited where most energy moves in them and another law charges far more.
SHALLOW_FRAC, FAR_MORE = 0.5, 1.5
_KWH_PER_MWH, _PPM = 1000.0, 1e6
_EDGE_FRAC = 1e-6


@dataclass(frozen=True)
class Judged:
    """What the laws say of the schedules of a decision, in expectation.

    Attributes
    ----------
    opinions : by law
    shallow_frac : part of the energy moved in half cycles less deep than any that was tested
    shortfall_mwh : of the schedules, not followed by the plant
    flags : where laws are used outside their tests, all scenarios together
    """

    opinions: tuple[Opinion, ...]
    shallow_frac: float
    shortfall_mwh: float
    flags: tuple[RangeFlag, ...]


def judge(case: Case, decision: Decision, probability: Floats) -> Judged:
    """Let the plant with all laws follow the schedule of every scenario."""
    aging = case.config.aging
    plant = plant_aging(case.config, case.data.grid.dt_h)
    model = plant.plant.aging
    growth: Floats = np.zeros(len(model.mechanisms))
    moved = shallow = short = 0.0
    flags: list[RangeFlag] = []
    pairs = zip(decision.values["charge_mw"], decision.values["discharge_mw"], strict=True)
    for share, (charge, discharge) in zip(probability.tolist(), pairs, strict=True):
        ran = plant.of(charge, discharge).ran
        growth = growth + share * ran.aging_increments.sum(axis=0)
        cycles = rated_half_cycles(ran.path, plant.state.open_cycles)
        energy = cycles.weight * cycles.depth_frac
        moved += share * float(energy.sum())
        is_shallow = cycles.depth_frac < TESTED_DEPTH_FRAC[0] - _EDGE_FRAC
        shallow += share * float(energy[is_shallow].sum())
        short += share * float(np.abs(ran.shortfall_mw).sum() * ran.dt_h)
        flags += ran.aging_flags
    found = opinions(model, growth, aging.calendar_loss_frac, aging.cycle_loss_frac)
    return Judged(found, shallow / moved if moved > 0 else 0.0, short, merge_flags(flags))


def judge_facts(case: Case, decision: Decision, ledger: Ledger, probability: Floats) -> list[Fact]:
    """The schedule of a run as every law sees it, in EUR at the prices of the configuration."""
    battery, aging = case.config.battery, case.config.aging
    found = judge(case, decision, probability)
    worth = battery.replacement_cost_eur_kwh * _KWH_PER_MWH * battery.energy_mwh
    worth /= aging.usable_fade_frac
    rows = ledger.scenarios
    counted = rows["aging_eur"] + rows["aging_beyond_eur"] + rows["aging_floor_eur"]
    tax = case.terms.tariff.profit_tax_frac
    earned = float(probability @ (rows["profit_eur"] + (1 - tax) * counted).to_numpy())
    facts = [Fact("judge.optimised_on", _priced_by(case), "", 0, "what priced aging")]
    by_law = {}
    for opinion in found.opinions:
        key = f"judge.{slug(opinion.law)}"
        cost = worth * opinion.loss_frac
        by_law[opinion.law] = cost
        facts += [
            Fact(f"{key}.law", opinion.law, "", 0, "law of aging"),
            Fact(f"{key}.calendar", worth * opinion.calendar_frac, "EUR", 2,
                 f"expected calendar aging by {opinion.law}"),
            Fact(f"{key}.cycling", worth * opinion.cycle_frac, "EUR", 2,
                 f"expected cycling by {opinion.law}"),
            Fact(f"{key}.loss", _PPM * opinion.loss_frac, "ppm", 1,
                 f"expected loss of capacity by {opinion.law}, over nominal capacity"),
            Fact(f"{key}.profit", earned - (1 - tax) * cost, "EUR", 2,
                 f"expected profit after all aging by {opinion.law}"),
        ]  # fmt: skip
    mean, worst = float(np.mean(list(by_law.values()))), max(by_law.values())
    for name, cost, which in (("mean", mean, "mean of the laws"), ("worst", worst, "worst law")):
        loss = _PPM * cost / worth
        facts += [
            Fact(f"judge.{name}.loss", loss, "ppm", 1, f"expected loss of capacity, {which}"),
            Fact(f"judge.{name}.profit", earned - (1 - tax) * cost, "EUR", 2,
                 f"expected profit after all aging, {which}"),
        ]  # fmt: skip
    return facts + _gaming(found)


def strictest_law(found: Judged) -> tuple[str, float]:
    """The law that charges most for the cycling, and how many times as much as the priced one."""
    cycling = {opinion.law: opinion.cycle_frac for opinion in found.opinions}
    law = max(cycling, key=lambda name: cycling[name])
    own = cycling[PRICED_LAW]
    return law, cycling[law] / own if own > 0 else 1.0


def exploited_law(found: Judged) -> str | None:
    """The law that charges far more for the shallow cycles that most energy moves in, if any."""
    law, ratio = strictest_law(found)
    return law if found.shallow_frac > SHALLOW_FRAC and ratio > FAR_MORE else None


def _gaming(found: Judged) -> list[Fact]:
    """Shallow cycles, and whether the priced law lets them pass where another one does not."""
    law, ratio = strictest_law(found)
    facts = [
        Fact("judge.shallow", 100 * found.shallow_frac, "%", 0,
             f"energy moved in half cycles less deep than {TESTED_DEPTH_FRAC[0]:g}, the least that "
             "was tested"),
        Fact("judge.strictest", law, "", 0, "law that charges most for the cycling"),
        Fact("judge.strictest_ratio", ratio, "", 2, f"its cycling over that of {PRICED_LAW}"),
        Fact("judge.exploited", "yes" if exploited_law(found) else "no", "", 0,
             "most energy moves in shallow cycles that another law charges far more for"),
        Fact("judge.shortfall", found.shortfall_mwh, "MWh", 4,
             "part of the schedules that the plant did not follow"),
    ]  # fmt: skip
    return facts + [
        Fact(f"judge.flag.{i + 1}", flag.text, "", 0, "a law is used outside its tests")
        for i, flag in enumerate(found.flags)
    ]


def _priced_by(case: Case) -> str:
    aging = case.config.aging
    if aging.model == "none":
        return "no price of aging"
    if aging.model == "throughput":
        return "a price per MWh"
    names = {"cycle": "cycling", "calendar": "calendar aging", "plating": "plating"}
    *first, last = (names[name] for name in aging.mechanisms)
    joined = f"{', '.join(first)} and {last}" if first else last
    floor = f", floor {aging.floor_eur_mwh:g} EUR/MWh" if aging.floor_eur_mwh else ""
    law = PRICED_LAW if aging.cycle_law == "naumann" else "the dearest law at every depth"
    return f"{law}: {joined} by {aging.model}{floor}"


def slug(law: str) -> str:
    """The name of a law as part of the name of a fact."""
    return re.sub(r"[^a-z0-9]+", "_", law.lower()).strip("_")


def plant_facts(shown: Shown, ledger: Ledger, probability: Floats) -> list[Fact]:
    """What the plant shows, and what the solve had promised at held prices."""
    rows, certified = ledger.scenarios, shown.certified
    beyond = float(probability @ rows["aging_beyond_eur"].to_numpy())
    passes = [len(one) for one in shown.passes]
    gained = shown.decision.scenario_profit_eur - shown.judged_eur
    return [
        Fact("aging_plant", float(probability @ shown.aging_eur), "EUR", 2,
             "expected aging that the plant shows; the profit counts it"),
        Fact("aging_beyond", beyond, "EUR", 2, "aging of the plant beyond the held prices"),
        Fact("aging_by_step", float(probability @ rows["aging_by_step_eur"].to_numpy()), "EUR", 2,
             "part of the aging at held prices that is calendar aging and plating"),
        Fact("aging_predicted_gap", shown.predicted_gap_frac(probability), "", 5,
             "aging charged by the last passes over that of the plant, less one"),
        Fact("passes", float(np.mean(passes)), "", 1, "passes per scenario, mean"),
        Fact("passes_gain", float(probability @ gained), "EUR", 2,
             "expected profit that the passes added to the certified schedules"),
        Fact("held_profit", certified.profit_lb_eur, "EUR", 2,
             "profit of the solve with aging at held prices"),
        Fact("held_bound", certified.profit_ub_eur, "EUR", 2,
             "no decision earns more at held prices (proven)"),
        Fact("held_gap", certified.gap_frac, "", 5, "proven relative gap of the solve"),
    ]  # fmt: skip


def steering_facts(charged_eur: float, cost: Interval | None) -> list[Fact]:
    """Prices that steer and are no cost: what is charged, and what deciding so gives up."""
    facts = [
        Fact("floor_charged", charged_eur, "EUR", 2, "expected charge of the throughput floor")
    ]
    if cost is not None:
        what = "profit given up, by the law of Naumann, to the throughput floor and the dearest law"
        facts += [
            Fact("steering_cost_low", cost.low, "EUR", 2, f"{what}, lower bound"),
            Fact("steering_cost_high", cost.high, "EUR", 2, f"{what}, upper bound"),
        ]
    return facts
