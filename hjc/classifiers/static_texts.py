"""Texts as weighted units, and units as hashed n-grams: what a static model reads, in NumPy alone.

A unit is a word or a pair of neighbouring words. A word has the n-grams of its characters, a blank for each edge, and
itself; a pair has itself alone (Bojanowski et al. 2017, "Enriching Word Vectors with Subword Information", and
fastText's pairs). Each is hashed to one of so many buckets. No vocabulary is kept: every text of every script has
units. All n-grams of all words are hashed by a few operations on arrays of their characters.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hjc.arrays import spans
from hjc.classifiers.text_words import Spelling, words_of
from hjc.nn.tokens import first_line
from hjc.nn.units import UnitTexts

#: n-grams of characters of a word, and words of a text that are read
LOW, HIGH, MOST_WORDS = 3, 5, 400
#: of the polynomial whose value is the hash of characters, modulo 2^64
_BASE = np.uint64(0x9E3779B97F4A7C15)
#: of the last step, which spreads the bits (the finaliser of MurmurHash3)
_SPREAD = (np.uint64(33), np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))

UInt64 = npt.NDArray[np.uint64]


class UnitReader:
    """Texts -> :class:`hjc.nn.units.UnitTexts`.

    Args:
        buckets: n-grams are hashed to numbers below it.
        title_share: weight of the first line of several among all words, beside its own.
    """

    def __init__(self, buckets: int, title_share: float) -> None:
        self.buckets, self.title_share = buckets, title_share

    def __call__(self, texts: Sequence[str]) -> UnitTexts:
        words, leads = words_of(texts, Spelling())
        several = np.array([bool(self.title_share and first_line(text)) for text in texts], bool)
        titles = np.where(several, leads, 0)
        # of each text two parts: all of it, and its title
        size = np.minimum(np.stack([np.diff(words.ends), titles], axis=1), MOST_WORDS).ravel()
        share = np.where(titles > 0, self.title_share, 0.0)
        share = np.stack([1 - share, share], axis=1).ravel()
        begin, owners = np.repeat(words.ends[:-1], 2), np.repeat(np.arange(len(texts)), 2)
        begin, size, share, owners = (x[size > 0] for x in (begin, size, share, owners))
        word, known = words.flat[spans(begin, begin + size)], words.known
        if (np.diff(words.ends) > MOST_WORDS).any():  # some are only in what is not read
            used, word = np.unique(word, return_inverse=True)
            known = [known[i] for i in used.tolist()]
        grams, ends, whole = _word_buckets(known, self.buckets)
        last = np.zeros(len(word), bool)
        last[np.cumsum(size) - 1] = True
        following = np.flatnonzero(~last)
        pairs = _bucket(whole[word[following]] * _BASE * _BASE + whole[word[following + 1]], self.buckets)
        # a word, then its pair with the next one, if there is one in its part
        units = np.full((len(word), 2), -1, np.int64)
        units[:, 0] = word
        units[following, 1] = len(known) + np.arange(len(following))
        each = np.repeat(share / np.maximum(2 * size - 1, 1), size).astype(np.float32)
        places = units >= 0
        owner = np.repeat(owners, size)
        counts = np.bincount(owner, places.sum(1), minlength=len(texts)).astype(np.int64)
        return UnitTexts(
            buckets=np.concatenate([grams, pairs]),
            ends=np.concatenate([ends, ends[-1] + 1 + np.arange(len(pairs))]),
            units=units[places].astype(np.int32),
            weights=np.repeat(each, places.sum(1)),
            starts=np.concatenate([[0], np.cumsum(counts)]),
        )


def _word_buckets(words: Sequence[str], buckets: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], UInt64]:
    """Of U words: the buckets of their n-grams and of themselves, laid end to end, where they begin (U + 1,), and a
    hash of each whole word (U,)."""
    framed = "".join(f" {word} " for word in words)
    points = np.frombuffer(framed.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64) + np.uint64(1)
    length = np.array([len(word) + 2 for word in words], np.int64)
    stop = np.repeat(np.cumsum(length), length)
    place = np.arange(len(points))
    # of each place: the n-grams that begin there; in the last column, at a word's first place, the word
    found = np.zeros((len(points), HIGH - LOW + 2), np.uint64)
    there = np.zeros(found.shape, bool)
    value = points.copy()
    for n in range(2, HIGH + 1):
        begins = place[: len(points) - n + 1]
        value = value[: len(begins)] * _BASE + points[n - 1 :]
        if n >= LOW:
            found[: len(begins), n - LOW] = value + np.uint64(n)
            there[: len(begins), n - LOW] = begins + n <= stop[: len(begins)]
    starts = np.cumsum(length) - length
    whole = np.zeros(0, np.uint64)
    if len(words):
        # powers of the base from the end of each word, one more than of an n-gram: no word is an n-gram of another
        power = np.cumprod(np.full(int(length.max()), _BASE))
        whole = np.add.reduceat(points * power[stop - place - 1], starts)
        found[starts, -1], there[starts, -1] = whole, True
    counts = np.add.reduceat(there.sum(1), starts) if len(words) else np.zeros(0, np.int64)
    return _bucket(found[there], buckets), np.concatenate([[0], np.cumsum(counts)]), whole


def _bucket(value: UInt64, buckets: int) -> npt.NDArray[np.int32]:
    shift, first, second = _SPREAD
    value = (value ^ (value >> shift)) * first
    value = (value ^ (value >> shift)) * second
    return ((value ^ (value >> shift)) % np.uint64(buckets)).astype(np.int32)
