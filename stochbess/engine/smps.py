"""Two-stage stochastic programmes in SMPS form, as templates of the engine.

Core, time and stochastic texts as in Birge et al. 1987 (A standard input format for multiperiod
stochastic linear programs, IIASA WP-87-118). Read are two periods in implicit order and the
sections SCENARIOS, INDEP and BLOCKS, all DISCRETE and replacing values. Texts, not files: the
caller opens them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
import scipy.sparse as sp

from stochbess.engine.matrix import Blocks, blocks
from stochbess.engine.mps import Core, Line, lines, read_core
from stochbess.engine.template import AffineVector, Floats, Ints, Template
from stochbess.errors import ScenarioError

MOST_SCENARIOS = 100_000
_PROBABILITY = 1e-6
_XI = "xi"
_RHS = ""  # the column name that stands for the right-hand side
Element = tuple[str, str]  # column and row, as in the text


@dataclass(frozen=True)
class Group:
    """Elements that vary together: `values` (K, len(positions)) with `probability` (K,)."""

    positions: Ints
    values: Floats
    probability: Floats


@dataclass(frozen=True)
class StochasticProgram:
    """A template and the distribution of its scenario data; groups are independent."""

    name: str
    template: Template
    groups: tuple[Group, ...]

    @property
    def n_scenarios(self) -> int:
        """Number of distinct scenarios."""
        return prod(len(group.probability) for group in self.groups)

    def blocks(self) -> Blocks:
        """Every scenario with its probability.

        Raises
        ------
        ScenarioError : there are more than `MOST_SCENARIOS`
        """
        if self.n_scenarios > MOST_SCENARIOS:
            raise ScenarioError(
                f"{self.name} has {self.n_scenarios:.3g} scenarios, expected at most "
                f"{MOST_SCENARIOS}. Draw some of them instead (draw)."
            )
        picks = product(*(range(len(group.probability)) for group in self.groups))
        return self._blocks(np.array(list(picks), np.int64), weighted=True)

    def draw(self, n: int, rng: np.random.Generator) -> Blocks:
        """`n` independent scenarios, equally probable."""
        picks = [rng.choice(len(g.probability), n, p=g.probability) for g in self.groups]
        return self._blocks(np.array(picks, np.int64).T, weighted=False)

    def _blocks(self, picks: Ints, *, weighted: bool) -> Blocks:
        """Scenarios by the outcome picked in every group, (S, number of groups)."""
        xi = np.empty((len(picks), self.template.n_xi))
        weight = np.ones(len(picks))
        for group, picked in zip(self.groups, picks.T, strict=True):
            xi[:, group.positions] = group.values[picked]
            if weighted:
                weight = weight * group.probability[picked]
        return blocks(self.template, {_XI: xi}, weight / weight.sum())


def read_smps(core: str, time: str, stochastic: str) -> StochasticProgram:
    """A two-stage programme from the contents of its .cor, .tim and .sto files.

    Raises
    ------
    ScenarioError : a text is malformed, contradicts another, or uses what is not read here
    """
    problem = read_core(core)
    first, first_rows = _first_stage(problem, time)
    outcomes = _outcomes(problem, stochastic)
    elements = list(dict.fromkeys(e for group in outcomes for e in group.elements))
    position = {element: k for k, element in enumerate(elements)}
    template = _template(problem, first, first_rows, position)
    groups = [_group(group, position) for group in outcomes]
    return StochasticProgram(problem.name, template, tuple(groups))


# -- periods --------------------------------------------------------------------------------------
def _first_stage(core: Core, text: str) -> tuple[int, int]:
    """How many columns, and how many rows, belong to the first of two periods."""
    starts: list[tuple[Line, str, str]] = []
    for line in lines(text, "time"):
        if line.section[0] == "PERIODS" and "EXPLICIT" in (w.upper() for w in line.section):
            line.refuse("periods in implicit order")
        if line.section[0] == "PERIODS" and line.words:
            if len(line.words) != 3:
                line.refuse("a column, a row and a period")
            starts.append((line, line.words[0], line.words[1]))
    if len(starts) != 2:
        raise ScenarioError(f"time: {len(starts)} periods; expected two, for two stages.")
    line, column, row = starts[0]
    begins = (core.columns[0], (core.objective, *core.rows[:1]))
    if column != begins[0] or row not in begins[1]:
        line.refuse("the first column and the first row, so that every one has its period")
    line, column, row = starts[1]
    if column not in core.lower or row not in core.sense:
        line.refuse("a column and a row of the core")
    n_columns, n_rows = core.columns.index(column), core.rows.index(row)
    late, early_rows = set(core.columns[n_columns:]), set(core.rows[:n_rows])
    for name, of in core.entries:
        if of in late and name in early_rows:
            raise ScenarioError(
                f"time: row {name} of the first period holds column {of} of the second. Move it."
            )
    return n_columns, n_rows


# -- distributions --------------------------------------------------------------------------------
@dataclass
class _Outcomes:
    """Outcomes of elements that vary together; what one leaves out is as in `base`."""

    elements: list[Element]
    values: list[dict[Element, float]]
    probability: list[float]


def _outcomes(core: Core, text: str) -> list[_Outcomes]:
    groups: dict[str, _Outcomes] = {}
    scenarios: dict[str, dict[Element, float]] = {}
    into: dict[Element, float] | None = None
    for line in lines(text, "stochastic"):
        kind = line.section[0]
        if kind == "STOCH":
            continue
        if kind not in ("INDEP", "SCENARIOS", "BLOCKS"):
            line.refuse("one of INDEP, SCENARIOS, BLOCKS")
        if [w.upper() for w in line.section[1:]] not in (["DISCRETE"], ["DISCRETE", "REPLACE"]):
            line.refuse("DISCRETE values that replace those of the core")
        words = line.words
        if kind == "INDEP" and words:
            _independent(core, groups, line)
        elif kind == "SCENARIOS" and words[:1] == ("SC",):
            into = _scenario(groups, scenarios, line)
        elif kind == "BLOCKS" and words[:1] == ("BL",):
            into = _block(groups, line)
        elif words:
            if into is None or len(words) not in (3, 5):
                line.refuse("a header SC or BL, then a column and pairs of row and number")
            for row, number in zip(words[1::2], words[2::2], strict=True):
                into[_element(core, line, words[0], row)] = line.number(number)
    if not groups:
        raise ScenarioError("stochastic: no outcome; expected INDEP, SCENARIOS or BLOCKS.")
    _complete(core, groups)
    return list(groups.values())


def _independent(core: Core, groups: dict[str, _Outcomes], line: Line) -> None:
    if len(line.words) not in (4, 5):
        line.refuse("column, row, value, period (may be left out), probability")
    column, row, value = line.words[:3]
    element = _element(core, line, column, row)
    group = groups.setdefault(f"INDEP {element}", _Outcomes([element], [], []))
    group.values.append({element: line.number(value)})
    group.probability.append(line.number(line.words[-1]))


def _scenario(
    groups: dict[str, _Outcomes], scenarios: dict[str, dict[Element, float]], line: Line
) -> dict[Element, float]:
    if len(line.words) not in (4, 5):
        line.refuse("SC, name, parent, probability, period (may be left out)")
    name, parent = line.words[1], line.words[2].strip("'")
    if name in scenarios:
        line.refuse(f"every scenario once, {name} stands twice")
    if parent not in scenarios and parent.upper() != "ROOT":
        line.refuse(f"ROOT or an earlier scenario as the parent instead of {parent!r}")
    scenarios[name] = dict(scenarios.get(parent, {}))
    group = groups.setdefault("SCENARIOS", _Outcomes([], [], []))
    group.values.append(scenarios[name])
    group.probability.append(line.number(line.words[3]))
    return scenarios[name]


def _block(groups: dict[str, _Outcomes], line: Line) -> dict[Element, float]:
    if len(line.words) not in (3, 4):
        line.refuse("BL, name, period (may be left out), probability")
    group = groups.setdefault(f"BLOCKS {line.words[1]}", _Outcomes([], [], []))
    # An outcome says what differs from the first one of its block.
    outcome = dict(group.values[0]) if group.values else {}
    group.values.append(outcome)
    group.probability.append(line.number(line.words[-1]))
    return outcome


def _element(core: Core, line: Line, column: str, row: str) -> Element:
    if row != core.objective and row not in core.sense:
        line.refuse(f"a row of the core instead of {row!r}")
    if column in core.lower:
        return column, row
    if column.upper().startswith("RHS"):
        return _RHS, row
    line.refuse(f"a column of the core, or RHS, instead of {column!r}")


def _of_core(core: Core, element: Element) -> float:
    column, row = element
    if column == _RHS:
        return -core.offset if row == core.objective else core.rhs.get(row, 0.0)
    if row == core.objective:
        return core.cost.get(column, 0.0)
    return core.entries.get((row, column), 0.0)


def _complete(core: Core, groups: dict[str, _Outcomes]) -> None:
    """Elements and probabilities of every group, checked; what is left out is as in the core."""
    owner: dict[Element, str] = {}
    for name, group in groups.items():
        group.elements = list(dict.fromkeys(e for values in group.values for e in values))
        for element in group.elements:
            if owner.setdefault(element, name) != name:
                raise ScenarioError(
                    f"stochastic: {element} varies in {owner[element]} and in {name}; expected "
                    "one of them."
                )
            for values in group.values:
                values.setdefault(element, _of_core(core, element))
        total = sum(group.probability)
        if min(group.probability) < 0 or abs(total - 1) > _PROBABILITY:
            raise ScenarioError(
                f"stochastic: the probabilities of {name} are {group.probability[:8]} and add up "
                f"to {total:.9g}; expected none below zero and 1."
            )


def _group(outcomes: _Outcomes, position: dict[Element, int]) -> Group:
    probability = np.array(outcomes.probability)
    values = [[values[e] for e in outcomes.elements] for values in outcomes.values]
    return Group(
        np.array([position[e] for e in outcomes.elements], np.int64),
        np.array(values, float).reshape(len(probability), len(outcomes.elements)),
        probability / probability.sum(),
    )


# -- template -------------------------------------------------------------------------------------
def _template(core: Core, n_first: int, first_rows: int, xi: dict[Element, int]) -> Template:
    column_at = {name: j for j, name in enumerate(core.columns)}
    row_at = {name: i for i, name in enumerate(core.rows)}
    pattern = dict(core.entries)
    for column, row in xi:
        if column != _RHS and row != core.objective:
            pattern.setdefault((row, column), 0.0)
    keys = sorted(pattern, key=lambda key: (row_at[key[0]], column_at[key[1]]))
    rows = np.array([row_at[row] for row, _ in keys], np.int64)
    indices = np.array([column_at[column] for _, column in keys], np.int64)
    counts = np.bincount(rows, minlength=len(row_at))
    n_xi = max(1, len(xi))
    costs = [(core.cost.get(c, 0.0), xi.get((c, core.objective))) for c in core.columns]
    rhs = [(core.rhs.get(r, 0.0), xi.get((_RHS, r))) for r in core.rows]
    constant = [(-core.offset, xi.get((_RHS, core.objective)))]
    varying = {row_at[row] for _, row in xi if row != core.objective}
    own = {int(i) for i in rows[indices >= n_first]} | varying
    for name in core.rows[:first_rows]:
        if row_at[name] in varying:
            raise ScenarioError(
                f"stochastic: row {name} of the first period varies; expected only rows of the "
                "second, since the first is decided before."
            )
    return Template(
        columns=core.columns,
        rows=core.rows,
        lower=np.array([core.lower[c] for c in core.columns]),
        upper=np.array([core.upper[c] for c in core.columns]),
        integer=np.array([core.integer[c] for c in core.columns], bool),
        first_stage=np.arange(n_first, dtype=np.int64),
        common_rows=np.array([i for i in range(len(row_at)) if i not in own], np.int64),
        indptr=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        indices=indices,
        entries=_vector([(pattern[k], xi.get((k[1], k[0]))) for k in keys], n_xi),
        cost=_vector(costs, n_xi, core.sign),
        offset=_vector(constant, n_xi, -core.sign),
        rhs=_vector(rhs, n_xi),
        sense=np.array([core.sense[r] for r in core.rows], np.int64),
        layout={_XI: slice(0, len(xi))},
        absent={},
    )


def _vector(parts: list[tuple[float, int | None]], n_xi: int, factor: float = 1.0) -> AffineVector:
    """Numbers of the core, or `factor` times the scenario datum that replaces them."""
    base = np.array([factor * value if k is None else 0.0 for value, k in parts])
    varying = [(i, k) for i, (_, k) in enumerate(parts) if k is not None]
    at = ([i for i, _ in varying], [k for _, k in varying])
    matrix = sp.csr_array((np.full(len(varying), factor), at), shape=(len(parts), n_xi))
    return AffineVector(base, matrix)
