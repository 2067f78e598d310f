"""Triplets of nodes (anchor, near, far) that a space of categories should keep: the anchor lies nearer to the near one.

Two kinds, as in the similarity-graph model (arXiv:2507.09949), for any tree: a child is nearer to its parent than to
another parent; a node is nearer to a similar node than to a dissimilar one. Samplers do their counting once, so that a
training step can draw fresh triplets. N nodes, T triplets.
"""

import numpy as np

from hjc.arrays import BoolArray, Float64, IntArray
from hjc.errors import TaxonomyError
from hjc.taxonomy.graph.category_graph import CategoryGraph
from hjc.taxonomy.tree import Taxonomy

Rng = np.random.Generator
#: draws at random before the remaining far nodes are looked up one by one
_ROUNDS = 8


class HierarchyTriplets:
    """Draws (child, its parent, another parent): the far node lies at the level of the parent and has children too.

    Where no other node of that level has children, any other node of the level is far. Children whose parent is alone
    at its level are never drawn. A single child and its parent are a triplet like any other.

    Args:
        balanced: draw the level of the child first, then the child, instead of a child among all (of whom most lie at
            the deepest level).

    Raises:
        TaxonomyError: the tree has no such triplet (one level, or one node at every level with children).
    """

    def __init__(self, taxonomy: Taxonomy, *, balanced: bool = False) -> None:
        level, parents, n = taxonomy.level, taxonomy.parents, len(taxonomy)
        self.taxonomy = taxonomy
        order = np.lexsort((np.arange(n), taxonomy.is_leaf, level))  # by level, nodes with children first
        self._order = order
        self._place = np.empty(n, dtype=np.int64)
        self._place[order] = np.arange(n)
        starts = np.searchsorted(level[order], np.arange(1, taxonomy.depth + 2))
        inner = np.bincount(level[~taxonomy.is_leaf], minlength=taxonomy.depth + 1)[1:]
        pool = np.where(inner > 1, inner, np.diff(starts))  # how many nodes of a level may be far, self included
        self._start, self._pool = starts[:-1], pool
        has_parent = np.flatnonzero(parents >= 0)
        self.children: IntArray = has_parent[pool[level[parents[has_parent]] - 1] > 1]
        if not self.children.size:
            raise TaxonomyError(f"{taxonomy.name!r} has no child with another node beside its parent")
        of_level = np.bincount(level[self.children])[level[self.children]]
        weight = 1 / of_level if balanced else np.ones(len(self.children))
        self._cumulated = np.cumsum(weight) / weight.sum()

    def sample(self, size: int, rng: Rng) -> IntArray:
        """(T, 3) child, parent, other parent; drawn with replacement."""
        drawn = np.searchsorted(self._cumulated, rng.random(size), side="right")
        child = self.children[np.minimum(drawn, len(self.children) - 1)]
        parent = self.taxonomy.parents[child]
        d = self.taxonomy.level[parent] - 1
        # a number among the others; those from the parent's place on move up by one
        other = (rng.random(size) * (self._pool[d] - 1)).astype(np.int64)
        other += other >= self._place[parent] - self._start[d]
        return np.stack([child, parent, self._order[self._start[d] + other]], axis=1)


