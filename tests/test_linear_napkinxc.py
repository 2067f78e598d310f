"""Our batched probabilities against napkinXC's own, on trees of every shape."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from hjc.classifiers.napkinxc_weights import (
    NapkinFileError,
    napkinxc_labels,
    napkinxc_tree,
    ovr_log_proba,
    plt_log_proba,
    read_weights,
)
from hjc.taxonomy import Taxonomy, from_edges
from tests.napkinxc_hsm import hsm_log_proba

models = pytest.importorskip("napkinxc.models", reason="napkinXC is not installed")


def random_tree(rng: np.random.Generator, nodes: int) -> Taxonomy:
    """Ragged, with single-child chains and pairs."""
    parents = [""] + [rng.choice(["", *(str(j) for j in range(max(0, i - 3), i))]) for i in range(1, nodes)]
    return from_edges([str(i) for i in range(nodes)], [str(p) for p in parents])


def own_probabilities(model: object, rows: sparse.csr_matrix, leaves: int) -> np.ndarray:
    out = np.zeros((rows.shape[0], leaves))
    for i, pairs in enumerate(model.predict_proba(rows, top_k=leaves)):  # type: ignore[attr-defined]
        for label, p in pairs:
            out[i, label] = max(out[i, label], p)  # OVR fills up with (0, 0.0) where it has no estimator
    return out


@pytest.mark.parametrize("kind", ["HSM", "PLT", "OVR"])
@pytest.mark.parametrize("loss", ["log", "l2"])
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), nodes=st.integers(2, 25), threshold=st.sampled_from([0.0, 0.1, 1.0]))
def test_equals_napkinxc(tmp_path: Path, kind: str, loss: str, seed: int, nodes: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    tree = random_tree(rng, nodes)
    features = int(rng.choice([5, 400]))
    rows = sparse.csr_matrix(rng.random((60, features)) * (rng.random((60, features)) < 0.1), dtype=np.float32)
    seen = rng.choice(tree.num_leaves, size=max(1, tree.num_leaves * 2 // 3), replace=False)  # some without data
    labels = [int(v) for v in rng.choice(seen, size=60)]
    options = {"norm": False, "loss": loss, "weights_threshold": threshold, "threads": 1, "seed": 1}
    if kind != "OVR":
        options["tree_structure"] = napkinxc_tree(tree, napkinxc_labels(tree))
    model = getattr(models, kind)(str(tmp_path), **options)
    model.fit(rows, labels)
    nodes_read = read_weights(tmp_path / "weights.bin", features)
    if kind == "HSM":
        log_proba = hsm_log_proba(nodes_read, rows, tree)
    else:
        function = {"PLT": plt_log_proba, "OVR": ovr_log_proba}[kind]
        log_proba = function(nodes_read, nodes_read.scores(rows).T, tree).T
    ours = np.exp(log_proba.astype(np.float64))
    np.testing.assert_allclose(ours, own_probabilities(model, rows, tree.num_leaves), atol=1e-5)


def trained(folder: Path) -> Path:
    tree = from_edges(["a", "b", "c"], ["", "", ""])
    rows = sparse.csr_matrix(np.eye(6, 3, dtype=np.float32))
    models.HSM(str(folder), tree_structure=napkinxc_tree(tree, napkinxc_labels(tree)), norm=False, threads=1).fit(
        rows, [0, 1, 2, 0, 1, 2]
    )
    return folder / "weights.bin"


def test_a_truncated_file_is_one_clear_error(tmp_path: Path) -> None:
    path = trained(tmp_path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(NapkinFileError):
            read_weights(path, 3)


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    for content in (b"hello world, this is text", struct.pack("<i", -1), struct.pack("<iiii", 1, 7, 0, 0)):
        path.write_bytes(content)
        with pytest.raises(NapkinFileError, match=r"weights\.bin"):
            read_weights(path, 3)
