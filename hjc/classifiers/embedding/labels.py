"""Texts of labels, and the vectors made of them: which text stands for which leaf.

M label texts, L leaves, H width. A leaf may have several texts (languages, aliases); its score is their maximum or
log-mean-exp.
"""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from hjc.arrays import Float32, Float64, IntArray
from hjc.classifiers.embedding.encoders import TextEncoder
from hjc.classifiers.embedding.settings import EmbeddingSettings
from hjc.classifiers.storage import load_arrays, save_arrays
from hjc.corpus.passages import split_description
from hjc.data.jobdata import JobData
from hjc.errors import check_choice, name_some
from hjc.files import read_json
from hjc.index import VectorIndex, normalise
from hjc.index.pooling import pool_neighbours
from hjc.tables import read_table
from hjc.taxonomy import Taxonomy

logger = logging.getLogger(__name__)


#: characters of a description that ``title_desc`` takes, as in the O*NET bi-encoder document
DESCRIPTION_CHARS = 200
VECTORS, TEXTS = "label_vectors.safetensors", "label_texts.json"
#: sharpness of log-mean-exp pooling: the scale of the ranking loss
POOLING_SCALE = 20.0
#: texts that count where the index is approximate
NEIGHBOURS = 1000
INDEX = "label_index"


@dataclass(frozen=True)
class LabelTexts:
    """M texts of labels.

    Attributes:
        texts: M texts.
        leaf: (M,) number of the leaf (column of the log-probabilities) that each text describes. Every leaf has one.
        missing: codes of leaves for which no text was found; their code stands in.
    """

    texts: tuple[str, ...]
    leaf: IntArray
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.leaf):
            raise ValueError(f"leaf: got {len(self.leaf)} numbers for {len(self.texts)} texts")

    @classmethod
    def of_pairs(cls, pairs: Iterable[tuple[str, int]], missing: Sequence[str] = ()) -> "LabelTexts":
        """From (text, leaf); the same pair counts once, texts of a leaf keep their order."""
        ordered = sorted(dict.fromkeys(pairs), key=lambda pair: pair[1])
        return cls(tuple(t for t, _ in ordered), np.array([n for _, n in ordered], np.int64), tuple(missing))


def label_texts(taxonomy: Taxonomy, settings: EmbeddingSettings) -> LabelTexts:
    """The texts of every leaf by ``label_mode``, ``label_languages`` and ``label_file``.

    A leaf without a title in the wanted languages takes the one in any language, and without any its code (these are
    listed in ``missing`` and warned about). The same text for the same leaf comes once.

    Raises:
        ValueError: ``label_languages`` names a language that the taxonomy does not have, or ``label_file`` lacks a
            column or has codes that are not in the taxonomy only.
        FileNotFoundError: there is no ``label_file``.
    """
    languages = list(settings.label_languages) or list(taxonomy.titles)
    for language in languages:
        check_choice("model.label_languages", language, tuple(taxonomy.titles) or ("(the taxonomy has no titles)",))
    pairs: dict[tuple[str, int], None] = {}
    for leaf, node in enumerate(taxonomy.leaves.tolist()):
        for language in languages:
            if text := node_text(taxonomy, node, language, settings.label_mode):
                pairs[text, leaf] = None
    if settings.label_file:
        for text, leaf in _from_file(taxonomy, settings):
            pairs[text, leaf] = None
    have = {leaf for _, leaf in pairs}
    missing = []
    for leaf, node in enumerate(taxonomy.leaves.tolist()):
        if leaf not in have:
            own = taxonomy.codes[node]
            title = taxonomy.title(node)
            if title in ("", own):
                missing.append(own)
            pairs[title or own, leaf] = None
    if missing:
        logger.warning(
            "%d of %d leaves have no title: their code stands for it (%s)",
            len(missing),
            taxonomy.num_leaves,
            name_some(missing),
        )
    return LabelTexts.of_pairs(pairs, missing)


