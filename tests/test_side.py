"""Side variables: texts that carry them, their tokens, linear and neural models with and without them, the commands."""

import json
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import hjc
from hjc.classifiers.base import Classifier
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.lookup import LookupClassifier
from hjc.classifiers.lookup_settings import LookupSettings
from hjc.classifiers.neural import NeuralClassifier
from hjc.classifiers.side import beside
from hjc.classifiers.sparse_rows import SparseRows
from hjc.data import DataSettings, JobData, TextRecipe, read_job_data
from hjc.data.settings import SideSettings
from hjc.data.side import SideText, SideVocabulary, levels_of, side_of, with_side
from hjc.nn.settings import NeuralSettings, TrainerSettings
from hjc.nn.side import SideVectors
from hjc.taxonomy import Taxonomy, from_prefix_codes

COLUMNS = (SideSettings(column="nace", kind="hierarchical"), SideSettings(column="age", kind="numeric"),
           SideSettings(column="portal"))  # fmt: skip
RECIPE = TextRecipe(("text",), side=COLUMNS)


def tree() -> Taxonomy:
    return from_prefix_codes(["11", "12", "21", "22"], [1, 2])


def table(n: int = 160, seed: int = 0) -> pd.DataFrame:
    """The text tells the first digit, the industry the second; a third of the cells is missing."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(1, 3, n), rng.integers(1, 3, n)
    frame = pd.DataFrame({
        "text": [f"{'nurse ward' if a == 1 else 'driver lorry'} {rng.choice(['now', 'soon', 'full'])}" for a in first],
        "nace": [f"{'86' if b == 1 else '49'}.{rng.integers(1, 4)}" for b in second],
        "age": [str(20 + 20 * b) for b in second], "portal": rng.choice(["x", "y"], n),
        "code": [f"{a}{b}" for a, b in zip(first, second, strict=True)],
    })  # fmt: skip
    for column in ("nace", "age", "portal"):
        frame.loc[rng.random(n) < 0.3, column] = ""
    return frame


def rows(frame: pd.DataFrame) -> JobData:
    return JobData.from_lists(tree(), RECIPE.texts(frame), frame["code"].tolist())


# ---------------------------------------------------------------------- texts and tokens


def test_a_text_carries_its_row_and_stays_a_text():
    text = SideText("nurse", {"nace": "86"})
    assert str(text) == "nurse" and type(str(text)) is str and text.upper() == "NURSE"
    others = [SideText("nurse", {"nace": "86"}), SideText("nurse", {"nace": "49"}), "nurse"]
    assert [text == other for other in others] == [True, False, False] and len({text, *others}) == 3
    assert side_of(text) == {"nace": "86"} and side_of("nurse") == {} and side_of(text[:3]) == {}
    assert side_of(pickle.loads(pickle.dumps(text))) == {"nace": "86"}
    assert [side_of(t) for t in with_side(["a", "b"], {"x": ["1", None], "y": ["", ""]})] == [{"x": "1"}, {}]
    assert type(with_side(["a"], {"x": [None]})[0]) is str


def test_a_recipe_is_stored_with_its_side_variables_and_without_them_as_before():
    assert TextRecipe.from_dict(json.loads(json.dumps(RECIPE.to_dict()))) == RECIPE
    assert "side" not in TextRecipe(("text",)).to_dict()
    with pytest.raises(ValueError, match=r"data.side.kind.*got 'colour'"):
        TextRecipe(side=({"column": "a", "kind": "colour"},))
    with pytest.raises(ValueError, match="named once"):
        DataSettings(side=[SideSettings(column="a"), SideSettings(column="a")])


def test_cells_come_from_tables_mappings_and_files(tmp_path):
    given = pd.DataFrame({"text": ["a", "b"], "nace": ["62.01", None], "age": [30.0, 41.5]})
    wanted = [{"nace": "62.01", "age": "30"}, {"age": "41.5"}]
    assert [side_of(t) for t in RECIPE.texts(given)] == wanted
    assert [side_of(t) for t in RECIPE.texts(given.replace({np.nan: None}).to_dict("records"))] == wanted
    assert side_of(RECIPE.texts(["a"])[0]) == {}
    given.assign(code=["11", "12"], portal="").to_csv(tmp_path / "a.csv", index=False)
    data, _ = read_job_data(tmp_path / "a.csv", tree(), DataSettings(train=["-"], side=list(COLUMNS)))
    assert [side_of(t).get("nace") for t in data.texts] == ["62.01", None]
    assert data.hash != replace(data, texts=tuple(map(str, data.texts))).hash


def test_a_side_column_that_is_gone_is_an_error_in_training(tmp_path):
    table().drop(columns="nace").to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ValueError, match="nace"):
        read_job_data(tmp_path / "a.csv", tree(), DataSettings(train=["-"], side=list(COLUMNS)))


@given(st.text(st.sampled_from("ABC0123456789."), min_size=1, max_size=9))
def test_levels_of_a_code_are_its_beginnings(cell):
    found = levels_of(cell, "")
    assert found[-1] == cell and all(cell.startswith(x) for x in found) and len(set(found)) == len(found)
    assert found[:-1] == [cell[: i + 1] for i, c in enumerate(cell[:-1]) if c != "."]
    assert levels_of("A > B > C", ">") == ["A", "A>B", "A>B>C"]


def test_tokens_of_each_kind():
    texts = with_side(["a"] * 4, {"nace": ["86.1", "86.2", "86.2", "99"], "age": ["1", "2", "3", "x"],
                                  "portal": ["p", "p", "q", ""]})  # fmt: skip
    with pytest.warns(UserWarning, match="1 of 4 cells of 'age' are no numbers and count as missing: 'x'"):
        found = SideVocabulary.fit(COLUMNS, texts)
    assert list(found.tokens[0]) == ["8", "86", "86.2"] and list(found.tokens[2]) == ["p"], "seen in two rows"
    row, variable, token = found.of(texts)
    ages = [len(token[(row == i) & (variable == 1)]) for i in range(4)]
    assert ages[0] < ages[1] < ages[2] and ages[3] == 0, "a number reaches more thresholds than a smaller one"
    assert found.variable[token].tolist() == variable.tolist()
    note = found.note()
    assert "'99'" in note and "'x'" in note and "'q'" in note and found.note() == ""
    assert SideVocabulary.from_dict(json.loads(json.dumps(found.to_dict()))).of(texts)[2].tolist() == token.tolist()
    padded = found.padded(texts)
    assert [sorted(x for x in own if x < len(found)) for own in padded.tolist()] == [
        sorted(token[row == i].tolist()) for i in range(4)
    ]


def test_hashed_tokens_need_no_list_and_no_second_row():
    texts = with_side(["a", "b"], {"nace": ["86.1", "49"], "age": ["1", "2"], "portal": ["p", "q"]})
    found = SideVocabulary.fit(COLUMNS, texts, hashing=32)
    _, variable, token = found.of(texts)
    assert len(found) == 32 + len(found.tokens[1]) and token[variable == 0].min() >= len(found.tokens[1])
    again = SideVocabulary.from_dict(found.to_dict()).of(texts)[2]
    assert token.tolist() == again.tolist() and found.note() == ""


@pytest.mark.parametrize(
    ("column", "cells", "said"), [("age", ["x"], "may be categorical"), ("nace", [""], "no training row")]
)
def test_variables_that_nothing_can_be_learnt_from_are_refused(column, cells, said):
    own = [c for c in COLUMNS if c.column == column]
    with pytest.raises(ValueError, match=said):
        SideVocabulary.fit(own, with_side(["a"], {column: cells}))


def test_side_columns_of_a_linear_model_have_the_length_that_was_asked_for():
    frame = table()
    texts = RECIPE.texts(frame)
    found, settings = SideVocabulary.fit(COLUMNS, texts), LinearSettings(side_weight=0.5)
    empty = SparseRows.of(sparse.csr_matrix((len(texts), 0), dtype=np.float32))
    own = beside(empty, found, texts, settings).scipy()
    for i, text in enumerate(texts):
        assert own[i].multiply(own[i]).sum() == pytest.approx(0.25 * len(side_of(text)))
    taught = beside(empty, found, texts, replace(settings, side_dropout=0.5), training=True).scipy()
    assert 0.35 < taught.nnz / own.nnz < 0.65
    assert beside(empty, None, texts, settings) is empty


# ---------------------------------------------------------------------- models


def linear() -> LinearClassifier:
    return LinearClassifier(tree(), LinearSettings(min_df=1, side_weight=1.0))


def neural() -> NeuralClassifier:
    small = NeuralSettings(
        encoder="tiny", tiny_hidden=32, tiny_layers=1, tiny_vocabulary=300, max_length=12, dropout=0.0
    )
    quick = TrainerSettings(epochs=12, batch_size=16, learning_rate=3e-3, head_learning_rate=2e-2, warmup_steps=5,
                            precision="32", loggers=[], threads=1)  # fmt: skip
    return NeuralClassifier(tree(), small, quick)


def recall(model: Classifier, texts: list[str], data: JobData) -> float:
    best = model.leaf_log_proba(texts).argmax(1)
    return float((tree().leaves[best] == data.gold).mean())


@pytest.mark.parametrize("make", [linear, pytest.param(neural, marks=pytest.mark.slow)])
def test_a_model_gains_by_side_variables_and_does_without(make, tmp_path):
    train, test = rows(table()), rows(table(80, seed=1))
    model = make()
    model.recipe = RECIPE
    model.fit(train)
    plain = [str(t) for t in test.texts]
    alone = make().fit(replace(train, texts=tuple(map(str, train.texts))))
    some = np.array([bool({"nace", "age"} & set(side_of(t))) for t in test.texts])
    gain = recall(model, list(test.texts), test) - recall(alone, plain, test)
    assert gain > 0.25 and recall(model, plain, test) > recall(alone, plain, test) - 0.1
    assert recall(model, [t for t, s in zip(test.texts, some, strict=True) if s], test.take(some)) > 0.9
    model.save_pretrained(tmp_path / "run")
    again = hjc.load(tmp_path / "run")
    frame = table(5, seed=2)
    np.testing.assert_allclose(again.predict_log_proba(frame), model.leaf_log_proba(RECIPE.texts(frame)), atol=1e-5)
    assert again.recipe == RECIPE


def test_an_index_before_a_model_leaves_side_variables_to_it():
    train, test = rows(table()), rows(table(40, seed=4))
    alone, behind = linear(), linear()
    settings = LookupSettings(titles=False, sources=["none of these texts"])
    model = LookupClassifier(tree(), settings, behind)
    alone.recipe = model.recipe = RECIPE
    index = JobData.from_lists(tree(), ["welder"], ["21"], sources=["none of these texts"])
    alone.fit(both := JobData.concat([train, index]))
    model.fit(both)
    np.testing.assert_allclose(model.leaf_log_proba(test.texts), alone.leaf_log_proba(test.texts), atol=1e-5)
    assert model.side is behind.side is not None


def test_unfitted_recipes_of_texts_alone_read_no_side_variable():
    train = rows(table())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = linear().fit(train)
    assert model.side is None
    plain = [str(t) for t in train.texts]
    np.testing.assert_array_equal(model.leaf_log_proba(plain), model.leaf_log_proba(train.texts))


def test_vectors_of_side_variables_are_sums_and_begin_at_zero():
    texts = RECIPE.texts(table())
    found = SideVocabulary.fit(COLUMNS, texts)
    module = SideVectors(found, 8, 0.5)
    tokens = torch.from_numpy(found.padded(texts))
    assert not module(tokens).any()
    torch.nn.init.normal_(module.embedding.weight)
    with torch.no_grad():
        module.embedding.weight[-1] = 0
    module.eval()
    row, _, token = found.of(texts)
    weight = module.embedding.weight.detach().numpy()
    wanted = np.stack([weight[token[row == i]].sum(0) for i in range(len(texts))])
    np.testing.assert_allclose(module(tokens).detach().numpy(), wanted, atol=1e-5)
    module.train()
    kept = (module(tokens) != module(tokens)).any()
    assert kept, "in training whole variables are left out at random"


# ---------------------------------------------------------------------- commands


def test_models_that_read_the_text_alone_refuse_side_variables_before_any_data_is_read(tmp_path, call):
    options = ["data=csv", "data.train=[nowhere.csv]", "data.side=[{column: nace}]", f"run_dir={tmp_path / 'run'}"]
    code, _, err = call("train", "model=biencoder", *options)
    assert code == 2 and "model=biencoder reads the text alone" in err


def test_commands_read_side_columns_and_say_what_they_miss(tmp_path, call):
    model = linear()
    model.recipe = RECIPE
    model.fit(rows(table())).save_pretrained(tmp_path / "run")
    test = table(60, seed=3)
    test.to_csv(tmp_path / "a.csv", index=False)
    test.assign(portal="never seen").to_csv(tmp_path / "b.csv", index=False)
    test.drop(columns=["nace", "age"]).to_csv(tmp_path / "c.csv", index=False)
    right = {}
    for name in "abc":
        out = tmp_path / f"{name}_out.csv"
        code, _, err = call("predict", tmp_path / "run", tmp_path / f"{name}.csv", "-o", out)
        assert code == 0, err
        coded = pd.read_csv(out, dtype=str)
        right[name] = (coded["hjc_level2_code_1"] == test["code"]).mean()
        assert ("portal: 60 cells ('never seen')" in err) == (name == "b")
        assert ("no column 'nace', 'age'" in err) == (name == "c")
    assert right["a"] > 0.75 and right["b"] > 0.75 and right["c"] < 0.7
    for command, *more in (("evaluate", "--bootstrap", 0), ("estimate", "--run", tmp_path / "run")):
        first = [tmp_path / "run"] if command == "evaluate" else []
        code, _, err = call(command, *first, tmp_path / "b.csv", *more)
        assert code == 0 and "portal: 60 cells ('never seen')" in err
        assert "no column 'nace', 'age'" in call(command, *first, tmp_path / "c.csv", *more)[2]
    code, out, err = call(
        "evaluate", tmp_path / "run", tmp_path / "a.csv", "--bootstrap", 0, "-o", tmp_path / "ev", "--no-report"
    )
    assert code == 0, err
    found = json.loads((tmp_path / "ev" / "metrics.json").read_text())
    assert found["test/level_2/recall@1"] == pytest.approx(right["a"])
