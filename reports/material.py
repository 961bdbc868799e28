"""What a report is made from: one finished run, without the store and the models behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.reports.facts import Fact

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """A finished run as a report reads it.

    Attributes
    ----------
    run_id, formulation, zone, day, synthetic, seed, reproducible : as in the record of the run
    config : the resolved configuration as plain values
    config_sha256, data_sha256, code_sha256 : what the run was computed from
    facts, assumptions, provenance : as the run tells them
    frames : bids, schedule, soc, cash, scenarios, scenario_set and, if it was valued, worth; if it
        was compared with others, comparison (as `stochbess.comparison.compare` returns it)
    """

    run_id: str
    formulation: str
    zone: str
    day: date
    synthetic: bool
    seed: int
    reproducible: bool
    config: Mapping[str, Any]
    config_sha256: str
    data_sha256: str
    code_sha256: str
    facts: tuple[Fact, ...]
    assumptions: tuple[str, ...]
    provenance: Mapping[str, str]
    frames: Mapping[str, pd.DataFrame]

    @property
    def n_days(self) -> int:
        return int(self.config["market"]["n_days"])

    @property
    def bids(self) -> pd.DataFrame:
        """Bids in the order of their delivery."""
        return self.frames["bids"]

    @property
    def probability(self) -> Floats:
        return self.frames["scenarios"]["probability"].to_numpy(np.float64)

    @property
    def source_line(self) -> str:
        """Run, seed and configuration: what every figure names."""
        return f"run {self.run_id} · seed {self.seed} · config {self.config_sha256[:12]}"


@dataclass(frozen=True)
class Drawn:
    """One series of the scenario set: `values` (S, n) at `start_utc`, weighted by `probability`."""

    values: Floats
    probability: Floats
    start_utc: pd.DatetimeIndex


def drawn_series(frame: pd.DataFrame, name: str) -> Drawn | None:
    """The scenarios of a series; None if the set has no finite value of it."""
    part = frame[frame["series"] == name]
    if part.empty:
        return None
    table = part.pivot(index="scenario", columns="delivery_start_utc", values="value")
    weight = part.groupby("scenario")["probability"].first().reindex(table.index)
    values = table.to_numpy(np.float64)
    whole = np.isfinite(values).all(axis=1)
    if not whole.any():
        return None
    probability = weight.to_numpy(np.float64)[whole]
    stamps = pd.DatetimeIndex(table.columns)
    return Drawn(values[whole], probability / probability.sum(), stamps)


def quantiles(values: Floats, probability: Floats, level: float) -> Floats:
    """Smallest value of each column that is not exceeded with probability `level`."""
    order = np.argsort(values, axis=0, kind="stable")
    reached = np.cumsum(probability[order], axis=0)
    at = np.minimum((reached < level - 1e-12).sum(axis=0), len(values) - 1)
    return np.asarray(np.take_along_axis(values, order, 0)[at, np.arange(values.shape[1])])
