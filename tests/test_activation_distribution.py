"""The distribution of a volume: zero mass, quantiles, ranks and called shares agree."""

from __future__ import annotations

import numpy as np
import pytest

from stochbess.errors import DataError
from stochbess.rng import stream
from stochbess.scenario_gen.activation_distribution import (
    Array,
    VolumeDistribution,
    called_frac,
    choose_thresholds,
    fit_shape,
)

THRESHOLDS = np.array([0.0, 5.0, 50.0, 200.0])


def volumes(n: int = 20_000, zero: float = 0.3) -> Array:
    rng = stream(5, "test.volumes")
    return np.where(rng.random(n) < zero, 0.0, rng.exponential(80.0, n))


def distribution(*rows: tuple[float, ...]) -> VolumeDistribution:
    return VolumeDistribution(fit_shape(volumes(), THRESHOLDS), np.array(rows))


TWO = ((0.8, 0.7, 0.4, 0.1), (0.5, 0.3, 0.2, 0.01))


def test_probabilities_at_the_thresholds_are_the_given_ones() -> None:
    found = distribution(*TWO)
    for k, threshold in enumerate(THRESHOLDS):
        assert found.exceedance(threshold) == pytest.approx(np.array(TWO)[:, k])
    assert (found.exceedance(1e6) == 0).all()
    between = found.exceedance(100.0)
    assert (between < [0.4, 0.2]).all() and (between > [0.1, 0.01]).all()


def test_with_the_probabilities_of_the_past_the_distribution_is_that_of_the_past() -> None:
    past = volumes()
    rate = tuple(float((past > t).mean()) for t in THRESHOLDS)
    found = distribution(rate)
    assert found.mean_mw()[0] == pytest.approx(past.mean(), rel=0.01)
    for level in (0.5, 0.8, 0.97):
        assert found.quantile(np.array([level]))[0] == pytest.approx(
            np.quantile(past, level), rel=0.02
        )
    for at in (20.0, 150.0, 300.0):
        assert found.exceedance(at)[0] == pytest.approx((past > at).mean(), abs=0.006)


def test_rank_and_quantile_are_inverse_above_zero() -> None:
    found = distribution(*TWO)
    levels = np.array([[0.25, 0.5, 0.9, 0.999], [0.55, 0.6, 0.9, 0.9999]])
    drawn = found.quantile(levels)
    assert (drawn > 0).all() and (np.diff(drawn, axis=1) > 0).all()
    for j in range(4):
        assert found.rank(drawn[:, j], np.zeros(2)) == pytest.approx(levels[:, j], abs=1e-9)


def test_levels_within_the_mass_at_zero_are_zero_and_zeros_rank_within_it() -> None:
    found = distribution(*TWO)
    assert found.quantile(np.array([0.199, 0.499])).tolist() == [0.0, 0.0]
    assert (found.quantile(np.array([0.201, 0.501])) > 0).all()
    ranks = found.rank(np.zeros(2), np.array([0.5, 1.0]))
    assert ranks == pytest.approx([0.1, 0.5])


def test_the_share_called_is_the_mean_of_the_clipped_volume() -> None:
    found = distribution(*TWO)
    drawn = found.quantile(np.tile((np.arange(200_000) + 0.5) / 200_000, (2, 1)))
    for depth, width in ((0.0, 100.0), (100.0, 100.0), (3.0, 1.0), (150.0, 900.0)):
        expected = called_frac(drawn, depth, width).mean(axis=1)
        assert found.called_share(depth, width) == pytest.approx(expected, abs=2e-5)
    assert found.mean_mw() == pytest.approx(drawn.mean(axis=1), rel=1e-4)


def test_a_deeper_bid_is_called_less_and_a_hair_wide_one_as_often_as_the_depth_is_passed() -> None:
    found = distribution(*TWO)
    shares = [found.called_share(depth, 50.0)[0] for depth in (0.0, 20.0, 80.0, 400.0)]
    assert shares == sorted(shares, reverse=True) and shares[-1] < shares[0]
    assert found.called_share(60.0, 1e-6) == pytest.approx(found.exceedance(60.0), abs=1e-6)


def test_called_frac_by_hand() -> None:
    assert called_frac(np.array([50.0, 100.0, 150.0, 999.0]), 100.0, 100.0).tolist() == [
        0,
        0,
        0.5,
        1,
    ]


def test_thresholds_that_hardly_any_volume_passes_are_dropped() -> None:
    found = choose_thresholds(volumes(), (0.0, 5.0, 30.0, 100.0, 300.0, 5000.0))
    assert found.tolist() == [0.0, 5.0, 30.0, 100.0, 300.0]


def test_a_small_zone_gets_thresholds_of_its_own_size() -> None:
    small = volumes() / 100
    found = choose_thresholds(small)
    assert found[0] == 0 and len(found) >= 5 and (np.diff(found) > 0).all()
    above = [(small > t).mean() for t in found[1:]]
    assert 0.6 > max(above) > 0.3 and min(above) > 0.01


def test_volumes_in_one_bin_or_none_still_make_a_shape() -> None:
    shape = fit_shape(np.array([0.0, 3.0, 3.0, 4.0]), THRESHOLDS)
    assert (np.diff(shape.node_mw) > 0).all() and shape.node_frac[-1] == 1
    assert set(shape.node_bin.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("bad", [[], [1.0, np.nan], [-1.0, 2.0]])
def test_volumes_that_are_none_are_refused(bad: list[float]) -> None:
    with pytest.raises(DataError, match="finite and >= 0"):
        fit_shape(np.array(bad), THRESHOLDS)


def test_a_bid_without_width_and_rows_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="width > 0"):
        distribution(*TWO).called_share(100.0, 0.0)
    with pytest.raises(DataError, match="one column for each of 4"):
        distribution((0.5, 0.2))
