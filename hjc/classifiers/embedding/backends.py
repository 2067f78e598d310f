"""The re-rankers of :mod:`hjc.rerank` (rules, chat) as the retrieval classifier uses them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hjc.arrays import BoolArray, FloatArray, IntArray
from hjc.classifiers.embedding.candidates import nearest_leaves
from hjc.classifiers.embedding.rerankers import Ad, candidate_labels
from hjc.classifiers.embedding.settings import RetrievalSettings
from hjc.data.jobdata import JobData
from hjc.progress import rows_progress
from hjc.rerank import (
    Candidate,
    ChatClient,
    ChatReranker,
    Prompt,
    Reranker,
    RerankResult,
    RulesReranker,
    endpoint_of_user,
)  # fmt: skip
from hjc.taxonomy import Taxonomy

if TYPE_CHECKING:
    from hjc.classifiers.embedding.retrieval import RetrieveAndRerankClassifier


STATE = "reranker.json"
#: rows that the weights of the rules are learnt from
RULES_ROWS = 1500
#: rows re-ranked together (a bar shows them)
BATCH = 64


class BackendReranker:
    """Rules with weights learnt from training rows, or a chat endpoint. See :class:`~.rerankers.CandidateReranker`."""

    def __init__(self, settings: RetrievalSettings, taxonomy: Taxonomy) -> None:
        self.settings, self.taxonomy = settings, taxonomy
        self.status = "finished"
        self.fitted: dict[str, float] = {}
        #: validation rows that choosing the number of candidates may cost; an endpoint is paid for by the request
        self.choice_rows = settings.chat_choice_rows if settings.reranker == "chat" else 2000
        self.backend: Reranker = self._chat() if settings.reranker == "chat" else RulesReranker()

    def _chat(self) -> ChatReranker:
        return ChatReranker(ChatClient(self.settings.chat), prompt=self.settings.chat_prompt)

    def fit(
        self, owner: "RetrieveAndRerankClassifier", train: JobData, valid: JobData | None, run_dir: Path | None
    ) -> None:
        """Weights of the rules from training rows, or the calibration of a model's confidence from validation rows."""
        if isinstance(self.backend, RulesReranker):
            rows = train.take(np.sort(np.random.default_rng(owner.trainer.seed).permutation(len(train))[:RULES_ROWS]))
            ads, candidates, right = self._labelled(owner, rows)
            self.fitted = self.backend.fit([ad.extraction for ad in ads], candidates, right)
        elif isinstance(self.backend, ChatReranker):
            self.backend.scale = owner.scale
            if valid is None or not self.choice_rows:
                return
            rows = valid.take(
                np.sort(np.random.default_rng(owner.trainer.seed).permutation(len(valid))[: self.choice_rows])
            )
            ads, candidates, right = self._labelled(owner, rows)
            results = self._rerank(ads, candidates)
            stated, correct = [], []
            for result, own in zip(results, right, strict=True):
                if result.chosen is not None and own.any():  # where no candidate is right no choice could be
                    stated.append(float(result.details["confidence"]))
                    correct.append(bool(own[result.chosen]))
            if stated:
                self.fitted = self.backend.fit_confidence(stated, correct)

    def _labelled(
        self, owner: "RetrieveAndRerankClassifier", data: JobData
    ) -> tuple[list[Ad], list[list[Candidate]], list[BoolArray]]:
        """Ads, their candidates, and which of these are right."""
        ads = owner.ads(data.texts)
        most = self.settings.candidates or max(self.settings.candidate_grid)
        vectors = owner.encode_ads(ads)
        cosines = owner.cosines_of(vectors)
        leaf = nearest_leaves(cosines, most)
        own = np.take_along_axis(cosines, leaf, axis=1)
        span = self.taxonomy.leaf_slice[data.gold]
        right = (leaf >= span[:, :1]) & (leaf < span[:, 1:])
        return ads, self._candidates(owner, vectors, leaf, own), list(right)

    def _candidates(
        self, owner: "RetrieveAndRerankClassifier", vectors: FloatArray, leaf: IntArray, cosines: FloatArray
    ) -> list[list[Candidate]]:
        """The candidates of each row with that text of theirs that is nearest to it."""
        labels = owner.labels
        assert labels is not None
        text = candidate_labels(labels, vectors, leaf)
        tree = self.taxonomy
        titles = {int(i): tree.title(int(tree.leaves[i])) for i in np.unique(leaf)}
        return [
            [
                Candidate(int(i), tree.leaf_codes[i], titles[int(i)], labels.texts[t], float(c))
                for i, t, c in zip(row, texts, scores, strict=True)
            ]
            for row, texts, scores in zip(leaf, text, cosines, strict=True)
        ]

    def _rerank(self, ads: Sequence[Ad], candidates: Sequence[Sequence[Candidate]]) -> list[RerankResult]:
        results: list[RerankResult] = []
        queries = [
            ad.extraction if self.settings.extraction or self.settings.reranker == "rules" else ad.text for ad in ads
        ]
        with rows_progress("re-ranking", len(ads)) as bar:
            for start in range(0, len(ads), BATCH):
                part = slice(start, start + BATCH)
                results += self.backend.rerank_batch(queries[part], candidates[part])
                bar.advance(len(queries[part]))
        return results

    def score(
        self,
        owner: "RetrieveAndRerankClassifier",
        ads: Sequence[Ad],
        vectors: FloatArray,
        leaf: IntArray,
        cosines: FloatArray,
    ) -> tuple[FloatArray, dict[int, tuple[str, str]]]:
        """See the protocol; a row that the back end leaves to people comes back with its reason."""
        results = self._rerank(ads, self._candidates(owner, vectors, leaf, cosines))
        scores = np.stack([result.scores for result in results]).astype(np.float32)
        return scores, {i: (r.status, r.abstain) for i, r in enumerate(results) if r.abstain is not None}

    def describe(self) -> dict[str, Any]:
        found: dict[str, Any] = {"kind": self.backend.name, **self.fitted}
        if isinstance(self.backend, RulesReranker):
            found["weights"] = {name: round(value, 4) for name, value in self.backend.weights.items()}
        elif isinstance(self.backend, ChatReranker):
            found["usage"] = asdict(self.backend.client.usage)
        return found

    def save(self, folder: Path) -> None:
        values = self.backend.to_dict() if isinstance(self.backend, RulesReranker | ChatReranker) else {}
        (folder / STATE).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, settings: RetrievalSettings, taxonomy: Taxonomy) -> "BackendReranker":
        """Raises FileNotFoundError or ValueError where the file is missing or holds something else."""
        if settings.reranker == "chat":  # a model directory does not decide where texts go
            settings = replace(settings, chat=endpoint_of_user(settings.chat), chat_prompt="rerank")
        self = cls(settings, taxonomy)
        values = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if settings.reranker == "rules":
            self.backend = RulesReranker.from_dict(values)
        elif isinstance(self.backend, ChatReranker):
            self.backend.prompt = Prompt(**values["prompt"])
            for key in ("scale", "slope", "intercept"):
                setattr(self.backend, key, float(values[key]))
        return self
