"""Network design: the form, a tiny instance by brute force, published ones where there are any."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linprog

from stochbess.engine.netdes import read_netdes
from stochbess.engine.two_stage import Engine, solve_two_stage
from stochbess.errors import ScenarioError

ENGINES: tuple[Engine, ...] = ("extensive", "decomposition")
# Best upper bounds, equal to the lower ones, of the list published with the instances.
PUBLISHED = {
    "10-10-L-01": 88557.3, "10-10-L-02": 108122.7, "10-10-L-03": 76346.6, "10-10-L-09": 68987.8,
    "10-10-L-10": 81593.8, "10-10-H-01": 27523.7, "10-10-H-02": 61332.6, "10-10-H-06": 85952.7,
    "10-20-L-02": 45513.7, "10-20-H-04": 63903.5,
}  # fmt: skip

# From node 0 to node 2, either directly or over node 1; the scenarios differ in everything.
TINY = """\
A network of three nodes and four arcs
Two scenarios
+
3
0.6
10
0,1,1;0,0,1;1,0,0
0,30,55;0,0,20;5,0,0
2
0.25,0.75
--Scenarios--
0,1,4;0,0,1;9,0,0
0,5,4;0,0,5;9,0,0
6,-1,-5
--
0,2,1;0,0,3;9,0,0
0,4,8;0,0,4;9,0,0
7,0,-7
--
"""
ARCS = ((0, 1), (0, 2), (1, 2), (2, 0))
FIXED = (30.0, 55.0, 20.0, 5.0)
# probability, costs, capacities, supplies
SCENARIOS = (
    (0.25, (1, 4, 1, 9), (5, 4, 5, 9), (6, -1, -5)),
    (0.75, (2, 1, 3, 9), (4, 8, 4, 9), (7, 0, -7)),
)


def cheapest_by_trying_all() -> tuple[float, tuple[int, ...]]:
    """Every set of arcs, with the flow of every scenario by another interface to solvers."""
    incidence = np.zeros((3, 4))
    for e, (i, j) in enumerate(ARCS):
        incidence[i, e], incidence[j, e] = 1.0, -1.0
    best: tuple[float, tuple[int, ...]] = (np.inf, ())
    for opened in product((0, 1), repeat=4):
        total = float(np.dot(FIXED, opened))
        for probability, cost, capacity, supply in SCENARIOS:
            bounds = [(0, u * x) for u, x in zip(capacity, opened, strict=True)]
            flow = linprog(cost, A_eq=incidence, b_eq=supply, bounds=bounds)
            total += probability * flow.fun if flow.success else np.inf
        best = min(best, (total, opened))
    return best


@pytest.mark.parametrize("engine", ENGINES)
def test_a_tiny_network_costs_what_trying_all_of_them_finds(engine: Engine) -> None:
    expected, opened = cheapest_by_trying_all()
    assert sum(opened) == 3  # both ways are needed: a single one has no flow in some scenario
    block = read_netdes(TINY).blocks()
    found = solve_two_stage(block, gap_frac=1e-9, time_limit_s=30.0, engine=engine)
    assert found.cost == pytest.approx(expected, rel=1e-9)
    assert found.bound == pytest.approx(expected, rel=1e-6)
    assert np.round(found.x).astype(int).tolist() == list(opened)


def test_columns_and_rows_are_named_after_nodes() -> None:
    program = read_netdes(TINY, "tiny")
    assert program.name == "tiny" and program.n_scenarios == 2
    assert program.template.columns[1] == "open[0,2]" and program.template.columns[5] == "flow[0,2]"
    assert program.template.rows[-1] == "balance[2]"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("+\n", "", "'\\+'"),
        ("\n3\n", "\n2.5\n", "line 4.*number of nodes, a whole number"),
        ("0,1,1;0,0,1;1,0,0", "0,1,1;0,0,1", "line 7.*adjacency matrix, 3 x 3"),
        ("0,1,1;0,0,1;1,0,0", "0,0,0;0,0,0;0,0,0", "at least one arc"),
        ("0.25,0.75", "0.25,0.7", "line 10.*add up to 1"),
        ("0.25,0.75", "0.25,0.5,0.25", "line 10.*1 x 2"),
        ("0,2,1;0,0,3;9,0,0", "0,2,x;0,0,3;9,0,0", "line 16.*costs of scenario 1"),
        ("0,4,8;0,0,4;9,0,0", "0,4,nan;0,0,4;9,0,0", "line 17.*capacities of scenario 1"),
        ("0,4,8;0,0,4;9,0,0", "0,4,-8;0,0,4;9,0,0", "line 17.*of at least 0"),
        ("7,0,-7\n--\n", "", "line 18.*supplies of scenario 1.*"),
    ],
)
def test_a_malformed_text_is_refused_with_its_line(old: str, new: str, complaint: str) -> None:
    assert old in TINY
    with pytest.raises(ScenarioError, match=complaint):
        read_netdes(TINY.replace(old, new, 1))


@pytest.mark.slow
def test_published_networks_cost_what_is_published() -> None:
    """STOCHBESS_NETDES names a directory with the .dat files; every known one is solved."""
    named = os.environ.get("STOCHBESS_NETDES")
    if not named:
        pytest.skip("no network instances: set STOCHBESS_NETDES to a directory of .dat files")
    paths = {name: Path(named) / f"network-{name}.dat" for name in PUBLISHED}
    present = {name: path for name, path in paths.items() if path.is_file()}
    assert present, f"{named} holds none of the instances {', '.join(PUBLISHED)}"
    for name, path in present.items():
        block = read_netdes(path.read_text(encoding="utf-8"), name).blocks()
        for engine in ENGINES:
            found = solve_two_stage(block, gap_frac=1e-6, time_limit_s=300.0, engine=engine)
            assert found.cost == pytest.approx(PUBLISHED[name], abs=0.06), (name, engine)
