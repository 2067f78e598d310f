"""Tables of a run report."""

import math
from collections.abc import Sequence
from pathlib import Path

from hjc.arrays import IntArray
from hjc.data.jobdata import JobData
from hjc.evaluation.evaluate import Evaluation
from hjc.metrics import RowScores
from hjc.metrics.intervals import wilson
from hjc.report.page import Block, Cell, Grid, Row, Section
from hjc.report.plots import shown_title
from hjc.report.tables import (
    MIN_SUPPORT,
    CodeScore,
    Share,
    code_scores,
    confused_pairs,
    level_of_codes,
)
from hjc.report.text import figure, interval, printable, shorten, size_text
from hjc.taxonomy import Taxonomy

#: characters of an example text
EXAMPLE_CHARACTERS = 160
#: metric -> head, digits, as percent
METRIC_COLUMNS = {
    "log_loss": ("log-loss", 3, False),
    "recall@1": ("recall@1 %", 1, True),
    "recall@5": ("recall@5 %", 1, True),
    "recall@10": ("recall@10 %", 1, True),
    "macro_recall": ("macro recall %", 1, True),
    "hierarchical_f1": ("hierarchical F1 %", 1, True),
    "ece": ("ECE", 3, False),
    "brier": ("Brier", 3, False),
}

_FILES = {
    "config.json": "what the classifier is, its settings, checksums of its files",
    "taxonomy.csv": "the tree of codes with titles",
    "model.safetensors": "weights",
    "encoder_config.json": "shape of the encoder",
    "tokenizer.json": "tokenizer",
    "tokenizer_config.json": "tokenizer settings",
    "features.json": "vocabulary of the features",
    "napkinxc": "weights of the linear models",
    "row_counts.npy": "training rows of each leaf, for the floor of unseen codes",
    "calibration.json": "calibration of the probabilities",
    "train.yaml": "provenance: command, settings, versions, data hashes, timing",
    "metrics.json": "every figure under one name, e.g. test/level_4/recall@5",
    "metrics.csv": "every figure with its interval, one line each",
    "rejects.csv": "rows that could not be used, with the reason",
    "training_counts.csv": "training rows of each code",
    "logs": "figures logged during training",
    "checkpoints": "states of the training, to continue it",
    "README.md": "model card",
    "train.log": "messages of the libraries",
    ".hydra": "settings as composed on the command line",
    "report.html": "this report",
    "plots": "the plots of this report",
}


def levels_grid(evaluation: Evaluation) -> Grid:
    """A line a level with intervals, and below it what a model without text would score."""
    values, intervals, tree = evaluation.metrics, evaluation.intervals, evaluation.taxonomy
    rows = []
    shown = [(f"level_{d}", str(d)) for d in range(1, tree.depth + 1)]
    if not evaluation.scores.valid[:, -1].all():  # else "overall" is the deepest level once more
        shown.append(("overall", "overall"))
    for where, label in shown:
        if f"{where}/n" not in values:
            continue
        cells = [Cell(label), Cell(f"{int(values[f'{where}/n']):,}")]
        for metric, (_, digits, percent) in METRIC_COLUMNS.items():
            low, high = intervals.get(f"{where}/{metric}", (math.nan, math.nan))
            text = figure(values[f"{where}/{metric}"], digits, percent)
            cells.append(Cell(text, small=interval(low, high, digits, percent)))
        rows.append(Row(cells))
        if evaluation.baseline is not None and f"{where}/log_loss" in evaluation.baseline:
            prior = [Cell("without text"), Cell("")]
            prior += [
                Cell(figure(float(evaluation.baseline.get(f"{where}/{m}", math.nan)), digits, percent))
                for m, (_, digits, percent) in METRIC_COLUMNS.items()
            ]
            rows.append(Row(prior, prior=True))
    notes = []
    if evaluation.baseline is not None:
        notes.append("“Without text”: the code frequencies of the training rows, for every row the same.")
    if where_impossible := [d for d in range(1, tree.depth + 1) if values.get(f"level_{d}/impossible", 0) > 0]:
        counts = ", ".join(f"{int(values[f'level_{d}/impossible']):,} rows at level {d}" for d in where_impossible)
        notes.append(f"The model held the gold code impossible in {counts}: the log-loss is infinite there.")
    if evaluation.unlabelled:
        notes.append(f"{evaluation.unlabelled:,} rows without a code were left out.")
    if evaluation.replicates:
        drawn = "groups of near-duplicates" if evaluation.clustered else "rows"
        notes.append(f"Intervals: {evaluation.replicates:,} bootstrap resamples of {drawn}.")
    if evaluation.small:
        few = ", ".join(f"{name} ({n})" for name, n in list(evaluation.small.items())[:8])
        more = f" and {len(evaluation.small) - 8} more" if len(evaluation.small) > 8 else ""
        notes.append(f"Too few rows for figures of their own: {few}{more}.")
    head = ["level", "rows", *(h for h, _, _ in METRIC_COLUMNS.values())]
    return Grid(head, rows, caption=" ".join(notes))


