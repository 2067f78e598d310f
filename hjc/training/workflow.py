"""One training run from typed settings to an evaluated model directory. ``train.py`` and ``hjc train`` call this.

No Hydra here: :func:`run_training` takes the ``Config`` that Hydra, a search or a notebook filled.
"""

import json
import linecache
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from hjc.classifiers import TRAINED, build
from hjc.classifiers.base import Classifier
from hjc.classifiers.embedding.settings import USE
from hjc.classifiers.fitting import NOT_IDENTITY
from hjc.classifiers.load import PROVENANCE, load, training_record, write_card
from hjc.data import Splits, TextRecipe, load_job_data, summarise
from hjc.evaluation.calibrated import TABLES, DecisionTables, calibrate_model, watch
from hjc.evaluation.evaluate import Evaluation, evaluate
from hjc.evaluation.tables import decisions_table
from hjc.files import write_text
from hjc.metrics import log_loss_baseline
from hjc.report.save import save_evaluations
from hjc.report.scores import write_training_counts
from hjc.taxonomy import Taxonomy, load_taxonomy
from hjc.training.config import Config, ConfigError
from hjc.training.provenance import code_state, command_line, describe_data, machine, package_versions, peak_memory_mb

#: states after which the same command shows the results instead of training again
DONE = ("finished", "early_stopped")


@dataclass(frozen=True)
class RunResult:
    """Where the model lies and how good it is; ``log_loss``: validation, deepest level, nats (None: no such rows)."""

    directory: Path
    status: str
    log_loss: float | None
    evaluations: Mapping[str, Evaluation]


def run_training(config: Config, console: Console | None = None) -> RunResult:
    """Load the tree and the data, fit, save, evaluate on the validation rows and every test set.

    Writes into ``config.run_dir``: the model directory, ``train.yaml`` (provenance), ``metrics.json``, ``metrics.csv``,
    ``rejects.csv``, ``logs/``, ``training_counts.csv``, ``scores_<set>.parquet``, ``report.html``, ``plots/``,
    ``calibration.csv``, ``selective.csv`` and what :func:`hjc.evaluation.calibrated.calibrate_model` keeps. A directory
    that holds the same run unfinished is continued; finished, its model is evaluated again.

    Raises:
        ConfigError: the data, the tree or the run directory does not fit the settings; the message says what to do.
        KeyboardInterrupt: after Ctrl-C; what was learnt so far has been saved if there was anything.
    """
    # the further processes of a distributed run train along in silence; the first one reports
    first = int(os.environ.get("LOCAL_RANK", "0")) == 0
    out = console or Console(quiet=not first, highlight=False)
    say = partial(out.print, markup=False, soft_wrap=True)  # paths may hold square brackets
    directory = Path(config.run_dir)
    directory.mkdir(parents=True, exist_ok=True)
    with user_errors():
        check_encoder(config, directory)
        taxonomy, splits = load_inputs(config, directory / "rejects.csv" if first else None)
    record = Record.begin(config, taxonomy, splits)
    say(f"run directory  {directory}\n{taxonomy!r}")
    summarise(splits).print(out)
    earlier = record.earlier(directory)
    if first:
        write_training_counts(directory, splits.train)
    if earlier is not None and config.trainer.resume:
        say(f"this run is finished: evaluating the model in {directory} (trainer.resume=false trains again)")
        with user_errors():
            return finish(config, load(directory), splits, Record.again(earlier), str(earlier["status"]), out)
    if first:
        record.write(directory)
    with user_errors():
        classifier = build(taxonomy, config.model, config.trainer)
        classifier.recipe = TextRecipe.of(config.data)
        status = fit(classifier, splits, directory, record, out)
    if not first:
        return RunResult(directory, status, None, {})
    started = time.monotonic()
    classifier.save_pretrained(directory)
    record.timing["save_seconds"] = round(time.monotonic() - started, 2)
    say(f"model saved in {directory}")
    if status in DONE:
        # only a resume needs them, and with the optimiser's state they are many times the model's size
        shutil.rmtree(directory / "checkpoints", ignore_errors=True)
    if status == "interrupted":
        record.close(directory, status)
        say(
            f"stopped by Ctrl-C; the best weights so far are saved. The same command with run_dir={directory} goes on, "
            f"`hjc evaluate {directory} DATA` scores them as they are."
        )
        raise KeyboardInterrupt
    return finish(config, classifier, splits, record, status, out)


