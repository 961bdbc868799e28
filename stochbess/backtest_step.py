"""One day of a backtest: the gates in their order, the dispatch, the plant, and the account.

`Engine.step` takes a state and gives a state back, with everything that happened in between. It
reads what really happened only to reveal it: the gate sees market data cut at the gate, a quarter
hour sees what has been revealed by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from stochbess.aging_prices import plant_of
from stochbess.assemble import Case, build_case, gate_of, with_battery
from stochbess.backtest_policies import IDLE, Asked, Plan, Policy
from stochbess.backtest_state import State, config_at, first_state, live, loss_by_law
from stochbess.battery.plant import Plant, PlantState
from stochbess.battery.recursion import GrossSchedule
from stochbess.battery.simulation import Trajectory
from stochbess.config import Config
from stochbess.conversion import constant_only
from stochbess.decide import Problem
from stochbess.errors import ConfigError, SolverError
from stochbess.evaluate.claims import breaches, ceilings_eur
from stochbess.evaluate.ledger import Books, keep_ledger, prices_of
from stochbess.market.data import MarketData
from stochbess.rolling import dispatch_day
from stochbess.rolling_forecast import Information
from stochbess.run import books_of, check_profit, effort_of

Floats = npt.NDArray[np.float64]
# What the plant may miss of a schedule by rounding, relative to its limits.
_FOLLOWED = 1e-5
_LOTS = ("fcr_lots", "afrr_up_lots", "afrr_down_lots")


@dataclass(frozen=True)
class Submitted:
    """A plan with the moment at which it was handed in."""

    plan: Plan
    at_utc: datetime


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a day was: the record that is kept, the state afterwards, and the arrays behind them.

    Attributes
    ----------
    row : plain values: the decision, the cash by line, the battery, the checks
    state : to hand to the next day
    values : the dispatch by component, arrays (1, ...)
    truth : what happened, name -> (1, length)
    books : how the account values it
    """

    row: dict[str, Any]
    state: State
    values: dict[str, Floats]
    truth: dict[str, Floats]
    books: Books


