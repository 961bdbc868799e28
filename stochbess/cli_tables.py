"""Terminal tables of the commands that do not show a run: data, scenarios, stores, health."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from stochbess.cli_output import (
    amount,
    bullets,
    indented,
    number,
    pairs,
    plain_table,
    section,
    warn_synthetic,
)

if TYPE_CHECKING:
    import pandas as pd

    from stochbess.doctor import Check
    from stochbess.market.data import MarketData
    from stochbess.market.importer import ImportReport
    from stochbess.market.problem import Problem
    from stochbess.run_record import RunRecord
    from stochbess.scenario_gen.scenarios import ScenarioSet

_REMARK = re.compile(r"\([^()]*\)")
_SEVERITY = {"error": "bold red", "warning": "yellow"}
_STATUS = {"done": "green", "running": "cyan", "interrupted": "yellow", "failed": "red"}
_CHECK = {"ok": "green", "absent": "dim", "warning": "yellow", "failed": "bold red"}


# ---------------------------------------------------------------------------------- decisions


def show_days(out: Console, frame: pd.DataFrame, title: str, synthetic: bool) -> None:
    """Profit of every delivery day on its own, and of all of them."""
    out.print(Text("stochbess  ", "bold").append(f"separate days  {title}", "bold cyan"))
    if synthetic:
        warn_synthetic(out)
    profit = frame["profit_eur"]
    section(out, "Perfect foresight of each day", "every day starts from the configured state")
    table = plain_table("day", "profit, EUR", "full cycles", left=("day",))
    for row in frame.to_dict("records"):
        cycles = number(row["full_cycles"], 3)
        table.add_row(str(row["day"]), amount(row["profit_eur"]), cycles)
    indented(out, table)
    section(out, "Together")
    indented(
        out,
        pairs(
            ("days", str(len(frame))),
            ("profit", f"{number(profit.sum())} EUR"),
            ("per day", f"{number(profit.mean())} EUR"),
            ("worst and best day", f"{number(profit.min())} and {number(profit.max())} EUR"),
            ("full cycles per day", number(frame["full_cycles"].mean(), 3)),
        ),
    )
    note = "Prices and calls are taken as known in advance: an upper bound, not a forecast."
    indented(out, Text(note, "dim"))


# --------------------------------------------------------------------------------------- data


def show_problems(out: Console, found: Mapping[str, Sequence[Problem]]) -> None:
    """Problems of each zone, errors first."""
    for place, problems in found.items():
        errors = sum(problem.severity == "error" for problem in problems)
        many = f"{errors} error{'s' * (errors != 1)}, {len(problems) - errors} warning"
        many += "s" * (len(problems) - errors != 1)
        style = "bold red" if errors else "bold green"
        out.print(Text(place, "bold cyan").append(f"  {many}", style))
        table = plain_table("code", "severity", "series", "finding", left=_ALL)
        for problem in sorted(problems, key=lambda p: p.severity != "error"):
            text = f"{problem.where}: {problem.message}"
            table.add_row(
                problem.code,
                Text(problem.severity, _SEVERITY.get(problem.severity, "")),
                Text(problem.series),
                Text(text + " An option of `data import` repairs it." * problem.repairable),
            )
        if problems:
            indented(out, table)
    out.print(Text("\nEvery code is explained in docs/market-data.md.", "dim"))


_ALL = ("code", "severity", "series", "finding")


def show_market(out: Console, market: MarketData, columns: Sequence[Mapping[str, Any]]) -> None:
    """Coverage and range of every column of a zone, series by series."""
    title = Text(f"{market.zone}  ", "bold cyan").append(market.timezone, "default")
    out.print(title.append(f"  data {market.sha256[:12]}", "not bold dim"))
    if market.synthetic:
        warn_synthetic(out)
    names = list(dict.fromkeys(str(row["series"]) for row in columns))
    for i, name in enumerate(names):
        rows = [row for row in columns if row["series"] == name]
        known = " ".join(_REMARK.sub("", str(rows[0]["known_since"])).split())
        section(out, name, f"{rows[0]['unit']}; known {known.replace(' ;', ';')}")
        table = plain_table("", "rows", "first", "last", "mean", "min", "max", left=("",))
        table.show_header = i == 0
        table.columns[0].min_width = max(len(str(row["column"])) for row in columns)
        for column in table.columns[1:]:
            column.min_width = 10
        for row in rows:
            table.add_row(
                str(row["column"]),
                f"{row['rows']:,}",
                str(row["first_utc"])[:10],
                str(row["last_utc"])[:10],
                *(number(row[key]) for key in ("mean", "min", "max")),
            )
        table.padding = (0, 2, 0, 0)
        indented(out, table)
    if market.warnings:
        section(out, "Warnings", "`stochbess data check` lists them too")
        bullets(out, market.warnings)


def show_import(out: Console, report: ImportReport) -> None:
    """What an import wrote, and what the checks found in the directory."""
    out.print(Text(f"imported {report.rows:,} rows into {report.path}", "bold green"))
    reach = f"{report.first_utc:%Y-%m-%d %H:%MZ} to {report.last_utc:%Y-%m-%d %H:%MZ}"
    indented(out, Text(reach))
    bullets(out, (*report.notes, *(str(problem) for problem in report.problems)))


# ---------------------------------------------------------------------------------- scenarios


def show_scenarios(out: Console, found: ScenarioSet, place: str) -> None:
    """Size, range of every series, probabilities and origin of a scenario set."""
    many = f"{len(found)} scenario{'s' * (len(found) != 1)}"
    title = Text(f"{many}  ", "bold cyan").append(place)
    out.print(title.append(f"  {found.sha256[:12]}", "dim"))
    if any("synthetic" in text.lower() for text in found.provenance.values()):
        warn_synthetic(out)
    section(out, "Series", "mean weighted by probability; UTC")
    heads = ("values", "mean", "min", "max", "first", "last")
    table = plain_table("series", *heads, left=("series", "first", "last"))
    table.padding = (0, 2, 0, 0)  # names of 23 letters stay in one line
    for name, values in found.values.items():
        index = found.index[name]
        table.add_row(
            name,
            str(values.shape[1]),
            number(float(found.probability @ values.mean(axis=1))),
            number(float(values.min())),
            number(float(values.max())),
            f"{index[0]:%Y-%m-%d %H:%M}",
            f"{index[-1]:%Y-%m-%d %H:%M}",
        )
    indented(out, table)
    section(out, "Probabilities")
    words = (f"{n} {p:.4g}" for n, p in zip(found.names, found.probability, strict=True))
    indented(out, Text("   ".join(words)))
    if found.provenance:
        section(out, "Origin")
        indented(out, pairs(*((k, Text(v)) for k, v in sorted(found.provenance.items()))))


# --------------------------------------------------------------------------------------- runs


def run_summary(record: RunRecord) -> dict[str, Any]:
    """A run in one line."""
    facts = {f["name"]: f["value"] for f in json.loads(record.facts_json).get("facts", [])}
    return {
        "run_id": record.run_id,
        "created_utc": record.created_utc.isoformat(timespec="seconds"),
        "status": record.status,
        "formulation": record.formulation,
        "zone": record.zone,
        "day": record.day.isoformat(),
        "synthetic": record.synthetic,
        "profit_eur": facts.get("profit"),
        "gap_frac": facts.get("gap"),
        "scenarios": facts.get("scenarios"),
    }


def show_runs(out: Console, records: Sequence[RunRecord], store_dir: Path) -> None:
    """Runs of a store, newest first."""
    if not records:
        out.print(Text(f"no runs in {store_dir} yet; `stochbess solve` makes the first"))
        return
    heads = ("status", "created", "zone", "day", "formulation", "scen.", "profit, EUR", "gap")
    left = ("run", "status", "created", "zone", "day", "formulation")
    table = plain_table("run", *heads, left=left)
    table.padding = (0, 2, 0, 0)
    table.columns[5].no_wrap = True
    for record in records:
        row = run_summary(record)
        gap, n = row["gap_frac"], row["scenarios"]
        table.add_row(
            record.run_id[:8],
            Text(record.status, _STATUS.get(record.status, "")),
            f"{record.created_utc:%m-%d %H:%M}",
            record.zone + (" *" if record.synthetic else ""),
            row["day"],
            record.formulation,
            "-" if n is None else str(int(n)),
            amount(row["profit_eur"]),
            "-" if gap is None else f"{number(100 * gap)} %",
        )
    out.print(table)
    if any(record.synthetic for record in records):
        out.print(Text("* SYNTHETIC market data: no statement about a real market", "yellow"))


# ------------------------------------------------------------------------------------- health


def show_checks(out: Console, checks: Sequence[Check]) -> None:
    """What the machine has, what it lacks, and the line that mends it."""
    table = plain_table("", "", "", left=("",), show_header=False)
    for check in checks:
        detail = Text(check.detail)
        if check.mend:
            detail.append(f"\nmend: {check.mend}", "bold")
        table.add_row(Text(check.status, _CHECK[check.status]), Text(check.name, "bold"), detail)
    out.print(table)
    failed = [check.name for check in checks if check.status == "failed"]
    if failed:
        out.print(Text(f"\nnot ready: {', '.join(failed)}", "bold red"))
    else:
        out.print(Text("\nready: `stochbess solve` works here", "bold green"))
