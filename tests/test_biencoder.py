"""The bi-encoder: what it learns, what it keeps, how it resumes."""

import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hjc
from hjc.classifiers.embedding.biencoder import BiEncoderClassifier, some_texts
from hjc.classifiers.embedding.labels import LabelIndex, LabelTexts
from hjc.classifiers.embedding.settings import BiEncoderSettings
from hjc.data import JobData
from hjc.nn.pairs import NO_TARGET, PairBatches
from hjc.nn.ranking import RankingBatches, RankingModule
from hjc.nn.settings import TrainerSettings
from hjc.nn.text_encoder import TorchTextEncoder
from hjc.nn.tokens import Reading, tokenize
from hjc.taxonomy import Taxonomy, from_prefix_codes

pytestmark = pytest.mark.slow


WORDS = {
    "111": "baker bread", "112": "butcher meat", "121": "nurse ward", "122": "doctor clinic",
    "211": "driver truck", "212": "pilot plane",
}  # fmt: skip
WISHES = ("senior", "junior", "lead")


def toy_tree(**titles: dict[str, str]) -> Taxonomy:
    return from_prefix_codes(list(WORDS), [1, 2, 3], titles={"en": WORDS, **titles})


def toy_data(tree: Taxonomy, rows: int = 8, seed: int = 0) -> JobData:
    """Texts with one of the two words of their code."""
    random = np.random.default_rng(seed)
    codes = [c for c in WORDS for _ in range(rows)]
    texts = [f"{random.choice(WISHES)} {random.choice(WORDS[c].split())} {random.integers(100)}" for c in codes]
    return JobData.from_lists(tree, texts, codes)


def settings(**changes: object) -> BiEncoderSettings:
    values = {
        "encoder": "tiny", "tiny_hidden": 32, "tiny_layers": 1, "tiny_vocabulary": 400, "max_length": 16,
        "label_mode": "title", **changes,
    }  # fmt: skip
    return BiEncoderSettings(**values)  # type: ignore[arg-type]


def trainer(**changes: object) -> TrainerSettings:
    values = {
        "epochs": 6, "batch_size": 6, "learning_rate": 3e-3, "warmup_steps": 3, "precision": "32", "patience": 0,
        "loggers": [], **changes,
    }  # fmt: skip
    return TrainerSettings(**values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted() -> BiEncoderClassifier:
    tree = toy_tree()
    return BiEncoderClassifier(tree, settings(), trainer()).fit(toy_data(tree), toy_data(tree, 3, 1))


def test_learns_what_can_be_learnt(fitted: BiEncoderClassifier) -> None:
    train, test = toy_data(fitted.taxonomy), toy_data(fitted.taxonomy, 6, 2)
    assert fitted.predict(train.texts)["code"].tolist() == list(train.codes)
    assert np.mean(fitted.predict(test.texts)["code"].to_numpy() == np.array(test.codes)) > 0.9
    result = fitted.fit_result
    assert result is not None and result.status == "finished" and result.steps == 48
    assert result.best_valid_log_loss is not None and result.best_valid_log_loss < 0.1
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(test.texts)).sum(axis=1), 1, rtol=1e-5)


def ranking_batch() -> tuple[RankingModule, TorchTextEncoder, dict[str, torch.Tensor], Any]:
    """A module at scale 20 that draws no dropout, its encoder, and batch 2 of epoch 1: tensors, and what it holds."""
    tree, s = toy_tree(), settings(prefix="query: ")
    train, labels = toy_data(tree, 4), list(WORDS.values())
    encoder = TorchTextEncoder.pretrained(s, train.texts, labels)
    batches = PairBatches(tree, train.gold, np.arange(6), batch_size=3, hard_negatives=2, seed=3)
    tokens = [tokenize(encoder.tokenizer, t, Reading(16, "query: ")) for t in (train.texts, labels)]
    examples = RankingBatches(*tokens, batches, encoder.tokenizer.pad_token_id)
    pairs = batches.batch(1, 2)
    texts = [*pairs.positive, *pairs.negative.ravel()]
    held = ([train.texts[i] for i in pairs.rows], [labels[i] for i in texts])
    return RankingModule(encoder, trainer(), 1, 20.0), encoder, examples.batch(examples.epoch(1, trainer())[2]), held


