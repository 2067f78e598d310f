"""hF-AUC, information contrast and the decoding of hF: each against its definition, on random ragged trees."""

from io import StringIO
from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sklearn.metrics import average_precision_score

from hjc.data.jobdata import JobData
from hjc.decision import bayes_decision
from hjc.decision.hierarchical_f import hf_costs, hf_sets
from hjc.evaluation import evaluate_model
from hjc.evaluation.decodings import DecodingRows
from hjc.evaluation.tables import show
from hjc.metrics import LevelProba
from hjc.metrics.hierarchical import HierarchicalCurve, information_contrast, node_information
from hjc.taxonomy import Taxonomy, from_edges
from tests.strategies import random_log_proba, taxonomies
from tests.test_evaluate import Stub

BETAS = st.sampled_from([0.3, 0.5, 1.0, 2.0])


def ancestors(tree: Taxonomy, node: int) -> set[int]:
    """The node and all above it, without the root, by walking up."""
    out = set()
    while node >= 0:
        out.add(node)
        node = int(tree.parents[node])
    return out


def plain_hf(a: set[int], y: set[int], beta: float) -> float:
    """(1 + b2) hP hR / (b2 hP + hR), as published."""
    shared = len(a & y)
    if not shared:
        return 0.0
    precision, recall = shared / len(a), shared / len(y)
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def closed_sets(tree: Taxonomy) -> set[frozenset[int]]:
    """Every set of codes with its ancestors."""
    nodes = range(len(tree))
    subsets = chain.from_iterable(combinations(nodes, k) for k in range(1, len(tree) + 1))
    return {frozenset().union(*(ancestors(tree, v) for v in some)) for some in subsets}


@given(taxonomies(max_nodes=8), st.integers(0, 999), st.sampled_from([0.5, 2.0, 6.0]), BETAS)
@settings(max_examples=30, deadline=None)
def test_codes_and_sets_have_the_largest_expected_hf(tree, seed, scale, beta):
    x = random_log_proba(tree.num_leaves, 3, seed, scale)
    p = np.exp(x)
    truths = [ancestors(tree, y) for y in tree.leaves.tolist()]
    costs, best = hf_costs(tree, x, beta), hf_sets(tree, x, beta)
    for i in range(len(x)):
        of_node = [p[i] @ [plain_hf(ancestors(tree, a), y, beta) for y in truths] for a in range(len(tree))]
        np.testing.assert_allclose(1 - costs[i], [*of_node, 0.0], atol=1e-9)
        of_set = {a: p[i] @ [plain_hf(set(a), y, beta) for y in truths] for a in closed_sets(tree)}
        chosen = frozenset(best.sets[i].tolist())
        assert best.expected[i] == pytest.approx(max(of_set.values()), abs=1e-9)
        assert of_set[chosen] == pytest.approx(best.expected[i], abs=1e-9)  # closed under ancestors, or KeyError
        lowest = best.lowest(tree)[i].tolist()
        assert frozenset().union(*(ancestors(tree, v) for v in lowest)) == chosen
        assert all(v not in ancestors(tree, u) for u in lowest for v in lowest if u != v)


@given(taxonomies(max_nodes=40), st.integers(0, 999), st.sampled_from([0.2, 1.0, 4.0]), BETAS)
@settings(max_examples=30, deadline=None)
def test_the_search_over_sizes_stops_at_no_better_set(tree, seed, scale, beta):
    """The k heaviest codes for every k up to N, one sort each, against the pruned search."""
    x = random_log_proba(tree.num_leaves, 4, seed, scale)
    b2, m = beta**2, tree.level[tree.leaves]
    under = np.array([[v in ancestors(tree, y) for y in tree.leaves.tolist()] for v in range(len(tree))])
    best = hf_sets(tree, x, beta)
    for i, p in enumerate(np.exp(x)):
        values = [np.sort(under @ (p * (1 + b2) / (k + b2 * m)))[::-1][:k].sum() for k in range(1, len(tree) + 1)]
        assert best.expected[i] == pytest.approx(max(values), abs=1e-9)
        assert len(best.sets[i]) == int(np.argmax(np.array(values) > max(values) - 1e-9)) + 1


def test_a_code_for_hf1_is_a_decision_like_any_other():
    tree = from_edges(["1", "11", "12", "2"], ["", "1", "1", ""])
    x = np.log([[0.41, 0.39, 0.2], [0.98, 0.01, 0.01]])  # leaves 11, 12, 2
    found = bayes_decision(tree, x, "hf1")
    assert [tree.codes[i] for i in found.decisions.node] == ["11", "11"]
    # 1 alone: 2 * 1 / (1 + 2) with probability 0.8; 11: 1 with 0.41 and 2 / 4 with 0.39
    np.testing.assert_allclose(found.expected_cost[0], 1 - (0.41 + 0.39 / 2), atol=1e-12)
    assert [tree.codes[i] for i in hf_sets(tree, x).lowest(tree)[0]] == ["11", "12"]
    with pytest.raises(ValueError, match="beta: got 0"):
        hf_costs(tree, x, 0)


