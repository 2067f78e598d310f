"""What the commands share that go over a table and write one: both open, with their messages, progress and log."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hjc.cli import session
from hjc.cli.aliases import Reading, Writing

if TYPE_CHECKING:
    from hjc.apply.loop import Columns, Summary
    from hjc.apply.priors import Find
    from hjc.classifiers.base import Classifier
    from hjc.tables import Reader, Writer


@contextmanager
def streams(
    source: str,
    output: str,
    summary: "Summary",
    reading: Reading,
    writing: Writing,
    *,
    batch_size: int,
    rejects: str | None = None,
    what: str = "read, and written",
) -> "Iterator[tuple[Reader, Callable[[Mapping[str, str]], Writer]]]":
    """An open input and a way to open the output with new columns, and what to say when the work stops early.

    Args:
        rejects: file for the lines that are no rows (OUTPUT.rejects.csv; of standard output they are only counted).
        what: see :func:`hjc.cli.session.stopping_early`.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: an input or output that cannot be; a column is there already.
    """
    from hjc.apply.predict import check_free
    from hjc.tables import Rejects, check_output, format_of, open_output, open_table

    options, target_kind = reading.of(source), format_of(output, writing.format, writing=True)
    check_output(output, source, overwrite=writing.overwrite)
    chosen = rejects or (None if output == "-" else f"{output}.rejects.csv")
    if chosen is not None:
        if chosen in (output, source, "-"):
            raise ValueError(f"--rejects: {chosen} is the input or the output; give a file of its own")
        check_output(chosen, source, output, overwrite=writing.overwrite or rejects is None)
    unreadable = Rejects(None if chosen is None else Path(chosen))
    with session.stopping_early(output, summary, what), ExitStack() as stack:
        # an error before the output is open leaves the file of an earlier run
        stack.push(lambda *error: unreadable.close(discard=error[0] is not None and not summary.rows))
        reader = stack.enter_context(
            open_table(source, options, rejects=unreadable, rows=batch_size, all_columns=target_kind != "jsonl")
        )

        def writer(columns: Mapping[str, str]) -> "Writer":
            check_free(list(columns), reader.columns)
            return stack.enter_context(open_output(output, target_kind, reader, columns, safe_cells=writing.safe_cells))

        yield reader, writer
    summary.unreadable_lines = unreadable.count
    session.note(unreadable.message())


def finish(
    output: str, command: str, summary: "Summary", messages: Iterable[str] = (), *, quiet: bool, **facts: Any
) -> None:
    """``OUT.log.json``: what came in, what went out, and what could not be done; then the last lines of a command."""
    counts = {"rows_in": summary.rows, "unreadable_lines": summary.unreadable_lines}
    session.finish(output, {"command": command, "output": output, **counts, **facts}, messages)
    note_summary(output, summary, quiet)


def note_summary(output: str, summary: "Summary", quiet: bool) -> None:
    """What was done, and where it went."""
    if not quiet:
        session.note(f"{summary.message()}{'' if output == '-' else f' -> {output}'}")


@contextmanager
def progress_of(reader: "Reader", quiet: bool, what: str = "coding") -> "Iterator[Callable[[Summary], None] | None]":
    """The progress of a command, gone when it ends; None when it is to be quiet."""
    from hjc.progress import RowsLine

    line = RowsLine(what, reader.fraction)
    yield None if quiet else lambda summary: line(summary.rows + summary.pending, summary.rate)
    line.clear()


def spoken(columns: "Columns", run_dir: str, reader: "Reader", given: str = "") -> "Columns":
    """The columns with the language's: the one given, or that of the training where the table has it.

    Says which side variables the table has not.
    """
    from hjc.apply.step import trained_column
    from hjc.classifiers.side import missing_side

    session.note(missing_side(columns.recipe, reader.columns))
    trained = trained_column(run_dir, "language_column")
    return replace(columns, language=given or (trained if trained in reader.columns else None))


def fitting(columns: "Columns", model: "Classifier", all_text: bool) -> "Columns":
    """The columns, of which one alone makes the texts where all together make texts that the model does not know."""
    from hjc.evaluation.kind import TextKind

    return columns if all_text else replace(columns, kind=TextKind.of(model.uncalibrated, columns.recipe))


def chosen(columns: "Columns") -> str:
    """What :func:`fitting` has come to; "" where all columns are used."""
    return "" if columns.kind is None else columns.kind.note()


def with_prior(
    classifier: "Classifier",
    prior: str | None,
    run_dir: str,
    calibrated: bool,
    find: "Find",
) -> "Classifier":
    """The classifier for the shares that ``--prior`` says; ``find`` estimates them from the rows."""
    from hjc.apply.priors import Wanted, estimated, given
    from hjc.report.scores import read_training_counts

    wanted = Wanted.of(prior)
    if wanted.kind != "em":
        counts = read_training_counts(run_dir, classifier.taxonomy)
        return given(classifier, wanted, None if counts is None else counts.astype(float))
    found = estimated(classifier, wanted, calibrated, find)
    session.notes(found.notes)
    return found.classifier


def best_of(model: "Classifier", raw: bool) -> "tuple[Classifier, bool]":
    """The calibrated model where there is one and ``--raw`` does not forbid it; whether that is so."""
    calibrated = model.calibrator is not None and not raw
    return (model.calibrated() if calibrated else model), calibrated
