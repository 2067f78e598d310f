"""Other people's classifiers behind hjc's interface, so that one evaluator scores all of them.

Every adapter gets the declared floor of hjc's own linear models: what the peer says of codes without a training row is
left out, and the training prior over leaves is mixed in with weight ``FLOOR``. Without it one row with an unseen
code would make a peer's log-loss infinite, and the comparison would be about zeros instead of models.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from hjc.arrays import FloatArray, IntArray
from hjc.calibration.conditionals import sum_paths
from hjc.classifiers.base import LOG_PROBA_FLOOR, Classifier
from hjc.classifiers.features import TextFeatures
from hjc.classifiers.linear import count_rows
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.unseen import prior
from hjc.classifiers.words import normalise, tokens
from hjc.data.jobdata import JobData
from hjc.taxonomy import Taxonomy

FLOOR = 0.02
#: scikit-learn's default of 1e-4 is absolute and stops too early with hundreds of classes; see
#: LinearClassifier._fit_logreg. hiclass's local problems have few classes and keep the default
FLAT_TOLERANCE = 1e-5
BATCH = 512


class Peer(Classifier):
    """Features, floor and bookkeeping; a peer implements ``learn`` and ``leaf_proba``."""

    name: ClassVar[str] = "peer"
    #: False: the peer names one code only, so that its log-loss means nothing
    has_probabilities: ClassVar[bool] = True

    def __init__(self, taxonomy: Taxonomy, settings: LinearSettings) -> None:
        super().__init__(taxonomy)
        self.settings = settings
        self.features: TextFeatures | None = None
        self.log_prior: FloatArray | None = None
        self.column = np.full(len(taxonomy), -1, dtype=np.int64)
        self.column[taxonomy.leaves] = np.arange(taxonomy.num_leaves)

    @property
    def is_fitted(self) -> bool:
        return self.log_prior is not None

    def fit(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        del valid, run_dir
        tree = self.taxonomy
        self.learn(train.texts, train.gold)
        counts = count_rows(tree, train.gold, np.ones(len(train)))
        self.unseen = counts[tree.leaves] == 0
        self.log_prior = sum_paths(np.log(prior(tree, counts))[None, :], tree)
        return self

    def learn(self, texts: Sequence[str], gold: IntArray) -> None:
        """Fit the peer; ``gold`` are leaves."""
        raise NotImplementedError

    def leaf_proba(self, texts: Sequence[str]) -> FloatArray:
        """(b, L) the peer's probabilities; rows need not sum to 1."""
        raise NotImplementedError

    def fit_rows(self, texts: Sequence[str]) -> sparse.csr_matrix:
        self.features = TextFeatures(self.settings)
        return self.features.fit_transform(texts)

    def rows(self, texts: Sequence[str]) -> sparse.csr_matrix:
        assert self.features is not None
        return self.features.transform(texts)

    def iter_log_proba(self, texts: Sequence[str]) -> Iterator[tuple[IntArray, FloatArray]]:
        self.check_fitted()
        assert self.log_prior is not None
        for start in range(0, len(texts), BATCH):
            p = self.leaf_proba(texts[start : start + BATCH]).astype(np.float64)
            p[:, self.unseen] = 0
            total = p.sum(axis=1, keepdims=True)
            base = np.exp(self.log_prior)
            p = np.where(total > 0, (1 - FLOOR) * p / np.where(total > 0, total, 1) + FLOOR * base, base)
            yield np.arange(start, start + len(p)), np.log(np.maximum(p, np.exp(LOG_PROBA_FLOOR))).astype(np.float32)

    def save_pretrained(self, directory: Path) -> None:
        raise NotImplementedError("peers are measured, not stored")

    @classmethod
    def from_pretrained(cls, directory: Path) -> Self:
        raise NotImplementedError("peers are measured, not stored")


class FlatLogistic(Peer):
    """scikit-learn's multinomial logistic regression over the leaves."""

    name = "scikit-learn flat"

    def learn(self, texts: Sequence[str], gold: IntArray) -> None:
        self.model = LogisticRegression(C=self.settings.C, tol=FLAT_TOLERANCE)
        self.model.fit(self.fit_rows(texts), self.column[gold])

    def leaf_proba(self, texts: Sequence[str]) -> FloatArray:
        out = np.zeros((len(texts), self.taxonomy.num_leaves))
        out[:, self.model.classes_] = self.model.predict_proba(self.rows(texts))
        return out


class HiClass(Peer):
    """hiclass, one logistic regression a parent; probabilities are the product of its local classifiers' along paths.

    That product is taken here: hiclass's own ``predict_proba`` fills, at each level, only the children of codes that
    are the most probable one of some row of the batch, and below the second level of one such parent only, so that
    its answer depends on the other rows of the batch (see ``HiClassOwn``).
    """

    name = "hiclass"

    def learn(self, texts: Sequence[str], gold: IntArray) -> None:
        from hiclass import LocalClassifierPerParentNode

        tree = self.taxonomy
        labels = np.array([[tree.codes[i] for i in tree.node_path[g] if i >= 0] for g in gold.tolist()], dtype=object)
        local = LogisticRegression(C=self.settings.C)
        self.model: Any = LocalClassifierPerParentNode(
            local_classifier=local, replace_classifiers=True, return_all_probabilities=True
        )
        self.model.fit(self.fit_rows(texts), labels)

    def leaf_proba(self, texts: Sequence[str]) -> FloatArray:
        tree, rows = self.taxonomy, self.rows(texts)
        p = np.zeros((len(texts), len(tree)))
        for node in self.model.hierarchy_.nodes:
            local = self.model.hierarchy_.nodes[node].get("classifier")
            if local is None:
                continue
            children = [str(c).rsplit(self.model.separator_, 1)[-1] for c in local.classes_]
            p[:, [tree.index_of[c] for c in children]] = local.predict_proba(rows)
        with np.errstate(divide="ignore"):
            return np.exp(sum_paths(np.log(p), tree))


