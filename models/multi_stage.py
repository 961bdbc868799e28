"""Which decision of the two-stage model is made at which stage of a tree (docs/math.md (131)).

The multi-stage problem has the constraints and the profit of `two_stage` on every path of the tree.
What differs is who may know what: this table gives every variable the row of the tree at whose
nodes it is decided, and variables of one node are one variable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stochbess.errors import SolverError
from stochbess.models.data import Ints, ModelData


@dataclass(frozen=True)
class DecisionStages:
    """Rows of the tree at whose nodes is decided: 0 is the root, `last` the leaves.

    Attributes
    ----------
    fcr, afrr, day_ahead : the bids at their gates
    awarded, cleared : what the bids turn into once their result is known
    trade, dispatch : (T,) intraday trades and physical operation of every step
    """

    fcr: int
    afrr: int
    day_ahead: int
    awarded: int
    cleared: int
    trade: Ints
    dispatch: Ints
    last: int

    def clairvoyant_after(self, day_ahead: int) -> DecisionStages:
        """Reserves as here, day-ahead at row `day_ahead`, all else with the whole path in view."""
        every = np.full_like(self.trade, self.last)
        return replace(
            self, day_ahead=day_ahead, awarded=self.last, cleared=self.last, trade=every,
            dispatch=every,
        )  # fmt: skip

    def foreseen(self) -> DecisionStages:
        """Everything with the whole path in view: wait-and-see."""
        every = np.full_like(self.trade, self.last)
        n = self.last
        return DecisionStages(n, n, n, n, n, every, every, n)


_Row = Callable[[DecisionStages, ModelData, tuple[int, ...]], int]


def _boundary(stages: DecisionStages, k: int) -> int:
    """Stored energy at boundary k is known with the step that ends there."""
    return int(stages.dispatch[max(k - 1, 0)])


def _check_point(stages: DecisionStages, data: ModelData, i: int) -> int:
    n_blocks = data.grid.n_blocks
    k = data.grid.first_step_of_block(i) if i < n_blocks else i - n_blocks + 1
    return _boundary(stages, k)


def _step(stages: DecisionStages, _: ModelData, index: tuple[int, ...]) -> int:
    return int(stages.dispatch[index[-1]])


def _trade(stages: DecisionStages, _: ModelData, index: tuple[int, ...]) -> int:
    return int(stages.trade[index[0]])


def _afrr_lots(stages: DecisionStages, data: ModelData, _: tuple[int, ...]) -> int:
    """Lots are the bid itself; with a menu of prices they are what is awarded."""
    return stages.afrr if data.reserves.menu is None else stages.awarded


def _day_ahead(stages: DecisionStages, data: ModelData, _: tuple[int, ...]) -> int:
    """The position itself is the bid; with a curve it is what clears."""
    return stages.cleared if data.energy.curve_points else stages.day_ahead


def _leaf(stages: DecisionStages, _: ModelData, __: tuple[int, ...]) -> int:
    return stages.last


def _energy(stages: DecisionStages, _: ModelData, index: tuple[int, ...]) -> int:
    return _boundary(stages, index[-1])


def _reserve_check(stages: DecisionStages, data: ModelData, index: tuple[int, ...]) -> int:
    return _check_point(stages, data, index[0])


# (131) The one table of who decides when; docs/math.md repeats it for people.
STAGE_OF: dict[str, _Row] = {
    "fcr_lots": lambda stages, _, __: stages.fcr,
    "afrr_up_offer": lambda stages, _, __: stages.afrr,
    "afrr_down_offer": lambda stages, _, __: stages.afrr,
    "afrr_up_lots": _afrr_lots,
    "afrr_down_lots": _afrr_lots,
    "day_ahead_curve_mw": lambda stages, _, __: stages.day_ahead,
    "day_ahead_mw": _day_ahead,
    "buy_mw": _trade,
    "sell_mw": _trade,
    "charge_mw": _step,
    "discharge_mw": _step,
    "discharging": _step,
    "delivered_up_mw": _step,
    "delivered_down_mw": _step,
    "long_mw": _step,
    "short_mw": _step,
    "missing_power_up_mw": _step,
    "missing_power_down_mw": _step,
    "withdrawn_mwh": _step,
    "energy_mwh": _energy,
    "segment_mwh": _energy,
    "missing_energy_up_mwh": _reserve_check,
    "missing_energy_down_mwh": _reserve_check,
    "filled_mwh": _leaf,
    "aging_theta_eur": _leaf,
}


def column_stages(columns: Sequence[str], data: ModelData, stages: DecisionStages) -> Ints:
    """Row of the tree at which each variable such as ``"buy_mw[3]"`` is decided, (n,).

    Raises
    ------
    SolverError : a variable that the table does not know
    """
    out = np.empty(len(columns), np.int64)
    for j, name in enumerate(columns):
        component, _, index = name.rstrip("]").partition("[")
        if component not in STAGE_OF:
            raise SolverError(
                f"variable {component} has no stage; expected one of {', '.join(STAGE_OF)}. A new "
                "variable of the model needs a row in models/multi_stage.py."
            )
        key = tuple(int(i) for i in index.split(",")) if index else ()
        out[j] = STAGE_OF[component](stages, data, key)
    return out
