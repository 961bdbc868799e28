"""Decide, let the plant tell what the schedule does to it, decide again: successive convex passes.

Cuts price what is convex in the schedule. Three things are not: calendar aging in SOC, the
temperature that the schedule itself makes, and its C-rate. A pass holds temperature and C-rate at
what the plant showed for the best schedule so far, and bounds calendar aging by its hull over a
trust region around that schedule, where the hull is close. A new schedule is judged by the plant
itself, with its own temperature. It becomes the best one only if its *true* profit is higher;
otherwise the region shrinks. So no pass can make the result worse, however far a full step
overshoots (docs/math.md (42), (43)). One scenario at a time; `stochbess.aging_passes` improves the
recourse of every scenario of a decision in this way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stochbess.battery.cut_cycle import CycleCost
from stochbess.battery.cut_step import StepCost, calendar_cost, plating_cost
from stochbess.battery.efficiency import ConstantEfficiency
from stochbess.battery.naumann import NaumannCalendar
from stochbess.battery.plant_cost import PlantAging
from stochbess.decide import Decision, Effort, Problem
from stochbess.errors import ConfigError
from stochbess.models.aging_cuts import charged_eur
from stochbess.models.data import Aging

Floats = npt.NDArray[np.float64]
Region = tuple[Floats, Floats]
# A step of the trust region after a pass that was refused, or that the model had priced badly.
_SHRINK, _MISPRICED = 0.5, 0.7
_MISPRICED_FRAC = 0.005


@dataclass(frozen=True)
class Witness:
    """What a schedule does to the plant.

    Attributes
    ----------
    calendar_eur, cycle_eur, plating_eur : true cost of aging
    temperature_degc : (T,) mean of each step
    deep_factor : true over modelled cost of the deep part of cycling
    """

    calendar_eur: float
    cycle_eur: float
    temperature_degc: Floats
    deep_factor: float
    plating_eur: float = 0.0

    @property
    def aging_eur(self) -> float:
        return self.calendar_eur + self.cycle_eur + self.plating_eur


class Truth(Protocol):
    """Judges schedules, and makes the convex prices of a pass from what it saw."""

    def __call__(self, values: Mapping[str, Floats]) -> Witness:
        """What the schedule in `values` (T,) by component does."""
        ...

    def local(self, witness: Witness, region: Region | None) -> Aging:
        """Aging with temperature and C-rate as seen, calendar aging hulled over the region."""
        ...


@dataclass(frozen=True)
class PlantTruth:
    """The plant with the laws of Naumann (and Schimpe's plating), and its convex prices.

    Attributes
    ----------
    judge : the plant, its state, and what a unit of squared loss costs
    cycle : cost of cycles at the C-rate of its curve; the passes scale it
    aging : what a pass keeps from the aging of the decision: limits, floor, tolerance of the cuts
    """

    judge: PlantAging
    cycle: CycleCost
    aging: Aging

    def __call__(self, values: Mapping[str, Floats]) -> Witness:
        """What the plant does with the schedule in `values`."""
        seen = self.judge.of(values["charge_mw"], values["discharge_mw"])
        deep = float(self.cycle.deep_eur(np.asarray(values["energy_mwh"], np.float64)).sum())
        shallow = self.cycle.shallow_eur_mwh * seen.moved_mwh
        factor = (seen.cycle_eur - shallow) / deep if deep > 0 else 1.0
        return Witness(
            seen.calendar_eur,
            seen.cycle_eur,
            seen.ran.path.temperature_degc,
            max(0.0, factor),
            seen.plating_eur,
        )

    def local(self, witness: Witness, region: Region | None) -> Aging:
        """Aging of a pass: cycle cost scaled, other prices at the temperatures of the witness."""
        return replace(
            self.aging,
            path_cost=replace(self.cycle, deep_factor=witness.deep_factor),
            step_prices=step_prices(self.judge, witness.temperature_degc, region),
        )


def step_prices(
    judge: PlantAging, temperature_degc: Floats, region: Region | None = None
) -> tuple[StepCost, ...]:
    """Convex prices of calendar aging and plating at held temperatures (T,), where they have one.

    Parameters
    ----------
    region : over which calendar aging is hulled, stored energy (T + 1,) from and to; None = all
    """
    plant = judge.plant
    usable = plant.energy_mwh * judge.state.health_frac
    prices: list[StepCost] = []
    if judge.calendar_w_eur:
        rate, value = NaumannCalendar().w_rate_per_h, judge.calendar_w_eur
        prices.append(calendar_cost(rate, value, temperature_degc, usable, judge.dt_h, region))
    if judge.plating_w_eur:
        if not isinstance(plant.efficiency, ConstantEfficiency):
            raise ConfigError("plating by charge power: expected constant efficiencies")
        stored_frac, limit = plant.efficiency.charge_frac, plant.charge_limit_mw
        value = judge.plating_w_eur
        prices.append(plating_cost(value, temperature_degc, usable, stored_frac, limit, judge.dt_h))
    return tuple(prices)


@dataclass(frozen=True)
class Pass:
    """One pass: half-width of the region, what the model and the plant say of its schedule [EUR].

    `gap_frac` is the aging that the model charged, less the true one, over the true one;
    `cut_short` = a time limit ended the search of the pass.
    """

    number: int
    radius_mwh: float
    model_profit_eur: float
    true_profit_eur: float
    gap_frac: float
    accepted: bool
    cut_short: bool


@dataclass(frozen=True)
class Refined:
    """The best schedule found, what the plant says of it, and how it was found.

    Attributes
    ----------
    true_profit_eur : profit with the aging that the plant shows
    predicted_eur : aging of the best schedule in the last model: the one that it is the optimum of,
        or the one around it in which nothing better was found
    relaxed_profit_ub_eur : bound of the first pass, which hulls calendar aging over all SOC; it
        holds for the temperatures and the C-rate of that pass
    """

    decision: Decision
    witness: Witness
    true_profit_eur: float
    predicted_eur: float
    relaxed_profit_ub_eur: float
    passes: tuple[Pass, ...]

    @property
    def gap_frac(self) -> float:
        """Predicted over true aging, less one."""
        true = self.witness.aging_eur
        return self.predicted_eur / true - 1.0 if true > 0 else 0.0


def refine(
    build: Callable[[Aging], Problem],
    series: Mapping[str, Floats],
    effort: Effort,
    truth: Truth,
    start: Witness,
    *,
    most_passes: int = 8,
    radius_frac: float = 0.25,
    tolerance_frac: float = 1e-4,
    judged: bool = True,
) -> Refined:
    """Deterministic decision with the aging of the plant.

    Parameters
    ----------
    build : makes the problem for an aging; called once, the passes share its templates
    series : one scenario, (1, length) each
    start : temperature and C-rate to begin with; its costs are not read
    radius_frac : half-width of the first region, of the range of stored energy
    tolerance_frac : gain of the true profit below which the passes end, if the aging of the best
        schedule is predicted within 0.5 %
    judged : False accepts every pass and never shrinks, to show what the judgement is for
    """
    problem = build(truth.local(start, None))
    decided = problem.decide(series, np.ones(1), effort, engine="extensive")
    bound = decided.profit_ub_eur
    best, passes = improve(
        problem,
        judged_by(problem, decided, truth),
        truth,
        lambda local: local.decide(series, np.ones(1), effort, engine="extensive"),
        most_passes=most_passes,
        radius_frac=radius_frac,
        tolerance_frac=tolerance_frac,
        judged=judged,
    )
    return Refined(best.decision, best.seen, best.true_profit_eur, best.charged_eur, bound, passes)


def improve(
    problem: Problem,
    best: Judged,
    truth: Truth,
    answer: Callable[[Problem], Decision],
    *,
    most_passes: int = 8,
    radius_frac: float = 0.25,
    tolerance_frac: float = 1e-4,
    judged: bool = True,
) -> tuple[Judged, tuple[Pass, ...]]:
    """Passes around the best schedule of one scenario; the true profit never falls.

    Parameters
    ----------
    problem : that `best` is a schedule of; the passes share its templates
    answer : the schedule of a problem that is localised around the best one so far
    """
    asset = problem.data.asset
    span = asset.energy_max_mwh - asset.energy_min_mwh
    passes = [best.as_pass(1, span, accepted=True)]
    radius = radius_frac * span
    for number in range(2, most_passes + 1):
        region = _around(best.decision, radius if judged else np.inf, problem)
        local = problem.localised(truth.local(best.seen, region if judged else None), *region)
        found = answer(local)
        new = judged_by(local, found, truth)
        gain = new.true_profit_eur - best.true_profit_eur
        accepted = gain > 0 or not judged
        passes.append(new.as_pass(number, radius, accepted=accepted))
        if accepted:
            best = new
            radius *= _MISPRICED if abs(new.gap_frac) > _MISPRICED_FRAC else 1.0
        else:
            radius *= _SHRINK
            best = replace(best, charged_eur=_charged(local, best.decision))
        small = tolerance_frac * max(1.0, abs(best.true_profit_eur))
        promised = found.profit_ub_eur - best.true_profit_eur
        done = (accepted and gain < small) or promised < small
        if judged and done and abs(best.gap_frac) <= _MISPRICED_FRAC:
            break
    return best, tuple(passes)


@dataclass(frozen=True)
class Judged:
    """A decision, what the plant says of it, and the aging that a model charges for it."""

    decision: Decision
    seen: Witness
    true_profit_eur: float
    charged_eur: float

    @property
    def gap_frac(self) -> float:
        true = self.seen.aging_eur
        return self.charged_eur / true - 1.0 if true > 0 else 0.0

    def as_pass(self, number: int, radius_mwh: float, *, accepted: bool) -> Pass:
        model = self.decision.profit_lb_eur
        late = self.decision.outcome.hit_time_limit
        return Pass(number, radius_mwh, model, self.true_profit_eur, self.gap_frac, accepted, late)


def judged_by(problem: Problem, decision: Decision, truth: Truth) -> Judged:
    """The true profit replaces the aging that the model charged by that of the plant."""
    seen = truth({name: value[0] for name, value in decision.values.items()})
    charged = _charged(problem, decision)
    after_tax = 1 - problem.data.fees.profit_tax_frac
    profit = float(decision.scenario_profit_eur[0])
    return Judged(decision, seen, profit + after_tax * (charged - seen.aging_eur), charged)


def _charged(problem: Problem, decision: Decision) -> float:
    """Aging that the model charges; a floor on throughput is no aging and stays in the profit."""
    data = problem.data
    bare = replace(data, aging=replace(data.aging, floor_eur_mwh=0.0))
    return float(charged_eur(bare, decision.values)[0])


def _around(decision: Decision, radius_mwh: float, problem: Problem) -> Region:
    """The trust region of a schedule, inside the window of the asset."""
    centre, asset = decision.values["energy_mwh"][0], problem.data.asset
    return (
        np.maximum(centre - radius_mwh, asset.energy_min_mwh),
        np.minimum(centre + radius_mwh, asset.energy_max_mwh),
    )
