"""Stored validation outcomes: equal to what the fitting functions find from probabilities; calibrated models."""

import json

import numpy as np
import pytest

import hjc
from hjc.calibration import ConditionalTemperature, Identity, Temperature, fit_calibrator
from hjc.classifiers import CLASSIFIERS
from hjc.classifiers.base import CalibratedClassifier
from hjc.classifiers.derived import write_calibration
from hjc.classifiers.storage import ModelDirError
from hjc.data import JobData
from hjc.decision import fit_conformal, fit_hierarchical_conformal, fit_thresholds
from hjc.evaluation.validation import KeptBatches, describe_validation
from hjc.evaluation.validation_scores import ValidationScores
from hjc.metrics import score_batches
from hjc.statistics import Confusion
from hjc.taxonomy import from_prefix_codes
from tests.stub_classifier import StubClassifier, register

TREE = from_prefix_codes(["11", "12", "13", "21", "22", "31", "32", "33"], digits=[1, 2])


class Overconfident(StubClassifier):
    """Knows the truth of a text "i", with logits three times too large."""

    name = "overconfident"

    def _row(self, text):
        z = np.random.default_rng(int(text)).normal(size=self.taxonomy.num_leaves) * 3
        return (z - np.log(np.exp(z).sum())).astype(np.float32)


def rows(n, start=0):
    gold = []
    for i in range(start, start + n):
        z = np.random.default_rng(i).normal(size=TREE.num_leaves)
        p = np.exp(z) / np.exp(z).sum()
        gold.append(TREE.leaves[np.random.default_rng([i, 1]).choice(TREE.num_leaves, p=p)])
    texts = [str(i) for i in range(start, start + n)]
    data = JobData.from_lists(TREE, texts, [TREE.codes[g] for g in gold], languages=["pl"] * n)
    return data


MODEL = Overconfident(TREE)


@pytest.fixture(scope="module")
def valid():
    return rows(1500)


@pytest.fixture(scope="module")
def found(valid):
    return describe_validation(MODEL, valid)


def test_the_calibrator_is_the_one_that_was_asked_for(valid, found):
    expected = fit_calibrator(TREE, MODEL.predict_log_proba(valid.texts), valid.gold)
    x = MODEL.predict_log_proba(["1", "2"])
    np.testing.assert_allclose(found.calibrator.transform(x), expected.calibrator.transform(x), rtol=1e-6)
    assert isinstance(found.calibrator, Temperature | ConditionalTemperature)
    assert np.mean(found.calibrator.temperature) == pytest.approx(3, rel=0.15)


def test_scores_give_what_probabilities_would_have_given(valid, found):
    x, scores = MODEL.predict_log_proba(valid.texts), found.scores
    outcomes, expected = scores.outcomes(), score_batches(TREE, x, valid.gold, conformal=True)
    for name in ("confidence", "correct", "valid", "top", "rank", "log_p"):
        np.testing.assert_allclose(getattr(outcomes, name), getattr(expected, name), rtol=1e-6)
    assert scores.thresholds(0.8, rule="level").table.equals(fit_thresholds(TREE, expected, 0.8).table)
    for level, score in ((1, "lac"), (2, "aps")):
        other = fit_conformal(TREE, level, expected, 0.1, score=score)
        assert scores.conformal_sets(level, 0.1, score=score).quantiles == pytest.approx(other.quantiles)
    other = fit_hierarchical_conformal(TREE, expected, 0.2)
    assert scores.conformal_node(0.2).quantiles == pytest.approx(other.quantiles)
    confusion = Confusion(TREE, 1)
    confusion.update(x, valid.gold)
    np.testing.assert_array_equal(scores.confusion(1).weight, confusion.weight)
    np.testing.assert_allclose(scores.prior(2), np.exp(x.astype(float)).mean(axis=0), rtol=1e-5)


