"""A run that is stopped behind its training goes on with its evaluation; two runs, a full disk, another start."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import hjc
from hjc.classifiers.linear import LinearClassifier
from hjc.files import locked
from hjc.training import workflow
from hjc.training.config import Config, ConfigError, compose
from hjc.training.record import Record
from hjc.training.workflow import LOCK
from tests.test_workflow import files, quiet  # noqa: F401 a fixture


@pytest.fixture
def configure(files: Path, tmp_path: Path) -> Callable[..., Config]:  # noqa: F811
    def make(*overrides: str) -> Config:
        data = [f"data.files=[{files / 'ads.csv'}]", "data=csv", "taxonomy=csv", f"taxonomy.path={files / 'tree.csv'}"]
        return compose(["model=linear", "evaluation=quick", *data, f"run_dir={tmp_path / 'run'}", *overrides])

    return make


def record(config: Config) -> dict[str, Any]:
    return yaml.safe_load((Path(config.run_dir) / "train.yaml").read_text("utf-8"))


class Killed(BaseException):
    """What no handler catches."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "status"),
    [("calibrate_model", "trained"), ("evaluate_model", "trained"), ("save_evaluations", "evaluated")],
)
def test_a_kill_behind_the_training_costs_no_training(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str, status: str
) -> None:
    unbroken, _ = quiet(configure(f"run_dir={tmp_path / 'unbroken'}"))
    config = configure()
    (Path(config.run_dir) / "checkpoints").mkdir(parents=True)

    def kill(*_: Any, **__: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(workflow, step, kill)
        quiet(config)
    found = record(config)
    assert found["status"] == status and found["outcome"] == "finished" and found["timing"]["fit_seconds"] >= 0
    assert not (Path(config.run_dir) / "checkpoints").exists()
    with monkeypatch.context() as patch:
        patch.setattr(LinearClassifier, "fit", kill)
        result, text = quiet(configure())
    assert "going on with its evaluation" in text and result.status == "finished"
    assert result.log_loss == unbroken.log_loss
    assert result.evaluations["test"].metrics == pytest.approx(unbroken.evaluations["test"].metrics, rel=0, nan_ok=True)
    again = record(config)
    assert again["status"] == "finished" and "outcome" not in again and again["ended"]
    assert again["started"] == found["started"] and again["calibration"]["kind"]
    card = (Path(config.run_dir) / "README.md").read_text("utf-8")
    assert "\nfinished 20" in card


def test_what_is_said_of_a_calibration() -> None:
    def of(rows: int, **made: Any) -> str:
        return Record({"calibration": {"kind": "identity"} | made}, {}, 0.0, {"cross_fitted": rows}).of_calibration()

    assert of(48, cross_fitted=48) == of(0, cross_fitted=0) == of(48) == "identity"
    assert "models said that had not seen 48 more was lost when the run was interrupted" in of(48, cross_fitted=0)
    assert "validated on titles alone, which are easier than ads" in of(0, cross_fitted=0, of_other_kind=True)
    assert of(0, kind=None) == "none, as there are no validation rows"


def test_ctrl_c_in_the_evaluation_says_what_is_kept(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    config = configure()
    monkeypatch.setattr(workflow, "evaluate_model", stop)
    with pytest.raises(KeyboardInterrupt):
        workflow.run_training(config)
    assert "the same command goes on with its evaluation" in " ".join(capsys.readouterr().out.split())
    assert record(config)["status"] == "trained" and hjc.load(config.run_dir).is_fitted


def test_the_second_training_into_a_directory_is_refused(configure: Callable[..., Config]) -> None:
    config = configure()
    Path(config.run_dir).mkdir()
    with locked(Path(config.run_dir) / LOCK, ""), pytest.raises(ConfigError, match="another process is training there"):
        quiet(config)
    assert not list(Path(config.run_dir).iterdir())
    assert quiet(config)[0].status == "finished"
    assert not (Path(config.run_dir) / LOCK).exists()


@pytest.mark.slow
def test_a_linear_model_is_trained_again_where_it_is_asked_for(configure: Callable[..., Config]) -> None:
    quiet(configure())
    with pytest.raises(ConfigError, match=r"model\.C: .* trainer\.resume=false"):
        quiet(configure("model.C=2"))
    result, text = quiet(configure("model.C=2", "trainer.resume=false"))
    assert result.status == "finished" and "training linear" in text
    assert quiet(configure("model.C=2"))[1].count("this run is finished") == 1


@pytest.mark.slow
@pytest.mark.parametrize("where", ["fit", "save_pretrained"])
def test_a_full_disk_is_one_message(
    configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("a library's own words") from error

    config = configure()
    quiet(config)
    before = hjc.load(config.run_dir).predict_log_proba(["tram driver"])
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match=r"no space left .*run.* same command again"):
        patch.setattr(LinearClassifier, where, full)
        quiet(configure("model.C=2", "trainer.resume=false"))
    assert (hjc.load(config.run_dir).predict_log_proba(["tram driver"]) == before).all()


@pytest.mark.slow
def test_an_earlier_start_is_told_of(configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    config = configure()
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(LinearClassifier, "fit", lambda *_, **__: 1 / 0)
        quiet(config)
    assert record(config)["status"] == "failed"
    assert "left no checkpoint: training from the beginning" in quiet(configure())[1]
