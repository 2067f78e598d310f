"""The LightningModules: what one step of training and one pass of validation do. Thin; the rest is plain functions."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch.distributed as dist
from torch import Tensor, nn

from hjc.metrics import RowScores, score_rows
from hjc.nn.fitting import adamw, validation_metrics
from hjc.nn.network import Network
from hjc.nn.settings import TrainerSettings
from hjc.taxonomy import Taxonomy


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

    def losses(self, batch: dict[str, Tensor]) -> Tensor:
        """(B,) losses of the rows of a batch, before weighting."""
        raise NotImplementedError

    def training_step(self, batch: dict[str, Tensor], _index: int) -> Tensor:
        weight = batch["weight"]
        total, world = weight.sum(), world_size()
        if world > 1:
            # DDP averages gradients over processes; dividing by the weight of all makes that the loss of one batch
            dist.all_reduce(total)
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


class TrainingModule(OptimisedModule):
    """Wraps a :class:`Network` for Lightning; the loss of a row is -log P(gold)."""

    def __init__(self, network: Network, taxonomy: Taxonomy, settings: TrainerSettings, total_steps: int) -> None:
        super().__init__(network, settings, total_steps)
        self.taxonomy = taxonomy

    def losses(self, batch: dict[str, Tensor]) -> Tensor:
        features = self.network.features(batch["input_ids"], batch["attention_mask"])
        return self.network.head.loss(features, batch["gold"], self.settings.label_smoothing)

    def validation_step(self, batch: dict[str, Tensor], _index: int) -> None:
        log_proba = self.network(batch["input_ids"], batch["attention_mask"]).float().cpu().numpy()
        keep = (batch["row"] >= 0).cpu().numpy()  # rows that only fill a process's share do not count
        if keep.any():
            gold = batch["gold"].cpu().numpy()[keep]
            self.validated.append((batch["row"].cpu().numpy()[keep], score_rows(self.taxonomy, log_proba[keep], gold)))

    def on_validation_epoch_end(self) -> None:
        parts = self.take_validated()
        # in the order of the rows: sums of floats are then the same for every number of processes
        order = np.concatenate([rows for rows, _ in parts]).argsort()
        metrics = validation_metrics(RowScores.concat([s for _, s in parts]).take(order), self.taxonomy)
        self.log("valid/log_loss", metrics.pop("valid/log_loss"), prog_bar=True, sync_dist=False)
        self.log_dict({k: v for k, v in metrics.items() if np.isfinite(v)}, sync_dist=False)
