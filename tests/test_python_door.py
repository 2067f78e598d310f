"""The way in from Python: hjc.train, fit on texts, keywords, callbacks, the scikit-learn estimator."""

import doctest
import json
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hjc
from hjc.classifiers.keywords import named, preset, preset_names
from hjc.classifiers.linear import LinearClassifier
from hjc.data import JobData, TextRecipe
from hjc.errors import TaxonomyError
from hjc.taxonomy import from_edges
from hjc.training.config import compose, written

TREE = from_edges(["2", "5", "22", "23", "51", "52"], [None, None, "2", "2", "5", "5"], name="small")
TEXTS = ["registered nurse", "night nurse", "school teacher", "teacher of maths", "hotel cook", "cook", "shop clerk"]
CODES = ["22", "22", "23", "23", "51", "51", "52"]
TITLES = Path(__file__).parents[1] / "examples" / "titles.csv"
QUICK = {"evaluation": {"bootstrap": 0, "report": False}}


@pytest.mark.parametrize("module", ["hjc.classifiers.keywords", "hjc.classifiers.linear", "hjc.sklearn.estimator",
                                    "hjc.training.config", "hjc.training.python"])  # fmt: skip
def test_doctests(module: str) -> None:
    found = doctest.testmod(import_module(module))
    assert found.failed == 0


@pytest.mark.slow
def test_doctests_with_torch() -> None:
    assert doctest.testmod(import_module("hjc.classifiers.neural")).failed == 0


def test_import_is_light() -> None:
    code = (
        "import sys, hjc\nassert 'train' in dir(hjc) and callable(hjc.__getattr__)\n"
        "bad = sorted({'numpy', 'pandas', 'torch', 'hydra', 'sklearn', 'rich'} & set(sys.modules))\nassert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
def test_the_estimator_needs_neither_hydra_nor_torch() -> None:
    code = "import sys, hjc.sklearn\nbad = {'hydra', 'omegaconf', 'torch'} & set(sys.modules)\nassert not bad, bad"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---------------------------------------------------------------------- fit


def fitted(*args: object, **keywords: object) -> LinearClassifier:
    return LinearClassifier(TREE, min_df=1).fit(*args, **keywords)  # type: ignore[arg-type]


def test_texts_and_job_data_learn_the_same() -> None:
    wanted = fitted(JobData.from_lists(TREE, TEXTS, CODES)).predict_proba(["a nurse", "cook"])
    table = pd.DataFrame({"title": TEXTS, "code": CODES})
    model = LinearClassifier(TREE, min_df=1)
    model.recipe = TextRecipe(("title",))
    for found in (
        fitted(TEXTS, codes=CODES),
        fitted(pd.Series(TEXTS, index=range(7, 14)), codes=pd.Series(CODES)),
        fitted(np.array(TEXTS), codes=np.array(CODES).astype(float)),  # a column that was read as numbers
        model.fit(table, codes="code"),
    ):
        np.testing.assert_array_equal(found.leaf_log_proba(["a nurse", "cook"]), fitted(TEXTS, codes=CODES)
                                      .leaf_log_proba(["a nurse", "cook"]))  # fmt: skip
        np.testing.assert_array_equal(np.exp(found.leaf_log_proba(["a nurse", "cook"])), wanted)


def test_rows_that_cannot_be_used_are_counted_and_shift_nothing() -> None:
    texts, codes = [*TEXTS, "", None, "painter", "driver"], [*CODES, "22", "22", None, "99"]
    with pytest.warns(UserWarning, match=r"4 of 11 rows cannot be used: no text \(2: rows 7, 8\)") as caught:
        model = fitted(texts, codes=codes)
    assert "no code (1: rows 9)" in str(caught[0].message) and "unknown code" in str(caught[0].message)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(model.leaf_log_proba(["cook"]), fitted(TEXTS, codes=CODES).leaf_log_proba(["cook"]))


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "said"),
    [
        ((TEXTS, CODES), {}, TypeError, "codes=codes"),
        ((TEXTS, CODES), {"codes": CODES}, TypeError, "HierarchicalClassifier has fit(X, y)"),
        ((TEXTS,), {}, TypeError, "texts need their codes"),
        ((TEXTS,), {"codes": CODES[:3]}, ValueError, "7 texts and 3 codes"),
        ((TEXTS,), {"codes": ["a"] * 7}, TaxonomyError, "codes of this tree look like"),
        ((TEXTS,), {"codes": "isco"}, ValueError, "the texts are no table"),
        (([None] * 7,), {"codes": CODES}, ValueError, "no row can be used"),
        (("nurse",), {"codes": "22"}, TypeError, "one string"),
        ((JobData.from_lists(TREE, TEXTS, CODES),), {"codes": CODES}, TypeError, "has its codes already"),
        ((pd.DataFrame({"title": TEXTS, "isco": CODES}),), {"codes": "isco"}, ValueError, "set its recipe"),
    ],
)
def test_wrong_arguments_say_what_to_pass(arguments: tuple, keywords: dict, error: type, said: str) -> None:
    with pytest.raises(error) as caught:
        fitted(*arguments, **keywords)
    assert said in str(caught.value)


