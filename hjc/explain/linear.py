"""Which words of a text drove its code in a linear model: exact contributions.

A linear model scores a code by a sum over features, x_f w_f plus a constant. Between a code and its sibling the
difference of scores, which in a top-down model is their log-odds, is again such a sum; each feature's part is shared
out equally over the words it was counted from. The parts of all words and the constant add up to the score.
"""

from typing import Any

import numpy as np
from scipy import sparse

from hjc.classifiers.features import TextFeatures
from hjc.explain.result import LevelExplanation, Question
from hjc.explain.words import Word, located_tokens


def explain_linear(classifier: Any, text: str, questions: list[Question]) -> list[LevelExplanation]:
    """Exact contributions for each question.

    Args:
        classifier: a fitted LinearClassifier.

    Raises:
        ValueError: two codes that are no siblings: their scores belong to different groups and cannot be compared.
    """
    tree = classifier.taxonomy
    for asked in questions if len(classifier.exact_levels) == tree.depth else ():
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
    shown = [Word(text[w.start : w.end], w.start, w.end) for w in words]
    most = features.settings.max_chars
    notes = (f"the model reads the first {most:,} characters",) if most and len(text) > most else ()
    out = []
    for asked in questions:
        own, other = classifier.node_weights(asked.node), classifier.node_weights(asked.second)
        sides = (own, (own[0] - other[0], own[1] - other[1]))  # the code, and its lead
        parts = [shares @ (row * weight) for weight, _ in sides]
        values = [(float(row @ weight) + constant, constant) for weight, constant in sides]
        out.append(asked.answer("linear", shown, parts, values, notes))
    return out


def occurrence_shares(features: TextFeatures, text: str) -> tuple[list[Word], Any]:
    """The words of a text in order, and (words, F) sparse shares: how much of each feature was counted from each.

    Columns of features that the text has sum to 1. The words of the first line are counted in the features of the lead
    as well.
    """
    words = located_tokens(text[: features.settings.max_chars or None], features.tokens)
    parts = []
    for block in features.blocks:
        plain, counted = features.block_tokens(text, block)
        assert [w.token for w in words[: len(plain)]] == plain  # the lead is the beginning
        parts.append(block.shares(plain, counted, len(words)))
    counts = sparse.csr_matrix(sparse.hstack(parts))
    total = np.asarray(counts.sum(axis=0)).ravel()
    scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    return words, sparse.csr_matrix(counts @ sparse.diags_array(scale))
