"""What the commands share that go over a table and write one: both open, with their messages, progress and log."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hjc.cli import session
from hjc.files import write_json
from hjc.progress import RowsLine

if TYPE_CHECKING:
    from hjc.apply.loop import Summary
    from hjc.tables import Reader, Writer


@contextmanager
def streams(
    source: str,
    output: str,
    summary: "Summary",
    *,
    format: str | None,
    input_format: str | None,
    separator: str | None,
    encoding: str | None,
    batch_size: int,
    overwrite: bool,
    rejects: str | None = None,
    sheet: str | None = None,
    safe_cells: bool = False,
    what: str = "read, and written",
) -> "Iterator[tuple[Reader, Callable[[Mapping[str, str]], Writer]]]":
    """An open input and a way to open the output with new columns, and what to say when the work stops early.

    Args:
        rejects: file for the lines that are no rows (OUTPUT.rejects.csv; of standard output they are only counted).
        what: see :func:`hjc.cli.session.stopping_early`.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: an input or output that cannot be; a column is there already.
    """
    from hjc.apply.codes import check_free
    from hjc.tables import ReadOptions, Rejects, check_output, format_of, open_output, open_table

    kind = format_of(source, input_format, option="--input-format")
    reading = ReadOptions.given(format=kind, separator=separator, encoding=encoding, sheet=sheet)
    target_kind = format_of(output, format, writing=True)
    check_output(output, source, overwrite=overwrite)
    chosen = rejects or (None if output == "-" else f"{output}.rejects.csv")
    if chosen is not None:
        if chosen in (output, source, "-"):
            raise ValueError(f"--rejects: {chosen} is the input or the output; give a file of its own")
        check_output(chosen, source, output, overwrite=overwrite or rejects is None)
    unreadable = Rejects(None if chosen is None else Path(chosen))
    with session.stopping_early(output, summary, what), ExitStack() as stack:
        # an error before the output is open leaves the file of an earlier run
        stack.push(lambda *error: unreadable.close(discard=error[0] is not None and not summary.rows))
        reader = stack.enter_context(
            open_table(source, reading, rejects=unreadable, rows=batch_size, all_columns=target_kind != "jsonl")
        )

        def writer(columns: Mapping[str, str]) -> "Writer":
            check_free(list(columns), reader.columns)
            return stack.enter_context(open_output(output, target_kind, reader, columns, safe_cells=safe_cells))

        yield reader, writer
    summary.unreadable_lines = unreadable.count
    session.note(unreadable.message())


def note_summary(summary: "Summary", output: str) -> None:
    """The last line of a command: what was done, and where it went."""
    session.note(f"{summary.message()}{'' if output == '-' else f' -> {output}'}")


def write_log(output: str, command: str, summary: "Summary", **facts: Any) -> None:
    """``OUT.log.json``: what came in, what went out, and what could not be done."""
    if output != "-":
        counts = {"rows_in": summary.rows, "unreadable_lines": summary.unreadable_lines}
        write_json(f"{output}.log.json", {"command": command, "output": output, **counts, **facts})


@contextmanager
def progress_of(reader: "Reader", quiet: bool) -> "Iterator[Callable[[Summary], None] | None]":
    """The progress of a command, gone when it ends; None when it is to be quiet."""
    line = RowsLine("coding", reader.fraction)
    yield None if quiet else lambda summary: line(summary.rows + summary.pending, summary.rate)
    line.clear()
