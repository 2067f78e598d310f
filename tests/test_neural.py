"""The neural classifier as a user meets it: fit, predict, save, load, bad input. A tiny random encoder throughout."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hjc
from hjc.classifiers.neural import NeuralClassifier
from hjc.classifiers.storage import ModelDirError
from hjc.data import JobData
from hjc.data.codesets import CodeSets
from hjc.errors import NotFittedError
from hjc.nn.settings import HIERARCHIES, NeuralSettings, TrainerSettings
from hjc.taxonomy import Taxonomy, from_prefix_codes
from tests.damage import edit_config

pytestmark = pytest.mark.slow

WORDS = ["alpha", "bravo", "carbon", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "kilo", "lima"]
CODES = ["11", "12", "13", "21", "22", "31", "4"]


def toy_tree() -> Taxonomy:
    return from_prefix_codes(CODES, digits=[1, 2], titles={"en": {c: WORDS[i] for i, c in enumerate(CODES)}})


def toy_data(taxonomy: Taxonomy, copies: int = 20, seed: int = 0, inner: bool = False) -> JobData:
    """Separable: each code has its own word among noise words. With ``inner``, some gold codes are inner nodes."""
    random = np.random.default_rng(seed)
    texts, codes = [], []
    for i, code in enumerate(CODES):
        for copy in range(copies):
            noise = [WORDS[j] for j in random.integers(8, 12, size=2)]
            texts.append(" ".join([*noise, WORDS[i]]))
            codes.append(code[0] if inner and copy % 5 == 0 else code)
    return JobData.from_lists(taxonomy, texts, codes)


def settings(**kwargs) -> NeuralSettings:
    small = {"encoder": "tiny", "tiny_hidden": 32, "tiny_layers": 1, "tiny_vocabulary": 300, "max_length": 12}
    return NeuralSettings(**{**small, "dropout": 0.0, **kwargs})


def trainer(**kwargs) -> TrainerSettings:
    quick = {"epochs": 8, "batch_size": 16, "learning_rate": 3e-3, "head_learning_rate": 2e-2, "warmup_steps": 5}
    return TrainerSettings(**{**quick, "precision": "32", "loggers": [], "threads": 1, **kwargs})


@pytest.fixture(scope="module")
def fitted() -> NeuralClassifier:
    tree = toy_tree()
    return NeuralClassifier(tree, settings(), trainer()).fit(toy_data(tree), toy_data(tree, 5, seed=1))


@pytest.mark.parametrize("hierarchy", HIERARCHIES)
@pytest.mark.parametrize("inner", [False, True])
def test_separable_data_reach_recall_one_at_every_level(hierarchy, inner):
    tree = toy_tree()
    train = toy_data(tree, inner=inner)
    model = NeuralClassifier(tree, settings(hierarchy=hierarchy), trainer()).fit(train)
    test = toy_data(tree, 6, seed=5)
    log_proba = model.predict_log_proba(test.texts)
    for level in (1, 2):
        proba = np.exp(tree.aggregate(log_proba, level))
        assert proba.sum(1) == pytest.approx(1, abs=1e-5)
        assert (tree.level_nodes(level)[proba.argmax(1)] == tree.node_path[test.gold, level - 1]).all()


def test_same_seed_same_numbers_and_another_seed_others(fitted):
    tree = toy_tree()
    texts = toy_data(tree, 3, seed=9).texts
    again = NeuralClassifier(tree, settings(), trainer()).fit(toy_data(tree), toy_data(tree, 5, seed=1))
    np.testing.assert_array_equal(fitted.predict_log_proba(texts), again.predict_log_proba(texts))
    other = NeuralClassifier(tree, settings(), trainer(seed=2)).fit(toy_data(tree), toy_data(tree, 5, seed=1))
    assert np.abs(other.predict_log_proba(texts) - again.predict_log_proba(texts)).max() > 1e-4


def test_order_and_company_of_rows_do_not_change_their_probabilities(fitted):
    """Batching by length and padding are invisible: each text alone, reversed, or among long ones."""
    texts = ["alpha", "", "bravo carbon delta echo foxtrot golf hotel india juliet", "lima lima", "  carbon\n\t alpha "]
    together = fitted.predict_log_proba(texts)
    np.testing.assert_allclose(fitted.predict_log_proba(texts[::-1])[::-1], together, atol=1e-5)
    alone = np.concatenate([fitted.predict_log_proba([t]) for t in texts])
    np.testing.assert_allclose(alone, together, atol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00\x07",
        "🙂" * 50,
        "日本語のテキスト",
        "x" * 100_000,
        "word " * 50_000,
        "<html><p>alpha</p>",
        "\ud800",
    ],
    ids=["empty", "blank", "control", "emoji", "unseen script", "one long word", "long", "html", "lone surrogate"],
)
def test_any_string_has_a_defined_result(fitted, text):
    log_proba = fitted.predict_log_proba([text])
    assert np.isfinite(log_proba).all()
    assert np.exp(log_proba).sum() == pytest.approx(1, abs=1e-5)


def test_no_texts_give_no_rows(fitted):
    assert fitted.predict_log_proba([]).shape == (0, 7)
    assert len(fitted.predict([])) == 0


def test_predict_lists_codes_with_titles_and_probabilities(fitted):
    table = fitted.predict(["lima alpha"], level=2, top_k=3)
    assert list(table.columns) == ["row", "rank", "code", "title", "probability"]
    assert table.iloc[0]["code"] == "11" and table.iloc[0]["title"] == "alpha"
    assert table["probability"].is_monotonic_decreasing
    assert len(fitted.predict(["alpha"], level=1, top_k=99)) == 4
    with pytest.raises(ValueError, match="top_k: got 0"):
        fitted.predict(["alpha"], top_k=0)
    with pytest.raises(ValueError, match="level: got 3, allowed are 1"):
        fitted.predict(["alpha"], level=3)


def test_a_fresh_process_without_network_gives_the_same_probabilities(fitted, tmp_path):
    texts = ["golf alpha", "", "lima juliet carbon"]
    fitted.save_pretrained(tmp_path / "model")
    np.testing.assert_allclose(
        hjc.load(tmp_path / "model").predict_log_proba(texts), fitted.predict_log_proba(texts), atol=1e-5
    )
    script = (
        "import json, socket, sys\n"
        "def refuse(*a, **k): raise OSError('no network in this test')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "import hjc\n"
        f"print(json.dumps(hjc.load({str(tmp_path / 'model')!r}).predict_log_proba({texts!r}).tolist()))\n"
        "trainers = {'pytorch_lightning', 'hjc.nn.training'} & set(sys.modules)\n"
        "assert not trainers, trainers\n"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    got = json.loads(out.stdout.splitlines()[-1])
    np.testing.assert_allclose(got, fitted.predict_log_proba(texts), atol=1e-5)


def test_the_directory_holds_no_pickle_and_no_path_of_this_machine(fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    names = {p.name for p in tmp_path.iterdir()}
    expected = {"config.json", "taxonomy.csv", "encoder_config.json", "model.safetensors", "tokenizer.json"}
    assert expected <= names
    for path in tmp_path.iterdir():
        if path.suffix == ".json":
            assert str(Path.home()) not in path.read_text(encoding="utf-8")


def test_settings_of_training_are_settings_of_prediction(fitted, tmp_path):
    """What was trained with max_length 12 predicts with 12."""
    fitted.save_pretrained(tmp_path)
    assert hjc.load(tmp_path).settings == fitted.settings


def test_weights_that_do_not_fit_are_one_clear_error(fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    edit_config(tmp_path, lambda config: config["parameters"].update(hierarchy="topdown"))
    with pytest.raises(ModelDirError, match=r"model\.safetensors: does not fit"):
        hjc.load(tmp_path)


def test_wrong_use_is_refused_with_a_reason(fitted):
    tree = toy_tree()
    with pytest.raises(NotFittedError, match=r"fit\(\.\.\.\) or hjc\.load"):
        NeuralClassifier(tree, settings()).predict(["x"])
    other = from_prefix_codes(["1", "2"], digits=[1])
    with pytest.raises(ValueError, match="its codes belong to"):
        NeuralClassifier(tree, settings()).fit(JobData.from_lists(other, ["a"], ["1"]))
    with pytest.raises(ValueError, match="1 of 2 rows have no code"):
        NeuralClassifier(tree, settings()).fit(JobData.from_lists(tree, ["a", "b"], ["11", None]))
    with pytest.raises(ValueError, match="got no rows"):
        NeuralClassifier(tree, settings()).fit(toy_data(tree).take([]))


def test_title_vectors_make_an_untrained_code_better_than_a_coin_toss():
    """Code 13 has no training row, but its title is its word. Titles tell it from its siblings before any training."""
    tree = toy_tree()
    train = toy_data(tree, 2)
    train = train.take(np.flatnonzero(train.gold != tree.index_of["13"]))
    untrained = tree.leaf_codes.index("13")
    rank, proba = {}, {}
    for init in ("titles", "random"):
        # learning rates of zero: what is measured is the head's start, not what training makes of it
        still = trainer(max_steps=1, learning_rate=0.0, head_learning_rate=0.0)
        model = NeuralClassifier(tree, settings(head_init=init), still).fit(train)
        log_proba = model.predict_log_proba([tree.title(tree.index_of["13"])])[0]
        rank[init] = int((log_proba > log_proba[untrained]).sum())
        proba[init] = float(np.exp(log_proba[untrained]))
    assert rank["titles"] == 0
    assert proba["titles"] > 2 * proba["random"]


def test_either_of_two_codes_is_learnt_and_the_rest_is_as_before():
    taxonomy = toy_tree()
    data = toy_data(taxonomy)
    first, second = taxonomy.leaves[:2].tolist()
    both = [[first, second] if node in (first, second) else [node] for node in data.gold.tolist()]
    rows = replace(data, gold=np.array([c[0] for c in both]), sets=CodeSets.of_lists(both))
    model = NeuralClassifier(taxonomy, settings(), trainer()).fit(rows, rows)
    proba = np.exp(model.leaf_log_proba(rows.texts))
    either = np.isin(data.gold, [first, second])
    assert proba[either][:, :2].sum(1).min() > 0.7
    assert model.fit_result.best_valid_log_loss < 0.3
