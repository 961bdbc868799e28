"""What the converter and the cells lose: a constant share, or a convex curve in straight pieces.

The store receives less than is charged and gives more than is discharged. With a loss curve both
are piecewise linear in the power at the connection, and the marginal efficiency falls from piece to
piece, so the good pieces fill first by themselves wherever stored energy is worth something. Where
burning energy pays, bad pieces would be filled before good ones. Binaries exclude that; the relaxed
rows are their projection, the convex hull of the curve in every step (docs/math.md, Loss cuts).
"""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo

from stochbess.models.data import Floats, ModelData, PowerPieces

# Binaries of the order of filling, by component: recourse columns that are made whole by need.
FILL_ORDER = ("charge_full", "discharge_full")


def add_conversion(m: Any, data: ModelData) -> None:
    """Power into and out of the store; exposes `m.stored_mw, m.drawn_mw`.

    Needs `m.charge_mw` and `m.discharge_mw`.
    """
    asset, steps = data.asset, range(data.grid.n_steps)
    if asset.losses is None:
        m.stored_mw = pyo.Expression(
            steps, rule=lambda m, t: asset.charge_efficiency_frac * m.charge_mw[t]
        )
        m.drawn_mw = pyo.Expression(
            steps, rule=lambda m, t: m.discharge_mw[t] / asset.discharge_efficiency_frac
        )
        return
    m.stored_mw = _in_pieces(
        m,
        data,
        "charge",
        asset.losses.charge,
        asset.charge_limit_mw,
        doc="(106a) the pieces of the charge add up to it",
    )
    m.drawn_mw = _in_pieces(
        m,
        data,
        "discharge",
        asset.losses.discharge,
        asset.discharge_limit_mw,
        doc="(106b) the pieces of the discharge add up to it",
    )


def bends_of(data: ModelData) -> dict[str, tuple[str, float]]:
    """Name of every binary of (107) -> the flow that it watches, and where the piece ends [MW]."""
    asset = data.asset
    if asset.losses is None:
        return {}
    flows = (
        ("charge", asset.losses.charge, asset.charge_limit_mw),
        ("discharge", asset.losses.discharge, asset.discharge_limit_mw),
    )
    return {
        f"{flow}_full[{t},{j}]": (f"{flow}_mw[{t}]", float(pieces.width_mw[: j + 1].sum()))
        for flow, pieces, limit_mw in flows
        for t, j in _bent(pieces, pieces.within(limit_mw))
    }


def _bent(pieces: PowerPieces, width_mw: Floats) -> list[tuple[int, int]]:
    """Steps and pieces j where the slope changes to that of the next piece, which is there."""
    n_steps = len(width_mw)
    return [(t, j) for j in pieces.bends for t in range(n_steps) if width_mw[t, j + 1] > 0]


def _in_pieces(
    m: Any, data: ModelData, flow: str, pieces: PowerPieces, limit_mw: Floats, doc: str
) -> Any:
    """(106c) power of the store for a flow that is the sum of its pieces."""
    steps, width = range(data.grid.n_steps), pieces.within(limit_mw)
    used = [(t, j) for t in steps for j in range(pieces.n) if width[t, j] > 0]
    piece = pyo.Var(used, bounds=lambda _, t, j: (0, float(width[t, j])))
    m.add_component(f"{flow}_piece_mw", piece)
    of_step: list[list[tuple[int, int]]] = [[] for _ in steps]
    for t, j in used:
        of_step[t].append((t, j))

    def adds_up(m: Any, t: int) -> Any:
        return m.component(f"{flow}_mw")[t] == sum(piece[at] for at in of_step[t])

    m.add_component(f"{flow}_pieces", pyo.Constraint(steps, rule=adds_up, doc=doc))
    _add_fill_order(m, data, flow, pieces, width)
    slope = pieces.slope
    return pyo.Expression(
        steps, rule=lambda _, t: sum(float(slope[at[1]]) * piece[at] for at in of_step[t])
    )


def _add_fill_order(
    m: Any, data: ModelData, flow: str, pieces: PowerPieces, width_mw: Floats
) -> None:
    """No piece begins before the one below it is full; pieces of one slope may mix."""
    piece, bent = m.component(f"{flow}_piece_mw"), _bent(pieces, width_mw)

    def width(t: int, j: int) -> float:
        return float(width_mw[t, j])

    if data.exclusive == "binary":
        full = pyo.Var(bent, domain=pyo.Binary)
        m.add_component(f"{flow}_full", full)

        def below(_: Any, t: int, j: int) -> Any:
            return piece[t, j] - width(t, j) * full[t, j] >= 0

        def above(_: Any, t: int, j: int) -> Any:
            return piece[t, j + 1] - width(t, j + 1) * full[t, j] <= 0

        left = pyo.Constraint(bent, rule=below, doc="(107a) a piece is full where the next begins")
        right = pyo.Constraint(bent, rule=above, doc="(107b) no piece before the one below it")
        m.add_component(f"{flow}_fill_below", left)
        m.add_component(f"{flow}_fill_above", right)
        return

    def order(_: Any, t: int, j: int) -> Any:
        return width(t, j + 1) * piece[t, j] - width(t, j) * piece[t, j + 1] >= 0

    rows = pyo.Constraint(bent, rule=order, doc="(107c) order of filling, relaxation of (107)")
    m.add_component(f"{flow}_fill_order", rows)
