"""Several codes of one text at once: the probability of each code that the text has it, whatever others it has.

Leaf probabilities sum to 1: an ad for two jobs and an ad for one job that the model is unsure of look alike in them.
This head is learnt from sets of codes all of which a text has. For each node v with parent u it is

    P(v present | u present, text) = sigmoid(w_v x + b_v) / min(1, sum over siblings s of sigmoid(w_s x + b_s))

where x is the vector of the text in the model's own space, and P(v present) is the product over the path of v: a
probabilistic label tree (Jasinska-Kobus et al. 2020, "Probabilistic label trees for extreme multi-label
classification"), with its normalisation, which holds because who has a code has one below it. So the head is coherent:
P(parent) is at least that of each child, and at most their sum; at level 1 they sum to 1 or more.

It is mixed with the probabilities of the model, in which a text has one code: share P(v present) + (1 - share) P(v). A
mixture of two coherent ones is coherent. It is fitted after the model, which it leaves as it is, and kept beside it
(several.npz). N nodes, F features.
"""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy import sparse

from hjc.arrays import Float64, FloatArray
from hjc.calibration.conditionals import segment_logsumexp
from hjc.classifiers.derived import MODEL, restored, write_derived
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.napkinxc_fit import fit_napkinxc
from hjc.classifiers.napkinxc_weights import LinearNodes, napkinxc_labels, node_log_proba, read_weights
from hjc.classifiers.paths import SEVERAL
from hjc.classifiers.storage import no_numbers
from hjc.classifiers.vectors import TextVectors
from hjc.data.codesets import CodeSets
from hjc.errors import check_range
from hjc.taxonomy import Taxonomy

NO_SETS = (
    "a head for several codes (evaluation.several) needs training rows that have several: of {rows:,} rows {used:,} "
    "can be used, and none has more than one. Give data.other_codes_column or data.code_separator, or leave it out"
)
#: weights that no solver finds: sums of larger ones may be infinite
LARGEST = 1e20


