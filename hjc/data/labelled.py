"""One labelled file for the commands that look at data: its rows, its rejects, and what is said about them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hjc.data.jobdata import JobData
from hjc.data.reading import ReadFile, read_file
from hjc.data.settings import DataSettings
from hjc.taxonomy.tree import Taxonomy


def read_labelled(path: str, taxonomy: Taxonomy, text: Sequence[str], code: str, **further: Any) -> ReadFile:
    """The usable rows of one file. ``further`` settings of the data: language_column, max_chars, separator ..."""
    settings = DataSettings(files=[path], text_columns=list(text), code_column=code, **further)
    return read_file(settings.all_sources()[0], settings, taxonomy)


def reject_reasons(rejects: pd.DataFrame, most: int = 5) -> str:
    """``unknown code (12), no text (3)``."""
    reasons = rejects["reason"].value_counts().head(most)
    return ", ".join(f"{reason} ({count:,})" for reason, count in reasons.items())


def reading_notes(part: ReadFile, label: str) -> list[str]:
    """Sentences on how many rows of a file could not be used and why, and on what was mended."""
    found = [line if line.startswith(f"{label}: ") else f"{label}: {line}" for line in part.notes]
    if len(part.rejects):
        found.insert(0, f"{label}: {len(part.rejects):,} rows cannot be used: {reject_reasons(part.rejects)}")
    return found


def write_rejects(folder: str | Path, tables: Sequence[pd.DataFrame]) -> Path:
    """FOLDER/rejects.csv with the rows that could not be used (file, row, id, reason, value)."""
    path = Path(folder) / "rejects.csv"
    every = pd.concat(list(tables), ignore_index=True)
    every.sort_values(["file", "row"], kind="stable").to_csv(path, index=False, encoding="utf-8", lineterminator="\n")
    return path


def account(part: ReadFile) -> dict[str, Any]:
    """rows_in = rows_used + rejected, by reason: for the log of a command."""
    reasons = part.rejects["reason"].value_counts()
    return {
        "rows_in": len(part.data) + len(part.rejects),
        "rows_used": len(part.data),
        "rejected": {str(reason): int(count) for reason, count in reasons.items()},
    }


def by_split(part: ReadFile, default: str) -> dict[str, JobData]:
    """The rows of a file under the names of its split column; all under ``default`` without one."""
    if part.split is None:
        return {default: part.data}
    names = dict.fromkeys(part.split.tolist())
    return {str(name): part.data.take(part.split == name) for name in names}


def grouped(part: ReadFile) -> JobData:
    """The rows with their group column as numbers; a row without a group is one of its own."""
    if part.group is None:
        return part.data
    given = np.unique(part.group.astype(str), return_inverse=True)[1]
    alone = np.arange(len(part.data)) + given.max(initial=0) + 1
    return replace(part.data, group=np.where(part.group == "", alone, given))
