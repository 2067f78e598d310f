"""RetrieveAndRerankClassifier: extract, find the nearest leaves, vote by ancestor, re-rank, or decline.

After the ISCO/ESCO nearest-neighbour document: ESCO leaves below ISCO unit groups are the targets of the search, their
ISCO ancestors vote, and only what they disagree on is re-ranked. On the ESCO tree with ``vote_level=4`` that is this
classifier; gold codes of four digits are inner nodes of that tree. The number of candidates, which the document
guessed, is chosen on validation rows.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from hjc.arrays import FloatArray, IntArray
from hjc.classifiers import read_classifier
from hjc.classifiers.embedding.backend_reranker import BackendReranker
from hjc.classifiers.embedding.base import MAX_ROWS, PREDICT_ROWS, EmbeddingClassifier
from hjc.classifiers.embedding.candidates import (
    Mix,
    Retrieved,
    Scored,
    choose_candidates,
    nearest_leaves,
    read_ads,
    reranked,
    unanimous,
)
from hjc.classifiers.embedding.cross_reranker import CrossEncoderReranker
from hjc.classifiers.embedding.encoders import load_pretrained
from hjc.classifiers.embedding.labels import LabelIndex
from hjc.classifiers.embedding.settings import RetrievalSettings
from hjc.classifiers.fitting import check_data, draw
from hjc.classifiers.storage import ModelDir
from hjc.classifiers.treemath import chunks
from hjc.data.jobdata import JobData
from hjc.nn.settings import TrainerSettings
from hjc.rerank import endpoint_of_user
from hjc.taxonomy import Taxonomy

logger = logging.getLogger(__name__)

#: where there are no validation rows to choose it on: the number of the document
DEFAULT_CANDIDATES = 15
#: outcomes that leave a row to people
UNCODED = frozenset({"declined", "failed", "budget"})


@dataclass(frozen=True)
class RetrievalFit:
    """What validation rows decided; ``grid``: a line for each number of candidates."""

    status: str
    candidates: int
    scale: float
    grid: list[dict[str, Any]]
    reranker: dict[str, Any]


class RetrieveAndRerankClassifier(EmbeddingClassifier):
    """Nearest labels first, then a closer look at the few that disagree.

    Without training rows it is a zero-shot classifier; validation rows set the scale of the cosines, the number of
    candidates and the weight of the re-ranker. A cross-encoder also needs training rows.
    """

    name: ClassVar[str] = "retrieval"
    settings_class: ClassVar[Any] = RetrievalSettings
    has_outcomes = True

    def __init__(
        self,
        taxonomy: Taxonomy,
        settings: RetrievalSettings | None = None,
        trainer: TrainerSettings | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(taxonomy, settings, trainer, **keywords)
        self.vote_level = taxonomy.check_level(self.settings.vote_level or taxonomy.depth)
        self.num_candidates = self.settings.candidates or DEFAULT_CANDIDATES
        self.mix = Mix()
        self.reranker: BackendReranker | CrossEncoderReranker | None = None

    # ------------------------------------------------------------------ fitting

    def fit_data(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Index the labels; fit the re-ranker on training rows and every choice on validation rows.

        Raises:
            ValueError: unlabelled rows, another taxonomy, or ``start_from`` is no model of the embedding family.
        """
        valid = check_data(train, valid, self.taxonomy)
        labels = self._label_texts()
        known: LabelIndex | None = None
        if self.settings.start_from:
            start = self.settings.start_from
            found = read_classifier(start)
            if not isinstance(found, EmbeddingClassifier):
                raise ValueError(f"model.start_from: {start} holds a {found.name} model, which has no encoder of texts")
            self.encoder, known = found.encoder, found.labels
            for key in ("encoder", "pooling", "prefix", "max_length", "precision"):  # it is loaded again by these
                setattr(self.settings, key, getattr(found.settings, key))
        else:
            self.encoder = load_pretrained(self.settings, train.texts, labels.texts, seed=self.trainer.seed)
        if known is not None and known.texts == labels.texts and np.array_equal(known.leaf, labels.leaf):
            # the same texts have the same vectors
            self.labels = replace(known, pooling=self.settings.label_pooling, backend=self.settings.index)
        else:
            self.labels = self._index(labels)
        sample = draw(len(valid) if valid is not None else 0, MAX_ROWS, self.trainer.seed)
        rows = valid.take(sample) if valid is not None else None
        seen = self.retrieve(rows.texts) if rows is not None else None
        self._fit_scale(rows, seen.vectors if seen is not None else None)
        built = self._build_reranker(self.settings)
        if built is not None:
            built.fit(self, train, valid, run_dir)
        self.reranker = built
        grid: list[dict[str, Any]] = []
        if rows is None or seen is None or valid is None:
            logger.warning("no validation rows: %d candidates, and scores are not weighed", self.num_candidates)
            self.mix = Mix(1.0, 1.0) if built is not None else Mix()
        else:
            most = built.choice_rows if built is not None else MAX_ROWS
            some = np.searchsorted(sample, draw(len(valid), min(most, MAX_ROWS), self.trainer.seed))
            grid = self._choose(rows.take(some), seen.at(some))
        status, details = (built.status, built.describe()) if built is not None else ("finished", {"kind": "none"})
        self.fit_result = RetrievalFit(status, self.num_candidates, self.scale, grid, details)
        return self

    def _build_reranker(self, settings: RetrievalSettings) -> BackendReranker | CrossEncoderReranker | None:
        """The unfitted re-ranker that the settings name; None for ``none``."""
        if settings.reranker == "none":
            return None
        kind = CrossEncoderReranker if settings.reranker == "cross_encoder" else BackendReranker
        return kind(settings, self.trainer)

    def _choose(self, rows: JobData, found: Retrieved) -> list[dict[str, Any]]:
        """Set the number of candidates and the mix by validation log-loss; a line for each number tried."""
        grid = [self.settings.candidates] if self.settings.candidates else self.settings.candidate_grid
        grid = sorted({min(k, self.taxonomy.num_leaves) for k in grid})
        leaf = nearest_leaves(found.cosines, grid[-1])
        scores = np.zeros(leaf.shape, dtype=np.float32)
        if self.reranker is not None and len(rows):
            scores, _ = self.reranker.score(self, found, leaf)
        data = Scored(
            log_proba=self._to_log_proba(np.float32(self.scale) * found.cosines),
            cosines=self.scale * found.of(leaf),
            leaf=leaf,
            scores=scores,
            span=self.taxonomy.leaf_slice[rows.gold],
            weight=np.asarray(rows.weight, dtype=np.float64),
        )
        voters = self._fitted()[1].nearest(found.vectors, grid[-1])
        same = [unanimous(self.taxonomy, voters[:, :k], self.vote_level) for k in grid]
        lines = choose_candidates(data, grid, same, free=self.reranker is not None)
        # without a re-ranker the distribution does not depend on k: then the fewest
        key = "log_loss" if self.reranker is not None else "candidates"
        best = min(lines, key=lambda line: line[key])
        self.num_candidates = int(best["candidates"])
        self.mix = Mix(best["score_weight"], best["cosine_weight"])
        return lines

    # ------------------------------------------------------------------ prediction

    def retrieve(self, texts: Sequence[str], *, progress: bool | None = None) -> Retrieved:
        """Each text with what is extracted from it, its vector, and its cosines with the leaves.

        The whole text is encoded where extraction finds nothing or is off.
        """
        encoder, labels = self._fitted()
        ads = read_ads(texts, self.settings.extraction)
        shown = len(ads) > PREDICT_ROWS if progress is None else progress
        vectors = encoder.encode([ad.query for ad in ads], progress=shown)
        return Retrieved(ads, vectors, labels.scores(vectors))

    def vectors(self, texts: Sequence[str], *, progress: bool = True) -> FloatArray:
        """(n, H) unit vectors of what is extracted from the texts."""
        ads = read_ads(texts, self.settings.extraction)
        return super().vectors([ad.query for ad in ads], progress=progress)

    def _decide(self, texts: Sequence[str]) -> tuple[FloatArray, list[tuple[str, str]], IntArray]:
        """Log-probabilities (B, L), (status, reason) of each row, candidates (B, k)."""
        found = self.retrieve(texts)
        log_proba = self._to_log_proba(np.float32(self.scale) * found.cosines)
        leaf = nearest_leaves(found.cosines, self.num_candidates)
        voters = self._fitted()[1].nearest(found.vectors, self.num_candidates)
        agreed = unanimous(self.taxonomy, voters, self.vote_level)
        refused: dict[int, tuple[str, str]] = {}
        asked = np.flatnonzero(~agreed)
        if self.reranker is not None and len(asked):
            part, own = found.at(asked), leaf[asked]
            scores, declined = self.reranker.score(self, part, own)
            weights = self.mix.score_weight * scores + self.mix.cosine_weight * self.scale * part.of(own)
            refused = {int(asked[i]): answer for i, answer in declined.items()}
            answered = np.ones(len(asked), dtype=bool)
            answered[list(declined)] = False  # nothing was learnt there: the retrieval's distribution stays
            log_proba[asked] = reranked(log_proba[asked], own, weights, answered)
        states = []
        best = np.exp(self.taxonomy.aggregate(log_proba, self.vote_level).max(axis=1))
        for i, ad in enumerate(found.ads):
            if ad.extraction.reason:
                states.append(("declined", ad.extraction.reason))
            elif i in refused:
                states.append(refused[i])
            elif best[i] < self.settings.decline_below:
                states.append(
                    ("declined", f"ambiguous: {best[i]:.2f} for the best code, {self.settings.decline_below:g} asked")
                )
            elif agreed[i]:
                states.append(("unanimous", ""))
            else:
                states.append(("reranked" if self.reranker is not None else "retrieved", ""))
        return log_proba, states, leaf

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        """See the base class. A declined row has a distribution too; :meth:`outcomes` says which rows are declined."""
        for rows, log_proba, _ in self.iter_outcomes(texts):
            yield rows, log_proba

    def iter_outcomes(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray, list[tuple[str, str]]]]:
        """With unanimous, reranked, retrieved or declined for each row; see :meth:`outcomes`."""
        self.check_fitted()
        for rows, chunk in chunks(texts, PREDICT_ROWS):
            log_proba, states, _ = self._decide(chunk)
            yield rows, log_proba, states

    def predict_with_scores(self, texts: Sequence[str]) -> tuple[FloatArray, FloatArray | None]:
        return self.leaf_log_proba(texts), self.cosines(texts)

    def outcomes(self, texts: Sequence[str]) -> pd.DataFrame:
        """How each row came by its code.

        Returns:
            DataFrame with columns ``row, status, reason, code, probability, candidates``: status is unanimous,
            reranked, retrieved (no re-ranker), declined, failed (an endpoint gave no usable answer) or budget (it was
            not asked: a limit was reached); code is the most probable one of the vote level, "" for the last three;
            candidates are the codes of the nearest leaves, nearest first.
        """
        self.check_fitted()
        tables = []
        codes = np.array(self.taxonomy.leaf_codes, dtype=object)
        names = np.array(self.taxonomy.level_codes(self.vote_level), dtype=object)
        for rows, chunk in chunks(texts, PREDICT_ROWS):
            log_proba, states, leaf = self._decide(chunk)
            level = self.taxonomy.aggregate(log_proba, self.vote_level)
            declined = np.array([status in UNCODED for status, _ in states], dtype=bool)
            tables.append(
                pd.DataFrame(
                    {
                        "row": rows,
                        "status": [status for status, _ in states],
                        "reason": [reason for _, reason in states],
                        "code": np.where(declined, "", names[level.argmax(axis=1)]),
                        "probability": np.exp(level.max(axis=1)),
                        "candidates": [" ".join(row) for row in codes[leaf]],
                    }
                )
            )
        columns = ["row", "status", "reason", "code", "probability", "candidates"]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)

    # ------------------------------------------------------------------ persistence

    def _state(self) -> dict[str, Any]:
        return {"candidates": self.num_candidates, "mix": asdict(self.mix)}

    def _restore(self, state: Mapping[str, Any], model: ModelDir) -> None:
        self.num_candidates = int(state["candidates"])
        self.mix = Mix(**state["mix"])
        settings = self.settings
        if settings.reranker == "chat":  # a model directory does not decide where texts go
            settings = replace(settings, chat=endpoint_of_user(settings.chat), chat_prompt="rerank")
        self.reranker = self._build_reranker(settings)
        if self.reranker is not None:
            self.reranker.load(model.path)

    def write_files(self, folder: Path) -> None:
        super().write_files(folder)
        if self.reranker is not None:
            self.reranker.save(folder)