def test_evaluation_of_texts_is_that_of_job_data() -> None:
    model, wrong = fitted(TEXTS, codes=CODES), [*CODES[:-1], "51"]
    wanted = hjc.evaluate_model(model, JobData.from_lists(TREE, TEXTS, wrong), bootstrap=0).metrics
    found = hjc.evaluate_model(model, TEXTS, codes=wrong, bootstrap=0).metrics
    assert found == pytest.approx(wanted, nan_ok=True, rel=0, abs=0)
    assert wanted["level_2/recall@1"] == pytest.approx(6 / 7)
    with pytest.raises(TypeError, match="texts need their codes"):
        hjc.evaluate_model(model, TEXTS)


def test_keywords_are_settings() -> None:
    assert LinearClassifier(TREE, C=3.0, hierarchy="plt").settings.C == 3.0
    with pytest.raises(TypeError, match=r"no setting 'hierachy' .did you mean hierarchy"):
        LinearClassifier(TREE, hierachy="plt")
    with pytest.raises(ValueError, match="allowed are topdown, bottomup"):
        LinearClassifier(TREE, hierarchy="top")
    with pytest.raises(TypeError, match="isco08"):
        LinearClassifier("isco08")  # type: ignore[arg-type]


def test_repr_says_what_it_is(tmp_path: Path) -> None:
    model = LinearClassifier(TREE, min_df=1)
    assert repr(model) == "LinearClassifier(topdown, small: 4 codes, 2 levels, not fitted)"
    model.fit(TEXTS, codes=CODES).save_pretrained(tmp_path)
    assert repr(hjc.load(tmp_path)) == f"LinearClassifier(topdown, small: 4 codes, 2 levels, fitted, from {tmp_path})"


@pytest.mark.parametrize("name", [n for n in preset_names() if n not in ("hybrid",)])
def test_names_mean_in_python_what_they_mean_in_the_shell(name: str) -> None:
    kind, values = preset(name)
    config = compose([f"model={name}"])
    assert config.model.name == kind
    for key, value in values.items():
        found = getattr(config.model, key)
        if isinstance(value, dict):  # settings within settings
            found = {inner: getattr(found, inner) for inner in value}
        assert found == value, key


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"did you mean linear\?"):
        named(TREE, "linea")
    with pytest.raises(TypeError, match=r"did you mean epochs\?"):
        named(TREE, "e5", epoch=3)


# ---------------------------------------------------------------------- hjc.train


def test_values_are_written_as_hydra_reads_them() -> None:
    for value in ("a 'b' (2).csv", "C:\\data\\", "x\\'y", "", "ogłoszenia, nowe.csv", "[a]", "null", "1e3"):
        assert compose([f"data.files={written([value])}", f"data.code_column={written(value)}"]).data.files == [value]
        assert compose([f"data.code_column={written(value)}"]).data.code_column == value


def shell(directory: Path, *overrides: str) -> dict[str, float]:
    command = [sys.executable, "-m", "hjc.cli", "train", f"run_dir={directory}", "evaluation.bootstrap=0",
               "evaluation.report=false", *overrides]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads((directory / "metrics.json").read_text("utf-8"))


