"""Known n-grams of many sequences at once: a trie kept as hash tables of integers, looked up array by array.

scikit-learn's CountVectorizer cuts and looks up one n-gram after the other in Python, which is most of the time that a
linear model needs to predict. Here sequences (a token's characters, a text's tokens) are runs of symbol numbers in one
array, and all n-grams of one length are looked up by one call: the n-gram of length k at a place is known from the
number of its first k - 1 symbols (a node of the trie) and its last symbol. That pair is one exact integer, so nothing
is hashed away. The columns and counts are those of CountVectorizer with the same vocabulary (tested).
"""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import IntArray
from hjc.classifiers.sparse_rows import SparseRows
from hjc.classifiers.text_words import Pool, Words

#: below this many possible pairs (node, symbol) a depth of the trie is a plain array instead of a hash table
_PLAIN_SIZE = 1 << 22
#: 2^64 divided by the golden ratio
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class _Depth:
    """Pairs (node above, symbol) -> node of this depth, and node -> column (-1: no term ends here).

    A node is the place of its pair among the sorted pairs. Pairs that are too many for a plain array lie in a hash
    table with free places (open addressing): all lookups are made at once, those that hit another pair try the next
    place together.
    """

    def __init__(self, keys: IntArray, columns: IntArray, size: int) -> None:
        """keys: sorted, unique, below ``size``; columns: aligned with them."""
        self.keys, self.columns = keys, columns
        self._plain: npt.NDArray[np.int32] | None = None
        if size <= _PLAIN_SIZE:
            self._plain = np.full(size, -1, dtype=np.int32)
            self._plain[keys] = np.arange(len(keys), dtype=np.int32)
        else:
            self._hash(keys)

    def _hash(self, keys: IntArray) -> None:
        bits = max(4, int(2 * len(keys)).bit_length())  # at most half of the places are taken
        self._shift, self._last = np.uint64(64 - bits), (1 << bits) - 1
        self._key, self._node = np.full(1 << bits, -1, dtype=np.int64), np.full(1 << bits, -1, dtype=np.int32)
        place, todo = self._place(keys), np.arange(len(keys))
        while len(todo):
            at = place[todo]
            free = self._key[at] < 0
            self._key[at[free]] = keys[todo[free]]  # of several the last one stays
            stored = self._key[at] == keys[todo]
            self._node[at[stored]] = todo[stored]
            todo = todo[~stored]
            place[todo] = (place[todo] + 1) & self._last

    def _place(self, keys: IntArray) -> IntArray:
        """Where a pair is looked for first: the upper bits of a product (Knuth, vol. 3, 6.4)."""
        found: IntArray = ((keys.astype(np.uint64) * _GOLDEN) >> self._shift).astype(np.int64)
        return found

    def find(self, keys: IntArray) -> npt.NDArray[Any]:
        """(m,) pairs -> (m,) nodes, -1 where unknown."""
        if self._plain is not None:
            return self._plain[keys]
        place = self._place(keys)
        there = self._key[place]
        node = np.where(there == keys, self._node[place], -1)
        todo = np.flatnonzero((there != keys) & (there >= 0))
        while len(todo):
            place[todo] = (place[todo] + 1) & self._last
            there = self._key[place[todo]]
            node[todo] = np.where(there == keys[todo], self._node[place[todo]], -1)
            todo = todo[(there != keys[todo]) & (there >= 0)]
        return node


