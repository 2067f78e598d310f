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

import pyarrow as pa


class Chunk(ABC):
    """Rows of an input, in order."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, rows: Sequence[int]) -> "Chunk":
        """The rows at these positions."""

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
    """Rows of a CSV or TSV file: lists of cells."""

    def __init__(self, rows: list[list[str]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Sequence[int]) -> "TextChunk":
        return TextChunk([self.rows[i] for i in rows])

    def texts(self, position: int, name: str) -> list[str | None]:
        return [row[position] for row in self.rows]

    def cells(self, columns: Sequence[str]) -> list[list[str]]:
        return self.rows

    def objects(self, columns: Sequence[str]) -> list[str]:
        return [_dump(dict(zip(columns, row, strict=True)))[:-1] for row in self.rows]

    def arrays(self, schema: pa.Schema) -> list[pa.Array]:
        return [string_array([row[i] for row in self.rows]) for i in range(len(schema))]


class JsonChunk(Chunk):
    """Rows of a JSONL file: the text of each line and what it parses to."""

    def __init__(self, lines: list[str], rows: list[dict[str, Any]]) -> None:
        self.lines = lines
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Sequence[int]) -> "JsonChunk":
        return JsonChunk([self.lines[i] for i in rows], [self.rows[i] for i in rows])

    def texts(self, position: int, name: str) -> list[str | None]:
        return [value_text(row.get(name)) for row in self.rows]

    def cells(self, columns: Sequence[str]) -> list[list[str]]:
        return [[value_text(row.get(name)) or "" for name in columns] for row in self.rows]

    def objects(self, columns: Sequence[str]) -> list[str]:
        # The line itself, so that numbers, escapes and the order of keys come out as they went in.
        return [line.strip()[:-1].rstrip() for line in self.lines]

    def arrays(self, schema: pa.Schema) -> list[pa.Array]:
        out = []
        for field in schema:
            values = [row.get(field.name) for row in self.rows]
            if pa.types.is_string(field.type):
                out.append(string_array([value_text(v) for v in values]))
            else:
                out.append(pa.array([None if _is_nan(v) else v for v in values], type=field.type))
        return out


class ArrowChunk(Chunk):
    """Rows of a Parquet file: an Arrow batch."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def take(self, rows: Sequence[int]) -> "ArrowChunk":
        return ArrowChunk(self.batch.take(pa.array(rows, type=pa.int64())))

    def texts(self, position: int, name: str) -> list[str | None]:
        return [value_text(v) for v in self.batch.column(position).to_pylist()]

    def cells(self, columns: Sequence[str]) -> list[list[str]]:
        by_column = [[value_text(v) or "" for v in column.to_pylist()] for column in self.batch.columns]
        return [list(row) for row in zip(*by_column, strict=True)] if by_column else [[] for _ in range(len(self))]

    def objects(self, columns: Sequence[str]) -> list[str]:
        by_column = [column.to_pylist() for column in self.batch.columns]
        return [_dump(dict(zip(columns, row, strict=True)))[:-1] for row in zip(*by_column, strict=True)]

    def arrays(self, schema: pa.Schema) -> list[pa.Array]:
        return list(self.batch.columns)


def value_text(value: Any) -> str | None:
    """A value of a JSON object or an Arrow column as text: None and NaN are None, nested values are JSON."""
    if value is None or _is_nan(value):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list, tuple)):
        return _dump(value)
    plain = _plain(value)
    return plain if isinstance(plain, str) else str(plain)


def string_array(values: Sequence[str | None]) -> pa.Array:
    """An Arrow string array; lone surrogates, which UTF-8 cannot hold, become ``\\udxxx`` in letters."""
    try:
        return pa.array(values, type=pa.string())
    except UnicodeEncodeError:
        safe = [None if v is None else v.encode("utf-8", "backslashreplace").decode() for v in values]
        return pa.array(safe, type=pa.string())


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
