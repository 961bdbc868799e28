"""Linear and mixed-integer problems as arrays, and the blocks of many scenarios.

`Problem` is what a solver sees. `Blocks` holds the numbers of S scenarios of one template;
`extensive_form` lays them beside each other with common here-and-now columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from stochbess.engine.template import Bools, Floats, Ints, Template


@dataclass(frozen=True)
class Problem:
    """Minimise `cost . x + offset` subject to row and column bounds; `matrix` is CSR."""

    cost: Floats
    offset: float
    lower: Floats
    upper: Floats
    integer: Bools
    matrix: sp.csr_array
    row_lower: Floats
    row_upper: Floats
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()

    @property
    def n_columns(self) -> int:
        return len(self.cost)

    @property
    def n_rows(self) -> int:
        return len(self.row_lower)

    def relaxed(self) -> Problem:
        """The same problem without integrality."""
        return replace(self, integer=np.zeros(self.n_columns, bool))


@dataclass(frozen=True)
class Blocks:
    """Numbers of S scenarios: entries (S, nnz), cost (S, n), rhs (S, m), offset (S,)."""

    template: Template
    probability: Floats
    entries: Floats
    cost: Floats
    rhs: Floats
    offset: Floats

    @property
    def n_scenarios(self) -> int:
        return len(self.probability)

    def row_bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper row bounds, each (S, m)."""
        sense = self.template.sense
        lower = np.where(sense <= 0, self.rhs, -np.inf)
        upper = np.where(sense >= 0, self.rhs, np.inf)
        return lower, upper

    def subset(self, which: Ints) -> Blocks:
        """The scenarios `which`, with probabilities rescaled to one."""
        p = self.probability[which]
        return Blocks(
            self.template,
            p / p.sum(),
            self.entries[which],
            self.cost[which],
            self.rhs[which],
            self.offset[which],
        )


def blocks(template: Template, series: Mapping[str, Floats], probability: Floats) -> Blocks:
    """Evaluate the template for all scenarios; `series` maps names to (S, length) arrays."""
    xi = template.stack(series) if template.layout else np.zeros((len(probability), 1))
    return Blocks(
        template,
        np.asarray(probability, float),
        template.entries.values(xi),
        template.cost.values(xi),
        template.rhs.values(xi),
        template.offset.values(xi)[:, 0],
    )


def single(block: Blocks, s: int) -> Problem:
    """Scenario s alone, all columns in template order."""
    t = block.template
    lower, upper = block.row_bounds()
    matrix = sp.csr_array(
        (block.entries[s], t.indices, t.indptr), shape=(len(t.rows), len(t.columns))
    )
    return Problem(
        block.cost[s], float(block.offset[s]), t.lower, t.upper, t.integer, matrix,
        lower[s], upper[s], t.columns, t.rows,
    )  # fmt: skip


@dataclass(frozen=True)
class ColumnMap:
    """Where template columns went: first-stage columns first, then scenario after scenario."""

    template: Template
    n_scenarios: int

    @property
    def recourse(self) -> Ints:
        keep = np.ones(len(self.template.columns), bool)
        keep[self.template.first_stage] = False
        return np.flatnonzero(keep).astype(np.int64)

    def positions(self) -> Ints:
        """Extensive-form position of every template column in every scenario, (S, n)."""
        t, s = self.template, self.n_scenarios
        n_first, recourse = len(t.first_stage), self.recourse
        out = np.empty((s, len(t.columns)), np.int64)
        out[:, t.first_stage] = np.arange(n_first)
        offsets = n_first + np.arange(s)[:, None] * len(recourse)
        out[:, recourse] = offsets + np.arange(len(recourse))
        return out


def extensive_form(block: Blocks) -> tuple[Problem, ColumnMap]:
    """All scenarios in one matrix, here-and-now columns shared, rows common to all kept once."""
    t, n_s = block.template, block.n_scenarios
    columns = ColumnMap(t, n_s)
    position = columns.positions()
    n_columns = len(t.first_stage) + n_s * len(columns.recourse)
    p = block.probability[:, None]

    cost = np.zeros(n_columns)
    np.add.at(cost, position.ravel(), (p * block.cost).ravel())
    lower, upper = np.empty(n_columns), np.empty(n_columns)
    integer = np.zeros(n_columns, bool)
    lower[position] = t.lower
    upper[position] = t.upper
    integer[position] = t.integer

    common = np.zeros(len(t.rows), bool)
    common[t.common_rows] = True
    counts = np.diff(t.indptr)
    in_common = np.repeat(common, counts)
    row_lower, row_upper = block.row_bounds()
    indices = np.concatenate(
        (position[0, t.indices[in_common]], position[:, t.indices[~in_common]].ravel())
    )
    data = np.concatenate((block.entries[0, in_common], block.entries[:, ~in_common].ravel()))
    row_counts = np.concatenate((counts[common], np.tile(counts[~common], n_s)))
    indptr = np.concatenate(([0], np.cumsum(row_counts)))
    matrix = sp.csr_array((data, indices, indptr), shape=(len(row_counts), n_columns))
    problem = Problem(
        cost,
        float(block.probability @ block.offset),
        lower,
        upper,
        integer,
        matrix,
        np.concatenate((row_lower[0, common], row_lower[:, ~common].ravel())),
        np.concatenate((row_upper[0, common], row_upper[:, ~common].ravel())),
    )
    return problem, columns
