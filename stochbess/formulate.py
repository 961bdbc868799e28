"""One decision by each formulation: what it sees, what it maximises, and what it leaves to tell.

Every decision is settled on scenarios in the end, with the recourse of the two-stage model. What a
formulation promises stands beside that: the bounds of `Decided.decision` are those of its own
objective. A new formulation is a function here and a name in `stochbess.formulations`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.aging_passes import Shown, show
from stochbess.aging_prices import bounding_aging, truth_of
from stochbess.assemble import Case
from stochbess.config import Config
from stochbess.decide import Decision, Effort, Problem
from stochbess.engine.ccg import RobustOutcome
from stochbess.engine.risk import Risk
from stochbess.engine.two_stage import Engine
from stochbess.engine.wasserstein import Wasserstein, scenario_distance, worst_distribution
from stochbess.errors import ConfigError
from stochbess.formulations import CVAR_WEIGHT, FORMULATIONS
from stochbess.models.robust import DOWN, UP, ActivationBudget, activation_budget
from stochbess.multi_stage import MultiStage, gate_tree, leaf_case, stages_of_tree
from stochbess.multi_stage_worth import tree_facts
from stochbess.offers import with_single_quantities, without_offer_data
from stochbess.reports.facts import Fact
from stochbess.robust import RobustProblem, mean_scenario
from stochbess.scenario_gen.reduction import reduce_scenarios
from stochbess.valuation import decide_for_mean, mean_series

Floats = npt.NDArray[np.float64]
Tell = Callable[[str, str], None]
Series = Mapping[str, Floats]


@dataclass(frozen=True)
class Decided:
    """A decision, the scenarios it is settled on, and what its formulation has to tell.

    Attributes
    ----------
    decision : settled on `series`; `profit_lb_eur` and `profit_ub_eur` bound the best value of what
        the formulation maximises
    case : the case that it is settled as: on a tree, with its paths as scenarios
    shown : what the plant shows, where aging is more than cycling
    expected_value : the two-stage decision for the mean scenario, where it was solved first
    facts, frames : of this formulation alone
    """

    decision: Decision
    case: Case
    problem: Problem | MultiStage
    series: Series
    names: tuple[str, ...]
    probability: Floats
    expected_value: Decision | None = None
    shown: Shown | None = None
    facts: tuple[Fact, ...] = ()
    frames: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def certified(self) -> Decision:
        """The decision as the solve proved it, before the plant judged its schedules."""
        return self.decision if self.shown is None else self.shown.certified


@dataclass(frozen=True)
class Task:
    """What every formulation is given."""

    case: Case
    effort: Effort
    tell: Tell

    @property
    def config(self) -> Config:
        return self.case.config

    @cached_property
    def two_stage(self) -> Problem:
        return Problem(self.case.data, "two-stage")

    def progress(self, at: float, cost: float, bound: float) -> None:
        """A line about incumbent and bound, told as the solve goes on."""
        if not (np.isfinite(cost) and np.isfinite(bound)):
            self.tell("solve", f"{at:6.1f} s  no incumbent yet")
            return
        gap = (cost - bound) / max(1.0, abs(cost))
        self.tell(
            "solve",
            f"{at:6.1f} s  incumbent {-cost:10.2f} EUR  bound {-bound:10.2f} EUR  gap {gap:7.3%}",
        )


def effective_config(config: Config, formulation: str) -> Config:
    """`config` as the formulation uses it: `mean-cvar` has a weight of CVaR in any case."""
    if formulation == "mean-cvar" and not config.risk.cvar_weight:
        return with_cvar_weight(config, CVAR_WEIGHT)
    return config


def with_cvar_weight(config: Config, weight: float) -> Config:
    """`config` with another weight of CVaR."""
    return config.model_copy(
        update={"risk": config.risk.model_copy(update={"cvar_weight": weight})}
    )


def check_formulation(formulation: str) -> None:
    """Refuse a name that stands for no formulation.

    Raises
    ------
    ConfigError : with the names that do
    """
    if formulation not in FORMULATIONS:
        raise ConfigError(
            f"formulation {formulation!r} is unknown; expected one of {', '.join(FORMULATIONS)}"
        )


def decide_by(formulation: str, case: Case, effort: Effort, tell: Tell) -> Decided:
    """The best here-and-now decision in the sense of `formulation`.

    Raises
    ------
    ConfigError : the formulation is unknown, or does not go with the rest of the configuration
    StochbessError : as the solve raises them
    """
    check_formulation(formulation)
    task = Task(case, effort, tell)
    if formulation in _OWN_MEASURE:
        require_own_measure(task.case, formulation)
    return _BY_NAME[formulation](task)


# -------------------------------------------------------------------- expectation and mean-CVaR


def _deterministic(task: Task) -> Decided:
    case = with_single_quantities(task.case)
    problem = Problem(case.data, "deterministic")
    series, probability = mean_series(case), np.ones(1)
    task.tell("solve", "deterministic, 1 scenario")
    decision = problem.decide(
        series, probability, task.effort, engine="extensive", risk=_risk(task.config),
        progress=task.progress,
    )  # fmt: skip
    name = case.scenarios.names[0] if len(case.scenarios) == 1 else "mean"
    return _judged(task, Decided(decision, case, problem, series, (name,), probability))


def _two_stage(task: Task) -> Decided:
    return _judged(task, _under(task, _risk(task.config)))


def _judged(task: Task, decided: Decided) -> Decided:
    """Let the plant judge the schedules and improve them, where aging is more than cycling."""
    case, problem, config = decided.case, decided.problem, task.config
    if case.judge is None or case.cycle_cost is None or not isinstance(problem, Problem):
        return decided
    task.tell("aging", f"the plant judges {len(decided.probability)} schedule(s)")
    # Ranks have no part in the bound by the plant.
    ranks = config.solver.engine == "cylinders"
    in_parts = problem.formulation == "two-stage" and not ranks
    engine: Engine = one_machine(config) if in_parts else "extensive"
    shown = show(
        problem,
        decided.decision,
        decided.series,
        decided.probability,
        truth_of(case.cycle_cost, case.judge, case.data.aging),
        bounding_aging(config, case.data, case.judge),
        task.effort,
        most_passes=config.aging.passes,
        engine=engine,
        risk=_risk(config),
    )
    return replace(decided, decision=shown.decision, shown=shown)


def _multi_stage(task: Task) -> Decided:
    tree = gate_tree(task.case)
    case = leaf_case(task.case, tree)
    problem = MultiStage(case.data, tree.node_of, stages_of_tree(tree))
    task.tell("solve", f"multi-stage, {len(case.probability)} path(s)")
    expected_value = decide_for_mean(case, task.effort)
    decision = problem.decide(
        case.series,
        case.probability,
        task.effort,
        engine=task.config.solver.engine,
        risk=_risk(task.config),
        progress=task.progress,
        start=expected_value.first_stage,
    )
    return Decided(
        decision, case, problem, case.series, case.scenarios.names, case.probability,
        expected_value, facts=tuple(tree_facts(tree)),
    )  # fmt: skip


def _risk(config: Config) -> Risk:
    return Risk(config.risk.cvar_weight, config.risk.cvar_level)


def _under(task: Task, risk: Risk) -> Decided:
    """The two-stage problem under a measure of risk, begun from the mean-scenario decision."""
    case, problem = task.case, task.two_stage
    task.tell("solve", f"mean scenario, then {len(case.probability)} scenario(s)")
    # Decided first: it is the opponent of VSS, and the search never ends below it.
    expected_value = decide_for_mean(case, task.effort)
    decision = problem.decide(
        case.series,
        case.probability,
        task.effort,
        engine=task.config.solver.engine,
        risk=risk,
        progress=task.progress,
        start=expected_value.first_stage,
    )
    return Decided(
        decision, case, problem, case.series, case.scenarios.names, case.probability, expected_value
    )


# ------------------------------------------------------------------- distributionally robust


def _wasserstein(task: Task) -> Decided:
    case, radius = task.case, task.config.wasserstein.radius
    if len(case.probability) < 2:
        raise ConfigError(
            "formulation wasserstein moves probability between scenarios and found one. Set "
            "scenarios.n above 1, or take formulation two-stage."
        )
    distance = scenario_distance(without_offer_data(case.series), case.probability)
    decided = _under(task, Wasserstein(radius=radius, distance=distance))
    profit = decided.decision.scenario_profit_eur
    worst = worst_distribution(-profit, case.probability, distance, radius)
    apart = distance[~np.eye(len(distance), dtype=bool)]
    facts = (
        *_promised("wasserstein"),
        Fact("radius", radius, "", 4, "mean distance over which probability may be moved"),
        Fact("nearest_scenarios", float(apart.min()), "", 4, "smallest distance of two scenarios"),
        Fact("radius_price", worst.price, "EUR", 2, "profit lost per unit of radius at the margin"),
        Fact("support", f"the {len(profit)} scenarios of the run and no other point", "", 0,
             "what the distributions of the ball may hold"),
        Fact("ground_metric", "root mean square of the differences of two scenarios, every series "
             "in units of its standard deviation", "", 0, "distance between scenarios"),
        Fact("bounded_only", "the ball reweights scenarios: no statement about outcomes beyond "
             "the worst of them", "", 0, "what the bounds do not cover"),
    )  # fmt: skip
    frame = pd.DataFrame(
        {
            "scenario": list(case.scenarios.names),
            "probability": case.probability,
            "worst_probability": worst.probability,
            "profit_eur": profit,
        }
    )
    return replace(decided, facts=facts, frames={"worst_distribution": frame})


# ------------------------------------------------------------------------------------ robust


def called_set(case: Case, budget: int | None = None) -> ActivationBudget:
    """The configured set of called shares, or the same with another budget.

    Raises
    ------
    ConfigError : nothing can be called higher than expected
    """
    settings, found = case.config.robust, None
    if UP in case.series:
        found = activation_budget(
            case.data,
            case.series,
            case.probability,
            period_h=settings.period_h,
            most_all=settings.budget if budget is None else budget,
        )
    if found is None or not (found.deviation_up_frac.any() or found.deviation_down_frac.any()):
        raise ConfigError(
            f"formulation robust: in {len(case.probability)} scenario(s) no call is ever higher "
            "than its mean, so that there is no worst case. Expected scenarios.n above 1 and an "
            "open aFRR market; or take formulation two-stage."
        )
    return found


def price_scenarios(case: Case) -> tuple[dict[str, Floats], Floats]:
    """Prices that the robust formulation decides on, and their probabilities."""
    wanted = case.config.robust.price_scenarios
    if wanted == 1:
        return mean_scenario(case.series, case.probability), np.ones(1)
    if wanted >= len(case.probability):
        return dict(case.series), case.probability
    kept = reduce_scenarios(case.scenarios, wanted)
    return {k: v[kept.kept] for k, v in case.series.items()}, kept.set.probability


def _robust(task: Task) -> Decided:
    case = task.case
    budget = called_set(case)
    robust = RobustProblem(case.data, budget)
    prices, weights = price_scenarios(case)
    task.tell("solve", f"robust, {len(weights)} price scenario(s)")
    found = robust.solve(
        prices, weights, task.effort, engine=one_machine(task.config), progress=task.progress
    )
    first_stage = robust.names(found.x)
    task.tell("solve", "pricing the robust decision on the scenarios")
    priced = task.two_stage.evaluate(case.series, case.probability, first_stage, task.effort)
    lived = task.two_stage.evaluate(
        robust.series_at(prices, found.worst), weights, first_stage, task.effort
    )
    outcome = replace(
        priced.outcome,
        engine="column-and-constraint generation",
        nodes=len(found.iterations),
        wall_s=found.wall_s,
        hit_time_limit=found.hit_time_limit or found.clocked,
    )
    decision = replace(
        priced,
        profit_lb_eur=-found.cost,
        profit_ub_eur=-found.bound,
        # What simultaneous flows would add, as on the scenarios.
        relaxed_profit_eur=-found.cost + priced.relaxed_profit_eur - priced.profit_lb_eur,
        outcome=outcome,
    )
    shown = int(np.argmin(lived.scenario_profit_eur))
    calls = robust.series_at(prices, found.worst)
    nominal = robust.series_at(prices, np.zeros_like(found.worst))
    frames = {
        "worst_course": _course_frame(case, lived, calls, nominal, shown),
        "robust_rounds": _rounds_frame(found),
    }
    facts = _robust_facts(case, found, lived, shown, len(weights))
    return Decided(
        decision, case, task.two_stage, case.series, case.scenarios.names, case.probability,
        facts=facts, frames=frames,
    )  # fmt: skip


def _robust_facts(
    case: Case, found: RobustOutcome, lived: Decision, shown: int, n_prices: int
) -> tuple[Fact, ...]:
    settings, n_high = case.config.robust, float(np.round(found.worst[shown]).sum())
    return (
        *_promised("robust"),
        Fact("robust_budget", float(settings.budget), "", 0, "most periods that are called high"),
        Fact("robust_period", settings.period_h, "h", 2, "length of a period"),
        Fact("periods_called_high", n_high, "", 0, "periods called high in the worst course"),
        Fact("worst_course_bound", -found.attained, "EUR", 2,
             "profit at the worst course found, with the recourse that the proof allows"),
        Fact("worst_course_profit", lived.profit_lb_eur, "EUR", 2,
             "the same course with the recourse of the two-stage model, no simultaneous flows"),
        Fact("courses", float(found.pairs), "", 0, "courses of calls that the master holds"),
        Fact("rounds", float(len(found.iterations)), "", 0, "rounds of master and adversary"),
        Fact("support", _support_words(case, n_prices), "", 0, "what may happen in the set"),
        Fact("bounded_only", "the profit is a lower bound of the worst case and the bound an upper "
             "one; the recourse behind both may charge and discharge at once and keeps the rows of "
             "gross flows at both ends of every share", "", 0, "what is bounded and not exact"),
    )  # fmt: skip


def _rounds_frame(found: RobustOutcome) -> pd.DataFrame:
    """Proven bounds of the best worst-case profit after every round; NaN before the first proof."""
    rounds = found.iterations
    lower = [-i.upper if np.isfinite(i.upper) else np.nan for i in rounds]
    return pd.DataFrame(
        {
            "worst_profit_lb_eur": lower,
            "worst_profit_ub_eur": [-i.lower for i in rounds],
            "courses": [i.pairs for i in rounds],
        }
    )


def _support_words(case: Case, n_prices: int) -> str:
    settings = case.config.robust
    prices = (
        "mean prices"
        if n_prices == 1
        else f"{n_prices} price scenarios, their worst cases averaged"
    )
    return (
        f"called shares from the mean of {len(case.probability)} scenarios up to their 95 % "
        f"quantile in at most {settings.budget} period(s) of {settings.period_h:g} h; {prices}"
    )


def _course_frame(
    case: Case, lived: Decision, calls: Series, nominal: Series, shown: int
) -> pd.DataFrame:
    """The worst course of calls, step by step, and the answer of the battery to it."""
    values = lived.values
    frame = pd.DataFrame({"delivery_start_utc": case.horizon.steps})
    for name, column in ((UP, "up"), (DOWN, "down")):
        frame[f"called_{column}_frac"] = calls[name][shown]
        frame[f"nominal_{column}_frac"] = nominal[name][shown]
    for column in ("delivered_up_mw", "delivered_down_mw", "charge_mw", "discharge_mw"):
        frame[column] = values[column][shown]
    frame["energy_end_mwh"] = values["energy_mwh"][shown, 1:]
    return frame


def _promised(formulation: str) -> tuple[Fact, ...]:
    return (Fact("promise", FORMULATIONS[formulation].promise, "", 0, "what was maximised"),)


def require_own_measure(case: Case, formulation: str) -> None:
    """Refuse what a formulation with a measure of its own cannot count with.

    Raises
    ------
    ConfigError : a weight of CVaR, aging that the plant shows, ranks, or offers with prices
    """
    config, data = case.config, case.data
    if config.risk.cvar_weight:
        raise ConfigError(
            f"risk.cvar_weight is {config.risk.cvar_weight:g} beside formulation {formulation}, "
            "which has its own measure of risk. Expected 0; set risk.cvar_weight=0, or take "
            "formulation mean-cvar."
        )
    if case.judge is not None:
        raise ConfigError(
            f"formulation {formulation} prices aging by the model alone; found aging.mechanisms="
            f"{','.join(config.aging.mechanisms)}. Set aging.mechanisms=[cycle]."
        )
    one_machine(config)
    priced = data.energy.curve_price_eur_mwh.size or data.reserves.menu is not None
    if formulation == "robust" and priced:
        raise ConfigError(
            "formulation robust offers single quantities; found a day-ahead curve or a menu of "
            "bids. Set markets.day_ahead.curve_points=1 and leave markets.afrr.bid_menu out."
        )


def one_machine(config: Config) -> Engine:
    """The configured engine where ranks cannot help.

    Raises
    ------
    ConfigError : it is "cylinders"
    """
    engine = config.solver.engine
    if engine == "cylinders":
        raise ConfigError(
            "the engine cylinders solves expectations and mean-CVaR in two stages only. Choose "
            "solver.engine=auto, extensive or decomposition."
        )
    return engine


# Formulations that maximise neither an expectation nor its mix with CVaR.
_OWN_MEASURE = ("robust", "wasserstein")
_BY_NAME: dict[str, Callable[[Task], Decided]] = {
    "deterministic": _deterministic,
    "two-stage": _two_stage,
    "mean-cvar": _two_stage,
    "robust": _robust,
    "wasserstein": _wasserstein,
    "multi-stage": _multi_stage,
}
