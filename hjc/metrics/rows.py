"""What is kept of a row's probabilities: a few numbers per level, from which every metric follows.

A model may return a million rows of three thousand leaf probabilities; they are scored batch by batch and thrown away.
B rows of a batch, n rows in all, L leaves, D levels, K columns of a level.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hjc.arrays import BoolArray, Float64, FloatArray, IntArray
from hjc.data.codesets import CodeSets, Target, first_of
from hjc.metrics.level_proba import LevelProba
from hjc.taxonomy.tree import Taxonomy

#: how far from 1 a row of probabilities may sum (half-precision models stay well inside)
SUM_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class RowScores:
    """Scores of n rows at D levels (column d-1 is level d). Cells where ``valid`` is False hold fillers.

    Of a row with several acceptable codes any is right: read "the gold column" as "a column of one of its codes";
    ``rank`` is the best of theirs, ``log_p`` is of all together, and a level is ``valid`` where all are determined.

    Attributes:
        gold: (n,) gold node, a leaf or an inner node; of several codes the main one.
        valid: (n, D) the gold code is determined at the level: an inner gold node is not, below its own level.
        rank: (n, D) 1-based rank of the gold column among the level's marginal probabilities. Ties go to the column
            that stands first (depth-first code order), the order in which ``Classifier.predict`` lists codes.
        log_p: (n, D) ln P(gold) at the level, nats; -inf where the model held the gold code impossible.
        top: (n, D) node of the most probable column (defined in every cell; at level D it is the most probable leaf).
        confidence: (n, D) probability of ``top`` (defined in every cell).
        sq: (n, D) multiclass Brier score of the row, ``sum_k (p_k - [k is gold])**2``, 0 to 2.
        aps: (n, D) probability of the gold column and of those before it in rank: nonconformity of adaptive prediction
            sets (that of LAC is ``1 - exp(log_p)``). None unless it was asked for.
        path: (n,) nonconformity of hierarchical conformal prediction (:func:`path_scores`). None like ``aps``.
        held: (n, D + 1) the node that ``top`` is held against: of the row's codes the nearest to it, -1 where that is
            undetermined. The last column is for the ancestor of the most probable leaf at :meth:`own_level`. None where
            no row has several codes: it is the gold code's own path.
    """

    gold: IntArray
    valid: BoolArray
    rank: npt.NDArray[np.int32]
    log_p: Float64
    top: npt.NDArray[np.int32]
    confidence: Float64
    sq: Float64
    aps: Float64 | None = None
    path: Float64 | None = None
    held: npt.NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.gold)

    @property
    def depth(self) -> int:
        return int(self.rank.shape[1])

    @property
    def correct(self) -> BoolArray:
        """(n, D) the most probable code of the level is the gold one; False where that is not known."""
        return self.valid & (self.rank == 1)

    def level(self, level: int) -> tuple[Float64, BoolArray]:
        """Confidence and correctness of the rows whose gold code is determined at a level."""
        keep = self.valid[:, level - 1]
        return self.confidence[keep, level - 1], self.rank[keep, level - 1] == 1

    def gold_at(self, taxonomy: Taxonomy, level: int) -> IntArray:
        """(n,) the node of a level that the most probable one there is held against; -1 where it is undetermined."""
        if self.held is None:
            return np.asarray(taxonomy.node_path[self.gold, level - 1])
        return self.held[:, level - 1].astype(np.int64)

    def own_level(self, taxonomy: Taxonomy) -> IntArray:
        """(n,) the level that a row is scored at overall: its gold code's own, or the deepest that all its codes have;
        0 without a code."""
        own = np.where(self.gold >= 0, taxonomy.level[self.gold], 0)
        return own if self.held is None else np.minimum(own, self.valid.sum(axis=1))

    @classmethod
    def empty(cls, n: int, depth: int, conformal: bool = False, several: bool = False) -> Self:
        """n rows to be filled with :meth:`put`; until then no cell is valid and gold is -1.

        ``several``: rows may have several codes, so that ``held`` is needed.
        """
        return cls(
            gold=np.full(n, -1, dtype=np.int64),
            valid=np.zeros((n, depth), dtype=bool),
            rank=np.zeros((n, depth), dtype=np.int32),
            log_p=np.full((n, depth), np.nan),
            top=np.full((n, depth), -1, dtype=np.int32),
            confidence=np.full((n, depth), np.nan),
            sq=np.full((n, depth), np.nan),
            aps=np.full((n, depth), np.nan) if conformal else None,
            path=np.full(n, np.nan) if conformal else None,
            held=np.full((n, depth + 1), -1, dtype=np.int32) if several else None,
        )

    def put(self, rows: npt.ArrayLike, part: "RowScores") -> None:
        """Write the scores of a batch at positions ``rows`` (in place)."""
        for name, values in self.arrays():
            values[rows] = getattr(part, name)

    def take(self, rows: npt.ArrayLike) -> "RowScores":
        """The rows at positions (or under a boolean mask) ``rows``, in that order."""
        index = np.asarray(rows)
        index = index.astype(np.int64) if index.size == 0 and index.dtype != bool else index  # [] arrives as float
        return RowScores(**{name: values[index] for name, values in self.arrays()})

    @staticmethod
    def concat(parts: Sequence["RowScores"]) -> "RowScores":
        """The rows of all parts one after the other. Raises ValueError without parts or with different depths."""
        if not parts:
            raise ValueError("RowScores.concat: got no parts, expected at least one")
        if len(depths := {p.depth for p in parts}) > 1:
            raise ValueError(f"RowScores.concat: parts have {sorted(depths)} levels, expected the same number")
        columns = ((name, [getattr(p, name) for p in parts]) for name, _ in parts[0].arrays())
        return RowScores(**{name: np.concatenate(values) for name, values in columns})

    def arrays(self) -> list[tuple[str, Any]]:
        """The fields that are there."""
        return [(f.name, value) for f in fields(self) if (value := getattr(self, f.name)) is not None]


def score_rows(
    taxonomy: Taxonomy, log_proba: FloatArray | LevelProba, gold: npt.ArrayLike | CodeSets, *, conformal: bool = False
) -> RowScores:
    """Score a batch of leaf log-probabilities against gold nodes.

    Args:
        log_proba: (B, L) natural-log leaf probabilities, or these summed already; -inf is allowed, NaN is not.
        gold: (B,) gold node numbers in 0..N-1, leaves or inner nodes; or B sets of them, of which any is right.
        conformal: also find ``aps`` and ``path``.

    Raises:
        ValueError: wrong shape, NaN, a row that does not sum to 1 (probabilities or raw scores instead of
            log-probabilities), or a gold number that is not a node.
    """
    levels = LevelProba.of(taxonomy, log_proba)
    sets = gold if isinstance(gold, CodeSets) else None
    node = np.asarray(gold if sets is None else sets.first)
    if node.shape != (len(levels),):
        raise ValueError(f"gold: got shape {node.shape}, expected ({len(levels)},) as log_proba has {len(levels)} rows")
    node = node.astype(np.int64)
    if len(node) and (node.min() < 0 or node.max() >= len(taxonomy)):
        bad = int(np.count_nonzero((node < 0) | (node >= len(taxonomy))))
        raise ValueError(
            f"gold: {bad} of {len(node)} rows are no node number of {taxonomy.name!r} (0 to {len(taxonomy) - 1}); "
            "leave unlabelled rows (-1) out with JobData.labelled()"
        )
    out = RowScores.empty(len(levels), taxonomy.depth, conformal, sets is not None)
    if not len(levels):
        return out
    _check_sums(levels)
    out.gold[:], out.top[:], out.confidence[:] = node, levels.top, levels.confidence
    column = taxonomy.level_column[node]  # (B, D), -1 where undetermined
    out.valid[:] = column >= 0
    rows = np.arange(len(levels))
    for d in range(taxonomy.depth):
        p, ordered = levels.at(d + 1), levels.ordered(d + 1)
        safe, ok = np.maximum(column[:, d], 0), column[:, d] >= 0
        gold_p = np.minimum(p[rows, safe], 1.0)
        squares = np.einsum("bk,bk->b", p, p) - p[rows, safe] ** 2 + (1.0 - gold_p) ** 2
        with np.errstate(divide="ignore"):
            log_p = np.log(gold_p) if ordered is p else np.minimum(ordered[rows, safe].astype(np.float64), 0.0)
        rank, above = _rank(ordered, safe, p if conformal else None)
        out.rank[:, d] = np.where(ok, rank, 0)
        out.log_p[:, d] = np.where(ok, log_p, np.nan)
        out.sq[:, d] = np.where(ok, np.maximum(squares, 0.0), np.nan)
        if out.aps is not None:
            out.aps[:, d] = np.where(ok, above + p[rows, safe], np.nan)
    if out.path is not None:
        out.path[:] = path_scores(taxonomy, levels.path, levels.path_proba, node)
    # Sums of probabilities say nothing of a gold code below e^-700: such rows are taken in log-space, which is slower.
    tiny = np.flatnonzero((out.valid & (out.log_p < -700.0)).any(axis=1))
    for d in range(taxonomy.depth) if len(tiny) else ():
        in_logs = taxonomy.aggregate(levels.leaf[tiny].astype(np.float64), d + 1)
        safe, ok = np.maximum(column[tiny, d], 0), column[tiny, d] >= 0
        out.rank[tiny, d] = np.where(ok, _rank(in_logs, safe)[0], 0)
        out.log_p[tiny, d] = np.where(ok, np.minimum(in_logs[np.arange(len(tiny)), safe], 0.0), np.nan)
    if sets is not None:
        _score_sets(taxonomy, levels, sets, out)
    return out


def _score_sets(taxonomy: Taxonomy, levels: LevelProba, sets: CodeSets, out: RowScores) -> None:
    """Write the scores of the rows with several codes over those of their main codes, and ``held`` of all rows.

    At a level the set is the columns that its codes have there, each once: P is their sum, the Brier score that of the
    outcome "in the set" beside all other columns, ``sum_{k outside} p_k**2 + (1 - P)**2``.
    """
    assert out.held is not None
    out.held[:, :-1] = np.where(out.valid, taxonomy.node_path[out.gold], -1)
    many = np.flatnonzero(sets.several)
    members = sets[many].padded()  # (M, S)
    there, rows = members >= 0, np.arange(len(many))
    for d in range(taxonomy.depth) if len(many) else ():
        p, ordered = levels.at(d + 1)[many], levels.ordered(d + 1)[many]
        column = np.where(there, taxonomy.level_column[members, d], 0)
        ok = (column >= 0).all(axis=1)
        column = np.maximum(column, 0)
        inside = np.zeros(p.shape, dtype=bool)
        np.put_along_axis(inside, np.where(there, column, column[:, :1]), True, axis=1)
        mass = np.minimum(np.where(inside, p, 0.0).sum(axis=1), 1.0)
        squares = np.where(inside, 0.0, p**2).sum(axis=1) + (1.0 - mass) ** 2
        in_logs = np.where(inside, taxonomy.aggregate(levels.leaf[many].astype(np.float64), d + 1), -np.inf)
        most = in_logs.max(axis=1)
        scale = np.where(np.isfinite(most), most, 0.0)
        with np.errstate(divide="ignore"):
            log_p = np.log(np.exp(in_logs - scale[:, None]).sum(axis=1)) + scale
        best = np.where(inside, ordered, -np.inf).argmax(axis=1)  # the first of ties, as in rank
        far = log_p < -700.0
        best[far] = in_logs[far].argmax(axis=1)
        rank, above = _rank(ordered, best, p if out.aps is not None else None)
        rank[far] = _rank(taxonomy.aggregate(levels.leaf[many[far]].astype(np.float64), d + 1), best[far])[0]
        out.valid[many, d] = ok
        out.rank[many, d] = np.where(ok, rank, 0)
        out.log_p[many, d] = np.where(ok, np.minimum(log_p, 0.0), np.nan)
        out.sq[many, d] = np.where(ok, squares, np.nan)
        if out.aps is not None:
            out.aps[many, d] = np.where(ok, above + p[rows, best], np.nan)
        nodes = taxonomy.level_nodes(d + 1)[column]
        out.held[many, d] = np.where(ok, _nearest(taxonomy, nodes, there, out.top[many, d]), -1)
    if out.path is not None and len(many):
        each = [path_scores(taxonomy, levels.path[many], levels.path_proba[many], np.maximum(m, 0)) for m in members.T]
        out.path[many] = np.where(there, np.stack(each, axis=1), np.inf).min(axis=1)
    own = out.own_level(taxonomy) - 1
    out.held[:, -1] = taxonomy.node_path[out.gold, own]
    if len(many):
        at = own[many]
        nodes = taxonomy.node_path[np.maximum(members, 0), at[:, None]]
        out.held[many, -1] = _nearest(taxonomy, nodes, there, taxonomy.node_path[out.top[many, -1], at])


def _nearest(taxonomy: Taxonomy, nodes: IntArray, there: BoolArray, top: IntArray) -> IntArray:
    """(M,) of the nodes (M, S) that are ``there`` the one that shares most levels with ``top``, the first of ties."""
    nodes = np.where(there, nodes, nodes[:, :1])
    shared = taxonomy.lca_level(nodes, top[:, None])
    return np.asarray(nodes[np.arange(len(nodes)), shared.argmax(axis=1)])


def score_batches(
    taxonomy: Taxonomy, log_proba: FloatArray | Iterable[Any], gold: Any, *, conformal: bool = False
) -> RowScores:
    """Score many rows, batch by batch (:func:`iter_batches`). Rows of gold -1 have no valid cell.

    Raises:
        ValueError: as :func:`score_rows`; a gold number that is no node and not -1.
    """
    target: Target = gold if isinstance(gold, CodeSets) else np.asarray(gold, dtype=np.int64)
    wanted, several = first_of(target), isinstance(target, CodeSets)
    if len(wanted) and wanted.min() < -1:
        raise ValueError(f"gold: got node number {wanted.min()}, allowed are 0 to {len(taxonomy) - 1} and -1 (no code)")
    target = target.filled(0) if isinstance(target, CodeSets) else np.maximum(wanted, 0)
    out = RowScores.empty(len(wanted), taxonomy.depth, conformal, several)
    for rows, batch in iter_batches(log_proba):
        out.put(rows, score_rows(taxonomy, batch, target[rows], conformal=conformal))
    unknown = wanted < 0
    out.gold[unknown], out.valid[unknown] = -1, False
    if out.held is not None:
        out.held[unknown] = -1
    return out


def iter_batches(log_proba: Any, chunk: int = 4096) -> Iterator[tuple[IntArray, FloatArray]]:
    """(rows, log_proba) batches of an array (n, L), of an iterable of arrays (rows counted on), or of such pairs.

    Pairs are what ``Classifier.iter_log_proba`` yields; their rows may come in any order.
    """
    parts = log_proba
    if isinstance(log_proba, np.ndarray):
        parts = (log_proba[start : start + chunk] for start in range(0, len(log_proba), chunk))
    seen = 0
    for batch in parts:
        if isinstance(batch, tuple):
            rows, x = np.asarray(batch[0], dtype=np.int64), np.asarray(batch[1])
        else:
            rows, x = np.arange(seen, seen + len(batch)), np.asarray(batch)
        seen += len(rows)
        yield rows, x


def path_scores(taxonomy: Taxonomy, nodes: IntArray, probability: Float64, gold: IntArray) -> Float64:
    """(B,) probability of the first node on each path (B, D) that does not surely hold gold; 0 where the whole path
    does: the nonconformity of hierarchical conformal prediction.

    An inner gold code is held by itself and its ancestors only (the unknown leaf may be elsewhere below), so its score
    is that of the node under it: conservative.
    """
    level = taxonomy.level[nodes] - 1  # a shallow leaf repeats itself: look at its own level
    holds = taxonomy.node_path[gold[:, None], level] == nodes
    # A leaf's own row repeats the leaf below its level; an inner gold has -1 there and so holds nothing deeper.
    first = np.where(holds.all(axis=1), nodes.shape[1], (~holds).argmax(axis=1))
    padded = np.c_[probability, np.zeros(len(nodes))]
    return np.asarray(padded[np.arange(len(nodes)), first])


def _rank(values: FloatArray, column: IntArray, p: Float64 | None = None) -> tuple[IntArray, Float64 | None]:
    """1-based rank of a column of each row (B, K), largest first, ties by column; and the sum of ``p`` before it."""
    at = values[np.arange(len(values)), column][:, None]
    before = values > at
    tied = np.flatnonzero(np.count_nonzero(values == at, axis=1) > 1)
    before[tied] |= (values[tied] == at[tied]) & (np.arange(values.shape[1])[None, :] < column[tied, None])
    return 1 + np.count_nonzero(before, axis=1), None if p is None else np.einsum("bk,bk->b", p, before)


def _check_sums(levels: LevelProba) -> None:
    """ValueError where rows are no probabilities."""
    total = levels.at(1).sum(axis=1)
    bad = np.flatnonzero(~(np.abs(total - 1.0) <= SUM_TOLERANCE))
    if len(bad):
        raise ValueError(
            f"log_proba: {len(bad)} of {len(total)} rows are no log-probabilities: row {bad[0]} sums to "
            f"{total[bad[0]]:.4g} after exp, expected 1; pass natural logarithms of leaf probabilities"
        )
