"""The worst scenario data in a budgeted set, for one here-and-now decision.

`max over z of min over recourse` is a mixed-integer linear programme once the recourse matrix does
not depend on z: the minimum is replaced by its dual, and the products of duals and 0-1 deviations
are linearised (Zeng & Zhao 2013, doi 10.1016/j.orl.2013.05.003). The maximum over the polytope is
at a vertex because the recourse cost is convex in z. A fast search that alternates between z and
the duals finds good points. Branching on deviations proves the worst of them where stored energy
links the day, the programme or pricing all vertices otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from stochbess.clock import monotonic_s
from stochbess.engine.highs import RecourseLP, SolveOptions, load, run_interruptible
from stochbess.engine.matrix import Problem
from stochbess.engine.template import Bools, Floats, Ints, Template
from stochbess.engine.uncertainty import BudgetSet
from stochbess.engine.vertex_search import VertexSearch
from stochbess.errors import SolverError

_MOST_CLIMBS = 50
# Up to so many 0-1 points, pricing them all is faster than the programme, and than branching.
_ENUMERATED, _FEW = 3000, 30
# Share of the time for branching; the programme gets the rest where that proves too little.
_BRANCHING_SHARE = 0.6


@dataclass(frozen=True)
class MovingRows:
    """What is known of the rows `called(z) - delivered >= 0` whose right-hand side follows z.

    Attributes
    ----------
    row : (P,) positions of the rows in the template
    dual_bound : (P,) an optimal dual of each row is at most this
    delivered : (P,) column that enters the row with a factor below zero
        and has no upper bound
    substitutes : (P, n) columns that can do the work of `delivered`, where raised (`signs` 1) or
        lowered (`signs` -1); they tighten the programme and may be none
    signs : (n,)
    """

    row: Ints
    dual_bound: Floats
    delivered: Ints
    substitutes: Ints
    signs: Floats


@dataclass(frozen=True)
class WorstCase:
    """A vertex z, its cost, and a proven bound: `cost <= worst cost <= bound`."""

    z: Floats
    cost: float
    bound: float


class Adversary:
    """Worst case of one scenario over a budgeted set, for any here-and-now decision.

    `template` has a recourse matrix free of the uncertain numbers (`fixed_recourse`), `xi` (n_xi,)
    are the scenario data, and `moving` names every row that the uncertain numbers move. `linking`
    (n_columns,) marks columns that link the parts of the recourse in time (`VertexSearch`); without
    them the proof falls to the programme.
    """

    def __init__(
        self, template: Template, xi: Floats, uncertain: BudgetSet, moving: MovingRows,
        linking: Bools | None = None,
    ) -> None:  # fmt: skip
        t = self.template = template
        self.uncertain = uncertain
        base = uncertain.data(xi, np.zeros(uncertain.size))[None, :]
        along = uncertain.directions(t.n_xi)
        self._entries = t.entries.values(base)[0]
        self._cost = t.cost.values(base)[0]
        self._rhs = t.rhs.values(base)[0]
        self._offset = float(t.offset.values(base)[0, 0])
        self._entries_by_z = sp.csr_array(t.entries.matrix @ along)
        self._cost_by_z = sp.csr_array(t.cost.matrix @ along)
        self._rhs_by_z = sp.csr_array(t.rhs.matrix @ along)
        self._offset_by_z = np.asarray((t.offset.matrix @ along).todense()).ravel()
        keep = np.ones(len(t.columns), bool)
        keep[t.first_stage] = False
        self._recourse = np.flatnonzero(keep)
        rows = np.ones(len(t.rows), bool)
        rows[t.common_rows] = False
        self._rows = np.flatnonzero(rows)
        self._check_fixed_recourse(keep)
        whole = sp.csr_array(
            (self._entries, t.indices, t.indptr), shape=(len(t.rows), len(t.columns))
        )
        columns = sp.csc_array(whole[self._rows])
        self._matrix = sp.csr_array(columns[:, self._recourse])
        self._coupling = sp.csr_array(columns[:, t.first_stage])
        self._x_of_column = np.full(len(t.columns), -1)
        self._x_of_column[t.first_stage] = np.arange(len(t.first_stage))
        self._moving = self._within(moving)
        self._linking = None if linking is None else linking[self._recourse]

    def _within(self, moving: MovingRows) -> MovingRows:
        """The same rows and columns by their positions in the recourse problem."""
        row_at = np.full(len(self.template.rows), -1)
        row_at[self._rows] = np.arange(len(self._rows))
        column_at = np.full(len(self.template.columns), -1)
        column_at[self._recourse] = np.arange(len(self._recourse))
        return MovingRows(
            row_at[moving.row],
            moving.dual_bound,
            column_at[moving.delivered],
            column_at[moving.substitutes],
            moving.signs,
        )

    def _check_fixed_recourse(self, recourse: Bools) -> None:
        moved = np.diff(self._entries_by_z.indptr) > 0
        if (moved & recourse[self.template.indices]).any() or np.diff(self._cost_by_z.indptr)[
            recourse
        ].any():
            raise SolverError(
                "the recourse matrix or price depends on the uncertain numbers; its worst case "
                "need not be at a vertex. Use fixed_recourse, or a set over other numbers"
            )

    def at(self, x: Floats) -> Inner:
        """The problem of the adversary once x is decided."""
        t = self.template
        # Derivative of the right-hand side of the recourse rows with respect to z, at this x.
        scale = np.where(self._x_of_column >= 0, x[self._x_of_column], 0.0)[t.indices]
        pick = sp.csr_array(
            (scale, np.arange(len(scale)), t.indptr), shape=(len(t.rows), len(scale))
        )
        by_z = sp.csr_array((self._rhs_by_z - pick @ self._entries_by_z)[self._rows])
        by_z.eliminate_zeros()
        right = self._rhs[self._rows] - self._coupling @ x
        sense = t.sense[self._rows]
        first = t.first_stage
        slope = np.asarray(self._cost_by_z[first].T @ x).ravel() + self._offset_by_z
        problem = Problem(
            self._cost[self._recourse], 0.0, t.lower[self._recourse], t.upper[self._recourse],
            np.zeros(len(self._recourse), bool), self._matrix,
            np.where(sense <= 0, right, -np.inf), np.where(sense >= 0, right, np.inf),
            tuple(t.columns[j] for j in self._recourse), tuple(t.rows[i] for i in self._rows),
        )  # fmt: skip
        constant = float(self._cost[first] @ x) + self._offset
        return Inner(problem, by_z, constant, slope, self.uncertain, self._moving, self._linking)


class Inner:
    """`max over z of constant + slope . z + min {cost . y : rows(z)}` at a fixed decision."""

    def __init__(
        self, problem: Problem, by_z: sp.csr_array, constant: float, slope: Floats,
        uncertain: BudgetSet, moving: MovingRows, linking: Bools | None = None,
    ) -> None:  # fmt: skip
        self._problem, self._by_z, self._constant, self._slope = problem, by_z, constant, slope
        self._linking = linking
        self._uncertain, self._moving = uncertain, moving
        self._lp = RecourseLP(problem, sp.csr_array(-by_z))
        self._seen: dict[bytes, tuple[float, Floats]] = {}

    def cost(self, z: Floats) -> tuple[float, Floats]:
        """Cost at z, and a subgradient with respect to z."""
        key = z.tobytes()
        if key not in self._seen:
            recourse, gradient = self._lp.solve(z)
            total = self._constant + float(self._slope @ z) + recourse
            self._seen[key] = total, self._slope + gradient
        return self._seen[key]

    def climb(self, starts: Sequence[Floats]) -> list[WorstCase]:
        """Vertices that the alternating search reaches, dearest first; without a bound.

        `starts` are points of [0, 1]^K; they need not keep the budgets.
        """
        found: dict[bytes, WorstCase] = {}
        for start in starts:
            z = self._uncertain.best(self.cost(start)[1])
            cost, gradient = self.cost(z)
            for _ in range(_MOST_CLIMBS):
                new = self._uncertain.best(gradient)
                higher, steeper = self.cost(new)
                if higher <= cost + 1e-9 * max(1.0, abs(cost)):
                    break
                z, cost, gradient = new, higher, steeper
            found[z.tobytes()] = WorstCase(z, cost, np.inf)
        return sorted(found.values(), key=lambda w: -w.cost)

    def runs(self, most: int = 5) -> list[Floats]:
        """The dearest vertices among those whose deviations are neighbours, as starts."""
        size, whole = self._uncertain.size, self._uncertain.best(np.ones(self._uncertain.size))
        length = max(1, int(whole.sum()))
        points = []
        for first in range(size - length + 1):
            z = np.zeros(size)
            z[first : first + length] = 1.0
            if self._uncertain.contains(z):
                points.append(z)
        points.sort(key=lambda z: -self.cost(z)[0])
        return points[:most]

    def improve(self, best: WorstCase, width: int = 12) -> WorstCase:
        """Add, drop or exchange single deviations as long as the cost rises.

        Of the additions only the `width` that the subgradient likes best are tried.
        """
        while True:
            z, cost = best.z, best.cost
            gradient = self.cost(z)[1]
            inside = np.flatnonzero(z > 0.5)
            outside = np.flatnonzero(z <= 0.5)
            outside = outside[np.argsort(-gradient[outside], kind="stable")][:width]
            for add in [-1, *outside]:
                for drop in [-1, *inside]:
                    new = z.copy()
                    new[[j for j in (add,) if j >= 0]] = 1.0
                    new[[j for j in (drop,) if j >= 0]] = 0.0
                    if self._uncertain.contains(new) and self.cost(new)[0] > best.cost:
                        best = WorstCase(new, self.cost(new)[0], np.inf)
            if best.cost <= cost + 1e-9 * max(1.0, abs(cost)):
                return best

    def enumerate(self, limit: int = 5000) -> WorstCase:
        """The worst vertex by trying all of them, without deviations that change nothing here."""
        points = self._uncertain.vertices(limit, self._moves())
        costs = [self.cost(z)[0] for z in points]
        worst = int(np.argmax(costs))
        return WorstCase(points[worst], costs[worst], costs[worst])

    def _moves(self) -> Ints:
        """Deviations that change a right-hand side or the direct cost of this decision."""
        moves = (np.diff(sp.csc_array(self._by_z).indptr) > 0) | (self._slope != 0)
        return np.flatnonzero(moves).astype(np.int64)

    def solve(
        self,
        options: SolveOptions,
        known: WorstCase | None = None,
        enumerated: int = _ENUMERATED,
    ) -> WorstCase:
        """Worst vertex with a proven bound, to `options.gap_frac` or until the time is up.

        `known` is a vertex found before; the better of the two is returned. Few 0-1 points are
        priced point by point: up to `enumerated` where there is no branching.

        Raises
        ------
        SolverError : a row that moves has no dual bound, or the bound turns out too small
        """
        if not self._by_z.nnz:
            z = self._uncertain.best(self._slope)
            cost = self.cost(z)[0]
            return WorstCase(z, cost, cost)
        search = self._search()
        most = enumerated if search is None else min(enumerated, _FEW)
        if self._uncertain.n_candidates(self._moves()) <= most:
            return self.enumerate(most)
        found = known or self.climb([np.zeros(self._uncertain.size)])[0]
        if search is None:
            return self._by_programme(options, found)
        began = monotonic_s()
        slack = options.gap_frac * max(1.0, abs(found.cost))
        limit_s = _BRANCHING_SHARE * options.time_limit_s
        best = search.run(found.z, slack, limit_s, options.stop)
        found = WorstCase(best.z, best.cost, best.bound)
        # The two ways round differently: a cost may differ from its bound in the last digits.
        if found.bound - found.cost <= slack + 1e-6 * max(1.0, abs(found.cost)):
            return found
        left_s = max(1.0, options.time_limit_s - (monotonic_s() - began))
        other = self._by_programme(replace(options, time_limit_s=left_s), found)
        return replace(other, bound=max(other.cost, min(found.bound, other.bound)))

    def _search(self) -> VertexSearch | None:
        """Branching, where the recourse has links and parts small enough."""
        if self._linking is None:
            return None
        search = VertexSearch(
            self._problem, self._by_z, self._constant, self._slope, self._uncertain, self._linking
        )
        return search if search.usable else None

    def _by_programme(self, options: SolveOptions, found: WorstCase) -> WorstCase:
        """Bound of the mixed-integer programme, and the better of `found` and its incumbent."""
        bound, vertex = self._run(options, found.z)
        tolerance = 1e-5 * max(1.0, abs(found.cost))
        if vertex is not None and self.cost(vertex)[0] > found.cost:
            found = WorstCase(vertex, self.cost(vertex)[0], bound)
        if found.cost > bound + tolerance:
            raise SolverError(
                f"a vertex costs {found.cost:.6g} EUR, above the bound {bound:.6g} EUR: the bound "
                "on the duals of the rows that move is too small"
            )
        return replace(found, bound=max(bound, found.cost))

    def _run(self, options: SolveOptions, start: Floats) -> tuple[float, Floats | None]:
        """Upper bound of the worst cost, and the vertex of the programme's incumbent."""
        problem, deviations = self._programme()
        h = load(problem, options)
        # The vertex at hand is as good as any that the solver's own heuristics find.
        h.setOptionValue("mip_heuristic_effort", 0.0)
        h.setOptionValue("mip_pscost_minreliable", 1)
        where = np.arange(deviations.start, deviations.stop, dtype=np.int32)
        h.setSolution(len(where), where, start)
        run_interruptible(h, options.stop)
        info, status = h.getInfo(), str(h.modelStatusToString(h.getModelStatus()))
        if status not in ("Optimal", "Time limit reached"):
            raise SolverError(f"the worst case was not found: the programme ended {status!r}")
        values = np.array(h.getSolution().col_value)
        z = np.round(values[deviations]) if len(values) else None
        known = z is not None and self._uncertain.contains(z)
        return -float(info.mip_dual_bound), z if known else None

    def _programme(self) -> tuple[Problem, slice]:
        """Dual of the recourse with 0-1 deviations (docs/math.md (96f)), to be minimised.

        Columns: duals of rows, of finite lower and of finite upper column bounds, deviations z,
        products w of a dual and a deviation.
        """
        p, n_z = self._problem, self._uncertain.size
        m, n = p.matrix.shape
        low = np.where(np.isfinite(p.row_upper), -np.inf, 0.0)
        high = np.where(np.isfinite(p.row_lower), np.inf, 0.0)
        right = np.where(np.isfinite(p.row_lower), p.row_lower, p.row_upper)
        products = self._by_z.tocoo()
        n_w, which = len(products.data), self._known(products, low)
        high[self._moving.row] = self._moving.dual_bound
        at_low, at_high = np.flatnonzero(np.isfinite(p.lower)), np.flatnonzero(np.isfinite(p.upper))
        sizes = np.cumsum([m, len(at_low), len(at_high), n_z, n_w])
        eye = sp.eye_array(n, format="csc")
        balance = sp.hstack([p.matrix.T, eye[:, at_low], -eye[:, at_high]])
        budgets, most = self._uncertain.rows()
        linear = sp.block_diag([balance, budgets, sp.csr_array((0, n_w))])
        w_rows, w_low = self._product_rows(products, which, high, sizes)
        gain = np.concatenate(
            (right, p.lower[at_low], -p.upper[at_high], self._slope, products.data)
        )
        integer = np.zeros(len(gain), bool)
        integer[sizes[2] : sizes[3]] = True
        upper = np.concatenate(
            (high, np.full(sizes[2] - m, np.inf), np.ones(n_z), high[products.row])
        )
        problem = Problem(
            -gain, -self._constant,
            np.concatenate((low, np.zeros(len(gain) - m))), upper,
            integer, sp.csr_array(sp.vstack([linear, w_rows])),
            np.concatenate((p.cost, np.full(len(most), -np.inf), w_low)),
            np.concatenate((p.cost, most, np.full(len(w_low), np.inf))),
        )  # fmt: skip
        return problem, slice(int(sizes[2]), int(sizes[3]))

    def _known(self, products: sp.coo_array, low: Floats) -> Ints:
        """Which of the moving rows each product belongs to, and that it is of the known form."""
        at = np.full(self._problem.n_rows, -1)
        at[self._moving.row] = np.arange(len(self._moving.row))
        which = at[products.row]
        wrong = (which < 0) | (low[products.row] < 0) | (products.data > 0)
        if wrong.any():
            name = self._problem.rows[products.row[wrong][0]]
            raise SolverError(
                f"row {name} moves with the uncertain numbers, but is not among the rows "
                "`called - delivered >= 0` whose duals are bounded"
            )
        return np.asarray(which, np.int64)

    def _product_rows(
        self, products: sp.coo_array, which: Ints, high: Floats, sizes: Ints
    ) -> tuple[sp.csr_array, Floats]:
        """Rows that keep w from falling below dual times deviation (docs/math.md (96g), (96h)).

        The objective pushes w down, so that only lower bounds are needed.
        """
        n_w, width = len(products.data), int(sizes[-1])
        e = np.arange(n_w)
        z, w = sizes[2] + products.col, sizes[3] + e
        bound = high[products.row]
        values = np.concatenate((np.ones(n_w), -np.ones(n_w), -bound))
        where = (np.tile(e, 3), np.concatenate((w, products.row, z)))
        envelope = sp.csr_array((values, where), shape=(n_w, width))

        parts, lows = [envelope], [-bound]
        for column, sign in zip(self._moving.substitutes.T, self._moving.signs, strict=True):
            cuts, low = self._cuts(products, which, column[which], float(sign), sizes)
            parts.append(cuts)
            lows.append(low)
        return sp.csr_array(sp.vstack(parts)), np.concatenate(lows)

    def _cuts(
        self, products: sp.coo_array, which: Ints, instead: Ints, sign: float, sizes: Ints
    ) -> tuple[sp.csr_array, Floats]:
        """Rows (96h): delivery is worth what its substitute costs, unless a dual says otherwise."""
        p, e, m = self._problem, np.arange(len(products.data)), int(sizes[0])
        cost, columns = p.cost, sp.csr_array(p.matrix.T)
        delivered = self._moving.delivered[which]
        own = np.asarray(columns[delivered, products.row]).ravel()
        own_part = sp.csr_array((own, (e, products.row)), shape=(len(e), m))
        other = sp.csr_array(columns[delivered] - own_part - sign * columns[instead])
        at_most_0, at_least_0 = np.isinf(p.row_lower), np.isinf(p.row_upper)
        lowering = other.maximum(0) @ sp.diags_array(at_most_0.astype(float))
        lowering += other.minimum(0) @ sp.diags_array(at_least_0.astype(float))
        gain = sign * cost[instead] - cost[delivered]
        # Position of the dual of the column bound at which the substitute gives out, if there is.
        ends = np.isfinite(p.lower if sign > 0 else p.upper)
        position = int(sizes[0 if sign > 0 else 1]) + np.cumsum(ends) - 1
        stuck = ends[instead]
        values = np.concatenate((-gain, -own, np.ones(int(stuck.sum()))))
        row = np.concatenate((e, e, e[stuck]))
        z, w = sizes[2] + products.col, sizes[3] + e
        column = np.concatenate((z, w, position[instead][stuck]))
        rest = sp.csr_array((values, (row, column)), shape=(len(e), int(sizes[-1])))
        padded = sp.hstack([-lowering, sp.csr_array((len(e), int(sizes[-1]) - m))])
        # A difference in a row whose dual has no sign would make the cut wrong.
        sound = (abs(other) @ (~at_most_0 & ~at_least_0).astype(float) == 0) & (gain > 0)
        keep = np.flatnonzero(sound)
        return sp.csr_array((rest + padded).tocsr()[keep]), np.zeros(len(keep))
