"""Scenario trees: construction from a fan, consistency, distances, layout and the file."""

from __future__ import annotations

import pickle
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stochbess.errors import ScenarioError
from stochbess.scenario_gen.distance import kantorovich_distance, nested_distance
from stochbess.scenario_gen.reduction import scale_factors
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.series import Array, labels_of
from stochbess.scenario_gen.tree import (
    GATE_STAGES,
    ScenarioTree,
    Stage,
    stages_of,
    tree_layout,
)
from stochbess.scenario_gen.tree_build import build_tree, fan_tree, nested_distance_to_fan
from stochbess.scenario_gen.tree_file import COLUMNS, read_tree, tree_table, write_tree
from stochbess.timegrid import Horizon, gate_utc

DAY = Horizon(date(2024, 6, 26), 1, "Europe/Berlin", 15, 60)
SOME = (
    "fcr_eur_mw",
    "afrr_up_eur_mw_h",
    "afrr_down_eur_mw_h",
    "day_ahead_eur_mwh",
    "activation_up_mw",
)
STAGES = ["fcr", "afrr_capacity", "day_ahead", "delivery"]


def fan(seed: int = 0, n: int = 24, series: tuple[str, ...] = SOME) -> ScenarioSet:
    """Scenarios in which all series follow one level, unequally likely."""
    rng = np.random.default_rng(seed)
    level = rng.gamma(4, 0.25, (n, 1))
    index = {s: labels_of(DAY, s) for s in series}
    values = {s: 50 * level * rng.gamma(9, 1 / 9, (n, len(index[s]))) for s in series}
    names = tuple(f"s{i}" for i in range(n))
    return ScenarioSet(names, rng.dirichlet(np.full(n, 5.0)), values, index, {"source": "test"})


def changed(tree: ScenarioTree, **parts: Any) -> ScenarioTree:
    """The same tree with other parts, checked anew."""
    fields = {
        name: getattr(tree, name)
        for name in ("stages", "parent", "stage", "probability", "values", "index", "provenance")
    }
    return ScenarioTree(**{**fields, **parts})


# -- stages ---------------------------------------------------------------------------------------
def test_the_gates_are_in_the_order_of_time() -> None:
    times = [gate_utc(stage.gate, DAY.first_day, DAY.timezone) for stage in GATE_STAGES]
    assert times == sorted(set(times))


def test_every_scenario_series_is_in_exactly_one_stage() -> None:
    from stochbess.scenario_gen.series import SERIES

    listed = [series for stage in GATE_STAGES for series in stage.series]
    assert sorted(listed) == sorted(SERIES)


def test_stages_without_a_series_of_the_set_are_left_out() -> None:
    assert [s.name for s in stages_of(fan())] == STAGES
    assert stages_of(fan())[3].series == ("activation_up_mw",)


def test_a_series_without_a_stage_or_with_two_is_refused() -> None:
    with pytest.raises(ScenarioError, match="day_ahead_eur_mwh is in 0 stages"):
        stages_of(fan(), GATE_STAGES[:2])
    with pytest.raises(ScenarioError, match=r"fcr_eur_mw is in 2 stages \(fcr, again\)"):
        stages_of(fan(), (*GATE_STAGES, Stage("again", "D 01:00", ("fcr_eur_mw",))))


# -- construction ---------------------------------------------------------------------------------
def test_a_regular_tree_has_as_many_nodes_as_its_branching_says() -> None:
    """A process with three outcomes at each of four stages: 121 nodes, 40 of them inner ones."""
    outcome = np.indices((3, 3, 3, 3)).reshape(4, 81)
    series = ("fcr_eur_mw", "afrr_up_eur_mw_h", "day_ahead_eur_mwh", "activation_up_mw")
    index = {s: labels_of(DAY, s) for s in series}
    values = {
        s: 20.0 * (1 + outcome[k])[:, None] * np.ones(len(index[s])) for k, s in enumerate(series)
    }
    order = np.random.default_rng(1).permutation(81)
    full = ScenarioSet(tuple(f"s{i}" for i in range(81)), np.full(81, 1 / 81), values, index)
    build = build_tree(full.permuted(order.tolist()), [3, 3, 3, 3])
    tree = build.tree
    assert len(tree) == 1 + 3 + 9 + 27 + 81
    assert build.assigned_distance == pytest.approx(0)
    totals = [float(tree.probability[tree.nodes(k)].sum()) for k in range(5)]
    assert totals == pytest.approx([1.0] * 5)
    given_parent = np.bincount(tree.parent[1:], tree.conditional_probability[1:])
    assert given_parent == pytest.approx(np.ones(40))
    assert tree.conditional_probability.sum() == pytest.approx(41)


