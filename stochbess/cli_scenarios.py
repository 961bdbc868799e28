"""Commands about scenario sets: `stochbess scenarios ...`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stochbess.cli_command import Progress, command, print_json, require_folder
from stochbess.cli_options import CaseOptions, ConfigOptions, JsonFlag, QuietFlag, option
from stochbess.errors import ConfigError, DataError

if TYPE_CHECKING:
    from stochbess.market.data import MarketData
    from stochbess.scenario_gen.scenarios import ScenarioSet

scenarios_app = typer.Typer(
    no_args_is_help=True, help="Make, thin out, score, draw and look at scenario files."
)
PARQUET = (".parquet", ".pq")
METHODS = ("swap", "forward", "backward", "means")
_File = Annotated[Path, typer.Argument(metavar="FILE", help="Scenario file.")]
_Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Scenario files, or folders of them.")
]
_Out = Annotated[Path, option("--out/-o", "FILE.parquet", "File to write.")]


@dataclass(frozen=True)
class MarketOptions(ConfigOptions):
    """Where realised values come from."""

    market_data: Annotated[
        str | None,
        option("--market-data", "DIR", "Market data directory. Default: reference market."),
    ] = None
    zone: Annotated[str | None, option("--zone", "ZONE", "Bidding zone, e.g. DE_LU.")] = None

    def load_market(self) -> MarketData:
        """The market data that are configured."""
        from stochbess.assemble import open_market

        options = CaseOptions(self.config, self.overrides, self.market_data, self.zone)
        return open_market(options.load())


# -------------------------------------------------------------------------------------- generate


@command(scenarios_app, "generate")
def scenarios_generate(
    options: CaseOptions,
    out_file: Annotated[
        Path, option("--out/-o", "PATH", "FILE.parquet to write; with --from an existing folder.")
    ],
    first: Annotated[
        str | None, option("--from", "YYYY-MM-DD", "First of many days, one file for each.")
    ] = None,
    last: Annotated[str | None, option("--to", "YYYY-MM-DD", "Last of them.")] = None,
    workers: Annotated[
        int | None, option("--workers", "N", "Processes for many days. Default: one a core.")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Make the scenarios that `solve` would see, and write them to a file.

    With --from and --to there is one file for every delivery day. Days whose file is whole and was
    made from the same configuration, data and code are kept: start again after an interruption.
    Exit code 3 if days could not be made; the others are.

    [bold]Examples[/bold]
      stochbess scenarios generate --out scenarios.parquet
      stochbess scenarios generate --day 2024-06-26 --n-scenarios 50 -o s.parquet
      stochbess solve --scenarios scenarios.parquet
      stochbess scenarios generate --scenarios model --from 2024-01-01 --to 2024-12-31 -o year
    """
    if first is not None or last is not None or workers is not None:
        _generate_days(options, out_file, (first, last), workers, json, quiet)
        return
    config = options.load()
    require_folder(out_file, PARQUET)
    with Progress(quiet) as progress:
        progress("scenarios", "building scenarios")
        from stochbess.assemble import build_case
        from stochbess.scenario_gen.scenario_file import write_scenarios

        found = build_case(config).scenarios
        write_scenarios(found, out_file)
    _show(found, out_file, json)


def _generate_days(
    options: CaseOptions,
    folder: Path,
    period: tuple[str | None, str | None],
    workers: int | None,
    json: bool,
    quiet: bool,
) -> None:
    first, last = (_day(text, name) for text, name in zip(period, ("--from", "--to"), strict=True))
    if first > last:
        raise ConfigError(f"--from {first} is after --to {last}. Exchange them.")
    if options.day is not None or options.days is not None:
        raise ConfigError("--day and --days do not go with --from and --to. Leave them out.")
    if workers is not None and not 1 <= workers <= 64:
        raise ConfigError(f"--workers {workers}: expected a whole number from 1 to 64.")
    if not folder.is_dir():
        raise ConfigError(f"--out {folder}: no such folder. Make it first.")
    config = options.load()
    from stochbess.clock import monotonic_s
    from stochbess.scenario_days import DayFile, generate_days

    began_s = monotonic_s()
    spent: list[float] = []  # times at which days were made; kept ones take none

    with Progress(quiet) as progress:

        def tell(item: DayFile, done: int, total: int) -> None:
            if item.status != "kept":
                spent.append(monotonic_s() - began_s)
            left_s = spent[-1] / len(spent) * (total - done) if spent else 0.0
            detail = f"{item.day} {item.status}, {done} of {total}, {_span(left_s)} left"
            progress("failed" if item.status == "failed" else "scenarios", detail)

        progress("data", f"for {first} to {last}")
        n = workers or os.cpu_count() or 1
        found = generate_days(config, first, last, folder, n, tell)
    _show_days(found, folder, json)
    failed = [item for item in found if item.status == "failed"]
    if failed:
        raise typer.Exit(DataError.exit_code)


