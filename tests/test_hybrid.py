"""Combining classifiers: gradients, a loop beside the vectors, the right part for a code, the model directory."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import check_grad, minimize

import hjc
from hjc.arrays import FloatArray, IntArray
from hjc.classifiers import combine
from hjc.classifiers.base import Classifier
from hjc.classifiers.combine import Combination, Rows, choose_combination, fit_combination, losses, support_class
from hjc.classifiers.embedding.settings import HybridSettings
from hjc.classifiers.hybrid import HybridClassifier
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.storage import ModelDirError
from hjc.data.jobdata import JobData
from hjc.taxonomy import Taxonomy, from_prefix_codes

TREE = from_prefix_codes(["11", "12", "13", "21", "22", "3"], [1, 2])


def random_parts(seed: int, rows: int = 40, parts: int = 2) -> tuple[list[FloatArray], IntArray]:
    random = np.random.default_rng(seed)
    gold = random.integers(0, len(TREE), rows)
    found = []
    for _ in range(parts):
        scores = random.normal(size=(rows, TREE.num_leaves)).astype(np.float32) * 2
        for i, (start, stop) in enumerate(TREE.leaf_slice[gold].tolist()):
            scores[i, start:stop] += 1.0
        found.append(scores - np.log(np.exp(scores).sum(1, keepdims=True)))
    return found, gold


def by_loop(combination: Combination, parts: Sequence[FloatArray]) -> FloatArray:
    out = np.empty(parts[0].shape)
    for row in range(len(out)):
        for leaf in range(out.shape[1]):
            s = combination.support[leaf]
            if combination.family == "mixture":
                out[row, leaf] = sum(
                    np.exp(combination.weights[k, s]) * np.exp(p[row, leaf]) for k, p in enumerate(parts)
                )
            else:
                out[row, leaf] = np.exp(combination.bias[s]) * np.prod(
                    [np.exp(p[row, leaf]) ** combination.weights[k, s] for k, p in enumerate(parts)]
                )
        out[row] /= out[row].sum()
    return np.log(out)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mixture", "loglinear"])
@given(seed=st.integers(0, 1000))
def test_combination_is_what_the_formula_says(family: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    parts, gold = random_parts(seed, parts=3)
    support = random.integers(0, 2, TREE.num_leaves)
    support[0] = 1
    made = Combination(family, random.uniform(0.1, 2, (3, 2)), random.normal(size=2) * (family != "mixture"), support)
    assert np.allclose(made.log_proba(parts), by_loop(made, parts), atol=2e-4)
    assert np.allclose(np.exp(made.log_proba(parts)).sum(1), 1, atol=1e-5)
    expected = [
        -np.log(np.exp(by_loop(made, parts)[i, a:b]).sum()) for i, (a, b) in enumerate(TREE.leaf_slice[gold].tolist())
    ]
    assert np.allclose(losses(made, Rows.make(TREE, parts, gold)), expected, atol=2e-4)


@pytest.mark.parametrize("family", ["single", "mixture", "loglinear"])
def test_gradient(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient that the optimiser gets is that of the loss (central differences in its own parameters)."""
    parts, gold = random_parts(3)
    seen = {}

    def spy(objective, start, **options):  # type: ignore[no-untyped-def]
        seen["at"] = (objective, np.random.default_rng(0).uniform(0.2, 0.8, len(start)))
        return minimize(objective, start, **options)

    monkeypatch.setattr(combine, "minimize", spy)
    fit_combination(Rows.make(TREE, parts, gold), family, np.array([0, 0, 1, 1, 1, 0]))
    objective, theta = seen["at"]
    free = len(theta) if family == "loglinear" else len(theta) - 2  # the others hold their biases at 0
    theta[free:] = 0

    def whole(part: FloatArray) -> FloatArray:
        return np.concatenate([part, theta[free:]])

    error = check_grad(
        lambda t: objective(whole(t))[0], lambda t: objective(whole(t))[1][:free], theta[:free], epsilon=1e-3
    )
    assert error < 5e-3


def test_support_classes() -> None:
    assert support_class([0, 1, 9, 10, 99, 100, 5000]).tolist() == [0, 1, 1, 2, 2, 3, 3]


def test_a_part_that_is_noise_gets_no_weight() -> None:
    parts, gold = random_parts(5, rows=400)
    noise = np.random.default_rng(1).normal(size=parts[0].shape).astype(np.float32)
    noise -= np.log(np.exp(noise).sum(1, keepdims=True))
    made = fit_combination(Rows.make(TREE, [parts[0], noise], gold), "loglinear", np.zeros(6, np.int64))
    assert made.weights[1, 0] < 0.1 < 0.2 < made.weights[0, 0]  # shift 1, spread 2: the right power is 1/4


def test_rare_codes_from_one_part_frequent_codes_from_the_other() -> None:
    """Each part knows one half of the leaves: weights by support class beat common ones and every single part."""
    random = np.random.default_rng(0)
    gold_leaf = random.integers(0, 6, 900)
    counts = np.array([0, 0, 0, 200, 200, 200])
    parts = []
    for known in ((0, 1, 2), (3, 4, 5)):
        scores = random.normal(size=(900, 6)).astype(np.float32)
        right = np.isin(gold_leaf, known)
        scores[right, gold_leaf[right]] += 3
        parts.append(scores - np.log(np.exp(scores).sum(1, keepdims=True)))
    rows = Rows.make(TREE, parts, TREE.leaves[gold_leaf])
    found, lines = choose_combination(rows, counts)
    table = lines.set_index(["family", "part", "by_support"])["log_loss"]
    assert found.support.any()
    best_single = min(table["single"])
    assert lines.loc[lines["chosen"], "log_loss"].item() < best_single - 0.05
    assert losses(found, rows).mean() < best_single


