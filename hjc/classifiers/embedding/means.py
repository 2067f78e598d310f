"""Mean vectors of categories from labelled vectors. n rows, L leaves, N nodes, H width."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from hjc.arrays import Float32, Float64, IntArray
from hjc.classifiers.embedding.encoders import TextEncoder
from hjc.classifiers.embedding.labels import LabelIndex, node_text
from hjc.classifiers.embedding.settings import EmbeddingSettings
from hjc.index import normalise
from hjc.taxonomy import Taxonomy


def label_means(labels: LabelIndex) -> Float32:
    """(L, H) unit mean of the texts of each leaf."""
    count = np.ones(len(labels.leaf), dtype=np.float32)
    first = np.searchsorted(labels.leaf, np.arange(labels.num_leaves))
    return _unit(labels.vectors[first], sum_by_leaf(labels.vectors, labels.leaf, count, labels.num_leaves))


def sum_by_leaf(vectors: Float32, leaf: IntArray, weight: Float32, leaves: int) -> Float64:
    """(M, H) vectors with their leaves and weights -> (L, H) weighted sums, in float64."""
    shape = (leaves, len(leaf))
    pick = sparse.csr_matrix((weight.astype(np.float64), (leaf, np.arange(len(leaf)))), shape=shape)
    return np.asarray(pick @ vectors.astype(np.float64))


def leaf_sums(taxonomy: Taxonomy, vectors: Float32, gold: IntArray, weight: Float32) -> tuple[Float64, Float64]:
    """(L, H) sums of the training vectors of each leaf, and (L,) the weights in them.

    A row whose gold code is an inner node is spread evenly over the leaves under it.
    """
    spans = taxonomy.leaf_slice[gold]
    width = spans[:, 1] - spans[:, 0]
    row = np.repeat(np.arange(len(gold)), width)
    first = np.repeat(np.cumsum(width) - width, width)
    leaf = np.repeat(spans[:, 0], width) + np.arange(len(row)) - first
    share = (weight / width).astype(np.float64)[row]
    spread = sparse.csr_matrix((share, (leaf, row)), shape=(taxonomy.num_leaves, len(gold)))
    return np.asarray(spread @ vectors.astype(np.float64)), np.asarray(spread.sum(axis=1)).ravel()


def leaf_means(
    taxonomy: Taxonomy,
    vectors: Float32,
    gold: IntArray,
    weight: Float32,
    labels: Float32,
    label_weight: float,
) -> Float32:
    """(L, H) unit vectors: the mean of a leaf's training vectors and ``label_weight`` times its label vector (L, H).

    A leaf without training rows (or whose vectors cancel out) has its label vector.
    """
    total, _ = leaf_sums(taxonomy, vectors, gold, weight)
    return _unit(labels, total + label_weight * labels.astype(np.float64))


def node_means(
    taxonomy: Taxonomy,
    vectors: Float32,
    gold: IntArray,
    weight: Float32,
    labels: Float32,
    label_weight: float = 1.0,
) -> Float32:
    """(N, H) unit vectors: for each node the mean of all training vectors under it and of its label vector (N, H)."""
    total, _ = leaf_sums(taxonomy, vectors, gold, weight)
    upto = np.concatenate([np.zeros((1, total.shape[1])), np.cumsum(total, axis=0)])
    below = upto[taxonomy.leaf_slice[:, 1]] - upto[taxonomy.leaf_slice[:, 0]]
    return _unit(labels, below + label_weight * labels.astype(np.float64))


def node_label_vectors(
    taxonomy: Taxonomy, settings: EmbeddingSettings, encoder: TextEncoder, labels: Float32
) -> Float32:
    """(N, H) unit vectors of the labels of all nodes: leaves from ``labels`` (L, H), inner nodes from their own texts.

    An inner node without a text has the mean of its children.
    """
    out = np.zeros((len(taxonomy), labels.shape[1]), dtype=np.float32)
    out[taxonomy.leaves] = labels
    inner = np.flatnonzero(~taxonomy.is_leaf)
    texts: list[str] = []
    owner: list[int] = []
    languages: Sequence[str] = list(settings.label_languages) or list(taxonomy.titles)
    for node in inner.tolist():
        for text in dict.fromkeys(node_text(taxonomy, node, x, settings.label_mode) for x in languages):
            if text:
                texts.append(text)
                owner.append(node)
    if texts:
        found = encoder.encode(texts, "encoding labels of inner nodes")
        own = np.array(owner, dtype=np.int64)
        sums = sum_by_leaf(found, own, np.ones(len(own), np.float32), len(taxonomy))
        out += normalise(sums.astype(np.float32))
    for node in inner[::-1].tolist():  # children before parents
        if not out[node].any():
            out[node] = normalise(out[taxonomy.parents == node].sum(axis=0, keepdims=True))[0]
    return out


def _unit(fallback: Float32, sums: Float64) -> Float32:
    """Rows of ``sums`` at length 1; where they are zero, those of ``fallback``."""
    found = normalise(sums.astype(np.float32))
    zero = ~found.any(axis=1)
    found[zero] = fallback[zero]
    return found
