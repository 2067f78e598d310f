"""Vectors in drift profiles: an even sample, the same after storing, quiet when nothing changed, loud otherwise."""

import json

import numpy as np
import pytest

from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.neural import NeuralClassifier
from hjc.classifiers.vectors import dense
from hjc.data import load_sample
from hjc.evaluation.drift_profile import add_vectors, describe_vectors, read_profile
from hjc.evaluation.model import calibrate_model
from hjc.index import normalise
from hjc.statistics.drift import COLUMNS, Profile, compare_profiles
from hjc.statistics.two_sample import classifier_test, mmd_test
from tests.stub_classifier import StubClassifier
from tests.test_neural import settings, toy_data, toy_tree, trainer


@pytest.fixture(scope="module")
def sample():
    """A linear model of English and German titles, and held-out titles."""
    splits = load_sample(languages=["en", "de"])
    held = splits.tests["titles"].truncate(1)
    held = held.take(np.random.default_rng(0).permutation(len(held)))  # they come in the order of their codes
    tree = held.taxonomy
    return LinearClassifier(tree, LinearSettings(min_df=2)).fit(splits.train.truncate(1)), held


def profile_of(model, texts, languages=None, sample=1000, vectors=True):
    profile = Profile(model.taxonomy, sample=sample)
    for rows in np.array_split(np.arange(len(texts)), 3):
        some = [texts[i] for i in rows]
        profile.update(
            model.predict_log_proba(some), texts=some, languages=[languages[i] for i in rows] if languages else None
        )
        if vectors:
            add_vectors(profile, model, some)
    return profile


@pytest.mark.slow
def test_nothing_changed_is_flagged_at_the_nominal_rate(sample):
    """Random halves of one population, over and over: p-values of both tests are uniform, or on the safe side."""
    model, held = sample
    vectors = normalise(dense(model.text_vectors(held.texts)))
    rng, p_mmd, p_auc, flagged = np.random.default_rng(0), [], [], 0
    for seed in range(60):
        order = rng.permutation(len(vectors))
        reference = Profile(model.taxonomy, sample=500, seed=seed)
        reference.choose(500)
        reference.keep(vectors[order[:500]])
        reference.project()
        new = Profile(model.taxonomy, seed=seed)
        new.choose(250)
        new.keep(vectors[order[500:750]])
        a, b = reference.features, new.features_for(reference)
        assert a.shape == b.shape == (250, COLUMNS)
        p_mmd.append(mmd_test(a, b, permutations=60, seed=seed).p_value)
        p_auc.append(classifier_test(a, b, seed=seed).p_value)
        flagged += p_mmd[-1] < 0.02 or p_auc[-1] < 0.01
    for p in (np.array(p_mmd), np.array(p_auc)):
        assert (p < 0.1).mean() < 0.1 + 3 * np.sqrt(0.09 / 60)
        assert 0.3 < p.mean() < 0.7
    assert flagged <= 6  # 0.03 of 60 expected


