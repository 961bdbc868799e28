"""Is a decision good, or only good on its own scenarios? Statistical certificates.

A decision made on some scenarios is priced on scenarios that it has not seen, and set against the
best that could be had on fresh samples (docs/math.md, Sampling certificates). All samples are parts
of one draw that shares no random stream with the scenarios of the decision. Finished parts are
kept in the store, so that what was interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stochbess.assemble import Case, build_case, open_market
from stochbess.certify_store import PartStore
from stochbess.config import Config
from stochbess.decide import Problem
from stochbess.engine.highs import version as solver_version
from stochbess.engine.matrix import Blocks
from stochbess.engine.two_stage import Engine, evaluate_first_stage, solve_two_stage
from stochbess.errors import ConfigError
from stochbess.evaluate.sampling import (
    GapBound,
    MeanInterval,
    Needed,
    gap_bound,
    mean_interval,
    scenarios_needed,
)
from stochbess.market.data import MarketData
from stochbess.offers import first_stage_of
from stochbess.rng import stream
from stochbess.run import effort_of, solve
from stochbess.run_record import canonical_json, code_sha256

Floats = npt.NDArray[np.float64]
Series = dict[str, Floats]
Tell = Callable[[str, str], None]
# Scenarios of the out-of-sample value that are priced, and kept, at a time.
PART = 50


@dataclass(frozen=True)
class Replication:
    """One sample: bound of its best profit, a profit attained, and that of the decision [EUR]."""

    best_ub_eur: float
    best_lb_eur: float
    candidate_eur: float
    cut_short: bool = False

    @property
    def gap_eur(self) -> float:
        return self.best_ub_eur - self.candidate_eur

    @property
    def unproven_eur(self) -> float:
        """What the solver left open; never more than the whole gap."""
        return max(0.0, min(self.best_ub_eur - self.best_lb_eur, self.gap_eur))


@dataclass(frozen=True)
class Population:
    """What the samples are drawn from, and so all that a certificate speaks of.

    Attributes
    ----------
    source : of the scenarios
    atoms : number of distinct scenarios where it is finite and known; None otherwise
    note : one sentence for the reader
    """

    source: str
    atoms: int | None
    note: str


@dataclass(frozen=True)
class Certification:
    """Certificate of one here-and-now decision.

    Attributes
    ----------
    run_id : stored run that made the decision; "" if it was handed in
    n_scenarios : of every sample
    decided_on : scenarios that made the decision; 0 if it was handed in
    in_sample_eur : its expected profit on the scenarios that made it; NaN if it was handed in
    gap : bound of its optimality gap on the population
    value : its expected profit on scenarios drawn for this alone
    best : expected profit that no decision exceeds on average over samples, an estimate from above
    target_frac : wanted gap over the out-of-sample profit
    needed : scenarios for it
    kept : parts that the store had already
    cut_short : a time limit ended a solve; bounds hold, but repetition may differ
    """

    run_id: str
    n_scenarios: int
    decided_on: int
    in_sample_eur: float
    first_stage: dict[str, float]
    gap: GapBound
    value: MeanInterval
    best: MeanInterval
    target_frac: float
    needed: Needed | None
    population: Population
    replications: tuple[Replication, ...]
    zone: str
    day: str
    synthetic: bool
    kept: int
    cut_short: bool

    @property
    def gap_frac(self) -> float:
        """Bound of the gap over the out-of-sample profit."""
        return self.gap.upper_eur / max(1.0, abs(self.value.mean_eur))


def certify(
    config: Config,
    *,
    replications: int = 10,
    out_of_sample: int = 500,
    level: float = 0.95,
    target_frac: float = 0.01,
    first_stage: Mapping[str, float] | None = None,
    market: MarketData | None = None,
    store: bool = True,
    progress: Tell | None = None,
) -> Certification:
    """Certify the two-stage decision of `config`, or `first_stage`, by sampling.

    Parameters
    ----------
    replications : samples of `scenarios.n` scenarios that are solved, M
    out_of_sample : further scenarios on which the decision is priced, K
    level : confidence of the gap (one-sided) and of the value (two-sided)
    target_frac : gap for which the number of scenarios is planned, over the profit
    first_stage : variable name -> value; None = solve `config` as `run.solve` does, without worth
    store : keep the run and finished parts in `report.store_dir`, and use what is there

    Raises
    ------
    ConfigError : fewer than two replications or scenarios, CVaR in the objective, or scenarios
        that are not drawn (realised)
    StochbessError : as for `run.solve`
    """
    _require(config, replications, out_of_sample, target_frac)
    tell: Tell = progress or (lambda stage, detail: None)
    tell("data", "reading market data")
    market = open_market(config) if market is None else market
    run_id, decided_on, in_sample_eur = "", 0, float("nan")
    if first_stage is None:
        tell("decide", f"the decision on {config.scenarios.n} scenarios")
        run = solve(config, market=market, worth=False, store=store, progress=tell)
        first_stage = first_stage_of(run.frames)
        run_id, decided_on = run.run_id, len(run.frames["scenarios"])
        held = any(fact.name == "held_profit" for fact in run.facts)  # aging as the bounds count it
        in_sample_eur = float(run.fact("held_profit" if held else "profit").value or 0.0)
    n = config.scenarios.n
    tell("sample", f"drawing {replications} x {n} + {out_of_sample} scenarios")
    case, series, population = draw_population(config, market, replications * n + out_of_sample)
    parts = _Parts(case, config, dict(first_stage), store, tell)
    solved = [
        parts.replication(_rows(series, m * n, m * n + n), f"{m + 1} of {replications}")
        for m in range(replications)
    ]
    # Counted from the end: more replications, or more of these, leave both where they were.
    end = len(next(iter(series.values())))
    profit = [
        parts.profit(
            _rows(series, end - min(k + PART, out_of_sample), end - k), f"{k} of {out_of_sample}"
        )
        for k in range(0, out_of_sample, PART)
    ]
    gap = gap_bound(
        np.array([one.gap_eur for one in solved]),
        level,
        np.array([one.unproven_eur for one in solved]),
    )
    value = mean_interval(np.concatenate(profit), level)
    target_eur = target_frac * abs(value.mean_eur)
    return Certification(
        run_id=run_id,
        n_scenarios=n,
        decided_on=decided_on,
        in_sample_eur=in_sample_eur,
        first_stage=dict(first_stage),
        gap=gap,
        value=value,
        best=mean_interval(np.array([one.best_ub_eur for one in solved]), level),
        target_frac=target_frac,
        needed=scenarios_needed(gap, n, target_eur) if target_eur > 0 else None,
        population=population,
        replications=tuple(solved),
        zone=case.market.zone,
        day=case.horizon.first_day.isoformat(),
        synthetic=case.synthetic,
        kept=parts.kept,
        cut_short=any(one.cut_short for one in solved),
    )


def _require(config: Config, replications: int, out_of_sample: int, target_frac: float) -> None:
    if config.markets.day_ahead.curve_points > 1 or config.markets.afrr.bid_menu:
        raise ConfigError(
            "the certificate prices single quantities; set markets.day_ahead.curve_points=1 and "
            "markets.afrr.bid_menu=[]."
        )
    if replications < 2 or out_of_sample < 2:
        raise ConfigError(
            f"{replications} replications and {out_of_sample} scenarios out of sample; expected at "
            "least 2 of each, since their spread makes the interval."
        )
    if not 0 < target_frac < 1:
        raise ConfigError(f"target {target_frac:g} of the profit; expected between 0 and 1.")
    if config.risk.cvar_weight:
        raise ConfigError(
            f"risk.cvar_weight is {config.risk.cvar_weight:g}; the certificate is one of expected "
            "profit. Set it to 0, or do without."
        )
    if config.scenarios.source == "realised":
        raise ConfigError(
            "scenarios.source is realised: what happened is one scenario and no sample. Choose "
            "analog, model or a file (--scenarios)."
        )


# -- what is drawn from ---------------------------------------------------------------------------
def draw_population(config: Config, market: MarketData, n: int) -> tuple[Case, Series, Population]:
    """At least `n` scenarios for the model, drawn apart from those that `config` decides on.

    Their number is the next power of two, so that a few more wanted change none of them. Their
    root seed is the first number of the stream ``certify.population``, and the stream
    ``certify.order`` shuffles them, since generators sort: any part of them is a sample. A scenario
    file is drawn from with repetition by the stream ``certify.file``.
    """
    scenarios = config.scenarios
    n = 1 << (n - 1).bit_length()
    if scenarios.source == "file":
        case = build_case(config, market)
        chance = case.probability / case.probability.sum()
        order = stream(config.seed, "certify.file").choice(len(chance), n, p=chance)
        atoms = len(chance)
        note = f"the {atoms} scenarios of the file with their weights, drawn with repetition"
        return case, _take(case.series, order), Population("file", atoms, note)
    # Analog days are independent draws only if they are more than the days to draw from.
    while scenarios.source == "analog" and n <= scenarios.neighbours:
        n *= 2
    drawn = scenarios.model_copy(update={"n": n, "reduce_from": None})
    seed = int(stream(config.seed, "certify.population").integers(2**31))
    # Only the draws are new: models stay fitted with the seed of the run.
    case = build_case(config.model_copy(update={"scenarios": drawn}), market, draw_seed=seed)
    order = stream(config.seed, "certify.order").permutation(drawn.n)
    return case, _take(case.series, order), _population(case, drawn.n)


def _population(case: Case, n: int) -> Population:
    if case.config.scenarios.source == "model":
        note = (
            "the fitted models, which draw from more similar days the more scenarios are wanted: "
            f"here that of a draw of {n}"
        )
        return Population("model", None, note)
    atoms = int(case.scenarios.provenance["neighbours"].split()[0])
    note = (
        f"the {atoms} past days nearest to the delivery day with their weights, drawn with "
        "repetition; nothing is said of days unlike them"
    )
    return Population("analog", atoms, note)


def _take(series: Mapping[str, Floats], order: npt.NDArray[np.int64]) -> Series:
    return {name: np.asarray(values)[order] for name, values in series.items()}


def _rows(series: Mapping[str, Floats], start: int, stop: int) -> Series:
    return {name: values[start:stop] for name, values in series.items()}


# -- parts of the work ----------------------------------------------------------------------------
class _Parts:
    """Replications and prices of one decision, from the store or computed and kept there."""

    def __init__(
        self, case: Case, config: Config, first_stage: dict[str, float], store: bool, tell: Tell
    ) -> None:
        self.problem = Problem(case.data, "two-stage")
        self.config, self.first_stage, self.tell = config, first_stage, tell
        self.effort = effort_of(config)
        self.kept = 0
        place = config.report.store_dir if store else None
        self._store = PartStore(place, _identity(case, config, first_stage))

    def replication(self, series: Series, which: str) -> Replication:
        """Best profit on a sample, as a bound, and the profit of the decision on it (31c)."""
        self.tell("replicate", which)
        key = part_key("replication", series)
        known = self._store.find(key)
        if known is not None and len(known) == 4:
            self.kept += 1
            return Replication(known[0], known[1], known[2], bool(known[3]))
        chance = _uniform(series)
        best = self.problem.decide(
            series, chance, self.effort, engine=self.config.solver.engine, start=self.first_stage
        )
        own = self.problem.evaluate(series, chance, self.first_stage, self.effort)
        found = Replication(
            best.profit_ub_eur,
            best.profit_lb_eur,
            own.profit_lb_eur,
            best.outcome.hit_time_limit,
        )
        self._store.add(
            key, [found.best_ub_eur, found.best_lb_eur, found.candidate_eur, float(found.cut_short)]
        )
        return found

    def profit(self, series: Series, which: str) -> Floats:
        """Profit of the decision in every scenario."""
        self.tell("price", which)
        key = part_key("profit", series)
        known = self._store.find(key)
        chance = _uniform(series)
        if known is not None and len(known) == len(chance):
            self.kept += 1
            return np.array(known)
        own = self.problem.evaluate(series, chance, self.first_stage, self.effort)
        self._store.add(key, [float(profit) for profit in own.scenario_profit_eur])
        return own.scenario_profit_eur


def _uniform(series: Series) -> Floats:
    n = len(next(iter(series.values())))
    return np.full(n, 1 / n)


def _identity(case: Case, config: Config, first_stage: Mapping[str, float]) -> str:
    """Hash of all that a part depends on, besides its scenarios."""
    # Where results are kept and how many scenarios decide is no part of what a sample is worth.
    report = config.report.model_copy(update={"store_dir": Path("runs")})
    scenarios = config.scenarios.model_copy(update={"n": 1, "reduce_from": None})
    same = config.model_copy(update={"report": report, "scenarios": scenarios})
    parts = {
        "config": same.sha256,
        "market": case.market.sha256,
        "decision": {name: float(value) for name, value in first_stage.items()},
        "solver": solver_version(),
        "code": code_sha256(),
    }
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def part_key(kind: str, series: Series) -> str:
    """Hash of the scenarios of a part, and of what is asked of them."""
    digest = hashlib.sha256(kind.encode())
    for name in sorted(series):
        values = np.ascontiguousarray(series[name], dtype="<f8")
        digest.update(f"{name} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


# -- problems of the engine -----------------------------------------------------------------------
def replicate(
    block: Blocks, x: Floats, *, engine: Engine = "auto", gap_frac: float = 1e-9
) -> Replication:
    """A replication on any problem of the engine: `block` is a sample, `x` the decision."""
    best = solve_two_stage(block, gap_frac=gap_frac, time_limit_s=600.0, engine=engine)
    own = evaluate_first_stage(block, x)
    return Replication(-best.bound, -best.cost, -own.cost, best.hit_time_limit)
