"""Jinja pages: numbered parts, facts that can be traced, nothing unescaped, nothing undefined.

A page is rendered twice: the first pass learns the numbers of figures, tables, equations, sections
and sources in the order of the text, the second one can refer forward.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup

from stochbess.errors import ReportError
from stochbess.reports.book import FactBook
from stochbess.reports.equations import equation_svg
from stochbess.reports.facts import MINUS, NOT_AVAILABLE
from stochbess.reports.sources import SOURCES

TEMPLATES = Path(__file__).parent / "templates"
_WORDS = {"figure": "Figure", "table": "Table", "equation": "Equation", "section": "Section"}
_FACES = (
    ("Corridor Sans", 400, "normal", "CorridorSans-Regular.ttf"),
    ("Corridor Sans", 600, "normal", "CorridorSans-Semibold.ttf"),
    ("Corridor Serif", 400, "normal", "CorridorSerif-Regular.woff2"),
    ("Corridor Serif", 400, "italic", "CorridorSerif-Italic.woff2"),
    ("Corridor Serif", 600, "normal", "CorridorSerif-Semibold.woff2"),
)
_FIELD = re.compile(r"\{([a-z0-9_.]+)\}")


class Page:
    """What the templates call: numbers of facts, numbers of parts, images as data."""

    def __init__(self, book: FactBook, known: Page | None = None) -> None:
        self._book = book
        self._known = known
        self._parts: dict[str, list[str]] = {kind: [] for kind in (*_WORDS, "source")}
        self._headings: list[tuple[str, str]] = []

    # ------------------------------------------------------------------ facts

    def num(self, name: str) -> Markup:
        """A fact in running text, with its unit; why, if it is not available."""
        entry = self._book[name]
        if not entry.available:
            return self._missing(name) + Markup(" (<span data-fact-meaning={}>{}</span>)").format(
                Markup('"{}"').format(name), entry.fact.meaning
            )
        kind = "words" if isinstance(entry.fact.value, str) else "num"
        return Markup('<span class="{}" data-fact="{}">{}</span>').format(kind, name, entry.text)

    def cell(self, name: str) -> Markup:
        """A fact in a table whose head names the unit."""
        entry = self._book[name]
        if not entry.available:
            return self._missing(name)
        kind = "num below" if entry.number.startswith(MINUS) else "num"
        return Markup('<span class="{}" data-fact="{}">{}</span>').format(kind, name, entry.number)

    @staticmethod
    def _missing(name: str) -> Markup:
        return Markup('<span class="missing" data-fact="{}">{}</span>').format(name, NOT_AVAILABLE)

    def why(self, *names: str) -> str:
        """Why facts are not available: the reasons, each once."""
        entries = [self._book[name] for name in names]
        return "; ".join(dict.fromkeys(e.fact.meaning for e in entries if not e.available))

    def has(self, name: str) -> bool:
        """Whether there is a value to print."""
        return name in self._book and self._book[name].available

    def value(self, name: str) -> float:
        """The number behind a fact, to choose words by; not for printing."""
        return self._book[name].value

    def alt(self, template: str) -> Markup:
        """Text of an alternative description, with `{name}` for facts, and their names."""
        names = _FIELD.findall(template)
        text = _FIELD.sub(lambda match: self._book[match[1]].text, template)
        return Markup('alt="{}" data-alt-facts="{}"').format(text, " ".join(names))

    # ------------------------------------------------------------------ numbered parts

    def number(self, kind: str, label: str) -> int:
        """The number of a part that stands here, counted in the order of the text."""
        parts = self._parts[kind]
        if label in parts and kind != "source":
            raise ReportError(f"the pages have two parts {label!r}. This is a defect.")
        if label not in parts:
            parts.append(label)
        return parts.index(label) + 1

    def heading(self, label: str, title: str) -> int:
        """Number of a section, which also enters the table of contents."""
        self._headings.append((label, title))
        return self.number("section", label)

    def ref(self, label: str) -> Markup:
        """A link "Figure 3" to a part before or after it."""
        known = self._known
        if known is None:
            return Markup("")
        for kind, word in _WORDS.items():
            if label in known._parts[kind]:
                at = known._parts[kind].index(label) + 1
                text = f"({at})" if kind == "equation" else f"{word}\N{NO-BREAK SPACE}{at}"
                return Markup('<a class="ref" data-ref href="#{}">{}</a>').format(label, text)
        raise ReportError(f"the pages refer to {label!r}, which they do not have. Defect.")

    def cite(self, key: str) -> Markup:
        """A link "[2]" to an entry of the list of sources."""
        if key not in SOURCES:
            raise ReportError(f"the pages cite {key!r}, which is not among the sources. Defect.")
        at = self.number("source", key)
        return Markup('<a class="cite" data-ref href="#source-{}">[{}]</a>').format(key, at)

    def contents(self) -> list[tuple[int, str, str]]:
        """Number, label and title of every section."""
        known = self._known or self
        return [(i + 1, label, title) for i, (label, title) in enumerate(known._headings)]

    def sources(self) -> list[tuple[int, str, str]]:
        """Number, key and text of every source cited so far."""
        return [(i + 1, key, SOURCES[key]) for i, key in enumerate(self._parts["source"])]

    # ------------------------------------------------------------------ images

    @staticmethod
    def data_svg(svg: bytes) -> Markup:
        """An image without an address."""
        return Markup(f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}")  # noqa: S704

    def equation(self, tex: str) -> Markup:
        """An equation as an image without an address."""
        return self.data_svg(equation_svg(tex))


def render(template: str, book: FactBook, **values: Any) -> str:
    """One self-contained HTML page.

    Raises
    ------
    ReportError : a template asks for what is not there
    """
    pages = environment()
    try:
        first = Page(book)
        pages.get_template(template).render(page=first, book=book, faces=faces(), **values)
        return pages.get_template(template).render(
            page=Page(book, first), book=book, faces=faces(), **values
        )
    except TemplateError as error:
        raise ReportError(
            f"template {template}: {error}. This is a defect, please report it."
        ) from error


@lru_cache(maxsize=1)
def environment() -> SandboxedEnvironment:
    """Templates of the package: sandboxed, escaped, and strict about what is undefined."""
    return SandboxedEnvironment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache(maxsize=1)
def faces() -> tuple[Mapping[str, Any], ...]:
    """The shipped fonts as data, for @font-face."""
    found = []
    for family, weight, style, name in _FACES:
        content = base64.b64encode((TEMPLATES / "fonts" / name).read_bytes()).decode()
        kind = name.rpartition(".")[2]
        found.append(
            {
                "family": family,
                "weight": weight,
                "style": style,
                "url": Markup(f"data:font/{kind};base64,{content}"),  # noqa: S704
                "format": {"ttf": "truetype"}.get(kind, kind),
            }
        )
    return tuple(found)
