"""The decision as the plant sees it: judged, improved scenario by scenario, bounded anew.

The here-and-now decision is carried. The recourse of every scenario is a schedule of its own, with
its own temperatures and C-rates, and is improved in passes (`stochbess.aging_loop`). What is
reported is the profit with the aging that the plant shows. It is at most the bound of a relaxation
in which no schedule ages less than any plant could show (docs/math.md (111), (112)).
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stochbess.aging_loop import Judged, Pass, Truth, improve, judged_by
from stochbess.decide import Decision, Effort, Problem
from stochbess.engine.matrix import blocks
from stochbess.engine.risk import NEUTRAL, Risk
from stochbess.engine.two_stage import Engine, TwoStageOutcome, solve_two_stage
from stochbess.models.data import Aging

Floats = npt.NDArray[np.float64]
_BOUND_GAP_FRAC = 1e-3


@dataclass(frozen=True)
class Shown:
    """A decision with the aging of the plant.

    Attributes
    ----------
    decision : schedules and profits as the plant shows them; `profit_ub_eur` is the plant's bound
    certified : the decision as it was solved, at held prices
    charged_eur : (S,) aging that the last pass of every scenario charged
    aging_eur : (S,) aging that the plant shows
    judged_eur : (S,) profit of the certified schedules with the aging of the plant
    passes : by scenario
    """

    decision: Decision
    certified: Decision
    charged_eur: Floats
    aging_eur: Floats
    judged_eur: Floats
    passes: tuple[tuple[Pass, ...], ...]

    def predicted_gap_frac(self, probability: Floats) -> float:
        """Expected aging as the last passes charged it, over that of the plant, less one."""
        true = float(probability @ self.aging_eur)
        return float(probability @ self.charged_eur) / true - 1.0 if true > 0 else 0.0


def show(
    problem: Problem,
    certified: Decision,
    series: Mapping[str, Floats],
    probability: Floats,
    truth: Truth,
    bounding: Aging,
    effort: Effort,
    *,
    most_passes: int,
    engine: Engine = "auto",
    risk: Risk = NEUTRAL,
) -> Shown:
    """Judge a decision by the plant and improve the schedule of every scenario in passes.

    Parameters
    ----------
    certified : decision of `problem` on `series` (S, length) with `probability` (S,)
    bounding : aging that no schedule undercuts by the plant
    most_passes : 1 = the schedules of `certified` are judged and kept
    """
    problem.relaxed, problem.binary  # noqa: B018  compiled once, before the threads share them
    alone = replace(effort, threads=1)

    def one(s: int) -> tuple[Judged, Judged, tuple[Pass, ...]]:
        own = {name: values[s : s + 1] for name, values in series.items()}
        start = judged_by(problem, _scenario(certified, s), truth)

        def answer(local: Problem) -> Decision:
            if len(local.binary.first_stage):
                return local.evaluate(own, np.ones(1), certified.first_stage, alone)
            return local.decide(own, np.ones(1), alone, engine="extensive")

        return start, *improve(problem, start, truth, answer, most_passes=most_passes)

    with ThreadPoolExecutor(max(1, effort.threads)) as pool:
        found = list(pool.map(one, range(len(probability))))
    starts, best, passes = zip(*found, strict=True)
    profit = np.array([b.true_profit_eur for b in best])
    bounded = plant_bound(problem, bounding, series, probability, effort, engine, risk)
    late = bounded.hit_time_limit or any(p.cut_short for own in passes for p in own)
    values = {
        name: np.concatenate([b.decision.values[name] for b in best]) for name in certified.values
    }
    decision = replace(
        certified,
        values=values,
        scenario_profit_eur=profit,
        profit_lb_eur=-risk.of_cost(-profit, probability),
        profit_ub_eur=-bounded.bound,
        # What simultaneous flows would add, as at held prices.
        relaxed_profit_eur=-risk.of_cost(-profit, probability)
        + certified.relaxed_profit_eur
        - certified.profit_lb_eur,
        outcome=replace(certified.outcome, hit_time_limit=late),
    )
    return Shown(
        decision,
        certified,
        np.array([b.charged_eur for b in best]),
        np.array([b.seen.aging_eur for b in best]),
        np.array([b.true_profit_eur for b in starts]),
        passes,
    )


def plant_bound(
    problem: Problem,
    bounding: Aging,
    series: Mapping[str, Floats],
    probability: Floats,
    effort: Effort,
    engine: Engine,
    risk: Risk,
) -> TwoStageOutcome:
    """Relaxation whose bound no profit shown by the plant exceeds (112), as a cost [EUR].

    Whole lots are relaxed, and so is the exclusion of charge and discharge at once.
    """
    loose = Problem(replace(problem.data, aging=bounding), problem.formulation)
    return solve_two_stage(
        blocks(loose.relaxed, series, probability),
        gap_frac=_BOUND_GAP_FRAC,
        time_limit_s=effort.time_limit_s,
        threads=effort.threads,
        engine=engine,
        risk=risk,
        relax=True,
        seed=effort.seed,
        lazy=loose.lazy,
    )


def _scenario(decision: Decision, s: int) -> Decision:
    """The part of a decision that answers scenario s."""
    return replace(
        decision,
        values={name: value[s : s + 1] for name, value in decision.values.items()},
        scenario_profit_eur=decision.scenario_profit_eur[s : s + 1],
    )