class HiClassOwn(HiClass):
    """The same fit, with the probabilities of the last level that hiclass's own ``predict_proba`` gives."""

    name = "hiclass predict_proba"

    def leaf_proba(self, texts: Sequence[str]) -> FloatArray:
        out = np.zeros((len(texts), self.taxonomy.num_leaves))
        found = self.model.predict_proba(self.rows(texts))[-1]
        codes = [str(c).rsplit(self.model.separator_, 1)[-1] for c in self.model.classes_[-1]]
        out[:, self.column[[self.taxonomy.index_of[c] for c in codes]]] = found
        return out


class HiClassPath(HiClass):
    """The same fit, with hiclass's ``predict``: the best child at each step, one code a row, no probabilities."""

    name = "hiclass predict"
    has_probabilities = False

    def leaf_proba(self, texts: Sequence[str]) -> FloatArray:
        codes = self.model.predict(self.rows(texts))[:, -1]
        out = np.zeros((len(texts), self.taxonomy.num_leaves))
        out[np.arange(len(texts)), self.column[[self.taxonomy.index_of[str(c)] for c in codes]]] = 1
        return out


class FastText(Peer):
    """fastText on the same tokens (normalised, case-folded); ``loss``: softmax, or hs (its own Huffman tree)."""

    name = "fastText"

    def __init__(self, taxonomy: Taxonomy, settings: LinearSettings, *, loss: str, **options: Any) -> None:
        super().__init__(taxonomy, settings)
        self.options = {"loss": loss, "dim": 100, "bucket": 200_000, "thread": 1, "seed": 1, "verbose": 0, **options}

    def learn(self, texts: Sequence[str], gold: IntArray) -> None:
        import fasttext

        with tempfile.TemporaryDirectory(prefix="hjc-peers-") as folder:
            path = Path(folder) / "train.txt"
            lines = (f"__label__{g} {_line(text)}\n" for g, text in zip(self.column[gold].tolist(), texts, strict=True))
            path.write_text("".join(lines), encoding="utf-8")
            self.model: Any = fasttext.train_supervised(str(path), **self.options)

    def leaf_proba(self, texts: Sequence[str]) -> FloatArray:
        out = np.zeros((len(texts), self.taxonomy.num_leaves))
        for i, (labels, p) in enumerate(zip(*self.model.predict([_line(t) for t in texts], k=-1), strict=True)):
            out[i, [int(label.removeprefix("__label__")) for label in labels]] = p
        return out


def _line(text: str) -> str:
    return " ".join(tokens(normalise(text)))


class HierarchicalSoftmax(Peer):
    """The package hierarchicalsoftmax: its loss and probabilities on a learnt bag of the same tf-idf features."""

    name = "hierarchicalsoftmax"

    def __init__(self, taxonomy: Taxonomy, settings: LinearSettings, *, epochs: int = 6, width: int = 128) -> None:
        super().__init__(taxonomy, settings)
        self.epochs, self.width = epochs, width

    def learn(self, texts: Sequence[str], gold: IntArray) -> None:
        import torch
        from hierarchicalsoftmax import HierarchicalSoftmaxLoss, SoftmaxNode

        torch.manual_seed(1)
        torch.set_num_threads(1)
        tree, rows = self.taxonomy, self.fit_rows(texts)
        # the package gives an only child no probability: its parent stands in for it
        only = np.bincount(tree.group)[tree.group] == 1
        self.root: Any = SoftmaxNode("root")
        made: dict[int, Any] = {-1: self.root}
        for node in range(len(tree)):
            parent = made[int(tree.parents[node])]
            made[node] = parent if only[node] else SoftmaxNode(tree.codes[node], parent=parent)
        self.root.set_indexes()
        self.leaf_position = [made[i].index_in_softmax_layer for i in tree.leaves.tolist()]
        self.bag = torch.nn.EmbeddingBag(rows.shape[1], self.width, mode="sum")
        # a plain layer of the width that its tree asks for: its own lazy layer slices the weights once a row and level,
        # which is several times slower still
        self.layer: Any = torch.nn.Linear(self.width, self.root.layer_size)
        loss = HierarchicalSoftmaxLoss(root=self.root)
        target = torch.tensor(self.root.get_node_ids([made[g] for g in gold.tolist()]))
        optimizer = torch.optim.Adam([*self.bag.parameters(), *self.layer.parameters()], lr=0.01)
        rng = np.random.default_rng(1)
        for _ in range(self.epochs):
            order = rng.permutation(len(gold))
            for start in range(0, len(order), 64):
                batch = order[start : start + 64]
                optimizer.zero_grad()
                loss(self._scores(rows[batch]), target[batch]).backward()
                optimizer.step()

    def _scores(self, rows: sparse.csr_matrix) -> Any:
        import torch

        index, start = torch.from_numpy(rows.indices).long(), torch.from_numpy(rows.indptr[:-1]).long()
        return self.layer(self.bag(index, start, per_sample_weights=torch.from_numpy(rows.data)))

    def leaf_proba(self, texts: Sequence[str]) -> FloatArray:
        import torch
        from hierarchicalsoftmax.inference import node_probabilities

        with torch.no_grad():
            p = node_probabilities(self._scores(self.rows(texts)), root=self.root).numpy()
        return np.asarray(p[:, self.leaf_position])
