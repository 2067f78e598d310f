"""The report of one run: ``report.html`` and the plots beside it, from evaluations that are still in memory."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hjc.arrays import IntArray
from hjc.classifiers.load import training_record
from hjc.data.jobdata import JobData
from hjc.evaluation.decided import DecisionTables, decision_tables
from hjc.evaluation.evaluate import Evaluation
from hjc.files import write_bytes, write_text
from hjc.report import plots
from hjc.report.decided import decision_blocks
from hjc.report.page import Block, Cell, Grid, Row, Section, image_block, render
from hjc.report.scores import file_name, read_training_counts
from hjc.report.sections import codes_blocks, files_section, levels_grid, pairs_block, shares_grid
from hjc.report.tables import (
    LENGTH_BUCKETS,
    TRAINING_BUCKETS,
    by_bucket,
    by_name,
    confusion,
    gold_counts,
)
from hjc.report.text import printable, size_text

REPORT = "report.html"
PLOTS = "plots"


class _Pictures:
    """Saves figures as PNG beside the report, and hands them to the page."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def add(self, blocks: list[Block], name: str, figure: Any, title: str, alt: str, caption: str) -> None:
        if figure is None:
            return
        image = plots.png(figure)
        self.directory.mkdir(parents=True, exist_ok=True)
        write_bytes(self.directory / f"{name}.png", image)
        blocks.append(image_block(title, image, alt, caption))


def write_report(
    directory: str | Path,
    sets: Mapping[str, tuple[Evaluation, JobData]],
    *,
    record: Mapping[str, Any] | None = None,
    counts: IntArray | None = None,
    examples: bool = True,
    title: str | None = None,
    file: str = REPORT,
    decided: Mapping[str, DecisionTables] | None = None,
    explained: Section | None = None,
    space: Section | None = None,
) -> Path:
    """Write ``report.html`` and ``plots/*.png`` into a run directory.

    Args:
        directory: where; its train.yaml, training_counts.csv, logs/metrics.csv and rejects.csv are read when there.
        sets: name -> evaluation and the labelled rows it was made on, in their order. "valid" is shown in brief when
            there is a test set.
        record: the content of train.yaml, when it does not lie in ``directory``.
        counts: (N,) training rows coded to exactly each node; default: training_counts.csv of ``directory``.
        examples: show texts of the evaluated rows among the confused pairs. False when the report is to be shared and
            the texts are not.
        title: default: the name of the directory.
        file: name of the page.
        decided: set -> tables of calibration and decisions; without, reliability is of the probabilities evaluated.
        explained: the section of :func:`hjc.report.explanations.explanations_section`.
        space: the section of :func:`hjc.report.space.space_section`.

    Raises:
        ValueError: no set, or an evaluation and data of different rows; a damaged training_counts.csv.
    """
    folder = Path(directory)
    if not sets:
        raise ValueError("a report needs at least one evaluated set, got none; give the run validation or test rows")
    for name, (evaluation, data) in sets.items():
        if len(evaluation.scores) != len(data):
            raise ValueError(
                f"{name}: evaluation of {len(evaluation.scores)} rows, data of {len(data)} rows; pass the labelled rows"
            )
    taxonomy = next(iter(sets.values()))[0].taxonomy
    about = dict(record if record is not None else training_record(folder))
    exact = counts if counts is not None else read_training_counts(folder, taxonomy)
    below = None if exact is None else taxonomy.with_descendants(exact)
    for stem in ("learning_curves", *(f"{_stem(name)}_*" for name in sets)):  # those of an earlier evaluation
        for old in (folder / PLOTS).glob(f"{stem}.png"):
            old.unlink()
    tests = [name for name in sets if name != "valid"] or list(sets)
    sections = []
    with plots.plot_style():
        pictures = _Pictures(folder / PLOTS)
        if len(training := _training_section(folder, about, pictures).blocks):
            sections.append(Section("Training", training))
        for name in sorted(sets, key=lambda s: s == "valid"):
            evaluation, data = sets[name]
            section = Section(f"Results on {name}")
            section.blocks.append(Block(table=levels_grid(evaluation)))
            if name in tests:
                made = (decided or {}).get(name)
                _details(section.blocks, name, evaluation, data, below, examples, pictures, made)
            sections.append(section)
    sections += [section for section in (explained, space) if section is not None]
    sections += [_rejects_section(folder), files_section(folder, (file, PLOTS))]
    if title is None:
        title = f"{folder.resolve().name}: run report"  # as hjc compare names it
    page = render(title, sections, facts=_facts(about, sets), subtitle=_HOW_TO_READ)
    folder.mkdir(parents=True, exist_ok=True)
    return write_text(folder / file, page)


