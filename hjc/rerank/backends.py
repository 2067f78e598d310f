"""Re-ranking: candidates of the neighbour search get log-weights, or the query is declined with a reason.

A back end sees a query (an extraction, or plain text) and k candidate leaves; it says nothing about other leaves. What
it gives is a distribution over the candidates, whatever it is made of, so that the classifier can go on with
probabilities: :class:`~hjc.rerank.rules.RulesReranker` normalises a linear score,
:class:`~hjc.rerank.chat_reranker.ChatReranker` puts the mass of the model's (calibrated) confidence on the chosen one
and shares the rest by similarity.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from hjc.arrays import Float64
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
        if self.status not in STATUSES:
            raise ValueError(f"status: got {self.status!r}, allowed are {', '.join(STATUSES)}")
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


@runtime_checkable
class Reranker(Protocol):
    """A back end. ``fingerprint`` changes when its results may differ (part of cache keys and model cards)."""

    name: str

    @property
    def fingerprint(self) -> str: ...

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> RerankResult:
        """One query. No candidates: an abstention, never an error."""
        ...

    def rerank_batch(self, queries: Sequence[Query], candidates: Sequence[Sequence[Candidate]]) -> list[RerankResult]:
        """Many queries, in order; ``candidates`` holds a list for each.

        Raises:
            ValueError: lengths differ.
        """
        ...


def check_batch(queries: Sequence[Query], candidates: Sequence[Sequence[Candidate]]) -> None:
    """Raise ValueError unless there is a list of candidates for each query."""
    if len(queries) != len(candidates):
        raise ValueError(f"candidates: got {len(candidates)} lists, expected one for each of {len(queries)} queries")


def check_candidates(candidates: Sequence[Candidate]) -> None:
    """Raise ValueError for a leaf that is a candidate twice, or a score that is no number."""
    leaves = [c.leaf for c in candidates]
    if len(set(leaves)) != len(leaves):
        twice = sorted({leaf for leaf in leaves if leaves.count(leaf) > 1})
        raise ValueError(f"candidates: leaves {twice[:5]} occur more than once; keep the best text of each leaf")
    if bad := [c.code for c in candidates if not np.isfinite(c.score)]:
        raise ValueError(f"candidates: the scores of {bad[:5]} are not finite")


def log_softmax(x: Float64) -> Float64:
    """x - ln sum exp(x), of a vector; no value for no value."""
    if not len(x):
        return np.zeros(0)
    shifted = x - x.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()), dtype=np.float64)


def similarity_log_weights(candidates: Sequence[Candidate], scale: float) -> Float64:
    """(k,) log softmax of ``scale`` times the similarities: what stands in where a back end has nothing to say."""
    return log_softmax(scale * np.array([c.score for c in candidates], dtype=np.float64))


def no_candidates() -> RerankResult:
    """The result for an empty list."""
    return RerankResult(np.zeros(0), "no candidates", "declined")


def is_empty(query: Query) -> str:
    """Why there is nothing to compare in a query; "" if there is something."""
    if isinstance(query, Extraction):
        return query.reason or ("empty extraction" if query.empty else "")
    return "" if any(map(str.isalpha, query)) else "empty text"