@given(taxonomies(max_nodes=20), st.integers(0, 999), st.booleans())
@settings(max_examples=30, deadline=None)
def test_area_is_average_precision_over_pairs(tree, seed, inner):
    rng = np.random.default_rng(seed)
    x = random_log_proba(tree.num_leaves, 6, seed)
    gold = rng.integers(0, len(tree), 6) if inner else rng.choice(tree.leaves, 6)
    weights = rng.integers(1, 4, 6).astype(float)
    curve = HierarchicalCurve(tree)
    for part in (np.arange(4), np.arange(4, 6)):
        curve.update(LevelProba.of(tree, x[part]), gold[part], weights=weights[part])
    p = np.minimum(LevelProba.of(tree, x).nodes(), 1).astype(np.float32).astype(np.float64)
    octave = np.floor(np.log2(p))  # on the grid of thresholds: 256 steps an octave, one step below 2**-13
    p = np.where(p < 2.0**-13, 0.0, np.floor(p / 2.0 ** (octave - 8)) * 2.0 ** (octave - 8))
    truth = [ancestors(tree, g) for g in gold.tolist()]
    known = [(i, v) for i, g in enumerate(gold) for v in range(len(tree)) if v == g or g not in ancestors(tree, v)]
    found = [p[i, v] for i, v in known]
    right, w = [v in truth[i] for i, v in known], [weights[i] for i, _ in known]
    assert curve.area()[0] == pytest.approx(average_precision_score(right, found, sample_weight=w), abs=1e-5)
    assert curve.predicted.sum() == pytest.approx(sum(w))
    assert curve.points()["recall"].iloc[-1] == pytest.approx(1)


def test_area_is_exact_for_probabilities_on_the_grid_and_resamples_units():
    tree = from_edges(["1", "11", "12", "2"], ["", "1", "1", ""])
    p = np.array([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [0.5, 0.5, 0.0]])
    with np.errstate(divide="ignore"):
        x = LevelProba.of(tree, np.log(p))
    gold = tree.encode(["11", "11", "2"])
    curve = HierarchicalCurve(tree, 3)
    curve.update(x, gold, np.arange(3))
    rows = [0, 0, 1]  # drawn twice, once, not at all
    truth = np.array([[v in ancestors(tree, g) for v in range(len(tree))] for g in gold.tolist()])
    want = average_precision_score(truth[rows].ravel(), x.nodes()[rows].ravel())
    got = curve.area(np.array([[2.0], [1.0], [0.0]]))
    assert got[0] == pytest.approx(want, abs=1e-12)
    table = curve.points()
    assert table["threshold"].is_monotonic_decreasing and table["threshold"].iloc[0] == 1.0
    chosen = x.nodes() >= 0.5
    at = table[table["threshold"] == 0.5].iloc[0]
    assert at["precision"] == pytest.approx((chosen & truth).sum() / chosen.sum())


