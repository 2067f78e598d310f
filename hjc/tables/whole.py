"""A whole table in memory: all chunks of the one reader."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from hjc.arrays import IntArray
from hjc.tables.base import find_column
from hjc.tables.chunks import Chunk
from hjc.tables.options import ReadOptions
from hjc.tables.readers import open_table
from hjc.tables.rejects import Rejects
from hjc.tables.source import Input


@dataclass
class Table:
    """What a file holds. n rows.

    Attributes:
        chunks: the rows as they were read.
        columns: their names.
        rejects: the lines that are no rows, in ``rejects.lines`` as (line, reason, value).
        name: the file's name, for messages.
    """

    chunks: list[Chunk]
    columns: list[str]
    rejects: Rejects
    name: str

    def __len__(self) -> int:
        return sum(map(len, self.chunks))

    @cached_property
    def line(self) -> IntArray:
        """(n,) where each row starts in the file, as a person counts: the header is line 1. Without lines (Parquet,
        JSON arrays, datasets): 1 for the first row."""
        return np.array([number for chunk in self.chunks for number in chunk.line], dtype=np.int64)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """n rows of text; "" where a cell is empty or absent. Of columns with one name the last is there."""
        return pd.DataFrame({name: self._series(i) for i, name in enumerate(self.columns)}, index=range(len(self)))

    def whole(self) -> pd.DataFrame:
        """The frame. Raises ValueError where a line was no row."""
        if self.rejects.count:
            line, reason = self.rejects.first[0]
            more = f" and {self.rejects.count - 1} more malformed rows" if self.rejects.count > 1 else ""
            raise ValueError(f"{self.name}: line {line}: {reason}{more}")
        return self.frame

    def column(self, name: str) -> pd.Series:
        """A column. Raises ValueError with the columns that are there and the nearest name."""
        return self._series(find_column(self.columns, name, self.name))

    def check_columns(self, names: Iterable[str]) -> None:
        """Raise ValueError where a column is not there, or twice."""
        for name in names:
            find_column(self.columns, name, self.name)

    def _series(self, position: int) -> pd.Series:
        name = self.columns[position]
        return pd.Series([cell or "" for chunk in self.chunks for cell in chunk.texts(position, name)], dtype="object")


def read_rows(path: Input, options: ReadOptions | None = None, **changes: Any) -> Table:
    """Read a table whole (see :func:`~hjc.tables.readers.open_table` for what it takes and raises)."""
    rejects = Rejects(keep=True)
    with open_table(path, options, rejects=rejects, **changes) as reader:
        return Table(list(reader.chunks()), reader.columns, rejects, reader.label)


def read_table(path: Input, options: ReadOptions | None = None, **changes: Any) -> pd.DataFrame:
    """All rows of a file as text.

    Raises:
        ValueError: as open_table, and where a line is no row; read_rows returns such lines in ``rejects``.
    """
    return read_rows(path, options, **changes).whole()
