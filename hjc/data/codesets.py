"""CodeSets: several acceptable codes a row, laid end to end. n rows, m codes in all, N nodes, L leaves."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from hjc.arrays import BoolArray, Float32, Float64, FloatArray, IntArray
from hjc.taxonomy.tree import Taxonomy


@dataclass(frozen=True, eq=False, repr=False)
class CodeSets:
    """The acceptable codes of n rows: any of them is right. Rows without a code are empty.

    Training looks for the probability of the set, ln sum_k w_k P(leaves of k), a marginal likelihood over the one code
    that is meant and not known (partial labels; Jin & Ghahramani 2002); evaluation takes any of them for right.

    Args:
        indptr: (n + 1,) where the codes of each row begin and end.
        nodes: (m,) node numbers, no node twice in a row; the first of a row is its main code.
        weights: (m,) how much each counts in training beside the others of its row; above 0. Default 1.

    Raises:
        ValueError: shapes that do not fit, a weight that is not above 0, or a node twice in a row.
    """

    indptr: IntArray
    nodes: IntArray
    weights: Float32 = None  # type: ignore[assignment]  # filled in __post_init__

    def __post_init__(self) -> None:
        indptr, nodes = (np.asarray(x, dtype=np.int64) for x in (self.indptr, self.nodes))
        weights = np.ones(len(nodes), np.float32) if self.weights is None else np.asarray(self.weights, np.float32)
        ends = indptr.ndim == 1 and len(indptr) and indptr[0] == 0 and indptr[-1] == len(nodes)
        if not ends or (np.diff(indptr) < 0).any():
            raise ValueError(f"codes: indptr must rise from 0 to the number of codes, {len(nodes)}")
        if weights.shape != nodes.shape or not (np.isfinite(weights) & (weights > 0)).all():
            raise ValueError(f"codes: got weights of shape {weights.shape}, expected {nodes.shape} numbers above 0")
        for name, value in (("indptr", indptr), ("nodes", nodes), ("weights", weights)):
            object.__setattr__(self, name, value)
        if len(np.unique(self.row * (int(nodes.max(initial=0)) + 1) + nodes)) < len(nodes):
            raise ValueError("codes: a row has a code twice")

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __repr__(self) -> str:
        return f"CodeSets({len(self):,} rows, {int(self.several.sum()):,} with several codes)"

    @property
    def size(self) -> IntArray:
        """(n,) codes of each row."""
        return np.diff(self.indptr)

    @property
    def several(self) -> BoolArray:
        """(n,) True where a row has more than one code."""
        return np.asarray(self.size > 1)

    @property
    def row(self) -> IntArray:
        """(m,) the row of each code."""
        return np.repeat(np.arange(len(self)), self.size)

    @property
    def first(self) -> IntArray:
        """(n,) the main code of each row, -1 without one."""
        out = np.full(len(self), -1, dtype=np.int64)
        some = self.size > 0
        out[some] = self.nodes[self.indptr[:-1][some]]
        return out

    @property
    def share(self) -> Float64:
        """(m,) the weights, summing to 1 in each row."""
        total = np.bincount(self.row, self.weights, minlength=len(self))
        return np.asarray(self.weights / total[self.row])

    # ------------------------------------------------------------------ making others

    def __getitem__(self, rows: npt.ArrayLike) -> "CodeSets":
        """The rows at positions (or under a boolean mask), in that order."""
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64).reshape(-1)
        size = self.size[index]
        indptr = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
        at = np.arange(indptr[-1]) + np.repeat(self.indptr[index] - indptr[:-1], size)
        return CodeSets(indptr, self.nodes[at], self.weights[at])

    def filled(self, node: int) -> "CodeSets":
        """Rows without a code given this one."""
        empty = np.flatnonzero(self.size == 0)
        if not len(empty):
            return self
        row, nodes = np.r_[self.row, empty], np.r_[self.nodes, np.full(len(empty), node)]
        order = np.argsort(row, kind="stable")
        weights = np.r_[self.weights, np.ones(len(empty), np.float32)]
        return CodeSets.of_pairs(row[order], nodes[order], weights[order], len(self))

    def mapped(self, new: IntArray) -> "CodeSets":
        """With node k as ``new[k]`` (N,); codes of a row that become one are one, of their largest weight."""
        return CodeSets.of_pairs(self.row, new[self.nodes], self.weights, len(self))

    @classmethod
    def of_pairs(cls, row: IntArray, nodes: IntArray, weights: FloatArray | None, n: int) -> "CodeSets":
        """From rows (m,) in ascending order with their codes and weights; repeated codes of a row are one."""
        w = np.ones(len(nodes), np.float32) if weights is None else np.asarray(weights, np.float32)
        key = np.asarray(row, np.int64) * (int(nodes.max(initial=0)) + 1) + nodes
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        most = np.zeros(len(first), np.float32)
        np.maximum.at(most, inverse.reshape(-1), w)
        order = np.argsort(first)  # as they came
        keep = first[order]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row[keep], minlength=n))])
        return cls(indptr, nodes[keep], most[order])

    @classmethod
    def of_lists(cls, codes: Sequence[Sequence[int]]) -> "CodeSets":
        """From n lists of nodes, the main one first."""
        nodes = np.array(list(chain(*codes)), dtype=np.int64)
        row = np.repeat(np.arange(len(codes)), [len(c) for c in codes])
        return cls.of_pairs(row, nodes, None, len(codes))

    @classmethod
    def of_gold(cls, gold: IntArray) -> "CodeSets":
        """One code a row; -1 is none."""
        some = np.flatnonzero(gold >= 0)
        return cls.of_pairs(some, gold[some], None, len(gold))

    @classmethod
    def concat(cls, parts: Iterable["CodeSets"]) -> "CodeSets":
        """The rows of all parts in their order."""
        items = list(parts)
        size = np.concatenate([part.size for part in items])
        nodes, weights = (np.concatenate([getattr(part, name) for part in items]) for name in ("nodes", "weights"))
        return cls(np.concatenate([[0], np.cumsum(size)]), nodes, weights)

    # ------------------------------------------------------------------ on the tree

    def padded(self) -> IntArray:
        """(n, S) nodes, S the most that a row has; -1 beyond a row's own."""
        out = np.full((len(self), int(self.size.max(initial=0))), -1, dtype=np.int64)
        out[self.row, np.arange(len(self.nodes)) - self.indptr[:-1][self.row]] = self.nodes
        return out

    def leaf_log_weights(self, taxonomy: Taxonomy) -> Float32:
        """(n, L) log weight of every leaf in the set, the largest of a row 0; -inf for those that are in none of it.

        ``logsumexp(log_proba + this)`` is the log-probability of the set: with weights 1 that of its leaves together.
        An inner node stands for all leaves under it; a leaf under two codes of a row counts once.
        """
        out = np.full((len(self), taxonomy.num_leaves), -np.inf, dtype=np.float32)
        row, most = self.row, np.zeros(len(self), np.float32)
        np.maximum.at(most, row, self.weights)
        log_weight = np.log(self.weights / most[row])
        for i, node, w in zip(row.tolist(), self.nodes.tolist(), log_weight.tolist(), strict=True):
            start, stop = taxonomy.leaf_slice[node]
            np.maximum(out[i, start:stop], w, out=out[i, start:stop])
        return out


#: gold nodes (n,), or sets of them where rows have several; both are indexed alike
Target = IntArray | CodeSets


def first_of(target: Target) -> IntArray:
    """(n,) the main code of each row."""
    return target.first if isinstance(target, CodeSets) else target


def likeliest(target: Target, scores: FloatArray | Callable[[], FloatArray]) -> IntArray:
    """(n,) one code a row: of several the most probable one.

    Where a rule or a table can hold a row against one code only. Who counts any of the codes as right loses nothing by
    it: the most probable one is reached first.

    Args:
        scores: (n, N) probabilities of all nodes or their logarithms, or what gives them where a row has several codes.
    """
    if not isinstance(target, CodeSets):
        return target
    out, many = target.first, np.flatnonzero(target.several)
    if len(many):
        nodes = target[many].padded()
        given = scores() if callable(scores) else scores
        found = np.where(nodes >= 0, np.take_along_axis(given[many], np.maximum(nodes, 0), axis=1), -np.inf)
        out[many] = nodes[np.arange(len(many)), found.argmax(axis=1)]
    return out
