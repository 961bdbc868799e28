"""Figures of the decision: bids, and the stored energy between the limits that reserves set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stochbess.reports.material import Floats, Material
from stochbess.reports.style import (
    INK,
    LOOKS,
    SOFT,
    Image,
    bar_style,
    drawing,
    finish,
    new_figure,
    quiet_grid,
)
from stochbess.reports.time_axis import TimeAxis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES_DRAWN = 60


def bid_chart(material: Material) -> Image | None:
    """Reserve by block, up above and down below zero, and day-ahead positions under it."""
    bids = material.bids
    reserve, energy = bids[bids["market"] != "day-ahead"], bids[bids["market"] == "day-ahead"]
    parts = [part for part in (reserve, energy) if not part.empty]
    if not parts:
        return None
    axis = TimeAxis(material)
    with drawing():
        figure = new_figure(1.4 + 1.05 * (len(parts) - 1))
        grid = figure.subplots(len(parts), 1, sharex=True, squeeze=False)
        panels: list[Axes] = list(grid[:, 0])
        if not reserve.empty:
            reserve_panel(panels[0], reserve, axis)
        if not energy.empty:
            energy_panel(panels[-1], energy, axis)
        for panel in panels:
            axis.apply(panel, label=panel is panels[-1])
            quiet_grid(panel)
            panel.axhline(0, color=INK, linewidth=0.7)
        return finish(figure, material, "Bids by delivery interval")


def reserve_panel(axes: Axes, reserve: pd.DataFrame, axis: TimeAxis) -> None:
    """Bids of reserve capacity, upward above zero and downward below."""
    from matplotlib.ticker import MaxNLocator

    stamps = pd.DatetimeIndex(sorted(reserve["start_utc"].unique()))
    edges = axis.edges(stamps)
    left, width = edges[:-1] + 0.04 * np.diff(edges), 0.92 * np.diff(edges)

    def mw(market: str, product: str) -> Floats:
        rows = reserve[(reserve["market"] == market) & (reserve["product"] == product)]
        held = rows.set_index("start_utc")["mw"].reindex(stamps).fillna(0.0)
        return held.to_numpy(np.float64)

    fcr, up, down = mw("FCR", "symmetric"), mw("aFRR", "up"), mw("aFRR", "down")
    options: dict[str, Any] = {"width": width, "align": "edge"}
    if fcr.any():
        axes.bar(left, fcr, label="FCR, both ways", **bar_style("fcr"), **options)
        axes.bar(left, -fcr, **bar_style("fcr"), **options)
    if up.any():
        axes.bar(left, up, bottom=fcr, label="aFRR up", **bar_style("afrr-up"), **options)
    if down.any():
        axes.bar(left, -down, bottom=-fcr, label="aFRR down", **bar_style("afrr-down"), **options)
    most = max(float((fcr + up).max()), float((fcr + down).max()), 0.5)
    axes.set_ylim(-1.18 * most, 1.18 * most)
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.set_ylabel("MW\ndown | up")
    axes.set_title("Reserve capacity")
    if fcr.any() or up.any() or down.any():
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0.2)
    else:
        axes.text(0.5, 0.6, "none offered", transform=axes.transAxes, ha="center", color=SOFT)


def energy_panel(axes: Axes, energy: pd.DataFrame, axis: TimeAxis) -> None:
    """Day-ahead positions, sales above zero and purchases below."""
    from matplotlib.ticker import MaxNLocator

    energy = energy.sort_values("start_utc")
    edges = axis.edges(pd.DatetimeIndex(energy["start_utc"]))
    mw = energy["mw"].to_numpy(np.float64)
    look = LOOKS["day-ahead"]
    options: dict[str, Any] = {"width": np.diff(edges), "align": "edge", "linewidth": 0.3}
    axes.bar(
        edges[:-1], np.maximum(mw, 0), facecolor=look.fill, edgecolor="white", label="sells",
        **options,
    )  # fmt: skip
    axes.bar(
        edges[:-1], np.minimum(mw, 0), facecolor="white", edgecolor=look.ink, hatch="//////",
        label="buys", **options,
    )  # fmt: skip
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.set_ylabel("MW\nbuys | sells")
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.set_title("Day-ahead position")
    axes.margins(y=0.12)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)


def corridor_chart(material: Material) -> Image | None:
    """Stored energy of all scenarios between the floor and the ceiling of the reserves."""
    if material.frames["soc"].empty:
        return None
    axis = TimeAxis(material)
    with drawing():
        figure = new_figure(2.55)
        axes = figure.subplots()
        corridor_panel(axes, material, axis)
        axis.apply(axes)
        figure.legend(loc="outside upper center", ncols=4, borderaxespad=0.1)
        return finish(figure, material, "Stored energy and reserve limits")


def corridor_panel(axes: Axes, material: Material, axis: TimeAxis) -> None:
    """Stored energy of every scenario, their median, and what the reserves keep."""
    soc, schedule = material.frames["soc"], material.frames["schedule"]
    edges = axis.edges(pd.DatetimeIndex(soc["delivery_start_utc"]))
    ends = edges[1:]
    battery = material.config["battery"]
    full = float(battery["energy_mwh"]) * float(battery["state"]["soh_frac"])
    floor = soc["reserve_floor_mwh"].to_numpy(np.float64)
    ceiling = soc["reserve_ceiling_mwh"].to_numpy(np.float64)
    _kept_areas(axes, edges, floor, ceiling, full)
    blue = LOOKS["intraday"]
    columns = soc.set_index(ends)
    table = schedule.pivot(index="delivery_start_utc", columns="scenario", values="energy_end_mwh")
    if many := len(table.columns) > 1:
        axes.fill_between(ends, columns["p10_mwh"], columns["p90_mwh"], facecolor=blue.fill,
                          alpha=0.45, linewidth=0, label="eight of ten scenarios")  # fmt: skip
        for name in list(table.columns)[:LINES_DRAWN]:
            axes.plot(ends, table[name], color=blue.ink, linewidth=0.45, alpha=0.55)
    axes.plot(ends, columns["p50_mwh"], color=LOOKS["day-ahead"].ink, linewidth=1.6,
              label="median" if many else "stored energy")  # fmt: skip
    axes.set_ylim(0, full)
    axes.set_ylabel("stored energy, MWh")


def _kept_areas(axes: Axes, edges: Floats, floor: Floats, ceiling: Floats, full: float) -> None:
    """What the reserves keep: energy at the bottom, room at the top."""
    colors = {"facecolor": "#f3e3df", "edgecolor": "#c9968a", "linewidth": 0}
    areas = (
        (floor, 0.0, "////", "held for calls upward"),
        (ceiling, full, "\\\\\\\\", "kept free for calls downward"),
    )
    for limit, end, hatch, label in areas:
        if np.ptp(limit) < 1e-9 and abs(float(limit[0]) - end) < 1e-9:
            continue
        edge = np.append(limit, limit[-1])
        axes.fill_between(edges, edge, end, step="post", hatch=hatch, label=label, **colors)  # type: ignore[arg-type]
        axes.step(edges, edge, where="post", color=LOOKS["afrr-up"].ink, linewidth=0.9)
