"""Reading and writing tables: the one way in and out."""

from typing import TYPE_CHECKING

from hjc.plugins.lazy import lazy

if TYPE_CHECKING:
    from hjc.tables.base import Reader
    from hjc.tables.columns import find_column
    from hjc.tables.options import FORMATS, READABLE, ReadOptions, format_of
    from hjc.tables.readers import Table, open_cells, open_table, read_rows, read_table
    from hjc.tables.rejects import Rejects
    from hjc.tables.writers import Writer, check_output, open_output, write_frame

__all__ = [
    "FORMATS",
    "READABLE",
    "ReadOptions",
    "Reader",
    "Rejects",
    "Table",
    "Writer",
    "check_output",
    "find_column",
    "format_of",
    "open_cells",
    "open_output",
    "open_table",
    "read_rows",
    "read_table",
    "write_frame",
]

__getattr__ = lazy(
    __name__,
    {
        "hjc.tables.base": ("Reader",),
        "hjc.tables.columns": ("find_column",),
        "hjc.tables.options": ("FORMATS", "READABLE", "ReadOptions", "format_of"),
        "hjc.tables.readers": ("Table", "open_cells", "open_table", "read_rows", "read_table"),
        "hjc.tables.rejects": ("Rejects",),
        "hjc.tables.writers": ("Writer", "check_output", "open_output", "write_frame"),
    },
)
