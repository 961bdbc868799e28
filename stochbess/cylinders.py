"""A two-stage decision on MPI ranks: what each rank does, and what is believed of it.

The ranks of mpi-sppy search (stochbess/engine/cylinders.py). Bounds are recomputed from the arrays
by our own engine, every rank for its share of the subproblems: before the search without
multipliers, which finds infeasible scenarios by name, and after it with the best ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from stochbess.clock import monotonic_s
from stochbess.engine.cylinders import (
    CYLINDERS,
    Progress,
    Spun,
    Subproblems,
    proximal_weights,
    spin,
    version,
    with_mean_cvar,
)
from stochbess.engine.highs import SolveOptions
from stochbess.engine.lagrangian import GroupBound, centred, group_bound, groups_of, least_cost
from stochbess.engine.matrix import Blocks, blocks
from stochbess.engine.risk import NEUTRAL, Risk
from stochbess.engine.template import Floats, Ints, compile_template
from stochbess.errors import SolverError
from stochbess.models.scenario_data import set_scenario
from stochbess.ranks import agree, on_all, require

# What all ranks together may take beyond twice the time limit [s] before they are given up: for
# building the models, and for the subproblem that each is at when the time is up.
GRACE_S = 300.0
# The gap of a bound, as a part of the one asked for: before the search and after it.
_TRIVIAL_SHARE, _PROVEN_SHARE = 0.5, 0.1


@dataclass(frozen=True)
class Job:
    """A two-stage problem for the ranks; every part of it can be sent to them.

    Attributes
    ----------
    build : makes the model of one scenario, with `xi`, `first_stage` and one objective
    series, probability : scenario data, (S, length) each, and (S,)
    known_cost_eur : risk-adjusted cost of some decision, which bounds the value at risk
    bundle : how many scenarios are solved together
    """

    build: Callable[[], Any]
    series: Mapping[str, Floats]
    probability: Floats
    gap_frac: float
    time_limit_s: float
    risk: Risk = NEUTRAL
    known_cost_eur: float = float("inf")
    bundle: int = 1


@dataclass(frozen=True)
class Found:
    """Best decision of the ranks by variable name (None without one), and a proven lower bound.

    `iterations` of the hub; `version` of mpi-sppy.
    """

    first_stage: dict[str, float] | None
    bound: float
    iterations: int
    hit_time_limit: bool
    version: str


def decide_on_ranks(job: Job, progress: Progress | None = None) -> Found:
    """Search on all ranks; called by rank 0 of a program under `stochbess.ranks.lead`.

    Raises
    ------
    InfeasibleError : a scenario admits no decision; names it and the constraints that conflict
    SolverError : there are not enough ranks or subproblems, or a solver failed
    """
    require(CYLINDERS)
    here = partial(found_together, progress=progress)  # the others have nobody to tell
    limit_s = 2 * job.time_limit_s + GRACE_S
    found: Found = on_all(found_together, job, limit_s, here)
    return found


def found_together(world: Any, job: Job, progress: Progress | None = None) -> Found:
    """`decide_on_ranks` for programs in which every rank, at least three, has the job already.

    `progress` belongs to rank 0.

    Raises
    ------
    InfeasibleError, SolverError : as there, on every rank
    """
    deadline_s = monotonic_s() + job.time_limit_s
    build: Callable[[], Any] = job.build
    block = blocks(compile_template(build()), job.series, job.probability)
    if not job.risk.neutral:
        build = partial(_risk_averse, build, job.risk, *_value_at_risk(world, block, job))
        block = blocks(compile_template(build()), job.series, job.probability)
    groups = groups_of(block.n_scenarios, job.bundle)
    weight = np.array([job.probability[group].sum() for group in groups])
    free = np.zeros((len(groups), len(block.template.first_stage)))
    trivial = _bounds(world, block, groups, free, job, _TRIVIAL_SHARE)
    rho = proximal_weights(_mean_cost(block, groups), _known_x(trivial, free), weight)
    spun = _spun(world, job, build, groups, _by_name(block, rho), deadline_s, progress)
    multipliers = centred(_in_order(block, spun), weight)
    proven = _bounds(world, block, groups, multipliers, job, _PROVEN_SHARE)
    bound = max(float(weight @ [g.bound for g in each]) for each in (trivial, proven))
    if not np.isfinite(bound):
        raise SolverError(
            f"no bound for every subproblem within {job.time_limit_s:g} s; allow more time "
            "(--time-limit), more ranks, or fewer scenarios in a bundle"
        )
    first_stage = None if spun.x is None else _whole(block, spun)
    return Found(first_stage, bound, spun.iterations, spun.hit_time_limit, version())


# -- the search -----------------------------------------------------------------------------------
def _spun(
    world: Any,
    job: Job,
    build: Callable[[], Any],
    groups: list[Ints],
    rho: dict[str, float],
    deadline_s: float,
    progress: Progress | None,
) -> Spun:
    """The search, on as many ranks as there is work for; the others wait for its result."""

    def model(s: int) -> Any:
        m = build()
        set_scenario(m, {name: values[s] for name, values in job.series.items()})
        return m

    names = [v.name for v in build().first_stage]
    problem = Subproblems(
        model, job.probability, groups, np.array([rho.get(name, 1.0) for name in names])
    )
    many = CYLINDERS * min(world.Get_size() // CYLINDERS, len(groups))
    taking_part = world.Get_rank() < many
    part = world.Split(color=int(not taking_part), key=world.Get_rank())
    spun = None
    if taking_part:
        left_s = max(1.0, deadline_s - monotonic_s())
        spun = spin(part, problem, gap_frac=job.gap_frac, time_limit_s=left_s, progress=progress)
    shared: Spun = world.bcast(spun, root=0)
    return shared


def _risk_averse(build: Callable[[], Any], risk: Risk, lower_eur: float, upper_eur: float) -> Any:
    return with_mean_cvar(build(), risk, lower_eur, upper_eur)


# -- the bounds -----------------------------------------------------------------------------------
def _bounds(
    world: Any, block: Blocks, groups: list[Ints], multipliers: Floats, job: Job, share: float
) -> list[GroupBound]:
    """Bound of every group, each computed by one rank and known to all.

    Half the time limit is for all that a rank computes; a bound that is stopped is still one.
    """
    mine = range(world.Get_rank(), len(groups), world.Get_size())
    each_s = max(1.0, 0.5 * job.time_limit_s / max(1, len(mine)))
    options = SolveOptions(job.gap_frac * share, each_s)

    gathered = agree(
        world, lambda: {g: group_bound(block, groups[g], multipliers[g], options) for g in mine}
    )
    together = {g: bound for part in gathered for g, bound in part.items()}
    return [together[g] for g in range(len(groups))]


def _value_at_risk(world: Any, block: Blocks, job: Job) -> tuple[float, float]:
    """Bounds of the value at risk of an optimal decision (docs/math.md, section Ranks)."""
    if not np.isfinite(job.known_cost_eur):
        raise SolverError("mean-CVaR on ranks needs the cost of some decision; supply a start")
    share = range(world.Get_rank(), block.n_scenarios, world.Get_size())
    least = agree(world, lambda: [least_cost(block, [s]) for s in share])
    by_scenario = np.empty(block.n_scenarios)
    for rank, values in enumerate(least):
        by_scenario[rank :: world.Get_size()] = values
    mean = float(job.probability @ by_scenario)
    weight = job.risk.weight
    upper = (job.known_cost_eur - (1 - weight) * mean) / weight
    lower = float(by_scenario.min())
    margin = 1e-6 * max(1.0, abs(lower), abs(upper))
    return lower - margin, upper + margin


# -- names and order ------------------------------------------------------------------------------
def _first_names(block: Blocks) -> list[str]:
    return [block.template.columns[j] for j in block.template.first_stage]


def _by_name(block: Blocks, values: Floats) -> dict[str, float]:
    return dict(zip(_first_names(block), map(float, values), strict=True))


def _in_order(block: Blocks, spun: Spun) -> Floats:
    """Multipliers in the order of the template; variables that it lacks have none."""
    position = {name: i for i, name in enumerate(spun.names)}
    return spun.multipliers[:, [position[name] for name in _first_names(block)]]


def _mean_cost(block: Blocks, groups: list[Ints]) -> Floats:
    first = block.cost[:, block.template.first_stage]
    return np.array([block.subset(g).probability @ first[g] for g in groups])


def _known_x(bounds: list[GroupBound], free: Floats) -> Floats:
    return np.array([row if g.x is None else g.x for g, row in zip(bounds, free, strict=True)])


def _whole(block: Blocks, spun: Spun) -> dict[str, float]:
    """The decision, its whole columns free of the solver's tolerance."""
    t = block.template
    whole = {t.columns[j] for j in t.first_stage if t.integer[j]}
    values = () if spun.x is None else spun.x
    return {
        name: float(np.round(value)) if name in whole else float(value)
        for name, value in zip(spun.names, values, strict=True)
    }
