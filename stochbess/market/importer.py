"""Turns a user's CSV or Parquet file into a market data directory, or changes nothing at all.

The new file and manifest are written to a staging folder on the same file system, checked there,
and only then moved into place.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from stochbess.errors import DataError
from stochbess.market.check import inspect
from stochbess.market.import_source import BLOCK_HOURS, ImportSpec, read_source
from stochbess.market.known_since import parse_known_since
from stochbess.market.manifest import FILE_NAME, file_sha256, read_manifest
from stochbess.market.problem import ERROR, Problem
from stochbess.market.schema import SERIES

__all__ = ["BLOCK_HOURS", "ImportReport", "ImportSpec", "import_series"]


@dataclass(frozen=True)
class ImportReport:
    """What an import did; `problems` are the findings of the checks on the whole directory."""

    path: Path
    rows: int
    first_utc: pd.Timestamp
    last_utc: pd.Timestamp
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]


def import_series(source: Path, target: Path, spec: ImportSpec) -> ImportReport:
    """Imports one series of one zone into `target`/zone, replacing the series if it is there.

    Parameters
    ----------
    source : CSV or Parquet file
    target : folder of market data; the zone gets a folder of its own below it
    spec : everything that is declared about the source

    Raises
    ------
    DataError : the source cannot be read as declared, the folder belongs to another zone, or a
        check of severity error fails on the new series; `target` is unchanged then
    """
    spec = replace(spec, series=spec.series.replace("-", "_"))  # day-ahead, as in options
    frame, notes = read_source(Path(source), spec)
    parse_known_since(spec.known_since)
    home = Path(target) / spec.zone
    raw = _existing(home, spec)
    target.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".importing-", dir=target))
    try:
        draft = staging / spec.zone
        draft.mkdir()
        if home.is_dir():
            for path in sorted(home.glob("*.parquet")):
                shutil.copy2(path, draft / path.name)
        file = draft / f"{spec.series}.parquet"
        frame.to_parquet(file)
        _sync(file)
        entry = _entry(spec, frame, file_sha256(file), notes)
        others = [item for item in raw["series"] if item.get("file") != file.name]
        order = {f"{stem}.parquet": i for i, stem in enumerate(SERIES)}
        raw["series"] = sorted(
            [*others, entry], key=lambda item: order.get(str(item.get("file")), len(order))
        )
        _write_json(draft / FILE_NAME, raw)
        problems = inspect(draft, spec.zone).problems
        _refuse(problems, spec, Path(source))
        _move_into_place(draft, home, file.name, staging / "previous.parquet")
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    index = pd.DatetimeIndex(frame.index)
    return ImportReport(
        home / f"{spec.series}.parquet", len(frame), index[0], index[-1], tuple(notes), problems
    )


def _existing(home: Path, spec: ImportSpec) -> dict[str, Any]:
    """Raw manifest of the zone, or that of a new zone; refuses to mix zones and times."""
    if not home.exists():
        new: dict[str, Any] = {"zone": spec.zone, "timezone": spec.timezone}
        if spec.synthetic:
            new["synthetic"] = True
        return new | {"series": []}
    manifest = read_manifest(home, spec.zone)
    found = (manifest.timezone, manifest.synthetic)
    wanted = (spec.timezone, spec.synthetic)
    if found != wanted:
        raise DataError(
            f"{home} holds data with (timezone, synthetic) = {found}, the import says {wanted}. "
            "Import into another folder, or correct the declaration."
        )
    raw: dict[str, Any] = json.loads((home / FILE_NAME).read_text(encoding="utf-8"))
    return raw


def _entry(spec: ImportSpec, frame: pd.DataFrame, sha256: str, notes: list[str]) -> dict[str, Any]:
    rules = SERIES[spec.series]
    entry: dict[str, Any] = {
        "file": f"{spec.series}.parquet",
        "rows": len(frame),
        "first": str(frame.index[0]),
        "last": str(frame.index[-1]),
        "sha256": sha256,
        "product": spec.product or rules.description,
        "unit": rules.unit,
        "source": spec.source,
        "licence": spec.licence,
        "known_since": spec.known_since,
    }
    return entry | ({"import_notes": notes} if notes else {})


def _refuse(problems: tuple[Problem, ...], spec: ImportSpec, source: Path) -> None:
    """DataError when the new series has errors; those of other series do not stop an import."""
    errors = [p for p in problems if p.severity == ERROR and p.series == spec.series]
    if errors:
        quoted = "".join(f"\n  {problem}" for problem in errors)
        raise DataError(
            f"{source.name} was not imported as {spec.series} of {spec.zone}; nothing was changed."
            f"{quoted}"
        )


def _move_into_place(draft: Path, home: Path, file: str, previous: Path) -> None:
    """One rename for a new zone; else the file, then the manifest, with the file put back on error.

    A loss of power between the two renames leaves a file that contradicts its manifest, which every
    load reports as D102.
    """
    if not home.exists():
        draft.rename(home)
        _sync(home.parent)
        return
    old = home / file
    if old.exists():
        shutil.copy2(old, previous)
    (draft / file).replace(old)
    try:
        (draft / FILE_NAME).replace(home / FILE_NAME)
    except OSError:
        if previous.exists():
            previous.replace(old)
        else:
            old.unlink()
        raise
    _sync(home)


def _write_json(path: Path, raw: dict[str, Any]) -> None:
    path.write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _sync(path)


def _sync(path: Path) -> None:
    """Flushes a file or a folder to the disk; folders only where the system can."""
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
