"""The audit that every generator has to pass: corrupt what is not known, and nothing may change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd

from stochbess.market.data import ColumnGroup, MarketData

Change = Callable[[str, ColumnGroup], ColumnGroup]


def with_groups(market: MarketData, change: Change) -> MarketData:
    """The market with every group of columns replaced by `change(series, group)`."""
    kept = {
        stem: replace(series, groups=tuple(change(stem, group) for group in series.groups))
        for stem, series in market.series.items()
    }
    return replace(market, series=kept)


def future_corrupted(market: MarketData, gate: datetime, seed: int = 99) -> MarketData:
    """Everything that became known at or after `gate` is noise, and a third of it is gone."""
    rng = np.random.default_rng(seed)

    def corrupt(_: str, group: ColumnGroup) -> ColumnGroup:
        unseen = (group.known_since_utc >= gate).to_numpy()
        frame = group.frame.copy()
        noise = rng.uniform(0, 400, (int(unseen.sum()), frame.shape[1]))
        frame.loc[unseen] = noise
        kept = ~(unseen & (rng.random(len(frame)) < 1 / 3))
        return replace(
            group, frame=frame.loc[kept], known_since_utc=group.known_since_utc.loc[kept]
        )

    return with_groups(market, corrupt)


def known_earlier(market: MarketData, stem: str, days: int) -> MarketData:
    """A planted leak: values of `stem` dated as if they had been known `days` earlier."""

    def early(name: str, group: ColumnGroup) -> ColumnGroup:
        if name != stem:
            return group
        return replace(group, known_since_utc=group.known_since_utc - pd.Timedelta(days=days))

    return with_groups(market, early)


def looks_ahead(
    generate: Callable[[MarketData], bytes], market: MarketData, gate: datetime
) -> bool:
    """Whether the bytes that `generate` makes of the whole market depend on what is not known."""
    return generate(market) != generate(future_corrupted(market, gate))
