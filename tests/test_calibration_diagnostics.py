"""Calibration diagnostics against plain loops and against worlds whose error is known."""

import numpy as np
import pytest

from experiments.statistics_simulation.simulation import random_taxonomy, random_world
from hjc.calibration import brier_decomposition, calibration_table, isotonic_gain
from hjc.metrics import level_metrics, score_batches


def test_brier_parts_add_up_exactly():
    rng = np.random.default_rng(2)
    c, w = rng.random(500), rng.uniform(0, 3, 500)
    y = rng.random(500) < c**2
    p = brier_decomposition(c, y, weights=w)
    parts = p["reliability"] - p["resolution"] + p["uncertainty"] + p["within_variance"] - p["within_covariance"]
    assert p["top_brier"] == pytest.approx(parts)
    assert p["top_brier"] == pytest.approx(np.average((c - y) ** 2, weights=w))


def test_tables_of_every_level():
    taxonomy = random_taxonomy(6)
    world = random_world(taxonomy, 0, temperature=3.0, sharpness=0.5)
    kind, gold = world.draw(20_000, np.random.default_rng(0))
    gold[0], gold[1] = -1, taxonomy.parents[taxonomy.leaves[-1]]
    x = world.table[kind]
    scores = score_batches(taxonomy, iter([x[:1000], x[1000:]]), gold)
    for d in range(1, taxonomy.depth + 1):
        p = np.exp(taxonomy.aggregate(x, d))
        np.testing.assert_allclose(scores.confidence[:, d - 1], p.max(axis=1))
        known = taxonomy.level_column[gold, d - 1] >= 0
        known[0] = False
        np.testing.assert_array_equal(scores.valid[:, d - 1], known)
        right = p.argmax(axis=1) == taxonomy.level_column[gold, d - 1]
        np.testing.assert_array_equal(scores.correct[:, d - 1], right & known)
        c, y = scores.level(d)
        assert np.array_equal(c, scores.confidence[known, d - 1]) and np.array_equal(y, right[known])
    table = calibration_table(taxonomy, scores)
    assert table.level.tolist() == list(range(1, taxonomy.depth + 1))
    assert (table.ece <= table.ece_plain).all() and (table.ece_l2 >= table.ece - 0.01).all()
    assert (table.confidence > table.accuracy).all()  # it was made overconfident
    for line in table.itertuples():  # one word, one number
        found = level_metrics(scores, taxonomy, line.level)
        for name in ("log_loss", "ece", "ece_plain", "brier"):
            assert getattr(line, name) == found[name]
        assert line.top_brier < line.brier
    exact = score_batches(taxonomy, np.log(world.posterior[kind] + 1e-9), gold)
    assert (calibration_table(taxonomy, exact).ece < 0.02).all() and (table.ece > 0.03).all()


def test_isotonic_regression_gains_where_a_temperature_is_not_enough():
    rng = np.random.default_rng(0)
    c = rng.random(3000)
    assert isotonic_gain(c, rng.random(3000) < c**3) > 0.03
    assert 0 <= isotonic_gain(c, rng.random(3000) < c) < 0.005