@given(st.integers(0, 10_000), st.lists(st.integers(1, 4), min_size=4, max_size=4))
@settings(max_examples=20)
def test_the_weight_of_every_scenario_ends_in_the_leaf_that_holds_it(
    seed: int, branching: list[int]
) -> None:
    full = fan(seed, 12)
    build = build_tree(full, branching)
    tree = build.tree
    weight = np.bincount(build.leaf_of, full.probability, len(tree.leaves))
    assert tree.probability[tree.leaves] == pytest.approx(weight)
    children = np.bincount(tree.parent[1:], minlength=len(tree))
    for k, n in enumerate(branching):
        assert children[tree.nodes(k)].min() >= 1 and children[tree.nodes(k)].max() <= n


def test_what_becomes_known_later_does_not_split_a_stage() -> None:
    """Changing later series changes no node of the stages before."""
    full = fan(2, 30)
    later = {**full.values, "activation_up_mw": full.values["activation_up_mw"][::-1].copy()}
    other = ScenarioSet(full.names, full.probability, later, full.index)
    a, b = build_tree(full, [3, 2, 2, 3]).tree, build_tree(other, [3, 2, 2, 3]).tree
    before = int(a.nodes(4)[0])
    assert a.parent[:before].tolist() == b.parent[:before].tolist()
    assert a.probability[:before].tolist() == b.probability[:before].tolist()
    assert a.sha256 != b.sha256


