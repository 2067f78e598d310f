"""What fitting needs to know about validation rows, gathered in one pass over batches of log-probabilities.

Never a (rows, leaves) array: per row it keeps (1) its log-loss on a grid of temperatures, (2) the conditionals of the
sibling groups on its gold path (the only ones its loss depends on), (3) its log-probabilities at one coarse level.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.calibration.conditionals import as_gold, segment_logsumexp
from hjc.data.codesets import CodeSets, first_of, likeliest
from hjc.metrics.level_proba import as_leaf_log_proba
from hjc.metrics.rows import iter_batches
from hjc.taxonomy.tree import Taxonomy

#: log of 1/T at which losses are tabulated: T from 8 down to 1/8. A cubic spline through them is exact to about 1e-5.
LOG_POWER_GRID = np.linspace(-np.log(8), np.log(8), 25)
#: log-probabilities below this count as this in fitting, so that a -inf (impossible) gold does not hide the rest
FLOOR = -700.0
_CHUNK_CELLS = 2_000_000


@dataclass(frozen=True)
class Conditionals:
    """Log node probabilities of the sibling groups on gold paths, laid end to end; S segments of M values.

    Groups of one node are left out: their conditional is 1 at every temperature.
    """

    values: Float64  # (M,)
    starts: IntArray  # (S,)
    gold: IntArray  # (S,) position in values of the gold sibling
    row: IntArray  # (S,)
    level: IntArray  # (S,)
    group: IntArray  # (S,)

    def losses(self, power: npt.ArrayLike) -> Float64:
        """(S,) -log of the gold sibling's tempered conditional; ``power`` = 1/T, a number or (S,)."""
        if len(self.starts) == 0:
            return np.zeros(0)
        widths = np.diff(np.r_[self.starts, len(self.values)])
        z = self.values * np.repeat(np.broadcast_to(np.asarray(power, dtype=np.float64), self.starts.shape), widths)
        return np.asarray(segment_logsumexp(z, self.starts) - z[self.gold])


@dataclass(frozen=True)
class CalibrationRows:
    """The summary of n labelled validation rows (rows without gold are left out)."""

    taxonomy: Taxonomy
    gold: IntArray  # (n,)
    weight: Float64  # (n,)
    fold: IntArray  # (n,)
    temperature_loss: Float64  # (n, len(LOG_POWER_GRID))
    conditionals: Conditionals
    level: int
    level_log_proba: Float64  # (n, K) at ``level``

    def __len__(self) -> int:
        return len(self.gold)


def _path_conditionals(taxonomy: Taxonomy, node: FloatArray, gold: IntArray) -> tuple[Float64, ...]:
    """Segments of one batch: values, widths, offset of gold, row, level, group."""
    path = taxonomy.node_path[gold]  # (B, D)
    level = np.arange(1, taxonomy.depth + 1)
    own = (path >= 0) & (level[None, :] <= taxonomy.level[gold][:, None])
    row, d = np.nonzero(own)
    nodes = path[row, d]
    group = taxonomy.group[nodes]
    first, stop = taxonomy.group_slice[group].T
    several = stop - first > 1
    row, d, nodes, group, first, stop = (a[several] for a in (row, d, nodes, group, first, stop))
    widths = stop - first
    begin = np.cumsum(widths) - widths
    column = np.arange(int(widths.sum())) - np.repeat(begin - first, widths)
    values = np.maximum(node[np.repeat(row, widths), column], FLOOR)
    return values, widths, nodes - first, row, d + 1, group


def _temperature_losses(taxonomy: Taxonomy, x: FloatArray, gold: IntArray) -> Float64:
    """(B, grid) -log P'(gold) at each temperature of the grid; an inner gold is the sum of its leaves."""
    out = np.empty((len(x), len(LOG_POWER_GRID)))
    x = np.maximum(x - x.max(axis=1, keepdims=True), FLOOR)
    leaf = taxonomy.is_leaf[gold]
    column = taxonomy.leaf_slice[gold, 0]
    inner = [(g, np.flatnonzero(gold == g), taxonomy.leaf_slice[g]) for g in np.unique(gold[~leaf])]
    for j, power in enumerate(np.exp(LOG_POWER_GRID)):
        z = x * x.dtype.type(power)
        e = np.exp(z)
        with np.errstate(divide="ignore"):
            total = np.log(e.sum(axis=1, dtype=np.float64))
            own = np.where(leaf, z[np.arange(len(x)), column], 0.0).astype(np.float64)
            for _, rows, (start, stop) in inner:
                own[rows] = np.log(e[rows, start:stop].sum(axis=1, dtype=np.float64))
        out[:, j] = total - np.maximum(own, FLOOR * 8)
    return out


