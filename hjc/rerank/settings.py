"""Settings of a chat endpoint: plain values, no imports of anything heavy, no key."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from hjc.errors import check_choice, check_range

STRUCTURED = ("auto", "json_schema", "json_object", "none")


@dataclass(kw_only=True, slots=True)
class ChatSettings:
    """An endpoint that speaks the protocol of ``/v1/chat/completions``: vLLM, llama.cpp, Ollama, or a hosted one.

    Texts leave the machine only when ``endpoint`` names another one. The key is read from the environment when a
    request is made; it is in no file, log, message or cache.
    """

    #: base address, such as http://localhost:8000/v1; "/chat/completions" is added. "" for none
    endpoint: str = ""
    #: name of the model, as the endpoint knows it
    model: str = ""
    #: name of the environment variable with the key; "" sends none
    api_key_env: str = ""
    #: None leaves it out (some hosted models take none)
    temperature: float | None = 0.0
    #: sent with each request; null leaves it out
    seed: int | None = None
    #: of an answer; 0 leaves it out
    max_tokens: int = 400
    #: further keys of the request, such as {max_completion_tokens: 800}
    extra: dict[str, Any] = field(default_factory=dict)
    #: how an answer's schema is asked for: response_format json_schema, json_object, or none; auto goes down this list
    #: when the endpoint refuses. The answer is validated here in every case
    structured: str = "auto"
    #: seconds for a whole request
    timeout: float = 60.0
    #: requests under way at once
    concurrency: int = 4
    #: repeats after time-outs, 429, 5xx and broken connections
    retries: int = 5
    #: repeats after an answer that is no JSON, does not fit the schema, or is not among the candidates
    answer_retries: int = 1
    #: seconds before the first repeat, doubled for each further one up to max_backoff, less up to a half by chance
    backoff: float = 1.0
    #: the longest wait before a repeat
    max_backoff: float = 60.0
    #: the longest Retry-After that is waited for
    max_retry_after: float = 300.0
    #: queries in a row that get no answer at all before the run stops
    give_up_after: int = 5
    #: price of a million tokens, in currency
    prompt_price: float = 0.0
    #: of a million tokens of answers
    completion_price: float = 0.0
    #: of the prices, in messages
    currency: str = "USD"
    #: limits of a run, 0 for none. A request is not sent when it might exceed one
    max_requests: int = 0
    #: tokens of a run, 0 for no limit
    max_total_tokens: int = 0
    #: cost of a run, 0 for no limit
    max_cost: float = 0.0
    #: file of answers (JSON lines); "" keeps them in memory
    cache: str = ""

    def __post_init__(self) -> None:
        check_choice("structured", self.structured, STRUCTURED)
        for name in ("timeout", "max_backoff"):
            check_range(name, getattr(self, name), getattr(self, name) > 0, "numbers above 0")
        for name in ("concurrency", "give_up_after"):
            check_range(name, getattr(self, name), getattr(self, name) >= 1, "integers from 1")
        for name in ("max_tokens", "retries", "answer_retries", "backoff", "max_retry_after", "prompt_price",
                     "completion_price", "max_requests", "max_total_tokens", "max_cost"):  # fmt: skip
            check_range(name, getattr(self, name), getattr(self, name) >= 0, "numbers from 0")
        if self.max_cost and not (self.prompt_price or self.completion_price):
            raise ValueError("max_cost without prompt_price and completion_price would never be reached; give prices")
        if overridden := sorted({"messages", "model", "stream", "n", "response_format"} & set(self.extra)):
            raise ValueError(f"extra: {', '.join(overridden)} cannot be given here")
        if self.endpoint:
            self.url  # noqa: B018  # its errors come early

    @property
    def url(self) -> str:
        """The address that requests go to.

        Raises:
            ValueError: no http(s) address, or one with a name and password in it.
        """
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"endpoint: got {self.endpoint!r}, expected an address such as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "endpoint: an address with a name, password or query; put the key into an environment variable and "
                "name that in api_key_env"
            )
        base = self.endpoint.rstrip("/")
        return base if base.endswith("/chat/completions") else f"{base}/chat/completions"

    @property
    def is_local(self) -> bool:
        """Whether the endpoint is this machine."""
        host = urlsplit(self.endpoint).hostname or ""
        return host in ("localhost", "::1", "0.0.0.0") or host.startswith("127.")


def endpoint_of_user(settings: ChatSettings, environ: Mapping[str, str] = os.environ) -> ChatSettings:
    """Settings that came with a model, with address, key and cache of whoever runs it.

    A model directory may come from strangers. Were its address used, they would get the texts that are coded with it,
    and, by naming any environment variable as that of the key, what is in there. So HJC_CHAT_ENDPOINT must name the
    endpoint; HJC_CHAT_KEY_ENV may name the variable with its key, HJC_CHAT_CACHE a file of answers.

    Raises:
        ValueError: HJC_CHAT_ENDPOINT is not set.
    """
    endpoint = environ.get("HJC_CHAT_ENDPOINT", "").strip()
    if not endpoint:
        raise ValueError(
            f"this model asks a chat model ({settings.model}; it was fitted at {settings.endpoint}), and a model "
            "directory does not decide where texts go: set the environment variable HJC_CHAT_ENDPOINT to the address "
            "of your endpoint (HJC_CHAT_KEY_ENV: name of the variable with its key; HJC_CHAT_CACHE: a file of answers)"
        )
    key, cache = environ.get("HJC_CHAT_KEY_ENV", "").strip(), environ.get("HJC_CHAT_CACHE", "").strip()
    return replace(settings, endpoint=endpoint, api_key_env=key, cache=cache)
