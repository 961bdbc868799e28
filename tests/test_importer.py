"""Turning a user's file into a market data directory, or refusing it and changing nothing."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stochbess.errors import DataError
from stochbess.market.data import load_market
from stochbess.market.importer import BLOCK_HOURS, ImportSpec, import_series
from stochbess.market.manifest import Manifest
from stochbess.timegrid import Horizon

BERLIN = "Europe/Berlin"
SPEC = ImportSpec(
    series="day_ahead",
    zone="DE_LU",
    timezone=BERLIN,
    time_columns=("time",),
    column_map={"price_eur_mwh": "price"},
    unit="EUR/MWh",
    known_since="D-1 12:45 local",
    source="made for this test",
    licence="none needed",
    naive_timezone=BERLIN,
    time_format="%d.%m.%Y %H:%M",
    decimal=",",
    thousands=".",
    separator=";",
    missing=("-",),
)


def steps(day: date, minutes: int, n_days: int = 1) -> pd.DatetimeIndex:
    return Horizon(day, n_days, BERLIN, 15, minutes).day_ahead_steps


def write_csv(path: Path, stamps: pd.DatetimeIndex, values: list[str] | None = None) -> Path:
    """A file in the manner of many European sites: local time, decimal comma, byte order mark."""
    texts = values or [f"1.{i:03d},5" for i in range(len(stamps))]
    rows = [f"{t:%d.%m.%Y %H:%M};{v}" for t, v in zip(stamps, texts, strict=True)]
    path.write_text("time;price\n" + "\n".join(rows) + "\n", encoding="utf-8-sig")
    return path


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def price(target: Path) -> pd.Series:
    return load_market(target, "DE_LU").column("day_ahead", "price_eur_mwh")


@pytest.mark.parametrize("label", ["start", "end"])
@pytest.mark.parametrize("minutes", [15, 60])
@pytest.mark.parametrize("day", [date(2025, 10, 26), date(2026, 3, 29), date(2025, 11, 1)])
def test_local_stamps_of_days_with_a_clock_change_become_utc_starts(
    tmp_path: Path, day: date, minutes: int, label: str
) -> None:
    index = steps(day, minutes)
    shift = pd.Timedelta(minutes=minutes if label == "end" else 0)
    local = (index + shift).tz_convert(BERLIN).tz_localize(None)
    source = write_csv(tmp_path / "prices.csv", local)
    report = import_series(source, tmp_path / "market", replace(SPEC, label=label))
    found = price(tmp_path / "market")
    assert (found.index == index).all()
    assert found.tolist() == [1000.5 + i for i in range(len(index))]
    assert (report.rows, report.first_utc) == (len(index), index[0])
    assert ("interval-end labels shifted to interval starts" in report.notes) == (label == "end")


@pytest.mark.parametrize("label", ["start", "end"])
@pytest.mark.parametrize("day", [date(2024, 3, 31), date(2024, 10, 27)])
def test_blocks_are_labelled_in_local_time(tmp_path: Path, day: date, label: str) -> None:
    starts = Horizon(day, 1, BERLIN, 15, 60).block_starts
    ends = starts[1:].append(pd.DatetimeIndex([Horizon(day, 1, BERLIN, 15, 60).end_utc]))
    chosen = pd.DatetimeIndex(starts if label == "start" else ends)
    source = write_csv(tmp_path / "fcr.csv", chosen.tz_convert(BERLIN).tz_localize(None))
    spec = replace(
        SPEC,
        series="fcr_capacity",
        column_map={"price_eur_mw": "price"},
        unit="EUR/MW per hour",
        factor=BLOCK_HOURS,
        label=label,
    )
    import_series(source, tmp_path / "market", spec)
    frame = pd.read_parquet(tmp_path / "market" / "DE_LU" / "fcr_capacity.parquet")
    assert (frame.index == starts).all()
    first_hours = 3 if day.month == 3 else 5
    assert frame["price_eur_mw"].tolist()[:2] == [1000.5 * first_hours, 1001.5 * 4]


@pytest.mark.parametrize(
    ("offset", "back_h"), [("+01:00", 1), ("UTC", 0), ("+02:00", 2), ("-00:30", -0.5)]
)
def test_a_fixed_offset_is_the_same_all_year(tmp_path: Path, offset: str, back_h: float) -> None:
    index = steps(date(2024, 3, 31), 60)
    stamps = index.tz_localize(None) + pd.Timedelta(hours=back_h)
    source = write_csv(tmp_path / "prices.csv", stamps)
    import_series(source, tmp_path / "market", replace(SPEC, naive_timezone=offset))
    assert (price(tmp_path / "market").index == index).all()


def test_stamps_with_an_offset_need_no_declared_zone(tmp_path: Path) -> None:
    index = steps(date(2024, 10, 27), 60)
    local = [t.isoformat() for t in index.tz_convert(BERLIN)]
    source = tmp_path / "prices.csv"
    source.write_text("t,p\n" + "".join(f"{t},{i}.5\n" for i, t in enumerate(local)))
    spec = replace(
        SPEC,
        time_columns=("t",),
        column_map={"price_eur_mwh": "p"},
        naive_timezone=None,
        time_format=None,
        decimal=".",
        thousands="",
        separator=",",
    )
    import_series(source, tmp_path / "market", spec)
    assert (price(tmp_path / "market").index == index).all()
    source.write_text(source.read_text().replace("+01:00", "", 1))
    with pytest.raises(DataError, match="some stamps have an offset and some have none"):
        import_series(source, tmp_path / "market", spec)


def test_date_and_time_may_be_two_columns_below_a_preamble(tmp_path: Path) -> None:
    index = steps(date(2024, 6, 14), 60)
    local = index.tz_convert(BERLIN)
    rows = "".join(f"{t:%d.%m.%Y};{t:%H:%M};7,25\n" for t in local)
    source = tmp_path / "prices.csv"
    source.write_text("a table of prices\n\nDatum;von;Preis\n" + rows)
    spec = replace(
        SPEC, time_columns=("Datum", "von"), column_map={"price_eur_mwh": "Preis"}, skip_rows=2
    )
    import_series(source, tmp_path / "market", spec)
    assert price(tmp_path / "market").tolist() == [7.25] * 24


def test_parquet_is_read_from_columns_or_index_with_its_own_types(tmp_path: Path) -> None:
    index = steps(date(2024, 6, 14), 60)
    frame = pd.DataFrame({"price": np.arange(24)}, index=index.rename("time"))
    source = tmp_path / "prices.parquet"
    frame.to_parquet(source)
    import_series(source, tmp_path / "market", replace(SPEC, naive_timezone=None))
    assert price(tmp_path / "market").tolist() == list(range(24))
    frame.tz_localize(None).reset_index().to_parquet(source)
    with pytest.raises(DataError, match="have no time zone"):
        import_series(source, tmp_path / "market", replace(SPEC, naive_timezone=None))


def test_a_local_time_that_clocks_skip_is_refused(tmp_path: Path) -> None:
    stamps = pd.date_range("2024-03-31", periods=24, freq="h")
    source = write_csv(tmp_path / "prices.csv", stamps)
    with pytest.raises(DataError, match=r"2024-03-31 02:00:00 does not exist in Europe/Berlin"):
        import_series(source, tmp_path / "market", SPEC)


def test_a_repeated_hour_that_comes_once_is_refused(tmp_path: Path) -> None:
    stamps = pd.date_range("2024-10-27", periods=24, freq="h")
    source = write_csv(tmp_path / "prices.csv", stamps)
    with pytest.raises(DataError, match=r"comes twice .* but the rows pass through it 1 time"):
        import_series(source, tmp_path / "market", SPEC)


def test_rows_without_a_value_are_left_out_and_counted(tmp_path: Path) -> None:
    stamps = steps(date(2024, 6, 14), 15).tz_convert(BERLIN).tz_localize(None)
    values = ["12,5" if t.minute == 0 else "-" for t in stamps]
    source = write_csv(tmp_path / "prices.csv", stamps, values)
    report = import_series(source, tmp_path / "market", SPEC)
    assert report.notes == ("72 row(s) without any value left out",)
    assert len(price(tmp_path / "market")) == 24


@pytest.mark.parametrize(
    ("unit", "factor", "message"),
    [
        ("EUR/kWh", None, r"declare --factor 1000\.0"),
        ("EUR/kWh", 100.0, r"is 1000\.0, got 100\.0"),
        ("CZK/MWh", None, "declare the factor"),
        ("CZK/MWh", -1.0, "positive"),
        ("CZK/MWh", BLOCK_HOURS, "expected a number"),
        ("EUR/MWh", 1000.0, "already"),
    ],
)
def test_a_unit_is_converted_only_as_declared(
    tmp_path: Path, unit: str, factor: float | str | None, message: str
) -> None:
    source = write_csv(tmp_path / "prices.csv", steps(date(2024, 6, 14), 60))
    with pytest.raises(DataError, match=message):
        import_series(source, tmp_path / "market", replace(SPEC, unit=unit, factor=factor))
    assert not (tmp_path / "market").exists()


def test_one_factor_cannot_convert_power_and_temperature(tmp_path: Path) -> None:
    index = steps(date(2024, 6, 14), 60)
    source = tmp_path / "weather.parquet"
    pd.DataFrame({"mw": 50_000.0, "t": 20.0}, index=index.rename("time")).to_parquet(source)
    both = {"load_mw": "mw", "temperature_degc": "t"}
    spec = replace(SPEC, series="fundamentals", column_map=both, known_since="delivery end")
    with pytest.raises(DataError, match="one factor cannot convert both"):
        import_series(source, tmp_path / "m", replace(spec, unit="kW", factor=0.001))
    import_series(source, tmp_path / "a", replace(spec, unit="MW, degC"))
    alone = replace(spec, column_map={"temperature_degc": "t"}, unit="degC")
    assert import_series(source, tmp_path / "b", alone).rows == 24


def test_a_declared_conversion_is_written_into_the_manifest(tmp_path: Path) -> None:
    stamps = steps(date(2024, 6, 14), 60).tz_localize(None)
    source = write_csv(tmp_path / "prices.csv", stamps, ["0,05"] * 24)
    spec = replace(SPEC, unit="EUR/kWh", factor=1000.0, naive_timezone="UTC")
    import_series(source, tmp_path / "market", spec)
    assert price(tmp_path / "market").tolist() == [50.0] * 24
    raw = json.loads((tmp_path / "market" / "DE_LU" / "manifest.json").read_text())
    assert raw["series"][0]["import_notes"] == ["converted from EUR/kWh: x 1000.0"]
    assert raw["series"][0]["licence"] == "none needed"


def test_equal_duplicates_are_dropped_only_on_request(tmp_path: Path) -> None:
    stamps = steps(date(2024, 6, 14), 60).tz_convert(BERLIN).tz_localize(None)
    twice = pd.DatetimeIndex(stamps[:6].append(stamps[5:]))
    values = [f"{i},0" for i in range(6)] + [f"{i},0" for i in range(5, 24)]
    source = write_csv(tmp_path / "prices.csv", twice, values)
    with pytest.raises(DataError, match=r"D302.*--drop-equal-duplicates"):
        import_series(source, tmp_path / "market", SPEC)
    report = import_series(source, tmp_path / "market", replace(SPEC, drop_equal_duplicates=True))
    assert report.rows == 24 and "1 repeated row(s)" in report.notes[0]
    values[6] = "99,0"
    write_csv(source, twice, values)
    with pytest.raises(DataError, match="D303"):
        import_series(source, tmp_path / "market", replace(SPEC, drop_equal_duplicates=True))


class Canary:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("canary-was-unpickled"),))  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["prices.pkl", "prices.joblib", "prices.csv", "prices.parquet"])
def test_a_pickle_is_refused_whatever_its_name(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / name
    source.write_bytes(pickle.dumps(Canary()))
    with pytest.raises(DataError, match="never read"):
        import_series(source, tmp_path / "market", SPEC)
    assert not (tmp_path / "canary-was-unpickled").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"series": "gas"}, "series 'gas' is unknown"),
        ({"column_map": {"price": "price"}}, r"--column \(column_map\) names price"),
        ({"column_map": {}}, "no column"),
        ({"column_map": {"price_eur_mwh": "Preis"}}, r"no column 'Preis'. It has: time, price"),
        ({"label": "middle"}, "expected 'start' or 'end'"),
        ({"source": ""}, "--source and --licence"),
        ({"licence": ""}, "--source and --licence"),
        ({"time_format": "%Y-%m-%d"}, "cannot be read"),
        ({"time_format": None}, "ISO 8601"),
        ({"naive_timezone": "Europe/Atlantis"}, "--naive-timezone 'Europe/Atlantis' is unknown"),
        ({"decimal": ".", "thousands": ""}, "is not a number"),
        ({"thousands": ""}, r"Declare --thousands \."),
        ({"known_since": "soon"}, "cannot be read"),
        ({"separator": "|"}, "has no column"),
        ({"separator": ";;"}, "--separator ';;': expected one character"),
        ({"separator": ","}, "is also the separator"),
        ({"decimal": ""}, "--decimal '': expected one character"),
        ({"skip_rows": -1}, "--skip-rows -1"),
        ({"zone": "../elsewhere"}, "--zone '../elsewhere'"),
        ({"timezone": "Europe"}, "--timezone 'Europe' is unknown"),
        ({"timezone": "x" * 5000}, "--timezone 'xxx"),
        ({"encoding": "utf-99"}, "cannot be read"),
    ],
)
def test_a_wrong_declaration_says_what_to_correct(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    stamps = steps(date(2024, 6, 14), 60).tz_convert(BERLIN).tz_localize(None)
    source = write_csv(tmp_path / "prices.csv", stamps)
    with pytest.raises(DataError, match=message):
        import_series(source, tmp_path / "market", replace(SPEC, **change))  # type: ignore[arg-type]
    assert not (tmp_path / "market").exists()


def test_a_row_with_more_fields_than_the_header_is_not_cut(tmp_path: Path) -> None:
    """A decimal comma between columns separated by commas: 12,5 is not 12."""
    source = tmp_path / "prices.csv"
    rows = [f"{t:%Y-%m-%dT%H:%MZ},12,5" for t in steps(date(2024, 6, 14), 60)]
    source.write_text("\n".join(["time,price", *rows]) + "\n")
    spec = replace(SPEC, separator=",", decimal=".", thousands="", time_format=None)
    with pytest.raises(DataError, match=r"cannot be read.*--separator"):
        import_series(source, tmp_path / "market", spec)


def test_a_refused_import_leaves_the_directory_byte_for_byte_as_it_was(tmp_path: Path) -> None:
    stamps = steps(date(2024, 6, 14), 60).tz_convert(BERLIN).tz_localize(None)
    good = write_csv(tmp_path / "good.csv", stamps)
    target = tmp_path / "market"
    import_series(good, target, SPEC)
    before = tree(target)
    bad = write_csv(tmp_path / "bad.csv", stamps.delete(7))
    with pytest.raises(DataError, match=r"nothing was changed.*\n.*D305"):
        import_series(bad, target, SPEC)
    with pytest.raises(DataError, match=r"\(timezone, synthetic\)"):
        import_series(good, target, replace(SPEC, timezone="Europe/Vienna"))
    with pytest.raises(DataError, match=r"\(timezone, synthetic\)"):
        import_series(good, target, replace(SPEC, synthetic=True))
    assert tree(target) == before


def test_a_crash_between_the_two_renames_puts_the_old_file_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = steps(date(2024, 6, 14), 60).tz_convert(BERLIN).tz_localize(None)
    target = tmp_path / "market"
    import_series(write_csv(tmp_path / "a.csv", stamps), target, SPEC)
    before = tree(target)
    replace_file = Path.replace

    def disk_full(self: Path, onto: Path) -> Path:
        if self.name == "manifest.json":
            raise OSError("no space left on device")
        return replace_file(self, onto)

    monkeypatch.setattr(Path, "replace", disk_full)
    other = write_csv(tmp_path / "b.csv", stamps, ["3,0"] * 24)
    with pytest.raises(OSError, match="no space"):
        import_series(other, target, SPEC)
    assert tree(target) == before


def test_series_are_added_one_by_one_and_replaced_without_touching_the_others(
    tmp_path: Path,
) -> None:
    target = tmp_path / "market"
    quarter = steps(date(2024, 6, 14), 15).tz_convert(BERLIN).tz_localize(None)
    hour = steps(date(2024, 6, 14), 60).tz_convert(BERLIN).tz_localize(None)
    intraday = replace(SPEC, series="intraday_auction", known_since="D-1 15:30 local")
    first = import_series(write_csv(tmp_path / "i.csv", quarter), target, intraday)
    assert "D106" in {problem.code for problem in first.problems}
    import_series(write_csv(tmp_path / "d.csv", hour), target, SPEC)
    kept = (target / "DE_LU" / "intraday_auction.parquet").read_bytes()
    import_series(write_csv(tmp_path / "d2.csv", hour, ["3,0"] * 24), target, SPEC)
    market = load_market(target, "DE_LU")
    assert list(market.series) == ["day_ahead", "intraday_auction"]
    assert price(target).tolist() == [3.0] * 24
    assert (target / "DE_LU" / "intraday_auction.parquet").read_bytes() == kept
    assert [path.name for path in target.iterdir()] == ["DE_LU"]


def test_importing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    stamps = steps(date(2024, 6, 14), 60).tz_convert(BERLIN).tz_localize(None)
    source = write_csv(tmp_path / "prices.csv", stamps)
    import_series(source, tmp_path / "one", SPEC)
    import_series(source, tmp_path / "two", SPEC)
    one = {Path(name).name: data for name, data in tree(tmp_path / "one").items()}
    two = {Path(name).name: data for name, data in tree(tmp_path / "two").items()}
    assert one == two


def test_the_manifest_hash_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    one = Manifest(tmp_path / "a", "DE_LU", BERLIN, False, ())
    assert one.sha256() == replace(one, directory=tmp_path / "b").sha256()
    assert one.sha256() != replace(one, zone="AT").sha256()
