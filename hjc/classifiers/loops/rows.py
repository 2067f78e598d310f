"""Compiled: words to n-grams, n-grams to weighed rows, rows to scores."""

from typing import Any

import numpy as np

from hjc.classifiers.loops.compiling import GOLDEN, compiled, longer

#: the place of the only bit of a 64-bit number that is set (Leiserson, Prokop & Randall 1998)
_BITS = np.zeros(64, np.uint8)
_SEQUENCE = np.uint64(0x03F79D71B4CB0A89)
for _bit in range(64):
    _BITS[((int(_SEQUENCE) << _bit) & (2**64 - 1)) >> 58] = _bit


@compiled
def trie(keys: Any) -> tuple[Any, Any]:
    """A hash table of pairs (node above, symbol), at most half full: pairs, -1 where free, and their nodes.

    keys: (m,) pairs as one number each; that at place i leads to node i + 1. Node 0 is the root.
    """
    bits = 4
    while (1 << bits) < 2 * len(keys):
        bits += 1
    key, node = np.full(1 << bits, -1, np.int64), np.zeros(1 << bits, np.int32)
    mask, shift = (1 << bits) - 1, np.uint64(64 - bits)
    for i in range(len(keys)):
        place = np.int64((np.uint64(keys[i]) * GOLDEN) >> shift)
        while key[place] >= 0:
            place = (place + 1) & mask
        key[place], node[place] = keys[i], i + 1
    return key, node


@compiled
def ngrams(
    key: Any, node: Any, column: Any, alphabet: int, symbols: Any, starts: Any, stops: Any, low: int, high: int,
    whole: bool,
) -> tuple[Any, Any]:  # fmt: skip
    """The columns of the known n-grams of S sequences, each as often as it stands there, and (S + 1,) where those of
    each begin.

    key, node: of :func:`trie`; column: of each node, -1 where no term ends. symbols: of all sequences, -1 for unknown
    ones; starts, stops: (S,) where each begins and ends. whole: one shorter than ``low`` counts as one n-gram.
    """
    mask, bits = len(key) - 1, 0
    while (1 << bits) < len(key):
        bits += 1
    shift = np.uint64(64 - bits)
    out, begin, found = np.empty(max(64, 2 * len(symbols)), np.int32), np.zeros(len(starts) + 1, np.int64), 0
    for sequence in range(len(starts)):
        start, stop = starts[sequence], stops[sequence]
        if found + (stop - start) * high > len(out):
            out = longer(out, 2 * (found + (stop - start) * high))
        for i in range(start, stop):
            at = np.int64(0)
            for j in range(i, min(i + high, stop)):
                if symbols[j] < 0:
                    break
                wanted = at * alphabet + symbols[j]
                place = np.int64((np.uint64(wanted) * GOLDEN) >> shift)
                while key[place] >= 0 and key[place] != wanted:
                    place = (place + 1) & mask
                if key[place] < 0:
                    break
                at = np.int64(node[place])
                size = j - i + 1
                if (size >= low or (whole and size == stop - start)) and column[at] >= 0:
                    out[found] = column[at]
                    found += 1
        begin[sequence + 1] = found
    return begin, out[:found]


@compiled
def scale(indptr: Any, data: Any, length: float) -> None:
    """Each row with this Euclidean length, in place; empty rows stay empty."""
    for row in range(len(indptr) - 1):
        squares = 0.0
        for k in range(indptr[row], indptr[row + 1]):
            squares += np.float64(data[k]) * np.float64(data[k])
        if squares > 0:
            factor = np.float32(length / np.sqrt(squares))
            for k in range(indptr[row], indptr[row + 1]):
                data[k] *= factor


