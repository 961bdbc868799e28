"""Reports and pictures on disk: whole or not there, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from stochbess.errors import ReportError


def write_bundle(directory: Path, files: Mapping[str, bytes], own: frozenset[str]) -> None:
    """Write `files` as the whole content of `directory`.

    They are written beside it, forced to disk, and renamed in one step. A directory that is there
    is replaced if it holds nothing but files called `own`; equal files are left alone.

    Raises
    ------
    ReportError : the directory holds something else, or cannot be written; nothing has changed
    """
    directory = Path(os.path.abspath(directory))  # noqa: PTH100 - keeps links as they are
    try:
        if holds_report(directory, own) and _same(directory, files):
            return
        directory.parent.mkdir(parents=True, exist_ok=True)
        temporary = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}.tmp")
        try:
            temporary.mkdir()
            for name, content in files.items():
                with (temporary / name).open("xb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
            _sync(temporary)
            _exchange(temporary, directory)
            _sync(directory.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise ReportError(
            f"{directory}: the report cannot be written: {error.strerror or error}. Free the "
            "directory, or name another one."
        ) from error


def write_file(path: Path, content: bytes) -> None:
    """Write one file; what is there is replaced in one step or not at all.

    Raises
    ------
    ReportError : the file cannot be written; nothing has changed
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ReportError(
            f"{path} cannot be written: {error.strerror or error}. Name another file."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def holds_report(directory: Path, own: frozenset[str]) -> bool:
    """Whether a directory with nothing but files called `own` is there; False if nothing is.

    Raises
    ------
    ReportError : something else is there
    """
    if not os.path.lexists(directory):
        return False
    if directory.is_symlink() or not directory.is_dir():
        raise ReportError(f"{directory} is not a directory. Name another one for the report.")
    foreign = sorted({path.name for path in directory.iterdir()} - own)
    if foreign:
        raise ReportError(
            f"{directory} holds {foreign[0]!r}, which is no part of a report and would be lost. "
            "Name a new or an empty directory."
        )
    return True


def _same(directory: Path, files: Mapping[str, bytes]) -> bool:
    present = {path.name for path in directory.iterdir()}
    return present == set(files) and all(
        (directory / name).read_bytes() == content for name, content in files.items()
    )


def _exchange(new: Path, directory: Path) -> None:
    """Put `new` in the place of `directory`; the old one comes back if that fails."""
    if not directory.exists():
        new.rename(directory)
        return
    old = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}.old")
    directory.rename(old)
    try:
        new.rename(directory)
    except OSError:
        old.rename(directory)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sync(directory: Path) -> None:
    """Force the names in a directory to disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
