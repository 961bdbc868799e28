"""The configuration: one frozen tree of typed values, read from strict YAML.

Longer than 400 lines because every key of the tool stands here once, with its default, its bounds
and the sentence that `config.yaml`, the JSON schema and the error messages show, followed by the
rules between keys. Units are in the names; a key that is left out takes its default. `load_config`
reports every fault of a file and of the overrides at once (`ConfigFaultsError`, one `Fault` each).

The parts in reading order: kinds of value, sections, rules between keys, loading.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from stochbess.strict_yaml import ConfigFaultsError as ConfigFaultsError
from stochbess.strict_yaml import Fault as Fault
from stochbess.strict_yaml import Fit, Node, put, read_file, read_tree, shown, words, written

# ------------------------------------------------------------------------------- kinds of value


def _to_date(value: object) -> object:
    iso = isinstance(value, str) and re.fullmatch(r"20\d\d-\d\d-\d\d", value)
    return date.fromisoformat(str(value)) if iso else value


def _to_local(value: object) -> object:
    iso = isinstance(value, str) and re.fullmatch(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:00)?", value)
    if isinstance(value, datetime) and (value.tzinfo or value.second or value.microsecond):
        raise ValueError("a local time without zone, in whole minutes")
    return datetime.fromisoformat(str(value)) if iso else value


def _to_path(value: object) -> object:
    good = isinstance(value, str) and value.strip() and value.isprintable()
    return Path(str(value)) if good else value


def _text(expected: str, pattern: str) -> Any:
    """A string of the form `pattern`, called `expected` in messages."""
    return Field(pattern=pattern, json_schema_extra={"expected": expected})


def _written_as(expected: str, kind: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "format": kind, "expected": expected})


Frac = Annotated[float, Field(ge=0, le=1)]
Efficiency = Annotated[float, Field(ge=0.5, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Price = Annotated[float, Field(ge=-15_000, le=15_000)]
Fee = Annotated[float, Field(ge=-1_000, le=1_000)]
Penalty = Annotated[float, Field(ge=0, le=100_000)]
Spread = Annotated[float, Field(ge=0, le=10_000)]
Day = Annotated[
    date, BeforeValidator(_to_date), _written_as("a date YYYY-MM-DD of this century", "date")
]
LocalTime = Annotated[
    datetime,
    BeforeValidator(_to_local),
    PlainSerializer(lambda value: value.isoformat(timespec="minutes"), when_used="json"),
    _written_as("a local time YYYY-MM-DDTHH:MM without zone", "local-date-time"),
]
FilePath = Annotated[
    Path,
    BeforeValidator(_to_path),
    PlainSerializer(lambda value: value.as_posix(), when_used="json"),
    _written_as("a path", "path"),
]
Zone = Annotated[
    str, _text("a name of letters, digits, '_', '-', '.'", r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")
]
Gate = Annotated[
    str, _text("a local time such as D-1 07:00", r"^D(-[1-9])? ([01][0-9]|2[0-3]):[0-5][0-9]$")
]
AcceptedFrac = Annotated[float, Field(gt=0, lt=1)]
Branches = Annotated[int, Field(ge=1, le=1_000)]
Listed = Field(strict=False, max_length=1_000)  # a YAML list is kept as a tuple

# ------------------------------------------------------------------------------------ sections


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=False,
        use_attribute_docstrings=True,
    )


class Commitment(_Section):
    """Something already sold for the horizon."""

    market: Literal["fcr", "afrr_up", "afrr_down", "day_ahead"]
    """Where it was sold."""
    start_local: LocalTime
    """Start of the 4-hour block (fcr, afrr) or of the market time unit (day_ahead)."""
    mw: float
    """Power; day_ahead > 0 = sold, < 0 = bought."""


class Outage(_Section):
    """A time in which part or all of the power is missing."""

    from_local: LocalTime
    """First moment of the outage."""
    to_local: LocalTime
    """End of the outage, later than its start."""
    available_frac: Frac = 0.0
    """Share of the power that remains."""


class BatteryState(_Section):
    """The battery as it is at the start of the horizon."""

    soc_frac: Frac = 0.5
    """Stored over usable energy, inside the SOC window."""
    soh_frac: Annotated[float, Field(ge=0.3, le=1)] = 1.0
    """Remaining over nominal capacity."""
    resistance_growth_frac: Annotated[float, Field(ge=0, le=5)] = 0.0
    """Growth of the cells' resistance over that of a new plant; read with
    efficiency_model=loss_cuts."""
    open_turning_points_frac: Annotated[tuple[Frac, ...], Listed] = ()
    """SOC turning points of half cycles that are not closed yet, oldest first; carried from day to
    day so that daily aging sums to the rainflow count of the whole series."""
    commitments: Annotated[tuple[Commitment, ...], Listed] = ()
    """What is already sold."""
    outages: Annotated[tuple[Outage, ...], Listed] = ()
    """Known outages; they do not overlap."""


class Losses(_Section):
    """The loss curve that efficiency_model=loss_cuts takes from the plant's circuit: cells and an
    inverter with part-load losses."""

    pieces: Annotated[int, Field(ge=1, le=32)] = 4
    """Straight pieces of the curve in each direction; the run says how far they are off."""
    at_soc_frac: Frac = 0.5
    """SOC at which voltage and resistance of the cells are read."""
    at_temperature_degc: Annotated[float, Field(ge=-20, le=60)] = 25.0
    """Cell temperature at which the resistance is read; tables reach from 10 to 40."""
    resistance_scale: Annotated[float, Field(ge=0.05, le=20)] = 1.0
    """Resistance over that of the tables at equal capacity; assumption: the small cell of the
    tables."""


class Battery(_Section):
    """The asset. Default: an LFP container of two hours."""

    energy_mwh: Positive = 4.472
    """Usable energy between SOC 0 and SOC 1."""
    power_mw: Positive = 2.236
    """Power at the AC connection, both directions."""
    charge_efficiency_frac: Efficiency = 0.95
    """Energy stored over energy taken at the AC connection; assumption for the default asset."""
    discharge_efficiency_frac: Efficiency = 0.95
    """Energy fed in at the AC connection over energy taken from store; assumption likewise."""
    efficiency_model: Literal["constant", "loss_cuts"] = "constant"
    """constant: the two efficiencies above; loss_cuts: losses that grow with power, as a convex
    curve in straight pieces (docs/efficiency.md)."""
    losses: Losses = Losses()
    soc_min_frac: Frac = 0.0
    """Lower end of the SOC window."""
    soc_max_frac: Frac = 1.0
    """Upper end of the SOC window."""
    self_discharge_per_h: Annotated[float, Field(ge=0, le=0.01)] = 0.0
    """Part of the stored energy that is lost in an hour."""
    replacement_cost_eur_kwh: Annotated[float, Field(ge=10, le=2_000)] = 200.0
    """Cost of replacing a kWh of usable energy; it prices aging. Assumption, default asset."""
    state: BatteryState = BatteryState()


class Connection(_Section):
    """Limits of the grid connection; null = the power of the battery."""

    import_limit_mw: NonNegative | None = None
    """Most that may be drawn from the grid."""
    export_limit_mw: NonNegative | None = None
    """Most that may be fed into the grid."""


class Market(_Section):
    """Where the prices come from and which days are decided."""

    data_dir: FilePath | None = None
    """Market data directory, relative to the working directory; null = the synthetic reference
    market that ships with the tool."""
    zone: Zone = "DE_LU"
    """Bidding zone: a folder of the market data directory."""
    day: Day | None = None
    """First delivery day, local; null = the reference day of the data."""
    n_days: Annotated[int, Field(ge=1, le=366)] = 1
    """Delivery days decided together."""


class DayAhead(_Section):
    """Day-ahead auction."""

    enabled: bool = True
    """Whether the battery takes part."""
    here_and_now: bool = True
    """true: positions are fixed before prices are known, as at gate closure; false: in hindsight of
    the scenario, an optimistic bound."""
    curve_points: Annotated[int, Field(ge=1, le=256)] = 1
    """Points of the price-quantity curve that is offered in each unit when positions are fixed at
    gate closure; 1 = one quantity whatever the price."""


class Intraday(_Section):
    """Intraday trading, 15 min, after the day-ahead result."""

    enabled: bool = True
    """Whether the battery takes part."""
    half_spread_eur_mwh: Spread = 2.0
    """Paid on each MWh bought or sold, against the mid price; assumption."""
    liquidity_mw: NonNegative = 2.0
    """Most that can be bought or sold in a quarter hour without moving the price; assumption."""


class Fcr(_Section):
    """Frequency containment reserve, capacity in 4-hour blocks, symmetric."""

    enabled: bool = True
    """Whether the battery takes part."""
    lot_mw: Positive | None = None
    """Bid step; null = rulebook (1 MW in the FCR Cooperation, regelleistung.net)."""
    max_mw: NonNegative | None = None
    """Own limit on the bid; null = none."""


class Afrr(_Section):
    """Automatic frequency restoration reserve, capacity in 4-hour blocks, up and down apart."""

    enabled: bool | Literal["auto"] = "auto"
    """Whether the battery takes part; auto = where the data hold what is needed."""
    lot_mw: Positive | None = None
    """Bid step; null = rulebook (1 MW, regelleistung.net)."""
    max_mw: NonNegative | None = None
    """Own limit on the bid in each direction; null = none."""
    depth_mw: NonNegative = 100.0
    """Activated system volume at which the own bid begins to be called. Assumption: activation
    income changes by a factor of ten with it."""
    width_mw: Positive = 100.0
    """Further system volume until the own bid is called in full; assumption."""
    bid_up_eur_mwh: Price | None = None
    """Energy bid price upward, least to be paid; null = paid the marginal price. The price limit of
    15,000 EUR/MWh is unverified."""
    bid_down_eur_mwh: Price | None = None
    """Energy bid price downward, most to pay; null = pays the marginal price. Limit unverified."""
    bid_menu: Annotated[tuple[AcceptedFrac, ...], Listed] = ()
    """Capacity bid prices, by their probability of being accepted, falling, e.g. [0.9, 0.6, 0.3];
    none = award with certainty at the published price."""
    activation_fallback: Literal["none", "reference"] = "none"
    """Activation signal where the data hold none: none, or the synthetic reference signal, labelled
    in the report."""


class Imbalance(_Section):
    """Deviations from schedule."""

    spread_eur_mwh: Spread = 100.0
    """Distance of the imbalance price from the intraday price, to the worse side, where the data
    hold no imbalance price; assumption."""


class Markets(_Section):
    """Which markets are open to the battery, and which decisions are here-and-now."""

    day_ahead: DayAhead = DayAhead()
    intraday: Intraday = Intraday()
    fcr: Fcr = Fcr()
    afrr: Afrr = Afrr()
    imbalance: Imbalance = Imbalance()
    integer_lots: bool = True
    """Reserve bids in whole lots; false = any amount, an optimistic bound."""


class Tariffs(_Section):
    """Grid fees, levies and taxes."""

    exempt: bool = True
    """Storage is exempt from energy fees and levies, all fees per MWh below are then 0 (Germany:
    EnWG section 118(6), stand-alone storage commissioned by 2029-08-04, for 20 years)."""
    import_fee_eur_mwh: Fee = 0.0
    """Fee on energy drawn from the grid."""
    export_fee_eur_mwh: Fee = 0.0
    """Fee on energy fed into the grid; < 0 = a payment."""
    levy_eur_mwh: Annotated[float, Field(ge=0, le=1_000)] = 0.0
    """Levies and electricity tax on energy that is not fed back (losses); rates are unverified."""
    capacity_fee_eur_kw_year: Annotated[float, Field(ge=0, le=1_000)] = 0.0
    """Fee on the connection power; charged also to exempt storage."""
    hourly_import_fee_eur_mwh: Annotated[tuple[Fee, ...], Listed] = ()
    """Fee on energy drawn, on top, by local hour 0 to 23: 24 values or none."""
    profit_tax_frac: Annotated[float, Field(ge=0, le=0.6)] = 0.0
    """Tax on profit."""


class Penalties(_Section):
    """What it costs not to deliver. Assumptions: deterrents, not tariffs."""

    reserve_shortfall_eur_mwh_h: Penalty = 500.0
    """Energy reserve missing behind a capacity bid."""
    undelivered_eur_mwh: Penalty = 1_000.0
    """Activated energy that is not delivered."""


class Terminal(_Section):
    """What stored energy is worth at the end of the horizon."""

    mode: Literal["value", "equal_start"] = "value"
    """value = stored energy is valued; equal_start = it must equal the start."""
    marginal_values_eur_mwh: Literal["auto"] | Annotated[tuple[Price, ...], Listed] = "auto"
    """Value of a further stored MWh on equal parts of the SOC window, from empty to full, not
    increasing; auto = the tool's own estimate."""


