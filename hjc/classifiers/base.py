"""The contract of every classifier: leaf log-probabilities over a taxonomy; the rest is derived here once."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from hjc.arrays import FloatArray, IntArray
from hjc.data.jobdata import JobData
from hjc.data.recipe import TextRecipe
from hjc.errors import NotFittedError
from hjc.taxonomy import Taxonomy

if TYPE_CHECKING:
    from hjc.calibration import Calibrator


#: log-probability below which no leaf may lie, so that log-loss stays finite. A declared floor: e^-23 is 1e-10.
LOG_PROBA_FLOOR = -23.0


class Classifier(ABC):
    """A text classifier over the leaves of a taxonomy.

    A subclass implements ``fit``, ``iter_log_proba``, ``save`` and ``from_pretrained``; everything that users see
    (probabilities of a level, top-k tables) follows from the leaf log-probabilities.
    """

    #: the key under which ``hjc.load`` finds the class; stored in config.json
    name: ClassVar[str]
    #: of the log-probabilities, fitted on validation rows; ``hjc.load`` sets it where the directory holds one. It is
    #: not applied by this classifier: :meth:`calibrated` gives the one that applies it
    calibrator: "Calibrator | None" = None
    #: how its texts are made; stored with the model. The methods ``predict...`` apply it, :meth:`iter_log_proba` takes
    #: texts that are made already, as those of JobData are
    recipe: TextRecipe = TextRecipe()
    #: whether the classifier may decline a row, or says how it came by its code: :meth:`iter_outcomes` then tells
    has_outcomes: ClassVar[bool] = False

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy

    @property
    @abstractmethod
    def is_fitted(self) -> bool: ...

    @abstractmethod
    def fit(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Fit on labelled rows (``train.gold >= 0`` everywhere). ``run_dir`` receives logs and resume files."""

    @abstractmethod
    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yield ``(rows, log_proba)``: positions in ``texts`` (b,) and natural-log leaf probabilities (b, L), float32.

        Every row comes exactly once, in any order (neural classifiers batch by length), so that a caller never
        holds more than a batch of probability rows. ``None`` is not a text; an empty string is, with a defined result.
        """

    def iter_outcomes(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray, list[tuple[str, str]]]]:
        """As :meth:`iter_log_proba`, with (outcome, reason) of each row; ("", "") where a classifier has none."""
        for rows, log_proba in self.iter_log_proba(texts):
            yield rows, log_proba, [("", "")] * len(rows)

    @abstractmethod
    def save_pretrained(self, directory: Path) -> None:
        """Write the self-contained model directory (see :mod:`hjc.classifiers.storage`)."""

    @classmethod
    @abstractmethod
    def from_pretrained(cls, directory: Path) -> Self:
        """Read what ``save_pretrained`` wrote, without network and without the training data."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Plain settings of this classifier for tables and cards (name -> value)."""
        return {}

    def calibrated(self) -> "Classifier":
        """This classifier with its calibrator applied to every probability.

        Raises:
            ValueError: it has no calibrator.
        """
        from hjc.classifiers.calibrated import CalibratedClassifier  # which is a Classifier itself

        return CalibratedClassifier(self)

    # ------------------------------------------------------------------ derived

    def _check_fitted(self) -> None:
        if not self.is_fitted:
            raise NotFittedError(f"{type(self).__name__} has not been fitted: call fit(...) or hjc.load(directory)")

    def leaf_log_proba(self, texts: Sequence[str]) -> FloatArray:
        """(B, L) float32 natural-log leaf probabilities of texts that are made already, in their order."""
        self._check_fitted()
        out = np.empty((len(texts), self.taxonomy.num_leaves), dtype=np.float32)
        for rows, log_proba in self.iter_log_proba(texts):
            out[rows] = log_proba
        return out

    def predict_log_proba(self, rows: Any) -> FloatArray:
        """(B, L) float32 natural-log leaf probabilities, in the order of ``rows``. They sum to 1 after exp.

        Args:
            rows: raw texts, or a table with the columns of the model; see :meth:`TextRecipe.texts`, which makes and
                cleans the texts as ``hjc predict`` does. A row without a text is predicted as an empty text is.

        Raises:
            NotFittedError: before ``fit`` or ``load``.
            TypeError, ValueError: ``rows`` is one string or another container, a column is missing, or a cell no text.
        """
        self._check_fitted()
        return self.leaf_log_proba(self.recipe.texts(rows))

    def predict_proba(self, rows: Any, level: int | None = None) -> FloatArray:
        """(B, K) probabilities of the columns of a level (default: the deepest); see ``taxonomy.level_codes``.

        ``rows`` and errors: :meth:`predict_log_proba`.
        """
        level = self.taxonomy.depth if level is None else level
        return np.exp(self.taxonomy.aggregate(self.predict_log_proba(rows), level))

    def predict(self, rows: Any, level: int | None = None, top_k: int = 1) -> pd.DataFrame:
        """The ``top_k`` most probable codes of a level for each row. ``rows`` and errors: :meth:`predict_log_proba`.

        Returns:
            DataFrame with columns ``row, rank, code, title, probability``: ``top_k`` lines a row, rank 1 first
            (fewer when the level has fewer codes).
        """
        self._check_fitted()
        level = self.taxonomy.check_level(self.taxonomy.depth if level is None else level)
        if top_k < 1:
            raise ValueError(f"top_k: got {top_k}, allowed are integers from 1")
        texts = self.recipe.texts(rows)
        nodes = self.taxonomy.level_nodes(level)
        k = min(top_k, len(nodes))
        columns = np.empty((len(texts), k), dtype=np.int64)
        proba = np.empty((len(texts), k), dtype=np.float64)
        for at, log_proba in self.iter_log_proba(texts):
            columns[at], proba[at] = top_k_columns(self.taxonomy.aggregate(log_proba, level), k)
        chosen = nodes[columns].ravel()
        return pd.DataFrame(
            {
                "row": np.repeat(np.arange(len(texts)), k),
                "rank": np.tile(np.arange(1, k + 1), len(texts)),
                "code": [self.taxonomy.codes[i] for i in chosen],
                "title": [self.taxonomy.title(int(i)) for i in chosen],
                "probability": proba.ravel(),
            }
        )


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
