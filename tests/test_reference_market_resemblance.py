"""The reference market resembles a real zone, within stated bounds.

REAL holds summary statistics of the German-Luxembourg zone (2023-24 for day-ahead prices and
fundamentals, 2024 for the rest) with the tolerance within which the shipped market must agree;
docs/reference-market.md prints the same rows, and a test here keeps that page true. The tables make
up a third of this file, which is why it is long.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from stochbess.market.reference import SEED, SERIES, generate

ROOT = Path(__file__).resolve().parent.parent
Frames = Mapping[str, pd.DataFrame]
TIMEZONE = "Europe/Berlin"
SEASONS = ("winter", "spring", "summer", "autumn")

# statistic: (real zone, largest accepted distance of the shipped reference market)
REAL: dict[str, tuple[float, float]] = {
    "day-ahead mean": (86.8, 6.0),
    "day-ahead sd": (50.9, 5.0),
    "day-ahead sd of daily means": (37.1, 5.0),
    "day-ahead daily spread, mean": (97.7, 10.0),
    "day-ahead daily spread, 5 %": (37.8, 6.0),
    "day-ahead daily spread, 95 %": (174.4, 25.0),
    "day-ahead share negative": (0.043, 0.01),
    "day-ahead 0.1 % quantile": (-82.7, 40.0),
    "day-ahead 99 % quantile": (214.1, 25.0),
    "day-ahead 99.9 % quantile": (466.9, 140.0),
    "day-ahead minimum": (-500.0, 400.0),
    "day-ahead maximum": (936.3, 400.0),
    "day-ahead autocorrelation 1 h": (0.929, 0.03),
    "day-ahead autocorrelation 1 d": (0.654, 0.08),
    "day-ahead autocorrelation 7 d": (0.492, 0.1),
    "day-ahead Saturday minus workdays": (-22.2, 6.0),
    "day-ahead Sunday minus workdays": (-34.3, 6.0),
    "day-ahead negative 12-16 h, spring": (0.177, 0.09),
    "day-ahead negative 12-16 h, summer": (0.242, 0.09),
    "day-ahead negative 12-16 h, autumn": (0.095, 0.06),
    "solar forecast mean [GW]": (6.81, 0.6),
    "solar forecast sd [GW]": (10.44, 0.8),
    "onshore forecast mean [GW]": (13.16, 1.3),
    "onshore forecast sd [GW]": (10.27, 1.0),
    "onshore forecast autocorrelation 1 d": (0.560, 0.08),
    "offshore forecast mean [GW]": (2.81, 0.3),
    "load mean [GW]": (52.66, 1.5),
    "load sd [GW]": (9.12, 0.6),
    "residual load sd [GW]": (13.73, 1.2),
    "solar forecast error sd [GW]": (1.16, 0.15),
    "onshore forecast error sd [GW]": (1.60, 0.2),
    "offshore forecast error sd [GW]": (0.81, 0.12),
    "net export sd [GW]": (6.53, 1.0),
    "intraday sd": (55.1, 6.0),
    "spread sd": (30.8, 4.0),
    "spread 1 % quantile": (-69.2, 20.0),
    "spread 99 % quantile": (69.4, 20.0),
    "spread 99.9 % quantile": (193.7, 60.0),
    "spread autocorrelation 15 min": (0.084, 0.1),
    "spread autocorrelation 1 h": (0.574, 0.1),
    "spread autocorrelation 1 d": (0.446, 0.1),
    "spread hourly mean, sd": (15.0, 3.0),
    "spread hourly mean, autocorrelation 1 h": (0.728, 0.08),
    "spread inside the hour, sd": (26.9, 3.0),
    "sawtooth 09-11 h": (53.6, 12.0),
    "sawtooth 16-18 h": (-73.5, 12.0),
    "spread inside the hour v. ramp, correlation": (0.618, 0.1),
    "FCR mean": (65.1, 8.0),
    "FCR sd": (45.4, 7.0),
    "FCR 99 % quantile": (242.0, 40.0),
    "FCR log autocorrelation 1 d": (0.870, 0.07),
    "FCR log autocorrelation 7 d": (0.756, 0.1),
    "FCR weekend over workdays": (1.121, 0.15),
    "aFRR up mean": (13.1, 3.0),
    "aFRR up sd": (13.6, 3.0),
    "aFRR up 99 % quantile": (55.6, 12.0),
    "aFRR up log autocorrelation 1 d": (0.937, 0.07),
    "aFRR up log autocorrelation 7 d": (0.809, 0.1),
    "aFRR up weekend over workdays": (0.721, 0.1),
    "aFRR down mean": (10.8, 2.5),
    "aFRR down sd": (13.1, 3.0),
    "aFRR down 99 % quantile": (61.4, 15.0),
    "aFRR down log autocorrelation 1 d": (0.964, 0.05),
    "aFRR down log autocorrelation 7 d": (0.864, 0.1),
    "aFRR down weekend over workdays": (1.193, 0.15),
    "activation up mean [MW]": (62.5, 4.0),
    "activation up sd [MW]": (134.1, 12.0),
    "activation up > 5 MW": (0.490, 0.02),
    "activation up > 100 MW": (0.185, 0.015),
    "activation up > 300 MW": (0.057, 0.01),
    "activation up 99.9 % quantile [MW]": (1145.0, 200.0),
    "activation up autocorrelation 15 min": (0.662, 0.07),
    "activation up autocorrelation 1 h": (0.282, 0.07),
    "activation up autocorrelation 1 d": (0.153, 0.05),
    "activation down mean [MW]": (62.3, 4.0),
    "activation down sd [MW]": (117.8, 12.0),
    "activation down > 5 MW": (0.551, 0.02),
    "activation down > 100 MW": (0.196, 0.015),
    "activation down > 300 MW": (0.052, 0.01),
    "activation down 99.9 % quantile [MW]": (914.0, 200.0),
    "activation down autocorrelation 15 min": (0.640, 0.07),
    "activation down autocorrelation 1 h": (0.262, 0.09),
    "activation down autocorrelation 1 d": (0.123, 0.05),
    "activation both > 5 MW": (0.158, 0.02),
    "activation neither > 5 MW": (0.118, 0.02),
    "energy price up mean": (99.7, 8.0),
    "energy price up sd": (63.5, 8.0),
    "energy price up share of zeros": (0.058, 0.02),
    "energy price up 99 % quantile": (364.0, 90.0),
    "energy price up autocorrelation 15 min": (0.700, 0.08),
    "energy price up autocorrelation 1 h": (0.497, 0.08),
    "energy price down mean": (46.0, 6.0),
    "energy price down sd": (43.9, 6.0),
    "energy price down share of zeros": (0.227, 0.06),
    "energy price down 99 % quantile": (138.0, 20.0),
    "energy price down autocorrelation 15 min": (0.624, 0.15),
    "energy price down autocorrelation 1 h": (0.401, 0.12),
    "rank: residual load, day-ahead": (0.846, 0.08),
    "rank: onshore forecast, day-ahead": (-0.404, 0.1),
    "rank: net export, day-ahead": (-0.395, 0.2),
    "rank: FCR, day-ahead": (-0.196, 0.15),
    "rank: FCR, solar forecast": (0.594, 0.1),
    "rank: aFRR up, day-ahead": (0.393, 0.15),
    "rank: aFRR down, day-ahead": (-0.545, 0.1),
    "rank: FCR, aFRR up": (0.553, 0.15),
    "rank: FCR, aFRR down": (0.624, 0.12),
    "rank: aFRR up, aFRR down": (0.003, 0.12),
    "rank: activation up, down": (-0.619, 0.05),
    "rank: net activation, spread": (0.091, 0.07),
    "rank: net activation, solar forecast error": (-0.169, 0.06),
    "rank: net activation, onshore forecast error": (-0.112, 0.06),
    "rank: net activation, day-ahead": (0.159, 0.08),
    "rank: energy price up, volume up": (0.723, 0.1),
    "rank: energy price up, volume down": (-0.508, 0.08),
    "rank: energy price up, day-ahead": (0.446, 0.12),
    "rank: energy price down, volume down": (-0.448, 0.12),
    "rank: energy price down, day-ahead": (0.470, 0.1),
}

# mean by season (rows: winter, spring, summer, autumn) and local 4-h block 00-04, ..., 20-24 h
REAL_BLOCKS: dict[str, tuple[tuple[float, ...], ...]] = {
    "day-ahead": (
        (68.7, 80.6, 106.6, 96.3, 117.5, 89.9),
        (75.7, 87.0, 76.4, 46.0, 92.5, 101.5),
        (83.2, 91.6, 71.5, 35.6, 86.5, 120.7),
        (71.7, 88.9, 95.3, 71.4, 130.4, 99.5),
    ),
    "FCR": (
        (47.9, 50.7, 37.7, 36.8, 45.2, 32.6),
        (38.2, 44.8, 80.7, 106.6, 69.6, 44.6),
        (37.6, 57.0, 120.9, 174.2, 94.4, 64.6),
        (37.1, 51.3, 72.4, 95.7, 77.4, 41.8),
    ),
    "aFRR up": (
        (3.3, 5.3, 10.8, 7.2, 20.0, 6.5),
        (5.3, 8.7, 17.3, 7.0, 14.6, 14.1),
        (6.7, 13.3, 21.8, 13.3, 19.2, 29.0),
        (4.2, 11.3, 18.0, 13.0, 31.5, 14.0),
    ),
    "aFRR down": (
        (12.2, 9.4, 3.5, 4.7, 1.8, 3.5),
        (4.8, 4.4, 13.1, 25.6, 8.3, 2.3),
        (4.2, 5.5, 25.5, 48.8, 18.3, 1.7),
        (8.4, 6.0, 11.8, 27.1, 6.3, 2.5),
    ),
}


def _acf(x: pd.Series, lag: int) -> float:
    return float(x.corr(x.shift(lag)))


def _rank(x: pd.Series, y: pd.Series) -> float:
    return float(x.rank().corr(y.rank()))


def _local(x: pd.Series | pd.DataFrame) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(x.index).tz_convert(TIMEZONE)


def _spread_of_days(price: pd.Series) -> pd.Series:
    """Mean of the two dearest hours minus mean of the two cheapest, per local day."""
    by_day = price.groupby(_local(price).date)
    spread = by_day.apply(lambda v: np.sort(v)[-2:].mean() - np.sort(v)[:2].mean())
    return pd.Series(spread, dtype=float)


def _day_ahead(price: pd.Series) -> dict[str, float]:
    local, spread = _local(price), _spread_of_days(price)
    weekday, season = local.day_of_week, (local.month % 12) // 3
    midday = (local.hour >= 12) & (local.hour < 16)
    found = {
        "mean": price.mean(),
        "sd": price.std(),
        "sd of daily means": price.groupby(local.date).mean().std(),
        "daily spread, mean": float(spread.mean()),
        "daily spread, 5 %": float(spread.quantile(0.05)),
        "daily spread, 95 %": float(spread.quantile(0.95)),
        "share negative": (price < 0).mean(),
        "0.1 % quantile": price.quantile(0.001),
        "99 % quantile": price.quantile(0.99),
        "99.9 % quantile": price.quantile(0.999),
        "minimum": price.min(),
        "maximum": price.max(),
        "autocorrelation 1 h": _acf(price, 1),
        "autocorrelation 1 d": _acf(price, 24),
        "autocorrelation 7 d": _acf(price, 168),
        "Saturday minus workdays": price[weekday == 5].mean() - price[weekday < 5].mean(),
        "Sunday minus workdays": price[weekday == 6].mean() - price[weekday < 5].mean(),
    }
    for k in (1, 2, 3):
        share = (price < 0)[midday & (season == k)].mean()
        found[f"negative 12-16 h, {SEASONS[k]}"] = share
    return {f"day-ahead {name}": value for name, value in found.items()}


def _fundamentals(f: Frames) -> dict[str, float]:
    gw = f["fundamentals"] / 1000
    real = f["realised_15min"].resample("1h").mean() / 1000
    sun, on = gw["solar_forecast_mw"], gw["wind_onshore_forecast_mw"]
    off, load = gw["wind_offshore_forecast_mw"], gw["load_mw"]
    return {
        "solar forecast mean [GW]": sun.mean(),
        "solar forecast sd [GW]": sun.std(),
        "onshore forecast mean [GW]": on.mean(),
        "onshore forecast sd [GW]": on.std(),
        "onshore forecast autocorrelation 1 d": _acf(on, 24),
        "offshore forecast mean [GW]": off.mean(),
        "load mean [GW]": load.mean(),
        "load sd [GW]": load.std(),
        "residual load sd [GW]": (load - sun - on - off).std(),
        "solar forecast error sd [GW]": (real["solar_mw"] - sun).std(),
        "onshore forecast error sd [GW]": (real["wind_onshore_mw"] - on).std(),
        "offshore forecast error sd [GW]": (real["wind_offshore_mw"] - off).std(),
        "net export sd [GW]": gw["net_export_mw"].std(),
    }


def _spread(f: Frames) -> tuple[pd.Series, dict[str, float]]:
    """Intraday auction minus day-ahead, 15 min, and its statistics."""
    intraday = f["intraday_auction"]["price_eur_mwh"]
    day_ahead = f["day_ahead"]["price_eur_mwh"].reindex(intraday.index, method="ffill")
    spread = intraday - day_ahead
    hour = spread.resample("1h").mean()
    inside = spread - hour.reindex(spread.index, method="ffill")
    residual = f["realised_15min"]["residual_load_mw"]
    ramp = residual - residual.resample("1h").mean().reindex(residual.index, method="ffill")
    local = _local(spread)

    def sawtooth(first_h: int, last_h: int) -> float:
        hours = (local.hour >= first_h) & (local.hour < last_h)
        return float(inside[hours & (local.minute == 0)].mean()) - float(
            inside[hours & (local.minute == 45)].mean()
        )

    return spread, {
        "intraday sd": intraday.std(),
        "spread sd": float(spread.std()),
        "spread 1 % quantile": float(spread.quantile(0.01)),
        "spread 99 % quantile": float(spread.quantile(0.99)),
        "spread 99.9 % quantile": float(spread.quantile(0.999)),
        "spread autocorrelation 15 min": _acf(spread, 1),
        "spread autocorrelation 1 h": _acf(spread, 4),
        "spread autocorrelation 1 d": _acf(spread, 96),
        "spread hourly mean, sd": float(hour.std()),
        "spread hourly mean, autocorrelation 1 h": _acf(hour, 1),
        "spread inside the hour, sd": float(inside.std()),
        "sawtooth 09-11 h": sawtooth(9, 11),
        "sawtooth 16-18 h": sawtooth(16, 18),
        "spread inside the hour v. ramp, correlation": float(inside.corr(ramp)),
    }


def _capacities(f: Frames) -> dict[str, pd.Series]:
    return {
        "FCR": f["fcr_capacity"]["price_eur_mw"],
        "aFRR up": f["afrr_capacity"]["up_eur_mw_h"],
        "aFRR down": f["afrr_capacity"]["down_eur_mw_h"],
    }


def _block_means(x: pd.Series, like: pd.Series) -> pd.Series:
    """Mean of an hourly series per local block, on the index of the capacity series `like`."""
    local, blocks = _local(x), _local(like)
    means = x.groupby([local.date, local.hour // 4]).mean()
    key = pd.MultiIndex.from_arrays([blocks.date, blocks.hour // 4])
    return pd.Series(means.reindex(key).to_numpy(), like.index)


def _capacity(f: Frames) -> dict[str, float]:
    prices = _capacities(f)
    found: dict[str, float] = {}
    for name, x in prices.items():
        log, weekend = np.log(x), _local(x).day_of_week >= 5
        found |= {
            f"{name} mean": float(x.mean()),
            f"{name} sd": x.std(),
            f"{name} 99 % quantile": float(x.quantile(0.99)),
            f"{name} log autocorrelation 1 d": _acf(log, 6),
            f"{name} log autocorrelation 7 d": _acf(log, 42),
            f"{name} weekend over workdays": float(x[weekend].mean() / x[~weekend].mean()),
        }
    fcr, up, down = prices["FCR"], prices["aFRR up"], prices["aFRR down"]
    price = _block_means(f["day_ahead"]["price_eur_mwh"], fcr)
    sun = _block_means(f["fundamentals"]["solar_forecast_mw"], fcr)
    return found | {
        "rank: FCR, day-ahead": _rank(fcr, price),
        "rank: FCR, solar forecast": _rank(fcr, sun),
        "rank: aFRR up, day-ahead": _rank(up, price),
        "rank: aFRR down, day-ahead": _rank(down, price),
        "rank: FCR, aFRR up": _rank(fcr, up),
        "rank: FCR, aFRR down": _rank(fcr, down),
        "rank: aFRR up, aFRR down": _rank(up, down),
    }


def _activation(f: Frames) -> dict[str, float]:
    volume = f["afrr_activation"]
    price = f["afrr_energy"].reindex(volume.index)  # the real series lacks one hour
    found: dict[str, float] = {}
    for way in ("up", "down"):
        v, p = volume[f"{way}_mw"], price[f"{way}_eur_mwh"]
        found |= {
            f"activation {way} mean [MW]": v.mean(),
            f"activation {way} sd [MW]": v.std(),
            f"activation {way} > 5 MW": float((v > 5).mean()),
            f"activation {way} > 100 MW": float((v > 100).mean()),
            f"activation {way} > 300 MW": float((v > 300).mean()),
            f"activation {way} 99.9 % quantile [MW]": float(v.quantile(0.999)),
            f"activation {way} autocorrelation 15 min": _acf(v, 1),
            f"activation {way} autocorrelation 1 h": _acf(v, 4),
            f"activation {way} autocorrelation 1 d": _acf(v, 96),
            f"energy price {way} mean": p.mean(),
            f"energy price {way} sd": p.std(),
            f"energy price {way} share of zeros": float((p.dropna() == 0).mean()),
            f"energy price {way} 99 % quantile": float(p.quantile(0.99)),
            f"energy price {way} autocorrelation 15 min": _acf(p, 1),
            f"energy price {way} autocorrelation 1 h": _acf(p, 4),
        }
    over = volume > 5
    return found | {
        "activation both > 5 MW": over.all(axis=1).mean(),
        "activation neither > 5 MW": (~over).all(axis=1).mean(),
    }


def _dependence(f: Frames, spread: pd.Series) -> dict[str, float]:
    u, r, volume = f["fundamentals"], f["realised_15min"], f["afrr_activation"]
    price, energy = f["day_ahead"]["price_eur_mwh"], f["afrr_energy"]
    up, down = volume["up_mw"], volume["down_mw"]
    sun, on = u["solar_forecast_mw"], u["wind_onshore_forecast_mw"]
    residual = u["load_mw"] - sun - on - u["wind_offshore_forecast_mw"]
    sun_error = r["solar_mw"] - sun.reindex(r.index, method="ffill")
    on_error = r["wind_onshore_mw"] - on.reindex(r.index, method="ffill")
    price_15 = price.reindex(volume.index, method="ffill")
    e = energy.index.intersection(volume.index)
    up_price, down_price = energy.loc[e, "up_eur_mwh"], energy.loc[e, "down_eur_mwh"]
    return {
        "rank: residual load, day-ahead": _rank(residual, price),
        "rank: onshore forecast, day-ahead": _rank(on, price),
        "rank: net export, day-ahead": _rank(u["net_export_mw"], price),
        "rank: activation up, down": _rank(up, down),
        "rank: net activation, spread": _rank(up - down, spread),
        "rank: net activation, solar forecast error": _rank(up - down, sun_error),
        "rank: net activation, onshore forecast error": _rank(up - down, on_error),
        "rank: net activation, day-ahead": _rank(up - down, price_15),
        "rank: energy price up, volume up": _rank(up_price, up[e]),
        "rank: energy price up, volume down": _rank(up_price, down[e]),
        "rank: energy price up, day-ahead": _rank(up_price, price_15[e]),
        "rank: energy price down, volume down": _rank(down_price, down[e]),
        "rank: energy price down, day-ahead": _rank(down_price, price_15[e]),
    }


def statistics(frames: Frames) -> dict[str, float]:
    """All statistics of REAL for the frames of one zone, in the order of REAL."""
    f = {name: frame.astype("float64") for name, frame in frames.items()}
    spread, of_spread = _spread(f)
    found = _day_ahead(f["day_ahead"]["price_eur_mwh"]) | _fundamentals(f) | of_spread
    found |= _capacity(f) | _activation(f) | _dependence(f, spread)
    return {name: float(found[name]) for name in REAL}


def block_table(frames: Frames, name: str) -> npt.NDArray[np.float64]:
    """Mean by season and local 4-h block, shape (4, 6), of a series named in REAL_BLOCKS."""
    day_ahead = frames["day_ahead"]["price_eur_mwh"].astype("float64")
    x = day_ahead if name == "day-ahead" else _capacities(frames)[name]
    local = _local(x)
    table = x.groupby([(local.month % 12) // 3, local.hour // 4]).mean().unstack()
    return np.asarray(table, np.float64)


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    return generate(SEED)


@pytest.fixture(scope="module")
def found(frames: dict[str, pd.DataFrame]) -> dict[str, float]:
    return statistics(frames)


@pytest.mark.parametrize("name", REAL)
def test_a_statistic_lies_near_that_of_the_real_zone(name: str, found: dict[str, float]) -> None:
    real, tolerance = REAL[name]
    assert found[name] == pytest.approx(real, abs=tolerance)


@pytest.mark.parametrize("name", REAL_BLOCKS)
def test_the_daily_profile_of_each_season_follows_the_real_one(
    name: str, frames: dict[str, pd.DataFrame]
) -> None:
    real, synthetic = np.array(REAL_BLOCKS[name]), block_table(frames, name)
    assert np.corrcoef(real.ravel(), synthetic.ravel())[0, 1] > 0.85
    assert np.mean(np.abs(synthetic - real) / real) < 0.25


def test_another_seed_gives_another_market_of_the_same_kind() -> None:
    other = statistics(generate(SEED + 1))
    far = [n for n, (real, tolerance) in REAL.items() if abs(other[n] - real) > 3 * tolerance]
    assert far == []


@pytest.mark.market_data
def test_the_table_of_real_statistics_is_that_of_the_real_data(real_market: Path) -> None:
    real = {
        name: pd.read_parquet(real_market / "DE_LU" / f"{name}.parquet").astype("float64")
        for name in SERIES
    }
    measured = statistics(real)
    for name, (value, _) in REAL.items():
        digits = max(len(str(value).partition(".")[2]), 1)
        assert measured[name] == pytest.approx(value, abs=0.51 * 10**-digits + 5e-4 * abs(value))
    for name, table in REAL_BLOCKS.items():
        np.testing.assert_allclose(block_table(real, name), np.array(table), atol=0.051)


def test_the_documentation_prints_the_statistics_of_the_shipped_market(
    found: dict[str, float], frames: dict[str, pd.DataFrame]
) -> None:
    page = (ROOT / "docs" / "reference-market.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", page, flags=re.MULTILINE)
    printed = {name.strip(): (real.strip(), ours.strip()) for name, real, ours in rows}
    for name, (real, _) in REAL.items():
        assert printed[name] == (f"{real:.4g}", f"{found[name]:.4g}"), name
    for name in REAL_BLOCKS:
        for season, row in zip(SEASONS, block_table(frames, name), strict=True):
            assert f"| {name}, {season}, ours | " + " | ".join(f"{v:.4g}" for v in row) in page
