"""Fitting a small torch module on vectors that were computed once, by a frozen encoder: minibatches of AdamW.

The loop is short because nothing here takes long: no checkpoints to resume from, no processes. What it keeps from
:mod:`hjc.nn.training`: schedule, limits, Ctrl-C, loggers, and the best state by validation log-loss.
"""

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hjc.arrays import Float32
from hjc.data.codesets import CodeSets, Target, first_of
from hjc.metrics import RowScores, score_rows
from hjc.nn.fitting import FitResult, Limits, adamw, total_steps, validation_metrics
from hjc.nn.heads import VectorModule, target_tensors
from hjc.nn.loggers import log, open_loggers
from hjc.nn.settings import OF_HEADS, Callback, TrainerSettings
from hjc.progress import rows_progress
from hjc.taxonomy import Taxonomy

logger = logging.getLogger(__name__)

VALID_ROWS = 1024


@dataclass(frozen=True)
class VectorRows:
    """Labelled vectors: (n, H) float32, gold nodes (n,) or sets of them, weights (n,)."""

    vectors: Float32
    gold: Target
    weight: Float32

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors, main codes, weights."""
        return tuple(torch.as_tensor(x, device=device) for x in (self.vectors, first_of(self.gold), self.weight))  # type: ignore[return-value]


def fit_on_vectors(
    module: VectorModule,
    taxonomy: Taxonomy,
    train: VectorRows,
    valid: VectorRows | None,
    settings: TrainerSettings,
    run_dir: Path | None = None,
    callback: Callback | None = None,
) -> FitResult:
    """Fit in place; afterwards the module holds the best state by validation log-loss at the deepest level.

    The state before the first step is validated too, so that fitting never ends worse than it began (by that measure).
    Without validation rows the last state is kept. The first Ctrl-C, and ``max_minutes``, end it in good order. The
    loss of a batch is sum(weight * loss) / sum(weight). Of the trainer settings, those of encoders, of precision, of
    processes, of averages and of noise in texts have no effect; ``batch_size * accumulate`` rows are one step.

    Args:
        run_dir: ``run_dir/logs`` receives what the loggers write; None: nothing is logged.
        callback: is told what is logged.

    Raises:
        ValueError: no rows, or none of positive weight.
    """
    n = len(train.gold)
    if not n or not (train.weight > 0).any():
        raise ValueError(f"train: got {n} rows, none of positive weight; there is nothing to learn from")
    for name, off in (("ema_decay", 0), *OF_HEADS):
        if getattr(settings, name) != off:
            logger.warning("trainer.%s has no effect where the encoder is frozen", name)
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() and settings.accelerator != "cpu" else "cpu")
    module.to(device)
    vectors, gold, weight = train.tensors(device)
    size = settings.batch_size * settings.accumulate
    per_epoch = -(-n // size)
    total = total_steps(-(-n // settings.batch_size), settings)
    every = max(1, per_epoch // settings.validate_per_epoch)
    optimizer, schedule = adamw(module, None, settings, total)
    best = _Best(module, taxonomy, valid)
    step, stop = 0, False
    with ExitStack() as stack:
        limits = stack.enter_context(Limits(settings.max_minutes))
        names = () if run_dir is None else settings.loggers
        loggers = stack.enter_context(open_loggers(names, (run_dir or Path()) / "logs", callback))
        bar = stack.enter_context(rows_progress("fitting vectors", total * size))
        log(loggers, best.look(0.0), 0)
        while step < total and not stop:
            epoch = step // per_epoch
            order = torch.as_tensor(np.random.default_rng([settings.seed, epoch]).permutation(n), device=device)
            module.train()
            for rows in order.split(size)[: total - step]:
                optimizer.zero_grad()
                target = {"gold": gold[rows]}
                if isinstance(train.gold, CodeSets):
                    found = target_tensors(train.gold, rows.cpu().numpy(), taxonomy)
                    target = {name: value.to(device) for name, value in found.items()}
                losses = module.losses(vectors[rows], target, settings.label_smoothing)
                loss = (losses * weight[rows]).sum() / weight[rows].sum().clamp(min=1e-12)
                loss.backward()
                if settings.gradient_clip:
                    nn.utils.clip_grad_norm_(module.parameters(), settings.gradient_clip)
                optimizer.step()
                schedule.step()
                step += 1
                bar.advance(len(rows))
                if step % 10 == 0:
                    log(loggers, {"train/loss": float(loss.detach())}, step)
                stop = limits.reached()
                if step % every == 0 or step == total or stop:
                    log(loggers, best.look(step / per_epoch), step)
                    module.train()
                    stop = stop or 0 < settings.patience <= best.worse
                if stop:
                    break
    if best.state:
        module.load_state_dict(best.state)
    module.eval()
    return limits.result(
        step * size,
        early_stopped=step < total,
        steps=step,
        epochs=round(step / per_epoch, 3),
        best_valid_log_loss=best.log_loss,
        best_epoch=best.epoch,
    )


class _Best:
    """Validates, and remembers the best state."""

    def __init__(self, module: VectorModule, taxonomy: Taxonomy, valid: VectorRows | None) -> None:
        self.module, self.taxonomy, self.valid = module, taxonomy, valid
        self.log_loss: float | None = None
        self.epoch: float | None = None
        self.state: dict[str, Tensor] = {}
        self.worse = 0

    @torch.no_grad()
    def look(self, epoch: float) -> dict[str, float]:
        """Validate now; the figures for the loggers."""
        if self.valid is None:
            return {}
        self.module.eval()
        device, parts = next(self.module.parameters()).device, []
        for start in range(0, len(self.valid.gold), VALID_ROWS):
            rows = np.arange(start, min(start + VALID_ROWS, len(self.valid.gold)))
            log_proba = self.module(torch.as_tensor(self.valid.vectors[rows], device=device)).float().cpu().numpy()
            parts.append(score_rows(self.taxonomy, log_proba, self.valid.gold[rows]))
        metrics = validation_metrics(RowScores.concat(parts), self.taxonomy)
        value = metrics["valid/log_loss"]
        if self.log_loss is None or value < self.log_loss:
            self.log_loss, self.epoch, self.worse = value, round(epoch, 3), 0
            self.state = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        else:
            self.worse += 1
        return metrics
