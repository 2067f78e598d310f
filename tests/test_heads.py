"""Heads: the vectorised tensors against ten-line loops, an independent package, and known answers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hjc.data.codesets import CodeSets
from hjc.nn.heads import build_head, target_tensors
from hjc.nn.settings import HIERARCHIES
from hjc.taxonomy import Taxonomy, from_prefix_codes

from .strategies import taxonomies

HIDDEN = 5
CASES = settings(max_examples=30, deadline=None)


def make(hierarchy: str, taxonomy: Taxonomy, rows: int, seed: int, size: float = 1.0):
    """A head with random weights, features (rows, HIDDEN) and random gold nodes, inner ones included."""
    generator = torch.Generator().manual_seed(seed)
    head = build_head(hierarchy, taxonomy, HIDDEN)
    with torch.no_grad():
        head.linear.weight.copy_(torch.randn(head.linear.weight.shape, generator=generator) * size)
        head.linear.bias.copy_(torch.randn(head.linear.bias.shape, generator=generator))
    features = torch.randn(rows, HIDDEN, generator=generator)
    gold = torch.randint(0, len(taxonomy), (rows,), generator=generator)
    return head, features, gold


def loop_leaf_log_proba(hierarchy: str, taxonomy: Taxonomy, scores: list[float]) -> list[float]:
    """The definition of each head, one row, one leaf, one sibling at a time, in Python's floats."""
    siblings = {
        n: [m for m in range(len(taxonomy)) if taxonomy.parents[m] == taxonomy.parents[n]] for n in range(len(taxonomy))
    }
    ancestors = {}
    for node in range(len(taxonomy)):
        chain = [node]
        while taxonomy.parents[chain[-1]] >= 0:
            chain.append(int(taxonomy.parents[chain[-1]]))
        ancestors[node] = chain
    leaves = taxonomy.leaves.tolist()
    if hierarchy == "topdown":
        return [
            sum(scores[n] - math.log(sum(math.exp(scores[m]) for m in siblings[n])) for n in ancestors[leaf])
            for leaf in leaves
        ]
    logits = scores if hierarchy == "bottomup" else [sum(scores[n] for n in ancestors[leaf]) for leaf in leaves]
    return [x - math.log(sum(math.exp(y) for y in logits)) for x in logits]


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
@CASES
@given(taxonomy=taxonomies(), seed=st.integers(0, 10**6))
def test_leaf_log_proba_equals_the_loop(hierarchy, taxonomy, seed):
    head, features, _ = make(hierarchy, taxonomy, 3, seed)
    got = head(features).detach().numpy()
    for row, scores in zip(got, head.scores(features).tolist(), strict=True):
        assert row == pytest.approx(loop_leaf_log_proba(hierarchy, taxonomy, scores), abs=1e-4)


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
@CASES
@given(taxonomy=taxonomies(), seed=st.integers(0, 10**6))
def test_every_level_sums_to_one(hierarchy, taxonomy, seed):
    head, features, _ = make(hierarchy, taxonomy, 4, seed, size=5.0)
    leaf = head(features).detach().numpy()
    for level in range(1, taxonomy.depth + 1):
        assert np.exp(taxonomy.aggregate(leaf, level)).sum(1) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
@CASES
@given(taxonomy=taxonomies(), seed=st.integers(0, 10**6))
def test_the_loss_is_minus_log_p_of_the_gold_node(hierarchy, taxonomy, seed):
    """Training takes a short cut (only the groups on the path); it must equal what prediction says."""
    head, features, gold = make(hierarchy, taxonomy, 6, seed)
    node_log_proba = taxonomy.node_log_proba(head(features).detach().numpy())
    expected = -node_log_proba[np.arange(6), gold.numpy()]
    assert head.loss(features, gold).detach().numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
