"""Perfect foresight over all days of a backtest: one linear relaxation, and its proven bound.

The days are joined end to end, so that stored energy and open cycles go over midnight as they do
for every policy. Start, prices, costs, and the value of stored energy are those of the account.
Lots are divisible in it and charge and discharge may overlap, so that nothing that is possible is
left out (docs/math.md (145)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import numpy.typing as npt

from stochbess.assemble import Case, with_battery
from stochbess.backtest_state import config_at
from stochbess.backtest_step import Engine
from stochbess.clock import cpu_s
from stochbess.engine.matrix import blocks
from stochbess.engine.template import compile_template
from stochbess.engine.two_stage import solve_two_stage
from stochbess.errors import ConfigError
from stochbess.models.data import Asset, EnergyMarkets, Fees, Grid, ModelData, Reserves
from stochbess.models.deterministic import deterministic
from stochbess.run_record import canonical_json
from stochbess.store_backtest import BacktestStore

Floats = npt.NDArray[np.float64]
_NAME = "perfect-foresight"
_GAP_FRAC = 1e-6


def foresight_bound(
    engine: Engine,
    days: Sequence[date],
    store: BacktestStore,
    identity: str,
    tell: Callable[[str, str], None],
) -> tuple[float, bool]:
    """Most that any policy can have earned over `days` [EUR], and whether it had to be computed.

    Raises
    ------
    ConfigError : aging is priced by cuts, whose bound over many days is not implemented
    """
    if engine.config.aging.model == "cuts":
        raise ConfigError(
            "perfect foresight over many days needs aging.model none, throughput or segments; "
            "found cuts."
        )
    text = canonical_json([identity, _NAME, [day.isoformat() for day in days]])
    known = store.find(text)
    if known is not None:
        return float(known["bound_eur"]), False
    tell("bound", f"perfect foresight over {len(days)} days")
    started = cpu_s()
    data, series = joined(engine, days)
    block = blocks(compile_template(deterministic(data)), series, np.ones(1))
    found = solve_two_stage(
        block,
        gap_frac=_GAP_FRAC,
        time_limit_s=engine.config.solver.time_limit_s * len(days),
        threads=1,
        engine="extensive",
        relax=True,
    )
    bound = -found.bound
    content = {"bound_eur": bound}
    store.add(text, identity, _NAME, days[0].isoformat(), content, (cpu_s() - started) / len(days))
    return bound, True


def joined(engine: Engine, days: Sequence[date]) -> tuple[ModelData, dict[str, Floats]]:
    """Model data of all days end to end, and what happened on them, name -> (1, length)."""
    start = engine.start.actual
    cases = [_case_of(engine, day) for day in days]
    truths = [engine.truth(case) for case in cases]
    series = {name: np.concatenate([truth[name] for truth in truths], axis=1) for name in truths[0]}
    first, parts = engine.account.data, [case.data for case in cases]
    data = ModelData(
        grid=_grid([part.grid for part in parts]),
        asset=_asset(parts, start.energy_mwh),
        reserves=_reserves([part.reserves for part in parts]),
        energy=_energy([part.energy for part in parts]),
        fees=_fees([part.fees for part in parts]),
        terminal=first.terminal,
        aging=first.aging,
    )
    return data, series


def _case_of(engine: Engine, day: date) -> Case:
    """A day with the battery as it was before the first one; only its rules and limits count."""
    config = config_at(engine.config, day, engine.plant, engine.start.actual)
    return with_battery(engine.case_at_gate(day, engine.start.actual), config)


def _shifted(parts: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Indices that go on counting where the part before them ended."""
    out, base = [], 0
    for part in parts:
        out.append(part + base)
        base += int(part[-1]) + 1
    return np.concatenate(out)


def _grid(grids: Sequence[Grid]) -> Grid:
    return Grid(
        grids[0].dt_h,
        _shifted([grid.block_of_step for grid in grids]),
        np.concatenate([grid.block_hours for grid in grids]),
        _shifted([grid.day_ahead_of_step for grid in grids]),
        _shifted([grid.day_of_step for grid in grids]),
    )


def _asset(parts: Sequence[ModelData], start_mwh: float) -> Asset:
    return replace(
        parts[0].asset,
        energy_start_mwh=start_mwh,
        charge_limit_mw=np.concatenate([part.asset.charge_limit_mw for part in parts]),
        discharge_limit_mw=np.concatenate([part.asset.discharge_limit_mw for part in parts]),
    )


def _reserves(parts: Sequence[Reserves]) -> Reserves:
    return replace(
        parts[0],
        committed_fcr_mw=np.concatenate([part.committed_fcr_mw for part in parts]),
        committed_afrr_up_mw=np.concatenate([part.committed_afrr_up_mw for part in parts]),
        committed_afrr_down_mw=np.concatenate([part.committed_afrr_down_mw for part in parts]),
    )


def _energy(parts: Sequence[EnergyMarkets]) -> EnergyMarkets:
    sold = np.concatenate([part.committed_day_ahead_mw for part in parts])
    return replace(parts[0], committed_day_ahead_mw=sold)


def _fees(parts: Sequence[Fees]) -> Fees:
    return replace(
        parts[0],
        import_fee_eur_mwh=np.concatenate([part.import_fee_eur_mwh for part in parts]),
        export_fee_eur_mwh=np.concatenate([part.export_fee_eur_mwh for part in parts]),
        capacity_fee_eur=float(sum(part.capacity_fee_eur for part in parts)),
    )
