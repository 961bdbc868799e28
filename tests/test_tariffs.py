"""Tariffs: exemption, local hours on days of 23 and 25 hours, the capacity fee pro rata."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from stochbess.errors import ConfigError
from stochbess.market.tariffs import Tariff, build_tariff, share_of_year
from stochbess.timegrid import Horizon


def horizon(day: date = date(2024, 6, 26), n_days: int = 1, zone: str = "Europe/Berlin") -> Horizon:
    return Horizon(day, n_days, zone, step_min=15, day_ahead_min=60)


def tariff(on: Horizon | None = None, **changes: Any) -> Tariff:
    plain: dict[str, Any] = {
        "exempt": False,
        "import_fee_eur_mwh": 10.0,
        "export_fee_eur_mwh": 2.0,
        "levy_eur_mwh": 5.0,
        "capacity_fee_eur_kw_year": 20.0,
        "hourly_import_fee_eur_mwh": [],
        "profit_tax_frac": 0.3,
        "horizon": on or horizon(),
        "power_mw": 2.0,
    }
    return build_tariff(**(plain | changes))


def test_flat_fees_lie_on_every_step() -> None:
    t = tariff()
    assert t.import_fee_eur_mwh.tolist() == [10.0] * 96
    assert t.export_fee_eur_mwh.tolist() == [2.0] * 96
    assert (t.levy_eur_mwh, t.profit_tax_frac) == (5.0, 0.3)


def test_exempt_storage_pays_no_energy_fee_and_no_levy_but_its_capacity_fee() -> None:
    t = tariff(exempt=True, hourly_import_fee_eur_mwh=list(range(24)))
    assert not t.import_fee_eur_mwh.any()
    assert not t.export_fee_eur_mwh.any()
    assert t.levy_eur_mwh == 0.0
    assert t.capacity_fee_eur == tariff().capacity_fee_eur > 0


@pytest.mark.parametrize(
    ("day", "quarters_of_hour"),
    [
        (date(2024, 6, 26), dict.fromkeys(range(24), 4)),
        (date(2025, 3, 30), {h: 0 if h == 2 else 4 for h in range(24)}),  # 92 quarter hours
        (date(2025, 10, 26), {h: 8 if h == 2 else 4 for h in range(24)}),  # 100 quarter hours
    ],
)
def test_the_hourly_fee_follows_the_local_clock(
    day: date, quarters_of_hour: dict[int, int]
) -> None:
    t = tariff(horizon(day), hourly_import_fee_eur_mwh=[float(h) for h in range(24)])
    values, counts = np.unique(t.import_fee_eur_mwh, return_counts=True)
    expected = {10.0 + hour: n for hour, n in quarters_of_hour.items() if n}
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == expected
    assert (np.diff(t.import_fee_eur_mwh) >= 0).all()


def test_the_hourly_fee_uses_the_clock_of_the_zone_and_not_utc() -> None:
    fees = [0.0] * 24
    fees[0] = 100.0
    t = tariff(horizon(zone="Europe/Athens"), hourly_import_fee_eur_mwh=fees)
    assert t.import_fee_eur_mwh[:4].tolist() == [110.0] * 4
    assert t.import_fee_eur_mwh[4:].tolist() == [10.0] * 92


def test_the_hourly_fee_is_the_same_on_two_ordinary_days() -> None:
    fees = [float(h % 7) for h in range(24)]
    one = tariff(hourly_import_fee_eur_mwh=fees)
    two = tariff(horizon(n_days=2), hourly_import_fee_eur_mwh=fees)
    assert two.import_fee_eur_mwh.tolist() == one.import_fee_eur_mwh.tolist() * 2


def test_the_capacity_fee_is_pro_rata_by_hours_of_the_year() -> None:
    # 20 EUR/kW/year on 2 MW is 40,000 EUR a year; 2024 has 8784 hours, 2025 has 8760
    assert tariff().capacity_fee_eur == pytest.approx(40_000 * 24 / 8784)
    assert tariff(horizon(date(2025, 3, 30))).capacity_fee_eur == pytest.approx(40_000 * 23 / 8760)
    assert tariff(horizon(date(2025, 10, 26))).capacity_fee_eur == pytest.approx(40_000 * 25 / 8760)
    over_new_year = horizon(date(2024, 12, 31), n_days=2)
    assert tariff(over_new_year).capacity_fee_eur == pytest.approx(40_000 * (24 / 8784 + 24 / 8760))


@pytest.mark.parametrize(("year", "n_days"), [(2024, 366), (2025, 365)])
def test_a_whole_year_pays_the_whole_capacity_fee(year: int, n_days: int) -> None:
    assert share_of_year(horizon(date(year, 1, 1), n_days)) == pytest.approx(1.0, rel=1e-12)


def test_no_fee_and_no_tax_are_legal_and_so_is_a_small_fee() -> None:
    assert tariff(capacity_fee_eur_kw_year=0.0, profit_tax_frac=0.0).capacity_fee_eur == 0.0
    assert tariff(capacity_fee_eur_kw_year=0.5).capacity_fee_eur == pytest.approx(1000 * 24 / 8784)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hourly_import_fee_eur_mwh": [1.0] * 23}, "23 values found, expected none or one"),
        ({"hourly_import_fee_eur_mwh": [1.0] * 23 + [float("nan")]}, "hourly_import_fee_eur_mwh"),
        ({"import_fee_eur_mwh": float("nan")}, "import_fee_eur_mwh = nan"),
        ({"levy_eur_mwh": float("inf")}, "levy_eur_mwh = inf"),
        ({"capacity_fee_eur_kw_year": -1.0}, "capacity_fee_eur_kw_year = -1"),
        ({"power_mw": -2.0}, "power_mw = -2"),
        ({"profit_tax_frac": 30.0}, r"write 0\.3 for 30 %"),
        ({"profit_tax_frac": 1.0}, "profit_tax_frac = 1"),
    ],
)
def test_a_meaningless_tariff_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        tariff(**change)
