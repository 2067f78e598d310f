"""What an evaluation leaves in a directory besides its metrics: row scores, and the report made from them."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hjc.arrays import IntArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.load import training_record
from hjc.classifiers.storage import CONFIG
from hjc.data.jobdata import JobData
from hjc.evaluation.evaluate import Evaluation
from hjc.report.scores import StoredScores, score_files

if TYPE_CHECKING:
    from hjc.evaluation.decided import DecisionTables


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
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        facts["size_bytes"] = sum(entry["size"] for entry in config.get("files", {}).values())
        facts.setdefault("model", str(config.get("classifier", "")))
    return facts


def save_evaluations(
    directory: str | Path,
    sets: Mapping[str, tuple[Evaluation, JobData]],
    *,
    run_dir: str | Path | None = None,
    counts: IntArray | None = None,
    report: bool = True,
    examples: bool = True,
    keep: bool = False,
    decided: Mapping[str, "DecisionTables"] | None = None,
    classifier: Classifier | None = None,
) -> Path | None:
    """Write ``scores_<set>.parquet`` for each set and, with ``report``, the report and its plots.

    Args:
        directory: where.
        sets: name -> evaluation and the labelled rows that were scored, in their order.
        run_dir: the model directory, when it is not ``directory``.
        counts: (N,) training rows of each node, for the report.
        keep: scores, plots and reports of other sets in the directory stay; the report is then called
            ``report_<set>.html`` where the directory is a model directory, whose own report it would replace.
        decided: set -> tables of calibration and decisions, for the report.
        classifier: which made the evaluations, to mark the words that decided in some of the texts.

    Returns:
        The report's path, or None.
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
    written = [StoredScores.of(n, e.scores, d, e.seconds, about).write(folder) for n, (e, d) in sets.items()]
    if not report or not sets:
        return None
    from hjc.report.run import REPORT, write_report  # matplotlib takes a moment

    name = REPORT
    if keep and (folder / CONFIG).exists():
        name = written[0].name.replace("scores_", "report_").replace(".parquet", ".html")
    explained = space = None
    if classifier is not None:
        from hjc.report.explanations import explanations_section
        from hjc.report.space import space_section

        explained = explanations_section(classifier, sets, examples=examples)
        space = space_section(classifier, sets, folder / "plots")
    return write_report(
        folder, sets, record=record, counts=counts, examples=examples, file=name, decided=decided, explained=explained,
        space=space,
    )  # fmt: skip
