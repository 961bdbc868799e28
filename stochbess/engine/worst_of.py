"""The worst of several courses of each scenario, under any risk measure over the scenarios.

A risk measure over "pairs" (scenario, course): the cost of a scenario is the largest of its pairs,
and an outer measure (expectation, mean-CVaR, Wasserstein, or again the worst) adds scenarios up.
With one scenario it is the worst case itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from stochbess.engine.risk import NEUTRAL, Risk
from stochbess.engine.template import Floats, Ints


@dataclass(frozen=True)
class WorstOf(Risk):
    """`outer` over scenarios of the largest cost of their pairs (docs/math.md (96d)).

    Attributes
    ----------
    scenario : (pairs,) scenario of every pair, from 0, each at least once
    probability : (S,) probabilities of the scenarios; those of the pairs are not used
    outer : risk measure over the scenarios
    """

    weight: float = field(default=1.0, init=False)
    level: float = field(default=0.0, init=False)
    scenario: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    probability: Floats = field(default_factory=lambda: np.ones(1))
    outer: Risk = NEUTRAL

    @property
    def neutral(self) -> bool:
        return False

    @property
    def _n(self) -> int:
        return len(self.probability)

    def worst(self, cost: Floats) -> Floats:
        """Largest cost of every scenario, (S,)."""
        out = np.full(self._n, -np.inf)
        np.maximum.at(out, self.scenario, cost)
        return out

    def of_cost(self, cost: Floats, probability: Floats) -> float:
        del probability
        return self.outer.of_cost(self.worst(cost), self.probability)

    # Columns: theta of every pair, tau of every scenario, then those of the outer measure. Rows:
    # tau_s - theta_pair >= 0, then those of the outer measure over tau.
    def n_columns(self, n_scenarios: int) -> int:
        return self._n + self.outer.n_columns(self._n)

    def n_rows(self, n_scenarios: int) -> int:
        return n_scenarios + self.outer.n_rows(self._n)

    def costs(self, probability: Floats) -> Floats:
        outer = self.outer.costs(self.probability)
        return np.concatenate((np.zeros(len(probability)), outer))

    def column_bounds(self, n_scenarios: int) -> tuple[Floats, Floats]:
        lower, upper = self.outer.column_bounds(self._n)
        free = np.full(self._n, np.inf)
        return np.concatenate((-free, lower)), np.concatenate((free, upper))

    def rows(self, n_scenarios: int) -> sp.csr_array:
        which = (np.arange(n_scenarios), self.scenario)
        belongs = sp.csr_array((np.ones(n_scenarios), which), shape=(n_scenarios, self._n))
        outer, tail = self.outer.rows(self._n), self.outer.n_columns(self._n)
        pairs = [-sp.eye_array(n_scenarios), belongs, sp.csr_array((n_scenarios, tail))]
        beyond = [sp.csr_array((outer.shape[0], n_scenarios)), outer]
        return sp.csr_array(sp.vstack([sp.hstack(pairs), sp.hstack(beyond)]))
