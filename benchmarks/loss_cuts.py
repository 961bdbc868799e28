"""Plans with constant efficiency against plans with loss cuts, both judged by the plant's circuit.

Every plan is followed by `simulate`: cells with voltage and resistance at their own SOC and
temperature behind an inverter with part-load losses. What cannot be followed is imbalance, what is
stored at the end counts by the terminal value, and aging is the rainflow cost of the true path. The
constants of the fair opponent are the plant's own means over the plans of all days, found by
planning twice: it knows more than anybody would.

    STOCHBESS_MARKET_DATA=<market data> python benchmarks/loss_cuts.py [days] [two-stage days]
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stochbess.assemble import Case, build_case
from stochbess.battery.efficiency import Circuit
from stochbess.battery.plant import Plant, PlantState
from stochbess.battery.rainflow import discharge_cycle_cost
from stochbess.battery.recursion import GrossSchedule
from stochbess.battery.simulation import Trajectory, simulate
from stochbess.clock import cpu_s
from stochbess.config import load_config
from stochbess.decide import Decision, Effort, Formulation, Problem
from stochbess.evaluate.ledger import keep_ledger
from stochbess.evaluate.paired import paired_mean
from stochbess.market.data import MarketData, load_market
from stochbess.run import books_of

Floats = npt.NDArray[np.float64]
FIRST = date(2024, 1, 4)
EVERY_DAYS = 10
BASE = ["market.zone=DE_LU", "aging.model=segments"]
ARBITRAGE = [
    "markets.day_ahead.enabled=false",
    "markets.fcr.enabled=false",
    "markets.afrr.enabled=false",
    "markets.intraday.liquidity_mw=5",
    "scenarios.source=realised",
]
TWO_STAGE = ["scenarios.n=10"]


@dataclass(frozen=True)
class Judged:
    """One way of planning on D days; (D,) each, means over the scenarios of a day.

    Attributes
    ----------
    promised_eur, net_eur : profit by the plan's own account, and by the plant
    correction_eur : what imbalance cost because the plan could not be followed
    missing_mwh : asked for and not followed
    drift_mwh : stored at the end by the plant less by the plan
    largest_drift_mwh : largest distance between the two paths
    lost_mwh : losses of converter and cells in the plant
    efficiencies : energy-weighted means of the plant, charging and discharging
    """

    promised_eur: Floats
    net_eur: Floats
    correction_eur: Floats
    missing_mwh: Floats
    drift_mwh: Floats
    largest_drift_mwh: Floats
    lost_mwh: Floats
    efficiencies: tuple[float, float]
    cpu_s_per_day: float


@dataclass
class _Flows:
    """Energy at the connection and in the store, by direction, summed over all plans."""

    charged: float = 0.0
    stored: float = 0.0
    discharged: float = 0.0
    drawn: float = 0.0

    def add(self, ran: Trajectory) -> None:
        loss = ran.cell_loss_mw + ran.inverter_loss_mw
        charging = (ran.charge_mw > 0) & (ran.discharge_mw <= 0)
        discharging = (ran.discharge_mw > 0) & (ran.charge_mw <= 0)
        self.charged += float(ran.charge_mw[charging].sum())
        self.stored += float((ran.charge_mw - loss)[charging].sum())
        self.discharged += float(ran.discharge_mw[discharging].sum())
        self.drawn += float((ran.discharge_mw + loss)[discharging].sum())


def judge(case: Case, decision: Decision, flows: _Flows) -> Floats:
    """(7,) what `Judged` holds of one day, by the plant that starts where the plan does."""
    battery, dt = case.config.battery, case.terms.dt_h
    plant = Plant(
        battery.energy_mwh,
        battery.power_mw,
        battery.power_mw,
        efficiency=Circuit(battery.energy_mwh, battery.power_mw),
    )
    books = books_of(case)
    ledger = keep_ledger(
        case.scenarios.names, case.probability, decision.values, case.series, books
    )
    rows = []
    for s, name in enumerate(case.scenarios.names):
        values = {key: part[s] for key, part in decision.values.items() if len(part) > s}
        asked = GrossSchedule(
            np.maximum(values["charge_mw"], 0.0), np.maximum(values["discharge_mw"], 0.0)
        )
        ran = simulate(plant, asked, dt, PlantState.new(plant, battery.state.soc_frac))
        flows.add(ran)
        off = -ran.shortfall_mw
        long, short = (case.series[f"imbalance_{side}_eur_mwh"][s] for side in ("long", "short"))
        correction = dt * float(long @ np.maximum(off, 0.0) - short @ np.maximum(-off, 0.0))
        ends = books.stored_eur(np.array([ran.energy_mwh[0], ran.energy_mwh[-1]]))
        aging = 0.0
        if case.curve is not None:
            aging = discharge_cycle_cost(ran.soc_frac, (0.0,), case.curve)
        cash = ledger.settlements[name].total_cash_eur + correction
        drift = ran.energy_mwh - values["energy_mwh"]
        lost = dt * float((ran.cell_loss_mw + ran.inverter_loss_mw).sum())
        rows.append(
            [
                float(decision.scenario_profit_eur[s]),
                cash - aging + float(ends[1] - ends[0]),
                -correction,
                dt * float(np.abs(ran.shortfall_mw).sum()),
                float(drift[-1]),
                float(np.abs(drift).max()),
                lost,
            ]
        )
    return np.asarray(case.probability @ np.array(rows))


def worth_of_stored(days: list[date], market: MarketData) -> dict[date, str]:
    """The same value of stored energy for all plans: the automatic one of the day, as override."""
    found = {}
    for day in days:
        case = build_case(load_config(None, [*BASE, *ARBITRAGE, f"market.day={day}"]), market)
        values = ",".join(repr(float(value)) for value in case.data.terminal.marginal_eur_mwh)
        found[day] = f"terminal.marginal_values_eur_mwh=[{values}]"
    return found


def run(
    overrides: list[str], days: dict[date, str], market: MarketData, formulation: Formulation
) -> Judged:
    """Plan every day on its own and let the plant follow; `days` hold an override each."""
    rows, flows, spent = [], _Flows(), 0.0
    for day, worth in days.items():
        at = [*BASE, *overrides, f"market.day={day}", worth]
        case = build_case(load_config(None, at), market)
        problem = Problem(case.data, formulation)
        problem.relaxed, problem.binary  # noqa: B018  compiled before the clock runs
        began = cpu_s()
        exact = formulation == "deterministic"
        effort = Effort(1e-5 if exact else 0.005, 120.0, 1)
        decision = problem.decide(case.series, case.probability, effort)
        spent += cpu_s() - began
        rows.append(judge(case, decision, flows))
        print(f"{day} {rows[-1].round(3).tolist()} {spent:.1f} s", file=sys.stderr, flush=True)
    columns = np.array(rows).T
    efficiencies = (flows.stored / flows.charged, flows.discharged / flows.drawn)
    return Judged(*columns, efficiencies, spent / len(days))


def constants(charge: float, discharge: float) -> list[str]:
    """Overrides of the constant efficiencies."""
    return [
        f"battery.charge_efficiency_frac={charge!r}",
        f"battery.discharge_efficiency_frac={discharge!r}",
    ]


def _interval(gain: Floats) -> str:
    mean = paired_mean(gain, seed=1, block=min(7, len(gain)))
    return f"{mean.mean:+.2f} [{mean.low:+.2f}, {mean.high:+.2f}]"


def table(found: dict[str, Judged], fair: str) -> None:
    """Means per day, and net value against the fair constant efficiency."""
    print(
        "| plan | promised | net | against fair | lost | drift | largest | missing | cost | CPU |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, one in found.items():
        gain = one.net_eur - found[fair].net_eur
        against = "" if name == fair else _interval(gain)
        print(
            f"| {name} | {one.promised_eur.mean():.2f} | {one.net_eur.mean():.2f} | {against} | "
            f"{one.lost_mwh.mean():.3f} | {one.drift_mwh.mean():+.4f} | "
            f"{np.abs(one.largest_drift_mwh).mean():.4f} | {one.missing_mwh.mean():.4f} | "
            f"{one.correction_eur.mean():.2f} | {one.cpu_s_per_day:.2f} |"
        )


def compare(
    days: list[date],
    market: MarketData,
    formulation: Formulation,
    base: list[str],
    pieces: list[int],
) -> None:
    """One table."""
    worth = worth_of_stored(days, market)

    def plan(*overrides: str) -> Judged:
        return run([*base, *overrides], worth, market, formulation)

    found = {"constant 0.95": plan()}
    first = plan(*constants(*found["constant 0.95"].efficiencies))
    fair = f"constant {first.efficiencies[0]:.4f} and {first.efficiencies[1]:.4f}"
    found[fair] = plan(*constants(*first.efficiencies))
    for n in pieces:
        cuts = ("battery.efficiency_model=loss_cuts", f"battery.losses.pieces={n}")
        found[f"loss cuts, {n} pieces"] = plan(*cuts)
    print(f"\n{formulation}, {len(days)} days of 2024 from {days[0]}, every {EVERY_DAYS} days\n")
    table(found, fair)


def main() -> None:
    """Print the tables."""
    n_days = int(sys.argv[1]) if len(sys.argv) > 1 else 36
    n_two_stage = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    market = load_market(Path(os.environ["STOCHBESS_MARKET_DATA"]), "DE_LU")
    days = [FIRST + timedelta(days=EVERY_DAYS * i) for i in range(n_days)]
    compare(days, market, "deterministic", ARBITRAGE, [4, 1])
    if n_two_stage:
        apart = max(1, n_days // n_two_stage)
        compare(days[apart // 2 :: apart][:n_two_stage], market, "two-stage", TWO_STAGE, [4])


if __name__ == "__main__":
    main()
