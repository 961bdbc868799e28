"""Equations as SVG, drawn from the TeX source with fonts of their own.

Margins and limits are chosen around known defects of the drawing library: accents and last letters
are cut at narrow margins, and limits of sup and min need `\\underset`.
"""

from __future__ import annotations

from functools import lru_cache
from threading import Lock

from stochbess.errors import ReportError

_SIZE_PX = 17.0
_MARGIN_PX = 6.0
_drawing = Lock()


@lru_cache(maxsize=256)
def equation_svg(tex: str, size_px: float = _SIZE_PX) -> bytes:
    """The equation as SVG bytes, the same for the same source.

    Raises
    ------
    ReportError : the source cannot be drawn
    """
    import ziamath

    try:
        with _drawing:
            drawn = ziamath.Math.fromlatex(tex, size=size_px, margin=_MARGIN_PX)
            text = drawn.svg()
    except Exception as error:  # the library raises whatever its parser meets
        raise ReportError(f"equation {tex!r} cannot be drawn: {error}. Correct its TeX.") from error
    return str(text).encode()
