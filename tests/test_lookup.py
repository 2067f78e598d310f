"""The index of titles: how texts are found, alone and before a model, what it says of a row, and its check."""

import io
import json
import logging
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hjc
from hjc.apply.index_check import check_index
from hjc.classifiers import build
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.lookup import DEFAULT_WEIGHTS, PRIOR_ROWS, LookupClassifier
from hjc.classifiers.lookup_settings import STAGES, LookupSettings
from hjc.classifiers.title_index import TitleIndex, plain_title
from hjc.data import JobData
from hjc.evaluation import evaluate_model
from hjc.taxonomy import Taxonomy, from_prefix_codes
from hjc.training.config import compose

WORDS = ["nurse", "head", "cook", "driver", "senior", "clerk"]


def tree() -> Taxonomy:
    titles = {"en": {"11": "Nurses", "12": "Midwives", "21": "Cooks", "22": "Lorry drivers"}}
    return from_prefix_codes(["11", "12", "21", "22"], [1, 2], titles=titles)


TITLES = [("Registered nurse", "11"), ("registered NURSE (m/w/d)", "11"), ("Nurse, head", "11"), ("nurse head", "12"),
          ("Cook", "21"), ("Driver of heavy lorries", "22"), ("driver, heavy lorries", "22"), ("(m/f)", "21"),
          ("head nurse", "12")]  # fmt: skip


def data(rows: list[tuple[str, str]] = TITLES) -> JobData:
    return JobData.from_lists(tree(), [title for title, _ in rows], [code for _, code in rows])


def index(rows: list[tuple[str, str]] = TITLES, language: str = "") -> TitleIndex:
    own = data(rows)
    return TitleIndex.build(own.taxonomy, own.texts, own.target, own.weight, [language] * len(own))


# ---------------------------------------------------------------------- finding


def test_one_spelling_of_a_title():
    assert plain_title("  Registered-NURSE (m/w/d), ward ") == "registered nurse ward"
    assert plain_title("Sprzedawca k/m") == plain_title("sprzedawca (K/M)") == "sprzedawca"
    assert plain_title("C++ developer") == "c++ developer" and plain_title("(m/f) !") == ""


def test_equal_titles_are_one_entry_with_counts():
    found = index()
    assert found.titles == ("Registered nurse", "Nurse, head", "Cook", "Driver of heavy lorries",
                            "driver, heavy lorries", "head nurse")  # fmt: skip
    t = found.taxonomy
    assert found.counts([1]) == {t.index_of["11"]: 1, t.index_of["12"]: 1}
    assert found.counts([0]) == {t.index_of["11"]: 2}
    assert found.says([1], 1.0) == "Nurse, head -> 11 (0.50), 12 (0.50)"
    assert found.says([0], 0.8) == "Registered nurse (0.80) -> 11"


def test_stages_find_in_their_order():
    found = index(language="en").match(["COOK!", "registered nurses", "lorries, driver heavy", "pilot", ""])
    assert [STAGES[s] if s >= 0 else "" for s in found.stage] == ["exact", "stem", "tokens", "", ""]
    assert found.score.tolist()[:2] == [1, 1] and found.entries[2] == [4] and found.score[2] == 1
    only = index(language="en").match(["registered nurses"], stages=["exact"])
    assert only.stage.tolist() == [-1]


def test_titles_of_languages_without_stems_are_found_otherwise_and_counted(caplog):
    own = index(language="und")
    assert own.without_stems == {"und": len(own)} and index(language="pl").without_stems == {}
    found = own.match(["COOK!", "registered nurses", "lorries, driver heavy"])
    assert [STAGES[s] if s >= 0 else "" for s in found.stage] == ["exact", "", "tokens"]
    rows = data()
    given = {"stages": ["stem"], "titles": False}
    LookupClassifier(tree(), LookupSettings(**given)).fit(replace(rows, language=("bg", *[""] * (len(rows) - 1))))
    assert "7 of 7 titles are of languages without stems" in caplog.text and "bg 1" in caplog.text
    spoken = LookupClassifier(tree(), LookupSettings(**given, language="en")).fit(rows)
    assert spoken.index.match(["registered nurses"], stages=["stem"]).stage.tolist() == [STAGES.index("stem")]
    of_tree = from_prefix_codes(["11", "12"], [1, 2], titles={"und": {"11": "Nurse", "12": "Cooks"}})
    titled = LookupClassifier(of_tree, LookupSettings(stages=["stem"], training=False, language="en"))
    titled.fit(JobData.from_lists(of_tree, ["x"], ["11"]))
    assert titled.index.match(["nurses"], stages=["stem"]).stage.tolist() == [STAGES.index("stem")]


