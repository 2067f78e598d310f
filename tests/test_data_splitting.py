"""Splits: invariants on random data, and each rule against a second, plain formulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from hjc.data import splitting
from hjc.data.splitting import (
    TEST,
    TRAIN,
    VALID,
    identical_groups,
    merge_groups,
    near_duplicate_groups,
    near_to,
    split_rows,
    systematic_sample,
)
from hjc.taxonomy import from_prefix_codes

TREE = from_prefix_codes(["011", "012", "021", "110", "111", "120", "200"], [1, 2, 3])
SMALL = st.integers(0, 5)


def components(n, groupings):
    """Plain flood fill over "in one group with"."""
    label = [-1] * n
    for i in range(n):
        if label[i] < 0:
            todo, label[i] = [i], i
            while todo:
                a = todo.pop()
                for b in range(n):
                    if label[b] < 0 and any(g[a] == g[b] >= 0 for g in groupings):
                        label[b] = i
                        todo.append(b)
    return label


@given(st.integers(1, 12).flatmap(lambda n: st.lists(st.lists(st.integers(-1, 4), min_size=n, max_size=n), min_size=1,
                                                    max_size=3)))  # fmt: skip
def test_merge_groups_against_flood_fill(groupings):
    got = merge_groups(*[np.array(g) for g in groupings])
    want = components(len(groupings[0]), groupings)
    assert [[a == b for b in got] for a in got] == [[a == b for b in want] for a in want]


def test_identical_texts_ignore_case_and_blanks():
    assert identical_groups(["Murarz  (k/m)", "kucharz", " murarz\n(K/M) ", "STRASSE", "straße"]).tolist() == [
        0,
        1,
        0,
        2,
        2,
    ]


WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h"]), max_size=12).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=14), st.sampled_from([0.5, 0.8, 0.9, 1.0]))
def test_near_duplicates_against_all_pairs(texts, threshold):
    """The prefix filter loses no pair: same groups as the full matrix of scikit-learn's own tf-idf."""
    unique = list(dict.fromkeys(splitting.text_key(t) for t in texts))
    matrix = np.zeros((len(unique), len(unique)))
    if any(unique):
        rows = TfidfVectorizer(token_pattern=r"\w+").fit_transform(unique)
        matrix = (rows @ rows.T).toarray()
    near = np.abs(matrix - threshold) < 1e-8
    if near[~np.eye(len(unique), dtype=bool)].any() and threshold < 1:
        return  # on the threshold rounding decides
    place = [unique.index(splitting.text_key(t)) for t in texts]
    close = [[matrix[a, b] >= threshold - 1e-9 or a == b for b in place] for a in place]
    groupings = [[0 if i in (a, b) else -1 for i in range(len(texts))]
                 for a in range(len(texts)) for b in range(a) if close[a][b]]  # fmt: skip
    want = components(len(texts), groupings)
    got = near_duplicate_groups(texts, threshold)
    assert [[a == b for b in got] for a in got] == [[a == b for b in want] for a in want]


@given(st.lists(WORDS, max_size=8), st.lists(WORDS, max_size=8), st.sampled_from([0.5, 0.8, 1.0]))
def test_near_to_some_is_a_pair_with_one_of_them(texts, others, threshold):
    keys = [[splitting.text_key(t) for t in some] for some in (texts, others)]
    if not any(keys[0] + keys[1]):
        return
    unique = list(dict.fromkeys(keys[0] + keys[1]))
    rows = TfidfVectorizer(token_pattern=r"\w+").fit_transform(unique)
    matrix = (rows @ rows.T).toarray()
    if (np.abs(matrix - threshold) < 1e-8)[~np.eye(len(unique), dtype=bool)].any() and threshold < 1:
        return  # on the threshold rounding decides
    place = {key: i for i, key in enumerate(unique)}
    want = [any(a == b or matrix[place[a], place[b]] >= threshold - 1e-9 for b in keys[1]) for a in keys[0]]
    assert near_to(texts, others, threshold).tolist() == want


def test_near_to_knows_no_chains():
    texts = ["a b c d e f g h", "e f g h i j k l", "i j k l m n o p"]
    others = ["m n o p q r s t"]
    assert len(set(near_duplicate_groups([*texts, *others], 0.4).tolist())) == 1
    assert near_to(texts, others, 0.4).tolist() == [False, False, True]
    assert near_to([], others).tolist() == [] and near_to(texts, []).tolist() == [False] * 3
    with pytest.raises(ValueError, match="threshold"):
        near_to(texts, others, 0)


def test_near_duplicates_in_many_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice([f"w{i}" for i in range(60)], 20)) for _ in range(80)]
    texts += [f"{text} extra{i}" for i, text in enumerate(texts[:20])]
    whole = near_duplicate_groups(texts, 0.8)
    monkeypatch.setattr(splitting, "_BLOCK_WORK", 50)
    monkeypatch.setattr(splitting, "_BLOCK_PAIRS", 7)
    assert np.array_equal(near_duplicate_groups(texts, 0.8), whole)
    assert np.array_equal(whole[80:], whole[:20])


def test_near_duplicates_of_odd_input():
    assert near_duplicate_groups(["", "!!", "", "?"]).tolist() == [0, 1, 0, 2]
    assert near_duplicate_groups([]).tolist() == []
    with pytest.raises(ValueError, match="threshold"):
        near_duplicate_groups(["a"], 0)


@given(st.integers(0, 300), st.floats(0, 0.99), st.floats(0, 0.999))
def test_systematic_sample_is_even(n, fraction, offset):
    drawn = systematic_sample(n, fraction, offset)
    assert drawn.shape == (n,)
    ahead = np.r_[0, np.cumsum(drawn)]
    for start in range(0, n, 7):
        for stop in range(start, n, 11):
            assert abs((ahead[stop] - ahead[start]) - (stop - start) * fraction) <= 1 + 1e-6


