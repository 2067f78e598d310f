"""The report of one run: ``report.html`` and the plots beside it, from evaluations that are still in memory."""

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hjc.arrays import IntArray
from hjc.classifiers.base import Classifier
from hjc.evaluation.decided import decision_tables
from hjc.evaluation.evaluate import Evaluation
from hjc.evaluation.words import plain_sentences
from hjc.files import write_bytes, write_text
from hjc.metrics.intervals import wilson
from hjc.report import plots
from hjc.report.embedding_map import embedding_map
from hjc.report.explanations import explanations_section
from hjc.report.page import Section, render
from hjc.report.scores import file_name
from hjc.report.tables import (
    LENGTH_BUCKETS,
    METRIC_COLUMNS,
    MIN_SUPPORT,
    TRAINING_BUCKETS,
    bucketed,
    by_group,
    code_scores,
    confused_pairs,
    confusion,
    gold_counts,
    level_of_codes,
    named,
    reliability,
)

REPORT = "report.html"
PLOTS = "plots"
#: texts on the map of an embedding model: their vectors are computed once more
MAPPED = 600
_HOW_TO_READ = (
    "Level 1 is the coarsest. Recall@k: share of rows whose gold code is among the k most probable of the level. "
    "Log-loss is in nats. Brackets and bars are 95 % intervals."
)


def write_report(
    directory: str | Path,
    sets: Mapping[str, Evaluation],
    record: Mapping[str, Any],
    *,
    counts: IntArray | None = None,
    examples: bool = True,
    file: str = REPORT,
    classifier: Classifier | None = None,
    data_tables: Mapping[str, pd.DataFrame] | None = None,
) -> Path:
    """Write ``report.html`` and ``plots/*.png`` into a run directory.

    Args:
        directory: where; its logs/metrics.csv and rejects.csv are read when there.
        sets: name -> evaluation, in their order. "valid" is shown in brief when there is a test set.
        record: the content of train.yaml, {} where there is none.
        counts: (N,) training rows coded to exactly each node.
        examples: show texts of the evaluated rows among the confused pairs. False when the report is to be shared and
            the texts are not.
        file: name of the page.
        classifier: to mark the words that decided, and to draw the space of an embedding model.
        data_tables: about the rows of the training, by title.
    """
    folder = Path(directory)
    taxonomy = next(iter(sets.values())).taxonomy
    below = None if counts is None else taxonomy.with_descendants(counts)
    for stem in ("learning_curves", *(f"{_stem(name)}_*" for name in sets)):  # those of an earlier evaluation
        for old in (folder / PLOTS).glob(f"{stem}.png"):
            old.unlink()
    tests = [name for name in sets if name != "valid"] or list(sets)
    sections = []
    if classifier is not None:
        sections.append(replace(explanations_section(classifier, sets, examples=examples), fold=True))
        if (space := space_section(classifier, sets[tests[0]], folder / PLOTS)) is not None:
            sections.append(space)
    results, parts = [], []
    with plots.plot_style():
        training = {"curves": _learning_curves(folder), "training": record.get("training")}
        if training["curves"] or isinstance(training["training"], Mapping):
            parts.append(Section("Training", "training.html.j2", training, fold=True))
        for name in sorted(sets, key=lambda s: s == "valid"):
            values = {"name": name, "evaluation": sets[name], "columns": METRIC_COLUMNS}
            if name in tests:
                values |= _details(name, sets[name], below, folder / PLOTS) | {"examples": examples}
            results.append(Section(f"Results on {name}", "set.html.j2", values, fold=name not in tests[:1]))
    about = {"sentences": plain_sentences(sets), "tests": tests}
    sections = [Section("In short", "summary.html.j2", about), *results, *sections, *parts]
    if data_tables:
        sections.append(Section("The data", "data.html.j2", {"tables": data_tables}, fold=True))
    rejects, files = {"found": _rejects(folder)}, {"found": _files(folder, (file, PLOTS))}
    sections.append(Section("Rows that could not be used", "rejects.html.j2", rejects, fold=True))
    sections.append(Section("How it was made", "facts.html.j2", {}, fold=True))
    sections.append(Section("In this directory", "files.html.j2", files, fold=True))
    title = f"{folder.resolve().name}: run report"  # as hjc compare names it
    return write_text(folder / file, render(title, sections, subtitle=_HOW_TO_READ, record=record, sets=sets))


def _save(path: Path, figure: Any) -> str:
    """Write a figure as PNG beside the report; its bytes as an address for the page, "" without a figure."""
    if figure is None:
        return ""
    image = plots.png(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, image)
    return plots.address(image)


def _learning_curves(folder: Path) -> str:
    path = folder / "logs" / "metrics.csv"
    if not path.exists():
        return ""
    try:
        log = pd.read_csv(path)
    except pd.errors.EmptyDataError:  # stopped before the first line
        return ""
    return _save(folder / PLOTS / "learning_curves.png", plots.learning_curves(log))


