"""The most probable leaves of a top-down head without scores of all leaves: beam search with a proof.

P(leaf) is a product of conditional probabilities, none above 1, so no leaf is more probable than any node above it.
Level by level only the ``width`` most probable nodes of a row are gone on from; the most probable node that was left
behind bounds every leaf that was not looked at. Where the k-th leaf found is at least as probable, the k found are the
k most probable leaves of the tree: the row is exact (branch and bound). B rows, N nodes, H hidden, P pairs of a row and
a node.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hjc.arrays import BoolArray, Float32, IntArray, spans
from hjc.calibration.conditionals import segment_logsumexp
from hjc.errors import check_range
from hjc.nn.heads import TopDownHead
from hjc.taxonomy import Taxonomy

#: pairs whose weights lie in memory together
_PAIRS = 1 << 16
#: of a search that ends when all is exact: nodes kept at first, and by how much more each time
_FIRST, _MORE = 16, 4


@dataclass(frozen=True, eq=False)
class TopLeaves:
    """Attributes:
        nodes: (B, k) the most probable leaves, most probable first; log_proba: (B, k) theirs, natural logarithm.
        exact: (B,) whether no leaf that was left out is more probable.
    """  # fmt: skip

    nodes: IntArray
    log_proba: Float32
    exact: BoolArray


def top_leaves(
    head: TopDownHead, taxonomy: Taxonomy, features: Tensor, top_k: int, width: int | None = None
) -> TopLeaves:
    """The ``top_k`` most probable leaves of each row of (B, H) vectors.

    Args:
        width: nodes of a level that are gone on from, ``top_k`` at least; ``exact`` then says which rows are proven.
            None: rows that are not are searched again with more, until all are exact.

    Raises:
        ValueError: ``top_k`` or ``width`` is out of range.
    """
    most = taxonomy.num_leaves
    check_range("top_k", top_k, top_k >= 1, "integers from 1")
    check_range("width", width, width is None or width >= top_k, f"integers from top_k ({top_k})")
    top_k = min(top_k, most)
    wide = max(_FIRST, 2 * top_k) if width is None else width
    nodes, log_proba = np.zeros((len(features), top_k), np.int64), np.zeros((len(features), top_k), np.float32)
    exact, todo = np.zeros(len(features), bool), np.arange(len(features))
    while len(todo):
        found = _search(head, taxonomy, features[torch.from_numpy(todo).to(features.device)], top_k, wide)
        nodes[todo], log_proba[todo], exact[todo] = found.nodes, found.log_proba, found.exact
        if width is not None:
            break
        todo, wide = todo[~found.exact], wide * _MORE
    return TopLeaves(nodes, log_proba, exact)


def _search(head: TopDownHead, taxonomy: Taxonomy, features: Tensor, top_k: int, width: int) -> TopLeaves:
    number, parents = len(features), taxonomy.parents
    # the root stands for itself as node -1; siblings lie together, in order of their parents
    row, node, log_p = np.arange(number), np.full(number, -1), np.zeros(number, np.float32)
    left = np.full(number, -np.inf, np.float32)  # the most probable node left behind
    while True:
        inner = (node < 0) | ~taxonomy.is_leaf[node]
        if not inner.any():
            break
        start = np.searchsorted(parents, node[inner], "left")
        stop = np.searchsorted(parents, node[inner], "right")
        size = stop - start
        first = np.cumsum(size) - size
        child = spans(start, stop)
        owner = np.repeat(row[inner], size)
        below = np.repeat(log_p[inner], size) + _log_softmax(_scores(head, features, owner, child), first, size)
        row, node = np.concatenate([row[~inner], owner]), np.concatenate([node[~inner], child])
        log_p = np.concatenate([log_p[~inner], below])
        order = np.lexsort((node, -log_p, row))
        row, node, log_p = row[order], node[order], log_p[order]
        rank = np.arange(len(row)) - np.searchsorted(row, row, "left")
        np.maximum.at(left, row[rank >= width], log_p[rank >= width])
        kept = rank < width
        row, node, log_p = row[kept], node[kept], log_p[kept]
    begin = np.searchsorted(row, np.arange(number), "left")
    place = begin[:, None] + np.arange(top_k)
    # where nothing was left behind all was looked at; else a vector with NaN would be searched without end
    return TopLeaves(node[place], log_p[place], (log_p[place[:, -1]] >= left) | np.isneginf(left))


def _scores(head: TopDownHead, features: Tensor, row: IntArray, node: IntArray) -> Float32:
    """(P,) scores of pairs of a row and a node."""
    weight, bias = head.linear.weight, head.linear.bias
    out = np.empty(len(row), np.float32)
    for start in range(0, len(row), _PAIRS):
        part = slice(start, start + _PAIRS)
        rows, nodes = (torch.from_numpy(x[part]).to(features.device) for x in (row, node))
        found = (features[rows].float() * weight[nodes]).sum(1) + bias[nodes]
        if head.offset is not None and head.offset_in_prediction:
            found = found + head.offset[nodes]
        out[part] = found.cpu().numpy()
    return out


def _log_softmax(scores: Float32, first: IntArray, size: IntArray) -> Float32:
    """(P,) log-softmax within segments of siblings that begin at ``first``."""
    return (scores - np.repeat(segment_logsumexp(scores, first), size)).astype(np.float32)
