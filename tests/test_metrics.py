"""Every metric against a second formulation: scikit-learn, or a loop over rows and sets."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score
from sklearn.metrics import log_loss as sklearn_log_loss

from hjc.metrics import (
    COUNTS,
    METRICS,
    RECALL_AT,
    RowScores,
    level_metrics,
    log_loss_baseline,
    prior_log_proba,
    score_constant,
    score_rows,
)
from hjc.taxonomy import Taxonomy, from_edges, from_prefix_codes
from tests.strategies import random_log_proba, taxonomies

FLOATS = [m for m in METRICS if m not in COUNTS]


def three_levels() -> Taxonomy:
    """2, 4 and 9 nodes; all leaves at level 3."""
    return from_prefix_codes(["111", "112", "121", "122", "123", "211", "221", "222", "223"], [1, 2, 3])


def same(a: dict[str, float], b: dict[str, float], tolerance: float = 1e-9) -> None:
    for name in FLOATS:
        assert a[name] == pytest.approx(b[name], abs=tolerance, nan_ok=True), name


@st.composite
def scored(draw: st.DrawFn) -> tuple[Taxonomy, np.ndarray, np.ndarray]:
    """A random ragged tree, log-probabilities of up to 25 rows, gold at leaves and inner nodes."""
    tree = draw(taxonomies(plain_codes=True))
    rows = draw(st.integers(1, 25))
    seed = draw(st.integers(0, 2**16))
    log_proba = random_log_proba(tree.num_leaves, rows, seed)
    if draw(st.booleans()):  # ties: a few distinct values only
        z = np.round(log_proba)
        log_proba = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return tree, log_proba, np.random.default_rng(seed).integers(0, len(tree), rows)


# ---------------------------------------------------------------------- loops


def ancestors(tree: Taxonomy, node: int) -> set[int]:
    """A node and its ancestors without the root."""
    out = set()
    while node >= 0:
        out.add(int(node))
        node = int(tree.parents[node])
    return out


def leaves_under(tree: Taxonomy, node: int) -> list[int]:
    return [j for j, leaf in enumerate(tree.leaves.tolist()) if node in ancestors(tree, leaf)]


def nodes_of_level(tree: Taxonomy, level: int) -> list[int]:
    """Nodes at the level and leaves above it, in the order of their leaves."""
    nodes = [v for v in range(len(tree)) if tree.level[v] == level or (tree.is_leaf[v] and tree.level[v] < level)]
    return sorted(nodes, key=lambda v: leaves_under(tree, v)[0])


def loop_metrics(tree: Taxonomy, log_proba: np.ndarray, gold: np.ndarray, level: int | None) -> dict[str, float]:
    """Everything but the calibration error, one row after the other."""
    loss, brier, hits, shared, predicted, true, lca, climb = [], [], [], 0, 0, 0, [], []
    by_code: dict[int, list[bool]] = {}
    for row, g in zip(np.exp(log_proba), gold.tolist(), strict=True):
        d = int(tree.level[g]) if level is None else level
        line = ancestors(tree, g)
        columns = nodes_of_level(tree, d)
        at = [v for v in columns if v in line]
        if not at:
            continue  # an inner gold node above the level
        p = np.array([row[leaves_under(tree, v)].sum() for v in columns])
        y = columns.index(at[0])
        order = sorted(range(len(columns)), key=lambda j: (-round(p[j], 12), j))
        loss.append(-math.log(p[y]))
        brier.append(sum((p[j] - (j == y)) ** 2 for j in range(len(columns))))
        hits.append([y in order[:k] for k in RECALL_AT])
        by_code.setdefault(at[0], []).append(order[0] == y)
        if level is None:  # the path of the most probable leaf, not deeper than gold
            best = int(tree.leaves[int(np.argmax(np.round(row, 12)))])
            pred = {v for v in ancestors(tree, best) if tree.level[v] <= d}
        else:
            pred = ancestors(tree, columns[order[0]])
        truth = ancestors(tree, at[0])
        shared, predicted, true = shared + len(pred & truth), predicted + len(pred), true + len(truth)
        if pred != truth:
            lca.append(max((int(tree.level[v]) for v in pred & truth), default=0))
            climb.append(int(tree.level[at[0]]) - lca[-1])
    mean = lambda x: float(np.mean(x)) if len(x) else math.nan  # noqa: E731
    precision, recall = (shared / n if n else math.nan for n in (predicted, true))
    f1 = 2 * precision * recall / (precision + recall) if shared else precision * recall
    out = {"log_loss": mean(loss), "brier": mean(brier), "lca_level": mean(lca), "mistake_severity": mean(climb)}
    out |= {f"recall@{k}": mean([h[i] for h in hits]) for i, k in enumerate(RECALL_AT)}
    out |= {"hierarchical_precision": precision, "hierarchical_recall": recall, "hierarchical_f1": f1}
    return out | {"macro_recall": mean([np.mean(h) for h in by_code.values()]), "n": len(loss)}


@pytest.mark.slow
@given(scored())
def test_metrics_equal_loops_over_rows_and_ancestor_sets(case):
    tree, log_proba, gold = case
    # Rounded so that ties of the loop and of the arrays are the same ties.
    scores = score_rows(tree, log_proba, gold)
    for level in [*range(1, tree.depth + 1), None]:
        found, expected = level_metrics(scores, tree, level), loop_metrics(tree, log_proba, gold, level)
        near_tie = has_near_tie(tree, log_proba, level)
        for name, value in expected.items():
            if near_tie and name not in ("log_loss", "brier", "n"):
                continue  # sums equal in exact arithmetic may differ in the last bit
            assert found[name] == pytest.approx(value, abs=1e-9, nan_ok=True), (name, level)


def has_near_tie(tree: Taxonomy, log_proba: np.ndarray, level: int | None) -> bool:
    """Whether two aggregated columns of a row differ by rounding only (ties between leaves themselves are exact)."""
    for d in range(1, tree.depth + 1) if level is None else [level]:
        p = np.sort(tree.aggregate(log_proba, d), axis=1)
        gaps = np.diff(p, axis=1)
        if ((gaps < 1e-9) & (len(tree.level_nodes(d)) < tree.num_leaves)).any():
            return True
    return False


def test_ties_go_to_the_first_column():
    tree = from_prefix_codes(["1", "2", "3", "4"], [1])
    scores = score_rows(tree, np.log(np.full((4, 4), 0.25)), np.arange(4))
    assert scores.rank[:, 0].tolist() == [1, 2, 3, 4]
    assert scores.top[:, 0].tolist() == [0, 0, 0, 0]


# ---------------------------------------------------------------------- scikit-learn


@pytest.mark.parametrize("level", [1, 2, 3])
def test_against_scikit_learn(level):
    tree = three_levels()
    gold = tree.leaves[np.random.default_rng(0).integers(0, 9, 500)]
    log_proba = random_log_proba(9, 500, seed=1, scale=1.0)
    found = level_metrics(score_rows(tree, log_proba, gold), tree, level)
    p = np.exp(tree.aggregate(log_proba, level))
    y, labels = tree.level_column[gold, level - 1], np.arange(p.shape[1])
    assert found["n"] == 500
    assert found["log_loss"] == pytest.approx(sklearn_log_loss(y, p, labels=labels), abs=1e-9)
    assert found["macro_recall"] == pytest.approx(balanced_accuracy_score(y, p.argmax(axis=1)))
    for k in RECALL_AT:
        if k == 1:
            expected = float(np.mean(p.argmax(axis=1) == y))
        elif k < p.shape[1]:
            expected = top_k_accuracy_score(y, p, k=k, labels=labels) if len(labels) > 2 else 1.0
        else:
            expected = 1.0
        assert found[f"recall@{k}"] == pytest.approx(expected)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_weights_against_scikit_learn(level):
    tree = three_levels()
    rng = np.random.default_rng(3)
    gold, weights = tree.leaves[rng.integers(0, 9, 200)], rng.exponential(size=200)
    log_proba = random_log_proba(9, 200, seed=4, scale=1.0)
    found = level_metrics(score_rows(tree, log_proba, gold), tree, level, weights)
    p, y = np.exp(tree.aggregate(log_proba, level)), tree.level_column[gold, level - 1]
    labels = np.arange(p.shape[1])
    assert found["log_loss"] == pytest.approx(sklearn_log_loss(y, p, labels=labels, sample_weight=weights))
    assert found["macro_recall"] == pytest.approx(
        balanced_accuracy_score(y, p.argmax(axis=1), sample_weight=weights), abs=1e-9
    )


def test_single_precision_costs_less_than_a_millionth():
    tree = three_levels()
    gold = np.random.default_rng(0).integers(0, len(tree), 300)
    log_proba = random_log_proba(9, 300, seed=1)
    a = level_metrics(score_rows(tree, log_proba, gold), tree, 2)
    same(a, level_metrics(score_rows(tree, log_proba.astype(np.float32), gold), tree, 2), 1e-5)


# ---------------------------------------------------------------------- known answers


def one_hot_log_proba(tree: Taxonomy, columns: np.ndarray) -> np.ndarray:
    out = np.full((len(columns), tree.num_leaves), -np.inf)
    out[np.arange(len(columns)), columns] = 0.0
    return out


def test_a_perfect_model_scores_log_loss_0_where_the_reference_tool_said_6_98():
    """Cross-entropy of probabilities taken for logits: a perfect model of 2,911 codes scored 6.98."""
    assert -1 + math.log(math.e + 2910) == pytest.approx(6.98, abs=0.005)
    tree = from_prefix_codes([f"{a}{b:02d}{c}" for a in range(1, 10) for b in range(12) for c in range(9)], [1, 3, 4])
    columns = np.arange(tree.num_leaves)
    scores = score_rows(tree, one_hot_log_proba(tree, columns).astype(np.float32), tree.leaves)
    for level in [1, 2, 3, None]:
        found = level_metrics(scores, tree, level)
        assert found["log_loss"] == found["brier"] == 0.0
        assert found["ece"] == pytest.approx(0.0, abs=1e-12) and found["ece_plain"] == pytest.approx(0.0, abs=1e-12)
        for name in ("recall@1", "recall@10", "macro_recall", "hierarchical_precision", "hierarchical_f1"):
            assert found[name] == 1.0
        assert math.isnan(found["lca_level"]) and math.isnan(found["mistake_severity"])


def test_a_uniform_model_scores_ln_of_the_number_of_codes():
    tree = from_prefix_codes([f"{a}{b}{c}" for a in range(3) for b in range(4) for c in range(5)], [1, 2, 3])
    uniform = np.full((60, 60), -math.log(60), dtype=np.float32)
    scores = score_rows(tree, uniform, tree.leaves)
    for level, k in [(1, 3), (2, 12), (3, 60)]:
        found = level_metrics(scores, tree, level)
        assert found["log_loss"] == pytest.approx(math.log(k), abs=1e-5)
        assert found["recall@1"] == found["macro_recall"] == pytest.approx(1 / k)
        assert found["recall@10"] == pytest.approx(min(1.0, 10 / k))
        assert found["brier"] == pytest.approx(1 - 1 / k, abs=1e-6)
        assert found["ece"] == pytest.approx(0.0, abs=1e-5)  # sure 1/k, right 1/k of the time


def test_an_impossible_gold_code_gives_infinite_log_loss_and_is_counted():
    tree = three_levels()
    log_proba = one_hot_log_proba(tree, np.array([0, 0, 0]))
    scores = score_rows(tree, log_proba, tree.leaves[[0, 1, 8]])
    deepest, top = level_metrics(scores, tree, 3), level_metrics(scores, tree, 1)
    assert (deepest["log_loss"], deepest["impossible"]) == (math.inf, 2)
    assert (top["log_loss"], top["impossible"]) == (math.inf, 1)
    without = level_metrics(scores, tree, 3, weights=[1, 0, 0])
    assert (without["log_loss"], without["impossible"], without["n"]) == (0.0, 0, 1)


def test_an_inner_gold_node_is_scored_down_to_its_own_level():
    tree = three_levels()
    gold = tree.encode(["1", "12", "123"])
    scores = score_rows(tree, random_log_proba(9, 3, seed=0), gold)
    assert [level_metrics(scores, tree, d)["n"] for d in (1, 2, 3, None)] == [3, 2, 1, 3]
    own = [-scores.log_p[0, 0], -scores.log_p[1, 1], -scores.log_p[2, 2]]
    assert level_metrics(scores, tree, None)["log_loss"] == pytest.approx(np.mean(own))


def test_mistakes_know_how_far_they_are():
    tree = three_levels()
    gold = tree.encode(["111", "111", "111", "111"])
    predicted = [tree.leaf_codes.index(c) for c in ("111", "112", "123", "221")]
    found = level_metrics(score_rows(tree, one_hot_log_proba(tree, np.array(predicted)), gold), tree, 3)
    assert found["lca_level"] == pytest.approx((2 + 1 + 0) / 3)
    assert found["mistake_severity"] == pytest.approx((1 + 2 + 3) / 3)
    assert found["hierarchical_f1"] == pytest.approx((3 + 2 + 1 + 0) / 12)


# ---------------------------------------------------------------------- weights, parts, errors


@given(scored(), st.integers(0, 1000))
def test_a_weight_is_the_row_repeated(case, seed):
    tree, log_proba, gold = case
    counts = np.random.default_rng(seed).integers(0, 4, len(gold))
    scores = score_rows(tree, log_proba, gold)
    repeated = scores.take(np.repeat(np.arange(len(gold)), counts))
    for level in [*range(1, tree.depth + 1), None]:
        weighted, plain = level_metrics(scores, tree, level, counts), level_metrics(repeated, tree, level)
        weighted["ece"] = plain["ece"]  # its noise is that of the effective number of rows
        same(weighted, plain)


@given(scored())
def test_only_the_proportions_of_weights_count(case):
    tree, log_proba, gold = case
    weights = np.random.default_rng(0).exponential(size=len(gold)) + 0.1
    scores = score_rows(tree, log_proba, gold)
    a, b = (level_metrics(scores, tree, 1, w) for w in (weights, 4.0 * weights))
    for name in FLOATS:
        assert a[name] == pytest.approx(b[name], abs=1e-9, nan_ok=True), name


@given(scored())
def test_batches_give_what_the_whole_gives(case):
    tree, log_proba, gold = case
    whole = score_rows(tree, log_proba, gold)
    cut = len(gold) // 2
    parts = [score_rows(tree, log_proba[s], gold[s]) for s in (slice(0, cut), slice(cut, None))]
    filled = RowScores.empty(len(gold), tree.depth)
    filled.put(np.arange(cut, len(gold)), parts[1])
    filled.put(np.arange(cut), parts[0])
    for other in (RowScores.concat(parts), filled):
        for level in [*range(1, tree.depth + 1), None]:
            same(level_metrics(whole, tree, level), level_metrics(other, tree, level), 0.0)


def test_no_rows_give_no_figures_and_no_error():
    tree = three_levels()
    found = level_metrics(RowScores.empty(0, 3), tree, 2)
    assert found["n"] == 0 and all(math.isnan(found[m]) for m in FLOATS)


@pytest.mark.parametrize(
    ("log_proba", "gold", "message"),
    [
        (np.zeros((2, 8)), [0, 1], r"expected \(rows, 9\)"),
        (np.full((2, 9), 1 / 9), [0, 1], "sums to"),  # probabilities, not logs
        (np.full((2, 9), np.nan), [0, 1], "NaN in 2 of 2 rows"),
        (np.full((2, 9), -math.log(9)), [0, -1], "labelled"),
        (np.full((2, 9), -math.log(9)), [0, 99], "no node number"),
        (np.full((2, 9), -math.log(9)), [0], "gold: got shape"),
    ],
)
def test_wrong_input_is_refused_with_the_way_out(log_proba, gold, message):
    with pytest.raises(ValueError, match=message):
        score_rows(three_levels(), log_proba, np.array(gold))


def test_wrong_levels_weights_and_trees_are_refused():
    tree = three_levels()
    scores = score_rows(tree, random_log_proba(9, 2, 0), tree.leaves[:2])
    with pytest.raises(ValueError, match="level: got 4, allowed are 1"):
        level_metrics(scores, tree, 4)
    with pytest.raises(ValueError, match=r"weights: got shape \(3,\), expected \(2,\)"):
        level_metrics(scores, tree, 1, [1, 1, 1])
    with pytest.raises(ValueError, match="negative, infinite or NaN"):
        level_metrics(scores, tree, 1, [1, -1])
    with pytest.raises(ValueError, match="3 levels"):
        level_metrics(scores, tree.truncate(2), 1)
    with pytest.raises(ValueError, match="got no parts"):
        RowScores.concat([])


# ---------------------------------------------------------------------- the model that does not read


@pytest.mark.slow
@given(taxonomies(plain_codes=True), st.integers(0, 1000))
def test_prior_equals_a_loop_over_rows(tree, seed):
    gold = np.random.default_rng(seed).integers(-1, len(tree), 20)
    counts = np.ones(tree.num_leaves)
    for g in gold[gold >= 0]:
        under = leaves_under(tree, g)
        counts[under] += 1 / len(under)
    np.testing.assert_allclose(np.exp(prior_log_proba(tree, gold)), counts / counts.sum(), rtol=1e-9)


def test_baseline_scores_the_prior_on_the_test_rows():
    tree = from_edges(["1", "2", "11", "12"], [None, None, "1", "1"])
    train, test = tree.encode(["11"] * 6 + ["2"]), tree.encode(["11", "12"])
    found = log_loss_baseline(tree, train, test)
    # leaves 11, 12, 2 were counted 6, 0, 1 and smoothed to 7, 1, 2 of 10
    assert found["level_1/log_loss"] == pytest.approx(-math.log(0.8))
    assert found["level_2/log_loss"] == pytest.approx(-(math.log(0.7) + math.log(0.1)) / 2)
    assert (found["level_2/recall@1"], found["level_2/recall@3"]) == (0.5, 1.0)
    assert found["overall/n"] == 2
    whole = score_rows(tree, np.tile(prior_log_proba(tree, train), (2, 1)), test)
    same(level_metrics(whole, tree, 2), {k[8:]: v for k, v in found.items() if k.startswith("level_2/")}, 0.0)
    assert len(score_constant(tree, prior_log_proba(tree, train), [])) == 0
    with pytest.raises(ValueError, match="smoothing"):
        prior_log_proba(tree, train, smoothing=0)


def test_metrics_do_not_import_torch():
    code = "import sys, hjc.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_gold_code_far_below_the_smallest_number_keeps_its_log_probability_and_rank():
    tree = three_levels()
    log_proba = np.full((2, 9), -2000.0)
    log_proba[:, 0] = 0.0
    log_proba[:, 4] = -1000.0
    log_proba[1, 5] = -np.inf
    scores = score_rows(tree, log_proba, tree.encode(["123", "211"]))
    assert scores.log_p[0].tolist() == [0.0, -1000.0, -1000.0]
    assert scores.rank[0].tolist() == [1, 2, 2]
    assert scores.log_p[1, 2] == -np.inf and scores.rank[1].tolist()[2] == 9
    assert scores.log_p[1, 0] == pytest.approx(-2000 + math.log(3))
