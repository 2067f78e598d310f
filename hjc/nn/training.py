"""Fitting a network with Lightning: trainer, checkpoints, resume, time limit, Ctrl-C, loggers."""

import json
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from torch import Tensor

from hjc.arrays import Float32, IntArray
from hjc.nn.batching import BatchLoader, EpochBatches, Rows, TokenCorpus, collate, inference_batches, share
from hjc.nn.module import OptimisedModule, TrainingModule
from hjc.nn.network import INFERENCE_ROWS, INFERENCE_TOKENS, Network
from hjc.nn.settings import TrainerSettings
from hjc.taxonomy import Taxonomy


@dataclass(frozen=True)
class Batchable:
    """Labelled rows as the trainer needs them: tokens, gold nodes (n,), weights (n,)."""

    corpus: TokenCorpus
    gold: IntArray
    weight: Float32

    def collate(self, pad_id: int) -> Callable[[Sequence[int]], dict[str, Tensor]]:
        """Rows -> a batch. A negative row -1-r is row r at weight zero, a filler of one process's share."""

        def assemble(rows: Sequence[int]) -> dict[str, Tensor]:
            index = np.asarray(rows, dtype=np.int64)
            filler = index < 0
            row = np.where(filler, -1 - index, index)
            batch = collate(self.corpus, row, pad_id)
            batch["gold"] = torch.from_numpy(self.gold[row])
            batch["weight"] = torch.from_numpy(np.where(filler, np.float32(0), self.weight[row]))
            batch["row"] = torch.from_numpy(index)
            return batch

        return assemble


class Loaders(pl.LightningDataModule):
    """Builds the loaders once the process group is known, so that each process gets its share of every batch."""

    def __init__(self, train: Batchable, valid: Batchable | None, pad_id: int, settings: TrainerSettings) -> None:
        super().__init__()
        self.train, self.valid, self.pad_id, self.settings = train, valid, pad_id, settings

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> BatchLoader:
        s = self.settings
        sampler = EpochBatches(self.train.corpus.lengths, s.batch_size, s.seed, s.bucket, *self._place())
        return BatchLoader(
            Rows(len(self.train.corpus)),
            batch_sampler=sampler,
            collate_fn=self.train.collate(self.pad_id),
            # a loader draws a seed each time it starts: from here, or a resumed run would see other dropout
            generator=torch.Generator(),
            num_workers=s.workers,
            persistent_workers=s.workers > 0,
        )

    def val_dataloader(self) -> Any:
        if self.valid is None:
            return []
        rank, world = self._place()
        batches = inference_batches(self.valid.corpus.lengths, INFERENCE_TOKENS, INFERENCE_ROWS)
        return torch.utils.data.DataLoader(
            Rows(len(self.valid.corpus)),
            batch_sampler=[share(rows, rank, world) for rows in batches],  # type: ignore[arg-type]
            collate_fn=self.valid.collate(self.pad_id),
            generator=torch.Generator(),
        )


