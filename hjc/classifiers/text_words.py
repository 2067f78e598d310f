"""The words of many texts at once: :mod:`hjc.classifiers.words` by operations on arrays of characters.

Nearly all characters of Latin, Greek and Cyrillic texts are spelled one by one, whatever stands beside them: a table
has for each what :func:`hjc.classifiers.words.normalise` makes of it. A text with any other character (combining
marks, Hangul, emoji) is normalised as a whole by that function. Words and their order are those of
``tokens(normalise(text))`` for every text (tested).
"""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hjc.arrays import IntArray, spans
from hjc.classifiers.words import lead, normalise, token_pattern, tokens

Points = npt.NDArray[np.uint32]

#: characters of texts that are laid out in memory together: what fits into the processor's cache
_TOGETHER = 1 << 16
#: so few characters are not worth the tables
_FEW = 1 << 12
#: characters that neither join nor change with their neighbours, but for the combining marks among them
ALONE = ((0, 0x900), (0x1E00, 0x2C00), (0xE000, 0xF900))
_TOP = ALONE[-1][1]
#: "so many characters" of one that is not spelled alone
_WITH_OTHERS = 255
#: kinds of characters in words: may begin one; may stand in one; may end one
_LETTER, _MARK, _SUFFIX = 1, 2, 4
_BREAK, _BLANK = ord("\n"), ord(" ")


class Spelling(NamedTuple):
    """The options of :func:`hjc.classifiers.words.normalise`."""

    form: str = "NFKC"
    casefold: bool = True
    dotless_i: str = "fold"
    tonos: str = "fold"

    def __call__(self, text: str) -> str:
        return normalise(text, **self._asdict())


class Pool(Sequence[str]):
    """D words as their characters, a blank after each; strings only where they are asked for.

    Attributes:
        points: characters. starts: (D + 1,) where each word begins, and the next one would.
    """

    def __init__(self, points: Points, starts: IntArray) -> None:
        self.points, self.starts = points, starts

    @cached_property
    def _strings(self) -> list[str]:
        return _text(self.points).split()

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, i: Any) -> Any:
        return self._strings[i]

    @classmethod
    def of(cls, words: Sequence[str]) -> "Pool":
        """Of words without blanks."""
        starts = np.cumsum([0, *(len(word) + 1 for word in words)])
        return cls(_points("".join(f"{word} " for word in words)), starts)

    def take(self, which: IntArray) -> "Pool":
        """The words of these numbers."""
        begin, end = self.starts[which], self.starts[which + 1]
        return Pool(self.points[spans(begin, end)], np.concatenate([[0], np.cumsum(end - begin)]))


@dataclass(frozen=True, eq=False)
class Words:
    """The words of B texts.

    Attributes:
        known: D different words. flat: (n,) numbers of words, one text after the other. ends: (B + 1,) where texts
            begin in it, and the last one ends.
    """

    known: Sequence[str]
    flat: IntArray
    ends: IntArray

    def first(self, counts: IntArray) -> "Words":
        """So many words of each text, (B,), from its beginning."""
        here = self.flat[spans(self.ends[:-1], self.ends[:-1] + counts)]
        used, flat = np.unique(here, return_inverse=True)
        known = self.known.take(used) if isinstance(self.known, Pool) else [self.known[i] for i in used.tolist()]
        return Words(known, flat, np.concatenate([[0], np.cumsum(counts)]))

    def lists(self) -> list[list[str]]:
        """The words of each text."""
        all_words = [self.known[i] for i in self.flat.tolist()]
        return [all_words[a:b] for a, b in zip(self.ends[:-1].tolist(), self.ends[1:].tolist(), strict=True)]


