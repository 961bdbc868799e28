"""Scenarios compared by what they do to decisions, instead of by their numbers.

Two days can differ by 100 EUR/MWh in every hour and call for the same dispatch, or look alike and
not. If somebody has priced decisions in the scenarios, these dissimilarities put that in the place
of a ground metric: `reduce_scenarios(..., dissimilarity=...)`. They are as good as the decisions
that were priced: a reduction is close for those, not for any other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from stochbess.errors import DataError
from stochbess.scenario_gen.scores import Array, finite


def regret_dissimilarity(costs_eur: npt.ArrayLike) -> Array:
    """Regret (66a) of exchanging the best decisions of two scenarios, in EUR, shape (S, S).

    What is lost when each of two scenarios gets the other's decision: 0 if they call for the same
    one. Symmetric, but no metric: the triangle inequality can fail. After the problem-dependent
    divergence of Bertsimas & Mundru (2023, doi 10.1287/opre.2022.2265).

    Parameters
    ----------
    costs_eur : shape (S, S); row i, column j: cost (minus profit) in scenario j of the decision
        that is best for scenario i. No entry of a column may lie below its diagonal one.

    Raises
    ------
    DataError : no square matrix, or a decision that beats the best one by more than 1e-6 relative
    """
    cost = finite(costs_eur, "costs_eur")
    if cost.ndim != 2 or cost.shape[0] != cost.shape[1] or cost.size == 0:
        raise DataError(
            f"costs_eur has shape {cost.shape}; expected (S, S): the cost of the decision of each "
            "scenario in every scenario"
        )
    regret = cost - np.diagonal(cost)
    if (regret < -1e-6 * max(1.0, float(np.abs(cost).max()))).any():
        i, j = (int(k) for k in np.unravel_index(int(regret.argmin()), regret.shape))
        raise DataError(
            f"costs_eur: in scenario {j} the decision of scenario {i} costs {cost[i, j]:g} EUR, "
            f"less than {cost[j, j]:g} EUR of its own. Expected costs (minus profit) with the best "
            "decision of each scenario on the diagonal: change the sign or transpose."
        )
    regret = np.maximum(regret, 0.0)
    return np.asarray(regret + regret.T, np.float64)


def cost_dissimilarity(costs_eur: npt.ArrayLike) -> Array:
    """Largest difference (66b) of the costs of K fixed decisions in two scenarios, in EUR, (S, S).

    With the reduction distance d that belongs to it, no expected cost of the K decisions moves by
    more than d, so the one that looks best on the reduced set is at most 2 d worse than the best.

    Parameters
    ----------
    costs_eur : shape (S, K): cost of decision k in scenario s
    """
    cost = finite(costs_eur, "costs_eur")
    if cost.ndim != 2 or cost.size == 0:
        raise DataError(
            f"costs_eur has shape {cost.shape}; expected (S, K): scenarios by decisions"
        )
    return np.asarray(cdist(cost, cost, "chebyshev"), np.float64)
