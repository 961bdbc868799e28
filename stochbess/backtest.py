"""Walk-forward backtests: policies that live the same days, one day after the other.

Days of one policy follow each other, because each begins where the last one ended; policies do not
know each other and run in processes of their own. What is done is in the store, so that a backtest
which was interrupted or killed goes on where it stopped, to the same bytes.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stochbess.backtest_policies import FORESIGHT, IDLE, POLICIES, rolling_intrinsic
from stochbess.backtest_state import State, record_of, state_of
from stochbess.clock import cpu_s, monotonic_s
from stochbess.config import Config
from stochbess.errors import ConfigError, DataError, StochbessError
from stochbess.rolling_forecast import Information
from stochbess.run_record import canonical_json, code_sha256
from stochbess.store_backtest import BacktestStore

if TYPE_CHECKING:
    import pandas as pd

    from stochbess.backtest_step import Engine
    from stochbess.market.data import MarketData

Progress = Callable[[str, str], None]
_POLL_S = 1.0
_FORM = 1  # of the rows that are kept


@dataclass(frozen=True)
class Request:
    """What is to be backtested.

    Attributes
    ----------
    config : prices, battery, scenarios, effort; its delivery day is ignored
    policies : names of `POLICIES`, or "idle", or "perfect-foresight" (a bound)
    first, last : delivery days, both included
    every, block : `block` days in a row of every `every` * `block` days, from the first on
    information : who knows what when, while a day goes on
    """

    config: Config
    policies: tuple[str, ...]
    first: date
    last: date
    every: int = 1
    block: int = 1
    information: Information = field(default_factory=Information)

    def __post_init__(self) -> None:
        known = (IDLE, *POLICIES, FORESIGHT)
        odd = [name for name in self.policies if name not in known]
        if odd or not self.policies or len(dict.fromkeys(self.policies)) < len(self.policies):
            raise ConfigError(
                f"--policy {','.join(self.policies)}: found {', '.join(odd) or 'none or a repeat'};"
                f" expected some of {', '.join(known)}, each once."
            )
        if self.last < self.first:
            raise ConfigError(
                f"--to {self.last} lies before --from {self.first}; expected the last day of the "
                "backtest."
            )
        if self.every < 1 or self.block < 1:
            raise ConfigError(
                f"--every {self.every} --block {self.block}: expected whole numbers from 1 on."
            )
        source = self.config.scenarios.source
        if source not in ("analog", "model"):
            raise ConfigError(
                f"scenarios.source = {source}: a backtest makes the scenarios of every day at its "
                "gate; expected analog or model. Perfect foresight is a policy (--policy "
                f"{FORESIGHT})."
            )
        if self.config.battery.state.commitments:
            raise ConfigError(
                "battery.state.commitments belong to a single day; a backtest makes its own. "
                "Remove them."
            )

    @property
    def days(self) -> tuple[date, ...]:
        """The days that are lived."""
        every = range((self.last - self.first).days + 1)
        chosen = (d for d in every if d % (self.every * self.block) < self.block)
        return tuple(self.first + timedelta(days=d) for d in chosen)

    @property
    def walked(self) -> tuple[str, ...]:
        """Policies that live the days; perfect foresight is a bound of them all."""
        return tuple(name for name in self.policies if name != FORESIGHT)

    def identity(self, market: MarketData) -> str:
        """Hash of all that a day depends on besides policy, day and state."""
        from stochbess.engine.highs import version as solver_version  # help answers without it

        config = backtest_config(self.config)
        report = config.report.model_copy(update={"store_dir": Path("runs")})
        parts = {
            "config": config.model_copy(update={"report": report}).sha256,
            "market": market.sha256,
            "code": code_sha256(),
            "solver": solver_version(),
            "first": self.first.isoformat(),
            "information": [
                self.information.lead_min,
                self.information.intraday_prices,
                self.information.safety_frac,
            ],
            "form": _FORM,
        }
        return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:16]


def backtest_config(config: Config) -> Config:
    """`config` without a delivery day, solved by one thread: processes are the parallelism."""
    return config.model_copy(
        update={
            "market": config.market.model_copy(update={"day": None, "n_days": 1}),
            "solver": config.solver.model_copy(update={"threads": 1}),
        }
    )


@dataclass(frozen=True, eq=False)
class Backtest:
    """What became of a request.

    Attributes
    ----------
    identity : hash of configuration, data, code and information
    zone, synthetic, data_sha256, power_mw : what it was about
    days : one row per policy and day; `cash_*` are the lines of the settlement [EUR]
    bound_eur : perfect foresight over all days, proven; None unless it was asked for
    assumptions : what the results rest on and no source verifies
    computed : rows that were not in the store
    cpu_s_per_day : policy -> processor time per day [s]
    """

    request: Request
    identity: str
    zone: str
    synthetic: bool
    data_sha256: str
    power_mw: float
    days: pd.DataFrame
    bound_eur: float | None
    assumptions: tuple[str, ...]
    computed: int
    cpu_s_per_day: dict[str, float]

    @property
    def reproducible(self) -> bool:
        """Whether no wall-clock limit ended a solve."""
        return not bool(self.days["cut_short"].any()) if len(self.days) else True


@dataclass(frozen=True)
class _Done:
    policy: str
    day: date
    computed: bool


def backtest(
    request: Request,
    *,
    workers: int = 1,
    market: MarketData | None = None,
    progress: Progress | None = None,
) -> Backtest:
    """Live all days under all policies; what the store holds is read back.

    Parameters
    ----------
    workers : processes; each takes policies, so more than there are policies do not help
    market : market data already read; only with one worker

    Raises
    ------
    StochbessError : a day cannot be decided or settled; what was done before is in the store
    """
    from stochbess.assemble import open_market

    tell: Progress = progress or (lambda stage, detail: None)
    if workers > 1 and market is not None:
        raise ConfigError("market data that are already read go with one worker only.")
    tell("data", "reading market data")
    market = open_market(request.config) if market is None else market
    names, days = request.walked, request.days
    total, computed = len(names) * len(days), 0
    began_s = monotonic_s()
    shares = [list(names[k::workers]) for k in range(min(workers, len(names)))]
    items = (
        _walked(request, market, names)
        if len(shares) <= 1
        else _by_processes(request, shares, total)
    )
    for done, item in enumerate(items, start=1):
        computed += item.computed
        left_s = (monotonic_s() - began_s) / computed * (total - done) if computed else 0.0
        detail = f"{item.policy} {item.day}, {done} of {total}, about {_span(left_s)} left"
        tell("days", detail)
    return _collected(request, market, computed, tell)


def _span(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def day_key(identity: str, policy: str, day: date, state: State) -> str:
    """Key of a row: what it was computed from."""
    text = canonical_json([identity, policy, day.isoformat(), state.sha256])
    return hashlib.sha256(text.encode()).hexdigest()


def _engine(request: Request, market: MarketData) -> Engine:
    from stochbess.backtest_step import Engine

    return Engine(backtest_config(request.config), market, request.information, request.first)


def _walked(request: Request, market: MarketData, names: Sequence[str]) -> Iterator[_Done]:
    """Live the days of some policies, one policy after the other."""
    engine, identity = _engine(request, market), request.identity(market)
    with BacktestStore(request.config.report.store_dir) as store:
        for name in names:
            state = engine.start
            for day in request.days:
                key = day_key(identity, name, day, state)
                known = store.find(key)
                if known is None:
                    started = cpu_s()
                    policy = POLICIES.get(name, rolling_intrinsic)  # "idle" is not asked
                    outcome = engine.step(name, policy, day, state)
                    content = {"row": outcome.row, "state": record_of(outcome.state)}
                    store.add(key, identity, name, day.isoformat(), content, cpu_s() - started)
                    state = outcome.state
                else:
                    state = state_of(known["state"])
                yield _Done(name, day, known is None)


def _collected(request: Request, market: MarketData, computed: int, tell: Progress) -> Backtest:
    """Read the rows of all policies back from the store, in the order of the request."""
    engine, identity = _engine(request, market), request.identity(market)
    rows: list[dict[str, Any]] = []
    bound = None
    with BacktestStore(request.config.report.store_dir) as store:
        for name in request.walked:
            state = engine.start
            for day in request.days:
                content = store.find(day_key(identity, name, day, state))
                if content is None:
                    raise DataError(f"{name} on {day} is missing in {store.path}; start again.")
                rows.append(content["row"])
                state = state_of(content["state"])
        if FORESIGHT in request.policies:
            from stochbess.backtest_bound import foresight_bound

            bound, fresh = foresight_bound(engine, request.days, store, identity, tell)
            computed += fresh
        spent = store.cpu_s(identity)
    return Backtest(
        request=request,
        identity=identity,
        zone=market.zone,
        synthetic=market.synthetic,
        data_sha256=market.sha256,
        power_mw=request.config.battery.power_mw,
        days=day_table(rows),
        bound_eur=bound,
        assumptions=tuple(dict.fromkeys(text for row in rows[:1] for text in row["assumptions"])),
        computed=computed,
        cpu_s_per_day={name: spent[name] for name in request.walked if name in spent},
    )


def day_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows of the store as a table: plain columns, `cash_*`, `loss_*`, lot hours by product."""
    import pandas as pd

    flat = []
    for row in rows:
        one = {name: value for name, value in row.items() if not isinstance(value, dict | list)}
        one |= {f"cash_{line}": eur for line, eur in row["cash"].items()}
        one |= {f"loss_{law}": frac for law, frac in row["loss_frac"].items()}
        one["breaches"] = "; ".join(row["breaches"])
        for product in ("fcr", "afrr_up", "afrr_down"):
            lots = (v for n, v in row["first_stage"].items() if n.startswith(f"{product}_lots["))
            one[f"{product}_lots"] = float(sum(lots))
        flat.append(one)
    return pd.DataFrame(flat)


