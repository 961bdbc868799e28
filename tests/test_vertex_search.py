"""Branching on deviations finds the worst vertex: against all vertices priced one by one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from stochbess.engine.adversary import Adversary, Inner
from stochbess.engine.highs import SolveOptions
from stochbess.engine.vertex_search import VertexSearch
from stochbess.robust import RobustProblem
from tests.small_case import Series
from tests.test_robust import budgeted, decisions, prices

Floats = npt.NDArray[np.float64]


def inner_of(problem: RobustProblem, series: Series, x: Floats) -> Inner:
    xi, moving = problem.template.stack(series)[0], problem.moving(series)[0]
    return Adversary(problem.template, xi, problem.uncertain, moving, problem.linking).at(x)


def search_of(inner: Inner) -> VertexSearch:
    search = inner._search()
    assert search is not None and search.usable
    return search


@pytest.mark.parametrize("dear", [False, True])
@pytest.mark.parametrize("most", [1, 2, 3, 8])
def test_branching_finds_the_worst_of_all_vertices(most: int, dear: bool) -> None:
    problem, series, _ = prices(1, dear)
    problem = budgeted(problem, most_all=most)
    nothing = np.zeros(problem.uncertain.size)
    for x in decisions(problem, 3):
        inner = inner_of(problem, series, x)
        true = inner.enumerate()
        found = search_of(inner).run(nothing, slack=0.0)
        assert found.cost == pytest.approx(true.cost, rel=1e-7)
        assert found.bound == pytest.approx(true.cost, rel=1e-6)
        assert inner.cost(found.z)[0] == pytest.approx(found.cost, rel=1e-7)
        assert problem.uncertain.contains(found.z)


def test_directions_may_have_budgets_of_their_own() -> None:
    problem, series, _ = prices(1)
    problem = budgeted(problem, most_up=1, most_down=2)
    for x in decisions(problem, 3):
        inner = inner_of(problem, series, x)
        found = search_of(inner).run(np.zeros(problem.uncertain.size), slack=0.0)
        assert found.cost == pytest.approx(inner.enumerate().cost, rel=1e-7)


def test_parts_that_answer_alone_cost_no_less_than_the_best_answer() -> None:
    problem, series, _ = prices(1)
    n_compared, most_lost = 0, 0.0
    for x in decisions(problem, 2):
        inner = inner_of(problem, series, x)
        search = search_of(inner)
        allowed = np.ones(problem.uncertain.size, bool)
        for chosen in [(), *combinations(range(problem.uncertain.size), 1)]:
            z = np.zeros(problem.uncertain.size)
            z[list(chosen)] = 1.0
            cost, values = search._priced(z)
            options = [o for part in search._options(z, values, allowed, 2) for o in part]
            for option in options:
                larger = z.copy()
                larger[list(option.adds)] = 1.0
                true = inner.cost(larger)[0]
                assert true <= cost + option.rise + 1e-6
                n_compared, most_lost = n_compared + 1, max(most_lost, cost + option.rise - true)
    assert n_compared > 30 and most_lost > 0.1, "the bound is exact here: the case is too easy"


def test_slack_and_a_lack_of_time_loosen_the_bound_and_never_break_it() -> None:
    problem, series, _ = prices(1)
    problem = budgeted(problem, most_all=3)
    nothing = np.zeros(problem.uncertain.size)
    for x in decisions(problem, 3):
        inner = inner_of(problem, series, x)
        true, search = inner.enumerate().cost, search_of(inner)
        rough = search.run(nothing, slack=5.0)
        assert rough.cost <= true + 1e-6 <= rough.bound + 2e-6
        assert rough.bound <= rough.cost + 5.0 + 1e-6
        hurried = search.run(nothing, slack=0.0, limit_s=-1.0)
        assert hurried.cost <= true + 1e-6 and hurried.bound == np.inf


def test_most_vertices_are_never_priced() -> None:
    problem, series, _ = prices(1)
    problem = budgeted(problem, most_all=4)
    x = decisions(problem, 1)[0]
    inner = inner_of(problem, series, x)
    search = search_of(inner)
    priced = []
    original = search._priced
    search._priced = lambda z: (priced.append(1), original(z))[1]  # type: ignore[method-assign, func-returns-value]
    known = inner.enumerate().z
    search.run(known, slack=1.0)
    assert len(priced) < 0.5 * len(problem.uncertain.vertices())


def test_linking_columns_are_the_stored_energy_between_periods() -> None:
    problem, _, _ = prices(1, True)
    names = [n for n, j in problem.template.column_position.items() if problem.linking[j]]
    period = problem.budget.period_of_step
    n_ends = int((np.diff(period) != 0).sum())
    n_segments = problem.data.aging.cost_eur_mwh.size
    assert sum(name.startswith("energy_mwh") for name in names) == n_ends > 0
    assert sum(name.startswith("segment_mwh") for name in names) == n_ends * n_segments
    assert len(names) == n_ends * (1 + n_segments)
    ends = {int(name[:-1].replace("[", ",").rpartition(",")[2]) for name in names}
    assert all(period[k - 1] != period[k] for k in ends)


def test_the_proof_of_a_decision_uses_branching_and_agrees_with_the_programme() -> None:
    problem, series, _ = prices(1)
    problem = budgeted(problem, most_all=3)
    for x in decisions(problem, 2):
        with_links = inner_of(problem, series, x).solve(SolveOptions(gap_frac=1e-8))
        xi, moving = problem.template.stack(series)[0], problem.moving(series)[0]
        without = Adversary(problem.template, xi, problem.uncertain, moving).at(x)
        by_programme = without.solve(SolveOptions(gap_frac=1e-8), enumerated=0)
        assert with_links.cost == pytest.approx(by_programme.cost, rel=1e-6)
        assert with_links.bound == pytest.approx(by_programme.bound, rel=1e-5, abs=1e-4)
