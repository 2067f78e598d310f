"""What the contract of classifiers promises, for one stored model of each kind."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hjc
from hjc.calibration.scaling import Temperature
from hjc.classifiers.base import CalibratedClassifier, Classifier
from hjc.classifiers.treemath import gold_log_proba, within
from hjc.explain import default_levels, method_for
from hjc.taxonomy import isco08

FOLDER = Path(__file__).parent / "fixtures" / "models_0_1"
TEXTS = json.loads((FOLDER / "texts.json").read_text(encoding="utf-8"))[:5]
KINDS = ("linear_topdown", "linear_bottomup", "neural_topdown", "prototype", "joint_pathsum", "hybrid_mixture",
         "retrieval_rules")  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> Classifier:
    return hjc.load(FOLDER / request.param)


def test_a_capability_is_there_or_says_who_has_it(model: Classifier) -> None:
    if model.vector_space is None:
        with pytest.raises(ValueError, match=f"a {model.name} model cannot place texts in a space; linear, neural"):
            model.text_vectors(TEXTS)
    else:
        found = model.text_vectors(TEXTS)
        assert found.space == model.vector_space
        own = np.diag(found.cosine(found))
        assert (np.isclose(own, 1, atol=1e-5) | (own == 0)).all()
    if model.has_dropout:
        rows, passes = next(iter(model.iter_dropout_log_proba(TEXTS, passes=2)))
        assert passes.shape == (2, len(rows), model.taxonomy.num_leaves)
    else:
        with pytest.raises(ValueError, match="cannot make passes with dropout; neural models"):
            model.iter_dropout_log_proba(TEXTS)
    if model.has_vocabulary:
        assert model.oov_share("xyzzy plugh") == 1
    else:
        with pytest.raises(ValueError, match="cannot tell words"):
            model.oov_share("xyzzy")
    codes = model.category_vectors()
    assert codes is None or codes.shape[1] == model.text_vectors(TEXTS).rows.shape[1]
    assert (codes is None) == (model.name in ("linear", "neural", "hybrid"))
    log_proba, scores = model.predict_with_scores(TEXTS)
    np.testing.assert_allclose(log_proba, model.leaf_log_proba(TEXTS), atol=1e-5)
    assert scores is None or (scores.shape == log_proba.shape and np.abs(scores).max() <= 1.001)
    outcomes = [outcome for _, _, found in model.iter_outcomes(TEXTS) for outcome, _ in found]
    assert all(outcomes) if model.has_outcomes else not any(outcomes)
    if model.name in ("linear", "neural", "hybrid"):
        with pytest.raises(ValueError, match=r"cannot be relabelled: .*model=biencoder"):
            model.for_taxonomy(isco08())


def test_a_calibrated_model_can_what_the_model_can(model: Classifier) -> None:
    calibrated = CalibratedClassifier(model, Temperature(model.taxonomy, 2.0))
    assert calibrated.uncalibrated is model and model.uncalibrated is model
    assert (calibrated.vector_space, calibrated.has_outcomes) == (model.vector_space, model.has_outcomes)
    assert default_levels(calibrated) == default_levels(model)
    assert method_for(calibrated) == method_for(model) == method_for(model, method=method_for(model))
    if model.vector_space is not None:
        assert calibrated.text_vectors(TEXTS).space == model.vector_space
    log_proba, scores = calibrated.predict_with_scores(TEXTS)
    np.testing.assert_allclose(log_proba, calibrated.leaf_log_proba(TEXTS), atol=1e-5)
    assert (scores is None) == (model.predict_with_scores(TEXTS)[1] is None)


def test_prediction_imports_neither_the_trainer_nor_lightning() -> None:
    """Of any kind of model; of linear ones no torch either."""
    code = f"""
import sys, hjc
from pathlib import Path
folder, texts = Path({str(FOLDER)!r}), {TEXTS!r}
kinds = sorted(p.name for p in folder.iterdir() if (p / "config.json").exists())
kinds.sort(key=lambda kind: not kind.startswith("linear"))
for kind in kinds:
    hjc.load(folder / kind).predict(texts) if kind != "linear_recipe" else hjc.load(folder / kind)
    bad = {{"pytorch_lightning", "hjc.nn.training", "hjc.nn.module", "hydra"}}
    bad |= {{"torch", "transformers"}} if kind.startswith("linear") else set()
    assert not bad & set(sys.modules), (kind, bad & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


def test_log_probability_of_gold_is_that_of_the_tree() -> None:
    tree, rng = isco08(), np.random.default_rng(0)
    x = rng.normal(size=(40, tree.num_leaves))
    x -= np.log(np.exp(x).sum(axis=1, keepdims=True))
    gold = rng.integers(0, len(tree), size=40)
    span = tree.leaf_slice[gold]
    found = gold_log_proba(x, span)
    np.testing.assert_allclose(found, tree.node_log_proba(x)[np.arange(40), gold], atol=1e-9)
    mask = within(span, np.arange(tree.num_leaves))
    np.testing.assert_allclose(found, np.log((np.exp(x) * mask).sum(axis=1)), atol=1e-9)
