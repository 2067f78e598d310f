"""JobClassifier over any classifier, `hjc relabel`, and a bi-encoder through the commands end to end."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hjc
from hjc import JobClassifier
from hjc.classifiers.embedding.base import EmbeddingClassifier
from hjc.classifiers.embedding.labels import LabelIndex
from hjc.classifiers.embedding.settings import EmbeddingSettings
from hjc.data import TextRecipe
from hjc.index import normalise
from hjc.taxonomy import Taxonomy, from_prefix_codes, write_taxonomy_csv
from tests import stub_classifier

pytestmark = pytest.mark.slow

TITLES = {"11": "nurse", "12": "doctor", "21": "driver"}


def tree(**more: str) -> Taxonomy:
    titles = TITLES | more
    return from_prefix_codes(sorted(titles), [1, 2], titles={"en": titles, "de": {"11": "Pfleger"}})


class Letters:
    """An encoder of letter counts, which counts its calls."""

    dim = 26

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, texts, description="encoding", *, progress=True):  # type: ignore[no-untyped-def]
        self.calls += 1
        return normalise(np.array([[t.lower().count(chr(97 + i)) for i in range(26)] for t in texts], np.float32))

    def save(self, folder: Path) -> None: ...


class LettersClassifier(EmbeddingClassifier):
    name = "letters"

    def fit(self, train, valid=None, *, run_dir=None):  # type: ignore[no-untyped-def]
        return self


def letters() -> LettersClassifier:
    model = LettersClassifier(tree(), EmbeddingSettings())
    model.encoder = Letters()
    vectors = model.encoder.encode(list(TITLES.values()))
    model.labels = LabelIndex(vectors, np.arange(3), tuple(TITLES.values()))
    model.encoder.calls = 0
    return model


def test_one_job() -> None:
    model = letters()
    jobs = JobClassifier(model)
    found = jobs.predict(job_title="Nurse", job_description="", top_k=2)
    assert [r["rank"] for r in found] == [1, 2]
    assert list(found[0]) == ["rank", "code", "title", "score", "probability"]
    assert found[0]["code"] == "11" and found[0]["title"] == "nurse" and found[0]["score"] == pytest.approx(1, abs=1e-6)
    assert model.encoder is not None and model.encoder.calls == 1  # type: ignore[attr-defined]
    table = model.predict(["Nurse"], top_k=2)
    assert [r["code"] for r in found] == table["code"].tolist()
    assert [r["probability"] for r in found] == pytest.approx(table["probability"].tolist())
    json.dumps(found)  # plain numbers


def test_many_jobs_with_title_description_or_both() -> None:
    jobs = JobClassifier(letters(), language="de")
    given = [{"title": "driver"}, {"description": "doctor"}, {"job_description": "or", "job_title": "doct"}]
    many = jobs.predict_batch(given, top_k=1)
    assert [found[0]["code"] for found in many] == ["21", "12", "12"]
    assert jobs.predict("nurse", top_k=9)[0]["title"] == "Pfleger" and len(jobs.predict("nurse", top_k=9)) == 3
    assert jobs.predict_batch([]) == []


def test_any_classifier_without_a_score(tmp_path: Path) -> None:
    model = stub_classifier.StubClassifier(tree())
    found = JobClassifier(model).predict("nurse", "on a ward")
    assert list(found[0]) == ["rank", "code", "title", "probability"]
    expected = model.predict(["nurse\non a ward"], top_k=5)
    assert [r["code"] for r in found] == expected["code"].tolist()


def test_texts_are_made_as_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hjc.classifiers.CLASSIFIERS, "stub", (stub_classifier.__name__, "StubClassifier"))
    model = stub_classifier.StubClassifier(tree())
    model.recipe = TextRecipe(joiner=" | ", max_chars=8)
    model.save_pretrained(tmp_path / "model")
    jobs = JobClassifier(tmp_path / "model")
    assert jobs._texts([{"title": " a ", "description": "b\x00"}, {"title": "123456789"}]) == ["a | b", "12345678"]


def test_bad_input(tmp_path: Path) -> None:
    jobs = JobClassifier(letters())
    with pytest.raises(ValueError, match="job 1: it has neither a title nor a description"):
        jobs.predict_batch([{"title": "x"}, {"title": "  "}])
    with pytest.raises(ValueError, match="no key 'name', allowed are title, job_title"):
        jobs.predict_batch([{"name": "x"}])
    with pytest.raises(TypeError, match="title is int"):
        jobs.predict_batch([{"title": 3}])  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="top_k: got 0"):
        jobs.predict("x", top_k=0)
    with pytest.raises(ValueError, match="language: got 'pl'"):
        JobClassifier(letters(), language="pl")
    with pytest.raises(ValueError, match="no calibration"):
        JobClassifier(letters(), calibrated=True)
    with pytest.raises(FileNotFoundError):
        JobClassifier(tmp_path / "nothing")
    with pytest.raises(hjc.NotFittedError):
        JobClassifier(LettersClassifier(tree(), EmbeddingSettings()))


# ------------------------------------------------------------------ through the commands

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bi-encoder trained for a few steps on the bundled sample."""
    from hjc.training.config import compose
    from hjc.training.workflow import run_training

    folder = tmp_path_factory.mktemp("run") / "model"
    config = compose(
        [
            "model=biencoder", "encoder=tiny", "model.tiny_hidden=32", "model.tiny_layers=1", "model.max_length=16",
            "model.label_languages=[en]", "data.languages=[en]", "data.max_train_rows=600", "trainer.max_steps=20",
            "trainer.learning_rate=1e-3", "trainer.precision='32'", "evaluation=quick", "evaluation.report=false",
            f"run_dir={folder}",
        ]
    )  # fmt: skip
    result = run_training(config)
    assert result.status == "finished" and result.log_loss is not None
    return folder


