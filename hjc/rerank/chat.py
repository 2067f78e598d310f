"""A client of OpenAI-compatible chat endpoints for answers that follow a schema.

Every answer is parsed and validated here, whatever the endpoint promises; requests are repeated with exponential
back-off and jitter, ``Retry-After`` is honoured for all of them, whole requests have a time limit, tokens and cost are
counted and limited, and good answers are kept on disk by the content of their request. Needs ``hjc[llm]``.
"""

import asyncio
import json
import logging
import os
import random
import time
import warnings
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import BoundedSemaphore, Event, Lock, Thread
from typing import Any, TypeVar

from hjc.corpus.cache import AnswerCache, request_key
from hjc.rerank.budget import Budget, BudgetReached, ChatError, EndpointError, Estimate, Usage, least_tokens
from hjc.rerank.replies import Again, BadAnswer, answer_of, content_of, reply_of, reported_tokens, retry_after
from hjc.rerank.settings import ChatSettings

logger = logging.getLogger(__name__)
T = TypeVar("T")
#: bytes of a reply; longer ones are no answer
MAX_REPLY = 4_000_000
_REPEATED = frozenset((408, 409, 425, 429))
_FATAL = frozenset((401, 403, 404, 405))
_LEVELS = ("json_schema", "json_object", "none")


class Rejected(ValueError):
    """Raised by the check of a request: the answer fits the schema, but is outside what was asked."""


