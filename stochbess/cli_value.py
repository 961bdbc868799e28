"""The command `stochbess value`: what a stored decision earns without clairvoyant recourse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stochbess.cli_command import Progress, print_json
from stochbess.cli_options import ConfigOptions, JsonFlag, QuietFlag, option
from stochbess.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from stochbess.rolling import RollingValue
    from stochbess.rolling_forecast import Information
    from stochbess.rolling_run import RunValue
    from stochbess.run_record import RunRecord

_PRICES = ("auction", "gate")
_AMOUNTS = (
    ("undelivered energy, MWh", "undelivered_mwh", 3),
    ("reserve shortfall, MWh h", "reserve_shortfall_mwh_h", 3),
    ("imbalance, MWh", "imbalance_mwh", 2),
    ("full cycles", "full_cycles", 2),
)


def value(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="Run id or its beginning.")],
    lead: Annotated[
        float | None, option("--lead", "MIN", "Minutes from trade to delivery. Default: 30.")
    ] = None,
    prices: Annotated[
        str | None,
        option("--prices", "WHEN", "Intraday prices known at the auction (default) or the gate."),
    ] = None,
    safety: Annotated[
        float | None,
        option("--safety", "Q", "Keep energy for this quantile of unforeseen calls, as in 0.8."),
    ] = None,
    realised: Annotated[
        bool, option("--realised", None, "Also dispatch the day that really came.")
    ] = False,
    store: Annotated[
        Path | None, option("--store", "DIR", "Store. Default: as configured.")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:  # fmt: skip
    """Dispatch a stored decision step by step, without knowing the rest of the day.

    The profit of `solve` assumes a recourse that sees the whole day at once. Here the same bids are
    run by a dispatcher who learns calls in their quarter hour and trades before it.

    [bold]Examples[/bold]
      stochbess value 1f3a
      stochbess value 1f3a --realised
      stochbess value 1f3a --lead 60 --prices gate --safety 0.8
      stochbess value 1f3a --json --quiet > value.json
    """
    prices = _PRICES[0] if prices is None else prices
    if prices not in _PRICES:
        raise ConfigError(f"--prices {prices}: expected one of {', '.join(_PRICES)}.")
    store_dir = ConfigOptions().load().report.store_dir if store is None else store
    with Progress(quiet) as progress:
        progress("start", "loading the model and the solver")
        from stochbess.rolling_forecast import Information
        from stochbess.rolling_run import value_run
        from stochbess.store import Store

        information = Information(30.0 if lead is None else lead, prices, safety)  # type: ignore[arg-type]
        with Store(store_dir, read_only=True) as kept:
            record = kept.get(run_id)
            frames = kept.frames(record.run_id)
        found = value_run(record, frames, store_dir, information, realised=realised, tell=progress)
    if json:
        print_json(document(record, information, found))
        return
    from stochbess.cli_output import page

    with page() as out:
        show_value(out, record, information, found)


def document(record: RunRecord, information: Information, found: RunValue) -> dict[str, Any]:
    """The value of a run as one JSON document."""
    return {
        "run_id": record.run_id,
        "zone": record.zone,
        "day": record.day.isoformat(),
        "synthetic": record.synthetic,
        "data_sha256": record.data_sha256,
        "information": {
            "lead_min": information.lead_min,
            "intraday_prices": information.intraday_prices,
            "safety_frac": information.safety_frac,
        },
        "scenarios": _part(found.scenarios),
        "realised": None if found.realised is None else _part(found.realised),
    }


def _part(value: RollingValue) -> dict[str, Any]:
    from stochbess.cli_output import rows_of

    causes = value.expected_causes()
    return {
        "clairvoyant_eur": value.clairvoyant_eur,
        "nonanticipative_eur": value.rolling_eur,
        "optimism_eur": value.optimism_eur,
        "optimism_frac": value.optimism_frac,
        "causes_eur": {str(cause): float(eur) for cause, eur in causes.items()},
        "days": rows_of(value.days),
    }


def show_value(out: Console, record: RunRecord, information: Information, found: RunValue) -> None:
    """Profit with and without clairvoyance, why they differ, and how to read it."""
    from rich.text import Text

    from stochbess.cli_output import bullets, section, warn_synthetic

    title = f"value  {record.zone}  {record.day}  {record.formulation}  run {record.run_id[:8]}"
    out.print(Text("stochbess  ", "bold").append(title, "bold cyan"))
    if record.synthetic:
        warn_synthetic(out)
    n = len(found.scenarios.days)
    several = f"{n} scenarios, each in turn the true day" if n > 1 else "its one scenario"
    _show_part(out, found.scenarios, "In sample", several)
    if found.realised is not None:
        _show_part(out, found.realised, "The day that came", "forecast from all scenarios")
    section(out, "How to read this")
    gate = (
        "all day from the intraday auction on"
        if information.intraday_prices == "auction"
        else "only when their trades are decided"
    )
    cautious = (
        ""
        if information.safety_frac is None
        else f" Plans keep energy for the {information.safety_frac:.0%} quantile of unforeseen "
        "calls."
    )
    texts = [
        f"Calls are seen in their quarter hour, trades are decided {information.lead_min:g} min "
        f"before it, intraday prices are known {gate}.{cautious}",
        "Clairvoyant recourse sees all of them at once. Its profit is what `solve` prints; a real "
        "dispatch lies below it.",
        "The rolling profit is that of one rule, not of the best one: it plans with the expected "
        "calls. The optimism is an upper bound of what clairvoyance is worth.",
    ]
    if n == 1:
        texts.append("With one scenario the forecast is the truth: there is no optimism to see.")
    bullets(out, texts)


def _show_part(out: Console, value: RollingValue, title: str, note: str) -> None:
    from rich.text import Text

    from stochbess.cli_output import amount, indented, number, plain_table, section

    section(out, title, f"EUR over the horizon; {note}")
    several = len(value.days) > 1
    table = plain_table("", *(("expected", "worst") if several else ("EUR",)), left=("",))
    for words, name in (("clairvoyant recourse", "clairvoyant"), ("rolling dispatch", "rolling")):
        worst = amount(float(value.days[f"{name}_eur"].min()))
        table.add_row(words, amount(value.expected(f"{name}_eur")), *([worst] if several else []))
    share = f"optimism, {number(100 * value.optimism_frac, 1)} %"
    table.add_row(Text(share, "bold"), Text(number(value.optimism_eur), "bold"))
    for cause, eur in value.expected_causes().items():
        table.add_row(f"  by {cause}", number(float(eur), signed=True))
    indented(out, table)
    out.print()
    table = plain_table("", "clairvoyant", "rolling", left=("",))
    for words, name, digits in _AMOUNTS:
        table.add_row(
            words,
            number(value.expected(f"clairvoyant_{name}"), digits),
            number(value.expected(f"rolling_{name}"), digits),
        )
    indented(out, table)
