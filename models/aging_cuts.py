"""Aging cuts that are found by need: the rows that bound aging costs from below.

The number of paths, and with it the number of cuts, has no end, but an optimum needs few. A solver
that has a solution asks here for the rows which that solution violates, adds them, and solves
again. Every row is a minorant of a convex function of the schedule: no row ever cuts a feasible
schedule off or overstates its aging. So a problem with any subset of the rows is a relaxation, and
what is reported is the true value of the functions, not that of their variables.

The rows know no prices and no scenario: those found in one scenario hold in every other one with
the same start and the same past. Rows of the cycle cost hold for every schedule; rows of a price of
a step hold where that price does, which for calendar aging may be a trust region.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stochbess.models.data import Floats, ModelData, PathCost, StepPrice

# Below this a row cannot be told from the feasibility tolerance of a linear solver [EUR].
_RESOLUTION_EUR = 1e-6
# Columns that lack less than this part of their share of the open gap wait for a later round.
_MINOR_FRAC = 0.1


@dataclass(frozen=True)
class _Held:
    """Cost (H,) of the H held-up columns at a schedule, and what it depends on (H, columns)."""

    cost_eur: Floats
    gradient: Floats


class AgingRows:
    """The rows (40), (42) of one decision, by name of column, for an engine that adds rows by need.

    Attributes
    ----------
    columns : names of the H epigraph columns (K layers, then every price of every step), of the
        T + 1 stored energies, and of the charge powers where a price reads them; `values` below are
        in this order
    """

    def __init__(
        self,
        path_cost: PathCost,
        n_steps: int,
        gap_frac: float,
        step_prices: tuple[StepPrice, ...] = (),
    ) -> None:
        self._source, self._prices, self._gap_frac = path_cost, step_prices, gap_frac
        self._steps = n_steps
        self._held = path_cost.size + len(step_prices) * n_steps
        charged = any(price.reads == "charge" for price in step_prices)
        self.columns: tuple[str, ...] = (
            *(f"cycle_theta_eur[{k}]" for k in range(path_cost.size)),
            *(f"step_theta_eur[{i},{t}]" for i in range(len(step_prices)) for t in range(n_steps)),
            *(f"energy_mwh[{t}]" for t in range(n_steps + 1)),
            *(f"charge_mw[{t}]" for t in range(n_steps) if charged),
        )

    def rows(self, values: Floats) -> tuple[Floats, Floats]:
        """Violated rows `coefficients @ values >= lower`; none once the aging cost is tight.

        Returns
        -------
        coefficients (R, len(columns)), lower (R,)
        """
        h = self._held
        held = self._at(values)
        missing = held.cost_eur - values[:h]
        gap = float(np.maximum(missing, 0.0).sum())
        if gap <= max(self._gap_frac * self._total_eur(held.cost_eur, values), _RESOLUTION_EUR):
            return np.zeros((0, len(self.columns))), np.zeros(0)
        resolution = _RESOLUTION_EUR * np.maximum(1.0, held.cost_eur) / h
        pick = (missing > _MINOR_FRAC * gap / h) & (missing > resolution)
        gradient = held.gradient[pick]
        coefficients = -gradient
        coefficients[np.arange(len(gradient)), np.flatnonzero(pick)] = 1.0
        return coefficients, held.cost_eur[pick] - gradient @ values

    def lifted(self, values: Floats) -> Floats:
        """`values` with the epigraph columns at the true cost of the schedule (not below it)."""
        energy = values[self._held : self._held + self._steps + 1]
        cost = [self._source.deep_eur(energy)]
        cost += [price.at(self._read(price, values))[0] for price in self._prices]
        return np.concatenate((*cost, values[self._held :]))

    def cost_eur(self, values: Floats) -> float:
        """Aging cost of the schedule in `values` [EUR], whatever the epigraph columns say."""
        return self._total_eur(self.lifted(values)[: self._held], values)

    def _at(self, values: Floats) -> _Held:
        """All held-up costs and their gradients, in the columns."""
        size, h, n = self._source.size, self._held, self._steps
        cost, gradient = np.empty(h), np.zeros((h, len(self.columns)))
        energies = slice(h, h + n + 1)
        cost[:size], gradient[:size, energies] = self._source.minorants(values[energies])
        step = np.arange(n)
        for i, price in enumerate(self._prices):
            own = size + i * n + step
            cost[own], slope = price.at(self._read(price, values))
            if price.reads == "energy":
                gradient[own, h + step] = gradient[own, h + step + 1] = slope / 2
            else:
                gradient[own, h + n + 1 + step] = slope
        return _Held(cost, gradient)

    def _read(self, price: StepPrice, values: Floats) -> Floats:
        n, h = self._steps, self._held
        if price.reads == "charge":
            return values[h + n + 1 :]
        energy = values[h : h + n + 1]
        return (energy[:-1] + energy[1:]) / 2

    def _total_eur(self, held_eur: Floats, values: Floats) -> float:
        energy = values[self._held : self._held + self._steps + 1]
        shallow = self._source.shallow_eur_mwh * float(np.abs(np.diff(energy)).sum())
        return float(held_eur.sum()) + shallow


def aging_rows(data: ModelData) -> AgingRows | None:
    """The rows that `data` leaves to the solve; None where its aging needs none."""
    aging = data.aging
    source = aging.path_cost
    if aging.model != "cuts" or source is None or not (source.size or aging.step_prices):
        return None
    return AgingRows(source, data.grid.n_steps, aging.cut_gap_frac, aging.step_prices)


def charged_eur(data: ModelData, values: Mapping[str, Floats]) -> Floats:
    """Aging (S,) [EUR] that the model charges for a schedule, (S, ...) by component.

    Cuts are not asked: the cost is that of the functions that they bound. A floor (110) is charged.
    """
    aging, asset = data.aging, data.asset
    drawn = data.grid.dt_h * asset.drawn_mw(values["discharge_mw"]).sum(axis=1)
    floor = aging.floor_eur_mwh * drawn
    if aging.model == "segments":
        return np.asarray(floor + values["withdrawn_mwh"].sum(axis=2) @ aging.cost_eur_mwh)
    if aging.model == "throughput":
        return np.asarray(floor + aging.throughput_eur_mwh * drawn)
    if aging.path_cost is None:
        return np.asarray(floor)
    stored = data.grid.dt_h * asset.stored_mw(values["charge_mw"]).sum(axis=1)
    held = []
    for energy, charge in zip(values["energy_mwh"], values["charge_mw"], strict=True):
        read = {"energy": (energy[:-1] + energy[1:]) / 2, "charge": charge}
        by_step = sum(float(price.at(read[price.reads])[0].sum()) for price in aging.step_prices)
        held.append(float(aging.path_cost.deep_eur(energy).sum()) + by_step)
    return np.asarray(floor + aging.path_cost.shallow_eur_mwh * (stored + drawn) + np.array(held))
