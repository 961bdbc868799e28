"""What the compiler writes: the numbers of the model, for any scenario, at any point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyomo.environ as pyo
import pytest

from stochbess.decide import by_component
from stochbess.engine.highs import SolveOptions, solve_problem
from stochbess.engine.matrix import blocks, extensive_form, single
from stochbess.engine.template import compile_template
from stochbess.errors import ScenarioError, SolverError
from stochbess.models.data import Aging, AgingCut, ModelData, Terminal
from stochbess.models.scenario_data import set_scenario
from stochbess.models.two_stage import two_stage
from tests.small_case import (
    changed,
    energy_only,
    everything,
    plain,
    series_of,
    small,
    toy,
    uneven,
)

Floats = npt.NDArray[np.float64]
inf = float("inf")


# -- compiler -------------------------------------------------------------------------------------
def variants() -> dict[str, ModelData]:
    full = everything()
    cut = AgingCut(3.0, np.linspace(-1.0, 2.0, full.grid.n_steps))
    return {
        "plain": plain(),
        "everything": full,
        "binary": replace(full, exclusive="binary"),
        "cuts": changed(full, aging={"cuts": (cut,)}),
        "throughput, cycle limit, equal start": replace(
            full,
            aging=Aging("throughput", 6.0, max_withdrawn_mwh_per_day=5.0),
            terminal=Terminal(np.zeros(0), True),
        ),
        "day-ahead as recourse": changed(full, energy={"day_ahead": "recourse"}),
        "no intraday": changed(full, energy={"intraday": False}),
        "no day-ahead": changed(full, energy={"day_ahead": "off"}),
        "fractional lots": changed(full, reserves={"integer_lots": False}),
        "energy only": energy_only(plain()),
    }


@pytest.mark.parametrize("name", variants())
def test_compiled_numbers_equal_the_model_at_any_point_and_for_any_scenario(name: str) -> None:
    data = variants()[name]
    model = two_stage(data)
    template = compile_template(model)
    rng = np.random.default_rng(20)
    series = {
        name: rng.normal(0.3, 1.0, values.shape) * 10.0 ** rng.integers(-2, 3)
        for name, values in series_of(data, 3).items()
    }
    block = blocks(template, series, uneven(3))
    free = [v for v in model.component_data_objects(pyo.Var) if v.parent_block() is not model.xi]
    constraints = {c.name: c for c in model.component_data_objects(pyo.Constraint, active=True)}
    assert set(template.rows) == set(constraints) and len(template.rows) == len(constraints)
    for s in range(3):
        problem = single(block, s)
        set_scenario(model, {k: v[s] for k, v in series.items()})
        for variable in free:
            variable.set_value(float(rng.normal(0.0, 5.0)), skip_validation=True)
        x = np.array([model.find_component(column).value for column in template.columns])
        activity = problem.matrix @ x
        for i, row in enumerate(template.rows):
            constraint = constraints[row]
            body = float(pyo.value(constraint.body))
            for ours, theirs in (
                (problem.row_lower[i], constraint.lb),
                (problem.row_upper[i], constraint.ub),
            ):
                assert np.isfinite(ours) == (theirs is not None), row
                if theirs is not None:
                    margin = float(activity[i] - ours)
                    assert margin == pytest.approx(body - theirs, rel=1e-9, abs=1e-7), row
        cost = float(problem.cost @ x) + problem.offset
        assert cost == pytest.approx(float(pyo.value(model.cost)), rel=1e-9)
        for j, column in enumerate(template.columns):
            variable = model.find_component(column)
            assert problem.lower[j] == (-inf if variable.lb is None else variable.lb), column
            assert problem.upper[j] == (inf if variable.ub is None else variable.ub), column
            assert problem.integer[j] == (not variable.is_continuous()), column


@pytest.mark.parametrize(
    "coefficient",
    [
        lambda xi: xi.a[0] * xi.a[1],
        lambda xi: xi.a[0] ** 2,
        lambda xi: pyo.exp(xi.a[0]),
        lambda xi: 1 / (3 + xi.a[0]),
        lambda xi: (1 + xi.a[0]) * (2 - xi.a[1]),
        lambda xi: 1 + xi.a[1] * xi.b[0] / 2,
    ],
)
def test_a_coefficient_that_is_not_affine_in_the_scenario_data_is_refused(
    coefficient: Callable[[Any], Any],
) -> None:
    with pytest.raises(SolverError, match="not affine"):
        compile_template(toy(coefficient))


@pytest.mark.parametrize(
    ("coefficient", "expected"),
    [
        (lambda xi: 3 * xi.a[0] - xi.a[1] / 4 + 2, 3 * 5.0 - 7.0 / 4 + 2),
        (lambda xi: -(xi.a[0] - 2 * (xi.a[1] + 1)), -(5.0 - 16.0)),
        (lambda xi: (xi.a[0] + xi.b[0]) * 0.5, 8.0),
        (lambda xi: sum(xi.a[i] for i in range(2)) - xi.a[0], 7.0),
    ],
)
def test_an_affine_coefficient_is_evaluated(
    coefficient: Callable[[Any], Any], expected: float
) -> None:
    template = compile_template(toy(coefficient))
    series = {"a": np.array([[5.0, 7.0]]), "b": np.array([[11.0]])}
    row = single(blocks(template, series, np.ones(1)), 0).matrix.toarray()[0]
    at = template.column_position
    assert row[at["x"]] / row[at["y"]] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a": None}, "lack a"),
        ({"a": np.ones((2, 3))}, r"a has shape \(2, 3\), expected \(2, 2\)"),
        ({"b": np.ones((1, 1))}, "b has shape"),
        ({"b": np.array([[1.0], [np.nan]])}, "b contains NaN"),
        ({"b": np.array([[1.0], [np.inf]])}, "infinity"),
    ],
)
def test_scenario_data_that_do_not_fit_the_model_are_named(
    change: dict[str, Floats | None], words: str
) -> None:
    series = {"a": np.ones((2, 2)), "b": np.ones((2, 1))} | change
    given_series = {name: values for name, values in series.items() if values is not None}
    with pytest.raises(ScenarioError, match=words):
        blocks(compile_template(toy()), given_series, uneven(2))


@pytest.mark.parametrize(
    ("bounds", "value"),
    [
        ((None, None), 0.0),
        ((0, None), 0.0),
        ((1, None), 1.0),
        ((2, 5), 2.0),
        ((None, -2), -2.0),
        ((-5, -1), -1.0),
        ((-3, 4), 0.0),
    ],
)
def test_a_variable_that_nothing_mentions_lies_nearest_to_zero_within_its_bounds(
    bounds: tuple[float | None, float | None], value: float
) -> None:
    m = toy()
    m.unused = pyo.Var([0, 1], bounds=bounds)
    template = compile_template(m)
    values = by_component(template, np.zeros((2, len(template.columns))))
    assert values["unused"].tolist() == [[value, value]] * 2


@pytest.mark.parametrize(
    ("row", "least"),
    [(lambda m: m.x >= m.xi.b[0], 3.0), (lambda m: (1 + m.xi.a[0]) * m.x >= 8, 4.0)],
    ids=["right-hand side", "coefficient"],
)
def test_a_row_of_here_and_now_columns_with_scenario_data_holds_in_every_scenario(
    row: Callable[[Any], Any], least: float
) -> None:
    m = toy()
    m.own = pyo.Constraint(expr=row(m))
    template = compile_template(m)
    assert template.common_rows.size == 0
    series = {"a": np.array([[3.0, 0.0], [1.0, 0.0]]), "b": np.array([[2.0], [3.0]])}
    problem, _ = extensive_form(blocks(template, series, uneven(2)))
    found = solve_problem(problem, SolveOptions())
    assert found.values is not None and found.values[0] == pytest.approx(least)


def test_the_extensive_form_keeps_common_rows_and_here_and_now_columns_once() -> None:
    block = small(plain(), 5).blocks
    t = block.template
    problem, columns = extensive_form(block)
    n_first, n_common = t.first_stage.size, t.common_rows.size
    assert n_common > 0
    assert problem.n_columns == n_first + 5 * (len(t.columns) - n_first)
    assert problem.n_rows == n_common + 5 * (len(t.rows) - n_common)
    assert {t.rows[i].partition("[")[0] for i in t.common_rows} == {
        "recharge_band_up",
        "recharge_band_down",
        "lot_hull",
    }
    # At a point that is the same in all scenarios, cost is the expectation.
    x = np.random.default_rng(1).normal(size=problem.n_columns)
    values = x[columns.positions()]
    expected = block.probability @ (np.einsum("sn,sn->s", block.cost, values) + block.offset)
    assert float(problem.cost @ x) + problem.offset == pytest.approx(float(expected))
    activity = problem.matrix @ x - np.where(
        np.isfinite(problem.row_lower), problem.row_lower, problem.row_upper
    )
    own = []
    for s in range(5):
        one = single(block, s)
        limit = np.where(np.isfinite(one.row_lower), one.row_lower, one.row_upper)
        own.append(one.matrix @ values[s] - limit)
    rest = np.setdiff1d(np.arange(len(t.rows)), t.common_rows)
    stacked = np.concatenate([own[0][t.common_rows], *(o[rest] for o in own)])
    assert activity == pytest.approx(stacked)
