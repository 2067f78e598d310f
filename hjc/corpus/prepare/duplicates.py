"""Identical and nearly identical texts among many: groups that splits keep together, and label conflicts within them.

Identical: the same after case-folding and making blanks one. Nearly identical: Jaccard similarity of the sets of word
shingles (runs of ``SHINGLE`` words) of at least the threshold, estimated by MinHash (Broder 1997) with datasketch's
permutations; pairs are found by locality-sensitive hashing (Leskovec, Rajaraman & Ullman, Mining of Massive Datasets,
ch. 3) with datasketch's optimal bands, sorted here in NumPy arrays: 4 bytes a permutation and row (512 MB for a million
rows at 128). The estimate has a standard error of sqrt(s (1 - s) / permutations), 0.035 at s = 0.8.

For up to some ten thousand texts :func:`hjc.data.splitting.near_duplicate_groups` finds all pairs above a tf-idf cosine
exactly; ``find_groups(texts, method="exact")`` is that.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from hjc.arrays import BoolArray, IntArray
from hjc.data.splitting import near_duplicate_groups, text_key

SHINGLE = 3
#: odd numbers (of the golden ratio and of MurmurHash3) by which word hashes are weighted in the hash of a run
FACTORS = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
#: words whose hashes are remembered (some 15 MB)
REMEMBERED = 100_000
THRESHOLD = 0.8
PERMUTATIONS = 128
#: of a text without shingles
EMPTY = 0xFFFFFFFF
#: rows of a block of signatures (64 MB at 128 permutations)
BLOCK_ROWS = 1 << 17
METHODS = ("minhash", "exact", "identical")


@dataclass(frozen=True)
class DuplicateGroups:
    """Groups of n rows.

    Attributes:
        group: (n,) number of the group, by first appearance; a row without duplicates is alone in its group.
        first: (n,) the first row with the identical text (itself where it is the first).
    """

    group: IntArray
    first: IntArray

    @property
    def size(self) -> IntArray:
        """(n,) rows of each row's group."""
        return np.bincount(self.group)[self.group] if len(self.group) else self.group

    def counts(self) -> dict[str, int]:
        """rows; identical_to_an_earlier; groups_of_several and rows_in_them."""
        size = np.bincount(self.group) if len(self.group) else np.zeros(0, np.int64)
        return {
            "rows": len(self.group),
            "identical_to_an_earlier": int((self.first != np.arange(len(self.first))).sum()),
            "groups_of_several": int((size > 1).sum()),
            "rows_in_them": int(size[size > 1].sum()),
        }


@dataclass(frozen=True)
class Sketch:
    """All that is kept of n texts.

    Attributes:
        keys: (n,) hashes of the texts.
        signatures: (n, permutations) of MinHash; (n, 0) where only identical texts are wanted.
        worded: (n,) whether the text has a word.
    """

    keys: npt.NDArray[np.uint64]
    signatures: npt.NDArray[np.uint32]
    worded: BoolArray


class Sketcher:
    """Texts -> :class:`Sketch`, by datasketch's permutations h -> a h + b modulo 2^32 of shingle hashes.

    Args:
        permutations: of MinHash; 0: only the hashes of whole texts.
        seed: of the permutations.

    Raises:
        ImportError: datasketch is not installed.
    """

    def __init__(self, permutations: int = PERMUTATIONS, *, seed: int = 1) -> None:
        self.permutations = permutations
        if permutations:
            try:
                from datasketch import MinHash
            except ImportError as error:
                raise ImportError(
                    "near-duplicates need datasketch: pip install 'hjc[prepare]', or look for identical texts only"
                ) from error
            factors, terms = MinHash(num_perm=permutations, seed=seed, scheme="affine32").permutations
            self._factors, self._terms = factors.tolist(), terms.tolist()

    def __call__(self, texts: Sequence[str]) -> Sketch:
        """The sketch of n texts."""
        keys = [text_key(text) for text in texts]
        digest = b"".join(hashlib.blake2b(k.encode("utf-8", "surrogatepass"), digest_size=8).digest() for k in keys)
        signatures = np.full((len(texts), self.permutations), EMPTY, dtype=np.uint32)
        worded = np.zeros(len(texts), dtype=bool)
        if self.permutations:
            hashes, size = shingle_hashes(keys)
            worded = size > 0
            hashes = mix(hashes)
            # one permutation of all texts at a time: far fewer steps than one text and all permutations
            starts = (np.cumsum(size) - size)[worded]
            permuted = np.empty_like(hashes)
            for i, (a, b) in enumerate(zip(self._factors, self._terms, strict=True)):
                if len(starts):
                    np.multiply(hashes, np.uint32(a), out=permuted)
                    np.add(permuted, np.uint32(b), out=permuted)
                    signatures[worded, i] = np.minimum.reduceat(permuted, starts)
        return Sketch(np.frombuffer(digest, dtype=np.uint64), signatures, worded)


