"""Commands about scenario sets: files of many days, fewer scenarios, trees, scores and pictures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stochbess.config import Config, load_config
from stochbess.errors import DataError
from stochbess.market.reference import reference_market
from stochbess.scenario_days import (
    REQUEST,
    _shares,
    day_path,
    generate_days,
    of_day,
    request_sha256,
)
from stochbess.scenario_figure import scenario_picture
from stochbess.scenario_gen import calibration, scores
from stochbess.scenario_gen.scenario_file import read_scenarios, write_scenarios
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.set_scores import realised_values, score_sets
from stochbess.scenario_gen.tree_file import read_tree
from tests.test_cli import Outcome, empty_directory, program, stochbess

__all__ = ["empty_directory"]  # the fixture: no config.yaml and no store

FIRST, LAST = date(2024, 6, 24), date(2024, 7, 2)  # a week, and the beginning of the next
SMALL = ["--markets", "day-ahead,intraday", "--n-scenarios", "6"]
KEYS = ["markets.fcr.enabled=false", "markets.afrr.enabled=false", "scenarios.n=6"]
PICTURE = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}


def config() -> Config:
    return load_config(None, KEYS)


def period(*more: object, first: date = FIRST, last: date = LAST) -> Outcome:
    return stochbess(
        "scenarios", "generate", *SMALL, "--from", first, "--to", last, "--out", "days", "-q", *more
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine days of scenarios, made in this process."""
    folder = tmp_path_factory.mktemp("days")
    found = generate_days(config(), FIRST, LAST, folder)
    assert [item.status for item in found] == ["made"] * 9
    return folder


@pytest.fixture
def one(days: Path) -> Path:
    return day_path(days, date(2024, 6, 26))


# -------------------------------------------------------------------------------------- many days


def test_every_day_has_the_scenarios_that_solve_would_see(days: Path, tmp_path: Path) -> None:
    assert [path.stem for path in sorted(days.iterdir())] == [
        str(FIRST + timedelta(days=k)) for k in range(9)
    ]
    single = stochbess(
        "scenarios", "generate", *SMALL, "--day", "2024-06-26", "-o", "s.parquet", "-q"
    )
    assert single.code == 0, single.err
    found = read_scenarios(day_path(days, date(2024, 6, 26)))
    assert found.sha256 == read_scenarios(tmp_path / "s.parquet").sha256
    assert len(found.provenance[REQUEST]) == 64


@pytest.mark.slow
def test_one_two_and_four_processes_write_the_same_bytes(days: Path, tmp_path: Path) -> None:
    for workers in (2, 4):
        folder = tmp_path / str(workers)
        folder.mkdir()
        done = generate_days(config(), FIRST, LAST, folder, workers)
        assert [item.status for item in done] == ["made"] * 9
        assert contents(folder) == contents(days)


def test_workers_get_whole_weeks_in_order() -> None:
    many = [FIRST + timedelta(days=k) for k in range(40)]
    for n in (1, 2, 3, 50):
        shares = _shares(many, n)
        assert [day for share in shares for day in share] == many
        assert len(shares) == min(n, 6)
        mondays = [{d - timedelta(days=d.weekday()) for d in share} for share in shares]
        assert sum(len(weeks) for weeks in mondays) == 6


def test_what_is_there_is_kept_and_only_the_rest_is_made(days: Path, tmp_path: Path) -> None:
    (tmp_path / "days").mkdir()
    made = period("--workers", 1, last=FIRST + timedelta(days=1))
    assert (made.code, made.err) == (0, "")
    assert "2 of 2 days  days  2 made, 0 kept" in made.out
    before = contents(tmp_path / "days")
    stamps = [path.stat().st_mtime_ns for path in sorted((tmp_path / "days").iterdir())]
    more = period("--workers", 1, "--json", last=FIRST + timedelta(days=2))
    assert [row["status"] for row in json.loads(more.out)] == ["kept", "kept", "made"]
    after = contents(tmp_path / "days")
    assert before.items() <= after.items() and after.items() <= contents(days).items()
    kept = sorted((tmp_path / "days").iterdir())[:2]
    assert stamps == [path.stat().st_mtime_ns for path in kept]


