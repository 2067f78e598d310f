"""Further models of a model of ads, as pieces of evidence: what each says, and which names are near in its space.

A part is asked for the title, or for the whole ad where it was trained with several text columns. One over a coarser
tree is a factor (:mod:`hjc.classifiers.coarser`). A part that reads titles and has an encoder is a second piece: the
names that lie near (:mod:`hjc.classifiers.near_names`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hjc.arrays import Float64, FloatArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.coarser import Coarser
from hjc.classifiers.near_names import NearNames
from hjc.classifiers.read_rows import ReadRows
from hjc.classifiers.storage import load_arrays, save_arrays
from hjc.classifiers.vectors import ENCODER
from hjc.rerank.ads import Ad
from hjc.taxonomy import Taxonomy

NEAR_FILE = "near_names.safetensors"


def title_text(title: str) -> str:
    """A title as encoders are given it: they read capitals as other words."""
    return title.lower() if title.isupper() else title


class PartPieces:
    """Parts over a tree. ``near``: of the numbers of parts the names in their space, empty before :meth:`place`.

    Raises ValueError for a part of another tree.
    """

    def __init__(self, taxonomy: Taxonomy, parts: Sequence[Classifier]) -> None:
        self.taxonomy, self.parts = taxonomy, list(parts)
        #: of each part None, or how its answers over a coarser tree are read
        self.coarser = [None if p.taxonomy == taxonomy else _coarser(i, p, taxonomy) for i, p in enumerate(self.parts)]
        self.near: dict[int, NearNames] = {}
        self._placed: dict[tuple[int, str], FloatArray] = {}

    def __len__(self) -> int:
        return len(self.parts) + len(self.near)

    @property
    def names(self) -> list[str]:
        """Of every piece: parts, then names near in the space of a part."""
        return [f"part {i} ({part.name})" for i, part in enumerate(self.parts)] + [
            f"names near by part {i}" for i in self.near
        ]

    @property
    def of_title(self) -> list[int]:
        """Numbers of the pieces that read the title alone."""
        return [i for i, part in enumerate(self.parts) if len(part.recipe.columns) < 2] + list(
            range(len(self.parts), len(self))
        )

    def powers(self, coarser: float) -> Float64:
        """(pieces,) 1, and for a part of a coarser tree this."""
        return np.array([1.0 if c is None else coarser for c in self.coarser] + [1.0] * len(self.near))

    def place(self, rows: ReadRows, most: int, seed: int) -> None:
        """Put the titles of training rows into the space of each part that has one; ``most`` of them, 0: none.

        A title that was placed before is not encoded again, until :meth:`forget`.
        """
        spans = self.taxonomy.leaf_slice[rows.data.gold]
        first = [text.partition("\n")[0].strip() for text in rows.data.texts]
        at = [i for i, text in enumerate(first) if any(map(str.isalpha, text)) and spans[i, 1] - spans[i, 0] == 1]
        titles, leaf = [title_text(first[i]) for i in at], spans[at, 0]
        self.near = {
            i: NearNames.of(titles, leaf, lambda texts, i=i: self._vectors(i, texts), most, seed)  # type: ignore[misc]
            for i, part in enumerate(self.parts)
            if most and at and part.vector_space == ENCODER and len(part.recipe.columns) < 2
        }

    def forget(self) -> None:
        """Drop the vectors that are kept for the next :meth:`place`."""
        self._placed.clear()

    def _vectors(self, number: int, texts: Sequence[str]) -> FloatArray:
        new = [text for text in texts if (number, text) not in self._placed]
        if new:
            rows = np.asarray(self.parts[number].text_vectors(new).rows, dtype=np.float32)
            self._placed.update(((number, text), row) for text, row in zip(new, rows, strict=True))
        return np.stack([self._placed[number, text] for text in texts])

    def piece(self, k: int, ads: Sequence[Ad]) -> FloatArray:
        """(B, L) natural-log evidence of piece k for ads that have a title."""
        if k >= len(self.parts):
            number = list(self.near)[k - len(self.parts)]
            rows = self.parts[number].text_vectors([title_text(ad.title) for ad in ads]).rows
            return self.near[number].log_proba(rows, self.taxonomy.num_leaves)
        part, coarser = self.parts[k], self.coarser[k]
        whole = len(part.recipe.columns) > 1
        answer = part.leaf_log_proba([ad.text if whole else title_text(ad.title) for ad in ads])
        return answer if coarser is None else coarser.evidence(answer)

    def write(self, folder: Path) -> None:
        """Names in the space of parts; nothing where there are none."""
        if self.near:
            save_arrays(
                folder / NEAR_FILE, {f"{i}/{k}": a for i, near in self.near.items() for k, a in near.arrays().items()}
            )

    def read(self, path: Path, numbers: Sequence[int]) -> None:
        """What :meth:`write` wrote, of parts with these numbers.

        Raises:
            ValueError: numbers of no parts, or arrays that do not fit.
        """
        if any(not isinstance(i, int) or not 0 <= i < len(self.parts) for i in numbers):
            raise ValueError(f"near names of parts {list(numbers)}, but there are {len(self.parts)}; save it again")
        arrays = load_arrays(path)
        for i in numbers:
            own = {key.partition("/")[2]: a for key, a in arrays.items() if key.startswith(f"{i}/")}
            self.near[i] = NearNames.read(own, self.taxonomy.num_leaves)


def _coarser(number: int, part: Classifier, taxonomy: Taxonomy) -> Coarser:
    """How the answers of a part over another tree are read.

    Raises:
        ValueError: the trees have too few codes in common.
    """
    try:
        return Coarser.of(taxonomy, part.taxonomy)
    except ValueError as error:
        raise ValueError(f"model.parts: part {number} ({part.name}): {error}") from error
