"""Rows that are added where a solution violates them, so that the engine need not know them.

Some constraints are too many to write down: a convex cost of the recourse is the supremum of all
its affine minorants. Whoever knows that cost answers two questions about a solution: which rows
does it violate, and what would the columns be that the rows hold up. The engine adds the rows and
solves again from the last basis. With any subset of the rows a problem is a relaxation, so its
bounds hold at every stage; a cost is only reported with the columns lifted to the truth.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol, TypeAlias

import numpy as np
import scipy.sparse as sp

from stochbess.engine.highs import RecourseLP
from stochbess.engine.matrix import Problem
from stochbess.engine.template import Floats, Ints, Template
from stochbess.errors import SolverError

Rows: TypeAlias = Any  # (R, n), dense or in CSR form
# Most rows that a problem is handed from an earlier solve.
_HANDED_ON = 250
# Solves after which a slack row leaves a linear programme that has grown.
_IDLE_SOLVES, _LARGE = 8, 150
_MOST_ROUNDS = 1000


class Lazy(Protocol):
    """Rows over recourse columns of one scenario, the same in every scenario."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the template columns that the rows touch, in the order of `values`."""
        ...

    def rows(self, values: Floats) -> tuple[Floats, Floats]:
        """Rows `coefficients @ values >= lower` that `values` violates by more than they may."""
        ...

    def lifted(self, values: Floats) -> Floats:
        """`values` made feasible for all rows there are, at least cost in the lifted columns."""
        ...


class AnyLazy(Protocol):
    """A `Lazy` whose rows may be sparse."""

    def rows(self, values: Floats) -> tuple[Any, Floats]:
        """As `Lazy.rows`."""
        ...


class RowPool:
    """Rows found so far over the columns of one `Lazy`: (R, n) coefficients and (R,) bounds."""

    def __init__(self, n_columns: int) -> None:
        self.coefficients = np.zeros((0, n_columns))
        self.lower = np.zeros(0)
        self._known: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self.lower)

    def add(self, coefficients: Floats, lower: Floats) -> None:
        """Append the rows that are new."""
        keys = [c.tobytes() + b.tobytes() for c, b in zip(coefficients, lower, strict=True)]
        new = [i for i, key in enumerate(keys) if key not in self._known]
        self._known.update(dict.fromkeys(keys))
        if new:
            self.coefficients = np.vstack((self.coefficients, coefficients[new]))
            self.lower = np.concatenate((self.lower, lower[new]))

    def near(self, values: Floats, most: int = _HANDED_ON) -> tuple[Floats, Floats]:
        """The `most` rows with the least slack at `values`."""
        if len(self) <= most:
            return self.coefficients, self.lower
        slack = self.coefficients @ values - self.lower
        nearest = np.sort(np.argsort(slack, kind="stable")[:most])
        return self.coefficients[nearest], self.lower[nearest]


class Separation:
    """A `Lazy` bound to the columns of a template."""

    def __init__(self, lazy: Lazy, template: Template) -> None:
        self.lazy = lazy
        missing = [name for name in lazy.columns if name not in template.column_position]
        if missing:
            raise SolverError(
                f"rows added by need touch {', '.join(missing[:3])}, which the model does not have"
            )
        self.position: Ints = np.array(
            [template.column_position[name] for name in lazy.columns], np.int64
        )
        if np.isin(self.position, template.first_stage).any():
            raise SolverError(
                "rows added by need touch a here-and-now column; expected recourse columns only"
            )

    def rows(self, values: Floats) -> tuple[Floats, Floats]:
        """Rows that the template columns `values` (n,) violate."""
        return self.lazy.rows(values[self.position])

    def lift(self, values: Floats) -> Floats:
        """Template columns (S, n) or (n,) with the held-up columns at their truth."""
        out = np.atleast_2d(values).copy()
        for row in out:
            row[self.position] = self.lazy.lifted(row[self.position])
        return out.reshape(values.shape)


