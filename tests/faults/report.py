"""Reads the fault catalogue, runs its tests, and says how many faults are survived.

`python tests/faults/report.py` runs every test that catalogue.toml names and prints "n of N
survived" with the list of the rest. A fault is survived if all its tests pass and the catalogue
does not declare otherwise; skipped tests survive nothing. The exit code is 1 if a fault that is
declared survived is not.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
CATALOGUE = FOLDER / "catalogue.toml"
CLASSES = {
    "E": "clear error with its exit code, nothing written",
    "R": "repaired or flagged by an explicit rule and shown with the result",
    "S": "safe state",
    "L": "nothing lost",
}


@dataclass(frozen=True)
class Entry:
    """One fault: `expected` is a key of CLASSES, `tests` are node ids of whole test functions."""

    id: str
    title: str
    expected: str
    tests: tuple[str, ...]
    note: str = ""
    survived: bool = True
    reason: str = ""


def read_catalogue(path: Path = CATALOGUE) -> list[Entry]:
    """Entries in file order; ValueError or TypeError for a key that an entry does not have."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    return [Entry(**{**item, "tests": tuple(item["tests"])}) for item in raw["fault"]]


def run(entries: list[Entry]) -> dict[str, str]:
    """How every named test function ended: the worst of its cases, or `not run`."""
    nodes = sorted({node for entry in entries for node in entry.tests})
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", f"--junitxml={report}"]
        done = subprocess.run([*command, *nodes], cwd=ROOT, capture_output=True, text=True)
        if not report.is_file():
            raise SystemExit(done.stdout + done.stderr)
        cases = ET.parse(report).getroot().iter("testcase")
        ended: dict[str, str] = dict.fromkeys(nodes, "not run")
        order = ("not run", "passed", "skipped", "expected to fail", "failed")
        for case in cases:
            file = case.attrib["classname"].replace(".", "/") + ".py"
            node = f"{file}::{case.attrib['name'].partition('[')[0]}"
            if node in ended:
                ended[node] = max(ended[node], _end(case), key=order.index)
    return ended


def _end(case: ET.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    skipped = case.find("skipped")
    if skipped is None:
        return "passed"
    return "expected to fail" if skipped.attrib.get("type") == "pytest.xfail" else "skipped"


def lines(entries: list[Entry], ended: Mapping[str, str]) -> tuple[list[str], bool]:
    """The report, and whether every fault that is declared survived is."""
    lost: list[str] = []
    broken = 0
    for entry in entries:
        bad = [f"{node}: {ended[node]}" for node in entry.tests if ended[node] != "passed"]
        if entry.survived and not bad:
            continue
        broken += entry.survived
        why = "; ".join(bad) if entry.survived else f"declared: {entry.reason}"
        lost.append(f"  {entry.id} {entry.title}: {why}")
    head = f"{len(entries) - len(lost)} of {len(entries)} survived"
    return [head, *(["Not survived:", *lost] if lost else [])], not broken


def main() -> int:
    entries = read_catalogue()
    told, kept = lines(entries, run(entries))
    print("\n".join(told))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
