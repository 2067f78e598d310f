"""O*NET job titles for the studies of this folder: split by title, texts encoded once for all runs."""

import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import ROOT, data_folder

from hjc.classifiers.embedding import joint, prototype
from hjc.classifiers.embedding.encoders import TextEncoder, load_pretrained
from hjc.classifiers.embedding.settings import EmbeddingSettings
from hjc.data.jobdata import JobData
from hjc.data.splitting import identical_groups
from hjc.taxonomy import Taxonomy, load_taxonomy

__all__ = ["MINILM", "VECTORS", "CachedEncoder", "data_folder", "encode_once", "load"]

#: of the encoder that the O*NET document uses
MINILM = {"encoder": "sentence-transformers/all-MiniLM-L6-v2", "prefix": "", "precision": "bf16", "max_length": 32}
#: distinct titles of each part; the whole file has 46,060
TRAIN, VALID, TEST = 16_000, 2_000, 4_000
VECTORS = ROOT / "outputs" / "embedding_family" / "vectors"


def load() -> tuple[Taxonomy, JobData, JobData, JobData]:
    """Tree, training, validation and test rows. A title has a row for each of its occupations, all in one part."""
    folder = data_folder() / "onet"
    tree = load_taxonomy(folder / "soc2018_onet_hierarchy.csv")
    about = pd.read_csv(folder / "titles.csv.gz", dtype=str)[["title", "code"]].drop_duplicates()
    texts = about["title"].tolist()
    group = identical_groups(texts)
    order = np.random.default_rng(1).permutation(group.max() + 1)
    part = np.full(len(order), -1)
    part[order[:TRAIN]], part[order[TRAIN : TRAIN + VALID]] = 0, 1
    part[order[TRAIN + VALID : TRAIN + VALID + TEST]] = 2
    data = JobData.from_lists(tree, texts, about["code"].tolist(), groups=group)
    train, valid, test = (data.take(part[group] == i) for i in range(3))
    return tree, train, valid, test


class CachedEncoder:
    """An encoder whose vectors are kept on disk; ``seconds`` is what computing those of the texts asked for took."""

    def __init__(self, encoder: TextEncoder, name: str) -> None:
        self.encoder, self.name, self.seconds = encoder, name, 0.0

    @property
    def dim(self) -> int:
        return self.encoder.dim

    def encode(self, texts: Sequence[str], description: str = "encoding", *, progress: bool = True) -> np.ndarray:
        key = hashlib.sha256("\x00".join([self.name, *texts]).encode()).hexdigest()[:24]
        path = VECTORS / f"{key}.npz"
        if not path.exists():
            started = time.monotonic()
            found = self.encoder.encode(texts, description, progress=progress)
            VECTORS.mkdir(parents=True, exist_ok=True)
            np.savez(path, vectors=found, seconds=time.monotonic() - started)
        with np.load(path) as stored:
            self.seconds += float(stored["seconds"])
            return stored["vectors"]

    def save(self, folder: Path) -> None:
        self.encoder.save(folder)


def encode_once() -> None:
    """Let every classifier of this process take its vectors from the cache (frozen encoders only)."""
    kept: dict[str, TextEncoder] = {}

    def load(settings: EmbeddingSettings, corpus=(), labels=(), *, seed: int = 1):  # type: ignore[no-untyped-def]
        if not getattr(settings, "freeze_encoder", True):
            return load_pretrained(settings, corpus, labels, seed=seed)
        name = f"{settings.encoder} {settings.prefix!r} {settings.max_length} {settings.precision}"
        if name not in kept:
            kept[name] = load_pretrained(settings, corpus, labels, seed=seed)
        return CachedEncoder(kept[name], name)

    prototype.load_pretrained = joint.load_pretrained = load  # type: ignore[attr-defined]
