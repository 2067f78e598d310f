"""Calibrators: coherent, equal to a plain second formulation, never worse, found back when the truth is known."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from experiments.statistics_simulation.simulation import random_taxonomy, random_world
from hjc.calibration import (
    KINDS,
    Calibrator,
    Chain,
    ConditionalTemperature,
    Identity,
    Temperature,
    VectorScaling,
    fit_calibrator,
    summarise,
)
from hjc.calibration.conditionals import log_softmax, segment_logsumexp
from hjc.calibration.fit import candidates_of, fit_kind, fit_vector, row_losses, tabulated

trees = st.builds(
    random_taxonomy, st.integers(0, 10_000), depth=st.integers(1, 4), top=st.integers(1, 4), ragged=st.floats(0, 0.6)
)


def random_log_proba(taxonomy, seed, rows=5, scale=3.0, dtype=np.float64):
    return log_softmax(np.random.default_rng(seed).normal(size=(rows, taxonomy.num_leaves)) * scale).astype(dtype)


def some_calibrators(taxonomy, rng):
    level = int(rng.integers(1, taxonomy.depth + 1))
    k = len(taxonomy.level_nodes(level))
    return [
        Identity(taxonomy),
        Temperature(taxonomy, 1.7),
        ConditionalTemperature(taxonomy, rng.uniform(0.3, 3, taxonomy.depth)),
        ConditionalTemperature(taxonomy, rng.uniform(0.3, 3, len(taxonomy.group_slice)), per="group"),
        VectorScaling(taxonomy, level, rng.uniform(0.5, 2, k), rng.normal(size=k)),
        Chain(taxonomy, [Temperature(taxonomy, 0.8), ConditionalTemperature(taxonomy, np.full(taxonomy.depth, 1.4))]),
    ]


@settings(max_examples=40, deadline=None)
@given(trees, st.integers(0, 10_000))
def test_rows_stay_normalised_and_json_brings_back_the_same(taxonomy, seed):
    rng = np.random.default_rng(seed)
    x = random_log_proba(taxonomy, seed, dtype=np.float32)
    for calibrator in some_calibrators(taxonomy, rng):
        y = calibrator.transform(x)
        assert y.dtype == np.float32 and y.shape == x.shape
        np.testing.assert_allclose(np.exp(y.astype(float)).sum(axis=1), 1, atol=1e-5)
        again = Calibrator.from_dict(taxonomy, json.loads(json.dumps(calibrator.to_dict())))
        np.testing.assert_array_equal(again.transform(x), y)


@settings(max_examples=30, deadline=None)
@given(trees, st.integers(0, 10_000))
def test_conditional_temperature_equals_plain_recursion(taxonomy, seed):
    rng = np.random.default_rng(seed)
    x = random_log_proba(taxonomy, seed)
    groups = rng.uniform(0.3, 3, len(taxonomy.group_slice))
    got = np.exp(ConditionalTemperature(taxonomy, groups, per="group").transform(x))
    p = np.exp(taxonomy.node_log_proba(x))
    want = np.zeros_like(p)
    for node, parent in enumerate(taxonomy.parents.tolist()):
        siblings = np.flatnonzero(taxonomy.parents == parent)
        above = p[:, parent] if parent >= 0 else np.ones(len(p))
        powered = (p[:, siblings] / above[:, None]) ** (1 / groups[taxonomy.group[node]])
        conditional = powered[:, list(siblings).index(node)] / powered.sum(axis=1)
        want[:, node] = conditional * (want[:, parent] if parent >= 0 else 1)
    np.testing.assert_allclose(got, want[:, taxonomy.leaves], rtol=1e-9)


def test_temperature_one_and_no_bias_change_nothing():
    taxonomy = random_taxonomy(3)
    x = random_log_proba(taxonomy, 1)
    k = len(taxonomy.level_nodes(2))
    for c in (
        Temperature(taxonomy, 1.0),
        ConditionalTemperature(taxonomy, np.ones(taxonomy.depth)),
        VectorScaling(taxonomy, 2, np.ones(k), np.zeros(k)),
    ):
        np.testing.assert_allclose(c.transform(x), x, atol=1e-12)


def test_impossible_leaves_stay_impossible_without_nan():
    taxonomy = random_taxonomy(5, ragged=0.0, children=(2, 3))
    x = random_log_proba(taxonomy, 2)
    start, stop = taxonomy.leaf_slice[0]
    x[:, start:stop] = -np.inf  # a whole major group
    x = log_softmax(x)
    for calibrator in some_calibrators(taxonomy, np.random.default_rng(0)):
        y = calibrator.transform(x)
        assert not np.isnan(y).any() and (y[:, start:stop] == -np.inf).all()
        np.testing.assert_allclose(np.exp(y).sum(axis=1), 1)


@settings(max_examples=25, deadline=None)
@given(trees, st.integers(0, 10_000))
def test_losses_from_the_summary_equal_losses_of_transformed_rows(taxonomy, seed):
    """Fitting sees a compact summary; the second formulation transforms the rows and reads gold's probability."""
    rng = np.random.default_rng(seed)
    x = random_log_proba(taxonomy, seed, rows=30, scale=2)
    gold = rng.integers(0, len(taxonomy), 30)  # inner nodes among them
    data = summarise(taxonomy, x, gold, folds=3)
    for kind, ridge in candidates_of(KINDS):
        fitted = fit_kind(data, np.ones(30, dtype=bool), tabulated(data), kind, ridge)
        plain = -taxonomy.node_log_proba(fitted.transform(x))[np.arange(30), gold]
        np.testing.assert_allclose(row_losses(data, fitted, np.arange(30)), plain, atol=2e-4, err_msg=kind)


