"""The tables of a comparison, ready for every format; and how a table looks in Markdown, LaTeX and a terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from hjc.report.comparison import COMPARED, Comparison
from hjc.report.page import Block, Cell, Grid, Row, Section
from hjc.report.sections import METRIC_COLUMNS
from hjc.report.text import figure, fill, interval, printable, size_text

MARKS = {"better": "▲", "worse": "▼", "": ""}
#: metrics of the tables by language, source and training rows
SLICED = ("recall@1", "log_loss")
_SHORT = {
    "recall@1": "R@1", "recall@5": "R@5", "log_loss": "loss", "macro_recall": "macro", "hierarchical_f1": "hF1",
    "ece": "ECE",
}  # fmt: skip
_KINDS = {"language": "language", "source": "source", "training_rows": "training rows of the gold code"}


def _order(frame: pd.DataFrame, column: str) -> list[Any]:
    return list(dict.fromkeys(frame[column].tolist()))


def _head(metric: str) -> str:
    return METRIC_COLUMNS[metric][0]


def _cell(line: Mapping[str, Any], best: bool = False, small: bool = True) -> Cell:
    """Value with mark, and below the difference with its interval."""
    _, digits, percent = METRIC_COLUMNS[str(line["metric"])]
    text = figure(float(line["value"]), digits, percent)
    if not small or math.isnan(line["difference"]):
        return Cell(text, mark=MARKS[line["matters"]], best=best)
    sign = "+" if line["difference"] > 0 else "" if line["difference"] == 0 else "−"
    shift = figure(abs(float(line["difference"])), digits, percent)
    between = interval(float(line["difference_low"]), float(line["difference_high"]), digits, percent)
    return Cell(
        text, small=f"{sign}{shift} {between}".replace("-", "−").strip(), mark=MARKS[line["matters"]], best=best
    )


def _by(lines: pd.DataFrame, column: str) -> dict[Any, dict[str, Any]]:
    """The lines by the value of a column in which each is another."""
    names = [str(name) for name in lines.columns]
    found = [dict(zip(names, values, strict=True)) for values in lines.itertuples(index=False, name=None)]
    return {line[column]: line for line in found}


def _best(lines: pd.DataFrame) -> set[str]:
    """Names of the runs with the best value, to the digits shown; none where all runs have the same."""
    if not len(lines):
        return set()
    metric = str(lines["metric"].iloc[0])
    _, digits, percent = METRIC_COLUMNS[metric]
    values = lines["value"] * (100 if percent else 1)
    top = values.max() if COMPARED[metric] else values.min()
    near = [v == top or (math.isfinite(v) and round(v, digits) == round(top, digits)) for v in values.tolist()]
    if all(near):
        return set()
    return {str(run) for run, yes in zip(lines["run"].tolist(), near, strict=True) if yes}


def main_grid(found: Comparison, set_name: str, small: bool = True) -> Grid:
    """Blocks of rows, one a metric; a row a run; a column a level."""
    frame = found.frame[(found.frame["set"] == set_name) & (found.frame["slice_kind"] == "")]
    levels = _order(frame, "level")
    rows = []
    for metric in COMPARED:
        part = frame[frame["metric"] == metric]
        best = {level: _best(part[part["level"] == level]) for level in levels}
        for i, run in enumerate(_order(part, "run")):
            mine = _by(part[part["run"] == run], "level")
            cells = [_cell(mine[level], run in best[level], small) for level in levels]
            rows.append(Row([Cell(_head(metric) if i == 0 else ""), Cell(run), *cells]))
    return Grid(
        ("metric", "run", *(f"level {level}" for level in levels)), rows, left=(0, 1), caption=_caption(found, set_name)
    )


#: figures of a line of the overview; more than this would break the names of the runs
_LINE = 14


def overview_grids(found: Comparison, set_name: str) -> list[Grid]:
    """The overview in as many tables as the lines need to be read."""
    frame = found.frame[(found.frame["set"] == set_name) & (found.frame["slice_kind"] == "")]
    metrics, levels = list(COMPARED), frame["level"].nunique()
    size = max(1, _LINE // max(1, levels))
    parts = -(-len(metrics) // size)
    size = -(-len(metrics) // parts)  # of equal lengths
    return [overview_grid(found, set_name, metrics=metrics[i : i + size]) for i in range(0, len(metrics), size)]


def overview_grid(found: Comparison, set_name: str, every: bool = True, metrics: Sequence[str] = ()) -> Grid:
    """A row a run; for each metric (default: of ``COMPARED``) a column a level.

    ``every=False``, for terminals: recall@1 at the first two and the last two levels, the others at the deepest.
    """
    shown = metrics or list(COMPARED)
    frame = found.frame[(found.frame["set"] == set_name) & (found.frame["slice_kind"] == "")]
    present: list[int] = [int(d) for d in _order(frame, "level")]
    some = sorted({*present[:2], *present[-2:]})
    last = present[-1:]
    columns = [(m, d) for m in shown for d in (present if every else some if m == "recall@1" else last)]
    cells: dict[str, list[Cell]] = {run.name: [] for run in found.runs}
    for metric, level in columns:
        part = frame[(frame["metric"] == metric) & (frame["level"] == level)]
        best, mine = _best(part), _by(part, "run")
        for run, row in cells.items():
            row.append(_cell(mine[run], run in best, small=False))
    groups = [(_head(m), sum(1 for x, _ in columns if x == m)) for m in shown]
    heads = [f"L{d}" for _, d in columns]
    if not every:
        heads = [f"{_SHORT[m]}\nL{d}" for m, d in columns]
        groups = []
    rows = [Row([Cell(run), *row]) for run, row in cells.items()]
    return Grid(
        ("run", *heads), rows, groups=groups, wide=len(columns) > _LINE, caption=_caption(found, set_name, small=False)
    )


def slice_grid(found: Comparison, set_name: str, kind: str, metric: str) -> Grid:
    """A row a language (source, bucket); a column a run; at the deepest level."""
    frame = found.frame
    part = frame[(frame["set"] == set_name) & (frame["slice_kind"] == kind) & (frame["metric"] == metric)]
    runs = [run.name for run in found.runs]
    rows = []
    for name in _order(part, "slice"):
        lines = part[part["slice"] == name]
        best, mine = _best(lines), _by(lines, "run")
        start = [Cell(name), Cell(f"{int(lines['n'].iloc[0]):,}")]
        if kind == "training_rows":
            start.append(Cell(f"{int(lines['codes'].iloc[0]):,}"))
        rows.append(Row([*start, *(_cell(mine[run], run in best) for run in runs)]))
    head = [_KINDS[kind], "rows", *(["codes"] if kind == "training_rows" else []), *runs]
    return Grid(head, rows, wide=len(runs) > 6)


def slice_grids(found: Comparison, set_name: str) -> list[tuple[str, Grid]]:
    """(title, table) by language, source and training rows, where there are several, for each metric of ``SLICED``."""
    kinds = set(found.frame.loc[found.frame["set"] == set_name, "slice_kind"])
    return [
        (
            f"{_head(metric)} at level {found.depth[set_name]} by {label}",
            slice_grid(found, set_name, kind, metric),
        )
        for kind, label in _KINDS.items()
        if kind in kinds
        for metric in SLICED
    ]


def cost_grid(found: Comparison) -> Grid:
    """What each run was and what it cost."""
    rows = []
    for run in found.runs:
        facts = run.facts
        seconds, size = facts.get("fit_seconds"), facts.get("size_bytes")
        memory = facts.get("peak_memory_mb") or {}
        peak = ", ".join(f"{size_text(v * 2**20)}{' GPU' if k == 'gpu' else ''}" for k, v in memory.items())
        rates = [found.rates[run.name].get(name, math.nan) for name in found.sets]
        rows.append(
            Row([
                Cell(run.name + (" (reference)" if run.name == found.reference else "")),
                Cell(str(facts.get("model") or "–")),
                Cell(f"{int(facts['train_rows']):,}" if facts.get("train_rows") is not None else "–"),
                Cell(f"{seconds:,.1f}" if seconds is not None else "–"),
                *(Cell(figure(rate, 0)) for rate in rates),
                Cell(size_text(size) if size is not None else "–"),
                Cell(peak or "–"),
            ])
        )  # fmt: skip
    per_set = [f"rows/s on {name}" if len(found.sets) > 1 else "rows/s" for name in found.sets]
    head = ("run", "model", "training rows", "training, s", *per_set, "size on disk", "peak memory")
    caption = (
        "Times and memory are those of the machine and the load when each run was made; peak memory is of the whole "
        "process, data included."
    )
    return Grid(head, rows, left=(0, 1), caption=caption)


def _caption(found: Comparison, set_name: str, small: bool = True) -> str:
    drawn = "groups of rows" if found.clustered else "rows"
    rule = "Holm-adjusted p < 0.05 over all differences of the table" if found.holm else "its 95 % interval excludes 0"
    frame = found.frame[(found.frame["set"] == set_name) & (found.frame["slice_kind"] == "")]
    many = int(frame["difference"].notna().sum())
    text = f"▲ better, ▼ worse than {found.reference}: {rule}. Best in bold."
    if small:
        text += f" Small: difference with paired 95 % interval ({found.replicates:,} bootstrap resamples of {drawn})."
    if not found.holm and small:
        text += (
            f" With {many} differences about {max(1, round(many * 0.05))} would be marked by chance if none were real; "
            "--holm adjusts for that."
        )
    return text


def sections(found: Comparison, wide: bool = True) -> list[Section]:
    """Everything, in the order of a page. ``wide``: with the overview of all metrics and levels in one line a run."""
    first = Section("Runs", [Block(table=cost_grid(found))])
    first.blocks += [Block(text=printable(note)) for note in found.notes]
    out = [first]
    for name, rows in found.sets.items():
        section = Section(f"{name}: {rows:,} rows")
        if wide:
            grids = overview_grids(found, name)
            section.blocks += [Block(title="" if i else "Overview", table=grid) for i, grid in enumerate(grids)]
        section.blocks.append(Block(title="Metrics by level", table=main_grid(found, name)))
        section.blocks += [Block(title=title, table=grid) for title, grid in slice_grids(found, name)]
        out.append(section)
    return out


# ---------------------------------------------------------------------- formats


def markdown(title: str, found: Comparison) -> str:
    """The comparison as Markdown with pipe tables."""
    return fill("compare.md.j2", title=title, sections=sections(found, wide=False))


def latex(title: str, found: Comparison) -> str:
    """Tables for a paper: costs; for each set the values and the differences by level, and the values by slices."""
    sets = [
        {
            "name": name,
            "rows": rows,
            "levels": main_grid(found, name, small=False),
            "differences": main_grid(found, name),
            "slices": slice_grids(found, name),
        }
        for name, rows in found.sets.items()
    ]
    return fill("compare.tex.j2", title=title, found=found, costs=cost_grid(found), sets=sets)


def terminal(found: Comparison, set_name: str) -> Table:
    """A row a run: recall@1 at every level, the other metrics at the deepest."""
    grid = overview_grid(found, set_name, every=False)
    table = Table(
        title=f"{set_name}: {found.sets[set_name]:,} rows",
        box=box.SIMPLE_HEAD,
        caption=grid.caption,
        padding=(0, 1, 0, 0),
    )
    for i, head in enumerate(grid.head):
        table.add_column(Text(head), justify="left" if i in grid.left else "right", no_wrap=i > 0, overflow="fold",
                         min_width=None if i else 12)  # fmt: skip
    for row in grid.rows:
        table.add_row(*(Text(f"{c.text}{c.mark}", style="bold" if c.best else "") for c in row.cells))
    return table
