"""Metrics of hierarchical-classification research: the area under the hP-hR curve, and information contrast.

N nodes, B rows of a batch, U units of the bootstrap (rows or bundles of rows).
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from hjc.arrays import BoolArray, Float64, IntArray
from hjc.metrics.level_proba import LevelProba
from hjc.metrics.levels import check_weights
from hjc.taxonomy.tree import Taxonomy

#: thresholds are all numbers of 8 binary digits after the first, from 2**-13 to 1: 256 steps an octave
_SHIFT, _OCTAVES = 15, 13
_LOWEST = int(np.float32(2.0**-_OCTAVES).view(np.uint32)) >> _SHIFT
_STEPS = (int(np.float32(1.0).view(np.uint32)) >> _SHIFT) - _LOWEST + 2


def node_information(taxonomy: Taxonomy, leaf_counts: npt.ArrayLike | None = None) -> Float64:
    """(N,) information content of each node in bits, -log2 of its share of training rows; never below its parent's.

    Shares are of the counts with one more row a leaf, so that a code without rows has a finite one; without counts they
    are shares of leaves (the intrinsic information content of Seco, Veale & Hayes 2004 is of this kind).

    Args:
        leaf_counts: (N,) training rows of each node by their own code; rows of inner nodes count there and above.

    Raises:
        ValueError: not N counts from 0.
    """
    own = np.zeros(len(taxonomy)) if leaf_counts is None else check_weights(leaf_counts, len(taxonomy))
    total = taxonomy.with_descendants(own + taxonomy.is_leaf)
    return np.asarray(np.log2(total[taxonomy.parents < 0].sum()) - np.log2(total))


def lies_under(taxonomy: Taxonomy, node: IntArray, above: IntArray) -> BoolArray:
    """(B,) whether each node lies under the other one, and is not that itself."""
    level = taxonomy.level[above]
    return np.asarray((taxonomy.level[node] > level) & (taxonomy.node_path[node, level - 1] == above))


def shared_information(taxonomy: Taxonomy, information: Float64, a: npt.ArrayLike, b: npt.ArrayLike) -> Float64:
    """Information content of the lowest common ancestor of nodes ``a`` and ``b`` (broadcast); of the root it is 0."""
    x, y = np.broadcast_arrays(np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64))
    level = taxonomy.lca_level(x, y)
    node = taxonomy.node_path[x, np.maximum(level - 1, 0)]
    return np.asarray(np.where(level > 0, information[node], 0.0))


def information_contrast(
    taxonomy: Taxonomy, information: Float64, predicted: npt.ArrayLike, gold: npt.ArrayLike
) -> Float64:
    """(B,) information contrast of predicted and gold nodes, bits: 3 I(lca) - I(predicted) - I(gold).

    The information contrast model of Amigó & Delgado (2022, Evaluating extreme hierarchical multi-label classification,
    ACL), 2 I(A) + 2 I(B) - 3 I(A u B), for one node each, whose union has I(A) + I(B) - I(lca). It is I(gold) where the
    node is right, and below 0 where what is wrong outweighs what is shared. ``predicted`` -1 is nothing: - I(gold).
    """
    p, g = np.asarray(predicted, dtype=np.int64), np.asarray(gold, dtype=np.int64)
    own = np.where(p >= 0, information[p], 0.0)
    shared = np.where(p >= 0, shared_information(taxonomy, information, np.maximum(p, 0), g), 0.0)
    return np.asarray(3 * shared - own - information[g])


class HierarchicalCurve:
    """Hierarchical precision and recall of "all nodes with a probability of at least t", over all t; filled in batches.

    Such a set is closed under ancestors, as probabilities are coherent. Micro, as Kiritchenko et al. (2006): with
    predicted sets P_i and gold ancestors-or-self T_i, both without the root, hP = sum |P_i & T_i| / sum |P_i| and
    hR = sum |P_i & T_i| / sum |T_i|. The area (hF1-AUC of Plaud, Labeau, Saillenfest & Bonald 2024, Revisiting
    hierarchical text classification) is the step sum of average precision over pairs of row and node,
    sum_k (hR_k - hR_{k-1}) hP_k: no straight lines between points, which would flatter.

    Nodes under an inner gold code are neither right nor wrong, and left out. Thresholds lie on a grid (256 an octave
    down to 2**-13); probabilities that share a step are tied.

    Args:
        units: U, of the bootstrap: rows are drawn with their unit.
    """

    def __init__(self, taxonomy: Taxonomy, units: int = 1) -> None:
        self.taxonomy = taxonomy
        #: (U, T) by step of the threshold, from high to low: nodes predicted, and those of them that are right
        self.predicted, self.right = np.zeros((units, _STEPS)), np.zeros((units, _STEPS))

    def update(
        self, levels: LevelProba, gold: IntArray, unit: IntArray | None = None, weights: npt.ArrayLike | None = None
    ) -> None:
        """Add a batch with its gold nodes, the units 0..U-1 of its rows (all of the first without) and their weights,
        each (B,)."""
        tree, n, size = self.taxonomy, len(self.taxonomy), len(gold)
        unit, weight = np.zeros(size, dtype=np.int64) if unit is None else unit, check_weights(weights, size)
        proba = levels.nodes()
        path, own = tree.node_path[gold], tree.level[gold]
        path = np.where(np.arange(tree.depth) < own[:, None], path, -1)
        # pairs below the lowest step are most of all: they are counted, not looked at
        row, node = np.nonzero(proba >= 2.0**-_OCTAVES)
        below = tree.with_descendants(np.ones(n))[gold] - 1  # nodes under the gold code: 0 of a leaf
        if not tree.is_leaf[gold].all():
            known = ~lies_under(tree, node, gold[row])
            row, node = row[known], node[known]
        self._add(self.predicted, unit[row], proba[row, node], weight[row])
        rest = weight * (n - below - np.bincount(row, minlength=size))
        np.add.at(self.predicted[:, -1], unit, rest)
        at, column = np.nonzero(path >= 0)
        self._add(self.right, unit[at], proba[at, path[at, column]], weight[at])

    def _add(self, counts: Float64, unit: IntArray, proba: Float64, weight: Float64) -> None:
        bits = np.minimum(proba, 1.0).astype(np.float32).view(np.uint32) >> np.uint32(_SHIFT)
        step = np.clip(_STEPS - 2 - (bits.astype(np.int64) - _LOWEST), 0, _STEPS - 1)
        np.add.at(counts.reshape(-1), unit * _STEPS + step, weight)

    def area(self, times: Float64 | None = None) -> Float64:
        """(R,) areas with units drawn ``times`` (U, R); (1,) without. NaN where no row counts."""
        drawn = np.ones((len(self.right), 1)) if times is None else times
        used = np.flatnonzero(self.predicted.any(axis=0))
        predicted = np.cumsum(self.predicted[:, used].T @ drawn, axis=0)
        new = self.right[:, used].T @ drawn
        right = np.cumsum(new, axis=0)
        precision = np.divide(right, predicted, out=np.zeros_like(right), where=predicted > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(
                (precision * new).sum(axis=0) / right[-1] if len(right) else np.full(drawn.shape[1], np.nan)
            )

    def points(self) -> pd.DataFrame:
        """``threshold, precision, recall`` of the thresholds at which the set changes, from high to low."""
        predicted, right = np.cumsum(self.predicted.sum(axis=0)), np.cumsum(self.right.sum(axis=0))
        used = np.flatnonzero(self.predicted.any(axis=0))
        bits = ((_STEPS - 2 - used + _LOWEST).astype(np.uint32)) << np.uint32(_SHIFT)
        threshold = np.where(used == _STEPS - 1, 0.0, bits.view(np.float32).astype(np.float64))
        recall = right[used] / right[-1]
        return pd.DataFrame({"threshold": threshold, "precision": right[used] / predicted[used], "recall": recall})
