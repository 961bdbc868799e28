"""The main job: assemble, decide, value, settle, store. The one place that wires the stages.

Long, because the three ways to call it (one run, separate days, a comparison) share its steps.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.aging_prices import held_prices
from stochbess.assemble import Case, build_case, open_market
from stochbess.clock import cpu_s, monotonic_s, now_utc
from stochbess.config import Config, load_config
from stochbess.decide import Decision, Effort, Problem
from stochbess.engine.cylinders import CYLINDERS
from stochbess.engine.highs import version as solver_version
from stochbess.errors import ConfigError, SolverError
from stochbess.evaluate.ledger import Books, Ledger, keep_ledger
from stochbess.evaluate.worth import Worth
from stochbess.formulate import check_formulation, decide_by, effective_config
from stochbess.formulations import DEFAULT
from stochbess.market.data import MarketData
from stochbess.multi_stage import MultiStage, gate_tree
from stochbess.multi_stage_worth import value_tree, virtual_on_tree
from stochbess.offers import (
    as_offers,
    curve_table,
    first_stage_of,
    menu_table,
    paid_series,
    require_positions,
)
from stochbess.ranks import require
from stochbess.reports.facts import Fact, as_records, from_records
from stochbess.rolling_forecast import Information
from stochbess.run_record import RunRecord, canonical_json, code_sha256, run_id
from stochbess.scenario_gen.scenario_file import long_table
from stochbess.store import Store
from stochbess.tables import bid_table, run_facts, schedule_table, soc_table, worth_table
from stochbess.tables_aging import judge_facts, plant_facts, steering_facts
from stochbess.tables_rolling import rolling_facts, rolling_frames
from stochbess.valuation import steering_cost, value_decision, virtual_profit

if TYPE_CHECKING:
    from stochbess.rolling import RollingValue

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Progress = Callable[[str, str], None]  # stage, detail
# Cash in the model and settlement of the schedule must agree to this, relative to the gross cash.
CASH_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Asked:
    """What is computed of a decision besides itself."""

    worth: bool
    rolling: bool = False


@dataclass(frozen=True)
class Run:
    """A stored or storable run: its record, its tables, its facts.

    `frames` holds bids, schedule, soc, cash, scenarios, scenario_set (the form of a scenario file)
    and, if it was valued, worth; if capacity or energy is offered at several prices, menu and
    curve; if it was dispatched step by step, rolling and rolling_causes; and what its formulation
    adds: worst_course and robust_rounds, or worst_distribution.
    """

    record: RunRecord
    frames: dict[str, pd.DataFrame]

    @property
    def run_id(self) -> str:
        return self.record.run_id

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        return from_records(json.loads(self.record.facts_json)["facts"])

    @cached_property
    def assumptions(self) -> tuple[str, ...]:
        return tuple(json.loads(self.record.facts_json)["assumptions"])

    @cached_property
    def provenance(self) -> dict[str, str]:
        """Where the scenarios come from, in the words of their generator."""
        return dict(json.loads(self.record.facts_json)["scenarios"])

    def fact(self, name: str) -> Fact:
        """The fact called `name`; KeyError if the run has none."""
        for fact in self.facts:
            if fact.name == name:
                return fact
        raise KeyError(f"run {self.run_id} has no fact {name!r}")

    @property
    def bids(self) -> pd.DataFrame:
        return self.frames["bids"]

    @property
    def schedule(self) -> pd.DataFrame:
        return self.frames["schedule"]

    @property
    def cash_flows(self) -> pd.DataFrame:
        return self.frames["cash"]


def solve(
    config: Config | Path | str | None = None,
    formulation: str = DEFAULT,
    *,
    overrides: Sequence[str] = (),
    market: MarketData | None = None,
    worth: bool = True,
    rolling: bool = False,
    store: bool = True,
    force: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Solve one decision, value it, and store the run.

    Parameters
    ----------
    config : a `Config`, the path of a configuration file, or None for the default
    formulation : a name in `stochbess.formulations`
    overrides : like ``["battery.power_mw=1"]``; only with a path or None
    market : market data already read; by default they are read as configured
    worth : also compute WS, EV, EEV, EVPI, VSS and the opponents (risk-neutral two-stage only)
    rolling : also dispatch the decision step by step without clairvoyance (stochbess.rolling)
    store : keep the run in `report.store_dir`; a run that is stored already is read back
    force : compute again even if the run is stored
    progress : called with (stage, detail) as the work goes on

    Raises
    ------
    StochbessError : see stochbess.errors; the store holds whole runs only, whatever happens
    """
    check_formulation(formulation)
    config = effective_config(loaded(config, overrides), formulation)
    asked = Asked(worth, rolling)
    day_ahead = config.markets.day_ahead
    later = formulation == "multi-stage" and config.tree.reserves > 1 and day_ahead.enabled
    if rolling and later and day_ahead.here_and_now:
        raise ConfigError(
            f"tree.reserves is {config.tree.reserves}: the day-ahead position is decided after "
            "the reserve result, so that there is no one bid to dispatch. Set tree.reserves=1, or "
            "leave out --rolling."
        )
    if formulation in ("two-stage", "mean-cvar") and config.solver.engine == "cylinders":
        require(CYLINDERS)
    tell: Progress = progress or (lambda stage, detail: None)
    tell("data", "reading market data")
    market = open_market(config) if market is None else market
    tell("scenarios", "building scenarios and model data")
    case = build_case(config, market)
    record = _record(config, formulation, case, asked)
    if not store:
        return _compute(case, formulation, record, asked, tell)
    with Store(config.report.store_dir) as kept:
        # A damaged record is an error to read, and --force is the way out of it: do not look.
        known = None if force else kept.find(record.run_id)
        if known is not None and known.status == "done":
            tell("store", "this run is stored already; reading it back")
            return Run(known, kept.frames(record.run_id))
        with kept.running(record):
            run = _compute(case, formulation, record, asked, tell)
            kept.save(run.record, run.frames, overwrite=force)
    return run


