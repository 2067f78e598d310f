"""hjc adapt: titles of one code are drawn together, and what is written is an encoder like any other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from hjc.classifiers.embedding import adapt as module
from hjc.classifiers.embedding.adapt import adapt_encoder, titles_of
from hjc.nn import planning
from hjc.nn.encoder import load_encoder
from hjc.nn.settings import NeuralSettings, TrainerSettings
from hjc.nn.text_encoder import TorchTextEncoder
from hjc.taxonomy import from_prefix_codes
from tests.encoder_zoo import write_encoder

WORDS = {
    "11": ("cook", "kucharz", "Koch", "chef"), "12": ("baker", "piekarz", "Bäcker", "pastry"),
    "21": ("nurse", "pielęgniarka", "Pfleger", "ward"), "22": ("doctor", "lekarz", "Arzt", "physician"),
    "23": ("dentist", "dentysta", "Zahnarzt", "teeth"),
}  # fmt: skip
TREE = from_prefix_codes(
    list(WORDS), [1, 2], titles={lang: {c: w[i] for c, w in WORDS.items()} for i, lang in enumerate(("en", "pl", "de"))}
)
FURTHER = [(code, f"{word} {i}") for code, words in WORDS.items() for word in words for i in range(6)]
TRAINER = TrainerSettings(
    epochs=6, batch_size=5, learning_rate=3e-3, warmup_steps=5, patience=0, loggers=[], threads=1, precision="32"
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("zoo") / "xlmr", "xlmr")


def test_titles() -> None:
    found = titles_of(TREE, [("11", "  head   cook "), ("11", "cook"), ("12", "")])
    assert len(found.texts) == 16 and found.texts[:4] == ("cook", "kucharz", "Koch", "head cook")
    assert titles_of(TREE, languages=["pl"]).texts == tuple(w[1] for w in WORDS.values())
    with pytest.raises(ValueError, match="has titles of 0 codes; two or more are needed"):
        titles_of(TREE, languages=["xx"])


def test_texts_of_codes_that_are_no_leaves_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    assert len(titles_of(TREE, [("1", "group"), ("99", "strange")]).texts) == 15
    assert "texts of 2 codes that are no leaves of the tree are left out ('1', '99')" in caplog.text


@pytest.mark.slow
def test_titles_of_a_code_come_together_and_the_rest_of_the_encoder_stays(encoder: Path, tmp_path: Path) -> None:
    settings = NeuralSettings(encoder=str(encoder), max_length=16)
    titles = titles_of(TREE, FURTHER)
    found = adapt_encoder(TREE, titles, settings, TRAINER, tmp_path / "mine")
    assert found.titles + found.held_out == len(titles.texts) and found.held_out > 0
    assert found.after["log_loss"] < found.before["log_loss"]
    assert json.loads((tmp_path / "mine" / module.NOTE).read_text())["encoder"] == str(encoder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine"]  # nothing to resume from is left

    before, then = load_encoder(NeuralSettings(encoder=str(encoder), prune_vocabulary=False))
    after, now = load_encoder(NeuralSettings(encoder=str(tmp_path / "mine"), prune_vocabulary=False))
    assert now.get_vocab() == then.get_vocab()  # the whole vocabulary, whatever the titles used
    moved = (after.get_input_embeddings().weight != before.get_input_embeddings().weight).any(dim=1)
    used = set(torch.tensor(then([t for t in titles.texts])["input_ids"][0]).tolist())
    assert moved[sorted(used)].any() and not moved.all()

    def apart(model: object, tokenizer: object) -> float:
        """Mean cosine of texts of one code, less that of texts of others."""
        made = TorchTextEncoder(model, tokenizer, pooling="mean", prefix="", max_length=16)
        words = [w for words in WORDS.values() for w in words]
        cosine = (v := made.encode(words, progress=False)) @ v.T
        same = np.kron(np.eye(5), np.ones((4, 4))).astype(bool)
        return float(cosine[same & ~np.eye(20, dtype=bool)].mean() - cosine[~same].mean())

    assert apart(after, now) > apart(before, then) + 0.1


@pytest.mark.slow
def test_codes_without_titles_and_one_command(encoder: Path, tmp_path: Path, call) -> None:  # type: ignore[no-untyped-def]
    tree = pd.DataFrame(
        {
            "code": ["1", "2", *WORDS, "24"],
            "parent": ["", "", "1", "1", "2", "2", "2", "2"],
            "title_en": ["", "", *(w[0] for w in WORDS.values()), ""],
        }
    )
    tree.to_csv(tmp_path / "tree.csv", index=False)
    pd.DataFrame(FURTHER, columns=["kod", "nazwa"]).to_csv(tmp_path / "labels.csv", index=False)
    command = [
        "adapt", encoder, "-o", tmp_path / "mine", "--titles", tmp_path / "tree.csv",
        "--labels", tmp_path / "labels.csv", "-c", "kod", "-t", "nazwa",
        "--batch-size", 5, "--max-length", 16, "--epochs", 1,
    ]  # fmt: skip
    status, _, said = call(*command)
    assert status == 0, said
    assert "titles held out the right code is the nearest" in said and "model.encoder=" in said
    model, _ = load_encoder(NeuralSettings(encoder=str(tmp_path / "mine")), ["cook"])
    assert model.config.hidden_size > 0
    status, _, said = call(*command)
    assert status == 2 and "exists; give another name" in said
    few = ("adapt", encoder, "-o", tmp_path / "few", "--titles", tmp_path / "tree.csv", "--max-length", 16)
    status, _, said = call(*few)
    assert status == 0 and "no title was held out, as too few codes have 4 titles or more" in said


@pytest.mark.slow
@pytest.mark.parametrize(("minutes", "rate"), [(1, 50.0), (10, 1000.0)])  # tokens a second
def test_minutes_lay_the_schedule_out(
    encoder: Path, tmp_path: Path, call, monkeypatch: pytest.MonkeyPatch, minutes: int, rate: float
) -> None:
    """The rate rises and falls to its end within the steps that fit, and never more passes than --epochs."""
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def noted(self: torch.optim.AdamW, *given: Any, **named: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *given, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    monkeypatch.setattr(planning, "time_steps", lambda *_: rate)
    titles = {code: words[0] for code, words in WORDS.items()}
    pd.DataFrame({"code": [*titles], "parent": "", "title_en": [*titles.values()]}).to_csv(tmp_path / "tree.csv")
    pd.DataFrame(FURTHER, columns=["code", "text"]).to_csv(tmp_path / "labels.csv", index=False)
    status, _, said = call(
        "adapt", encoder, "-o", tmp_path / "mine",
        "--titles", tmp_path / "tree.csv", "--labels", tmp_path / "labels.csv",
        "--batch-size", 5, "--max-length", 16, "--epochs", 6, "--minutes", minutes, "--learning-rate", 1e-3,
    )  # fmt: skip
    assert status == 0, said
    note = json.loads((tmp_path / "mine" / module.NOTE).read_text())["training"]
    assert len(rates) == note["steps"] == note["plan"]["max_steps"] and note["status"] == "finished"
    assert max(rates) == 1e-3 and rates[-1] < 0.15 * max(rates) and rates[-1] == min(rates[len(rates) // 2 :])
    assert f"planned for {minutes} minutes: {len(rates):,} batches of 5, " in said
    assert "the rate falls to 0 over them" in said
    assert (note["plan"]["epochs"] == 6) == (minutes == 10)


def test_a_rate_of_0_is_not_the_default(encoder: Path, tmp_path: Path, call, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    rates: list[float] = []

    def not_now(*given: object, **_: object) -> None:
        rates.extend(part.learning_rate for part in given if isinstance(part, TrainerSettings))
        raise ValueError("not now")

    monkeypatch.setattr(module, "adapt_encoder", not_now)
    for option in ((), ("--learning-rate", 0)):
        assert call("adapt", encoder, "-o", tmp_path / "new", "--titles", "isco08", *option)[0] == 2
    assert rates == [1e-4, 0]


def test_messages(tmp_path: Path, call) -> None:  # type: ignore[no-untyped-def]
    status, _, said = call("adapt", tmp_path / "none", "-o", tmp_path / "out", "--titles", "isco08")
    assert status == 2 and "no folder" in said
    with pytest.raises(ValueError, match="tiny has learnt nothing"):
        adapt_encoder(TREE, titles_of(TREE), NeuralSettings(encoder="tiny"), TRAINER, tmp_path / "out")
