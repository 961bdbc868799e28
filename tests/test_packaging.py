"""The metadata of the package say what is on the disk."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import stochbess

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
FOLDER_OF: dict[str, Path] = {
    package: ROOT / place for package, place in SETUPTOOLS["package-dir"].items()
}


def folder_of(package: str) -> Path:
    if package in FOLDER_OF:
        return FOLDER_OF[package]
    parent, _, name = package.rpartition(".")
    return folder_of(parent) / name


def packages_on_disk() -> set[str]:
    found = set()
    for package, folder in FOLDER_OF.items():
        for init in folder.rglob("__init__.py"):
            below = init.parent.relative_to(folder).parts
            found.add(".".join([package, *below]))
    return found


def test_the_package_list_is_what_is_on_the_disk() -> None:
    listed = SETUPTOOLS["packages"]
    assert sorted(listed) == sorted(packages_on_disk())
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize(
    ("package", "pattern"),
    [
        (package, pattern)
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
    ],
)
def test_every_pattern_of_package_data_finds_a_file(package: str, pattern: str) -> None:
    assert any(path.is_file() for path in folder_of(package).glob(pattern)), (package, pattern)


def test_every_file_that_the_package_reads_is_package_data() -> None:
    """What no pattern names is in a checkout and missing from an installed package."""
    shipped = {
        path
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in folder_of(package).glob(pattern)
    }
    present = {
        path
        for folder in FOLDER_OF.values()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and path.name[0] != "."
    }
    assert sorted(present - shipped) == []


def test_the_version_is_the_same_wherever_it_is_told() -> None:
    assert PROJECT["project"]["version"] == stochbess.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [stochbess.__version__]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\d+\.\d+\.\d+)", changelog, re.MULTILINE)[0] == stochbess.__version__


def test_the_command_exists() -> None:
    module, _, name = PROJECT["project"]["scripts"]["stochbess"].partition(":")
    assert callable(getattr(import_module(module), name))


def test_the_type_checkers_see_the_folders_that_are_installed() -> None:
    for package, folder in FOLDER_OF.items():
        if package != "stochbess":
            link = ROOT / ".typing" / Path(*package.split("."))
            assert link.resolve() == folder.resolve()


def test_the_licence_is_where_the_metadata_look_for_it() -> None:
    for name in PROJECT["project"]["license-files"]:
        assert "MIT License" in (ROOT / name).read_text(encoding="utf-8")
