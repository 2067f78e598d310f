"""Chunks with their new columns written as CSV, TSV, JSONL or Parquet, to ``OUT.partial`` until all is done."""

import io
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from hjc.tables.base import OPENERS, Reader
from hjc.tables.chunks import Chunk, string_array
from hjc.tables.rejects import csv_writer


class Writer(ABC):
    """An open output. Leaving it without :meth:`finish` (an error, Ctrl-C) leaves what was written in ``OUT.partial``,
    and nothing where no row was.

    Args:
        path: file, or ``-`` for standard output.
        reader: the input whose columns come first.
        columns: new column -> ``text`` or ``number``.
    """

    def __init__(self, path: str, reader: Reader, columns: Mapping[str, str]) -> None:
        self.target = None if path == "-" else Path(path)
        self.partial = None if self.target is None else self.target.with_name(self.target.name + ".partial")
        self.reader = reader
        self.new = dict(columns)
        #: written so far
        self.rows = 0
        self._stack = ExitStack()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        self._close()
        if error[0] is not None and not self.rows and self.partial is not None:
            self.partial.unlink(missing_ok=True)

    def write(self, chunk: Chunk, coded: Mapping[str, Sequence[Any]]) -> None:
        """Append rows: as they were, then the new columns."""
        self._append(chunk, coded)
        self.rows += len(chunk)

    @abstractmethod
    def _append(self, chunk: Chunk, coded: Mapping[str, Sequence[Any]]) -> None: ...

    def finish(self) -> None:
        """Close the output and give the finished file its name."""
        self._close()
        if self.partial is not None and self.target is not None:
            os.replace(self.partial, self.target)

    def _close(self) -> None:
        self._stack.close()

    def _binary(self) -> IO[bytes]:
        if self.partial is None or self.target is None:
            return sys.stdout.buffer
        if not self.partial.parent.is_dir():
            raise FileNotFoundError(f"no directory {self.partial.parent} for the output; create it first")
        raw: IO[bytes] = self._stack.enter_context(self.partial.open("wb"))
        if (opener := OPENERS.get(self.target.suffix.lower())) is not None:
            return self._stack.enter_context(opener(raw, "wb"))
        return raw

    def _text(self) -> io.TextIOWrapper:
        raw = self._binary()
        # A lone surrogate (an escape in a JSON input) cannot be written in UTF-8; its escape can.
        stream = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", newline="")
        if self.partial is None:
            self._stack.callback(stream.detach)  # standard output stays open
            self._stack.callback(stream.flush)
        else:
            self._stack.enter_context(stream)
        return stream


def check_output(output: str, source: str, *, overwrite: bool) -> None:
    """Refuse to write over the input (always) or over a finished output (unless ``overwrite``).

    Raises:
        ValueError: the output is the input. FileExistsError: it exists. FileNotFoundError: its folder does not.
    """
    if output == "-":
        return
    target = Path(output)
    if source != "-" and target.exists() and Path(source).exists() and os.path.samefile(target, source):
        raise ValueError(f"{output} is the input itself; give another name with -o")
    if target.is_dir():
        raise ValueError(f"{output} is a directory; give the name of a file with -o")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{output} exists; give --overwrite to replace it, or another name")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"no directory {target.parent} for the output; create it first")


def open_output(path: str, format: str, reader: Reader, columns: Mapping[str, str]) -> Writer:
    """Open an output in one of the formats of :data:`hjc.tables.base.FORMATS`.

    Raises:
        ValueError: the format needs distinct column names and the input has one twice.
    """
    kinds: dict[str, type[Writer]] = {"csv": CsvWriter, "tsv": CsvWriter, "jsonl": JsonWriter, "parquet": ParquetWriter}
    if format in ("jsonl", "parquet"):
        twice = sorted({c for c in reader.columns if reader.columns.count(c) > 1})
        if twice:
            raise ValueError(f"{reader.label}: column {twice[0]!r} stands twice, which {format} cannot hold; write CSV")
    if format in ("csv", "tsv"):
        separator = reader.delimiter if reader.delimiter != "\t" else ","
        return CsvWriter(path, reader, columns, delimiter="\t" if format == "tsv" else separator)
    return kinds[format](path, reader, columns)


class CsvWriter(Writer):
    """CSV in UTF-8 with the separator of the input (TSV: tabs); cells are quoted where they must be."""

    def __init__(self, path: str, reader: Reader, columns: Mapping[str, str], *, delimiter: str = ",") -> None:
        super().__init__(path, reader, columns)
        self._csv = csv_writer(self._text(), delimiter)
        self._csv.writerow([*reader.columns, *self.new])

    def _append(self, chunk: Chunk, coded: Mapping[str, Sequence[Any]]) -> None:
        new = zip(*([_cell(v) for v in coded[name]] for name in self.new), strict=True)
        self._csv.writerows(old + list(extra) for old, extra in zip(chunk.cells(self.reader.columns), new, strict=True))


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.6g}"


class JsonWriter(Writer):
    """JSON Lines in UTF-8; probabilities with six significant digits, null where there is no code."""

    def __init__(self, path: str, reader: Reader, columns: Mapping[str, str]) -> None:
        super().__init__(path, reader, columns)
        self._stream = self._text()

    def _append(self, chunk: Chunk, coded: Mapping[str, Sequence[Any]]) -> None:
        rows = zip(*(coded[name] for name in self.new), strict=True)
        for start, values in zip(chunk.objects(self.reader.columns), rows, strict=True):
            new = {
                name: float(f"{v:.6g}") if isinstance(v, float) else v for name, v in zip(self.new, values, strict=True)
            }
            joint = "" if start == "{" else ", "
            self._stream.write(f"{start}{joint}{json.dumps(new, ensure_ascii=False)[1:]}\n")


class ParquetWriter(Writer):
    """Parquet; the input's types are kept, probabilities are doubles, null where there is no code."""

    def __init__(self, path: str, reader: Reader, columns: Mapping[str, str]) -> None:
        super().__init__(path, reader, columns)
        import pyarrow.parquet as pq

        self._old = reader.schema()
        schema = self._old
        for name, kind in self.new.items():
            schema = schema.append(pa.field(name, pa.float64() if kind == "number" else pa.string()))
        self._schema = schema
        # Entered after the file and so closed before it: an interrupted output gets its footer and can be read.
        self._file = pq.ParquetWriter(self._binary(), schema)
        self._stack.callback(self._file.close)

    def _append(self, chunk: Chunk, coded: Mapping[str, Sequence[Any]]) -> None:
        new = [
            pa.array(coded[name], type=pa.float64()) if kind == "number" else string_array(coded[name])
            for name, kind in self.new.items()
        ]
        self._file.write_batch(pa.RecordBatch.from_arrays([*chunk.arrays(self._old), *new], schema=self._schema))
