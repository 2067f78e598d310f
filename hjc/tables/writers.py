"""Chunks with their new columns written as CSV, TSV, JSONL, Parquet or Excel: to ``OUT.partial`` until all is done,
never over an input, one process at a time."""

import io
import json
import os
import re
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from hjc.files import binary, check_kept, destination, is_special, locked
from hjc.tables.base import Reader
from hjc.tables.chunks import Chunk
from hjc.tables.excel import SheetWriter
from hjc.tables.rejects import csv_writer
from hjc.tables.source import OPENERS

if TYPE_CHECKING:
    import pandas as pd

#: what a spreadsheet may take for a formula, unless it is a number
_FORMULA = re.compile(r"[=+\-@\t\r](?!\d*[.,]?\d+(?:[eE][+-]?\d+)?\s*$)")


def safe_cell(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: with an apostrophe before = + - @, a tab or a return."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def check_output(output: str, *inputs: str, overwrite: bool) -> None:
    """Refuse to write over an input (always) or over a finished output (unless ``overwrite``).

    Raises:
        ValueError: the output or its partial file is an input, or a folder.
        FileExistsError: it exists. FileNotFoundError: its folder does not. BusyError: another process writes it.
    """
    if output == "-":
        return
    if Path(output).is_dir():
        raise ValueError(f"{output} is a directory; give the name of a file with -o")
    place = Place(output)
    for path in inputs:
        if path == "-" or not Path(path).exists():
            continue
        if Path(output).exists() and os.path.samefile(output, path):
            raise ValueError(f"{output} is the input itself; give another name with -o")
        if place.partial is not None and place.partial.exists() and os.path.samefile(place.partial, path):
            raise ValueError(f"{output} would be written to the input {path} first; give another name with -o")
    if place.partial is not None:
        if Path(output).exists() and not overwrite:
            raise FileExistsError(f"{output} exists; give --overwrite to replace it, or another name")
        place.check()


class Place:
    """Standard output, a pipe or a device (written directly), or a file: a link's target is replaced, not the link."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._target = None if path == "-" or is_special(path) else destination(path)
        #: what is written until all is done; None where it is written directly
        self.partial = None if self._target is None else self._target.with_name(self._target.name + ".partial")
        self._held, self._files = ExitStack(), ExitStack()

    def check(self) -> None:
        """Raise where it could not be opened now."""
        with self._held:
            self._lock()

    def _lock(self) -> None:
        if self.partial is not None:
            if not self.partial.parent.is_dir():
                raise FileNotFoundError(f"no directory {self.partial.parent} for the output; create it first")
            busy = f"another process is writing {self.path}; wait until it is done, or give another name"
            self._held.enter_context(locked(f"{self.partial}.lock", busy))

    def open(self) -> IO[bytes]:
        """The bytes to write to, compressed by the name's ending.

        Raises:
            FileNotFoundError: no such folder. BusyError: another process writes there. ValueError: it is an input.
        """
        if self.path == "-":
            return binary(sys.stdout)
        check_kept(self.path)
        self._lock()
        raw: IO[bytes] = self._files.enter_context((self.partial or Path(self.path)).open("wb"))
        if (opener := OPENERS.get(Path(self.path).suffix.lower())) is not None:
            return self._files.enter_context(opener(raw, "wb"))
        return raw

    def close(self, *, done: bool, keep: bool = True) -> None:
        """End the file; give it its name when it is ``done``, else ``keep`` what was written in OUT.partial or not."""
        with self._held:
            self._files.close()
            if self.partial is not None and self._target is not None:
                if done:
                    os.replace(self.partial, self._target)
                elif not keep:
                    self.partial.unlink(missing_ok=True)


class Writer(ABC):
    """An open output. Leaving it without :meth:`finish` (an error, Ctrl-C) leaves what was written in ``OUT.partial``,
    and nothing where no row was.

    Args:
        path: file, or ``-`` for standard output.
        reader: the input whose columns come first.
        columns: new column -> ``text`` or ``number``.
    """

    #: whether what was written can be read where the end is missing
    read_without_end = True

    def __init__(self, path: str, reader: Reader, columns: Mapping[str, str]) -> None:
        self.place = Place(path)
        self.reader = reader
        self.new = dict(columns)
        #: written so far
        self.rows = 0
        self._raw = self.place.open()
        self._stack = ExitStack()
        reader.rejects.begin()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        self._close(done=False, keep=error[0] is None or self.rows > 0)

    def write(self, chunk: Chunk, coded: Mapping[str, Sequence[Any]]) -> None:
        """Append rows: as they were, then the new columns."""
        self._append(chunk, coded)
        self.rows += len(chunk)

    @abstractmethod
    def _append(self, chunk: Chunk, coded: Mapping[str, Sequence[Any]]) -> None: ...

    def finish(self) -> None:
        """Close the output and give the finished file its name."""
        self._close(done=True)

    def _close(self, *, done: bool, keep: bool = True) -> None:
        try:
            self._stack.close()
            self.place.close(done=done, keep=keep)
        except BaseException:  # a full disk: what is buffered is lost
            self.place.close(done=False, keep=keep and self.read_without_end)
            raise

    def _text(self) -> io.TextIOWrapper:
        # A lone surrogate cannot be written in UTF-8; its escape can.
        stream = io.TextIOWrapper(self._raw, encoding="utf-8", errors="backslashreplace", newline="")
        self._stack.callback(stream.detach)  # the place closes the bytes; standard output stays open
        self._stack.callback(stream.flush)
        return stream

    def _new_cells(self, coded: Mapping[str, Sequence[Any]], rows: int) -> list[tuple[Any, ...]]:
        """n tuples of the new columns' values."""
        return list(zip(*(coded[name] for name in self.new), strict=True)) if self.new else [()] * rows


def open_output(
    path: str, format: str, reader: Reader, columns: Mapping[str, str], *, safe_cells: bool = False
) -> Writer:
    """Open an output in one of the formats of :data:`hjc.tables.options.FORMATS`.

    ``safe_cells``: of CSV and TSV, see :func:`safe_cell`.

    Raises:
        ValueError: the format needs distinct column names and the input has one twice; another process writes there.
    """
    if format in ("jsonl", "parquet"):
        twice = sorted(c for c, count in Counter(reader.columns).items() if count > 1)
        if twice:
            raise ValueError(f"{reader.label}: column {twice[0]!r} stands twice, which {format} cannot hold; write CSV")
    if format in ("csv", "tsv"):
        separator = reader.delimiter if reader.delimiter != "\t" else ","
        return CsvWriter(path, reader, columns, "\t" if format == "tsv" else separator, safe_cells)
    kinds: dict[str, type[Writer]] = {"jsonl": JsonWriter, "parquet": ParquetWriter, "xlsx": ExcelWriter}
    return kinds[format](path, reader, columns)


def write_frame(
    frame: "pd.DataFrame", path: str, format: str, *, float_format: str | None = None, safe_cells: bool = False
) -> None:
    """A table that is in memory, in any format.

    ``float_format``: of CSV and TSV. Raises as :func:`open_output`.
    """
    place, done = Place(path), False
    raw = place.open()
    try:
        if format == "parquet":
            frame.to_parquet(raw, index=False)
        elif format == "jsonl":
            raw.write(
                frame.to_json(orient="records", lines=True, force_ascii=False).encode("utf-8", "backslashreplace")
            )
        elif format == "xlsx":
            sheet = SheetWriter(path)
            whole = frame.astype(object).where(frame.notna(), None)
            for row in [list(frame.columns), *whole.to_numpy().tolist()]:
                sheet.write([v if v is None or isinstance(v, str | int | float) else str(v) for v in row])
            sheet.save(raw)
        else:
            if safe_cells:
                frame = frame.map(lambda v: safe_cell(v) if isinstance(v, str) else v)
            text = frame.to_csv(
                index=False, lineterminator="\n", float_format=float_format, sep="\t" if format == "tsv" else ","
            )
            raw.write(text.encode("utf-8", "backslashreplace"))
        if path == "-":
            sys.stdout.flush()
        done = True
    finally:
        place.close(done=done, keep=False)


class CsvWriter(Writer):
    """CSV in UTF-8 with the separator of the input (TSV: tabs); cells are quoted where they must be."""

    def __init__(self, path: str, reader: Reader, columns: Mapping[str, str], delimiter: str, safe: bool) -> None:
        super().__init__(path, reader, columns)
        self._safe = safe
        self._csv = csv_writer(self._text(), delimiter)
        self._rows([[*reader.columns, *self.new]])

    def _append(self, chunk: Chunk, coded: Mapping[str, Sequence[Any]]) -> None:
        new = self._new_cells(coded, len(chunk))
        self._rows([*old, *map(_cell, more)] for old, more in zip(chunk.cells(self.reader.columns), new, strict=True))

    def _rows(self, rows: Iterable[list[str]]) -> None:
        self._csv.writerows(([safe_cell(cell) for cell in row] for row in rows) if self._safe else rows)


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.6g}"


