"""Estimators of shares against plain formulas; coherence up random ragged trees; streaming equals one batch."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, nnls
from scipy.stats import binomtest

from experiments.statistics_simulation.simulation import random_taxonomy, random_world
from hjc.calibration.conditionals import log_softmax
from hjc.statistics import (
    CodeTotals,
    Confusion,
    change,
    correct_counts,
    difference_estimate,
    em_prior_shift,
    make_audit,
    node_sums,
)
from hjc.statistics.audit import stratified_variance
from hjc.statistics.confusion import unfold_em
from hjc.statistics.estimate import node_variances, share_interval

trees = st.builds(
    random_taxonomy, st.integers(0, 10_000), depth=st.integers(1, 4), top=st.integers(2, 4), ragged=st.floats(0, 0.6)
)
seeds = st.integers(0, 10_000)


def random_log_proba(taxonomy, seed, rows=40, scale=2.0):
    return log_softmax(np.random.default_rng(seed).normal(size=(rows, taxonomy.num_leaves)) * scale)


def coherent(estimate):
    tree, share = estimate.tree, estimate.share
    for node in np.flatnonzero(~tree.is_leaf):
        assert share[node] == pytest.approx(share[tree.parents == node].sum(), abs=1e-9)
    for level in range(1, tree.depth + 1):
        assert share[tree.level_nodes(level)].sum() == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(trees, seeds)
def test_sums_and_variances_of_nodes_by_a_matrix(tree, seed):
    rng = np.random.default_rng(seed)
    a = np.zeros((len(tree), tree.num_leaves))
    for node, (start, stop) in enumerate(tree.leaf_slice):
        a[node, start:stop] = 1
    x, root = rng.normal(size=(3, tree.num_leaves)), rng.normal(size=(tree.num_leaves, tree.num_leaves))
    np.testing.assert_allclose(node_sums(tree, x), x @ a.T, atol=1e-9)
    covariance = root @ root.T
    np.testing.assert_allclose(node_variances(tree, covariance), np.diag(a @ covariance @ a.T), atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(trees, seeds)
def test_totals_by_plain_formulas_and_in_batches(taxonomy, seed):
    rng = np.random.default_rng(seed)
    level = int(rng.integers(1, taxonomy.depth + 1))
    x, w = random_log_proba(taxonomy, seed), rng.uniform(0.5, 3, 40)
    domain = rng.choice(["north", "south"], 40).tolist()
    totals = CodeTotals(taxonomy, level)
    for part in (slice(0, 7), slice(7, 30), slice(30, 40)):
        totals.update(x[part].astype(np.float32), w[part], domain[part])
    p = np.exp(taxonomy.aggregate(x.astype(np.float32).astype(float), level))
    top = np.eye(p.shape[1])[p.argmax(axis=1)]
    for name in (None, "north", "south"):
        rows = np.array([name is None or d == name for d in domain])
        if not rows.any():
            continue
        for z, found in ((top, totals.classify_and_count(name)), (p, totals.summed_probabilities(name))):
            coherent(found)
            share = np.average(z[rows], weights=w[rows], axis=0)
            np.testing.assert_allclose(found.level_share, share, atol=1e-6)
            n, v = rows.sum(), w[rows]
            var = (v[:, None] ** 2 * (z[rows] - share) ** 2).sum(axis=0) / v.sum() ** 2 * (n / (n - 1) if n > 1 else 1)
            np.testing.assert_allclose(found.variance[found.tree.leaves], var, atol=1e-8)
            assert found.total == pytest.approx(v.sum()) and found.effective == pytest.approx(v.sum() ** 2 / (v @ v))
        batch = totals.summed_probabilities(name, target="batch")
        var = (w[rows, None] ** 2 * p[rows] * (1 - p[rows])).sum(axis=0) / w[rows].sum() ** 2
        np.testing.assert_allclose(batch.variance[batch.tree.leaves], var, atol=1e-8)
    assert totals.rows == 40 and set(totals.domains) == set(domain)


def test_bootstrap_agrees_with_the_formula():
    taxonomy = random_taxonomy(3)
    x, w = random_log_proba(taxonomy, 0, rows=800), np.random.default_rng(1).uniform(0.5, 3, 800)
    domain = ["north"] * 500 + ["south"] * 300
    totals = CodeTotals(taxonomy)
    totals.update(x, w, domain)
    for hard, method in ((True, CodeTotals.classify_and_count), (False, CodeTotals.summed_probabilities)):
        boot = CodeTotals(taxonomy, replicates=600, hard=hard, seed=2)
        for part in np.array_split(np.random.default_rng(3).permutation(800), 3):
            boot.update(x[part], w[part], [domain[i] for i in part])
        apart = {}
        for name in (None, "north", "south"):
            found, drawn = method(totals, name), method(boot, name)
            np.testing.assert_allclose(drawn.share, found.share, atol=1e-12)
            np.testing.assert_allclose(drawn.replicates.mean(axis=0), found.share, atol=0.006)
            np.testing.assert_allclose(drawn.se, found.se, rtol=0.15, atol=1e-4)
            assert found.replicates is None
            apart[name] = drawn.replicates - drawn.replicates.mean(axis=0)
        together = (apart["north"] * apart["south"]).sum(axis=0)  # other rows: other draws
        size = np.sqrt((apart["north"] ** 2).sum(axis=0) * (apart["south"] ** 2).sum(axis=0))
        assert (np.abs(together) <= 0.2 * size + 1e-12).all()


def test_intervals_of_shares():
    low, high = share_interval([0.2, 0.0, 1.0, -0.01], [0.02, 0.0, 0.0, 0.02], 100)
    assert 0.16 < low[0] < 0.2 < high[0] < 0.245 and high[0] - 0.2 > 0.2 - low[0]
    exact = binomtest(0, 100).proportion_ci(method="exact").high
    assert low[1] == 0 and high[1] == pytest.approx(exact) and low[2] == pytest.approx(1 - exact) and high[2] == 1
    assert low[3] == 0 and high[3] > 0.02


def known_world(seed=1, **kwargs):
    taxonomy = random_taxonomy(17, depth=2, children=(2, 3), top=3, ragged=0)
    return taxonomy, random_world(taxonomy, seed, **{"sharpness": 0.2, "kinds": 400, **kwargs})


def confusion_of(taxonomy, world, n, seed, level=2):
    kind, gold = world.draw(n, np.random.default_rng(seed))
    confusion = Confusion(taxonomy, level)
    confusion.update(world.table[kind[: n // 2]], gold[: n // 2])
    confusion.update(world.table[kind[n // 2 :]], gold[n // 2 :])
    return confusion


def unfold_least_squares(matrix, coded):
    """Non-negative least squares with the sum held to 1 by a heavy row (Lawson & Hanson 1974, chapter 22)."""
    solution, _ = nnls(np.r_[matrix, 1e4 * np.ones((1, len(coded)))], np.r_[coded, 1e4])
    return solution / solution.sum()


def test_unfolding_three_ways():
    rng = np.random.default_rng(0)
    matrix = 0.7 * np.eye(5) + 0.3 * rng.dirichlet(np.ones(5), 5).T
    true = rng.dirichlet(np.ones(5))
    np.testing.assert_allclose(np.linalg.solve(matrix, matrix @ true), true)
    np.testing.assert_allclose(unfold_em(matrix, matrix @ true), true, atol=1e-6)
    np.testing.assert_allclose(unfold_least_squares(matrix, matrix @ true), true, atol=1e-6)
    outside = np.eye(5)[0]  # no shares give these counts: both stay on the simplex and are optimal there
    em, ls = unfold_em(matrix, outside), unfold_least_squares(matrix, outside)
    for s, loss in ((em, lambda s: -np.log(matrix[0] @ s)), (ls, lambda s: ((matrix @ s - outside) ** 2).sum())):
        assert s.min() >= -1e-12 and s.sum() == pytest.approx(1)
        for other in rng.dirichlet(np.ones(5) * 0.5, 500):
            assert loss(s) <= loss(other) + 1e-8


@pytest.mark.parametrize("kind", ["misclassification", "calibration"])
def test_delta_method_agrees_with_the_bootstrap(kind):
    taxonomy, world = known_world(sharpness=0.05)
    confusion = confusion_of(taxonomy, world, 3000, 0)
    kinds, _ = world.draw(2000, np.random.default_rng(5))
    totals = CodeTotals(taxonomy)
    totals.update(world.table[kinds])
    counted = totals.classify_and_count()
    plain = correct_counts(counted, confusion, kind=kind)
    boot = correct_counts(counted, confusion, kind=kind, replicates=800, seed=1)
    coherent(plain)
    np.testing.assert_allclose(boot.se, plain.se, rtol=0.2)
    assert (plain.se > counted.se * 0.9).all()


def test_codes_without_labels_are_said():
    taxonomy, world = known_world()
    confusion = Confusion(taxonomy, 2)
    kind, gold = world.draw(100, np.random.default_rng(0))
    gold[gold == taxonomy.leaves[0]] = taxonomy.parents[taxonomy.leaves[0]]  # only the major group is known
    confusion.update(world.table[kind], gold)
    totals = CodeTotals(taxonomy)
    totals.update(world.table[kind])
    found = correct_counts(totals.classify_and_count(), confusion)
    assert confusion.left_out > 0 and any("left out" in n for n in found.notes)
    assert any(taxonomy.codes[taxonomy.leaves[0]] in n for n in found.notes)
    with pytest.raises(ValueError, match="different levels"):
        correct_counts(CodeTotalsOf(taxonomy, world.table[kind], 1).classify_and_count(), confusion)
    with pytest.raises(ValueError, match="no labelled rows"):
        correct_counts(totals.classify_and_count(), Confusion(taxonomy, 2))


def CodeTotalsOf(taxonomy, x, level, **kwargs):
    totals = CodeTotals(taxonomy, level)
    totals.update(x, **kwargs)
    return totals


def test_em_is_the_maximum_of_the_likelihood():
    taxonomy, world = known_world()
    moved = world.with_prior(np.random.default_rng(3).dirichlet(np.ones(taxonomy.num_leaves)))
    kind, _ = moved.draw(500, np.random.default_rng(0))
    x, w = world.table[kind], np.random.default_rng(1).uniform(0.5, 2, 500)
    found = em_prior_shift(taxonomy, 2, [x[:100], x[100:]], world.share(2), w, tolerance=1e-10, most=5000)
    coherent(found)
    ratio = np.exp(x) / world.share(2)

    def minus_likelihood(z):
        s = np.exp(z - np.log(np.exp(z).sum()))
        return -(w @ np.log(ratio @ s)) / 500

    best = minimize(minus_likelihood, np.zeros(taxonomy.num_leaves), method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose(found.level_share, np.exp(best.x) / np.exp(best.x).sum(), atol=2e-4)
    with pytest.raises(TypeError, match="one-shot"):
        em_prior_shift(taxonomy, 2, iter([x]), world.share(2))
    with pytest.raises(ValueError, match="positive"):
        em_prior_shift(taxonomy, 2, x, np.zeros(taxonomy.num_leaves))


def test_difference_estimator_by_hand_and_with_a_useless_classifier():
    taxonomy, world = known_world()
    rng = np.random.default_rng(0)
    kind, gold = world.draw(1000, rng)
    x, w = world.table[kind], rng.uniform(0.5, 2, 1000)
    totals = CodeTotalsOf(taxonomy, x, 2, weights=w)
    pi = np.where(kind % 2 == 0, 0.4, 0.1)
    rows = np.flatnonzero(rng.random(1000) < pi)
    audit = make_audit(taxonomy, 2, x[rows], gold[rows], inclusion_probability=pi[rows], weights=w[rows])
    found = difference_estimate(totals, audit, tuned=False)
    p, y = np.exp(x), (gold[:, None] == taxonomy.leaves).astype(float)
    d = w[rows] / pi[rows]
    by_hand = np.average(p, weights=w, axis=0) + np.average(y[rows] - p[rows], weights=d, axis=0)
    np.testing.assert_allclose(found.level_share, by_hand, atol=1e-9)
    for e in (found, difference_estimate(totals, audit)):
        coherent(e)
    boot = difference_estimate(totals, audit, replicates=1000, seed=1)
    np.testing.assert_allclose(boot.se, difference_estimate(totals, audit).se, rtol=0.12)
    noise = random_log_proba(taxonomy, 5, rows=1000, scale=4)
    bad = make_audit(taxonomy, 2, noise[rows], gold[rows], inclusion_probability=pi[rows], weights=w[rows])
    tuned = difference_estimate(CodeTotalsOf(taxonomy, noise, 2, weights=w), bad)
    plain = difference_estimate(CodeTotalsOf(taxonomy, noise, 2, weights=w), bad, tuned=False)
    alone = stratified_variance(bad, bad.true, np.average(bad.true, axis=0, weights=bad.weight))
    leaves = tuned.tree.leaves
    assert tuned.variance[leaves].sum() < plain.variance[leaves].sum()
    assert tuned.variance[leaves].sum() < 1.3 * alone.sum() + 1e-3


def test_audits_must_be_complete_and_probable():
    taxonomy, world = known_world()
    kind, gold = world.draw(20, np.random.default_rng(0))
    gold[3] = taxonomy.parents[gold[3]]
    with pytest.raises(ValueError, match="bias"):
        make_audit(taxonomy, 2, world.table[kind], gold)
    assert len(make_audit(taxonomy, 1, world.table[kind], gold)) == 20
    with pytest.raises(ValueError, match="inclusion_probability"):
        make_audit(taxonomy, 1, world.table[kind], gold, inclusion_probability=np.zeros(20))
    totals = CodeTotalsOf(taxonomy, world.table[kind], 2)
    with pytest.raises(ValueError, match="different levels"):
        difference_estimate(totals, make_audit(taxonomy, 1, world.table[kind], gold))


def test_change_and_its_pairing():
    taxonomy, world = known_world(sharpness=0.05)
    confusion = confusion_of(taxonomy, world, 300, 0)
    made = []
    for seed in (1, 2):
        kind, _ = world.draw(20_000, np.random.default_rng(seed))
        made.append(correct_counts(CodeTotalsOf(taxonomy, world.table[kind], 2).classify_and_count(), confusion,
                                   replicates=200, seed=7))  # fmt: skip
    alone = [dataclasses.replace(m, shared=None) for m in made]
    apart, paired = change(alone[1], alone[0]), change(alone[1], alone[0], shared_audit=True)
    # The confusion matrix is nearly all of the error, and it is the same in both periods.
    assert (paired.se < 0.6 * apart.se).mean() > 0.7
    found = change(made[1], made[0])  # the same by the delta method
    assert found.how == "same labelled rows" and found.paired and not apart.paired
    assert 0.6 < np.mean(found.se / paired.se) < 1.4
    frame = paired.to_frame()
    assert set(frame.level) == {1, 2} and not frame.significant.mean() > 0.2
    np.testing.assert_allclose(apart.se, np.hypot(made[0].se, made[1].se))
    with pytest.raises(ValueError, match="replicates"):
        change(*[correct_counts(CodeTotalsOf(taxonomy, world.table, 2).classify_and_count(), confusion)] * 2,
               shared_audit=True)  # fmt: skip
