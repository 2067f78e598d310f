"""Calibration code by code from batches: the same as from whole columns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjc.calibration import ClasswiseCounts
from hjc.metrics import expected_calibration_error
from tests.strategies import random_log_proba, taxonomies
from tests.test_validation import MODEL, TREE, rows


def test_equal_to_whole_columns_up_to_a_cell():
    data = rows(1500)
    x = MODEL.predict_log_proba(data.texts)
    counts = ClasswiseCounts(TREE)
    for start in range(0, 1500, 400):
        counts.update(x[start : start + 400], data.gold[start : start + 400])
    found = counts.table()
    for level in (1, 2):
        p = np.exp(TREE.aggregate(x, level).astype(float))
        column, nodes = TREE.level_column[data.gold, level - 1], TREE.level_nodes(level)
        mine = found[found.level == level]
        assert mine.code.tolist() == [TREE.codes[nodes[k]] for k in np.unique(column)]
        for line, k in zip(mine.itertuples(), np.unique(column), strict=True):
            true = column == k
            assert line.support == true.sum() and line.share == pytest.approx(true.mean())
            assert line.mean_probability == pytest.approx(p[:, k].mean(), abs=1e-6)
            assert line.ece == pytest.approx(expected_calibration_error(p[:, k], true), abs=0.012)
        assert mine.ece.mean() > 0.03  # overconfident, and seen to be


@given(tree=taxonomies(plain_codes=True), seed=st.integers(0, 1000), n=st.integers(0, 8))
def test_any_tree_and_inner_gold_codes(tree, seed, n):
    gold = np.random.default_rng(seed).integers(-1, len(tree), size=n)
    x = random_log_proba(tree.num_leaves, n, seed)
    counts = ClasswiseCounts(tree)
    counts.update(x, gold)
    found = counts.table()
    for level in range(1, tree.depth + 1):
        known = (gold >= 0) & (tree.level_column[gold, level - 1] >= 0)
        mine = found[found.level == level]
        assert mine.support.sum() == known.sum() and ((mine.ece >= 0) & (mine.ece <= 1)).all()
        if known.any():
            assert mine.share.sum() == pytest.approx(1)


def test_certain_and_impossible():
    x = np.full((4, TREE.num_leaves), -np.inf, dtype=np.float32)
    x[:, 0] = 0.0
    counts = ClasswiseCounts(TREE)
    counts.update(x, np.full(4, TREE.leaves[0]))
    counts.update(x, np.full(4, TREE.leaves[1]))
    found = counts.table().set_index(["level", "code"])
    assert found.ece[2, "11"] == pytest.approx(0.5, abs=0.2) and found.mean_probability[2, "12"] == 0
    assert found.ece[1, "1"] == 0
