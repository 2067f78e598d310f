"""Computed splits: by code and source, and never with the same (or nearly the same) text on two sides. n rows."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from hjc.arrays import BoolArray, Float64, IntArray
from hjc.errors import check_range
from hjc.taxonomy.tree import Taxonomy

TRAIN, VALID, TEST = 0, 1, 2
#: multiplications in one block of the candidate search; bounds its memory to some hundred MB
_BLOCK_WORK = 20_000_000
_BLOCK_PAIRS = 200_000
#: rounding must not lose a pair that lies on the threshold
_SLACK = 1e-9


def text_key(text: str) -> str:
    """The form in which texts count as identical: case-folded, blanks made one."""
    return " ".join(text.casefold().split())


def identical_groups(texts: "list[str] | tuple[str, ...]") -> IntArray:
    """(n,) number of the group of identical texts each text is in (see :func:`text_key`), by first appearance."""
    return _factorize([text_key(text) for text in texts])


def _factorize(values: "list[str]") -> IntArray:
    return pd.factorize(np.array(values, dtype=object))[0].astype(np.int64)


def merge_groups(*groupings: IntArray) -> IntArray:
    """(n,) the finest grouping in which rows that are together in any grouping are together. -1: in no group."""
    n = len(groupings[0])
    rows, columns, offset = [], [], n
    for grouping in groupings:
        inside = np.flatnonzero(grouping >= 0)
        if inside.size:
            rows.append(inside)
            columns.append(grouping[inside] + offset)
            offset += int(grouping.max()) + 1
    if not rows:
        return np.arange(n, dtype=np.int64)
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = sparse.coo_matrix((np.ones(len(row), np.int8), (row, column)), shape=(offset, offset))
    return _relabel(connected_components(graph, directed=False)[1][:n])


def _relabel(labels: IntArray) -> IntArray:
    """Group numbers in the order of first appearance."""
    return pd.factorize(labels)[0].astype(np.int64)


def near_duplicate_groups(texts: "list[str] | tuple[str, ...]", threshold: float = 0.9) -> IntArray:
    """(n,) groups of texts joined by chains of pairs whose tf-idf cosine is at least ``threshold``.

    Words are case-folded runs of letters and digits, weights are tf x (ln((1 + n) / (1 + df)) + 1), rows have length
    one. The search is exact and does not compare all pairs: with words in one order from rare to common, a pair
    above the threshold shares a word among the first of both, those before the rest of the row falls below the
    threshold in length (prefix filter; Bayardo, Ma & Srikant 2007, Scaling up all pairs similarity search).

    Raises:
        ValueError: threshold is not in (0, 1].
    """
    check_range("threshold", threshold, 0 < threshold <= 1, "above 0 to 1")
    same = identical_groups(texts)
    weights = _tfidf(_first_of_each(texts, same))
    left, right = _similar_pairs(weights, threshold)
    m = weights.shape[0]
    graph = sparse.coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(m, m))
    return _relabel(connected_components(graph, directed=False)[1][same])


def near_to(texts: Sequence[str], others: Sequence[str], threshold: float = 0.9) -> BoolArray:
    """(n,) whether a text is identical to one of ``others`` or has a cosine of at least ``threshold`` with one, as in
    :func:`near_duplicate_groups`, but without chains: a text between two that are unlike joins nothing.

    Raises:
        ValueError: threshold is not in (0, 1].
    """
    check_range("threshold", threshold, 0 < threshold <= 1, "above 0 to 1")
    every = [*texts, *others]
    same = identical_groups(every)
    weights, held = _tfidf(_first_of_each(every, same)), np.unique(same[len(texts) :])
    near = np.zeros(weights.shape[0], dtype=bool)
    near[held] = True
    asked, columns = np.flatnonzero(~near), sparse.csc_matrix(weights[held].T)
    step = max(1, _BLOCK_WORK // max(1, len(held)))
    for start in range(0, len(asked) if len(held) else 0, step):
        rows = asked[start : start + step]
        near[rows] = (weights[rows] @ columns).max(axis=1).toarray().ravel() >= threshold - _SLACK
    return np.asarray(near[same[: len(texts)]])


def _first_of_each(texts: Sequence[str], group: IntArray) -> list[str]:
    """The first text of each group; group numbers are in order of first appearance."""
    return [texts[i] for i in np.unique(group, return_index=True)[1].tolist()]


def _tfidf(texts: list[str]) -> sparse.csr_matrix:
    """(m, words) tf-idf rows of length one, words ordered from rare to common."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(lowercase=False, preprocessor=str.casefold, token_pattern=r"\w+", dtype=np.float64)
    try:
        weights = vectorizer.fit_transform(texts)
    except ValueError:  # no text has a word
        return sparse.csr_matrix((len(texts), 1))
    weights = sparse.csr_matrix(weights[:, np.argsort(-vectorizer.idf_, kind="stable")])
    weights.sort_indices()
    return weights


