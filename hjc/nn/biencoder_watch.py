"""What watches over the training of a bi-encoder: validation, best weights, limits, complete checkpoints, logs."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback

from hjc.files import write_text
from hjc.nn.encoder import save_weights
from hjc.nn.fitting import Limits, all_finite, resumes
from hjc.nn.loggers import log
from hjc.nn.settings import TrainerSettings
from hjc.progress import RowsBar

STATE, BEST = "hjc_state.json", "best.safetensors"


@dataclass
class Progress:
    """What a resume must know beside weights and optimiser."""

    best: float | None = None
    best_step: int = 0
    #: validations since the best one
    waited: int = 0
    #: steps, epoch and log-loss of every validation
    validations: list[dict[str, float]] = field(default_factory=list)


class Watch(TrainerCallback):
    """Validates with our scorer, keeps the best weights, stops in good order, writes complete checkpoints and logs."""

    def __init__(
        self,
        model: nn.Module,
        folder: Path,
        settings: TrainerSettings,
        per_epoch: int,
        score: Callable[[], float] | None,
        limits: Limits,
        loggers: list[Any],
        bar: RowsBar,
        rows_per_step: float,
        progress: Progress,
    ) -> None:
        self.model, self.folder, self.settings, self.per_epoch, self.score = model, folder, settings, per_epoch, score
        times = max(1, settings.validate_per_epoch)
        #: steps within an epoch after which to validate, evenly apart, the last step always
        self.when = {-(-per_epoch * (i + 1) // times) for i in range(times)}
        self.loggers, self.bar, self.rows_per_step, self.progress = loggers, bar, rows_per_step, progress
        self.limits = limits
        self.early_stopped = False
        self.saved = time.monotonic()

    def validate(self, step: int) -> None:
        """Score the weights as they are; keep them where they are the best so far."""
        if self.score is None:
            return
        if not all_finite(self.model.parameters()):
            self.limits.diverged = True
            return
        p, value = self.progress, self.score()
        p.validations.append({"step": step, "epoch": step / self.per_epoch, "log_loss": value})
        if p.best is None or value < p.best:
            p.best, p.best_step, p.waited = value, step, 0
            save_weights(self.model, self.folder / BEST)
        else:
            p.waited += 1
            self.early_stopped = bool(self.settings.patience) and p.waited >= self.settings.patience
        log(self.loggers, {"valid/log_loss": value}, step)
        self.bar.tell(f"valid log-loss {value:.3f} (best {p.best:.3f} at step {p.best_step})")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        step, last = state.global_step, state.global_step >= state.max_steps
        self.bar.advance(round(step * self.rows_per_step) - round((step - 1) * self.rows_per_step))
        stop = self.limits.reached()
        if (last or stop or (step - 1) % self.per_epoch + 1 in self.when) and not self.limits.interrupted:
            self.validate(step)
            control.should_save = True
        minutes = self.settings.checkpoint_minutes
        if stop or self.early_stopped or (minutes and time.monotonic() - self.saved > 60 * minutes):
            control.should_save = True
        control.should_training_stop |= stop or self.early_stopped or self.limits.diverged
        control.should_save &= not self.limits.diverged

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            names = {"loss": "train/loss", "grad_norm": "train/grad_norm", "learning_rate": "lr"}
            log(self.loggers, {new: float(logs[old]) for old, new in names.items() if old in logs}, state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The checkpoint is complete when it has our state; then the older ones go."""
        self.saved = time.monotonic()
        folder = self.folder / f"checkpoint-{state.global_step}"
        write_text(folder / STATE, json.dumps(asdict(self.progress)))
        for other in self.folder.glob("checkpoint-*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)


def resume_point(checkpoints: Path, fingerprint: str, settings: TrainerSettings) -> Path | None:
    """The last complete checkpoint of the same run, if there is one; see :func:`hjc.nn.fitting.resumes`."""
    complete = [p.parent for p in checkpoints.glob(f"checkpoint-*/{STATE}")]
    if not resumes(checkpoints, bool(complete), fingerprint, settings):
        return None
    return max(complete, key=lambda p: int(p.name.rpartition("-")[2]))
