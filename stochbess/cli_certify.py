"""The command `stochbess certify`: what a decision is worth beyond its own scenarios."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from stochbess.cli_command import Progress, command, print_json
from stochbess.cli_options import CaseOptions, JsonFlag, QuietFlag, option

if TYPE_CHECKING:
    from rich.console import Console

    from stochbess.certify import Certification
    from stochbess.evaluate.sampling import MeanInterval

_SAMPLE = "Sampling"


def add_certify(app: typer.Typer) -> None:
    """Put the command `certify` into the program."""
    command(app, "certify")(certify)


def certify(
    options: CaseOptions,
    replications: Annotated[
        int, option("--replications", "M", "Samples that are solved. Default: 10.", _SAMPLE)
    ] = 10,
    out_of_sample: Annotated[
        int,
        option("--out-of-sample", "K", "Further scenarios to price on. Default: 500.", _SAMPLE),
    ] = 500,
    level: Annotated[
        float, option("--level", "P", "Confidence, as in 0.95 (default).", _SAMPLE)
    ] = 0.95,
    target: Annotated[
        float, option("--target", "FRAC", "Gap to plan scenarios for. Default: 0.01.", _SAMPLE)
    ] = 0.01,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Bound the gap of a decision statistically, and value it out of sample.

    The decision of `solve` is set against the best on M fresh samples of as many scenarios, and
    priced on K more. Finished parts are stored: the same command goes on where it was interrupted.

    [bold]Examples[/bold]
      stochbess certify --gap 0.001
      stochbess certify --n-scenarios 50 --replications 20 --out-of-sample 2000
      stochbess certify --scenarios model --markets day-ahead,intraday --json > certificate.json
    """
    config = options.load()
    with Progress(quiet) as progress:
        progress("start", "loading the model and the solver")
        from stochbess.certify import certify as job

        found = job(
            config,
            replications=replications,
            out_of_sample=out_of_sample,
            level=level,
            target_frac=target,
            progress=progress,
        )
    if json:
        print_json(document(found))
        return
    from stochbess.cli_output import page

    with page() as out:
        show_certification(out, found)


def document(found: Certification) -> dict[str, Any]:
    """The certificate as one JSON document; money in EUR."""
    from dataclasses import asdict

    return {
        "zone": found.zone,
        "day": found.day,
        "synthetic": found.synthetic,
        "run_id": found.run_id,
        "n_scenarios": found.n_scenarios,
        "decided_on": found.decided_on,
        "in_sample_eur": found.in_sample_eur,
        "first_stage": found.first_stage,
        "gap": asdict(found.gap) | {"upper_frac": found.gap_frac},
        "out_of_sample": asdict(found.value),
        "best": asdict(found.best),
        "target_frac": found.target_frac,
        "needed": None if found.needed is None else asdict(found.needed),
        "population": asdict(found.population),
        "replications": [
            asdict(one) | {"gap_eur": one.gap_eur, "unproven_eur": one.unproven_eur}
            for one in found.replications
        ],
        "kept": found.kept,
        "cut_short": found.cut_short,
    }


def show_certification(out: Console, found: Certification) -> None:
    """The certificate in tables and sentences."""
    from stochbess.cli_output import bullets, indented, number, pairs, section, warn_synthetic

    if found.synthetic:
        warn_synthetic(out)
    about = f"{found.zone}  {found.day}"
    made = f"  {found.decided_on} scenarios" if found.decided_on else ""
    section(out, "Decision", about + made)
    indented(
        out,
        pairs(
            ("run", found.run_id or "handed in"),
            ("in sample", f"{number(found.in_sample_eur)} EUR"),
            ("out of sample", _interval(found.value)),
            ("priced on", f"{found.value.n} scenarios of their own"),
        ),
    )
    gap = found.gap
    section(out, "Optimality gap", f"{gap.replications} samples of {found.n_scenarios} scenarios")
    indented(
        out,
        pairs(
            (
                f"at {gap.level:.0%} within",
                f"[0, {number(gap.upper_eur)}] EUR, {found.gap_frac:.2%} of the profit",
            ),
            ("mean of the samples", f"{number(gap.mean_eur)} ± {number(gap.std_eur)} EUR"),
            ("left by the solver", f"{number(gap.unproven_eur)} EUR of it"),
            ("best on the samples", _interval(found.best)),
        ),
    )
    section(out, f"Scenarios for a gap of {found.target_frac:.1%}")
    indented(out, pairs(("recommended", _needed(found))))
    section(out, "What this says")
    bullets(out, remarks(found))


def _interval(value: MeanInterval) -> str:
    from stochbess.cli_output import number

    half = (value.high_eur - value.low_eur) / 2
    return f"{number(value.mean_eur)} ± {number(half)} EUR at {value.level:.0%}"


def _needed(found: Certification) -> str:
    needed = found.needed
    if needed is None:
        return "-  (the profit is zero)"
    if needed.slow is None or needed.fast is None:
        return "-  (the solver alone leaves more: set a smaller --gap)"
    if found.gap.upper_eur <= needed.target_eur:
        return f"{needed.slow:,} as now: the bound is below; fewer were not tried"
    text = f"{needed.slow:,}, if the bias falls slowly; {needed.fast:,} if fast"
    atoms = found.population.atoms
    if atoms is not None and needed.slow >= atoms:
        text += f"; there are {atoms} distinct ones"
    return text


def remarks(found: Certification) -> list[str]:
    """What limits the certificate, one sentence each."""
    said = [f"Drawn from: {found.population.note}."]
    if found.population.source == "analog":
        said.append(
            "The population is finite, and more draws repeat its days. Up to as many, `solve` "
            "takes different days and weighs them equally: a population a little different."
        )
    if found.population.source == "file" and found.decided_on:
        said.append(
            "`solve` decides on all scenarios of the file, so that its own gap already is the gap "
            "on this population; what sampling adds here says what fewer of them would lose."
        )
    said.append(
        "The interval of the gap holds the gap against the best decision of this model on this "
        "population, not against the market."
    )
    if found.gap.std_eur == 0:
        said.append("All samples agree, which a spread of zero cannot tell from chance.")
    elif found.gap.replications < 10:
        said.append(
            f"{found.gap.replications} replications make a wide interval, and one that leans on "
            "their being normal; 10 or more are better."
        )
    said.append(
        "The recommended number extrapolates the bound by powers of the number of scenarios, for "
        "a decision made anew with as many: a plan, no promise."
    )
    if found.cut_short:
        said.append("A time limit ended a solve: bounds hold, a repetition may differ.")
    return said
