"""Thresholds for a wanted accuracy: the bound is Clopper-Pearson's, and the promise holds over repeated samples."""

import numpy as np
import pytest
from scipy.stats import binomtest

from experiments.statistics_simulation.simulation import random_taxonomy, random_world
from hjc.decision import back_off, fit_thresholds
from hjc.decision.thresholds import GRID, at_least, choose_threshold
from hjc.metrics import RowScores, score_batches


def choose(confidence, correct, target, delta):
    c, y = np.asarray(confidence), np.asarray(correct, dtype=bool)
    return choose_threshold(at_least(c), at_least(c[y]), target, delta)


def test_the_bound_at_the_choice_clears_the_target():
    rng = np.random.default_rng(0)
    c = rng.random(3000)
    y = rng.random(3000) < c
    threshold, stated, good = choose(c, y, 0.9, 0.05)
    assert stated == (c >= threshold).sum() and good == y[c >= threshold].sum()
    # two-sided 90 % = one-sided 95 %
    assert binomtest(good, stated).proportion_ci(0.90, "exact").low >= 0.9 and threshold in GRID
    assert choose(c, np.zeros(3000, dtype=bool), 0.9, 0.05) == (np.inf, 0, 0)
    assert choose(c[:5], y[:5], 0.9, 0.05)[0] == np.inf
    assert choose([], [], 0.9, 0.05)[0] == np.inf


@pytest.mark.parametrize("shape", ["calibrated", "plateau"])
def test_guarantee_over_repeated_validation_samples(shape):
    """P(true accuracy at the chosen threshold < target) <= delta, and the choice is not needlessly strict."""
    fine = np.linspace(0, 1, 20_001)
    accuracy_of = (lambda c: 0.5 + 0.5 * c) if shape == "calibrated" else (lambda c: np.where(c > 0.5, 0.9, 0.6))
    true = np.cumsum(accuracy_of(fine)[::-1])[::-1] / np.arange(len(fine), 0, -1)  # accuracy of rows at c or above
    target, delta, bad, chosen = 0.9, 0.1, 0, []
    for seed in range(600):
        rng = np.random.default_rng(seed)
        c = rng.random(400)
        y = rng.random(400) < accuracy_of(c)
        threshold, _, _ = choose(c, y, target, delta)
        if np.isfinite(threshold):
            bad += true[round(threshold * 20_000)] < target - 1e-9
            chosen.append(threshold)
    assert bad / 600 <= delta + 2 * np.sqrt(delta * (1 - delta) / 600)
    if shape == "calibrated":  # the threshold with exactly the target is 0.6
        assert len(chosen) > 200 and np.median(chosen) < 0.9


def test_a_point_estimate_would_break_the_promise():
    """The same worlds with the lowest threshold whose observed accuracy is the target: wrong in far more samples."""
    bad = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        c = rng.random(400)
        y = rng.random(400) < 0.5 + 0.5 * c
        order = np.argsort(-c)
        good = np.flatnonzero(np.cumsum(y[order]) / np.arange(1, 401) >= 0.9)
        bad += len(good) > 0 and c[order][good.max()] < 0.6
    assert bad / 200 > 0.3


def outcomes_of(taxonomy, world, n, seed):
    kind, gold = world.draw(n, np.random.default_rng(seed))
    return world.table[kind], gold, score_batches(taxonomy, world.table[kind], gold)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["level", "back_off"])
def test_thresholds_on_a_tree_keep_the_promise_on_new_rows(rule):
    taxonomy = random_taxonomy(21, depth=3, children=(2, 3), top=4)
    world = random_world(taxonomy, 5, sharpness=0.03, temperature=1.4)
    x, gold, _ = outcomes_of(taxonomy, world, 20_000, 999)
    test = score_batches(taxonomy, x, gold)
    bad = stated = 0
    for seed in range(40):
        _, _, valid = outcomes_of(taxonomy, world, 1500, seed)
        fit = fit_thresholds(taxonomy, valid, 0.85, confidence=0.9, rule=rule)
        if rule == "back_off":
            out = back_off(taxonomy, x, fit.thresholds)
            some = out.node >= 0
            right = (taxonomy.node_path[gold, taxonomy.level[out.node] - 1] == out.node)[some]
            bad += some.any() and right.mean() < 0.85
            stated += some.mean()
        else:
            some = test.confidence[:, -1] >= fit.thresholds.values[-1]
            bad += some.any() and test.correct[some, -1].mean() < 0.85
            stated += some.mean()
    assert bad <= 0.1 * 40 + 2 * np.sqrt(40 * 0.1 * 0.9)
    assert stated / 40 > 0.2


def test_groups_are_judged_on_their_own():
    taxonomy = random_taxonomy(1, depth=1, top=2, ragged=0)
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, 4000)
    confidence = np.full((4000, 1), 0.99)
    correct = (rng.random(4000) < np.where(group == 0, 0.99, 0.85))[:, None]
    outcomes = RowScores.empty(4000, 1)
    outcomes.valid[:], outcomes.rank[:], outcomes.top[:] = True, np.where(correct, 1, 2), group[:, None]
    outcomes.confidence[:] = confidence
    fit = fit_thresholds(taxonomy, outcomes, 0.9, by_group=True, simultaneous=True)
    good, bad = (taxonomy.codes[g] for g in (0, 1))
    assert fit.thresholds.by_group[good][0] < 1 and np.isinf(fit.thresholds.by_group[bad][0])
    assert np.isfinite(fit.thresholds.values[0])  # the average hides it
    assert set(fit.table.group) == {"", good, bad} and np.isnan(fit.table.threshold.iloc[-1])
    for line in fit.table.itertuples():
        stated = round(line.n * line.coded)
        if stated:
            want = (
                binomtest(round(stated * line.accuracy), stated).proportion_ci(0.95, "exact").low
            )  # 0.05 by two tests
            assert line.lower == pytest.approx(want)
    with pytest.raises(ValueError, match="target"):
        fit_thresholds(taxonomy, outcomes, 95)
    with pytest.raises(ValueError, match="rule"):
        fit_thresholds(taxonomy, outcomes, 0.9, rule="some")
