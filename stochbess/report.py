"""From a stored run to a report on disk: HTML, PDF and facts.json in one directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stochbess.errors import ReportError
from stochbess.reports.bundle import holds_report, write_bundle
from stochbess.reports.decision_report import (
    FACTS_NAME,
    HTML_NAME,
    PDF_NAME,
    decision_pages,
)
from stochbess.reports.facts import from_records
from stochbess.reports.material import Material
from stochbess.reports.pdf import write_pdf
from stochbess.run_record import RunRecord

if TYPE_CHECKING:
    import pandas as pd

_FILES = frozenset({HTML_NAME, PDF_NAME, FACTS_NAME})
_NEEDED = ("bids", "schedule", "soc", "cash", "scenarios")
Tell = Callable[[str, str], None]


def default_directory(store_dir: Path, run_id: str) -> Path:
    """Where the report of a run goes if nobody says otherwise."""
    return store_dir / "reports" / run_id


def check_place(directory: Path) -> None:
    """Refuse a directory that no report may be written to, before long work goes into it.

    Raises
    ------
    ReportError : something else than a report is there
    """
    holds_report(directory, _FILES)


def write_report(
    record: RunRecord,
    frames: Mapping[str, pd.DataFrame],
    directory: Path,
    tell: Tell | None = None,
) -> None:
    """Write `report.html`, `report.pdf` and `facts.json` of a finished run.

    The same run gives the same bytes. A directory that holds a report is replaced.

    Parameters
    ----------
    record, frames : a run as it is stored; with a frame `comparison`, as
        `stochbess.comparison.compare` returns it, the report sets the formulations side by side
    directory : made if missing; nothing but a report may be in it
    tell : called with (stage, detail) as the work goes on

    Raises
    ------
    ReportError : the run has no results, or the directory cannot be written (nothing is written);
        or the PDF cannot be made (HTML and facts.json are written, and the message says so)
    """
    tell = tell or (lambda stage, detail: None)
    pages = decision_pages(material_of(record, frames), tell)
    files = {HTML_NAME: pages.html.encode(), FACTS_NAME: pages.facts_json.encode()}
    tell("report", "PDF")
    try:
        files[PDF_NAME] = write_pdf(pages.html)
    except ReportError as error:
        write_bundle(directory, files, _FILES)
        raise ReportError(f"{error}\n{HTML_NAME} and {FACTS_NAME} are in {directory}") from error
    write_bundle(directory, files, _FILES)


def material_of(record: RunRecord, frames: Mapping[str, pd.DataFrame]) -> Material:
    """A stored run as the reports read it.

    Raises
    ------
    ReportError : the run is not finished, or a table of it is missing
    """
    absent = [name for name in _NEEDED if name not in frames or frames[name].columns.empty]
    if record.status != "done" or absent:
        lack = f" ({', '.join(absent)} missing)" if absent else ""
        raise ReportError(
            f"run {record.run_id} is {record.status} and has no results to report{lack}. Repeat it "
            "with `stochbess solve`."
        )
    told = json.loads(record.facts_json)
    return Material(
        run_id=record.run_id,
        formulation=record.formulation,
        zone=record.zone,
        day=record.day,
        synthetic=record.synthetic,
        seed=record.seed,
        reproducible=record.reproducible,
        config=json.loads(record.config_json),
        config_sha256=record.config_sha256,
        data_sha256=record.data_sha256,
        code_sha256=record.code_sha256,
        facts=from_records(told.get("facts", [])),
        assumptions=tuple(told.get("assumptions", [])),
        provenance=told.get("scenarios", {}),
        frames=frames,
    )
