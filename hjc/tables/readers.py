"""Tables read a few thousand rows at a time: CSV, TSV, JSONL and Parquet, from a file or standard input.

Nothing is retyped, no row changes place, and a line that is no row goes to the rejects with its number and the reason.
"""

from collections.abc import Iterator

import pyarrow as pa

from hjc.tables.base import FORMATS, Reader, find_column, format_of
from hjc.tables.chunks import ArrowChunk, Chunk
from hjc.tables.csv_reader import CsvReader
from hjc.tables.json_reader import JsonReader
from hjc.tables.rejects import Rejects

__all__ = ["FORMATS", "ParquetReader", "Reader", "find_column", "format_of", "open_input"]


def open_input(
    path: str,
    format: str,
    *,
    rejects: Rejects | None = None,
    rows: int = 8192,
    encoding: str | None = None,
    separator: str | None = None,
    table_output: bool = False,
) -> Reader:
    """Open an input for reading chunk by chunk.

    Args:
        encoding: of text formats; None is UTF-8, or what a byte order mark says.
        separator: of CSV, one character or ``tab``; None finds comma, semicolon, tab or bar.
        table_output: JSONL will be written as a table, so that all its keys must be known before the first row.

    Raises:
        FileNotFoundError, ValueError: no such file, or not in that format or encoding; the message says what to do.
    """
    rejects = rejects if rejects is not None else Rejects()
    if format == "parquet":
        return ParquetReader(path, rejects, rows)
    if format == "jsonl":
        return JsonReader(path, rejects, rows, encoding=encoding, scan=table_output)
    return CsvReader(path, rejects, rows, encoding=encoding, separator="\t" if format == "tsv" else separator)


class ParquetReader(Reader):
    """Parquet, batch by batch, with its Arrow types."""

    def __init__(self, path: str, rejects: Rejects, rows: int) -> None:
        super().__init__(path, rejects, rows)
        import pyarrow.parquet as pq

        source = self._open_binary(seekable=True)
        try:
            self._file = pq.ParquetFile(source)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{self.label}: no Parquet file, or truncated ({error})") from None
        self.columns = list(self._file.schema_arrow.names)

    def schema(self) -> pa.Schema:
        return self._file.schema_arrow

    def fraction(self) -> float | None:
        return None

    def chunks(self) -> Iterator[Chunk]:
        try:
            for batch in self._file.iter_batches(batch_size=self.rows):
                yield ArrowChunk(batch)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{self.label}: damaged Parquet file ({error})") from None
