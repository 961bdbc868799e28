"""What a little more health is worth, and which price no law of aging regrets.

The marginal value of health is what an aging price should be: a price that returns itself is a
stationary point of the value of the life (docs/math.md (98f), (98g)). Which law of aging holds is
not known. A price is therefore chosen on one law and judged by the others (98h).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stochbess.battery.lifetime import Frontier, Terms, live
from stochbess.errors import ConfigError, DataError

FloatArray = npt.NDArray[np.float64]
_BUMP_FRAC = 1e-3  # of the state at which the reference loss is reached
_BISECTIONS = 40


def marginal_value_eur_kwh(
    frontier: Frontier,
    price_eur_kwh: float,
    terms: Terms,
    mechanism: int,
    reference_loss_frac: float,
    at_loss_frac: float | None = None,
) -> float:
    """Value of a kWh of capacity not lost to one mechanism, by finite difference (98f).

    A kWh lost at the reference loss is so much growth of the state of the mechanism. With
    `at_loss_frac` it is avoided at once, in a battery that has already lost that much to the
    mechanism and nothing else: -dNPV/dQ. Without it, it is avoided evenly over all of the
    operation, and its value is divided by the discounted years: this is what a price that stays the
    same for a life has to be compared with.

    Raises
    ------
    ConfigError : `reference_loss_frac` is not above 0, or there is no such mechanism
    """
    if not 0.0 < reference_loss_frac < 1.0:
        raise ConfigError(
            f"reference loss {reference_loss_frac}: expected a fraction between 0 and 1; on a new "
            "battery a square-root law has no slope."
        )
    if not 0 <= mechanism < frontier.power.size:
        raise ConfigError(f"mechanism {mechanism}: expected 0 to {frontier.power.size - 1}.")
    power = float(frontier.power[mechanism])
    state_per_loss = math.pow(reference_loss_frac, 1.0 / power - 1.0) / power
    bump = np.zeros(frontier.power.size)
    bump[mechanism] = _BUMP_FRAC * reference_loss_frac ** (1.0 / power)
    if at_loss_frac is not None:
        start = np.zeros(frontier.power.size)
        start[mechanism] = at_loss_frac ** (1.0 / power)
        before = live(frontier, price_eur_kwh, terms, start).npv_eur_kwh
        after = live(frontier, price_eur_kwh, terms, start + bump).npv_eur_kwh
        return (before - after) / float(bump[mechanism]) * state_per_loss
    life = live(frontier, price_eur_kwh, terms)
    bump = bump / max(life.years, 1.0)
    worse = live(frontier, price_eur_kwh, terms, extra_growth_per_year=bump)
    lost = (life.npv_eur_kwh - worse.npv_eur_kwh) / float(bump[mechanism])
    return lost / life.discounted_years * state_per_loss


@dataclass(frozen=True)
class FixedPoint:
    """A price and the marginal value that it returns; `inside` False = no crossing on the grid."""

    price_eur_kwh: float
    returned_eur_kwh: float
    inside: bool


def fixed_point(
    frontier: Frontier, terms: Terms, mechanism: int, reference_loss_frac: float
) -> FixedPoint:
    """The price that is the marginal value of health at that price (98g), by bisection.

    The lowest interval of the grid is taken in which the returned value falls below the price used;
    without one the end of the grid that is nearest to it.
    """

    def returned(price: float) -> float:
        return marginal_value_eur_kwh(frontier, price, terms, mechanism, reference_loss_frac)

    nodes = frontier.price_eur_kwh.tolist()
    over = [returned(price) - price for price in nodes]
    crossing = [i for i in range(len(nodes) - 1) if over[i] >= 0 > over[i + 1]]
    if not crossing:
        end = nodes[-1] if over[-1] >= 0 else nodes[0]
        return FixedPoint(end, returned(end), False)
    low, high = nodes[crossing[0]], nodes[crossing[0] + 1]
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if returned(middle) >= middle else (low, middle)
    return FixedPoint(low, returned(low), True)


@dataclass(frozen=True, eq=False)
class Verdict:
    """Prices judged by several laws of aging (98h).

    Attributes
    ----------
    laws : names
    price_eur_kwh : (P,) of the grid
    npv_eur_kwh : (A, P) by law and price
    """

    laws: tuple[str, ...]
    price_eur_kwh: FloatArray
    npv_eur_kwh: FloatArray

    @property
    def own(self) -> npt.NDArray[np.int64]:
        """(A,) position of the best price by each law; of equal ones the lowest."""
        return np.asarray(self.npv_eur_kwh.argmax(axis=1), np.int64)

    @property
    def kept_frac(self) -> FloatArray:
        """(A, P) value by a law over the best value by that law."""
        return np.asarray(self.npv_eur_kwh / self.npv_eur_kwh.max(axis=1, keepdims=True))

    @property
    def matrix(self) -> FloatArray:
        """(A, A) row: whose best price is used; column: who judges; value kept."""
        return np.asarray(self.kept_frac[:, self.own].T)

    @property
    def robust(self) -> int:
        """Position of the price whose worst share over the laws is largest."""
        return int(self.kept_frac.min(axis=0).argmax())

    def worst_of(self, position: int) -> tuple[str, float]:
        """The law that loses most at a price, and what it keeps."""
        law = int(self.kept_frac[:, position].argmin())
        return self.laws[law], float(self.kept_frac[law, position])


def judge(price_eur_kwh: npt.ArrayLike, npv_eur_kwh: Mapping[str, npt.ArrayLike]) -> Verdict:
    """Judge the prices of a grid by several laws; values (P,) by law.

    Raises
    ------
    DataError : shapes do not fit, or by some law no price earns anything
    """
    prices = np.asarray(price_eur_kwh, np.float64)
    values = np.array([np.asarray(row, np.float64) for row in npv_eur_kwh.values()])
    if values.ndim != 2 or values.shape[1:] != prices.shape or not np.isfinite(values).all():
        raise DataError(
            f"judge: values of shape {values.shape}; expected one finite number for each of "
            f"{prices.size} prices by every law."
        )
    for law, row in zip(npv_eur_kwh, values, strict=True):
        if not row.max() > 0:
            raise DataError(
                f"judge: by {law} no price earns anything (best {row.max():.2f} EUR/kWh); there is "
                "no optimum to compare with. Look at revenue and fixed cost."
            )
    return Verdict(tuple(npv_eur_kwh), prices, values)
