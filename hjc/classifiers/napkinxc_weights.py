"""Exact, batched probabilities from the weights that napkinXC trained, without its row-by-row prediction.

napkinXC answers one row at a time by walking a queue; for all leaves that visits every node of every row. Here all
nodes of a chunk of rows are scored by one sparse product, and chained over the tree in log-space. The numbers are
those of ``predict_proba(top_k=number of labels)`` (tested to 1e-5); missing napkinXC, a stored model still predicts.

The file ``weights.bin`` (napkinXC 0.7, little endian; src/model.cpp, src/base.cpp and src/vector.h of its source):
int32 number of estimators, then for each: int32 classes seen, int32 first class, int32 loss (0 logistic, 1 squared
hinge); with two classes also uint64 size, uint64 non-zeros (both twice), bool sparse, the vector (float32 values, or
int32 index and float32 value pairs), bool gradients (never stored by us). Index 1 is the bias, index 2 + j feature j.
An estimator that saw one class only answers +10 or -10.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import FloatArray, IntArray
from hjc.classifiers.feature_weights import FeatureWeights
from hjc.classifiers.sparse_rows import Csr
from hjc.taxonomy import Taxonomy

if TYPE_CHECKING:
    from scipy import sparse

#: what an estimator answers that saw only its own class (+) or only others (-), as in napkinXC
CONSTANT_SCORE = 10.0
LOGISTIC, SQUARED_HINGE = 0, 1
_FEATURE_SHIFT = 2
_PAIR = np.dtype([("index", "<i4"), ("value", "<f4")])


class NapkinFileError(ValueError):
    """weights.bin is truncated or not what this module reads."""


class Nodes(ABC):
    """E linear estimators over F features: ``score = x @ weights.T + bias``."""

    #: (E,)
    bias: FloatArray
    #: trained with the squared hinge loss
    hinge: bool

    @property
    @abstractmethod
    def by_feature(self) -> FeatureWeights:
        """(F, E) weights."""

    def scores(self, rows: Csr) -> FloatArray:
        """(B, F) float32 rows -> (B, E) float32 scores. Memory: dense blocks of B x E."""
        out = self.by_feature.scores(rows)
        out += self.bias
        return out


@dataclass(frozen=True, eq=False)
class StoredNodes(Nodes):
    """Estimators whose weights lie feature by feature already."""

    stored: FeatureWeights
    bias: FloatArray
    hinge: bool

    @property
    def by_feature(self) -> FeatureWeights:
        return self.stored


@dataclass(frozen=True, eq=False)
class LinearNodes(Nodes):
    """Estimators as they come from training.

    weights: (E, F) float32 CSR; bias: (E,) float32, +10 or -10 for estimators that saw one class only;
    seen: (E,) number of classes seen (0: no data); hinge: trained with the squared hinge loss.
    """

    weights: "sparse.csr_matrix"
    bias: FloatArray
    seen: IntArray
    hinge: bool

    @classmethod
    def of_leaves(cls, coefficients: FloatArray, intercepts: FloatArray) -> "LinearNodes":
        """One estimator a leaf: (L, F) and (L,)."""
        from scipy import sparse

        return cls(sparse.csr_matrix(coefficients), intercepts, np.full(len(intercepts), 2), hinge=False)

    @cached_property
    def by_feature(self) -> FeatureWeights:
        found = self.weights.T.tocsr()
        return FeatureWeights(found.indptr, found.indices, found.data, found.shape[1])


def read_weights(path: Path, num_features: int) -> LinearNodes:
    """Read napkinXC's weights.bin; nothing in it is executed.

    Raises:
        NapkinFileError: the file is truncated, or has another layout.
    """
    raw = path.read_bytes()
    at = 0

    def take(dtype: Any, count: int) -> npt.NDArray[Any]:
        nonlocal at
        size = np.dtype(dtype).itemsize * count
        if count < 0 or at + size > len(raw):
            raise NapkinFileError(f"{path}: truncated at byte {at} of {len(raw)}, or not written by napkinXC 0.7")
        part = np.frombuffer(raw, dtype=dtype, count=count, offset=at)
        at += size
        return part

    total = int(take("<i4", 1)[0])
    if not 1 <= total <= len(raw) // 12:  # the bytes that each has at least
        raise NapkinFileError(f"{path}: says that it holds {total} estimators, which {len(raw)} bytes cannot")
    bias = np.empty(total, dtype=np.float32)
    seen = np.empty(total, dtype=np.int64)
    losses: set[int] = set()
    indices, values, lengths = [], [], np.zeros(total, dtype=np.int64)
    for node in range(total):
        classes, first, loss = (int(v) for v in take("<i4", 3))
        if classes not in (0, 1, 2) or first not in (0, 1) or loss not in (LOGISTIC, SQUARED_HINGE):
            raise NapkinFileError(f"{path}: estimator {node} is not one of napkinXC 0.7 (loss log or l2)")
        seen[node] = classes
        sign = 1.0 if first == 1 else -1.0
        losses.add(loss)
        if classes < 2:
            bias[node] = -CONSTANT_SCORE if first == 0 else CONSTANT_SCORE
            continue
        _, _, size, non_zero = (int(v) for v in take("<u8", 4))
        if int(take("<u1", 1)[0]):
            pairs = take(_PAIR, non_zero)
            index, value = pairs["index"].astype(np.int64), pairs["value"]
            present = value != 0
            index, value = index[present], value[present]
        else:
            vector = take("<f4", size)
            index = np.flatnonzero(vector)
            value = vector[index]
        if int(take("<u1", 1)[0]):
            raise NapkinFileError(f"{path}: estimator {node} stores gradients, which hjc never writes")
        at_bias = index == _FEATURE_SHIFT - 1
        bias[node] = sign * float(value[at_bias][-1]) if at_bias.any() else 0.0
        inside = (index >= _FEATURE_SHIFT) & (index < _FEATURE_SHIFT + num_features)
        order = np.argsort(index[inside], kind="stable")
        indices.append((index[inside] - _FEATURE_SHIFT)[order])
        values.append((sign * value[inside])[order].astype(np.float32))
        lengths[node] = int(inside.sum())
    if len(losses) > 1:
        raise NapkinFileError(f"{path}: mixes losses {sorted(losses)}")
    from scipy import sparse  # who reads exported models does without

    weights = sparse.csr_matrix(
        (
            np.concatenate(values) if values else np.zeros(0, np.float32),
            np.concatenate(indices) if indices else np.zeros(0, np.int64),
            np.r_[0, np.cumsum(lengths)],
        ),
        shape=(total, num_features),
        dtype=np.float32,
    )
    return LinearNodes(weights=weights, bias=bias, seen=seen, hinge=losses == {SQUARED_HINGE})


def napkinxc_labels(taxonomy: Taxonomy, *, label_inner: bool = False) -> IntArray:
    """(N,) labels of the nodes: leaf column j has j, inner nodes -1.

    With ``label_inner`` an inner node has L + (its rank among inner nodes): a row with such a label trains the
    estimators from the root down to that node and none below. Only our own prediction is right for such a tree.
    """
    rank = taxonomy.num_leaves + np.cumsum(~taxonomy.is_leaf) - 1
    return np.where(taxonomy.is_leaf, taxonomy.leaf_slice[:, 0], rank if label_inner else -1)


def napkinxc_tree(taxonomy: Taxonomy, labels: IntArray) -> list[tuple[int, int, int]]:
    """The tree in napkinXC's form (parent, node, label): root 0, node i of the taxonomy i + 1."""
    below = zip((taxonomy.parents + 1).tolist(), range(1, len(taxonomy) + 1), labels.tolist(), strict=True)
    return [(-1, 0, -1), *below]


