"""The scenario set, its file, and the realised scenario."""

from __future__ import annotations

import pickle
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stochbess.errors import DataError, ScenarioError
from stochbess.market.data import MarketData, SeriesMeta, build_series
from stochbess.market.schema import SERIES as MARKET_SERIES
from stochbess.scenario_gen.realised import MARKET_COLUMN, realised_scenario
from stochbess.scenario_gen.scenario_file import COLUMNS, read_scenarios, write_scenarios
from stochbess.scenario_gen.scenarios import ScenarioSet
from stochbess.scenario_gen.series import SERIES, Array, labels_of
from stochbess.timegrid import Horizon

BERLIN = "Europe/Berlin"
ORDINARY, SHORT, LONG = date(2024, 6, 26), date(2025, 3, 30), date(2025, 10, 26)
SOME = ("day_ahead_eur_mwh", "intraday_eur_mwh", "fcr_eur_mw", "activation_up_mw")


def day(first: date = ORDINARY, n_days: int = 1, timezone: str = BERLIN) -> Horizon:
    return Horizon(first, n_days, timezone, 15, 60)


def some_set(
    horizon: Horizon | None = None,
    probability: tuple[float, ...] = (0.25, 0.75),
    series: tuple[str, ...] = SOME,
) -> ScenarioSet:
    """A set whose values count up, so that every value is recognisable."""
    horizon = horizon or day()
    index = {s: labels_of(horizon, s) for s in series}
    shapes = {s: (len(probability), len(labels)) for s, labels in index.items()}
    return ScenarioSet(
        names=tuple(f"s{i}" for i in range(len(probability))),
        probability=np.array(probability),
        values={
            s: (np.arange(np.prod(shapes[s])) * SERIES[s].high / 20_000).reshape(shapes[s])
            for s in series
        },
        index=index,
        provenance={"source": "test"},
    )


def changed(base: ScenarioSet, series: str, values: Array) -> ScenarioSet:
    return ScenarioSet(
        base.names, base.probability, {**base.values, series: values}, base.index, {}
    )


# ----------------------------------------------------------------------------- the set


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ((0.5, -0.5, 1.0), "'s1' is -0.5"),
        ((0.5, 0.49), "sum to 0.99"),
        ((0.5, 0.5 + 2e-9), "sum to 1.000000002"),
        ((float("nan"), 1.0), "nan"),
        ((float("inf"), 1.0), "inf"),
        ((0.0, 0.0), "sum to 0.0"),
    ],
)
def test_unusable_probabilities_are_refused_with_the_number(
    weights: tuple[float, ...], said: str
) -> None:
    with pytest.raises(ScenarioError, match=said.replace(".", r"\.")):
        some_set(probability=weights)


def test_a_sum_within_the_tolerance_is_accepted_as_it_is() -> None:
    assert some_set(probability=(0.5, 0.5 + 5e-10)).probability[1] == 0.5 + 5e-10


def test_one_scenario_is_a_set() -> None:
    assert len(some_set(probability=(1.0,))) == 1


def test_zero_weight_scenarios_are_dropped_and_counted() -> None:
    found = some_set(probability=(0.0, 0.4, 0.0, 0.6))
    assert found.names == ("s1", "s3")
    assert found.provenance["dropped_zero_weight"] == "2"
    assert found.values["fcr_eur_mw"][0, 0] == 6.0
    assert found.permuted([1, 0]).provenance["dropped_zero_weight"] == "2"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any))
def test_any_non_negative_weights_scaled_to_one_are_accepted(weights: list[int]) -> None:
    probability = tuple(w / sum(weights) for w in weights)
    found = some_set(probability=probability, series=("fcr_eur_mw",))
    assert len(found) == sum(w > 0 for w in weights)
    assert abs(found.probability.sum() - 1) <= 1e-9
    assert int(found.provenance.get("dropped_zero_weight", "0")) == sum(w == 0 for w in weights)


def test_an_unknown_series_is_refused_with_the_near_miss() -> None:
    with pytest.raises(ScenarioError, match=r"'day_ahead_eur_mw'. Did you mean day_ahead_eur_mwh"):
        some = some_set()
        ScenarioSet(
            some.names,
            some.probability,
            {"day_ahead_eur_mw": some.values["day_ahead_eur_mwh"]},
            {"day_ahead_eur_mw": some.index["day_ahead_eur_mwh"]},
        )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused_with_scenario_and_time(bad: float) -> None:
    base = some_set()
    values = base.values["intraday_eur_mwh"].copy()
    values[1, 3] = bad
    with pytest.raises(
        ScenarioError, match=r"intraday_eur_mwh of scenario 's1'.*2024-06-25T22:45Z"
    ):
        changed(base, "intraday_eur_mwh", values)


