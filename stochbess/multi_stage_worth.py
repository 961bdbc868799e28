"""What a multi-stage decision is worth, and what the tree says about itself.

Wait-and-see and the expected-value decision generalise to several stages in more than one way. Here
EEV fixes what is decided before the tree branches at the decision for the mean path and lets all
later nodes decide optimally (the first value of the chain of Escudero et al. 2007,
doi 10.1007/s11750-007-0005-4). Beside it stands the policy that plans for the conditional mean
again at every node, their dynamic solution of the average scenario; Maggioni et al. 2014
(doi 10.1007/s10957-013-0450-1) measure the same on a rolling horizon. All are intervals of bounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from stochbess.assemble import Case, without_battery
from stochbess.decide import Decision, Effort, Problem
from stochbess.engine.matrix import blocks
from stochbess.engine.rolling import Stage, certified_cost, roll
from stochbess.engine.tree import with_trunk
from stochbess.evaluate.worth import Interval, Worth
from stochbess.multi_stage import MultiStage
from stochbess.reports.facts import Fact
from stochbess.scenario_gen.gate_tree import GateTree
from stochbess.valuation import Tell, wait_and_see

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
# What is decided for good at a node; other columns only keep account of these.
_DECISIONS = (
    "fcr_lots", "afrr_up_lots", "afrr_down_lots", "afrr_up_offer", "afrr_down_offer",
    "day_ahead_mw", "day_ahead_curve_mw", "buy_mw", "sell_mw", "charge_mw", "discharge_mw",
    "delivered_up_mw", "delivered_down_mw", "discharging",
)  # fmt: skip


def value_tree(
    case: Case,
    problem: MultiStage,
    decision: Decision,
    expected_value: Decision,
    effort: Effort,
    tell: Tell,
) -> Worth:
    """WS, RP, EEV and two opponents of a risk-neutral multi-stage decision (134).

    `case` holds the leaves as its scenarios. Opponents: the mean planned again at every node, and
    the bids of the two-stage problem on the same leaves, lived on the tree.
    """
    series, p = case.series, case.probability
    limits = [expected_value.outcome.hit_time_limit]
    tell("worth", "wait-and-see, every path on its own")
    ws = wait_and_see(case, Problem(case.data, "two-stage"), effort, tell, limits)
    tell("worth", "pricing the expected-value decision on the tree")
    eev = _priced(problem.evaluate(series, p, expected_value.first_stage, effort))
    tell("worth", "planning for the mean again at every node")
    profit = float(p @ rolling_mean_profit(problem, series, p, expected_value.first_stage))
    tell("worth", "the bids of the two-stage problem on the tree")
    two_stage = Problem(case.data, "two-stage").decide(
        series, p, effort, start=expected_value.first_stage
    )
    limits.append(two_stage.outcome.hit_time_limit)
    opponents = {
        "mean planned again at every node": Interval(profit, profit),
        "two-stage bids": _priced(problem.evaluate(series, p, two_stage.first_stage, effort)),
    }
    rp = Interval(decision.profit_lb_eur, decision.profit_ub_eur)
    return Worth(ws, rp, eev, opponents, cut_short=any(limits))


def _priced(priced: Decision) -> Interval:
    return Interval(priced.profit_lb_eur, priced.relaxed_profit_eur)


def rolling_mean_profit(
    problem: MultiStage,
    series: Mapping[str, Floats],
    probability: Floats,
    root: Mapping[str, float],
) -> Floats:
    """(135) Profit of every leaf (L,) if each node plans for the mean of the paths through it.

    What is offered before the tree branches is `root`, the decision for the mean of all paths. At
    every stage the node of a leaf sees the mean of its own leaves, decides what is due, and
    goes on.

    Raises
    ------
    SolverError : a stage has no solution, or the certificate of a leaf fails
    """
    template = problem.binary
    tree = problem.tree(template, series, probability)
    stage_of = tree.column_stage
    root_columns = problem.bid_columns(tree)
    rooted = with_trunk(template, root_columns)
    x = np.array([root.get(template.columns[j], 0.0) for j in root_columns])
    exact, xi = blocks(rooted, series, probability), rooted.stack(series)
    profit = np.empty(len(probability))
    for leaf in range(len(probability)):
        stages = _mean_stages(problem, xi, probability, leaf, stage_of, root_columns)
        profit[leaf] = -certified_cost(exact, leaf, roll(rooted, x, stages))
    return profit


def _decisions(columns: Sequence[str]) -> Bools:
    return np.array([_component(name) in _DECISIONS for name in columns])


def _component(name: str) -> str:
    return name.partition("[")[0]


def _mean_stages(
    problem: MultiStage,
    xi: Floats,
    probability: Floats,
    leaf: int,
    stage_of: Ints,
    root_columns: Ints,
) -> list[Stage]:
    """What each node on the path of a leaf sees and decides; the last stage keeps account."""
    columns = problem.binary.columns
    decides = _decisions(columns)
    binary = np.array([_component(name) == "discharging" for name in columns])
    rooted = np.zeros(len(columns), bool)
    rooted[root_columns] = True
    found = []
    last = len(problem.node_of) - 1
    for k in range(last + 1):
        below = problem.node_of[k] == problem.node_of[k, leaf]
        mean = probability[below] @ xi[below] / probability[below].sum()
        due = np.flatnonzero((stage_of == k) & decides & ~rooted)
        # Trades decided now must leave room for flows that can be whole in their window.
        ahead = np.flatnonzero((stage_of == k + 1) & binary)
        found.append(Stage(mean, due, np.flatnonzero((stage_of == k) & binary), ahead))
    none = np.zeros(0, np.int64)
    return [*found, Stage(xi[leaf], none, none, none)]


def virtual_on_tree(case: Case, problem: MultiStage, effort: Effort) -> float:
    """Expected profit of the same tree without a battery and without reserves [EUR]."""
    bare = MultiStage(without_battery(case).data, problem.node_of, problem.stages)
    found = bare.decide(
        case.series, case.probability, replace(effort, gap_frac=1e-6), engine="extensive"
    )
    return float(case.probability @ found.scenario_profit_eur)


def tree_facts(tree: GateTree) -> list[Fact]:
    """What a reader must know of the tree to judge the result."""
    names = ("the gates", *(name.replace("_", " ") for name in tree.stages))
    shape = ", ".join(f"{n} {name}" for n, name in zip(tree.nodes_per_stage, names, strict=True))
    facts = [
        Fact("tree_nodes", shape, "", 0, "nodes before and after each stage of the tree"),
        Fact("tree_leaves", float(len(tree.scenarios)), "", 0, "paths of the tree"),
        Fact("tree_foretold", tree.foretold_frac, "", 4,
             "share of the delivery in which the tree no longer branches: it is told in advance"),
    ]  # fmt: skip
    if tree.distance is not None:
        facts.append(
            Fact("tree_distance", tree.distance[1], "", 4,
                 "Kantorovich distance of the paths to the scenarios, relative to that of the best "
                 "single scenario")
        )  # fmt: skip
    return facts
