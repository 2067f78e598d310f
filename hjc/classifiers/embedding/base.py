"""What the embedding classifiers share: texts and labels in one space, cosines to probabilities, the model directory.

log P(leaf | text) = log softmax(scale * cos(text, label)), one softmax over the leaves; inner nodes are sums, so every
level is coherent. A subclass says in ``fit`` how encoder and label vectors come about.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from scipy.optimize import minimize_scalar

from hjc.arrays import Float32, FloatArray, IntArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.embedding.encoders import TextEncoder, read_encoder
from hjc.classifiers.embedding.labels import LabelIndex, LabelTexts, label_keys, label_means, label_texts
from hjc.classifiers.embedding.settings import EmbeddingSettings
from hjc.classifiers.fitting import draw
from hjc.classifiers.keywords import with_trainer
from hjc.classifiers.storage import ModelDir
from hjc.classifiers.treemath import chunks, gold_log_proba, log_softmax
from hjc.classifiers.vectors import ENCODER, TextVectors
from hjc.data.jobdata import JobData
from hjc.index import normalise
from hjc.nn.settings import TrainerSettings
from hjc.taxonomy import Taxonomy

logger = logging.getLogger(__name__)

#: texts encoded, then scored, together when predicting
PREDICT_ROWS = 2048
#: scale where there are no validation rows: that of the ranking loss with which sentence encoders are trained
DEFAULT_SCALE = 20.0
#: bounds of the search; at the lower one the distribution is all but uniform
LOWEST, HIGHEST = 0.5, 500.0
#: validation rows used at most: the scale is one number
MAX_ROWS = 4000


def fit_scale(
    taxonomy: Taxonomy,
    scores: Float32,
    gold: IntArray,
    weight: Float32,
    to_log_proba: Callable[[Float32], Float32] = log_softmax,
) -> float:
    """The scale s > 0 that minimises the weighted mean of -ln P(gold), with log P = to_log_proba(s * scores).

    Args:
        scores: (B, L) cosines, or what else ``to_log_proba`` takes.
        gold: (B,) node numbers, leaves or inner nodes.
        weight: (B,) not negative.
        to_log_proba: from scaled scores to (B, L) leaf log-probabilities.

    Raises:
        ValueError: there are no rows of positive weight.
    """
    if not len(gold) or not weight.sum() > 0:
        raise ValueError("fit_scale: got no validation rows of positive weight")
    share, span = weight / weight.sum(), taxonomy.leaf_slice[gold]

    def loss(log_scale: float) -> float:
        log_proba = to_log_proba(np.float32(np.exp(log_scale)) * scores)
        return -float(share @ gold_log_proba(log_proba, span))

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))


class EmbeddingClassifier(Classifier):
    """Base of the classifiers that place texts and labels in one space.

    Args:
        taxonomy: the tree whose leaves are predicted.
        settings: what the model is; stored with it.
        trainer: how it is fitted; not needed for prediction.
        keywords: single settings of either: ``encoder="e5", epochs=1``.
    """

    settings_class: ClassVar[type[EmbeddingSettings]] = EmbeddingSettings
    takes_trainer: ClassVar[bool] = True
    vector_space = ENCODER

    def __init__(
        self,
        taxonomy: Taxonomy,
        settings: EmbeddingSettings | None = None,
        trainer: TrainerSettings | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(taxonomy)
        self.settings: Any
        self.settings, self.trainer = with_trainer(type(self), self.settings_class, settings, trainer, keywords)
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

    @property
    def has_network(self) -> bool:
        return self.encoder is not None and self.encoder.has_network

    def compute_on(self, device: str = "auto", precision: str | None = None) -> Self:
        super().compute_on(device, precision)
        self._fitted()[0].compute_on(device, precision)
        return self

    # ------------------------------------------------------------------ for subclasses

    def _fitted(self) -> tuple[TextEncoder, LabelIndex]:
        """Encoder and labels; raises NotFittedError before ``fit``."""
        self.check_fitted()
        assert self.encoder is not None and self.labels is not None
        return self.encoder, self.labels

    def _label_texts(self) -> LabelTexts:
        return label_texts(self.taxonomy, self.settings)

    def _index(self, labels: LabelTexts) -> LabelIndex:
        """Label texts through the encoder."""
        assert self.encoder is not None
        return self._label_index(self.encoder.encode(labels.texts, "encoding labels"), labels)

    def _label_index(self, vectors: Float32, labels: LabelTexts) -> LabelIndex:
        return LabelIndex(vectors, labels.leaf, labels.texts, self.settings.label_pooling, self.settings.index)

    def _scale_for(self, data: JobData, vectors: FloatArray | None = None) -> float:
        """The scale with the least log-loss on an even sample of rows; ``vectors`` (n, H) where they are known."""
        sample = draw(len(data), MAX_ROWS, self.trainer.seed)
        rows = data.take(sample)
        found = self.vectors(rows.texts) if vectors is None else vectors[sample]
        return fit_scale(self.taxonomy, self._scores(found), rows.gold, rows.weight, self._to_log_proba)

    def _fit_scale(self, valid: JobData | None, vectors: FloatArray | None = None) -> None:
        """Set ``scale`` by validation rows; without any the declared default stays."""
        if valid is None:
            logger.warning("no validation rows: the scale of the cosines stays %g", self.scale)
            return
        self.scale = self._scale_for(valid, vectors)

    def _log_loss(self, vectors: FloatArray, data: JobData) -> float:
        """Mean of -ln P(gold) of rows whose vectors (n, H) are known, at their gold's own level."""
        total = 0.0
        for rows, part in chunks(vectors, PREDICT_ROWS):
            log_proba = self.log_proba_of_vectors(part)
            total -= float(gold_log_proba(log_proba, self.taxonomy.leaf_slice[data.gold[rows]]).sum())
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
        return self._fitted()[0].encode(texts, progress=progress)

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        return TextVectors(ENCODER, normalise(self.vectors(list(texts))))

    def category_vectors(self) -> FloatArray:
        """(L, H) unit vectors of the leaves: of one with several texts, their mean."""
        return label_means(self._fitted()[1])

    def cosines(self, texts: Sequence[str]) -> FloatArray:
        """(n, L) cosine of each text and each leaf (its best text, or log-mean-exp over them)."""
        return self._fitted()[1].scores(self.vectors(texts))

    def log_proba_of_vectors(self, vectors: FloatArray) -> FloatArray:
        """(n, H) unit vectors -> (n, L) natural-log leaf probabilities, float32."""
        return self._to_log_proba(np.float32(self.scale) * self._scores(vectors))

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        """See the base class; 2,048 texts at a time."""
        self.check_fitted()
        for rows, chunk in chunks(texts, PREDICT_ROWS):
            yield rows, self.log_proba_of_vectors(self.vectors(chunk, progress=False))

    def predict_with_scores(self, texts: Sequence[str]) -> tuple[FloatArray, FloatArray | None]:
        """See the base class; texts are encoded once."""
        vectors = self.vectors(texts, progress=False)
        return self.log_proba_of_vectors(vectors), self._fitted()[1].scores(vectors)

    # ------------------------------------------------------------------ another edition of the tree

    def for_taxonomy(self, taxonomy: Taxonomy) -> Self:
        """The same encoder on another tree (new or revised codes) without training: labels are known by their texts.

        Leaves that the old tree has too, with the same texts, keep their vectors; the others are encoded. Not the same
        as a training run on new data: nothing was learnt of the new codes but their texts. The scale stays. Where
        ``label_file`` is no longer there, what it said of codes that both trees have is taken from the model.
        """
        encoder, own = self._fitted()
        made, labels = self._on(taxonomy), self._other_texts(taxonomy)
        known = {key: i for i, key in enumerate(label_keys(own, self.taxonomy))}
        place = np.array([known.get(key, -1) for key in label_keys(labels, taxonomy)])
        vectors = own.vectors[place]
        if len(new := np.flatnonzero(place < 0)):
            vectors[new] = encoder.encode([labels.texts[i] for i in new.tolist()], "encoding new labels")
        made.labels = self._label_index(vectors, labels)
        return made

    def _on(self, taxonomy: Taxonomy) -> Self:
        """An unfitted classifier with the same encoder and scale on another tree."""
        made = type(self)(taxonomy, self.settings, self.trainer)
        made.encoder, made.scale, made.recipe = self._fitted()[0], self.scale, self.recipe
        return made

    def _other_texts(self, taxonomy: Taxonomy) -> LabelTexts:
        """Label texts of another tree; what ``label_file`` said is remembered when the file is gone."""
        file = self.settings.label_file
        if not file or Path(file).expanduser().is_file():
            return label_texts(taxonomy, self.settings)
        bare = replace(self.settings, label_file="")
        found, there = label_texts(taxonomy, bare), set(label_keys(label_texts(self.taxonomy, bare), self.taxonomy))
        said = [key for key in label_keys(self._fitted()[1], self.taxonomy) if key not in there]
        column = {code: leaf for leaf, code in enumerate(taxonomy.leaf_codes)}
        kept = [(column[code], text) for code, text in said if code in column]
        pairs = [*zip(found.leaf.tolist(), found.texts, strict=True), *kept]
        return LabelTexts.of_pairs(((text, leaf) for leaf, text in pairs), found.missing)

    # ------------------------------------------------------------------ persistence

    def _state(self) -> dict[str, Any]:
        """What a subclass keeps in config.json beside its settings: plain JSON."""
        return {}

    def _restore(self, state: Mapping[str, Any], model: ModelDir) -> None:
        """Take back what :meth:`_state` gave, and read the further files that the subclass wrote."""

    def stored_parameters(self) -> Mapping[str, Any]:
        return asdict(self.settings) | {"scale": self.scale, "state": self._state()}

    def write_files(self, folder: Path) -> None:
        """Encoder, tokenizer, label texts and vectors."""
        encoder, labels = self._fitted()
        encoder.save(folder)
        labels.save(folder)

    @classmethod
    def read_files(cls, model: ModelDir) -> Self:
        """No network, no base encoder, and no label is encoded again."""
        scale, state = model.parameters.get("scale"), model.parameters.get("state")
        if not isinstance(scale, int | float) or not isinstance(state, dict):
            raise ValueError("config.json has no scale or state; save the model again")
        self = cls(model.taxonomy, model.settings(cls.settings_class, but=("scale", "state"), capitals="keep"))
        self.scale = float(scale)
        self.encoder = read_encoder(model.path, self.settings)
        self.labels = LabelIndex.load(model.path, self.settings.label_pooling)
        if self.labels.num_leaves != model.taxonomy.num_leaves or self.labels.vectors.shape[1] != self.encoder.dim:
            raise ValueError(
                f"label vectors of shape {self.labels.vectors.shape} for {self.labels.num_leaves} leaves do not fit "
                f"{model.taxonomy.num_leaves} leaves and an encoder {self.encoder.dim} wide"
            )
        self._restore(state, model)
        return self
