"""What Lightning is told: the modules (one step of training, one pass of validation) and the callbacks.

The callbacks write checkpoints whole and in time, keep to the limits, and never save weights that are no numbers.
"""

import logging
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from hjc.arrays import IntArray
from hjc.data.codesets import Target
from hjc.files import open_replacing
from hjc.metrics import RowScores, score_rows
from hjc.nn.fitting import Limits, adamw, all_finite, validation_metrics
from hjc.nn.network import Network, inputs_of
from hjc.nn.settings import TrainerSettings
from hjc.progress import silent
from hjc.taxonomy import Taxonomy

#: batches after which the weights are looked at
EVERY = 10


def world_size() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def of_all_processes(values: list[Any]) -> list[Any]:
    """The values of all processes, in the order of the processes."""
    if world_size() == 1:
        return values
    everyone: list[Any] = [None] * world_size()
    dist.all_gather_object(everyone, values)
    return [value for own in everyone for value in own]


class OptimisedModule(pl.LightningModule):
    """What every network of ours needs from Lightning: AdamW groups, schedule, clipping, dropout on, a weighted loss.

    ``network.encoder`` is what trains at the encoder's learning rate. ``total_steps`` is the number of optimiser steps
    of the whole schedule. The loss of a batch is sum(weight * loss) / sum(weight) over all processes.
    """

    def __init__(self, network: Any, settings: TrainerSettings, total_steps: int) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.total_steps = total_steps
        self.validated: list[Any] = []
        #: what the loss of a batch is divided by where batches differ in rows: a row counts the same in all of them
        self.mean_weight: float | None = None

    def losses(self, batch: dict[str, Tensor]) -> Tensor:
        """(B,) losses of the rows of a batch, before weighting."""
        raise NotImplementedError

    def training_step(self, batch: dict[str, Tensor], _index: int) -> Tensor:
        weight = batch["weight"]
        total, world = weight.sum(), world_size()
        if world > 1:
            # DDP averages gradients over processes; dividing by the weight of all makes that the loss of one batch
            dist.all_reduce(total)
        if self.mean_weight is not None:
            total = total.new_tensor(self.mean_weight)
        loss = (self.losses(batch) * weight).sum() / total.clamp(min=1e-12) * world
        self.log("train/loss", loss.detach() / world, prog_bar=True, reduce_fx="sum", sync_dist=True, on_step=True)
        return loss

    def take_validated(self) -> list[Any]:
        """What all processes have put into ``validated``, which is then empty."""
        found, self.validated = of_all_processes(self.validated), []
        return found

    def on_fit_start(self) -> None:
        # Lightning keeps the mode a module has; from_pretrained leaves it in evaluation mode, without dropout.
        self.network.train()

    def configure_optimizers(self) -> Any:
        optimizer, scheduler = adamw(self.network, self.network.encoder, self.settings, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        """Clip to a norm ourselves: Lightning refuses to under mixed precision with a fused optimiser.

        With 16-mixed the gradients are still scaled here, and so is the bound.
        """
        if bound := self.settings.gradient_clip:
            scaler = getattr(self.trainer.precision_plugin, "scaler", None)
            scale = float(scaler.get_scale()) if scaler is not None else 1.0
            nn.utils.clip_grad_norm_(self.parameters(), bound * scale)


def metrics_of(parts: Sequence[tuple[IntArray, RowScores]], taxonomy: Taxonomy) -> dict[str, float]:
    """:func:`validation_metrics` of batches of rows and their scores, in any order."""
    # in the order of the rows: sums of floats are then the same for every number of processes
    order = np.concatenate([rows for rows, _ in parts]).argsort()
    return validation_metrics(RowScores.concat([scores for _, scores in parts]).take(order), taxonomy)


def symmetric_divergence(a: Tensor, b: Tensor) -> Tensor:
    """(B, L) log-probabilities twice -> (B,) mean of both Kullback-Leibler divergences (R-Drop; Liang et al. 2021)."""
    return 0.5 * ((a.exp() - b.exp()) * (a - b)).sum(-1)


class TrainingModule(OptimisedModule):
    """Wraps a :class:`Network` for Lightning; the loss of a row is -log P(gold).

    ``valid``: codes of the validation rows.
    """

    def __init__(
        self,
        network: Network,
        taxonomy: Taxonomy,
        settings: TrainerSettings,
        total_steps: int,
        valid: Target | None = None,
    ) -> None:
        super().__init__(network, settings, total_steps)
        self.taxonomy, self.valid = taxonomy, valid

    def losses(self, batch: dict[str, Tensor]) -> Tensor:
        head, smoothing = self.network.head, self.settings.label_smoothing
        features = self.network.features(**inputs_of(batch))
        found = head.losses(features, batch, smoothing)
        if weight := self.settings.r_drop:
            again = self.network.features(**inputs_of(batch))
            apart = symmetric_divergence(head(features), head(again))
            found = 0.5 * (found + head.losses(again, batch, smoothing)) + weight * apart
        return found

    def validation_step(self, batch: dict[str, Tensor], _index: int) -> None:
        log_proba = self.network(**inputs_of(batch)).float().cpu().numpy()
        assert self.valid is not None
        keep = (batch["row"] >= 0).cpu().numpy()  # rows that only fill a process's share do not count
        if keep.any():
            row = batch["row"].cpu().numpy()[keep]
            self.validated.append((row, score_rows(self.taxonomy, log_proba[keep], self.valid[row])))

    def validation_metrics(self) -> dict[str, float]:
        """Of the rows that were validated since the last call, of all processes; see :func:`validation_metrics`."""
        return metrics_of(self.take_validated(), self.taxonomy)

    def on_validation_epoch_end(self) -> None:
        metrics = self.validation_metrics()
        self.log("valid/log_loss", metrics.pop("valid/log_loss"), prog_bar=True, sync_dist=False)
        self.log_dict({k: v for k, v in metrics.items() if np.isfinite(v)}, sync_dist=False)


# ------------------------------------------------------------------ callbacks


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
        rate = 1 if sys.stderr.isatty() else max(1, steps_per_epoch // 20)
        super().__init__(refresh_rate=0 if silent() else rate)

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        metrics = super().get_metrics(*args)
        metrics.pop("v_num", None)
        return metrics


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's notes on hardware, products, checkpoints and why it stopped; its warnings and errors stay."""
    loggers = [
        logging.getLogger(name)
        for name in (
            "pytorch_lightning.utilities.rank_zero",
            "pytorch_lightning.trainer.connectors.checkpoint_connector",
            "lightning_fabric.utilities.rank_zero",
        )
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logging.WARNING, logger.level))
    try:
        with warnings.catch_warnings():
            # true and irrelevant here: batches are assembled from memory, workers would only copy them
            for known in ("does not have many workers", "Checkpoint directory.*exists and is not empty", "LeafSpec"):
                warnings.filterwarnings("ignore", message=f".*{known}.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
