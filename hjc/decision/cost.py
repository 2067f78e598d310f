"""The Bayes decision for a cost on the tree, computed from node probabilities without a leaf-by-leaf matrix."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from hjc.arrays import Float64, FloatArray
from hjc.decision.cost_table import CostTable
from hjc.decision.hierarchical_f import hf_costs
from hjc.decision.rules import Decisions, Reason, decisions
from hjc.metrics.level_proba import LevelProba
from hjc.taxonomy.tree import Taxonomy


@dataclass(frozen=True)
class BayesDecision:
    """The decisions and their expected cost (B,), in the units of the cost."""

    decisions: Decisions
    expected_cost: Float64


def _level_weights(taxonomy: Taxonomy, name: str, weights: Any) -> Float64:
    w = np.ones(taxonomy.depth) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (taxonomy.depth,) or not (np.isfinite(w) & (w >= 0)).all():
        raise ValueError(f"{name}: got {weights!r}, expected {taxonomy.depth} numbers from 0, one a level")
    return w


def path_costs(
    taxonomy: Taxonomy, log_proba: FloatArray | LevelProba, stated: Any = None, missed: Any = None
) -> Float64:
    """Expected LCA cost of stating each node: (B, N + 1), the last column for stating nothing.

    Cost of stating node a when leaf y is true: ``stated[d]`` for each node on a's path (level d) that is not on y's,
    plus ``missed[d]`` for each on y's path that is not on a's. With all weights 1 it is the tree distance
    level(a) + level(y) - 2 level(lca(a, y)). Expected over y it is a sum over a's path of
    stated (1 - P) - missed P, plus the expected path length of y: a node is worth stating where
    P > stated / (stated + missed).
    """
    s, m = _level_weights(taxonomy, "stated", stated), _level_weights(taxonomy, "missed", missed)
    p = LevelProba.of(taxonomy, log_proba).nodes()
    d = taxonomy.level - 1
    none = (p * m[d]).sum(axis=1)
    return np.c_[taxonomy.with_ancestors(s[d] * (1 - p) - m[d] * p), np.zeros(len(p))] + none[:, None]


def level_costs(
    taxonomy: Taxonomy, log_proba: FloatArray | LevelProba, weights: Any = None, undetermined: float = 0.5
) -> Float64:
    """Expected cost of wrong levels for each node: (B, N + 1), the last column for stating nothing.

    A level whose stated code is wrong costs ``weights[d]``; a level left undetermined (below a stated inner node, or
    all when nothing is stated) costs ``undetermined * weights[d]``, Chow's (1970) reject cost. A leaf above the deepest
    level stands for itself below, so it is right or wrong there too.
    """
    w = _level_weights(taxonomy, "weights", weights)
    if not 0 <= undetermined <= 1:
        raise ValueError(f"undetermined: got {undetermined}, allowed are numbers from 0 to 1")
    p = LevelProba.of(taxonomy, log_proba).nodes()
    below = np.r_[np.cumsum(w[::-1])[::-1], 0.0][taxonomy.level]  # weight of the levels below each node's
    own = w[taxonomy.level - 1] + np.where(taxonomy.is_leaf, below, 0.0)
    out = taxonomy.with_ancestors((1 - p) * own) + np.where(taxonomy.is_leaf, 0.0, undetermined * below)
    return np.c_[out, np.full(len(p), undetermined * w.sum())]


COSTS: dict[str, Callable[[Taxonomy, LevelProba], Float64]] = {
    "lca": path_costs,
    "levels": level_costs,
    "hf0.5": partial(hf_costs, beta=0.5),
    "hf1": hf_costs,
    "hf2": partial(hf_costs, beta=2.0),
}


def bayes_decision(
    taxonomy: Taxonomy, log_proba: FloatArray | LevelProba, cost: "str | CostTable | Float64" = "lca"
) -> BayesDecision:
    """The node with the least expected cost under the probabilities (Berger 1985, Statistical Decision Theory, 1.5).

    Args:
        cost: "lca" (:func:`path_costs`) or "levels" (:func:`level_costs`) with their default weights, "hf0.5", "hf1"
            or "hf2" (:func:`hjc.decision.hierarchical_f.hf_costs`), a :class:`CostTable` of the nodes that may be
            stated, or expected costs (B, N + 1), of stating each node and nothing: those functions with settings of
            your own, or inf where a node must not be stated.

    Raises:
        ValueError: unknown cost, costs of another shape, or no node with a finite one.
    """
    levels, n = LevelProba.of(taxonomy, log_proba), len(taxonomy)
    if isinstance(cost, CostTable):
        expected = np.full((len(levels), n + 1), np.inf)
        expected[:, np.where(cost.nodes < 0, n, cost.nodes)] = levels.at(taxonomy.depth) @ cost.cost.T
    elif isinstance(cost, str):
        if cost not in COSTS:
            raise ValueError(f"cost: got {cost!r}, allowed are {', '.join(COSTS)}, a CostTable or expected costs")
        expected = COSTS[cost](taxonomy, levels)
    else:
        expected = np.asarray(cost, dtype=np.float64)
    if expected.shape != (len(levels), n + 1) or not np.isfinite(expected).any(axis=1).all():
        raise ValueError(f"cost: got shape {expected.shape}, expected {(len(levels), n + 1)} with a finite cost a row")
    # Ties (a chain of single children) go to the deeper node: last minimum, silence first of all.
    order = np.r_[n, np.arange(n)]
    rounded = np.round(expected[:, order], 12)
    pick = order[n - rounded[:, ::-1].argmin(axis=1)]
    rows, node = np.arange(len(pick)), np.where(pick == n, -1, pick)
    probability = np.minimum(levels.nodes()[rows, node], 1.0)
    return BayesDecision(decisions(taxonomy, node, probability, Reason.COSTLY), expected[rows, pick])
