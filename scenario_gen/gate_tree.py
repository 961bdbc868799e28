"""The scenario tree behind the multi-stage formulation: gates, then windows of the delivery.

`ScenarioTree` reveals a series at one stage. A battery is dispatched while the calls of the day
come in, so here the delivery is revealed window by window. The tree is grown from a fan by the
splitting of `tree_build`: at each stage the scenarios of a node are grouped by what becomes known
then, and a group goes on as one. A group carries the values of its medoid; capacity prices carry
its mean, which is exact, because they multiply decisions that are made before they are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from stochbess.errors import ScenarioError
from stochbess.scenario_gen.distance import Ints, ground_distances, transport_cost
from stochbess.scenario_gen.reduction import scale_factors
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.series import Array
from stochbess.scenario_gen.tree import ScenarioTree
from stochbess.scenario_gen.tree_build import split_bundle
from stochbess.timegrid import Horizon

CAPACITY = ("fcr_eur_mw", "afrr_up_eur_mw_h", "afrr_down_eur_mw_h")
DAY_AHEAD = ("day_ahead_eur_mwh",)
INTRADAY = ("intraday_eur_mwh",)


@dataclass(frozen=True)
class Branching:
    """Most children of a node after each gate, and in each window of the delivery."""

    reserves: int
    day_ahead: int
    intraday: int
    delivery: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class GateTree:
    """Leaves of a tree as scenarios, who is still one when, and which stage reveals what.

    Attributes
    ----------
    scenarios : one scenario per leaf, L in all
    node_of : (K + 1, L) node of every leaf at every stage; row 0 is the root, row k what is known
        after stage k. Leaves that share a node share all values revealed so far
    stages : K names of what becomes known, in order
    fcr, afrr, day_ahead : row of `node_of` at whose nodes the decision of that gate is made
    cleared : row at which the day-ahead result is known
    window_of_step : (T,) window of the delivery of every step
    windows : (W,) row at which each window is known; the last is K
    distance : mean distance (69) between a scenario of the fan and its leaf, and the Kantorovich
        distance (60), relative to that of the best single scenario; None for a tree from a file
    """

    scenarios: ScenarioSet
    node_of: Ints
    stages: tuple[str, ...]
    fcr: int
    afrr: int
    day_ahead: int
    cleared: int
    window_of_step: Ints
    windows: Ints
    distance: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        rows, leaves = self.node_of.shape
        if rows != len(self.stages) + 1 or leaves != len(self.scenarios):
            raise ScenarioError(
                f"gate tree: nodes of shape {self.node_of.shape}; expected one row for the root "
                f"and each of {len(self.stages)} stages, and {len(self.scenarios)} leaves"
            )
        if len(np.unique(self.node_of[0])) != 1:
            raise ScenarioError("gate tree: row 0 of the nodes must be one root for all leaves")
        for k in range(1, rows):
            below = np.unique(self.node_of[k - 1 : k + 1], axis=1)
            if len(below.T) != len(np.unique(self.node_of[k])):
                raise ScenarioError(
                    f"gate tree: a node of stage {self.stages[k - 1]} has two parents; nothing "
                    "that was told apart may become one again"
                )

    @property
    def probability(self) -> Array:
        return self.scenarios.probability

    @cached_property
    def nodes_per_stage(self) -> tuple[int, ...]:
        """Number of nodes from the root to the leaves."""
        return tuple(len(np.unique(row)) for row in self.node_of)

    @cached_property
    def foretold_frac(self) -> float:
        """Share of the delivery that the tree tells in advance: windows of nodes without a branch.

        1 is a tree that is clairvoyant within the day, 0 one that branches at every window.
        """
        total = 0.0
        for row in self.windows:
            above, below = self.node_of[row - 1], self.node_of[row]
            pairs = np.unique(np.stack([above, below]), axis=1)[0]
            single = np.bincount(pairs, minlength=int(above.max()) + 1)[above] == 1
            total += float(self.probability[single].sum())
        return total / len(self.windows)


@dataclass(frozen=True)
class _Part:
    """A stage to be: its name, number of children, and the labels of each series it reveals."""

    name: str
    children: int
    columns: dict[str, Ints]


def grow_gate_tree(
    scenarios: ScenarioSet, horizon: Horizon, branching: Branching, mean_capacity: bool = True
) -> GateTree:
    """Tree of the fan `scenarios` whose stages are the gates and windows of the delivery (130).

    `mean_capacity` gives a node the mean capacity price of its scenarios instead of the medoid's;
    not exact where an award depends on the price.

    Stages that reveal nothing (a closed market) are left out. A node whose scenarios are used up,
    or all alike, gets fewer children than asked for; `foretold_frac` says how often.

    Raises
    ------
    ScenarioError : a number of children below one, or no window
    """
    numbers = [branching.reserves, branching.day_ahead, branching.intraday, *branching.delivery]
    if min(numbers) < 1 or not branching.delivery:
        raise ScenarioError(
            f"tree branching {numbers}: expected numbers >= 1 for reserves, day-ahead and "
            "intraday, and for one window of the delivery or more"
        )
    parts = _parts(scenarios, horizon, branching)
    factors = scale_factors(scenarios, "spread", "euclidean")
    p = np.asarray(scenarios.probability, np.float64)
    bundles = [np.arange(len(p), dtype=np.int64)]
    paths: list[list[tuple[int, Ints]]] = [[]]  # medoid and members at every stage so far
    nodes: list[list[int]] = [[0]]
    for part in parts:
        vectors = _vectors(scenarios, part, factors)
        grown: list[Ints] = []
        new_paths, new_nodes = [], []
        for bundle, path, node in zip(bundles, paths, nodes, strict=True):
            for medoid, members in split_bundle(vectors, p, bundle, part.children, "euclidean"):
                new_nodes.append([*node, len(grown)])
                new_paths.append([*path, (medoid, members)])
                grown.append(members)
        bundles, paths, nodes = grown, new_paths, new_nodes
    weight = np.array([p[members].sum() for members in bundles])
    leaves = ScenarioSet(
        tuple(f"leaf-{i}" for i in range(len(bundles))),
        weight / weight.sum(),
        _leaf_values(scenarios, parts, paths, CAPACITY if mean_capacity else ()),
        scenarios.index,
        scenarios.provenance,
    )
    distance = _distance(scenarios, leaves, bundles, factors)
    return _placed(leaves, np.array(nodes, np.int64).T, [p.name for p in parts], horizon,
                   len(branching.delivery), distance)  # fmt: skip


def gate_tree_of(tree: ScenarioTree, horizon: Horizon, needed: Sequence[str]) -> GateTree:
    """A stored scenario tree as a gate tree; its delivery is one window, as the file has it.

    Raises
    ------
    ScenarioError : the tree lacks a series of `needed`, or covers another horizon, or reveals what
        happens in the delivery before a price of a gate
    """
    fan = tree.to_scenarios()
    leaves = fan.scenarios.for_horizon(horizon, needed)
    reveals = [set(stage.series) for stage in tree.stages]
    late = [
        k for k, series in enumerate(reveals) if not series & {*CAPACITY, *DAY_AHEAD, *INTRADAY}
    ]
    if late and late != list(range(late[0], len(reveals))):
        raise ScenarioError(
            f"tree stages {', '.join(s.name for s in tree.stages)}: a price of a gate becomes "
            "known after the delivery began. Expected all gates first, as in GATE_STAGES."
        )
    names = [stage.name for stage in tree.stages]
    gates = {name: next((k for k, held in enumerate(reveals) if name in held), 0)
             for name in ("fcr_eur_mw", "afrr_up_eur_mw_h", *DAY_AHEAD)}  # fmt: skip
    cleared = gates[DAY_AHEAD[0]] + 1 if any(DAY_AHEAD[0] in held for held in reveals) else 0
    return GateTree(
        leaves,
        fan.node_of,
        tuple(names),
        gates["fcr_eur_mw"],
        gates["afrr_up_eur_mw_h"],
        gates[DAY_AHEAD[0]],
        cleared,
        np.zeros(len(horizon.steps), np.int64),
        np.array([len(names)], np.int64),
    )


def _parts(scenarios: ScenarioSet, horizon: Horizon, branching: Branching) -> list[_Part]:
    def whole(names: Sequence[str]) -> dict[str, Ints]:
        held = [name for name in names if name in scenarios.values]
        return {name: np.arange(scenarios.values[name].shape[1]) for name in held}

    late = [s for s in scenarios.series if s not in (*CAPACITY, *DAY_AHEAD, *INTRADAY)]
    windows = len(branching.delivery)
    parts = [
        _Part("reserves", branching.reserves, whole(CAPACITY)),
        _Part("day_ahead", branching.day_ahead, whole(DAY_AHEAD)),
        _Part("intraday", branching.intraday, whole(INTRADAY)),
    ]
    parts = [part for part in parts if part.columns]
    for w, children in enumerate(branching.delivery):
        columns = {
            name: np.flatnonzero(_window(scenarios.index[name], horizon, windows) == w)
            for name in late
        }
        parts.append(_Part(f"delivery_{w + 1}", children, columns))
    return parts


def _window(labels: pd.DatetimeIndex, horizon: Horizon, windows: int) -> Ints:
    """Window of each label: equal parts of the horizon, in whole steps."""
    step = horizon.steps.searchsorted(labels, side="right") - 1
    return np.asarray(step * windows // len(horizon.steps), np.int64)


def _vectors(scenarios: ScenarioSet, part: _Part, factors: dict[str, float]) -> Array:
    columns = [
        scenarios.values[name][:, at] * factors[name]
        for name, at in part.columns.items()
        if name in factors
    ]
    return np.concatenate([*columns, np.zeros((len(scenarios), 0))], axis=1)


def _leaf_values(
    scenarios: ScenarioSet,
    parts: Sequence[_Part],
    paths: list[list[tuple[int, Ints]]],
    by_mean: Sequence[str],
) -> dict[str, Array]:
    values = {
        name: np.empty((len(paths), held.shape[1])) for name, held in scenarios.values.items()
    }
    p = scenarios.probability
    for k, part in enumerate(parts):
        for name, at in part.columns.items():
            source = scenarios.values[name]
            for leaf, path in enumerate(paths):
                medoid, members = path[k]
                if name in by_mean:
                    values[name][leaf, at] = p[members] @ source[members] / p[members].sum()
                else:
                    values[name][leaf, at] = source[medoid, at]
    return values


def _distance(
    fan: ScenarioSet, leaves: ScenarioSet, bundles: list[Ints], factors: dict[str, float]
) -> tuple[float, float]:
    def vectors(of: ScenarioSet) -> Array:
        return np.concatenate([of.values[s] * f for s, f in factors.items()], axis=1)

    matrix = ground_distances(vectors(fan), vectors(leaves), "euclidean")
    alone = ground_distances(vectors(fan), vectors(fan), "euclidean")
    p = np.asarray(fan.probability / fan.probability.sum(), np.float64)
    single = float((p @ alone).min())
    leaf_of = np.empty(len(p), np.int64)
    for leaf, members in enumerate(bundles):
        leaf_of[members] = leaf
    assigned = float(p @ matrix[np.arange(len(p)), leaf_of])
    transport = transport_cost(matrix, p, np.asarray(leaves.probability, np.float64))
    scale = single if single > 0 else 1.0
    return assigned / scale, transport / scale


def _placed(
    leaves: ScenarioSet,
    node_of: Ints,
    names: Sequence[str],
    horizon: Horizon,
    n_windows: int,
    distance: tuple[float, float] | None,
) -> GateTree:
    """Which row decides what: a gate decides at the nodes before its own stage is known."""
    day_ahead = names.index("day_ahead") if "day_ahead" in names else 0
    first = len(names) - n_windows
    return GateTree(
        leaves, node_of, tuple(names),
        fcr=0, afrr=0, day_ahead=day_ahead,
        cleared=day_ahead + 1 if "day_ahead" in names else 0,
        window_of_step=_window(horizon.steps, horizon, n_windows),
        windows=np.arange(first + 1, len(names) + 1, dtype=np.int64),
        distance=distance,
    )  # fmt: skip
