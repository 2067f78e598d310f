"""MLflow with a store on this machine: curves, results, and models in its format (``make test-more`` installs it)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import hjc
from hjc.errors import ModelDirError

mlflow: Any = pytest.importorskip("mlflow", reason='mlflow is not installed: pip install "hjc[mlflow]"')
MODELS = Path(__file__).parent / "fixtures" / "models_0_1"
pytestmark = [pytest.mark.more, pytest.mark.slow]


@pytest.fixture(params=["sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = f"file:{tmp_path}/mlruns" if request.param == "file" else f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(place)
    yield tmp_path
    mlflow.set_tracking_uri(None)


def ads() -> pd.DataFrame:
    words = {"2221": "nurse", "2211": "doctor", "8332": "lorry driver", "5223": "shop assistant"}
    rows = [(f"{word} {n} {'night' if n % 2 else 'day'}", code) for code, word in words.items() for n in range(30)]
    return pd.DataFrame(rows, columns=["title", "code"])


@pytest.mark.parametrize("store", ["file", "sqlite"], indirect=True)
def test_a_run_has_its_settings_curves_and_results(store: Path) -> None:
    more: dict[str, Any] = {
        "text": "title",
        "model": "tiny",
        "logger": "mlflow",
        "quiet": True,
        "max_steps": 20,
        "bootstrap": 0,
        "report": False,
    }
    run = hjc.train(ads(), run_dir="outputs/first", **more)
    client = mlflow.MlflowClient()
    known = json.loads((run.directory / "logs" / "mlflow.json").read_text())
    found = client.get_run(known["run_id"])
    assert (found.info.status, found.info.run_name) == ("FINISHED", "first")
    assert client.get_experiment(found.info.experiment_id).name == "hjc"
    assert found.data.params["trainer.max_steps"] == "20" and found.data.params["model.name"] == "neural"
    assert found.data.tags["hjc.taxonomy_hash"] == run.model.taxonomy.hash
    metrics = run.evaluations["test"].metrics
    assert found.data.metrics["evaluation/test/level_4/recall_at_1"] == pytest.approx(metrics["level_4/recall@1"])
    assert found.data.metrics["evaluation/valid/level_4/log_loss"] == pytest.approx(run.log_loss)
    assert client.get_metric_history(known["run_id"], "train/loss")
    assert {f.path for f in client.list_artifacts(known["run_id"])} == {"README.md", "metrics.csv", "train.yaml"}
    hjc.train(ads(), run_dir="outputs/first", **more)  # evaluated again: in the same run
    assert json.loads((run.directory / "logs" / "mlflow.json").read_text()) == known
    assert len(client.search_runs([found.info.experiment_id])) == 1


def test_a_linear_model_tells_its_results(store: Path) -> None:
    run = hjc.train(ads(), text="title", model="linear", logger="mlflow", run_dir="outputs/linear", quiet=True)
    known = json.loads((run.directory / "logs" / "mlflow.json").read_text())
    found = mlflow.MlflowClient().get_run(known["run_id"]).data
    assert found.metrics["evaluation/test/level_1/log_loss"] == pytest.approx(
        run.evaluations["test"].metrics["level_1/log_loss"]
    )
    assert found.params["model.hierarchy"] == "topdown"


def test_a_training_that_fails_ends_its_run(store: Path) -> None:
    def stop(*_: object) -> None:
        raise RuntimeError("the callback had enough")

    more: dict[str, Any] = {"text": "title", "model": "tiny", "logger": "mlflow", "quiet": True, "max_steps": 9}
    with pytest.raises(RuntimeError, match="had enough"):
        hjc.train(ads(), run_dir="run", callback=stop, **more)
    known = json.loads(Path("run/logs/mlflow.json").read_text())
    assert mlflow.MlflowClient().get_run(known["run_id"]).info.status == "FAILED"


@pytest.mark.parametrize("name", ["linear_topdown", "neural_topdown", "linear_recipe"])
def test_a_model_there_and_back(tmp_path: Path, name: str) -> None:
    import hjc.mlflow

    model = hjc.load(MODELS / name)
    hjc.mlflow.save_model(MODELS / name, tmp_path / "saved")
    files = [p for p in (tmp_path / "saved").rglob("*") if p.is_file()]
    assert not [p for p in files if p.suffix in (".pkl", ".pickle", ".cloudpickle", ".py", ".pt")]
    assert "loader_module: hjc.mlflow.flavour" in (tmp_path / "saved" / "MLmodel").read_text()
    texts = ["registered nurse", "software developer", ""]
    columns = model.recipe.columns or ("text",)
    rows = pd.DataFrame({column: texts for column in columns}, index=[7, 8, 9])
    found = mlflow.pyfunc.load_model(str(tmp_path / "saved")).predict(rows, params={"level": 2, "top_k": 3})
    expected = model.predict(rows if model.recipe.columns else texts, level=2, top_k=3)
    for rank in (1, 2, 3):
        of_rank = expected[expected["rank"] == rank]
        assert found[f"code_{rank}"].tolist() == of_rank["code"].tolist()
        np.testing.assert_allclose(found[f"probability_{rank}"], of_rank["probability"], rtol=1e-6)
    back = hjc.mlflow.load_model(str(tmp_path / "saved"))
    np.testing.assert_array_equal(back.predict_proba(texts), model.predict_proba(texts))


def test_through_the_store_and_the_registry(store: Path) -> None:
    import hjc.mlflow

    model = hjc.load(MODELS / "linear_topdown")
    with mlflow.start_run():
        info = hjc.mlflow.log_model(model, registered_model_name="isco-ads")
    for uri in (info.model_uri, "models:/isco-ads/1"):
        found = hjc.mlflow.load_model(uri)
        np.testing.assert_array_equal(found.predict_proba(["nurse"]), model.predict_proba(["nurse"]))
    codes = list(model.taxonomy.leaf_codes[:2]) * 5
    hjc.mlflow.save_model(hjc.LinearClassifier(model.taxonomy).fit(["a nurse", "a driver"] * 5, codes=codes), "again")
    loaded = mlflow.pyfunc.load_model("again")
    assert list(loaded.predict(pd.DataFrame({"text": ["nurse"]})).columns) == ["code_1", "title_1", "probability_1"]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    import hjc.mlflow
    from hjc.mlflow.flavour import PyFunc

    with pytest.raises(FileNotFoundError, match="no model directory"):
        hjc.mlflow.save_model(tmp_path / "none", tmp_path / "out")
    predictor = PyFunc(hjc.load(MODELS / "linear_topdown"))
    with pytest.raises(ValueError, match=r"'depth', allowed are level, top_k, calibrated"):
        predictor.predict(["nurse"], {"depth": 1})
    with pytest.raises(ValueError, match=r"no column 'text'; columns are 'job'"):
        predictor.predict(pd.DataFrame({"job": ["nurse"]}))
    other = {"loader_module": "json", "data_path": str(MODELS / "data"), "pip_requirements": []}
    mlflow.pyfunc.save_model(path=str(tmp_path / "other"), **other)
    with pytest.raises(ModelDirError, match="no model of hjc: its loader_module is 'json'"):
        hjc.mlflow.load_model(str(tmp_path / "other"))