def mix(hashes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """MurmurHash3's finalizer, which datasketch applies before the permutations."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        hashes = (hashes ^ (hashes >> np.uint32(shift))) * np.uint32(factor)
    return hashes ^ (hashes >> np.uint32(16))


class DuplicateFinder:
    """Takes texts chunk by chunk, or their sketches, and keeps only these; :meth:`groups` at the end.

    Args:
        threshold: Jaccard similarity of shingles from which texts are nearly identical; None: identical ones only.
        permutations: of MinHash; more are slower, larger and sharper.
        seed: of the permutations.

    Raises:
        ValueError: threshold outside (0, 1]. ImportError: datasketch is not installed.
    """

    def __init__(self, threshold: float | None = THRESHOLD, *, permutations: int = PERMUTATIONS, seed: int = 1) -> None:
        if threshold is not None and not 0 < threshold <= 1:
            raise ValueError(f"threshold: got {threshold}, allowed are above 0 to 1")
        self.threshold = threshold
        self.sketcher = Sketcher(0 if threshold is None else permutations, seed=seed)
        if threshold is not None:
            from datasketch import MinHashLSH

            lsh = MinHashLSH(threshold=threshold, num_perm=permutations)
            #: bands and rows of a band: the pair that minimises false positives and negatives around the threshold
            self.bands, self.band_rows = int(lsh.b), int(lsh.r)
        self._keys: list[npt.NDArray[np.uint64]] = []
        self._signatures = _Blocks(self.sketcher.permutations)
        self._worded: list[BoolArray] = []

    def add(self, texts: Sequence[str]) -> None:
        """The next rows."""
        self.take(self.sketcher(texts))

    def take(self, sketch: Sketch) -> None:
        """The next rows, sketched elsewhere with the same permutations."""
        self._keys.append(sketch.keys)
        self._signatures.append(sketch.signatures)
        self._worded.append(sketch.worded)

    def groups(self) -> DuplicateGroups:
        """The groups of all rows so far. Rows of equal text are one; the others are joined by chains of near pairs.

        Texts without a word equal nothing but themselves.
        """
        if not self._keys:
            return DuplicateGroups(np.empty(0, np.int64), np.empty(0, np.int64))
        _, first_of, inverse = np.unique(np.concatenate(self._keys), return_index=True, return_inverse=True)
        first = first_of[inverse].astype(np.int64)
        label = first
        if self.threshold is not None:
            self._worded = [np.concatenate(self._worded)]
            left, right = self._near_pairs(np.sort(first_of[self._worded[0][first_of]]))
            n = len(first)
            graph = sparse.coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(n, n))
            label = connected_components(graph, directed=False)[1][first]
        return DuplicateGroups(pd.factorize(label)[0].astype(np.int64), first)

    def _near_pairs(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """Pairs of rows in the same bucket of some band whose signatures agree in the threshold's share or more.

        Within a bucket each row is compared with the one before it and with the first, not with all others: the work
        stays linear, and a pair that is missed here has the other bands and the chains.
        """
        signatures = self._signatures.whole()
        lefts, rights = [], []
        mix = np.random.default_rng(0).integers(1, 2**63, self.band_rows, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        for band in range(self.bands):
            part = signatures[rows, band * self.band_rows : (band + 1) * self.band_rows]
            bucket = (part * mix).sum(axis=1, dtype=np.uint64)  # a hash; rows that it confuses are told apart below
            order = np.argsort(bucket, kind="stable")
            sorted_bucket = bucket[order]
            same = np.r_[False, sorted_bucket[1:] == sorted_bucket[:-1]]
            head = np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))
            at = np.flatnonzero(same)
            for other in (at - 1, head[at]):
                lefts.append(rows[order[at]])
                rights.append(rows[order[other]])
        pairs = np.unique(np.stack([np.concatenate(lefts), np.concatenate(rights)], axis=1), axis=0)
        keep = np.zeros(len(pairs), dtype=bool)
        for start in range(0, len(pairs), 100_000):
            a, b = pairs[start : start + 100_000].T
            keep[start : start + 100_000] = (signatures[a] == signatures[b]).mean(axis=1) >= self.threshold
        return pairs[keep, 0], pairs[keep, 1]


class _Blocks:
    """Rows of signatures that come in small parts, copied into large blocks.

    A block is large enough to be memory of its own, which goes back to the system when it is let go; thousands of small
    arrays among short-lived texts would keep their surroundings (three times their own size for a million rows).
    """

    def __init__(self, columns: int) -> None:
        self.columns, self._last = columns, 0
        self._blocks: list[npt.NDArray[np.uint32]] = []

    def append(self, part: npt.NDArray[np.uint32]) -> None:
        """The next rows: (r, columns)."""
        while len(part):
            if not self._blocks or self._last == len(self._blocks[-1]):
                self._blocks.append(np.empty((BLOCK_ROWS, self.columns), np.uint32))  # unwritten pages cost nothing
                self._last = 0
            taken = part[: len(self._blocks[-1]) - self._last]
            self._blocks[-1][self._last : self._last + len(taken)] = taken
            self._last += len(taken)
            part = part[len(taken) :]

    def whole(self) -> npt.NDArray[np.uint32]:
        """(n, columns) all rows; each block is let go as soon as it is copied, so that they are not in memory twice."""
        if not self._blocks:
            return np.empty((0, self.columns), np.uint32)
        if len(self._blocks) > 1:
            whole = np.empty((sum(map(len, self._blocks[:-1])) + self._last, self.columns), dtype=np.uint32)
            start, blocks = 0, self._blocks[::-1]
            self._blocks = [whole]
            while blocks:
                part = blocks.pop()[: len(whole) - start]
                whole[start : start + len(part)] = part
                start += len(part)
            self._last = len(whole)
        return self._blocks[0][: self._last]


def shingle_hashes(keys: Sequence[str]) -> tuple[npt.NDArray[np.uint32], IntArray]:
    """Hashes of the runs of :data:`SHINGLE` words of folded texts; of all its words where a text has fewer.

    A word is taken without punctuation; what has neither letter nor digit is none. The hash of a run is
    sum_j FACTORS[j] crc32(word_j) modulo 2^32: a word is hashed once, however often it comes again.

    Returns:
        The hashes, text by text, and how many each text has, 0 where it has no word.
    """
    words: list[list[int]] = []
    for key in keys:
        parts = key.split(" ")
        known = list(map(_known.get, parts))
        if None in known:
            known = [word_hash(part) if value is None else value for part, value in zip(parts, known, strict=True)]
        found = cast("list[int]", list(filter(None, known)))
        if found and len(found) < SHINGLE:
            found += [0] * (SHINGLE - len(found))
        words.append(found)
    length = np.fromiter(map(len, words), np.int64, len(words))
    flat = np.fromiter(chain.from_iterable(words), np.uint32, int(length.sum()))
    size = np.maximum(0, length - SHINGLE + 1)
    if not len(flat):
        return flat, size
    whole = np.zeros(len(flat) - SHINGLE + 1, dtype=np.uint32)
    for j, factor in enumerate(FACTORS):
        whole += flat[j : j + len(whole)] * np.uint32(factor)
    text = np.repeat(np.arange(len(words)), length)
    return whole[text[: len(whole)] == text[SHINGLE - 1 :]], size


#: part of a text -> hash of the word that it is, 0 for none; most words of a text have been there before
_known: dict[str, int] = {}


def word_hash(part: str) -> int:
    """crc32 of a word without the punctuation around it; 0 where there is neither letter nor digit."""
    value = 0
    if any(c.isalnum() for c in part):
        value = zlib.crc32(part.strip(".,;:!?()[]\"'„”“«»-–—•*").encode("utf-8", "surrogatepass")) or 1
    if len(part) <= 40:
        if len(_known) >= REMEMBERED:
            _known.clear()
        _known[part] = value
    return value


def find_groups(texts: Sequence[str], *, method: str = "minhash", threshold: float | None = None) -> DuplicateGroups:
    """Groups of duplicates of texts that are all in memory.

    Args:
        method: minhash (Jaccard of shingles, estimated; any size) | exact (tf-idf cosine, every pair; see
            :func:`hjc.data.splitting.near_duplicate_groups`) | identical.
        threshold: default 0.8 for minhash, 0.9 for exact.
    """
    if method not in METHODS:
        raise ValueError(f"method: got {method!r}, allowed are {', '.join(METHODS)}")
    near = (THRESHOLD if threshold is None else threshold) if method == "minhash" else None
    finder = DuplicateFinder(near)
    finder.add(texts)
    found = finder.groups()
    if method == "exact":
        return DuplicateGroups(near_duplicate_groups(list(texts), 0.9 if threshold is None else threshold), found.first)
    return found


def label_conflicts(groups: DuplicateGroups, codes: Sequence[str]) -> pd.DataFrame:
    """Groups whose rows carry several codes.

    Returns:
        A line for each group and code, largest groups first: group, kind (identical where one text has several
        codes, else near), rows_of_group, codes_of_group, code, rows, first_row (0-based). Rows without a code are
        left out.
    """
    if len(codes) != len(groups.group):
        raise ValueError(f"codes: got {len(codes)} for {len(groups.group)} rows")
    frame = pd.DataFrame({"group": groups.group, "text": groups.first, "code": list(codes)})
    frame["row"] = np.arange(len(frame))
    frame = frame[frame["code"].astype(bool)]
    columns = ["group", "kind", "rows_of_group", "codes_of_group", "code", "rows", "first_row"]
    number = frame.groupby("group")["code"].transform("nunique")
    frame = frame[number > 1]
    if frame.empty:
        return pd.DataFrame(columns=columns)
    split_text = frame.groupby(["group", "text"])["code"].nunique().gt(1).groupby("group").any()
    out = frame.groupby(["group", "code"]).agg(rows=("row", "size"), first_row=("row", "min")).reset_index()
    out["kind"] = np.where(out["group"].map(split_text), "identical", "near")
    out["rows_of_group"] = out.groupby("group")["rows"].transform("sum")
    out["codes_of_group"] = out.groupby("group")["code"].transform("size")
    order = ["rows_of_group", "group", "rows", "code"]
    return out.sort_values(order, ascending=[False, True, False, True])[columns].reset_index(drop=True)
