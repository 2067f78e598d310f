"""Compiled: characters to words, and words to numbers."""

from typing import Any

import numpy as np

from hjc.classifiers.loops.compiling import GOLDEN, compiled, longer

#: kinds of characters in words, and characters: as in :mod:`hjc.classifiers.text_words`
_LETTER, _IN_WORD, _SUFFIX = 1, 3, 4
_BREAK, _BLANK, _WITH_OTHERS = 10, 32, 255
#: of ``steps``: the bits of a character, where its kind begins, and the kind of one that becomes several or none
_POINT, _KIND, _SEVERAL = np.uint32(0xFFFFFF), np.uint32(24), 8


@compiled
def with_others(given: Any, breaks: Any, size: Any) -> Any:
    """(B,) whether a text has a character that is not spelled alone.

    given: (n,) characters of B texts, a line break before the first and after each; breaks: (B,) where that after each
    stands; size: (characters,) what :class:`hjc.classifiers.text_words` has for each, the last one for all above.
    """
    out, top, start = np.zeros(len(breaks), np.bool_), len(size) - 1, 1
    for text in range(len(breaks)):
        for i in range(start, breaks[text]):
            if given[i] >= top or size[given[i]] == _WITH_OTHERS:
                out[text] = True
                break
        start = breaks[text] + 1
    return out


@compiled
def _find(
    table: Any, hashes: Any, known: Any, starts: Any, wanted: Any, pool: Any, start: int, size: int
) -> Any:  # fmt: skip
    """The number of the word ``pool[start : start + size]``, whose hash is wanted, among known ones (known, starts); or
    -1 - the place of the table where it belongs."""
    mask = len(table) - 1
    place = np.int64(wanted & np.uint64(mask))
    while True:
        word = table[place]
        if word < 0:
            return -1 - place
        other = starts[word]
        if hashes[word] == wanted and starts[word + 1] - other == size + 1:
            i = 0
            while i < size and known[other + i] == pool[start + i]:
                i += 1
            if i == size:
                return np.int64(word)
        place = (place + 1) & mask


@compiled
def _hash(pool: Any, start: int, stop: int) -> Any:
    value = np.uint64(0)
    for i in range(start, stop):
        value = (value ^ np.uint64(pool[i])) * GOLDEN
    return value ^ (value >> np.uint64(32))


@compiled
def _fill(table: Any, hashes: Any, known: int) -> None:
    """Puts words into a table of free places."""
    for word in range(known):
        place = np.int64(hashes[word] & np.uint64(len(table) - 1))
        while table[place] >= 0:
            place = (place + 1) & (len(table) - 1)
        table[place] = word


@compiled
def table_of(pool: Any, starts: Any) -> tuple[Any, Any]:
    """Hashes of different words, and a table by which :func:`numbers` finds them.

    pool: characters of W words, a blank after each; starts: (W + 1,) where each begins.
    """
    known, places = len(starts) - 1, 16
    while places < 2 * known:
        places *= 2
    hashes, table = np.empty(known, np.uint64), np.full(places, -1, np.int32)
    for word in range(known):
        hashes[word] = _hash(pool, starts[word], starts[word + 1] - 1)
    _fill(table, hashes, known)
    return hashes, table


@compiled
def numbers(pool: Any, starts: Any, known: Any, known_starts: Any, hashes: Any, table: Any) -> Any:
    """(W,) numbers of words (pool, starts) among known ones, -1 for others."""
    out = np.empty(len(starts) - 1, np.int64)
    for word in range(len(out)):
        start, size = starts[word], starts[word + 1] - 1 - starts[word]
        wanted = _hash(pool, start, start + size)
        out[word] = max(-1, _find(table, hashes, known, known_starts, wanted, pool, start, size))
    return out


