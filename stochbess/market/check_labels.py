"""Checks of the row labels of one series: order, grid, completeness, and signs of local time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stochbess.market.problem import ERROR, WARNING, Findings, Problem, runs_of, stamp
from stochbess.market.schema import (
    FIRST_QUARTER_HOUR_DAY,
    Resolution,
    SeriesSpec,
    expected_starts,
    local_days,
    row_minutes,
)

_YEARS = (1990, 2100)
_LABELS_TRIED = 2000  # of those missing or doubled, to see whether clocks changed there


def check_labels(
    spec: SeriesSpec, frame: pd.DataFrame, timezone: str
) -> tuple[bool, list[Problem]]:
    """D301-D311 on a non-empty frame whose index is tz-aware UTC.

    Returns
    -------
    whether the labels are ordered, unique and on the grid, and the problems found
    """
    index = pd.DatetimeIndex(frame.index)
    found = Findings(spec.stem)
    ordered = bool(index.is_monotonic_increasing)
    if not ordered:
        at = int(np.flatnonzero(np.diff(index.asi8) < 0)[0]) + 1
        found.error(
            "D301",
            stamp(index[at]),
            f"row {at} steps back in time. Expected ascending labels; nothing is sorted silently. "
            "Sort the source and import again.",
        )
    _duplicates(found, frame)
    labels = pd.DatetimeIndex(index.unique().sort_values())
    if labels[0].year < _YEARS[0] or labels[-1].year > _YEARS[1]:
        found.error(
            "D304",
            stamp(labels[0]),
            f"labels reach from {labels[0]} to {labels[-1]}. Expected years {_YEARS[0]} to "
            f"{_YEARS[1]}.",
        )
        return False, found.problems
    grid = expected_starts(spec, labels, timezone)
    off_grid = labels[~labels.isin(grid)]
    if len(off_grid):
        found.error(
            "D304",
            stamp(off_grid[0]),
            f"{len(off_grid)} label(s) off the grid. Expected the start of every interval, "
            f"{spec.resolution.value}.",
        )
    _early_quarter_hours(found, spec, labels, timezone)
    _edges(found, labels, grid, timezone)
    inside = grid[(grid >= labels[0]) & (grid <= labels[-1])]
    absent = ~inside.isin(labels)
    if 2 * len(off_grid) < len(labels):  # else every interval would be missing as well
        _gaps(found, spec, inside, absent)
        _day_counts(found, spec, index, grid, timezone)
    _local_labels(found, spec, index, inside[absent], timezone)
    return ordered and bool(index.is_unique) and not len(off_grid), found.problems


def _duplicates(found: Findings, frame: pd.DataFrame) -> None:
    """D302 where all repeated rows agree in their values, else D303."""
    repeated = frame.loc[frame.index.duplicated(keep=False)]
    if repeated.empty:
        return
    extra = len(repeated) - repeated.index.nunique()
    differing = (repeated.groupby(level=0).nunique(dropna=False) > 1).any(axis=1)
    if not differing.any():
        found.error(
            "D302",
            stamp(repeated.index[0]),
            f"{extra} row(s) repeat a label with equal values. Import with --drop-equal-duplicates "
            "to keep one of each.",
            repairable=True,
        )
        return
    found.error(
        "D303",
        stamp(differing.index[differing.to_numpy()][0]),
        f"{extra} row(s) repeat a label, some with other values. Find out which is right.",
    )


def _early_quarter_hours(
    found: Findings, spec: SeriesSpec, labels: pd.DatetimeIndex, timezone: str
) -> None:
    if spec.resolution is not Resolution.DAY_AHEAD:
        return
    days = local_days(labels, timezone)
    fine = row_minutes(spec, labels, timezone) == 15
    early = np.unique(days[fine & (days < np.datetime64(FIRST_QUARTER_HOUR_DAY))])
    if len(early):
        found.error(
            "D309",
            str(early[0]),
            f"{len(early)} delivery day(s) before {FIRST_QUARTER_HOUR_DAY} have 15-min prices, but "
            "the day-ahead auction was hourly: this is probably the 15-min intraday auction. "
            "Import it as intraday_auction.",
        )


def _edges(
    found: Findings, labels: pd.DatetimeIndex, grid: pd.DatetimeIndex, timezone: str
) -> None:
    """D306, D307 partial first and last day; D311 when they look like interval-end labels."""
    days = local_days(grid, timezone)
    first_rows, last_rows = int((days == days[0]).sum()), int((days == days[-1]).sum())
    before, after = int((grid < labels[0]).sum()), int((grid > labels[-1]).sum())
    if before:
        text = f"first delivery day lacks its first {before} of {first_rows} rows; "
        found.warning("D306", str(days[0]), text + "it cannot be traded.")
    if after:
        text = f"last delivery day lacks its last {after} of {last_rows} rows; "
        found.warning("D307", str(days[-1]), text + "it cannot be traded.")
    if before == 1 and after == last_rows - 1 and len(labels) > 1:
        found.warning(
            "D311",
            stamp(labels[0]),
            "the series starts one interval after local midnight and ends at midnight, as "
            "interval-end labels do. Expected interval starts. If they are ends, import again "
            "with label='end'.",
        )


def _advice(spec: SeriesSpec) -> tuple[str, str]:
    """Severity and advice for rows that are not there."""
    if spec.gaps_allowed:
        return WARNING, "A block without a result is closed to the battery."
    return ERROR, "Import the full period again; nothing is filled silently."


def _gaps(
    found: Findings,
    spec: SeriesSpec,
    inside: pd.DatetimeIndex,
    absent: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> None:
    """D305: runs of missing labels between the first and the last one."""
    severity, advice = _advice(spec)
    gaps = [
        (
            stamp(inside[at]),
            f"gap of {length} row(s), the last at {stamp(inside[at + length - 1])}. {advice}",
        )
        for at, length in runs_of(absent)
    ]
    found.runs("D305", gaps, "gaps", severity)


def _day_counts(
    found: Findings,
    spec: SeriesSpec,
    index: pd.DatetimeIndex,
    grid: pd.DatetimeIndex,
    timezone: str,
) -> None:
    """D308: delivery days with a wrong number of rows; partial edge days are D306 and D307."""
    severity, advice = _advice(spec)
    between = grid[(grid >= index.min()) & (grid <= index.max())]
    days, expected = np.unique(local_days(grid, timezone), return_counts=True)
    to_have = np.bincount(days.searchsorted(local_days(between, timezone)), minlength=len(days))
    have = np.bincount(days.searchsorted(local_days(index, timezone)), minlength=len(days))
    wrong = [
        (
            str(day),
            f"delivery day has {n} rows, expected {full}. "
            + (advice if n < want else "Remove the rows that do not belong to it."),
        )
        for day, n, want, full in zip(days, have, to_have, expected, strict=True)
        if n != want
    ]
    extra = bool((have > to_have).any())
    what = "delivery days with a wrong number of rows"
    found.runs("D308", wrong, what, ERROR if extra else severity)


def _local_labels(
    found: Findings,
    spec: SeriesSpec,
    index: pd.DatetimeIndex,
    absent: pd.DatetimeIndex,
    timezone: str,
) -> None:
    """D310: the hour that local clocks skip is missing, or the one they repeat is doubled."""
    if spec.resolution is Resolution.BLOCK:
        return
    doubled = index[index.duplicated()]
    suspicious = [label for label in absent[:_LABELS_TRIED] if _is_skipped(label, timezone)]
    suspicious += [label for label in doubled[:_LABELS_TRIED] if _is_repeated(label, timezone)]
    if suspicious:
        found.error(
            "D310",
            stamp(suspicious[0]),
            "rows are missing or doubled exactly where local clocks change: the labels look like "
            "local time passed as UTC. Import again with --naive-timezone set to the zone of the "
            f"source, e.g. {timezone}.",
        )


def _is_skipped(label: pd.Timestamp, timezone: str) -> bool:
    """Whether the digits of a UTC label, read as local time, do not exist."""
    naive = label.tz_localize(None)
    return bool(pd.isna(naive.tz_localize(timezone, ambiguous=True, nonexistent="NaT")))


def _is_repeated(label: pd.Timestamp, timezone: str) -> bool:
    """Whether the digits of a UTC label, read as local time, come twice."""
    naive = label.tz_localize(None)
    first, second = (
        naive.tz_localize(timezone, ambiguous=fold, nonexistent="NaT") for fold in (True, False)
    )
    return bool(first != second) and not pd.isna(first)
