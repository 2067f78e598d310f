"""napkinXC's hierarchical softmax row by row of its definition: what the faster product of hjc is compared with."""

import numpy as np
from scipy import sparse

from hjc.arrays import FloatArray
from hjc.calibration.conditionals import sum_paths
from hjc.classifiers.napkinxc_weights import LinearNodes, hinge_log_proba, node_log_proba
from hjc.classifiers.treemath import group_log_softmax
from hjc.taxonomy import Taxonomy


def conditional_log_proba(nodes: LinearNodes, rows: sparse.csr_matrix, taxonomy: Taxonomy) -> FloatArray:
    """(B, N) log P(node | its parent) of napkinXC's HSM: softmax of the siblings' one-versus-rest scores.

    A pair of siblings has one estimator, the first one's: sigmoid(score), and the rest is the second's.
    """
    scores = nodes.scores(rows)[:, 1:]  # without the root's estimator
    starts, stops = taxonomy.group_slice.T
    first = starts[stops - starts == 2]
    if nodes.hinge:
        pair = hinge_log_proba(scores[:, first])
    scores[:, first + 1] = 0  # softmax of (s, 0) is sigmoid(s), 1 - sigmoid(s)
    out = group_log_softmax(scores, taxonomy)
    if nodes.hinge:
        out[:, first] = pair
        out[:, first + 1] = np.log(-np.expm1(np.minimum(pair, -1e-12)))
    return out


def hsm_log_proba(nodes: LinearNodes, rows: sparse.csr_matrix, taxonomy: Taxonomy) -> FloatArray:
    """(B, L) natural log of napkinXC's HSM probabilities: its rows sum to the root's own answer, sigmoid(10)."""
    return sum_paths(conditional_log_proba(nodes, rows, taxonomy), taxonomy) + node_log_proba(nodes, nodes.bias[:1])
