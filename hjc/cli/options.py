"""What the commands share: errors as one message, exit codes, settings of the training of a model.

Exit codes: 0 done, 1 an error inside hjc (stack trace), 2 something the user can mend (one message), 130 Ctrl-C.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from hjc.data.recipe import TextRecipe

#: set by ``hjc --debug``
debug = False

INTERRUPTED = 130


def note(message: str) -> None:
    """A line on standard error; standard output is for results."""
    if message:
        print(message, file=sys.stderr, flush=True)


@contextmanager
def one_message() -> Iterator[None]:
    """Errors about files, codes and settings end the program with one message and exit code 2.

    ``--debug`` shows their stack trace instead; other errors (bugs) always show it.
    """
    from hjc.errors import NotFittedError

    try:
        yield
    except BrokenPipeError:
        # The reader of our output (head, say) has had enough: not an error worth a message.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except (ValueError, OSError, ImportError, NotFittedError) as error:
        # "cannot import name X from hjc.y" is a bug of ours; a missing extra is not
        if debug or (isinstance(error, ImportError) and (error.name or "").startswith("hjc")):
            raise
        note(f"error: {error}")
        raise typer.Exit(2) from None


@contextmanager
def _terminating_interrupts() -> Iterator[None]:
    """SIGTERM is as Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def stopping_early(output: str, summary: Any, what: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end a command that writes a table with exit code 130; says how far it came.

    Args:
        output: "-" or the file, whose rows so far are then in OUTPUT.partial.
        summary: its ``rows`` are those so far. what: "12 rows WHAT to out.csv.partial".
    """
    try:
        with _terminating_interrupts():
            yield
    except KeyboardInterrupt:
        where = "" if output == "-" else f" to {output}.partial"
        note(f"\ninterrupted: {summary.rows:,} rows {what}{where}")
        raise typer.Exit(INTERRUPTED) from None
    except Exception:
        if summary.rows and output != "-":
            note(f"stopped after {summary.rows:,} rows, which are in {output}.partial")
        raise


@contextmanager
def all_or_nothing(output: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end a command that only finished files are left of with exit code 130, and with a message."""
    try:
        with _terminating_interrupts():
            yield
    except KeyboardInterrupt:
        note(f"\ninterrupted: {output} was not finished; give the command again")
        raise typer.Exit(INTERRUPTED) from None


def recipe_of(run_dir: str, given: list[str] | None) -> "TextRecipe":
    """How the texts of a model are made: of the columns given, else of those of its training.

    Raises:
        FileNotFoundError, ModelDirError: there is no model. ValueError: neither columns are known.
    """
    from hjc.classifiers.record import stored_recipe

    recipe = stored_recipe(run_dir)
    if not given and not recipe.columns:
        raise ValueError("which column has the text? Give --text-column NAME (more than once for several columns)")
    return recipe.of_columns(given) if given else recipe
