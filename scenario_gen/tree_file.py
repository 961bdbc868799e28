"""Scenario trees as Parquet files in long form.

One row per (node, series, delivery interval) with the columns of `COLUMNS`; the root has no values
and no row. docs/reduction.md describes them for people who write such a file with other tools.
Reading never executes anything from the file. The same tree always gives the same bytes under the
same version of pyarrow.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stochbess.errors import ScenarioError
from stochbess.scenario_gen.distance import Ints
from stochbess.scenario_gen.scenario_file import MAX_ROWS
from stochbess.scenario_gen.series import Array, require_known
from stochbess.scenario_gen.tree import ScenarioTree, Stage

COLUMNS = (
    "node",
    "parent",
    "stage",
    "gate",
    "probability",
    "series",
    "delivery_start_utc",
    "value",
)
FORMAT = "stochbess-tree-1"
_FORMAT_KEY, _PROVENANCE_KEY = b"stochbess.format", b"stochbess.provenance"
_HASH_KEY = b"stochbess.sha256"
_MAGIC = b"PAR1"
_ARROW_SCHEMA = pa.schema(
    [
        ("node", pa.int64()),
        ("parent", pa.int64()),
        ("stage", pa.string()),
        ("gate", pa.string()),
        ("probability", pa.float64()),
        ("series", pa.string()),
        ("delivery_start_utc", pa.timestamp("us", tz="UTC")),
        ("value", pa.float64()),
    ]
)


def write_tree(tree: ScenarioTree, path: Path) -> None:
    """Write `tree` to `path`; an existing file is replaced in one step or not at all.

    Raises
    ------
    ScenarioError : the file cannot be written; nothing is left behind
    """
    metadata = {
        _FORMAT_KEY: FORMAT.encode(),
        _HASH_KEY: tree.sha256.encode(),
        _PROVENANCE_KEY: json.dumps(tree.provenance, sort_keys=True).encode(),
    }
    table = tree_table(tree).replace_schema_metadata(metadata)
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
        raise ScenarioError(f"tree file {path} cannot be written: {error}") from error


def tree_table(tree: ScenarioTree) -> pa.Table:
    """The tree as the table of a tree file: stage by stage, one row per node, series and label."""
    frames = []
    for k, stage in enumerate(tree.stages, start=1):
        nodes = tree.nodes(k)
        for series in stage.series:
            labels = tree.index[series]
            frames.append(
                pd.DataFrame(
                    {
                        "node": np.repeat(nodes, len(labels)),
                        "parent": np.repeat(tree.parent[nodes], len(labels)),
                        "stage": stage.name,
                        "gate": stage.gate,
                        "probability": np.repeat(tree.probability[nodes], len(labels)),
                        "series": series,
                        "delivery_start_utc": np.tile(labels.asi8, len(nodes)),
                        "value": tree.values[series].ravel(),
                    }
                )
            )
    whole = pd.concat(frames, ignore_index=True)
    arrays = [pa.array(whole[f.name].to_numpy(), type=f.type) for f in _ARROW_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=_ARROW_SCHEMA)


def read_tree(path: Path) -> ScenarioTree:
    """Read a scenario tree.

    Raises
    ------
    ScenarioError : not a readable Parquet file, other columns or types, empty cells, node facts
        that differ between rows, a missing or repeated value, a content without its recorded hash,
        or anything that `ScenarioTree` refuses
    """
    table, metadata = _read_table(path)
    if table.num_rows == 0:
        raise ScenarioError(f"tree file {path} holds no rows")
    frame = table.to_pandas()
    facts = _node_facts(frame, path)
    stages = _stages(frame)
    number_of = {stage.name: k for k, stage in enumerate(stages, start=1)}
    depth = np.array([0, *(number_of[name] for name in facts["stage"])], np.int64)
    require_known(frame["series"].unique())
    values, index = {}, {}
    for k, stage in enumerate(stages, start=1):
        for series in stage.series:
            part = frame[frame["series"] == series]
            index[series], values[series] = _pivot(part, np.flatnonzero(depth == k), path)
    tree = ScenarioTree(
        stages,
        np.concatenate([[-1], facts["parent"].to_numpy(np.int64)]),
        depth,
        np.concatenate([[1.0], facts["probability"].to_numpy(np.float64)]),
        values,
        index,
        _provenance(metadata, path),
    )
    written = metadata.get(_HASH_KEY, b"").decode("utf-8", "replace")
    if written not in ("", tree.sha256):
        raise ScenarioError(
            f"tree file {path} was changed or damaged after it was written: its content has the "
            f"hash {tree.sha256[:12]}, recorded is {written[:12]}. Restore it, or write the "
            "changed tree to a new file."
        )
    return tree


def _read_table(path: Path) -> tuple[pa.Table, dict[bytes, bytes]]:
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
        if head != _MAGIC:
            raise ScenarioError(
                f"tree file {path} is not a Parquet file. Expected Parquet with the columns "
                f"{', '.join(COLUMNS)}."
            )
        parquet = pq.ParquetFile(path)
        if parquet.metadata.num_rows > MAX_ROWS:
            raise ScenarioError(
                f"tree file {path} holds {parquet.metadata.num_rows} rows, more than the "
                f"{MAX_ROWS} that are read. Build a smaller tree."
            )
        found = {f.name: f.type for f in parquet.schema_arrow}
        expected = {f.name: f.type for f in _ARROW_SCHEMA}
        found.pop("__index_level_0__", None)
        zoned = set(found) == set(expected) and _has_zone(found["delivery_start_utc"])
        if not zoned:
            raise ScenarioError(
                f"tree file {path}: columns are "
                f"{', '.join(f'{n} ({t})' for n, t in found.items())}; expected exactly "
                f"{', '.join(COLUMNS)}, times with a time zone"
            )
        table = parquet.read(columns=list(COLUMNS))
        table.validate(full=True)
        for name in COLUMNS:
            if table[name].null_count:
                raise ScenarioError(f"tree file {path}: column {name} has empty cells")
        return table.cast(_ARROW_SCHEMA), parquet.schema_arrow.metadata or {}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"tree file {path} cannot be read or is damaged: {error}") from error


def _has_zone(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind)) and kind.tz is not None


def _node_facts(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Parent, stage and probability of every node but the root, in the order 1, 2, ..."""
    columns = ["node", "parent", "stage", "gate", "probability"]
    facts = frame[columns].drop_duplicates().sort_values("node", kind="stable")
    if facts["node"].tolist() != list(range(1, len(facts) + 1)):
        twice = facts["node"][facts["node"].duplicated()].tolist()
        raise ScenarioError(
            f"tree file {path}: nodes are {facts['node'].tolist()[:5]}...; expected 1, 2, 3, ... "
            "without a gap, the root 0 having no row, and one parent, stage, gate and probability "
            f"for each (differing: {twice[:3] or 'none'})"
        )
    return facts


