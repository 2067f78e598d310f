"""How a text is made is part of the model: every door makes the same one, also without the record of the training."""

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hjc
from hjc import JobClassifier
from hjc.classifiers import CLASSIFIERS
from hjc.classifiers.hybrid import HybridClassifier
from hjc.classifiers.storage import ModelDirError
from hjc.data import DataSettings, TextRecipe, read_job_data
from hjc.data.recipe import EMPTY, NO_WORDS, OK, UNDECODED
from hjc.taxonomy import from_edges
from tests.damage import edit_config
from tests.stub_classifier import StubClassifier

TREE = from_edges(["1", "2", "11", "12", "21"], [None, None, "1", "1", "2"], name="toy")
HTML = "<div><p>cook <b>and</b> kitchen helper</p></div>"


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLASSIFIERS, "stub", (StubClassifier.__module__, "StubClassifier"))


def stub(**recipe: Any) -> StubClassifier:
    model = StubClassifier(TREE)
    model.recipe = TextRecipe(**recipe)
    return model


def without_recipe(directory: Path, data: dict[str, Any] | None) -> Path:
    """The directory as hjc wrote it before config.json had a recipe."""
    edit_config(directory, lambda config: config.pop("recipe"))
    if data is not None:
        (directory / "train.yaml").write_text(json.dumps({"config": {"data": data}}), "utf-8")
    return directory


# ---------------------------------------------------------------------------------------------- the doors agree

CELL = st.one_of(
    st.sampled_from(["", " ", "nan", " NaN ", "null", "cook", HTML, "<p>&nbsp;</p>", "--", "\x00", "x" * 30]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=25),
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6),
    joiner=st.sampled_from(["\n", " ", " | "]),
    max_chars=st.sampled_from([0, 12, 20_000]),
    strip_html=st.booleans(),
)
def test_every_door_makes_the_same_texts(tmp_path_factory, call, rows, joiner, max_chars, strip_html):
    if strip_html:
        pytest.importorskip("bs4")
    folder = tmp_path_factory.mktemp("doors")
    made = stub(columns=("title", "description"), joiner=joiner, max_chars=max_chars, strip_html=strip_html)
    made.save_pretrained(folder / "model")
    frame = pd.DataFrame(rows, columns=["title", "description"])
    frame.assign(code="11").to_csv(folder / "in.csv", index=False, quoting=csv.QUOTE_ALL)
    model = hjc.load(folder / "model")
    assert model.recipe == made.recipe

    python = model.predict(frame)["code"].tolist()
    mappings = frame.to_dict("records")
    assert model.predict(mappings)["code"].tolist() == python
    np.testing.assert_array_equal(model.predict_proba(mappings), model.predict_proba(frame))
    joined = model.recipe.join([frame["title"], frame["description"]])
    assert model.predict(joined)["code"].tolist() == python

    assert call("predict", folder / "model", folder / "in.csv", "-o", folder / "out.csv", "--overwrite")[0] == 0
    with (folder / "out.csv").open(encoding="utf-8", newline="") as stream:
        coded = list(csv.DictReader(stream))
    texts, status = model.recipe.read([frame["title"], frame["description"]])
    assert [row["hjc_status"] for row in coded] == status
    assert [row["hjc_level2_code_1"] for row in coded] == [
        code if s == OK else "" for code, s in zip(python, status, strict=True)
    ]

    data, rejects = read_job_data(folder / "in.csv", TREE, DataSettings(**model.recipe.settings()))
    assert list(data.texts) == [text for text in texts if text]
    assert (rejects["reason"] == "no text").all() and len(rejects) == texts.count("")

    there = [i for i, text in enumerate(texts) if text]
    if there:
        found = JobClassifier(folder / "model").predict_batch([mappings[i] for i in there], top_k=1)
        assert [one[0]["code"] for one in found] == [python[i] for i in there]


def test_a_copy_without_the_record_of_the_training_codes_the_same(tmp_path, call):
    pytest.importorskip("bs4")
    made = stub(columns=("title",), joiner=" ", max_chars=60, strip_html=True)
    made.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "train.yaml").write_text("config: {data: {text_columns: [text], strip_html: false}}", "utf-8")
    shutil.copytree(tmp_path / "model", tmp_path / "copied")
    (tmp_path / "copied" / "train.yaml").unlink()
    hjc.load(tmp_path / "model").save_pretrained(tmp_path / "saved")
    (tmp_path / "in.csv").write_text(f'title\n"{HTML}"\n')
    expected = made.predict_proba(["cook and kitchen helper"])
    for name in ("model", "copied", "saved"):
        np.testing.assert_array_equal(hjc.load(tmp_path / name).predict_proba([HTML]), expected)
        assert call("predict", tmp_path / name, tmp_path / "in.csv", "-o", tmp_path / f"{name}.csv")[0] == 0
        assert (tmp_path / f"{name}.csv").read_text() == (tmp_path / "model.csv").read_text()
        [found] = JobClassifier(tmp_path / name).predict(HTML, top_k=1)
        assert found["probability"] == pytest.approx(expected.max())


