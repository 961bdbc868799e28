"""The catalogue of faults and the tests belong together, one to one, and nothing is hidden."""

from __future__ import annotations

import ast
import warnings
from functools import cache
from pathlib import Path

import pytest

from tests.faults.report import CLASSES, FOLDER, ROOT, Entry, lines, read_catalogue

# Faults of the design that can happen by now; ids from F86 on were found since.
IDS = [f"F{n:02d}" for n in (*range(1, 23), *range(38, 58), 59, 60, 61, 63, 64, *range(79, 84), 85)]
ENTRIES = read_catalogue()


@cache
def functions(file: str) -> frozenset[str]:
    """Names of the test functions of a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(n.name for n in tree.body if isinstance(n, kinds) and n.name[:5] == "test_")


def test_every_fault_that_can_happen_has_one_entry() -> None:
    found = [entry.id for entry in ENTRIES]
    assert found == sorted(set(found))
    assert [i for i in found if i < "F86"] == IDS


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_every_entry_names_tests_that_exist(entry: Entry) -> None:
    assert entry.title and entry.expected in CLASSES and entry.tests
    assert len(set(entry.tests)) == len(entry.tests)
    for node in entry.tests:
        file, _, name = node.partition("::")
        assert Path(file).name.startswith("test_") and name in functions(file), node
    assert entry.survived == (not entry.reason)


def test_every_test_of_this_folder_belongs_to_a_fault() -> None:
    named = {node for entry in ENTRIES for node in entry.tests}
    here = {
        f"{path.relative_to(ROOT).as_posix()}::{name}"
        for path in sorted(FOLDER.glob("test_*.py"))
        if path.name != Path(__file__).name
        for name in functions(path.relative_to(ROOT).as_posix())
    }
    assert here - named == set()


def test_what_is_not_survived_is_told() -> None:
    lost = [entry for entry in ENTRIES if not entry.survived]
    told, kept = lines(ENTRIES, {node: "passed" for e in ENTRIES for node in e.tests})
    assert kept and told[0] == f"{len(ENTRIES) - len(lost)} of {len(ENTRIES)} survived"
    assert len(told) == 1 + bool(lost) + len(lost)
    for text in told[2:]:
        warnings.warn(f"not survived:{text}", stacklevel=1)


def test_a_skipped_or_failed_test_survives_nothing() -> None:
    one = Entry("F99", "a fault", "E", ("a::b", "a::c"))
    for end in ("failed", "skipped", "not run", "expected to fail"):
        told, kept = lines([one], {"a::b": "passed", "a::c": end})
        assert told[0] == "0 of 1 survived" and end in told[2] and not kept
