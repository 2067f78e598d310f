"""The one way to read a table: CSV, TSV, JSON, Parquet, Excel, datasets and pairs of plain files, a chunk at a time.

Nothing is retyped, no row changes place, and a line that is no row goes to the rejects with its number and the reason.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hjc.arrays import IntArray
from hjc.tables.arrow_reader import DatasetReader, ParquetReader
from hjc.tables.base import CellsReader, Reader, Record
from hjc.tables.chunks import Chunk
from hjc.tables.columns import find_column
from hjc.tables.csv_reader import CsvReader, CsvRecords
from hjc.tables.desk_reader import DeskReader
from hjc.tables.excel import ExcelReader, sheets
from hjc.tables.json_reader import JsonReader
from hjc.tables.options import ReadOptions, format_of
from hjc.tables.rejects import Rejects
from hjc.tables.source import Input, Source

if TYPE_CHECKING:  # taxonomies are read without pandas
    import pandas as pd


def open_table(
    path: Input,
    options: ReadOptions | None = None,
    *,
    rejects: Rejects | None = None,
    rows: int = 8192,
    all_columns: bool = True,
    **changes: Any,
) -> Reader:
    """Open a table for reading chunk by chunk.

    Args:
        path: a file, also with .gz .bz2 .xz or in a .zip; "-" (standard input); an open binary stream, which stays
            open; a directory of `save_to_disk`.
        options: how to read it; found out by default. ``changes`` are single options: ``separator=";"``.
        rejects: receives lines that are no rows.
        rows: of a chunk.
        all_columns: of JSON all keys are known before the first row; else those of the first chunk, which is enough
            where the lines are only extended.

    Raises:
        FileNotFoundError, ValueError: no such file, or not in that format or encoding; the message says what to do.
        ImportError: the extra that reads the format is not installed.
    """
    options = replace(options or ReadOptions(), **changes)
    rejects = rejects if rejects is not None else Rejects()
    source = Source(path)
    try:
        return _reader(source, options, rejects, rows, all_columns)
    except BaseException:
        source.close()
        raise


def _kind(source: Source, options: ReadOptions) -> str:
    if options.codes_path:
        return "plain"
    local = source.stream is None and source.path != "-"
    if local and not Path(source.path).is_dir():
        source.check()
    return format_of(source.path if local else "-", options.format)


def _reader(source: Source, options: ReadOptions, rejects: Rejects, rows: int, all_columns: bool) -> Reader:
    kind = _kind(source, options)
    if kind == "plain":
        return PlainReader(source, options, rejects, rows)
    if kind == "datasets":
        if not Path(source.path).is_dir():
            raise ValueError(f"{source.label}: format datasets is a directory, not a file or stream")
        return DatasetReader(source, rejects, rows)
    if kind == "parquet":
        return ParquetReader(source, rejects, rows)
    if kind in ("xlsx", "xls"):
        return ExcelReader(source, options, rejects, rows, kind)
    if kind == "desk":
        return DeskReader(source, options, rejects, rows)
    if kind == "jsonl":
        return JsonReader(source, options, rejects, rows, all_columns=all_columns)
    return CsvReader(source, options, rejects, rows, prefer_tab=kind == "tsv")


class PlainReader(CellsReader):
    """A pair of files: line i of one has a text, line i of the other its code."""

    def __init__(self, source: Source, options: ReadOptions, rejects: Rejects, rows: int) -> None:
        super().__init__(source, rejects, rows)
        if not options.codes_path:
            raise ValueError(
                f"{self.label}: format plain is a pair of files; set codes_path to the one with a code a line"
            )
        self._codes = Source(options.codes_path)
        # only at line feeds: other ends of lines (U+2028, a form feed) may stand within a text
        pair = [s.lines(s.text(options.encoding, newline="\n")) for s in (source, self._codes)]
        self.columns = ["text", "code"]
        self._records = self._paired(*pair)

    def __exit__(self, *error: object) -> None:
        self._codes.close()
        super().__exit__(*error)

    def _paired(self, texts: Iterator[str], codes: Iterator[str]) -> Iterator[Record]:
        for number, pair in enumerate(zip_longest(texts, codes), 1):
            if None in pair:
                have = [
                    number - (line is None) + sum(1 for _ in rest)
                    for line, rest in zip(pair, (texts, codes), strict=True)
                ]
                raise ValueError(
                    f"{self.path} has {have[0]:,} lines and {self._codes.path} has {have[1]:,}; line i of one belongs "
                    "to line i of the other, so they must be equally long"
                )
            yield number, [line.removesuffix("\n").removesuffix("\r") for line in pair], []


def open_cells(
    path: Input, options: ReadOptions | None = None, *, rejects: Rejects | None = None, **changes: Any
) -> Iterator[tuple[str, Iterator[tuple[int, list[str]]]]]:
    """(sheet name, numbered rows of text) of a file as it stands, where the header is not on top or is special.

    One nameless sheet for all but workbooks, whose sheets come in order (one, if ``options.sheet`` names it). Of CSV
    quotation marks that do not close go to the rejects as for :func:`open_table`; blank rows are left out.

    Raises:
        FileNotFoundError, ValueError, ImportError: as open_table.
    """
    options = replace(options or ReadOptions(), **changes)
    rejects = rejects if rejects is not None else Rejects()
    source = Source(path)
    try:
        kind = _kind(source, options)
        if kind in ("xlsx", "xls"):
            found = []
            for title, cells in sheets(source.binary(again=True), source.label, kind):
                found.append(title)
                if options.sheet in ("", title):
                    yield title, ((number, row) for number, row in cells if row)
            if options.sheet and options.sheet not in found:
                raise ValueError(f"{source.label}: no sheet {options.sheet!r}; the workbook has {', '.join(found)}")
        elif kind in ("csv", "tsv"):
            lines = source.lines(source.text(options.encoding, newline=""))
            records = CsvRecords(lines, options, rejects, 1000, prefer_tab=kind == "tsv", header=False)
            yield "", ((number, row) for number, row, _ in records if row)
        else:
            with _reader(source, options, rejects, 8192, True) as reader:
                yield "", _with_header(reader)
    finally:
        source.close()


def _with_header(reader: Reader) -> Iterator[tuple[int, list[str]]]:
    yield 1, reader.columns
    for chunk in reader.chunks():
        for number, row in zip(chunk.line, chunk.cells(reader.columns), strict=True):
            yield number + 1, row


@dataclass
class Table:
    """What a file holds. n rows.

    Attributes:
        chunks: the rows as they were read.
        columns: their names.
        rejects: the lines that are no rows, in ``rejects.lines`` as (line, reason, value).
        name: the file's name, for messages.
    """

    chunks: list[Chunk]
    columns: list[str]
    rejects: Rejects
    name: str

    def __len__(self) -> int:
        return sum(map(len, self.chunks))

    @cached_property
    def line(self) -> IntArray:
        """(n,) where each row starts in the file, as a person counts: the header is line 1. Without lines (Parquet,
        JSON arrays, datasets): 1 for the first row."""
        return np.array([number for chunk in self.chunks for number in chunk.line], dtype=np.int64)

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """n rows of text; "" where a cell is empty or absent. Of columns with one name the last is there."""
        import pandas as pd

        series = {name: pd.Series(self.cells(i), dtype="object") for i, name in enumerate(self.columns)}
        return pd.DataFrame(series, index=range(len(self)))

    def whole(self) -> "pd.DataFrame":
        """The frame. Raises ValueError where a line was no row."""
        self.rejects.refuse(self.name)
        return self.frame

    def column(self, name: str) -> "pd.Series":
        """A column. Raises ValueError with the columns that are there and the nearest name."""
        import pandas as pd

        return pd.Series(self.cells(find_column(self.columns, name, self.name)), dtype="object")

    def check_columns(self, names: Iterable[str]) -> None:
        """Raise ValueError where a column is not there, or twice."""
        for name in names:
            find_column(self.columns, name, self.name)

    def cells(self, position: int) -> list[str]:
        """n cells of a column."""
        return [cell or "" for chunk in self.chunks for cell in chunk.texts(position, self.columns[position])]


def read_rows(path: Input, options: ReadOptions | None = None, **changes: Any) -> Table:
    """Read a table whole (see :func:`open_table` for what it takes and raises)."""
    rejects = Rejects(keep=True)
    with open_table(path, options, rejects=rejects, **changes) as reader:
        return Table(list(reader.chunks()), reader.columns, rejects, reader.label)


def read_table(path: Input, options: ReadOptions | None = None, **changes: Any) -> "pd.DataFrame":
    """All rows of a file as text.

    Raises:
        ValueError: as open_table, and where a line is no row; read_rows returns such lines in ``rejects``.
    """
    return read_rows(path, options, **changes).whole()
