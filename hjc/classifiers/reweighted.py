"""A classifier's probabilities for rows with other shares of codes, by Bayes' rule."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from hjc.arrays import Float64, FloatArray
from hjc.classifiers.base import LOG_PROBA_FLOOR, Classifier, TransformedClassifier


class ReweightedClassifier(TransformedClassifier):
    """P'(leaf | text) ~ P(leaf | text) ratio(leaf): see :func:`hjc.statistics.priors.leaf_log_ratio`.

    Args:
        base: the classifier, calibrated or not.
        log_ratio: (L,) natural logarithms; -inf makes a code (nearly) impossible.
        what: how the shares are called, for tables.
    """

    name: ClassVar[str] = "reweighted"

    def __init__(self, base: Classifier, log_ratio: Float64, what: str = "") -> None:
        super().__init__(base)
        self.several = None  # its head knows the shares of the training only
        if log_ratio.shape != (base.taxonomy.num_leaves,) or np.isnan(log_ratio).any():
            raise ValueError(f"log_ratio: got shape {log_ratio.shape}, expected ({base.taxonomy.num_leaves},) numbers")
        self.log_ratio, self.what = log_ratio, what

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {**self.base.parameters, "prior": self.what}

    def transform(self, log_proba: FloatArray) -> FloatArray:
        out = np.maximum(log_proba.astype(np.float64) + self.log_ratio, LOG_PROBA_FLOOR)
        out -= np.logaddexp.reduce(out, axis=1, keepdims=True)
        return out.astype(np.float32)
