"""Coders who give several codes to a unit: which of their sets agree, at a level."""

from typing import TypeAlias

import numpy as np
from scipy import sparse

from hjc.arrays import BoolArray, Float64, IntArray
from hjc.data.codesets import CodeSets
from hjc.taxonomy.tree import Taxonomy

#: (S, S) 1 where two ratings agree though they differ; None: each agrees with itself only
Alike: TypeAlias = sparse.csr_matrix | None


def alike_of(alike: Alike, codes: IntArray) -> sparse.csr_matrix:
    """(C, C) which of the codes agree; each with itself only where nothing else is said."""
    return sparse.identity(len(codes), format="csr") if alike is None else alike[codes][:, codes]


def agreeing(same: sparse.csr_matrix, a: IntArray, b: IntArray) -> Float64:
    """(n,) 1 where ratings a and b (n,) agree."""
    return np.asarray(same[a, b], dtype=np.float64).ravel() if len(a) else np.zeros(0)


def of_level(taxonomy: Taxonomy, sets: CodeSets, level: int) -> tuple[IntArray, sparse.csr_matrix]:
    """Cells of several codes at a level: (n,) the number of each cell's set there, -1 for none, and which sets have a
    code in common (S, S)."""
    nodes = taxonomy.node_path[sets.nodes, level - 1]
    there = nodes >= 0
    found = CodeSets.of_pairs(sets.row[there], nodes[there], None, len(sets))
    kept: dict[tuple[int, ...], int] = {}
    number = np.full(len(found), -1, dtype=np.int64)
    for i in np.flatnonzero(found.size).tolist():
        key = tuple(sorted(found.nodes[found.indptr[i] : found.indptr[i + 1]].tolist()))
        number[i] = kept.setdefault(key, len(kept))
    row = np.repeat(np.arange(len(kept)), [len(key) for key in kept])
    column = np.array([node for key in kept for node in key], dtype=np.int64)
    holds = sparse.csr_matrix((np.ones(len(row)), (row, column)), shape=(max(1, len(kept)), len(taxonomy)))
    same = (holds @ holds.T).tocsr()
    same.data[:] = 1.0
    return number, same


def common_code(taxonomy: Taxonomy, sets: CodeSets, level: int, units: BoolArray) -> BoolArray:
    """Of the chosen units: whether one code of the level is in the sets of all their coders."""
    nodes, m = taxonomy.node_path[sets.nodes, level - 1], len(sets) // len(units)
    unit, there = sets.row // m, nodes >= 0
    cell = np.unique(np.stack([sets.row[there], nodes[there], unit[there]]), axis=1)  # a coder counts once
    found, times = np.unique(cell[1:], axis=1, return_counts=True)
    out = np.zeros(len(units), dtype=bool)
    out[found[1][times == m]] = True
    return out[units]
