"""CSV and TSV; cells are never retyped, and no row is swallowed by a stray quotation mark without a word."""

import csv
import io
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from hjc.tables.base import CellsReader, Record, names_of
from hjc.tables.options import ReadOptions
from hjc.tables.rejects import Rejects
from hjc.tables.source import Source

SEPARATORS = (",", ";", "\t", "|")
#: characters of one quoted cell beyond which its opening quotation mark counts as a stray one
CELL_LIMIT = 16 << 20
_SNIFF_CHARACTERS = 65_536
_SNIFF_LINES = 1000
#: Excel's first line that says the separator
_SAYS_SEPARATOR = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)
_ESCAPE = re.compile(r'\\(["\\]?)')
_DIGITS = re.compile(r"[0-9]+")


def csv_rows(lines: Iterable[str], separator: str, quote: str, backslash: bool, *, strict: bool = True) -> Any:
    """A ``csv.reader``. ``backslash``: also a backslash before a quotation mark makes it a part of the text."""
    if not quote:
        return csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)
    if not backslash:
        return csv.reader(lines, delimiter=separator, quotechar=quote, strict=strict)
    # other backslashes are text (a path of Windows): doubled here, so that the module gives them back
    doubled = (_ESCAPE.sub(lambda m: m[0] if m[1] else "\\\\", line) if "\\" in line else line for line in lines)
    return csv.reader(doubled, delimiter=separator, quotechar=quote, escapechar="\\", strict=strict)


def sniff_separator(sample: str, *, prefer_tab: bool = False, header: bool = True) -> str:
    """The separator of , ; tab | that cuts the most rows into as many cells as the header, at least two.

    ``header`` False: titles and notes stand above the header; the most usual number of cells counts.
    """
    best, best_score = ",", (0.0, 0)
    for separator in SEPARATORS:
        for backslash in (False, True) if '\\"' in sample else (False,):
            lines = io.StringIO(sample, newline="")
            try:
                rows = [row for row in csv_rows(lines, separator, '"', backslash, strict=False) if row]
            except csv.Error:
                continue
            rows = rows[:-1] if len(rows) > 2 else rows  # the sample may end within a row
            widths = Counter(map(len, rows))
            width = (
                len(rows[0])
                if rows and header
                else max((w for w in widths if w > 1), key=lambda w: widths[w], default=0)
            )
            if width < 2:
                continue
            if separator == "\t" and prefer_tab:
                return separator
            score = (round(widths[width] / len(rows), 1), width)
            if score > best_score:
                best, best_score = separator, score
    return best


