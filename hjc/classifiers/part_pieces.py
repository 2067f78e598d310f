"""Further models of a model of ads, as pieces of evidence: what each says, and which names are near in its space.

A part is asked for the title, or for the whole ad where it was trained with several text columns. One over a coarser
tree is a factor (:mod:`hjc.classifiers.coarser`). A part that reads titles and has an encoder is a second piece: the
names that lie near (:mod:`hjc.classifiers.near_names`).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hjc.arrays import Float32, Float64, FloatArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.coarser import Coarser
from hjc.classifiers.near_names import NearNames
from hjc.classifiers.read_rows import ReadRows
from hjc.classifiers.storage import load_arrays, save_arrays
from hjc.classifiers.vectors import ENCODER
from hjc.rerank.ads import Ad
from hjc.taxonomy import Taxonomy

NEAR_FILE = "near_names.safetensors"
#: numbers that are kept of each question while a model is fitted: 200 MB
_MOST_KEPT = 50_000_000


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
        #: what was asked of a part -> text -> its answer; None: no model is being fitted, nothing is kept
        self._answers: dict[str, dict[str, Float32]] | None = None

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

        From here on a part is asked of each title once, until :meth:`forget`.
        """
        self._answers = {} if self._answers is None else self._answers
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
        """The model is fitted: drop what parts have answered."""
        self._answers = None

    def _vectors(self, number: int, texts: Sequence[str]) -> Float32:
        return self._once(f"vectors {number}", texts, lambda some: self.parts[number].text_vectors(some).rows)

    def _once(self, what: str, texts: Sequence[str], ask: Callable[[Sequence[str]], FloatArray]) -> Float32:
        """(n, .) what ``ask`` answers. While a model is fitted texts come again and again: each is asked once."""
        if self._answers is None:
            return np.asarray(ask(texts), dtype=np.float32)
        known = self._answers.setdefault(what, {})
        new = [text for text in dict.fromkeys(texts) if text not in known]
        answers = dict(zip(new, np.asarray(ask(new), dtype=np.float32), strict=True)) if new else {}
        out = np.stack([answers[text] if text in answers else known[text] for text in texts])
        if len(known) * out.shape[1] < _MOST_KEPT:
            known.update(answers)
        return out

    def piece(self, k: int, ads: Sequence[Ad]) -> FloatArray:
        """(B, L) natural-log evidence of piece k for ads that have a title."""
        if k >= len(self.parts):
            number = list(self.near)[k - len(self.parts)]
            rows = self._vectors(number, [title_text(ad.title) for ad in ads])
            return self.near[number].log_proba(rows, self.taxonomy.num_leaves)
        part, coarser = self.parts[k], self.coarser[k]
        if len(part.recipe.columns) > 1:
            answer: FloatArray = part.leaf_log_proba([ad.text for ad in ads])
        else:
            answer = self._once(f"codes {k}", [title_text(ad.title) for ad in ads], part.leaf_log_proba)
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
