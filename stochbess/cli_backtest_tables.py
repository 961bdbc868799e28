"""Tables and the picture of a backtest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
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
from stochbess.evaluate.claims import BAND_SOURCE, PRODUCTS, band_check, monthly_products
from stochbess.evaluate.shadow import EQUIVALENT_FRAC, cumulative

if TYPE_CHECKING:
    from rich.console import Console

    from stochbess.backtest import Backtest
    from stochbess.evaluate.paired import PairedMean
    from stochbess.evaluate.shadow import Uplift

_LOSING_SHOWN = 5
# Penalties above this share of a profit are spoken of: what they cost is an assumption.
_DEAR_FRAC = 0.05


def summary(found: Backtest) -> pd.DataFrame:
    """One row per policy: money per day, the share of the bound, the battery, the checks."""
    rows = []
    for policy in found.request.walked:
        days = found.days[found.days["policy"] == policy]
        total = float(days["profit_eur"].sum())
        band = band_check(float(days["cash_eur"].sum()), found.power_mw, float(days["hours"].sum()))
        laws = [str(name) for name in days if str(name).startswith("loss_")]
        rows.append(
            {
                "policy": policy,
                "days": len(days),
                "profit_eur": total,
                "profit_eur_day": total / len(days),
                "worst_day_eur": float(days["profit_eur"].min()),
                "share_of_bound": None if not found.bound_eur else total / found.bound_eur,
                "revenue_eur_mw_month": band.eur_mw_month,
                "band": band.verdict,
                "penalties_eur_day": -float(
                    days[["cash_undelivered_penalty", "cash_reserve_shortfall_penalty"]]
                    .sum(axis=1)
                    .mean()
                ),
                "imbalance_mwh_day": float(days["imbalance_mwh"].mean()),
                "cycles_day": float(days["full_cycles"].mean()),
                "capacity_lost_frac": {
                    law[len("loss_") :]: float(days[law].iloc[-1]) for law in laws
                },
                "breaches": [text for text in days["breaches"] if text],
                "refused": int(days["refused"].sum()),
                "cut_short": int(days["cut_short"].sum()),
                "cpu_s_day": found.cpu_s_per_day.get(policy),
            }
        )
    return pd.DataFrame(rows)


def show_backtest(out: Console, found: Backtest, accounts: Sequence[Uplift]) -> None:
    """What every policy earned, by product and month, what it is worth, and what limits it."""
    request = found.request
    depth = request.config.markets.afrr.depth_mw
    days = request.days
    title = f"backtest  {found.zone}  {days[0]} to {days[-1]}  {len(days)} days  depth {depth:g} MW"
    out.print(Text("stochbess  ", "bold").append(title, "bold cyan"))
    if found.synthetic:
        warn_synthetic(out)
    table = summary(found)
    _show_policies(out, found, table)
    _show_claims(out, found, table)
    for one in accounts:
        _show_account(out, one)
    section(out, "How to read this")
    bullets(out, remarks(found, table))


def _show_policies(out: Console, found: Backtest, rows: pd.DataFrame) -> None:
    section(out, "Policies", "EUR per day, after aging and the change of stored energy")
    table = plain_table(
        "policy", "profit", "worst day", "of bound", "penalties", "imbalance, MWh", "cycles",
        "CPU s", left=("policy",),
    )  # fmt: skip
    for row in rows.to_dict("records"):
        share = row["share_of_bound"]
        table.add_row(
            str(row["policy"]),
            amount(row["profit_eur_day"]),
            amount(row["worst_day_eur"], 0),
            "-" if share is None or pd.isna(share) else f"{100 * share:.1f} %",
            number(row["penalties_eur_day"], 0),
            number(row["imbalance_mwh_day"], 2),
            number(row["cycles_day"], 2),
            number(row["cpu_s_day"], 1),
        )
    if found.bound_eur is not None:
        bound = found.bound_eur / len(found.request.days)
        table.add_row("perfect foresight", amount(bound), "", "bound", "", "", "", "")
    indented(out, table)


def _show_claims(out: Console, found: Backtest, rows: pd.DataFrame) -> None:
    for policy in found.request.walked:
        months = monthly_products(found.days[found.days["policy"] == policy], found.power_mw)
        held = [name for name in PRODUCTS if months[name].abs().max() >= 0.5]
        if not held:
            continue
        section(out, f"Revenue of {policy}", "EUR per MW and month, before aging")
        table = plain_table("month", "days", *held, "all", left=("month",))
        for row in months.to_dict("records"):
            cells = [number(row[name], 0) for name in (*held, "revenue")]
            table.add_row(row["month"], str(row["days"]), *cells)
        indented(out, table)
    section(out, "Claims", f"published band 6,750 to 19,100 EUR/MW/month: {BAND_SOURCE}")
    texts = [
        f"{row['policy']}: {number(row['revenue_eur_mw_month'], 0)} EUR/MW/month, {row['band']}."
        for row in rows.to_dict("records")
    ]
    broken = [f"{r['policy']}: {t}" for r in rows.to_dict("records") for t in r["breaches"]]
    texts.append(
        "BREACH of power times hours times price: " + "; ".join(broken)
        if broken
        else "No line of any day exceeds power times hours times price."
    )
    bullets(out, texts)


def _show_account(out: Console, one: Uplift) -> None:
    mean = one.mean
    section(out, f"Shadow account: {one.policy} over {one.against}", "EUR per day")
    rows = [
        ("uplift", f"{_interval(mean)}  ({100 * one.uplift_frac:+.1f} %)"),
        ("verdict", _verdict(one)),
        ("smallest effect", f"{number(one.detectable_eur)} would be found with 80 % probability"),
        ("even weeks", "-" if one.even is None else _interval(one.even)),
        ("odd weeks", "-" if one.odd is None else _interval(one.odd)),
        ("account", "every day to the cent" if one.reconciled else "DOES NOT RECONCILE"),
        ("losing days", _losing(one)),
    ]
    indented(out, pairs(*rows))
    out.print()
    table = plain_table("line", one.policy, one.against, "difference", left=("line",))
    for row in one.lines.to_dict("records"):
        if abs(row["policy"]) < 0.005 and abs(row["against"]) < 0.005:
            continue
        table.add_row(
            str(row["line"]).replace("_", " "),
            number(row["policy"]),
            number(row["against"]),
            number(row["difference"], signed=True),
        )
    indented(out, table)


def _interval(mean: PairedMean) -> str:
    return (
        f"{number(mean.mean, signed=True)} [{number(mean.low, signed=True)}, "
        f"{number(mean.high, signed=True)}] at {mean.level:.0%}, {mean.n} days"
    )


def _verdict(one: Uplift) -> str:
    words = {
        "superior": "superior",
        "equivalent": f"equivalent within {EQUIVALENT_FRAC:.1%}",
        "worse": "worse",
        "not resolved": "not resolved: the interval holds zero and more than the margin",
    }
    return words[one.verdict]


def _losing(one: Uplift) -> str:
    n, total = len(one.losing), one.mean.n
    if not n:
        return f"0 of {total}"
    shown = ", ".join(
        f"{row['day']} ({number(row['difference_eur'], 0)})"
        for row in one.losing.head(_LOSING_SHOWN).to_dict("records")
    )
    return f"{n} of {total}; worst: {shown}"


def remarks(found: Backtest, rows: pd.DataFrame) -> list[str]:
    """What limits the result, one sentence each."""
    texts = [
        "Bids know what was known at the gate, dispatch what has been revealed; all policies share "
        "dispatch, scenarios and the value of stored energy.",
        "The dispatch is one rule and not the best one; perfect foresight knows every call of all "
        "days beforehand and is out of reach.",
        "The battery is a price taker, and capacity bids are awarded with certainty.",
    ]
    texts += [
        f"{row['policy']} paid {number(row['penalties_eur_day'], 0)} EUR a day in penalties, which "
        "are a deterrent and no tariff; before them it earned "
        f"{number(row['profit_eur_day'] + row['penalties_eur_day'], 0)}."
        for row in rows.to_dict("records")
        if row["penalties_eur_day"] > _DEAR_FRAC * abs(row["profit_eur_day"])
    ]
    request = found.request
    if request.every > 1:
        texts.append(
            f"{request.block} of every {request.every * request.block} days were lived; between "
            "them the battery rests as it was left, without aging."
        )
    if len(request.days) < 28:
        texts.append(f"{len(request.days)} days are few: intervals from so few blocks are narrow.")
    if not found.reproducible:
        texts.append("A time limit ended a solve: a repetition may differ.")
    return texts + [text for text in found.assumptions if not text.startswith("All market data")]


def picture_of(found: Backtest, form: str) -> bytes:
    """Profit over the days as a picture; the same backtest gives the same bytes."""
    from stochbess.reports.figures_backtest import ProfitCurves, backtest_picture

    curves = {
        name: (days, profit.tolist()) for name, (days, profit) in cumulative(found.days).items()
    }
    about = (
        f"{len(found.request.days)} days, {found.request.config.scenarios.n} scenarios, "
        f"backtest {found.identity[:8]}, data {found.data_sha256[:12]}"
    )
    return backtest_picture(
        ProfitCurves(found.zone, found.synthetic, about, curves, found.bound_eur), form
    )
