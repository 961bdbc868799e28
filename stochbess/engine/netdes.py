"""Stochastic fixed-charge network design in the text form of the netdes instances.

First stage: which arcs of a directed network are opened, at a fixed cost. Recourse: the cheapest
flow that meets the supplies of the scenario over the open arcs within their capacities. The form is
that of the instances published with mpi-sppy (Knueven et al. 2023, doi 10.1007/s12532-023-00236-9):
a header that ends with a line ``+``, one number or matrix a line, rows parted by ``;`` and numbers
by ``,``. Texts, not files: the caller opens them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import scipy.sparse as sp

from stochbess.engine.smps import Group, StochasticProgram
from stochbess.engine.template import AffineVector, Floats, Ints, Template
from stochbess.errors import ScenarioError

_XI = "xi"
_PROBABILITY = 1e-6


class _Lines:
    """The lines below the header, read one after another, with their numbers for errors."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        marks = [i for i, line in enumerate(self._lines) if line.strip() == "+"]
        if not marks:
            raise ScenarioError("network: no line with a single '+'; expected one below the header")
        self._at = marks[0]

    def refuse(self, expected: str) -> NoReturn:
        found = self._lines[self._at][:60] if self._at < len(self._lines) else "the end"
        raise ScenarioError(
            f"network, line {self._at + 1}: found {found!r}; expected {expected}. "
            "Correct the text, or read another file."
        )

    def numbers(self, what: str, rows: int, columns: int) -> Floats:
        """The next line as a matrix of that shape, finite numbers only."""
        self._at += 1
        expected = f"{what}, {rows} x {columns} numbers"
        if self._at >= len(self._lines):
            self.refuse(expected)
        try:
            parts = [part.split(",") for part in self._lines[self._at].strip().split(";")]
            values = np.array([[float(value) for value in part] for part in parts])
        except ValueError:
            self.refuse(expected)
        if values.shape != (rows, columns) or not np.isfinite(values).all():
            self.refuse(expected)
        return values

    def count(self, what: str) -> int:
        """The next line as a whole number of at least one."""
        value = float(self.numbers(what, 1, 1)[0, 0])
        if value < 1 or value != round(value):
            self.refuse(f"{what}, a whole number of at least 1")
        return int(value)

    def skip(self) -> None:
        """A line that only separates."""
        self._at += 1


@dataclass(frozen=True)
class _Network:
    """Arcs (E,) from `tail` to `head`; scenario data are costs, capacities (E,), supplies (N,)."""

    n_nodes: int
    tail: Ints
    head: Ints
    fixed_cost: Floats

    @property
    def n_arcs(self) -> int:
        return len(self.tail)


def read_netdes(text: str, name: str = "netdes") -> StochasticProgram:
    """A network design problem from the contents of its .dat file.

    Raises
    ------
    ScenarioError : the text is malformed; names line, expected content and what stands there
    """
    lines = _Lines(text)
    n = lines.count("number of nodes")
    lines.numbers("density", 1, 1)
    lines.numbers("ratio of fixed to variable cost", 1, 1)
    adjacent = lines.numbers("adjacency matrix", n, n)
    tail, head = np.nonzero(adjacent > 0)
    if not len(tail):
        lines.refuse("an adjacency matrix with at least one arc")
    fixed = lines.numbers("matrix of fixed costs", n, n)
    network = _Network(n, tail.astype(np.int64), head.astype(np.int64), fixed[tail, head])
    n_scenarios = lines.count("number of scenarios")
    probability = lines.numbers("probabilities", 1, n_scenarios)[0]
    if probability.min() < 0 or abs(probability.sum() - 1) > _PROBABILITY:
        lines.refuse("probabilities of at least 0 that add up to 1")
    values = []
    for s in range(n_scenarios):
        lines.skip()
        cost = lines.numbers(f"costs of scenario {s}", n, n)[tail, head]
        capacity = lines.numbers(f"capacities of scenario {s}", n, n)[tail, head]
        if capacity.min() < 0:
            lines.refuse(f"capacities of scenario {s} of at least 0")
        supply = lines.numbers(f"supplies of scenario {s}", 1, n)[0]
        values.append(np.concatenate((cost, capacity, supply)))
    template = _template(network)
    positions = np.arange(template.n_xi, dtype=np.int64)
    group = Group(positions, np.array(values), probability / probability.sum())
    return StochasticProgram(name, template, (group,))


def _template(network: _Network) -> Template:
    """Columns: open[i,j], then flow[i,j]; rows: flow <= capacity open, then balances of nodes."""
    n_arcs, n_nodes = network.n_arcs, network.n_nodes
    n_xi, n_columns = 2 * n_arcs + n_nodes, 2 * n_arcs
    arcs, one = np.arange(n_arcs), np.ones(n_arcs)
    # Entries with their value, or the scenario datum that they are the negative of.
    rows = np.concatenate((arcs, arcs, n_arcs + network.tail, n_arcs + network.head))
    columns = np.concatenate((arcs, n_arcs + arcs, n_arcs + arcs, n_arcs + arcs))
    base = np.concatenate((np.zeros(n_arcs), one, one, -one))
    datum = np.concatenate((n_arcs + arcs, np.full(3 * n_arcs, -1)))
    order = np.lexsort((columns, rows))
    varying = np.flatnonzero(datum[order] >= 0)
    entries = AffineVector(
        base[order],
        sp.csr_array(
            (np.full(len(varying), -1.0), (varying, datum[order][varying])),
            shape=(len(order), n_xi),
        ),
    )
    names = [f"[{i},{j}]" for i, j in zip(network.tail, network.head, strict=True)]
    n_rows = n_arcs + n_nodes
    return Template(
        columns=(*(f"open{a}" for a in names), *(f"flow{a}" for a in names)),
        rows=(*(f"capacity{a}" for a in names), *(f"balance[{i}]" for i in range(n_nodes))),
        lower=np.zeros(n_columns),
        upper=np.concatenate((one, np.full(n_arcs, np.inf))),
        integer=np.arange(n_columns) < n_arcs,
        first_stage=arcs.astype(np.int64),
        common_rows=np.zeros(0, np.int64),
        indptr=np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=n_rows)))),
        indices=columns[order].astype(np.int64),
        entries=entries,
        cost=AffineVector(
            np.concatenate((network.fixed_cost, np.zeros(n_arcs))),
            _placed(n_arcs + arcs, arcs, (n_columns, n_xi)),
        ),
        offset=AffineVector(np.zeros(1), sp.csr_array((1, n_xi))),
        rhs=AffineVector(
            np.zeros(n_rows),
            _placed(n_arcs + np.arange(n_nodes), 2 * n_arcs + np.arange(n_nodes), (n_rows, n_xi)),
        ),
        sense=np.concatenate((np.ones(n_arcs, np.int64), np.zeros(n_nodes, np.int64))),
        layout={_XI: slice(0, n_xi)},
        absent={},
    )


def _placed(rows: Ints, columns: Ints, shape: tuple[int, int]) -> sp.csr_array:
    return sp.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