def test_temperature_is_the_minimum_found_by_scipy():
    taxonomy = random_taxonomy(8)
    x = random_log_proba(taxonomy, 4, rows=400, scale=2.5)
    gold = taxonomy.leaves[(x / 2 + np.random.default_rng(2).gumbel(size=x.shape)).argmax(1)]
    rows = np.arange(400)
    best = minimize_scalar(
        lambda t: -taxonomy.node_log_proba(Temperature(taxonomy, np.exp(t)).transform(x))[rows, gold].mean(),
        bounds=(-2, 2), method="bounded",
    )  # fmt: skip
    fit = fit_calibrator(taxonomy, x, gold, kinds=("temperature",))
    assert fit.kind == "temperature"
    assert abs(np.log(fit.calibrator.temperature) - best.x) < 0.005
    assert fit.table.loc[fit.table.chosen, "log_loss"].iloc[0] <= fit.table.log_loss.iloc[0]


def test_distortions_are_found_back():
    """An overconfident classifier: temperature near the one that was put in, loss near the best possible."""
    taxonomy = random_taxonomy(11, depth=3, children=(2, 4), top=4)
    world = random_world(taxonomy, 1, sharpness=0.3, temperature=2.5)
    kind, gold = world.draw(4000, np.random.default_rng(0))
    fit = fit_calibrator(taxonomy, world.table[kind], gold, kinds=("temperature", "level_temperature"))
    assert fit.kind == "temperature" and abs(fit.calibrator.temperature - 2.5) < 0.2
    kind, gold = world.draw(4000, np.random.default_rng(1))
    rows = np.arange(4000)
    best = -taxonomy.node_log_proba(np.log(world.posterior[kind] + 1e-12))[rows, gold].mean()
    after = -taxonomy.node_log_proba(fit.calibrator.transform(world.table[kind]))[rows, gold].mean()
    before = -taxonomy.node_log_proba(world.table[kind])[rows, gold].mean()
    assert after < before - 0.05 and after < best + 0.01


def test_biased_codes_want_vector_scaling_and_calibrated_ones_want_nothing():
    taxonomy = random_taxonomy(12, depth=2, children=(2, 3), top=6, ragged=0)
    world = random_world(taxonomy, 2, sharpness=0.5)
    kind, gold = world.draw(3000, np.random.default_rng(0))
    assert fit_calibrator(taxonomy, world.table[kind], gold).kind == "identity"
    lean = VectorScaling(taxonomy, 1, np.ones(6), np.linspace(-1.5, 1.5, 6))
    fit = fit_calibrator(taxonomy, lean.transform(world.table[kind]), gold, level=1)
    assert fit.kind == "vector" and fit.table.chosen.sum() == 1
    bias = fit.calibrator.steps[1].bias
    assert np.corrcoef(bias, np.linspace(1.5, -1.5, 6))[0, 1] > 0.95


