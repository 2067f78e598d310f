"""A graph of similar categories: which codes of a tree are alike, by what they do and not by where they stand.

A :class:`CategoryGraph` is a symmetric sparse matrix over the nodes of a tree. :mod:`hjc.taxonomy.graph.sources` builds
one from shared skills, texts, vectors, crosswalks or confusions; graphs are combined, thinned out and lifted from the
leaves to the groups above them here. N nodes, L leaves, D levels.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from scipy import sparse

from hjc.arrays import BoolArray, Float64, IntArray
from hjc.errors import TaxonomyError, check_choice
from hjc.taxonomy.tree import Taxonomy

Lift = Literal["mean", "max"]
FORMAT_VERSION = 1
_ASYMMETRY = 1e-9


class Link(NamedTuple):
    """A pair of similar codes."""

    code: str
    other: str
    similarity: float


@dataclass(frozen=True, eq=False, repr=False)
class CategoryGraph:
    """Similarities between nodes of a tree, in (0, 1]. No node is linked to itself, its ancestors or descendants.

    Attributes:
        taxonomy: the tree.
        matrix: (N, N) float64 CSR, symmetric; no entry is similarity 0.
        provenance: plain JSON: ``sources`` (kind, options, counts, files with dates and checksums, weight) and
            ``steps`` (what was done afterwards).

    Raises:
        TaxonomyError: another shape, values outside (0, 1], not symmetric, or a link within one path of the tree.
    """

    taxonomy: Taxonomy
    matrix: sparse.csr_array
    provenance: Mapping[str, Any]

    def __post_init__(self) -> None:
        n = len(self.taxonomy)
        m = sparse.csr_array(self.matrix, dtype=np.float64, copy=True)
        if m.shape != (n, n):
            raise TaxonomyError(f"matrix: got shape {m.shape}, expected ({n}, {n}) for {self.taxonomy.name!r}")
        m.sum_duplicates()
        m.eliminate_zeros()
        if m.nnz and not (np.isfinite(m.data).all() and m.data.min() > 0 and m.data.max() <= 1 + _ASYMMETRY):
            raise TaxonomyError(f"similarities must lie in (0, 1], got {m.data.min()} to {m.data.max()}")
        if abs(m - m.T).max() > _ASYMMETRY:
            raise TaxonomyError("similarities must be symmetric; take sparse.csr_array.maximum(m, m.T) or their mean")
        m = sparse.csr_array((m + m.T) / 2)
        m.sort_indices()
        np.minimum(m.data, 1.0, out=m.data)
        rows = np.repeat(np.arange(n), np.diff(m.indptr))
        if (bad := np.flatnonzero(self._on_one_path(rows, m.indices))).size:
            a, b = self.taxonomy.codes[rows[bad[0]]], self.taxonomy.codes[m.indices[bad[0]]]
            raise TaxonomyError(
                f"{bad.size} links join a node with itself, an ancestor or a descendant (first: {a!r} - {b!r})"
            )
        for part in (m.data, m.indices, m.indptr):
            part.flags.writeable = False
        object.__setattr__(self, "matrix", m)
        object.__setattr__(self, "provenance", MappingProxyType(json.loads(json.dumps(dict(self.provenance)))))

    def _on_one_path(self, a: IntArray, b: IntArray) -> BoolArray:
        spans = self.taxonomy.leaf_slice  # of two nodes on one path, and only of those, the leaves overlap
        return (spans[a, 0] < spans[b, 1]) & (spans[b, 0] < spans[a, 1])

    @classmethod
    def from_leaves(
        cls, taxonomy: Taxonomy, leaf_matrix: Any, provenance: Mapping[str, Any] | None = None
    ) -> "CategoryGraph":
        """A graph from an (L, L) matrix over the leaf columns, whose diagonal is ignored."""
        m = sparse.coo_array(leaf_matrix)
        if m.shape != (taxonomy.num_leaves, taxonomy.num_leaves):
            raise TaxonomyError(f"leaf_matrix: got shape {m.shape}, expected {(taxonomy.num_leaves,) * 2}")
        off = m.row != m.col
        where = (taxonomy.leaves[m.row[off]], taxonomy.leaves[m.col[off]])
        whole = sparse.csr_array((m.data[off], where), shape=(len(taxonomy),) * 2)
        return cls(taxonomy, whole, provenance or {"sources": [], "steps": []})

    # ------------------------------------------------------------------ what it says

    def __repr__(self) -> str:
        return f"CategoryGraph({self.taxonomy.name!r}, links={self.links:,}, linked nodes={self.linked.sum():,})"

    @property
    def links(self) -> int:
        """Number of pairs."""
        return int(self.matrix.nnz // 2)

    @cached_property
    def linked(self) -> BoolArray:
        """(N,) whether a node has any link."""
        return np.diff(self.matrix.indptr) > 0

    @property
    def isolated_leaves(self) -> tuple[str, ...]:
        """Codes of the leaves without a link, in column order."""
        leaves = self.taxonomy.leaves
        return tuple(self.taxonomy.codes[i] for i in leaves[~self.linked[leaves]].tolist())

    def neighbours(self, code: str, k: int | None = 10) -> list[Link]:
        """The k (None: all) most similar codes, of any level, most similar first, ties in node order.

        Raises:
            TaxonomyError: the code is not in the tree.
        """
        node = int(self.taxonomy.encode([code])[0])
        part = slice(*self.matrix.indptr[node : node + 2])
        nodes, values = self.matrix.indices[part], self.matrix.data[part]
        order = np.lexsort((nodes, -values))[:k]
        return [Link(code, self.taxonomy.codes[nodes[i]], float(values[i])) for i in order.tolist()]

    def strongest(self, k: int = 10, *, apart: int | None = None, leaves: bool = False) -> list[Link]:
        """The k strongest pairs; with ``apart`` only those that the tree holds apart at that level already, with
        ``leaves`` only those of two leaves."""
        rows, columns, values = self._upper()
        if leaves:
            both = self.taxonomy.is_leaf[rows] & self.taxonomy.is_leaf[columns]
            rows, columns, values = rows[both], columns[both], values[both]
        if apart is not None:
            far = self.taxonomy.lca_level(rows, columns) < self.taxonomy.check_level(apart)
            rows, columns, values = rows[far], columns[far], values[far]
        codes = self.taxonomy.codes
        order = np.lexsort((columns, rows, -values))[:k]
        return [Link(codes[rows[i]], codes[columns[i]], float(values[i])) for i in order.tolist()]

    def links_per_level(self) -> list[tuple[int, int, int]]:
        """For each level: its nodes, those of them with any link, and the pairs of two of its nodes."""
        rows, columns, _ = self._upper()
        level, depth = self.taxonomy.level, self.taxonomy.depth
        pairs = np.bincount(level[rows][level[rows] == level[columns]], minlength=depth + 1)
        nodes, linked = np.bincount(level), np.bincount(level[self.linked], minlength=depth + 1)
        return [(int(nodes[d]), int(linked[d]), int(pairs[d])) for d in range(1, depth + 1)]

    def _upper(self) -> tuple[IntArray, IntArray, Float64]:
        m = sparse.coo_array(sparse.triu(self.matrix, k=1))
        return m.row.astype(np.int64), m.col.astype(np.int64), m.data

    # ------------------------------------------------------------------ other graphs from it

    def _step(self, **step: Any) -> dict[str, Any]:
        return {**self.provenance, "steps": [*self.provenance.get("steps", []), step]}

    def top(self, k: int, *, mutual: bool = False) -> "CategoryGraph":
        """Only the k strongest links of each node to the nodes of each level; ties in node order.

        A link stays when one of its ends lists it (so a node may keep more than k), with ``mutual`` when both do.

        Raises:
            ValueError: k below 1.
        """
        if k < 1:
            raise ValueError(f"k: got {k}, expected an integer from 1")
        m = sparse.coo_array(self.matrix)
        level = self.taxonomy.level[m.col]
        order = np.lexsort((m.col, -m.data, level, m.row))
        new = np.r_[True, (np.diff(m.row[order]) != 0) | (np.diff(level[order]) != 0)][: len(order)]
        first = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
        kept = order[np.arange(len(order)) - first < k]
        listed = sparse.csr_array((m.data[kept], (m.row[kept], m.col[kept])), shape=m.shape)
        both = listed.minimum(listed.T) if mutual else listed.maximum(listed.T)
        return CategoryGraph(self.taxonomy, both, self._step(top=k, mutual=mutual))

    def at_least(self, minimum: float) -> "CategoryGraph":
        """Only links of at least this similarity."""
        m = sparse.csr_array(self.matrix, copy=True)
        m.data = np.where(m.data >= minimum, m.data, 0.0)
        return CategoryGraph(self.taxonomy, m, self._step(at_least=minimum))

    def lift(self, how: Lift = "mean") -> "CategoryGraph":
        """Links between the columns of every level, from those of the leaves under them.

        ``mean``: over all pairs of a leaf under one node and a leaf under the other, pairs without a link counting 0;
        ``max``: the strongest of these pairs. A leaf above the deepest level is a column of every level below it too.
        Links that the graph has between inner nodes already stay as they are.
        """
        check_choice("how", how, get_args(Lift))
        tree, leaves = self.taxonomy, self.taxonomy.leaves
        m = sparse.coo_array(sparse.csr_array(self.matrix[leaves][:, leaves]))
        size = np.diff(tree.leaf_slice, axis=1).ravel()
        n = len(tree)
        keys, values = [np.empty(0, np.int64)], [np.empty(0)]
        for d in range(tree.depth):
            a, b = tree.path[m.row, d], tree.path[m.col, d]
            apart = a != b
            key = a[apart] * n + b[apart]
            order = np.argsort(key, kind="stable")
            found, starts = np.unique(key[order], return_index=True)
            if not found.size:
                continue
            ufunc = np.add if how == "mean" else np.maximum
            value = ufunc.reduceat(m.data[apart][order], starts)
            keys.append(found)
            values.append(value / (size[found // n] * size[found % n]) if how == "mean" else value)
        key, first = np.unique(np.concatenate(keys), return_index=True)  # two shallow leaves meet at several levels
        value = np.concatenate(values)[first]
        own = sparse.coo_array(self.matrix)
        inner = ~(tree.is_leaf[own.row] & tree.is_leaf[own.col])
        new = ~np.isin(key, own.row[inner].astype(np.int64) * n + own.col[inner])
        rows = np.concatenate([key[new] // n, own.row[inner]])
        columns = np.concatenate([key[new] % n, own.col[inner]])
        data = np.concatenate([value[new], own.data[inner]])
        lifted = sparse.csr_array((data, (rows, columns)), shape=(n, n))
        # sums in another order differ in the last bits between a row and its column
        return CategoryGraph(tree, (lifted + lifted.T) / 2, self._step(lift=how))

    # ------------------------------------------------------------------ on disk

    def save(self, path: str | Path) -> None:
        """Write one .npz: the matrix, and the provenance as JSON. No pickle."""
        about = {
            "format_version": FORMAT_VERSION, "taxonomy": self.taxonomy.name, "taxonomy_hash": self.taxonomy.hash,
            "provenance": dict(self.provenance),
        }  # fmt: skip
        text = np.frombuffer(json.dumps(about, ensure_ascii=False).encode(), dtype=np.uint8)
        m = self.matrix
        with Path(path).open("wb") as stream:  # an open file, as NumPy would add .npz to another name
            np.savez_compressed(stream, data=m.data, indices=m.indices, indptr=m.indptr, about=text)

    @classmethod
    def load(cls, path: str | Path, taxonomy: Taxonomy) -> "CategoryGraph":
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: no such file.
            TaxonomyError: the graph is of another tree, or its matrix is damaged.
            ValueError: no graph, or one of a newer hjc.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                about = json.loads(bytes(arrays["about"]).decode())
                version, tree_hash = about["format_version"], about["taxonomy_hash"]
                parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        except Exception as error:  # zipfile, zlib, numpy and json each have their own errors for a damaged file
            raise ValueError(f"{path}: damaged or no graph written by hjc ({error!r})") from None
        if version != FORMAT_VERSION:
            raise ValueError(f"{path}: format {version}, this hjc reads format {FORMAT_VERSION}: upgrade hjc")
        if tree_hash != taxonomy.hash:
            raise TaxonomyError(
                f"{path}: is a graph of the tree {about.get('taxonomy')!r}, which has other codes than "
                f"{taxonomy.name!r}; build it again for this tree"
            )
        try:
            matrix = sparse.csr_array(parts, shape=(len(taxonomy),) * 2)
            matrix.check_format(full_check=True)
        except (ValueError, TypeError) as error:
            raise TaxonomyError(f"{path}: damaged matrix ({error})") from None
        return cls(taxonomy, matrix, about["provenance"])


def combine(graphs: Sequence[CategoryGraph], weights: Sequence[float] | None = None) -> CategoryGraph:
    """The weighted mean of graphs of one tree; a pair that a graph does not link counts 0 there.

    Args:
        weights: one a graph, not negative, not all 0 (default: equal). A weight of 0 leaves a graph out.

    Raises:
        TaxonomyError: graphs of different trees.
        ValueError: no graph, or weights that do not fit.
    """
    if not graphs:
        raise ValueError("combine: give at least one graph")
    w = np.ones(len(graphs)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (len(graphs),) or not np.isfinite(w).all() or (w < 0).any() or w.sum() == 0:
        raise ValueError(f"weights: got {weights}, expected {len(graphs)} numbers from 0, not all 0")
    tree = graphs[0].taxonomy
    if other := [g for g in graphs if g.taxonomy != tree]:
        raise TaxonomyError(f"cannot combine graphs of {tree!r} and {other[0].taxonomy!r}")
    w = w / w.sum()
    total = sparse.csr_array((len(tree),) * 2)
    for graph, weight in zip(graphs, w.tolist(), strict=True):
        total = sparse.csr_array(total + weight * graph.matrix)
    sources = [
        {**source, "weight": source.get("weight", 1.0) * weight, **({"steps": steps} if steps else {})}
        for graph, weight in zip(graphs, w.tolist(), strict=True)
        for steps in [graph.provenance.get("steps", [])]
        for source in graph.provenance.get("sources", [])
    ]
    return CategoryGraph(tree, total, {"sources": sources, "steps": []})
