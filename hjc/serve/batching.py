"""Requests wait in a bounded queue and go through the model together, a few milliseconds' worth at a time."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from hjc.arrays import FloatArray

Outcomes = list[tuple[str, str]]
#: texts -> (B, L) log-probabilities in their order, and how each row came by its code
Model = Callable[[Sequence[str]], tuple[FloatArray, Outcomes]]


class Busy(RuntimeError):
    """The queue is full or the service stops; ``seconds`` says when to ask again."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


@dataclass
class _Wanted:
    texts: Sequence[str]
    deadline: float
    future: "Future[tuple[FloatArray, Outcomes]]" = field(default_factory=Future)


class Batcher:
    """One thread that answers requests in the order in which they came, several at once.

    Args:
        model: called from that thread only.
        batch_rows: rows that go through the model together, at most, unless one request has more.
        queue_rows: rows that may wait.
        wait: seconds that a row waits for company when it is alone.
        seen: told the rows of each batch and the seconds it took.
    """

    def __init__(
        self,
        model: Model,
        *,
        batch_rows: int = 256,
        queue_rows: int = 4096,
        wait: float = 0.002,
        seen: Callable[[int, float], None] = lambda rows, seconds: None,
    ) -> None:
        self.model, self.batch_rows, self.queue_rows, self.wait, self.seen = model, batch_rows, queue_rows, wait, seen
        self.rate = 0.0  # rows a second: up at once, down slowly, as rows that come alone take longer each
        self._waiting: deque[_Wanted] = deque()
        self._rows, self._stopping = 0, False
        self._idle: float | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="hjc-model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Rows that wait now."""
        return self._rows

    def submit(self, texts: Sequence[str], seconds: float = 30.0) -> "Future[tuple[FloatArray, Outcomes]]":
        """(B, L) log-probabilities and outcomes of the texts, later.

        A request that is older than ``seconds`` when its turn comes is not worked on any more: TimeoutError.

        Raises:
            Busy: too many rows wait, its turn would come too late, or the batcher stops.
        """
        wanted = _Wanted(texts, time.monotonic() + seconds)
        with self._changed:
            if self._stopping:
                raise Busy("the model is being replaced or the service stops; ask again", 1.0)
            later = self._rows / self.rate if self.rate else 0.0
            if self._rows and self._rows + len(texts) > self.queue_rows:
                raise Busy(f"{self._rows:,} rows wait for the model, at most {self.queue_rows:,} may", max(1.0, later))
            if 0 < seconds < later:  # it would be given up unanswered: said now rather than then
                raise Busy(f"{self._rows:,} rows wait for the model, for about {later:,.0f} seconds", later - seconds)
            self._waiting.append(wanted)
            self._rows += len(texts)
            self._changed.notify()
        return wanted.future

    def stop(self, seconds: float = 60.0) -> None:
        """Answer what waits, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(seconds)

    def retire(self, idle: float) -> None:
        """End when nothing has come for so many seconds: who holds the model still, is still answered."""
        with self._changed:
            self._idle = idle
            self._changed.notify()

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            live = [w for w in batch if w.future.set_running_or_notify_cancel()]
            late = [w for w in live if w.deadline < time.monotonic()]
            for wanted in late:
                wanted.future.set_exception(TimeoutError("the request waited too long for the model"))
            live = [w for w in live if w not in late]
            if live:
                self._answer(live)
            with self._changed:
                self._rows -= sum(len(w.texts) for w in batch)

    def _next(self) -> list[_Wanted] | None:
        """Requests for one pass, None when there are none and the end has come."""
        with self._changed:
            while not self._waiting:
                if self._stopping:
                    return None
                if not self._changed.wait(self._idle) and self._idle is not None and not self._waiting:
                    self._stopping = True
            until = time.monotonic() + self.wait
            while self._rows < self.batch_rows and not self._stopping and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            batch = [self._waiting.popleft()]
            rows = len(batch[0].texts)
            while self._waiting and rows + len(self._waiting[0].texts) <= self.batch_rows:
                batch.append(self._waiting.popleft())
                rows += len(batch[-1].texts)
            return batch

    def _answer(self, live: list[_Wanted]) -> None:
        started = time.monotonic()
        try:
            log_proba, outcomes = self.model([text for w in live for text in w.texts])
        except BaseException as error:
            if len(live) > 1:  # one request's text must not fail the others
                for wanted in live:
                    self._answer([wanted])
                return
            live[0].future.set_exception(error)
            return
        seconds = time.monotonic() - started
        self.seen(len(outcomes), seconds)
        self.rate = max(len(outcomes) / max(seconds, 1e-6), 0.95 * self.rate)
        at = 0
        for wanted in live:
            to = at + len(wanted.texts)
            wanted.future.set_result((np.asarray(log_proba[at:to]), outcomes[at:to]))
            at = to
