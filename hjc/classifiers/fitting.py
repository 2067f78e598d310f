"""What every classifier with TrainerSettings needs before its first step: weights of rows, identity of a run."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hjc.arrays import Float32, FloatArray, IntArray
from hjc.data.jobdata import JobData
from hjc.errors import name_some
from hjc.nn.settings import Callback, Run, TrainerSettings
from hjc.taxonomy import Taxonomy

#: trainer settings that only bound how long a run takes, or say where it runs
NOT_IDENTITY = ("max_minutes", "checkpoint_minutes", "resume", "loggers", "workers", "devices", "num_nodes",
                "threads", "compile")  # fmt: skip
#: weights may be this far from an integer multiple of the smallest
_WEIGHT_SLACK = 1e-3
_MAX_REPEATS = 100


def check_tree(kind: str, data: JobData, taxonomy: Taxonomy) -> None:
    """Raise ValueError where codes belong to another tree."""
    if data.taxonomy != taxonomy:
        raise ValueError(
            f"{kind}: its codes belong to {data.taxonomy!r}, the classifier to {taxonomy!r}; read the data "
            "with the classifier's taxonomy"
        )


def check_rows(kind: str, data: JobData, taxonomy: Taxonomy) -> None:
    """Raise ValueError where rows cannot be fitted on: another tree, no code, or no training rows at all."""
    check_tree(kind, data, taxonomy)
    if kind == "train" and len(data) == 0:
        raise ValueError("train: got no rows; see the rejects file for why rows were not used")
    if unlabelled := int((data.gold < 0).sum()):
        raise ValueError(f"{kind}: {unlabelled} of {len(data)} rows have no code; pass data.labelled()")


def check_data(train: JobData, valid: JobData | None, taxonomy: Taxonomy) -> JobData | None:
    """Check both as :func:`check_rows` does; the validation rows, None where there are none."""
    check_rows("train", train, taxonomy)
    if valid is not None:
        check_rows("valid", valid, taxonomy)
    return valid if valid is not None and len(valid) else None


def draw(size: int, most: int, seed: int) -> IntArray:
    """Ascending positions of an even random sample of at most ``most`` of ``size`` rows."""
    return np.sort(np.random.default_rng(seed).permutation(size)[:most])


def class_weights(train: JobData, kind: str) -> Float32:
    """(n,) weight of each row by the frequency of its gold code, mean 1; ``kind``: none | balanced | sqrt."""
    if kind == "none":
        return np.ones(len(train), dtype=np.float32)
    counts = np.bincount(train.gold, weights=train.weight, minlength=len(train.taxonomy))
    weight = 1.0 / np.maximum(counts[train.gold], 1e-12)
    if kind == "sqrt":
        weight = np.sqrt(weight)
    return (weight * len(train) / weight.sum()).astype(np.float32)


def run_of(
    settings: Any,
    trainer: TrainerSettings,
    train: JobData,
    valid: JobData | None,
    run_dir: Path | None,
    callback: Callback | None = None,
) -> Run:
    """The run, identified for resuming by settings, tree and data; not by what only bounds how long it takes."""
    kept = {k: v for k, v in asdict(trainer).items() if k not in NOT_IDENTITY}
    parts = [asdict(settings), kept, train.taxonomy.hash, train.hash, valid.hash if valid else None]
    fingerprint = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return Run(trainer, None if run_dir is None else Path(run_dir), fingerprint, callback)


def repeats_of(weight: FloatArray) -> IntArray:
    """How often each row is repeated. liblinear counts a repeated row as one of that weight, exactly.

    Raises:
        ValueError: negative or not finite, or the ratios are not integers up to 100.
    """
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError("weights: allowed are finite numbers from 0; mend the weight column")
    ratio = weight / weight.min()
    repeats = np.rint(ratio).astype(np.int64)
    if (np.abs(ratio - repeats) > _WEIGHT_SLACK * ratio).any() or repeats.max() > _MAX_REPEATS:
        raise ValueError(
            "weights: napkinXC has no row weights, so rows are repeated, and each weight must be an integer multiple "
            f"(up to {_MAX_REPEATS}) of the smallest, {weight.min():g}; got {name_some(np.unique(weight).tolist())}. "
            "Round the weights, or set model.weights=ignore, or use model.hierarchy=flat_logreg, which takes any"
        )
    return repeats
