"""What a run of a chat endpoint has used, and the limits at which it stops."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Any, Literal

from hjc.rerank.settings import ChatSettings

#: an estimate before the endpoint has counted: text of no language has more tokens than a third of its UTF-8 bytes,
#: as a rule; and messages have some tokens around them
BYTES_PER_TOKEN, TOKENS_AROUND = 3, 32
#: what is reserved for an answer when its length is not limited
UNLIMITED_ANSWER = 2_000
_WORD = re.compile(r"\w+")


def least_tokens(text: str) -> int:
    """As many tokens a text has at least, whatever the tokenizer: none spans two words, nor ten bytes as a rule."""
    return max(len(_WORD.findall(text)), len(text.encode("utf-8", "replace")) // 10)


class ChatError(RuntimeError):
    """A query got no usable answer; the message says why."""

    status: Literal["failed", "budget"] = "failed"


class BudgetReached(ChatError):
    """A request was not sent because a limit would have been exceeded."""

    status = "budget"


class EndpointError(OSError):
    """The endpoint itself does not work (not there, key refused, no such model): going on makes no sense."""


@dataclass(kw_only=True)
class Usage:
    """Counters of a run.

    Attributes:
        requests: HTTP requests sent, repeats included.
        prompt_tokens, completion_tokens: as the endpoint reported, of every reply, usable or not.
        cache_hits: queries answered without a request.
        answers, failed: queries with and without a usable answer from the endpoint.
        retries, timeouts, rate_limited, server_errors, broken: requests that had to be repeated, and why.
        malformed, rejected: answers that were no JSON of the schema, and those outside what was asked (candidates).
        unreported: replies without token counts or with fewer than their texts can have, and requests that were cut
            off: for the limits an estimate counts.
        unreported_tokens: what that is beyond the reported tokens.
        downgrades: requests refused because of response_format.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cache_hits: int = 0
    answers: int = 0
    failed: int = 0
    retries: int = 0
    timeouts: int = 0
    rate_limited: int = 0
    server_errors: int = 0
    broken: int = 0
    malformed: int = 0
    rejected: int = 0
    unreported: int = 0
    unreported_tokens: int = 0
    downgrades: int = 0


@dataclass(frozen=True)
class Estimate:
    """What a run may use at most, before a request is sent: requests (without repeats), tokens, cost."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    currency: str

    def __add__(self, other: "Estimate") -> "Estimate":
        """Of both together, in the currency of the first."""
        return Estimate(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost + other.cost,
            self.currency,
        )

    def sentence(self) -> str:
        """For the user."""
        money = f", {self.cost:,.2f} {self.currency}" if self.cost else ", no prices given"
        return (
            f"about {self.requests:,} requests, {self.prompt_tokens:,} tokens of prompts and at most "
            f"{self.completion_tokens:,} of answers{money}"
        )


#: tokens of prompt and answer that a request under way may use
Reservation = tuple[int, int]


class Budget:
    """Counters behind a lock. What requests under way may use is reserved, so that limits hold with many at once."""

    def __init__(self, settings: ChatSettings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._usage = Usage()
        self._reserved_prompt = self._reserved_completion = 0
        self._unreported_cost = 0.0

    def cost(self, prompt: int, completion: int) -> float:
        """In the currency of the settings."""
        return (prompt * self._settings.prompt_price + completion * self._settings.completion_price) / 1e6

    def _at_most(self, size: int) -> Reservation:
        return size // BYTES_PER_TOKEN + TOKENS_AROUND, self._settings.max_tokens or UNLIMITED_ANSWER

    def estimate(self, sizes: Iterable[int]) -> Estimate:
        """Of requests with so many bytes of text each, by the measure of :meth:`reserve`."""
        each = [self._at_most(size) for size in sizes]
        prompt, completion = sum(x for x, _ in each), sum(x for _, x in each)
        return Estimate(len(each), prompt, completion, self.cost(prompt, completion), self._settings.currency)

    def reserve(self, characters: bytes) -> Reservation:
        """Take a request's estimate.

        Raises:
            BudgetReached: a limit might be exceeded.
        """
        s, u, new = self._settings, self._usage, self._at_most(len(characters))
        with self._lock:
            if s.max_requests and u.requests >= s.max_requests:
                raise BudgetReached(f"max_requests={s.max_requests} is reached")
            prompt = u.prompt_tokens + self._reserved_prompt + new[0]
            completion = u.completion_tokens + self._reserved_completion + new[1]
            if s.max_total_tokens and prompt + completion + u.unreported_tokens > s.max_total_tokens:
                raise BudgetReached(f"max_total_tokens={s.max_total_tokens} might be exceeded")
            if s.max_cost and self.cost(prompt, completion) + self._unreported_cost > s.max_cost:
                raise BudgetReached(f"max_cost={s.max_cost:g} {s.currency} might be exceeded")
            u.requests += 1
            self._reserved_prompt += new[0]
            self._reserved_completion += new[1]
        return new

    def settle(
        self,
        reservation: Reservation,
        tokens: tuple[int, int] | None,
        counted: tuple[int, int] = (0, 0),
        *,
        billed: bool,
    ) -> None:
        """Give a reservation back.

        Args:
            tokens: of prompt and answer as reported; None: not reported.
            counted: what the texts have at least (:func:`least_tokens`): limits go by the larger of both.
            billed: whether a request without a report may have cost something (time-outs, cut-off bodies).
        """
        with self._lock:
            self._reserved_prompt -= reservation[0]
            self._reserved_completion -= reservation[1]
            if tokens is not None:
                self._usage.prompt_tokens += tokens[0]
                self._usage.completion_tokens += tokens[1]
                prompt, completion = (max(0, own - told) for own, told in zip(counted, tokens, strict=True))
            else:
                prompt, completion = reservation if billed else (0, 0)
            if prompt + completion:
                self._usage.unreported += 1
                self._usage.unreported_tokens += prompt + completion
                self._unreported_cost += self.cost(prompt, completion)

    def count(self, *names: str) -> None:
        """Add one to counters."""
        with self._lock:
            for name in names:
                setattr(self._usage, name, getattr(self._usage, name) + 1)

    @property
    def usage(self) -> Usage:
        """A copy of the counters."""
        with self._lock:
            return Usage(**asdict(self._usage))

    def report(self) -> dict[str, Any]:
        """Counters and cost for reports and run directories."""
        usage = self.usage
        return {
            **asdict(usage),
            "cost": self.cost(usage.prompt_tokens, usage.completion_tokens),
            "currency": self._settings.currency,
        }
