"""The metrics of one level, of all levels together, and the sums they are made of.

Every metric is a function of weighted sums over rows, so the same code serves plain means, row weights and a
thousand bootstrap resamples (a resample is a weighting by counts). n rows, R weightings.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hjc.arrays import Float64, IntArray
from hjc.metrics.calibration_error import confidence_blocks, ece_from_blocks
from hjc.metrics.rows import RowScores
from hjc.taxonomy.tree import Taxonomy

#: the k of recall@k
RECALL_AT = (1, 3, 5, 10)

#: names of all metrics in the order of tables
METRICS = (
    "n",
    "log_loss",
    *(f"recall@{k}" for k in RECALL_AT),
    "macro_recall",
    "hierarchical_precision",
    "hierarchical_recall",
    "hierarchical_f1",
    "lca_level",
    "mistake_severity",
    "ece",
    "ece_debiased",
    "brier",
    "impossible",
)

#: the metrics that are counts: whole numbers, without intervals
COUNTS = ("n", "impossible")

# Columns of the matrix of summed quantities.
_WEIGHT, _LOSS, _IMPOSSIBLE, _BRIER, _PREDICTED, _GOLD, _SHARED, _MISTAKE, _LCA, _SEVERITY = range(10)
_RECALL = 10


@dataclass(frozen=True, eq=False)
class LevelRows:
    """The rows that a level can score, with what each adds to the sums.

    Attributes:
        rows: (m,) positions in the RowScores.
        sums: (m, C) quantities whose weighted sums are the numerators and denominators of the metrics.
        code: (m,) the gold node at the level, renumbered 0..codes-1 among those that occur.
        codes: how many gold nodes occur.
        confidence: (m,) top-1 probability.
        hit: (m,) 1.0 where the gold column ranks first.
    """

    rows: IntArray
    sums: Float64
    code: IntArray
    codes: int
    confidence: Float64
    hit: Float64


def level_rows(scores: RowScores, taxonomy: Taxonomy, level: int | None) -> LevelRows:
    """Pick a level (``None``: overall, each row at its gold code's own level) and lay out what is summed.

    Sets of ancestors are those of Kiritchenko et al. (2006): a node, its ancestors, not the root. The predicted node
    is the most probable one *of that level*; overall it is the ancestor of the most probable *leaf* at the level of
    the gold code (or that leaf itself where it is higher up): a gold code of 4 digits does not make 6 digits wrong.

    Raises:
        ValueError: a level outside 1..D, or scores of a tree with another depth.
    """
    if scores.depth != taxonomy.depth:
        raise ValueError(f"scores have {scores.depth} levels, taxonomy {taxonomy.name!r} has {taxonomy.depth}")
    if level is None:
        rows = np.flatnonzero(scores.gold >= 0)
        gold = scores.gold[rows]
        d = taxonomy.level[gold] - 1
        predicted = taxonomy.node_path[scores.top[rows, -1], d]
    else:
        taxonomy.check_level(level)
        rows = np.flatnonzero(scores.valid[:, level - 1])
        d = np.full(len(rows), level - 1)
        gold = taxonomy.node_path[scores.gold[rows], level - 1]
        predicted = scores.top[rows, level - 1].astype(np.int64)
    log_p, rank = scores.log_p[rows, d], scores.rank[rows, d]
    impossible = np.isneginf(log_p)
    shared = taxonomy.lca_level(predicted, gold)
    mistake = predicted != gold
    sums = np.empty((len(rows), _RECALL + len(RECALL_AT)), dtype=np.float64)
    sums[:, _WEIGHT] = 1.0
    # A sum with 0 x inf would be NaN: the infinite losses are counted apart.
    sums[:, _LOSS] = np.where(impossible, 0.0, -log_p)
    sums[:, _IMPOSSIBLE] = impossible
    sums[:, _BRIER] = scores.sq[rows, d]
    sums[:, _PREDICTED] = taxonomy.level[predicted]
    sums[:, _GOLD] = taxonomy.level[gold]
    sums[:, _SHARED] = shared
    sums[:, _MISTAKE] = mistake
    sums[:, _LCA] = mistake * shared
    sums[:, _SEVERITY] = mistake * (taxonomy.level[gold] - shared)
    for j, k in enumerate(RECALL_AT):
        sums[:, _RECALL + j] = rank <= k
    present, code = np.unique(gold, return_inverse=True)
    return LevelRows(
        rows=rows,
        sums=sums,
        code=code.reshape(-1).astype(np.int64),
        codes=len(present),
        confidence=scores.confidence[rows, d],
        hit=(rank == 1).astype(np.float64),
    )


def ratios(sums: Float64) -> dict[str, Float64]:
    """The metrics that are ratios of sums, from weighted sums (C, R): name -> (R,). NaN where nothing was counted."""
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.where(sums[_WEIGHT] > 0, sums[_WEIGHT], np.nan)
        log_loss = np.where(sums[_IMPOSSIBLE] > 0, np.inf, sums[_LOSS]) / weight
        precision = sums[_SHARED] / np.where(sums[_PREDICTED] > 0, sums[_PREDICTED], np.nan)
        recall = sums[_SHARED] / np.where(sums[_GOLD] > 0, sums[_GOLD], np.nan)
        mistakes = np.where(sums[_MISTAKE] > 0, sums[_MISTAKE], np.nan)
        f1 = np.where(precision + recall > 0, 2 * precision * recall / (precision + recall), precision + recall)
    out = {"log_loss": log_loss}
    out |= {f"recall@{k}": sums[_RECALL + j] / weight for j, k in enumerate(RECALL_AT)}
    out |= {"hierarchical_precision": precision, "hierarchical_recall": recall, "hierarchical_f1": f1}
    out |= {"lca_level": sums[_LCA] / mistakes, "mistake_severity": sums[_SEVERITY] / mistakes}
    out["brier"] = sums[_BRIER] / weight
    return out


def macro_recall(support: Float64, hits: Float64) -> Float64:
    """Mean over the codes that occur of hits / support, from weighted sums (K, R) -> (R,)."""
    present = support > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(present, hits / np.where(present, support, 1.0), 0.0)
        result: Float64 = recall.sum(axis=0) / np.where(present.any(axis=0), present.sum(axis=0), np.nan)
    return result


def level_metrics(
    scores: RowScores, taxonomy: Taxonomy, level: int | None, weights: npt.ArrayLike | None = None
) -> dict[str, float]:
    """All metrics of one level (``None``: overall, each row scored at its gold code's own level).

    * ``n``: rows with a gold code at this level (and weight > 0). The other metrics are over these, by weight.
    * ``log_loss``: mean -ln P(gold), nats; inf when any row has P(gold) = 0; ``impossible`` counts such rows.
    * ``recall@k``: share of rows with the gold code among the k most probable codes of the level. Top-k is taken on the
      level's marginals, which is optimal for that level (not on the leaves' parents). Ties: see :class:`RowScores`.
    * ``macro_recall``: recall@1 of each gold code that occurs, averaged with equal weight over codes.
    * ``hierarchical_precision/recall/f1``: Kiritchenko et al. (2006), micro: with P and T the ancestors-or-self of
      prediction and gold without the root, sum |P & T| / sum |P|, sum |P & T| / sum |T|, and their harmonic mean.
    * ``lca_level``: mean level of the lowest common ancestor of gold and prediction over the mistakes (root: 0).
    * ``mistake_severity``: over the mistakes, mean number of levels from the gold code up to that ancestor (1: right
      sibling group; the height of Bertinetto et al. 2020). NaN, like ``lca_level``, when there are no mistakes.
    * ``ece``, ``ece_debiased``: see :func:`hjc.metrics.calibration_error.ece_from_blocks`; 15 bins of equal mass.
    * ``brier``: mean over rows of ``sum_k (p_k - [k is gold])**2``, 0 to 2.

    Args:
        weights: (n,) non-negative row weights; 2 counts the row twice.

    Raises:
        ValueError: a level outside 1..D, or weights of a wrong shape, negative, infinite or NaN.
    """
    w = check_weights(weights, len(scores))
    at = level_rows(scores, taxonomy, level)
    wr = w[at.rows]
    out = {name: float(value[0]) for name, value in ratios((at.sums.T @ wr)[:, None]).items()}
    support, hits = (_sums_by(at.code, wr * v, at.codes) for v in (1.0, at.hit))
    out["macro_recall"] = float(macro_recall(support, hits)[0])
    block, size = confidence_blocks(at.confidence)
    mass, confidence, correct = (_sums_by(block, wr * v, size) for v in (1.0, at.confidence, at.hit))
    ece, debiased = ece_from_blocks(mass, confidence, correct)
    out["ece"], out["ece_debiased"] = float(ece[0]), float(debiased[0])
    counted = wr > 0
    out["n"] = int(counted.sum())
    out["impossible"] = int((at.sums[counted, _IMPOSSIBLE] > 0).sum())
    return {name: out[name] for name in METRICS}


def _sums_by(key: IntArray, values: Float64, size: int) -> Float64:
    """Sums of ``values`` by key 0..size-1, as a column (size, 1): one weighting."""
    return np.asarray(np.bincount(key, weights=values, minlength=size), dtype=np.float64)[:, None]


def check_weights(weights: npt.ArrayLike | None, n: int) -> Float64:
    """Row weights as (n,) float64; ones when None."""
    if weights is None:
        return np.ones(n)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (n,):
        raise ValueError(f"weights: got shape {w.shape}, expected ({n},)")
    if not np.isfinite(w).all() or (w < 0).any():
        raise ValueError("weights: got negative, infinite or NaN values, allowed are finite numbers from 0")
    return w
