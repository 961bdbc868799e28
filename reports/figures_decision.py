"""One run in one picture: prices, offer and stored energy over the same hours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stochbess.reports.figures_offer import corridor_panel, energy_panel, reserve_panel
from stochbess.reports.figures_scenarios import fan_panel
from stochbess.reports.material import Material, drawn_series
from stochbess.reports.style import INK, drawing, new_figure, quiet_grid, standalone, thousands
from stochbess.reports.time_axis import TimeAxis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PRICE = "day_ahead_eur_mwh"


def decision_picture(material: Material, form: str) -> bytes:
    """Day-ahead scenarios, reserve bids, day-ahead position and stored energy, one below another.

    Panels of markets that are closed are left out.

    Parameters
    ----------
    form : "svg", "png" or "pdf"
    """
    bids = material.bids
    reserve, energy = bids[bids["market"] != "day-ahead"], bids[bids["market"] == "day-ahead"]
    scenarios = material.frames.get("scenario_set")
    drawn = None if scenarios is None else drawn_series(scenarios, _PRICE)
    heights = {
        "price": 1.0 if drawn is not None else 0.0,
        "reserve": 0.95 if not reserve.empty else 0.0,
        "energy": 0.9 if not energy.empty else 0.0,
        "stored": 1.75,
    }
    shown = {name: height for name, height in heights.items() if height}
    axis = TimeAxis(material)
    with drawing():
        figure = new_figure(0.6 + sum(shown.values()))
        grid = figure.subplots(
            len(shown), 1, squeeze=False, gridspec_kw={"height_ratios": list(shown.values())}
        )
        panels: dict[str, Axes] = dict(zip(shown, grid[:, 0], strict=True))
        if drawn is not None:
            fan_panel(panels["price"], drawn, axis, "day-ahead")
            panels["price"].set_title(f"Day-ahead price in {len(drawn.values)} scenarios")
            panels["price"].set_ylabel("EUR/MWh")
            panels["price"].yaxis.set_major_formatter(thousands)
        if not reserve.empty:
            reserve_panel(panels["reserve"], reserve, axis)
        if not energy.empty:
            energy_panel(panels["energy"], energy, axis)
        corridor_panel(panels["stored"], material, axis)
        panels["stored"].set_title("Stored energy between the limits that the reserves set")
        for name, panel in panels.items():
            axis.apply(panel, label=name == "stored")
            panel.tick_params(labelbottom=name == "stored")
            quiet_grid(panel)
            if name in ("reserve", "energy"):
                panel.axhline(0, color=INK, linewidth=0.7)
        panels["stored"].legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=4)
        name = f"Decision for {material.zone}, {material.day}"
        return standalone(figure, material, name, form)
