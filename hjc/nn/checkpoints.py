"""Checkpoints of a fit with Lightning: written whole, by time as well, and never of weights that are no numbers."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
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


class InTime(Callback):
    """Writes ``path`` every ``trainer.checkpoint_minutes`` and where the fit stops early; ends a fit that diverges.

    Raises:
        DivergedError: before any checkpoint is written of such weights.
    """

    def __init__(self, path: Path, settings: TrainerSettings, limits: Limits) -> None:
        self.path, self.settings, self.limits = path, settings, limits
        self.saved = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % EVERY == 0:  # NaN spreads to all weights at once: the short ones tell
            _check(p for p in pl_module.parameters() if p.ndim < 2)
        if (batch_idx + 1) % self.settings.accumulate:
            return  # gradients that are gathered are in no checkpoint
        minutes = self.settings.checkpoint_minutes
        due = self.limits.reached() or bool(minutes and time.monotonic() - self.saved > 60 * minutes)
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
