"""The command `stochbess backtest`: policies live the same days, one after the other."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stochbess.cli_command import Progress, command, print_json, require_folder
from stochbess.cli_options import CaseOptions, JsonFlag, QuietFlag, option
from stochbess.errors import ConfigError

if TYPE_CHECKING:
    from stochbess.backtest import Backtest, Request
    from stochbess.evaluate.shadow import Uplift

_DAYS, _KNOWN, _SHOWN = "Days and policies", "Information", "Results"
_DEFAULT = "idle,rule,one-lot,two-stage"


def add_backtest(app: typer.Typer) -> None:
    """Put the command `backtest` into the program."""
    command(app, "backtest")(backtest)


def backtest(
    options: CaseOptions,
    policy: Annotated[
        str, option("--policy", "LIST", f"Who decides. Default: {_DEFAULT}.", _DAYS)
    ] = _DEFAULT,
    first: Annotated[
        str | None, option("--from", "YYYY-MM-DD", "First delivery day.", _DAYS)
    ] = None,
    last: Annotated[str | None, option("--to", "YYYY-MM-DD", "Last delivery day.", _DAYS)] = None,
    every: Annotated[
        int, option("--every", "K", "Live one block of days of K. Default: 1, all.", _DAYS)
    ] = 1,
    block: Annotated[
        int, option("--block", "N", "Days in a row that make a block. Default: 1.", _DAYS)
    ] = 1,
    workers: Annotated[
        int, option("--workers", "N", "Processes; each takes policies. Default: 1.", _DAYS)
    ] = 1,
    depth: Annotated[
        str | None,
        option("--depth", "LIST", "Merit-order depths in MW, as in 100,300. Default: one.", _DAYS),
    ] = None,
    lead: Annotated[
        float, option("--lead", "MIN", "Minutes from trade to delivery. Default: 30.", _KNOWN)
    ] = 30.0,
    prices: Annotated[
        str,
        option("--prices", "WHEN", "Intraday prices known at the auction or the gate.", _KNOWN),
    ] = "auction",
    safety: Annotated[
        float | None,
        option("--safety", "Q", "Keep energy for this quantile of unforeseen calls.", _KNOWN),
    ] = None,
    against: Annotated[
        str | None,
        option("--against", "LIST", "Shadow account: set every policy against these.", _SHOWN),
    ] = None,
    picture: Annotated[
        Path | None, option("--picture", "FILE", "Draw the profit: .svg, .png or .pdf.", _SHOWN)
    ] = None,
    csv: Annotated[
        Path | None, option("--csv", "FILE.csv", "Also write every day as CSV.", _SHOWN)
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Let policies live days of the past, each knowing only what was known then.

    Bids are made at the gates, dispatch goes step by step, the battery ages, and the day is settled
    apart from the model. Finished days are stored: the same command goes on where it stopped.

    Policies: idle, rolling-intrinsic, rule, sequential, deterministic, constant-activation,
    activation-quantile, derated, one-lot, full-activation, fcr-only, two-stage, two-stage-cvar,
    and perfect-foresight, a bound on all of them.

    [bold]Examples[/bold]
      stochbess backtest --from 2024-06-26 --to 2024-06-28 --n-scenarios 5
      stochbess backtest --policy rule,two-stage --against rule --from 2024-04-01 --to 2024-12-31
      stochbess backtest --from 2024-04-01 --to 2024-12-31 --every 3 --block 7 --workers 2
      stochbess backtest --depth 100,300 --from 2024-06-01 --to 2024-06-30 --json > june.json
    """
    requests = _requests(options, policy, first, last, every, block, depth, lead, prices, safety)
    if workers < 1:
        raise ConfigError(f"--workers {workers}: expected a whole number from 1 on.")
    rivals = [] if against is None else _names(against)
    odd = [name for name in rivals if name not in requests[0].walked]
    if odd:
        raise ConfigError(
            f"--against {against}: {', '.join(odd)} lived no day; expected some of "
            f"{', '.join(requests[0].walked)}. Add it to --policy."
        )
    if picture is not None:
        from stochbess.cli_picture import require_picture

        require_picture(picture)
    if csv is not None:
        require_folder(csv, (".csv",))
    with Progress(quiet) as progress:
        progress("start", "loading the model and the solver")
        from stochbess.backtest import backtest as job

        found = [job(request, workers=workers, progress=progress) for request in requests]
    accounts = [_accounts(one, rivals) for one in found]
    _write(found, picture, csv)
    if json:
        print_json([document(one, ups) for one, ups in zip(found, accounts, strict=True)])
        return
    from stochbess.cli_backtest_tables import show_backtest
    from stochbess.cli_output import page

    with page() as out:
        for one, ups in zip(found, accounts, strict=True):
            show_backtest(out, one, ups)


