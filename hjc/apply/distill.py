"""Texts of a table for a student to learn from."""

import numpy as np

from hjc.data.recipe import OK, TextRecipe
from hjc.tables import ReadOptions, read_rows


def read_texts(
    path: str, recipe: TextRecipe, options: ReadOptions, *, most: int = 0, seed: int = 1
) -> tuple[list[str], str]:
    """The different texts of a table, and a sentence that counts them and what could not be used.

    Args:
        most: so many are drawn at random (0: all).

    Raises:
        FileNotFoundError, ValueError: no such file, no such column, no text.
    """
    table = read_rows(path, options)
    side = {s.column: table.column(s.column).tolist() for s in recipe.side if s.column in table.columns}
    texts, status = recipe.read([table.column(name).tolist() for name in recipe.columns], side)
    usable = list(dict.fromkeys(text for text, state in zip(texts, status, strict=True) if state == OK))
    if not usable:
        raise ValueError(f"{path}: no row of {len(texts):,} has a text")
    empty = sum(state != OK for state in status)
    note = f"{len(usable):,} different texts of {len(texts):,} rows" + (f"; {empty:,} have none" if empty else "")
    if 0 < most < len(usable):
        chosen = np.sort(np.random.default_rng(seed).permutation(len(usable))[:most])
        usable = [usable[i] for i in chosen.tolist()]
        note += f"; {most:,} of them drawn"
    return usable, note
