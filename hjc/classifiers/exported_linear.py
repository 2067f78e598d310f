"""A linear model in one file of arrays: counting n-grams, scores and the tree need NumPy alone.

``model.npz`` holds no pickle and nothing that is run. For each block of features: the n-grams as a trie (``B/keys1``,
``B/columns1`` for the first symbol, and so on), its symbols (code points of characters; of words their UTF-8, one a
line), idf. Then the weights, feature by feature, and the training rows of each node. N nodes, E estimators.
"""

import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from hjc.arrays import FloatArray, IntArray
from hjc.classifiers.feature_weights import FeatureWeights
from hjc.classifiers.features import Block, TextFeatures
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.napkinxc_weights import StoredNodes
from hjc.classifiers.ngrams import CharNgrams, NgramTable
from hjc.classifiers.side import read_side, write_side
from hjc.classifiers.storage import ModelDir, no_numbers
from hjc.data.jobdata import JobData

FILE = "model.npz"
Arrays = Mapping[str, npt.NDArray[Any]]


class ExportedLinear(LinearClassifier):
    """Reads and runs what :func:`hjc.classifiers.export.export_model` wrote of a linear model; it cannot be trained."""

    name: ClassVar[str] = "exported_linear"

    def fit_data(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Raises ValueError."""
        raise ValueError("an exported model cannot be trained: train the model that it was made of, and export that")

    @classmethod
    def of(cls, source: LinearClassifier) -> Self:
        """The same model.

        Raises:
            ValueError: its n-grams are hashed, which only scikit-learn does.
        """
        source.check_fitted()
        if source.settings.hashing:
            raise ValueError(
                "a linear model with model.hashing counts its n-grams by scikit-learn and cannot be exported; train it "
                "with model.hashing=0 (model.max_features bounds its size)"
            )
        self = cls(source.taxonomy, source.settings)
        self.features, self.side, self.row_counts = source.features, source.side, source.row_counts
        assert source.nodes is not None
        self.nodes = StoredNodes(source.nodes.by_feature, source.nodes.bias, source.nodes.hinge)
        self._ready(source.theta)
        return self

    def write_files(self, folder: Path) -> None:
        """model.npz, and side.json where there are side variables."""
        features, nodes = self._fitted()
        arrays: dict[str, npt.NDArray[Any]] = {"rows": self.row_counts, "bias": nodes.bias}
        arrays["hinge"], arrays["theta"] = np.array(nodes.hinge), np.array(self.theta)
        starts, estimators, arrays["weights"] = nodes.by_feature.all()
        arrays["starts"] = starts.astype(np.int64)
        arrays["estimators"] = estimators.astype(np.min_scalar_type(len(nodes.bias)))
        for block in features.blocks:
            arrays |= {f"{block.name}/{name}": array for name, array in _arrays_of(block)}
        with (folder / FILE).open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
        write_side(self.side, folder)

    @classmethod
    def read_files(cls, model: ModelDir) -> Self:
        self = cls(model.taxonomy, model.settings(LinearSettings))
        path = model.file(FILE)
        arrays = _read(path)
        self.side = read_side(model)
        self.features = TextFeatures(self.settings)
        for block in self.features.blocks:
            _restore(block, arrays)
        tree, number = self.taxonomy, len(arrays["bias"])
        expected = tree.num_leaves if self.settings.hierarchy in ("bottomup", "flat_logreg") else len(tree) + 1
        self.row_counts = arrays["rows"]
        if (self.row_counts < 0).any() or arrays["theta"] < 0:
            raise ValueError(f"{path}: rows or theta are below 0")
        if self.row_counts.shape != (len(tree),) or not (number == expected or self.settings.hierarchy == "bottomup"):
            raise ValueError(f"{path}: {number} estimators and rows of {len(self.row_counts)} nodes are not the tree's")
        size = self.features.num_features + len(self.side or ())
        starts, estimators, weights = _whole(arrays, "starts"), arrays["estimators"], arrays["weights"]
        places = _whole(arrays, "estimators")
        whole = starts.shape == (size + 1,) and starts[0] == 0 and (np.diff(starts) >= 0).all()
        whole &= not ((places < 0) | (places >= number)).any()
        if not (whole and estimators.shape == weights.shape == (starts[-1],)):
            raise ValueError(f"{path}: the weights are not those of {size} features and {number} estimators")
        by_feature = FeatureWeights(starts, estimators, weights.astype(np.float32, copy=False), number)
        self.nodes = StoredNodes(by_feature, arrays["bias"].astype(np.float32, copy=False), bool(arrays["hinge"]))
        self._ready(float(arrays["theta"]))
        return self


def _arrays_of(block: Block) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Of a block: n-grams, symbols, idf."""
    known = block.known
    assert known is not None
    if isinstance(known, CharNgrams):
        yield "symbols", known.symbols.astype(np.uint32)
    else:
        yield "symbols", np.frombuffer("\n".join(known.symbols).encode("utf-8", "surrogatepass"), np.uint8)
    yield "idf", block.idf
    for depth, (keys, columns) in enumerate(known.table.depths, start=1):
        yield f"keys{depth}", keys
        yield f"columns{depth}", columns.astype(np.int32)


def _read(path: Path) -> Arrays:
    """Raises ValueError: what a file of this size cannot hold, or what is no array of finite numbers."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            # hjc packs nothing: a small packed file may unpack to one without end
            if any(member.compress_type != zipfile.ZIP_STORED for member in stored.zip.infolist()):
                raise ValueError(f"{path}: holds packed arrays, which hjc does not write")
            arrays = {name: stored[name] for name in stored.files}
    except MemoryError as error:
        raise ValueError(f"{path}: {error}") from error
    if wrong := no_numbers(arrays, ("hinge", "theta")):
        raise ValueError(f"{path}: {wrong}")
    return arrays


def _whole(arrays: Arrays, name: str) -> IntArray:
    """Raises KeyError, ValueError: there is no such array, or it holds fractions."""
    if arrays[name].dtype.kind not in "iu":
        raise ValueError(f"{FILE}: {name} are no whole numbers")
    found: IntArray = arrays[name].astype(np.int64)
    return found


def _restore(block: Block, arrays: Arrays) -> None:
    """Raises KeyError, ValueError: arrays of the block are missing, or do not fit together."""
    symbols: Any = _whole(arrays, f"{block.name}/symbols")
    if block.kind == "word":
        if ((symbols < 0) | (symbols > 255)).any():
            raise ValueError(f"{FILE}: symbols of block {block.name} are no bytes")
        symbols = symbols.astype(np.uint8).tobytes().decode("utf-8", "surrogatepass").split("\n")
    elif (np.diff(symbols, prepend=-1) <= 0).any() or (symbols > sys.maxunicode).any():
        raise ValueError(f"{FILE}: symbols of block {block.name} are no ascending characters")
    idf: FloatArray = arrays[f"{block.name}/idf"]
    depths: list[tuple[IntArray, IntArray]] = []
    width = 1
    while f"{block.name}/keys{len(depths) + 1}" in arrays:
        keys, columns = (_whole(arrays, f"{block.name}/{what}{len(depths) + 1}") for what in ("keys", "columns"))
        ascending = bool((np.diff(keys, prepend=-1) > 0).all())
        inside = len(keys) and keys[-1] < width * len(symbols) and columns.min() >= -1
        if not (ascending and inside and keys.shape == columns.shape):
            raise ValueError(f"{FILE}: n-grams of {len(depths) + 1} symbols of block {block.name} are none")
        depths.append((keys, columns))
        width = len(keys)
    ends = np.concatenate([np.zeros(0, np.int64), *(columns[columns >= 0] for _, columns in depths)])
    if not np.array_equal(np.sort(ends), np.arange(len(idf))):
        raise ValueError(f"{FILE}: the n-grams of block {block.name} are not one for each of {len(idf)} columns")
    block.restore_table(symbols, NgramTable(len(symbols), len(idf), depths), idf)
