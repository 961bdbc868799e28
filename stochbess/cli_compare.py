"""Terminal tables of a comparison: formulations side by side, decision by decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from stochbess.cli_output import (
    amount,
    bullets,
    indented,
    number,
    plain_table,
    section,
    warn_synthetic,
)
from stochbess.formulations import FORMULATIONS

if TYPE_CHECKING:
    import pandas as pd


def show_comparison(out: Console, rows: pd.DataFrame, title: str, synthetic: bool) -> None:
    """One line per formulation in each table, and what the columns mean."""
    out.print(Text("stochbess  ", "bold").append(f"comparison  {title}", "bold cyan"))
    if synthetic:
        warn_synthetic(out)
    records = rows.to_dict("records")
    _promises(out, records)
    _outcomes(out, records, float(rows["expected_profit_eur"].max()))
    _decisions(out, records)
    section(out, "How to read this")
    texts = [
        "own promise and bound: of what the formulation maximises, for the futures that it sees; "
        "no decision has more than the bound",
        "expected, worst, CVaR: its here-and-now decision priced on all scenarios alike, with "
        "a recourse that sees the whole day at once; differences below the gap say nothing",
    ]
    if any(row["evpi_low_eur"] is not None for row in records):
        texts.append(
            "EVPI: what perfect information would add to the decision; VSS: what it earns beyond "
            "the decision for the mean scenario. Both between proven bounds."
        )
    bullets(out, texts)


def _promises(out: Console, records: list[dict[Any, Any]]) -> None:
    section(out, "Formulations", "EUR over the horizon")
    heads = ("maximises", "own promise", "bound", "gap", "CPU", "time", "run")
    table = plain_table("formulation", *heads, left=("formulation", "maximises", "run"))
    for row in records:
        name = str(row["formulation"])
        table.add_row(
            name,
            Text(FORMULATIONS[name].short, "dim"),
            amount(row["own_profit_eur"]),
            amount(row["own_bound_eur"]),
            f"{number(100 * row['gap_frac'])} %",
            _seconds(row.get("cpu_s")),
            _seconds(row.get("solve_wall_s")),
            Text(str(row["run_id"])[:8], "dim"),
        )
    indented(out, table)


def _outcomes(out: Console, records: list[dict[Any, Any]], best: float) -> None:
    section(out, "Priced on the same scenarios", "EUR over the horizon")
    valued = any(row["evpi_low_eur"] is not None for row in records)
    heads = ("expected", "CVaR", "worst", *(("EVPI", "VSS") if valued else ()))
    table = plain_table("formulation", *heads, left=("formulation",))
    for row in records:
        expected = amount(row["expected_profit_eur"])
        if row["expected_profit_eur"] == best and len(records) > 1:
            expected.stylize("bold green")
        cells: list[Any] = [expected, amount(row["cvar_eur"]), amount(row["worst_scenario_eur"])]
        if valued:
            cells += [_interval(row, "evpi"), _interval(row, "vss")]
        table.add_row(str(row["formulation"]), *cells)
    indented(out, table)


def _interval(row: dict[Any, Any], name: str) -> str:
    low, high = row[f"{name}_low_eur"], row[f"{name}_high_eur"]
    return f"{number(low, 0, signed=True)} to {number(high, 0, signed=True)}"


def _decisions(out: Console, records: list[dict[Any, Any]]) -> None:
    section(out, "Decisions", "lots over all blocks; day-ahead energy in MWh")
    heads = ("FCR", "aFRR up", "aFRR down", "sold", "bought")
    table = plain_table("formulation", *heads, left=("formulation",))
    for row in records:
        lots = (row["fcr_lots"], row["afrr_up_lots"], row["afrr_down_lots"])
        energy = (row["day_ahead_sold_mwh"], row["day_ahead_bought_mwh"])
        table.add_row(
            str(row["formulation"]),
            *(number(value, 0 if value == round(value) else 2) for value in lots),
            *(number(value) for value in energy),
        )
    indented(out, table)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{number(value, 1)} s"
