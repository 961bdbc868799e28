"""Distributionally robust expectation: the worst distribution within a Wasserstein distance.

The ball of type 1 holds every distribution on the given scenarios that can be made from their
probabilities by moving mass over a mean distance of at most the radius. Scenarios of probability
zero are points to which mass may move. The worst expectation of the cost is a linear programme in
the scenario costs (Mohajerin Esfahani & Kuhn 2018, doi 10.1007/s10107-017-1172-1, for a support
that is finite). With no further points the ball only reweights the scenarios.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist

from stochbess.engine.risk import Risk
from stochbess.engine.template import Floats, Ints
from stochbess.errors import ConfigError, ScenarioError, SolverError


@dataclass(frozen=True)
class WorstDistribution:
    """Worst expectation of a cost, the probabilities that attain it, and the transport plan.

    `plan[i, j]` is the mass moved from scenario i to j; `price` is what a unit of radius costs,
    the dual value of the ball.
    """

    cost: float
    probability: Floats
    plan: Floats
    price: float


@dataclass(frozen=True)
class Wasserstein(Risk):
    """Worst expectation over the ball around the scenario probabilities (docs/math.md (97a)).

    Attributes
    ----------
    radius : >= 0, in the unit of `distance`
    distance : (S, S) between scenarios, symmetric, zero on the diagonal
    """

    weight: float = field(default=1.0, init=False)
    level: float = field(default=0.0, init=False)
    radius: float = 0.0
    distance: Floats = field(default_factory=lambda: np.zeros((1, 1)))

    def __post_init__(self) -> None:
        d = self.distance
        if not (np.isfinite(self.radius) and self.radius >= 0):
            raise ConfigError(f"Wasserstein radius {self.radius}: expected a number >= 0")
        if d.ndim != 2 or d.shape[0] != d.shape[1]:
            raise ScenarioError(f"scenario distances have shape {d.shape}, expected (S, S)")
        sound = np.isfinite(d).all() and (d >= 0).all() and not d.diagonal().any()
        if not sound or not np.allclose(d, d.T, rtol=1e-9, atol=1e-12):
            raise ScenarioError(
                "scenario distances must be finite, >= 0, symmetric, and zero on the diagonal"
            )

    @property
    def neutral(self) -> bool:
        """At radius zero the worst distribution is the given one."""
        return self.radius == 0.0

    def of_cost(self, cost: Floats, probability: Floats) -> float:
        if self.neutral:
            return float(probability @ cost)
        return worst_distribution(cost, probability, self.distance, self.radius).cost

    # The columns are theta (S), then lambda (the price of the radius) and sigma (S); the rows say
    # sigma_i + lambda d_ij - theta_j >= 0, those of one i together, (97b).
    def n_columns(self, n_scenarios: int) -> int:
        return 0 if self.neutral else 1 + n_scenarios

    def n_rows(self, n_scenarios: int) -> int:
        return 0 if self.neutral else n_scenarios**2

    def costs(self, probability: Floats) -> Floats:
        if self.neutral:
            return probability
        return np.concatenate((np.zeros(len(probability)), [self.radius], probability))

    def column_bounds(self, n_scenarios: int) -> tuple[Floats, Floats]:
        if self.neutral:
            return np.zeros(0), np.zeros(0)
        lower = np.concatenate(([0.0], np.full(n_scenarios, -np.inf)))
        return lower, np.full(1 + n_scenarios, np.inf)

    def rows(self, n_scenarios: int) -> sp.csr_array:
        if self.neutral:
            return sp.csr_array((0, n_scenarios))
        if self.distance.shape != (n_scenarios, n_scenarios):
            raise ScenarioError(
                f"{n_scenarios} scenarios, but distances for {len(self.distance)} of them"
            )
        eye, ones = sp.eye_array(n_scenarios), np.ones((n_scenarios, 1))
        theta = -sp.kron(ones, eye)
        price = sp.csr_array(self.distance.reshape(-1, 1))
        return sp.csr_array(sp.hstack([theta, price, sp.kron(eye, ones)]))


def worst_distribution(
    cost: Floats, probability: Floats, distance: Floats, radius: float
) -> WorstDistribution:
    """Worst expectation of the given scenario costs over the ball, a transport problem (97a).

    Parameters
    ----------
    cost, probability : (S,); scenarios of probability zero receive mass only
    distance : (S, S)
    radius : >= 0, mean distance over which mass may be moved

    Raises
    ------
    SolverError : costs are not finite
    """
    if not np.isfinite(cost).all():
        raise SolverError("scenario costs contain NaN or infinity")
    origin = np.flatnonzero(probability > 0)
    mass, apart = probability[origin], distance[origin]
    # The dual (97b) is a convex function of one number, the price of the radius: the largest of
    # lines, one for each way of sending every scenario to one target. Their lowest point lies
    # between a line that falls (mass goes too far) and one that does not.
    falling = _line(0.0, cost, mass, apart, radius)
    if falling.slope >= 0:
        return _plan(probability, origin, falling, falling, 1.0, cost, 0.0)
    gain = cost[None, :] - cost[origin][:, None]
    steepest = np.divide(gain, apart, out=np.zeros_like(gain), where=apart > 0).max()
    rising = _line(2.0 * max(float(steepest), 1.0), cost, mass, apart, radius)
    tolerance = 1e-12 * max(1.0, float(np.abs(cost).max()))
    while True:
        price = (rising.height - falling.height) / (falling.slope - rising.slope)
        met = falling.height + falling.slope * price
        line = _line(price, cost, mass, apart, radius)
        if line.height + line.slope * price <= met + tolerance:
            break
        if line.slope < 0:
            falling = line
        else:
            rising = line
    share = rising.slope / (rising.slope - falling.slope)
    return _plan(probability, origin, falling, rising, share, cost, price)


@dataclass(frozen=True)
class _Line:
    """Target of every origin at one price, and the line `height + slope * price` it stands for."""

    target: Ints
    height: float
    slope: float


def _line(price: float, cost: Floats, mass: Floats, apart: Floats, radius: float) -> _Line:
    """The targets that are worth most at `price`; the nearest of equals."""
    worth = cost[None, :] - price * apart
    best = worth >= worth.max(axis=1, keepdims=True) - 1e-13 * max(1.0, float(np.abs(cost).max()))
    target = np.argmin(np.where(best, apart, np.inf), axis=1)
    moved = apart[np.arange(len(mass)), target]
    return _Line(target, float(mass @ cost[target]), radius - float(mass @ moved))


def _plan(
    probability: Floats,
    origin: Ints,
    far: _Line,
    near: _Line,
    share: float,
    cost: Floats,
    price: float,
) -> WorstDistribution:
    """Send `share` of every mass to its far target and the rest to its near one."""
    plan = np.zeros((len(probability), len(probability)))
    np.add.at(plan, (origin, far.target), share * probability[origin])
    np.add.at(plan, (origin, near.target), (1 - share) * probability[origin])
    weights = plan.sum(axis=0)
    return WorstDistribution(float(weights @ cost), weights, plan, price)


def scenario_distance(
    series: Mapping[str, Floats],
    probability: Floats,
    scale: Mapping[str, float] | None = None,
) -> Floats:
    """Ground metric between scenarios: root mean square of standardised differences, (S, S), (97c).

    Every series counts as much as it has numbers. `scale` gives the unit of each series; by default
    its standard deviation over all scenarios and times, weighted by `probability`. A series that is
    the same everywhere does not count. A distance of 1 is one standard deviation in every number.

    Raises
    ------
    ScenarioError : no series varies, or a scale is not positive
    """
    parts = []
    for name in series:
        values = np.asarray(series[name], float)
        if scale is not None and name in scale:
            unit = float(scale[name])
            if not unit > 0:
                raise ScenarioError(f"scale of {name} is {unit}, expected a number > 0")
        else:
            mean = float((probability @ values).mean())
            unit = float(np.sqrt((probability @ (values - mean) ** 2).mean()))
        if unit > 0:
            parts.append(values / unit)
    if not parts:
        raise ScenarioError("no series differs between scenarios or times; there is no distance")
    points = np.hstack(parts)
    apart = cdist(points, points) / np.sqrt(points.shape[1])
    return np.asarray((apart + apart.T) / 2)


def support(
    series: Mapping[str, Floats], probability: Floats, further: Mapping[str, Floats]
) -> tuple[dict[str, Floats], Floats, Ints]:
    """Scenarios with further points of probability zero; series, probabilities, new positions."""
    joined = {n: np.vstack((np.asarray(v), np.asarray(further[n]))) for n, v in series.items()}
    n_new = len(next(iter(further.values())))
    weights = np.concatenate((probability, np.zeros(n_new)))
    return joined, weights, np.arange(len(probability), len(weights))
