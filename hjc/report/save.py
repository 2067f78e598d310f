"""What an evaluation leaves in a directory besides its metrics: row scores, and the report made from them."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hjc.arrays import IntArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.load import training_record
from hjc.classifiers.storage import CONFIG
from hjc.evaluation.evaluate import Evaluation
from hjc.files import read_json
from hjc.report.scores import StoredScores, read_training_counts, score_files


def run_facts(directory: str | Path, record: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a run was and what it cost: ``model, train_rows, fit_seconds, peak_memory_mb, size_bytes``; unknown: absent.

    ``size_bytes`` are the files of the model alone, without logs, checkpoints and reports.
    """
    folder = Path(directory)
    values = training_record(folder) if record is None else record
    facts: dict[str, Any] = {}
    model = (values.get("config") or {}).get("model") or {}
    if what := [str(model[key]) for key in ("name", "encoder", "hierarchy") if model.get(key)]:
        facts["model"] = ", ".join(what)
    if "train" in (values.get("data") or {}):
        facts["train_rows"] = values["data"]["train"].get("rows")
    if "fit_seconds" in (values.get("timing") or {}):
        facts["fit_seconds"] = values["timing"]["fit_seconds"]
    if memory := values.get("peak_memory_mb"):
        facts["peak_memory_mb"] = dict(memory)
    if (folder / CONFIG).exists():
        config = read_json(folder / CONFIG)
        facts["size_bytes"] = sum(entry["size"] for entry in config.get("files", {}).values())
        facts.setdefault("model", str(config.get("classifier", "")))
    return facts


def save_evaluations(
    directory: str | Path,
    sets: Mapping[str, Evaluation],
    *,
    run_dir: str | Path | None = None,
    counts: IntArray | None = None,
    report: bool = True,
    examples: bool = True,
    keep: bool = False,
    classifier: Classifier | None = None,
    data_tables: Mapping[str, pd.DataFrame] | None = None,
) -> Path | None:
    """Write ``scores_<set>.parquet`` for each set and, with ``report``, the report and its plots.

    Args:
        directory: where.
        sets: name -> evaluation.
        run_dir: the model directory, when it is not ``directory``.
        counts: (N,) training rows of each node, for the report; default: training_counts.csv of ``directory``.
        keep: scores, plots and reports of other sets in the directory stay; the report is then called
            ``report_<set>.html`` where the directory is a model directory, whose own report it would replace.
        classifier: which made the evaluations, to mark the words that decided in some of the texts.
        data_tables: about the rows of a training, by title, for the report.

    Returns:
        The report's path, or None.

    Raises:
        ValueError: a damaged training_counts.csv.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    if not keep:
        for old in score_files(folder):
            old.unlink()
        shutil.rmtree(folder / "plots", ignore_errors=True)
        (folder / "report.html").unlink(missing_ok=True)
    source = folder if run_dir is None else Path(run_dir)
    record = training_record(source)
    about = run_facts(source, record)
    written = [
        StoredScores.of(n, e.scores, e.data, e.seconds, {**about, "trained_on": e.trained_on}).write(folder)
        for n, e in sets.items()
    ]
    if not report or not sets:
        return None
    from hjc.report.run import REPORT, write_report  # matplotlib takes a moment

    file = REPORT
    if keep and (folder / CONFIG).exists():
        file = written[0].name.replace("scores_", "report_").replace(".parquet", ".html")
    if counts is None:
        counts = read_training_counts(folder, next(iter(sets.values())).taxonomy)
    return write_report(
        folder,
        sets,
        record,
        counts=counts,
        examples=examples,
        file=file,
        classifier=classifier,
        data_tables=data_tables,
    )
