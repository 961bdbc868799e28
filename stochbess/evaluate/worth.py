"""What a stochastic solution is worth: WS, RP, EEV, EVPI, VSS as signed intervals, and CVaR.

All for profit. Every number that comes from an optimisation with a gap is an interval of a proven
lower and upper bound; differences of intervals are intervals, never clamped. Where an interval
holds zero no sign may be claimed (Birge & Louveaux 2011, doi 10.1007/978-1-4614-0237-4, ch. 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


# Relative tolerance to which a certified objective is known.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Interval:
    """`low <= true value <= high`, in EUR, each known to `noise_eur`.

    The noise of a difference is the sum of the noises, so that a sign is not read out of the last
    digits of two large numbers.
    """

    low: float
    high: float
    noise_eur: float = -1.0  # negative: 1e-6 of the larger bound

    def __post_init__(self) -> None:
        if self.noise_eur < 0:
            noise = _TOLERANCE * max(1.0, abs(self.low), abs(self.high))
            object.__setattr__(self, "noise_eur", noise)

    def __sub__(self, other: Interval) -> Interval:
        return Interval(
            self.low - other.high, self.high - other.low, self.noise_eur + other.noise_eur
        )

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2

    @property
    def sign_known(self) -> bool:
        """Whether zero lies outside the interval by more than the noise."""
        return self.low > self.noise_eur or self.high < -self.noise_eur


@dataclass(frozen=True)
class Worth:
    """The classical measures of one instance (Birge 1982, doi 10.1007/BF01585113).

    Attributes
    ----------
    ws : wait-and-see, the expectation of the scenarios' own optima
    rp : the recourse problem, the stochastic optimum
    eev : the expected result of the expected-value decision, at the tie-break of its solver
    opponents : name -> expected result of another decision rule on the same scenarios
    cut_short : a wall-clock limit ended one of the solves; the intervals hold all the same
    """

    ws: Interval
    rp: Interval
    eev: Interval
    opponents: dict[str, Interval]
    cut_short: bool = False

    @property
    def evpi(self) -> Interval:
        """Expected value of perfect information, WS - RP."""
        return self.ws - self.rp

    @property
    def vss(self) -> Interval:
        """Value of the stochastic solution, RP - EEV."""
        return self.rp - self.eev

    def gain_over(self, opponent: str) -> Interval:
        """RP less the expected result of `opponent`."""
        return self.rp - self.opponents[opponent]


def cvar_eur(profit_eur: Floats, probability: Floats, level: float) -> float:
    """Mean of the worst `1 - level` of profit.

    Parameters
    ----------
    profit_eur, probability : (S,), finite; the probabilities sum to one
    level : in [0, 1); with 1 - level below the smallest probability it is the worst scenario
    """
    tail = 1.0 - level
    order = np.argsort(profit_eur, kind="stable")
    left, total = tail, 0.0
    for s in order:
        share = min(left, float(probability[s]))
        total += share * float(profit_eur[s])
        left -= share
        if left <= 0:
            break
    return total / (tail - max(left, 0.0))


def quantile_eur(profit_eur: Floats, probability: Floats, level: float) -> float:
    """Smallest profit that is not exceeded with probability `level`."""
    order = np.argsort(profit_eur, kind="stable")
    reached = np.cumsum(probability[order])
    at = int(np.searchsorted(reached, level - 1e-12))
    return float(profit_eur[order[min(at, len(order) - 1)]])
