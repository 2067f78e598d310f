"""Integrated gradients: they add up, agree with a quadrature written out, stand where words stand, find the word."""

import sys

import numpy as np
import pytest
import torch

from hjc.classifiers.neural import NeuralClassifier
from hjc.explain import explain_text
from hjc.nn.encoder import load_encoder
from hjc.nn.network import Network
from hjc.nn.settings import HIERARCHIES
from tests.encoder_zoo import corpus, write_encoder
from tests.test_neural import WORDS, settings, toy_data, toy_tree, trainer

pytest.importorskip("captum")

from hjc.nn.attribution import AttributionError, _encode, integrated_gradients

pytestmark = pytest.mark.slow

TREE = toy_tree()


def untrained(tmp_path, family="xlmr", **more) -> NeuralClassifier:
    """A random encoder of a family under a random head, its vocabulary pruned to other texts."""
    stored = str(write_encoder(tmp_path / family, family))
    chosen = settings(encoder=stored, max_length=200, hierarchy="topdown", **more)
    model = NeuralClassifier(TREE, chosen)
    encoder, model.tokenizer = load_encoder(chosen, corpus(60))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.network = Network(encoder, TREE, chosen).eval()
        torch.nn.init.normal_(model.network.head.linear.weight, std=0.3)
    return model


@pytest.fixture(scope="module")
def fitted() -> NeuralClassifier:
    return NeuralClassifier(TREE, settings(prefix="query: ", max_length=24), trainer()).fit(toy_data(TREE))


def sums(found):
    parts, leads = (sum(getattr(w, name) for w in found.words) for name in ("part", "lead"))
    return parts - (found.value - found.constant), leads - (found.difference - found.difference_constant)


@pytest.mark.parametrize("family", ["xlmr", "e5_small", "minilm", "herbert", "mmbert"])
def test_every_architecture_and_pruned_vocabulary_adds_up(family, tmp_path):
    model = untrained(tmp_path, family, pooling="cls" if family == "minilm" else "mean")
    text = f"{corpus(60)[3]},  {corpus(60)[7]}\n{corpus(60)[11]}"
    for found in explain_text(model, text, [1, 2], steps=(48,)):
        value = np.log(model.predict_proba([text], found.level)[0])
        assert found.value == pytest.approx(value.max(), abs=1e-4) and found.method == "gradients"
        assert np.abs(sums(found)).max() < 1e-4 and found.notes == ()
        assert "".join(w.word for w in found.words) == "".join(text.split())
        assert all(text[w.start : w.end] == w.word for w in found.words)
        assert max(abs(w.part) for w in found.words) > 20 * 1e-4


@pytest.mark.parametrize("more", [{"lora_rank": 2}, {"freeze_encoder": True}, {"pooling": "max", "head_norm": False}])
def test_adapted_frozen_and_other_encoders(more, tmp_path):
    encoder = str(write_encoder(tmp_path / "xlmr", "xlmr"))
    chosen = settings(encoder=encoder, head_init="random", **more)
    model = NeuralClassifier(TREE, chosen, trainer(epochs=1, max_steps=3)).fit(toy_data(TREE, 4))
    frozen = model.network.freeze_encoder
    (found,) = explain_text(model, "golf alpha hotel")
    assert np.abs(sums(found)).max() < 0.05 and max(abs(w.part) for w in found.words) > 0
    assert model.network.freeze_encoder == frozen and not model.network.training
    assert all(p.grad is None or not p.grad.any() for p in model.network.encoder.parameters()) or not frozen


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
def test_heads_and_inner_codes(hierarchy):
    model = NeuralClassifier(TREE, settings(hierarchy=hierarchy), trainer(epochs=4)).fit(toy_data(TREE))
    text = f"juliet {WORDS[4]} india"
    one, two = explain_text(model, text, [1, 2], steps=(256,))
    assert [TREE.codes[found.node] for found in (one, two)] == ["2", "22"]
    for found in (one, two):
        assert found.by_word("part")[0][0] == WORDS[4] and found.by_word("part")[0][1] > 0
        assert np.abs(sums(found)).max() < 0.1
    (other,) = explain_text(model, text, code="21")
    assert TREE.codes[other.second] == "22" and dict(other.by_word())[WORDS[4]] < 0


