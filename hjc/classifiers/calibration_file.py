"""The file that keeps a calibrator beside its model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hjc.calibration import Calibrator
from hjc.calibration.base import FILE_NAME
from hjc.classifiers.derived import read_derived, write_derived
from hjc.errors import ModelDirError
from hjc.taxonomy import Taxonomy


def write_calibration(directory: str | Path, calibrator: Calibrator, details: Mapping[str, Any] | None = None) -> Path:
    """Write calibration.json into the directory of the finished model that it belongs to.

    Args:
        details: plain JSON to be kept with it (how it was fitted).
    """
    return write_derived(directory, FILE_NAME, {**calibrator.to_dict(), **(details or {})})


def read_calibration(directory: str | Path, taxonomy: Taxonomy) -> Calibrator | None:
    """The calibrator of a model directory, None where there is none.

    Raises:
        ModelDirError: the file is damaged, was altered, or belongs to another model.
    """
    state = read_derived(directory, FILE_NAME)
    if state is None:
        return None
    try:
        return Calibrator.from_dict(taxonomy, state)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelDirError(f"{Path(directory) / FILE_NAME}: {error}") from error
