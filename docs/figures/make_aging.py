"""Make the figure of docs/aging.md: the price of depth, its hull, and cuts under the true cost.

    python docs/figures/make_aging.py

Left: the law of Naumann for a half cycle, its convex hull, and eight segments. Right: the rainflow
cost along a line of paths, from one day of dispatch to another, and three aging cuts that were made
on the way; every one stays below. No data and no solver: the two days are sines.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stochbess.battery.cut_cycle import CycleCost
from stochbess.battery.cycle_curve import segment_costs_eur_mwh
from stochbess.battery.hull_curve import naumann_hull_curve
from stochbess.config import Config
from stochbess.reports.style import INK, LOOKS, SOFT, drawing, new_figure, quiet_grid, standalone

HERE = Path(__file__).parent
STEPS = 96
MADE_AT = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Note:
    """What stands below the figure."""

    source_line: str
    synthetic: bool = False


def paths(usable_mwh: float) -> tuple[np.ndarray, np.ndarray]:
    """One deep cycle, and three shallower ones; both begin half full."""
    hour = np.linspace(0.0, 2 * np.pi, STEPS + 1)
    one = 0.5 - 0.45 * np.sin(hour)
    three = 0.5 + 0.3 * np.sin(3 * hour)
    return usable_mwh * one, usable_mwh * three


def total(cost: CycleCost, path: np.ndarray) -> tuple[float, np.ndarray]:
    """Rainflow cost of a path [EUR] and a subgradient [EUR/MWh], shallow and deep part together."""
    deep, gradient = cost.minorants(path)
    shallow = cost.shallow_eur_mwh * np.abs(np.diff(path)).sum()
    sign = np.sign(np.diff(path))
    slope = np.zeros(len(path))
    slope[1:] += cost.shallow_eur_mwh * sign
    slope[:-1] -= cost.shallow_eur_mwh * sign
    return float(deep.sum() + shallow), gradient.sum(axis=0) + slope


def picture() -> bytes:
    """The figure as SVG."""
    config = Config()
    aging, battery = config.aging, config.battery
    terms = {
        "energy_mwh": battery.energy_mwh,
        "replacement_cost_eur_kwh": battery.replacement_cost_eur_kwh,
        "usable_fade_frac": aging.usable_fade_frac,
        "cycle_loss_frac": aging.cycle_loss_frac,
        "c_rate_per_h": aging.c_rate_per_h,
    }
    curve = naumann_hull_curve(**terms)
    segments = segment_costs_eur_mwh(
        n_segments=8, discharge_efficiency_frac=battery.discharge_efficiency_frac, **terms
    )
    cost = CycleCost(curve, battery.energy_mwh)
    first, second = paths(battery.energy_mwh)
    share = np.linspace(0.0, 1.0, 201)
    line = [(1 - s) * first + s * second for s in share]
    truth = np.array([cost.rainflow_eur(path) for path in line])
    with drawing():
        figure = new_figure(2.5)
        left, right = figure.subplots(1, 2)
        depth = curve.depth
        left.plot(depth, curve.law_eur, color=INK, lw=1.4, label="law")
        look = LOOKS["fcr"]
        left.plot(depth, curve.cost_eur, color=look.ink, lw=1.2, ls="--", label="convex hull")
        nodes = np.arange(9) / 8
        left.plot(
            nodes, segments.cost_eur(nodes) / 2, color=SOFT, lw=0.9, marker="o", ms=2.5,
            label="8 segments",
        )  # fmt: skip
        left.set_xlabel("depth of a half cycle, of usable energy")
        left.set_ylabel("EUR")
        right.plot(share, truth, color=INK, lw=1.4, label="rainflow cost")
        look = LOOKS["intraday"]
        for k, at in enumerate(MADE_AT):
            made = (1 - at) * first + at * second
            value, gradient = total(cost, made)
            cut = np.array([value + gradient @ (path - made) for path in line])
            if (cut > truth + 1e-9 * truth.max()).any():
                raise SystemExit("a cut lies above the cost")
            right.plot(
                share, cut, color=look.ink, lw=0.9, label=None if k else "cuts, made at the dots"
            )
            right.plot([at], [value], color=look.ink, marker="o", ms=3.5, ls="")
        right.set_ylim(0.75 * truth.min(), 1.05 * truth.max())
        right.set_xlabel("from one deep cycle (0) to three shallow ones (1)")
        right.set_ylabel("EUR")
        for axes in (left, right):
            quiet_grid(axes)
            axes.legend(frameon=False, fontsize=7)
        return standalone(figure, Note(curve.law), "aging cuts", "svg")


if __name__ == "__main__":
    (HERE / "aging_cuts.svg").write_bytes(picture())
