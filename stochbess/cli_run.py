"""A run on the terminal: what to offer, what it earns, and what that rests on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console
from rich.text import Text

from stochbess.cli_formulation import OWN_LABEL, show_formulation, show_rolling
from stochbess.cli_output import (
    LABEL,
    amount,
    bullets,
    has_blocks,
    indented,
    number,
    pairs,
    plain_table,
    section,
    warn_synthetic,
)
from stochbess.cli_view import View
from stochbess.formulations import FORMULATIONS

DEFAULT_STORE = Path("runs")
_BARS = " ▁▂▃▄▅▆▇█"
_UNITS_A_LINE = 12
_BAR = 20  # columns of the longest bar
_LINES = {
    "fcr_capacity": "FCR capacity",
    "afrr_up_capacity": "aFRR capacity, up",
    "afrr_down_capacity": "aFRR capacity, down",
    "day_ahead": "day-ahead energy",
    "intraday": "intraday energy",
    "intraday_spread": "intraday half-spread",
    "activation_up": "aFRR energy, up",
    "activation_down": "aFRR energy, down",
    "imbalance": "imbalance",
    "import_fee": "import fees",
    "export_fee": "export fees",
    "levy": "levies",
    "capacity_fee": "capacity fee",
    "undelivered_penalty": "penalty: not delivered",
    "reserve_shortfall_penalty": "penalty: reserve short",
    "aging": "battery aging",
    "aging_beyond": "aging beyond the model",
    "aging_floor": "throughput floor",
    "stored_energy_value": "change of energy in store",
    "profit_tax": "tax on profit",
    "profit": "profit",
}
_FORESIGHT = (
    "A deterministic decision knows one future, here the one that really came: the profit is an "
    "upper bound for everyone who does not know it, not a forecast."
)
_WORTH = {
    "WS": "each scenario with its future known",
    "RP": "this decision, under uncertainty",
    "EEV": "what deciding for the mean scenario earns",
    "EVPI = WS - RP": "most that perfect information could add",
    "VSS = RP - EEV": "what planning for uncertainty adds",
    "gain over reserve-derated deterministic": "mean scenario, reserve capped, cap tuned",
    "gain over full-activation deterministic": "mean scenario, energy held for full calls",
    "gain over mean planned again at every node": "the mean of what each node still expects",
    "gain over two-stage bids": "bids that count on a clairvoyant day, lived on the tree",
}


def show_run(out: Console, view: View) -> None:
    """Everything a trader wants to read of a run, most important first."""
    _header(out, view)
    if not view.facts:
        out.print(Text(f"\nThis run is {view.record.status}: it has no results.", "yellow"))
        return
    if view.frames["bids"].empty:
        section(out, "Nothing to offer ahead", "no market with a gate is open")
    _reserves(out, view)
    _day_ahead(out, view)
    _profit(out, view)
    show_formulation(out, view)
    _cash(out, view)
    _worth(out, view)
    show_rolling(out, view)
    _battery(out, view)
    _assumptions(out, view)
    _ending(out, view)


def _header(out: Console, view: View) -> None:
    record = view.record
    n_days = view.config["market"]["n_days"]
    line = Text("stochbess", "bold")
    span = "" if n_days == 1 else f" ({n_days} days)"
    many = f"{view.n_scenarios} scenario{'s' if view.n_scenarios > 1 else ''}"
    for part in (
        record.zone,
        f"{record.day}{span}",
        record.formulation,
        many if view.facts else "",
    ):
        if part:
            line.append("  ").append(part, "bold cyan")
    name = Text(f"run {record.run_id}", "dim")
    gap = out.width - line.cell_len - name.cell_len
    out.print(line.append(" " * gap if gap > 1 else "\n").append_text(name))
    if record.synthetic:
        warn_synthetic(out)


# ------------------------------------------------------------------------------------ the bids


def _clock(text: str, day: str) -> str:
    """``2024-06-26 04:00`` without the day if it is the only one."""
    return text[11:] if text.startswith(day) else text[5:]


def _reserves(out: Console, view: View) -> None:
    bids = view.frames["bids"]
    reserves = bids[bids["market"] != "day-ahead"]
    if reserves.empty:
        return
    products = list(dict.fromkeys(zip(reserves["market"], reserves["product"], strict=True)))
    labels = {("FCR", "symmetric"): "FCR"}
    whole = "whole lots" if view.config["markets"]["integer_lots"] else "any amount"
    section(out, "Reserve capacity to offer", f"MW in 4-hour blocks, {whole}, local time")
    table = plain_table("block", *(labels.get(p, " ".join(p)) for p in products), left=("block",))
    one_day = str(view.record.day) if view.config["market"]["n_days"] == 1 else ""
    for _, block in reserves.groupby("start_utc", sort=True):
        first = block.iloc[0]
        begin, end = str(first["start_local"]), str(first["end_local"])
        amounts = {(r["market"], r["product"]): float(r["mw"]) for _, r in block.iterrows()}
        name = f"{_clock(begin, one_day or '-')} - {end[11:]}"
        table.add_row(name, *(_power(amounts.get(p, 0.0), 3) for p in products))
    indented(out, table)
    _commitments(out, view)


def _commitments(out: Console, view: View) -> None:
    sold = view.config["battery"]["state"]["commitments"]
    if sold:
        words = (f"{c['market']} {c['mw']:g} MW at {c['start_local']}" for c in sold)
        indented(out, Text("besides what is sold already: " + "; ".join(words), "dim"))


def _power(mw: float, digits: int, signed: bool = False) -> Text:
    if abs(mw) < 0.5 * 10**-digits:
        return Text("0" if signed else "-", "dim")
    text = number(mw, digits, signed)
    if not signed:
        text = text.rstrip("0").rstrip(".")
    return Text(text, ("green" if mw > 0 else "magenta") if signed else "bold")


def _day_ahead(out: Console, view: View) -> None:
    bids = view.frames["bids"]
    energy = bids[bids["market"] == "day-ahead"]
    if energy.empty:
        return
    note = "MW, + sells and - buys, by local start of delivery"
    if "curve" in view.frames:
        _day_ahead_curves(out, view)
        section(out, "Day-ahead positions that clear on average", note)
    else:
        section(out, "Day-ahead positions", note)
    per_line = max(4, min(_UNITS_A_LINE, (out.width - 2) // 8))
    rows = list(zip(energy["start_local"].astype(str), energy["mw"].astype(float), strict=True))
    days = list(dict.fromkeys(start[:10] for start, _ in rows))
    for day in days:
        units = [(start[11:], mw) for start, mw in rows if start[:10] == day]
        if len(days) > 1:
            indented(out, Text(day, "bold"))
        for at in range(0, len(units), per_line):
            clocks, powers = Text(style="dim"), Text()
            for clock, mw in units[at : at + per_line]:
                cell = _power(mw, 3, signed=True)
                clocks.append(f"{clock:>8}")
                powers.append(" " * (8 - cell.cell_len)).append_text(cell)
            indented(out, clocks)
            indented(out, powers)


def _day_ahead_curves(out: Console, view: View) -> None:
    """MW of every point with its price, as many as fit on a line."""
    curve = view.frames["curve"]
    section(out, "Day-ahead curves to offer", "MW at EUR/MWh, + sells; linear between points")
    most = max(2, (out.width - 22) // 19)
    for start, points in curve.groupby("start_local", sort=True):
        line = Text(f"{str(start)[11:]}  ", "dim")
        rows = list(zip(points["mw"], points["price_eur_mwh"], strict=True))
        for mw, price in rows[:most]:
            cell = _power(float(mw), 3, signed=True)
            line.append(" " * max(0, 8 - cell.cell_len)).append_text(cell)
            line.append(f" at {float(price):<7.2f}", "dim")
        if len(rows) > most:
            line.append(f" and {len(rows) - most} more")
        indented(out, line)


# ------------------------------------------------------------------------------------ the money


def _profit(out: Console, view: View) -> None:
    level = view.config["risk"]["cvar_level"]
    weight = view.config["risk"]["cvar_weight"]
    section(out, "Profit", "EUR over the horizon")
    verb = "has" if view.record.formulation in OWN_LABEL else "earns"
    profit = Text(number(view.value("profit")), "bold green")
    profit.append(
        f"   proven: no decision {verb} more than {number(view.value('profit_bound'))}"
        f", a gap of {number(100 * (view.value('gap') or 0.0))} %",
        "not bold default",
    )
    own = "risk-adjusted" if weight else "expected" if view.n_scenarios > 1 else "profit"
    own = OWN_LABEL.get(view.record.formulation, own)
    rows: list[tuple[str, Any]] = [(own, profit)]
    if own != "expected" and view.n_scenarios > 1:
        note = f"{number(view.value('expected_profit'))}   mean over the scenarios"
        rows.append(("expected", note))
    rows.append(("", f"{number(view.value('expected_profit_per_mw_day'))} per MW of power and day"))
    if view.n_scenarios > 1:
        tail = number(100 * (1 - level), 3).rstrip("0").rstrip(".")
        rows.append(
            (
                "distribution",
                f"worst {number(view.value('worst'))}   median {number(view.value('median'))}"
                f"   best {number(view.value('best'))}",
            )
        )
        strip = _histogram(out, view)
        if strip:
            rows.append(("", strip))
        rows.append(("CVaR", f"{number(view.value('cvar'))}   mean of the worst {tail} %"))
    if view.value("virtual") is not None:
        rows.append(
            (
                "without a battery",
                f"{number(view.value('virtual'))}   earned by trades between markets that need no"
                " battery",
            )
        )
    indented(out, pairs(*rows))


def _histogram(out: Console, view: View, bins: int = 48) -> Text | None:
    """Where the scenarios lie between the worst and the best, by probability."""
    frame = view.frames.get("scenarios")
    if frame is None or len(frame) < 10 or not has_blocks(out):
        return None
    low, high = float(frame["profit_eur"].min()), float(frame["profit_eur"].max())
    if high - low < 0.01:
        return None
    weight = [0.0] * bins
    for profit, p in zip(frame["profit_eur"], frame["probability"], strict=True):
        weight[min(bins - 1, int((profit - low) / (high - low) * bins))] += p
    most = max(weight)
    marks = "".join(_BARS[math.ceil(8 * w / most)] for w in weight)
    return Text(f"{number(low, 0)} ", "dim").append(marks, "cyan").append(f" {number(high, 0)}")


def _cash(out: Console, view: View) -> None:
    scenarios = view.frames["scenarios"].sort_values("profit_eur")["scenario"].tolist()
    names = ["expected", scenarios[0], scenarios[-1]] if len(scenarios) > 1 else ["expected"]
    note = ", expected, worst and best scenario" if len(names) > 1 else ""
    section(out, "Where it comes from", f"EUR{note}")
    heads = ("expected", "worst", "best") if len(names) > 1 else ("EUR",)
    table = plain_table("", *heads, " ", left=("", " "))
    lines: dict[str, list[float]] = {
        str(row["line"]): [float(row[name]) for name in names]
        for row in view.frames["cash"].to_dict("records")
    }
    total = lines.pop("profit", [])
    shown = {k: v for k, v in lines.items() if max(map(abs, v)) >= 0.005}
    earned = max((v[0] for v in shown.values()), default=0.0)
    paid = max((-v[0] for v in shown.values()), default=0.0)
    # Wide numbers leave less room for the bars.
    widest = max((len(number(v)) for vs in lines.values() for v in vs), default=0)
    scale = (max(0.0, earned) + max(0.0, paid)) / max(4, _BAR - 3 * max(0, widest - 9)) or 1.0
    room = math.ceil(max(0.0, paid) / scale)
    for line, values in shown.items():
        bar = _signed_bar(out, round(values[0] / scale), room)
        table.add_row(_LINES.get(line, line.replace("_", " ")), *map(amount, values), bar)
    if total:
        table.add_row("profit", *(Text(number(v), "bold") for v in total), "", style="bold")
    indented(out, table)


def _signed_bar(out: Console, length: int, room: int) -> Text:
    """A bar to the left for money paid, with `room` for it, to the right for money earned."""
    mark, axis = ("█", "│") if has_blocks(out) else ("#", "|")
    if out.width < 90:
        return Text()
    left = Text((mark * -length).rjust(room), "red")
    return left.append(axis, "dim").append(mark * length, "green")


def _worth(out: Console, view: View) -> None:
    worth = view.frames.get("worth")
    if worth is None and view.record.formulation == "deterministic":
        return
    section(out, "What the stochastic solution is worth", "EUR, proven lower and upper bounds")
    if worth is None:
        reason = "left out by --no-worth"
        if view.config["risk"]["cvar_weight"]:
            reason = "not computed: WS, EEV and VSS compare expectations, this run weighs risk"
        indented(out, Text(reason, "dim"))
        return
    table = plain_table("measure", "at least", "at most", "sign", "", left=("measure", "sign", ""))
    for row in worth.to_dict("records"):
        name = str(row["measure"])
        low, high = float(row["low_eur"]), float(row["high_eur"])
        signed = "=" in name or name.startswith("gain")
        label = name.replace("gain over ", "over ").replace(" deterministic", "")
        table.add_row(
            label,
            amount(low),
            amount(high),
            _sign(low, high, bool(row["sign_known"])) if signed else "",
            Text(_WORTH.get(name, ""), "dim"),
        )
    indented(out, table)
    indented(
        out, Text(f"What can make VSS differ from zero here: {view.words('frictions')}.", "dim")
    )
    if any(str(name).startswith("gain") for name in worth["measure"]):
        weak = "The mean scenario is a weak opponent where reserve is sold: averaged calls never"
        rest = "empty the battery. Judge the method by the gain over reserve-derated, not by VSS."
        if view.record.formulation == "multi-stage":
            rest = "empty the battery. Judge the method by the gain over the two-stage bids."
        indented(out, Text(f"{weak} {rest}", "dim"))


def _sign(low: float, high: float, known: bool) -> Text:
    """The sign of an interval, claimed only if the bound nearest to zero is a cent away from it."""
    if known and low >= 0.005:
        return Text("positive", "green")
    if known and high <= -0.005:
        return Text("negative", "red")
    return Text("not proven", "dim")


# ------------------------------------------------------------------------- battery and the rest


def _battery(out: Console, view: View) -> None:
    section(out, "Battery and delivery", "expected")
    aging = f"{number(view.value('aging'))} EUR"
    if view.config["aging"]["model"] == "segments":
        aging += f", recounted by rainflow {number(view.value('aging_rainflow'))} EUR"
    if view.value("aging_plant") is not None:
        aging = _plant_line(view)
    cycles = f"{number(view.value('full_cycles'), 3)} full cycles; "
    held = f"{number(view.value('energy_end'), 3)} MWh stored at the end"
    rows: list[tuple[str, Any]] = [("aging", aging), ("use", cycles + held)]
    if view.value("judge.mean.loss") is not None:
        rows.append(("other laws", _laws_line(view)))
    rows.append(("efficiency", view.words("efficiency_model") or None))
    rows.append(("losses", _losses(view)))
    rows.append(("stored energy", _energy_strip(out, view)))
    short = [
        f"{number(view.value(name), 4)} {unit} {what}"
        for name, unit, what in (
            ("reserve_shortfall", "MWh h", "of reserve missing"),
            ("undelivered", "MWh", "called but not delivered"),
            ("imbalance", "MWh", "of imbalance"),
        )
        if abs(view.value(name) or 0.0) >= 0.00005
    ]
    rows.append(("shortfalls", "; ".join(short) or "none"))
    indented(out, pairs(*(row for row in rows if row[1] is not None)))


def _plant_line(view: View) -> str:
    """Aging of the plant, how well it was predicted, and what the solve itself had proven."""
    shown, predicted = view.value("aging_plant"), view.value("aging_predicted_gap") or 0.0
    return (
        f"{number(shown)} EUR by the plant, {number(100 * predicted, 2, signed=True)} % off "
        f"in the model after {number(view.value('passes'), 1)} passes; "
        f"gap of the solve {number(100 * (view.value('held_gap') or 0.0), 2)} %"
    )


def _laws_line(view: View) -> str:
    """Loss of capacity as the laws see it, and where the priced law may be exploited."""
    laws = [
        f"{fact.value} {number(view.value(fact.name.removesuffix('law') + 'loss'), 1)}"
        for fact in view.facts
        if fact.name.startswith("judge.") and fact.name.endswith(".law")
    ]
    text = f"ppm of capacity lost: {', '.join(laws)}"
    if view.words("judge.exploited") == "yes":
        text += f"; SHALLOW CYCLES that {view.words('judge.strictest')} charges "
        text += f"{number(view.value('judge.strictest_ratio'), 1)} times as much for"
    return text


def _losses(view: View) -> str | None:
    """Energy lost in converter and cells, and its range over the scenarios."""
    lost, rows = view.value("energy_lost"), view.frames.get("scenarios")
    if lost is None or rows is None:
        return None
    least, most = float(rows["lost_mwh"].min()), float(rows["lost_mwh"].max())
    spread = f", {number(least, 3)} to {number(most, 3)} by scenario" if len(rows) > 1 else ""
    return f"{number(lost, 3)} MWh in converter and cells{spread}"


def _energy_strip(out: Console, view: View, most: int = 72) -> Text | None:
    """Mean stored energy over the horizon between empty and full, with local clock times below."""
    soc = view.frames.get("soc")
    if soc is None or not has_blocks(out) or out.width < most + LABEL + 4:
        return None
    levels = [float(value) for value in soc["mean_mwh"]]
    cells = most if len(levels) >= most else most // len(levels) * len(levels)
    full = float(view.config["battery"]["energy_mwh"])
    at = [min(len(levels) - 1, (i * len(levels)) // cells) for i in range(cells)]
    line = "".join(_BARS[1 + round(7 * min(1.0, max(0.0, levels[i] / full)))] for i in at)
    starts = list(soc["delivery_start_utc"])
    clocks = [" "] * (cells + 5)
    for start, local in _local_starts(view):
        if start in starts and local[11:] in ("00:00", "06:00", "12:00", "18:00"):
            column = starts.index(start) * cells // len(starts)
            clocks[column : column + 5] = local[11:]
    below = "".join(clocks).rstrip()
    return Text(line, "cyan").append(f"\n{below}" if below else "", "dim")


def _local_starts(view: View) -> Iterable[tuple[Any, str]]:
    bids = view.frames["bids"].drop_duplicates("start_utc")
    return zip(bids["start_utc"], bids["start_local"].astype(str), strict=True)


def _assumptions(out: Console, view: View) -> None:
    section(out, "Assumptions", "what the result rests on and no source verifies")
    bullets(out, view.assumptions or ("none",))


def _ending(out: Console, view: View) -> None:
    record = view.record
    section(out, "How to read this")
    foresight = record.formulation == "deterministic" and (
        view.config["scenarios"]["source"] == "realised"
    )
    texts = [_FORESIGHT if foresight else FORMULATIONS[record.formulation].reading]
    if record.formulation not in ("deterministic", "multi-stage"):
        texts.append(
            "Intraday trades and answers to calls are recourse: they differ by scenario and are no "
            "part of the offer."
        )
    elif record.formulation == "multi-stage":
        texts.append(
            f"{number(100 * (view.value('tree_foretold') or 0.0), 1)} % of the delivery no longer "
            f"branches and is told in advance. Nodes: {view.words('tree_nodes')}."
        )
    volatile = json.loads(record.volatile_json)
    how = f"Solved by {view.words('engine')} with {view.words('solver')}"
    if "wall_s" in volatile:
        how += f" in {number(volatile['wall_s'], 1)} s"
    if not record.reproducible:
        how += "; the clock decided where it stopped, so a repetition may differ"
    texts.append(f"{how}. Decisions see what was known before {view.words('gate')}.")
    where = "" if view.store_dir == DEFAULT_STORE else f" --store {quote(str(view.store_dir))}"
    again = f"`stochbess runs show {record.run_id[:8]}{where}`"
    texts.append(f"Stored in {view.store_dir}; {again} prints it again.")
    bullets(out, texts)
