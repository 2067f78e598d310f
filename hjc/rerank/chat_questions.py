"""Re-ranking by a chat model, and extraction by one. Its answer is a proposal: checked, calibrated, never obeyed.

**From an answer to a distribution.** The model chooses candidate c with a stated confidence r. Its probability of being
right is p = sigmoid(slope * logit(r) + intercept), r clipped to [0.01, 0.99] (Platt scaling; slope 1 and intercept 0
until :meth:`ChatReranker.fit_confidence` has seen labelled queries). Candidate c gets ln p; the others share 1 - p in
proportion to exp(scale * similarity). A model that always says 0.95 and is right in 7 of 10 cases so gets p = 0.7.
With a single candidate its weight is 1, whatever the confidence.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from hjc.arrays import BoolArray, Float64
from hjc.errors import check_range
from hjc.rerank.backends import (
    Candidate,
    CandidateLists,
    Query,
    Reranker,
    RerankResult,
    Results,
    similarity_log_weights,
)
from hjc.rerank.budget import ChatError
from hjc.rerank.chat import Answer, ChatClient, ChatRequest, Rejected, schema_of
from hjc.rerank.extraction import Extraction, RulesExtractor
from hjc.rerank.prompts import Prompt, as_data, load_prompt
from hjc.rerank.vocabulary import INDUSTRIES, SENIORITIES

#: the gaps of a prompt for re-ranking, and of one for extraction
RERANK_GAPS = frozenset(("ad", "candidates", "numbers"))
EXTRACT_GAPS = frozenset(("title", "ad", "seniorities", "industries"))
_TEXT = {"type": "string"}
CHOICE = schema_of(
    outcome={"type": "string", "enum": ["choose", "decline"]},
    number={"type": "integer"},
    confidence={"type": "number"},
    reason=_TEXT,
)
EXTRACTION = schema_of(
    is_job={"type": "boolean"},
    title=_TEXT,
    duties=_TEXT,
    skills=_TEXT,
    seniority={"type": "string", "enum": ["", *SENIORITIES]},
    industry={"type": "string", "enum": ["", *INDUSTRIES]},
    reason=_TEXT,
)
#: characters of an extracted field; an answer is no place for whole ads
MAX_FIELD = 3_000
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
        salt: another one shuffles candidates in another order.
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
        salt: str = "",
    ) -> None:
        if not np.isfinite([scale, slope, intercept]).all() or scale < 0:
            raise ValueError(
                f"scale, slope, intercept: got {scale}, {slope}, {intercept}; expected finite, scale from 0"
            )
        for name, value in (("max_ad_chars", max_ad_chars), ("max_candidate_chars", max_candidate_chars)):
            check_range(name, value, value >= 1, "integers from 1")
        self.client = client
        self.prompt = prompt if isinstance(prompt, Prompt) else load_prompt(prompt, RERANK_GAPS)
        self.scale, self.slope, self.intercept = float(scale), float(slope), float(intercept)
        self.max_ad_chars, self.max_candidate_chars = max_ad_chars, max_candidate_chars
        self.salt = salt

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
        seed = sha256(
            "\0".join([ad, *(candidates[i].code for i in order), *filter(None, [self.salt])]).encode("utf-8", "replace")
        ).digest()
        random.Random(seed).shuffle(order)
        lines = []
        for number, i in enumerate(order, start=1):
            title, text = as_data(candidates[i].title, 200), as_data(candidates[i].text, self.max_candidate_chars)
            lines.append(
                f"{number}. {' '.join(title.split())}" + (f": {' '.join(text.split())}" if text.strip() else "")
            )
        numbers = ", ".join(map(str, range(1, len(order) + 1)))
        messages = self.prompt.fill({"ad": ad, "candidates": "\n".join(lines), "numbers": numbers})
        return ChatRequest(messages, CHOICE, "choice", _check(len(order))), order

    def decide(self, queries: Sequence[Query], candidates: CandidateLists) -> Results:
        """See :class:`~hjc.rerank.backends.Reranker`. A query without a usable answer keeps its similarities.

        Raises:
            EndpointError: the endpoint does not work. Answers so far are in the cache: run it again later.
        """
        asked = [self.request(query, some) for query, some in zip(queries, candidates, strict=True)]
        answers = self.client.complete_many([request for request, _ in asked])
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


# ------------------------------------------------------------------ extraction


class ChatExtractor:
    """Asks a chat model for the parts of an ad. ``notes`` say chat, or chat_failed with the rules' extraction.

    Args:
        prompt: a built-in name or a path of a file.
        max_ad_chars: of the ad, mark-up and boilerplate included.
    """

    name = "chat"

    def __init__(self, client: ChatClient, *, prompt: str | Prompt = "extract", max_ad_chars: int = 8000) -> None:
        check_range("max_ad_chars", max_ad_chars, max_ad_chars >= 1, "integers from 1")
        self.client = client
        self.prompt = prompt if isinstance(prompt, Prompt) else load_prompt(prompt, EXTRACT_GAPS)
        self.max_ad_chars = max_ad_chars
        self._rules = RulesExtractor()

    def request(self, text: str, title: str = "") -> ChatRequest:
        """The question about one ad."""
        values = {
            "title": as_data(title, 300), "ad": as_data(text, self.max_ad_chars),
            "seniorities": ", ".join(SENIORITIES), "industries": ", ".join(INDUSTRIES),
        }  # fmt: skip
        return ChatRequest(self.prompt.fill(values), EXTRACTION, "extraction")

    def extract(self, texts: Sequence[str], titles: Sequence[str] | None = None) -> list[Extraction]:
        """See :class:`~hjc.rerank.extraction.RulesExtractor`. Ads without a letter are not sent.

        Raises:
            EndpointError: the endpoint does not work. Answers so far are in the cache.
        """
        out = self._rules.extract(texts, titles)  # checks the arguments too
        sent = [i for i, found in enumerate(out) if not (found.reason and found.empty and not _letters(texts[i]))]
        pairs = list(zip_longest(texts, titles or (), fillvalue=""))
        answers = self.client.complete_many([self.request(*pairs[i]) for i in sent])
        for i, answer in zip(sent, answers, strict=True):
            if isinstance(answer, ChatError):
                out[i] = replace(out[i], notes=(*out[i].notes, "chat_failed"))
            else:
                out[i] = _extraction(answer.value)
        return out


def _letters(text: str) -> bool:
    return any(map(str.isalpha, text))


def _extraction(value: dict[str, Any]) -> Extraction:
    if not value["is_job"]:
        return Extraction(reason=value["reason"].strip()[:300] or "no advertisement of one job", notes=("chat",))
    title, duties, skills = (value[name].strip()[:MAX_FIELD] for name in ("title", "duties", "skills"))
    reason = "" if title or duties or skills else "the model extracted nothing"
    return Extraction(
        title=title, duties=duties, skills=skills, seniority=value["seniority"], industry=value["industry"],
        reason=reason, notes=("chat",),
    )  # fmt: skip
