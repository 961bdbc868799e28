"""Formulations side by side: every decision priced on the same scenarios with the same recourse."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stochbess.assemble import Case, build_case, open_market
from stochbess.config import Config
from stochbess.decide import Decision, Problem
from stochbess.engine.risk import Risk
from stochbess.errors import ConfigError
from stochbess.evaluate.worth import Interval
from stochbess.formulate import check_formulation, with_cvar_weight
from stochbess.formulations import DEFAULT
from stochbess.market.data import MarketData
from stochbess.offers import as_offers, first_stage_of, require_positions
from stochbess.run import Progress, Run, effort_of, loaded, solve

# Formulations with a measure of risk of their own, which a weight of CVaR would contradict.
_NEUTRAL = ("deterministic", "two-stage", "multi-stage", "robust", "wasserstein")


def compare(
    config: Config | Path | str | None = None,
    formulations: Sequence[str] = ("deterministic", "two-stage"),
    *,
    overrides: Sequence[str] = (),
    market: MarketData | None = None,
    worth: bool = False,
    store: bool = True,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Solve several formulations on the same data; one row of the same facts for each.

    Every decision is priced on the scenarios of the case: the columns `expected_profit_eur` and
    `expected_profit_upper_eur` bound its mean profit from both sides and compare like with like,
    whatever the formulation maximised. Where `mean-cvar` is among them, the others are solved
    without a weight of CVaR.

    Parameters
    ----------
    worth : also value the two-stage decision, or the last one if there is none, as `solve` does;
        then every row has EVPI and VSS of its decision, as intervals of proven bounds [EUR]

    Raises
    ------
    ConfigError : a formulation is unknown, or does not go with the configuration
    """
    for formulation in formulations:
        check_formulation(formulation)
    config = loaded(config, overrides)
    market = open_market(config) if market is None else market
    tell: Progress = progress or (lambda stage, detail: None)
    case = build_case(config, market)
    problem = Problem(case.data, "two-stage")
    valued = DEFAULT if DEFAULT in formulations else formulations[-1]
    if worth and valued == "multi-stage" and len(formulations) > 1:
        raise ConfigError(
            "WS and EEV of a multi-stage run are those of the paths of its tree and cannot be set "
            "beside decisions priced on the scenarios. Add two-stage to --formulations, or leave "
            "out --worth and --report."
        )
    runs: list[Run] = []
    rows: list[dict[str, Any]] = []
    for formulation in formulations:
        run = solve(
            _own_config(config, formulation, formulations), formulation, market=market,
            worth=worth and formulation == valued, store=store, progress=progress,
        )  # fmt: skip
        tell("compare", f"pricing the {formulation} decision on all scenarios")
        first_stage = as_offers(first_stage_of(run.frames), case.data)
        require_positions(first_stage, case.data)
        priced = problem.evaluate(case.series, case.probability, first_stage, effort_of(config))
        runs.append(run)
        rows.append(_row(case, run, priced))
    worths = next((run for run in runs if "worth" in run.frames), None)
    for row in rows:
        row |= _worth_of(row, worths)
    return pd.DataFrame(rows)


def _own_config(config: Config, formulation: str, among: Sequence[str]) -> Config:
    """The configuration of one formulation: a weight of CVaR is for `mean-cvar`, if it is there."""
    if "mean-cvar" in among and formulation in _NEUTRAL:
        return with_cvar_weight(config, 0.0)
    return config


def _row(case: Case, run: Run, priced: Decision) -> dict[str, Any]:
    volatile = json.loads(run.record.volatile_json)
    bids = run.frames["bids"]
    reserve = bids["market"] != "day-ahead"
    lots = bids[reserve].groupby(["market", "product"])["quantity"].sum()
    energy = bids.loc[~reserve, "mw"]
    hours = case.horizon.day_ahead_min / 60
    level = case.config.risk.cvar_level
    # A run that the plant judged is compared at the held prices that priced the decision.
    held = "held_" if any(fact.name == "held_profit" for fact in run.facts) else ""
    return {
        "formulation": run.record.formulation,
        "run_id": run.run_id,
        "own_profit_eur": run.fact(f"{held}profit").value,
        "own_bound_eur": run.fact("held_bound" if held else "profit_bound").value,
        "gap_frac": run.fact(f"{held}gap").value,
        "expected_profit_eur": priced.profit_lb_eur,
        "expected_profit_upper_eur": priced.profit_ub_eur,
        "worst_scenario_eur": float(priced.scenario_profit_eur.min()),
        "cvar_eur": -Risk(1.0, level).of_cost(-priced.scenario_profit_eur, case.probability),
        "reserve_lots": float(bids.loc[reserve, "quantity"].sum()),
        "fcr_lots": float(lots.get(("FCR", "symmetric"), 0.0)),
        "afrr_up_lots": float(lots.get(("aFRR", "up"), 0.0)),
        "afrr_down_lots": float(lots.get(("aFRR", "down"), 0.0)),
        "day_ahead_sold_mwh": float(energy.clip(lower=0).sum()) * hours,
        "day_ahead_bought_mwh": float(-energy.clip(upper=0).sum()) * hours,
        "solve_wall_s": volatile.get("solve_wall_s"),
        "cpu_s": volatile.get("solve_cpu_s"),
        "wall_s": volatile.get("wall_s"),
    }


def _worth_of(row: dict[str, Any], valued: Run | None) -> dict[str, float | None]:
    """What a decision lacks to perfect information and gains over the mean-scenario decision."""
    names = ("evpi_low_eur", "evpi_high_eur", "vss_low_eur", "vss_high_eur")
    if valued is None:
        return dict.fromkeys(names)
    table = valued.frames["worth"].set_index("measure")
    low, high = (table[f"{side}_eur"].astype(float).to_dict() for side in ("low", "high"))
    own = Interval(row["expected_profit_eur"], row["expected_profit_upper_eur"])
    if row["run_id"] == valued.run_id:
        # RP as the run states it: of the optimum, not only of the decision that was found.
        own = Interval(low["RP"], high["RP"])
    ws, eev = Interval(low["WS"], high["WS"]), Interval(low["EEV"], high["EEV"])
    evpi, vss = ws - own, own - eev
    return dict(zip(names, (evpi.low, evpi.high, vss.low, vss.high), strict=True))
