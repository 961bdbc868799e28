"""`stochbess lifetime`: what a life earns at each price of aging, and which price to use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stochbess.cli_command import Progress, command, print_json
from stochbess.cli_options import CaseOptions, ConfigOptions, JsonFlag, QuietFlag, option
from stochbess.errors import ConfigError

if TYPE_CHECKING:
    from stochbess.battery.lifetime import Terms
    from stochbess.config import Config
    from stochbess.lifetime import Study

_DATA, _LIFE, _PRICE, _STORE = "Data", "Life", "Price of aging", "Results"


@dataclass(frozen=True)
class LifetimeOptions(ConfigOptions):
    """What is lived through, under which terms, at which prices."""

    market_data: Annotated[
        str | None,
        option("--market-data", "DIR", "Market data directory. Default: reference market.", _DATA),
    ] = None
    zone: Annotated[str | None, option("--zone", "ZONE", "Bidding zone, e.g. DE_LU.", _DATA)] = None
    year: Annotated[
        int | None, option("--year", "YYYY", "Year of prices. Default: the last 365 days.", _DATA)
    ] = None
    days: Annotated[
        int, option("--days", "N", "Days that stand for the year. Default: 12.", _DATA)
    ] = 12
    markets: Annotated[
        str, option("--markets", "LIST", "As for solve. Default: day-ahead.", _DATA)
    ] = "day-ahead"
    wacc: Annotated[
        str, option("--wacc", "LIST", "Discount rates. Default: 0.05,0.083.", _LIFE)
    ] = "0.05,0.083"
    eol: Annotated[
        str, option("--eol", "LIST", "Ends of life, over nameplate. Default: 0.7,0.8.", _LIFE)
    ] = "0.7,0.8"
    max_years: Annotated[
        float, option("--max-years", "Y", "Calendar limit of a life. Default: 20.", _LIFE)
    ] = 20.0
    replacements: Annotated[
        int, option("--replacements", "N", "New batteries after the first. Default: 0.", _LIFE)
    ] = 0
    fixed_cost: Annotated[
        float, option("--fixed-cost", "EUR", "EUR/kWh of each year. Default: 0.", _LIFE)
    ] = 0.0
    health: Annotated[
        str,
        option("--health", "LIST", "Healths that are decided. Default: 1,0.85,0.7.", _LIFE),
    ] = "1,0.85,0.7"
    prices: Annotated[
        str | None,
        option("--prices", "LIST", "EUR per kWh lost. Default: 0 to 3 times the naive.", _PRICE),
    ] = None
    calendar: Annotated[
        float | None,
        option(
            "--calendar",
            "X",
            "Price of calendar aging over cycling's. Default: 1 with cuts.",
            _PRICE,
        ),
    ] = None
    floor: Annotated[
        float | None,
        option("--floor", "EUR/MWH", "Instead of aging.floor_eur_mwh, by default 0.", _PRICE),
    ] = None
    price_growth: Annotated[
        float, option("--price-growth", "FRAC", "Of the price, per year. Default: 0.", _PRICE)
    ] = 0.0
    store: Annotated[
        str | None, option("--store", "DIR", "Store; remembers days. Default: runs.", _STORE)
    ] = None
    picture: Annotated[
        Path | None,
        option("--picture", "FILE", "Also draw it: FILE is .svg, .png or .pdf.", _STORE),
    ] = None  # fmt: skip

    def load_config(self) -> Config:
        """The configuration with the short options in place, or every fault at once."""
        return CaseOptions(
            config=self.config,
            overrides=self.overrides,
            market_data=self.market_data,
            zone=self.zone,
            markets=self.markets,
            store=self.store,
        ).load()

    def terms(self, config: Config) -> list[Terms]:
        """One for every end of life and discount rate."""
        from stochbess.battery.lifetime import Terms

        return [
            Terms(
                wacc_frac=wacc,
                end_of_life_frac=end,
                max_years=self.max_years,
                replacements=self.replacements,
                replacement_cost_eur_kwh=config.battery.replacement_cost_eur_kwh,
                fixed_cost_eur_kwh_year=self.fixed_cost,
                price_growth_frac=self.price_growth,
            )
            for end in numbers("--eol", self.eol)
            for wacc in numbers("--wacc", self.wacc)
        ]


def numbers(name: str, text: str) -> list[float]:
    """A list as typed, without repetitions.

    Raises
    ------
    ConfigError : it holds something else, or nothing
    """
    try:
        return list(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        raise ConfigError(f"{name} {text}: expected numbers separated by commas.") from None


def add_lifetime(app: typer.Typer) -> None:
    """Put the command `lifetime` into the program."""
    command(app, "lifetime")(lifetime)


def lifetime(options: LifetimeOptions, json: JsonFlag = False, quiet: QuietFlag = False) -> None:
    """What a life of the battery earns at each price of aging, and which price to use.

    Days that stand for a year are decided with perfect foresight at a grid of aging prices; the
    battery's truth follows them and ages by every law; years become lives. A price chosen on one
    law is judged by the others.

    [bold]Examples[/bold]
      stochbess lifetime
      stochbess lifetime --market-data market --zone DE_LU --year 2024
      stochbess lifetime --set aging.model=cuts --wacc 0.05 --eol 0.7,0.8 --picture life.svg
      stochbess lifetime --prices 0,500,1000,2000 --days 24 --json > life.json
    """
    config = options.load_config()
    terms = options.terms(config)
    prices = None if options.prices is None else numbers("--prices", options.prices)
    health = numbers("--health", options.health)
    floor = config.aging.floor_eur_mwh if options.floor is None else options.floor
    calendar = options.calendar
    if calendar is None:
        calendar = 1.0 if config.aging.model == "cuts" else 0.0
    if options.picture is not None:
        from stochbess.cli_picture import require_picture

        require_picture(options.picture)
    with Progress(quiet) as progress:
        progress("start", "loading the model and the solver")
        from stochbess.assemble import open_market
        from stochbess.lifetime import study

        market = open_market(config)
        found = study(
            config,
            market,
            terms,
            n_days=options.days,
            year=options.year,
            prices_eur_kwh=prices,
            health_frac=health,
            floor_eur_mwh=floor,
            calendar_frac=calendar,
            progress=progress,
        )
        free = None
        if floor:
            free = study(
                config,
                market,
                terms,
                n_days=options.days,
                year=options.year,
                prices_eur_kwh=prices,
                health_frac=health,
                calendar_frac=calendar,
                progress=progress,
            )
    if options.picture is not None:
        draw_lifetime(found, options.picture)
    from stochbess.cli_lifetime_tables import document, show_study

    if json:
        print_json(document(found, free))
        return
    from stochbess.cli_output import page

    with page() as out:
        show_study(out, found, free)


def draw_lifetime(study: Study, path: Path) -> None:
    """The study as a picture; the same study gives the same bytes."""
    from stochbess.cli_lifetime_tables import pricing_of, words_of
    from stochbess.cli_picture import require_picture
    from stochbess.reports.bundle import write_file
    from stochbess.reports.figures_lifetime import Curve, LifetimeCurves, lifetime_picture

    curves = tuple(
        Curve(
            law,
            tuple(life.npv_eur_kwh for life in study.lives[law, i]),
            tuple(life.years for life in study.lives[law, i]),
        )
        for i in range(len(study.terms))
        for law in study.laws
    )
    titles = tuple(words_of(terms) for terms in study.terms)
    found = LifetimeCurves(
        zone=study.zone,
        synthetic=study.synthetic,
        about=f"{len(study.days.day)} days, {pricing_of(study)}",
        titles=titles,
        laws=study.laws,
        price_eur_kwh=tuple(study.price_eur_kwh.tolist()),
        naive_eur_kwh=study.naive_eur_kwh,
        robust_eur_kwh=study.robust_eur_kwh,
        curves=curves,
    )
    write_file(path, lifetime_picture(found, require_picture(path)))
