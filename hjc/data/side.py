"""Side variables: columns beside the text (industry, portal, age) that a model may read as well.

A text carries those of its row: :class:`SideText` is the text itself, with the cells beside it. Whoever makes another
text of it (a part, a translation) drops them, and a model then reads them as missing, as every model must be able to.
n rows, F tokens of all variables.
"""

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np

from hjc.arrays import BoolArray, IntArray
from hjc.data.settings import SideSettings
from hjc.errors import name_some

#: categories of fewer training rows are unknown, parts of hierarchical codes too
MIN_ROWS = 2
#: thresholds of a numeric variable: quantiles of its training values
QUANTILES = np.linspace(0.1, 0.9, 9)
#: longest code whose beginnings are levels
_LONGEST = 12


class SideText(str):
    """A text with the side variables of its row: column -> cell; missing cells are left out.

    Two are equal where text and side variables are: who works on equal texts once does not mix rows up.
    """

    side: Mapping[str, str]

    def __new__(cls, text: str, side: Mapping[str, str]) -> Self:
        self = super().__new__(cls, text)
        self.side = side
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str.__eq__(self, other) and self.side == side_of(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        return SideText, (str(self), dict(self.side))

    def __str__(self) -> str:
        return "".join(self)  # plain


def side_of(text: str) -> Mapping[str, str]:
    """The side variables that a text carries; none for a plain one."""
    return getattr(text, "side", {})


def with_side(texts: Sequence[str], cells: Mapping[str, Sequence[str | None]]) -> list[str]:
    """Texts (n) that carry ``cells``: column -> n cells, None or "" where missing."""
    columns = list(cells)
    if not columns:
        return list(texts)
    rows = zip(*cells.values(), strict=True)
    kept = ({c: v for c, v in zip(columns, row, strict=True) if v} for row in rows)
    return [SideText(text, side) if side else text for text, side in zip(texts, kept, strict=True)]


def numeric(cell: str) -> float:
    """A cell as a number, NaN where it is none; a decimal comma is a point."""
    try:
        value = float(cell.replace(",", ".").replace("\u00a0", "").replace(" ", ""))
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def levels_of(cell: str, separator: str) -> list[str]:
    """A hierarchical code and those above it: ``62.01`` -> 6, 62, 62.0, 62.01; with a separator, paths of parts."""
    if separator:
        parts = [part.strip() for part in cell.split(separator)]
        return [separator.join(parts[: i + 1]) for i in range(len(parts))]
    ends = [i for i in range(1, min(len(cell), _LONGEST) + 1) if i == len(cell) or cell[i - 1].isalnum()]
    return list(dict.fromkeys([*(cell[:i] for i in ends), cell]))


@dataclass(eq=False)
class SideVocabulary:
    """The tokens of side variables, numbered 0 to F - 1 in the order of the variables.

    A category is one token; a hierarchical code one for itself and each code above it; a number one for each threshold
    that it reaches (thermometer code), thresholds being quantiles of the training rows. A missing cell has none.

    Attributes:
        columns: the variables. tokens: of each variable, token -> number. edges: of each variable, thresholds.
        hashing: tokens of categories are hashed into so many numbers for all variables together; 0: they are listed.
        unknown: cells that gave no token, by column: categories that training did not know, numbers that are none.
    """

    columns: tuple[SideSettings, ...]
    tokens: list[dict[str, int]]
    edges: list[list[float]]
    hashing: int = 0
    unknown: dict[str, Counter[str]] = field(default_factory=dict)

    @classmethod
    def fit(cls, columns: Sequence[SideSettings], texts: Sequence[str], *, hashing: int = 0) -> Self:
        """From training texts.

        Raises:
            ValueError: a variable that no training row has, or a numeric one without any number; ``hashing`` below 0.
        """
        if hashing < 0:
            raise ValueError(f"model.side_hashing: got {hashing}, allowed are 0 (tokens are listed) and more")
        tokens: list[dict[str, int]] = []
        edges: list[list[float]] = []
        start = 0
        for column in columns:
            cells = [cell for text in texts if (cell := side_of(text).get(column.column))]
            if not cells:
                raise ValueError(f"data.side: no training row has a value of {column.column!r}; take it out")
            cuts: list[float] = []
            if column.kind == "numeric":
                values = np.array([numeric(cell) for cell in cells])
                none = [cells[i] for i in np.flatnonzero(np.isnan(values)).tolist()]
                values = values[~np.isnan(values)]
                if not len(values):
                    raise ValueError(
                        f"data.side: no value of {column.column!r} is a number (the first is {cells[0]!r}); "
                        "its kind may be categorical"
                    )
                if none:
                    warnings.warn(
                        f"data.side: {len(none):,} of {len(cells):,} cells of {column.column!r} are no numbers and "
                        f"count as missing: {name_some(list(dict.fromkeys(none)))}",
                        stacklevel=2,
                    )
                cuts = np.unique(np.quantile(values, QUANTILES)).tolist()
            edges.append(cuts)
            names = cls._names(column, cuts)
            counts = Counter(name for cell in cells for name in names(cell))
            listed = [name for name, rows in sorted(counts.items()) if rows >= MIN_ROWS]
            if column.kind == "numeric":
                listed = ["number", *(f">={edge!r}" for edge in cuts)]
            own = {} if hashing and column.kind != "numeric" else {name: start + i for i, name in enumerate(listed)}
            tokens.append(own)
            start += len(own)
        return cls(tuple(columns), tokens, edges, hashing)

    @classmethod
    def of_recipe(cls, recipe: Any, texts: Sequence[str], *, hashing: int = 0) -> Self | None:
        """:meth:`fit` of the variables that a :class:`hjc.data.recipe.TextRecipe` names; None where it names none."""
        return cls.fit(recipe.side, texts, hashing=hashing) if recipe.side else None

    @staticmethod
    def _names(column: SideSettings, edges: Sequence[float]) -> Any:
        """What turns a cell into the names of its tokens."""
        if column.kind == "hierarchical":
            return lambda cell: levels_of(cell, column.separator)
        if column.kind == "categorical":
            return lambda cell: [cell]

        def of_number(cell: str) -> list[str]:
            value = numeric(cell)
            return [] if math.isnan(value) else ["number", *(f">={edge!r}" for edge in edges if value >= edge)]

        return of_number

    def __len__(self) -> int:
        """F."""
        return sum(map(len, self.tokens)) + self.hashing

    @property
    def variable(self) -> IntArray:
        """(F,) the variable of each token; hashed ones belong to none (-1)."""
        listed = [np.full(len(own), i) for i, own in enumerate(self.tokens)]
        return np.concatenate([*listed, np.full(self.hashing, -1)]).astype(np.int64)

    def _hashed(self, column: str, name: str) -> int:
        digest = hashlib.blake2b(f"{column}\0{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return len(self) - self.hashing + int.from_bytes(digest, "little") % self.hashing

    def of(self, texts: Sequence[str]) -> tuple[IntArray, IntArray, IntArray]:
        """The tokens of n texts laid end to end: row (m,), variable (m,), token (m,)."""
        rows: list[int] = []
        variables: list[int] = []
        found: list[int] = []
        names = [self._names(column, cuts) for column, cuts in zip(self.columns, self.edges, strict=True)]
        known: dict[tuple[int, str], list[int]] = {}
        for row, text in enumerate(texts):
            side = side_of(text)
            for i, column in enumerate(self.columns) if side else ():
                if not (cell := side.get(column.column)):
                    continue
                if (own := known.get((i, cell))) is None:
                    wanted = names[i](cell)
                    if self.hashing and column.kind != "numeric":
                        own = [self._hashed(column.column, name) for name in wanted]
                    else:
                        own = [self.tokens[i][name] for name in wanted if name in self.tokens[i]]
                    known[i, cell] = own
                if not own:
                    self.unknown.setdefault(column.column, Counter())[cell] += 1
                rows += [row] * len(own)
                variables += [i] * len(own)
                found += own
        return tuple(np.array(x, dtype=np.int64) for x in (rows, variables, found))  # type: ignore[return-value]

    def padded(self, texts: Sequence[str]) -> IntArray:
        """(n, K) tokens of each text, K the most that one has; F beyond a text's own."""
        row, _, token = self.of(texts)
        size = np.bincount(row, minlength=len(texts))
        out = np.full((len(texts), int(size.max(initial=0))), len(self), dtype=np.int64)
        out[row, np.arange(len(row)) - np.repeat(np.cumsum(size) - size, size)] = token
        return out

    def note(self) -> str:
        """What was not known, as a sentence; "" where everything was. Counting begins again."""
        parts = [
            f"{column}: {sum(cells.values()):,} cells ({name_some([c for c, _ in cells.most_common()])})"
            for column, cells in self.unknown.items()
        ]
        self.unknown = {}
        return f"side variables that training did not know count as missing: {'; '.join(parts)}" if parts else ""

    # ------------------------------------------------------------------ storage

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        columns = [asdict(column) for column in self.columns]
        return {
            "columns": columns,
            "tokens": [list(x) for x in self.tokens],
            "edges": self.edges,
            "hashing": self.hashing,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Of :meth:`to_dict`. Raises KeyError, TypeError, ValueError where it is none."""
        tokens: list[dict[str, int]] = []
        start = 0
        for own in values["tokens"]:
            tokens.append({str(name): start + i for i, name in enumerate(own)})
            start += len(own)
        columns = tuple(SideSettings(**column) for column in values["columns"])
        edges = [[float(edge) for edge in cuts] for cuts in values["edges"]]
        if not len(columns) == len(tokens) == len(edges):
            raise ValueError("side.json: columns, tokens and edges do not fit each other; save the model again")
        return cls(columns, tokens, edges, int(values["hashing"]))


def drop_variables(rows: IntArray, variables: IntArray, n: int, share: float, rng: np.random.Generator) -> BoolArray:
    """(m,) which tokens stay when every variable of every row is left out with probability ``share``."""
    kept = rng.random((n, int(variables.max(initial=-1)) + 1)) >= share
    return np.asarray(kept[rows, variables])
