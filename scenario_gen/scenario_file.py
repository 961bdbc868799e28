"""Scenario sets as Parquet files in long form.

One row per (scenario, series, delivery interval) with the columns of `COLUMNS`; docs/scenarios.md
describes them for people who write such a file with other tools. Reading never executes anything
from the file. The same set always gives the same bytes under the same version of pyarrow.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stochbess.errors import ScenarioError
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.series import require_known

COLUMNS = ("scenario", "probability", "series", "delivery_start_utc", "value")
FORMAT = "stochbess-scenarios-1"
MAX_ROWS = 20_000_000
SUFFIXES = (".parquet", ".pq")
_FORMAT_KEY, _PROVENANCE_KEY = b"stochbess.format", b"stochbess.provenance"
_HASH_KEY = b"stochbess.sha256"
_MAGIC = b"PAR1"

_ARROW_SCHEMA = pa.schema(
    [
        ("scenario", pa.string()),
        ("probability", pa.float64()),
        ("series", pa.string()),
        ("delivery_start_utc", pa.timestamp("us", tz="UTC")),
        ("value", pa.float64()),
    ]
)


def write_scenarios(scenarios: ScenarioSet, path: Path) -> None:
    """Write `scenarios` to `path`; an existing file is replaced in one step or not at all.

    Raises
    ------
    ScenarioError : the file cannot be written, or its name is that of another format; nothing is
        left behind
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ScenarioError(
            f"scenario file {path}: found the ending {path.suffix or 'of no format'!r}; expected "
            f"{' or '.join(SUFFIXES)}, as it is written as Parquet. Name it {path.stem}.parquet."
        )
    metadata = {
        _FORMAT_KEY: FORMAT.encode(),
        _HASH_KEY: scenarios.sha256.encode(),
        _PROVENANCE_KEY: json.dumps(scenarios.provenance, sort_keys=True).encode(),
    }
    table = long_table(scenarios).replace_schema_metadata(metadata)
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            pq.write_table(table, stream, compression="zstd")
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise ScenarioError(f"scenario file {path} cannot be written: {error}") from error


def read_scenarios(path: Path) -> ScenarioSet:
    """Read a scenario set; scenarios keep the order of their first row.

    Raises
    ------
    ScenarioError : not a readable Parquet file, a column missing, extra or of another type, naive
        timestamps, a probability that differs within a scenario, a scenario that lacks a label,
        duplicate rows, or anything that `ScenarioSet` refuses
    """
    table, metadata = _read_table(path)
    if table.num_rows == 0:
        raise ScenarioError(f"scenario file {path} holds no rows")
    names, scenario = _coded(table, "scenario")
    series_names, series = _coded(table, "series")
    require_known(series_names)
    stamps = pd.DatetimeIndex(table["delivery_start_utc"].to_pandas())
    value = np.asarray(table["value"].to_numpy(), np.float64)
    values, index = {}, {}
    for code, name in enumerate(series_names):
        rows = series == code
        index[name], values[name] = _pivot(
            name, names, scenario[rows], stamps[rows], value[rows], path
        )
    found = ScenarioSet(
        names=names,
        probability=_probability(table, names, scenario, path),
        values=values,
        index=index,
        provenance=_provenance(metadata, path),
    )
    written = metadata.get(_HASH_KEY, b"").decode("utf-8", "replace")
    if written not in ("", found.sha256):
        raise ScenarioError(
            f"scenario file {path} was changed or damaged after it was written: its content has "
            f"the hash {found.sha256[:12]}, recorded is {written[:12]}. Restore it, or write the "
            "changed scenarios to a new file."
        )
    return found


def long_table(scenarios: ScenarioSet) -> pa.Table:
    """The set as the table of a scenario file: one row per scenario, series and label."""
    columns: dict[str, list[object]] = {name: [] for name in COLUMNS}
    for s, name in enumerate(scenarios.names):
        for series in scenarios.series:
            stamps = scenarios.index[series]
            n = len(stamps)
            columns["scenario"].append(np.repeat(np.array([name], object), n))
            columns["probability"].append(np.full(n, scenarios.probability[s]))
            columns["series"].append(np.repeat(np.array([series], object), n))
            columns["delivery_start_utc"].append(stamps.asi8)
            columns["value"].append(scenarios.values[series][s])
    arrays = [
        pa.array(np.concatenate(columns[field.name]), type=field.type)  # type: ignore[arg-type]
        for field in _ARROW_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=_ARROW_SCHEMA)


def _read_table(path: Path) -> tuple[pa.Table, dict[bytes, bytes]]:
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - 4))
            tail = stream.read(4)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ScenarioError(
            f"scenario file {path} cannot be read: {reason}. Expected a Parquet file with the "
            f"columns {', '.join(COLUMNS)}; `stochbess scenarios generate --out FILE.parquet` "
            "writes one. Check the path (scenarios.file is relative to the working directory)."
        ) from error
    if head != _MAGIC:
        what = "a pickle, which is never opened" if head[:1] == b"\x80" else "another format"
        raise ScenarioError(
            f"scenario file {path} is not a Parquet file (it looks like {what}). Expected Parquet "
            f"with the columns {', '.join(COLUMNS)}."
        )
    if tail != _MAGIC:
        raise ScenarioError(f"scenario file {path} is truncated: its Parquet footer is missing")
    try:
        parquet = pq.ParquetFile(path)
        if parquet.metadata.num_rows > MAX_ROWS:
            raise ScenarioError(
                f"scenario file {path} holds {parquet.metadata.num_rows} rows, more than the "
                f"{MAX_ROWS} that are read. Reduce the number of scenarios."
            )
        metadata = parquet.schema_arrow.metadata or {}
        present = [c for c in parquet.schema_arrow.names if c != "__index_level_0__"]
        table = parquet.read(columns=present)
        table.validate(full=True)
        _check_columns(table, path)
        return table.select(COLUMNS).cast(_ARROW_SCHEMA), metadata
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"scenario file {path} is damaged: {error}") from error