@pytest.mark.slow
def test_python_and_shell_give_equal_numbers(tmp_path: Path) -> None:
    wanted = shell(
        tmp_path / "shell", "model=linear", "data=csv", f"data.files=[{TITLES}]", "data.text_columns=[title]",
        "data.code_column=isco", "data.language_column=language", "hierarchy=bottomup", "model.C=10",
    )  # fmt: skip
    given = {"text": "title", "code": "isco", "language": "language", "model": "linear", "hierarchy": "bottomup"}
    table = pd.read_csv(TITLES)  # the codes become numbers, and 0110 loses its zero
    table["isco"] = table["isco"].astype(str).str.zfill(4)
    for name, data in (("file", str(TITLES)), ("files", [TITLES]), ("frame", table)):
        run = hjc.train(data, **given, C=10, run_dir=tmp_path / name, quiet=True, **QUICK)
        found = json.loads((tmp_path / name / "metrics.json").read_text("utf-8"))
        assert found == wanted
        assert run.evaluations["test"].metrics["level_4/recall@1"] == wanted["test/level_4/recall@1"]
        assert run.predict(["registered nurse"])["code"].iloc[0][0] == "2"
        assert run.predict_proba(["registered nurse"], level=1).shape == (1, 10)
        assert "LinearClassifier(bottomup" in repr(run) and str(run.directory) in repr(run)


@pytest.fixture
def ads(tmp_path: Path) -> pd.DataFrame:
    rows = [(f"{text} {i}", code) for i in range(8) for text, code in zip(TEXTS, CODES, strict=True)]
    return pd.DataFrame(rows, columns=["title", "code"])


@pytest.mark.slow
def test_frames_trees_and_tests(ads: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = pd.concat([ads, pd.DataFrame({"title": ["x", None], "code": ["77", "22"]})], ignore_index=True)
    run = hjc.train(bad, text="title", valid=ads.iloc[:7], test=ads.iloc[7:14], taxonomy=TREE, model="linear",
                    run_dir=tmp_path / "run", min_df=1, **QUICK)  # fmt: skip
    assert len(run.evaluations["test"].scores) == 7 and run.model is not None and run.model.taxonomy == TREE
    rejects = pd.read_csv(tmp_path / "run" / "rejects.csv")
    assert rejects[["file", "row"]].to_numpy().tolist() == [["DataFrame train", 57], ["DataFrame train", 58]]
    assert "2 " in capsys.readouterr().out
    again = hjc.train(bad, text="title", valid=ads.iloc[:7], test=ads.iloc[7:14], taxonomy=TREE, model="linear",
                      run_dir=tmp_path / "run", min_df=1, quiet=True, **QUICK)  # fmt: skip
    assert again.log_loss == run.log_loss and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"epoch": 1}, "did you mean trainer.epochs?"),
        ({"trainer": {"epoch": 1}}, "trainer has no setting 'epoch' (did you mean trainer.epochs?)"),
        ({"trainer__epoch": 1}, "did you mean trainer.epochs?"),
        ({"model": "e55"}, "there is no model named 'e55' (did you mean e5?)"),
        ({"hierarchy": "topdow"}, "did you mean topdown?"),
        ({"taxonomy": "isco8"}, "there is no taxonomy named 'isco8' (did you mean isco08?)"),
        ({"model": "linear", "C": "ten"}, "model.C"),
        ({"data": 3}, "expected a DataFrame, a file or a list of files"),
        ({"data": None}, "there is no data that it belongs to"),
        ({"data": "nowhere.csv"}, "nowhere.csv"),
        ({"code": "codes"}, "no column 'codes'"),
    ],
)
def test_wrong_keywords_get_the_nearest_valid_one(ads: pd.DataFrame, tmp_path: Path, keywords: dict, said: str) -> None:
    data = keywords.pop("data", ads)
    given = {"text": "title", "model": "linear", "run_dir": tmp_path / "run", "quiet": True, **keywords}
    with pytest.raises(ValueError) as caught:
        hjc.train(data, **given)
    assert said in str(caught.value)


