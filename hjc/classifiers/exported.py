"""A neural model that was exported: its network is a graph, and neither torch nor transformers is needed to run it.

The same classifier as the one that it was made of: texts are cut into tokens, windows and titles by the same code, the
graph gives scores, and the tree is summed up in NumPy. What needs the network itself (dropout passes, gradients,
training) stays with the source. B rows, L leaves, H hidden.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hjc.arrays import FloatArray, IntArray
from hjc.calibration.conditionals import sum_paths
from hjc.classifiers.base import Classifier
from hjc.classifiers.engines import ENGINES, Engine, missing_inputs, open_engine
from hjc.classifiers.side import read_side, write_side
from hjc.classifiers.storage import ModelDir
from hjc.classifiers.treemath import group_log_softmax, log_softmax
from hjc.classifiers.vectors import ENCODER, TextVectors
from hjc.data.side import SideVocabulary
from hjc.errors import check_choice, check_range
from hjc.nn.pooling_weights import weights_of
from hjc.nn.settings import CAPITALS, HIERARCHIES, POOLINGS
from hjc.nn.tokenizer import TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, LightTokenizer, stored_backend
from hjc.nn.tokens import Distinct, Reading, array_batches
from hjc.taxonomy.tree import Taxonomy

GRAPH = "model.onnx"
PRECISIONS = ("fp32", "bf16", "int8")


@dataclass(kw_only=True, slots=True)
class ExportedSettings:
    """What was exported, and how its texts are cut."""

    name: str = "exported"
    engine: str = "onnx"
    precision: str = "fp32"
    hierarchy: str = "bottomup"
    encoder: str = ""
    pooling: str = "mean"
    prefix: str = ""
    max_length: int = 128
    windows: int = 1
    title_share: float = 0.0
    capitals: str = "keep"

    def __post_init__(self) -> None:
        check_choice("engine", self.engine, ENGINES)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("hierarchy", self.hierarchy, HIERARCHIES)
        check_choice("pooling", self.pooling, POOLINGS)
        check_choice("capitals", self.capitals, CAPITALS)
        check_range("max_length", self.max_length, self.max_length >= 4, "integers from 4")
        check_range("windows", self.windows, self.windows >= 1, "integers from 1")
        check_range("title_share", self.title_share, 0 <= self.title_share < 1, "0 (off) to below 1")


def leaf_log_proba(scores: FloatArray, hierarchy: str, taxonomy: Taxonomy) -> FloatArray:
    """(B, M) scores of a head of :mod:`hjc.nn.heads` -> (B, L) natural-log leaf probabilities, float32."""
    if hierarchy == "topdown":
        return sum_paths(group_log_softmax(scores, taxonomy), taxonomy)
    return log_softmax(sum_paths(scores, taxonomy) if hierarchy == "pathsum" else scores)


class ExportedClassifier(Classifier):
    """Reads and runs what :func:`hjc.classifiers.export.export_model` wrote; it cannot be trained.

    Args:
        taxonomy: the tree.
        settings: see :class:`ExportedSettings`.
        engine: the graph, ready to run.
        tokenizer: of the source.
    """

    name: ClassVar[str] = "exported"
    settings_class = ExportedSettings
    vector_space = ENCODER

    def __init__(
        self,
        taxonomy: Taxonomy,
        settings: ExportedSettings,
        engine: Engine | None = None,
        tokenizer: LightTokenizer | None = None,
    ) -> None:
        super().__init__(taxonomy)
        self.settings, self.engine, self.tokenizer = settings, engine, tokenizer
        self.side: SideVocabulary | None = None

    @property
    def is_fitted(self) -> bool:
        return self.engine is not None

    @property
    def parameters(self) -> Mapping[str, Any]:
        return asdict(self.settings)

    def _outputs(self, texts: Sequence[str], output: str) -> Iterator[tuple[IntArray, FloatArray]]:
        """Rows (b,) and an output of the graph (b, ...) for them."""
        self.check_fitted()
        assert self.engine is not None
        for rows, batch in array_batches(self.tokenizer, texts, Reading.of(self.settings), self.side):
            yield rows, self.engine(output, self._inputs(batch))

    def _inputs(self, batch: Mapping[str, IntArray]) -> dict[str, Any]:
        weights, owner = weights_of(batch, self.settings.pooling, self.settings.title_share)
        found: dict[str, Any] = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        found["owner"] = owner
        if self.settings.pooling != "max":
            found["weights"] = weights
        if self.side is not None:
            found["side"] = batch["side"]
        return found

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        distinct = Distinct(texts)
        for which, scores in self._outputs(distinct.texts, "scores"):
            found = leaf_log_proba(scores, self.settings.hierarchy, self.taxonomy)
            yield from distinct.spread(which, np.asarray(found, dtype=np.float32))

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """See the base class: the vectors that the head sees."""
        from hjc.index import normalise

        found = dict[int, FloatArray]()
        for rows, vectors in self._outputs(list(texts), "vectors"):
            found.update(zip(rows.tolist(), vectors, strict=True))
        return TextVectors(ENCODER, normalise(np.array([found[i] for i in range(len(texts))], dtype=np.float32)))

    # ------------------------------------------------------------------ persistence

    def write_files(self, folder: Path) -> None:
        """A copy of the files that it was read from."""
        if self.directory is None:
            raise ValueError("an exported model is saved by copying the directory that it was loaded from")
        for name in (GRAPH, TOKENIZER_FILE, TOKENIZER_CONFIG_FILE):
            (folder / name).write_bytes((self.directory / name).read_bytes())
        write_side(self.side, folder)

    @classmethod
    def read_files(cls, model: ModelDir) -> Self:
        """A text is run through the graph, so that files which a stranger made fail here and not at the first row."""
        settings = model.settings(ExportedSettings)
        path = model.file(GRAPH)
        model.file(TOKENIZER_FILE)
        tokenizer = LightTokenizer(*stored_backend(model.path))
        self = cls(model.taxonomy, settings, open_engine(settings.engine, path, settings.precision), tokenizer)
        self.side = read_side(model)
        assert self.engine is not None
        tried = next(array_batches(tokenizer, ["a"], Reading(4, titles=True), self.side))[1]
        inputs = self._inputs(tried)
        if wrong := missing_inputs(self.engine, list(inputs)):
            raise ValueError(f"{path}: the settings and the graph differ in the inputs {', '.join(wrong)}")
        number = model.taxonomy.num_leaves if settings.hierarchy == "bottomup" else len(model.taxonomy)
        scores = self.engine("scores", inputs)
        if scores.shape != (1, number) or not np.isfinite(scores).all():
            raise ValueError(f"{path}: gives {scores.shape[-1]} scores, the tree needs {number}, all finite")
        return self
