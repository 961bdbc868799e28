"""Finished runs made up for the tests of the reports: nothing is solved, every table is there."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from stochbess.config import load_config
from stochbess.reports.facts import Fact, as_records
from stochbess.run_record import RunRecord, canonical_json, run_id

ZONE = ZoneInfo("Europe/Berlin")
ONE_DAY = date(2024, 6, 26)
BLOCK_SERIES = ("fcr_eur_mw", "afrr_up_eur_mw_h", "afrr_down_eur_mw_h")
STEP_SERIES = (
    "intraday_eur_mwh",
    "afrr_energy_up_eur_mwh",
    "afrr_energy_down_eur_mwh",
    "activation_up_mw",
    "activation_down_mw",
)
LINES = (
    "fcr_capacity",
    "afrr_up_capacity",
    "afrr_down_capacity",
    "day_ahead",
    "intraday",
    "intraday_spread",
    "activation_up",
    "levy",
    "aging",
    "stored_energy_value",
)


@dataclass(frozen=True)
class Shape:
    """What the run is like."""

    day: date = ONE_DAY
    n_days: int = 1
    n_scenarios: int = 3
    unit_min: int = 60
    formulation: str = "two-stage"
    markets: tuple[str, ...] = ("FCR", "aFRR", "day-ahead")
    valued: bool = True
    vss_eur: tuple[float, float] = (120.25, 131.5)
    overrides: tuple[str, ...] = ()
    synthetic: bool = True
    deterministic_eur: tuple[float, float] | None = None  # bounds of what it was compared with
    rolling: bool = False  # dispatched step by step too
    zone: str = "DE_LU"
    assumptions: tuple[str, ...] = (
        "Unverified rule of fcr: recharge_factor = 1.25 [a source, not read].",
        "Data: D107 warning manifest [DE_LU]: optional series absent: imbalance.",
        "Stored energy at the end is worth 65.45 EUR/MWh.",
    )


def finished_run(shape: Shape | None = None) -> tuple[RunRecord, dict[str, pd.DataFrame]]:
    """A run of this shape as the store would give it back."""
    shape = Shape() if shape is None else shape
    rng = np.random.default_rng(5)
    steps, units = _grid(shape, 15), _grid(shape, shape.unit_min)
    blocks = _blocks(shape)
    names = [f"analog-2023-06-{12 + s}" for s in range(shape.n_scenarios)]
    probability = np.arange(1, shape.n_scenarios + 1) / sum(range(1, shape.n_scenarios + 1))
    cash = _cash(rng, names, probability)
    profit = cash.set_index("line").loc["profit", names].to_numpy(float)
    frames = {
        "bids": _bids(rng, shape, blocks, units, steps),
        "schedule": _schedule(rng, names, steps),
        "soc": pd.DataFrame(),
        "cash": cash,
        "scenarios": _outcomes(rng, names, probability, profit),
        "scenario_set": _drawn(rng, names, probability, steps, units, blocks),
    }
    frames["soc"] = _soc(frames["schedule"], steps)
    facts = [*_facts(shape, profit, probability), *_own_facts(shape), *_rolling_facts(shape)]
    if shape.formulation == "robust":
        frames["worst_course"] = _course(rng, steps)
    if shape.rolling:
        frames["rolling_causes"] = pd.DataFrame({"cause": list(_CAUSES), "eur": [80.5, -3.25]})
    if shape.valued:
        frames["worth"] = _worth(shape)
    config = load_config(None, [f"market.n_days={shape.n_days}", *shape.overrides])
    told = {
        "facts": as_records(facts),
        "assumptions": list(shape.assumptions),
        "scenarios": {"source": "analog", "drawn": f"{shape.n_scenarios} without replacement"},
    }
    record = RunRecord(
        run_id=run_id({"shape": repr(shape)}),
        created_utc=datetime(2024, 6, 25, 7, tzinfo=UTC),
        status="done",
        formulation=shape.formulation,
        zone=shape.zone,
        day=shape.day,
        synthetic=shape.synthetic,
        config_json=config.canonical_json(),
        config_sha256=config.sha256,
        data_sha256="ab" * 32,
        code_sha256="cd" * 32,
        seed=20240626,
        engine="extensive",
        facts_json=canonical_json(told),
        volatile_json=canonical_json({"wall_s": 1.5}),
        reproducible=True,
    )
    if shape.deterministic_eur is not None:
        frames["comparison"] = _compared(record.run_id, shape.deterministic_eur)
    return record, frames


_CAUSES = ("reserve shortfall", "lost arbitrage")
_OWN = {
    "robust": {
        "robust_budget": (2.0, "", 0), "robust_period": (4.0, "h", 2),
        "periods_called_high": (2.0, "", 0), "worst_course_bound": (805.5, "EUR", 2),
        "worst_course_profit": (806.75, "EUR", 2),
    },
    "wasserstein": {
        "radius": (0.1, "", 4), "nearest_scenarios": (0.845, "", 4),
        "radius_price": (812.25, "EUR", 2),
    },
}  # fmt: skip


def _own_facts(shape: Shape) -> list[Fact]:
    """What a robust or distributionally robust run adds."""
    if shape.formulation not in _OWN:
        return []
    numbers = [Fact(name, *rest, name) for name, rest in _OWN[shape.formulation].items()]
    words = {
        "promise": "profit under the worst of what is in the set",
        "support": "3 scenarios",
        "ground_metric": "root mean square",
        "bounded_only": "both bounds",
    }
    return [*numbers, *(Fact(name, text, "", 0, name) for name, text in words.items())]


def _rolling_facts(shape: Shape) -> list[Fact]:
    if not shape.rolling:
        return []
    numbers = {
        "clairvoyant": (900.5, "EUR", 2), "rolling": (823.25, "EUR", 2),
        "optimism": (77.25, "EUR", 2), "optimism_share": (8.6, "%", 1),
        "trade_lead": (30.0, "min", 0), "optimism_reserve_shortfall": (80.5, "EUR", 2),
        "optimism_lost_arbitrage": (-3.25, "EUR", 2),
    }  # fmt: skip
    return [Fact(name, *rest, name) for name, rest in numbers.items()]


def _course(rng: np.random.Generator, steps: pd.DatetimeIndex) -> pd.DataFrame:
    """A worst course: the shares that are usual, and a stretch that is called in full."""
    usual = rng.uniform(0.0, 0.3, (2, len(steps)))
    called = usual.copy()
    called[1, 32:48] = 0.9
    return pd.DataFrame(
        {
            "delivery_start_utc": steps,
            "called_up_frac": called[0],
            "nominal_up_frac": usual[0],
            "called_down_frac": called[1],
            "nominal_down_frac": usual[1],
            "energy_end_mwh": rng.uniform(0.5, 4.0, len(steps)),
        }
    )


def changed_facts(record: RunRecord, **values: float | None) -> RunRecord:
    """The record with other values of some facts."""
    told = json.loads(record.facts_json)
    for fact in told["facts"]:
        if fact["name"] in values:
            fact["value"] = values[fact["name"]]
    return replace(record, facts_json=canonical_json(told))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZONE).astimezone(UTC)


def _grid(shape: Shape, minutes: int) -> pd.DatetimeIndex:
    begin, end = _midnight(shape.day), _midnight(shape.day + timedelta(days=shape.n_days))
    return pd.date_range(begin, end, freq=f"{minutes}min", inclusive="left").as_unit("us")


def _blocks(shape: Shape) -> pd.DatetimeIndex:
    stamps = [
        datetime(d.year, d.month, d.day, hour, tzinfo=ZONE).astimezone(UTC)
        for d in (shape.day + timedelta(days=i) for i in range(shape.n_days))
        for hour in range(0, 24, 4)
    ]
    return pd.DatetimeIndex(stamps).as_unit("us")


def _bids(
    rng: np.random.Generator,
    shape: Shape,
    blocks: pd.DatetimeIndex,
    units: pd.DatetimeIndex,
    steps: pd.DatetimeIndex,
) -> pd.DataFrame:
    end = steps[-1] + pd.Timedelta(minutes=15)
    products = [
        ("FCR", "symmetric", blocks),
        ("aFRR", "up", blocks),
        ("aFRR", "down", blocks),
        ("day-ahead", "energy", units),
    ]
    rows = []
    for market, product, starts in products:
        if market not in shape.markets:
            continue
        ends = [*starts[1:], end]
        for i, (start, stop) in enumerate(zip(starts, ends, strict=True)):
            energy = market == "day-ahead"
            rows.append(
                {
                    "market": market,
                    "product": product,
                    "start_utc": start,
                    "start_local": start.tz_convert(ZONE).strftime("%Y-%m-%d %H:%M"),
                    "end_local": stop.tz_convert(ZONE).strftime("%Y-%m-%d %H:%M"),
                    "mw": float(rng.normal()) if energy else float(rng.integers(0, 3)),
                    "price": "clearing price (price taker)",
                    "variable": f"x[{i}]",
                    "quantity": 0.0,
                }
            )
    columns = ["market", "product", "start_utc", "start_local", "end_local", "mw", "price"]
    return pd.DataFrame(rows, columns=[*columns, "variable", "quantity"])


def _schedule(rng: np.random.Generator, names: list[str], steps: pd.DatetimeIndex) -> pd.DataFrame:
    energy = 2.2 + rng.normal(0, 0.2, (len(names), len(steps))).cumsum(axis=1) * 0.2
    return pd.DataFrame(
        {
            "scenario": np.repeat(np.array(names, object), len(steps)),
            "delivery_start_utc": np.tile(steps, len(names)),
            "energy_end_mwh": energy.clip(0, 4.4).ravel(),
        }
    )


def _soc(schedule: pd.DataFrame, steps: pd.DatetimeIndex) -> pd.DataFrame:
    table = schedule.pivot(index="delivery_start_utc", columns="scenario", values="energy_end_mwh")
    frame = pd.DataFrame({"delivery_start_utc": steps})
    for level in (10, 50, 90):
        frame[f"p{level}_mwh"] = table.quantile(level / 100, axis=1).to_numpy()
    frame["reserve_floor_mwh"] = np.where(np.arange(len(steps)) % 32 < 16, 0.5, 1.05)
    frame["reserve_ceiling_mwh"] = 3.5
    return frame


def _cash(rng: np.random.Generator, names: list[str], probability: np.ndarray) -> pd.DataFrame:
    values = rng.normal(100, 200, (len(LINES), len(names)))
    values[LINES.index("levy")] = 0.0
    frame = pd.DataFrame(values, columns=names)
    frame.loc[len(LINES)] = frame.sum()
    frame["expected"] = frame[names].to_numpy() @ probability
    frame.insert(0, "line", [*LINES, "profit"])
    return frame


def _outcomes(
    rng: np.random.Generator, names: list[str], probability: np.ndarray, profit: np.ndarray
) -> pd.DataFrame:
    n = len(names)
    return pd.DataFrame(
        {
            "scenario": names,
            "probability": probability,
            "profit_eur": profit,
            "aging_eur": rng.uniform(50, 90, n),
            "full_cycles": rng.uniform(1, 2, n),
            "energy_end_mwh": rng.uniform(2, 3, n),
            "imbalance_mwh": rng.uniform(0, 1, n),
        }
    )


def _drawn(
    rng: np.random.Generator,
    names: list[str],
    probability: np.ndarray,
    steps: pd.DatetimeIndex,
    units: pd.DatetimeIndex,
    blocks: pd.DatetimeIndex,
) -> pd.DataFrame:
    index = {"day_ahead_eur_mwh": units}
    index |= dict.fromkeys(BLOCK_SERIES, blocks) | dict.fromkeys(STEP_SERIES, steps)
    parts = []
    for name, p in zip(names, probability, strict=True):
        for series, stamps in index.items():
            part = pd.DataFrame({"delivery_start_utc": stamps})
            part["value"] = rng.normal(60, 40, len(stamps))
            parts.append(part.assign(scenario=name, probability=p, series=series))
    return pd.concat(parts, ignore_index=True)


def _compared(run: str, deterministic_eur: tuple[float, float]) -> pd.DataFrame:
    """As `stochbess.comparison.compare` returns it; this run earns 900 to 904.5 EUR."""
    rows = []
    for name, known_as, (low, high) in (
        ("deterministic", "ee" * 8, deterministic_eur),
        ("two-stage", run, (900.0, 904.5)),
    ):
        rows.append(
            {
                "formulation": name,
                "run_id": known_as,
                "own_profit_eur": 950.25,
                "own_bound_eur": 960.5,
                "gap_frac": 0.0075,
                "expected_profit_eur": low,
                "expected_profit_upper_eur": high,
                "worst_scenario_eur": low - 1234.5,
                "cvar_eur": low - 1200.25,
                "reserve_lots": 16.0,
                "day_ahead_sold_mwh": 11.5,
                "day_ahead_bought_mwh": 9.25,
                "evpi_low_eur": 95.0 if name == "two-stage" else None,
                "evpi_high_eur": 110.0 if name == "two-stage" else None,
                "vss_low_eur": -5.0 if name == "two-stage" else None,
                "vss_high_eur": 12.0 if name == "two-stage" else None,
                "cpu_s": 4.5,
                "solve_wall_s": 2.25,
                "wall_s": 3.5,
            }
        )
    return pd.DataFrame(rows)


def _worth(shape: Shape) -> pd.DataFrame:
    low, high = shape.vss_eur
    rows = [
        ("WS", 1000.0, 1010.0, True),
        ("RP", 900.0, 905.0, True),
        ("EEV", 770.0, 780.0, True),
        ("EVPI = WS - RP", 95.0, 110.0, True),
        ("VSS = RP - EEV", low, high, not low <= 0 <= high),
        ("gain over reserve-derated deterministic", -3.5, 4.5, False),
    ]
    return pd.DataFrame(rows, columns=["measure", "low_eur", "high_eur", "sign_known"])


def _facts(shape: Shape, profit: np.ndarray, probability: np.ndarray) -> list[Fact]:
    expected = float(probability @ profit)
    numbers = {
        "scenarios": (float(shape.n_scenarios), "", 0),
        "profit": (expected, "EUR", 2),
        "profit_bound": (expected + 7.25, "EUR", 2),
        "gap": (0.0075, "", 5),
        "expected_profit": (expected, "EUR", 2),
        "expected_profit_per_mw_day": (expected / 2.236, "EUR/MW/day", 2),
        "cvar": (float(profit.min()), "EUR", 2),
        "worst": (float(profit.min()), "EUR", 2),
        "median": (float(np.median(profit)), "EUR", 2),
        "best": (float(profit.max()), "EUR", 2),
        "aging": (76.08, "EUR", 2),
        "aging_rainflow": (69.6, "EUR", 2),
        "full_cycles": (1.503, "", 3),
        "energy_end": (2.571, "MWh", 3),
        "imbalance": (0.25, "MWh", 4),
        "reserve_shortfall": (0.0, "MWh h", 4),
        "undelivered": (0.0, "MWh", 4),
        "loop_energy": (0.0, "MWh", 6),
        "relaxation_gain": (0.39, "EUR", 4),
        "certificate": (5.1e-15, "", 12),
        "nodes": (32.0, "", 0),
    }
    facts = [Fact(name, *rest, f"{name} of the run") for name, rest in numbers.items()]
    words = {
        "zone": shape.zone,
        "gate": "2024-06-25 06:00Z",
        "engine": "extensive",
        "solver": "HiGHS 1.15.1",
    }
    facts += [Fact(name, text, "", 0, name) for name, text in words.items()]
    if shape.valued:
        low, high = shape.vss_eur
        bounds = {"ws": (1000.0, 1010.0), "eev": (770.0, 780.0), "evpi": (95.0, 110.0)}
        for name, pair in {**bounds, "vss": (low, high)}.items():
            facts.append(Fact(f"{name}_low", pair[0], "EUR", 2, f"{name}, lower bound"))
            facts.append(Fact(f"{name}_high", pair[1], "EUR", 2, f"{name}, upper bound"))
        facts.append(Fact("virtual", 30.84, "EUR", 2, "without a battery"))
        facts.append(Fact("frictions", "intraday half-spread 2 EUR/MWh", "", 0, "frictions"))
    return facts
