"""The command line: what it prints where, its exit codes, and that nothing is left half done."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from stochbess import doctor
from stochbess.cli import app
from stochbess.cli_bids import COLUMNS, as_text, write_bids
from stochbess.cli_command import Terminated, command
from stochbess.cli_options import CaseOptions
from stochbess.cli_output import number
from stochbess.cli_run import _sign
from stochbess.config import Config, load_config
from stochbess.errors import ConfigError, DataError, ReportError, StochbessError
from stochbess.store import Store

# A decision that takes a fraction of a second: one market without integers, three scenarios.
QUICK = ["--markets", "day-ahead", "--n-scenarios", "3"]
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
HEAVY = "numpy pandas pyomo scipy sklearn statsmodels highspy pyarrow weasyprint pydantic"


@dataclass(frozen=True)
class Outcome:
    """Exit code and the two streams of a command."""

    code: int
    out: str
    err: str

    def document(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.out)
        return found


def stochbess(*arguments: object) -> Outcome:
    """Run a command in this process, in the working directory."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return Outcome(result.exit_code, result.stdout, result.stderr)


def program(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the program itself."""
    return subprocess.run(
        [sys.executable, "-c", "from stochbess.cli import main; main()", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No config.yaml and no store but those that a test makes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@dataclass(frozen=True)
class Stored:
    """A store with one two-stage run, and what `solve` said when it made it."""

    directory: Path
    solved: Outcome

    @property
    def run_id(self) -> str:
        with Store(self.directory, read_only=True) as kept:
            return kept.list()[0].run_id


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    directory = tmp_path_factory.mktemp("store") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory.parent)
        patch.setenv("COLUMNS", "100")
        yield Stored(directory, stochbess("solve", *QUICK, "--store", directory))


@pytest.fixture(scope="session")
def synthetic_market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference market as a directory of its own, to be damaged by copies only."""
    from stochbess.market.reference import DATA_DIR

    folder = tmp_path_factory.mktemp("market") / "DE_LU"
    folder.mkdir()
    for path in DATA_DIR.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder.parent


# ------------------------------------------------------------------------------------------ help


def test_help_answers_without_any_heavy_library(tmp_path: Path) -> None:
    script = f"""
import sys
from stochbess.cli import main
sys.argv = ["stochbess", "--help"]
try:
    main()
except SystemExit as end:
    loaded = [name for name in {HEAVY!r}.split() if name in sys.modules]
    sys.exit(f"loaded {{loaded}}" if loaded or end.code else 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "solve" in done.stdout


COMMANDS = [
    "solve", "compare", "frontier", "config check", "config show", "config schema", "data check",
    "data import", "data describe", "scenarios generate", "scenarios show", "runs list",
    "runs show", "doctor", "lifetime", "value", "certify", "scenarios reduce", "scenarios tree",
    "scenarios score", "scenarios plot",
]  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    found = stochbess(*name.split(), "--help")
    assert found.code == 0
    assert f"stochbess {name}" in found.out.partition("Example")[2]
    assert "--debug" in found.out


def test_version_is_printed() -> None:
    assert stochbess("--version").out.startswith("stochbess 0.")


def test_an_unknown_option_is_refused_with_exit_code_2() -> None:
    found = stochbess("solve", "--forse")
    assert (found.code, found.out) == (2, "")
    assert "--force" in found.err


# --------------------------------------------------------------------------------------- options


def test_options_are_short_for_overrides() -> None:
    options = CaseOptions(
        market_data="a folder: 'x' # \"y\"",
        zone="NO",
        day="2024-06-26",
        days="3",
        n_scenarios="7",
        scenarios="realised",
        seed="11",
        gap="0.02",
        time_limit="5",
        engine="extensive",
        store="some/store",
    )
    config = options.load()
    assert config.market.data_dir == Path("a folder: 'x' # \"y\"")
    assert config.market.zone == "NO"
    assert (str(config.market.day), config.market.n_days) == ("2024-06-26", 3)
    assert (config.scenarios.n, config.scenarios.source, config.seed) == (7, "realised", 11)
    assert (config.solver.gap_frac, config.solver.time_limit_s) == (0.02, 5.0)
    assert (config.solver.engine, config.report.store_dir) == ("extensive", Path("some/store"))


def test_markets_that_are_not_listed_are_closed() -> None:
    markets = CaseOptions(markets="day_ahead, FCR").load().markets
    assert (markets.day_ahead.enabled, markets.fcr.enabled) == (True, True)
    assert (markets.intraday.enabled, markets.afrr.enabled) == (False, False)


def test_an_option_counts_more_than_set_and_set_more_than_the_file(tmp_path: Path) -> None:
    file = tmp_path / "plant.yaml"
    file.write_text("seed: 1\nscenarios:\n  n: 1\n")
    config = CaseOptions(file, ["seed=2", "scenarios.n=2"], seed="3").load()
    assert (config.seed, config.scenarios.n) == (3, 2)


def test_a_scenario_file_is_named_like_a_source(tmp_path: Path) -> None:
    (tmp_path / "some scenarios.parquet").write_bytes(b"")
    config = CaseOptions(scenarios="some scenarios.parquet").load()
    assert config.scenarios.source == "file"
    assert config.scenarios.file == Path("some scenarios.parquet")
    again = CaseOptions(None, ["scenarios.source=file", "scenarios.file=old"], scenarios="analog")
    with pytest.raises(ConfigError, match=r"scenarios\.file"):
        again.load()


def test_all_faults_are_told_at_once_under_what_was_typed(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text("battery:\n  power: 3\n")
    found = stochbess(
        "solve", "--config", "plant.yaml", "--set", "sead=1", "--day", "2024-13-01", "--gap", "1%",
        "--markets", "fcr,spot", "-f", "fuzzy", "--scenarios", "analogue", "--engine", "cplex",
    )  # fmt: skip
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith("error: 8 faults in the configuration\n")
    for place in (
        "plant.yaml:2:3", "--set sead=1", "--day 2024-13-01 market.day", "--gap 1% solver.gap_frac",
        "--markets fcr,spot: found spot", "--formulation fuzzy", "--scenarios analogue",
        "--engine cplex",
    ):  # fmt: skip
        assert place in found.err, place
    assert "Traceback" not in found.err


def test_an_empty_list_of_markets_is_a_fault() -> None:
    found = stochbess("solve", "--markets", "")
    assert found.code == 2
    assert "found nothing" in found.err


# ------------------------------------------------------------------------------------ exit codes


def classes(parent: type[StochbessError]) -> list[type[StochbessError]]:
    below = [deep for child in parent.__subclasses__() for deep in classes(child)]
    return [kind for kind in (parent, *below) if kind.__module__ == "stochbess.errors"]


def outcome_of(error: BaseException, *arguments: str) -> Outcome:
    """How a command ends that raises `error`."""
    raising = typer.Typer(pretty_exceptions_enable=False)

    @command(raising, "fail")
    def fail() -> None:
        raise error

    result = CliRunner().invoke(raising, [*arguments])
    return Outcome(result.exit_code, result.stdout, result.stderr)


@pytest.mark.parametrize("kind", classes(StochbessError), ids=lambda kind: kind.__name__)
def test_an_expected_error_is_one_line_and_its_exit_code(kind: type[StochbessError]) -> None:
    found = outcome_of(kind("prices: 3 of 96 missing"))
    assert found == Outcome(kind.exit_code, "", "error: prices: 3 of 96 missing\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (Terminated(), 143), (BrokenPipeError(), 141)],
    ids=["ctrl-c", "sigterm", "broken pipe"],
)
def test_an_interruption_has_the_exit_code_of_its_signal(error: BaseException, code: int) -> None:
    found = outcome_of(error)
    assert found.code == code
    assert "Traceback" not in found.err


def test_an_unexpected_error_is_called_a_defect() -> None:
    found = outcome_of(ZeroDivisionError("division by zero"))
    assert found.code == 1
    assert "ZeroDivisionError: division by zero" in found.err
    assert "defect of stochbess" in found.err
    assert "Traceback" not in found.err


def test_too_little_memory_is_told_with_advice() -> None:
    assert "--n-scenarios" in outcome_of(MemoryError()).err


def test_debug_shows_where_an_error_came_from() -> None:
    found = outcome_of(DataError("no prices"), "--debug")
    assert found.code == 3
    assert "Traceback" in found.err
    assert found.err.endswith("error: no prices\n")


def test_text_from_data_cannot_steer_the_terminal() -> None:
    found = outcome_of(DataError("zone \x1b]0;owned\x07\x9b31m is unknown"))
    assert all(c == "\n" or unicodedata.category(c) != "Cc" for c in found.err)
    assert "\\x1b]0;owned\\x07\\x9b31m" in found.err


# ---------------------------------------------------------------------------------------- a run


def test_solve_prints_what_a_trader_needs(stored: Stored) -> None:
    found = stored.solved
    assert found.code == 0, found.err
    for words in (
        "SYNTHETIC DATA", "DE_LU", "2024-06-26", "two-stage", "3 scenarios", stored.run_id,
        "Day-ahead positions", "proven: no decision earns more than", "CVaR", "median",
        "Where it comes from", "battery aging", "EVPI = WS - RP", "VSS = RP - EEV",
        "What can make VSS differ from zero", "full cycles", "shortfalls", "Assumptions",
        "sees the whole day at once", "optimistic", "without a battery", "runs show",
    ):  # fmt: skip
        assert words in found.out, words
    assert "Reserve capacity" not in found.out  # FCR and aFRR are closed


def test_output_that_is_not_for_a_terminal_is_plain_and_fits(stored: Stored) -> None:
    lines = stored.solved.out.splitlines()
    assert max(map(len, lines)) <= 100
    assert not any(line != line.rstrip() for line in lines)
    assert not ANSI.search(stored.solved.out + stored.solved.err)
    assert not re.search(r"-0\.0+\b", stored.solved.out)


def test_progress_goes_to_standard_error(stored: Stored) -> None:
    assert "reading market data" in stored.solved.err
    assert "reading market data" not in stored.solved.out


def test_a_stored_run_is_shown_as_solve_showed_it(stored: Stored) -> None:
    again = stochbess("runs", "show", stored.run_id[:6], "--store", stored.directory)
    assert again == Outcome(0, stored.solved.out, "")


def test_narrow_terminals_get_narrow_output(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    found = stochbess("runs", "show", stored.run_id, "--store", stored.directory)
    assert max(map(len, found.out.splitlines())) <= 72


def test_json_is_one_document_with_facts_and_bids(stored: Stored) -> None:
    found = stochbess("solve", *QUICK, "--store", stored.directory, "--json")
    document = found.document()
    assert list(document) == ["record", "facts", "assumptions", "bids", "cash", "worth"]
    assert document["record"]["run_id"] == stored.run_id  # type: ignore[index]
    assert document["record"]["synthetic"] is True  # type: ignore[index]
    assert len(document["bids"]) == 24  # type: ignore[arg-type]
    assert {"profit", "vss_low"} <= {fact["name"] for fact in document["facts"]}  # type: ignore
    assert "stored already" in found.err
    shown = stochbess("runs", "show", stored.run_id, "--store", stored.directory, "--json")
    assert shown.document() == document


def test_quiet_says_nothing_on_standard_error(stored: Stored) -> None:
    assert stochbess("solve", *QUICK, "--store", stored.directory, "--quiet").err == ""


def test_a_deterministic_run_says_that_it_knows_one_future() -> None:
    found = stochbess("solve", "-f", "deterministic", *QUICK, "--scenarios", "realised", "-q")
    assert found.code == 0, found.err
    assert "not a forecast" in found.out
    assert "CVaR" not in found.out
    assert "VSS" not in found.out
    assert found.out.count("gap of 0.00 %") == 1


def test_reserves_are_offered_in_blocks_and_a_long_day_has_25_hours() -> None:
    found = stochbess(
        "solve", "-f", "deterministic", "--markets", "day-ahead,fcr", "--day", "2024-10-27", "-q",
        "--n-scenarios", "3", "--no-worth",
    )  # fmt: skip
    assert found.code == 0, found.err
    assert re.search(r"block +FCR\n +00:00 - 04:00 +[\d-]", found.out)
    assert found.out.count(" - ") >= 6
    positions = found.out.partition("Day-ahead positions")[2].partition("Profit")[0]
    assert len(re.findall(r"\d\d:00", positions)) == 25
    assert positions.count("02:00") == 2


def test_what_is_sold_already_is_recalled() -> None:
    sold = '[{market: day_ahead, start_local: "2024-06-26T04:00", mw: 0.5}]'
    found = stochbess(
        "solve", "-f", "deterministic", *QUICK, "-q", "--no-worth", "--markets", "day-ahead,fcr",
        "--set", f"battery.state.commitments={sold}",
    )  # fmt: skip
    assert "sold already: day_ahead 0.5 MW at 2024-06-26T04:00" in found.out


def test_a_risk_averse_run_says_what_its_profit_is() -> None:
    found = stochbess("solve", *QUICK, "--set", "risk.cvar_weight=0.5", "-q")
    assert found.code == 0, found.err
    assert "risk-adjusted" in found.out
    assert "this run weighs risk" in found.out
    json.loads(stochbess("solve", *QUICK, "--set", "risk.cvar_weight=0.5", "-q", "--json").out)


@pytest.mark.parametrize(
    ("low", "high", "known", "said"),
    [
        (0.5, 2.0, True, "positive"),
        (-2.0, -0.5, True, "negative"),
        (-1.0, 1.0, False, "not proven"),
        (-2.04, -1e-9, True, "not proven"),  # a rounding error of the solver proves nothing
        (1e-9, 2.0, True, "not proven"),
    ],
)
def test_a_sign_is_claimed_only_if_it_is_proven(
    low: float, high: float, known: bool, said: str
) -> None:
    assert _sign(low, high, known).plain == said


@pytest.mark.parametrize(
    ("value", "digits", "signed", "text"),
    [
        (-0.001, 2, False, "0.00"),
        (1234.5, 2, False, "1,234.50"),
        (0.0, 3, True, "0.000"),
        (1.5, 1, True, "+1.5"),
        (None, 2, False, "-"),
        (float("inf"), 2, False, "-"),
    ],
)
def test_numbers_have_no_negative_zero_and_no_infinity(
    value: float | None, digits: int, signed: bool, text: str
) -> None:
    assert number(value, digits, signed) == text


# ------------------------------------------------------------------------------------- terminals


def on_a_terminal(arguments: list[str], **environment: str) -> str:
    """What the program writes to a terminal of 100 columns."""
    import pty  # not on Windows

    main, side = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **environment}
    with subprocess.Popen(
        [sys.executable, "-c", "from stochbess.cli import main; main()", *arguments],
        stdout=side, stderr=side, stdin=side, env=env,
    ) as child:  # fmt: skip
        os.close(side)
        chunks = []
        while True:
            try:
                chunk = os.read(main, 65_536)
            except OSError:  # Linux says so when the other side is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
        child.wait(60)
    os.close(main)
    return b"".join(chunks).decode()


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_terminal_gets_colours_unless_they_are_refused(stored: Stored) -> None:
    arguments = ["runs", "show", stored.run_id, "--store", str(stored.directory)]
    colours = re.compile(r"\x1b\[[0-9;]*(3[0-7]|4[0-7])m")
    coloured = on_a_terminal(arguments)
    assert colours.search(coloured)
    assert not colours.search(on_a_terminal(arguments, NO_COLOR="1"))
    plain = [line.rstrip() for line in ANSI.sub("", coloured).replace("\r", "").splitlines()]
    assert plain == stored.solved.out.splitlines()


def test_an_old_encoding_gets_plain_characters(stored: Stored, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from stochbess.cli import main; main()", "runs", "show",
         stored.run_id, "--store", str(stored.directory)],
        cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"?" not in done.stdout
    assert "SYNTHETIC DATA" in done.stdout.decode("ascii")


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    script = f"{sys.executable} -c 'from stochbess.cli import main; main()' config show | true"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_standard_output_is_told(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from stochbess.cli import main; main()", "config", "show"],
            cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == ReportError.exit_code
    assert done.stderr.startswith("error: standard output cannot be written")


# ------------------------------------------------------------------------------------------ bids


def test_bids_are_written_as_numbers_and_text(stored: Stored, tmp_path: Path) -> None:
    found = stochbess("runs", "show", stored.run_id, "--store", stored.directory, "--bids", "b.csv")
    assert found.code == 0, found.err
    rows = list(csv.DictReader((tmp_path / "b.csv").open(encoding="utf-8")))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 24
    assert rows[0]["start_utc"] == "2024-06-25T22:00Z"
    assert {row["synthetic"] for row in rows} == {"yes"}
    assert any(float(row["mw"]) < 0 for row in rows)  # negative numbers stay numbers
    assert [path.name for path in tmp_path.iterdir()] == ["b.csv"]


@pytest.mark.parametrize("cell", ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1"])
def test_text_that_a_spreadsheet_would_compute_is_quoted(cell: str) -> None:
    assert as_text(cell) == f"'{cell}"
    assert as_text(f"zone {cell}") == f"zone {cell}"


def test_bids_that_cannot_be_written_leave_the_old_file(stored: Stored, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("old")
    with Store(stored.directory, read_only=True) as kept:
        record, bids = kept.get(stored.run_id), kept.frame(stored.run_id, "bids")
    broken = pd.concat([bids, bids.assign(mw="much")])
    with pytest.raises(ValueError, match="much"):
        write_bids(record, broken, tmp_path / "b.csv")
    with pytest.raises(ReportError, match="cannot be written"):
        write_bids(record, bids, tmp_path / "nowhere" / "b.csv")
    assert (tmp_path / "b.csv").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["b.csv"]


def test_a_missing_folder_for_bids_is_told_before_the_work() -> None:
    found = stochbess("solve", *QUICK, "--bids", "nowhere/b.csv")
    assert found.code == ReportError.exit_code
    assert found.err.count("\n") == 1
    assert not Path("runs").exists()


# --------------------------------------------------------------------------- comparing and days


def test_compare_prices_both_formulations_on_the_same_scenarios() -> None:
    found = stochbess("compare", *QUICK, "-q")
    assert found.code == 0, found.err
    assert re.search(r"deterministic +one future +[\d.,]+ +[\d.,]+ +[\d.]+ %", found.out)
    assert re.search(r"two-stage +[\d.,]+ +[\d.,]+ +[\d.,]+\n", found.out)
    document = stochbess("compare", *QUICK, "-q", "--json").document()
    assert document["synthetic"] is True
    names = [row["formulation"] for row in document["formulations"]]  # type: ignore[attr-defined]
    assert names == ["deterministic", "two-stage"]


def test_a_frontier_is_one_document_with_a_certificate_for_every_point() -> None:
    found = stochbess("frontier", *QUICK, "--values", "1,0", "-q", "--json").document()
    points: list[dict[str, float]] = found["points"]  # type: ignore[assignment]
    assert [point["parameter"] for point in points] == [0.0, 1.0]
    assert all(p["own_profit_eur"] <= p["own_bound_eur"] + 1e-6 for p in points)
    assert all(p["violation"] <= 1e-6 for p in points)
    refused = stochbess("frontier", *QUICK, "--over", "budget", "--values", "0.5")
    assert refused.code == 2 and "whole numbers" in refused.err
    assert stochbess("frontier", *QUICK, "--values", "0,a").code == 2


def test_an_unknown_formulation_is_a_fault_of_the_list() -> None:
    found = stochbess("compare", "--formulations", "deterministic,stable", *QUICK)
    assert found.code == 2
    assert "--formulations deterministic,stable: found stable" in found.err


def test_separate_days_are_listed_and_summed() -> None:
    arguments = [
        "solve", "-f", "deterministic", "--scenarios", "realised", "--markets", "day-ahead",
        "--days", "2", "--separate-days", "-q",
    ]  # fmt: skip
    found = stochbess(*arguments)
    assert found.code == 0, found.err
    assert "2024-06-26" in found.out and "2024-06-27" in found.out
    assert "upper bound" in found.out
    days = stochbess(*arguments, "--json").document()["days"]
    assert [day["day"] for day in days] == ["2024-06-26", "2024-06-27"]  # type: ignore


def test_separate_days_need_perfect_foresight() -> None:
    found = stochbess("solve", "--separate-days")
    assert found.code == 2
    assert "--scenarios realised" in found.err


# --------------------------------------------------------------------------------- configuration


def test_the_configuration_is_checked_shown_and_described(tmp_path: Path) -> None:
    assert stochbess("config", "check").out.startswith("no faults")
    shown = stochbess("config", "show", "--set", "battery.power_mw=1.5")
    (tmp_path / "plant.yaml").write_text(shown.out)
    assert load_config(tmp_path / "plant.yaml").battery.power_mw == 1.5
    assert stochbess("config", "check", "plant.yaml").code == 0
    assert stochbess("config", "schema").document() == Config.json_schema()


def test_a_faulty_configuration_is_refused_by_check(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text("seed: 1\nbattery:\n  power_mw: -1\n")
    found = stochbess("config", "check", "plant.yaml", "--set", "solver.gap_frac=2")
    assert (found.code, found.out) == (2, "")
    assert "plant.yaml:3:13 battery.power_mw" in found.err
    assert "--set solver.gap_frac=2" in found.err


# ------------------------------------------------------------------------------------------ data


def test_sound_data_pass_the_check_of_all_zones(synthetic_market: Path) -> None:
    found = stochbess("data", "check", synthetic_market)
    assert found.code == 0
    assert "0 errors" in found.out


def test_damaged_data_are_told_with_a_code_and_exit_code_3(
    synthetic_market: Path, tmp_path: Path
) -> None:
    zone = tmp_path / "market" / "DE_LU"
    zone.mkdir(parents=True)
    for path in (synthetic_market / "DE_LU").iterdir():
        (zone / path.name).write_bytes(path.read_bytes())
    (zone / "fcr_capacity.parquet").write_bytes(b"PAR1 damaged PAR1")
    found = stochbess("data", "check", tmp_path / "market", "--zone", "DE_LU")
    assert found.code == 3
    assert "D102" in found.out and "1 error," in found.out
    document = stochbess("data", "check", tmp_path / "market", "--json").document()
    (problems,) = document.values()
    assert "D102" in {problem["code"] for problem in problems}  # type: ignore[attr-defined]


def test_a_directory_without_data_is_an_error(tmp_path: Path) -> None:
    found = stochbess("data", "check", tmp_path / "nowhere")
    assert found.code == 3
    assert "D100" in found.out


def test_data_are_described_series_by_series() -> None:
    found = stochbess("data", "describe")
    assert found.code == 0, found.err
    assert "SYNTHETIC" in found.out
    assert re.search(r"price_eur_mwh +17,544", found.out)
    documents = json.loads(stochbess("data", "describe", "--json").out)
    assert documents[0]["columns"][0]["rows"] == 17_544


def prices_csv(path: Path) -> None:
    hours = pd.date_range("2024-06-25", periods=72, freq="h", tz="UTC")
    text = [f"{hour:%Y-%m-%dT%H:%M}Z;{50 + 30 * (i % 24) / 24:.2f}" for i, hour in enumerate(hours)]
    path.write_text("\n".join(["start;price", *(line.replace(".", ",") for line in text)]) + "\n")


IMPORT = [
    "data", "import", "prices.csv", "--into", "market", "--series", "day_ahead", "--zone", "XX",
    "--timezone", "UTC", "--time", "start", "--unit", "EUR/MWh", "--known-since",
    "D-1 12:45 local", "--source", "a test", "--licence", "none", "--separator", ";",
    "--decimal", ",",
]  # fmt: skip


def test_a_csv_file_becomes_market_data(tmp_path: Path) -> None:
    prices_csv(tmp_path / "prices.csv")
    found = stochbess(*IMPORT, "--column", "price_eur_mwh=price", "--synthetic")
    assert found.code == 0, found.err
    assert "imported 72 rows" in found.out
    assert stochbess("data", "check", "market").code == 0
    described = json.loads(stochbess("data", "describe", "market", "--json").out)
    assert (described[0]["zone"], described[0]["synthetic"]) == ("XX", True)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--column", "price_eur_mwh"], "NAME=COLUMN"),
        (["--column", "price_eur_mwh=price", "--factor", "ten"], "block_hours"),
        (["--column", "price_eur_mwh=prise"], "prise"),
    ],
)
def test_an_import_that_does_not_fit_changes_nothing(
    extra: list[str], said: str, tmp_path: Path
) -> None:
    prices_csv(tmp_path / "prices.csv")
    found = stochbess(*IMPORT, *extra)
    assert found.code == 3
    assert said in found.err
    assert not (tmp_path / "market" / "XX").exists()


# ------------------------------------------------------------------------------------- scenarios


def test_scenarios_are_made_shown_and_solved_from_their_file(tmp_path: Path) -> None:
    made = stochbess("scenarios", "generate", *QUICK, "--out", "s.parquet", "-q")
    assert made.code == 0, made.err
    assert "SYNTHETIC" in made.out
    shown = stochbess("scenarios", "show", "s.parquet")
    assert shown.out == made.out
    document = stochbess("scenarios", "show", "s.parquet", "--json").document()
    assert len(document["probability"]) == 3  # type: ignore[arg-type]
    arguments = ["-f", "deterministic", "--no-worth", "-q", "--json", "--markets", "day-ahead"]
    own = stochbess("solve", *arguments, "--n-scenarios", "3").document()
    file = stochbess("solve", *arguments, "--scenarios", "s.parquet").document()
    assert file["bids"] == own["bids"]


def test_a_file_that_holds_no_scenarios_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.parquet").write_text("scenario,value\n")
    found = stochbess("scenarios", "show", "s.parquet")
    assert found.code == 3
    assert found.err.startswith("error: scenario file s.parquet")


# ------------------------------------------------------------------------------------------ runs


def test_runs_are_listed_newest_first(stored: Stored) -> None:
    found = stochbess("runs", "list", "--store", stored.directory)
    assert stored.run_id[:8] in found.out
    assert "SYNTHETIC" in found.out
    (row,) = json.loads(stochbess("runs", "list", "--store", stored.directory, "--json").out)
    assert (row["run_id"], row["status"], row["scenarios"]) == (stored.run_id, "done", 3.0)


def test_an_empty_directory_has_no_runs_and_says_how_to_make_one(tmp_path: Path) -> None:
    found = stochbess("runs", "list")
    assert found.code == 0
    assert "stochbess solve" in found.out
    assert not list(tmp_path.iterdir())
    assert stochbess("runs", "list", "--store", "nowhere").code == 6


def test_a_run_that_is_not_there_is_an_error(stored: Stored) -> None:
    found = stochbess("runs", "show", "ffffffff", "--store", stored.directory)
    assert (found.code, found.out) == (6, "")


def test_a_run_without_results_is_shown_as_such(stored: Stored, tmp_path: Path) -> None:
    from dataclasses import replace

    with Store(stored.directory, read_only=True) as kept:
        record = kept.get(stored.run_id)
    empty = replace(record, facts_json='{"assumptions":[],"facts":[]}')
    with Store(tmp_path / "runs") as store:
        store.begin(empty)
        store.mark(empty.run_id, "interrupted")
    found = stochbess("runs", "show", empty.run_id, "--store", tmp_path / "runs")
    assert found.code == 0
    assert "interrupted: it has no results" in found.out
    refused = stochbess("runs", "show", empty.run_id, "--store", tmp_path / "runs", "--bids", "b")
    assert refused.code == 8
    assert "interrupted" in stochbess("runs", "list", "--store", tmp_path / "runs").out


# ---------------------------------------------------------------------------------------- doctor


def test_the_doctor_finds_this_machine_ready(tmp_path: Path) -> None:
    found = stochbess("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(found.out)}
    assert found.code == 0, found.out
    assert {"python", "packages", "time zones", "solver", "store", "pango", "mpi"} <= set(checks)
    assert checks["solver"]["status"] == "ok"
    assert not list(tmp_path.iterdir())  # looking changes nothing


def test_the_doctor_names_the_line_that_mends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("battery:\n  power: 1\n")
    (tmp_path / "file").write_text("")
    lines = ["no-such-package-here>=1.2", "numpy>=999", 'rich>=13; extra == "x"']
    monkeypatch.setattr("stochbess.doctor.metadata.requires", lambda name: lines)
    found = stochbess("doctor", "--store", "file/runs")
    assert found.code == 1
    text = " ".join(found.out.split())
    assert 'pip install "no-such-package-here>=1.2"' in text
    assert "expected 999 or newer" in text
    assert "stochbess config check" in text
    assert "mkdir -p file/runs" in text
    assert "not ready" in text


def test_the_doctor_knows_what_pdf_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError("cannot load library 'libgobject-2.0-0'")

    monkeypatch.setattr("stochbess.doctor.importlib.import_module", fail)
    (check,) = doctor._pango()
    assert check.status == "warning"  # solve does not need it
    assert sys.platform == "darwin" or check.mend == doctor.PANGO_LINE


def test_a_check_that_breaks_is_a_finding_and_no_crash() -> None:
    def broken() -> Iterator[doctor.Check]:
        yield doctor.Check("first", "ok", "")
        raise RuntimeError("odd machine")

    first, check = doctor._safely("odd", broken)
    assert (first.status, check.name, check.status) == ("ok", "odd", "failed")


@pytest.mark.parametrize(
    ("version", "least", "enough"),
    [("3.1.1", "2.2", True), ("2.10", "2.9", True), ("1.15", "1.15.0", True), ("0.9", "1", False),
     ("70.0rc1", "70", True)],
)  # fmt: skip
def test_versions_are_compared_as_numbers(version: str, least: str, enough: bool) -> None:
    assert (doctor._as_numbers(version) >= doctor._as_numbers(least)) is enough
