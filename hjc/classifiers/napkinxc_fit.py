"""Linear estimators on a tree, fitted by napkinXC (liblinear) and written to its files."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hjc.arrays import IntArray
from hjc.classifiers.napkinxc_weights import napkinxc_tree
from hjc.taxonomy import Taxonomy

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(frozen=True, kw_only=True)
class Solver:
    """liblinear's settings; see :class:`hjc.classifiers.linear_settings.LinearSettings`, which has them too."""

    loss: str = "log"
    name: str = "L2R_LR_DUAL"
    C: float = 30.0
    eps: float = 0.1
    max_iter: int = 100
    threshold: float = 0.1
    seed: int = 1
    threads: int = 1


def fit_napkinxc(
    folder: Path,
    kind: str,
    taxonomy: Taxonomy,
    labels: IntArray,
    rows: "sparse.csr_matrix",
    gold: Sequence[int] | Sequence[Sequence[int]],
    solver: Solver,
) -> None:
    """Fit estimators and leave napkinXC's files in an empty folder.

    Args:
        kind: topdown (softmax among siblings, HSM) | bottomup (an estimator a leaf, OVR) | plt (a label tree).
        labels: (N,) of the nodes, see :func:`hjc.classifiers.napkinxc_weights.napkinxc_labels`.
        rows: (n, F) float32. gold: n labels; but for topdown lists of them, all of which are right.

    Raises:
        ImportError: napkinXC is not installed.
    """
    try:
        from napkinxc.models import HSM, OVR, PLT
    except ImportError as error:
        raise ImportError(
            "training a linear model needs napkinXC: pip install --only-binary napkinxc 'napkinxc>=0.7.2,<0.8' "
            "(model.hierarchy=flat_logreg and stored models do without it)"
        ) from error
    options = {
        "norm": False,  # rows come scaled
        "loss": solver.loss,
        "liblinear_solver": solver.name,
        "liblinear_c": float(solver.C),
        "liblinear_eps": float(solver.eps),
        "liblinear_max_iter": solver.max_iter,
        "weights_threshold": float(solver.threshold),
        "seed": solver.seed,
        "threads": solver.threads,
    }
    if kind == "bottomup":
        model = OVR(str(folder), **options)
    else:
        tree = napkinxc_tree(taxonomy, labels)
        model = (HSM if kind == "topdown" else PLT)(str(folder), tree_structure=tree, **options)
    _seed_c_library(solver.seed)
    model.fit(rows, gold)


def _seed_c_library(seed: int) -> None:
    """liblinear's dual solvers draw from the C library's rand(), which napkinXC's own seed does not reach."""
    try:
        ctypes.CDLL(None).srand(ctypes.c_uint(seed))
    except (OSError, TypeError, AttributeError):  # Windows names its C library
        ctypes.CDLL("ucrtbase").srand(ctypes.c_uint(seed))
