"""JSON Lines a few thousand rows at a time; every line is kept as its own text."""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from hjc.tables.base import CHUNK_CHARACTERS, Lines, Reader
from hjc.tables.chunks import Chunk, JsonChunk
from hjc.tables.rejects import Rejects


class JsonReader(Reader):
    """JSON Lines: one object a line. Lines may have different keys; a missing key is a missing value."""

    def __init__(
        self, path: str, rejects: Rejects, rows: int, *, encoding: str | None = None, scan: bool = False
    ) -> None:
        super().__init__(path, rejects, rows)
        self._kinds: dict[str, set[str]] = {}
        self._stream = self._open_text(encoding, newline="\n", seekable=scan)
        self._pending: list[Chunk] = []
        if scan:
            for chunk in self._read(Rejects()):
                self._note(chunk)
            self._stream.seek(0)
            self._source = self._read(rejects)
        else:
            self._source = self._read(rejects)
            if (first := next(self._source, None)) is not None:
                self._note(first)
                self._pending.append(first)
        self.columns = list(self._kinds)
        if not self.columns:
            raise ValueError(f"{self.label}: no JSON object with a key in any line (expected one object a line)")

    def _note(self, chunk: JsonChunk) -> None:
        for row in chunk.rows:
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

    def chunks(self) -> Iterator[Chunk]:
        yield from self._pending
        self._pending = []
        yield from self._source

    def _read(self, rejects: Rejects) -> Iterator[JsonChunk]:
        lines: list[str] = []
        rows: list[dict[str, Any]] = []
        characters = 0
        source = Lines(self._stream, self.label)
        for line in source:
            source.taken.clear()
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                rejects.add(source.number, f"no JSON: {error}", line)
                continue
            if not isinstance(row, dict):
                rejects.add(source.number, f"a JSON {type(row).__name__} instead of an object", line)
                continue
            lines.append(line)
            rows.append(row)
            characters += len(line)
            if len(rows) >= self.rows or characters >= CHUNK_CHARACTERS:
                yield JsonChunk(lines, rows)
                lines, rows, characters = [], [], 0
        if rows:
            yield JsonChunk(lines, rows)


def _kind(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if abs(value) < 2**53 else "str"
    return "float" if isinstance(value, float) else "str"