@compiled
def weighed(
    flat: Any, ends: Any, begin: Any, columns: Any, counted: Any, idf: Any, length: float
) -> tuple[Any, Any, Any, int]:
    """Rows (indptr, indices, data) of B texts: their n-grams counted, weighed, each row of this length; and the largest
    count. Where that is none of ``counted``, nothing is right.

    flat, ends: numbers of words, and where those of each text begin, (B + 1,). begin, columns: the n-grams of each
    word. counted: (m,) what a count becomes; idf: (F,).
    """
    rows, total = len(ends) - 1, 0
    for k in range(len(flat)):
        total += begin[flat[k] + 1] - begin[flat[k]]
    indptr, indices = np.zeros(rows + 1, np.int64), np.empty(min(total, rows * len(idf)), np.int32)
    data = np.empty(len(indices), np.float32)
    count, bits = np.zeros(len(idf), np.int32), np.zeros((len(idf) >> 6) + 1, np.uint64)
    one, six, last, n, most = np.uint64(1), np.uint32(6), np.uint32(63), 0, 0
    for row in range(rows):
        for k in range(ends[row], ends[row + 1]):
            for j in range(begin[flat[k]], begin[flat[k] + 1]):
                c = np.uint32(columns[j])
                bits[c >> six] |= one << np.uint64(c & last)
                count[c] += 1
        for b in range(len(bits)):
            left = bits[b]
            bits[b] = 0
            while left:
                lowest = left & (~left + one)
                left ^= lowest
                column = (b << 6) + np.int64(_BITS[(lowest * _SEQUENCE) >> np.uint64(58)])
                times = count[column]
                count[column] = 0
                if times >= len(counted):
                    most = max(most, times)
                    times = 0
                indices[n], data[n] = column, counted[times] * idf[column]
                n += 1
        indptr[row + 1] = n
    scale(indptr, data, length)
    return indptr, indices[:n], data[:n], most


@compiled
def put(place: Any, indices: Any, data: Any, indptr: Any, more: Any, values: Any, offset: int) -> None:
    """Rows (indptr, more, values) at ``place`` (B,) of each row, which goes on behind them; columns from ``offset``."""
    for row in range(len(place)):
        n = place[row]
        for k in range(indptr[row], indptr[row + 1]):
            indices[n], data[n] = more[k] + offset, values[k]
            n += 1
        place[row] = n


@compiled
def product(
    indptr: Any, indices: Any, data: Any, line: Any, starts: Any, estimators: Any, values: Any, dense: Any, out: Any
) -> None:
    """Adds to ``out`` (B, E) of zeros the scores of rows: those of light features one after the other, then the sum of
    those of heavy ones.

    line: (F,) of each feature its line in ``dense``, -1: its weights are ``values[starts[f] : starts[f + 1]]``.
    """
    number = out.shape[1]
    total = np.empty(number, np.float32)
    lines, x = np.empty(64, np.int64), np.empty(64, np.float32)
    for row in range(len(indptr) - 1):
        begin, end = indptr[row], indptr[row + 1]
        if end - begin > len(lines):
            lines, x = np.empty(2 * (end - begin), np.int64), np.empty(2 * (end - begin), np.float32)
        heavy = 0
        for k in range(begin, end):
            value, feature = data[k], indices[k]
            if line[feature] >= 0:
                lines[heavy], x[heavy] = line[feature], value
                heavy += 1
            else:
                for j in range(starts[feature], starts[feature + 1]):
                    out[row, estimators[j]] += value * values[j]
        total[:] = 0
        k = 0
        while k + 4 <= heavy:  # four at once are one pass over the sums, in the same order
            a, b, c, d = lines[k], lines[k + 1], lines[k + 2], lines[k + 3]
            p, q, r, s = x[k], x[k + 1], x[k + 2], x[k + 3]
            for j in range(number):
                total[j] = (((total[j] + p * dense[a, j]) + q * dense[b, j]) + r * dense[c, j]) + s * dense[d, j]
            k += 4
        while k < heavy:
            a, p = lines[k], x[k]
            for j in range(number):
                total[j] += p * dense[a, j]
            k += 1
        for j in range(number):
            out[row, j] += total[j]
