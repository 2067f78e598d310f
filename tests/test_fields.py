"""The title as a field of its own in the vector of a text, and long texts as windows: both against plain formulas."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import hjc
from hjc.classifiers.neural import NeuralClassifier
from hjc.data import JobData
from hjc.nn.attribution import AttributionError, integrated_gradients
from hjc.nn.batching import collate
from hjc.nn.encoder import load_encoder
from hjc.nn.fields import merge_windows
from hjc.nn.network import inputs_of
from hjc.nn.settings import NeuralSettings
from hjc.nn.tokens import Reading, first_line, special_ends, tokenize, windows_of
from tests.encoder_zoo import FAMILIES, write_encoder

from .test_neural import settings, toy_data, toy_tree, trainer

TEXTS = ["alpha kilo\nbravo lima golf hotel india juliet " * 2, "alpha", "", "\n\n echo\n\nfoxtrot", "golf hotel\n  "]


@pytest.mark.parametrize(
    ("text", "title"),
    [("nurse\nnight shifts", "nurse"), ("\n nurse \n\nshifts", "nurse"), ("nurse", ""), ("nurse\n \n", ""), ("", "")],
)
def test_the_title_is_the_first_of_several_lines(text, title):
    assert first_line(text).strip() == title


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(10, 99), max_size=40), st.integers(4, 12), st.booleans())
def test_windows_hold_every_token_once(inner, size, bare):
    before, behind = ([], [2]) if bare else ([0], [2])
    found = windows_of([*before, *inner, *behind], size, before, behind)
    assert all(len(window) <= size and window[-1] == 2 for window in found)
    assert [token for w in found for token in w[len(before) : len(w) - len(behind)]] == inner


def test_the_mean_of_windows_is_that_of_all_tokens():
    random = np.random.default_rng(0)
    states = [torch.from_numpy(random.normal(size=(n, 3))) for n in (5, 2, 4)]
    vectors = torch.stack([s.mean(0) for s in states])
    found = merge_windows(vectors, torch.tensor([5, 2, 4]), torch.tensor([0, 0, 1]))
    torch.testing.assert_close(found, torch.stack([torch.cat(states[:2]).mean(0), states[2].mean(0)]))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_of_titles_in_every_tokenizer(family, tmp_path):
    """Those of the whole text up to the end of its first line."""
    _, tokenizer = load_encoder(
        NeuralSettings(encoder=str(write_encoder(tmp_path / family, family)), prune_vocabulary=False)
    )
    before, behind = special_ends(tokenizer)
    texts = ["welder (m/f)\nwelds steel pipes", "welder", "spawacz rur"]
    corpus = tokenize(tokenizer, texts, Reading(64, "query: ", titles=True))
    title = tokenizer("query: welder (m/f)")["input_ids"]
    assert corpus.titles[0] == len(title) - len(behind)
    assert corpus.row(0)[: corpus.titles[0]] == title[: len(title) - len(behind)]
    assert corpus.titles[1:].tolist() == corpus.lengths[1:].tolist()
    assert tokenize(tokenizer, texts, Reading(4, titles=True)).titles.max() <= 4
    cut = tokenize(tokenizer, [" ".join(["welder"] * 40)], Reading(16, windows=2))
    assert 16 < cut.lengths[0] <= 32
    batch = collate(cut, np.array([0]), tokenizer.pad_token_id)
    assert batch["owner"].tolist() == [0, 0] and batch["input_ids"].shape[1] <= 16
    for row, mask in zip(batch["input_ids"].tolist(), batch["attention_mask"].sum(1).tolist(), strict=True):
        assert row[: len(before)] == before and row[mask - len(behind) : mask] == behind


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> tuple[NeuralClassifier, Path]:
    tree = toy_tree()
    data = toy_data(tree, 6)
    data = JobData.from_lists(tree, [t.replace(" ", "\n", 1) for t in data.texts], data.codes)
    model = settings(title_share=0.4, windows=3, max_length=8)
    found = NeuralClassifier(tree, model, trainer(epochs=2)).fit(data, data)
    folder = tmp_path_factory.mktemp("fields") / "model"
    found.save_pretrained(folder)
    return found, folder


@pytest.mark.slow
def test_vectors_are_what_the_formula_says(fitted):
    model, _ = fitted
    network, tokenizer = model.network.eval(), model.tokenizer
    found = model.vectors(TEXTS)
    for text, vector in zip(TEXTS, found, strict=True):
        content = tokenizer(" ".join(text.split()))["input_ids"][1:-1][: 3 * 6]
        states, own = [], []
        title = len(tokenizer(" ".join(first_line(text).split()))["input_ids"]) - 1 if first_line(text) else None
        for start in range(0, max(1, len(content)), 6):
            ids = torch.tensor([[0, *content[start : start + 6], 2]])
            with torch.no_grad():
                state = network.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
            states.append(state)
            own.append(state if title is None else state[:title] if start == 0 else state[:0])
        expected = 0.6 * torch.cat(states).mean(0) + 0.4 * torch.cat(own).mean(0)
        np.testing.assert_allclose(vector, network.norm(expected).detach().numpy(), atol=2e-5)


@pytest.mark.slow
def test_batches_saved_models_and_single_texts_agree(fitted):
    model, folder = fitted
    together = model.predict_log_proba(TEXTS)
    alone = np.concatenate([model.predict_log_proba([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=2e-5)
    again = hjc.load(folder)
    assert (again.settings.title_share, again.settings.windows) == (0.4, 3)
    np.testing.assert_allclose(again.predict_log_proba(TEXTS), together, atol=1e-6)
    passes = [p for _, p in model.iter_dropout_log_proba(TEXTS, passes=2)] if model.network.dropout.p else []
    assert all(p.shape[0] == 2 for p in passes)


@pytest.mark.slow
def test_title_and_body_differ_from_the_same_words_on_one_line(fitted):
    model, _ = fitted
    two, one = model.predict_log_proba(["alpha\ngolf hotel"]), model.predict_log_proba(["alpha golf hotel"])
    assert np.abs(two - one).max() > 1e-4


@pytest.mark.slow
def test_gradients_know_the_title_and_refuse_windows(fitted):
    pytest.importorskip("captum")
    model, _ = fitted
    parts = integrated_gradients(model.network, model.tokenizer, model.settings, "alpha\nkilo", [(slice(0, 1), None)])
    assert parts.complete().all()
    expected = model.predict_log_proba(["alpha\nkilo"])[0, 0]
    assert parts.value[0] == pytest.approx(expected, abs=1e-4)
    with pytest.raises(AttributionError, match="use method occlusion"):
        integrated_gradients(model.network, model.tokenizer, model.settings, "alpha " * 9, [(slice(0, 1), None)])


@pytest.mark.slow
def test_a_network_with_a_title_needs_its_length(fitted):
    model, _ = fitted
    batch = collate(tokenize(model.tokenizer, ["alpha\nbravo"], Reading(8)), np.array([0]), 1)
    with pytest.raises(ValueError, match="number of tokens of the titles"):
        model.network(**inputs_of(batch))


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match=r"model\.title_share: needs model\.pooling=mean, got 'cls'"):
        settings(title_share=0.5, pooling="cls")
    for wrong in ({"title_share": 1.0}, {"windows": 0}):
        with pytest.raises(ValueError, match=f"model.{next(iter(wrong))}: got"):
            settings(**wrong)
