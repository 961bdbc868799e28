"""The look of all figures: one colour, hatch, line and marker for each market.

Energy markets are blue and reserves warm; lightness alone tells them apart, so that they survive a
black-and-white print and every kind of colour blindness. Figures are vector, fonts are outlines,
and the same figure gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from stochbess.reports.facts import typeset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONTS = Path(__file__).parent / "templates" / "fonts"
FAMILY = "Corridor Sans"
WIDTH_IN = 6.54  # the text width of the page
INK, SOFT, RULE, PALE = "#1c2530", "#5b6673", "#c9ced4", "#eef0f2"
ALERT = "#8f1d14"
FORMS = ("svg", "png", "pdf")
_DPI = 180.0
_LAYOUT_DPI = 288.0  # at 72 letters are measured in whole pixels, too narrow by several per cent


class Source(Protocol):
    """What a figure is drawn from, as it is named below it."""

    @property
    def source_line(self) -> str: ...

    @property
    def synthetic(self) -> bool: ...


@dataclass(frozen=True)
class Look:
    """How one market is drawn; `ink` is its colour for lines and outlines on white."""

    fill: str
    ink: str
    hatch: str
    line: str
    marker: str


LOOKS = {
    "day-ahead": Look("#173f5f", "#173f5f", "", "-", "o"),
    "intraday": Look("#5a9fce", "#2f78ab", "", "--", "s"),
    "fcr": Look("#f2b632", "#a87400", "", "-.", "D"),
    "afrr-up": Look("#b5452c", "#b5452c", "", "-", "^"),
    "afrr-down": Look("#d98a76", "#9c3a24", "////", "--", "v"),
    "aging": Look("#dcd7cd", "#6f6a60", "xxxx", ":", "X"),
    "": Look("#ffffff", "#5b6673", "----", "-", "P"),
    "total": Look("#1c2530", "#1c2530", "", "-", "o"),
}
_RC: dict[str, Any] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "stochbess",
    "font.family": [FAMILY],
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.titleweight": 600,
    "axes.titlelocation": "left",
    "axes.titlepad": 5.0,
    "axes.labelsize": 8.0,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": RULE,
    "grid.linewidth": 0.4,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "legend.handlelength": 1.8,
    "hatch.linewidth": 0.5,
    "lines.solid_capstyle": "butt",
    "path.simplify": False,
}


_PATH = re.compile(rb' d="[^"]*"')
_DECIMALS = re.compile(rb"(\d+\.\d\d)\d+")


@dataclass(frozen=True)
class Image:
    """A finished figure: SVG bytes."""

    svg: bytes


@lru_cache(maxsize=1)
def _register_fonts() -> None:
    from matplotlib import font_manager

    for path in sorted(FONTS.glob("CorridorSans-*.ttf")):
        font_manager.fontManager.addfont(path)


@contextmanager
def drawing() -> Iterator[None]:
    """Inside, matplotlib draws in the look of the reports, whatever its own settings are."""
    import matplotlib as mpl

    _register_fonts()
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(cast("Any", _RC))
        yield


def new_figure(height_in: float) -> Figure:
    """An empty figure as wide as the text."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH_IN, height_in), dpi=72, layout="constrained")  # as SVG has it


def finish(figure: Figure, source: Source, name: str) -> Image:
    """Sign the figure with its source, mark synthetic data, and write it as SVG for a page."""
    line = _signed(figure, source)
    return Image(_saved(figure, "svg", name, line, transparent=True))


def standalone(figure: Figure, source: Source, name: str, form: str) -> bytes:
    """The figure as a file of its own, on white: `form` is one of `FORMS`.

    The same figure gives the same bytes.
    """
    return _saved(figure, form, name, _signed(figure, source, pad_in=0.07), transparent=False)


def _signed(figure: Figure, source: Source, pad_in: float = 0.02) -> str:
    """Write the source below the figure and lay it out; the line that was written."""
    line = source.source_line
    engine = figure.get_layout_engine()
    foot = 0.17 / figure.get_figheight()
    if engine is not None:
        engine.set(rect=(0, foot, 1, 1 - foot), w_pad=pad_in, h_pad=0.03)  # type: ignore[call-arg]
    low = 0.012 / figure.get_figheight()
    figure.text(0.998, low, line, ha="right", va="bottom", fontsize=6.2, color=SOFT)
    if source.synthetic:
        figure.text(
            0.002, low, "SYNTHETIC market data", ha="left", va="bottom", fontsize=6.6,
            color=ALERT, weight=600,
        )  # fmt: skip
        line = f"SYNTHETIC market data · {line}"
    for axes in figure.axes:
        axes.xaxis.labelpad = 1.0
    _settle(figure)
    return line


def _saved(figure: Figure, form: str, name: str, line: str, *, transparent: bool) -> bytes:
    """The bytes of a figure, without a time of making."""
    about: dict[str, dict[str, Any]] = {
        "svg": {"Title": name, "Description": line, "Date": None, "Creator": None},
        "pdf": {"Title": name, "Subject": line, "CreationDate": None, "Creator": "stochbess"},
        "png": {"Title": name, "Description": line, "Software": "stochbess"},
    }
    stream = io.BytesIO()
    figure.savefig(
        stream,
        format=form,
        transparent=transparent,
        metadata=about[form],
        dpi=_DPI if form == "png" else 72,  # SVG has 72 to the inch
    )
    content = stream.getvalue()
    return _PATH.sub(_rounded, content) if form == "svg" else content


def _settle(figure: Figure) -> None:
    """Lay the figure out and round where its axes stand.

    The layout is solved in floating point and may differ in the last digit from one time to the
    next, and names inside the SVG are made from those digits.
    """
    dpi = figure.get_dpi()
    figure.set_dpi(_LAYOUT_DPI)
    figure.draw_without_rendering()
    figure.set_dpi(dpi)
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = (round(float(v), 5) for v in axes.get_position().bounds)
        axes.set_position((left, bottom, width, height))


def _rounded(match: re.Match[bytes]) -> bytes:
    """A path to a hundredth of a point: half the bytes, and nothing to be seen."""
    return _DECIMALS.sub(rb"\1", match[0])


def quiet_grid(axes: Axes, axis: str = "y") -> None:
    """Thin lines for reading values off."""
    axes.grid(True, axis=axis)  # type: ignore[arg-type]
    axes.tick_params(length=0 if axis == "both" else 2.5)


def thousands(value: float, _: object = None) -> str:
    """A tick: thousands separated, minus as a minus."""
    return typeset(f"{value:,.10g}")


def bar_style(kind: str) -> dict[str, Any]:
    """Arguments of a bar of one market."""
    look = LOOKS[kind]
    return {
        "facecolor": look.fill,
        "edgecolor": look.ink if not look.hatch else "#ffffff" if kind == "afrr-down" else look.ink,
        "hatch": look.hatch,
        "linewidth": 0.6,
    }
