"""Lives in closed form, marginal values of health, and prices judged by several laws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from stochbess.battery.health_value import fixed_point, judge, marginal_value_eur_kwh
from stochbess.battery.lifetime import Frontier, Terms, best_life, live, sweep
from stochbess.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]
R, W = 40.0, 0.006  # EUR/kWh a year; squared loss a year
PLAIN = Terms(wacc_frac=0.0, end_of_life_frac=0.8, max_years=50.0)


def arr(*values: float) -> Floats:
    return np.array(values, np.float64)


def frontier(
    revenue: Floats,
    growth: Floats,
    price: Floats | None = None,
    power: Floats | None = None,
    health: Floats | None = None,
) -> Frontier:
    """Revenue (P, H) and growth (P, M), the same at all healths; 300 full cycles a year."""
    nodes = arr(1.0) if health is None else health
    n = len(revenue)
    return Frontier(
        arr(*range(n)) if price is None else price,
        nodes,
        revenue,
        np.repeat(growth[:, None, :], nodes.size, axis=1),
        np.full((n, nodes.size), 300.0),
        np.full(growth.shape[1], 0.5) if power is None else power,
    )


def steady(revenue: float = R, growth: float = W) -> Frontier:
    """One price, a square-root law, revenue that does not depend on health."""
    return frontier(arr(revenue, revenue)[None, :], arr(growth)[None, :], health=arr(0.3, 1.0))


def shrinking(growth: float = W) -> Frontier:
    return frontier(arr(R)[None, :], arr(growth)[None, :])


# -- the recursion --------------------------------------------------------------------------------
def test_a_square_root_law_ends_when_the_squared_loss_is_used_up() -> None:
    life = live(steady(), 0.0, PLAIN)
    assert life.years == pytest.approx(0.2**2 / W, rel=1e-12)
    assert life.ended_by == "capacity"
    assert life.state == pytest.approx([0.04])
    assert life.health_frac[-1] == pytest.approx(0.8)
    assert life.full_cycles == pytest.approx(300 * 0.2**2 / W)
    assert life.full_cycles_per_year == pytest.approx(300)


def test_money_without_interest_adds_up_and_interest_discounts_it_continuously() -> None:
    years = 0.2**2 / W
    assert live(steady(), 0.0, PLAIN).npv_eur_kwh == pytest.approx(R * years, rel=1e-12)
    discounted = live(steady(), 0.0, replace(PLAIN, wacc_frac=0.083)).npv_eur_kwh
    assert discounted == pytest.approx(R * (1 - 1.083**-years) / math.log(1.083), rel=1e-12)


def test_linear_and_square_root_losses_add_up_to_the_end_of_life() -> None:
    two = frontier(arr(R)[None, :], arr(W, 0.01)[None, :], power=arr(0.5, 1.0))
    life = live(two, 0.0, PLAIN)
    # sqrt(W t) + 0.01 t = 0.2
    root = (-math.sqrt(W) + math.sqrt(W + 4 * 0.01 * 0.2)) / (2 * 0.01)
    assert life.years == pytest.approx(root**2, rel=1e-12)


def test_revenue_shrinks_with_the_capacity_and_finer_steps_come_closer() -> None:
    years = 0.2**2 / W
    exact = R * (years - 2 / 3 * math.sqrt(W) * years**1.5)
    errors = [
        abs(live(shrinking(), 0.0, replace(PLAIN, step_years=step)).npv_eur_kwh / exact - 1)
        for step in (1.0, 0.25, 0.05)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[1] < 5e-4


def test_nodes_of_health_on_the_line_change_nothing() -> None:
    one = live(shrinking(), 0.0, PLAIN)
    for low in (0.5, 0.9):  # above and below the end of life
        nodes = frontier(arr(low * R, R)[None, :], arr(W)[None, :], health=arr(low, 1.0))
        assert live(nodes, 0.0, PLAIN).npv_eur_kwh == pytest.approx(one.npv_eur_kwh, rel=1e-12)


def test_growth_at_low_health_is_that_of_its_node() -> None:
    healthy = shrinking()
    growth = np.array([[[4 * W], [W]]])
    worse = replace(healthy, health_frac=arr(0.8, 1.0), growth_per_year=growth,
                    revenue_eur_kwh_year=arr(0.8 * R, R)[None, :],
                    cycles_per_year=np.full((1, 2), 300.0))  # fmt: skip
    years = live(worse, 0.0, PLAIN).years
    assert 0.2**2 / (4 * W) < years < 0.2**2 / W


def test_rates_that_follow_health_are_taken_in_the_middle_of_a_step() -> None:
    """A linear law whose growth rises with the loss: dQ/dt = 0.01 + 0.1 Q."""
    growth = np.array([[[0.06], [0.01]]])
    rising = replace(shrinking(), health_frac=arr(0.5, 1.0), growth_per_year=growth,
                     revenue_eur_kwh_year=arr(R, R)[None, :], power=arr(1.0),
                     cycles_per_year=np.full((1, 2), 300.0))  # fmt: skip
    years = live(rising, 0.0, replace(PLAIN, step_years=0.5)).years
    assert years == pytest.approx(math.log((0.01 + 0.1 * 0.2) / 0.01) / 0.1, rel=1e-3)


def test_the_calendar_ends_what_the_capacity_does_not() -> None:
    life = live(steady(growth=1e-6), 0.0, replace(PLAIN, max_years=7.1))
    assert life.years == pytest.approx(7.1)
    assert life.ended_by == "calendar"
    assert life.npv_eur_kwh == pytest.approx(7.1 * R)


def test_a_battery_that_is_worn_out_earns_nothing() -> None:
    life = live(steady(), 0.0, PLAIN, start=arr(0.05))
    assert (life.years, life.npv_eur_kwh, life.full_cycles_per_year) == (0.0, 0.0, 0.0)


def test_fixed_cost_is_paid_every_year_of_operation() -> None:
    plain = live(steady(), 0.0, PLAIN)
    paid = live(steady(), 0.0, replace(PLAIN, fixed_cost_eur_kwh_year=5.0))
    assert plain.npv_eur_kwh - paid.npv_eur_kwh == pytest.approx(5.0 * plain.years)


def test_replacements_are_lives_one_after_the_other_discounted() -> None:
    terms = Terms(wacc_frac=0.05, end_of_life_frac=0.8, max_years=50.0)
    one = live(shrinking(), 0.0, terms)
    chain = live(shrinking(), 0.0, replace(terms, replacements=2, replacement_cost_eur_kwh=120.0))
    later = 1.05**-one.years
    expected = one.npv_eur_kwh + (later + later**2) * (one.npv_eur_kwh - 120.0)
    assert chain.npv_eur_kwh == pytest.approx(expected, rel=1e-12)
    assert chain.discounted_years == pytest.approx((1 - later**3) / math.log(1.05))
    assert chain.years == one.years


def test_interest_and_wear_and_an_early_end_lower_the_value() -> None:
    values = [
        live(shrinking(), 0.0, replace(PLAIN, wacc_frac=i)).npv_eur_kwh for i in (0, 0.05, 0.1)
    ]
    assert values == sorted(values, reverse=True)
    values = [live(shrinking(g), 0.0, PLAIN).npv_eur_kwh for g in (0.003, 0.006, 0.012)]
    assert values == sorted(values, reverse=True)
    ends = [live(shrinking(), 0.0, replace(PLAIN, end_of_life_frac=e)) for e in (0.6, 0.7, 0.8)]
    assert [e.npv_eur_kwh for e in ends] == sorted((e.npv_eur_kwh for e in ends), reverse=True)
    assert [e.years for e in ends] == sorted((e.years for e in ends), reverse=True)


def test_a_price_between_two_of_the_grid_is_a_mix_of_their_years() -> None:
    two = frontier(np.array([[40.0], [30.0]]), np.array([[0.01], [0.002]]), price=arr(100, 300))
    rates = two.at(150.0)
    assert rates.revenue_eur_kwh_year == pytest.approx([37.5])
    assert rates.growth_per_year[0] == pytest.approx([0.008])
    assert two.at(50.0).revenue_eur_kwh_year == pytest.approx([40.0])
    assert two.at(1e9).revenue_eur_kwh_year == pytest.approx([30.0])
    assert two.at(300.0).growth_per_year[0] == pytest.approx([0.002])


def test_a_price_that_grows_wears_the_battery_less_later() -> None:
    two = frontier(np.array([[40.0], [30.0]]), np.array([[0.01], [0.002]]), price=arr(100, 300))
    still = live(two, 100.0, PLAIN)
    growing = live(two, 100.0, replace(PLAIN, price_growth_frac=0.1))
    assert growing.years > still.years
    assert growing.revenue_eur_kwh_year[0] == pytest.approx(still.revenue_eur_kwh_year[0])
    assert growing.revenue_eur_kwh_year[-1] < 0.85 * still.revenue_eur_kwh_year[0]


def test_of_equal_lives_the_lowest_price_is_best() -> None:
    two = frontier(np.array([[R], [R]]), np.array([[W], [W]]), price=arr(0, 100))
    assert best_life(sweep(two, PLAIN)).price_eur_kwh == 0.0


# -- what health is worth -------------------------------------------------------------------------
def test_the_marginal_value_of_health_at_once_is_the_time_it_buys() -> None:
    """Constant revenue without interest: a unit of squared loss costs R / W of revenue."""
    value = marginal_value_eur_kwh(steady(), 0.0, PLAIN, 0, 0.05, at_loss_frac=0.1)
    assert value == pytest.approx(R / W * 2 * 0.05, rel=1e-6)


def test_the_marginal_value_over_a_life_is_what_less_wear_in_every_year_earns() -> None:
    """NPV = R q^2 / W, so -dNPV/dW = R q^2 / W^2 over q^2 / W years."""
    value = marginal_value_eur_kwh(steady(), 0.0, PLAIN, 0, 0.05)
    assert value == pytest.approx(R / W * 2 * 0.05, rel=2e-3)


def test_a_battery_that_the_calendar_ends_gains_nothing_from_health() -> None:
    terms = replace(PLAIN, max_years=2.0)
    assert marginal_value_eur_kwh(steady(), 0.0, terms, 0, 0.05) == pytest.approx(0.0, abs=1e-9)


def concave_frontier(reference: float) -> Frontier:
    """Every day is decided at the margin: d revenue = price * d loss at the reference loss."""
    price = np.geomspace(60.0, 500.0, 40)
    per_state = price / (2 * reference)
    growth = (60.0 / per_state) ** 2  # revenue 2 * 60 * sqrt(growth) has that slope
    revenue = 2 * 60.0 * np.sqrt(growth)
    return frontier(
        np.stack([revenue, revenue], axis=1), growth[:, None], price=price, health=arr(0.3, 1.0)
    )


@pytest.mark.parametrize("wacc", [0.02, 0.05, 0.083])
def test_the_price_that_returns_itself_is_the_best_price(wacc: float) -> None:
    terms = Terms(wacc_frac=wacc, end_of_life_frac=0.8, max_years=100.0, step_years=1.0)
    one = concave_frontier(0.05)
    fixed = fixed_point(one, terms, 0, 0.05)
    assert fixed.inside
    assert fixed.returned_eur_kwh == pytest.approx(fixed.price_eur_kwh, rel=1e-6)
    best = best_life(sweep(one, terms))
    assert fixed.price_eur_kwh == pytest.approx(best.price_eur_kwh, rel=0.06)
    assert live(one, fixed.price_eur_kwh, terms).npv_eur_kwh > 0.999 * best.npv_eur_kwh


def test_a_fixed_point_that_is_not_on_the_grid_is_told() -> None:
    cheap = frontier(np.full((2, 2), R), np.full((2, 1), W), price=arr(0, 1), health=arr(0.3, 1.0))
    above = fixed_point(cheap, PLAIN, 0, 0.05)
    assert (above.price_eur_kwh, above.inside) == (1.0, False)
    dear = replace(cheap, price_eur_kwh=arr(1e5, 2e5))
    below = fixed_point(dear, PLAIN, 0, 0.05)
    assert (below.price_eur_kwh, below.inside) == (1e5, False)


def test_a_reference_loss_of_zero_has_no_price() -> None:
    with pytest.raises(ConfigError, match="reference loss"):
        marginal_value_eur_kwh(steady(), 0.0, PLAIN, 0, 0.0)
    with pytest.raises(ConfigError, match="mechanism 3"):
        marginal_value_eur_kwh(steady(), 0.0, PLAIN, 3, 0.05)


# -- several laws ---------------------------------------------------------------------------------
def test_a_price_is_judged_by_what_each_law_keeps_of_its_own_optimum() -> None:
    found = judge([0, 1, 2], {"a": [80.0, 95.0, 100.0], "b": [50.0, 49.0, 30.0]})
    assert found.own.tolist() == [2, 0]
    assert found.matrix == pytest.approx(np.array([[1.0, 0.6], [0.8, 1.0]]))
    assert found.robust == 1
    assert found.worst_of(found.robust)[0] == "a"
    assert found.worst_of(found.robust)[1] == pytest.approx(0.95)
    assert found.worst_of(2)[0] == "b"
    assert found.worst_of(2)[1] == pytest.approx(0.6)


def test_the_robust_price_is_best_in_the_worst_case_and_not_on_average() -> None:
    found = judge([0, 1, 2], {"a": [100.0, 90.0, 80.0], "b": [75.0, 85.0, 100.0]})
    assert found.kept_frac.mean(axis=0).argmax() == 2
    assert found.robust == 1


def test_a_law_by_which_nothing_is_earned_cannot_judge() -> None:
    with pytest.raises(DataError, match="by b no price earns"):
        judge([0, 1], {"a": [1.0, 2.0], "b": [-1.0, 0.0]})
    with pytest.raises(DataError, match="finite number"):
        judge([0, 1], {"a": [1.0, math.nan]})


# -- what is refused ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wacc_frac", -0.01),
        ("end_of_life_frac", 1.0),
        ("max_years", 0.0),
        ("replacements", -1),
        ("replacement_cost_eur_kwh", math.inf),
        ("fixed_cost_eur_kwh_year", -1.0),
        ("price_growth_frac", math.nan),
        ("step_years", 0.0),
    ],
)
def test_terms_that_make_no_sense_are_refused(name: str, value: float) -> None:
    changed = {name: value}
    with pytest.raises(ConfigError, match=name):
        replace(PLAIN, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("price_eur_kwh", arr(1.0, 1.0), "prices"),
        ("price_eur_kwh", arr(-1.0, 1.0), "prices"),
        ("health_frac", arr(0.9), "health"),
        ("growth_per_year", np.full((2, 1, 1), -1.0), "shrinks"),
        ("power", arr(0.0), "power"),
        ("revenue_eur_kwh_year", np.full((2, 1), math.nan), "revenue_eur_kwh_year"),
        ("cycles_per_year", np.ones((2, 2)), "cycles_per_year"),
    ],
)
def test_a_frontier_that_makes_no_sense_is_refused(name: str, value: Floats, told: str) -> None:
    whole = frontier(np.array([[40.0], [30.0]]), np.array([[0.01], [0.002]]))
    changed = {name: value}
    with pytest.raises(DataError, match=told):
        replace(whole, **changed)