def words_of(texts: Sequence[str], spelling: Spelling, loops: Any = None) -> tuple[Words, IntArray]:
    """The words of B texts, and (B,) how many of them stand in the first line that is not blank.

    loops: :mod:`hjc.classifiers.loops`, or None.
    """
    upto = np.cumsum([0, *map(len, texts)])
    if upto[-1] < _FEW:
        return _plainly(texts, spelling)
    if loops is not None:
        return _by_loops(texts, spelling, loops)
    number: defaultdict[str, int] = defaultdict(count().__next__)
    flat, ends, leads = [np.zeros(0, np.int64)], [np.zeros(1, np.int64)], [np.zeros(0, np.int64)]
    start = 0
    while start < len(texts):
        stop = max(start + 1, int(np.searchsorted(upto, upto[start] + _TOGETHER, "right")) - 1)
        points, breaks, lines = _spelled(texts[start:stop], spelling)
        words, begins = _cut(points)
        flat.append(np.fromiter(map(number.__getitem__, words), np.int64, len(words)))
        own = np.searchsorted(begins, breaks)
        ends.append(ends[-1][-1] + own)
        leads.append(np.searchsorted(begins, lines) - np.concatenate([[0], own[:-1]]))
        start = stop
    return Words(list(number), np.concatenate(flat), np.concatenate(ends)), np.concatenate(leads)


def _plainly(texts: Sequence[str], spelling: Spelling) -> tuple[Words, IntArray]:
    """:func:`words_of` text by text."""
    number: defaultdict[str, int] = defaultdict(count().__next__)
    found = [tokens(spelling(text)) for text in texts]
    flat = np.array([number[word] for words in found for word in words], np.int64)
    leads = np.array([len(tokens(spelling(lead(text)))) for text in texts], np.int64)
    return Words(list(number), flat, np.cumsum([0, *map(len, found)])), leads


def _by_loops(texts: Sequence[str], spelling: Spelling, loops: Any) -> tuple[Words, IntArray]:
    """:func:`words_of` character by character, compiled."""
    table = _table(spelling)
    given, breaks = _laid_out(texts)
    blank = np.array([*map(_blank_lines, texts)], np.int64)
    spelled = loops.with_others(given, breaks, table.size)
    rare, kinds = np.zeros(0, np.uint32), np.zeros(0, np.uint8)
    if spelled.any():
        own = [spelling(text) if whole else text for text, whole in zip(texts, spelled.tolist(), strict=True)]
        given, breaks = _laid_out(own)
        rare = np.unique(given[given > 0xFFFF])
        kinds = np.array([_kind(chr(point)) for point in rare.tolist()], np.uint8)
    points, starts, flat, ends, leads = loops.words(
        given, breaks, spelled, blank, table.steps, table.size, table.line, table.further, _kinds(), rare, kinds
    )
    return Words(Pool(points, starts), flat, ends), leads


def _laid_out(texts: Sequence[str]) -> tuple[Points, IntArray]:
    """Characters of all texts, a line break before the first and after each, and where that after each stands."""
    ends: IntArray = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
    return _points("\n".join(["", *texts, ""])), ends


def _blank_lines(text: str) -> int:
    """Lines of nothing but blanks at the beginning."""
    return text[: len(text) - len(text.lstrip())].count("\n") if text[:1].isspace() else 0


def _points(text: str) -> Points:
    # surrogatepass: a text may hold lone surrogates
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _spelled(texts: Sequence[str], spelling: Spelling) -> tuple[Points, IntArray, IntArray]:
    """Characters of all texts, normalised, a line break before the first and after each; where the break after each
    text stands; where the first line of each that is not blank ends."""
    given, breaks = _laid_out(texts)
    table = _table(spelling)
    given = np.minimum(given, _TOP)
    size = table.size[given]
    whole: list[int] = []
    if size.max() == _WITH_OTHERS:
        whole = np.unique(np.searchsorted(breaks, np.flatnonzero(size == _WITH_OTHERS))).tolist()
        for i in whole:
            size[breaks[i] - len(texts[i]) : breaks[i]] = 0
    points = table.first[given]
    if (size != 1).any():
        points, breaks = table.longer(points, given, size), np.cumsum(size, dtype=np.int64)[breaks] - 1
    if whole:
        own = [_points(spelling(texts[i])) for i in whole]
        parts = np.split(points, breaks[whole])
        points = np.concatenate([parts[0], *(x for pair in zip(own, parts[1:], strict=True) for x in pair)])
        lengths = np.zeros(len(texts), np.int64)
        lengths[whole] = [len(found) for found in own]
        breaks = breaks + np.cumsum(lengths)
    lines = np.flatnonzero(points == _BREAK)
    begin = np.concatenate([[1], breaks[:-1] + 1])
    blank = np.array([*map(_blank_lines, texts)], np.int64)
    return points, breaks, lines[np.searchsorted(lines, begin) + blank]