def schema_of(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of an object with these properties, all of them required, and no others."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


@dataclass(frozen=True)
class ChatRequest:
    """One question.

    Attributes:
        messages: of the roles system and user.
        schema: JSON schema of the answer, an object.
        check: raises :class:`Rejected` with a reason for an answer that fits the schema and is still not allowed.
    """

    messages: Sequence[Mapping[str, str]]
    schema: Mapping[str, Any]
    schema_name: str = "answer"
    check: Callable[[dict[str, Any]], None] | None = None


@dataclass(frozen=True)
class Answer:
    """A validated answer, how many requests it took, and whether it came from the cache (no request)."""

    value: dict[str, Any]
    attempts: int
    cached: bool


class ChatClient:
    """Asks an endpoint; threads may share a client.

    Args:
        cache: None opens the file of the settings.

    Raises:
        ImportError: without the extra. ValueError: no endpoint or model.
    """

    def __init__(self, settings: ChatSettings, *, cache: AnswerCache | None = None) -> None:
        try:
            import httpx
            import jsonschema
        except ImportError as error:
            raise ImportError(f"a chat endpoint needs the extra llm: pip install 'hjc[llm]' ({error})") from None
        if not settings.endpoint or not settings.model:
            raise ValueError("endpoint and model: name both, such as endpoint=http://localhost:8000/v1 model=NAME")
        self._httpx, self._jsonschema = httpx, jsonschema
        self.settings = settings
        self.budget = Budget(settings)
        self.cache = cache if cache is not None else AnswerCache(settings.cache or None)
        self._lock = Lock()
        self._slots = BoundedSemaphore(settings.concurrency)
        self._level = 0 if settings.structured == "auto" else _LEVELS.index(settings.structured)
        self._resume_at = 0.0  # time.monotonic() before which no request is sent
        self._in_row = 0
        # requests run in a loop of their own: only there can one be cut off wherever it is (connecting, headers, body)
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, name="chat requests", daemon=True).start()
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=0.9 * settings.timeout),
            limits=httpx.Limits(max_connections=settings.concurrency),
            follow_redirects=False,
        )
        if settings.api_key_env and settings.url.startswith("http://") and not settings.is_local:
            warnings.warn("the key goes to another machine over http, which anyone in between can read; use https",
                          stacklevel=2)  # fmt: skip

    def __enter__(self) -> "ChatClient":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and the file of answers."""
        if not self._http.is_closed:
            self._in_loop(self._http.aclose())
            self._loop.call_soon_threadsafe(self._loop.stop)
        self.cache.close()

    def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    @property
    def usage(self) -> Usage:
        """Counters so far."""
        return self.budget.usage

    def _key(self) -> str:
        """The key of the endpoint, from the environment; "" without one."""
        name = self.settings.api_key_env
        if not name:
            return ""
        key = os.environ.get(name, "").strip()
        if not key:
            raise EndpointError(f"the environment variable {name} (api_key_env) is not set; put the key there")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise EndpointError(f"the environment variable {name} (api_key_env) holds characters that no key has")
        return key

    def _safe(self, text: str) -> str:
        """A piece of a reply for a message: short, printable, without the key."""
        if self.settings.api_key_env and (key := os.environ.get(self.settings.api_key_env, "").strip()):
            text = text.replace(key, "[key]")
        return "".join(c if c.isprintable() else " " for c in text[:300]).strip()

    # ------------------------------------------------------------------ questions

    def estimate(self, requests: Iterable[ChatRequest]) -> Estimate:
        """Of asking them all, repeats and cached answers not counted."""
        return self.budget.estimate(sum(len(m["content"].encode()) for m in r.messages) for r in requests)

    def _complete(self, request: ChatRequest, stop: Event) -> Answer:
        """Ask one question; once ``stop`` is set nothing more is sent.

        Raises:
            ChatError: no usable answer; BudgetReached: not sent. EndpointError: the endpoint does not work.
        """
        key = self._request_key(request)
        known = self.cache.get([key]).get(key)
        if known is not None:
            try:
                self._validate(known, request)
            except BadAnswer as error:  # a file that was written by hand, or a stricter check
                logger.warning("a cached answer is not used: %s", error)
            else:
                self.budget.count("cache_hits")
                return Answer(known, 0, True)
        try:
            value, attempts = self._ask(request, stop)
        except BudgetReached:
            raise
        except ChatError:
            self.budget.count("failed")
            raise
        except EndpointError:
            stop.set()
            raise
        self.budget.count("answers")
        self.cache.put({key: value})
        return Answer(value, attempts, False)

    def _request_key(self, request: ChatRequest) -> str:
        """The address is no part of it: a model has one name."""
        return request_key(self.settings.model, list(request.messages), request.schema, self._parameters())

    def complete_many(self, requests: Sequence[ChatRequest]) -> list[Answer | ChatError]:
        """Ask many questions, some at once; in order. A question without a usable answer gives its error.

        Equal questions are asked once. What was answered stays in the cache, also when this is interrupted.

        Raises:
            EndpointError: the endpoint does not work; nothing more is sent.
        """
        keys = [self._request_key(request) for request in requests]
        futures: dict[str, Future[Answer]] = {}
        out: list[Answer | ChatError] = []
        stop = Event()
        with ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="chat") as pool:
            try:
                for key, request in zip(keys, requests, strict=True):
                    if key not in futures:
                        futures[key] = pool.submit(self._complete, request, stop)
                for key in keys:
                    try:
                        out.append(futures[key].result())
                    except ChatError as error:
                        out.append(error)
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return out

    def _parameters(self) -> dict[str, Any]:
        """What of a request changes its answer, beside model, messages and schema."""
        s = self.settings
        chosen = {"temperature": s.temperature, "seed": s.seed, "max_tokens": s.max_tokens or None, **s.extra}
        return {name: value for name, value in chosen.items() if value is not None}

    def _ask(self, request: ChatRequest, stop: Event) -> tuple[dict[str, Any], int]:
        """(answer, requests) after as many repeats as the settings allow."""
        s = self.settings
        messages = list(request.messages)
        sent = broken = refused = 0
        while True:
            sent += 1
            try:
                value = answer_of(self._post(request, messages, stop))
                self._validate(value, request)
            except BadAnswer as error:
                self.budget.count(error.counter)
                self._in_row = 0
                refused += 1
                if refused > s.answer_retries:
                    raise ChatError(f"no usable answer after {sent} requests: {error}") from None
                self.budget.count("retries")
                again = f"Your answer was not used: {error}. Answer again with one JSON object as asked for."
                messages = [*request.messages, {"role": "user", "content": again}]
            except Again as error:
                self.budget.count(error.counter)
                if error.counter == "downgrades":
                    continue
                broken += 1
                if broken > s.retries:
                    self._give_up(sent, error)
                self.budget.count("retries")
                self._wait(broken, error.wait, stop)
            else:
                self._in_row = 0
                return value, sent

    def _give_up(self, sent: int, error: Again) -> None:
        """A query without any reply. Several in a row, or nobody listening, mean that the endpoint is gone."""
        with self._lock:
            self._in_row += 1
            in_row = self._in_row
        text = f"no answer after {sent} requests: {error}"
        if error.refused:
            raise EndpointError(f"{self.settings.url}: {text}; is the server running?") from None
        if in_row >= self.settings.give_up_after:
            raise EndpointError(f"{self.settings.url}: {in_row} queries in a row without an answer, the last: {error}")
        raise ChatError(text) from None

    def _wait(self, repeats: int, asked: float | None, stop: Event) -> None:
        """Back off; what the endpoint asked for holds for every request."""
        s = self.settings
        pause = min(s.max_backoff, s.backoff * 2.0 ** (repeats - 1)) * random.uniform(0.5, 1.0)
        if asked is not None:
            with self._lock:
                self._resume_at = max(self._resume_at, time.monotonic() + asked)
            pause = max(pause, asked)
        logger.info("waiting %.1f s before a request is repeated", pause)
        _pause(pause, stop)

    # ------------------------------------------------------------------ one request

    def _body(self, request: ChatRequest, messages: Sequence[Mapping[str, str]], level: int) -> bytes:
        body: dict[str, Any] = {"model": self.settings.model, "messages": list(messages), **self._parameters()}
        if _LEVELS[level] == "json_schema":
            wanted = {"name": request.schema_name, "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": wanted}
        elif _LEVELS[level] == "json_object":
            body["response_format"] = {"type": "json_object"}
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")

    def _post(self, request: ChatRequest, messages: Sequence[Mapping[str, str]], stop: Event) -> dict[str, Any]:
        """The reply to one request."""
        httpx, level = self._httpx, self._level
        headers = {"Content-Type": "application/json"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        body = self._body(request, messages, level)
        with self._slots:
            while (pause := self._resume_at - time.monotonic()) > 0:
                _pause(pause, stop)
            if stop.is_set():
                raise ChatError("the run was stopped")
            reservation = self.budget.reserve(body)
            billed, tokens, counted = True, None, (0, 0)
            try:
                status, reply_headers, content = self._in_loop(self._send(body, headers))
                billed = status < 300
                if billed:
                    reply = reply_of(content)
                    tokens = reported_tokens(reply)
                    counted = (sum(least_tokens(m["content"]) for m in messages), least_tokens(content_of(reply)))
                    return reply
            except TimeoutError:
                raise Again(f"no reply within {self.settings.timeout:g} s", "timeouts") from None
            except httpx.ConnectTimeout:
                billed = False
                raise Again(f"no connection within {self.settings.timeout:g} s", "timeouts") from None
            except httpx.ConnectError as error:
                billed = False
                raise Again(f"no connection ({self._safe(str(error))})", "broken", refused=True) from None
            except httpx.HTTPError as error:
                raise Again(f"broken connection ({self._safe(str(error)) or type(error).__name__})", "broken") from None
            finally:
                self.budget.settle(reservation, tokens, counted, billed=billed)
        raise self._refusal(status, reply_headers, content, level)

    async def _send(self, body: bytes, headers: dict[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body. The time limit is for all of it, however slowly an endpoint lets it drip.

        Raises:
            TimeoutError: it has passed.
        """
        content = bytearray()
        async with (
            asyncio.timeout(self.settings.timeout),
            self._http.stream("POST", self.settings.url, content=body, headers=headers) as response,
        ):
            async for part in response.aiter_bytes():
                content += part
                if len(content) > MAX_REPLY:
                    raise self._httpx.ReadError(f"a reply of more than {MAX_REPLY:,} bytes")
        return response.status_code, response.headers, bytes(content)

    def _refusal(self, status: int, headers: Mapping[str, str], content: bytes, level: int) -> Exception:
        """What a status other than 2xx means."""
        text = self._safe(content.decode("utf-8", "replace"))
        if status in _FATAL or 300 <= status < 400:
            return EndpointError(f"{self.settings.url}: status {status}: {text}; check endpoint, model and api_key_env")
        if status in (400, 415, 422) and self.settings.structured == "auto" and level + 1 < len(_LEVELS):
            with self._lock:
                self._level = max(self._level, level + 1)
            logger.info("the endpoint refused response_format %s (status %d)", _LEVELS[level], status)
            return Again(f"status {status}: {text}", "downgrades")
        if status in _REPEATED or status >= 500:
            wait = retry_after(headers.get("retry-after", ""))
            if wait is not None and wait > self.settings.max_retry_after:
                return ChatError(f"status {status}: to be repeated after {wait:.0f} s, more than max_retry_after")
            return Again(f"status {status}: {text}", "rate_limited" if status == 429 else "server_errors", wait)
        return ChatError(f"status {status}: {text}")

    def _validate(self, value: dict[str, Any], request: ChatRequest) -> None:
        validator = self._jsonschema.Draft202012Validator(request.schema)
        errors = sorted(validator.iter_errors(value), key=lambda e: list(map(str, e.path)))
        if errors:
            where = "/".join(map(str, errors[0].path))
            raise BadAnswer(f"not of the schema: {where}: {errors[0].message[:120]}".replace(": : ", ": "), "malformed")
        if request.check is not None:
            try:
                request.check(value)
            except Rejected as error:
                raise BadAnswer(str(error), "rejected") from None


def _pause(seconds: float, stop: Event) -> None:
    """Wait. A run that stops does not wait for those that back off.

    Raises:
        ChatError: the run was stopped.
    """
    if stop.wait(seconds):
        raise ChatError("the run was stopped")