def _by_processes(request: Request, shares: Sequence[Sequence[str]], total: int) -> Iterator[_Done]:
    context = multiprocessing.get_context("spawn")
    done: Any = context.Queue()
    workers = [
        context.Process(target=_work, args=(request, list(share), done), daemon=True)
        for share in shares
    ]
    left = total
    try:
        for worker in workers:
            worker.start()
        while left:
            try:
                item = done.get(timeout=_POLL_S)
            except queue.Empty:
                if all(worker.exitcode is not None for worker in workers) and done.empty():
                    codes = ", ".join(str(worker.exitcode) for worker in workers)
                    raise DataError(
                        f"the processes of the backtest ended with {codes}, {left} days before the "
                        "end. Start again: what is done is kept; fewer --workers need less memory."
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


def _work(request: Request, names: Sequence[str], done: Any) -> None:
    """A process of its own with its share of the policies; its starter ends it on an interrupt."""
    import signal

    from stochbess.assemble import open_market

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for item in _walked(request, open_market(request.config), names):
            done.put(item)
    except StochbessError as error:
        done.put(error)


def with_depth(request: Request, depth_mw: float) -> Request:
    """The same request with bids that stand `depth_mw` deep in the merit order of aFRR."""
    afrr = request.config.markets.afrr.model_copy(update={"depth_mw": depth_mw})
    markets = request.config.markets.model_copy(update={"afrr": afrr})
    return replace(request, config=request.config.model_copy(update={"markets": markets}))
