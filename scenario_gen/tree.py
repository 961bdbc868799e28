"""Scenario trees whose stages are the gates of the market.

Between two gates something becomes known: the FCR result before the aFRR gate, day-ahead prices
before the intraday auction. A fan of scenarios hides that, after its first branching everything is
known. In a tree the decision at a gate belongs to a node, and all scenarios through the node share
it (non-anticipativity). Node 0 is the root: what is known before the first gate. The nodes of stage
k hold the values of the series that became known after the k-th gate, so that the decision *at* the
k-th gate belongs to a node of stage k - 1.

`build_tree` (tree_build.py) makes a tree of a fan, tree_file.py stores it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.errors import ScenarioError
from stochbess.scenario_gen.distance import Ints, NumberTree
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.series import SERIES, Array, require_known

PROBABILITY_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Stage:
    """What becomes known between one gate and the next.

    Attributes
    ----------
    name : of the stage, e.g. ``fcr``
    gate : gate closure after which the series become known, local time, e.g. ``D-1 08:00``
    series : scenario series that become known then
    """

    name: str
    gate: str
    series: tuple[str, ...]


# Delivery is one stage: its quarter hours are not revealed one by one. It has no gate of its own;
# midnight stands for the time after all auctions that are modelled.
GATE_STAGES = (
    Stage("fcr", "D-1 08:00", ("fcr_eur_mw",)),
    Stage("afrr_capacity", "D-1 09:00", ("afrr_up_eur_mw_h", "afrr_down_eur_mw_h")),
    Stage("day_ahead", "D-1 12:00", ("day_ahead_eur_mwh",)),
    Stage("intraday_auction", "D-1 15:00", ("intraday_eur_mwh",)),
    Stage(
        "delivery",
        "D 00:00",
        (
            "afrr_energy_up_eur_mwh",
            "afrr_energy_down_eur_mwh",
            "activation_up_mw",
            "activation_down_mw",
            "fcr_activation_frac",
            "imbalance_eur_mwh",
        ),
    ),
)


def stages_of(scenarios: ScenarioSet, stages: Sequence[Stage] = GATE_STAGES) -> tuple[Stage, ...]:
    """The stages with the series that the set holds; a stage without any is left out.

    Raises
    ------
    ScenarioError : a series of the set that is in no stage, or in two
    """
    for series in scenarios.series:
        found = [stage.name for stage in stages if series in stage.series]
        if len(found) != 1:
            raise ScenarioError(
                f"{series} is in {len(found)} stages ({', '.join(found) or 'none'}); expected "
                "each series of the set in exactly one. Leave the series out or change the stages."
            )
    kept = [
        Stage(stage.name, stage.gate, tuple(s for s in scenarios.series if s in stage.series))
        for stage in stages
    ]
    return tuple(stage for stage in kept if stage.series)


@dataclass(frozen=True, eq=False)
class TreeFan:
    """The leaves of a tree as scenarios, and which of them are still one at each stage.

    Attributes
    ----------
    scenarios : one scenario per leaf, named ``leaf-<node>``
    node_of : node of every scenario at every stage, shape (stages + 1, S); row 0 is the root.
        Decisions at the gate of ``stages[k]`` must agree wherever ``node_of[k]`` does (68b)
    """

    scenarios: ScenarioSet
    node_of: Ints


@dataclass(frozen=True, eq=False)
class ScenarioTree:
    """A tree of nodes, checked when it is made and never changed.

    Attributes
    ----------
    stages : K >= 1 stages in the order of their gates
    parent : shape (N,); node 0 is the root with parent -1. Nodes are ordered by stage, and within
        a stage by their parents, so the leaves are the last ones and stand from left to right
    stage : stage of every node, shape (N,), 0 for the root to K for the leaves
    probability : absolute probability of every node > 0, shape (N,); 1 for the root
    values : series -> array (nodes of its stage, labels), in the unit of `SERIES`
    index : series -> labels, UTC interval starts
    provenance : free text; not part of `sha256`

    Raises
    ------
    ScenarioError : an order, a probability or a value that breaks the above, also anything that
        `ScenarioSet` refuses
    """

    stages: tuple[Stage, ...]
    parent: Ints
    stage: Ints
    probability: Array
    values: dict[str, Array]
    index: dict[str, pd.DatetimeIndex]
    provenance: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        stages = tuple(Stage(s.name, s.gate, tuple(s.series)) for s in self.stages)
        parent = np.array(self.parent, np.int64)
        stage = np.array(self.stage, np.int64)
        probability = np.array(self.probability, np.float64) + 0.0
        _check_shape(stages, parent, stage)
        _check_probability(parent, stage, probability)
        series = [name for s in stages for name in s.series]
        require_known(series)
        if len(set(series)) != len(series) or set(series) != set(self.values) | set(self.index):
            raise ScenarioError(
                f"tree: stages hold {', '.join(series)}, values {', '.join(self.values)}; expected "
                "each series once in both"
            )
        values, index = {}, {}
        for k, s in enumerate(stages, start=1):
            nodes = np.flatnonzero(stage == k)
            checked = ScenarioSet(  # it knows units, ranges and labels
                tuple(f"node {n}" for n in nodes),
                np.full(len(nodes), 1 / len(nodes)),
                {name: self.values[name] for name in s.series},
                {name: self.index[name] for name in s.series},
            )
            values.update(checked.values)
            index.update(checked.index)
        for array in (parent, stage, probability):
            array.flags.writeable = False
        for attribute, content in (
            ("stages", stages),
            ("parent", parent),
            ("stage", stage),
            ("probability", probability),
            ("values", {name: values[name] for name in SERIES if name in values}),
            ("index", {name: index[name] for name in SERIES if name in index}),
            ("provenance", {str(k): str(v) for k, v in self.provenance.items()}),
        ):
            object.__setattr__(self, attribute, content)

    def __len__(self) -> int:
        """Number of nodes, the root included."""
        return len(self.parent)

    @property
    def series(self) -> tuple[str, ...]:
        return tuple(self.values)

    @cached_property
    def leaves(self) -> Ints:
        """Nodes of the last stage, from left to right."""
        return self.nodes(len(self.stages))

    def nodes(self, stage: int) -> Ints:
        """Nodes of a stage (0 is the root), from left to right."""
        return np.flatnonzero(self.stage == stage).astype(np.int64)

    @cached_property
    def node_of(self) -> Ints:
        """Node that each leaf's path has at each stage, shape (K + 1, leaves)."""
        rows = [self.leaves]
        while rows[-1][0] > 0:
            rows.append(self.parent[rows[-1]])
        return np.stack(rows[::-1])

    @cached_property
    def conditional_probability(self) -> Array:
        """Probability (68a) of every node given its parent, shape (N,); 1 for the root."""
        above = np.concatenate([[1.0], self.probability[self.parent[1:]]])
        return np.asarray(self.probability / above, np.float64)

    def to_scenarios(self) -> TreeFan:
        """The leaf paths as a scenario set, with the node of each scenario at each stage."""
        values = {}
        for k, stage in enumerate(self.stages, start=1):
            row = self.node_of[k] - self.nodes(k)[0]
            for series in stage.series:
                values[series] = self.values[series][row]
        p = self.probability[self.leaves]
        names = tuple(f"leaf-{node}" for node in self.leaves)
        provenance = {**self.provenance, "tree_sha256": self.sha256}
        return TreeFan(
            ScenarioSet(names, p / p.sum(), values, self.index, provenance), self.node_of
        )

    def numbers(self, factors: dict[str, float]) -> NumberTree:
        """Vectors of the nodes, each series times its factor, for `nested_distance`."""
        vectors = [np.zeros((1, 0))]
        for k, stage in enumerate(self.stages, start=1):
            parts = [self.values[s] * factors[s] for s in stage.series if s in factors]
            parts.append(np.zeros((len(self.nodes(k)), 0)))
            vectors.append(np.concatenate(parts, axis=1))
        return NumberTree(self.parent, self.probability, tuple(vectors))

    @cached_property
    def sha256(self) -> str:
        """Hash of stages, nodes, probabilities, labels and values; provenance left out."""
        digest = hashlib.sha256(b"stochbess scenario tree 1")
        texts = [f"{s.name}\n{s.gate}\n" + "\n".join(s.series) for s in self.stages]
        parts = [text.encode() for text in texts]
        parts += [self.parent.astype("<i8").tobytes(), self.probability.astype("<f8").tobytes()]
        for series, values in self.values.items():
            parts += [series.encode(), self.index[series].asi8.astype("<i8").tobytes()]
            parts.append(values.astype("<f8").tobytes())
        for part in parts:
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class TreeLayout:
    """Where a figure puts the nodes.

    Attributes
    ----------
    x : stage, shape (N,)
    y : height in [0, 1], shape (N,): leaves at equal distances, the others amid their children
    edges : (parent, child) for every branch, shape (N - 1, 2)
    width_frac : probability of the node that a branch leads to, shape (N - 1,)
    """

    x: Array
    y: Array
    edges: Ints
    width_frac: Array


