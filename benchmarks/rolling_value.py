"""What clairvoyant recourse adds to decisions with few and with many lots (docs/rolling.md).

    python benchmarks/rolling_value.py
    python benchmarks/rolling_value.py --set market.data_dir=market --set market.day=2024-06-26

The two-stage decision and the decision for the mean scenario with reserve derated to one lot are
dispatched step by step; every scenario in turn is the true day. One line per decision and rule.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from stochbess.assemble import Case, build_case
from stochbess.config import load_config
from stochbess.decide import Problem
from stochbess.errors import DataError
from stochbess.rolling import nonanticipative_value, realised_series
from stochbess.rolling_forecast import Information
from stochbess.run import effort_of
from stochbess.valuation import mean_series

RULES = {
    "mean plan": Information(),
    "mean plan, safety 0.7": Information(safety_frac=0.7),
    "mean plan, safety 0.8": Information(safety_frac=0.8),
    "mean plan, safety 0.9": Information(safety_frac=0.9),
    "lead 0": Information(0.0),
    "lead 60 min": Information(60.0),
    "prices at the gate": Information(intraday_prices="gate"),
}


def decisions(case: Case, problem: Problem) -> Iterator[tuple[str, dict[str, float]]]:
    """The two-stage decision, and the mean-scenario decision with at most so many lots."""
    effort = effort_of(case.config)
    found = problem.decide(case.series, case.probability, effort)
    print(f"two-stage: gap {found.gap_frac:.2%}", flush=True)
    yield "two-stage", found.first_stage
    for lots in (1, 0):
        reserves = replace(
            case.data.reserves,
            fcr_max_mw=lots * case.data.reserves.fcr_lot_mw,
            afrr_max_mw=lots * case.data.reserves.afrr_lot_mw,
        )
        rule = Problem(replace(case.data, reserves=reserves), "two-stage")
        decided = rule.decide(mean_series(case), np.ones(1), effort, engine="extensive")
        yield f"mean, {lots} lot(s)", decided.first_stage


def lots_of(first_stage: dict[str, float]) -> str:
    """Lots per block of each product."""
    names = ("fcr", "afrr_up", "afrr_down")
    held = {
        name: [round(v) for key, v in first_stage.items() if key.startswith(f"{name}_lots")]
        for name in names
    }
    return "  ".join(f"{name} {''.join(map(str, lots))}" for name, lots in held.items() if lots)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    case = build_case(load_config(None, parser.parse_args().set))
    problem, effort = Problem(case.data, "two-stage"), effort_of(case.config)
    try:
        truth = realised_series(case)
    except DataError as error:
        print(f"no realised day: {error}")
        truth = None
    print(f"{case.market.zone} {case.horizon.first_day}, {len(case.probability)} scenarios, EUR")
    head = f"{'':22}{'clairv.':>9}{'rolling':>9}{'optim.':>9}{'share':>8}{'worst':>8}"
    print(head + f"{'came':>9}{'CPU s':>7}  causes")
    for name, first_stage in decisions(case, problem):
        print(f"{name}: {lots_of(first_stage)}")
        for rule, information in RULES.items():
            value = nonanticipative_value(case, first_stage, information, effort, problem=problem)
            came = float("nan")
            if truth is not None:
                day = nonanticipative_value(
                    case, first_stage, information, effort,
                    problem=problem, truth=truth, names=["realised"],
                )  # fmt: skip
                came = day.rolling_eur
            causes = ", ".join(f"{c} {e:.0f}" for c, e in value.expected_causes().items())
            print(
                f"  {rule:20}{value.clairvoyant_eur:9.1f}{value.rolling_eur:9.1f}"
                f"{value.optimism_eur:9.1f}{value.optimism_frac:8.1%}"
                f"{value.days['rolling_eur'].min():8.0f}{came:9.1f}{value.cpu_s_per_day:7.2f}"
                f"  {causes}",
                flush=True,
            )
        if truth is not None:
            print(f"  clairvoyant on the day that came: {day.clairvoyant_eur:.1f}", flush=True)


if __name__ == "__main__":
    main()
