"""Two-sample statistics against scipy and loops, their levels under no change, and the verdicts they lead to."""

import json

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import mannwhitneyu

from experiments.statistics_simulation.simulation import random_taxonomy, random_world
from hjc.statistics.drift import LEVEL, VERDICTS, Profile, compare_profiles
from hjc.statistics.two_sample import (
    auc,
    classifier_test,
    jensen_shannon,
    mmd_test,
    null_counts,
    psi,
    quantile,
)


def test_distances_by_scipy_and_loops():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 50, 8), rng.integers(0, 50, 8)
    assert jensen_shannon(a, b) == pytest.approx(jensenshannon(a, b, base=2) ** 2)
    p, q = (a + 0.5) / (a + 0.5).sum(), (b + 0.5) / (b + 0.5).sum()
    assert psi(a, b) == pytest.approx(sum(x * np.log(x / y) for x, y in zip(p, q, strict=True))
                                      + sum(y * np.log(y / x) for x, y in zip(p, q, strict=True)))  # fmt: skip
    assert psi(a, a) == 0 and jensen_shannon([1, 0], [0, 1]) == 1
    x, y = rng.integers(0, 9, 30), rng.integers(2, 9, 40)
    assert auc(x, y) == pytest.approx(mannwhitneyu(y, x).statistic / (30 * 40))


@pytest.mark.parametrize(("n", "m", "soft"), [(2000, 800, False), (2000, 20, False), (300, 50, True)])
def test_chance_is_its_quantile_in_tables_of_few_rows_too(n, m, soft):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(20) / 5)  # some cells hardly ever come
    above = 0
    for seed in range(200):
        a, b = (rng.dirichlet(p * 3, k).sum(axis=0) if soft else rng.multinomial(k, p) for k in (n, m))
        above += psi(a, b) > quantile(psi(*null_counts(a, b, draws=400, seed=seed)), 0.9)
    assert above <= 32 if soft else 8 <= above <= 32  # 20 are to be expected, 4 standard errors are 17


def test_counts_under_no_change_keep_their_sums():
    a, b = np.array([5.0, 0, 900]), np.array([0.0, 1, 19])
    first, second = null_counts(a, b, draws=50)
    assert (first + second == a + b).all() and (second.sum(axis=1) == 20).all()
    assert quantile(np.arange(100), 0.95) == 95  # as many as 4 of 100 lie above


@pytest.mark.slow
def test_mmd_by_loops_and_levels_of_both_tests():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(12, 3)), rng.normal(size=(9, 3)) + 0.5
    x = np.r_[a, b]
    d = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    k = np.exp(-d / np.median(d[np.triu_indices(21, 1)]))
    want = (
        sum(k[i, j] for i in range(12) for j in range(12) if i != j) / (12 * 11)
        + sum(k[i, j] for i in range(12, 21) for j in range(12, 21) if i != j) / (9 * 8)
        - 2 * k[:12, 12:].mean()
    )
    assert mmd_test(a, b).statistic == pytest.approx(want)
    pairs = [(rng.normal(size=(60, 4)), rng.normal(size=(50, 4))) for _ in range(150)]
    assert sum(classifier_test(*p).p_value < 0.1 for p in pairs) / 150 < 0.18
    assert sum(mmd_test(*p, permutations=60).p_value < 0.1 for p in pairs) / 150 < 0.18
    moved = rng.normal(size=(200, 4)), rng.normal(size=(200, 4)) + np.array([1.5, 0, 0, 0])
    assert classifier_test(*moved).p_value < 1e-3 and mmd_test(*moved).p_value < 0.01
    assert 0.75 < classifier_test(*moved).statistic < 0.95  # in theory Phi(1.5 / sqrt 2) = 0.86
    with pytest.raises(ValueError, match="features"):
        classifier_test(np.zeros((10, 2)), np.zeros((10, 3)))


TAXONOMY = random_taxonomy(17, depth=2, children=(2, 3), top=3, ragged=0)
WORLD = random_world(TAXONOMY, 4, kinds=600, sharpness=0.1)


def oov(text):
    words = text.split()
    return sum(w.startswith("x") for w in words) / len(words) if words else 0.0


def batch(world, n, seed, *, languages=("pl", "de"), word="word", length=5, shift=0.0, blur=1.0):
    rng = np.random.default_rng(seed)
    kind, _ = world.draw(n, rng)
    x = WORLD.table[kind] * blur
    x = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    texts = [" ".join([word] * int(k)) for k in rng.poisson(length, n) + 1]
    profile = Profile(TAXONOMY, oov=oov, sample=400)
    for rows in np.array_split(np.arange(n), 3):
        profile.update(
            x[rows].astype(np.float32),
            texts=[texts[i] for i in rows],
            languages=rng.choice(languages, len(rows)).tolist(),
        )
        features = rng.normal(size=(len(rows), 6)) + shift
        profile.keep(features[profile.choose(len(rows))])
    return profile


REFERENCE = batch(WORLD, 3000, 0)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [20, 100])
def test_few_rows_raise_no_more_alarms_than_the_level(rows):
    """Rare languages too, which come by chance in one batch and not in the reference."""
    languages = ("pl",) * 97 + ("de", "fr", "lt")
    reference = batch(WORLD, 500, 0, languages=languages)
    found = [batch(WORLD, rows, seed, languages=languages) for seed in range(1, 41)]
    assert sum(compare_profiles(reference, new).verdict != "proceed" for new in found) <= 40 * LEVEL + 4


@pytest.mark.slow
def test_nothing_changed_means_proceed():
    verdicts = [compare_profiles(REFERENCE, batch(WORLD, 1500, seed)).verdict for seed in range(1, 16)]
    assert verdicts.count("proceed") >= 14
    report = compare_profiles(REFERENCE, batch(WORLD, 60, 3))
    assert "only 60 rows" in str(report) and report.verdict in VERDICTS


def test_other_shares_alone_mean_recalibrate():
    prior = np.full(TAXONOMY.num_leaves, 0.01)
    prior[:2] = 1.0
    report = compare_profiles(REFERENCE, batch(WORLD.with_prior(prior), 2000, 5))
    assert report.verdict in ("recalibrate", "re-audit") and "predicted shares" in str(report)
    assert set(report.table.columns) == {"check", "level", "statistic", "value", "noise", "status"}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"languages": ("pl", "de", "fr")}, "'fr'"),
        ({"word": "xyz"}, "out of vocabulary"),
        ({"length": 60}, "text length"),
        ({"shift": 1.0}, "features"),
        ({"blur": 0.2}, "confidence"),
    ],
)
def test_other_texts_mean_re_audit(changes, word):
    report = compare_profiles(REFERENCE, batch(WORLD, 2000, 7, **changes))
    assert report.verdict == "re-audit" and word in str(report)


def test_profiles_are_json_without_texts_and_checked():
    state = json.loads(json.dumps(REFERENCE.to_dict()))
    assert "word" not in json.dumps(state)
    again = Profile.from_dict(TAXONOMY, state)
    new = batch(WORLD, 500, 2)
    a, b = compare_profiles(REFERENCE, new), compare_profiles(again, new)
    assert a.verdict == b.verdict
    np.testing.assert_allclose(a.table.value, b.table.value, atol=1e-3)
    with pytest.raises(ValueError, match="another"):
        Profile.from_dict(random_taxonomy(1), state)
    with pytest.raises(ValueError, match="expected some"):
        compare_profiles(REFERENCE, Profile(TAXONOMY))
    with pytest.raises(ValueError, match="texts: got 1"):
        Profile(TAXONOMY).update(WORLD.table[:2], texts=["a"])
