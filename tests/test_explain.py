"""Explanations of linear models: the parts add up to the scores, whatever the features and the hierarchy."""

import numpy as np
import pytest

from hjc.calibration import Temperature
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.data import JobData
from hjc.explain import explain_text, word_shares
from hjc.taxonomy import from_prefix_codes
from tests.stub_classifier import StubClassifier

TREE = from_prefix_codes(["11", "12", "13", "21", "22", "31"], digits=[1, 2])
WORDS = {"11": "nurse ward", "12": "doctor clinic", "13": "dentist teeth", "21": "lorry driver", "22": "tram rails",
         "31": "teacher school"}  # fmt: skip
TEXTS = [f"{words}\nwanted {words.split()[i % 2]} number {i}" for words in WORDS.values() for i in range(6)]
DATA = JobData.from_lists(TREE, TEXTS, [code for code in WORDS for _ in range(6)])
TEXT = "Nurse nurse\nfor a ward, not a lorry driver; nurse wanted"


def fitted(**settings):
    return LinearClassifier(TREE, LinearSettings(min_df=1, threshold=0.0, **settings)).fit(DATA)


MODEL = fitted()


@pytest.mark.parametrize(
    "settings",
    [{}, {"features": "word"}, {"features": "char", "lead_weight": 0.0}, {"hashing": 512}, {"hierarchy": "plt"},
     {"hierarchy": "bottomup"}, {"hierarchy": "flat_logreg", "word_ngrams": [1, 3]}],
)  # fmt: skip
def test_parts_add_up_to_the_difference_of_scores(settings):
    model = MODEL if not settings else fitted(**settings)
    scores = model._nodes.scores(model.features.transform([TEXT]))[0].astype(float)
    by_node = model.settings.hierarchy in ("topdown", "plt")
    for found in explain_text(model, TEXT):
        if not by_node:
            expected = scores[TREE.leaf_slice[found.node, 0]] - scores[TREE.leaf_slice[found.second, 0]]
        elif found.second < 0:
            continue
        else:
            a, b = scores[found.node + 1], scores[found.second + 1]
            group = TREE.group_slice[TREE.group[found.node]]
            if model.settings.hierarchy == "topdown" and group[1] - group[0] == 2:
                a, b = (a, 0.0) if found.node == group[0] else (0.0, b)
            expected = a - b
        assert found.difference == pytest.approx(expected, abs=1e-4)
        assert found.constant + sum(part for _, part in found.words) == pytest.approx(found.difference, abs=1e-9)


def test_the_right_words_speak():
    levels = explain_text(MODEL, TEXT)
    assert [TREE.codes[found.node] for found in levels] == ["1", "11"]
    parts = dict(levels[0].words)
    assert levels[1].words[0][0] == "nurse" and parts["nurse"] > 0
    assert TREE.codes[levels[0].second] == "2" and parts["lorry"] < 0 and parts["driver"] < 0
    assert levels[0].probability > levels[0].second_probability > 0
    MODEL.calibrator = Temperature(TREE, 5.0)
    assert explain_text(MODEL.calibrated(), TEXT)[0].probability < levels[0].probability


def test_every_feature_of_a_text_is_shared_out():
    words, shares = word_shares(MODEL.features, TEXT)
    assert words[:2] == ["nurse", "for"] and len(words) == len(set(words))
    row = MODEL.features.transform([TEXT]).toarray()[0]
    np.testing.assert_allclose(np.asarray(shares.sum(axis=0)).ravel()[row != 0], 1.0)
    empty = explain_text(MODEL, "")
    assert all(part == 0 for found in empty for _, part in found.words)


def test_what_cannot_be_explained_says_so():
    with pytest.raises(ValueError, match="linear models only"):
        explain_text(StubClassifier(TREE), TEXT)
    with pytest.raises(ValueError, match="scores leaves only"):
        explain_text(fitted(hierarchy="bottomup"), TEXT, [1])


def test_unknown_words():
    assert MODEL.oov_share("nurse ward xyzzy plugh") == 0.5
    assert MODEL.oov_share("") == 0.0 and fitted(features="char").oov_share("xyzzy") == 0.0
