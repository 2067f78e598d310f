"""A toy tree, separable texts for it, and an encoder without weights: for tests of the embedding family."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hjc.data.jobdata import JobData
from hjc.index import normalise
from hjc.taxonomy import Taxonomy, from_edges

#: ragged: "3" is a leaf at level 1, "21" has a single child
PARENTS = {
    "1": "", "11": "1", "12": "1", "111": "11", "112": "11", "121": "12", "122": "12",
    "2": "", "21": "2", "211": "21", "3": "",
}  # fmt: skip
TITLES = {
    "1": "food", "11": "kitchen", "12": "baking", "111": "cook", "112": "grill", "121": "bread", "122": "cake",
    "2": "care", "21": "hospital", "211": "nurse", "3": "pilot",
}  # fmt: skip
#: words of texts that are not words of the titles
WORDS = {"111": "stew soup", "112": "steak fire", "121": "dough rye", "122": "icing sugar", "211": "ward", "3": "jet"}
WIDTH = 48


def tree() -> Taxonomy:
    return from_edges(list(PARENTS), list(PARENTS.values()), titles={"en": TITLES}, name="toy")


def rows(taxonomy: Taxonomy, per_code: int = 12, seed: int = 0, noise: int = 1) -> JobData:
    """Texts of two words of their code and some of noise; the more noise, the less separable."""
    rng = np.random.default_rng(seed)
    codes = [code for code in taxonomy.leaf_codes for _ in range(per_code)]
    texts = [
        " ".join([rng.choice(WORDS[c].split()), WORDS[c].split()[0], *(f"n{x}" for x in rng.integers(5, size=noise))])
        for c in codes
    ]
    return JobData.from_lists(taxonomy, texts, codes)


class ToyEncoder:
    """Sums of a random vector a word. An empty text has the vector of the word ""."""

    dim = WIDTH
    calls = 0

    def encode(self, texts: Sequence[str], description: str = "", *, progress: bool = True) -> np.ndarray:
        self.calls += 1
        found = [sum(map(self._word, text.split() or [""])) for text in texts]
        return normalise(np.array(found).reshape(len(texts), WIDTH))

    def _word(self, word: str) -> np.ndarray:
        return np.random.default_rng(zlib.crc32(word.encode())).normal(size=WIDTH)

    def save(self, folder: Path) -> None:
        (folder / "toy.txt").write_text("toy")
