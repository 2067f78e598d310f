"""Leaving one word out: what any classifier's log-probability loses without it. Nothing is needed but predictions.

part(word) = log P(code | text) - log P(code | text without the word); exact by definition, and not a sum: two words
that say the same each have a part near 0 (Zeiler & Fergus 2014; Li, Monroe & Jurafsky 2016, "representation erasure").
"""

import numpy as np

from hjc.arrays import FloatArray
from hjc.classifiers.base import Classifier
from hjc.explain.result import LevelExplanation, Question
from hjc.explain.words import raw_words
from hjc.taxonomy.tree import Taxonomy

#: predictions for one text at most; a text of more distinct words loses several neighbouring words at a time
MOST = 256


def explain_occlusion(
    classifier: Classifier, text: str, questions: list[Question], *, most: int = MOST
) -> list[LevelExplanation]:
    """The change of log-probabilities when a word is left out, all its occurrences at once (case folded).

    The parts of a word are shared out equally over its occurrences.
    """
    words = raw_words(text)
    keys = list(dict.fromkeys(w.token.casefold() for w in words))
    size = -(-len(keys) // most) if keys else 1
    group_of = {key: i // size for i, key in enumerate(keys)}
    group = np.array([group_of[w.token.casefold()] for w in words], dtype=np.int64)
    groups = int(group.max()) + 1 if len(group) else 0
    without = []
    for g in range(groups):
        rest, at = [], 0
        for i in np.flatnonzero(group == g).tolist():
            rest.append(text[at : words[i].start])
            at = words[i].end
        without.append("".join([*rest, text[at:]]))
    empty = len(without) + 1
    tree = classifier.taxonomy
    log_p = _node_log_proba(tree, classifier.leaf_log_proba([text, *without, ""]), questions)
    times = np.bincount(group, minlength=groups)
    notes = ["the parts do not add up: words that say the same make up for each other"]
    if size > 1:
        notes.append(f"{len(keys)} distinct words: {size} at a time were left out")
    out = []
    for asked in questions:
        own = log_p[asked.node]
        lead = own - log_p[asked.second] if asked.second >= 0 else np.zeros_like(own)
        parts, leads = ((x[0] - x[1:empty]) / np.maximum(times, 1) for x in (own, lead))
        code, led = ((x[0], x[empty]) for x in (own, lead))
        out.append(LevelExplanation.make(asked, "occlusion", words, (parts[group], leads[group]), code, led, notes))
    return out


def _node_log_proba(tree: Taxonomy, leaf_log_proba: FloatArray, questions: list[Question]) -> dict[int, FloatArray]:
    """node -> (B,) its log-probability, for the nodes that are asked about."""
    wanted = {n for asked in questions for n in (asked.node, asked.second) if n >= 0}
    x = leaf_log_proba.astype(np.float64)
    return {n: np.logaddexp.reduce(x[:, slice(*tree.leaf_slice[n])], axis=1) for n in wanted}
