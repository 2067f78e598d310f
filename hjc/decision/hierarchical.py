"""Hierarchical conformal prediction: one node that holds the truth with probability at least 1 - alpha.

For a row, take a path of nodes from level 1 to a leaf. S(t) = the deepest node of the path whose probability is above
t, or no code (the root, which holds everything). S grows with t: a nested family, so conformal calibration of t applies
(Gupta, Kuchibhotla & Ramdas 2022, Nested conformal prediction). The true code y is in S(t) if and only if t is at least
the probability of the first path node that does not hold y; that is the row's nonconformity score.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hjc.arrays import Float64, FloatArray
from hjc.decision.conformal import TIE, group_quantiles, lookup_quantiles
from hjc.decision.rules import Decisions, deepest
from hjc.metrics.level_proba import LevelProba
from hjc.metrics.rows import RowScores
from hjc.taxonomy.tree import Taxonomy


@dataclass(frozen=True)
class HierarchicalConformal:
    """Fitted rule on the greedy path of a row. Make it with :func:`fit_hierarchical_conformal`."""

    taxonomy: Taxonomy
    quantiles: dict[str, float]

    def decide(
        self, log_proba: FloatArray | LevelProba, groups: Sequence[Any] | None = None, need: Float64 | None = None
    ) -> Decisions:
        """One node a row for a batch (B, L): it holds the true code with probability >= 1 - alpha, over rows.

        Where even the level-1 node is not sure enough the row abstains (the set is everything, which covers).
        ``need``: (B,) the thresholds of the rows, where the caller has looked them up by group.
        """
        levels = LevelProba.of(self.taxonomy, log_proba)
        need = lookup_quantiles(self.quantiles, groups, len(levels)) if need is None else need
        return deepest(self.taxonomy, levels.path, levels.path_proba, levels.path_proba > need[:, None] * (1 + TIE))


def fit_hierarchical_conformal(
    taxonomy: Taxonomy, outcomes: RowScores, alpha: float, *, groups: Sequence[Any] | None = None
) -> HierarchicalConformal:
    """Calibrate on rows that neither training nor calibration of probabilities saw.

    Args:
        outcomes: of these rows, with ``path``; gold may be an inner node, rows without any are left out.
        groups: as in :func:`hjc.decision.fit_conformal`.
    """
    if outcomes.path is None:
        raise ValueError("hierarchical conformal prediction needs outcomes that were scored with conformal=True")
    return HierarchicalConformal(taxonomy, group_quantiles(outcomes.path, outcomes.gold >= 0, groups, alpha))
