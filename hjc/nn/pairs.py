"""Which rows make a batch of a ranking loss, and which label texts stand against each row. NumPy only.

A ranking loss takes the positive of one row as a negative of all the others. A batch therefore holds no two rows of
one code (nor of a code and one above it), and no negative that is right for any row of the batch. Everything depends
on seed, epoch and the number of the batch alone, so that a resumed run goes on with the batches it would have had.

n rows, L leaves, M label texts, b rows of a batch, k negatives a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hjc.arrays import BoolArray, IntArray
from hjc.taxonomy import Taxonomy

#: a negative whose own code is not known
NO_TARGET = -1


@dataclass(frozen=True)
class Negative:
    """A text that is said not to be of a code: number of the text, and the node that it is of (-1: not known).

    Of one with a node, a label text of a leaf under the node is taken instead of ``text``.
    """

    text: int
    target: int = NO_TARGET


@dataclass(frozen=True)
class PairBatch:
    """Rows (b,) of the data, and numbers of texts: ``positive`` (b,), ``negative`` (b, k); k may be 0."""

    rows: IntArray
    positive: IntArray
    negative: IntArray


class PairBatches:
    """The batches of every epoch.

    An epoch has ceil(n / min(batch_size, C)) batches for C different codes. A code has one place in a batch, so of a
    code with more rows than there are batches, others are drawn every epoch; of every other code each row comes once.
    Rows are dealt like cards, code by code: the sizes of batches differ by one at most. A row whose code is an inner
    node takes a leaf under it by chance as its positive, and stands back for the epoch where the batch has a row under
    the same node.

    Negatives of a row: ``hard_negatives`` by chance among the leaves under the same parent and what ``elsewhere`` says
    of its code and those above; where there are too few, leaves under the grandparent, and so on up to any leaf. A
    batch that would leave a row with fewer than ``batch_size`` candidates is filled up with label texts of leaves
    that are right for none of its rows.

    Args:
        gold: (n,) nodes, leaves or inner.
        leaf: (M,) leaf of each label text, ascending; every leaf occurs.
        elsewhere: node -> texts that are not of it; their numbers may go beyond M.

    Raises:
        ValueError: no rows, an unlabelled row, or a batch size below 2.
    """

    def __init__(
        self,
        taxonomy: Taxonomy,
        gold: IntArray,
        leaf: IntArray,
        *,
        batch_size: int,
        hard_negatives: int = 0,
        seed: int = 1,
        elsewhere: Mapping[int, Sequence[Negative]] | None = None,
    ) -> None:
        if not len(gold) or gold.min() < 0:
            raise ValueError(f"gold: got {len(gold)} rows, all of which need a code, and one at least is needed")
        if batch_size < 2:
            raise ValueError(f"trainer.batch_size: got {batch_size}, a ranking loss needs 2 rows a batch or more")
        self.taxonomy, self.gold = taxonomy, gold
        self.batch_size, self.hard_negatives, self.seed = batch_size, hard_negatives, seed
        self.starts = np.searchsorted(leaf, np.arange(taxonomy.num_leaves + 1))
        self.elsewhere = dict(elsewhere or {})
        self.codes, self.counts = np.unique(gold, return_counts=True)
        self.span = taxonomy.leaf_slice
        self.has_inner = not bool(taxonomy.is_leaf[self.codes].all())
        self._epoch: tuple[int, list[IntArray]] = (-1, [])

    def __len__(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.gold) // min(self.batch_size, len(self.codes)))

    @property
    def rows_per_epoch(self) -> int:
        """Rows that one epoch uses (before inner codes stand back)."""
        return int(np.minimum(self.counts, len(self)).sum())

    def rows(self, epoch: int) -> list[IntArray]:
        """Rows of each batch of an epoch."""
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._deal(epoch))
        return self._epoch[1]

    def _deal(self, epoch: int) -> list[IntArray]:
        random, number = np.random.default_rng([self.seed, epoch]), len(self)
        order = random.permutation(len(self.gold))
        turn = random.permutation(len(self.codes))[np.searchsorted(self.codes, self.gold[order])]
        order = order[np.argsort(turn, kind="stable")]  # codes in random order, rows of a code side by side
        _, first, counts = np.unique(np.sort(turn), return_index=True, return_counts=True)
        order = order[np.arange(len(order)) - np.repeat(first, counts) < number]
        batches = [order[i::number] for i in random.permutation(number)]
        return [self._apart(rows) for rows in batches] if self.has_inner else batches

    def _apart(self, rows: IntArray) -> IntArray:
        """Without rows whose code lies above that of another row."""
        span = self.span[self.gold[rows]]
        taken = np.zeros(self.taxonomy.num_leaves, dtype=bool)
        kept = []
        for i in np.argsort(span[:, 1] - span[:, 0], kind="stable").tolist():
            start, stop = span[i].tolist()
            if not taken[start:stop].any():
                taken[start:stop] = True
                kept.append(i)
        return rows[np.sort(kept)]

    def batch(self, epoch: int, number: int) -> PairBatch:
        """Batch ``number`` of an epoch with the texts of each row."""
        rows = self.rows(epoch)[number]
        random = np.random.default_rng([self.seed, epoch, number])
        span = self.span[self.gold[rows]]
        free = np.ones(self.taxonomy.num_leaves, dtype=bool)
        for start, stop in span.tolist():
            free[start:stop] = False
        positive = self._texts(random, random.integers(span[:, 0], span[:, 1]))
        left = np.flatnonzero(free)
        wanted = min(self.batch_size, len(rows) + len(left))  # candidates of a row
        fill = -(-(wanted - len(rows)) // len(rows))
        hard, columns = (self.hard_negatives, max(self.hard_negatives, fill)) if len(left) else (0, 0)
        negative = np.empty((len(rows), columns), dtype=np.int64)
        if hard:
            for i, node in enumerate(self.gold[rows].tolist()):
                negative[i, :hard] = self._hard(random, node, free, hard)
        if columns > hard:
            count = len(rows) * (columns - hard)
            cards = np.concatenate([random.permutation(left) for _ in range(-(-count // len(left)))])[:count]
            negative[:, hard:] = self._texts(random, cards).reshape(len(rows), -1)
        return PairBatch(rows, positive, negative)

    def _texts(self, random: np.random.Generator, leaves: IntArray) -> IntArray:
        """A label text by chance for each leaf."""
        return random.integers(self.starts[leaves], self.starts[leaves + 1])

    def _hard(self, random: np.random.Generator, node: int, free: BoolArray, count: int) -> IntArray:
        """(count,) texts: nearest leaves first; with repetition only where fewer leaves are free."""
        found: list[int] = []
        used = ~free
        above = int(self.taxonomy.parents[node])
        extra = self._said_elsewhere(random, node, free)
        while True:
            start, stop = (0, len(free)) if above < 0 else self.span[above].tolist()
            near = np.flatnonzero(~used[start:stop]) + start
            used[start:stop] = True
            pool = np.concatenate([self._texts(random, near), extra])
            found += random.permutation(pool)[: count - len(found)].tolist()
            extra = extra[:0]
            if len(found) == count or above < 0:
                break
            above = int(self.taxonomy.parents[above])
        return np.resize(np.array(found, dtype=np.int64), count)

    def _said_elsewhere(self, random: np.random.Generator, node: int, free: BoolArray) -> IntArray:
        """Texts that the passages of a code and of those above it exclude, and that are right for no row here."""
        found = []
        path = self.taxonomy.node_path[node]
        for at in np.unique(path[path >= 0]).tolist() if self.elsewhere else ():
            for item in self.elsewhere.get(at, ()):
                if item.target == NO_TARGET:
                    found.append(item.text)
                elif free[(where := slice(*self.span[item.target].tolist()))].all():
                    found += self._texts(random, random.integers(where.start, where.stop, size=1)).tolist()
        return np.array(found, dtype=np.int64)
