"""Linear classifiers: sparse text features, then one linear estimator a node (napkinXC) or a leaf (scikit-learn).

* ``topdown``: hierarchical softmax on the tree (napkinXC's HSM): P(leaf) is the product over its path of a softmax
  among siblings of one-versus-rest logistic scores.
* ``bottomup``: one-versus-rest over leaves (OVR). Its rows sum to anything; they are divided by their sum, which makes
  them a distribution but keeps their one-sided view: expect worse log-loss than topdown where leaves are many.
* ``plt``: probabilistic label tree: a product of sigmoids along the path, divided by the row's sum.
* ``flat_logreg``: scikit-learn's multinomial logistic regression over leaves, the reference for small trees.

What every one of them does besides: codes without a training row cannot be learnt, so the model's own answer for them
is left out and the training prior is mixed in with weight ``floor``. For topdown this happens in each conditional
distribution, so an unseen code is likelier under a likely parent; for the others in the leaf distribution. A text
without any known feature gets the training prior. ``unseen=estimated`` gives codes without training rows a share
estimated from the others instead (:mod:`hjc.classifiers.unseen`). Rows sum to 1 over leaves, hence at every level.
"""

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from hjc.arrays import Float64, FloatArray, IntArray
from hjc.calibration.conditionals import sum_paths
from hjc.classifiers.base import LOG_PROBA_FLOOR, Classifier
from hjc.classifiers.features import TextFeatures
from hjc.classifiers.fitting import check_rows, repeats_of
from hjc.classifiers.keywords import from_keywords
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.napkinxc_fit import fit_napkinxc
from hjc.classifiers.napkinxc_weights import (
    LinearNodes,
    Nodes,
    napkinxc_labels,
    ovr_log_proba,
    plt_log_proba,
    read_weights,
)
from hjc.classifiers.side import beside, read_side, write_side
from hjc.classifiers.sparse_rows import Csr, SparseRows
from hjc.classifiers.storage import ModelDir, load_array
from hjc.classifiers.topdown import TopDown, scale_scores
from hjc.classifiers.treemath import chunks
from hjc.classifiers.unseen import UnseenCodes, prior
from hjc.classifiers.vectors import TF_IDF, TextVectors
from hjc.data.codesets import CodeSets
from hjc.data.jobdata import JobData
from hjc.data.side import SideVocabulary
from hjc.errors import name_some
from hjc.taxonomy import Taxonomy

if TYPE_CHECKING:
    from scipy import sparse

#: bytes that scikit-learn's solver takes for a coefficient of a flat logistic regression: the last ten steps and
#: gradients of L-BFGS in double precision, and a few copies (measured: 245 with 9.5 million coefficients)
_BYTES_A_COEFFICIENT = 250
#: above this, "the reference for small trees" would ask for more than 8 GB
_MAX_COEFFICIENTS = 32_000_000
#: rows whose scores are worked on together: what fits into the processor's cache
_TOGETHER = 64
_NAPKIN_FILES = ("weights.bin", "tree.bin", "tree.txt", "args.bin")