def _show_days(found: list[Any], folder: Path, json: bool) -> None:
    if json:
        print_json(
            [
                {"day": str(item.day), "file": str(item.path), "status": item.status}
                | ({"error": item.error} if item.error else {})
                for item in found
            ]
        )
        return
    from stochbess.cli_output import page
    from stochbess.cli_tables_scenarios import show_days_made

    with page() as out:
        show_days_made(out, found, folder)


def _day(text: str | None, name: str) -> date:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        found = "is not given" if text is None else f"{text}: no date"
        raise ConfigError(
            f"{name} {found}; expected YYYY-MM-DD. Many days need --from and --to."
        ) from None


def _span(seconds: float) -> str:
    """A duration in the largest unit that says something."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# ------------------------------------------------------------------------------- reduce and tree


@command(scenarios_app, "reduce")
def scenarios_reduce(
    path: _File,
    n: Annotated[int, option("-n", "N", "Scenarios to keep.")],
    out_file: _Out,
    method: Annotated[
        str, option("--method", "NAME", "swap, forward, backward or means.")
    ] = "swap",
    json: JsonFlag = False,
) -> None:
    """Keep the N scenarios that stand best for all, with their weights.

    What is lost is printed as the Kantorovich distance between both sets: 1 is a typical deviation
    of one series. The relative distance is 0 if nothing is lost and 1 if one scenario would do as
    well. The method means keeps the mean prices and calls instead, with equal weights, and prints
    by how much they are missed.

    [bold]Example[/bold]
      stochbess scenarios reduce large.parquet -n 20 --out small.parquet
    """
    require_folder(out_file, PARQUET)
    if method not in METHODS:
        raise ConfigError(f"--method {method}: expected one of {', '.join(METHODS)}.")
    from stochbess.scenario_gen.mean_selection import MeanSelection, match_means
    from stochbess.scenario_gen.reduction import reduce_scenarios
    from stochbess.scenario_gen.scenario_file import read_scenarios, write_scenarios

    full = read_scenarios(path)
    found = (
        match_means(full, n) if method == "means" else reduce_scenarios(full, n, method)  # type: ignore[arg-type]  # checked above
    )
    write_scenarios(found.set, out_file)
    numbers: dict[str, float] = {"scenarios": len(found.set), "of": len(full)}
    if isinstance(found, MeanSelection):
        numbers["relative_error"] = found.relative
    else:
        numbers |= {"distance": found.distance, "relative_distance": found.relative}
    if json:
        print_json({**numbers, "method": method, "kept": list(found.set.names)})
        return
    from stochbess.cli_output import page
    from stochbess.cli_tables_scenarios import show_reduction

    with page() as out:
        show_reduction(out, found, len(full), str(out_file))


@command(scenarios_app, "tree")
def scenarios_tree(
    path: _File,
    branching: Annotated[
        str, option("--branching", "LIST", "Children of a node at each stage, e.g. 3,2,4,2,2.")
    ],
    out_file: _Out,
    json: JsonFlag = False,
) -> None:
    """Group scenarios into a tree whose stages are the gates of the markets.

    Stages, as far as the file has their series: FCR, aFRR capacity, day-ahead, intraday auction,
    delivery. --branching has one number for each of them.

    [bold]Example[/bold]
      stochbess scenarios tree scenarios.parquet --branching 3,2,4,2,2 --out tree.parquet
    """
    require_folder(out_file, PARQUET)
    try:
        wanted = [int(word) for word in branching.split(",")]
    except ValueError:
        raise ConfigError(
            f"--branching {branching}: expected whole numbers with commas, e.g. 3,2,4,2,2."
        ) from None
    from stochbess.scenario_gen.scenario_file import read_scenarios
    from stochbess.scenario_gen.tree_build import build_tree
    from stochbess.scenario_gen.tree_file import write_tree

    full = read_scenarios(path)
    found = build_tree(full, wanted)
    write_tree(found.tree, out_file)
    tree = found.tree
    if json:
        print_json(
            {
                "nodes": len(tree.parent),
                "leaves": len(tree.nodes(len(tree.stages))),
                "stages": {s.name: len(tree.nodes(k)) for k, s in enumerate(tree.stages, 1)},
                "assigned_distance": found.assigned_distance,
                "transport_distance": found.transport_distance,
            }
        )
        return
    from stochbess.cli_output import page
    from stochbess.cli_tables_scenarios import show_tree

    with page() as out:
        show_tree(out, found, len(full), str(out_file))


# -------------------------------------------------------------------------------- score and plot


@command(scenarios_app, "score")
def scenarios_score(
    files: _Files,
    options: MarketOptions,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Score scenario files against what happened: smaller is better, coverage should be 90 %.

    Compare sets of equal size only: fewer scenarios score worse. docs/reduction.md says what the
    scores measure.

    [bold]Examples[/bold]
      stochbess scenarios score scenarios.parquet
      stochbess scenarios score year --market-data market --zone DE_LU --json
    """
    paths = _expanded(files)
    from stochbess.scenario_gen.scenario_file import read_scenarios
    from stochbess.scenario_gen.set_scores import realised_values, score_sets

    with Progress(quiet) as progress:
        market = options.load_market()
        pairs = []
        for k, path in enumerate(paths, start=1):
            progress("score", f"{path.name}, {k} of {len(paths)}")
            found = read_scenarios(path)
            _require_zone(found, market, path)
            pairs.append((found, realised_values(market, found)))
        scored = score_sets(pairs)
    if json:
        from dataclasses import asdict

        print_json(
            {
                "zone": market.zone,
                "synthetic": market.synthetic,
                "sets": scored.n_sets,
                "scenarios": list(scored.n_scenarios),
                "series": [{**asdict(s), "ranks": s.ranks.tolist()} for s in scored.series],
                "events": [asdict(event) for event in scored.events],
            }
        )
        return
    from stochbess.cli_output import page
    from stochbess.cli_tables_scenarios import show_scores

    with page() as out:
        show_scores(out, scored, market.zone, market.synthetic)


