"""The models that are served side by side, each with its queue; one may be replaced while requests are under way."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hjc.arrays import FloatArray, IntArray
from hjc.classifiers.base import CalibratedClassifier, Classifier
from hjc.classifiers.derived import model_fingerprint
from hjc.classifiers.load import load
from hjc.errors import check_choice
from hjc.evaluation.validation_scores import ValidationScores
from hjc.serve.batching import Batcher, Outcomes
from hjc.serve.memory import MODEL, Correction, Memory
from hjc.serve.metrics import Metrics
from hjc.serve.seen import Seen
from hjc.serve.settings import Limits

#: seconds without a request after which a model that was replaced is let go
RETIRED = 600.0
#: digits of a model's fingerprint that name its version
VERSION = 12


@dataclass(frozen=True)
class Answer:
    """(B, L) leaf log-probabilities, how each row came by its code, and the stage that decided it."""

    log_proba: FloatArray
    outcomes: Outcomes
    stages: list[str]


class Answered(Classifier):
    """A classifier whose answer is there already: what goes over tables and rules goes over it."""

    name = "answered"

    def __init__(self, model: Classifier, answer: Answer) -> None:
        super().__init__(model.taxonomy)
        self.answer, self.recipe, self.has_outcomes = answer, model.recipe, model.has_outcomes

    @property
    def is_fitted(self) -> bool:
        return True

    def fit(self, train: Any, valid: Any = None, **options: Any) -> "Answered":
        raise self.cannot("be fitted", "models in a directory")

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        yield np.arange(len(texts)), self.answer.log_proba

    def iter_outcomes(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray, list[tuple[str, str]]]]:
        yield np.arange(len(texts)), self.answer.log_proba, self.answer.outcomes


def _beside(work: Callable[[], None]) -> None:
    """In a thread of its own: nobody waits for it, an error stands in the log."""
    threading.Thread(target=work, name="hjc-mix", daemon=True).start()


class Served:
    """One model in memory with its queue and what people corrected.

    Args:
        name: by which requests ask for it.
    """

    def __init__(self, name: str, directory: str | Path, limits: Limits, metrics: Metrics) -> None:
        self.name, self.directory = name, Path(directory)
        self.classifier = load(directory)
        self.version = model_fingerprint(directory)[:VERSION]
        self.memory = Memory(self.classifier, later=_beside)
        self.seen = Seen(self.classifier, name, metrics)
        self.batcher = Batcher(
            self._answer, batch_rows=limits.batch_rows, queue_rows=limits.queue_rows, wait=limits.wait_ms / 1000,
            seen=lambda rows, seconds: metrics.batch(name, rows, seconds),
        )  # fmt: skip

    def _answer(self, texts: Sequence[str]) -> tuple[FloatArray, Outcomes]:
        tree, outcomes = self.classifier.taxonomy, [("", "")] * len(texts)
        out = np.empty((len(texts), tree.num_leaves), dtype=np.float32)
        for rows, log_proba, found in self.classifier.iter_outcomes(texts):
            out[rows] = log_proba
            for i, outcome in zip(rows.tolist(), found, strict=True):
                outcomes[i] = outcome
        return out, outcomes

    @property
    def can_calibrate(self) -> bool:
        return self.classifier.calibrator is not None

    @cached_property
    def calibrated(self) -> CalibratedClassifier:
        """Raises ValueError without a calibration."""
        return self.classifier.calibrated()

    @cached_property
    def validation(self) -> ValidationScores:
        """Outcomes of the validation rows. Raises ValueError where the model has none."""
        return ValidationScores.load(self.directory, self.classifier.taxonomy)

    def submit(self, texts: Sequence[str], seconds: float) -> "Future[tuple[FloatArray, Outcomes]]":
        """The raw answer, later. Raises Busy."""
        return self.batcher.submit(texts, seconds)

    def finish(
        self, texts: Sequence[str], raw: tuple[FloatArray, Outcomes], *, calibrated: bool, learned: bool
    ) -> Answer:
        """The answer to be shown: calibrated where that is asked for, with what people corrected."""
        log_proba, outcomes = raw
        if calibrated:
            log_proba = self.calibrated.transform(log_proba)
        stages = [MODEL] * len(texts)
        if learned:
            log_proba, stages = self.memory.mix(texts, log_proba)
        return Answer(log_proba, outcomes, stages)

    def answer(self, texts: Sequence[str], seconds: float, *, calibrated: bool, learned: bool = True) -> Answer:
        """Submit and wait. Raises Busy, TimeoutError."""
        return self.finish(texts, self.submit(texts, seconds).result(seconds), calibrated=calibrated, learned=learned)

    def facts(self) -> dict[str, Any]:
        """What ``/v1/models`` tells."""
        tree = self.classifier.taxonomy
        return {
            "name": self.name, "version": self.version, "kind": self.classifier.name,
            "columns": list(self.classifier.recipe.columns), "calibration": self.can_calibrate,
            "taxonomy": {"name": tree.name, "hash": tree.hash, "levels": tree.depth, "codes": len(tree),
                         "leaves": tree.num_leaves, "languages": list(tree.titles)},
            "corrections": len(self.memory), "waiting": self.batcher.waiting,
        }  # fmt: skip


@dataclass
class ModelBoard:
    """The served models by name; the first is the one that is meant where a request names none."""

    limits: Limits
    metrics: Metrics
    _served: dict[str, Served] = field(default_factory=dict)
    _corrections: dict[int, Correction] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, directories: Mapping[str, str | Path]) -> None:
        """Load models. Raises as :func:`hjc.load`."""
        for name, directory in directories.items():
            self._served[name] = Served(name, directory, self.limits, self.metrics)

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def get(self, name: str | None = None) -> Served:
        """A model by its name. Raises ValueError with the names that there are."""
        if name is None:
            return next(iter(self._served.values()))
        check_choice("model", name, tuple(self._served))
        return self._served[name]

    def get_or_first(self, name: str) -> Served:
        """The model that a batch was made with, or the first where it is not served any more."""
        return self._served.get(name) or self.get()

    def add(self, name: str, directory: str | Path) -> Served:
        """Serve one more directory; in place of the old one where the name is taken."""
        if name in self._served:
            return self.replace(name, directory)
        new = Served(name, directory, self.limits, self.metrics)
        with self._lock:
            new.memory.update(self._corrections.values())
            self._served = {**self._served, name: new}
        return new

    def replace(self, name: str, directory: str | Path) -> Served:
        """Serve another directory by a name. Requests that the old model has taken are answered by it."""
        old = self.get(name)
        new = Served(name, directory, self.limits, self.metrics)
        with self._lock:
            new.memory.update(self._corrections.values())
            self._served[name] = new
        old.batcher.retire(RETIRED)
        return new

    @property
    def corrected(self) -> list[int]:
        """Keys of the corrections in force."""
        with self._lock:
            return list(self._corrections)

    def learn(self, corrections: Sequence[Correction], gone: Sequence[int] = ()) -> None:
        """Have corrections in force in every model."""
        with self._lock:
            new = [one for one in corrections if self._corrections.get(one.key) != one]
            left = [key for key in gone if self._corrections.pop(key, None) is not None]
            self._corrections |= {one.key: one for one in new}
            for served in self if new or left else ():
                served.memory.update(new, left)

    def stop(self) -> None:
        """Answer what waits, then end."""
        for served in self:
            served.batcher.stop()
