"""The estimator: texts in, codes of one level of a tree out."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from hjc.arrays import FloatArray, IntArray, ObjectArray
from hjc.classifiers.base import Classifier
from hjc.classifiers.keywords import named
from hjc.data import JobData, TextRecipe
from hjc.data.splitting import identical_groups, split_rows
from hjc.errors import check_range, name_some
from hjc.taxonomy import Taxonomy, from_edges, load_taxonomy
from hjc.taxonomy.spelling import check_classification, repair_codes


class HierarchicalClassifier(ClassifierMixin, BaseEstimator):
    """Codes texts to one level of a tree, with scikit-learn's conventions.

    X is a list, array or Series of texts, or a table whose columns are joined to one text a row. y are codes as text.

    >>> from sklearn.model_selection import cross_val_predict
    >>> texts = ["registered nurse", "night nurse", "ward nurse", "hotel cook", "cook", "pizza cook"]
    >>> codes = ["2221", "2221", "2221", "5120", "5120", "5120"]
    >>> model = HierarchicalClassifier("linear", settings={"min_df": 1})
    >>> cross_val_predict(model, texts, codes, cv=3).tolist()
    ['2221', '2221', '2221', '5120', '5120', '5120']

    Args:
        model: a name of ``model=``: linear, e5, xlmr ...
        taxonomy: "isco08", a file of codes, or a :class:`hjc.Taxonomy`. None: the labels in y, without a tree, which
            then may be anything that scikit-learn takes.
        hierarchy: how the probabilities chain: topdown, bottomup ... None: as the model does by default.
        level: of the codes that are predicted (1 is coarsest); deeper codes in y are learnt from and cut for
            :meth:`score`. None: the deepest.
        classes: codes that ``predict_proba`` has columns for, in this order, and that whole numbers in y stand for:
            ``cross_val_predict(..., method="predict_proba")`` hands numbers instead of codes, so give
            ``classes=np.unique(y)`` there. Their rows sum to less than 1: the rest lies on other codes. None: all codes
            of the level, whose rows sum to 1.
        valid_fraction: share of the rows that the best state of a neural model is chosen on, not trained on.
        settings: single settings of the model and its training: ``{"epochs": 1}``, ``{"C": 10}``.
        random_state: seed of the model, of its training and of the rows that are held out.

    Attributes:
        classes_: the labels of the columns of ``predict_proba``.
        taxonomy_: the tree. classifier_: the fitted :class:`hjc.Classifier`, which has all levels.
    """

    def __init__(
        self,
        model: str = "linear",
        *,
        taxonomy: str | PathLike[str] | Taxonomy | None = "isco08",
        hierarchy: str | None = None,
        level: int | None = None,
        classes: Sequence[Any] | None = None,
        valid_fraction: float = 0.0,
        settings: Mapping[str, Any] | None = None,
        random_state: int | None = None,
    ) -> None:
        self.model = model
        self.taxonomy = taxonomy
        self.hierarchy = hierarchy
        self.level = level
        self.classes = classes
        self.valid_fraction = valid_fraction
        self.settings = settings
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags

    def fit(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Fit on texts and codes.

        Raises:
            ValueError, TypeError: lengths differ, no rows, labels that are no codes, a setting that does not exist.
        """
        check_range("valid_fraction", self.valid_fraction, 0 <= self.valid_fraction < 1, "0 to below 1")
        labels = np.asarray(y)
        if labels.ndim != 1:
            raise ValueError(f"y: got an array of shape {labels.shape}, expected one label a row")
        self.taxonomy_, gold = self._tree(labels)
        settings = dict(self.settings or {})
        if self.hierarchy is not None:
            settings["hierarchy"] = self.hierarchy
        if self.random_state is not None:
            settings["seed"] = int(self.random_state)
        classifier: Classifier = named(self.taxonomy_, self.model, **settings)
        table = self._table(X)
        classifier.recipe = TextRecipe(tuple(map(str, getattr(table, "columns", ()))))
        texts = classifier.recipe.texts(table)
        if len(texts) != len(labels):
            raise ValueError(f"got {len(texts):,} texts and {len(labels):,} labels; every text needs one")
        weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float32)
        rows = JobData(self.taxonomy_, tuple(texts), gold, weight=weight)  # type: ignore[arg-type]
        held = np.zeros(len(rows), dtype=bool)
        if self.valid_fraction:
            groups = identical_groups(list(texts))
            held = split_rows(
                self.taxonomy_, gold, groups=groups, test_fraction=0.0, valid_fraction=self.valid_fraction,
                seed=int(self.random_state or 0),
            ) > 0  # fmt: skip
        self.classifier_ = classifier.fit(rows.take(~held), rows.take(held) if held.any() else None)
        return self

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """(B,) the most probable label of each row."""
        check_is_fitted(self)
        level = self._level()
        found = self.classifier_.predict(self._table(X), level=level)["code"].to_numpy(dtype=object)
        if self.taxonomy is None:
            return self._labels[[int(code) for code in found]]
        return self._numbers(found) if self._numbered else found.astype(str)

    def predict_proba(self, X: Any) -> FloatArray:
        """(B, K) probabilities of :attr:`classes_`."""
        check_is_fitted(self)
        proba = self.classifier_.predict_proba(self._table(X), level=self._level()).astype(np.float64)
        if self._columns is not None:
            return proba[:, self._columns]
        return proba / proba.sum(axis=1, keepdims=True)  # float32 sums

    def predict_log_proba(self, X: Any) -> FloatArray:
        """(B, K) natural logarithms of :meth:`predict_proba`."""
        return np.log(self.predict_proba(X))

    def score(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None = None) -> float:
        """Share of rows whose code is right at the level; codes below it are cut to it."""
        check_is_fitted(self)
        labels, found = np.asarray(y), self.predict(X)
        if self.taxonomy is not None and not self._numbered:
            tree = self.taxonomy_
            at = tree.node_path[tree.encode([str(code) for code in labels]), self._level() - 1]
            labels = np.array([tree.codes[i] if i >= 0 else "" for i in at.tolist()], dtype=object)
        weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        return float(np.average(found == labels, weights=weight))

    # ------------------------------------------------------------------ labels

    def _level(self) -> int:
        tree = self.taxonomy_
        return tree.check_level(tree.depth if self.level is None else self.level)

    def _tree(self, labels: npt.NDArray[Any]) -> tuple[Taxonomy, IntArray]:
        """The tree and the node of each label; sets ``classes_`` and what labels are made back by."""
        self._numbered, self._columns = False, None
        if self.taxonomy is None:
            self._labels, gold = np.unique(labels, return_inverse=True)
            self.classes_ = self._labels
            names = [str(i) for i in range(len(self._labels))]
            tree = from_edges(names, [None] * len(names), name="labels")
            return tree, np.array(tree.encode(names), dtype=np.int64)[gold]
        given = self.taxonomy
        tree = given if isinstance(given, Taxonomy) else load_taxonomy(str(given))
        self.taxonomy_ = tree
        nodes = tree.level_nodes(self._level())
        codes = [tree.codes[i] for i in nodes.tolist()]
        self.classes_ = np.array(codes)
        if self.classes is not None:
            wanted = [str(code) for code in self.classes]
            at = tree.node_path[tree.encode(wanted), self._level() - 1]
            if (at < 0).any() or len(set(at.tolist())) < len(at):
                raise ValueError(f"classes: expected different codes of level {self._level()}, got {name_some(wanted)}")
            place = {int(node): i for i, node in enumerate(nodes.tolist())}
            self._columns = np.array([place[int(node)] for node in at], dtype=np.int64)
            self.classes_ = np.array(wanted)
        if labels.dtype.kind in "iu":
            if self.classes is None:
                raise TypeError(
                    "y: got numbers, but codes are text (0110 as a number has lost its zero). Pass text, or "
                    "classes=np.unique(y) where cross_val_predict turns codes into numbers"
                )
            self._numbered, self.classes_ = True, np.arange(len(self.classes))
            labels = np.array([str(code) for code in self.classes], dtype=object)[labels]
        known, report = repair_codes(tree, list(labels), asking="nobody")
        check_classification(tree, report, "y", tree.name, "give another taxonomy")
        gold = np.array([tree.index_of.get(code, -1) for code in known], dtype=np.int64)
        if (bad := np.flatnonzero(gold < 0)).size:
            told = "; ".join(list(report.reasons.values())[:3]) or "a label is missing"
            raise ValueError(f"y: {bad.size} of {len(gold)} labels are no codes of {tree.name!r}: {told}")
        return tree, gold

    def _numbers(self, codes: ObjectArray) -> IntArray:
        """Codes as the numbers that they were given by; -1 where a code has none."""
        assert self.classes is not None
        number = {str(code): i for i, code in enumerate(self.classes)}
        return np.array([number.get(str(code), -1) for code in codes], dtype=np.int64)

    def _table(self, X: Any) -> Any:
        """A two-dimensional array as a table, with numbers for names; anything else as it is."""
        if getattr(X, "ndim", 1) == 2 and not hasattr(X, "columns"):
            return pd.DataFrame(np.asarray(X, dtype=object), columns=[str(i) for i in range(X.shape[1])])
        return X