@st.composite
def rows(draw):
    n = draw(st.integers(1, 40))
    make = lambda high: np.array(draw(st.lists(st.integers(0, high), min_size=n, max_size=n)))  # noqa: E731
    fractions = draw(st.sampled_from([(0.2, 0.1), (0.3, 0.0), (0.5, 0.3), (0.0, 0.5), (0.0, 0.0)]))
    return make(len(TREE) - 1), make(2), make(n), make(1).astype(bool) & draw(st.booleans()), fractions


@given(rows(), st.sampled_from(["train", "test", "sample"]), st.integers(0, 5))
def test_split_invariants(case, singletons, seed):
    gold, source, groups, fixed, (test, valid) = case
    options = {"source": source, "groups": groups, "fixed_train": fixed, "test_fraction": test, "valid_fraction": valid,
               "singletons": singletons, "seed": seed}  # fmt: skip
    side = split_rows(TREE, gold, **options)
    assert np.array_equal(side, split_rows(TREE, gold, **options)), "same seed, same split"
    assert set(side.tolist()) <= {TRAIN, VALID, TEST}
    for group in set(groups.tolist()):
        assert len(set(side[groups == group].tolist())) == 1, "a group straddles the split"
    assert (side[fixed] == TRAIN).all()
    if singletons == "train":
        assert set(gold.tolist()) == set(gold[side == TRAIN].tolist()), "every code is trained on"
    if valid == 0:
        assert VALID not in side
    if test == 0 and singletons != "test":
        assert TEST not in side


@pytest.mark.parametrize("seed", range(5))
def test_shares_within_codes_and_sources(seed):
    rng = np.random.default_rng(seed)
    gold, source = TREE.leaves[rng.integers(0, 7, 4000)], rng.integers(0, 3, 4000)
    side = split_rows(TREE, gold, source=source, test_fraction=0.3, valid_fraction=0.1, seed=seed)
    assert abs((side == TEST).mean() - 0.3) < 0.001 and abs((side == VALID).mean() - 0.1) < 0.001
    for leaf in TREE.leaves:
        for s in range(3):
            inside = side[(gold == leaf) & (source == s)]
            assert abs((inside == TEST).sum() - 0.3 * len(inside)) <= 1.01
            assert abs((inside == VALID).sum() - 0.1 * len(inside)) <= 2.01


def test_single_texts_of_a_code():
    gold = TREE.leaves[[0, 0, 0, 0, 1, 2, 3]]
    everywhere = [split_rows(TREE, gold, test_fraction=0.4, valid_fraction=0, seed=s) for s in range(30)]
    assert all((side[4:] == TRAIN).all() for side in everywhere)
    paper = split_rows(TREE, gold, test_fraction=0.4, valid_fraction=0, singletons="test")
    assert paper[4:].tolist() == [TEST] * 3 and TRAIN in paper[:4]
    drawn = [
        split_rows(TREE, gold, test_fraction=0.4, valid_fraction=0, singletons="sample", seed=s) for s in range(30)
    ]
    assert {int(side[5]) for side in drawn} == {TRAIN, TEST}


def test_each_row_is_as_likely_to_test():
    gold = TREE.leaves[np.array([0] * 5 + [1] * 3 + [2])]
    many = [split_rows(TREE, gold, test_fraction=0.25, valid_fraction=0.25, singletons="sample", seed=s)
            for s in range(800)]  # fmt: skip
    shares = np.mean(np.array(many) == TEST, axis=0)
    assert np.abs(shares - 0.25).max() < 0.06
    assert np.abs(np.mean(np.array(many) == VALID, axis=0) - 0.25).max() < 0.06


def test_no_rows():
    assert split_rows(TREE, np.array([], dtype=np.int64)).tolist() == []


def test_of_rows_drawn_with_unlike_probabilities_an_even_part_validates():
    """A pool of two halves, one drawn nine times as often: drawn rows are 9 to 1, what validates is 1 to 1."""
    inclusion = np.r_[np.full(900, 0.9), np.full(100, 0.1)]
    gold = np.full(1000, TREE.index_of["011"])
    held = np.zeros(1000)
    for seed in range(40):
        side = split_rows(TREE, gold, test_fraction=0.0, valid_fraction=0.1, seed=seed, size=1 / inclusion)
        assert abs((side == VALID).sum() - 100) <= 1
        held += side == VALID
    assert held[:900].sum() / 40 == pytest.approx(50, abs=1) and held[900:].sum() / 40 == pytest.approx(50, abs=1)
    # second formulation: drawn and then held, a row of the pool has the same chance whichever half it is of
    chance = inclusion * np.r_[np.full(900, held[:900].mean()), np.full(100, held[900:].mean())]
    assert chance[0] == pytest.approx(chance[-1], rel=0.05)


def test_rows_without_a_probability_of_being_drawn_never_validate():
    size = np.r_[np.ones(30), np.zeros(70)]
    side = split_rows(TREE, np.full(100, TREE.index_of["111"]), test_fraction=0.0, valid_fraction=0.2, size=size)
    assert (side[:30] == VALID).sum() == 20 and (side[30:] == TRAIN).all()
    same = split_rows(
        TREE, np.full(100, TREE.index_of["111"]), test_fraction=0.0, valid_fraction=0.5, size=np.ones(100)
    )
    plain = split_rows(TREE, np.full(100, TREE.index_of["111"]), test_fraction=0.0, valid_fraction=0.5)
    assert (same == plain).all()
