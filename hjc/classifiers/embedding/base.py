"""What the embedding classifiers share: texts and labels in one space, cosines to probabilities, the model directory.

log P(leaf | text) = log softmax(scale * cos(text, label)), one softmax over the leaves; inner nodes are sums, so every
level is coherent. A subclass says in ``fit`` how encoder and label vectors come about.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hjc.arrays import FloatArray, IntArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.embedding.encoders import TextEncoder, read_encoder
from hjc.classifiers.embedding.labels import LabelIndex, LabelTexts, label_texts
from hjc.classifiers.embedding.scale import DEFAULT_SCALE, MAX_ROWS, fit_scale, log_softmax, negative_log_likelihood
from hjc.classifiers.embedding.settings import EmbeddingSettings
from hjc.classifiers.fitting import check_rows
from hjc.classifiers.record import stored_recipe
from hjc.classifiers.storage import ModelDir, ModelDirError, read_model_dir, write_model_dir
from hjc.data.jobdata import JobData
from hjc.index import normalise
from hjc.nn.settings import TrainerSettings
from hjc.taxonomy import Taxonomy

logger = logging.getLogger(__name__)

#: texts encoded, then scored, together when predicting
PREDICT_ROWS = 2048


class EmbeddingClassifier(Classifier):
    """Base of the classifiers that place texts and labels in one space.

    Args:
        taxonomy: the tree whose leaves are predicted.
        settings: what the model is; stored with it.
        trainer: how it is fitted; not needed for prediction.
    """

    settings_class: ClassVar[type[EmbeddingSettings]] = EmbeddingSettings

    def __init__(
        self, taxonomy: Taxonomy, settings: EmbeddingSettings | None = None, trainer: TrainerSettings | None = None
    ) -> None:
        super().__init__(taxonomy)
        self.settings: Any = settings or self.settings_class()
        self.trainer = trainer or TrainerSettings()
        self.encoder: TextEncoder | None = None
        self.labels: LabelIndex | None = None
        #: factor of the cosines before the softmax, fitted on validation rows
        self.scale = DEFAULT_SCALE

    @property
    def is_fitted(self) -> bool:
        return self.encoder is not None and self.labels is not None

    @property
    def parameters(self) -> Mapping[str, Any]:
        return asdict(self.settings) | {"scale": self.scale}

    # ------------------------------------------------------------------ for subclasses

    def _check_data(self, train: JobData, valid: JobData | None) -> JobData | None:
        """Check both; an empty ``valid`` becomes None."""
        check_rows("train", train, self.taxonomy)
        if valid is not None:
            check_rows("valid", valid, self.taxonomy)
        return valid if valid is not None and len(valid) else None

    def _label_texts(self) -> LabelTexts:
        return label_texts(self.taxonomy, self.settings)

    def _index(self, labels: LabelTexts) -> LabelIndex:
        """Label texts through the encoder."""
        assert self.encoder is not None
        vectors = self.encoder.encode(labels.texts, "encoding labels")
        return LabelIndex(vectors, labels.leaf, labels.texts, self.settings.label_pooling, self.settings.index)

    def _fit_scale(self, valid: JobData | None, vectors: FloatArray | None = None) -> None:
        """Set ``scale`` by validation log-loss; without validation rows the declared default stays.

        Args:
            vectors: (n, H) of the validation rows, where they are known already.
        """
        if valid is None:
            logger.warning("no validation rows: the scale of the cosines stays %g", self.scale)
            return
        sample = np.sort(np.random.default_rng(self.trainer.seed).permutation(len(valid))[:MAX_ROWS])
        rows = valid.take(sample)
        found = self.vectors(rows.texts) if vectors is None else vectors[sample]
        self.scale = fit_scale(self.taxonomy, self._scores(found), rows.gold, rows.weight, self._to_log_proba)

    def _start_scale(
        self, train: JobData, vectors: FloatArray, valid: JobData | None, valid_vectors: FloatArray | None
    ) -> float:
        """The scale for vectors that are about to be fitted: by validation rows, else by training rows."""
        data, known = (train, vectors) if valid is None or valid_vectors is None else (valid, valid_vectors)
        some = np.sort(np.random.default_rng(self.trainer.seed).permutation(len(data))[:MAX_ROWS])
        gold, weight = data.gold[some], data.weight[some]
        return fit_scale(self.taxonomy, self._scores(known[some]), gold, weight, self._to_log_proba)

    def _log_loss(self, vectors: FloatArray, data: JobData) -> float:
        """Mean of -ln P(gold) of rows whose vectors (n, H) are known, at their gold's own level."""
        total = 0.0
        for start in range(0, len(data), PREDICT_ROWS):
            chunk = slice(start, start + PREDICT_ROWS)
            log_proba = self.log_proba_of_vectors(vectors[chunk])
            total += float(negative_log_likelihood(self.taxonomy, log_proba, data.gold[chunk]).sum())
        return total / len(data)

    def _scores(self, vectors: FloatArray) -> FloatArray:
        """(n, H) unit vectors -> what :meth:`_to_log_proba` takes once it is scaled: (n, L) cosines."""
        assert self.labels is not None
        return self.labels.scores(vectors)

    def _to_log_proba(self, scaled: FloatArray) -> FloatArray:
        """Scaled scores -> (n, L) natural-log leaf probabilities."""
        return log_softmax(scaled)

    # ------------------------------------------------------------------ prediction

    def vectors(self, texts: Sequence[str], *, progress: bool = True) -> FloatArray:
        """(n, H) float32 unit vectors of texts: where the classifier places them."""
        self._check_fitted()
        assert self.encoder is not None
        return self.encoder.encode(texts, progress=progress)

    def category_vectors(self) -> FloatArray:
        """(L, H) unit vectors of the leaves: of one with several texts, their mean."""
        self._check_fitted()
        assert self.labels is not None
        sums = np.zeros((self.labels.num_leaves, self.labels.vectors.shape[1]), dtype=np.float32)
        np.add.at(sums, self.labels.leaf, self.labels.vectors)
        return normalise(sums)

    def cosines(self, texts: Sequence[str]) -> FloatArray:
        """(n, L) cosine of each text and each leaf (its best text, or log-mean-exp over them)."""
        vectors = self.vectors(texts)
        assert self.labels is not None
        return self.labels.scores(vectors)

    def log_proba_of_vectors(self, vectors: FloatArray) -> FloatArray:
        """(n, H) unit vectors -> (n, L) natural-log leaf probabilities, float32."""
        return self._to_log_proba(np.float32(self.scale) * self._scores(vectors))

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        """See the base class; 2,048 texts at a time."""
        self._check_fitted()
        for start in range(0, len(texts), PREDICT_ROWS):
            chunk = texts[start : start + PREDICT_ROWS]
            rows = np.arange(start, start + len(chunk))
            yield rows, self.log_proba_of_vectors(self.vectors(chunk, progress=False))

    # ------------------------------------------------------------------ another edition of the tree

    def for_taxonomy(self, taxonomy: Taxonomy) -> Self:
        """The same encoder on another tree (new or revised codes) without training: labels are known by their texts.

        Leaves that the old tree has too, with the same texts, keep their vectors; the others are encoded. Not the same
        as a training run on new data: nothing was learnt of the new codes but their texts. The scale stays. Where
        ``label_file`` is no longer there, what it said of codes that both trees have is taken from the model.
        """
        self._check_fitted()
        assert self.labels is not None and self.encoder is not None
        made = type(self)(taxonomy, self.settings, self.trainer)
        made.encoder, made.scale, made.recipe = self.encoder, self.scale, self.recipe
        old_codes = self.taxonomy.leaf_codes
        known = {
            (old_codes[leaf], text): i
            for i, (leaf, text) in enumerate(zip(self.labels.leaf.tolist(), self.labels.texts, strict=True))
        }
        labels = self._other_texts(taxonomy)
        keys = [
            (taxonomy.leaf_codes[leaf], text) for leaf, text in zip(labels.leaf.tolist(), labels.texts, strict=True)
        ]
        new = [i for i, key in enumerate(keys) if key not in known]
        vectors = np.empty((len(keys), self.encoder.dim), dtype=np.float32)
        old = [i for i, key in enumerate(keys) if key in known]
        vectors[old] = self.labels.vectors[[known[keys[i]] for i in old]]
        if new:
            vectors[new] = self.encoder.encode([labels.texts[i] for i in new], "encoding new labels")
        made.labels = LabelIndex(vectors, labels.leaf, labels.texts, self.settings.label_pooling, self.settings.index)
        return made

    def _other_texts(self, taxonomy: Taxonomy) -> LabelTexts:
        """Label texts of another tree; what ``label_file`` said is remembered when the file is gone."""
        file = self.settings.label_file
        if not file or Path(file).expanduser().is_file():
            return label_texts(taxonomy, self.settings)
        assert self.labels is not None
        bare = replace(self.settings, label_file="")
        own, found = label_texts(self.taxonomy, bare), label_texts(taxonomy, bare)
        column = {code: leaf for leaf, code in enumerate(taxonomy.leaf_codes)}
        there = set(zip(own.leaf.tolist(), own.texts, strict=True))
        said = dict.fromkeys(zip(self.labels.leaf.tolist(), self.labels.texts, strict=True))
        codes = self.taxonomy.leaf_codes
        kept = [
            (column[codes[leaf]], text) for leaf, text in said if (leaf, text) not in there and codes[leaf] in column
        ]
        pairs = dict.fromkeys([*zip(found.leaf.tolist(), found.texts, strict=True), *kept])
        ordered = sorted(pairs, key=lambda pair: pair[0])
        return LabelTexts(tuple(t for _, t in ordered), np.array([n for n, _ in ordered], np.int64), found.missing)

    # ------------------------------------------------------------------ persistence

    def _state(self) -> dict[str, Any]:
        """What a subclass keeps in config.json beside its settings: plain JSON."""
        return {}

    def _restore(self, state: Mapping[str, Any], model: ModelDir) -> None:
        """Take back what :meth:`_state` gave, and read what :meth:`_write` wrote."""

    def _write(self, folder: Path) -> None:
        """Further files of a subclass."""

    def save_pretrained(self, directory: Path) -> None:
        """Write the model directory: encoder, tokenizer, label texts and vectors, taxonomy, settings."""
        self._check_fitted()
        encoder, labels = self.encoder, self.labels
        assert encoder is not None and labels is not None

        def write(folder: Path) -> None:
            encoder.save(folder)
            labels.save(folder)
            self._write(folder)

        write_model_dir(
            directory,
            classifier=self.name,
            parameters=asdict(self.settings) | {"scale": self.scale, "state": self._state()},
            taxonomy=self.taxonomy,
            recipe=self.recipe,
            files=write,
        )

    @classmethod
    def from_pretrained(cls, directory: Path) -> Self:
        """Read a model directory; no network, no base encoder, and no label is encoded again.

        Raises:
            ModelDirError: files are missing, truncated, altered or do not fit together.
        """
        model = read_model_dir(directory, expected_classifier=cls.name)
        scale, state = model.parameters.get("scale"), model.parameters.get("state")
        if not isinstance(scale, int | float) or not isinstance(state, dict):
            raise ModelDirError(f"{model.path}: config.json has no scale or state; save the model again")
        self = cls(model.taxonomy, model.settings(cls.settings_class, but=("scale", "state")))
        self.recipe = stored_recipe(model.path, model.config)
        self.scale = float(scale)
        try:
            self.encoder = read_encoder(model.path, self.settings)
            self.labels = LabelIndex.load(model.path, self.settings.label_pooling)
        except (ValueError, FileNotFoundError, KeyError) as error:
            raise ModelDirError(f"{model.path}: {error}") from error
        if self.labels.num_leaves != model.taxonomy.num_leaves or self.labels.vectors.shape[1] != self.encoder.dim:
            raise ModelDirError(
                f"{model.path}: label vectors of shape {self.labels.vectors.shape} for {self.labels.num_leaves} leaves "
                f"do not fit {model.taxonomy.num_leaves} leaves and an encoder {self.encoder.dim} wide"
            )
        self._restore(state, model)
        return self
