"""Reading and writing tables: the one way in and out."""

from hjc.tables.options import FORMATS, READABLE, ReadOptions, format_of
from hjc.tables.outputs import check_output
from hjc.tables.readers import Reader, find_column, open_cells, open_table
from hjc.tables.rejects import Rejects
from hjc.tables.whole import Table, read_rows, read_table
from hjc.tables.writers import Writer, open_output, write_frame

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