_HOW_TO_READ = (
    "Level 1 is the coarsest. Recall@k: share of rows whose gold code is among the k most probable of the level. "
    "Log-loss is in nats. Brackets and bars are 95 % intervals."
)


def _facts(record: Mapping[str, Any], sets: Mapping[str, tuple[Evaluation, JobData]]) -> list[tuple[str, str]]:
    """Provenance, from train.yaml."""
    config, code = record.get("config") or {}, record.get("code") or {}
    model, timing = config.get("model") or {}, record.get("timing") or {}
    tree = next(iter(sets.values()))[0].taxonomy
    sizes = " / ".join(str(len(tree.level_nodes(d))) for d in range(1, tree.depth + 1))
    what = [str(model[k]) for k in ("name", "encoder", "hierarchy") if model.get(k)]
    memory = record.get("peak_memory_mb") or {}
    versions = record.get("versions") or {}
    machine = record.get("machine") or {}
    data = [f"{name} {d.get('rows', 0):,} rows ({str(d.get('hash', '?'))[:12]})"
            for name, d in (record.get("data") or {}).items()]  # fmt: skip
    rates = [f"{name} {e.rows_per_second:,.0f}" for name, (e, _) in sets.items() if e.seconds > 0]
    commit = str(code.get("commit") or "")[:12] + (" with changes" if code.get("dirty") else "")
    facts = [
        ("model", ", ".join(what)),
        ("taxonomy", f"{tree.name}, {sizes} codes at levels 1 to {tree.depth} ({tree.hash[:12]})"),
        ("command", str(record.get("command") or "")),
        ("status", str(record.get("outcome") or record.get("status") or "").replace("_", " ")),
        ("trained", str(record.get("ended") or record.get("started") or "")),
        ("evaluated again", str(record.get("evaluated_again") or "")),
        ("seed", str(record.get("seed", ""))),
        ("data (hash)", "; ".join(data)),
        ("time to fit", f"{timing['fit_seconds']:,.1f} s" if "fit_seconds" in timing else ""),
        ("rows per second", "; ".join(rates)),
        ("peak memory", "; ".join(f"{k} {size_text(float(v) * 2**20)}" for k, v in memory.items())),
        ("code", commit),
        ("versions", ", ".join(f"{k} {v}" for k, v in versions.items())),
        ("machine", ", ".join(str(v) for v in (machine.get("system"), f"{machine.get('cpus')} processors",
                                               *(machine.get("gpus") or ())) if machine)),
    ]  # fmt: skip
    return [(key, value) for key, value in facts if value]


def _training_section(folder: Path, record: Mapping[str, Any], pictures: _Pictures) -> Section:
    section = Section("Training")
    path = folder / "logs" / "metrics.csv"
    if path.exists():
        try:
            log = pd.read_csv(path)
        except pd.errors.EmptyDataError:  # stopped before the first line
            log = pd.DataFrame()
        pictures.add(
            section.blocks,
            "learning_curves",
            plots.learning_curves(log),
            "Learning curves",
            "Training loss, validation log-loss and validation recall by optimiser step",
            "The weights with the lowest validation log-loss are kept.",
        )
    details = record.get("training")
    if isinstance(details, Mapping):
        plain = [
            (str(k), f"{v:.4g}" if isinstance(v, float) else str(v))
            for k, v in details.items()
            if isinstance(v, (str, int, float, bool))
        ]
        rows = [Row([Cell(k.replace("_", " ")), Cell(printable(v))]) for k, v in plain]
        section.blocks.append(Block(title="How it went", table=Grid(("", ""), rows, left=(0, 1))))
    return section


