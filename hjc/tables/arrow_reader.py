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

    def schema(self) -> pa.Schema:
        return self._file.schema_arrow

    def fraction(self) -> float | None:
        return None

    def _chunks(self) -> Iterator[Chunk]:
        try:
            yield from _numbered(self._file.iter_batches(batch_size=self.rows))
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


def _numbered(batches: Iterable[pa.RecordBatch]) -> Iterator[Chunk]:
    start = 1
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
