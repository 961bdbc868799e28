"""Words about a problem that cannot be solved, or that can be solved badly: names and sizes."""

from __future__ import annotations

import logging

import numpy as np

from stochbess.engine.matrix import Problem

# Between the largest and the least coefficient; double precision has 16 digits, of which the
# feasibility tolerance needs 7. Coefficients below that tolerance are as good as zero.
WIDEST_RANGE = 1e9
LEAST_SIZE = 1e-7
_LOG = logging.getLogger(__name__)


def scale(problem: Problem) -> str:
    """Least and largest size of what is not zero, in matrix, costs, bounds and right-hand sides."""
    bounds = np.concatenate((problem.lower, problem.upper))
    sides = np.concatenate((problem.row_lower, problem.row_upper))
    named = {
        "coefficients": problem.matrix.data,
        "costs": problem.cost,
        "bounds": bounds,
        "right-hand sides": sides,
    }
    texts = []
    for name, values in named.items():
        sizes = np.abs(values[np.isfinite(values) & (values != 0)])
        if sizes.size:
            texts.append(f"{name} {sizes.min():.1e} to {sizes.max():.1e}")
    return "sizes: " + ", ".join(texts)


def warn_of_scale(problem: Problem) -> None:
    """Log a warning for a matrix in which rounding can hide what is small."""
    sizes = np.abs(problem.matrix.data)
    sizes = sizes[sizes >= LEAST_SIZE]
    if sizes.size and sizes.max() > WIDEST_RANGE * sizes.min():
        _LOG.warning(
            "bad scaling (%s): what is small may drown in rounding. Expected coefficients within "
            "a factor of %.0e: check for values in the wrong unit",
            scale(problem),
            WIDEST_RANGE,
        )


def in_short(names: list[str]) -> str:
    """Every component with the first of its members that takes part, and how many do."""
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(name.partition("[")[0], []).append(name)
    return ", ".join(
        found[0] + (f" and {len(found) - 1} more of its kind" if len(found) > 1 else "")
        for found in members.values()
    )
