"""Approximate neighbours by other libraries (extra ``ann``), behind one small interface.

usearch: a navigable small-world graph (Malkov & Yashunin 2018, arXiv:1603.09320). faiss: inverted lists, which search
the cells of a k-means partition that lie nearest to the query (Jégou et al. 2011; Douze et al. 2024, arXiv:2401.08281).
Both give candidates only: similarities are computed by :mod:`hjc.index.exact` from the vectors themselves.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from hjc.arrays import Float32, IntArray


def is_installed(backend: str) -> bool:
    """A back end has the name of the package that it needs."""
    return importlib.util.find_spec(backend) is not None


def check_shape(path: Path, found: tuple[int, int], shape: tuple[int, int]) -> None:
    if found != shape:
        raise ValueError(f"{path}: is an index of {found} vectors, beside it lie {shape}; build the index again")


class Usearch:
    """HNSW by usearch. Connectivity 32 and expansions 128/256: recall@10 above 0.99 on real labels (see the study)."""

    CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 32, 128, 256

    def __init__(self, index: Any) -> None:
        self.index = index

    @classmethod
    def build(cls, vectors: Float32, threads: int) -> "Usearch":
        index = cls._empty(vectors.shape[1])
        index.add(np.arange(len(vectors), dtype=np.uint64), vectors, threads=threads)
        return cls(index)

    @classmethod
    def load(cls, path: Path, shape: tuple[int, int]) -> "Usearch":
        index = cls._empty(shape[1])
        index.load(str(path))
        check_shape(path, (len(index), int(index.ndim)), shape)
        return cls(index)

    @classmethod
    def _empty(cls, dimensions: int) -> Any:
        from usearch.index import Index

        return Index(
            ndim=dimensions, metric="ip", dtype="f32", connectivity=cls.CONNECTIVITY,
            expansion_add=cls.EXPANSION_ADD, expansion_search=cls.EXPANSION_SEARCH,
        )  # fmt: skip

    def candidates(self, queries: Float32, k: int) -> IntArray:
        """(B, k) positions, in any order; -1 where fewer were found."""
        # usearch gives another shape for one query: there are two always
        found = self.index.search(queries if len(queries) > 1 else np.repeat(queries, 2, axis=0), k, threads=1)
        keys = np.asarray(found.keys)[: len(queries)].astype(np.int64)
        counts = np.asarray(found.counts)[: len(queries)]
        out = np.full((len(queries), k), -1, dtype=np.int64)
        out[:, : keys.shape[1]] = np.where(np.arange(keys.shape[1]) < counts[:, None], keys, -1)
        return out

    def save(self, path: Path) -> None:
        self.index.save(str(path))


class Faiss:
    """Inverted lists by faiss: 4 sqrt(n) cells, of which a query looks into 1/8 (at least 32)."""

    def __init__(self, index: Any) -> None:
        self.index = index

    @classmethod
    def build(cls, vectors: Float32, threads: int) -> "Faiss":
        import faiss

        n, dimensions = vectors.shape
        cells = max(1, min(int(4 * np.sqrt(n)), n // 39))  # k-means wants 39 points a cell
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(threads)
        try:
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimensions), dimensions, cells, faiss.METRIC_INNER_PRODUCT)
            index.cp.seed, index.cp.max_points_per_centroid = 1, 64
            index.train(vectors)
            index.add(vectors)
        finally:
            faiss.omp_set_num_threads(before)
        index.nprobe = min(cells, max(32, cells // 8))
        return cls(index)

    @classmethod
    def load(cls, path: Path, shape: tuple[int, int]) -> "Faiss":
        import faiss

        index = faiss.read_index(str(path))
        check_shape(path, (int(index.ntotal), int(index.d)), shape)
        return cls(index)

    def candidates(self, queries: Float32, k: int) -> IntArray:
        """As of :meth:`Usearch.candidates`."""
        return np.asarray(self.index.search(queries, k)[1], dtype=np.int64)

    def save(self, path: Path) -> None:
        import faiss

        faiss.write_index(self.index, str(path))


BACKENDS: dict[str, Any] = {"usearch": Usearch, "faiss": Faiss}
