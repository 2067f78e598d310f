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
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from hjc.tables.undecoded import Undecoded


class Chunk(ABC):
    """Rows of an input, in order. ``line``: where each starts in the file (in Parquet and JSON arrays: 1 is the first
    row)."""

    def __init__(self, rows: Sequence[Any], line: Sequence[int]) -> None:
        self.rows = rows
        self.line = line

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Sequence[int]) -> "Chunk":
        """The rows at these positions; a position may come more than once."""
        return type(self)([self.rows[i] for i in rows], [self.line[i] for i in rows])

    @abstractmethod
    def values(self, position: int, name: str) -> Sequence[Any]:
        """The values of one column."""

    def texts(self, position: int, name: str) -> list[str | None]:
        """The values of one column as text, None where there is none."""
        return [value_text(value) for value in self.values(position, name)]

    def cells(self, columns: Sequence[str]) -> list[list[str]]:
        """Every row as CSV cells."""
        by_column = [[text or "" for text in self.texts(i, name)] for i, name in enumerate(columns)]
        return [list(row) for row in zip(*by_column, strict=True)] if by_column else [[] for _ in self.line]

    def objects(self, columns: Sequence[str]) -> list[str]:
        """Every row as the text of a JSON object without its closing brace: ``{"a": 1``."""
        by_column = [self.values(i, name) for i, name in enumerate(columns)]
        return [_dump(dict(zip(columns, row, strict=True)))[:-1] for row in zip(*by_column, strict=True)]

    def arrays(self, schema: pa.Schema) -> list[pa.Array]:
        """The columns as Arrow arrays of a schema."""
        return [pa.array(self.texts(i, name), pa.string()) for i, name in enumerate(schema.names)]


class TextChunk(Chunk):
    """Rows of a CSV or TSV file or a sheet: lists of cells."""

    rows: list[list[str]]

    def values(self, position: int, name: str) -> list[str]:
        return [row[position] for row in self.rows]

    def texts(self, position: int, name: str) -> list[str | None]:
        return [row[position] for row in self.rows]

    def cells(self, columns: Sequence[str]) -> list[list[str]]:
        return self.rows


class JsonChunk(Chunk):
    """Rows of a JSON file: (the text of the object, what it parses to)."""

    rows: list[tuple[str, dict[str, Any]]]

    def values(self, position: int, name: str) -> list[Any]:
        return [row.get(name) for _, row in self.rows]

    def cells(self, columns: Sequence[str]) -> list[list[str]]:
        position = {name: i for i, name in enumerate(columns)}
        out = []
        for _, row in self.rows:  # by the keys of a row: there may be thousands of columns that few rows have
            cells = [""] * len(columns)
            for name, value in row.items():
                if name in position:
                    cells[position[name]] = value_text(value) or ""
            out.append(cells)
        return out

    def objects(self, columns: Sequence[str]) -> list[str]:
        # The line itself, so that numbers, escapes and the order of keys come out as they went in. A carriage return
        # between its tokens is white space, and a line end to many readers.
        return [text.strip()[:-1].rstrip().replace("\r", " ") for text, _ in self.rows]

    def arrays(self, schema: pa.Schema) -> list[pa.Array]:
        present = {name for _, row in self.rows for name in row}
        out = []
        for field in schema:
            if field.name not in present:
                out.append(pa.nulls(len(self), field.type))
                continue
            values = self.values(0, field.name)
            text = pa.types.is_string(field.type)
            out.append(pa.array([value_text(v) if text or _is_nan(v) else v for v in values], type=field.type))
        return out


class ArrowChunk(Chunk):
    """Rows of a Parquet file: ``rows`` is an Arrow batch."""

    rows: pa.RecordBatch

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def take(self, rows: Sequence[int]) -> "ArrowChunk":
        return ArrowChunk(self.rows.take(pa.array(rows, type=pa.int64())), [self.line[i] for i in rows])

    def values(self, position: int, name: str) -> list[Any]:
        column = self.rows.column(position)
        values = _values(column)
        # Spark and Hive write texts as bytes, without a note that they are texts
        return [*map(_decoded, values)] if _holds_bytes(column.type) else values

    def arrays(self, schema: pa.Schema) -> list[pa.Array]:
        return list(self.rows.columns)


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
    number is written without ".0" (pandas makes floats of codes with gaps). Bytes are :class:`Undecoded`."""
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
    if isinstance(value, bytes):
        return Undecoded(plain)
    return plain if isinstance(plain, str) else str(plain)


def _values(column: pa.Array) -> list[Any]:
    """Python values; text where Python has no such value (a time in the year 20000, a nanosecond of a time of day)."""
    try:
        values = None if "time64[ns]" in str(column.type) else column.to_pylist()
    except (ValueError, OverflowError, KeyError):  # of one value, or of a time zone that is not known here
        values = None
    if values is None:
        return [_value(scalar) for scalar in column]
    if pa.types.is_float16(column.type) or pa.types.is_float32(column.type):
        kind = np.dtype(column.type.to_pandas_dtype()).type  # 0.1, not 0.10000000149011612
        return [None if v is None else float(str(kind(v))) for v in values]
    return values


def _holds_bytes(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _decoded(value: Any) -> Any:
    """Bytes as a text where they are UTF-8, else as they are: cell by cell, so that no row changes another."""
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _value(scalar: Any) -> Any:
    """One Arrow value in Python; its ISO text where it is a time that Python does not reach. Nested values within."""
    kind = scalar.type
    if not scalar.is_valid:
        return None
    if pa.types.is_dictionary(kind) or isinstance(scalar, pa.ExtensionScalar):
        return _value(scalar.value)
    if isinstance(scalar, pa.ListScalar):  # of any length type; the entries of a map are structs of a key and a value
        entries = [_value(entry) for entry in scalar.values]
        return [list(entry.values()) for entry in entries] if pa.types.is_map(kind) else entries
    if pa.types.is_struct(kind):
        return {field.name: _value(scalar[i]) for i, field in enumerate(kind)}
    if pa.types.is_time64(kind) and scalar.value % 1000:
        return _iso(scalar.value, kind.unit).partition("T")[2]
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, KeyError):
        if pa.types.is_timestamp(kind):
            return _iso(scalar.value, kind.unit) + ("+00:00" if kind.tz else "")
        if pa.types.is_date(kind):
            return _iso(scalar.value, "D" if pa.types.is_date32(kind) else "ms").partition("T")[0]
        if pa.types.is_duration(kind):
            return f"{scalar.value} {kind.unit}"
        raise


def _iso(value: int, unit: Literal["D", "s", "ms", "us", "ns"]) -> str:
    """So many units after the beginning of 1970, whatever the year, as Python would write it."""
    text, _, fraction = str(np.datetime64(value, unit)).partition(".")
    return f"{text}.{fraction}" if fraction.strip("0") else text


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
