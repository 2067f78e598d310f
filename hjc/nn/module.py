"""The LightningModule: what one step of training and one pass of validation do. Thin; the rest is plain functions."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn

from hjc.metrics import RowScores, level_metrics, score_rows
from hjc.nn.network import Network
from hjc.nn.settings import TrainerSettings
from hjc.taxonomy import Taxonomy


def parameter_groups(network: Any, settings: TrainerSettings) -> list[dict[str, Any]]:
    """AdamW groups: encoder and head with their own learning rates, no decay on biases and normalisation weights."""
    norms = {id(p) for m in network.modules() if "norm" in type(m).__name__.lower() for p in m.parameters()}
    encoder = {id(p) for p in network.encoder.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, p in network.named_parameters():
        if p.requires_grad:
            decays = id(p) not in norms and not name.endswith("bias")
            groups.setdefault((id(p) in encoder, decays), []).append(p)
    return [
        {
            "params": params,
            "lr": settings.learning_rate if in_encoder else settings.head_learning_rate,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (in_encoder, decays), params in groups.items()
    ]


def learning_rate_factor(step: int, total: int, warmup: int, schedule: str) -> float:
    """Share of the learning rate at a step: linear warm-up to 1, then linear or cosine to 0, or constant."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return 1.0 - progress if schedule == "linear" else 0.5 * (1.0 + float(np.cos(np.pi * progress)))


def validation_metrics(scores: RowScores, taxonomy: Taxonomy) -> dict[str, float]:
    """``valid/level_1/recall@1`` and so on, as the loggers get them, and ``valid/log_loss`` at the deepest level."""
    metrics: dict[str, float] = {}
    for level in range(1, taxonomy.depth + 1):
        for key, value in level_metrics(scores, taxonomy, level).items():
            metrics[f"valid/level_{level}/{key}"] = float(value)
    metrics["valid/log_loss"] = metrics[f"valid/level_{taxonomy.depth}/log_loss"]
    return metrics


class OptimisedModule(pl.LightningModule):
    """What every network of ours needs from Lightning: AdamW groups, schedule, clipping, dropout on.

    ``network.encoder`` is what trains at the encoder's learning rate. ``total_steps`` is the number of optimiser steps
    of the whole schedule.
    """

    def __init__(self, network: Any, settings: TrainerSettings, total_steps: int) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.total_steps = total_steps

    def on_fit_start(self) -> None:
        # Lightning keeps the mode a module has; from_pretrained leaves it in evaluation mode, without dropout.
        self.network.train()

    def configure_optimizers(self) -> Any:
        s = self.settings
        groups = parameter_groups(self.network, s)
        optimizer = torch.optim.AdamW(groups, betas=(s.beta1, s.beta2), eps=s.epsilon, fused=True)
        warmup = min(s.warmup_steps, max(0, self.total_steps // 2))
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, self.total_steps, warmup, s.schedule)
        )
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
    """Wraps a :class:`Network` for Lightning.

    The loss of a batch is sum(weight * -log P(gold)) / sum(weight) over all processes.
    """

    def __init__(self, network: Network, taxonomy: Taxonomy, settings: TrainerSettings, total_steps: int) -> None:
        super().__init__(network, settings, total_steps)
        self.taxonomy = taxonomy
        self.scores: list[tuple[Tensor, RowScores]] = []
        self.last_metrics: dict[str, float] = {}

    def training_step(self, batch: dict[str, Tensor], _index: int) -> Tensor:
        features = self.network.features(batch["input_ids"], batch["attention_mask"])
        losses = self.network.head.loss(features, batch["gold"], self.settings.label_smoothing)
        weight = batch["weight"]
        total = weight.sum()
        world = 1
        if dist.is_available() and dist.is_initialized():
            # DDP averages gradients over processes; dividing by the weight of all makes that the loss of one batch
            dist.all_reduce(total)
            world = dist.get_world_size()
        loss = (losses * weight).sum() / total.clamp(min=1e-12) * world
        self.log("train/loss", loss.detach() / world, prog_bar=True, reduce_fx="sum", sync_dist=True, on_step=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], _index: int) -> None:
        log_proba = self.network(batch["input_ids"], batch["attention_mask"]).float().cpu().numpy()
        real = batch["row"] >= 0  # rows that only fill a process's share do not count
        if bool(real.any()):
            keep = real.cpu().numpy()
            gold = batch["gold"].cpu().numpy()[keep]
            scores = score_rows(self.taxonomy, log_proba[keep], gold)
            self.scores.append((batch["row"].cpu()[real.cpu()], scores))

    def on_validation_epoch_end(self) -> None:
        gathered = [self.scores]
        if dist.is_available() and dist.is_initialized():
            everyone: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(everyone, self.scores)
            gathered = everyone
        self.scores = []
        parts = [part for scores in gathered for part in scores]
        # in the order of the rows: sums of floats are then the same for every number of processes
        order = torch.cat([rows for rows, _ in parts]).argsort().numpy()
        scores = RowScores.concat([s for _, s in parts]).take(order)
        metrics = validation_metrics(scores, self.taxonomy)
        self.last_metrics = metrics
        self.log("valid/log_loss", metrics["valid/log_loss"], prog_bar=True, rank_zero_only=False, sync_dist=False)
        self.log_dict({k: v for k, v in metrics.items() if k != "valid/log_loss" and np.isfinite(v)}, sync_dist=False)