@pytest.mark.parametrize("series", SERIES)
def test_values_beyond_the_limits_are_refused_and_at_the_limits_accepted(series: str) -> None:
    spec = SERIES[series]
    base = some_set(series=(series,))
    at = np.full_like(base.values[series], spec.low)
    at[1] = spec.high
    assert changed(base, series, at).values[series].min() == spec.low
    for beyond in (spec.low - 1e-6, spec.high + 1e-6):
        at[0, 0] = beyond
        with pytest.raises(ScenarioError, match=r"Check the unit and the sign"):
            changed(base, series, at)


def test_the_limits_are_those_of_the_market_data() -> None:
    for series, (stem, column) in MARKET_COLUMN.items():
        market = MARKET_SERIES[stem].column(column)
        assert (SERIES[series].low, SERIES[series].high) == (market.low, market.high)
        assert SERIES[series].unit == market.unit


@pytest.mark.parametrize("shape", [(2, 95), (1, 96), (96, 2), (192,)])
def test_a_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    base = some_set()
    with pytest.raises(ScenarioError, match=r"expected \(2, 96\)"):
        changed(base, "intraday_eur_mwh", np.zeros(shape))


def test_ragged_or_textual_values_are_refused() -> None:
    base = some_set()
    with pytest.raises(ScenarioError, match="rectangular"):
        changed(base, "fcr_eur_mw", np.array([["a"] * 6] * 2))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda i: i.tz_localize(None), "no time zone"),
        (lambda i: i[::-1], "strictly increase"),
        (lambda i: i[:-1].append(i[-2:-1]), "strictly increase"),
        (lambda i: i[:-1].append(pd.DatetimeIndex([pd.NaT], tz="UTC")), "missing time"),
        (lambda i: list(i), "not a DatetimeIndex"),
    ],
)
def test_labels_that_do_not_say_when_are_refused(spoil: object, said: str) -> None:
    base = some_set()
    index = {**base.index, "fcr_eur_mw": spoil(base.index["fcr_eur_mw"])}  # type: ignore[operator]
    with pytest.raises(ScenarioError, match=said):
        ScenarioSet(base.names, base.probability, base.values, index)


def test_local_labels_are_the_same_instants_in_utc() -> None:
    base = some_set()
    local = {s: i.tz_convert(BERLIN).as_unit("ns") for s, i in base.index.items()}
    again = ScenarioSet(base.names, base.probability, base.values, local)
    assert again.sha256 == base.sha256
    assert str(again.index["fcr_eur_mw"].tz) == "UTC"


def test_names_must_be_unique_text_on_one_line() -> None:
    base = some_set()
    for names in (("a", "a"), ("a", ""), ("a", "b\nc")):
        with pytest.raises(ScenarioError, match="name"):
            ScenarioSet(names, base.probability, base.values, base.index)


def test_a_set_cannot_be_changed_afterwards_not_even_through_its_sources() -> None:
    weight = np.array([0.5, 0.5])
    base = some_set(series=("fcr_eur_mw",))
    raw = np.ones((2, 6))
    made = ScenarioSet(base.names, weight, {"fcr_eur_mw": raw}, base.index)
    before = made.sha256
    raw[:] = 7.0
    weight[:] = 0.0
    assert made.values["fcr_eur_mw"].max() == 1.0
    assert made.probability.sum() == 1.0
    assert ScenarioSet(made.names, made.probability, made.values, made.index).sha256 == before
    with pytest.raises(ValueError, match="read-only"):
        made.values["fcr_eur_mw"][0, 0] = 2.0


def test_the_hash_sees_every_part_but_the_provenance() -> None:
    base = some_set()
    nudged = base.values["fcr_eur_mw"].copy()
    nudged[1, 5] = np.nextafter(nudged[1, 5], np.inf)
    others = [
        changed(base, "fcr_eur_mw", nudged),
        base.permuted([1, 0]),
        some_set(probability=(0.75, 0.25)),
        some_set(day(date(2024, 6, 27))),
        some_set(series=SOME[:3]),
    ]
    assert len({base.sha256, *(o.sha256 for o in others)}) == 6
    quiet = ScenarioSet(base.names, base.probability, base.values, base.index)
    assert quiet.sha256 == base.sha256
    backwards = ScenarioSet(
        base.names,
        base.probability,
        dict(reversed(base.values.items())),
        dict(reversed(base.index.items())),
    )
    assert backwards.sha256 == base.sha256


