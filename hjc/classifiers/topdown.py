"""Leaf log-probabilities of a top-down linear model: all sibling groups of all rows at once, nodes by rows.

The same numbers as napkinXC's hierarchical softmax followed by the mixing that :mod:`hjc.classifiers.linear` describes
(tested against both), several times sooner: a node's values for all rows lie
side by side in memory, so that sums over siblings and steps along paths are sums of whole lines, all in float32.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from hjc.arrays import FloatArray
from hjc.classifiers.napkinxc_weights import LinearNodes, Nodes, hinge_log_proba
from hjc.classifiers.sparse_rows import Csr
from hjc.taxonomy import Taxonomy

#: scores within this distance from 0 need no shift before exp: neither it nor a sum of siblings leaves float32
_SAFE_SCORE = 40.0


def scale_scores(nodes: LinearNodes, taxonomy: Taxonomy, scale: float) -> LinearNodes:
    """The estimators with the scores of groups of three and more siblings multiplied by ``scale``.

    Each of these siblings has a one-versus-rest estimator. A pair has one estimator between its two, and the squared
    hinge loss another scale: both stay as they are.
    """
    if nodes.hinge or scale == 1:
        return nodes
    several = np.bincount(taxonomy.group)[taxonomy.group] > 2
    factor = np.ones(len(nodes.bias), dtype=np.float32)
    factor[1:][several] = scale
    weights = nodes.weights.copy()
    weights.data *= np.repeat(factor, np.diff(weights.indptr))
    return replace(nodes, weights=weights, bias=nodes.bias * factor)


class TopDown:
    """What is the same for every chunk of rows: sibling groups, seen nodes, priors.

    Args:
        conditional_prior: (N,) P(node | parent) that is mixed in with weight ``floor``.
        row_counts: (N,) training rows at or below each node; the model's answer for nodes without any is left out.
    """

    def __init__(self, taxonomy: Taxonomy, conditional_prior: FloatArray, row_counts: FloatArray, floor: float) -> None:
        starts, stops = taxonomy.group_slice.T
        self._starts, self._group = starts, taxonomy.group
        size = stops - starts
        self._alone, self._two = np.flatnonzero(size == 1), np.flatnonzero(size == 2)
        many = np.flatnonzero(size > 2)
        self._many = list(zip(many.tolist(), starts[many].tolist(), stops[many].tolist(), strict=True))
        self._pairs = starts[self._two]
        self._unseen = np.flatnonzero(row_counts == 0)
        self._unknown_groups = np.add.reduceat(row_counts, starts) == 0
        self._floor = floor
        self._prior = conditional_prior.astype(np.float32)[:, None]
        bounds = np.searchsorted(taxonomy.level, np.arange(2, taxonomy.depth + 2)).tolist()
        self._steps = [(start, stop, taxonomy.parents[start:stop]) for start, stop in pairwise(bounds)]
        self._leaves = taxonomy.leaves

    def _totals(self, p: FloatArray) -> FloatArray:
        """(N, B) -> (G, B) sums over siblings."""
        total = np.empty((len(self._starts), p.shape[1]), p.dtype)
        total[self._alone] = p[self._starts[self._alone]]
        total[self._two] = p[self._pairs] + p[self._pairs + 1]
        for group, start, stop in self._many:
            p[start:stop].sum(axis=0, out=total[group])
        return total

    def conditional(self, nodes: Nodes, rows: Csr) -> FloatArray:
        """(N, B) float32 P(node | its parent), prior mixed in."""
        p = np.ascontiguousarray(nodes.scores(rows)[:, 1:].T)  # without the root's estimator
        first = self._pairs  # a pair of siblings has one estimator, the first one's
        if nodes.hinge:
            of_pairs = np.exp(hinge_log_proba(p[first]))
        p[first + 1] = 0
        if not max(p.max(), -p.min()) < _SAFE_SCORE:
            p[self._unseen] = -np.inf
            top = np.maximum.reduceat(p, self._starts, axis=0)
            top[self._unknown_groups] = 0
            p -= top[self._group]
        np.exp(p, out=p)
        if nodes.hinge:
            # above 0, so that the seen one of a pair has all the probability
            p[first], p[first + 1] = np.maximum(of_pairs, 1e-12), np.maximum(1 - of_pairs, 1e-12)
        p[self._unseen] = 0
        total = self._totals(p)
        known = total > 0
        p *= np.divide(1 - self._floor, total, out=np.zeros_like(total), where=known)[self._group]
        # where nothing is known of a group its prior has all the weight
        p += np.where(known, np.float32(self._floor), np.float32(1))[self._group] * self._prior
        return p

    def __call__(self, nodes: Nodes, rows: Csr) -> FloatArray:
        """(B, F) float32 CSR rows -> (L, B) float32 log-probabilities; rows sum to 1 but for rounding."""
        out = self.conditional(nodes, rows)
        with np.errstate(divide="ignore"):  # floor 0: an unseen leaf is impossible
            np.log(out, out=out)
        for start, stop, parents in self._steps:
            out[start:stop] += out[parents]
        return np.asarray(out[self._leaves])
