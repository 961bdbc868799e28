"""Compile one scenario of a Pyomo model once; evaluate its numbers for any scenario with numpy.

Pyomo's parameterised standard-form compiler returns every coefficient that depends on the
scenario data as an expression in them. Here these expressions are reduced to affine functions, so
that S scenarios are one sparse matrix product instead of S models. A coefficient that is not affine
in the scenario data is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyomo.environ as pyo
import scipy.sparse as sp
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.base.var import VarData
from pyomo.core.expr.numeric_expr import (
    DivisionExpression,
    LinearExpression,
    MonomialTermExpression,
    NegationExpression,
    ProductExpression,
    SumExpression,
)
from pyomo.repn.plugins.parameterized_standard_form import ParameterizedLinearStandardFormCompiler

from stochbess.errors import ScenarioError, SolverError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Affine = dict[int, float]  # -1 is the constant, any other key a position in the scenario data


@dataclass(frozen=True)
class AffineVector:
    """A vector `base + matrix @ xi`, with xi the scenario data laid end to end."""

    base: Floats
    matrix: sp.csr_array

    @cached_property
    def varying(self) -> Ints:
        """Positions that depend on the scenario data."""
        return np.flatnonzero(np.diff(self.matrix.indptr)).astype(np.int64)

    def values(self, xi: Floats) -> Floats:
        """Values for scenario data of shape (S, n_xi); shape (S, len(base))."""
        out = np.tile(self.base, (len(xi), 1))
        if self.varying.size:
            out[:, self.varying] += (self.matrix[self.varying] @ xi.T).T
        return out


@dataclass(frozen=True)
class Template:
    """One scenario in rows `row_lower <= A x <= row_upper`, minimising `cost . x + offset`.

    Attributes
    ----------
    columns, rows : names as in the Pyomo model, e.g. ``"charge_mw[3]"``
    lower, upper : column bounds, +-inf where free
    integer : columns that must be whole
    first_stage : positions of the here-and-now columns
    common_rows : rows that contain only here-and-now columns and no scenario data
    entries : coefficients of A in CSR order, pattern in `indptr`, `indices`
    rhs : right-hand sides; `sense` is -1 for >=, 0 for ==, 1 for <=
    layout : position and length of each scenario series in xi
    absent : variables of the model that no row or objective mentions
    held : columns that only rows added by need hold up; the costs of other solves would lack them
    """

    columns: tuple[str, ...]
    rows: tuple[str, ...]
    lower: Floats
    upper: Floats
    integer: Bools
    first_stage: Ints
    common_rows: Ints
    indptr: Ints
    indices: Ints
    entries: AffineVector
    cost: AffineVector
    offset: AffineVector
    rhs: AffineVector
    sense: Ints
    layout: dict[str, slice]
    absent: dict[str, float]
    held: tuple[str, ...] = ()

    @property
    def n_xi(self) -> int:
        return max((part.stop for part in self.layout.values()), default=0)

    def stack(self, series: Mapping[str, Floats]) -> Floats:
        """Lay scenario series (name -> (S, length)) end to end: shape (S, n_xi)."""
        missing = [name for name in self.layout if name not in series]
        if missing:
            raise ScenarioError(
                f"scenario data lack {', '.join(missing)}; the model reads {', '.join(self.layout)}"
            )
        n_scenarios = len(next(iter(series.values()))) if self.layout else 1
        xi = np.empty((n_scenarios, self.n_xi))
        for name, part in self.layout.items():
            values = np.asarray(series[name], float)
            if values.shape != (n_scenarios, part.stop - part.start):
                raise ScenarioError(
                    f"scenario series {name} has shape {values.shape}, expected "
                    f"{(n_scenarios, part.stop - part.start)}"
                )
            if not np.isfinite(values).all():
                raise ScenarioError(f"scenario series {name} contains NaN or infinity")
            xi[:, part] = values
        return xi

    @cached_property
    def column_position(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.columns)}


def compile_template(m: pyo.ConcreteModel) -> Template:
    """Compile a model that has `m.xi` (fixed scenario data), `m.first_stage` and one objective.

    `m.held_up`, if there is one, lists variables that wait for rows added by need.
    """
    symbols: dict[int, int] = {}
    layout: dict[str, slice] = {}
    wrt: list[Any] = []
    for component in m.xi.component_objects(pyo.Var):
        layout[component.local_name] = slice(len(wrt), len(wrt) + len(component))
        for variable in component.values():
            symbols[id(variable)] = len(wrt)
            wrt.append(variable)
    form = ParameterizedLinearStandardFormCompiler().write(m, wrt=wrt, mixed_form=True)
    n_rows, n_cols = form.A.shape
    columns, a_rows = form.columns, np.asarray(form.A.indices, np.int64)
    a_cols = np.repeat(np.arange(n_cols), np.diff(form.A.indptr))
    order = np.lexsort((a_cols, a_rows))
    indptr = np.concatenate(([0], np.cumsum(np.bincount(a_rows, minlength=n_rows))))
    data = list(form.A.data)
    entries = _affine_vector((data[i] for i in order), len(order), symbols, len(wrt))
    indices = a_cols[order]

    costs: list[Any] = [0.0] * n_cols
    c = form.c.tocsc() if hasattr(form.c, "tocsc") else form.c
    for j in range(n_cols):
        for k in range(int(c.indptr[j]), int(c.indptr[j + 1])):
            costs[j] = c.data[k]
    positions = {id(v): j for j, v in enumerate(columns)}
    first = np.array(sorted(positions[id(v)] for v in m.first_stage if id(v) in positions), int)
    rhs = _affine_vector(iter(form.rhs), n_rows, symbols, len(wrt))
    recourse_column = np.ones(n_cols, bool)
    recourse_column[first] = False
    touched = np.zeros(n_rows, bool)
    row_of_entry = np.repeat(np.arange(n_rows), np.diff(indptr))
    touched[row_of_entry[recourse_column[indices]]] = True
    touched[row_of_entry[entries.varying]] = True
    touched[rhs.varying] = True
    known = {id(v) for v in columns} | set(symbols)
    absent = {
        v.name: _nearest_to_zero(v.lb, v.ub)
        for v in m.component_data_objects(pyo.Var)
        if id(v) not in known
    }
    return Template(
        columns=tuple(v.name for v in columns),
        rows=tuple(f"{r.constraint.name}" for r in form.rows),
        lower=np.array([-np.inf if v.lb is None else v.lb for v in columns], float),
        upper=np.array([np.inf if v.ub is None else v.ub for v in columns], float),
        integer=np.array([v.is_integer() or v.is_binary() for v in columns], bool),
        first_stage=first.astype(np.int64),
        common_rows=np.flatnonzero(~touched).astype(np.int64),
        indptr=indptr.astype(np.int64),
        indices=indices.astype(np.int64),
        entries=entries,
        cost=_affine_vector(iter(costs), n_cols, symbols, len(wrt)),
        offset=_affine_vector(iter(form.c_offset), 1, symbols, len(wrt)),
        rhs=rhs,
        sense=np.array([r.bound_type for r in form.rows], np.int64),
        layout=layout,
        absent=absent,
        held=tuple(v.name for v in getattr(m, "held_up", ())),
    )


def _nearest_to_zero(lower: float | None, upper: float | None) -> float:
    value = 0.0 if lower is None else max(0.0, float(lower))
    return value if upper is None else min(value, float(upper))


def _affine_vector(
    expressions: Iterable[Any], length: int, symbols: Mapping[int, int], n_xi: int
) -> AffineVector:
    base = np.zeros(length)
    rows, cols, values = [], [], []
    for i, expression in enumerate(expressions):
        if type(expression) in native_numeric_types or isinstance(expression, np.number):
            base[i] = float(expression)
            continue
        for symbol, factor in _affine(expression, symbols).items():
            if symbol < 0:
                base[i] = factor
            else:
                rows.append(i)
                cols.append(symbol)
                values.append(factor)
    return AffineVector(base, sp.csr_array((values, (rows, cols)), shape=(length, max(n_xi, 1))))


def _affine(e: Any, symbols: Mapping[int, int]) -> Affine:
    """Coefficients of an expression that is affine in the scenario data."""
    if type(e) in native_numeric_types or isinstance(e, np.number):
        return {-1: float(e)}
    if isinstance(e, VarData):
        return {symbols[id(e)]: 1.0}
    if isinstance(e, MonomialTermExpression):
        factor, variable = e.args
        return {symbols[id(variable)]: float(pyo.value(factor))}
    if isinstance(e, (SumExpression, LinearExpression)):
        total: Affine = {}
        for term in e.args:
            for symbol, factor in _affine(term, symbols).items():
                total[symbol] = total.get(symbol, 0.0) + factor
        return total
    if isinstance(e, NegationExpression):
        return {k: -v for k, v in _affine(e.args[0], symbols).items()}
    if isinstance(e, ProductExpression):
        left, right = (_affine(a, symbols) for a in e.args)
        if set(right) <= {-1}:
            left, right = right, left
        if set(left) <= {-1}:
            return {k: left.get(-1, 0.0) * v for k, v in right.items()}
    if isinstance(e, DivisionExpression):
        above, below = (_affine(a, symbols) for a in e.args)
        if set(below) == {-1}:
            return {k: v / below[-1] for k, v in above.items()}
    raise SolverError(f"coefficient {e} is not affine in the scenario data")