class Engine:
    """Days of one configuration on one market; policies and states come from outside.

    Parameters
    ----------
    config : as of `backtest_config`
    market : all of it, future included: it is revealed step by step
    first_day : of the backtest; its gate fixes at what stored energy is booked

    Raises
    ------
    ConfigError : losses that grow with power, aging beyond cycling, or offers with prices
    """

    def __init__(
        self, config: Config, market: MarketData, information: Information, first_day: date
    ) -> None:
        constant_only(config, "the backtest")
        if len(config.aging.mechanisms) > 1:
            raise ConfigError(
                "the backtest books the aging that a decision is charged, which is cycling alone; "
                f"found aging.mechanisms={','.join(config.aging.mechanisms)}. Set "
                "aging.mechanisms=[cycle]."
            )
        if config.markets.day_ahead.curve_points > 1 or config.markets.afrr.bid_menu:
            raise ConfigError(
                "the backtest lives single quantities; found a day-ahead curve or a menu of bids. "
                "Set markets.day_ahead.curve_points=1 and markets.afrr.bid_menu=[]."
            )
        self.config, self.market, self.information = config, market, information
        self.plant: Plant = plant_of(config)
        self.first_day = first_day

    @cached_property
    def start(self) -> State:
        """The battery before the first day."""
        return first_state(self.config, self.plant)

    @cached_property
    def account(self) -> Case:
        """The case of the first day, as every policy finds it: it values stored energy."""
        return self.case_at_gate(self.first_day, self.start.actual)

    # -- what is known --------------------------------------------------------------------------
    def case_at_gate(self, day: date, start: PlantState) -> Case:
        """The decision of `day` with market data that hold nothing known at its gate or later."""
        config = config_at(self.config, day, self.plant, start)
        seen, assumed = self.market, config.scenarios.forecast_known_local
        if assumed is not None:
            seen = seen.assume_forecasts_known(assumed)
        return build_case(config, seen.as_of(gate_of(config, seen, day)))

    def truth(self, case: Case) -> dict[str, Floats]:
        """What really happened on the day of `case`, name -> (1, length)."""
        scenarios = case.config.scenarios.model_copy(update={"source": "realised"})
        known = case.config.model_copy(update={"scenarios": scenarios})
        return build_case(known, self.market).series

    def _next_gate_stage(self, case: Case) -> int:
        """The last stage of this day that lies before the first gate of the day after it."""
        zone = ZoneInfo(case.horizon.timezone)
        gate = case.gate.astimezone(zone)
        day = case.horizon.first_day
        if day - gate.date() != timedelta(days=1):
            raise ConfigError(
                f"the first gate of {day} is at {gate:%Y-%m-%d %H:%M} local; a backtest expects "
                "gates on the day before delivery."
            )
        following = datetime.combine(day, gate.time(), tzinfo=zone)
        step = timedelta(minutes=case.horizon.step_min)
        begun = (following - case.horizon.start_utc) // step
        # Step `begun` - 1 ends at the gate: its call is not known before it.
        return max(-1, begun - 2)

    # -- a day ----------------------------------------------------------------------------------
    def submit(self, policy: Policy, day: date, state: State) -> tuple[Case, Submitted]:
        """Ask a policy at the gate of `day`; it answers in time."""
        case = self.case_at_gate(day, state.known_for(day))
        problem = Problem(case.data, "two-stage")
        asked = Asked(case, problem, effort_of(case.config), state.lots)
        return case, Submitted(policy(asked), case.gate - timedelta(seconds=1))

    def step(self, name: str, policy: Policy, day: date, state: State) -> Outcome:
        """Live one day from `state` under a policy called `name`.

        Raises
        ------
        StochbessError : data are missing, no decision is found, or settlement and model disagree
        """
        if name == IDLE:
            case = self.case_at_gate(day, state.known_for(day))
            return self.deliver(name, case, Submitted(Plan({}), case.gate), day, state)
        case, submitted = self.submit(policy, day, state)
        return self.deliver(name, case, submitted, day, state)

    def deliver(
        self, name: str, case: Case, submitted: Submitted, day: date, state: State
    ) -> Outcome:
        """Dispatch, follow and settle the day with what was handed in for it.

        A plan that comes at the gate or after it is refused: the day goes on without it.
        """
        refused = name != IDLE and submitted.at_utc >= case.gate
        plan = Plan({}) if refused else submitted.plan
        config = config_at(self.config, day, self.plant, state.actual)
        case = with_battery(case, config)
        truth = self.truth(case)
        if name == IDLE:
            values, expected_end = self._stand_still(case, state.actual), None
        else:
            values, expected_end = self._dispatch(case, plan, truth, state)
        ran, end, over_mwh = live(self.plant, _flows(values), case.data.grid.dt_h, state.actual)
        values = _as_followed(values, ran, self.plant)
        lots = {n: v for n, v in plan.first_stage.items() if n.partition("[")[0] in _LOTS}
        after = State(end, end if expected_end is None else expected_end, day, lots)
        books = self._books(case)
        row = self._row(case, values, truth, books)
        row |= {
            "day": day.isoformat(),
            "policy": name,
            "refused": refused,
            "gate_utc": case.gate.isoformat(),
            "first_stage": {n: float(v) for n, v in sorted(plan.first_stage.items())},
            "cut_short": plan.cut_short,
            "expected_start_mwh": float(state.known_for(day).energy_mwh),
            "unfollowed_mwh": float(np.abs(ran.shortfall_mw).sum() * ran.dt_h),
            "lost_with_capacity_mwh": over_mwh,
            "health_frac": end.health_frac,
            "loss_frac": self._lost(end),
            "assumptions": list(case.assumptions),
        }
        return Outcome(row, after, values, truth, books)

    def _dispatch(
        self, case: Case, plan: Plan, truth: Mapping[str, Floats], state: State
    ) -> tuple[dict[str, Floats], PlantState]:
        """Rolling dispatch of the day, and how it was expected to end when the next gate closed."""
        problem = Problem(case.data, "two-stage")
        done = dispatch_day(
            problem, case.series, case.probability, plan.first_stage, self.information,
            {series: values[0] for series, values in truth.items()},
            plan_at=self._next_gate_stage(case),
        )  # fmt: skip
        ledger = keep_ledger([str(case.horizon.first_day)], np.ones(1), done.values, truth,
                             books_of(case))  # fmt: skip
        check_profit(ledger, np.array([done.profit_eur]))
        if done.plan is None:
            raise SolverError("the dispatch kept no plan for the gate of the following day")
        _, expected, _ = live(self.plant, _flows(done.plan), case.data.grid.dt_h, state.actual)
        return done.values, expected

    def _stand_still(self, case: Case, start: PlantState) -> dict[str, Floats]:
        still = np.zeros(case.data.grid.n_steps)
        ran, _, _ = live(self.plant, GrossSchedule(still, still), case.data.grid.dt_h, start)
        return {
            "charge_mw": still[None, :],
            "discharge_mw": still[None, :],
            "energy_mwh": ran.energy_mwh[None, :],
        }

    def _lost(self, state: PlantState) -> dict[str, float]:
        """Capacity lost since the backtest began, as each law sees it."""
        before = loss_by_law(self.plant, self.start.actual)
        return {law: lost - before[law] for law, lost in loss_by_law(self.plant, state).items()}

    # -- the account ----------------------------------------------------------------------------
    def _books(self, case: Case) -> Books:
        """Books of the day with stored energy at the value that it has all along."""
        account = books_of(self.account)
        return replace(
            books_of(case),
            terminal_edges_mwh=account.terminal_edges_mwh,
            terminal_marginal_eur_mwh=account.terminal_marginal_eur_mwh,
        )

    def _row(
        self, case: Case, values: dict[str, Floats], truth: Mapping[str, Floats], books: Books
    ) -> dict[str, Any]:
        name = str(case.horizon.first_day)
        ledger = keep_ledger([name], np.ones(1), values, truth, books)
        cash = {str(line): float(eur) for line, eur in ledger.settlements[name].cash_eur.items()}
        found = ledger.scenarios.iloc[0]
        prices = prices_of(truth, 0, books.half_spread_eur_mwh)
        most = ceilings_eur(prices, case.terms, case.data.asset.trade_limit_mw)
        return {
            "hours": float(case.data.grid.dt_h * case.data.grid.n_steps),
            "cash": cash,
            "breaches": breaches(cash, most),
            "energy_start_mwh": float(values["energy_mwh"][0, 0]),
            **{
                column: float(found[column])
                for column in (
                    "profit_eur", "cash_eur", "aging_eur", "aging_rainflow_eur", "aging_floor_eur",
                    "stored_value_eur", "profit_tax_eur", "full_cycles", "energy_end_mwh",
                    "imbalance_mwh", "undelivered_mwh", "reserve_shortfall_mwh_h",
                )
            },
        }  # fmt: skip


def walk(
    engine: Engine, name: str, policy: Policy, days: Sequence[date], state: State
) -> Iterator[Outcome]:
    """The days one after the other, each from the state that the one before it left."""
    for day in days:
        outcome = engine.step(name, policy, day, state)
        state = outcome.state
        yield outcome


def _flows(values: Mapping[str, Floats]) -> GrossSchedule:
    """Gross flows of a dispatch; a solver's rounding below zero is none."""
    return GrossSchedule(
        np.maximum(values["charge_mw"][0], 0.0), np.maximum(values["discharge_mw"][0], 0.0)
    )


def _as_followed(values: dict[str, Floats], ran: Trajectory, plant: Plant) -> dict[str, Floats]:
    """The dispatch as the plant followed it; what it missed becomes imbalance in the account."""
    limit_mw = max(plant.charge_limit_mw, plant.discharge_limit_mw)
    missed_mw = max(float(ran.charge_shortfall_mw.max()), float(ran.discharge_shortfall_mw.max()))
    if missed_mw <= _FOLLOWED * limit_mw:
        return values
    return values | {
        "charge_mw": ran.charge_mw[None, :],
        "discharge_mw": ran.discharge_mw[None, :],
        "energy_mwh": ran.energy_mwh[None, :],
    }