def test_vector_gradient_is_the_derivative():
    rng = np.random.default_rng(0)
    x = log_softmax(rng.normal(size=(200, 5)) * 2)
    gold = (x * 0.7 + [0.5, 0, 0, 0, -0.5] + rng.gumbel(size=x.shape)).argmax(1)
    slope, bias = fit_vector(x, gold, np.ones(200), 1.0)

    def value(s, b):
        z = x * s + b
        lse = segment_logsumexp(z, [0])[:, 0]
        u = np.log(s) - np.log(s).mean()  # the penalty's best common slope is the mean of the logs
        return (lse - z[np.arange(200), gold]).sum() + 0.5 * (u @ u + b @ b)

    best = value(slope, bias)
    for k in range(5):
        for e in (-0.05, 0.05):
            assert value(slope * np.exp(e * (np.arange(5) == k)), bias) > best - 1e-3
            assert value(slope, bias + e * (np.arange(5) == k)) > best - 1e-3


def test_batches_in_any_order_give_the_same_fit_as_one_array():
    taxonomy = random_taxonomy(4)
    world = random_world(taxonomy, 3, temperature=1.8, sharpness=0.3)
    kind, gold = world.draw(300, np.random.default_rng(5))
    gold[::7] = -1
    x = world.table[kind].astype(np.float32)
    whole = fit_calibrator(taxonomy, x, gold)
    shuffled = np.random.default_rng(0).permutation(300)
    batches = ((shuffled[i : i + 37], x[shuffled[i : i + 37]]) for i in range(0, 300, 37))
    streamed = fit_calibrator(taxonomy, batches, gold)
    np.testing.assert_allclose(streamed.table.log_loss, whole.table.log_loss, rtol=1e-6)
    in_order = fit_calibrator(taxonomy, iter([x[:100], x[100:]]), gold)
    np.testing.assert_allclose(in_order.table.log_loss, whole.table.log_loss, rtol=1e-9)


def test_groups_share_a_fold_and_weights_count():
    taxonomy = random_taxonomy(4)
    x = random_log_proba(taxonomy, 0, rows=60)
    gold = taxonomy.leaves[np.random.default_rng(0).integers(0, taxonomy.num_leaves, 60)]
    groups = np.repeat(np.arange(20), 3)
    data = summarise(taxonomy, x, gold, groups=groups)
    assert all(len(set(data.fold[groups == g])) == 1 for g in range(20))
    twice = summarise(taxonomy, np.r_[x, x], np.r_[gold, gold], groups=np.r_[groups, groups])
    weighted = summarise(taxonomy, x, gold, weights=np.full(60, 2.0), groups=groups)
    for candidate in candidates_of(KINDS):
        fitted = [fit_kind(d, np.ones(len(d), dtype=bool), tabulated(d), *candidate) for d in (twice, weighted)]
        np.testing.assert_allclose(fitted[0].transform(x), fitted[1].transform(x), atol=1e-3)


def test_files_and_errors(tmp_path):
    taxonomy, other = random_taxonomy(1), random_taxonomy(2)
    state = Temperature(taxonomy, 1.25).to_dict()
    assert Calibrator.from_dict(taxonomy, state).temperature == 1.25
    with pytest.raises(ValueError, match="another tree"):
        Calibrator.from_dict(other, state)
    with pytest.raises(ValueError, match="format_version"):
        Calibrator.from_dict(taxonomy, {"kind": "temperature"})
    with pytest.raises(ValueError, match="allowed are"):
        Calibrator.from_dict(taxonomy, {**Identity(taxonomy).to_dict(), "kind": "pickle"})
    with pytest.raises(ValueError, match="temperature"):
        Temperature(taxonomy, 0.0)
    x = random_log_proba(taxonomy, 0)
    with pytest.raises(ValueError, match="nothing to calibrate"):
        fit_calibrator(taxonomy, x, np.full(5, -1))
    with pytest.raises(ValueError, match="rows"):
        fit_calibrator(taxonomy, x, np.zeros(6, dtype=int))
    with pytest.raises(ValueError, match="kinds"):
        fit_calibrator(taxonomy, x, np.zeros(5, dtype=int), kinds=("platt",))
    with pytest.raises(ValueError, match="NaN"):
        fit_calibrator(taxonomy, np.full_like(x, np.nan), np.zeros(5, dtype=int))


def test_a_handful_of_rows_is_left_alone():
    taxonomy = random_taxonomy(1)
    fit = fit_calibrator(taxonomy, random_log_proba(taxonomy, 0, rows=1), taxonomy.leaves[:1])
    assert fit.kind == "identity"