def test_select_takes_scenarios_by_name_and_scales_their_weights() -> None:
    base = some_set(probability=(0.2, 0.3, 0.5))
    found = base.select(["s2", "s0"])
    assert found.names == ("s2", "s0")
    np.testing.assert_allclose(found.probability, [5 / 7, 2 / 7])
    assert found.values["fcr_eur_mw"][0, 0] == base.values["fcr_eur_mw"][2, 0]
    with pytest.raises(ScenarioError, match=r"no scenario 's7'"):
        base.select(["s7"])
    with pytest.raises(ScenarioError, match="got none"):
        base.select([])


def test_the_mean_is_weighted_and_does_not_depend_on_the_order() -> None:
    base = some_set(probability=(0.2, 0.3, 0.5))
    mean = base.mean()
    assert mean.names == ("mean",)
    by_hand = base.probability @ base.values["intraday_eur_mwh"]
    np.testing.assert_allclose(mean.values["intraday_eur_mwh"][0], by_hand)
    assert base.permuted([2, 0, 1]).mean().sha256 == mean.sha256
    limit = changed(base, "fcr_eur_mw", np.full((3, 6), SERIES["fcr_eur_mw"].high))
    assert limit.mean().values["fcr_eur_mw"].max() == SERIES["fcr_eur_mw"].high


def test_permuting_there_and_back_changes_nothing() -> None:
    base = some_set(probability=(0.2, 0.3, 0.5))
    assert base.permuted([2, 0, 1]).permuted([1, 2, 0]).sha256 == base.sha256
    for order in ([0, 1], [0, 1, 1], [1, 2, 3]):
        with pytest.raises(ScenarioError, match="permutation"):
            base.permuted(order)


@pytest.mark.parametrize("first", [ORDINARY, SHORT, LONG])
@pytest.mark.parametrize("zone", [BERLIN, "Europe/Vienna", "Europe/Zurich"])
def test_a_set_of_the_horizon_fits_also_on_clock_changes(first: date, zone: str) -> None:
    horizon = day(first, timezone=zone)
    assert some_set(horizon).for_horizon(horizon, SOME) is not None


@pytest.mark.parametrize(
    ("made_for", "asked_for", "said"),
    [
        (day(n_days=2), day(), r"96 extra \(2024-06-26T22:00Z to 2024-06-27T21:45Z\)"),
        (day(), day(n_days=2), r"96 missing \(first 2024-06-26T22:00Z\)"),
        (day(), day(date(2024, 6, 27)), r"96 missing .*96 extra"),
        (day(), day(timezone="UTC"), r"8 missing"),
    ],
)
def test_labels_are_matched_by_value_and_never_by_position(
    made_for: Horizon, asked_for: Horizon, said: str
) -> None:
    with pytest.raises(ScenarioError, match=said):
        some_set(made_for, series=("intraday_eur_mwh",)).for_horizon(
            asked_for, ["intraday_eur_mwh"]
        )


def test_hourly_day_ahead_scenarios_do_not_fit_a_quarter_hourly_auction() -> None:
    horizon = Horizon(ORDINARY, 1, BERLIN, 15, 15)
    with pytest.raises(ScenarioError, match="24 labels do not match the 96 day-ahead labels"):
        some_set().for_horizon(horizon, ["day_ahead_eur_mwh"])


def test_a_required_series_must_be_there() -> None:
    with pytest.raises(ScenarioError, match="lack afrr_up_eur_mw_h; they hold day_ahead_eur_mwh"):
        some_set().for_horizon(day(), ["afrr_up_eur_mw_h"])
    with pytest.raises(ScenarioError, match="Did you mean fcr_eur_mw"):
        some_set().for_horizon(day(), ["fcr_eur_mwh"])


# ----------------------------------------------------------------------------- the file


