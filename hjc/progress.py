"""Progress with rows/s that only slow work shows: a bar where the end is known, else a line.

Where there is no terminal (a log file, a batch system) both are a line every ten seconds.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

#: work that takes longer than this shows a bar (seconds)
PROGRESS_AFTER = 2.0
#: seconds between the lines in a log
EVERY = 10.0
_state = {"silent": False}


def is_first_process() -> bool:
    """Whether this is the only process, or the first of a distributed training: the one that reports and writes.

    torchrun and Lightning number the processes of a machine (``LOCAL_RANK``), torchrun all of them (``RANK``), Slurm as
    well (``SLURM_PROCID``); where a user starts one command a machine, ``NODE_RANK`` is the machine's number.
    """
    across = next((os.environ[name] for name in ("RANK", "NODE_RANK", "SLURM_PROCID") if os.environ.get(name)), "0")
    return os.environ.get("LOCAL_RANK", "0") == "0" == across


def silent() -> bool:
    """Whether nothing is to be shown, whoever asks: ``--quiet``."""
    return _state["silent"]


@contextmanager
def silence(wanted: bool = True) -> Iterator[None]:
    """No progress within this block."""
    before = silent()
    _state["silent"] = before or wanted
    try:
        yield
    finally:
        _state["silent"] = before


class RowsBar:
    """What a loop over batches tells: :meth:`advance` by so many rows. Quick work prints nothing."""

    def __init__(self, bar: "Progress", description: str, total: int, enabled: bool, delay: float) -> None:
        self.bar, self.enabled, self.delay = bar, enabled and not silent(), delay
        self.description, self.total, self.lines = description, total, not bar.console.is_terminal
        self.next = time.perf_counter() + max(delay, EVERY)
        self.task = bar.add_task(description, total=total, rate="")
        self.started = time.perf_counter()
        self.done, self.shown = 0, False

    def advance(self, rows: int) -> None:
        self.done += rows
        now = time.perf_counter()
        elapsed = now - self.started
        if self.lines:
            if self.enabled and now >= self.next and self.done < self.total:
                self.next = now + EVERY
                left = timedelta(seconds=round(elapsed * (self.total - self.done) / max(self.done, 1)))
                self.bar.console.print(
                    f"{self.description}: {self.done:,} of {self.total:,} rows, {self.done / elapsed:,.0f} rows/s, "
                    f"{left} left",
                    soft_wrap=True,
                    highlight=False,
                    markup=False,
                )
            return
        if self.enabled and not self.shown and elapsed >= self.delay:
            self.bar.start()
            self.shown = True
        if self.shown:
            self.bar.update(self.task, completed=self.done, rate=f"{self.done / max(elapsed, 1e-9):,.0f} rows/s")


@contextmanager
def rows_progress(
    description: str,
    total: int,
    enabled: bool = True,
    *,
    delay: float = PROGRESS_AFTER,
    console: "Console | None" = None,
) -> Iterator[RowsBar]:
    """A bar with rows/s and the time left, on standard error, for work of more than ``delay`` seconds; lines in a log.

    With ``enabled=False`` it never shows. Use: ``with rows_progress("coding", n) as bar: ... bar.advance(len(batch))``.
    """
    from rich.console import Console  # who loads a model for one text does without
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    bar = Progress(*columns, TimeRemainingColumn(), console=console or Console(stderr=True))
    rows_bar = RowsBar(bar, description, total, enabled, delay)
    try:
        yield rows_bar
    finally:
        if rows_bar.shown:
            bar.stop()


class RowsLine:
    """Rows and rows/s on standard error: one line that moves on a terminal, else a line every ten seconds.

    Work of less than two seconds says nothing.

    Args:
        what: what is done with the rows. fraction: tells how much of the input has been read, None: unknown.
        before: so much had been done before; the time that is left is reckoned without it.
    """

    def __init__(
        self, what: str, fraction: Callable[[], float | None] = lambda: None, before: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._what, self._fraction, self._before = what, fraction, before
        self._started = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + PROGRESS_AFTER
        self._shown = False

    def __call__(self, rows: int, rate: float) -> None:
        """``rows`` so far, ``rate`` a second."""
        now = time.monotonic()
        if now < self._next or silent():
            return
        self._next = now + (0.5 if self._terminal else EVERY)
        read = self._fraction() if rows else None
        share = "" if read is None else f", {read:.0%} of the input read"
        if read is not None and (done := read - self._before()) > 0:
            share += f", {timedelta(seconds=round((now - self._started) * (1 - read) / done))} left"
        line = f"{self._what}: {rows:,} rows, {rate:,.0f} rows/s{share}"
        self._shown = self._terminal
        print(
            f"\r\x1b[K{line}" if self._terminal else line,
            end="" if self._terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def clear(self) -> None:
        """Take the line off the terminal."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
