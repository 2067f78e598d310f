"""A model goes over a table of any size: predict, estimate, review, drift, carry over, translate.

Rows come out in the order they came in, with all their columns as they were; a row without a text that can be coded
stays in its place with a reason in the status column.
"""
