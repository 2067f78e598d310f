"""Reading and writing tables: the one way in and out."""

from hjc.tables.readers import FORMATS, Reader, find_column, format_of, open_input
from hjc.tables.rejects import Rejects
from hjc.tables.whole import read_rows, read_table
from hjc.tables.writers import Writer, check_output, open_output

__all__ = [
    "FORMATS",
    "Reader",
    "Rejects",
    "Writer",
    "check_output",
    "find_column",
    "format_of",
    "open_input",
    "open_output",
    "read_rows",
    "read_table",
]
