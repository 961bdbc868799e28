"""Fewer scenarios with the means of all: what is matched, and that rare calls are not lost."""

from __future__ import annotations

from datetime import date
from itertools import combinations

import numpy as np
import pytest

from stochbess.errors import ScenarioError
from stochbess.rng import stream
from stochbess.scenario_gen.mean_selection import deviations, improve_means, match_means
from stochbess.scenario_gen.reduction import reduce_scenarios
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.series import Array, labels_of
from stochbess.timegrid import Horizon

DAY = Horizon(date(2024, 6, 26), 1, "Europe/Berlin", 15, 60)


def markets(n: int = 40, seed: int = 1, day: Horizon = DAY) -> ScenarioSet:
    """Prices, and calls in one scenario of eight: rare, large and dear."""
    rng = stream(seed, "test.mean_selection")
    length = {s: len(labels_of(day, s)) for s in ("day_ahead_eur_mwh", "intraday_eur_mwh")}
    da = rng.normal(60, 30, (n, length["day_ahead_eur_mwh"]))
    per_unit = length["intraday_eur_mwh"] // length["day_ahead_eur_mwh"]
    intraday = np.repeat(da, per_unit, axis=1) + rng.normal(0, 10, (n, length["intraday_eur_mwh"]))
    called = rng.random((n, 1)) < 1 / 8
    volume = np.where(called, rng.gamma(2, 200, intraday.shape), 5 * rng.random(intraday.shape))
    values = {
        "day_ahead_eur_mwh": da,
        "intraday_eur_mwh": intraday,
        "fcr_eur_mw": rng.gamma(3, 20, (n, 6)),
        "afrr_energy_up_eur_mwh": intraday + 0.2 * volume,
        "activation_up_mw": volume,
    }
    return of(values, day)


def of(values: dict[str, Array], day: Horizon = DAY, p: Array | None = None) -> ScenarioSet:
    n = len(next(iter(values.values())))
    return ScenarioSet(
        tuple(f"s{i}" for i in range(n)),
        np.full(n, 1 / n) if p is None else p,
        values,
        {s: labels_of(day, s) for s in values},
        {"source": "test"},
    )


def distance_of_means(full: ScenarioSet, kept: tuple[int, ...]) -> float:
    """(100), one quantity and one label at a time, with none of the code under test."""
    v = full.values
    spread = [[v["intraday_eur_mwh"][:, 4 * h + q] - v["day_ahead_eur_mwh"][:, h] for q in range(4)]
              for h in range(24)]  # fmt: skip
    paid = v["activation_up_mw"] * (v["afrr_energy_up_eur_mwh"] - v["intraday_eur_mwh"])

    def blocks(table: Array) -> list[Array]:
        return [np.mean([table[:, 16 * b + k] for k in range(16)], axis=0) for b in range(6)]

    kinds = [
        [v["day_ahead_eur_mwh"][:, h] for h in range(24)],
        [np.mean(quarters, axis=0) for quarters in spread],
        [v["fcr_eur_mw"][:, b] for b in range(6)],
        blocks(v["afrr_energy_up_eur_mwh"]),
        blocks(v["activation_up_mw"]),
        blocks(paid),
    ]
    total = 0.0
    for kind in kinds:
        variance = sum(float(np.var(x)) for x in kind) / len(kind)
        miss = sum(
            (sum(float(x[i]) for i in kept) / len(kept) - float(np.mean(x))) ** 2 for x in kind
        )
        total += miss / len(kind) / variance
    return total


def test_the_distance_of_the_means_is_that_of_the_equation() -> None:
    full = markets(12)
    for kept in [(0, 3), (1, 5, 7), tuple(range(12))]:
        found = float((deviations(full)[list(kept)].mean(axis=0) ** 2).sum())
        assert found == pytest.approx(distance_of_means(full, kept), rel=1e-9, abs=1e-20)


