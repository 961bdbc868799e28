"""The numbers of the equations: what the code names is in docs/math.md, and the other way round."""

from __future__ import annotations

import re
import tokenize
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyomo.environ as pyo
import pytest

from stochbess.models.data import AgingCut, BidMenu, ModelData, Terminal
from stochbess.models.two_stage import two_stage
from tests.small_case import changed, everything, with_losses

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
MATH = DOCS / "math.md"
PAGES = [
    MATH,
    DOCS / "README.md",
    DOCS / "warnings.md",
    DOCS / "determinism.md",
    DOCS / "formulations.md",
    *sorted((DOCS / "numbers").glob("*.md")),
    *sorted((DOCS / "adr").glob("00[0-9][0-9]-*.md")),
]
NUMBER = r"\d{1,3}[a-z]?"
# Two ways in which a text of the code names an equation: "(7a)", and "(8)" for (8a) and (8b).
NAMED = re.compile(rf"(?<![\w-])\(({NUMBER})\)")


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def equations() -> list[str]:
    return re.findall(rf"\\tag\{{({NUMBER})\}}", text_of(MATH))


@cache
def index() -> list[tuple[str, str, str]]:
    """(number, kind, place) for every number in the table at the end of the document."""
    table = text_of(MATH).split("## Index of equations")[1]
    rows = re.findall(r"^\| (\(.*?) \| (\w+) \| (.*?) \|$", table, flags=re.MULTILINE)
    return [
        (number, kind, place)
        for numbers, kind, place in rows
        for number in re.findall(rf"\(({NUMBER})\)", numbers)
    ]


def with_everything_on() -> list[ModelData]:
    """Small decisions that together have every constraint that the models can write."""
    data = everything()
    cut = AgingCut(1.0, np.zeros(data.grid.n_steps))
    data = changed(data, aging={"max_withdrawn_mwh_per_day": 20.0, "cuts": (cut,)})
    returning = replace(data, terminal=Terminal(np.zeros(0), True), exclusive="binary")
    lossy = with_losses(data)
    grid = data.grid
    points = np.tile([10.0, 40.0], (grid.n_day_ahead, 1))
    menu = BidMenu(*(np.tile([5.0, 9.0], (grid.n_blocks, 1)) for _ in range(4)))
    priced = changed(data, energy={"curve_price_eur_mwh": points}, reserves={"menu": menu})
    return [data, returning, priced, lossy, replace(lossy, exclusive="binary")]


@cache
def constraint_docs() -> dict[str, str]:
    """Name of every constraint of the models -> its doc."""
    docs: dict[str, str] = {}
    for data in with_everything_on():
        for constraint in two_stage(data).component_objects(pyo.Constraint):
            docs[constraint.local_name] = str(constraint.doc)
    return docs


@cache
def numbers_of_constraints() -> frozenset[str]:
    found = (re.match(rf"\(({NUMBER})\) ", doc) for doc in constraint_docs().values())
    return frozenset(match[1] for match in found if match)


@cache
def named_in_source() -> dict[str, set[str]]:
    """Number -> files of models/ and the engine that name it in a string or a comment."""
    found: dict[str, set[str]] = {}
    for path in sorted([*ROOT.glob("models/*.py"), *ROOT.glob("stochbess/engine/*.py")]):
        with path.open("rb") as source:
            for token in tokenize.tokenize(source.readline):
                if token.type in (tokenize.STRING, tokenize.COMMENT):
                    for number in NAMED.findall(token.string):
                        found.setdefault(number, set()).add(path.relative_to(ROOT).as_posix())
    return found


# -- numbers --------------------------------------------------------------------------------------
def test_no_equation_number_is_given_twice() -> None:
    assert len(set(equations())) == len(equations()) > 40


def test_every_constraint_begins_with_the_number_of_an_equation() -> None:
    for name, doc in constraint_docs().items():
        match = re.match(rf"\(({NUMBER})\) \w", doc)
        assert match, f"constraint {name}: doc {doc!r} does not begin with an equation number"
        assert match[1] in equations(), f"constraint {name} names ({match[1]}), not in math.md"


def test_the_small_model_has_every_constraint_that_the_models_can_write() -> None:
    written = set()
    for path in ROOT.glob("models/*.py"):
        written |= set(re.findall(rf'doc="\(({NUMBER})\) ', path.read_text(encoding="utf-8")))
    assert numbers_of_constraints() == written


def test_every_number_that_the_code_names_is_an_equation() -> None:
    families = {re.sub(r"[a-z]$", "", number) for number in equations()}
    unknown = {n: files for n, files in named_in_source().items() if n not in families}
    unknown = {n: files for n, files in unknown.items() if n not in equations()}
    assert not unknown, f"named in the code, but not in docs/math.md: {unknown}"


def test_every_equation_is_used_by_the_code_or_declared_a_definition() -> None:
    kinds = {number: kind for number, kind, _ in index()}
    assert len(kinds) == len(index()), "a number stands twice in the index of equations"
    assert set(kinds) == set(equations())
    assert set(kinds.values()) <= {"constraint", "expression", "definition"}
    constraints = {number for number, kind in kinds.items() if kind == "constraint"}
    expressions = {number for number, kind in kinds.items() if kind == "expression"}
    definitions = {number for number, kind in kinds.items() if kind == "definition"}
    assert constraints == numbers_of_constraints()
    assert expressions <= set(named_in_source())
    assert not definitions & set(named_in_source()), "named by the code: not a mere definition"


def test_the_index_names_the_files_in_which_the_numbers_stand() -> None:
    for number, kind, place in index():
        files = re.findall(r"`((?:models|stochbess)/[\w/]+\.py)`", place)
        for file in files:
            assert (ROOT / file).is_file(), f"({number}): {file} does not exist"
        if kind != "definition":
            assert set(files) & named_in_source()[number], f"({number}) does not stand in {files}"


