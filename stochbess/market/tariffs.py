"""Grid fees, levies, capacity fee and profit tax of one battery over one horizon.

Storage that only feeds back is widely exempted: in Germany, stand-alone storage commissioned by
2029-08-04 pays no grid-use fee for withdrawn energy for 20 years (EnWG section 118(6)), in
Switzerland none without end consumption (StromVG Art. 14a(1)b); levies fall on losses at most.
From 2029 on German fees are open (BNetzA GBK-25-01-1#3 announces a capacity component and an
energy-based, possibly time-varying component), hence the hourly vector and the capacity fee.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from stochbess.errors import ConfigError
from stochbess.timegrid import Horizon, day_hours, local_midnight_utc

FloatArray = npt.NDArray[np.float64]
HOURS_PER_DAY = 24


@dataclass(frozen=True, eq=False)
class Tariff:
    """What the connection costs; every fee is positive when the battery pays.

    Attributes
    ----------
    import_fee_eur_mwh : (T,) on every MWh charged, at the connection
    export_fee_eur_mwh : (T,) on every MWh discharged, at the connection
    levy_eur_mwh : on energy not fed back, dt * (charge - discharge). Over one horizon this is
        linear: a day that ends emptier than it began gets back what an earlier day paid.
    capacity_fee_eur : for the whole horizon, whatever the battery does
    profit_tax_frac : share of the profit, applied by whoever computes the profit
    """

    import_fee_eur_mwh: FloatArray
    export_fee_eur_mwh: FloatArray
    levy_eur_mwh: float
    capacity_fee_eur: float
    profit_tax_frac: float


def share_of_year(horizon: Horizon) -> float:
    """Hours of the horizon over the hours of their year; each day counts against its own year."""
    total = 0.0
    for year, hours in sorted(_hours_by_year(horizon).items()):
        start = local_midnight_utc(date(year, 1, 1), horizon.timezone)
        end = local_midnight_utc(date(year + 1, 1, 1), horizon.timezone)
        total += hours / ((end - start) / timedelta(hours=1))
    return total


def _hours_by_year(horizon: Horizon) -> Counter[int]:
    hours: Counter[int] = Counter()
    for day in horizon.days:
        hours[day.year] += day_hours(day, horizon.timezone)
    return hours


def _check(numbers: dict[str, float]) -> None:
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise ConfigError(f"tariff input {name} = {value}: expected a finite number.")
    for name in ("capacity_fee_eur_kw_year", "power_mw"):
        if numbers[name] < 0.0:
            raise ConfigError(f"tariff input {name} = {numbers[name]}: expected at least 0.")
    if not 0.0 <= numbers["profit_tax_frac"] < 1.0:
        raise ConfigError(
            f"tariffs.profit_tax_frac = {numbers['profit_tax_frac']}: expected a fraction in "
            "[0, 1); write 0.3 for 30 %."
        )


def build_tariff(
    *,
    exempt: bool,
    import_fee_eur_mwh: float,
    export_fee_eur_mwh: float,
    levy_eur_mwh: float,
    capacity_fee_eur_kw_year: float,
    hourly_import_fee_eur_mwh: Sequence[float],
    profit_tax_frac: float,
    horizon: Horizon,
    power_mw: float,
) -> Tariff:
    """Lay the tariff settings on the steps of the horizon.

    Parameters
    ----------
    exempt : no energy fees (import, export, hourly) and no levy; the capacity fee stays
    hourly_import_fee_eur_mwh : empty, or 24 values by local hour that are added to the import fee;
        the hour that occurs twice in autumn takes its value twice, the missing one in spring never
    capacity_fee_eur_kw_year : pro rata by hours, see `share_of_year`
    power_mw : power at the connection that the capacity fee is charged on

    Raises
    ------
    ConfigError : an hourly vector of another length, a value that is not finite, a negative
        capacity fee, or a tax outside [0, 1)
    """
    hourly = np.asarray(hourly_import_fee_eur_mwh, np.float64)
    if hourly.shape not in ((0,), (HOURS_PER_DAY,)):
        raise ConfigError(
            f"tariffs.hourly_import_fee_eur_mwh: {hourly.size} values found, expected none or one "
            f"for each of the {HOURS_PER_DAY} local hours."
        )
    _check(
        {
            "import_fee_eur_mwh": import_fee_eur_mwh,
            "export_fee_eur_mwh": export_fee_eur_mwh,
            "levy_eur_mwh": levy_eur_mwh,
            "capacity_fee_eur_kw_year": capacity_fee_eur_kw_year,
            "hourly_import_fee_eur_mwh": float(hourly.sum()),
            "profit_tax_frac": profit_tax_frac,
            "power_mw": power_mw,
        }
    )
    local_hour = np.asarray(horizon.steps.tz_convert(horizon.timezone).hour, np.int64)
    energy = 0.0 if exempt else 1.0
    added = hourly[local_hour] if hourly.size else np.zeros(local_hour.size)
    return Tariff(
        import_fee_eur_mwh=energy * (import_fee_eur_mwh + added),
        export_fee_eur_mwh=np.full(local_hour.size, energy * export_fee_eur_mwh),
        levy_eur_mwh=energy * levy_eur_mwh,
        capacity_fee_eur=capacity_fee_eur_kw_year * 1000.0 * power_mw * share_of_year(horizon),
        profit_tax_frac=profit_tax_frac,
    )