def test_a_damaged_or_foreign_file_is_made_again(days: Path, tmp_path: Path) -> None:
    folder = tmp_path / "days"
    folder.mkdir()
    names = [FIRST + timedelta(days=k) for k in range(3)]
    whole = day_path(days, FIRST).read_bytes()
    day_path(folder, names[0]).write_bytes(whole[:-20])
    foreign = replace(read_scenarios(day_path(days, names[1])), provenance={REQUEST: "0" * 64})
    write_scenarios(foreign, day_path(folder, names[1]))
    day_path(folder, names[2]).write_bytes(day_path(days, names[2]).read_bytes())
    found = generate_days(config(), names[0], names[2], folder)
    assert [item.status for item in found] == ["made", "made", "kept"]
    assert contents(folder) == {
        day_path(days, d).name: day_path(days, d).read_bytes() for d in names
    }


def test_the_request_is_that_of_the_scenarios_and_not_of_the_solver_or_the_store() -> None:
    market, base = reference_market(), of_day(config(), FIRST)
    told = request_sha256(base, market, "c")
    for override in ("solver.gap_frac=0.2", "report.store_dir=elsewhere", "market.day=2024-01-01"):
        same = of_day(load_config(None, [*KEYS, override]), FIRST)
        assert request_sha256(same, market, "c") == told, override
    for override in ("seed=7", "scenarios.n=7", "scenarios.neighbours=61", "market.zone=AT"):
        other = of_day(load_config(None, [*KEYS, override]), FIRST)
        assert request_sha256(other, market, "c") != told, override
    assert request_sha256(base, market, "d") != told
    assert request_sha256(of_day(config(), LAST), market, "c") != told
    assert request_sha256(base, replace(market, sha256="1" * 64), "c") != told


