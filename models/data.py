"""What a formulation needs to know: frozen numbers, no markets, no files, no solver.

`ModelData` is what is the same in every scenario. What differs between scenarios is declared on the
model as `scenario_data` (variables that are always fixed) and supplied to the engine as arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Stage = Literal["off", "here_and_now", "recourse"]


@dataclass(frozen=True)
class Grid:
    """T steps of `dt_h` hours, in B reserve blocks and N day-ahead units, on `n_days` days.

    `block_of_step`, `day_ahead_of_step`, `day_of_step` have shape (T,), `block_hours` (B,).
    """

    dt_h: float
    block_of_step: Ints
    block_hours: Floats
    day_ahead_of_step: Ints
    day_of_step: Ints

    @property
    def n_steps(self) -> int:
        return len(self.block_of_step)

    @property
    def n_blocks(self) -> int:
        return len(self.block_hours)

    @property
    def n_day_ahead(self) -> int:
        return int(self.day_ahead_of_step[-1]) + 1

    def first_step_of_block(self, b: int) -> int:
        return int(np.searchsorted(self.block_of_step, b))


@dataclass(frozen=True)
class PowerPieces:
    """Power of the store by power at the connection, straight pieces from zero power on.

    Attributes
    ----------
    width_mw : (J,) > 0, at the connection
    slope : (J,) power of the store per power at the connection: not rising for charge and at most
        1, not falling for discharge and at least 1
    """

    width_mw: Floats
    slope: Floats

    @property
    def n(self) -> int:
        return len(self.slope)

    @property
    def bends(self) -> list[int]:
        """Pieces j whose slope differs from that of the next one."""
        return [j for j in range(self.n - 1) if self.slope[j] != self.slope[j + 1]]

    def within(self, limit_mw: Floats) -> Floats:
        """(T, J) widths of the pieces up to limits (T,) [MW]."""
        low = np.concatenate(([0.0], np.cumsum(self.width_mw)[:-1]))
        return np.clip(np.asarray(limit_mw)[:, None] - low, 0.0, self.width_mw)

    def power_mw(self, connection_mw: npt.ArrayLike) -> Floats:
        """Power of the store; the last piece goes on beyond its end. Any shape."""
        nodes = np.concatenate(([0.0], np.cumsum(self.width_mw)))
        power = np.asarray(connection_mw, np.float64)
        beyond = np.maximum(power - nodes[-1], 0.0) * self.slope[-1]
        inside = np.concatenate(([0.0], np.cumsum(self.width_mw * self.slope)))
        return np.asarray(np.interp(power, nodes, inside) + beyond)


@dataclass(frozen=True)
class LossCuts:
    """Losses that grow with power, per direction; they reach as far as the limits of the asset."""

    charge: PowerPieces
    discharge: PowerPieces


@dataclass(frozen=True)
class Asset:
    """The battery and its connection; power at the AC connection point, energy inside.

    `charge_limit_mw` and `discharge_limit_mw` (T,) already contain connection limits and outages;
    `trade_limit_mw` bounds the day-ahead position in both directions. With `losses` the two
    efficiencies are not used: NaN there shows whoever reads them all the same.
    """

    energy_min_mwh: float
    energy_max_mwh: float
    energy_start_mwh: float
    charge_efficiency_frac: float
    discharge_efficiency_frac: float
    self_discharge_per_h: float
    charge_limit_mw: Floats
    discharge_limit_mw: Floats
    trade_limit_mw: float
    losses: LossCuts | None = None

    @property
    def reserve_charge_efficiency_frac(self) -> float:
        """(108b) Most that a called megawatt can bring into the store."""
        return (
            self.charge_efficiency_frac
            if self.losses is None
            else float(self.losses.charge.slope[0])
        )

    @property
    def reserve_discharge_efficiency_frac(self) -> float:
        """(108a) Least that a megawatt out of the store can serve of a call."""
        return (
            self.discharge_efficiency_frac
            if self.losses is None
            else float(1 / self.losses.discharge.slope[-1])
        )

    def stored_mw(self, charge_mw: Floats) -> Floats:
        """Power into the store at charge powers of any shape."""
        if self.losses is None:
            return np.asarray(self.charge_efficiency_frac * charge_mw)
        return self.losses.charge.power_mw(charge_mw)

    def drawn_mw(self, discharge_mw: Floats) -> Floats:
        """Power out of the store at discharge powers of any shape."""
        if self.losses is None:
            return np.asarray(discharge_mw / self.discharge_efficiency_frac)
        return self.losses.discharge.power_mw(discharge_mw)


@dataclass(frozen=True)
class BidMenu:
    """Prices at which aFRR capacity may be offered, (B, K) per direction, likeliest award first.

    A bid counts as accepted in a scenario whose published price of the block reaches its threshold.
    """

    up_eur_mw_h: Floats
    down_eur_mw_h: Floats
    up_threshold_eur_mw_h: Floats
    down_threshold_eur_mw_h: Floats

    @property
    def size(self) -> int:
        """Number of prices K."""
        return int(self.up_eur_mw_h.shape[1])

    def price_eur_mw_h(self, direction: str) -> Floats:
        """(B, K) prices of a direction, "up" or "down"."""
        return self.up_eur_mw_h if direction == "up" else self.down_eur_mw_h

    def threshold_eur_mw_h(self, direction: str) -> Floats:
        """(B, K) published prices from which on the bids of a direction are accepted."""
        up, down = self.up_threshold_eur_mw_h, self.down_threshold_eur_mw_h
        return up if direction == "up" else down


@dataclass(frozen=True)
class Reserves:
    """Capacity products, lots and energy rules of the rulebook (docs/math.md, section Reserves).

    Committed capacity, (B,) per product, was sold earlier: it binds and earns nothing here. A bid
    menu, where there is one, offers aFRR at K prices per block and direction, pay-as-bid.
    """

    fcr: Stage
    afrr: Stage
    fcr_lot_mw: float
    afrr_lot_mw: float
    fcr_max_mw: float
    afrr_max_mw: float
    integer_lots: bool
    fcr_energy_h: float
    afrr_energy_h: float
    recharge_factor: float
    shortfall_eur_mwh_h: float
    undelivered_eur_mwh: float
    committed_fcr_mw: Floats
    committed_afrr_up_mw: Floats
    committed_afrr_down_mw: Floats
    menu: BidMenu | None = None

    @property
    def any(self) -> bool:
        return self.fcr != "off" or self.afrr != "off" or self.committed

    @property
    def committed(self) -> bool:
        return bool(
            self.committed_fcr_mw.any()
            or self.committed_afrr_up_mw.any()
            or self.committed_afrr_down_mw.any()
        )


@dataclass(frozen=True)
class EnergyMarkets:
    """Day-ahead as here-and-now or recourse, intraday as recourse; committed day-ahead (N,).

    `curve_price_eur_mwh` (N, J) are the prices of the points of a price-quantity order, J = 0 for
    one quantity whatever the price.
    """

    day_ahead: Stage
    intraday: bool
    half_spread_eur_mwh: float
    liquidity_mw: float
    committed_day_ahead_mw: Floats
    curve_price_eur_mwh: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def curve_points(self) -> int:
        """Points of each day-ahead curve; 0 = one quantity whatever the price."""
        return int(self.curve_price_eur_mwh.shape[1]) if self.day_ahead == "here_and_now" else 0


@dataclass(frozen=True)
class Fees:
    """Per-step fees [EUR/MWh] (T,), levy on net consumption, fixed fee, linear profit tax."""

    import_fee_eur_mwh: Floats
    export_fee_eur_mwh: Floats
    levy_eur_mwh: float
    capacity_fee_eur: float
    profit_tax_frac: float


@dataclass(frozen=True)
class Terminal:
    """Concave value of stored energy: non-increasing marginal values over equal widths.

    An empty array means no value; `equal_start` asks for the starting energy at the end.
    """

    marginal_eur_mwh: Floats
    equal_start: bool

    def value_eur(self, energy_mwh: float, asset: Asset) -> float:
        """Value of `energy_mwh` stored at the end (docs/math.md (16))."""
        if self.marginal_eur_mwh.size == 0:
            return 0.0
        width = (asset.energy_max_mwh - asset.energy_min_mwh) / self.marginal_eur_mwh.size
        edges = asset.energy_min_mwh + width * np.arange(self.marginal_eur_mwh.size)
        filled = np.minimum(np.maximum(energy_mwh - edges, 0.0), width)
        return float(filled @ self.marginal_eur_mwh)


@dataclass(frozen=True)
class AgingCut:
    """`theta >= intercept_eur + gradient_eur_mwh . e`, with e the energies at the T step ends."""

    intercept_eur: float
    gradient_eur_mwh: Floats


class PathCost(Protocol):
    """A convex cost of the path of stored energy (T + 1,) [MWh], as a sum of K layers.

    `shallow_eur_mwh` is charged on every MWh into or out of the store beside the layers.
    """

    @property
    def size(self) -> int:
        """Number of layers K."""
        ...

    @property
    def shallow_eur_mwh(self) -> float:
        """Price of energy into or out of the store [EUR/MWh]."""
        ...

    def deep_eur(self, energy_mwh: Floats) -> Floats:
        """(K,) cost of the path in every layer [EUR]."""
        ...

    def minorants(self, energy_mwh: Floats) -> tuple[Floats, Floats]:
        """Cost (K,) and a subgradient (K, T + 1) [EUR/MWh] of every layer at the path."""
        ...


class StepPrice(Protocol):
    """A convex cost of one quantity of every step: (T,) values in, cost and subgradient out."""

    @property
    def reads(self) -> Literal["energy", "charge"]:
        """Mean stored energy of the step [MWh], or charge power [MW]."""
        ...

    def at(self, quantity: Floats) -> tuple[Floats, Floats]:
        """Cost (T,) [EUR] and a subgradient (T,) [EUR per unit] of every step."""
        ...


@dataclass(frozen=True)
class Aging:
    """Cost of aging: none, by throughput, by convex depth segments, or by cuts on a path.

    Segment k of `width_mwh` costs `cost_eur_mwh[k]` (non-decreasing) per MWh withdrawn;
    `start_fill_mwh` (K,) is the state carried in. The model "cuts" bounds `path_cost` from below by
    cuts that are found during the solve (models/aging_cuts.py) until it is met within
    `cut_gap_frac` of the aging cost, and the `step_prices` beside it: calendar aging, plating.
    Supplied `cuts`, and `floor_eur_mwh` per MWh drawn from the store, add to whichever model is
    chosen.
    """

    model: Literal["none", "throughput", "segments", "cuts"] = "none"
    throughput_eur_mwh: float = 0.0
    width_mwh: float = 0.0
    cost_eur_mwh: Floats = field(default_factory=lambda: np.zeros(0))
    start_fill_mwh: Floats = field(default_factory=lambda: np.zeros(0))
    max_withdrawn_mwh_per_day: float | None = None
    cuts: tuple[AgingCut, ...] = ()
    path_cost: PathCost | None = None
    step_prices: tuple[StepPrice, ...] = ()
    cut_gap_frac: float = 1e-4
    floor_eur_mwh: float = 0.0


@dataclass(frozen=True)
class ModelData:
    """Everything that is the same in all scenarios of a decision.

    `exclusive` = "relaxed" bounds simultaneous charge and discharge by a linear inequality,
    "binary" excludes it (docs/math.md (12), (13)).
    """

    grid: Grid
    asset: Asset
    reserves: Reserves
    energy: EnergyMarkets
    fees: Fees
    terminal: Terminal
    aging: Aging
    exclusive: Literal["relaxed", "binary"] = "relaxed"
