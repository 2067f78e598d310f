"""``hjc.load``: a classifier from its model directory."""

import os
from pathlib import Path

from hjc.classifiers import read_classifier
from hjc.classifiers.base import Classifier
from hjc.classifiers.commit import model_root
from hjc.classifiers.record import PROVENANCE, training_record
from hjc.classifiers.storage import CONFIG, ModelDirError

__all__ = ["PROVENANCE", "load", "training_record"]

CALIBRATION = "calibration.json"


def load(directory: str | os.PathLike[str]) -> Classifier:
    """A fitted classifier from the directory that ``save_pretrained`` or ``train.py`` wrote.

    A calibration in the directory becomes ``classifier.calibrator``; ``classifier.calibrated()`` applies it.
    Needs no network, no base encoder and no training data; nothing that a file names is imported, only classes of the
    registry in :mod:`hjc.classifiers`.

    Raises:
        FileNotFoundError: there is nothing at ``directory``.
        ModelDirError: it is no model directory (a checkpoint, a Hugging Face model, a sweep of several runs), or a
            file is missing, truncated, altered or from a newer hjc.
    """
    path = Path(directory)
    if path.is_dir() and not (model_root(path) / CONFIG).exists():
        runs = sorted(p.parent for p in path.glob(f"*/{CONFIG}"))
        if runs:
            shown = ", ".join(str(p) for p in runs[:5])
            raise ModelDirError(f"{path} holds {len(runs)} runs, not one model; give one of them: {shown}")
        if (path.parent / CONFIG).exists():
            raise ModelDirError(f"{path} is a folder inside a run; give the run directory {path.parent}")
    classifier = read_classifier(path)
    if (model_root(path) / CALIBRATION).exists():
        from hjc.classifiers.calibration_file import read_calibration

        classifier.calibrator = read_calibration(path, classifier.taxonomy)
    return classifier
