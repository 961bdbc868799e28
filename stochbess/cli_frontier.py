"""The command `stochbess frontier`: mean against CVaR, and the price of robustness."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stochbess.cli_command import Progress, command, print_json
from stochbess.cli_options import CaseOptions, JsonFlag, QuietFlag, option
from stochbess.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from stochbess.frontier import Frontier

_TITLES = {
    "cvar": ("Efficient frontier", "mean-CVaR", "weight"),
    "budget": ("Price of robustness, worst activation", "worst calls", "budget"),
    "radius": ("Price of robustness, worst distribution", "worst ball", "radius"),
}


def add_frontier(app: typer.Typer) -> None:
    """Register the command."""
    command(app, "frontier")(frontier)


def frontier(
    options: CaseOptions,
    over: Annotated[
        str, option("--over", "WHAT", "cvar (default), budget or radius.")
    ] = "cvar",
    values: Annotated[
        str | None,
        option("--values", "LIST", "Weights, budgets or radii. Default: a fitting list."),
    ] = None,
    picture: Annotated[
        Path | None, option("--picture", "FILE", "Also draw it: FILE is .svg, .png or .pdf.")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:  # fmt: skip
    """What less risk costs: decide for several weights, budgets or radii, side by side.

    Every point has proven bounds of what it maximises and is priced on the same scenarios.

    [bold]Examples[/bold]
      stochbess frontier
      stochbess frontier --over cvar --values 0,0.5,1 --picture frontier.svg
      stochbess frontier --over budget --values 0,1,2,3 --set robust.period_h=4
      stochbess frontier --over radius --json --quiet > radius.json
    """
    from stochbess.frontier import checked

    wanted = None if values is None else _numbers(over, values)
    checked(over, [0.0] if wanted is None else wanted)
    config = options.load()
    if picture is not None:
        from stochbess.cli_picture import require_picture

        require_picture(picture)
    with Progress(quiet) as progress:
        progress("start", "loading the model and the solver")
        from stochbess.frontier import frontier as computed

        found = computed(config, over, wanted, progress=progress)  # type: ignore[arg-type]
    if json:
        print_json(document(found))
    else:
        from stochbess.cli_output import page

        with page() as out:
            show_frontier(out, found)
    if picture is not None:
        from stochbess.cli_picture import draw_frontier

        draw_frontier(found, picture)


def _numbers(over: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"--values {text}: expected numbers with commas between them, such as 0,0.5,1 for "
            f"--over {over}."
        ) from None


def document(found: Frontier) -> dict[str, Any]:
    """A curve as one JSON document, with the decision of every point."""
    from stochbess.cli_output import rows_of

    config = found.case.config
    return {
        "over": found.over,
        "zone": found.case.market.zone,
        "day": found.case.horizon.first_day.isoformat(),
        "synthetic": found.case.synthetic,
        "config_sha256": config.sha256,
        "data_sha256": found.case.market.sha256,
        "scenarios_sha256": found.case.scenarios.sha256,
        "cvar_level": config.risk.cvar_level,
        "robust": config.robust.model_dump(mode="json"),
        "points": [
            {**row, "decision": decision}
            for row, decision in zip(rows_of(found.points), found.decisions, strict=True)
        ],
    }


def show_frontier(out: Console, found: Frontier) -> None:
    """The points of a curve and how to read them."""
    from rich.text import Text

    from stochbess.cli_output import amount, bullets, indented, number, plain_table, section
    from stochbess.cli_output import warn_synthetic as warn

    title, own, parameter = _TITLES[found.over]
    where = f"{found.case.market.zone}  {found.case.horizon.first_day}"
    out.print(Text("stochbess  ", "bold").append(f"frontier  {where}", "bold cyan"))
    if found.case.synthetic:
        warn(out)
    section(out, title, "EUR over the horizon")
    heads = (f"{own}, at least", "at most", "gap", "expected", "CVaR", "worst", "lots", "CPU", "")
    table = plain_table(parameter, *heads, left=("",))
    table.padding = (0, 2, 0, 0)
    for row in found.points.to_dict("records"):
        marks = [] if row["efficient"] or found.over != "cvar" else ["beaten"]
        marks += ["time limit"] if row["hit_time_limit"] else []
        table.add_row(
            f"{row['parameter']:g}",
            amount(row["own_profit_eur"]),
            amount(row["own_bound_eur"]),
            f"{number(100 * row['gap_frac'])} %",
            amount(row["expected_profit_eur"]),
            amount(row["cvar_eur"]),
            amount(row["worst_scenario_eur"]),
            number(row["reserve_lots"], 0),
            f"{number(row['cpu_s'], 1)} s",
            Text(", ".join(marks), "dim"),
        )
    indented(out, table)
    section(out, "How to read this")
    bullets(out, _reading(found))


def _reading(found: Frontier) -> list[str]:
    config = found.case.config
    common = (
        "expected, CVaR, worst: the decision of the point priced on the same scenarios, with a "
        "recourse that sees the whole day at once; differences below the gap say nothing"
    )
    violation = float(found.points["violation"].max())
    certified = (
        f"every point is certified: its arrays keep all constraints to {violation:.1e} (relative)"
    )
    if found.over == "cvar":
        tail = 100 * (1 - config.risk.cvar_level)
        return [
            f"CVaR is the mean of the worst {tail:g} % of the scenarios, here of "
            f"{len(found.case.probability)}: with few scenarios the tail is one or two of them",
            common,
            "beaten: another point has more of both; it is there because solves end at a gap",
            certified,
        ]
    if found.over == "budget":
        return [
            f"budget: most periods of {config.robust.period_h:g} h that are called high; the "
            "worst profit is proven for the set of called shares, prices are not part of it",
            "a bound holds for larger budgets, a worst profit for smaller ones: both are carried",
            common,
            certified,
        ]
    return [
        "radius: mean distance over which probability moves between the scenarios; 1 is one "
        "standard deviation in every number. The support is the scenarios themselves",
        common,
        certified,
    ]
