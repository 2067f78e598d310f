"""The one pass up the tree against sums over leaves, paths against walks, nonconformity against sorting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjc.metrics import LevelProba, score_batches, score_rows
from hjc.metrics.rows import path_scores
from hjc.taxonomy import from_prefix_codes
from tests.strategies import random_log_proba, taxonomies


@given(taxonomies(plain_codes=True), st.integers(0, 8), st.integers(0, 1000))
def test_levels_are_sums_of_leaves_and_paths_are_walks(tree, rows, seed):
    x = random_log_proba(tree.num_leaves, rows, seed)
    levels = LevelProba.of(tree, x)
    assert LevelProba.of(tree, levels) is levels and len(levels) == rows
    p = np.stack([np.exp(x[:, a:b]).sum(axis=1) for a, b in tree.leaf_slice], axis=1)
    np.testing.assert_allclose(levels.nodes(), p)
    for d in range(1, tree.depth + 1):
        nodes = tree.level_nodes(d)
        np.testing.assert_allclose(levels.at(d), p[:, nodes])
        np.testing.assert_allclose(levels.at(d), np.exp(tree.aggregate(x, d)))
        np.testing.assert_allclose(levels.confidence[:, d - 1], p[:, nodes].max(axis=1))
        np.testing.assert_allclose(p[np.arange(rows), levels.top[:, d - 1]], p[:, nodes].max(axis=1))
    children = {v: np.flatnonzero(tree.parents == v) for v in range(-1, len(tree))}
    for i in range(rows):
        node = -1
        for d in range(tree.depth):
            if len(below := children[node]):
                chosen = levels.path[i, d]
                assert chosen in below and p[i, chosen] == pytest.approx(p[i, below].max())
                node = int(chosen)
            assert levels.path[i, d] == node and levels.path_proba[i, d] == pytest.approx(p[i, node])


@given(taxonomies(plain_codes=True), st.integers(1, 8), st.integers(0, 1000))
def test_nonconformity_is_that_of_sorting(tree, rows, seed):
    x = random_log_proba(tree.num_leaves, rows, seed)
    gold = np.random.default_rng(seed).integers(0, len(tree), rows)
    scores = score_rows(tree, x, gold, conformal=True)
    levels = LevelProba.of(tree, x)
    np.testing.assert_array_equal(scores.path, path_scores(tree, levels.path, levels.path_proba, gold))
    for d in range(1, tree.depth + 1):
        column = tree.level_column[gold, d - 1]
        for i in np.flatnonzero(column >= 0):
            p = levels.at(d)[i]
            order = np.argsort(-levels.ordered(d)[i], kind="stable")
            place = int((order == column[i]).argmax())
            assert scores.rank[i, d - 1] == place + 1
            assert scores.aps[i, d - 1] == pytest.approx(p[order[: place + 1]].sum())
    assert np.isnan(scores.aps[~scores.valid]).all()
    assert score_rows(tree, levels, gold).aps is None


def test_batches_in_any_order_and_rows_without_a_code():
    tree = from_prefix_codes(["11", "12", "21"], [1, 2])
    x = random_log_proba(3, 6, 0)
    gold = np.array([*tree.leaves, -1, 0, *tree.leaves[:1]])
    pairs = [(np.array([4, 5]), x[4:]), (np.arange(4), x[:4])]
    whole, parts = score_batches(tree, x, gold), score_batches(tree, iter(pairs), gold)
    for name, values in whole.arrays():
        np.testing.assert_array_equal(values, getattr(parts, name), err_msg=name)
    assert whole.gold[3] == -1 and not whole.valid[3].any() and whole.valid[4].tolist() == [True, False]
    with pytest.raises(ValueError, match="allowed are"):
        score_batches(tree, x, np.full(6, -2))
    other = LevelProba.of(from_prefix_codes(["11", "12", "31"], [1, 2]), x)
    with pytest.raises(ValueError, match="probabilities on"):
        score_rows(tree, other, gold)
