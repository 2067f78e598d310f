"""A vector a category: of its label, the mean of its training texts, or fitted; and what all fitted spaces share.

After the O*NET category-embedding study, which compares `direct` < `average` < `finetuned` by top-1 accuracy and time;
the rest (cosines to coherent log-probabilities, the scale from validation rows, evaluation) the family shares.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hjc.arrays import Float32
from hjc.classifiers.embedding.base import DEFAULT_SCALE, EmbeddingClassifier
from hjc.classifiers.embedding.encoders import load_pretrained
from hjc.classifiers.embedding.labels import LabelIndex, LabelTexts, category_means, label_means, label_texts
from hjc.classifiers.embedding.settings import USE, EmbeddingSettings, PrototypeSettings
from hjc.classifiers.fitting import check_data, class_weights, run_of
from hjc.data.codesets import CodeSets, Target
from hjc.data.jobdata import JobData
from hjc.index import normalise
from hjc.taxonomy import Taxonomy


@dataclass(frozen=True)
class Encoded:
    """Label texts, training rows and, if any, validation rows, with their (n, H) vectors."""

    texts: LabelTexts
    labels: LabelIndex
    train: JobData
    train_vectors: Float32
    valid: JobData | None
    valid_vectors: Float32 | None


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

    def _fit_space(self, space: Any, encoded: Encoded, label_weight: float, run_dir: Path | None) -> Any:
        """Fit a :class:`hjc.nn.heads.VectorModule`, with the encoder or on its vectors.

        The label texts of a leaf are training texts of it, with ``label_weight`` in all.

        Returns:
            :class:`~hjc.nn.fitting.FitResult`.
        """
        s, t, leaf = self.settings, self.trainer, encoded.labels.leaf
        train, valid = encoded.train, encoded.valid
        own = self.taxonomy.leaves[leaf]
        gold: Target = np.concatenate([train.gold, own])
        if train.sets is not None:
            gold = CodeSets.concat([train.sets, CodeSets.of_gold(own)])
        of_rows = train.weight * class_weights(train, t.class_weights)
        weight = np.concatenate([of_rows, label_weight / np.bincount(leaf)[leaf]]).astype(np.float32)
        # A step moves cosines, and the scale turns cosines into log-odds: of an encoder whose cosines lie close
        # together (E5: scales of 100 to 200) the same step would be five to ten times as large, and tear it apart.
        scales = [p for name, p in space.named_parameters() if name in ("log_scale", "log_level_scale")]
        sharpest = max(float(scale.detach().exp().max()) for scale in scales)
        t = replace(t, head_learning_rate=t.head_learning_rate * min(1.0, DEFAULT_SCALE / sharpest))
        if s.freeze_encoder:
            from hjc.nn.vector_training import VectorRows, fit_on_vectors

            rows = VectorRows(np.concatenate([encoded.train_vectors, encoded.labels.vectors]), gold, weight)
            held_out = None
            if valid is not None and encoded.valid_vectors is not None:
                held_out = VectorRows(encoded.valid_vectors, valid.target, valid.weight)
            return fit_on_vectors(space, self.taxonomy, rows, held_out, t, run_dir, self.callback)
        from hjc.nn.training import fit_end_to_end

        texts = ((*train.texts, *encoded.texts.texts), gold, weight)
        held_texts = None if valid is None else (valid.texts, valid.target, valid.weight)
        run = run_of(s, t, train, valid, run_dir, self.callback)
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

    def _start_scale(self, encoded: Encoded) -> float:
        """The scale for vectors that are about to be fitted: by validation rows, else by training rows."""
        if encoded.valid is None:
            return self._scale_for(encoded.train, encoded.train_vectors)
        return self._scale_for(encoded.valid, encoded.valid_vectors)

    def _encode_valid(self, valid: JobData | None) -> Float32 | None:
        assert self.encoder is not None
        return None if valid is None else self.encoder.encode(valid.texts, "encoding validation texts")


@dataclass(frozen=True, kw_only=True)
class PrototypeFit(SpaceFit):
    """As :class:`SpaceFit`; ``train_seconds`` fitted prototypes, ``leaves_with_rows`` are gold of a training row."""

    train_seconds: float
    leaves_with_rows: int


class PrototypeClassifier(SpaceClassifier):
    """Nearest prototype by cosine; see :class:`~hjc.classifiers.embedding.settings.PrototypeSettings`.

    * ``direct``: the label's texts, no training rows (a leaf with several texts scores by ``label_pooling``).
    * ``average``: unit mean of a leaf's training vectors and its label vector, which counts as ``label_weight`` rows.
      A row whose gold code is an inner node is spread evenly over the leaves under it. A leaf without rows keeps its
      label vector.
    * ``finetuned``: trainable vectors that start as the average; see :class:`hjc.nn.spaces.PrototypeSpace` for
      the losses. The label texts of a leaf are training texts of it with ``label_weight`` in all, so that a leaf
      without rows is not only ever pushed away. The encoder is frozen (vectors are computed once) or learns along.
    """

    name: ClassVar[str] = "prototype"
    settings_class: ClassVar[type[EmbeddingSettings]] = PrototypeSettings

    def fit_data(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Compute or fit the prototypes, then the scale on ``valid``.

        Raises:
            ValueError: no rows, unlabelled rows, another taxonomy than the classifier's, or an encoder that cannot be
                fitted with ``freeze_encoder=False``.
        """
        valid = check_data(train, valid, self.taxonomy)
        s, started = self.settings, time.monotonic()
        end_to_end = s.prototype == "finetuned" and not s.freeze_encoder
        if end_to_end:
            self._check_trainable()
        texts = self._label_texts()
        corpus = () if s.prototype == "direct" else train.texts
        self.labels = None  # a second fit starts from nothing
        self.encoder = load_pretrained(s, corpus, texts.texts, seed=self.trainer.seed)
        index = self._index(texts)
        train_vectors = None if s.prototype == "direct" else self.encoder.encode(train.texts, "encoding training texts")
        valid_vectors = self._encode_valid(valid)
        encode_seconds = time.monotonic() - started
        details: Any = None
        if train_vectors is None:
            labels = index
        else:
            prototypes = category_means(train, train_vectors, label_means(index), s.label_weight)
            labels = one_each(prototypes)
            if s.prototype == "finetuned":
                encoded = Encoded(texts, index, train, train_vectors, valid, valid_vectors)
                fitted, self.scale, details = self._finetune(prototypes, encoded, run_dir)
                labels = one_each(fitted)
        self.labels = labels
        trained = time.monotonic() - started - encode_seconds
        if end_to_end:
            valid_vectors = self._encode_valid(valid)
        self._fit_scale(valid, valid_vectors)
        self.fit_result = PrototypeFit(
            **self._what_happened(details, started, encode_seconds, valid, valid_vectors),
            train_seconds=0.0 if details is None else round(trained, 3),
            leaves_with_rows=int(np.isin(self.taxonomy.leaves, train.gold).sum()),
        )
        return self

    def _finetune(self, prototypes: Float32, encoded: Encoded, run_dir: Path | None) -> tuple[Float32, float, Any]:
        """(L, H) fitted prototypes, the scale that was learnt with them, and what the trainer tells."""
        from hjc.nn.spaces import PrototypeSpace  # torch

        s = self.settings
        self.labels = one_each(prototypes)
        space = PrototypeSpace(
            self.taxonomy,
            prototypes,
            loss=s.loss,
            margin=s.margin,
            negatives=s.negatives,
            scale=self._start_scale(encoded),
        )
        details = self._fit_space(space, encoded, s.label_weight, run_dir)
        return normalise(space.prototypes.detach().cpu().numpy()), float(space.log_scale.detach().exp()), details

    def for_taxonomy(self, taxonomy: Taxonomy) -> Self:
        """See the base class. Prototypes of codes that both trees have as leaves stay; others get their label vector,
        the unit mean of the label's texts."""
        if self.settings.prototype == "direct":
            return super().for_taxonomy(taxonomy)
        encoder, labels = self._fitted()
        made = self._on(taxonomy)
        old = {code: i for i, code in enumerate(self.taxonomy.leaf_codes)}
        known = np.array([old.get(code, -1) for code in taxonomy.leaf_codes])
        vectors = labels.vectors[known]
        new = np.flatnonzero(known < 0)
        if len(new):
            texts = label_texts(taxonomy, self.settings)
            wanted = np.flatnonzero(np.isin(texts.leaf, new))
            found = encoder.encode([texts.texts[i] for i in wanted.tolist()], "encoding new labels")
            place = np.searchsorted(new, texts.leaf[wanted])
            vectors[new] = label_means(LabelIndex(found, place, ("",) * len(place)))
        made.labels = one_each(vectors)
        return made


def one_each(vectors: Float32) -> LabelIndex:
    """The index of one vector a leaf."""
    values = np.asarray(vectors, dtype=np.float32)
    return LabelIndex(values, np.arange(len(values)), ("",) * len(values))
