"""The default back end: a linear score of similarity, words in common, seniority and sector; no language model.

Each pair of query and candidate has eight features (:data:`FEATURES`). Their weighted sum goes through a softmax over
the candidates. The default weights are a modest guess; :meth:`RulesReranker.fit` learns them from labelled queries by
logistic regression over pairs (is this candidate right?), then fits one factor so that the softmax over a list, which
is what is used, has the least log-loss.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp

from hjc.arrays import BoolArray, Float64
from hjc.corpus.prepare.phrases import fold, words_of
from hjc.rerank.backends import (
    Candidate,
    CandidateLists,
    Query,
    Reranker,
    RerankResult,
    Results,
    check_batch,
    is_empty,
)
from hjc.rerank.extraction import Extraction
from hjc.rerank.titles import clean_title, industry_of, seniority_of

#: name -> what it is of a pair; all but the first lie between -1 and 1
FEATURES: dict[str, str] = {
    "similarity": "the candidate's score as it came",
    "similarity_z": "the score less the best of the list, in standard deviations of the list",
    "title_words": "Dice coefficient of the words of both titles",
    "title_trigrams": "Dice coefficient of the letter trigrams of both titles, for inflected and compound words",
    "title_in_text": "share of the words of the candidate's title that stand in duties and skills",
    "text_words": "Ochiai coefficient of the word beginnings of duties and skills and of the candidate's text",
    "seniority": "1: the same; -1: one leads people and the other does not; 0: not said",
    "industry": "1: the same; -1: different; 0: one of them not said",
}
DEFAULT_WEIGHTS: dict[str, float] = {
    "similarity": 0.0, "similarity_z": 1.0, "title_words": 1.5, "title_trigrams": 3.0, "title_in_text": 0.5,
    "text_words": 3.0, "seniority": 0.5, "industry": 0.25,
}  # fmt: skip
#: characters of a text that are compared
MAX_TEXT = 6000
_LEADS = frozenset(("manager", "supervisor"))


@dataclass(frozen=True)
class _Profile:
    words: frozenset[str]
    trigrams: frozenset[str]
    stems: frozenset[str]
    seniority: str
    industry: str


@lru_cache(maxsize=50_000)
def _profile(title: str, text: str) -> _Profile:
    found = words_of(fold(title))
    padded = [f" {word} " for word in found]
    trigrams = frozenset(word[i : i + 3] for word in padded for i in range(len(word) - 2))
    return _Profile(frozenset(found), trigrams, _stems(text), seniority_of(title), industry_of(title, text))


def _stems(text: str) -> frozenset[str]:
    """Words of at least four letters by their first five: a stem for any language that inflects at the end."""
    return frozenset(word[:5] for word in words_of(fold(text[:MAX_TEXT])) if len(word) > 3)


def _ochiai(a: frozenset[str], b: frozenset[str]) -> float:
    """|A & B| / sqrt(|A| |B|), the cosine of sets."""
    return len(a & b) / float(np.sqrt(len(a) * len(b))) if a and b else 0.0


def _dice(a: frozenset[str], b: frozenset[str]) -> float:
    return 2 * len(a & b) / (len(a) + len(b)) if a and b else 0.0


def pair_features(query: Query, candidates: Sequence[Candidate]) -> Float64:
    """(k, F) features of a query with each candidate, columns as in :data:`FEATURES`."""
    out = np.zeros((len(candidates), len(FEATURES)))
    if not candidates:
        return out
    if isinstance(query, Extraction):
        title, body, own = query.title, f"{query.duties}\n{query.skills}", query.seniority
        industry = query.industry
    else:
        line, _, body = query.partition("\n")
        title, own, industry = clean_title(line[:200]), seniority_of(line[:200]), industry_of(line, body)
    mine = _profile(title, "")
    looked, stems = frozenset(words_of(fold(body[:MAX_TEXT]))), _stems(body)
    score = np.array([c.score for c in candidates], dtype=np.float64)
    spread = score.std()
    out[:, 0] = score
    out[:, 1] = (score - score.max()) / spread if spread > 1e-12 else 0.0
    for row, candidate in zip(out, candidates, strict=True):
        theirs = _profile(candidate.title, candidate.text)
        row[2] = _dice(mine.words, theirs.words)
        row[3] = _dice(mine.trigrams, theirs.trigrams)
        row[4] = len(theirs.words & looked) / len(theirs.words) if theirs.words else 0.0
        row[5] = _ochiai(stems, theirs.stems)
        if own and own == theirs.seniority:
            row[6] = 1.0
        elif (own in _LEADS) != (theirs.seniority in _LEADS):
            row[6] = -1.0
        if industry and theirs.industry:
            row[7] = 1.0 if industry == theirs.industry else -1.0
    return out


class RulesReranker(Reranker):
    """A linear score of pair features.

    Args:
        weights: of some features; the others keep their defaults.

    Raises:
        ValueError: an unknown feature, or a weight that is no finite number.
    """

    name = "rules"

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        if unknown := sorted(set(weights or ()) - set(FEATURES)):
            raise ValueError(f"weights: unknown features {unknown}, allowed are {', '.join(FEATURES)}")
        self.weights = {name: float((weights or {}).get(name, DEFAULT_WEIGHTS[name])) for name in FEATURES}
        if bad := [name for name, w in self.weights.items() if not np.isfinite(w)]:
            raise ValueError(f"weights: {bad} are not finite")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; :meth:`from_dict` gives the back end again."""
        return {"weights": self.weights}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RulesReranker":
        return cls(values["weights"])

    def _vector(self) -> Float64:
        return np.array([self.weights[name] for name in FEATURES])

    def decide(self, queries: Sequence[Query], candidates: CandidateLists) -> Results:
        """See :class:`~hjc.rerank.backends.Reranker`."""
        pairs = zip(queries, candidates, strict=True)
        return [RerankResult(log_softmax(pair_features(query, some) @ self._vector())) for query, some in pairs]

    def fit(
        self,
        queries: Sequence[Query],
        candidates: CandidateLists,
        relevant: Sequence[npt.ArrayLike],
        *,
        C: float = 1.0,
    ) -> dict[str, float]:
        """Learn the weights from labelled queries; those without a right candidate (or with nothing else) say nothing.

        Args:
            relevant: for each query (k,) whether the candidate is right; several may be (leaves under an inner code).
            C: inverse strength of the L2 penalty, on features divided by their standard deviations.

        Returns:
            queries (used), log_loss_before, log_loss (mean -ln of the mass on right candidates, in nats).

        Raises:
            ValueError: lengths differ, or no query has right and wrong candidates.
        """
        check_batch(queries, candidates)
        if len(relevant) != len(queries):
            raise ValueError(f"relevant: got {len(relevant)} rows, expected one for each of {len(queries)} queries")
        xs, ys = [], []
        for i, (query, some, right) in enumerate(zip(queries, candidates, relevant, strict=True)):
            y = np.asarray(right, dtype=bool)
            if y.shape != (len(some),):
                raise ValueError(f"relevant: row {i} has shape {y.shape}, expected ({len(some)},)")
            if y.any() and not y.all() and not is_empty(query):
                xs.append(pair_features(query, some))
                ys.append(y)
        if not xs:
            raise ValueError("no query has a right and a wrong candidate: nothing to learn from; use a larger k")
        before = listwise_log_loss([x @ self._vector() for x in xs], ys)
        found = _fit_pairs(np.concatenate(xs), np.concatenate(ys), C)
        factor = _fit_factor([x @ found for x in xs], ys)
        self.weights = dict(zip(FEATURES, (factor * found).tolist(), strict=True))
        after = listwise_log_loss([x @ self._vector() for x in xs], ys)
        return {"queries": float(len(xs)), "log_loss_before": before, "log_loss": after}