class CsvRecords:
    """The rows of a CSV text as lists of cells, of any width, with their line numbers; nothing is a header yet.

    A quotation mark that is never closed, or closes in the middle of a cell, costs the line on which it opens: what it
    has swallowed is read again as rows. Where a row is none and has backslashes before quotation marks, these are
    tried as escapes (Spark and MySQL write them), and as text where they were taken for escapes.
    """

    def __init__(
        self, lines: Iterator[str], options: ReadOptions, rejects: Rejects, at_once: int, **sniff: bool
    ) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), CELL_LIMIT))
        self._lines, self._rejects = lines, rejects
        self._quote, self._backslash = options.quote, False
        #: cells that a row should have, once the header is known
        self.width: int | None = None
        self._waiting: deque[str] = deque()
        self._taken: list[str] = []  # the lines of the row at hand
        self._number = 0  # lines done
        head, size = list[str](), 0
        for line in islice(lines, at_once):
            head.append(line)
            size += len(line)
            if size > _SNIFF_CHARACTERS:
                break
        self.separator = "\t" if options.separator == "tab" else options.separator
        if head and (said := _SAYS_SEPARATOR.fullmatch(head[0])):
            self._number, head = 1, head[1:]
            self.separator = said[1] if self.separator == "auto" else self.separator
        if self.separator == "auto":
            self.separator = sniff_separator("".join(head), **sniff)
        if self._quote and any(f"\\{self._quote}" in line for line in head):
            self._backslash = self._reach(head, True) > self._reach(head, False)
        self._waiting.extend(head)

    def __iter__(self) -> Iterator[Record]:
        """Rows that can be told; the lines of others go to the rejects. The list of lines holds until the next row."""
        taken, reader = self._taken, self._reader(self._backslash)
        while True:
            taken.clear()
            cells, reason = None, ""
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                ended = "unexpected end" in str(error)
                reason = "a quotation mark opens here and is never closed" if ended else str(error)
            if cells is None or len(taken) > 1 or len(cells) != self.width:
                if not self._fits(cells) and (other := self._in_other_dialect()) is not None:
                    cells, reason, reader = other, "", self._reader(self._backslash)
                if cells is None:  # only the first line is lost
                    self._waiting.extendleft(reversed(taken[1:]))
                    del taken[1:]
                    reader = self._reader(self._backslash)
                elif len(taken) > 1:
                    reason = self._doubt(cells)
                if reason or cells is None:
                    for line in taken:
                        self._number += 1
                        self._rejects.add(self._number, reason, line)
                    continue
            start = self._number + 1
            self._number += len(taken)
            yield start, cells, taken

    def _reach(self, lines: list[str], backslash: bool) -> int:
        """How many rows can be told, all as wide as the first."""
        found, width = 0, 0
        try:
            for row in csv_rows(lines, self.separator, self._quote, backslash):
                width = width or len(row)
                if row and len(row) != width:
                    break
                found += 1
        except csv.Error:
            pass
        return found

    def _reader(self, backslash: bool) -> Any:
        return csv_rows(self._feed(), self.separator, self._quote, backslash)

    def _feed(self) -> Iterator[str]:
        waiting, taken = self._waiting, self._taken
        while True:
            while waiting:
                line = waiting.popleft()
                taken.append(line)
                yield line
            if (fresh := next(self._lines, None)) is None:
                return
            waiting.append(fresh)

    def _in_other_dialect(self) -> list[str] | None:
        """The row that begins with the taken lines, with backslashes before quotation marks read the other way, if
        that makes it one; else the lines stay taken."""
        before = list(self._taken)
        if not self._quote or not any(f"\\{self._quote}" in line for line in before):
            return None
        self._waiting.extendleft(reversed(before))
        self._taken.clear()
        try:
            cells = next(self._reader(not self._backslash), None)
        except csv.Error:
            cells = None
        if self._fits(cells):
            self._backslash = not self._backslash
            return cells
        self._waiting.extendleft(reversed(self._taken[len(before) :]))
        for _ in before[len(self._taken) :]:
            self._waiting.popleft()
        self._taken[:] = before
        return None

    def _fits(self, cells: list[str] | None) -> bool:
        if cells is None or self.width is None:
            return cells is not None
        return len(cells) == self.width or (len(self._taken) == 1 and len(cells) < self.width)

    def _doubt(self, cells: list[str]) -> str:
        """Why a row of several lines is none; "" where it is one."""
        lines, start = self._taken, self._number + 1
        over = f"lines {start} to {start + len(lines) - 1}"
        if self.width is not None and len(cells) > self.width and (len(cells) > self.width + 1 or cells[-1]):
            return f"{len(cells)} cells instead of {self.width}, over {over}: is a quotation mark not closed?"
        # Two stray marks (inches) make one row of several that are as good: each has all
        # cells, and the first ones are alike, 17 and 18, say.
        first = [self._first_cell(line) for line in lines]
        whole = all(line.count(self.separator) + 1 >= (self.width or 1) for line in lines)
        if whole and "9" in first[0][1] and len({shape for _, shape in first}) == 1:
            longest, shortest = max(n for n, _ in first), min(n for n, _ in first)
            return (
                f"{over} look like rows of their own: is a quotation mark not closed?" if longest < shortest + 2 else ""
            )
        return ""

    def _first_cell(self, line: str) -> tuple[int, str]:
        """Length and shape (17 is 9) of what would be the first cell of a line if quotation marks meant nothing."""
        cell, separator, _ = line.partition(self.separator)
        if self._quote and cell.count(self._quote) % 2:
            cell = cell.replace(self._quote, "")
        return len(cell), _DIGITS.sub("9", cell) if separator else ""


class CsvReader(CellsReader):
    """CSV and TSV with a header."""

    def __init__(self, source: Source, options: ReadOptions, rejects: Rejects, rows: int, *, prefer_tab: bool) -> None:
        super().__init__(source, rejects, rows)
        lines = source.lines(source.text(options.encoding, newline=""))
        # a pipe may have no more than the first rows yet
        at_once = _SNIFF_LINES if source.size is not None else min(rows, _SNIFF_LINES) + 1
        records = CsvRecords(lines, options, rejects, at_once, prefer_tab=prefer_tab)
        header = next((cells for _, cells, _ in records if cells), None)
        if rejects.count:
            raise ValueError(f"{self.label}: the line with the column names cannot be read: {rejects.first[0][1]}")
        if header is None:
            raise ValueError(f"{self.label}: the file is empty; a first line with column names is needed")
        self.delimiter = records.separator
        self.columns = names_of(header)
        records.width = len(header)
        self._records = records
