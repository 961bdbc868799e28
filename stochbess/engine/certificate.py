"""Recompute feasibility, integrality and objective of a solution from the arrays alone."""

from __future__ import annotations

import numpy as np

from stochbess.engine.matrix import Problem
from stochbess.engine.outcome import Certificate, Floats

TOLERANCE = 1e-6


def certify(problem: Problem, values: Floats, claimed: float) -> Certificate:
    """Certificate of `values` for `problem`; NaN anywhere makes every violation infinite.

    Violations are relative to max(1, |bound|), the objective to max(1, |claimed|). The solver's
    feasibility tolerance is ten times tighter than the one accepted here.
    """
    if not np.isfinite(values).all() or len(values) != problem.n_columns:
        inf = float("inf")
        return Certificate(inf, inf, inf, float("nan"), inf, TOLERANCE)
    activity = problem.matrix @ values
    rows = _violation(activity, problem.row_lower, problem.row_upper)
    bounds = _violation(values, problem.lower, problem.upper)
    whole = values[problem.integer]
    integrality = float(np.abs(whole - np.round(whole)).max()) if whole.size else 0.0
    objective = float(problem.cost @ values) + problem.offset
    difference = abs(objective - claimed) / max(1.0, abs(claimed))
    return Certificate(rows, bounds, integrality, objective, difference, TOLERANCE)


def _violation(x: Floats, lower: Floats, upper: Floats) -> float:
    if not x.size:
        return 0.0
    below = (lower - x) / np.maximum(1.0, np.abs(np.where(np.isfinite(lower), lower, 1.0)))
    above = (x - upper) / np.maximum(1.0, np.abs(np.where(np.isfinite(upper), upper, 1.0)))
    return float(max(below.max(), above.max(), 0.0))