def test_every_name_in_the_nomenclature_exists_in_the_code() -> None:
    section = text_of(MATH).split("## Notation")[1].split("\n## ")[0]
    sources = [
        *ROOT.glob("models/*.py"),
        *ROOT.glob("stochbess/*.py"),
        *ROOT.glob("scenario_gen/*.py"),
    ]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    names = [
        part
        for cell in re.findall(r"\| ([^|]*) \|$", section, flags=re.MULTILINE)
        for span in re.findall(r"`([^`]+)`", cell)
        for part in re.findall(r"[A-Za-z_]\w+", span)
    ]
    assert len(names) > 60
    missing = [name for name in names if not re.search(rf"\b{name}|{name}\b", code)]
    assert not missing, f"names in the nomenclature that no code has: {missing}"


# -- what the text claims without a test elsewhere ------------------------------------------------
def test_the_four_rows_for_gross_flows_are_the_mean_of_the_positive_power() -> None:
    """(26) is the largest of four linear functions, and within what (12) allows."""
    rng = np.random.default_rng(0)
    up_share = rng.random(5000) * (rng.random(5000) < 0.8)
    down_share = rng.random(5000) * (1 - up_share) * (rng.random(5000) < 0.8)
    up = 3 * rng.random(5000) * (up_share > 0)
    down = 3 * rng.random(5000) * (down_share > 0)
    h = rng.uniform(-3.0, 3.0, 5000)
    positive = (
        np.maximum(up_share * h + up, 0.0)
        + np.maximum(down_share * h - down, 0.0)
        + (1 - up_share - down_share) * np.maximum(h, 0.0)
    )
    net = h + up - down
    rows = np.stack([0 * h, up_share * h + up, (1 - down_share) * h + up, net])
    assert positive == pytest.approx(rows.max(axis=0))
    negative = positive - net
    assert (negative[h >= 0] <= down[h >= 0] + 1e-12).all()
    assert (positive[h < 0] <= up[h < 0] + 1e-12).all()


# -- text -----------------------------------------------------------------------------------------
def prose_and_formulas(page: Path) -> tuple[str, list[str], list[str]]:
    """Text without code, displayed formulas, inline formulas."""
    text = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    shown = re.findall(r"\$\$(.*?)\$\$", text, flags=re.DOTALL)
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    return text, shown, re.findall(r"\$([^$]+)\$", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_formulas_survive_the_markdown_of_github(page: Path) -> None:
    text, shown, inline = prose_and_formulas(page)
    for line in text.splitlines():
        assert line.count("$") % 2 == 0, f"a formula crosses the end of a line: {line}"
    for formula in [*shown, *inline]:
        eaten = re.findall(r"\\[^A-Za-z\s]", formula)
        assert not eaten, f"Markdown takes the backslash of {eaten} in {formula}"
        assert r"\operatorname" not in formula, f"GitHub refuses operatorname: {formula}"
        assert formula.count("{") == formula.count("}"), f"braces do not pair: {formula}"
        assert formula.count(r"\left") == formula.count(r"\right"), f"unpaired: {formula}"
        assert "|" not in formula, f"a bar ends a table cell; write lvert or rvert: {formula}"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text, _, _ = prose_and_formulas(page)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), f"{page.name} links to {target}, which does not exist"
        if anchor:
            assert anchor in anchors(found), f"{page.name} links to {target}: no such heading"


# -- sources --------------------------------------------------------------------------------------
@cache
def bibliography() -> str:
    return text_of(ROOT / "paper" / "references.bib")


def test_the_bibliography_is_well_formed() -> None:
    entries = re.split(r"^@", bibliography(), flags=re.MULTILINE)[1:]
    keys = [re.match(r"\w+\{([a-z0-9]+),", entry) for entry in entries]
    assert len(entries) > 25 and all(keys)
    names = [key[1] for key in keys if key]
    assert len(set(names)) == len(names)
    for entry, name in zip(entries, names, strict=True):
        assert entry.count("{") == entry.count("}"), f"{name}: braces do not pair"
        assert re.search(r"^ +title +=", entry, flags=re.MULTILINE), f"{name} has no title"
        if re.match(r"(article|book|techreport)\{", entry) and name != "brokate1996rainflow":
            assert re.search(r"^ +doi +=", entry, flags=re.MULTILINE), f"{name} has no DOI"


def test_every_doi_in_the_repository_is_in_the_bibliography() -> None:
    known = set(re.findall(r"doi += \{([^}]+)\}", bibliography()))
    assert all(re.fullmatch(r"10\.\d{4,5}/\S+", doi) for doi in known)
    cited: dict[str, str] = {}
    folders = ["models", "scenario_gen", "reports", "stochbess", "tests", "benchmarks", "docs"]
    files = [p for folder in folders for p in sorted((ROOT / folder).rglob("*"))]
    for path in [ROOT / "README.md", *files]:
        if path.suffix in (".py", ".md", ".toml", ".yaml"):
            text = path.read_text(encoding="utf-8")
            for doi in re.findall(r"doi[:. ]\s*(?:org/)?(10\.\d{4,5}/[^\s,;`\"']+)", text):
                clean = doi.rstrip(".:")
                while clean.count(")") > clean.count("("):
                    clean = clean[:-1].rstrip(".:")
                cited[clean] = path.relative_to(ROOT).as_posix()
    assert len(cited) > 8
    unknown = {doi: path for doi, path in cited.items() if doi not in known}
    assert not unknown, f"cited, but not in paper/references.bib: {unknown}"
