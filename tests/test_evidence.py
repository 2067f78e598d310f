"""Weights of title and body: two formulations of the test, and what each rule is for."""

import numpy as np
import pytest

from hjc.classifiers.combine import folds_of
from hjc.classifiers.evidence import SLACK, clustered, passes, weigh
from hjc.taxonomy import from_edges

TREE = from_edges(["a", "b", "a1", "a2", "b1", "b2"], ["", "", "a", "a", "b", "b"])


def piece(gold: np.ndarray, sure: float, rate: float, rng: np.random.Generator) -> np.ndarray:
    """(n, 4) log-probabilities with ``sure`` on the right leaf, at this rate, else on any."""
    own = TREE.leaf_slice[gold, 0]
    said = np.where(rng.random(len(gold)) < rate, own, rng.integers(0, 4, len(gold)))
    proba = np.full((len(gold), 4), (1 - sure) / 3, dtype=np.float32)
    proba[np.arange(len(gold)), said] = sure
    return np.log(proba)


def made(n: int, rates: tuple[float, float], seed: int = 0):
    rng = np.random.default_rng(seed)
    gold = TREE.leaves[rng.integers(0, 4, n)]
    pieces = [piece(gold, 0.8, rates[0], rng), piece(gold, 0.6, rates[1], rng)]
    return weigh(TREE, pieces, gold, titles=[0], body=1, seed=seed), pieces, gold


def test_a_body_that_knows_something_is_read_and_one_that_does_not_is_not() -> None:
    good, _, _ = made(300, (0.6, 0.6))
    assert good.step > 0 and good.weights[1] > 0 and good.title[1] == 0 and "with the body" in good.line
    assert good.table[-1]["right"][-1] > good.table[0]["right"][-1]
    steps = [made(300, (0.6, 0.0), seed)[0] for seed in range(20)]
    assert sum(found.step > 0 for found in steps) <= 2  # at 5 %, one of twenty is expected
    none = next(found for found in steps if not found.step)
    assert none.weights.tolist() == none.title.tolist() and none.line.startswith("by the title alone")


def test_the_statistic_is_that_of_means_of_groups_where_these_are_of_one_size() -> None:
    rng = np.random.default_rng(1)
    difference, group = rng.normal(0.2, 1, 60), np.repeat(np.arange(20), 3)
    means = difference.reshape(20, 3).mean(axis=1)
    assert clustered(difference, group) == pytest.approx(means.mean() / (means.std() / np.sqrt(20)))
    assert clustered(np.zeros(5), np.arange(5)) == 0


@pytest.mark.parametrize(
    ("lost", "allowed"), [((0, 0), True), ((0, 1), False), ((4, 0), True), ((8, 0), False), ((-9, -9), True)]
)
def test_right_codes_are_not_given_for_log_loss(lost: tuple[int, int], allowed: bool) -> None:
    n = 1000
    assert 4 / n < SLACK < 8 / n
    loss = np.stack([np.full(n, 2.0), 1.0 + 0.01 * (np.arange(n) % 3)])
    right = np.zeros((2, n, 2), dtype=bool)
    right[0, :500] = True
    for level, count in enumerate(lost):
        right[1, : 500 - count, level] = True
    assert passes(loss, right, 1, np.arange(n)) == allowed


def test_groups_lie_in_one_fold_and_few_rows_are_refused() -> None:
    groups = np.array([7, 7, 3, 3, 3, 9, 1])
    fold = folds_of(groups, 3, 0)
    assert all(len(set(fold[groups == g].tolist())) == 1 for g in groups) and set(fold.tolist()) == {0, 1, 2}
    assert folds_of(np.array([5, 5]), 3, 0).tolist() == [0, 0]
    with pytest.raises(ValueError, match="need at least 10"):
        made(9, (0.5, 0.5))


def test_a_first_guess_is_kept_on_few_rows_and_left_where_many_say_otherwise() -> None:
    def guessed(n: int, guess: list[float], seed: int):
        rng = np.random.default_rng(seed)
        gold = TREE.leaves[rng.integers(0, 4, n)]
        pieces = [piece(gold, 0.8, 0.6, rng), piece(gold, 0.6, 0.6, rng), piece(gold, 0.6, 0.6, rng)]
        first = (np.array(guess), np.array([guess[0], 0.0, 0.0]))
        return weigh(TREE, pieces, gold, titles=[0], body=1, seed=1, first=first)

    few = [found for seed in range(10) if (found := guessed(30, [0.5, 0.5, 0.5], seed)).start == "first guess"]
    kept = [found for found in few if not found.step]
    assert len(kept) >= 7 and all("with the body" in found.line for found in kept)
    np.testing.assert_allclose(kept[0].weights / kept[0].weights[0], [1, 1, 1])  # only its power is fitted
    assert kept[0].title[0] > 0 and not kept[0].title[1:].any()
    many = guessed(2000, [0.0, 1.0, 0.0], 3)  # a piece that knows as much as the others has no weight
    assert many.step > 0 and many.weights[0] > 0 and many.weights[2] > 0
    first, *rest = many.table
    assert (first["start"], first["step"], first["passes"]) == ("first guess", 0, True)
    assert [line["start"] for line in rest] == ["title", *["first guess"] * 5]