def test_settings_of_an_index_that_stands_nowhere_are_refused():
    with pytest.raises(ValueError, match=r"give model.before=lookup"):
        compose(["model=linear", "lookup.index=titles.csv"])
    with pytest.raises(ValueError, match=r"model=lookup has these settings as model.\*"):
        compose(["model=lookup", "lookup.index=titles.csv"])
    with pytest.raises(ValueError, match=r"model.before: got 'dictionary', allowed are '', lookup"):
        compose(["model=linear", "model.before=dictionary"])
    assert compose(["model=linear", "model.before=lookup", "lookup.index=titles.csv"]).lookup.index == "titles.csv"


@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4), min_size=1, max_size=6),
       st.lists(st.sampled_from([*WORDS, "strange"]), min_size=1, max_size=5))  # fmt: skip
def test_scores_of_words_are_weighted_jaccard_similarities(entries, query):
    rows = [(" ".join(words), "11") for words in entries]
    own = index(rows)
    idf = {w: math.log1p(len(own) / max(1, sum(w in k.split() for k in own.keys))) for w in [*WORDS, "strange"]}
    asked = set(query)
    known = {w for k in own.keys for w in k.split()}
    weight = lambda words: sum(idf[w] if w in known else math.log1p(len(own)) for w in words)  # noqa: E731
    wanted = [weight(asked & set(k.split())) / weight(asked | set(k.split())) for k in own.keys]
    found = own.match([" ".join(query)], stages=["tokens"], least_score=1e-9)
    if max(wanted) > 0:
        assert found.score[0] == pytest.approx(max(wanted), abs=1e-5)
        assert found.entries[0] == [i for i, x in enumerate(wanted) if x >= max(wanted) - 1e-6]
    else:
        assert found.stage[0] == -1


def test_an_index_is_read_as_it_was_written(tmp_path):
    own = index(language="en")
    own.write(tmp_path / "index.csv")
    read = TitleIndex.read(tmp_path / "index.csv", own.taxonomy)
    assert read.titles == own.titles and read.language == own.language
    assert [read.counts([i]) for i in range(len(read))] == [own.counts([i]) for i in range(len(own))]


# ---------------------------------------------------------------------- the classifier


def test_weights_are_those_of_greatest_posterior_probability():
    """The EM estimate against a search over a grid: log-likelihood of the mixture, with the declared prior rows."""
    valid = data([("registered nurse", "11"), ("registered nurse", "12"), ("registered nurse", "11")])
    model = LookupClassifier(tree(), LookupSettings(titles=False)).fit(data(), valid=valid)
    prior = np.exp(model._prior)
    nurse = model.index.leaf_shares([0])
    gold = [tree().leaf_slice[g, 0] for g in valid.gold]
    grid = np.linspace(0.001, 0.999, 9999)
    value = sum(np.log(grid * nurse[g] + (1 - grid) * prior[g]) for g in gold)
    declared = DEFAULT_WEIGHTS[0][0]
    value += PRIOR_ROWS * (declared * np.log(grid) + (1 - declared) * np.log1p(-grid))
    assert model.weights[0] == pytest.approx(grid[value.argmax()], abs=1e-3)
    assert [line for line in model.trust if line["rows"]] == [
        {"stage": "exact", "codes": "one", "weight": round(float(model.weights[0]), 4), "rows": 3}
    ]


def test_rows_say_their_stage_and_entry_and_levels_agree(caplog):
    with caplog.at_level(logging.WARNING):
        model = LookupClassifier(tree()).fit(data())
    assert "no validation rows" in caplog.text
    texts = ["COOK", "nurse, head", "lorry drivers", "pilot"]
    ((rows, log_proba, said),) = model.iter_outcomes(texts)
    assert rows.tolist() == [0, 1, 2, 3] and np.exp(log_proba).sum(1) == pytest.approx(1)
    assert said[0] == ("exact", "Cook -> 21") and said[1] == ("exact", "Nurse, head -> 11 (0.50), 12 (0.50)")
    assert said[2] == ("exact", "Lorry drivers -> 22") and said[3] == ("not found", "")
    assert log_proba[1, 0] == pytest.approx(log_proba[1, 1], abs=0.1)
    assert np.exp(tree().aggregate(log_proba, 1)).sum(1) == pytest.approx(1)


def test_a_text_that_is_not_found_is_the_models_own():
    base = LinearClassifier(tree(), LinearSettings(min_df=1))
    alone = LinearClassifier(tree(), LinearSettings(min_df=1)).fit(data())
    model = LookupClassifier(tree(), LookupSettings(), base).fit(data(), valid=data(TITLES[:3]))
    texts = ["pilot of a plane", "cook"]
    ((_, log_proba, said),) = model.iter_outcomes(texts)
    behind = alone.leaf_log_proba(texts)
    assert said[0] == ("model", "") and log_proba[0] == pytest.approx(behind[0], abs=1e-5)
    w = model.weights[0]
    assert np.exp(log_proba[1]) == pytest.approx(w * np.array([0, 0, 1, 0]) + (1 - w) * np.exp(behind[1]), abs=1e-5)


