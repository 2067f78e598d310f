"""From an open input to an open output: the loop of ``hjc predict``."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hjc.apply.coding import Plan, code_texts
from hjc.data.recipe import OK
from hjc.tables.readers import Reader, find_column
from hjc.tables.writers import Writer

if TYPE_CHECKING:
    from hjc.classifiers.base import Classifier


@dataclass
class Summary:
    """What a run did so far."""

    #: rows written
    rows: int = 0
    #: rows of the chunk at hand that the classifier has done
    pending: int = 0
    #: status -> rows, for the rows that could not be coded
    uncoded: dict[str, int] = field(default_factory=dict)
    #: lines of the input that are no rows
    unreadable_lines: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Rows per second."""
        return (self.rows + self.pending) / max(self.seconds, 1e-9)

    def message(self) -> str:
        bad = "".join(f"; {count:,} not coded ({reason})" for reason, count in self.uncoded.items())
        return f"{self.rows:,} rows in {self.seconds:.1f} s, {self.rate:,.0f} rows/s{bad}"


def code_table(
    classifier: "Classifier",
    reader: Reader,
    writer: Writer,
    plan: Plan,
    *,
    language_column: str | None = None,
    progress: Callable[[Summary], None] | None = None,
    summary: Summary | None = None,
) -> Summary:
    """Code every row of ``reader`` and write it to ``writer``, never holding more than one chunk.

    Args:
        language_column: languages of the rows, for decisions by language; compared in lower case, as in training.
        progress: called after every batch of the classifier and every chunk.
        summary: counted up in place, so that an interrupted caller can still say how far it came.

    Raises:
        ValueError: a column does not exist.
    """
    summary = summary if summary is not None else Summary()
    spoken = None if language_column is None else find_column(reader.columns, language_column, reader.label)
    positions = [find_column(reader.columns, name, reader.label) for name in plan.recipe.columns]

    def advance(rows: int) -> None:
        summary.pending += rows
        if progress is not None:
            progress(summary)

    for chunk in reader.chunks():
        parts = [chunk.texts(i, name) for i, name in zip(positions, plan.recipe.columns, strict=True)]
        languages = None
        if spoken is not None and language_column is not None:
            languages = [(cell or "").strip().lower() for cell in chunk.texts(spoken, language_column)]
        coded = code_texts(classifier, parts, plan, advance, languages)
        writer.write(chunk, coded)
        summary.rows += len(chunk)
        summary.pending = 0
        for status in coded[f"{plan.prefix}status"]:
            if status != OK:
                summary.uncoded[status] = summary.uncoded.get(status, 0) + 1
        if progress is not None:
            progress(summary)
    writer.finish()
    return summary