def listwise_log_loss(scores: Iterable[Float64], relevant: Iterable[npt.ArrayLike]) -> float:
    """Mean over queries of -ln of the softmax mass on right candidates."""
    losses = []
    for x, right in zip(scores, relevant, strict=True):
        losses.append(-logsumexp(log_softmax(np.asarray(x, dtype=np.float64))[np.asarray(right, dtype=bool)]))
    return float(np.mean(losses))


def _fit_pairs(x: Float64, y: BoolArray, C: float) -> Float64:
    from sklearn.linear_model import LogisticRegression

    scale = x.std(axis=0)
    used = scale > 1e-9
    model = LogisticRegression(C=C, max_iter=1000)
    out = np.zeros(x.shape[1])
    if used.any():
        model.fit(x[:, used] / scale[used], y)
        out[used] = model.coef_[0] / scale[used]
    return out


def _fit_factor(scores: Sequence[Float64], relevant: Sequence[BoolArray]) -> float:
    """The factor from 1/100 to 100 with the least listwise log-loss (which is convex in it for one right candidate)."""
    from scipy.optimize import minimize_scalar

    def loss(log_factor: float) -> float:
        return listwise_log_loss([np.exp(log_factor) * s for s in scores], relevant)

    found = minimize_scalar(loss, bounds=(-np.log(100), np.log(100)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))