class Aging(_Section):
    """How use of the battery is priced."""

    model: Literal["none", "throughput", "segments", "cuts"] = "segments"
    """none = free; throughput = a fixed cost per MWh discharged; segments = rising with the depth
    of a cycle (Xu et al. 2018), on the LFP cycle loss of Naumann et al. 2020; cuts = the rainflow
    count of the stored energy on the convex hull of the same loss, by cuts found as needed."""
    n_segments: Annotated[int, Field(ge=1, le=64)] = 8
    """Equal depth segments of the SOC window (model segments)."""
    throughput_cost_eur_mwh: Annotated[float, Field(ge=0, le=1_000)] = 15.0
    """Cost of a MWh discharged (model throughput); assumption."""
    usable_fade_frac: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    """Capacity loss at which the replacement cost is used up; assumption."""
    cycle_loss_frac: Annotated[float, Field(ge=0.002, le=0.5)] = 0.05
    """Capacity already lost to cycling, where the square-root loss curve is linearised. Under 0.01
    a linearised day is off by more than 1 %."""
    c_rate_per_h: Annotated[float, Field(ge=0.05, le=10)] = 0.5
    """Mean C-rate at which cycles are priced. Cell tests reach 1/h charging, 2/h discharging."""
    max_cycles_per_day: Annotated[float, Field(gt=0, le=100)] | None = None
    """Equivalent full cycles allowed per day, e.g. by a warranty; null = no limit."""
    mechanisms: Annotated[tuple[Literal["cycle", "calendar", "plating"], ...], Listed] = ("cycle",)
    """What is priced (model cuts): cycle; calendar = also time at a SOC (Naumann et al. 2018);
    plating = also charging in the cold (Schimpe et al. 2018). Beyond cycle the schedule is judged
    by a simulated plant and improved in passes."""
    calendar_loss_frac: Annotated[float, Field(ge=0.002, le=0.5)] = 0.05
    """Capacity already lost to calendar aging, where its square-root law is linearised."""
    plating_loss_frac: Annotated[float, Field(ge=0.002, le=0.5)] = 0.02
    """Capacity already lost to cycling at low temperature, likewise; assumption."""
    surroundings_degc: Annotated[float, Field(ge=-30, le=60)] = 25.0
    """Temperature of idle cells, that of the coolant or of the air around them. Assumption."""
    passes: Annotated[int, Field(ge=1, le=20)] = 6
    """Most passes in which calendar aging or plating is priced anew around the best schedule; 1 =
    the schedule of the certified solve is judged and kept."""
    cycle_law: Literal["naumann", "worst"] = "naumann"
    """Law behind the price of a cycle by depth: naumann, or worst = at every depth the dearest of
    Naumann, Schimpe and BLAST 250 Ah (model cuts, mechanisms cycle alone)."""
    floor_eur_mwh: Annotated[float, Field(ge=0, le=1_000)] = 0.0
    """Added to the price of every MWh drawn from the store, against cycles so shallow that no test
    of a cell has seen them."""


