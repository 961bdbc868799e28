"""The reference market: two synthetic years of a DE-LU-like zone, embedded in the package.

It lets a fresh installation run, and tests hold, without a download. It is made up by a generative
model (docs/reference-market.md); results from it are not results about any market. The files
beside this module are regenerated with ``python -m stochbess.market.reference --write DIR``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stochbess.market.reference_activation import simulate_activation
from stochbess.market.reference_fundamentals import (
    Clock,
    FloatArray,
    Fundamentals,
    ou,
    simulate_fundamentals,
)
from stochbess.market.reference_prices import (
    hourly,
    simulate_capacity,
    simulate_day_ahead,
    simulate_intraday,
)
from stochbess.rng import stream
from stochbess.timegrid import Horizon

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

SEED = 14
ZONE, TIMEZONE = "DE_LU", "Europe/Berlin"
FIRST_DAY, N_DAYS = date(2023, 1, 1), 731
REFERENCE_DAY = date(2024, 6, 26)  # an ordinary Wednesday in summer; the default day of the toolkit
DATA_DIR = Path(__file__).resolve().parent / "reference_data"
INDEX = "delivery_start_utc"


@dataclass(frozen=True)
class _About:
    """What the manifest says of a series, and to how many decimals its values are kept."""

    product: str
    unit: str
    known_since: str
    decimals: int
    dtype: Literal["float32", "float64"] = "float64"


SERIES: dict[str, _About] = {
    "day_ahead": _About(
        "day-ahead auction, hourly", "EUR/MWh", "D-1 12:45 local", 2, dtype="float32"
    ),
    "intraday_auction": _About("15-min intraday auction", "EUR/MWh", "D-1 15:30 local", 2),
    "fcr_capacity": _About(
        "FCR capacity, symmetric, 4-h block", "EUR/MW per 4-h block", "D-1 08:30 local", 2
    ),
    "afrr_capacity": _About(
        "aFRR capacity, per direction, 4-h block", "EUR/MW per hour", "D-1 09:30 local", 2
    ),
    "afrr_energy": _About(
        "aFRR energy, 15-min proxy of the marginal price, clipped to [0, 600]; "
        "0 does not mean 'not activated'",
        "EUR/MWh; up: paid to the provider, down: paid BY the provider",
        "delivery end",
        2,
    ),
    "afrr_activation": _About(
        "activated aFRR, quarter-hour mean",
        "MW",
        "delivery end + 15 min (operational publication, assumed; the stored values are the "
        "later quality-assured ones)",
        1,
    ),
    "fundamentals": _About(
        "day-ahead forecasts of generation; realised load, net export and mean temperature, hourly",
        "MW, degC",
        "forecasts D-1 18:00 local (the price-forecasting literature treats them as known at "
        "12:00: an assumption to be switched on and printed); realised values delivery end",
        0,
    ),
    "realised_15min": _About(
        "realised generation and load, 15 min", "MW", "delivery end", 0, dtype="float32"
    ),
}


def generate(seed: int) -> dict[str, pd.DataFrame]:
    """The eight series of the reference market, a pure function of `seed`.

    Parameters
    ----------
    seed : non-negative root seed; every latent process has its own named stream below it

    Returns
    -------
    Frames by file stem, rounded as shipped, no NaN, index `delivery_start_utc` (UTC, interval
    start); columns and units as docs/reference-market.md lists them.
    """
    horizon = Horizon(FIRST_DAY, N_DAYS, TIMEZONE, step_min=15, day_ahead_min=60)
    clock = Clock(horizon)
    f = simulate_fundamentals(clock, seed)
    day_ahead = simulate_day_ahead(clock, f, seed)
    intraday = simulate_intraday(clock, f, day_ahead, seed)
    capacity = simulate_capacity(clock, f, day_ahead, seed)
    activation = simulate_activation(clock, f, day_ahead.price_eur_mwh, seed)
    generation_mw, net_export_mw = _exchange(f, seed)
    realised = _realised(f)
    columns = {
        "day_ahead": {"price_eur_mwh": day_ahead.price_eur_mwh},
        "intraday_auction": {"price_eur_mwh": intraday},
        "fcr_capacity": {"price_eur_mw": capacity.fcr_eur_mw},
        "afrr_capacity": {
            "up_eur_mw_h": capacity.up_eur_mw_h,
            "down_eur_mw_h": capacity.down_eur_mw_h,
        },
        "afrr_energy": {
            "up_eur_mwh": activation.up_eur_mwh,
            "down_eur_mwh": activation.down_eur_mwh,
        },
        "afrr_activation": {"up_mw": activation.up_mw, "down_mw": activation.down_mw},
        "fundamentals": {
            "solar_forecast_mw": hourly(f.solar_forecast_mw),
            "wind_onshore_forecast_mw": hourly(f.onshore_forecast_mw),
            "wind_offshore_forecast_mw": hourly(f.offshore_forecast_mw),
            "generation_forecast_mw": generation_mw,
            "load_mw": hourly(realised["load_mw"]),
            "net_export_mw": net_export_mw,
            "temperature_degc": hourly(f.temperature_degc),
        },
        "realised_15min": realised,
    }
    index = dict.fromkeys(("day_ahead", "fundamentals"), horizon.day_ahead_steps)
    index |= dict.fromkeys(("fcr_capacity", "afrr_capacity"), horizon.block_starts)
    return {
        name: _rounded(pd.DataFrame(values, index=index.get(name, horizon.steps)), SERIES[name])
        for name, values in columns.items()
    }


def _rounded(frame: pd.DataFrame, about: _About) -> pd.DataFrame:
    decimals = dict.fromkeys(frame.columns, about.decimals)
    if "temperature_degc" in decimals:
        decimals["temperature_degc"] = 1
    return frame.round(decimals).astype(about.dtype)


def _realised(f: Fundamentals) -> dict[str, FloatArray]:
    """Realised generation and load in whole MW; the residual load is their exact difference."""
    solar_mw, load_mw = np.rint(f.solar_mw), np.rint(f.load_mw)
    onshore_mw, offshore_mw = np.rint(f.onshore_mw), np.rint(f.offshore_mw)
    return {
        "solar_mw": solar_mw,
        "wind_onshore_mw": onshore_mw,
        "wind_offshore_mw": offshore_mw,
        "load_mw": load_mw,
        "residual_load_mw": load_mw - solar_mw - onshore_mw - offshore_mw,
    }


def _exchange(f: Fundamentals, seed: int) -> tuple[FloatArray, FloatArray]:
    """Hourly generation forecast and realised net export [MW], linear in load and residual load."""
    rng = stream(seed, "reference.exchange")
    load_mw, solar_mw = hourly(f.load_forecast_mw), hourly(f.solar_forecast_mw)
    residual_mw = hourly(f.residual_forecast_mw)
    n = len(load_mw)
    planned_mw = 3_700 * ou(rng, n, 1.0, 45.0, 3.0) - 9_000
    planned_mw += 0.48 * load_mw - 0.52 * residual_mw - 0.31 * solar_mw
    generation_mw = load_mw + planned_mw - 900 + 1_500 * ou(rng, n, 1.0, 10.0)
    return np.maximum(generation_mw, 15_000), planned_mw + 1_100 * ou(rng, n, 1.0, 4.0)


def reference_market() -> MarketData:
    """The shipped reference market; `synthetic` is True and every report says so."""
    from stochbess.market.data import load_market

    return load_market(DATA_DIR, ZONE)


def write(directory: Path, seed: int = SEED) -> None:
    """Writes the series as Parquet with manifest.json into `directory`, made if missing.

    The bytes are the same for the same seed, code and versions of numpy and pyarrow.
    """
    directory.mkdir(parents=True, exist_ok=True)
    entries = []
    for name, frame in generate(seed).items():
        path = directory / f"{name}.parquet"
        _write_parquet(frame, path, SERIES[name])
        entries.append(
            {
                "file": path.name,
                "rows": len(frame),
                "first": str(frame.index[0]),
                "last": str(frame.index[-1]),
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "product": SERIES[name].product,
                "unit": SERIES[name].unit,
                "source": f"stochbess reference market, synthetic, seed {seed}",
                "licence": "MIT",
                "known_since": SERIES[name].known_since,
            }
        )
    manifest = {"zone": ZONE, "timezone": TIMEZONE, "synthetic": True, "series": entries}
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    (directory / "manifest.json").write_text(text, encoding="utf-8")


def _write_parquet(frame: pd.DataFrame, path: Path, about: _About) -> None:
    table = pa.Table.from_pandas(frame)
    described = json.loads(table.schema.metadata[b"pandas"])
    for version in ("creator", "pandas_version"):
        described.pop(version, None)
    about_json = json.dumps({"product": about.product, "unit": about.unit, "synthetic": True})
    table = table.replace_schema_metadata(
        {"pandas": json.dumps(described), "stochbess": about_json}
    )
    values = [str(column) for column in frame.columns]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=values,
        dictionary_pagesize_limit=4 << 20,
        column_encoding={INDEX: "DELTA_BINARY_PACKED"},
        write_statistics=False,
        store_schema=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: ``python -m stochbess.market.reference --write DIR [--seed N]``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path, required=True, metavar="DIR", help="output directory")
    parser.add_argument("--seed", type=int, default=SEED, help=f"root seed (default {SEED})")
    options = parser.parse_args(arguments)
    write(options.write, options.seed)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger(__name__).info("wrote %d series to %s", len(SERIES), options.write)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
