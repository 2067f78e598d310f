"""Linear estimators on a tree, fitted by napkinXC (liblinear) and written to its files."""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hjc.arrays import IntArray
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.napkinxc_weights import napkinxc_tree
from hjc.taxonomy import Taxonomy

if TYPE_CHECKING:
    from scipy import sparse


def fit_napkinxc(
    folder: Path,
    kind: str,
    taxonomy: Taxonomy,
    labels: IntArray,
    rows: "sparse.csr_matrix",
    gold: Sequence[int] | Sequence[Sequence[int]],
    settings: LinearSettings,
) -> None:
    """Fit estimators and leave napkinXC's files in an empty folder.

    Args:
        kind: topdown (softmax among siblings, HSM) | bottomup (an estimator a leaf, OVR) | plt (a label tree).
        labels: (N,) of the nodes, see :func:`hjc.classifiers.napkinxc_weights.napkinxc_labels`.
        rows: (n, F) float32. gold: n labels; but for topdown lists of them, all of which are right.
        settings: those of the solver are read.

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
        "loss": settings.loss,
        "liblinear_solver": settings.solver_used,
        "liblinear_c": float(settings.C),
        "liblinear_eps": float(settings.eps),
        "liblinear_max_iter": settings.max_iter,
        "weights_threshold": float(settings.threshold),
        "seed": settings.seed,
        "threads": settings.threads,
    }
    if kind == "bottomup":
        model = OVR(str(folder), **options)
    else:
        tree = napkinxc_tree(taxonomy, labels)
        model = (HSM if kind == "topdown" else PLT)(str(folder), tree_structure=tree, **options)
    _seed_c_library(settings.seed)
    model.fit(rows, gold)


def _seed_c_library(seed: int) -> None:
    """liblinear's dual solvers draw from the C library's rand(), which napkinXC's own seed does not reach."""
    try:
        ctypes.CDLL(None).srand(ctypes.c_uint(seed))
    except (OSError, TypeError, AttributeError):  # Windows names its C library
        ctypes.CDLL("ucrtbase").srand(ctypes.c_uint(seed))
