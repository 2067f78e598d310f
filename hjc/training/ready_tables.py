"""Tables that are given to ``hjc ready`` and ``hjc learn``: which of their columns are which, and what lies in them."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from hjc.data.reading import read_file
from hjc.data.recipe import present
from hjc.data.settings import DataSettings, SourceSettings
from hjc.data.side import numeric
from hjc.data.splits import reject_reasons
from hjc.errors import name_some
from hjc.tables import open_table, read_table
from hjc.taxonomy import Taxonomy

COLUMNS = ("title", "body", "code", "language", "source")
#: names of columns that a list of titles, or of coded ads, may have, in any case
_TITLE, _BODY = ("title", "text", "label", "name"), ("body", "description", "ad", "text")
_CODE, _LANGUAGE = ("code", "isco08", "isco_code"), ("language", "lang")
#: how the column of inclusion probabilities ends that ``hjc review`` writes, after the prefix
_INCLUSION = "inclusion_probability"
#: inclusion probabilities that differ by no more than this share are the same
_EVEN = 1e-3
#: with fewer coded ads none is held back: a handful calibrates worse than the names do
LEAST_CODED = 40
#: what follows where none is
_NONE_HELD = (
    "so nothing shows what they have changed; title and body are weighed and probabilities calibrated as without them."
)


def titles_of(path: str, tree: Taxonomy) -> pd.DataFrame:
    """A further table of titles: columns :data:`COLUMNS`. Rows whose code is no leaf of the tree are left out.

    Raises:
        ValueError: no column of titles or codes, or no row that can be used.
    """
    table = read_table(path)
    title, code = _column(table.columns, _TITLE, path), _column(table.columns, _CODE, path)
    body, language = _body(table.columns, title, path), _any(table.columns, _LANGUAGE, path)
    found = pd.DataFrame(
        {"title": table[title], "body": table[body] if body else "", "code": table[code],
         "language": table[language] if language else "", "source": Path(path).name}
    )  # fmt: skip
    usable = found[found["code"].isin(tree.leaf_codes) & found["title"].str.strip().ne("")]
    if not len(usable):
        raise ValueError(f"{path}: no row has a title and a code that is a leaf of {tree.name}")
    return usable[list(COLUMNS)]


def _any(columns: Iterable[str], names: Sequence[str], path: str) -> str:
    """The first of the names that is a column, as the table spells it: best so, else in any case; "" where none is.

    Raises:
        ValueError: two columns are that name in other cases.
    """
    every = list(columns)
    for name in names:
        if name in every:
            return name
        found = [column for column in every if column.strip().casefold() == name]
        if len(found) > 1:
            raise ValueError(f"{path}: {name_some(found)} may all be the column {name!r}: rename all but one")
        if found:
            return found[0]
    return ""


def _column(columns: Iterable[str], names: Sequence[str], path: str, option: str = "") -> str:
    """As :func:`_any`, but one must be there; ``option``: by which the command lets the user name it ("": by none)."""
    if not (found := _any(columns, names, path)):
        raise ValueError(
            f"{path}: none of the columns {name_some(names)} is there, only {name_some(list(columns))}: "
            f"{f'name it ({option}) or ' if option else ''}rename one"
        )
    return found


def _text_columns(columns: Sequence[str], path: str, option: str = "") -> list[str]:
    """The column of titles, and that of bodies where there is one."""
    title = _column(columns, _TITLE, path, option)
    return list(filter(None, (title, _body(columns, title, path))))


def _body(columns: Iterable[str], title: str, path: str) -> str:
    """The column of bodies beside that of titles, "" where none is: also "text", where it is not the title."""
    return _any([column for column in columns if column != title], _BODY, path)


def _columns_of(path: str) -> list[str]:
    """The columns of a table, whose rows are not read."""
    with open_table(path) as reader:
        return list(reader.columns)


def text_columns_of(paths: Sequence[str], given_by: str = "--uncoded") -> list[str]:
    """The columns of title and body of tables that all have the same; ``given_by``: the option that they came by.

    Raises:
        ValueError: they have not.
    """
    found = [_text_columns(_columns_of(path), path) for path in paths]
    if any(columns != found[0] for columns in found):
        raise ValueError(
            f"{given_by}: the files have different columns ({name_some(map(str, found))}): give all the same"
        )
    return found[0] if found else []


def coded_source(path: str, role: str = "test", text_columns: Sequence[str] = (), code: str = "") -> SourceSettings:
    """A coded table; columns that are not said are found by their names (``text_columns``: title, then body)."""
    columns = _columns_of(path)
    name = Path(path).name.split(".")[0] if role == "test" else ""
    title_option, code_option = ("", "") if role == "test" else ("-t", "-c")  # tests have no options of their own
    return SourceSettings(
        path=path, role=role, name=name, text_columns=list(text_columns) or _text_columns(columns, path, title_option),
        code_column=code or _column(columns, _CODE, path, code_option), language_column=_any(columns, _LANGUAGE, path),
        source_column="", default_source="" if role == "test" else "coded",
    )  # fmt: skip


def _probability(cell: str) -> float:
    """An inclusion probability as :func:`hjc.data.reading.read_file` reads it; NaN where it is none."""
    value = numeric(cell or "0")
    return value if 0 <= value <= 1 else math.nan


@dataclass(frozen=True)
class CodedTable:
    """What lies in a table of coded ads: ``rows`` that can be trained on, the column of ``inclusion`` probabilities (""
    where there is none), and ``drawn``, how many of these rows have one above 0: those that may be held back.
    ``even``: all had the same chance to be drawn, so that they are like the ads to come. ``bad``: cells of the column
    that are no probability."""

    rows: int
    inclusion: str
    drawn: int
    even: bool
    bad: list[str]

    @classmethod
    def of(cls, source: SourceSettings, tree: Taxonomy, restore_zeros: bool = False) -> Self:
        """Read the table.

        Raises:
            TaxonomyError: no code, or most of them, are of the tree.
            ValueError: the column of codes is not there, or no row has a code and a text.
        """
        settings = DataSettings(sources=[source], restore_zeros=restore_zeros)
        found = read_file(settings.all_sources()[0], settings, tree, asking="command")
        if not len(found.data):
            reasons = reject_reasons(found.rejects) or f"none has a code in {source.code_column}"
            raise ValueError(f"{source.path}: there are no rows to learn from: {reasons}")
        columns = _columns_of(source.path)
        ends = [column for column in columns if column.strip().casefold().endswith(_INCLUSION)]
        if len(ends) != 1 or found.data.row is None:
            return cls(len(found.data), "", 0, True, [])
        cells = list(map(present, read_table(source.path)[ends[0]].tolist()))
        values = np.array([_probability(cells[i]) for i in found.data.row.tolist()])
        bad = [cells[i] for i in found.data.row[np.isnan(values)].tolist()]
        even = bool((values > 0).all() and np.ptp(values) <= _EVEN * values.max())
        return cls(len(values), ends[0], int((values > 0).sum()), even, bad)


@dataclass(frozen=True)
class Dealt:
    """Coded tables as they are to be split; whether their rows are like the ads to come (``even``); and why none of
    them validates where none does ("")."""

    sources: list[SourceSettings]
    even: bool = True
    few: str = ""


def dealt(
    sources: Sequence[SourceSettings], tree: Taxonomy, say: Callable[[str], None], restore_zeros: bool = False
) -> Dealt:
    """Coded tables as they are to be split.

    ``say`` is told which columns are taken for what, and what is wrong with rows that were picked.

    Raises:
        ValueError, TaxonomyError: as :meth:`CodedTable.of`.
    """
    found = [CodedTable.of(source, tree, restore_zeros) for source in sources]
    for source, table in zip(sources, found, strict=True):
        title, *bodies = source.text_columns or [""]
        said = f"bodies in {name_some(bodies)}" if bodies else "bodies in no column"
        say(f"{source.path}: {table.rows:,} coded rows; titles in {title!r}, {said}, codes in {source.code_column!r}")
        if table.bad:
            say(
                f"warning: {source.path}: {len(table.bad):,} cells of {table.inclusion} are no numbers from 0 to 1 "
                f"({name_some(sorted(set(table.bad)))}): mend them; such rows are left out, or count as picked where "
                "no cell is above 0"
            )
    even = all(table.even for table in found)
    all_train = [replace(source, role="train") for source in sources]
    if (rows := sum(table.rows for table in found)) < LEAST_CODED:
        return Dealt(all_train, even, (
            f"only {rows} coded ad{'' if rows == 1 else 's'}: all train and none is held back, {_NONE_HELD} From "
            f"{LEAST_CODED} on a fifth is held back; code about 100"
        ))  # fmt: skip
    if not any(table.drawn for table in found):
        if any(table.inclusion for table in found):
            say(
                "warning: the coded ads were picked to learn from (no row has an inclusion probability above 0), and "
                "so is the fifth of them that calibrates: probabilities will be too low. Draw some more with hjc "
                "review --strategy random, and give both tables"
            )
        return Dealt(list(sources), even)
    able = sum(table.drawn if table.inclusion else table.rows for table in found)
    if able < LEAST_CODED // 5:
        return Dealt(all_train, even, (
            f"of {rows:,} coded ads only {able} {'has' if able == 1 else 'have'} an inclusion probability above 0 and "
            f"can be held back: all train and none is, {_NONE_HELD} Draw about 100 with hjc review --strategy random"
        ))  # fmt: skip
    return Dealt([replace(s, inclusion_column=table.inclusion) for s, table in zip(sources, found, strict=True)], even)


def what_to_give(held: int, enough: int) -> str:
    """Advice where so few coded ads were held back; that of ``enough`` would suffice."""
    if held:
        return f"Give more of them, about {enough}"
    return (
        "Texts that the model was made from only train, and ads that are nearly one text are not parted: give about "
        f"{enough} others"
    )
