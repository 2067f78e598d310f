"""The encoder of a fitted model as the start of another one: ``model.encoder=RUN_DIR``, other tree, other head."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from hjc.errors import name_some
from hjc.files import read_json

if TYPE_CHECKING:  # where an encoder lies is found without torch
    from torch import Tensor

logger = logging.getLogger(__name__)

CONFIG_FILE = "encoder_config.json"
#: files with the weights of an encoder -> what stands before the names of its weights there
WEIGHT_FILES = {"model.safetensors": "encoder.", "encoder.safetensors": "", "cross_encoder.safetensors": "encoder."}


def is_run(folder: Path) -> bool:
    """Whether hjc wrote the folder for a model that has an encoder of its own."""
    return (folder / CONFIG_FILE).is_file()


def run_weights(folder: Path) -> "dict[str, Tensor]":
    """The weights of the encoder in a model directory, by the names that the encoder itself gives them.

    Raises:
        FileNotFoundError: there are none, e.g. because the training has not saved its model yet.
        ValueError: the file is no safetensors file, or no weight in it is of an encoder.
    """
    for name, before in WEIGHT_FILES.items():
        if not (folder / name).is_file():
            continue
        try:
            with safe_open(folder / name, "pt") as stored:
                names = [k for k in list(stored.keys()) if k.startswith(before)]
                found = {k.removeprefix(before): stored.get_tensor(k) for k in names}
        except SafetensorError as error:
            raise ValueError(f"{folder / name} is damaged: {error}") from error
        if found:
            return found
        raise ValueError(f"{folder / name} has no weights of an encoder")
    raise FileNotFoundError(
        f"{folder} has {CONFIG_FILE} but none of {name_some(WEIGHT_FILES)}: is the run finished? "
        "The same `python train.py ... run_dir=` goes on with it"
    )


def _parameters(folder: Path) -> dict[str, Any]:
    """What the run was told of its encoder; empty where nothing is known."""
    try:
        found = read_json(folder / "config.json")["parameters"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def pruned_from(folder: Path) -> tuple[str, str | None] | None:
    """Name and revision of the encoder whose vocabulary the run pruned; None where it pruned none."""
    then = _parameters(folder)
    name, revision = then.get("encoder"), then.get("revision")
    if not then.get("prune_vocabulary") or not isinstance(name, str) or not isinstance(revision, str | None):
        return None
    return name, revision


def say_differences(folder: Path, **now: Any) -> None:
    """A warning where the run read its texts by other settings: its encoder was fitted to those."""
    then = _parameters(folder)
    other = [
        f"model.{name}={then[name]!r}, here {value!r}" for name, value in now.items() if then.get(name, value) != value
    ]
    if other:
        logger.warning("the encoder of %s was trained with %s", folder, "; ".join(other))
