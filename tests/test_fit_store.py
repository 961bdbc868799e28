"""Fits on disk: found by what they depend on, believed only with their hash, whole or not there."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from stochbess.errors import DataError
from stochbess.market.data import MarketData
from stochbess.scenario_gen.fit_store import Arrays, FitStore, view_sha256
from stochbess.timegrid import gate_utc
from tests.look_ahead import future_corrupted, known_earlier
from tests.price_case import BERLIN, price_market

KEY = {"view": "ab", "seed": "1"}
GATE = gate_utc("D-1 08:00", date(2024, 1, 3), BERLIN)


@dataclass(frozen=True)
class Numbers:
    """The smallest fit."""

    values: npt.NDArray[np.float64]

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"values": self.values, "name": np.array("numbers")}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Numbers:
        assert str(arrays["name"]) == "numbers"
        return cls(arrays["values"])


def never() -> Numbers:
    raise AssertionError("fitted again although it is stored")


def fitted() -> Numbers:
    return Numbers(np.arange(500) / 7)


def stored(folder: Path) -> tuple[FitStore, Path]:
    store = FitStore(folder / "fits")
    store.get("numbers", KEY, Numbers, fitted)
    path = store.path("numbers", KEY)
    assert path is not None and path.is_file()
    return store, path


def test_a_stored_fit_is_read_back_bit_by_bit_and_not_fitted_again(tmp_path: Path) -> None:
    store, path = stored(tmp_path)
    again = store.get("numbers", KEY, Numbers, never)
    assert again.values.tobytes() == fitted().values.tobytes()
    assert [*path.parent.iterdir()] == [path]


def test_without_a_folder_every_fit_is_made_anew_and_nothing_is_kept() -> None:
    store = FitStore()
    assert store.path("numbers", KEY) is None
    assert store.read("numbers", KEY, Numbers) is None
    store.get("numbers", KEY, Numbers, fitted)
    with pytest.raises(AssertionError, match="fitted again"):
        store.get("numbers", KEY, Numbers, never)


@pytest.mark.parametrize(
    ("kind", "key"),
    [("other", KEY), ("numbers", {**KEY, "seed": "2"}), ("numbers", {**KEY, "view": "ac"})],
    ids=["kind", "seed", "view"],
)
def test_a_fit_of_anything_else_is_another_fit(
    tmp_path: Path, kind: str, key: dict[str, str]
) -> None:
    store, path = stored(tmp_path)
    assert store.path(kind, key) != path
    assert store.read(kind, key, Numbers) is None


def test_any_flipped_or_missing_byte_is_an_error_that_leaves_the_file(tmp_path: Path) -> None:
    store, path = stored(tmp_path)
    whole = path.read_bytes()
    damaged = [whole[:k] for k in (0, 5, 80, 200, len(whole) - 1)] + [whole + b"x"]
    for k in range(0, len(whole), 37):
        damaged.append(whole[:k] + bytes([whole[k] ^ 64]) + whole[k + 1 :])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"hash that was written.*fitted again"):
            store.get("numbers", KEY, Numbers, never)
        assert path.read_bytes() == content


def test_objects_are_not_unpickled_even_with_the_right_hash(tmp_path: Path) -> None:
    from stochbess.scenario_gen import fit_store

    store, path = stored(tmp_path)
    stream = io.BytesIO()
    np.savez(stream, values=np.array([{"a": 1}], dtype=object))
    path.write_bytes(fit_store._head(stream.getvalue()) + stream.getvalue())
    with pytest.raises(DataError, match="allow_pickle"):
        store.read("numbers", KEY, Numbers)


def test_a_folder_in_the_place_of_the_file_or_a_file_in_that_of_the_folder_is_told(
    tmp_path: Path,
) -> None:
    store, path = stored(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match="Make the file readable"):
        store.read("numbers", KEY, Numbers)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot be stored.*report\.store_dir"):
        FitStore(tmp_path / "file").get("numbers", KEY, Numbers, fitted)
    assert (tmp_path / "file").read_bytes() == b""


def test_a_fit_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def breaks() -> Numbers:
        raise KeyboardInterrupt

    store = FitStore(tmp_path / "fits")
    with pytest.raises(KeyboardInterrupt):
        store.get("numbers", KEY, Numbers, breaks)
    assert not (tmp_path / "fits").exists()


def test_a_file_that_cannot_take_its_name_leaves_no_part_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match="No space left"):
        FitStore(tmp_path / "fits").get("numbers", KEY, Numbers, fitted)
    assert not [*(tmp_path / "fits").iterdir()]


def test_many_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    store, n = FitStore(tmp_path / "fits"), 8
    together = Barrier(n)

    def slow() -> Numbers:
        together.wait(timeout=30)  # nobody finds a file: all write
        return fitted()

    with ThreadPoolExecutor(n) as pool:
        found = [
            f.result()
            for f in [pool.submit(store.get, "numbers", KEY, Numbers, slow) for _ in range(n)]
        ]
    assert all(f.values.tobytes() == fitted().values.tobytes() for f in found)
    assert [*(tmp_path / "fits").iterdir()] == [store.path("numbers", KEY)]
    store.get("numbers", KEY, Numbers, never)


# ----------------------------------------------------------------------------- what a view is


def at_gate(market: MarketData) -> str:
    return view_sha256(market.as_of(GATE))


def test_a_view_is_the_same_whatever_comes_after_its_gate() -> None:
    market = price_market()
    later = gate_utc("D 08:00", date(2024, 2, 3), BERLIN)
    assert (
        at_gate(market.as_of(later)) == at_gate(market) == at_gate(future_corrupted(market, GATE))
    )
    assert view_sha256(market.as_of(later)) != at_gate(market)


def test_a_view_with_another_value_label_date_or_assumption_is_another() -> None:
    market = price_market()
    revised = future_corrupted(market, gate_utc("D-3 08:00", date(2024, 1, 3), BERLIN))
    others = [
        at_gate(revised),
        at_gate(known_earlier(market, "fundamentals", 1)),
        at_gate(replace(market, assumptions=("assumed",))),
        at_gate(replace(market, zone="AT")),
    ]
    assert len({*others, at_gate(market)}) == 5
