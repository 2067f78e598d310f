"""Model directories in MLflow's format. MLflow imports this module by its name in MLmodel (``loader_module``) and calls
``_load_pyfunc`` with the folder of the data: the model directory that was put there."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

import hjc
from hjc.classifiers.base import Classifier
from hjc.classifiers.hub import published_files
from hjc.classifiers.load import load
from hjc.classifiers.paths import model_root
from hjc.errors import ModelDirError, name_some

#: what ``predict(..., params={...})`` takes, with defaults; level 0 is the deepest
PARAMS = {"level": 0, "top_k": 1, "calibrated": False}
#: the folder of the model directory inside a model of MLflow
_DATA = "model"
#: column of the texts where a model names none
TEXT = "text"


def save_model(model: Classifier | str | os.PathLike[str], path: str | os.PathLike[str], **options: Any) -> None:
    """Write a model in MLflow's format to a folder of this machine.

    Args:
        model: a fitted classifier, or what ``hjc.load`` takes. Of a directory what loading needs is taken, not the
            texts of the data, reports or logs.
        path: it must not be there yet.
        options: of ``mlflow.pyfunc.save_model`` (``metadata``, ``input_example`` ...).

    Raises:
        ModuleNotFoundError: the extra ``mlflow`` is missing. FileNotFoundError, ModelDirError: no whole model.
    """
    pyfunc = _pyfunc()
    with _as_data(model) as arguments:
        pyfunc.save_model(path=str(path), **arguments, **options)


def log_model(model: Classifier | str | os.PathLike[str], name: str = "model", **options: Any) -> Any:
    """Put a model into the MLflow run that is open (a new one else), and into the registry where asked.

    Args:
        model: as of :func:`save_model`.
        options: of ``mlflow.pyfunc.log_model``: ``registered_model_name="isco-ads"`` and others.

    Returns:
        MLflow's ModelInfo; its ``model_uri`` is what ``load_model`` takes.
    """
    pyfunc = _pyfunc()
    with _as_data(model) as arguments:
        return pyfunc.log_model(name=name, **arguments, **options)


def load_model(uri: str) -> Classifier:
    """The classifier in a model of MLflow: ``runs:/ID/model``, ``models:/NAME/1``, a folder.

    Raises:
        ModuleNotFoundError: the extra ``mlflow`` is missing. ModelDirError: it holds no model of hjc, or a damaged one.
    """
    _pyfunc()
    from mlflow.artifacts import download_artifacts
    from mlflow.models import Model

    folder = Path(uri) if Path(uri).is_dir() else Path(download_artifacts(artifact_uri=uri))
    loader = Model.load(str(folder)).flavors.get("python_function", {}).get("loader_module")
    if loader != __name__:
        raise ModelDirError(f"{uri}: no model of hjc: its loader_module is {loader!r}, not {__name__!r}")
    return load(folder / "data" / _DATA)


def _load_pyfunc(data_path: str) -> "PyFunc":
    """MLflow calls it."""
    return PyFunc(load(data_path))


class PyFunc:
    """What ``mlflow.pyfunc`` predicts with: a table of codes for a table of texts."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """``code_1, title_1, probability_1, code_2 ...``, one row for each row of the input, in its order.

        Args:
            model_input: a DataFrame with the columns of the model (``text`` where it names none), or a list of texts.
            params: ``level`` (0: the deepest), ``top_k``, ``calibrated``.

        Raises:
            ValueError, TypeError: an unknown parameter or column, or a cell that is no text.
        """
        given = {**PARAMS, **(params or {})}
        if unknown := sorted(set(given) - set(PARAMS)):
            raise ValueError(f"params: got {unknown[0]!r}, allowed are {', '.join(PARAMS)}")
        columns = self.classifier.recipe.columns
        if isinstance(model_input, pd.DataFrame) and not columns:
            if TEXT not in model_input:
                raise ValueError(f"the input has no column {TEXT!r}, only {name_some(model_input.columns)}")
            model_input = model_input[TEXT].tolist()
        predictor = self.classifier.calibrated() if given["calibrated"] else self.classifier
        level, top_k = int(given["level"]) or None, int(given["top_k"])
        found = predictor.predict(model_input, level=level, top_k=top_k)
        wide = found.pivot(index="row", columns="rank", values=["code", "title", "probability"])
        names = [(what, rank) for rank in sorted(found["rank"].unique()) for what in ("code", "title", "probability")]
        wide = wide.reindex(columns=pd.MultiIndex.from_tuples(names)) if names else wide
        wide.columns = pd.Index([f"{what}_{rank}" for what, rank in names])
        return wide.astype({f"probability_{rank}": float for what, rank in names if what == "code"}).reset_index(
            drop=True
        )


@contextmanager
def _as_data(model: Classifier | str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Arguments of mlflow.pyfunc, with the files of the model in a folder that lives as long."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    with tempfile.TemporaryDirectory(prefix="hjc-") as temporary:
        folder = Path(temporary) / _DATA
        classifier = model if isinstance(model, Classifier) else load(model)
        if classifier.directory is None:
            classifier.save_pretrained(folder)
        else:
            source = model_root(classifier.directory)
            for name in published_files(source):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, folder / name)
        kinds = {int: DataType.long, bool: DataType.boolean}
        signature = ModelSignature(
            inputs=Schema([ColSpec(DataType.string, name) for name in classifier.recipe.columns or (TEXT,)]),
            params=ParamSchema([ParamSpec(name, kinds[type(value)], value) for name, value in PARAMS.items()]),
        )
        yield {
            "loader_module": __name__,
            "data_path": str(folder),
            "pip_requirements": [f"hjc=={hjc.__version__}"],
            "signature": signature,
        }


def _pyfunc() -> Any:
    try:
        from mlflow import pyfunc
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('models of MLflow need: pip install "hjc[mlflow]"', name=error.name) from error
    return pyfunc
