"""What a battery did on a day at a price, and the file that remembers it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from stochbess.battery.aging import RangeFlag
from stochbess.errors import StoreError
from stochbess.run_record import canonical_json


@dataclass(frozen=True)
class DayUse:
    """One day at one price and health.

    Attributes
    ----------
    revenue_eur : profit before any cost of aging
    growth : of the state of each mechanism of all laws
    full_cycles : of the capacity that is left
    moved, shallow : energy moved in half cycles, and in those less deep than any that was tested,
        over usable energy
    shortfall_mwh : of the schedule, not followed by the plant
    mean_degc : of the cells
    flags : where laws are stretched
    """

    day: str
    price_eur_kwh: float
    health_frac: float
    revenue_eur: float
    growth: tuple[float, ...]
    full_cycles: float
    moved: float
    shallow: float
    shortfall_mwh: float
    mean_degc: float
    flags: tuple[RangeFlag, ...]

    @property
    def key(self) -> tuple[str, float, float]:
        return self.day, self.price_eur_kwh, self.health_frac


class DayStore:
    """Uses of days that are known already: a file of JSON lines for everything of one identity.

    Lines are only appended. One that a kill has cut short is not read, and computed again.
    """

    def __init__(self, store_dir: Path, sha256: str) -> None:
        self.path = store_dir / "lifetime" / f"{sha256[:16]}.jsonl"
        self.known: dict[tuple[str, float, float], DayUse] = {}
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                use = _read(line)
                if use is not None:
                    self.known[use.key] = use

    def add(self, uses: Sequence[DayUse]) -> None:
        """Keep uses, on disk too.

        Raises
        ------
        StoreError : the file cannot be written
        """
        self.known |= {use.key: use for use in uses}
        text = "".join(canonical_json(asdict(use)) + "\n" for use in uses)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(("\n" if self._cut_short() else "") + text)
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be written: {error.strerror or error}. Free it, or name "
                "another store."
            ) from error

    def _cut_short(self) -> bool:
        if not self.path.is_file():
            return False
        content = self.path.read_bytes()
        return bool(content) and not content.endswith(b"\n")


def _read(line: str) -> DayUse | None:
    try:
        record = json.loads(line)
        flags = tuple(
            RangeFlag(**{**flag, "tested": tuple(flag["tested"]), "found": tuple(flag["found"])})
            for flag in record["flags"]
        )
        return DayUse(**{**record, "growth": tuple(record["growth"]), "flags": flags})
    except (ValueError, KeyError, TypeError):
        return None
