"""Workbooks: .xlsx is read and written by openpyxl, .xls read by xlrd; both come with the extra ``excel``.

Every cell is text. A code that a sheet holds as the number 2221 is "2221", with the zeros of a format such as 0000.
"""

import datetime
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from hjc.tables.base import CellsReader, names_of
from hjc.tables.options import ReadOptions
from hjc.tables.rejects import Rejects
from hjc.tables.source import Source

#: what a sheet can hold
MAX_ROWS, MAX_COLUMNS, MAX_CHARACTERS = 1_048_576, 16_384, 32_767
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_TO_ESCAPE = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")


class NumberText(str):
    """A cell that was a number, which may have lost leading zeros."""

    __slots__ = ()


#: (number of the row, its cells as text without empty ones at the end)
Rows = Iterator[tuple[int, list[str]]]


def sheets(stream: IO[bytes], label: str, kind: str) -> Iterator[tuple[str, Rows]]:
    """Name and rows of each sheet of a workbook.

    Raises:
        ImportError: the package that reads it is not there. ValueError: damaged, or no workbook.
    """
    with _errors(label):
        if kind == "xls":
            import xlrd

            book = xlrd.open_workbook(file_contents=stream.read(), logfile=io.StringIO())  # it prints its warnings
            tables: list[tuple[str, Any]] = [
                (sheet.name, ([_xls_value(cell, book.datemode) for cell in row] for row in sheet.get_rows()))
                for sheet in book.sheets()
            ]
        else:
            import openpyxl

            # read_only streams the rows; data_only gives results of formulas, not the formulas
            workbook = openpyxl.load_workbook(stream, read_only=True, data_only=True)
            tables = [(sheet.title, _xlsx_values(sheet)) for sheet in workbook.worksheets]
    for title, rows in tables:
        yield title, _texts(rows, label)


def _xlsx_values(sheet: Any) -> Iterator[list[Any]]:
    sheet.reset_dimensions()  # the size that some programs write is wrong
    for row in sheet.iter_rows():
        yield [_zeros(cell) if isinstance(cell.value, int | float) else cell.value for cell in row]


def _zeros(cell: Any) -> Any:
    """A number with the leading zeros that its format (0000) shows."""
    whole = not isinstance(cell.value, bool) and float(cell.value).is_integer() and cell.value >= 0
    shown = str(cell.number_format)
    return NumberText(str(int(cell.value)).zfill(len(shown))) if whole and set(shown) == {"0"} else cell.value


def _xls_value(cell: Any, datemode: int) -> Any:
    import xlrd

    if cell.ctype == xlrd.XL_CELL_DATE:
        return xlrd.xldate_as_datetime(cell.value, datemode)
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return bool(cell.value)
    return None if cell.ctype in (xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK, xlrd.XL_CELL_ERROR) else cell.value


def _texts(rows: Iterable[list[Any]], label: str) -> Rows:
    with _errors(label):
        for number, row in enumerate(rows, 1):
            cells = [_text(value) for value in row]
            while cells and not cells[-1]:
                cells.pop()
            yield number, cells


def _text(value: Any) -> str:
    """A cell as text: whole numbers without ".0", dates as ISO."""
    if value is None:
        return ""
    if isinstance(value, NumberText):
        return value
    if isinstance(value, str):
        return _ESCAPED.sub(lambda m: chr(int(m[1], 16)), value) if "_x" in value else value
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return NumberText(repr(value).removesuffix(".0"))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)


@contextmanager
def _errors(label: str) -> Iterator[None]:
    """Whatever a broken workbook makes the libraries raise, of any type, becomes one message."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f'{label} is an Excel file and needs {error.name}: pip install "hjc[excel]", or save it as CSV (UTF-8)'
        ) from None
    except MemoryError:
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ValueError(f"{label}: cannot be read as Excel ({what}); is the file complete?") from error


class ExcelReader(CellsReader):
    """One sheet of a workbook with a header."""

    _count_widths = False  # no sheet says how wide its rows are

    def __init__(self, source: Source, options: ReadOptions, rejects: Rejects, rows: int, kind: str) -> None:
        super().__init__(source, rejects, rows)
        found = sheets(source.binary(again=True), source.label, kind)
        names, cells = list[str](), None
        for title, rows_of_sheet in found:
            names.append(title)
            if options.sheet in ("", title):
                cells = rows_of_sheet
                break
        if cells is None:
            shown = ", ".join(map(repr, names[:20])) or "none"
            raise ValueError(f"{source.label}: no sheet {options.sheet!r}; the workbook has {shown}")
        self.label = f"{source.label}#{names[-1]}"
        header: list[str] | None = next((row for _, row in cells if row), None)
        if header is None:
            raise ValueError(f"{self.label}: the sheet is empty; a first row with column names is needed")
        self.columns = names_of(header)
        self._records = ((number, row, [" | ".join(row)]) for number, row in cells)

    def fraction(self) -> float | None:
        return None


class SheetWriter:
    """One sheet of a new workbook, a row at a time: texts stay texts (also "=1+1" and "0110"), numbers are numbers.

    Raises:
        ImportError: openpyxl is not there. ValueError: what a sheet cannot hold.
    """

    def __init__(self, label: str) -> None:
        try:
            import openpyxl
            from openpyxl.cell import WriteOnlyCell
        except ImportError:
            raise ImportError(f'{label}: writing Excel needs openpyxl: pip install "hjc[excel]"') from None
        self._label, self._rows = label, 0
        self._book = openpyxl.Workbook(write_only=True)
        self._sheet = self._book.create_sheet("Sheet1")
        self._cell = WriteOnlyCell

    def write(self, row: Sequence[str | float | None]) -> None:
        self._rows += 1
        if self._rows > MAX_ROWS or len(row) > MAX_COLUMNS:
            raise ValueError(
                f"{self._label}: a sheet holds {MAX_ROWS:,} rows and {MAX_COLUMNS:,} columns; write CSV or Parquet"
            )
        cells = [(self._text(v) if v else None) if isinstance(v, str) else v for v in row]
        with self._on_disk():
            self._sheet.append(cells)

    def _text(self, value: str) -> Any:
        text = _TO_ESCAPE.sub(lambda m: f"_x{ord(m[0]):04X}_", value)
        if len(text) > MAX_CHARACTERS:
            raise ValueError(
                f"{self._label}: row {self._rows} has a text of {len(text):,} characters, and a cell of Excel holds "
                f"{MAX_CHARACTERS:,}; write CSV or Parquet"
            )
        cell = self._cell(self._sheet, value=text)
        cell.data_type = "s"
        return cell

    def save(self, stream: IO[bytes]) -> None:
        from openpyxl.writer.excel import ExcelWriter

        archive = zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, allowZip64=True)
        try:
            with self._on_disk():
                ExcelWriter(self._book, archive).save()  # closes it
        finally:
            # after a full disk they would be ended when they are collected, with stack traces
            archive.fp = None
            with suppress(Exception):
                self._sheet.close()

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # lxml has errors of its own for a full disk
            raise OSError(f"{self._label}: cannot be written ({error}); is there room on the disk?") from error
