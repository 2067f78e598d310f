"""What the encoder starts from and how it learns: rates by layer, encoders of earlier runs."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

import hjc
from hjc.classifiers.neural import NeuralClassifier
from hjc.data import JobData
from hjc.nn.encoder import load_encoder
from hjc.nn.groups import layer_depths, parameter_groups
from hjc.nn.hub import EncoderNotFoundError, resolve_folder
from hjc.nn.settings import TrainerSettings
from hjc.nn.whole_vocabulary import graft
from hjc.taxonomy import from_prefix_codes
from tests.encoder_zoo import FAMILIES, write_encoder

from .test_neural import settings, toy_data, toy_tree, trainer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted model's directory."""
    tree = toy_tree()
    fitted = NeuralClassifier(tree, settings(), trainer(epochs=1)).fit(toy_data(tree, 4))
    folder = tmp_path_factory.mktemp("run") / "model"
    fitted.save_pretrained(folder)
    return folder


# ------------------------------------------------------------------ rates


@pytest.mark.parametrize("family", FAMILIES)
def test_lower_layers_learn_slower_in_every_architecture(family, tmp_path):
    encoder, _ = load_encoder(settings(encoder=str(write_encoder(tmp_path / family, family)), prune_vocabulary=False))
    module = torch.nn.ModuleDict({"encoder": encoder, "head": torch.nn.Linear(2, 2)})
    groups = parameter_groups(
        module, encoder, TrainerSettings(learning_rate=8.0, head_learning_rate=5.0, layer_decay=0.5)
    )
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    layers = encoder.config.num_hidden_layers
    for name, p in encoder.named_parameters():
        numbers = [int(part) for part in name.split(".") if part.isdigit()]
        if numbers:
            assert rate[id(p)] == 8.0 * 0.5 ** (layers - 1 - numbers[0]), name
        else:  # embeddings, and the last norm of those that have one
            assert rate[id(p)] == (8.0 if name in ("norm.weight", "final_norm.weight") else 8.0 * 0.5**layers), name
    assert {rate[id(p)] for p in module["head"].parameters()} == {5.0}
    assert len(rate) == len(list(module.parameters()))


def test_layer_decay_of_no_stack_is_refused():
    with pytest.raises(ValueError, match=r"trainer\.layer_decay: Linear is not a stack of layers"):
        layer_depths(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"trainer\.layer_decay: got 1\.5"):
        TrainerSettings(layer_decay=1.5)


# ------------------------------------------------------------------ an earlier run as the start


def test_a_run_is_the_start_of_another_with_another_tree(run, tmp_path):
    first = hjc.load(run)
    encoder, tokenizer = load_encoder(settings(encoder=str(run)))
    trained = first.network.encoder.state_dict()
    assert encoder.training and encoder.state_dict().keys() == trained.keys()
    assert all(torch.equal(weight, trained[name]) for name, weight in encoder.state_dict().items())
    assert tokenizer.get_vocab() == first.tokenizer.get_vocab()

    other = from_prefix_codes(["A1", "A2", "B"], digits=[1, 2])
    data = JobData.from_lists(other, ["cook", "chef", "welder"] * 4, ["A1", "A2", "B"] * 4)
    second = NeuralClassifier(other, settings(encoder=str(run)), trainer(max_steps=2)).fit(data)
    folder = tmp_path / "second"
    second.save_pretrained(folder)
    again = hjc.load(folder)  # also when the first run is gone: nothing in it points there
    assert str(run) not in (folder / "encoder_config.json").read_text(encoding="utf-8")
    np.testing.assert_allclose(again.predict_log_proba(["cook"]), second.predict_log_proba(["cook"]), atol=1e-6)


def test_a_run_read_by_other_settings_says_so(run, caplog):
    with caplog.at_level(logging.WARNING):
        load_encoder(settings(encoder=str(run), prefix="query: "))
    assert "was trained with model.prefix='', here 'query: '" in caplog.text
    with pytest.raises(ValueError, match="num_layers: got 9"):
        load_encoder(settings(encoder=str(run), num_layers=9))


def test_a_run_without_its_weights_is_one_message(run, tmp_path):
    for name in ("encoder_config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    assert resolve_folder(str(tmp_path)) == tmp_path
    with pytest.raises(FileNotFoundError, match="is the run finished"):
        load_encoder(settings(encoder=str(tmp_path)))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="is damaged"):
        load_encoder(settings(encoder=str(tmp_path)))
    (tmp_path / "encoder_config.json").unlink()
    with pytest.raises(EncoderNotFoundError, match=r"no config\.json"):
        resolve_folder(str(tmp_path))


def test_vectors_that_do_not_fit_the_whole_vocabulary_are_a_message() -> None:
    whole = torch.nn.Module()
    whole.table = torch.nn.Embedding(4, 3)
    whole.get_input_embeddings = lambda: whole.table
    other, known = torch.nn.Linear(3, 2), {"a": 0, "b": 1}
    for trained, own, message in (
        (other, {"a": 0}, r"no weights table\.weight"),
        (whole, {"a": 9}, "ids of 1 pieces"),
        (whole, {"a": -1}, "ids of 1 pieces"),
        (whole, {}, "ids of 0 pieces"),
    ):
        with pytest.raises(ValueError, match=message):
            graft(whole, known, trained, own)


def test_a_pruned_run_starts_another_with_the_whole_vocabulary(tmp_path, monkeypatch, caplog):
    """The pieces that its texts used as it trained them, the others as they were before it."""
    start = tmp_path / "xlmr"
    whole, pieces = load_encoder(settings(encoder=str(write_encoder(start, "xlmr")), prune_vocabulary=False))
    tree = toy_tree()
    pruning = settings(encoder=str(start), prune_vocabulary=True)
    model = NeuralClassifier(tree, pruning, trainer(max_steps=2)).fit(toy_data(tree, 4))
    model.save_pretrained(tmp_path / "run")
    own = model.tokenizer.get_vocab()
    assert own.keys() < pieces.get_vocab().keys()

    encoder, tokenizer = load_encoder(settings(encoder=str(tmp_path / "run"), prune_vocabulary=False))
    assert tokenizer.get_vocab() == pieces.get_vocab()
    before, trained = whole.get_input_embeddings().weight, model.network.encoder.get_input_embeddings().weight
    table = encoder.get_input_embeddings().weight
    for piece, i in pieces.get_vocab().items():
        assert torch.equal(table[i], trained[own[piece]] if piece in own else before[i]), piece
    assert not torch.equal(encoder.encoder.layer[0].output.dense.weight, whole.encoder.layer[0].output.dense.weight)

    # it is never asked for at the hub, because the run names it: without it, the pieces that are there
    start.rename(tmp_path / "elsewhere")
    monkeypatch.setattr("hjc.nn.hub.probe", lambda *_: pytest.fail("the hub was asked"))
    encoder, tokenizer = load_encoder(settings(encoder=str(tmp_path / "run"), prune_vocabulary=False))
    assert tokenizer.get_vocab() == own and "other texts are cut into more pieces" in caplog.text
