"""Scenario sets of many days, one file a day, by several processes, and again where they stopped.

A day is skipped if its file is whole and was made from the same request: configuration, market
data and code. Files are written in one step, so that a process may end at any moment. The content
of a file depends on its day alone, not on who makes it or in which order.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stochbess.config import Config
from stochbess.errors import DataError, ScenarioError, StochbessError
from stochbess.run_record import code_sha256

if TYPE_CHECKING:
    from stochbess.market.data import MarketData
    from stochbess.scenario_gen.scenarios import ScenarioSet

REQUEST = "request_sha256"
_POLL_S = 1.0


@dataclass(frozen=True)
class DayFile:
    """What became of one day: `status` is "made", "kept" or "failed" (and `error` says why)."""

    day: date
    path: Path
    status: str
    error: str = ""
    exit_code: int = 0


def day_path(folder: Path, day: date) -> Path:
    """File of the scenario set of `day`."""
    return folder / f"{day.isoformat()}.parquet"


def of_day(config: Config, day: date) -> Config:
    """The configuration with `day` as its only delivery day."""
    market = config.market.model_copy(update={"day": day, "n_days": 1})
    return config.model_copy(update={"market": market})


@dataclass(frozen=True)
class _Job:
    """What the files of all days have in common; `code` is that of whoever began."""

    config: Config
    folder: Path
    code: str


def request_sha256(config: Config, market: MarketData, code: str) -> str:
    """Hash of all that the scenario set of `config` depends on; `code` is `code_sha256()`."""
    # Where runs are kept and how hard a solver tries is no part of the scenarios.
    plain = Config()
    same = config.model_copy(update={"report": plain.report, "solver": plain.solver})
    parts = f"{same.sha256} {market.sha256} {code}"
    return hashlib.sha256(parts.encode()).hexdigest()


def generate_days(
    config: Config,
    first: date,
    last: date,
    folder: Path,
    workers: int = 1,
    progress: Callable[[DayFile, int, int], None] | None = None,
) -> list[DayFile]:
    """A scenario file for each day from `first` to `last`, whatever the configured day is.

    Parameters
    ----------
    folder : exists; files are called YYYY-MM-DD.parquet
    workers : processes; each takes consecutive days, so that the fit of a week is made once
    progress : called with each finished day, the number of finished days and that of all

    Returns
    -------
    One `DayFile` per day, in order. A day that cannot be made is among them as "failed" and does
    not stop the others.
    """
    days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    shares = _shares(days, workers)
    job = _Job(config, folder, code_sha256())
    items = _in_process(job, days) if len(shares) == 1 else _by_processes(job, shares)
    found: dict[date, DayFile] = {}
    for item in items:
        found[item.day] = item
        if progress is not None:
            progress(item, len(found), len(days))
    return [found[day] for day in days]


def _shares(days: Sequence[date], workers: int) -> list[list[date]]:
    """Consecutive days for each worker; a week is not split."""
    weeks: dict[date, list[date]] = {}
    for day in days:
        weeks.setdefault(day - timedelta(days=day.weekday()), []).append(day)
    blocks = list(weeks.values())
    n = max(1, min(workers, len(blocks)))
    edges = [round(k * len(blocks) / n) for k in range(n + 1)]
    return [[day for week in blocks[a:b] for day in week] for a, b in pairwise(edges)]


def _in_process(job: _Job, days: Sequence[date]) -> Iterator[DayFile]:
    from stochbess.assemble import open_market

    market = open_market(job.config)
    for day in days:
        yield _one_day(job, market, day)


def _one_day(job: _Job, market: MarketData, day: date) -> DayFile:
    from stochbess.assemble import build_case
    from stochbess.scenario_gen.scenario_file import write_scenarios

    config, path = of_day(job.config, day), day_path(job.folder, day)
    request = request_sha256(config, market, job.code)
    try:
        if _is_made(path, request):
            return DayFile(day, path, "kept")
        found = build_case(config, market).scenarios
        write_scenarios(requested(found, request), path)
    except StochbessError as error:
        return DayFile(day, path, "failed", str(error), error.exit_code)
    return DayFile(day, path, "made")


def requested(scenarios: ScenarioSet, request: str) -> ScenarioSet:
    """The set with the hash of its request in the provenance."""
    return replace(scenarios, provenance={**scenarios.provenance, REQUEST: request})


def _is_made(path: Path, request: str) -> bool:
    """Whether the file is whole and answers this request."""
    from stochbess.scenario_gen.scenario_file import read_scenarios

    if not path.is_file():
        return False
    try:
        return read_scenarios(path).provenance.get(REQUEST) == request
    except ScenarioError:
        return False  # damaged: it is made again


def _by_processes(job: _Job, shares: Sequence[Sequence[date]]) -> Iterator[DayFile]:
    context = multiprocessing.get_context("spawn")
    done: Any = context.Queue()
    workers = [
        context.Process(target=_work, args=(job, list(share), done), daemon=True)
        for share in shares
    ]
    left = sum(len(share) for share in shares)
    try:
        for worker in workers:
            worker.start()
        while left:
            try:
                item = done.get(timeout=_POLL_S)
            except queue.Empty:
                if all(worker.exitcode is not None for worker in workers) and done.empty():
                    codes = ", ".join(str(worker.exitcode) for worker in workers)
                    raise ScenarioError(
                        f"the processes that make scenarios ended with {codes}, {left} days "
                        "before the end. Start again: what is made is kept; fewer --workers need "
                        "less memory."
                    ) from None
                continue
            if isinstance(item, StochbessError):
                raise item
            left -= 1
            yield item
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
        for worker in workers:
            if worker.pid is not None:
                worker.join()


def _work(job: _Job, days: Sequence[date], done: Any) -> None:
    """A process of its own with its share of the days; its starter ends it on an interrupt."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for item in _in_process(job, days):
            done.put(item)
    except StochbessError as error:
        done.put(DataError(str(error)))
