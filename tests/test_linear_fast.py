"""Fast prediction against the plain ways: n-grams against scikit-learn, top-down against napkinXC's rules."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import logsumexp
from sklearn.feature_extraction.text import CountVectorizer

from hjc.calibration.conditionals import sum_paths
from hjc.classifiers import ngrams
from hjc.classifiers.linear import count_rows
from hjc.classifiers.napkinxc_weights import LinearNodes
from hjc.classifiers.ngrams import CharNgrams, WordNgrams
from hjc.classifiers.text_words import Words
from hjc.classifiers.topdown import TopDown, scale_scores
from hjc.classifiers.unseen import prior
from hjc.taxonomy import from_edges
from tests.napkinxc_hsm import conditional_log_proba
from tests.test_linear_napkinxc import random_tree

WORDS = st.lists(st.text("abcß\ud800\U0001f600", min_size=1, max_size=7), max_size=12)  # tokens are not empty
SPANS = st.sampled_from([(1, 1), (1, 2), (2, 3), (2, 5), (3, 3), (4, 5), (6, 8)])


def vectorizer(kind: str, span: tuple[int, int], vocabulary: list[str]) -> CountVectorizer:
    terms = {term: i for i, term in enumerate(vocabulary)}
    if kind == "char_wb":
        return CountVectorizer(analyzer="char_wb", ngram_range=span, lowercase=False, vocabulary=terms)
    return CountVectorizer(
        tokenizer=list, preprocessor=list, token_pattern=None, ngram_range=span, lowercase=False, vocabulary=terms
    )


def some_terms(kind: str, span: tuple[int, int], texts: list, rng: np.random.Generator) -> list[str]:  # type: ignore[type-arg]
    """A part of the n-grams of the texts, in any order: what min_df and max_features leave."""
    analyze = vectorizer(kind, span, ["x"]).build_analyzer()
    terms = sorted({term for text in texts for term in analyze(text)})
    return [terms[i] for i in rng.permutation(len(terms))[: max(1, 2 * len(terms) // 3)]]


@pytest.mark.parametrize("plain_size", [1 << 22, 0])  # arrays, hash tables
@settings(max_examples=60, deadline=None)
@given(seen=WORDS, asked=WORDS, span=SPANS, seed=st.integers(0, 99))
@example(seen=["a"], asked=["a", "aa"], span=(4, 5), seed=0)
@example(seen=["abc"], asked=[], span=(2, 5), seed=0)
def test_character_ngrams_equal_scikit_learns(
    plain_size: int, seen: list[str], asked: list[str], span: tuple[int, int], seed: int
) -> None:
    terms = some_terms("char_wb", span, seen, np.random.default_rng(seed))
    if not terms:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "_PLAIN_SIZE", plain_size)
        ours = CharNgrams.of_terms(terms, *span)(asked + seen).scipy()
    theirs = vectorizer("char_wb", span, terms).transform(asked + seen)
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours.toarray(), theirs.toarray())


def words_in(texts: list[list[str]]) -> Words:
    known = sorted({word for text in texts for word in text})
    flat = np.array([known.index(word) for text in texts for word in text], np.int64)
    return Words(known, flat, np.cumsum([0, *map(len, texts)]))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    seen=st.lists(st.lists(st.sampled_from(["a", "b", "c++", "ß"]), max_size=6), max_size=6),
    asked=st.lists(st.lists(st.sampled_from(["a", "b", "x", "c++"]), max_size=6), max_size=6),
    span=st.sampled_from([(1, 1), (1, 2), (2, 3), (3, 3)]),
    seed=st.integers(0, 99),
)
def test_word_ngrams_equal_scikit_learns(
    seen: list[list[str]], asked: list[list[str]], span: tuple[int, int], seed: int
) -> None:
    terms = some_terms("word", span, seen, np.random.default_rng(seed))
    if not terms:
        return
    theirs = vectorizer("word", span, terms).transform(asked + seen) if asked + seen else None
    ours = WordNgrams.of_terms(terms, *span)(words_in(asked + seen)).scipy()
    assert ours.shape == (len(asked + seen), len(terms))
    if theirs is not None:
        np.testing.assert_array_equal(ours.toarray(), theirs.toarray())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    nodes=st.integers(1, 30),
    hinge=st.booleans(),
    size=st.sampled_from([1.0, 30.0, 300.0]),
    floor=st.sampled_from([0.0, 0.02, 0.5]),
)
def test_top_down_equals_the_plain_way(seed: int, nodes: int, hinge: bool, size: float, floor: float) -> None:
    rng = np.random.default_rng(seed)
    tree = random_tree(rng, nodes)
    weights = sparse.csr_matrix((rng.normal(size=(nodes + 1, 6)) * size).astype(np.float32))
    some = LinearNodes(
        weights=weights,
        bias=rng.normal(size=nodes + 1).astype(np.float32),
        seen=np.full(nodes + 1, 2),
        hinge=hinge,
    )
    rows = sparse.csr_matrix(rng.random((7, 6)).astype(np.float32))
    gold = tree.leaves[rng.integers(0, tree.num_leaves, size=max(1, tree.num_leaves // 2))]
    counts = count_rows(tree, gold, np.ones(len(gold)))
    conditional_prior = prior(tree, counts)
    ours = TopDown(tree, conditional_prior, counts, floor)(some, rows)

    log_p = conditional_log_proba(some, rows, tree).astype(np.float64)
    log_p[:, counts == 0] = -np.inf
    with np.errstate(divide="ignore"):
        total = np.array([[logsumexp(row[tree.group == g]) for g in tree.group] for row in log_p])
        p = np.exp(log_p - np.where(np.isfinite(total), total, 0))
        mixed = (1 - floor) * p + floor * conditional_prior
        plain = np.exp(sum_paths(np.log(np.where(np.isfinite(total), mixed, conditional_prior)), tree))
    np.testing.assert_allclose(np.exp(ours.astype(np.float64)).T, plain, atol=1e-5)
    np.testing.assert_allclose(np.exp(ours.astype(np.float64)).sum(axis=0), 1, atol=1e-5)


def test_score_scale_is_a_temperature_of_groups_of_three_and_more() -> None:
    tree = from_edges(["a", "b", "c", "a1", "a2"], ["", "", "", "a", "a"])
    scores = np.array([0, 2.0, 1.0, -1.0, 0.5, 7.0], dtype=np.float32)  # the root's, then by node
    nodes = LinearNodes(
        weights=sparse.csr_matrix((6, 2), dtype=np.float32), bias=scores, seen=np.full(6, 2), hinge=False
    )
    rows = sparse.csr_matrix(np.ones((1, 2), dtype=np.float32))
    counts = np.array([2.0, 1, 1, 1, 1])
    p = TopDown(tree, prior(tree, counts), counts, 0).conditional(scale_scores(nodes, tree, 0.5), rows)[:, 0]
    np.testing.assert_allclose(p[:3], np.exp(scores[1:4] / 2) / np.exp(scores[1:4] / 2).sum(), rtol=1e-6)
    np.testing.assert_allclose(p[3:], [1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(0.5))], rtol=1e-6)


def test_scores_of_the_squared_hinge_loss_are_not_scaled() -> None:
    tree = from_edges(["a", "b", "c"], ["", "", ""])
    empty = sparse.csr_matrix((4, 1), dtype=np.float32)
    nodes = LinearNodes(weights=empty, bias=np.ones(4, dtype=np.float32), seen=np.full(4, 2), hinge=True)
    assert scale_scores(nodes, tree, 0.5) is nodes
