"""What a model that never reads the text scores: the prior, i.e. the class frequencies of the training data."""

import numpy as np
import numpy.typing as npt

from hjc.arrays import Float64
from hjc.data.codesets import CodeSets, Target, first_of
from hjc.metrics.levels import level_metrics
from hjc.metrics.rows import RowScores, score_batches
from hjc.taxonomy.tree import Taxonomy

#: gold nodes scored at a time
_BATCH = 256


def prior_log_proba(
    taxonomy: Taxonomy, train_gold: npt.ArrayLike, weights: npt.ArrayLike | None = None, smoothing: float = 1.0
) -> Float64:
    """(L,) log of the training frequencies of leaves, ``smoothing`` added to each (1: Laplace).

    A training row coded to an inner node counts in equal parts for the leaves under it. Rows without a code (-1) do not
    count.

    Raises:
        ValueError: smoothing is not positive, or a number is no node.
    """
    gold = np.asarray(train_gold, dtype=np.int64)
    if smoothing <= 0:
        raise ValueError(
            f"smoothing: got {smoothing}, allowed are numbers above 0 (a leaf of probability 0 scores inf)"
        )
    if len(gold) and gold.max() >= len(taxonomy):
        raise ValueError(f"train_gold: got node {gold.max()}, allowed are 0 to {len(taxonomy) - 1} and -1 (no code)")
    w = np.ones(len(gold)) if weights is None else np.asarray(weights, dtype=np.float64)
    known = gold >= 0
    per_node = np.bincount(gold[known], weights=w[known], minlength=len(taxonomy))
    start, stop = taxonomy.leaf_slice.T
    share = per_node / (stop - start)
    # A constant over a slice of leaves is a step up at its start and down at its stop.
    steps = np.bincount(start, weights=share, minlength=taxonomy.num_leaves + 1)
    steps -= np.bincount(stop, weights=share, minlength=taxonomy.num_leaves + 1)
    counts = np.maximum(np.cumsum(steps)[:-1], 0.0) + smoothing
    result: Float64 = np.log(counts / counts.sum())
    return result


def score_constant(taxonomy: Taxonomy, leaf_log_proba: npt.ArrayLike, gold: npt.ArrayLike | CodeSets) -> RowScores:
    """Row scores of a model that gives every row the same leaf log-probabilities (L,)."""
    if isinstance(gold, CodeSets):
        nodes: Target = gold
        inverse = np.arange(len(gold))
    else:
        nodes, inverse = np.unique(np.asarray(gold, dtype=np.int64), return_inverse=True)
    rows = np.broadcast_to(np.asarray(leaf_log_proba, dtype=np.float64), (len(nodes), taxonomy.num_leaves))
    batches = (rows[i : i + _BATCH] for i in range(0, len(nodes), _BATCH))
    return score_batches(taxonomy, batches, nodes).take(inverse.reshape(-1))


def log_loss_baseline(
    taxonomy: Taxonomy,
    train_gold: npt.ArrayLike,
    gold: npt.ArrayLike | CodeSets | None = None,
    weights: npt.ArrayLike | None = None,
) -> dict[str, float]:
    """Metrics of the prior, at every level and overall: keys ``level_4/log_loss``, ``overall/recall@5`` and so on.

    Args:
        train_gold: training gold nodes that the prior is counted from (-1: no code, left out).
        gold: gold nodes that it is scored on, as a rule the test set's; default the training rows themselves.
        weights: weights of the scored rows.
    """
    wanted = train_gold if gold is None else gold
    scored: Target = wanted if isinstance(wanted, CodeSets) else np.asarray(wanted, dtype=np.int64)
    known = first_of(scored) >= 0
    w = None if weights is None else np.asarray(weights, dtype=np.float64)[known]
    scores = score_constant(taxonomy, prior_log_proba(taxonomy, train_gold), scored[known])
    out: dict[str, float] = {}
    for level in [*range(1, taxonomy.depth + 1), None]:
        where = "overall" if level is None else f"level_{level}"
        out |= {f"{where}/{name}": value for name, value in level_metrics(scores, taxonomy, level, w).items()}
    return out
