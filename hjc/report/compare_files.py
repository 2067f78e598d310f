"""Writes a comparison: compare.csv, compare.md, compare.tex, compare.html."""

import os
from pathlib import Path

from hjc.files import write_text
from hjc.report.compare_tables import latex, markdown, sections
from hjc.report.comparison import Comparison
from hjc.report.page import render

_SUBTITLE = (
    "Level 1 is the coarsest. Recall, macro recall and hierarchical F1 in percent, log-loss in nats; ECE is the "
    "calibration error of the most probable code. Rows are the same for all runs."
)


def write_comparison(found: Comparison, directory: str | os.PathLike[str]) -> list[Path]:
    """Write the four files into ``directory`` and return their paths.

    compare.csv is :attr:`Comparison.frame`, every figure with its intervals; compare.html is self-contained.

    Raises:
        NotADirectoryError: ``directory`` is a file.
    """
    folder = Path(directory)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; -o takes a folder")
    folder.mkdir(parents=True, exist_ok=True)
    title = f"Comparison of {len(found.runs)} runs"
    return [
        write_text(folder / "compare.csv", found.frame.to_csv(index=False, lineterminator="\n")),
        write_text(folder / "compare.md", markdown(title, found)),
        write_text(folder / "compare.tex", latex(title, found)),
        write_text(folder / "compare.html", render(title, sections(found), subtitle=_SUBTITLE)),
    ]
