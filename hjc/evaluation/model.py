"""The one evaluation: a model and labelled data in, metrics, calibration and decision rules out.

``hjc evaluate``, the end of training and Python users call :func:`evaluate_model`. Probabilities are gone through once,
batch by batch as the classifier yields them, so memory holds a batch of them and, a row, some 60 bytes a level.
"""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import FloatArray, IntArray
from hjc.calibration import ClasswiseCounts
from hjc.calibration.base import FILE_NAME
from hjc.classifiers.base import Classifier
from hjc.classifiers.derived import read_calibration, write_calibration
from hjc.classifiers.rows import Codes, Texts, labelled_rows
from hjc.data.codesets import likeliest
from hjc.data.jobdata import JobData
from hjc.evaluation.decided import DecisionTables, decision_tables
from hjc.evaluation.decodings import BUNDLES, DecodingRows
from hjc.evaluation.drift_profile import PROFILE_FILE, describe_vectors, profile_rows, write_profile
from hjc.evaluation.evaluate import Evaluation, evaluation_of
from hjc.evaluation.rules import RuleRows
from hjc.evaluation.several import SeveralRows
from hjc.evaluation.validation import describe_validation
from hjc.evaluation.validation_scores import SCORES_FILE, ValidationScores
from hjc.evaluation.watch import Watch
from hjc.metrics import LevelProba, Resamples, RowScores, log_loss_baseline, score_rows
from hjc.metrics.hierarchical import node_information
from hjc.progress import rows_progress
from hjc.taxonomy import Taxonomy

#: resamples of the bands of selective coding, at most
BANDS = 300
#: probabilities (rows times leaves) that the tables are made of at a time
STEP_CELLS = 500_000