def node_text(taxonomy: Taxonomy, node: int, language: str, mode: str) -> str:
    title = taxonomy.titles.get(language, ("",) * len(taxonomy))[node].strip()
    if mode == "title":
        return title
    whole = taxonomy.descriptions.get(language, ("",) * len(taxonomy))[node].strip()
    # what belongs elsewhere is in the group's own words: similarity would take it for a description of it
    description = " ".join(split_description(whole, language).text.split()) if whole else ""
    if mode == "title_desc":
        description = description[:DESCRIPTION_CHARS]
    return ". ".join(part for part in (title.rstrip("."), description) if part)


def read_texts(option: str, file: str, needed: Sequence[str], languages: Sequence[str]) -> tuple[Path, pd.DataFrame]:
    """The path and the rows of a file of texts, of these languages (all without) or of none.

    Raises:
        FileNotFoundError, ValueError: the file that ``option`` gives is not there, or lacks a needed column.
    """
    path = Path(file).expanduser()
    table = read_table(path)
    if absent := set(needed) - set(table.columns):
        raise ValueError(
            f"{option}: {path} has the columns {name_some(list(table.columns))}; it needs {' and '.join(needed)}, and "
            f"lacks {name_some(sorted(absent))}"
        )
    if languages and "language" in table.columns:
        table = table[table["language"].isin([*languages, ""]) | table["language"].isna()]
    return path, table


def _from_file(taxonomy: Taxonomy, settings: EmbeddingSettings) -> list[tuple[str, int]]:
    path, table = read_texts("model.label_file", settings.label_file, ("code", "text"), settings.label_languages)
    if settings.label_kinds:
        if "kind" not in table.columns:
            raise ValueError(f"model.label_kinds: {path} has no column kind; leave label_kinds empty")
        for kind in settings.label_kinds:
            check_choice("model.label_kinds", kind, tuple(sorted(table["kind"].dropna().unique())))
        table = table[table["kind"].isin(settings.label_kinds)]
    column = {code: leaf for leaf, code in enumerate(taxonomy.leaf_codes)}
    found = [
        (" ".join(text.split()), column[code])
        for code, text in zip(table["code"].tolist(), table["text"].tolist(), strict=True)
        if isinstance(text, str) and isinstance(code, str) and text.strip() and code in column
    ]
    if not found:
        raise ValueError(
            f"model.label_file: none of the {len(table):,} rows of {path} has a text for a leaf of {taxonomy.name!r} "
            f"(codes such as {name_some(table['code'].dropna().unique().tolist())})"
        )
    if len(found) < len(table):
        logger.info("%s: %d of %d rows are texts of leaves", path, len(found), len(table))
    return found


