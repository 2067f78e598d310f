"""Exported models: the same numbers as the source in another engine, without its packages, and safe to load."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import hjc
from hjc.calibration import Temperature
from hjc.classifiers.derived import write_calibration
from hjc.classifiers.export import export_model
from hjc.classifiers.exported import leaf_log_proba
from hjc.classifiers.neural import NeuralClassifier
from hjc.cli import app
from hjc.data.recipe import TextRecipe
from hjc.data.settings import SideSettings
from hjc.data.side import SideVocabulary, with_side
from hjc.errors import ModelDirError
from hjc.nn.encoder import load_encoder
from hjc.nn.heads import build_head
from hjc.nn.network import Network
from hjc.nn.onnx_graph import bfloat16, integers
from hjc.nn.settings import HIERARCHIES, POOLINGS, TrainerSettings

from .encoder_zoo import write_encoder
from .stub_classifier import StubClassifier
from .test_neural import WORDS, settings, toy_tree
from .without import printed_without

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

FIXTURES = Path(__file__).parent / "fixtures" / "models_0_1"
TEXTS = [
    "alpha kilo\nbravo lima golf hotel india juliet " * 2,
    "alpha",
    "",
    "\n\n echo\n\nfoxtrot",
    " ".join(WORDS * 3),
]
SIDE = SideSettings(column="branch")
#: without these packages an exported model gives probabilities
HIDDEN = ["torch", "transformers", "pandas", "pyarrow", "scipy", "sklearn", "yaml", "filelock", "safetensors", "onnx"]


def made(folder: Path, side: bool = False, **kwargs) -> NeuralClassifier:
    """A model as it is after training, with random weights."""
    tree = toy_tree()
    model = NeuralClassifier(tree, settings(**kwargs), TrainerSettings())
    encoder, model.tokenizer = load_encoder(model.settings, [*TEXTS, *WORDS] * 3)
    if side:
        texts = with_side(["a", "b", "a", "b"], {"branch": ["62", "62", "47", "47"]})
        model.recipe, model.side = TextRecipe(("text",), side=(SIDE,)), SideVocabulary.fit((SIDE,), texts)
    torch.manual_seed(5)
    model.network = Network(encoder, tree, model.settings, model.side).eval()
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if name.startswith(("head", "side", "norm")):
                weight.normal_(1.0 if name == "norm.weight" else 0.0, 0.5)
        if model.network.head.offset is not None:
            model.network.head.offset.normal_()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    "options",
    [
        *({"hierarchy": head} for head in HIERARCHIES),
        *({"pooling": pooling, "windows": 3} for pooling in POOLINGS),
        {"title_share": 0.4},
        {"title_share": 0.4, "windows": 3, "prefix": "query: "},
        {"logit_adjustment": 1.0, "head_norm": False},
        {"logit_adjustment": 1.0, "prior_in_prediction": False},
        {"side": True, "tiny_layers": 2},
    ],
    ids=str,
)
def test_the_graph_computes_what_torch_does(options, tmp_path):
    source = made(tmp_path / "run", **options)
    found = export_model(tmp_path / "run", tmp_path / "out")
    assert found.difference < 1e-5 and found.agreement == 1 and found.size > 1000
    model = hjc.load(tmp_path / "out")
    rows = [{"text": text, "branch": b} for text, b in zip(TEXTS, ["62", "47", "", "99", "62"], strict=True)]
    given = rows if options.get("side") else TEXTS
    for level in (1, 2):
        np.testing.assert_allclose(
            model.predict_proba(given, level), source.predict_proba(given, level), atol=1e-5, rtol=0
        )
    np.testing.assert_allclose(
        model.text_vectors(TEXTS).rows, source.text_vectors(TEXTS).rows, atol=1e-5, rtol=0
    )  # fmt: skip
    assert model.predict(given, level=2)["code"].tolist() == source.predict(given, level=2)["code"].tolist()
    assert model.predict_log_proba([]).shape == (0, model.taxonomy.num_leaves)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["minilm", "e5_small", "herbert", "xlmr"])
def test_every_family_of_bert(family, tmp_path):
    source = made(tmp_path / "run", encoder=str(write_encoder(tmp_path / family, family)), windows=2)
    assert export_model(tmp_path / "run", tmp_path / "out").difference < 1e-5
    long = ["welder " * 30, "", "spawacz\nspawanie rur"]
    np.testing.assert_allclose(
        hjc.load(tmp_path / "out").predict_proba(long), source.predict_proba(long), atol=1e-5, rtol=0
    )


@pytest.mark.slow
def test_another_architecture_is_refused(tmp_path):
    made(tmp_path / "run", encoder=str(write_encoder(tmp_path / "m", "mmbert")))
    with pytest.raises(ValueError, match="'modernbert'"):
        export_model(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("precision", "share", "error"), [("bf16", 0.6, 0.02), ("int8", 0.45, 0.05)])
def test_smaller_files_lie_near(precision, share, error, tmp_path):
    source = made(tmp_path / "run", tiny_hidden=64, title_share=0.3)
    whole, small = (export_model(tmp_path / "run", tmp_path / p, precision=p) for p in ("fp32", precision))
    assert small.size < share * whole.size
    model = hjc.load(tmp_path / precision)
    proba = model.predict_proba(TEXTS)
    assert np.abs(proba - source.predict_proba(TEXTS)).max() < error
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-5)
    assert model.parameters["precision"] == precision


def test_one_large_number_before_a_product_does_not_cost_the_small_ones(tmp_path):
    """After GELU a few states are far larger than the others: one 8-bit range for all would leave these no steps."""
    source = made(tmp_path / "first", tiny_hidden=64)
    block = source.network.encoder.encoder.layer[0]
    with torch.no_grad():
        block.intermediate.dense.bias[0] = 300.0
        block.output.dense.weight[:, 0] = 0.001
        block.output.dense.weight[:, 1:] *= 20
    source.save_pretrained(tmp_path / "run")
    export_model(tmp_path / "run", tmp_path / "out", precision="int8")
    proba = hjc.load(tmp_path / "out").predict_proba(TEXTS)
    assert np.abs(proba - hjc.load(tmp_path / "run").predict_proba(TEXTS)).max() < 0.03


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_the_tree_in_numpy_is_the_head_in_torch(hierarchy):
    tree = toy_tree()
    head = build_head(hierarchy, tree, 0)
    scores = np.random.default_rng(0).normal(size=(7, head.num_scores)).astype(np.float32) * 9
    np.testing.assert_allclose(
        leaf_log_proba(scores, hierarchy, tree), head(torch.from_numpy(scores)).numpy(), atol=1e-5, rtol=1e-5
    )


def test_rounding_is_that_of_torch():
    values = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)
    expected = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    assert (bfloat16(values) == expected).all()
    whole, scale = integers(np.vstack([values, np.zeros((1, 5), np.float32)]))
    assert np.abs(whole[:-1] * scale[:-1] - values).max() <= scale.max() / 2 * 1.001
    assert np.abs(whole).max(axis=1).tolist() == [127] * 40 + [0]


def test_what_belongs_to_the_run_goes_along(tmp_path):
    source = made(tmp_path / "run")
    write_calibration(tmp_path / "run", Temperature(source.taxonomy, 2.5), {"rows": 7})
    (tmp_path / "run" / "train.yaml").write_text("config: {}\n")
    export_model(tmp_path / "run", tmp_path / "out")
    model = hjc.load(tmp_path / "out")
    expected = hjc.load(tmp_path / "run").calibrated().predict_proba(TEXTS)
    np.testing.assert_allclose(model.calibrated().predict_proba(TEXTS), expected, atol=1e-5, rtol=0)
    assert json.loads((tmp_path / "out" / "calibration.json").read_text())["rows"] == 7
    assert (tmp_path / "out" / "train.yaml").exists()
    model.save_pretrained(tmp_path / "again")
    np.testing.assert_array_equal(hjc.load(tmp_path / "again").predict_proba(TEXTS), model.predict_proba(TEXTS))


@pytest.mark.slow
def test_probabilities_need_neither_torch_nor_pandas(tmp_path):
    source = made(tmp_path / "run", title_share=0.3, windows=2)
    write_calibration(tmp_path / "run", Temperature(source.taxonomy, 2.5))
    export_model(tmp_path / "run", tmp_path / "out")
    code = (
        "import hjc, json\n"
        "model = hjc.load(sys.argv[1]).calibrated()\n"
        f"found = model.predict_log_proba({TEXTS!r})\n"
        "print(json.dumps(found.tolist()))\n"
    )
    (found,) = printed_without(HIDDEN, code, tmp_path / "out")
    expected = hjc.load(tmp_path / "run").calibrated().predict_log_proba(TEXTS)
    np.testing.assert_allclose(json.loads(found), expected, atol=1e-4, rtol=1e-4)


# ------------------------------------------------------------------ what is refused


def test_what_cannot_be_exported_is_said(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="a hybrid model cannot be exported; neural and linear models can"):
        export_model(FIXTURES / "hybrid_mixture", tmp_path / "out")
    with pytest.raises(ValueError, match="engine: got 'tpu', allowed are onnx, openvino"):
        export_model(FIXTURES / "neural_topdown", tmp_path / "out", engine="tpu")
    with pytest.raises(ValueError, match="precision: got 'int4', allowed are fp32, bf16, int8"):
        export_model(FIXTURES / "neural_topdown", tmp_path / "out", precision="int4")
    with pytest.raises(ValueError, match="take --precision bf16, or --engine onnx"):
        export_model(FIXTURES / "neural_topdown", tmp_path / "out", engine="openvino", precision="int8")
    with pytest.raises(FileNotFoundError):
        export_model(tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(FileExistsError, match="no empty folder"):
        export_model(FIXTURES / "neural_topdown", tmp_path / "full")
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setattr("hjc.classifiers.export.load", None)  # said before the model is read
    with pytest.raises(ImportError, match=r"pip install 'hjc\[onnx\]'"):
        export_model(FIXTURES / "neural_topdown", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"]


def test_a_graph_that_does_not_fit_is_damage(tmp_path):
    export_model(FIXTURES / "neural_topdown", tmp_path / "a")
    export_model(FIXTURES / "neural_bottomup", tmp_path / "b")

    def with_graph(content: bytes) -> None:
        """The graph, and a config.json that fits it, as a stranger could write them."""
        (tmp_path / "a" / "model.onnx").write_bytes(content)
        config = json.loads((tmp_path / "a" / "config.json").read_text())
        config["files"]["model.onnx"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        config.pop("content_sha256", None)
        (tmp_path / "a" / "config.json").write_text(json.dumps(config))

    (tmp_path / "a" / "model.onnx").write_bytes(b"x")
    with pytest.raises(ModelDirError, match="truncated"):
        hjc.load(tmp_path / "a")
    for content in (b"no graph", b"", (tmp_path / "b" / "model.onnx").read_bytes()):
        with_graph(content)
        with pytest.raises(ModelDirError, match=r"model\.onnx"):
            hjc.load(tmp_path / "a")


def test_the_command(tmp_path):
    result = CliRunner().invoke(app, ["export", str(FIXTURES / "neural_pathsum"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "get the same first code" in result.stderr
    (tmp_path / "in.csv").write_text("text\nnurse\ncook\n")
    coded = str(tmp_path / "coded.csv")
    given = ["predict", str(tmp_path / "out"), str(tmp_path / "in.csv"), "-o", coded, "--text-column", "text"]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    assert len(Path(coded).read_text().splitlines()) == 3
    again = CliRunner().invoke(app, ["export", str(FIXTURES / "neural_pathsum"), "-o", str(tmp_path / "out")])
    assert again.exit_code == 2 and "no empty folder" in again.stderr


def test_a_stub_has_no_graph(tmp_path, monkeypatch):
    model = StubClassifier(toy_tree())
    monkeypatch.setattr("hjc.classifiers.export.load", lambda _: model)
    monkeypatch.setattr("hjc.classifiers.export.stored_classifier", lambda _: model.name)
    with pytest.raises(ValueError, match="cannot be exported"):
        export_model(tmp_path, tmp_path / "out")


@pytest.mark.more
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino_computes_the_same(precision, tmp_path):
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    source = made(tmp_path / "run", title_share=0.4, windows=3)
    export_model(tmp_path / "run", tmp_path / "out", engine="openvino", precision=precision)
    model = hjc.load(tmp_path / "out")
    error = {"fp32": 1e-5, "bf16": 0.05}[precision]
    np.testing.assert_allclose(model.predict_proba(TEXTS), source.predict_proba(TEXTS), atol=error, rtol=0)
    assert model.text_vectors(TEXTS).rows.shape == source.text_vectors(TEXTS).rows.shape
