"""Plain means to write results: width, numbers, headings, tables and JSON.

At most `WIDTH` columns; colours only on a terminal. Text that comes from data is never markup.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stochbess.cli_command import write_out

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 100
LABEL = 22  # columns of the labels on the left


@contextmanager
def page() -> Iterator[Console]:
    """Standard output, at most `WIDTH` wide, written in one go when the block ends well.

    Where it is no terminal there are neither colours nor blanks at line ends.
    """
    out = Console(highlight=False, markup=False, emoji=False)
    given = os.environ.get("COLUMNS", "")
    wide = out.width if out.is_terminal or given.isdigit() else WIDTH
    out.width = max(40, min(WIDTH, wide))
    with out.capture() as captured:
        yield out
    text = captured.get()
    if not out.is_terminal:
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    write_out(text)


def has_blocks(out: Console) -> bool:
    """Whether bars of block characters can be printed."""
    return out.encoding.lower().startswith("utf")


def number(value: float | None, digits: int = 2, signed: bool = False) -> str:
    """Digits with thousands separators; no negative zero; "-" for what is not available."""
    if value is None or not math.isfinite(value):
        return "-"
    rounded = round(float(value), digits) + 0.0
    return f"{rounded:{'+' if signed and rounded else ''},.{digits}f}"


def amount(value: float | None, digits: int = 2) -> Text:
    """Money, red below zero."""
    text = number(value, digits)
    return Text(text, style="red" if text.startswith("-") and len(text) > 1 else "")


def warn_synthetic(out: Console) -> None:
    """The label that no synthetic result goes without."""
    text = Text("SYNTHETIC DATA", "bold", justify="center")
    text.append(": prices or calls are made up, no statement about a real market", "not bold")
    out.print(Panel(text, box=box.HEAVY, style="black on yellow", width=out.width))


def section(out: Console, title: str, note: str = "") -> None:
    """Heading of a part of the output."""
    out.print()
    heading = Text(title, "bold cyan")
    if note:
        heading.append(f"  {note}", "not bold dim")
    out.print(heading)


def plain_table(*columns: str, left: Sequence[str] = (), **options: Any) -> Table:
    """A table without frame, numbers to the right; `left` names the columns of text."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim", **options)
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", overflow="fold")
    return table


def indented(out: Console, what: Any) -> None:
    """Print below a heading."""
    out.print(Padding(what, (0, 0, 0, 2)))


def pairs(*rows: tuple[str, Any]) -> Table:
    """Labels on the left, what they stand for on the right."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(width=LABEL, style="dim")
    table.add_column(overflow="fold")
    for label, content in rows:
        table.add_row(label, content)
    return table


def bullets(out: Console, texts: Iterable[str]) -> None:
    """A list with hanging indent."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(width=1, style="dim")
    table.add_column(overflow="fold")
    for text in texts:
        table.add_row("-", Text(text))
    indented(out, table)


def rows_of(frame: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Rows of a table with plain values; times as ISO 8601 in UTC."""
    if frame is None:
        return []
    records: list[dict[str, Any]] = frame.to_dict("records")  # type: ignore[assignment]
    return [{str(name): _plain(value) for name, value in row.items()} for row in records]


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat().replace("+00:00", "Z")
    if hasattr(value, "item"):
        value = value.item()
    return value
