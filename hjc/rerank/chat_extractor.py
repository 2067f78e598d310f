"""Extraction by a chat model, with the rules behind it for every ad that gets no usable answer."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import zip_longest
from typing import Any

from hjc.rerank.budget import ChatError
from hjc.rerank.chat import ChatClient, ChatRequest
from hjc.rerank.extraction import Extraction, RulesExtractor
from hjc.rerank.prompts import Prompt, as_data, load_prompt
from hjc.rerank.vocabulary import INDUSTRIES, SENIORITIES

#: the gaps of a prompt for extraction
GAPS = frozenset(("title", "ad", "seniorities", "industries"))
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "is_job": {"type": "boolean"},
        "title": {"type": "string"},
        "duties": {"type": "string"},
        "skills": {"type": "string"},
        "seniority": {"type": "string", "enum": ["", *SENIORITIES]},
        "industry": {"type": "string", "enum": ["", *INDUSTRIES]},
        "reason": {"type": "string"},
    },
    "required": ["is_job", "title", "duties", "skills", "seniority", "industry", "reason"],
    "additionalProperties": False,
}
#: characters of a field; an answer is no place for whole ads
MAX_FIELD = 3_000


class ChatExtractor:
    """Asks a chat model for the parts of an ad. ``notes`` say chat, or chat_failed with the rules' extraction.

    Args:
        prompt: a built-in name or a path of a file.
        max_ad_chars: of the ad, mark-up and boilerplate included.
    """

    name = "chat"

    def __init__(self, client: ChatClient, *, prompt: str | Prompt = "extract", max_ad_chars: int = 8000) -> None:
        if max_ad_chars < 1:
            raise ValueError(f"max_ad_chars: got {max_ad_chars}, allowed are integers from 1")
        self.client = client
        self.prompt = prompt if isinstance(prompt, Prompt) else load_prompt(prompt, GAPS)
        self.max_ad_chars = max_ad_chars
        self._rules = RulesExtractor()

    @property
    def fingerprint(self) -> str:
        parts = [self.client.settings.model, self.prompt.fingerprint, self.max_ad_chars, self._rules.fingerprint]
        return sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def request(self, text: str, title: str = "") -> ChatRequest:
        """The question about one ad."""
        values = {
            "title": as_data(title, 300), "ad": as_data(text, self.max_ad_chars),
            "seniorities": ", ".join(SENIORITIES), "industries": ", ".join(INDUSTRIES),
        }  # fmt: skip
        return ChatRequest(self.prompt.fill(values), SCHEMA, "extraction")

    def extract(
        self,
        texts: Sequence[str],
        titles: Sequence[str] | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> list[Extraction]:
        """See :class:`~hjc.rerank.extraction.Extractor`. Ads without a letter are not sent.

        Raises:
            EndpointError: the endpoint does not work. Answers so far are in the cache.
        """
        out = self._rules.extract(texts, titles)  # checks the arguments too
        sent = [i for i, found in enumerate(out) if not (found.reason and found.empty and not _letters(texts[i]))]
        pairs = list(zip_longest(texts, titles or (), fillvalue=""))
        answers = self.client.complete_many([self.request(*pairs[i]) for i in sent], advance)
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
