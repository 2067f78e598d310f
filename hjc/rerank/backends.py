"""Re-ranking: candidates of the neighbour search get log-weights, or the query is declined with a reason.

A back end sees a query (an extraction, or plain text) and k candidate leaves; it says nothing about other leaves. What
it gives is a distribution over the candidates, whatever it is made of, so that the classifier can go on with
probabilities: :class:`~hjc.rerank.rules.RulesReranker` normalises a linear score,
:class:`~hjc.rerank.chat_questions.ChatReranker` puts the mass of the model's (calibrated) confidence on the chosen one
and shares the rest by similarity.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.special import log_softmax

from hjc.arrays import Float64
from hjc.errors import check_choice
from hjc.rerank.extraction import Extraction

Query = Extraction | str
#: chosen: the back end answered; declined: it answered that it will not; failed: it gave no usable answer;
#: budget: it was not asked, because a limit was reached
Status = Literal["chosen", "declined", "failed", "budget"]
STATUSES: tuple[Status, ...] = ("chosen", "declined", "failed", "budget")


@dataclass(frozen=True)
class Candidate:
    """A leaf that may be the answer.

    Attributes:
        leaf: its column among the leaves of the taxonomy.
        code, title, text: of the leaf, in the language that the back end is to read.
        score: similarity to the query, larger is nearer (a cosine, or a log-probability).
    """

    leaf: int
    code: str
    title: str
    text: str = ""
    score: float = 0.0


#: a list of candidates for each query
CandidateLists = Sequence[Sequence[Candidate]]


@dataclass(frozen=True, eq=False)
class RerankResult:
    """What a back end made of k candidates.

    Attributes:
        scores: (k,) natural-log weights that sum to 1 after exp; also set where it abstains (by similarity then).
        abstain: why the query is left to people; None where the back end stands by its choice.
        status: see :data:`Status`.
        confidence: mass of the most probable candidate, 0 to 1.
        details: plain values for reports (answer, attempts, cached, ...).
    """

    scores: Float64
    abstain: str | None = None
    status: Status = "chosen"
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("status", self.status, STATUSES)
        if (self.abstain is None) != (self.status == "chosen"):
            raise ValueError(f"status {self.status!r} with abstain={self.abstain!r}: all but 'chosen' need a reason")

    @property
    def chosen(self) -> int | None:
        """Position of the most probable candidate (the first of equals); None where it abstains."""
        return None if self.abstain is not None or not len(self.scores) else int(np.argmax(self.scores))

    @property
    def confidence(self) -> float:
        """Probability of the most probable candidate, 0 where there is none."""
        return float(np.exp(self.scores.max())) if len(self.scores) else 0.0


Results = list[RerankResult]


class Reranker(ABC):
    """A back end."""

    name: ClassVar[str]
    #: factor of the similarities of candidates where the back end has nothing else to go by
    scale: float = 1.0

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: what was fitted, and what was asked."""

    @abstractmethod
    def decide(self, queries: Sequence[Query], candidates: CandidateLists) -> Results:
        """The results of queries that have candidates and words."""

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> RerankResult:
        """One query. No candidates: an abstention, never an error."""
        return self.rerank_batch([query], [candidates])[0]

    def rerank_batch(self, queries: Sequence[Query], candidates: CandidateLists) -> Results:
        """Many queries, in order; ``candidates`` holds a list for each. A query without words is declined.

        Raises:
            ValueError: lengths differ, or candidates of a query that are no list of different leaves with scores.
        """
        check_batch(queries, candidates)
        reasons = ["no candidates" if not some else is_empty(q) for q, some in zip(queries, candidates, strict=True)]
        asked = [i for i, reason in enumerate(reasons) if not reason]
        found = iter(self.decide([queries[i] for i in asked], [candidates[i] for i in asked]))
        return [
            self.abstain(some, reason, "declined") if reason else next(found)
            for some, reason in zip(candidates, reasons, strict=True)
        ]

    def abstain(
        self, candidates: Sequence[Candidate], reason: str, status: Status, details: dict[str, Any] | None = None
    ) -> RerankResult:
        """No choice: the candidates by their similarity alone."""
        return RerankResult(similarity_log_weights(candidates, self.scale), reason, status, details or {})


def check_batch(queries: Sequence[Query], candidates: CandidateLists) -> None:
    """Raise ValueError unless each query has a list of candidates: different leaves, with scores that are numbers."""
    if len(queries) != len(candidates):
        raise ValueError(f"candidates: got {len(candidates)} lists, expected one for each of {len(queries)} queries")
    for some in candidates:
        if twice := sorted(leaf for leaf, times in Counter(c.leaf for c in some).items() if times > 1):
            raise ValueError(f"candidates: leaves {twice[:5]} occur more than once; keep the best text of each leaf")
        if bad := [c.code for c in some if not np.isfinite(c.score)]:
            raise ValueError(f"candidates: the scores of {bad[:5]} are not finite")


def similarity_log_weights(candidates: Sequence[Candidate], scale: float) -> Float64:
    """(k,) log softmax of ``scale`` times the similarities: what stands in where a back end has nothing to say."""
    x = scale * np.array([c.score for c in candidates], dtype=np.float64)
    return log_softmax(x) if len(x) else x


def is_empty(query: Query) -> str:
    """Why there is nothing to compare in a query; "" if there is something."""
    if isinstance(query, Extraction):
        return query.reason or ("empty extraction" if query.empty else "")
    return "" if any(map(str.isalpha, query)) else "empty text"
