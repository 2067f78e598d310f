"""Codes without training rows: the vectorised share against a walk down the tree, theta against a grid, end to end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hjc
from hjc.classifiers.unseen import UnseenCodes, pseudo_count
from hjc.data import JobData
from hjc.metrics import level_metrics, score_rows
from hjc.taxonomy import Taxonomy, from_edges

from .strategies import taxonomies


def counts_below(tree: Taxonomy, exact: np.ndarray) -> np.ndarray:
    """Rows at or below each node from rows coded to exactly each node."""
    total = exact.astype(float)
    for node in range(len(tree) - 1, -1, -1):
        if tree.parents[node] >= 0:
            total[tree.parents[node]] += total[node]
    return total


def siblings(tree: Taxonomy, parent: int) -> list[int]:
    return [i for i in range(len(tree)) if tree.parents[i] == parent]


def walk(
    tree: Taxonomy, counts: np.ndarray, theta: float, floor: float, leaf_proba: dict[int, float]
) -> dict[int, float]:
    """The same from the root down: each group gives its unseen members their share, the seen ones the rest."""
    out: dict[int, float] = {}

    def mass(node: int) -> float:
        below = siblings(tree, node)
        return sum(map(mass, below)) if below else leaf_proba.get(node, 0.0)

    def down(parent: int, available: float, known: bool) -> None:
        group = siblings(tree, parent)
        if not group:
            out[parent] = available
            return
        rows = sum(counts[i] for i in group)
        missing = [i for i in group if counts[i] == 0]
        share = len(missing) * theta / (rows + len(group) * theta) if rows else 0.0
        if rows:
            share = max(share, floor * len(missing) * (1 / len(group)) / (rows + 1))
        total = sum(map(mass, group)) if known else 0.0
        for i in group:
            if not known or (rows and i in missing):
                down(i, available * (1 / len(group) if not known else share / len(missing)), False)
            else:
                down(i, available * (1 - share) * (mass(i) / total if total else 0.0), True)

    down(-1, 1.0, True)
    return out


@given(tree=taxonomies(), floor=st.sampled_from([0.0, 0.02, 0.5]), data=st.data())
def test_the_share_of_unseen_codes_against_a_walk_down_the_tree(tree, floor, data) -> None:
    exact = np.array(data.draw(st.lists(st.sampled_from([0, 0, 1, 1, 2, 7]), min_size=len(tree), max_size=len(tree))))
    if not exact.any():
        exact[0] = 1
    counts = counts_below(tree, exact)
    unseen = UnseenCodes(tree, counts, floor)
    leaves = tree.leaves.tolist()
    rng = np.random.default_rng(int(exact.sum()))
    proba = rng.random((len(leaves), 3)).astype(np.float32) * unseen.answered[tree.leaves][:, None]
    proba /= proba.sum(axis=0)
    found = unseen(proba)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    for column in range(3):
        expected = walk(tree, counts, unseen.theta, floor, dict(zip(leaves, proba[:, column].tolist(), strict=True)))
        np.testing.assert_allclose(found[:, column], [expected[leaf] for leaf in leaves], atol=1e-6)


def test_theta_is_the_best_of_a_grid() -> None:
    tree = from_edges(["a", "b", "c", "d", "e", "a1", "a2"], ["", "", "", "", "", "a", "a"])
    counts = counts_below(tree, np.array([0, 9, 1, 1, 0, 4, 3]))
    assert counts[tree.index_of["a"]] == 7

    def left_out(theta: float) -> float:
        total = 0.0
        for group in (["a", "b", "c", "d", "e"], ["a1", "a2"]):
            n = [int(counts[tree.index_of[code]]) for code in group]
            for rows in n:
                for _ in range(rows):  # each row in turn
                    total += np.log((rows - 1 + theta) / (sum(n) - 1 + theta * len(n)))
        return total

    grid = np.exp(np.linspace(np.log(1e-3), np.log(10), 4000))
    best = grid[np.argmax([left_out(x) for x in grid])]
    assert pseudo_count(tree, counts) == pytest.approx(best, rel=5e-3)
    many = counts_below(tree, np.array([0, 90, 80, 70, 0, 40, 30]))
    assert pseudo_count(tree, many) < 1e-4  # nothing occurs once: nothing new is expected
    assert pseudo_count(from_edges(["a"], [""]), np.array([3.0])) == 0


WORDS = ["cook", "baker", "driver", "pilot", "nurse", "doctor", "clerk", "guard", "miner", "tailor"]


def rows(codes: list[str]) -> tuple[list[str], list[str]]:
    return [f"{WORDS[int(c[-1])]} {WORDS[int(c[0])]} {i}" for i, c in enumerate(codes)], codes


@pytest.mark.parametrize("hierarchy", ["topdown", "plt", "bottomup", "flat_logreg"])
def test_estimated_is_better_where_new_codes_come_and_the_same_where_none_do(hierarchy, tmp_path) -> None:
    pytest.importorskip("napkinxc")
    from hjc.classifiers.linear import LinearClassifier
    from hjc.classifiers.linear_settings import LinearSettings

    leaves = [f"{i}{j}" for i in range(3) for j in range(10)]
    tree = from_edges(["0", "1", "2", *leaves], ["", "", "", *(code[0] for code in leaves)])
    rng = np.random.default_rng(3)
    frequent = rng.choice(leaves[:24], 60).tolist()
    data = JobData.from_lists(tree, *rows(frequent))
    test = JobData.from_lists(tree, *rows([*frequent[:40], *leaves[24:]]))
    found = {}
    for unseen in ("floor", "estimated"):
        settings = LinearSettings(hierarchy=hierarchy, unseen=unseen, features="word", min_df=1)
        model = LinearClassifier(tree, settings).fit(data)
        log_proba = model.predict_log_proba([*test.texts, "", "???"])
        np.testing.assert_allclose(np.exp(log_proba).sum(axis=1), 1, atol=1e-5)
        assert np.isfinite(log_proba).all()
        scores = score_rows(tree, log_proba[: len(test)], test.gold)
        found[unseen] = level_metrics(scores, tree, 2)["log_loss"]
        model.save_pretrained(tmp_path / unseen)
        assert np.array_equal(hjc.load(tmp_path / unseen).predict_log_proba([*test.texts, "", "???"]), log_proba)
    assert found["estimated"] < found["floor"] - 0.1
    whole = JobData.from_lists(tree, *rows(leaves * 2))
    same = [
        LinearClassifier(tree, LinearSettings(hierarchy=hierarchy, unseen=unseen, features="word", min_df=1))
        .fit(whole)
        .predict_log_proba(test.texts)
        for unseen in ("floor", "estimated")
    ]
    assert np.array_equal(*same)


def test_a_wrong_word_is_refused() -> None:
    from hjc.classifiers.linear_settings import LinearSettings

    with pytest.raises(ValueError, match=r"model.unseen: got 'guess', allowed are floor, estimated"):
        LinearSettings(unseen="guess")
