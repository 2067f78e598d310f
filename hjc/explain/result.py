"""What an explanation of one text at one level holds, whatever found it."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

import numpy as np

from hjc.arrays import FloatArray
from hjc.classifiers.base import Classifier
from hjc.explain.words import Word
from hjc.taxonomy import Taxonomy

#: method -> what it is called where people read it
METHODS = {
    "linear": "exact parts of the linear model's scores",
    "gradients": "integrated gradients of log-probabilities",
    "occlusion": "leaving one word out: change of log-probabilities",
}


class WordPart(NamedTuple):
    """``text[start:end]`` and what it contributes: ``part`` to the code, ``lead`` to its lead over the second."""

    word: str
    start: int
    end: int
    part: float
    lead: float


@dataclass(frozen=True)
class Question:
    """Which code of which level is explained against which other.

    Attributes:
        node, second: the code and the one it is compared with (-1: it has no sibling).
        probability, second_probability: of the two at this level (nan where there is no second).
    """

    level: int
    node: int
    second: int
    probability: float
    second_probability: float

    def answer(
        self,
        method: str,
        words: Sequence[Word],
        parts: Sequence[FloatArray],
        values: Sequence[tuple[float, float]],
        notes: Sequence[str],
    ) -> "LevelExplanation":
        """From the parts (W,) of W words in the code and in its lead; of each its value and its constant."""
        marked = zip(words, *(some.tolist() for some in parts), strict=True)
        shown = tuple(WordPart(w.token, w.start, w.end, own, led) for w, own, led in marked)
        numbers = (float(x) for pair in values for x in pair)
        everything: tuple[Any, ...] = (*astuple(self), method, shown, *numbers, tuple(notes))
        return LevelExplanation(*everything)


@dataclass(frozen=True)
class LevelExplanation(Question):
    """One level of one text.

    Attributes:
        method: a key of :data:`METHODS`.
        words: in the order of the text.
        value, constant: ``linear``: the code's score and its intercept; else log P(code) of the text, and of the text
            without its words. The parts add up to ``value - constant``, but for ``occlusion``.
        difference, difference_constant: the same for the code less the second; the leads add up to their difference.
        notes: sentences for the reader: what the numbers leave out, a sum that is not met.
    """

    method: str
    words: tuple[WordPart, ...]
    value: float
    constant: float
    difference: float
    difference_constant: float
    notes: tuple[str, ...] = ()

    def by_word(self, which: str = "lead") -> list[tuple[str, float]]:
        """Distinct words (case folded) with the sum of their ``part`` or ``lead``, largest size first."""
        total: dict[str, float] = {}
        for word in self.words:
            key = word.word.casefold()
            total[key] = total.get(key, 0.0) + float(getattr(word, which))
        return sorted(total.items(), key=lambda item: -abs(item[1]))


def ask(
    classifier: Classifier,
    text: str,
    levels: Sequence[int],
    *,
    code: str | None = None,
    against: str | None = None,
    leaves_only: bool = False,
) -> list[Question]:
    """For each level the code (the most probable, or ``code``), and the most probable of its siblings (or ``against``).

    ``leaves_only``: the second is the most probable other leaf, sibling or not.

    Raises:
        TaxonomyError, ValueError: an unknown code, or one that lies above the level.
    """
    tree = classifier.taxonomy
    log_p = tree.node_log_proba(classifier.leaf_log_proba([text]).astype(np.float64))[0]
    out = []
    for level in levels:
        nodes = tree.level_nodes(tree.check_level(level))
        node = int(nodes[log_p[nodes].argmax()]) if code is None else _at_level(tree, code, level)
        if against is not None:
            second = _at_level(tree, against, level)
            if second == node:
                raise ValueError(f"at level {level} both codes are {tree.codes[node]}: give two that differ there")
        else:
            start, stop = tree.group_slice[tree.group[node]]
            others = np.setdiff1d(tree.leaves if leaves_only else np.arange(start, stop), [node])
            second = int(others[log_p[others].argmax()]) if len(others) else -1
        p = np.minimum(np.exp(log_p[[node, second]]), 1.0)
        out.append(Question(level, node, second, float(p[0]), float(p[1]) if second >= 0 else float("nan")))
    return out


def _at_level(tree: Taxonomy, code: str, level: int) -> int:
    """The node of a level that a code is, or lies under."""
    node = int(tree.encode([code])[0])
    column = int(tree.level_column[node, level - 1])
    if column < 0:
        raise ValueError(f"code {code} is of level {tree.level[node]}, above level {level}: give a code of that level")
    return int(tree.level_nodes(level)[column])
