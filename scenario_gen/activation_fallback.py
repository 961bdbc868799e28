"""Activated volumes for a zone that publishes none: those of another market, labelled.

What is borrowed is the shape: zero mass, size, autocorrelation and calendar of the volumes of the
lending market on the same calendar day. They know nothing of the prices of the zone that borrows,
which removes the dependence that matters most for reserve, so every result that rests on them has
to say so: the text stands in `MarketData.assumptions` of the view that is returned.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stochbess.errors import DataError
from stochbess.market.data import SeriesMeta, build_series
from stochbess.scenario_gen.realised import Source, on_labels, source_of
from stochbess.timegrid import Horizon

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

_STEM = "afrr_activation"


def with_borrowed_activation(
    view: MarketData,
    lender: MarketData,
    horizon: Horizon,
    gate_utc: datetime,
    scale_frac: float = 1.0,
) -> MarketData:
    """`view` with the activated volumes of `lender` on the same local calendar days.

    Parameters
    ----------
    view : market data of the zone, cut at `gate_utc`
    lender : market with volumes; cut here at the same gate. A synthetic one that does not reach the
        delivery days is moved by whole years of 52 weeks, together with its gate
    horizon : the delivery days
    scale_frac : factor on the volumes for a zone of another size, > 0

    Returns
    -------
    The same view if it has volumes of its own. Otherwise the volumes are those that were known at
    the gate, and `assumptions` says where they come from.

    Raises
    ------
    DataError : the lender has no volumes, or none was known; `scale_frac` not above 0
    """
    if _STEM in view.series:
        return view
    if not scale_frac > 0:
        raise DataError(f"factor on borrowed volumes is {scale_frac}; expected a number above 0")
    up, down = (
        source_of(f"activation_{d}_mw", view, horizon, lender).known_at(gate_utc)
        for d in ("up", "down")
    )
    labels = _labels(up, view.timezone)
    frame = pd.DataFrame(
        {
            f"{d}_mw": scale_frac * on_labels(source, labels, 15, view.timezone)
            for d, source in (("up", up), ("down", down))
        },
        index=labels,
    )
    # Steps that lie after the gate here, but before it where the clock differs, stay unseen.
    frame = frame.dropna()
    meta = lender.series[_STEM].meta
    series = build_series(_STEM, frame, _borrowed_meta(meta, lender.zone), view.timezone)
    kept = {**view.series, _STEM: series}
    note = _note(view.zone, lender, up.shift_days, scale_frac)
    return replace(view, series=kept, assumptions=(*view.assumptions, note)).as_of(gate_utc)


def _borrowed_meta(meta: SeriesMeta, zone: str) -> SeriesMeta:
    return replace(meta, product=f"{meta.product}; borrowed from {zone}")


def _note(zone: str, lender: MarketData, shift_days: int, scale_frac: float) -> str:
    kind = "SYNTHETIC" if lender.synthetic else "observed"
    parts: Iterable[str] = (
        f"aFRR activation of {zone} is borrowed: {kind} volumes of {lender.zone} on the same "
        "calendar day",
        f" moved by {shift_days} days" if shift_days else "",
        f" times {scale_frac:g}" if scale_frac != 1 else "",
        f", independent of the prices of {zone}",
    )
    return "".join(parts)


def _labels(source: Source, timezone: str) -> pd.DatetimeIndex:
    """Quarter hours of the borrowing zone that the known volumes of the lender can cover."""
    index = pd.DatetimeIndex(source.market.column(source.stem, source.column).index)
    if len(index) == 0:
        raise DataError(
            f"no activated volume of {source.market.zone} was known at the gate; choose a later "
            "delivery day or another market to borrow from"
        )
    ends = index[[0, -1]].tz_convert(source.market.timezone).tz_localize(None)
    moved = (ends + pd.DateOffset(days=source.shift_days)).tz_localize(
        timezone, ambiguous=np.ones(2, bool), nonexistent=pd.Timedelta(hours=1)
    )
    return pd.date_range(
        moved[0].tz_convert("UTC"), moved[1].tz_convert("UTC"), freq="15min", unit="us"
    )
