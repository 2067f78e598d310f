"""A table copied row by row with new columns, in two passes: the columns that decide, then every row."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from hjc.errors import check_choice
from hjc.files import binary, is_special
from hjc.tables import (
    Reader,
    ReadOptions,
    Rejects,
    check_output,
    find_column,
    format_of,
    open_output,
    open_table,
    write_frame,
)


def write_tables(directory: Path | str, tables: Mapping[str, pd.DataFrame], kind: str = "csv") -> list[Path]:
    """Write ``NAME.csv`` for each table into a folder, which is made; their paths. ``kind``: csv or xlsx."""
    check_choice("--format", kind, ("csv", "xlsx"))
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for name in tables]
    for path, table in zip(paths, tables.values(), strict=True):
        write_frame(table, str(path), kind, float_format="%.6g")
    return paths


@dataclass
class Done:
    """What a command did: facts for its log, sentences for the user."""

    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list)


@dataclass
class Passes:
    """An input to be read more than once, and the output.

    Attributes:
        opened: opens the input for a pass. target: format of the output.
        unreadable: lines that are no rows, as the first pass found them.
    """

    opened: Callable[[], Reader]
    output: str
    target: str
    unreadable: Rejects
    safe_cells: bool = False

    def columns(self, names: Sequence[str]) -> list[list[str]]:
        """The values of some columns, "" where there is none: a first pass."""
        with self.opened() as reader:
            positions = [find_column(reader.columns, name, reader.label) for name in names]
            out: list[list[str]] = [[] for _ in names]
            for chunk in reader.chunks():
                for values, position, name in zip(out, positions, names, strict=True):
                    values.extend(value or "" for value in chunk.texts(position, name))
        return out

    def copy(self, new: dict[str, tuple[str, Sequence[Any]]], keep: Sequence[bool] | None = None) -> int:
        """Write the rows where ``keep`` is True with ``new`` columns (name -> kind, one value an input row); how many.

        Raises:
            ValueError: the input has such a column.
        """
        written = start = 0
        with ExitStack() as stack:
            reader = stack.enter_context(self.opened())
            if taken := sorted(set(new) & set(reader.columns)):
                raise ValueError(
                    f"{reader.label} has a column {taken[0]!r} already; rename it, or give --column another name"
                )
            kinds = {name: kind for name, (kind, _) in new.items()}
            writer = stack.enter_context(
                open_output(self.output, self.target, reader, kinds, safe_cells=self.safe_cells)
            )
            for chunk in reader.chunks():
                n = len(chunk)
                rows = [i for i in range(n) if keep is None or keep[start + i]]
                writer.write(
                    chunk if len(rows) == n else chunk.take(rows),
                    {name: [values[start + i] for i in rows] for name, (_, values) in new.items()},
                )
                written += len(rows)
                start += n
            writer.finish()
        return written


@contextmanager
def rereadable(path: str) -> Iterator[str]:
    """The path itself, or a temporary copy of standard input (``-``) or of a pipe, so that it can be read twice."""
    if path != "-" and not is_special(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        source = binary(sys.stdin) if path == "-" else stack.enter_context(Path(path).open("rb"))
        copy = Path(folder) / ("input" if path == "-" else Path(path).name)  # the name tells the format
        with copy.open("wb") as stream:
            shutil.copyfileobj(source, stream)
        yield str(copy)


@contextmanager
def passes(
    source: str,
    output: str,
    *,
    format: str | None = None,
    safe_cells: bool = False,
    rejects: str | None = None,
    overwrite: bool = False,
    input_format: str | None = None,
    rows: int = 8192,
    **reading: Any,
) -> Iterator[Passes]:
    """An input that is read more than once for one output.

    Unreadable lines are written to ``rejects`` (OUTPUT.rejects.csv); an error takes that file away.

    Args:
        format: of the output; None: by its name. safe_cells: of :func:`open_output`. input_format: of the input.
        rows: of a chunk. reading: of :class:`~hjc.tables.ReadOptions`.

    Raises:
        ValueError: unknown formats; the output exists and ``overwrite`` is not set.
    """
    options = ReadOptions.given(format=input_format, **reading)
    target = format_of(output, format, writing=True)
    check_output(output, source, overwrite=overwrite)
    rejects = rejects or f"{output}.rejects.csv"
    check_output(rejects, source, output, overwrite=True)
    unreadable = Rejects(Path(rejects))
    first = iter([unreadable])
    with rereadable(source) as again:

        def opened() -> Reader:
            return open_table(again, options, rejects=next(first, None), rows=rows, all_columns=target != "jsonl")

        try:
            yield Passes(opened, output, target, unreadable, safe_cells)
        except BaseException:
            unreadable.close(discard=True)
            raise
    unreadable.close()
