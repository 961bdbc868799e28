"""A fitted day-ahead model as plain arrays, for a cache file without code in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from stochbess.errors import DataError
from stochbess.scenario_gen.price_features import FeatureLags
from stochbess.scenario_gen.price_lear import LearModel
from stochbess.scenario_gen.price_trees import QuantileTrees

Array = npt.NDArray[np.float64]

PriceModel = Literal["naive", "lear", "trees", "pool"]
MODELS: tuple[str, ...] = get_args(PriceModel)
FORMAT = 1
HISTORY_DAYS = 364  # of past distributions, for dependence, recalibration and residual days
LINEAR_HISTORY_DAYS = 910  # of past linear predictions
NAIVE_DAYS = 182  # of past errors of the naive model


@dataclass(frozen=True, eq=False)
class DayAheadFit:
    """What `fit_day_ahead` learned; read by `draw_day_ahead`.

    Attributes
    ----------
    model : the model that was fitted, perhaps a simpler one than was asked for
    zone, timezone : of the market
    target_day : day for whose gate it was fitted; it serves this day and the six after it
    first_day : local day of the first row of the tables
    seed : of the trees
    lags : how far the latest known values lay before the target day
    lear, trees : the fitted models, None where the model has none
    linear_eur_mwh : past predictions out of sample, shape (days, windows, 24); NaN where none
    quantiles_eur_mwh : the same of the trees, shape (days, 24, levels)
    panel_sha256 : hash of everything that the past predictions may have looked at
    provenance : what a report has to say of the model
    """

    model: str
    zone: str
    timezone: str
    target_day: date
    first_day: date
    seed: int
    lags: FeatureLags
    lear: LearModel | None
    trees: QuantileTrees | None
    linear_eur_mwh: Array
    quantiles_eur_mwh: Array
    panel_sha256: str
    provenance: dict[str, str] = field(default_factory=dict)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The fit as named arrays without objects: ``np.savez(path, **fit.to_arrays())``."""
        head = {
            "format": FORMAT,
            "model": self.model,
            "zone": self.zone,
            "timezone": self.timezone,
            "target_day": self.target_day.isoformat(),
            "first_day": self.first_day.isoformat(),
            "seed": self.seed,
            "lags": [self.lags.price, self.lags.forecast, self.lags.load],
            "panel_sha256": self.panel_sha256,
            "provenance": self.provenance,
        }
        return {
            "head": np.array(json.dumps(head, sort_keys=True)),
            "linear_eur_mwh": self.linear_eur_mwh,
            "quantiles_eur_mwh": self.quantiles_eur_mwh,
            **(self.lear.to_arrays() if self.lear else {}),
            **(self.trees.to_arrays() if self.trees else {}),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> DayAheadFit:
        """The fit that `to_arrays` wrote; read the file with ``np.load(..., allow_pickle=False)``.

        Raises
        ------
        DataError : arrays are absent, damaged or of another format
        """
        try:
            head = json.loads(str(arrays["head"]))
            if head["format"] != FORMAT:
                raise DataError(
                    f"stored price model has format {head['format']}, expected {FORMAT}. Fit again."
                )
            return cls(
                head["model"],
                head["zone"],
                head["timezone"],
                date.fromisoformat(head["target_day"]),
                date.fromisoformat(head["first_day"]),
                int(head["seed"]),
                FeatureLags(*head["lags"]),
                LearModel.from_arrays(arrays) if "lear_coefficient" in arrays else None,
                QuantileTrees.from_arrays(arrays) if "trees00_root" in arrays else None,
                np.asarray(arrays["linear_eur_mwh"], np.float64),
                np.asarray(arrays["quantiles_eur_mwh"], np.float64),
                head["panel_sha256"],
                dict(head["provenance"]),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"stored price model cannot be read ({error!r}); expected the arrays of "
                "DayAheadFit.to_arrays. Fit again."
            ) from error


def extended(table: Array, n_days: int) -> Array:
    """A copy of `table` with rows of NaN up to `n_days`; its own last row, the target, is NaN."""
    grown = np.full((n_days, *table.shape[1:]), np.nan)
    grown[: len(table)] = table
    return grown
