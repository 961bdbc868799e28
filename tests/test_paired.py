"""Paired differences and their block bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

from stochbess.errors import DataError
from stochbess.evaluate.paired import paired_mean


def test_a_constant_difference_has_an_interval_of_no_width() -> None:
    found = paired_mean(np.full(30, 2.5), 1)
    assert (found.mean, found.n, found.sign) == (2.5, 30, 1)
    assert found.low == pytest.approx(2.5) and found.high == pytest.approx(2.5)


def test_of_independent_days_the_interval_is_the_normal_one() -> None:
    values = np.random.default_rng(3).normal(1.0, 2.0, 400)
    found = paired_mean(values, 1, block=1)
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.06 * half)


def test_blocks_widen_the_interval_of_days_that_follow_each_other() -> None:
    rng, level = np.random.default_rng(5), np.zeros(364)
    for t in range(1, 364):
        level[t] = 0.9 * level[t - 1] + rng.normal()
    single, weekly = (paired_mean(level, 1, block=b) for b in (1, 14))
    assert weekly.high - weekly.low > 2 * (single.high - single.low)


def test_where_the_interval_holds_zero_no_sign_is_claimed() -> None:
    values = np.random.default_rng(7).normal(0.0, 5.0, 60)
    assert paired_mean(values - values.mean(), 1).sign == 0
    assert paired_mean(values - values.mean() - 10, 1).sign == -1


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(9).normal(size=50)
    assert paired_mean(values, 4) == paired_mean(values, 4)
    assert paired_mean(values, 4) != paired_mean(values, 5)


def test_every_repetition_has_as_many_days_as_the_series() -> None:
    values = np.concatenate([np.zeros(9), [10.0]])  # 10 days in blocks of 7: 7 + 3
    found = paired_mean(values, 1, block=7, level=0.9999999)
    assert found.high <= 2.0 + 1e-12


@pytest.mark.parametrize(
    ("values", "block"), [([1.0], 1), ([1.0, float("nan")], 1), ([1.0, 2.0], 3), ([1.0, 2.0], 0)]
)
def test_what_cannot_be_resampled_is_refused(values: list[float], block: int) -> None:
    with pytest.raises(DataError):
        paired_mean(values, 1, block=block)
