"""Conformal sets: scores against loops, coverage within Monte-Carlo error of nominal, errors that help."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.statistics_simulation.simulation import random_taxonomy, random_world
from hjc.calibration.conditionals import log_softmax
from hjc.decision import check_exchangeability, cover_nodes, fit_conformal, fit_hierarchical_conformal
from hjc.decision.conformal import ConformalSets, conformal_quantile, level_scores
from hjc.metrics import score_batches
from hjc.metrics.level_proba import LevelProba
from hjc.metrics.rows import path_scores

trees = st.builds(
    random_taxonomy, st.integers(0, 10_000), depth=st.integers(1, 4), top=st.integers(1, 4), ragged=st.floats(0, 0.6)
)
ALPHA = 0.1


def test_quantile_by_definition():
    s = np.arange(1.0, 20)  # n = 19
    assert conformal_quantile(s, 0.1) == 18 and conformal_quantile(s, 0.05) == 19
    assert conformal_quantile(s, 0.04) == np.inf and conformal_quantile([], 0.1) == np.inf


def test_scores_by_loops():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(6), 20)
    for i, j in np.ndindex(20, 6):
        more = p[i][p[i] > p[i, j]]
        rank = len(more) + 1
        assert level_scores(p, "lac")[i, j] == pytest.approx(1 - p[i, j])
        assert level_scores(p, "aps")[i, j] == pytest.approx(more.sum() + p[i, j])
        want = more.sum() + p[i, j] + 0.2 * max(0, rank - 2)
        assert level_scores(p, "raps", 0.2, 2)[i, j] == pytest.approx(want)


def scored(taxonomy, x, gold):
    return score_batches(taxonomy, x, gold, conformal=True)


def reached(fitted, x, gold, groups=None):
    """Whether the threshold lets the gold code in, before empty sets are given a code."""
    p = LevelProba.of(fitted.taxonomy, x).at(fitted.level)
    own = level_scores(p, fitted.score, fitted.penalty, fitted.free)
    need = np.full(len(p), fitted.quantiles[""]) if groups is None else [fitted.quantiles[f"={g}"] for g in groups]
    return own[np.arange(len(p)), fitted.taxonomy.level_column[gold, fitted.level - 1]] <= need + np.float64(1e-9)


def mean_coverage(fit, repetitions=60, n=300, m=300, **draw):
    """Average over calibration and test samples; its Monte-Carlo standard error."""
    taxonomy = random_taxonomy(31, depth=3, children=(2, 4), top=4)
    world = random_world(taxonomy, 7, sharpness=0.05, temperature=1.8, bias=0.5, kinds=3000)
    got, sizes = [], []
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        kind, gold = world.draw(n + m, rng)
        covered, size = fit(taxonomy, world.table[kind], gold, n, kind, rng)
        got.append(covered.mean())
        sizes.append(size)
    return float(np.mean(got)), float(np.std(got) / np.sqrt(repetitions)), float(np.mean(sizes))


@pytest.mark.slow
@pytest.mark.parametrize("score", ["lac", "aps", "raps"])
@pytest.mark.parametrize("level", [1, 3])
def test_coverage_of_level_sets(score, level):
    def once(taxonomy, x, gold, n, kind, rng):
        fitted = fit_conformal(taxonomy, level, scored(taxonomy, x[:n], gold[:n]), ALPHA, score=score)
        sets = fitted.sets(x[n:])
        covered = sets.covers(taxonomy, gold[n:])
        assert (covered >= reached(fitted, x[n:], gold[n:])).all()
        return reached(fitted, x[n:], gold[n:]), sets.sizes.mean()

    coverage, error, _ = mean_coverage(once)
    assert coverage >= 1 - ALPHA - 3 * error
    if score == "lac":  # continuous scores, but for ties of kinds: not more than 1/(n+1) above
        assert coverage <= 1 - ALPHA + 1 / 301 + 3 * error + 0.01


def test_coverage_of_the_hierarchical_rule():
    def once(taxonomy, x, gold, n, kind, rng):
        out = fit_hierarchical_conformal(taxonomy, scored(taxonomy, x[:n], gold[:n]), ALPHA).decide(x[n:])
        level = np.maximum(taxonomy.level[out.node] - 1, 0)
        held = (taxonomy.node_path[gold[n:], level] == out.node) | (out.node < 0)
        return held, np.where(out.node < 0, 0, taxonomy.level[out.node]).mean()

    coverage, error, depth = mean_coverage(once)
    assert 1 - ALPHA - 3 * error <= coverage <= 1 - ALPHA + 1 / 301 + 3 * error + 0.01
    assert 0.3 < depth < 3  # it says something


def test_mondrian_covers_each_group_where_the_pooled_one_does_not():
    rng = np.random.default_rng(0)
    by_group, pooled = [], []
    taxonomy = random_taxonomy(1, depth=1, top=8, ragged=0)
    for _ in range(30):
        hard = rng.random(2000) < 0.3
        x = log_softmax(rng.normal(size=(2000, 8)) * 2)
        noise = np.where(hard, 3.0, 1.0)[:, None] * rng.gumbel(size=x.shape)
        gold = taxonomy.leaves[(x + noise).argmax(axis=1)]
        name = np.where(hard, "hard", "easy")
        for groups, out in ((name, by_group), (None, pooled)):
            first, second = (None, None) if groups is None else (groups[:1000], groups[1000:])
            fitted = fit_conformal(taxonomy, 1, scored(taxonomy, x[:1000], gold[:1000]), ALPHA, groups=first)
            inside = reached(fitted, x[1000:], gold[1000:], second)
            assert (fitted.sets(x[1000:], second).covers(taxonomy, gold[1000:]) >= inside).all()
            out.append(inside[hard[1000:]].mean())
    assert abs(np.mean(by_group) - 0.9) < 0.015 and np.mean(pooled) < 0.85


@settings(max_examples=40, deadline=None)
@given(trees, st.integers(0, 10_000))
def test_path_scores_decide_whether_the_truth_is_held(taxonomy, seed):
    """Second formulation: for a grid of t, the deepest node above t holds gold if and only if score <= t."""
    rng = np.random.default_rng(seed)
    x = log_softmax(rng.normal(size=(8, taxonomy.num_leaves)) * 2)
    levels = LevelProba.of(taxonomy, x)
    nodes, p = levels.path, levels.path_proba
    gold = rng.integers(0, len(taxonomy), 8)
    score = path_scores(taxonomy, nodes, p, gold)
    for t in np.r_[0.0, rng.random(10), p.ravel()]:
        for i in range(8):
            above = nodes[i][p[i] > t]
            start, stop = taxonomy.leaf_slice[above[-1]] if len(above) else (0, taxonomy.num_leaves)
            own = taxonomy.leaf_slice[gold[i]]
            inside = start <= own[0] and own[1] <= stop
            deeper = len(above) and taxonomy.level[above[-1]] > taxonomy.level[gold[i]]
            held = inside and not deeper  # below an inner gold the unknown leaf may be elsewhere
            assert (score[i] <= t) == held


def test_inner_gold_and_missing_gold_are_left_out_or_used_conservatively():
    taxonomy = random_taxonomy(31, depth=3, children=(2, 4), top=4, ragged=0)
    x = log_softmax(np.random.default_rng(0).normal(size=(50, taxonomy.num_leaves)))
    gold = taxonomy.leaves[np.random.default_rng(1).integers(0, taxonomy.num_leaves, 50)]
    gold[:10] = -1
    gold[10:20] = taxonomy.parents[gold[10:20]]
    outcomes, levels = scored(taxonomy, x, gold), LevelProba.of(taxonomy, x)
    for level, first in ((3, 20), (2, 10)):
        rows = np.arange(first, 50)
        column = taxonomy.level_column[gold[rows], level - 1]
        for score in ("lac", "aps"):
            own = level_scores(levels.at(level), score)[rows, column]
            found = fit_conformal(taxonomy, level, outcomes, 0.2, score=score).quantiles
            assert found == {"": pytest.approx(conformal_quantile(own, 0.2))}
    own = path_scores(taxonomy, levels.path[10:], levels.path_proba[10:], gold[10:])
    found = fit_hierarchical_conformal(taxonomy, outcomes, 0.2).quantiles
    assert found == {"": pytest.approx(conformal_quantile(own, 0.2))}
    nothing = scored(taxonomy, x, np.full(50, -1))
    with pytest.raises(ValueError, match="nothing to calibrate"):
        fit_conformal(taxonomy, 3, nothing, 0.2)
    with pytest.raises(ValueError, match="nothing to calibrate"):
        fit_hierarchical_conformal(taxonomy, nothing, 0.2)


@settings(max_examples=40, deadline=None)
@given(trees, st.integers(0, 10_000), st.integers(1, 5))
def test_cover_nodes_hold_the_leaf_sets(taxonomy, seed, most):
    rng = np.random.default_rng(seed)
    x = log_softmax(rng.normal(size=(4, taxonomy.num_leaves)))
    masks = [np.flatnonzero(rng.random(taxonomy.num_leaves) < 0.5) for _ in range(4)]
    sets = ConformalSets(
        np.r_[0, np.cumsum([len(m) for m in masks])], taxonomy.leaves[np.concatenate(masks).astype(np.int64)]
    )
    out = cover_nodes(taxonomy, sets, x, most)
    for i, mask in enumerate(masks):
        held = np.zeros(taxonomy.num_leaves, dtype=int)
        for node in out[i]:
            start, stop = taxonomy.leaf_slice[node]
            held[start:stop] += 1
        assert (held[mask] == 1).all() and (held <= 1).all()  # every leaf, no node twice or inside another
        assert len(out[i]) <= max(most, len(taxonomy.level_nodes(1)))
        if most >= len(mask):
            assert held.sum() == len(mask)  # nothing was widened without need
    assert out.covers(taxonomy, [taxonomy.leaves[m[0]] if len(m) else -1 for m in masks]).tolist() == [
        len(m) > 0 for m in masks
    ]


def test_helpful_errors():
    taxonomy = random_taxonomy(2, depth=2)
    x = log_softmax(np.random.default_rng(0).normal(size=(40, taxonomy.num_leaves)))
    gold = taxonomy.leaves[np.zeros(40, dtype=int)]
    outcomes = scored(taxonomy, x, gold)
    by_language = fit_conformal(taxonomy, 2, outcomes, 0.2, groups=["pl", "de"] * 20)
    with pytest.raises(ValueError, match="pass groups"):
        by_language.sets(x[:2])
    with pytest.raises(ValueError, match="groups: got 1 for 2 rows"):
        by_language.sets(x[:2], ["pl"])
    with pytest.raises(ValueError, match="score"):
        fit_conformal(taxonomy, 2, outcomes, 0.2, score="softmax")
    with pytest.raises(ValueError, match="alpha"):
        fit_conformal(taxonomy, 2, outcomes, 1.2)
    with pytest.raises(ValueError, match="conformal=True"):
        fit_conformal(taxonomy, 2, score_batches(taxonomy, x, gold), 0.2, score="aps")
    with pytest.raises(ValueError, match="conformal=True"):
        fit_hierarchical_conformal(taxonomy, score_batches(taxonomy, x, gold), 0.2)


def test_groups_without_rows_enough_have_the_threshold_of_all():
    taxonomy = random_taxonomy(2, depth=3)
    x = log_softmax(np.random.default_rng(0).normal(size=(40, taxonomy.num_leaves)))
    gold = taxonomy.leaves[np.random.default_rng(1).integers(0, taxonomy.num_leaves, 40)]
    groups = ["pl"] * 38 + ["de"] * 2  # two rows: no finite threshold
    sets = fit_conformal(taxonomy, 2, scored(taxonomy, x, gold), 0.2, score="raps", groups=groups)
    node = fit_hierarchical_conformal(taxonomy, scored(taxonomy, x, gold), 0.2, groups=groups)
    assert set(sets.quantiles) == set(node.quantiles) == {"", "=pl"}
    for other in ("de", "fr"):
        p = LevelProba.of(taxonomy, x).at(2)
        own = level_scores(p, "raps", sets.penalty, sets.free) <= sets.quantiles[""] + 1e-12
        own[np.arange(40), p.argmax(axis=1)] |= ~own.any(axis=1)
        np.testing.assert_array_equal(sets.sets(x, [other] * 40).sizes, own.sum(axis=1))
        alone = node.decide(x, need=np.full(40, node.quantiles[""]))
        np.testing.assert_array_equal(node.decide(x, [other] * 40).node, alone.node)


def test_a_difference_too_small_to_matter_is_not_reported():
    rng = np.random.default_rng(0)
    a, b = rng.random(60_000), rng.random(60_000) + 0.02
    assert check_exchangeability(a, b).doubtful and not check_exchangeability(a, b, least=0.05).doubtful
    assert check_exchangeability(a, b + 0.1, least=0.05).doubtful
    groups = [np.array(["pl", "en"])[(rng.random(20_000) < share).astype(int)] for share in (0.5, 0.53)]
    same = rng.random(20_000)
    for least, doubtful in ((0.0, True), (0.05, False)):
        found = check_exchangeability(same, same, reference_groups=groups[0], new_groups=groups[1], least=least)
        assert found.doubtful == doubtful