def test_loss_is_the_one_of_the_formula() -> None:
    module, encoder, batch, (rows, texts) = ranking_batch()
    anchors, vectors = encoder.encode(rows), encoder.encode(texts)
    expected = []
    for i, anchor in enumerate(anchors):
        scores = [20.0 * float(anchor @ v) for v in vectors]
        expected.append(np.log(sum(np.exp(x - scores[i]) for x in scores)))
    np.testing.assert_allclose(module.losses(batch).detach().numpy(), expected, atol=1e-4)


def test_loss_is_that_of_sentence_transformers() -> None:
    pytest.importorskip("sentence_transformers", reason='needs pip install "hjc[peers]"')
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    module, encoder, batch, (rows, texts) = ranking_batch()
    anchors, vectors = (torch.from_numpy(encoder.encode(part)) for part in (rows, texts))
    columns = [vectors[: len(rows)], *vectors[len(rows) :].view(len(rows), 2, -1).unbind(1)]
    loss = MultipleNegativesRankingLoss(torch.nn.Identity(), scale=20.0).compute_loss_from_embeddings(
        [anchors, *columns], None
    )
    assert module.losses(batch).mean().item() == pytest.approx(loss.item(), abs=1e-4)


def test_a_fresh_process_gives_the_same_without_the_trainer(fitted: BiEncoderClassifier, tmp_path: Path) -> None:
    texts = ["junior nurse 7", "", "plane"]
    fitted.save_pretrained(tmp_path / "model")
    code = (
        "import sys, numpy as np, hjc\n"
        "from hjc.nn.text_encoder import TorchTextEncoder\n"
        "encode, calls = TorchTextEncoder.encode, []\n"
        "TorchTextEncoder.encode = lambda self, *a, **k: (calls.append(1), encode(self, *a, **k))[1]\n"
        f"model = hjc.load({str(tmp_path / 'model')!r})\n"
        "assert not calls, 'a label was encoded again'\n"
        f"np.save({str(tmp_path / 'out.npy')!r}, model.predict_log_proba({texts!r}))\n"
        "assert calls and 'pytorch_lightning' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(hjc.__file__).parent.parent, capture_output=True, text=True, timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), fitted.predict_log_proba(texts))


@pytest.mark.parametrize("stop_at", [5, 14], ids=["in the first epoch", "in a later epoch"])
def test_a_killed_run_resumes_to_the_numbers_of_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    tree = toy_tree()
    train, valid = toy_data(tree), toy_data(tree, 2, 1)
    options = trainer(epochs=3, validate_per_epoch=2, learning_rate=1e-3)
    whole = BiEncoderClassifier(tree, settings(), options).fit(train, valid, run_dir=tmp_path / "whole")
    step = RankingModule.training_step

    def killed(self: RankingModule, *args: object) -> torch.Tensor:
        if self.global_step >= stop_at:
            raise SystemError("killed")
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(RankingModule, "training_step", killed)
        with pytest.raises(SystemError, match="killed"):
            BiEncoderClassifier(tree, settings(), options).fit(train, valid, run_dir=tmp_path / "broken")
    resumed = BiEncoderClassifier(tree, settings(), options).fit(train, valid, run_dir=tmp_path / "broken")
    assert whole.fit_result is not None and resumed.fit_result is not None
    assert resumed.fit_result.resumed and not whole.fit_result.resumed
    assert resumed.fit_result.steps == whole.fit_result.steps == 24
    assert resumed.fit_result.best_valid_log_loss == pytest.approx(whole.fit_result.best_valid_log_loss, abs=1e-6)
    np.testing.assert_allclose(resumed.predict_log_proba(valid.texts), whole.predict_log_proba(valid.texts), atol=1e-4)
    with pytest.raises(ValueError, match="other settings or other data"):
        BiEncoderClassifier(tree, settings(ranking_scale=10.0), options).fit(train, run_dir=tmp_path / "broken")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
def test_ctrl_c_keeps_the_best_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = RankingModule.training_step

    def interrupt(self: RankingModule, *args: object) -> torch.Tensor:
        if self.global_step == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args)

    monkeypatch.setattr(RankingModule, "training_step", interrupt)
    tree, before = toy_tree(), signal.getsignal(signal.SIGINT)
    options = trainer(epochs=30, loggers=["csv"])
    model = BiEncoderClassifier(tree, settings(), options).fit(toy_data(tree), toy_data(tree, 2, 1), run_dir=tmp_path)
    assert model.fit_result is not None and model.fit_result.status == "interrupted" and model.fit_result.steps == 21
    assert signal.getsignal(signal.SIGINT) == before
    assert np.isfinite(model.predict_log_proba(["nurse"])).all()
    logged = (tmp_path / "logs" / "metrics.csv").read_text()
    assert "train/loss" in logged and "valid/log_loss" in logged


