"""Tables and facts of a run: what a trader reads, what a file carries, what a page prints."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess.assemble import Case
from stochbess.decide import Decision
from stochbess.evaluate.ledger import Ledger
from stochbess.evaluate.worth import Interval, Worth, cvar_eur, quantile_eur
from stochbess.offers import DECIDED_LATER_MW, offer_text
from stochbess.reports.facts import Fact
from stochbess.run_record import RunRecord

Floats = npt.NDArray[np.float64]
# Below any market's tick, above the noise of floating-point sums and of the solver.
_MW_DIGITS = 6
_CORRIDOR = (0.1, 0.5, 0.9)


def bid_table(case: Case, decision: Decision) -> pd.DataFrame:
    """What to offer where: one row per product and delivery interval, zero rows included.

    Columns: market, product, start_utc, start_local, end_local, mw (energy: > 0 sells), price,
    variable, quantity (the value of the model's variable).
    """
    horizon, reserves = case.horizon, case.data.reserves
    zone = horizon.timezone
    blocks = horizon.block_starts
    block_ends = blocks[1:].append(pd.DatetimeIndex([horizon.end_utc]).as_unit("us"))
    units = horizon.day_ahead_steps
    unit_ends = units + pd.Timedelta(minutes=horizon.day_ahead_min)
    products = [
        ("FCR", "symmetric", "fcr_lots", blocks, block_ends, reserves.fcr_lot_mw),
        ("aFRR", "up", "afrr_up_lots", blocks, block_ends, reserves.afrr_lot_mw),
        ("aFRR", "down", "afrr_down_lots", blocks, block_ends, reserves.afrr_lot_mw),
        ("day-ahead", "energy", "day_ahead_mw", units, unit_ends, 1.0),
    ]
    clearing = "clearing price (price taker)"
    prices = {
        "FCR": clearing,
        "aFRR": "published average, award assumed",
        "day-ahead": clearing,
    }
    rows = []
    for market, product, name, starts, ends, scale in products:
        if name not in decision.values:
            continue
        if name == "fcr_lots" and reserves.fcr == "off":
            continue
        if name.startswith("afrr") and reserves.afrr == "off":
            continue
        if name == "day_ahead_mw" and case.data.energy.day_ahead == "recourse":
            continue
        quantity, text = decision.values[name][0], prices[market]
        if name == "day_ahead_mw" and "day_ahead_curve_mw" in decision.values:
            if np.ptp(decision.values["day_ahead_curve_mw"], axis=0).max() > DECIDED_LATER_MW:
                continue  # a tree decides the curve at later nodes: no bid of now
            quantity = case.probability @ decision.values[name]
            text = f"curve of {case.data.energy.curve_points} points; MW cleared on average"
        elif market == "aFRR" and (offer := name.replace("_lots", "_offer")) in decision.values:
            quantity = decision.values[offer][0].sum(axis=1)
        elif np.ptp(decision.values[name], axis=0).max() > DECIDED_LATER_MW:
            continue  # a tree decides it at later nodes: no bid of now
        if name != "day_ahead_mw" and reserves.integer_lots:
            quantity = np.round(quantity)
        for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
            told = offer_text(case.data, decision, product, i) if market == "aFRR" else ""
            rows.append(
                {
                    "market": market,
                    "product": product,
                    "start_utc": start,
                    "start_local": start.tz_convert(zone).strftime("%Y-%m-%d %H:%M"),
                    "end_local": end.tz_convert(zone).strftime("%Y-%m-%d %H:%M"),
                    "mw": round(scale * float(quantity[i]), _MW_DIGITS) + 0.0,
                    "price": told or text,
                    "variable": f"{name}[{i}]",
                    "quantity": float(quantity[i]) + 0.0,
                }
            )
    columns = ["market", "product", "start_utc", "start_local", "end_local", "mw", "price"]
    return pd.DataFrame(rows, columns=[*columns, "variable", "quantity"])


def schedule_table(case: Case, decision: Decision, names: tuple[str, ...]) -> pd.DataFrame:
    """Recourse of every scenario, long form: scenario, delivery_start_utc, MW and MWh columns."""
    values, steps = decision.values, case.horizon.steps
    data: dict[str, object] = {
        "scenario": np.repeat(np.array(names, object), len(steps)),
        "delivery_start_utc": np.tile(steps, len(names)),
    }
    wanted = (
        "charge_mw",
        "discharge_mw",
        "buy_mw",
        "sell_mw",
        "delivered_up_mw",
        "delivered_down_mw",
        "long_mw",
        "short_mw",
    )
    for name in wanted:
        if name in values:
            data[name] = values[name].ravel()
    if "day_ahead_mw" in values:
        data["day_ahead_mw"] = values["day_ahead_mw"][:, case.horizon.day_ahead_of_step].ravel()
    data["energy_end_mwh"] = values["energy_mwh"][:, 1:].ravel()
    frame = pd.DataFrame(data)
    frame["delivery_start_utc"] = pd.DatetimeIndex(data["delivery_start_utc"]).as_unit("us")  # type: ignore[arg-type]
    return frame


def soc_table(case: Case, decision: Decision, probability: Floats) -> pd.DataFrame:
    """Stored energy at step ends over the scenarios, with the energy that reserves must hold."""
    energy = decision.values["energy_mwh"][:, 1:]
    data, block = case.data, case.horizon.block_of_step
    asset, res = data.asset, data.reserves
    held = {"fcr": 0.0, "up": 0.0, "down": 0.0}
    if res.any:
        lots = {
            # Where bids at several prices are awarded differently, the most that is.
            name: decision.values[f"{name}_lots"].max(axis=0)
            for name in ("fcr", "afrr_up", "afrr_down")
        }
        fcr = lots["fcr"] * res.fcr_lot_mw + res.committed_fcr_mw
        up = lots["afrr_up"] * res.afrr_lot_mw + res.committed_afrr_up_mw
        down = lots["afrr_down"] * res.afrr_lot_mw + res.committed_afrr_down_mw
        held["up"] = (res.fcr_energy_h * fcr + res.afrr_energy_h * up)[block]
        held["down"] = (res.fcr_energy_h * fcr + res.afrr_energy_h * down)[block]
    frame = pd.DataFrame({"delivery_start_utc": case.horizon.steps})
    frame["mean_mwh"] = probability @ energy
    for level in _CORRIDOR:
        frame[f"p{round(100 * level)}_mwh"] = [
            quantile_eur(energy[:, t], probability, level) for t in range(energy.shape[1])
        ]
    frame["least_mwh"], frame["most_mwh"] = energy.min(axis=0), energy.max(axis=0)
    drawn_mwh = held["up"] / asset.reserve_discharge_efficiency_frac
    stored_mwh = asset.reserve_charge_efficiency_frac * held["down"]
    frame["reserve_floor_mwh"] = asset.energy_min_mwh + drawn_mwh
    frame["reserve_ceiling_mwh"] = asset.energy_max_mwh - stored_mwh
    return frame


def worth_table(worth: Worth) -> pd.DataFrame:
    """Signed intervals: measure, low, high [EUR], and whether the sign is proven."""
    items = {
        "WS": worth.ws,
        "RP": worth.rp,
        "EEV": worth.eev,
        "EVPI = WS - RP": worth.evpi,
        "VSS = RP - EEV": worth.vss,
    }
    for name in worth.opponents:
        items[f"gain over {name}"] = worth.gain_over(name)
    return pd.DataFrame(
        [
            {"measure": k, "low_eur": v.low, "high_eur": v.high, "sign_known": v.sign_known}
            for k, v in items.items()
        ]
    )


def frictions(case: Case) -> str:
    """Which departures from the frictionless corner can make VSS differ from zero here."""
    data, found = case.data, []
    if data.reserves.fcr != "off" or data.reserves.afrr != "off":
        found.append("reserve capacity fixed before prices and calls are known")
    if data.reserves.afrr != "off":
        found.append("activation against the energy corridor")
    if data.energy.intraday and data.energy.half_spread_eur_mwh > 0:
        found.append(f"intraday half-spread {data.energy.half_spread_eur_mwh:g} EUR/MWh")
    if data.energy.intraday and np.isfinite(data.energy.liquidity_mw):
        found.append(f"intraday liquidity {data.energy.liquidity_mw:g} MW")
    if not data.energy.intraday and data.energy.day_ahead == "here_and_now":
        found.append("no intraday market to correct the day-ahead position")
    return "; ".join(found) or "none: frictionless, VSS is zero by theory"


def _bounds(name: str, value: Interval, meaning: str) -> list[Fact]:
    sign = "" if value.sign_known else " The interval holds zero: no sign is claimed."
    return [
        Fact(f"{name}_low", value.low, "EUR", 2, f"{meaning}, proven lower bound.{sign}"),
        Fact(f"{name}_high", value.high, "EUR", 2, f"{meaning}, proven upper bound.{sign}"),
    ]


def run_facts(
    case: Case,
    record: RunRecord,
    decision: Decision,
    ledger: Ledger,
    worth: Worth | None,
    virtual_eur: float | None,
    probability: Floats,
) -> list[Fact]:
    """The numbers of a run, in the order in which a reader wants them."""
    profit = decision.scenario_profit_eur
    level = case.config.risk.cvar_level
    rows = ledger.scenarios

    def expected(column: str) -> float:
        return float(probability @ rows[column].to_numpy())

    reserves = case.data.reserves
    nominal = case.config.battery.power_mw * case.horizon.n_days
    facts = [
        Fact("zone", case.market.zone, "", 0, "bidding zone"),
        Fact("synthetic", "yes" if record.synthetic else "no", "", 0, "market data are synthetic"),
        Fact("day", str(case.horizon.first_day), "", 0, "first local delivery day"),
        Fact("gate", f"{case.gate:%Y-%m-%d %H:%MZ}", "", 0, "decisions see what this gate sees"),
        Fact("scenarios", float(len(probability)), "", 0, "number of scenarios"),
        Fact("profit", decision.profit_lb_eur, "EUR", 2,
             "risk-adjusted profit of the decision, simultaneous flows excluded"),
        Fact("profit_bound", decision.profit_ub_eur, "EUR", 2, "no decision earns more (proven)"),
        Fact("gap", decision.gap_frac, "", 5, "proven relative gap"),
        Fact("expected_profit", float(probability @ profit), "EUR", 2,
             "mean over the scenarios, in sample; recourse sees the whole day at once"),
        Fact("expected_profit_per_mw_day", float(probability @ profit) / nominal, "EUR/MW/day", 2,
             "expected profit per MW of power and delivery day"),
        Fact("cvar", cvar_eur(profit, probability, level), "EUR", 2,
             f"mean of the worst {100 * (1 - level):.3g} % of the scenarios"),
        Fact("worst", float(profit.min()), "EUR", 2, "profit in the worst scenario"),
        Fact("median", quantile_eur(profit, probability, 0.5), "EUR", 2, "median profit"),
        Fact("best", float(profit.max()), "EUR", 2, "profit in the best scenario"),
    ]  # fmt: skip
    if virtual_eur is not None:
        facts.append(
            Fact("virtual", virtual_eur, "EUR", 2,
                 "expected profit that the same model earns without a battery and without reserves")
        )  # fmt: skip
    if worth is not None:
        facts += _bounds("ws", worth.ws, "wait-and-see")
        facts += _bounds("eev", worth.eev, "expected result of the mean-scenario decision")
        facts += _bounds("evpi", worth.evpi, "expected value of perfect information, WS - RP")
        facts += _bounds("vss", worth.vss, "value of the stochastic solution, RP - EEV")
        for name in worth.opponents:
            key = "gain_over_" + name.replace(" ", "_").replace("-", "_")
            facts += _bounds(key, worth.gain_over(name), f"gain over the {name} decision")
        facts.append(Fact("frictions", frictions(case), "", 0, "what makes VSS differ from zero"))
    elif case.config.risk.cvar_weight:
        reason = "not defined with a risk weight; set risk.cvar_weight=0"
        facts += [Fact(name, None, "EUR", 2, reason) for name in ("evpi", "vss")]
    facts += [
        Fact("aging", expected("aging_eur"), "EUR", 2, "expected cost of aging in the model"),
        Fact("aging_rainflow", expected("aging_rainflow_eur"), "EUR", 2,
             "its cycling, recounted by rainflow from the stored energy"),
        Fact("full_cycles", expected("full_cycles"), "", 3, "withdrawn over nameplate energy"),
        Fact("efficiency_model", case.conversion.words, "", 0, "what converter and cells lose"),
        Fact("energy_lost", expected("lost_mwh"), "MWh", 4,
             "expected losses of converter and cells"),
        Fact("energy_end", expected("energy_end_mwh"), "MWh", 3, "stored at the end"),
        Fact("imbalance", expected("imbalance_mwh"), "MWh", 4, "expected absolute imbalance"),
        Fact("reserve_shortfall", expected("reserve_shortfall_mwh_h"), "MWh h", 4,
             "reserve energy and power missing, summed over check points"),
        Fact("undelivered", expected("undelivered_mwh"), "MWh", 4, "called but not delivered"),
        Fact("loop_energy", expected("loop_energy_mwh"), "MWh", 3,
             "charged and discharged at once beyond what delivered calls explain"),
        Fact("relaxation_gain", decision.relaxed_profit_eur - decision.profit_lb_eur, "EUR", 2,
             "what allowing charge and discharge at once would add"),
        Fact("certificate", decision.outcome.violation, "", 12,
             "largest relative violation, recomputed from the arrays"),
        Fact("penalty_price", reserves.undelivered_eur_mwh, "EUR/MWh", 0,
             "price of undelivered activation"),
        Fact("engine", decision.outcome.engine, "", 0, "how it was solved"),
        Fact("solver", decision.outcome.solver, "", 0, "solver and version"),
        Fact("nodes", float(decision.outcome.nodes), "", 0, "branch-and-bound nodes"),
    ]  # fmt: skip
    if case.cycle_cost is not None:
        what = "part of the aging cost that the cuts of the relaxation do not hold up"
        facts.append(Fact("cycle_gap", decision.cycle_gap_frac, "", 5, what))
    return facts
