"""A second tree beside a neural classifier's own: trained in one run, stored as two model directories that share the
file of the encoder."""

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hjc.classifiers.storage import read_config
from hjc.data.jobdata import JobData
from hjc.errors import check_range

if TYPE_CHECKING:
    from hjc.classifiers.neural import NeuralClassifier

#: the encoder's weights and the rest, where two models share the first file
ENCODER_WEIGHTS, HEAD_WEIGHTS = "encoder.safetensors", "head.safetensors"


@dataclass(frozen=True)
class Companion:
    """What is trained beside a classifier: another one of the same settings on another tree, and its rows.

    ``share`` of its loss is added to the loss of the first.
    """

    classifier: "NeuralClassifier"
    train: JobData
    valid: JobData | None
    share: float = 1.0

    def __post_init__(self) -> None:
        check_range("second.share", self.share, 0 < self.share < float("inf"), "numbers above 0 (1: both alike)")
        if self.train.taxonomy != self.classifier.taxonomy:
            raise ValueError(f"second: its codes belong to {self.train.taxonomy!r}, not {self.classifier.taxonomy!r}")


def share_encoder_file(first: Path, second: Path) -> bool:
    """Make the encoder's file of two model directories one file on the disk (a hard link); whether it is.

    Only where both directories list it with the same SHA-256. Each stays whole in itself: copied elsewhere, either has
    its own file, and one that is trained again replaces its own name only. File systems without links keep two files.

    Raises:
        ValueError: the two are not of one encoder.
    """
    listed = [read_config(folder)["files"].get(ENCODER_WEIGHTS) for folder in (first, second)]
    if listed[0] is None or listed[0] != listed[1]:
        raise ValueError(f"{first} and {second} do not have the same {ENCODER_WEIGHTS}: they were not trained together")
    source, target = first / ENCODER_WEIGHTS, second / ENCODER_WEIGHTS
    if os.path.samefile(source, target):
        return True
    part = target.with_name(f".{ENCODER_WEIGHTS}.{secrets.token_hex(4)}")
    try:
        os.link(source, part)
        os.replace(part, target)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        return False
    return True
