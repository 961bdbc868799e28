"""From a run to the facts and the rows that the pages of the decision report print.

Tables hold names of facts, never numbers: what is printed is what `facts.json` says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from stochbess.reports.asset_rows import asset_rows
from stochbess.reports.bid_rows import BidRows, bid_rows
from stochbess.reports.book import FactBook, decimals
from stochbess.reports.comparison import Compared, compared
from stochbess.reports.judges import Judges, judges
from stochbess.reports.labels import CASH, CASH_GROUP, OPPONENT, PROVENANCE, WORTH
from stochbess.reports.material import Material

SCENARIOS_IN_TABLE = 40
# A sign is claimed only if the bound nearest to zero is a cent away from it [EUR].
_CENT = 0.005
_SHORTFALLS = (
    ("reserve_shortfall", "of missing reserve"),
    ("undelivered", "called and not delivered"),
    ("imbalance", "of imbalance"),
)
# How the sentences begin that assemble writes, and what they are about.
_ASSUMED = {"Unverified rule": "rule", "Data: ": "data", "All market data are": "data"}


@dataclass(frozen=True)
class WorthRow:
    label: str
    meaning: str
    low: str
    high: str
    high_eur: float
    sign: str  # "positive", "negative", "not proven", or "" for a level
    opponent: str = ""  # whose decision a gain is over


@dataclass(frozen=True)
class Row:
    """A row of a table: label, names of facts, and the kind that gives it its colour."""

    label: str
    cells: tuple[str, ...]
    kind: str = ""


@dataclass(frozen=True)
class Content:
    """What the templates walk through."""

    bids: BidRows
    worth: tuple[WorthRow, ...]
    compared: tuple[Compared, ...]
    cash_columns: tuple[str, ...]
    cash: tuple[Row, ...]
    scenarios: tuple[Row, ...]
    scenarios_left_out: bool
    rules: tuple[str, ...]
    assumptions: tuple[str, ...]
    data_quality: tuple[str, ...]
    provenance: tuple[Row, ...]
    asset: tuple[Row, ...]
    shortfalls: tuple[tuple[str, str], ...]
    judges: Judges
    optimism: tuple[tuple[str, str], ...]

    def sign(self, measure: str) -> str:
        """The proven sign of a worth measure, "" if it was not computed."""
        return next((row.sign for row in self.worth if row.label == measure), "")

    @property
    def hardest(self) -> WorthRow | None:
        """The gain over the strongest opponent, the smallest; None if VSS has no rival."""
        gains = [row for row in self.worth if row.opponent]
        return min(gains, key=lambda row: row.high_eur) if gains else None


def gather(material: Material) -> tuple[FactBook, Content]:
    """All facts of the pages, the run's own ones first and as they are."""
    book = FactBook(material.run_id, material.facts)
    _identity(book, material)
    worth = _worth(book, material)
    columns, cash = _cash(book, material)
    listed = _scenarios(book, material)
    content = Content(
        bids=bid_rows(book, material),
        worth=worth,
        compared=compared(book, material),
        cash_columns=columns,
        cash=cash,
        scenarios=listed,
        scenarios_left_out=len(material.frames["scenarios"]) > len(listed),
        rules=_assumed(book, material, "rule"),
        assumptions=_assumed(book, material, "assumption"),
        data_quality=_assumed(book, material, "data"),
        provenance=_provenance(book, material),
        asset=tuple(Row(label, (name,)) for label, name in asset_rows(book, material.config)),
        optimism=_optimism(material),
        shortfalls=tuple(item for item in _SHORTFALLS if abs(book.value(item[0])) >= 0.00005),
        judges=judges(book),
    )
    return book, content


def _optimism(material: Material) -> tuple[tuple[str, str], ...]:
    """Causes of the optimism of clairvoyant recourse, and the facts that hold them."""
    frame = material.frames.get("rolling_causes")
    causes = [] if frame is None else [str(cause) for cause in frame["cause"]]
    return tuple(
        (cause[:1].upper() + cause[1:], f"optimism_{cause.replace(' ', '_')}") for cause in causes
    )