def check_encoder(config: Config, directory: Path) -> None:
    """Find the pre-trained encoder before any data is read: where it is nowhere, that is known within seconds.

    A finished run is only evaluated again and needs none.

    Raises:
        EncoderNotFoundError: with the ways out.
    """
    encoder = getattr(config.model, "encoder", "tiny")
    if encoder == USE:
        return  # of a package; the classifier says what is missing
    finished = training_record(directory).get("status") in DONE and config.trainer.resume
    if encoder != "tiny" and not finished:
        from hjc.nn.hub import resolve_folder  # not for the linear baseline: it imports the hub's client

        resolve_folder(encoder, config.model.revision)


def load_inputs(config: Config, rejects_path: Path | None) -> tuple[Taxonomy, Splits]:
    """The tree and the data projected on it, both cut to ``taxonomy.depth``; rows without a code left out."""
    taxonomy = load_taxonomy(config.taxonomy.path, digits=config.taxonomy.digits)
    splits = load_job_data(config.data, taxonomy, rejects_path=rejects_path)
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


def fit(classifier: Classifier, splits: Splits, directory: Path, record: "Record", out: Console) -> str:
    """Fit; returns the status: finished | early_stopped | time_limit | interrupted."""
    started = time.monotonic()
    out.print(f"training {classifier.name} on {len(splits.train):,} rows")
    try:
        classifier.fit(splits.train, splits.valid if len(splits.valid) else None, run_dir=directory)
    except KeyboardInterrupt:
        record.close(directory, "interrupted")
        if not classifier.is_fitted:
            out.print(
                f"stopped by Ctrl-C before there was a model; run_dir={directory} goes on from its last checkpoint",
                markup=False,
            )
            raise
        return "interrupted"
    except BaseException:
        record.close(directory, "failed")
        raise
    record.timing["fit_seconds"] = round(time.monotonic() - started, 2)
    details = classifier.fit_result
    if details is None:
        return "finished"
    record.training = asdict(details)
    return str(details.status)


def finish(
    config: Config, classifier: Classifier, splits: Splits, record: "Record", status: str, out: Console
) -> RunResult:
    """Evaluate, write metrics and provenance, print the tables."""
    directory = Path(config.run_dir)
    settings = config.evaluation
    started = time.monotonic()
    for name in ("metrics.json", "metrics.csv", *TABLES):
        (directory / name).unlink(missing_ok=True)
    if settings.calibrate:
        fitted = calibrate_model(classifier, directory, splits.train, splits.valid, again=record.trained)
        record.values["calibration"] = {**(record.values.get("calibration") or {}), **fitted}
        record.timing["calibrate_seconds"] = round(time.monotonic() - started, 2)
        out.print(f"calibration: {fitted['kind'] or 'none, as there are no validation rows'}")
    evaluations: dict[str, Evaluation] = {}
    decided: dict[str, DecisionTables] = {}
    for name, data in splits.named().items():
        if name == "train" or not len(data):
            continue
        watched = watch(classifier, data, directory, in_sample=name == "valid")
        found = evaluate(
            watched,
            data,
            slices=settings.slices,
            bootstrap=settings.bootstrap,
            seed=settings.seed,
            baseline=log_loss_baseline(classifier.taxonomy, splits.train.gold, data.gold),
        )
        found = replace(found, seconds=found.seconds - watched.seconds)
        found.write(directory, name)
        decided[name] = watched.tables(found.scores, name, replicates=min(settings.bootstrap, 300))
        decided[name].write(directory, name)
        evaluations[name] = found
        out.print(found.table(title=f"{name}: {len(found.scores):,} rows"))
        out.print(decisions_table(decided[name], title=f"{name}: calibration and automatic coding"))
        if name != "valid" and found.frame.loc[found.frame["slice_kind"] == "language", "slice"].nunique() > 1:
            out.print(found.table(slice="language", title=f"{name}, by language"))
    record.timing["evaluate_seconds"] = round(time.monotonic() - started, 2)
    record.values["rows_per_second"] = {n: round(e.rows_per_second, 1) for n, e in evaluations.items() if e.seconds > 0}
    record.close(directory, status)
    write_card(directory)
    named = splits.named()
    page = save_evaluations(
        directory,
        {name: (found, named[name]) for name, found in evaluations.items()},
        report=settings.report,
        examples=settings.examples,
        decided=decided,
        classifier=classifier,
    )
    if page is not None:
        out.print(f"report: {page}", markup=False, soft_wrap=True)
    out.print(f"run finished: {directory}", markup=False, soft_wrap=True)
    deepest = f"level_{classifier.taxonomy.depth}/log_loss"
    log_loss = evaluations["valid"].metrics[deepest] if "valid" in evaluations else None
    return RunResult(directory, status, log_loss, evaluations)


# ---------------------------------------------------------------------------------------------- provenance


