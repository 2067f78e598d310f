"""One training run from typed settings to an evaluated model directory. ``train.py`` and ``hjc train`` call this.

No Hydra here: :func:`run_training` takes the ``Config`` that Hydra, a search or a notebook filled.
"""

import json
import math
import shlex
import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from hjc.arrays import FloatArray
from hjc.classifiers import build
from hjc.classifiers.base import Classifier
from hjc.classifiers.embedding.settings import USE
from hjc.classifiers.load import load, training_record
from hjc.data import Splits, TextRecipe, load_job_data, summarise
from hjc.errors import NotFittedError
from hjc.evaluation import Evaluation, evaluate_model
from hjc.evaluation.decided import TABLES
from hjc.evaluation.model import calibrate_model
from hjc.evaluation.parts import score_parts, show_parts, write_parts
from hjc.evaluation.several import check_several, fit_several
from hjc.evaluation.tables import show
from hjc.evaluation.training_texts import keep_training_texts
from hjc.evaluation.words import plain_sentences
from hjc.files import locked
from hjc.nn.settings import Callback
from hjc.progress import is_first_process, silence
from hjc.report.card import write_card
from hjc.report.save import save_evaluations
from hjc.report.scores import write_training_counts
from hjc.taxonomy import Taxonomy, load_taxonomy
from hjc.taxonomy.spelling import Asking
from hjc.training.config import Config
from hjc.training.extras import check_extras, check_side
from hjc.training.record import DONE, SAVED, Record, user_errors
from hjc.training.second import Second
from hjc.training.tracking import tell_mlflow

LOCK = ".training.lock"


