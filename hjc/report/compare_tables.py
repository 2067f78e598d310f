"""A comparison as compare.csv, compare.md, compare.tex, compare.html and in a terminal."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from hjc.files import write_text
from hjc.report.comparison import COMPARED, Comparison
from hjc.report.page import Section, render
from hjc.report.tables import METRIC_COLUMNS
from hjc.report.text import figure, fill, interval, size_text

MARKS = {"better": "▲", "worse": "▼", "": ""}
#: metrics of the tables by language, source and training rows
SLICED = ("recall@1", "log_loss")
_SHORT = {
    "recall@1": "R@1", "recall@5": "R@5", "log_loss": "loss", "macro_recall": "macro", "hierarchical_f1": "hF1",
    "ece": "ECE",
}  # fmt: skip
#: figures of a line of the overview; more than this would break the names of the runs
_LINE = 14
_SUBTITLE = (
    "Level 1 is the coarsest. Recall, macro recall and hierarchical F1 in percent, log-loss in nats; ECE is the "
    "calibration error of the most probable code. Rows are the same for all runs."
)
_KINDS = {"language": "language", "source": "source", "training_rows": "training rows of the gold code"}


@dataclass(frozen=True)
class Cell:
    """Text of a table cell, with a small second line (an interval) and a mark."""

    text: str
    small: str = ""
    mark: str = ""
    best: bool = False


@dataclass(frozen=True)
class Grid:
    """A table for every format.

    ``left``: columns that are aligned to the left; ``groups``: heads above the first, (text, columns); ``small``:
    whether the second lines of the cells are shown.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    left: Sequence[int] = (0,)
    caption: str = ""
    groups: Sequence[tuple[str, int]] = ()
    wide: bool = False
    small: bool = True


