"""Why nothing is feasible, in the keys of the configuration.

The engine names the constraints and bounds that exclude each other by the components of the model;
what somebody can change are keys. `CAUSES` leads from one to the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from stochbess.errors import InfeasibleError
from stochbess.models.data import Floats, ModelData

P = ParamSpec("P")
T = TypeVar("T")
_WORD = re.compile(r"[a-z][a-z_]*")


class _HasData(Protocol):
    data: ModelData


S = TypeVar("S", bound=_HasData)


@dataclass(frozen=True)
class Cause:
    """Something that binds a decision: where it shows, what it is, which keys say so.

    Attributes
    ----------
    components : constraints of the model, or variables whose bounds it is
    says : what it demands, from the numbers of the case; empty if the case does not have it
    keys : of the configuration, the one that is the easiest to change first
    advice : what to try
    """

    components: tuple[str, ...]
    says: Callable[[ModelData], str]
    keys: tuple[str, ...]
    advice: str


def _outage(data: ModelData) -> str:
    """Steps without any power, or with less than others have."""
    charge, discharge = data.asset.charge_limit_mw, data.asset.discharge_limit_mw
    reduced = (charge < charge.max()) | (discharge < discharge.max()) | (charge + discharge <= 0)
    hours = reduced.sum() * data.grid.dt_h
    return f"power is missing in {hours:g} of {_hours(data):g} h" if hours else ""


def _hours(data: ModelData) -> float:
    return data.grid.n_steps * data.grid.dt_h


def _commitments(data: ModelData) -> str:
    reserves = data.reserves
    sold: dict[str, Floats] = {
        "FCR": reserves.committed_fcr_mw,
        "aFRR up": reserves.committed_afrr_up_mw,
        "aFRR down": reserves.committed_afrr_down_mw,
    }
    named = [f"up to {mw.max():g} MW of {name}" for name, mw in sold.items() if mw.any()]
    return f"{' and '.join(named)} are sold already" if named else ""


def _power(data: ModelData) -> str:
    asset = data.asset
    charge, discharge = asset.charge_limit_mw.max(), asset.discharge_limit_mw.max()
    return f"the battery charges with at most {charge:g} MW and discharges with at most " + (
        f"{discharge:g} MW"
    )


def _loss(data: ModelData) -> str:
    loss = data.asset.self_discharge_per_h
    return f"the storage loses {loss:g} of its content in an hour" if loss else ""


def _conversion(data: ModelData) -> str:
    """Losses that grow with power, where there are any."""
    losses = data.asset.losses
    if losses is None:
        return ""
    return (
        f"losses grow with power: of a megawatt more, {losses.charge.slope[-1]:.4g} is stored and "
        f"{losses.discharge.slope[-1]:.4g} drawn at full power"
    )


CAUSES = (
    Cause(
        ("energy_end",),
        lambda data: f"the storage ends as it started, at {data.asset.energy_start_mwh:g} MWh",
        ("terminal.mode", "battery.state.soc_frac"),
        "set terminal.mode to value",
    ),
    Cause(
        ("recharge_band_up", "recharge_band_down", "headroom_up", "headroom_down"),
        _commitments,
        ("battery.state.commitments",),
        "correct what battery.state.commitments says",
    ),
    Cause(
        ("soc_start", "segment_start"),
        lambda data: f"it starts at {data.asset.energy_start_mwh:g} MWh",
        ("battery.state.soc_frac",),
        "",
    ),
    Cause(
        ("energy_mwh", "segment_sum"),
        lambda data: (
            f"it stays between {data.asset.energy_min_mwh:g} and {data.asset.energy_max_mwh:g} MWh"
        ),
        ("battery.soc_min_frac", "battery.soc_max_frac", "battery.state.soh_frac"),
        "widen the SOC window",
    ),
    Cause(
        (
            *("charge_pieces", "charge_fill_order", "charge_fill_below", "charge_fill_above"),
            *("discharge_pieces", "discharge_fill_order"),
            *("discharge_fill_below", "discharge_fill_above", "soc_balance"),
        ),
        _conversion,
        ("battery.efficiency_model", "battery.losses"),
        "",
    ),
    Cause(("soc_balance",), _loss, ("battery.self_discharge_per_h",), ""),
    Cause(
        ("charge_mw", "discharge_mw", "recharge_band_up", "recharge_band_down"),
        _outage,
        ("battery.state.outages",),
        "correct or shorten the outages",
    ),
    Cause(
        ("charge_mw", "discharge_mw", "recharge_band_up", "recharge_band_down"),
        _power,
        ("battery.power_mw", "connection.import_limit_mw", "connection.export_limit_mw"),
        "raise the limit that is 0 or too low",
    ),
    Cause(
        ("cycle_limit",),
        lambda data: (
            f"at most {data.aging.max_withdrawn_mwh_per_day or 0.0:g} MWh are withdrawn in a day"
        ),
        ("aging.max_cycles_per_day",),
        "raise aging.max_cycles_per_day or set it to null",
    ),
    Cause(
        ("lot_hull", "fcr_lots", "afrr_up_lots", "afrr_down_lots"),
        lambda data: "reserve is offered in whole lots",
        ("markets.integer_lots", "markets.fcr.lot_mw", "markets.afrr.lot_mw"),
        "",
    ),
    Cause(
        ("day_ahead_mw", "buy_mw", "sell_mw", "power_balance"),
        lambda data: f"at most {data.energy.liquidity_mw:g} MW are traded in a step",
        ("markets.intraday.liquidity_mw", "connection.import_limit_mw"),
        "",
    ),
)


def in_keys(error: InfeasibleError, data: ModelData) -> InfeasibleError:
    """The error with what conflicts, the keys that say so, and what to try.

    An error that names no component of `CAUSES` comes back as it is.
    """
    named = set(_WORD.findall(str(error)))
    said = [(cause, cause.says(data)) for cause in CAUSES if named & {*cause.components}]
    found = [(cause, text) for cause, text in said if text]
    if not found:
        return error
    lines = [f"{text} ({', '.join(cause.keys)})" for cause, text in found]
    advice = [cause.advice for cause, _ in found if cause.advice]
    return InfeasibleError(
        f"no decision is possible. These exclude each other: {'; '.join(lines)}. "
        f"Try: {', or '.join(advice) or 'other values of these keys'}.\nIn the model: {error}"
    )


def named_in_keys(
    function: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], T]:
    """A method of something that has `data`, with its `InfeasibleError` told in keys."""

    @wraps(function)
    def told(self: S, /, *arguments: P.args, **keywords: P.kwargs) -> T:
        try:
            return function(self, *arguments, **keywords)
        except InfeasibleError as error:
            raise in_keys(error, self.data) from error

    return told
