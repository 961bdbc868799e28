"""Day-ahead price scenarios: what a fit holds, what a draw is, and that neither looks ahead."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from stochbess.errors import DataError, NotEnoughHistoryError, ScenarioError
from stochbess.market.data import MarketData, load_market
from stochbess.rng import stream
from stochbess.scenario_gen.day_panel import on_day, to_wall_clock, wall_clock_table
from stochbess.scenario_gen.price_day_ahead import (
    DayAheadDraws,
    draw_day_ahead,
    fit_day_ahead,
)
from stochbess.scenario_gen.price_fit import DayAheadFit, PriceModel
from stochbess.scenario_gen.price_trees import LEVELS
from stochbess.scenario_gen.scores import crps_ensemble
from stochbess.timegrid import gate_utc
from tests.look_ahead import future_corrupted, known_earlier, looks_ahead
from tests.price_case import BERLIN, FIRST_DAY, price_market

TARGET = date(2024, 3, 27)
EARLY = date(2024, 1, 3)
GATE = "D-1 12:00"
Bytes = dict[str, bytes]


def at_gate(market: MarketData, day: date, gate: str = GATE) -> MarketData:
    return market.as_of(gate_utc(gate, day, BERLIN))


def fitted(market: MarketData, day: date, model: PriceModel = "pool") -> DayAheadFit:
    return fit_day_ahead(at_gate(market, day), day, BERLIN, 5, model)


@cache
def pool() -> DayAheadFit:
    return fitted(price_market(), TARGET)


@cache
def lear() -> DayAheadFit:
    return fitted(price_market(), EARLY, "lear")


def drawn(
    fit: DayAheadFit, market: MarketData, day: date, n: int = 40, gate: str = GATE
) -> DayAheadDraws:
    return draw_day_ahead(fit, at_gate(market, day, gate), day, n, stream(3, f"test.{day}"))


def bytes_of(fit: DayAheadFit, draws: DayAheadDraws) -> bytes:
    arrays = fit.to_arrays()
    parts = [name.encode() + arrays[name].tobytes() for name in sorted(arrays)]
    days = ",".join(map(str, draws.residual_day)).encode()
    return b"".join([*parts, draws.values_eur_mwh.tobytes(), days, draws.point_eur_mwh.tobytes()])


# ----------------------------------------------------------------------------- no look-ahead


def fit_and_draw(market: MarketData, model: PriceModel, day: date) -> bytes:
    fit = fitted(market, day, model)
    return bytes_of(fit, drawn(fit, market, day))


@pytest.mark.parametrize("model", ["naive", "lear"])
def test_corrupting_what_is_not_known_at_the_gate_changes_no_byte(model: PriceModel) -> None:
    gate = gate_utc(GATE, EARLY, BERLIN)
    assert not looks_ahead(lambda m: fit_and_draw(m, model, EARLY), price_market(), gate)


@pytest.mark.slow
def test_corrupting_what_is_not_known_changes_no_byte_of_the_pool() -> None:
    gate = gate_utc(GATE, TARGET, BERLIN)
    assert not looks_ahead(lambda m: fit_and_draw(m, "pool", TARGET), price_market(), gate)


def test_a_draw_later_in_the_week_sees_nothing_after_its_own_gate() -> None:
    day = TARGET + timedelta(days=2)
    gate = gate_utc(GATE, day, BERLIN)
    assert not looks_ahead(lambda m: bytes_of(pool(), drawn(pool(), m, day)), price_market(), gate)


def leak_of_a_future_price(market: MarketData) -> bytes:
    fit = fit_day_ahead(market, EARLY, BERLIN, 5, "lear")
    return bytes_of(fit, draw_day_ahead(fit, market, EARLY, 5, stream(1, "leak")))


def leak_of_a_full_sample_scaler(market: MarketData) -> bytes:
    scale = market.column("day_ahead", "price_eur_mwh").to_numpy().std()
    draws = drawn(fitted(market, EARLY, "naive"), market, EARLY)
    return bytes((draws.values_eur_mwh / scale).tobytes())


def leak_of_revised_data(market: MarketData) -> bytes:
    return fit_and_draw(known_earlier(market, "fundamentals", 3), "lear", EARLY)


@pytest.mark.parametrize(
    "leaky", [leak_of_a_future_price, leak_of_a_full_sample_scaler, leak_of_revised_data]
)
def test_the_audit_rings_for_every_planted_leak(leaky: object) -> None:
    assert callable(leaky)
    assert looks_ahead(leaky, price_market(), gate_utc(GATE, EARLY, BERLIN))


def test_the_audit_corrupts_only_what_is_not_known() -> None:
    gate: datetime = gate_utc(GATE, EARLY, BERLIN)
    market = price_market()
    changed = future_corrupted(market, gate)
    column = ("day_ahead", "price_eur_mwh")
    assert changed.as_of(gate).column(*column).equals(market.as_of(gate).column(*column))
    assert not changed.column(*column).equals(market.column(*column))


def test_forecasts_of_the_day_are_used_only_under_the_assumption() -> None:
    assumed = price_market().assume_forecasts_known("D-1 07:00")
    informed = fitted(assumed, EARLY, "lear")
    assert lear().lags.forecast == 1 and informed.lags.forecast == 0
    assert lear().provenance["forecasts"] == "solar and wind up to D-1"
    assert "assumptions" not in lear().provenance
    assert "D-1 07:00" in informed.provenance["assumptions"]
    days = [EARLY + timedelta(days=k) for k in range(7)]
    blind, seeing = (
        np.mean([crps_ensemble(drawn(f, m, d).values_eur_mwh, _truth(d)).mean() for d in days])
        for f, m in ((lear(), price_market()), (informed, assumed))
    )
    assert seeing < 0.8 * blind


# ----------------------------------------------------------------------------- what a draw is


def _truth(day: date) -> npt.NDArray[np.float64]:
    table = wall_clock_table(price_market(), "day_ahead", "price_eur_mwh", day, day)
    return np.asarray(table[0], np.float64)


def test_half_of_the_pool_is_the_error_of_the_residual_day_around_the_median() -> None:
    draws = drawn(pool(), price_market(), TARGET)
    assert draws.values_eur_mwh.shape == (40, 24)
    for i in range(20):
        row = (draws.residual_day[i] - pool().first_day).days
        error = _truth(draws.residual_day[i]) - pool().quantiles_eur_mwh[row, :, LEVELS.index(0.5)]
        np.testing.assert_allclose(draws.values_eur_mwh[i] - draws.point_eur_mwh, error, atol=1e-9)
    assert len(set(draws.residual_day[:20])) == 20
    assert all(FIRST_DAY < day < TARGET for day in draws.residual_day)


def test_a_copula_draw_errs_in_the_direction_of_its_residual_day() -> None:
    draws = drawn(pool(), price_market(), TARGET, n=80)
    middle = LEVELS.index(0.5)
    signs = []
    for i in range(40, 80):
        row = (draws.residual_day[i] - pool().first_day).days
        error = _truth(draws.residual_day[i]) - pool().quantiles_eur_mwh[row, :, middle]
        signs.append(np.corrcoef(draws.values_eur_mwh[i] - draws.point_eur_mwh, error)[0, 1])
    assert np.mean(signs) > 0.3


@pytest.mark.parametrize(("day", "hours"), [(date(2024, 3, 31), 23), (date(2024, 3, 30), 24)])
def test_a_clock_change_day_has_its_own_number_of_hours(day: date, hours: int) -> None:
    draws = drawn(pool(), price_market(), day, n=7)
    assert draws.values_eur_mwh.shape == (7, hours)
    assert draws.point_eur_mwh.shape == (hours,)
    assert np.isfinite(draws.values_eur_mwh).all()


def test_the_clock_change_is_undone_on_the_way_back() -> None:
    values = np.arange(24.0)[None]
    spring, autumn = date(2024, 3, 31), date(2024, 10, 27)
    assert on_day(values, spring, BERLIN)[0].tolist() == [0, 1, *range(3, 24)]
    assert on_day(values, autumn, BERLIN)[0].tolist() == [0, 1, 2, 2, *range(3, 24)]
    for day in (spring, autumn, TARGET):
        np.testing.assert_array_equal(
            to_wall_clock(on_day(values, day, BERLIN), day, BERLIN), values
        )


def test_the_table_of_a_clock_change_day_bridges_and_averages() -> None:
    spring, autumn = date(2024, 3, 31), date(2023, 10, 29)
    column = price_market().column("day_ahead", "price_eur_mwh")
    for day, hours in ((spring, 23), (autumn, 25)):
        start = gate_utc("D 00:00", day, BERLIN)
        real = column[(column.index >= start)].to_numpy()[:hours]
        table = _truth(day)
        expected = (real[1] + real[2]) / 2 if hours == 23 else (real[2] + real[3]) / 2
        assert table[2] == pytest.approx(expected)
        assert table[23] == real[-1]


def test_a_price_that_is_known_at_the_gate_is_the_price_of_every_draw() -> None:
    draws = drawn(pool(), price_market(), TARGET, gate="D-1 13:00")
    assert (draws.values_eur_mwh == _truth(TARGET)).all()
    assert (draws.point_eur_mwh == _truth(TARGET)).all()
    assert len(set(draws.residual_day)) > 10


def test_the_models_beat_the_similar_day_in_order() -> None:
    scores: dict[str, list[float]] = {"naive": [], "lear": [], "pool": []}
    for k in range(5):
        day = TARGET + timedelta(days=k)
        truth = _truth(day)
        for model, found in scores.items():
            values = drawn(replace(pool(), model=model), price_market(), day, 60).values_eur_mwh
            values = to_wall_clock(values, day, BERLIN)
            found.append(float(crps_ensemble(values, truth).mean()))
    assert np.mean(scores["lear"]) < np.mean(scores["naive"])
    assert np.mean(scores["pool"]) < np.mean(scores["naive"])


# ----------------------------------------------------------------------------- determinism, files


def test_a_fit_goes_through_a_file_without_objects_and_draws_the_same() -> None:
    file = io.BytesIO()
    np.savez(file, **pool().to_arrays())  # type: ignore[arg-type]
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        again = DayAheadFit.from_arrays(arrays)
    assert bytes_of(again, drawn(again, price_market(), TARGET)) == bytes_of(
        pool(), drawn(pool(), price_market(), TARGET)
    )
    assert again.provenance == pool().provenance and again.lags == pool().lags


@pytest.mark.parametrize("absent", ["head", "linear_eur_mwh", "lear_scale", "trees03_value"])
def test_a_damaged_file_is_an_error_of_data(absent: str) -> None:
    arrays = pool().to_arrays()
    del arrays[absent]
    with pytest.raises(DataError, match="Fit"):
        DayAheadFit.from_arrays(arrays)


def test_a_previous_fit_saves_work_and_changes_no_byte() -> None:
    day = EARLY + timedelta(days=7)
    view = at_gate(price_market(), day)
    alone = fit_day_ahead(view, day, BERLIN, 5, "lear")
    helped = fit_day_ahead(view, day, BERLIN, 5, "lear", previous=lear())
    assert bytes_of(alone, drawn(alone, price_market(), day)) == bytes_of(
        helped, drawn(helped, price_market(), day)
    )


def test_a_previous_fit_of_other_data_is_not_used() -> None:
    day = EARLY + timedelta(days=7)
    view = at_gate(price_market(), day)
    foreign = replace(lear(), linear_eur_mwh=lear().linear_eur_mwh + 50, panel_sha256="0" * 64)
    helped = fit_day_ahead(view, day, BERLIN, 5, "lear", previous=foreign)
    row = (EARLY - FIRST_DAY).days - 3
    np.testing.assert_array_equal(helped.linear_eur_mwh[row], lear().linear_eur_mwh[row])


HASHED = (
    "import hashlib, sys; sys.path.insert(0, sys.argv[1]);"
    "from tests import test_price_day_ahead as t;"
    "print(hashlib.sha256(t.fit_and_draw(t.price_market(), 'lear', t.EARLY)).hexdigest())"
)


@pytest.mark.slow
def test_two_hash_seeds_in_two_processes_give_the_same_bytes() -> None:
    root = str(Path(__file__).resolve().parent.parent)
    found = [
        subprocess.run(
            [sys.executable, "-c", HASHED, root],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "4242")
    ]
    assert found[0] == found[1] and len(found[0]) == 65


# ----------------------------------------------------------------------------- limits


def test_a_fit_serves_seven_days_and_refuses_the_eighth() -> None:
    with pytest.raises(ScenarioError, match="serves deliveries until 2024-01-09"):
        drawn(lear(), price_market(), EARLY + timedelta(days=7))
    with pytest.raises(ScenarioError, match="not 2024-01-02"):
        drawn(lear(), price_market(), EARLY - timedelta(days=1))


def test_a_view_that_knows_less_than_the_fit_is_refused() -> None:
    informed = fitted(price_market().assume_forecasts_known("D-1 07:00"), EARLY, "lear")
    with pytest.raises(DataError, match="not known in the view"):
        drawn(informed, price_market(), EARLY)


def test_a_zone_without_fundamentals_has_price_only_models_and_says_so() -> None:
    bare = price_market(fundamentals=False)
    fit = fitted(bare, EARLY, "lear")
    assert fit.provenance["forecasts"] == "none: prices only"
    assert fit.provenance["load"] == "none"
    assert np.isfinite(drawn(fit, bare, EARLY).values_eur_mwh).all()


@pytest.mark.parametrize(
    ("days", "model"), [(95, "lear"), (60, "naive")], ids=["three months", "two months"]
)
def test_a_short_history_gets_a_simpler_model_and_says_so(days: int, model: str) -> None:
    day = FIRST_DAY + timedelta(days=days)
    fit = fitted(price_market(), day)
    assert fit.model == model
    assert fit.provenance["degraded"].startswith("too little history for pool")
    assert drawn(fit, price_market(), day, n=90).values_eur_mwh.shape == (90, 24)


def test_hardly_any_history_is_an_error_with_the_count() -> None:
    with pytest.raises(NotEnoughHistoryError, match="12 complete days"):
        fitted(price_market(), FIRST_DAY + timedelta(days=12))
    with pytest.raises(NotEnoughHistoryError, match="no day-ahead price"):
        fitted(price_market(), FIRST_DAY - timedelta(days=3))


def test_a_wrong_clock_model_or_count_is_an_error() -> None:
    view = at_gate(price_market(), EARLY)
    with pytest.raises(DataError, match="Europe/Vienna"):
        fit_day_ahead(view, EARLY, "Europe/Vienna", 1)
    with pytest.raises(ScenarioError, match="unknown price model"):
        fit_day_ahead(view, EARLY, BERLIN, 1, "lstm")  # type: ignore[arg-type]
    with pytest.raises(ScenarioError, match="n >= 1"):
        drawn(lear(), price_market(), EARLY, n=0)


# ----------------------------------------------------------------------------- real data


@pytest.mark.slow
@pytest.mark.market_data
def test_a_week_of_real_prices_is_met_twice_as_well_as_by_the_similar_day(
    real_market: Path,
) -> None:
    market = load_market(real_market, "DE_LU").assume_forecasts_known("D-1 07:00")
    monday = date(2024, 9, 9)
    fit = fitted(market, monday)
    found: dict[str, list[float]] = {"naive": [], "pool": []}
    for k in range(7):
        day = monday + timedelta(days=k)
        truth = wall_clock_table(market, "day_ahead", "price_eur_mwh", day, day)[0]
        for model, scores in found.items():
            values = drawn(replace(fit, model=model), market, day, 100).values_eur_mwh
            scores.append(float(crps_ensemble(values, truth).mean()))
    assert np.mean(found["pool"]) < 0.5 * np.mean(found["naive"])


@pytest.mark.market_data
def test_a_real_week_sees_nothing_after_its_gate(real_market: Path) -> None:
    """Four months of real data: what a year of them would show takes minutes."""
    market = load_market(real_market, "AT")
    day = date(2023, 4, 5)
    gate = gate_utc(GATE, day, market.timezone)

    def generate(data: MarketData) -> bytes:
        view = data.as_of(gate)
        fit = fit_day_ahead(view, day, data.timezone, 5, "lear")
        return bytes_of(fit, draw_day_ahead(fit, view, day, 20, stream(2, "real")))

    assert not looks_ahead(generate, market, gate)
