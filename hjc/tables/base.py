"""What every reader of a table shares: the columns, the rows chunk by chunk, and what is wrong with a row."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import pyarrow as pa

from hjc.tables.chunks import Chunk, TextChunk
from hjc.tables.rejects import Rejects
from hjc.tables.source import Source

#: a chunk is closed early when its rows hold so many characters, so that long texts do not fill the memory
CHUNK_CHARACTERS = 32 << 20
Held = TypeVar("Held", bound=Chunk)
#: white space and characters without a width that programs leave around names and codes
INVISIBLE = " \t\r\n\f\v\u00a0\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"


def chunked(items: Iterable[tuple[int, Any, int]], rows: int, kind: type[Held]) -> Iterator[Held]:
    """Chunks of so many rows, from the line, the row and the characters of each."""
    held, lines, size = list[Any](), list[int](), 0
    for line, row, characters in items:
        held.append(row)
        lines.append(line)
        size += characters
        if len(held) >= rows or size >= CHUNK_CHARACTERS:
            yield kind(held, lines)
            held, lines, size = [], [], 0
    if held:
        yield kind(held, lines)


class Reader(ABC):
    """An open input: its columns, and its rows chunk by chunk. Use it as a context manager.

    Args:
        rejects: receives lines that are no rows.
        rows: rows of a chunk.
    """

    #: of a CSV input, so that a CSV output can use the same
    delimiter = ","

    def __init__(self, source: Source, rejects: Rejects, rows: int) -> None:
        self.source = source
        self.path, self.label = source.path, source.label
        self.rejects = rejects
        self.rows = rows
        self.columns: list[str] = []

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *error: object) -> None:
        self.source.close()

    def chunks(self) -> Iterator[Chunk]:
        """All rows, in order.

        Raises:
            ValueError: the file is damaged, or has rows and not one of them can be read.
        """
        rows = 0
        for chunk in self._chunks():
            rows += len(chunk)
            yield chunk
        if not rows and self.rejects.count:
            line, reason = self.rejects.first[0]
            raise ValueError(f"{self.label}: no row can be read (line {line}: {reason})")

    @abstractmethod
    def _chunks(self) -> Iterator[Chunk]: ...

    def total(self) -> int | None:
        """How many rows there are, where the file says it; else None."""
        return None

    def begin_at(self, row: int) -> int:
        """To be called before :meth:`chunks` by who needs no rows before ``row``: where the first chunk begins now, at
        the latest there."""
        return 0

    def schema(self) -> pa.Schema:
        """The Arrow schema for a Parquet output."""
        return pa.schema([(name, pa.string()) for name in self.columns])

    def fraction(self) -> float | None:
        """How much of the file has been read, 0 to 1; None when unknown."""
        return self.source.fraction()


def names_of(header: Sequence[str]) -> list[str]:
    """The names of a header, without blanks around them; a column without one (an index of pandas) is unnamed_1."""
    return [name.strip(INVISIBLE) or f"unnamed_{i}" for i, name in enumerate(header, 1)]


#: line number, cells, and the lines as they stand
Record = tuple[int, list[str], list[str]]


class CellsReader(Reader):
    """Rows that come as lists of cells: of CSV, of a sheet, of a pair of plain files."""

    _records: Iterable[Record]
    #: whether cells that were left out at the end of a row are worth a word
    _count_widths = True

    def _chunks(self) -> Iterator[Chunk]:
        return chunked(self._rows(), self.rows, TextChunk)

    def _rows(self) -> Iterator[tuple[int, list[str], int]]:
        width, blank = len(self.columns), list[int]()
        for start, cells, taken in self._records:
            if len(cells) != width:
                if not cells:
                    # In a file of one column a blank line is an empty text, unless nothing follows it.
                    blank += [start] * (width == 1)
                    continue
                if len(cells) > width + bool(not cells[-1]):
                    self.rejects.add(start, f"{len(cells)} cells instead of {width}", taken[0])
                    continue
                self.rejects.padded += self._count_widths and len(cells) < width
                self.rejects.surplus += self._count_widths and len(cells) > width
                cells = (cells + [""] * (width - len(cells)))[:width]
            yield from ((line, [""], 0) for line in blank)
            blank.clear()
            yield start, cells, sum(map(len, cells))
