"""What every command shares: errors as one message, exit codes, groups of options, notes on standard error.

Exit codes: 0 done, 1 an error inside hjc (stack trace), 2 something the user can mend (one message), 130 Ctrl-C.
"""

import inspect
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import typer

from hjc.cli.aliases import Json, Quiet

#: set by ``hjc --debug``
debug = False


@dataclass
class _Shown:
    """How a command shows what it found: ``json`` gathers ``values`` for one object at the end."""

    json: bool = False
    quiet: bool = False
    values: dict[str, Any] = field(default_factory=dict)


_shown = _Shown()

INTERRUPTED = 130
#: options that name what a command writes; every other file that is named is read
WRITTEN = {"output", "out", "rejects", "figure", "matrix"}


def note(message: str) -> None:
    """A line on standard error; standard output is for results. ``--quiet`` leaves warnings and errors."""
    if message and not (_shown.quiet and not message.startswith(("warning", "error"))):
        print(message, file=sys.stderr, flush=True)


def fill_closed_streams() -> None:
    """Standard streams that the caller closed: no file that is opened later gets their number, and notes go nowhere.

    ``sys.stdin`` and ``sys.stdout`` stay None, so that a table read or written there is an error and not lost.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(number)
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  as long as the process


def notes(messages: Iterable[str]) -> None:
    """Several lines on standard error."""
    for message in messages:
        note(message)


def add(app: typer.Typer, name: str, command: Callable[..., None], *, shows: bool = False) -> None:
    """Put a command into an app: errors as one message, groups of options spread out, and ``--quiet``.

    A parameter whose type is a dataclass (``read: Reading``) stands for an option for each of its fields; the command
    gets them together.

    Args:
        shows: it prints what it found by :func:`say`, :func:`tell` and :func:`show_table`: it has ``--json``.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {parameter: kind for parameter, kind in hints.items() if is_dataclass(kind)}
    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        if (group := groups.get(parameter.name)) is None:
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[parameter.name]))
            continue
        of_group = get_type_hints(group, include_extras=True)
        parameters += [
            inspect.Parameter(f.name, parameter.KEYWORD_ONLY, default=f.default, annotation=of_group[f.name])
            for f in fields(group)
        ]

    quiet_itself = any(p.name == "quiet" for p in parameters)
    extra = [("as_json", Json)] * shows + [("quiet", Quiet)] * (not quiet_itself)
    parameters += [
        inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for option, kind in extra
    ]

    def run(**given: Any) -> None:
        from hjc.progress import silence  # which takes rich along

        _shown.json = bool(given.pop("as_json")) if shows else False
        _shown.quiet = bool(given["quiet"] if quiet_itself else given.pop("quiet"))
        _shown.values = {}
        with one_message(), silence(_shown.quiet):
            for parameter, group in groups.items():
                given[parameter] = group(**{f.name: given.pop(f.name) for f in fields(group)})  # type: ignore[operator]
            if isinstance(model := given.get("run_dir"), str):
                given["run_dir"] = _local(model)
            try:
                with _inputs_kept(given):
                    command(**given)
            except typer.Exit:  # with a verdict of its own
                _close()
                raise
            _close()

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__wrapped__ = command  # type: ignore[attr-defined]
    app.command(name)(run)


@contextmanager
def _inputs_kept(given: dict[str, Any]) -> Iterator[None]:
    """Nothing that a command is given to read is written over: files that options name, and those of models."""
    from hjc.files import check_kept, keeping

    def named(value: Any) -> list[str]:
        return [one for one in (value if isinstance(value, list | tuple) else [value]) if isinstance(one, str) and one]

    read = [path for option, value in given.items() if option not in WRITTEN for path in named(value)]
    models = [Path(path) for path in read if os.path.isfile(os.path.join(path, "config.json"))]
    with keeping([*read, *(file for folder in models for file in _model_files(folder))]):
        for option in WRITTEN & given.keys():
            for path in named(given[option]):
                check_kept(path)  # before hours of work
        yield


def _model_files(folder: Path) -> Iterator[Path]:
    """What config.json says a model is made of."""
    from hjc.files import read_json

    yield from (folder / "config.json", folder / "train.yaml")
    with suppress(ValueError, OSError, TypeError, AttributeError):
        yield from (folder / name for name in read_json(folder / "config.json").get("files", {}))


def _local(model: str) -> str:
    """The folder of a run, or of a model on the hub (``org/name``, ``org/name@revision``), which is fetched."""
    if os.path.exists(model):
        return model
    from hjc.classifiers.hub import at_revision, find_model

    found = str(find_model(model))
    if found != model:
        note(f"{at_revision(found)} in {found}")
    return found


def _close() -> None:
    """Print what was gathered for JSON."""
    if _shown.json:
        print(json.dumps(_shown.values, ensure_ascii=False, indent=1, default=_plain))
        _shown.json = False


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays, and paths."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def as_json() -> bool:
    """Whether one JSON object was asked for."""
    return _shown.json


def say(text: str) -> None:
    """A line of results on standard output; not where JSON was asked for."""
    if not _shown.json:
        typer.echo(text)


def tell(**values: Any) -> None:
    """Values for the JSON object; NaN and infinite ones become null."""
    if _shown.json:
        _shown.values |= {key: _finite(value) for key, value in values.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    value = value.tolist() if hasattr(value, "tolist") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
    except (ValueError, OSError, ImportError, MemoryError, NotFittedError) as error:
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
        if summary.rows and output != "-" and os.path.exists(f"{os.path.realpath(output)}.partial"):
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


def finish(output: str, facts: dict[str, Any], messages: Iterable[str] = ()) -> None:
    """What stands at the end of a command: its log beside the output (a folder's log.json), then its sentences."""
    from hjc.files import write_json

    if output != "-":
        write_json(f"{output}/log.json" if os.path.isdir(output) else f"{output}.log.json", facts)
    notes(messages)


def show_table(key: str, title: str | None, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """A table on standard output; integers with thousands, other numbers with three decimals.

    In JSON ``key`` has a list of objects, one a row; of columns with one name the second is ``name_2``.
    """
    if _shown.json:
        names = [f"{c}_2" if c in columns[:i] else c for i, c in enumerate(columns)]
        tell(**{key: [dict(zip(names, row, strict=True)) for row in rows]})
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    def cell(value: Any) -> str:
        if isinstance(value, str):
            return escape(value)
        return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"

    table = Table(*columns, title=None if title is None else escape(title))
    for row in rows:
        table.add_row(*map(cell, row))
    Console(highlight=False).print(table)
