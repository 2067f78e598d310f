"""The tree of codes: one integer parent array, everything else derived from it once.

Nodes are numbered in breadth-first order without the root, siblings contiguous; the parent of a level-1 node
is -1 (the root). Leaves are numbered in depth-first order, so that the leaves under any node are one slice of
the columns. N nodes, L leaves, D levels (the depth of the deepest leaf), B rows.

A leaf above the deepest level stands for itself below it: it is a column of every level from its own down to
D. So the columns of every level partition the leaves and every level sums to one.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from hjc.arrays import BoolArray, FloatArray, IntArray
from hjc.errors import TaxonomyError, name_some
from hjc.taxonomy.spelling import explain_unknown, trim

Number = TypeVar("Number", np.int64, np.float64)


@dataclass(frozen=True, eq=False, repr=False)
class Taxonomy:
    """A tree of codes. Build it with the functions of :mod:`hjc.taxonomy.build`, not by hand.

    Args:
        codes: N codes in breadth-first order, siblings contiguous.
        parents: (N,) node number of each node's parent, -1 for level 1.
        titles: language -> N titles ("" where there is none).
        descriptions: language -> N longer texts ("" where there is none).
        name: what the tree is called in tables and error messages.

    Raises:
        TaxonomyError: the arrays are not a tree in that order, or a code is empty or stands twice.
    """

    codes: tuple[str, ...]
    parents: IntArray
    titles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    descriptions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    name: str = "taxonomy"

    def __post_init__(self) -> None:
        if np.asarray(self.parents).dtype.kind not in "iu":
            raise TaxonomyError(f"parents: got {np.asarray(self.parents).dtype} values, expected integer node numbers")
        parents = np.array(self.parents, dtype=np.int64)  # a copy: a frozen tree never shares a caller's memory
        parents.flags.writeable = False
        object.__setattr__(self, "codes", tuple(self.codes))
        object.__setattr__(self, "parents", parents)
        for texts in ("titles", "descriptions"):
            by_language = {str(k): tuple(v) for k, v in getattr(self, texts).items()}
            for language, values in by_language.items():
                if len(values) != len(self.codes):
                    raise TaxonomyError(f"{texts}[{language!r}]: got {len(values)} texts for {len(self.codes)} codes")
            object.__setattr__(self, texts, MappingProxyType(by_language))
        self._check()

    def _check(self) -> None:
        n = len(self.codes)
        if n == 0:
            raise TaxonomyError("a taxonomy needs at least one code, got none")
        if self.parents.shape != (n,):
            raise TaxonomyError(f"parents: got shape {self.parents.shape}, expected ({n},)")
        if bad := [c for c in self.codes if not isinstance(c, str) or not c or c != trim(c)]:
            raise TaxonomyError(
                f"codes must be non-empty strings without blanks around and invisible characters, got {name_some(bad)}"
            )
        if len(self.index_of) != n:
            seen: set[str] = set()
            twice = [c for c in self.codes if c in seen or seen.add(c)]  # type: ignore[func-returns-value]
            raise TaxonomyError(f"duplicate codes: {name_some(twice)}")
        # Breadth-first with contiguous siblings is the same as: parents come earlier and never decrease.
        if (self.parents < -1).any() or (self.parents >= np.arange(n)).any() or (np.diff(self.parents) < 0).any():
            raise TaxonomyError("nodes are not in breadth-first order; build the tree with hjc.taxonomy.from_edges")
        # One order for one tree, so that its hash and the columns of its arrays never depend on who built it.
        same = np.flatnonzero(np.diff(self.parents) == 0).tolist()
        if unsorted := [self.codes[i + 1] for i in same if self.codes[i + 1] < self.codes[i]]:
            raise TaxonomyError(f"siblings are not sorted by code; use hjc.taxonomy.from_edges: {name_some(unsorted)}")

    # ------------------------------------------------------------------ sizes and look-up

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str]:
        """The codes in the order of the nodes; with ``in`` and ``len`` a tree is a collection of its codes."""
        return iter(self.codes)

    def __contains__(self, code: object) -> bool:
        return code in self.index_of

    def __repr__(self) -> str:
        sizes = "/".join(str(len(self.level_nodes(d))) for d in range(1, self.depth + 1))
        return f"Taxonomy({self.name!r}, nodes={len(self)}, leaves={self.num_leaves}, levels={sizes})"

    def __eq__(self, other: object) -> bool:
        """Same codes and same parents; titles do not matter."""
        if not isinstance(other, Taxonomy):
            return NotImplemented
        return self.codes == other.codes and bool(np.array_equal(self.parents, other.parents))

    def __hash__(self) -> int:
        return hash(self.hash)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and worker processes get the five fields; read-only mappings cannot be pickled, caches need not."""
        return Taxonomy, (self.codes, self.parents, dict(self.titles), dict(self.descriptions), self.name)

    @cached_property
    def index_of(self) -> Mapping[str, int]:
        """code -> node number."""
        return MappingProxyType({code: i for i, code in enumerate(self.codes)})

    def encode(self, codes: Iterable[str]) -> IntArray:
        """Node numbers of codes (leaves or inner nodes).

        Raises:
            TaxonomyError: a code is unknown; the first five are named, with lost leading zeros pointed out.
        """
        wanted = list(codes)
        found = [self.index_of.get(c, -1) for c in wanted]
        if -1 in found:
            unknown = dict.fromkeys(c for c, i in zip(wanted, found, strict=True) if i < 0)
            raise TaxonomyError(explain_unknown(self.index_of, unknown, self.name))
        return np.array(found, dtype=np.int64)

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of codes and parents. Equal for equal trees on every machine; titles do not count."""
        digest = hashlib.sha256()
        for code, parent in zip(self.codes, self.parents.tolist(), strict=True):
            digest.update(f"{len(code)}:{code}>{parent};".encode())
        return digest.hexdigest()

    def title(self, node: int, language: str | None = None) -> str:
        """The title of a node in a language; without one (or where it is empty) in the first language that has it."""
        order = [language] if language in self.titles else []
        for lang in [*order, *self.titles]:
            if text := self.titles[lang][node]:  # type: ignore[index]
                return text
        return ""

    # ------------------------------------------------------------------ the shape

    @cached_property
    def level(self) -> IntArray:
        """(N,) level of each node, 1 is coarsest."""
        level = np.ones(len(self), dtype=np.int64)
        for node, parent in enumerate(self.parents.tolist()):
            if parent >= 0:
                level[node] = level[parent] + 1
        return level

    @cached_property
    def depth(self) -> int:
        """D: the level of the deepest leaf."""
        return int(self.level.max())

    @cached_property
    def is_leaf(self) -> BoolArray:
        """(N,) True where a node has no children."""
        leaf = np.ones(len(self), dtype=bool)
        leaf[self.parents[self.parents >= 0]] = False
        return leaf

    @cached_property
    def _preorder(self) -> IntArray:
        """(N,) nodes in depth-first order, siblings in their order."""
        children: list[list[int]] = [[] for _ in range(len(self) + 1)]  # the last list is the root's
        for node, parent in enumerate(self.parents.tolist()):
            children[parent].append(node)
        order, stack = [], children[-1][::-1]
        while stack:
            node = stack.pop()
            order.append(node)
            stack.extend(children[node][::-1])
        return np.array(order, dtype=np.int64)

    @cached_property
    def leaves(self) -> IntArray:
        """(L,) node number of each leaf, depth-first: column j of every (B, L) array is node ``leaves[j]``."""
        return self._preorder[self.is_leaf[self._preorder]]

    @cached_property
    def num_leaves(self) -> int:
        return len(self.leaves)

    @cached_property
    def leaf_codes(self) -> tuple[str, ...]:
        """L codes, in the column order of every (B, L) array."""
        return tuple(self.codes[i] for i in self.leaves.tolist())

    @cached_property
    def leaf_slice(self) -> IntArray:
        """(N, 2) start and stop of the leaf columns under each node; of a leaf, its own column."""
        before = np.empty(len(self), dtype=np.int64)
        leaf = self.is_leaf[self._preorder]
        before[self._preorder] = np.cumsum(leaf) - leaf
        return np.stack([before, before + self.with_descendants(self.is_leaf.astype(np.int64))], axis=1)

    def with_descendants(self, own: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Figures of nodes (..., N) -> of each node and everything below it together (..., N), in the same type."""
        out = np.array(own)
        for level in range(self.depth, 1, -1):
            nodes = np.flatnonzero(self.level == level)
            # Breadth-first order: the nodes of a level and their parents both rise, siblings are contiguous.
            parents = self.parents[nodes]
            starts = np.flatnonzero(np.r_[True, np.diff(parents) > 0])
            out[..., parents[starts]] += np.add.reduceat(out[..., nodes], starts, axis=-1)
        return out

    def with_ancestors(self, own: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Figures of nodes (..., N) -> of each node and everything above it together (..., N), in the same type."""
        out = np.array(own)
        for level in range(2, self.depth + 1):
            start, stop = np.searchsorted(self.level, [level, level + 1])
            out[..., start:stop] += out[..., self.parents[start:stop]]
        return out

    @cached_property
    def node_path(self) -> IntArray:
        """(N, D) ancestor-or-self of each node at levels 1..D (column d-1 is level d).

        Below its own level a leaf stands for itself; an inner node is undetermined there: -1.
        """
        path = np.full((len(self), self.depth), -1, dtype=np.int64)
        for node, parent in enumerate(self.parents.tolist()):
            d = int(self.level[node]) - 1
            if parent >= 0:
                path[node, :d] = path[parent, :d]
            path[node, d] = node
            if self.is_leaf[node]:
                path[node, d:] = node
        return path

    @cached_property
    def path(self) -> IntArray:
        """(L, D) the node of each leaf column at each level; a shallow leaf repeats itself."""
        return self.node_path[self.leaves]

    def check_level(self, level: int) -> int:
        """The level itself. Raises ValueError when it is not an integer in 1..D."""
        if not 1 <= level <= self.depth or int(level) != level:
            raise ValueError(f"level: got {level}, allowed are 1 (coarsest) to {self.depth} in {self.name!r}")
        return int(level)

    @cached_property
    def _level_columns(self) -> tuple[tuple[IntArray, IntArray], ...]:
        """For each level: the nodes of its columns, and the first leaf column of each."""
        out = []
        for d in range(self.depth):
            nodes = self.path[:, d]
            starts = np.flatnonzero(np.r_[True, nodes[1:] != nodes[:-1]])
            out.append((nodes[starts], starts))
        return tuple(out)

    def level_nodes(self, level: int) -> IntArray:
        """(K,) nodes that are the columns of a level, depth-first: the nodes at it and the leaves above it."""
        return self._level_columns[self.check_level(level) - 1][0]

    def level_codes(self, level: int) -> tuple[str, ...]:
        """K codes of the columns of a level."""
        return tuple(self.codes[i] for i in self.level_nodes(level).tolist())

    @cached_property
    def level_column(self) -> IntArray:
        """(N, D) the column of each node's ancestor-or-self within each level; -1 where undetermined."""
        out = np.full((len(self), self.depth), -1, dtype=np.int64)
        for d in range(self.depth):
            column = np.full(len(self) + 1, -1, dtype=np.int64)  # the last entry answers for node -1
            column[self.level_nodes(d + 1)] = np.arange(len(self.level_nodes(d + 1)))
            out[:, d] = column[self.node_path[:, d]]
        return out

    @cached_property
    def group(self) -> IntArray:
        """(N,) number of each node's sibling group, 0..G-1, in node order (siblings are contiguous)."""
        return np.cumsum(np.r_[0, (np.diff(self.parents) > 0).astype(np.int64)])

    @cached_property
    def group_slice(self) -> IntArray:
        """(G, 2) start and stop of the nodes of each sibling group."""
        starts = np.flatnonzero(np.r_[True, np.diff(self.parents) > 0])
        return np.stack([starts, np.r_[starts[1:], len(self)]], axis=1)

    # ------------------------------------------------------------------ probabilities

    def aggregate(self, leaf_log_proba: FloatArray, level: int) -> FloatArray:
        """Leaf log-probabilities (B, L) -> log-probabilities (B, K) of the columns of a level.

        Each is the log of the sum over its leaves (Beręsewicz et al., eq. 5), with each segment's own maximum
        taken out first, so a node far below the row's maximum keeps its value instead of underflowing.
        Same floating type out as in; -inf (an impossible leaf) is allowed.
        """
        x = np.asarray(leaf_log_proba)
        if x.dtype.kind != "f":
            x = x.astype(np.float64)
        if x.ndim != 2 or x.shape[1] != self.num_leaves:
            raise ValueError(f"leaf_log_proba: got shape {x.shape}, expected (rows, {self.num_leaves})")
        nodes, starts = self._level_columns[self.check_level(level) - 1]
        if len(nodes) == self.num_leaves:
            return x.copy()
        top = np.maximum.reduceat(x, starts, axis=1)
        finite = np.where(np.isfinite(top), top, 0)
        widths = np.diff(np.r_[starts, self.num_leaves])
        shifted = np.exp((x - np.repeat(finite, widths, axis=1)).astype(np.float64))
        with np.errstate(divide="ignore"):
            return (np.log(np.add.reduceat(shifted, starts, axis=1)) + finite).astype(x.dtype)

    def node_log_proba(self, leaf_log_proba: FloatArray) -> FloatArray:
        """Leaf log-probabilities (B, L) -> log-probabilities (B, N) of every node."""
        deepest = self.aggregate(leaf_log_proba, self.depth)
        out = np.empty((len(deepest), len(self)), dtype=deepest.dtype)
        out[:, self.leaves] = deepest
        below, columns = deepest.astype(np.float64), np.arange(self.num_leaves)
        for d in range(self.depth - 1, 0, -1):  # the columns of a level are runs of columns of the next
            nodes, starts = self._level_columns[d - 1]
            first = np.searchsorted(columns, starts)
            if len(first) < len(columns):
                top = np.maximum.reduceat(below, first, axis=1)
                finite = np.where(np.isfinite(top), top, 0.0)
                shifted = np.exp(below - np.repeat(finite, np.diff(np.r_[first, len(columns)]), axis=1))
                with np.errstate(divide="ignore"):
                    below = np.log(np.add.reduceat(shifted, first, axis=1)) + finite
            out[:, nodes], columns = below, starts
        return out

    # ------------------------------------------------------------------ relations

    def lca_level(self, a: npt.ArrayLike, b: npt.ArrayLike) -> IntArray:
        """Level of the lowest common ancestor of nodes ``a`` and ``b`` (broadcast); 0 is the root.

        A node is its own ancestor: ``lca_level(x, x) == level[x]``.

        Raises:
            ValueError: a number is not a node, such as -1 for a row without a label.
        """
        x, y = np.broadcast_arrays(*(np.asarray(n, dtype=None if np.size(n) else np.int64) for n in (a, b)))
        for nodes in (x, y):
            if nodes.size and (nodes.min() < 0 or nodes.max() >= len(self)):
                raise ValueError(
                    f"lca_level: node numbers are 0 to {len(self) - 1}, got {nodes.min()} to {nodes.max()}"
                )
        px, py = self.node_path[x], self.node_path[y]
        agree = (px == py) & (px >= 0)
        shared = np.cumprod(agree, axis=-1).sum(axis=-1)
        # A shallow leaf repeats itself below its level: agreement there is no deeper ancestor.
        return np.minimum(shared, np.minimum(self.level[x], self.level[y]))

    def truncate(self, depth: int) -> "Taxonomy":
        """The same tree without the levels below ``depth``. Project gold with :meth:`truncation_map`."""
        keep = self.level <= self.check_level(depth)
        # Breadth-first order: what is kept is a prefix, so node numbers of the kept nodes do not change.
        n = int(keep.sum())
        return Taxonomy(
            codes=self.codes[:n],
            parents=self.parents[:n],
            titles={k: v[:n] for k, v in self.titles.items()},
            descriptions={k: v[:n] for k, v in self.descriptions.items()},
            name=self.name,
        )

    def truncation_map(self, depth: int) -> IntArray:
        """(N,) for each node of this tree its node in ``truncate(depth)``: itself or its ancestor at that level."""
        d = self.check_level(depth)
        at = self.node_path[:, d - 1]
        return np.where(self.level <= d, np.arange(len(self)), at)
