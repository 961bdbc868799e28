"""Every formulation by its name: the identities between them, what they refuse, what they leave."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import stochbess as sb
from stochbess import formulate
from stochbess.cli_run import show_run
from stochbess.cli_view import View
from stochbess.comparison import compare
from stochbess.errors import ConfigError
from stochbess.formulations import FORMULATIONS
from stochbess.frontier import frontier
from stochbess.rolling_forecast import Information
from stochbess.rolling_run import value_run
from stochbess.run import Run, solve_days
from stochbess.store import Store

SMALL = (
    "scenarios.n=3", "solver.gap_frac=0.02", "aging.model=none", "markets.fcr.enabled=false",
    "robust.budget=1", "robust.period_h=4",
)  # fmt: skip


KNOWN = ("scenarios.source=realised", "market.day=2024-06-26", "market.n_days=2")


@cache
def small(formulation: str, *overrides: str, rolling: bool = False) -> Run:
    return sb.solve(
        None, formulation, overrides=[*SMALL, *overrides], worth=False, rolling=rolling,
        store=False,
    )  # fmt: skip


def value(run: Run, name: str) -> float:
    found = run.fact(name).value
    assert isinstance(found, float)
    return found


def test_every_name_has_a_solver_and_every_solver_a_name() -> None:
    assert list(FORMULATIONS) == list(formulate._BY_NAME)
    assert all(name == f.name and f.promise and f.reading for name, f in FORMULATIONS.items())


# -- identities -----------------------------------------------------------------------------------
def test_a_ball_of_radius_zero_is_the_two_stage_problem() -> None:
    ball, plain = small("wasserstein", "wasserstein.radius=0"), small("two-stage")
    assert value(ball, "profit") == pytest.approx(value(plain, "profit"), rel=1e-9)
    assert value(ball, "profit_bound") == pytest.approx(value(plain, "profit_bound"), rel=1e-9)
    assert ball.bids["mw"].tolist() == plain.bids["mw"].tolist()


def test_a_ball_promises_less_than_the_mean_and_not_less_than_its_worst_distribution() -> None:
    run = small("wasserstein", "wasserstein.radius=0.3")
    frame: Any = run.frames["worst_distribution"]
    assert frame["worst_probability"].sum() == pytest.approx(1.0)
    worst = float(frame["worst_probability"] @ frame["profit_eur"])
    assert value(run, "profit") == pytest.approx(worst, rel=1e-6)
    assert worst < float(frame["probability"] @ frame["profit_eur"]) - 1.0
    assert value(run, "expected_profit") == pytest.approx(
        float(frame["probability"] @ frame["profit_eur"])
    )
    assert value(run, "profit") >= value(run, "worst")


def test_mean_cvar_is_the_two_stage_problem_with_a_weight() -> None:
    named = small("mean-cvar", "risk.cvar_level=0.6")
    weighted = small("two-stage", "risk.cvar_level=0.6", "risk.cvar_weight=0.5")
    assert value(named, "profit") == pytest.approx(value(weighted, "profit"), rel=1e-9)
    assert json.loads(named.record.config_json)["risk"]["cvar_weight"] == 0.5
    expected, cvar = value(named, "expected_profit"), value(named, "cvar")
    assert value(named, "profit") == pytest.approx(0.5 * expected + 0.5 * cvar, rel=1e-6)


def test_all_weight_on_a_tail_of_one_scenario_is_the_worst_scenario() -> None:
    run = small("mean-cvar", "risk.cvar_weight=1", "risk.cvar_level=0.95")
    assert value(run, "profit") == pytest.approx(value(run, "worst"), rel=1e-6)


def test_no_budget_is_the_nominal_problem() -> None:
    """The rows at both ends of a share cost a little, so that the nominal profit is not above."""
    robust, nominal = small("robust", "robust.budget=0"), small("deterministic")
    assert value(robust, "profit") <= value(nominal, "profit_bound") + 1e-6
    assert value(robust, "profit_bound") >= 0.98 * value(nominal, "profit")
    assert robust.frames["worst_course"]["called_up_frac"].equals(
        robust.frames["worst_course"]["nominal_up_frac"]
    )


# -- the robust run -------------------------------------------------------------------------------
def test_the_worst_course_of_a_robust_run_is_of_its_set_and_prices_as_promised() -> None:
    run = small("robust")
    course: Any = run.frames["worst_course"]
    high = (course["called_up_frac"] > course["nominal_up_frac"] + 1e-12) | (
        course["called_down_frac"] > course["nominal_down_frac"] + 1e-12
    )
    assert 0 < high.sum() <= 16, "one period of four hours"
    assert (course["called_up_frac"] + course["called_down_frac"]).max() <= 1 + 1e-9
    assert value(run, "periods_called_high") == 1.0
    # The recourse of the two-stage model can do all that the one of the proof can.
    assert value(run, "profit") <= value(run, "worst_course_bound") + 1e-6
    assert value(run, "worst_course_bound") <= value(run, "worst_course_profit") + 0.5
    assert value(run, "profit") <= value(run, "profit_bound") + 1e-6
    assert value(run, "profit") < value(small("robust", "robust.budget=0"), "profit")
    rounds: Any = run.frames["robust_rounds"]
    assert rounds["worst_profit_ub_eur"].is_monotonic_decreasing
    assert rounds["worst_profit_ub_eur"].iloc[-1] == pytest.approx(value(run, "profit_bound"))


def test_price_scenarios_are_those_of_the_case_with_the_weight_of_all() -> None:
    from stochbess.assemble import build_case
    from stochbess.config import load_config

    case = build_case(load_config(None, [*SMALL, "scenarios.n=5", "robust.price_scenarios=2"]))
    series, weights = formulate.price_scenarios(case)
    assert weights.sum() == pytest.approx(1.0) and len(weights) == 2
    whole = case.series["intraday_eur_mwh"]
    assert all(any((row == other).all() for other in whole) for row in series["intraday_eur_mwh"])
    mean, one = formulate.price_scenarios(build_case(load_config(None, SMALL)))
    assert one.tolist() == [1.0] and mean["intraday_eur_mwh"].shape[0] == 1


# -- what is printed ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("formulation", "words"),
    [
        ("robust", ("worst case", "Worst course of calls", "called down", "bounded only")),
        ("wasserstein", ("worst expectation", "Worst distribution", "ground metric")),
        ("mean-cvar", ("risk-adjusted", "mean over the scenarios")),
    ],
)
def test_a_run_says_what_its_profit_is_and_what_it_rests_on(
    formulation: str, words: tuple[str, ...]
) -> None:
    run = small(formulation)
    out = Console(width=100, file=io.StringIO(), record=True)
    show_run(out, View(run.record, run.frames, Path("runs")))
    text = out.export_text()
    missing = [word for word in words if word not in text]
    assert not missing and FORMULATIONS[formulation].reading[:40] in " ".join(text.split())


# -- what is refused ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("formulation", "override", "words"),
    [
        ("robust", "risk.cvar_weight=0.3", "risk.cvar_weight is 0.3 beside formulation robust"),
        ("wasserstein", "risk.cvar_weight=0.3", "take formulation mean-cvar"),
        ("wasserstein", "scenarios.n=1", "found one"),
        ("robust", "scenarios.n=1", "no call is ever higher"),
        ("robust", "markets.afrr.enabled=false", "no call is ever higher"),
        ("robust", "aging.model=cuts", "aging"),
    ],
)
def test_what_does_not_go_together_is_refused(formulation: str, override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        small(formulation, override)


def test_an_unknown_formulation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="deterministic, two-stage, mean-cvar, robust"):
        sb.solve(None, "stable", store=False)
    with pytest.raises(ConfigError, match="stable"):
        compare(None, ("two-stage", "stable"), store=False)


# -- rolling value and comparison -----------------------------------------------------------------
@pytest.mark.parametrize("formulation", ["two-stage", "deterministic"])
def test_the_rolling_value_of_a_run_is_that_of_its_stored_bids(
    tmp_path: Path, formulation: str
) -> None:
    config = sb.load_config(
        None, [*SMALL, "markets.afrr.enabled=false", f"report.store_dir={tmp_path}"]
    )
    run = sb.solve(config, formulation, worth=False, rolling=True)
    plain = sb.solve(config, formulation, worth=False)
    assert plain.run_id != run.run_id and "rolling" not in plain.frames
    with Store(tmp_path, read_only=True) as kept:
        record, frames = kept.get(run.run_id), kept.frames(run.run_id)
    again = value_run(record, frames, tmp_path, Information()).scenarios
    assert value(run, "rolling") == pytest.approx(again.rolling_eur, rel=1e-9)
    assert value(run, "optimism") == pytest.approx(value(run, "clairvoyant") - again.rolling_eur)
    causes: Any = run.frames["rolling_causes"]
    assert causes["eur"].sum() == pytest.approx(value(run, "optimism"), abs=1e-4)


def test_features_that_do_not_go_together_are_refused_before_anything_is_solved() -> None:
    offers = ["markets.day_ahead.curve_points=3"]
    for wrong, text in (
        (lambda: frontier(None, "budget", overrides=[*SMALL, *offers]), "single quantities"),
        (lambda: solve_days(sb.load_config(None, [*KNOWN, *offers])), "single quantities"),
        (lambda: small("multi-stage", "tree.reserves=2", rolling=True), "leave out --rolling"),
        (
            lambda: compare(
                None, ("deterministic", "multi-stage"), overrides=SMALL, worth=True, store=False
            ),
            "Add two-stage",
        ),
    ):
        with pytest.raises(ConfigError, match=text):
            wrong()


def test_a_comparison_prices_every_decision_and_sets_its_worth_beside_it() -> None:
    names = ("deterministic", "two-stage", "mean-cvar", "wasserstein")
    overrides = [*SMALL, "markets.afrr.enabled=false", "risk.cvar_level=0.6"]
    table: Any = compare(None, names, overrides=overrides, worth=True, store=False)
    assert table["formulation"].tolist() == list(names)
    table = table.set_index("formulation")
    assert (table["expected_profit_eur"] <= table["expected_profit_upper_eur"] + 1e-6).all()
    assert (table["cvar_eur"] <= table["expected_profit_eur"] + 1e-6).all()
    assert (table["worst_scenario_eur"] <= table["cvar_eur"] + 1e-6).all()
    # EVPI + VSS is WS - EEV whatever the decision: its own profit cancels.
    for side, other in (("low", "high"), ("high", "low")):
        total = table[f"evpi_{side}_eur"] + table[f"vss_{side}_eur"]
        width = table["expected_profit_upper_eur"] - table["expected_profit_eur"]
        assert np.ptp(total.drop("two-stage")) <= 2 * width.max() + 1e-6, other
    assert (
        table.loc["deterministic", "vss_low_eur"]
        <= 1e-6
        + table.loc["deterministic", "expected_profit_upper_eur"]
        - table.loc["deterministic", "expected_profit_eur"]
    )
    bought = table["day_ahead_bought_mwh"]
    assert (bought >= 0).all() and (table["day_ahead_sold_mwh"] >= 0).all()
    risk = [json.loads(small("two-stage").record.config_json)["risk"]["cvar_weight"]]
    assert risk == [0.0]


@pytest.mark.slow
def test_all_formulations_stand_in_one_table() -> None:
    table: Any = compare(None, tuple(FORMULATIONS), overrides=SMALL, store=False)
    assert table["formulation"].tolist() == list(FORMULATIONS)
    table = table.set_index("formulation")
    best = table["expected_profit_eur"].max()
    assert best <= table.loc["two-stage", "own_bound_eur"] + 1e-6
    assert np.isfinite(table["cpu_s"].astype(float)).all()
