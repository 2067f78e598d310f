"""A training table brought to the new edition of its taxonomy, a few thousand rows at a time."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from hjc.apply.loop import Columns, Part, Summary, write_parts
from hjc.apply.spelling import Spelling
from hjc.crosswalk.revision import Revision
from hjc.data.recipe import OK
from hjc.tables import Reader, Writer, write_frame


@dataclass
class RevisionSummary(Summary):
    """``written``: rows that came out, more than ``rows`` where rows of split codes were divided."""

    written: int = 0

    def message(self) -> str:
        return f"{self.rows:,} rows in"


REVISION_COLUMNS = {"code": "text", "weight": "number", "kind": "text", "status": "text"}


def revise_table(
    reader: Reader,
    writer: Writer,
    revision: Revision,
    code_column: str,
    *,
    weight_column: str = "",
    prefix: str = "new_",
    spelling: Spelling,
    summary: RevisionSummary,
) -> Counter[str]:
    """Write every row with its new code, weight, kind of change and status; return old code -> number of rows.

    Codes that a spreadsheet has spoiled are read as what they were where that is certain (``spelling``, which counts
    them); else the status says what seems to have happened. A row of a split code is written once for each successor
    when the revision says so. Rows without a new code are written with an empty one and a status that says why.

    Raises:
        ValueError: a column does not exist, or a weight is no number.
    """
    rows: Counter[str] = Counter()
    columns = Columns(code=code_column, weights=weight_column or None)

    def new(part: Part) -> dict[str, list[Any]]:
        codes = spelling.mend(part.cells[code_column])
        found = revision.apply(codes, part.weight.tolist())
        status = [
            OK if not r else spelling.hints.get(codes[i], r) if kind == "unmapped" else r
            for i, kind, r in zip(found.row.tolist(), found.kind, found.reason, strict=True)
        ]
        for i, reason in zip(found.row.tolist(), found.reason, strict=True):
            part.status[i] = reason or OK
        part.chunk = part.chunk.take(found.row.tolist())
        rows.update(codes)
        summary.written += len(found.row)
        return {
            f"{prefix}code": [c or None for c in found.code],
            f"{prefix}weight": found.weight.tolist(),
            f"{prefix}kind": [k or None for k in found.kind],
            f"{prefix}status": status,
        }

    check = partial(spelling.check, reader.label, "the old edition", "--table and --from")
    write_parts(reader, writer, columns, new, summary, check=check)
    return rows


def write_report(revision: Revision, rows: Mapping[str, int], path: str) -> None:
    """:meth:`Revision.report` as a CSV."""
    what, became = ["old_code", "old_title", "kind"], ["new_code", "new_title", "level", "successors", "lost", "reason"]
    write_frame(pd.DataFrame(revision.report(rows), columns=[*what, *became, "rows"]), path, "csv")
