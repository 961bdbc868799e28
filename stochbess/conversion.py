"""Which efficiency a decision counts with: two constants, or the loss curve of the plant."""

from __future__ import annotations

from dataclasses import dataclass

from stochbess.battery.efficiency import Circuit
from stochbess.battery.loss_pieces import LossPieces, loss_pieces
from stochbess.config import Config
from stochbess.errors import ConfigError
from stochbess.models.data import LossCuts, PowerPieces


@dataclass(frozen=True)
class Conversion:
    """Losses of charging and discharging; None for both where the efficiencies are constant.

    `words` names the model and its numbers; `assumptions` are sentences for the report.
    """

    charge: LossPieces | None
    discharge: LossPieces | None
    words: str
    assumptions: tuple[str, ...] = ()

    @property
    def cuts(self) -> LossCuts | None:
        """For the model."""
        if self.charge is None or self.discharge is None:
            return None
        return LossCuts(
            PowerPieces(self.charge.width_mw, self.charge.slope),
            PowerPieces(self.discharge.width_mw, self.discharge.slope),
        )


def circuit_of(config: Config) -> Circuit:
    """The plant's circuit: the configured battery with the cells and inverter of the tables."""
    battery = config.battery
    return Circuit(
        battery.energy_mwh, battery.power_mw, resistance_scale=battery.losses.resistance_scale
    )


def conversion_of(config: Config) -> Conversion:
    """The efficiency model that `battery.efficiency_model` asks for.

    Raises
    ------
    ConfigError : the cells cannot carry the power at the stated SOC and temperature
    """
    battery = config.battery
    if battery.efficiency_model == "constant":
        words = (
            f"constant, {battery.charge_efficiency_frac:g} charging and "
            f"{battery.discharge_efficiency_frac:g} discharging"
        )
        return Conversion(None, None, words)
    circuit, read = circuit_of(config), battery.losses
    charge, discharge = (
        loss_pieces(
            circuit,
            battery.power_mw,
            read.pieces,
            charging=charging,
            soc_frac=read.at_soc_frac,
            temperature_degc=read.at_temperature_degc,
            resistance_growth_frac=battery.state.resistance_growth_frac,
        )
        for charging in (True, False)
    )
    chord_kw = 1000 * max(charge.chord_error_mw, discharge.chord_error_mw)
    low_kw = 1000 * max(charge.envelope_error_mw, discharge.envelope_error_mw)
    words = (
        f"loss cuts, {len(charge.slope)} pieces each way, at full power "
        f"{charge.efficiency_frac:.4f} charging and {discharge.efficiency_frac:.4f} discharging"
    )
    low_mw = max(charge.exact_from_mw, discharge.exact_from_mw)
    assumptions = (
        f"Losses are a convex curve of power at SOC {read.at_soc_frac:g} and "
        f"{read.at_temperature_degc:g} degC, resistance growth "
        f"{battery.state.resistance_growth_frac:g} (SOH {battery.state.soh_frac:g}), whatever the "
        f"SOC of the step. Its pieces lie at most {chord_kw:.2g} kW above the curve.",
        f"Below {low_mw:.3g} MW the no-load loss counts in proportion to power: up to {low_kw:.2g} "
        "kW less than the plant loses there.",
        "battery.charge_efficiency_frac and battery.discharge_efficiency_frac are not used.",
    )
    return Conversion(charge, discharge, words, assumptions)


def constant_only(config: Config, what: str) -> None:
    """Refuse a configuration with loss cuts where `what` cannot count with them.

    Raises
    ------
    ConfigError : battery.efficiency_model is not "constant"
    """
    if config.battery.efficiency_model != "constant":
        raise ConfigError(
            f"{what} counts with constant efficiencies; found battery.efficiency_model="
            f"{config.battery.efficiency_model}. Set battery.efficiency_model=constant."
        )
