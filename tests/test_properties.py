"""Properties that hold for any input, and spoilt files offered to every reader for two seconds.

How many examples are tried is chosen by HYPOTHESIS_PROFILE (tests/conftest.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from scipy import sparse as sp

from stochbess.engine.certificate import TOLERANCE, certify
from stochbess.engine.matrix import Problem
from stochbess.errors import DataError
from stochbess.market.data import load_market
from stochbess.rng import stream
from stochbess.scenario_gen.scenario_file import COLUMNS, read_scenarios, write_scenarios
from stochbess.scenario_gen.scenarios import ScenarioSet
from tests import fuzz
from tests.test_market_check import day_ahead, write_market
from tests.test_scenarios import some_set

ROOT = Path(__file__).resolve().parent.parent
SEEDS = st.integers(0, 2**32 - 1)

# ----------------------------------------------------------------------------------- certificate


def second_opinion(problem: Problem, values: list[float], claimed: float) -> list[float]:
    """Violations of rows, bounds, integrality and objective, in plain loops."""
    dense = problem.matrix.toarray().tolist()

    def beyond(x: float, low: float, high: float) -> float:
        below = (low - x) / max(1.0, abs(low)) if low > float("-inf") else 0.0
        above = (x - high) / max(1.0, abs(high)) if high < float("inf") else 0.0
        return max(0.0, below, above)

    rows, bounds, whole = [0.0], [0.0], [0.0]
    for i, row in enumerate(dense):
        activity = sum(a * v for a, v in zip(row, values, strict=True))
        rows.append(beyond(activity, problem.row_lower[i], problem.row_upper[i]))
    for j, value in enumerate(values):
        bounds.append(beyond(value, problem.lower[j], problem.upper[j]))
        if problem.integer[j]:
            whole.append(abs(value - round(value)))
    cost = sum(c * v for c, v in zip(problem.cost, values, strict=True)) + problem.offset
    return [max(rows), max(bounds), max(whole), abs(cost - claimed) / max(1.0, abs(claimed))]


def some_problem(rng: np.random.Generator) -> Problem:
    n, m = int(rng.integers(1, 7)), int(rng.integers(1, 6))
    size = 10.0 ** rng.integers(-3, 5)

    def box(count: int) -> tuple[np.ndarray, np.ndarray]:
        low, width = size * rng.normal(size=count), size * rng.exponential(size=count)
        width[rng.random(count) < 0.3] = 0.0
        high = np.where(rng.random(count) < 0.2, np.inf, low + width)
        return np.where(rng.random(count) < 0.2, -np.inf, low), high

    lower, upper = box(n)
    row_lower, row_upper = box(m)
    matrix = sp.csr_array(rng.normal(size=(m, n)) * (rng.random((m, n)) < 0.7))
    return Problem(
        rng.normal(size=n), float(rng.normal()), lower, upper, rng.random(n) < 0.4, matrix,
        row_lower, row_upper,
    )  # fmt: skip


@given(SEEDS, st.booleans())
def test_the_certificate_equals_a_second_opinion_in_plain_loops(seed: int, near: bool) -> None:
    rng = stream(seed, "certificate")
    problem = some_problem(rng)
    inside = np.clip(rng.normal(size=problem.n_columns), problem.lower, problem.upper)
    values = np.where(problem.integer, np.round(inside), inside) if near else inside * 3
    claimed = float(problem.cost @ values) + problem.offset + (0.0 if near else rng.normal())
    found = certify(problem, values, claimed)
    told = [
        found.row_violation,
        found.bound_violation,
        found.integrality_violation,
        found.objective_difference,
    ]
    expected = second_opinion(problem, [float(v) for v in values], claimed)
    np.testing.assert_allclose(told, expected, rtol=1e-9, atol=1e-12)
    if min(abs(e - TOLERANCE) for e in expected) > 1e-9:
        assert found.accepted == (max(expected) <= TOLERANCE)


# --------------------------------------------------------------------------------- scenario files


def any_set(rng: np.random.Generator) -> ScenarioSet:
    """A sound set: two to four scenarios of some series in any order, values within limits."""
    names = ("day_ahead_eur_mwh", "intraday_eur_mwh", "fcr_eur_mw", "activation_up_mw")
    chosen = tuple(names[i] for i in rng.permutation(4)[: rng.integers(1, 5)])
    weight = rng.exponential(size=int(rng.integers(2, 5)))
    base = some_set(probability=tuple(weight / weight.sum()), series=chosen)
    values = {name: rng.uniform(0.0, 300.0, array.shape) for name, array in base.values.items()}
    labels = tuple(f"{rng.integers(10**6)}-{s}" for s in range(len(base)))
    return ScenarioSet(labels, base.probability, values, base.index, {"source": "a property"})


@settings(max_examples=40)
@given(SEEDS)
def test_any_scenario_set_comes_back_from_its_file_bit_for_bit(seed: int) -> None:
    rng = stream(seed, "scenario file")
    made = any_set(rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.parquet"
        write_scenarios(made, path)
        found = read_scenarios(path)
        assert found.sha256 == made.sha256 and found.names == made.names
        for name, values in made.values.items():
            assert np.array_equal(found.values[name], values)
        # Nor does it matter in which order another tool writes rows and columns.
        table = pd.read_parquet(path)
        table = table.iloc[rng.permutation(len(table))][[*rng.permutation(COLUMNS)]]
        table.to_parquet(path, index=False)
        shuffled = read_scenarios(path)
        order = [shuffled.names.index(name) for name in made.names]
        for name, values in made.values.items():
            assert np.array_equal(shuffled.values[name][order], values)


# ------------------------------------------------------------------------------------ market data


@settings(max_examples=40)
@given(SEEDS)
def test_market_data_load_as_they_are_written_or_not_at_all(seed: int) -> None:
    """Whatever is done to the table: what loads has the values of the file, row by row."""
    rng = stream(seed, "market data")
    spoilt = fuzz.spoil_frame(day_ahead(), rng)
    with tempfile.TemporaryDirectory() as folder:
        try:
            home = write_market(Path(folder), {"day_ahead": spoilt})
            written = pd.read_parquet(home / "DE_LU" / "day_ahead.parquet")
        except (ValueError, TypeError, OverflowError):
            return  # Parquet itself cannot hold such a table
        try:
            market = load_market(home, "DE_LU")
        except DataError:
            return
        found = market.series["day_ahead"].frame
    if "delivery_start_utc" in written.columns:
        written = written.set_index("delivery_start_utc")
    assert_frame_equal(found, written[["price_eur_mwh"]], check_index_type=False, check_freq=False)
    assert found.index.is_unique and found.index.is_monotonic_increasing


# ------------------------------------------------------------------------------------------- fuzz


def test_two_seconds_of_spoilt_files_end_in_success_or_an_error_of_ours() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            ROOT / "tests" / "fuzz.py",
            "--minutes",
            "0.034",
            "--batch",
            "10",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in fuzz.KINDS:
        assert f"{kind} refused" in done.stdout


def test_the_fuzzer_sees_what_it_is_there_for() -> None:
    """The alarm must ring: a reader that raises, dies, hangs or writes."""
    script = """
        import os, time
        from tests import fuzz

        fuzz.MOST_S = 1
        plants = {
            "raises": lambda folder: {}["planted"],
            "dies": lambda folder: os.abort(),
            "hangs": lambda folder: time.sleep(9),
            "writes": lambda folder: (folder / "half").write_text(""),
            "sound": lambda folder: None,
        }
        for name, plant in plants.items():
            attempt = lambda folder, rng, plant=plant: fuzz._left_alone(
                folder, lambda: plant(folder)
            )
            fuzz.KINDS[name] = fuzz.Kind(lambda folder: None, attempt)
        print("\\n".join(fuzz.fuzz(0.0, 1, (*plants,), batch=1)[1]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, cwd=ROOT
    )
    told = [line.partition(" at ")[0] for line in done.stdout.splitlines()]
    assert told == [
        "raises 0: end FOUND KeyError",
        "dies 0: died -6",
        "hangs 0: end FOUND TimeoutError",
        "writes 0: end FOUND AssertionError",
    ], done.stdout + done.stderr


# --------------------------------------------------------------------------------------- profiles


@pytest.mark.parametrize(("profile", "same", "least"), [("ci", True, 7), ("nightly", False, 70)])
def test_the_profile_decides_how_many_examples_are_tried(
    tmp_path: Path, profile: str, same: bool, least: int
) -> None:
    (tmp_path / "test_one.py").write_text(
        "from hypothesis import given, settings, strategies as st\n"
        "@settings(max_examples=7)\n"
        "@given(st.integers())\n"
        "def test_one(number):\n"
        "    open('seen.txt', 'a').write(f'{number}\\n')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "test_one.py"]
    seen = []
    for _ in range(2):
        (tmp_path / "seen.txt").write_text("")
        environment = {**os.environ, "HYPOTHESIS_PROFILE": profile, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        seen.append((tmp_path / "seen.txt").read_text().split())
    assert len(seen[0]) >= least and (len(seen[0]) > 7) == (least > 7)
    assert (seen[0] == seen[1]) == same
