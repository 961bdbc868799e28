"""From single quantities to offers with prices: day-ahead curves and menus of capacity bids.

Offers are here-and-now variables of their own; what they turn into differs between scenarios. A
decision for one forecast knows one price and offers one quantity, which is a flat curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.errors import ConfigError
from stochbess.market.order_curve import curve_shares
from stochbess.models.data import EnergyMarkets, ModelData

if TYPE_CHECKING:
    from stochbess.assemble import Case
    from stochbess.decide import Decision

Floats = npt.NDArray[np.float64]


_OFFER_SERIES = ("day_ahead_curve_frac", "afrr_up_accepted", "afrr_down_accepted")
# What differs by more between the paths of a tree is decided at later nodes [MW].
DECIDED_LATER_MW = 1e-9


def with_offer_data(series: Mapping[str, Floats], data: ModelData) -> dict[str, Floats]:
    """Scenario data with what the offers of `data` turn into in every scenario."""
    out = dict(series)
    if data.energy.curve_points:
        points = data.energy.curve_price_eur_mwh
        out["day_ahead_curve_frac"] = curve_shares(points, out["day_ahead_eur_mwh"])
    menu = data.reserves.menu
    if menu is not None:
        for way in ("up", "down"):
            published = out[f"afrr_{way}_eur_mw_h"]
            accepted = published[:, :, None] >= menu.threshold_eur_mw_h(way)[None]
            out[f"afrr_{way}_accepted"] = accepted.reshape(len(published), -1).astype(np.float64)
    return out


def without_offer_data(series: Mapping[str, Floats]) -> dict[str, Floats]:
    """Scenario data as the world made them, without what offers turn them into."""
    return {name: values for name, values in series.items() if name not in _OFFER_SERIES}


def single_quantities(data: ModelData) -> ModelData:
    """The same decision without price-dependent offers."""
    plain = np.zeros((0, 0))
    energy: EnergyMarkets = replace(data.energy, curve_price_eur_mwh=plain)
    return replace(data, energy=energy, reserves=replace(data.reserves, menu=None))


def with_single_quantities(case: Case) -> Case:
    """The case of a decision that offers single quantities, and what that assumes."""
    plain = single_quantities(case.data)
    said = case.assumptions
    if case.data.reserves.menu is not None:
        said = (*said, "This decision offers no menu: aFRR capacity is awarded with certainty.")
    return replace(case, data=plain, assumptions=said)


def judged_by_price(data: ModelData) -> ModelData:
    """The same offers, accepted where they do not exceed the published price: for what happened."""
    menu = data.reserves.menu
    if menu is None:
        return data
    told = replace(
        menu,
        up_threshold_eur_mw_h=menu.up_eur_mw_h,
        down_threshold_eur_mw_h=menu.down_eur_mw_h,
    )
    return replace(data, reserves=replace(data.reserves, menu=told))


def as_offers(first_stage: Mapping[str, float], data: ModelData) -> dict[str, float]:
    """Single quantities as offers that do not depend on the price; offers stay what they are."""
    out = dict(first_stage)
    for n in range(data.grid.n_day_ahead):
        for j in range(data.energy.curve_points):
            quantity = first_stage.get(f"day_ahead_mw[{n}]")
            if quantity is not None:
                out.setdefault(f"day_ahead_curve_mw[{n},{j}]", quantity)
    if data.reserves.menu is not None:
        for way in ("up", "down"):
            for b in range(data.grid.n_blocks):
                quantity = first_stage.get(f"afrr_{way}_lots[{b}]")
                if quantity is not None:
                    out.setdefault(f"afrr_{way}_offer[{b},0]", quantity)
    return out


def paid_series(
    series: Mapping[str, Floats], values: Mapping[str, Floats], data: ModelData
) -> dict[str, Floats]:
    """(139) Scenario data with the aFRR capacity prices that the awarded bids are really paid.

    Pay-as-bid: the mean price of what is awarded, 0 where nothing is. Without a menu nothing
    changes.
    """
    out, menu = dict(series), data.reserves.menu
    if menu is None or "afrr_up_offer" not in values:
        return out
    for way in ("up", "down"):
        offers = values[f"afrr_{way}_offer"]
        won = out[f"afrr_{way}_accepted"].reshape(offers.shape) * offers
        lots = won.sum(axis=2)
        paid = (won * menu.price_eur_mw_h(way)[None]).sum(axis=2)
        out[f"afrr_{way}_eur_mw_h"] = np.where(lots > 0, paid / np.where(lots > 0, lots, 1.0), 0.0)
    return out


def first_stage_of(frames: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Here-and-now variables of a stored run by name: its bids, curves and menus of prices."""
    out: dict[str, float] = {}
    for name in ("bids", "curve", "menu"):
        if name in frames:
            rows = frames[name]
            quantities = (float(quantity) for quantity in rows["quantity"])
            out |= dict(zip(rows["variable"].astype(str), quantities, strict=True))
    return out