def test_calibrated_scores_are_cross_fitted_and_cover_new_rows(valid, found):
    full = found.calibrator.transform(MODEL.predict_log_proba(valid.texts))
    mine = found.scores.outcomes(calibrated=True).confidence[:, -1]
    whole = np.exp(full.max(axis=1))
    assert not np.array_equal(mine, whole) and np.abs(mine - whole).max() < 0.1
    new = rows(2000, start=10_000)
    x = found.calibrator.transform(MODEL.predict_log_proba(new.texts))
    for level in (1, 2):
        sets = found.scores.conformal_sets(level, 0.1, calibrated=True).sets(x)
        assert 0.87 < sets.covers(TREE, new.gold).mean() < 0.93  # Monte-Carlo error of both samples: 0.01
    decided = found.scores.conformal_node(0.2, calibrated=True).decide(x)
    path = TREE.node_path[new.gold, np.maximum(TREE.level[decided.node] - 1, 0)]
    assert ((decided.node < 0) | (path == decided.node)).mean() > 0.77


def test_storage(tmp_path, found):
    StubClassifier(TREE).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="without validation rows"):
        ValidationScores.load(tmp_path, TREE)
    found.scores.save(tmp_path)
    back = ValidationScores.load(tmp_path, TREE)
    assert len(back) == 1500 and set(back.variants) == {"raw", "calibrated"}
    for name, variant in found.scores.variants.items():
        other = back.variants[name]
        for key, value in variant.scores.arrays():
            if key != "sq":  # not stored: no rule asks for it
                np.testing.assert_allclose(getattr(other.scores, key), value, rtol=1e-12, atol=1e-15, err_msg=key)
        np.testing.assert_array_equal(other.mean_proba, variant.mean_proba)
        np.testing.assert_array_equal(other.mean_square, variant.mean_square)
    path = tmp_path / "calibration_scores.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(ModelDirError, match="truncated"):
        ValidationScores.load(tmp_path, TREE)
    path.write_bytes(whole)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("depth", "width"))
    with pytest.raises(ModelDirError, match="another model"):
        ValidationScores.load(tmp_path, TREE)
    StubClassifier(TREE).save_pretrained(tmp_path)  # a new model: what was made from the old one goes
    assert not path.exists()


def test_a_calibrated_classifier_is_a_classifier(tmp_path, monkeypatch, valid):
    monkeypatch.setitem(CLASSIFIERS, "stub", ("", ""))
    register()
    base = StubClassifier(TREE)
    with pytest.raises(ValueError, match="no calibration"):
        base.calibrated()
    model = CalibratedClassifier(base, Temperature(TREE, 2.0))
    texts = ["a", "b", "cook"]
    expected = Temperature(TREE, 2.0).transform(base.predict_log_proba(texts))
    np.testing.assert_array_equal(model.predict_log_proba(texts), expected)
    assert model.parameters["calibration"] == "temperature"
    model.save_pretrained(tmp_path)
    loaded = hjc.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict_log_proba(texts), base.predict_log_proba(texts))
    np.testing.assert_array_equal(loaded.calibrated().predict_log_proba(texts), expected)
    again = CalibratedClassifier(Overconfident(TREE), Identity(TREE)).fit(valid, valid)
    assert again.is_fitted and again.calibrator.kind != "identity"
    with pytest.raises(ValueError, match="validation rows"):
        again.fit(valid)


def test_a_strange_calibration_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(CLASSIFIERS, "stub", ("", ""))
    register()
    StubClassifier(TREE).save_pretrained(tmp_path)
    path = write_calibration(tmp_path, Temperature(TREE, 2.0), {"rows": 3})
    state = json.loads(path.read_text())
    assert state["rows"] == 3
    for bad, message in (
        ({**state, "model_sha256": "0"}, "another model"),
        ({**state, "kind": "magic"}, "altered"),
        ({k: v for k, v in {**state, "kind": "magic"}.items() if k != "content_sha256"}, "allowed are"),
        ([], "no JSON object"),
    ):
        path.write_text(json.dumps(bad))
        with pytest.raises(ModelDirError, match=message):
            hjc.load(tmp_path)
    path.unlink()
    assert hjc.load(tmp_path).calibrator is None


def test_batches_are_kept_or_made_again(valid):
    for keep_bytes in (0, 1 << 20):
        batches = KeptBatches(MODEL, valid.texts[:50], keep_bytes)
        first, second = list(batches), list(batches)
        assert (first[0][1] is second[0][1]) == bool(keep_bytes)
        np.testing.assert_array_equal(np.concatenate([x for _, x in first]), np.concatenate([x for _, x in second]))
