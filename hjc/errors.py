"""Exceptions that callers may want to catch by name; everything else is a built-in exception."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches


class TaxonomyError(ValueError):
    """A code list is not a tree, or a code does not belong to it. The message names the codes."""


class ModelDirError(ValueError):
    """A directory is not a model directory, or a file in it is missing, truncated, altered or from elsewhere."""


class NotFittedError(RuntimeError):
    """A classifier was asked for probabilities before ``fit`` or ``load``."""


def name_some(values: Iterable[object], limit: int = 5) -> str:
    """The first ``limit`` values, quoted, and how many more there are: ``'a', 'b' and 3 more``."""
    items = list(values)
    shown = ", ".join(repr(str(v)) for v in items[:limit])
    more = len(items) - limit
    return f"{shown} and {more} more" if more > 0 else shown


def nearest(got: str, options: Iterable[str], prefix: str = "") -> str:
    """`` (did you mean x?); available: w, x, y`` with the hint only where something is near."""
    options = sorted(options)
    near = get_close_matches(got, options, n=1, cutoff=0.5)
    return (f" (did you mean {prefix}{near[0]}?)" if near else "") + f"; available: {', '.join(options)}"


def check_range(name: str, value: object, inside: bool, allowed: str) -> None:
    """Raise ValueError naming what was got and what is ``allowed`` ("integers from 1"), unless it is ``inside``."""
    if not inside:
        raise ValueError(f"{name}: got {value}, allowed are {allowed}")


def check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ValueError naming what was got and what is allowed."""
    if value not in allowed:
        raise ValueError(f"{name}: got {value!r}, allowed are {', '.join(one or repr(one) for one in allowed)}")


def check_choices(prefix: str, settings: object, choices: Mapping[str, Sequence[str]]) -> None:
    """:func:`check_choice` of several attributes of settings that are named ``prefix.attribute`` to users."""
    for name, allowed in choices.items():
        check_choice(f"{prefix}.{name}", getattr(settings, name), allowed)
