"""What a solve returns: our own status, bounds on the optimum, arrays, and their certificate."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Status(Enum):
    """How a solve ended. A time limit is never called optimal."""

    OPTIMAL = "optimal"
    FEASIBLE_GAP = "feasible, gap left"
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    TIME_LIMIT_NO_SOLUTION = "time limit without a solution"
    NUMERICAL = "numerical difficulties"
    SOLVER_MISSING = "solver missing"
    SOLVER_CRASHED = "solver crashed"

    @property
    def has_solution(self) -> bool:
        return self in (Status.OPTIMAL, Status.FEASIBLE_GAP)


@dataclass(frozen=True)
class Certificate:
    """Recomputed from the arrays, without Pyomo and without the solver's word.

    Violations are the largest over all rows, columns and integer columns, relative to
    `max(1, |right-hand side|)`; `objective` is cost . x + offset.
    """

    row_violation: float
    bound_violation: float
    integrality_violation: float
    objective: float
    objective_difference: float
    tolerance: float

    @property
    def accepted(self) -> bool:
        worst = max(self.row_violation, self.bound_violation, self.integrality_violation)
        return worst <= self.tolerance and self.objective_difference <= self.tolerance


@dataclass(frozen=True)
class SolveOutcome:
    """Result of one minimisation: `bound <= optimum <= objective`.

    `values` has one number per column of the solved matrix, `row_dual` one per row (LP only); both
    are None without an accepted solution. `gap_frac` is (objective - bound) / max(1, |objective|).
    """

    status: Status
    objective: float
    bound: float
    values: Floats | None
    row_dual: Floats | None = None
    certificate: Certificate | None = None
    wall_s: float = 0.0
    solver: str = ""
    version: str = ""
    options: dict[str, object] = field(default_factory=dict)
    iterations: int = 0
    nodes: int = 0
    hit_time_limit: bool = False
    message: str = ""

    @property
    def gap_frac(self) -> float:
        if not np.isfinite(self.objective) or not np.isfinite(self.bound):
            return float("inf")
        return (self.objective - self.bound) / max(1.0, abs(self.objective))
