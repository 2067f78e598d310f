"""From cosines to probabilities: the scale (inverse temperature) that validation rows ask for."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar

from hjc.arrays import Float32, IntArray
from hjc.classifiers.treemath import gold_log_proba, log_softmax
from hjc.taxonomy import Taxonomy

#: scale where there are no validation rows: that of the ranking loss with which sentence encoders are trained
DEFAULT_SCALE = 20.0
#: bounds of the search; at the lower one the distribution is all but uniform
LOWEST, HIGHEST = 0.5, 500.0
#: validation rows used at most: the scale is one number
MAX_ROWS = 4000


def fit_scale(
    taxonomy: Taxonomy,
    scores: Float32,
    gold: IntArray,
    weight: Float32,
    to_log_proba: Callable[[Float32], Float32] = log_softmax,
) -> float:
    """The scale s > 0 that minimises the weighted mean of -ln P(gold), with log P = to_log_proba(s * scores).

    Args:
        scores: (B, L) cosines, or what else ``to_log_proba`` takes.
        gold: (B,) node numbers, leaves or inner nodes.
        weight: (B,) not negative.
        to_log_proba: from scaled scores to (B, L) leaf log-probabilities.

    Raises:
        ValueError: there are no rows of positive weight.
    """
    if not len(gold) or not weight.sum() > 0:
        raise ValueError("fit_scale: got no validation rows of positive weight")
    share, span = weight / weight.sum(), taxonomy.leaf_slice[gold]

    def loss(log_scale: float) -> float:
        log_proba = to_log_proba(np.float32(np.exp(log_scale)) * scores)
        return -float(share @ gold_log_proba(log_proba, span))

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))
