"""Files that are made from a finished model and decisions rest on: calibration, validation outcomes, drift profile,
hashes of the training texts.

Each holds the SHA-256 of the config.json that it was made for (``model_sha256``) and one of its own content, so that a
file of another model and a damaged or edited one are named. It finds damage, it does not stop a forger. Files of an
older hjc have no checksum of their content and are read unchecked.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hjc.calibration import Calibrator
from hjc.calibration.base import FILE_NAME as CALIBRATION
from hjc.classifiers.paths import CONFIG, CONTENT, DERIVED, content_hash, inside, model_root
from hjc.errors import ModelDirError
from hjc.files import open_replacing, read_json, write_text
from hjc.taxonomy import Taxonomy

T = TypeVar("T")
MODEL = "model_sha256"
_WAY_OUT = (
    "copy the whole directory again, or give the training command of the run again, which makes the file anew once it "
    "is removed"
)


def model_fingerprint(directory: str | os.PathLike[str]) -> str:
    """SHA-256 of config.json, which lists the checksums of all other files: what derived files are tied to."""
    return hashlib.sha256((model_root(directory) / CONFIG).read_bytes()).hexdigest()


def write_derived(directory: str | os.PathLike[str], name: str, state: Mapping[str, Any]) -> Path:
    """Write a derived file of the model in ``directory``: plain JSON, or arrays (no pickle) where the name is .npz."""
    path = Path(directory) / name
    state = {**state, MODEL: model_fingerprint(directory)}
    if path.suffix == ".npz":
        arrays: dict[str, Any] = {key: np.asarray(value) for key, value in state.items()}
        arrays[CONTENT] = np.array(content_hash(arrays))
        with open_replacing(path, sync=True) as stream:
            np.savez_compressed(stream, **arrays)
        return path
    state = json.loads(json.dumps(state, allow_nan=False))  # as it will be read: JSON turns numbers as keys into texts
    return write_text(path, json.dumps({**state, CONTENT: content_hash(state)}) + "\n", sync=True)


def read_derived(directory: str | os.PathLike[str], name: str) -> dict[str, Any] | None:
    """What :func:`write_derived` wrote; None where there is no such file.

    Raises:
        ModelDirError: the file is damaged, was altered, or belongs to another model.
    """
    found = _read(directory, name)
    return None if found is None else found[0]


def restored(directory: str | os.PathLike[str], name: str, make: Callable[[dict[str, Any]], T]) -> T | None:
    """What ``make`` makes of :func:`read_derived`; None where there is no such file.

    Raises:
        ModelDirError: the file is damaged, was altered, or belongs to another model, or ``make`` cannot use it.
    """
    state = read_derived(directory, name)
    try:
        return None if state is None else make(state)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        raise ModelDirError(f"{Path(directory) / name}: {error}") from error


def write_calibration(directory: str | Path, calibrator: Calibrator, details: Mapping[str, Any] | None = None) -> Path:
    """Write calibration.json into the directory of the finished model that it belongs to.

    Args:
        details: plain JSON to be kept with it (how it was fitted).
    """
    return write_derived(directory, CALIBRATION, {**calibrator.to_dict(), **(details or {})})


def read_calibration(directory: str | Path, taxonomy: Taxonomy) -> Calibrator | None:
    """The calibrator of a model directory, None where there is none.

    Raises:
        ModelDirError: the file is damaged, was altered, or belongs to another model.
    """
    return restored(directory, CALIBRATION, lambda state: Calibrator.from_dict(taxonomy, state))


def verify_derived(directory: str | os.PathLike[str]) -> dict[str, bool]:
    """Of the derived files that are there: name -> whether a checksum of the content was there to be verified.

    Raises:
        ModelDirError: as :func:`read_derived`.
    """
    return {name: found[1] for name in DERIVED if (found := _read(directory, name)) is not None}


def _read(directory: str | os.PathLike[str], name: str) -> tuple[dict[str, Any], bool] | None:
    """The content of a derived file, and whether it carried a checksum."""
    path = inside(model_root(directory), name)
    if not path.exists():
        return None
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                state = {key: stored[key] for key in stored.files}
        else:
            state = read_json(path)
            if not isinstance(state, dict):
                raise ValueError("no JSON object")
    except Exception as error:  # JSON, zip, zlib, NumPy and the system each have their own
        raise _damaged(path, error) from error
    if MODEL in state and str(state[MODEL]) != model_fingerprint(directory):
        raise ModelDirError(
            f"{path}: was made for another model than the one in this directory; remove the file, "
            "or copy the whole directory again from where the model was trained"
        )
    content = state.pop(CONTENT, None)
    if content is not None and str(content) != content_hash(state):
        raise _damaged(path, "its SHA-256 is not the one that was written with it")
    return state, content is not None


def _damaged(path: Path, why: object) -> ModelDirError:
    return ModelDirError(f"{path}: truncated or altered ({str(why).removeprefix(f'{path}: ')}); {_WAY_OUT}")
