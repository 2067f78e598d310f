"""The map in the report of embedding models, and none in that of others."""

from pathlib import Path

import numpy as np
import pytest

from hjc.classifiers.embedding.prototype import PrototypeClassifier
from hjc.classifiers.embedding.settings import PrototypeSettings
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.data.jobdata import JobData
from hjc.evaluation import evaluate_model
from hjc.report.page import render
from hjc.report.run import space_section
from hjc.taxonomy import from_prefix_codes

TITLES = {"11": "cook", "12": "baker", "21": "nurse", "22": "dentist"}
TREE = from_prefix_codes(list(TITLES), [1, 2], titles={"en": TITLES})


def rows() -> JobData:
    codes = list(TITLES) * 10
    return JobData.from_lists(TREE, [f"{TITLES[c]} {i}" for i, c in enumerate(codes)], codes)


def test_map_of_an_embedding_model(tmp_path: Path) -> None:
    settings = PrototypeSettings(
        encoder="tiny", tiny_hidden=32, tiny_layers=1, tiny_vocabulary=300, max_length=16, prototype="direct"
    )
    model = PrototypeClassifier(TREE, settings).fit(rows(), rows())
    vectors = model.category_vectors()
    assert vectors.shape == (4, 32) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    evaluation = evaluate_model(model, rows(), bootstrap=0, progress=False)
    section = space_section(model, evaluation, tmp_path)
    assert section is not None and "40 texts of test and all codes" in render("run", [section])
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_no_map_of_a_linear_model(tmp_path: Path) -> None:
    model = LinearClassifier(TREE, LinearSettings(min_df=1)).fit(rows())
    evaluation = evaluate_model(model, rows(), bootstrap=0, progress=False)
    assert space_section(model, evaluation, tmp_path) is None
    with pytest.raises(StopIteration):
        next(tmp_path.iterdir())