def loaded(config: Config | Path | str | None, overrides: Sequence[str]) -> Config:
    """A configuration from whatever a caller has; overrides go with a file or the default only."""
    if isinstance(overrides, str):
        raise ConfigError(
            f"overrides is the text {overrides!r}; expected a list such as [{overrides!r}]."
        )
    if isinstance(config, Config):
        if overrides:
            raise ConfigError(
                "overrides were given beside a Config, which is complete. Pass them to "
                "load_config(path, overrides) instead."
            )
        return config
    if config is not None and not isinstance(config, str | Path):
        raise ConfigError(
            f"config is a {type(config).__name__}; expected a Config, a path, or None."
        )
    return load_config(None if config is None else Path(config), overrides)


def _record(config: Config, formulation: str, case: Case, asked: Asked) -> RunRecord:
    # Where a run is kept is no part of what it is.
    identity = config.model_copy(
        update={"report": config.report.model_copy(update={"store_dir": Path("runs")})}
    )
    engine = "extensive" if formulation == "deterministic" else config.solver.engine
    leaves = gate_tree(case).scenarios.sha256 if formulation == "multi-stage" else ""
    parts = {
        "config": identity.sha256,
        "market": case.market.sha256,
        "scenarios": case.scenarios.sha256 + leaves,
        "seed": str(config.seed),
        "formulation": formulation,
        "worth": str(asked.worth),
        "rolling": str(asked.rolling),
        "engine": engine,
        "solver": solver_version(),
        "code": code_sha256(),
    }
    return RunRecord(
        run_id=run_id(parts),
        created_utc=now_utc(),
        status="running",
        formulation=formulation,
        zone=case.market.zone,
        day=case.horizon.first_day,
        synthetic=case.synthetic,
        config_json=identity.canonical_json(),
        config_sha256=identity.sha256,
        data_sha256=case.market.sha256,
        code_sha256=code_sha256(),
        seed=config.seed,
        engine=engine,
        facts_json=canonical_json({"facts": [], "assumptions": [], "scenarios": {}}),
        volatile_json=canonical_json({}),
        reproducible=True,
    )


