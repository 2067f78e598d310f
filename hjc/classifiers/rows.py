"""Texts and codes from Python as JobData: what can be used, and a warning that counts what cannot."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from hjc.data.jobdata import UNLABELLED, JobData
from hjc.data.recipe import TextRecipe
from hjc.errors import name_some
from hjc.taxonomy import Taxonomy
from hjc.taxonomy.spelling import check_classification, is_missing, repair_codes

#: a list, tuple, array or Series of texts; a DataFrame or a list of mappings with the columns of the recipe
Texts: TypeAlias = Any
#: a list, tuple, array or Series of codes (text, numbers, None), or the name of a column of the texts
Codes: TypeAlias = Any


def labelled_rows(
    rows: Any, codes: Codes | None, taxonomy: Taxonomy, recipe: TextRecipe, name: str = "train"
) -> JobData:
    """The rows that ``fit(rows, codes=codes)`` is to learn from, or others that are given in that way.

    Raises:
        TypeError: codes of JobData, or texts without any. ValueError, TaxonomyError: as :func:`job_data`.
    """
    if isinstance(rows, JobData):
        if codes is not None:
            raise TypeError("codes: JobData has its codes already; pass codes only with texts")
        return rows
    if codes is None:
        raise TypeError(
            "texts need their codes: codes=codes. hjc.sklearn.HierarchicalClassifier has fit(X, y); "
            "JobData.from_lists(taxonomy, texts, codes) also takes languages, sources and weights"
        )
    return job_data(rows, codes, taxonomy, recipe, name)


def validation_rows(valid: Any, codes: Codes | None, taxonomy: Taxonomy, recipe: TextRecipe) -> JobData | None:
    """The rows that ``fit(..., valid)`` is to validate on; a table may have its codes in the column of the others.

    Raises:
        TypeError: it is neither JobData nor texts with codes. ValueError, TaxonomyError: as :func:`job_data`.
    """
    if valid is None or isinstance(valid, JobData):
        return valid
    if hasattr(valid, "columns") and isinstance(codes, str):
        return job_data(valid, codes, taxonomy, recipe, "valid")
    if isinstance(valid, tuple) and len(valid) == 2 and not isinstance(valid[0], str):
        return job_data(*valid, taxonomy, recipe, "valid")
    raise TypeError(
        f"valid: got a {type(valid).__name__}, expected JobData or (texts, codes) of rows to validate on. Codes of the "
        "training texts go into codes: fit(texts, codes=codes); hjc.sklearn.HierarchicalClassifier has fit(X, y)"
    )


def job_data(rows: Texts, codes: Codes, taxonomy: Taxonomy, recipe: TextRecipe, name: str = "rows") -> JobData:
    """The rows with a text and a code of the tree; the others are counted in a warning, by reason and position.

    Args:
        name: of the rows, for messages.

    Raises:
        TaxonomyError: most codes are not in the tree.
        ValueError: lengths differ, or no row is left. TypeError: no texts (see :meth:`TextRecipe.texts`).
    """
    texts = recipe.texts(rows)
    values = _column(rows, codes, name)
    if len(values) != len(texts):
        raise ValueError(f"{name}: got {len(texts):,} texts and {len(values):,} codes; every text needs its code")
    known, report = repair_codes(taxonomy, values, asking="nobody")
    check_classification(taxonomy, report, name, taxonomy.name, "pass the taxonomy that they are of")
    gold = np.array([taxonomy.index_of.get(code, UNLABELLED) for code in known], dtype=np.int64)
    bad: dict[str, list[int]] = {}
    for i, (text, code) in enumerate(zip(texts, known, strict=True)):
        if not text or gold[i] < 0:
            why = "no text" if not text else f"unknown code: {report.reasons.get(code, code)}" if code else "no code"
            bad.setdefault(why, []).append(i)
    if bad:
        count = sum(map(len, bad.values()))
        said = "; ".join(f"{why} ({len(at):,}: rows {_some(at)})" for why, at in list(bad.items())[:5])
        if count == len(texts):
            raise ValueError(f"{name}: no row can be used: {said}")
        warnings.warn(f"{name}: {count:,} of {len(texts):,} rows cannot be used: {said}", stacklevel=4)
    used = np.setdiff1d(np.arange(len(texts)), [i for at in bad.values() for i in at])
    return JobData(taxonomy, tuple(texts[i] for i in used.tolist()), gold[used], row=used)


def _some(rows: list[int]) -> str:
    """The first five positions."""
    return ", ".join(map(str, rows[:5])) + " ..." * (len(rows) > 5)


def _column(rows: Texts, codes: Codes, name: str) -> list[Any]:
    """The codes as a list; missing ones None."""
    if isinstance(codes, str):
        names = getattr(rows, "columns", None)
        if names is not None and codes in list(names):
            codes = rows[codes]
        elif isinstance(rows, Sequence) and rows and all(isinstance(row, Mapping) for row in rows):
            codes = [row.get(codes) for row in rows]
        else:
            have = f"the table has the columns {name_some(names)}" if names is not None else "the texts are no table"
            raise ValueError(f"{name}: there is no column of codes {codes!r}: {have}")
    if not hasattr(codes, "__len__"):
        raise TypeError(f"{name}: codes: got a {type(codes).__name__}, expected a list or Series of codes")
    return [None if is_missing(code) else code for code in list(codes)]
