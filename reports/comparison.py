"""Formulations side by side: the facts of a comparison, its table and its figure.

Every decision is priced on the same scenarios; each number names the run that it comes from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stochbess.reports.book import FactBook, decimals
from stochbess.reports.material import Material
from stochbess.reports.style import (
    INK,
    LOOKS,
    SOFT,
    Image,
    drawing,
    finish,
    new_figure,
    quiet_grid,
    standalone,
    thousands,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A sign is claimed only if the bound nearest to zero is a cent away from it [EUR].
_CENT = 0.005


@dataclass(frozen=True)
class Compared:
    """One formulation: names of facts, and what this run's decision gains over its decision."""

    name: str
    run: str
    expected: tuple[str, str]  # proven lower and upper bound
    cvar: str
    worst: str
    own: str
    gap: str
    lots: str
    sold: str
    bought: str
    evpi: tuple[str, str] | None
    vss: tuple[str, str] | None
    cpu: str
    seconds: str
    gain: tuple[str, str] | None  # None for the run of the report itself
    sign: str  # of the gain: "positive", "negative", "not proven"


def compared(book: FactBook, material: Material) -> tuple[Compared, ...]:
    """Enter the facts of a comparison; nothing if the run was not compared."""
    frame = material.frames.get("comparison")
    if frame is None:
        return ()
    rows = frame.to_dict("records")
    own = next((row for row in rows if row["run_id"] == material.run_id), None)
    digits = decimals([float(row["reserve_lots"]) for row in rows], 2)
    return tuple(_entered(book, i + 1, row, own, digits) for i, row in enumerate(rows))


def _entered(
    book: FactBook, at: int, row: dict[Any, Any], own: dict[Any, Any] | None, lot_digits: int
) -> Compared:
    key, run = f"compare.{at}", str(row["run_id"])
    label = str(row["formulation"])

    def number(part: str, column: str, unit: str, digits: int, says: str, scale: float = 1) -> str:
        value = row.get(column)
        return book.number(
            f"{key}.{part}", None if value is None else scale * float(value), unit, digits,
            f"{label}: {says}", run=run,
        )  # fmt: skip

    def interval(name: str, says: str) -> tuple[str, str] | None:
        bound = row.get(f"{name}_low_eur")
        if bound is None or not np.isfinite(bound):
            return None
        low = number(f"{name}_low", f"{name}_low_eur", "EUR", 0, f"{says}, proven lower bound")
        high = number(f"{name}_high", f"{name}_high_eur", "EUR", 0, f"{says}, proven upper bound")
        return low, high

    gain, sign = None, ""
    if own is not None and row is not own:
        low = own["expected_profit_eur"] - row["expected_profit_upper_eur"]
        high = own["expected_profit_upper_eur"] - row["expected_profit_eur"]
        gain = (
            book.number(f"{key}.gain_low", low, "EUR", 2,
                        f"gain of this decision over {label}, proven lower bound", signed=True),
            book.number(f"{key}.gain_high", high, "EUR", 2,
                        f"gain of this decision over {label}, proven upper bound", signed=True),
        )  # fmt: skip
        sign = "positive" if low >= _CENT else "negative" if high <= -_CENT else "not proven"
    return Compared(
        name=book.words(f"{key}.formulation", label, "formulation", run=run),
        run=book.words(f"{key}.run", run[:8], "first digits of the run", run=run),
        expected=(
            number("expected_low", "expected_profit_eur", "EUR", 2,
                   "mean profit of its decision on the scenarios, proven lower bound"),
            number("expected_high", "expected_profit_upper_eur", "EUR", 2,
                   "mean profit of its decision on the scenarios, proven upper bound"),
        ),
        cvar=number("cvar", "cvar_eur", "EUR", 2, "CVaR of its decision on the scenarios"),
        worst=number("worst", "worst_scenario_eur", "EUR", 2, "worst scenario of its decision"),
        own=number("own", "own_profit_eur", "EUR", 2, "profit that the formulation counts on"),
        gap=number("gap", "gap_frac", "%", 2, "proven relative gap of its solve", 100),
        lots=number("lots", "reserve_lots", "", lot_digits, "lots of reserve offered, all blocks"),
        sold=number("sold", "day_ahead_sold_mwh", "MWh", 1, "day-ahead energy sold"),
        bought=number("bought", "day_ahead_bought_mwh", "MWh", 1, "day-ahead energy bought"),
        evpi=interval("evpi", "what perfect information would add to its decision"),
        vss=interval("vss", "gain of its decision over that of the mean scenario"),
        cpu=number("cpu", "cpu_s", "s", 1, "processor time of its solve"),
        seconds=number("seconds", "solve_wall_s", "s", 1, "wall-clock time of its solve"),
        gain=gain,
        sign=sign,
    )  # fmt: skip


def comparison_chart(
    material: Material, book: FactBook, rows: tuple[Compared, ...]
) -> Image | None:
    """From the worst scenario over CVaR to the mean of each decision, and what it counted on."""
    if not rows:
        return None
    with drawing():
        figure = _chart(book, rows)
        return finish(figure, material, "Comparison of formulations")


def comparison_picture(material: Material, form: str) -> bytes:
    """The same figure as a file of its own: `form` is "svg", "png" or "pdf"."""
    book = FactBook(material.run_id)
    rows = compared(book, material)
    with drawing():
        return standalone(_chart(book, rows), material, "Comparison of formulations", form)


def _chart(book: FactBook, rows: tuple[Compared, ...]) -> Figure:
    blue, red = LOOKS["day-ahead"], LOOKS["afrr-up"]
    columns = [(row.worst, row.cvar, row.expected[0], row.own) for row in rows]
    values = np.array([[book.value(name) for name in names] for names in columns])
    at = np.arange(len(rows))
    figure = new_figure(0.85 + 0.42 * len(rows))
    axes = figure.subplots()
    axes.hlines(at, values.min(axis=1), values.max(axis=1), color=SOFT, linewidth=0.8)
    marks = (
        (0, "worst scenario", "|", 13.0, red.ink, red.ink),
        (1, "CVaR", "D", 4.2, red.fill, red.ink),
        (2, "expected", "o", 6.2, blue.fill, blue.ink),
        (3, "own promise", "s", 9.0, "none", INK),
    )
    for column, label, marker, size, fill, edge in marks:
        axes.plot(values[:, column], at, marker, label=label, markersize=size, color=fill,
                  markeredgecolor=edge, markeredgewidth=1.1, linestyle="none",
                  clip_on=False)  # fmt: skip
    for i, row in enumerate(rows):
        axes.annotate(
            book[row.expected[0]].number, (values[i, 2], i), xytext=(0, 7), ha="center",
            textcoords="offset points", va="bottom", fontsize=7.5, color=blue.ink, weight=600,
        )  # fmt: skip
    axes.set_yticks(at, [book[row.name].text for row in rows], color=INK)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.75)
    axes.margins(x=0.06)
    axes.xaxis.set_major_formatter(thousands)
    axes.set_xlabel("profit over the horizon, EUR")
    quiet_grid(axes, "x")
    figure.legend(loc="outside upper center", ncols=4, borderaxespad=0.1)
    return figure
