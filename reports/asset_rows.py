"""The rows of the decision report that say which battery was decided for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stochbess.reports.book import FactBook


def asset_rows(book: FactBook, config: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """(label, name of fact) of every row; the facts are added to `book`."""
    battery, state = config["battery"], config["battery"]["state"]
    items = (
        ("Usable energy", "energy_mwh", battery["energy_mwh"], "MWh", 3),
        ("Power", "power_mw", battery["power_mw"], "MW", 3),
        *_losses(battery),
        ("Charge level at the start", "soc_start", 100 * state["soc_frac"], "%", 1),
        ("State of health", "soh", 100 * state["soh_frac"], "%", 1),
        ("Replacement cost", "replacement", battery["replacement_cost_eur_kwh"], "EUR/kWh", 2),
    )  # fmt: skip
    return tuple(
        (label, book.number(f"battery.{key}", float(value), unit, digits, label.lower()))
        for label, key, value, unit, digits in items
    )


def _losses(battery: Mapping[str, Any]) -> tuple[tuple[str, str, float, str, int], ...]:
    """Efficiencies, or what the loss curve is read at; runs before there were curves have none."""
    if battery.get("efficiency_model", "constant") == "constant":
        return (
            ("Charge efficiency", "charge_efficiency",
             100 * battery["charge_efficiency_frac"], "%", 1),
            ("Discharge efficiency", "discharge_efficiency",
             100 * battery["discharge_efficiency_frac"], "%", 1),
        )  # fmt: skip
    curve, growth = battery["losses"], battery["state"]["resistance_growth_frac"]
    return (
        ("Loss curve, pieces each way", "loss_pieces", curve["pieces"], "", 0),
        ("Loss curve at charge level", "loss_soc", 100 * curve["at_soc_frac"], "%", 1),
        ("Loss curve at temperature", "loss_temperature", curve["at_temperature_degc"], "°C", 1),
        ("Growth of resistance", "resistance_growth", 100 * growth, "%", 1),
    )
