"""The worst course of calls, and how the battery answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stochbess.reports.material import Material
from stochbess.reports.style import INK, LOOKS, Image, drawing, finish, new_figure, quiet_grid
from stochbess.reports.time_axis import TimeAxis

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def course_chart(material: Material) -> Image | None:
    """Called share by direction over the day, and stored energy below; None if there is none."""
    course = material.frames.get("worst_course")
    if course is None or course.empty:
        return None
    axis = TimeAxis(material)
    with drawing():
        figure = new_figure(3.1)
        calls, stored = figure.subplots(2, 1, sharex=True, height_ratios=(1.15, 1.0))
        calls_panel(calls, course, axis)
        _stored_panel(stored, material, course, axis)
        for panel in (calls, stored):
            axis.apply(panel, label=panel is stored)
            quiet_grid(panel)
        calls.axhline(0, color=INK, linewidth=0.7)
        return finish(figure, material, "Worst course of calls")


def calls_panel(axes: Axes, course: pd.DataFrame, axis: TimeAxis) -> None:
    """Called share of the bid, upward above zero, downward below; lines are nominal shares."""
    edges = axis.edges(pd.DatetimeIndex(course["delivery_start_utc"]))
    for column, sign, kind, label in (
        ("up", 1.0, "afrr-up", "called up"),
        ("down", -1.0, "afrr-down", "called down"),
    ):
        look = LOOKS[kind]
        share = 100 * sign * course[f"called_{column}_frac"].to_numpy(np.float64)
        usual = 100 * sign * course[f"nominal_{column}_frac"].to_numpy(np.float64)
        axes.stairs(share, edges, fill=True, facecolor=look.fill, edgecolor=look.ink,
                    hatch=look.hatch, linewidth=0.4, label=label)  # fmt: skip
        axes.stairs(usual, edges, color=INK, linewidth=0.9, label="nominal" if sign > 0 else None)
    axes.set_ylim(-112, 112)
    axes.set_yticks([-100, -50, 0, 50, 100])
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.set_ylabel("% of the bid\ndown | up")
    axes.set_title("Calls in the worst course")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0.2)


def _stored_panel(axes: Axes, material: Material, course: pd.DataFrame, axis: TimeAxis) -> None:
    edges = axis.edges(pd.DatetimeIndex(course["delivery_start_utc"]))
    soc, battery = material.frames["soc"], material.config["battery"]
    full = float(battery["energy_mwh"]) * float(battery["state"]["soh_frac"])
    for name in ("reserve_floor_mwh", "reserve_ceiling_mwh"):
        limit = soc[name].to_numpy(np.float64)
        label = "limits that the reserves set" if name == "reserve_floor_mwh" else None
        axes.step(edges, np.append(limit, limit[-1]), where="post", linewidth=0.9,
                  color=LOOKS["afrr-up"].ink, linestyle=":", label=label)  # fmt: skip
    axes.plot(edges[1:], course["energy_end_mwh"], color=LOOKS["day-ahead"].ink, linewidth=1.5,
              label="stored energy")  # fmt: skip
    axes.set_ylim(0, full)
    axes.set_ylabel("MWh")
    axes.set_title("Answer of the battery")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
