"""Parts of a certificate that are finished: one file of JSON lines per decision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from stochbess.errors import StoreError
from stochbess.run_record import canonical_json


class PartStore:
    """Numbers by key, in memory and, with a `store_dir`, on disk.

    Lines are only appended. One that a kill has cut short is not read, and computed again.
    """

    def __init__(self, store_dir: Path | None, sha256: str) -> None:
        self.path = None if store_dir is None else store_dir / "certify" / f"{sha256[:16]}.jsonl"
        self._known: dict[str, list[float]] = {}
        if self.path is not None and self.path.is_file():
            try:
                text = self.path.read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                raise _unusable(self.path, "read", error) from error
            for line in text.splitlines():
                self._read(line)

    def _read(self, line: str) -> None:
        try:
            record = json.loads(line)
            self._known[str(record["key"])] = [float(value) for value in record["values"]]
        except (ValueError, KeyError, TypeError):
            return

    def find(self, key: str) -> list[float] | None:
        return self._known.get(key)

    def add(self, key: str, values: Sequence[float]) -> None:
        """Keep the numbers of `key`, on disk too.

        Raises
        ------
        StoreError : the file cannot be written
        """
        self._known[key] = list(values)
        if self.path is None:
            return
        line = canonical_json({"key": key, "values": list(values)}) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            whole = not self.path.is_file() or self.path.read_bytes()[-1:] in (b"", b"\n")
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(line if whole else "\n" + line)
        except OSError as error:
            raise _unusable(self.path, "written", error) from error


def _unusable(path: Path, what: str, error: OSError) -> StoreError:
    return StoreError(
        f"{path} cannot be {what}: {error.strerror or error}. Free it, or name another store "
        "(--store)."
    )
