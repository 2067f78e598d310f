"""Learning curves: Lightning's loggers, for every fit of ours."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from hjc.nn.settings import Callback
from hjc.nn.tracking import MLflowRun
from hjc.progress import is_first_process


def _build(name: str, directory: Path) -> Logger:
    if name == "csv":
        old, number = directory / "metrics.csv", 1
        if old.exists() and is_first_process():  # Lightning would delete it
            while (kept := directory / f"metrics_{number}.csv").exists():
                number += 1
            old.rename(kept)
        return CSVLogger(str(directory), name="", version="", flush_logs_every_n_steps=20)
    if name == "tensorboard":
        return TensorBoardLogger(str(directory), name="tensorboard", version="")
    import wandb

    # without an account (WANDB_API_KEY or `wandb login`) wandb would stop and ask for one
    mode = os.environ.get("WANDB_MODE", "")
    offline = mode == "offline" or (not mode and not wandb.api.api_key)
    return WandbLogger(
        project="hjc", name=directory.parent.name, save_dir=str(directory), offline=offline, log_model=False
    )


class CallbackLogger(Logger):
    """A function that is told the figures of every step that is logged."""

    name = version = ""

    def __init__(self, callback: Callback) -> None:
        super().__init__()
        self.callback = callback

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        figures = {key: float(value) for key, value in metrics.items() if key != "epoch"}
        if figures:
            self.callback(int(step or 0), figures)

    def log_hyperparams(self, *_: Any, **__: Any) -> None: ...


@contextmanager
def open_loggers(names: Sequence[str], directory: Path, callback: Callback | None = None) -> Iterator[list[Logger]]:
    """Loggers writing below ``directory``; at the end what they hold is written, also after an error.

    The CSV of an earlier start of the run is kept as metrics_1.csv and so on. Raises ImportError with the extra to
    install.
    """
    loggers: list[Logger] = [] if callback is None else [CallbackLogger(callback)]
    run: MLflowRun | None = None
    for name in names:
        try:
            if name != "mlflow":
                loggers.append(_build(name, directory))
            elif is_first_process():  # the other processes would open runs of their own
                run = MLflowRun(directory.parent)
                loggers.append(CallbackLogger(run.log))
        except ModuleNotFoundError as error:
            raise ImportError(f'the {name} logger needs: pip install "hjc[{name}]"') from error
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*Previous log files in this directory will be deleted.*")
            yield loggers
    except BaseException as error:
        if run is not None:
            run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    finally:
        for logger in loggers:
            logger.save()
            logger.finalize("success")
        if "wandb" in names:  # runs of one process would merge
            import wandb

            wandb.finish()


def log(loggers: Sequence[Any], values: Mapping[str, float], step: int) -> None:
    """The finite ones of some figures."""
    if finite := {key: value for key, value in values.items() if np.isfinite(value)}:
        for logger in loggers:
            logger.log_metrics(finite, step)
