"""Solve one decision: compile, solve, exclude simultaneous flows, read the arrays back by name.

A `Decision` is priced from both sides. `profit_ub_eur` comes from the solver's bound on the
relaxation that lets charge and discharge overlap, `profit_lb_eur` from a recourse that does not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stochbess.clock import monotonic_s
from stochbess.conflict import named_in_keys
from stochbess.cylinders import Job, decide_on_ranks
from stochbess.engine.exclusive import Held, exclusive_recourse, solve_whole
from stochbess.engine.highs import SolveOptions
from stochbess.engine.lazy import Separation
from stochbess.engine.lshaped import CutPool
from stochbess.engine.matrix import Blocks, blocks, single
from stochbess.engine.risk import NEUTRAL, Risk
from stochbess.engine.switches import Switches
from stochbess.engine.template import Template, compile_template
from stochbess.engine.two_stage import (
    Engine,
    TwoStageOutcome,
    evaluate_first_stage,
    solve_two_stage,
)
from stochbess.errors import ConfigError, SolverError
from stochbess.models.aging_cuts import AgingRows, aging_rows
from stochbess.models.data import Aging, ModelData
from stochbess.models.deterministic import deterministic
from stochbess.models.loss_cuts import FILL_ORDER, bends_of
from stochbess.models.two_stage import two_stage

Floats = npt.NDArray[np.float64]
Formulation = Literal["deterministic", "two-stage", "multi-stage"]
Method = Literal[Engine, "cylinders"]
# Part of the requested gap that the relaxation may use; the rest is for excluding loop flows.
_RELAXATION_SHARE = 0.8
# Either-or columns of the recourse; every other whole column is a lot.
_EITHER_OR = ("discharging", *FILL_ORDER)
# A path of the tree is a scenario of the two-stage model; see stochbess.multi_stage.
BUILD = {"deterministic": deterministic, "two-stage": two_stage, "multi-stage": two_stage}


@dataclass(frozen=True)
class Effort:
    """How hard to try: relative gap, wall-clock limit [s], threads, seed; `stop` ends it early.

    `bundle` is how many scenarios a rank solves together (engine "cylinders").
    """

    gap_frac: float
    time_limit_s: float
    threads: int
    seed: int = 0
    stop: threading.Event | None = None
    bundle: int = 1


@dataclass(frozen=True)
class Decision:
    """Here-and-now decision with the recourse that answers each scenario.

    Attributes
    ----------
    first_stage : variable name such as ``"fcr_lots[0]"`` -> value
    values : all variables by name of component, arrays (S, length) or (S, length, length)
    scenario_profit_eur : (S,) profit without simultaneous charge and discharge
    profit_lb_eur, profit_ub_eur : risk-adjusted profit, proven lower and upper bound
    relaxed_profit_eur : profit if simultaneous flows were allowed
    made_whole : how many steps needed a binary to exclude simultaneous flows
    cycle_gap_frac : how far the cuts lie below the aging cost of the relaxed schedules, relative to
        it; 0 where aging is not priced by cuts
    """

    first_stage: dict[str, float]
    values: dict[str, Floats]
    scenario_profit_eur: Floats
    profit_lb_eur: float
    profit_ub_eur: float
    relaxed_profit_eur: float
    made_whole: int
    outcome: TwoStageOutcome
    cycle_gap_frac: float = 0.0

    @property
    def gap_frac(self) -> float:
        """Proven relative gap, simultaneous flows excluded."""
        gap_eur = self.profit_ub_eur - self.profit_lb_eur
        # An optimum's bound and value may differ in their last digits, either way.
        rounding_eur = 1e-9 * max(1.0, abs(self.profit_lb_eur))
        return 0.0 if abs(gap_eur) < rounding_eur else gap_eur / max(1.0, abs(self.profit_lb_eur))


class Problem:
    """The templates of one formulation, compiled on first use and shared by all scenarios."""

    def __init__(self, data: ModelData, formulation: Formulation) -> None:
        self.data, self.formulation = data, formulation

    @cached_property
    def relaxed(self) -> Template:
        return compile_template(BUILD[self.formulation](replace(self.data, exclusive="relaxed")))

    @cached_property
    def binary(self) -> Template:
        return compile_template(BUILD[self.formulation](replace(self.data, exclusive="binary")))

    def localised(self, aging: Aging, lower_mwh: Floats, upper_mwh: Floats) -> Problem:
        """The same templates with stored energy within a band and other functions behind the cuts.

        `lower_mwh`, `upper_mwh` (T + 1,) narrow the bounds of the asset. `aging` may differ from
        the present one in what its cuts bound, not in the number of columns they hold up.
        """
        other = Problem(replace(self.data, aging=aging), self.formulation)
        if other.lazy is None or self.lazy is None or other.lazy.columns != self.lazy.columns:
            raise SolverError("aging of a band needs the columns of the problem it is taken from")
        other.__dict__["relaxed"] = _banded(self.relaxed, lower_mwh, upper_mwh)
        other.__dict__["binary"] = _banded(self.binary, lower_mwh, upper_mwh)
        return other

    @cached_property
    def lazy(self) -> AgingRows | None:
        """Rows of the aging that are added where a solution violates them."""
        return aging_rows(self.data)

    @cached_property
    def switches(self) -> Switches:
        """Binaries of the order of filling, with the power at which each turns."""
        at, bends = self.binary.column_position, bends_of(self.data)
        return Switches(
            np.array([at[name] for name in bends], np.int64),
            np.array([at[power] for power, _ in bends.values()], np.int64),
            np.array([level_mw for _, level_mw in bends.values()]),
        )

    def _held(self, outcome: TwoStageOutcome) -> Held | None:
        """How the exclusive recourse goes on from the rows of the relaxation."""
        if self.lazy is None or outcome.rows is None:
            return None
        near = outcome.values[:, Separation(self.lazy, self.relaxed).position]
        return Held(Separation(self.lazy, self.binary), outcome.rows, near)

    @named_in_keys
    def decide(
        self,
        series: Mapping[str, Floats],
        probability: Floats,
        effort: Effort,
        *,
        engine: Method = "auto",
        risk: Risk = NEUTRAL,
        progress: Callable[[float, float, float], None] | None = None,
        start: Mapping[str, float] | None = None,
        cuts: CutPool | None = None,
    ) -> Decision:
        """Best here-and-now decision for the scenarios, and the exclusive recourse of each.

        Where excluding simultaneous flows costs more of the gap than was set aside for it, the
        relaxation is solved once more to what is left. `start` is a here-and-now decision to begin
        from, `cuts` are those of other solves on the same scenarios (see `solve_two_stage`).
        The engine "cylinders" needs MPI ranks (stochbess/ranks.py).
        """
        started = monotonic_s()
        share = _RELAXATION_SHARE
        how = (engine, risk, progress, start, cuts)
        decision = self._attempt(series, probability, effort, share, *how)
        lost_frac = (decision.relaxed_profit_eur - decision.profit_lb_eur) / max(
            1.0, abs(decision.profit_lb_eur)
        )
        left = effort.gap_frac - lost_frac
        spent_s = monotonic_s() - started
        ended = left <= 0 or decision.outcome.hit_time_limit or engine == "cylinders"
        if decision.gap_frac <= effort.gap_frac or ended:
            return decision
        again = replace(effort, time_limit_s=max(1.0, effort.time_limit_s - spent_s))
        share = 0.9 * left / effort.gap_frac
        second = self._attempt(series, probability, again, share, *how)
        best = max(decision, second, key=lambda d: d.profit_lb_eur)
        return replace(best, profit_ub_eur=min(decision.profit_ub_eur, second.profit_ub_eur))

    def _attempt(
        self,
        series: Mapping[str, Floats],
        probability: Floats,
        effort: Effort,
        share: float,
        engine: Method,
        risk: Risk,
        progress: Callable[[float, float, float], None] | None,
        start: Mapping[str, float] | None,
        cuts: CutPool | None,
    ) -> Decision:
        """One solve of the relaxation to `share` of the gap, and its exclusive recourse."""
        if engine == "cylinders":
            part = replace(effort, gap_frac=effort.gap_frac * share)
            outcome = self._on_ranks(series, probability, part, risk, progress, start)
        else:
            outcome = solve_two_stage(
                blocks(self.relaxed, series, probability),
                gap_frac=effort.gap_frac * share,
                time_limit_s=effort.time_limit_s,
                threads=effort.threads,
                seed=effort.seed,
                stop=effort.stop,
                start=None if start is None else self._first_stage(start),
                engine=engine,
                risk=risk,
                progress=progress,
                lazy=self.lazy,
                cuts=cuts,
            )
        if not outcome.status.has_solution:
            raise SolverError(f"no decision: {outcome.status.value}")
        exclusive = blocks(self.binary, series, probability)
        if len(self.binary.first_stage):
            values, cost, made_whole, late = exclusive_recourse(
                exclusive,
                outcome.x,
                effort.threads,
                held=self._held(outcome),
                switches=self.switches,
            )
        else:
            values, cost, made_whole, late = self._whole_problem(exclusive, outcome, effort)
        outcome = replace(outcome, hit_time_limit=outcome.hit_time_limit or late)
        decision = _decision(self.binary, outcome, values, cost, made_whole, probability, risk)
        return replace(decision, cycle_gap_frac=self._cycle_gap_frac(outcome, probability))

    def _on_ranks(
        self,
        series: Mapping[str, Floats],
        probability: Floats,
        effort: Effort,
        risk: Risk,
        progress: Callable[[float, float, float], None] | None,
        start: Mapping[str, float] | None,
    ) -> TwoStageOutcome:
        """The relaxation by MPI ranks: their decision or `start` priced here, and their bound."""
        if self.lazy is not None:
            raise ConfigError(
                "aging.model=cuts adds rows while it is solved, which the engine cylinders cannot. "
                "Set aging.model=segments, or choose another engine."
            )
        began_s = monotonic_s()
        block = blocks(self.relaxed, series, probability)
        if start is None:
            mean = {name: (probability @ values)[None, :] for name, values in series.items()}
            start = self.decide(mean, np.ones(1), effort, engine="extensive").first_stage

        def priced(first_stage: Mapping[str, float]) -> TwoStageOutcome:
            found = evaluate_first_stage(block, self._first_stage(first_stage), effort.threads)
            return replace(found, cost=risk.of_cost(found.scenario_cost, probability))

        best = priced(start)
        build = partial(BUILD[self.formulation], replace(self.data, exclusive="relaxed"))
        job = Job(
            build, series, probability, effort.gap_frac, effort.time_limit_s, risk, best.cost,
            effort.bundle,
        )  # fmt: skip
        found = decide_on_ranks(job, progress)
        if found.first_stage is not None:
            best = min(best, priced(found.first_stage), key=lambda outcome: outcome.cost)
        return replace(
            best,
            engine="cylinders",
            bound=min(found.bound, best.cost),
            hit_time_limit=found.hit_time_limit,
            solver=f"{best.solver} and mpi-sppy {found.version}",
            wall_s=monotonic_s() - began_s,
        )

    def _whole_problem(
        self, exclusive: Blocks, outcome: TwoStageOutcome, effort: Effort
    ) -> tuple[Floats, Floats, int, bool]:
        """Nothing is here-and-now: keep the whole lots of the relaxation and redo the rest."""
        t = self.binary
        either_or = np.array([name.partition("[")[0] in _EITHER_OR for name in t.columns])
        keep = t.integer & ~either_or
        relaxed, held = self.relaxed.column_position, self._held(outcome)
        values, costs, made_whole, late = [], [], 0, False
        for s in range(exclusive.n_scenarios):
            problem = single(exclusive, s)
            lower, upper = problem.lower.copy(), problem.upper.copy()
            for j in np.flatnonzero(keep):
                lot = round(outcome.values[s, relaxed[t.columns[j]]])
                lower[j] = upper[j] = float(lot)
            fixed = replace(problem, lower=lower, upper=upper, integer=np.zeros(len(lower), bool))
            options = SolveOptions(effort.gap_frac * 0.1, effort.time_limit_s, effort.threads)
            rows = None if held is None else held.of_scenario(s)
            found, cost, count, timed_out = solve_whole(
                fixed, t.integer & ~keep, options, rows, self.switches
            )
            values.append(found)
            costs.append(cost)
            made_whole += count
            late = late or timed_out
        return np.array(values), np.array(costs), made_whole, late

    @named_in_keys
    def evaluate(
        self,
        series: Mapping[str, Floats],
        probability: Floats,
        first_stage: Mapping[str, float],
        effort: Effort,
    ) -> Decision:
        """Price a given here-and-now decision on the scenarios; missing names count as zero."""
        x = self._first_stage(first_stage)
        relaxed = blocks(self.relaxed, series, probability)
        outcome = evaluate_first_stage(relaxed, x, effort.threads, self.lazy)
        values, cost, made_whole, late = exclusive_recourse(
            blocks(self.binary, series, probability),
            x,
            effort.threads,
            held=self._held(outcome),
            switches=self.switches,
        )
        outcome = replace(outcome, hit_time_limit=outcome.hit_time_limit or late)
        decision = _decision(self.binary, outcome, values, cost, made_whole, probability, NEUTRAL)
        return replace(decision, cycle_gap_frac=self._cycle_gap_frac(outcome, probability))

    def _cycle_gap_frac(self, outcome: TwoStageOutcome, probability: Floats) -> float:
        """Expected aging cost that no cut held up, over the expected aging cost, after tax."""
        if self.lazy is None or outcome.excess is None:
            return 0.0
        position = Separation(self.lazy, self.relaxed).position
        aging = np.array([self.lazy.cost_eur(values[position]) for values in outcome.values])
        total = float(probability @ aging) * (1 - self.data.fees.profit_tax_frac)
        return max(0.0, float(probability @ outcome.excess)) / total if total > 0 else 0.0

    def _first_stage(self, by_name: Mapping[str, float]) -> Floats:
        names = [self.relaxed.columns[j] for j in self.relaxed.first_stage]
        return np.array([by_name.get(name, 0.0) for name in names])


def _banded(template: Template, lower_mwh: Floats, upper_mwh: Floats) -> Template:
    """`template` with its stored energy within a band."""
    position = [template.column_position[f"energy_mwh[{k}]"] for k in range(len(lower_mwh))]
    lower, upper = template.lower.copy(), template.upper.copy()
    lower[position] = np.maximum(lower[position], lower_mwh)
    upper[position] = np.minimum(upper[position], upper_mwh)
    return replace(template, lower=lower, upper=upper)


def _decision(
    template: Template,
    outcome: TwoStageOutcome,
    values: Floats,
    cost: Floats,
    made_whole: int,
    probability: Floats,
    risk: Risk,
) -> Decision:
    names = [template.columns[j] for j in template.first_stage]
    return Decision(
        first_stage=dict(zip(names, (float(v) for v in outcome.x), strict=True)),
        values=by_component(template, values),
        scenario_profit_eur=-cost,
        profit_lb_eur=-risk.of_cost(cost, probability),
        profit_ub_eur=-outcome.bound,
        relaxed_profit_eur=-outcome.cost,
        made_whole=made_whole,
        outcome=outcome,
    )


def by_component(template: Template, values: Floats) -> dict[str, Floats]:
    """Columns (S, n) as arrays (S, ...) per Pyomo component with one or two integer indices.

    A variable that no constraint mentions has the value that is nearest to zero in its bounds.
    """
    found: dict[str, dict[tuple[int, ...], Floats]] = {}
    columns = {name: values[:, j] for name, j in template.column_position.items()}
    columns |= {n: np.full(len(values), value) for n, value in template.absent.items()}
    for name, column in columns.items():
        component, _, index = name.partition("[")
        if index:
            key = tuple(int(i) for i in index[:-1].split(","))
            found.setdefault(component, {})[key] = column
    out: dict[str, Floats] = {}
    for component, by_index in found.items():
        shape = tuple(1 + max(key[d] for key in by_index) for d in range(len(min(by_index))))
        array = np.zeros((len(values), *shape))
        for key, column in by_index.items():
            where: Any = (slice(None), *key)
            array[where] = column
        out[component] = array
    return out
