"""A crosswalk: a row-stochastic sparse matrix that carries probabilities over one tree to another.

Rows are the nodes of the source tree, columns the nodes of the target tree; one more row and column, the last, stand
for "unmapped". So every row sums to one, mass that the table cannot place is a number and not a gap, and a chain of
crosswalks is the product of their matrices. Ns, Nt nodes and Ls, Lt leaves of source and target, B rows.

Codes at inner nodes, on either side:

* a link of an inner source node holds for every leaf under it that has no closer link: its own, or that of an
  ancestor further down;
* a source code that is itself an inner node (an ad coded to 3 digits) uses its own links if the table has any, else
  the mean over its leaves, by ``source_counts`` or evenly;
* mass that the table puts on an inner target node is spread over the leaves under it, by ``target_counts`` or evenly
  (``inner="spread"``, what :meth:`Crosswalk.transfer` does), or stays at the inner node
  (``inner="keep"``: :meth:`Crosswalk.level_matrix`).
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from scipy import sparse

from hjc.arrays import BoolArray, Float64, FloatArray
from hjc.crosswalk.correspondence import NOWHERE, Correspondence, Weights
from hjc.crosswalk.parts import CrosswalkStatistics, Transferred, known_shares, spread_matrix, unit_rows
from hjc.errors import TaxonomyError, check_choice, name_some
from hjc.taxonomy.tree import Taxonomy

Unmapped = Literal["keep", "renormalise"]
Inner = Literal["spread", "keep"]
#: elements of the largest temporary array of a transfer (float64: 32 MB)
_BLOCK = 4_000_000


@dataclass(frozen=True, eq=False)
class Crosswalk:
    """A frozen crosswalk. Build it with :func:`build_crosswalk`, :meth:`truncation`, :meth:`then`.

    Attributes:
        source, target: the trees.
        matrix: (Ns + 1, Nt + 1) float64, non-negative, rows sum to one; the last row and column are "unmapped".
        spread: (Nt + 1, Lt + 1) how the mass of a target node is divided over its leaves; the last as above.
        linked: (Ns,) whether the table has links for the node itself.
        unknown_source, unknown_target, notes: see :class:`CrosswalkStatistics`.

    Raises:
        TaxonomyError: the matrix has another shape, a negative or non-finite entry, or a row that does not sum to one.
    """

    source: Taxonomy
    target: Taxonomy
    matrix: sparse.csr_array
    spread: sparse.csr_array
    linked: BoolArray
    unknown_source: tuple[str, ...] = ()
    unknown_target: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        nt, lt = len(self.target), self.target.num_leaves
        for name, shape in (("matrix", (len(self.source) + 1, nt + 1)), ("spread", (nt + 1, lt + 1))):
            m = sparse.csr_array(getattr(self, name), dtype=np.float64, copy=True)
            m.sum_duplicates()
            m.eliminate_zeros()
            if m.shape != shape:
                raise TaxonomyError(f"{name}: got shape {m.shape}, expected {shape}")
            if not np.isfinite(m.data).all() or (m.data < 0).any():
                raise TaxonomyError(f"{name}: entries must be finite and not negative")
            if (off := np.flatnonzero(np.abs(m.sum(axis=1) - 1) > 1e-9)).size:
                raise TaxonomyError(f"{name}: rows must sum to one, {off.size} do not (first: row {off[0]})")
            for part in (m.data, m.indices, m.indptr):
                part.flags.writeable = False
            object.__setattr__(self, name, m)

    # ------------------------------------------------------------------ ways to make one

    @classmethod
    def truncation(cls, taxonomy: Taxonomy, depth: int) -> "Crosswalk":
        """Every code to its ancestor-or-self in ``taxonomy.truncate(depth)``; to itself at full depth."""
        short = taxonomy.truncate(depth)
        n = len(taxonomy)
        columns = np.r_[taxonomy.truncation_map(depth), len(short)]
        matrix = sparse.csr_array((np.ones(n + 1), (np.arange(n + 1), columns)), shape=(n + 1, len(short) + 1))
        return cls(taxonomy, short, matrix, spread_matrix(short), np.ones(n, dtype=bool))

    def then(self, other: "Crosswalk") -> "Crosswalk":
        """First this crosswalk, then another: the product of the matrices. Unmapped stays unmapped.

        Raises:
            TaxonomyError: the other does not start where this one ends.
        """
        if self.target != other.source:
            raise TaxonomyError(
                f"cannot chain: the first crosswalk ends in {self.target!r}, the second starts from {other.source!r}"
            )
        matrix = sparse.csr_array(self.matrix @ other.matrix)
        return Crosswalk(
            self.source, other.target, unit_rows(matrix), other.spread, self.linked,
            self.unknown_source, other.unknown_target, (*self.notes, *other.notes),
        )  # fmt: skip

    # ------------------------------------------------------------------ what it says

    @cached_property
    def leaf_matrix(self) -> sparse.csr_array:
        """(Ls, Lt + 1) from source leaves to target leaves, inner target nodes spread; the last column is unmapped."""
        return sparse.csr_array(self.matrix[self.source.leaves] @ self.spread)

    @cached_property
    def unmapped(self) -> Float64:
        """(Ns,) unmapped share of each source node."""
        return self.matrix[: len(self.source)][:, [len(self.target)]].toarray().ravel()

    def level_matrix(self, level: int, *, inner: Inner = "spread") -> sparse.csr_array:
        """(Ns, K + 2) from source nodes to the K columns of a target level, "above the level", and unmapped.

        Only ``inner="keep"`` leaves anything above a level.
        """
        check_choice("inner", inner, get_args(Inner))
        columns = self.target.level_column[:, self.target.check_level(level) - 1]
        if inner == "spread":
            columns = columns[self.target.leaves]
        k = len(self.target.level_nodes(level))
        places = np.r_[np.where(columns >= 0, columns, k), k + 1]
        gather = sparse.csr_array((np.ones(len(places)), (np.arange(len(places)), places)), shape=(len(places), k + 2))
        to = self.matrix @ self.spread if inner == "spread" else self.matrix
        return sparse.csr_array(to[: len(self.source)] @ gather)

    def of(self, code: str) -> dict[str, float]:
        """target code -> share for one source code, largest first; "" is the unmapped share.

        Raises:
            TaxonomyError: the code is not in the source tree.
        """
        node = int(self.source.encode([code])[0])
        return dict(sorted(self._links(node), key=lambda link: -round(link[1], 12)))

    def _links(self, node: int) -> list[tuple[str, float]]:
        """(target code or "", share) of a source node, in the order of the columns."""
        names, part = (*self.target.codes, NOWHERE), slice(*self.matrix.indptr[node : node + 2])
        found = zip(self.matrix.indices[part].tolist(), self.matrix.data[part].tolist(), strict=True)
        return [(names[j], share) for j, share in found]

    def statistics(self) -> CrosswalkStatistics:
        """Counts of what is mapped, how, and what is not."""
        nt = len(self.target)
        own = np.flatnonzero(self.linked)
        pattern = sparse.csr_array(self.matrix[own][:, :nt])
        targets = np.diff(pattern.indptr)
        sources_of = np.bincount(pattern.indices, minlength=nt)
        most = np.zeros(len(own), dtype=np.int64)
        if pattern.nnz:
            np.maximum.at(most, np.repeat(np.arange(len(own)), targets), sources_of[pattern.indices])
        lost = self.unmapped[self.source.leaves]
        none = lost > 1 - 1e-12
        some = (lost > 1e-12) & ~none
        inherits = ~self.linked[self.source.leaves] & ~none
        reached = np.asarray(self.leaf_matrix[:, : self.target.num_leaves].sum(axis=0)).ravel() > 0
        return CrosswalkStatistics(
            pairs=int(pattern.nnz),
            source_codes=int((targets > 0).sum()),
            target_codes=int((sources_of > 0).sum()),
            one_to_one=int(((targets == 1) & (most == 1)).sum()),
            one_to_many=int(((targets > 1) & (most == 1)).sum()),
            many_to_one=int(((targets == 1) & (most > 1)).sum()),
            many_to_many=int(((targets > 1) & (most > 1)).sum()),
            leaves=self.source.num_leaves,
            mapped=int((~none & ~some).sum()),
            partly=int(some.sum()),
            unmapped=int(none.sum()),
            inherited=int(inherits.sum()),
            unmapped_share=float(lost.mean()),
            targets_not_reached=int((~reached).sum()),
            unknown_source=self.unknown_source,
            unknown_target=self.unknown_target,
            notes=self.notes,
        )

    def to_csv(self, path: str | Path) -> None:
        """Write ``source,target,share`` for every source code; reading it with ``weights="shares"`` gives this back.

        The unmapped share has an empty target.
        """
        with Path(path).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["source", "target", "share"])
            for node, code in enumerate(self.source.codes):
                writer.writerows([code, target, repr(share)] for target, share in self._links(node))

    # ------------------------------------------------------------------ probabilities

    def transfer(self, log_proba: FloatArray) -> Transferred:
        """Leaf log-probabilities over the source (B, Ls) -> the same over target leaves, and the unmapped share.

        All in log-space with each target's own maximum taken out, so a leaf far below the others keeps its value.
        Mass is conserved: exp of what comes out sums to exp of what went in.

        Raises:
            ValueError: another number of columns than source leaves, NaN, or +inf.
        """
        x = np.asarray(log_proba, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self.source.num_leaves:
            raise ValueError(f"got shape {x.shape}, expected (rows, {self.source.num_leaves}) for {self.source.name!r}")
        if np.isnan(x).any() or (x == np.inf).any():
            raise ValueError("log_proba has NaN or +inf; natural-log probabilities are numbers up to 0, or -inf")
        by_target = sparse.csc_array(self.leaf_matrix)
        width = self.target.num_leaves + 1
        links = np.diff(by_target.indptr)
        columns = np.flatnonzero(links)
        starts = by_target.indptr[:-1][columns]
        log_share = np.log(by_target.data)
        out = np.full((len(x), width), -np.inf)
        step = max(1, _BLOCK // max(1, by_target.nnz))
        for begin in range(0, len(x), step):
            terms = x[begin : begin + step][:, by_target.indices] + log_share
            top = np.maximum.reduceat(terms, starts, axis=1)
            finite = np.where(np.isfinite(top), top, 0.0)
            np.exp(terms - np.repeat(finite, links[columns], axis=1), out=terms)
            with np.errstate(divide="ignore"):
                out[begin : begin + step, columns] = np.log(np.add.reduceat(terms, starts, axis=1)) + finite
        return Transferred(out[:, :-1], out[:, -1], self.target)


def build_crosswalk(
    table: Correspondence,
    source: Taxonomy,
    target: Taxonomy,
    *,
    weights: Weights = "uniform",
    target_counts: Mapping[str, float] | None = None,
    source_counts: Mapping[str, float] | None = None,
    unmapped: Unmapped = "keep",
) -> Crosswalk:
    """A crosswalk between two trees from a correspondence table with codes of any level on either side.

    Args:
        weights: how one-to-many links share the mass; see :func:`~hjc.crosswalk.correspondence.link_shares`.
        target_counts: target code -> count (workers, ads). Weighs the links with ``weights="proportional"``, and
            the leaves of an inner target node in any case. The count of an inner node is its own and its subtree's.
        source_counts: source leaf -> count; weighs the leaves of an inner source code without links of its own.
        unmapped: ``keep`` the share of links that lead to no code of the tree as unmapped, or ``renormalise`` the
            other links of the same source code. A source code without any link stays unmapped either way.

    Raises:
        TaxonomyError: no pair of the table has both codes in the trees, or a code of the counts is in no tree.
        ValueError: options that do not fit the table (see ``link_shares``), or negative counts.
    """
    check_choice("unmapped", unmapped, get_args(Unmapped))
    shares = known_shares(table, target, weights, target_counts)
    ns, nt = len(source), len(target)
    rows, columns, values = list[int](), list[int](), list[float]()
    linked = np.zeros(ns, dtype=bool)
    for code, links in shares.items():
        if (node := source.index_of.get(code)) is None:
            continue
        linked[node] = True
        if unmapped == "renormalise" and (mapped := sum(share for t, share in links.items() if t != NOWHERE)) > 0:
            links = {t: share / mapped for t, share in links.items() if t != NOWHERE}
        rows += [node] * len(links)
        columns += [nt if t == NOWHERE else target.index_of[t] for t in links]
        values += links.values()
    unknown_source = tuple(dict.fromkeys(c for c in table.source if c not in source.index_of))
    unknown_target = tuple(
        dict.fromkeys(c for c in (*table.target, *table.added) if c and c not in target.index_of)
    )  # fmt: skip
    if not any(s in source.index_of and t in target.index_of for s, t in zip(table.source, table.target, strict=True)):
        raise TaxonomyError(
            f"{table.name}: no pair has both codes in the trees {source.name!r} and {target.name!r}; the table has "
            f"{name_some(table.source, 3)} -> {name_some(table.target, 3)}, the trees have "
            f"{name_some(source.leaf_codes, 3)} -> {name_some(target.leaf_codes, 3)}. "
            "Is the table the other way round (reverse), or does it name codes differently?"
        )
    notes = list(table.notes)
    if table.weight is not None and weights in ("uniform", "proportional"):
        notes.append(f"the table has weights, which weights={weights!r} does not use")
    if table.weight is None and table.repeated:
        notes.append(f"{table.repeated:,} pairs stand more than once and were counted once")
    own = sparse.csr_array((values, (rows, columns)), shape=(ns + 1, nt + 1))
    return Crosswalk(
        source, target, _complete(own, source, linked, source_counts), spread_matrix(target, target_counts), linked,
        unknown_source, unknown_target, tuple(notes),
    )  # fmt: skip


def _complete(
    own: sparse.csr_array, source: Taxonomy, linked: BoolArray, counts: Mapping[str, float] | None
) -> sparse.csr_array:
    """Rows for the nodes that have no links of their own: leaves inherit, inner nodes are the mean of their leaves."""
    ns, last = len(source), own.shape[1] - 1
    provider = np.where(linked, np.arange(ns), -1)
    for node, parent in enumerate(source.parents.tolist()):  # parents come before children
        if provider[node] < 0 and parent >= 0:
            provider[node] = provider[parent]
    nowhere = sparse.csr_array(([1.0], ([ns], [last])), shape=own.shape)
    with_unmapped = sparse.csr_array(own + nowhere)  # row ns: all unmapped
    leaf_rows = with_unmapped[np.where(provider < 0, ns, provider)[source.leaves]]
    means = spread_matrix(source, counts)[:ns, :-1] @ leaf_rows
    pick = sparse.csr_array(sparse.diags_array(linked.astype(np.float64)))
    rest = sparse.csr_array(sparse.diags_array((~linked).astype(np.float64)))
    top = pick @ own[:ns] + rest @ means
    return unit_rows(sparse.csr_array(sparse.vstack([top, with_unmapped[[ns]]])))
