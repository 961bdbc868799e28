"""Bids as a CSV file for people and other programs."""

from __future__ import annotations

import contextlib
import csv
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pandas as pd

from stochbess.errors import ReportError
from stochbess.run_record import RunRecord

COLUMNS = (
    "market",
    "product",
    "start_utc",
    "start_local",
    "end_local",
    "mw",
    "price",
    "zone",
    "synthetic",
    "run_id",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_bids(record: RunRecord, bids: pd.DataFrame, path: Path) -> None:
    """Write the bids of a run; a file that is there is replaced in one step or not at all.

    One row per product and delivery interval; `mw` > 0 sells, a number with six decimals at most.
    Text that a spreadsheet would take for a formula gets a leading apostrophe.

    Raises
    ------
    ReportError : the file cannot be written; nothing is left behind
    """
    with written_whole(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_rows(record, bids))


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[IO[str]]:
    """A text file that replaces `path` when the block ends, or leaves it as it is if it fails."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("x", encoding="utf-8", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        text = f"{path}: bids cannot be written: {error.strerror or error}. Name another file."
        raise ReportError(text) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _rows(record: RunRecord, bids: pd.DataFrame) -> Iterator[list[object]]:
    for row in bids.to_dict("records"):
        yield [
            as_text(str(row["market"])),
            as_text(str(row["product"])),
            f"{row['start_utc']:%Y-%m-%dT%H:%MZ}",
            as_text(str(row["start_local"])),
            as_text(str(row["end_local"])),
            round(float(row["mw"]), 6) + 0.0,
            as_text(str(row["price"])),
            as_text(record.zone),
            "yes" if record.synthetic else "no",
            as_text(record.run_id),
        ]


def as_text(cell: str) -> str:
    """A cell of text that no spreadsheet computes."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
