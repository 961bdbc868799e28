"""The figure of the README: its caption says what its facts say, and all belong to one run."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "figures"
NUMERAL = re.compile(r"[+\N{MINUS SIGN}-]?\d[\d,]*(?:\.\d+)?")


def told() -> dict[str, object]:
    found: dict[str, object] = json.loads((FIGURES / "decision.json").read_text("utf-8"))
    return found


def facts() -> dict[str, dict[str, object]]:
    rows = told()["facts"]
    assert isinstance(rows, list)
    return {row["name"]: row for row in rows}


def plain(text: str) -> str:
    return " ".join(text.split())


def test_the_readme_shows_the_figure_with_the_caption_of_its_facts() -> None:
    readme = plain((ROOT / "README.md").read_text("utf-8"))
    assert "](docs/figures/decision.svg)" in readme
    assert plain(str(told()["caption"])) in readme


def test_every_number_of_the_caption_is_a_fact_of_the_run() -> None:
    caption = str(told()["caption"])
    for fact in facts().values():
        assert str(fact["text"]) in caption, fact["name"]
        caption = caption.replace(str(fact["text"]), "", 1)
    assert not re.search(r"\d", caption), caption


@pytest.mark.parametrize("name", ["expected_profit", "profit_bound", "gap_percent"])
def test_the_printed_number_is_the_value_of_the_fact(name: str) -> None:
    fact = facts()[name]
    printed = NUMERAL.match(str(fact["text"]))
    assert printed is not None and isinstance(fact["value"], float)
    assert float(printed[0].replace(",", "")) == pytest.approx(fact["value"], abs=0.005001)


def test_the_figure_is_the_one_that_was_made_with_these_facts() -> None:
    svg = (FIGURES / "decision.svg").read_bytes()
    assert hashlib.sha256(svg).hexdigest() == told()["svg_sha256"]
    run = str(facts()["run_id"]["value"])
    assert f"run {run} · seed".encode() in svg
    assert b"SYNTHETIC market data" in svg
    assert {row["run"] for row in facts().values()} == {run}


def test_the_figure_carries_no_time_and_no_path_of_a_machine() -> None:
    svg = (FIGURES / "decision.svg").read_text("utf-8")
    assert "<dc:date>" not in svg and "/root" not in svg and "/home" not in svg


def test_the_caption_is_the_one_that_the_command_would_write() -> None:
    made = runpy.run_path(str(FIGURES / "make.py"), run_name="figures")
    caption = made["CAPTION"]
    assert set(re.findall(r"\{([a-z_.]+)\}", caption)) == set(made["QUOTED"]) == set(facts())
    for name, fact in facts().items():
        caption = caption.replace(f"{{{name}}}", str(fact["text"]))
    assert caption == told()["caption"]