def _similar_pairs(weights: sparse.csr_matrix, threshold: float) -> tuple[IntArray, IntArray]:
    """Pairs of rows (i < j) whose product is at least the threshold."""
    m = weights.shape[0]
    # rest[k]: squared length of the row from its k-th word on; words are stored from rare to common
    squares = weights.data**2
    before = np.r_[0.0, np.cumsum(squares)]
    of_row = np.repeat(np.arange(m), np.diff(weights.indptr))
    rest = before[weights.indptr[1:]][of_row] - before[:-1]
    keep = rest >= (threshold - _SLACK) ** 2
    rare = sparse.csr_matrix(
        (np.ones(int(keep.sum()), np.float32), (of_row[keep], weights.indices[keep])), shape=weights.shape
    )
    by_word = sparse.csr_matrix(rare.T)
    work = np.cumsum(np.asarray(rare @ np.diff(by_word.indptr).astype(np.float64)))
    blocks = np.unique(
        np.searchsorted(work, np.arange(_BLOCK_WORK, work[-1] if m else 0, _BLOCK_WORK), side="left") + 1
    )
    bounds = np.unique(np.r_[0, blocks, m])
    lefts, rights = [], []
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        shared = (rare[start:stop] @ by_word).tocoo()
        i, j = shared.row.astype(np.int64) + start, shared.col.astype(np.int64)
        i, j = i[i < j], j[i < j]
        for a in range(0, len(i), _BLOCK_PAIRS):
            x, y = i[a : a + _BLOCK_PAIRS], j[a : a + _BLOCK_PAIRS]
            cosine = np.asarray(weights[x].multiply(weights[y]).sum(axis=1)).ravel()
            close = cosine >= threshold - _SLACK
            lefts.append(x[close])
            rights.append(y[close])
    if not lefts:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate(lefts), np.concatenate(rights)


def inclusion_probabilities(size: Float64, n: float) -> Float64:
    """(N,) proportional to size (from 0), summing to n, none above 1: those that would be are certain, the rest shared
    anew (Tillé 2006, Sampling Algorithms, section 2.10). The sum is less where fewer than n have a size."""
    pi = np.zeros(len(size))
    certain = np.zeros(len(size), dtype=bool)
    while True:
        rest = ~certain
        left = n - int(certain.sum())
        pi[rest] = left * size[rest] / max(size[rest].sum(), 1e-300)
        pi[certain] = 1.0
        over = rest & (pi > 1)
        if not over.any():
            return np.minimum(pi, 1.0)
        certain |= over


