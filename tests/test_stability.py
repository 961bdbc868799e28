"""How many scenarios are enough: what is solved, what is kept, and what is concluded."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from stochbess.assemble import build_case
from stochbess.cli_stability import verdict
from stochbess.config import Config, load_config
from stochbess.decide import Problem
from stochbess.errors import ConfigError, DataError
from stochbess.market.reference import reference_market
from stochbess.rng import stream
from stochbess.run import effort_of
from stochbess.stability import Solve, enough, range_factor, read_solves, sizes_of, solve_seeds
from tests.test_cli import empty_directory, stochbess

__all__ = ["empty_directory"]  # the fixture: no config.yaml and no store

QUICK = ["--markets", "day-ahead", "--gap", "0"]


def quick(*more: str) -> Config:
    closed = [f"markets.{name}.enabled=false" for name in ("intraday", "fcr", "afrr")]
    return load_config(None, [*closed, "solver.gap_frac=0", *more])


def made_up(n: int, values: Sequence[float] | npt.NDArray[np.float64]) -> list[Solve]:
    return [
        Solve("2024-06-26", "analog", n, k, v, v, 0.0, 1.0, "r")
        for k, v in enumerate(values, start=1)
    ]


# --------------------------------------------------------------------------------------- solving


def test_values_in_and_out_of_sample_are_those_of_the_problem_itself() -> None:
    config, market = quick("scenarios.n=3"), reference_market()
    rows = solve_seeds(config, market, [3], 2, 8)
    common = build_case(load_config(None, ["scenarios.n=8"]).model_copy(
        update={"markets": config.markets, "solver": config.solver}
    ), market)  # fmt: skip
    problem = Problem(common.data, "two-stage")
    for row in rows:
        case = build_case(config.model_copy(update={"seed": config.seed + row.draw}), market)
        found = problem.decide(case.series, case.probability, effort_of(config))
        assert row.in_sample_eur == pytest.approx(found.profit_lb_eur, rel=1e-9)
        alone = [
            problem.evaluate(
                {name: v[s : s + 1] for name, v in common.series.items()},
                np.ones(1),
                found.first_stage,
                effort_of(config),
            ).profit_lb_eur
            for s in range(8)
        ]
        assert row.out_of_sample_eur == pytest.approx(float(np.mean(alone)), rel=1e-9)
    assert rows[0].in_sample_eur != rows[1].in_sample_eur


def test_a_draw_seed_changes_the_draws_and_nothing_else() -> None:
    config, market = quick("scenarios.n=5"), reference_market()
    same = build_case(config, market, draw_seed=config.seed)
    assert same.scenarios.sha256 == build_case(config, market).scenarios.sha256
    other = build_case(config, market, draw_seed=7)
    reseeded = build_case(config.model_copy(update={"seed": 7}), market)
    assert other.scenarios.sha256 == reseeded.scenarios.sha256 != same.scenarios.sha256
    assert other.config == config


def test_what_the_file_has_is_not_computed_again(tmp_path: Path) -> None:
    config, market, out = quick(), reference_market(), tmp_path / "s.jsonl"
    told: list[str] = []
    first = solve_seeds(config, market, [2], 2, 4, out)
    kept = out.read_bytes()
    more = solve_seeds(config, market, [2, 3], 2, 4, out, lambda stage, text: told.append(text))
    assert [row for row in more if row.n == 2] == first
    assert out.read_bytes().startswith(kept) and len(read_solves(out)) == 4
    assert len(told) == 2 and "3 scenarios, seed 2 of 2, about 1 min left" in told[1]
    assert {row.n for row in more} == {2, 3}


def test_solves_of_another_request_are_not_taken_for_those_of_this_one(tmp_path: Path) -> None:
    config, market, out = quick(), reference_market(), tmp_path / "s.jsonl"
    first = solve_seeds(config, market, [2], 2, 4, out)
    poisoned = [replace(row, in_sample_eur=1e9, request="of something else") for row in first]
    out.write_text("".join(json.dumps(asdict(row)) + "\n" for row in poisoned))
    assert solve_seeds(config, market, [2], 2, 4, out) == [
        replace(row, cpu_s=again.cpu_s)
        for row, again in zip(first, read_solves(out)[2:], strict=True)
    ]
    larger_set = solve_seeds(config, market, [2], 2, 5, out)
    assert larger_set[0].out_of_sample_eur != first[0].out_of_sample_eur
    dearer = solve_seeds(quick("aging.model=none"), market, [2], 2, 4, out)
    assert dearer[0].in_sample_eur != first[0].in_sample_eur


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "s.jsonl"
    out.write_text('{"day": "2024-06-26"}\n')
    with pytest.raises(DataError, match=r"line 1.*scenarios stability"):
        solve_seeds(quick(), reference_market(), [2], 2, 4, out)
    assert out.read_text() == '{"day": "2024-06-26"}\n'


@pytest.mark.parametrize(
    ("keys", "sizes", "seeds", "common", "said"),
    [
        (["scenarios.source=realised"], [2, 3], 2, 4, "same scenarios for every seed"),
        ([], [3, 2], 2, 4, "rising"),
        ([], [2, 2], 2, 4, "rising"),
        ([], [], 2, 4, "rising"),
        ([], [0, 2], 2, 4, "from 1"),
        (["scenarios.n=2", "scenarios.reduce_from=5"], [2, 6], 2, 9, "reduce_from=5"),
        ([], [2, 3], 1, 4, "at least 2"),
        ([], [2, 5], 2, 4, "largest number"),
    ],
)
def test_what_makes_no_comparison_is_refused(
    keys: list[str], sizes: list[int], seeds: int, common: int, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        solve_seeds(quick(*keys), reference_market(), sizes, seeds, common)


# --------------------------------------------------------------------------------- what it says


def test_spreads_are_those_of_the_solves() -> None:
    size = sizes_of([*made_up(5, [90.0, 100.0, 110.0]), *made_up(2, [1.0, 2.0])])[1]
    assert (size.n, size.seeds) == (5, 3)
    assert size.in_sample.mean_eur == 100
    assert size.in_sample.std_eur == pytest.approx(10)
    assert size.in_sample.range_frac == pytest.approx(0.2)
    assert size.out_of_sample == size.in_sample


def test_the_expected_range_of_normal_values_is_that_of_the_tables_and_of_draws() -> None:
    # Tippett 1925, table X: d2 for samples of 2, 5 and 10
    for k, expected in ((2, 1.128), (5, 2.326), (10, 3.078)):
        assert range_factor(k) == pytest.approx(expected, abs=5e-4)
    draws = stream(1, "test.range").normal(size=(20_000, 7))
    assert range_factor(7) == pytest.approx(np.ptp(draws, axis=1).mean(), rel=0.01)


def test_the_square_root_law_is_found_again() -> None:
    """std = 100 / sqrt(n) around 1000: a range of 3.078 std is 2 % at n = 237."""
    z = np.array([-1.5, -1.1, -0.7, -0.4, -0.1, 0.1, 0.4, 0.7, 1.1, 1.5])
    z = z / z.std(ddof=1)
    solves = [row for n in (10, 20, 50) for row in made_up(n, 1000 + 100 / math.sqrt(n) * z)]
    found = enough(sizes_of(solves))
    assert found.estimate_n == math.ceil((range_factor(10) * 100 / 20) ** 2) == 237
    assert found.p_value == pytest.approx(1.0)
    assert found.low_n is not None and found.high_n is not None
    assert found.low_n < found.estimate_n < found.high_n
    assert "estimate: 237" in verdict(sizes_of(solves), found)


def test_the_interval_of_the_estimate_holds_the_truth_19_times_of_20() -> None:
    rng, inside, rejected = stream(3, "test.law"), 0, 0
    truth = (range_factor(10) * 100 / 20) ** 2
    for _ in range(150):
        solves = [
            row
            for n in (10, 20, 50)
            for row in made_up(n, rng.normal(1000, 100 / math.sqrt(n), 10))
        ]
        found = enough(sizes_of(solves))
        if found.estimate_n is None or found.low_n is None or found.high_n is None:
            rejected += 1
        else:
            inside += found.low_n <= truth <= found.high_n
    assert rejected < 0.1 * 150
    assert inside / (150 - rejected) > 0.88


def test_a_spread_that_does_not_fall_is_not_extrapolated() -> None:
    z = np.linspace(-1, 1, 10)
    solves = [row for n in (10, 20, 50, 100) for row in made_up(n, 1000 + 100 * z)]
    found = enough(sizes_of(solves))
    assert found.estimate_n is None and found.measured_n is None and found.p_value < 0.05
    said = verdict(sizes_of(solves), found)
    assert "more than the 100" in said and "nothing is extrapolated" in said


def test_the_smallest_number_from_which_on_all_are_steady_is_measured() -> None:
    narrow, wide = [999.0, 1001.0], [950.0, 1050.0]
    steady = sizes_of([*made_up(5, wide), *made_up(10, narrow), *made_up(20, narrow)])
    assert enough(steady).measured_n == 10 and enough(steady).estimate_n is None
    luck = sizes_of([*made_up(5, narrow), *made_up(10, wide)])
    assert enough(luck).measured_n is None
    assert verdict(steady, enough(steady)) == "measured: 10 scenarios"


def test_one_number_of_scenarios_shows_no_law() -> None:
    sizes = sizes_of(made_up(10, [900.0, 1100.0]))
    assert enough(sizes).estimate_n is None
    assert "shows no law" in verdict(sizes, enough(sizes))


# ----------------------------------------------------------------------------------- the command


def test_the_command_prints_the_spread_and_goes_on_from_its_file(tmp_path: Path) -> None:
    more = ["--sizes", "2,3", "--seeds", "2", "--common", "4", "-o", "s.jsonl"]
    found = stochbess("scenarios", "stability", *QUICK, *more, "-q")
    assert found.code == 0, found.err
    assert "Spread over the seeds" in found.out and "How many are enough" in found.out
    assert "SYNTHETIC" in found.out
    kept = (tmp_path / "s.jsonl").read_bytes()
    document = stochbess("scenarios", "stability", *QUICK, *more, "--json", "-q").document()
    assert (tmp_path / "s.jsonl").read_bytes() == kept
    assert document["synthetic"] is True and document["source"] == "analog"
    sizes = document["sizes"]
    assert isinstance(sizes, list) and [size["n"] for size in sizes] == [2, 3]
    solves = document["solves"]
    assert isinstance(solves, list)
    mean = np.mean([row["in_sample_eur"] for row in solves if row["n"] == 3])
    assert sizes[1]["in_sample"]["mean_eur"] == pytest.approx(mean)


def test_numbers_that_are_none_are_refused_before_anything_is_loaded() -> None:
    found = stochbess("scenarios", "stability", "--sizes", "10;20")
    assert found.code == 2 and "--sizes 10;20" in found.err
