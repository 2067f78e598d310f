"""What Lightning is told beside the loss: checkpoints written whole, limits, random state, a bar, and less talk."""

import logging
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.plugins.io import TorchCheckpointIO

from hjc.files import open_replacing
from hjc.nn.fitting import Limits, all_finite
from hjc.nn.settings import TrainerSettings

#: batches after which the weights are looked at
EVERY = 10


class DivergedError(ValueError):
    """Weights became NaN or infinite: no further step can mend that."""


class WholeFiles(TorchCheckpointIO):
    """A kill or a full disk while a checkpoint is written leaves the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open_replacing(path, sync=True) as stream:
            torch.save(checkpoint, stream)


class Watch(Callback):
    """Ends a fit at its limits, and one that diverges; writes ``path`` then, and every ``trainer.checkpoint_minutes``.

    Raises:
        DivergedError: before any checkpoint is written of such weights.
    """

    def __init__(self, path: Path, settings: TrainerSettings, limits: Limits) -> None:
        self.path, self.settings, self.limits = path, settings, limits
        self.saved, self.first_step = 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.saved = time.monotonic()
        self.first_step = trainer.global_step  # above 0 after a resume

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % EVERY == 0:  # NaN spreads to all weights at once: the short ones tell
            _check(p for p in pl_module.parameters() if p.ndim < 2)
        over = self.limits.reached()
        trainer.should_stop |= over
        if (batch_idx + 1) % self.settings.accumulate:
            return  # gradients that are gathered are in no checkpoint
        minutes = self.settings.checkpoint_minutes
        due = over or bool(minutes and time.monotonic() - self.saved > 60 * minutes)
        if trainer.world_size > 1:  # clocks differ, and all processes must write together
            due = trainer.strategy.broadcast(due)
        if due:
            _check(pl_module.parameters())
            trainer.save_checkpoint(self.path)
            self.saved = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _check(pl_module.parameters())

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _check(pl_module.parameters())


def _check(parameters: Iterable[torch.nn.Parameter]) -> None:
    if not all_finite(parameters):
        raise DivergedError("weights are NaN or infinite")


class RandomState(Callback):
    """Keeps torch's random state in checkpoints, so that a resumed run draws the dropout it would have drawn."""

    def state_dict(self) -> dict[str, Any]:
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict["torch"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (state := getattr(self, "state", None)) is not None:
            torch.set_rng_state(state.cpu())


class Progress(TQDMProgressBar):
    """Steps with rate and loss; in a log file (no terminal) about twenty lines an epoch instead of thousands."""

    def __init__(self, steps_per_epoch: int) -> None:
        super().__init__(refresh_rate=1 if sys.stderr.isatty() else max(1, steps_per_epoch // 20))

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        metrics = super().get_metrics(*args)
        metrics.pop("v_num", None)
        return metrics


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's notes on hardware, products and why it stopped; its warnings and errors stay."""
    loggers = [logging.getLogger(f"{name}.utilities.rank_zero") for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logging.WARNING, logger.level))
    try:
        with warnings.catch_warnings():
            # true and irrelevant here: batches are assembled from memory, workers would only copy them
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*Checkpoint directory.*exists and is not empty.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
