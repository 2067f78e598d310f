"""The calibration error: bins of equal rows against a loop, ties, and how near it comes to known truths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from hjc.metrics import equal_mass_bins, expected_calibration_error
from hjc.metrics.calibration_error import bin_members, debiased_gap, errors_of_bins, sums_by


def errors(confidence, hit, bins=15, weights=None):
    """ece, ece_plain."""
    w = np.ones(len(hit)) if weights is None else weights
    member, count = bin_members(confidence, w, bins)
    columns = (w, w * confidence, w * hit, w * w)
    return tuple(float(v[0]) for v in errors_of_bins(*(sums_by(member, c, count)[:, None] for c in columns)))


@given(st.integers(1, 20), st.integers(1, 30), st.integers(0, 1000))
def test_equal_to_a_loop_over_bins(bins, size, seed):
    """Distinct confidences whose number is a multiple of the bins: the formula of each bin, written out."""
    rng = np.random.default_rng(seed)
    confidence = rng.permutation(np.linspace(0.05, 1.0, bins * size))
    hit = (rng.random(bins * size) < confidence**2).astype(float)
    order = np.argsort(confidence)
    plain = fair = 0.0
    for b in range(bins):
        rows = order[b * size : (b + 1) * size]
        rate = np.mean(hit[rows])
        gap = abs(rate - np.mean(confidence[rows]))
        noise = rate * (1 - rate) / max(size - 1, 1)
        true = np.sqrt(max(gap**2 - noise, 0.0))
        folded = true
        if noise > 0:
            s = np.sqrt(noise)
            folded = 2 * s * norm.pdf(true / s) + true * (1 - 2 * norm.cdf(-true / s))
        plain += gap / bins
        fair += (gap - (folded - true)) / bins
    assert errors(confidence, hit, bins) == pytest.approx((max(fair, 0.0), plain), abs=1e-9)
    assert expected_calibration_error(confidence, hit, bins=bins) == pytest.approx(max(fair, 0.0), abs=1e-9)


def test_rows_of_one_confidence_stay_together():
    confidence = np.repeat([0.3, 0.6], 50)
    hit = np.r_[np.ones(20), np.zeros(30), np.ones(40), np.zeros(10)]
    shuffled = np.r_[np.zeros(30), np.ones(20), np.zeros(10), np.ones(40)]
    assert errors(confidence, hit) == errors(confidence, shuffled)
    assert errors(confidence, hit)[1] == pytest.approx((0.1 + 0.2) / 2)
    ties = equal_mass_bins(np.array([0.5] * 90 + [0.9] * 10), np.ones(100), 10)
    assert ties.share.tolist() == [0.9, 0.1]


def test_bins_are_those_of_sorting_and_weights_are_effective_rows():
    rng = np.random.default_rng(0)
    c, y = rng.random(1000), rng.random(1000) < 0.5
    b = equal_mass_bins(c, y, 10)
    order = np.argsort(c)
    np.testing.assert_allclose(b.share, 0.1)
    np.testing.assert_allclose(b.confidence, c[order].reshape(10, 100).mean(axis=1))
    np.testing.assert_allclose(b.accuracy, y[order].reshape(10, 100).mean(axis=1))
    np.testing.assert_allclose(b.size, 100)
    w = rng.uniform(0.5, 2, 1000)
    b = equal_mass_bins(c, y, 7, w)
    for k in range(7):
        m = b.member == k
        assert b.size[k] == pytest.approx(w[m].sum() ** 2 / (w[m] ** 2).sum())
        assert b.accuracy[k] == pytest.approx(np.average(y[m], weights=w[m]))
    assert errors(c, y, 7, w) == pytest.approx(errors(c, y, 7, 3 * w))
    for bad in (([], [], None), ([0.5], [True], [-1.0]), ([0.5], [True, False], None)):
        with pytest.raises(ValueError, match=r"at least one row|weights must"):
            equal_mass_bins(bad[0], bad[1], 10, bad[2])


def test_the_debiased_error_is_near_the_truth_where_the_plain_one_is_not():
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        c = rng.uniform(0.2, 1, 300)
        found.append(errors(c, (rng.random(300) < c).astype(float)))
    fair, plain = np.mean(found, axis=0)
    assert plain > 0.05 and fair < 0.45 * plain  # 300 rows in 15 bins: nothing but noise
    rng = np.random.default_rng(0)
    c = rng.uniform(0.5, 1, 20_000)
    assert abs(expected_calibration_error(c, rng.random(20_000) < c - 0.1) - 0.1) < 0.015


def test_noise_is_taken_from_a_gap_and_never_added():
    gap = np.linspace(0, 1, 50)
    assert np.array_equal(debiased_gap(gap, np.zeros(50)), gap)
    assert (debiased_gap(gap, np.full(50, 0.01)) <= gap).all()
