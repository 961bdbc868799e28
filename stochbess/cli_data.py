"""Commands about market data: `stochbess data ...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stochbess.cli_command import command, print_json
from stochbess.cli_options import JsonFlag, option
from stochbess.errors import DataError

if TYPE_CHECKING:
    from stochbess.market.data import MarketData

data_app = typer.Typer(no_args_is_help=True, help="Check, import and describe market data.")

_Zone = Annotated[str | None, option("--zone", "ZONE", "Bidding zone. Default: all there are.")]


# ------------------------------------------------------------------------------------------ data


@command(data_app, "check")
def data_check(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Market data directory.")],
    zone: _Zone = None,
    json: JsonFlag = False,
) -> None:
    """List every problem of market data, with its code; exit code 3 if one is an error.

    [bold]Examples[/bold]
      stochbess data check market
      stochbess data check market --zone DE_LU --json
    """
    from stochbess.market.check import check_market

    found = {str(place): check_market(place, name) for place, name in _zones(directory, zone)}
    if json:
        from dataclasses import asdict

        print_json({place: [asdict(p) for p in problems] for place, problems in found.items()})
    else:
        from stochbess.cli_output import page
        from stochbess.cli_tables import show_problems

        with page() as out:
            show_problems(out, found)
    if any(problem.severity == "error" for problems in found.values() for problem in problems):
        raise typer.Exit(DataError.exit_code)


def _zones(directory: Path, zone: str | None) -> list[tuple[Path, str | None]]:
    """The folders of zones to look at: the one that is named, or all below `directory`."""
    below = sorted(path.parent for path in directory.glob("*/manifest.json"))
    if zone is not None or (directory / "manifest.json").is_file() or not below:
        return [(directory, zone)]
    return [(path, None) for path in below]


@command(data_app, "describe")
def data_describe(
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Market data directory. Default: reference market.",
                       show_default=False),
    ] = None,
    zone: _Zone = None,
    picture: Annotated[
        Path | None, option("--picture", "FILE", "Also draw them: FILE is .svg, .png or .pdf.")
    ] = None,
    json: JsonFlag = False,
) -> None:  # fmt: skip
    """Coverage, mean and range of every series.

    The picture shows the coverage of every series with its gaps, and each price by day (mean, least
    and greatest value) and over the local day.

    [bold]Examples[/bold]
      stochbess data describe
      stochbess data describe market --zone DE_LU
      stochbess data describe --picture market.svg
    """
    if picture is not None:
        from stochbess.cli_picture import require_picture

        require_picture(picture)
    from stochbess.market.data import load_market
    from stochbess.market.reference import reference_market

    markets = (
        [reference_market()]
        if directory is None
        else [load_market(place, name) for place, name in _zones(directory, zone)]
    )
    if picture is not None:
        _draw(markets, picture)
    if json:
        documents = [
            {"zone": m.zone, "timezone": m.timezone, "synthetic": m.synthetic, "sha256": m.sha256,
             "columns": _described(m), "warnings": list(m.warnings)}
            for m in markets
        ]  # fmt: skip
        print_json(documents)
        return
    from stochbess.cli_output import page
    from stochbess.cli_tables import show_market

    with page() as out:
        for i, market in enumerate(markets):
            if i:
                out.print()
            show_market(out, market, _described(market))


def _draw(markets: list[MarketData], picture: Path) -> None:
    """The picture of the one zone; more of them need a choice."""
    if len(markets) > 1:
        names = ", ".join(market.zone for market in markets)
        raise DataError(f"--picture draws one zone, found {names}. Name one with --zone.")
    from stochbess.cli_picture import draw_market

    draw_market(markets[0], picture)


def _described(market: MarketData) -> list[dict[str, Any]]:
    rows = []
    for stem, series in market.series.items():
        for column in series.columns:
            values = market.column(stem, column)
            rows.append(
                {
                    "series": stem,
                    "column": column,
                    "rows": len(values),
                    "first_utc": values.index[0].isoformat(),
                    "last_utc": values.index[-1].isoformat(),
                    "mean": float(values.mean()),
                    "min": float(values.min()),
                    "max": float(values.max()),
                    "unit": series.meta.unit,
                    "known_since": series.meta.known_since,
                }
            )
    return rows


@command(data_app, "import")
def data_import(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or Parquet file.")],
    into: Annotated[Path, option("--into", "DIR", "Market data directory to fill.")],
    series: Annotated[str, option("--series", "NAME", "Known series, e.g. day_ahead.")],
    zone: Annotated[str, option("--zone", "ZONE", "Bidding zone, e.g. DE_LU.")],
    timezone: Annotated[str, option("--timezone", "NAME", "Local time, e.g. Europe/Berlin.")],
    time: Annotated[
        list[str], option("--time", "COLUMN", "Column of the stamps; repeat to join date and time.")
    ],
    column: Annotated[
        list[str], option("--column", "NAME=COLUMN", "Column of ours = column of the file.")
    ],
    unit: Annotated[str, option("--unit", "UNIT", "Unit of the source, e.g. EUR/MWh.")],
    known_since: Annotated[
        str, option("--known-since", "RULE", "When values become public: 'D-1 12:45 local'.")
    ],
    origin: Annotated[str, option("--source", "TEXT", "Where the data come from.")],
    licence: Annotated[str, option("--licence", "TEXT", "On which terms.")],
    product: Annotated[str, option("--product", "TEXT", "What exactly it is.")] = "",
    label: Annotated[str, option("--label", "WHICH", "Stamps mark start or end.")] = "start",
    naive_timezone: Annotated[
        str | None,
        option("--naive-timezone", "NAME", "Zone of stamps without one: UTC, a name or +01:00."),
    ] = None,
    time_format: Annotated[
        str | None, option("--time-format", "FORMAT", "strptime format. Default: ISO 8601.")
    ] = None,
    decimal: Annotated[str, option("--decimal", "CHAR", "Decimal mark.")] = ".",
    thousands: Annotated[str, option("--thousands", "CHAR", "Thousands separator.")] = "",
    separator: Annotated[str, option("--separator", "CHAR", "Between columns.")] = ",",
    encoding: Annotated[str, option("--encoding", "NAME", "Default: UTF-8.")] = "utf-8-sig",
    skip_rows: Annotated[int, option("--skip-rows", "N", "Lines above the header.")] = 0,
    missing: Annotated[
        list[str] | None, option("--missing", "MARK", "Mark of a missing value. Repeatable.")
    ] = None,
    factor: Annotated[
        str | None, option("--factor", "X", "Our unit per unit of the source, or block_hours.")
    ] = None,
    drop_equal_duplicates: Annotated[
        bool, option("--drop-equal-duplicates", None, "Keep one of repeated equal rows.")
    ] = False,
    synthetic: Annotated[bool, option("--synthetic", None, "The data are made up.")] = False,
) -> None:
    """Turn a CSV or Parquet file into a series of a market data directory, or change nothing.

    Everything about the file is declared; nothing is guessed. docs/market-data.md lists the series.

    [bold]Example[/bold]
      stochbess data import prices.csv --into market --series day_ahead --zone DE_LU
        --timezone Europe/Berlin --time start --column price_eur_mwh=price --unit EUR/MWh
        --known-since "D-1 12:45 local" --source "SMARD.de" --licence "CC BY 4.0"
    """
    from stochbess.market.importer import ImportSpec, import_series

    pairs = [item.partition("=") for item in column]
    if any(not (ours and theirs) for ours, _, theirs in pairs):
        raise DataError(
            f"--column {', '.join(column)}: expected NAME=COLUMN, e.g. price_eur_mwh=Price."
        )
    try:
        number = factor if factor in (None, "block_hours") else float(str(factor))
    except ValueError:
        raise DataError(f"--factor {factor}: expected a number or block_hours.") from None
    spec = ImportSpec(
        series=series,
        zone=zone,
        timezone=timezone,
        time_columns=tuple(time),
        column_map={ours: theirs for ours, _, theirs in pairs},
        unit=unit,
        known_since=known_since,
        source=origin,
        licence=licence,
        product=product,
        label=label,
        naive_timezone=naive_timezone,
        time_format=time_format,
        decimal=decimal,
        thousands=thousands,
        separator=separator,
        encoding=encoding,
        skip_rows=skip_rows,
        missing=tuple(missing) if missing else ("",),
        factor=number,
        drop_equal_duplicates=drop_equal_duplicates,
        synthetic=synthetic,
    )
    report = import_series(source, into, spec)
    from stochbess.cli_output import page
    from stochbess.cli_tables import show_import

    with page() as out:
        show_import(out, report)
