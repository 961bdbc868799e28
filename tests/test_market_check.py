"""Every fault that a market data directory can have is found, named and placed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stochbess.errors import DataError
from stochbess.market.check import ERROR, WARNING, Problem, check_market
from stochbess.market.check_clock import check_clock, solar_noon_utc_min
from stochbess.market.check_labels import check_labels
from stochbess.market.check_values import check_values
from stochbess.market.data import load_market
from stochbess.market.schema import INDEX_NAME, SERIES
from stochbess.timegrid import Horizon

BERLIN = "Europe/Berlin"
Frame = pd.DataFrame
Fault = Callable[[Frame], Frame]


def day_ahead(first: date = date(2024, 6, 14), n_days: int = 3) -> Frame:
    index = Horizon(first, n_days, BERLIN, 15, 60).day_ahead_steps
    return pd.DataFrame({"price_eur_mwh": 20.0 + np.arange(len(index))}, index=index)


def quarter_hours(first: date, n_days: int = 1) -> Frame:
    index = Horizon(first, n_days, BERLIN, 15, 60).steps
    return pd.DataFrame({"price_eur_mwh": 20.0 + np.arange(len(index))}, index=index)


def blocks(first: date = date(2024, 6, 14), n_days: int = 2) -> Frame:
    index = Horizon(first, n_days, BERLIN, 15, 60).block_starts
    return pd.DataFrame({"price_eur_mw": 40.0 + np.arange(len(index))}, index=index)


def write_market(home: Path, frames: dict[str, Frame], **changes: Any) -> Path:
    """Writes zone DE_LU below `home`; `changes` override keys of the first manifest entry."""
    folder = home / "DE_LU"
    folder.mkdir(parents=True)
    entries = []
    for stem, frame in frames.items():
        path = folder / f"{stem}.parquet"
        frame.to_parquet(path)
        known_since = "delivery end" if SERIES[stem].ex_post else "D-1 12:45 local"
        entries.append(
            {
                "file": path.name,
                "sha256": sha256(path.read_bytes()).hexdigest(),
                "unit": SERIES[stem].unit,
                "source": "made for this test",
                "known_since": known_since,
            }
        )
    entries[0] |= changes
    manifest = {"zone": "DE_LU", "timezone": BERLIN, "series": entries}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return home


def codes(problems: list[Problem], severity: str = ERROR) -> list[str]:
    return [problem.code for problem in problems if problem.severity == severity]


def test_a_sound_directory_has_no_error_and_names_its_absent_series(tmp_path: Path) -> None:
    problems = check_market(write_market(tmp_path, {"day_ahead": day_ahead()}), "DE_LU")
    assert [(problem.code, problem.severity) for problem in problems] == [("D107", WARNING)]
    assert "fcr_capacity" in problems[0].message


def moved(frame: Frame, days: int = 0, hours: int = 0, minutes: int = 0) -> pd.DatetimeIndex:
    """Labels of `frame` moved by a fixed time."""
    shift = pd.Timedelta(days=days, hours=hours, minutes=minutes)
    return pd.DatetimeIndex(pd.DatetimeIndex(frame.index) + shift)


def local_digits_as_utc(frame: Frame) -> pd.DatetimeIndex:
    """The classic mistake: what local clocks show, called UTC."""
    return (
        pd.DatetimeIndex(frame.index)
        .tz_convert(BERLIN)
        .tz_localize(None)
        .tz_localize("UTC")
        .rename(INDEX_NAME)
    )


def shift_by_seven_minutes(frame: Frame) -> Frame:
    return frame.set_axis(moved(frame, minutes=7), axis=0)


def late_label(row: int) -> Fault:
    def fault(frame: Frame) -> Frame:
        late_min = np.where(np.arange(len(frame)) == row, 7, 0)
        index = pd.DatetimeIndex(frame.index) + pd.to_timedelta(late_min, unit="min")
        return frame.set_axis(index.rename(INDEX_NAME), axis=0)

    return fault


def without_rows(*rows: int) -> Fault:
    return lambda frame: frame.drop(index=frame.index[list(rows)])


def repeated(row: int, change: float) -> Fault:
    def fault(frame: Frame) -> Frame:
        again = frame.iloc[[row]] + change
        return pd.concat([frame.iloc[: row + 1], again, frame.iloc[row + 1 :]])

    return fault


def with_value(value: float, *rows: int) -> Fault:
    def fault(frame: Frame) -> Frame:
        frame = frame.copy()
        frame.iloc[list(rows)] = value
        return frame

    return fault


FAULTS: list[tuple[str, Fault, list[str]]] = [
    ("a missing column", lambda f: f.rename(columns={"price_eur_mwh": "price"}), ["D201", "D202"]),
    ("an unknown column", lambda f: f.assign(volume=1.0), ["D202"]),
    ("prices as text", lambda f: f.astype(str), ["D203"]),
    ("prices as booleans", lambda f: f > 0, ["D203"]),
    ("no timestamps", lambda f: f.reset_index(drop=True), ["D204"]),
    ("another index name", lambda f: f.rename_axis("time"), ["D204"]),
    ("naive timestamps", lambda f: f.tz_localize(None), ["D205"]),
    ("local timestamps", lambda f: f.tz_convert(BERLIN), ["D206"]),
    ("no rows", lambda f: f.iloc[:0], ["D207"]),
    ("rows in another order", lambda f: f.iloc[[1, 0, *range(2, len(f))]], ["D301"]),
    ("a repeated row", repeated(30, 0.0), ["D302", "D308"]),
    ("a repeated label with another price", repeated(30, 1.0), ["D303", "D308"]),
    ("labels seven minutes late", shift_by_seven_minutes, ["D304"]),
    ("one label seven minutes late", late_label(30), ["D304", "D305"]),
    ("an hour missing", without_rows(30), ["D305", "D308"]),
    ("two gaps", without_rows(30, 40, 41), ["D305", "D305", "D308"]),
    ("one NaN", with_value(np.nan, 5), ["D401"]),
    ("two runs of NaN", with_value(np.nan, 5, 9, 10), ["D401", "D401"]),
    ("infinity", with_value(np.inf, 5), ["D402"]),
    ("only NaN", with_value(np.nan, *range(72)), ["D403"]),
    ("a price above the market limit", with_value(4000.01, 5), ["D404"]),
    ("a price below the market limit", with_value(-500.01, 5), ["D404"]),
    ("labels in the year 1900", lambda f: f.set_axis(moved(f, days=-45000), axis=0), ["D304"]),
]


@pytest.mark.parametrize(("fault", "expected"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_fault_in_a_file_is_found_and_the_market_does_not_load(
    tmp_path: Path, fault: Fault, expected: list[str]
) -> None:
    home = write_market(tmp_path, {"day_ahead": fault(day_ahead())})
    assert codes(check_market(home, "DE_LU")) == expected
    with pytest.raises(DataError, match=expected[0]):
        load_market(home, "DE_LU")


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"unit": "EUR/kWh"}, "D208", "expected 'EUR/MWh'"),
        ({"unit": "CHF/MWh"}, "D208", "other units and currencies"),
        ({"unit": ""}, "D208", "expected 'EUR/MWh'"),
        ({"known_since": ""}, "D209", "known_since is missing"),
        ({"known_since": "around noon"}, "D209", "cannot be read"),
        ({"rows": 71}, "D210", "Import it again"),
        ({"first": "2024-06-14 00:00:00+00:00"}, "D210", "2024-06-13 22:00:00"),
        ({"sha256": "0" * 64}, "D102", "damaged or was edited"),
        ({"sha256": ""}, "D102", "no sha256"),
    ],
)
def test_a_manifest_that_contradicts_its_file_is_an_error(
    tmp_path: Path, changes: dict[str, Any], code: str, words: str
) -> None:
    home = write_market(tmp_path, {"day_ahead": day_ahead()}, **changes)
    errors = [p for p in check_market(home, "DE_LU") if p.severity == ERROR]
    assert [p.code for p in errors] == [code]
    assert words in errors[0].message


def test_missing_unlisted_unknown_and_unreadable_files_are_told_apart(tmp_path: Path) -> None:
    frames = {"fcr_capacity": blocks(), "intraday_auction": quarter_hours(date(2024, 6, 14))}
    home = write_market(tmp_path, frames)
    folder = home / "DE_LU"
    (folder / "fcr_capacity.parquet").unlink()
    (folder / "gas.parquet").write_bytes(b"x")
    (folder / "intraday_auction.parquet").write_bytes(b"PAR1 but not Parquet PAR1")
    path = folder / "manifest.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["series"][1]["sha256"] = sha256(b"PAR1 but not Parquet PAR1").hexdigest()
    raw["series"].append({"file": "coal.parquet"})
    path.write_text(json.dumps(raw), encoding="utf-8")
    problems = check_market(home, "DE_LU")
    assert codes(problems) == ["D106", "D101", "D103"]
    assert codes(problems, WARNING) == ["D104", "D105", "D107"]


def test_an_unusable_manifest_is_one_problem(tmp_path: Path) -> None:
    problems = check_market(tmp_path / "nowhere", "DE_LU")
    assert codes(problems) == ["D100"]


def test_all_problems_are_listed_and_the_load_quotes_the_first(tmp_path: Path) -> None:
    bad = with_value(np.nan, 50)(without_rows(30)(day_ahead()))
    frames = {"day_ahead": bad, "fcr_capacity": with_value(-1.0, 3)(blocks())}
    home = write_market(tmp_path, frames, unit="USD/MWh")
    expected = ["D208", "D305", "D308", "D401", "D404"]
    assert codes(check_market(home, "DE_LU")) == expected
    with pytest.raises(DataError, match=r"5 error\(s\)") as caught:
        load_market(home, "DE_LU")
    assert all(code in str(caught.value) for code in expected)


@pytest.mark.parametrize("position", range(72))
def test_a_missing_row_is_an_error_inside_and_a_warning_at_either_end(position: int) -> None:
    frame = day_ahead()
    usable, problems = check_labels(
        SERIES["day_ahead"], frame.drop(index=frame.index[position]), BERLIN
    )
    assert usable
    if position == 0:
        assert [(p.code, p.severity) for p in problems] == [("D306", WARNING)]
    elif position == 71:
        assert [(p.code, p.severity) for p in problems] == [("D307", WARNING)]
    else:
        assert codes(problems) == ["D305", "D308"]
        assert problems[0].where == frame.index[position].strftime("%Y-%m-%dT%H:%MZ")
        assert "23 rows, expected 24" in problems[1].message


@pytest.mark.parametrize(
    ("day", "full"),
    [
        (date(2024, 3, 31), 92),
        (date(2024, 10, 27), 100),
        (date(2025, 10, 26), 100),
        (date(2024, 6, 15), 96),
    ],
)
@pytest.mark.parametrize("rows", [92, 96, 100])
def test_a_delivery_day_with_another_number_of_rows_is_told_the_expected_count(
    day: date, full: int, rows: int
) -> None:
    around = quarter_hours(date.fromordinal(day.toordinal() - 1), 3)
    days = pd.DatetimeIndex(around.index).tz_convert(BERLIN).date
    at = np.flatnonzero(days == day)
    if rows <= full:
        frame = around.drop(index=around.index[at[40 : 40 + full - rows]])
    else:
        extra = around.iloc[at[40 : 40 + rows - full]] + 1.0
        frame = pd.concat([around, extra]).sort_index()
    problems = check_labels(SERIES["intraday_auction"], frame, BERLIN)[1]
    counts = [p for p in problems if p.code == "D308"]
    if rows == full:
        assert problems == []
    else:
        assert [p.where for p in counts] == [str(day)]
        assert f"{rows} rows, expected {full}" in counts[0].message


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 94), min_size=1, max_size=30, unique=True))
def test_gaps_are_grouped_into_runs(rows: list[int]) -> None:
    frame = quarter_hours(date(2024, 6, 14))
    problems = check_labels(
        SERIES["intraday_auction"], frame.drop(index=frame.index[rows]), BERLIN
    )[1]
    ordered = sorted(rows)
    n_runs = 1 + sum(b - a > 1 for a, b in pairwise(ordered))
    gaps = [p for p in problems if p.code == "D305"]
    assert len(gaps) == min(n_runs, 6)
    if n_runs > 6:
        assert f"and {n_runs - 5} more gaps" in gaps[-1].message


@settings(max_examples=40, deadline=None)
@given(start=st.integers(0, 95), length=st.integers(1, 95))
def test_a_run_of_nan_is_one_problem_with_its_length(start: int, length: int) -> None:
    frame = quarter_hours(date(2024, 6, 14))
    stop = min(start + length, 96)
    frame.iloc[start:stop] = np.nan
    problems = check_values(SERIES["intraday_auction"], frame)
    if stop - start == 96:
        assert codes(problems) == ["D403"]
    else:
        assert codes(problems) == ["D401"]
        assert f"run of {stop - start} NaN" in problems[0].message


@settings(max_examples=40, deadline=None)
@given(st.floats(-500.0, 4000.0))
def test_every_price_within_the_limits_is_accepted(price: float) -> None:
    frame = day_ahead()
    frame.iloc[7] = price
    frame.iloc[8:10, 0] = (-500.0, 4000.0)
    assert check_values(SERIES["day_ahead"], frame) == []


def test_missing_blocks_are_a_warning_because_the_auction_may_have_had_no_result() -> None:
    frame = blocks()
    usable, problems = check_labels(
        SERIES["fcr_capacity"], frame.drop(index=frame.index[3]), BERLIN
    )
    assert usable
    assert codes(problems) == []
    assert codes(problems, WARNING) == ["D305", "D308"]


def test_hourly_rows_in_a_series_of_blocks_are_an_error() -> None:
    frame = pd.concat([blocks(), blocks() + 1.0]).sort_index()
    problems = check_labels(SERIES["fcr_capacity"], frame, BERLIN)[1]
    assert codes(problems) == ["D303", "D308", "D308"]
    assert "12 rows, expected 6. Remove" in problems[1].message


def test_blocks_follow_local_time_over_a_clock_change() -> None:
    frame = blocks(date(2024, 3, 30), 3)
    assert check_labels(SERIES["fcr_capacity"], frame, BERLIN) == (True, [])
    rigid = pd.date_range(frame.index[0], periods=18, freq="4h", name=frame.index.name)
    problems = check_labels(SERIES["fcr_capacity"], frame.set_axis(rigid, axis=0), BERLIN)[1]
    assert "D304" in codes(problems)


def test_quarter_hour_day_ahead_prices_before_october_2025_are_taken_for_an_intraday_auction() -> (
    None
):
    spec = SERIES["day_ahead"]
    problems = check_labels(spec, quarter_hours(date(2025, 9, 30), 2), BERLIN)[1]
    assert codes(problems) == ["D309"]
    assert "1 delivery day(s)" in problems[0].message and problems[0].where == "2025-09-30"
    assert check_labels(spec, quarter_hours(date(2025, 10, 1), 2), BERLIN) == (True, [])


@pytest.mark.parametrize("day", [date(2024, 3, 31), date(2024, 10, 27), date(2025, 10, 26)])
def test_local_labels_passed_as_utc_are_recognised_on_a_clock_change(day: date) -> None:
    frame = quarter_hours(date.fromordinal(day.toordinal() - 1), 3)
    wrong = frame.set_axis(local_digits_as_utc(frame), axis=0)
    problems = check_labels(SERIES["intraday_auction"], wrong, BERLIN)[1]
    assert "D310" in codes(problems)
    clock = next(p for p in problems if p.code == "D310")
    assert clock.where.startswith(f"{day}T02:00")


def test_interval_end_labels_are_suspected_from_the_edges_of_the_series() -> None:
    frame = day_ahead()
    late = frame.set_axis(moved(frame, hours=1), axis=0)
    problems = check_labels(SERIES["day_ahead"], late, BERLIN)[1]
    assert codes(problems, WARNING) == ["D306", "D307", "D311"]
    shorter = check_labels(SERIES["day_ahead"], late.iloc[1:], BERLIN)[1]
    assert codes(shorter, WARNING) == ["D306", "D307"]
    hour = frame.set_axis(moved(frame, hours=2), axis=0)
    assert codes(check_labels(SERIES["day_ahead"], hour, BERLIN)[1], WARNING) == ["D306", "D307"]


@pytest.mark.parametrize(("length", "found"), [(3, []), (4, ["D405"]), (10, ["D405"])])
def test_four_exact_zeros_in_a_row_are_suspicious(length: int, found: list[str]) -> None:
    frame = quarter_hours(date(2024, 6, 14))
    frame.iloc[50 : 50 + length] = 0.0
    assert codes(check_values(SERIES["intraday_auction"], frame), WARNING) == found


def test_zeros_up_to_the_end_of_a_series_are_pointed_out() -> None:
    frame = day_ahead()
    frame.iloc[-4:] = 0.0
    problems = check_values(SERIES["day_ahead"], frame)
    assert "reaches the end of the series" in problems[0].message


def test_zeros_in_activation_and_its_price_are_normal() -> None:
    spec = SERIES["afrr_energy"]
    frame = quarter_hours(date(2024, 6, 14))["price_eur_mwh"].to_frame("up_eur_mwh")
    frame = frame.assign(down_eur_mwh=0.0)
    assert check_values(spec, frame) == []


def test_prices_in_eur_per_kwh_are_recognised_after_four_weeks() -> None:
    frame = day_ahead(n_days=30) / 1000.0
    assert codes(check_values(SERIES["day_ahead"], frame)) == ["D406"]
    assert check_values(SERIES["day_ahead"], frame.iloc[: 24 * 20]) == []


def test_kilowatts_given_as_megawatts_are_outside_the_limits() -> None:
    load = day_ahead().rename(columns={"price_eur_mwh": "load_mw"}) + 50_000.0
    assert check_values(SERIES["fundamentals"], load) == []
    assert codes(check_values(SERIES["fundamentals"], load * 1000.0)) == ["D404"]


def test_measured_values_known_before_they_happen_are_an_error(tmp_path: Path) -> None:
    load = day_ahead().rename(columns={"price_eur_mwh": "load_mw"})
    frames = {"fundamentals": load, "day_ahead": day_ahead()}
    home = write_market(tmp_path, frames, known_since="D-1 18:00 local")
    assert codes(check_market(home, "DE_LU")) == ["D212"]
    only_forecasts = load.rename(columns={"load_mw": "load_forecast_mw"})
    frames = {"fundamentals": only_forecasts, "day_ahead": day_ahead()}
    home = write_market(tmp_path / "b", frames, known_since="D-1 18:00 local")
    assert codes(check_market(home, "DE_LU")) == []


def sunshine(n_days: int, first: date = date(2024, 3, 1), noon_utc_h: float = 11.3) -> Frame:
    index = Horizon(first, n_days, BERLIN, 15, 60).day_ahead_steps
    hour = index.hour.to_numpy() + 0.5
    values = np.clip(6.0 - np.abs(hour - noon_utc_h), 0.0, None) * 1000.0
    return pd.DataFrame({"solar_forecast_mw": values}, index=index)


def test_the_sun_is_where_it_should_be() -> None:
    assert check_clock({"fundamentals": sunshine(60)}, BERLIN) == []
    assert check_clock({"fundamentals": sunshine(60).iloc[:0]}, BERLIN) == []
    assert check_clock({"fundamentals": sunshine(60) * 0.0}, BERLIN) == []


@pytest.mark.parametrize("hours", [-2, -1, 1, 2])
def test_labels_shifted_by_hours_are_betrayed_by_the_sun(hours: int) -> None:
    frame = sunshine(60)
    shifted = frame.set_axis(moved(frame, hours=hours), axis=0)
    problems = check_clock({"fundamentals": shifted}, BERLIN)
    assert codes(problems) == ["D501"]
    centred = re.search(r"centred ([+-]\d+) min", problems[0].message)
    assert centred is not None and int(centred[1]) == pytest.approx(hours * 60, abs=15)


def test_local_labels_make_the_sun_jump_when_clocks_change() -> None:
    frame = sunshine(60)
    wrong = frame.set_axis(local_digits_as_utc(frame), axis=0)
    problems = check_clock({"fundamentals": wrong}, BERLIN)
    assert codes(problems) == ["D501", "D502"]


def test_two_series_of_the_same_sun_must_not_be_an_hour_apart() -> None:
    forecast = sunshine(20, noon_utc_h=11.0)
    real = forecast.rename(columns={"solar_forecast_mw": "solar_mw"}).resample("15min").ffill()
    frames = {"fundamentals": forecast, "realised_15min": real}
    assert check_clock(frames, BERLIN) == []
    late = real.set_axis(moved(real, minutes=30), axis=0)
    assert codes(check_clock(frames | {"realised_15min": late}, BERLIN), WARNING) == []
    late = real.set_axis(moved(real, hours=1), axis=0)
    problems = check_clock(frames | {"realised_15min": late}, BERLIN)
    assert codes(problems, WARNING) == ["D503"]
    assert "moved by -1 h" in problems[-1].message


def test_solar_noon_follows_the_longitude_of_the_zone() -> None:
    assert solar_noon_utc_min(BERLIN) == pytest.approx(720 - 4 * (13 + 22 / 60))
    assert solar_noon_utc_min("America/New_York") == pytest.approx(
        720 + 4 * (74 + 23 / 3600), abs=1
    )
    assert solar_noon_utc_min("UTC") is None


def test_a_problem_prints_code_severity_series_place_and_message() -> None:
    problem = Problem("D305", ERROR, "day_ahead", "2024-06-14T12:00Z", "gap of 1 row(s).")
    assert str(problem) == "D305 error day_ahead [2024-06-14T12:00Z]: gap of 1 row(s)."
    assert replace(problem, repairable=True).repairable


def test_every_check_code_is_explained_in_the_documentation() -> None:
    root = Path(__file__).parent.parent
    sources = sorted((root / "stochbess" / "market").glob("check*.py"))
    text = "".join(path.read_text(encoding="utf-8") for path in sources)
    used = {word.strip('"') for word in text.split() if word.startswith('"D') and word[2].isdigit()}
    explained = (root / "docs" / "market-data.md").read_text(encoding="utf-8")
    for code in sorted({word[:4] for word in used} | {"D100"}):
        assert f"| {code} |" in explained


@pytest.mark.market_data
@pytest.mark.parametrize("zone", ["DE_LU", "AT"])
def test_the_real_market_has_no_errors_and_a_partial_first_day(
    real_market: Path, zone: str
) -> None:
    problems = check_market(real_market, zone)
    assert codes(problems) == []
    assert ("D306", "afrr_energy") in {(p.code, p.series) for p in problems}
    shifted = {p.code for p in problems} & {"D309", "D310", "D311", "D501", "D502", "D503"}
    assert shifted == set()
