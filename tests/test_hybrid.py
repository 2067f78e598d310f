"""Combining classifiers: gradients, a loop beside the vectors, the right part for a code, the model directory."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import check_grad, minimize

import hjc
from hjc.arrays import FloatArray, IntArray
from hjc.calibration import Temperature
from hjc.classifiers import combine
from hjc.classifiers.base import Classifier
from hjc.classifiers.combine import Combination, Rows, choose_combination, fit_combination, losses, support_class
from hjc.classifiers.embedding.settings import HybridSettings
from hjc.classifiers.hybrid import HybridClassifier, Weighing
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
    gate = np.zeros((len(parts), len(parts))) if combination.gate is None else combination.gate
    for row in range(len(out)):
        sure = np.array([np.exp(p[row].max()) - 0.5 for p in parts])
        for leaf in range(out.shape[1]):
            s = combination.support[leaf]
            weights = [combination.weights[k, s] + gate[k] @ sure for k in range(len(parts))]
            if combination.family == "mixture":
                out[row, leaf] = sum(np.exp(weights[k]) * np.exp(p[row, leaf]) for k, p in enumerate(parts))
            else:
                out[row, leaf] = np.exp(combination.bias[s]) * np.prod(
                    [np.exp(p[row, leaf]) ** max(weights[k], 0) for k, p in enumerate(parts)]
                )
        out[row] /= out[row].sum()
    return np.log(out)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mixture", "loglinear"])
@given(seed=st.integers(0, 1000), gated=st.booleans())
def test_combination_is_what_the_formula_says(family: str, seed: int, gated: bool) -> None:
    random = np.random.default_rng(seed)
    parts, gold = random_parts(seed, parts=3)
    support = random.integers(0, 2, TREE.num_leaves)
    support[0] = 1
    gate = random.normal(size=(3, 3)) * 3 if gated else None
    bias = random.normal(size=2) * (family != "mixture")
    made = Combination(family, random.uniform(0.1, 2, (3, 2)), bias, support, gate)
    assert np.allclose(made.log_proba(parts), by_loop(made, parts), atol=2e-4)
    assert np.allclose(np.exp(made.log_proba(parts)).sum(1), 1, atol=1e-5)
    expected = [
        -np.log(np.exp(by_loop(made, parts)[i, a:b]).sum()) for i, (a, b) in enumerate(TREE.leaf_slice[gold].tolist())
    ]
    assert np.allclose(losses(made, Rows.make(TREE, parts, gold)), expected, atol=2e-4)


@pytest.mark.parametrize("sure", [False, True])
@pytest.mark.parametrize("family", ["single", "mixture", "loglinear"])
def test_gradient(family: str, sure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient that the optimiser gets is that of the loss (central differences in its own parameters)."""
    parts, gold = random_parts(3)
    seen = {}

    def spy(objective, start, **options):  # type: ignore[no-untyped-def]
        seen["at"] = (objective, np.random.default_rng(0).uniform(0.2, 0.8, len(start)))
        return minimize(objective, start, **options)

    monkeypatch.setattr(combine, "minimize", spy)
    fit_combination(Rows.make(TREE, parts, gold), family, np.array([0, 0, 1, 1, 1, 0]), by_sureness=sure)
    objective, theta = seen["at"]
    free = np.ones(len(theta), dtype=bool)
    if family != "loglinear":  # the others hold their biases at 0
        free[len(theta) - 4 * sure - 2 :][:2] = False
    if family == "single":  # the sureness of the part that has a power alone
        free[len(theta) - 4 * sure + 2 :] = False
    theta[~free] = 0

    def whole(part: FloatArray) -> FloatArray:
        out = np.zeros(len(theta))
        out[free] = part
        return out

    error = check_grad(
        lambda t: objective(whole(t))[0], lambda t: objective(whole(t))[1][free], theta[free], epsilon=1e-3
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
    choice = choose_combination(rows, counts)
    found, lines = choice.combination, choice.table
    table = lines.set_index(["family", "part", "by_support"])["log_loss"]
    assert found.support.any()
    best_single = min(table["single"])
    assert lines.loc[lines["chosen"], "log_loss"].item() < best_single - 0.05
    assert losses(found, rows).mean() < best_single


def test_weights_by_sureness_where_a_part_knows_when_it_is_right() -> None:
    """A part that is sure where it is right, and one that always says the same: which to trust depends on the row."""
    random = np.random.default_rng(0)
    gold_leaf = random.integers(0, 6, 1200)
    knows = random.random(1200) < 0.5
    first = random.normal(size=(1200, 6)).astype(np.float32) * np.float32(0.1)
    first[knows, gold_leaf[knows]] += 5
    second = random.normal(size=(1200, 6)).astype(np.float32)
    second[np.arange(1200), gold_leaf] += 1.5
    second[knows] = random.normal(size=(int(knows.sum()), 6)) * 3  # misleads where the first part knows
    parts = [x - np.log(np.exp(x).sum(1, keepdims=True)) for x in (first, second)]
    rows = Rows.make(TREE, parts, TREE.leaves[gold_leaf])
    choice = choose_combination(rows, np.full(6, 50), by_sureness=True)
    assert choice.candidate.by_sureness and choice.combination.gate is not None
    by = choice.table.groupby("by_sureness")["log_loss"].min()
    assert by[True] < by[False] - 0.005
    held = choice.cross_fitted(rows)
    own = -held[np.arange(1200), gold_leaf].mean()
    assert own == pytest.approx(choice.table["log_loss"].min(), abs=1e-4)


def test_choice_is_never_worse_than_the_best_part_out_of_fold() -> None:
    parts, gold = random_parts(7, rows=120, parts=3)
    table = choose_combination(Rows.make(TREE, parts, gold), np.arange(6)).table
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


def test_the_whole_is_calibrated_as_a_step_of_the_model(parts: list[Path], tmp_path: Path) -> None:
    made = HybridClassifier(TOY, HybridSettings(parts=[str(p) for p in parts])).fit(toy(1), toy(2, 60))
    plain = made.predict_log_proba(["cook", "ward"])
    made.step = Temperature(TOY, 2.0)
    expected = made.predict_log_proba(["cook", "ward"])
    assert np.allclose(np.exp(expected) ** 2 / (np.exp(expected) ** 2).sum(1, keepdims=True), np.exp(plain), atol=1e-3)
    made.save_pretrained(tmp_path / "model")
    assert np.array_equal(hjc.load(tmp_path / "model").predict_log_proba(["cook", "ward"]), expected)


def test_too_sure_parts_make_no_too_sure_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Level 1 is known for sure, the codes below it are not: one power for both cannot be right, a step can."""
    random = np.random.default_rng(1)
    gold = random.integers(0, 4, 1500)
    scores = np.zeros((1500, 4), dtype=np.float32)
    scores[np.arange(1500), np.where(random.random(1500) < 0.6, gold, gold ^ 1)] += 6  # sure of one of two siblings
    scores[np.arange(1500), gold] += 3
    scores[np.arange(1500), gold ^ 1] += 3
    log_proba = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    rows = Weighing([log_proba, log_proba], TOY.leaves[gold], np.ones(1500))
    settings = HybridSettings(kind="loglinear")
    found = {}
    for calibrate in (False, True):
        made = HybridClassifier(TOY, replace(settings, calibrate=calibrate), [Silent(TOY), Silent(TOY)])
        made.weigh(toy(1), rows)
        assert made.fit_result is not None
        found[calibrate] = next(line for line in made.fit_result.parts if line["part"] == "whole")
    assert max(found[True]["ece"]) < 0.03
    assert found[True]["log_loss"][-1] <= found[False]["log_loss"][-1] + 1e-6


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