@dataclass
class Record:
    """The content of train.yaml while it grows. Without ``status: finished`` the run did not end well."""

    values: dict[str, Any]
    timing: dict[str, float]
    started: float
    training: dict[str, Any] | None = None
    trained: bool = True

    @classmethod
    def begin(cls, config: Config, taxonomy: Taxonomy, splits: Splits) -> "Record":
        data = describe_data(splits.named())
        resolved = asdict(config)
        if config.model.name not in TRAINED:
            del resolved["trainer"]  # nothing of it was used
        values = {
            "status": "running",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command_line(),
            "seed": config.seed,
            "code": code_state(),
            "versions": package_versions(),
            "machine": machine(),
            "taxonomy": {
                "name": taxonomy.name,
                "hash": taxonomy.hash,
                "nodes": len(taxonomy),
                "leaves": taxonomy.num_leaves,
            },
            "data": data,
            "rejected_rows": len(splits.rejects),
            "data_counts": dict(splits.counts),
            "config": resolved,
        }
        return cls(values=_plain(values), timing={}, started=time.monotonic())

    @classmethod
    def again(cls, earlier: Mapping[str, Any]) -> "Record":
        """The record of a finished run whose model is evaluated once more: how it was trained stays as it is."""
        values = {k: v for k, v in earlier.items() if k not in ("timing", "training")}
        return cls(values, dict(earlier.get("timing", {})), time.monotonic(), earlier.get("training"), trained=False)

    @property
    def identity(self) -> dict[str, Any]:
        """What makes two runs the same: settings, tree and data, not where, when and how they are evaluated."""
        config = {
            k: v for k, v in self.values["config"].items() if k not in ("run_dir", "name", "evaluation", "trainer")
        }
        trainer = dict(self.values["config"].get("trainer", {}))
        for key in NOT_IDENTITY:
            trainer.pop(key, None)
        sets = {name: d["hash"] for name, d in self.values["data"].items() if name in ("train", "valid")}
        return {**config, "trainer": trainer, "taxonomy_hash": self.values["taxonomy"]["hash"], "data_hash": sets}

    def earlier(self, directory: Path) -> dict[str, Any] | None:
        """The record of the same run, finished, in ``directory``.

        Raises:
            ConfigError: a finished run with other settings lies there.
        """
        values = training_record(directory)
        if values.get("status") not in DONE:
            return None
        other = Record(values=values, timing={}, started=0.0)
        changed = differences(other.identity, self.identity)
        if changed and self.values["config"].get("trainer", {}).get("resume", True):
            raise ConfigError(
                f"{directory} holds a finished run with other settings ({'; '.join(changed[:4])}"
                f"{f'; and {len(changed) - 4} more' if len(changed) > 4 else ''}). Give this run another run_dir, or "
                "train again in that directory with trainer.resume=false"
            )
        return None if changed else values

    def write(self, directory: Path) -> None:
        """Write train.yaml, whole or not at all."""
        values = dict(self.values)
        if self.training is not None:
            values["training"] = _plain(self.training)
        values["timing"] = self.timing
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
        write_text(directory / PROVENANCE, text, sync=True)

    def close(self, directory: Path, status: str) -> None:
        """Write the final state."""
        self.values["status"] = status
        if self.trained:
            self.values["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
            self.values["peak_memory_mb"] = peak_memory_mb()
            self.timing["total_seconds"] = round(time.monotonic() - self.started, 2)
        else:
            self.values["evaluated_again"] = datetime.now(UTC).isoformat(timespec="seconds")
        if int(os.environ.get("LOCAL_RANK", "0")) == 0:
            self.write(directory)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """``model.hierarchy: topdown -> bottomup`` for every leaf that differs."""
    found: list[str] = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            shown = [v[:12] if isinstance(v, str) and len(v) == 64 else v for v in (a, b)]
            found.append(f"{prefix}{key}: {shown[0]} -> {shown[1]}")
    return found


def _plain(values: Any) -> Any:
    """Through JSON, so that train.yaml has no Python objects."""
    return json.loads(json.dumps(values, default=str))


# ---------------------------------------------------------------------------------------------- errors


@contextmanager
def user_errors() -> Iterator[None]:
    """Errors that hjc raises on purpose, about files and settings, become a ConfigError: one message, no stack trace.

    What comes from elsewhere (NumPy, torch, a bug) keeps its type and its stack trace.
    """
    try:
        yield
    except ConfigError:
        raise
    except (ValueError, TypeError, ImportError, OSError) as error:
        if not _is_deliberate(error):
            raise
        raise ConfigError(str(error)) from error


def _is_deliberate(error: BaseException) -> bool:
    """Whether a ``raise`` statement in hjc's own code made the error."""
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    frame = trace.tb_frame
    line = linecache.getline(frame.f_code.co_filename, trace.tb_lineno).strip()
    return str(frame.f_globals.get("__name__", "")).split(".")[0] == "hjc" and line.startswith("raise")
