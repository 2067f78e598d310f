"""What the ``hjc data`` commands share: labelled rows from files, and tables copied row by row with new columns."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

    from hjc.data import JobData
    from hjc.data.reading import ReadFile
    from hjc.tables import Reader, Rejects
    from hjc.taxonomy import Taxonomy


def tree_of(spec: str, digits: str | None) -> "Taxonomy":
    """The taxonomy of ``--taxonomy``: isco08, a CSV or a model directory."""
    from hjc.cli.taxonomy import _load

    return _load(spec, digits)


def read_labelled(path: str, taxonomy: "Taxonomy", text: Sequence[str], code: str, **further: Any) -> "ReadFile":
    """The usable rows of one file. ``further`` settings: language_column, source_column, split_column, max_chars ..."""
    from hjc.data import DataSettings
    from hjc.data.reading import read_file

    settings = DataSettings(files=[path], text_columns=list(text), code_column=code, **further)
    return read_file(settings.all_sources()[0], settings, taxonomy)


def note_rejects(part: "ReadFile", label: str) -> None:
    """Say how many rows of a file could not be used and why."""
    from hjc.cli import options

    if len(part.rejects):
        reasons = part.rejects["reason"].value_counts()
        shown = ", ".join(f"{reason} ({count:,})" for reason, count in reasons.head(5).items())
        options.note(f"{label}: {len(part.rejects):,} rows cannot be used: {shown}")
    for line in part.notes:
        options.note(line if line.startswith(f"{label}: ") else f"{label}: {line}")


def write_rejects(folder: str, tables: "Sequence[DataFrame]") -> str:
    """FOLDER/rejects.csv with the rows that could not be used (file, row, id, reason, value); its path."""
    import pandas as pd

    path = Path(folder) / "rejects.csv"
    every = pd.concat(list(tables), ignore_index=True)
    every.sort_values(["file", "row"], kind="stable").to_csv(path, index=False, encoding="utf-8", lineterminator="\n")
    return str(path)


def account(part: "ReadFile") -> dict[str, Any]:
    """rows_in = rows_used + rejected, by reason: for the log of a command."""
    reasons = part.rejects["reason"].value_counts()
    return {
        "rows_in": len(part.data) + len(part.rejects),
        "rows_used": len(part.data),
        "rejected": {str(reason): int(count) for reason, count in reasons.items()},
    }


def by_split(part: "ReadFile", default: str) -> "dict[str, JobData]":
    """The rows of a file under the names of its split column; all under ``default`` without one."""
    if part.split is None:
        return {default: part.data}
    names = dict.fromkeys(part.split.tolist())
    return {str(name): part.data.take(part.split == name) for name in names}


@contextmanager
def rereadable(path: str) -> Iterator[str]:
    """The path itself, or for ``-`` a temporary copy of standard input, so that it can be read twice."""
    import shutil
    import sys
    import tempfile

    if path != "-":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "input"
        with copy.open("wb") as stream:
            shutil.copyfileobj(sys.stdin.buffer, stream)
        yield str(copy)


@contextmanager
def twice(source: str, kind: str, target: str, output: str) -> Iterator["tuple[Callable[[], Reader], Rejects]"]:
    """A way to open an input for each of two passes, and its unreadable lines, which the first pass writes to
    ``OUTPUT.rejects.csv``; an error takes that file away. They are told at the end.

    Args:
        kind, target: formats of the input and of the output.
    """
    from hjc.cli import options
    from hjc.tables import Rejects, open_input

    unreadable = Rejects(Path(f"{output}.rejects.csv"))
    if unreadable.path is not None:
        unreadable.path.unlink(missing_ok=True)
    passes = iter([unreadable])
    with rereadable(source) as path:

        def opened() -> "Reader":
            return open_input(path, kind, rejects=next(passes, None), table_output=target != "jsonl")

        try:
            yield opened, unreadable
        except BaseException:
            unreadable.close()
            if unreadable.path is not None:
                unreadable.path.unlink(missing_ok=True)
            raise
    unreadable.close()
    options.note(unreadable.message())


def read_columns(open_reader: Callable[[], "Reader"], names: Sequence[str]) -> list[list[str]]:
    """The values of some columns, "" where there is none: the first of two passes."""
    from hjc.tables import find_column

    with open_reader() as reader:
        positions = [find_column(reader.columns, name, reader.label) for name in names]
        out: list[list[str]] = [[] for _ in names]
        for chunk in reader.chunks():
            for values, position, name in zip(out, positions, names, strict=True):
                values.extend(value or "" for value in chunk.texts(position, name))
    return out


def copy_rows(
    open_reader: Callable[[], "Reader"],
    output: str,
    format: str,
    new: dict[str, tuple[str, Sequence[Any]]],
    keep: Sequence[bool] | None = None,
) -> int:
    """The second pass: rows where ``keep`` is True with ``new`` columns (name -> kind, one value an input row)."""
    from hjc.tables import open_output

    written = start = 0
    with ExitStack() as stack:
        reader = stack.enter_context(open_reader())
        if taken := sorted(set(new) & set(reader.columns)):
            raise ValueError(
                f"{reader.label} has a column {taken[0]!r} already; rename it, or give --column another name"
            )
        writer = stack.enter_context(open_output(output, format, reader, {k: kind for k, (kind, _) in new.items()}))
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


def write_log(path: str, **facts: Any) -> None:
    """A JSON file beside an output that says what was done."""
    Path(path).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