def shares_grid(levels: Sequence[Sequence[Share]], head: str, codes: bool = False) -> Grid:
    """recall@1 in percent with interval and rows: a line a bucket, a column a level. Empty buckets are left out."""
    rows = []
    for i, first in enumerate(levels[0]):
        if not any(part[i].n for part in levels):
            continue
        cells = [Cell(first.name)]
        for part in levels:
            s = part[i]
            if not s.n:
                cells.append(Cell("–"))
                continue
            of = f"{s.n:,} row{'s' * (s.n != 1)}" + (f", {s.codes:,} code{'s' * (s.codes != 1)}" if codes else "")
            cells.append(Cell(f"{figure(s.value, 1, True)} {interval(*s.interval, 1, True)}", small=of))
        rows.append(Row(cells))
    return Grid([head, *(f"level {part[0].level} %" for part in levels)], rows)


def _code(taxonomy: Taxonomy, node: int, limit: int = 60) -> str:
    return f"{taxonomy.codes[node]} {shorten(shown_title(taxonomy, node), limit)}".strip()


def example(text: str) -> str:
    """A text as the report quotes it: one line, 160 characters, nothing that steers the display."""
    return shorten(printable(text), EXAMPLE_CHARACTERS) or "(empty text)"


def pairs_block(scores: RowScores, taxonomy: Taxonomy, data: JobData, examples: bool, limit: int = 15) -> Block:
    """The most confused pairs of the deepest level with example texts."""
    title = f"Most confused pairs at level {taxonomy.depth}"
    pairs = confused_pairs(scores, taxonomy, taxonomy.depth, limit, texts=data.texts if examples else None)
    if not pairs:
        return Block(title=title, text="No mistakes: every gold code was the most probable one.")
    rows = []
    for p in pairs:
        quotes = tuple(example(data.texts[i]) for i in p.rows) if examples else ()
        near = f"level {p.shared_level}" if p.shared_level else "nothing"
        rows.append(
            Row([Cell(_code(taxonomy, p.gold), quotes=quotes), Cell(_code(taxonomy, p.predicted)), Cell(f"{p.n:,}"),
                 Cell(f"{p.n / p.support * 100:.0f}"), Cell(near)])
        )  # fmt: skip
    text = (
        "Below each pair the rows in which the model was surest of the wrong code."
        if examples
        else "Texts are left out of this report (evaluation.examples=false)."
    )
    head = ("gold code", "predicted", "rows", "% of the gold code's rows", "they share")
    return Block(title=title, text=text, table=Grid(head, rows, left=(0, 1, 4)))


def codes_blocks(scores: RowScores, taxonomy: Taxonomy, below: IntArray | None, limit: int = 10) -> list[Block]:
    """Worst and best codes of the deepest level where codes have enough rows."""
    level = level_of_codes(scores, taxonomy)
    if level is None:
        return [Block(title="Best and worst codes", text=f"No code has {MIN_SUPPORT} rows or more.")]
    codes = code_scores(scores, taxonomy, level)
    shown = min(limit, max(1, len(codes) // 2)) if len(codes) > 1 else 1
    why = "" if level == taxonomy.depth else f" Deeper codes have too few rows here, so these are of level {level}."
    text = f"{len(codes):,} codes of level {level} have at least {MIN_SUPPORT} rows.{why}"
    best = sorted(codes, key=lambda c: (-c.recall_1, -c.recall_5, -c.n, c.node))
    out = [Block(title="Worst codes", text=text, table=_codes_grid(codes[:shown], taxonomy, below))]
    if len(codes) > 1:
        out.append(Block(title="Best codes", table=_codes_grid(best[:shown], taxonomy, below)))
    return out


def _codes_grid(codes: Sequence[CodeScore], taxonomy: Taxonomy, below: IntArray | None) -> Grid:
    head = ["code", "rows", "recall@1 %", "recall@5 %"] + (["training rows"] if below is not None else [])
    rows = []
    for c in codes:
        between = interval(*wilson(round(c.recall_1 * c.n), c.n), 0, True)
        cells = [Cell(_code(taxonomy, c.node)), Cell(f"{c.n:,}"), Cell(figure(c.recall_1, 0, True), small=between),
                 Cell(figure(c.recall_5, 0, True))]  # fmt: skip
        if below is not None:
            cells.append(Cell(f"{int(below[c.node]):,}"))
        cells.append(Cell(_code(taxonomy, c.taken_for) if c.taken_for >= 0 else "–"))
        rows.append(Row(cells))
    return Grid([*head, "most often taken for"], rows, left=(0, len(head)))


def files_section(folder: Path, coming: Sequence[str] = ()) -> Section:
    """What lies in the directory. ``coming``: names that are about to be written."""
    rows = []
    names = sorted({p.name for p in folder.iterdir() if not p.name.endswith(".part")} | set(coming))
    for name in names:
        path = folder / name
        files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path] if path.exists() else []
        size = sum(p.stat().st_size for p in files)
        what = _FILES.get(name, "")
        if name.startswith("scores_") and name.endswith(".parquet"):
            what = "scores of every row, without texts; hjc compare reads them"
        elif name.startswith("idf_"):
            what = "weights of the features"
        shown = "" if name in coming else size_text(size)
        rows.append(Row([Cell(printable(name) + ("/" if path.is_dir() else "")), Cell(shown), Cell(what)]))
    return Section("In this directory", [Block(table=Grid(("file", "size", "what it is"), rows, left=(0, 2)))])
