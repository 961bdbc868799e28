"""What a run is known by: its identity, its record, and the names under which it may be stored."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stochbess.errors import StoreError

STATUSES = ("running", "done", "interrupted", "failed")

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}")  # no leading dot: neither "..", nor hidden
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run without opening its frames.

    Attributes
    ----------
    run_id : identity of the run, see `run_id()`; `[A-Za-z0-9._-]{1,80}`
    created_utc : when the run began, timezone-aware
    status : running, done, interrupted or failed
    formulation, engine : names, as in the configuration
    zone, day : bidding zone and first local delivery day
    synthetic : True if the market data are not real
    config_json, config_sha256 : canonical JSON of the resolved configuration and its hash
    data_sha256, code_sha256 : hashes of the market data and of the toolkit's sources
    seed : root seed of the random streams
    facts_json : canonical JSON of the facts of the run
    volatile_json : JSON of what differs between identical runs (wall time, host)
    reproducible : False if a wall-clock limit or threads decided where a solve stopped

    Raises
    ------
    StoreError : a field that the store could not give back as it was
    """

    run_id: str
    created_utc: datetime
    status: str
    formulation: str
    zone: str
    day: date
    synthetic: bool
    config_json: str
    config_sha256: str
    data_sha256: str
    code_sha256: str
    seed: int
    engine: str
    facts_json: str
    volatile_json: str
    reproducible: bool

    def __post_init__(self) -> None:
        check_name(self.run_id, "run id")
        if self.status not in STATUSES:
            raise StoreError(
                f"status {self.status!r} of run {self.run_id}: expected {', '.join(STATUSES)}."
            )
        if self.created_utc.tzinfo is None:
            raise StoreError(
                f"created_utc of run {self.run_id} is {self.created_utc} without a timezone. "
                "Expected an aware UTC time, as stochbess.clock.now_utc() gives it."
            )
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, str):
                continue
            try:
                value.encode()
                if field.name.endswith("_json"):
                    canonical_json(json.loads(value))
            except ValueError as error:
                raise StoreError(
                    f"{field.name} of run {self.run_id} cannot be stored ({error}). Expected "
                    "text that UTF-8 can hold, and JSON without NaN in the fields named so, as "
                    "stochbess.store.canonical_json() writes it."
                ) from error


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Raises
    ------
    ValueError : NaN or infinity, which JSON does not have; write null for "not available"
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def run_id(parts: Mapping[str, str]) -> str:
    """Identity of a run: the first 16 hex digits of the SHA-256 of what it is computed from.

    Parameters
    ----------
    parts : everything that determines the result, as text: hashes of configuration, data and code,
        seed, formulation, engine. A part that is left out cannot tell two runs apart.
    """
    return hashlib.sha256(canonical_json(dict(parts)).encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def code_sha256() -> str:
    """SHA-256 over the toolkit's Python and TOML sources.

    The same for a checkout and for an installed package of the same commit: files are named by
    their place in the package, and line ends are compared as `\\n`.
    """
    sources: dict[str, Path] = {}
    for package in ("stochbess", "stochbess.models", "stochbess.scenario_gen", "stochbess.reports"):
        spec = find_spec(package)
        locations = spec.submodule_search_locations if spec else None
        if not locations:
            raise StoreError(f"package {package} is not to be found. Reinstall stochbess.")
        folder = Path(locations[0])
        for path in folder.rglob("*"):
            if path.suffix in (".py", ".toml") and path.is_file():
                place = "/".join([*package.split("."), *path.relative_to(folder).parts])
                sources[place] = path
    digest = hashlib.sha256()
    for place, path in sorted(sources.items()):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{place}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def check_name(name: str, what: str) -> str:
    """Return `name` if it is safe as a file name on every platform, else raise StoreError."""
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        raise StoreError(
            f"{what} {name[:100]!r} is not usable as a file name. Expected 1 to 80 of the "
            "characters A-Z a-z 0-9 . _ - without a leading dot, and no device name such as NUL."
        )
    return name