def effort_of(config: Config) -> Effort:
    """The configured solving effort."""
    solver = config.solver
    return Effort(
        solver.gap_frac,
        solver.time_limit_s,
        solver.threads,
        config.seed % 2**31,
        bundle=solver.scenarios_per_bundle,
    )


def _compute(case: Case, formulation: str, record: RunRecord, asked: Asked, tell: Progress) -> Run:
    started, cpu_started = monotonic_s(), cpu_s()
    effort = effort_of(case.config)
    on_scenarios = case  # what a dispatch without foresight is tried on, also where a tree decided
    decided = decide_by(formulation, case, effort, tell)
    solve_cpu_s = cpu_s() - cpu_started
    case, config, problem = decided.case, decided.case.config, decided.problem
    decision, names, probability = decided.decision, decided.names, decided.probability
    series, expected_value = decided.series, decided.expected_value
    paid = paid_series(series, decision.values, case.data)
    ledger = keep_ledger(names, probability, decision.values, paid, books_of(case))
    check_cash(ledger, decision)
    worths: Worth | None = None
    virtual: float | None = None
    neutral = formulation in ("two-stage", "multi-stage") and not config.risk.cvar_weight
    if asked.worth and neutral and expected_value is not None:
        certified = decided.certified
        worths = (
            value_tree(case, problem, certified, expected_value, effort, tell)
            if isinstance(problem, MultiStage)
            else value_decision(case, problem, certified, expected_value, effort, tell)
        )
    if asked.worth:
        tell("worth", "profit that needs no battery")
        virtual = (
            virtual_on_tree(case, problem, effort)
            if isinstance(problem, MultiStage)
            else virtual_profit(case, series, probability, effort, problem.formulation)
        )
    facts = run_facts(case, record, decision, ledger, worths, virtual, probability)
    facts += decided.facts
    facts += judge_facts(case, decision, ledger, probability)
    if decided.shown is not None:
        facts += plant_facts(decided.shown, ledger, probability)
    if case.data.aging.floor_eur_mwh or config.aging.cycle_law != "naumann":
        charged = float(probability @ ledger.scenarios["aging_floor_eur"].to_numpy())
        cost = None
        if asked.worth and formulation in ("deterministic", "two-stage"):
            tell("worth", "what the floor or the dearest law of aging gives up")
            cost = steering_cost(
                case, decided.certified, series, probability, effort,
                "two-stage" if formulation == "two-stage" else "deterministic",
            )  # fmt: skip
        facts += steering_facts(charged, cost)
    frames = {
        "bids": bid_table(case, decision),
        "schedule": schedule_table(case, decision, names),
        "soc": soc_table(case, decision, probability),
        "cash": ledger.cash.reset_index().rename_axis(columns=None),
        "scenarios": ledger.scenarios,
        "scenario_set": long_table(case.scenarios).to_pandas(),
    }
    for name, table in (("curve", curve_table), ("menu", menu_table)):
        offers = table(case, decision)
        if offers is not None:
            frames[name] = offers
    frames |= decided.frames
    if worths is not None:
        frames["worth"] = worth_table(worths)
    if asked.rolling:
        lived = _lived(on_scenarios, frames, effort, tell)
        facts += rolling_facts(lived)
        frames |= rolling_frames(lived)
    outcome = decision.outcome
    volatile = {
        "wall_s": round(monotonic_s() - started, 3),
        "cpu_s": round(cpu_s() - cpu_started, 3),
        "solve_wall_s": round(outcome.wall_s, 3),
        "solve_cpu_s": round(solve_cpu_s, 3),
        "host": platform.platform(),
        "python": platform.python_version(),
    }
    done = replace(
        record,
        status="done",
        facts_json=canonical_json(
            {
                "facts": as_records(facts),
                "assumptions": list(case.assumptions),
                "scenarios": case.scenarios.provenance,
            }
        ),
        volatile_json=canonical_json(volatile),
        # Ranks do not keep step with each other, so that no two searches are the same.
        reproducible=not (
            outcome.hit_time_limit
            or outcome.engine == "cylinders"
            or (worths is not None and worths.cut_short)
        ),
    )
    return Run(done, frames)


