"""Certificates of decisions: against mpi-sppy, against enumeration, and through the program."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyomo.environ as pyo
import pytest
import typer
from typer.testing import CliRunner

from stochbess.assemble import build_case, open_market
from stochbess.certify import (
    Certification,
    Population,
    Replication,
    certify,
    draw_population,
    part_key,
    replicate,
)
from stochbess.cli_certify import add_certify, document, remarks, show_certification
from stochbess.cli_output import page
from stochbess.config import Config, load_config
from stochbess.decide import Problem
from stochbess.engine.matrix import Blocks, blocks
from stochbess.engine.smps import StochasticProgram, read_smps
from stochbess.engine.two_stage import evaluate_first_stage, solve_two_stage
from stochbess.errors import ConfigError, StoreError
from stochbess.evaluate.sampling import gap_bound
from stochbess.rng import stream
from stochbess.run import effort_of
from stochbess.scenario_gen.scenario_file import write_scenarios
from tests.smps_case import (
    APL1P_OPTIMUM,
    APL1P_TIME,
    FARMER_CORE,
    FARMER_SCENARIOS,
    FARMER_TIME,
    apl1p_core,
    apl1p_independent,
)

Floats = npt.NDArray[np.float64]
FARMER_X = np.array([170.0, 80.0, 250.0])


def farmer() -> StochasticProgram:
    return read_smps(FARMER_CORE, FARMER_TIME, FARMER_SCENARIOS)


@cache
def apl1p() -> StochasticProgram:
    return read_smps(apl1p_core(), APL1P_TIME, apl1p_independent())


# -- mpi-sppy -------------------------------------------------------------------------------------
def test_the_gap_estimates_on_farms_are_those_of_mpi_sppy() -> None:
    """Its MMW interval on the farms that it draws itself, sample by sample."""
    module = pytest.importorskip("mpisppy.tests.examples.farmer")
    mmw = pytest.importorskip("mpisppy.confidence_intervals.mmw_ci")
    options = pytest.importorskip("mpisppy.utils.config").Config()
    for name, kind, value in (
        ("EF_solver_name", str, "highs"), ("EF_solver_options", dict, None),
        ("EF_2stage", bool, True), ("use_integer", bool, False),
        ("crops_multiplier", int, 1), ("num_scens", int, 12),
    ):  # fmt: skip
        options.quick_assign(name, kind, value)
    by_name = FARMER_X[[1, 2, 0]]  # corn, sugar beets, wheat
    theirs = mmw.MMWConfidenceIntervals(
        "mpisppy.tests.examples.farmer", options, {"ROOT": by_name}, 3,
        batch_size=5, start=12, verbose=False,
    ).run()  # fmt: skip
    ours = []
    for m in range(3):
        names = module.scenario_names_creator(5, start=12 + 5 * m)
        ours.append(replicate(farms(module.scenario_creator, names), FARMER_X).gap_eur)
    assert ours == pytest.approx(theirs["Glist"], rel=1e-6)
    # It divides the squares by M instead of M - 1.
    bound = gap_bound(np.array(ours))
    half = (bound.upper_eur - bound.mean_eur) * np.sqrt(2 / 3)
    assert bound.mean_eur + half == pytest.approx(theirs["gap_inner_bound"], rel=1e-6)


def farms(create: Callable[..., pyo.ConcreteModel], names: list[str]) -> Blocks:
    yields = []
    for name in names:
        m = create(name, num_scens=len(names))
        wheat, corn, beets = (float(pyo.value(m.Yield[crop])) for crop in m.CROPS)
        yields.append([wheat, corn, -beets])
    chance = np.full(len(names), 1 / len(names))
    return blocks(farmer().template, {"xi": np.array(yields)}, chance)


# -- enumeration ----------------------------------------------------------------------------------
def test_no_gap_is_found_where_there_is_none_and_the_sample_is_the_population() -> None:
    found = replicate(farmer().blocks(), FARMER_X)
    assert found.gap_eur == pytest.approx(0.0, abs=1e-3)
    worse = replicate(farmer().blocks(), np.array([120.0, 80.0, 300.0]))
    assert worse.gap_eur == pytest.approx(108390.0 - 107240.0, abs=1.0)


def bounds(program: StochasticProgram, x: Floats, n: int, m: int, seeds: int) -> Floats:
    """Upper bounds of the gap of x by `seeds` certificates of m samples of n scenarios."""
    out = []
    for seed in range(seeds):
        rng = stream(seed, "test.coverage")
        gaps = [replicate(program.draw(n, rng), x, engine="extensive").gap_eur for _ in range(m)]
        out.append(gap_bound(np.array(gaps)).upper_eur)
    return np.array(out)


def test_a_few_certificates_of_a_poor_farm_hold_its_true_gap() -> None:
    x = np.array([120.0, 80.0, 300.0])
    assert np.mean(bounds(farmer(), x, n=6, m=5, seeds=12) >= 1150.0) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("x", [(1800.0, 1571.42857143), (2200.0, 1300.0), (1000.0, 1000.0)])
def test_the_level_is_kept_on_a_finite_population_whose_gap_is_known(x: tuple[float, ...]) -> None:
    """APL1P has 1280 scenarios, so that the true gap is computed; 95 % less four deviations."""
    point = np.array(x)
    true_gap = evaluate_first_stage(apl1p().blocks(), point).cost - APL1P_OPTIMUM
    covered = bounds(apl1p(), point, n=10, m=8, seeds=200) >= true_gap - 1e-2
    assert np.mean(covered) >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / 200)


# -- the program ----------------------------------------------------------------------------------
def quick(store: Path, *overrides: str) -> Config:
    """Day-ahead alone and three scenarios of the reference market: part of a second a solve."""
    closed = [f"markets.{name}.enabled=false" for name in ("intraday", "fcr", "afrr")]
    set_up = [f"report.store_dir={store}", "scenarios.n=3", "solver.gap_frac=0.001", *closed]
    return load_config(None, [*set_up, *overrides])


def of(config: Config, **options: object) -> Certification:
    asked: dict[str, object] = {"replications": 2, "out_of_sample": 6, **options}
    return certify(config, **asked)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certify") / "runs"


@pytest.fixture(scope="module")
def found(store: Path) -> Certification:
    return of(quick(store))


@pytest.fixture(scope="module")
def idle(store: Path) -> Certification:
    """The certificate of offering nothing."""
    return of(quick(store), first_stage={})


def told(found: Certification) -> str:
    """All that a certificate says but what was kept; NaN is equal to itself in a text."""
    return str(replace(found, kept=0))


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No config.yaml and no store but those that a test makes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    yield


def test_a_certificate_has_the_parts_that_it_was_asked_for(found: Certification) -> None:
    assert found.synthetic and found.population.atoms == 60 and found.kept == 0
    assert found.decided_on == found.n_scenarios == 3
    assert found.value.n == 6 and len(found.replications) == 2 and found.run_id
    for one in found.replications:
        assert one.best_ub_eur >= one.best_lb_eur >= one.candidate_eur - 1e-6
        assert 0 <= one.unproven_eur <= one.gap_eur
    assert found.gap.upper_eur >= found.gap.mean_eur > 0
    assert found.gap_frac == pytest.approx(found.gap.upper_eur / abs(found.value.mean_eur))


def test_what_is_kept_is_not_computed_again_and_gives_the_same(
    store: Path, found: Certification
) -> None:
    assert replace(of(quick(store)), kept=0) == found
    again = of(quick(store))
    assert again.kept == 3


def test_more_replications_and_more_scenarios_to_price_on_keep_what_is_there(
    store: Path, idle: Certification
) -> None:
    more = of(quick(store), first_stage={}, replications=4)
    assert more.kept == 3
    assert more.replications[:2] == idle.replications
    assert more.value == idle.value
    assert len({one.candidate_eur + one.best_ub_eur for one in more.replications}) == 4


def test_an_interrupted_certificate_goes_on_where_it_stopped(
    tmp_path: Path, idle: Certification
) -> None:
    def stop(stage: str, detail: str) -> None:
        if stage == "replicate" and detail.startswith("2 "):
            raise KeyboardInterrupt

    config = quick(tmp_path / "runs")
    with pytest.raises(KeyboardInterrupt):
        of(config, first_stage={}, progress=stop)
    (kept,) = (tmp_path / "runs" / "certify").iterdir()
    with kept.open("a", encoding="utf-8") as file:
        file.write('{"key": "cut sho')  # a kill in the middle of a line
    resumed = of(config, first_stage={})
    assert resumed.kept == 1
    assert told(resumed) == told(idle)
    assert of(config, first_stage={}).kept == 3


def test_parts_are_those_of_the_decision_and_of_the_effort(
    store: Path, found: Certification, idle: Certification
) -> None:
    assert idle.kept == 0 and idle.run_id == "" and np.isnan(idle.in_sample_eur)
    assert idle.replications[0].best_ub_eur == pytest.approx(
        found.replications[0].best_ub_eur, rel=2e-3
    )
    assert of(quick(store, "solver.gap_frac=0.002"), first_stage={}).kept == 0


def test_nothing_is_stored_unless_it_may_be(tmp_path: Path) -> None:
    of(quick(tmp_path / "runs", "scenarios.n=1"), first_stage={}, store=False)
    assert not (tmp_path / "runs").exists()


def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way", encoding="utf-8")
    with pytest.raises(StoreError, match="certify"):
        of(quick(tmp_path / "runs"), first_stage={})


def test_samples_share_no_stream_with_the_scenarios_of_the_decision(store: Path) -> None:
    config = quick(store, "scenarios.n=8")
    market = open_market(config)
    case, series, population = draw_population(config, market, 8)
    own = build_case(config, market)
    prices, drawn = own.series["day_ahead_eur_mwh"], series["day_ahead_eur_mwh"]
    # The same past days come in both, as they must; not in the same order.
    assert not (drawn[:8] == prices).all(axis=1).all()
    # Models would stay fitted as they were: the seed of the configuration is not the draw's.
    assert case.config.seed == own.config.seed
    assert "with replacement" in case.scenarios.provenance["drawn"]
    assert "60 past days" in population.note
    # The generator sorts days by date; a sample must not be the oldest of them.
    names = [name.split("#")[0] for name in case.scenarios.names]
    assert names == sorted(names)
    assert len(drawn) == 64
    order = case.series["day_ahead_eur_mwh"]
    place = [int(np.flatnonzero((order == row).all(axis=1))[0]) for row in drawn]
    assert place != sorted(place)


def test_the_samples_of_a_reduced_set_are_not_reduced(store: Path) -> None:
    config = quick(store, "scenarios.reduce_from=40")
    case, series, _ = draw_population(config, open_market(config), 100)
    assert case.probability == pytest.approx(np.full(128, 1 / 128))
    assert all(len(values) == 128 for values in series.values())


@pytest.fixture(scope="module")
def from_file(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, float]:
    """A file of four scenarios, and the true gap of doing nothing, by solving all of it."""
    path = tmp_path_factory.mktemp("set") / "four.parquet"
    config = quick(store, "scenarios.n=4")
    case = build_case(config)
    write_scenarios(case.scenarios, path)
    config = quick(store, "scenarios.source=file", f"scenarios.file={path}", "scenarios.n=4")
    problem, effort = Problem(case.data, "two-stage"), effort_of(config)
    best = problem.decide(case.series, case.probability, effort)
    idle = problem.evaluate(case.series, case.probability, {}, effort)
    return config, best.profit_lb_eur - idle.profit_lb_eur


def test_the_bound_holds_the_true_gap_of_a_finite_set(from_file: tuple[Config, float]) -> None:
    config, true_gap = from_file
    found = of(config, first_stage={}, replications=3)
    assert true_gap > 10.0
    assert true_gap <= found.gap.upper_eur <= 3 * true_gap
    assert found.population.source == "file" and found.population.atoms == 4
    assert found.value.mean_eur == 0.0 and found.needed is None


def test_a_file_is_drawn_from_by_its_weights(store: Path, tmp_path: Path) -> None:
    scenarios = build_case(quick(store)).scenarios
    weighted = replace(scenarios, probability=np.array([0.7, 0.1, 0.2]))
    write_scenarios(weighted, tmp_path / "three.parquet")
    config = quick(store, "scenarios.source=file", f"scenarios.file={tmp_path / 'three.parquet'}")
    case, series, _ = draw_population(config, open_market(config), 2000)
    drawn, known = series["day_ahead_eur_mwh"], case.series["day_ahead_eur_mwh"]
    shares = [float(np.mean((drawn == row).all(axis=1))) for row in known]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.04)


def test_what_is_asked_of_scenarios_is_part_of_the_key() -> None:
    series = {"a": np.arange(6.0).reshape(2, 3), "b": np.ones((2, 1))}
    key = part_key("replication", series)
    assert key == part_key("replication", dict(reversed(series.items())))
    assert key != part_key("profit", series)
    assert key != part_key("replication", {**series, "b": np.full((2, 1), 1.0 + 1e-15)})


@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        ([], {"replications": 1}, "1 replications and 6 scenarios"),
        ([], {"out_of_sample": 1}, "1 scenarios out of sample"),
        ([], {"target_frac": 0.0}, "target 0 of the profit"),
        (["risk.cvar_weight=0.5"], {}, "certificate is one of expected"),
        (["scenarios.source=realised"], {}, "one scenario and no sample"),
    ],
)
def test_what_cannot_be_certified_is_refused_before_the_work(
    tmp_path: Path, overrides: list[str], options: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        of(quick(tmp_path / "runs", *overrides), **options)
    assert not (tmp_path / "runs").exists()


# -- the command ----------------------------------------------------------------------------------
def program() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    add_certify(app)
    return app


def test_the_command_prints_at_most_100_columns_and_the_same_numbers_as_json(store: Path) -> None:
    typed = ["certify", "--n-scenarios", "3", "--gap", "0.001", "--markets", "day-ahead"]
    typed += ["--replications", "2", "--out-of-sample", "6", "--store", str(store), "--quiet"]
    printed = CliRunner().invoke(program(), typed)
    assert printed.exit_code == 0, printed.output
    assert max(len(line) for line in printed.stdout.splitlines()) <= 100
    said = json.loads(CliRunner().invoke(program(), [*typed, "--json"]).stdout)
    assert said["kept"] == 3
    assert f"[0, {said['gap']['upper_eur']:,.2f}] EUR" in printed.stdout
    assert f"{said['out_of_sample']['mean_eur']:,.2f} ± " in printed.stdout
    assert f"{said['needed']['slow']:,}, if the bias" in printed.stdout
    assert "SYNTHETIC DATA" in printed.stdout and said["synthetic"] is True


def test_bad_numbers_end_the_command_with_the_exit_code_of_the_configuration() -> None:
    ended = CliRunner().invoke(program(), ["certify", "--replications", "1", "--quiet"])
    assert ended.exit_code == 2
    assert "expected at least 2 of each" in ended.stderr


def test_remarks_say_what_limits_the_certificate(
    found: Certification, capsys: pytest.CaptureFixture[str]
) -> None:
    said = " ".join(remarks(found))
    assert "nothing is said of days unlike them" in said and "more draws repeat its days" in said
    assert "2 replications make a wide interval" in said and "time limit" not in said
    many = replace(found.gap, replications=10, std_eur=0.0)
    limited = replace(found, gap=many, cut_short=True)
    said = " ".join(remarks(limited))
    assert "decides on all scenarios of the file" not in said
    assert "All samples agree" in said and "A time limit ended a solve" in said
    assert document(limited)["cut_short"] is True
    assert found.needed is not None
    met = replace(found, needed=replace(found.needed, target_eur=found.gap.upper_eur, slow=3))
    with page() as out:
        show_certification(out, met)
    assert "3 as now: the bound is below" in capsys.readouterr().out
    of_file = replace(found, population=Population("file", 4, "four"))
    assert "decides on all scenarios of the file" in " ".join(remarks(of_file))


def test_the_part_left_by_the_solver_is_never_more_than_the_gap() -> None:
    assert Replication(10.0, 4.0, 7.0).unproven_eur == 3.0
    assert Replication(10.0, 9.0, 7.0).unproven_eur == 1.0
    assert solve_two_stage(
        farmer().blocks(), gap_frac=1e-9, time_limit_s=9.0, engine="extensive"
    ).x == pytest.approx(FARMER_X)
