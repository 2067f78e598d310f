"""The whole run: files in, evaluated model directory out; continuing, refusing, interrupting, sweeping."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

import hjc
from hjc.classifiers import CLASSIFIERS, build, classifier_class
from hjc.training import workflow
from hjc.training.config import Config, ConfigError, compose
from hjc.training.record import differences, user_errors
from hjc.training.workflow import RunResult, run_training

ROOT = Path(hjc.__file__).resolve().parent.parent
WORDS = {
    "11": "nurse ward",
    "12": "doctor clinic",
    "21": "lorry driver",
    "22": "tram driver rails",
    "23": "pilot plane",
}
TINY = [
    "model=tiny", "model.tiny_hidden=32", "model.tiny_layers=1", "model.tiny_vocabulary=300", "trainer.max_steps=3",
    "trainer.threads=1", "trainer.precision='32'", "trainer.batch_size=16", "evaluation=quick",
]  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of two levels and ads for it, as a user would have them."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(1)
    with (folder / "tree.csv").open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["code", "parent", "title_en"])
        writer.writerows([("1", "", "health"), ("2", "", "transport"), *((c, c[0], w) for c, w in WORDS.items())])
    with (folder / "ads.csv").open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["text", "code", "lang"])
        for i in range(120):
            code = list(WORDS)[int(rng.integers(5))]
            writer.writerow([f"{WORDS[code]} wanted number {i}", code, "en" if i % 3 else "de"])
        writer.writerow(["no such code", "99", "en"])
    return folder


@pytest.fixture
def configure(files: Path, tmp_path: Path) -> Callable[..., Config]:
    def make(*overrides: str) -> Config:
        data = [f"data.files=[{files / 'ads.csv'}]", "data=csv", "data.language_column=lang", "taxonomy=csv"]
        return compose([*TINY, *data, f"taxonomy.path={files / 'tree.csv'}", f"run_dir={tmp_path / 'run'}", *overrides])

    return make


def quiet(config: Config) -> tuple[RunResult, str]:
    console = Console(record=True, width=200, file=open("/dev/null", "w"))  # noqa: SIM115
    result = run_training(config, console)
    return result, console.export_text()


@pytest.mark.slow
def test_a_run_leaves_a_described_model(configure: Callable[..., Config]) -> None:
    config = configure()
    result, text = quiet(config)
    run = result.directory
    assert result.status == "finished"
    for name in (
        "config.json",
        "taxonomy.csv",
        "train.yaml",
        "metrics.json",
        "metrics.csv",
        "rejects.csv",
        "README.md",
    ):
        assert (run / name).exists(), name
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    assert result.log_loss == pytest.approx(metrics["valid/level_2/log_loss"])
    assert "test/level_1/recall@1" in metrics
    assert "99" in (run / "rejects.csv").read_text("utf-8")
    record = yaml.safe_load((run / "train.yaml").read_text("utf-8"))
    assert record["status"] == "finished" and record["rejected_rows"] == 1
    assert record["seed"] == config.seed and record["config"]["model"]["encoder"] == "tiny"
    assert record["versions"]["hjc"] and record["versions"]["torch"]
    assert set(record["data"]) == {"train", "valid", "test"} and len(record["data"]["train"]["hash"]) == 64
    assert record["timing"]["fit_seconds"] > 0 and record["peak_memory_mb"]["process"] > 50
    assert record["training"]["steps"] == 3
    shown = text[text.index("run finished") :].splitlines()
    assert len(shown) <= 5 and shown[-1].startswith("Next: hjc predict")
    assert re.match(r"Of 100 new texts like the \d+ test texts, \d+ get the right", shown[1])
    assert "have training rows" in text and "Codes seen in training" not in text

    # the model in the directory is the one that was scored
    model = hjc.load(run)
    assert model.predict(["tram driver rails"], level=1)["code"][0] in ("1", "2")

    # the same command again shows the results without training; how it was trained stays on record
    weights = (run / "model.safetensors").read_bytes()
    again, text = quiet(configure("evaluation.slices=[language]"))
    assert "this run is finished" in text and "training neural" not in text
    assert again.log_loss == pytest.approx(result.log_loss)
    assert (run / "model.safetensors").read_bytes() == weights
    later = yaml.safe_load((run / "train.yaml").read_text("utf-8"))
    assert later["started"] == record["started"] and later["training"] == record["training"]

    # other settings do not land in it by accident, but may be asked to
    with pytest.raises(ConfigError, match=r"model\.hierarchy: bottomup -> topdown"):
        quiet(configure("hierarchy=topdown"))
    forced, text = quiet(configure("hierarchy=topdown", "trainer.resume=false"))
    assert "training neural" in text and forced.status == "finished"


def test_depth_cuts_tree_and_codes(configure: Callable[..., Config]) -> None:
    result, _ = quiet(configure("taxonomy.depth=1"))
    assert hjc.load(result.directory).taxonomy.codes == ("1", "2")


class Interrupted:
    """A classifier whose training the user stops."""

    name = "neural"
    is_fitted = False

    def fit(self, *_: Any, **__: Any) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_before_there_is_a_model(configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "build", lambda *_: Interrupted())
    config = configure()
    with pytest.raises(KeyboardInterrupt):
        quiet(config)
    assert yaml.safe_load((Path(config.run_dir) / "train.yaml").read_text("utf-8"))["status"] == "interrupted"


@pytest.mark.slow
def test_ctrl_c_saves_what_was_learnt(configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    """The second Ctrl-C, or one outside the training loop, on a classifier that already has weights."""
    real = build

    def stopped(*arguments: Any) -> Any:
        classifier: Any = real(*arguments)
        fit = classifier.fit

        def fit_then_stop(*a: Any, **k: Any) -> None:
            fit(*a, **k)
            raise KeyboardInterrupt

        classifier.fit = fit_then_stop
        return classifier

    monkeypatch.setattr(workflow, "build", stopped)
    config = configure()
    with pytest.raises(KeyboardInterrupt):
        quiet(config)
    assert yaml.safe_load((Path(config.run_dir) / "train.yaml").read_text("utf-8"))["status"] == "interrupted"
    assert hjc.load(config.run_dir).is_fitted
    monkeypatch.setattr(workflow, "build", real)
    result, _ = quiet(config)
    assert result.status == "finished"


def test_mistakes_in_data_are_user_errors(configure: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.csv"):
        quiet(configure("data.files=[nowhere.csv]"))
    with pytest.raises(ConfigError, match="description"):
        quiet(configure("data.text_columns=[description]"))
    with pytest.raises(ConfigError, match=r"tree2\.csv"):
        quiet(configure("taxonomy.path=tree2.csv"))


def test_only_deliberate_errors_lose_their_stack_trace() -> None:
    with pytest.raises(ConfigError, match="allowed are"), user_errors():
        classifier_class("quantum")
    with pytest.raises(ValueError, match="invalid literal") as caught, user_errors():
        int("x")
    assert not isinstance(caught.value, ConfigError)
    with pytest.raises(ValueError, match="broadcast") as caught, user_errors():
        np.zeros(2) + np.zeros(3)
    assert not isinstance(caught.value, ConfigError)


def test_registry_names_are_the_classes_own() -> None:
    for name in CLASSIFIERS:
        if (ROOT / Path(*CLASSIFIERS[name][0].split("."))).with_suffix(".py").exists():
            assert classifier_class(name).name == name


def test_differences_name_the_setting() -> None:
    old = {"model": {"hierarchy": "topdown", "dropout": 0.1}, "hash": "a" * 64}
    new = {"model": {"hierarchy": "pathsum", "dropout": 0.1}, "hash": "b" * 64}
    assert differences(old, new) == [f"hash: {'a' * 12} -> {'b' * 12}", "model.hierarchy: topdown -> pathsum"]
    assert differences(old, old) == []


@pytest.mark.slow
def test_sweep_of_train_py(files: Path, tmp_path: Path) -> None:
    """Jobs of one process: separate directories, one line each in results.csv; one that fails does not stop others."""
    command = [
        sys.executable, str(ROOT / "train.py"), "-m", *TINY, "data=csv", f"data.files=[{files / 'ads.csv'}]",
        "taxonomy=csv", f"taxonomy.path={files / 'tree.csv'}", "hierarchy=topdown,plt,bottomup",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr[-3000:]
    assert "error: model.hierarchy: got 'plt'" in done.stderr and "Traceback" not in done.stderr
    sweep = next((tmp_path / "outputs" / "multirun").iterdir())
    with (sweep / "results.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert [(row["job"], bool(row["error"])) for row in rows] == [("0", False), ("1", True), ("2", False)]
    for row, hierarchy in ((rows[0], "topdown"), (rows[2], "bottomup")):
        run = tmp_path / row["run_dir"]
        assert json.loads((run / "config.json").read_text("utf-8"))["parameters"]["hierarchy"] == hierarchy
        assert float(row["valid_log_loss"]) == json.loads((run / "metrics.json").read_text())["valid/level_2/log_loss"]
