"""Formulas that several classifiers share. B rows, N nodes, L leaves; natural logarithms throughout."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from hjc.arrays import BoolArray, Float32, Float64, FloatArray, IntArray
from hjc.taxonomy import Taxonomy


def log_softmax(scores: Float32) -> Float32:
    """(B, L) scores -> log-probabilities, float32 (the sum is taken in float64)."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64))
    return np.asarray(shifted - total.astype(np.float32))


def group_log_softmax(scores: FloatArray, taxonomy: Taxonomy) -> FloatArray:
    """(B, N) log-softmax within each sibling group; siblings are contiguous, so one segmented sum does all groups."""
    starts, group = taxonomy.group_slice[:, 0], taxonomy.group
    shifted = scores - np.maximum.reduceat(scores, starts, axis=1)[:, group]
    return shifted - np.log(np.add.reduceat(np.exp(shifted), starts, axis=1))[:, group]


def gold_log_proba(log_proba: FloatArray, span: IntArray) -> Float64:
    """(B,) ln P(gold) of (B, L) leaf log-probabilities; span (B, 2): the gold node's leaves, whose sum it is."""
    rows = np.arange(len(span))
    out = log_proba[rows, span[:, 0]].astype(np.float64)
    for row in np.flatnonzero(span[:, 1] - span[:, 0] > 1).tolist():
        out[row] = np.logaddexp.reduce(log_proba[row, slice(*span[row])].astype(np.float64))
    return out


def within(span: IntArray, column: IntArray) -> BoolArray:
    """Whether columns (B, k) or (k,) lie in each row's span (B, 2)."""
    return (column >= span[:, :1]) & (column < span[:, 1:])


def chunks(items: Any, size: int) -> Iterator[tuple[IntArray, Any]]:
    """``size`` of a sequence at a time, with their positions."""
    for start in range(0, len(items), size):
        part = items[start : start + size]
        yield np.arange(start, start + len(part)), part


def top_k_columns(log_proba: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """The k largest columns of each row, largest first, ties by column: ``(columns (B, k), probabilities (B, k))``."""
    x = np.asarray(log_proba, dtype=np.float64)
    if k < x.shape[1]:
        part = np.sort(np.argpartition(-x, k - 1, axis=1)[:, :k], axis=1)
    else:
        part = np.broadcast_to(np.arange(x.shape[1]), x.shape).copy()
    values = np.take_along_axis(x, part, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(part, order, axis=1), np.exp(np.take_along_axis(values, order, axis=1))
