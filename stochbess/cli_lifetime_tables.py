"""A lifetime study as plain data, as tables of at most 100 columns, and as advice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from stochbess.battery.aging import Band
from stochbess.battery.lifetime import Life, Terms
from stochbess.cli_output import (
    bullets,
    has_blocks,
    indented,
    number,
    plain_table,
    section,
    warn_synthetic,
)
from stochbess.lifetime import Study, Use

# What a price of one law has to keep of the optimum of another.
KEPT_FRAC = 0.98
_TOP_FLAGS = 6


# ------------------------------------------------------------------------------------ the document


def document(study: Study, free: Study | None = None) -> dict[str, Any]:
    """The study as plain data; `free` is the same one without the throughput floor."""
    verdict = study.verdicts[0]
    return {
        "zone": study.zone,
        "synthetic": study.synthetic,
        "days": [
            {"day": str(day), "days_per_year": float(weight)}
            for day, weight in zip(study.days.day, study.days.days_per_year, strict=True)
        ],
        "days_chosen_from": study.days.n_year,
        "spread_error_frac": study.days.spread_error_frac,
        "aging_model": study.config.aging.model,
        "calendar_frac": study.calendar_frac,
        "floor_eur_mwh": study.floor_eur_mwh,
        "naive_eur_kwh": study.naive_eur_kwh,
        "use": [
            {
                "price_eur_kwh": use.price_eur_kwh,
                "revenue_eur_kwh_year": use.revenue_eur_kwh_year,
                "full_cycles_per_day": use.full_cycles_per_day,
                "shallow_frac": use.shallow_frac,
                "mean_degc": use.mean_degc,
                "shortfall_mwh_year": use.shortfall_mwh_year,
            }
            for use in study.uses
        ],
        "terms": [_terms_document(study, i) for i in range(len(study.terms))],
        "recommended": {
            "price_eur_kwh": study.robust_eur_kwh,
            "set": list(study.settings),
            "worst_law": verdict.worst_of(verdict.robust)[0],
            "kept_frac": verdict.worst_of(verdict.robust)[1],
        },
        "shallow_alarm_eur_kwh": [use.price_eur_kwh for use in study.shallow_alarms()],
        "floor_cost_eur_kwh": None if free is None else _floor_costs(study, free),
        "outside_tests": [flag.text for flag in _recommended_use(study).flags],
    }


def _terms_document(study: Study, i: int) -> dict[str, Any]:
    terms, verdict, fixed = study.terms[i], study.verdicts[i], study.fixed[i]
    laws = {}
    for law in study.laws:
        laws[law] = {
            "npv_eur_kwh": [life.npv_eur_kwh for life in study.lives[law, i]],
            "years": [life.years for life in study.lives[law, i]],
            "full_cycles": [life.full_cycles for life in study.lives[law, i]],
            "best_eur_kwh": study.best(law, i).price_eur_kwh,
            "gain_over_none_frac": _gain(study.best(law, i), study.life(law, i, 0.0)),
            "gain_over_naive_frac": _gain(
                study.best(law, i), study.life(law, i, study.naive_eur_kwh)
            ),
            "fixed_point_eur_kwh": fixed.price_eur_kwh if law == study.laws[0] else None,
        }
    return {
        "wacc_frac": terms.wacc_frac,
        "end_of_life_frac": terms.end_of_life_frac,
        "max_years": terms.max_years,
        "replacements": terms.replacements,
        "price_eur_kwh": study.price_eur_kwh.tolist(),
        "laws": laws,
        "kept_frac": {
            law: dict(zip(study.laws, row.tolist(), strict=True))
            for law, row in zip(study.laws, verdict.matrix, strict=True)
        },
        "kept_by_all_frac": {
            law: {"mean": float(row.mean()), "worst": float(row.min())}
            for law, row in zip(study.laws, verdict.matrix, strict=True)
        },
        "robust_eur_kwh": float(study.price_eur_kwh[verdict.robust]),
        "robust_keeps_frac": verdict.worst_of(verdict.robust)[1],
        "robust_npv_band_eur_kwh": dict(zip(("low", "mean", "high"), _band(study, i), strict=True)),
    }


def _band(study: Study, i: int) -> tuple[float, float, float]:
    """Value of a life at the robust price as the laws see it [EUR/kWh]."""
    verdict = study.verdicts[i]
    band = Band(dict(zip(study.laws, verdict.npv_eur_kwh[:, verdict.robust].tolist(), strict=True)))
    return band.low, band.mean, band.high


def _gain(better: Life, than: Life) -> float | None:
    return better.npv_eur_kwh / than.npv_eur_kwh - 1 if than.npv_eur_kwh > 0 else None


def _floor_costs(study: Study, free: Study) -> dict[str, float]:
    """What the floor costs each law at its best price, under the first terms [EUR/kWh]."""
    return {
        law: free.best(law, 0).npv_eur_kwh - study.best(law, 0).npv_eur_kwh for law in study.laws
    }


def _recommended_use(study: Study) -> Use:
    return study.uses[study.position(study.robust_eur_kwh)]


# ------------------------------------------------------------------------------------- the tables


def words_of(terms: Terms) -> str:
    more = f", {terms.replacements} replaced" if terms.replacements else ""
    return f"WACC {100 * terms.wacc_frac:g} %, EOL {100 * terms.end_of_life_frac:g} %{more}"


def pricing_of(study: Study) -> str:
    """What the price of aging acts on."""
    if study.config.aging.model == "segments":
        return "cycling priced by segments"
    return "cycling" + (" and calendar aging" if study.calendar_frac else "") + " priced by cuts"


def show_study(out: Console, study: Study, free: Study | None) -> None:
    """The study on a terminal."""
    out.print(
        Text("stochbess  ", "bold")
        .append(f"lifetime  {study.zone}  ", "bold cyan")
        .append(
            f"{len(study.days.day)} of {study.days.n_year} days, {pricing_of(study)}", "not bold"
        )
    )
    if study.synthetic:
        warn_synthetic(out)
    _show_best(out, study)
    _show_curve(out, study)
    _show_use(out, study)
    _show_judge(out, study)
    if free is not None:
        section(out, "What the floor costs", f"{study.floor_eur_mwh:g} EUR/MWh withdrawn")
        costs = _floor_costs(study, free)
        lines = (f"{law}: {cost:.1f} EUR/kWh of its best value" for law, cost in costs.items())
        bullets(out, lines)
    _show_advice(out, study)


def _show_best(out: Console, study: Study) -> None:
    section(
        out, "Value of a life", "EUR/kWh of nameplate before the investment; prices per kWh lost"
    )
    heads = ("no price", f"naive {study.naive_eur_kwh:g}", "best", "at", "over none", "over naive",
             "years", "cycles")  # fmt: skip
    table = plain_table("terms, law", *heads, left=("terms, law",))
    table.padding = (0, 2, 0, 0)
    for i, terms in enumerate(study.terms):
        table.add_row(words_of(terms), style="dim")
        for law in study.laws:
            best, none = study.best(law, i), study.life(law, i, 0.0)
            naive = study.life(law, i, study.naive_eur_kwh)
            table.add_row(
                f"  {law}",
                number(none.npv_eur_kwh, 1),
                number(naive.npv_eur_kwh, 1),
                number(best.npv_eur_kwh, 1),
                number(best.price_eur_kwh, 0),
                _percent(_gain(best, none)),
                _percent(_gain(best, naive)),
                number(best.years, 1) + (" cal" if best.ended_by == "calendar" else ""),
                number(best.full_cycles, 0),
            )
    indented(out, table)


def _percent(gain: float | None) -> str:
    return "-" if gain is None else f"{number(100 * gain, 1, signed=True)} %"


def _show_curve(out: Console, study: Study) -> None:
    section(out, "Value against price", f"EUR/kWh, {words_of(study.terms[0])}; years in brackets")
    table = plain_table("price", *study.laws, "", left=("",))
    mark = "█" if has_blocks(out) else "#"
    first = study.lives[study.laws[0], 0]
    high = max(life.npv_eur_kwh for life in first)
    low = min(life.npv_eur_kwh for life in first)
    best = {law: study.best(law, 0).price_eur_kwh for law in study.laws}
    for p, price in enumerate(study.price_eur_kwh.tolist()):
        cells = []
        for law in study.laws:
            life = study.lives[law, 0][p]
            cell = Text(f"{number(life.npv_eur_kwh, 1)} ({life.years:4.1f})")
            cell.stylize("bold green" if best[law] == price else "")
            cells.append(cell)
        part = (first[p].npv_eur_kwh - low) / (high - low) if high > low else 1.0
        table.add_row(number(price, 0), *cells, Text(mark * (1 + round(22 * part)), "cyan"))
    indented(out, table)


def _show_use(out: Console, study: Study) -> None:
    section(out, "Use of a new battery", "shallow: energy in half cycles less deep than any tested")
    heads = ("EUR/kWh a year", "full cycles a day", "shallow", "cells degC")
    table = plain_table("price", *heads)
    for use in study.uses:
        table.add_row(
            number(use.price_eur_kwh, 0),
            number(use.revenue_eur_kwh_year, 1),
            number(use.full_cycles_per_day, 2),
            f"{100 * use.shallow_frac:.0f} %",
            number(use.mean_degc, 1),
        )
    indented(out, table)


def _show_judge(out: Console, study: Study) -> None:
    section(out, "Foreign judges", "value that the best price of one law keeps by another")
    for i, verdict in enumerate(study.verdicts):
        columns = (*(f"by {law}" for law in study.laws), "mean", "worst")
        table = plain_table(words_of(study.terms[i]), *columns, left=(words_of(study.terms[i]),))
        rows = [
            (f"best of {law}, {study.best(law, i).price_eur_kwh:,.0f}", verdict.matrix[a])
            for a, law in enumerate(study.laws)
        ]
        robust = verdict.robust
        rows.append((f"robust, {study.price_eur_kwh[robust]:,.0f}", verdict.kept_frac[:, robust]))
        for name, kept in rows:
            cells = [
                Text(f"{100 * share:.1f} %", "green" if share >= KEPT_FRAC else "red")
                for share in (*kept.tolist(), float(kept.mean()), float(kept.min()))
            ]
            table.add_row(name, *cells)
        indented(out, table)


def _show_advice(out: Console, study: Study) -> None:
    section(out, "Price to use")
    bullets(out, advice(study))


def advice(study: Study) -> Sequence[str]:
    """What the study recommends, what it rests on, and where it fails."""
    verdict, fixed = study.verdicts[0], study.fixed[0]
    price = study.robust_eur_kwh
    law, kept = verdict.worst_of(verdict.robust)
    low, mean, high = _band(study, 0)
    texts = [
        f"{price:,.0f} EUR per kWh lost loses least by any law ({words_of(study.terms[0])}): "
        f"{law} keeps {100 * kept:.1f} % of its own optimum. Put it into force with "
        + " ".join(f"--set {item}" for item in study.settings)
        + ".",
        f"A life is then worth {low:.0f} to {high:.0f} EUR/kWh by the laws, {mean:.0f} on average.",
    ]
    if kept < KEPT_FRAC:
        texts.append(
            f"No price keeps {100 * KEPT_FRAC:g} % by every law: they disagree on what aging "
            "costs. A choice of law is a choice of price; measure your cells."
        )
        ended = [one for one in study.laws if study.life(one, 0, 0.0).ended_by == "calendar"]
        if ended:
            texts.append(
                f"By {', '.join(ended)} the calendar limit of {study.terms[0].max_years:g} years "
                "ends even a life without a price, so that health is worth little; see --max-years."
            )
    crossing = "returns itself" if fixed.inside else "is the nearest end of the grid"
    texts.append(
        f"Marginal value of health by {study.laws[0]}: {fixed.price_eur_kwh:,.0f} EUR per kWh lost "
        f"{crossing}; the best of the grid is {study.best(study.laws[0], 0).price_eur_kwh:,.0f}."
    )
    alarms = study.shallow_alarms()
    if alarms:
        prices = ", ".join(f"{use.price_eur_kwh:,.0f}" for use in alarms)
        texts.append(
            f"SHALLOW CYCLES: at {prices} most energy moves in cycles less deep than any that was "
            "tested; what they cost is extrapolated and may be exploited. --floor, or the key "
            "aging.floor_eur_mwh, adds a price to every MWh."
        )
    texts += [flag.text for flag in _recommended_use(study).flags[:_TOP_FLAGS]]
    texts.append(
        f"Perfect foresight of {len(study.days.day)} days, {study.days.n_year} to choose from, "
        f"whose mean spread is {100 * study.days.spread_error_frac:+.1f} % off. Compare prices of "
        "aging by it; it is no forecast of a lifetime."
    )
    return texts
