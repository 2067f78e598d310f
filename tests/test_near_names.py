"""Names near a title in an encoder's space: the formula in plain words, where it is used, and damaged files."""

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hjc.classifiers.near_names import TEMPERATURE, NearNames
from hjc.classifiers.part_pieces import PartPieces
from hjc.classifiers.read_rows import ReadRows
from hjc.classifiers.vectors import ENCODER, TF_IDF
from hjc.data.jobdata import JobData
from hjc.rerank.ads import Ad
from hjc.taxonomy import from_edges

TREE = from_edges(["1", "2", "11", "12", "21"], ["", "", "1", "1", "2"])
COARSE = from_edges(["1", "2"], ["", ""])
PLACES = {"cook": [1.0, 0.2, 0.0], "chef": [0.9, 0.4, 0.1], "nurse": [0.0, 1.0, 0.3], "Cook's mate": [0.8, 0.1, 0.5]}


class Encoder:
    """Stands in for a model with an encoder: fixed places of words, and how many were asked for."""

    name, recipe, taxonomy, vector_space = "encoder", SimpleNamespace(columns=("title",)), COARSE, ENCODER

    def __init__(self) -> None:
        self.asked: list[str] = []

    def text_vectors(self, texts: Sequence[str]) -> SimpleNamespace:
        self.asked += texts
        return SimpleNamespace(rows=np.array([PLACES[text] for text in texts], dtype=np.float32))

    def leaf_log_proba(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return np.log(np.full((len(texts), 2), 0.5, dtype=np.float32))


def rows(pairs: list[tuple[str, str]]) -> ReadRows:
    return ReadRows.of(JobData.from_lists(TREE, [a for a, _ in pairs], [b for _, b in pairs]))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x)


def test_it_is_a_sum_over_the_names_of_each_leaf() -> None:
    titles, leaf = ["cook", "cook", "chef", "nurse"], np.array([0, 0, 0, 2])
    made = NearNames.of(titles, leaf, lambda texts: np.array([PLACES[t] for t in texts]), 100, 0)
    found = made.log_proba(np.array([PLACES["Cook's mate"]]), 3)
    assert np.exp(found).sum() == pytest.approx(1)
    vectors = {t: unit(np.array(PLACES[t])) for t in titles}
    mean = np.mean(list(vectors.values()), axis=0)
    own = unit(unit(np.array(PLACES["Cook's mate"])) - mean)
    near = {t: np.exp((unit(v - mean) @ own - 1) / TEMPERATURE) for t, v in vectors.items()}
    score = np.array([2 * near["cook"] + near["chef"], near["nurse"], near["nurse"]])  # 12 has no name: the least
    np.testing.assert_allclose(np.exp(found[0])[[0, 2, 1]], score / score.sum(), rtol=2e-3)


def test_only_encoders_of_titles_have_names_and_each_title_is_encoded_once() -> None:
    encoder, other = Encoder(), Encoder()
    other.vector_space = TF_IDF
    ads = Encoder()
    ads.recipe = SimpleNamespace(columns=("title", "body"))
    made = PartPieces(TREE, [other, encoder, ads])  # type: ignore[list-item]
    assert len(made) == 3 and made.of_title == [0, 1]
    train = rows(
        [("cook", "11"), ("COOK\nFries and boils.", "11"), ("nurse", "21"), ("chef", "1"), ("-\nBoils.", "12")]
    )
    made.place(train, 100, 0)
    assert list(made.near) == [1] and len(made) == 4 and made.of_title == [0, 1, 3]
    assert made.names == ["part 0 (encoder)", "part 1 (encoder)", "part 2 (encoder)", "names near by part 1"]
    assert made.powers(0.2).tolist() == [0.2, 0.2, 0.2, 1.0]
    assert sorted(encoder.asked) == ["cook", "nurse"]  # an inner code and a row without a title have none
    assert np.exp(made.near[1].weight).round().tolist() == [2, 1]
    assert made.piece(3, [Ad("CHEF", "x")]).argmax() == 0
    asked = len(encoder.asked)
    assert made.piece(3, [Ad("chef", ""), Ad("cook", "")]).shape == (2, 3) and len(encoder.asked) == asked
    for _ in range(2):
        assert made.piece(1, [Ad("chef", ""), Ad("cook", ""), Ad("chef", "")]).shape == (3, 3)
    assert len(encoder.asked) == (asked := asked + 2)
    made.place(train.take(np.array([0, 2])), 100, 0)
    assert len(encoder.asked) == asked and np.exp(made.near[1].weight).round().tolist() == [1, 1]
    made.place(train, 1, 0)
    assert len(made.near[1].leaf) == 1
    made.forget()
    made.piece(1, [Ad("chef", "")])
    assert len(encoder.asked) == asked + 1
    made.place(train, 0, 0)
    assert not made.near


def test_files_come_back_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    made = PartPieces(TREE, [Encoder()])  # type: ignore[list-item]
    made.place(rows([("cook", "11"), ("nurse", "21")]), 100, 0)
    made.write(tmp_path)
    again = PartPieces(TREE, [Encoder()])  # type: ignore[list-item]
    again.read(tmp_path / "near_names.safetensors", [0])
    ad = [Ad("chef", "")]
    np.testing.assert_allclose(again.piece(1, ad), made.piece(1, ad), atol=0.02)  # vectors are kept in half precision
    with pytest.raises(ValueError, match="but there are 1"):
        again.read(tmp_path / "near_names.safetensors", [1])
    good = made.near[0].arrays()
    for name, value, message in (
        ("leaf", np.array([0, 9]), "not of this tree"),
        ("leaf", np.array([2, 0]), "out of order"),
        ("leaf", np.array([2, 0], np.uint8), "out of order"),
        ("weight", np.zeros(3), "do not fit"),
        ("weight", np.full(2, 1e30, np.float32), "weights not from 0"),
        ("weight", np.full(2, -200, np.float32), "weights not from 0"),
        ("vectors", np.full((2, 3), 6e4, np.float16), "vectors longer than 1"),
        ("mean", np.full(3, 1e300), "vectors longer than 1"),
        ("mean", np.array([np.nan, 0, 0]), "no number"),
    ):
        with pytest.raises(ValueError, match=message):
            NearNames.read({**good, name: value}, 3)
    with pytest.raises(ValueError, match="mean are missing"):
        NearNames.read({k: v for k, v in good.items() if k != "mean"}, 3)
    with pytest.raises(ValueError, match="no training row"):
        NearNames.of([], np.array([], dtype=np.int64), lambda _: np.zeros((0, 3)), 10, 0)


def test_one_long_title_does_not_take_as_much_for_all() -> None:
    titles = ["x" * 100_000, *(f"cook {i}" for i in range(500))]
    tracemalloc.start()
    made = NearNames.of(titles, np.zeros(501, np.int64), lambda some: np.array([[len(t), 1.0] for t in some]), 600, 0)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(made.leaf) == 501 and most < 10_000_000
