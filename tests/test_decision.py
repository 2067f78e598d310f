"""Decisions against brute force over all candidates and leaves, on random ragged trees."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.statistics_simulation.simulation import random_taxonomy
from hjc.calibration.conditionals import log_softmax
from hjc.decision import CostTable, Thresholds, back_off, bayes_decision, check_exchangeability
from hjc.decision.cost import level_costs, path_costs
from hjc.decision.rules import Reason

trees = st.builds(
    random_taxonomy, st.integers(0, 10_000), depth=st.integers(1, 4), top=st.integers(1, 4), ragged=st.floats(0, 0.6)
)
seeds = st.integers(0, 10_000)


def random_log_proba(taxonomy, seed, rows=6, scale=2.0):
    return log_softmax(np.random.default_rng(seed).normal(size=(rows, taxonomy.num_leaves)) * scale)


@settings(max_examples=40, deadline=None)
@given(trees, seeds)
def test_lca_cost_by_brute_force(taxonomy, seed):
    rng = np.random.default_rng(seed)
    x = random_log_proba(taxonomy, seed)
    stated, missed = rng.uniform(0, 2, taxonomy.depth), rng.uniform(0, 2, taxonomy.depth)

    def cost(a, y):
        up = {v for v in taxonomy.node_path[a] if v >= 0} if a >= 0 else set()
        true = set(taxonomy.node_path[y].tolist())
        d = taxonomy.level - 1
        return sum(stated[d[v]] for v in up - true) + sum(missed[d[v]] for v in true - up)

    nodes = [*range(len(taxonomy)), -1]
    matrix = np.array([[cost(a, y) for y in taxonomy.leaves] for a in nodes])
    np.testing.assert_allclose(path_costs(taxonomy, x, stated, missed), np.exp(x) @ matrix.T, atol=1e-9)
    for places in (nodes, nodes[:-1], taxonomy.leaves):  # with silence, without it, leaves alone
        expected = np.full((len(x), len(nodes)), np.inf)
        expected[:, places] = path_costs(taxonomy, x, stated, missed)[:, places]
        fast = bayes_decision(taxonomy, x, expected)
        plain = bayes_decision(taxonomy, x, CostTable(np.array(places), matrix[places]))
        np.testing.assert_allclose(fast.expected_cost, plain.expected_cost, atol=1e-9)
        np.testing.assert_allclose(fast.expected_cost, (np.exp(x) @ matrix[places].T).min(axis=1), atol=1e-9)
        assert set(fast.decisions.node.tolist()) <= set(np.array(places).tolist())


@settings(max_examples=40, deadline=None)
@given(trees, seeds, st.floats(0, 1))
def test_level_cost_by_brute_force(taxonomy, seed, undetermined):
    rng = np.random.default_rng(seed)
    x, w = random_log_proba(taxonomy, seed), rng.uniform(0, 2, taxonomy.depth)
    matrix = np.zeros((len(taxonomy) + 1, taxonomy.num_leaves))
    for a in range(len(taxonomy) + 1):
        for j, y in enumerate(taxonomy.leaves):
            for d in range(taxonomy.depth):
                here = taxonomy.node_path[a, d] if a < len(taxonomy) else -1
                matrix[a, j] += w[d] * (undetermined if here < 0 else here != taxonomy.node_path[y, d])
    np.testing.assert_allclose(level_costs(taxonomy, x, w, undetermined), np.exp(x) @ matrix.T, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(trees, seeds)
def test_tree_distance_and_its_decision(taxonomy, seed):
    """Unit weights: the cost is the tree distance, and the best node is the deepest with probability above a half."""
    x = random_log_proba(taxonomy, seed)
    nodes = np.arange(len(taxonomy))
    lca = taxonomy.lca_level(nodes[:, None], taxonomy.leaves[None, :])
    distance = taxonomy.level[:, None] + taxonomy.level[taxonomy.leaves][None, :] - 2 * lca
    np.testing.assert_allclose(path_costs(taxonomy, x)[:, :-1], np.exp(x) @ distance.T, atol=1e-9)
    p = np.exp(taxonomy.node_log_proba(x))
    assert np.abs(p - 0.5).min() > 1e-9
    chosen = bayes_decision(taxonomy, x).decisions
    for i in range(len(x)):
        above = np.flatnonzero(p[i] > 0.5)
        assert chosen.node[i] == (above.max() if len(above) else -1)  # breadth-first: the largest is the deepest
        assert chosen.reason[i] != Reason.COSTLY or chosen.node[i] == -1


@settings(max_examples=40, deadline=None)
@given(trees, seeds, st.floats(0.05, 1))
def test_back_off_by_loops(taxonomy, seed, threshold):
    rng = np.random.default_rng(seed)
    x = random_log_proba(taxonomy, seed)
    per_level = np.clip(threshold + rng.normal(size=taxonomy.depth) * 0.1, 0, 1.5)
    group = taxonomy.codes[0]
    thresholds = Thresholds(per_level, {group: np.full(taxonomy.depth, np.inf)})
    out = back_off(taxonomy, x, thresholds)
    for i in range(len(x)):
        want = -1
        for d in range(1, taxonomy.depth + 1):
            level = np.exp(taxonomy.aggregate(x[i : i + 1], d)[0])
            if level.max() >= per_level[d - 1] and np.exp(taxonomy.aggregate(x[i : i + 1], 1)[0]).argmax() != 0:
                want = taxonomy.level_nodes(d)[level.argmax()]
        assert out.node[i] == want
        if want < 0:
            first = np.exp(taxonomy.aggregate(x[i : i + 1], 1)[0]).argmax() == 0
            assert out.reason[i] == (Reason.NO_THRESHOLD if first else Reason.UNSURE)
            assert np.isnan(out.probability[i])
        else:
            assert out.reason[i] == (Reason.CODED if taxonomy.is_leaf[want] else Reason.BACKED_OFF)


def test_lower_thresholds_never_state_less():
    taxonomy = random_taxonomy(3, depth=4)
    x = random_log_proba(taxonomy, 0, rows=200)
    levels = [
        np.where(d.node >= 0, taxonomy.level[d.node], 0) for d in (back_off(taxonomy, x, t) for t in (0.9, 0.6, 0.3))
    ]
    assert (levels[0] <= levels[1]).all() and (levels[1] <= levels[2]).all() and (levels[2] > levels[0]).any()


def test_errors_say_what_is_allowed():
    taxonomy = random_taxonomy(3)
    x = random_log_proba(taxonomy, 0)
    with pytest.raises(ValueError, match="one a level"):
        back_off(taxonomy, x, [0.5])
    with pytest.raises(ValueError, match="allowed are"):
        bayes_decision(taxonomy, x, "zero-one")
    with pytest.raises(ValueError, match="expected"):
        bayes_decision(taxonomy, x, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="a finite cost"):
        bayes_decision(taxonomy, x, np.full((len(x), len(taxonomy) + 1), np.inf))


def test_exchangeability_check_keeps_its_level_and_sees_a_shift():
    rng = np.random.default_rng(0)
    alarms = sum(
        check_exchangeability(rng.random((300, 3)), rng.random((300, 3)), level=0.05).doubtful for _ in range(200)
    )
    assert alarms <= 20
    check = check_exchangeability(rng.random(500), rng.random(500) ** 1.5)
    assert check.doubtful and "doubtful: the scores differ (p = " in check.message
    levels = rng.random((500, 3))
    several = check_exchangeability(levels, np.c_[levels[:, 0], levels[:, 1:] ** 2])
    assert "doubtful: the scores of levels 2 and 3 differ (p = " in several.message
    assert (
        "the scores of level 3 differ"
        in check_exchangeability(levels, np.c_[levels[:, :2], levels[:, 2:] ** 2]).message
    )
    other = check_exchangeability(
        rng.random(50), rng.random(50), reference_groups=["pl"] * 50, new_groups=["pl"] * 49 + ["de"]
    )
    assert other.doubtful and "'de'" in other.message
