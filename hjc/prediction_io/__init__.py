"""Coding tables of any size: read a few thousand rows, code them, write them with the codes, next.

:func:`code_table` is the body of ``hjc predict``. Rows come out in the order they came in, with all their columns as
they were; a row without a text that can be coded stays in its place with a reason in the status column.
"""

from hjc.prediction_io.coding import Plan, code_texts, join_texts, text_status
from hjc.prediction_io.readers import FORMATS, Reader, find_column, format_of, open_input
from hjc.prediction_io.rejects import Rejects
from hjc.prediction_io.run import Summary, code_table
from hjc.prediction_io.writers import Writer, check_output, open_output

__all__ = [
    "FORMATS",
    "Plan",
    "Reader",
    "Rejects",
    "Summary",
    "Writer",
    "check_output",
    "code_table",
    "code_texts",
    "find_column",
    "format_of",
    "join_texts",
    "open_input",
    "open_output",
    "text_status",
]