def test_days_that_cannot_be_made_are_told_and_the_others_made(tmp_path: Path) -> None:
    (tmp_path / "days").mkdir()
    # The data end with 2024: prices of the day before the 4th of January 2025 are not there.
    found = period("--workers", 1, first=date(2024, 12, 31), last=date(2025, 1, 12))
    assert found.code == 3
    failed = 13 - len(contents(tmp_path / "days"))
    assert failed > 0 and f"Not made  {failed} days" in found.out
    assert "2025-01-12: " in found.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--from", "2024-06-24"], 2, "--to is not given"),
        (["--to", "2024-06-24"], 2, "--from is not given"),
        (["--workers", "2"], 2, "--from is not given"),
        (["--from", "2024-06-31", "--to", "2024-07-01"], 2, "2024-06-31: no date"),
        (["--from", "2024-06-24", "--to", "2024-06-23"], 2, "is after --to"),
        (["--from", "2024-06-24", "--to", "2024-06-24", "--day", "2024-06-24"], 2, "--day"),
        (["--from", "2024-06-24", "--to", "2024-06-24", "--days", "2"], 2, "--days"),
        (["--from", "2024-06-24", "--to", "2024-06-24", "--workers", "0"], 2, "1 to 64"),
        (["--from", "2024-06-24", "--to", "2024-06-24"], 2, "no such folder"),
    ],
)
def test_a_period_that_makes_no_sense_is_refused(
    arguments: list[str], code: int, said: str, tmp_path: Path
) -> None:
    found = stochbess("scenarios", "generate", *arguments, "--out", "nowhere")
    assert (found.code, found.out) == (code, "")
    assert said in found.err
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_all_processes_and_leaves_whole_files(
    tmp_path: Path, number: int, code: int
) -> None:
    (tmp_path / "days").mkdir()
    line = ["scenarios", "generate", *SMALL, "--from", "2024-02-01", "--to", "2024-12-30"]
    line += ["--out", "days", "--workers", "2"]
    running = subprocess.Popen(
        [sys.executable, "-c", "from stochbess.cli import main; main()", *line],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A test run in the background hands down an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    until = time.monotonic() + 120
    while len([*(tmp_path / "days").iterdir()]) < 4 and time.monotonic() < until:
        time.sleep(0.1)
    running.send_signal(number)
    assert running.wait(timeout=60) == code
    files = [p for p in (tmp_path / "days").iterdir() if p.suffix == ".parquet"]
    assert 4 <= len(files) < 300
    for path in files:
        assert len(read_scenarios(path)) == 6
    before = len(files)
    time.sleep(1.0)
    assert len([p for p in (tmp_path / "days").iterdir() if p.suffix == ".parquet"]) == before


def test_progress_tells_how_much_time_is_left(tmp_path: Path) -> None:
    (tmp_path / "days").mkdir()
    done = program(
        "scenarios", "generate", *SMALL, "--from", "2024-06-24", "--to", "2024-06-25",
        "--out", "days", "--workers", "1", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "made, 1 of 2" in done.stderr and "left" in done.stderr


# -------------------------------------------------------------------------------- reduce and tree


def test_reduce_keeps_n_and_prints_the_distance(one: Path, tmp_path: Path) -> None:
    found = stochbess("scenarios", "reduce", one, "-n", "2", "--out", "r.parquet")
    assert found.code == 0, found.err
    kept = read_scenarios(tmp_path / "r.parquet")
    assert len(kept) == 2 and kept.provenance["reduced_from"] == "6"
    assert "Kantorovich distance" in found.out and "relative distance" in found.out
    assert "SYNTHETIC" in found.out
    document = stochbess(
        "scenarios", "reduce", one, "-n", "2", "-o", "r.parquet", "--json"
    ).document()
    assert document["kept"] == list(kept.names)
    distance, relative = document["distance"], document["relative_distance"]
    assert float(kept.provenance["reduction_distance"]) == pytest.approx(distance, rel=1e-5)
    assert isinstance(relative, float) and 0 < relative < 1
    greedy = stochbess(
        "scenarios", "reduce", one, "-n", "2", "-o", "g.parquet", "--method", "forward", "--json"
    ).document()
    assert isinstance(distance, float) and isinstance(greedy["distance"], float)
    assert greedy["distance"] >= distance - 1e-12


def test_reduce_by_means_keeps_n_with_equal_weights_and_prints_the_error(
    one: Path, tmp_path: Path
) -> None:
    command = ["scenarios", "reduce", one, "-n", "4", "-o", "m.parquet", "--method", "means"]
    found = stochbess(*command)
    assert found.code == 0, found.err
    assert "error of the means" in found.out and "Kantorovich" not in found.out
    document = stochbess(*command, "--json").document()
    kept = read_scenarios(tmp_path / "m.parquet")
    assert document["kept"] == list(kept.names) and (kept.probability == 0.25).all()
    assert document["method"] == "means" and "distance" not in document
    assert float(kept.provenance["reduction_relative"]) == pytest.approx(
        document["relative_error"], rel=1e-5
    )


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["-n", "7", "-o", "r.parquet"], 3, "cannot keep 7 of 6"),
        (["-n", "0", "-o", "r.parquet"], 3, "cannot keep 0"),
        (["-n", "2", "-o", "r.csv"], 2, ".parquet"),
        (["-n", "2", "-o", "none/r.parquet"], 8, "does not exist"),
        (["-n", "2", "-o", "r.parquet", "--method", "best"], 2, "swap, forward, backward"),
    ],
)
def test_a_reduction_that_cannot_be_leaves_no_file(
    one: Path, more: list[str], code: int, said: str, tmp_path: Path
) -> None:
    found = stochbess("scenarios", "reduce", one, *more)
    assert (found.code, found.out) == (code, "")
    assert said in found.err
    assert not [*tmp_path.iterdir()]


