"""Training texts that are changed in every epoch, two passes a row, means of weights that validation rows choose."""

import unicodedata
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from hjc.classifiers import build
from hjc.classifiers.embedding.settings import BiEncoderSettings
from hjc.classifiers.neural import NeuralClassifier
from hjc.data.letters import plain_letters
from hjc.data.side import side_of, with_side
from hjc.metrics import level_metrics, score_rows
from hjc.nn.augment import Noise, typo
from hjc.nn.averaging import MOST, along_the_run, between, choose, copy_of, mean_state
from hjc.nn.mixing import Mixture
from hjc.nn.module import TrainingModule, symmetric_divergence
from hjc.nn.settings import SourceShare, TrainerSettings
from hjc.training.config import compose

from .test_neural import settings, toy_data, toy_tree, trainer

QUICK = hypothesis_settings(max_examples=50, deadline=None)
TEXTS = st.lists(st.text("abcdef ąß\n", max_size=60), max_size=8)


# ------------------------------------------------------------------ noise


@QUICK
@given(TEXTS, st.floats(0, 0.9), st.floats(0, 0.9), st.integers(0, 5))
def test_noise_empties_no_text_and_depends_on_seed_and_epoch_alone(texts, dropout, typos, epoch):
    noise = Noise(dropout, typos, dropout)
    found = noise.texts(texts, 1, epoch, 50)
    assert found == noise.texts(texts, 1, epoch, 50)
    for before, after in zip(texts, found, strict=True):
        assert bool(after.split()) == bool(before.split())
        assert len(after.split()) <= len(before.split())


@QUICK
@given(TEXTS)
def test_no_noise_changes_blanks_alone(texts):
    assert not Noise() and Noise(typos=0.1)
    assert [t.split() for t in Noise().texts(texts, 1, 0, 10**6)] == [t.split() for t in texts]


def test_noise_comes_as_often_as_it_was_asked_for():
    text = "\n".join(["mechanik", "pojazdow " * 999])
    dropped = [len(t.split()) for t in Noise(word_dropout=0.2).texts([text] * 20, 1, 0, 2000)]
    assert np.mean(dropped) == pytest.approx(800, abs=15)
    changed = [w != "pojazdow" for w in Noise(typos=0.1).texts([text], 1, 0, 2000)[0].split()[1:]]
    assert np.mean(changed) == pytest.approx(0.1, abs=0.04)
    fields = Noise(field_dropout=0.5).texts(["title\nsome duties"] * 400 + ["title"], 1, 0, 100)
    share = [np.mean([t == kind for t in fields[:400]]) for kind in ("title\nsome duties", "title", "some duties")]
    assert share == pytest.approx([0.5, 0.25, 0.25], abs=0.08) and fields[400] == "title"
    assert Noise(typos=0.1).texts(["a b c\nd e"], 1, 0, 4) == ["a b c\nd"]  # what would be cut off is not looked at


def test_letters_lose_their_marks_in_some_texts():
    found = Noise(plain_letters=0.3).texts(["Șef de secție, łódź"] * 500, 1, 0, 9)
    assert set(found) == {"Șef de secție, łódź", "Sef de sectie, lodz"}
    assert np.mean([text.startswith("Sef") for text in found]) == pytest.approx(0.3, abs=0.06)


@QUICK
@given(st.text(max_size=30))
def test_plain_letters_are_found_by_taking_each_letter_apart(text):
    def bare(letter):
        first = unicodedata.normalize("NFD", letter)[0]
        of_latin_or_greek = unicodedata.name(first, "").startswith(("LATIN", "GREEK"))
        return first.translate(str.maketrans("łŁđĐøØħĦŧŦ", "lLdDoOhHtT")) if of_latin_or_greek else letter

    composed = unicodedata.normalize("NFC", text)
    assume(not any("\u0300" <= letter <= "\u036f" for letter in composed))
    assert plain_letters(text) == "".join(map(bare, composed))