class SimilarityTriplets:
    """Draws (node, a similar node, a dissimilar node of the same level as the similar one).

    The similar node is drawn in proportion to the similarity s. Dissimilar is any node that is neither an ancestor nor
    a descendant of the anchor and whose similarity is at most ``ratio`` times s (0 where there is no link). A graph of
    leaves gives triplets of leaves; :meth:`CategoryGraph.lift` it first to have them at every level.

    Raises:
        TaxonomyError: no link of the graph has a dissimilar node at its level.
        ValueError: a ratio outside [0, 1).
    """

    def __init__(self, graph: CategoryGraph, *, ratio: float = 0.5) -> None:
        if not 0 <= ratio < 1:
            raise ValueError(f"ratio: got {ratio}, allowed are 0 to below 1")
        self.graph, self.taxonomy, self.ratio = graph, graph.taxonomy, ratio
        tree, m = graph.taxonomy, graph.matrix
        level = tree.level
        anchor = np.repeat(np.arange(len(tree)), np.diff(m.indptr))
        other, value = m.indices.astype(np.int64), m.data
        self._nodes = np.argsort(level, kind="stable")
        self._starts = np.searchsorted(level[self._nodes], np.arange(1, tree.depth + 2))
        at_level = np.diff(self._starts)[level[other] - 1]
        far = at_level - self._near_links(anchor, level[other], value) - self._on_path(anchor, level[other])
        usable = far > 0
        if not usable.any():
            raise TaxonomyError(
                f"no link of {graph!r} has a node of its level that is at most {ratio} times as similar; "
                "thin the graph out with top(k), or raise the ratio"
            )
        self._anchor, self._other, self._value = anchor[usable], other[usable], value[usable]
        self._sum = np.r_[0.0, np.cumsum(self._value)]
        self.anchors: IntArray = np.unique(self._anchor)
        self._first = np.searchsorted(self._anchor, self.anchors)
        self._last = np.searchsorted(self._anchor, self.anchors, side="right")

    def _near_links(self, anchor: IntArray, level: IntArray, value: Float64) -> IntArray:
        """For each link, how many links of its anchor to the same level are stronger than ``ratio`` times it."""
        order = np.lexsort((-value, level, anchor))
        group = anchor[order] * (self.taxonomy.depth + 1) + level[order]
        bounds = np.flatnonzero(np.r_[True, np.diff(group) != 0, True][: len(group) + 1])
        out = np.empty(len(anchor), dtype=np.int64)
        for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            falling = -value[order[start:stop]]
            out[order[start:stop]] = np.searchsorted(falling, self.ratio * falling, side="left")
        return out

    def _on_path(self, anchor: IntArray, level: IntArray) -> IntArray:
        """How many nodes of a level are the anchor, its ancestor or its descendants."""
        tree = self.taxonomy
        at_level = (np.arange(tree.depth + 1)[:, None] == tree.level).astype(np.int64)
        return np.where(level <= tree.level[anchor], 1, tree.with_descendants(at_level)[level, anchor])

    def sample(self, size: int, rng: Rng) -> IntArray:
        """(T, 3) anchor, similar, dissimilar; anchors evenly among those that have triplets."""
        which = rng.integers(len(self.anchors), size=size)
        low, high = self._sum[self._first[which]], self._sum[self._last[which]]
        link = np.searchsorted(self._sum, low + rng.random(size) * (high - low), side="right") - 1
        link = np.clip(link, self._first[which], self._last[which] - 1)
        anchor, near, value = self._anchor[link], self._other[link], self._value[link]
        far = np.full(size, -1, dtype=np.int64)
        open_ = np.arange(size)
        d = self.taxonomy.level[near] - 1
        start, width = self._starts[d], np.diff(self._starts)[d]
        for _ in range(_ROUNDS):
            drawn = self._nodes[start[open_] + (rng.random(len(open_)) * width[open_]).astype(np.int64)]
            good = self._is_far(anchor[open_], drawn, value[open_])
            far[open_[good]] = drawn[good]
            open_ = open_[~good]
            if not open_.size:
                break
        for i in open_.tolist():  # nearly everything is similar: list what is not
            nodes = self._nodes[start[i] : start[i] + width[i]]
            left = nodes[self._is_far(np.full(len(nodes), anchor[i]), nodes, np.full(len(nodes), value[i]))]
            far[i] = left[rng.integers(len(left))]
        return np.stack([anchor, near, far], axis=1)

    def _is_far(self, anchor: IntArray, node: IntArray, value: Float64) -> BoolArray:
        if not len(anchor):
            return np.empty(0, dtype=bool)
        spans = self.taxonomy.leaf_slice
        apart = (spans[anchor, 0] >= spans[node, 1]) | (spans[node, 0] >= spans[anchor, 1])
        similarity = np.asarray(self.graph.matrix[anchor, node]).ravel()
        return apart & (similarity <= self.ratio * value)


def hierarchy_triplets(taxonomy: Taxonomy, size: int, seed: int = 0, *, balanced: bool = False) -> IntArray:
    """(T, 3) node numbers; see :class:`HierarchyTriplets`. The same seed gives the same triplets."""
    return HierarchyTriplets(taxonomy, balanced=balanced).sample(size, np.random.default_rng(seed))


def similarity_triplets(graph: CategoryGraph, size: int, seed: int = 0, *, ratio: float = 0.5) -> IntArray:
    """(T, 3) node numbers; see :class:`SimilarityTriplets`. The same seed gives the same triplets."""
    return SimilarityTriplets(graph, ratio=ratio).sample(size, np.random.default_rng(seed))
