"""Aging as additive states, the same small face for every law, and words where a law is stretched.

Every law used here says that a loss grows with a power of time or of energy moved, Q = k x^p, with
a rate k that depends on the conditions. Then W = Q^(1/p) grows by k^(1/p) dx whatever came before:
one state per mechanism, increments that add up in any order, Q only at the end. A loss that is
linear in x has p = 1 and is its own state.

A law brings increments and the range of its tests as data. Where a path leaves that range, the
result carries a `RangeFlag` whose text belongs in the report.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from stochbess.battery.half_cycle_stress import (
    CellPath,
    OpenCycles,
    RatedHalfCycles,
    rated_half_cycles,
)
from stochbess.errors import ConfigError, DataError

FloatArray = npt.NDArray[np.float64]
Effect = Literal["capacity", "resistance"]
ZERO_DEGC_K = 273.15
REFERENCE_K = 298.15


@dataclass(frozen=True)
class Mechanism:
    """One way of aging: `effect` grows as state ** power."""

    name: str
    effect: Effect
    power: float


@dataclass(frozen=True)
class TestedRange:
    """Conditions under which the measurements behind a law were made; both ends included.

    None = the law does not depend on it, or its source gives no limit.
    """

    source: str
    temperature_degc: tuple[float, float] | None = None
    soc_frac: tuple[float, float] | None = None
    depth_frac: tuple[float, float] | None = None
    max_charge_c_rate_per_h: float | None = None
    max_discharge_c_rate_per_h: float | None = None


@dataclass(frozen=True)
class RangeFlag:
    """One condition in which a path left the tested range of a law.

    Attributes
    ----------
    law, quantity, unit : what, in words
    tested, found : (low, high)
    outside, total : amount of `basis` outside the range, and in all
    basis : "of the time" or "of the energy moved"
    """

    law: str
    quantity: str
    unit: str
    tested: tuple[float, float]
    found: tuple[float, float]
    outside: float
    total: float
    basis: str

    @property
    def text(self) -> str:
        """The flag as a sentence for a report."""
        unit = f" {self.unit}" if self.unit else ""
        share = 100 * self.outside / self.total
        amount = f"{share:.0f} %" if share >= 0.5 else "less than 0.5 %"
        return (
            f"{self.law}: {self.quantity} {self.found[0]:.3g} to {self.found[1]:.3g}{unit}, "
            f"tested {self.tested[0]:.3g} to {self.tested[1]:.3g} ({amount} {self.basis} outside)"
        )


class AgingModel(Protocol):
    """One law of aging, or several side by side."""

    @property
    def name(self) -> str: ...

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]: ...

    def increments(self, path: CellPath, cycles: RatedHalfCycles) -> FloatArray:
        """(T, M) growth of the state of each mechanism, by step; columns as in `mechanisms`."""
        ...

    def flags(self, path: CellPath, cycles: RatedHalfCycles) -> tuple[RangeFlag, ...]:
        """Where the tested ranges are left."""
        ...


class Aged(NamedTuple):
    """A window of aging: state after it, increments (T, M) by step, flags."""

    state: FloatArray
    increments: FloatArray
    flags: tuple[RangeFlag, ...]


def fresh(model: AgingModel) -> FloatArray:
    """(M,) state of a new cell."""
    return np.zeros(len(model.mechanisms))


def advance(
    model: AgingModel, state: npt.ArrayLike, path: CellPath, past: OpenCycles | None = None
) -> Aged:
    """Age a cell along `path`.

    Parameters
    ----------
    state : (M,) state before, as of `fresh`, an earlier `advance` or `state_of_loss`
    past : open cycles before the path, from `carry_open`; None = none

    An increment of cycling can be negative: a half cycle that was open before the window and goes
    on at a lower C-rate is rated anew as a whole.

    Raises
    ------
    DataError : the state does not fit the model
    """
    before = _checked_state(model, state)
    cycles = rated_half_cycles(path, past or OpenCycles())
    grown = model.increments(path, cycles)
    return Aged(before + grown.sum(axis=0), grown, model.flags(path, cycles))


def _checked_state(model: AgingModel, state: npt.ArrayLike) -> FloatArray:
    array = np.asarray(state, np.float64)
    n = len(model.mechanisms)
    if array.shape[-1:] != (n,) or not np.isfinite(array).all():
        raise DataError(
            f"aging state of {model.name}: {array} found, expected {n} finite numbers, one for "
            f"each of {', '.join(mechanism.name for mechanism in model.mechanisms)}."
        )
    return array


def effects(model: AgingModel, state: npt.ArrayLike) -> FloatArray:
    """(..., M) loss of capacity or growth of resistance [p.u.] by mechanism; any leading shape."""
    power = np.array([mechanism.power for mechanism in model.mechanisms])
    # an open half cycle that is rated anew may leave -0 plus rounding
    return np.asarray(np.maximum(_checked_state(model, state), 0.0) ** power, np.float64)


def state_of_loss(model: AgingModel, effect_frac: npt.ArrayLike) -> FloatArray:
    """State at which each mechanism has had the given effect [p.u.]: the inverse of `effects`."""
    power = np.array([mechanism.power for mechanism in model.mechanisms])
    return np.asarray(_checked_state(model, effect_frac) ** (1.0 / power), np.float64)


def _total(model: AgingModel, state: npt.ArrayLike, effect: Effect) -> FloatArray:
    if isinstance(model, Ensemble):
        raise ConfigError(
            f"{effect} of {model.name}: these are several opinions on one cell, which do not add "
            "up. Ask for Ensemble.band, or for one member with its part of Ensemble.split."
        )
    columns = [i for i, mechanism in enumerate(model.mechanisms) if mechanism.effect == effect]
    total = effects(model, state)[..., columns].sum(axis=-1)
    return np.asarray(total if columns else np.full_like(total, np.nan), np.float64)


def capacity_loss_frac(model: AgingModel, state: npt.ArrayLike) -> FloatArray:
    """Lost over nominal capacity by one law; any leading shape. Mechanisms add up."""
    return _total(model, state, "capacity")


def resistance_growth_frac(model: AgingModel, state: npt.ArrayLike) -> FloatArray:
    """Growth of the resistance over its initial value; NaN if the law knows of none."""
    return _total(model, state, "resistance")


def arrhenius(
    activation_j_mol: float, temperature_degc: npt.ArrayLike, gas_constant_j_mol_k: float
) -> FloatArray:
    """Factor on a rate known at 25 degC; a negative activation energy slows with temperature."""
    kelvin = np.asarray(temperature_degc, np.float64) + ZERO_DEGC_K
    exponent = -activation_j_mol / gas_constant_j_mol_k * (1.0 / kelvin - 1.0 / REFERENCE_K)
    return np.asarray(np.exp(exponent), np.float64)


def by_step(cycles: RatedHalfCycles, per_half_cycle: FloatArray, n_steps: int) -> FloatArray:
    """(T,) sum over the half cycles that are complete in each step, weights applied."""
    if not per_half_cycle.size:
        return np.zeros(n_steps)
    amounts = cycles.weight * per_half_cycle
    return np.asarray(np.bincount(cycles.step, amounts, minlength=n_steps), np.float64)


# -- tested ranges --------------------------------------------------------------------------------
_EDGE_FRAC = 1e-6  # a solver's rounding does not leave a range


def _flag(
    law: str,
    quantity: str,
    unit: str,
    tested: tuple[float, float] | None,
    values: FloatArray,
    amount: FloatArray,
    basis: str,
) -> Iterable[RangeFlag]:
    if tested is None or not values.size:
        return
    slack = _EDGE_FRAC * max(1.0, abs(tested[0]), abs(tested[1]))
    out = (values < tested[0] - slack) | (values > tested[1] + slack)
    if out.any():
        found = (float(values.min()), float(values.max()))
        yield RangeFlag(
            law, quantity, unit, tested, found, float(amount[out].sum()), float(amount.sum()), basis
        )


def calendar_flags(law: str, tested: TestedRange, path: CellPath) -> tuple[RangeFlag, ...]:
    """Temperature and SOC outside `tested`, by time."""
    hours = np.full(path.n_steps, path.dt_h)
    basis = "of the time"
    degc, soc = path.temperature_degc, path.mean_soc_frac
    return (
        *_flag(law, "cell temperature", "degC", tested.temperature_degc, degc, hours, basis),
        *_flag(law, "SOC", "", tested.soc_frac, soc, hours, basis),
    )


def cycle_flags(
    law: str, tested: TestedRange, path: CellPath, cycles: RatedHalfCycles
) -> tuple[RangeFlag, ...]:
    """Depth, C-rates and temperature of half cycles outside `tested`, by energy moved."""
    new = cycles.weight > 0
    depth, rate = cycles.depth_frac[new], cycles.c_rate_per_h[new]
    down = cycles.is_discharge[new]
    basis = "of the energy moved"

    def upto(limit: float | None) -> tuple[float, float] | None:
        return None if limit is None else (0.0, limit)

    charge, discharge = tested.max_charge_c_rate_per_h, tested.max_discharge_c_rate_per_h
    degc = cycles.temperature_degc[new]
    return (
        *_flag(law, "depth of half cycles", "", tested.depth_frac, depth, depth, basis),
        *_flag(
            law, "C-rate of charging", "per h", upto(charge), rate[~down], depth[~down], basis
        ),
        *_flag(
            law, "C-rate of discharging", "per h", upto(discharge), rate[down], depth[down], basis
        ),
        *_flag(
            law, "cell temperature while cycling", "degC", tested.temperature_degc, degc, depth,
            basis,
        ),
    )  # fmt: skip


def merge_flags(flags: Iterable[RangeFlag]) -> tuple[RangeFlag, ...]:
    """One flag per law and quantity for many windows. Windows without a flag do not enter."""
    merged: dict[tuple[str, str], RangeFlag] = {}
    for flag in flags:
        key = (flag.law, flag.quantity)
        known = merged.get(key)
        if known is None:
            merged[key] = flag
            continue
        found = (min(known.found[0], flag.found[0]), max(known.found[1], flag.found[1]))
        outside, total = known.outside + flag.outside, known.total + flag.total
        merged[key] = replace(known, found=found, outside=outside, total=total)
    return tuple(merged.values())


# -- several laws side by side --------------------------------------------------------------------
@dataclass(frozen=True)
class Band:
    """One number as several laws see it."""

    by_model: dict[str, float]

    @property
    def low(self) -> float:
        return min(self.by_model.values())

    @property
    def mean(self) -> float:
        return sum(self.by_model.values()) / len(self.by_model)

    @property
    def high(self) -> float:
        return max(self.by_model.values())


@dataclass(frozen=True)
class Ensemble:
    """Several laws that age side by side along the same path; itself an `AgingModel`.

    Its state is that of its members, one after the other, and its mechanisms carry their names.
    They are different opinions on one cell: `band` compares them, nothing adds them up.
    """

    models: tuple[AgingModel, ...]

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        if not names or len(dict.fromkeys(names)) < len(names):
            raise ConfigError(f"ensemble of {names}: expected at least one law, each only once.")

    @property
    def name(self) -> str:
        return " | ".join(model.name for model in self.models)

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        return tuple(
            replace(mechanism, name=f"{model.name}: {mechanism.name}")
            for model in self.models
            for mechanism in model.mechanisms
        )

    def increments(self, path: CellPath, cycles: RatedHalfCycles) -> FloatArray:
        return np.concatenate([model.increments(path, cycles) for model in self.models], axis=1)

    def flags(self, path: CellPath, cycles: RatedHalfCycles) -> tuple[RangeFlag, ...]:
        return tuple(flag for model in self.models for flag in model.flags(path, cycles))

    def split(self, state: npt.ArrayLike) -> dict[str, FloatArray]:
        """State (..., M) by member."""
        array = _checked_state(self, state)
        ends = np.cumsum([len(model.mechanisms) for model in self.models])
        parts = np.split(array, ends[:-1], axis=-1)
        return {model.name: part for model, part in zip(self.models, parts, strict=True)}

    def band(self, state: npt.ArrayLike, effect: Effect = "capacity") -> Band:
        """Loss of capacity or growth of resistance [p.u.] of state (M,) by member.

        Members without such a law have no part in it.

        Raises
        ------
        ConfigError : no member has such a law
        """
        parts = self.split(state)
        known = {
            model.name: float(_total(model, parts[model.name], effect))
            for model in self.models
            if any(mechanism.effect == effect for mechanism in model.mechanisms)
        }
        if not known:
            raise ConfigError(f"no member of {self.name} has a law of {effect}. Add Naumann.")
        return Band(known)


def members(model: AgingModel) -> Sequence[AgingModel]:
    """The laws in `model`: its members if it is an ensemble, else itself."""
    return model.models if isinstance(model, Ensemble) else (model,)
