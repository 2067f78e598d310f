"""A batch's probabilities at every level of the tree: the one pass from leaves upward that everything else reads."""

from functools import cached_property
from typing import Any

import numpy as np

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.taxonomy.tree import Taxonomy


def as_leaf_log_proba(taxonomy: Taxonomy, log_proba: Any) -> FloatArray:
    """The array itself. Raises ValueError when it is not (rows, leaves) of the tree, or holds a NaN or +inf."""
    x = np.asarray(log_proba)
    if x.ndim != 2 or x.shape[1] != taxonomy.num_leaves:
        raise ValueError(f"log_proba: got shape {x.shape}, expected (rows, {taxonomy.num_leaves}) for {taxonomy!r}")
    if x.dtype.kind != "f":
        raise TypeError(f"log_proba: got {x.dtype}, expected natural logs of probabilities as floats")
    if not (x < np.inf).all():  # False for NaN as well
        nan = np.flatnonzero(np.isnan(x).any(axis=1))
        what = f"NaN in {len(nan)} of {len(x)} rows, first in row {nan[0]}: a diverged model?" if len(nan) else "+inf"
        raise ValueError(f"log_proba: {what}; expected natural logs of probabilities")
    return x


class LevelProba:
    """Probabilities of B rows at the D levels of a tree, each level summed from the one below it, once.

    What metrics, decision rules, calibration tables and stored validation rows read, so that they agree to the last
    bit. Make it with :meth:`of`, which passes a LevelProba through: a function that takes leaf log-probabilities and
    begins with ``LevelProba.of`` costs nothing when its caller has one already.

    Attributes:
        leaf: (B, L) natural-log leaf probabilities, as they came.
    """

    def __init__(self, taxonomy: Taxonomy, leaf: FloatArray) -> None:
        self.taxonomy, self.leaf = taxonomy, leaf

    @classmethod
    def of(cls, taxonomy: Taxonomy, log_proba: "FloatArray | LevelProba") -> "LevelProba":
        """From (B, L) natural-log leaf probabilities; -inf is allowed.

        Raises:
            ValueError: see :func:`as_leaf_log_proba`; a LevelProba of another tree.
        """
        if isinstance(log_proba, LevelProba):
            if log_proba.taxonomy != taxonomy:
                raise ValueError(f"got probabilities on {log_proba.taxonomy!r}, expected {taxonomy!r}")
            return log_proba
        return cls(taxonomy, as_leaf_log_proba(taxonomy, log_proba))

    def __len__(self) -> int:
        return len(self.leaf)

    @cached_property
    def _levels(self) -> list[Float64]:
        """Coarsest level first; the columns of a level are runs of columns of the next."""
        tree = self.taxonomy
        with np.errstate(over="ignore"):
            out: list[Float64] = [np.exp(self.leaf, dtype=np.float64)]
        below = np.arange(tree.num_leaves)
        for level in range(tree.depth - 1, 0, -1):
            first = tree.leaf_slice[tree.level_nodes(level), 0]
            same = len(first) == len(below)
            out.append(out[-1] if same else np.add.reduceat(out[-1], np.searchsorted(below, first), axis=1))
            below = first
        return out[::-1]

    def at(self, level: int) -> Float64:
        """(B, K) probabilities of the columns of a level; not a copy. A sum may exceed 1 by rounding."""
        return self._levels[self.taxonomy.check_level(level) - 1]

    def ordered(self, level: int) -> FloatArray:
        """(B, K) what codes of a level are ranked by: its probabilities, or the leaves' logarithms as they came, which
        may differ where their rounded exps do not."""
        leaves_only = len(self.taxonomy.level_nodes(level)) == self.taxonomy.num_leaves
        return self.leaf if leaves_only else self.at(level)

    @cached_property
    def best(self) -> IntArray:
        """(B, D) most probable column of each level, the first of ties."""
        columns = [self.ordered(d).argmax(axis=1) for d in range(1, self.taxonomy.depth + 1)]
        return np.stack(columns, axis=1).astype(np.int64)

    @cached_property
    def top(self) -> IntArray:
        """(B, D) node of the most probable column of each level. They need not lie on one path."""
        return self._nodes(self.best)

    @cached_property
    def confidence(self) -> Float64:
        """(B, D) probability of :attr:`top`."""
        return self._proba(self.best)

    @cached_property
    def _greedy(self) -> IntArray:
        tree, out = self.taxonomy, self.best.copy()
        for d in range(1, tree.depth):
            parent = tree.level_column[tree.level_nodes(d + 1), d - 1]
            away = np.flatnonzero(parent[out[:, d]] != out[:, d - 1])  # the level's best is elsewhere: look below
            under = parent[None, :] == out[away, d - 1, None]
            out[away, d] = np.where(under, self.at(d + 1)[away], -1.0).argmax(axis=1)
        return out

    @cached_property
    def path(self) -> IntArray:
        """(B, D) from the top, the most probable child again and again; below a shallow leaf it repeats itself."""
        return self._nodes(self._greedy)

    @cached_property
    def path_proba(self) -> Float64:
        """(B, D) probabilities of :attr:`path`; they do not increase."""
        return self._proba(self._greedy)

    def nodes(self) -> Float64:
        """(B, N) probabilities of all nodes; not a copy."""
        return self._all

    @cached_property
    def _all(self) -> Float64:
        out = np.empty((len(self), len(self.taxonomy)))
        for d in range(self.taxonomy.depth, 0, -1):
            out[:, self.taxonomy.level_nodes(d)] = self.at(d)
        return out

    @cached_property
    def by_leaf_level(self) -> list[tuple[int, Float64]]:
        """For each level that has leaves: it, and the probability (B, N) of its leaves under each node."""
        leaf_level = self.taxonomy.level[self.taxonomy.leaves]
        there = np.unique(leaf_level).tolist()
        if len(there) == 1:
            return [(there[0], self.nodes())]
        parts = (np.where(leaf_level == at, self.leaf, -np.inf) for at in there)
        return [(at, LevelProba(self.taxonomy, part).nodes()) for at, part in zip(there, parts, strict=True)]

    def _nodes(self, columns: IntArray) -> IntArray:
        levels = range(self.taxonomy.depth)
        return np.stack([self.taxonomy.level_nodes(d + 1)[columns[:, d]] for d in levels], axis=1)

    def _proba(self, columns: IntArray) -> Float64:
        rows = np.arange(len(self))
        values = [self.at(d + 1)[rows, columns[:, d]] for d in range(self.taxonomy.depth)]
        return np.minimum(np.stack(values, axis=1), 1.0)