def tree_layout(tree: ScenarioTree) -> TreeLayout:
    """Coordinates without crossings of a tree drawn from left to right."""
    y = np.zeros(len(tree))
    n_leaves = len(tree.leaves)
    y[tree.leaves] = np.linspace(1, 0, n_leaves) if n_leaves > 1 else 0.5
    for stage in range(len(tree.stages) - 1, -1, -1):
        children = tree.nodes(stage + 1)
        parents, first = np.unique(tree.parent[children], return_index=True)
        last = np.append(first[1:], len(children)) - 1
        y[parents] = (y[children[first]] + y[children[last]]) / 2
    edges = np.stack([tree.parent[1:], np.arange(1, len(tree))], axis=1)
    return TreeLayout(tree.stage.astype(np.float64), y, edges, tree.probability[1:].copy())


def _check_shape(stages: tuple[Stage, ...], parent: Ints, stage: npt.NDArray[np.int64]) -> None:
    n = len(parent)
    if not stages or any(not s.series for s in stages):
        raise ScenarioError("a tree needs at least one stage, and series at every stage")
    if parent.ndim != 1 or stage.shape != parent.shape or n < 2:
        raise ScenarioError(
            f"tree: parent of shape {parent.shape} and stage of shape {stage.shape}; expected one "
            "entry a node, the root and at least one more"
        )
    if parent[0] != -1 or stage[0] != 0 or (parent[1:] < 0).any() or (parent[1:] >= n).any():
        raise ScenarioError("tree: node 0 must be the root (parent -1), and the only one")
    misplaced = (stage[1:] != stage[parent[1:]] + 1) | (np.diff(parent) < 0)
    if misplaced.any():
        at = int(np.flatnonzero(misplaced)[0]) + 1
        raise ScenarioError(
            f"tree: node {at} is at stage {stage[at]} under node {parent[at]}; expected nodes "
            "ordered by stage and then by parent, each one stage after its parent"
        )
    inner = np.unique(parent[1:])
    if stage.max() != len(stages) or len(inner) != int((stage < len(stages)).sum()):
        raise ScenarioError(
            f"tree: expected every path to reach stage {len(stages)}; "
            f"{int((stage < len(stages)).sum()) - len(inner)} nodes before it have no children"
        )


def _check_probability(parent: Ints, stage: Ints, probability: Array) -> None:
    if probability.shape != parent.shape or not (probability > 0).all():
        raise ScenarioError("tree: expected one probability above 0 for every node")
    below = np.bincount(parent[1:], probability[1:], len(parent))
    off = (np.abs(below - probability) > PROBABILITY_TOLERANCE) & (stage < stage.max())
    if abs(float(probability[0]) - 1) > PROBABILITY_TOLERANCE or off.any():
        at = int(np.flatnonzero(off)[0]) if off.any() else 0
        raise ScenarioError(
            f"tree: node {at} has probability {float(probability[at])!r}, its children sum to "
            f"{float(below[at])!r}; expected equal sums, and 1 for the root"
        )
