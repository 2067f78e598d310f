"""Change between two periods: covariance through shared labelled rows and through paired units, by simulation."""

import dataclasses

import numpy as np
import pytest

from experiments.statistics_simulation.simulation import random_taxonomy, random_world
from hjc.statistics import (
    CodeTotals,
    Confusion,
    change,
    correct_counts,
    em_prior_shift,
    node_sums,
)
from hjc.statistics.changes import INDEPENDENT, SAME_LABELS, SAME_UNITS, unit_variance

TREE = random_taxonomy(3, depth=2, children=(2, 3), top=3, ragged=0.0)
OLD = random_world(TREE, 2, kinds=400, sharpness=0.1, concentration=3.0)
NEW = OLD.with_prior(OLD.prior * np.exp(0.4 * np.random.default_rng(1).normal(size=len(OLD.prior))))
TRUTH = node_sums(TREE, NEW.leaf_share - OLD.leaf_share)


def paired_variance(values, weights, units):
    """Of the new and the old period: values (n, K), weights (n,) and the unit of each row."""
    z, period = np.concatenate(values), np.repeat([1, 0], [len(v) for v in values])
    unit = np.unique(np.concatenate(units), return_inverse=True)[1]
    return unit_variance(TREE, lambda rows: z[rows], np.concatenate(weights), unit, period, chunk=17)


def totals(table):
    out = CodeTotals(TREE)
    out.update(table)
    return out


def covered(found):
    low, high = found.interval()
    return (low <= TRUTH) & (high >= TRUTH)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["misclassification", "calibration", "em"])
def test_shared_labels_are_taken_into_account(method):
    """Few labelled rows, many coded ones: nearly all error is that of the labels, and it largely cancels."""
    inside, together, apart, errors = [], [], [], []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        kind, gold = OLD.draw(500, rng)
        made = []
        confusion = Confusion(TREE, 2)
        confusion.update(OLD.table[kind], gold)
        prior = np.exp(OLD.table[kind]).mean(axis=0)
        spread = np.exp(OLD.table[kind]).var(axis=0).sum()
        rows = 500 * (prior * (1 - prior)).sum() / spread
        for world in (OLD, NEW):
            x = OLD.table[world.draw(3000, rng)[0]]
            if method == "em":
                made.append(em_prior_shift(TREE, 2, x, prior, prior_rows=rows, tolerance=1e-6))
            else:
                made.append(correct_counts(totals(x).classify_and_count(), confusion, kind=method))
        found = change(made[1], made[0])
        assert found.how == SAME_LABELS
        alone = change(*[dataclasses.replace(m, shared=None) for m in made[::-1]])
        assert alone.how == INDEPENDENT
        inside.append(covered(found))
        together.append(found.se)
        apart.append(alone.se)
        errors.append(found.change - TRUTH)
    together, apart, spread = np.mean(together, axis=0), np.mean(apart, axis=0), np.std(errors, axis=0)
    assert together.mean() < 0.85 * apart.mean()
    np.testing.assert_allclose(together.mean(), spread.mean(), rtol=0.12)
    if method != "calibration":  # biased under prior shift, however wide the interval
        assert 0.91 < np.mean(inside) < 0.985


def test_other_labels_are_independent():
    made = []
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        confusion = Confusion(TREE, 2)
        kind, gold = OLD.draw(500, rng)
        confusion.update(OLD.table[kind], gold)
        made.append(correct_counts(totals(OLD.table[OLD.draw(500, rng)[0]]).classify_and_count(), confusion))
    found = change(*made)
    assert found.how == INDEPENDENT
    np.testing.assert_allclose(found.se, np.hypot(made[0].se, made[1].se))


def test_replicates_of_two_periods_share_the_labels_but_not_the_rows():
    """With many labels and few rows the sampling of rows is all of the error, and it is independent."""
    rng = np.random.default_rng(0)
    confusion = Confusion(TREE, 2)
    kind, gold = OLD.draw(200_000, rng)
    confusion.update(OLD.table[kind], gold)
    made = [
        correct_counts(totals(OLD.table[w.draw(400, rng)[0]]).classify_and_count(), confusion, replicates=300, seed=1)
        for w in (OLD, NEW)
    ]
    found = change(made[1], made[0], shared_audit=True)
    expected = np.hypot(made[0].se, made[1].se)
    assert np.abs(found.se / expected - 1).max() < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0.0, 0.8])
def test_paired_units(kept):
    """A part of the ads stays online: with its codes unchanged the change has a smaller error, and is known to."""
    inside, found_se, plain_se, errors = [], [], [], []
    p = np.exp(OLD.table)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        first, _ = OLD.draw(800, rng)
        second = first.copy()
        fresh = rng.random(800) >= kept
        second[fresh] = OLD.draw(int(fresh.sum()), rng)[0]
        unit = np.arange(800)
        units = (unit, np.where(fresh, unit + 800, unit))
        old, new = (totals(OLD.table[k]).summed_probabilities() for k in (first, second))
        found = change(
            new, old, unit_variance=paired_variance((p[second], p[first]), (np.ones(800), np.ones(800)), units[::-1])
        )
        assert found.how == SAME_UNITS
        low, high = found.interval()
        inside.append((low <= 0) & (high >= 0))  # nothing changed
        found_se.append(found.se)
        plain_se.append(change(new, old).se)
        errors.append(found.change)
    assert 0.92 < np.mean(inside) < 0.98
    np.testing.assert_allclose(np.mean(found_se), np.std(errors, axis=0).mean(), rtol=0.08)
    if kept:
        assert np.mean(found_se) < 0.6 * np.mean(plain_se)
    else:
        np.testing.assert_allclose(np.array(found_se), np.array(plain_se), rtol=0.01)


def test_rows_of_one_unit_and_weights_by_brute_force():
    rng = np.random.default_rng(0)
    values = [rng.dirichlet(np.ones(TREE.num_leaves), size=n) for n in (30, 40)]
    weights = [rng.random(n) + 0.5 for n in (30, 40)]
    units = [rng.integers(0, 25, size=n) for n in (30, 40)]
    found = paired_variance(values, weights, units)
    for node in range(len(TREE)):
        start, stop = TREE.leaf_slice[node]
        sums = dict.fromkeys(np.concatenate(units).tolist(), 0.0)
        for sign, z, w, u in zip((1, -1), values, weights, units, strict=True):
            column = z[:, start:stop].sum(axis=1)
            share = np.average(column, weights=w)
            for i in range(len(z)):
                sums[u[i]] += sign * w[i] * (column[i] - share) / w.sum()
        m = len(sums)
        assert found[node] == pytest.approx(m / (m - 1) * sum(v * v for v in sums.values()))
    with pytest.raises(ValueError, match="a positive weight in each period"):
        paired_variance(values, (weights[0], 0 * weights[1]), units)


def test_nothing_in_both_periods_is_no_significant_change():
    """EM leaves traces like 1e-22 with no standard error where a code has no row."""
    table = OLD.table.copy()
    table[:, 0] = -60.0
    table -= np.log(np.exp(table).sum(axis=1, keepdims=True))
    made = []
    for seed in (0, 1):
        kind, _ = OLD.draw(400, np.random.default_rng(seed))
        made.append(em_prior_shift(TREE, 2, table[kind], np.full(TREE.num_leaves, 1 / TREE.num_leaves)))
    found = change(made[1], made[0])
    leaf = TREE.leaves[0]
    assert abs(found.change[leaf]) < 1e-6 and 0.001 < found.se[leaf] < 0.02
    assert not found.to_frame().set_index("code").significant[TREE.codes[leaf]]