def evaluate_model(
    model: Classifier,
    data: JobData | Texts,
    *,
    codes: Codes | None = None,
    name: str = "test",
    validation: ValidationScores | str | Path | None = None,
    calibrated: bool = False,
    in_sample: bool = False,
    decisions: bool = True,
    slices: Sequence[str] = ("language", "source"),
    bootstrap: int = 1000,
    seed: int = 0,
    min_support: int = 30,
    weighted: bool = False,
    cluster: bool = True,
    train_gold: npt.ArrayLike | None = None,
    progress: bool = True,
) -> Evaluation:
    """Evaluate a model at every level, overall and by slice, with bootstrap 95 % intervals.

    Any code of a row with several is right (:class:`hjc.metrics.RowScores`); rules, sets and the calibration by code
    take the most probable of them. Rows without a code are left out and counted. See
    :func:`hjc.metrics.level_metrics` for the definitions, and ``Evaluation.table``, ``Evaluation.write`` for what to
    do with the result.

    Args:
        data: JobData, or texts (a list or Series of them, a DataFrame with the columns of the model's recipe).
        codes: of texts: a list or Series, or the name of a column.
        name: what the set is called in files.
        validation: what the model keeps of its validation rows, or the directory it keeps it in, for rules whose
            thresholds and sets come from there; without, these rules are left out.
        calibrated: the metrics are of calibrated probabilities, not of raw ones. The tables of calibration and
            decisions are of both, where the model has a calibration.
        in_sample: ``data`` are the validation rows themselves: no rules, and another name for calibrated probabilities.
        decisions: also make the tables of calibration and decisions.
        slices: attributes of JobData to slice by: "language", "source". One that is nowhere known is skipped.
        bootstrap: resamples; 0 for no intervals.
        min_support: slices with fewer rows get no figures, and are named in the table's caption.
        weighted: weigh rows by ``data.weight`` in the metrics (off: those are weights in the training loss).
        cluster: draw groups of rows together where ``data.group`` is known, as near-duplicates are no independent
            evidence.
        train_gold: (m,) training gold nodes: a model that does not read the text is shown for comparison, and the
            information content of codes comes from them (without, from the shape of the tree).

    Raises:
        ValueError: the data lies on another taxonomy or has no row with a code, the classifier did not yield every row
            exactly once, an unknown slice, a negative ``bootstrap``, or ``calibrated`` without a calibration.
    """
    if bootstrap < 0:
        raise ValueError(f"bootstrap: got {bootstrap}, allowed are 0 (no intervals) and more resamples")
    data = labelled_rows(data, codes, model.taxonomy, model.recipe, name)
    rows = data.labelled()
    if calibrated:
        model.calibrated()  # says what to do where there is none
    if isinstance(validation, str | Path):
        kept = (Path(validation) / SCORES_FILE).exists()
        validation = ValidationScores.load(validation, model.taxonomy) if kept else None
    tree, passed = model.taxonomy, "calibrated" if calibrated else "raw"
    variants = ["raw", "calibrated"] if decisions and model.calibrator is not None else [passed]
    target, several = rows.target, rows.sets is not None
    groups, weights = rows.group if cluster else None, rows.weight.astype(np.float64) if weighted else None
    resamples = Resamples.draw(len(rows), bootstrap, seed, groups) if bootstrap else None
    scores = {v: RowScores.empty(len(rows), tree.depth, several=several) for v in variants}
    classwise = {v: ClasswiseCounts(tree) for v in variants if decisions}
    bundles = Resamples.draw(len(rows), min(BANDS, bootstrap), seed, groups, BUNDLES) if bootstrap else None
    information = node_information(tree, None if train_gold is None else _counts(tree, train_gold))
    decodings = {v: DecodingRows(tree, target, information, bundles, weights) for v in classwise}
    known = None if in_sample else validation
    rules = {v: RuleRows(tree, target, rows.language, known, v == "calibrated") for v in classwise if not in_sample}
    beside = SeveralRows(model, rows, bundles, weights) if decisions and model.several is not None else None
    watch = None if in_sample else Watch(model)
    clock = [0.0]
    found = batches(model, rows, name, progress=progress, clock=clock)
    for at, log_proba in _in_larger_steps(found, min(4096, STEP_CELLS // tree.num_leaves)):
        if watch is not None:
            watch.see(at, rows.texts, rows.language, log_proba)
        for v in variants:
            x = log_proba if v == "raw" or model.calibrator is None else model.calibrator.transform(log_proba)
            levels = LevelProba.of(tree, x)
            scores[v].put(at, score_rows(tree, levels, target[at]))
            if decisions:
                classwise[v].update(levels, likeliest(target[at], levels.nodes))
                decodings[v].update(at, levels)
            if v in rules:
                rules[v].update(at, levels)
            if beside is not None and v == variants[0]:
                beside.update(at, levels)
    tables = [
        decision_tables(
            tree, scores[v], name=name, probabilities="calibrated in sample" if in_sample and v == "calibrated" else v,
            resamples=None if resamples is None else resamples.first(BANDS), classwise=classwise[v].table(),
            rules=rules[v].table() if v in rules else None, hierarchical=decodings[v].table(),
            several=beside.table() if beside is not None and v == variants[0] else None,
        )
        for v in classwise
    ]  # fmt: skip
    return evaluation_of(
        scores[passed],
        rows,
        slices=slices,
        min_support=min_support,
        weights=weights,
        resamples=resamples,
        progress=progress,
        unlabelled=len(data) - len(rows),
        clustered=groups is not None and bootstrap > 0,
        seconds=clock[0],
        baseline=None if train_gold is None else log_loss_baseline(tree, train_gold, target),
        decided=DecisionTables.concat(tables) if tables else None,
        name=name,
        trained_on=0 if watch is None else watch.trained,
        notes=() if watch is None else tuple(watch.notes()),
    )


def _counts(taxonomy: Taxonomy, gold: npt.ArrayLike) -> IntArray:
    """(N,) rows of each node."""
    nodes = np.asarray(gold, dtype=np.int64)
    return np.bincount(nodes[nodes >= 0], minlength=len(taxonomy))


def _in_larger_steps(found: Iterator[tuple[IntArray, FloatArray]], least: int) -> Iterator[tuple[IntArray, FloatArray]]:
    """Batches joined until they have so many rows: every rule is one call a step."""
    kept: list[tuple[IntArray, FloatArray]] = []
    for rows, log_proba in found:
        if not kept and len(rows) >= least:
            yield rows, log_proba
            continue
        kept.append((rows, np.array(log_proba)))  # the classifier may use its buffer again
        if sum(len(r) for r, _ in kept) >= least:
            yield np.concatenate([r for r, _ in kept]), np.concatenate([x for _, x in kept])
            kept = []
    if kept:
        yield np.concatenate([r for r, _ in kept]), np.concatenate([x for _, x in kept])


def batches(
    classifier: Classifier, data: JobData, name: str = "", *, progress: bool = True, clock: list[float] | None = None
) -> Iterator[tuple[IntArray, FloatArray]]:
    """(rows, log_proba) of labelled data, every row once. ``clock[0]`` is added the seconds that the classifier took.

    Raises:
        ValueError: the data lies on another taxonomy, has no rows or rows without code, or the classifier did not yield
            every row exactly once.
    """
    taxonomy = classifier.taxonomy
    if data.taxonomy != taxonomy:
        raise ValueError(
            f"the classifier codes to {taxonomy!r}, the data is on {data.taxonomy!r}; "
            "load the data with the classifier's taxonomy, or use data.truncate(depth)"
        )
    if not len(data) or (data.gold < 0).any():
        raise ValueError(
            f"evaluation needs rows with a code: got {len(data)} rows, {int((data.gold < 0).sum())} of them without"
        )
    seen = np.zeros(len(data), dtype=bool)
    with rows_progress(f"evaluating {name}".strip(), len(data), progress) as bar:
        started = time.perf_counter()
        for rows, log_proba in classifier.iter_log_proba(data.texts):
            if clock is not None:
                clock[0] += time.perf_counter() - started
            if seen[rows].any() or len(np.unique(rows)) < len(rows):
                raise ValueError(f"{type(classifier).__name__}.iter_log_proba yielded a row twice")
            seen[rows] = True
            yield rows, log_proba
            bar.advance(len(rows))
            started = time.perf_counter()
    if not seen.all():
        raise ValueError(
            f"{type(classifier).__name__}.iter_log_proba left out {int((~seen).sum())} of {len(seen)} rows"
        )


def calibrate_model(
    classifier: Classifier, directory: str | Path, train: JobData, valid: JobData, *, again: bool = False
) -> dict[str, Any]:
    """Fit the calibrator on the validation rows (and ``classifier.cross_fitted``) and write calibration.json,
    calibration_scores.npz and drift_profile.json beside the finished model; sets ``classifier.calibrator``.

    Without validation rows only the drift profile is written, of training rows. Files that are there are kept unless
    ``again``.

    Returns:
        For train.yaml: ``kind`` (None without validation rows), ``rows``, and where it was fitted now ``cross_fitted``
        (how many rows that trained are among these), ``of_other_kind`` (they are not of the kinds that the model is
        for, so nothing was calibrated) and ``candidates`` with their cross-validated log-loss.
    """
    folder = Path(directory)
    labelled = valid.labelled()
    wanted = (PROFILE_FILE,) if not len(labelled) else (FILE_NAME, SCORES_FILE, PROFILE_FILE)
    fitted: dict[str, Any] = {}
    if again or not all((folder / name).exists() for name in wanted):
        if not len(labelled):
            write_profile(folder, profile_rows(classifier, train), "training")
        else:
            found = describe_validation(classifier, labelled)
            candidates = json.loads(found.choice.to_json(orient="records", double_precision=6))
            fitted = {"rows": len(found.scores), "cross_fitted": len(found.scores) - len(labelled)}
            fitted |= {"of_other_kind": not classifier.calibrated_by(labelled), "candidates": candidates}
            write_calibration(folder, found.calibrator, fitted)
            found.scores.save(folder)
            describe_vectors(found.profile, classifier, labelled.texts)
            write_profile(folder, found.profile, "validation")
    classifier.calibrator = read_calibration(folder, classifier.taxonomy)
    kind = classifier.calibrator.kind if classifier.calibrator is not None else None
    return {"kind": kind, **({"rows": len(labelled)} | fitted)}
