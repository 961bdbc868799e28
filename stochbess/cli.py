"""The command line `stochbess`: parse, call, print, exit code.

Results go to standard output, everything else to standard error. Nothing heavy is imported before
a command runs, so that help answers at once.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stochbess import __version__
from stochbess.cli_backtest import add_backtest
from stochbess.cli_certify import add_certify
from stochbess.cli_command import (
    Progress,
    command,
    install_signals,
    print_json,
    require_folder,
    write_out,
)
from stochbess.cli_data import data_app
from stochbess.cli_frontier import add_frontier
from stochbess.cli_lifetime import add_lifetime
from stochbess.cli_options import (
    CaseOptions,
    ConfigOptions,
    JsonFlag,
    QuietFlag,
    ReportOptions,
    formulation_faults,
    option,
)
from stochbess.cli_scenarios import scenarios_app
from stochbess.cli_stability import add_stability
from stochbess.cli_value import value
from stochbess.errors import ConfigError, ReportError
from stochbess.formulations import DEFAULT, FORMULATIONS

if TYPE_CHECKING:
    from stochbess.cli_view import View
    from stochbess.config import Config
    from stochbess.market.data import MarketData

app = typer.Typer(
    name="stochbess",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(no_args_is_help=True, help="Check and show the configuration.")
runs_app = typer.Typer(no_args_is_help=True, help="Look at stored runs.")

_StoreDir = Annotated[Path | None, option("--store", "DIR", "Store. Default: as configured.")]


def main() -> None:
    """Entry point of the program `stochbess`."""
    install_signals()
    if sys.stdout is None:  # closed by the caller
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # Files can be named in any script; a terminal that lacks it shows "?" instead of failing.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # Pyomo prints on standard output what it also raises, a signal during construction included.
    logging.getLogger("pyomo.core").setLevel(logging.CRITICAL)
    from stochbess.ranks import lead

    lead(lambda: app(prog_name="stochbess"))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stochbess {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version.",
            show_default=False,
        ),
    ] = False,
) -> None:  # fmt: skip
    """Decide what a grid-scale battery should offer, and prove what the decision is worth.

    Start with [bold]stochbess solve[/bold]: it uses the synthetic market that ships with the tool.

    Exit codes: 0 done, 2 command line or configuration, 3 data, 4 infeasible,
    5 solver, 6 store, 8 report, 130 interrupted, 143 terminated, 1 other.
    """


# ------------------------------------------------------------------------------------ decisions


@command(app, "solve")
def solve(
    options: CaseOptions,
    report: ReportOptions,
    formulation: Annotated[
        str,
        option("--formulation/-f", "NAME", f"{', '.join(FORMULATIONS)}. Default: {DEFAULT}."),
    ] = DEFAULT,
    separate_days: Annotated[
        bool,
        option(
            "--separate-days", None,
            "Solve every day on its own (deterministic, realised scenarios).",
        ),
    ] = False,
    no_worth: Annotated[
        bool, option("--no-worth", None, "Leave out WS, EEV, EVPI, VSS and opponents: faster.")
    ] = False,
    rolling: Annotated[
        bool,
        option("--rolling", None, "Also dispatch the decision step by step, without clairvoyance."),
    ] = False,
    force: Annotated[bool, option("--force", None, "Compute again even if it is stored.")] = False,
    bids: Annotated[
        Path | None, option("--bids", "FILE.csv", "Also write the bids as CSV.", "Results")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:  # fmt: skip
    """Decide what to offer, prove how good it is, and store the run.

    [bold]Examples[/bold]
      stochbess solve
      stochbess solve --market-data market --day 2024-06-26 --bids bids.csv
      stochbess solve --markets day-ahead,intraday --n-scenarios 50 --gap 0.005
      stochbess solve -f deterministic --scenarios realised --days 7 --separate-days
      stochbess solve --formulation robust --set robust.budget=2
      stochbess solve --formulation wasserstein --set wasserstein.radius=0.2
      stochbess solve --rolling
      stochbess solve --set battery.power_mw=10 --set battery.energy_mwh=20
      stochbess solve --json --quiet > run.json
      stochbess solve --report
    """
    config = options.load(formulation_faults(f"--formulation {formulation}", [formulation]))
    if separate_days:
        if (
            formulation != "deterministic"
            or config.scenarios.source != "realised"
            or bids
            or report.wanted
        ):
            raise ConfigError(
                "--separate-days solves with perfect foresight and makes no bids: it needs "
                f"--formulation deterministic (found {formulation}) and --scenarios realised "
                f"(found {config.scenarios.source}), without --bids and --report."
            )
        _solve_days(config, json, quiet)
        return
    if bids is not None:
        require_folder(bids)
    _require_place(report)
    with Progress(quiet) as progress:
        progress("start", "loading the model and the solver")
        from stochbess import run as job

        run = job.solve(
            config,
            formulation,
            worth=not no_worth,
            rolling=rolling,
            force=force,
            progress=progress,
        )
    from stochbess.cli_view import View

    view = View(run.record, run.frames, config.report.store_dir)
    if bids is not None:
        from stochbess.cli_bids import write_bids

        write_bids(view.record, view.frames["bids"], bids)
        _write_curves(view, bids)
    _show_run(view, json)
    if report.wanted:
        _write_report(view, report.report_dir, quiet)


def _write_curves(view: View, bids: Path) -> None:
    """Day-ahead curves go beside the bids, in a file of their own."""
    if "curve" in view.frames:
        from stochbess.cli_curve import curve_path, write_curves

        write_curves(view.record, view.frames["curve"], curve_path(bids))


def _solve_days(config: Config, json: bool, quiet: bool) -> None:
    with Progress(quiet) as progress:
        progress("start", "loading the model and the solver")
        from stochbess import run as job
        from stochbess.assemble import open_market

        market = open_market(config)
        days = job.solve_days(config, market=market, progress=progress)
    if json:
        from stochbess.cli_output import rows_of

        print_json({**_about(config, market), "days": rows_of(days)})
        return
    from stochbess.cli_output import page
    from stochbess.cli_tables import show_days

    with page() as out:
        show_days(out, days, f"{market.zone}  {days['day'].min()}", market.synthetic)


@command(app, "compare")
def compare(
    options: CaseOptions,
    report: ReportOptions,
    formulations: Annotated[
        str,
        option(
            "--formulations", "LIST",
            "Which, or all. Default: deterministic,two-stage.",
        ),
    ] = "deterministic,two-stage",
    worth: Annotated[
        bool, option("--worth", None, "Also EVPI and VSS of every decision; --report implies it.")
    ] = False,
    picture: Annotated[
        Path | None, option("--picture", "FILE", "Also draw it: FILE is .svg, .png or .pdf.")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:  # fmt: skip
    """Solve several formulations on the same data and price them on the same scenarios.

    With --worth or --report the two-stage decision is valued too; its report sets the others beside
    it. Without it among them, the last one takes its place.

    [bold]Examples[/bold]
      stochbess compare
      stochbess compare --formulations all --worth --picture compared.svg
      stochbess compare --report-dir report
      stochbess compare --market-data market --zone AT --day 2024-06-26
      stochbess compare --formulations deterministic,robust --json
    """
    everything = formulations.strip() == "all"
    names = [*FORMULATIONS] if everything else [name.strip() for name in formulations.split(",")]
    config = options.load(formulation_faults(f"--formulations {formulations}", names))
    _require_place(report)
    if picture is not None:
        from stochbess.cli_picture import require_picture

        require_picture(picture)
    with Progress(quiet) as progress:
        progress("start", "loading the model and the solver")
        from stochbess.assemble import open_market
        from stochbess.comparison import compare as compared
        from stochbess.market.reference import REFERENCE_DAY

        market = open_market(config)
        wanted = worth or report.wanted
        rows = compared(config, names, market=market, worth=wanted, progress=progress)
    if json:
        from stochbess.cli_output import rows_of

        print_json({**_about(config, market), "formulations": rows_of(rows)})
    else:
        from stochbess.cli_compare import show_comparison
        from stochbess.cli_output import page

        day = config.market.day or REFERENCE_DAY
        with page() as out:
            show_comparison(out, rows, f"{market.zone}  {day}", market.synthetic)
    if report.wanted or picture is not None:
        at = names.index(DEFAULT) if DEFAULT in names else -1
        view = _stored(str(rows["run_id"].iloc[at]), config.report.store_dir)
        with_rows = replace(view, frames={**view.frames, "comparison": rows})
        if picture is not None:
            from stochbess.cli_picture import draw_comparison

            draw_comparison(with_rows, picture)
        if report.wanted:
            _write_report(with_rows, report.report_dir, quiet)


def _about(config: Config, market: MarketData) -> dict[str, Any]:
    return {
        "zone": market.zone,
        "synthetic": market.synthetic,
        "config_sha256": config.sha256,
        "data_sha256": market.sha256,
    }


@command(app, "report")
def report(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="Run id or its beginning.")],
    out: Annotated[
        Path | None, option("--out", "DIR", "Write it there. Default: reports/RUN in the store.")
    ] = None,
    store: _StoreDir = None,
    quiet: QuietFlag = False,
) -> None:
    """Write the report of a stored run: HTML, PDF and the facts behind every number.

    Without the libraries for PDF it writes the HTML and the facts, and ends with exit code 8.

    [bold]Examples[/bold]
      stochbess report 1f3a
      stochbess report 1f3a --out report
    """
    _write_report(_stored(run_id, _store_dir(store)), out, quiet)


def _stored(run_id: str, store_dir: Path) -> View:
    """A run of a store, by its identifier or the beginning of it."""
    from stochbess.cli_view import View
    from stochbess.store import Store

    with Store(store_dir, read_only=True) as kept:
        record = kept.get(run_id)
        return View(record, kept.frames(record.run_id), store_dir)


def _require_place(options: ReportOptions) -> None:
    """Refuse a directory that cannot take a report, before long work goes into it."""
    if options.report_dir is not None:
        from stochbess.report import check_place

        check_place(options.report_dir)


def _write_report(view: View, directory: Path | None, quiet: bool) -> None:
    with Progress(quiet) as progress:
        progress("report", "loading")
        from stochbess.report import default_directory, write_report

        place = directory or default_directory(view.store_dir, view.record.run_id)
        write_report(view.record, view.frames, place, progress)
        progress("written", str(place))


# -------------------------------------------------------------------------------- configuration


@command(config_app, "check")
def config_check(
    path: Annotated[
        Path | None, typer.Argument(help="File. Default: ./config.yaml.", show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None, option("--set", "KEY=VALUE", "Check this override too. Repeatable.")
    ] = None,
) -> None:
    """List every fault of a configuration file at once.

    [bold]Examples[/bold]
      stochbess config check
      stochbess config check plant.yaml --set battery.power_mw=10
    """
    config = ConfigOptions(path, overrides).load()
    write_out(f"no faults; configuration {config.sha256[:16]}\n")


@command(config_app, "show")
def config_show(options: ConfigOptions) -> None:
    """Print the effective configuration, with every key, unit and accepted range.

    [bold]Examples[/bold]
      stochbess config show
      stochbess config show --set battery.power_mw=10 > plant.yaml
    """
    write_out(options.load().to_yaml())


@command(config_app, "schema")
def config_schema() -> None:
    """Print the JSON schema of the configuration, for editors.

    [bold]Example[/bold]
      stochbess config schema > config.schema.json
    """
    from stochbess.config import Config

    print_json(Config.json_schema())


# ------------------------------------------------------------------------------------------ runs


@command(runs_app, "list")
def runs_list(
    store: _StoreDir = None,
    limit: Annotated[
        int | None, option("--limit/-n", "N", "At most so many, newest first. Default: all.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Stored runs, newest first.

    [bold]Examples[/bold]
      stochbess runs list
      stochbess runs list --store /data/runs --limit 10 --json
    """
    directory = _store_dir(store)
    from stochbess.cli_tables import run_summary, show_runs
    from stochbess.store import DATABASE_NAME, Store

    records = []
    if store is not None or (directory / DATABASE_NAME).exists():
        with Store(directory, read_only=True) as kept:
            records = kept.list(limit)

    if json:
        print_json([run_summary(record) for record in records])
        return
    from stochbess.cli_output import page

    with page() as out:
        show_runs(out, records, directory)


