"""The calibration error: bins of equal rows against a loop, ties, debiasing, merged blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjc.metrics.calibration_error import confidence_blocks, ece_from_blocks


def ece_loop(confidence: np.ndarray, hit: np.ndarray, bins: int) -> float:
    """Equal-mass bins of distinct confidences whose number is a multiple of ``bins``."""
    order = np.argsort(confidence)
    size, total = len(order) // bins, 0.0
    for b in range(bins):
        rows = order[b * size : (b + 1) * size]
        total += abs(np.mean(hit[rows]) - np.mean(confidence[rows])) / bins
    return total


def ece_of(confidence: np.ndarray, hit: np.ndarray, bins: int = 15) -> tuple[float, float]:
    block, size = confidence_blocks(confidence)
    sums = [np.bincount(block, v, minlength=size)[:, None] for v in (np.ones(len(hit)), confidence, hit)]
    ece, debiased = ece_from_blocks(*sums, bins=bins)
    return float(ece[0]), float(debiased[0])


@given(st.integers(1, 20), st.integers(1, 30), st.integers(0, 1000))
def test_ece_equals_a_loop_over_bins(bins, size, seed):
    rng = np.random.default_rng(seed)
    confidence = rng.permutation(np.linspace(0.05, 1.0, bins * size))
    hit = (rng.random(bins * size) < confidence**2).astype(float)
    assert ece_of(confidence, hit, bins)[0] == pytest.approx(ece_loop(confidence, hit, bins), abs=1e-9)


def test_ece_does_not_depend_on_the_order_of_rows_with_equal_confidence():
    confidence = np.repeat([0.3, 0.6], 50)
    hit = np.r_[np.ones(20), np.zeros(30), np.ones(40), np.zeros(10)]
    shuffled = np.r_[np.zeros(30), np.ones(20), np.zeros(10), np.ones(40)]
    assert ece_of(confidence, hit) == ece_of(confidence, shuffled)
    assert ece_of(confidence, hit, bins=2)[0] == pytest.approx((0.1 + 0.2) / 2)


def test_debiasing_brings_a_calibrated_model_nearer_to_zero():
    rng = np.random.default_rng(0)
    plain, debiased = [], []
    for _ in range(200):
        confidence = rng.random(300)
        a, b = ece_of(confidence, (rng.random(300) < confidence).astype(float))
        plain.append(a)
        debiased.append(b)
    assert np.mean(plain) > 0.05  # 300 rows in 15 bins: nothing but noise
    # The estimated gaps stand in for the true ones, so part of the bias stays.
    assert np.mean(debiased) < 0.65 * np.mean(plain)


def test_merged_blocks_keep_ties_together_and_the_error_close():
    rng = np.random.default_rng(0)
    confidence = np.round(rng.random(5000), 3)
    hit = (rng.random(5000) < confidence**2).astype(float)
    block, size = confidence_blocks(confidence, limit=100)
    assert 50 < size <= 100
    for value in np.unique(confidence)[:50]:
        assert len(set(block[confidence == value].tolist())) == 1
    assert (np.diff(block[np.argsort(confidence)]) >= 0).all()
    sums = [np.bincount(block, v, minlength=size)[:, None] for v in (np.ones(5000), confidence, hit)]
    assert float(ece_from_blocks(*sums)[0][0]) == pytest.approx(ece_of(confidence, hit)[0], abs=2e-3)
