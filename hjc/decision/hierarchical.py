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
from hjc.decision.conformal import (
    TIE,
    check_state,
    group_quantiles,
    lookup_quantiles,
    quantiles_from_json,
    quantiles_to_json,
)
from hjc.decision.rules import Decisions, deepest
from hjc.metrics.level_proba import LevelProba
from hjc.metrics.rows import iter_batches, path_scores
from hjc.taxonomy.tree import Taxonomy


def _path(taxonomy: Taxonomy, log_proba: FloatArray | LevelProba, path: str) -> tuple[IntArray, Float64]:
    levels = LevelProba.of(taxonomy, log_proba)
    if path == "greedy":
        return levels.path, levels.path_proba
    nodes = taxonomy.path[levels.best[:, -1]]
    return nodes, np.minimum(np.take_along_axis(levels.nodes(), nodes, axis=1), 1.0)


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

    def decide(
        self, log_proba: FloatArray | LevelProba, groups: Sequence[Any] | None = None, need: Float64 | None = None
    ) -> Decisions:
        """One node a row for a batch (B, L): it holds the true code with probability >= 1 - alpha, over rows.

        Where even the level-1 node is not sure enough the row abstains (the set is everything, which covers).
        ``need``: (B,) the thresholds of the rows, where the caller has looked them up by group.
        """
        nodes, probability = _path(self.taxonomy, log_proba, self.path)
        need = lookup_quantiles(self.quantiles, groups, len(nodes), self.unseen) if need is None else need
        return deepest(self.taxonomy, nodes, probability, probability > need[:, None] * (1 + TIE))


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
