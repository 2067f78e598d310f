"""Cells that name one code or several, as text: ``2221``, ``2221|2222``, ``2221=0.6|2222=0.4``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from hjc.arrays import BoolArray, Float32

#: between other codes where no separator is given
SEPARATOR = "|"


@dataclass(frozen=True, eq=False)
class CodeCells:
    """What the cells of n rows name.

    Attributes:
        main: n texts, the first code of each row. weight: (n,) float32, its weight.
        others: row, code and weight of the further codes, by row.
        bad: (n,) a weight is no number above 0. cells: n texts, as they stood.
    """

    main: list[str]
    weight: Float32
    others: list[tuple[int, str, float]]
    bad: BoolArray
    cells: list[str]

    @classmethod
    def of(cls, main: Sequence[str], further: Sequence[str] | None = None, separator: str = "") -> Self:
        """From n cells of the code column and, where there is one, of the column of other codes.

        Args:
            separator: between the codes of a cell. Without one the code column has one code a cell, as it stands, and
                | lies between other codes.
        """
        n = len(main)
        first, weight, bad, cells = list(main), np.ones(n, np.float32), np.zeros(n, bool), list(main)
        found: list[tuple[int, str, float]] = []
        for i, cell in enumerate(main if separator else ()):
            if separator in cell or "=" in cell:
                codes = split_cell(cell, separator)
                first[i], weight[i] = codes[0] if codes else ("", 1.0)
                found += [(i, *code) for code in codes[1:]]
        for i, cell in enumerate(further or ()):
            if cell:
                found += [(i, *code) for code in split_cell(cell, separator or SEPARATOR)]
                cells[i] = f"{cells[i]} {cell}"
        bad[~(weight > 0)] = True
        bad[[i for i, _, w in found if not w > 0]] = True
        return cls(first, weight, sorted(found, key=lambda code: code[0]), bad, cells)


def split_cell(cell: str, separator: str = SEPARATOR) -> list[tuple[str, float]]:
    """``2221|2222=0.5`` -> (2221, 1.0), (2222, 0.5); a weight that is no finite number above 0 is NaN."""
    found = []
    for part in filter(None, map(str.strip, cell.split(separator))):
        code, given, text = part.partition("=")
        try:
            weight = float(text) if given else 1.0
        except ValueError:
            weight = float("nan")
        found.append((code.strip(), weight if 0 < weight < float("inf") else float("nan")))
    return found
