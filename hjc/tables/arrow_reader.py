"""Parquet and saved Hugging Face datasets, batch by batch, with their Arrow types."""

from collections.abc import Iterable, Iterator
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
        self._groups = self._start = 0  # row groups, and rows, that are left out

    def schema(self) -> pa.Schema:
        return self._file.schema_arrow

    def fraction(self) -> float | None:
        return None

    def total(self) -> int:
        return int(self._file.metadata.num_rows)

    def begin_at(self, row: int) -> int:
        sizes = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        while self._groups < len(sizes) and self._start + sizes[self._groups] <= row:
            self._start += sizes[self._groups]
            self._groups += 1
        return self._start

    def _chunks(self) -> Iterator[Chunk]:
        groups = list(range(self._groups, self._file.num_row_groups))
        try:
            yield from _numbered(self._file.iter_batches(batch_size=self.rows, row_groups=groups), self._start + 1)
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
        parts = loaded.items() if isinstance(loaded, DatasetDict) else [("", loaded)]
        self._table = pa.concat_tables([_named(part, split) for split, part in parts], promote_options="default")
        self.columns = self._table.column_names

    def schema(self) -> pa.Schema:
        return self._table.schema

    def _chunks(self) -> Iterator[Chunk]:
        return _numbered(self._table.combine_chunks().to_batches(max_chunksize=self.rows))


def _numbered(batches: Iterable[pa.RecordBatch], start: int = 1) -> Iterator[Chunk]:
    for batch in batches:
        yield ArrowChunk(batch, range(start, start + batch.num_rows))
        start += batch.num_rows


def _named(part: Any, split: str) -> pa.Table:
    """The rows of a dataset with the names of its classes (numbers on disk: the names are the codes) and its split."""
    from datasets import ClassLabel

    table = part.with_format("arrow")[:]
    for i, (name, feature) in enumerate(part.features.items()):
        if isinstance(feature, ClassLabel):
            known = dict(enumerate(feature.names))
            table = table.set_column(i, name, pa.array([known.get(v) for v in table[name].to_pylist()], pa.string()))
    if split and "split" not in table.column_names:
        table = table.append_column("split", pa.array([split] * len(table), pa.string()))
    return table
