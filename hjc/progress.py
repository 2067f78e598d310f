"""A progress bar with rows/s that only slow work shows."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: work that takes longer than this shows a bar (seconds)
PROGRESS_AFTER = 2.0


class RowsBar:
    """What a loop over batches tells: :meth:`advance` by so many rows. Quick work prints nothing."""

    def __init__(self, bar: Progress, description: str, total: int, enabled: bool, delay: float) -> None:
        self.bar, self.enabled, self.delay = bar, enabled, delay
        self.task = bar.add_task(description, total=total, rate="")
        self.started = time.perf_counter()
        self.done, self.shown = 0, False

    def advance(self, rows: int) -> None:
        self.done += rows
        elapsed = time.perf_counter() - self.started
        if self.enabled and not self.shown and elapsed >= self.delay:
            self.bar.start()
            self.shown = True
        if self.shown:
            self.bar.update(self.task, completed=self.done, rate=f"{self.done / max(elapsed, 1e-9):,.0f} rows/s")

    def tell(self, line: str) -> None:
        """A line above the bar; nothing where the bar does not show."""
        if self.shown:
            self.bar.console.print(line, markup=False, highlight=False)


@contextmanager
def rows_progress(
    description: str,
    total: int,
    enabled: bool = True,
    *,
    delay: float = PROGRESS_AFTER,
    console: Console | None = None,
) -> Iterator[RowsBar]:
    """A bar with rows/s and the time left, on standard error, for work that takes more than ``delay`` seconds.

    With ``enabled=False`` it never shows. Use: ``with rows_progress("coding", n) as bar: ... bar.advance(len(batch))``.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    bar = Progress(*columns, TimeRemainingColumn(), console=console or Console(stderr=True))
    rows_bar = RowsBar(bar, description, total, enabled, delay)
    try:
        yield rows_bar
    finally:
        if rows_bar.shown:
            bar.stop()
