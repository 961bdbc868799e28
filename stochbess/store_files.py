"""Directories of the store: written in one step, removed, or set aside when they are damaged."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from stochbess.errors import StoreError
from stochbess.run_record import canonical_json, check_name
from stochbess.store_row import StoredRow
from stochbess.store_schema import store_errors

TEMPORARY = ".tmp-"
QUARANTINE = "quarantine"


def write_temporary(runs: Path, run_id: str, files: Mapping[str, bytes]) -> Path:
    """Write the files to a temporary directory below `runs` and force them to disk.

    Raises
    ------
    StoreError or OSError : nothing is left behind
    """
    if runs.is_symlink():
        raise StoreError(f"{runs} is a link, which a store never makes. Remove it.")
    runs.mkdir(exist_ok=True)
    temporary = runs / f"{TEMPORARY}{run_id}.{uuid.uuid4().hex}"
    try:
        temporary.mkdir()
        for name, content in files.items():
            path = temporary / f"{name}.parquet"
            with store_errors(path), path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        sync_directory(temporary)
    except BaseException:
        remove(temporary)
        raise
    return temporary


def read_frame_file(path: Path, sha256: str) -> bytes:
    """Bytes of a frame that have the recorded hash.

    Raises
    ------
    StoreError : missing, reached through a link, or damaged
    """
    with store_errors(path):
        if path.is_symlink() or path.parent.is_symlink() or path.parent.parent.is_symlink():
            raise StoreError(f"{path} is reached through a link, which a store never makes.")
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise StoreError(
            f"{path} is damaged: {len(content)} bytes whose SHA-256 is not the recorded one. "
            "The file is left as it is. Compute the run again with --force (overwrite); the "
            f"damaged file is then kept in {QUARANTINE}/."
        )
    return content


def clear_superseded(root: Path, row: StoredRow) -> Path | None:
    """Remove results that newer ones have replaced; damaged ones are moved to the quarantine.

    Returns where they were put, with the row as `row.json`, or None if they were sound.
    """
    directory = _directory(root, row)
    if directory is not None and row.is_sound and _is_whole(directory, row):
        remove(directory)
        return None
    place = _free(root / QUARANTINE, str(row.columns["run_id"]))
    place.mkdir(parents=True)
    told = {"columns": {k: str(v) for k, v in row.columns.items()}, "frames": str(row.frames)}
    (place / "row.json").write_text(canonical_json(told), encoding="utf-8")
    if directory is not None and directory.is_dir() and not directory.is_symlink():
        directory.rename(place / "frames")
    return place


def _directory(root: Path, row: StoredRow) -> Path | None:
    """Where a row says its files are, if that is a place that this store can have made."""
    name = row.columns["directory"]
    if not isinstance(name, str) or not name.startswith(str(row.columns["run_id"])):
        return None
    try:
        return root / "runs" / check_name(name, "directory")
    except StoreError:
        return None


def _is_whole(directory: Path, row: StoredRow) -> bool:
    try:
        for name, (sha256, _) in row.frames.items():
            read_frame_file(directory / f"{name}.parquet", sha256)
    except StoreError:
        return False
    return True


def _free(folder: Path, name: str) -> Path:
    number = 1
    while (folder / f"{name}.{number}").exists():
        number += 1
    return folder / f"{name}.{number}"


def remove(path: Path) -> None:
    """Remove a directory of ours, or a link in its place; what resists stays for the next sweep."""
    if path.is_symlink():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def sync_directory(path: Path) -> None:
    """Force the names in a directory to disk."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