def long_frame(scenarios: ScenarioSet) -> pd.DataFrame:
    """What someone with pandas and no stochbess would write."""
    rows = [
        (name, scenarios.probability[s], series, label, scenarios.values[series][s, t])
        for s, name in enumerate(scenarios.names)
        for series in scenarios.series
        for t, label in enumerate(scenarios.index[series])
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def saved(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_parquet(path)
    return path


@pytest.mark.parametrize("first", [ORDINARY, SHORT, LONG])
def test_a_set_survives_its_file_bit_by_bit(first: date, tmp_path: Path) -> None:
    base = some_set(day(first), probability=(1 / 3, 1 / 7, 1 - 1 / 3 - 1 / 7))
    write_scenarios(base, tmp_path / "a.parquet")
    write_scenarios(base, tmp_path / "b.parquet")
    again = read_scenarios(tmp_path / "a.parquet")
    assert again.sha256 == base.sha256
    assert again.provenance == base.provenance
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_a_file_written_with_pandas_is_read_whatever_the_order_of_rows_and_columns(
    tmp_path: Path,
) -> None:
    base = some_set()
    frame = long_frame(base)
    frame["delivery_start_utc"] = frame["delivery_start_utc"].dt.tz_convert(BERLIN)
    order = np.random.default_rng(1).permutation(len(frame))
    order = order[np.argsort(frame["scenario"].to_numpy()[order] != "s0", kind="stable")]
    shuffled = frame.iloc[order][list(reversed(COLUMNS))]
    found = read_scenarios(saved(shuffled, tmp_path / "x.parquet"))
    assert found.sha256 == base.sha256
    assert found.provenance == {"source": "file without provenance"}
    frame["scenario"] = frame["scenario"].astype("category")
    assert read_scenarios(saved(frame, tmp_path / "y.parquet")).sha256 == base.sha256


def test_a_zero_weight_scenario_of_a_file_is_dropped_and_counted(tmp_path: Path) -> None:
    frame = long_frame(some_set())
    frame["probability"] = np.where(frame["scenario"] == "s0", 0.0, 1.0)
    found = read_scenarios(saved(frame, tmp_path / "x.parquet"))
    assert (found.names, found.provenance["dropped_zero_weight"]) == (("s1",), "1")


def spoiled(frame: pd.DataFrame, how: str) -> pd.DataFrame:
    where = (frame["scenario"] == "s1") & (frame["series"] == "fcr_eur_mw")
    at = frame.index[where][2]
    match how:
        case "column missing":
            return frame.drop(columns="probability")
        case "column renamed":
            return frame.rename(columns={"value": "price"})
        case "column extra":
            return frame.assign(unit="EUR/kWh")
        case "naive":
            naive = frame["delivery_start_utc"].dt.tz_localize(None)
            return frame.assign(delivery_start_utc=naive)
        case "time as text":
            return frame.assign(delivery_start_utc=frame["delivery_start_utc"].astype(str))
        case "probability differs":
            frame.loc[at, "probability"] = 0.74
        case "label lacking":
            return pd.DataFrame(frame.drop(index=at))
        case "series lacking in one scenario":
            return frame.loc[~where]
        case "duplicate":
            return pd.concat([frame, frame.loc[[at]]], ignore_index=True)
        case "empty cell":
            frame["value"] = frame["value"].astype("Float64")
            frame.loc[at, "value"] = pd.NA
        case "nan":
            frame.loc[at, "value"] = np.nan
        case "value as text":
            return frame.assign(value=frame["value"].astype(str))
        case "unknown series":
            frame.loc[where, "series"] = "fcr_eur_mwh"
        case "no rows":
            return frame.iloc[:0]
    return frame


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("column missing", r"missing: probability; extra: none"),
        ("column renamed", r"missing: value; extra: price"),
        ("column extra", r"extra: unit"),
        ("naive", r"delivery_start_utc is of type timestamp.*Naive times are refused"),
        ("time as text", r"delivery_start_utc is of type.*string"),
        ("probability differs", r"'s1' has the probabilities 0.75 and 0.74"),
        ("label lacking", r"fcr_eur_mw of scenario 's1' has no row at 2024-06-26T06:00Z"),
        ("series lacking in one scenario", r"fcr_eur_mw of scenario 's1' has no row"),
        ("duplicate", r"fcr_eur_mw of scenario 's1' has 2 rows at 2024-06-26T06:00Z"),
        ("empty cell", r"column value has 1 empty cells"),
        ("nan", r"empty cells|finite"),
        ("value as text", r"column value is of type.*expected double"),
        ("unknown series", r"Did you mean fcr_eur_mw"),
        ("no rows", r"empty|no rows|of type null"),
    ],
)
def test_a_spoiled_file_is_refused_and_the_message_says_where(
    how: str, said: str, tmp_path: Path
) -> None:
    path = saved(spoiled(long_frame(some_set()), how), tmp_path / "x.parquet")
    with pytest.raises(ScenarioError, match=said):
        read_scenarios(path)


