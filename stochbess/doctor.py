"""Is this machine able to run stochbess? Every check says what it found and which line mends it.

Nothing is changed. Checks look for themselves and never raise.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from stochbess import __version__
from stochbess.errors import StochbessError

Status = Literal["ok", "absent", "warning", "failed"]
PYTHON_AT_LEAST = (3, 11)
PANGO_LINE = (
    "apt-get install -y libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core"
)
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(?:>=\s*([0-9][0-9.]*))?")


@dataclass(frozen=True)
class Check:
    """One finding. `failed` keeps the main job from running, `warning` and `absent` do not."""

    name: str
    status: Status
    detail: str
    mend: str = ""


def examine(store_dir: Path | None = None) -> list[Check]:
    """All checks, in the order in which to mend what they find.

    Parameters
    ----------
    store_dir : where runs are stored; None = as configured
    """
    looks: dict[str, Callable[[], Iterator[Check]]] = {
        "python": _python,
        "packages": _packages,
        "time zones": _time_zones,
        "solver": _solver,
        "reference market": _reference_market,
        "store": lambda: _configuration_and_store(store_dir),
        "pango": _pango,
        "mpi": _mpi,
    }
    return [check for name, look in looks.items() for check in _safely(name, look)]


def _safely(name: str, look: Callable[[], Iterator[Check]]) -> list[Check]:
    """The findings of one look; one that breaks is a finding too."""
    found: list[Check] = []
    try:
        found.extend(look())
    except Exception as error:
        mend = f"{sys.executable} -m pip install --force-reinstall stochbess"
        found.append(Check(name, "failed", f"{type(error).__name__}: {error}", mend))
    return found


def _python() -> Iterator[Check]:
    running = platform.python_version()
    detail = f"{platform.python_implementation()} {running} on {platform.platform()}"
    detail += f", {os.cpu_count()} CPUs, stochbess {__version__}"
    if sys.version_info >= PYTHON_AT_LEAST:
        yield Check("python", "ok", detail)
    else:
        mend = "apt-get install -y python3 python3-venv, on Debian 12 or newer"
        yield Check("python", "failed", f"{detail}; expected 3.11 or newer", mend)


# ------------------------------------------------------------------------------------ packages


def requirements() -> list[str]:
    """What stochbess depends on, as declared; extras left out."""
    try:
        declared = metadata.requires("stochbess") or []
    except metadata.PackageNotFoundError:
        import tomllib

        project = Path(__file__).resolve().parent.parent / "pyproject.toml"
        raw: dict[str, Any] = tomllib.loads(project.read_text(encoding="utf-8"))
        declared = raw["project"]["dependencies"]
    return [line for line in declared if "extra ==" not in line]


def _packages() -> Iterator[Check]:
    present = []
    for line in requirements():
        match = _REQUIREMENT.match(line)
        if match is None:
            continue
        name, least = match[1], match[2] or "0"
        mend = f'{sys.executable} -m pip install "{line}"'
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Check(f"package {name}", "failed", "not installed", mend)
            continue
        if _as_numbers(version) < _as_numbers(least):
            detail = f"version {version}, expected {least} or newer"
            yield Check(f"package {name}", "failed", detail, mend)
        else:
            present.append(f"{name} {version}")
    yield Check("packages", "ok", ", ".join(present))


def _as_numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split("."):
        digits = re.match(r"\d+", part)
        if digits is None:
            break
        numbers.append(int(digits[0]))
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


# ---------------------------------------------------------------------------------- the machine


def _time_zones() -> Iterator[Check]:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    mend = f"{sys.executable} -m pip install --upgrade tzdata"
    try:
        zone = ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError as error:
        yield Check("time zones", "failed", f"no data for Europe/Berlin: {error}", mend)
        return
    begin, end = (datetime(2025, 10, day, tzinfo=zone).astimezone(UTC) for day in (26, 27))
    if end - begin == timedelta(hours=25):
        yield Check("time zones", "ok", "Europe/Berlin has 25 hours on 2025-10-26")
    else:
        detail = f"Europe/Berlin has {(end - begin) / timedelta(hours=1):g} hours on 2025-10-26"
        yield Check("time zones", "failed", f"{detail}, expected 25", mend)


def _solver() -> Iterator[Check]:
    mend = f'{sys.executable} -m pip install --force-reinstall "highspy>=1.15"'
    try:
        import numpy as np
        import scipy.sparse as sp

        from stochbess.engine.highs import SolveOptions, solve_problem, version
        from stochbess.engine.matrix import Problem

        # Sell 1 MWh or 2 MWh at 3 and 2 EUR/MWh, 2.5 MWh in all: 3 + 3 = 6 EUR.
        tiny = Problem(
            cost=np.array([-3.0, -2.0]),
            offset=0.0,
            lower=np.zeros(2),
            upper=np.array([1.0, 2.0]),
            integer=np.zeros(2, bool),
            matrix=sp.csr_array(np.ones((1, 2))),
            row_lower=np.array([-np.inf]),
            row_upper=np.array([2.5]),
        )
        found = solve_problem(tiny, SolveOptions())
        name = f"{found.solver} {version()}"
    except (ImportError, OSError, StochbessError) as error:
        yield Check("solver", "failed", f"{type(error).__name__}: {error}", mend)
        return
    if abs(found.objective + 6.0) < 1e-6:
        yield Check("solver", "ok", f"{name} solves a small problem to its known optimum")
    else:
        detail = f"{name} found {-found.objective:g} on a problem whose optimum is 6"
        yield Check("solver", "failed", detail, mend)


def _reference_market() -> Iterator[Check]:
    from stochbess.market.reference import reference_market

    try:
        market = reference_market()
    except StochbessError as error:
        mend = f"{sys.executable} -m pip install --force-reinstall stochbess"
        yield Check("reference market", "failed", str(error).splitlines()[0], mend)
        return
    detail = f"{len(market.series)} synthetic series of {market.zone}, data {market.sha256[:12]}"
    yield Check("reference market", "ok", detail)


def _configuration_and_store(store_dir: Path | None) -> Iterator[Check]:
    from stochbess.config import load_config

    source = "config.yaml" if Path("config.yaml").exists() else "the packaged defaults"
    try:
        config = load_config()
    except StochbessError as error:
        many = len(str(error).splitlines())
        detail = f"{source}: {many} fault(s), first: {str(error).splitlines()[0]}"
        yield Check("configuration", "failed", detail, "stochbess config check")
    else:
        yield Check("configuration", "ok", f"{source}, {config.sha256[:12]}")
        store_dir = config.report.store_dir if store_dir is None else store_dir
    if store_dir is not None:
        yield _store(store_dir)


def _store(store_dir: Path) -> Check:
    """Whether runs can be written; a directory that is not there yet is not made."""
    existing = store_dir
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    mend = f"mkdir -p {store_dir} && chmod u+rwx {store_dir}, or name another with --store"
    try:
        with tempfile.TemporaryFile(dir=existing) as stream:
            stream.write(b"x" * 4096)
    except OSError as error:
        return Check("store", "failed", f"{existing}: {error.strerror or error}", mend)
    if not (store_dir / "stochbess.sqlite").exists():
        return Check("store", "ok", f"{store_dir} can be made; no runs yet")
    from stochbess.store import Store

    try:
        with Store(store_dir, read_only=True) as kept:
            many = len(kept.list())
    except StochbessError as error:
        advice = f"move {store_dir} away, or name another with --store"
        return Check("store", "failed", str(error).splitlines()[0], advice)
    return Check("store", "ok", f"{many} run(s) in {store_dir}, which is writable")


# ------------------------------------------------------------------------- needed by some only


def _pango() -> Iterator[Check]:
    mend = "brew install pango" if sys.platform == "darwin" else PANGO_LINE
    silence = io.StringIO()  # without Pango the import prints a page of advice of its own
    try:
        with (
            contextlib.redirect_stdout(silence),
            contextlib.redirect_stderr(silence),
            warnings.catch_warnings(record=True) as told,
        ):
            warnings.simplefilter("always")
            importlib.import_module("weasyprint")
    except ImportError:
        detail = "WeasyPrint is not installed; reports will be HTML without PDF"
        yield Check("pango", "warning", detail, f'{sys.executable} -m pip install "weasyprint>=70"')
    except OSError as error:
        detail = f"libraries for PDF are missing ({str(error).splitlines()[0]}); reports will be"
        yield Check("pango", "warning", f"{detail} HTML without PDF", mend)
    else:
        if any("harfbuzz" in str(item.message).lower() for item in told):
            detail = "reports can be written as PDF, but newer WeasyPrint needs HarfBuzz-Subset too"
            yield Check("pango", "warning", detail, mend)
        else:
            yield Check("pango", "ok", "reports can be written as PDF")


def _mpi() -> Iterator[Check]:
    mend = f'{sys.executable} -m pip install "stochbess[mpi]"'
    if find_spec("mpi4py") is None:
        detail = "mpi4py is not installed; only --engine cylinders needs it"
        yield Check("mpi", "absent", detail, mend)
        return
    name = f"mpi4py {metadata.version('mpi4py')}"
    beside = Path(sys.executable).with_name("mpiexec")
    launcher = str(beside) if beside.exists() else shutil.which("mpiexec")
    if launcher is None:
        yield Check("mpi", "warning", f"{name}, but no mpiexec to start ranks with", mend)
        return
    count = "from mpi4py import MPI; print(MPI.COMM_WORLD.Get_size())"
    command = [launcher, "-n", "2", sys.executable, "-c", count]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Check("mpi", "warning", f"{name}; {launcher} does not start ranks: {error}", mend)
        return
    if done.returncode == 0 and done.stdout.split() == ["2", "2"]:
        yield Check("mpi", "ok", f"{name}; {launcher} starts ranks that see each other")
        return
    told = (done.stderr.strip() or f"2 ranks see {' and '.join(done.stdout.split())}").splitlines()
    detail = f"{name}; {launcher} starts no ranks that see each other: {told[0][:120]}"
    yield Check("mpi", "warning", detail, mend)
