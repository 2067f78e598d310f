"""The parts of a crosswalk that know no table: results, statistics, and mass on the nodes of a tree.

N nodes, L leaves, B rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from hjc.arrays import Float64, IntArray
from hjc.crosswalk.correspondence import Correspondence, Weights, link_shares
from hjc.errors import name_some
from hjc.taxonomy.tree import Taxonomy


@dataclass(frozen=True)
class CrosswalkStatistics:
    """What a crosswalk covers. The counts of links are of source codes that have links of their own.

    Attributes:
        pairs: links from a node to a node (share above zero).
        source_codes: source codes with links of their own; target_codes: target nodes with at least one link.
        one_to_one, one_to_many, many_to_one, many_to_many: source codes by the targets they have and the sources that
            their targets have.
        leaves: source leaves; mapped, partly, unmapped: those whose unmapped share is 0, between, 1.
        inherited: source leaves that have their links from an ancestor.
        unmapped_share: mean unmapped share over source leaves.
        targets_not_reached: target leaves that no mass can reach, not even through an inner node.
        unknown_source, unknown_target: codes of the table that are not in the trees.
        notes: what the reader of the table left out, a sentence each.
    """

    pairs: int
    source_codes: int
    target_codes: int
    one_to_one: int
    one_to_many: int
    many_to_one: int
    many_to_many: int
    leaves: int
    mapped: int
    partly: int
    unmapped: int
    inherited: int
    unmapped_share: float
    targets_not_reached: int
    unknown_source: tuple[str, ...]
    unknown_target: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.source_codes:,} source codes -> {self.target_codes:,} target codes in {self.pairs:,} links: "
            f"{self.one_to_one:,} one-to-one, {self.one_to_many:,} one-to-many, {self.many_to_one:,} many-to-one, "
            f"{self.many_to_many:,} many-to-many",
            f"source leaves: {self.mapped:,} of {self.leaves:,} mapped ({self.mapped / self.leaves:.1%}), "
            f"{self.partly:,} in part, {self.unmapped:,} not; mean unmapped share {self.unmapped_share:.4f}",
            f"target leaves that nothing leads to: {self.targets_not_reached:,}",
        ]
        if self.inherited:
            lines.insert(2, f"source leaves with the links of an ancestor: {self.inherited:,}")
        for side, codes in (("from", self.unknown_source), ("to", self.unknown_target)):
            if codes:
                lines.append(f"{len(codes):,} codes of the table are not in the {side!r} tree: {name_some(codes)}")
        return "\n".join([*lines, *self.notes])


@dataclass(frozen=True)
class Transferred:
    """Probabilities over target leaves, and the share that could not be placed.

    Attributes:
        log_proba: (B, Lt) natural log; -inf where nothing leads to a leaf. exp of a row plus ``unmapped`` is the mass
            of the row that came in.
        log_unmapped: (B,) natural log of the unmapped share.
        taxonomy: the target tree; its ``aggregate`` gives coherent probabilities of every level.
    """

    log_proba: Float64
    log_unmapped: Float64
    taxonomy: Taxonomy

    @property
    def proba(self) -> Float64:
        """(B, Lt) probabilities."""
        return np.exp(self.log_proba)

    @property
    def unmapped(self) -> Float64:
        """(B,) unmapped share of each row."""
        return np.exp(self.log_unmapped)


def node_counts(taxonomy: Taxonomy, counts: Mapping[str, float]) -> Float64:
    """(N,) counts of nodes: their own and those of everything below.

    Raises:
        TaxonomyError: a code is not in the tree. ValueError: a count is negative or not finite.
    """
    own = np.zeros(len(taxonomy))
    own[taxonomy.encode(counts)] = list(counts.values())
    if not np.isfinite(own).all() or (own < 0).any():
        wrong = [f"{c}: {v}" for c, v in counts.items() if not (np.isfinite(v) and v >= 0)]
        raise ValueError(f"counts must be finite and not negative, got {name_some(wrong)}")
    return taxonomy.with_descendants(own)


def known_shares(
    table: Correspondence, target: Taxonomy, weights: Weights, counts: Mapping[str, float] | None
) -> dict[str, dict[str, float]]:
    """:func:`~hjc.crosswalk.correspondence.link_shares` for the codes of a tree, by counts of its nodes where given."""
    if counts is None:
        return link_shares(table, weights, known=target.index_of)
    of_node = node_counts(target, counts)
    return link_shares(
        table, weights, known=target.index_of, count_of=lambda code: float(of_node[target.index_of[code]])
    )


def spread_matrix(taxonomy: Taxonomy, counts: Mapping[str, float] | None = None) -> sparse.csr_array:
    """(N + 1, L + 1): the share of each leaf in each node, by the counts of leaves or evenly; last row to last column.

    Evenly also where all leaves under a node have a count of zero. Counts of inner codes do not say which leaf they
    belong to and play no part.
    """
    sizes = taxonomy.leaf_slice[:, 1] - taxonomy.leaf_slice[:, 0]
    rows = np.repeat(np.arange(len(taxonomy)), sizes)
    columns = np.concatenate([np.arange(a, b) for a, b in taxonomy.leaf_slice.tolist()])
    values = 1.0 / sizes[rows]
    if counts is not None:
        node_counts(taxonomy, counts)  # checks them
        leaf = np.array([float(counts.get(c, 0.0)) for c in taxonomy.leaf_codes])
        total: IntArray | Float64 = np.bincount(rows, weights=leaf[columns], minlength=len(taxonomy))
        some = total[rows] > 0
        values[some] = leaf[columns[some]] / total[rows[some]]
    rows, columns = np.r_[rows, len(taxonomy)], np.r_[columns, taxonomy.num_leaves]
    return sparse.csr_array((np.r_[values, 1.0], (rows, columns)), shape=(len(taxonomy) + 1, taxonomy.num_leaves + 1))


def unit_rows(matrix: sparse.csr_array) -> sparse.csr_array:
    """The matrix with rounding errors of its row sums taken out."""
    total = matrix.sum(axis=1)
    return sparse.csr_array(sparse.diags_array(1 / total) @ matrix)