def _identity(book: FactBook, material: Material) -> None:
    many = len(material.frames["scenarios"])
    words = (
        ("run_id", material.run_id, "identity of the run"),
        ("title", f"Battery offer for {material.zone}, {material.day}", "title of the report"),
        ("source_line", material.source_line, "run, seed and configuration"),
        ("config_sha256", material.config_sha256, "SHA-256 of the resolved configuration"),
        ("data_sha256", material.data_sha256, "SHA-256 of the market data"),
        ("code_sha256", material.code_sha256, "SHA-256 of the toolkit's sources"),
        ("seed", str(material.seed), "root of all random streams"),
        ("formulation", material.formulation, "which problem was solved"),
    )
    for name, value, meaning in words:
        book.words(name, value, meaning)
    book.number("n_days", material.n_days, "", 0, "delivery days decided together")
    book.number("scenarios_settled", many, "", 0, "scenarios that the decision was settled on")
    book.number("gap_percent", 100 * book.value("gap"), "%", 2, "proven relative gap")
    violation = book.value("certificate")
    if math.isfinite(violation):
        book.words("certificate_order", f"{violation:.1e}", "largest relative violation")
    else:
        book.missing("certificate_order", "", "the run has no certificate")
    level = float(material.config["risk"]["cvar_level"])
    tail = 100 * (1 - level)
    book.number("cvar_tail", tail, "%", 0 if abs(tail - round(tail)) < 1e-9 else 2,
                "share of the worst outcomes that CVaR averages")  # fmt: skip
    weight = float(material.config["risk"]["cvar_weight"])
    book.number("cvar_weight", weight, "", decimals([weight]), "weight of CVaR in the objective")
    reason = _no_worth_reason(material)
    for name in ("ws", "eev", "evpi", "vss"):
        for bound in ("low", "high"):
            book.missing(f"{name}_{bound}", "EUR", reason)
    book.missing("virtual", "EUR", "left out when the run was solved, by --no-worth")
    book.missing("frictions", "", reason)


def _assumed(book: FactBook, material: Material, kind: str) -> tuple[str, ...]:
    """What the run assumes, of one kind: unverified rules, data quality, everything else."""
    names = []
    for i, text in enumerate(material.assumptions):
        found = next((k for begin, k in _ASSUMED.items() if text.startswith(begin)), "assumption")
        if found == kind:
            meaning = "what the result rests on and no source verifies"
            names.append(book.words(f"assumption.{i + 1}", text, meaning))
    return tuple(names)


def _no_worth_reason(material: Material) -> str:
    if material.formulation == "deterministic":
        return "defined for a stochastic decision only; this one knows a single future"
    if material.formulation in ("robust", "wasserstein"):
        return "these measures compare expectations, and this run maximises a worst case"
    if material.config["risk"]["cvar_weight"]:
        return "these measures compare expectations, and this run weighs risk (risk.cvar_weight)"
    return "left out when the run was solved, by --no-worth"


def _worth(book: FactBook, material: Material) -> tuple[WorthRow, ...]:
    frame = material.frames.get("worth")
    if frame is None:
        return ()
    rows = []
    for item in frame.to_dict("records"):
        measure = str(item["measure"])
        low, high = float(item["low_eur"]), float(item["high_eur"])
        label, meaning, key = WORTH.get(measure, (measure, "", measure.replace(" ", "_")))
        names = tuple(
            book.number(f"worth.{key}.{side}", value, "EUR", 2,
                        f"{meaning or measure}, proven {side}er bound",
                        signed="=" in measure or measure.startswith("gain"))
            for side, value in (("low", low), ("upp", high))
        )  # fmt: skip
        sign = ""
        if "=" in measure or measure.startswith("gain"):
            sign = _sign(low, high, bool(item["sign_known"]))
        opponent = OPPONENT.get(key, "") if measure.startswith("gain") else ""
        rows.append(WorthRow(label, meaning, names[0], names[1], high, sign, opponent))
    return tuple(rows)


