"""Which words of a text drove its code: exact contributions of a linear model.

A linear model scores a code by a sum over features, x_f w_f plus a constant. Between the most probable code of a level
and the sibling that came second the difference of scores is again such a sum; each feature's part is shared out equally
over the words it was counted from. The parts of all words and the constant add up to the difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from hjc.classifiers.base import Classifier
from hjc.classifiers.calibrated import CalibratedClassifier
from hjc.classifiers.features import TextFeatures
from hjc.classifiers.linear import LinearClassifier
from hjc.taxonomy import Taxonomy

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LevelExplanation:
    """One level: the code and the one it was preferred to (-1: it has no sibling), their probabilities, the difference
    of their scores, the constant in it, and (word, part) for every word, largest size first."""

    level: int
    node: int
    second: int
    probability: float
    second_probability: float
    difference: float
    constant: float
    words: tuple[tuple[str, float], ...]


def explain_text(classifier: Classifier, text: str, levels: Sequence[int] | None = None) -> list[LevelExplanation]:
    """Explain the most probable code of each level (linear models).

    Top-down models and label trees prefer a code to its sibling; the others know leaves only, and the deepest level's
    code is compared with the second most probable leaf.

    Raises:
        ValueError: the classifier is not linear, or the level has no scores of its own.
    """
    base = classifier.base if isinstance(classifier, CalibratedClassifier) else classifier
    if not isinstance(base, LinearClassifier):
        raise ValueError(
            f"explanations are exact for linear models only; this is a {base.name!r} classifier. Train one "
            "beside it with model=linear on the same data"
        )
    base._check_fitted()
    tree, features, nodes = base.taxonomy, base.features, base._nodes
    assert features is not None and nodes is not None
    by_node = base.settings.hierarchy in ("topdown", "plt")
    wanted = list(levels) if levels else (list(range(1, tree.depth + 1)) if by_node else [tree.depth])
    if not by_node and wanted != [tree.depth]:
        raise ValueError(f"hierarchy={base.settings.hierarchy} scores leaves only: explain level {tree.depth}")
    row = features.transform([text])
    words, shares = word_shares(features, text)
    log_proba = classifier.predict_log_proba([text])
    p = np.exp(tree.node_log_proba(log_proba.astype(np.float64)))[0]
    out = []
    for level in wanted:
        node = int(tree.level_nodes(level)[p[tree.level_nodes(level)].argmax()])
        second = _second(tree, p, node, by_node)
        weight, constant = np.zeros(row.shape[1]), 0.0
        for sign, which in ((1.0, node), (-1.0, second)):
            estimator = _estimator(tree, which, base.settings.hierarchy)
            if estimator is not None and estimator < len(nodes.bias):
                weight += sign * nodes.weights[[estimator]].toarray()[0]
                constant += sign * float(nodes.bias[estimator])
        parts = shares @ (row.toarray()[0] * weight)
        order = np.argsort(-np.abs(parts), kind="stable")
        found = tuple((words[i], float(parts[i])) for i in order.tolist())
        seconds = float(p[second]) if second >= 0 else 0.0
        out.append(
            LevelExplanation(
                level, node, second, float(p[node]), seconds, float(parts.sum()) + constant, constant, found
            )
        )
    return out


def _second(tree: Taxonomy, p: Float64, node: int, by_node: bool) -> int:
    if by_node:
        start, stop = tree.group_slice[tree.group[node]]
        others = np.setdiff1d(np.arange(start, stop), [node])
    else:
        others = np.setdiff1d(tree.leaves, [node])
    return int(others[p[others].argmax()]) if len(others) else -1


def _estimator(tree: Taxonomy, node: int, hierarchy: str) -> int | None:
    """Row of the weights that scores a node; None where the score is 0 by definition."""
    if node < 0:
        return None
    if hierarchy in ("bottomup", "flat_logreg"):
        return int(tree.leaf_slice[node, 0])
    start, stop = tree.group_slice[tree.group[node]]
    if hierarchy == "topdown" and stop - start == 2 and node == start + 1:
        return None  # a pair of siblings has one estimator, the first one's
    return node + 1  # row 0 is the root's


def word_shares(features: TextFeatures, text: str) -> tuple[list[str], Any]:
    """The distinct words of a text and (words, F) sparse shares: how much of each feature was counted from each word.

    Columns of features that the text has sum to 1.
    """
    number: dict[str, int] = {}
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    offset = 0
    for block in features._blocks:
        prepared = features._prepare([text], block.field)
        plain, counted = prepared["char"][0], prepared[block.kind][0]
        at = [number.setdefault(word, len(number)) for word in plain]
        if block.kind == "char":
            distinct = list(dict.fromkeys(plain))
            times = np.array([plain.count(word) for word in distinct], dtype=np.float64)
            grams = sparse.coo_matrix(block._counter.transform(distinct or [""]))
            if distinct:
                rows += [number[distinct[i]] for i in grams.row.tolist()]
                columns += (grams.col + offset).tolist()
                values += (grams.data * times[grams.row]).tolist()
        else:
            low, high = features.settings.word_ngrams
            for size in range(low, high + 1):
                for start in range(len(counted) - size + 1):
                    column = _column(block, " ".join(counted[start : start + size]))
                    if column is not None:
                        rows += at[start : start + size]
                        columns += [column + offset] * size
                        values += [1.0 / size] * size
        offset += len(block.idf)
    counts = sparse.csr_matrix((values, (rows, columns)), shape=(max(len(number), 1), offset))
    total = np.asarray(counts.sum(axis=0)).ravel()
    scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    return list(number) or [""], sparse.csr_matrix(counts @ sparse.diags_array(scale))


def _column(block: Any, term: str) -> int | None:
    if block._hashed:
        return int(block._counter._get_hasher().transform([[term]]).indices[0])
    found = block._counter.vocabulary_.get(term)
    return None if found is None else int(found)