class LinearClassifier(Classifier):
    """Tf-idf features and linear estimators on the tree. Trains in seconds to minutes; needs no torch.

    Args:
        taxonomy: the tree whose leaves are predicted.
        settings: what the model is; stored with it. ``keywords`` are single ones of them.

    >>> from hjc.taxonomy import from_edges
    >>> tree = from_edges(["2", "5", "22", "51"], [None, None, "2", "5"])
    >>> texts = ["registered nurse", "night nurse", "cook in a hotel", "hotel cook"]
    >>> LinearClassifier(tree, min_df=1).fit(texts, codes=["22", "22", "51", "51"])
    LinearClassifier(topdown, taxonomy: 2 codes, 2 levels, fitted)
    >>> _.predict(["a nurse"])["code"].tolist()
    ['22']

    Attributes:
        row_counts: (N,) training rows under each node (inner-node gold counts for its ancestors and itself), weighted.
    """

    name: ClassVar[str] = "linear"
    vector_space = TF_IDF
    has_vocabulary = True

    def __init__(self, taxonomy: Taxonomy, settings: LinearSettings | None = None, **keywords: Any) -> None:
        super().__init__(taxonomy)
        self.settings = from_keywords(type(self), LinearSettings, settings, keywords)
        self.features: TextFeatures | None = None
        self.side: SideVocabulary | None = None
        self.row_counts: FloatArray = np.zeros(len(taxonomy))
        self.nodes: Nodes | None = None
        self._files: dict[str, bytes] = {}
        self._leaf_prior: FloatArray = np.zeros((0, 1))
        self._topdown: TopDown | None = None
        self._unseen: UnseenCodes | None = None

    @property
    def is_fitted(self) -> bool:
        return self.nodes is not None

    @property
    def parameters(self) -> Mapping[str, Any]:
        return asdict(self.settings)

    # ------------------------------------------------------------------ fit

    def fit_data(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Fit on labelled rows; ``valid`` and ``run_dir`` are not used (nothing is tuned, nothing resumes).

        Rows whose gold is an inner node train, with topdown, the estimators down to that node. Where that is not
        possible they are dropped with a warning that says how many. Weights: see ``LinearSettings.weights``; only their
        ratios matter. Of a row with several codes: ``topdown`` learns from the text once for each code; ``bottomup``
        and ``plt`` from one text that is right for all of them; ``flat_logreg`` from each by its share.

        Raises:
            ValueError: no row, a row without gold, another tree, weights that napkinXC cannot take, no frequent n-gram.
        """
        check_rows("train", train, self.taxonomy)
        settings = self.settings
        sets = CodeSets.of_gold(train.gold) if train.sets is None else train.sets
        usable = self._usable_codes(train, sets)
        if not len(usable):
            raise ValueError(f"no row to fit on: of {len(train)} rows all have an inner node as gold or weight 0")
        texts, at = np.unique(sets.row[usable], return_inverse=True)  # of several codes each is an example of its own
        gold, at = sets.nodes[usable], at.reshape(-1)
        weight = train.weight[texts].astype(np.float64) if settings.weights == "exact" else np.ones(len(texts))
        self.features, words = TextFeatures(settings), [train.texts[i] for i in texts.tolist()]
        self.side = SideVocabulary.of_recipe(self.recipe, words, hashing=settings.side_hashing)
        rows = beside(self.features.fit(words), self.side, words, settings, training=True).scipy()
        if settings.hierarchy == "flat_logreg":
            self._fit_logreg(rows if len(at) == len(texts) else rows[at], gold, weight[at] * sets.share[usable])
        else:
            repeats = repeats_of(weight)
            weight = repeats.astype(np.float64)
            self._fit_napkinxc(rows, gold, at, repeats)
        self.row_counts = count_rows(self.taxonomy, gold, weight[at])
        self._ready()
        return self

    def _usable_codes(self, train: JobData, sets: CodeSets) -> IntArray:
        """Which of the codes of all rows can be learnt from."""
        inner = ~self.taxonomy.is_leaf[sets.nodes]
        can_use_inner = self.settings.hierarchy == "topdown" and self.settings.inner_gold == "auto"
        dropped = np.zeros(len(inner), dtype=bool) if can_use_inner else inner
        if count := int(dropped.sum()):
            codes = name_some(dict.fromkeys(self.taxonomy.codes[i] for i in sets.nodes[dropped].tolist()))
            warnings.warn(
                f"{count} of {len(train)} training rows are coded to inner nodes ({codes}) and were left out: "
                f"model.hierarchy={self.settings.hierarchy} with model.inner_gold={self.settings.inner_gold} learns "
                "from leaves only (topdown with auto uses them)",
                stacklevel=3,
            )
        weightless = np.zeros_like(dropped)
        if self.settings.weights == "exact":
            weightless = (train.weight == 0)[sets.row] & ~dropped
        return np.flatnonzero(~dropped & ~weightless)

    def _fit_napkinxc(self, rows: "sparse.csr_matrix", gold: IntArray, at: IntArray, repeats: IntArray) -> None:
        """``gold`` (m,): the codes of the rows ``at`` (m,); ``repeats``: how often each row counts."""
        settings, tree = self.settings, self.taxonomy
        labels = napkinxc_labels(tree, label_inner=not tree.is_leaf[gold].all())
        label: list[Any] = labels[gold].tolist()
        if len(gold) > rows.shape[0] and settings.hierarchy != "topdown":
            # an estimator of its own answers for each code: the row is right for all of its codes, wrong for none
            label = [part.tolist() for part in np.split(labels[gold], np.flatnonzero(np.diff(at)) + 1)]
            at = np.arange(rows.shape[0])
        take = np.repeat(np.arange(len(at)), repeats[at])
        if len(take) != rows.shape[0]:
            rows, label = rows[at[take]], [label[i] for i in take.tolist()]
        with tempfile.TemporaryDirectory(prefix="hjc-napkinxc-") as folder:
            fit_napkinxc(Path(folder), settings.hierarchy, tree, labels, rows, label, settings)
            self._take(Path(folder), rows.shape[1])

    def _take(self, folder: Path, num_features: int) -> None:
        """Read what napkinXC wrote."""
        nodes = read_weights(folder / "weights.bin", num_features)
        if self.settings.hierarchy == "topdown" and len(nodes.bias) == len(self.taxonomy) + 1:
            nodes = scale_scores(nodes, self.taxonomy, self.settings.score_scale)
        self.nodes = nodes
        self._files = {f: (folder / f).read_bytes() for f in _NAPKIN_FILES if (folder / f).exists()}

    def _fit_logreg(self, rows: "sparse.csr_matrix", gold: IntArray, weight: FloatArray) -> None:
        from scipy import sparse
        from sklearn.linear_model import LogisticRegression

        settings, tree = self.settings, self.taxonomy
        classes = np.unique(gold)
        if len(classes) * rows.shape[1] > _MAX_COEFFICIENTS:
            raise ValueError(
                f"flat_logreg: {len(classes):,} codes x {rows.shape[1]:,} features are dense coefficients that would "
                f"take about {len(classes) * rows.shape[1] * _BYTES_A_COEFFICIENT / 1e9:.0f} GB of memory while they "
                f"are fitted (allowed: {_MAX_COEFFICIENTS:,} coefficients, "
                f"{_MAX_COEFFICIENTS * _BYTES_A_COEFFICIENT / 1e9:.0f} GB); use model.hierarchy=topdown, or fewer "
                "features: model.max_features, model.lead_weight=0 (texts of one line lose nothing), model.features"
            )
        coefficients = np.zeros((tree.num_leaves, rows.shape[1]), dtype=np.float32)
        intercepts = np.zeros(tree.num_leaves, dtype=np.float32)
        if len(classes) > 1:
            # scikit-learn's tol bounds the mean gradient, which is small at the start already where classes and
            # features are many: an absolute tol then stops before the first step, with uniform probabilities
            ones = sparse.csr_matrix((weight, (np.searchsorted(classes, gold), np.arange(len(gold)))))
            tol = min(settings.eps, 1e-2) * float((ones @ rows).max()) / weight.sum()
            model = LogisticRegression(C=settings.C, max_iter=settings.max_iter, tol=tol)
            model.fit(rows, gold, sample_weight=weight)
            seen = tree.leaf_slice[model.classes_, 0]
            if len(classes) == 2:  # scikit-learn keeps one row: the score of the second class
                coefficients[seen[1]], intercepts[seen[1]] = model.coef_[0], model.intercept_[0]
            else:
                coefficients[seen], intercepts[seen] = model.coef_, model.intercept_
        self.nodes = LinearNodes.of_leaves(coefficients, intercepts)
        self._files = {}

    # ------------------------------------------------------------------ predict

    def _fitted(self) -> tuple[TextFeatures, Nodes]:
        """Features and estimators; raises NotFittedError before ``fit``."""
        self.check_fitted()
        assert self.features is not None and self.nodes is not None
        return self.features, self.nodes

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        features, _ = self._fitted()
        for rows, chunk in chunks(texts, self.settings.batch_size):
            yield rows, self.rows_log_proba(beside(features.rows(chunk), self.side, chunk, self.settings))

    def rows_log_proba(self, rows: Csr) -> FloatArray:
        """(b, F) float32 feature rows -> (b, L) float32 log-probabilities; see the module for what is mixed in.

        The numbers of a row are the same in every batch.
        """
        number = rows.shape[0]
        if number == 1:  # NumPy sums one column in another order than several
            return self.rows_log_proba(_twice(rows))[:1]
        _, nodes = self._fitted()
        empty = np.diff(rows.indptr) == 0
        if self.settings.hierarchy == "topdown":
            assert self._topdown is not None
            found = self._topdown(nodes, rows)  # (L, b)
            found[:, empty] = self._leaf_prior
            return _floored(found if self._unseen is None else self._logarithms(np.exp(found)))
        scores, out = nodes.scores(rows), np.empty((number, self.taxonomy.num_leaves), np.float32)
        ends = np.linspace(0, number, -(-number // _TOGETHER) + 1).astype(int)  # none has one row
        for start, stop in pairwise(ends.tolist()):
            proba = self._proba_of_leaves(np.ascontiguousarray(scores[start:stop].T))
            proba[:, empty[start:stop]] = np.exp(self._leaf_prior)
            out[start:stop] = _floored(self._logarithms(proba))
        return out

    def _proba_of_leaves(self, scores: FloatArray) -> FloatArray:
        """(E, b) scores -> (L, b) the softmax over leaves with training rows, prior mixed in."""
        nodes, tree, floor = self._fitted()[1], self.taxonomy, np.float32(self.settings.floor)
        if self.settings.hierarchy == "flat_logreg":
            out = scores
        else:
            out = (ovr_log_proba if self.settings.hierarchy == "bottomup" else plt_log_proba)(nodes, scores, tree)
        out[self.row_counts[tree.leaves] == 0] = -np.inf
        out -= out.max(axis=0)
        np.exp(out, out=out)
        out *= ((1 - floor) / out.sum(axis=0, dtype=np.float64)).astype(np.float32)
        out += floor * np.exp(self._leaf_prior)
        return out

    def _logarithms(self, proba: FloatArray) -> FloatArray:
        """(L, b) of probabilities, with what codes without training rows get; what underflows is minus infinity."""
        with np.errstate(divide="ignore"):
            found: FloatArray = np.log(proba if self._unseen is None else self._unseen(proba))
        return found

    @property
    def theta(self) -> float:
        """Pseudo-count of codes without training rows; see :class:`UnseenCodes`."""
        return 0.0 if self._unseen is None else self._unseen.theta

    def _ready(self, theta: float | None = None) -> None:
        """What prediction needs beside the estimators, once for all chunks."""
        conditional = prior(self.taxonomy, self.row_counts)
        self._unseen = None
        if self.settings.unseen == "estimated" and (self.row_counts[self.taxonomy.leaves] == 0).any():
            self._unseen = UnseenCodes(self.taxonomy, self.row_counts, self.settings.floor, theta)
            conditional = self._unseen.without(conditional)
        with np.errstate(divide="ignore"):
            log_prior = sum_paths(np.log(conditional)[None, :], self.taxonomy)
        self._leaf_prior = np.asarray(log_prior.T, dtype=np.float32)  # (L, 1)
        self._topdown = TopDown(self.taxonomy, conditional, self.row_counts, self.settings.floor)

    # ------------------------------------------------------------------ what words do

    def oov_share(self, text: str) -> float:
        """See the base class."""
        return self._fitted()[0].oov_share(text)

    def text_vectors(self, texts: Sequence[str]) -> TextVectors:
        """Tf-idf rows."""
        return TextVectors(TF_IDF, self._fitted()[0].transform(list(texts)))

    @property
    def exact_levels(self) -> Sequence[int]:
        """Every level where each node has a score of its own, else that of the leaves."""
        depth = self.taxonomy.depth
        return range(1 if self.settings.hierarchy in ("topdown", "plt") else depth, depth + 1)

    def node_weights(self, node: int) -> tuple[Float64, float]:
        """Weights (F,) and constant that score a node; zeros where the score is 0 by definition, and for node -1."""
        (_, nodes), tree = self._fitted(), self.taxonomy
        row = node + 1  # row 0 is the root's
        start, stop = tree.group_slice[tree.group[node]]
        if self.settings.hierarchy in ("bottomup", "flat_logreg"):
            row = int(tree.leaf_slice[node, 0])
        elif self.settings.hierarchy == "topdown" and stop - start == 2 and node == start + 1:
            row = -1  # a pair of siblings has one estimator, the first one's
        if node < 0 or not 0 <= row < len(nodes.bias):
            return np.zeros(nodes.by_feature.shape[0]), 0.0
        return nodes.by_feature.of(row).astype(np.float64), float(nodes.bias[row])

    # ------------------------------------------------------------------ storage

    def write_files(self, folder: Path) -> None:
        """features.json, idf_*.npy, row_counts.npy and napkinXC's files (flat_logreg: coefficient arrays)."""
        features, nodes = self._fitted()
        features.save(folder)
        write_side(self.side, folder)
        np.save(folder / "row_counts.npy", self.row_counts, allow_pickle=False)
        if self.settings.hierarchy == "flat_logreg":
            assert isinstance(nodes, LinearNodes)
            np.save(folder / "coefficients.npy", nodes.weights.toarray(), allow_pickle=False)
            np.save(folder / "intercepts.npy", nodes.bias, allow_pickle=False)
            return
        (folder / "napkinxc").mkdir()
        for name, content in self._files.items():
            (folder / "napkinxc" / name).write_bytes(content)

    @classmethod
    def read_files(cls, model: ModelDir) -> Self:
        """Needs neither napkinXC nor the training data."""
        # models from before there were such settings go on predicting what they did
        self = cls(model.taxonomy, model.settings(LinearSettings, score_scale=1.0, tonos="keep", unseen="floor"))
        self.features, self.side = TextFeatures.load(model.path, self.settings), read_side(model)
        self.row_counts = load_array(model.file("row_counts.npy"))
        if self.row_counts.shape != (len(self.taxonomy),):
            raise ValueError(f"row_counts.npy has shape {self.row_counts.shape}, the tree {len(self.taxonomy)} nodes")
        if self.settings.hierarchy == "flat_logreg":
            coefficients = load_array(model.file("coefficients.npy"))
            intercepts = load_array(model.file("intercepts.npy"))
            self.nodes = LinearNodes.of_leaves(coefficients, intercepts)
        else:
            path = model.file("napkinxc/weights.bin")
            self._take(path.parent, self.features.num_features + len(self.side or ()))
            assert isinstance(self.nodes, LinearNodes)
            found, expected = len(self.nodes.bias), len(self.taxonomy) + 1
            if self.settings.hierarchy != "bottomup" and found != expected:
                raise ValueError(f"{path} has {found} estimators, the tree needs {expected}")
            if not (np.isfinite(self.nodes.weights.data).all() and np.isfinite(self.nodes.bias).all()):
                raise ValueError(f"{path}: holds NaN or infinite weights; train the model again")
        self._ready()
        return self


def _floored(log_proba: FloatArray) -> FloatArray:
    """(L, b) -> (b, L), with the declared floor of every classifier; what it adds (below 1e-10 a leaf) is taken off the
    whole row."""
    np.maximum(log_proba, LOG_PROBA_FLOOR, out=log_proba)
    log_proba -= np.log(np.exp(log_proba).sum(axis=0, dtype=np.float64)).astype(np.float32)
    return np.ascontiguousarray(log_proba.T)


def _twice(rows: Csr) -> SparseRows:
    """One row two times."""
    size = len(rows.data)
    return SparseRows(np.array([0, size, 2 * size]), np.tile(rows.indices, 2), np.tile(rows.data, 2), rows.shape[1])


def count_rows(taxonomy: Taxonomy, gold: IntArray, weight: FloatArray) -> FloatArray:
    """(N,) weighted number of rows whose gold is the node or lies under it."""
    return taxonomy.with_descendants(np.bincount(gold, weight, len(taxonomy)).astype(np.float64))
