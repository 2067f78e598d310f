"""Explanations: parts add up to what they are parts of, stand where the word stands, and the right words speak."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjc.calibration import Temperature
from hjc.classifiers.features import TextFeatures
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.data import JobData
from hjc.errors import TaxonomyError
from hjc.explain import explain_text
from hjc.explain.linear import occurrence_shares
from hjc.explain.words import Word, located_tokens, raw_words, to_words
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
    scores = model.nodes.scores(model.features.transform([TEXT]))[0].astype(float)
    by_node = model.settings.hierarchy in ("topdown", "plt")
    for found in explain_text(model, TEXT):
        if not by_node:
            a, b = scores[TREE.leaf_slice[found.node, 0]], scores[TREE.leaf_slice[found.second, 0]]
        elif found.second < 0:
            continue
        else:
            a, b = scores[found.node + 1], scores[found.second + 1]
            group = TREE.group_slice[TREE.group[found.node]]
            if model.settings.hierarchy == "topdown" and group[1] - group[0] == 2:
                a, b = (a, 0.0) if found.node == group[0] else (0.0, b)
        assert found.method == "linear" and found.value == pytest.approx(a, abs=1e-4)
        assert found.difference == pytest.approx(a - b, abs=1e-4)
        assert found.constant + sum(w.part for w in found.words) == pytest.approx(found.value, abs=1e-9)
        leads = sum(w.lead for w in found.words)
        assert found.difference_constant + leads == pytest.approx(found.difference, abs=1e-9)
        assert sum(part for _, part in found.by_word()) == pytest.approx(leads)


def test_the_right_words_speak():
    levels = explain_text(MODEL, TEXT)
    assert [TREE.codes[found.node] for found in levels] == ["1", "11"]
    parts = dict(levels[0].by_word())
    assert levels[1].by_word()[0][0] == "nurse" and parts["nurse"] > 0
    assert TREE.codes[levels[0].second] == "2" and parts["lorry"] < 0 and parts["driver"] < 0
    assert levels[0].probability > levels[0].second_probability > 0
    calibrated = fitted()
    calibrated.calibrator = Temperature(TREE, 5.0)
    assert explain_text(calibrated.calibrated(), TEXT)[0].probability < levels[0].probability


def test_every_feature_of_a_text_is_shared_out():
    words, shares = occurrence_shares(MODEL.features, TEXT)
    assert [TEXT[w.start : w.end] for w in words[:3]] == ["Nurse", "nurse", "for"]
    row = MODEL.features.transform([TEXT]).toarray()[0]
    np.testing.assert_allclose(np.asarray(shares.sum(axis=0)).ravel()[row != 0], 1.0)
    assert all(found.words == () for found in explain_text(MODEL, ""))


def test_codes_that_are_asked_for():
    (found,) = explain_text(MODEL, TEXT, code="12")
    assert (found.level, TREE.codes[found.node], TREE.codes[found.second]) == (2, "12", "11")
    assert dict(found.by_word())["nurse"] < 0
    assert TREE.codes[explain_text(MODEL, TEXT, [1], code="12")[0].node] == "1"
    assert TREE.codes[explain_text(MODEL, TEXT, [2], code="12", against="13")[0].second] == "13"
    with pytest.raises(ValueError, match="part at level 1"):
        explain_text(MODEL, TEXT, code="12", against="21")
    with pytest.raises(ValueError, match="both codes are 12"):
        explain_text(MODEL, TEXT, code="12", against="12")
    with pytest.raises(ValueError, match="above level 2"):
        explain_text(MODEL, TEXT, [2], code="1")
    with pytest.raises(TaxonomyError, match="99"):
        explain_text(MODEL, TEXT, code="99")
    with pytest.raises(ValueError, match="allowed are auto"):
        explain_text(MODEL, TEXT, method="guess")
    with pytest.raises(ValueError, match="use linear"):
        explain_text(MODEL, TEXT, method="gradients")
    (alone,) = explain_text(MODEL, "teacher", code="31")
    assert alone.second == -1 and np.isnan(alone.second_probability)


def test_levels_without_scores_of_their_own_leave_words_out():
    model = fitted(hierarchy="bottomup")
    (found,) = explain_text(model, TEXT, [1])
    assert found.method == "occlusion" and found.by_word("part")[0][0] == "nurse"
    with pytest.raises(ValueError, match="scores leaves only"):
        explain_text(model, TEXT, [1], method="linear")


@pytest.mark.parametrize("subject", [MODEL, StubClassifier(TREE)], ids=["linear", "stub"])
def test_occlusion_is_the_change_without_the_word(subject):
    (found,) = explain_text(subject, TEXT, [2], method="occlusion")
    own, second = (int(TREE.leaf_slice[node, 0]) for node in (found.node, found.second))
    full, without = subject.predict_log_proba([TEXT, "Nurse nurse\nfor a , not a lorry driver; nurse wanted"])
    (ward,) = [w for w in found.words if w.word == "ward"]
    assert TEXT[ward.start : ward.end] == "ward"
    assert ward.part == pytest.approx(full[own] - without[own], abs=1e-6)
    assert ward.lead == pytest.approx((full[own] - full[second]) - (without[own] - without[second]), abs=1e-6)
    (none,) = subject.leaf_log_proba([" \nfor a ward, not a lorry driver;  wanted"])
    assert dict(found.by_word("part"))["nurse"] == pytest.approx(full[own] - none[own], abs=1e-6)  # all three at once
    assert found.value == pytest.approx(full[own]) and "do not add up" in found.notes[0]


def test_occlusion_of_long_and_empty_texts():
    text = " ".join(f"word{i}" for i in range(50))
    (found,) = explain_text(StubClassifier(TREE), text, [2], most=20)
    assert len(found.words) == 50 and len({w.part for w in found.words}) == 17 and "3 at a time" in found.notes[1]
    assert explain_text(StubClassifier(TREE), "")[0].words == ()


# ---------------------------------------------------------------- places of words

letters = st.text("aB1ß .,-\n\t+#\u00ad\u200b\u0301ﬁİﷺ क्षि", max_size=30)


@given(letters)
def test_located_tokens_are_the_tokens_of_the_model(text):
    features = TextFeatures(LinearSettings())
    found = located_tokens(text, lambda piece: features.tokens(piece))
    assert [w.token for w in found] == features.tokens(text)
    assert all(0 <= w.start < w.end <= len(text) for w in found)
    assert [w.start for w in found] == sorted(w.start for w in found)


@given(letters)
def test_words_and_what_stands_between_cover_every_character(text):
    found = raw_words(text, between=True)
    covered = "".join(text[w.start : w.end] for w in found)
    assert covered == "".join(text.split())
    assert [w for w in found if w in raw_words(text)] == raw_words(text)


def test_places():
    plain = located_tokens("Straße, C++  Nurse/driver", lambda p: TextFeatures(LinearSettings()).tokens(p))
    assert [w[1:] for w in plain] == [(0, 6), (8, 11), (13, 18), (19, 25)] and plain[0].token == "strasse"
    hidden = located_tokens("pfle\u00adger in", lambda p: [t for t in p.replace("\u00ad", "").split()])
    assert hidden == [Word("pfleger", 0, 8), Word("in", 9, 11)]
    words = raw_words("ab cd", between=True)
    assert to_words(words, [0, 1, 2, 2, 5], [1, 4, 3, 5, 6]).tolist() == [0, 0, 1, 1, 1]
    assert to_words([], [0], [1]).tolist() == [-1]


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("linear") / "model"
    MODEL.save_pretrained(folder)
    return folder


def test_command(call, run_dir):
    code, out, err = call("explain", run_dir, TEXT, "--words", 2)
    assert code == 0 and out.startswith("level 1  1") and "before 2" in out and "nurse +" in out and "sum +" in out
    assert "exact parts" in err
    code, out, err = call("explain", run_dir, TEXT, "-l", 2, "--code", 12, "--method", "occlusion")
    assert code == 0 and "level 2  12" in out and "without the words" in out and "leaving one word out" in err
    code, out, _ = call("explain", run_dir, TEXT, "--json", "--code", "31")
    found = json.loads(out)["levels"][0]
    assert code == 0 and found["second"] is None and found["words"][0]["start"] == 0
    code, _, err = call("explain", run_dir, TEXT, "--code", "99")
    assert code == 2 and "99" in err


def test_unknown_words():
    assert MODEL.oov_share("nurse ward xyzzy plugh") == 0.5
    assert MODEL.oov_share("") == 0.0 and fitted(features="char").oov_share("xyzzy") == 0.0
