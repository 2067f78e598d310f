"""What the retrieval classifier and its re-rankers hand each other: ads, vectors, candidates, scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hjc.arrays import FloatArray, IntArray
from hjc.classifiers.embedding.labels import LabelIndex
from hjc.data.jobdata import JobData
from hjc.rerank.extraction import Extraction, RulesExtractor
from hjc.taxonomy import Taxonomy


@dataclass(frozen=True)
class Ad:
    """A text, what was extracted from it, and what of it is encoded."""

    text: str
    extraction: Extraction
    query: str


def read_ads(texts: Sequence[str], extraction: bool) -> list[Ad]:
    """Ads with their extractions; ``query`` is the whole text without ``extraction``, or where that finds none."""
    found = RulesExtractor().extract(texts)
    return [
        Ad(text, part, (part.text() if extraction else "") or text) for text, part in zip(texts, found, strict=True)
    ]


@dataclass(frozen=True)
class Retrieved:
    """Ads of B texts, their unit vectors (B, H), and the cosines (B, L) of these with the leaves."""

    ads: Sequence[Ad]
    vectors: FloatArray
    cosines: FloatArray

    def at(self, rows: IntArray) -> "Retrieved":
        return Retrieved([self.ads[i] for i in rows.tolist()], self.vectors[rows], self.cosines[rows])

    def of(self, leaf: IntArray) -> FloatArray:
        """(B, k) cosines with the leaves (B, k) of each row."""
        return np.take_along_axis(self.cosines, leaf, axis=1)


class Retriever(Protocol):
    """What a re-ranker asks of the classifier that it belongs to."""

    taxonomy: Taxonomy
    labels: LabelIndex | None
    scale: float

    def retrieve(self, texts: Sequence[str]) -> Retrieved: ...


Answers = tuple[FloatArray, dict[int, tuple[str, str]]]


class CandidateReranker(Protocol):
    """What the classifier asks of a re-ranker."""

    #: validation rows that choosing the number of candidates may cost
    choice_rows: int
    status: str

    def fit(self, owner: Retriever, train: JobData, valid: JobData | None, run_dir: Path | None) -> None: ...

    def score(self, owner: Retriever, found: Retrieved, leaf: IntArray) -> Answers:
        """(B, k) scores of the candidates (B, k) of B ads, higher is better, and row -> (status, reason) where it has
        none: declined, failed (no usable answer) or budget (not asked: a limit was reached)."""
        ...

    def describe(self) -> dict[str, Any]:
        """For train.yaml."""
        ...

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None:
        """Raises FileNotFoundError or ValueError where files are missing or do not fit."""
        ...
