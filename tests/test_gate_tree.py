"""The tree of gates and windows: who is told apart when, values, weights, and trees from files."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from stochbess.errors import ScenarioError
from stochbess.scenario_gen.gate_tree import (
    CAPACITY,
    Branching,
    GateTree,
    gate_tree_of,
    grow_gate_tree,
)
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.series import labels_of
from stochbess.scenario_gen.tree_build import build_tree
from stochbess.timegrid import Horizon

DAY = Horizon(date(2024, 6, 26), 1, "Europe/Berlin", 15, 60)
SERIES = (
    "day_ahead_eur_mwh",
    "intraday_eur_mwh",
    *CAPACITY,
    "activation_up_mw",
    "activation_down_mw",
)


def fan(n: int = 24, seed: int = 0, series: tuple[str, ...] = SERIES) -> ScenarioSet:
    """Three levels of day-ahead prices by two of calls before and after noon."""
    rng = np.random.default_rng(seed)
    index = {s: labels_of(DAY, s) for s in series}
    values = {s: 20.0 + rng.random((n, len(index[s]))) for s in series}
    kind = np.arange(n)[:, None]
    values["day_ahead_eur_mwh"] += 30.0 * (kind % 3)
    afternoon = np.arange(96) >= 48
    if "activation_up_mw" in values:
        busy = np.where(afternoon, kind // 6 % 2, kind // 3 % 2)
        values["activation_up_mw"] += 50.0 * busy
    names = tuple(f"s{i}" for i in range(n))
    return ScenarioSet(names, rng.dirichlet(np.full(n, 5.0)), values, index, {"source": "test"})


def grown(**parts: object) -> tuple[ScenarioSet, GateTree]:
    drawn = fan()
    branching = replace(Branching(1, 3, 1, (2, 2)), **parts)  # type: ignore[arg-type]
    return drawn, grow_gate_tree(drawn, DAY, branching)


def test_leaves_of_a_node_agree_in_all_that_is_known_there_and_split_in_what_comes_next() -> None:
    _, tree = grown()
    assert tree.nodes_per_stage == (1, 1, 3, 3, 6, 12)
    values = tree.scenarios.values
    revealed = {1: list(CAPACITY), 2: ["day_ahead_eur_mwh"], 3: ["intraday_eur_mwh"]}
    for row, names in revealed.items():
        for node in np.unique(tree.node_of[row]):
            here = tree.node_of[row] == node
            for name in names:
                assert np.ptp(values[name][here], axis=0).max() == 0.0
    for w, row in enumerate(tree.windows):
        at = tree.window_of_step == w
        for node in np.unique(tree.node_of[row]):
            here = tree.node_of[row] == node
            assert np.ptp(values["activation_up_mw"][here][:, at], axis=0).max() == 0.0
        above = tree.node_of[row - 1]
        told = [np.ptp(values["activation_up_mw"][above == n][:, at]) for n in np.unique(above)]
        assert max(told) > 0.0
    assert tree.window_of_step.tolist() == [0] * 48 + [1] * 48


def test_capacity_prices_of_the_leaves_have_the_mean_of_the_fan() -> None:
    drawn, tree = grown()
    for name in CAPACITY:
        fan_mean = drawn.probability @ drawn.values[name]
        assert tree.probability @ tree.scenarios.values[name] == pytest.approx(fan_mean)
    by_medoid = grow_gate_tree(drawn, DAY, Branching(2, 1, 1, (1,)), mean_capacity=False)
    for value in by_medoid.scenarios.values["fcr_eur_mw"]:
        assert (drawn.values["fcr_eur_mw"] == value).all(axis=1).any()


def test_other_values_are_those_of_a_scenario() -> None:
    drawn, tree = grown()
    for value in tree.scenarios.values["day_ahead_eur_mwh"]:
        assert (drawn.values["day_ahead_eur_mwh"] == value).all(axis=1).any()
    first = tree.window_of_step == 0
    for value in tree.scenarios.values["activation_up_mw"]:
        assert (drawn.values["activation_up_mw"][:, first] == value[first]).all(axis=1).any()


def test_a_tree_as_wide_as_the_fan_is_the_fan() -> None:
    drawn = fan()
    tree = grow_gate_tree(drawn, DAY, Branching(24, 1, 1, (1,)))
    assert len(tree.scenarios) == 24 and tree.distance == pytest.approx((0.0, 0.0), abs=1e-9)
    assert tree.foretold_frac == 1.0
    assert sorted(tree.probability) == pytest.approx(sorted(drawn.probability))


def test_the_foretold_share_counts_windows_without_a_branch() -> None:
    assert grown(delivery=(2, 2))[1].foretold_frac == 0.0
    assert grown(delivery=(2, 1))[1].foretold_frac == 0.5
    assert grown(delivery=(1,))[1].foretold_frac == 1.0


def test_decisions_belong_to_the_nodes_before_their_result() -> None:
    _, tree = grown()
    assert (tree.fcr, tree.afrr, tree.day_ahead, tree.cleared) == (0, 0, 1, 2)
    assert tree.windows.tolist() == [4, 5]
    drawn = fan(series=("day_ahead_eur_mwh", "activation_up_mw"))
    closed = grow_gate_tree(drawn, DAY, Branching(5, 2, 5, (2,)))
    assert closed.stages == ("day_ahead", "delivery_1")
    assert (closed.day_ahead, closed.cleared, closed.windows.tolist()) == (0, 1, [2])


def test_prices_of_gates_alone_leave_nothing_to_branch_in_the_delivery() -> None:
    drawn = fan(series=("day_ahead_eur_mwh", "intraday_eur_mwh"))
    tree = grow_gate_tree(drawn, DAY, Branching(1, 3, 2, (2, 2)))
    assert tree.nodes_per_stage == (1, 3, 6, 6, 6) and tree.foretold_frac == 1.0


def test_a_tree_without_a_window_or_children_is_refused() -> None:
    for branching in (Branching(1, 1, 1, ()), Branching(0, 1, 1, (1,))):
        with pytest.raises(ScenarioError, match="expected numbers >= 1"):
            grow_gate_tree(fan(), DAY, branching)


def test_a_stored_tree_keeps_its_gates_and_has_one_window() -> None:
    stored = build_tree(fan(), [2, 2, 3, 1, 2]).tree
    tree = gate_tree_of(stored, DAY, SERIES)
    assert (tree.fcr, tree.afrr, tree.day_ahead, tree.cleared) == (0, 1, 2, 3)
    assert tree.windows.tolist() == [5] and tree.window_of_step.max() == 0
    assert (tree.node_of == stored.to_scenarios().node_of).all()
    assert tree.distance is None


def test_a_stored_tree_without_a_needed_series_is_refused() -> None:
    stored = build_tree(fan(series=("day_ahead_eur_mwh",)), [3]).tree
    with pytest.raises(ScenarioError, match="scenarios lack intraday_eur_mwh"):
        gate_tree_of(stored, DAY, ["day_ahead_eur_mwh", "intraday_eur_mwh"])


def test_nodes_that_become_one_again_are_refused() -> None:
    _, tree = grown()
    merged = tree.node_of.copy()
    merged[-1] = 0
    with pytest.raises(ScenarioError, match="two parents"):
        replace(tree, node_of=merged)
    with pytest.raises(ScenarioError, match="one root"):
        replace(tree, node_of=np.vstack([tree.node_of[-1], tree.node_of[1:]]))
