"""A stored run as the command line sees it: the record and the frames, nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stochbess.cli_output import rows_of
from stochbess.reports.facts import Fact, as_records, from_records
from stochbess.run_record import RunRecord

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class View:
    """A run as it is stored, ready to be shown."""

    record: RunRecord
    frames: Mapping[str, pd.DataFrame]
    store_dir: Path

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        return from_records(json.loads(self.record.facts_json).get("facts", []))

    @cached_property
    def assumptions(self) -> tuple[str, ...]:
        return tuple(json.loads(self.record.facts_json).get("assumptions", []))

    @cached_property
    def config(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.record.config_json)
        return loaded

    @cached_property
    def _by_name(self) -> dict[str, Fact]:
        return {fact.name: fact for fact in self.facts}

    def value(self, name: str) -> float | None:
        """A number of the run, None where it has none of that name."""
        fact = self._by_name.get(name)
        return None if fact is None or isinstance(fact.value, str) else fact.value

    def words(self, name: str) -> str:
        fact = self._by_name.get(name)
        return "" if fact is None or fact.value is None else str(fact.value)

    @property
    def n_scenarios(self) -> int:
        return int(self.value("scenarios") or 1)


def run_document(view: View) -> dict[str, Any]:
    """A run as one JSON document: record, facts, assumptions, bids, cash and worth."""
    record = view.record
    frames = view.frames
    cash = frames["cash"][["line", "expected"]] if "cash" in frames else None
    return {
        "record": {
            "run_id": record.run_id,
            "status": record.status,
            "created_utc": record.created_utc.isoformat(),
            "formulation": record.formulation,
            "engine": record.engine,
            "zone": record.zone,
            "day": record.day.isoformat(),
            "synthetic": record.synthetic,
            "seed": record.seed,
            "reproducible": record.reproducible,
            "config": view.config,
            "config_sha256": record.config_sha256,
            "data_sha256": record.data_sha256,
            "code_sha256": record.code_sha256,
            "volatile": json.loads(record.volatile_json),
        },
        "facts": as_records(view.facts),
        "assumptions": list(view.assumptions),
        "bids": rows_of(frames.get("bids")),
        "cash": rows_of(
            None if cash is None else cash.rename(columns={"expected": "expected_eur"})
        ),
        "worth": rows_of(frames.get("worth")),
    }
