"""Day-ahead curves as a CSV file that an exchange client can take, and back.

One row per point. Every curve begins at the lowest and ends at the highest price of the auction, so
that what is offered outside its own points is written out. Quantities are rounded to the volume
tick of the exchange here and nowhere else; rounding keeps a rising curve rising.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.cli_bids import as_text, written_whole
from stochbess.errors import ReportError
from stochbess.market.rules import rules_for
from stochbess.run_record import RunRecord

Floats = npt.NDArray[np.float64]
COLUMNS = (
    "document",
    "zone",
    "start_utc",
    "start_local",
    "end_local",
    "point",
    "price_eur_mwh",
    "sell_mw",
    "interpolation",
    "rounded_to_mw",
    "synthetic",
    "run_id",
)
DOCUMENT = "day-ahead curve order v1"


@dataclass(frozen=True)
class Curve:
    """One unit's order: prices strictly rising (P,), quantities not falling (P,), + sells."""

    price_eur_mwh: Floats
    sell_mw: Floats


def curve_path(bids: Path) -> Path:
    """Where the curves go beside a file of bids: ``bids.csv`` -> ``bids-curve.csv``."""
    return bids.with_name(f"{bids.stem}-curve{bids.suffix or '.csv'}")


def write_curves(record: RunRecord, curve: pd.DataFrame, path: Path) -> None:
    """Write the curves of a run; a file that is there is replaced in one step or not at all.

    Raises
    ------
    ReportError : the file cannot be written
    """
    rules = rules_for(record.zone, "day_ahead", record.day)
    low, high = rules.number("price_min_eur_mwh"), rules.number("price_max_eur_mwh")
    tick = rules.number("lot_mw")
    with written_whole(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for start, points in curve.groupby("start_utc", sort=True):
            order = with_ends(
                points["price_eur_mwh"].to_numpy(np.float64),
                points["mw"].to_numpy(np.float64), low, high, tick,
            )  # fmt: skip
            first, begin = points.iloc[0], f"{pd.Timestamp(str(start)):%Y-%m-%dT%H:%MZ}"
            for i, (price, mw) in enumerate(zip(order.price_eur_mwh, order.sell_mw, strict=True)):
                writer.writerow(
                    [
                        DOCUMENT, as_text(record.zone), begin,
                        as_text(str(first["start_local"])), as_text(str(first["end_local"])), i + 1,
                        f"{price:.2f}", f"{mw:.6g}", "linear", f"{tick:g}",
                        "yes" if record.synthetic else "no", as_text(record.run_id),
                    ]
                )  # fmt: skip


def with_ends(price: Floats, mw: Floats, low: float, high: float, tick_mw: float) -> Curve:
    """A curve on the volume tick, flat from its own points to the price limits of the auction."""
    prices, quantities = list(price), list(mw)
    if prices[0] > low:
        prices, quantities = [low, *prices], [quantities[0], *quantities]
    if prices[-1] < high:
        prices, quantities = [*prices, high], [*quantities, quantities[-1]]
    rounded = np.round(np.array(quantities) / tick_mw) * tick_mw
    return Curve(np.array(prices, np.float64), np.round(rounded, 9) + 0.0)


def read_curves(path: Path) -> Mapping[str, Curve]:
    """Curves of a file by the UTC start of their unit, as written.

    Raises
    ------
    ReportError : another kind of file, prices that do not rise, or quantities that fall
    """
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or any(row.get("document") != DOCUMENT for row in rows):
        raise ReportError(f"{path}: expected rows of {DOCUMENT!r}, as `--bids` writes them")
    found: dict[str, Curve] = {}
    for start in dict.fromkeys(row["start_utc"] for row in rows):
        own = [row for row in rows if row["start_utc"] == start]
        price = np.array([float(row["price_eur_mwh"]) for row in own])
        mw = np.array([float(row["sell_mw"]) for row in own])
        if (np.diff(price) <= 0).any() or (np.diff(mw) < 0).any():
            raise ReportError(
                f"{path}: the curve of {start} has prices {price.tolist()} and quantities "
                f"{mw.tolist()}; expected rising prices and quantities that do not fall"
            )
        found[start] = Curve(price, mw)
    return found
