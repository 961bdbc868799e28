"""The manifest of a market data directory: what each series is and the hash that seals it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stochbess.errors import DataError

FILE_NAME = "manifest.json"


@dataclass(frozen=True)
class Entry:
    """What the manifest says of one series; `known_since` is empty when it says nothing."""

    stem: str
    product: str
    unit: str
    source: str
    licence: str
    known_since: str
    sha256: str
    rows: int | None
    first: str | None
    last: str | None


@dataclass(frozen=True)
class Manifest:
    """One zone: identity, local time, and its series in file order."""

    directory: Path
    zone: str
    timezone: str
    synthetic: bool
    entries: tuple[Entry, ...]

    def path(self, entry: Entry) -> Path:
        return self.directory / f"{entry.stem}.parquet"

    def sha256(self) -> str:
        """Hash of everything that a computation can see: identity, units, times, file hashes."""
        seen = [[e.stem, e.sha256, e.unit, e.known_since] for e in self.entries]
        text = json.dumps([self.zone, self.timezone, self.synthetic, sorted(seen)])
        return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, lower-case hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def find_zone(directory: Path, zone: str | None) -> Path:
    """The directory that holds the manifest: `directory` itself or `directory`/`zone`.

    Raises
    ------
    DataError : there is no manifest, or several zones to choose from and no `zone`
    """
    if (directory / FILE_NAME).is_file():
        return directory
    if zone is not None and (directory / zone / FILE_NAME).is_file():
        return directory / zone
    if not directory.is_dir():
        raise DataError(
            f"market data directory {directory} does not exist. Expected a folder with "
            f"{FILE_NAME} or with one folder per zone. Check market.data_dir."
        )
    zones = sorted(path.parent.name for path in directory.glob(f"*/{FILE_NAME}"))
    wanted = "no zone was named" if zone is None else f"zone {zone!r} is not among them"
    raise DataError(
        f"{directory} has no {FILE_NAME}; zones found below it: {', '.join(zones) or 'none'}; "
        f"{wanted}. Name one of them (market.zone) or import data with `stochbess.market.importer`."
    )


def read_manifest(directory: Path, zone: str | None) -> Manifest:
    """Reads and validates the manifest of one zone.

    Raises
    ------
    DataError : no manifest, no valid JSON, wrong zone, unknown time zone, missing or bad keys
    """
    home = find_zone(directory, zone)
    path = home / FILE_NAME
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}. Restore or re-import.") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("series"), list):
        raise DataError(f"{path}: expected an object with zone, timezone and a list 'series'.")
    name, timezone = _text(raw, "zone", path), _text(raw, "timezone", path)
    if zone is not None and name != zone:
        raise DataError(
            f"{path} describes zone {name!r}, but {zone!r} was asked for. Set market.zone to "
            f"{name!r} or point market.data_dir to the data of {zone!r}."
        )
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder of zones
        raise DataError(
            f"{path}: timezone {timezone[:80]!r} is unknown. Expected an IANA name such as "
            "Europe/Berlin."
        ) from error
    synthetic = raw.get("synthetic", False)
    if not isinstance(synthetic, bool):
        raise DataError(f"{path}: 'synthetic' is {synthetic!r}; expected true or false.")
    entries = tuple(_entry(item, path) for item in raw["series"])
    stems = [entry.stem for entry in entries]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise DataError(f"{path}: series listed twice: {', '.join(twice)}. Keep one entry each.")
    return Manifest(home, name, timezone, synthetic, entries)


def _text(raw: dict[str, Any], key: str, path: Path) -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not value:
        raise DataError(f"{path}: key {key!r} is {value!r}; expected a non-empty text.")
    return value


def _entry(item: Any, path: Path) -> Entry:
    if not isinstance(item, dict):
        raise DataError(f"{path}: an entry of 'series' is {item!r}; expected an object.")
    file = _text(item, "file", path)
    stem = file.removesuffix(".parquet")
    if stem == file or Path(file).name != file:
        raise DataError(
            f"{path}: file {file!r} is not a plain name ending in .parquet. Only Parquet files "
            "beside the manifest are read (no pickle, no other folder)."
        )
    texts = {key: item.get(key, "") for key in ("product", "unit", "source", "licence")}
    texts |= {key: item.get(key, "") for key in ("known_since", "sha256")}
    wrong = [key for key, value in texts.items() if not isinstance(value, str)]
    rows = item.get("rows")
    if wrong or not (rows is None or isinstance(rows, int)):
        raise DataError(f"{path}: {file}: {', '.join([*wrong, 'rows'])}: expected texts, rows: int")
    first, last = (str(item[key]) if key in item else None for key in ("first", "last"))
    return Entry(stem=stem, rows=rows, first=first, last=last, **texts)
