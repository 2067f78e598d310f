"""Texts of a table for a student to learn from."""

import numpy as np

from hjc.apply.loop import Columns, Summary, read_parts
from hjc.data.recipe import TextRecipe
from hjc.tables import ReadOptions, open_table


def read_texts(
    path: str, recipe: TextRecipe, options: ReadOptions, *, most: int = 0, seed: int = 1
) -> tuple[list[str], str]:
    """The different texts of a table, and a sentence that counts them and what could not be used.

    Args:
        most: so many are drawn at random (0: all).

    Raises:
        FileNotFoundError, ValueError: no such file, no such column, no text.
    """
    summary, found = Summary(), dict[str, None]()
    with open_table(path, options) as reader:
        for part in read_parts(reader, Columns(recipe), summary):
            found.update(dict.fromkeys(part.texts[i] for i in part.good.tolist()))
    if not found:
        raise ValueError(f"{path}: no row of {summary.rows:,} has a text")
    usable, empty = list(found), summary.uncoded.total()
    note = f"{len(usable):,} different texts of {summary.rows:,} rows" + (f"; {empty:,} have none" if empty else "")
    if 0 < most < len(usable):
        chosen = np.sort(np.random.default_rng(seed).permutation(len(usable))[:most])
        usable = [usable[i] for i in chosen.tolist()]
        note += f"; {most:,} of them drawn"
    return usable, note