def assign_folds(rows: IntArray, groups: IntArray | None, folds: int, seed: int) -> IntArray:
    """Fold of each row from a hash of its group (or its position), so that batches may come in any order."""
    key = rows if groups is None else groups[rows]
    x = key.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)  # splitmix64, wraps on purpose
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) % np.uint64(folds)).astype(np.int64)


def default_vector_level(taxonomy: Taxonomy, most: int = 64) -> int:
    """The deepest level of at most ``most`` codes (1 when even that has more)."""
    return max((d for d in range(1, taxonomy.depth + 1) if len(taxonomy.level_nodes(d)) <= most), default=1)


def summarise(
    taxonomy: Taxonomy,
    log_proba: FloatArray | Iterable[Any],
    gold: npt.ArrayLike | CodeSets,
    weights: npt.ArrayLike | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    level: int | None = None,
    folds: int = 5,
    seed: int = 0,
) -> CalibrationRows:
    """One pass over validation log-probabilities (see :func:`iter_batches`); a one-shot iterator will do.

    Args:
        gold: (n,) node numbers, inner nodes allowed, -1 = unlabelled (left out); or sets of them, of which the most
            probable one counts, as any of them is right.
        weights: (n,) case weights, default 1.
        groups: (n,) integers; rows of one group (near-duplicates) stay in one fold.
        level: the level of vector scaling, default :func:`default_vector_level`.

    Raises:
        ValueError: shapes disagree, or no row is labelled.
    """
    target = gold if isinstance(gold, CodeSets) else np.asarray(gold)
    everything = as_gold(taxonomy, first_of(target), len(target))
    weight = np.ones(len(everything)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != everything.shape or not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError(f"weights: got shape {weight.shape}, expected {everything.shape} numbers from 0")
    group_of = None if groups is None else np.asarray(groups, dtype=np.int64)
    level = default_vector_level(taxonomy) if level is None else taxonomy.check_level(level)
    parts: list[tuple[Any, ...]] = []
    count = labelled = width = 0
    for rows, batch in iter_batches(log_proba):
        if len(rows) and rows.max() >= len(everything):
            raise ValueError(f"log_proba has more rows than the {len(everything)} of gold")
        count += len(rows)
        x_all = as_leaf_log_proba(taxonomy, batch)
        step = max(1, _CHUNK_CELLS // taxonomy.num_leaves)
        keep = np.flatnonzero(everything[rows] >= 0)
        for start in range(0, len(keep), step):
            take = keep[start : start + step]
            x, r = x_all[take], rows[take]
            node = taxonomy.node_log_proba(x.astype(np.float64))
            if isinstance(target, CodeSets):
                everything[r] = likeliest(target[r], node)
            values, widths, offset, row, lev, group = _path_conditionals(taxonomy, node, everything[r])
            begin = np.cumsum(widths) - widths + width
            parts.append(
                (
                    r, _temperature_losses(taxonomy, x, everything[r]),
                    np.maximum(taxonomy.aggregate(x, level), FLOOR).astype(np.float32),
                    values, begin, begin + offset, row + labelled, lev, group,
                )
            )  # fmt: skip
            width += len(values)
            labelled += len(r)
    if count != len(everything):
        raise ValueError(f"log_proba has {count} rows for {len(everything)} of gold")
    if labelled == 0:
        raise ValueError("no validation row has a gold code: nothing to calibrate on")
    r, temperature, coarse, *ragged = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return CalibrationRows(
        taxonomy=taxonomy,
        gold=everything[r],
        weight=weight[r],
        fold=assign_folds(r, group_of, folds, seed),
        temperature_loss=temperature,
        conditionals=Conditionals(*ragged),
        level=level,
        level_log_proba=coarse,
    )
