"""Models that hjc 0.1 wrote: they load, and say what they said. See tests/make_model_fixtures.py."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hjc

FOLDER = Path(__file__).parent / "fixtures" / "models_0_1"
MODELS = sorted(config.parent.name for config in FOLDER.glob("*/config.json"))
TEXTS = json.loads((FOLDER / "texts.json").read_text("utf-8"))
RECIPE = FOLDER / "linear_recipe"
#: float32: a log-probability of -20 has steps of 2e-6
CLOSE = {"rtol": 1e-6, "atol": 1e-6}
#: matrix products of an encoder sum in another order on another processor (2e-5 was seen, float32 everywhere)
CLOSE_ENCODER = {"rtol": 1e-4, "atol": 1e-4}
#: another processor, another order of sums
CLOSE_ON_GPU = {"rtol": 1e-3, "atol": 1e-3}


def tolerance(name: str) -> dict[str, float]:
    if name.startswith("linear"):
        return CLOSE
    import torch

    return CLOSE_ON_GPU if torch.cuda.is_available() else CLOSE_ENCODER


def log_proba(classifier: hjc.Classifier) -> np.ndarray:
    """Of the texts as they are: what a recipe does to them is tested below."""
    out = np.full((len(TEXTS), classifier.taxonomy.num_leaves), np.nan, dtype=np.float32)
    for rows, batch in classifier.iter_log_proba(TEXTS):
        assert batch.dtype == np.float32
        out[rows] = batch
    return out


def test_every_kind_is_there() -> None:
    found = {json.loads((FOLDER / name / "config.json").read_text("utf-8"))["classifier"] for name in MODELS}
    assert found == {"neural", "linear", "prototype", "biencoder", "joint", "retrieval", "hybrid"}
    assert {path.stem for path in (FOLDER / "expected").glob("*.npz")} == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_log_probabilities(name: str) -> None:
    classifier = hjc.load(FOLDER / name)
    with np.load(FOLDER / "expected" / f"{name}.npz", allow_pickle=False) as expected:
        np.testing.assert_allclose(log_proba(classifier), expected["log_proba"], **tolerance(name))
        assert ("calibrated" in expected) == (FOLDER / name / "calibration.json").exists()
        if "calibrated" in expected:
            np.testing.assert_allclose(log_proba(classifier.calibrated()), expected["calibrated"], **tolerance(name))


def test_predict_command_makes_texts_as_training_did(call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """Two columns, mark-up, a joiner and a length that only train.yaml tells."""
    pytest.importorskip("bs4", reason="the extra prepare is not installed")
    out = tmp_path / "out.csv"
    options = ["-q", "-l", 1, "-l", 3, "-k", 2, "--calibrated", "-o", out]
    code, _, err = call("predict", RECIPE, FOLDER / "recipe_rows.csv", *options)
    assert code == 0, err
    with (
        out.open(encoding="utf-8", newline="") as a,
        (FOLDER / "expected" / "linear_recipe_predict.csv").open(encoding="utf-8", newline="") as b,
    ):
        found, expected = list(csv.DictReader(a)), list(csv.DictReader(b))
    assert len(found) == len(expected) == 10
    for row, (got, want) in enumerate(zip(found, expected, strict=True)):
        for column, value in want.items():
            if "_proba_" in column and value:
                assert float(got[column]) == pytest.approx(float(value), rel=1e-5, abs=1e-6), (row, column)
            else:
                assert got[column] == value, (row, column)


def test_job_classifier_makes_texts_as_training_did() -> None:
    pytest.importorskip("bs4", reason="the extra prepare is not installed")
    lines = json.loads((FOLDER / "expected" / "linear_recipe_jobs.json").read_text("utf-8"))
    found = hjc.JobClassifier(RECIPE).predict_batch([line["job"] for line in lines], top_k=3)
    for got, line in zip(found, lines, strict=True):
        assert [x["code"] for x in got] == [x["code"] for x in line["found"]], line["job"]
        want = [x["probability"] for x in line["found"]]
        assert [x["probability"] for x in got] == pytest.approx(want, rel=1e-5, abs=1e-6), line["job"]
