"""What lies in a model directory beside the weights: the recipe of its texts, and the record of its training."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hjc.classifiers.paths import check_entry
from hjc.classifiers.storage import CONFIG, ModelDirError, read_config
from hjc.data.recipe import TextRecipe
from hjc.data.settings import DataSettings

PROVENANCE = "train.yaml"


def training_record(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """What train.yaml says about the run in a directory; empty when the model was saved without one.

    Raises:
        ModelDirError: the file is no YAML mapping.
    """
    path = Path(directory) / PROVENANCE
    check_entry(path.parent, path)
    if not path.exists():
        return {}
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
