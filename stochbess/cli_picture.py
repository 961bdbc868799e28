"""Pictures that commands write beside their tables: which forms there are, and from what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stochbess.cli_command import require_folder
from stochbess.errors import ConfigError

if TYPE_CHECKING:
    from stochbess.cli_view import View
    from stochbess.frontier import Frontier
    from stochbess.market.data import MarketData

FORMS = ("svg", "png", "pdf")


def require_picture(path: Path) -> str:
    """The form that the name of a picture asks for, before long work goes into it.

    Raises
    ------
    ConfigError : the name ends in something else
    ReportError : the folder is missing
    """
    form = path.suffix.lower().removeprefix(".")
    if form not in FORMS:
        ends = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise ConfigError(
            f"--picture {path}: the name {ends}; expected .svg, .png or .pdf. Name such a file."
        )
    require_folder(path)
    return form


def draw_market(market: MarketData, path: Path) -> None:
    """Coverage and prices of a zone as a picture; the same data give the same bytes."""
    from stochbess.reports.bundle import write_file
    from stochbess.reports.figures_market import Column, MarketSeries, market_picture

    form = require_picture(path)
    columns = []
    for stem, series in market.series.items():
        for name in series.columns:
            values = market.column(stem, name)
            if len(values):
                columns.append(
                    Column(
                        series=stem,
                        name=name,
                        unit=series.meta.unit,
                        start_utc=values.index,  # type: ignore[arg-type]
                        end_utc=series.end_utc(name),
                        values=values.to_numpy(),
                    )
                )
    found = MarketSeries(
        market.zone, market.timezone, market.synthetic, market.sha256, tuple(columns)
    )
    write_file(path, market_picture(found, form))


def draw_run(view: View, path: Path) -> None:
    """Prices, offer and stored energy of a run as a picture; the same run gives the same bytes."""
    from stochbess.report import material_of
    from stochbess.reports.bundle import write_file
    from stochbess.reports.figures_decision import decision_picture

    form = require_picture(path)
    write_file(path, decision_picture(material_of(view.record, view.frames), form))


def draw_comparison(view: View, path: Path) -> None:
    """Formulations side by side as a picture."""
    from stochbess.report import material_of
    from stochbess.reports.bundle import write_file
    from stochbess.reports.comparison import comparison_picture

    form = require_picture(path)
    write_file(path, comparison_picture(material_of(view.record, view.frames), form))


def draw_frontier(found: Frontier, path: Path) -> None:
    """A curve of what less risk costs as a picture; the same curve gives the same bytes."""
    from stochbess.reports.bundle import write_file
    from stochbess.reports.figures_frontier import CurveSource, frontier_picture

    case = found.case
    line = (
        f"{case.market.zone} {case.horizon.first_day} · seed {case.config.seed} · "
        f"config {case.config.sha256[:12]} · data {case.market.sha256[:12]}"
    )
    source = CurveSource(line, case.synthetic)
    form = require_picture(path)
    write_file(path, frontier_picture(found.points, found.over, source, form))