def _check_columns(table: pa.Table, path: Path) -> None:
    missing = [c for c in COLUMNS if c not in table.column_names]
    extra = [c for c in table.column_names if c not in COLUMNS]
    if missing or extra or len(table.column_names) != len(COLUMNS):
        raise ScenarioError(
            f"scenario file {path}: columns are {', '.join(table.column_names)}; expected exactly "
            f"{', '.join(COLUMNS)} (missing: {', '.join(missing) or 'none'}; extra: "
            f"{', '.join(extra) or 'none'})"
        )
    stamp = table.schema.field("delivery_start_utc").type
    if not pa.types.is_timestamp(stamp) or stamp.tz is None:
        raise ScenarioError(
            f"scenario file {path}: column delivery_start_utc is of type {stamp}; expected "
            "timestamps with a time zone (UTC). Naive times are refused: they do not say which "
            "hour they mean."
        )
    for name in COLUMNS:
        kind = table.schema.field(name).type
        inner = kind.value_type if pa.types.is_dictionary(kind) else kind
        if name in ("scenario", "series"):
            fits = pa.types.is_string(inner) or pa.types.is_large_string(inner)
        elif name in ("probability", "value"):
            fits = pa.types.is_floating(kind) or pa.types.is_integer(kind)
        else:
            fits = True
        if not fits:
            raise ScenarioError(
                f"scenario file {path}: column {name} is of type {kind}; expected "
                f"{_ARROW_SCHEMA.field(name).type}"
            )
        if table[name].null_count:
            raise ScenarioError(
                f"scenario file {path}: column {name} has {table[name].null_count} empty cells; "
                "expected none"
            )


def _coded(table: pa.Table, column: str) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Distinct texts in the order of their first row, and the code of every row."""
    encoded = pc.dictionary_encode(table[column].combine_chunks())
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)
    return tuple(str(x) for x in encoded.dictionary.to_pylist()), codes


def _probability(
    table: pa.Table, names: tuple[str, ...], scenario: npt.NDArray[np.int64], path: Path
) -> npt.NDArray[np.float64]:
    weight = np.asarray(table["probability"].to_numpy(), np.float64)
    _, first = np.unique(scenario, return_index=True)
    differs = weight != weight[first][scenario]
    differs &= ~(np.isnan(weight) & np.isnan(weight[first][scenario]))
    if differs.any():
        at = int(np.flatnonzero(differs)[0])
        raise ScenarioError(
            f"scenario file {path}: scenario {names[scenario[at]]!r} has the probabilities "
            f"{float(weight[first][scenario[at]])!r} and {float(weight[at])!r}; expected one per "
            "scenario"
        )
    return weight[first]


def _pivot(
    series: str,
    names: tuple[str, ...],
    scenario: npt.NDArray[np.int64],
    stamps: pd.DatetimeIndex,
    value: npt.NDArray[np.float64],
    path: Path,
) -> tuple[pd.DatetimeIndex, npt.NDArray[np.float64]]:
    """Labels and the (S, n) values of one series; complains about gaps and duplicates."""
    labels = pd.DatetimeIndex(stamps.unique()).sort_values()
    label = labels.get_indexer(stamps)
    count = np.zeros((len(names), len(labels)), np.int64)
    np.add.at(count, (scenario, label), 1)
    if (count != 1).any():
        s, t = (int(i) for i in np.argwhere(count != 1)[0])
        what = "no row" if count[s, t] == 0 else f"{count[s, t]} rows"
        raise ScenarioError(
            f"scenario file {path}: {series} of scenario {names[s]!r} has {what} at "
            f"{labels[t].strftime('%Y-%m-%dT%H:%MZ')}; expected one row per scenario, series and "
            f"interval ({int((count == 0).sum())} missing, {int((count > 1).sum())} repeated in "
            "this series)"
        )
    values = np.empty(count.shape)
    values[scenario, label] = value
    return labels, values


def _provenance(metadata: dict[bytes, bytes], path: Path) -> dict[str, str]:
    """Provenance stored in the file; a file of another tool has none and says so."""
    written_by = metadata.get(_FORMAT_KEY, b"").decode("utf-8", "replace")
    if written_by not in ("", FORMAT):
        raise ScenarioError(
            f"scenario file {path} is of format {written_by!r}; this version reads {FORMAT!r}"
        )
    raw = metadata.get(_PROVENANCE_KEY)
    if raw is None:
        return {"source": "file without provenance"}
    try:
        stored = json.loads(raw)
    except ValueError as error:
        raise ScenarioError(f"scenario file {path}: provenance is not JSON: {error}") from error
    if not isinstance(stored, dict):
        raise ScenarioError(f"scenario file {path}: provenance is not a JSON object")
    return {str(k): str(v) for k, v in stored.items()}
