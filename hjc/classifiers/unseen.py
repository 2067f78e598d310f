"""Prior of a tree of codes from training rows, and what probability codes without any training row get.

A model cannot learn a code that it has never seen. With ``model.unseen=floor`` such a code has the share of the prior
that ``model.floor`` mixes in, which is small whatever the data (some 14 nats for a leaf). ``estimated``, the default,
asks the training rows: in each sibling group the numbers of rows per child are taken for draws from a
Dirichlet-multinomial with the same pseudo-count theta for every child, and theta is that which makes each row most
likely when it is left out (leave-one-out likelihood: Ney, Essen & Kneser 1995; Minka 2000, section 1). Many codes with
one row make codes with none likely; where every code has many rows, a new one is not expected, and has the floor.
"""

import numpy as np

from hjc.arrays import Float32, FloatArray, IntArray
from hjc.taxonomy import Taxonomy

#: pseudo-rows of each sibling group in the prior, shared equally
PRIOR_ROWS = 1.0
#: between these the pseudo-count of a child is looked for
THETA = (1e-6, 100.0)


def prior(taxonomy: Taxonomy, row_counts: FloatArray) -> FloatArray:
    """(N,) P(node | parent) by row counts, with ``PRIOR_ROWS`` pseudo-rows shared equally in each sibling group."""
    size, total = (x[taxonomy.group] for x in _groups(taxonomy, row_counts))
    return (row_counts + PRIOR_ROWS / size) / (total + PRIOR_ROWS)


def _groups(taxonomy: Taxonomy, row_counts: FloatArray) -> tuple[IntArray, FloatArray]:
    """Of each sibling group: its number of nodes, and of rows at or below them."""
    starts, stops = taxonomy.group_slice.T
    return stops - starts, np.add.reduceat(row_counts, starts)


def pseudo_count(taxonomy: Taxonomy, row_counts: FloatArray) -> float:
    """theta: the maximum of sum_c n_c ln((n_c - 1 + theta) / (n_group - 1 + theta * children)) over c with siblings.

    row_counts: (N,) training rows at or below each node. 0.0 where no group tells anything.
    """
    size, total = (x[taxonomy.group] for x in _groups(taxonomy, row_counts))
    tells = (row_counts >= 1) & (size > 1) & (total > 1)
    n, total, size = row_counts[tells], total[tells], size[tells]
    if not len(n):
        return 0.0

    def loss(log_theta: float) -> float:
        theta = np.exp(log_theta)
        return float(-(n * np.log((n - 1 + theta) / (total - 1 + theta * size))).sum())

    low, high = np.log(THETA)
    from scipy.optimize import minimize_scalar  # a tenth of a second that no prediction should wait for

    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4}).x))


class UnseenCodes:
    """Makes room for codes without training rows in distributions over those with.

    In a sibling group with n rows and m of k children without any, these share u = m theta / (n + k theta), at least
    their share of the prior times ``floor``; what the model says of the others is multiplied by 1 - u. Below an unseen
    node all children are equally likely. So an unseen code is likelier under a likely parent.

    Args:
        row_counts: (N,) training rows at or below each node.
        floor: weight of the prior, 0 to below 1.
        theta: pseudo-count of a child; None: the likeliest.
    """

    def __init__(self, taxonomy: Taxonomy, row_counts: FloatArray, floor: float, theta: float | None = None) -> None:
        self._group, self._starts = group, starts = taxonomy.group, taxonomy.group_slice[:, 0]
        self.theta = pseudo_count(taxonomy, row_counts) if theta is None else theta
        size, rows = _groups(taxonomy, row_counts)
        unseen = np.add.reduceat((row_counts == 0).astype(np.float64), starts)
        room = rows + size * self.theta
        share = np.divide(unseen * self.theta, room, out=np.zeros_like(room), where=(rows > 0) & (room > 0))
        share = np.where(rows > 0, np.maximum(share, floor * unseen / size * PRIOR_ROWS / (rows + PRIOR_ROWS)), 0)
        # of each node: what part of its parent it has, if unseen; by what the model's answer is multiplied, if seen
        part = np.where(rows > 0, np.divide(share, unseen, out=np.zeros_like(share), where=unseen > 0), 1 / size)[group]
        keep = np.where(rows > 0, 1 - share, 1.0)[group]
        factor, above = np.ones(len(taxonomy)), np.full(len(taxonomy), -1)  # above: lowest seen ancestor, -1: the root
        #: (N,) codes that the model answers for: with training rows, or below one of which only itself has rows
        self.answered = np.zeros(len(taxonomy), dtype=bool)
        for node in range(len(taxonomy)):  # parents come before their children
            parent = int(taxonomy.parents[node])
            below_answered = parent >= 0 and bool(self.answered[parent])
            self.answered[node] = row_counts[node] > 0 or (below_answered and rows[group[node]] == 0)
            up = 1.0 if parent < 0 else factor[parent]
            factor[node] = up * (keep if self.answered[node] else part)[node]
            above[node] = node if self.answered[node] else -1 if parent < 0 else above[parent]
        leaves = taxonomy.leaves
        self._factor = factor[leaves].astype(np.float32)[:, None]
        self._rows = np.flatnonzero(~self.answered[leaves])
        ancestors, self._which = np.unique(above[leaves][self._rows], return_inverse=True)
        spans = [(0, len(leaves)) if a < 0 else tuple(taxonomy.leaf_slice[a].tolist()) for a in ancestors.tolist()]
        self._spans = spans  # of the leaves under each such ancestor

    def without(self, conditional: FloatArray) -> FloatArray:
        """(N,) P(node | parent) with 0 for codes that the model does not answer for, the others scaled to sum to 1."""
        kept = np.where(self.answered, conditional, 0.0)
        total = np.add.reduceat(kept, self._starts)[self._group]
        return np.divide(kept, total, out=np.array(conditional, dtype=np.float64), where=total > 0)

    def __call__(self, proba: Float32) -> Float32:
        """(L, B) probabilities, those of unanswered leaves ignored -> (L, B) with their share; columns sum to 1."""
        proba = proba.copy()
        proba[self._rows] = 0
        out = proba * self._factor
        under = np.empty((len(self._spans), proba.shape[1]), np.float32)
        for i, (start, stop) in enumerate(self._spans):
            proba[start:stop].sum(axis=0, out=under[i])
        out[self._rows] = under[self._which] * self._factor[self._rows]
        return out
