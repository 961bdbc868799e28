"""A report on disk: tagged PDF, the same bytes, whole or not there, and nothing from outside."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stochbess.cli import app
from stochbess.errors import ReportError
from stochbess.report import default_directory, write_report
from stochbess.reports.bundle import write_bundle
from stochbess.reports.pdf import APT_LINE, write_pdf
from stochbess.store import Store
from tests.report_case import Shape, finished_run

SMALL = Shape(n_scenarios=2, markets=("FCR", "day-ahead"))
NAMES = {"report.html", "report.pdf", "facts.json"}
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report, written once for the tests that only look at it."""
    folder = tmp_path_factory.mktemp("reports") / "new" / "report"
    write_report(*finished_run(SMALL), folder)
    return folder


def unpacked(pdf: bytes) -> Iterator[bytes]:
    """The compressed streams of a PDF."""
    for packed in re.findall(rb"FlateDecode.*?stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        with contextlib.suppress(zlib.error):
            yield zlib.decompress(packed)


def contents(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


# --------------------------------------------------------------------- the PDF


def test_a_report_is_a_page_a_document_and_the_facts_behind_them(written: Path) -> None:
    assert {path.name for path in written.iterdir()} == NAMES
    facts = json.loads((written / "facts.json").read_text("utf-8"))
    record, _ = finished_run(SMALL)
    assert facts["synthetic"] is True
    for fact in facts["facts"]:
        assert {"name", "value", "unit", "digits", "meaning", "run", "text"} <= set(fact)
        assert fact["run"] == record.run_id


def test_the_pdf_is_tagged_and_has_title_language_outline_and_alternative_texts(
    written: Path,
) -> None:
    raw = (written / "report.pdf").read_bytes()
    pdf = raw + b"".join(unpacked(raw))
    html = (written / "report.html").read_text("utf-8")
    assert pdf.startswith(b"%PDF-1.7")
    for part in (b"/MarkInfo", b"/Marked true", b"/StructTreeRoot", b"/Lang (en)", b"/Outlines"):
        assert part in pdf, part
    assert b"pdfuaid" in pdf
    assert b"/DisplayDocTitle true" in pdf
    assert b"/Title (Battery offer for DE_LU, 2024-06-26)" in pdf
    assert len(re.findall(rb"/S /Figure", pdf)) >= html.count("<img ")
    assert len(re.findall(rb"/Alt ", pdf)) >= html.count("<img ")
    assert b"/S /TH" in pdf and b"/S /H2" in pdf
    outline = re.findall(rb"/Title \(([^)]*)\)", pdf)
    assert b"1 What to offer" in outline and b"9 How to read this" in outline
    assert b"CreationDate" not in pdf and b"ModDate" not in pdf


def test_every_image_has_an_alternative_text(written: Path) -> None:
    html = (written / "report.html").read_text("utf-8")
    alts = re.findall(r'<img [^>]*alt="([^"]*)"', html)
    assert len(alts) == html.count("<img ") and all(len(alt) > 20 for alt in alts)


def test_the_same_run_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    write_report(*finished_run(SMALL), tmp_path / "again")
    assert contents(tmp_path / "again") == contents(written)


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_process_or_its_hash_seed(
    written: Path, tmp_path: Path
) -> None:
    script = (
        "import sys; from pathlib import Path; from stochbess.report import write_report;"
        "from tests.report_case import Shape, finished_run;"
        "s = Shape(n_scenarios=2, markets=('FCR', 'day-ahead'));"
        "write_report(*finished_run(s), Path(sys.argv[1]))"
    )
    for seed in ("1", "2"):
        folder = tmp_path / seed
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Tokyo"}
        environment |= {"LC_ALL": "C", "SOURCE_DATE_EPOCH": seed}
        done = subprocess.run(
            [sys.executable, "-c", script, str(folder)],
            cwd=ROOT, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert contents(folder) == contents(written)


# --------------------------------------------------------------------- nothing from outside


@pytest.mark.parametrize(
    "markup",
    [
        '<img src="{}" alt="a">',
        '<link rel="stylesheet" href="{}">',
        '<style>@import url("{}");</style>',
        '<style>body {{ background: url("{}") }}</style>',
        '<style>@font-face {{ font-family: f; src: url("{}") }} body {{ font-family: f }}</style>',
        '<link rel="attachment" href="{}">',
    ],
)
def test_a_page_that_asks_for_something_outside_makes_no_pdf(markup: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.svg"
    secret.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        port = server.getsockname()[1]
        for address in (secret.as_uri(), f"http://127.0.0.1:{port}/a.svg", "ftp://127.0.0.1/a"):
            page = f"<html lang=en><title>t</title>{markup.format(address)}<p>text</p></html>"
            with pytest.raises(ReportError, match="from outside"):
                write_pdf(page)
        with pytest.raises(TimeoutError):
            server.accept()


def test_an_image_inside_an_image_is_refused_too(tmp_path: Path) -> None:
    import base64

    inner = (tmp_path / "secret.svg").as_uri()
    svg = (
        "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'>"
        f"<image href='{inner}' width='9' height='9'/></svg>"
    )
    address = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    with pytest.raises(ReportError, match="from outside"):
        write_pdf(f"<html lang=en><title>t</title><img src='{address}' alt='a'></html>")


# --------------------------------------------------------------------- without Pango


_WITHOUT_PANGO = """
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "weasyprint":
            print("a page of advice")
            raise OSError("cannot load library 'libgobject-2.0-0': error 0x7e")

sys.meta_path.insert(0, Missing())
from stochbess.errors import ReportError
from stochbess.report import write_report
from tests.report_case import Shape, finished_run
try:
    write_report(*finished_run(Shape(n_scenarios=2, markets=())), Path(sys.argv[1]))
except ReportError as error:
    sys.stderr.write(str(error))
    sys.exit(error.exit_code)
"""


def test_without_pango_the_page_and_the_facts_are_written_and_the_mending_line_is_told(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "report.pdf").write_bytes(b"of an older run")
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_PANGO, str(folder)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 8, done.stderr
    assert APT_LINE in done.stderr and "libgobject" in done.stderr
    assert done.stdout == ""
    assert {path.name for path in folder.iterdir()} == {"report.html", "facts.json"}


def test_the_line_that_installs_pango_is_the_same_wherever_it_is_told() -> None:
    packages = APT_LINE.split("--no-install-recommends ")[1]
    assert packages in (ROOT / "run.sh").read_text("utf-8")
    assert packages in (ROOT / "stochbess" / "doctor.py").read_text("utf-8")


# --------------------------------------------------------------------- whole or not there


def test_a_report_replaces_a_report_and_nothing_else(tmp_path: Path) -> None:
    folder, own = tmp_path / "out", frozenset(NAMES)
    write_bundle(folder, {"report.html": b"one", "facts.json": b"1"}, own)
    write_bundle(folder, {"report.html": b"two"}, own)
    assert [(p.name, p.read_bytes()) for p in folder.iterdir()] == [("report.html", b"two")]
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(ReportError, match="thesis"):
        write_bundle(folder, {"report.html": b"three"}, own)
    assert (folder / "report.html").read_bytes() == b"two"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_a_place_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("here")
    link.symlink_to(tmp_path)
    for place in (file, link, file / "below"):
        with pytest.raises(ReportError):
            write_bundle(place, {"report.html": b"x"}, frozenset(NAMES))
    assert file.read_text() == "here" and link.is_symlink()


def test_a_disk_that_refuses_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, own = tmp_path / "out", frozenset(NAMES)
    write_bundle(folder, {"report.html": b"one"}, own)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReportError, match="No space left"):
        write_bundle(folder, {"report.html": b"two"}, own)
    assert (folder / "report.html").read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_failed_exchange_brings_the_old_report_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, own = tmp_path / "out", frozenset(NAMES)
    write_bundle(folder, {"report.html": b"one"}, own)
    rename = Path.rename

    def refusing(self: Path, target: Path) -> Path:
        if self.name.endswith(".tmp"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refusing)
    with pytest.raises(ReportError, match="Input/output"):
        write_bundle(folder, {"report.html": b"two"}, own)
    assert (folder / "report.html").read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


# --------------------------------------------------------------------- the command


def test_the_command_writes_the_report_of_a_stored_run(tmp_path: Path) -> None:
    store = tmp_path / "runs"
    record, frames = finished_run(SMALL)
    with Store(store) as kept:
        kept.save(record, frames)
    out = tmp_path / "report"
    line = ["report", record.run_id[:8], "--store", str(store), "--out", str(out)]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == NAMES
    assert default_directory(store, record.run_id) == store / "reports" / record.run_id


def test_the_command_refuses_a_run_without_results(tmp_path: Path) -> None:
    store = tmp_path / "runs"
    record, _ = finished_run(SMALL)
    with Store(store) as kept:
        kept.begin(record)
        kept.mark(record.run_id, "failed")
    done = CliRunner().invoke(app, ["report", record.run_id, "--store", str(store)])
    assert done.exit_code == 8 and "failed" in done.output
    assert not (store / "reports").exists()


@pytest.mark.slow
def test_compare_writes_the_report_of_the_last_formulation(tmp_path: Path) -> None:
    out = tmp_path / "report"
    line = ["compare", "--markets", "day-ahead", "--n-scenarios", "3", "--quiet", "--json"]
    done = CliRunner().invoke(
        app, [*line, "--store", str(tmp_path / "runs"), "--report-dir", str(out)]
    )
    assert done.exit_code == 0, done.output
    rows = {row["formulation"]: row for row in json.loads(done.stdout)["formulations"]}
    facts = {f["name"]: f for f in json.loads((out / "facts.json").read_text("utf-8"))["facts"]}
    assert facts["run_id"]["value"] == rows["two-stage"]["run_id"]
    assert facts["vss_low"]["value"] is not None  # the last formulation is valued too
    for at, name in ((1, "deterministic"), (2, "two-stage")):
        for part, column in (
            ("expected_low", "expected_profit_eur"),
            ("expected_high", "expected_profit_upper_eur"),
            ("cvar", "cvar_eur"),
            ("lots", "reserve_lots"),
        ):
            assert facts[f"compare.{at}.{part}"]["value"] == rows[name][column]
            assert facts[f"compare.{at}.{part}"]["run"] == rows[name]["run_id"]
        assert rows[name]["expected_profit_eur"] <= rows[name]["expected_profit_upper_eur"] + 1e-6
    assert (out / "report.pdf").is_file()


@pytest.mark.parametrize("name", ["solve", "compare"])
def test_a_place_that_would_lose_something_is_refused_before_the_work(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    store = tmp_path / "runs"
    done = CliRunner().invoke(app, [name, "--store", str(store), "--report-dir", str(tmp_path)])
    assert done.exit_code == 8 and "thesis" in done.output
    assert not store.exists()


def test_separate_days_make_no_report() -> None:
    line = ["solve", "--separate-days", "-f", "deterministic", "--scenarios", "realised"]
    done = CliRunner().invoke(app, [*line, "--report"])
    assert done.exit_code == 2 and "--report" in done.output
