"""What each part of a model made of several knows, beside the whole: one table a set of rows."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from hjc.arrays import FloatArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.hybrid import part_line
from hjc.data.jobdata import JobData
from hjc.files import open_replacing

#: rows of a set that the parts are scored on at most, drawn with a fixed seed
PART_ROWS = 4000
PARTS_FILE = "parts.csv"


def timed(model: Classifier, texts: Sequence[str]) -> tuple[FloatArray, float]:
    """(n, L) log-probabilities, and the hours that a million such texts take on this machine."""
    started = time.perf_counter()
    log_proba = model.leaf_log_proba(texts)
    return log_proba, (time.perf_counter() - started) / len(texts) * 1e6 / 3600


def score_parts(model: Classifier, data: JobData) -> list[dict[str, Any]]:
    """A line a part, and one for the whole (see :func:`hjc.classifiers.hybrid.part_line`) with the hours that a million
    rows take on this machine. Empty where the model has no parts or no row has a code."""
    rows = data.labelled()
    if not model.named_parts or not len(rows):
        return []
    rows = rows.take(np.sort(np.random.default_rng(0).permutation(len(rows))[:PART_ROWS]))
    found, hours = {}, {}
    for name, part in model.named_parts.items():
        found[name], hours[name] = timed(part, rows.texts)
        if part.taxonomy != model.taxonomy:  # of a deeper tree
            found[name] = part.taxonomy.aggregate(found[name], model.taxonomy.depth)
    whole, together = model.of_parts(list(found.values())), sum(hours.values())
    found["whole"], hours["whole"] = timed(model, rows.texts) if whole is None else (whole, together)
    return [
        part_line(model.taxonomy, name, log_proba, rows.target) | {"hours_per_million_rows": round(hours[name], 2)}
        for name, log_proba in found.items()
    ]


def write_parts(directory: Path, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Path:
    """parts.csv: a row for each set, part and level."""
    rows = [
        {"set": name, "part": line["part"], "level": level + 1, "rows": line["rows"]}
        | {key: line[key][level] for key in ("recall@1", "log_loss", "ece")}
        | {key: line.get(key, "") for key in ("hours_per_million_rows", "fit_minutes")}
        for name, lines in found.items()
        for line in lines
        for level in range(len(line["recall@1"]))
    ]
    with open_replacing(directory / PARTS_FILE) as stream:
        stream.write(pd.DataFrame(rows).to_csv(index=False, lineterminator="\n").encode())
    return directory / PARTS_FILE


def show_parts(lines: Sequence[Mapping[str, Any]], title: str, out: Console) -> None:
    """recall@1 of every level, log-loss and the largest ECE of any level; what a million rows cost."""
    levels = range(1, len(lines[0]["recall@1"]) + 1)
    table = Table("", *(f"R@1 {level}" for level in levels), "log-loss", "ECE", "h / million", title=title)
    for line in lines:
        hours = line.get("hours_per_million_rows")
        table.add_row(
            line["part"],
            *(f"{100 * value:.1f}" for value in line["recall@1"]),
            f"{line['log_loss'][-1]:.3f}",
            f"{max(line['ece']):.3f}",
            "" if hours is None else f"{hours:.1f}",
        )
    out.print(table)
