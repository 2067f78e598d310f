"""The k nearest leaves of a text, their vote, and what a re-ranker's scores do to the distribution.

B rows, L leaves, k candidates. The retrieval distribution P0 = softmax(scale * cos) keeps what it says about all other
leaves; among the candidates its mass m is shared out anew:

    P(c) = m * softmax(score_weight * score + cosine_weight * scale * cos)[c]      for the k candidates
    P(l) = P0(l)                                                                  for the other leaves

so the result is a distribution over leaves, coherent at every level, whatever the re-ranker answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from hjc.arrays import BoolArray, Float32, Float64, FloatArray, IntArray
from hjc.classifiers.embedding.labels import LabelIndex
from hjc.classifiers.treemath import gold_log_proba, top_k_columns, within
from hjc.nn.settings import Callback
from hjc.rerank.extraction import Extraction, RulesExtractor
from hjc.taxonomy import Taxonomy


def nearest_leaves(cosines: FloatArray, k: int) -> IntArray:
    """(B, L) cosines -> (B, k) leaves with the highest, nearest first, ties by column (at most all L)."""
    return top_k_columns(cosines, min(k, cosines.shape[1]))[0]


def unanimous(taxonomy: Taxonomy, leaf: IntArray, vote_level: int) -> BoolArray:
    """(B,) whether all (B, k) leaves have the same ancestor at the vote level. The leaves may repeat: texts vote."""
    column = taxonomy.level_column[taxonomy.leaves[leaf], vote_level - 1]
    return np.asarray((column == column[:, :1]).all(axis=1))


@dataclass(frozen=True)
class Mix:
    """How scores of a re-ranker and cosines become weights of the candidates."""

    score_weight: float = 0.0
    cosine_weight: float = 1.0


def reranked(
    log_proba: FloatArray, leaf: IntArray, weights: FloatArray, rows: npt.NDArray[Any] | None = None
) -> Float32:
    """The retrieval distribution with the mass of the candidates shared out by log-weights.

    Args:
        log_proba: (B, L) natural-log leaf probabilities of the retrieval.
        leaf: (B, k) candidates.
        weights: (B, k) log-weights, not normalised.
        rows: (B,) where to do so; elsewhere the row stays as it is. Default: everywhere.
    """
    out = np.array(log_proba, dtype=np.float32)
    chosen = np.arange(len(out)) if rows is None else np.flatnonzero(rows)
    if len(chosen):
        index = (chosen[:, None], leaf[chosen])
        mass = np.logaddexp.reduce(out[index].astype(np.float64), axis=1, keepdims=True)
        own = weights[chosen].astype(np.float64)
        out[index] = mass + own - np.logaddexp.reduce(own, axis=1, keepdims=True)
    return out


@dataclass(frozen=True)
class Scored:
    """Validation rows with their k candidates (the largest k of the grid) and a re-ranker's scores of them.

    ``weight`` (B,): of the rows; ``span`` (B, 2): columns of the leaves of the gold code.
    """

    log_proba: FloatArray  # (B, L)
    cosines: FloatArray  # (B, k) times the scale
    leaf: IntArray  # (B, k)
    scores: FloatArray  # (B, k)
    span: IntArray
    weight: Float64


def fit_mix(data: Scored, k: int, rerank: BoolArray, *, free: bool) -> tuple[Mix, float]:
    """Weights with the least log-loss for the first k candidates, and that log-loss (nats, weighted mean).

    Args:
        rerank: (B,) rows on which the candidates disagree; the others keep the retrieval's distribution.
        free: whether there are scores to weigh; without, the retrieval's distribution is all there is.
    """
    share = data.weight / data.weight.sum()
    inside = within(data.span, data.leaf)
    log_proba = np.take_along_axis(data.log_proba, data.leaf, axis=1).astype(np.float64)
    whole = gold_log_proba(data.log_proba, data.span)
    top = slice(0, k)
    mass = np.exp(log_proba[:, top]).sum(1)
    of_gold = (np.exp(log_proba[:, top]) * inside[:, top]).sum(1)
    rest = np.maximum(np.exp(whole) - of_gold, 0.0)  # probability of gold leaves that are no candidates

    def each(theta: FloatArray) -> Float64:
        own = theta[0] * data.scores[:, top] + theta[1] * data.cosines[:, top]
        own = np.exp(own - own.max(axis=1, keepdims=True))
        share_of_gold = (own * inside[:, top]).sum(1) / own.sum(1)
        return -np.where(rerank, np.log(np.maximum(rest + mass * share_of_gold, 1e-30)), whole)

    if not free:
        return Mix(0.0, 1.0), float(share @ each(np.array([0.0, 1.0])))
    scale = max(float(np.std(data.scores[:, top])), 1e-6)  # scores of re-rankers come in any unit
    found = minimize(
        lambda t: float(share @ each(np.array([t[0] / scale, t[1]]))),
        np.array([1.0, 0.5]),
        method="L-BFGS-B",
        bounds=[(0.0, 50.0), (0.0, 5.0)],
    )
    best = np.array([found.x[0] / scale, found.x[1]])
    if found.fun > share @ each(np.array([0.0, 1.0])):  # the optimiser did not even reach the start of all
        best = np.array([0.0, 1.0])
    return Mix(float(best[0]), float(best[1])), float(share @ each(best))


def choose_candidates(
    data: Scored, grid: Sequence[int], agreed: Sequence[BoolArray], *, free: bool
) -> list[dict[str, float]]:
    """A line per k: candidates, log_loss, share that is unanimous, share whose gold code is among them, the weights."""
    share = data.weight / data.weight.sum()
    inside = within(data.span, data.leaf)
    lines = []
    for k, same in zip(grid, agreed, strict=True):
        mix, loss = fit_mix(data, k, ~same, free=free)
        lines.append(
            {
                "candidates": k,
                "log_loss": loss,
                "unanimous": float(share @ same),
                "covered": float(share @ inside[:, :k].any(1)),
                "score_weight": mix.score_weight,
                "cosine_weight": mix.cosine_weight,
            }
        )
    return lines


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
    callback: Callback | None
    labels: LabelIndex | None
    scale: float

    def retrieve(self, texts: Sequence[str]) -> Retrieved: ...


#: (B, k) scores of the candidates (B, k) of B ads, higher is better, and row -> (status, reason) where it has none:
#: declined, failed (no usable answer) or budget (not asked: a limit was reached)
Answers = tuple[FloatArray, dict[int, tuple[str, str]]]
