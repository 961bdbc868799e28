"""Pictures: they count right, the same data give the same bytes, names are checked first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from stochbess.cli import app
from stochbess.cli_picture import FORMS
from stochbess.errors import ReportError
from stochbess.report import material_of
from stochbess.reports import style
from stochbess.reports.bundle import write_file
from stochbess.reports.figures_decision import decision_picture
from stochbess.reports.figures_market import (
    Column,
    MarketSeries,
    by_day,
    by_local_time,
    market_picture,
)
from stochbess.store import Store
from tests.report_case import Shape, finished_run

BEGIN = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}
HOUR = pd.Timedelta(hours=1)


def prices(days: int = 4, series: str = "day_ahead", unit: str = "EUR/MWh") -> Column:
    """Hourly prices over the change to summer time of 2024: the hour of the day, plus the day."""
    stamps = pd.date_range("2024-03-29", periods=24 * days, freq="h", tz="Europe/Berlin")
    values = stamps.hour + 100.0 * (stamps.day_of_year - stamps[0].day_of_year)
    starts = stamps.tz_convert("UTC")
    return Column(series, "price", unit, starts, starts + HOUR, np.asarray(values, float))


def without(column: Column, rows: slice) -> Column:
    keep = np.ones(len(column.values), bool)
    keep[rows] = False
    return replace(
        column,
        start_utc=column.start_utc[keep],
        end_utc=column.end_utc[keep],
        values=column.values[keep],
    )


def market(*columns: Column, synthetic: bool = False) -> MarketSeries:
    return MarketSeries("DE_LU", "Europe/Berlin", synthetic, "ab" * 32, columns)


def test_gaps_are_found_where_they_are_and_as_long_as_they_are() -> None:
    assert len(prices().gaps()[0]) == 0
    starts, ends = without(prices(), slice(10, 13)).gaps()
    first = pd.Timestamp("2024-03-29 10:00", tz="Europe/Berlin").timestamp() / 86_400
    assert starts == pytest.approx([first]) and ends == pytest.approx([first + 3 / 24])


def test_days_are_local_days_even_when_clocks_change() -> None:
    days = by_day(prices(), "Europe/Berlin")
    assert days["min"].tolist()[:3] == [0.0, 100.0, 200.0]
    assert days["max"].tolist()[:3] == [23.0, 123.0, 223.0]
    without_two = sum(range(24)) - 2  # 31 March has no hour from two to three
    assert days["mean"].iloc[2] == pytest.approx(200 + without_two / 23)


def test_a_day_without_values_breaks_the_line() -> None:
    days = by_day(without(prices(), slice(24, 48)), "Europe/Berlin")
    assert len(days) == 5 and days["mean"].isna().tolist() == [False, True, False, False, False]


def test_the_profile_is_the_mean_by_local_time() -> None:
    profile = by_local_time(prices(2), "Europe/Berlin")
    assert profile.index.tolist() == list(range(24))
    assert profile["mean"].tolist() == [hour + 50.0 for hour in range(24)]
    assert profile["low"].iloc[3] == pytest.approx(13.0)
    assert profile["high"].iloc[3] == pytest.approx(93.0)


def test_a_gap_is_drawn_in_the_colour_of_alarm() -> None:
    whole = market_picture(market(prices()), "svg").decode()
    torn = market_picture(market(without(prices(), slice(10, 13))), "svg").decode()
    assert style.ALERT not in whole and style.ALERT in torn


def test_synthetic_market_data_are_labelled_in_the_picture() -> None:
    for synthetic in (True, False):
        svg = market_picture(market(prices(), synthetic=synthetic), "svg").decode()
        assert ("SYNTHETIC market data" in svg) == synthetic
        assert "DE_LU · data abababababab" in svg


def test_a_market_without_prices_or_without_series_is_no_crash() -> None:
    load = prices(series="fundamentals", unit="MW")
    assert market_picture(market(load), "svg").startswith(b"<?xml")
    with pytest.raises(ReportError, match="no series"):
        market_picture(market(), "svg")


@pytest.mark.parametrize("form", FORMS)
def test_the_same_data_give_the_same_bytes_in_every_form(form: str) -> None:
    first = market_picture(market(prices(), prices(series="fcr_capacity")), form)
    assert first.startswith(BEGIN[form])
    assert market_picture(market(prices(), prices(series="fcr_capacity")), form) == first
    assert b"CreationDate" not in first


@pytest.mark.parametrize("form", FORMS)
def test_a_run_gives_the_same_picture_again(form: str) -> None:
    material = material_of(*finished_run())
    first = decision_picture(material, form)
    assert first.startswith(BEGIN[form]) and decision_picture(material, form) == first
    if form == "svg":
        assert material.source_line in first.decode()


@pytest.mark.parametrize("markets", [(), ("day-ahead",), ("FCR",)])
def test_closed_markets_have_no_panel(markets: tuple[str, ...]) -> None:
    material = material_of(*finished_run(Shape(markets=markets)))
    svg = decision_picture(material, "svg").decode()
    assert svg.count('id="axes_') == 2 + len(markets)  # prices, stored energy, one for each market


def test_the_forms_are_those_that_the_figures_can_write() -> None:
    assert FORMS == style.FORMS == tuple(BEGIN)


def test_a_picture_replaces_a_file_in_one_step_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    write_file(path, b"old")
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    (tmp_path / "b.svg").mkdir()
    with pytest.raises(ReportError, match="cannot be written"):
        write_file(tmp_path / "b.svg", b"new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.svg", "b.svg"]


# --------------------------------------------------------------------- the commands


@pytest.mark.parametrize("name", ["market.gif", "market", "svg", "market.svg.txt"])
@pytest.mark.parametrize("words", [["data", "describe"], ["runs", "show", "1f3a"]])
def test_a_picture_of_another_form_is_refused_before_the_work(
    words: list[str], name: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, [*words, "--picture", str(tmp_path / name)])
    assert done.exit_code == 2
    assert "expected .svg, .png or .pdf" in " ".join(done.output.split())
    assert not list(tmp_path.iterdir())


def test_a_picture_into_a_missing_folder_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "absent" / "market.svg"
    done = CliRunner().invoke(app, ["data", "describe", "--picture", str(place)])
    assert done.exit_code == 8 and "Make it first" in done.output


def test_a_stored_run_is_drawn_by_its_command(tmp_path: Path) -> None:
    record, frames = finished_run()
    with Store(tmp_path / "runs") as kept:
        kept.save(record, frames)
    path = tmp_path / "decision.PDF"
    line = ["runs", "show", record.run_id[:8], "--store", str(tmp_path / "runs")]
    done = CliRunner().invoke(app, [*line, "--json", "--picture", str(path)])
    assert done.exit_code == 0, done.output
    assert path.read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_the_reference_market_is_drawn_by_its_command(tmp_path: Path) -> None:
    path = tmp_path / "market.svg"
    done = CliRunner().invoke(app, ["data", "describe", "--picture", str(path)])
    assert done.exit_code == 0, done.output
    svg = path.read_text("utf-8")
    assert svg.count('id="axes_') == 1 + 2 * 7  # coverage; days and local times of seven prices
    assert "SYNTHETIC market data" in svg
