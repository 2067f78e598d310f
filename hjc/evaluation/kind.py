"""More columns than a model knows what to do with: it is given the one that looks like its training texts.

A model of titles that is given title and description codes worse than by the title alone. What lies beside a model of
the texts it was validated on (or, without those, trained on) tells how long they were; columns that make texts of
another length are not all used, and it is said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from hjc.classifiers.base import Classifier
from hjc.classifiers.paths import model_root
from hjc.data.jobdata import JobData
from hjc.data.recipe import TextRecipe, present
from hjc.evaluation.drift_profile import PROFILE_FILE, read_profile
from hjc.evaluation.watch import LONGER, SHORTER

Cells = Sequence[Sequence[str | None]]


@dataclass
class TextKind:
    """Whether columns joined make texts as a model knows them, decided by the first rows that have any text.

    Attributes:
        words, characters: median length of the texts that the model knows; NaN where its profile is too old to say.
        columns: the columns that are given, two or more.
        only: the column that is used alone; None: all of them, or not decided yet.
        lengths: median characters of the joined texts and of those of ``only``.
        without: rows that have nothing in that column, and are coded by the others.
        decided: whether rows with a text have been seen.
    """

    words: float
    characters: float
    columns: tuple[str, ...]
    only: str | None = None
    lengths: tuple[float, float] = (0.0, 0.0)
    without: int = 0
    decided: bool = False

    @classmethod
    def of(cls, model: Classifier, recipe: TextRecipe | None) -> Self | None:
        """The kind of texts that a model knows; None where there is nothing to decide: one column is given, the model
        reads texts of any length or was trained with these very columns, or nothing tells the length of its texts."""
        folder = model.directory
        if recipe is None or len(recipe.columns) < 2 or folder is None:
            return None
        if (
            model.any_length
            or model.recipe.columns == recipe.columns
            or not (model_root(folder) / PROFILE_FILE).exists()
        ):
            return None
        profile, _ = read_profile(folder, model.taxonomy)
        found = profile.median_characters
        return cls(profile.median_words, found, recipe.columns) if found > 0 else None

    def use(self, only: str) -> None:
        """Use this column alone, which was chosen from other rows."""
        self.only, self.decided = only, True

    def choose(self, recipe: TextRecipe, cells: Cells) -> Cells:
        """The columns of some rows that texts are to be made of: all, or one, whose empty cells have the others'."""
        if not self.decided:
            self._decide(recipe, cells)
        if self.only is None:
            return cells
        at = self.columns.index(self.only)
        own, joined = list(map(present, cells[at])), recipe.join(cells)
        self.without += sum(bool(text) and not cell for cell, text in zip(own, joined, strict=True))
        return [[cell or text for cell, text in zip(own, joined, strict=True)]]

    def _decide(self, recipe: TextRecipe, cells: Cells) -> None:
        whole = _median(recipe.join(cells))
        if not whole:
            return  # no text yet
        self.decided = True
        if not whole > LONGER * self.characters:
            return
        sizes = [_median(list(map(present, column))) for column in cells]
        off = [abs(np.log(size / self.characters)) if size else np.inf for size in sizes]
        best = int(np.argmin(off))
        if SHORTER * self.characters <= sizes[best] <= LONGER * self.characters:
            self.only, self.lengths = self.columns[best], (whole, sizes[best])

    def note(self) -> str:
        """What was done otherwise than asked, and how to have it as asked; "" where all columns are used."""
        if self.only is None:
            return ""
        rest = f" (where it is empty, in {self.without:,}, by the rest)" if self.without else ""
        known = f"{self.words:.0f} words" if self.words > 0 else f"{self.characters:.0f} characters"
        return (
            f"coded by the column {self.only!r} alone{rest}: the model was trained on texts of {known} (median), and "
            f"{' and '.join(map(repr, self.columns))} together have {self.lengths[0]:.0f} characters. --all-text takes "
            "all columns, which is often worse. A model of ads (model=ads, hjc ready) knows what to do with them"
        )

    def rows(self, recipe: TextRecipe, data: JobData, cells: Cells, side: Mapping[str, list[str]]) -> JobData:
        """Rows that are read already, with the texts that are to be used. ``cells``, ``side``: of all rows of the file
        (:meth:`TextRecipe.read`)."""
        chosen = self.choose(recipe, cells)
        if self.only is None:
            return data
        texts, _ = recipe.read(chosen, side)
        return replace(data, texts=tuple(texts[i] for i in data.row.tolist()))


def _median(texts: Sequence[str]) -> float:
    """Median number of characters of the texts that are not empty; 0 where all are."""
    sizes = [len(text) for text in texts if text]
    return float(np.median(sizes)) if sizes else 0.0
