"""How many scenarios it takes until the optimum no longer depends on which ones were drawn.

The configured two-stage problem is solved on scenario sets of several seeds. *In sample*, the
spread of the optimal values is looked at; *out of sample*, the values that the decisions of the
seeds have on one common larger set of the same source (Kaut & Wallace 2007, Pacific Journal of
Optimization 3(2)). Models are fitted once, only the draws differ.

The spread of a sample mean falls with the square root of its size. Where the measured standard
deviations do not contradict that, the law says, as a labelled estimate, at which number the range
would be small enough.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.integrate import quad
from scipy.stats import chi2, norm

from stochbess.clock import cpu_s, monotonic_s
from stochbess.errors import ConfigError, DataError
from stochbess.run_record import code_sha256

if TYPE_CHECKING:
    from stochbess.assemble import Case
    from stochbess.config import Config
    from stochbess.decide import Problem
    from stochbess.market.data import MarketData

Floats = npt.NDArray[np.float64]
Told = Callable[[str, str], None]

MARK_FRAC = 0.02
SOURCES = ("analog", "model")
_REJECT = 0.05  # level of the test of the square-root law
_SEEDS = 2**31


@dataclass(frozen=True)
class Solve:
    """One solve: `n` scenarios drawn with the `draw`-th seed.

    Attributes
    ----------
    in_sample_eur : optimal value on its own scenarios, risk-adjusted as configured
    out_of_sample_eur : value of the decision on the common set
    request : hash of all that this depends on, other than `n` and `draw`
    """

    day: str
    source: str
    n: int
    draw: int
    in_sample_eur: float
    out_of_sample_eur: float
    gap_frac: float
    cpu_s: float
    request: str


@dataclass(frozen=True)
class Spread:
    """Spread of one number over seeds, in EUR; the range is the largest less the smallest."""

    mean_eur: float
    std_eur: float
    range_eur: float

    @property
    def std_frac(self) -> float:
        return self.std_eur / abs(self.mean_eur) if self.mean_eur else math.inf

    @property
    def range_frac(self) -> float:
        return self.range_eur / abs(self.mean_eur) if self.mean_eur else math.inf


@dataclass(frozen=True)
class Size:
    """All seeds of one number of scenarios."""

    n: int
    seeds: int
    in_sample: Spread
    out_of_sample: Spread
    gap_frac: float
    cpu_s: float


@dataclass(frozen=True)
class Enough:
    """From which number of scenarios on the range stays within the mark.

    Attributes
    ----------
    measured_n : smallest tried number from which on every tried one is within it; None = none
    estimate_n, low_n, high_n : where the square-root law puts the expected range on the mark, with
        its 95 % interval from the number of seeds; None where the law is rejected, or not needed
    p_value : of the law, by the scatter that so few seeds explain; NaN with one number of scenarios
    """

    measured_n: int | None
    estimate_n: int | None
    low_n: int | None
    high_n: int | None
    p_value: float


# ------------------------------------------------------------------------------------- solving


def solve_seeds(
    config: Config,
    market: MarketData,
    sizes: Sequence[int],
    seeds: int,
    reference_n: int,
    out: Path | None = None,
    tell: Told | None = None,
) -> list[Solve]:
    """Solve the configured two-stage problem for every number of scenarios and seed.

    Parameters
    ----------
    config : `scenarios.n` is replaced by each of `sizes`; draw k uses the seed `seed` + k
    reference_n : size of the common set, drawn with `seed` itself and not reduced
    out : JSON Lines; what it has already from the same request is not computed again, and every
        solve is written as soon as it is done
    tell : called with a stage and a text

    Raises
    ------
    ConfigError : a source without draws, or sizes and seeds that make no comparison
    DataError : `out` is not such a file
    """
    _require_comparable(config, sizes, seeds, reference_n)
    request = _request_sha256(config, market, reference_n)
    known = {} if out is None else _known(out, request)
    todo = [(n, k) for n in sizes for k in range(1, seeds + 1) if (n, k) not in known]
    if todo:
        work, began_s = _Work(config, market, request, reference_n), monotonic_s()
        for done, (n, k) in enumerate(todo):
            if tell is not None:
                spent_s = monotonic_s() - began_s
                tell("stability", f"{n} scenarios, seed {k} of {seeds}{_left(todo, done, spent_s)}")
            known[n, k] = work.solved(n, k)
            if out is not None:
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(known[n, k])) + "\n")
    return [known[n, k] for n in sizes for k in range(1, seeds + 1)]


def _left(todo: Sequence[tuple[int, int]], done: int, spent_s: float) -> str:
    """Remaining time if a solve takes as long as its number of scenarios; nothing at first."""
    if not done:
        return ""
    weight = [n for n, _ in todo]
    left_min = spent_s * sum(weight[done:]) / sum(weight[:done]) / 60
    return f", about {max(1, math.ceil(left_min))} min left"


class _Work:
    """The problem and the common set, which all solves share."""

    def __init__(self, config: Config, market: MarketData, request: str, reference_n: int) -> None:
        from stochbess.assemble import build_case
        from stochbess.decide import Problem
        from stochbess.engine.risk import Risk
        from stochbess.run import effort_of

        self._build, self._config, self._market = build_case, config, market
        self._request, self._effort = request, effort_of(config)
        self._risk = Risk(config.risk.cvar_weight, config.risk.cvar_level)
        self._common: Case = self._case(reference_n, 0, None)
        self._problem: Problem = Problem(self._common.data, "two-stage")

    def _case(self, n: int, k: int, reduce_from: int | None) -> Case:
        update = {"n": n, "reduce_from": reduce_from}
        scenarios = self._config.scenarios.model_copy(update=update)
        config = self._config.model_copy(update={"scenarios": scenarios})
        return self._build(config, self._market, draw_seed=(config.seed + k) % _SEEDS)

    def solved(self, n: int, k: int) -> Solve:
        began_s = cpu_s()
        case = self._case(n, k, self._config.scenarios.reduce_from)
        found = self._problem.decide(case.series, case.probability, self._effort, risk=self._risk)
        spent_s, common = cpu_s() - began_s, self._common
        met = self._problem.evaluate(
            common.series, common.probability, found.first_stage, self._effort
        )
        return Solve(
            day=str(case.horizon.first_day),
            source=source_name(self._config),
            n=n,
            draw=k,
            in_sample_eur=found.profit_lb_eur,
            out_of_sample_eur=-self._risk.of_cost(-met.scenario_profit_eur, common.probability),
            gap_frac=found.gap_frac,
            cpu_s=round(spent_s, 2),
            request=self._request,
        )


def source_name(config: Config) -> str:
    """Source of the scenarios in words, as in "model, reduced from 200"."""
    larger = config.scenarios.reduce_from
    return config.scenarios.source + ("" if larger is None else f", reduced from {larger}")


def _require_comparable(config: Config, sizes: Sequence[int], seeds: int, reference_n: int) -> None:
    if config.markets.day_ahead.curve_points > 1 or config.markets.afrr.bid_menu:
        raise ConfigError(
            "prices of offers differ between seeds, so that their decisions cannot be compared; "
            "set markets.day_ahead.curve_points=1 and markets.afrr.bid_menu=[]."
        )
    source, larger = config.scenarios.source, config.scenarios.reduce_from
    if source not in SOURCES:
        raise ConfigError(
            f"scenarios.source={source} gives the same scenarios for every seed. Use one of "
            f"{', '.join(SOURCES)}."
        )
    most = math.inf if larger is None else larger
    if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] > most:
        limit = "" if larger is None else f" up to scenarios.reduce_from={larger}"
        raise ConfigError(
            f"numbers of scenarios {', '.join(map(str, sizes)) or 'none'}: expected rising whole "
            f"numbers from 1{limit}, e.g. 10,20,50."
        )
    if seeds < 2:
        raise ConfigError(f"{seeds} seeds: a spread needs at least 2, expected e.g. 10.")
    if reference_n < sizes[-1]:
        raise ConfigError(
            f"a common set of {reference_n} scenarios: expected at least the largest number that "
            f"is tried, {sizes[-1]}."
        )


def _request_sha256(config: Config, market: MarketData, reference_n: int) -> str:
    """Hash of all that a solve depends on, other than its number of scenarios and its seed."""
    from stochbess.engine.highs import version as solver_version  # help answers without it

    plain = type(config)()
    scenarios = config.scenarios.model_copy(update={"n": plain.scenarios.n})
    same = config.model_copy(update={"scenarios": scenarios, "report": plain.report})
    text = f"{same.sha256} {market.sha256} {code_sha256()} {solver_version()} {reference_n}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _known(out: Path, request: str) -> dict[tuple[int, int], Solve]:
    """Solves of this request that the file has; those of others stay in it."""
    return {(row.n, row.draw): row for row in read_solves(out) if row.request == request}


def read_solves(path: Path) -> list[Solve]:
    """All solves of a file, none if it does not exist; DataError where it is something else."""
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append(Solve(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{path}, line {number}: expected one solve of `stochbess scenarios stability`. "
                "Name another file, or delete the line if it was cut off."
            ) from error
    return found


# ----------------------------------------------------------------------------------- what it says


def sizes_of(solves: Sequence[Solve]) -> list[Size]:
    """Spread over the seeds for every number of scenarios, in rising order."""
    found = []
    for n in sorted({row.n for row in solves}):
        rows = [row for row in solves if row.n == n]
        found.append(
            Size(
                n=n,
                seeds=len(rows),
                in_sample=_spread([row.in_sample_eur for row in rows]),
                out_of_sample=_spread([row.out_of_sample_eur for row in rows]),
                gap_frac=max(row.gap_frac for row in rows),
                cpu_s=float(np.mean([row.cpu_s for row in rows])),
            )
        )
    return found


def _spread(values: Sequence[float]) -> Spread:
    return Spread(
        float(np.mean(values)), float(np.std(values, ddof=1)), float(max(values) - min(values))
    )


def enough(sizes: Sequence[Size], mark_frac: float = MARK_FRAC) -> Enough:
    """From which number of scenarios on the in-sample range is within `mark_frac` of the mean.

    The law is std = c / sqrt(n), c by least squares of the logarithms. Its test compares their
    scatter about the law with that of a standard deviation from k normal values, whose logarithm
    has a variance of about 1 / (2 (k - 1)): chi-square with one degree of freedom less than there
    are numbers of scenarios. The expected range of k normal values is a multiple of their standard
    deviation (`range_factor`). The largest number tried gives the mean that the mark refers to.
    """
    measured = None
    for size in reversed(sizes):
        if size.in_sample.range_frac > mark_frac:
            break
        measured = size.n
    n = np.array([size.n for size in sizes], np.float64)
    std = np.array([size.in_sample.std_eur for size in sizes])
    variance = 1 / (2 * np.array([size.seeds - 1 for size in sizes], np.float64))
    if len(sizes) < 2 or not (std > 0).all():
        return Enough(measured, None, None, None, math.nan)
    level = np.log(std) + 0.5 * np.log(n)
    weight = 1 / variance / np.sum(1 / variance)
    log_c = float(weight @ level)
    p_value = float(chi2.sf(np.sum((level - log_c) ** 2 / variance), len(sizes) - 1))
    if measured is not None or p_value < _REJECT:
        return Enough(measured, None, None, None, p_value)
    allowed_eur = mark_frac * abs(sizes[-1].in_sample.mean_eur) / range_factor(sizes[-1].seeds)
    if allowed_eur == 0:
        return Enough(None, None, None, None, p_value)
    half = float(norm.ppf(0.975)) / math.sqrt(float(np.sum(1 / variance)))
    at = [math.ceil((math.exp(log_c + x) / allowed_eur) ** 2) for x in (0.0, -half, half)]
    return Enough(None, at[0], at[1], at[2], p_value)


@cache
def range_factor(k: int) -> float:
    """Expected range of `k` independent standard normal values, 3.078 for ten (Tippett 1925)."""

    def beyond(x: float) -> float:
        below = float(norm.cdf(x))
        return float(1.0 - below**k - (1.0 - below) ** k)

    return float(quad(beyond, -10.0, 10.0)[0])
