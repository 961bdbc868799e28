"""How many whole lots fit into a block, and the integer hull of what fits."""

from __future__ import annotations

import math
from itertools import pairwise

from stochbess.models.data import ModelData

# A limit such as 2.0 MW must admit two lots of 1 MW in spite of floating-point division.
_FIT = 1e-9


def _room_mw(data: ModelData, product: str, b: int, fcr_mw: float) -> float:
    """Power left for aFRR in block b beside `fcr_mw` of FCR, after what is committed (8)."""
    res, asset = data.reserves, data.asset
    inside = data.grid.block_of_step == b
    up = product == "afrr_up"
    limit = asset.discharge_limit_mw if up else asset.charge_limit_mw
    committed = res.committed_afrr_up_mw if up else res.committed_afrr_down_mw
    total_fcr = float(res.committed_fcr_mw[b]) + fcr_mw
    return float(limit[inside].min()) - res.recharge_factor * total_fcr - float(committed[b])


def max_lots(data: ModelData, product: str, b: int) -> float:
    """Largest number of lots of `product` that fits into block b when nothing else is sold.

    Whole for integer lots, fractional otherwise; 0 when commitments already fill the block.
    """
    res = data.reserves
    if product == "fcr":
        room = min(_room_mw(data, name, b, 0.0) for name in ("afrr_up", "afrr_down"))
        mw, lot = min(room / res.recharge_factor, res.fcr_max_mw), res.fcr_lot_mw
    else:
        mw, lot = min(_room_mw(data, product, b, 0.0), res.afrr_max_mw), res.afrr_lot_mw
    lots = math.floor(mw / lot + _FIT) if res.integer_lots else mw / lot
    return max(0.0, float(lots))


def envelope(data: ModelData, product: str, b: int) -> list[tuple[float, float]]:
    """Concave envelope of the aFRR lots that fit beside i FCR lots, as lines `slope * i + top`.

    For whole lots every feasible pair satisfies `afrr <= slope * fcr + top`, and the lines are the
    facets of the hull of the pairs (docs/math.md (9)).
    """
    res = data.reserves
    top_fcr = int(max_lots(data, "fcr", b))

    def fits(i: int) -> int:
        room = min(_room_mw(data, product, b, i * res.fcr_lot_mw), res.afrr_max_mw)
        return math.floor(room / res.afrr_lot_mw + _FIT)

    points = [(i, fits(i)) for i in range(top_fcr + 1)]
    hull: list[tuple[int, int]] = []
    for point in points:
        while len(hull) > 1 and _above(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    lines = []
    for (x0, y0), (x1, y1) in pairwise(hull):
        slope = (y1 - y0) / (x1 - x0)
        lines.append((slope, y0 - slope * x0))
    return lines


def _above(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> bool:
    """Whether b lies on or below the chord from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])
