"""The multi-stage decision: a tree of the gates, the two-stage model on its paths, one certificate.

Wires scenario_gen/gate_tree.py (who knows what when), models/multi_stage.py (who decides when) and
engine/tree.py (one column per node). The result is a `Decision` over the leaves, so that tables,
settlement and reports read it like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stochbess.assemble import Case, series_of_leaves
from stochbess.clock import monotonic_s
from stochbess.conversion import constant_only
from stochbess.decide import Decision, Effort, Method, Problem, by_component
from stochbess.engine.matrix import blocks
from stochbess.engine.risk import NEUTRAL, Risk
from stochbess.engine.template import Template
from stochbess.engine.tree import TreeBlocks, exclusive_tree, price_trunk, solve_tree
from stochbess.engine.two_stage import Engine, TwoStageOutcome
from stochbess.errors import ConfigError
from stochbess.models.data import ModelData
from stochbess.models.multi_stage import DecisionStages, column_stages
from stochbess.scenario_gen.gate_tree import Branching, GateTree, gate_tree_of, grow_gate_tree
from stochbess.scenario_gen.tree_file import read_tree

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
# Part of the requested gap that the relaxation may use; the rest is for excluding loop flows.
_RELAXATION_SHARE = 0.8


def gate_tree(case: Case) -> GateTree:
    """The tree of a case: grown from its scenarios as `tree` in the configuration says, or read.

    Raises
    ------
    ScenarioError : the tree file does not fit the horizon, or a branching is below one
    ConfigError : losses grow with power, or a menu of bids meets a tree that cannot tell awards
    """
    constant_only(case.config, "the multi-stage formulation")
    tree = case.config.tree
    if tree.file is not None:
        found = gate_tree_of(read_tree(tree.file), case.horizon, case.scenarios.series)
        after_award = min(found.afrr + 1, len(found.stages))
        if case.data.reserves.menu is not None and found.nodes_per_stage[after_award] == 1:
            raise ConfigError(
                "markets.afrr.bid_menu needs a tree that tells awards apart; "
                f"{tree.file} has one node after the capacity result."
            )
        return found
    branching = Branching(tree.reserves, tree.day_ahead, tree.intraday, tuple(tree.delivery))
    menu = case.data.reserves.menu is not None
    if menu and tree.reserves == 1:
        raise ConfigError(
            "markets.afrr.bid_menu needs a tree that tells awards apart; found tree.reserves=1. "
            "Set it to 2 or more."
        )
    return grow_gate_tree(case.scenarios, case.horizon, branching, mean_capacity=not menu)


def leaf_case(case: Case, tree: GateTree) -> Case:
    """The same decision with the leaves of the tree as its scenarios."""
    return replace(case, scenarios=tree.scenarios, series=series_of_leaves(case, tree.scenarios))


def stages_of_tree(tree: GateTree) -> DecisionStages:
    """(131) The gates as they are: a window is traded before its calls are known, run after."""
    after = tree.windows[tree.window_of_step]
    return DecisionStages(
        fcr=tree.fcr,
        afrr=tree.afrr,
        day_ahead=tree.day_ahead,
        awarded=min(tree.afrr + 1, len(tree.stages)),
        cleared=tree.cleared,
        trade=after - 1,
        dispatch=after,
        last=len(tree.stages),
    )


@dataclass(frozen=True)
class Orders:
    """The information orders of one tree (133): who is how clairvoyant after which bid."""

    wait_and_see: DecisionStages
    reserves_only: DecisionStages
    multi_stage: DecisionStages
    two_stage: DecisionStages
    day_ahead_early: DecisionStages


def orders_of(tree: GateTree) -> Orders:
    """(133) WS, A, B, M and C of a tree."""
    stages = stages_of_tree(tree)
    return Orders(
        stages.foreseen(),
        stages.clairvoyant_after(stages.last),
        stages,
        stages.clairvoyant_after(0),
        replace(stages, day_ahead=0),
    )


class MultiStage:
    """One multi-stage problem: model data, node of every leaf, and who decides when."""

    def __init__(self, data: ModelData, node_of: Ints, stages: DecisionStages) -> None:
        if data.aging.model == "cuts":
            raise ConfigError(
                "the multi-stage formulation cannot price aging by cuts that are found during the "
                "solve. Set aging.model=segments, throughput or none."
            )
        self.data, self.node_of, self.stages = data, node_of, stages
        self._problem = Problem(data, "two-stage")

    def with_stages(self, stages: DecisionStages) -> MultiStage:
        """The same templates under another information order."""
        other = MultiStage(self.data, self.node_of, stages)
        other._problem = self._problem
        return other

    def tree(self, template: Template, series: Mapping[str, Floats], p: Floats) -> TreeBlocks:
        """The numbers of all leaves with the nodes and the stage of every column."""
        stage = column_stages(template.columns, self.data, self.stages)
        return TreeBlocks(blocks(template, series, p), self.node_of, stage)

    @property
    def binary(self) -> Template:
        """One path, simultaneous flows excluded."""
        return self._problem.binary

    def decide(
        self,
        series: Mapping[str, Floats],
        probability: Floats,
        effort: Effort,
        *,
        engine: Method = "auto",
        risk: Risk = NEUTRAL,
        progress: Callable[[float, float, float], None] | None = None,
        start: Mapping[str, float] | None = None,
    ) -> Decision:
        """Best decisions of all nodes; `profit_ub_eur` bounds every policy of the tree from above.

        `series` are those of the leaves. `start` is a decision of the trunk to begin from.

        Raises
        ------
        InfeasibleError, SolverError : as `solve_tree`
        """
        if engine == "cylinders":
            raise ConfigError(
                "the engine cylinders solves two stages only. Choose solver.engine=auto, extensive "
                "or decomposition for the multi-stage formulation."
            )
        method: Engine = engine
        tree = self.tree(self._problem.relaxed, series, probability)
        x = None if start is None else self._trunk(tree, start)
        began = monotonic_s()

        def attempt(share: float, x: Floats | None, limit_s: float) -> Decision:
            outcome = solve_tree(
                tree,
                gap_frac=share * effort.gap_frac,
                time_limit_s=limit_s,
                threads=effort.threads,
                engine=method,
                risk=risk,
                seed=effort.seed,
                progress=progress,
                stop=effort.stop,
                start=x,
            )
            return self._exclusive(outcome, tree, series, probability, effort, risk)

        first = attempt(_RELAXATION_SHARE, x, effort.time_limit_s)
        lost = first.relaxed_profit_eur - first.profit_lb_eur
        left = effort.gap_frac - lost / max(1.0, abs(first.profit_lb_eur))
        if first.gap_frac <= effort.gap_frac or left <= 0 or first.outcome.hit_time_limit:
            return first
        # Excluding loop flows took more of the gap than was set aside: prove the rest as well.
        remaining_s = max(1.0, effort.time_limit_s - (monotonic_s() - began))
        trunk = self._trunk(tree, first.first_stage)
        second = attempt(0.9 * left / effort.gap_frac, trunk, remaining_s)
        best = max(first, second, key=lambda found: found.profit_lb_eur)
        return replace(best, profit_ub_eur=min(first.profit_ub_eur, second.profit_ub_eur))

    def evaluate(
        self,
        series: Mapping[str, Floats],
        probability: Floats,
        trunk: Mapping[str, float],
        effort: Effort,
    ) -> Decision:
        """Price given bids of the trunk with optimal decisions of everything else.

        Bids are what is here-and-now in the two-stage problem; missing names count as zero.
        """
        tree = self.tree(self._problem.relaxed, series, probability)
        held, columns = self.bid_columns(tree), tree.block.template.columns
        x = np.array([trunk.get(columns[j], 0.0) for j in held])
        outcome = price_trunk(tree, held, x, effort.threads)
        return self._exclusive(outcome, tree, series, probability, effort, NEUTRAL)

    @staticmethod
    def bid_columns(tree: TreeBlocks) -> Ints:
        """Columns of the trunk that are here-and-now in the two-stage problem."""
        return np.intersect1d(tree.trunk_columns, tree.block.template.first_stage)

    def _trunk(self, tree: TreeBlocks, by_name: Mapping[str, float]) -> Floats:
        columns = tree.block.template.columns
        return np.array([by_name.get(columns[j], 0.0) for j in tree.trunk_columns])

    def _exclusive(
        self,
        outcome: TwoStageOutcome,
        relaxed: TreeBlocks,
        series: Mapping[str, Floats],
        probability: Floats,
        effort: Effort,
        risk: Risk,
    ) -> Decision:
        """Keep trunk and whole lots, decide all else again without simultaneous flows."""
        binary = self._problem.binary
        tree = self.tree(binary, series, probability)
        either_or = np.array([n.startswith("discharging[") for n in binary.columns])
        lots = binary.integer & ~either_or
        kept = np.union1d(tree.trunk_columns, np.flatnonzero(lots))
        kept = kept[~either_or[kept]]
        at = relaxed.block.template.column_position
        held = {}
        for j in kept:
            values = outcome.values[:, at[binary.columns[j]]]
            held[int(j)] = np.round(values) if lots[j] else values
        values, cost, made_whole, late = exclusive_tree(
            tree, held, np.flatnonzero(either_or), effort.threads, effort.time_limit_s
        )
        outcome = replace(outcome, hit_time_limit=outcome.hit_time_limit or late)
        trunk = [j for j in tree.trunk_columns if not either_or[j]]
        return Decision(
            first_stage={binary.columns[j]: float(values[0, j]) for j in trunk},
            values=by_component(binary, values),
            scenario_profit_eur=-cost,
            profit_lb_eur=-risk.of_cost(cost, probability),
            profit_ub_eur=-outcome.bound,
            relaxed_profit_eur=-outcome.cost,
            made_whole=made_whole,
            outcome=outcome,
        )