def _sign(low: float, high: float, known: bool) -> str:
    if known and low >= _CENT:
        return "positive"
    if known and high <= -_CENT:
        return "negative"
    return "not proven"


def _cash(book: FactBook, material: Material) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Expected, worst and best scenario; lines of less than half a cent are left out."""
    scenarios = material.frames["scenarios"].sort_values("profit_eur", kind="stable")
    columns = {"expected": "expected"}
    if len(scenarios) > 1:
        names = scenarios["scenario"].astype(str)
        columns |= {"worst": str(names.iloc[0]), "best": str(names.iloc[-1])}
    rows = []
    for item in material.frames["cash"].to_dict("records"):
        line = str(item["line"])
        values = {head: float(item[name]) for head, name in columns.items()}
        label = CASH.get(line, line.replace("_", " "))
        cells = tuple(
            book.number(f"cash.{line}.{head}", value, "EUR", 2, f"{label}, {head}")
            for head, value in values.items()
        )
        if line == "profit" or any(not abs(v) < _CENT for v in values.values()):
            rows.append(
                Row(label, cells, "total" if line == "profit" else CASH_GROUP.get(line, ""))
            )
    return tuple(columns), tuple(rows)


def _scenarios(book: FactBook, material: Material) -> tuple[Row, ...]:
    frame = material.frames["scenarios"].sort_values("profit_eur", kind="stable")
    rows = []
    percent = decimals([100.0 * float(p) for p in frame["probability"]], 2)
    for i, item in enumerate(frame.to_dict("records")):
        key = f"scenario.{i + 1}"
        name = book.words(f"{key}.name", str(item["scenario"]), "name of the scenario")
        cells = tuple(
            book.number(f"{key}.{column}", float(item[source]) * scale, unit, digits, meaning)
            for column, source, scale, unit, digits, meaning in (
                ("probability", "probability", 100.0, "%", percent, "probability"),
                ("profit", "profit_eur", 1.0, "EUR", 2, "profit"),
                ("aging", "aging_eur", 1.0, "EUR", 2, "cost of aging"),
                ("full_cycles", "full_cycles", 1.0, "", 2, "discharged over nameplate energy"),
                ("energy_end", "energy_end_mwh", 1.0, "MWh", 2, "stored at the end"),
                ("imbalance", "imbalance_mwh", 1.0, "MWh", 2, "absolute imbalance"),
                ("lost", "lost_mwh", 1.0, "MWh", 2, "lost in converter and cells"),
            )
            if source in item  # runs of earlier versions know no losses
        )
        rows.append(Row("", (name, *cells)))
    if len(rows) <= SCENARIOS_IN_TABLE:
        return tuple(rows)
    half = SCENARIOS_IN_TABLE // 2
    return (*rows[:half], *rows[-half:])


def _provenance(book: FactBook, material: Material) -> tuple[Row, ...]:
    rows = [
        Row(label, (name,))
        for label, name in (
            ("Run", "run_id"),
            ("Seed", "seed"),
            ("Hash of the configuration", "config_sha256"),
            ("Hash of the market data", "data_sha256"),
            ("Hash of the source code", "code_sha256"),
            ("Solver", "solver"),
        )
        if name in book
    ]
    told = {material.data_sha256, str(material.seed), material.zone}
    for key in sorted(material.provenance):
        if str(material.provenance[key]) in told:
            continue
        text = str(material.provenance[key])
        if key not in PROVENANCE:
            text = f"{key.replace('_', ' ')}: {text}"
        name = book.words(f"origin.{key}", text, "origin of the scenarios")
        rows.append(Row(PROVENANCE.get(key, "Of the scenarios"), (name,)))
    return tuple(rows)


def frame_or_none(material: Material, name: str) -> pd.DataFrame | None:
    """A frame of the run with at least one row."""
    frame = material.frames.get(name)
    return None if frame is None or frame.empty else frame
