"""Marked texts in the report: the words with the largest parts, nothing lost or let through, cheap, or a reason."""

import importlib.util
import re

import pytest

from hjc.classifiers.neural import NeuralClassifier
from hjc.data import JobData
from hjc.evaluation import evaluate_model
from hjc.explain import explain_text
from hjc.explain.result import LevelExplanation, WordPart
from hjc.report import explanations
from hjc.report.explanations import explanations_section, marked
from hjc.report.page import render
from hjc.report.save import save_evaluations
from tests.stub_classifier import StubClassifier
from tests.test_explain import DATA, MODEL, TEXT, TREE
from tests.test_neural import settings, toy_data, toy_tree, trainer

TEXTS = [*DATA.texts[::3], "nurse <b>ward</b> & lorry", "lorry\u202e driver"]
CODES = [*(DATA.codes[i] for i in range(0, len(DATA), 3)), "21", "13"]  # the last two are wrong
HELD = JobData.from_lists(TREE, TEXTS, CODES)


@pytest.fixture(scope="module")
def evaluated():
    return {"valid": evaluate_model(MODEL, HELD, bootstrap=0), "test": evaluate_model(MODEL, HELD, bootstrap=0)}


def by_hand(text, leads):
    words = []
    for word, lead in leads.items():
        start = text.index(word)
        words.append(WordPart(word, start, start + len(word), 0.0, lead))
    return LevelExplanation(1, 0, 1, 0.5, 0.4, "linear", tuple(words), 0, 0, 0, 0)


def test_right_and_wrong_rows_against_the_right_codes(evaluated):
    section = explanations_section(MODEL, evaluated)
    rows = section.values["rows"]
    wrong = [row for row in rows if not row["right"]]
    assert len(wrong) == 2 and len(rows) == 6 and all(row["name"] == "test" for row in rows)
    (lorry,) = [row for row in wrong if "<b>" in "".join(s.text for s in row["spans"])]
    assert [TREE.codes[n] for n in (lorry["found"].node, lorry["found"].second)] == ["1", "2"]  # they part at level 1
    kinds = {s.text: s.kind for s in lorry["spans"]}
    assert kinds["nurse"].startswith("for") and kinds["lorry"].startswith("against")
    page = render("run", [section])
    assert "&lt;b&gt;" in page and "<b>" not in page.split("<body>")[1] and "\u202e" not in page
    assert page.count("test: right; level") == 4 == page.count("before ") and page.count("instead of ") == 2
    assert re.search(r'<span class="for[123]" title="\+\d', page) and 'class="against3">most' in page


def test_marks_are_relative_and_text_is_whole():
    text = "alpha beta gamma\tdelta"
    spans = marked(text, by_hand(text, {"alpha": -2.0, "beta": 0.9, "gamma": 0.31, "delta": 0.1}))
    assert "".join(s.text for s in spans) == "alpha beta gamma delta"
    assert [(s.text, s.kind) for s in spans if s.kind] == [("alpha", "against3"), ("beta", "for2"), ("gamma", "for1")]
    assert [s.kind for s in marked("a b", by_hand("a b", {"a": 0.0, "b": 0.0}))] == [""] * 3
    assert marked("", by_hand("", {})) == []


def test_long_texts_are_cut_around_their_strongest_words():
    words = [f"word{i}" for i in range(300)]
    words[200], words[299] = "strong", "stronger"
    text = " ".join(words)
    spans = marked(text, by_hand(text, {"word3": 0.1, "strong": 3.0, "stronger": -4.0}))
    shown = "".join(s.text for s in spans)
    assert shown.startswith("word0 word1") and len(shown) < 650 and shown.count("…") == 2
    assert {s.text: s.kind for s in spans if s.kind} == {"strong": "for3", "stronger": "against3"}
    assert all(piece.strip() in text for piece in shown.split("…"))
    assert marked(text, by_hand(text, {"word3": 0.1}))[-1].text == " …"


@pytest.mark.slow
def test_neural_texts_are_few_and_cheap(monkeypatch):
    pytest.importorskip("captum")
    tree = toy_tree()
    model = NeuralClassifier(tree, settings(), trainer(epochs=2)).fit(toy_data(tree, 8))
    data = toy_data(tree, 6, seed=3)
    data = JobData.from_lists(tree, data.texts, ["4" if i % 5 == 0 else c for i, c in enumerate(data.codes)])
    sets = {"a": evaluate_model(model, data, bootstrap=0), "b": evaluate_model(model, data, bootstrap=0)}
    rows = explanations_section(model, sets).values["rows"]
    assert len(rows) == explanations.TEXTS and {row["name"] for row in rows} == {"a", "b"}
    (full,) = explain_text(model, "kilo alpha", steps=(16,))
    (half,) = explain_text(model, "kilo alpha", steps=(16,), only_lead=True)
    assert [w.lead for w in half.words] == pytest.approx([w.lead for w in full.words], abs=1e-6)
    assert all(w.part != w.part for w in half.words)  # nan: not computed
    monkeypatch.setattr(explanations, "SECONDS", -1.0)
    assert "deepest level" in explanations_section(model, sets).values["text"]
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "captum" else find(name, *a))
    assert "hjc[explain]" in explanations_section(model, sets).values["text"]


@pytest.mark.slow
def test_reasons_to_leave_it_out(evaluated, tmp_path):
    assert "evaluation.examples" in explanations_section(MODEL, evaluated, examples=False).values["text"]
    assert "hjc explain" in explanations_section(StubClassifier(TREE), evaluated).values["text"]
    inner = JobData.from_lists(TREE, ["nurse"], ["1"])
    section = explanations_section(MODEL, {"test": evaluate_model(MODEL, inner, bootstrap=0)})
    assert "deepest level" in section.values["text"]
    one = save_evaluations(tmp_path, evaluated, classifier=MODEL).read_text()
    assert "Words that decided" in one and "for3" in one
    none = save_evaluations(tmp_path, evaluated).read_text()
    assert "Words that decided" not in none
    hidden = save_evaluations(tmp_path, evaluated, classifier=MODEL, examples=False).read_text()
    assert TEXT.split()[0] not in hidden.split("<body>")[1] and "Texts are left out" in hidden
