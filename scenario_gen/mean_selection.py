"""Fewer scenarios with the means of all: what a decision earns on average hangs on them.

The scenarios that lie in the middle of their neighbours (`reduction`) are the quiet ones. Calls are
rare and large, so a set of such medoids promises far fewer of them than the full set does. Here a
subset of equal weights is chosen whose means are those of the full set (moments as in Hoyland &
Wallace 2001, doi 10.1287/mnsc.47.2.295.9834; by selection as in Kaut 2021, doi
10.1007/s10287-021-00399-4): of prices, of the intraday less the day-ahead price, of called volumes,
and of volume times the price that is paid for it less the intraday price, the money in calls.

Exchanges of one kept against one dropped scenario go on until none helps. Nothing is random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from stochbess.errors import ScenarioError
from stochbess.scenario_gen.distance import Ints
from stochbess.scenario_gen.reduction import TIE, reduce_scenarios
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.scores import Array

_HOURS = {"intraday_eur_mwh": 1}  # means over so many hours are matched
_OTHER_HOURS = 4
_CALLS = (
    ("activation_up_mw", "afrr_energy_up_eur_mwh"),
    ("activation_down_mw", "afrr_energy_down_eur_mwh"),
)


@dataclass(frozen=True, eq=False)
class MeanSelection:
    """A subset of equal weights whose means are close to those of the full set.

    Attributes
    ----------
    set : the kept scenarios in their old order
    kept : their positions in the full set, increasing, shape (n,)
    relative : root mean square error of the means over that of n random draws: 0 is none
    """

    set: ScenarioSet
    kept: Ints
    relative: float


def match_means(scenarios: ScenarioSet, n: int) -> MeanSelection:
    """Keep `n` scenarios with equal weights so that the means (100) stay.

    Parameters
    ----------
    scenarios : the full set; its probabilities are respected
    n : number of scenarios to keep, 1 to S

    Raises
    ------
    ScenarioError : n out of range
    """
    size, p = len(scenarios), scenarios.probability
    start = reduce_scenarios(scenarios, n).kept
    deviation = deviations(scenarios)
    kept = improve_means(deviation, start)
    random = float(p @ (deviation**2).sum(axis=1)) / n
    error = float((deviation[kept].mean(axis=0) ** 2).sum())
    relative = float(np.sqrt(error / random)) if random > 0 else 0.0
    provenance = {
        **scenarios.provenance,
        "reduced_from": str(size),
        "reduction_method": "means",
        "reduction_relative": f"{relative:.6g}",
        "reduced_set_sha256": scenarios.sha256,
    }
    reduced = ScenarioSet(
        tuple(scenarios.names[i] for i in kept),
        np.full(n, 1 / n),
        {s: v[kept] for s, v in scenarios.values.items()},
        scenarios.index,
        provenance,
    )
    return MeanSelection(reduced, kept, relative)


def improve_means(deviation: Array, start: Ints) -> Ints:
    """Exchange kept and dropped scenarios while the sum of the deviations gets shorter.

    `deviation` (S, D) is the distance from the mean; `start` and the result are positions, the
    result increasing. Each exchange is the best of all.
    """
    product = deviation @ deviation.T
    own, kept = np.diagonal(product), np.array(start)
    tie = TIE * float(own.max(initial=0.0))
    while len(kept) < len(own):
        along = product[:, kept].sum(axis=1)
        out = own[kept] - 2 * along[kept]
        change = out[:, None] + (own + 2 * along)[None, :] - 2 * product[kept]
        change[:, kept] = np.inf
        best = int(np.flatnonzero(change.ravel() <= change.min() + tie)[0])
        if change.flat[best] >= -tie:
            break
        place, new = divmod(best, len(own))
        kept[place] = new
    return np.sort(kept)


def deviations(scenarios: ScenarioSet) -> Array:
    """What is matched, less its mean, shape (S, D); every quantity counts alike (100)."""
    tables = []
    for table in _quantities(scenarios):
        away = table - scenarios.probability @ table
        spread = float(np.sqrt(np.mean(scenarios.probability @ away**2)))
        # Rounding of the mean must not blow up what is the same in all scenarios.
        if spread > 1e-9 * float(np.abs(table).max()):
            tables.append(away / (spread * np.sqrt(table.shape[1])))
    return np.concatenate(tables, axis=1) if tables else np.zeros((len(scenarios), 1))


def _quantities(scenarios: ScenarioSet) -> list[Array]:
    values, index = scenarios.values, scenarios.index
    found = []
    for series, table in values.items():
        if series == "intraday_eur_mwh" and "day_ahead_eur_mwh" in values:
            table = table - _held(values["day_ahead_eur_mwh"], table.shape[1])
        hours = _HOURS.get(series, _OTHER_HOURS)
        same = series == "day_ahead_eur_mwh"
        found.append(table if same else _means(table, index[series], hours))
    level = values.get("intraday_eur_mwh", values.get("day_ahead_eur_mwh"))
    for volume, price in _CALLS:
        if volume in values and price in values and level is not None:
            paid = values[price] - _held(level, values[price].shape[1])
            found.append(_means(values[volume] * paid, index[volume], _OTHER_HOURS))
    return found


def _held(table: Array, length: int) -> Array:
    """`table` on a finer grid of `length` labels, each value held."""
    times, rest = divmod(length, table.shape[1])
    if rest or not times:
        raise ScenarioError(f"{table.shape[1]} labels do not divide the {length} of another series")
    return np.repeat(table, times, axis=1)


def _means(table: Array, index: pd.DatetimeIndex, hours: int) -> Array:
    """Means over `hours` consecutive hours; the last run may be shorter."""
    if len(index) < 2:
        return table
    per = max(1, round(pd.Timedelta(hours=hours) / (index[1] - index[0])))
    first = np.arange(0, table.shape[1], per)
    count = np.diff(np.append(first, table.shape[1]))
    return np.asarray(np.add.reduceat(table, first, axis=1) / count, np.float64)
