"""The command `stochbess backtest`: tables, JSON, files, and what it refuses."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner, Result

from stochbess.backtest import backtest
from stochbess.backtest_policies import POLICIES
from stochbess.cli_backtest import add_backtest
from stochbess.cli_backtest_tables import remarks, summary
from tests.backtest_case import QUICK, request_of

app = typer.Typer()
app.callback()(lambda: None)
add_backtest(app)
DAYS = ("--from", "2024-06-26", "--to", "2024-06-27")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which two days of three policies are done."""
    place = tmp_path_factory.mktemp("cli")
    assert run(place, "--quiet").exit_code == 0
    return place


def run(store: Path, *more: str, policy: str = "idle,rule,perfect-foresight") -> Result:
    sets = [word for item in QUICK for word in ("--set", item)]
    return CliRunner().invoke(
        app, ["backtest", "--store", str(store), "--policy", policy, *DAYS, *sets, *more]
    )


def test_tables_show_every_policy_the_bound_and_the_account(store: Path) -> None:
    done = run(store, "--against", "idle", "--depth", "100,300")
    assert done.exit_code == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    for words in (
        "SYNTHETIC", "perfect foresight", "Revenue of rule", "2024-06", "published band",
        "No line of any day exceeds", "Shadow account: rule over idle", "even weeks", "odd weeks",
        "every day to the cent", "smallest effect", "depth 100 MW", "depth 300 MW",
    ):  # fmt: skip
        assert words in done.stdout, words


def test_json_holds_the_same_numbers_and_every_day(store: Path) -> None:
    done = run(store, "--json", "--quiet", "--against", "idle")
    assert done.exit_code == 0 and done.stderr == ""
    (document,) = json.loads(done.stdout)
    assert document["synthetic"] is True and document["n_days"] == 2
    by_name = {row["policy"]: row for row in document["policies"]}
    days = [row for row in document["days"] if row["policy"] == "rule"]
    assert by_name["rule"]["profit_eur"] == pytest.approx(sum(row["profit_eur"] for row in days))
    assert by_name["rule"]["profit_eur"] < document["perfect_foresight_bound_eur"]
    (shadow,) = document["shadow"]
    gain = by_name["rule"]["profit_eur_day"] - by_name["idle"]["profit_eur_day"]
    assert shadow["uplift_eur_day"]["mean"] == pytest.approx(gain)
    assert sum(line["difference"] for line in shadow["lines"]) == pytest.approx(gain, abs=0.005)


def test_a_picture_and_a_table_are_written(store: Path, tmp_path: Path) -> None:
    pictures = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for picture in pictures:
        done = run(store, "--quiet", "--picture", str(picture), "--csv", str(tmp_path / "d.csv"))
        assert done.exit_code == 0, done.stderr
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert b"<svg" in pictures[0].read_bytes() and b"SYNTHETIC" in pictures[0].read_bytes()
    table = pd.read_csv(tmp_path / "d.csv")
    assert len(table) == 4 and {"policy", "day", "profit_eur", "cash_day_ahead"} <= set(table)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--against", "two-stage"), "lived no day"),
        (("--day", "2024-06-26"), "--from and --to"),
        (("--prices", "never"), "auction or gate"),
        (("--depth", "deep"), "megawatts"),
        (("--workers", "0"), "whole number"),
        (("--scenarios", "realised"), "perfect-foresight"),
        (("--picture", "x.bmp"), "expected .svg"),
    ],
)
def test_a_wrong_option_is_a_fault_of_the_command_line(
    store: Path, more: tuple[str, ...], said: str
) -> None:
    done = run(store, *more)
    assert done.exit_code == 2 and said in done.stderr


def test_help_names_every_policy(store: Path) -> None:
    said = " ".join(CliRunner().invoke(app, ["backtest", "--help"]).stdout.split())
    assert all(name in said for name in ("idle", *POLICIES, "perfect-foresight"))


def test_days_are_asked_for(store: Path) -> None:
    done = CliRunner().invoke(app, ["backtest", "--store", str(store), "--from", "2024-06-26"])
    assert done.exit_code == 2 and "--to is missing" in done.stderr
    done = CliRunner().invoke(app, ["backtest", "--from", "June", "--to", "2024-06-27"])
    assert done.exit_code == 2 and "YYYY-MM-DD" in done.stderr


def test_penalties_that_decide_a_ranking_are_spoken_of(store: Path) -> None:
    request = request_of(store, "idle", "rule", last=date(2024, 6, 27))
    found = backtest(request)
    rows = summary(found)
    assert found.computed == 0
    assert not any("deterrent" in text for text in remarks(found, rows))
    dear = rows.assign(profit_eur_day=[0.0, 100.0], penalties_eur_day=[0.0, 50.0])
    told = [text for text in remarks(found, dear) if "deterrent" in text]
    assert len(told) == 1 and told[0].startswith("rule paid 50 EUR") and told[0].endswith("150.")