@given(taxonomies(max_nodes=25), st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_information_contrast_is_that_of_the_sets(tree, seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 5, len(tree)).astype(float)
    info = node_information(tree, counts)
    for v in range(len(tree)):  # by the definition: rows of the code or below it, one more a leaf
        below = [u for u in range(len(tree)) if v in ancestors(tree, u)]
        share = (counts[below].sum() + tree.is_leaf[below].sum()) / (counts.sum() + tree.num_leaves)
        assert info[v] == pytest.approx(-np.log2(share), abs=1e-9)
    step = info - np.where(tree.parents >= 0, info[tree.parents], 0.0)

    def of_set(nodes: set[int]) -> float:
        """I of a set closed under ancestors: what each code adds to its parent."""
        return float(step[list(nodes)].sum())

    a, b = rng.integers(0, len(tree), 8), rng.integers(0, len(tree), 8)
    sets = [(ancestors(tree, i), ancestors(tree, j)) for i, j in zip(a.tolist(), b.tolist(), strict=True)]
    want = [2 * of_set(s) + 2 * of_set(t) - 3 * of_set(s | t) for s, t in sets]
    np.testing.assert_allclose(information_contrast(tree, info, a, b), want, atol=1e-9)
    np.testing.assert_allclose(information_contrast(tree, info, np.full(8, -1), b), -info[b], atol=1e-9)


def test_shares_of_leaves_without_counts():
    tree = from_edges(["1", "11", "12", "2", "3"], ["", "1", "1", "", ""])
    np.testing.assert_allclose(node_information(tree), [1.0, 2.0, 2.0, 2.0, 2.0])
    with pytest.raises(ValueError, match="weights"):
        node_information(tree, [1.0])


def test_other_betas_are_counted_as_defined():
    tree = from_edges(["1", "11", "12", "111", "2", "21"], ["", "1", "1", "11", "", "2"])
    rng = np.random.default_rng(5)
    gold, x = rng.choice(tree.leaves, 40), random_log_proba(tree.num_leaves, 40, 6, 2.0)
    rows = DecodingRows(tree, gold, node_information(tree), betas=(0.5, 2.0))
    for part in (np.arange(15), np.arange(15, 40)):
        rows.update(part, LevelProba.of(tree, x[part]))
    table = rows.table().set_index(["decoding", "metric"])["value"]
    assert "hf1" not in table.index.get_level_values("metric")
    for beta, cost in ((0.5, "hf0.5"), (2.0, "hf2")):
        codes = [{v} for v in bayes_decision(tree, x, cost).decisions.node.tolist()]
        sets = [set(hf_sets(tree, x, beta).sets[i].tolist()) for i in range(40)]
        for way, stated in ((f"code of best expected hF{beta:g}", codes), (f"set of best expected hF{beta:g}", sets)):
            for other in (0.5, 2.0):
                closed = [set().union(*(ancestors(tree, v) for v in some)) for some in stated]
                want = [plain_hf(a, ancestors(tree, g), other) for a, g in zip(closed, gold.tolist(), strict=True)]
                assert table[way, f"hf{other:g}"] == pytest.approx(np.mean(want))


def test_an_evaluation_has_every_decoding_with_its_interval(tmp_path):
    """The figures of hierarchical.csv, made again row by row from the definitions."""
    tree = from_edges(["1", "11", "12", "111", "2", "21"], ["", "1", "1", "11", "", "2"])
    rng = np.random.default_rng(3)
    gold = rng.integers(0, len(tree), 60)  # inner nodes, too
    x = random_log_proba(tree.num_leaves, 60, 4)
    data = JobData(tree, tuple(map(str, range(60))), gold, weight=rng.integers(1, 4, 60).astype(np.float32))
    found = evaluate_model(
        Stub(x, taxonomy=tree), data, train_gold=gold, weighted=True, bootstrap=50, progress=False, min_support=1
    )
    table = found.decided.hierarchical.set_index(["decoding", "metric"])
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all() and (table["n"] == 60).all()
    p, w = LevelProba.of(tree, x).nodes(), data.weight
    sets = {
        "most probable leaf": [{int(tree.leaves[i])} for i in x.argmax(axis=1)],
        "deepest code above 0.5": [set(np.flatnonzero(row >= 0.5).tolist()) for row in p],
        "code of best expected hF1": [{v} for v in bayes_decision(tree, x, "hf1").decisions.node.tolist()],
        "set of best expected hF1": [set(hf_sets(tree, x).sets[i].tolist()) for i in range(60)],
    }
    for way, stated in sets.items():
        values, codes = [], []
        for some, g in zip(stated, gold.tolist(), strict=True):
            closed = set().union(*(ancestors(tree, v) for v in some))
            closed = {v for v in closed if v == g or g not in ancestors(tree, v)} | ({g} & closed)
            values.append(plain_hf(closed, ancestors(tree, g), 1.0))
            codes.append(len(closed))
        assert table.loc[(way, "hf1"), "value"] == pytest.approx(np.average(values, weights=w))
        assert table.loc[(way, "codes"), "value"] == pytest.approx(np.average(codes, weights=w))
    info = node_information(tree, np.bincount(gold, minlength=len(tree)))
    leaf = np.where([g in ancestors(tree, v) for g, (v,) in zip(gold, sets["most probable leaf"], strict=True)], gold,
                    [v for (v,) in sets["most probable leaf"]])  # fmt: skip
    want = np.average(information_contrast(tree, info, leaf, gold), weights=w)
    assert table.loc[("most probable leaf", "information_contrast"), "value"] == pytest.approx(want)
    found.write(tmp_path)
    assert (tmp_path / "hierarchical.csv").read_text("utf-8").startswith("set,probabilities,decoding,metric,value")
    screen = StringIO()
    show(found, Console(file=screen, width=120), "rows")
    assert "hF1-AUC" in screen.getvalue() and "set of best expected hF1" in screen.getvalue()
