"""A few thousand rows of an input as they were read, and how they are written in each output format.

A chunk never retypes a value: CSV cells stay the text they were, a JSONL line is kept as its own text and only
extended, a Parquet batch keeps its Arrow types.
"""

import base64
import datetime
import decimal
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa


class Chunk(ABC):
    """Rows of an input, in order. ``line``: where each starts in the file (in Parquet and JSON arrays: 1 is the first
    row)."""

    line: Sequence[int]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, rows: Sequence[int]) -> "Chunk":
        """The rows at these positions; a position may come more than once."""

    @abstractmethod
    def texts(self, position: int, name: str) -> list[str | None]:
        """The values of one column as text, None where there is none."""

    @abstractmethod
    def cells(self, columns: Sequence[str]) -> list[list[str]]:
        """Every row as CSV cells."""

    @abstractmethod
    def objects(self, columns: Sequence[str]) -> list[str]:
        """Every row as the text of a JSON object without its closing brace: ``{"a": 1``."""

    @abstractmethod
    def arrays(self, schema: pa.Schema) -> list[pa.Array]:
        """The columns as Arrow arrays of a schema."""


class TextChunk(Chunk):
    """Rows of a CSV or TSV file or a sheet: lists of cells."""

    def __init__(self, rows: list[list[str]], line: Sequence[int]) -> None:
        self.rows = rows
        self.line = line

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Sequence[int]) -> "TextChunk":
        return TextChunk([self.rows[i] for i in rows], [self.line[i] for i in rows])

    def texts(self, position: int, name: str) -> list[str | None]:
        return [row[position] for row in self.rows]

    def cells(self, columns: Sequence[str]) -> list[list[str]]:
        return self.rows

    def objects(self, columns: Sequence[str]) -> list[str]:
        return [_dump(dict(zip(columns, row, strict=True)))[:-1] for row in self.rows]

    def arrays(self, schema: pa.Schema) -> list[pa.Array]:
        return [pa.array([row[i] for row in self.rows], pa.string()) for i in range(len(schema))]


class JsonChunk(Chunk):
    """Rows of a JSON file: the text of each object and what it parses to."""

    def __init__(self, lines: list[str], rows: list[dict[str, Any]], line: Sequence[int]) -> None:
        self.lines = lines
        self.rows = rows
        self.line = line

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Sequence[int]) -> "JsonChunk":
        return JsonChunk([self.lines[i] for i in rows], [self.rows[i] for i in rows], [self.line[i] for i in rows])

    def texts(self, position: int, name: str) -> list[str | None]:
        return [value_text(row.get(name)) for row in self.rows]

    def cells(self, columns: Sequence[str]) -> list[list[str]]:
        position = {name: i for i, name in enumerate(columns)}
        out = []
        for row in self.rows:  # by the keys of a row: there may be thousands of columns that few rows have
            cells = [""] * len(columns)
            for name, value in row.items():
                if name in position:
                    cells[position[name]] = value_text(value) or ""
            out.append(cells)
        return out

    def objects(self, columns: Sequence[str]) -> list[str]:
        # The line itself, so that numbers, escapes and the order of keys come out as they went in.
        return [line.strip()[:-1].rstrip() for line in self.lines]

    def arrays(self, schema: pa.Schema) -> list[pa.Array]:
        present = {name for row in self.rows for name in row}
        out = []
        for field in schema:
            if field.name not in present:
                out.append(pa.nulls(len(self), field.type))
                continue
            values = [row.get(field.name) for row in self.rows]
            if pa.types.is_string(field.type):
                out.append(pa.array([value_text(v) for v in values], pa.string()))
            else:
                out.append(pa.array([None if _is_nan(v) else v for v in values], type=field.type))
        return out


class ArrowChunk(Chunk):
    """Rows of a Parquet file: an Arrow batch."""

    def __init__(self, batch: pa.RecordBatch, line: Sequence[int]) -> None:
        self.batch = batch
        self.line = line

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def take(self, rows: Sequence[int]) -> "ArrowChunk":
        return ArrowChunk(self.batch.take(pa.array(rows, type=pa.int64())), [self.line[i] for i in rows])

    def texts(self, position: int, name: str) -> list[str | None]:
        return [value_text(v) for v in _values(self.batch.column(position))]

    def cells(self, columns: Sequence[str]) -> list[list[str]]:
        by_column = [[value_text(v) or "" for v in _values(column)] for column in self.batch.columns]
        return [list(row) for row in zip(*by_column, strict=True)] if by_column else [[] for _ in range(len(self))]

    def objects(self, columns: Sequence[str]) -> list[str]:
        by_column = [_values(column) for column in self.batch.columns]
        return [_dump(dict(zip(columns, row, strict=True)))[:-1] for row in zip(*by_column, strict=True)]

    def arrays(self, schema: pa.Schema) -> list[pa.Array]:
        return list(self.batch.columns)


class WrittenFloat(float):
    """A number of a JSON text that keeps how it was written: 7223.10 is a code of its own."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> "WrittenFloat":
        self = super().__new__(cls, text)
        self.text = text
        return self


def value_text(value: Any) -> str | None:
    """A value of a JSON object or an Arrow column as text: None and NaN are None, nested values are JSON, and a whole
    number is written without ".0" (pandas makes floats of codes with gaps)."""
    if value is None or _is_nan(value):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return (value.text if isinstance(value, WrittenFloat) else repr(value)).removesuffix(".0")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list, tuple)):
        return _dump(value)
    plain = _plain(value)
    return plain if isinstance(plain, str) else str(plain)


def _values(column: pa.Array) -> list[Any]:
    """Python values; text where Python has no such value (a time in the year 20000)."""
    try:
        values = column.to_pylist()
    except (ValueError, OverflowError):
        return column.cast(pa.string()).to_pylist()
    if pa.types.is_float16(column.type) or pa.types.is_float32(column.type):
        kind = np.dtype(column.type.to_pandas_dtype()).type  # 0.1, not 0.10000000149011612
        return [None if v is None else float(str(kind(v))) for v in values]
    return values


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _plain(value: Any) -> Any:
    """JSON has no dates, decimals or bytes: ISO text, decimal digits and base64 stand for them."""
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (decimal.Decimal, datetime.timedelta)):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _dump(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False)
