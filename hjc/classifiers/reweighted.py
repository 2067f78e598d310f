"""A classifier's probabilities for rows with other shares of codes, by Bayes' rule."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.classifiers.base import LOG_PROBA_FLOOR, Classifier
from hjc.data.recipe import TextRecipe


class ReweightedClassifier(Classifier):
    """P'(leaf | text) ~ P(leaf | text) ratio(leaf): see :func:`hjc.statistics.priors.leaf_log_ratio`.

    Args:
        base: the classifier, calibrated or not.
        log_ratio: (L,) natural logarithms; -inf makes a code (nearly) impossible.
        what: how the shares are called, for tables.
    """

    name: ClassVar[str] = "reweighted"

    def __init__(self, base: Classifier, log_ratio: Float64, what: str = "") -> None:
        super().__init__(base.taxonomy)
        if log_ratio.shape != (base.taxonomy.num_leaves,) or np.isnan(log_ratio).any():
            raise ValueError(f"log_ratio: got shape {log_ratio.shape}, expected ({base.taxonomy.num_leaves},) numbers")
        self.base, self.log_ratio, self.what = base, log_ratio, what
        self.has_outcomes, self.vector_space = base.has_outcomes, base.vector_space
        self.has_vocabulary, self.directory = base.has_vocabulary, base.directory

    @property
    def is_fitted(self) -> bool:
        return self.base.is_fitted

    @property
    def recipe(self) -> TextRecipe:  # type: ignore[override]  # that of the base
        return self.base.recipe

    @property
    def uncalibrated(self) -> Classifier:
        return self.base.uncalibrated

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {**self.base.parameters, "prior": self.what}

    def transform(self, log_proba: FloatArray) -> FloatArray:
        """(B, L) log-probabilities of the base -> for the other shares."""
        out = np.maximum(log_proba.astype(np.float64) + self.log_ratio, LOG_PROBA_FLOOR)
        out -= np.logaddexp.reduce(out, axis=1, keepdims=True)
        return out.astype(np.float32)

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        for rows, log_proba in self.base.iter_log_proba(texts):
            yield rows, self.transform(log_proba)

    def iter_outcomes(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray, list[tuple[str, str]]]]:
        for rows, log_proba, outcomes in self.base.iter_outcomes(texts):
            yield rows, self.transform(log_proba), outcomes

    def oov_share(self, text: str) -> float:
        return self.base.oov_share(text)
