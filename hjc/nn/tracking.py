"""A run in MLflow: one for each run directory, wherever MLFLOW_TRACKING_URI points (MLflow's own default else)."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hjc.files import read_json, write_json

#: in ``logs/`` of the run directory: which run of which server is its own
FILE = "mlflow.json"
#: MLflow takes so many values in one call
_BATCH = 100


class MLflowRun:
    """Curves, settings and results of one run directory; a training that goes on, goes on in its run.

    The experiment is MLFLOW_EXPERIMENT_NAME or ``hjc``. Names of metrics have ``_at_`` for ``@``, which MLflow does not
    allow: ``valid/level_4/recall_at_1``.

    Raises:
        ModuleNotFoundError: the extra ``mlflow`` is missing. mlflow.exceptions.MlflowException: the server refuses.
    """

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        import mlflow

        self.client, directory = mlflow.MlflowClient(), Path(run_dir)
        place, file = mlflow.get_tracking_uri(), directory / "logs" / FILE
        known = read_json(file) if file.exists() else {}
        if known.get("tracking_uri") == place:
            self.run_id = str(known["run_id"])
            self.client.set_terminated(self.run_id, "RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "hjc")
        found = self.client.get_experiment_by_name(name)
        experiment = self.client.create_experiment(name) if found is None else found.experiment_id
        tags = {"mlflow.source.name": "hjc", "hjc.run_dir": str(directory.resolve())}
        self.run_id = str(self.client.create_run(experiment, run_name=directory.name, tags=tags).info.run_id)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"tracking_uri": place, "experiment": name, "run_id": self.run_id})

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """The finite ones of some figures."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        values = [Metric(metric_name(k), float(v), now, step) for k, v in figures.items() if np.isfinite(v)]
        for i in range(0, len(values), _BATCH):
            self.client.log_batch(self.run_id, metrics=values[i : i + _BATCH])

    def describe(self, settings: Mapping[str, object], tags: Mapping[str, object]) -> None:
        """Settings as parameters, once: MLflow lets none be changed. Tags may be."""
        from mlflow.entities import Param, RunTag

        self.client.log_batch(self.run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])
        if not self.client.get_run(self.run_id).data.params:
            params = [Param(key, str(value)[:6000]) for key, value in settings.items()]
            for i in range(0, len(params), _BATCH):
                self.client.log_batch(self.run_id, params=params[i : i + _BATCH])

    def add_file(self, path: Path) -> None:
        """A file of the run directory as an artifact."""
        self.client.log_artifact(self.run_id, str(path))

    def end(self, status: str = "FINISHED") -> None:
        """FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.run_id, status)


def metric_name(key: str) -> str:
    """A metric's key as MLflow allows it."""
    return key.replace("@", "_at_").replace("=", ":")