def test_marks_that_no_letter_is_joined_with_go_too():
    given = ["ẹ\u0301 ọ\u0300", "x\u0304y", "ė\u0303", "ά\u0301", "и\u0302 й", "का \u0301"]
    assert [plain_letters(text) for text in given] == ["e o", "xy", "e", "α", *given[-2:]]


def test_side_variables_stay_with_their_text():
    texts = with_side(["cook in a hotel", "nurse"], {"branch": ["I", None]})
    found = Noise(word_dropout=0.5).texts(texts, 1, 0, 9)
    assert [dict(side_of(text)) for text in found] == [{"branch": "I"}, {}]


@QUICK
@given(st.text("abcdefgh", min_size=1, max_size=10), st.integers(0, 10**6))
def test_a_typing_error_is_one(word, seed):
    found = typo(word, np.random.default_rng(seed))
    assert found[0] == word[0]
    if len(word) < 4:
        assert found == word
    elif len(found) == len(word):
        other = [i for i in range(len(word)) if word[i] != found[i]]
        assert len(other) in (0, 2) and sorted(found) == sorted(word)
    else:
        longer, shorter = max(word, found, key=len), min(word, found, key=len)
        assert any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer)))


def test_every_epoch_is_written_anew_and_codes_stay_with_their_rows(monkeypatch):
    tree = toy_tree()
    data, seen = toy_data(tree, 4), {}
    step = TrainingModule.training_step

    def spy(self, batch, index):
        for i, row in enumerate(batch["row"].tolist()):
            assert int(batch["gold"][i]) == int(data.gold[row % len(data)])
            words = batch["attention_mask"][i].sum().item() - 2
            seen.setdefault(row // len(data), {})[row % len(data)] = (words, tuple(batch["input_ids"][i].tolist()))
        return step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", spy)
    NeuralClassifier(tree, settings(), trainer(epochs=2, word_dropout=0.5)).fit(data)
    assert all(sorted(seen[epoch]) == list(range(len(data))) for epoch in (0, 1))
    assert seen[0] != seen[1]


@pytest.mark.slow
def test_a_killed_run_with_noise_and_averages_resumes_to_the_same_numbers(tmp_path, monkeypatch):
    tree = toy_tree()
    train, valid = toy_data(tree, 20), toy_data(tree, 4, seed=1)
    options = {"epochs": 3, "validate_per_epoch": 2, "patience": 0, "word_dropout": 0.2, "typos": 0.2, "ema_decay": 0.9}
    options |= {"average": "both", "r_drop": 0.5, "layer_decay": 0.8}
    model = settings(dropout=0.2)
    whole = NeuralClassifier(tree, model, trainer(**options)).fit(train, valid, run_dir=tmp_path / "whole")
    step = TrainingModule.training_step

    def killed(self, batch, index):
        if self.global_step >= 14:
            raise SystemError("killed")
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", killed)
        with pytest.raises(SystemError, match="killed"):
            NeuralClassifier(tree, model, trainer(**options)).fit(train, valid, run_dir=tmp_path / "broken")
    resumed = NeuralClassifier(tree, model, trainer(**options)).fit(train, valid, run_dir=tmp_path / "broken")
    assert resumed.fit_result.averaged == whole.fit_result.averaged
    np.testing.assert_allclose(resumed.predict_log_proba(valid.texts), whole.predict_log_proba(valid.texts), atol=1e-5)


# ------------------------------------------------------------------ sources in a ratio


@QUICK
@given(st.lists(st.sampled_from(["ads", "names", "texts"]), min_size=1, max_size=60), st.floats(0.01, 1))
def test_epochs_go_round_the_rows_of_a_source(source, share):
    mixture = Mixture.of(source, {source[0]: share}, seed=1)
    own = {i for i, name in enumerate(source) if name == source[0]}
    number = max(1, round(share * len(own)))
    epochs = [mixture.rows(epoch).tolist() for epoch in range(-(-len(own) // number) + 1)]
    for rows in epochs:
        assert len(set(rows)) == len(rows) == len(source) - len(own) + number
        assert set(range(len(source))) - own <= set(rows)
    assert set().union(*epochs) == set(range(len(source)))


HALF = [{"source": "dictionary", "share": 0.5}]


def test_shares_come_from_the_command_line_too():
    found = compose(["trainer.source_share=[{source: dictionary names, share: 0.3}]"]).trainer.source_share
    assert found == [SourceShare(source="dictionary names", share=0.3)]


def test_a_share_of_a_source_is_what_training_sees(monkeypatch):
    tree = toy_tree()
    data = toy_data(tree, 4)
    data = replace(data, source=["ads"] * 8 + ["dictionary"] * 20)
    seen: dict[int, list[int]] = {}
    step = TrainingModule.training_step

    def spy(self, batch, index):
        seen.setdefault(self.current_epoch, []).extend(batch["row"].tolist())
        return step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", spy)
    options = trainer(epochs=2, source_share=HALF)
    NeuralClassifier(tree, settings(), options).fit(data)
    assert [len(rows) for rows in seen.values()] == [18, 18]
    assert sorted({*seen[0], *seen[1]}) == list(range(28)) and sorted(seen[0])[:8] == sorted(seen[1])[:8]
    seen.clear()
    NeuralClassifier(tree, settings(), trainer(epochs=2, source_share=HALF, typos=0.5)).fit(data)
    assert [len(rows) for rows in seen.values()] == [18, 18]
    assert sorted({row % 28 for rows in seen.values() for row in rows}) == list(range(28))
    with pytest.raises(ValueError, match=r"no training row is of 'thesaurus'; sources are 'ads', 'dictionary'"):
        NeuralClassifier(tree, settings(), trainer(source_share=[SourceShare(source="thesaurus", share=0.5)])).fit(data)


# ------------------------------------------------------------------ two passes a row


@QUICK
@given(st.integers(1, 4), st.integers(2, 6), st.integers(0, 10**6))
def test_the_divergence_is_the_mean_of_both(rows, leaves, seed):
    random = np.random.default_rng(seed)
    p, q = random.dirichlet(np.ones(leaves), (2, rows))
    found = symmetric_divergence(torch.from_numpy(p).log(), torch.from_numpy(q).log())
    for i in range(rows):
        one = sum(p[i, j] * np.log(p[i, j] / q[i, j]) for j in range(leaves))
        other = sum(q[i, j] * np.log(q[i, j] / p[i, j]) for j in range(leaves))
        assert float(found[i]) == pytest.approx((one + other) / 2, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("hierarchy", ["topdown", "bottomup"])
def test_two_passes_are_one_where_nothing_is_dropped(hierarchy):
    tree = toy_tree()
    fitted = NeuralClassifier(tree, settings(hierarchy=hierarchy), trainer(epochs=1)).fit(toy_data(tree, 4))
    batch = dict(fitted.tokenizer(["kilo alpha", "bravo"], padding=True, return_tensors="pt"))
    batch["gold"] = torch.tensor([3, 5])
    losses = []
    for rate in (0.0, 3.0):
        module = TrainingModule(fitted.network.eval(), tree, TrainerSettings(r_drop=rate), 1)
        losses.append(module.losses(batch))
    torch.testing.assert_close(*losses)
    fitted.network.dropout.p = 0.5
    module.network.train()
    torch.manual_seed(0)
    noisy = module.losses(batch)
    torch.manual_seed(0)
    head = module.network.head
    vectors = [module.network.features(batch["input_ids"], batch["attention_mask"]) for _ in range(2)]
    expected = sum(head.losses(v, batch) for v in vectors) / 2
    expected = expected + 3.0 * symmetric_divergence(head(vectors[0]), head(vectors[1]))
    torch.testing.assert_close(noisy, expected)


# ------------------------------------------------------------------ means of weights


def state(value: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.tensor([[value]]), "bias": torch.tensor([0.0])}


def test_means_are_means(tmp_path):
    assert mean_state([state(1.0), state(2.0), state(6.0)])["weight"].item() == 3.0
    assert between(state(1.0), state(3.0), 0.25)["weight"].item() == 2.5
    for step, value in enumerate([8.0, 1.0, 3.0]):
        save_file(state(value), tmp_path / f"{step:09d}.safetensors")
    found = {name: candidate["weight"].item() for name, candidate in along_the_run(tmp_path)}
    assert found == {"mean of the last 2 states": 2.0, "mean of the last 3 states": 4.0}


@pytest.mark.parametrize(
    ("best_at", "kind", "name", "value"),
    [
        (2.0, "run", "mean of the last 2 states", 2.0),
        (3.0, "both", "", 3.0),  # as it ended: nothing is better
        (2.0, "start", "30% of the start", 2.1),
        (1.4, "both", "mean of the last 2 states, 30% of the start", 1.4),
        (1.0, "none", "", 3.0),
    ],
)
def test_the_best_mean_by_validation_is_kept(tmp_path, best_at, kind, name, value):
    for step, weight in enumerate([8.0, 1.0, 3.0]):
        save_file(state(weight), tmp_path / f"{step:09d}.safetensors")
    network = torch.nn.Linear(1, 1)
    network.load_state_dict(state(3.0))

    def score() -> float:
        return abs(network.weight.item() - best_at)

    found, least = choose(network, score, kind, state(0.0), tmp_path, score())
    assert found == name and network.weight.item() == pytest.approx(value)
    assert least == pytest.approx(abs(value - best_at), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_mean_that_is_kept_has_the_log_loss_that_is_told(tmp_path, ema):
    tree = toy_tree()
    train, valid = toy_data(tree, 20), toy_data(tree, 6, seed=1)
    options = {"epochs": 4, "patience": 0, "validate_per_epoch": 3, "average": "both", "ema_decay": ema}
    model = NeuralClassifier(tree, settings(), trainer(**options)).fit(train, valid, run_dir=tmp_path)
    plain = NeuralClassifier(tree, settings(), trainer(**{**options, "average": "none"})).fit(train, valid)
    result = model.fit_result
    assert result.best_valid_log_loss <= plain.fit_result.best_valid_log_loss
    assert bool(result.averaged) == (result.best_valid_log_loss < plain.fit_result.best_valid_log_loss)
    scores = score_rows(tree, model.predict_log_proba(valid.texts), valid.gold)
    told = level_metrics(scores, tree, tree.depth)["log_loss"]
    assert told == pytest.approx(result.best_valid_log_loss, abs=1e-4)
    states = sorted((tmp_path / "checkpoints" / "states").glob("*.safetensors"))
    assert len(states) == MOST
    last = load_file(states[-1])  # the last validation saw the last weights, or their moving average
    assert last.keys() == copy_of(model.network).keys()


def test_what_is_no_setting_is_refused():
    for wrong in (
        {"word_dropout": 1.0},
        {"typos": -0.1},
        {"r_drop": -1},
        {"average": "all"},
        {"source_share": [{"source": "ads", "share": 0}]},
    ):
        with pytest.raises(ValueError, match=rf"trainer\.{next(iter(wrong))}: got"):
            TrainerSettings(**wrong)


@pytest.mark.slow
def test_a_ranking_loss_refuses_what_it_does_not_do():
    tree = toy_tree()
    small = BiEncoderSettings(encoder="tiny", tiny_hidden=32, tiny_layers=1, tiny_vocabulary=300, max_length=12)
    with pytest.raises(ValueError, match=r"not trained with trainer\.average=run, trainer\.typos=0\.1"):
        build(tree, small, trainer(average="run", typos=0.1)).fit(toy_data(tree, 4), toy_data(tree, 2, seed=1))
