"""``VectorIndex``: the nearest of n fixed vectors, singly or pooled by group (all texts of a leaf)."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hjc.arrays import Float32
from hjc.errors import check_choice, check_range
from hjc.files import read_json
from hjc.index.backends import BACKENDS, Faiss, Usearch, is_installed
from hjc.index.exact import Neighbours, as_vectors, exact_search, normalise, pair_similarity
from hjc.index.pooling import check_groups, pool_all, pool_neighbours

BACKEND_NAMES = ("auto", "exact", *BACKENDS)
STORED_AS = ("float32", "float16")
#: ``auto`` leaves exact search from here on; see experiments/index_rate for what was measured
APPROXIMATE_FROM = 200_000
FORMAT_VERSION = 1
_CONFIG, _VECTORS, _ANN = "index.json", "vectors.npy", "ann.bin"


class VectorIndex:
    """An index over n vectors that never change. Similarity is the cosine.

    Args:
        vectors: (n, H); copied as float32 and divided by their lengths.
        backend: ``exact``; ``usearch`` or ``faiss`` (extra ``ann``), approximate; ``auto`` takes exact below
            :data:`APPROXIMATE_FROM` vectors or without usearch, else usearch.
        threads: for building an approximate index.

    Raises:
        ValueError: vectors that are not (n, H) finite numbers, or an unknown back end.
        ImportError: the back end is not installed.
    """

    def __init__(self, vectors: npt.ArrayLike, *, backend: str = "auto", threads: int = 1) -> None:
        self._ann: Usearch | Faiss | None = None
        self._set(normalise(as_vectors(vectors, "vectors")), backend)
        if self.backend != "exact":
            self._ann = BACKENDS[self.backend].build(self.vectors, threads)

    def _set(self, vectors: Float32, backend: str) -> None:
        self.vectors = vectors
        self.vectors.flags.writeable = False
        self.backend = resolve_backend(backend, len(vectors))
        self._ann = None

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dimensions(self) -> int:
        return int(self.vectors.shape[1])

    def __repr__(self) -> str:
        return f"VectorIndex(vectors={len(self):,}, dimensions={self.dimensions}, backend={self.backend!r})"

    # ------------------------------------------------------------------ search

    def search(self, queries: npt.ArrayLike, k: int) -> Neighbours:
        """The k nearest vectors of each query (all, where the index has fewer), nearest first, ties by position.

        Args:
            queries: (B, H), of any length.

        Raises:
            ValueError: k below 1, or queries of another width or with NaN.
        """
        q = self._queries(queries)
        k = _check_k(k)
        if self._ann is None:
            return exact_search(self.vectors, q, k)
        k = min(k, len(self))
        found = self._ann.candidates(q, k)
        rows, columns = np.nonzero(found >= 0)
        similarity = np.full(found.shape, -np.inf, dtype=np.float32)
        similarity[rows, columns] = pair_similarity(self.vectors, q, rows, found[rows, columns])
        short = np.flatnonzero((found < 0).any(axis=1))
        order = np.lexsort((found, -similarity), axis=1)
        out = Neighbours(np.take_along_axis(found, order, axis=1), np.take_along_axis(similarity, order, axis=1))
        if short.size:  # an approximate search may find fewer than k: those few queries are searched exactly
            whole = exact_search(self.vectors, q[short], k)
            out.position[short], out.similarity[short] = whole
        return out

    def search_groups(
        self,
        queries: npt.ArrayLike,
        groups: npt.ArrayLike,
        num_groups: int,
        *,
        k: int | None = None,
        pooling: str = "max",
        temperature: float = 0.05,
    ) -> Float32:
        """(B, G) one score a group from the similarities of its vectors; -inf for a group without any.

        Args:
            groups: (n,) group (leaf column) of each vector, 0..G-1.
            k: pool only the k nearest vectors; None pools all, exactly.
            pooling: ``max``, or ``logsumexp``: ``t ln sum exp(s / t)``, which counts how many texts of the group are
                near and tends to max for a small temperature t.

        Raises:
            ValueError: groups that do not fit, an unknown pooling, a temperature that is not positive.
        """
        numbers = check_groups(groups, len(self), num_groups)
        if k is None:
            return pool_all(self.vectors, self._queries(queries), numbers, num_groups, pooling, temperature)
        return pool_neighbours(self.search(queries, k), numbers, num_groups, pooling, temperature)

    def recall(self, queries: npt.ArrayLike, k: int) -> float:
        """Mean share of the true k nearest that :meth:`search` finds.

        A vector as near as the k-th true one counts as found: duplicates must not look like misses.
        """
        q = self._queries(queries)
        true, found = exact_search(self.vectors, q, _check_k(k)), self.search(q, k)
        return float((found.similarity >= true.similarity[:, -1:] - 1e-6).mean()) if len(q) else 1.0

    def _queries(self, queries: npt.ArrayLike) -> Float32:
        return normalise(as_vectors(queries, "queries", self.dimensions))

    # ------------------------------------------------------------------ on disk

    def save(self, directory: str | os.PathLike[str], *, dtype: str = "float32") -> list[str]:
        """Write index.json, vectors.npy and, of an approximate index, ann.bin; returns their names. No pickle.

        Args:
            directory: created when absent.
            dtype: ``float16`` halves vectors.npy; similarities change by less than 0.001.
        """
        check_choice("dtype", dtype, STORED_AS)
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / _VECTORS, self.vectors.astype(dtype), allow_pickle=False)
        names = [_CONFIG, _VECTORS]
        (folder / _ANN).unlink(missing_ok=True)
        if self._ann is not None:
            self._ann.save(folder / _ANN)
            names.append(_ANN)
        config = {
            "format_version": FORMAT_VERSION, "backend": self.backend, "vectors": len(self),
            "dimensions": self.dimensions, "dtype": dtype,
        }  # fmt: skip
        (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        return names

    @classmethod
    def load(cls, directory: str | os.PathLike[str], *, backend: str | None = None) -> "VectorIndex":
        """Read what :meth:`save` wrote; nothing is encoded or built again.

        Args:
            backend: ``exact`` reads the vectors alone. By default the back end that was saved; where its package is
                not installed, exact search takes its place with a warning (slower, never worse).

        Raises:
            FileNotFoundError, ValueError: a file is missing, damaged, or of a newer hjc.
        """
        folder = Path(directory)
        config = _read_config(folder / _CONFIG)
        try:
            vectors = np.load(folder / _VECTORS, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{folder / _VECTORS}: damaged or no .npy file of numbers ({error})") from None
        expected = (config["vectors"], config["dimensions"])
        if vectors.shape != expected or str(vectors.dtype) != config["dtype"]:
            raise ValueError(f"{folder / _VECTORS}: got {vectors.shape} {vectors.dtype}, {_CONFIG} says {expected}")
        stored = as_vectors(vectors, str(folder / _VECTORS))
        built = config["backend"]
        if backend is not None:
            check_choice("backend", backend, ("exact", built))
        elif built != "exact" and not is_installed(built):
            warnings.warn(
                f"{folder}: the index was built with {built}, which is not installed (pip install 'hjc[ann]'); "
                "searching exactly instead",
                stacklevel=2,
            )
            backend = "exact"
        self = cls.__new__(cls)
        # half precision changes the lengths; full precision is kept to the bit
        self._set(stored if config["dtype"] == "float32" else normalise(stored), backend or built)
        if self.backend != "exact":
            if not (folder / _ANN).is_file():
                raise FileNotFoundError(
                    f"{folder / _ANN} is missing: the index is incomplete; load(backend='exact') does without"
                )
            try:
                self._ann = BACKENDS[self.backend].load(folder / _ANN, self.vectors.shape)
            except RuntimeError as error:
                raise ValueError(f"{folder / _ANN}: cannot be read by {self.backend} ({error})") from None
        return self


def resolve_backend(backend: str, n: int) -> str:
    """The back end that a name stands for with n vectors.

    Raises:
        ValueError, ImportError: unknown, or not installed.
    """
    check_choice("backend", backend, BACKEND_NAMES)
    if backend == "auto":
        return "usearch" if n >= APPROXIMATE_FROM and is_installed("usearch") else "exact"
    if backend != "exact" and not is_installed(backend):
        raise ImportError(f"the index back end {backend!r} is not installed: pip install 'hjc[ann]', or use 'exact'")
    return backend


def _check_k(k: int) -> int:
    check_range("k", k, k >= 1 and int(k) == k, "integers from 1")
    return int(k)


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no index at {path.parent}: {path.name} is missing")
    try:
        config = read_json(path)
        version = config["format_version"]
        checked: dict[str, Any] = {
            "backend": str(config["backend"]), "dtype": str(config["dtype"]),
            "vectors": int(config["vectors"]), "dimensions": int(config["dimensions"]),
        }  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged or not the file of an index ({error!r})") from None
    if version != FORMAT_VERSION:
        raise ValueError(f"{path}: format {version}, this hjc reads format {FORMAT_VERSION}: upgrade hjc")
    check_choice(f"{path}: backend", checked["backend"], ("exact", *BACKENDS))
    check_choice(f"{path}: dtype", checked["dtype"], STORED_AS)
    return checked