def curve_table(case: Case, decision: Decision) -> pd.DataFrame | None:
    """Points of the day-ahead curves, cheapest first; None for single quantities.

    Columns: start_utc, start_local, end_local, price_eur_mwh, mw (> 0 sells), variable, quantity.
    """
    energy, horizon = case.data.energy, case.horizon
    if not energy.curve_points or "day_ahead_curve_mw" not in decision.values:
        return None
    if np.ptp(decision.values["day_ahead_curve_mw"], axis=0).max() > DECIDED_LATER_MW:
        return None  # a tree decides it at later nodes: no curve of now
    starts = horizon.day_ahead_steps
    ends = starts + pd.Timedelta(minutes=horizon.day_ahead_min)
    offered = decision.values["day_ahead_curve_mw"][0]
    rows = [
        {
            "start_utc": start,
            "start_local": start.tz_convert(horizon.timezone).strftime("%Y-%m-%d %H:%M"),
            "end_local": end.tz_convert(horizon.timezone).strftime("%Y-%m-%d %H:%M"),
            "price_eur_mwh": float(energy.curve_price_eur_mwh[n, j]),
            "mw": round(float(offered[n, j]), 6) + 0.0,
            "variable": f"day_ahead_curve_mw[{n},{j}]",
            "quantity": float(offered[n, j]) + 0.0,
        }
        for n, (start, end) in enumerate(zip(starts, ends, strict=True))
        for j in range(energy.curve_points)
    ]
    return pd.DataFrame(rows)


def require_positions(first_stage: Mapping[str, float], data: ModelData) -> None:
    """Bids that leave the day-ahead position to later nodes of a tree have no one price.

    Raises
    ------
    ConfigError : day-ahead is decided at its gate, but the bids hold no position
    """
    held = any(name.startswith("day_ahead") for name in first_stage)
    if data.energy.day_ahead == "here_and_now" and not held:
        raise ConfigError(
            "the day-ahead positions of this run depend on the result of the reserve auctions, so "
            "that its bids alone cannot be priced. Set tree.reserves=1 for one position."
        )


def offer_text(data: ModelData, decision: Decision, direction: str, block: int) -> str:
    """aFRR capacity of a block at its bid prices, in words; empty without a menu."""
    menu, name = data.reserves.menu, f"afrr_{direction}_offer"
    if menu is None or name not in decision.values:
        return ""
    prices, offers = menu.price_eur_mw_h(direction)[block], decision.values[name][0, block]
    parts = [
        f"{data.reserves.afrr_lot_mw * mw:g} MW at {price:.2f}"
        for price, mw in zip(prices, np.round(offers, 6), strict=True)
        if mw > 0
    ]
    return ", ".join(parts) + " EUR/MW per hour, pay-as-bid" if parts else "no bid"


def menu_table(case: Case, decision: Decision) -> pd.DataFrame | None:
    """aFRR capacity offered at each price of the menu; None without one.

    Columns: start_utc, start_local, end_local, product, price_eur_mw_h, accepted_frac (of the
    scenarios), mw, variable, quantity.
    """
    reserves, horizon = case.data.reserves, case.horizon
    if reserves.menu is None or "afrr_up_offer" not in decision.values:
        return None
    starts = horizon.block_starts
    ends = starts[1:].append(pd.DatetimeIndex([horizon.end_utc]).as_unit("us"))
    rows = []
    for way in ("up", "down"):
        offers = decision.values[f"afrr_{way}_offer"][0]
        likely = (case.probability @ case.series[f"afrr_{way}_accepted"]).reshape(offers.shape)
        if reserves.integer_lots:
            offers = np.round(offers)
        rows += [
            {
                "start_utc": start,
                "start_local": start.tz_convert(horizon.timezone).strftime("%Y-%m-%d %H:%M"),
                "end_local": end.tz_convert(horizon.timezone).strftime("%Y-%m-%d %H:%M"),
                "product": way,
                "price_eur_mw_h": float(reserves.menu.price_eur_mw_h(way)[b, k]),
                "accepted_frac": float(likely[b, k]),
                "mw": round(reserves.afrr_lot_mw * float(offers[b, k]), 6) + 0.0,
                "variable": f"afrr_{way}_offer[{b},{k}]",
                "quantity": float(offers[b, k]) + 0.0,
            }
            for b, (start, end) in enumerate(zip(starts, ends, strict=True))
            for k in range(reserves.menu.size)
        ]
    return pd.DataFrame(rows)