@dataclass(frozen=True)
class LabelIndex:
    """Label texts with their unit vectors: scores of leaves for queries by exact matrix products.

    Attributes:
        vectors: (M, H) float32, rows of length 1, sorted by leaf.
        leaf: (M,) leaf of each row, ascending; every one of L leaves occurs.
        texts: M texts that the vectors were made of ("" for a vector without one).
        pooling: max | logsumexp.
        backend: of the nearest-neighbour index: exact | auto | usearch | faiss.
    """

    vectors: Float32
    leaf: IntArray
    texts: tuple[str, ...]
    pooling: str = "max"
    backend: str = "exact"

    def __post_init__(self) -> None:
        if not len(self.vectors) == len(self.leaf) == len(self.texts):
            raise ValueError(f"got {len(self.vectors)} vectors, {len(self.leaf)} leaves and {len(self.texts)} texts")
        if len(self.leaf) and (np.diff(self.leaf) < 0).any():
            raise ValueError("leaf: must be ascending, so that the texts of a leaf lie side by side")

    @property
    def num_leaves(self) -> int:
        return int(self.leaf[-1]) + 1 if len(self.leaf) else 0

    @cached_property
    def search(self) -> VectorIndex:
        """The nearest-neighbour index over the texts."""
        return VectorIndex(self.vectors, backend=self.backend)

    def scores(self, queries: Float32) -> Float32:
        """(B, H) unit vectors -> (B, L) cosines of leaves, float32: the best text of each, or the log-mean-exp.

        log-mean-exp: (1/20) ln mean exp(20 cos), so that more texts do not make a leaf more probable by themselves.
        With an approximate index only the 1,000 nearest texts count; leaves that none of them belongs to get the
        cosine of the farthest of these.
        """
        if len(self.leaf) == self.num_leaves and self.backend == "exact":  # one text a leaf
            return np.asarray(queries @ self.vectors.T)
        near = None if self.search.backend == "exact" else NEIGHBOURS
        if near is None:
            out = self.search.search_groups(
                queries, self.leaf, self.num_leaves, pooling=self.pooling, temperature=1 / POOLING_SCALE
            )
        else:
            found = self.search.search(queries, near)
            out = pool_neighbours(found, self.leaf, self.num_leaves, self.pooling, 1 / POOLING_SCALE)
            out = np.where(np.isfinite(out), out, found.similarity.min(axis=1, keepdims=True))
        if self.pooling == "logsumexp":
            out = out - (np.log(self._texts_per_leaf) / POOLING_SCALE).astype(np.float32)
        return np.asarray(out)

    @cached_property
    def _texts_per_leaf(self) -> IntArray:
        return np.bincount(self.leaf, minlength=self.num_leaves)

    def nearest(self, queries: Float32, k: int) -> IntArray:
        """(B, k) leaves of the k nearest texts, nearest first, ties by position (at most M columns)."""
        return self.leaf[self.search.search(queries, k).position]

    def nearest_texts(self, queries: Float32, leaf: IntArray) -> IntArray:
        """(B, k) for each leaf (B, k) the number of that text of it that is nearest to the query (B, H)."""
        starts = np.searchsorted(self.leaf, np.arange(self.num_leaves + 1))
        if (np.diff(starts) == 1).all():
            return starts[leaf].astype(np.int64)
        out = np.empty(leaf.shape, dtype=np.int64)
        for row, (query, own) in enumerate(zip(queries, leaf, strict=True)):
            for column, one in enumerate(own.tolist()):
                first, last = starts[one], starts[one + 1]
                out[row, column] = first + int(np.argmax(self.vectors[first:last] @ query))
        return out

    def save(self, folder: Path) -> None:
        """Write vectors and texts into a model directory: nothing is encoded or indexed again when it is loaded."""
        arrays: dict[str, npt.NDArray[Any]] = {"leaf": self.leaf}
        if self.search.backend == "exact":
            arrays["vectors"] = self.vectors
        else:
            self.search.save(folder / INDEX)
        save_arrays(folder / VECTORS, arrays)
        (folder / TEXTS).write_text(json.dumps(list(self.texts), ensure_ascii=False, indent=0), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, pooling: str, backend: str = "exact") -> "LabelIndex":
        """Read what :meth:`save` wrote.

        Raises:
            ModelDirError, ValueError: the files are damaged or do not fit together.
            ImportError: an approximate index, and its package is not installed.
        """
        arrays: Mapping[str, npt.NDArray[Any]] = load_arrays(folder / VECTORS)
        texts = read_json(folder / TEXTS)
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{TEXTS}: is no list of texts; save the model again")
        if "vectors" in arrays:
            return cls(arrays["vectors"], arrays["leaf"], tuple(texts), pooling, "exact")
        search = VectorIndex.load(folder / INDEX)
        made = cls(search.vectors, arrays["leaf"], tuple(texts), pooling, search.backend)
        made.__dict__["search"] = search  # built already
        return made


def label_keys(labels: LabelTexts | LabelIndex, taxonomy: Taxonomy) -> list[tuple[str, str]]:
    """(code of the leaf, text) of each text."""
    codes = taxonomy.leaf_codes
    return [(codes[i], text) for i, text in zip(labels.leaf.tolist(), labels.texts, strict=True)]


# ---------------------------------------------------------------------- mean vectors of categories