@compiled
def words(
    given: Any, breaks: Any, spelled: Any, blank: Any, steps: Any, size: Any, line: Any, further: Any, kinds: Any,
    rare: Any, rare_kinds: Any,
) -> tuple[Any, Any, Any, Any, Any]:  # fmt: skip
    """The different words of B texts, one blank after each, and where each begins; the numbers of the words of all
    texts; where those of each text begin, and the last one's end; how many stand in the first line that is not blank.

    given, breaks: as above. spelled: (B,) texts whose characters are what they become. blank: (B,) lines of nothing but
    blanks at the beginning. steps: of each character what it becomes, and its kind from bit 24 on; ``_SEVERAL``: as
    many as ``size`` says, the first is that of steps, others are in ``further[line]``. kinds: (65,537,); rare,
    rare_kinds: characters above these, ascending.
    """
    pool, table = np.empty(1 << 14, np.uint32), np.full(1 << 12, -1, np.int32)
    starts, hashes = np.zeros(1 << 10, np.int64), np.empty(1 << 10, np.uint64)
    flat = np.empty(max(64, len(given) // 6), np.int64)
    ends, leads = np.zeros(len(breaks) + 1, np.int64), np.zeros(len(breaks), np.int64)
    known, found, at, most = 0, 0, 1, further.shape[1] + 1
    for text in range(len(breaks)):
        stop = breaks[text]
        points = (stop - at) * most + 2  # at most so many characters, and fewer words
        if starts[known] + 2 * points > len(pool):
            pool = longer(pool, 2 * (starts[known] + 2 * points))
        if known + points > len(hashes):
            starts, hashes = longer(starts, 2 * (known + points) + 1), longer(hashes, 2 * (known + points))
        if found + points > len(flat):
            flat = longer(flat, 2 * (found + points))
        if 2 * (known + points) > len(table):
            places = len(table)
            while places < 4 * (known + points):
                places *= 2
            table = np.full(places, -1, np.int32)
            _fill(table, hashes, known)
        known, found, leads[text] = _words_of_one(
            given, at, stop, spelled[text], blank[text], steps, size, line, further, kinds, rare, rare_kinds,
            pool, starts, hashes, table, flat, known, found,
        )  # fmt: skip
        ends[text + 1] = found
        at = stop + 1
    return pool[: starts[known]], starts[: known + 1], flat[:found], ends, leads


@compiled
def _words_of_one(
    given: Any, at: int, stop: int, spelled: bool, blank: int, steps: Any, size: Any, line: Any, further: Any,
    kinds: Any, rare: Any, rare_kinds: Any, pool: Any, starts: Any, hashes: Any, table: Any, flat: Any, known: int,
    found: int,
) -> tuple[int, int, int]:  # fmt: skip
    """The words of ``given[at:stop]`` and of the break after it: how many are known, found, and in the first line."""
    begin, lead, inside, suffixes, value = found, -1, False, 0, np.uint64(0)
    start = starts[known]
    fill = start
    for i in range(at, stop + 1):
        point = given[i]
        times: Any = 1
        k = 0
        if spelled or i == stop:
            p = point
            kind = kinds[p] if p <= 0xFFFF else rare_kinds[np.searchsorted(rare, p)]
        else:
            step = steps[point]
            p, kind = step & _POINT, np.uint8(step >> _KIND)
            if kind == _SEVERAL:
                times, kind = np.int64(size[point]), kinds[p]
        while k < times:
            if k > 0:
                p = further[line[point], k - 1]
                kind = kinds[p]
            k += 1
            if inside:
                if (kind & _IN_WORD and suffixes == 0) or (kind == _SUFFIX and suffixes < 2):
                    suffixes += kind >> 2
                    pool[fill] = p
                    fill += 1
                    value = (value ^ np.uint64(p)) * GOLDEN
                    continue
                inside = False
                value ^= value >> np.uint64(32)
                word = _find(table, hashes, pool, starts, value, pool, start, fill - start)
                if word < 0:
                    table[-1 - word] = known
                    word = known
                    hashes[word] = value
                    pool[fill] = _BLANK
                    known += 1
                    start = fill + 1
                    starts[known] = start
                fill = start
                flat[found] = word
                found += 1
            if kind == _LETTER:
                inside, suffixes = True, 0
                pool[fill] = p
                fill += 1
                value = np.uint64(p) * GOLDEN
            elif p == _BREAK:
                if blank == 0 and lead < 0:
                    lead = found - begin
                blank -= 1
    return known, found, lead if lead >= 0 else found - begin
