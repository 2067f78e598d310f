"""Known n-grams of many sequences at once: a trie kept as hash tables of integers, looked up array by array.

scikit-learn's CountVectorizer cuts and looks up one n-gram after the other in Python, which is most of the time that a
linear model needs to predict. Here sequences (a token's characters, a text's tokens) are runs of symbol numbers in one
array, and all n-grams of one length are looked up by one call: the n-gram of length k at a place is known from the
number of its first k - 1 symbols (a node of the trie) and its last symbol. That pair is one exact integer, so nothing
is hashed away. The columns and counts are those of CountVectorizer with the same vocabulary (tested).
"""

from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from hjc.arrays import IntArray

#: below this many possible pairs (node, symbol) a depth of the trie is a plain array instead of a hash table
_PLAIN_SIZE = 1 << 22


class _Depth:
    """Pairs (node above, symbol) -> node of this depth, and node -> column (-1: no term ends here)."""

    def __init__(self, keys: IntArray, columns: IntArray, size: int) -> None:
        """keys: sorted, unique, below ``size``; columns: aligned with them."""
        self.columns = columns
        self._plain: npt.NDArray[np.int32] | None = None
        if size <= _PLAIN_SIZE:
            self._plain = np.full(size, -1, dtype=np.int32)
            self._plain[keys] = np.arange(len(keys), dtype=np.int32)
        else:
            self._index = pd.Index(keys)

    def find(self, keys: IntArray) -> npt.NDArray[Any]:
        """(m,) pairs -> (m,) nodes, -1 where unknown."""
        return self._plain[keys] if self._plain is not None else self._index.get_indexer(pd.Index(keys))


class NgramTable:
    """A vocabulary of n-grams, as columns; built once, then only read.

    Args:
        symbols: (t,) symbol numbers of all terms, one term after the other; from 0 to ``alphabet`` - 1.
        lengths: (T,) number of symbols of each term, from 1. Term i is column i.
        alphabet: number of symbols.
    """

    def __init__(self, symbols: IntArray, lengths: IntArray, alphabet: int) -> None:
        self.alphabet = max(1, alphabet)
        self.num_columns = len(lengths)
        starts = np.cumsum(lengths) - lengths
        at_depth: list[_Depth] = []
        node = np.zeros(len(lengths), dtype=np.int64)
        width = 1  # nodes at the depth above
        for depth in range(1, int(lengths.max(initial=0)) + 1):
            terms = np.flatnonzero(lengths >= depth)
            keys = node[terms] * self.alphabet + symbols[starts[terms] + depth - 1]
            unique, place = np.unique(keys, return_inverse=True)
            node[terms] = place
            columns = np.full(len(unique), -1, dtype=np.int64)
            ends = lengths[terms] == depth
            columns[place[ends]] = terms[ends]
            at_depth.append(_Depth(unique, columns, width * self.alphabet))
            width = len(unique)
        self._depths = at_depth

    def count(
        self, symbols: IntArray, lengths: IntArray, low: int, high: int, *, whole_if_short: bool = False
    ) -> sparse.csr_matrix:
        """(S, T) float32 CSR: how often each sequence has each known n-gram of ``low`` to ``high`` symbols.

        symbols: (s,) numbers, -1 for one that no term has; lengths: (S,) of each sequence. whole_if_short: a sequence
        shorter than ``low`` counts as one n-gram of all its symbols (scikit-learn's char_wb), else it has none.
        """
        owner = np.repeat(np.arange(len(lengths)), lengths)
        stop = np.repeat(np.cumsum(lengths), lengths)
        place = np.flatnonzero(symbols >= 0)  # where an n-gram may begin
        node = np.zeros(len(place), dtype=np.int64)
        owners, columns = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        starts = np.cumsum(lengths) - lengths
        for depth, table in enumerate(self._depths[:high], start=1):
            last = place + depth - 1
            inside = last < stop[place]
            if not inside.all():
                place, node, last = place[inside], node[inside], last[inside]
            symbol = symbols[last]
            if depth > 1 and len(symbol) and symbol.min() < 0:
                known = symbol >= 0
                place, node, symbol = place[known], node[known], symbol[known]
            node = table.find(node * self.alphabet + symbol)
            known = node >= 0
            if not known.all():
                place, node = place[known], node[known]
            if depth < low and not whole_if_short:
                continue
            column = table.columns[node]
            wanted = column >= 0
            if depth < low:  # the whole sequence, from its first symbol to its last
                wanted &= (lengths[owner[place]] == depth) & (starts[owner[place]] == place)
            owners.append(owner[place[wanted]])
            columns.append(column[wanted])
        cells = np.concatenate(owners), np.concatenate(columns)
        ones = np.ones(len(cells[0]), dtype=np.float32)
        return sparse.csr_matrix((ones, cells), shape=(len(lengths), self.num_columns))


class CharNgrams:
    """Counts of the character n-grams of tokens, a blank for each edge: CountVectorizer(analyzer="char_wb")."""

    def __init__(self, terms: Sequence[str], low: int, high: int) -> None:
        self._low, self._high = low, high
        points = _code_points("".join(terms))
        known = np.unique(points)
        self._number = np.full(int(known.max(initial=0)) + 2, -1, dtype=np.int64)  # the last: any higher code point
        self._number[known] = np.arange(len(known))
        self._table = NgramTable(self._number[points], _lengths(terms), len(known))

    def __call__(self, tokens: Sequence[str]) -> sparse.csr_matrix:
        """(tokens, columns) float32 CSR; tokens are not empty."""
        points = _code_points(" " + "  ".join(tokens) + " " if tokens else "")
        symbols = self._number[np.minimum(points, len(self._number) - 1)]
        return self._table.count(symbols, _lengths(tokens) + 2, self._low, self._high, whole_if_short=True)


class WordNgrams:
    """Counts of the word n-grams of texts that are lists of tokens: CountVectorizer(analyzer="word")."""

    def __init__(self, terms: Sequence[str], low: int, high: int) -> None:
        self._low, self._high = low, high
        self._number: dict[str, int] = {}
        parts = [term.split(" ") for term in terms]  # tokens hold no blanks
        flat = [self._number.setdefault(token, len(self._number)) for part in parts for token in part]
        self._table = NgramTable(np.array(flat, dtype=np.int64), _lengths(parts), len(self._number))

    def __call__(self, texts: Sequence[Sequence[str]]) -> sparse.csr_matrix:
        """(texts, columns) float32 CSR."""
        lengths = _lengths(texts)
        found = map(self._number.get, chain.from_iterable(texts), repeat(-1))
        symbols = np.fromiter(found, dtype=np.int64, count=int(lengths.sum()))
        return self._table.count(symbols, lengths, self._low, self._high)


def _lengths(parts: Sequence[Any]) -> IntArray:
    return np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))


def _code_points(text: str) -> IntArray:
    # surrogatepass: a text may hold lone surrogates
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)
