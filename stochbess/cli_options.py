"""Options of several commands: short ways to write overrides of the configuration.

Every value stays text and goes to `load_config`, so that one run tells all faults of the file, of
`--set` and of the short options together, each under the name that was typed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stochbess.formulations import FORMULATIONS

if TYPE_CHECKING:  # pydantic takes longer to load than help may take to appear
    from stochbess.config import Config, Fault

_DATA, _SOLVE, _STORE = "Data and scenarios", "Solving", "Results"
_MARKETS = {"day-ahead": "day_ahead", "intraday": "intraday", "fcr": "fcr", "afrr": "afrr"}


def option(name: str, metavar: str | None, text: str, panel: str | None = None) -> Any:
    """A `typer.Option`; `metavar` None for a flag. Defaults stand in the configuration."""
    return typer.Option(
        *name.split("/"),
        metavar=metavar or "",
        help=text,
        rich_help_panel=panel,
        show_default=False,
    )


JsonFlag = Annotated[bool, option("--json", None, "Print one JSON document instead of tables.")]
QuietFlag = Annotated[bool, option("--quiet/-q", None, "No progress on standard error.")]


@dataclass(frozen=True)
class ReportOptions:
    """Whether to write a report of the run, and where."""

    report: Annotated[
        bool,
        option("--report", None, "Also write a report (HTML, PDF, facts.json).", _STORE),
    ] = False
    report_dir: Annotated[
        Path | None,
        option("--report-dir", "DIR", "Write it there. Default: reports/RUN in the store.", _STORE),
    ] = None

    @property
    def wanted(self) -> bool:
        return self.report or self.report_dir is not None


@dataclass(frozen=True)
class ConfigOptions:
    """Which configuration, and what replaces its values."""

    config: Annotated[
        Path | None,
        option(
            "--config/-c", "PATH", "Configuration file. Default: ./config.yaml if there is one."
        ),
    ] = None
    overrides: Annotated[
        list[str] | None,
        option("--set", "KEY=VALUE", "Replace one value, e.g. battery.power_mw=1. Repeatable."),
    ] = None

    def load(self, faults: Sequence[Fault] = ()) -> Config:
        """The configuration, or every fault of it and `faults` at once."""
        return _load(self.config, list(self.overrides or []), {}, faults)


@dataclass(frozen=True)
class CaseOptions(ConfigOptions):
    """What describes a decision: data, days, scenarios, markets, effort."""

    market_data: Annotated[
        str | None,
        option("--market-data", "DIR", "Market data directory. Default: reference market.", _DATA),
    ] = None
    zone: Annotated[str | None, option("--zone", "ZONE", "Bidding zone, e.g. DE_LU.", _DATA)] = None
    day: Annotated[
        str | None, option("--day", "YYYY-MM-DD", "First delivery day, local.", _DATA)
    ] = None
    days: Annotated[str | None, option("--days", "N", "Delivery days.", _DATA)] = None
    markets: Annotated[
        str | None,
        option("--markets", "LIST", "Open just these of day-ahead,intraday,fcr,afrr.", _DATA),
    ] = None
    n_scenarios: Annotated[
        str | None, option("--n-scenarios", "N", "Number of scenarios.", _DATA)
    ] = None
    scenarios: Annotated[
        str | None,
        option("--scenarios", "SOURCE", "analog, model, realised, or FILE.parquet.", _DATA),
    ] = None
    seed: Annotated[str | None, option("--seed", "N", "Root of all random streams.", _DATA)] = None
    gap: Annotated[
        str | None, option("--gap", "FRAC", "Relative gap to prove, 0.01 = 1 %.", _SOLVE)
    ] = None
    time_limit: Annotated[
        str | None, option("--time-limit", "S", "Wall-clock limit of a solve.", _SOLVE)
    ] = None
    engine: Annotated[
        str | None,
        option("--engine", "NAME", "auto, extensive, decomposition, cylinders.", _SOLVE),
    ] = None
    store: Annotated[
        str | None, option("--store", "DIR", "Store of runs. Default: runs.", _STORE)
    ] = None

    def load(self, faults: Sequence[Fault] = ()) -> Config:
        """The configuration with all options in place, or every fault at once."""
        from stochbess.strict_yaml import write_scalar

        written: dict[str, str] = {}  # override -> what was typed
        for name, key, is_text in _DIRECT:
            value = getattr(self, name)
            if value is not None:
                typed = f"--{name.replace('_', '-')} {value}"
                written[f"{key}={write_scalar(value) if is_text else value}"] = typed
        found = [*self._markets(written), *self._scenarios(written), *faults]
        return _load(self.config, list(self.overrides or []), written, found)

    def _markets(self, written: dict[str, str]) -> list[Fault]:
        if self.markets is None:
            return []
        typed = f"--markets {self.markets}"
        names = [name.strip().lower().replace("_", "-") for name in self.markets.split(",")]
        unknown = [name for name in names if name not in _MARKETS]
        if unknown:
            expected = f"a list of {', '.join(_MARKETS)}"
            return [_fault(typed, unknown, expected, "separate them by commas")]
        for name, key in _MARKETS.items():
            written[f"markets.{key}.enabled={'true' if name in names else 'false'}"] = typed
        return []

    def _scenarios(self, written: dict[str, str]) -> list[Fault]:
        source = self.scenarios
        if source is None:
            return []
        from stochbess.strict_yaml import write_scalar

        typed = f"--scenarios {source}"
        if source in ("analog", "model", "realised"):
            written[f"scenarios.source={source}"] = typed
            if not any(item.startswith("scenarios.file=") for item in self.overrides or []):
                written["scenarios.file=null"] = typed
            return []
        if not Path(source).is_file():
            expected = "analog, model, realised or a scenario file"
            advice = "`stochbess scenarios generate` writes such a file"
            return [_fault(typed, ["no such file"], expected, advice)]
        written["scenarios.source=file"] = typed
        written[f"scenarios.file={write_scalar(source)}"] = typed
        return []


# Attribute (and option), key of the configuration, and whether the value needs quotes in YAML.
_DIRECT = (
    ("market_data", "market.data_dir", True),
    ("zone", "market.zone", True),
    ("day", "market.day", False),
    ("days", "market.n_days", False),
    ("n_scenarios", "scenarios.n", False),
    ("seed", "seed", False),
    ("gap", "solver.gap_frac", False),
    ("time_limit", "solver.time_limit_s", False),
    ("engine", "solver.engine", False),
    ("store", "report.store_dir", True),
)


def formulation_faults(typed: str, names: Sequence[str]) -> list[Fault]:
    """Faults of a formulation, or of a list of them, as typed."""
    unknown = [name for name in names if name not in FORMULATIONS]
    return [_fault(typed, unknown, ", ".join(FORMULATIONS), "correct it")] if unknown else []


def _fault(typed: str, found: Sequence[str], expected: str, advice: str) -> Fault:
    from stochbess.config import Fault
    from stochbess.strict_yaml import shown

    words = ", ".join(shown(word) or "nothing" for word in found)
    return Fault(shown(typed, 200), "", words, expected, advice)


def _load(
    path: Path | None, overrides: list[str], written: dict[str, str], faults: Sequence[Fault]
) -> Config:
    """`load_config`, with faults of short options told under the option that was typed."""
    from stochbess.config import ConfigFaultsError, load_config
    from stochbess.strict_yaml import shown

    places = {f"--set {shown(item, 200)}": shown(typed, 200) for item, typed in written.items()}
    found: list[Fault] = []
    try:
        config = load_config(path, [*overrides, *written])
    except ConfigFaultsError as error:
        found = [replace(f, where=places.get(f.where, f.where)) for f in error.faults]
    if found or faults:
        raise ConfigFaultsError([*found, *faults])
    return config
