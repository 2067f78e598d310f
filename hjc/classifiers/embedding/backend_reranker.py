"""The re-rankers of :mod:`hjc.rerank` (rules, chat) as the retrieval classifier uses them."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hjc.arrays import BoolArray, IntArray
from hjc.classifiers.embedding.candidates import Ad, Answers, Retrieved, Retriever, nearest_leaves
from hjc.classifiers.embedding.settings import RetrievalSettings
from hjc.classifiers.fitting import draw
from hjc.classifiers.treemath import within
from hjc.data.jobdata import JobData
from hjc.files import read_json
from hjc.nn.settings import TrainerSettings
from hjc.progress import rows_progress
from hjc.rerank import Candidate, ChatClient, ChatReranker, RerankResult, RulesReranker
from hjc.rerank.prompts import Prompt

STATE = "reranker.json"
#: rows that the weights of the rules are learnt from
RULES_ROWS = 1500
#: rows re-ranked together (a bar shows them)
BATCH = 64


class BackendReranker:
    """A re-ranker: rules with weights learnt from training rows, or a chat endpoint."""

    def __init__(self, settings: RetrievalSettings, trainer: TrainerSettings) -> None:
        self.settings, self.trainer = settings, trainer
        self.status = "finished"
        self.fitted: dict[str, float] = {}
        #: validation rows that choosing the number of candidates may cost; an endpoint is paid for by the request
        self.choice_rows = settings.chat_choice_rows if settings.reranker == "chat" else 2000
        self.backend: ChatReranker | RulesReranker = RulesReranker()
        if settings.reranker == "chat":
            self.backend = ChatReranker(ChatClient(settings.chat), prompt=settings.chat_prompt)

    def fit(self, owner: Retriever, train: JobData, valid: JobData | None, run_dir: Path | None) -> None:
        """Weights of the rules from training rows, or the calibration of a model's confidence from validation rows."""
        if isinstance(self.backend, RulesReranker):
            found, candidates, right = self._labelled(owner, train, RULES_ROWS)
            self.fitted = self.backend.fit([ad.extraction for ad in found.ads], candidates, right)
            return
        self.backend.scale = owner.scale
        if valid is None or not self.choice_rows:
            return
        found, candidates, right = self._labelled(owner, valid, self.choice_rows)
        stated, correct = [], []
        for result, own in zip(self._rerank(found.ads, candidates), right, strict=True):
            if result.chosen is not None and own.any():  # where no candidate is right no choice could be
                stated.append(float(result.details["confidence"]))
                correct.append(bool(own[result.chosen]))
        if stated:
            self.fitted = self.backend.fit_confidence(stated, correct)

    def _labelled(
        self, owner: Retriever, data: JobData, most: int
    ) -> tuple[Retrieved, list[list[Candidate]], list[BoolArray]]:
        """A sample of ads, their candidates, and which of these are right."""
        rows = data.take(draw(len(data), most, self.trainer.seed))
        found = owner.retrieve(rows.texts)
        leaf = nearest_leaves(found.cosines, self.settings.candidates or max(self.settings.candidate_grid))
        right = within(owner.taxonomy.leaf_slice[rows.gold], leaf)
        return found, self._candidates(owner, found, leaf), list(right)

    def _candidates(self, owner: Retriever, found: Retrieved, leaf: IntArray) -> list[list[Candidate]]:
        """The candidates of each row with that text of theirs that is nearest to it."""
        labels, tree = owner.labels, owner.taxonomy
        assert labels is not None
        text = labels.nearest_texts(found.vectors, leaf)
        titles = {int(i): tree.title(int(tree.leaves[i])) for i in np.unique(leaf)}
        return [
            [
                Candidate(int(i), tree.leaf_codes[i], titles[int(i)], labels.texts[t], float(c))
                for i, t, c in zip(row, texts, scores, strict=True)
            ]
            for row, texts, scores in zip(leaf, text, found.of(leaf), strict=True)
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

    def score(self, owner: Retriever, found: Retrieved, leaf: IntArray) -> Answers:
        """See :data:`~.candidates.Answers`; a row that the back end leaves to people comes back with its reason."""
        results = self._rerank(found.ads, self._candidates(owner, found, leaf))
        scores = np.stack([result.scores for result in results]).astype(np.float32)
        return scores, {i: (r.status, r.abstain) for i, r in enumerate(results) if r.abstain is not None}

    def describe(self) -> dict[str, Any]:
        found: dict[str, Any] = {"kind": self.backend.name, **self.fitted}
        if isinstance(self.backend, RulesReranker):
            found["weights"] = {name: round(value, 4) for name, value in self.backend.weights.items()}
        else:
            found["usage"] = asdict(self.backend.client.usage)
        return found

    def save(self, folder: Path) -> None:
        (folder / STATE).write_text(json.dumps(self.backend.to_dict(), indent=1) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        values = read_json(folder / STATE)
        if isinstance(self.backend, RulesReranker):
            self.backend = RulesReranker.from_dict(values)
            return
        self.backend.prompt = Prompt(**values["prompt"])
        for key in ("scale", "slope", "intercept"):
            setattr(self.backend, key, float(values[key]))