def systematic_sample(n: int, fraction: float, offset: float, size: Float64 | None = None) -> BoolArray:
    """(n,) every 1/fraction-th of n ordered rows, from a start that ``offset`` in [0, 1) gives.

    Each row is drawn with probability ``fraction`` (over offsets), and any run of k rows has k * fraction of
    them drawn, give or take one: on rows in the order of code and source this is proportional stratification, also
    for strata of one row (Cochran 1977, Sampling Techniques, ch. 8). ``size`` (n,): the probability of a row is
    proportional to it, and their mean ``fraction``.
    """
    upto = np.arange(n + 1) * fraction
    if size is not None:
        upto = np.r_[0.0, np.cumsum(inclusion_probabilities(size, n * fraction))]
    steps = np.floor(upto + offset)
    return np.asarray(np.diff(steps) > 0)


def sampling_order(taxonomy: Taxonomy, gold: IntArray, source: IntArray, rng: np.random.Generator) -> IntArray:
    """(n,) order of rows by code (depth-first in the tree, so related codes are neighbours), source and chance."""
    place = np.r_[taxonomy.leaf_slice[:, 0] * (taxonomy.depth + 1) + taxonomy.level, -1][gold]  # gold -1: the last
    return np.lexsort((rng.permutation(len(gold)), source, place))


def split_rows(
    taxonomy: Taxonomy,
    gold: IntArray,
    *,
    source: IntArray | None = None,
    groups: IntArray | None = None,
    fixed_train: BoolArray | None = None,
    test_fraction: float = 0.2,
    valid_fraction: float = 0.1,
    singletons: str = "train",
    seed: int = 1,
    size: Float64 | None = None,
) -> IntArray:
    """(n,) 0 train, 1 valid or 2 test for each row.

    The unit is the group (of identical or nearly identical texts): its first row's code and source place it in the
    order of codes and sources, from which every 1/fraction-th group is drawn. Fractions are of groups.

    Args:
        gold: (n,) node of each row.
        source: (n,) number of each row's source.
        groups: (n,) rows of one group stay on one side. None: every row for itself.
        fixed_train: (n,) rows that train whatever happens (dictionaries); their groups follow them.
        singletons: train: every code keeps at least one group in training, so a code with one group trains.
            test: a code and source with one group tests (Beręsewicz et al., section 4, step 3). sample: as drawn.
        seed: of the order within a code and source, and of the start.
        size: (n,) from 0; of what does not test, groups are drawn to validate with probabilities proportional to the
            mean of their rows' sizes. None: all the same.
    """
    n = len(gold)
    rng = np.random.default_rng(seed)
    source = np.zeros(n, np.int64) if source is None else source
    group = np.arange(n) if groups is None else _relabel(groups)
    _, first = np.unique(group, return_index=True)
    g_gold, g_source = gold[first], source[first]
    side = np.zeros(len(first), dtype=np.int64)
    free = np.ones(len(first), dtype=bool)
    if fixed_train is not None:
        free[group[fixed_train]] = False
    if singletons == "test":
        stratum = np.unique(np.stack([g_gold, g_source]), axis=1, return_inverse=True)[1].ravel()
        alone = free & (np.bincount(stratum[free], minlength=int(stratum.max(initial=0)) + 1)[stratum] == 1)
        side[alone] = TEST
        free &= ~alone
    order = sampling_order(taxonomy, g_gold, g_source, rng)
    order = order[free[order]]
    tested = systematic_sample(len(order), test_fraction, rng.random())
    side[order[tested]] = TEST
    order = order[~tested]
    if valid_fraction > 0:
        share = min(1.0, valid_fraction / (1 - test_fraction))
        of_group = None if size is None else (np.bincount(group, size) / np.bincount(group))[order]
        side[order[systematic_sample(len(order), share, rng.random(), of_group)]] = VALID
    if singletons == "train":
        trained = np.zeros(len(taxonomy) + 1, dtype=bool)  # the last entry is for rows without a code
        trained[-1] = True
        trained[gold[side[group] == TRAIN]] = True
        lost = np.flatnonzero(~trained[gold])
        lost = lost[np.lexsort((lost, side[group[lost]], gold[lost]))]  # validation gives before the test does
        _, pick = np.unique(gold[lost], return_index=True)
        side[group[lost[pick]]] = TRAIN
    return side[group]
