"""Review plans have the inclusion probabilities they state; active-learning scores equal their formulas."""

import numpy as np
import pytest

from hjc.calibration.conditionals import log_softmax
from hjc.decision.review import (
    bald,
    entropy,
    inclusion_probabilities,
    k_center,
    kmeans_plus_plus,
    margin,
    neyman,
    review_plan,
)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["random", "proportional", "stratified"])
def test_stated_inclusion_probabilities_are_true_and_estimates_unbiased(method):
    rng = np.random.default_rng(0)
    u = rng.random(200) ** 2
    strata = np.where(rng.random(200) < 0.3, "a", "b")
    wrong = rng.random(200) < u
    drawn, stated, totals = np.zeros(200), np.zeros(200), []
    for seed in range(1500):
        plan = review_plan(u, 40, method, strata=strata if method == "stratified" else None, seed=seed)
        assert len(plan.rows) == 40 == len(set(plan.rows.tolist())) and plan.for_estimation
        drawn[plan.rows] += 1
        stated[plan.rows] = plan.inclusion_probability
        totals.append((wrong[plan.rows] / plan.inclusion_probability).sum())
    error = np.sqrt(stated * (1 - stated) / 1500)
    assert (np.abs(drawn / 1500 - stated) < 4.5 * error + 1e-9).all()
    assert abs(np.mean(totals) - wrong.sum()) < 4 * np.std(totals) / np.sqrt(1500)


def test_stratified_is_more_precise_than_random_and_uncertain_is_marked():
    rng = np.random.default_rng(0)
    u = np.r_[rng.uniform(0, 0.05, 1500), rng.uniform(0.3, 0.7, 500)]
    wrong = rng.random(2000) < u
    spread = {}
    for method in ("random", "stratified"):
        plans = [review_plan(u, 100, method, bands=4, seed=s) for s in range(300)]
        spread[method] = np.std([(wrong[p.rows] / p.inclusion_probability).sum() for p in plans])
    assert spread["stratified"] < 0.85 * spread["random"]
    plan = review_plan(u, 100, "uncertain")
    assert not plan.for_estimation and u[plan.rows].min() >= np.sort(u)[-100]
    np.testing.assert_allclose((1 / review_plan(u, 100, seed=1).inclusion_probability).sum(), 2000)


def test_allocations():
    assert inclusion_probabilities(np.array([1.0, 1, 1, 97]), 2).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])
    took = neyman(np.array([1000, 1000, 3]), np.array([0.1, 0.3, 0.5]), 100)
    assert took.sum() == 100 and took[2] >= 2 and took[1] == pytest.approx(3 * took[0], abs=3)
    assert neyman(np.array([5, 5]), np.ones(2), 10).tolist() == [5, 5]
    with pytest.raises(ValueError, match="too few"):
        neyman(np.array([10, 10]), np.ones(2), 3)
    with pytest.raises(ValueError, match="n: got 0"):
        review_plan([0.5], 0)
    with pytest.raises(ValueError, match="uncertainty"):
        review_plan([1.5, 0.1], 1)
    with pytest.raises(ValueError, match="method"):
        review_plan([0.5], 1, "best")


def test_scores_by_loops():
    x = log_softmax(np.random.default_rng(0).normal(size=(10, 5)) * 2)
    every = np.exp(x)
    for i, p in enumerate(every):
        first, second = np.sort(p)[::-1][:2]
        assert margin(every)[i] == pytest.approx(1 - first + second)
        assert entropy(every)[i] == pytest.approx(-(p * np.log(p)).sum())
    assert margin(np.ones((3, 1))).tolist() == [0, 0, 0]
    assert entropy(np.array([[1.0, 0.0]])).tolist() == [0]


def test_bald_is_zero_for_agreement_and_largest_for_sure_disagreement():
    unsure, torn = np.full((4, 1, 2), 0.5), np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert bald(unsure)[0] == pytest.approx(0) and bald(torn)[0] == pytest.approx(np.log(2))
    x = log_softmax(np.random.default_rng(0).normal(size=(6, 3, 4)).reshape(18, 4)).reshape(6, 3, 4)
    p = np.exp(x)
    kl = (p * (x - np.log(p.mean(axis=0)))).sum(axis=2).mean(axis=0)  # mean divergence from the mean: the same number
    np.testing.assert_allclose(bald(p), kl)
    with pytest.raises(ValueError, match="passes"):
        bald(p[0])


def test_diversity():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10.0]])
    x = np.repeat(centres, 25, axis=0) + rng.normal(size=(100, 2)) * 0.3
    assert sorted(k_center(x, 4) // 25) == [0, 1, 2, 3]
    picks = [tuple(sorted(kmeans_plus_plus(x, 4, seed=s) // 25)) for s in range(50)]
    assert sum(p == (0, 1, 2, 3) for p in picks) > 40
    only = kmeans_plus_plus(x, 10, weights=(np.arange(100) < 25).astype(float))
    assert (only < 25).all() and len(set(only.tolist())) == 10
    assert len(set(kmeans_plus_plus(np.zeros((5, 2)), 5).tolist())) == 5
    with pytest.raises(ValueError, match="n: got 101"):
        k_center(x, 101)
