"""What a formulation adds to a run on the terminal: worst course, worst distribution, rolling."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.text import Text

from stochbess.cli_output import (
    amount,
    has_blocks,
    indented,
    number,
    pairs,
    plain_table,
    section,
)
from stochbess.cli_view import View

# Label of the profit where it is not that of an expectation.
OWN_LABEL = {"robust": "worst case", "wasserstein": "worst expectation"}
_LEVELS = " ▁▂▃▄▅▆▇█"
_MOST_CELLS = 72
_LISTED = 6


def show_formulation(out: Console, view: View) -> None:
    """The worst case behind the profit of a robust or distributionally robust run."""
    if "worst_course" in view.frames:
        _course(out, view)
    if "worst_distribution" in view.frames:
        _distribution(out, view)


def _course(out: Console, view: View) -> None:
    section(out, "Worst course of calls", f"called share of the bid; {view.words('support')}")
    frame = view.frames["worst_course"]
    rows: list[tuple[str, Any]] = []
    if has_blocks(out) and out.width >= _MOST_CELLS + 26:
        full = float(view.config["battery"]["energy_mwh"])
        for label, values in (
            ("called up", frame["called_up_frac"]),
            ("called down", frame["called_down_frac"]),
            ("stored energy", frame["energy_end_mwh"] / full),
        ):
            rows.append((label, Text(_strip([float(v) for v in values]), "cyan")))
    high = number(view.value("periods_called_high"), 0)
    rows += [
        ("called high", f"{high} period(s) of {number(view.value('robust_period'))} h"),
        (
            "profit in it",
            f"{number(view.value('worst_course_profit'))}   with the recourse of the two-stage "
            "model",
        ),
        ("expected", f"{number(view.value('expected_profit'))}   on the scenarios of the run"),
        (
            "search",
            f"{number(view.value('courses'), 0)} courses in {number(view.value('rounds'), 0)} "
            "rounds",
        ),
        ("bounded only", view.words("bounded_only")),
    ]
    indented(out, pairs(*rows))


def _strip(values: list[float]) -> str:
    """Values between 0 and 1 as blocks, the largest of each cell."""
    cells = min(_MOST_CELLS, len(values))
    edges = [i * len(values) // cells for i in range(cells + 1)]
    largest = [max(values[a:b]) for a, b in pairwise(edges)]
    return "".join(_LEVELS[round(8 * min(1.0, max(0.0, v)))] for v in largest)


def _distribution(out: Console, view: View) -> None:
    section(out, "Worst distribution", f"radius {number(view.value('radius'), 3)}")
    frame = view.frames["worst_distribution"]
    moved = frame.assign(gain=frame["worst_probability"] - frame["probability"])
    most = moved.sort_values("gain", ascending=False, kind="stable").head(_LISTED)
    heads = ("probability", "in the worst case", "profit, EUR")
    table = plain_table("scenario", *heads, left=("scenario",))
    for row in most.to_dict("records"):
        if row["gain"] > 1e-9:
            table.add_row(
                str(row["scenario"]),
                f"{number(100 * row['probability'])} %",
                f"{number(100 * row['worst_probability'])} %",
                amount(row["profit_eur"]),
            )
    if table.row_count:
        indented(out, table)
    nearest = number(view.value("nearest_scenarios"), 3)
    indented(
        out,
        pairs(
            ("support", view.words("support")),
            ("ground metric", f"{view.words('ground_metric')}; nearest two scenarios: {nearest}"),
            ("bounded only", view.words("bounded_only")),
        ),
    )


def show_rolling(out: Console, view: View) -> None:
    """What the frozen decision earns without clairvoyance, beside what the model counts on."""
    if view.value("rolling") is None:
        return
    lead = number(view.value("trade_lead"), 0)
    section(out, "Without clairvoyance", f"EUR, expected; trades {lead} min before delivery")
    share = number(view.value("optimism_share"), 1)
    table = plain_table("", "expected", "", left=("",))
    table.add_row("clairvoyant recourse", amount(view.value("clairvoyant")), _dim("as the model"))
    table.add_row("rolling dispatch", amount(view.value("rolling")), _dim("step by step"))
    optimism = Text(number(view.value("optimism")), "bold")
    table.add_row(Text("optimism", "bold"), optimism, _dim(f"{share} % of the clairvoyant profit"))
    for row in view.frames["rolling_causes"].to_dict("records"):
        table.add_row(f"  by {row['cause']}", number(float(row["eur"]), signed=True), "")
    indented(out, table)


def _dim(text: str) -> Text:
    return Text(text, "dim")
