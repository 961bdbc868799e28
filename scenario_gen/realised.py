"""Market data read as scenario series, and the one scenario of what really happened.

The realised scenario is perfect foresight: it is the yardstick of a backtest and the input of the
deterministic model, never something that a decision could have known. Its provenance says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.errors import DataError
from stochbess.market.schema import SERIES as MARKET_SERIES
from stochbess.market.schema import row_minutes
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.series import SERIES, Array, label_minutes, labels_of, require_known
from stochbess.timegrid import Horizon

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

# scenario series -> (series of the market data directory, column)
MARKET_COLUMN = {
    "day_ahead_eur_mwh": ("day_ahead", "price_eur_mwh"),
    "intraday_eur_mwh": ("intraday_auction", "price_eur_mwh"),
    "fcr_eur_mw": ("fcr_capacity", "price_eur_mw"),
    "afrr_up_eur_mw_h": ("afrr_capacity", "up_eur_mw_h"),
    "afrr_down_eur_mw_h": ("afrr_capacity", "down_eur_mw_h"),
    "afrr_energy_up_eur_mwh": ("afrr_energy", "up_eur_mwh"),
    "afrr_energy_down_eur_mwh": ("afrr_energy", "down_eur_mwh"),
    "activation_up_mw": ("afrr_activation", "up_mw"),
    "activation_down_mw": ("afrr_activation", "down_mw"),
    "imbalance_eur_mwh": ("imbalance", "price_eur_mwh"),
}
WEEKS_YEAR_DAYS = 364  # 52 weeks: keeps the weekday


@dataclass(frozen=True)
class Source:
    """Where one scenario series of a zone comes from.

    Attributes
    ----------
    market : the zone itself, or the market whose activation stands in for the zone's
    stem, column : series and column in `market`
    borrowed : True when `market` is not the zone itself
    shift_days : local day d of the zone takes the value of day d - `shift_days` of `market`
    """

    market: MarketData
    stem: str
    column: str
    borrowed: bool = False
    shift_days: int = 0

    def known_at(self, gate_utc: datetime) -> Source:
        """The same source, cut to what was known at the gate, shifted like the values."""
        local = gate_utc.astimezone(ZoneInfo(self.market.timezone))
        shifted = (local - timedelta(days=self.shift_days)).astimezone(ZoneInfo("UTC"))
        market = self.market.as_of(shifted)
        return Source(market, self.stem, self.column, self.borrowed, self.shift_days)


def source_of(
    series: str, market: MarketData, horizon: Horizon, activation_from: MarketData | None = None
) -> Source:
    """Source of the scenario series `series`; see `realised_scenario` for `activation_from`.

    Raises
    ------
    DataError : the market has no such series; the message says what could be done
    """
    require_known([series])
    if series not in MARKET_COLUMN:
        raise DataError(
            f"{series} cannot be taken from market data: no series of a market data directory "
            "holds it. Give the scenarios as a file, or leave the series out."
        )
    stem, column = MARKET_COLUMN[series]
    if stem in market.series:
        return Source(market, stem, column)
    if stem != "afrr_activation":
        raise DataError(
            f"zone {market.zone} has no {stem}, which {series} needs. It has: "
            f"{', '.join(sorted(market.series))}. Import it, or close the market that needs it "
            "(markets.*.enabled)."
        )
    if activation_from is None or stem not in activation_from.series:
        raise DataError(
            f"zone {market.zone} has no activated aFRR volumes, which {series} needs. Close aFRR, "
            "or name a market that has them as the fallback (afrr.activation_fallback)."
        )
    shift_days = _synthetic_shift_days(activation_from, stem, column, horizon)
    return Source(activation_from, stem, column, True, shift_days)


def on_labels(source: Source, labels: pd.DatetimeIndex, minutes: int, timezone: str) -> Array:
    """Values of `source` at `labels` (UTC starts of steps of `minutes`), NaN where not known.

    Hourly values hold for each step within the hour; 15-min values are averaged over a longer
    step, and only if all of them are known. Blocks (`minutes` 240) are matched as they are.
    """
    column = source.market.column(source.stem, source.column)
    if source.shift_days or source.market.timezone != timezone:
        labels = _wall_clock_labels(labels, timezone, source)
    native = _native_minutes(source)
    exact = column[native == minutes].reindex(labels).to_numpy(np.float64)
    coarse, fine = column[native > minutes], column[native < minutes]
    if len(coarse):
        held = coarse.reindex(labels.floor("h")).to_numpy(np.float64)
        exact = np.where(np.isnan(exact), held, exact)
    if len(fine):
        parts = [
            fine.reindex(labels + pd.Timedelta(minutes=m)).to_numpy(np.float64)
            for m in range(0, minutes, 15)
        ]
        exact = np.where(np.isnan(exact), np.mean(parts, axis=0), exact)
    return np.asarray(exact, np.float64)


def realised_scenario(
    market: MarketData,
    horizon: Horizon,
    needed: Sequence[str],
    activation_from: MarketData | None = None,
) -> ScenarioSet:
    """The realised values of the series `needed` over `horizon`, as one scenario.

    Parameters
    ----------
    activation_from : market whose activated volumes of the same calendar day stand in where the
        zone has none; a synthetic one that does not reach the day is shifted by years of 52 weeks

    Raises
    ------
    DataError : a series or a value is missing; the message names the first missing label
    """
    require_same_clock(market, horizon)
    require_known(needed)
    values, index = {}, {}
    sources: dict[str, Source] = {}
    for series in (s for s in SERIES if s in needed):
        source = source_of(series, market, horizon, activation_from)
        labels = labels_of(horizon, series)
        found = on_labels(source, labels, label_minutes(series, horizon), horizon.timezone)
        if np.isnan(found).any():
            missing = np.flatnonzero(np.isnan(found))
            raise DataError(
                f"{series} ({source.stem} of {source.market.zone}): {len(missing)} of "
                f"{len(labels)} values missing between {horizon.first_day} and {horizon.days[-1]} "
                f"{horizon.timezone}, the first at {labels[missing[0]]:%Y-%m-%dT%H:%MZ}. Expected "
                "complete delivery days. Choose another day, or import the missing data."
            )
        values[series], index[series], sources[series] = found[None, :], labels, source
    provenance = {
        "source": "realised",
        "foresight": "perfect: the values that were realised, not known to any decision",
        **market_provenance(market),
        **source_provenance(sources, horizon),
    }
    name = f"realised-{horizon.first_day}"
    return ScenarioSet((name,), np.ones(1), values, index, provenance)


def require_same_clock(market: MarketData, horizon: Horizon) -> None:
    """Raise `DataError` if the delivery days of `horizon` are not those of the zone."""
    if market.timezone != horizon.timezone:
        raise DataError(
            f"the horizon is in {horizon.timezone}, zone {market.zone} in {market.timezone}. "
            "Delivery days are local days of the zone: build the horizon in its time zone."
        )


def market_provenance(market: MarketData) -> dict[str, str]:
    """Identity of the market data, and every assumption that was made about them."""
    return {
        "zone": market.zone,
        "market_sha256": market.sha256,
        "market_data": "synthetic" if market.synthetic else "observed",
        **({"assumptions": "; ".join(market.assumptions)} if market.assumptions else {}),
    }


def source_provenance(sources: Mapping[str, Source], horizon: Horizon) -> dict[str, str]:
    """What a report must print of the sources: borrowed activation, and values held or averaged."""
    notes, resampled = {}, []
    for series, source in sources.items():
        native = _native_minutes(source)
        found = sorted(set(native.tolist()) - {label_minutes(series, horizon)})
        if found:
            lengths = " and ".join(str(m) for m in found)
            resampled.append(f"{series} from {lengths} to {label_minutes(series, horizon)} min")
        if source.borrowed:
            kind = "synthetic" if source.market.synthetic else "observed"
            moved = f", moved by {source.shift_days} days" if source.shift_days else ""
            notes["activation"] = (
                f"fallback: {kind} volumes of {source.market.zone} on the same calendar day"
                f"{moved}; independent of the prices of this zone"
            )
    if resampled:
        notes["resampled"] = f"{'; '.join(resampled)} (held within the hour, or averaged)"
    return notes


def _native_minutes(source: Source) -> npt.NDArray[np.int64]:
    """Length of every row of the source column [min]."""
    index = pd.DatetimeIndex(source.market.column(source.stem, source.column).index)
    return row_minutes(MARKET_SERIES[source.stem], index, source.market.timezone)


def _synthetic_shift_days(fallback: MarketData, stem: str, column: str, horizon: Horizon) -> int:
    """Years of 52 weeks, in days, by which a synthetic market is moved to cover the horizon.

    The shift depends on the coverage and the horizon only, and the gate moves with it: the order
    of days is kept, so nothing after the gate becomes visible. An observed market is not moved.
    """
    index = fallback.column(stem, column).index
    if not fallback.synthetic or len(index) == 0:
        return 0
    local = pd.DatetimeIndex(index[[0, -1]]).tz_convert(fallback.timezone)
    first, last = local[0].date(), local[1].date()
    if first <= horizon.first_day and horizon.days[-1] <= last:
        return 0
    return -((last - horizon.days[-1]).days // WEEKS_YEAR_DAYS) * WEEKS_YEAR_DAYS


def _wall_clock_labels(labels: pd.DatetimeIndex, timezone: str, source: Source) -> pd.DatetimeIndex:
    """Labels of `source` at the same local wall-clock time, `shift_days` earlier.

    Where a clock change differs between the two days: a time that does not exist there is read an
    hour later, a repeated one at its first occurrence.
    """
    local = labels.tz_convert(timezone).tz_localize(None) - pd.DateOffset(days=source.shift_days)
    if local.equals(labels.tz_convert(source.market.timezone).tz_localize(None)):
        return labels
    there = pd.DatetimeIndex(local).tz_localize(
        source.market.timezone,
        ambiguous=np.ones(len(local), bool),
        nonexistent=pd.Timedelta(hours=1),
    )
    return there.tz_convert("UTC").as_unit("us")
