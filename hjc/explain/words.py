"""Words of a text with their places in it, so that a contribution can be shown where it stands."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from hjc.arrays import IntArray
from hjc.classifiers.words import token_pattern

_CHUNK = re.compile(r"\S+")


class Word(NamedTuple):
    """A token and the place ``text[start:end]`` it comes from."""

    token: str
    start: int
    end: int


def raw_words(text: str, *, between: bool = False) -> list[Word]:
    """The words of a text as they stand (letters, combining marks, digits); with ``between`` also the runs of
    punctuation between them, so that every character that is no blank belongs to one."""
    found: list[Word] = []
    for chunk in _CHUNK.finditer(text):
        at, end = chunk.span()
        for match in token_pattern().finditer(text, *chunk.span()):
            start, stop = match.span()
            if between and start > at:
                found.append(Word(text[at:start], at, start))
            found.append(Word(match.group(), start, stop))
            at = stop
        if between and at < end:
            found.append(Word(text[at:end], at, end))
    return found


def located_tokens(text: str, tokens: Callable[[str], list[str]]) -> list[Word]:
    """Tokens of a text that are cut from a normalised form of it, with their places in the text as it stands.

    White space is a border in both forms. Within a piece between blanks tokens are found one by one; where normalising
    joins or parts letters (soft hyphens, ligatures) each token's place is the whole piece.
    """
    out: list[Word] = []
    for chunk in _CHUNK.finditer(text):
        whole = tokens(chunk.group())
        apart = [(tokens(m.group()), m.span()) for m in token_pattern().finditer(text, *chunk.span())]
        if [t for some, _ in apart for t in some] != whole:
            apart = [(whole, chunk.span())]
        out += [Word(token, *span) for some, span in apart for token in some]
    return out


def to_words(words: Sequence[Word], starts: Sequence[int], ends: Sequence[int]) -> IntArray:
    """(T,) for each span [start, end) the number of the word that it overlaps most; a span of blanks goes to the next.

    -1 where there are no words.
    """
    if not words:
        return np.full(len(starts), -1)
    first, last = (np.array([getattr(word, end) for word in words], dtype=np.int64) for end in ("start", "end"))
    shared = np.minimum.outer(np.asarray(ends, dtype=np.int64), last) - np.maximum.outer(starts, first)
    following = np.minimum(np.searchsorted(first, starts), len(words) - 1)
    return np.where(shared.max(axis=1) > 0, shared.argmax(axis=1), following)