@dataclass(frozen=True, repr=False)
class RunResult:
    """Where the model lies and how good it is; ``log_loss``: validation, deepest level, nats (None: no such rows)."""

    directory: Path
    status: str
    log_loss: float | None
    evaluations: Mapping[str, Evaluation]
    #: the fitted model; None in the further processes of a distributed run
    model: Classifier | None = None

    def __repr__(self) -> str:
        tests = ", ".join(f"{name}: {len(found.scores):,} rows" for name, found in self.evaluations.items())
        return f"RunResult({self.model!r}, {self.status}, in {self.directory}, evaluated on {tests or 'nothing'})"

    def predict(self, rows: Any, level: int | None = None, top_k: int = 1) -> pd.DataFrame:
        """Of the model; see :meth:`hjc.Classifier.predict`."""
        return self._trained().predict(rows, level, top_k)

    def predict_proba(self, rows: Any, level: int | None = None) -> FloatArray:
        """Of the model; see :meth:`hjc.Classifier.predict_proba`."""
        return self._trained().predict_proba(rows, level)

    def to_dict(self) -> dict[str, Any]:
        """Directory, status, plain sentences and every figure (null where it is undefined or infinite): for JSON."""
        figures = {f"{name}/{key}": value for name, e in self.evaluations.items() for key, value in e.metrics.items()}
        return {
            "directory": str(self.directory),
            "status": self.status,
            "valid_log_loss": self.log_loss,
            "summary": plain_sentences(self.evaluations) if self.evaluations else [],
            "metrics": {key: value if math.isfinite(value) else None for key, value in figures.items()},
        }

    def _trained(self) -> Classifier:
        if self.model is None:
            raise NotFittedError("the first process of a distributed run has the model; hjc.load it from the directory")
        return self.model


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a Python caller hands over that no configuration can say.

    Args:
        frames: tables in memory that stand for paths in ``config.data``.
        taxonomy: stands for ``config.taxonomy.path``.
        callback: see :meth:`hjc.Classifier.fit`.
        asking: whom rejected rows tell what to do, see :func:`hjc.data.load_job_data`.
    """

    frames: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    taxonomy: Taxonomy | None = None
    callback: Callback | None = None
    asking: Asking = "training"


#: nothing but the configuration
NOTHING = Given()


def run_training(config: Config, console: Console | None = None, given: Given = NOTHING) -> RunResult:
    """Load the tree and the data, fit, save, evaluate on the validation rows and every test set.

    Writes into ``config.run_dir``: the model directory, ``train.yaml`` (provenance), ``metrics.json``, ``metrics.csv``,
    ``rejects.csv``, ``logs/``, ``training_counts.csv``, ``scores_<set>.parquet``, ``report.html``, ``plots/``,
    ``calibration.csv``, ``selective.csv`` and what :func:`hjc.evaluation.model.calibrate_model` keeps. A directory
    that holds the same run unfinished is continued; finished, its model is evaluated again.

    Raises:
        ConfigError: the data, the tree or the run directory does not fit the settings; the message says what to do.
        KeyboardInterrupt: after Ctrl-C; what was learnt so far has been saved if there was anything.
    """
    # the further processes of a distributed run train along in silence; the first one reports
    first = is_first_process()
    directory = Path(config.run_dir)
    directory.mkdir(parents=True, exist_ok=True)
    busy = f"{directory}: another process is training there; wait for its end, or give this run another run_dir"
    silent = not first or config.output in ("json", "none")
    out = console or Console(quiet=silent, highlight=False)
    quiet = silence(out.quiet and config.output in ("json", "none"))
    with quiet, user_errors(directory), locked(directory / LOCK, busy) if first else nullcontext():
        try:
            result = _run(config, directory, first, out, given)
        except KeyboardInterrupt:
            if training_record(directory).get("status") in SAVED:
                out.print("stopped by Ctrl-C; the model is saved, and the same command goes on with its evaluation")
            raise
        if first and config.output == "json":
            print(json.dumps(result.to_dict(), ensure_ascii=False))
        return result


def _run(config: Config, directory: Path, first: bool, out: Console, given: Given) -> RunResult:
    say = partial(out.print, markup=False, soft_wrap=True)  # paths may hold square brackets
    check_extras(config)
    check_side(config)
    check_encoder(config, directory)
    taxonomy, splits = load_inputs(config, directory / "rejects.csv" if first else None, given)
    record = Record.begin(config, taxonomy, splits)
    second = Second.of(config, splits) if config.second.code_column else None
    about = summarise(splits)
    say(f"run directory  {directory}")
    if config.output == "tables":
        say(repr(taxonomy))
        about.print(out)
    else:
        for line in about.sentences():
            say(line)
    for line in second.sentences() if second is not None else ():
        say(line)
    earlier = record.earlier(directory)
    if first:
        write_training_counts(directory, splits.train)
    if earlier is not None:
        status = str(earlier.get("outcome", earlier["status"]))
        if earlier["status"] in SAVED:
            say(f"the model of this run is trained and saved: going on with its evaluation in {directory}")
        else:
            say(f"this run is finished: evaluating the model in {directory} (trainer.resume=false trains again)")
        if second is not None:
            finish(second.config, load(second.directory), second.splits, second.record_again(), status, out)
        return finish(config, load(directory), splits, Record.again(earlier), status, out)
    if first:
        if note := what_is_left(directory, config):
            say(note)
        record.write(directory)
    classifier = build(taxonomy, config.model, config.trainer, config.lookup)
    classifier.recipe = TextRecipe.of(config.data)
    if second is not None:
        second.join(classifier)
    if splits.unlabelled:
        if classifier.unlabelled is None:
            raise classifier.cannot("learn from texts without codes (data.unlabelled)", "models of ads (model=ads)")
        classifier.unlabelled = splits.unlabelled
    if config.evaluation.several:
        check_several(classifier, splits.train)
    status = fit(classifier, splits, directory, record, out, given.callback)
    if not first:
        return RunResult(directory, status, None, {})
    started = time.monotonic()
    classifier.save_pretrained(directory)
    if second is not None:
        say(second.save(directory))
    record.timing["save_seconds"] = round(time.monotonic() - started, 2)
    if status in DONE:
        record.values |= {"status": "trained", "outcome": status}
        record.write(directory)
        if second is not None:
            second.close(record, status)
        # only a resume needs them, and with the optimiser's state they are many times the model's size
        shutil.rmtree(directory / "checkpoints", ignore_errors=True)
    say(f"model saved in {directory}")
    if status == "interrupted":
        record.close(directory, status)
        say(
            f"stopped by Ctrl-C; the best weights so far are saved. The same command with run_dir={directory} goes on, "
            f"`hjc evaluate {directory} DATA` scores them as they are."
        )
        raise KeyboardInterrupt
    if status == "diverged":
        record.close(directory, status)
        raise ValueError(
            f"the training diverged (its loss or weights became NaN or infinite); the last good weights are saved in "
            f"{directory}. Train again with a lower trainer.learning_rate, or trainer.precision=32, and "
            "trainer.resume=false"
        )
    if second is not None:
        finish(second.config, second.classifier, second.splits, second.record, status, out)
    return finish(config, classifier, splits, record, status, out)


def last_words(
    classifier: Classifier, directory: Path, page: Path | None, evaluations: Mapping[str, Evaluation]
) -> list[str]:
    """What a run ends with: how good the model is, where to look, what to do next."""
    columns = classifier.recipe.columns or ("title",)
    options = " ".join(f"--text-column {shlex.quote(name)}" for name in columns)
    return [
        f"run finished: {directory}",
        *plain_sentences(evaluations),
        *([f"Everything about it: {page}"] if page is not None else []),
        f"Next: hjc predict {shlex.quote(str(directory))} ads.csv -o coded.csv {options}",
    ]


def what_is_left(directory: Path, config: Config) -> str:
    """One sentence on an earlier start of this run that did not come to its end, and on what of it is lost."""
    if training_record(directory).get("status") not in ("running", "failed", "interrupted", "time_limit"):
        return ""
    found = [p.stat().st_mtime for p in (directory / "checkpoints").glob("*") if p.name != "run.json"]
    if not config.trainer.resume or not found:
        return "an earlier start of this run did not end and left no checkpoint: training from the beginning"
    when = datetime.fromtimestamp(max(found)).strftime("%Y-%m-%d %H:%M:%S")
    return (
        f"an earlier start of this run did not end: going on from its checkpoint of {when}; what was learnt after it "
        f"is learnt again (trainer.checkpoint_minutes={config.trainer.checkpoint_minutes:g})"
    )


def check_encoder(config: Config, directory: Path) -> None:
    """Find encoder and GPU before any data is read: where one is nowhere, that is known within seconds.

    A finished run, or one with its model saved, is only evaluated and needs none.
    Raises EncoderNotFoundError with the ways out; ValueError where there is no such GPU.
    """
    encoder = getattr(config.model, "encoder", None)
    finished = training_record(directory).get("status") in (*DONE, *SAVED) and config.trainer.resume
    if encoder in (None, USE) or finished:
        return  # USE is of a package; the classifier says what is missing
    from hjc.nn.devices import accelerator_of  # torch

    accelerator_of(config.trainer.accelerator, config.trainer.devices)
    if encoder != "tiny":
        from hjc.nn.hub import resolve_folder  # not for the linear baseline: it imports the hub's client

        resolve_folder(encoder, config.model.revision)


def load_inputs(config: Config, rejects_path: Path | None, given: Given = NOTHING) -> tuple[Taxonomy, Splits]:
    """The tree and the data projected on it, both cut to ``taxonomy.depth``; rows without a code left out."""
    taxonomy = given.taxonomy or load_taxonomy(config.taxonomy.path, digits=config.taxonomy.digits)
    splits = load_job_data(config.data, taxonomy, rejects_path=rejects_path, frames=given.frames, asking=given.asking)
    depth = config.taxonomy.depth
    if depth and depth < taxonomy.depth:
        taxonomy = taxonomy.truncate(depth)
        splits.train, splits.valid = splits.train.truncate(depth), splits.valid.truncate(depth)
        splits.tests = {name: data.truncate(depth) for name, data in splits.tests.items()}
    for name, data in splits.named().items():
        if without := len(data) - int(data.is_labelled.sum()):
            splits.notes.append(f"{name}: {without:,} of {len(data):,} rows have no code and are left out")
    splits.train, splits.valid = splits.train.labelled(), splits.valid.labelled()
    splits.tests = {name: data.labelled() for name, data in splits.tests.items()}
    if not len(splits.train):
        raise ValueError(
            "data: no training rows are left; look into rejects.csv in the run directory, and at data.languages"
        )
    return taxonomy, splits


def fit(
    classifier: Classifier,
    splits: Splits,
    directory: Path,
    record: Record,
    out: Console,
    callback: Callback | None = None,
) -> str:
    """Fit; returns the status: finished | early_stopped | time_limit | interrupted | diverged."""
    started = time.monotonic()
    out.print(f"training {classifier.name} on {len(splits.train):,} rows")
    try:
        told = {} if callback is None else {"callback": callback}
        classifier.fit(splits.train, splits.valid if len(splits.valid) else None, run_dir=directory, **told)
    except KeyboardInterrupt:
        record.close(directory, "interrupted")
        if not classifier.is_fitted:
            again = "goes on from the last checkpoint, or begins again where there is none"
            out.print(f"stopped by Ctrl-C before there was a model; the same command {again}", markup=False)
            raise
        return "interrupted"
    except BaseException:
        with suppress(OSError):  # a full disk, say, must not hide the error
            record.close(directory, "failed")
        raise
    record.timing["fit_seconds"] = round(time.monotonic() - started, 2)
    details = classifier.fit_result
    if details is None:
        return "finished"
    record.training = asdict(details)
    return str(details.status)


def finish(
    config: Config, classifier: Classifier, splits: Splits, record: Record, status: str, out: Console
) -> RunResult:
    """Evaluate, write metrics and provenance, print the tables."""
    directory = Path(config.run_dir)
    settings = config.evaluation
    started = time.monotonic()
    classifier.directory = directory
    keep_training_texts(directory, splits.train.texts, splits.valid.texts, config.data.keep_hashes)
    evaluated = record.values["status"] == "evaluated"  # only its report is missing, which needs the rows' scores
    for name in ("metrics.json", "metrics.csv", *TABLES):
        (directory / name).unlink(missing_ok=True)
    if settings.calibrate:
        fitted = calibrate_model(
            classifier, directory, splits.train, splits.valid, again=record.trained and not evaluated
        )
        record.values["calibration"] = {**(record.values.get("calibration") or {}), **fitted}
        record.timing["calibrate_seconds"] = round(time.monotonic() - started, 2)
        if config.output == "tables" or not fitted["kind"]:
            out.print(f"calibration: {record.of_calibration()}", soft_wrap=True)
    if settings.several:
        sentence = fit_several(classifier, directory, splits.train, splits.valid, record.trained and not evaluated)
        out.print(sentence, markup=False, soft_wrap=True)
    evaluations: dict[str, Evaluation] = {}
    for name, data in splits.named().items():
        if name == "train" or not len(data):
            continue
        found = evaluations[name] = evaluate_model(
            classifier, data, name=name, validation=directory, in_sample=name == "valid", slices=settings.slices,
            bootstrap=settings.bootstrap, seed=settings.seed, train_gold=splits.train.gold,
        )  # fmt: skip
        found.write(directory)
        spoken = found.frame.loc[found.frame["slice_kind"] == "language", "slice"].nunique()
        if config.output == "tables":
            by = ("language",) if name != "valid" and spoken > 1 else ()
            show(found, out, f"{name}: {len(found.scores):,} rows", by)
        else:
            for note in found.notes:
                out.print(f"{name}: {note}", markup=False, soft_wrap=True)
    tell_parts(classifier, splits, record, directory, out)
    record.timing["evaluate_seconds"] = round(time.monotonic() - started, 2)
    record.values["rows_per_second"] = {n: round(e.rows_per_second, 1) for n, e in evaluations.items() if e.seconds > 0}
    saved = record.values["status"] in SAVED
    record.close(directory, "evaluated" if saved else status)
    write_card(directory)
    page = save_evaluations(
        directory, evaluations, report=settings.report, examples=settings.examples, classifier=classifier,
        data_tables=summarise(splits).tables(),
    )  # fmt: skip
    if saved:
        record.close(directory, status)
    if "mlflow" in config.trainer.loggers:
        tell_mlflow(directory, record.values, evaluations)
    for line in last_words(classifier, directory, page, evaluations):
        out.print(line, markup=False, soft_wrap=True)
    deepest = f"level_{classifier.taxonomy.depth}/log_loss"
    log_loss = evaluations["valid"].metrics[deepest] if "valid" in evaluations else None
    return RunResult(directory, status, log_loss, evaluations, classifier)


def tell_parts(classifier: Classifier, splits: Splits, record: Record, directory: Path, out: Console) -> None:
    """Of a model made of several: what each part knows and costs, on the rows that weighed it and on every test set."""
    if not classifier.named_parts:
        return
    found = {}
    if weighed := (record.training or {}).get("parts"):
        found["weighing"] = weighed
        show_parts(weighed, f"the rows that weighed the parts ({weighed[0]['rows']:,}), weights cross-fitted", out)
    for name, data in splits.tests.items():
        if lines := score_parts(classifier, data):
            found[name] = lines
            show_parts(lines, f"{name}: each part and the whole ({lines[0]['rows']:,} rows)", out)
    if found:
        write_parts(directory, found)
