"""The price of health in one picture: value of a life against the price of aging, by law."""

from __future__ import annotations

from dataclasses import dataclass
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
    from matplotlib.lines import Line2D

_LOOKS = ("day-ahead", "fcr", "afrr-up", "intraday")
_PANEL_IN = 1.75


@dataclass(frozen=True)
class Curve:
    """Value [EUR/kWh] and length [years] of a life at every price, by one law and terms."""

    law: str
    npv_eur_kwh: tuple[float, ...]
    years: tuple[float, ...]


@dataclass(frozen=True)
class LifetimeCurves:
    """What the picture shows; `curves` by terms, then by law."""

    zone: str
    synthetic: bool
    about: str
    titles: tuple[str, ...]
    laws: tuple[str, ...]
    price_eur_kwh: tuple[float, ...]
    naive_eur_kwh: float
    robust_eur_kwh: float
    curves: tuple[Curve, ...]

    @property
    def source_line(self) -> str:
        return f"{self.zone} · {self.about}"


def lifetime_picture(found: LifetimeCurves, form: str) -> bytes:
    """A row for each of the terms: value on the left, years on the right.

    Parameters
    ----------
    form : "svg", "png" or "pdf"

    Raises
    ------
    ReportError : there is nothing to draw
    """
    n_laws = len(found.laws)
    if not found.titles or len(found.curves) != len(found.titles) * n_laws:
        raise ReportError(
            f"lifetime picture: {len(found.curves)} curves for {len(found.titles)} terms and "
            f"{n_laws} laws; expected one of each."
        )
    with drawing():
        figure = new_figure(0.55 + _PANEL_IN * len(found.titles))
        grid = figure.subplots(len(found.titles), 2, squeeze=False, sharex=True,
                               gridspec_kw={"width_ratios": [1.6, 1]})  # fmt: skip
        for i, title in enumerate(found.titles):
            curves = found.curves[i * n_laws : (i + 1) * n_laws]
            value, years = grid[i]
            lines = [
                _draw(value, found, curve.npv_eur_kwh, k, best=True)
                for k, curve in enumerate(curves)
            ]
            for k, curve in enumerate(curves):
                _draw(years, found, curve.years, k)
            value.set_title(title)
            value.set_ylabel("value, EUR/kWh")
            years.set_ylabel("years")
            years.set_ylim(bottom=0)
            for axes in (value, years):
                _mark_prices(axes, found, named=not i and axes is value)
                quiet_grid(axes)
        for axes in grid[-1]:
            axes.set_xlabel("price of aging, EUR per kWh lost")
            axes.xaxis.set_major_formatter(thousands)
            axes.locator_params(axis="x", nbins=5)
        figure.legend(lines, found.laws, loc="outside upper center", ncols=n_laws)
        return standalone(figure, found, f"Price of health in {found.zone}", form)


def _draw(
    axes: Axes, found: LifetimeCurves, values: tuple[float, ...], k: int, best: bool = False
) -> Line2D:
    look = LOOKS[_LOOKS[k % len(_LOOKS)]]
    (line,) = axes.plot(
        found.price_eur_kwh, values, color=look.ink, linestyle=look.line, linewidth=1.3
    )
    if best:
        at = max(range(len(values)), key=values.__getitem__)
        axes.plot(found.price_eur_kwh[at], values[at], look.marker, color=look.ink, markersize=4.5)
    return line


def _mark_prices(axes: Axes, found: LifetimeCurves, named: bool) -> None:
    """Lines at the naive and the robust price."""
    prices = [(found.naive_eur_kwh, ":", "naive"), (found.robust_eur_kwh, "-", "robust")]
    if found.naive_eur_kwh == found.robust_eur_kwh:
        prices = [(found.naive_eur_kwh, "-", "naive = robust")]
    for price, style, name in prices:
        axes.axvline(price, color=SOFT, linestyle=style, linewidth=0.7, zorder=0)
        if named:
            axes.annotate(
                name, (price, 1.0), xycoords=("data", "axes fraction"), xytext=(2, -1),
                textcoords="offset points", fontsize=7, color=INK, va="top",
            )  # fmt: skip
