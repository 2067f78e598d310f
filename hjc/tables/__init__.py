"""Reading and writing tables: the one way in and out."""

from hjc.tables.base import Reader, find_column
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
