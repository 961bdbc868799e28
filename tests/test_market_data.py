"""Loading a market data directory and looking at it from a gate."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stochbess.errors import DataError
from stochbess.market.data import MarketData, SeriesMeta, build_series, load_market
from stochbess.market.known_since import parse_known_since
from stochbess.market.schema import FORECAST, SERIES, VALUE, row_end
from stochbess.timegrid import Horizon

BERLIN = "Europe/Berlin"
KNOWN = {
    "day_ahead": "D-1 12:45 local",
    "intraday_auction": "D-1 15:30 local",
    "fcr_capacity": "D-1 08:30 local",
    "afrr_activation": "delivery end + 15 min (operational, assumed)",
    "fundamentals": "forecasts D-1 18:00 local (as published); realised values delivery end",
}


def market_frame(stem: str, first: date, n_days: int) -> pd.DataFrame:
    """A complete series whose values count up, so that every value is recognisable."""
    horizon = Horizon(first, n_days, BERLIN, 15, 60)
    index = {
        "fcr_capacity": horizon.block_starts,
        "day_ahead": horizon.day_ahead_steps,
        "fundamentals": horizon.day_ahead_steps,
    }.get(stem, horizon.steps)
    columns = SERIES[stem].column_names
    if stem == "fundamentals":
        columns = ("wind_onshore_forecast_mw", "load_mw")
    values = 10.0 + 0.01 * np.arange(len(index))
    return pd.DataFrame({name: values for name in columns}, index=index)


def write_market(
    home: Path, frames: dict[str, pd.DataFrame], zone: str = "DE_LU", **texts: str
) -> Path:
    """Writes a zone folder below `home` and returns `home`; `texts` override known_since."""
    folder = home / zone
    folder.mkdir(parents=True)
    entries = []
    for stem, frame in frames.items():
        path = folder / f"{stem}.parquet"
        frame.to_parquet(path)
        entries.append(
            {
                "file": path.name,
                "rows": len(frame),
                "sha256": sha256(path.read_bytes()).hexdigest(),
                "product": stem,
                "unit": SERIES[stem].unit,
                "source": "made for this test",
                "known_since": texts.get(stem, KNOWN[stem]),
            }
        )
    manifest = {"zone": zone, "timezone": BERLIN, "synthetic": True, "series": entries}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return home


def small_market(home: Path, first: date = date(2024, 3, 30), n_days: int = 3) -> Path:
    return write_market(home, {stem: market_frame(stem, first, n_days) for stem in KNOWN})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> MarketData:
    return load_market(small_market(tmp_path_factory.mktemp("market")), "DE_LU")


def test_a_zone_loads_from_its_own_folder_and_from_the_parent(tmp_path: Path) -> None:
    home = small_market(tmp_path)
    own, parent = load_market(home / "DE_LU"), load_market(home, "DE_LU")
    assert own.sha256 == parent.sha256
    assert (own.zone, own.timezone, own.synthetic) == ("DE_LU", BERLIN, True)
    index = own.column("day_ahead", "price_eur_mwh").index
    assert str(index.dtype) == "datetime64[us, UTC]" and index.name == "delivery_start_utc"


def test_float32_prices_are_read_as_float64(tmp_path: Path) -> None:
    frame = market_frame("day_ahead", date(2024, 3, 30), 2).astype("float32")
    market = load_market(write_market(tmp_path, {"day_ahead": frame}), "DE_LU")
    assert market.column("day_ahead", "price_eur_mwh").dtype == np.float64


@pytest.mark.parametrize(
    ("day", "rows"),
    [
        (date(2024, 3, 31), 92),
        (date(2024, 10, 27), 100),
        (date(2025, 10, 26), 100),
        (date(2024, 2, 29), 96),
    ],
)
def test_days_with_a_clock_change_have_92_or_100_quarter_hours(
    tmp_path: Path, day: date, rows: int
) -> None:
    frames = {stem: market_frame(stem, day, 1) for stem in KNOWN}
    market = load_market(write_market(tmp_path, frames), "DE_LU")
    assert len(market.column("intraday_auction", "price_eur_mwh")) == rows
    assert len(market.column("day_ahead", "price_eur_mwh")) == rows // 4
    assert len(market.column("fcr_capacity", "price_eur_mw")) == 6


def test_a_year_end_and_a_quarter_hour_day_ahead_load(tmp_path: Path) -> None:
    horizon = Horizon(date(2025, 12, 31), 2, BERLIN, 15, 15)
    frame = pd.DataFrame({"price_eur_mwh": np.arange(192.0)}, index=horizon.steps)
    market = load_market(write_market(tmp_path, {"day_ahead": frame}), "DE_LU")
    assert len(market.column("day_ahead", "price_eur_mwh")) == 192


def test_the_change_to_quarter_hours_keeps_both_resolutions_in_one_series(tmp_path: Path) -> None:
    before = Horizon(date(2025, 9, 30), 1, BERLIN, 15, 60).day_ahead_steps
    after = Horizon(date(2025, 10, 1), 1, BERLIN, 15, 15).day_ahead_steps
    frame = pd.DataFrame({"price_eur_mwh": 50.0}, index=before.append(after))
    market = load_market(write_market(tmp_path, {"day_ahead": frame}), "DE_LU")
    ends = market.series["day_ahead"].end_utc("price_eur_mwh")
    assert len(ends) == 24 + 96
    assert (ends[:-1] == frame.index[1:]).all()


@pytest.mark.parametrize(
    ("gate", "series", "column", "last"),
    [
        ("2024-03-30T11:44", "day_ahead", "price_eur_mwh", "2024-03-30T22:00"),
        ("2024-03-30T11:45", "day_ahead", "price_eur_mwh", "2024-03-30T22:00"),
        ("2024-03-30T11:46", "day_ahead", "price_eur_mwh", "2024-03-31T21:00"),
        ("2024-03-31T10:46", "day_ahead", "price_eur_mwh", "2024-04-01T21:00"),
        ("2024-03-31T07:00", "fcr_capacity", "price_eur_mw", "2024-04-01T18:00"),
        ("2024-03-31T06:00", "fcr_capacity", "price_eur_mw", "2024-03-31T18:00"),
        ("2024-03-31T06:00", "afrr_activation", "up_mw", "2024-03-31T05:15"),
        ("2024-03-31T06:00", "fundamentals", "load_mw", "2024-03-31T04:00"),
        ("2024-03-31T06:00", "fundamentals", "wind_onshore_forecast_mw", "2024-03-31T21:00"),
    ],
)
def test_as_of_keeps_what_was_published_strictly_before_the_gate(
    market: MarketData, gate: str, series: str, column: str, last: str
) -> None:
    seen = market.as_of(utc(gate)).column(series, column)
    assert seen.index[-1] == pd.Timestamp(last, tz="UTC")
    assert not seen.isna().any()


@settings(max_examples=60, deadline=None)
@given(minutes=st.integers(-3 * 1440, 5 * 1440))
def test_nothing_newer_than_the_gate_survives(market: MarketData, minutes: int) -> None:
    gate = pd.Timestamp("2024-03-30T00:00", tz="UTC") + pd.Timedelta(minutes=minutes)
    seen = market.as_of(gate.to_pydatetime())
    for name, series in seen.series.items():
        assert bool((series.known_since_utc < gate).to_numpy().all())
        for column in series.columns:
            known = seen.known_since(name, column)
            assert bool((known < gate).all())
            everything = market.known_since(name, column)
            assert len(known) == int((everything < gate).sum())


def test_changing_the_future_does_not_change_what_a_gate_sees(tmp_path: Path) -> None:
    gate = utc("2024-03-31T06:00")
    frames = {stem: market_frame(stem, date(2024, 3, 30), 3) for stem in KNOWN}
    honest = load_market(write_market(tmp_path / "a", frames), "DE_LU").as_of(gate)
    for stem, frame in frames.items():
        for column in frame.columns:
            seen = honest.column(stem, column).index
            frame.loc[~frame.index.isin(seen), column] = 999.0
    corrupted = load_market(write_market(tmp_path / "b", frames), "DE_LU").as_of(gate)
    for name, series in honest.series.items():
        for column in series.columns:
            pd.testing.assert_series_equal(
                honest.column(name, column), corrupted.column(name, column)
            )


def test_a_series_of_which_nothing_was_known_is_empty_not_missing(market: MarketData) -> None:
    seen = market.as_of(utc("2020-01-01T00:00"))
    assert set(seen.series) == set(market.series)
    assert all(series.frame.empty for series in seen.series.values())


def test_the_joint_frame_holds_only_rows_in_which_every_column_is_known(
    market: MarketData,
) -> None:
    frame = market.as_of(utc("2024-03-31T06:00")).series["fundamentals"].frame
    assert frame.index[-1] == pd.Timestamp("2024-03-31T04:00", tz="UTC")
    assert not frame.isna().any().any()


def test_a_gate_without_time_zone_is_refused(market: MarketData) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        market.as_of(datetime(2024, 3, 31))  # noqa: DTZ001


def test_forecasts_can_be_assumed_known_earlier_and_the_assumption_is_printed(
    market: MarketData,
) -> None:
    gate = utc("2024-03-31T06:00")
    assumed = market.assume_forecasts_known("D-1 07:00")
    seen = assumed.as_of(gate).column("fundamentals", "wind_onshore_forecast_mw")
    assert seen.index[-1] == pd.Timestamp("2024-04-01T21:00", tz="UTC")
    load = assumed.as_of(gate).column("fundamentals", "load_mw")
    assert load.index[-1] == pd.Timestamp("2024-03-31T04:00", tz="UTC")
    assert "D-1 07:00" in assumed.assumptions[0]
    assert market.assumptions == ()
    with pytest.raises(DataError, match="cannot be read"):
        market.assume_forecasts_known("yesterday")


def test_writing_into_a_frame_does_not_change_the_market(market: MarketData) -> None:
    frame = market.series["day_ahead"].frame
    column = market.column("day_ahead", "price_eur_mwh")
    before = float(column.iloc[0])
    frame.iloc[0, 0] = -1.0
    column.iloc[0] = -1.0
    assert float(market.column("day_ahead", "price_eur_mwh").iloc[0]) == before


def test_missing_series_and_columns_are_named(market: MarketData) -> None:
    with pytest.raises(DataError, match=r"no series 'imbalance'.*day_ahead"):
        market.column("imbalance", "price_eur_mwh")
    with pytest.raises(DataError, match=r"no column 'price'.*price_eur_mwh"):
        market.column("day_ahead", "price")


def test_values_at_names_the_first_missing_interval(market: MarketData) -> None:
    known = Horizon(date(2024, 3, 31), 1, BERLIN, 15, 60).day_ahead_steps
    assert market.values_at("day_ahead", "price_eur_mwh", known).shape == (23,)
    beyond = Horizon(date(2024, 4, 1), 2, BERLIN, 15, 60).day_ahead_steps
    with pytest.raises(DataError, match=r"24 of 48 values missing \(first 2024-04-01T22:00Z"):
        market.values_at("day_ahead", "price_eur_mwh", beyond)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("D-1 12:45 local", "2024-03-30T11:45"),
        ("D 00:10 local", "2024-03-30T23:10"),
        ("D-7 10:00 local", "2024-03-24T09:00"),
        ("delivery end", "2024-03-31T02:00"),
        ("delivery start", "2024-03-30T23:00"),
        ("delivery start - 25 min", "2024-03-30T22:35"),
        ("delivery end + 2 h (see note (a))", "2024-03-31T04:00"),
        ("delivery end + 30 d", "2024-04-30T02:00"),
    ],
)
def test_known_since_texts_are_read_to_the_minute(text: str, expected: str) -> None:
    index = pd.DatetimeIndex(["2024-03-30T23:00"], tz="UTC", name="delivery_start_utc")
    clause = parse_known_since(text)[VALUE]
    times = clause.times(SERIES["fcr_capacity"], index.as_unit("us"), BERLIN)
    assert times.iloc[0] == pd.Timestamp(expected, tz="UTC")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "noon",
        "D-1 24:00 local",
        "D-1 12:45",
        "D+1 08:00 local",
        "delivery end + 15",
        "forecasts D-1 18:00 local",
        "realised values delivery end; forecasts D-1 18:00 local",
    ],
)
def test_an_unreadable_known_since_is_an_error_that_shows_the_grammar(text: str) -> None:
    with pytest.raises(DataError, match=r"cannot be read.*D-1 12:45 local"):
        parse_known_since(text)


def test_two_clauses_date_forecasts_and_measured_values_apart() -> None:
    clauses = parse_known_since(KNOWN["fundamentals"])
    assert clauses[FORECAST].text == "D-1 18:00 local"
    assert clauses[VALUE].text == "delivery end"


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2024, 3, 31), 3), (date(2024, 10, 27), 5), (date(2024, 6, 1), 4)]
)
def test_the_first_block_of_a_day_ends_at_four_local_time(day: date, hours: int) -> None:
    starts = Horizon(day, 1, BERLIN, 15, 60).block_starts
    ends = row_end(SERIES["fcr_capacity"], starts, BERLIN)
    assert (ends[0] - starts[0]) == pd.Timedelta(hours=hours)
    assert (ends[:-1] == starts[1:]).all()


def test_a_flipped_byte_anywhere_in_a_file_stops_the_load(tmp_path: Path) -> None:
    home = write_market(tmp_path, {"day_ahead": market_frame("day_ahead", date(2024, 6, 1), 1)})
    path = home / "DE_LU" / "day_ahead.parquet"
    intact = path.read_bytes()
    for at in np.linspace(0, len(intact) - 1, 64).astype(int):
        damaged = bytearray(intact)
        damaged[at] ^= 0xFF
        path.write_bytes(bytes(damaged))
        with pytest.raises(DataError, match=r"day_ahead\.parquet.*damaged or was edited"):
            load_market(home, "DE_LU")
        assert path.read_bytes() == bytes(damaged)
    path.write_bytes(intact[: len(intact) // 2])
    with pytest.raises(DataError, match="D102"):
        load_market(home, "DE_LU")


def test_a_missing_folder_zone_or_manifest_says_what_there_is(tmp_path: Path) -> None:
    home = small_market(tmp_path / "m")
    with pytest.raises(DataError, match="does not exist"):
        load_market(tmp_path / "nowhere", "DE_LU")
    with pytest.raises(DataError, match=r"found below it: DE_LU; zone 'FR' is not"):
        load_market(home, "FR")
    with pytest.raises(DataError, match="no zone was named"):
        load_market(home)
    with pytest.raises(DataError, match=r"describes zone 'DE_LU', but 'AT'"):
        load_market(home / "DE_LU", "AT")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("timezone", "Europe/Atlantis", "timezone 'Europe/Atlantis' is unknown"),
        ("zone", "", "non-empty text"),
        ("synthetic", "yes", "expected true or false"),
        ("series", {}, "a list 'series'"),
        ("series", [{"file": "../day_ahead.parquet"}], "plain name"),
        ("series", [{"file": "day_ahead.pkl"}], "no pickle"),
        ("series", [{"file": "day_ahead.parquet"}] * 2, "listed twice"),
        ("series", [{"file": "day_ahead.parquet", "rows": "24"}], "rows: int"),
        ("series", ["day_ahead.parquet"], "expected an object"),
    ],
)
def test_a_broken_manifest_is_refused(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    path = small_market(tmp_path) / "DE_LU" / "manifest.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(raw | {key: value}), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load_market(path.parent)
    path.write_text("{not json", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        load_market(path.parent)


def test_the_hash_of_a_market_covers_when_values_became_known(tmp_path: Path) -> None:
    frames = {"day_ahead": market_frame("day_ahead", date(2024, 6, 1), 2)}
    one = load_market(write_market(tmp_path / "a", frames), "DE_LU")
    later = write_market(tmp_path / "b", frames, day_ahead="delivery end")
    assert one.sha256 != load_market(later, "DE_LU").sha256


def test_warnings_travel_with_the_market(tmp_path: Path) -> None:
    frame = market_frame("day_ahead", date(2024, 6, 1), 2).iloc[1:]
    market = load_market(write_market(tmp_path, {"day_ahead": frame}), "DE_LU")
    assert any(text.startswith("D306 warning day_ahead [2024-06-01]") for text in market.warnings)


def test_an_unknown_series_cannot_be_built() -> None:
    meta = SeriesMeta("p", "EUR/MWh", "s", "delivery end")
    with pytest.raises(DataError, match=r"series 'gas' is unknown.*day_ahead"):
        build_series("gas", market_frame("day_ahead", date(2024, 6, 1), 1), meta, BERLIN)


@pytest.mark.market_data
@pytest.mark.parametrize("zone", ["DE_LU", "AT"])
def test_the_real_market_loads_and_a_gate_hides_the_next_day(real_market: Path, zone: str) -> None:
    market = load_market(real_market, zone)
    gate = utc("2024-06-25T06:00")
    assert len(market.column("afrr_energy", "up_eur_mwh")) == 35136
    last = market.as_of(gate).column("day_ahead", "price_eur_mwh").index[-1]
    assert last == pd.Timestamp("2024-06-25T21:00", tz="UTC")