def test_a_tree_has_the_stages_of_its_series(one: Path, tmp_path: Path) -> None:
    found = stochbess("scenarios", "tree", one, "--branching", "2,2", "--out", "t.parquet")
    assert found.code == 0, found.err
    tree = read_tree(tmp_path / "t.parquet")
    assert [stage.name for stage in tree.stages] == ["day_ahead", "intraday_auction"]
    leaves = len(tree.nodes(2))
    assert f"{len(tree.parent)} nodes, {leaves} leaves" in found.out
    document = stochbess(
        "scenarios", "tree", one, "--branching", "2,2", "-o", "t.parquet", "--json"
    ).document()
    assert document["stages"] == {"day_ahead": 2, "intraday_auction": leaves}
    for said, words in (("2", "expected 2 numbers"), ("2,x", "whole numbers"), ("2,0", ">= 1")):
        refused = stochbess("scenarios", "tree", one, "--branching", said, "-o", "u.parquet")
        assert refused.code in (2, 3) and words in refused.err
    assert not (tmp_path / "u.parquet").exists()


# ------------------------------------------------------------------------------------------ score


def test_scores_of_a_folder_are_the_means_of_its_days(days: Path) -> None:
    document = stochbess("scenarios", "score", days, "--json", "-q").document()
    market, crps, covered = reference_market(), [], []
    for path in sorted(days.iterdir()):
        found = read_scenarios(path)
        steps = found.index["day_ahead_eur_mwh"]
        real = market.column("day_ahead", "price_eur_mwh").loc[steps].to_numpy()
        values = found.values["day_ahead_eur_mwh"]
        crps.append(scores.crps_ensemble(values, real).mean())
        covered.append(calibration.coverage(values, real))
    rows = document["series"]
    assert isinstance(rows, list)
    assert [row["series"] for row in rows] == ["day_ahead_eur_mwh", "intraday_eur_mwh"]
    assert rows[0]["crps"] == pytest.approx(np.mean(crps))
    assert rows[0]["coverage_frac"] == pytest.approx(np.mean(covered))
    assert sum(rows[0]["ranks"]) == 9 * 24 and rows[0]["days"] == 9
    assert document["synthetic"] is True and document["events"] == []


def test_the_table_of_scores_fits_and_says_how_to_read_it(days: Path) -> None:
    found = stochbess("scenarios", "score", days, "-q")
    assert found.code == 0, found.err
    assert max(map(len, found.out.splitlines())) <= 100
    for words in ("9 sets of 6 scenarios", "SYNTHETIC", "CRPS", "compare sets of equal size"):
        assert words in found.out


def truth(series: str, values: np.ndarray, n: int = 8) -> tuple[ScenarioSet, dict[str, np.ndarray]]:
    """A set of `n` equal scenarios, and the values that are its truth."""
    labels = pd.date_range("2024-06-25 22:00", periods=len(values), freq="15min", tz="UTC")
    found = ScenarioSet(
        tuple(map(str, range(n))),
        np.full(n, 1 / n),
        {series: np.tile(values, (n, 1))},
        {series: labels},
    )
    return found, {series: values}


def test_scenarios_that_are_the_truth_score_nothing_and_know_every_event() -> None:
    volumes = np.random.default_rng(1).uniform(0, 400, 96)
    scored = score_sets([truth("activation_up_mw", volumes)] * 2)
    (row,) = scored.series
    assert (row.crps, row.energy_score, row.mae, row.width) == (0, 0, 0, 0)
    assert row.coverage_frac == 1 and row.days == 2
    for event, threshold in zip(scored.events, (5, 100, 300), strict=True):
        assert event.rate_frac == pytest.approx((volumes > threshold).mean())
        assert event.brier == 0 and event.calibration_error_frac == 0
        assert event.log_score == pytest.approx(-np.log(1 - 0.5 / 8))
        assert event.brier_of_rate == pytest.approx(event.rate_frac * (1 - event.rate_frac))


def test_an_event_that_no_scenario_foresaw_has_the_worst_score() -> None:
    found, _ = truth("activation_down_mw", np.full(96, 50.0))
    scored = score_sets([(found, {"activation_down_mw": np.full(96, 200.0)})])
    five, hundred, more = scored.events
    assert (five.brier, hundred.brier, more.brier) == (0, 1, 0)
    assert hundred.log_score == pytest.approx(-np.log(0.5 / 8))
    assert hundred.calibration_error_frac == 1


