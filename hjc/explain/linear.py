"""Which words of a text drove its code in a linear model: exact contributions.

A linear model scores a code by a sum over features, x_f w_f plus a constant. Between a code and its sibling the
difference of scores, which in a top-down model is their log-odds, is again such a sum; each feature's part is shared
out equally over the words it was counted from. The parts of all words and the constant add up to the score.
"""

from typing import Any

import numpy as np
from scipy import sparse

from hjc.arrays import Float64
from hjc.classifiers.features import TextFeatures
from hjc.classifiers.linear import LinearClassifier
from hjc.explain.result import LevelExplanation, Question, WordPart
from hjc.explain.words import Word, located_tokens
from hjc.taxonomy import Taxonomy


def scores_nodes(classifier: LinearClassifier) -> bool:
    """Whether every node has a score of its own; else only leaves have one."""
    return classifier.settings.hierarchy in ("topdown", "plt")


def explain_linear(classifier: LinearClassifier, text: str, questions: list[Question]) -> list[LevelExplanation]:
    """Exact contributions for each question.

    Raises:
        ValueError: two codes that are no siblings: their scores belong to different groups and cannot be compared.
    """
    tree = classifier.taxonomy
    for asked in questions if scores_nodes(classifier) else ():
        if asked.second >= 0 and tree.group[asked.node] != tree.group[asked.second]:
            common = int(tree.lca_level(asked.node, asked.second)) + 1
            raise ValueError(
                f"{tree.codes[asked.node]} and {tree.codes[asked.second]} are no siblings and their scores cannot be "
                f"compared; they part at level {common}: --level {common}"
            )
    features = classifier.features
    assert features is not None
    row = features.transform([text]).toarray()[0].astype(np.float64)
    words, shares = occurrence_shares(features, text)
    notes = _read_to(text, features.settings.max_chars)
    out = []
    for asked in questions:
        own, constant = _weights(classifier, asked.node, len(row))
        other, other_constant = _weights(classifier, asked.second, len(row))
        parts, leads = shares @ (row * own), shares @ (row * (own - other))
        out.append(
            LevelExplanation(
                *asked,
                method="linear",
                words=tuple(
                    WordPart(text[w.start : w.end], w.start, w.end, float(parts[i]), float(leads[i]))
                    for i, w in enumerate(words)
                ),
                value=float(row @ own) + constant,
                constant=constant,
                difference=float(row @ (own - other)) + constant - other_constant,
                difference_constant=constant - other_constant,
                notes=notes,
            )
        )
    return out


def _read_to(text: str, most: int) -> tuple[str, ...]:
    return (f"the model reads the first {most:,} characters",) if most and len(text) > most else ()


def _weights(classifier: LinearClassifier, node: int, size: int) -> tuple[Float64, float]:
    """Weights (F,) and constant that score a node; zeros where the score is 0 by definition."""
    nodes = classifier._nodes
    assert nodes is not None
    row = _estimator(classifier.taxonomy, node, classifier.settings.hierarchy)
    if row is None or row >= len(nodes.bias):
        return np.zeros(size), 0.0
    return nodes.weights[[row]].toarray()[0].astype(np.float64), float(nodes.bias[row])


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


def occurrence_shares(features: TextFeatures, text: str) -> tuple[list[Word], Any]:
    """The words of a text in order, and (words, F) sparse shares: how much of each feature was counted from each.

    Columns of features that the text has sum to 1. The words of the first line are counted in the features of the lead
    as well.
    """
    s = features.settings
    cut = text[: s.max_chars] if s.max_chars else text
    words = located_tokens(cut, lambda piece: features._prepare([piece], "text")["char"][0])
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    offset = 0
    for block in features._blocks:
        prepared = features._prepare([text], block.field)
        plain, counted = prepared["char"][0], prepared[block.kind][0]
        assert [w.token for w in words[: len(plain)]] == plain  # the lead is the beginning
        if block.kind == "char":
            distinct = {word: i for i, word in enumerate(dict.fromkeys(plain))}
            if distinct:
                grams = sparse.csr_matrix(block._counter.transform(list(distinct)))[[distinct[word] for word in plain]]
                found = sparse.coo_matrix(grams)
                rows += found.row.tolist()
                columns += (found.col + offset).tolist()
                values += found.data.tolist()
        else:
            low, high = s.word_ngrams
            for size in range(low, high + 1):
                for start in range(len(counted) - size + 1):
                    column = _column(block, " ".join(counted[start : start + size]))
                    if column is not None:
                        rows += range(start, start + size)
                        columns += [column + offset] * size
                        values += [1.0 / size] * size
        offset += len(block.idf)
    counts = sparse.csr_matrix((values, (rows, columns)), shape=(len(words), offset))
    total = np.asarray(counts.sum(axis=0)).ravel()
    scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    return words, sparse.csr_matrix(counts @ sparse.diags_array(scale))


def _column(block: Any, term: str) -> int | None:
    if block._hashed:
        return int(block._counter._get_hasher().transform([[term]]).indices[0])
    found = block._counter.vocabulary_.get(term)
    return None if found is None else int(found)
