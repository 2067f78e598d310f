"""Nearest neighbours: the blocked search against a plain sort, pooling against loops, back ends, files."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hjc.index import VectorIndex, backends, exact, vectors
from hjc.index.exact import exact_search, normalise
from hjc.index.pooling import pool_all, pool_neighbours


def random_vectors(n: int, h: int, seed: int = 0, duplicates: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, h)).astype(np.float32)
    if duplicates and n:
        x = x[rng.integers(0, max(1, n // 3), size=n)]
    return x


def cosines(index: VectorIndex, queries: np.ndarray) -> np.ndarray:
    """(B, n) of all pairs."""
    return normalise(np.asarray(queries, dtype=np.float32)) @ index.vectors.T


def by_sorting(x: np.ndarray, q: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """float64 cosines of rounded pairs, all of them sorted; equal vectors are made exactly equal by a look-up."""
    _, inverse = np.unique(x, axis=0, return_inverse=True)
    a = x / np.maximum(np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True), 1e-300)
    b = q / np.maximum(np.linalg.norm(q.astype(np.float64), axis=1, keepdims=True), 1e-300)
    cosine = b @ a.T
    first = np.unique(inverse.ravel(), return_index=True)[1]
    cosine = cosine[:, first[inverse.ravel()]]
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(cosine, order, axis=1)


@given(
    n=st.integers(1, 60), h=st.integers(1, 8), b=st.integers(1, 7), k=st.integers(1, 70), seed=st.integers(0, 9999),
    block=st.integers(1, 80), duplicates=st.booleans(),
)  # fmt: skip
def test_exact_search_is_a_sort(n: int, h: int, b: int, k: int, seed: int, block: int, duplicates: bool) -> None:
    x, q = random_vectors(n, h, seed, duplicates), random_vectors(b, h, seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "VECTOR_BLOCK", block)
        patch.setattr(exact, "QUERY_BLOCK", max(1, block // 3))
        found = VectorIndex(x, backend="exact").search(q, k)
    order, cosine = by_sorting(x, q, k)
    assert found.position.shape == found.similarity.shape == (b, min(k, n))
    np.testing.assert_allclose(found.similarity, cosine, atol=2e-6)
    # distinct vectors may lie closer to each other than float32 can tell
    if h > 1 and (np.diff(-cosine, axis=1) > 1e-5).all():
        np.testing.assert_array_equal(found.position, order)
    assert (np.diff(found.similarity, axis=1) <= 0).all()
    tied = np.diff(found.similarity, axis=1) == 0
    assert (np.diff(found.position, axis=1)[tied] > 0).all()
    assert all(len(set(row)) == len(row) for row in found.position.tolist())


def test_equal_vectors_tie_by_position_whatever_the_batch() -> None:
    x = np.repeat(random_vectors(5, 33), 40, axis=0)
    index = VectorIndex(np.concatenate([x, random_vectors(50_000, 33, 3) * 0.1]), backend="exact")
    q = random_vectors(9, 33, 7)
    whole = index.search(q, 50)
    for i in range(len(q)):
        single = index.search(q[i : i + 1], 50)
        np.testing.assert_array_equal(single.position[0], whole.position[i])
        np.testing.assert_array_equal(single.similarity[0], whole.similarity[i])
    own = index.search(x[[0, 199]], 40)
    np.testing.assert_array_equal(own.position, [np.arange(40), np.arange(160, 200)])
    assert np.allclose(own.similarity, 1)


def test_many_ties_stay_within_memory() -> None:
    """All vectors equal: candidates are cut, and the first ones win."""
    found = exact_search(normalise(np.ones((70_000, 2), np.float32)), normalise(np.ones((3, 2), np.float32)), 5)
    np.testing.assert_array_equal(found.position, np.tile(np.arange(5), (3, 1)))


def test_lengths_do_not_matter_and_zero_is_unlike_everything() -> None:
    x = np.array([[3e-30, 0], [0, 4e30], [0, 0]], np.float32)
    found = VectorIndex(x).search([[1e30, 1e30]], 3)
    np.testing.assert_allclose(found.similarity[0], [np.sqrt(0.5), np.sqrt(0.5), 0], atol=1e-6)
    assert found.position[0].tolist() == [0, 1, 2]


def test_empty_index_and_no_queries() -> None:
    assert VectorIndex(np.empty((0, 4))).search(np.ones((2, 4)), 3).position.shape == (2, 0)
    assert VectorIndex(np.ones((3, 4))).search(np.empty((0, 4)), 3).similarity.shape == (0, 3)
    assert (VectorIndex(np.empty((0, 4))).search_groups(np.ones((2, 4)), np.empty(0, int), 5) == -np.inf).all()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (lambda i: i.search(np.ones((1, 3)), 1), "3 dimensions, the index has 4"),
        (lambda i: i.search(np.ones(4), 1), r"shape \(4,\)"),
        (lambda i: i.search(np.full((1, 4), np.nan), 1), "NaN"),
        (lambda i: i.search(np.ones((1, 4)), 0), "k: got 0"),
        (lambda i: i.search_groups(np.ones((1, 4)), [0, 1], 2), "groups: got"),
        (lambda i: i.search_groups(np.ones((1, 4)), [0, 1, 2], 2), "allowed are 0 to 1"),
        (lambda i: i.search_groups(np.ones((1, 4)), [0, 1, 1], 2, pooling="mean"), "max, logsumexp"),
        (lambda i: i.search_groups(np.ones((1, 4)), [0, 1, 1], 2, temperature=0), "temperature: got 0"),
        (lambda i: VectorIndex(np.ones((1, 4)), backend="annoy"), "auto, exact, usearch, faiss"),
        (lambda i: i.save("unused", dtype="int8"), "float32, float16"),
    ],
)
def test_bad_input_is_named(argument, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        argument(VectorIndex(np.eye(3, 4)))


# ------------------------------------------------------------------ groups


def pooled_by_loop(similarity: np.ndarray, groups: np.ndarray, size: int, pooling: str, t: float) -> np.ndarray:
    out = np.full((len(similarity), size), -np.inf)
    for i, row in enumerate(similarity):
        for g in range(size):
            values = [float(s) for s, own in zip(row, groups, strict=True) if own == g and s > -np.inf]
            if values:
                total = sum(np.exp(np.float64(v) / t) for v in values)
                out[i, g] = max(values) if pooling == "max" else t * np.log(total)
    return out


@given(
    n=st.integers(1, 25), size=st.integers(1, 8), k=st.integers(1, 30), seed=st.integers(0, 9999),
    pooling=st.sampled_from(["max", "logsumexp"]), temperature=st.sampled_from([0.01, 0.05, 1.0]),
    block=st.sampled_from([1, 30, 8_000_000]),
)  # fmt: skip
def test_pooling_is_a_loop(
    n: int, size: int, k: int, seed: int, pooling: str, temperature: float, block: int
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    index, q = VectorIndex(random_vectors(n, 5, seed)), random_vectors(4, 5, seed + 1)
    groups = rng.integers(0, size, n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hjc.index.pooling._BLOCK", block)
        everything = index.search_groups(q, groups, size, pooling=pooling, temperature=temperature)
    full = cosines(index, q)
    expected = pooled_by_loop(full, groups, size, pooling, temperature)
    np.testing.assert_allclose(everything, expected, atol=1e-5)
    near = index.search_groups(q, groups, size, k=k, pooling=pooling, temperature=temperature)
    found = index.search(q, k)
    only = np.full(full.shape, -np.inf)
    np.put_along_axis(only, found.position, found.similarity, axis=1)
    np.testing.assert_allclose(near, pooled_by_loop(only, groups, size, pooling, temperature), atol=1e-5)
    if k >= n:
        np.testing.assert_allclose(near, everything, atol=1e-5)
    if pooling == "logsumexp":
        top = index.search_groups(q, groups, size)
        counts = np.maximum(np.bincount(groups, minlength=size), 1)
        assert (everything >= top - 1e-5).all()
        assert (everything <= top + temperature * np.log(counts) + 1e-5).all()


def test_a_group_of_one_is_its_similarity() -> None:
    index, q = VectorIndex(random_vectors(6, 3)), random_vectors(2, 3, 1)
    for pooling in ("max", "logsumexp"):
        scores = pool_all(index.vectors, normalise(q), np.arange(6)[::-1].copy(), 6, pooling, 0.05)
        np.testing.assert_allclose(scores[:, ::-1], cosines(index, q), atol=1e-6)
        near = pool_neighbours(index.search(q, 6), np.arange(6), 6, pooling, 0.05)
        np.testing.assert_allclose(near, cosines(index, q), atol=1e-6)


# ------------------------------------------------------------------ approximate back ends


@pytest.mark.parametrize("backend", ["usearch", "faiss"])
def test_approximate_back_ends_find_nearly_all(backend: str, tmp_path: Path) -> None:
    pytest.importorskip(backend)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(60, 16))
    x = (centres[rng.integers(0, 60, 4000)] + 0.3 * rng.normal(size=(4000, 16))).astype(np.float32)
    q = x[:200] + 0.1 * rng.normal(size=(200, 16)).astype(np.float32)
    index = VectorIndex(x, backend=backend)
    assert index.recall(q, 10) > 0.9
    found = index.search(q, 10)
    assert (np.diff(found.similarity, axis=1) <= 0).all()
    rows = np.arange(200)[:, None]
    np.testing.assert_allclose(found.similarity, cosines(index, q)[rows, found.position], atol=2e-6)
    assert index.search(q[:1], 10).position.shape == (1, 10)
    assert index.search(q[:2], 5000).position.shape == (2, 4000)  # more than there are: all of them
    assert (index.search(q[:2], 5000).position.min(), index.search(q[:2], 5000).position.max()) == (0, 3999)
    assert index.save(tmp_path) == ["index.json", "vectors.npy", "ann.bin"]
    again = VectorIndex.load(tmp_path)
    np.testing.assert_array_equal(again.search(q, 10).position, found.position)
    assert VectorIndex.load(tmp_path, backend="exact").backend == "exact"


@pytest.mark.parametrize("backend", ["usearch", "faiss"])
def test_damaged_approximate_indexes_are_named(backend: str, tmp_path: Path) -> None:
    pytest.importorskip(backend)
    x = random_vectors(300, 8)
    VectorIndex(x[:200], backend=backend).save(tmp_path / "other")
    VectorIndex(x, backend=backend).save(tmp_path)
    file = tmp_path / "ann.bin"
    data = file.read_bytes()
    for broken in (b"", data[: len(data) // 2], (tmp_path / "other" / "ann.bin").read_bytes()):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match=r"ann\.bin"):
            VectorIndex.load(tmp_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"ann\.bin is missing"):
        VectorIndex.load(tmp_path)
    assert len(VectorIndex.load(tmp_path, backend="exact").search(x, 1).position) == 300


def test_auto_takes_an_approximate_back_end_only_when_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "is_installed", lambda backend: True)
    assert vectors.resolve_backend("auto", vectors.APPROXIMATE_FROM - 1) == "exact"
    assert vectors.resolve_backend("auto", vectors.APPROXIMATE_FROM) == "usearch"
    monkeypatch.setattr(vectors, "is_installed", lambda backend: False)
    assert vectors.resolve_backend("auto", 10**9) == "exact"


def test_a_missing_back_end_is_named_and_exact_search_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = random_vectors(10, 3)
    VectorIndex(x).save(tmp_path)
    config = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(config | {"backend": "usearch"}))
    monkeypatch.setattr(backends, "is_installed", lambda backend: False)
    monkeypatch.setattr(vectors, "is_installed", lambda backend: False)
    with pytest.raises(ImportError, match=r"hjc\[ann\]"):
        VectorIndex(x, backend="usearch")
    with pytest.warns(UserWarning, match="searching exactly instead"):
        index = VectorIndex.load(tmp_path)
    np.testing.assert_array_equal(index.search(x, 3).position, VectorIndex(x).search(x, 3).position)


# ------------------------------------------------------------------ files


def test_files_give_the_same_index_to_the_bit(tmp_path: Path) -> None:
    x, q = random_vectors(300, 20), random_vectors(8, 20, 1)
    index = VectorIndex(x)
    assert index.save(tmp_path) == ["index.json", "vectors.npy"]
    again = VectorIndex.load(tmp_path)
    np.testing.assert_array_equal(again.vectors, index.vectors)
    for one, two in zip(again.search(q, 9), index.search(q, 9), strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError):
        again.vectors[0, 0] = 1


def test_half_precision_takes_half_the_room_and_little_else(tmp_path: Path) -> None:
    x, q = random_vectors(500, 64), random_vectors(50, 64, 1)
    VectorIndex(x).save(tmp_path / "full")
    VectorIndex(x).save(tmp_path / "half", dtype="float16")
    sizes = [(tmp_path / name / "vectors.npy").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.51 * sizes[0]
    full, half = VectorIndex.load(tmp_path / "full"), VectorIndex.load(tmp_path / "half")
    assert np.abs(cosines(full, q) - cosines(half, q)).max() < 1e-3
    np.testing.assert_allclose(np.linalg.norm(half.vectors, axis=1), 1, atol=1e-6)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"index\.json is missing"):
        VectorIndex.load(tmp_path / "nothing")
    VectorIndex(random_vectors(10, 3)).save(tmp_path)
    good = (tmp_path / "index.json").read_text()
    for text, message in (
        ("{", "damaged"),
        ('{"format_version": 1}', "damaged"),
        (good.replace('"format_version": 1', '"format_version": 2'), "upgrade hjc"),
        (good.replace('"vectors": 10', '"vectors": 11'), "says"),
        (good.replace("exact", "annoy"), "exact, usearch, faiss"),
    ):
        (tmp_path / "index.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            VectorIndex.load(tmp_path)
    (tmp_path / "index.json").write_text(good)
    data = (tmp_path / "vectors.npy").read_bytes()
    (tmp_path / "vectors.npy").write_bytes(data[:-20])
    with pytest.raises(ValueError, match=r"vectors\.npy: damaged"):
        VectorIndex.load(tmp_path)
    np.save(tmp_path / "vectors.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"vectors\.npy: damaged"):
        VectorIndex.load(tmp_path)
