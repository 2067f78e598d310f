"""Nearest training texts: the model's own cosine, written out; and the training rows found again by their hash."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from hjc.classifiers.features import word_vectors
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.neural import NeuralClassifier
from hjc.classifiers.vectors import ENCODER, TF_IDF, TextVectors, dense
from hjc.data import JobData
from hjc.explain.neighbours import nearest_texts
from hjc.index import normalise
from hjc.taxonomy import write_taxonomy_csv
from tests.stub_classifier import StubClassifier
from tests.test_explain import DATA, MODEL, TREE
from tests.test_neural import settings, toy_data, toy_tree, trainer

TEXT = "Nurse wanted for a ward"


@pytest.fixture(scope="module")
def neural() -> NeuralClassifier:
    tree = toy_tree()
    return NeuralClassifier(tree, settings(), trainer(epochs=3)).fit(toy_data(tree))


def test_linear_is_the_cosine_of_its_rows():
    found = nearest_texts(MODEL, TEXT, DATA, 4)
    a, b = (MODEL.features.transform(list(t)).toarray().astype(float) for t in ([TEXT], DATA.texts))
    cosine = (b @ a[0]) / (np.linalg.norm(b, axis=1) * np.linalg.norm(a))
    assert [n.similarity for n in found.nearest] == pytest.approx(np.sort(cosine)[::-1][:4], abs=1e-6)
    assert [n.row for n in found.nearest] == np.argsort(-cosine, kind="stable")[:4].tolist()
    assert TREE.codes[found.nearest[0].gold] == "11" and found.nearest[0].text == DATA.texts[found.nearest[0].row]
    assert (found.compared, found.total) == (36, 36) and found.space == "tf-idf of the model"


def test_neural_is_the_cosine_of_pooled_vectors(neural):
    train = toy_data(neural.taxonomy, 10, seed=4)
    text = "juliet alpha kilo"
    found = nearest_texts(neural, text, train, 3)
    assert found.space == ENCODER and all(neural.taxonomy.codes[n.gold] == "11" for n in found.nearest)
    a, b = neural.vectors([text])[0], neural.vectors([found.nearest[1].text])[0]
    assert found.nearest[1].similarity == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-5)
    some = nearest_texts(neural, text, train, 3, most=20)
    assert some.compared == 20 < some.total and all("alpha" in n.text for n in some.nearest)
    assert nearest_texts(neural, "", train, 1).nearest and neural.vectors([]).shape == (0, 32)


def test_others_use_words():
    found = nearest_texts(StubClassifier(TREE), TEXT, DATA, 2)
    assert found.space == "tf-idf of words" and all(TREE.codes[n.gold] == "11" for n in found.nearest)
    a, b = word_vectors(DATA.texts).transform([TEXT, found.nearest[0].text]).toarray()
    assert found.nearest[0].similarity == pytest.approx(a @ b)


def test_copies_and_bad_input():
    twice = JobData.from_lists(TREE, ["nurse", "nurse", "nurse", "tram"], ["11", "11", "12", None])
    found = nearest_texts(MODEL, "nurse", twice, 9)
    assert [(TREE.codes[n.gold], n.copies, n.row) for n in found.nearest] == [("11", 2, 0), ("12", 1, 2)]
    with pytest.raises(ValueError, match="no training text"):
        nearest_texts(MODEL, "nurse", twice.take([3]))
    with pytest.raises(ValueError, match="--neighbours: got 0"):
        nearest_texts(MODEL, "nurse", twice, 0)


def test_folding_keeps_inner_products_on_average():
    words = [" ".join(np.random.default_rng(i).choice([f"w{j}" for j in range(300)], 30)) for i in range(60)]
    model = LinearClassifier(TREE, LinearSettings(min_df=1)).fit(JobData.from_lists(TREE, words, ["11", "12"] * 30))
    found = model.text_vectors(words)
    exact = found.cosine(found)
    folded = dense(found, 2048)
    error = folded @ folded.T - exact
    off = ~np.eye(60, dtype=bool)
    assert abs(error[off].mean()) < 0.01 and error[off].std() < 2 / np.sqrt(2048)
    np.testing.assert_array_equal(folded, dense(model.text_vectors(words), 2048))
    x = np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(normalise(x), [[0.6, 0.8], [0, 0]], atol=1e-7)
    assert dense(TextVectors(ENCODER, x)).dtype == np.float32
    with pytest.raises(ValueError, match="a stub model cannot place texts in a space; linear"):
        StubClassifier(TREE).text_vectors(["a"])
    assert found.space == TF_IDF


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, Path]:
    """A model with a train.yaml, as a run writes it, and its training file."""
    folder = tmp_path_factory.mktemp("run")
    train = folder / "train.csv"
    train.write_text("title,code\n" + "".join(f'"{t}",{c}\n' for t, c in zip(DATA.texts, DATA.codes, strict=True)))
    tree = folder / "tree.csv"
    write_taxonomy_csv(TREE, tree)
    MODEL.save_pretrained(folder / "model")
    data = {"train": [str(train)], "text_columns": ["title"], "code_column": "code", "valid_fraction": 0.0}
    record = {
        "config": {"data": data, "taxonomy": {"path": str(tree), "digits": None, "depth": 0}},
        "data": {"train": {"rows": len(DATA), "hash": DATA.hash}},
    }
    (folder / "model" / "train.yaml").write_text(yaml.safe_dump(record))
    return folder / "model", train


def test_command_reads_the_data_of_the_training_again(call, run, tmp_path):
    model, train = run
    code, out, err = call("explain", model, TEXT, "-n", 2)
    assert code == 0, err
    assert "nearest training texts (tf-idf of the model; 36 texts)" in out and "11" in out.splitlines()[-1]
    code, out, _ = call("explain", model, TEXT, "--neighbours", 2, "--json")
    assert len(json.loads(out)["neighbours"]) == 2
    kept = train.read_text()
    try:
        train.write_text(kept + '"something else",11\n')
        code, out, err = call("explain", model, TEXT, "-n", 2)
        assert code == 2 and "no longer those of the training (37 rows now" in err and "--train" in err
        assert out.startswith("level 1")  # the words were explained all the same
        train.unlink()
        code, _, err = call("explain", model, TEXT, "-n", 2)
        assert code == 2 and "cannot be read" in err
        other = tmp_path / "other.csv"
        other.write_text("job,isco\nnurse,11\ntram,22\nalien,99\n")
        code, out, err = call("explain", model, TEXT, "-n", 2, "--train", other, "-t", "job", "--code-column", "isco")
        assert code == 0 and "2 texts" in out, err
        other.write_text("title,code\nalien,11x\nnurse,\n")
        code, _, err = call("explain", model, TEXT, "-n", 2, "--train", other)
        assert code == 2
        (model / "train.yaml").rename(model / "aside")
        code, _, err = call("explain", model, TEXT, "-n", 2)
        assert code == 2 and "no train.yaml" in err
    finally:
        train.write_text(kept)
        if (model / "aside").exists():
            (model / "aside").rename(model / "train.yaml")
