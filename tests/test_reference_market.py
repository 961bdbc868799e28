"""The reference market is reproducible and has the form of every market data directory."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from stochbess.market.data import load_market
from stochbess.market.reference import (
    DATA_DIR,
    REFERENCE_DAY,
    SEED,
    SERIES,
    generate,
    main,
    reference_market,
    write,
)
from stochbess.market.reference_fundamentals import easter, holidays, ou
from stochbess.rng import stream

TIMEZONE = "Europe/Berlin"


def _local(x: pd.Series | pd.DataFrame) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(x.index).tz_convert(TIMEZONE)


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    return generate(SEED)


def _digest(frames: Mapping[str, pd.DataFrame]) -> str:
    text = b"".join(
        name.encode()
        + frame.to_numpy().tobytes()
        + np.asarray(frame.index.astype("int64")).tobytes()
        for name, frame in frames.items()
    )
    return hashlib.sha256(text).hexdigest()


def test_the_shipped_files_are_what_the_generator_makes(frames: dict[str, pd.DataFrame]) -> None:
    for name, frame in frames.items():
        shipped = pd.read_parquet(DATA_DIR / f"{name}.parquet")
        pd.testing.assert_frame_equal(shipped, frame, check_freq=False, rtol=0, atol=1e-6)


def test_the_manifest_describes_the_shipped_files_and_says_that_they_are_synthetic() -> None:
    manifest = json.loads((DATA_DIR / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["zone"], manifest["timezone"]) == ("DE_LU", TIMEZONE)
    assert manifest["synthetic"] is True
    assert [entry["file"] for entry in manifest["series"]] == [f"{n}.parquet" for n in SERIES]
    for entry in manifest["series"]:
        path = DATA_DIR / entry["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
        shipped = pd.read_parquet(path)
        ends = [str(shipped.index[0]), str(shipped.index[-1])]
        assert [entry["rows"], entry["first"], entry["last"]] == [len(shipped), *ends]
        assert entry["source"] == f"stochbess reference market, synthetic, seed {SEED}"
        assert entry["licence"] == "MIT"


def test_the_shipped_files_are_small() -> None:
    sizes = [path.stat().st_size for path in DATA_DIR.iterdir()]
    assert max(sizes) < 1.4e6
    assert sum(sizes) < 3e6


def test_the_market_loads_without_an_error_and_only_the_imbalance_price_is_absent() -> None:
    market = reference_market()
    assert market.synthetic
    assert (market.zone, market.timezone) == ("DE_LU", TIMEZONE)
    assert list(market.series) == list(SERIES)
    assert all("imbalance" in warning for warning in market.warnings), market.warnings


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a")
    assert main(["--write", str(tmp_path / "b")]) == 0
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_writing_gives_the_shipped_bytes_under_the_parquet_writer_that_made_them(
    tmp_path: Path,
) -> None:
    write(tmp_path)
    shipped, fresh = (pq.ParquetFile(d / "day_ahead.parquet") for d in (DATA_DIR, tmp_path))
    if shipped.metadata.created_by != fresh.metadata.created_by:
        pytest.skip(f"shipped files were written by {shipped.metadata.created_by}")
    for path in sorted(DATA_DIR.iterdir()):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_a_written_market_of_another_seed_loads_and_differs(tmp_path: Path) -> None:
    write(tmp_path, seed=SEED + 1)
    assert load_market(tmp_path, "DE_LU").sha256 != reference_market().sha256


def test_the_values_do_not_depend_on_the_process(frames: dict[str, pd.DataFrame]) -> None:
    code = "import test_reference_market as t; print(t._digest(t.generate(t.SEED)))"
    environment = os.environ | {
        "PYTHONHASHSEED": "4711",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == _digest(frames)


def test_generation_takes_far_less_than_twenty_seconds() -> None:
    begin = time.process_time()
    generate(SEED)
    assert time.process_time() - begin < 20


def test_delivery_days_have_92_96_or_100_quarter_hours_and_six_blocks(
    frames: dict[str, pd.DataFrame],
) -> None:
    short, long = {date(2023, 3, 26), date(2024, 3, 31)}, {date(2023, 10, 29), date(2024, 10, 27)}
    for name, frame in frames.items():
        rows = pd.Series(1, frame.index).groupby(_local(frame).date).sum()
        assert (rows.index[0], rows.index[-1]) == (date(2023, 1, 1), date(2024, 12, 31))
        assert len(rows) == 731
        usual = 6 if "capacity" in name else 24 if name in ("day_ahead", "fundamentals") else 96
        shift = 0 if usual == 6 else usual // 24
        assert {day for day in rows.index if rows[day] == usual - shift} >= short
        assert {day for day in rows.index if rows[day] == usual + shift} >= long
        assert set(rows.drop([*short, *long])) == {usual}


def test_no_value_is_missing_or_outside_its_physical_range(
    frames: dict[str, pd.DataFrame],
) -> None:
    for name, frame in frames.items():
        assert np.isfinite(frame.to_numpy()).all(), name
    assert frames["afrr_energy"].min().min() >= 0
    assert frames["afrr_energy"].max().max() <= 600
    assert frames["afrr_activation"].min().min() == 0
    assert frames["fcr_capacity"].min().min() > 0
    assert frames["afrr_capacity"].min().min() > 0
    r = frames["realised_15min"]
    parts = r["load_mw"] - r["solar_mw"] - r["wind_onshore_mw"] - r["wind_offshore_mw"]
    assert (parts == r["residual_load_mw"]).all()
    night = _local(r).hour.isin([0, 1, 2])
    assert (r.loc[night, "solar_mw"] == 0).all()


def test_hourly_load_is_the_mean_of_the_quarter_hours(frames: dict[str, pd.DataFrame]) -> None:
    mean = frames["realised_15min"]["load_mw"].astype("float64").resample("1h").mean()
    assert (mean - frames["fundamentals"]["load_mw"]).abs().max() <= 0.5


def test_the_reference_day_is_an_ordinary_summer_workday(frames: dict[str, pd.DataFrame]) -> None:
    price = frames["day_ahead"]["price_eur_mwh"].astype("float64")
    day = price[_local(price).date == REFERENCE_DAY]
    assert REFERENCE_DAY.weekday() == 2
    assert len(day) == 24
    assert day.min() > 0
    assert 60 < day.mean() < 100
    ordered = np.sort(day)
    assert 70 < ordered[-2:].mean() - ordered[:2].mean() < 120


def test_easter_and_holidays_are_those_of_the_calendar() -> None:
    assert [easter(year) for year in (2000, 2023, 2024, 2038)] == [
        date(2000, 4, 23),
        date(2023, 4, 9),
        date(2024, 3, 31),
        date(2038, 4, 25),
    ]
    assert date(2024, 5, 9) in holidays(2024)  # Ascension
    assert date(2024, 5, 20) in holidays(2024)  # Whit Monday
    assert len(holidays(2023)) == 9


@pytest.mark.parametrize(("tau_h", "smooth_h"), [(2.0, 0.0), (10.0, 2.0), (3.0, 3.0)])
def test_a_latent_process_has_unit_variance_and_its_time_constant(
    tau_h: float, smooth_h: float
) -> None:
    x = ou(stream(1, "test"), 400_000, 0.25, tau_h, smooth_h)
    assert abs(x.mean()) < 0.05
    assert x.std() == pytest.approx(1.0, abs=0.03)
    if smooth_h == 0:
        assert np.corrcoef(x[8:], x[:-8])[0, 1] == pytest.approx(np.exp(-2.0 / tau_h), abs=0.02)


@pytest.mark.market_data
def test_the_reference_market_repeats_no_real_value(
    real_market: Path, frames: dict[str, pd.DataFrame]
) -> None:
    for name, frame in frames.items():
        real = pd.read_parquet(real_market / "DE_LU" / f"{name}.parquet").astype("float64")
        real = real.reindex(frame.index)
        assert real.notna().all(axis=1).sum() > 2000
        local = _local(frame)
        for column in frame.columns:
            pair = pd.DataFrame({"ours": frame[column].astype("float64"), "real": real[column]})
            equal = (pair["ours"] == pair["real"]) & (pair["real"] != 0)
            assert equal.mean() < 0.01, (name, column)
            if column.startswith(("solar", "wind", "up_mw", "down_mw")):
                pair -= pair.groupby([local.month, local.hour]).transform("mean")
                assert abs(pair["ours"].corr(pair["real"])) < 0.2, (name, column)