@command(scenarios_app, "plot")
def scenarios_plot(
    files: _Files,
    options: MarketOptions,
    out_file: Annotated[Path, option("--out/-o", "FILE", "Picture: .svg, .png or .pdf.")],
    series: Annotated[
        list[str] | None, option("--series", "NAME", "Draw this series only. Repeatable.")
    ] = None,
) -> None:
    """Draw scenarios as fans, with what happened where the market data hold it.

    From several days on, the ranks of what happened among the scenarios are drawn too: flat is
    calibrated, a U too narrow, a hill too wide, a slope biased.

    [bold]Examples[/bold]
      stochbess scenarios plot scenarios.parquet --out fan.svg
      stochbess scenarios plot week --series day_ahead_eur_mwh --out week.pdf
    """
    from stochbess.cli_picture import require_picture

    form = require_picture(out_file)
    paths = _expanded(files)
    from stochbess.reports.bundle import write_file
    from stochbess.scenario_figure import scenario_picture
    from stochbess.scenario_gen.scenario_file import read_scenarios

    market = options.load_market()
    sets = [read_scenarios(path) for path in paths]
    write_file(out_file, scenario_picture(sets, market, series or [], form))


def _expanded(files: list[Path]) -> list[Path]:
    """Scenario files as named, and those of folders in order of their names."""
    found: list[Path] = []
    for path in files:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(p for p in path.iterdir() if p.suffix in PARQUET)
        if not inside:
            raise DataError(f"{path}: a folder without scenario files. Name another.")
        found += inside
    return found


def _require_zone(found: ScenarioSet, market: MarketData, path: Path) -> None:
    zone = found.provenance.get("zone", market.zone)
    if zone != market.zone:
        raise DataError(
            f"{path} holds scenarios of {zone}, the market data are of {market.zone}. "
            f"Name the zone with --zone {zone}."
        )


# ------------------------------------------------------------------------------------------ show


@command(scenarios_app, "show")
def scenarios_show(path: _File, json: JsonFlag = False) -> None:
    """Size, ranges, probabilities and origin of a scenario file.

    [bold]Example[/bold]
      stochbess scenarios show scenarios.parquet
    """
    from stochbess.scenario_gen.scenario_file import read_scenarios

    _show(read_scenarios(path), path, json)


def _show(found: ScenarioSet, path: Path, json: bool) -> None:
    if json:
        print_json(
            {
                "sha256": found.sha256,
                "probability": dict(zip(found.names, map(float, found.probability), strict=True)),
                "series": {
                    name: {
                        "first_utc": found.index[name][0].isoformat(),
                        "last_utc": found.index[name][-1].isoformat(),
                        "values": int(values.shape[1]),
                        "mean": float(found.probability @ values.mean(axis=1)),
                        "min": float(values.min()),
                        "max": float(values.max()),
                    }
                    for name, values in found.values.items()
                },
                "provenance": dict(found.provenance),
            }
        )
        return
    from stochbess.cli_output import page
    from stochbess.cli_tables import show_scenarios

    with page() as out:
        show_scenarios(out, found, str(path))
