"""A model goes over a table of any size: predict, estimate, review, carry over, translate.

Rows come out in the order they came in, with all their columns as they were; a row without a text that can be coded
stays in its place with a reason in the status column.
"""

from hjc.apply.coding import Plan, code_texts
from hjc.apply.run import Summary, code_table

__all__ = ["Plan", "Summary", "code_table", "code_texts"]
