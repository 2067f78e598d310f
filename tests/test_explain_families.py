"""Explanations, neighbours, drift vectors and reviews for classifiers that are neither linear nor neural."""

import numpy as np
import pytest

from hjc.classifiers.embedding import prototype
from hjc.classifiers.embedding.prototype import PrototypeClassifier
from hjc.classifiers.embedding.settings import HybridSettings, PrototypeSettings
from hjc.classifiers.hybrid import HybridClassifier
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.vectors import ENCODER
from hjc.evaluation.drift_profile import describe_vectors
from hjc.explain import explain_text
from hjc.explain.neighbours import nearest_texts
from hjc.nn.settings import TrainerSettings
from hjc.statistics.drift import Profile
from tests.toy_space import ToyEncoder, rows, tree

TREE = tree()
TRAIN = rows(TREE, 8)
TEXT = "n0 icing n1, dough"


@pytest.fixture(scope="module")
def models():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prototype, "load_pretrained", lambda *_, **__: ToyEncoder())
        first = PrototypeClassifier(TREE, PrototypeSettings(), TrainerSettings(epochs=3, loggers=[])).fit(TRAIN)
    second = LinearClassifier(TREE, LinearSettings(min_df=1)).fit(TRAIN)
    return {"prototype": first, "hybrid": HybridClassifier(TREE, HybridSettings(), [first, second]).fit(TRAIN, TRAIN)}


@pytest.mark.parametrize("name", ["prototype", "hybrid"])
def test_words_are_left_out_and_the_method_says_so(models, name):
    model = models[name]
    (found,) = explain_text(model, TEXT, [3], code="122", against="121")
    assert found.method == "occlusion" and found.words[1].word == "icing"
    lead = dict(found.by_word())
    assert lead["icing"] > 0 > lead["dough"] and abs(lead["icing"]) > abs(lead["n0"])
    a, b = (int(TREE.leaf_slice[TREE.index_of[code], 0]) for code in ("122", "121"))
    full, without = model.predict_log_proba([TEXT, "n0  n1, dough"])
    assert lead["icing"] == pytest.approx((full[a] - full[b]) - (without[a] - without[b]), abs=1e-5)


def test_neighbours_and_vectors(models):
    found = nearest_texts(models["prototype"], "icing sugar", TRAIN, 3)
    assert found.space == ENCODER and all(TREE.codes[n.gold] == "122" for n in found.nearest)
    a, b = models["prototype"].vectors(["icing sugar", found.nearest[0].text])
    assert found.nearest[0].similarity == pytest.approx(a @ b, abs=1e-5)
    other = nearest_texts(models["hybrid"], "icing sugar", TRAIN, 3)
    assert other.space == "tf-idf of words" and all(TREE.codes[n.gold] == "122" for n in other.nearest)
    profile = Profile(TREE)
    describe_vectors(profile, models["prototype"], TRAIN.texts)
    assert profile.features is not None and np.isfinite(profile.features).all()
    none = Profile(TREE)
    describe_vectors(none, models["hybrid"], TRAIN.texts)
    assert none.features is None
