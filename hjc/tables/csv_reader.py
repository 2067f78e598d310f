"""CSV and TSV a few thousand rows at a time; cells are never retyped."""

import csv
from collections.abc import Iterator

import pyarrow as pa

from hjc.tables.base import CHUNK_CHARACTERS, Lines, Reader
from hjc.tables.chunks import Chunk, TextChunk
from hjc.tables.rejects import Rejects
from hjc.tables.whole import sniff_separator

#: characters of one quoted cell beyond which its opening quotation mark counts as a stray one
CELL_LIMIT = 16 << 20
_SNIFF_CHARACTERS = 65_536


class CsvReader(Reader):
    """CSV and TSV with RFC 4180 quoting; cells are never retyped."""

    def __init__(
        self, path: str, rejects: Rejects, rows: int, *, encoding: str | None = None, separator: str | None = None
    ) -> None:
        super().__init__(path, rejects, rows)
        separator = {"tab": "\t", "auto": None}.get(separator or "auto", separator)
        if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
            raise ValueError(f"--separator: got {separator!r}, allowed are auto, tab or one character but no quote")
        csv.field_size_limit(max(csv.field_size_limit(), CELL_LIMIT))
        self._lines = Lines(self._open_text(encoding, newline=""), self.label)
        self._delimiter = separator or self._sniff()
        self._records = self._iter_records()
        header = next(self._records, None)
        while header is not None and not header[1]:
            header = next(self._records, None)
        if rejects.count:
            raise ValueError(f"{self.label}: the line with the column names cannot be read: {rejects.first[0][1]}")
        if header is None:
            raise ValueError(f"{self.label}: empty, not even a line with column names")
        self.columns = header[1]

    def _sniff(self) -> str:
        head: list[str] = []
        size = 0
        for line in self._lines:
            head.append(line)
            size += len(line)
            if size > _SNIFF_CHARACTERS or self.path == "-":  # a pipe may wait for an answer after each line
                break
        self._lines.give_back(head)
        return sniff_separator("".join(head))

    @property
    def delimiter(self) -> str:
        return self._delimiter

    def schema(self) -> pa.Schema:
        return pa.schema([(name, pa.string()) for name in self.columns])

    def _iter_records(self) -> Iterator[tuple[int, list[str]]]:
        """``(line number of its first line, cells)``; a blank line has no cells."""
        lines = self._lines
        reader = csv.reader(lines, delimiter=self._delimiter)
        while True:
            lines.taken.clear()
            start = lines.number + 1
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._reject_first(start, str(error))
                continue
            if lines.exhausted:  # the parser asked for more after the last line: it was inside quotation marks
                self._reject_first(start, "a quotation mark opens here and is never closed")
                continue
            yield start, record

    def _reject_first(self, start: int, reason: str) -> None:
        """Reject one line only: what a stray quotation mark has swallowed is read again as rows."""
        self.rejects.add(start, reason, self._lines.taken[0])
        self._lines.give_back(self._lines.taken[1:])

    def chunks(self) -> Iterator[Chunk]:
        width, rows, characters, blank = len(self.columns), list[list[str]](), 0, 0
        for start, cells in self._records:
            if not cells:
                # In a file of one column a blank line is an empty text, unless nothing follows it.
                blank += width == 1
                continue
            rows.extend([""] for _ in range(blank))
            blank = 0
            if len(cells) != width:
                self.rejects.add(start, f"{len(cells)} cells instead of {width}", "".join(self._lines.taken))
                continue
            rows.append(cells)
            characters += sum(map(len, cells))
            if len(rows) >= self.rows or characters >= CHUNK_CHARACTERS:
                yield TextChunk(rows)
                rows, characters = [], 0
        if rows:
            yield TextChunk(rows)
