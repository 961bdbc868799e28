"""The bids as rows of two tables: reserve by block, day-ahead positions by delivery interval."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from stochbess.reports.book import FactBook, decimals
from stochbess.reports.material import Material

# Days whose bids are printed; those of later days are in facts.json and the CSV of the bids.
DAYS_PRINTED = 8
_HOUR_CELLS, _QUARTER_CELLS = 6, 8
_LABELS = {
    ("FCR", "symmetric"): ("FCR", "fcr"),
    ("aFRR", "up"): ("aFRR up", "afrr-up"),
    ("aFRR", "down"): ("aFRR down", "afrr-down"),
}


@dataclass(frozen=True)
class Product:
    label: str
    kind: str


@dataclass(frozen=True)
class Block:
    """A block: names of the facts with its hours and with the MW of every product, in order."""

    hours: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Unit:
    """A delivery interval of the day-ahead auction: names of its start and of its MW."""

    start: str
    mw: str


@dataclass(frozen=True)
class Day:
    """Bids of one local delivery day."""

    date: str
    blocks: tuple[Block, ...]
    units: tuple[tuple[Unit, ...], ...]


@dataclass(frozen=True)
class BidRows:
    products: tuple[Product, ...]
    days: tuple[Day, ...]
    cut: bool  # whether later days are left out of the print
    has_units: bool
    commitments: tuple[str, ...]

    @property
    def empty(self) -> bool:
        return not self.products and not self.has_units

    @property
    def closed(self) -> tuple[str, ...]:
        """Markets with a gate that offer nothing here because they are closed."""
        kinds = {product.kind for product in self.products}
        found = [
            label for label, kind in (("FCR", "fcr"), ("aFRR", "afrr-up")) if kind not in kinds
        ]
        return (*found, *(() if self.has_units else ("the day-ahead auction",)))


def bid_rows(book: FactBook, material: Material) -> BidRows:
    """Enter every bid as a fact and lay the tables out."""
    bids = material.bids
    reserve = bids[bids["market"] != "day-ahead"]
    energy = bids[bids["market"] == "day-ahead"]
    products = list(dict.fromkeys(zip(reserve["market"], reserve["product"], strict=True)))
    lot_digits = decimals(reserve["mw"].tolist())
    blocks = _blocks(book, reserve, products, lot_digits)
    units = _units(book, energy)
    dates = list(dict.fromkeys(sorted([*(d for d, _ in blocks), *(d for d, _ in units)])))
    wide = _QUARTER_CELLS if len(units) > 30 * max(1, len(dates)) else _HOUR_CELLS
    days = []
    for date in dates:
        own = [unit for d, unit in units if d == date]
        rows = tuple(tuple(own[i : i + wide]) for i in range(0, len(own), wide))
        name = book.words(f"delivery.{date}", date, "local delivery day")
        days.append(Day(name, tuple(b for d, b in blocks if d == date), rows))
    return BidRows(
        products=tuple(Product(*_LABELS.get(p, (" ".join(p), ""))) for p in products),
        days=tuple(days[:DAYS_PRINTED]),
        cut=len(days) > DAYS_PRINTED,
        has_units=bool(units),
        commitments=_commitments(book, material),
    )


def _blocks(
    book: FactBook, reserve: pd.DataFrame, products: list[tuple[str, str]], digits: int
) -> list[tuple[str, Block]]:
    found = []
    for start, rows in reserve.groupby("start_utc", sort=True):
        first = rows.iloc[0]
        begin, end = str(first["start_local"]), str(first["end_local"])
        key = f"{pd.Timestamp(str(start)):%Y-%m-%dT%H:%MZ}"
        hours = book.words(f"block.{key}", f"{begin[11:]} – {end[11:]}", "local hours of the block")
        amounts = {
            (str(r["market"]), str(r["product"])): float(r["mw"]) for _, r in rows.iterrows()
        }
        cells = tuple(
            book.number(
                f"bid.{market.lower()}.{product}.{key}",
                amounts.get((market, product)),
                "MW",
                digits,
                f"{market} {product} capacity to offer",
                reason="this product has no bid in this block",
            )
            for market, product in products
        )
        found.append((begin[:10], Block(hours, cells)))
    return found


def _units(book: FactBook, energy: pd.DataFrame) -> list[tuple[str, Unit]]:
    found = []
    locals_ = energy["start_local"].astype(str)
    twice = set(locals_[locals_.duplicated()])  # the hour that autumn repeats: a, then b
    seen: set[str] = set()
    for row in energy.sort_values("start_utc", kind="stable").to_dict("records"):
        local, key = str(row["start_local"]), f"{row['start_utc']:%Y-%m-%dT%H:%MZ}"
        mark = ("b" if local in seen else "a") if local in twice else ""
        seen.add(local)
        start = book.words(f"unit.{key}", local[11:] + mark, "local start of delivery")
        mw = book.number(
            f"bid.day-ahead.{key}", float(row["mw"]), "MW", 3,
            "day-ahead position, above zero sells", signed=True,
        )  # fmt: skip
        found.append((local[:10], Unit(start, mw)))
    return found


def _commitments(book: FactBook, material: Material) -> tuple[str, ...]:
    sold = material.config["battery"]["state"]["commitments"]
    return tuple(
        book.words(
            f"commitment.{i + 1}",
            f"{item['market'].replace('_', ' ')} {item['mw']:g} MW at "
            f"{str(item['start_local']).replace('T', ' ')}",
            "sold before this decision",
        )
        for i, item in enumerate(sold)
    )
