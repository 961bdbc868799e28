"""Tables as Parquet bytes that depend on nothing but the table (and the version of pyarrow)."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stochbess.errors import StoreError

_INDEX_KEY = b"stochbess.index"  # Parquet schema metadata: which columns form the index


def to_parquet_bytes(name: str, frame: pd.DataFrame) -> bytes:
    """Encode a table: no times, no version of pandas; equal frames give equal bytes.

    Parameters
    ----------
    name : name of the frame, for messages
    frame : column labels are different strings; the index is kept, a default RangeIndex is not
        stored. NaN is stored as missing and comes back as NaN; the frequency of a time index is
        not stored.

    Raises
    ------
    StoreError : labels that are no strings, or a column of mixed types
    """
    levels = frame.index.names
    if not all(isinstance(label, str) for label in frame.columns) or frame.columns.has_duplicates:
        raise StoreError(
            f"frame {name!r} cannot be stored: its column labels must be different strings, "
            f"got {[*frame.columns][:8]!r}."
        )
    if not all(level is None or isinstance(level, str) for level in levels):
        raise StoreError(f"frame {name!r} cannot be stored: index names must be strings.")
    default_index = isinstance(frame.index, pd.RangeIndex) and frame.index.equals(
        pd.RangeIndex(len(frame))
    )
    index = [] if default_index and levels == [None] else [*levels]
    try:
        plain = frame.rename_axis(_index_columns(len(index))).reset_index() if index else frame
        table = pa.Table.from_pandas(plain, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise StoreError(
            f"frame {name!r} cannot be stored as Parquet: {error}. Expected columns of one type "
            "each: numbers, text, booleans or times."
        ) from error
    table = table.replace_schema_metadata({_INDEX_KEY: json.dumps(index).encode()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def from_parquet_bytes(content: bytes) -> pd.DataFrame:
    """The frame that `to_parquet_bytes` encoded."""
    table = pq.read_table(pa.BufferReader(content))
    index = json.loads(table.schema.metadata[_INDEX_KEY])
    frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas()
    return frame.set_index(_index_columns(len(index))).rename_axis(index) if index else frame


def _index_columns(n_levels: int) -> list[str]:
    return [f"__index_{level}__" for level in range(n_levels)]
