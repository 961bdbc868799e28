"""Lower bounds of a two-stage problem from multipliers on its here-and-now columns.

Whoever found the multipliers (here progressive hedging on other ranks), the bound is computed anew
from the arrays: each group of scenarios is minimised on its own, and what counts is the bound that
the solver proves for it (Carøe & Schultz 1999, doi 10.1016/S0167-6377(98)00050-9; docs/math.md
(127)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stochbess.engine.highs import SolveOptions, explain_infeasibility, solve_problem
from stochbess.engine.matrix import Blocks, extensive_form, single
from stochbess.engine.outcome import Status
from stochbess.engine.template import Floats, Ints
from stochbess.errors import InfeasibleError, SolverError


@dataclass(frozen=True)
class GroupBound:
    """Proven bound of one group, and the here-and-now columns (n_first,) of its best solution.

    `x` is None if the time ran out before there was one; the bound may then be -inf.
    """

    bound: float
    x: Floats | None


def groups_of(n_scenarios: int, size: int) -> list[Ints]:
    """Scenarios in the order given, `size` by `size`; the last group may be smaller."""
    return [
        np.arange(first, min(first + size, n_scenarios)) for first in range(0, n_scenarios, size)
    ]


def centred(multipliers: Floats, probability: Floats) -> Floats:
    """`multipliers` (G, n_first) less their mean under `probability` (G,), as (127) asks for."""
    return np.asarray(multipliers - probability @ multipliers, np.float64)


def group_bound(
    block: Blocks, group: Ints, multipliers: Floats, options: SolveOptions
) -> GroupBound:
    """Bound of the group's mean cost plus `multipliers` (n_first,) times here-and-now columns.

    Raises
    ------
    InfeasibleError : the scenarios of the group admit no decision, even on their own
    SolverError : they are unbounded, or the solver failed
    """
    part = block.subset(group)
    problem, _ = extensive_form(part)
    cost = problem.cost.copy()
    cost[: len(multipliers)] += multipliers
    outcome = solve_problem(replace(problem, cost=cost), options)
    if outcome.status is Status.INFEASIBLE:
        raise InfeasibleError(_conflict(part, group))
    if not (outcome.status.has_solution or outcome.hit_time_limit):
        raise SolverError(
            f"scenarios {_named(group)} on their own: {outcome.status.value} ({outcome.message})"
        )
    x = None if outcome.values is None else outcome.values[: len(multipliers)]
    return GroupBound(outcome.bound, x)


def least_cost(block: Blocks, scenarios: Sequence[int]) -> float:
    """Least cost that any of the scenarios can have, by its linear relaxation.

    Raises
    ------
    InfeasibleError : one of them admits no decision
    """
    least = float("inf")
    for s in scenarios:
        outcome = solve_problem(single(block, s).relaxed(), SolveOptions())
        if outcome.status is Status.INFEASIBLE:
            raise InfeasibleError(f"scenario {s} has no feasible decision: {outcome.message}")
        least = min(least, outcome.bound)
    return least


def _conflict(part: Blocks, group: Ints) -> str:
    """What makes a group infeasible, in the names of the first scenario it shows in."""
    for k, s in enumerate(group):
        alone = single(part, k)
        if solve_problem(alone, SolveOptions()).status is Status.INFEASIBLE:
            return f"scenario {s} has no feasible decision: {explain_infeasibility(alone)}"
    return f"no here-and-now decision suits all of the scenarios {_named(group)}"


def _named(group: Ints) -> str:
    first, last = int(group[0]), int(group[-1])
    return f"{first}" if first == last else f"{first} to {last}"
