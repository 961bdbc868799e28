"""Checks of the values of one series: missing, infinite, out of range, placeholder, wrong unit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.market.problem import Findings, Problem, runs_of, stamp
from stochbess.market.schema import ColumnSpec, SeriesSpec

_ZERO_RUN = 4
_KWH_DAYS = 28
_KWH_CAP = 4.0  # the harmonised day-ahead maximum in EUR/kWh

FloatArray = npt.NDArray[np.float64]


def check_values(spec: SeriesSpec, frame: pd.DataFrame) -> list[Problem]:
    """D401-D406 on the float64 columns of a non-empty frame."""
    found = Findings(spec.stem)
    index = pd.DatetimeIndex(frame.index)
    for name in frame.columns:
        column = spec.column(str(name))
        values = frame[name].to_numpy(dtype=np.float64)
        _not_finite(found, column, index, values)
        _outside(found, column, index, values)
        if column.zeros_suspicious:
            _zero_runs(found, column, index, values)
        if column.unit == "EUR/MWh":
            _per_kwh(found, column, index, values)
    return found.problems


def _not_finite(
    found: Findings, column: ColumnSpec, index: pd.DatetimeIndex, values: FloatArray
) -> None:
    nan = np.isnan(values)
    if nan.all():
        found.error("D403", column.name, "every value is NaN. Expected numbers; import again.")
        return
    advice = "Expected a number in every row. Import again, without the rows that do not exist."
    gaps = [
        (f"{column.name} {stamp(index[at])}", f"run of {length} NaN. {advice}")
        for at, length in runs_of(nan)
    ]
    found.runs("D401", gaps, "runs of NaN")
    infinite = np.isinf(values)
    if infinite.any():
        where = f"{column.name} {stamp(index[int(infinite.argmax())])}"
        text = f"{int(infinite.sum())} infinite value(s). Expected finite numbers; import again."
        found.error("D402", where, text)


def _outside(
    found: Findings, column: ColumnSpec, index: pd.DatetimeIndex, values: FloatArray
) -> None:
    outside = np.isfinite(values) & ((values < column.low) | (values > column.high))
    if outside.any():
        at = int(outside.argmax())
        found.error(
            "D404",
            f"{column.name} {stamp(index[at])}",
            f"{int(outside.sum())} value(s) outside {column.low:g} to {column.high:g} "
            f"{column.unit} (first {values[at]:g}; {column.limits_source}). Check the unit of the "
            "source (kW for MW?).",
        )


def _zero_runs(
    found: Findings, column: ColumnSpec, index: pd.DatetimeIndex, values: FloatArray
) -> None:
    zeros = [(at, length) for at, length in runs_of(values == 0.0) if length >= _ZERO_RUN]
    if not zeros:
        return
    at, length = max(zeros, key=lambda run: run[1])
    end = " The last run reaches the end of the series." if sum(zeros[-1]) == len(values) else ""
    found.warning(
        "D405",
        f"{column.name} {stamp(index[at])}",
        f"{len(zeros)} run(s) of at least {_ZERO_RUN} exact zeros, the longest ({length} rows) "
        f"from here.{end} Zeros can be prices or placeholders of unpublished values: compare with "
        "the source.",
    )


def _per_kwh(
    found: Findings, column: ColumnSpec, index: pd.DatetimeIndex, values: FloatArray
) -> None:
    finite = values[np.isfinite(values)]
    span_days = (index.max() - index.min()).total_seconds() / 86400
    largest = float(np.abs(finite).max()) if len(finite) else 0.0
    if span_days >= _KWH_DAYS and 0.0 < largest < _KWH_CAP:
        found.error(
            "D406",
            column.name,
            f"no price above {largest:g} in {span_days:.0f} days: this looks like EUR/kWh. "
            "Expected EUR/MWh. Import again with the unit of the source.",
        )
