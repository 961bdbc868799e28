"""The decision report: one finished run as `report.html`, `report.pdf` and `facts.json`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stochbess.reports.comparison import comparison_chart
from stochbess.reports.content import gather
from stochbess.reports.figures_course import course_chart
from stochbess.reports.figures_money import cash_chart, profit_chart, worth_chart
from stochbess.reports.figures_offer import bid_chart, corridor_chart
from stochbess.reports.figures_scenarios import energy_chart, reserve_chart
from stochbess.reports.material import Material
from stochbess.reports.pages import render

HTML_NAME, PDF_NAME, FACTS_NAME = "report.html", "report.pdf", "facts.json"
Tell = Callable[[str, str], None]


@dataclass(frozen=True)
class Pages:
    """What does not need WeasyPrint: the page and the facts behind it."""

    html: str
    facts_json: str


def decision_pages(material: Material, tell: Tell) -> Pages:
    """Facts, figures and the page of one run; equal runs give equal text.

    Raises
    ------
    ReportError : the templates ask for what the run does not have
    """
    book, content = gather(material)
    tell("report", "figures")
    images = {
        "bids": bid_chart(material),
        "worth": worth_chart(material, book, content),
        "course": course_chart(material),
        "compared": comparison_chart(material, book, content.compared),
        "profit": profit_chart(material, book),
        "cash": cash_chart(material, book, content.cash),
        "soc": corridor_chart(material),
        "energy": energy_chart(material),
        "reserve": reserve_chart(material),
    }
    tell("report", "pages")
    html = render(
        "decision.html",
        book,
        content=content,
        images=images,
        synthetic=material.synthetic,
        reproducible=material.reproducible,
        formulation=material.formulation,
        source=str(material.config["scenarios"]["source"]),
    )
    about: dict[str, object] = {"report": "decision", "synthetic": material.synthetic}
    return Pages(html, book.to_json(about))