def test_train_predict_evaluate(run_dir: Path, tmp_path: Path, call: Call) -> None:
    ads = tmp_path / "ads.csv"
    ads.write_text("text,code\nSecondary school teacher,2330\nBus driver,8331\n", "utf-8")
    code, _, err = call("predict", run_dir, ads, "-o", tmp_path / "out.csv", "--text-column", "text", "--top-k", "2")
    assert code == 0, err
    with (tmp_path / "out.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 and len(rows[0]["hjc_level4_code_2"]) == 4
    jobs = JobClassifier(run_dir)
    found = jobs.predict("Bus driver", top_k=2)
    assert [r["code"] for r in found] == [rows[1]["hjc_level4_code_1"], rows[1]["hjc_level4_code_2"]]
    code, out, err = call("evaluate", run_dir, ads, "--text-column", "text", "--code-column", "code")
    assert code == 0, err
    assert "log-loss" in out
    code, out, _ = call("info", run_dir)
    assert code == 0 and "label_mode = title_desc" in out


def test_relabel(run_dir: Path, tmp_path: Path, call: Call) -> None:
    new = tmp_path / "tree.csv"
    new.write_text(
        "code,parent,title_en\n8,,Drivers\n8331,8,Bus and tram drivers\n8399,8,Drone pilots of parcels\n", "utf-8"
    )
    code, out, err = call("relabel", run_dir, new, "-o", tmp_path / "new")
    assert code == 0, err
    assert "2 leaves" in out and "1 of them with codes as before" in out and "new: '8399'" in out
    assert JobClassifier(tmp_path / "new").predict("Drone pilots of parcels")[0]["code"] == "8399"
    code, out, err = call("predict", tmp_path / "new", new, "-o", tmp_path / "o.csv", "--text-column", "title_en")
    assert code == 0, err
    code, _, err = call("relabel", run_dir, new, "-o", tmp_path / "new")
    assert code == 2 and "is no empty folder" in err


def test_relabel_of_another_kind_of_model(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hjc.classifiers.CLASSIFIERS, "stub", (stub_classifier.__name__, "StubClassifier"))
    stub_classifier.StubClassifier(tree()).save_pretrained(tmp_path / "model")
    write_taxonomy_csv(tree(), tmp_path / "tree.csv")
    code, _, err = call("relabel", tmp_path / "model", tmp_path / "tree.csv", "-o", tmp_path / "new")
    assert code == 2 and "must be trained on the new tree" in err
    assert not (tmp_path / "new").exists()
