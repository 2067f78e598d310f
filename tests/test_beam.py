"""Beam search on a top-down head: the leaves of the full search, wherever it says so."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hjc
from hjc.nn.beam import top_leaves
from hjc.nn.heads import TopDownHead
from hjc.taxonomy import Taxonomy

from .test_linear_napkinxc import random_tree

FIXTURES = Path(__file__).parent / "fixtures" / "models_0_1"


def searched(seed: int, nodes: int, spread: float, offset: bool) -> tuple[Taxonomy, TopDownHead, torch.Tensor]:
    rng = np.random.default_rng(seed)
    tree = random_tree(rng, nodes)
    torch.manual_seed(seed)
    head = TopDownHead(tree, 5)
    torch.nn.init.normal_(head.linear.weight, std=spread)
    if offset:
        head.add_offset(in_prediction=bool(seed % 2))
        head.offset.normal_()
    return tree, head, torch.randn(6, 5)


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    nodes=st.integers(1, 120),
    spread=st.sampled_from([0.0, 0.3, 2.0]),
    top_k=st.integers(1, 7),
    extra=st.integers(0, 6),
    offset=st.booleans(),
)
def test_what_is_called_exact_is_the_full_search(seed, nodes, spread, top_k, extra, offset):
    tree, head, features = searched(seed, nodes, spread, offset)
    with torch.inference_mode():
        full = head(features).numpy()
        narrow = top_leaves(head, tree, features, top_k, width=top_k + extra)
        proven = top_leaves(head, tree, features, top_k)
        wide = top_leaves(head, tree, features, top_k, width=tree.num_leaves + top_k)
    k = min(top_k, tree.num_leaves)
    best = -np.sort(-full, axis=1)[:, :k]
    assert proven.exact.all() and wide.exact.all()
    for found in (narrow, proven, wide):
        assert found.nodes.shape == (6, k) and tree.is_leaf[found.nodes].all()
        assert (np.diff(found.log_proba, axis=1) <= 0).all()
        assert all(len(set(row)) == k for row in found.nodes.tolist())
        columns = tree.leaf_slice[found.nodes, 0]
        np.testing.assert_allclose(np.take_along_axis(full, columns, 1), found.log_proba, atol=2e-5)
        np.testing.assert_allclose(found.log_proba[found.exact], best[found.exact], atol=2e-5)


def test_a_beam_that_is_too_narrow_says_so():
    tree, head, features = searched(4, 120, 0.0, False)  # equal siblings: the better leaf lies under another node
    with torch.inference_mode():
        full = head(features).numpy()
        found = top_leaves(head, tree, features, 1, width=1)
    missed = full.max(axis=1) > found.log_proba[:, 0] + 1e-4
    assert missed.any() and not found.exact[missed].any()


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_vector_with_nan_ends():
    tree, head, features = searched(4, 60, 0.3, False)
    with torch.inference_mode():
        whole = top_leaves(head, tree, features, 3)
        features[1, 2] = float("nan")
        found = top_leaves(head, tree, features, 3)
    assert np.isnan(found.log_proba[1]).all()
    np.testing.assert_array_equal(np.delete(found.nodes, 1, 0), np.delete(whole.nodes, 1, 0))


def test_ranges():
    tree, head, features = searched(1, 9, 1.0, False)
    with pytest.raises(ValueError, match="top_k: got 0"):
        top_leaves(head, tree, features, 0)
    with pytest.raises(ValueError, match="width: got 2, allowed are integers from top_k"):
        top_leaves(head, tree, features, 3, width=2)
    with torch.inference_mode():
        assert top_leaves(head, tree, features[:0], 3).nodes.shape == (0, 3)


def test_a_model_with_many_leaves_predicts_by_beam(monkeypatch):
    model = hjc.load(FIXTURES / "neural_topdown")
    texts = ["nurse", "cook in a hotel", "", "nurse"]
    expected, codes = model.predict(texts, top_k=3), model.taxonomy.codes
    found = model.top_leaves(texts, 3)
    assert found.exact.all()
    assert [codes[i] for i in found.nodes.ravel().tolist()] == expected["code"].tolist()
    monkeypatch.setattr("hjc.classifiers.neural.MANY_LEAVES", 1)
    monkeypatch.setattr(model.network.head, "forward", None)  # not all leaves are scored
    pd.testing.assert_frame_equal(model.predict(texts, top_k=3), expected, atol=1e-5)
    with pytest.raises(ValueError, match="cannot search from the top down; neural models with hierarchy=topdown"):
        hjc.load(FIXTURES / "neural_bottomup").top_leaves(texts)