@command(runs_app, "show")
def runs_show(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="Run id or its beginning.")],
    store: _StoreDir = None,
    bids: Annotated[
        Path | None, option("--bids", "FILE.csv", "Also write the bids as CSV.")
    ] = None,
    picture: Annotated[
        Path | None, option("--picture", "FILE", "Also draw it: FILE is .svg, .png or .pdf.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Print a stored run as `solve` did.

    The picture shows prices, offer and stored energy of the run over its days.

    [bold]Examples[/bold]
      stochbess runs show 1f3a
      stochbess runs show 1f3a --picture decision.svg
      stochbess runs show 1f3a --json --bids bids.csv
    """
    if picture is not None:
        from stochbess.cli_picture import require_picture

        require_picture(picture)
    view = _stored(run_id, _store_dir(store))
    if bids is not None:
        from stochbess.cli_bids import write_bids

        if "bids" not in view.frames:
            raise ReportError(
                f"run {view.record.run_id} is {view.record.status} and has no bids to write to "
                f"{bids}. Repeat it with `stochbess solve`."
            )
        write_bids(view.record, view.frames["bids"], bids)
        _write_curves(view, bids)
    if picture is not None:
        from stochbess.cli_picture import draw_run

        draw_run(view, picture)
    _show_run(view, json)


def _store_dir(store: Path | None) -> Path:
    return ConfigOptions().load().report.store_dir if store is None else store


# ---------------------------------------------------------------------------------------- health


@command(app, "doctor")
def doctor(store: _StoreDir = None, json: JsonFlag = False) -> None:
    """Check this machine: packages, solver, time zones, store, PDF; say what mends each fault.

    Exit code 1 if `solve` cannot run here.

    [bold]Examples[/bold]
      stochbess doctor
      stochbess doctor --json
    """
    from stochbess.doctor import examine

    checks = examine(store)
    if json:
        from dataclasses import asdict

        print_json([asdict(check) for check in checks])
    else:
        from stochbess.cli_output import page
        from stochbess.cli_tables import show_checks

        with page() as out:
            show_checks(out, checks)
    if any(check.status == "failed" for check in checks):
        raise typer.Exit(1)


# -------------------------------------------------------------------------------------- printing


def _show_run(view: View, json: bool) -> None:
    if json:
        from stochbess.cli_view import run_document

        print_json(run_document(view))
        return
    from stochbess.cli_output import page
    from stochbess.cli_run import show_run

    with page() as out:
        show_run(out, view)


add_lifetime(app)
add_certify(app)
add_stability(scenarios_app)
add_backtest(app)
add_frontier(app)
command(app, "value")(value)
app.add_typer(config_app, name="config")
app.add_typer(data_app, name="data")
app.add_typer(scenarios_app, name="scenarios")
app.add_typer(runs_app, name="runs")