def hinge_log_proba(scores: FloatArray) -> FloatArray:
    """napkinXC's probability for the squared hinge loss: exp(-max(0, 1 - score)^2)."""
    return -(np.maximum(0, 1 - scores) ** 2)


def node_log_proba(nodes: Nodes, scores: FloatArray) -> FloatArray:
    """Log-probability of each estimator on its own, as PLT and OVR use it."""
    return hinge_log_proba(scores) if nodes.hinge else np.minimum(scores, 0) - np.log1p(np.exp(-np.abs(scores)))


def plt_log_proba(nodes: Nodes, scores: FloatArray, taxonomy: Taxonomy) -> FloatArray:
    """(E, B) scores -> (L, B) natural log of napkinXC's PLT probabilities: the product of the sigmoids on each path."""
    each = node_log_proba(nodes, scores)
    below = each[1:]
    bounds = np.searchsorted(taxonomy.level, np.arange(2, taxonomy.depth + 2)).tolist()
    for start, stop in pairwise(bounds):  # nodes lie in order of their level
        below[start:stop] += below[taxonomy.parents[start:stop]]
    return np.asarray(below[taxonomy.leaves] + each[:1])


def ovr_log_proba(nodes: Nodes, scores: FloatArray, taxonomy: Taxonomy) -> FloatArray:
    """(E, B) scores -> (L, B) natural log of napkinXC's OVR probabilities, one sigmoid a leaf.

    napkinXC writes no estimators above the highest label seen: those leaves are impossible, -inf.
    """
    each = node_log_proba(nodes, scores)
    out = np.full((taxonomy.num_leaves, scores.shape[1]), -np.inf, dtype=each.dtype)
    out[: len(each)] = each[: taxonomy.num_leaves]
    return out
