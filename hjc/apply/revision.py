"""A training table brought to the new edition of its taxonomy, a few thousand rows at a time."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hjc.apply.run import Summary
from hjc.apply.spelling import Spelling
from hjc.arrays import IntArray
from hjc.crosswalk.revision import Revision
from hjc.data.recipe import OK
from hjc.tables.chunks import ArrowChunk, Chunk, JsonChunk, TextChunk
from hjc.tables.readers import Reader, find_column
from hjc.tables.writers import Writer


@dataclass
class RevisionSummary(Summary):
    """``written``: rows that came out, more than ``rows`` where rows of split codes were divided."""

    written: int = 0


REVISION_COLUMNS = {"code": "text", "weight": "number", "kind": "text", "status": "text"}


def revise_table(
    reader: Reader,
    writer: Writer,
    revision: Revision,
    code_column: str,
    *,
    weight_column: str = "",
    prefix: str = "new_",
    spelling: Spelling | None = None,
    progress: Callable[[Summary], None] | None = None,
    summary: RevisionSummary | None = None,
) -> Counter[str]:
    """Write every row with its new code, weight, kind of change and status; return old code -> number of rows.

    Codes that a spreadsheet has spoiled are read as what they were where that is certain (``spelling``, which counts
    them); else the status says what seems to have happened. A row of a split code is written once for each successor
    when the revision says so. Rows without a new code are written with an empty one and a status that says why.

    Raises:
        ValueError: a column does not exist, or a weight is no number.
    """
    summary = summary if summary is not None else RevisionSummary()
    spelling = spelling if spelling is not None else Spelling(frozenset(revision.codes))
    rows: Counter[str] = Counter()
    at = find_column(reader.columns, code_column, reader.label)
    weight_at = find_column(reader.columns, weight_column, reader.label) if weight_column else None
    for chunk in reader.chunks():
        codes = spelling.mend(chunk.texts(at, code_column))
        weights = None
        if weight_at is not None:
            weights = [_weight(w, reader.label, weight_column) for w in chunk.texts(weight_at, weight_column)]
        found = revision.apply(codes, weights)
        new = {
            f"{prefix}code": [c or None for c in found.code],
            f"{prefix}weight": found.weight.tolist(),
            f"{prefix}kind": [k or None for k in found.kind],
            f"{prefix}status": [
                OK if not r else spelling.hints.get(codes[i], r) if kind == "unmapped" else r
                for i, kind, r in zip(found.row.tolist(), found.kind, found.reason, strict=True)
            ],
        }
        writer.write(repeat_rows(chunk, found.row), new)
        rows.update(codes)
        summary.rows += len(chunk)
        summary.written += len(found.row)
        for reason in found.reason:
            if reason:
                summary.uncoded[reason] = summary.uncoded.get(reason, 0) + 1
        if progress is not None:
            progress(summary)
    spelling.check(reader.label, "the old edition", "--table and --from")
    writer.finish()
    return rows


def _weight(text: str | None, label: str, column: str) -> float:
    try:
        value = float((text or "").strip())
    except ValueError:
        value = float("nan")
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"{label}: column {column!r} has the weight {text!r}; weights are numbers from 0")
    return value


def repeat_rows(chunk: Chunk, rows: IntArray) -> Chunk:
    """The rows of a chunk at these positions, in this order; a position may come more than once."""
    if len(rows) == len(chunk) and bool((rows == np.arange(len(chunk))).all()):
        return chunk
    at = rows.tolist()
    if isinstance(chunk, TextChunk):
        return TextChunk([chunk.rows[i] for i in at])
    if isinstance(chunk, JsonChunk):
        return JsonChunk([chunk.lines[i] for i in at], [chunk.rows[i] for i in at])
    if isinstance(chunk, ArrowChunk):
        return ArrowChunk(chunk.batch.take(pa.array(at)))
    raise TypeError(f"no way to repeat rows of a {type(chunk).__name__}")
