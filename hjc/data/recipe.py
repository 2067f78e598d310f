"""TextRecipe: how a row becomes the text that a model sees. It is part of the model and lies in its config.json."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import numpy as np

from hjc.data.markup import has_html, has_words, is_page, readable, without_html
from hjc.data.settings import DataSettings, SideSettings
from hjc.data.side import with_side
from hjc.errors import name_some
from hjc.tables import find_column
from hjc.tables.undecoded import Undecoded

#: what programs write for a missing value; no job title is one of these
MISSING = frozenset(("nan", "NaN", "NAN", "<NA>", "None", "null", "NULL"))
OK = "ok"
EMPTY = "empty text"
UNDECODED = "bytes that are no UTF-8: a text that cannot be decoded"
NO_WORDS = "no words: only markup, control characters or punctuation"
#: of a text with mark-up so many times the characters to keep are looked at
_RAW = 10
# C0 and C1 controls but tab and line ends; byte order marks, half surrogate pairs and non-characters
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ud800-\udfff\ufffe\uffff]")
#: of these nothing is left, of the others a blank: they stood between words
_NOTHING = "\x00\ufeff\ufffe\uffff"


def clean_texts(texts: Sequence[str], max_chars: int = 0, strip_html: bool = False) -> tuple[list[str], dict[str, int]]:
    """Texts without control characters and outer blanks, cut to ``max_chars``.

    Args:
        texts: n texts.
        max_chars: characters to keep (0: all).
        strip_html: take mark-up out as models learnt it that say so; needs beautifulsoup4. Else it is taken out by
            :func:`hjc.data.markup.readable`.

    Returns:
        n texts, and how many were touched: control, html, cut. Keys without rows are left out.

    Raises:
        ImportError: ``strip_html`` without beautifulsoup4.
    """
    counts = dict.fromkeys(("control", "html", "cut"), 0)
    out: list[str] = []
    for text in texts:
        if _CONTROL.search(text):
            counts["control"] += 1
            text = _without_controls(text)
        if (has_html if strip_html else is_page)(text):
            counts["html"] += 1
            if max_chars and not strip_html:  # pages of megabytes take minutes
                text = text[: _RAW * max_chars]
            text = _without_controls(without_html(text) if strip_html else readable(text))  # entities may be controls
        text = text.strip()
        if max_chars and len(text) > max_chars:
            counts["cut"] += 1
            text = text[:max_chars].rstrip()
        out.append(text)
    return out, {key: count for key, count in counts.items() if count}


def _without_controls(text: str) -> str:
    return _CONTROL.sub(lambda found: "" if found[0] in _NOTHING else " ", text)


def present(cell: str | None) -> str:
    """A cell without outer blanks; "" where there is none, what programs write for a missing value, or no text."""
    return "" if cell is None or (text := cell.strip()) in MISSING or isinstance(cell, Undecoded) else text


def marked(cells: Sequence[Sequence[str | None]]) -> int:
    """How many rows have mark-up in a cell."""
    return len({i for column in cells for i, cell in enumerate(column) if cell and is_page(cell)})


def marked_note(rows: int) -> str:
    """What is to be told of so many rows with mark-up; "" for none."""
    return f"{rows:,} row{'s' * (rows != 1)} with HTML: read without the tags" if rows else ""


def undecoded(cells: Sequence[Sequence[str | None]]) -> list[int]:
    """The rows where a cell of a column is bytes that are no text."""
    return sorted({i for column in cells for i, cell in enumerate(column) if isinstance(cell, Undecoded)})


def text_status(joined: str, cleaned: str) -> str:
    """``ok``, or why a text cannot be coded: its cells are missing or blank, or it has no letter and no digit.

    Args:
        joined, cleaned: of :meth:`TextRecipe.join` and :meth:`TextRecipe.clean`.
    """
    if not joined:
        return EMPTY
    return OK if has_words(cleaned) else NO_WORDS


@dataclass(frozen=True)
class TextRecipe:
    """Cells of the columns joined, cleaned and cut.

    Args:
        columns: joined in this order; () where the training had none by name (the bundled sample, lists of texts).
        joiner: between the columns; cells that are empty or missing leave none behind.
        max_chars: longer texts are cut (0: never).
        strip_html: how mark-up is taken out: as earlier versions did where they were asked to (needs beautifulsoup4),
            or by :func:`hjc.data.markup.readable`.
        side: columns beside the text that the model reads as well (:mod:`hjc.data.side`); as objects or as mappings.

    Raises:
        TypeError, ValueError: a value of another kind, or ``max_chars`` below 0.
    """

    columns: tuple[str, ...] = ()
    joiner: str = "\n"
    max_chars: int = 20_000
    strip_html: bool = False
    side: tuple[SideSettings, ...] = ()

    def __post_init__(self) -> None:
        names = self.columns
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"recipe: columns: got {names!r}, expected names of columns")
        object.__setattr__(self, "columns", tuple(names))
        for name, kind in (("joiner", str), ("max_chars", int), ("strip_html", bool)):
            if type(value := getattr(self, name)) is not kind:
                raise TypeError(f"recipe: {name}: got {value!r}, expected {kind.__name__}")
        side = (s if isinstance(s, SideSettings) else SideSettings(**s) for s in self.side)
        object.__setattr__(self, "side", tuple(side))
        if self.max_chars < 0:
            raise ValueError(f"recipe: max_chars: got {self.max_chars}, allowed are integers from 0 (no limit)")

    # ------------------------------------------------------------------ as settings and as JSON

    @classmethod
    def of(cls, data: DataSettings) -> Self:
        """The recipe that training data with these settings are read by."""
        columns = () if data.sample else tuple(data.text_columns)
        return cls(columns, data.text_joiner, data.max_chars, data.strip_html, () if data.sample else tuple(data.side))

    def settings(self) -> dict[str, Any]:
        """The fields of DataSettings that say the same."""
        plain = {"text_joiner": self.joiner, "max_chars": self.max_chars, "strip_html": self.strip_html}
        side = {"side": list(self.side)} if self.side else {}
        return {**plain, **side, **({"text_columns": list(self.columns)} if self.columns else {})}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        side = {"side": [asdict(s) for s in self.side]} if self.side else {}  # no key that an older hjc does not know
        return {**{k: v for k, v in asdict(self).items() if k != "side"}, "columns": list(self.columns), **side}

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """Of :meth:`to_dict`; what is left out has its default.

        Raises:
            TypeError, ValueError: no JSON object, a key that this hjc does not know, or as the class.
        """
        if not isinstance(values, Mapping):
            raise TypeError(f"recipe: got {values!r}, expected a JSON object")
        if unknown := sorted(set(values) - {f.name for f in fields(cls)}):
            raise ValueError(f"recipe: this hjc knows no {name_some(unknown)}: upgrade hjc")
        return cls(**values)

    def of_columns(self, columns: Sequence[str]) -> Self:
        """The same with other columns."""
        return replace(self, columns=tuple(columns))

    def differences(self, other: "TextRecipe") -> list[str]:
        """What the other has otherwise: ``strip_html=True``."""
        mine = asdict(self)
        return [f"{name}={value!r}" for name, value in asdict(other).items() if value != mine[name]]

    # ------------------------------------------------------------------ making texts

    def join(self, cells: Sequence[Sequence[str | None]]) -> list[str]:
        """One text a row from the cells of each column, "" where no cell has any."""
        return [self.joiner.join(filter(None, map(present, row))) for row in zip(*cells, strict=True)]

    def clean(self, texts: Sequence[str]) -> tuple[list[str], dict[str, int]]:
        """The texts as the model takes them, and how many were touched; see :func:`clean_texts`."""
        return clean_texts(texts, self.max_chars, self.strip_html)

    def read(
        self, cells: Sequence[Sequence[str | None]], side: Mapping[str, Sequence[str | None]] | None = None
    ) -> tuple[list[str], list[str]]:
        """The texts of rows, from the cells of each column, and their statuses (:func:`text_status`).

        ``side``: column -> cells of the side variables that are there.
        """
        joined = self.join(cells)
        cleaned, _ = self.clean(joined)
        status = [text_status(a, b) for a, b in zip(joined, cleaned, strict=True)]
        for i in undecoded(cells):
            status[i] = UNDECODED
        return self.beside(cleaned, side or {}), status

    def beside(self, texts: Sequence[str], side: Mapping[str, Sequence[str | None]]) -> list[str]:
        """Texts that carry the side variables of their rows."""
        wanted = {s.column: list(map(present, side[s.column])) for s in self.side if s.column in side}
        return with_side(texts, wanted)

    def texts(self, rows: Any) -> list[str]:
        """The texts of rows from Python, as ``hjc predict`` makes them of a file.

        Args:
            rows: a list, tuple, array or Series of texts, which stand for rows that are joined already; or a DataFrame
                or a list of mappings with the columns of the recipe. None and NaN are missing cells.

        Returns:
            n texts, "" where there is none.

        Raises:
            TypeError: one string, another container, or a cell that is no text; says what to pass.
            ValueError: a column is not there, or the recipe knows none.
        """
        texts = self.clean(self.join(self._cells(rows)))[0]
        return self.beside(texts, self._side(rows)) if self.side else texts

    def _side(self, rows: Any) -> dict[str, list[str | None]]:
        """Column -> cells of the side variables that a table has; numbers become text."""
        if hasattr(rows, "columns"):
            taken = {s.column: list(rows[s.column]) for s in self.side if s.column in list(rows.columns)}
        elif isinstance(rows, list | tuple) and rows and all(isinstance(row, Mapping) for row in rows):
            taken = {s.column: [row.get(s.column) for row in rows] for s in self.side}
        else:  # texts alone
            return {}
        return {name: [None if _is_missing(v) else _written(v) for v in cells] for name, cells in taken.items()}

    def _cells(self, rows: Any) -> list[list[str | None]]:
        names = getattr(rows, "columns", None)
        if names is None and not isinstance(rows, (list, tuple, np.ndarray)) and not _is_series(rows):
            got = f"one string, {rows!r:.40}" if isinstance(rows, str) else f"a {type(rows).__name__}"
            file = "; a file is read first: pandas.read_csv(path, dtype=str)" if _is_file(rows) else ""
            raise TypeError(f"got {got}{file}; {self._wanted}")
        if names is None and getattr(rows, "ndim", 1) != 1:
            raise TypeError(f"got an array of shape {np.shape(rows)}; {self._wanted}")
        if names is None and not (len(rows) and any(isinstance(row, Mapping) for row in rows)):
            return [self._column(list(rows), "text")]
        if names is None:
            if other := [i for i, row in enumerate(rows) if not isinstance(row, Mapping)]:
                raise TypeError(f"row {other[0]} is {type(rows[other[0]]).__name__}, others are mappings")
            names = list(dict.fromkeys(key for row in rows for key in row))
            taken = {name: [row.get(name) for row in rows] for name in names}
        else:
            names, taken = list(names), rows
        if not self.columns:
            raise ValueError(
                f"the model does not say which of the columns {name_some(names)} make a text: pass a list of texts, "
                "or set its recipe, e.g. model.recipe = TextRecipe(columns=('title', 'description'))"
            )
        try:
            found = [names[find_column([str(name) for name in names], c, "the rows")] for c in self.columns]
        except ValueError as error:
            raise ValueError(f"{error}; {self._wanted}") from None
        return [self._column(list(taken[name]), str(name)) for name in found]

    @property
    def _wanted(self) -> str:
        table = f", or a DataFrame with the columns {name_some(self.columns)}" if self.columns else ""
        return f"pass a list of texts, e.g. ['registered nurse']{table}"

    def _column(self, values: list[Any], name: str) -> list[str | None]:
        for i, value in enumerate(values):
            if isinstance(value, str):
                continue
            if not _is_missing(value):
                raise TypeError(f"{name}: row {i} is {type(value).__name__}, expected str; {self._wanted}")
            values[i] = None
        return values


def _written(value: Any) -> str:
    """A cell as a table would have it: 62 and 62.0 are 62."""
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value) if whole else value)


def _is_file(rows: Any) -> bool:
    """Whether what is no rows looks like the path of a table."""
    return bool(re.search(r"\.(csv|tsv|txt|parquet|xlsx?|jsonl?)(\.(gz|bz2|xz|zip))?$", str(rows), re.IGNORECASE))


def _is_series(rows: Any) -> bool:
    """A column of pandas, Polars or Arrow, without importing any of them."""
    return isinstance(rows, Sequence) is False and hasattr(rows, "to_numpy") and hasattr(rows, "__len__")


def _is_missing(value: Any) -> bool:
    nan = isinstance(value, (float, np.floating)) and bool(np.isnan(value))
    return value is None or nan or type(value).__name__ in ("NAType", "NaTType")
