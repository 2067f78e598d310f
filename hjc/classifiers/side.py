"""Side variables beside tf-idf rows, and where they are stored. n rows, F features of the text, S side tokens."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.sparse_rows import SparseRows
from hjc.classifiers.storage import ModelDir
from hjc.data.recipe import TextRecipe
from hjc.data.side import SideVocabulary, drop_variables
from hjc.errors import name_some
from hjc.files import read_json

FILE_NAME = "side.json"


def beside(
    rows: SparseRows,
    vocabulary: SideVocabulary | None,
    texts: Sequence[str],
    settings: LinearSettings,
    *,
    training: bool = False,
) -> SparseRows:
    """(n, F) rows of the texts with (n, S) side variables, each of length ``side_weight``; as they are without any.

    ``training``: every variable of every row is left out with probability ``side_dropout``.
    """
    if vocabulary is None:
        return rows
    row, variable, token = vocabulary.of(texts)
    if training and settings.side_dropout:
        rng = np.random.default_rng(settings.seed)
        keep = drop_variables(row, variable, len(texts), settings.side_dropout, rng)
        row, variable, token = row[keep], variable[keep], token[keep]
    group = row * len(vocabulary.columns) + variable
    size = np.bincount(group, minlength=1)[group] if len(group) else group
    value = (settings.side_weight / np.sqrt(np.maximum(size, 1))).astype(np.float32)
    order = np.lexsort((token, row))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(texts)))])
    return SparseRows.beside([rows, SparseRows(indptr, token[order], value[order], len(vocabulary))])


def write_side(vocabulary: SideVocabulary | None, folder: Path) -> None:
    """side.json, where the model has side variables."""
    if vocabulary is not None:
        (folder / FILE_NAME).write_text(json.dumps(vocabulary.to_dict(), ensure_ascii=False) + "\n", encoding="utf-8")


def read_side(model: ModelDir) -> SideVocabulary | None:
    """Of :func:`write_side`. Raises KeyError, TypeError, ValueError where the file is none."""
    if not (model.path / FILE_NAME).exists():
        return None
    return SideVocabulary.from_dict(read_json(model.file(FILE_NAME)))


def missing_side(recipe: TextRecipe | None, columns: Collection[str]) -> str:
    """A warning that a table of these columns has not all that side variables are read from, or ""."""
    gone = [] if recipe is None else [one.column for one in recipe.side if one.column not in columns]
    said = f"warning: no column {name_some(gone)}: the model reads side variables as missing in every row"
    return said if gone else ""


def unknown_cells(side: SideVocabulary | None) -> str:
    """A warning about the cells that a model with these side variables did not know since it was last asked, or ""."""
    said = "" if side is None else side.note()
    return f"warning: {said}" if said else ""
