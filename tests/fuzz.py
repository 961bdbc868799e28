"""Offers spoilt files to everything that reads files; a script, not collected by pytest.

    python tests/fuzz.py --minutes 10 --seed 1
    python tests/fuzz.py --seed 1 --kind market --case 4711      # one case again, with traceback

Configurations, market data directories, imported files and scenario files are mutated byte by byte
and with knowledge of their structure. A reader must succeed or raise a `StochbessError`, within
`MOST_S` and `MOST_BYTES`, and must leave the files as they were; an import that fails must leave
its target as it was. Cases run in child processes, so that a crash of a library is a finding too.
The exit code is 1 if anything was found. A case depends on seed, kind and number alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from stochbess.config import load_config  # noqa: E402
from stochbess.errors import StochbessError  # noqa: E402
from stochbess.market.check import check_market  # noqa: E402
from stochbess.market.data import load_market  # noqa: E402
from stochbess.market.importer import import_series  # noqa: E402
from stochbess.market.reference import reference_market  # noqa: E402
from stochbess.rng import stream  # noqa: E402
from stochbess.scenario_gen.scenario_file import read_scenarios, write_scenarios  # noqa: E402
from tests.test_importer import SPEC, write_csv  # noqa: E402
from tests.test_market_check import blocks, day_ahead, write_market  # noqa: E402
from tests.test_scenarios import some_set  # noqa: E402

MOST_S = 10
MOST_BYTES = 6 << 30  # of address space; libraries alone reserve a part of it
BATCH = 40
Rng = np.random.Generator
# Values that readers have been seen to stumble over, in any place.
ODD: tuple[Any, ...] = (
    None, True, "", " ", "nan", "inf", "-1", 0, -1, 1e308, 10**30, -(2**63), 1e-320, [], {}, [[]],
    {"a": 1}, "\x00", "\U0001f600", "../..", "x" * 5_000, "D-1 25:00 local", "D-9999999 07:00",
    "0001-01-01", "9999-12-31T23:59", "2024-03-31T02:30", "Etc/GMT+99", "1,5", "0x10", "=1+1",
)  # fmt: skip
TEXTS = (
    "&a [*a, *a]", "!!python/object:os.system x", "{" * 50, "[" * 50, "---", "? x", "<<: *a", "|",
    "%YAML 1.1", "\t", "'", '"', "#", ": :", "- -", "\ufeff", "\u2028", "*", "&", "!", "1_000",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """What is spoilt: `prepare` makes sound files in a folder, `attempt` spoils and reads them."""

    prepare: Callable[[Path], None]
    attempt: Callable[[Path, Rng], str]


# ------------------------------------------------------------------------------------- mutations


def spoil_bytes(content: bytes, rng: Rng) -> bytes:
    """Bytes changed, cut out, repeated, or cut off, one to eight times."""
    spoilt = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        at = int(rng.integers(0, len(spoilt) + 1))
        span = int(rng.integers(1, 1 + max(1, min(64, len(spoilt)))))
        match int(rng.integers(6)):
            case 0:
                spoilt[at : at + 1] = bytes([int(rng.integers(256))])
            case 1:
                del spoilt[at : at + span]
            case 2:
                spoilt[at:at] = spoilt[at : at + span]
            case 3:
                spoilt[at : at + span] = rng.bytes(span)
            case 4:
                spoilt[at : at + 4] = [b"\xff\xff\xff\x7f", b"\0\0\0\0"][int(rng.integers(2))]
            case _:
                if rng.random() < 0.2:
                    del spoilt[at:]
    return bytes(spoilt)


def spoil_lines(text: str, rng: Rng) -> str:
    """Lines swapped, repeated, moved in, or with something odd in them."""
    lines = text.split("\n")
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(lines)))
        match int(rng.integers(6)):
            case 0:
                lines[at] = " " * int(rng.integers(1, 9)) + lines[at]
            case 1:
                lines.insert(at, lines[int(rng.integers(len(lines)))])
            case 2:
                del lines[at]
            case 3:
                key = lines[at].partition(":")[0]
                lines[at] = f"{key}: {_odd(rng)}"
            case 4:
                lines[at] += TEXTS[int(rng.integers(len(TEXTS)))]
            case _:
                lines[at] = TEXTS[int(rng.integers(len(TEXTS)))] * int(rng.integers(1, 400))
        lines = lines or [""]
    return "\n".join(lines)


def _odd(rng: Rng) -> Any:
    return ODD[int(rng.integers(len(ODD)))]


def spoil_tree(value: Any, rng: Rng) -> Any:
    """A JSON document with one value replaced, removed, renamed or buried."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = [*value][int(rng.integers(len(value)))]
        rest = {k: v for k, v in value.items() if k != key}
        choice = rng.random()
        if choice < 0.1:
            return rest
        if choice < 0.2:
            return {**rest, str(_odd(rng)): value[key]}
        return {**value, key: spoil_tree(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = int(rng.integers(len(value)))
        if rng.random() < 0.15:
            return value + value[at:]
        return [*value[:at], spoil_tree(value[at], rng), *value[at + 1 :]]
    return _odd(rng)


def spoil_frame(frame: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """A table with rows, columns, values, labels or types changed."""
    frame = frame.copy()
    for _ in range(int(rng.integers(1, 4))):
        if frame.empty or not len(frame.columns):
            return frame
        column = int(rng.integers(len(frame.columns)))
        name = frame.columns[column]
        at = int(rng.integers(len(frame)))
        match int(rng.integers(12)):
            case 0:
                frame = frame.drop(columns=[name])
            case 1:
                frame = frame.rename(columns={name: str(_odd(rng))[:40]})
            case 2:
                frame[name] = frame[name].astype(object)
                frame.iloc[at, column] = str(_odd(rng))[:40]
                frame[name] = frame[name].astype(str)
            case 3:
                frame[name] = frame[name].astype(object)
                frame[name] = pd.array([None] * len(frame), dtype="Float64")
            case 4 if pd.api.types.is_float_dtype(frame[name].dtype):
                odd = [np.nan, np.inf, -np.inf, 1e308, -0.0, 5e-324, 1e12]
                frame.iloc[at, column] = odd[int(rng.integers(len(odd)))]
            case 5:
                frame = frame.iloc[rng.permutation(len(frame))]
            case 6:
                frame = pd.concat([frame, frame.iloc[[at]]])
            case 7:
                frame = frame.iloc[int(rng.integers(len(frame))) :]
            case 8:
                frame = frame.reset_index(drop=bool(rng.integers(2)))
            case 9:
                frame = frame.assign(**{str(_odd(rng))[:20]: frame[name].to_numpy()})
            case 10 if isinstance(frame.index, pd.DatetimeIndex):
                frame.index = _other_times(frame.index, rng)
            case _:
                for times in frame.columns:
                    if isinstance(frame[times].dtype, pd.DatetimeTZDtype):
                        frame[times] = _other_times(pd.DatetimeIndex(frame[times]), rng)
    return frame


def _other_times(index: Any, rng: Rng) -> Any:
    """Labels without a zone, in another, as text or numbers, with gaps, moved, or far away."""
    match int(rng.integers(7)):
        case 0:
            return index.tz_localize(None)
        case 1:
            return index.tz_convert("Asia/Kathmandu") if index.tz is not None else index
        case 2:
            return pd.Index(index.astype(str))
        case 3:
            return pd.Index(index.asi8.astype("float64"))
        case 4:
            return pd.Index(index.where(rng.random(len(index)) > 0.02))
        case 5:
            return pd.Index(index) + pd.Timedelta(seconds=int(rng.integers(-7200, 7200)))
        case _:
            far = pd.Timestamp("2262-01-01" if rng.integers(2) else "1678-01-01", tz="UTC")
            base = index.tz_localize("UTC") if index.tz is None else index
            return pd.DatetimeIndex(far.as_unit("us") + (base - base.min()))


# --------------------------------------------------------------------------------------- readers


def _left_alone(folder: Path, read: Callable[[], object]) -> str:
    """`accepted` or `refused`; anything else is an exception, which is a finding."""
    before = _tree(folder)
    try:
        read()
        end = "accepted"
    except StochbessError as error:
        if not str(error).strip():
            raise AssertionError("an error without a message") from error
        end = "refused"
    if _tree(folder) != before:
        raise AssertionError(f"files changed by a reader: {sorted(_tree(folder))}")
    return end


def _tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def prepare_config(folder: Path) -> None:
    shutil.copy(ROOT / "stochbess" / "default_config.yaml", folder / "config.yaml")


def try_config(folder: Path, rng: Rng) -> str:
    path = folder / "config.yaml"
    text = path.read_text(encoding="utf-8")
    overrides: list[str] = []
    way = int(rng.integers(4))
    if way == 0:
        path.write_bytes(spoil_bytes(text.encode(), rng))
    elif way == 1:
        path.write_text(spoil_lines(text, rng), encoding="utf-8", errors="replace")
    if way >= 2:
        keys = [line.partition(":")[0] for line in text.split("\n") if ": " in line]
        for _ in range(int(rng.integers(1, 4))):
            key = keys[int(rng.integers(len(keys)))].strip("# ")
            section = ("battery", "battery.state", "market", "terminal", "aging", "markets.fcr", "")
            at = section[int(rng.integers(len(section)))]
            value = _odd(rng) if rng.random() < 0.8 else TEXTS[int(rng.integers(len(TEXTS)))]
            joiner = "=" if rng.random() < 0.95 else ""
            overrides.append(f"{at}{'.' if at else ''}{key}{joiner}{value}")
    return _left_alone(folder, lambda: load_config(path, overrides))


def prepare_market(folder: Path) -> None:
    write_market(folder, {"day_ahead": day_ahead(), "fcr_capacity": blocks()})
    for name, stem in (("afrr_capacity", "afrr_capacity"), ("load", "load")):
        series = reference_market().series.get(stem)
        if series is not None:
            _add(folder / "DE_LU", name, series.frame.iloc[:96], series.meta.unit)


def _add(home: Path, stem: str, frame: pd.DataFrame, unit: str) -> None:
    path = home / f"{stem}.parquet"
    frame.to_parquet(path)
    manifest = json.loads((home / "manifest.json").read_text())
    entry = {"file": path.name, "sha256": "", "unit": unit, "source": "x", "known_since": ""}
    manifest["series"].append({**entry, "known_since": "delivery end"})
    (home / "manifest.json").write_text(json.dumps(manifest))
    _seal(home)


def _seal(home: Path) -> None:
    """Put the hashes of the files as they are into the manifest, so that they are opened."""
    manifest = json.loads((home / "manifest.json").read_text())
    for entry in manifest["series"]:
        entry["sha256"] = sha256((home / entry["file"]).read_bytes()).hexdigest()
    (home / "manifest.json").write_text(json.dumps(manifest))


def try_market(folder: Path, rng: Rng) -> str:
    home = folder / "DE_LU"
    files = sorted(home.glob("*.parquet"))
    file = files[int(rng.integers(len(files)))]
    manifest = home / "manifest.json"
    way = int(rng.integers(6))
    if way == 0:
        file.write_bytes(spoil_bytes(file.read_bytes(), rng))
        if rng.random() < 0.9:
            _seal(home)
    elif way in (1, 2, 3):
        _rewrite(file, spoil_frame(pd.read_parquet(file), rng))
        _seal(home)
    elif way == 4:
        manifest.write_bytes(spoil_bytes(manifest.read_bytes(), rng))
    else:
        spoilt = spoil_tree(json.loads(manifest.read_text()), rng)
        text = json.dumps(spoilt)
        manifest.write_text(text if rng.random() < 0.95 else "[" * 60_000 + text)
    check_market(folder, "DE_LU")
    return _left_alone(folder, lambda: load_market(folder, "DE_LU"))


def _rewrite(file: Path, frame: pd.DataFrame) -> None:
    """A table as Parquet; one that Parquet cannot hold stays as it was."""
    try:
        frame.to_parquet(file.with_suffix(".new"))
        file.with_suffix(".new").replace(file)
    except Exception:  # whatever pandas or Arrow find fault with; nothing of ours has run yet
        file.with_suffix(".new").unlink(missing_ok=True)


def prepare_import(folder: Path) -> None:
    write_market(folder / "market", {"day_ahead": day_ahead()})
    index = pd.DatetimeIndex(day_ahead().index).tz_convert("Europe/Berlin").tz_localize(None)
    write_csv(folder / "prices.csv", index)


def try_import(folder: Path, rng: Rng) -> str:
    source, target = folder / "prices.csv", folder / "market"
    way = int(rng.integers(4))
    spec: Any = SPEC
    if way == 0:
        source.write_bytes(spoil_bytes(source.read_bytes(), rng))
    elif way == 1:
        source.write_text(spoil_lines(source.read_text(), rng), errors="replace")
    else:
        texts = (
            "series", "zone", "timezone", "unit", "known_since", "product", "label", "decimal",
            "naive_timezone", "time_format", "thousands", "separator", "encoding", "factor",
        )  # fmt: skip
        for _ in range(int(rng.integers(1, 3))):
            value = str(_odd(rng)) if rng.random() < 0.7 else "%d;%m|.,+"[int(rng.integers(9))]
            spec = replace(spec, **{texts[int(rng.integers(len(texts)))]: value})
        if rng.random() < 0.1:
            spec = replace(spec, skip_rows=int(rng.integers(-3, 99)))
    before = _tree(folder)
    try:
        import_series(source, target, spec)
    except StochbessError:
        if _tree(folder) != before:
            raise AssertionError("a refused import changed files") from None
        return "refused"
    outside = {path for path in _tree(folder) if not path.startswith("market/")}
    if outside != {"prices.csv"}:
        raise AssertionError(f"an import wrote beside its target: {sorted(outside)}")
    load_market(target, spec.zone)
    return "accepted"


def prepare_scenarios(folder: Path) -> None:
    write_scenarios(some_set(), folder / "s.parquet")


def try_scenarios(folder: Path, rng: Rng) -> str:
    path = folder / "s.parquet"
    if rng.random() < 0.5:
        path.write_bytes(spoil_bytes(path.read_bytes(), rng))
    else:
        _rewrite(path, spoil_frame(pd.read_parquet(path), rng))
    return _left_alone(folder, lambda: read_scenarios(path))


KINDS = {
    "config": Kind(prepare_config, try_config),
    "market": Kind(prepare_market, try_market),
    "import": Kind(prepare_import, try_import),
    "scenarios": Kind(prepare_scenarios, try_scenarios),
}


# ----------------------------------------------------------------------------------------- cases


def _too_long(number: int, frame: object) -> NoReturn:
    raise TimeoutError(f"more than {MOST_S} s")


def run_case(kind: str, seed: int, case: int, sound: Path) -> str:
    """One spoilt copy of the folder `sound`, offered to its reader; how it ended.

    Raises
    ------
    Exception : the finding
    """
    rng = stream(seed, f"fuzz.{kind}.{case}")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "case"
        shutil.copytree(sound, copy)
        return KINDS[kind].attempt(copy, rng)


def run_batch(kind: str, seed: int, first: int, count: int, sound: Path, told: Path) -> None:
    """Cases in a child process; the file `told` gets a line before and after each of them."""
    pid = os.fork()
    if pid:
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if ended:
            with told.open("a", encoding="utf-8") as log:
                log.write(f"died {ended}\n")
        return
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        signal.signal(signal.SIGALRM, _too_long)
        with told.open("a", encoding="utf-8") as log:
            for case in range(first, first + count):
                log.write(f"case {kind} {case}\n")
                log.flush()
                signal.alarm(MOST_S)
                try:
                    end = run_case(kind, seed, case, sound)
                except BaseException as error:
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    place = f"{Path(where.filename).name}:{where.lineno}"
                    end = f"FOUND {type(error).__name__} at {place}: {str(error)[:200]!r}"
                signal.alarm(0)
                log.write(f"end {end}\n")
        status = 0
    finally:
        os._exit(status)


def fuzz(
    seconds: float, seed: int, kinds: tuple[str, ...], batch: int = BATCH
) -> tuple[Counter[str], list[str]]:
    """Cases of all kinds in turn until the time is over: counts by kind and end, and findings."""
    counts: Counter[str] = Counter()
    findings: list[str] = []
    started, first = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told"
        for kind in kinds:
            (Path(folder) / kind).mkdir()
            KINDS[kind].prepare(Path(folder) / kind)
        while not first or time.monotonic() - started < seconds:
            for kind in kinds:
                told.write_text("")
                run_batch(kind, seed, first, batch, Path(folder) / kind, told)
                _read_log(told, kind, counts, findings)
            first += batch
    return counts, findings


def _read_log(told: Path, kind: str, counts: Counter[str], findings: list[str]) -> None:
    current = ""
    for line in told.read_text(encoding="utf-8", errors="replace").splitlines():
        word, _, rest = line.partition(" ")
        if word == "case":
            current = rest
        elif word == "died" or rest.startswith("FOUND"):
            counts[f"{kind} FOUND"] += 1
            findings.append(f"{current}: {line}")
        elif word == "end":
            counts[f"{kind} {rest}"] += 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Offer spoilt files to all readers.")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=BATCH, help="cases in one child process")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--case", type=int, help="one case alone, with its traceback")
    options = parser.parse_args()
    kinds = tuple(options.kind or KINDS)
    if options.case is not None:
        for kind in kinds:
            with tempfile.TemporaryDirectory() as folder:
                KINDS[kind].prepare(Path(folder))
                print(kind, run_case(kind, options.seed, options.case, Path(folder)))
        return 0
    counts, findings = fuzz(60 * options.minutes, options.seed, kinds, options.batch)
    for name in sorted(counts):
        print(f"{counts[name]:8d}  {name}")
    print(f"{sum(counts.values()):8d}  cases, {len(findings)} findings")
    print("\n".join(findings))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
