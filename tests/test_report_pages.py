"""The pages print facts and nothing else, whatever the run is like."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jinja2 import DictLoader

from stochbess.errors import ReportError
from stochbess.report import material_of
from stochbess.reports import pages
from stochbess.reports.book import FactBook
from stochbess.reports.content import gather
from stochbess.reports.decision_report import Pages, decision_pages
from stochbess.reports.facts import Fact, as_records
from stochbess.reports.sources import SOURCES
from tests.report_case import Shape, changed_facts, finished_run

VOID = {"meta", "img", "br", "link", "input", "hr"}


def silent(stage: str, detail: str) -> None:
    """Progress that nobody watches."""


def pages_of(shape: Shape | None = None) -> Pages:
    return decision_pages(material_of(*finished_run(shape)), silent)


# ------------------------------------------------------------- every number is a fact


@dataclass
class Found:
    """What a page says: texts bound to facts, and text that is bound to nothing."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    meanings: list[tuple[str, str]] = field(default_factory=list)
    sources: list[tuple[str, str]] = field(default_factory=list)
    refs: list[str] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)
    alts: list[tuple[str, list[str]]] = field(default_factory=list)
    title: str = ""
    tags: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)


class Reader(HTMLParser):
    """Splits the text of a page by what it is bound to."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found = Found()
        self._stack: list[tuple[str, str, str]] = []  # tag, kind, key
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.found.tags.append(tag)
        self.found.addresses += [given[a] for a in ("src", "href") if a in given]
        if "alt" in given:
            self.found.alts.append((given["alt"], given.get("data-alt-facts", "").split()))
        if tag in VOID:
            return
        kind, key = self._stack[-1][1:] if self._stack else ("", "")
        for name in ("data-fact", "data-fact-meaning", "data-source", "data-ref"):
            if name in given:
                kind, key, self._text = name, given[name], ""
        self._stack.append(
            (tag, "style" if tag == "style" else "title" if tag == "title" else kind, key)
        )

    def handle_endtag(self, tag: str) -> None:
        top, kind, key = self._stack.pop()
        assert top == tag, (top, tag)
        outer = self._stack[-1][1] if self._stack else ""
        if kind == outer:
            return
        text = " ".join(self._text.replace("\N{NO-BREAK SPACE}", " ").split())
        found = self.found
        if kind == "data-ref":
            found.refs.append(text)
        elif kind in ("data-fact", "data-fact-meaning", "data-source"):
            {
                "data-fact": found.facts,
                "data-fact-meaning": found.meanings,
                "data-source": found.sources,
            }[kind].append((key, text))

    def handle_data(self, data: str) -> None:
        kind = self._stack[-1][1] if self._stack else ""
        if kind == "style":
            return
        if kind == "title":
            self.found.title += data
        elif kind:
            self._text += data
        elif data.strip():
            self.found.loose.append(data)


def read(html: str) -> Found:
    reader = Reader()
    reader.feed(html)
    return reader.found


def untraced(html: str, facts_json: str) -> list[str]:
    """What stands on the page and not in the facts."""
    facts = {fact["name"]: fact for fact in json.loads(facts_json)["facts"]}
    found, faults = read(html), []

    def plain(text: str) -> str:
        return " ".join(str(text).replace("\N{NO-BREAK SPACE}", " ").split())

    for name, text in found.facts:
        fact = facts.get(name)
        unit = f" {fact['unit']}" if fact and fact["unit"] and fact["value"] is not None else ""
        printed = plain(fact["text"]) if fact else None
        if printed is None or text not in (printed, printed.removesuffix(unit)):
            faults.append(f"{name}: {text!r}, the fact says {printed!r}")
    faults += [
        f"reason of {name}: {text!r}"
        for name, text in found.meanings
        if text != plain(facts[name]["meaning"])
    ]
    faults += [f"source {k}" for k, text in found.sources if text != plain(SOURCES[k])]
    faults += [f"loose: {text!r}" for text in found.loose if re.search(r"\d", text)]
    if found.title != facts["title"]["text"]:
        faults.append(f"title {found.title!r}")
    for alt, names in found.alts:
        for name in sorted(names, key=lambda n: -len(facts[n]["text"])):
            alt = alt.replace(facts[name]["text"], "")
        if re.search(r"\d", alt):
            faults.append(f"alternative text {alt!r}")
    faults += [f"link {text!r}" for text in found.refs if not _REF.fullmatch(text)]
    return faults


_REF = re.compile(r"(Figure|Table|Section) \d+|\(\d+\)|\[\d+\]|\d+")

SHAPES = {
    "one day": Shape(),
    "real data": Shape(synthetic=False),
    "quarter hours": Shape(unit_min=15),
    "spring, 92 quarter hours": Shape(day=date(2024, 3, 31), unit_min=15),
    "autumn, 100 quarter hours": Shape(day=date(2025, 10, 26), unit_min=15),
    "autumn, 25 hours": Shape(day=date(2024, 10, 27)),
    "two days": Shape(n_days=2),
    "twelve days": Shape(n_days=12),
    "no worth": Shape(valued=False),
    "deterministic": Shape(valued=False, formulation="deterministic", n_scenarios=1),
    "risk weight": Shape(valued=False, overrides=("risk.cvar_weight=0.3",)),
    "robust": Shape(valued=False, formulation="robust"),
    "robust on a spring day": Shape(
        valued=False, formulation="robust", day=date(2024, 3, 31), rolling=True
    ),
    "distributionally robust": Shape(valued=False, formulation="wasserstein"),
    "dispatched step by step": Shape(rolling=True),
    "no sign": Shape(vss_eur=(-4.25, 12.5)),
    "FCR closed": Shape(markets=("aFRR", "day-ahead")),
    "energy only": Shape(markets=("day-ahead",)),
    "nothing to offer": Shape(markets=()),
    "many scenarios": Shape(n_scenarios=70),
    "compared": Shape(deterministic_eur=(780.5, 790.0)),
    "compared without a sign": Shape(deterministic_eur=(899.0, 903.0)),
    "already sold": Shape(
        overrides=(
            'battery.state.commitments=[{market: fcr, start_local: "2024-06-26T04:00", mw: 1.0}]',
        )
    ),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_number_on_the_page_is_a_fact(shape: Shape) -> None:
    made = pages_of(shape)
    assert untraced(made.html, made.facts_json) == []
    assert len(read(made.html).facts) > 60


def test_a_changed_digit_is_caught_wherever_it_stands() -> None:
    made = pages_of(Shape(deterministic_eur=(780.5, 790.0)))
    made = replace(made, html=re.sub(r"base64,[^\")]+", "base64,", made.html))
    body = made.html.index("<body")
    style_free = made.html[body:]
    places = [m.start() for m in re.finditer(r">[^<]*\d[^<]*<", style_free)]
    caught = 0
    for place in places:
        end = style_free.index("<", place + 1)
        text = style_free[place:end]
        at = place + next(i for i, c in enumerate(text) if c.isdigit())
        other = "7" if style_free[at] != "7" else "3"
        changed = made.html[:body] + style_free[:at] + other + style_free[at + 1 :]
        inside = style_free.rfind("data-ref", 0, place) > style_free.rfind("</", 0, place)
        if inside:
            continue  # numbers of parts are counted, not facts
        assert untraced(changed, made.facts_json), text
        caught += 1
    assert caught > 60


def test_a_changed_digit_is_caught_in_the_title_and_in_every_alternative_text() -> None:
    made = pages_of()
    html = re.sub(r"base64,[^\")]+", "base64,", made.html)
    assert untraced(html, made.facts_json) == []
    places = [m.start(1) for m in re.finditer(r'(?:<title>|alt=")[^"<]*?(\d)', html)]
    assert len(places) >= 4  # title, worth, profit, cash
    for place in places:
        other = "7" if html[place] != "7" else "3"
        assert untraced(html[:place] + other + html[place + 1 :], made.facts_json)


def test_parts_are_numbered_in_their_order_and_links_find_them() -> None:
    html = pages_of().html
    for word in ("Figure", "Table"):
        labels = re.findall(rf'<span class="label" data-ref>{word} (\d+)</span>', html)
        assert labels == [str(i + 1) for i in range(len(labels))]
        assert len(labels) >= 7
    ids = set(re.findall(r' id="([^"]+)"', html))
    assert {a[1:] for a in read(html).addresses if a.startswith("#")} <= ids


# ------------------------------------------------------------- what a run does not have


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (Shape(valued=False), "--no-worth"),
        (Shape(valued=False, overrides=("risk.cvar_weight=0.3",)), "weighs risk"),
        (Shape(valued=False, formulation="deterministic", n_scenarios=1), "single future"),
    ],
)
def test_a_measure_that_was_not_computed_says_so_and_why(shape: Shape, reason: str) -> None:
    found = read(pages_of(shape).html)
    said = dict(found.facts)
    assert said["vss_low"] == said["evpi_low"] == "not available"
    assert reason in dict(found.meanings)["vss_low"]


def test_a_fact_without_a_value_is_never_zero_or_blank() -> None:
    record, frames = finished_run()
    record = changed_facts(record, cvar=None, full_cycles=None)
    frames["scenarios"].loc[0, "aging_eur"] = np.nan
    made = decision_pages(material_of(record, frames), silent)
    said = read(made.html).facts
    assert ("cvar", "not available") in said
    assert ("full_cycles", "not available") in said
    blank = [name for name, text in said if not text]
    assert not blank
    assert "nan" not in made.html.lower().split("<body")[1].split("base64")[0]
    assert any(text == "not available" for name, text in said if name.endswith(".aging"))


def test_no_sign_is_claimed_where_the_interval_holds_zero() -> None:
    text = pages_of(Shape(vss_eur=(-4.25, 12.5))).html
    assert "No sign is claimed" in text and "Planning for uncertainty pays here" not in text
    text = pages_of(Shape(vss_eur=(4.25, 12.5))).html
    assert "Planning for uncertainty pays here" in text


def test_a_comparison_names_the_run_behind_every_number() -> None:
    made = pages_of(Shape(deterministic_eur=(780.5, 790.0)))
    record, _ = finished_run(Shape(deterministic_eur=(780.5, 790.0)))
    facts = {f["name"]: f for f in json.loads(made.facts_json)["facts"]}
    for part in ("expected_low", "cvar", "worst", "own", "gap", "lots", "seconds", "run"):
        assert facts[f"compare.1.{part}"]["run"] == "ee" * 8
        assert facts[f"compare.2.{part}"]["run"] == record.run_id
    said = dict(read(made.html).facts)
    assert (
        said["compare.1.expected_low"] == "780.50" and said["compare.1.expected_high"] == "790.00"
    )
    assert said["compare.1.gap"] == "0.75" and said["compare.2.lots"] == "16"
    assert "compare.2.gain_low" not in facts


@pytest.mark.parametrize(
    ("other_eur", "gain", "words"),
    [
        ((780.5, 790.0), ("+110.00 EUR", "+124.00 EUR"), "on average: proven"),
        ((899.0, 903.0), ("−3.00 EUR", "+5.50 EUR"), "no sign is claimed"),
        ((950.0, 951.0), ("−51.00 EUR", "−45.50 EUR"), "proven to be worse"),
    ],
)
def test_a_gain_over_another_formulation_is_an_interval(
    other_eur: tuple[float, float], gain: tuple[str, str], words: str
) -> None:
    html = pages_of(Shape(deterministic_eur=other_eur)).html
    said = dict(read(html).facts)
    assert (said["compare.1.gain_low"], said["compare.1.gain_high"]) == gain
    section = html[html.index('id="comparison"') : html.index('id="fig-compared"')]
    assert words in section


def test_a_run_that_was_not_compared_has_no_such_section() -> None:
    assert "Formulations compared" not in pages_of().html


def test_beside_vss_stands_the_gain_over_the_strongest_opponent() -> None:
    record, frames = finished_run()
    worth = frames["worth"]
    extra = {"measure": "gain over full-activation deterministic", "low_eur": 1.5, "high_eur": 2.5}
    frames["worth"] = pd.concat(
        [worth, pd.DataFrame([{**extra, "sign_known": True}])], ignore_index=True
    )
    html = decision_pages(material_of(record, frames), silent).html
    card = html[html.index('class="card wide"') : html.index("Proven gap")]
    assert "worth.gain_over_full_activation.low" in card  # 2.5 EUR at most, derated 4.5
    assert "strongest opponent" not in pages_of(Shape(valued=False)).html


def test_a_run_without_results_has_no_report() -> None:
    record, frames = finished_run()
    with pytest.raises(ReportError, match="failed"):
        material_of(replace(record, status="failed"), frames)
    with pytest.raises(ReportError, match="cash"):
        material_of(record, {k: v for k, v in frames.items() if k != "cash"})


def test_the_hour_that_autumn_repeats_is_told_apart() -> None:
    said = [text for name, text in read(pages_of(Shape(day=date(2024, 10, 27))).html).facts
            if name.startswith("unit.")]  # fmt: skip
    assert said[:5] == ["00:00", "01:00", "02:00a", "02:00b", "03:00"]
    assert len(said) == 25


def test_later_days_are_left_out_of_the_print_and_kept_in_the_facts() -> None:
    made = pages_of(Shape(n_days=12))
    printed = {name for name, _ in read(made.html).facts if name.startswith("bid.")}
    kept = {f["name"] for f in json.loads(made.facts_json)["facts"] if f["name"].startswith("bid.")}
    assert "Later days are left out" in made.html
    assert len(kept) == 12 * (24 + 3 * 6) and len(printed) == 8 * (24 + 3 * 6)


def test_synthetic_data_are_labelled_on_the_page_and_in_every_figure() -> None:
    import base64

    for synthetic in (True, False):
        html = pages_of(Shape(synthetic=synthetic)).html
        assert ("SYNTHETIC MARKET DATA" in html) == synthetic
        images = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]+)" alt="[^"]*" data', html)
        assert len(images) == 7
        record, _ = finished_run(Shape(synthetic=synthetic))
        for image in images:
            svg = base64.b64decode(image).decode()
            assert f"run {record.run_id} · seed {record.seed} · config" in svg
            assert ("SYNTHETIC" in svg) == synthetic


# ------------------------------------------------------------- what comes from outside

CANARIES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "{{ ''.__class__ }}",
    "</style><b>bold</b>",
    "${jndi} `whoami` 'quoted'",
)


@pytest.mark.parametrize("canary", CANARIES)
def test_text_of_a_run_is_never_markup(canary: str) -> None:
    record, frames = finished_run()
    told = json.loads(record.facts_json)
    told["assumptions"].append(canary)
    told["scenarios"]["drawn"] = canary
    told["scenarios"][canary] = canary
    record = replace(record, zone=canary, facts_json=json.dumps(told))
    frames["scenarios"].loc[0, "scenario"] = canary
    frames["cash"] = frames["cash"].rename(columns={"analog-2023-06-12": canary})
    made = decision_pages(material_of(record, frames), silent)
    found = read(made.html)
    harmless = read(pages_of().html)
    assert set(found.tags) == set(harmless.tags)
    assert canary not in made.html or not set('<>"') & set(canary)
    assert found.title == f"Battery offer for {canary}, 2024-06-26"
    assert ("49" in found.title) is False
    assert all(a.startswith(("#", "data:")) for a in found.addresses)


def test_a_template_that_asks_for_what_is_not_there_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = pages.environment().overlay()
    templates: Mapping[str, str] = {
        "undefined.html": "{{ misspelt }}",
        "attribute.html": "{{ page.misspelt }}",
        "fact.html": "{{ page.num('misspelt') }}",
        "link.html": "{{ page.ref('misspelt') }}",
        "cite.html": "{{ page.cite('misspelt') }}",
        "twice.html": "{{ page.number('figure', 'a') }}{{ page.number('figure', 'a') }}",
        "secret.html": "{{ page.num.__globals__ }}",
    }
    environment.loader = DictLoader(templates)
    monkeypatch.setattr(pages, "environment", lambda: environment)
    for name in templates:
        with pytest.raises(ReportError):
            pages.render(name, FactBook("1f"))


def test_two_facts_cannot_share_a_name() -> None:
    book = FactBook("1f")
    book.number("a", 1.0, "EUR", 2, "one")
    with pytest.raises(ReportError, match="two facts"):
        book.number("a", 2.0, "EUR", 2, "two")


def test_the_facts_of_the_run_stay_as_they_are() -> None:
    record, frames = finished_run()
    material = material_of(record, frames)
    book, _ = gather(material)
    for fact in material.facts:
        assert book[fact.name].fact == fact


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (-0.001, False, "0.00 EUR"),
        (-1234.5, False, "−1,234.50 EUR"),
        (1234.5, True, "+1,234.50 EUR"),
        (0.0, True, "0.00 EUR"),
        (float("nan"), False, "not available"),
        (None, False, "not available"),
    ],
)
def test_numbers_are_printed_alike(value: float | None, signed: bool, text: str) -> None:
    book = FactBook("1f")
    book.add(Fact("a", value, "EUR", 2, "why"), signed=signed)
    assert book["a"].text == text


def test_only_what_is_printed_below_zero_is_coloured_so() -> None:
    book = FactBook("1f")
    for name, value in (("less", -1.0), ("hardly", -0.001), ("word", float("nan"))):
        book.number(name, value, "EUR", 2, "why")
    page = pages.Page(book)
    assert "below" in page.cell("less")
    assert "below" not in page.cell("hardly") and "0.00" in page.cell("hardly")
    assert "below" not in page.cell("word")


def test_the_page_needs_nothing_from_outside() -> None:
    html = pages_of().html
    assert all(a.startswith(("#", "data:")) for a in read(html).addresses)
    assert not re.findall(r"https?://|file:|url\((?!\"data:)", html.split("</style>")[0])
    assert "default-src 'none'" in html


def test_no_module_of_the_reports_outgrows_three_hundred_lines() -> None:
    folder = Path(pages.__file__).parent
    long = [p.name for p in folder.glob("*.py") if len(p.read_text("utf-8").splitlines()) > 300]
    assert not long


# ------------------------------------------------------------------------------ judges of aging
def judged_run(exploited: str) -> Pages:
    """A run with facts of two judges and a flag."""
    record, frames = finished_run()
    told = json.loads(record.facts_json)
    laws = {"blast": "BLAST 250 Ah", "naumann": "Naumann"}
    numbers = {
        **{f"judge.{law}.{part}": 271.59 for law in laws for part in ("calendar", "cycling")},
        **{f"judge.{law}.loss": 63.5 for law in laws},
        **{f"judge.{law}.profit": 2287.89 for law in laws},
        "judge.mean.loss": 58.04,
        "judge.mean.profit": 2312.41,
        "judge.worst.loss": 63.5,
        "judge.worst.profit": 2287.89,
        "judge.shallow": 97.0,
        "judge.strictest_ratio": 15.89,
    }
    words = {
        "judge.optimised_on": "Naumann: cycling by cuts",
        **{f"judge.{law}.law": name for law, name in laws.items()},
        "judge.strictest": "BLAST 250 Ah",
        "judge.exploited": exploited,
        "judge.flag.1": "Naumann cycle aging: depth of half cycles 0.1 to 0.2, tested 0.8 to 1",
    }
    facts = [Fact(name, value, "", 2, "made up") for name, value in (numbers | words).items()]
    told["facts"] += as_records(facts)
    changed = replace(record, facts_json=json.dumps(told))
    return decision_pages(material_of(changed, frames), silent)


def test_the_page_shows_what_other_laws_say_and_warns_only_of_an_exploited_one() -> None:
    both = judged_run("yes"), judged_run("no")
    warned, calm = (made.html for made in both)
    for made in both:
        html = made.html
        assert not untraced(html, made.facts_json)
        assert "What other laws of aging say" in html and "Mean of the laws" in html
        for text in ("2,287.89", "271.59", "58.04", "tested 0.8 to 1"):
            assert text in html
    assert "may be exploiting its law" in warned and "may be exploiting" not in calm
    assert "What other laws of aging say" not in pages_of().html


# ------------------------------------------------------------------- formulations and rolling
def test_a_robust_page_shows_the_worst_course_and_says_what_it_is_of() -> None:
    html = pages_of(Shape(valued=False, formulation="robust")).html
    section = html[html.index('id="worst"') : html.index('id="risk"')]
    assert 'id="fig-course"' in section and "805.50" in section
    assert "What is bounded only" in section
    assert 'id="fig-course"' not in pages_of().html


def test_the_rolling_value_stands_beside_the_worth_and_only_if_it_was_computed() -> None:
    html = pages_of(Shape(rolling=True)).html
    section = html[html.index('id="rolling"') : html.index('id="risk"')]
    assert "77.25" in section and "Reserve shortfall" in section
    assert html.index('id="worth"') < html.index('id="rolling"')
    assert 'id="rolling"' not in pages_of().html
