"""Budgeted uncertainty over scenario data, and templates whose recourse matrix it leaves alone.

The scenario data are `xi = nominal + deviation @ z` with z in the polytope
`0 <= z <= 1, sum of z over each group <= its budget` (Bertsimas & Sim 2004,
doi 10.1287/opre.1030.0065). Budgets are whole and every group is nested in, or disjoint from, the
others of its family, so that the vertices of the polytope are the 0-1 points in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from math import comb

import numpy as np
import scipy.sparse as sp

from stochbess.engine.highs import SolveOptions, solve_problem
from stochbess.engine.matrix import Problem
from stochbess.engine.template import AffineVector, Bools, Floats, Ints, Template
from stochbess.errors import ConfigError, SolverError


@dataclass(frozen=True)
class Budget:
    """At most `most` of the deviations `members` (positions in z) happen."""

    members: Ints
    most: int


@dataclass(frozen=True)
class BudgetSet:
    """Scenario data `nominal + deviation @ z` under budgets (docs/math.md (96a)).

    Attributes
    ----------
    positions : positions in the scenario data xi that are uncertain, (P,)
    nominal : their values at z = 0, (P,)
    deviation : (P, K) sparse; at most one entry in a row, so that each number follows one z
    budgets : whole budgets over groups of z; the groups form at most two laminar families
    """

    positions: Ints
    nominal: Floats
    deviation: sp.csr_array
    budgets: tuple[Budget, ...]

    def __post_init__(self) -> None:
        if self.nominal.shape != self.positions.shape or self.deviation.shape[0] != len(
            self.positions
        ):
            raise SolverError(
                f"uncertainty set: {len(self.positions)} positions, {self.nominal.shape} nominal "
                f"values and {self.deviation.shape} deviations do not belong together"
            )
        if not (np.isfinite(self.nominal).all() and np.isfinite(self.deviation.data).all()):
            raise SolverError("uncertainty set: nominal values or deviations are not finite")
        if (np.diff(self.deviation.indptr) > 1).any():
            raise SolverError("uncertainty set: a number may follow one deviation only")
        for budget in self.budgets:
            if budget.most < 0 or int(budget.most) != budget.most:
                raise ConfigError(
                    f"budget {budget.most}: expected a whole number >= 0; with a fractional one "
                    "the worst case need not be at a 0-1 point"
                )

    @property
    def size(self) -> int:
        """Number K of deviations."""
        return int(self.deviation.shape[1])

    def data(self, xi: Floats, z: Floats) -> Floats:
        """Scenario data `xi` (n_xi,) with the uncertain numbers at `z` (K,)."""
        out = xi.copy()
        out[self.positions] = self.nominal + self.deviation @ z
        return out

    def directions(self, n_xi: int) -> sp.csr_array:
        """Derivative of the scenario data with respect to z, (n_xi, K)."""
        coo = self.deviation.tocoo()
        shape = (max(n_xi, 1), self.size)
        return sp.csr_array((coo.data, (self.positions[coo.row], coo.col)), shape=shape)

    def rows(self) -> tuple[sp.csr_array, Floats]:
        """Budgets as `rows @ z <= most`."""
        which = [np.full(len(b.members), i) for i, b in enumerate(self.budgets)]
        members = [b.members for b in self.budgets]
        row = np.concatenate([*which, np.zeros(0, int)])
        column = np.concatenate([*members, np.zeros(0, int)])
        matrix = sp.csr_array(
            (np.ones(len(row)), (row, column)), shape=(len(self.budgets), self.size)
        )
        return matrix, np.array([b.most for b in self.budgets], float)

    @cached_property
    def _rows(self) -> tuple[sp.csr_array, Floats]:
        return self.rows()

    def contains(self, z: Floats, tolerance: float = 1e-9) -> bool:
        matrix, most = self._rows
        inside = bool((z >= -tolerance).all() and (z <= 1 + tolerance).all())
        return inside and bool((matrix @ z <= most + tolerance).all())

    def best(self, weight: Floats) -> Floats:
        """The vertex with the largest `weight . z`; among equals one with few deviations."""
        matrix, most = self._rows
        size, bounds = self.size, np.full(len(most), -np.inf)
        gain = np.where(weight > 0, weight, 0.0)
        problem = Problem(
            -gain, 0.0, np.zeros(size), (weight > 0).astype(float), np.ones(size, bool),
            matrix, bounds, most,
        )  # fmt: skip
        values = solve_problem(problem, SolveOptions(gap_frac=0.0)).values
        if values is None:
            raise SolverError("the uncertainty set has no point")
        return np.round(values)

    def n_candidates(self, among: Ints | None = None) -> int:
        """Number of 0-1 points with deviations `among` (all) that a count of budgets admits."""
        size = self.size if among is None else len(among)
        return sum(comb(size, k) for k in range(min(size, self.most_at_once) + 1))

    @property
    def most_at_once(self) -> int:
        """Most deviations that can happen together, bounded by the budgets that cover all."""
        matrix, most = self.rows()
        covering = [int(b.most) for b in self.budgets if len(b.members) == self.size]
        covered = np.asarray(matrix.sum(axis=0)).ravel() > 0
        total = [int(most.sum())] if covered.all() and len(most) else []
        return min([self.size, *covering, *total])

    def vertices(self, limit: int = 5000, among: Ints | None = None) -> Floats:
        """All vertices with deviations `among` (all), (V, K), fewest deviations first.

        Raises
        ------
        SolverError : there are more than `limit` candidates
        """
        if self.n_candidates(among) > limit:
            raise SolverError(
                f"{self.n_candidates(among)} candidates for the vertices of the uncertainty set; "
                f"expected at most {limit}. Use longer periods or a smaller budget"
            )
        matrix, most = self.rows()
        free = [int(k) for k in (range(self.size) if among is None else among)]
        points = []
        for count in range(min(len(free), self.most_at_once) + 1):
            for chosen in combinations(free, count):
                z = np.zeros(self.size)
                z[list(chosen)] = 1.0
                if (matrix @ z <= most).all():
                    points.append(z)
        return np.array(points)


def box(positions: Ints, low: Floats, high: Floats) -> BudgetSet:
    """Every number between `low` and `high`, without a budget."""
    return BudgetSet(positions, low, sp.csr_array(sp.diags_array(high - low)), ())


def fixed_recourse(template: Template, uncertain: BudgetSet) -> Template:
    """A template whose recourse matrix does not depend on the uncertain numbers.

    A row in which an uncertain number multiplies a recourse column is replaced by two, with the
    number at both of its ends. For given columns the row is affine in the number, so the two imply
    it everywhere between: recourse of the new template is feasible for the old one, at the same
    cost, whatever the number (docs/math.md (96c)).

    Raises
    ------
    SolverError : a row or the cost of a recourse column needs more than that
    """
    moving = np.zeros(max(template.n_xi, 1), bool)
    moving[uncertain.positions] = True
    recourse = np.ones(len(template.columns), bool)
    recourse[template.first_stage] = False
    if _touches(template.cost, moving)[recourse].any():
        raise SolverError("an uncertain number prices a recourse column; vertices do not suffice")
    symbol = _symbol_of_row(template, moving, recourse)
    doubled = np.flatnonzero(symbol >= 0)
    ends = np.zeros((2, len(moving)))
    ends[:, uncertain.positions] = uncertain.nominal
    ends[1, uncertain.positions] += np.asarray(uncertain.deviation.sum(axis=1)).ravel()
    low, high = (_substituted(template, symbol, value) for value in ends)
    counts = np.diff(template.indptr)
    of_doubled = np.repeat(symbol >= 0, counts)
    return replace(
        template,
        rows=template.rows + tuple(f"{template.rows[i]} at the other end" for i in doubled),
        indptr=np.concatenate((template.indptr, template.indptr[-1] + np.cumsum(counts[doubled]))),
        indices=np.concatenate((template.indices, template.indices[of_doubled])),
        entries=_joined(low[0], _part(high[0], of_doubled)),
        rhs=_joined(low[1], _part(high[1], symbol >= 0)),
        sense=np.concatenate((template.sense, template.sense[doubled])),
    )


def _touches(vector: AffineVector, moving: Bools) -> Bools:
    """Elements of an affine vector that depend on the positions `moving`."""
    part = abs(sp.csc_array(vector.matrix)[:, np.flatnonzero(moving)])
    return np.asarray(part.sum(axis=1)).ravel() > 0


def _symbol_of_row(template: Template, moving: Bools, recourse: Bools) -> Ints:
    """Per row the uncertain number that multiplies a recourse column, or -1."""
    row_of_entry = np.repeat(np.arange(len(template.rows)), np.diff(template.indptr))
    coo = template.entries.matrix.tocoo()
    hit = moving[coo.col] & recourse[template.indices[coo.row]] & (coo.data != 0)
    rows, symbols = row_of_entry[coo.row[hit]], coo.col[hit]
    out = np.full(len(template.rows), -1, np.int64)
    out[rows] = symbols
    if (out[rows] != symbols).any():
        name = template.rows[int(rows[out[rows] != symbols][0])]
        raise SolverError(f"row {name}: two uncertain numbers multiply recourse columns")
    return out


def _substituted(
    template: Template, symbol: Ints, value: Floats
) -> tuple[AffineVector, AffineVector]:
    """Entries and right-hand sides with the number `symbol` of each row put at `value`."""
    row_of_entry = np.repeat(np.arange(len(template.rows)), np.diff(template.indptr))

    def put(vector: AffineVector, row: Ints) -> AffineVector:
        coo = vector.matrix.tocoo()
        fixed = symbol[row[coo.row]] == coo.col
        base = vector.base.copy()
        np.add.at(base, coo.row[fixed], coo.data[fixed] * value[coo.col[fixed]])
        keep = (coo.data[~fixed], (coo.row[~fixed], coo.col[~fixed]))
        return AffineVector(base, sp.csr_array(keep, shape=vector.matrix.shape))

    return put(template.entries, row_of_entry), put(template.rhs, np.arange(len(template.rows)))


def _part(vector: AffineVector, which: Bools) -> AffineVector:
    return AffineVector(vector.base[which], sp.csr_array(vector.matrix[np.flatnonzero(which)]))


def _joined(first: AffineVector, second: AffineVector) -> AffineVector:
    matrix = sp.csr_array(sp.vstack([first.matrix, second.matrix]))
    return AffineVector(np.concatenate((first.base, second.base)), matrix)
