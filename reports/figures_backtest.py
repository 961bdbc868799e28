"""Profit of policies over the days of a backtest: one line each, the bound at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from stochbess.errors import ReportError
from stochbess.reports.style import (
    INK,
    LOOKS,
    SOFT,
    drawing,
    new_figure,
    quiet_grid,
    standalone,
    thousands,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS = ("day-ahead", "afrr-up", "fcr", "intraday", "afrr-down", "aging", "")
_HEIGHT_IN = 3.2
_GAP_EM = 1.15  # least distance of two names at the right


@dataclass(frozen=True)
class ProfitCurves:
    """What the picture shows: policy -> days and profit earned by the end of each [EUR].

    `bound_eur` is that of perfect foresight over all days, or None.
    """

    zone: str
    synthetic: bool
    about: str
    curves: Mapping[str, tuple[Sequence[date], Sequence[float]]]
    bound_eur: float | None

    @property
    def source_line(self) -> str:
        return f"{self.zone} · {self.about}"


def backtest_picture(found: ProfitCurves, form: str) -> bytes:
    """Cumulative profit over the days that were lived; days that were left out take no room.

    Parameters
    ----------
    form : "svg", "png" or "pdf"

    Raises
    ------
    ReportError : there is nothing to draw
    """
    if not found.curves:
        raise ReportError("backtest picture: no policy has lived a day; expected at least one.")
    with drawing():
        figure = new_figure(_HEIGHT_IN)
        axes = figure.subplots()
        ends: list[tuple[float, str, str]] = []
        for k, (policy, (_, profit)) in enumerate(found.curves.items()):
            look = LOOKS[_LOOKS[k % len(_LOOKS)]]
            n = len(profit)
            axes.plot(
                range(n + 1), [0.0, *profit], color=look.ink, linestyle=look.line, linewidth=1.2,
                marker=look.marker if n <= 40 else None, markersize=2.6,
            )  # fmt: skip
            ends.append((float(profit[-1]), policy, look.ink))
        n = max(len(profit) for _, profit in found.curves.values())
        if found.bound_eur is not None:
            axes.axhline(found.bound_eur, color=SOFT, linestyle=":", linewidth=0.9)
            ends.append((found.bound_eur, "perfect foresight (bound)", INK))
        _name_days(axes, next(iter(found.curves.values()))[0])
        axes.set_xlim(0, n)
        axes.set_ylabel("profit since the start, EUR")
        axes.yaxis.set_major_formatter(thousands)
        quiet_grid(axes)
        _name_lines(axes, n, ends)
        return standalone(figure, found, f"Backtest in {found.zone}", form)


def _name_days(axes: Axes, days: Sequence[date]) -> None:
    """A tick at the end of some of the days, with its date."""
    every = max(1, -(-len(days) // 8))
    at = range(every - 1, len(days), every)
    axes.set_xticks([k + 1 for k in at], [f"{days[k]:%d %b}" for k in at])
    axes.set_xlabel(f"end of day, {days[0]} to {days[-1]}")


def _name_lines(axes: Axes, n: int, ends: list[tuple[float, str, str]]) -> None:
    """Names at the right end of the lines, moved apart where they would touch."""
    low, high = axes.get_ylim()
    least = (high - low) * _GAP_EM * 7.5 / 72 / (_HEIGHT_IN - 0.6)
    below = low
    for value, name, ink in sorted(ends):
        at = max(value, below)
        axes.annotate(
            name, (n, value), xytext=(1.015, (at - low) / (high - low)),
            textcoords="axes fraction", fontsize=7.5, color=ink, va="center",
        )  # fmt: skip
        below = at + least