class Risk(_Section):
    """Attitude to risk: (1 - weight) * mean + weight * CVaR of profit."""

    cvar_weight: Frac = 0.0
    """Weight of CVaR; 0 = risk-neutral."""
    cvar_level: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """CVaR is the mean profit of the worst (1 - level) of the outcomes."""


class Robust(_Section):
    """Set of called shares (formulation robust)."""

    budget: Annotated[int, Field(ge=0, le=10_000)] = 4
    """Most periods that are called high, both directions together."""
    period_h: Annotated[float, Field(ge=0.25, le=24)] = 1.0
    """Length of a period: the quarter hours in it are called high together."""
    price_scenarios: Annotated[int, Field(ge=1, le=100)] = 1
    """Price scenarios, each with a worst case of its own, which are averaged; 1 = mean prices. With
    more than a few the gap stays open within minutes."""


class Wasserstein(_Section):
    """Ball of probabilities around those of the scenarios (formulation wasserstein)."""

    radius: Annotated[float, Field(ge=0, le=1_000)] = 0.1
    """Mean distance over which probability may be moved; 1 = a standard deviation in each number of
    a scenario, 0 = the probabilities as they are."""


class Scenarios(_Section):
    """Where the scenarios come from."""

    source: Literal["analog", "model", "realised", "file"] = "analog"
    """analog = days of the past that resemble the forecast; model = fitted price and activation
    models; realised = what happened (perfect foresight); file = a scenario file."""
    file: FilePath | None = None
    """Scenario file, relative to the working directory (source file)."""
    n: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Number of scenarios."""
    reduce_from: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """Generate that many and keep the n whose mean prices and calls are those of all, with equal
    weights (sources analog and model); null = generate n."""
    min_history_days: Annotated[int, Field(ge=1, le=3_650)] = 58
    """Days of history without which no scenarios are made (source analog)."""
    neighbours: Annotated[int, Field(ge=1, le=3_650)] = 60
    """Past days among which the generator draws (source analog)."""
    forecast_known_local: Gate | None = None
    """null = forecasts count from when they were published; a time = assumed to be known by then,
    and labelled so in the report."""


class Tree(_Section):
    """The scenario tree of the multi-stage formulation, grown from the scenarios."""

    file: FilePath | None = None
    """Tree file, relative to the working directory; null = grown as below."""
    reserves: Branches = 1
    """Children after the reserve gates. More than one lets the day-ahead bids depend on the result
    of the reserve auctions."""
    day_ahead: Branches = 4
    """Children of a node when the day-ahead prices become known."""
    intraday: Branches = 1
    """Children of a node when the intraday prices become known."""
    delivery: Annotated[tuple[Branches, ...], Field(strict=False, min_length=1, max_length=96)] = (
        2,
        2,
        2,
        2,
    )
    """Children of a node in each window of the delivery, the windows being equal parts of the
    horizon: trades of a window are decided before its calls are known."""


class Solver(_Section):
    """How the decision is computed."""

    engine: Literal["auto", "extensive", "decomposition", "cylinders"] = "auto"
    """extensive = one large problem; decomposition = cuts; auto = by size; cylinders = progressive
    hedging on MPI ranks (mpiexec -n 3 stochbess solve; docs/cluster.md)."""
    scenarios_per_bundle: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Scenarios that one rank solves together (engine cylinders)."""
    gap_frac: Annotated[float, Field(ge=0, le=0.5)] = 0.01
    """Relative gap at which the solver may stop."""
    time_limit_s: Annotated[float, Field(gt=0, le=604_800)] = 90.0
    """Wall-clock limit; a run that reaches it is not reproducible bit by bit."""
    threads: Annotated[int, Field(ge=1, le=256)] = 2
    """Threads of the solver."""


