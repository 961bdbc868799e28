"""Time stamps of a source file: declared, never guessed, and turned into UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.errors import DataError

_OFFSET = re.compile(r"^([+-])(\d{2}):(\d{2})$")
_AWARE = r"\d{2}:\d{2}.*(?:Z|[+-]\d{2}:?\d{2})$"


@dataclass(frozen=True)
class StampForm:
    """How the stamps are written; the fields are those of `ImportSpec`."""

    time_columns: tuple[str, ...]
    time_format: str | None
    naive_timezone: str | None


def read_stamps(path: Path, table: pd.DataFrame, form: StampForm) -> pd.DatetimeIndex:
    """Stamps of the source as UTC, before any shift from interval end to start.

    Raises
    ------
    DataError : a stamp cannot be read, has no declared zone, or does not exist in that zone
    """
    columns = [table[name] for name in form.time_columns]
    if len(columns) == 1 and pd.api.types.is_datetime64_any_dtype(columns[0].dtype):
        index = pd.DatetimeIndex(columns[0])
    else:
        text = columns[0].astype(str).str.strip()
        for column in columns[1:]:
            text = text + " " + column.astype(str).str.strip()
        index = _parse(path, text, form)
    if index.hasnans:
        raise DataError(f"{path.name}: a row has no time stamp. Remove the row.")
    if index.tz is not None:
        return index.tz_convert("UTC")
    if form.naive_timezone is None:
        raise DataError(
            f"{path.name}: stamps in {', '.join(form.time_columns)} have no time zone (first "
            f"{index[0]}). Declare --naive-timezone: 'UTC', a local time such as "
            "'Europe/Berlin', or a fixed offset such as '+01:00'."
        )
    return _localise(path, index, form.naive_timezone)


def _parse(path: Path, text: pd.Series, form: StampForm) -> pd.DatetimeIndex:
    aware = text.str.contains(_AWARE, regex=True)
    if form.time_format is not None:
        aware[:] = "%z" in form.time_format
    if aware.any() and not aware.all():
        raise DataError(
            f"{path.name}: some stamps have an offset and some have none (first without: "
            f"{text[~aware].iloc[0]!r}). Expected one form."
        )
    try:
        parsed = pd.to_datetime(text, format=form.time_format or "ISO8601", utc=bool(aware.all()))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path.name}: a stamp in {', '.join(form.time_columns)} cannot be read: {error}. "
            "Expected ISO 8601, or set --time-format (e.g. '%d.%m.%Y %H:%M')."
        ) from error
    return pd.DatetimeIndex(parsed)


def check_timezone(name: str, option: str, more: str = "") -> None:
    """Refuse what is no time zone of the IANA database.

    Raises
    ------
    DataError : names the option; `more` says what else it takes
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder of zones
        raise DataError(
            f"{option} {name[:80]!r} is unknown. Expected 'UTC', an IANA name such as "
            f"'Europe/Berlin'{more}."
        ) from error


def _localise(path: Path, naive: pd.DatetimeIndex, name: str) -> pd.DatetimeIndex:
    """Local stamps to UTC; the repeated hour of October is told apart by the order of the rows."""
    offset = _OFFSET.match(name)
    if offset:
        minutes = (int(offset[2]) * 60 + int(offset[3])) * (1 if offset[1] == "+" else -1)
        return naive.tz_localize(timezone(timedelta(minutes=minutes))).tz_convert("UTC")
    check_timezone(name, "--naive-timezone", " or '+01:00'")
    all_first = np.ones(len(naive), dtype=bool)
    first = naive.tz_localize(name, ambiguous=all_first, nonexistent="NaT")
    second = naive.tz_localize(name, ambiguous=~all_first, nonexistent="NaT")
    if first.hasnans:
        raise DataError(
            f"{path.name}: local time {naive[first.isna()][0]} does not exist in {name} (clocks "
            "skip it). The stamps are in another time, probably UTC or a fixed offset: correct "
            "--naive-timezone."
        )
    is_first = _first_pass(path, naive, np.asarray(first != second), name)
    return naive.tz_localize(name, ambiguous=is_first, nonexistent="raise").tz_convert("UTC")


def _first_pass(
    path: Path, naive: pd.DatetimeIndex, ambiguous: npt.NDArray[np.bool_], name: str
) -> npt.NDArray[np.bool_]:
    """True where an ambiguous stamp belongs to the first pass through the repeated hour."""
    is_first = np.ones(len(naive), dtype=bool)
    positions = np.flatnonzero(ambiguous)
    if len(positions) == 0:
        return is_first
    days = naive.normalize()
    for day in days[positions].unique():
        at = positions[days[positions] == day]
        stamps = naive[at].asi8
        back = np.flatnonzero(np.diff(stamps) <= 0)
        if len(back) != 1:
            raise DataError(
                f"{path.name}: the hour from {naive[at[0]]} on comes twice on the local day "
                f"{day.date()} in {name}, but the rows pass through it {len(back) + 1} time(s). "
                "Use stamps with an offset or in UTC, or a fixed offset in --naive-timezone."
            )
        is_first[at[back[0] + 1 :]] = False
    return is_first
