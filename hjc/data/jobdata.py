"""JobData: the one form in which texts and their codes reach a classifier. n rows, N nodes of the taxonomy."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import BoolArray, Float32, IntArray
from hjc.taxonomy.tree import Taxonomy

#: gold of a row without a code
UNLABELLED = -1
_COLUMNS = ("texts", "gold", "language", "source", "weight", "group", "row", "id")


@dataclass(frozen=True, eq=False, repr=False)
class JobData:
    """Texts with gold codes on one taxonomy. Columns that are left out are filled: "" or weight 1.

    Args:
        taxonomy: the tree that ``gold`` points into.
        texts: n texts, never None; already joined from the text columns.
        gold: (n,) node number of the code, leaf or inner; -1 where there is none. Default: none anywhere.
        language: n language codes, "" where unknown.
        source: n names of where the row is from, "" where unknown.
        weight: (n,) float32, weights of the rows in the loss. Default 1.
        group: (n,) number of the group of near-duplicates (or of a group column); rows of one group belong on
            one side of a split. None: not known.
        row: (n,) 0-based position of the row in its file.
        id: n identifiers from the file, "" where there is none.

    Raises:
        ValueError: columns differ in length, a weight is negative or not finite, or gold is not a node number.
        TypeError: a text is not a string.
    """

    taxonomy: Taxonomy
    texts: tuple[str, ...]
    gold: IntArray = None  # type: ignore[assignment]  # filled in __post_init__
    language: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    weight: Float32 = None  # type: ignore[assignment]
    group: IntArray | None = None
    row: IntArray = None  # type: ignore[assignment]
    id: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.texts)
        fill: dict[str, Any] = {"texts": tuple(self.texts)}
        for name in ("language", "source", "id"):
            values = tuple(getattr(self, name))
            fill[name] = values if values or n == 0 else ("",) * n
        gold, weight, row = self.gold, self.weight, self.row
        fill["gold"] = np.full(n, UNLABELLED, np.int64) if gold is None else np.asarray(gold, dtype=np.int64)
        fill["weight"] = np.ones(n, np.float32) if weight is None else np.asarray(weight, dtype=np.float32)
        fill["row"] = np.arange(n, dtype=np.int64) if row is None else np.asarray(row, dtype=np.int64)
        if self.group is not None:
            fill["group"] = np.asarray(self.group, dtype=np.int64)
        for name, value in fill.items():
            if len(value) != n or (isinstance(value, np.ndarray) and value.ndim != 1):
                raise ValueError(f"{name}: got {np.shape(value)} for {n} texts; every column needs one value a text")
            object.__setattr__(self, name, value)
        bad = next((i for i, text in enumerate(self.texts) if not isinstance(text, str)), None)
        if bad is not None:
            raise TypeError(
                f"texts: row {bad} is {type(self.texts[bad]).__name__}, expected str; drop or fill it first"
            )
        if n and (self.gold.min() < UNLABELLED or self.gold.max() >= len(self.taxonomy)):
            raise ValueError(
                f"gold: got {self.gold.min()} to {self.gold.max()}, allowed are node numbers -1 (no code) to "
                f"{len(self.taxonomy) - 1} of {self.taxonomy.name!r}"
            )
        if n and not (np.isfinite(self.weight).all() and (self.weight >= 0).all()):
            raise ValueError("weight: got a negative or not finite value, allowed are numbers from 0")

    # ------------------------------------------------------------------ looking

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        languages = ",".join(sorted(set(self.language) - {""})) or "?"
        return f"JobData({len(self):,} rows, {int((self.gold >= 0).sum()):,} labelled, languages={languages})"

    @property
    def codes(self) -> tuple[str, ...]:
        """n codes, "" where a row has none."""
        names = (*self.taxonomy.codes, "")  # gold -1 reads the last entry
        return tuple(names[i] for i in self.gold.tolist())

    @property
    def is_labelled(self) -> BoolArray:
        """(n,) True where a row has a code."""
        return np.asarray(self.gold >= 0)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of texts and codes in their order: names a data set in a model's provenance."""
        digest = hashlib.sha256()
        for text, code in zip(self.texts, self.codes, strict=True):
            data = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d:%s>%d:%s;" % (len(data), data, len(code), code.encode()))
        return digest.hexdigest()

    # ------------------------------------------------------------------ making others

    def take(self, indices: npt.ArrayLike) -> "JobData":
        """The rows at ``indices`` (integers, any order) or where a boolean mask (n,) is True."""
        index = np.asarray(indices)
        if index.dtype == bool:
            if index.shape != (len(self),):
                raise ValueError(f"take: got a mask of shape {index.shape} for {len(self)} rows")
            index = np.flatnonzero(index)
        index = index.astype(np.int64).reshape(-1)  # an empty list arrives as float
        columns = {name: value for name in _COLUMNS if (value := getattr(self, name)) is not None}
        taken: dict[str, Any] = {
            name: tuple(map(value.__getitem__, index.tolist())) if isinstance(value, tuple) else value[index]
            for name, value in columns.items()
        }
        return replace(self, **taken)

    def labelled(self) -> "JobData":
        """The rows that have a code."""
        return self if self.is_labelled.all() else self.take(self.is_labelled)

    def truncate(self, depth: int) -> "JobData":
        """The same rows on ``taxonomy.truncate(depth)``; deeper codes become their ancestor at that level."""
        new = np.r_[self.taxonomy.truncation_map(depth), UNLABELLED]  # gold -1 reads the last entry
        return replace(self, taxonomy=self.taxonomy.truncate(depth), gold=new[self.gold])

    @classmethod
    def concat(cls, parts: Iterable["JobData"]) -> "JobData":
        """The rows of all parts in their order. Groups of different parts stay different.

        Raises:
            ValueError: no part was given, or parts lie on different taxonomies.
        """
        items = list(parts)
        if not items:
            raise ValueError("concat: got no parts, at least one is needed")
        first = items[0]
        for other in items[1:]:
            if other.taxonomy is not first.taxonomy and other.taxonomy != first.taxonomy:
                raise ValueError(
                    f"concat: parts lie on different taxonomies, {first.taxonomy!r} and {other.taxonomy!r}"
                )
        group: IntArray | None = None
        if any(part.group is not None for part in items):
            pieces: list[IntArray] = []
            start = 0
            for part in items:  # a part without groups: every row is a group of its own
                piece = np.arange(len(part)) if part.group is None else part.group
                pieces.append(np.unique(piece, return_inverse=True)[1].astype(np.int64) + start)
                start += len(np.unique(piece))
            group = np.concatenate(pieces)
        joined: dict[str, Any] = {"group": group}
        for name in _COLUMNS:
            if name != "group":
                columns = [getattr(part, name) for part in items]
                joined[name] = tuple(chain(*columns)) if isinstance(columns[0], tuple) else np.concatenate(columns)
        return cls(first.taxonomy, **joined)

    @classmethod
    def from_lists(
        cls,
        taxonomy: Taxonomy,
        texts: Sequence[str],
        codes: Sequence[str | None] | None = None,
        languages: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        weights: npt.ArrayLike | None = None,
        groups: npt.ArrayLike | None = None,
        ids: Sequence[str] | None = None,
    ) -> "JobData":
        """Build from plain lists. A code that is None or "" means the row has none.

        Raises:
            TaxonomyError: a code is unknown.
            ValueError: lengths differ.
        """
        n = len(texts)
        gold = np.full(n, UNLABELLED, np.int64)
        if codes is not None:
            if len(codes) != n:
                raise ValueError(f"codes: got {len(codes)} for {n} texts; every text needs a code, or None")
            known = np.array([code is not None and code != "" for code in codes], dtype=bool)
            gold[known] = taxonomy.encode([str(code) for code in codes if code is not None and code != ""])
        return cls(
            taxonomy=taxonomy,
            texts=tuple(texts),
            gold=gold,
            language=tuple(languages or ()),
            source=tuple(sources or ()),
            weight=None if weights is None else np.asarray(weights, dtype=np.float32),  # type: ignore[arg-type]
            group=None if groups is None else np.asarray(groups, dtype=np.int64),
            id=tuple(ids or ()),
        )