@CASES
@given(taxonomy=taxonomies(), seed=st.integers(0, 10**6))
def test_gradients_equal_those_of_the_plain_formula(hierarchy, taxonomy, seed):
    head, features, gold = make(hierarchy, taxonomy, 4, seed)
    gold = torch.as_tensor(taxonomy.leaves)[gold % taxonomy.num_leaves]
    column = {int(n): j for j, n in enumerate(taxonomy.leaves)}
    plain = -head(features)[torch.arange(4), [column[int(g)] for g in gold]].sum()
    short_cut = head.loss(features, gold).sum()
    parameters = list(head.parameters())
    for a, b in zip(torch.autograd.grad(plain, parameters), torch.autograd.grad(short_cut, parameters), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_topdown_equals_the_hierarchicalsoftmax_package():
    """An oracle written by others: same tree, same scores, same leaf probabilities and same loss."""
    peer = pytest.importorskip("hierarchicalsoftmax")
    from hierarchicalsoftmax.inference import leaf_probabilities

    codes = ["1", "2", "3", "11", "12", "13", "21", "22", "111", "112", "131", "132", "133"]
    taxonomy = from_prefix_codes(codes, digits=[1, 2, 3])
    root = peer.SoftmaxNode("root")
    nodes = [peer.SoftmaxNode(taxonomy.codes[0], parent=root)]
    for node in range(1, len(taxonomy)):
        parent = int(taxonomy.parents[node])
        nodes.append(peer.SoftmaxNode(taxonomy.codes[node], parent=root if parent < 0 else nodes[parent]))
    root.set_indexes()

    head, features, _ = make("topdown", taxonomy, 7, seed=3)
    ours = head(features).detach()
    # Their layer numbers scores in its own order: group after group, in the order of node_list
    scores = head.scores(features).detach()
    theirs = torch.zeros(7, root.layer_size)
    for number, node in enumerate(nodes):
        theirs[:, node.parent.softmax_start_index + node.index_in_parent] = scores[:, number]
    by_name = {leaf.name: leaf_probabilities(theirs, root)[:, i] for i, leaf in enumerate(root.leaves)}
    expected = torch.stack([torch.as_tensor(by_name[c]) for c in taxonomy.leaf_codes], 1)
    torch.testing.assert_close(ours.exp(), expected.to(ours.dtype), atol=1e-5, rtol=1e-5)

    gold = torch.as_tensor(taxonomy.leaves)[torch.arange(7) % taxonomy.num_leaves]
    target = torch.tensor([root.node_to_id[nodes[int(g)]] for g in gold])
    their_loss = peer.HierarchicalSoftmaxLoss(root=root)(theirs, target)
    torch.testing.assert_close(head.loss(features, gold).mean().detach(), their_loss, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_scores_of_any_size_stay_finite(hierarchy):
    taxonomy = from_prefix_codes(["11", "12", "21", "22", "31"], digits=[1, 2])
    head, features, gold = make(hierarchy, taxonomy, 8, seed=1, size=1e4)
    log_proba = head(features)
    assert torch.isfinite(log_proba).all()
    assert torch.isfinite(head.loss(features, gold)).all()
    assert log_proba.exp().sum(1).detach().numpy() == pytest.approx(1.0, abs=1e-5)


def test_label_smoothing_mixes_the_gold_path_with_uniform_siblings():
    """Against the definition: (1 - e) -log P(gold) + e mean over siblings, at each level of the path."""
    taxonomy = from_prefix_codes(["11", "12", "13", "21"], digits=[1, 2])
    head, features, _ = make("topdown", taxonomy, 1, seed=5)
    scores = dict(zip(taxonomy.codes, head.scores(features)[0].tolist(), strict=True))

    def group_loss(gold, members, e=0.1):
        log_sum = math.log(sum(math.exp(scores[m]) for m in members))
        uniform = sum(log_sum - scores[m] for m in members) / len(members)
        return (1 - e) * (log_sum - scores[gold]) + e * uniform

    expected = group_loss("1", ["1", "2"]) + group_loss("12", ["11", "12", "13"])
    gold = torch.tensor([taxonomy.index_of["12"]])
    assert head.loss(features, gold, 0.1).item() == pytest.approx(expected, abs=1e-5)
    only_level_1 = torch.tensor([taxonomy.index_of["1"]])
    assert head.loss(features, only_level_1, 0.1).item() == pytest.approx(group_loss("1", ["1", "2"]), abs=1e-5)


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_overfits_separable_data_to_recall_one_at_every_level(hierarchy):
    rng = np.random.default_rng(0)
    codes = [f"{a}{b}{c}" for a in "12345" for b in "123" for c in "12"] + ["6", "711"]
    taxonomy = from_prefix_codes(codes, digits=[1, 2, 3])
    centres = rng.normal(size=(taxonomy.num_leaves, 16)) * 3
    label = np.repeat(np.arange(taxonomy.num_leaves), 10)
    x = torch.as_tensor(centres[label] + rng.normal(size=(len(label), 16)) * 0.1, dtype=torch.float32)
    gold = torch.as_tensor(taxonomy.leaves[label])
    torch.manual_seed(0)
    head = build_head(hierarchy, taxonomy, 16)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        head.loss(x, gold).mean().backward()
        optimizer.step()
    leaf = head(x).detach().numpy()
    for level in range(1, taxonomy.depth + 1):
        top = taxonomy.level_nodes(level)[taxonomy.aggregate(leaf, level).argmax(1)]
        assert (top == taxonomy.node_path[gold.numpy(), level - 1]).all()


def test_an_unknown_hierarchy_is_refused_with_the_allowed_words():
    with pytest.raises(ValueError, match="got 'sideways', allowed are topdown, bottomup, pathsum"):
        build_head("sideways", from_prefix_codes(["1", "2"], digits=[1]), 3)


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
@CASES
@given(taxonomy=taxonomies(), seed=st.integers(0, 10**6))
def test_the_loss_of_several_codes_is_minus_log_of_their_leaves_together(hierarchy, taxonomy, seed):
    """The marginal likelihood against a sum over leaves; a leaf under two codes counts once, by the larger weight."""
    head, features, _ = make(hierarchy, taxonomy, 5, seed)
    rng = np.random.default_rng(seed)
    codes = [list(dict.fromkeys(rng.integers(0, len(taxonomy), k).tolist())) for k in (1, 2, 3, 4, 1)]
    row = np.repeat(np.arange(5), [len(c) for c in codes])
    nodes = np.array([n for c in codes for n in c])
    weights = rng.choice([0.25, 0.5, 1.0], len(nodes)).astype(np.float32)
    sets = CodeSets.of_pairs(row, nodes, weights, 5)
    got = head.losses(features, target_tensors(sets, np.arange(5), taxonomy)).tolist()
    proba = np.exp(head(features).detach().numpy().astype(np.float64))
    for i in range(5):
        own = {n: w for r, n, w in zip(row, nodes, weights.tolist(), strict=True) if r == i}
        if len(own) == 1:
            own = dict.fromkeys(own, 1.0)  # what one code weighs beside itself
        most = max(own.values())
        total = 0.0
        for leaf in range(taxonomy.num_leaves):
            over = [w / most for n, w in own.items() if taxonomy.leaf_slice[n, 0] <= leaf < taxonomy.leaf_slice[n, 1]]
            total += max(over, default=0.0) * proba[i, leaf]
        assert got[i] == pytest.approx(-math.log(total), abs=1e-4)


def test_label_smoothing_leaves_rows_of_several_codes_alone():
    taxonomy = from_prefix_codes(["11", "12", "21"], [1, 2])
    head, features, _ = make("topdown", taxonomy, 2, 0)
    target = target_tensors(CodeSets.of_lists([[2, 3], [2]]), np.arange(2), taxonomy)
    plain, smooth = head.losses(features, target), head.losses(features, target, 0.2)
    assert plain[0] == smooth[0] and plain[1] != smooth[1]
