"""``hjc.load``, and what lies in a model directory beside the weights: recipe of its texts, record of its training."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hjc.classifiers import read_classifier
from hjc.classifiers.derived import read_calibration
from hjc.classifiers.hub import find_model
from hjc.classifiers.paths import PROVENANCE as PROVENANCE
from hjc.classifiers.paths import SEVERAL, check_entry, model_root
from hjc.classifiers.storage import CONFIG, ModelDirError, read_config, read_model_dir
from hjc.data.recipe import TextRecipe
from hjc.data.settings import DataSettings

if TYPE_CHECKING:
    from hjc.classifiers.base import Classifier


def load(directory: str | os.PathLike[str], *, revision: str | None = None) -> "Classifier":
    """A fitted classifier from the directory that ``save_pretrained`` or ``train.py`` wrote, or from a model hub.

        model = hjc.load("outputs/run")
        model = hjc.load("org/name", revision="v1.0")  # also "org/name@v1.0"; model.revision is the commit

    A calibration in the directory becomes ``classifier.calibrator``; ``classifier.calibrated()`` applies it.
    Needs no network, no base encoder and no training data; nothing that a file names is imported, only classes of the
    registry in :mod:`hjc.classifiers`. What is no folder and looks like ``org/name`` is asked of the hub: see
    :func:`hjc.classifiers.hub.find_model`.

    Raises:
        FileNotFoundError: there is nothing at ``directory``, here or on the hub.
        ModelDirError: it is no model directory (a checkpoint, a Hugging Face model, a sweep of several runs), or a
            file is missing, truncated, altered or from a newer hjc.
    """
    path = find_model(directory, revision)
    if path.is_dir() and not (model_root(path) / CONFIG).exists():
        runs = sorted(p.parent for p in path.glob(f"*/{CONFIG}"))
        if runs:
            shown = ", ".join(str(p) for p in runs[:5])
            raise ModelDirError(f"{path} holds {len(runs)} runs, not one model; give one of them: {shown}")
        if (path.parent / CONFIG).exists():
            raise ModelDirError(f"{path} is a folder inside a run; give the run directory {path.parent}")
    classifier = read_classifier(path)
    classifier.directory = path
    classifier.calibrator = read_calibration(path, classifier.taxonomy)
    if (model_root(path) / SEVERAL).exists():
        from hjc.classifiers.several import SeveralHead  # SciPy

        classifier.several = SeveralHead.load(path, classifier.taxonomy, classifier.text_vectors)
    return classifier


def training_record(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """What train.yaml says about the run in a directory; empty when the model was saved without one.

    Raises:
        ModelDirError: the file is no YAML mapping.
    """
    path = Path(directory) / PROVENANCE
    check_entry(path.parent, path)
    if not path.exists():
        return {}
    import yaml  # prediction does without

    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ModelDirError(f"{path}: cannot be read as YAML ({error}); remove it, the model works without") from None
    if not isinstance(record, dict):
        raise ModelDirError(f"{path}: no YAML mapping; remove it, the model works without")
    return record


def training_data_settings(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """The ``data`` section that a model was trained with; empty when it has no train.yaml."""
    config = training_record(directory).get("config")
    data = config.get("data") if isinstance(config, dict) else None
    return data if isinstance(data, dict) else {}


def stored_recipe(directory: str | os.PathLike[str], config: Mapping[str, Any] | None = None) -> TextRecipe:
    """How the texts of the model in a directory are made: from config.json, of older models from train.yaml.

    Args:
        config: of config.json, where it has been read.

    Raises:
        FileNotFoundError, ModelDirError: no model directory, or the recipe is damaged or from a newer hjc.
    """
    config = read_config(directory) if config is None else config
    source = CONFIG if "recipe" in config else PROVENANCE
    try:
        if "recipe" in config:
            return TextRecipe.from_dict(config["recipe"])
        data = training_data_settings(directory)
        known = {key: data[key] for key in TextRecipe().settings() if data.get(key) is not None}
        if data.get("text_columns"):
            known["text_columns"] = [str(name) for name in data["text_columns"]]
        return TextRecipe.of(DataSettings(sample=bool(data.get("sample")) or "text_columns" not in known, **known))
    except (TypeError, ValueError) as error:
        raise ModelDirError(f"{Path(directory) / source}: {error}") from error


def read_directory(cls: Any, directory: Path) -> Any:
    """The classifier of this class that lies in a directory, with the recipe of its texts.

    Raises:
        FileNotFoundError, ModelDirError: files are missing, truncated, altered or do not fit together.
    """
    model = read_model_dir(directory, expected_classifier=cls.name)
    try:
        found = cls.read_files(model)
        found.recipe = stored_recipe(model.path, model.config)
        return found
    except (ModelDirError, ImportError, MemoryError):
        raise
    except Exception as error:  # a stranger's file may fit its checksum; each library's parser has its own errors
        place = "" if str(model.path) in str(error) else f"{model.path}: "
        kind = "" if isinstance(error, (ValueError, TypeError, OSError)) else f"{type(error).__name__}: "
        raise ModelDirError(f"{place}{kind}{error}") from error
