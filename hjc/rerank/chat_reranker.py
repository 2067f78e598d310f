"""Re-ranking by a chat model, and extraction by one. Its answer is a proposal: checked, calibrated, never obeyed.

**From an answer to a distribution.** The model chooses candidate c with a stated confidence r. Its probability of being
right is p = sigmoid(slope * logit(r) + intercept), r clipped to [0.01, 0.99] (Platt scaling; slope 1 and intercept 0
until :meth:`ChatReranker.fit_confidence` has seen labelled queries). Candidate c gets ln p; the others share 1 - p in
proportion to exp(scale * similarity). A model that always says 0.95 and is right in 7 of 10 cases so gets p = 0.7.
With a single candidate its weight is 1, whatever the confidence.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from hjc.arrays import BoolArray, Float64
from hjc.rerank.backends import Candidate, Query, Reranker, RerankResult, similarity_log_weights
from hjc.rerank.budget import ChatError
from hjc.rerank.chat import Answer, ChatClient, ChatRequest, Rejected
from hjc.rerank.extraction import Extraction
from hjc.rerank.prompts import Prompt, as_data, load_prompt

#: the gaps of a prompt for re-ranking
GAPS = frozenset(("ad", "candidates", "numbers"))
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "outcome": {"type": "string", "enum": ["choose", "decline"]},
        "number": {"type": "integer"},
        "confidence": {"type": "number"},
        "reason": {"type": "string"},
    },
    "required": ["outcome", "number", "confidence", "reason"],
    "additionalProperties": False,
}
#: confidences are clipped to this and one less this
CLIP = 0.01


class ChatReranker(Reranker):
    """Asks a chat model which candidate is nearest.

    Candidates are numbered in an order that depends on the query alone (a seeded shuffle), so that neither "answer 1"
    in an ad nor a model's liking for the first of a list points at the nearest neighbour. Codes are not shown.

    Args:
        client: shared with others, or one of its own.
        prompt: a built-in name or a path of a file; see :mod:`hjc.rerank.prompts`.
        scale: factor of the similarities among those not chosen.
        slope, intercept: of the calibration of confidences.
        max_ad_chars, max_candidate_chars: texts are cut to so many characters.
    """

    name = "chat"

    def __init__(
        self,
        client: ChatClient,
        *,
        prompt: str | Prompt = "rerank",
        scale: float = 20.0,
        slope: float = 1.0,
        intercept: float = 0.0,
        max_ad_chars: int = 4000,
        max_candidate_chars: int = 400,
    ) -> None:
        if not np.isfinite([scale, slope, intercept]).all() or scale < 0:
            raise ValueError(
                f"scale, slope, intercept: got {scale}, {slope}, {intercept}; expected finite, scale from 0"
            )
        if max_ad_chars < 1 or max_candidate_chars < 1:
            raise ValueError(f"max_ad_chars, max_candidate_chars: got {max_ad_chars}, {max_candidate_chars}; from 1")
        self.client = client
        self.prompt = prompt if isinstance(prompt, Prompt) else load_prompt(prompt, GAPS)
        self.scale, self.slope, self.intercept = float(scale), float(slope), float(intercept)
        self.max_ad_chars, self.max_candidate_chars = max_ad_chars, max_candidate_chars

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without address and key: what was fitted, and what was asked."""
        return {
            "model": self.client.settings.model, "prompt": asdict(self.prompt), "scale": self.scale,
            "slope": self.slope, "intercept": self.intercept, "max_ad_chars": self.max_ad_chars,
            "max_candidate_chars": self.max_candidate_chars,
        }  # fmt: skip

    # ------------------------------------------------------------------ asking

    def request(self, query: Query, candidates: Sequence[Candidate]) -> tuple[ChatRequest, list[int]]:
        """The question, and ``order``: position in ``candidates`` of number 1, 2, ..."""
        ad = as_data(query.text() if isinstance(query, Extraction) else query, self.max_ad_chars)
        if isinstance(query, Extraction):
            facts = (("seniority", query.seniority), ("industry", query.industry))
            ad = "\n".join([*(f"{name}: {value}" for name, value in facts if value), ad])
        # not by score: the order must not say which one is nearest
        order = sorted(range(len(candidates)), key=lambda i: (candidates[i].code, candidates[i].leaf))
        seed = sha256("\0".join([ad, *(candidates[i].code for i in order)]).encode("utf-8", "replace")).digest()
        random.Random(seed).shuffle(order)
        lines = []
        for number, i in enumerate(order, start=1):
            title, text = as_data(candidates[i].title, 200), as_data(candidates[i].text, self.max_candidate_chars)
            lines.append(
                f"{number}. {' '.join(title.split())}" + (f": {' '.join(text.split())}" if text.strip() else "")
            )
        numbers = ", ".join(map(str, range(1, len(order) + 1)))
        messages = self.prompt.fill({"ad": ad, "candidates": "\n".join(lines), "numbers": numbers})
        return ChatRequest(messages, SCHEMA, "choice", _check(len(order))), order

    def decide(
        self,
        queries: Sequence[Query],
        candidates: Sequence[Sequence[Candidate]],
        advance: Callable[[int], None] | None = None,
    ) -> list[RerankResult]:
        """See :class:`~hjc.rerank.backends.Reranker`. A query without a usable answer keeps its similarities.

        Raises:
            EndpointError: the endpoint does not work. Answers so far are in the cache: run it again later.
        """
        asked = [self.request(query, some) for query, some in zip(queries, candidates, strict=True)]
        answers = self.client.complete_many([request for request, _ in asked], advance)
        return [
            self._result(some, order, answer)
            for some, (_, order), answer in zip(candidates, asked, answers, strict=True)
        ]

    def _result(self, candidates: Sequence[Candidate], order: list[int], answer: Answer | ChatError) -> RerankResult:
        if isinstance(answer, ChatError):
            return self.abstain(candidates, str(answer), answer.status)
        value = answer.value
        details = {"confidence": float(value["confidence"]), "reason": value["reason"], "cached": answer.cached,
                   "attempts": answer.attempts}  # fmt: skip
        if value["outcome"] == "decline":
            why = value["reason"].strip() or "declined without a reason"
            return self.abstain(candidates, why, "declined", details)
        chosen = order[int(value["number"]) - 1]
        return RerankResult(self.log_weights(candidates, chosen, float(value["confidence"])), details=details)

    # ------------------------------------------------------------------ probabilities

    def probability(self, confidence: npt.ArrayLike) -> Float64:
        """Calibrated probability that a choice with this stated confidence is right; of any shape."""
        return np.asarray(expit(self.slope * _logit(confidence) + self.intercept), dtype=np.float64)

    def log_weights(self, candidates: Sequence[Candidate], chosen: int, confidence: float) -> Float64:
        """(k,) natural-log weights; the formula is that of the module."""
        if len(candidates) == 1:
            return np.zeros(1)
        p = float(np.clip(self.probability(confidence), 1e-6, 1 - 1e-6))
        others = [c for i, c in enumerate(candidates) if i != chosen]
        out = np.empty(len(candidates))
        out[chosen] = np.log(p)
        out[np.arange(len(candidates)) != chosen] = np.log1p(-p) + similarity_log_weights(others, self.scale)
        return out

    def fit_confidence(self, confidences: npt.ArrayLike, correct: npt.ArrayLike) -> dict[str, float]:
        """Fit slope and intercept on stated confidences (n,) and whether the choices were right (n,).

        Where all confidences are the same, or the fitted slope would be negative, the slope is 0 and the intercept the
        log-odds of the share of right choices (one added to each side).

        Returns:
            n, log_loss_before and log_loss (nats).

        Raises:
            ValueError: lengths differ, or no rows.
        """
        r, y = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=bool)
        if r.shape != y.shape or r.ndim != 1 or not len(r):
            raise ValueError(
                f"confidences and correct: got shapes {r.shape} and {y.shape}, expected two of the same length"
            )
        before = _log_loss(self.probability(r), y)
        share = (y.sum() + 1) / (len(y) + 2)
        self.slope, self.intercept = 0.0, float(np.log(share / (1 - share)))
        x = _logit(r)
        if x.std() > 1e-9 and 0 < y.sum() < len(y):
            from sklearn.linear_model import LogisticRegression

            model = LogisticRegression(C=10.0).fit(x[:, None], y)
            if model.coef_[0, 0] > 0:
                self.slope, self.intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
        return {"n": float(len(r)), "log_loss_before": before, "log_loss": _log_loss(self.probability(r), y)}


def _check(count: int) -> Callable[[Mapping[str, Any]], None]:
    """The check of an answer to a question with ``count`` candidates."""

    def check(value: Mapping[str, Any]) -> None:
        if not 0 <= value["confidence"] <= 1:
            raise Rejected(f"confidence {value['confidence']} is not between 0 and 1")
        if value["outcome"] == "choose" and not 1 <= value["number"] <= count:
            raise Rejected(f"number {value['number']} is not among the candidates 1 to {count}")

    return check


def _logit(confidence: npt.ArrayLike) -> Float64:
    return np.asarray(logit(np.clip(np.asarray(confidence, dtype=np.float64), CLIP, 1 - CLIP)), dtype=np.float64)


def _log_loss(p: Float64, y: BoolArray) -> float:
    return float(-np.mean(np.log(np.clip(np.where(y, p, 1 - p), 1e-12, None))))