@dataclass(frozen=True, eq=False)
class SeveralHead:
    """A fitted head.

    Args:
        nodes: N estimators on vectors of ``space``.
        rows: how many training rows it saw; several: how many of them had more than one code.
        share: of the head's own probabilities in the mixture.
        thresholds: way (``head``, ``probabilities``) -> (D + 1,) the probability from which codes of each level, and of
            all levels together, have the best micro F1 on validation rows; {} without such rows.
    """

    taxonomy: Taxonomy
    nodes: LinearNodes
    space: str
    rows: int
    several: int
    share: float = 1.0
    thresholds: dict[str, Float64] = field(default_factory=dict)

    @classmethod
    def fit(
        cls, taxonomy: Taxonomy, vectors: TextVectors, sets: CodeSets, settings: LinearSettings | None = None
    ) -> Self:
        """From the vectors of n texts and the codes that each has. Rows with a code that is no leaf are left out: what
        is below it is not known.

        Args:
            settings: of the solver; default: as linear models have them.

        Raises:
            ValueError: no row is left, or none has several codes. ImportError: napkinXC is not installed.
        """
        inner = np.bincount(sets.row, ~taxonomy.is_leaf[sets.nodes], minlength=len(sets)) > 0
        keep = np.flatnonzero(~inner & (sets.size > 0))
        used, labels = sets[keep], napkinxc_labels(taxonomy)
        if not used.several.any():
            raise ValueError(NO_SETS.format(rows=len(sets), used=len(used)))
        gold = [part.tolist() for part in np.split(labels[used.nodes], used.indptr[1:-1])]
        x = sparse.csr_matrix(vectors.rows[keep], dtype=np.float32)
        with tempfile.TemporaryDirectory(prefix="hjc-several-") as folder:
            fit_napkinxc(Path(folder), "plt", taxonomy, labels, x, gold, settings or LinearSettings())
            found = read_weights(Path(folder) / "weights.bin", x.shape[1])
        # the first estimator is the root's, which every text has
        nodes = LinearNodes(found.weights[1:], found.bias[1:], found.seen[1:], found.hinge)
        return cls(taxonomy, nodes, vectors.space, len(used), int(used.several.sum()))

    def log_proba(self, vectors: TextVectors) -> Float64:
        """(B, N) ln P(node present) of texts in the space of the head; see the module."""
        tree = self.taxonomy
        if vectors.space != self.space:
            raise ValueError(f"vectors of {vectors.space}: this head reads {self.space}")
        rows = sparse.csr_matrix(vectors.rows, dtype=np.float32)
        each = node_log_proba(self.nodes, self.nodes.scores(rows)).astype(np.float64)
        total = segment_logsumexp(each, tree.group_slice[:, 0])
        return tree.with_ancestors(each - np.minimum(total, 0.0)[:, tree.group])

    def proba(self, vectors: TextVectors, model: FloatArray) -> Float64:
        """(B, N) the mixture with the node probabilities (B, N) of the model; see the module."""
        return self.share * np.exp(self.log_proba(vectors)) + (1 - self.share) * model

    # ------------------------------------------------------------------ storage

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write several.npz beside the finished model that the head belongs to."""
        weights = self.nodes.weights
        state: dict[str, Any] = {
            "data": weights.data, "indices": weights.indices, "indptr": weights.indptr, "bias": self.nodes.bias,
            "features": np.array(weights.shape[1]), "space": np.array(self.space),
            "rows": np.array([self.rows, self.several]), "share": np.array(self.share),
        }  # fmt: skip
        return write_derived(directory, SEVERAL, state | {f"threshold_{k}": v for k, v in self.thresholds.items()})

    @classmethod
    def load(
        cls, directory: str | os.PathLike[str], taxonomy: Taxonomy, place: Callable[[Sequence[str]], TextVectors]
    ) -> Self | None:
        """The head of a model directory, None where there is none.

        Args:
            place: the vectors of texts, as the model of the directory makes them.

        Raises:
            ModelDirError: the file is damaged, was altered, or belongs to another model.
        """
        return restored(directory, SEVERAL, lambda state: cls._of(state, taxonomy, place(["a"])))  # any text

    @classmethod
    def _of(cls, state: Mapping[str, Any], taxonomy: Taxonomy, read: TextVectors) -> Self:
        """Raises KeyError, TypeError, ValueError: the arrays are none that :meth:`save` writes for a model that reads
        texts as such vectors."""
        arrays = {name: array for name, array in state.items() if name not in ("space", MODEL)}
        if wrong := no_numbers(arrays, ("features", "share")):
            raise ValueError(wrong)
        counts = ("features", "indices", "indptr", "rows")
        if broken := [name for name in counts if arrays[name].dtype.kind not in "iu"]:
            raise ValueError(f"{', '.join(broken)} hold no whole numbers")
        shape = len(taxonomy), int(arrays["features"])
        if (str(state["space"]), shape[1]) != (read.space, read.rows.shape[1]):
            raise ValueError(
                f"reads {shape[1]} numbers of {state['space']}, the model has {read.rows.shape[1]} of {read.space}"
            )
        weights = sparse.csr_matrix(
            (arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape, dtype=np.float32
        )
        weights.check_format(full_check=True)
        bias = arrays["bias"].astype(np.float32, copy=False)
        most = float(max(abs(weights.data).max(initial=0.0), abs(bias).max(initial=0.0)))
        check_range("its weights", most, most <= LARGEST, f"sizes up to {LARGEST:g}, of which sums are finite")
        if bias.shape != (len(taxonomy),):
            raise ValueError(f"biases of shape {bias.shape} for {len(taxonomy)} codes")
        start = "threshold_"
        thresholds = {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
        if any(array.shape != (taxonomy.depth + 1,) for array in thresholds.values()):
            raise ValueError(f"its thresholds are not of {taxonomy.depth} levels")
        for array in thresholds.values():
            check_range("its thresholds", array, ((array >= 0) & (array <= 1)).all(), "numbers from 0 to 1")
        rows, several = (int(x) for x in arrays["rows"])
        check_range(
            "its rows", [rows, several], 0 <= several <= rows, "numbers from 0, of which some have several codes"
        )
        share = float(arrays["share"])
        check_range("its share", share, 0 <= share <= 1, "numbers from 0 to 1")
        nodes = LinearNodes(weights, bias, np.full(len(bias), 2), hinge=False)
        return cls(taxonomy, nodes, read.space, rows, several, share, thresholds)
