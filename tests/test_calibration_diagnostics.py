"""Calibration diagnostics against plain loops and against worlds whose error is known."""

import numpy as np
import pytest

from hjc.calibration import (
    brier_decomposition,
    calibration_table,
    classwise_ece,
    equal_mass_bins,
    expected_calibration_error,
    isotonic_top,
    reliability_table,
    top_outcomes,
)
from hjc.statistics.simulation import random_taxonomy, random_world


def test_equal_mass_bins_are_those_of_sorting():
    rng = np.random.default_rng(0)
    c, y = rng.random(1000), rng.random(1000) < 0.5
    b = equal_mass_bins(c, y, 10)
    order = np.argsort(c)
    np.testing.assert_allclose(b.share, 0.1)
    np.testing.assert_allclose(b.confidence, c[order].reshape(10, 100).mean(axis=1))
    np.testing.assert_allclose(b.accuracy, y[order].reshape(10, 100).mean(axis=1))
    ties = equal_mass_bins(np.array([0.5] * 90 + [0.9] * 10), np.ones(100), 10)
    assert len(ties.share) == 2 and ties.share.tolist() == [0.9, 0.1]


def test_debiased_ece_is_near_the_truth_where_the_raw_one_is_not():
    raw, fair, l2 = [], [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        c = rng.uniform(0.2, 1, 300)
        y = rng.random(300) < c
        raw.append(expected_calibration_error(c, y, debias=False))
        fair.append(expected_calibration_error(c, y))
        l2.append(expected_calibration_error(c, y, power=2))
    assert np.mean(fair) < 0.45 * np.mean(raw) and np.mean(raw) > 0.05
    assert np.mean(l2) < np.mean(raw)
    rng = np.random.default_rng(0)
    c = rng.uniform(0.5, 1, 20_000)
    y = rng.random(20_000) < c - 0.1
    assert abs(expected_calibration_error(c, y) - 0.1) < 0.015


def test_raw_ece_equals_a_loop():
    rng = np.random.default_rng(1)
    c, y, w = rng.random(200), rng.random(200) < 0.6, rng.uniform(0.5, 2, 200)
    b = equal_mass_bins(c, y, 7, w)
    total = 0.0
    for k in range(len(b.share)):
        m = b.member == k
        total += w[m].sum() / w.sum() * abs(np.average(y[m], weights=w[m]) - np.average(c[m], weights=w[m]))
    assert expected_calibration_error(c, y, bins=7, weights=w, debias=False) == pytest.approx(total)


def test_brier_parts_add_up_exactly():
    rng = np.random.default_rng(2)
    c, w = rng.random(500), rng.uniform(0, 3, 500)
    y = rng.random(500) < c**2
    p = brier_decomposition(c, y, weights=w)
    assert p.brier == pytest.approx(
        p.reliability - p.resolution + p.uncertainty + p.within_variance - p.within_covariance
    )
    assert p.brier == pytest.approx(np.average((c - y) ** 2, weights=w))


def test_outcomes_and_tables_of_every_level():
    taxonomy = random_taxonomy(6)
    world = random_world(taxonomy, 0, temperature=3.0, sharpness=0.5)
    kind, gold = world.draw(20_000, np.random.default_rng(0))
    gold[0], gold[1] = -1, taxonomy.parents[taxonomy.leaves[-1]]
    x = world.table[kind]
    outcomes = top_outcomes(taxonomy, iter([x[:1000], x[1000:]]), gold)
    for d in range(1, taxonomy.depth + 1):
        p = np.exp(taxonomy.aggregate(x, d))
        np.testing.assert_allclose(outcomes.confidence[:, d - 1], p.max(axis=1))
        known = taxonomy.level_column[gold, d - 1] >= 0
        known[0] = False
        np.testing.assert_array_equal(outcomes.known[:, d - 1], known)
        np.testing.assert_array_equal(
            outcomes.correct[known, d - 1], p.argmax(axis=1)[known] == taxonomy.level_column[gold[known], d - 1]
        )
    table = calibration_table(taxonomy, outcomes)
    assert table.level.tolist() == list(range(1, taxonomy.depth + 1)) and (table.ece <= table.ece_raw).all()
    assert (table.confidence > table.accuracy).all()  # it was made overconfident
    exact = top_outcomes(taxonomy, np.log(world.posterior[kind] + 1e-9), gold)
    assert (calibration_table(taxonomy, exact).ece < 0.02).all() and (table.ece > 0.03).all()
    curve = reliability_table(taxonomy, outcomes)
    assert (curve.low <= curve.accuracy).all() and (curve.accuracy <= curve.high).all()


def test_classwise_ece_sees_a_leaning_class():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([2, 2, 2], 20_000)
    y = (rng.random(20_000)[:, None] > np.cumsum(p, axis=1)).sum(axis=1)
    fair = classwise_ece(np.log(p), y)
    lean = p * [2.0, 1, 1]
    table = classwise_ece(np.log(lean / lean.sum(axis=1, keepdims=True)), y)
    assert (fair.ece < 0.012).all() and table.ece[0] > 0.1
    np.testing.assert_allclose(fair.share, np.bincount(y) / 20_000)


def test_isotonic_is_monotone_and_never_worse_in_sample():
    rng = np.random.default_rng(0)
    c = rng.random(3000)
    y = rng.random(3000) < c**3
    found = isotonic_top(c, y)
    assert found.gain > 0.03 and (np.diff(found(np.linspace(0, 1, 50))) >= 0).all()
    assert abs(found(0.5) - 0.125) < 0.07