def _requests(
    options: CaseOptions, policy: str, first: str | None, last: str | None, every: int, block: int,
    depth: str | None, lead: float, prices: str, safety: float | None,
) -> list[Request]:  # fmt: skip
    """What is asked for, once for every depth; all faults before any work."""
    if options.day is not None or options.days is not None:
        raise ConfigError("a backtest has no --day and --days; expected --from and --to.")
    config = options.load()
    if prices not in ("auction", "gate"):
        raise ConfigError(f"--prices {prices}: expected auction or gate.")
    from stochbess.backtest import Request, with_depth
    from stochbess.rolling_forecast import Information

    information = Information(lead, prices, safety)  # type: ignore[arg-type]  # checked above
    request = Request(
        config, tuple(_names(policy)), _day("--from", first), _day("--to", last), every, block,
        information,
    )  # fmt: skip
    if depth is None:
        return [request]
    try:
        depths = [float(word) for word in depth.split(",")]
    except ValueError:
        depths = [-1.0]
    if not all(0 <= mw < float("inf") for mw in depths):
        raise ConfigError(f"--depth {depth}: expected megawatts from 0 on, as in 100,300.")
    return [with_depth(request, mw) for mw in depths]


def _names(text: str) -> list[str]:
    return [name.strip().lower().replace("_", "-") for name in text.split(",")]


def _day(typed: str, text: str | None) -> date:
    if text is None:
        raise ConfigError(
            f"{typed} is missing; expected a delivery day such as {typed} 2024-06-26."
        )
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{typed} {text}: expected a day YYYY-MM-DD.") from None


def _accounts(found: Backtest, rivals: list[str]) -> list[Uplift]:
    """Every policy but the idle one against every rival; one day allows no comparison."""
    if not rivals or len(found.request.days) < 2:
        return []
    from stochbess.backtest_policies import IDLE
    from stochbess.evaluate.shadow import uplift

    seed = found.request.config.seed
    return [
        uplift(found.days, name, rival, seed)
        for rival in rivals
        for name in found.request.walked
        if name not in (rival, IDLE)
    ]


def _write(found: list[Backtest], picture: Path | None, csv: Path | None) -> None:
    """Files beside the tables; of several depths the first is drawn."""
    if picture is not None:
        from stochbess.cli_backtest_tables import picture_of
        from stochbess.reports.bundle import write_file

        write_file(picture, picture_of(found[0], picture.suffix.lower().removeprefix(".")))
    if csv is not None:
        import pandas as pd

        from stochbess.reports.bundle import write_file

        depths = [one.request.config.markets.afrr.depth_mw for one in found]
        frames = [one.days.assign(depth_mw=mw) for one, mw in zip(found, depths, strict=True)]
        text = pd.concat(frames).drop(columns="assumptions", errors="ignore").to_csv(index=False)
        write_file(csv, text.encode())


def document(found: Backtest, accounts: list[Uplift]) -> dict[str, Any]:
    """A backtest as one JSON document; money in EUR."""
    from dataclasses import asdict

    from stochbess.cli_backtest_tables import summary
    from stochbess.cli_output import rows_of
    from stochbess.evaluate.claims import monthly_products

    request = found.request
    return {
        "identity": found.identity,
        "zone": found.zone,
        "synthetic": found.synthetic,
        "data_sha256": found.data_sha256,
        "reproducible": found.reproducible,
        "depth_mw": request.config.markets.afrr.depth_mw,
        "n_days": len(request.days),
        "information": asdict(request.information),
        "perfect_foresight_bound_eur": found.bound_eur,
        "policies": rows_of(summary(found)),
        "months": {
            name: rows_of(
                monthly_products(found.days[found.days["policy"] == name], found.power_mw)
            )
            for name in request.walked
        },
        "shadow": [
            {
                "policy": one.policy,
                "against": one.against,
                "verdict": one.verdict,
                "uplift_eur_day": asdict(one.mean),
                "uplift_frac": one.uplift_frac,
                "detectable_eur_day": one.detectable_eur,
                "even_weeks": None if one.even is None else asdict(one.even),
                "odd_weeks": None if one.odd is None else asdict(one.odd),
                "reconciled": one.reconciled,
                "lines": rows_of(one.lines),
                "losing_days": rows_of(one.losing),
            }
            for one in accounts
        ],
        "days": rows_of(found.days),
        "assumptions": list(found.assumptions),
    }