def _details(name: str, evaluation: Evaluation, below: IntArray | None, folder: Path) -> dict[str, Any]:
    """What details.html.j2 shows of a set, its plots among it."""
    scores, tree, data = evaluation.scores, evaluation.taxonomy, evaluation.data
    levels = range(1, tree.depth + 1)
    made = evaluation.decided or decision_tables(tree, scores, name=name)
    groups = {"language": named(data.language), "length": bucketed([len(t) for t in data.texts], LENGTH_BUCKETS)}
    if len({s for s in data.source if s}) > 1:
        groups["source"] = named(data.source)
    shares = {kind: [by_group(scores, tree, d, labels) for d in levels] for kind, labels in groups.items()}
    if below is not None:
        trained = {d: bucketed(gold_counts(scores, tree, d, below), TRAINING_BUCKETS) for d in levels}
        shares["training_rows"] = [by_group(scores, tree, d, labels) for d, labels in trained.items()]
    confusions = [confusion(scores, tree, d) for d in levels[:2]]
    bins = {kind: [reliability(found, d) for d in levels] for kind, found in made.scores.items()}
    last = list(made.scores)[-1]
    figures = {"recall_at_k": plots.recall_at_k(scores)}
    figures |= {f"confusion_{matrix.level}": plots.confusion_matrix(matrix, tree) for matrix in confusions}
    lines = made.calibration[["probabilities", "level", "ece"]].itertuples(index=False)
    ece = {(kind, level): value for kind, level, value in lines}
    figures |= {
        "reliability": plots.reliability_before_after(bins, ece),
        "risk_coverage": plots.risk_coverage_plot(made.scores[last]),
        "back_off": plots.back_off_plot(made.rules) if len(made.rules) else None,
        "by_training_rows": plots.share_plot(shares.get("training_rows", ()), "training rows of the gold code"),
        "by_language": plots.name_plot(shares["language"]),
        "by_source": plots.name_plot(shares.get("source", ())),
        "by_length": plots.share_plot(shares["length"], "characters of the text"),
    }
    rules = made.rules[(made.rules["probabilities"] == last) & (made.rules["slice"] == "")]
    idle = int((rules["coded"] == 0).sum())
    rules = rules[rules["coded"] != 0]
    at = level_of_codes(scores, tree)
    return {
        "pictures": {kind: _save(folder / f"{_stem(name)}_{kind}.png", drawn) for kind, drawn in figures.items()},
        "made": made,
        "rules": rules.to_dict("records"),
        "rules_by": last,
        "decodings": _by_metric(made.hierarchical[made.hierarchical["probabilities"] == last], ["decoding"]),
        "several": _by_metric(made.several, ["level", "way", "threshold"]),
        "idle_rules": idle,
        "shares": shares,
        "confusions": confusions,
        "pairs": confused_pairs(scores, tree, tree.depth, texts=data.texts),
        "codes": None if at is None else code_scores(scores, tree, at),
        "code_level": at,
        "support": MIN_SUPPORT,
        "below": below,
        "wilson": wilson,
    }


def _by_metric(lines: pd.DataFrame, keys: list[str]) -> list[dict[str, Any]]:
    """A record for each combination of ``keys``, with every metric and its bounds (``_low``, ``_high``)."""
    found = []
    for key, part in lines.groupby(keys, sort=False):
        record: dict[str, Any] = dict(zip(keys, key, strict=True))
        for metric, value, low, high in part[["metric", "value", "low", "high"]].itertuples(index=False):
            record |= {metric: value, f"{metric}_low": low, f"{metric}_high": high}
        found.append(record)
    return found


def space_section(classifier: Classifier, evaluation: Evaluation, folder: Path, *, seed: int = 0) -> Section | None:
    """A map of some rows of a set and all codes; None for classifiers without a space of their own.

    By t-SNE: it needs no extra, and a report is made by every run.
    """
    codes = classifier.category_vectors()
    if codes is None:
        return None
    data = evaluation.data
    rows = data.take(np.sort(np.random.default_rng(seed).permutation(len(data))[:MAPPED]))
    vectors = classifier.text_vectors(rows.texts).rows
    figure = embedding_map(classifier.taxonomy, vectors, rows.gold, codes, method="tsne", seed=seed)
    values = {"image": _save(folder / "map.png", figure), "rows": len(rows), "name": evaluation.name}
    return Section("The space", "space.html.j2", values, fold=True)


def _stem(name: str) -> str:
    """Start of the names of a set's plots."""
    return file_name(name).removeprefix("scores_").removesuffix(".parquet")


def _rejects(folder: Path) -> Counter[tuple[str, str]] | None:
    """(file, reason) -> rows; None without rejects.csv."""
    path = folder / "rejects.csv"
    if not path.exists():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        return Counter((line.get("file") or "", line.get("reason") or "") for line in csv.DictReader(file))


def _files(folder: Path, coming: tuple[str, ...]) -> dict[str, tuple[bool, int | None]]:
    """Name -> whether it is a folder, and its bytes; those of ``coming``, which are about to be written, unknown."""
    found: dict[str, tuple[bool, int | None]] = {}
    for name in sorted({p.name for p in folder.iterdir() if not p.name.endswith(".part")} | set(coming)):
        path = folder / name
        files = [p for p in (path, *path.rglob("*")) if p.is_file()]
        found[name] = path.is_dir(), None if name in coming else sum(p.stat().st_size for p in files)
    return found
