"""Leaving one word out: what any classifier's log-probability loses without it. Nothing is needed but predictions.

part(word) = log P(code | text) - log P(code | text without the word); exact by definition, and not a sum: two words
that say the same each have a part near 0 (Zeiler & Fergus 2014; Li, Monroe & Jurafsky 2016, "representation erasure").
"""

import numpy as np

from hjc.classifiers.base import Classifier
from hjc.explain.result import LevelExplanation, Question
from hjc.explain.words import raw_words

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
    times = np.bincount(group)
    without = []
    for g in range(len(times)):
        cut = [words[i] for i in np.flatnonzero(group == g)]
        edges = zip([0, *(w.end for w in cut)], [*(w.start for w in cut), len(text)], strict=True)
        without.append("".join(text[start:end] for start, end in edges))
    log_p = classifier.leaf_log_proba([text, *without, ""]).astype(np.float64)
    spans = classifier.taxonomy.leaf_slice
    notes = ["the parts do not add up: words that say the same make up for each other"]
    if size > 1:
        notes.append(f"{len(keys)} distinct words: {size} at a time were left out")
    out = []
    for asked in questions:
        own, second = (np.logaddexp.reduce(log_p[:, slice(*spans[n])], axis=1) for n in (asked.node, asked.second))
        sides = (own, own - second if asked.second >= 0 else np.zeros_like(own))
        parts = [((x[0] - x[1:-1]) / times)[group] for x in sides]
        out.append(asked.answer("occlusion", words, parts, [(x[0], x[-1]) for x in sides], notes))
    return out
