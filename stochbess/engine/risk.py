"""Mean-CVaR of scenario costs, as a number and as columns and rows of a linear programme.

`(1 - w) E[cost] + w CVaR_alpha[cost]`, CVaR the mean of the worst 1 - alpha of the cost, which is
the negative of the mean of the worst 1 - alpha of the profit (Rockafellar & Uryasev 2000,
doi 10.21314/JOR.2000.038). With w = 0 nothing is added to the problem.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from stochbess.engine.template import Floats


@dataclass(frozen=True)
class Risk:
    """Weight w in [0, 1] and level alpha in [0, 1) of the mean-CVaR objective."""

    weight: float = 0.0
    level: float = 0.95

    @property
    def neutral(self) -> bool:
        return self.weight == 0.0

    def of_cost(self, cost: Floats, probability: Floats) -> float:
        """Risk-adjusted cost of scenario costs (S,)."""
        mean = float(probability @ cost)
        if self.neutral:
            return mean
        return (1 - self.weight) * mean - self.weight * cvar(-cost, probability, self.level)

    # The columns are theta (S cost epigraphs), then eta and S excesses when w > 0;
    # the rows say excess_s + eta - theta_s >= 0 (docs/math.md (22)).
    def n_columns(self, n_scenarios: int) -> int:
        return 0 if self.neutral else 1 + n_scenarios

    def n_rows(self, n_scenarios: int) -> int:
        return 0 if self.neutral else n_scenarios

    def costs(self, probability: Floats) -> Floats:
        """Objective coefficients of theta, eta and the excesses."""
        if self.neutral:
            return probability
        tail = self.weight / (1 - self.level)
        return np.concatenate(((1 - self.weight) * probability, [self.weight], tail * probability))

    def column_bounds(self, n_scenarios: int) -> tuple[Floats, Floats]:
        if self.neutral:
            return np.zeros(0), np.zeros(0)
        lower = np.concatenate(([-np.inf], np.zeros(n_scenarios)))
        return lower, np.full(1 + n_scenarios, np.inf)

    def rows(self, n_scenarios: int) -> sp.csr_array:
        if self.neutral:
            return sp.csr_array((0, n_scenarios))
        eye = sp.eye_array(n_scenarios)
        return sp.csr_array(sp.hstack([-eye, sp.csr_array(np.ones((n_scenarios, 1))), eye]))


NEUTRAL = Risk()


def cvar(profit: Floats, probability: Floats, level: float) -> float:
    """Mean of the worst `1 - level` of the profit distribution (an atom is split if need be)."""
    order = np.argsort(profit, kind="stable")
    tail = 1 - level
    before = np.concatenate(([0.0], np.cumsum(probability[order])[:-1]))
    weight = np.clip(tail - before, 0.0, probability[order])
    return float(weight @ profit[order] / weight.sum())