class Report(_Section):
    """Where results go."""

    store_dir: FilePath = Path("runs")
    """Folder of the store of runs, relative to the working directory."""
    currency: Literal["EUR"] = "EUR"
    """Currency of every amount."""


class _Sections(_Section):
    """Every key, without the rules between keys: what can be judged while some keys are faulty."""

    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = 20_240_626
    """Root seed of all random streams."""
    battery: Battery = Battery()
    connection: Connection = Connection()
    market: Market = Market()
    markets: Markets = Markets()
    tariffs: Tariffs = Tariffs()
    penalties: Penalties = Penalties()
    terminal: Terminal = Terminal()
    aging: Aging = Aging()
    risk: Risk = Risk()
    robust: Robust = Robust()
    wasserstein: Wasserstein = Wasserstein()
    scenarios: Scenarios = Scenarios()
    tree: Tree = Tree()
    solver: Solver = Solver()
    report: Report = Report()


def _without_negative_zero(value: Any) -> Any:
    """-0.0 equals 0.0 and must not give another hash."""
    if isinstance(value, dict):
        return {key: _without_negative_zero(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_negative_zero(item) for item in value]
    return value + 0.0 if isinstance(value, float) else value


class Config(_Sections):
    """The whole configuration. Immutable; equal configurations have equal `sha256`.

    Made from Python values instead of a file it raises `pydantic.ValidationError`. pydantic's
    `model_copy(update=...)` checks nothing: use `load_config` with overrides instead.
    """

    @model_validator(mode="after")
    def _keep_the_rules(self) -> Self:
        broken = [f"{b.keys[0]}: found {b.found}; expected {b.expected}" for b in _broken(self)]
        if broken:
            raise ValueError("\n".join(broken))
        return self

    def canonical_json(self) -> str:
        """Every key with its effective value: sorted, no spaces, floats by repr, ISO dates."""
        data = _without_negative_zero(self.model_dump(mode="json"))
        return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of `canonical_json`."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON schema of the file, with a description and, where there is one, a `unit` per key."""
        return {"title": "stochbess configuration", **copy.deepcopy(words(_Sections))}

    def to_yaml(self) -> str:
        """The effective configuration as a commented file that loads to an equal configuration."""
        return (
            _HEADER
            + "\n".join(
                written(words(_Sections), _without_negative_zero(self.model_dump(mode="json")))
            )
            + "\n"
        )


_HEADER = """\
# Configuration of stochbess. Strict YAML 1.2: true and false, decimal numbers, null; no anchors,
# tags or duplicate keys. Every key may be left out and then takes its default. Units stand in the
# names: power in MW at the AC connection, energy in MWh, money in EUR, ratios as fractions.
# "Assumption" and "unverified" mark what no primary source vouches for. Brackets: what is accepted.

"""

# --------------------------------------------------------------------------- rules between keys


class Broken(NamedTuple):
    """A rule that does not hold: all keys it looked at (the first is blamed), and the words."""

    keys: tuple[str, ...]
    found: str
    expected: str
    advice: str


def _sizes(cfg: _Sections) -> Iterator[Broken]:
    limits = (("power_mw", 0.01, 1_000, "kW", "GW"), ("energy_mwh", 0.005, 10_000, "kWh", "GWh"))
    plausible = True
    for key, low, high, small, large in limits:
        value = getattr(cfg.battery, key)
        if not low <= value <= high:
            plausible = False
            unit, better = (small, value / 1_000) if value > high else (large, value * 1_000)
            wanted = f"{low:g} to {high:g} M{small[1:]}, the size of a price-taking battery"
            advice = f"looks like {unit}: write {better:g} if so"
            yield Broken((f"battery.{key}",), f"{value:g}", wanted, advice)
    if plausible:
        yield from _c_rate(cfg)


def _c_rate(cfg: _Sections) -> Iterator[Broken]:
    power, energy = cfg.battery.power_mw, cfg.battery.energy_mwh
    if 0.05 <= power / energy <= 10:
        return
    guesses = (
        (f"power_mw looks like kW: write {power / 1_000:g}", power / 1_000, energy),
        (f"energy_mwh looks like kWh: write {energy / 1_000:g}", power, energy / 1_000),
        (f"power_mw looks like GW: write {power * 1_000:g}", power * 1_000, energy),
        (f"energy_mwh looks like GWh: write {energy * 1_000:g}", power, energy * 1_000),
    )
    likely = [text for text, p, e in guesses if 0.05 <= p / e <= 10 and 0.01 <= p <= 1_000]
    found = f"power_mw {power:g} at energy_mwh {energy:g}, {power / energy:.3g} per hour"
    wanted = "power over energy from 0.05 to 10 per hour"
    keys = ("battery.power_mw", "battery.energy_mwh")
    yield Broken(keys, found, wanted, " or ".join(likely) or "check both values")


def _connection(cfg: _Sections) -> Iterator[Broken]:
    power = cfg.battery.power_mw
    for key in ("import_limit_mw", "export_limit_mw"):
        limit = getattr(cfg.connection, key)
        if limit and not power / 100 <= limit <= power * 100:
            unit, better = ("kW", limit / 1_000) if limit > power else ("GW", limit * 1_000)
            found = f"{limit:g} MW at a battery of {power:g} MW"
            wanted = "0, or a limit within a factor of 100 of the power of the battery"
            advice = f"looks like {unit}: write {better:g} if so, or null for the battery's power"
            yield Broken((f"connection.{key}", "battery.power_mw"), found, wanted, advice)


def _soc(cfg: _Sections) -> Iterator[Broken]:
    low, high, soc = cfg.battery.soc_min_frac, cfg.battery.soc_max_frac, cfg.battery.state.soc_frac
    window = ("battery.soc_min_frac", "battery.soc_max_frac")
    if low >= high:
        found, wanted = (
            f"soc_min_frac {low:g}, soc_max_frac {high:g}",
            "soc_min_frac < soc_max_frac",
        )
        yield Broken(window, found, wanted, "lower the first or raise the second")
    elif not low <= soc <= high:
        wanted = f"a SOC within the window from {low:g} to {high:g}"
        advice = "move the SOC, or widen soc_min_frac to soc_max_frac"
        yield Broken(("battery.state.soc_frac", *window), f"{soc:g}", wanted, advice)


def _turning_points(cfg: _Sections) -> Iterator[Broken]:
    points = cfg.battery.state.open_turning_points_frac
    steps = [later - earlier for earlier, later in pairwise(points)]
    straight = [i for i, (first, second) in enumerate(pairwise(steps)) if first * second >= 0]
    if straight or steps == [0]:
        at = straight[0] if straight else 0
        found = ", ".join(f"{point:g}" for point in points[at : at + 3]) + " in a row"
        advice = "leave out the points at which the SOC does not turn"
        key = "battery.state.open_turning_points_frac"
        yield Broken((key,), found, "up and down in turn", advice)


def _commitments(cfg: _Sections) -> Iterator[Broken]:
    power = cfg.battery.power_mw
    seen: dict[tuple[str, datetime], int] = {}
    for i, sold in enumerate(cfg.battery.state.commitments):
        item = f"battery.state.commitments[{i}]"
        start, clock = sold.start_local, sold.start_local.isoformat(timespec="minutes")
        reserve = sold.market != "day_ahead"
        minutes, wanted = (
            (240, "a block start 00:00, 04:00, ...") if reserve else (15, "a quarter hour")
        )
        if (start.hour * 60 + start.minute) % minutes or start.second or start.microsecond:
            when = (f"{item}.start_local", f"{item}.market")
            yield Broken(when, clock, wanted, "give the local start, not the end or a middle")
        keys = (f"{item}.mw", f"{item}.market", "battery.power_mw")
        found = f"{sold.mw:g} in {sold.market}"
        if reserve and not 0 < sold.mw <= power:
            wanted = f"a reserve > 0 and <= the power of the battery, {power:g} (MW)"
            yield Broken(keys, found, wanted, "both directions are positive, in MW and not kW")
        elif abs(sold.mw) > 10 * power:
            wanted = f"at most ten times the power of the battery, {10 * power:g} (MW)"
            yield Broken(keys, found, wanted, "write MW, not kW")
        first = seen.setdefault((sold.market, start), i)
        if first != i:
            found = f"{sold.market} at {clock} again, as in item {first}"
            yield Broken(
                (item,), found, "each market and start once", "add up the amounts in one item"
            )


def _outages(cfg: _Sections) -> Iterator[Broken]:
    outages = cfg.battery.state.outages
    for i, outage in enumerate(outages):
        item = f"battery.state.outages[{i}]"
        begin, end = outage.from_local, outage.to_local
        if begin >= end:
            keys = (f"{item}.to_local", f"{item}.from_local")
            wanted = f"a time later than from_local {begin.isoformat(timespec='minutes')}"
            found = end.isoformat(timespec="minutes")
            yield Broken(keys, found, wanted, "exchange the two or correct one")
        for j, other in enumerate(outages[:i]):
            if begin < other.to_local and other.from_local < end:
                advice = "split them so that each time has one available_frac"
                keys = (item, f"battery.state.outages[{j}]")
                yield Broken(keys, f"an overlap with item {j}", "outages apart", advice)


def _bids(cfg: _Sections) -> Iterator[Broken]:
    for name, market in (("fcr", cfg.markets.fcr), ("afrr", cfg.markets.afrr)):
        if market.lot_mw and market.max_mw and market.max_mw < market.lot_mw:
            keys = (f"markets.{name}.max_mw", f"markets.{name}.lot_mw")
            found = f"max_mw {market.max_mw:g} under lot_mw {market.lot_mw:g}"
            advice = f"raise max_mw, or set markets.{name}.enabled to false"
            yield Broken(keys, found, "room for one lot, or 0", advice)


def _tariffs(cfg: _Sections) -> Iterator[Broken]:
    fees, hourly = cfg.tariffs, cfg.tariffs.hourly_import_fee_eur_mwh
    hourly_key = "tariffs.hourly_import_fee_eur_mwh"
    if len(hourly) not in (0, 24):
        wanted = "no value or 24, one per local hour"
        yield Broken((hourly_key,), f"{len(hourly)} values", wanted, "complete it, or write []")
    names = ("import_fee_eur_mwh", "export_fee_eur_mwh", "levy_eur_mwh")
    charged = [f"tariffs.{name}" for name in names if getattr(fees, name)]
    charged += [hourly_key] * any(hourly)
    if fees.exempt and charged:
        found = f"{' and '.join(charged)} beside exempt true, which means it is not charged"
        advice = "set tariffs.exempt to false to charge it, or delete the fee"
        yield Broken((*charged, "tariffs.exempt"), found, "fees of 0, or exempt false", advice)
    lowest = fees.import_fee_eur_mwh + fees.export_fee_eur_mwh + min(hourly, default=0.0)
    if lowest < 0:
        found = f"import and export fees that add up to {lowest:g} EUR/MWh in some hour"
        advice = "correct a sign: drawing and feeding in at once would earn money"
        keys = ("tariffs.export_fee_eur_mwh", "tariffs.import_fee_eur_mwh", hourly_key)
        yield Broken(keys, found, "a sum >= 0 in every hour", advice)


def _marginal_values(cfg: _Sections) -> Iterator[Broken]:
    values = cfg.terminal.marginal_values_eur_mwh
    keys = ("terminal.marginal_values_eur_mwh",)
    if not values:
        yield Broken(keys, "an empty list", "at least one value, or auto", "write auto")
    elif not isinstance(values, str):
        rise = next(((a, b) for a, b in pairwise(values) if b > a), None)
        if rise:
            found, wanted = f"{rise[1]:g} after {rise[0]:g}", "values that do not increase"
            advice = "sort from high to low: the first MWh in store is worth most"
            yield Broken(keys, found, wanted, advice)


def _fade(cfg: _Sections) -> Iterator[Broken]:
    loss, fade = cfg.aging.cycle_loss_frac, cfg.aging.usable_fade_frac
    if loss >= fade:
        keys = ("aging.cycle_loss_frac", "aging.usable_fade_frac")
        advice = "a battery past its usable fade has no capacity left to price"
        yield Broken(keys, f"{loss:g}", f"less than usable_fade_frac {fade:g}", advice)


def _mechanisms(cfg: _Sections) -> Iterator[Broken]:
    priced, model = cfg.aging.mechanisms, cfg.aging.model
    keys = ("aging.mechanisms", "aging.model")
    found = ", ".join(priced) or "an empty list"
    if "cycle" not in priced or len(dict.fromkeys(priced)) < len(priced):
        advice = "write [cycle], [cycle, calendar] or [cycle, calendar, plating]"
        yield Broken(keys[:1], found, "cycle, and each mechanism once", advice)
    elif len(priced) > 1 and model != "cuts":
        advice = "set aging.model to cuts, or aging.mechanisms to [cycle]"
        yield Broken(keys, f"{found} beside model {model}", "model cuts", advice)
    if cfg.aging.cycle_law == "worst" and (len(priced) > 1 or model != "cuts"):
        advice = "set aging.model to cuts and aging.mechanisms to [cycle], or cycle_law to naumann"
        found = f"worst beside model {model} and mechanisms {found}"
        yield Broken(("aging.cycle_law", *keys), found, "model cuts, and cycle alone", advice)


def _scenario_file(cfg: _Sections) -> Iterator[Broken]:
    source, file = cfg.scenarios.source, cfg.scenarios.file
    if source == "file" and file is None:
        advice = "set scenarios.file, or another scenarios.source"
        keys = ("scenarios.source", "scenarios.file")
        yield Broken(keys, "file without scenarios.file", "a file to read", advice)
    elif source != "file" and file is not None:
        found = f"a file beside source {source}, which does not read it"
        advice = "set scenarios.source to file, or delete scenarios.file"
        yield Broken(("scenarios.file", "scenarios.source"), found, "null, or source file", advice)


def _reduction(cfg: _Sections) -> Iterator[Broken]:
    n, larger = cfg.scenarios.n, cfg.scenarios.reduce_from
    if larger is not None and larger < n:
        keys = ("scenarios.reduce_from", "scenarios.n")
        advice = "raise scenarios.reduce_from, lower scenarios.n, or set reduce_from to null"
        yield Broken(keys, f"{larger} beside scenarios.n = {n}", f"at least {n}", advice)


_RULES: tuple[Callable[[_Sections], Iterator[Broken]], ...] = (
    _sizes, _connection, _soc, _turning_points, _commitments, _outages, _bids, _tariffs,
    _marginal_values, _fade, _mechanisms, _scenario_file, _reduction,
)  # fmt: skip


def _broken(cfg: _Sections) -> list[Broken]:
    return [broken for rule in _RULES for broken in rule(cfg)]


# -------------------------------------------------------------------------------------- loading


def load_config(path: Path | str | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file and overrides such as ``battery.power_mw=1``.

    Parameters
    ----------
    path : file; None = ``config.yaml`` of the working directory if there is one, otherwise the
        defaults that are installed with the tool
    overrides : ``key=value`` with a dotted key and a YAML value; they replace what the file says,
        the last one of a key counts

    Raises
    ------
    ConfigFaultsError : with every fault of the file and of the overrides
    """
    path = None if path is None else Path(path)
    if path is None:
        local = Path("config.yaml")
        path = local if local.exists() else Path(__file__).with_name("default_config.yaml")
        source = path.name
    else:
        source = shown(str(path), 200)
    text, findings = read_file(path, source)
    tree = None
    if not findings:
        tree, findings = read_tree(text, source)
    readable = tree is not None
    tree = tree or Node.empty(source)
    for order, override in enumerate(overrides, 1):
        findings += put(tree, override, order, words(_Sections))
    fit = Fit(_Sections, tree)
    findings += fit.findings
    if readable:  # rules over defaults in place of an unreadable file would mislead
        faulty = {finding.path for finding in findings}
        findings += fit.judge(_broken(fit.value), faulty)
    if findings:
        raise ConfigFaultsError([f.fault() for f in sorted(findings, key=lambda f: f.mark)])
    return Config.model_validate(tree.plain())