def test_a_series_is_scored_on_the_days_on_which_it_happened(days: Path, one: Path) -> None:
    found = read_scenarios(one)
    market = reference_market()
    assert set(realised_values(market, found)) == set(found.series)
    early = market.as_of(found.index["day_ahead_eur_mwh"][12].to_pydatetime())
    # At noon the day-ahead prices of the whole day are known, intraday auction prices too.
    assert set(realised_values(early, found)) == set(found.series)
    before = market.as_of(found.index["day_ahead_eur_mwh"][0].to_pydatetime() - timedelta(hours=9))
    assert set(realised_values(before, found)) == {"day_ahead_eur_mwh"}
    with pytest.raises(DataError, match="no realised value"):
        score_sets([(found, {})])


def test_a_set_of_another_zone_or_of_unknown_days_is_refused(one: Path, tmp_path: Path) -> None:
    found = read_scenarios(one)
    write_scenarios(replace(found, provenance={"zone": "AT"}), tmp_path / "at.parquet")
    refused = stochbess("scenarios", "score", "at.parquet", "-q")
    assert refused.code == 3 and "--zone AT" in refused.err
    (tmp_path / "empty").mkdir()
    refused = stochbess("scenarios", "score", "empty", "-q")
    assert refused.code == 3 and "without scenario files" in refused.err
    assert stochbess("scenarios", "score", "none.parquet", "-q").code == 3


# ------------------------------------------------------------------------------------------- plot


@pytest.mark.parametrize("form", PICTURE)
def test_a_picture_has_the_same_bytes_again(form: str, one: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        made = stochbess("scenarios", "plot", one, "--out", f"{name}.{form}")
        assert (made.code, made.out) == (0, ""), made.err
    first = (tmp_path / f"a.{form}").read_bytes()
    assert first.startswith(PICTURE[form])
    assert first == (tmp_path / f"b.{form}").read_bytes()


def test_what_happened_is_drawn_where_it_is_known_and_ranks_of_several_days(
    days: Path, one: Path
) -> None:
    market = reference_market()
    sets = [read_scenarios(path) for path in sorted(days.iterdir())]
    alert = b"#8f1d14"
    single = scenario_picture([read_scenarios(one)], market, [], "svg")
    assert alert in single and b"SYNTHETIC market data" in single
    abroad = replace(market, zone="AT", synthetic=False)
    blind = scenario_picture([read_scenarios(one)], abroad, [], "svg")
    assert single.count(alert) == blind.count(alert) + 3  # two lines and the legend
    several = scenario_picture(sets[::-1], market, ["day_ahead_eur_mwh"], "svg")
    assert several == scenario_picture(sets, market, ["day_ahead_eur_mwh"], "svg")
    assert several.count(b'id="axes_') == 2 and single.count(b'id="axes_') == 2
    gap = scenario_picture([*sets[:2], *sets[4:]], market, ["day_ahead_eur_mwh"], "svg")
    assert gap != several


def test_pictures_of_unknown_series_overlaps_and_other_formats_are_refused(
    one: Path, tmp_path: Path
) -> None:
    found = stochbess("scenarios", "plot", one, "--out", "x.svg", "--series", "fcr_eur_mw")
    assert found.code == 2 and "not in the scenarios, which hold day_ahead" in found.err
    found = stochbess("scenarios", "plot", one, "--out", "x.gif")
    assert found.code == 2 and ".svg" in found.err
    twice = stochbess("scenarios", "plot", one, one, "--out", "x.svg")
    assert twice.code == 3 and "draw one set a day" in twice.err
    assert not [*tmp_path.iterdir()]


# ------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize(
    "name", ["generate", "reduce", "tree", "score", "plot", "show", "stability"]
)
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    found = stochbess("scenarios", name, "--help")
    assert found.code == 0
    assert f"stochbess scenarios {name}" in found.out.partition("Example")[2]
    assert max(map(len, found.out.splitlines())) <= 100