@pytest.mark.slow
def test_a_callback_is_told_what_the_loggers_are(tmp_path: Path) -> None:
    told: list[tuple[int, dict[str, float]]] = []
    model = hjc.NeuralClassifier(TREE, encoder="tiny", epochs=1, batch_size=2, tiny_hidden=16, tiny_layers=1,
                                 tiny_vocabulary=300, learning_rate=1e-3)  # fmt: skip
    assert model.settings.head_init == "random"  # the configuration of model=tiny says so

    def tell(step: int, figures: dict[str, float]) -> None:
        told.append((step, dict(figures)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(TEXTS, (TEXTS, CODES), codes=CODES, run_dir=tmp_path, callback=tell)
    assert (tmp_path / "logs" / "metrics.csv").exists()
    keys = {key for _, figures in told for key in figures}
    assert {"train/loss", "valid/log_loss", "valid/level_1/recall@1"} <= keys
    assert model.callback is None

    class Enough(Exception):
        pass

    def stop(step: int, figures: dict[str, float]) -> None:
        raise Enough

    with pytest.raises(Enough):
        hjc.NeuralClassifier(TREE, model.settings, model.trainer).fit(TEXTS, codes=CODES, callback=stop)


# ---------------------------------------------------------------------- scikit-learn


def estimator(**given: object) -> "hjc.HierarchicalClassifier":
    return hjc.HierarchicalClassifier("linear", taxonomy=TREE, settings={"min_df": 1}, **given)


def test_estimator_in_scikit_learns_tools() -> None:
    from sklearn.base import clone
    from sklearn.feature_extraction.text import CountVectorizer  # noqa: F401  # a neighbour that is no part of hjc
    from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    texts, codes = TEXTS[:6] * 3, np.array(CODES[:6] * 3)
    model = estimator(level=1)
    assert clone(model).get_params()["level"] == 1 and clone(model).set_params(level=2).level == 2
    with pytest.raises(ValueError, match="levels"):
        clone(model).set_params(levels=2)
    assert cross_val_predict(model, texts, codes, cv=3).tolist() == [code[0] for code in codes]
    assert cross_val_score(model, texts, codes, cv=3).tolist() == [1.0] * 3
    lower = FunctionTransformer(lambda X: [text.lower() for text in X])
    assert make_pipeline(lower, estimator()).fit(texts, codes).score(texts, codes) == 1.0
    search = GridSearchCV(
        estimator(), {"hierarchy": ["topdown", "bottomup"], "settings": [{"min_df": 1, "C": 1}]}, cv=2
    )
    assert search.fit(texts, codes).best_estimator_.predict(["cook"]).tolist() == ["51"]


def test_estimator_gives_the_classifiers_probabilities() -> None:
    model = estimator().fit(TEXTS, CODES)
    assert model.classes_.tolist() == ["22", "23", "51", "52"]
    wanted = fitted(TEXTS, codes=CODES).predict_proba(["a nurse"], level=2)
    np.testing.assert_allclose(model.predict_proba(["a nurse"]), wanted, atol=1e-6)
    np.testing.assert_allclose(model.predict_log_proba(["a nurse"]), np.log(model.predict_proba(["a nurse"])))
    table = pd.DataFrame({"a": [t.split()[0] for t in TEXTS], "b": [" ".join(t.split()[1:]) for t in TEXTS]})
    assert estimator().fit(table, CODES).predict(table).tolist() == CODES
    assert estimator().fit(table.to_numpy(), CODES).predict(table.to_numpy()).tolist() == CODES


def test_estimator_with_numbers_for_codes() -> None:
    from sklearn.model_selection import cross_val_predict

    texts, codes = TEXTS[:6] * 3, CODES[:6] * 3
    seen = np.unique(codes)
    found = cross_val_predict(estimator(classes=seen), texts, codes, cv=3, method="predict_proba")
    assert found.shape == (18, 3) and (found.sum(axis=1) < 1).all()
    assert seen[found.argmax(axis=1)].tolist() == codes
    with pytest.raises(TypeError, match=r"classes=np\.unique"):
        estimator().fit(TEXTS, [1] * 7)


def test_estimator_without_a_tree_is_any_classifier() -> None:
    model = hjc.HierarchicalClassifier(taxonomy=None, settings={"min_df": 1}).fit(TEXTS, [1, 1, 2, 2, 3, 3, 9])
    assert model.classes_.tolist() == [1, 2, 3, 9] and model.predict(["cook", "nurse"]).tolist() == [3, 1]
    np.testing.assert_allclose(model.predict_proba(["cook"]).sum(axis=1), 1)


@pytest.mark.parametrize("check", [
    "check_no_attributes_set_in_init", "check_parameters_default_constructible", "check_get_params_invariance",
    "check_set_params", "check_estimator_repr", "check_estimator_cloneable",
    "check_mixin_order", "check_valid_tag_types", "check_estimator_tags_renamed",
])  # fmt: skip
def test_scikit_learns_checks_that_take_texts(check: str) -> None:
    from sklearn.utils import estimator_checks

    getattr(estimator_checks, check)("HierarchicalClassifier", hjc.HierarchicalClassifier())


def test_check_estimator() -> None:
    """scikit-learn's own choice of checks for an estimator of texts."""
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it skips those that need numbers
        done = check_estimator(hjc.HierarchicalClassifier(taxonomy=None))
    assert done and all(one["status"] == "passed" for one in done)