def test_an_older_directory_takes_it_from_the_record_of_its_training(tmp_path):
    stub().save_pretrained(tmp_path / "a")
    data = {"text_columns": ["title", "body"], "text_joiner": " ", "max_chars": 60, "strip_html": None, "sample": False}
    assert hjc.load(without_recipe(tmp_path / "a", data)).recipe == TextRecipe(("title", "body"), " ", 60)
    sample = {**data, "sample": True}
    (tmp_path / "a" / "train.yaml").write_text(json.dumps({"config": {"data": sample}}), "utf-8")
    assert hjc.load(tmp_path / "a").recipe == TextRecipe((), " ", 60)
    (tmp_path / "a" / "train.yaml").unlink()
    assert hjc.load(tmp_path / "a").recipe == TextRecipe()
    (tmp_path / "a" / "train.yaml").write_text("config: {data: {max_chars: -4}}", "utf-8")
    with pytest.raises(ModelDirError, match=r"train\.yaml: .*max_chars"):
        hjc.load(tmp_path / "a")


# ---------------------------------------------------------------------------------------------- what may be passed


def test_containers_of_texts():
    model = stub()
    expected = model.predict(["nurse", "cook"])["code"].tolist()
    for rows in (("nurse", "cook"), np.array(["nurse", "cook"]), pd.Series(["nurse", "cook"], index=[7, 3])):
        assert model.predict(rows)["code"].tolist() == expected
    assert len(model.predict([])) == 0 and model.predict_proba(pd.Series([], dtype=str)).shape == (0, 3)


def test_missing_cells_are_an_empty_text():
    model = stub(columns=("title", "body"))
    cells = [None, math.nan, pd.NA, np.float32("nan"), "", " nan "]
    rows = [{"title": cell, "body": None} for cell in cells]
    empty = model.leaf_log_proba([""] * len(cells))
    np.testing.assert_array_equal(model.predict_log_proba(cells), empty)
    np.testing.assert_array_equal(model.predict_log_proba(rows), empty)
    np.testing.assert_array_equal(model.predict_log_proba(pd.DataFrame(rows)), empty)


@pytest.mark.parametrize("ask", ["predict", "predict_proba", "predict_log_proba"])
@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ("nurse", TypeError, r"one string, 'nurse'; pass a list of texts"),
        ("ads.csv.gz", TypeError, r"one string, 'ads.csv.gz'; a file is read first: pandas.read_csv"),
        (Path("ads.csv"), TypeError, r"got a PosixPath; a file is read first"),
        (None, TypeError, "NoneType"),
        ({"title": "nurse"}, TypeError, "a dict; pass a list"),
        ((text for text in ["nurse"]), TypeError, "a generator"),
        ({"nurse"}, TypeError, "a set"),
        (["nurse", 3], TypeError, "row 1 is int, expected str"),
        ([["nurse"]], TypeError, "row 0 is list"),
        (np.array([["nurse"]]), TypeError, r"shape \(1, 1\)"),
        (pd.Series([2221]), TypeError, "row 0 is int"),
        ([{"title": "a"}, "b"], TypeError, "row 1 is str, others are mappings"),
        ([{"titel": "a"}], ValueError, "no column 'title'.*did you mean 'titel'.*DataFrame with the columns 'title'"),
        (pd.DataFrame({"body": ["nurse"]}), ValueError, "no column 'title'"),
        (pd.DataFrame({"title": [2221]}), TypeError, "title: row 0 is int"),
        (pd.DataFrame([["a", "b"]], columns=["title", "title"]), ValueError, "2 times"),
    ],
)
def test_what_is_no_row_is_refused(ask, rows, error, message):
    with pytest.raises(error, match=message):
        getattr(stub(columns=("title",)), ask)(rows)


def test_a_table_needs_a_recipe_that_names_columns():
    with pytest.raises(ValueError, match=r"which of the columns 'title' make a text.*model\.recipe = TextRecipe"):
        stub().predict(pd.DataFrame({"title": ["nurse"]}))


# ---------------------------------------------------------------------------------------------- the recipe itself


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("cook", True), ("5", True), ("ż", True), ("厨师", True), ("<b>cook</b>", True), ("cook <3", True),
        ("a < b", True), ("&#99;", True), ("C&A", True), (None, False), ("", False), (" \t\n\u00a0", False),
        ("<p>&nbsp;</p>", False), ("\x00\x07", False), ("---", False), ("<!-- cook -->", False), ("\u200b", False),
        ("<div class='a'>\n</div>", False), ("<br/>", False),
        ("NaN", False), (" null ", False), ("Nan", True),
    ],
)  # fmt: skip
def test_texts_that_can_be_coded(text, good):
    assert (TextRecipe().read([[text]])[1] == [OK]) is good


def test_no_joiner_is_left_behind():
    cells = [["a", "", None, "c", "nan"], ["b", "d", "", None, " NaN"]]
    assert TextRecipe(joiner=" / ").join(cells) == ["a / b", "d", "", "c", ""]


