"""The shadow account: intervals, verdicts, and lines that add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stochbess.errors import DataError
from stochbess.evaluate.shadow import account, cumulative, uplift

N = 56


def table(
    policy: str, profit: Any, first: str = "2024-04-01", penalty: float = 0.0
) -> pd.DataFrame:
    """Days of a policy whose profit is cash less aging plus stored energy less tax."""
    values = np.asarray(profit, np.float64)
    aging, floor, stored, tax = 12.25, 2.25, 3.5, 1.75
    cash = values + aging + floor - stored + tax
    return pd.DataFrame(
        {
            "policy": policy,
            "day": pd.date_range(first, periods=len(values)).strftime("%Y-%m-%d"),
            "cash_day_ahead": cash + penalty,
            "cash_undelivered_penalty": -penalty,
            "cash_eur": cash,
            "aging_eur": aging,
            "aging_floor_eur": floor,
            "stored_value_eur": stored,
            "profit_tax_eur": tax,
            "profit_eur": values,
        }
    )


def pair(gain: Any, seed: int = 0) -> pd.DataFrame:
    base = 1_000 + 50 * np.random.default_rng(seed).standard_normal(N)
    return pd.concat([table("rule", base), table("ours", base + gain, penalty=4.0)])


def test_a_steady_gain_is_superior_and_its_mirror_worse() -> None:
    noise = np.random.default_rng(1).standard_normal(N)
    days = pair(40 + 10 * noise)
    found = uplift(days, "ours", "rule", seed=3)
    assert found.verdict == "superior" and found.mean.low > 0
    assert found.mean.mean == pytest.approx(40 + 10 * noise.mean())
    assert found.uplift_frac == pytest.approx(found.mean.mean / found.against_eur)
    assert uplift(days, "rule", "ours", seed=3).verdict == "worse"


def test_a_gain_within_half_a_percent_is_equivalence_and_no_victory() -> None:
    found = uplift(pair(np.full(N, 2.0)), "ours", "rule", seed=3)
    assert found.mean.low > 0 and found.verdict == "equivalent"
    assert uplift(pair(np.full(N, 8.0)), "ours", "rule", seed=3).verdict == "superior"


def test_noise_resolves_nothing_and_says_what_it_could_have_found() -> None:
    noise = 200 * np.random.default_rng(4).standard_normal(N)
    found = uplift(pair(noise - noise.mean()), "ours", "rule", seed=3)
    assert found.verdict == "not resolved"
    assert 40 < found.detectable_eur < 120  # 2.8 standard errors of 27 EUR
    wide = uplift(pair(3 * (noise - noise.mean())), "ours", "rule", seed=3)
    assert wide.detectable_eur == pytest.approx(3 * found.detectable_eur, rel=1e-6)


def test_even_and_odd_weeks_part_the_days() -> None:
    days = pair(np.where(np.arange(N) // 7 % 2 == 0, 30.0, -10.0))
    found = uplift(days, "ours", "rule", seed=3)
    assert found.even is not None and found.odd is not None
    assert found.even.n + found.odd.n == N
    # 1 April 2024 is the Monday of ISO week 14.
    assert found.even.mean == pytest.approx(30.0) and found.odd.mean == pytest.approx(-10.0)


def test_losing_days_are_listed_worst_first() -> None:
    gain = np.full(N, 5.0)
    gain[[3, 10]] = -7.0, -70.0
    found = uplift(pair(gain), "ours", "rule", seed=3)
    assert list(found.losing["day"]) == ["2024-04-11", "2024-04-04"]
    assert found.losing["difference_eur"].to_numpy() == pytest.approx([-70.0, -7.0])


def test_the_lines_add_up_to_the_difference_of_every_day() -> None:
    days = pair(np.linspace(-50, 80, N))
    found = uplift(days, "ours", "rule", seed=3)
    assert found.reconciled
    assert found.lines["difference"].sum() == pytest.approx(found.mean.mean, abs=0.005)
    assert account(days).sum(axis=1).to_numpy() == pytest.approx(days["profit_eur"].to_numpy())
    broken = days.copy()
    broken.loc[broken["day"] == "2024-04-09", "cash_day_ahead"] += [0.0, 0.02]
    assert not uplift(broken, "ours", "rule", seed=3).reconciled


def test_what_cannot_be_paired_is_refused() -> None:
    other = pd.concat([table("rule", np.ones(9)), table("ours", np.ones(9), first="2024-04-02")])
    with pytest.raises(DataError, match="not the same ones"):
        uplift(other, "ours", "rule", seed=3)
    with pytest.raises(DataError, match="It has: rule, ours"):
        uplift(other, "ours", "dowsing", seed=3)
    one = pd.concat([table("rule", [1.0]), table("ours", [2.0])])
    with pytest.raises(DataError, match="at least two"):
        uplift(one, "ours", "rule", seed=3)


def test_few_days_are_still_drawn_in_several_blocks() -> None:
    """One block as long as the sample would draw the sample itself and show no spread."""
    gain = [10.0, -30.0, 50.0, 0.0, 20.0, -15.0]
    days = pd.concat([table("rule", np.ones(6)), table("ours", np.array(gain) + 1)])
    found = uplift(days, "ours", "rule", seed=3)
    assert found.mean.high - found.mean.low > 10.0


def test_profit_is_added_up_day_by_day() -> None:
    found = cumulative(pair(np.zeros(N)))
    days, profit = found["rule"]
    assert list(found) == ["rule", "ours"] and len(days) == N
    assert profit[-1] == pytest.approx(pair(np.zeros(N))["profit_eur"].iloc[:N].sum())
