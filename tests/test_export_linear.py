"""Exported linear models: one file, NumPy alone, the numbers of the source."""

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from typer.testing import CliRunner

import hjc
from hjc.calibration import Temperature
from hjc.classifiers import feature_weights
from hjc.classifiers.derived import write_calibration
from hjc.classifiers.export import export_model
from hjc.classifiers.feature_weights import FeatureWeights
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.sparse_rows import SparseRows
from hjc.cli import app
from hjc.data.jobdata import JobData
from hjc.data.recipe import TextRecipe
from hjc.data.settings import SideSettings
from hjc.data.side import with_side
from hjc.errors import ModelDirError
from hjc.explain import explain_text
from hjc.taxonomy import from_edges

from .without import printed_without

FIXTURES = Path(__file__).parent / "fixtures" / "models_0_1"
TEXTS = [*json.loads((FIXTURES / "texts.json").read_text(encoding="utf-8")), "", "nurse", "\n\nstaff nurse\nin a ward"]
KINDS = ("linear_topdown", "linear_bottomup", "linear_plt", "linear_flat_logreg", "linear_char", "linear_recipe")
#: without these packages an exported linear model gives probabilities
HIDDEN = [
    "torch", "transformers", "tokenizers", "napkinxc", "pandas", "pyarrow", "scipy", "sklearn", "yaml", "filelock",
    "safetensors", "onnx", "onnxruntime",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_has_the_numbers_of_the_source(kind, tmp_path):
    source = hjc.load(FIXTURES / kind)
    found = export_model(FIXTURES / kind, tmp_path / "out")
    assert found.difference < 1e-6 and found.agreement == 1
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"config.json", "taxonomy.csv", "model.npz"}
    model = hjc.load(tmp_path / "out")
    for texts in (TEXTS[:3], TEXTS * 5):  # few rows and many are multiplied in two ways
        np.testing.assert_allclose(model.leaf_log_proba(texts), source.leaf_log_proba(texts), atol=1e-6, rtol=0)
    assert [b.vocabulary for b in model.features.blocks] == [b.vocabulary for b in source.features.blocks]
    assert model.oov_share("nurse xyzzy") == source.oov_share("nurse xyzzy")
    assert (model.text_vectors(TEXTS).rows != source.text_vectors(TEXTS).rows).nnz == 0
    np.testing.assert_array_equal(model.node_weights(0)[0], source.node_weights(0)[0])
    model.save_pretrained(tmp_path / "again")
    again = hjc.load(tmp_path / "again")
    np.testing.assert_array_equal(again.leaf_log_proba(TEXTS), model.leaf_log_proba(TEXTS))


@pytest.mark.parametrize("method", ["auto", "linear"])
def test_words_explain_it_as_its_source(method, tmp_path):
    export_model(FIXTURES / "linear_topdown", tmp_path / "out")
    ours, theirs = (hjc.load(where) for where in (tmp_path / "out", FIXTURES / "linear_topdown"))
    found = [str(explain_text(model, "staff nurse", method=method)) for model in (ours, theirs)]
    assert found[0] == found[1]  # as text: NaN, of codes without siblings, is no number that equals itself


def side_model() -> LinearClassifier:
    tree = from_edges(["2", "5", "22", "23", "51", "52"], ["", "", "2", "2", "5", "5"])
    recipe = TextRecipe(("text",), side=(SideSettings(column="branch"),))
    words = ["nurse", "teacher", "cook", "seller", "night nurse", "head cook", "old seller"] * 3
    texts = with_side(words, {"branch": ["86", "85", "56", "47", "86", "56", "47"] * 3})
    gold = tree.encode(["22", "23", "51", "52", "22", "51", "52"] * 3)
    model = LinearClassifier(tree, LinearSettings(min_df=1))
    model.recipe = recipe
    return model.fit_data(JobData(tree, texts, gold))


