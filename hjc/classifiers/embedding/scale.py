"""From cosines to probabilities: the scale (inverse temperature) that validation rows ask for."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar

from hjc.arrays import Float32, Float64, IntArray
from hjc.taxonomy import Taxonomy

#: scale where there are no validation rows: that of the ranking loss with which sentence encoders are trained
DEFAULT_SCALE = 20.0
#: bounds of the search; at the lower one the distribution is all but uniform
LOWEST, HIGHEST = 0.5, 500.0
#: validation rows used at most: the scale is one number
MAX_ROWS = 4000


def log_softmax(scores: Float32) -> Float32:
    """(B, L) natural-log probabilities, float32 (the sum is taken in float64)."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64))
    return np.asarray(shifted - total.astype(np.float32))


def negative_log_likelihood(taxonomy: Taxonomy, log_proba: Float32, gold: IntArray) -> Float64:
    """(B,) -ln P(gold) of leaf log-probabilities; an inner gold node is the sum of its leaves."""
    out = np.empty(len(gold))
    for i, (start, stop) in enumerate(taxonomy.leaf_slice[gold].tolist()):
        out[i] = -np.logaddexp.reduce(log_proba[i, start:stop].astype(np.float64))
    return out


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
    share = weight / weight.sum()

    def loss(log_scale: float) -> float:
        log_proba = to_log_proba(np.float32(np.exp(log_scale)) * scores)
        return float(share @ negative_log_likelihood(taxonomy, log_proba, gold))

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))
