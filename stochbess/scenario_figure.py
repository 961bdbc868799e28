"""From scenario sets and market data to the arrays of a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.errors import ConfigError, DataError
from stochbess.market.data import MarketData
from stochbess.reports.figures_scores import Fan, ScenarioPicture, fan_picture
from stochbess.scenario_gen.calibration import quantiles
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.series import SERIES
from stochbess.scenario_gen.set_scores import realised_values, score_sets

Floats = npt.NDArray[np.float64]

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
_KIND = {
    "day_ahead_eur_mwh": "day-ahead",
    "intraday_eur_mwh": "intraday",
    "fcr_eur_mw": "fcr",
    "fcr_activation_frac": "fcr",
    "imbalance_eur_mwh": "",
}


def scenario_picture(
    sets: Sequence[ScenarioSet], market: MarketData, wanted: Sequence[str], form: str
) -> bytes:
    """Fans of consecutive scenario sets, with what happened if they are of this market.

    Parameters
    ----------
    sets : one or more, in any order; they must not overlap
    market : sets of another zone are drawn without what happened
    wanted : series to draw; none = all that every set has

    Raises
    ------
    ConfigError : a series that the sets do not have
    DataError : sets overlap
    """
    common = [s for s in SERIES if all(s in found.values for found in sets)]
    odd = [s for s in wanted if s not in common]
    if odd:
        raise ConfigError(
            f"--series {', '.join(odd)}: not in the scenarios, which hold {', '.join(common)}."
        )
    ordered = sorted(sets, key=lambda found: found.index[found.series[0]][0])
    same = all(found.provenance.get("zone") == market.zone for found in ordered)
    real = [realised_values(market, found) if same else {} for found in ordered]
    ranks: dict[str, npt.NDArray[np.int64]] = {}
    if len(ordered) > 1 and any(real):
        scored = score_sets(zip(ordered, real, strict=True))
        ranks = {s.series: s.ranks for s in scored.series}
    fans = [_fan(s, ordered, real, ranks.get(s)) for s in common if not wanted or s in wanted]
    texts = [text for found in ordered for text in found.provenance.values()]
    made_up = any("synthetic" in text.lower() for text in texts)
    known = any(real)
    about = ScenarioPicture(
        ordered[0].provenance.get("zone", market.zone),
        market.timezone,
        made_up or (known and market.synthetic),
        _source_line(ordered, market if known else None),
    )
    return fan_picture(about, fans, form)


def _fan(
    series: str,
    sets: Sequence[ScenarioSet],
    real: Sequence[dict[str, Floats]],
    ranks: npt.NDArray[np.int64] | None,
) -> Fan:
    """The fans of all sets side by side; a day that is absent is a gap in the lines."""
    starts = [sets[0].index[series]]
    values = quantiles(sets[0].values[series], LEVELS, sets[0].probability)
    observed = _observed(series, sets[0], real[0])
    for found, happened in zip(sets[1:], real[1:], strict=True):
        index = found.index[series]
        before = starts[-1]
        if index[0] <= before[-1]:
            raise DataError(
                f"two of the scenario files hold {index[0]:%Y-%m-%dT%H:%MZ}; draw one set a day."
            )
        part = quantiles(found.values[series], LEVELS, found.probability)
        part_observed = _observed(series, found, happened)
        end = before[-1] + _interval(before)
        if index[0] > end:
            starts.append(pd.DatetimeIndex([end]))
            values = np.concatenate([values, np.full((len(LEVELS), 1), np.nan)], axis=1)
            observed = np.append(observed, np.nan)
        starts.append(index)
        values = np.concatenate([values, part], axis=1)
        observed = np.append(observed, part_observed)
    labels = pd.DatetimeIndex(np.concatenate([part.to_numpy() for part in starts]), tz="UTC")
    return Fan(
        title=series,
        unit=SERIES[series].unit.replace(" per hour", "/h").replace(" per 4-h block", "/4 h"),
        kind=_KIND.get(series, "afrr-up" if "_up_" in series else "afrr-down"),
        start_utc=labels,
        end_utc=starts[-1][-1] + _interval(starts[-1]),
        quantiles=values,
        observed=None if np.isnan(observed).all() else observed,
        ranks=ranks,
    )


def _observed(series: str, found: ScenarioSet, real: dict[str, Floats]) -> Floats:
    return real.get(series, np.full(len(found.index[series]), np.nan))


def _interval(labels: pd.DatetimeIndex) -> pd.Timedelta:
    """The usual distance of labels; blocks are 4 h long also where clocks change."""
    if len(labels) < 2:
        return pd.Timedelta(hours=1)
    return pd.Timedelta(int(np.median(np.diff(labels.asi8))), unit="us")


def _source_line(sets: Sequence[ScenarioSet], market: MarketData | None) -> str:
    sizes = sorted({len(found) for found in sets})
    many = " or ".join(str(n) for n in sizes)
    name = f"set {sets[0].sha256[:12]}" if len(sets) == 1 else f"{len(sets)} sets"
    data = "" if market is None else f" · data {market.sha256[:12]}"
    return f"{name} of {many} scenarios{data}"
