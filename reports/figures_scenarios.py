"""Fan charts of the scenarios: every drawn line, the middle of them, and the median."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stochbess.reports.material import Drawn, Material, drawn_series, quantiles
from stochbess.reports.style import (
    INK,
    LOOKS,
    Image,
    drawing,
    finish,
    new_figure,
    quiet_grid,
    thousands,
)
from stochbess.reports.time_axis import TimeAxis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINES_DRAWN = 60
_BAND = (0.1, 0.9)
_MOST_STEPS = 48  # finer series are drawn as lines through the middles of their intervals
Panel = tuple[str, str, str, str]  # series, title, unit, market
Row = tuple[Panel, ...]
ENERGY: tuple[Row, ...] = (
    (("day_ahead_eur_mwh", "Day-ahead price", "EUR/MWh", "day-ahead"),),
    (("intraday_eur_mwh", "Intraday price", "EUR/MWh", "intraday"),),
    (("imbalance_eur_mwh", "Imbalance price", "EUR/MWh", ""),),
)
RESERVE: tuple[Row, ...] = (
    (
        ("fcr_eur_mw", "FCR capacity, price for a block", "EUR/MW", "fcr"),
        ("fcr_activation_frac", "FCR activation", "share of bid", "fcr"),
    ),
    (
        ("afrr_up_eur_mw_h", "aFRR up, capacity price", "EUR/MW/h", "afrr-up"),
        ("afrr_down_eur_mw_h", "aFRR down, capacity price", "EUR/MW/h", "afrr-down"),
    ),
    (
        ("afrr_energy_up_eur_mwh", "aFRR up, energy price", "EUR/MWh", "afrr-up"),
        ("afrr_energy_down_eur_mwh", "aFRR down, energy price", "EUR/MWh", "afrr-down"),
    ),
    (
        ("activation_up_mw", "aFRR up, called in the zone", "MW", "afrr-up"),
        ("activation_down_mw", "aFRR down, called in the zone", "MW", "afrr-down"),
    ),
)


def energy_chart(material: Material) -> Image | None:
    """Prices of energy, full width."""
    return _fans(material, ENERGY, 1.25, "Scenarios of energy prices")


def reserve_chart(material: Material) -> Image | None:
    """Prices and calls of reserves, up on the left and down on the right."""
    return _fans(material, RESERVE, 1.22, "Scenarios of reserve prices and calls")


def _fans(material: Material, wanted: tuple[Row, ...], height_in: float, name: str) -> Image | None:
    frame = material.frames.get("scenario_set")
    if frame is None or frame.empty:
        return None
    rows: list[list[tuple[Drawn, str, str, str]]] = []
    for row in wanted:
        found = [(d, *rest) for key, *rest in row if (d := drawn_series(frame, key)) is not None]
        if found:
            rows.append(found)  # type: ignore[arg-type]
    if not rows:
        return None
    axis = TimeAxis(material)
    with drawing():
        figure = new_figure(0.4 + height_in * len(rows))
        grid = figure.add_gridspec(len(rows), 2)
        for i, row_found in enumerate(rows):
            wide = len(row_found) == 1
            for j, (drawn, title, unit, kind) in enumerate(row_found):
                panel = figure.add_subplot(grid[i, :] if wide else grid[i, j])
                fan_panel(panel, drawn, axis, kind)
                panel.set_title(title)
                panel.set_ylabel(unit)
                panel.yaxis.set_major_formatter(thousands)
                last = i == len(rows) - 1
                axis.apply(panel, label=last, narrow=not wide)
                panel.tick_params(labelbottom=last or len(rows[i + 1]) != len(row_found))
                quiet_grid(panel)
        return finish(figure, material, name)


def fan_panel(axes: Axes, drawn: Drawn, axis: TimeAxis, kind: str) -> None:
    """Every scenario as a thin line, a band around the middle of them, and the median."""
    look = LOOKS[kind]
    edges = axis.edges(drawn.start_utc)

    def stretched(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[float]:
        return [*values, values[-1]]

    if len(drawn.values) > 2:
        low, high = (quantiles(drawn.values, drawn.probability, level) for level in _BAND)
        axes.fill_between(edges, stretched(low), stretched(high), step="post",
                          facecolor=look.fill if kind else "#c9ced4", alpha=0.35,
                          linewidth=0)  # fmt: skip
    thin: dict[str, Any] = {
        "color": look.ink,
        "linewidth": 0.4,
        "alpha": 0.6 if len(drawn.values) < 12 else 0.3,
    }
    middles = (edges[:-1] + edges[1:]) / 2
    for values in drawn.values[:LINES_DRAWN]:
        if len(values) > _MOST_STEPS:
            axes.plot(middles, values, **thin)
        else:
            axes.step(edges, stretched(values), where="post", **thin)
    middle = quantiles(drawn.values, drawn.probability, 0.5)
    axes.step(edges, stretched(middle), where="post", color=look.ink, linewidth=1.7)
    low_value, high_value = float(drawn.values.min()), float(drawn.values.max())
    if low_value < 0 < high_value:
        axes.axhline(0, color=INK, linewidth=0.6)
    if high_value == low_value:
        axes.set_ylim(low_value - 1, high_value + 1)
    axes.margins(y=0.06)