def bound_to(lazy: Lazy | None, template: Template) -> Separation | None:
    """`lazy` bound to the columns of a template, or None where no rows are added by need.

    Raises
    ------
    SolverError : the template has columns that such rows hold up, but nothing supplies the rows
    """
    if lazy is not None:
        return Separation(lazy, template)
    if template.held:
        raise SolverError(
            f"{template.held[0]} and {len(template.held) - 1} more columns are held up by rows "
            "that are added by need, and nothing supplies them: their cost would count as nothing. "
            "Pass the rows of the model (lazy=), or choose a model without them."
        )
    return None


def with_rows(problem: Problem, columns: Ints, coefficients: Rows, lower: Floats) -> Problem:
    """`problem` with the rows `coefficients @ x[columns] >= lower` below its own."""
    if not len(lower):
        return problem
    wide = _placed(columns, coefficients, problem.n_columns)
    names = tuple(f"added row {i}" for i in range(len(lower))) if problem.rows else ()
    return replace(
        problem,
        matrix=sp.csr_array(sp.vstack((problem.matrix, wide))),
        row_lower=np.concatenate((problem.row_lower, lower)),
        row_upper=np.concatenate((problem.row_upper, np.full(len(lower), np.inf))),
        rows=problem.rows + names,
    )


def _placed(columns: Ints, coefficients: Rows, n_columns: int) -> sp.csr_array:
    own = sp.csr_array(coefficients)
    own.eliminate_zeros()
    shape = (own.shape[0], n_columns)
    return sp.csr_array((own.data, columns[own.indices], own.indptr), shape=shape)


class GrowingLP(RecourseLP):
    """Recourse of one scenario, to which violated rows are added until there are none.

    Rows that have been slack for long leave it again. `columns` are the positions of the columns of
    `lazy` in `problem`; `found` collects the rows that this problem has needed.
    """

    def __init__(self, problem: Problem, coupling: Any, lazy: AnyLazy, columns: Ints) -> None:
        super().__init__(problem, coupling)
        self._lazy, self._at = lazy, columns
        self._own_rows = problem.n_rows
        self._idle: Ints = np.zeros(0, np.int64)
        self._width = problem.n_columns
        self.found = RowPool(len(columns))
        self.solves = 0

    def solve(self, x: Floats, most_rounds: int = _MOST_ROUNDS) -> tuple[float, Floats]:
        """As `RecourseLP.solve`, after up to `most_rounds` additions of rows that it violates."""
        self._retire()
        for left in range(most_rounds, -1, -1):
            cost, gradient = super().solve(x)
            self.solves += 1
            if not left:
                break
            coefficients, lower = self._lazy.rows(self.values()[self._at])
            if not len(lower):
                break
            self.add_rows(coefficients, lower)
        self._age()
        return cost, gradient

    def add_rows(self, coefficients: Rows, lower: Floats) -> None:
        """Append rows over the `Lazy` columns."""
        if not len(lower):
            return
        wide = _placed(self._at, coefficients, self._width)
        count = len(lower)
        self._h.addRows(
            count,
            lower,
            np.full(count, np.inf),
            wide.nnz,
            wide.indptr[:-1].astype(np.int32),
            wide.indices.astype(np.int32),
            wide.data,
        )
        self._idle = np.concatenate((self._idle, np.zeros(count, np.int64)))
        if isinstance(coefficients, np.ndarray):
            self.found.add(coefficients, lower)

    def _age(self) -> None:
        """Count for how many solves each added row has been slack."""
        if self._idle.size:
            dual = np.array(self._h.getSolution().row_dual)[self._own_rows :]
            self._idle = np.where(dual == 0.0, self._idle + 1, 0)

    def _retire(self) -> None:
        """Drop the rows that have been slack for long once there are many."""
        if self._idle.size <= _LARGE:
            return
        old = np.flatnonzero(self._idle > _IDLE_SOLVES)
        if old.size:
            self._h.deleteRows(len(old), (old + self._own_rows).astype(np.int32))
            self._idle = np.delete(self._idle, old)
