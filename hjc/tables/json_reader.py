"""JSON: an object a line, kept as its own text; or one document, an array of objects or an object of columns."""

import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import pyarrow as pa

from hjc.tables.base import Reader, chunked
from hjc.tables.chunks import Chunk, JsonChunk, WrittenFloat
from hjc.tables.options import ReadOptions
from hjc.tables.rejects import Rejects
from hjc.tables.source import Source

#: objects within objects; what is deeper would end Python's own recursion somewhere
MAX_DEPTH = 100


#: number, text, object, and why there is none
Entry = tuple[int, str, dict[str, Any] | None, str]


class JsonReader(Reader):
    """Rows may have different keys; a missing key is a missing value.

    ``all_columns``: every key is known before the first row; else those of the first chunk.
    """

    def __init__(
        self, source: Source, options: ReadOptions, rejects: Rejects, rows: int, *, all_columns: bool = True
    ) -> None:
        super().__init__(source, rejects, rows)
        self._kinds: dict[str, set[str]] = {}
        self._pending: list[JsonChunk] = []
        stream = source.text(options.encoding, newline="\n", again=all_columns)
        lines, head = iter(source.lines(stream)), list[str]()
        _up_to_text(lines, head)
        if (document := self._document(head, lines)) is not None:
            self._rest = self._read(document, rejects)
            self._pending = list(self._rest)
        elif all_columns:
            for chunk in self._read(_by_line(chain(head, lines)), Rejects()):
                self._note(chunk)
            stream.seek(0)
            self._rest = self._read(_by_line(source.lines(stream)), rejects)
        else:
            self._rest = self._read(_by_line(chain(head, lines)), rejects)
            self._pending = list(islice(self._rest, 1))
        for chunk in self._pending:
            self._note(chunk)
        self.columns = list(self._kinds)
        if not self.columns:
            raise ValueError(f"{self.label}: no JSON object with a key in it (expected one object a line)")

    def _document(self, head: list[str], lines: Iterator[str]) -> Iterator[Entry] | None:
        """The objects of a file that is one JSON value; None where it has a value a line. ``head`` is what was read."""
        first = head[-1].strip() if head else ""
        value = _parse(first)[0]
        if value is not None:  # the only object of the file may hold columns
            if not _of_columns(value) or _up_to_text(lines, head):
                return None
            return _by_object(_turned(value))
        if first != "{" and not first.startswith("["):
            return None
        head += lines
        try:
            whole = json.loads("".join(head), parse_float=WrittenFloat)
        except json.JSONDecodeError as error:
            if error.msg == "Extra data" and first != "{":
                return None  # a value a line, and the first is an array
            raise ValueError(f"{self.label}: line {error.lineno}: not JSON: {error.msg}") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.label}: cannot be read as JSON: {error}") from None
        if isinstance(whole, dict):
            whole = _turned(whole) if _of_columns(whole) else [whole]
        return _by_object(whole)

    def _note(self, chunk: JsonChunk) -> None:
        for _, row in chunk.rows:
            for name, value in row.items():
                self._kinds.setdefault(name, set()).add(_kind(value))

    def schema(self) -> pa.Schema:
        types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
        fields = []
        for name, kinds in self._kinds.items():
            known = kinds - {"none"}
            kind = "float" if known == {"int", "float"} else next(iter(known)) if len(known) == 1 else "str"
            fields.append((name, types.get(kind, pa.string())))
        return pa.schema(fields)

    def _chunks(self) -> Iterator[Chunk]:
        yield from self._pending
        self._pending = []
        yield from self._rest

    def _read(self, entries: Iterable[Entry], rejects: Rejects) -> Iterator[JsonChunk]:
        def rows() -> Iterator[tuple[int, tuple[str, dict[str, Any]], int]]:
            for number, text, row, reason in entries:
                if row is None:
                    rejects.add(number, reason, text)
                else:
                    yield number, (text, row), len(text)

        return chunked(rows(), self.rows, JsonChunk)


def _up_to_text(lines: Iterator[str], head: list[str]) -> bool:
    """Read on to the next line that is not blank; False at the end."""
    for line in lines:
        head.append(line)
        if line.strip():
            return True
    return False


def _by_line(lines: Iterable[str]) -> Iterator[Entry]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, line, *_parse(line)


def _by_object(values: Iterable[Any]) -> Iterator[Entry]:
    for number, value in enumerate(values, 1):
        row, reason = _row_of(value)
        yield number, "" if row is None else json.dumps(row, ensure_ascii=False), row, reason


def _parse(text: str) -> tuple[dict[str, Any] | None, str]:
    try:
        value = json.loads(text, parse_float=WrittenFloat)
    except json.JSONDecodeError as error:
        return None, f"not JSON: {error.msg} at character {error.colno}"
    except (ValueError, RecursionError) as error:
        return None, f"cannot be read as JSON: {error}"
    return _row_of(value, escapes="\\u" in text)


def _row_of(value: Any, *, escapes: bool = True) -> tuple[dict[str, Any] | None, str]:
    """An object, and why a value is none."""
    if not isinstance(value, dict):
        return None, f"a JSON {type(value).__name__} instead of an object"
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        inner = (x.values() if isinstance(x, dict) else x for x in level)
        level = [x for values in inner for x in values if isinstance(x, dict | list)]
        if not level:
            return (_mended(value) if escapes else value), ""
    return None, f"JSON that is nested more than {MAX_DEPTH} deep"


def _mended(value: Any) -> Any:
    """Half a surrogate pair is legal in JSON and in no Unicode text: U+FFFD takes its place."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_mended(key): _mended(inner) for key, inner in value.items()}
    return [_mended(inner) for inner in value] if isinstance(value, list) else value


def _of_columns(value: Any) -> bool:
    """Whether an object holds columns, {"title": {"0": ..., "1": ...}} or {"title": [...]}, and not one row."""
    columns = list(value.values())
    if not columns:
        return False
    if all(isinstance(column, dict) and column for column in columns):
        return all(column.keys() == columns[0].keys() for column in columns)
    return all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns)


def _turned(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an object of columns."""
    whole = [list(column.values()) if isinstance(column, dict) else column for column in columns.values()]
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*whole, strict=True)]


def _kind(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if abs(value) < 2**53 else "str"
    return "float" if isinstance(value, float) else "str"
