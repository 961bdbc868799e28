"""What a frozen decision earns if the day is lived and not foreseen (docs/rolling.md).

The recourse of the two-stage model sees prices and calls of the whole day at once. Here the same
here-and-now decision is dispatched step by step on what has been revealed, on the same data, with
the same costs and the same account, so that the difference is the price of clairvoyance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.assemble import Case, build_case
from stochbess.clock import cpu_s
from stochbess.decide import Decision, Effort, Problem, by_component
from stochbess.engine.lazy import Separation
from stochbess.engine.matrix import blocks
from stochbess.engine.rolling import Stage, certified_cost, roll
from stochbess.engine.template import Template
from stochbess.evaluate.ledger import Books, Ledger, keep_ledger
from stochbess.models.data import ModelData
from stochbess.models.loss_cuts import FILL_ORDER
from stochbess.offers import judged_by_price, paid_series, with_offer_data
from stochbess.rolling_forecast import Clock, Forecast, Information, safety_mwh
from stochbess.run import books_of, check_cash

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Tell = Callable[[str, str], None]
Series = Mapping[str, Floats]
# Controls of a step, decided inside it; trades are decided earlier.
_EITHER_OR = ("discharging", *FILL_ORDER)
_CONTROLS = (
    *("charge_mw", "discharge_mw", "delivered_up_mw", "delivered_down_mw"),
    # With the pieces left free, a later stage could still burn energy in a step that is over.
    *("charge_piece_mw", "discharge_piece_mw", *_EITHER_OR),
)
_TRADES = ("buy_mw", "sell_mw")
_CASH_CAUSES = {
    "undelivered energy": ("undelivered_penalty",),
    "reserve shortfall": ("reserve_shortfall_penalty",),
    "aging": ("aging", "aging_floor"),
}
IMBALANCE, ARBITRAGE = "imbalance premium", "lost arbitrage"
CAUSES = ("undelivered energy", "reserve shortfall", IMBALANCE, "aging", ARBITRAGE)
_AMOUNTS = ("undelivered_mwh", "reserve_shortfall_mwh_h", "imbalance_mwh", "full_cycles")


@dataclass(frozen=True)
class RollingValue:
    """One decision, priced with and without clairvoyant recourse on the same days.

    Attributes
    ----------
    days : one row per true day: day, probability, clairvoyant_eur, clairvoyant_bound_eur (no
        recourse earns more, simultaneous flows allowed), rolling_eur, optimism_eur, and of each of
        undelivered_mwh, reserve_shortfall_mwh_h, imbalance_mwh, full_cycles a column with the
        prefix clairvoyant_ and one with rolling_
    causes : (days, causes) what each cause adds to the optimism [EUR], after tax; rows sum to it
    values : template components of the rolling dispatch, name -> (days, ...)
    cpu_s_per_day : processor time of the rolling dispatch [s]
    """

    days: pd.DataFrame
    causes: pd.DataFrame
    values: dict[str, Floats]
    information: Information
    cpu_s_per_day: float

    def expected(self, column: str) -> float:
        """Mean of a column of `days` over the probabilities."""
        return float(self.days["probability"].to_numpy() @ self.days[column].to_numpy())

    @property
    def clairvoyant_eur(self) -> float:
        return self.expected("clairvoyant_eur")

    @property
    def rolling_eur(self) -> float:
        return self.expected("rolling_eur")

    @property
    def optimism_eur(self) -> float:
        """Expected clairvoyant profit less expected profit of the rolling dispatch (99f)."""
        return self.clairvoyant_eur - self.rolling_eur

    @property
    def optimism_frac(self) -> float:
        """Optimism relative to the size of the clairvoyant profit."""
        return self.optimism_eur / max(1.0, abs(self.clairvoyant_eur))

    def expected_causes(self) -> pd.Series[float]:
        """Expected contribution of every cause to the optimism [EUR]."""
        weight = self.days["probability"].to_numpy()
        return pd.Series(weight @ self.causes.to_numpy(), index=self.causes.columns)


def nonanticipative_value(
    case: Case,
    first_stage: Mapping[str, float],
    information: Information,
    effort: Effort,
    *,
    problem: Problem | None = None,
    truth: Series | None = None,
    names: Sequence[str] | None = None,
    tell: Tell | None = None,
) -> RollingValue:
    """Price a here-and-now decision by clairvoyant recourse and by rolling dispatch.

    Each scenario of the case in turn is the true day; its forecasts come from the other scenarios
    (from itself if it is the only one: perfect foresight). With `truth`, name -> (D, length), these
    days are the true ones, equally likely, and forecasts come from all scenarios of the case.

    Parameters
    ----------
    first_stage : variable name such as ``"fcr_lots[0]"`` -> value; missing names count as zero
    problem : compiled problem of the case, to save its compilation
    names : of the days of `truth`

    Raises
    ------
    SolverError : a dispatch fails its certificate, or settlement and model disagree
    """
    problem = Problem(case.data, "two-stage") if problem is None else problem
    return value_of(
        problem, case.series, case.probability, first_stage, information, effort,
        books=replace(books_of(case), judge=None),  # both recourses count aging at held prices
        truth=truth, tell=tell,
        names=case.scenarios.names if names is None else names,
    )  # fmt: skip


def realised_series(case: Case) -> dict[str, Floats]:
    """Scenario data of what really happened on the days of `case`, name -> (1, length).

    Raises
    ------
    DataError : the market data do not reach these days
    """
    config = case.config
    scenarios = config.scenarios.model_copy(update={"source": "realised"})
    day = config.market.model_copy(update={"day": case.horizon.first_day})
    known = config.model_copy(update={"scenarios": scenarios, "market": day})
    return with_offer_data(build_case(known, case.market).series, judged_by_price(case.data))


def value_of(
    problem: Problem,
    series: Series,
    probability: Floats,
    first_stage: Mapping[str, float],
    information: Information,
    effort: Effort,
    *,
    books: Books | None = None,
    truth: Series | None = None,
    names: Sequence[str] | None = None,
    tell: Tell | None = None,
) -> RollingValue:
    """As `nonanticipative_value`, for scenario data without a case; without `books` no account.

    Amounts and causes come from the account: without one `causes` has no columns.
    """
    days = series if truth is None else truth
    n_days = len(next(iter(days.values())))
    weight = probability if truth is None else np.full(n_days, 1 / n_days)
    names = [f"day {d}" for d in range(n_days)] if names is None else list(names)
    report: Tell = tell or (lambda stage, detail: None)
    report("value", "clairvoyant recourse")
    seen = problem.evaluate(days, weight, first_stage, effort)
    dispatch = _Dispatch(problem, first_stage, information)

    def one(d: int) -> Floats:
        day = {name: values[d] for name, values in days.items()}
        others = _others(series, probability, None if truth is not None else d)
        return dispatch.values(day, *others)[0]

    started = cpu_s()
    rows: list[Floats] = []
    with ThreadPoolExecutor(max(1, effort.threads)) as pool:
        for row in pool.map(one, range(n_days)):
            rows.append(row)
            report("value", f"rolling dispatch of day {len(rows)} of {n_days}")
    spent_s = (cpu_s() - started) / n_days
    values = np.array(rows)
    exact = blocks(problem.binary, days, weight)
    cost = np.array([certified_cost(exact, d, values[d]) for d in range(n_days)])
    lived = replace(seen, values=by_component(problem.binary, values), scenario_profit_eur=-cost)
    accounts = None
    if books is not None:
        accounts = tuple(
            keep_ledger(names, weight, d.values, paid_series(days, d.values, problem.data), books)
            for d in (seen, lived)
        )
        check_cash(accounts[1], lived)
    table = _days_table(names, weight, seen, lived, accounts)
    causes = pd.DataFrame(index=names)
    if books is not None and accounts is not None:
        causes = _causes(accounts, (seen, lived), days, books)
    return RollingValue(table, causes, lived.values, information, spent_s)


@dataclass(frozen=True)
class DispatchedDay:
    """One day dispatched step by step.

    Attributes
    ----------
    values : what was done, arrays (1, ...) by component
    profit_eur : certified profit at the prices and the terminal value of the problem
    plan : values by component as they were planned at the stage that was asked for, or None
    """

    values: dict[str, Floats]
    profit_eur: float
    plan: dict[str, Floats] | None


def dispatch_day(
    problem: Problem,
    series: Series,
    probability: Floats,
    first_stage: Mapping[str, float],
    information: Information,
    truth: Series,
    *,
    plan_at: int | None = None,
) -> DispatchedDay:
    """Rolling dispatch of the day `truth`, name -> (length,), forecast from `series`.

    `plan_at` is a stage as `Clock` counts them: the inside of a step, -1 before delivery. What is
    planned there depends on nothing that is revealed later.

    Raises
    ------
    SolverError : the dispatch fails its certificate
    """
    dispatch = _Dispatch(problem, first_stage, information)
    values, plan = dispatch.values(truth, series, probability, plan_at)
    exact = blocks(problem.binary, {n: v[None, :] for n, v in truth.items()}, np.ones(1))
    profit_eur = -certified_cost(exact, 0, values)
    done = by_component(problem.binary, values[None, :])
    intended = None if plan is None else by_component(problem.binary, plan[None, :])
    return DispatchedDay(done, profit_eur, intended)


def _others(series: Series, probability: Floats, left_out: int | None) -> tuple[Series, Floats]:
    """The scenarios without the one that plays the truth, if any is left then."""
    if left_out is None or len(probability) == 1:
        return series, probability
    keep = np.arange(len(probability)) != left_out
    return {name: values[keep] for name, values in series.items()}, probability[keep]


class _Dispatch:
    """The stages of a day for one first stage; the compiled template is shared by all days."""

    def __init__(
        self, problem: Problem, first_stage: Mapping[str, float], information: Information
    ) -> None:
        self._template, self._data = problem.binary, problem.data
        self._information = information
        self._clock = Clock(problem.data.grid, information)
        t = self._template
        self._x = np.array([first_stage.get(t.columns[j], 0.0) for j in t.first_stage])
        lazy = problem.lazy
        self._separation = None if lazy is None else Separation(lazy, t)
        self._capacity = _capacity_mw(problem.data, first_stage)
        self._decided, self._whole = _decided(t, problem.data, self._clock)

    def values(
        self, truth: Series, series: Series, probability: Floats, plan_at: int | None = None
    ) -> tuple[Floats, Floats | None]:
        """Template columns (n,) of the day `truth`, forecast from the scenarios `series`.

        Beside them the plan (n,) as it stood at stage `plan_at`, if that is asked for.
        """
        forecast = Forecast(self._data, self._clock, series, probability, truth)
        stages = self._stages(forecast, series, probability)
        order, plans = sorted(self._decided), {}

        def watch(place: int, values: Floats) -> None:
            if order[place] == plan_at:
                plans[order[place]] = values

        done = roll(self._template, self._x, stages, self._separation, watch)
        return done, None if plan_at is None else plans[plan_at]

    def _stages(self, forecast: Forecast, series: Series, probability: Floats) -> Iterator[Stage]:
        template, none = self._template, np.zeros(0, np.int64)
        caution = None
        if self._information.safety_frac is not None and self._data.reserves.any:
            window = self._clock.lead_steps + 1
            quantile = self._information.safety_frac
            kept = safety_mwh(self._data, series, probability, self._capacity, window, quantile)
            caution = _Caution(template, self._data, kept)
        for stage in sorted(self._decided):
            seen = forecast.at(stage)
            xi = template.stack({name: seen[name][None, :] for name in template.layout})[0]
            # The first check point that the trade decided here can still move.
            reach = stage + self._clock.lead_steps + 2
            extra = None
            if caution is not None and stage < self._clock.n_steps:
                extra = caution.after(reach)
            ahead = range(stage + 1, min(reach, self._clock.n_steps))
            planned = [self._whole.get(t, none) for t in ahead]
            yield Stage(
                xi,
                self._decided[stage],
                self._whole.get(stage, none),
                np.concatenate([none, *planned]),
                extra,
            )


def _decided(
    template: Template, data: ModelData, clock: Clock
) -> tuple[dict[int, Ints], dict[int, Ints]]:
    """(99c) Columns by the stage at which they are decided, and the binaries among them."""
    found: dict[int, list[int]] = {stage: [] for stage in range(-1, clock.n_steps + 1)}
    whole: dict[int, list[int]] = {}
    for name, column in template.column_position.items():
        component, _, index = name.rstrip("]").partition("[")
        if component in _CONTROLS:
            found[int(index.partition(",")[0])].append(column)
        elif component in _TRADES:
            found[int(clock.trade[int(index)])].append(column)
        elif component == "day_ahead_mw" and data.energy.day_ahead == "recourse":
            first = int(np.searchsorted(data.grid.day_ahead_of_step, int(index)))
            found.setdefault(int(clock.day_ahead[first]), []).append(column)
        if component in _EITHER_OR:
            whole.setdefault(int(index.partition(",")[0]), []).append(column)
    # The direction first: a flow that is held above a level leaves no choice of it.
    for columns in whole.values():
        columns.sort(key=lambda j: not template.columns[j].startswith("discharging["))
    return (
        {stage: np.array(columns, np.int64) for stage, columns in found.items()},
        {stage: np.array(columns, np.int64) for stage, columns in whole.items()},
    )


def _capacity_mw(data: ModelData, first_stage: Mapping[str, float]) -> tuple[Floats, Floats]:
    """aFRR up and down that is sold in each block (B,) [MW], earlier sales included."""
    res, blocks_ = data.reserves, range(data.grid.n_blocks)

    def sold(side: str, committed: Floats) -> Floats:
        offered = range(0 if res.menu is None else res.menu.size)
        lots = [
            first_stage.get(f"afrr_{side}_lots[{b}]", 0.0)
            if res.menu is None
            else sum(first_stage.get(f"afrr_{side}_offer[{b},{k}]", 0.0) for k in offered)
            for b in blocks_
        ]
        return np.asarray(committed + res.afrr_lot_mw * np.array(lots))

    return sold("up", res.committed_afrr_up_mw), sold("down", res.committed_afrr_down_mw)


class _Caution:
    """(99e) Right-hand sides that ask for more stored energy, and more room, than the rules do."""

    def __init__(
        self, template: Template, data: ModelData, kept_mwh: tuple[Floats, Floats]
    ) -> None:
        grid = data.grid
        n_blocks = grid.n_blocks
        self._shift = np.zeros(len(template.rows))
        self._boundary = np.full(len(template.rows), -1, np.int64)
        for row, name in enumerate(template.rows):
            component, _, index = name.rstrip("]").partition("[")
            if component not in ("energy_reserve_up", "energy_reserve_down"):
                continue
            i = int(index)
            starts = i < n_blocks
            block = i if starts else int(grid.block_of_step[i - n_blocks])
            self._boundary[row] = grid.first_step_of_block(i) if starts else i - n_blocks + 1
            kept = kept_mwh[0 if component.endswith("up") else 1][block]
            # A row that reads "at least" asks for more, one that reads "at most" allows less.
            self._shift[row] = -float(template.sense[row]) * float(kept)

    def after(self, boundary: int) -> Floats:
        """Shift of all rows (m,) at the boundaries of steps from `boundary` on."""
        return np.where(self._boundary >= boundary, self._shift, 0.0)


def _days_table(
    names: Sequence[str],
    weight: Floats,
    seen: Decision,
    lived: Decision,
    accounts: tuple[Ledger, ...] | None,
) -> pd.DataFrame:
    lacking = seen.outcome.excess
    bound = -seen.outcome.scenario_cost + (0.0 if lacking is None else lacking)
    table = pd.DataFrame(
        {
            "day": list(names),
            "probability": weight,
            "clairvoyant_eur": seen.scenario_profit_eur,
            "clairvoyant_bound_eur": np.maximum(bound, seen.scenario_profit_eur),
            "rolling_eur": lived.scenario_profit_eur,
            "optimism_eur": seen.scenario_profit_eur - lived.scenario_profit_eur,
        }
    )
    if accounts is not None:
        for prefix, ledger in zip(("clairvoyant", "rolling"), accounts, strict=True):
            for amount in _AMOUNTS:
                table[f"{prefix}_{amount}"] = ledger.scenarios[amount].to_numpy()
    return table


def _causes(
    accounts: tuple[Ledger, ...], decisions: tuple[Decision, Decision], days: Series, books: Books
) -> pd.DataFrame:
    """(99f) What each cause adds to the optimism of each day, after tax."""
    keep = 1 - books.terms.tariff.profit_tax_frac
    names = list(accounts[0].scenarios["scenario"])
    found = pd.DataFrame(0.0, index=names, columns=list(CAUSES))
    for cause, lines in _CASH_CAUSES.items():
        for line in (line for line in lines if line in accounts[0].cash.index):
            seen, lived = (ledger.cash.loc[line, names].to_numpy(np.float64) for ledger in accounts)
            found[cause] += keep * (seen - lived)
    premium = [_imbalance_premium(decision.values, days, books) for decision in decisions]
    found[IMBALANCE] = keep * (premium[1] - premium[0])
    profit = [ledger.scenarios["profit_eur"].to_numpy() for ledger in accounts]
    found[ARBITRAGE] = profit[0] - profit[1] - found.sum(axis=1).to_numpy()
    return found


def _imbalance_premium(values: Series, days: Series, books: Books) -> Floats:
    """What imbalance cost beyond the reference price of its step (D,) [EUR]."""
    long, short = days["imbalance_long_eur_mwh"], days["imbalance_short_eur_mwh"]
    if "intraday_eur_mwh" in days:
        reference = days["intraday_eur_mwh"]
    elif "day_ahead_eur_mwh" in days:
        reference = days["day_ahead_eur_mwh"][:, books.terms.day_ahead_of_step]
    else:
        reference = (long + short) / 2
    paid = (reference - long) * values["long_mw"] + (short - reference) * values["short_mw"]
    return np.asarray(books.terms.dt_h * paid.sum(axis=1))
