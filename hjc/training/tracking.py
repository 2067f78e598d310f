"""What a finished run tells a server of experiments: settings, data, results."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hjc.evaluation import Evaluation
from hjc.nn.tracking import MLflowRun

#: of the run directory, small and without texts of the data
_FILES = ("README.md", "metrics.csv", "train.yaml")


def tell_mlflow(directory: Path, record: Mapping[str, Any], evaluations: Mapping[str, Evaluation]) -> None:
    """Settings, tags, figures of every set (all rows, not slices) and the card in the run of this directory.

    Args:
        record: the content of train.yaml.
    """
    run = MLflowRun(directory)
    tree = record["taxonomy"]
    tags = {"hjc.status": record["status"], "hjc.command": record["command"], "hjc.version": record["versions"]["hjc"]}
    tags |= {"hjc.taxonomy": tree["name"], "hjc.taxonomy_hash": tree["hash"]}
    tags |= {f"hjc.data.{name}": f"{d['rows']} rows, {d['hash']}" for name, d in record["data"].items()}
    run.describe(dict(_flat(record["config"])), tags)
    for name, found in evaluations.items():
        whole = {key: value for key, value in found.metrics.items() if key.startswith(("level_", "overall/"))}
        # a name of its own: the curves have valid/level_4/log_loss already, in single precision and of the last step
        run.log(0, {f"evaluation/{name}/{key}": value for key, value in whole.items()})
    for file in _FILES:
        run.add_file(directory / file)
    run.end()


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``model.encoder`` and so on."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
