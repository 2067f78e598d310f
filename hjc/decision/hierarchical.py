"""Hierarchical conformal prediction: one node that holds the truth with probability at least 1 - alpha.

For a row, take a path of nodes from level 1 to a leaf. S(t) = the deepest node of the path whose probability is above
t, or no code (the root, which holds everything). S grows with t: a nested family, so conformal calibration of t applies
(Gupta, Kuchibhotla & Ramdas 2022, Nested conformal prediction). The true code y is in S(t) if and only if t is at least
the probability of the first path node that does not hold y; that is the row's nonconformity score.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.calibration.conditionals import as_gold
from hjc.calibration.summary import iter_batches
from hjc.decision.conformal import (
    check_state,
    group_quantiles,
    lookup_quantiles,
    quantiles_from_json,
    quantiles_to_json,
)
from hjc.decision.rules import Decisions, Reason, decisions, greedy_path
from hjc.taxonomy.tree import Taxonomy


def _path(taxonomy: Taxonomy, log_proba: FloatArray, path: str) -> tuple[IntArray, Float64]:
    if path == "greedy":
        return greedy_path(taxonomy, log_proba)
    p = np.exp(taxonomy.node_log_proba(np.asarray(log_proba)).astype(np.float64))
    nodes = taxonomy.path[np.asarray(log_proba).argmax(axis=1)]
    return nodes, np.take_along_axis(p, nodes, axis=1)


def path_scores(taxonomy: Taxonomy, nodes: IntArray, probability: Float64, gold: IntArray) -> Float64:
    """(B,) probability of the first node on each path that does not surely hold gold; 0 where the whole path does.

    An inner gold code is held by itself and its ancestors only (the unknown leaf may be elsewhere below), so its score
    is that of the node under it: conservative.
    """
    level = taxonomy.level[nodes] - 1  # a shallow leaf repeats itself: look at its own level
    holds = taxonomy.node_path[gold[:, None], level] == nodes
    # A leaf's own row repeats the leaf below its level; an inner gold has -1 there and so holds nothing deeper.
    first = np.where(holds.all(axis=1), nodes.shape[1], (~holds).argmax(axis=1))
    padded = np.c_[probability, np.zeros(len(nodes))]
    return np.asarray(padded[np.arange(len(nodes)), first])


@dataclass(frozen=True)
class HierarchicalConformal:
    """Fitted rule. Make it with :func:`fit_hierarchical_conformal`."""

    taxonomy: Taxonomy
    alpha: float
    quantiles: dict[str, float]
    rows: int
    path: str = "greedy"
    unseen: str = "error"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "kind": "hierarchical_conformal",
            "taxonomy_hash": self.taxonomy.hash,
            "quantiles": quantiles_to_json(self.quantiles),
            **{name: getattr(self, name) for name in ("alpha", "rows", "path", "unseen")},
        }

    @classmethod
    def from_dict(cls, taxonomy: Taxonomy, state: Mapping[str, Any]) -> "HierarchicalConformal":
        """The inverse of :meth:`to_dict`. Raises ValueError for another kind or tree."""
        check_state(taxonomy, state, "hierarchical_conformal")
        rest = {k: v for k, v in state.items() if k not in ("kind", "taxonomy_hash", "quantiles")}
        return cls(taxonomy, quantiles=quantiles_from_json(state["quantiles"]), **rest)

    def decide(self, log_proba: FloatArray, groups: Sequence[Any] | None = None) -> Decisions:
        """One node a row for a batch (B, L): it holds the true code with probability >= 1 - alpha, over rows.

        Where even the level-1 node is not sure enough the row abstains (the set is everything, which covers).
        """
        nodes, probability = _path(self.taxonomy, log_proba, self.path)
        need = lookup_quantiles(self.quantiles, groups, len(nodes), self.unseen)
        passes = probability > need[:, None]
        some = passes.any(axis=1)
        deepest = passes.shape[1] - 1 - passes[:, ::-1].argmax(axis=1)
        rows = np.arange(len(nodes))
        node = np.where(some, nodes[rows, deepest], -1)
        return decisions(self.taxonomy, node, probability[rows, deepest], Reason.UNSURE)


def fit_hierarchical_conformal(
    taxonomy: Taxonomy,
    log_proba: FloatArray | Iterable[Any],
    gold: npt.ArrayLike,
    alpha: float,
    *,
    path: str = "greedy",
    groups: Sequence[Any] | None = None,
    unseen: str = "error",
) -> HierarchicalConformal:
    """Calibrate on rows that neither training nor calibration of probabilities saw.

    Args:
        gold: (n,) nodes, inner ones allowed; -1 rows are left out.
        path: "greedy" (most probable child from the top) or "leaf" (path of the most probable leaf).
        groups, unseen: as in :func:`hjc.decision.fit_conformal`.
    """
    if path not in ("greedy", "leaf"):
        raise ValueError(f"path: got {path!r}, allowed are 'greedy' and 'leaf'")
    if unseen not in ("error", "pooled", "everything"):
        raise ValueError(f"unseen: got {unseen!r}, allowed are 'error', 'pooled' and 'everything'")
    wanted = as_gold(taxonomy, gold, len(np.asarray(gold)))
    known = wanted >= 0
    scores = np.full(len(wanted), np.nan)
    for rows, batch in iter_batches(log_proba):
        use = known[rows]
        nodes, probability = _path(taxonomy, batch[use], path)
        scores[rows[use]] = path_scores(taxonomy, nodes, probability, wanted[rows[use]])
    if not known.any():
        raise ValueError("no row has a gold code: nothing to calibrate on")
    if np.isnan(scores[known]).any():
        raise ValueError(f"log_proba has fewer rows than the {len(wanted)} of gold, or holds NaN")
    inside = None if groups is None else [g for g, k in zip(groups, known, strict=True) if k]
    return HierarchicalConformal(
        taxonomy, alpha, group_quantiles(scores[known], inside, alpha), int(known.sum()), path, unseen
    )
