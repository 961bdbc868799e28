"""Progressive hedging on MPI ranks, by mpi-sppy: a hub, a spoke for bounds, one for incumbents.

Rockafellar & Wets 1991 (doi 10.1287/moor.16.1.119); hub and spokes: Knueven, Mildebrath, Muir,
Siirola, Watson & Woodruff 2023 (doi 10.1007/s12532-023-00236-9). What comes back are a here-and-now
decision and multipliers. Neither is believed: the decision is priced, and the bound of the
multipliers computed, from the arrays (stochbess/cylinders.py).

Traps met with mpi-sppy 0.14: when it is imported it writes log files into the working directory,
and it tells its progress on standard output. HiGHS takes no quadratic objective with whole columns,
and did not end on one without (mean-CVaR of the farmer), so that the proximal term is linearised.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
import pyomo.environ as pyo

from stochbess.clock import monotonic_s
from stochbess.engine.risk import Risk
from stochbess.engine.template import Floats, Ints
from stochbess.errors import SolverError

CYLINDERS = 3
MOST_ITERATIONS = 10_000
_ROOT = "ROOT"
_MODEL_SOLVER = "highs"
# The gap of a subproblem, as a part of the one asked for: the hub only needs a direction, what the
# spoke for bounds leaves is lost on its bound.
_HUB_SHARE, _SPOKE_SHARE = 0.5, 0.2
# Of the rule's weight. The whole leaves the multipliers swinging, a hundredth moves them too slowly
# (docs/cluster.md).
_RHO_SHARE = 0.1
Progress = Callable[[float, float, float], None]  # elapsed s, best cost, bound


@dataclass(frozen=True)
class Subproblems:
    """What is spread over the ranks.

    Attributes
    ----------
    model : builds the Pyomo model of scenario s, with `first_stage` and one objective, minimised
    probability : of every scenario (S,)
    groups : scenarios that are solved together, as one subproblem
    rho : weight of the proximal term of every variable of `first_stage`
    """

    model: Callable[[int], Any]
    probability: Floats
    groups: Sequence[Ints]
    rho: Floats


@dataclass(frozen=True)
class Spun:
    """What the ranks found, the same on all of them.

    Attributes
    ----------
    names : variables of `first_stage`
    x : best decision that was tried, None without one
    multipliers : (G, n) for every group, those with the best bound seen
    iterations : of the hub
    hit_time_limit : the time ran out before the gap was met
    """

    names: tuple[str, ...]
    x: Floats | None
    multipliers: Floats
    iterations: int
    hit_time_limit: bool


def version() -> str:
    """Version of mpi-sppy."""
    return metadata.version("mpi-sppy")


def with_mean_cvar(m: Any, risk: Risk, lower_eur: float, upper_eur: float) -> Any:
    """Replace the objective of a scenario by its share of the mean-CVaR (docs/math.md (128)).

    `eta`, the value at risk, becomes a here-and-now variable between the two bounds.
    """
    old = _objective(m)
    cost = old.expr
    m.del_component(old)
    m.value_at_risk = pyo.Var(bounds=(lower_eur, upper_eur))
    m.beyond = pyo.Var(domain=pyo.NonNegativeReals)
    m.tail = pyo.Constraint(expr=m.beyond >= cost - m.value_at_risk)
    tail = m.value_at_risk + m.beyond / (1 - risk.level)
    m.cost = pyo.Objective(expr=(1 - risk.weight) * cost + risk.weight * tail)
    m.first_stage = [*m.first_stage, m.value_at_risk]
    return m


def _objective(m: Any) -> Any:
    found = list(m.component_data_objects(pyo.Objective, active=True))
    if len(found) != 1 or found[0].sense != pyo.minimize:
        raise SolverError(f"{m.name} has {len(found)} objectives; expected one, to be minimised")
    return found[0]


def proximal_weights(cost: Floats, x: Floats, probability: Floats) -> Floats:
    """Weight of every here-and-now column: a tenth of its cost over the spread of its values.

    After the cost-proportional rule of Watson & Woodruff 2011 (doi 10.1007/s10287-010-0125-4),
    with the mean absolute deviation as spread, at least one unit. `cost`, `x` are (G, n).
    """
    price = probability @ np.abs(cost)
    spread = probability @ np.abs(x - probability @ x)
    # Columns that cost nothing themselves take part at the typical price of the others.
    typical = float(np.median(price[price > 0])) if (price > 0).any() else 1.0
    return np.asarray(_RHO_SHARE * np.where(price > 0, price, typical) / np.maximum(1.0, spread))


def spin(
    world: Any,
    problem: Subproblems,
    *,
    gap_frac: float,
    time_limit_s: float,
    progress: Progress | None = None,
) -> Spun:
    """Search on the ranks of `world`, a multiple of three; every rank calls this with the same.

    Raises
    ------
    SolverError : there are fewer than two subproblems, or mpi-sppy cannot be imported
    """
    if len(problem.groups) < 2:
        raise SolverError(
            f"{len(problem.groups)} subproblem for the ranks; expected at least two. Lower "
            "solver.scenarios_per_bundle, or choose another engine."
        )
    began_s = monotonic_s()
    with _quiet():
        parts = _mpi_sppy()
        wheel = parts.WheelSpinner(*_cylinders(parts, problem, gap_frac, time_limit_s, progress))
        wheel.spin(world)
    mine = wheel.spcomm
    subproblems = list(mine.opt.local_scenarios.items())
    names = _names(problem)
    found: dict[str, Any] = {"iterations": None, "x": None, "multipliers": {}}
    if wheel.strata_rank == 0:
        found["iterations"] = int(mine.current_iteration())
    elif isinstance(mine, parts.LagrangianOuterBound) and mine.best_multipliers is not None:
        kept = np.asarray(mine.best_multipliers)[: len(subproblems) * len(names)]
        by_group = kept.reshape(len(subproblems), len(names))
        numbers = [_number(name) for name, _ in subproblems]
        found["multipliers"] = dict(zip(numbers, by_group, strict=True))
    elif mine.opt.best_solution_obj_val is not None:
        found["x"] = np.array(wheel.local_nonant_cache()[_ROOT], float)
    together = world.allgather(found)
    multipliers = np.zeros((len(problem.groups), len(names)))
    for part in together:
        for g, values in part["multipliers"].items():
            multipliers[g] = values
    late = monotonic_s() - began_s >= time_limit_s
    return Spun(
        names,
        next((part["x"] for part in together if part["x"] is not None), None),
        multipliers,
        max(part["iterations"] for part in together if part["iterations"] is not None),
        bool(world.bcast(late, root=0)),
    )


# -- what mpi-sppy is asked for -------------------------------------------------------------------
def _names(problem: Subproblems) -> tuple[str, ...]:
    return tuple(v.name for v in problem.model(int(problem.groups[0][0])).first_stage)


def _number(name: str) -> int:
    return int(name.removeprefix("group"))


def _creator(parts: Any, problem: Subproblems) -> Callable[[str], Any]:
    """What mpi-sppy calls a scenario: one group, as an extensive form if it has several."""

    def one(name: str, **_: Any) -> Any:
        s = int(name.removeprefix("scenario"))
        m = problem.model(s)
        parts.sputils.attach_root_node(m, 0.0, m.first_stage)
        m._mpisppy_probability = float(problem.probability[s])
        return m

    def group(name: str, **_: Any) -> Any:
        members = problem.groups[_number(name)]
        if len(members) == 1:
            return one(f"scenario{members[0]}")
        names = [f"scenario{s}" for s in members]
        joint = parts.sputils.create_EF(
            names, one, EF_name=name, suppress_warnings=True, nonant_for_fixed_vars=False
        )
        shared = [joint.ref_vars[key] for key in joint.ref_vars if key[0] == _ROOT]
        parts.sputils.attach_root_node(joint, 0.0, shared)
        return joint

    return group


def _cylinders(
    parts: Any,
    problem: Subproblems,
    gap_frac: float,
    time_limit_s: float,
    progress: Progress | None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    def options(share: float) -> dict[str, Any]:
        solver = {"mip_rel_gap": gap_frac * share, "threads": 1}
        return {
            "solver_name": _MODEL_SOLVER,
            "PHIterLimit": MOST_ITERATIONS,
            "defaultPHrho": 1.0,
            "convthresh": 0.0,
            "time_limit": time_limit_s,
            "verbose": False,
            "display_progress": False,
            "display_timing": False,
            "iter0_solver_options": dict(solver),
            "iterk_solver_options": dict(solver),
            "linearize_proximal_terms": True,
            "turn_off_names_check": True,  # a group names its variables after its own scenarios
            "xhat_looper_options": {"xhat_solver_options": dict(solver), "scen_limit": 3},
        }

    def opt(share: float, **more: Any) -> dict[str, Any]:
        return {
            "options": options(share),
            "all_scenario_names": [f"group{g}" for g in range(len(problem.groups))],
            "scenario_creator": _creator(parts, problem),
            **more,
        }

    def rho(model: Any) -> list[tuple[int, float]]:
        shared = model._mpisppy_node_list[0].nonant_vardata_list
        return [(id(v), float(r)) for v, r in zip(shared, problem.rho, strict=True)]

    hub = {
        "hub_class": parts.telling_hub(progress),
        "hub_kwargs": {"options": {"rel_gap": gap_frac, "abs_gap": 0.0}},
        "opt_class": parts.PH,
        "opt_kwargs": opt(_HUB_SHARE, rho_setter=rho),
    }
    spokes = [
        {
            "spoke_class": parts.remembering_spoke(),
            "opt_class": parts.PHBase,
            "opt_kwargs": opt(_SPOKE_SHARE),
        },
        {
            "spoke_class": parts.XhatShuffleInnerBound,
            "opt_class": parts.Xhat_Eval,
            "opt_kwargs": opt(_SPOKE_SHARE),
        },
    ]
    return hub, spokes


class _Nowhere:
    """A text stream that keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Standard output belongs to results; mpi-sppy tells its progress there."""
    with contextlib.redirect_stdout(_Nowhere()):
        yield


class _Parts:
    """The classes of mpi-sppy that are used, with two of them extended."""

    def __init__(self) -> None:
        import mpisppy.log

        as_it_was = mpisppy.log.setup_logger
        mpisppy.log.setup_logger = lambda *_, **__: None  # it would make files where one works
        try:
            from mpisppy.cylinders.hub import PHHub
            from mpisppy.cylinders.lagrangian_bounder import LagrangianOuterBound
            from mpisppy.cylinders.xhatshufflelooper_bounder import XhatShuffleInnerBound
            from mpisppy.opt.ph import PH
            from mpisppy.phbase import PHBase
            from mpisppy.spin_the_wheel import WheelSpinner
            from mpisppy.utils import sputils
            from mpisppy.utils.xhat_eval import Xhat_Eval
        finally:
            mpisppy.log.setup_logger = as_it_was
        self.sputils, self.WheelSpinner = sputils, WheelSpinner
        self.PH, self.PHBase, self.Xhat_Eval = PH, PHBase, Xhat_Eval
        self.PHHub, self.LagrangianOuterBound = PHHub, LagrangianOuterBound
        self.XhatShuffleInnerBound = XhatShuffleInnerBound

    def telling_hub(self, progress: Progress | None) -> Any:
        """A hub that tells `progress` on its first rank instead of printing."""
        began_s = monotonic_s()

        class Hub(self.PHHub):  # type: ignore[misc,name-defined]
            def screen_trace(self) -> None:
                if progress is not None:
                    progress(monotonic_s() - began_s, self.BestInnerBound, self.BestOuterBound)

        return Hub

    def remembering_spoke(self) -> Any:
        """A Lagrangian spoke that keeps the multipliers of its best bound."""

        class Spoke(self.LagrangianOuterBound):  # type: ignore[misc,name-defined]
            best_bound = -math.inf
            best_multipliers: Floats | None = None

            def _set_weights_and_solve(self, *args: Any, **kwargs: Any) -> Any:
                bound = super()._set_weights_and_solve(*args, **kwargs)
                if bound is not None and bound > self.best_bound:
                    self.best_bound, self.best_multipliers = bound, np.array(self.localWs)
                return bound

        return Spoke


def _mpi_sppy() -> _Parts:
    try:
        return _Parts()
    except ImportError as error:
        raise SolverError(
            f'mpi-sppy cannot be used ({error}). Run: pip install "stochbess[mpi]"'
        ) from error
