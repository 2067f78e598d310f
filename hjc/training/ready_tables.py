"""Tables that are given to ``hjc ready`` and ``hjc learn``: which of their columns are which, and what lies in them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from hjc.data.recipe import present
from hjc.data.settings import SourceSettings
from hjc.errors import name_some
from hjc.tables import find_column, open_table, read_table
from hjc.taxonomy import Taxonomy

COLUMNS = ("title", "body", "code", "language", "source")
#: names of columns that a list of titles, or of coded ads, may have, in any case
_TITLE, _BODY = ("title", "text", "label", "name"), ("body", "description", "ad")
_CODE, _LANGUAGE = ("code", "isco08", "isco_code"), ("language", "lang")
#: how the column of inclusion probabilities ends that ``hjc review`` writes, after the prefix
_INCLUSION = "inclusion_probability"
#: with fewer coded ads none is held back: a handful calibrates worse than the names do
LEAST_CODED = 40


def titles_of(path: str, tree: Taxonomy) -> pd.DataFrame:
    """A further table of titles: columns :data:`COLUMNS`. Rows whose code is no leaf of the tree are left out.

    Raises:
        ValueError: no column of titles or codes, or no row that can be used.
    """
    table = read_table(path)
    title, code = _column(table.columns, _TITLE, path), _column(table.columns, _CODE, path)
    body, language = _any(table.columns, _BODY, path), _any(table.columns, _LANGUAGE, path)
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


def _column(columns: Iterable[str], names: Sequence[str], path: str) -> str:
    if not (found := _any(columns, names, path)):
        raise ValueError(
            f"{path}: none of the columns {name_some(names)} is there, only {name_some(list(columns))}: "
            "name it (hjc learn -t, -c) or rename one"
        )
    return found


def _text_columns(columns: Sequence[str], path: str) -> list[str]:
    """The column of titles, and that of bodies where there is one."""
    return list(filter(None, (_column(columns, _TITLE, path), _any(columns, _BODY, path))))


def _columns_of(path: str) -> list[str]:
    """The columns of a table, whose rows are not read."""
    with open_table(path) as reader:
        return list(reader.columns)


def text_columns_of(paths: Sequence[str]) -> list[str]:
    """The columns of title and body of tables that all have the same.

    Raises:
        ValueError: they have not.
    """
    found = [_text_columns(_columns_of(path), path) for path in paths]
    if any(columns != found[0] for columns in found):
        raise ValueError(
            f"--uncoded: the files have different columns ({name_some(map(str, found))}): give all the same"
        )
    return found[0] if found else []


def coded_source(path: str, role: str = "test", text_columns: Sequence[str] = (), code: str = "") -> SourceSettings:
    """A coded table; columns that are not said are found by their names (``text_columns``: title, then body)."""
    columns = _columns_of(path)
    name = Path(path).name.split(".")[0] if role == "test" else ""
    return SourceSettings(
        path=path, role=role, name=name, text_columns=list(text_columns) or _text_columns(columns, path),
        code_column=code or _column(columns, _CODE, path), language_column=_any(columns, _LANGUAGE, path),
        source_column="", default_source="" if role == "test" else "coded",
    )  # fmt: skip


def _is_drawn(cell: str | None) -> bool:
    try:
        return 0 < float(present(cell) or 0) <= 1
    except ValueError:
        return False


@dataclass(frozen=True)
class CodedTable:
    """What lies in a table of coded ads: ``rows`` that have a code, the column of ``inclusion`` probabilities ("" where
    there is none), and ``drawn``, how many of these rows have one above 0: those that may be held back."""

    rows: int
    inclusion: str
    drawn: int

    @classmethod
    def of(cls, source: SourceSettings) -> "CodedTable":
        """Go through the table.

        Raises:
            ValueError: the column of codes is not there, or no row has a code.
        """
        rows = drawn = 0
        with open_table(source.path) as reader:
            ends = [column for column in reader.columns if column.strip().casefold().endswith(_INCLUSION)]
            inclusion = ends[0] if len(ends) == 1 else ""
            at = find_column(reader.columns, source.code_column or "", source.path)
            beside = find_column(reader.columns, inclusion, source.path) if inclusion else -1
            for chunk in reader.chunks():
                coded = [bool(present(cell)) for cell in chunk.texts(at, source.code_column or "")]
                rows += sum(coded)
                if inclusion:
                    cells = chunk.texts(beside, inclusion)
                    drawn += sum(ok and _is_drawn(cell) for ok, cell in zip(coded, cells, strict=True))
        if not rows:
            raise ValueError(f"{source.path}: there are no rows to learn from: none has a code in {source.code_column}")
        return cls(rows, inclusion, drawn)


def dealt(sources: Sequence[SourceSettings], say: Callable[[str], None]) -> tuple[list[SourceSettings], str]:
    """Coded tables as they are to be split, and why none of their rows validates where none does ("").

    ``say`` is told which columns are taken for what, and what is wrong with rows that were picked.

    Raises:
        ValueError: a column of codes is not there, or a table has no codes.
    """
    found = [CodedTable.of(source) for source in sources]
    for source, table in zip(sources, found, strict=True):
        title, *bodies = source.text_columns or [""]
        said = f"bodies in {name_some(bodies)}" if bodies else "bodies in no column"
        say(f"{source.path}: {table.rows:,} coded rows; titles in {title!r}, {said}, codes in {source.code_column!r}")
    if (rows := sum(table.rows for table in found)) < LEAST_CODED:
        return [replace(source, role="train") for source in sources], (
            f"only {rows} coded ad{'' if rows == 1 else 's'}: all train and none is held back, so nothing shows what "
            "they have changed; title and body are weighed and probabilities calibrated as without them. From "
            f"{LEAST_CODED} on a fifth is held back; code about 100"
        )
    if not any(table.drawn for table in found):
        if any(table.inclusion for table in found):
            say(
                "warning: the coded ads were picked to learn from (no row has an inclusion probability above 0), and "
                "so is the fifth of them that calibrates: probabilities will be too low. Draw some more with hjc "
                "review --strategy random, and give both tables"
            )
        return list(sources), ""
    able = sum(table.drawn if table.inclusion else table.rows for table in found)
    if able < LEAST_CODED // 5:
        return [replace(source, role="train") for source in sources], (
            f"of {rows:,} coded ads only {able} {'has' if able == 1 else 'have'} an inclusion probability above 0 and "
            "can be held back: all train and none is, so nothing shows what they have changed; title and body are "
            "weighed and probabilities calibrated as without them. Draw about 100 with hjc review --strategy random"
        )
    return [replace(s, inclusion_column=table.inclusion) for s, table in zip(sources, found, strict=True)], ""
