"""A static model: a vector for each n-gram, their mean, a linear head. No network runs; a text costs microseconds.

It is what ``hjc distill`` makes of a slower model (:mod:`hjc.classifiers.distill`). Vectors are stored as 8-bit
integers with a scale for each. B rows, U units (:mod:`hjc.classifiers.static_texts`), H width, L leaves.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hjc.arrays import Float32, FloatArray, IntArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.static_texts import UnitReader
from hjc.classifiers.storage import ModelDir, load_array
from hjc.classifiers.treemath import chunks, log_softmax
from hjc.classifiers.vectors import TextVectors
from hjc.errors import check_choice, check_range
from hjc.nn.units import UnitTexts, sums_of
from hjc.taxonomy.tree import Taxonomy

STATIC = "vectors of n-grams"
FILES = ("vectors", "scales", "weights", "bias")
#: texts worked on together
CHUNK = 4096


@dataclass(kw_only=True, slots=True)
class StaticSettings:
    """What a static model is."""

    name: str = "static"
    hierarchy: str = "bottomup"
    #: n-grams are hashed to so many vectors
    buckets: int = 262_144
    #: numbers of a vector
    width: int = 128
    #: weight of the first line of several, the title, among all words of a text
    title_share: float = 0.5

    def __post_init__(self) -> None:
        check_choice("model.hierarchy", self.hierarchy, ("bottomup",))
        check_range("model.buckets", self.buckets, 1 <= self.buckets <= 2**31 - 1, "integers from 1 to 2^31 - 1")
        check_range("model.width", self.width, self.width >= 1, "integers from 1")
        check_range("model.title_share", self.title_share, 0 <= self.title_share < 1, "0 (off) to below 1")


class StaticClassifier(Classifier):
    """The mean of the vectors of a text's words and pairs of words, and one softmax over the leaves.

    Made by :func:`hjc.classifiers.distill.distill`, not by ``fit``.

    Attributes:
        vectors: (buckets, H) int8. scales: (buckets, 1) float32, by which they are multiplied.
        weights: (L, H), bias: (L,) float32 of the head.
    """

    name: ClassVar[str] = "static"
    settings_class = StaticSettings
    vector_space = STATIC

    def __init__(self, taxonomy: Taxonomy, settings: StaticSettings | None = None) -> None:
        super().__init__(taxonomy)
        self.settings = StaticSettings() if settings is None else settings
        self.reader = UnitReader(self.settings.buckets, self.settings.title_share)
        self.vectors = np.zeros((0, self.settings.width), np.int8)
        self._table: Float32 | None = None  # both together, made when first needed
        self.scales: Float32 = np.zeros((0, 1), np.float32)
        self.weights: Float32 = np.zeros((taxonomy.num_leaves, self.settings.width), np.float32)
        self.bias: Float32 = np.zeros(taxonomy.num_leaves, np.float32)

    @property
    def is_fitted(self) -> bool:
        return len(self.vectors) > 0

    @property
    def parameters(self) -> Mapping[str, Any]:
        return asdict(self.settings)

    def text_units(self, found: UnitTexts) -> Float32:
        """(B, H) vectors of texts."""
        if self._table is None or len(self._table) != len(self.vectors):
            self._table = self.vectors * self.scales
        unit = sums_of(self._table, found.buckets, found.ends)
        unit /= np.sqrt(np.diff(found.ends)[:, None], dtype=np.float32)
        return sums_of(unit, found.units, found.starts, found.weights)

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        self.check_fitted()
        for rows, part in chunks(texts, CHUNK):
            scores = self.text_units(self.reader(part)) @ self.weights.T + self.bias
            yield rows, log_softmax(scores)

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """See the base class."""
        from hjc.index import normalise

        self.check_fitted()
        return TextVectors(STATIC, normalise(self.text_units(self.reader(list(texts)))))

    # ------------------------------------------------------------------ persistence

    def write_files(self, folder: Path) -> None:
        """vectors.npy, scales.npy, weights.npy, bias.npy."""
        for name in FILES:
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def read_files(cls, model: ModelDir) -> Self:
        self = cls(model.taxonomy, model.settings(StaticSettings))
        s, leaves = self.settings, model.taxonomy.num_leaves
        shapes = {"vectors": (s.buckets, s.width), "scales": (s.buckets, 1), "weights": (leaves, s.width)}
        for name in FILES:
            array = load_array(model.file(f"{name}.npy"))
            kind = np.int8 if name == "vectors" else np.float32
            if array.shape != shapes.get(name, (leaves,)) or array.dtype != kind:
                raise ValueError(f"{name}.npy is {array.dtype} of shape {array.shape}, which config.json does not say")
            setattr(self, name, array)
        return self