def _stages(frame: pd.DataFrame) -> tuple[Stage, ...]:
    """Stages in the order of their nodes, each with its series."""
    ordered = frame.sort_values("node", kind="stable")
    found = []
    for name, part in ordered.groupby("stage", sort=False):
        series = tuple(str(s) for s in part["series"].unique())
        found.append(Stage(str(name), str(part["gate"].iloc[0]), series))
    return tuple(found)


def _pivot(part: pd.DataFrame, nodes: Ints, path: Path) -> tuple[pd.DatetimeIndex, Array]:
    """Labels and the (nodes, labels) values of one series; complains about gaps and duplicates."""
    labels = pd.DatetimeIndex(part["delivery_start_utc"].unique()).sort_values()
    row = pd.Index(nodes).get_indexer(pd.Index(part["node"]))
    column = labels.get_indexer(pd.DatetimeIndex(part["delivery_start_utc"]))
    count = np.zeros((len(nodes), len(labels)), np.int64)
    np.add.at(count, (row[row >= 0], column[row >= 0]), 1)
    if (row < 0).any() or (count != 1).any():
        series = part["series"].iloc[0]
        raise ScenarioError(
            f"tree file {path}: {series} has {int((count == 0).sum())} missing and "
            f"{int((count > 1).sum())} repeated values, and {int((row < 0).sum())} at nodes of "
            "another stage; expected one value per node of its stage and interval"
        )
    values = np.empty(count.shape)
    values[row, column] = part["value"].to_numpy()
    return labels, values


def _provenance(metadata: dict[bytes, bytes], path: Path) -> dict[str, str]:
    written_by = metadata.get(_FORMAT_KEY, b"").decode("utf-8", "replace")
    if written_by not in ("", FORMAT):
        raise ScenarioError(
            f"tree file {path} is of format {written_by!r}; this version reads {FORMAT!r}"
        )
    raw = metadata.get(_PROVENANCE_KEY)
    if raw is None:
        return {"source": "file without provenance"}
    try:
        stored = json.loads(raw)
    except ValueError as error:
        raise ScenarioError(f"tree file {path}: provenance is not JSON: {error}") from error
    if not isinstance(stored, dict):
        raise ScenarioError(f"tree file {path}: provenance is not a JSON object")
    return {str(k): str(v) for k, v in stored.items()}