def label_means(labels: LabelIndex) -> Float32:
    """(L, H) unit mean of the texts of each leaf."""
    count = np.ones(len(labels.leaf), dtype=np.float32)
    first = np.searchsorted(labels.leaf, np.arange(labels.num_leaves))
    return _unit(labels.vectors[first], sum_by_leaf(labels.vectors, labels.leaf, count, labels.num_leaves))


def sum_by_leaf(vectors: Float32, leaf: IntArray, weight: Float32, leaves: int) -> Float64:
    """(M, H) vectors with their leaves and weights -> (L, H) weighted sums, in float64."""
    shape = (leaves, len(leaf))
    pick = sparse.csr_matrix((weight.astype(np.float64), (leaf, np.arange(len(leaf)))), shape=shape)
    return np.asarray(pick @ vectors.astype(np.float64))


def category_means(train: JobData, vectors: Float32, labels: Float32, label_weight: float = 1.0) -> Float32:
    """(L, H) unit vectors of leaves where ``labels`` are those of the leaves, (N, H) of nodes where they are of all.

    Each is the mean of the training vectors (n, H) at or under it and ``label_weight`` times its label vector, which
    alone it has without training rows (or where vectors cancel out). A row whose gold code is an inner node is spread
    evenly over the leaves under it, one with several codes over these by their shares.
    """
    taxonomy = train.taxonomy
    code, of_row, weight = train.gold, np.arange(len(train)), train.weight.astype(np.float64)
    if train.sets is not None:
        code, of_row = train.sets.nodes, train.sets.row
        weight = weight[of_row] * train.sets.share
    spans = taxonomy.leaf_slice[code]
    width = spans[:, 1] - spans[:, 0]
    entry = np.repeat(np.arange(len(spans)), width)
    leaf = np.arange(len(entry)) + np.repeat(spans[:, 0] - np.cumsum(width) + width, width)
    share = (weight / width)[entry]
    spread = sparse.csr_matrix((share, (leaf, of_row[entry])), shape=(taxonomy.num_leaves, len(train)))
    total = np.asarray(spread @ vectors.astype(np.float64))
    if len(labels) != len(total):
        upto = np.concatenate([np.zeros((1, total.shape[1])), np.cumsum(total, axis=0)])
        total = upto[taxonomy.leaf_slice[:, 1]] - upto[taxonomy.leaf_slice[:, 0]]
    return _unit(labels, total + label_weight * labels.astype(np.float64))


def node_label_vectors(
    taxonomy: Taxonomy, settings: EmbeddingSettings, encoder: TextEncoder, labels: Float32
) -> Float32:
    """(N, H) unit vectors of the labels of all nodes: leaves from ``labels`` (L, H), inner nodes from their own texts.

    An inner node without a text has the mean of its children.
    """
    out = np.zeros((len(taxonomy), labels.shape[1]), dtype=np.float32)
    out[taxonomy.leaves] = labels
    inner = np.flatnonzero(~taxonomy.is_leaf)
    texts: list[str] = []
    owner: list[int] = []
    languages: Sequence[str] = list(settings.label_languages) or list(taxonomy.titles)
    for node in inner.tolist():
        for text in dict.fromkeys(node_text(taxonomy, node, x, settings.label_mode) for x in languages):
            if text:
                texts.append(text)
                owner.append(node)
    if texts:
        found = encoder.encode(texts, "encoding labels of inner nodes")
        own = np.array(owner, dtype=np.int64)
        sums = sum_by_leaf(found, own, np.ones(len(own), np.float32), len(taxonomy))
        out += normalise(sums.astype(np.float32))
    for node in inner[::-1].tolist():  # children before parents
        if not out[node].any():
            out[node] = normalise(out[taxonomy.parents == node].sum(axis=0, keepdims=True))[0]
    return out


def _unit(fallback: Float32, sums: Float64) -> Float32:
    """Rows of ``sums`` at length 1; where they are zero, those of ``fallback``."""
    found = normalise(sums.astype(np.float32))
    zero = ~found.any(axis=1)
    found[zero] = fallback[zero]
    return found
