"""What a revenue can be at most, and what others say that batteries earn: two checks of a claim.

The ceiling of a line is power times hours times price, with every price known and no stored energy
to run out of: no schedule can be above it, so that a breach is a defect and no success. The band is
what public indices show for all products together; outside of it a claim needs an explanation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.market.settlement import Prices, SettlementTerms

Floats = npt.NDArray[np.float64]
# Monthly revenue of two-hour systems in Germany over all products, 2024 and 2025, as public indices
# show it [EUR/MW]. Read off their charts, so unverified.
BAND_EUR_MW_MONTH = (6_750.0, 19_100.0)
BAND_SOURCE = "battery-charts.de/revenue-index, regelleistung-online.de (read off, unverified)"
MONTH_H = 365.25 * 24 / 12
_ROUNDING_FRAC = 1e-6

# Lines of the cash by product, in the order of the tables.
PRODUCTS = {
    "FCR": ("fcr_capacity",),
    "aFRR capacity": ("afrr_up_capacity", "afrr_down_capacity"),
    "aFRR energy": ("activation_up", "activation_down"),
    "day-ahead": ("day_ahead",),
    "intraday": ("intraday", "intraday_spread"),
    "imbalance": ("imbalance",),
    "penalties": ("undelivered_penalty", "reserve_shortfall_penalty"),
    "fees": ("import_fee", "export_fee", "levy", "capacity_fee"),
}


def ceilings_eur(prices: Prices, terms: SettlementTerms, trade_limit_mw: float) -> dict[str, float]:
    """Most that each line of the cash can be [EUR]; lines that are never above zero are left out.

    Parameters
    ----------
    prices : what happened; a market that does not exist has no line
    trade_limit_mw : bound of the day-ahead position in both directions
    """
    dt_h = terms.dt_h
    out_mw, in_mw = float(terms.discharge_limit_mw.max()), float(terms.charge_limit_mw.max())
    most_mw = max(out_mw, in_mw)
    unit_h = np.asarray(dt_h * np.bincount(terms.day_ahead_of_step), np.float64)

    def total(weight: float | Floats, price: Floats) -> float:
        return float(np.sum(weight * np.maximum(price, 0.0))) if price.size else 0.0

    up, down = prices.activation_up_frac, prices.activation_down_frac
    traded_mw = trade_limit_mw + terms.intraday_liquidity_mw
    open_mw = 2 * most_mw + (traded_mw if np.isfinite(traded_mw) else np.inf)
    fees = terms.tariff
    found = {
        "fcr_capacity": total(most_mw, prices.fcr_eur_mw),
        "afrr_up_capacity": total(out_mw * terms.block_hours, prices.afrr_up_eur_mw_h),
        "afrr_down_capacity": total(in_mw * terms.block_hours, prices.afrr_down_eur_mw_h),
        "activation_up": total(out_mw * dt_h * up, prices.activation_up_eur_mwh),
        "activation_down": total(in_mw * dt_h * down, -prices.activation_down_eur_mwh),
        "day_ahead": total(trade_limit_mw * unit_h, np.abs(prices.day_ahead_eur_mwh)),
        "intraday": total(terms.intraday_liquidity_mw * dt_h, np.abs(prices.intraday_eur_mwh)),
        "imbalance": total(
            open_mw * dt_h,
            np.maximum(prices.imbalance_long_eur_mwh, -prices.imbalance_short_eur_mwh),
        ),
        "import_fee": total(in_mw * dt_h, -fees.import_fee_eur_mwh),
        "export_fee": total(out_mw * dt_h, -fees.export_fee_eur_mwh),
        "levy": out_mw * dt_h * len(terms.block_of_step) * fees.levy_eur_mwh,
    }
    return {line: eur for line, eur in found.items() if eur > 0}


def breaches(cash_eur: Mapping[str, float], ceiling_eur: Mapping[str, float]) -> list[str]:
    """Lines of the cash that exceed what is possible, in words; none if all is well."""
    found = []
    for line, eur in cash_eur.items():
        most = ceiling_eur.get(line, 0.0)
        if eur > most + _ROUNDING_FRAC * max(1.0, most):
            found.append(f"{line}: {eur:,.2f} EUR, at most {most:,.2f} EUR are possible")
    return found


@dataclass(frozen=True)
class BandCheck:
    """A revenue beside the published band, all in EUR per MW and month of 730.5 h."""

    eur_mw_month: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        if self.eur_mw_month > self.high:
            return "ABOVE the published band: explain it before it is quoted"
        if self.eur_mw_month < self.low:
            return "below the published band"
        return "within the published band"


def band_check(revenue_eur: float, power_mw: float, hours: float) -> BandCheck:
    """Revenue of `hours` hours, brought to a month and a megawatt, against the band."""
    return BandCheck(revenue_eur / power_mw / hours * MONTH_H, *BAND_EUR_MW_MONTH)


def monthly_products(days: pd.DataFrame, power_mw: float) -> pd.DataFrame:
    """Revenue by month and product [EUR per MW and month of 730.5 h].

    Parameters
    ----------
    days : one row per day of one policy: `day`, `hours`, and a column `cash_<line>` [EUR] per line.
        Days that are missing in a month count as if they had been like the others.

    Returns
    -------
    Rows month (YYYY-MM), columns days, the products, and revenue, their sum
    """
    month = days["day"].astype(str).str[:7]
    hours = days.groupby(month)["hours"].sum()
    found = pd.DataFrame({"days": days.groupby(month).size()})
    for product, lines in PRODUCTS.items():
        held = [f"cash_{line}" for line in lines if f"cash_{line}" in days]
        cash = days[held].sum(axis=1).groupby(month).sum()
        found[product] = cash / power_mw / hours * MONTH_H
    found["revenue"] = found[list(PRODUCTS)].sum(axis=1)
    return found.rename_axis("month").reset_index()
