"""Figures of the money: distribution of profit, waterfall of cash, intervals of worth."""

from __future__ import annotations

import numpy as np

from stochbess.reports.book import FactBook
from stochbess.reports.content import Content, Row
from stochbess.reports.material import Material
from stochbess.reports.style import (
    INK,
    LOOKS,
    RULE,
    SOFT,
    Image,
    bar_style,
    drawing,
    finish,
    new_figure,
    quiet_grid,
    thousands,
)

_SIGN_FILL = {"positive": LOOKS["day-ahead"].fill, "negative": LOOKS["afrr-up"].fill}


def profit_chart(material: Material, book: FactBook) -> Image | None:
    """Share of outcomes below a profit; the tail that CVaR averages is shaded."""
    frame = material.frames["scenarios"].sort_values("profit_eur", kind="stable")
    if len(frame) < 2 or not np.isfinite(frame["profit_eur"]).all():
        return None
    profit = frame["profit_eur"].to_numpy(np.float64)
    reached = np.cumsum(frame["probability"].to_numpy(np.float64))
    tail = book.value("cvar_tail") / 100
    blue = LOOKS["day-ahead"]
    with drawing():
        figure = new_figure(2.3)
        axes = figure.subplots()
        span = max(float(profit[-1] - profit[0]), 1.0)
        low, high = float(profit[0]) - 0.12 * span, float(profit[-1]) + 0.12 * span
        axes.axhspan(0, tail, facecolor="#f3e3df", edgecolor="#c9968a", hatch="////", linewidth=0)
        axes.step([low, *profit, high], [0.0, *reached, 1.0], where="post", color=blue.ink,
                  linewidth=1.4)  # fmt: skip
        axes.plot(profit, reached, blue.marker, color=blue.ink, markersize=3.2)
        # The curve leaves room above on its left and below on its right.
        mean_first = book.value("expected_profit") < book.value("median")
        marks = (
            ("cvar", "CVaR", "--", LOOKS["afrr-up"].ink, 0.55, True),
            ("expected_profit", "expected", "-", INK, 0.86 if mean_first else 0.15, not mean_first),
            ("median", "median", ":", SOFT, 0.15 if mean_first else 0.86, mean_first),
        )
        for name, label, line, color, height, right in marks:
            at = book.value(name)
            axes.axvline(at, color=color, linewidth=1.0, linestyle=line)
            axes.annotate(
                f"{label} {book[name].number}", (at, height), xytext=(4 if right else -4, 0),
                textcoords="offset points", ha="left" if right else "right", va="center",
                fontsize=7.5, color=color, weight=600,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
            )  # fmt: skip
        axes.set_xlim(low, high)
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.xaxis.set_major_formatter(thousands)
        axes.set_ylabel("outcomes up to this profit")
        axes.set_xlabel("profit over the horizon, EUR")
        quiet_grid(axes, "y")
        return finish(figure, material, "Distribution of profit")


def cash_chart(material: Material, book: FactBook, rows: tuple[Row, ...]) -> Image | None:
    """Expected cash line by line from zero to the profit."""
    lines = [row for row in rows if row.kind != "total"]
    total = next((row for row in rows if row.kind == "total"), None)
    if not lines or total is None:
        return None
    values = np.array([book.value(row.cells[0]) for row in lines])
    ends = np.cumsum(values)
    starts = ends - values
    with drawing():
        figure = new_figure(0.55 + 0.195 * (len(lines) + 1))
        axes = figure.subplots()
        for i, row in enumerate(lines):
            axes.barh(i, values[i], left=starts[i], height=0.66, **bar_style(row.kind))
            axes.plot([ends[i], ends[i]], [i - 0.33, i + 1.33], color=SOFT, linewidth=0.5,
                      zorder=0.8)  # fmt: skip
        last = len(lines)
        axes.barh(last, book.value(total.cells[0]), height=0.66, **bar_style("total"))
        reach = [*np.maximum(starts, ends), max(0.0, book.value(total.cells[0]))]
        for i, row in enumerate([*lines, total]):
            axes.annotate(
                book[row.cells[0]].number, (reach[i], i), xytext=(4, 0), va="center",
                textcoords="offset points", fontsize=7.5, weight=600 if row is total else 400,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            )  # fmt: skip
        axes.set_yticks(range(last + 1), [row.label for row in [*lines, total]], color=INK)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(last + 0.6, -0.6)
        low, high = min(0.0, float(ends.min())), float(max(reach))
        axes.set_xlim(low - 0.02 * (high - low), high + 0.12 * (high - low))
        axes.axvline(0, color=INK, linewidth=0.7)
        axes.axhline(last - 0.5, color=RULE, linewidth=0.6)
        axes.xaxis.set_major_formatter(thousands)
        axes.set_xlabel("EUR, mean over the scenarios")
        quiet_grid(axes, "x")
        return finish(figure, material, "Expected cash by line")


def worth_chart(material: Material, book: FactBook, content: Content) -> Image | None:
    """Intervals of proven bounds: levels on top, differences against zero below."""
    levels = [row for row in content.worth if not row.sign]
    gains = [row for row in content.worth if row.sign]
    if not levels or not gains:
        return None
    with drawing():
        figure = new_figure(0.9 + 0.195 * len(content.worth))
        upper, lower = figure.subplots(
            2, 1, gridspec_kw={"height_ratios": [len(levels), len(gains)]}
        )
        for axes, rows in ((upper, levels), (lower, gains)):
            bounds = np.array([[book.value(row.low), book.value(row.high)] for row in rows])
            for i, (row, (low, high)) in enumerate(zip(rows, bounds, strict=True)):
                fill = _SIGN_FILL.get(row.sign, "#ffffff" if row.sign else LOOKS["day-ahead"].fill)
                axes.barh(i, high - low, left=low, height=0.5, facecolor=fill, edgecolor=INK,
                          linewidth=0.7, hatch="" if fill != "#ffffff" else "////")  # fmt: skip
                axes.plot([low, high], [i, i], "|", color=INK, markersize=7, markeredgewidth=1)
                axes.annotate(
                    f"{book[row.low].number} … {book[row.high].number}", (high, i),
                    xytext=(6, 0), textcoords="offset points", va="center", fontsize=7.5,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
                )  # fmt: skip
            axes.set_yticks(range(len(rows)), [row.label for row in rows], color=INK)
            axes.tick_params(axis="y", length=0)
            axes.set_ylim(len(rows) - 0.45, -0.55)
            low, high = float(bounds.min()), float(bounds.max())
            if axes is lower:
                axes.axvline(0, color=INK, linewidth=0.9)
                low, high = min(0.0, low), max(0.0, high)
            room = max(high - low, 1.0)
            axes.set_xlim(low - 0.04 * room, high + 0.34 * room)
            axes.xaxis.set_major_formatter(thousands)
            quiet_grid(axes, "x")
        upper.set_title("Expected profit, EUR")
        lower.set_title("Differences, EUR")
        return finish(figure, material, "Worth of the stochastic solution")
