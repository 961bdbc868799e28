"""The tutorial runs as written: its commands in order, its excerpts in what they print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"
PROGRAM = "from stochbess.cli import main; main()"
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK_LIMIT_S = 300.0


@dataclass(frozen=True)
class Block:
    """A fenced block: `sh` is run, `text` quotes what the `sh` block before it printed."""

    language: str
    codes: frozenset[int]
    body: str
    line: int


def read_blocks(page: str) -> list[Block]:
    """All fenced blocks; after `sh`, `fails=N` wants exit code N, `may-fail=N` takes 0 or N."""
    blocks = []
    for found in FENCE.finditer(page):
        language, tag, body = found[1], found[2].strip(), found[3]
        codes = {0}
        if tag:
            kind, code = tag.split("=")
            assert kind in {"fails", "may-fail"}, f"unknown tag {tag!r}"
            codes = {int(code)} if kind == "fails" else {0, int(code)}
        line = page.count("\n", 0, found.start()) + 1
        blocks.append(Block(language, frozenset(codes), body, line))
    return blocks


def words(text: str) -> str:
    """The stable part of an output: words of three letters or more, without layout and numbers."""
    return " ".join(re.findall(r"\b[A-Za-z]{3,}\b", text))


def make_clone(root: Path) -> dict[str, str]:
    """Stand-ins for `run.sh` and `.venv` in root/clone; the environment in which they are found.

    `./run.sh X` is `stochbess X` of the interpreter that runs the tests: nothing is installed.
    """
    programs = root / "bin"
    clone = root / "clone"
    activate = clone / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text("", encoding="utf-8")
    programs.mkdir()
    python = shlex.quote(sys.executable)
    for path, start in (
        (programs / "python", python),
        (programs / "stochbess", f"{python} -c {shlex.quote(PROGRAM)}"),
        (clone / "run.sh", "stochbess"),
    ):
        path.write_text(f'#!/bin/sh\nexec {start} "$@"\n', encoding="utf-8")
        path.chmod(0o755)
    search = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": search, "COLUMNS": "100"}  # the width of the page's excerpts


def run_block(block: Block, cwd: Path, environment: dict[str, str], note: Path) -> tuple[str, Path]:
    """Run one block in `sh -e`; its output and the folder it ends in, which it leaves in `note`."""
    note.write_text(str(cwd), encoding="utf-8")
    script = f"{block.body}\npwd > {shlex.quote(str(note))}\n"
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", script],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=BLOCK_LIMIT_S,
        check=False,
    )
    where = f"{TUTORIAL.name}:{block.line}: exit code {done.returncode}"
    assert done.returncode in block.codes, f"{where}\n{block.body}\n{done.stdout}"
    assert "Traceback" not in done.stdout, f"{where}\n{done.stdout}"
    return done.stdout, Path(note.read_text(encoding="utf-8").strip())


def test_the_page_has_commands_and_every_excerpt_follows_one() -> None:
    blocks = read_blocks(TUTORIAL.read_text(encoding="utf-8"))
    assert {block.language for block in blocks} == {"sh", "text"}
    assert blocks[0].language == "sh"
    assert sum(block.language == "sh" for block in blocks) > 10


@pytest.mark.slow
@pytest.mark.walkthrough
def test_every_command_of_the_tutorial_works_and_prints_what_the_page_quotes(
    tmp_path: Path,
) -> None:
    environment = make_clone(tmp_path)
    cwd, output = tmp_path / "clone", ""
    for block in read_blocks(TUTORIAL.read_text(encoding="utf-8")):
        if block.language == "sh":
            output, cwd = run_block(block, cwd, environment, tmp_path / "cwd")
            continue
        printed = words(output)
        for number, line in enumerate(block.body.splitlines(), block.line + 1):
            assert words(line) in printed, (
                f"{TUTORIAL.name}:{number}: not printed: {line}\n{output}"
            )
    assert cwd == tmp_path / "first-hour"
    assert {path.name for path in (cwd / "report").iterdir()} >= {"report.html", "facts.json"}
