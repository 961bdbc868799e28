"""The non-anticipative value of a stored run: the same case again, and its bids.

Nothing of the run is taken on trust: market data and scenarios are built anew and must be those
that the bids were made for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from stochbess.assemble import Case, build_case, open_market
from stochbess.config import Config
from stochbess.decide import Problem
from stochbess.errors import DataError, StoreError
from stochbess.multi_stage import gate_tree
from stochbess.offers import as_offers, first_stage_of, require_positions
from stochbess.rolling import RollingValue, Tell, nonanticipative_value, realised_series
from stochbess.rolling_forecast import Information
from stochbess.run import effort_of
from stochbess.run_record import RunRecord
from stochbess.scenario_gen.scenario_file import long_table

if TYPE_CHECKING:
    from stochbess.market.data import MarketData


@dataclass(frozen=True)
class RunValue:
    """Value of a run's bids on its scenarios, and on the days that came, if that was asked for."""

    scenarios: RollingValue
    realised: RollingValue | None


def value_run(
    record: RunRecord,
    frames: Mapping[str, pd.DataFrame],
    store_dir: Path,
    information: Information,
    *,
    realised: bool = False,
    market: MarketData | None = None,
    tell: Tell | None = None,
) -> RunValue:
    """Price the bids of a stored run with clairvoyant recourse and with rolling dispatch.

    `store_dir` holds the fitted scenario models. `realised` also prices them on what happened.

    Raises
    ------
    StoreError : the run has no bids
    DataError : market data or scenarios are not those of the run, or do not reach its days
    """
    if record.status != "done" or "bids" not in frames:
        raise StoreError(
            f"run {record.run_id} is {record.status} and has no bids to value. Repeat it with "
            "`stochbess solve`."
        )
    report: Tell = tell or (lambda stage, detail: None)
    report("data", "rebuilding the case of the run")
    case = case_of_run(record, frames, store_dir, market)
    first_stage = as_offers(first_stage_of(frames), case.data)
    require_positions(first_stage, case.data)
    problem, effort = Problem(case.data, "two-stage"), effort_of(case.config)
    truth = realised_series(case) if realised else None
    on_scenarios = nonanticipative_value(
        case, first_stage, information, effort, problem=problem, tell=report
    )
    on_realised = None
    if truth is not None:
        name = [f"realised {case.horizon.first_day}"]
        on_realised = nonanticipative_value(
            case, first_stage, information, effort,
            problem=problem, truth=truth, names=name, tell=report,
        )  # fmt: skip
    return RunValue(on_scenarios, on_realised)


def case_of_run(
    record: RunRecord,
    frames: Mapping[str, pd.DataFrame],
    store_dir: Path,
    market: MarketData | None = None,
) -> Case:
    """The case that a run was computed from, built again and compared.

    Raises
    ------
    DataError : market data or scenarios differ from those of the run
    """
    try:
        config = Config.model_validate(json.loads(record.config_json))
    except ValueError as error:
        raise DataError(
            f"run {record.run_id} was configured for another version of the toolkit ({error}). "
            "Solve again with the present one."
        ) from error
    kept = config.report.model_copy(update={"store_dir": store_dir})
    config = config.model_copy(update={"report": kept})
    market = open_market(config) if market is None else market
    if market.sha256 != record.data_sha256:
        raise DataError(
            f"the market data of {market.zone} are {market.sha256[:12]}, run {record.run_id} was "
            f"made from {record.data_sha256[:12]}. Value it where it was made and with the same "
            "data, or solve again with the present ones."
        )
    case = build_case(config, market)
    # A multi-stage run keeps the leaves of its tree, and is valued on what the tree was grown from.
    kept_set = case.scenarios
    if record.formulation == "multi-stage":
        kept_set = gate_tree(case).scenarios
    built, stored = long_table(kept_set).to_pandas(), frames["scenario_set"]
    columns = ["scenario", "series", "probability", "value"]
    same = len(built) == len(stored) and all(
        (built[name].to_numpy() == stored[name].to_numpy()).all() for name in columns
    )
    if not same:
        raise DataError(
            f"the scenarios built from the configuration of run {record.run_id} are not those that "
            "it stored: the toolkit or the scenario file has changed since. Repeat it with "
            "`stochbess solve --force`."
        )
    return case