def test_choice_is_never_worse_than_the_best_part_out_of_fold() -> None:
    parts, gold = random_parts(7, rows=120, parts=3)
    _, table = choose_combination(Rows.make(TREE, parts, gold), np.arange(6))
    assert table.loc[table["chosen"], "log_loss"].item() == table["log_loss"].min()
    assert set(table["family"]) == {"single", "mixture", "loglinear"}


def test_bad_rows() -> None:
    parts, gold = random_parts(1)
    with pytest.raises(ValueError, match="got 4 validation rows"):
        choose_combination(Rows.make(TREE, [p[:4] for p in parts], gold[:4]), np.zeros(6))


# ------------------------------------------------------------------ the classifier


TOY = from_prefix_codes(["11", "12", "21", "22"], [1, 2], titles={"en": {"11": "cook", "12": "baker", "21": "nurse"}})
WORDS = {"11": "cook kitchen", "12": "baker bread", "21": "nurse ward", "22": "doctor clinic"}


def toy(seed: int, rows: int = 120, taxonomy: Taxonomy = TOY) -> JobData:
    random = np.random.default_rng(seed)
    codes = [list(WORDS)[i] for i in random.integers(0, 4, rows)]
    texts = [f"{random.choice(WORDS[c].split())} {random.choice(['wanted', 'job', 'now'])}" for c in codes]
    return JobData.from_lists(taxonomy, texts, codes)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    found = []
    for number, features in enumerate(("word", "char")):
        folder = tmp_path_factory.mktemp("part") / str(number)
        settings = LinearSettings(features=features, min_df=1, char_ngrams=[2, 3])
        LinearClassifier(TOY, settings).fit(toy(number)).save_pretrained(folder)
        found.append(folder)
    return found


def test_fit_save_load(parts: list[Path], tmp_path: Path) -> None:
    settings = HybridSettings(parts=[str(p) for p in parts])
    made = HybridClassifier(TOY, settings).fit(toy(1), toy(2, 60))
    assert made.fit_result is not None and made.fit_result.status == "finished"
    texts = ["cook wanted", "nurse", "", "ß ward " * 5000]
    expected = made.predict_log_proba(texts)
    assert np.allclose(np.exp(expected).sum(1), 1, atol=1e-5)
    assert (made.predict(toy(9, 50).texts)["code"] == list(toy(9, 50).codes)).mean() == 1
    made.save_pretrained(tmp_path / "hybrid")
    for part in parts:  # nothing of the original runs is needed
        assert str(part) not in (tmp_path / "hybrid" / "parts" / "0" / "config.json").read_text()
    moved = (tmp_path / "hybrid").rename(tmp_path / "moved")
    loaded = hjc.load(moved)
    assert isinstance(loaded, HybridClassifier)
    assert np.array_equal(loaded.predict_log_proba(texts), expected)
    (moved / "parts" / "1" / "config.json").write_text("{}")
    with pytest.raises(ModelDirError):
        hjc.load(moved)


def test_a_part_on_a_deeper_tree_is_summed_up(parts: list[Path]) -> None:
    cut = TOY.truncate(1)
    made = HybridClassifier(cut, HybridSettings(parts=[str(p) for p in parts]))
    made.fit(toy(1).truncate(1), toy(2, 60).truncate(1))
    assert made.predict(["cook kitchen"])["code"].tolist() == ["1"]


class Silent(Classifier):
    name = "silent"
    is_fitted = True

    def fit(self, train, valid=None, *, run_dir=None):  # type: ignore[no-untyped-def]
        return self

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        yield np.arange(len(texts)), np.full((len(texts), 6), -np.log(6), np.float32)

    def save_pretrained(self, directory: Path) -> None: ...

    @classmethod
    def from_pretrained(cls, directory: Path) -> "Silent":
        return cls(TREE)


def test_messages(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two or more run directories"):
        HybridClassifier(TOY, HybridSettings(parts=[str(parts[0])]))
    with pytest.raises(ValueError, match="part 1 \\(silent\\) codes to"):
        HybridClassifier(TOY, parts=[hjc.load(parts[0]), Silent(TREE)])
    with pytest.raises(FileNotFoundError):
        HybridClassifier(TOY, HybridSettings(parts=[str(parts[0]), str(tmp_path / "none")]))
    made = HybridClassifier(TOY, HybridSettings(parts=[str(p) for p in parts]))
    with pytest.raises(ValueError, match="takes its weights from validation rows"):
        made.fit(toy(1), None)
    with pytest.raises(hjc.errors.NotFittedError):
        made.predict(["x"])
    with pytest.raises(ValueError, match=r"model\.kind"):
        HybridSettings(kind="average")


def test_balance_counts_every_code_the_same(parts: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    original = Rows.make

    def spy(taxonomy, log_proba, gold, weight=None):  # type: ignore[no-untyped-def]
        seen["sums"] = np.bincount(gold, weights=weight)[np.unique(gold)]
        return original(taxonomy, log_proba, gold, weight)

    monkeypatch.setattr(Rows, "make", spy)
    valid = toy(2, 60).take([*range(60), *[int(np.flatnonzero(toy(2, 60).gold == toy(2, 60).gold[0])[0])] * 20])
    for balance in (False, True):
        HybridClassifier(TOY, HybridSettings(parts=[str(p) for p in parts], balance=balance)).fit(toy(1), valid)
        assert (np.ptp(seen["sums"]) < 1e-6) == balance