class ExcelWriter(Writer):
    """A workbook of one sheet; probabilities with six significant digits are its only numbers."""

    read_without_end = False

    def __init__(self, path: str, reader: Reader, columns: Mapping[str, str]) -> None:
        super().__init__(path, reader, columns)
        try:
            self._sheet = SheetWriter(path)
        except ImportError:
            self.place.close(done=False, keep=False)
            raise
        self._sheet.write([*reader.columns, *self.new])
        # also of an interrupted output, which can then be read
        self._stack.callback(self._sheet.save, self._raw)

    def _append(self, chunk: Chunk, coded: Mapping[str, Sequence[Any]]) -> None:
        new = self._new_cells(coded, len(chunk))
        for old, more in zip(chunk.cells(self.reader.columns), new, strict=True):
            self._sheet.write([*old, *(float(f"{v:.6g}") if isinstance(v, float) else v for v in more)])


class JsonWriter(Writer):
    """JSON Lines in UTF-8; probabilities with six significant digits, null where there is no code."""

    def __init__(self, path: str, reader: Reader, columns: Mapping[str, str]) -> None:
        super().__init__(path, reader, columns)
        self._stream = self._text()

    def _append(self, chunk: Chunk, coded: Mapping[str, Sequence[Any]]) -> None:
        rows = self._new_cells(coded, len(chunk))
        for start, values in zip(chunk.objects(self.reader.columns), rows, strict=True):
            new = {
                name: float(f"{v:.6g}") if isinstance(v, float) else v for name, v in zip(self.new, values, strict=True)
            }
            joint = "" if start == "{" or not new else ", "
            self._stream.write(f"{start}{joint}{json.dumps(new, ensure_ascii=False)[1:]}\n")


class ParquetWriter(Writer):
    """Parquet; the input's types are kept, probabilities are doubles, null where there is no code."""

    read_without_end = False

    def __init__(self, path: str, reader: Reader, columns: Mapping[str, str]) -> None:
        super().__init__(path, reader, columns)
        import pyarrow.parquet as pq

        self._old = reader.schema()
        schema = self._old
        for name, kind in self.new.items():
            schema = schema.append(pa.field(name, pa.float64() if kind == "number" else pa.string()))
        self._schema = schema
        # Closed before the file: an interrupted output gets its footer and can be read.
        try:
            self._file = pq.ParquetWriter(self._raw, schema)
        except BaseException:
            self.place.close(done=False, keep=False)
            raise
        self._stack.callback(self._file.close)

    def _append(self, chunk: Chunk, coded: Mapping[str, Sequence[Any]]) -> None:
        new = [
            pa.array(coded[name], type=pa.float64() if kind == "number" else pa.string())
            for name, kind in self.new.items()
        ]
        self._file.write_batch(pa.RecordBatch.from_arrays([*chunk.arrays(self._old), *new], schema=self._schema))