def test_status():
    texts, status = TextRecipe(max_chars=3).read([[None, "---nurse", "nurse"]])
    assert texts == ["", "---", "nur"] and status == [EMPTY, NO_WORDS, OK]


def test_through_json_and_settings():
    recipe = TextRecipe(("title", "body"), " ", 7, True)
    assert TextRecipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert TextRecipe.of(DataSettings(**recipe.settings())) == recipe
    assert TextRecipe.of(DataSettings(sample=True)) == TextRecipe()
    assert TextRecipe().differences(recipe) == [
        "columns=('title', 'body')", "joiner=' '", "max_chars=7", "strip_html=True"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "expected a JSON object"),
        ({"columns": "title"}, "columns"),
        ({"columns": [1]}, "columns"),
        ({"max_chars": True}, "max_chars"),
        ({"max_chars": -1}, "max_chars"),
        ({"strip_html": 1}, "strip_html"),
        ({"joiner": None}, "joiner"),
        ({"fields": True}, "knows no 'fields': upgrade hjc"),
    ],
)
def test_a_damaged_recipe_is_named(tmp_path, values, message):
    stub().save_pretrained(tmp_path)
    edit_config(tmp_path, lambda config: config.update(recipe=values))
    with pytest.raises(ModelDirError, match=message):
        hjc.load(tmp_path)


def test_calibrated_and_hybrid_models(tmp_path, caplog):
    from hjc.calibration import fit_calibrator
    from hjc.data import JobData

    parts = [stub(strip_html=True), stub()]
    model = HybridClassifier(TREE, parts=parts)
    model.recipe = TextRecipe(("title",), max_chars=4)
    data = JobData.from_lists(TREE, [f"text {i}" for i in range(40)], ["11", "12", "21", "11"] * 10)
    model.fit(data, data)
    assert "part 0 (stub) was trained on texts made with max_chars=20000, strip_html=True" in caplog.text
    model.save_pretrained(tmp_path)
    again = hjc.load(tmp_path)
    assert again.recipe == model.recipe and again.parts[0].recipe == parts[0].recipe
    np.testing.assert_array_equal(again.predict_proba(["nurse"]), again.predict_proba([{"title": "nursing"}]))
    again.calibrator = fit_calibrator(TREE, again.iter_log_proba(data.texts), data.gold).calibrator
    assert again.calibrated().recipe == model.recipe


def test_training_rows_of_bytes_that_are_no_text_are_rejected(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    titles = [b"cook", b"\xff\xd8\xff", b"driver"]
    pq.write_table(pa.table({"t": titles, "c": ["11", "12", "21"]}), tmp_path / "rows.parquet")
    data, rejects = read_job_data(
        tmp_path / "rows.parquet", TREE, DataSettings(text_columns=["t"], code_column="c", format="parquet")
    )
    assert data.texts == ("cook", "driver")
    assert rejects[["row", "reason"]].to_numpy().tolist() == [[2, UNDECODED]]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("<p>Lorry <b>driver</b>", "Lorry driver"),
        ("R&amp;D engineer&nbsp;", "R&D engineer"),
        ("Pfl&auml;ger &#8211; B&uuml;ro", "Pfläger – Büro"),
        ("&lt;b&gt;Cook&lt;/b&gt;", "Cook"),
        ("<p>Cook\nIn a <b>big</b>\nkitchen", "Cook\nIn a big kitchen"),  # the title stays the first line
        ("<div>\nCook\n</div>\nIn a kitchen", "Cook\nIn a kitchen"),
        ("<!DOCTYPE html>\n<html><head><style>\nb {}</style></head><p\nclass=x>Cook</p></html>", "Cook"),
        ("a < b, C++ <3 & d; Q&AB; <nobody>", "a < b, C++ <3 & d; Q&AB; <nobody>"),
        ("R&amp;D <U+25B6> Cook", "R&amp;D <U+25B6> Cook"),  # as it was when models and splits were made
    ],
)
def test_mark_up_is_taken_out(text: str, read: str) -> None:
    assert TextRecipe().texts([text]) == [read]
    assert TextRecipe(("t",)).read([[text]]) == ([read], [OK])


def test_every_command_reads_without_mark_up_and_says_so(tmp_path: Path, call: Any) -> None:
    stub(columns=("title",)).save_pretrained(tmp_path / "model")
    (tmp_path / "in.csv").write_text("title,code\n<p>cook,11\ncook,11\nM&uuml;ller,12\n", "utf-8")
    code, out, err = call("predict", tmp_path / "model", tmp_path / "in.csv")
    first, second, _ = list(csv.DictReader(out.splitlines()))
    assert code == 0 and first.pop("title") == "<p>cook" and second.pop("title") == "cook" and first == second
    assert "2 rows with HTML: read without the tags" in err
    for command in (("estimate", "--run", tmp_path / "model"), ("evaluate", tmp_path / "model")):
        code, out, err = call(*command, tmp_path / "in.csv")
        assert code == 0 and "2 rows with HTML: read without the tags" in out + err