def _lived(
    case: Case, frames: Mapping[str, pd.DataFrame], effort: Effort, tell: Progress
) -> RollingValue:
    """The bids frozen and dispatched step by step, on every scenario in turn."""
    from stochbess.rolling import nonanticipative_value  # it settles with the books of this module

    bids = as_offers(first_stage_of(frames), case.data)
    require_positions(bids, case.data)
    return nonanticipative_value(case, bids, Information(), effort, tell=tell)


def books_of(case: Case) -> Books:
    """What the ledger has to know of a case."""
    data, config = case.data, case.config
    marginal = data.terminal.marginal_eur_mwh
    asset, reserves = data.asset, data.reserves
    usable = config.battery.energy_mwh * config.battery.state.soh_frac
    floor = config.battery.soc_min_frac
    return Books(
        terms=case.terms,
        half_spread_eur_mwh=data.energy.half_spread_eur_mwh,
        committed={
            "fcr": reserves.committed_fcr_mw,
            "afrr_up": reserves.committed_afrr_up_mw,
            "afrr_down": reserves.committed_afrr_down_mw,
            "day_ahead": data.energy.committed_day_ahead_mw,
        },
        lot_mw={
            "fcr": reserves.fcr_lot_mw,
            "afrr_up": reserves.afrr_lot_mw,
            "afrr_down": reserves.afrr_lot_mw,
        },
        terminal_edges_mwh=np.linspace(
            asset.energy_min_mwh, asset.energy_max_mwh, marginal.size + 1
        ),
        terminal_marginal_eur_mwh=marginal,
        energy_full_mwh=usable,
        nameplate_mwh=config.battery.energy_mwh,
        throughput_eur_mwh=(
            data.aging.throughput_eur_mwh if data.aging.model == "throughput" else 0.0
        ),
        curve=case.curve,
        turning_points_frac=tuple(p - floor for p in config.battery.state.open_turning_points_frac),
        floor_frac=floor,
        cycle_cost=case.cycle_cost,
        step_prices=held_prices(case.judge, data.grid.n_steps) if case.judge is not None else (),
        judge=case.judge,
        floor_eur_mwh=data.aging.floor_eur_mwh,
    )


def check_cash(ledger: Ledger, decision: Decision) -> None:
    """`check_profit` of the profit of a decision."""
    check_profit(ledger, decision.scenario_profit_eur)


def check_profit(ledger: Ledger, profit_eur: Floats) -> None:
    """The settlement of every schedule must equal the model's profit (S,) and keep the physics.

    Raises
    ------
    SolverError : they differ by more than 1e-6 of the gross cash of the scenario, or the
        settlement finds a physical rule broken by more than 1e-6 of its unit
    """
    for name, settlement in ledger.settlements.items():
        for rule, excess in settlement.violations.items():
            if excess > CASH_TOLERANCE:
                raise SolverError(
                    f"scenario {name} breaks {rule} by {excess:.2e}; expected at most "
                    f"{CASH_TOLERANCE:g}. This is a defect, please report the run."
                )
    settled = ledger.scenarios["profit_eur"].to_numpy()
    gross = ledger.cash.drop(index="profit").abs().sum()[ledger.scenarios["scenario"]].to_numpy()
    difference = np.abs(settled - profit_eur)
    worst = int(np.argmax(difference / np.maximum(1.0, gross)))
    if difference[worst] > CASH_TOLERANCE * max(1.0, float(gross[worst])):
        name = ledger.scenarios["scenario"].iloc[worst]
        raise SolverError(
            f"settlement and model disagree in scenario {name}: settled {settled[worst]:.6f} EUR, "
            f"model {profit_eur[worst]:.6f} EUR. Expected agreement to "
            f"{CASH_TOLERANCE:g} of the gross cash; this is a defect, please report the run."
        )


