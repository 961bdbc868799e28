"""Curves of what less risk costs: mean against CVaR, and profit against budget or radius."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

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

_AXIS = {"budget": "budget: most periods called high", "radius": "Wasserstein radius"}
_OWN = {"budget": "worst activation of the set", "radius": "worst distribution of the ball"}


@dataclass(frozen=True)
class CurveSource:
    """What a curve is drawn from, as it is named below it."""

    source_line: str
    synthetic: bool


def frontier_picture(points: pd.DataFrame, over: str, source: CurveSource, form: str) -> bytes:
    """A curve as a file of its own.

    Parameters
    ----------
    points : as `stochbess.frontier.Frontier` has them
    over : "cvar", "budget" or "radius"
    form : "svg", "png" or "pdf"
    """
    with drawing():
        figure = new_figure(2.9)
        axes = figure.subplots()
        if over == "cvar":
            _efficient_panel(axes, points)
        else:
            _price_panel(axes, points, over)
        axes.yaxis.set_major_formatter(thousands)
        quiet_grid(axes, "both")
        name = "Efficient frontier" if over == "cvar" else f"Price of robustness over the {over}"
        return standalone(figure, source, name, form)


def _efficient_panel(axes: Axes, points: pd.DataFrame) -> None:
    """Mean against CVaR; the line joins the decisions that no other one beats."""
    blue = LOOKS["day-ahead"]
    mean, tail = points["expected_profit_eur"], points["cvar_eur"]
    best = points[points["efficient"]].sort_values("cvar_eur")
    axes.plot(best["cvar_eur"], best["expected_profit_eur"], color=blue.ink, linewidth=1.2,
              label="efficient")  # fmt: skip
    height = np.vstack([np.zeros(len(points)), points["expected_profit_upper_eur"] - mean])
    axes.errorbar(tail, mean, yerr=height, fmt="none", ecolor=SOFT, elinewidth=0.8, capsize=2)
    # Neighbouring weights often have the same decision: one dot with all of their names.
    for _, same in points.groupby(["cvar_eur", "expected_profit_eur"], sort=False):
        x, y = float(same["cvar_eur"].iloc[0]), float(same["expected_profit_eur"].iloc[0])
        keeps = bool(same["efficient"].iloc[0])
        axes.plot(x, y, "o", markersize=5.5, color=blue.fill if keeps else "white",
                  markeredgecolor=blue.ink)  # fmt: skip
        axes.annotate(
            ", ".join(f"{weight:g}" for weight in same["parameter"]), (x, y), xytext=(5, 5),
            textcoords="offset points", fontsize=7.0, color=INK,
        )  # fmt: skip
    axes.set_title("Mean against CVaR; numbers are weights of CVaR, hollow dots are beaten")
    axes.set_xlabel("CVaR of the decision on the scenarios, EUR")
    axes.set_ylabel("expected profit, EUR")
    axes.xaxis.set_major_formatter(thousands)
    axes.margins(x=0.08, y=0.16)


def _price_panel(axes: Axes, points: pd.DataFrame, over: str) -> None:
    """What is promised at worst, between its bounds, and what is earned on the scenarios."""
    blue, red = LOOKS["day-ahead"], LOOKS["afrr-up"]
    at = points["parameter"]
    axes.fill_between(at, points["own_profit_eur"], points["own_bound_eur"], facecolor=red.fill,
                      alpha=0.35, linewidth=0, label="between proven bounds")  # fmt: skip
    lines = (
        ("own_profit_eur", _OWN[over], red.ink, "o", "-"),
        ("expected_profit_eur", "expected on the scenarios", blue.ink, "s", "-"),
        ("cvar_eur", "CVaR on the scenarios", SOFT, "D", "--"),
    )
    for column, label, ink, marker, style in lines:
        axes.plot(at, points[column], color=ink, marker=marker, markersize=4.2, linestyle=style,
                  linewidth=1.2, label=label)  # fmt: skip
    axes.set_title("What the decision is sure of, and what it earns")
    axes.set_xlabel(_AXIS[over])
    axes.set_ylabel("EUR over the horizon")
    axes.margins(x=0.04, y=0.1)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4)
