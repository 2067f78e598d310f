"""Arrow tables and batches coded where they are: for DuckDB, Polars, pandas, and whatever else speaks Arrow."""

import os
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

import pyarrow as pa

from hjc.apply.loop import Part
from hjc.apply.predict import check_free
from hjc.apply.step import Coder, Step
from hjc.classifiers.base import Classifier
from hjc.classifiers.side import missing_side
from hjc.tables.chunks import ArrowChunk

Held = TypeVar("Held", pa.RecordBatch, pa.Table, pa.RecordBatchReader)
#: rows that are coded at a time
ROWS = 4096
#: the data, in messages
LABEL = "the data"


class ArrowCoder:
    """Adds the columns of a step to Arrow data; what :func:`map_batches` returns. It can be called again and again.

    Args:
        coder: the loaded step. rows: coded at a time.
    """

    def __init__(self, coder: Coder, rows: int = ROWS) -> None:
        self.coder, self.rows = coder, rows

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """Of what comes out, from that of what goes in.

        Raises:
            ValueError: a text column is missing, or a new column is there already.
        """
        columns = self.coder.columns_in(schema.names)
        columns.among(schema.names, LABEL)
        if said := missing_side(columns.recipe, schema.names):
            warnings.warn(said.removeprefix("warning: "), stacklevel=3)
        check_free(list(self.coder.plan.columns), schema.names)
        return pa.schema([*schema, *self.new], metadata=schema.metadata)

    @property
    def new(self) -> list[pa.Field]:
        """The new columns: texts, and doubles that are null where there is no code."""
        kinds = {"number": pa.float64(), "text": pa.string()}
        return [pa.field(name, kinds[kind]) for name, kind in self.coder.plan.columns.items()]

    def __call__(self, data: Held) -> Held:
        """The same rows with the new columns: a batch for a batch, a table for a table, a reader for a reader.

        Raises:
            TypeError: it is none of these. ValueError: see :meth:`schema`.
        """
        if isinstance(data, pa.RecordBatchReader):
            schema = self.schema(data.schema)
            return pa.RecordBatchReader.from_batches(schema, (self._coded(batch, schema) for batch in data))
        if isinstance(data, pa.Table):
            schema = self.schema(data.schema)
            return pa.Table.from_batches([self._coded(batch, schema) for batch in data.to_batches()], schema)
        if isinstance(data, pa.RecordBatch):
            return self._coded(data, self.schema(data.schema))
        raise TypeError(
            f"expected a pyarrow Table, RecordBatch or RecordBatchReader, got {type(data).__name__}; Polars: "
            "frame.to_arrow(); DuckDB: relation.to_arrow_table(); pandas: pyarrow.Table.from_pandas(frame)"
        )

    def _coded(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        """A batch, so many rows at a time."""
        columns = self.coder.columns_in(batch.schema.names)
        positions = columns.among(batch.schema.names, LABEL)
        made = []
        for start in range(0, batch.num_rows, self.rows):
            part = batch.slice(start, self.rows)
            chunk = ArrowChunk(part, range(1, part.num_rows + 1))
            cells = {name: chunk.texts(at, name) for name, at in positions.items()}
            made.append(self.coder(Part(chunk, columns, cells, label=LABEL)))
        new = [pa.array([value for found in made for value in found[field.name]], field.type) for field in self.new]
        return pa.RecordBatch.from_arrays([*batch.columns, *new], schema=schema)


def map_batches(
    model: Classifier | str | os.PathLike[str],
    *,
    text: str | Sequence[str] = (),
    level: int | Sequence[int] = (),
    top_k: int = 1,
    language: str | None = None,
    prefix: str = "hjc_",
    calibrated: bool = False,
    precision: str | None = None,
    rows: int = ROWS,
    **rules: Any,
) -> ArrowCoder:
    """A function that codes Arrow data: ``code = hjc.map_batches(RUN_DIR, text="title")``, then ``code(table)``.

    Tables, batches and readers (which are not held in memory) come back with the columns that ``hjc predict`` adds,
    the same to the last digit. Rows without a text stay, with the reason in ``hjc_status``.

    Args:
        model: a run directory, or a model that :func:`hjc.load` gave.
        text: column or columns of the texts; those of the training by default.
        level: of the codes, one or several; the deepest by default. top_k: codes for each row and level.
        language: of the titles. prefix: of new columns. calibrated, precision: as of ``hjc predict``.
        rows: coded at a time.
        rules: ``back_off=0.7``, ``abstain=0.3`` and the other decisions of :class:`hjc.apply.decisions.DecisionPlan`.

    Raises:
        FileNotFoundError, ModelDirError: there is no model.
        ValueError: the columns of the texts are not known, or an option is out of its range.
    """
    step = Step(
        run_dir=str((model.directory or "") if isinstance(model, Classifier) else model), text_columns=named(text),
        levels=(level,) if isinstance(level, int) else tuple(level), top_k=top_k, title_language=language,
        prefix=prefix, calibrated=calibrated, precision=precision, rules=rules,
    )  # fmt: skip
    if not isinstance(model, Classifier):
        return ArrowCoder(step.load(), rows)
    return ArrowCoder(step.over(model if precision is None else model.compute_on(precision=precision)), rows)


def named(columns: str | Sequence[str]) -> tuple[str, ...]:
    """One column, or several."""
    return (columns,) if isinstance(columns, str) else tuple(columns)