class Compared:
    """The figures of one set as cells: value with mark, and small the difference with its interval."""

    def __init__(self, found: Comparison, name: str) -> None:
        self.found, self.name = found, name
        self.frame = found.frame[found.frame["set"] == name]
        self.levels: list[int] = sorted(set(self.frame["level"]))
        self.runs = [run.name for run in found.runs]
        #: (slice kind, slice, level, metric) -> a cell for each run
        self.cells: dict[Any, list[Cell]] = {}
        for key, lines in self.frame.groupby(["slice_kind", "slice", "level", "metric"], sort=False):
            self.cells[key] = _cells(lines.set_index("run").loc[self.runs])

    def main(self) -> Grid:
        """Blocks of rows, one a metric; a row a run; a column a level."""
        rows = []
        for metric in COMPARED:
            for i, run in enumerate(self.runs):
                cells = [self.cells["", "", level, metric][i] for level in self.levels]
                rows.append([Cell("" if i else _head(metric)), Cell(run), *cells])
        head = ("metric", "run", *(f"level {level}" for level in self.levels))
        return Grid(head, rows, left=(0, 1), caption=self._caption())

    def overviews(self) -> list[Grid]:
        """The overview in as many tables as the lines need to be read."""
        size = max(1, _LINE // max(1, len(self.levels)))
        parts = -(-len(COMPARED) // size)
        size = -(-len(COMPARED) // parts)  # of equal lengths
        metrics = list(COMPARED)
        return [self.overview(metrics[i : i + size]) for i in range(0, len(metrics), size)]

    def overview(self, metrics: Sequence[str] = (), every: bool = True) -> Grid:
        """A row a run; for each metric (default: of ``COMPARED``) a column a level.

        ``every=False``, for terminals: recall@1 at the first two and the last two levels, the others at the deepest.
        """
        some = {"recall@1": sorted({*self.levels[:2], *self.levels[-2:]})}
        shown = {m: self.levels if every else some.get(m, self.levels[-1:]) for m in metrics or COMPARED}
        columns = [(metric, level) for metric, levels in shown.items() for level in levels]
        cells = zip(*(self.cells["", "", level, metric] for metric, level in columns), strict=True)
        rows = [[Cell(run), *line] for run, line in zip(self.runs, cells, strict=True)]
        return Grid(
            ["run", *(f"L{level}" if every else f"{_SHORT[metric]}\nL{level}" for metric, level in columns)],
            rows,
            groups=[(_head(metric), len(levels)) for metric, levels in shown.items()] if every else (),
            wide=len(columns) > _LINE,
            caption=self._caption(small=False),
            small=False,
        )

    def slices(self) -> list[tuple[str, Grid]]:
        """(title, table) by language, source and training rows at the deepest level, where there are several.

        A row a language (source, bucket), a column a run; a table for each metric of ``SLICED``.
        """
        out = []
        for kind, label in _KINDS.items():
            counts = ["n", "codes"] if kind == "training_rows" else ["n"]
            for metric in SLICED:
                part = self.frame[(self.frame["slice_kind"] == kind) & (self.frame["metric"] == metric)]
                rows = [
                    [Cell(name), *(Cell(f"{n:,}") for n in numbers), *self.cells[kind, name, level, metric]]
                    for name, level, *numbers in part.drop_duplicates("slice")[["slice", "level", *counts]].to_numpy()
                ]
                head = [label, "rows", "codes"][: 1 + len(counts)] + self.runs
                if rows:
                    title = f"{_head(metric)} at level {self.found.depth[self.name]} by {label}"
                    out.append((title, Grid(head, rows, wide=len(self.runs) > 6)))
        return out

    def _caption(self, small: bool = True) -> str:
        found = self.found
        drawn = "groups of rows" if found.clustered else "rows"
        rule = "Holm-adjusted p < 0.05 over all differences of the table"
        if not found.holm:
            rule = "its 95 % interval excludes 0"
        text = f"▲ better, ▼ worse than {found.reference}: {rule}. Best in bold."
        if small:
            times = f"{found.replicates:,} bootstrap resamples"
            text += f" Small: difference with paired 95 % interval ({times} of {drawn})."
        if not found.holm and small:
            many = int(self.frame.loc[self.frame["slice_kind"] == "", "difference"].notna().sum())
            text += (
                f" With {many} differences about {max(1, round(many * 0.05))} would be marked by chance if none were "
                "real; --holm adjusts for that."
            )
        return text


def _head(metric: str) -> str:
    return METRIC_COLUMNS[metric][0]


def _cells(lines: pd.DataFrame) -> list[Cell]:
    """Of runs at one level and metric. Best are those with the best value to the digits shown, unless all have it."""
    metric = str(lines["metric"].iloc[0])
    _, digits, percent = METRIC_COLUMNS[metric]
    scale = 100 if percent else 1
    top = lines["value"].max() if COMPARED[metric] else lines["value"].min()
    best = (lines["value"] == top) | ((lines["value"] * scale).round(digits) == round(top * scale, digits))
    out = []
    for line, first in zip(lines.to_dict("records"), (best & ~best.all()).tolist(), strict=True):
        small = ""
        if not math.isnan(line["difference"]):
            sign = "+" if line["difference"] > 0 else "" if line["difference"] == 0 else "−"
            shift = figure(abs(line["difference"]), digits, percent)
            between = interval(line["difference_low"], line["difference_high"], digits, percent)
            small = f"{sign}{shift} {between}".replace("-", "−").strip()
        out.append(Cell(figure(line["value"], digits, percent), small, MARKS[line["matters"]], first))
    return out


def cost_grid(found: Comparison) -> Grid:
    """What each run was and what it cost."""
    rows = []
    for run in found.runs:
        facts = run.facts
        seconds, size, trained = (facts.get(key) for key in ("fit_seconds", "size_bytes", "train_rows"))
        memory = facts.get("peak_memory_mb") or {}
        texts = [
            run.name + (" (reference)" if run.name == found.reference else ""),
            facts.get("model"),
            None if trained is None else f"{int(trained):,}",
            None if seconds is None else f"{seconds:,.1f}",
            *(figure(found.rates[run.name].get(name, math.nan), 0) for name in found.sets),
            None if size is None else size_text(size),
            ", ".join(f"{size_text(v * 2**20)}{' GPU' if k == 'gpu' else ''}" for k, v in memory.items()),
        ]
        rows.append([Cell(text or "–") for text in texts])
    per_set = [f"rows/s on {name}" if len(found.sets) > 1 else "rows/s" for name in found.sets]
    head = ("run", "model", "training rows", "training, s", *per_set, "size on disk", "peak memory")
    caption = (
        "Times and memory are those of the machine and the load when each run was made; peak memory is of the whole "
        "process, data included."
    )
    return Grid(head, rows, left=(0, 1), caption=caption)


def write_comparison(found: Comparison, directory: str | os.PathLike[str]) -> list[Path]:
    """Write compare.csv, compare.md, compare.tex and compare.html into ``directory`` and return their paths.

    compare.csv is :attr:`Comparison.frame`, every figure with its intervals; compare.tex has tables for a paper;
    compare.html is self-contained.

    Raises:
        NotADirectoryError: ``directory`` is a file.
    """
    folder = Path(directory)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; -o takes a folder")
    folder.mkdir(parents=True, exist_ok=True)
    sets = [Compared(found, name) for name in found.sets]
    title = f"Comparison of {len(found.runs)} runs"
    values = {"title": title, "found": found, "costs": cost_grid(found)}
    sections = [Section("Runs", "compare_runs.html.j2", values)]
    sections += [Section(f"{s.name}: {found.sets[s.name]:,} rows", "compare_set.html.j2", {"set": s}) for s in sets]
    return [
        write_text(folder / "compare.csv", found.frame.to_csv(index=False, lineterminator="\n")),
        write_text(folder / "compare.md", fill("compare.md.j2", sets=sets, **values)),
        write_text(folder / "compare.tex", fill("compare.tex.j2", sets=sets, **values)),
        write_text(folder / "compare.html", render(title, sections, subtitle=_SUBTITLE)),
    ]


def terminal(found: Comparison, set_name: str) -> Table:
    """A row a run: recall@1 at every level, the other metrics at the deepest."""
    grid = Compared(found, set_name).overview(every=False)
    title = f"{set_name}: {found.sets[set_name]:,} rows"
    table = Table(title=title, box=box.SIMPLE_HEAD, caption=grid.caption, padding=(0, 1, 0, 0))
    for i, head in enumerate(grid.head):
        table.add_column(Text(head), justify="left" if i in grid.left else "right", no_wrap=i > 0, overflow="fold",
                         min_width=None if i else 12)  # fmt: skip
    for row in grid.rows:
        table.add_row(*(Text(f"{c.text}{c.mark}", style="bold" if c.best else "") for c in row))
    return table
