"""Trees taken out of scikit-learn: the same values, plain arrays, damaged ones refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import threadpoolctl
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from stochbess.errors import DataError
from stochbess.rng import stream
from stochbess.scenario_gen.boosted_trees import (
    Array,
    TreeEnsemble,
    TreeSettings,
    exported,
    fit_trees,
)


def rows(n: int = 900) -> tuple[Array, Array]:
    """Features with gaps and a target that depends on two of them and on a gap."""
    rng = stream(3, "test.trees")
    x = rng.normal(size=(n, 4))
    x[rng.random((n, 4)) < 0.15] = np.nan
    y = np.where(np.isnan(x[:, 0]), 2.0, x[:, 0]) + np.nan_to_num(x[:, 1]) ** 2
    return x, y + 0.3 * rng.normal(size=n)


def unseen() -> Array:
    """Rows beyond the fitted range too, on limits of splits, and without any value."""
    x, _ = rows(300)
    return np.concatenate([x[::-1] * 3.0, np.full((1, 4), np.nan), np.zeros((1, 4))])


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "quantile"])
def test_exported_regression_trees_predict_what_scikit_learn_predicts(loss: str) -> None:
    x, y = rows()
    level = {"quantile": 0.8} if loss == "quantile" else {}
    model: Any = HistGradientBoostingRegressor(loss=loss, max_iter=25, random_state=1, **level)
    model.fit(x, y)
    trees = exported(model)
    for seen in (x, unseen()):
        assert np.array_equal(trees.raw(seen), model.predict(seen))


def test_exported_classification_trees_have_the_odds_and_probabilities_of_scikit_learn() -> None:
    x, y = rows()
    model: Any = HistGradientBoostingClassifier(max_iter=25, random_state=1).fit(x, y > 1)
    trees = exported(model)
    assert np.array_equal(trees.raw(unseen()), model.decision_function(unseen()))
    expected = model.predict_proba(unseen())[:, 1]
    assert trees.probability(unseen()) == pytest.approx(expected, abs=1e-15)


def test_a_row_is_walked_the_same_alone_and_among_many() -> None:
    x, y = rows()
    trees = fit_trees(x, y, "squared_error", TreeSettings(n_trees=7), seed=1)
    whole = trees.raw(x)
    assert np.array_equal(np.concatenate([trees.raw(x[i : i + 1]) for i in range(50)]), whole[:50])


def test_arrays_there_and_back_are_the_same_ensemble() -> None:
    x, y = rows()
    trees = fit_trees(x, y, "quantile", TreeSettings(n_trees=9), seed=1, quantile=0.3)
    stored = trees.to_arrays("up.")
    assert all(array.dtype in (np.float64, np.int64) for array in stored.values())
    back = TreeEnsemble.from_arrays({**stored, "other": np.zeros(1)}, "up.")
    assert np.array_equal(back.raw(unseen()), trees.raw(unseen()))


def test_equal_seeds_give_equal_bytes_and_features_are_sampled_by_the_seed() -> None:
    x, y = rows()
    settings = TreeSettings(n_trees=5, max_features_frac=0.5)
    values = [fit_trees(x, y, "squared_error", settings, s).to_arrays() for s in (1, 1, 2)]
    assert values[0]["value"].tobytes() == values[1]["value"].tobytes()
    assert values[0]["value"].tobytes() != values[2]["value"].tobytes()


def test_a_monotone_feature_never_lowers_the_output() -> None:
    x, y = rows()
    trees = fit_trees(x, y, "squared_error", TreeSettings(), 1, monotone=[1, 0, 0, 0])
    grid = np.zeros((50, 4))
    grid[:, 0] = np.linspace(-3, 3, 50)
    assert (np.diff(trees.raw(grid)) >= 0).all() and np.ptp(trees.raw(grid)) > 1


def test_rows_of_weight_zero_do_not_count() -> None:
    x, y = rows()
    y = np.where(np.arange(len(y)) % 2, y, -50.0)
    weight = (np.arange(len(y)) % 2).astype(float)
    trees = fit_trees(x, y, "squared_error", TreeSettings(), 1, weight)
    assert trees.raw(x).min() > -10


def test_a_column_without_any_value_changes_nothing() -> None:
    x, y = rows()
    plain = fit_trees(x, y, "squared_error", TreeSettings(n_trees=5), 1)
    empty = np.column_stack([x, np.full(len(x), np.nan)])
    wider = fit_trees(empty, y, "squared_error", TreeSettings(n_trees=5), 1)
    assert np.array_equal(wider.raw(empty), plain.raw(x))
    assert np.array_equal(wider.raw(np.column_stack([x, x[:, 0]])), plain.raw(x))


def test_equal_weights_split_like_no_weights() -> None:
    """Weighted rows are binned here; the limits that come back are those of the features."""
    x, y = rows()
    settings = TreeSettings(n_trees=8, min_leaf_rows=20, max_bins=40)
    weighted = fit_trees(x, y, "squared_error", settings, 1, np.ones(len(x)))
    plain = fit_trees(x, y, "squared_error", settings, 1)
    error = [float(((trees.raw(x) - y) ** 2).mean()) for trees in (weighted, plain)]
    assert error[0] == pytest.approx(error[1], rel=0.03)
    few = np.round(x)  # bins of single values: the limits lie between the same values
    both = [fit_trees(few, y, "squared_error", settings, 1, w) for w in (np.ones(len(x)), None)]
    assert both[0].raw(few) == pytest.approx(both[1].raw(few))
    assert both[0].threshold == pytest.approx(both[1].threshold)


def test_a_wrong_number_of_features_is_refused() -> None:
    x, y = rows()
    trees = fit_trees(x, y, "squared_error", TreeSettings(n_trees=2), 1)
    with pytest.raises(DataError, match="4 columns"):
        trees.raw(x[:, :3])


def test_one_class_alone_and_targets_of_another_length_are_refused() -> None:
    x, y = rows()
    with pytest.raises(DataError, match="both classes"):
        fit_trees(x, np.ones(len(x)), "log_loss", TreeSettings(), 1)
    with pytest.raises(DataError, match="one target per row"):
        fit_trees(x, y[:-1], "squared_error", TreeSettings(), 1)


def test_several_classes_and_categorical_splits_cannot_be_exported() -> None:
    x, y = rows()
    several: Any = HistGradientBoostingClassifier(max_iter=2).fit(x, np.digitize(y, [0, 2]))
    with pytest.raises(DataError, match="one model per class"):
        exported(several)
    codes = np.abs(np.nan_to_num(x) * 3).round()
    coded: Any = HistGradientBoostingRegressor(max_iter=9, categorical_features=[0, 1])
    with pytest.raises(DataError, match="categorical"):
        exported(coded.fit(codes, codes[:, 0] % 2))


def test_damaged_arrays_are_refused() -> None:
    x, y = rows()
    stored = fit_trees(x, y, "squared_error", TreeSettings(n_trees=3), 1).to_arrays()
    with pytest.raises(DataError, match="lack left"):
        TreeEnsemble.from_arrays({k: v for k, v in stored.items() if k != "left"})
    n = len(stored["left"])
    for name, broken in (
        ("left", np.zeros(n)),  # a circle: the walk would never end
        ("right", np.full(n, n)),
        ("feature", np.full(n, 4)),
        ("root", np.array([n])),
        ("value", np.full(n, np.nan)),
        ("threshold", stored["threshold"][:-1]),
    ):
        with pytest.raises(DataError, match="damaged"):
            TreeEnsemble.from_arrays({**stored, name: broken})


def test_a_fit_uses_one_thread_and_gives_the_pools_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes of two threads wait for each other: a small fit took 80 times as long."""
    seen: list[int] = []
    fit = HistGradientBoostingRegressor.fit

    def watched(self: Any, x: Any, y: Any, **more: Any) -> Any:
        seen.extend(pool["num_threads"] for pool in threadpoolctl.threadpool_info())
        return fit(self, x, y, **more)

    before = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    monkeypatch.setattr(HistGradientBoostingRegressor, "fit", watched)
    x = np.arange(60.0)[:, None]
    fit_trees(x, x[:, 0], "squared_error", TreeSettings(2, 0.1, 3, 5, 0.0, 1.0), 1)
    assert seen and set(seen) == {1}
    assert [pool["num_threads"] for pool in threadpoolctl.threadpool_info()] == before
