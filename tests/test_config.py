"""The configuration: strict YAML, every fault at once, each with its place."""

from __future__ import annotations

import itertools
import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

import stochbess
from stochbess.config import Config, ConfigFaultsError, Fault, load_config
from stochbess.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
Load = Callable[..., Config]
Faults = Callable[..., tuple[Fault, ...]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load text (or bytes) as ./config.yaml with overrides."""
    monkeypatch.chdir(tmp_path)

    def run(text: str | bytes, *overrides: str) -> Config:
        data = text.encode() if isinstance(text, str) else text
        Path("config.yaml").write_bytes(data)
        return load_config(None, overrides)

    return run


@pytest.fixture
def faults(load: Load) -> Faults:
    def run(text: str | bytes, *overrides: str) -> tuple[Fault, ...]:
        with pytest.raises(ConfigFaultsError) as caught:
            load(text, *overrides)
        return caught.value.faults

    return run


def _leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _leaves(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


# ------------------------------------------------------------------------------------- defaults


def test_the_packaged_default_is_config_yaml_byte_for_byte() -> None:
    packaged = (ROOT / "stochbess" / "default_config.yaml").read_bytes()
    assert packaged == (ROOT / "config.yaml").read_bytes()


def test_config_yaml_says_exactly_what_the_code_says() -> None:
    assert load_config(ROOT / "config.yaml") == Config()
    assert (ROOT / "config.yaml").read_text(encoding="utf-8") == Config().to_yaml()


def test_config_yaml_of_the_working_directory_comes_before_the_packaged_default(
    load: Load, tmp_path: Path
) -> None:
    assert load_config() == Config()
    assert load("seed: 7").seed == 7
    assert load_config().seed == 7


def test_a_partial_file_takes_the_defaults_for_the_rest(load: Load) -> None:
    cfg = load("battery:\n  power_mw: 1\n")
    assert cfg.battery.power_mw == 1.0
    assert cfg.battery.energy_mwh == Config().battery.energy_mwh
    assert cfg.markets == Config().markets


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n", "{}\n"])
def test_an_empty_file_is_the_default(load: Load, text: str) -> None:
    assert load(text) == Config()


def test_every_key_has_a_description_and_stands_in_config_yaml_below_a_comment() -> None:
    lines = (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines()
    commented = {
        line.strip().split(":")[0]
        for above, line in itertools.pairwise(lines)
        if above.strip().startswith("#") and not line.strip().startswith("#")
    }
    for key, field in _leaves(Config):
        assert field.description, key
        assert key.rpartition(".")[2] in commented, key
    assert sum(1 for _ in _leaves(Config)) == sum(":" in x for x in lines if _is_leaf(x))


def _is_leaf(line: str) -> bool:
    return ": " in line and not line.strip().startswith("#")


def test_the_schema_tells_description_unit_bounds_and_default_of_a_key() -> None:
    battery = Config.json_schema()["properties"]["battery"]["properties"]
    assert battery["power_mw"] == {
        "default": 2.236,
        "description": "Power at the AC connection, both directions.",
        "exclusiveMinimum": 0,
        "type": "number",
        "unit": "MW",
    }
    json.dumps(Config.json_schema())


# ------------------------------------------------------------------------- the object and its hash


def test_the_tree_is_frozen_hashable_and_survives_pickling() -> None:
    cfg = Config()
    with pytest.raises(ValidationError):
        cfg.battery.power_mw = 3
    assert hash(cfg) == hash(Config())
    assert pickle.loads(pickle.dumps(cfg)) == cfg


def test_the_hash_depends_on_values_and_not_on_how_they_are_written(load: Load) -> None:
    one = load("seed: 1\nbattery: {power_mw: 2, energy_mwh: 4.0}\n")
    two = load("battery:\n  energy_mwh: 4\n  power_mw: 2.00e0 # same\nseed: 1\n")
    assert one == two
    assert one.sha256 == two.sha256
    assert one.sha256 != load("seed: 2\nbattery: {power_mw: 2, energy_mwh: 4.0}\n").sha256
    assert load("tariffs: {import_fee_eur_mwh: -0.0}").sha256 == Config().sha256


def test_canonical_json_is_sorted_with_repr_floats_and_iso_dates(load: Load) -> None:
    cfg = load(
        "market: {day: 2024-06-26}\n"
        "battery: {power_mw: 0.30000000000000004, energy_mwh: 1,"
        " state: {outages: [{from_local: 2024-06-26T04:00, to_local: 2024-06-26 05:00}]}}\n"
    )
    text = cfg.canonical_json()
    assert '"power_mw":0.30000000000000004' in text
    assert '"day":"2024-06-26"' in text
    assert '"from_local":"2024-06-26T04:00"' in text
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


def test_dates_and_local_times_arrive_as_dates_and_naive_times(load: Load) -> None:
    text = """
market: {day: "2024-06-26"}
battery:
  state:
    commitments:
      - {market: fcr, start_local: "2024-06-26T04:00", mw: 1}
"""
    cfg = load(text)
    assert cfg.market.day == date(2024, 6, 26)
    assert cfg == load(text.replace('"2024-06-26"', "2024-06-26"))
    start = cfg.battery.state.commitments[0].start_local
    assert start == datetime.fromisoformat("2024-06-26T04:00")
    assert start.tzinfo is None


_fracs = st.floats(0, 1)


@st.composite
def _configs(draw: st.DrawFn) -> Config:
    power = draw(st.floats(0.1, 100))
    low, soc, high = sorted(draw(st.lists(_fracs, min_size=3, max_size=3, unique=True)))
    sold = draw(st.one_of(st.none(), st.floats(-power, power)))
    start = datetime.fromisoformat("2024-10-27T04:00")
    return Config.model_validate(
        {
            "seed": draw(st.integers(0, 2**31 - 1)),
            "battery": {
                "power_mw": power,
                "energy_mwh": power * draw(st.floats(0.2, 10)),
                "soc_min_frac": low,
                "soc_max_frac": high,
                "state": {
                    "soc_frac": soc,
                    "commitments": []
                    if sold is None
                    else [{"market": "day_ahead", "start_local": start, "mw": sold}],
                },
            },
            "market": {
                "zone": draw(st.sampled_from(["DE_LU", "NO", "yes", "1_2", "12", "0x1F", "1e5"])),
                "day": draw(st.one_of(st.none(), st.dates(date(2000, 1, 1), date(2099, 12, 31)))),
            },
            "terminal": {
                "marginal_values_eur_mwh": draw(
                    st.one_of(
                        st.just("auto"),
                        st.lists(st.floats(-500, 4000), min_size=1).map(
                            lambda values: tuple(sorted(values, reverse=True))
                        ),
                    )
                )
            },
            "report": {
                "store_dir": Path(draw(st.sampled_from(["runs", "~", "a b", "x: y", "é#", "1"])))
            },
        }
    )


@given(cfg=_configs())
@settings(max_examples=15, deadline=None)
def test_what_to_yaml_writes_loads_to_an_equal_configuration(
    tmp_path_factory: pytest.TempPathFactory, cfg: Config
) -> None:
    path = tmp_path_factory.mktemp("config") / "shown.yaml"
    path.write_text(cfg.to_yaml(), encoding="utf-8")
    again = load_config(path)
    assert again == cfg
    assert again.sha256 == cfg.sha256
    assert again.to_yaml() == cfg.to_yaml()


# ------------------------------------------------------------------------------- words of a fault


def test_a_fault_says_where_which_key_what_was_found_what_was_expected_and_what_to_do(
    load: Load,
) -> None:
    with pytest.raises(ConfigError) as caught:
        load("battery:\n  energy_mwh: 4.472\n  power_mw: -1\n")
    assert str(caught.value) == (
        "config.yaml:3:13 battery.power_mw: found -1; expected a number > 0 (MW); "
        "correct the value, or delete the line for the default 2.236"
    )
    assert caught.value.exit_code == 2
    assert isinstance(caught.value, ConfigFaultsError)
    assert caught.value.faults[0].key == "battery.power_mw"


def test_all_faults_of_file_and_overrides_come_in_one_error_in_the_order_of_the_text(
    faults: Faults,
) -> None:
    text = """\
seed: yes
batery: {}
battery:
  power_mw: -1
  charge_efficiency_frac: 95
  soc_min_frac: 0.9
  soc_max_frac: 0.1
  power_mw: 2
  state:
    commitments:
      - {market: frc, start_local: "2024-06-26T04:00", mw: 1}
      - {market: fcr, start_local: "2024-06-26T05:00", mw: 1}
market: {zone: &here DE_LU, data_dir: *here}
scenarios: {source: file}
"""
    found = faults(text, "solver.threads=none", "risk.cvar_level=95")
    assert [(fault.where, fault.key) for fault in found] == [
        ("config.yaml:1:7", "seed"),
        ("config.yaml:2:1", "batery"),
        ("config.yaml:4:13", "battery.power_mw"),
        ("config.yaml:5:27", "battery.charge_efficiency_frac"),
        ("config.yaml:6:17", "battery.soc_min_frac"),
        ("config.yaml:8:3", "battery.power_mw"),
        ("config.yaml:11:18", "battery.state.commitments[0].market"),
        ("config.yaml:12:36", "battery.state.commitments[1].start_local"),
        ("config.yaml:13:16", "market.zone"),
        ("config.yaml:13:39", "market.data_dir"),
        ("config.yaml:14:21", "scenarios.source"),
        ("--set solver.threads=none", "solver.threads"),
        ("--set risk.cvar_level=95", "risk.cvar_level"),
    ]


def test_a_faulty_item_does_not_hide_the_broken_rule_of_another_item(faults: Faults) -> None:
    text = """\
battery:
  state:
    commitments:
      - {market: fcr, start_local: "2024-06-26T04:00", mw: x}
      - {market: fcr, start_local: "2024-06-26T08:00", mw: -1}
      - {market: fcr, start_local: "2024-06-26T12:00"}
"""
    found = faults(text)
    assert [fault.key.removeprefix("battery.state.") for fault in found] == [
        "commitments[0].mw",
        "commitments[1].mw",
        "commitments[2].mw",
    ]
    assert found[2].found == "nothing"


def test_thousands_of_faults_are_counted_and_not_all_printed(load: Load) -> None:
    text = "".join(f"key_{i}: 1\n" for i in range(2_000))
    began = time.perf_counter()
    with pytest.raises(ConfigFaultsError) as caught:
        load(text)
    assert time.perf_counter() - began < 5
    assert len(caught.value.faults) == 1_000
    assert str(caught.value).splitlines()[-1] == "... and 900 more faults"


def test_control_characters_of_a_file_do_not_reach_the_message(load: Load) -> None:
    with pytest.raises(ConfigFaultsError) as caught:
        load('"\\e[31mred": 1\nmarket: {zone: "\\e[2J"}\n')
    assert all(line.isprintable() for line in str(caught.value).splitlines())


# ------------------------------------------------------------------------------------ strict YAML


@pytest.mark.parametrize(
    ("key", "text", "found", "advice"),
    [
        ("markets.fcr.enabled", "NO", "NO (text)", "write false"),
        ("markets.fcr.enabled", "yes", "yes (text)", "write true"),
        ("markets.fcr.enabled", "on", "on (text)", "write true"),
        ("markets.fcr.enabled", "True", "True", "true or false in small letters"),
        ("markets.fcr.enabled", "1", "1", "default true"),
        ("markets.fcr.enabled", '"true"', '"true" (text in quotes)', "remove the quotes"),
        ("battery.power_mw", "12:30", "12:30 (text)", "base 60"),
        ("battery.power_mw", "1_000", "1_000 (text)", "without underscores"),
        ("battery.power_mw", "0o17", "0o17", "decimal digits"),
        ("battery.power_mw", "0x1F", "0x1F", "decimal digits"),
        ("battery.power_mw", "007", "007", "leading zeros"),
        ("battery.power_mw", "-07.50", "-07.50", "leading zeros"),
        ("battery.power_mw", "true", "true", "default 2.236"),
        ("battery.power_mw", '"1"', '"1" (text in quotes)', "remove the quotes"),
        ("battery.power_mw", "'1'", '"1" (text in quotes)', "remove the quotes"),
        ("battery.power_mw", "1,5", "1,5 (text)", "decimal point"),
        ("battery.power_mw", "2.236 MW", "2.236 MW (text)", "the number alone"),
        ("battery.power_mw", "95 %", "95 % (text)", "fraction"),
        ("battery.power_mw", ".nan", ".nan", "finite"),
        ("battery.power_mw", "NaN", "NaN (text)", "finite"),
        ("battery.power_mw", "-.inf", "-.inf", "finite"),
        ("battery.power_mw", "inf", "inf (text)", "finite"),
        ("battery.power_mw", "1e999", "1e999", "finite"),
        ("battery.power_mw", "1" * 5000, "1" * 60 + "...", "at most 40"),
        ("battery.power_mw", "null", "null", "default 2.236"),
        ("battery.power_mw", "~", "~", "write null"),
        ("battery.power_mw", "", "nothing", "give a value"),
        ("battery.power_mw", "[1]", "a list of 1", "default 2.236"),
        ("battery.power_mw", "{a: 1}", "a section", "default 2.236"),
        ("solver.threads", "2.0", "2.0", "write 2"),
        ("solver.threads", "1e1", "1e1", "write 10"),
        ("market.zone", "12", "12", "quotes"),
        ("market.zone", "true", "true", "default DE_LU"),
        ("market.zone", "0x1F", "0x1F", "quotes"),
        ("market.zone", "../x", "../x (text)", "default DE_LU"),
        ("market.data_dir", "~", "~", "write null"),
        ("market.data_dir", '""', '"" (text in quotes)', "default null"),
        ("market.data_dir", '"a\\0b"', '"a\\x00b" (text in quotes)', "default null"),
        ("market.day", "2024-02-30", "2024-02-30 (text)", "default null"),
        ("market.day", "26.06.2024", "26.06.2024 (text)", "default null"),
        ("market.day", "20240626", "20240626", "quotes"),
        ("scenarios.forecast_known_local", "D-1 25:00", "D-1 25:00 (text)", "default null"),
        ("scenarios.source", "analogue", "analogue (text)", "did you mean analog?"),
        ("report.currency", "CHF", "CHF (text)", "default EUR"),
        ("battery", "3", "3", "correct the value"),
        ("battery", "", "nothing", "give a value"),
        ("battery.state.outages", "none", "none (text)", "default []"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_in_files_and_overrides_alike(
    faults: Faults, key: str, text: str, found: str, advice: str
) -> None:
    *sections, name = key.split(".")
    lines = [f"{'  ' * depth}{section}:" for depth, section in enumerate(sections)]
    in_file = faults("\n".join([*lines, f"{'  ' * len(sections)}{name}: {text}"]) + "\n")
    assert [(fault.key, fault.found) for fault in in_file] == [(key, found)]
    assert advice in in_file[0].advice
    assert in_file[0].where.startswith(f"config.yaml:{len(sections) + 1}:")
    if key != "battery":
        (override,) = faults("", f"{key}={text}")
        assert (override.key, override.found, override.advice) == (key, found, in_file[0].advice)


def test_words_that_yaml_1_1_would_change_stay_text_where_text_is_expected(load: Load) -> None:
    assert load("market: {zone: NO}").market.zone == "NO"
    assert load("report: {store_dir: 12:30}").report.store_dir == Path("12:30")
    known = load("scenarios: {forecast_known_local: D-1 07:00}").scenarios.forecast_known_local
    assert known == "D-1 07:00"


@pytest.mark.parametrize(
    ("text", "key", "found"),
    [
        ("seed: &a 1", "seed", "the anchor &a"),
        ("battery: &a {power_mw: 1}", "battery", "the anchor &a"),
        ("seed: *a", "seed", "the alias *a"),
        ("battery: {<<: {power_mw: 1}}", "battery.<<", "a merge key"),
        ("seed: !!int 3", "seed", "the tag !!int"),
        ("seed: !!python/object/apply:os.system ['true']", "seed", "the tag !!python/object"),
        ("report: !dir {store_dir: x}", "report", "the tag !dir"),
        ("%YAML 1.1\n---\nseed: 1", "", "a % directive"),
        ("seed: 1\n---\nseed: 2", "", "a second document"),
        ("seed: 1\nseed: 1", "seed", "the key a second time (first in line 1)"),
        ("? [a, b]\n: 1", "", "a key that is no word"),
        ("? {a: b}\n: {c: d}", "", "a key that is no word"),
        ("battery:\n\tpower_mw: 1", "", "found character '\\t'"),
        ("seed: [1", "", "expected ',' or ']'"),
        ("seed: 1\x07", "", "special characters are not allowed"),
        ("- 1", "", "a list of 1"),
        ("seed", "", "seed (text)"),
        ("seed: 1\n  x: 2", "", "mapping values are not allowed"),
    ],
)
def test_yaml_that_is_more_than_plain_keys_and_values_is_refused(
    faults: Faults, text: str, key: str, found: str
) -> None:
    first = faults(text)[0]
    assert first.key == key
    assert first.found.startswith(found)
    assert first.where.startswith("config.yaml:")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("battery: {powr_mw: 1}", "did you mean power_mw?"),
        ("battery: {soc_frac: 0.5}", "did you mean battery.state.soc_frac?"),
        ("soc_frac: 0.5", "did you mean battery.state.soc_frac?"),
        ("Battery: {}", "did you mean battery?"),
        ("markets: {fcr: {lot_mw: 1,5}}", "write a decimal point, not a comma"),
        ("zzz: 1", "correct or delete the key"),
        ("battery: {state: {outages: [{from: 1}]}}", "did you mean from_local?"),
    ],
)
def test_an_unknown_key_is_refused_with_a_near_miss(faults: Faults, text: str, advice: str) -> None:
    unknown = [fault for fault in faults(text) if fault.found == "an unknown key"]
    assert [fault.advice for fault in unknown] == [advice]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\xef\xbb\xbfseed: 1\n", "a byte order mark"),
        ("seed: 1\n".encode("utf-16"), "UTF-16 text"),
        ("# Käse\nseed: 1\n".encode("latin-1"), "byte 0xe4, not UTF-8"),
        (pickle.dumps({"seed": 1}), "byte 0x80, not UTF-8"),
        (b"seed: 1\x00\n", "special characters are not allowed"),
    ],
)
def test_bytes_that_are_not_plain_utf8_are_refused(faults: Faults, data: bytes, found: str) -> None:
    (fault,) = faults(data)
    assert fault.found == found
    assert str(fault).startswith("config.yaml")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"seed: 1\n" + b"# x\n" * 12_500_000, id="50 MB of comments"),
        pytest.param(b"[" * 10_000, id="flow lists 10,000 deep"),
        pytest.param(b"{a: " * 10_000, id="flow sections 10,000 deep"),
        pytest.param(b"- " * 10_000, id="block lists 10,000 deep"),
        pytest.param(
            b"".join(b" " * i + b"a:\n" for i in range(350)), id="block sections 350 deep"
        ),
        pytest.param(b"a:\n" * 21_000, id="a key 21,000 times"),
        pytest.param(b"x: [" + b"1," * 32_000, id="32,000 numbers"),
        pytest.param(b"".join(b"k%d:\n" % i for i in range(4_900)), id="4,900 unknown keys"),
        pytest.param(b"x: " + b"!" * 65_000, id="a tag of 65,000 characters"),
        pytest.param(b"seed: " + b"9" * 65_000, id="a number of 65,000 digits"),
        pytest.param(
            b"a: &a [x]\n"
            + b"".join(b"%c: &%c [*%c,*%c]\n" % (i + 1, i + 1, i, i) for i in range(97, 121)),
            id="an alias bomb",
        ),
    ],
)
def test_huge_deep_and_explosive_files_end_soon_with_a_clear_error(
    faults: Faults, data: bytes
) -> None:
    began = time.perf_counter()
    found = faults(data)
    assert time.perf_counter() - began < 4  # 1 s on an idle machine
    assert all(fault.found and fault.expected and fault.advice for fault in found)


@given(data=st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_random_bytes_either_load_or_end_in_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("config") / "random.yaml"
    path.write_bytes(data)
    try:
        load_config(path)
    except ConfigFaultsError as error:
        assert error.faults


@given(text=st.text(alphabet="ab:-[]{}#&*!|>'\"%@`,? \n\t<~01.", max_size=80))
@settings(max_examples=100, deadline=None)
def test_random_yaml_either_loads_or_ends_in_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load_config(path, [f"seed={text}", text])
    except ConfigFaultsError as error:
        assert error.faults


@pytest.mark.parametrize("path", ["missing.yaml", ".", "a\0b"])
def test_a_path_that_is_no_readable_file_is_a_config_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigFaultsError, match="no readable file"):
        load_config(Path(path))


# ---------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("battery: {power_mw: 2236}", "power_mw", "looks like kW: write 2.236"),
        ("battery: {power_mw: 0.002236}", "power_mw", "looks like GW: write 2.236"),
        ("battery: {power_mw: 223.6}", "power_mw", "from 0.05 to 10 per hour"),
        ("battery: {energy_mwh: 4472}", "energy_mwh", "energy_mwh looks like kWh: write 4.472"),
        ("battery: {energy_mwh: 0.004472}", "energy_mwh", "looks like GWh: write 4.472"),
        ("battery: {power_mw: 2236, energy_mwh: 4472}", "power_mw", "looks like kW"),
        ("battery: {energy_mwh: 0}", "energy_mwh", "a number > 0 (MWh)"),
        ("battery: {charge_efficiency_frac: 95}", "charge_efficiency_frac", "0.95, not 95"),
        ("battery: {discharge_efficiency_frac: 1.01}", "discharge_efficiency_frac", "0.5 to 1"),
        ("battery: {charge_efficiency_frac: 0.49}", "charge_efficiency_frac", "0.5 to 1"),
        ("battery: {soc_max_frac: 100}", "soc_max_frac", "write 1, not 100"),
        ("battery: {soc_min_frac: 0.5, soc_max_frac: 0.5}", "soc_min_frac", "soc_min_frac < soc"),
        ("battery: {soc_min_frac: 0.6}", "soc_min_frac", "window from 0.6 to 1"),
        ("battery: {state: {soc_frac: 50}}", "state.soc_frac", "write 0.5, not 50"),
        ("battery: {state: {soh_frac: 0.1}}", "state.soh_frac", "0.3 to 1"),
        ("battery: {self_discharge_per_h: 0.5}", "self_discharge_per_h", "0 to 0.01"),
        ("battery: {replacement_cost_eur_kwh: 200000}", "replacement_cost_eur_kwh", "1000? 200"),
        ("battery: {replacement_cost_eur_kwh: 0.2}", "replacement_cost_eur_kwh", "1000? 200"),
        (
            "battery: {state: {open_turning_points_frac: [0.2, 0.5, 0.8]}}",
            "state.open_turning_points_frac",
            "found 0.2, 0.5, 0.8 in a row",
        ),
        (
            "battery: {state: {open_turning_points_frac: [0.5, 0.5]}}",
            "state.open_turning_points_frac",
            "up and down",
        ),
    ],
)
def test_an_implausible_battery_is_refused_with_a_guess_what_was_meant(
    faults: Faults, text: str, key: str, words: str
) -> None:
    (fault,) = faults(text)
    assert fault.key == f"battery.{key}"
    assert words in str(fault)


_FCR = '{market: fcr, start_local: "2024-06-26T04:00", mw: 1}'
_OUTAGE = '{from_local: "2024-06-26T04:00", to_local: "2024-06-26T08:00"}'


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("connection: {import_limit_mw: 2236}", "connection.import_limit_mw", "write 2.236"),
        ("connection: {export_limit_mw: 0.002}", "connection.export_limit_mw", "looks like GW"),
        ("markets: {fcr: {lot_mw: 1, max_mw: 0.5}}", "markets.fcr.max_mw", "room for one lot"),
        ("markets: {afrr: {lot_mw: 1, max_mw: 0.5}}", "markets.afrr.max_mw", "room for one lot"),
        ("tariffs: {import_fee_eur_mwh: 5}", "tariffs.import_fee_eur_mwh", "exempt to false"),
        (
            "tariffs: {exempt: false, hourly_import_fee_eur_mwh: [1, 2]}",
            "tariffs.hourly_import_fee_eur_mwh",
            "found 2 values; expected no value or 24",
        ),
        (
            "tariffs: {exempt: false, export_fee_eur_mwh: -5, import_fee_eur_mwh: 4}",
            "tariffs.export_fee_eur_mwh",
            "add up to -1",
        ),
        (
            "terminal: {marginal_values_eur_mwh: [60, 50, 50, 55]}",
            "terminal.marginal_values_eur_mwh",
            "found 55 after 50",
        ),
        ("terminal: {marginal_values_eur_mwh: []}", "terminal.marginal_values_eur_mwh", "empty"),
        (
            "terminal: {marginal_values_eur_mwh: [60, x]}",
            "terminal.marginal_values_eur_mwh[1]",
            "a number from -15,000 to 15,000 (EUR/MWh)",
        ),
        ("aging: {usable_fade_frac: 0.05}", "aging.usable_fade_frac", "less than usable_fade"),
        ("risk: {cvar_level: 95}", "risk.cvar_level", "write 0.95"),
        ("risk: {cvar_level: 1}", "risk.cvar_level", "< 1"),
        ("scenarios: {source: file}", "scenarios.source", "a file to read"),
        ("scenarios: {file: x.parquet}", "scenarios.file", "does not read it"),
        ("seed: -1", "seed", "0 to 2,147,483,647"),
        (
            f"battery: {{state: {{commitments: [{_FCR}, {_FCR}]}}}}",
            "battery.state.commitments[1]",
            "again, as in item 0",
        ),
        (
            f"battery: {{state: {{commitments: [{_FCR.replace('04:00', '04:15')}]}}}}",
            "battery.state.commitments[0].start_local",
            "a block start",
        ),
        (
            f"battery: {{state: {{commitments: [{_FCR.replace('mw: 1', 'mw: 1000')}]}}}}",
            "battery.state.commitments[0].mw",
            "<= the power of the battery",
        ),
        (
            "battery: {state: {commitments:"
            " [{market: day_ahead, start_local: 2024-06-26T04:15, mw: -1000}]}}",
            "battery.state.commitments[0].mw",
            "not kW",
        ),
        (
            f"battery: {{state: {{commitments: [{_FCR.replace('04:00', '04:00+02:00')}]}}}}",
            "battery.state.commitments[0].start_local",
            "without Z or +02:00",
        ),
        (
            f"battery: {{state: {{outages: [{_OUTAGE.replace('T08', 'T03')}]}}}}",
            "battery.state.outages[0].to_local",
            "later than from_local 2024-06-26T04:00",
        ),
        (
            f"battery: {{state: {{outages: [{_OUTAGE}, {_OUTAGE.replace('T04', 'T07')}]}}}}",
            "battery.state.outages[1]",
            "an overlap with item 0",
        ),
    ],
)
def test_a_rule_between_keys_is_reported_at_a_key_that_was_given(
    faults: Faults, text: str, key: str, words: str
) -> None:
    (fault,) = faults(text)
    assert fault.key == key
    assert words in str(fault)
    assert fault.where.startswith("config.yaml:1:")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("battery.soc_min_frac=0.9", "found battery.state.soc_frac 0.5; expected a SOC within"),
        ("battery.power_mw=500", "found power_mw 500 at energy_mwh 5"),
        ("connection.export-limit-mw=5000", "found 5000 MW at a battery of 3 MW"),
    ],
)
def test_a_rule_that_an_override_breaks_is_reported_at_the_override(
    faults: Faults, override: str, words: str
) -> None:
    """The keys that stand in the file were sound before."""
    text = "battery: {power_mw: 3, energy_mwh: 5, state: {soc_frac: 0.5}}"
    (fault,) = faults(text, override)
    assert fault.where == f"--set {override}"
    assert words in str(fault)


def test_an_override_may_spell_its_key_with_hyphens(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("seed: 1\n")
    hyphens = load_config(path, ["markets.day-ahead.here-and-now=false"])
    assert hyphens == load_config(path, ["markets.day_ahead.here_and_now=false"])
    with pytest.raises(ConfigError, match="did you mean day_ahead"):
        load_config(path, ["markets.day-ahed.enabled=false"])


def test_more_than_a_thousand_items_of_a_list_are_refused(faults: Faults) -> None:
    points = ", ".join(["0.1", "0.9"] * 501)
    (fault,) = faults(f"battery: {{state: {{open_turning_points_frac: [{points}]}}}}")
    assert (fault.found, "at most 1,000 items" in fault.expected) == ("a list of 1002", True)


def test_a_rule_is_not_judged_on_a_key_that_is_faulty_itself(faults: Faults) -> None:
    found = faults("battery: {power_mw: x, energy_mwh: 40}\nconnection: {import_limit_mw: 5000}\n")
    assert [fault.key for fault in found] == ["battery.power_mw"]


def test_python_values_are_held_to_the_same_kinds() -> None:
    at = datetime.fromisoformat("2024-06-26T04:00:30")
    until = datetime.fromisoformat("2024-06-26T05:00+02:00")
    with pytest.raises(ValidationError, match="4 validation errors"):
        Config.model_validate(
            {
                "seed": True,
                "market": {"day": at},
                "battery": {"state": {"outages": [{"from_local": at, "to_local": until}]}},
            }
        )


def test_rules_hold_for_a_configuration_made_in_python_too() -> None:
    with pytest.raises(ValidationError, match=r"scenarios\.source: found file"):
        Config.model_validate({"scenarios": {"source": "file"}})


_GOOD: dict[str, st.SearchStrategy[str]] = {
    "power_mw": st.just("2.236"),
    "charge_efficiency_frac": st.floats(0.5, 1).map(repr),
    "discharge_efficiency_frac": st.floats(0.5, 1).map(repr),
    "self_discharge_per_h": st.floats(0, 0.01).map(repr),
    "replacement_cost_eur_kwh": st.integers(10, 2000).map(str),
    "energy_mwh": st.just("4"),
}
_WORD = st.sampled_from(["yes", "12:30", "1_000", ".inf", '"1"', "true", "null", "~", "[1]", "{}"])
_BAD: dict[str, st.SearchStrategy[str]] = {
    "power_mw": st.floats(max_value=0, allow_infinity=False).map(repr) | _WORD,
    "charge_efficiency_frac": st.floats(1.0001, 1e6).map(repr) | st.floats(0, 0.499).map(repr),
    "discharge_efficiency_frac": st.floats(-1e6, 0.499).map(repr) | _WORD,
    "self_discharge_per_h": st.floats(0.0101, 1e9).map(repr) | _WORD,
    "replacement_cost_eur_kwh": st.integers(2001, 10**12).map(str) | _WORD,
    "energy_mwh": st.integers(max_value=0).map(str).filter(lambda text: len(text) <= 40) | _WORD,
}


@given(data=st.data(), faulty=st.sets(st.sampled_from(sorted(_BAD)), min_size=1))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_faulty_battery_value_is_listed_and_no_sound_one(
    faults: Faults, data: st.DataObject, faulty: set[str]
) -> None:
    lines = [
        f"  {key}: {data.draw(_BAD[key] if key in faulty else good, label=key)}"
        for key, good in _GOOD.items()
    ]
    found = faults("battery:\n" + "\n".join(lines) + "\n")
    expected = [
        (f"config.yaml:{line}:{len(key) + 5}", f"battery.{key}")
        for line, key in enumerate(_GOOD, 2)
        if key in faulty
    ]
    assert [(fault.where, fault.key) for fault in found] == expected


# ------------------------------------------------------------------------------------- overrides


def test_an_override_replaces_what_the_file_says_and_the_last_one_counts(load: Load) -> None:
    cfg = load("battery: {power_mw: -1}", "battery.power_mw=1", "seed=1", "seed=2")
    assert (cfg.battery.power_mw, cfg.seed) == (1.0, 2)


def test_overrides_take_lists_and_sections_in_flow_style(load: Load) -> None:
    cfg = load(
        "",
        "terminal.marginal_values_eur_mwh=[60, 40.5]",
        f"battery.state.commitments=[{_FCR}]",
        "scenarios.forecast_known_local=D-1 07:00",
        "market.data_dir=null",
        "report.store_dir=a=b",
    )
    assert cfg.terminal.marginal_values_eur_mwh == (60.0, 40.5)
    assert cfg.battery.state.commitments[0].mw == 1.0
    assert cfg.scenarios.forecast_known_local == "D-1 07:00"
    assert cfg.report.store_dir == Path("a=b")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("battery.power_mw", "found no key=value"),
        ("=1", "found no key=value"),
        ("battery..x=1", "found no key=value"),
        ("battery.powr_mw=1", "did you mean power_mw?"),
        ("batery.power_mw=1", "did you mean battery?"),
        ("battery={power_mw: 1}", "set its keys one by one"),
        ("battery.power_mw.x=1", "give the whole value"),
        ("battery.power_mw=x", "found x (text)"),
        ("battery.power_mw=", "found nothing"),
        ("battery.power_mw=[1", "expected ',' or ']'"),
        ("battery.power_mw=!!int 1", "the tag !!int"),
        ("battery.state.soc_frac=50", "write 0.5, not 50"),
        ("battery.soc_max_frac=0.2", "a SOC within the window"),
        ("terminal.marginal_values_eur_mwh=[1, 2]", "2 after 1"),
    ],
)
def test_a_faulty_override_is_reported_as_it_was_typed(
    faults: Faults, override: str, words: str
) -> None:
    (fault,) = faults("", override)
    assert str(fault).startswith(f"--set {override}: found ")
    assert words in str(fault)


def test_a_file_that_cannot_be_read_does_not_hide_a_faulty_override(faults: Faults) -> None:
    found = faults("seed: [1\n", "battery.power_mw=x", "scenarios.source=file")
    assert [fault.where for fault in found] == ["config.yaml:2:1", "--set battery.power_mw=x"]


# ------------------------------------------------------------------------------------------ cost


def test_importing_the_configuration_loads_neither_pandas_nor_numpy_nor_pyomo() -> None:
    code = (
        "import sys, stochbess.config\n"
        "print([m for m in ('pandas', 'numpy', 'pyomo', 'ruamel.yaml') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_the_configuration_is_reachable_from_the_package() -> None:
    assert stochbess.load_config is load_config
    assert stochbess.Config is Config
