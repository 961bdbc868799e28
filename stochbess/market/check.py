"""All problems of a market data directory, each with a code, a place and what to do about it.

`check_market` lists them; `load_market` refuses a directory with any of severity error. The codes
are explained in docs/market-data.md: D1 files and manifest, D2 form of a series, D3 time, D4
values, D5 what the values say about the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from stochbess.errors import DataError
from stochbess.market.check_clock import check_clock
from stochbess.market.check_labels import check_labels
from stochbess.market.check_values import check_values
from stochbess.market.known_since import Clause, parse_known_since
from stochbess.market.manifest import Entry, Manifest, file_sha256, read_manifest
from stochbess.market.problem import ERROR, SHOWN, WARNING, Findings, Problem
from stochbess.market.schema import INDEX_NAME, SERIES, VALUE, SeriesSpec, row_end

__all__ = ["ERROR", "WARNING", "Inspection", "Problem", "check_market", "inspect"]

_ROWS_TRIED = 1000
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, NotImplementedError, pa.ArrowException)


@dataclass(frozen=True)
class Inspection:
    """What one reading of the directory found: frames by series, and problems in file order."""

    manifest: Manifest
    frames: dict[str, pd.DataFrame]
    problems: tuple[Problem, ...]

    def raise_errors(self) -> None:
        """DataError that quotes the first errors, when there are any."""
        errors = [problem for problem in self.problems if problem.severity == ERROR]
        if not errors:
            return
        more = f"\n  ... and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
        quoted = "".join(f"\n  {problem}" for problem in errors[:SHOWN])
        raise DataError(
            f"market data of zone {self.manifest.zone} in {self.manifest.directory} have "
            f"{len(errors)} error(s):{quoted}{more}\nEvery check code is explained in "
            "docs/market-data.md."
        )


def check_market(directory: Path, zone: str | None = None) -> list[Problem]:
    """Every problem of the market data of one zone; an empty list means none was found.

    Parameters
    ----------
    directory : the folder with manifest.json, or its parent when `zone` is given
    zone : bidding zone
    """
    try:
        return list(inspect(Path(directory), zone).problems)
    except DataError as error:
        return [Problem("D100", ERROR, "manifest", str(directory), str(error))]


def inspect(directory: Path, zone: str | None) -> Inspection:
    """Reads every file once and checks it.

    Raises
    ------
    DataError : the manifest itself cannot be used
    """
    manifest = read_manifest(directory, zone)
    problems = _listing_problems(manifest)
    frames: dict[str, pd.DataFrame] = {}
    for entry in manifest.entries:
        if entry.stem in SERIES:
            frame, found = _inspect_series(manifest, entry)
            problems += found
            if not frame.empty:
                frames[entry.stem] = frame
    problems += check_clock(frames, manifest.timezone)
    return Inspection(manifest, frames, tuple(problems))


def _inspect_series(manifest: Manifest, entry: Entry) -> tuple[pd.DataFrame, list[Problem]]:
    """One series: the frame, empty when its labels cannot be used, and everything found in it."""
    spec = SERIES[entry.stem]
    found = Findings(entry.stem)
    clauses = _declarations(found, entry, spec)
    raw = _read(found, manifest, entry)
    frame = pd.DataFrame() if raw is None else _form(found, entry, spec, raw)
    if frame.empty:
        return frame, found.problems
    usable, problems = check_labels(spec, frame, manifest.timezone)
    problems += check_values(spec, frame)
    if usable and spec.ex_post and clauses:
        _knowledge_time(found, spec, frame, clauses[VALUE], manifest.timezone)
    return (frame if usable else pd.DataFrame()), found.problems + problems


def _listing_problems(manifest: Manifest) -> list[Problem]:
    """D104-D107: what is listed, what lies in the folder, and what a zone should have."""
    found = Findings("manifest")
    listed = {entry.stem for entry in manifest.entries}
    for path in sorted(manifest.directory.glob("*.parquet")):
        if path.stem not in listed:
            text = "not listed in the manifest, so it is not read. Import it, or delete it."
            found.warning("D104", path.name, text)
    for stem in sorted(listed - set(SERIES)):
        text = f"series is unknown and is not read. Known: {', '.join(SERIES)}."
        found.warning("D105", f"{stem}.parquet", text)
    absent = [spec for spec in SERIES.values() if spec.stem not in listed]
    for spec in absent:
        if spec.required:
            text = f"{spec.description} is missing; every zone needs it. Import it."
            found.error("D106", spec.stem, text)
    optional = [spec.stem for spec in absent if not spec.required]
    if optional:
        text = f"optional series absent: {', '.join(optional)}. "
        found.warning("D107", manifest.zone, text + "What needs them is closed or falls back.")
    return found.problems


def _read(found: Findings, manifest: Manifest, entry: Entry) -> pd.DataFrame | None:
    """D101-D103. A file that contradicts its hash is not parsed at all."""
    path = manifest.path(entry)
    if not path.is_file():
        text = "listed in the manifest but not there. Restore it or import it again."
        found.error("D101", path.name, text)
        return None
    if not entry.sha256:
        found.error("D102", path.name, "the manifest has no sha256 for it. Import it again.")
    elif (actual := file_sha256(path)) != entry.sha256:
        found.error(
            "D102",
            path.name,
            f"sha256 is {actual[:12]}..., the manifest says {entry.sha256[:12]}...: the file is "
            "damaged or was edited. Restore it or import it again; nothing was changed.",
        )
        return None
    try:
        frame = pd.read_parquet(path)
    except _UNREADABLE as error:
        found.error("D103", path.name, f"not readable as Parquet: {error}. Import it again.")
        return None
    return frame.set_index(INDEX_NAME) if INDEX_NAME in frame.columns else frame


def _declarations(found: Findings, entry: Entry, spec: SeriesSpec) -> dict[str, Clause]:
    """D208, D209: unit, currency and time of publication as the manifest declares them."""
    unit = entry.unit.split(";")[0].strip()
    if unit != spec.unit:
        found.error(
            "D208",
            "manifest",
            f"unit is {unit!r}, expected {spec.unit!r}. Import it again with the unit of the "
            "source; other units and currencies are converted only on request.",
        )
    if not entry.known_since:
        text = "known_since is missing, so no decision may use the series. State when values "
        found.error("D209", "manifest", text + "become public.")
        return {}
    try:
        return parse_known_since(entry.known_since)
    except DataError as error:
        found.error("D209", "manifest", str(error))
        return {}


def _form(found: Findings, entry: Entry, spec: SeriesSpec, frame: pd.DataFrame) -> pd.DataFrame:
    """D201-D207, D210. The known numeric columns on a UTC index; empty when unusable."""
    nothing = pd.DataFrame()
    present = _columns(found, spec, frame)
    index = frame.index
    if not isinstance(index, pd.DatetimeIndex) or index.name != INDEX_NAME or index.hasnans:
        text = f"index is {index.name!r} of dtype {index.dtype}; expected timestamps without "
        found.error("D204", "index", text + f"gaps, named {INDEX_NAME!r}. Import it again.")
        return nothing
    if index.tz is None:
        text = "timestamps have no time zone. Import again and say which local time, or UTC, "
        found.error("D205", INDEX_NAME, text + "they are in.")
        return nothing
    if str(index.tz) != "UTC":
        found.error("D206", INDEX_NAME, f"timestamps are in {index.tz}, expected UTC.")
    if frame.empty or not present:
        if frame.empty:
            found.error("D207", "file", "has no rows. Expected at least one delivery day.")
        return nothing
    facts = (len(frame), str(index[0]), str(index[-1]))
    claims = (entry.rows, entry.first, entry.last)
    if any(claim is not None and claim != fact for claim, fact in zip(claims, facts, strict=True)):
        text = f"says rows, first, last = {claims}, but the file has {facts}. Import it again."
        found.error("D210", "manifest", text)
    return frame[present].astype("float64").set_axis(index.tz_convert("UTC").as_unit("us"), axis=0)


def _columns(found: Findings, spec: SeriesSpec, frame: pd.DataFrame) -> list[str]:
    """D201-D203. Names of the columns that can be used, in the order of the table."""
    present = [name for name in spec.column_names if name in frame.columns]
    missing = [name for name in spec.column_names if name not in frame.columns]
    unknown = [str(name) for name in frame.columns if name not in spec.column_names]
    expected = ", ".join(spec.column_names)
    if missing and (not spec.columns_optional or not present):
        found.error("D201", ", ".join(missing), f"column(s) missing. Expected: {expected}.")
    if unknown:
        text = f"unknown column(s). Expected only: {expected}. Rename or leave out."
        found.error("D202", ", ".join(unknown), text)
    types: dict[str, Any] = {name: frame[name].dtype for name in present}
    for name, dtype in types.items():
        if not is_numeric_dtype(dtype) or is_bool_dtype(dtype):
            found.error("D203", name, f"dtype is {dtype}, expected float64. Import it again.")
    return [name for name, t in types.items() if is_numeric_dtype(t) and not is_bool_dtype(t)]


def _knowledge_time(
    found: Findings, spec: SeriesSpec, frame: pd.DataFrame, clause: Clause, timezone: str
) -> None:
    """D212: a measured value is not public before its delivery has ended."""
    if not any(spec.column(str(name)).group == VALUE for name in frame.columns):
        return
    index = pd.DatetimeIndex(frame.index[:_ROWS_TRIED])
    known = pd.DatetimeIndex(clause.times(spec, index, timezone))
    if (known < row_end(spec, index, timezone)).any():
        found.error(
            "D212",
            "manifest",
            f"known_since {clause.text!r} lets measured values be known before their delivery "
            "ends. Expected 'delivery end' or later, or 'forecasts ...; realised values ...'.",
        )
