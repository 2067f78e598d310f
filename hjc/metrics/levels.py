"""The metrics of one level, of all levels together, and the sums they are made of.

Every metric is a function of weighted sums over rows, so the same code serves plain means, row weights and a
thousand bootstrap resamples (a resample is a weighting by counts). n rows, R weightings.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import BoolArray, Float64, IntArray
from hjc.metrics.calibration_error import bin_members, errors_of_bins, sums_by
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
    "ece_plain",
    "brier",
    "impossible",
)

#: the metrics that are counts: whole numbers, without intervals
COUNTS = ("n", "impossible")

_CHUNK = 16_384


@dataclass(frozen=True, eq=False)
class LevelRows:
    """What m rows add to the metrics of a level, in a few bytes each.

    Attributes:
        rows: (m,) positions in the RowScores.
        loss: -ln P(gold), inf where impossible; brier: multiclass; confidence: of the most probable code.
        rank: of the gold code; predicted, gold, shared: levels of the predicted code, the gold code and their lowest
            common ancestor; mistake: they differ.
        code: the gold node at the level; of several codes the main one, so that a prediction has no say in it.
    """

    rows: IntArray
    loss: Float64
    brier: Float64
    confidence: Float64
    rank: npt.NDArray[np.int32]
    predicted: npt.NDArray[np.int16]
    gold: npt.NDArray[np.int16]
    shared: npt.NDArray[np.int16]
    mistake: BoolArray
    code: npt.NDArray[np.int32]

    def take(self, keep: BoolArray) -> "LevelRows":
        """The rows under a mask (m,)."""
        return LevelRows(*(getattr(self, f.name)[keep] for f in fields(self)))

    @property
    def hit(self) -> BoolArray:
        """(m,) the gold code ranks first."""
        return self.rank == 1

    def sums(self, unit: IntArray, units: int, weights: Float64) -> dict[str, Float64]:
        """Weighted sums by unit 0..units-1, each (units,), whose ratios are the metrics."""
        impossible = np.isinf(self.loss)
        columns: dict[str, Any] = {
            "weight": 1.0,
            # A sum with 0 x inf would be NaN: the infinite losses are counted apart.
            "loss": np.where(impossible, 0.0, self.loss),
            "impossible": impossible,
            "brier": self.brier,
            "predicted": self.predicted,
            "gold": self.gold,
            "shared": self.shared,
            "mistake": self.mistake,
            "lca": self.mistake * self.shared,
            "severity": self.mistake * (self.gold - self.shared),
            **{f"recall@{k}": self.rank <= k for k in RECALL_AT},
        }
        return {name: sums_by(unit, weights * column, units) for name, column in columns.items()}


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
    d: Any
    if level is None:
        d = scores.own_level(taxonomy) - 1
        rows = np.flatnonzero(d >= 0)
        d = d[rows]
        predicted = taxonomy.node_path[scores.top[rows, -1], d]
    else:
        d = taxonomy.check_level(level) - 1
        rows = np.flatnonzero(scores.valid[:, d])
        predicted = scores.top[rows, d]
    code = taxonomy.node_path[scores.gold[rows], d]
    gold = code if scores.held is None else scores.held[rows, -1 if level is None else d].astype(np.int64)
    shared = np.empty(len(rows), dtype=np.int16)
    for start in range(0, len(rows), _CHUNK):  # paths of all rows at once would need much memory
        some = slice(start, start + _CHUNK)
        shared[some] = taxonomy.lca_level(predicted[some], gold[some])
    levels = taxonomy.level.astype(np.int16)
    return LevelRows(
        rows=rows,
        loss=-scores.log_p[rows, d],
        brier=scores.sq[rows, d],
        confidence=scores.confidence[rows, d],
        rank=scores.rank[rows, d],
        predicted=levels[predicted],
        gold=levels[gold],
        shared=shared,
        mistake=predicted != gold,
        code=code.astype(np.int32),
    )


def ratios(sums: Mapping[str, Float64]) -> dict[str, Float64]:
    """The metrics that are ratios of sums, of R weightings: name -> (R,). NaN where nothing was counted."""
    with np.errstate(invalid="ignore", divide="ignore"):
        above = {
            name: np.where(sums[name] > 0, sums[name], np.nan) for name in ("weight", "predicted", "gold", "mistake")
        }
        weight = above["weight"]
        precision, recall = sums["shared"] / above["predicted"], sums["shared"] / above["gold"]
        f1 = np.where(precision + recall > 0, 2 * precision * recall / (precision + recall), precision + recall)
        return {
            "log_loss": np.where(sums["impossible"] > 0, np.inf, sums["loss"]) / weight,
            **{name: sums[name] / weight for name in (f"recall@{k}" for k in RECALL_AT)},
            "hierarchical_precision": precision,
            "hierarchical_recall": recall,
            "hierarchical_f1": f1,
            "lca_level": sums["lca"] / above["mistake"],
            "mistake_severity": sums["severity"] / above["mistake"],
            "brier": sums["brier"] / weight,
        }


def macro_recall(code: npt.NDArray[np.int32], hit: BoolArray, weights: Float64) -> float:
    """Mean over the gold codes that occur of their weighted share of hits; NaN without any."""
    support, hits = np.bincount(code, weights), np.bincount(code, weights * hit)
    some = support > 0
    return float((hits[some] / support[some]).mean()) if some.any() else math.nan


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
    * ``ece``, ``ece_plain``: see :func:`hjc.metrics.calibration_error.errors_of_bins`; 15 bins of equal mass.
    * ``brier``: mean over rows of ``sum_k (p_k - [k is gold])**2``, 0 to 2.

    Args:
        weights: (n,) non-negative row weights. 2 counts the row twice, but for ``ece``, which takes its noise from the
            effective number of rows.

    Raises:
        ValueError: a level outside 1..D, or weights of a wrong shape, negative, infinite or NaN.
    """
    w = check_weights(weights, len(scores))
    at = level_rows(scores, taxonomy, level)
    return metrics_of(at, w[at.rows])


def metrics_of(at: LevelRows, weights: Float64) -> dict[str, float]:
    """:func:`level_metrics` of rows laid out already, with their weights (m,)."""
    sums = at.sums(np.zeros(len(at.rows), dtype=np.int64), 1, weights)
    out = {name: float(value[0]) for name, value in ratios(sums).items()}
    out["macro_recall"] = macro_recall(at.code, at.hit, weights)
    out["ece"], out["ece_plain"] = (float(v[0]) for v in errors_of_bins(*bin_sums(at, weights)))
    counted = weights > 0
    out["n"] = int(counted.sum())
    out["impossible"] = int(np.isinf(at.loss[counted]).sum())
    return {name: out[name] for name in METRICS}


def bin_sums(at: LevelRows, weights: Float64) -> list[Float64]:
    """The arguments of :func:`errors_of_bins` of one weighting."""
    member, count = bin_members(at.confidence, weights)
    return [sums_by(member, v, count)[:, None] for v in bin_values(at, weights)]


def bin_values(at: LevelRows, weights: Float64) -> tuple[Float64, Float64, Float64, Float64]:
    """What each row adds to the sums of its bin: weight, confidence, hits, squared weight."""
    return weights, weights * at.confidence, weights * at.hit, weights**2


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
