"""The bootstrap against its definition: weights by counts, known coverage, clusters, pairs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hjc.metrics import (
    COUNTS,
    METRICS,
    Resamples,
    RowScores,
    level_metrics,
    replicate_metrics,
    score_rows,
)
from hjc.metrics.bootstrap import CENTRED, PoissonStream, percentile_interval
from hjc.metrics.calibration_error import bin_members, errors_of_bins, sums_by
from hjc.taxonomy import Taxonomy, from_prefix_codes
from tests.strategies import bootstrap_intervals, random_log_proba, taxonomies

FLOATS = [m for m in METRICS if m not in COUNTS]


def nine_leaves() -> Taxonomy:
    return from_prefix_codes(["111", "112", "121", "122", "123", "211", "221", "222", "223"], [1, 2, 3])


def some_scores(tree: Taxonomy, n: int, seed: int = 0, scale: float = 2.0) -> RowScores:
    """Scores of n rows whose gold is drawn from the probabilities themselves: a calibrated model."""
    log_proba = random_log_proba(tree.num_leaves, n, seed, scale)
    rng = np.random.default_rng(seed + 1)
    column = (np.exp(log_proba).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=tree.num_leaves - 1)
    return score_rows(tree, log_proba, tree.leaves[column])


def assert_same(drawn: dict[str, np.ndarray], j: int, expected: dict[str, float], tolerance: float = 1e-9) -> None:
    """Macro recall has a formulation of its own, see :func:`macro_recall_of`; calibration errors keep their bins."""
    assert set(drawn) == set(FLOATS)
    for name in set(FLOATS) - {"macro_recall", *CENTRED}:
        assert drawn[name][j] == pytest.approx(expected[name], abs=tolerance, nan_ok=True), name


@settings(max_examples=25)
@given(
    taxonomies(plain_codes=True), st.integers(1, 40), st.integers(0, 1000), st.sampled_from(["rows", "groups", "few"])
)
def test_each_resample_is_a_weighting_by_counts(tree, n, seed, units):
    rng = np.random.default_rng(seed)
    log_proba = random_log_proba(tree.num_leaves, n, seed)
    scores = score_rows(tree, log_proba, rng.integers(0, len(tree), n))
    groups = rng.integers(-1, 5, n) if units == "groups" else None
    resamples = Resamples.draw(n, 70, seed, groups, max_units=7 if units == "few" else 1000)
    weights = rng.exponential(size=n)
    for level in [1, tree.depth, None]:
        drawn = replicate_metrics(scores, tree, level, resamples, weights)
        for j in (0, 33, 69):
            counts = resamples.counts[resamples.unit, j].astype(float)
            assert_same(drawn, j, level_metrics(scores, tree, level, weights * counts), 1e-8)


def test_calibration_errors_of_resamples_keep_the_bins_of_the_rows():
    tree = nine_leaves()
    scores, resamples = some_scores(tree, 90), Resamples.draw(90, 5, seed=3)
    weights = np.random.default_rng(0).exponential(size=90)
    drawn = replicate_metrics(scores, tree, 2, resamples, weights)
    c, y = scores.level(2)
    member, count = bin_members(c, weights)
    for j in range(5):
        times = resamples.counts[:, j].astype(float)
        w = weights * times
        sums = (sums_by(member, v, count)[:, None] for v in (w, w * c, w * y, weights**2 * times))
        assert [drawn[name][j] for name in ("ece", "ece_plain")] == pytest.approx([v[0] for v in errors_of_bins(*sums)])


def test_strata_are_drawn_with_replacement_and_streams_as_poisson():
    strata = np.repeat([0, 1, 7], [3, 10, 40])
    counts = Resamples.draw(53, 2000, seed=1, strata=strata).counts
    for stratum, n in ((0, 3), (1, 10), (7, 40)):
        drawn = counts[strata == stratum]
        assert (drawn.sum(axis=0) == n).all()
        assert drawn.var() == pytest.approx(1 - 1 / n, abs=0.05)
    stream = PoissonStream(3000, seed=2)
    times = np.concatenate([stream.times(np.full(5, w)) for w in (1.0, 2.0)], axis=1)
    assert times.shape == (3000, 10) and times[:, :5].mean() == pytest.approx(1, abs=0.03)
    assert times[:, 5:].var() == pytest.approx(4, abs=0.2)


def macro_recall_of(code: list, hit: list, unit: list, weight: list, counts: list) -> float:
    """Macro recall in one resample, code by code: strata, those of one unit collapsed into one."""
    strata: dict = {}
    for c, h, u, w in zip(code, hit, unit, weight, strict=True):
        strata.setdefault(c, []).append((h, u, w))
    total, singles = 0.0, []
    for rows in strata.values():
        own = sum(w * h for h, _, w in rows) / sum(w for _, _, w in rows)
        units = {u for _, u, _ in rows}
        if len(units) == 1:
            singles.append((own, counts[units.pop()]))
            continue
        drawn = sum(w * counts[u] for _, u, w in rows)
        again = sum(w * counts[u] * h for h, u, w in rows) / drawn if drawn else own
        total += own + (again - own) * math.sqrt(len(units) / (len(units) - 1))
    if singles:
        mean = sum(own for own, _ in singles) / len(singles)
        total += len(singles) * mean
        times = sum(k for _, k in singles)
        if len(singles) > 1 and times:
            shift = sum(own * k for own, k in singles) / times - mean
            total += len(singles) * shift * math.sqrt(len(singles) / (len(singles) - 1))
    return min(1.0, max(0.0, total / len(strata)))


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(0, 1000), st.booleans())
def test_macro_recall_is_resampled_within_codes(n, seed, grouped):
    tree, rng = nine_leaves(), np.random.default_rng(seed)
    scores = score_rows(tree, random_log_proba(9, n, seed), tree.leaves[rng.integers(0, 9, n)])
    resamples = Resamples.draw(n, 20, seed, rng.integers(0, 12, n) if grouped else None)
    weights = rng.exponential(size=n) + 0.01
    drawn = replicate_metrics(scores, tree, 3, resamples, weights)["macro_recall"]
    for j in range(20):
        hit = (scores.rank[:, 2] == 1).tolist()
        counts = resamples.counts[:, j].tolist()
        found = macro_recall_of(scores.gold.tolist(), hit, resamples.unit.tolist(), weights.tolist(), counts)
        assert drawn[j] == pytest.approx(found, abs=1e-9)


@pytest.mark.slow
def test_macro_recall_of_many_rare_codes_is_covered_and_so_are_differences():
    """Codes with few rows are hard: plain resampling of rows covers 86 to 90 in 100, with the figure near one end."""
    codes, n, trials = 150, 700, 120
    tree = from_prefix_codes([f"{i:03d}" for i in range(codes)], [3])
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, codes + 1)
    truth = np.clip(0.9 * share**0.15 + rng.normal(0, 0.05, codes), 0.05, 0.95)
    covered, ends = [0, 0], []
    for trial in range(trials):
        code = rng.choice(codes, n, p=share / share.sum())
        models = []
        for chance in (truth, truth - 0.04):
            log_proba = np.full((n, codes), -9.0)
            log_proba[np.arange(n), np.where(rng.random(n) < chance[code], code, (code + 1) % codes)] = -0.02
            models.append(score_rows(tree, log_proba, tree.leaves[code]))
        resamples = Resamples.draw(n, 200, seed=trial)
        own = truth[np.unique(code)].mean()
        low, high = bootstrap_intervals(models[0], tree, 1, resamples)["macro_recall"]
        value = level_metrics(models[0], tree, 1)["macro_recall"]
        ends.append((value - low) / (high - low))
        covered[0] += low <= own <= high
        drawn = [replicate_metrics(m, tree, 1, Resamples.draw(len(m), 200, trial))["macro_recall"] for m in models]
        both = [level_metrics(m, tree, 1)["macro_recall"] for m in models]
        low, high = percentile_interval(drawn[0] - drawn[1], both[0] - both[1])
        covered[1] += low <= 0.04 <= high
    assert min(covered) / trials >= 0.92
    assert np.mean(ends) == pytest.approx(0.5, abs=0.03)


def test_a_slice_sees_the_same_resamples():
    tree = nine_leaves()
    scores, resamples = some_scores(tree, 100), Resamples.draw(100, 20, seed=5)
    rows = np.arange(30, 70)
    inside = np.isin(np.arange(100), rows)
    drawn = replicate_metrics(scores.take(rows), tree, 3, resamples.take(rows))
    for j in range(3):
        assert_same(drawn, j, level_metrics(scores, tree, 3, resamples.counts[:, j] * inside))


def test_counts_are_poisson_of_mean_one_and_follow_the_seed():
    a, b, other = (Resamples.draw(2000, 50, seed) for seed in (1, 1, 2))
    assert np.array_equal(a.counts, b.counts) and not np.array_equal(a.counts, other.counts)
    assert a.counts.mean() == pytest.approx(1.0, abs=0.02) and a.counts.var() == pytest.approx(1.0, abs=0.04)


def test_rows_of_a_group_are_drawn_together_and_a_negative_group_is_alone():
    resamples = Resamples.draw(6, 10, groups=[3, 3, -1, -1, 8, 3])
    unit = resamples.unit.tolist()
    assert unit[0] == unit[1] == unit[5]
    assert len(set(unit)) == 4 and len(resamples.counts) == 4


@pytest.mark.slow
def test_intervals_cover_the_truth_about_95_times_in_100():
    """The truth of a calibrated model is known: E[-ln P] is the mean entropy, recall@1 the mean top probability."""
    tree = nine_leaves()
    p = np.exp(random_log_proba(9, 200_000, seed=99, scale=2.0))
    truth = {"log_loss": float(-(p * np.log(p)).sum(axis=1).mean()), "recall@1": float(p.max(axis=1).mean())}
    truth["brier"] = float(1 - (p**2).sum(axis=1).mean())
    covered = dict.fromkeys(truth, 0)
    trials = 200
    for trial in range(trials):
        scores = some_scores(tree, 150, seed=1000 + trial)
        intervals = bootstrap_intervals(scores, tree, 3, Resamples.draw(150, 200, seed=trial))
        for name, value in truth.items():
            low, high = intervals[name]
            covered[name] += low <= value <= high
    for name, times in covered.items():
        assert 0.90 <= times / trials <= 0.99, name


def test_interval_of_a_share_is_near_the_binomial_one():
    tree = nine_leaves()
    scores = some_scores(tree, 2000)
    share = level_metrics(scores, tree, 3)["recall@1"]
    low, high = bootstrap_intervals(scores, tree, 3, Resamples.draw(2000, 1000))["recall@1"]
    half = 1.96 * math.sqrt(share * (1 - share) / 2000)
    assert low == pytest.approx(share - half, abs=0.1 * half) and high == pytest.approx(share + half, abs=0.1 * half)


def width(interval: tuple[float, float]) -> float:
    return interval[1] - interval[0]


def test_copies_of_rows_are_no_evidence_for_the_cluster_bootstrap():
    tree = nine_leaves()
    scores = some_scores(tree, 200)
    copies = scores.take(np.repeat(np.arange(200), 10))
    groups = np.repeat(np.arange(200), 10)
    honest = bootstrap_intervals(scores, tree, 3, Resamples.draw(200, 1000))
    clustered = bootstrap_intervals(copies, tree, 3, Resamples.draw(2000, 1000, groups=groups))
    naive = bootstrap_intervals(copies, tree, 3, Resamples.draw(2000, 1000))
    for name in ("log_loss", "recall@1", "hierarchical_f1", "macro_recall"):
        assert width(clustered[name]) == pytest.approx(width(honest[name]), rel=0.15)
        assert width(naive[name]) == pytest.approx(width(honest[name]) / math.sqrt(10), rel=0.15)


def test_random_bundles_of_rows_leave_the_width_as_it_is():
    tree = nine_leaves()
    scores = some_scores(tree, 5000)
    rows = bootstrap_intervals(scores, tree, 3, Resamples.draw(5000, 600))
    bundled = Resamples.draw(5000, 600, max_units=500)
    assert len(bundled.counts) == 500 and set(np.bincount(bundled.unit).tolist()) == {10}
    for name, interval in bootstrap_intervals(scores, tree, 3, bundled).items():
        assert width(interval) == pytest.approx(width(rows[name]), rel=0.25, abs=1e-9), name


def test_calibration_error_intervals_surround_the_figure():
    """Uncentred, the resamples of a well-calibrated model lie above its own calibration error."""
    tree = nine_leaves()
    scores = some_scores(tree, 400)
    resamples = Resamples.draw(400, 500)
    found = level_metrics(scores, tree, 3)
    drawn = replicate_metrics(scores, tree, 3, resamples)
    assert drawn["ece"].mean() > found["ece"]
    intervals = bootstrap_intervals(scores, tree, 3, resamples)
    for name in CENTRED:
        assert 0 <= intervals[name][0] <= found[name] <= intervals[name][1]


def test_infinite_losses_stay_infinite_and_undefined_figures_stay_undefined():
    tree = nine_leaves()
    log_proba = np.full((50, 9), -np.inf)
    log_proba[:, 0] = 0.0
    perfect = score_rows(tree, log_proba, np.full(50, tree.leaves[0]))
    resamples = Resamples.draw(50, 100)
    intervals = bootstrap_intervals(perfect, tree, 3, resamples)
    assert intervals["log_loss"] == (0.0, 0.0) and intervals["recall@1"] == (1.0, 1.0)
    assert all(math.isnan(bound) for bound in intervals["lca_level"])
    one_wrong = score_rows(tree, log_proba, np.r_[np.full(49, tree.leaves[0]), tree.leaves[8]])
    low, high = bootstrap_intervals(one_wrong, tree, 3, resamples)["log_loss"]
    assert low == 0.0 and high == math.inf  # about 37 of 100 resamples miss the row
    nothing = bootstrap_intervals(perfect.take([]), tree, 3, resamples.take([]))
    assert all(math.isnan(bound) for interval in nothing.values() for bound in interval)


def test_percentiles_are_order_statistics():
    assert percentile_interval(np.arange(1001.0), 500.0) == (25.0, 975.0)
    assert percentile_interval(np.r_[np.nan, 3.0], 3.0) == (3.0, 3.0)
    low, high = percentile_interval(np.array([]), 1.0)
    assert math.isnan(low) and math.isnan(high)


# ---------------------------------------------------------------------- pairs


def two_models(n: int, better: float) -> tuple[Taxonomy, RowScores, RowScores]:
    """b is a with its gold leaf's logit raised by ``better``."""
    tree = nine_leaves()
    log_proba = random_log_proba(9, n, seed=0, scale=1.0)
    column = np.random.default_rng(1).integers(0, 9, n)
    raised = log_proba.copy()
    raised[np.arange(n), column] += better
    raised -= np.log(np.exp(raised).sum(axis=1, keepdims=True))
    return tree, score_rows(tree, log_proba, tree.leaves[column]), score_rows(tree, raised, tree.leaves[column])


def test_a_paired_difference_is_far_narrower_than_two_intervals():
    tree, a, b = two_models(300, better=0.2)
    resamples = Resamples.draw(300, 1000)
    drawn = [replicate_metrics(m, tree, 3, resamples)["log_loss"] for m in (a, b)]
    point = [level_metrics(m, tree, 3)["log_loss"] for m in (a, b)]
    low, high = percentile_interval(drawn[0] - drawn[1], point[0] - point[1])
    assert 0 < low < point[0] - point[1] < high
    assert high - low < 0.3 * width(bootstrap_intervals(a, tree, 3, resamples)["log_loss"])


def test_wrong_resamples_are_refused():
    with pytest.raises(ValueError, match="replicates: got 0"):
        Resamples.draw(5, 0)
    with pytest.raises(ValueError, match="groups: got shape"):
        Resamples.draw(5, 10, groups=[1, 2])