def test_against_a_sum_written_out(fitted):
    """Midpoint rule along the line, gradients by autograd: the definition, without captum."""
    text = "bravo kilo, lima"
    model, network = fitted, fitted.network
    own, other = (slice(*TREE.leaf_slice[TREE.index_of[code]].tolist()) for code in ("12", "1"))
    found = integrated_gradients(network, model.tokenizer, model.settings, text, [(own, None), (own, other)])
    ids, starts, _, read = _encode(model.tokenizer, model.settings, text)
    embed = network.encoder.get_input_embeddings().weight.detach()
    here = embed[torch.from_numpy(ids)]
    there = here.clone()
    there[torch.from_numpy(starts >= 0)] = embed[model.tokenizer.pad_token_id]
    mask = torch.ones(1, len(ids), dtype=torch.int64)
    total, n = torch.zeros(2, len(ids)), 200
    for i in range(n):
        x = (there + (i + 0.5) / n * (here - there)).requires_grad_()
        hidden = network.encoder(inputs_embeds=x[None], attention_mask=mask).last_hidden_state.mean(1)
        log_p = network.head(network.norm(hidden))[0]
        for k, f in enumerate([log_p[own].logsumexp(0), log_p[own].logsumexp(0) - log_p[other].logsumexp(0)]):
            (gradient,) = torch.autograd.grad(f, x, retain_graph=True)
            total[k] += (gradient * (here - there)).sum(-1) / n
    np.testing.assert_allclose(found.parts, total.numpy(), atol=2e-2)
    assert read == len(text) and (starts[0], starts[-1]) == (-1, -1)  # special tokens
    assert found.parts[:, starts < 0] == pytest.approx(0)  # nor does the prefix change
    assert found.value[1] == pytest.approx(found.value[0] - np.log(model.predict_proba([text], 1)[0, 0]), abs=1e-4)


def test_truncated_empty_and_blank_texts(fitted):
    long = "  alpha\t" + "kilo " * 60 + "bravo"
    (found,) = explain_text(fitted, long)
    assert "first 24 tokens" in found.notes[-1] and found.words[-1].word == "kilo" and found.words[0].word == "alpha"
    assert long[found.words[0].start : found.words[0].end] == "alpha"
    for text in ("", " \n"):
        (found,) = explain_text(fitted, text)
        assert found.words == () and found.value == pytest.approx(found.constant) and found.notes == ()


def test_a_sum_that_is_not_met_is_said(fitted):
    (found,) = explain_text(fitted, "alpha kilo", steps=(1,), tolerance=1e-6)
    assert "instead of" in found.notes[0] and "rough" in found.notes[0]
    with pytest.raises(ValueError, match="steps"):
        explain_text(fitted, "alpha", steps=())


def test_an_encoder_that_computes_something_else_is_refused(fitted, monkeypatch):
    encoder = fitted.network.encoder
    plain = encoder.forward

    def forward(input_ids=None, attention_mask=None, inputs_embeds=None):
        return plain(input_ids=input_ids, attention_mask=attention_mask,
                     inputs_embeds=None if inputs_embeds is None else 2 * inputs_embeds)  # fmt: skip

    monkeypatch.setattr(encoder, "forward", forward)
    with pytest.raises(AttributionError, match="occlusion"):
        explain_text(fitted, "alpha kilo")


def test_command_and_without_captum(fitted, call, tmp_path, monkeypatch):
    fitted.save_pretrained(tmp_path / "model")
    code, out, err = call("explain", tmp_path / "model", "kilo bravo", "--code", "12", "-l", "1", "-l", "2")
    assert code == 0 and "bravo +" in out and "without the words" in out and "integrated gradients" in err
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    code, _, err = call("explain", tmp_path / "model", "kilo bravo")
    assert code == 2 and 'pip install "hjc[explain]"' in err and "occlusion" in err
    code, out, _ = call("explain", tmp_path / "model", "kilo bravo", "--method", "occlusion")
    assert code == 0 and "bravo +" in out