def test_limits(tmp_path: Path) -> None:
    tree = toy_tree()
    train, valid = toy_data(tree), toy_data(tree, 2, 1)
    short = BiEncoderClassifier(tree, settings(), trainer(max_steps=3)).fit(train, run_dir=tmp_path)
    assert short.fit_result is not None and short.fit_result.steps == 3 and short.fit_result.status == "finished"
    assert short.scale == 20.0, "without validation rows the declared scale stays"
    late = BiEncoderClassifier(tree, settings(), trainer(max_minutes=1e-9, epochs=50)).fit(train, valid)
    assert late.fit_result is not None and late.fit_result.status == "time_limit" and late.fit_result.steps == 1
    # a rate at which nothing is learnt: patience ends it, and the encoder of before the first step is kept
    worse = BiEncoderClassifier(tree, settings(), trainer(learning_rate=0.0, patience=2, epochs=50)).fit(train, valid)
    assert worse.fit_result is not None and worse.fit_result.status == "early_stopped" and worse.fit_result.steps == 16
    lost = BiEncoderClassifier(tree, settings(), trainer(learning_rate=1e38, gradient_clip=0.0)).fit(train, valid)
    assert lost.fit_result is not None and lost.fit_result.status == "diverged" and lost.fit_result.steps < 48
    assert np.isfinite(lost.predict_log_proba(["nurse"])).all()


def test_the_average_of_the_weights_is_kept() -> None:
    """Of steps 1 and 2 without validation rows: w1 * decay + w2 * (1 - decay), w1 being the first average."""
    tree = toy_tree()

    def weights(**changes: object) -> np.ndarray:
        options = trainer(warmup_steps=0, schedule="constant", **changes)
        encoder = BiEncoderClassifier(tree, settings(), options).fit(toy_data(tree)).encoder
        assert isinstance(encoder, TorchTextEncoder)
        return encoder.model.get_input_embeddings().weight.detach().cpu().numpy()

    average = 0.75 * weights(max_steps=1) + 0.25 * weights(max_steps=2)
    np.testing.assert_allclose(weights(max_steps=2, ema_decay=0.75), average, atol=1e-6)