@pytest.mark.parametrize("seed", range(4))
def test_no_exchange_of_one_scenario_brings_the_means_nearer(seed: int) -> None:
    full = markets(14, seed)
    kept = tuple(int(i) for i in match_means(full, 4).kept)
    reached = distance_of_means(full, kept)
    for out in kept:
        for new in set(range(14)) - set(kept):
            other = tuple(sorted((set(kept) - {out}) | {new}))
            assert distance_of_means(full, other) >= reached - 1e-9


def test_the_search_ends_near_the_best_of_all_subsets() -> None:
    for seed in range(6):
        away = deviations(markets(13, seed))
        best = min(
            float((away[list(k)].mean(axis=0) ** 2).sum()) for k in combinations(range(13), 4)
        )
        found = improve_means(away, np.arange(4))
        assert float((away[found].mean(axis=0) ** 2).sum()) <= 1.25 * best


def test_rare_calls_are_kept_where_medoids_lose_them() -> None:
    """Whoever is called least is nearest to all others, whose calls are at other times."""
    rng = stream(1, "test.bursts")
    bursts = rng.random((200, 96)) < rng.gamma(0.5, 0.2, (200, 1))
    full = of({"activation_up_mw": np.where(bursts, rng.gamma(2, 200, (200, 96)), 0.0)})
    called = {
        name: float(s.probability @ s.values["activation_up_mw"].mean(axis=1))
        for name, s in (
            ("all", full),
            ("medoids", reduce_scenarios(full, 10).set),
            ("means", match_means(full, 10).set),
        )
    }
    assert called["means"] == pytest.approx(called["all"], rel=0.02)
    assert called["medoids"] < 0.5 * called["all"]


def test_the_reported_error_is_relative_to_random_draws() -> None:
    full, n = markets(60), 6
    found = match_means(full, n)
    rng = stream(2, "test.random_draws")
    random = np.mean([distance_of_means(full, tuple(rng.integers(0, 60, n))) for _ in range(400)])
    expected = np.sqrt(distance_of_means(full, tuple(found.kept)) / random)
    assert found.relative == pytest.approx(expected, rel=0.1)
    assert found.set.provenance["reduction_relative"] == f"{found.relative:.6g}"
    assert (found.set.probability == 1 / n).all()


def test_weights_of_the_full_set_count() -> None:
    values = {"fcr_eur_mw": np.repeat(np.array([[10.0], [20.0], [50.0]]), 6, axis=1)}
    assert match_means(of(values, p=np.array([0.1, 0.8, 0.1])), 1).kept.tolist() == [1]
    assert match_means(of(values, p=np.array([0.01, 0.01, 0.98])), 1).kept.tolist() == [2]


def test_units_and_series_that_are_known_do_not_decide_which_are_kept() -> None:
    full = markets(50)
    kept = match_means(full, 7).kept.tolist()
    dearer = dict(full.values) | {"fcr_eur_mw": 50 * full.values["fcr_eur_mw"]}
    assert match_means(of(dearer), 7).kept.tolist() == kept
    known = dict(full.values) | {"afrr_up_eur_mw_h": np.full((50, 6), 12.3456789)}
    assert match_means(of(known), 7).kept.tolist() == kept


def test_all_scenarios_keep_their_means_and_the_full_set_is_left_alone() -> None:
    full = markets(9)
    before = full.sha256
    found = match_means(full, 9)
    assert found.relative == pytest.approx(0, abs=1e-12)
    assert found.kept.tolist() == list(range(9))
    assert full.sha256 == before
    assert match_means(full, 3).set.sha256 == match_means(full, 3).set.sha256


@pytest.mark.parametrize("day", [date(2024, 3, 31), date(2024, 10, 27)])
def test_days_of_23_and_25_hours_are_reduced_too(day: date) -> None:
    full = markets(30, day=Horizon(day, 1, "Europe/Berlin", 15, 60))
    assert match_means(full, 5).relative < 0.6


def test_more_scenarios_than_there_are_is_refused() -> None:
    for n in (0, 10):
        with pytest.raises(ScenarioError, match=rf"cannot keep {n} of 9"):
            match_means(markets(9), n)