@pytest.mark.parametrize("base", [None, "linear"])
def test_a_saved_lookup_codes_as_before(base, tmp_path):
    behind = None if base is None else LinearClassifier(tree(), LinearSettings(min_df=1))
    model = LookupClassifier(tree(), LookupSettings(), behind).fit(data(), valid=data(TITLES[:4]))
    model.save_pretrained(tmp_path / "run")
    read = hjc.load(tmp_path / "run")
    texts = ["cook", "driver heavy lorries now", "unknown"]
    np.testing.assert_allclose(read.predict_log_proba(texts), model.predict_log_proba(texts), atol=1e-6)
    found = evaluate_model(read, data(TITLES[:3]), bootstrap=0, decisions=False)
    assert found.metrics["level_2/recall@1"] == 1.0


def test_settings_that_leave_nothing_to_look_up_are_refused():
    bare = LookupSettings(titles=False, training=False)
    with pytest.raises(ValueError, match="would be empty"):
        LookupClassifier(tree(), bare).fit(data())
    with pytest.raises(ValueError, match="no training row is of"):
        LookupClassifier(tree(), LookupSettings(sources=["dictionary"])).fit(data())
    with pytest.raises(ValueError, match=r"lookup.stages: got 'near'"):
        LookupSettings(stages=["near"])
    with pytest.raises(ValueError, match=r"model.before: got 'index'"):
        build(tree(), LinearSettings(before="index"))


# ---------------------------------------------------------------------- commands


def write(tmp_path, rows=TITLES):
    pd.DataFrame(rows, columns=["text", "code"]).to_csv(tmp_path / "titles.csv", index=False)
    pd.DataFrame({"code": tree().codes, "title_en": tree().titles["en"]}).to_csv(tmp_path / "tree.csv", index=False)
    return tmp_path / "titles.csv"


def test_the_check_of_an_index(tmp_path, call):
    path = write(tmp_path, [*TITLES, ("pilot", "99")])
    options = ["-o", tmp_path / "check", "--taxonomy", tmp_path / "tree.csv", "--digits", "1,2"]
    code, out, err = call("data", "index", path, *options)
    assert code == 0, err
    torn, twice, lost = (pd.read_csv(tmp_path / "check" / f"{x}.csv", dtype=str) for x in
                         ("contradictions", "duplicates", "unreachable"))  # fmt: skip
    assert torn["codes"].tolist() == ["11 (1), 12 (1)"] and torn["level"].tolist() == ["1"]
    assert twice["spelt"].tolist() == ["Registered nurse | registered NURSE (m/w/d)"]
    assert lost["title"].tolist() == ["(m/f)", "head nurse"] and "'nurse head'" in lost["reason"][1]
    assert pd.read_csv(tmp_path / "check" / "empty_codes.csv").empty
    assert "unknown code" in (tmp_path / "check" / "rejects.csv").read_text() and "titles of several codes" in out
    assert check_index(data()).counts["entries"] == 6


@pytest.mark.slow
def test_training_with_a_lookup_before_the_model_and_predicting_with_it(tmp_path, call):
    path = write(tmp_path, TITLES * 3)
    (tmp_path / "valid.csv").write_text("text,code\ncook,21\nregistered nurse,11\npilot,22\n")
    common = ["data=csv", f"data.train=[{path}]", f"data.valid=[{tmp_path / 'valid.csv'}]", "evaluation.bootstrap=0",
              f"taxonomy.path={tmp_path / 'tree.csv'}", "taxonomy.digits=[1,2]", "evaluation.report=false"]  # fmt: skip
    for name, model in (
        ("before", ["model=linear", "model.before=lookup", "model.min_df=1"]),
        ("alone", ["model=lookup"]),
    ):
        code, _, err = call("train", *model, *common, f"run_dir={tmp_path / name}")
        assert code == 0, err
        code, out, err = call("predict", tmp_path / name, tmp_path / "valid.csv")
        assert code == 0, err
        said = pd.read_csv(io.StringIO(out), dtype=str, keep_default_na=False)
        assert said["hjc_outcome"].tolist() == ["exact", "exact", "model" if name == "before" else "not found"]
        assert said["hjc_outcome_reason"].tolist()[:2] == ["Cook -> 21", "Registered nurse -> 11"]
        assert said["hjc_level2_code_1"].tolist()[:2] == ["21", "11"]
        assert json.loads((tmp_path / name / "config.json").read_text())["classifier"] == "lookup"
