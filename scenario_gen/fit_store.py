"""Fitted scenario models on disk, as plain numbers under the hash of what they were fitted on.

A stored fit is found by what it depends on (what its gate showed, day, gate, seed, code of the
generators) and believed only if its own content has the hash that was written with it. Nothing that
is read is executed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from stochbess import market
from stochbess.errors import DataError

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

Arrays = Mapping[str, npt.NDArray[Any]]


class Fit(Protocol):
    """A fitted model that is plain data."""

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]: ...

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self: ...


F = TypeVar("F", bound=Fit)


@dataclass(frozen=True)
class FitStore:
    """A folder of fits; without a folder nothing is kept and everything is fitted again.

    Attributes
    ----------
    folder : made when the first fit is written; None = keep nothing
    """

    folder: Path | None = None

    def path(self, kind: str, depends_on: Mapping[str, str]) -> Path | None:
        """File of the fit `kind` with these dependencies, whether it exists or not."""
        if self.folder is None:
            return None
        text = json.dumps({"kind": kind, "code": _code_sha256(), **depends_on}, sort_keys=True)
        return self.folder / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.fit"

    def read(self, kind: str, depends_on: Mapping[str, str], type_: type[F]) -> F | None:
        """The stored fit, or None if there is none.

        Raises
        ------
        DataError : the file is damaged; it is left as it is
        """
        path = self.path(kind, depends_on)
        if path is None or not path.exists():
            return None
        return type_.from_arrays(_read(path))

    def get(
        self, kind: str, depends_on: Mapping[str, str], type_: type[F], fit: Callable[[], F]
    ) -> F:
        """The stored fit, or the one that `fit` makes, which is then stored.

        Raises
        ------
        DataError : a stored file is damaged, or the fit cannot be stored
        """
        found = self.read(kind, depends_on, type_)
        if found is None:
            found = fit()
            path = self.path(kind, depends_on)
            if path is not None:
                _write(path, found.to_arrays())
        return found


def view_sha256(view: MarketData) -> str:
    """Hash of all that can be read of `view`: labels, values, when they were known, assumptions.

    Unlike `MarketData.sha256`, which is that of the files, it does not change with data that the
    view does not hold: what was fitted at a gate stays valid when later data arrive.
    """
    digest = hashlib.sha256(b"stochbess view 1")
    head = [view.zone, view.timezone, *view.assumptions]
    digest.update(json.dumps(head).encode())
    for stem, series in sorted(view.series.items()):
        for group in series.groups:
            labels = pd.DatetimeIndex(group.frame.index).as_unit("us")
            known = pd.DatetimeIndex(group.known_since_utc).as_unit("us")
            columns = [str(name) for name in group.frame.columns]
            digest.update(json.dumps([stem, group.name, len(labels), *columns]).encode())
            for array in (labels.asi8, known.asi8, group.frame.to_numpy(np.float64)):
                digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@cache
def _code_sha256() -> str:
    """Identity of the code that fits: the generators and the reading of market data."""
    digest = hashlib.sha256()
    for package in (Path(__file__).parent, Path(market.__path__[0])):
        for path in sorted(package.glob("*.py")):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _write(path: Path, arrays: Arrays) -> None:
    """Whole or not at all: another process may write the same fit at the same time."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # names are not options
    content = stream.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    except OSError as error:
        raise _not_written(path, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_head(content) + content)
        Path(name).replace(path)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        Path(name).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file; it is parsed only if it has the hash that was written with it."""
    try:
        found = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}. Make the file readable.") from error
    head, content = found[: len(_head(b""))], found[len(_head(b"")) :]
    if head != _head(content):
        raise DataError(
            f"{path}: the content of the stored fit does not have the hash that was written with "
            "it. Delete the file; it is fitted again."
        )
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: no stored fit ({error}). Delete the file.") from error


def _head(content: bytes) -> bytes:
    return b"stochbess fit 1 " + hashlib.sha256(content).hexdigest().encode() + b"\n"


def _not_written(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: the fit cannot be stored ({error.strerror or error}). Free the folder, or name "
        "another store (report.store_dir)."
    )
