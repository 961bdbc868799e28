"""Terminal tables of the commands about scenario sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from stochbess.cli_output import (
    bullets,
    indented,
    number,
    pairs,
    plain_table,
    section,
    warn_synthetic,
)

if TYPE_CHECKING:
    from stochbess.scenario_days import DayFile
    from stochbess.scenario_gen.mean_selection import MeanSelection
    from stochbess.scenario_gen.reduction import Reduction
    from stochbess.scenario_gen.set_scores import SetScores
    from stochbess.scenario_gen.tree_build import TreeBuild

_MOST_ERRORS = 10


def show_days_made(out: Console, found: Sequence[DayFile], folder: Path) -> None:
    """How many days were made and kept, and why the others were not."""
    count = {status: sum(i.status == status for i in found) for status in ("made", "kept")}
    failed = [item for item in found if item.status == "failed"]
    title = Text(f"{len(found) - len(failed)} of {len(found)} days  ", "bold cyan")
    title.append(str(folder), "default")
    out.print(title.append(f"  {count['made']} made, {count['kept']} kept", "not bold dim"))
    if failed:
        section(out, "Not made", f"{len(failed)} days")
        bullets(out, [f"{item.day}: {item.error}" for item in failed[:_MOST_ERRORS]])
        if len(failed) > _MOST_ERRORS:
            indented(out, Text(f"and {len(failed) - _MOST_ERRORS} more (--json has all)", "dim"))


def show_reduction(out: Console, found: Reduction | MeanSelection, size: int, place: str) -> None:
    """What is kept, with which weight, and what that loses."""
    from stochbess.scenario_gen.reduction import Reduction

    title = Text(f"{len(found.set)} of {size} scenarios  ", "bold cyan").append(place, "default")
    out.print(title.append(f"  {found.set.sha256[:12]}", "dim"))
    _synthetic(out, found.set.provenance.values())
    if isinstance(found, Reduction):
        section(out, "What is lost", found.metric)
        rows = [
            ("Kantorovich distance", number(found.distance, 4)),
            ("relative distance", f"{number(found.relative, 4)} of the best single scenario's"),
            ("method", found.method),
        ]
    else:
        section(out, "What is lost", "mean prices, calls and money in calls, each on its own scale")
        missed = f"{number(found.relative, 4)} of that of as many random draws"
        rows = [("error of the means", missed), ("method", "means")]
    indented(out, pairs(*rows))
    section(out, "Kept")
    kept = zip(found.set.names, found.set.probability, strict=True)
    indented(out, Text("   ".join(f"{name} {p:.4g}" for name, p in kept)))


def show_tree(out: Console, build: TreeBuild, size: int, place: str) -> None:
    """Nodes of every stage, and how far the tree is from its fan."""
    tree = build.tree
    leaves = len(tree.nodes(len(tree.stages)))
    title = Text(f"{len(tree.parent)} nodes, {leaves} leaves  ", "bold cyan")
    out.print(title.append(place, "default").append(f"  {tree.sha256[:12]}", "not bold dim"))
    _synthetic(out, tree.provenance.values())
    section(out, "Stages", f"of {size} scenarios")
    table = plain_table("stage", "gate", "nodes", "series", left=("stage", "gate", "series"))
    for k, stage in enumerate(tree.stages, start=1):
        table.add_row(stage.name, stage.gate, str(len(tree.nodes(k))), ", ".join(stage.series))
    indented(out, table)
    section(out, "Distance to the scenarios", "1 is a typical deviation of one series")
    rows = (
        ("to the own leaf", number(build.assigned_distance, 4)),
        ("Kantorovich distance", number(build.transport_distance, 4)),
    )
    indented(out, pairs(*rows))


def show_scores(out: Console, scored: SetScores, zone: str, synthetic: bool) -> None:
    """Scores by series, and of the events of activation."""
    sizes = " or ".join(str(n) for n in scored.n_scenarios)
    many = f"{scored.n_sets} set{'s' * (scored.n_sets != 1)} of {sizes} scenarios"
    out.print(Text(f"{zone}  ", "bold cyan").append(many, "default"))
    if synthetic:
        warn_synthetic(out)
    section(out, "Series", "in the unit of the series; cov and width of the central 90 %")
    heads = ("days", "CRPS", "energy", "vario", "spread", "MAE", "cov", "width", "flat")
    table = plain_table("", *heads, left=("",))
    table.padding = (0, 1, 0, 0)
    for s in scored.series:
        table.add_row(
            s.series,
            str(s.days),
            *(_short(v) for v in (s.crps, s.energy_score, s.variogram_score, s.spread_crps, s.mae)),
            number(s.coverage_frac),
            _short(s.width),
            number(s.flatness, 1),
        )
    indented(out, table)
    if scored.events:
        section(out, "Activation above a threshold", "probability = share of the scenarios")
        names = ("above, MW", "rate", "Brier", "of the rate", "log score", "calib. error")
        table = plain_table("", *names, left=("",))
        table.padding = (0, 2, 0, 0)
        for e in scored.events:
            numbers = (e.rate_frac, e.brier, e.brier_of_rate, e.log_score, e.calibration_error_frac)
            table.add_row(e.series, f"{e.threshold_mw:g}", *(number(v, 4) for v in numbers))
        indented(out, table)
    section(out, "How to read this")
    bullets(
        out,
        (
            "smaller is better; compare sets of equal size, fewer scenarios score worse",
            "cov: even calibrated scenarios reach about 0.9 (S - 1) / (S + 1)",
            "flat: chi-square of the rank histogram per degree of freedom; the hours of a day "
            "depend on each other, so use it to compare only",
        ),
    )


def _synthetic(out: Console, texts: object) -> None:
    if any("synthetic" in str(text).lower() for text in texts):  # type: ignore[attr-defined]
        warn_synthetic(out)


def _short(value: float) -> str:
    """About four digits: widths of prices and of volumes in one table."""
    if not math.isfinite(value):
        return "-"
    return number(value, 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2)