class Payload:
    """Writes a file when unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.canary,)


def test_a_pickle_is_refused_without_being_opened(tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "x.parquet"
    path.write_bytes(pickle.dumps(Payload(canary)))
    with pytest.raises(ScenarioError, match="pickle, which is never opened"):
        read_scenarios(path)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["s.csv", "s", "s.parquet.csv"])
def test_a_name_of_another_format_is_not_written_to(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScenarioError, match=r"expected \.parquet or \.pq.*Name it"):
        write_scenarios(some_set(), tmp_path / name)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["missing.parquet", "nul\0.parquet", "."])
def test_a_file_that_is_not_there_is_told_with_the_command_that_writes_one(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ScenarioError, match=r"cannot be read.*stochbess scenarios generate"):
        read_scenarios(tmp_path / name)


@pytest.mark.parametrize("kept", [0, 3, 4, 200, 0.5, 0.99])
def test_a_truncated_file_is_refused(kept: float, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_scenarios(some_set(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(ScenarioError, match=r"truncated|not a Parquet"):
        read_scenarios(path)


def test_a_flipped_byte_is_harmless_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_scenarios(some_set(series=("fcr_eur_mw",)), path)
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    refused = 0
    intact = read_scenarios(path).sha256
    for at in rng.integers(0, len(whole), 64):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            assert read_scenarios(path).sha256 == intact
        except ScenarioError:
            refused += 1
    assert refused >= 16


def test_foreign_and_absent_files_are_refused_with_the_path(tmp_path: Path) -> None:
    for content in (b"", b"scenario,probability\n", b"PK\x03\x04"):
        (tmp_path / "x.parquet").write_bytes(content)
        with pytest.raises(ScenarioError, match=r"x\.parquet is not a Parquet file"):
            read_scenarios(tmp_path / "x.parquet")
    with pytest.raises(ScenarioError, match="cannot be read"):
        read_scenarios(tmp_path / "absent.parquet")
    with pytest.raises(ScenarioError, match="cannot be read"):
        read_scenarios(tmp_path)


def test_a_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_scenarios(some_set(), path)
    table = pq.read_table(path).replace_schema_metadata(
        {"stochbess.format": "stochbess-scenarios-9"}
    )
    pq.write_table(table, path)
    with pytest.raises(ScenarioError, match="'stochbess-scenarios-9'"):
        read_scenarios(path)


def test_a_file_that_cannot_be_replaced_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.parquet"
    write_scenarios(some_set(), path)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(ScenarioError, match="No space left"):
        write_scenarios(some_set(probability=(1.0,)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ScenarioError, match="cannot be written"):
        write_scenarios(some_set(), tmp_path / "no" / "such" / "x.parquet")


def test_the_file_holds_the_documented_columns_and_types(tmp_path: Path) -> None:
    write_scenarios(some_set(), tmp_path / "x.parquet")
    schema = pq.read_schema(tmp_path / "x.parquet")
    assert tuple(schema.names) == COLUMNS
    assert schema.field("delivery_start_utc").type == pa.timestamp("us", tz="UTC")
    documented = (Path(__file__).parents[1] / "docs" / "scenarios.md").read_text("utf-8")
    for series, spec in SERIES.items():
        assert f"| `{series}` | {spec.unit} |" in documented
    for column in COLUMNS:
        assert f"| `{column}` |" in documented


# ----------------------------------------------------------------------------- realised


def tiny_market(first: date, n_days: int, stems: tuple[str, ...], **marks: bool) -> MarketData:
    """Complete series that count up from 10 in steps of 0.01."""
    horizon = day(first, n_days)
    blocks, hours = horizon.block_starts, horizon.day_ahead_steps
    indices = {"fcr_capacity": blocks, "afrr_capacity": blocks, "day_ahead": hours}
    series = {}
    for stem in stems:
        index = indices.get(stem, horizon.steps)
        counted = 10 + 0.01 * np.arange(len(index))
        frame = pd.DataFrame({c: counted for c in MARKET_SERIES[stem].column_names}, index=index)
        meta = SeriesMeta("test", MARKET_SERIES[stem].unit, "made up", "delivery end")
        series[stem] = build_series(stem, frame, meta, BERLIN)
    return MarketData("XX", BERLIN, marks.get("synthetic", False), "0" * 64, series)


@pytest.mark.parametrize(
    ("first", "quarter_hours"), [(ORDINARY, 96), (date(2024, 3, 31), 92), (date(2024, 10, 27), 100)]
)
def test_the_realised_scenario_is_the_market_and_says_that_it_is_foresight(
    first: date, quarter_hours: int
) -> None:
    market = tiny_market(first, 2, ("day_ahead", "intraday_auction", "fcr_capacity"))
    found = realised_scenario(market, day(first), SOME[:3])
    assert found.names == (f"realised-{first}",)
    assert "perfect" in found.provenance["foresight"]
    assert found.values["intraday_eur_mwh"].shape == (1, quarter_hours)
    np.testing.assert_array_equal(found.values["fcr_eur_mw"][0], 10 + 0.01 * np.arange(6))
    assert found.for_horizon(day(first), SOME[:3]) is found


def test_a_missing_value_is_named_with_series_and_time() -> None:
    market = tiny_market(ORDINARY, 1, ("day_ahead", "intraday_auction"))
    with pytest.raises(DataError, match=r"intraday_eur_mwh .*96 of 192.*2024-06-26T22:00Z"):
        realised_scenario(market, day(n_days=2), ["intraday_eur_mwh"])
    with pytest.raises(DataError, match="no fcr_capacity, which fcr_eur_mw needs"):
        realised_scenario(market, day(), ["fcr_eur_mw"])
    with pytest.raises(DataError, match="no activated aFRR volumes"):
        realised_scenario(market, day(), ["activation_up_mw"])
    with pytest.raises(DataError, match="fcr_activation_frac cannot be taken"):
        realised_scenario(market, day(), ["fcr_activation_frac"])
    with pytest.raises(DataError, match="the horizon is in UTC"):
        realised_scenario(market, day(timezone="UTC"), ["day_ahead_eur_mwh"])


def test_hourly_prices_are_held_and_quarter_hours_averaged_and_both_are_said() -> None:
    market = tiny_market(ORDINARY, 1, ("day_ahead", "intraday_auction"))
    fine = realised_scenario(market, Horizon(ORDINARY, 1, BERLIN, 15, 15), ["day_ahead_eur_mwh"])
    np.testing.assert_array_equal(
        fine.values["day_ahead_eur_mwh"][0], np.repeat(10 + 0.01 * np.arange(24), 4)
    )
    assert "day_ahead_eur_mwh from 60 to 15 min" in fine.provenance["resampled"]
    coarse = realised_scenario(market, Horizon(ORDINARY, 1, BERLIN, 60, 60), ["intraday_eur_mwh"])
    np.testing.assert_allclose(coarse.values["intraday_eur_mwh"][0], 10.015 + 0.04 * np.arange(24))
    assert "intraday_eur_mwh from 15 to 60 min" in coarse.provenance["resampled"]


def test_borrowed_activation_is_of_the_same_day_and_labelled() -> None:
    market = tiny_market(ORDINARY, 1, ("day_ahead",))
    lender = tiny_market(date(2024, 6, 25), 3, ("day_ahead", "afrr_activation"))
    found = realised_scenario(market, day(), ["activation_up_mw"], activation_from=lender)
    np.testing.assert_array_equal(
        found.values["activation_up_mw"][0], 10 + 0.01 * (96 + np.arange(96))
    )
    assert found.provenance["activation"].startswith("fallback: observed volumes of XX")
    elsewhere = tiny_market(date(2023, 6, 1), 60, ("day_ahead", "afrr_activation"))
    with pytest.raises(DataError, match="activation_up_mw"):
        realised_scenario(market, day(), ["activation_up_mw"], activation_from=elsewhere)


def test_a_synthetic_market_lends_the_same_weekday_when_it_does_not_reach_the_day() -> None:
    market = tiny_market(ORDINARY, 1, ("day_ahead",))
    lender = tiny_market(date(2023, 1, 1), 365, ("day_ahead", "afrr_activation"), synthetic=True)
    found = realised_scenario(market, day(), ["activation_up_mw"], activation_from=lender)
    assert "moved by 364 days" in found.provenance["activation"]
    shifted = day(date(2023, 6, 28))
    assert shifted.first_day.weekday() == ORDINARY.weekday()
    expected = lender.column("afrr_activation", "up_mw").reindex(shifted.steps).to_numpy()
    np.testing.assert_array_equal(found.values["activation_up_mw"][0], expected)