def _details(
    blocks: list[Block],
    name: str,
    evaluation: Evaluation,
    data: JobData,
    below: IntArray | None,
    examples: bool,
    pictures: _Pictures,
    made: DecisionTables | None,
) -> None:
    """Plots and tables of one set, into ``blocks``."""
    scores, tree = evaluation.scores, evaluation.taxonomy
    stem = _stem(name)
    levels = range(1, tree.depth + 1)

    def picture(kind: str, figure: Any, title: str, alt: str, caption: str) -> None:
        pictures.add(blocks, f"{stem}_{kind}", figure, title, f"{alt}, {name}", caption)

    picture("recall_at_k", plots.recall_at_k(scores), "Recall at k",
            "Recall at k by level", "How many codes have to be shown for the right one to be among them.")  # fmt: skip
    for level in (d for d in levels if d <= 2):
        matrix = confusion(scores, tree, level)
        hidden = (
            f" The {len(matrix.nodes)} codes with the most rows are shown; left out: {matrix.hidden[0]:,} gold codes "
            f"with {matrix.hidden[1]:,} rows. Predictions of codes that are not shown are in the column “other”."
            if matrix.hidden[0]
            else ""
        )
        if not matrix.counts.sum(axis=1).all():
            hidden += " Grey: a code that is predicted and no row's gold code."
        picture(f"confusion_{level}", plots.confusion_matrix(matrix, tree), f"Confusion at level {level}",
                f"Confusion matrix at level {level}",
                f"Each line sums to 100 % of the rows of a gold code; the diagonal is right.{hidden}")  # fmt: skip
    tables = made if made is not None else decision_tables(tree, scores, name=name)
    found = tables.calibration[["probabilities", "level", "ece"]].itertuples(index=False)
    decision_blocks(blocks, tables, {(kind, level): ece for kind, level, ece in found}, picture)
    if below is not None:
        shares = [by_bucket(scores, tree, d, gold_counts(scores, tree, d, below), TRAINING_BUCKETS) for d in levels]
        picture("by_training_rows", plots.share_plot(shares, "training rows of the gold code"),
                "Recall@1 by number of training rows", "Recall at 1 by training rows of the gold code and level",
                "A code of a coarse level counts the training rows of all codes below it.")  # fmt: skip
        blocks.append(Block(table=shares_grid(shares, "training rows", codes=True)))
    languages = [by_name(scores, tree, d, data.language) for d in levels]
    picture("by_language", plots.name_plot(languages), "Recall@1 by language",
            "Recall at 1 by language and level", _left_out(languages[-1], 40, "languages"))  # fmt: skip
    if len({s for s in data.source if s}) > 1:
        sources = [by_name(scores, tree, d, data.source) for d in levels]
        picture("by_source", plots.name_plot(sources), "Recall@1 by source",
                "Recall at 1 by source and level", _left_out(sources[-1], 40, "sources"))  # fmt: skip
    lengths = [len(text) for text in data.texts]
    by_length = [by_bucket(scores, tree, d, lengths, LENGTH_BUCKETS) for d in levels]
    picture("by_length", plots.share_plot(by_length, "characters of the text"),
            "Recall@1 by length of the text", "Recall at 1 by length of the text and level",
            "Length as the model was given it, after the cleaning that the settings ask for.")  # fmt: skip
    blocks.append(Block(table=shares_grid(by_length, "characters")))
    blocks.append(pairs_block(scores, tree, data, examples))
    blocks.extend(codes_blocks(scores, tree, below))


def _stem(name: str) -> str:
    """Start of the names of a set's plots."""
    return file_name(name).removeprefix("scores_").removesuffix(".parquet")


def _left_out(shares: Sequence[Any], limit: int, what: str) -> str:
    more = len([s for s in shares if s.n]) - limit
    note = f" The {limit} with the most rows are shown, {more} more {what} are in metrics.csv." if more > 0 else ""
    return f"Number of rows in brackets, sorted by the deepest level.{note}"


def _rejects_section(folder: Path) -> Section:
    section = Section("Rows that could not be used")
    path = folder / "rejects.csv"
    if not path.exists():
        section.blocks.append(Block(text="There is no rejects.csv in this directory."))
        return section
    with path.open(encoding="utf-8", newline="") as file:
        found = Counter((line.get("file") or "", line.get("reason") or "") for line in csv.DictReader(file))
    if not found:
        section.blocks.append(Block(text="None: every row had a text and a code of the taxonomy."))
        return section
    rows = [Row([Cell(printable(Path(f).name)), Cell(printable(reason)), Cell(f"{n:,}")])
            for (f, reason), n in found.most_common(30)]  # fmt: skip
    more = len(found) - len(rows)
    text = f"{sum(found.values()):,} rows; rejects.csv lists each of them."
    section.blocks.append(
        Block(
            text=text + (f" {more} rarer reasons are not shown." if more else ""),
            table=Grid(("file", "reason", "rows"), rows, left=(0, 1)),
        )
    )
    return section