def test_scenarios_that_look_alike_so_far_stay_together() -> None:
    """Two FCR results, each followed by two day-ahead days: the tree is the process itself."""
    fcr = np.repeat([10.0, 50.0], 4)[:, None] * np.ones(6)
    ahead = np.tile(np.repeat([40.0, 90.0], 2), 2)[:, None] * np.ones(24)
    active = np.arange(8.0)[:, None] * np.ones(96)
    values = {"fcr_eur_mw": fcr, "day_ahead_eur_mwh": ahead, "activation_up_mw": active}
    p = np.array([1, 2, 3, 4, 4, 3, 2, 1]) / 20
    index = {s: labels_of(DAY, s) for s in values}
    full = ScenarioSet(tuple("abcdefgh"), p, values, index)
    build = build_tree(full, [5, 5, 5])
    assert build.tree.parent.tolist() == [-1, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    assert build.tree.probability[1:3] == pytest.approx([0.5, 0.5])
    assert build.tree.probability[3:7] == pytest.approx([3 / 20, 7 / 20, 7 / 20, 3 / 20])
    assert build.assigned_distance == pytest.approx(0)
    back = build.tree.to_scenarios()
    assert back.node_of.tolist() == [
        [0] * 8,
        [1] * 4 + [2] * 4,
        [3, 3, 4, 4, 5, 5, 6, 6],
        list(range(7, 15)),
    ]
    assert back.scenarios.probability == pytest.approx(p)
    for series in values:
        assert back.scenarios.values[series] == pytest.approx(full.values[series])


def test_series_that_are_already_known_do_not_branch() -> None:
    full = fan(3)
    values = {**full.values, "day_ahead_eur_mwh": np.full((24, 24), 55.0)}
    known = ScenarioSet(full.names, full.probability, values, full.index)
    tree = build_tree(known, [3, 1, 4, 2]).tree
    assert len(tree.nodes(3)) == len(tree.nodes(2)) == 3


def test_an_unlikely_outlier_does_not_take_a_node_from_likely_results() -> None:
    values = {"fcr_eur_mw": np.array([0.0, 40.0, 50.0])[:, None] * np.ones(6)}
    index = {"fcr_eur_mw": labels_of(DAY, "fcr_eur_mw")}

    def nodes(*p: float) -> list[float]:
        full = ScenarioSet(("a", "b", "c"), np.array(p), values, index)
        return [float(v) for v in build_tree(full, [2]).tree.values["fcr_eur_mw"][:, 0]]

    assert nodes(0.02, 0.49, 0.49) == [40.0, 50.0]
    assert nodes(0.4, 0.3, 0.3) == [0.0, 40.0]


def test_a_branching_that_does_not_fit_the_stages_is_refused() -> None:
    for branching in ([3, 3], [3, 3, 3, 0], []):
        with pytest.raises(ScenarioError, match="expected 4 numbers >= 1, one for each of"):
            build_tree(fan(), branching)


# -- as scenarios ---------------------------------------------------------------------------------
def test_scenarios_that_share_a_node_share_all_that_was_known_there() -> None:
    tree = build_tree(fan(4, 60), [3, 2, 3, 2]).tree
    found = tree.to_scenarios()
    assert found.node_of.shape == (5, len(tree.leaves)) and not found.node_of[0].any()
    for k, stage in enumerate(tree.stages, start=1):
        for node in tree.nodes(k):
            together = found.node_of[k] == node
            total = found.scenarios.probability[together].sum()
            assert total == pytest.approx(tree.probability[node])
            for series in stage.series:
                rows = found.scenarios.values[series][together]
                assert (rows == rows[0]).all()
    assert found.scenarios.for_horizon(DAY, SOME) is found.scenarios
    assert found.scenarios.provenance["tree_sha256"] == tree.sha256


def test_a_fan_comes_back_from_its_tree_unchanged() -> None:
    full = fan(5)
    back = fan_tree(full).to_scenarios()
    assert back.scenarios.probability == pytest.approx(full.probability, abs=1e-15)
    for series in SOME:
        assert (back.scenarios.values[series] == full.values[series]).all()
    assert all(len(set(row)) == len(full) for row in back.node_of[1:].tolist())


# -- certificate ----------------------------------------------------------------------------------
@pytest.mark.parametrize("metric", ["euclidean", "l1"])
def test_the_certificate_is_the_distance_between_fan_and_leaves(metric: str) -> None:
    full = fan(6, 40)
    build = build_tree(full, [3, 2, 2, 2], metric=metric)  # type: ignore[arg-type]
    factors = scale_factors(full, "spread", metric)  # type: ignore[arg-type]
    leaves = build.tree.to_scenarios().scenarios

    def vectors(scenarios: ScenarioSet) -> Array:
        return np.concatenate([scenarios.values[s] * f for s, f in factors.items()], axis=1)

    x, y = vectors(full), vectors(leaves)
    exact = kantorovich_distance(x, y, full.probability, leaves.probability, metric)  # type: ignore[arg-type]
    assert build.transport_distance == pytest.approx(exact, abs=1e-9)
    gap = x - y[build.leaf_of]
    size = np.abs(gap).sum(axis=1) if metric == "l1" else np.linalg.norm(gap, axis=1)
    assert build.assigned_distance == pytest.approx(float(full.probability @ size))
    assert build.transport_distance <= build.assigned_distance + 1e-12
    text = build.tree.provenance["tree_transport_distance"]
    assert float(text) == pytest.approx(exact, rel=1e-5)


def test_more_branches_bring_a_tree_closer_to_the_fan() -> None:
    full = fan(7, 80)
    wide = [[1] * 4, [2] * 4, [4] * 4, [80] * 4]
    distances = [build_tree(full, b).assigned_distance for b in wide]
    assert distances[0] > distances[1] > distances[2] > distances[3] == pytest.approx(0)


def test_nested_distance_to_the_fan_is_not_below_the_transport_distance() -> None:
    full = fan(8, 30)
    for branching in ([2, 2, 2, 2], [6, 1, 1, 1], [1, 1, 1, 6]):
        build = build_tree(full, branching, metric="l1")
        nested = nested_distance_to_fan(build.tree, full)
        assert nested >= build.transport_distance - 1e-9
        assert nested_distance_to_fan(fan_tree(full), full) == pytest.approx(0, abs=1e-9)


def test_a_tree_that_branches_at_the_end_is_far_from_a_fan_that_knows_at_once() -> None:
    full = fan(9, 12)
    early = nested_distance_to_fan(build_tree(full, [12, 1, 1, 1]).tree, full)
    late = nested_distance_to_fan(build_tree(full, [1, 1, 1, 12]).tree, full)
    assert early == pytest.approx(0, abs=1e-9) and late > 0.5


def test_nested_distance_of_a_tree_to_itself_is_zero() -> None:
    full = fan(10, 40)
    numbers = build_tree(full, [2, 2, 2, 2]).tree.numbers(scale_factors(full, metric="l1"))
    assert nested_distance(numbers, numbers) == pytest.approx(0, abs=1e-9)


# -- checks ---------------------------------------------------------------------------------------
def test_trees_that_are_none_are_refused() -> None:
    tree = build_tree(fan(11, 20), [2, 2, 2, 2]).tree
    n = len(tree)

    def moved(name: str, at: int, value: float) -> Array:
        array = np.array(getattr(tree, name))
        array[at] = value
        return array

    cases: dict[str, dict[str, Any]] = {
        "children sum to": {"probability": moved("probability", n - 1, 0.9)},
        "above 0": {"probability": moved("probability", n - 1, 0.0)},
        "must be the root": {"parent": moved("parent", 0, 0)},
        "and the only one": {"parent": moved("parent", 1, -1)},
        "ordered by stage and then by parent": {"parent": moved("parent", 3, 2)},
        "one stage after its parent": {"stage": moved("stage", n - 1, 3)},
        "at least one stage": {"stages": ()},
        "once in both": {"stages": (*tree.stages[:3], Stage("delivery", "D 00:00", SOME[3:]))},
        "shape": {"values": {**tree.values, "fcr_eur_mw": np.zeros((3, 6))}},
        "finite": {"values": {**tree.values, "fcr_eur_mw": np.full((2, 6), np.nan)}},
    }
    for message, parts in cases.items():
        with pytest.raises(ScenarioError, match=message):
            changed(tree, **parts)
    assert changed(tree).sha256 == tree.sha256


def test_a_path_that_ends_early_is_refused() -> None:
    one = Stage("fcr", "D-1 08:00", ("fcr_eur_mw",))
    two = Stage("day_ahead", "D-1 12:00", ("day_ahead_eur_mwh",))
    values = {"fcr_eur_mw": np.ones((2, 6)), "day_ahead_eur_mwh": np.ones((1, 24))}
    index = {s: labels_of(DAY, s) for s in values}
    p = np.array([1.0, 0.5, 0.5, 0.5])
    parent, stage = np.array([-1, 0, 0, 1]), np.array([0, 1, 1, 2])
    with pytest.raises(ScenarioError, match="1 nodes before it have no children"):
        ScenarioTree((one, two), parent, stage, p, values, index)


def test_the_arrays_of_a_tree_are_read_only_and_not_those_it_was_made_of() -> None:
    tree = build_tree(fan(12, 20), [2, 2, 2, 2]).tree
    for array in (tree.parent, tree.stage, tree.probability, *tree.values.values()):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


# -- figures --------------------------------------------------------------------------------------
def test_the_layout_has_no_crossings_and_parents_amid_their_children() -> None:
    tree = build_tree(fan(13, 50), [3, 2, 2, 2]).tree
    layout = tree_layout(tree)
    assert layout.x.tolist() == tree.stage.tolist()
    for k in range(1, 5):
        assert (np.diff(layout.y[tree.nodes(k)]) < 0).all()
    for node in range(len(tree) - len(tree.leaves)):
        y = layout.y[tree.parent == node]
        assert layout.y[node] == pytest.approx((y[0] + y[-1]) / 2)
    assert layout.edges.shape == (len(tree) - 1, 2)
    assert (tree.parent[layout.edges[:, 1]] == layout.edges[:, 0]).all()
    assert layout.width_frac.tolist() == tree.probability[1:].tolist()


# -- the file -------------------------------------------------------------------------------------
@pytest.mark.parametrize("branching", [[2, 2, 2, 2], [1, 1, 1, 1], [24, 1, 1, 1]])
def test_a_tree_comes_back_from_its_file_with_the_same_hash(
    tmp_path: Path, branching: list[int]
) -> None:
    tree = build_tree(fan(14), branching).tree
    write_tree(tree, tmp_path / "tree.parquet")
    back = read_tree(tmp_path / "tree.parquet")
    assert back.sha256 == tree.sha256
    assert back.stages == tree.stages and back.provenance == tree.provenance
    assert back.stage.tolist() == tree.stage.tolist()
    write_tree(back, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "tree.parquet").read_bytes()


def test_a_file_of_another_tool_is_read_whatever_the_order_of_its_rows(tmp_path: Path) -> None:
    tree = build_tree(fan(15), [3, 2, 2, 2]).tree
    frame = tree_table(tree).to_pandas().sample(frac=1, random_state=1)
    frame.to_parquet(tmp_path / "foreign.parquet", index=False)
    back = read_tree(tmp_path / "foreign.parquet")
    assert back.provenance == {"source": "file without provenance"}
    assert (back.probability == tree.probability).all()
    for series in tree.series:
        assert (back.values[series] == tree.values[series]).all()


def test_tree_files_that_were_changed_are_refused(tmp_path: Path) -> None:
    tree = build_tree(fan(16, 12), [2, 2, 2, 2]).tree
    path = tmp_path / "tree.parquet"
    good = tree_table(tree)
    write_tree(tree, path)
    metadata = pq.read_schema(path).metadata

    def refused(message: str, table: pa.Table, keep: bool = False) -> None:
        pq.write_table(table.replace_schema_metadata(metadata if keep else None), path)
        with pytest.raises(ScenarioError, match=message):
            read_tree(path)

    def replaced(name: str, column: pa.Array) -> pa.Table:
        at = good.column_names.index(name)
        return good.set_column(at, name, column)

    values = good["value"].to_numpy().copy()
    values[7] += 1e-9
    refused("was changed or damaged", replaced("value", pa.array(values)), keep=True)
    refused("2 missing and 0 repeated|1 missing and 0 repeated", good.slice(1))
    refused("repeated values", pa.concat_tables([good, good.slice(0, 1)]))
    refused("expected exactly", good.drop_columns(["gate"]))
    refused("holds no rows", good.slice(0, 0))
    naive = good["delivery_start_utc"].cast(pa.timestamp("us"))
    refused("times with a time zone", replaced("delivery_start_utc", naive))
    p = good["probability"].to_numpy().copy()
    p[0] += 0.1
    refused("one parent, stage, gate and probability", replaced("probability", pa.array(p)))
    series = pa.array(["fcr_price"] * len(good))
    refused("unknown scenario series", replaced("series", series))
    node = np.where(good["node"].to_numpy() == 1, 99, good["node"].to_numpy())
    refused("without a gap", replaced("node", pa.array(node)))
    empty = pa.array([None, *good["value"].to_pylist()[1:]], pa.float64())
    refused("empty cells", replaced("value", empty))


def test_a_pickle_or_a_torn_file_is_refused_and_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "tree.parquet"
    path.write_bytes(pickle.dumps({"parent": [-1]}))
    with pytest.raises(ScenarioError, match="not a Parquet file"):
        read_tree(path)
    write_tree(build_tree(fan(17, 8), [2, 1, 1, 1]).tree, path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ScenarioError, match="damaged"):
        read_tree(path)
    with pytest.raises(ScenarioError, match="cannot be read"):
        read_tree(tmp_path / "none.parquet")
    with pytest.raises(ScenarioError, match="cannot be written"):
        write_tree(build_tree(fan(17, 8), [2, 1, 1, 1]).tree, tmp_path / "no" / "tree.parquet")


def test_the_columns_of_the_file_are_those_of_the_documentation() -> None:
    text = (Path(__file__).resolve().parent.parent / "docs" / "reduction.md").read_text("utf-8")
    for name in COLUMNS:
        assert f"| `{name}` |" in text
