"""Paired differences of two policies over days, with an interval that respects their dependence.

Days that follow each other are alike, so whole blocks of consecutive days are drawn again, not
single days (moving blocks: Künsch 1989, doi 10.1214/aos/1176347265).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stochbess.errors import DataError
from stochbess.rng import stream

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairedMean:
    """Mean of paired differences and its bootstrap interval, in the unit of the differences.

    Attributes
    ----------
    mean, low, high : the mean and its central interval
    level : of the interval
    n : number of pairs
    block : days per block
    """

    mean: float
    low: float
    high: float
    level: float
    n: int
    block: int

    @property
    def sign(self) -> int:
        """1 or -1 where the interval excludes zero, else 0: no sign is claimed."""
        return int(self.low > 0) - int(self.high < 0)


def paired_mean(
    difference: npt.ArrayLike,
    seed: int,
    *,
    level: float = 0.95,
    block: int = 7,
    repetitions: int = 10_000,
) -> PairedMean:
    """Mean of `difference`, shape (n,) in the order of time, with a block-bootstrap interval.

    Parameters
    ----------
    difference : first policy less second, one value per day; NaN is refused
    seed : root seed; the stream is ``evaluate.paired``
    block : consecutive days that are drawn together, at most n

    Raises
    ------
    DataError : fewer than two values, NaN, or a block that is no part of the series
    """
    values = np.asarray(difference, np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise DataError(
            f"paired differences have shape {values.shape}; expected at least two finite values"
        )
    if not 1 <= block <= len(values):
        raise DataError(
            f"blocks of {block} days in {len(values)} days; expected 1 to {len(values)}"
        )
    rng = stream(seed, "evaluate.paired")
    n_blocks = -(-len(values) // block)
    starts = rng.integers(0, len(values) - block + 1, size=(repetitions, n_blocks))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    # The last block is cut so that every repetition has as many days as the series.
    lengths = np.full(n_blocks, block)
    lengths[-1] = len(values) - block * (n_blocks - 1)
    means = (sums[starts + lengths] - sums[starts]).sum(axis=1) / len(values)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return PairedMean(float(values.mean()), float(low), float(high), level, len(values), block)
