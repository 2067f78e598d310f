"""``hjc.train``: a training from Python, with the configuration and the numbers of the shell."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from hjc.classifiers import classifier_class, classifier_settings
from hjc.classifiers.keywords import preset, preset_names
from hjc.data.settings import DataSettings
from hjc.nn.settings import Callback, TrainerSettings
from hjc.taxonomy import Taxonomy
from hjc.taxonomy.load import BUILT_IN
from hjc.training.config import compose, written
from hjc.training.settings import Config, ConfigError, EvaluationSettings, TaxonomySettings
from hjc.training.workflow import Given, RunResult, run_training

#: a table in memory, a file, or several files
Table: TypeAlias = pd.DataFrame | str | PathLike[str] | Sequence[str | PathLike[str]]
#: a name chooses one of these, a mapping sets single settings
_SECTIONS = ("model", "taxonomy", "data", "trainer", "evaluation")
_GROUPS = (*_SECTIONS, "hierarchy", "encoder", "logger", "experiment")
#: how tables in memory are called in train.yaml and in messages
_ROLES = {"files": "DataFrame", "train": "DataFrame train", "valid": "DataFrame valid", "test": "DataFrame test"}


def train(
    data: Table | None = None,
    *,
    text: str | Sequence[str] | None = None,
    code: str | None = None,
    language: str | None = None,
    valid: Table | None = None,
    test: Table | None = None,
    taxonomy: str | PathLike[str] | Taxonomy | None = None,
    model: str | None = None,
    hierarchy: str | None = None,
    run_dir: str | PathLike[str] | None = None,
    callback: Callback | None = None,
    quiet: bool = False,
    verbose: bool = False,
    **overrides: Any,
) -> RunResult:
    """Train, save and evaluate a model: ``hjc train`` from Python, with its numbers.

        run = hjc.train("ads.csv", text=["title", "description"], code="isco", model="e5", epochs=1)
        run.predict(["registered nurse, night shifts"], top_k=3)

    Args:
        data: a DataFrame, a file or several (CSV, TSV, Parquet, JSON, Excel). It is split into training, validation and
            test, with identical texts on one side; where ``valid`` or ``test`` is given it is trained on as a whole
            (without ``valid``, validation rows are still taken from it). None: the bundled sample.
        text: columns that make the text (``text``). code: column of the codes (``code``). language: column, if any.
        taxonomy: "isco08", a file with ``code,parent,title_en``, a :class:`hjc.Taxonomy`, or the name of a
            configuration.
        model: "e5" and the other names of ``model=`` (README). hierarchy: topdown, bottomup, pathsum, plt ...
        run_dir: the model directory; an unfinished run in it is continued, a finished one evaluated again.
        callback: called with step and figures while it learns; see :meth:`hjc.Classifier.fit`.
        quiet: print nothing. verbose: print all tables.
        overrides: every other setting of the shell: ``epochs=1`` where one section has it,
            ``trainer={"epochs": 1}``, ``trainer__epochs=1``, ``**{"trainer.epochs": 1}``; ``trainer="paper"`` and
            ``experiment="demo"`` choose a configuration.

    Returns:
        The run: ``model``, ``directory``, ``evaluations`` by test set, ``log_loss`` of the validation rows, ``status``.

    Raises:
        ConfigError: an unknown setting (with the nearest), or data, columns or codes that do not fit; a ValueError.
        KeyboardInterrupt: after Ctrl-C; what was learnt so far is saved.
    """
    frames: dict[str, pd.DataFrame] = {}
    chosen = [*_data(data, valid, test, text, code, language, frames), *_tree(taxonomy)]
    chosen += [f"{name}={value}" for name, value in (("model", model), ("hierarchy", hierarchy)) if value is not None]
    chosen += list(_overrides(overrides, model or "e5"))
    if run_dir is not None:
        chosen.append(f"run_dir={written(str(run_dir))}")
    config: Config = compose(chosen)
    tree = taxonomy if isinstance(taxonomy, Taxonomy) else None
    if tree is not None:
        config.taxonomy.path = f"Taxonomy {tree.name}"
    if quiet or verbose:
        config.output = "none" if quiet else "tables"
    return run_training(config, given=Given(frames=frames, taxonomy=tree, callback=callback))


def _data(
    data: Table | None,
    valid: Table | None,
    test: Table | None,
    text: str | Sequence[str] | None,
    code: str | None,
    language: str | None,
    frames: dict[str, pd.DataFrame],
) -> Iterator[str]:
    """Overrides of the section data; tables in memory go into ``frames``."""
    if data is None:
        given = {"valid": valid, "test": test, "text": text, "code": code, "language": language}
        if beside := [name for name, value in given.items() if value is not None]:
            raise ConfigError(f"{beside[0]}: there is no data that it belongs to: pass a file or a DataFrame first")
        return
    yield "data=csv"
    main = "files" if valid is None and test is None else "train"
    for role, table in ((main, data), ("valid", valid), ("test", test)):
        if table is not None:
            yield f"data.{role}={written(_paths(role, table, frames))}"
    if text is not None:
        yield f"data.text_columns={written([text] if isinstance(text, str) else list(text))}"
    for name, column in (("code", code), ("language", language)):
        if column is not None:
            yield f"data.{name}_column={written(column)}"


def _paths(role: str, table: Table, frames: dict[str, pd.DataFrame]) -> list[str]:
    if isinstance(table, pd.DataFrame):
        frames[_ROLES[role]] = table
        return [_ROLES[role]]
    if isinstance(table, (str, PathLike)):
        return [str(table)]
    if isinstance(table, Sequence) and all(isinstance(path, (str, PathLike)) for path in table):
        return [str(path) for path in table]
    raise ConfigError(f"{role}: got a {type(table).__name__}, expected a DataFrame, a file or a list of files")


def _tree(taxonomy: str | PathLike[str] | Taxonomy | None) -> Iterator[str]:
    if isinstance(taxonomy, Taxonomy) or taxonomy in BUILT_IN:
        yield "taxonomy=isco08"  # whose path is replaced, or right
    elif isinstance(taxonomy, PathLike) or (taxonomy is not None and Path(taxonomy).suffix):
        yield from ("taxonomy=csv", f"taxonomy.path={written(str(taxonomy))}")
    elif taxonomy is not None:
        yield f"taxonomy={taxonomy}"


def _overrides(given: Mapping[str, Any], model: str) -> Iterator[str]:
    """Keywords as the shell has them."""
    for key, value in given.items():
        name = key.replace("__", ".")
        if name in _SECTIONS and isinstance(value, Mapping):
            yield from (f"{name}.{inner}={written(setting)}" for inner, setting in value.items())
        elif name in _GROUPS and isinstance(value, str):
            yield f"{name}={value}"
        else:
            yield f"{name if '.' in name else _owner(name, model)}={written(value)}"


def _owner(name: str, model: str) -> str:
    """``epochs`` -> ``trainer.epochs``; what no section has stays as it is, for the shell's message.

    Raises:
        ConfigError: several sections have it.
    """
    if name in {f.name for f in fields(Config)} or model not in preset_names():
        return name
    kind = preset(model)[0]
    sections: dict[str, type[Any]] = {
        "model": classifier_settings(kind),
        "trainer": TrainerSettings,
        "data": DataSettings,
        "taxonomy": TaxonomySettings,
        "evaluation": EvaluationSettings,
    }
    if not classifier_class(kind).takes_trainer:
        del sections["trainer"]
    owners = [section for section, cls in sections.items() if name in {f.name for f in fields(cls)}]
    if len(owners) > 1:
        ways = " or ".join(f"{section}={{'{name}': ...}}" for section in owners)
        raise ConfigError(f"{name}: several sections have this setting; say which one: {ways}")
    return f"{owners[0]}.{name}" if owners else name