def test_side_variables_and_codes_without_rows(tmp_path):
    source = side_model()
    source.save_pretrained(tmp_path / "run")
    export_model(tmp_path / "run", tmp_path / "out")
    rows = [{"text": text, "branch": b} for text in ("nurse", "boy", "") for b in ("86", "", "99")]
    ours, theirs = hjc.load(tmp_path / "out"), hjc.load(tmp_path / "run")
    np.testing.assert_allclose(ours.predict_log_proba(rows), theirs.predict_log_proba(rows), atol=1e-6, rtol=0)
    assert np.ptp(ours.predict_proba(rows)[:2, 0]) > 0  # the branch counts


def test_what_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"model\.hashing counts its n-grams by scikit-learn"):
        export_model(FIXTURES / "linear_hashing", tmp_path / "out")
    for options in ({"engine": "onnx"}, {"precision": "int8"}):
        with pytest.raises(ValueError, match="leave --engine and --precision out"):
            export_model(FIXTURES / "linear_topdown", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    export_model(FIXTURES / "linear_topdown", tmp_path / "out")
    with pytest.raises(ValueError, match="a exported_linear model cannot be exported"):
        export_model(tmp_path / "out", tmp_path / "more")
    model = hjc.load(tmp_path / "out")
    with pytest.raises(ValueError, match="an exported model cannot be trained"):
        model.fit(["nurse"], codes=[model.taxonomy.codes[-1]])


def test_arrays_of_a_stranger_are_damage(tmp_path):
    export_model(FIXTURES / "linear_topdown", tmp_path / "out")
    file, config = tmp_path / "out" / "model.npz", tmp_path / "out" / "config.json"
    (tmp_path / "out" / "calibration.json").unlink()  # it is refused with any other model.npz
    with np.load(file) as stored:
        good = dict(stored)

    def put(arrays: dict[str, np.ndarray] | bytes, save=np.savez) -> None:
        if isinstance(arrays, bytes):
            file.write_bytes(arrays)
        else:
            with file.open("wb") as stream:
                save(stream, **arrays)
        content, told = file.read_bytes(), json.loads(config.read_text())
        told["files"]["model.npz"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        told.pop("content_sha256", None)
        config.write_text(json.dumps(told))

    def refused(arrays: dict[str, np.ndarray] | bytes, save=np.savez) -> None:
        put(arrays, save)
        with pytest.raises(ModelDirError):
            hjc.load(tmp_path / "out")

    put(good)
    assert hjc.load(tmp_path / "out").directory == tmp_path / "out"

    refused(b"")
    refused(b"PK\x03\x04 and so on")
    refused(good | {"weights": np.array([{"a": 1}], dtype=object)})  # a pickle
    refused({name: array for name, array in good.items() if name != "starts"})
    for name, value in (
        ("weights", np.nan), ("estimators", len(good["bias"])), ("starts", 10**9), ("text_char/columns2", 10**6),
        ("text_char/keys2", -5), ("text_word/keys1", 10**9), ("text_char/idf", np.inf),
    ):  # fmt: skip
        bad = good[name].copy()
        bad[-1] = value
        refused(good | {name: bad})
    refused(good | {"rows": good["rows"][:-1]})
    refused(good | {"bias": good["bias"][:-1]})
    refused(good, np.savez_compressed)  # a small file may unpack to one without end
    wide = {name: good[name].astype(np.int64) for name in ("estimators", "text_char/symbols")}
    for name, value in (("estimators", -1), ("text_char/symbols", 2**40), ("text_char/symbols", -1)):
        bad = wide[name].copy()
        bad[-1] = value  # would be read or laid out far outside of what there is
        refused(good | {name: bad})
    falling = good["starts"].astype(np.uint16)
    falling[3] = falling[-1]  # differences of unsigned numbers are never below 0
    refused(good | {"starts": falling})
    for name in ("starts", "text_word/keys1", "text_word/symbols"):
        refused(good | {name: good[name] + 0.5})
    for name in ("bias", "text_word/idf"):
        refused(good | {name: np.stack([good[name]] * 2, axis=1)})
    for name in ("weights", "bias"):
        refused(good | {name: np.full(len(good[name]), 1e300)})  # infinite as float32
    refused(good | {"rows": -good["rows"]})
    refused(good | {"text_word/columns1": 0 * good["text_word/columns1"]})
    refused({name: array for name, array in good.items() if name != "text_char/keys2"})


def test_an_array_that_says_it_is_huge_is_damage(tmp_path):
    export_model(FIXTURES / "linear_recipe", tmp_path / "out")
    file, config = tmp_path / "out" / "model.npz", tmp_path / "out" / "config.json"
    header = str({"descr": "<f4", "fortran_order": False, "shape": (10**15,)}).encode().ljust(117) + b"\n"
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("weights.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    told, content = json.loads(config.read_text()), file.read_bytes()
    told["files"]["model.npz"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    del told["content_sha256"]
    config.write_text(json.dumps(told))
    with pytest.raises(ModelDirError, match=r"model\.npz: Unable to allocate"):
        hjc.load(tmp_path / "out")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(0, 40), features=st.integers(1, 12), number=st.integers(1, 30))
def test_scores_without_scipy_are_those_with_it(seed, rows, features, number):
    rng = np.random.default_rng(seed)
    weights = sparse.random(features, number, 0.05 + 0.5 * rng.random(), "csr", np.float32, rng)
    weights.sort_indices()
    given_rows = sparse.random(rows, features, 0.5, "csr", np.float32, rng)
    one = FeatureWeights(weights.indptr, weights.indices, weights.data, number)
    x = SparseRows.of(given_rows)
    np.testing.assert_allclose(one.scores(x), one.plain_scores(x), atol=1e-6)
    np.testing.assert_allclose(one.plain_scores(x), (given_rows @ weights).toarray(), atol=1e-5)
    # the numbers of a row do not depend on the batch that it stands in: parts, processes and resumed runs agree
    alone = [SparseRows.of(given_rows[i]) for i in range(rows)]
    for way in (one.scores, one.plain_scores):
        whole = way(x)
        assert all((way(row)[0] == whole[i]).all() for i, row in enumerate(alone))
    starts, estimators, values = one.all()
    np.testing.assert_array_equal(starts, weights.indptr)
    np.testing.assert_array_equal(estimators, weights.indices)
    np.testing.assert_array_equal(values, weights.data)
    last = number - 1
    np.testing.assert_array_equal(one.of(last), weights.toarray()[:, last])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear_topdown", "linear_plt"])
def test_numpy_alone_is_enough(kind, tmp_path):
    source = hjc.load(FIXTURES / kind)
    export_model(FIXTURES / kind, tmp_path / "out")
    write_calibration(tmp_path / "out", Temperature(source.taxonomy, 2.5))
    code = (
        "import hjc, json\n"
        "model = hjc.load(sys.argv[1]).calibrated()\n"
        f"print(json.dumps(model.predict_log_proba({TEXTS * 3!r}).tolist()))\n"
        "print(json.dumps(model.predict_proba(['nurse'], level=1).tolist()))\n"
    )
    first, second = printed_without(HIDDEN, code, tmp_path / "out")
    model = hjc.load(tmp_path / "out").calibrated()
    np.testing.assert_allclose(json.loads(first), model.predict_log_proba(TEXTS * 3), atol=1e-5, rtol=0)
    np.testing.assert_allclose(json.loads(second), model.predict_proba(["nurse"], level=1), atol=1e-6, rtol=0)


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_weights, "has_scipy", lambda: False)
    result = CliRunner().invoke(app, ["export", str(FIXTURES / "linear_topdown"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "100.0% get the same first code" in result.stderr
    (tmp_path / "in.csv").write_text("text\nnurse\ncook\n")
    coded = str(tmp_path / "coded.csv")
    asked = ["predict", str(tmp_path / "out"), str(tmp_path / "in.csv"), "-o", coded, "--text-column", "text"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert len(Path(coded).read_text().splitlines()) == 3
