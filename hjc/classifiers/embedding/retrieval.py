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
from hjc.classifiers.embedding.base import PREDICT_ROWS, EmbeddingClassifier
from hjc.classifiers.embedding.candidates import Mix, Scored, choose_candidates, nearest_leaves, reranked, unanimous
from hjc.classifiers.embedding.encoders import load_pretrained
from hjc.classifiers.embedding.labels import LabelIndex
from hjc.classifiers.embedding.rerankers import Ad, CandidateReranker, build_reranker, read_ads, read_reranker
from hjc.classifiers.embedding.scale import log_softmax
from hjc.classifiers.embedding.settings import RetrievalSettings
from hjc.classifiers.storage import ModelDir
from hjc.data.jobdata import JobData
from hjc.nn.settings import TrainerSettings
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
    has_outcomes: ClassVar[bool] = True

    def __init__(
        self, taxonomy: Taxonomy, settings: RetrievalSettings | None = None, trainer: TrainerSettings | None = None
    ) -> None:
        super().__init__(taxonomy, settings, trainer)
        self.vote_level = taxonomy.check_level(self.settings.vote_level or taxonomy.depth)
        self.num_candidates = self.settings.candidates or DEFAULT_CANDIDATES
        self.mix = Mix()
        self.reranker: CandidateReranker | None = None
        self.fit_result: RetrievalFit | None = None

    # ------------------------------------------------------------------ fitting

    def fit(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Index the labels; fit the re-ranker on training rows and every choice on validation rows.

        Raises:
            ValueError: unlabelled rows, another taxonomy, or ``start_from`` is no model of the embedding family.
        """
        valid = self._check_data(train, valid)
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
        self._fit_scale(valid)
        built = build_reranker(self.settings, self.trainer, self.taxonomy)
        grid: list[dict[str, Any]] = []
        if built is not None:
            built.fit(self, train, valid, run_dir)
        self.reranker = built
        if valid is None:
            logger.warning("no validation rows: %d candidates, and scores are not weighed", self.num_candidates)
            self.mix = Mix(1.0, 1.0) if built is not None else Mix()
        else:
            grid = self._choose(valid)
        status = getattr(built, "status", "finished")
        details = built.describe() if built is not None else {"kind": "none"}
        self.fit_result = RetrievalFit(status, self.num_candidates, self.scale, grid, details)
        return self

    def _choose(self, valid: JobData) -> list[dict[str, Any]]:
        """Set the number of candidates and the mix by validation log-loss; a line for each number tried."""
        most = self.reranker.choice_rows if self.reranker is not None else 4000
        chosen = np.sort(np.random.default_rng(self.trainer.seed).permutation(len(valid))[:most])
        rows = valid.take(chosen)
        grid = [self.settings.candidates] if self.settings.candidates else self.settings.candidate_grid
        grid = sorted({min(k, self.taxonomy.num_leaves) for k in grid})
        ads = self.ads(rows.texts)
        vectors = self.encode_ads(ads)
        cosines = self._scores(vectors)
        leaf = nearest_leaves(cosines, grid[-1])
        scores = np.zeros(leaf.shape, dtype=np.float32)
        if self.reranker is not None:
            scores, _ = self._rank(ads, vectors, cosines, leaf, np.ones(len(rows), dtype=bool))
        data = Scored(
            log_proba=log_softmax(np.float32(self.scale) * cosines),
            cosines=self.scale * np.take_along_axis(cosines, leaf, axis=1),
            leaf=leaf,
            scores=scores,
            span=self.taxonomy.leaf_slice[rows.gold],
            weight=np.asarray(rows.weight, dtype=np.float64),
        )
        assert self.labels is not None
        voters = self.labels.nearest(vectors, grid[-1])
        same = [unanimous(self.taxonomy, voters[:, :k], self.vote_level) for k in grid]
        lines = choose_candidates(data, grid, same, free=self.reranker is not None)
        # without a re-ranker the distribution does not depend on k: then the fewest
        key = "log_loss" if self.reranker is not None else "candidates"
        best = min(lines, key=lambda line: line[key])
        self.num_candidates = int(best["candidates"])
        self.mix = Mix(best["score_weight"], best["cosine_weight"])
        return lines

    # ------------------------------------------------------------------ prediction

    def ads(self, texts: Sequence[str]) -> list[Ad]:
        """Each text with what is extracted from it; the whole text is encoded where that is nothing or off."""
        return read_ads(texts, self.settings.extraction)

    def encode_ads(self, ads: Sequence[Ad]) -> FloatArray:
        """(n, H) unit vectors of the queries of ads."""
        assert self.encoder is not None
        return self.encoder.encode([ad.query for ad in ads], progress=len(ads) > PREDICT_ROWS)

    def cosines_of(self, vectors: FloatArray) -> FloatArray:
        """(n, H) unit vectors -> (n, L) cosines of leaves."""
        return self._scores(vectors)

    def vectors(self, texts: Sequence[str], *, progress: bool = True) -> FloatArray:
        """(n, H) unit vectors of what is extracted from the texts."""
        self._check_fitted()
        assert self.encoder is not None
        return self.encoder.encode([ad.query for ad in self.ads(texts)], progress=progress)

    def _rank(
        self, ads: Sequence[Ad], vectors: FloatArray, cosines: FloatArray, leaf: IntArray, rows: Any
    ) -> tuple[FloatArray, dict[int, tuple[str, str]]]:
        """(B, k) scores of the candidates where ``rows`` is True, and row -> (status, reason) without an answer."""
        assert self.reranker is not None and self.labels is not None
        scores = np.zeros(leaf.shape, dtype=np.float32)
        chosen = np.flatnonzero(rows)
        if not len(chosen):
            return scores, {}
        found, declined = self.reranker.score(
            self,
            [ads[int(i)] for i in chosen],
            vectors[chosen],
            leaf[chosen],
            np.take_along_axis(cosines[chosen], leaf[chosen], axis=1),
        )
        scores[chosen] = found
        return scores, {int(chosen[i]): found for i, found in declined.items()}

    def _decide(self, texts: Sequence[str]) -> tuple[FloatArray, list[tuple[str, str]], IntArray]:
        """Log-probabilities (B, L), (status, reason) of each row, candidates (B, k)."""
        ads = self.ads(texts)
        assert self.labels is not None
        vectors = self.encode_ads(ads)
        cosines = self._scores(vectors)
        log_proba = log_softmax(np.float32(self.scale) * cosines)
        leaf = nearest_leaves(cosines, self.num_candidates)
        agreed = unanimous(self.taxonomy, self.labels.nearest(vectors, self.num_candidates), self.vote_level)
        refused: dict[int, tuple[str, str]] = {}
        if self.reranker is not None:
            scores, refused = self._rank(ads, vectors, cosines, leaf, ~agreed)
            weights = self.mix.score_weight * scores + self.mix.cosine_weight * self.scale * np.take_along_axis(
                cosines, leaf, axis=1
            )
            asked = ~agreed
            asked[list(refused)] = False  # nothing was learnt there: the retrieval's distribution stays
            log_proba = reranked(log_proba, leaf, weights, asked)
        states = []
        best = np.exp(self.taxonomy.aggregate(log_proba, self.vote_level).max(axis=1))
        for i, ad in enumerate(ads):
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
        self._check_fitted()
        for start in range(0, len(texts), PREDICT_ROWS):
            chunk = texts[start : start + PREDICT_ROWS]
            yield np.arange(start, start + len(chunk)), self._decide(chunk)[0]

    def iter_outcomes(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray, list[tuple[str, str]]]]:
        """With unanimous, reranked, retrieved or declined for each row; see :meth:`outcomes`."""
        self._check_fitted()
        for start in range(0, len(texts), PREDICT_ROWS):
            log_proba, states, _ = self._decide(texts[start : start + PREDICT_ROWS])
            yield np.arange(start, start + len(states)), log_proba, states

    def outcomes(self, texts: Sequence[str]) -> pd.DataFrame:
        """How each row came by its code.

        Returns:
            DataFrame with columns ``row, status, reason, code, probability, candidates``: status is unanimous,
            reranked, retrieved (no re-ranker), declined, failed (an endpoint gave no usable answer) or budget (it was
            not asked: a limit was reached); code is the most probable one of the vote level, "" for the last three;
            candidates are the codes of the nearest leaves, nearest first.
        """
        self._check_fitted()
        tables = []
        codes = np.array(self.taxonomy.leaf_codes, dtype=object)
        names = np.array(self.taxonomy.level_codes(self.vote_level), dtype=object)
        for start in range(0, len(texts), PREDICT_ROWS):
            log_proba, states, leaf = self._decide(texts[start : start + PREDICT_ROWS])
            level = self.taxonomy.aggregate(log_proba, self.vote_level)
            declined = np.array([status in UNCODED for status, _ in states], dtype=bool)
            tables.append(
                pd.DataFrame(
                    {
                        "row": np.arange(start, start + len(states)),
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
        self.reranker = read_reranker(model.path, self.settings, self.taxonomy)

    def _write(self, folder: Path) -> None:
        if self.reranker is not None:
            self.reranker.save(folder)