def test_directions_found_on_the_rows_that_are_kept_would_not_do():
    """Why half of the rows is given up: more spread on their own directions than other rows have."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 80)), rng.normal(size=(100, 80))
    profile = Profile(toy_tree(), sample=100)
    profile.choose(100)
    profile.keep(x)
    profile.project(10)
    mean, directions = profile.projection
    own = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:10].T
    assert ((x - x.mean(axis=0)) @ own).var() > 1.5 * ((y - x.mean(axis=0)) @ own).var()
    assert profile.features.var() == pytest.approx(((y - mean) @ directions).var(), rel=0.25)
    assert profile.features.shape == (50, 10)


def test_another_language_is_seen(sample):
    model, held = sample
    english = [t for t, language in zip(held.texts, held.language, strict=True) if language == "en"]
    german = [t for t, language in zip(held.texts, held.language, strict=True) if language == "de"]
    reference = profile_of(model, english[:250], vectors=False)
    describe_vectors(reference, model, english[:250])
    same = compare_profiles(reference, profile_of(model, english[250:]))
    found = compare_profiles(reference, profile_of(model, german))
    status = {k: v.set_index("statistic") for k, v in {"same": same.table, "other": found.table}.items()}
    assert status["same"].loc["classifier_auc", "status"] == "stable"
    assert status["other"].loc["classifier_auc", "status"] == "large"
    assert status["other"].loc["classifier_auc", "value"] > 0.8 and status["other"].loc["mmd_p_value", "value"] < 0.01
    assert found.verdict == "re-audit" and "features differ largely" in str(found)


def test_neural_vectors(tmp_path):
    tree = toy_tree()
    model = NeuralClassifier(tree, settings(), trainer(epochs=2)).fit(toy_data(tree))
    texts = list(toy_data(tree, 30, seed=3).texts)
    reference = profile_of(model, texts, vectors=False)
    describe_vectors(reference, model, texts)
    assert reference.space == "vectors of the encoder" and len(reference.features) == len(texts) // 2
    other = compare_profiles(reference, profile_of(model, ["kilo lima"] * 60 + ["juliet india"] * 60)).table
    assert other.set_index("statistic").loc["classifier_auc", "status"] == "large"
    again = compare_profiles(reference, profile_of(model, list(toy_data(tree, 20, seed=4).texts))).table
    assert again.set_index("statistic").loc["classifier_auc", "status"] == "stable"


def test_sampling_is_even_and_streams():
    tree = toy_tree()
    counts, rng = np.zeros(60), np.random.default_rng(0)
    for seed in range(400):
        profile = Profile(tree, sample=12, seed=seed)
        start = 0
        for size in (5, 20, 0, 35):
            wanted = profile.choose(size)
            assert (np.diff(wanted) > 0).all()
            profile.keep(np.c_[start + wanted, rng.normal(size=len(wanted))])
            start += size
        assert len(profile.features) == 12 and (np.diff(profile.features[:, 0]) > 0).all()
        counts[profile.features[:, 0].astype(int)] += 1
    assert np.abs(counts / 400 - 0.2).max() < 5 * np.sqrt(0.16 / 400)
    with pytest.raises(ValueError, match="choose asked for"):
        profile.keep(np.zeros((3, 2)))


@pytest.mark.slow
def test_stored_with_the_model_and_compared_by_the_command(sample, tmp_path, call):
    model, held = sample
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    calibrate_model(model, folder, held, held.take(np.arange(400)))
    profile, of = read_profile(folder, held.taxonomy)
    assert of == "validation" and profile.features.shape == (200, COLUMNS) and profile.space == "tf-idf, folded"
    state = json.loads((folder / "drift_profile.json").read_text())
    assert (folder / "drift_profile.json").stat().st_size < 400_000
    assert not any(text in json.dumps(state) for text in held.texts[:50] if len(text) > 8)
    rest = profile_of(model, held.texts[400:])
    a = rest.features_for(profile)
    b = (normalise(dense(model.text_vectors(held.texts[400:]))) - profile.projection[0]) @ profile.projection[1]
    np.testing.assert_allclose(a, b, atol=1e-6)
    path = tmp_path / "new.csv"
    path.write_text("title\n" + "\n".join('"' + t.replace('"', "") + '"' for t in held.texts[400:]) + "\n")
    code, out, err = call("drift", folder, path, "-t", "title")
    assert code == 0 and "features: tf-idf, folded, 200 rows" in out and "classifier auc" in out, err
    with pytest.raises(ValueError, match="features: got 3 columns"):
        wrong = profile_of(model, held.texts[:3], vectors=False)
        wrong.choose(3)
        wrong.keep(np.zeros((3, 3)))
        compare_profiles(profile, wrong)
    state["projection"] = state["features"] = None  # as an older hjc wrote it, without a checksum
    del state["content_sha256"]
    (folder / "drift_profile.json").write_text(json.dumps(state))
    code, out, _ = call("drift", folder, path, "-t", "title")
    assert code == 0 and "features: not compared" in out


def test_classifiers_without_vectors_have_none():
    tree = toy_tree()
    profile = profile_of(StubClassifier(tree), ["a", "b", "c"])
    describe_vectors(profile, StubClassifier(tree), ["a"])
    assert profile.features is None and profile.projection is None
