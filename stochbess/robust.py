"""Robust decisions: activation in a budgeted set, prices from scenarios.

Puts the model, the set of called shares and the engine together. The recourse keeps the rows (3) at
both ends of every uncertain share, so that it is feasible whatever is called in between and the
worst case is at a vertex (docs/math.md, section Robust).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from stochbess.decide import Effort
from stochbess.engine.adversary import MovingRows
from stochbess.engine.ccg import (
    Courses,
    RobustOutcome,
    blocks_at,
    price_at,
    solve_robust,
)
from stochbess.engine.lshaped import Recourse
from stochbess.engine.risk import NEUTRAL, Risk
from stochbess.engine.template import Bools, Ints, Template, compile_template
from stochbess.engine.two_stage import Engine
from stochbess.engine.uncertainty import Budget, BudgetSet, fixed_recourse
from stochbess.errors import ConfigError
from stochbess.models.data import ModelData
from stochbess.models.robust import DOWN, UP, ActivationBudget, delivery_worth_eur_mw
from stochbess.models.two_stage import two_stage

Floats = npt.NDArray[np.float64]
# State of the battery at the end of a step; the last index counts the steps.
STORED = ("energy_mwh", "segment_mwh")


@dataclass(frozen=True)
class PriceOfRobustness:
    """What a decision earns at worst and on the scenarios, by budget or radius.

    Attributes
    ----------
    parameter : budget of deviations, or Wasserstein radius
    worst_profit_eur : proven worst-case profit of the decision
    worst_profit_ub_eur : proven upper bound of the worst-case profit of every decision
    expected_profit_eur : mean profit of the decision on the scenarios, with their own shares
    gap_frac : proven relative gap of the worst-case profit
    """

    parameter: float
    worst_profit_eur: float
    worst_profit_ub_eur: float
    expected_profit_eur: float
    gap_frac: float


class RobustProblem:
    """Templates of one robust problem, compiled on first use.

    Raises
    ------
    ConfigError : no reserve is called in `data`, so that nothing is uncertain, or aging is priced
        by cuts that are found during a solve, or efficiency is not constant
    """

    def __init__(self, data: ModelData, budget: ActivationBudget) -> None:
        if not data.reserves.any:
            raise ConfigError(
                "the robust formulation needs a reserve market or a commitment: its uncertain "
                "numbers are the called shares. Open markets.afrr or use another formulation."
            )
        if data.aging.model == "cuts":
            raise ConfigError(
                "the robust formulation cannot price aging by cuts that are found during the "
                "solve. Set aging.model to segments, throughput or none."
            )
        if data.asset.losses is not None:
            raise ConfigError(
                "the robust formulation counts with constant efficiencies: its bound (96e) is "
                "proven for them. Set battery.efficiency_model=constant."
            )
        self.data, self.budget = data, budget

    @cached_property
    def exact(self) -> Template:
        """The two-stage template, with rows (3) at the share itself."""
        return compile_template(two_stage(replace(self.data, exclusive="relaxed")))

    @cached_property
    def template(self) -> Template:
        """The two-stage template with rows (3) at both ends of every share."""
        return fixed_recourse(self.exact, self.uncertain)

    @cached_property
    def uncertain(self) -> BudgetSet:
        b, layout = self.budget, self.exact.layout
        n, k = len(b.period_of_step), b.n_periods
        positions = np.concatenate([np.arange(layout[s].start, layout[s].stop) for s in (UP, DOWN)])
        deviation = np.concatenate((b.deviation_up_frac, b.deviation_down_frac))
        member = np.concatenate((b.period_of_step, k + b.period_of_step))
        moves = np.flatnonzero(deviation > 0)
        matrix = sp.csr_array((deviation[moves], (moves, member[moves])), shape=(2 * n, 2 * k))
        groups = (
            (np.arange(k), b.most_up),
            (k + np.arange(k), b.most_down),
            (np.arange(2 * k), b.most_all),
        )
        budgets = [Budget(members, most) for members, most in groups if most is not None]
        opposed = [Budget(np.array([p, k + p]), 1) for p in b.opposed]
        nominal = np.concatenate((b.nominal_up_frac, b.nominal_down_frac))
        return BudgetSet(positions, nominal, matrix, (*budgets, *opposed))

    @cached_property
    def linking(self) -> Bools:
        """Columns of stored energy at the ends of the periods that deviate together."""
        t, period = self.template, self.budget.period_of_step
        ends = {k for k in range(1, len(period)) if period[k - 1] != period[k]}
        out = np.zeros(len(t.columns), bool)
        for name, j in t.column_position.items():
            component, _, index = name.partition("[")
            if component in STORED:
                out[j] = int(index[:-1].rpartition(",")[2]) in ends
        return out

    def moving(self, series: Mapping[str, Floats]) -> list[MovingRows]:
        """Rows (2a), (2b) with bounds of their duals, per scenario of `series`."""
        t, steps = self.template, range(self.data.grid.n_steps)
        row_at = {name: i for i, name in enumerate(t.rows)}
        at = t.column_position

        def rows(name: str, table: Mapping[str, int]) -> Ints:
            return np.array([table[f"{name}[{s}]"] for s in steps], np.int64)

        def both(up: str, down: str, table: Mapping[str, int]) -> Ints:
            return np.concatenate((rows(up, table), rows(down, table)))

        row = both("activation_up", "activation_down", row_at)
        delivered = both("delivered_up_mw", "delivered_down_mw", at)
        substitutes = [both("long_mw", "short_mw", at), both("short_mw", "long_mw", at)]
        if self.data.energy.intraday:
            substitutes += [both("sell_mw", "buy_mw", at), both("buy_mw", "sell_mw", at)]
        instead = np.column_stack(substitutes)
        signs = np.array([1.0, -1.0] * (len(substitutes) // 2))
        worth = np.hstack(delivery_worth_eur_mw(self.data, series))
        return [MovingRows(row, bound, delivered, instead, signs) for bound in worth]

    def solve(
        self,
        series: Mapping[str, Floats],
        probability: Floats,
        effort: Effort,
        *,
        engine: Engine = "auto",
        outer: Risk = NEUTRAL,
        progress: Callable[[float, float, float], None] | None = None,
        courses: Courses | None = None,
    ) -> RobustOutcome:
        """Best decision under the worst activation of every price scenario in `series`.

        `outer` adds the scenarios up: the expectation by default. Costs are negative profits.
        `courses` carries what one search found to the next, over the same prices.
        """
        return solve_robust(
            self.template,
            self.template.stack(series),
            probability,
            self.uncertain,
            self.moving(series),
            gap_frac=effort.gap_frac,
            time_limit_s=effort.time_limit_s,
            linking=self.linking,
            threads=effort.threads,
            engine=engine,
            outer=outer,
            seed=effort.seed,
            progress=progress,
            stop=effort.stop,
            courses=courses,
        )

    def budgeted(self, most_all: int) -> RobustProblem:
        """The same problem with another budget over both directions; templates are shared."""
        other = RobustProblem(self.data, replace(self.budget, most_all=most_all))
        other.__dict__ |= {"exact": self.exact, "template": self.template}
        return other

    def names(self, x: Floats) -> dict[str, float]:
        """A here-and-now decision by variable name."""
        columns = [self.exact.columns[j] for j in self.exact.first_stage]
        return dict(zip(columns, (float(v) for v in x), strict=True))

    def series_at(self, series: Mapping[str, Floats], points: Floats) -> dict[str, Floats]:
        """`series` (S scenarios) with the called shares at points z (S, K), one for each."""
        xi, layout = self.exact.stack(series), self.exact.layout
        data = np.array([self.uncertain.data(one, z) for one, z in zip(xi, points, strict=True)])
        return {name: data[:, part] for name, part in layout.items()}

    def profit_at(self, series: Mapping[str, Floats], x: Floats, points: Floats) -> Floats:
        """Profit of decision `x` at points z (P, K) of the set, with (3) at the share itself.

        `series` holds one scenario. Never less than what the robust recourse earns there.
        """
        return -price_at(self.exact, self.exact.stack(series)[0], self.uncertain, x, points)

    def expected_profit_eur(
        self, series: Mapping[str, Floats], probability: Floats, x: Floats, threads: int = 1
    ) -> float:
        """Mean profit of decision `x` on scenarios with their own shares."""
        block = blocks_at(self.exact, self.exact.stack(series), probability)
        recourse = Recourse(block, threads)
        try:
            cost, _ = recourse.evaluate(x)
        finally:
            recourse.close()
        return -float(probability @ cost)


def mean_scenario(series: Mapping[str, Floats], probability: Floats) -> dict[str, Floats]:
    """The one scenario of the means, (1, length) per series."""
    return {name: (probability @ np.asarray(values))[None, :] for name, values in series.items()}


def price_of_robustness(
    data: ModelData,
    series: Mapping[str, Floats],
    probability: Floats,
    budgets: Sequence[ActivationBudget],
    effort: Effort,
    *,
    mean_prices: bool = True,
) -> tuple[PriceOfRobustness, ...]:
    """Worst-case and expected profit of the robust decision for each budget, in their order.

    The parameter of a budget is the most periods that deviate in all, or the sum over directions
    where there is no such limit. `mean_prices` decides on the mean prices; else every scenario
    keeps its prices and has an adversary of its own, and the worst cases are averaged.
    """
    prices = mean_scenario(series, probability) if mean_prices else dict(series)
    weights = np.ones(1) if mean_prices else probability
    out = []
    for budget in budgets:
        problem = RobustProblem(data, budget)
        found = problem.solve(prices, weights, effort)
        expected = problem.expected_profit_eur(series, probability, found.x, effort.threads)
        out.append(
            PriceOfRobustness(_size(budget), -found.cost, -found.bound, expected, found.gap_frac)
        )
    return tuple(out)


def _size(budget: ActivationBudget) -> float:
    k = budget.n_periods
    up = k if budget.most_up is None else budget.most_up
    down = k if budget.most_down is None else budget.most_down
    return float(up + down if budget.most_all is None else min(budget.most_all, up + down))