class NgramTable:
    """A vocabulary of n-grams, as columns; built once, then only read.

    Args:
        alphabet: number of symbols, which are numbers from 0.
        num_columns: T, of the terms.
        depths: of each length from 1 the sorted keys of its nodes (node above * alphabet + symbol), and the column of
            each, -1 where no term ends.
    """

    def __init__(self, alphabet: int, num_columns: int, depths: Sequence[tuple[IntArray, IntArray]]) -> None:
        self.alphabet, self.num_columns = max(1, alphabet), num_columns
        widths = [1, *(len(keys) for keys, _ in depths)]
        self._depths = [_Depth(*one, width * self.alphabet) for one, width in zip(depths, widths, strict=False)]

    @classmethod
    def of_terms(cls, symbols: IntArray, lengths: IntArray, alphabet: int) -> "NgramTable":
        """symbols: (t,) of all terms, one term after the other; lengths: (T,) of each, from 1. Term i is column i."""
        alphabet = max(1, alphabet)
        starts = np.cumsum(lengths) - lengths
        depths = []
        node = np.zeros(len(lengths), dtype=np.int64)
        for depth in range(1, int(lengths.max(initial=0)) + 1):
            terms = np.flatnonzero(lengths >= depth)
            keys = node[terms] * alphabet + symbols[starts[terms] + depth - 1]
            unique, place = np.unique(keys, return_inverse=True)
            node[terms] = place
            columns = np.full(len(unique), -1, dtype=np.int64)
            ends = lengths[terms] == depth
            columns[place[ends]] = terms[ends]
            depths.append((unique, columns))
        return cls(alphabet, len(lengths), depths)

    @property
    def depths(self) -> list[tuple[IntArray, IntArray]]:
        """Keys and columns of each length, from which the same table is made."""
        return [(one.keys, one.columns) for one in self._depths]

    def terms(self, symbols: Sequence[str], joiner: str) -> list[str]:
        """The terms in column order, their symbols written so and joined."""
        found, above = [""] * self.num_columns, [""]
        for depth, (keys, columns) in enumerate(self.depths):
            between = joiner if depth else ""
            pairs = zip((keys // self.alphabet).tolist(), (keys % self.alphabet).tolist(), strict=True)
            above = [above[node] + between + symbols[symbol] for node, symbol in pairs]
            for node in np.flatnonzero(columns >= 0).tolist():
                found[columns[node]] = above[node]
        return found

    def count(
        self, symbols: IntArray, lengths: IntArray, low: int, high: int, *, whole_if_short: bool = False
    ) -> SparseRows:
        """(S, T): how often each sequence has each known n-gram of ``low`` to ``high`` symbols.

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
        return SparseRows.counted(np.concatenate(owners), np.concatenate(columns), len(lengths), self.num_columns)


class Trie:
    """The n-grams of a table for compiled loops: one hash table for all lengths, whose nodes are numbered through."""

    def __init__(self, table: NgramTable, loops: Any) -> None:
        pairs, columns, above, nodes = [np.zeros(0, np.int64)], [np.full(1, -1, np.int64)], 0, 1
        for keys, ends in table.depths:
            pairs.append(keys + above * table.alphabet)
            columns.append(ends)
            above, nodes = nodes, nodes + len(keys)
        self._column, self._alphabet = np.concatenate(columns).astype(np.int32), table.alphabet
        self._key, self._node = loops.trie(np.concatenate(pairs))
        self._loops = loops

    def __call__(
        self, symbols: IntArray, starts: IntArray, stops: IntArray, low: int, high: int, whole: bool
    ) -> tuple[Any, Any]:
        """(S + 1,) where the n-grams of each sequence begin, and their columns, each as often as it stands there.

        symbols, low, high, whole: as of :meth:`NgramTable.count`; starts, stops: (S,) of the sequences.
        """
        found: tuple[Any, Any] = self._loops.ngrams(
            self._key, self._node, self._column, self._alphabet, symbols, starts, stops, low, high, whole
        )
        return found


class CharNgrams:
    """Counts of the character n-grams of tokens, a blank for each edge: CountVectorizer(analyzer="char_wb").

    Args:
        symbols: (A,) code points of the characters that terms have, ascending.
        table: the terms. low, high: lengths that are counted.
    """

    def __init__(self, symbols: IntArray, table: NgramTable, low: int, high: int) -> None:
        self._low, self._high, self.symbols, self.table = low, high, symbols, table
        self._number = _numbers(symbols)
        self._trie: Trie | None = None

    @classmethod
    def of_terms(cls, terms: Sequence[str], low: int, high: int) -> "CharNgrams":
        points = _code_points("".join(terms))
        known = np.unique(points)
        return cls(known, NgramTable.of_terms(_numbers(known)[points], _lengths(terms), len(known)), low, high)

    @property
    def terms(self) -> list[str]:
        """In column order."""
        return self.table.terms([chr(point) for point in self.symbols.tolist()], "")

    def _symbols(self, points: Any) -> IntArray:
        return self._number[np.minimum(points, len(self._number) - 1)]

    def __call__(self, tokens: Sequence[str]) -> SparseRows:
        """(tokens, columns) of tokens that are not empty."""
        symbols = self._symbols(_code_points(" " + "  ".join(tokens) + " " if tokens else ""))
        return self.table.count(symbols, _lengths(tokens) + 2, self._low, self._high, whole_if_short=True)

    def by_loops(self, words: Words, loops: Any) -> tuple[IntArray, IntArray, Any, Any]:
        """What the compiled ``weighed`` counts: numbers of words, where those of each text begin; where the n-grams of
        each word begin, and their columns."""
        self._trie = self._trie or Trie(self.table, loops)
        pool = words.known if isinstance(words.known, Pool) else Pool.of(words.known)
        symbols = self._symbols(np.concatenate([np.full(1, ord(" "), np.uint32), pool.points]))
        starts, stops = pool.starts[:-1], pool.starts[1:] + 1  # each from the blank before it to that after it
        begin, columns = self._trie(symbols, starts, stops, self._low, self._high, True)
        return words.flat, words.ends, begin, columns


class WordNgrams:
    """Counts of the word n-grams of texts that are lists of tokens: CountVectorizer(analyzer="word").

    Args:
        symbols: the words that terms have. table: the terms. low, high: lengths that are counted.
    """

    def __init__(self, symbols: Sequence[str], table: NgramTable, low: int, high: int) -> None:
        self._low, self._high, self.symbols, self.table = low, high, symbols, table
        self._number = dict(zip(symbols, range(len(symbols)), strict=True))
        self._trie: Trie | None = None
        self._known: Any = None  # of symbols: what compiled loops find them by

    @classmethod
    def of_terms(cls, terms: Sequence[str], low: int, high: int) -> "WordNgrams":
        number: dict[str, int] = {}
        parts = [term.split(" ") for term in terms]  # tokens hold no blanks
        flat = [number.setdefault(token, len(number)) for part in parts for token in part]
        table = NgramTable.of_terms(np.array(flat, dtype=np.int64), _lengths(parts), len(number))
        return cls(list(number), table, low, high)

    @property
    def terms(self) -> list[str]:
        """In column order."""
        return self.table.terms(self.symbols, " ")

    def _symbols(self, words: Words) -> IntArray:
        found = map(self._number.get, words.known, repeat(-1))
        return np.fromiter(found, dtype=np.int64, count=len(words.known))[words.flat]

    def __call__(self, words: Words) -> SparseRows:
        """(texts, columns)."""
        return self.table.count(self._symbols(words), np.diff(words.ends), self._low, self._high)

    def by_loops(self, words: Words, loops: Any) -> tuple[IntArray, IntArray, Any, Any]:
        """As of :class:`CharNgrams`; what is counted together is a text, not a word."""
        self._trie = self._trie or Trie(self.table, loops)
        if isinstance(words.known, Pool):
            if self._known is None:
                pool = Pool.of(self.symbols)
                self._known = pool.points, pool.starts, *loops.table_of(pool.points, pool.starts)
            symbols = loops.numbers(words.known.points, words.known.starts, *self._known)[words.flat]
        else:
            symbols = self._symbols(words)
        begin, columns = self._trie(symbols, words.ends[:-1], words.ends[1:], self._low, self._high, False)
        texts = np.arange(len(words.ends))
        return texts[:-1], texts, begin, columns


def _numbers(points: IntArray) -> IntArray:
    """Code point -> its place among ``points``, -1 for others; the last entry stands for all higher ones."""
    number = np.full(int(points.max(initial=0)) + 2, -1, dtype=np.int64)
    number[points] = np.arange(len(points))
    return number


def _lengths(parts: Sequence[Any]) -> IntArray:
    return np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))


def _code_points(text: str) -> IntArray:
    # surrogatepass: a text may hold lone surrogates
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)
