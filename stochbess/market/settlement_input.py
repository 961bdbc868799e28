"""What a settlement is given: one schedule, one scenario of prices, and the rules.

Every array says in its type what it has one value per: step, step boundary, 4-hour block or
day-ahead unit. An empty array means that the market does not exist and stands for zeros; NaN and
infinity are errors everywhere, and so is a traded quantity without a price.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Annotated, Any, TypeVar, get_type_hints

import numpy as np
import numpy.typing as npt

from stochbess.errors import DataError
from stochbess.market.tariffs import Tariff

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
PerStep = Annotated[FloatArray, "step"]
PerBoundary = Annotated[FloatArray, "boundary"]
PerBlock = Annotated[FloatArray, "block"]
PerUnit = Annotated[FloatArray, "unit"]
TOLERANCE = 1e-9
NEGLIGIBLE_MW = 1e-6


def _no_market() -> FloatArray:
    return np.zeros(0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Schedule:
    """One scenario: T steps, B blocks, N day-ahead units; MW at the AC connection.

    Attributes
    ----------
    fcr_mw, afrr_up_mw, afrr_down_mw : (B,) capacity newly sold, paid here
    committed_* : sold earlier; they oblige, their cash is booked elsewhere
    day_ahead_mw : (N,) net sale newly sold
    buy_mw, sell_mw : (T,) intraday
    charge_mw, discharge_mw : (T,) gross flows
    energy_mwh : (T+1,) stored energy at the step boundaries, element 0 = start
    undelivered_up_mw, undelivered_down_mw : (T,) called but not delivered
    """

    fcr_mw: PerBlock = field(default_factory=_no_market)
    afrr_up_mw: PerBlock = field(default_factory=_no_market)
    afrr_down_mw: PerBlock = field(default_factory=_no_market)
    committed_fcr_mw: PerBlock = field(default_factory=_no_market)
    committed_afrr_up_mw: PerBlock = field(default_factory=_no_market)
    committed_afrr_down_mw: PerBlock = field(default_factory=_no_market)
    day_ahead_mw: PerUnit = field(default_factory=_no_market)
    committed_day_ahead_mw: PerUnit = field(default_factory=_no_market)
    buy_mw: PerStep = field(default_factory=_no_market)
    sell_mw: PerStep = field(default_factory=_no_market)
    charge_mw: PerStep
    discharge_mw: PerStep
    energy_mwh: PerBoundary
    undelivered_up_mw: PerStep = field(default_factory=_no_market)
    undelivered_down_mw: PerStep = field(default_factory=_no_market)


@dataclass(frozen=True, eq=False, kw_only=True)
class Prices:
    """One scenario of prices and calls.

    Attributes
    ----------
    day_ahead_eur_mwh : (N,);  intraday_eur_mwh : (T,) mid price;  half_spread_eur_mwh : scalar
    fcr_eur_mw : (B,) for the whole block;  afrr_up_eur_mw_h, afrr_down_eur_mw_h : (B,) per hour
    activation_up_eur_mwh : (T,) paid to the provider;  activation_down_eur_mwh : (T,) paid by it
    activation_up_frac, activation_down_frac : (T,) share of the bid that is called, in [0, 1]
    fcr_activation_frac : (T,) mean share of the FCR capacity, in [-1, 1], > 0 = up
    imbalance_long_eur_mwh, imbalance_short_eur_mwh : (T,) paid for a surplus, charged for a deficit
    """

    day_ahead_eur_mwh: PerUnit = field(default_factory=_no_market)
    intraday_eur_mwh: PerStep = field(default_factory=_no_market)
    half_spread_eur_mwh: float
    fcr_eur_mw: PerBlock = field(default_factory=_no_market)
    afrr_up_eur_mw_h: PerBlock = field(default_factory=_no_market)
    afrr_down_eur_mw_h: PerBlock = field(default_factory=_no_market)
    activation_up_eur_mwh: PerStep = field(default_factory=_no_market)
    activation_down_eur_mwh: PerStep = field(default_factory=_no_market)
    activation_up_frac: PerStep = field(default_factory=_no_market)
    activation_down_frac: PerStep = field(default_factory=_no_market)
    fcr_activation_frac: PerStep = field(default_factory=_no_market)
    imbalance_long_eur_mwh: PerStep = field(default_factory=_no_market)
    imbalance_short_eur_mwh: PerStep = field(default_factory=_no_market)


@dataclass(frozen=True, eq=False, kw_only=True)
class SettlementTerms:
    """Grid and rules, the same for every scenario.

    Attributes
    ----------
    dt_h : length of a step [h]
    block_of_step, day_ahead_of_step : (T,) index of the block and of the day-ahead unit
    block_hours : (B,) length of every block [h]
    energy_min_mwh, energy_max_mwh : window of stored energy
    charge_limit_mw, discharge_limit_mw : (T,) smaller of battery and connection, less outages
    fcr_energy_h, afrr_energy_h : hours of full activation to be held in each direction
    recharge_factor : power per FCR capacity that a limited reservoir must install
    reserve_shortfall_eur_mwh_h, undelivered_eur_mwh : prices of the two penalties
    intraday_liquidity_mw : most that can be bought, and sold, per step; may be infinite
    charge_node_mw, stored_node_mw : (K,) charge at the connection and what of it reaches the store,
        both from 0 on, straight between the nodes; where given, instead of charge_efficiency_frac
    discharge_node_mw, drawn_node_mw : (K,) discharge at the connection and what it draws from the
        store, likewise
    """

    dt_h: float
    block_of_step: IntArray
    block_hours: PerBlock
    day_ahead_of_step: IntArray
    energy_min_mwh: float
    energy_max_mwh: float
    charge_efficiency_frac: float
    discharge_efficiency_frac: float
    self_discharge_per_h: float
    charge_limit_mw: PerStep
    discharge_limit_mw: PerStep
    fcr_energy_h: float
    afrr_energy_h: float
    recharge_factor: float
    reserve_shortfall_eur_mwh_h: float
    undelivered_eur_mwh: float
    tariff: Tariff
    intraday_liquidity_mw: float
    charge_node_mw: FloatArray = field(default_factory=_no_market)
    stored_node_mw: FloatArray = field(default_factory=_no_market)
    discharge_node_mw: FloatArray = field(default_factory=_no_market)
    drawn_node_mw: FloatArray = field(default_factory=_no_market)

    def stored_mw(self, charge_mw: FloatArray) -> FloatArray:
        """Power that reaches the store, of any shape."""
        if not self.charge_node_mw.size:
            return np.asarray(self.charge_efficiency_frac * charge_mw)
        return np.interp(charge_mw, self.charge_node_mw, self.stored_node_mw)

    def drawn_mw(self, discharge_mw: FloatArray) -> FloatArray:
        """Power that is drawn from the store, of any shape."""
        if not self.discharge_node_mw.size:
            return np.asarray(discharge_mw / self.discharge_efficiency_frac)
        return np.interp(discharge_mw, self.discharge_node_mw, self.drawn_node_mw)

    @property
    def most_stored_per_mw(self) -> float:
        """Largest part of a further megawatt of charge that reaches the store, at any power."""
        if not self.charge_node_mw.size:
            return self.charge_efficiency_frac
        return float(np.max(np.diff(self.stored_node_mw) / np.diff(self.charge_node_mw)))

    @property
    def most_drawn_per_mw(self) -> float:
        """Most that a further megawatt of discharge draws from the store, at any power."""
        if not self.discharge_node_mw.size:
            return 1 / self.discharge_efficiency_frac
        return float(np.max(np.diff(self.drawn_node_mw) / np.diff(self.discharge_node_mw)))


Record = TypeVar("Record", Schedule, Prices, SettlementTerms)


def _axes(kind: type[Any]) -> dict[str, str]:
    """Field name -> what it has one value per, from the annotations of the record."""
    hints = get_type_hints(kind, include_extras=True)
    return {n: hint.__metadata__[0] for n, hint in hints.items() if hasattr(hint, "__metadata__")}


_AXES = {kind.__name__: _axes(kind) for kind in (Schedule, Prices, SettlementTerms)}


def finite(owner: str, name: str, value: Any) -> FloatArray:
    """`value` as floats; DataError that names `owner.name` where one is NaN or infinite."""
    array = np.asarray(value, np.float64)
    infinite_is_fine = name == "intraday_liquidity_mw"
    bad = np.isnan(array) if infinite_is_fine else ~np.isfinite(array)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"{owner}.{name}: {np.ravel(array)[at]} at position {at} of {array.size}. Settlement "
            "expects finite numbers; repair the series or the schedule it comes from."
        )
    return array


def _check_tariff(tariff: Tariff, n_steps: int) -> None:
    for item in fields(tariff):
        shape = finite("Tariff", item.name, getattr(tariff, item.name)).shape
        if shape not in ((), (n_steps,)):
            raise DataError(
                f"Tariff.{item.name}: shape {shape} found, expected ({n_steps},), one value per "
                "step. Build the tariff on the horizon that is settled."
            )


def complete(record: Record, sizes: Mapping[str, int]) -> Record:
    """The record with every array checked, and empty arrays replaced by zeros."""
    owner = type(record).__name__
    axes = _AXES[owner]
    filled: dict[str, Any] = {}
    for item in fields(record):
        value = getattr(record, item.name)
        if isinstance(value, Tariff):
            _check_tariff(value, sizes["step"])
            continue
        array = finite(owner, item.name, value)
        if item.name not in axes:
            continue
        per = axes[item.name]
        if array.size == 0 and item.default_factory is not MISSING:
            array = np.zeros(sizes[per])
        if array.shape != (sizes[per],):
            raise DataError(
                f"{owner}.{item.name}: shape {array.shape} found, expected ({sizes[per]},), one "
                f"value per {per}. Check that schedule, prices and terms are of one horizon."
            )
        filled[item.name] = array
    return replace(record, **filled)


def axis_sizes(terms: SettlementTerms) -> dict[str, int]:
    """Lengths of the axes; raises DataError where the grid contradicts itself."""
    block, unit = np.asarray(terms.block_of_step), np.asarray(terms.day_ahead_of_step)
    n_steps, n_blocks = block.size, np.size(terms.block_hours)
    if not 0.0 < terms.dt_h < np.inf:
        raise DataError(f"SettlementTerms.dt_h = {terms.dt_h}: expected a length in hours.")
    for name, index in (("block_of_step", block), ("day_ahead_of_step", unit)):
        in_order = index.dtype.kind in "iu" and index.size > 0 and index[0] == 0
        if not in_order or index.shape != (n_steps,) or not np.isin(np.diff(index), (0, 1)).all():
            raise DataError(
                f"SettlementTerms.{name}: shape {index.shape} of type {index.dtype}, expected "
                f"({n_steps},) integers from 0 on that rise by 0 or 1. Take it from the horizon."
            )
    hours = np.bincount(block) * terms.dt_h
    if hours.shape != np.shape(terms.block_hours) or not np.allclose(hours, terms.block_hours):
        raise DataError(
            f"SettlementTerms.block_hours: {np.asarray(terms.block_hours).tolist()} h found, but "
            f"the steps fill {hours.tolist()} h. Take both from one horizon."
        )
    for name in ("charge_efficiency_frac", "discharge_efficiency_frac"):
        if not 0.0 < getattr(terms, name) <= 1.0:
            raise DataError(
                f"SettlementTerms.{name} = {getattr(terms, name)}: expected a fraction in (0, 1]."
            )
    _check_nodes("charge", terms.charge_node_mw, "stored", terms.stored_node_mw)
    _check_nodes("discharge", terms.discharge_node_mw, "drawn", terms.drawn_node_mw)
    n_units = int(unit[-1]) + 1
    return {"step": n_steps, "boundary": n_steps + 1, "block": n_blocks, "unit": n_units}


def _check_nodes(flow: str, node_mw: FloatArray, inside: str, store_mw: FloatArray) -> None:
    """DataError where the nodes of a loss curve are no curve from zero on that loses energy."""
    if node_mw.shape == store_mw.shape == (0,):
        return
    for name, nodes in ((f"{flow}_node_mw", node_mw), (f"{inside}_node_mw", store_mw)):
        finite("SettlementTerms", name, nodes)
    names = f"SettlementTerms.{flow}_node_mw and {inside}_node_mw"
    if node_mw.ndim != 1 or node_mw.shape != store_mw.shape or node_mw.size < 2:
        raise DataError(
            f"{names}: shapes {node_mw.shape} and {store_mw.shape}. Expected two curves of at "
            "least two nodes each, or none. Take both from one loss curve."
        )
    lost = node_mw - store_mw if inside == "stored" else store_mw - node_mw
    rising = (np.diff(node_mw) > 0).all() and (np.diff(store_mw) > 0).all()
    if node_mw[0] != 0 or store_mw[0] != 0 or not rising or (lost < 0).any():
        raise DataError(
            f"{names}: {node_mw.tolist()} and {store_mw.tolist()}. Expected powers that rise from "
            "0 and lose energy at every node. Take both from one loss curve."
        )


def require_price(name: str, price: FloatArray, quantity: FloatArray) -> None:
    """DataError where more than solver rounding is traded on a market without a price."""
    if np.size(price) == 0 and np.abs(quantity).max(initial=0.0) > NEGLIGIBLE_MW:
        raise DataError(
            f"Prices.{name} is empty, but the schedule holds up to "
            f"{np.abs(quantity).max():.6g} MW of it. Expected a price for everything that is "
            "traded or called; close the market or supply the series."
        )


def check_calls(prices: Prices) -> None:
    """DataError where more than the whole bid is called."""
    for name, low in (
        ("activation_up_frac", 0.0),
        ("activation_down_frac", 0.0),
        ("fcr_activation_frac", -1.0),
    ):
        calls = getattr(prices, name)
        if calls.size and (calls.min() < low - TOLERANCE or calls.max() > 1.0 + TOLERANCE):
            raise DataError(
                f"Prices.{name}: values from {calls.min():.6g} to {calls.max():.6g}, expected "
                f"shares of the bid in [{low:g}, 1]. Divide the called MW by the MW of the bid."
            )
