"""Vectors of texts in a model's own space: for nearest training texts, drift checks and diverse samples."""

from typing import Any, NamedTuple

import numpy as np

from hjc.arrays import FloatArray

TF_IDF = "tf-idf"
ENCODER = "vectors of the encoder"
#: columns that tf-idf rows are folded to where they have to be dense
FOLDED = 512


class TextVectors(NamedTuple):
    """(n, H) dense or sparse rows of length 1 (0 for a text without known words), and the name of their space."""

    space: str
    rows: Any

    def cosine(self, other: "TextVectors") -> FloatArray:
        """(n, m) cosines with the rows of another set in the same space."""
        product = self.rows @ other.rows.T
        return np.asarray(product.toarray() if hasattr(product, "toarray") else product)


def dense(vectors: TextVectors, columns: int = FOLDED) -> FloatArray:
    """(n, H) float32. Sparse rows are folded to ``columns`` by a fixed random sign and place of each of their columns.

    Inner products are kept on average, with an error of about 1 / sqrt(columns) (feature hashing; Weinberger et al.
    2009, lemma 2). The fold depends on the number of columns alone: two batches of one model get the same.
    """
    if isinstance(vectors.rows, np.ndarray):
        return np.asarray(vectors.rows, dtype=np.float32)
    from scipy import sparse  # who has dense vectors does without

    size = vectors.rows.shape[1]
    rng = np.random.default_rng(size)
    sign, place = rng.choice([-1.0, 1.0], size), rng.integers(0, columns, size)
    fold = sparse.csr_matrix((sign, (np.arange(size), place)), shape=(size, columns))
    return np.asarray((vectors.rows @ fold).toarray(), dtype=np.float32)
