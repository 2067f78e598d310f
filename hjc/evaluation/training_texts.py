"""Salted hashes of the texts that a model was trained on, stored beside it: figures on those texts flatter.

A text is hashed in the form in which a split calls texts identical, to 8 bytes, by BLAKE2b with a salt of the model's
own. A new text is taken for one of n texts with probability n / 2^64: 5e-14 for a million texts. Who has the directory
has the salt, and can find out whether a text that he guesses was trained on: short titles can be guessed.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import BoolArray
from hjc.classifiers.derived import read_derived, write_derived
from hjc.data.splitting import text_key
from hjc.errors import ModelDirError

TEXTS_FILE = "training_texts.npz"
#: what the rows of a hash were used for: weights; the stopping, calibration, thresholds
KINDS = ("train", "valid")
#: share of rows that were trained on from which it is said
SAID = 0.01


@dataclass(frozen=True, eq=False)
class TrainingTexts:
    """Of each of :data:`KINDS` the sorted 64-bit hashes of its texts, without repetition; ``salt``: 16 bytes."""

    salt: bytes
    hashes: dict[str, npt.NDArray[np.uint64]]

    @classmethod
    def of(cls, train: Sequence[str], valid: Sequence[str] = ()) -> "TrainingTexts":
        """Hashes of these texts, with a new salt."""
        salt = secrets.token_bytes(16)
        return cls(
            salt, {kind: np.unique(_hash(salt, texts)) for kind, texts in zip(KINDS, (train, valid), strict=True)}
        )

    def save(self, directory: str | Path) -> Path:
        """Write training_texts.npz beside the finished model."""
        return write_derived(directory, TEXTS_FILE, {"salt": np.frombuffer(self.salt, dtype=np.uint8), **self.hashes})

    @classmethod
    def load(cls, directory: str | Path) -> "TrainingTexts | None":
        """What :meth:`save` wrote; None where there is none (``data.keep_hashes=false``, an older hjc).

        Raises:
            ModelDirError: the file is damaged, was altered, or belongs to another model.
        """
        if (found := read_derived(directory, TEXTS_FILE)) is None:
            return None
        arrays: dict[str, Any] = {name: found.get(name) for name in ("salt", *KINDS)}
        kinds = [getattr(array, "dtype", None) for array in arrays.values()]
        if kinds != [np.uint8, np.uint64, np.uint64] or len(salt := arrays.pop("salt").tobytes()) != 16:
            raise ModelDirError(f"{Path(directory) / TEXTS_FILE}: truncated or altered; remove it, or copy it again")
        return cls(salt, arrays)

    def seen(self, texts: Sequence[str]) -> tuple[BoolArray, BoolArray]:
        """(n,) whether each text was trained on, and whether it was validated on (and not trained on)."""
        found = _hash(self.salt, texts)
        train, valid = (np.isin(found, self.hashes[kind]) for kind in KINDS)
        return train, valid & ~train


def _hash(salt: bytes, texts: Sequence[str]) -> npt.NDArray[np.uint64]:
    keys = (text_key(text).encode("utf-8", "surrogatepass") for text in texts)
    return np.frombuffer(b"".join(blake2b(key, digest_size=8, key=salt).digest() for key in keys), dtype="<u8")


def keep_training_texts(directory: str | Path, train: Sequence[str], valid: Sequence[str], keep: bool) -> None:
    """Write the file of a finished model where there is none; without ``keep`` there shall be none."""
    path = Path(directory) / TEXTS_FILE
    if not keep:
        path.unlink(missing_ok=True)
    elif not path.exists():
        TrainingTexts.of(train, valid).save(directory)


def overlap(rows: int, trained: int, validated: int = 0) -> list[str]:
    """Sentences on how many of some rows were trained and validated on; none where they are few."""
    said = []
    for known, what, so in (
        (trained, "were trained on", "flatter; take rows that were kept out of training"),
        (validated, "are validation rows, which chose the weights and the calibration", "flatter a little"),
    ):
        if known and known >= SAID * rows:
            said.append(f"{known:,} of {rows:,} rows ({known / rows:.0%}) {what}: the figures {so}")
    return said
