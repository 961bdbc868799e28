"""Reads a user's CSV or Parquet file into UTC interval starts and float64 columns.

Nothing is guessed: the columns, the time zone of naive stamps, the label convention, the unit and
the marks of missing values are all declared in an `ImportSpec`. Messages name a declaration by its
option of `stochbess data import`: `--naive-timezone` is the field `naive_timezone`, and so on.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from stochbess.errors import DataError
from stochbess.market.import_time import StampForm, check_timezone, read_stamps
from stochbess.market.schema import (
    INDEX_NAME,
    SERIES,
    SeriesSpec,
    row_end,
    row_start,
)

BLOCK_HOURS = "block_hours"  # factor: EUR/MW per hour times the hours of each block
_FACTORS: dict[tuple[str, str], float | str] = {
    ("EUR/kWh", "EUR/MWh"): 1000.0,
    ("ct/kWh", "EUR/MWh"): 10.0,
    ("kW", "MW"): 0.001,
    ("GW", "MW"): 1000.0,
    ("MWh per 15 min", "MW"): 4.0,
    ("MWh per hour", "MW"): 1.0,
    ("EUR/MW per hour", "EUR/MW per 4-h block"): BLOCK_HOURS,
}
_UNREADABLE = (
    OSError, ValueError, TypeError, KeyError, LookupError, NotImplementedError, pa.ArrowException,
)  # fmt: skip
_ZONE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")  # as in the configuration; names a folder
_TEXT_SUFFIXES = (".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class ImportSpec:
    """What the user declares about a source file.

    Attributes
    ----------
    series : known series (file stem), e.g. ``day_ahead``
    zone, timezone : bidding zone and IANA name of its local time
    time_columns : column of the stamps, or several that are joined with a space (date, time)
    column_map : column of stochbess -> column of the source
    unit : unit that the source declares; anything but the series' own unit needs `factor`
    known_since : when values become known, in the grammar of `stochbess.market.known_since`
    source, licence : where the data come from and under which terms
    label : "start" or "end" of the interval is what the stamp marks
    naive_timezone : zone of stamps without offset: "UTC", an IANA name (clock changes are resolved
        by the order of rows) or a fixed offset such as "+01:00"; None refuses such stamps
    time_format : strptime format; None accepts ISO 8601 only
    missing : marks of a missing value; rows with nothing but missing values are left out
    factor : series' unit per source unit, or "block_hours"; None when the units agree
    drop_equal_duplicates : keep one of rows that repeat a label with equal values
    """

    series: str
    zone: str
    timezone: str
    time_columns: tuple[str, ...]
    column_map: Mapping[str, str]
    unit: str
    known_since: str
    source: str
    licence: str
    product: str = ""
    label: str = "start"
    naive_timezone: str | None = None
    time_format: str | None = None
    decimal: str = "."
    thousands: str = ""
    separator: str = ","
    encoding: str = "utf-8-sig"
    skip_rows: int = 0
    missing: tuple[str, ...] = ("",)
    factor: float | str | None = None
    drop_equal_duplicates: bool = False
    synthetic: bool = False


def read_source(path: Path, spec: ImportSpec) -> tuple[pd.DataFrame, list[str]]:
    """Frame of the series, index `delivery_start_utc`, and notes on what was left out or converted.

    Raises
    ------
    DataError : the file is no CSV or Parquet, lacks a column, or a stamp, number or unit cannot be
        read as declared
    """
    rules = SERIES.get(spec.series)
    if rules is None:
        raise DataError(f"series {spec.series!r} is unknown. Known: {', '.join(SERIES)}.")
    _check_spec(spec, rules)
    table = _read_table(path, spec)
    wanted = [*spec.time_columns, *spec.column_map.values()]
    absent = [name for name in wanted if name not in table.columns]
    if absent:
        raise DataError(
            f"{path.name} has no column {', '.join(map(repr, absent))}. It has: "
            f"{', '.join(map(str, table.columns))}. Correct --time (time_columns) or --column "
            "(column_map)."
        )
    form = StampForm(spec.time_columns, spec.time_format, spec.naive_timezone)
    stamps = read_stamps(path, table, form)
    values = {
        target: _numbers(path, table[source], spec) for target, source in spec.column_map.items()
    }
    frame = pd.DataFrame(values, index=stamps, dtype="float64")
    frame = frame[[name for name in rules.column_names if name in frame.columns]]
    notes = []
    empty = frame.isna().all(axis=1).to_numpy()
    if empty.any():
        notes.append(f"{int(empty.sum())} row(s) without any value left out")
        frame = frame.loc[~empty]
    if frame.empty:
        raise DataError(f"{path.name} has no row with a value for series {spec.series!r}.")
    if spec.label == "end":
        index = row_start(rules, pd.DatetimeIndex(frame.index), spec.timezone)
        frame = frame.set_axis(index, axis=0)
        notes.append("interval-end labels shifted to interval starts")
    if spec.drop_equal_duplicates:
        kept = frame.reset_index().drop_duplicates().set_index(frame.index.name or "index")
        if len(kept) < len(frame):
            notes.append(f"{len(frame) - len(kept)} repeated row(s) with equal values dropped")
        frame = kept
    frame.index = pd.DatetimeIndex(frame.index).as_unit("us").rename(INDEX_NAME)
    if spec.factor is not None:
        frame = frame.mul(_factors(frame, spec, rules), axis=0)
        notes.append(f"converted from {spec.unit}: x {spec.factor}")
    return frame, notes


def _check_spec(spec: ImportSpec, rules: SeriesSpec) -> None:
    _check_form(spec)
    unknown = [name for name in spec.column_map if name not in rules.column_names]
    if unknown or not spec.column_map:
        raise DataError(
            f"--column (column_map) names {', '.join(unknown) or 'no column'}; series "
            f"{spec.series!r} has: {', '.join(rules.column_names)}."
        )
    if spec.label not in ("start", "end"):
        raise DataError(f"--label is {spec.label!r}; expected 'start' or 'end' of the interval.")
    if not spec.source or not spec.licence:
        raise DataError(
            "--source and --licence must say where the data come from and on which terms."
        )
    units = list(dict.fromkeys(rules.column(name).unit for name in spec.column_map))
    unit = units[0] if len(units) == 1 else rules.unit
    if spec.unit in (unit, rules.unit):
        if spec.factor is not None:
            raise DataError(
                f"--unit is {spec.unit!r} already; --factor {spec.factor} would change it."
            )
        return
    if len(units) > 1:
        raise DataError(
            f"--column mixes columns in {' and '.join(units)}, --unit says {spec.unit!r}. Supply "
            f"them in {rules.unit!r}; one factor cannot convert both."
        )
    known = _FACTORS.get((spec.unit, unit))
    if spec.factor is None:
        hint = f"--factor {known}" if known is not None else "the factor (--factor)"
        raise DataError(
            f"unit of the source is {spec.unit!r}, series {spec.series!r} is in {unit!r}. "
            f"Nothing is converted silently: declare {hint}, or supply data in {unit!r}."
        )
    if known is not None and spec.factor != known:
        raise DataError(
            f"--factor from {spec.unit!r} to {unit!r} is {known!r}, got {spec.factor!r}."
        )
    if isinstance(spec.factor, str) and known is None:
        raise DataError(f"--factor {spec.factor!r}: expected a number for {spec.unit!r}.")
    if not isinstance(spec.factor, str) and not 0 < spec.factor < float("inf"):
        raise DataError(f"--factor {spec.factor!r}: expected a positive number.")


def _check_form(spec: ImportSpec) -> None:
    """What the names and marks themselves have to look like."""
    if not _ZONE.fullmatch(spec.zone):
        raise DataError(
            f"--zone {spec.zone[:80]!r}: expected a name of letters, digits, '_', '-', '.', as it "
            "becomes a folder."
        )
    check_timezone(spec.timezone, "--timezone")
    for option, mark in (("--separator", spec.separator), ("--decimal", spec.decimal)):
        if len(mark) != 1:
            raise DataError(f"{option} {mark[:80]!r}: expected one character.")
    if spec.decimal in (spec.separator, spec.thousands):
        raise DataError(
            f"--decimal {spec.decimal!r} is also the separator of columns or of thousands. "
            "Expected different characters."
        )
    if spec.skip_rows < 0:
        raise DataError(f"--skip-rows {spec.skip_rows}: expected 0 or more lines.")


def _factors(frame: pd.DataFrame, spec: ImportSpec, rules: SeriesSpec) -> npt.NDArray[np.float64]:
    if spec.factor == BLOCK_HOURS:
        index = pd.DatetimeIndex(frame.index)
        hours = (row_end(rules, index, spec.timezone) - index).total_seconds() / 3600
        return np.asarray(hours, np.float64)
    return np.full(len(frame), float(spec.factor or 1.0))


def _read_table(path: Path, spec: ImportSpec) -> pd.DataFrame:
    """Text columns of a CSV, or typed columns of a Parquet file; nothing else is opened."""
    if not path.is_file():
        raise DataError(f"source file {path} does not exist.")
    suffix = path.suffix.lower()
    with path.open("rb") as stream:
        magic = stream.read(4)
    parquet = suffix in (".parquet", ".pq")
    if not (parquet and magic == b"PAR1") and not (
        suffix in _TEXT_SUFFIXES and magic[:1] != b"\x80" and magic[:2] not in (b"PK", b"\x1f\x8b")
    ):
        raise DataError(
            f"{path.name} is not a plain CSV ({', '.join(_TEXT_SUFFIXES)}) or Parquet file. Pickle "
            "and joblib files can run code when opened and are never read; unpack archives first."
        )
    try:
        if parquet:
            table = pd.read_parquet(path)
            return table.reset_index() if table.index.name is not None else table
        with warnings.catch_warnings():
            # pandas cuts rows that are longer than the header, "12,5" to 12, with a warning only.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path,
                sep=spec.separator,
                dtype=str,
                keep_default_na=False,
                encoding=spec.encoding,
                skiprows=spec.skip_rows,
                skip_blank_lines=True,
                index_col=False,
            )
    except (pd.errors.ParserWarning, *_UNREADABLE) as error:
        raise DataError(
            f"{path.name} cannot be read: {error}. Check --separator, --encoding and --skip-rows."
        ) from error


def _numbers(path: Path, column: pd.Series, spec: ImportSpec) -> npt.NDArray[np.float64]:
    """float64 values; the declared marks of missing values become NaN, anything else must parse."""
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    text = column.astype(str).str.strip()
    missing = text.isin(spec.missing)
    if spec.thousands:
        text = text.str.replace(spec.thousands, "", regex=False)
    if spec.decimal != ".":
        alien = text.str.contains(".", regex=False) & ~missing
        if alien.any():
            raise DataError(
                f"{path.name}: {column.name}: {text[alien].iloc[0]!r} holds '.', but the decimal "
                f"mark is {spec.decimal!r}. Declare --thousands . or correct --decimal."
            )
        text = text.str.replace(spec.decimal, ".", regex=False)
    plain = text.str.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
    wrong = ~plain & ~missing
    if wrong.any():
        row = int(np.flatnonzero(wrong.to_numpy())[0])
        raise DataError(
            f"{path.name}: {column.name}: {column.iloc[row]!r} in data row {row + 1} is not a "
            "number. Declare it with --missing, or correct --decimal and --thousands."
        )
    return text.where(~missing, "nan").to_numpy(dtype=str).astype(np.float64)
