"""Ridge regressions of many labels at once: one small linear mean per quarter hour or block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PENALTY_FRAC = 0.1  # penalty over the number of rows, for standardised inputs
WINSOR_FRAC = 0.01  # share of extreme targets on each side that is held back in a fit
REACH_SD = 3.0  # inputs are held within so many standard deviations


@dataclass(frozen=True)
class RidgeMeans:
    """Linear means of L labels with P inputs each.

    Attributes
    ----------
    centre, scale : of the inputs, shape (L, P)
    coefficient : shape (L, P)
    intercept : shape (L,)
    """

    centre: Array
    scale: Array
    coefficient: Array
    intercept: Array

    def __call__(self, inputs: Array) -> Array:
        """Means for inputs (rows, L, P), shape (rows, L)."""
        z = np.clip((inputs - self.centre) / self.scale, -REACH_SD, REACH_SD)
        return np.asarray(np.einsum("nlp,lp->nl", z, self.coefficient) + self.intercept)


def fit_ridge(inputs: Array, target: Array) -> RidgeMeans:
    """Ridge regression (Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634) per label.

    Parameters
    ----------
    inputs : shape (rows, L, P), no NaN
    target : shape (rows, L); extremes of a label are winsorised first, so that a single spike does
        not become part of the mean
    """
    low, high = np.quantile(target, [WINSOR_FRAC, 1.0 - WINSOR_FRAC], axis=0)
    held = np.clip(target, low, high)
    centre, scale = inputs.mean(axis=0), inputs.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    z = np.clip((inputs - centre) / scale, -REACH_SD, REACH_SD)
    intercept = held.mean(axis=0)
    n, _, p = z.shape
    gram = np.einsum("nlp,nlq->lpq", z, z) + PENALTY_FRAC * n * np.eye(p)
    moment = np.einsum("nlp,nl->lp", z, held - intercept)
    coefficient = np.linalg.solve(gram, moment[:, :, None])[:, :, 0]
    return RidgeMeans(centre, scale, coefficient, intercept)