def test_nobody_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub, no telemetry, no experiment tracker that happens to be installed."""

    def refuse(*args: object) -> None:
        raise AssertionError(f"a connection was opened: {args[1:]}")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    tree = toy_tree()
    BiEncoderClassifier(tree, settings(), trainer(max_steps=2)).fit(toy_data(tree, 2))
    assert "wandb" not in sys.modules or sys.modules["wandb"].run is None


def test_gold_may_be_an_inner_node() -> None:
    tree = toy_tree()
    data = toy_data(tree, 6)
    gold = data.gold.copy()
    gold[::5] = tree.parents[gold[::5]]
    model = BiEncoderClassifier(tree, settings(), trainer(epochs=3)).fit(JobData(tree, data.texts, gold), data)
    assert (model.predict(data.texts)["code"].to_numpy() == np.array(data.codes)).mean() > 0.8


def test_a_code_added_later_is_predicted_for_its_title(fitted: BiEncoderClassifier) -> None:
    """No training: encoder and scale stay, texts that were known keep their vectors."""
    words = {**WORDS, "113": "brewer ale"}
    del words["212"]
    new = from_prefix_codes(list(words), [1, 2, 3], titles={"en": words})
    moved = fitted.for_taxonomy(new)
    assert moved.predict(["brewer ale"])["code"].tolist() == ["113"]
    assert moved.scale == fitted.scale and moved.labels is not None and fitted.labels is not None
    kept = [fitted.taxonomy.leaf_codes.index(c) for c in new.leaf_codes if c != "113"]
    stay = [i for i, c in enumerate(new.leaf_codes) if c != "113"]
    np.testing.assert_array_equal(moved.labels.vectors[stay], fitted.labels.vectors[kept])


def test_texts_of_a_file_that_is_gone_are_remembered(tmp_path: Path) -> None:
    file = tmp_path / "aliases.csv"
    file.write_text("code,text\n111,bun maker\n212,aviator\n", "utf-8")
    tree = toy_tree()
    model = BiEncoderClassifier(tree, settings(label_file=str(file)), trainer(max_steps=1)).fit(toy_data(tree, 2))
    words = {"111": "bakers", "112": WORDS["112"], "119": "brewer"}
    new = from_prefix_codes(list(words), [1, 2, 3], titles={"en": words})
    expected = ("bakers", "bun maker", WORDS["112"], "brewer")
    for gone in (False, True):
        if gone:
            file.unlink()
        moved = model.for_taxonomy(new)
        assert moved.labels is not None and moved.labels.texts == expected
        assert moved.labels.leaf.tolist() == [0, 0, 1, 2]
        assert moved.encoder is not None
        np.testing.assert_allclose(moved.labels.vectors, moved.encoder.encode(expected), atol=1e-5)


def test_some_texts_keep_every_leaf() -> None:
    leaf = np.repeat(np.arange(20), 5)
    labels = LabelTexts(tuple(map(str, range(100))), leaf)
    for count in (3, 20, 41, 99):
        some = some_texts(labels, count, np.random.default_rng(count))
        assert len(some.texts) == max(20, count) and set(some.leaf.tolist()) == set(range(20))
        assert all(leaf[int(text)] == at for text, at in zip(some.texts, some.leaf, strict=True))


def test_several_texts_of_a_label() -> None:
    """Best of them, or log-mean-exp: against a loop."""
    random = np.random.default_rng(1)
    vectors = random.normal(size=(5, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    leaf = np.array([0, 0, 0, 1, 2])
    queries = vectors[[1, 4]]
    for pooling in ("max", "logsumexp"):
        found = LabelIndex(vectors, leaf, ("",) * 5, pooling).scores(queries)
        for b, query in enumerate(queries):
            for k in range(3):
                cosines = [float(query @ v) for v, at in zip(vectors, leaf, strict=True) if at == k]
                mean = np.log(np.mean(np.exp(20 * np.array(cosines)))) / 20
                assert found[b, k] == pytest.approx(max(cosines) if pooling == "max" else mean, abs=1e-5)


def test_excluded_passages(tmp_path: Path) -> None:
    passage = "Bake. Some related occupations classified elsewhere: - Butcher - 112 - Oven fitter - Bakery - 11"
    tree = from_prefix_codes(list(WORDS), [1, 2, 3], titles={"en": WORDS}, descriptions={"en": {"111": passage}})
    model = BiEncoderClassifier(tree, settings())
    baker, butcher = tree.index_of["111"], tree.index_of["112"]
    assert model._excluded() == [(baker, "Butcher", butcher), (baker, "Oven fitter", NO_TARGET)], "11 lies above 111"
    file = tmp_path / "t.negatives.csv"
    file.write_text("text,code,target,language,source\nButcher,111,112,en,x\nfitter,111,,en,x\nx,999,,en,x\n", "utf-8")
    named = BiEncoderClassifier(tree, settings(negatives_file=str(file)))
    assert named._excluded() == [(baker, "Butcher", butcher), (baker, "fitter", NO_TARGET)]
    file.write_text("text,code\nButcher,111\n", "utf-8")
    with pytest.raises(ValueError, match="lacks 'target'"):
        named._excluded()
    file.write_text("text,code,target\nButcher,999,\n", "utf-8")
    with pytest.raises(ValueError, match="none of the 1 rows"):
        named._excluded()


def test_messages() -> None:
    tree = toy_tree()
    data = toy_data(tree, 2)
    with pytest.raises(ValueError, match="cannot be fine-tuned"):
        BiEncoderClassifier(tree, settings(encoder="use-multilingual")).fit(data)
    with pytest.raises(ValueError, match=r"label_smoothing=0\.1"):
        BiEncoderClassifier(tree, settings(), trainer(label_smoothing=0.1)).fit(data)
    with pytest.raises(ValueError, match="every row has weight 0"):
        nothing = np.r_[np.zeros(len(data))].astype(np.float32)
        BiEncoderClassifier(tree, settings(), trainer()).fit(JobData(tree, data.texts, data.gold, weight=nothing))


def test_settings_are_remembered(fitted: BiEncoderClassifier, tmp_path: Path) -> None:
    fitted.save_pretrained(tmp_path / "model")
    again = hjc.load(tmp_path / "model")
    assert isinstance(again, BiEncoderClassifier)
    assert asdict(again.settings) == asdict(fitted.settings) and again.settings.label_mode == "title"
    assert again.scale == pytest.approx(fitted.scale)
