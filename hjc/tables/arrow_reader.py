"""Parquet and saved Hugging Face datasets, batch by batch, with their Arrow types."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from hjc.tables.base import Reader
from hjc.tables.chunks import ArrowChunk, Chunk
from hjc.tables.rejects import Rejects
from hjc.tables.source import Source


class ParquetReader(Reader):
    """A Parquet file."""

    def __init__(self, source: Source, rejects: Rejects, rows: int) -> None:
        super().__init__(source, rejects, rows)
        import pyarrow.parquet as pq

        try:
            self._file = pq.ParquetFile(source.binary(again=True))
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(f"{self.label}: no Parquet file, or truncated ({error})") from None
        self.columns = list(self._file.schema_arrow.names)

    def schema(self) -> pa.Schema:
        return self._file.schema_arrow

    def fraction(self) -> float | None:
        return None

    def _chunks(self) -> Iterator[Chunk]:
        start = 1
        try:
            for batch in self._file.iter_batches(batch_size=self.rows):
                yield ArrowChunk(batch, range(start, start + batch.num_rows))
                start += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{self.label}: damaged Parquet file ({error})") from None


class DatasetReader(Reader):
    """A folder of `Dataset.save_to_disk` or `DatasetDict.save_to_disk`; of the latter with a column `split`."""

    def __init__(self, source: Source, rejects: Rejects, rows: int) -> None:
        super().__init__(source, rejects, rows)
        try:
            from datasets import DatasetDict, load_from_disk
        except ImportError as error:
            raise ImportError(
                f"{self.label}: reading a Hugging Face dataset needs `pip install 'hjc[datasets]'`; or save it as "
                "Parquet with Dataset.to_parquet"
            ) from error
        try:
            loaded = load_from_disk(self.path)
        except FileNotFoundError as error:
            raise ValueError(f"{self.label}: not a directory written by datasets.save_to_disk") from error
        self._parts: dict[str, Any] = dict(loaded) if isinstance(loaded, DatasetDict) else {"": loaded}
        names = dict.fromkeys(name for part in self._parts.values() for name in part.column_names)
        self._own_split = "split" in names
        self.columns = [*names, *([] if "" in self._parts or self._own_split else ["split"])]

    def schema(self) -> pa.Schema:
        return next(self._batches()).schema

    def _chunks(self) -> Iterator[Chunk]:
        start = 1
        for batch in self._batches():
            yield ArrowChunk(batch, range(start, start + batch.num_rows))
            start += batch.num_rows

    def _batches(self) -> Iterator[pa.RecordBatch]:
        from datasets import ClassLabel

        for split, part in self._parts.items():
            for table in part.with_format("arrow").iter(batch_size=self.rows):
                batch, columns = table.combine_chunks(), []
                for name in self.columns:
                    column = batch.column(name) if name in batch.column_names else None
                    if column is None:
                        value = split if name == "split" and not self._own_split else None
                        column = pa.array([value] * batch.num_rows, pa.string())
                    elif isinstance(feature := part.features[name], ClassLabel):  # numbers on disk: names are the codes
                        known = dict(enumerate(feature.names))
                        column = pa.array([known.get(v) for v in column.to_pylist()], pa.string())
                    columns.append(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
                yield pa.RecordBatch.from_arrays(columns, names=self.columns)
