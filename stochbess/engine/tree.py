"""Multi-stage problems: one template on every leaf of a tree, columns shared within a node.

Non-anticipativity is built into the matrix: a column that is decided at stage k exists once per
node of stage k (132), so there are no rows that equate copies. A row whose columns and numbers are
the same for all leaves of a node is kept once. `solve_tree` solves that extensive form, or takes
all that is decided before the tree first branches as first stage, and the subtree of each child as
one compound scenario of the branch-and-Benders search.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from stochbess.clock import monotonic_s
from stochbess.engine.branch import BranchAndBenders
from stochbess.engine.exclusive import solve_lazily_whole
from stochbess.engine.highs import RecourseLP, SolveOptions, solve_problem
from stochbess.engine.lshaped import Recourse
from stochbess.engine.matrix import Blocks, Problem
from stochbess.engine.outcome import Status
from stochbess.engine.risk import NEUTRAL, Risk
from stochbess.engine.template import Floats, Ints, Template
from stochbess.engine.two_stage import Engine, Progress, TwoStageOutcome, certified, with_risk
from stochbess.errors import InfeasibleError, SolverError

# With fewer branches at the trunk their cuts say too little, and one MIP over the whole tree was
# faster (docs/multi-stage.md).
_FEWEST_BRANCHES = 3


@dataclass(frozen=True)
class TreeBlocks:
    """Numbers of the L leaves, the node of every leaf at every stage, the stage of every column.

    Attributes
    ----------
    block : one scenario per leaf
    node_of : (K + 1, L); row 0 is the root
    column_stage : (n,) row of `node_of` at which each template column is decided
    """

    block: Blocks
    node_of: Ints
    column_stage: Ints

    def below(self, leaves: Ints) -> TreeBlocks:
        """The subtree of some leaves, probabilities given that it is reached."""
        return TreeBlocks(self.block.subset(leaves), self.node_of[:, leaves], self.column_stage)

    @property
    def trunk(self) -> int:
        """Last row whose leaves all share one node: what is decided up to it is one decision."""
        single = (self.node_of == self.node_of[:, :1]).all(axis=1)
        return int(np.flatnonzero(single)[-1])

    @property
    def trunk_columns(self) -> Ints:
        """Template columns that are decided before the tree first branches."""
        return np.flatnonzero(self.column_stage <= self.trunk).astype(np.int64)

    def branches(self) -> list[Ints]:
        """Leaves of each child where the tree first branches; one entry if it never does."""
        if self.trunk == len(self.node_of) - 1:
            return [np.arange(self.block.n_scenarios)]
        _, child = np.unique(self.node_of[self.trunk + 1], return_inverse=True)
        return [np.flatnonzero(child == c) for c in range(int(child.max()) + 1)]


def tree_form(tree: TreeBlocks) -> tuple[Problem, Ints]:
    """(132) The extensive form of a tree, and where it put every column of every leaf, (L, n)."""
    block, t = tree.block, tree.block.template
    position, n_columns = _positions(tree)
    cost = np.zeros(n_columns)
    np.add.at(cost, position.ravel(), (block.probability[:, None] * block.cost).ravel())
    lower, upper = np.empty(n_columns), np.empty(n_columns)
    integer = np.zeros(n_columns, bool)
    lower[position], upper[position], integer[position] = t.lower, t.upper, t.integer
    row_lower, row_upper = block.row_bounds()
    counts = np.diff(t.indptr)
    row_of = np.repeat(np.arange(len(t.rows)), counts)
    row_stage = _row_stages(tree, row_of, row_lower, row_upper)
    indices, data, lengths, lows, highs = [], [], [], [], []
    for k in range(len(tree.node_of)):
        rows = np.flatnonzero(row_stage == k)
        if not rows.size:
            continue
        _, leaf = np.unique(tree.node_of[k], return_index=True)
        inside = row_stage[row_of] == k
        indices.append(position[leaf][:, t.indices[inside]].ravel())
        data.append(block.entries[leaf][:, inside].ravel())
        lengths.append(np.tile(counts[rows], len(leaf)))
        lows.append(row_lower[leaf][:, rows].ravel())
        highs.append(row_upper[leaf][:, rows].ravel())
    indptr = np.concatenate(([0], np.cumsum(np.concatenate(lengths))))
    matrix = sp.csr_array(
        (np.concatenate(data), np.concatenate(indices), indptr),
        shape=(len(indptr) - 1, n_columns),
    )
    problem = Problem(
        cost, float(block.probability @ block.offset), lower, upper, integer, matrix,
        np.concatenate(lows), np.concatenate(highs),
    )  # fmt: skip
    return problem, position


def _positions(tree: TreeBlocks) -> tuple[Ints, int]:
    """Column of the extensive form of every template column in every leaf (L, n)."""
    position = np.empty((tree.block.n_scenarios, len(tree.column_stage)), np.int64)
    start = 0
    for k, nodes in enumerate(tree.node_of):
        columns = np.flatnonzero(tree.column_stage == k)
        _, node = np.unique(nodes, return_inverse=True)
        position[:, columns] = start + node[:, None] * len(columns) + np.arange(len(columns))
        start += (int(node.max()) + 1) * len(columns)
    return position, start


def _row_stages(tree: TreeBlocks, row_of: Ints, lower: Floats, upper: Floats) -> Ints:
    """Stage whose nodes keep each row once: that of its last column, or the leaves if its numbers
    tell leaves of a node apart."""
    block, t = tree.block, tree.block.template
    stage = np.zeros(len(t.rows), np.int64)
    np.maximum.at(stage, row_of, tree.column_stage[t.indices])
    last = len(tree.node_of) - 1
    for k in range(last):
        _, first, node = np.unique(tree.node_of[k], return_index=True, return_inverse=True)
        twin = first[node]
        rows = stage == k
        inside = rows[row_of]
        unlike = (block.entries[:, inside] != block.entries[twin][:, inside]).any(axis=0)
        split = np.zeros(len(t.rows), bool)
        np.logical_or.at(split, row_of[inside], unlike)
        split |= ((lower != lower[twin]) | (upper != upper[twin])).any(axis=0)
        stage[rows & split] = last
    return stage


class SubtreeRecourse(Recourse):
    """Each subtree under the trunk as one scenario, for any decision of the trunk."""

    def __init__(self, tree: TreeBlocks, threads: int) -> None:
        self._tree, self._branches = tree, tree.branches()
        self._where: list[tuple[Ints, Ints]] = [
            (np.zeros(0, np.int64), np.zeros(0, np.int64)) for _ in self._branches
        ]
        super().__init__(_compound(tree, self._branches), threads)

    def _recourse_lp(self, s: int) -> RecourseLP:
        problem, position = tree_form(self._tree.below(self._branches[s]))
        first = position[0, self.first]
        own = np.ones(problem.n_columns, bool)
        own[first] = False
        matrix = sp.csc_array(problem.matrix)
        inner = sp.csr_array(matrix[:, np.flatnonzero(own)])
        keep = np.flatnonzero(np.diff(inner.indptr))
        self._where[s] = np.flatnonzero(own), position
        part = replace(
            problem, cost=problem.cost[own], offset=0.0, lower=problem.lower[own],
            upper=problem.upper[own], integer=problem.integer[own], matrix=inner[keep],
            row_lower=problem.row_lower[keep], row_upper=problem.row_upper[keep],
        )  # fmt: skip
        return RecourseLP(part, sp.csr_array(sp.csr_array(matrix[:, first])[keep]))

    def leaf_values(self, x: Floats) -> Floats:
        """Template columns of all leaves at the trunk decision x, (L, n)."""
        self.priced(x)
        values = np.empty((self._tree.block.n_scenarios, len(self._tree.column_stage)))
        for s, leaves in enumerate(self._branches):
            own, position = self._where[s]
            whole = np.empty(len(own) + len(self.first))
            whole[position[0, self.first]] = x
            whole[own] = self._problems[s].values()
            values[leaves] = whole[position]
        return values


def _compound(tree: TreeBlocks, branches: list[Ints]) -> Blocks:
    """What the master problem has to know: trunk columns, their costs, and the rows among them."""
    block, t = tree.block, tree.block.template
    p = block.probability
    weight = np.array([p[leaves].sum() for leaves in branches])
    share = [p[leaves] / p[leaves].sum() for leaves in branches]
    first = np.array([leaves[0] for leaves in branches])
    return Blocks(
        with_trunk(t, tree.trunk_columns),
        weight,
        block.entries[first],
        np.array([w @ block.cost[leaves] for w, leaves in zip(share, branches, strict=True)]),
        block.rhs[first],
        np.array([w @ block.offset[leaves] for w, leaves in zip(share, branches, strict=True)]),
    )


def with_trunk(template: Template, columns: Ints) -> Template:
    """`template` with other here-and-now columns, and the rows that hold nothing but them."""
    common = np.ones(len(template.rows), bool)
    row_of = np.repeat(np.arange(len(template.rows)), np.diff(template.indptr))
    common[row_of[~np.isin(template.indices, columns)]] = False
    common[row_of[template.entries.varying]] = False
    common[template.rhs.varying] = False
    return replace(template, first_stage=columns, common_rows=np.flatnonzero(common))


def solve_tree(
    tree: TreeBlocks,
    *,
    gap_frac: float,
    time_limit_s: float,
    threads: int = 1,
    engine: Engine = "auto",
    risk: Risk = NEUTRAL,
    seed: int = 0,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    start: Floats | None = None,
) -> TwoStageOutcome:
    """Minimise the risk-adjusted cost of the leaves over all decisions of the tree.

    `engine="auto"` takes the extensive form where the tree first branches into fewer than three,
    where whole lots are decided after the first branching, and with a risk weight, because the CVaR
    of the leaves is not a sum over subtrees; the decomposition otherwise. `start` is a decision of
    the trunk that the decomposition prices first.

    Raises
    ------
    InfeasibleError : no decision exists
    SolverError : the time ran out without a solution, a certificate failed, or the decomposition
        was asked for where it does not apply
    """
    after = np.setdiff1d(np.arange(len(tree.column_stage)), tree.trunk_columns)
    whole_later = bool(tree.block.template.integer[after].any())
    apart = len(tree.branches()) > 1 and not whole_later and risk.neutral
    if engine == "auto":
        many = len(tree.branches()) >= _FEWEST_BRANCHES
        engine = "decomposition" if apart and many else "extensive"
    if engine == "decomposition" and not apart:
        raise SolverError(
            "the decomposition of a tree needs whole lots that are decided before it first "
            "branches, more than one branch, and no risk weight. Use --engine extensive."
        )
    began = monotonic_s()
    options = SolveOptions(gap_frac, time_limit_s, threads, seed=seed, progress=progress, stop=stop)
    outcome = (
        _extensive(tree, options, risk)
        if engine == "extensive"
        else _decomposed(tree, options, start)
    )
    return replace(outcome, wall_s=monotonic_s() - began)


def _extensive(tree: TreeBlocks, options: SolveOptions, risk: Risk) -> TwoStageOutcome:
    problem, position = tree_form(tree)
    if not risk.neutral:
        problem = with_risk(problem, tree.block, position, risk)
    found = solve_problem(problem, options)
    if found.status is Status.INFEASIBLE:
        raise InfeasibleError(f"no decision exists on the tree: {found.message}")
    if found.values is None:
        raise SolverError(
            f"no solution of the tree: {found.status.value} ({found.message}); allow more time "
            "(--time-limit) or fewer branches (tree.delivery)"
        )
    result = certified(
        tree.block, "extensive", found.values[position], found.objective, found.bound, risk
    )
    return replace(
        result, status=found.status, nodes=found.nodes, hit_time_limit=found.hit_time_limit
    )


def _decomposed(tree: TreeBlocks, options: SolveOptions, start: Floats | None) -> TwoStageOutcome:
    recourse, progress = SubtreeRecourse(tree, options.threads), options.progress
    try:
        search = BranchAndBenders(
            recourse,
            NEUTRAL,
            options.gap_frac,
            options.time_limit_s,
            None if progress is None else lambda at, cost, bound, _: progress(at, cost, bound),
            start=start,
        ).run()
        values = recourse.leaf_values(search.x)
    finally:
        recourse.close()
    result = certified(tree.block, "decomposition", values, search.cost, search.bound, NEUTRAL)
    return replace(
        result,
        relaxation_bound=search.relaxation_bound,
        nodes=search.nodes,
        cuts=search.cuts,
        hit_time_limit=search.hit_time_limit,
    )


def price_trunk(tree: TreeBlocks, held: Ints, x: Floats, threads: int = 1) -> TwoStageOutcome:
    """Optimal continuous decisions with the trunk columns `held` fixed at x.

    Branches are priced apart if the whole trunk is held, and together if not.

    Raises
    ------
    InfeasibleError, SolverError : x admits no decisions, or their certificate failed
    """
    began = monotonic_s()
    if np.array_equal(held, tree.trunk_columns):
        recourse = SubtreeRecourse(tree, threads)
        try:
            values = recourse.leaf_values(x)
        finally:
            recourse.close()
    else:
        problem, position = tree_form(tree)
        lower, upper = problem.lower.copy(), problem.upper.copy()
        lower[position[0, held]] = upper[position[0, held]] = x
        fixed = replace(problem, lower=lower, upper=upper).relaxed()
        found = solve_problem(fixed, SolveOptions(threads=threads))
        if found.values is None:
            raise InfeasibleError(f"the given decision has no recourse: {found.message}")
        values = found.values[position]
    cost = np.einsum("sn,sn->s", tree.block.cost, values) + tree.block.offset
    total = float(tree.block.probability @ cost)
    result = certified(tree.block, "fixed first stage", values, total, total, NEUTRAL)
    return replace(result, wall_s=monotonic_s() - began)


def exclusive_tree(
    tree: TreeBlocks, held: dict[int, Floats], either_or: Ints, threads: int, time_limit_s: float
) -> tuple[Floats, Floats, int, bool]:
    """Best found decisions after the trunk with the binary columns `either_or` whole.

    `held` gives the columns that keep their values: template column -> (L,) values by leaf.

    Returns
    -------
    values (L, n), cost (L,), number of columns that had to be made whole, whether the time limit of
    a subtree ended its search
    """
    branches = tree.branches()

    def one(leaves: Ints) -> tuple[Floats, int, bool]:
        problem, position = tree_form(tree.below(leaves))
        lower, upper = problem.lower.copy(), problem.upper.copy()
        for column, values in held.items():
            lower[position[:, column]] = upper[position[:, column]] = values[leaves]
        binary = np.zeros(problem.n_columns, bool)
        binary[position[:, either_or].ravel()] = True
        fixed = replace(
            problem, lower=lower, upper=upper, integer=np.zeros(problem.n_columns, bool)
        )
        options = SolveOptions(gap_frac=1e-4, time_limit_s=time_limit_s)
        values, _, count, late = solve_lazily_whole(fixed, binary, options)
        return values[position], count, late

    with ThreadPoolExecutor(max(1, threads)) as pool:
        results = list(pool.map(one, branches))
    values = np.empty((tree.block.n_scenarios, len(tree.column_stage)))
    for leaves, (found, _, _) in zip(branches, results, strict=True):
        values[leaves] = found
    cost = np.einsum("sn,sn->s", tree.block.cost, values) + tree.block.offset
    return values, cost, sum(r[1] for r in results), any(r[2] for r in results)
