"""What prototypes and the joint space share: texts encoded once, vectors of categories fitted to them."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hjc.arrays import Float32
from hjc.classifiers.embedding.base import EmbeddingClassifier
from hjc.classifiers.embedding.labels import LabelIndex, LabelTexts
from hjc.classifiers.embedding.scale import DEFAULT_SCALE
from hjc.classifiers.embedding.settings import USE
from hjc.classifiers.fitting import class_weights, run_of
from hjc.data.jobdata import JobData


@dataclass(frozen=True)
class Encoded:
    """Label texts with their vectors; (n, H) vectors of the training rows and, if any, of the validation rows."""

    texts: LabelTexts
    labels: LabelIndex
    train: Float32
    valid: Float32 | None


@dataclass(frozen=True, kw_only=True)
class SpaceFit:
    """What happened; goes into train.yaml.

    Attributes:
        status: finished | early_stopped | time_limit | interrupted | diverged.
        seconds: all of ``fit``; ``encode_seconds`` of them computed vectors.
        epochs, steps: 0 where nothing is fitted by gradient.
        best_valid_log_loss: that of the kept state during fitting; None where nothing is fitted or validated.
        valid_log_loss: of the final classifier with its fitted scale, all validation rows, nats; None without them.
    """

    status: str
    seconds: float
    encode_seconds: float
    epochs: float
    steps: int
    best_valid_log_loss: float | None
    valid_log_loss: float | None
    scale: float


class SpaceClassifier(EmbeddingClassifier):
    """Base of the classifiers that fit a vector for each category."""

    def _check_trainable(self) -> None:
        """Raises ValueError where the encoder is to be trained and cannot be."""
        if self.settings.encoder == USE and not self.settings.freeze_encoder:
            raise ValueError(f"model.freeze_encoder=false: {USE} cannot be trained; take another model.encoder")

    def _fit_space(
        self,
        space: Any,
        encoded: Encoded,
        train: JobData,
        valid: JobData | None,
        label_weight: float,
        run_dir: Path | None,
    ) -> Any:
        """Fit a :class:`hjc.nn.heads.VectorModule`, with the encoder or on its vectors.

        The label texts of a leaf are training texts of it, with ``label_weight`` in all.

        Returns:
            :class:`~hjc.nn.fitting.FitResult`.
        """
        s, t, leaf = self.settings, self.trainer, encoded.labels.leaf
        gold = np.concatenate([train.gold, self.taxonomy.leaves[leaf]])
        of_rows, of_labels = (
            train.weight * class_weights(train, t.class_weights),
            label_weight / np.bincount(leaf)[leaf],
        )
        weight = np.concatenate([of_rows, of_labels]).astype(np.float32)
        # A step moves cosines, and the scale turns cosines into log-odds: of an encoder whose cosines lie close
        # together (E5: scales of 100 to 200) the same step would be five to ten times as large, and tear it apart.
        scales = [p for name, p in space.named_parameters() if name in ("log_scale", "log_level_scale")]
        sharpest = max(float(scale.detach().exp().max()) for scale in scales)
        t = replace(t, head_learning_rate=t.head_learning_rate * min(1.0, DEFAULT_SCALE / sharpest))
        if s.freeze_encoder:
            from hjc.nn.vector_training import VectorRows, fit_on_vectors

            rows = VectorRows(np.concatenate([encoded.train, encoded.labels.vectors]), gold, weight)
            held_out = None
            if valid is not None and encoded.valid is not None:
                held_out = VectorRows(encoded.valid, valid.gold, valid.weight)
            return fit_on_vectors(space, self.taxonomy, rows, held_out, t, run_dir)
        from hjc.nn.training import fit_end_to_end

        texts = ((*train.texts, *encoded.texts.texts), gold, weight)
        held_texts = None if valid is None else (valid.texts, valid.gold, valid.weight)
        run = run_of(s, t, train, valid, run_dir)
        return fit_end_to_end(self.encoder, space, self.taxonomy, texts, held_texts, run)

    def _what_happened(
        self, details: Any, started: float, encode_seconds: float, valid: JobData | None, vectors: Float32 | None
    ) -> dict[str, Any]:
        """The values of :class:`SpaceFit`.

        Args:
            details: the trainer's FitResult, None where nothing was fitted by gradient.
            started: ``time.monotonic()`` at the beginning.
            vectors: (n, H) of the validation rows.
        """
        return {
            "status": "finished" if details is None else details.status,
            "seconds": round(time.monotonic() - started, 3),
            "encode_seconds": round(encode_seconds, 3),
            "epochs": 0 if details is None else details.epochs,
            "steps": 0 if details is None else details.steps,
            "best_valid_log_loss": None if details is None else details.best_valid_log_loss,
            "valid_log_loss": None if valid is None or vectors is None else self._log_loss(vectors, valid),
            "scale": round(self.scale, 4),
        }

    def _start_scale(self, encoded: Encoded, train: JobData, valid: JobData | None) -> float:
        """The scale for vectors that are about to be fitted: by validation rows, else by training rows."""
        if valid is None or encoded.valid is None:
            return self._scale_for(train, encoded.train)
        return self._scale_for(valid, encoded.valid)

    def _encode_valid(self, valid: JobData | None) -> Float32 | None:
        assert self.encoder is not None
        return None if valid is None else self.encoder.encode(valid.texts, "encoding validation texts")
