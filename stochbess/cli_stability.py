"""The command `stochbess scenarios stability`: how many scenarios does a decision need?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stochbess.cli_command import Progress, command, print_json, require_folder
from stochbess.cli_options import CaseOptions, JsonFlag, QuietFlag, option
from stochbess.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from stochbess.config import Config
    from stochbess.stability import Enough, Size, Solve

JSON_LINES = (".jsonl",)


def stability(
    options: CaseOptions,
    sizes: Annotated[
        str, option("--sizes", "LIST", "Numbers of scenarios to try, rising.")
    ] = "10,20,50,100",
    seeds: Annotated[int, option("--seeds", "K", "Seeds for each of them.")] = 10,
    common: Annotated[
        int, option("--common", "N", "Scenarios of the set on which decisions are compared.")
    ] = 200,
    out_file: Annotated[
        Path | None, option("--out/-o", "FILE.jsonl", "Keep every solve, and go on from there.")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """How many scenarios until the optimum no longer depends on which were drawn.

    Solves the configured two-stage problem with each number of scenarios and each seed. In sample:
    spread of the optimal values. Out of sample: spread of the values that the decisions have on one
    common, larger set. The mark is a range over the seeds of 2 % of the mean.

    This takes minutes to hours: the gap of the solver is part of the spread, and large sets are
    slow. With --out it can be interrupted; the same command goes on.

    [bold]Examples[/bold]
      stochbess scenarios stability --markets day-ahead,intraday --sizes 10,20,40
      stochbess scenarios stability --scenarios model --set scenarios.reduce_from=200 -o s.jsonl
    """
    try:
        numbers = [int(word) for word in sizes.split(",")]
    except ValueError:
        raise ConfigError(
            f"--sizes {sizes}: expected whole numbers with commas, e.g. 10,20,50,100."
        ) from None
    if out_file is not None:
        require_folder(out_file, JSON_LINES)
    config = options.load()
    with Progress(quiet) as progress:
        progress("start", "loading the model and the solver")
        from stochbess.assemble import open_market
        from stochbess.stability import enough, sizes_of, solve_seeds

        market = open_market(config)
        solves = solve_seeds(config, market, numbers, seeds, common, out_file, progress)
    found = sizes_of(solves)
    if json:
        from dataclasses import asdict

        document = {
            "zone": market.zone,
            "synthetic": market.synthetic,
            "day": solves[0].day,
            "source": solves[0].source,
            "common_scenarios": common,
            "sizes": [asdict(size) for size in found],
            "enough": asdict(enough(found)),
            "solves": [asdict(row) for row in solves],
        }
        print_json(document)
        return
    from stochbess.cli_output import page, warn_synthetic

    with page() as out:
        show_head(out, config, market.zone, solves[0])
        if market.synthetic:
            warn_synthetic(out)
        show_stability(out, found, common)
        show_enough(out, found, enough(found))


def add_stability(group: typer.Typer) -> None:
    """Register the command among those about scenario sets."""
    command(group, "stability")(stability)


def show_head(out: Console, config: Config, zone: str, first: Solve) -> None:
    """What was solved."""
    from rich.text import Text

    title = Text(f"{zone} {first.day}  ", "bold cyan")
    gap = f", gap {config.solver.gap_frac:.2%}"
    out.print(title.append(f"two-stage, scenarios: {first.source}{gap}", "default"))


def show_stability(out: Console, sizes: Sequence[Size], common: int) -> None:
    """Spread over the seeds by number of scenarios."""
    from stochbess.cli_output import indented, number, plain_table, section

    section(out, "Spread over the seeds", f"% of the mean; out of sample: on {common}; gap: worst")
    heads = ("mean, EUR", "std", "range", "out of sample, EUR", "std", "range", "gap", "CPU, s")
    table = plain_table("n", "seeds", *heads)
    table.padding = (0, 1, 0, 0)
    for size in sizes:
        cells = [str(size.n), str(size.seeds)]
        for spread in (size.in_sample, size.out_of_sample):
            cells.append(number(spread.mean_eur))
            cells += [number(100 * frac) for frac in (spread.std_frac, spread.range_frac)]
        table.add_row(*cells, number(100 * size.gap_frac), number(size.cpu_s, 1))
    indented(out, table)


def show_enough(out: Console, sizes: Sequence[Size], found: Enough) -> None:
    """From which number on the range is small enough, and how that is known."""
    from stochbess.cli_output import bullets, section

    section(out, "How many are enough", "range of the optimal values at most 2 % of their mean")
    bullets(out, [verdict(sizes, found)])


def verdict(sizes: Sequence[Size], found: Enough) -> str:
    """One sentence about the number of scenarios that is enough."""
    if found.measured_n is not None:
        return f"measured: {found.measured_n} scenarios"
    more = f"more than the {sizes[-1].n} that were tried"
    if found.estimate_n is None:
        why = (
            "one number of scenarios shows no law"
            if len(sizes) < 2
            else f"the spread does not fall as 1 / sqrt(n) (p = {found.p_value:.3f}), so nothing "
            "is extrapolated"
        )
        return f"{more}; {why}"
    return (
        f"{more}; estimate: {found.estimate_n:,} ({found.low_n:,} to {found.high_n:,}, 95 %), if "
        f"the standard deviation goes on falling as 1 / sqrt(n), which the numbers tried do not "
        f"contradict (p = {found.p_value:.2f})"
    )
