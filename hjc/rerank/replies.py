"""Replies of chat endpoints: what went wrong, the JSON object in an answer, token counts, Retry-After."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL | re.IGNORECASE)
_THINKING = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)


class Again(Exception):
    """A request that may be repeated; ``wait`` is what the endpoint asked for, in seconds."""

    def __init__(self, reason: str, counter: str, wait: float | None = None, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.counter, self.wait, self.refused = counter, wait, refused


class BadAnswer(Exception):
    """A reply whose answer cannot be used; the message may be shown to the model."""

    def __init__(self, reason: str, counter: str) -> None:
        super().__init__(reason)
        self.counter = counter


def parse_object(content: str) -> dict[str, Any]:
    """One JSON object: bare, in a code fence, after a passage of thinking, or with words around it.

    Raises:
        BadAnswer: none, or several.
    """
    text = _THINKING.sub("", content).strip()
    if found := _FENCE.match(text):
        text = found[1]
    begin = text.find("{")
    try:
        if begin < 0:
            raise ValueError
        value, end = json.JSONDecoder(parse_constant=_no_constant).raw_decode(text, begin)
    except (ValueError, RecursionError):
        raise BadAnswer("no JSON object", "malformed") from None
    if "{" in text[end:]:
        raise BadAnswer("more than one JSON object", "malformed")
    return dict(value)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def reported_tokens(reply: Mapping[str, Any]) -> tuple[int, int] | None:
    """Tokens as reported; None where they are not, or make no sense."""
    usage = reply.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    if type(prompt) is not int or type(completion) is not int or prompt < 0 or completion < 0:
        return None
    return prompt, completion


def retry_after(value: str, now: datetime | None = None) -> float | None:
    """Seconds of a Retry-After header, a number or a date (RFC 9110, section 10.2.3); None for neither."""
    value = value.strip()
    if re.fullmatch(r"\d+(?:\.\d+)?", value):
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def content_of(reply: Mapping[str, Any]) -> str:
    """The text of an answer; "" where a reply has none."""
    try:
        content = reply["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return ""
    return content if isinstance(content, str) else ""


def answer_of(reply: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object that a reply answers with.

    Raises:
        BadAnswer: no answer, one that was cut off, or no JSON object.
    """
    content = content_of(reply)
    if not content.strip():
        raise BadAnswer("an empty answer, or no choices[0].message.content", "malformed")
    finish = reply["choices"][0].get("finish_reason")
    if finish == "length":
        raise BadAnswer("cut off at the limit of tokens (max_tokens)", "malformed")
    return parse_object(content)


def reply_of(content: bytes) -> dict[str, Any]:
    """The JSON object that a body is.

    Raises:
        Again: it is none (cut off, a page of a proxy).
    """
    try:
        reply = json.loads(content)
    except (ValueError, RecursionError):
        raise Again("the reply is no JSON", "broken") from None
    if not isinstance(reply, dict):
        raise Again("the reply is no JSON object", "broken")
    return reply