class RandomState(Callback):
    """Keeps torch's random state in checkpoints, so that a resumed run draws the dropout it would have drawn."""

    def state_dict(self) -> dict[str, Any]:
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict["torch"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (state := getattr(self, "state", None)) is not None:
            torch.set_rng_state(state.cpu())


class Limits(Callback):
    """Stops in good order: after ``max_minutes``, or at the first Ctrl-C (the second one is immediate)."""

    def __init__(self, max_minutes: float) -> None:
        self.max_minutes = max_minutes
        self.interrupted = False
        self.timed_out = False
        self.started = 0.0
        self.previous: Any = None
        self.first_step = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start()

    def start(self) -> None:
        """The clock runs, and Ctrl-C is ours until :meth:`release`."""
        self.started = time.monotonic()
        try:
            self.previous = signal.signal(signal.SIGINT, self._interrupt)
        except ValueError:  # not the main thread: Ctrl-C then belongs to the caller
            self.previous = None

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        print(
            "\nCtrl-C: stopping after this step and keeping the best weights so far (again: stop at once)", flush=True
        )

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if self.reached():
            trainer.should_stop = True

    def reached(self) -> bool:
        """Whether it is time to stop, by the clock or by Ctrl-C."""
        if self.max_minutes and time.monotonic() - self.started > 60 * self.max_minutes:
            self.timed_out = True
        return self.timed_out or self.interrupted

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.first_step = trainer.global_step  # above 0 after a resume

    def release(self) -> None:
        """Give Ctrl-C back, however the fit ended (Lightning calls no hook of ours after an error)."""
        if self.previous is not None:
            signal.signal(signal.SIGINT, self.previous)


class Progress(TQDMProgressBar):
    """Steps with rate and loss; in a log file (no terminal) about twenty lines an epoch instead of thousands."""

    def __init__(self, steps_per_epoch: int) -> None:
        super().__init__(refresh_rate=1 if sys.stderr.isatty() else max(1, steps_per_epoch // 20))

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        metrics = super().get_metrics(*args)
        metrics.pop("v_num", None)
        return metrics


def computes_in_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 matrices in hardware (an emulation would be slower than float32)."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def resolve_precision(precision: str) -> str:
    """Lightning's name for a precision; ``auto`` asks the machine."""
    if precision == "auto":
        precision = "bf16-mixed" if computes_in_bfloat16() else "32"
    return {"32": "32-true"}.get(precision, precision)


def build_loggers(names: Sequence[str], directory: Path) -> list[Any]:
    """Lightning loggers writing below ``directory``. Raises ImportError with the extra to install."""
    loggers: list[Any] = []
    for name in names:
        if name == "csv":
            loggers.append(pl.loggers.CSVLogger(str(directory), name="", version="", flush_logs_every_n_steps=20))
        elif name == "tensorboard":
            try:
                loggers.append(pl.loggers.TensorBoardLogger(str(directory), name="tensorboard", version=""))
            except ModuleNotFoundError as error:
                raise ImportError('the tensorboard logger needs: pip install "hjc[tensorboard]"') from error
        elif name == "wandb":
            try:
                import wandb
            except ModuleNotFoundError as error:
                raise ImportError('the wandb logger needs: pip install "hjc[wandb]"') from error
            # without an account (WANDB_API_KEY or `wandb login`) wandb would stop and ask for one
            mode = os.environ.get("WANDB_MODE", "")
            offline = mode == "offline" or (not mode and not wandb.api.api_key)
            loggers.append(
                pl.loggers.WandbLogger(
                    project="hjc", name=directory.parent.name, save_dir=str(directory), offline=offline, log_model=False
                )
            )
    return loggers


def finish_loggers(names: Sequence[str]) -> None:
    """Runs of one process merge in wandb unless each is finished."""
    if "wandb" in names:
        import wandb

        wandb.finish()


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's notes on hardware, products and why it stopped; its warnings and errors stay."""
    loggers = [logging.getLogger(f"{name}.utilities.rank_zero") for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logging.WARNING, logger.level))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@dataclass(frozen=True)
class FitResult:
    """What happened: ``status`` is finished | early_stopped | time_limit | interrupted."""

    status: str
    steps: int
    epochs: int
    seconds: float
    rows_per_second: float
    best_valid_log_loss: float | None
    precision: str
    resumed: bool


def total_steps(rows: int, settings: TrainerSettings) -> int:
    """Optimiser steps of the whole schedule."""
    batches = -(-rows // settings.batch_size)
    per_epoch = -(-batches // settings.accumulate)
    steps = per_epoch * settings.epochs
    return min(steps, settings.max_steps) if settings.max_steps else steps


def fit_network(
    network: Network,
    taxonomy: Taxonomy,
    train: Batchable,
    valid: Batchable | None,
    pad_id: int,
    settings: TrainerSettings,
    run_dir: Path,
    fingerprint: str,
) -> FitResult:
    """Fit in place; afterwards the network holds the best weights by validation log-loss at the deepest level.

    See :func:`fit_module`.
    """
    rows = len(train.corpus)
    module = TrainingModule(network, taxonomy, settings, total_steps(rows, settings))
    loaders = Loaders(train, valid, pad_id, settings)
    return fit_module(module, loaders, rows, valid is not None, settings, run_dir, fingerprint)


def fit_module(
    module: OptimisedModule,
    loaders: pl.LightningDataModule,
    rows: int,
    validated: bool,
    settings: TrainerSettings,
    run_dir: Path,
    fingerprint: str,
) -> FitResult:
    """Fit ``module.network`` in place; afterwards it holds the best weights by the ``valid/log_loss`` that is logged.

    Without validation rows (``validated`` false) it holds the last weights (or their moving average).
    ``run_dir/checkpoints`` keeps what a resume needs: a later call with the same ``fingerprint`` (settings and data)
    goes on where a killed run stopped.

    Args:
        rows: of the training set, which make ``ceil(rows / batch_size)`` batches an epoch.

    Raises:
        ValueError: the run directory holds checkpoints of other settings or other data.
    """
    network = module.network
    per_epoch = -(-rows // settings.batch_size)
    checkpoints = run_dir / "checkpoints"
    resume_from = _resume_point(checkpoints, fingerprint, settings)
    every = max(1, per_epoch // settings.validate_per_epoch)
    best = ModelCheckpoint(
        checkpoints,
        filename="best",
        monitor="valid/log_loss" if validated else None,
        save_top_k=1,
        save_last=True,
        save_on_train_epoch_end=not validated,
        enable_version_counter=False,
    )
    limits = Limits(settings.max_minutes)
    callbacks: list[Callback] = [best, limits, RandomState(), Progress(per_epoch)]
    if settings.ema_decay:
        from pytorch_lightning.callbacks import EMAWeightAveraging

        callbacks.append(EMAWeightAveraging(use_buffers=False, decay=settings.ema_decay))
    early = EarlyStopping("valid/log_loss", patience=settings.patience, check_on_train_epoch_end=False)
    if settings.patience and validated:
        callbacks.append(early)
    precision = resolve_precision(settings.precision)
    started = time.monotonic()
    with warnings.catch_warnings(), quiet_lightning():
        # true and irrelevant here: batches are assembled from memory, workers would only copy them
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory.*exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        trainer = pl.Trainer(
            max_epochs=settings.epochs,
            max_steps=settings.max_steps or -1,
            accelerator=settings.accelerator,
            devices=settings.devices,
            strategy=settings.strategy,
            precision=precision,  # type: ignore[arg-type]
            accumulate_grad_batches=settings.accumulate,
            deterministic="warn" if settings.deterministic else False,
            val_check_interval=every if validated else None,
            limit_val_batches=None if validated else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, per_epoch),
            callbacks=callbacks,
            logger=build_loggers(settings.loggers, run_dir / "logs"),
            use_distributed_sampler=False,
            enable_model_summary=False,
            default_root_dir=str(run_dir),
        )
        try:
            trainer.fit(module, datamodule=loaders, ckpt_path=resume_from)
        finally:
            limits.release()
            finish_loggers(settings.loggers)
    seconds = time.monotonic() - started
    if validated and best.best_model_path:
        _load_weights(network, Path(best.best_model_path))
    if limits.interrupted:
        status = "interrupted"
    elif limits.timed_out:
        status = "time_limit"
    else:
        status = "early_stopped" if early.stopped_epoch else "finished"
    score = best.best_model_score
    rows_seen = (trainer.global_step - limits.first_step) * settings.accumulate * settings.batch_size
    return FitResult(
        status=status,
        steps=trainer.global_step,
        epochs=trainer.current_epoch,
        seconds=seconds,
        rows_per_second=rows_seen / max(seconds, 1e-9),
        best_valid_log_loss=None if score is None or not validated else float(score),
        precision=str(precision),
        resumed=resume_from is not None,
    )


def _resume_point(checkpoints: Path, fingerprint: str, settings: TrainerSettings) -> str | None:
    """The last checkpoint of the same run, if there is one."""
    state, last = checkpoints / "run.json", checkpoints / "last.ckpt"
    if last.exists() and settings.resume:
        found = json.loads(state.read_text(encoding="utf-8")).get("fingerprint") if state.exists() else None
        if found != fingerprint:
            raise ValueError(
                f"{checkpoints} holds checkpoints of a run with other settings or other data. Give this run another "
                "directory, or delete that folder, or set trainer.resume=false to start over in it."
            )
        return str(last)
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        for old in checkpoints.glob("*.ckpt"):
            old.unlink()
        checkpoints.mkdir(parents=True, exist_ok=True)
        state.write_text(json.dumps({"fingerprint": fingerprint, "trainer": asdict(settings)}, indent=1), "utf-8")
    return None


def _load_weights(network: Any, checkpoint: Path) -> None:
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    network.load_state_dict({k.removeprefix("network."): v for k, v in state.items()})
