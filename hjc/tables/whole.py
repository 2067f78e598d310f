"""A whole table in memory: all chunks of the one reader."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hjc.arrays import IntArray
from hjc.tables.base import find_column
from hjc.tables.chunks import Chunk
from hjc.tables.options import ReadOptions
from hjc.tables.readers import open_table
from hjc.tables.rejects import Rejects
from hjc.tables.source import Input

if TYPE_CHECKING:  # taxonomies are read without pandas
    import pandas as pd


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
    def frame(self) -> "pd.DataFrame":
        """n rows of text; "" where a cell is empty or absent. Of columns with one name the last is there."""
        import pandas as pd

        series = {name: pd.Series(self.cells(i), dtype="object") for i, name in enumerate(self.columns)}
        return pd.DataFrame(series, index=range(len(self)))

    def whole(self) -> "pd.DataFrame":
        """The frame. Raises ValueError where a line was no row."""
        self.rejects.refuse(self.name)
        return self.frame

    def column(self, name: str) -> "pd.Series":
        """A column. Raises ValueError with the columns that are there and the nearest name."""
        import pandas as pd

        return pd.Series(self.cells(find_column(self.columns, name, self.name)), dtype="object")

    def check_columns(self, names: Iterable[str]) -> None:
        """Raise ValueError where a column is not there, or twice."""
        for name in names:
            find_column(self.columns, name, self.name)

    def cells(self, position: int) -> list[str]:
        """n cells of a column."""
        return [cell or "" for chunk in self.chunks for cell in chunk.texts(position, self.columns[position])]


def read_rows(path: Input, options: ReadOptions | None = None, **changes: Any) -> Table:
    """Read a table whole (see :func:`~hjc.tables.readers.open_table` for what it takes and raises)."""
    rejects = Rejects(keep=True)
    with open_table(path, options, rejects=rejects, **changes) as reader:
        return Table(list(reader.chunks()), reader.columns, rejects, reader.label)


def read_table(path: Input, options: ReadOptions | None = None, **changes: Any) -> "pd.DataFrame":
    """All rows of a file as text.

    Raises:
        ValueError: as open_table, and where a line is no row; read_rows returns such lines in ``rejects``.
    """
    return read_rows(path, options, **changes).whole()