def solve_days(
    config: Config, *, market: MarketData | None = None, progress: Progress | None = None
) -> pd.DataFrame:
    """Perfect foresight of every delivery day on its own, each from the configured state.

    Days of equal length share one compiled template: prices are data of it, not a new model.

    Returns
    -------
    One row per delivery day: day, profit_eur, full_cycles

    Raises
    ------
    ConfigError : scenarios.source is not "realised", or commitments or outages name single days
    """
    if config.scenarios.source != "realised":
        raise ConfigError(
            f"separate days need scenarios.source=realised, found {config.scenarios.source}; "
            "pass --scenarios realised."
        )
    if config.battery.state.commitments or config.battery.state.outages:
        raise ConfigError(
            "separate days all start from one state; battery.state.commitments and outages belong "
            "to single days. Remove them, or solve the days jointly."
        )
    tell: Progress = progress or (lambda stage, detail: None)
    tell("data", "reading market data")
    market = open_market(config) if market is None else market
    whole = build_case(config, market)
    data = whole.data
    offers = data.energy.curve_price_eur_mwh.size or data.reserves.menu is not None
    if whole.judge is not None or offers:
        raise ConfigError(
            "separate days count cycling alone and single quantities. Set "
            "aging.mechanisms=[cycle], markets.day_ahead.curve_points=1 and "
            "markets.afrr.bid_menu=[]."
        )
    rows: list[dict[str, object]] = []
    for length in sorted({len(part) for part in _days(whole)}):
        members = [d for d, part in enumerate(_days(whole)) if len(part) == length]
        tell("solve", f"{len(members)} day(s) of {length * whole.horizon.dt_h:g} h")
        first = whole.horizon.days[members[0]]
        day_market = config.market.model_copy(update={"day": first, "n_days": 1})
        case = build_case(config.model_copy(update={"market": day_market}), market)
        series = {
            name: np.stack([_of_day(whole, name, values[0], d) for d in members])
            for name, values in whole.series.items()
        }
        profit, drawn = _each_day(case, series, len(members), effort_of(config))
        rows += [
            {
                "day": whole.horizon.days[d],
                "profit_eur": float(profit[i]),
                "full_cycles": float(drawn[i]) / config.battery.energy_mwh,
            }
            for i, d in enumerate(members)
        ]
    return pd.DataFrame(rows).sort_values("day", ignore_index=True)


def _each_day(
    case: Case, series: dict[str, Floats], n_days: int, effort: Effort
) -> tuple[Floats, Floats]:
    """Profit and energy withdrawn of every day, as scenarios without anything in common."""
    problem = Problem(case.data, "deterministic")
    joint = not problem.relaxed.integer.any()
    groups = [np.arange(n_days)] if joint else [np.array([d]) for d in range(n_days)]
    profit, drawn = np.empty(n_days), np.empty(n_days)
    for group in groups:
        decision = problem.decide(
            {name: values[group] for name, values in series.items()},
            np.full(len(group), 1 / len(group)),
            effort,
            engine="extensive",
        )
        profit[group] = decision.scenario_profit_eur
        drawn_mw = case.terms.drawn_mw(decision.values["discharge_mw"])
        drawn[group] = case.terms.dt_h * drawn_mw.sum(axis=1)
    return profit, drawn


def _days(case: Case) -> list[Ints]:
    """Steps of every delivery day."""
    day = case.horizon.day_of_step
    return [np.flatnonzero(day == d) for d in range(case.horizon.n_days)]


def _of_day(case: Case, name: str, values: Floats, day: int) -> Floats:
    """The part of a scenario series that belongs to one delivery day."""
    horizon = case.horizon
    if len(values) == len(horizon.steps):
        part = values[horizon.day_of_step == day]
    elif len(values) == len(horizon.block_starts):
        part = values.reshape(horizon.n_days, -1)[day]
    else:
        day_of_unit = np.zeros(len(values), np.int64)
        day_of_unit[horizon.day_ahead_of_step] = horizon.day_of_step
        part = values[day_of_unit == day]
    return np.asarray(part, np.float64)