def _cut(points: Points) -> tuple[list[str], IntArray]:
    """The words of characters that begin and end with a line break, and where each begins."""
    kind = _kinds()[np.minimum(points, 0x10000)]
    for point in np.unique(points[points > 0xFFFF]).tolist():
        kind[points == point] = _kind(chr(point))
    inside = (kind & (_LETTER | _MARK)) > 0
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    starts, stops = edges[::2], edges[1::2]
    marks = np.flatnonzero(kind[starts] == _MARK)
    if len(marks):
        starts = starts.copy()
        while len(marks):
            inside[starts[marks]] = False
            starts[marks] += 1
            marks = marks[kind[starts[marks]] == _MARK]
        left = starts < stops
        starts, stops = starts[left], stops[left]
    ends = np.flatnonzero(kind[stops] == _SUFFIX)
    if len(ends):
        stops = stops.copy()
        for _ in range(2):
            inside[stops[ends]] = True
            stops[ends] += 1
            ends = ends[kind[stops[ends]] == _SUFFIX]
    shown = np.where(inside, points, np.uint32(_BLANK))
    touching = starts[1:][starts[1:] == stops[:-1]]  # a+b: two words without anything between them
    return _text(np.insert(shown, touching, _BLANK) if len(touching) else shown).split(), starts


def _text(points: Points) -> str:
    return points.astype("<u4", copy=False).tobytes().decode("utf-32-le", "surrogatepass")


def _kind(character: str) -> int:
    if character in "+#":
        return _SUFFIX
    if character != "_" and character.isalnum():
        return _LETTER
    return _MARK if token_pattern().fullmatch(f"a{character}") else 0


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    """(0x10001,) kinds of the characters below 0x10000."""
    return np.array([*map(_kind, map(chr, range(0x10000))), 0], np.uint8)


class _Table(NamedTuple):
    """What characters become that are spelled alone: how many characters, the first one, and further ones (n, 3), of
    which ``line`` says where. ``steps``: the first one and, from bit 24 on, its kind, 8 where they are not one."""

    size: npt.NDArray[np.uint8]
    first: Points
    line: npt.NDArray[np.uint16]
    further: Points
    steps: Points

    def longer(self, points: Points, given: Points, size: Any) -> Points:
        """``points`` where some of the given characters become several, or none."""
        out = np.repeat(points, size)
        several = np.flatnonzero((size > 1) & (size < _WITH_OTHERS))
        at = (np.cumsum(size, dtype=np.int64) - size)[several]
        size, line = size[several], self.line[given[several]]
        for k in range(1, int(size.max(initial=1))):
            some = size > k
            out[at[some] + k] = self.further[line[some], k - 1]
        return out


@cache
def _table(spelling: Spelling) -> _Table:
    size = np.full(_TOP + 1, _WITH_OTHERS, np.uint8)
    first = np.zeros(_TOP + 1, np.uint32)
    line = np.zeros(_TOP + 1, np.uint16)
    further: list[list[int]] = []
    for low, high in ALONE:
        for point in range(low, high):
            found = spelling(chr(point))
            if unicodedata.category(chr(point))[0] == "M" or (found and unicodedata.combining(found[0])):
                continue
            size[point], first[point] = len(found), ord(found[0]) if found else 0
            if len(found) > 1:
                line[point] = len(further)
                further.append([ord(c) for c in found[1:]])
    width = max(map(len, further), default=0)
    rest = np.array([f + [0] * (width - len(f)) for f in further], np.uint32)
    kinds = np.where(size == 1, _kinds()[first], 8).astype(np.uint32)
    return _Table(size, first, line, rest.reshape(len(further), width), first | kinds << np.uint32(24))
