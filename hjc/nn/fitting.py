"""What every fit shares, whichever library runs its loop: schedule, AdamW, limits, resume, precision, the result.

Nothing here needs Lightning.
"""

import json
import shutil
import signal
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from hjc.files import read_json
from hjc.metrics import RowScores, level_metrics
from hjc.nn.devices import computes_in_bfloat16
from hjc.nn.groups import parameter_groups
from hjc.nn.settings import Run, TrainerSettings
from hjc.progress import is_first_process
from hjc.taxonomy import Taxonomy


@dataclass(frozen=True)
class FitResult:
    """What happened: ``status`` is finished | early_stopped | time_limit | interrupted | diverged.

    ``best_epoch`` counts passes over the rows until the kept state where that is known: 0 is the start. ``averaged``
    says which mean of weights was kept (``trainer.average``), "" where none was better. ``plan``: what ``trainer.auto``
    has laid out (:class:`hjc.nn.planning.Plan`).
    """

    status: str
    steps: int
    epochs: float
    seconds: float
    rows_per_second: float
    best_valid_log_loss: float | None
    precision: str = "32-true"
    resumed: bool = False
    best_epoch: float | None = None
    averaged: str = ""
    plan: dict[str, Any] | None = None


class Limits:
    """Stops a fit in good order: after ``max_minutes``, or at the first Ctrl-C (the second one is immediate).

    ``with`` starts the clock, and Ctrl-C is ours until its end.
    """

    def __init__(self, max_minutes: float) -> None:
        self.max_minutes = max_minutes
        self.interrupted = self.timed_out = self.diverged = False
        self.started = 0.0
        self.previous: Any = None

    def __enter__(self) -> Self:
        self.started = time.monotonic()
        try:
            self.previous = signal.signal(signal.SIGINT, self._interrupt)
        except ValueError:  # not the main thread: Ctrl-C then belongs to the caller
            self.previous = None
        return self

    def __exit__(self, *_: object) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGINT, self.previous)

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        print(
            "\nCtrl-C: stopping after this step and keeping the best weights so far (again: stop at once)", flush=True
        )

    def reached(self) -> bool:
        """Whether it is time to stop, by the clock or by Ctrl-C."""
        if self.max_minutes and time.monotonic() - self.started > 60 * self.max_minutes:
            self.timed_out = True
        return self.timed_out or self.interrupted

    def result(self, rows: float, *, early_stopped: bool, **values: Any) -> FitResult:
        """The result of a fit that used ``rows`` rows since the clock was started."""
        seconds = time.monotonic() - self.started
        if self.diverged:
            status = "diverged"
        elif self.interrupted or self.timed_out:
            status = "interrupted" if self.interrupted else "time_limit"
        else:
            status = "early_stopped" if early_stopped else "finished"
        return FitResult(status=status, seconds=seconds, rows_per_second=rows / max(seconds, 1e-9), **values)


def all_finite(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether no weight is NaN or infinite."""
    return all(bool(torch.isfinite(p).all()) for p in parameters)


# ------------------------------------------------------------------ seed, steps and optimiser


def seed_everything(seed: int) -> None:
    """Seed torch and NumPy's global generator (libraries draw from it); Python's random is not used."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)


def total_steps(batches: int, settings: TrainerSettings) -> int:
    """Optimiser steps of the whole schedule, of ``batches`` batches an epoch."""
    steps = -(-batches // settings.accumulate) * settings.epochs
    return min(steps, settings.max_steps) if settings.max_steps else steps


def learning_rate_factor(step: int, total: int, warmup: int, schedule: str) -> float:
    """Share of the learning rate at a step: linear warm-up to 1, then linear or cosine to 0, or constant."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return 1.0 - progress if schedule == "linear" else 0.5 * (1.0 + float(np.cos(np.pi * progress)))


def adamw(
    module: nn.Module, encoder: nn.Module | None, settings: TrainerSettings, steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """The optimiser of ``module``, of which ``encoder`` is a part, and its schedule over ``steps`` steps."""
    groups = parameter_groups(module, encoder, settings)
    optimizer = torch.optim.AdamW(groups, betas=(settings.beta1, settings.beta2), eps=settings.epsilon, fused=True)
    warmup = min(settings.warmup_steps, max(0, steps // 2))
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, steps, warmup, settings.schedule)
    )


# ------------------------------------------------------------------ precision, validation, resume


def resolve_precision(precision: str) -> str:
    """Lightning's name for a precision; ``auto`` asks the machine."""
    if precision == "auto":
        precision = "bf16-mixed" if computes_in_bfloat16() else "32"
    return {"32": "32-true"}.get(precision, precision)


def validation_metrics(scores: RowScores, taxonomy: Taxonomy) -> dict[str, float]:
    """``valid/level_1/recall@1`` and so on, as the loggers get them, and ``valid/log_loss`` at the deepest level."""
    metrics: dict[str, float] = {}
    for level in range(1, taxonomy.depth + 1):
        for key, value in level_metrics(scores, taxonomy, level).items():
            metrics[f"valid/level_{level}/{key}"] = float(value)
    metrics["valid/log_loss"] = metrics[f"valid/level_{taxonomy.depth}/log_loss"]
    return metrics


def resumes(checkpoints: Path, found: bool, run: Run) -> bool:
    """Whether to go on from the checkpoints of the same run that were ``found``; if not, the folder is made empty.

    Raises:
        ValueError: they are of other settings or other data.
    """
    file = checkpoints / "run.json"
    if found and run.settings.resume:
        known = read_json(file).get("fingerprint") if file.exists() else None
        if known != run.fingerprint:
            raise ValueError(
                f"{checkpoints} holds checkpoints of a run with other settings or other data. Give this run another "
                "directory, or delete that folder, or set trainer.resume=false to start over in it."
            )
        return True
    if is_first_process():
        shutil.rmtree(checkpoints, ignore_errors=True)
        checkpoints.mkdir(parents=True)
        content = {"fingerprint": run.fingerprint, "trainer": asdict(run.settings)}
        file.write_text(json.dumps(content, indent=1), "utf-8")
    return False
