"""What a sample says about a decision: its optimality gap, its value, and how many scenarios.

Multiple replications procedure of Mak, Morton & Wood 1999 (doi 10.1016/S0167-6377(98)00054-6), in
profit to be maximised. On each of M independent samples of N scenarios the best profit that any
decision can have on that sample is too high on average, so that its excess over the profit of the
given decision on the same sample bounds the gap in expectation (docs/math.md, Sampling
certificates). Statistics only: whoever solves hands in numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from stochbess.errors import ConfigError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MeanInterval:
    """Two-sided Student interval of an expectation, from n independent values [EUR]."""

    n: int
    mean_eur: float
    std_eur: float
    low_eur: float
    high_eur: float
    level: float


@dataclass(frozen=True)
class GapBound:
    """The optimality gap lies in [0, upper_eur] at confidence `level` (31d).

    Attributes
    ----------
    replications : M independent samples
    mean_eur, std_eur : of the gap estimates of the samples
    unproven_eur : part of the mean that solvers left between bound and profit; more scenarios do
        not lower it, a tighter `solver.gap_frac` does
    """

    replications: int
    mean_eur: float
    std_eur: float
    unproven_eur: float
    upper_eur: float
    level: float


@dataclass(frozen=True)
class Needed:
    """Scenarios per sample at which the bound is expected to reach `target_eur` (31f).

    Attributes
    ----------
    slow : if the bias falls like N^(-1/2), as it does in general; the number to plan with
    fast : if it falls like 1/N, as it does where the optimum is regular

    Both are the number at hand where that meets the target: fewer were not tried. None where the
    part that solvers leave open is above the target at any number of scenarios.
    """

    target_eur: float
    slow: int | None
    fast: int | None


def mean_interval(values: Floats, level: float = 0.95) -> MeanInterval:
    """Interval (31e) of the expectation of which `values` (n,) are independent draws.

    Raises
    ------
    ConfigError : fewer than two values, or a level outside (0, 1)
    """
    _require(len(values), level, "value")
    n, mean, std = len(values), float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * std / np.sqrt(n)
    return MeanInterval(n, mean, std, mean - half, mean + half, level)


def gap_bound(
    gaps_eur: Floats, level: float = 0.95, unproven_eur: Floats | None = None
) -> GapBound:
    """One-sided bound of the optimality gap from the gap estimates (M,) of independent samples.

    Parameters
    ----------
    gaps_eur : bound of the best profit on a sample less the profit of the decision on it; a
        negative one is a rounding and counts as zero
    unproven_eur : the part of each that is the solver's own gap; none where solved exactly

    Raises
    ------
    ConfigError : fewer than two samples, or a level outside (0, 1)
    """
    _require(len(gaps_eur), level, "replication")
    gaps = np.maximum(gaps_eur, 0.0)
    m, mean, std = len(gaps), float(np.mean(gaps)), float(np.std(gaps, ddof=1))
    upper = mean + _t(m, level) * std / np.sqrt(m)
    unproven = 0.0 if unproven_eur is None else float(np.mean(unproven_eur))
    return GapBound(m, mean, std, unproven, upper, level)


def scenarios_needed(bound: GapBound, n_scenarios: int, target_eur: float) -> Needed:
    """Scenarios for a bound of `target_eur` with as many replications, by (31f).

    The decision is understood to be made anew with as many scenarios. What is extrapolated is the
    bound measured at `n_scenarios`; it is a plan, not a promise.

    Raises
    ------
    ConfigError : a target that is not above zero
    """
    if not target_eur > 0:
        raise ConfigError(f"a gap of {target_eur:g} EUR cannot be planned for; expected above 0.")
    if bound.upper_eur <= target_eur:
        return Needed(target_eur, n_scenarios, n_scenarios)
    left = target_eur - bound.unproven_eur
    if left <= 0:
        return Needed(target_eur, None, None)
    bias = max(0.0, bound.mean_eur - bound.unproven_eur)
    spread = bound.upper_eur - bound.mean_eur
    # With u = (n / N)^(1/2): bias u^rate + spread u = left.
    slow = left / max(bias + spread, 1e-12)
    root = np.sqrt(spread**2 + 4 * bias * left)
    fast = 2 * left / max(spread + float(root), 1e-12)
    return Needed(target_eur, _count(n_scenarios, slow), _count(n_scenarios, fast))


def _count(n: int, u: float) -> int:
    return max(1, int(np.ceil(n / u**2 - 1e-9)))


def _t(n: int, level: float) -> float:
    return float(stats.t.ppf(level, n - 1))


def _require(n: int, level: float, what: str) -> None:
    if n < 2:
        raise ConfigError(f"{n} {what}(s) have no spread; expected at least 2, better 10 or more.")
    if not 0 < level < 1:
        raise ConfigError(f"confidence level {level:g}; expected between 0 and 1, such as 0.95.")
