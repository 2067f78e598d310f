"""The one loop over a table: read a chunk, make its texts by the recipe, code them, give the rows back in order."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.classifiers.base import Classifier
from hjc.data.recipe import OK, TextRecipe, marked, marked_note
from hjc.errors import name_some
from hjc.evaluation.kind import TextKind
from hjc.tables import Reader, Writer, find_column
from hjc.tables.chunks import Chunk


@dataclass
class Summary:
    """What was done so far."""

    #: rows gone through
    rows: int = 0
    #: rows of the chunk at hand that the classifier has done
    pending: int = 0
    #: status -> rows, for the rows that could not be used
    uncoded: Counter[str] = field(default_factory=Counter)
    #: rows with mark-up, which was taken out
    marked: int = 0
    #: what was done to codes, and what seems to be wrong with the others
    codes: str = ""
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
        done = f"{self.rows:,} row{'s' * (self.rows != 1)} in {self.seconds:.1f} s, {self.rate:,.0f} rows/s"
        return done + self._unused("not coded")

    def left_out(self) -> str:
        """The same where rows are summed up, not coded."""
        said = [f"{self.rows:,} rows{self._unused('left out')}", marked_note(self.marked), self.codes]
        return ". ".join(filter(None, said))

    def _unused(self, what: str) -> str:
        return "".join(f"; {count:,} {what} ({reason})" for reason, count in self.uncoded.items())


Progress = Callable[[Summary], None]


@dataclass(frozen=True)
class Columns:
    """Which columns mean what.

    Args:
        recipe: how texts are made, of which columns; None where no text is needed.
        by: domains. weights: survey weights. code: of tables that are coded. language: of the texts.
        more: others whose cells are needed.
        kind: chooses among the columns of the text where they make texts of another kind than the model knows.
    """

    recipe: TextRecipe | None = None
    by: Sequence[str] = ()
    weights: str | None = None
    code: str | None = None
    language: str | None = None
    more: Sequence[str] = ()
    kind: TextKind | None = None

    def find(self, reader: Reader) -> dict[str, int]:
        """Column -> its position in a table. Errors: :meth:`among`."""
        return self.among(reader.columns, reader.label)

    def among(self, columns: Sequence[str], label: str) -> dict[str, int]:
        """Column -> its position among all columns of a table.

        Raises:
            ValueError: one is not there, or the recipe names none.
        """
        if self.recipe is not None and not self.recipe.columns:
            raise ValueError(f"{label}: which columns make the text? The recipe names none")
        texts = () if self.recipe is None else self.recipe.columns
        beside = () if self.recipe is None else [s.column for s in self.recipe.side if s.column in columns]
        names = [*texts, *beside, *self.by, *filter(None, (self.weights, self.code, self.language)), *self.more]
        return {name: find_column(columns, name, label) for name in names}


@dataclass
class Part:
    """Some rows of a table (n), with the cells that are needed of them.

    Attributes:
        chunk: the rows as they were read; who writes others in their place puts them here.
        cells: column -> n cells.
        texts: n texts. marked: how many had mark-up.
        status: n; what keeps a row from being used is counted from here when the part is done.
        start: position of the first row in the table. label: the table, for messages.
        advance: told the rows of every batch that the model has done.
    """

    chunk: Chunk
    columns: Columns
    cells: Mapping[str, list[str | None]]
    start: int = 0
    label: str = "the table"
    advance: Callable[[int], None] = lambda rows: None

    def __post_init__(self) -> None:
        self.texts, self.status, self.marked = [""] * len(self.chunk), [OK] * len(self.chunk), 0
        if (recipe := self.columns.recipe) is not None:
            cells: Sequence[Sequence[str | None]] = [self.cells[name] for name in recipe.columns]
            if self.columns.kind is not None:
                cells = self.columns.kind.choose(recipe, cells)
            self.texts, self.status = recipe.read(cells, self.cells)
            self.marked = marked(cells)

    def __len__(self) -> int:
        return len(self.status)

    @cached_property
    def good(self) -> IntArray:
        """Positions of the rows with a text that can be coded."""
        return np.array([i for i, status in enumerate(self.status) if status == OK], dtype=np.int64)

    @cached_property
    def weight(self) -> Float64:
        """(n,) survey weights; 1 without such a column. Raises ValueError where one is no number from 0."""
        name = self.columns.weights
        return np.ones(len(self)) if name is None else weights_of(self.cells[name], self.label, name)

    @cached_property
    def domain(self) -> list[tuple[str, ...]]:
        """n values of the ``by`` columns."""
        if not self.columns.by:
            return [()] * len(self)
        return list(zip(*([(c or "").strip() for c in self.cells[name]] for name in self.columns.by), strict=True))

    @property
    def languages(self) -> list[str] | None:
        """n languages as training reads them, in lower case; None without such a column."""
        name = self.columns.language
        return None if name is None else [(cell or "").strip().lower() for cell in self.cells[name]]

    def batches(self, model: Classifier) -> Iterator[tuple[IntArray, FloatArray, list[tuple[str, str]]]]:
        """``(at, log_proba, outcomes)``: positions (b,) of usable rows, (b, L) and, of models that have them, outcomes.

        Raises:
            ValueError: a probability is NaN or infinite; names the row and the model.
        """
        if not len(self.good):
            return
        for rows, log_proba, outcomes in model.iter_outcomes([self.texts[i] for i in self.good.tolist()]):
            at = self.good[rows]
            if len(bad := np.flatnonzero(~np.isfinite(log_proba.max(axis=1)))):  # a NaN is the largest of its row
                numbers = sorted((self.start + 1 + at[bad]).tolist())
                raise ValueError(
                    f"{self.label}: the {model.name} model gives probabilities that are NaN or infinite for row "
                    f"{name_some(numbers)} (the first row is 1): its weights are damaged, or its training diverged"
                )
            yield at, log_proba, outcomes
            self.advance(len(at))


def read_parts(
    reader: Reader,
    columns: Columns,
    summary: Summary | None = None,
    progress: Progress | None = None,
    *,
    chunks: Iterable[Chunk] | None = None,
    start: int = 0,
) -> Iterator[Part]:
    """The rows of a table, chunk by chunk, never more than one in memory.

    Args:
        summary: counted up in place when a part is done, so that an interrupted caller can say how far it came.
        progress: called after every batch of a model and every chunk.
        chunks: only these rows of the reader, of which the first is number ``start`` (from 0).

    Raises:
        ValueError: a column does not exist.
    """
    summary = summary if summary is not None else Summary()

    def advance(rows: int) -> None:
        summary.pending += rows
        if progress is not None:
            progress(summary)

    positions = columns.find(reader)
    for chunk in reader.chunks() if chunks is None else chunks:
        cells = {name: chunk.texts(at, name) for name, at in positions.items()}
        part = Part(chunk, columns, cells, start, reader.label, advance)
        yield part
        start += len(part)
        summary.marked += part.marked
        summary.uncoded.update(status for status in part.status if status != OK)
        summary.rows += len(part)
        summary.pending = 0
        if progress is not None:
            progress(summary)


def write_parts(
    reader: Reader,
    writer: Writer,
    columns: Columns,
    new: Callable[[Part], Mapping[str, Sequence[Any]]],
    summary: Summary | None = None,
    progress: Progress | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Every row as it was with ``new`` columns beside it.

    ``check`` may raise after the last row, before the output gets its name. Errors, other arguments:
    :func:`read_parts`.
    """
    for part in read_parts(reader, columns, summary, progress):
        made = new(part)
        if len(part.chunk):
            writer.write(part.chunk, made)
    check()
    writer.finish()


def numbers_of(cells: Sequence[str | None]) -> Float64:
    """Cells as numbers, NaN where one is none; a decimal comma is a point."""
    out = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        with suppress(ValueError):
            out[i] = float((cell or "").strip().replace(",", "."))
    return out


def weights_of(cells: Sequence[str | None], label: str, column: str) -> Float64:
    """Cells as weights. Raises ValueError where one is no number from 0."""
    out = numbers_of(cells)
    if len(bad := np.flatnonzero(~(np.isfinite(out) & (out >= 0)))):
        raise ValueError(f"{label}: column {column!r} holds {cells[bad[0]]!r}; weights are numbers from 0")
    return out
