"""From a fan of scenarios to a tree: conditional clustering, stage by stage, and its certificate.

At the root all scenarios are together. At every stage the bundle of each node is split into groups
that look alike in what becomes known *at that stage* - nothing later may tell them apart - and each
group becomes a child that carries the values of its medoid. This is the forward construction
(Heitsch & Roemisch 2009, doi 10.1007/s10107-007-0197-2) with the reduction of `reduction.select`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stochbess.errors import ScenarioError
from stochbess.scenario_gen.distance import (
    Ints,
    Metric,
    ground_distances,
    nested_distance,
    transport_cost,
)
from stochbess.scenario_gen.reduction import Scale, named_scale, scale_factors, select
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.series import Array
from stochbess.scenario_gen.tree import GATE_STAGES, ScenarioTree, Stage, stages_of


@dataclass(frozen=True, eq=False)
class TreeBuild:
    """A tree and what is known of its distance to the fan.

    All distances have the unit of the ground metric (standard deviations for scale "spread").

    Attributes
    ----------
    tree : its provenance repeats the distances
    leaf_of : leaf (position among the leaves) that holds each scenario of the fan, shape (S,)
    assigned_distance : mean distance (69) between a scenario and the path of its leaf
    transport_distance : Kantorovich distance (60) between fan and leaf paths; not above the
        assigned one, and blind to when things become known
    """

    tree: ScenarioTree
    leaf_of: Ints
    assigned_distance: float
    transport_distance: float


def build_tree(
    scenarios: ScenarioSet,
    branching: Sequence[int],
    stages: Sequence[Stage] = GATE_STAGES,
    scale: Scale = "spread",
    metric: Metric = "euclidean",
) -> TreeBuild:
    """Tree of the fan `scenarios` with at most ``branching[k]`` children for each node of stage k.

    Parameters
    ----------
    scenarios : the fan; its probabilities are respected and add up in the nodes
    branching : one number >= 1 for each stage that `stages_of` leaves; a node whose bundle holds
        fewer different vectors gets fewer children
    stages : gates and series, in order
    scale, metric : as in `reduction.reduce_scenarios`; the factors are those of the whole fan

    Raises
    ------
    ScenarioError : a branching of another length or below 1, or series without a stage
    """
    used = stages_of(scenarios, stages)
    if len(branching) != len(used) or min(branching) < 1:
        raise ScenarioError(
            f"branching {list(branching)}: expected {len(used)} numbers >= 1, one for each of "
            f"the stages {', '.join(s.name for s in used)}"
        )
    factors = scale_factors(scenarios, scale, metric)
    p = np.asarray(scenarios.probability, np.float64)
    bundles = [np.arange(len(p), dtype=np.int64)]
    parent, depth, medoids = [-1], [0], [0]
    probability, first = [1.0], 0
    for k, (stage, n) in enumerate(zip(used, branching, strict=True), start=1):
        vectors = _stage_vectors(scenarios, stage, factors)
        split = [split_bundle(vectors, p, bundle, n, metric) for bundle in bundles]
        above, bundles = first, []
        first = len(parent)
        for position, groups in enumerate(split):
            for medoid, members in groups:
                parent.append(above + position)
                depth.append(k)
                medoids.append(medoid)
                probability.append(float(p[members].sum() / p.sum()))
                bundles.append(members)
    tree = ScenarioTree(
        used,
        np.array(parent, np.int64),
        np.array(depth, np.int64),
        np.array(probability),
        _node_values(scenarios, used, np.array(depth), np.array(medoids)),
        scenarios.index,
    )
    leaf_of = np.empty(len(p), np.int64)
    for leaf, members in enumerate(bundles):
        leaf_of[members] = leaf
    return _certified(tree, scenarios, leaf_of, factors, (metric, named_scale(scale)))


def fan_tree(scenarios: ScenarioSet, stages: Sequence[Stage] = GATE_STAGES) -> ScenarioTree:
    """The fan itself as a tree: it branches at the root only, so all is known after one gate."""
    used = stages_of(scenarios, stages)
    size = len(scenarios)
    parent = [[-1], [0] * size]
    parent += [list(range(1 + size * k, 1 + size * (k + 1))) for k in range(len(used) - 1)]
    return ScenarioTree(
        used,
        np.array([node for level in parent for node in level], np.int64),
        np.repeat(np.arange(len(used) + 1), [1] + [size] * len(used)),
        np.concatenate([[1.0], np.tile(scenarios.probability, len(used))]),
        scenarios.values,
        scenarios.index,
        scenarios.provenance,
    )


def nested_distance_to_fan(
    tree: ScenarioTree,
    scenarios: ScenarioSet,
    stages: Sequence[Stage] = GATE_STAGES,
    scale: Scale = "spread",
    metric: Metric = "l1",
) -> float:
    """Nested distance (67) between a tree and the fan, taken as a process that is known at once.

    Mostly the price of *information*: it stays large however many leaves the tree has, because in
    the fan the first result tells the whole day. Compare trees of one fan with it; the error of
    the values is in `TreeBuild`.
    """
    factors = scale_factors(scenarios, scale, metric)
    fan = fan_tree(scenarios, stages)
    return nested_distance(tree.numbers(factors), fan.numbers(factors), metric)


def _stage_vectors(scenarios: ScenarioSet, stage: Stage, factors: dict[str, float]) -> Array:
    parts = [scenarios.values[s] * factors[s] for s in stage.series if s in factors]
    return np.concatenate([*parts, np.zeros((len(scenarios), 0))], axis=1)


def split_bundle(
    vectors: Array, p: Array, bundle: Ints, n: int, metric: Metric
) -> list[tuple[int, Ints]]:
    """Medoid and members of at most `n` groups of a bundle, in the order of their medoids."""
    matrix = ground_distances(vectors[bundle], vectors[bundle], metric)
    weight = p[bundle] / p[bundle].sum()
    kept = select(matrix, weight, min(n, len(bundle)))
    # Equal vectors tell nothing apart: they go to one kept scenario, and its twins have no group.
    group = np.argmin(matrix[:, kept], axis=1)
    kept, group = _without_empty(kept, group)
    return [(int(bundle[m]), bundle[group == g]) for g, m in enumerate(kept)]


def _without_empty(kept: Ints, group: Ints) -> tuple[Ints, Ints]:
    used, renumbered = np.unique(group, return_inverse=True)
    return kept[used], renumbered.astype(np.int64)


def _node_values(
    scenarios: ScenarioSet, stages: Sequence[Stage], depth: Ints, medoids: Ints
) -> dict[str, Array]:
    values = {}
    for k, stage in enumerate(stages, start=1):
        for series in stage.series:
            values[series] = scenarios.values[series][medoids[depth == k]]
    return values


def _certified(
    tree: ScenarioTree,
    scenarios: ScenarioSet,
    leaf_of: Ints,
    factors: dict[str, float],
    named: tuple[Metric, str],
) -> TreeBuild:
    """The build with both distances to the fan, also in the provenance of its tree."""
    metric = named[0]
    full = fan_tree(scenarios, tree.stages).numbers(factors).paths
    paths = tree.numbers(factors).paths
    distances = ground_distances(full, paths, metric)
    p = np.asarray(scenarios.probability / scenarios.probability.sum(), np.float64)
    assigned = float(p @ distances[np.arange(len(p)), leaf_of])
    transport = transport_cost(distances, p, np.bincount(leaf_of, p, len(paths)))
    provenance = {
        **scenarios.provenance,
        "tree_from": f"{len(scenarios)} scenarios {scenarios.sha256}",
        "tree_metric": f"{metric}, {named[1]}",
        "tree_assigned_distance": f"{assigned:.6g}",
        "tree_transport_distance": f"{transport:.6g}",
    }
    with_provenance = ScenarioTree(
        tree.stages,
        tree.parent,
        tree.stage,
        tree.probability,
        tree.values,
        tree.index,
        provenance,
    )
    return TreeBuild(with_provenance, leaf_of, assigned, transport)
