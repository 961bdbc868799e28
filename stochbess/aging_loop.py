"""Decide, let the plant tell what the schedule does to it, decide again: successive convex passes.

Cuts price what is convex in the schedule. Three things are not: calendar aging in SOC, the
temperature that the schedule itself makes, and its C-rate. A pass holds temperature and C-rate at
what the plant showed for the best schedule so far, and bounds calendar aging by its hull over a
trust region around that schedule, where the hull is close. A new schedule is judged by the plant
itself, with its own temperature. It becomes the best one only if its *true* profit is higher;
otherwise the region shrinks. So no pass can make the result worse, however far a full step
overshoots (docs/math.md (42), (43)). For a single scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stochbess.battery.cut_cycle import CycleCost
from stochbess.battery.cut_step import StepCost, calendar_cost
from stochbess.battery.naumann import Naumann
from stochbess.battery.plant import Plant, PlantState
from stochbess.battery.recursion import GrossSchedule
from stochbess.battery.simulation import simulate
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
    calendar_eur, cycle_eur : true cost of aging
    temperature_degc : (T,) mean of each step
    deep_factor : true over modelled cost of the deep part of cycling
    """

    calendar_eur: float
    cycle_eur: float
    temperature_degc: Floats
    deep_factor: float

    @property
    def aging_eur(self) -> float:
        return self.calendar_eur + self.cycle_eur


class Truth(Protocol):
    """Judges schedules, and makes the convex prices of a pass from what it saw."""

    def __call__(self, values: Mapping[str, Floats]) -> Witness:
        """What the schedule in `values` (T,) by component does."""
        ...

    def local(self, witness: Witness, region: Region | None) -> Aging:
        """Aging with temperature and C-rate as seen, calendar aging hulled over the region."""
        ...


@dataclass(frozen=True)
class NaumannTruth:
    """The plant with the laws of Naumann, and what a unit of squared loss costs.

    Attributes
    ----------
    cycle : cost of cycles at the C-rate of its curve; the passes scale it
    calendar_w_eur, cycle_w_eur : value of one unit of squared loss by mechanism [EUR]
    """

    plant: Plant
    state: PlantState
    dt_h: float
    ambient_degc: float | Floats
    cycle: CycleCost
    calendar_w_eur: float
    cycle_w_eur: float
    max_withdrawn_mwh_per_day: float | None = None
    cut_gap_frac: float = 1e-4

    def __post_init__(self) -> None:
        if not isinstance(self.plant.aging, Naumann):
            raise ConfigError(
                f"aging passes judge by {self.plant.aging.name}; expected the laws of Naumann."
            )

    def __call__(self, values: Mapping[str, Floats]) -> Witness:
        """What the plant does with the schedule in `values`."""
        schedule = GrossSchedule(
            np.maximum(values["charge_mw"], 0.0), np.maximum(values["discharge_mw"], 0.0)
        )
        seen = simulate(self.plant, schedule, self.dt_h, self.state, self.ambient_degc)
        calendar_w, cycle_w = seen.aging_increments.sum(axis=0)[:2]
        cycle_eur = self.cycle_w_eur * float(cycle_w)
        path = np.asarray(values["energy_mwh"], np.float64)
        deep = float(self.cycle.deep_eur(path).sum())
        shallow = self.cycle.rainflow_eur(path) - deep
        factor = (cycle_eur - shallow) / deep if deep > 0 else 1.0
        calendar_eur = self.calendar_w_eur * float(calendar_w)
        return Witness(calendar_eur, cycle_eur, seen.path.temperature_degc, max(0.0, factor))

    def local(self, witness: Witness, region: Region | None) -> Aging:
        """Aging of a pass: cycle cost scaled, calendar price hulled over the region."""
        return Aging(
            "cuts",
            max_withdrawn_mwh_per_day=self.max_withdrawn_mwh_per_day,
            path_cost=replace(self.cycle, deep_factor=witness.deep_factor),
            step_prices=(self.calendar(witness.temperature_degc, region),),
            cut_gap_frac=self.cut_gap_frac,
        )

    def calendar(self, temperature_degc: Floats, region: Region | None) -> StepCost:
        """Price of calendar aging by step at the given temperatures."""
        law = self.plant.aging
        if not isinstance(law, Naumann):
            raise ConfigError("calendar price: expected the laws of Naumann")
        usable = self.plant.energy_mwh * self.state.health_frac
        return calendar_cost(
            law.calendar.w_rate_per_h,
            self.calendar_w_eur,
            temperature_degc,
            usable,
            self.dt_h,
            region,
        )


@dataclass(frozen=True)
class Pass:
    """One pass: half-width of the region, what the model and the plant say of its schedule [EUR].

    `gap_frac` is the aging that the model charged, less the true one, over the true one.
    """

    number: int
    radius_mwh: float
    model_profit_eur: float
    true_profit_eur: float
    gap_frac: float
    accepted: bool


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
    tolerance_frac : gain of the true profit below which the passes end
    judged : False accepts every pass and never shrinks, to show what the judgement is for
    """
    problem = build(truth.local(start, None))
    asset = problem.data.asset
    span = asset.energy_max_mwh - asset.energy_min_mwh
    best = _judged(problem, problem.decide(series, np.ones(1), effort, engine="extensive"), truth)
    passes = [best.as_pass(1, span, accepted=True)]
    bound, radius = best.decision.profit_ub_eur, radius_frac * span
    for number in range(2, most_passes + 1):
        region = _around(best.decision, radius if judged else np.inf, problem)
        aging = truth.local(best.seen, region if judged else None)
        local = problem.localised(aging, *region)
        found = local.decide(series, np.ones(1), effort, engine="extensive")
        new = _judged(local, found, truth)
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
        if judged and ((accepted and gain < small) or promised < small):
            break
    return Refined(
        best.decision, best.seen, best.true_profit_eur, best.charged_eur, bound, tuple(passes)
    )


@dataclass(frozen=True)
class _Judged:
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
        return Pass(number, radius_mwh, model, self.true_profit_eur, self.gap_frac, accepted)


def _judged(problem: Problem, decision: Decision, truth: Truth) -> _Judged:
    """The true profit replaces the aging that the model charged by that of the plant."""
    seen = truth({name: value[0] for name, value in decision.values.items()})
    charged = _charged(problem, decision)
    after_tax = 1 - problem.data.fees.profit_tax_frac
    profit = float(decision.scenario_profit_eur[0])
    return _Judged(decision, seen, profit + after_tax * (charged - seen.aging_eur), charged)


def _charged(problem: Problem, decision: Decision) -> float:
    return float(charged_eur(problem.data, decision.values)[0])


def _around(decision: Decision, radius_mwh: float, problem: Problem) -> Region:
    """The trust region of a schedule, inside the window of the asset."""
    centre, asset = decision.values["energy_mwh"][0], problem.data.asset
    return (
        np.maximum(centre - radius_mwh, asset.energy_min_mwh),
        np.minimum(centre + radius_mwh, asset.energy_max_mwh),
    )
