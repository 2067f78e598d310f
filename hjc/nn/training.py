"""Fitting a network with Lightning: trainer, loaders, checkpoints and their resume, loggers."""

import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from torch import Tensor

from hjc.arrays import Float32, IntArray
from hjc.nn.batching import (
    INFERENCE_ROWS,
    INFERENCE_TOKENS,
    BatchLoader,
    EpochBatches,
    Rows,
    TokenCorpus,
    collate,
    inference_batches,
    share,
    tokenize,
)
from hjc.nn.checkpoints import DivergedError, InTime, WholeFiles
from hjc.nn.fitting import FitResult, Limits, resolve_precision, resumes, total_steps
from hjc.nn.loggers import open_loggers
from hjc.nn.module import OptimisedModule, TrainingModule
from hjc.nn.network import Network
from hjc.nn.settings import NeuralSettings, TrainerSettings
from hjc.taxonomy import Taxonomy

#: texts, gold nodes (n,), weights (n,)
TextRows = tuple[Sequence[str], IntArray, Float32]


class Examples(Protocol):
    """Labelled examples as the trainer needs them."""

    @property
    def lengths(self) -> IntArray:
        """(n,) tokens of each."""
        ...

    @property
    def parts(self) -> int:
        """Sequences that one example is made of."""
        ...

    def batch(self, rows: IntArray) -> dict[str, Tensor]:
        """The tensors of some, ``weight`` (B,) among them."""
        ...


@dataclass(frozen=True)
class Batchable:
    """Texts with one code each: tokens, gold nodes (n,), weights (n,)."""

    corpus: TokenCorpus
    gold: IntArray
    weight: Float32
    pad_id: int
    parts = 1

    @property
    def lengths(self) -> IntArray:
        return self.corpus.lengths

    def batch(self, rows: IntArray) -> dict[str, Tensor]:
        """See :class:`Examples`; ``gold`` (B,) beside the tokens."""
        batch = collate(self.corpus, rows, self.pad_id)
        return batch | {"gold": torch.from_numpy(self.gold[rows]), "weight": torch.from_numpy(self.weight[rows])}


def assembler(examples: Examples) -> Callable[[Sequence[int]], dict[str, Tensor]]:
    """Numbers -> a batch, with them as ``row``. -1-r is example r at weight zero, a filler of one process's share."""

    def assemble(numbers: Sequence[int]) -> dict[str, Tensor]:
        row = torch.tensor(numbers)
        batch = examples.batch(torch.where(row < 0, -1 - row, row).numpy())
        return batch | {"row": row, "weight": batch["weight"].masked_fill(row < 0, 0)}

    return assemble


class Loaders(pl.LightningDataModule):
    """Builds the loaders once the process group is known, so that each process gets its share of every batch."""

    def __init__(self, train: Examples, valid: Examples | None, settings: TrainerSettings) -> None:
        super().__init__()
        self.train, self.valid, self.settings = train, valid, settings

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _load(self, cls: Any, examples: Examples, sampler: Any, workers: int = 0) -> Any:
        return cls(
            Rows(len(examples.lengths)),
            batch_sampler=sampler,
            collate_fn=assembler(examples),
            # a loader draws a seed each time it starts: from here, or a resumed run would see other dropout
            generator=torch.Generator(),
            num_workers=workers,
            persistent_workers=workers > 0,
        )

    def train_dataloader(self) -> BatchLoader:
        s = self.settings
        sampler = EpochBatches(self.train.lengths, s.batch_size, s.seed, s.bucket, *self._place())
        return self._load(BatchLoader, self.train, sampler, s.workers)

    def val_dataloader(self) -> Any:
        if self.valid is None:
            return []
        rank, world = self._place()
        rows = max(1, INFERENCE_ROWS // self.valid.parts)
        batches = inference_batches(self.valid.lengths, INFERENCE_TOKENS // self.valid.parts, rows)
        return self._load(torch.utils.data.DataLoader, self.valid, [share(rows, rank, world) for rows in batches])


class RandomState(Callback):
    """Keeps torch's random state in checkpoints, so that a resumed run draws the dropout it would have drawn."""

    def state_dict(self) -> dict[str, Any]:
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict["torch"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if (state := getattr(self, "state", None)) is not None:
            torch.set_rng_state(state.cpu())


class StopInTime(Callback):
    """Asks :class:`Limits` after every batch."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.first_step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.first_step = trainer.global_step  # above 0 after a resume

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        if self.limits.reached():
            trainer.should_stop = True


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


def fit_network(
    network: Network,
    tokenizer: Any,
    taxonomy: Taxonomy,
    model: NeuralSettings,
    train: TextRows,
    valid: TextRows | None,
    settings: TrainerSettings,
    run_dir: Path | None,
    fingerprint: str,
) -> FitResult:
    """Fit in place; afterwards the network holds the best weights by validation log-loss at the deepest level.

    Of ``model`` the length and the prefix of the texts count. See :func:`fit_module`.
    """

    def batchable(rows: TextRows) -> Batchable:
        texts, gold, weight = rows
        tokens = tokenize(tokenizer, texts, model.max_length, model.prefix)
        return Batchable(tokens, gold, np.asarray(weight, dtype=np.float32), tokenizer.pad_token_id)

    held_out = None if valid is None else batchable(valid)
    return fit_module(
        lambda steps: TrainingModule(network, taxonomy, settings, steps),
        batchable(train),
        held_out,
        settings,
        run_dir,
        fingerprint,
    )


def fit_module(
    build: Callable[[int], OptimisedModule],
    train: Examples,
    valid: Examples | None,
    settings: TrainerSettings,
    run_dir: Path | None,
    fingerprint: str,
) -> FitResult:
    """Fit a module's ``network`` in place; afterwards it holds the best weights by the ``valid/log_loss`` it logs.

    Without validation rows it holds the last weights (or their moving average). ``run_dir/checkpoints`` keeps what a
    resume needs: a later call with the same ``fingerprint`` (settings and data) goes on where a killed run stopped.
    Without ``run_dir`` a temporary folder is used.

    Args:
        build: makes the module, given the optimiser steps of the whole schedule.

    A training that diverges stops, and the network holds the last good weights (status ``diverged``).

    Raises:
        ValueError: the run directory holds checkpoints of other settings or other data.
        DivergedError: the training diverged before there were weights worth keeping.
    """
    if run_dir is None:
        with tempfile.TemporaryDirectory() as scratch:
            return fit_module(build, train, valid, settings, Path(scratch), fingerprint)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    per_epoch = -(-len(train.lengths) // settings.batch_size)
    module = build(total_steps(per_epoch, settings))
    checkpoints = run_dir / "checkpoints"
    last = checkpoints / "last.ckpt"
    resumed = resumes(checkpoints, last.exists(), fingerprint, settings)
    validated = valid is not None
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
    in_time = StopInTime(limits)
    checkpoint = InTime(last, settings, limits)
    callbacks: list[Callback] = [best, checkpoint, in_time, RandomState(), Progress(per_epoch)]
    if settings.ema_decay:
        from pytorch_lightning.callbacks import EMAWeightAveraging

        callbacks.append(EMAWeightAveraging(use_buffers=False, decay=settings.ema_decay))
    early = EarlyStopping("valid/log_loss", patience=settings.patience, check_on_train_epoch_end=False)
    if settings.patience and validated:
        callbacks.append(early)
    precision = resolve_precision(settings.precision)
    with limits, quiet_lightning(), open_loggers(settings.loggers, run_dir / "logs") as loggers:
        trainer = pl.Trainer(
            max_epochs=settings.epochs,
            max_steps=settings.max_steps or -1,
            accelerator=settings.accelerator,
            devices=settings.devices,
            strategy=settings.strategy,
            precision=precision,  # type: ignore[arg-type]
            accumulate_grad_batches=settings.accumulate,
            deterministic="warn" if settings.deterministic else False,
            val_check_interval=max(1, per_epoch // settings.validate_per_epoch) if validated else None,
            limit_val_batches=None if validated else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, per_epoch),
            callbacks=callbacks,
            logger=loggers,
            use_distributed_sampler=False,
            enable_model_summary=False,
            default_root_dir=str(run_dir),
            plugins=WholeFiles(),
        )
        try:
            trainer.fit(module, datamodule=Loaders(train, valid, settings), ckpt_path=str(last) if resumed else None)
        except DivergedError as error:
            limits.diverged = True
            if not last.exists():
                raise DivergedError(
                    f"the training diverged at step {trainer.global_step} ({error}), before there were weights worth "
                    "keeping; lower trainer.learning_rate and trainer.head_learning_rate, or set trainer.precision=32"
                ) from error
    kept = best.best_model_path if validated and best.best_model_path else str(last) if limits.diverged else ""
    if kept:
        state = torch.load(kept, map_location="cpu", weights_only=True)["state_dict"]
        module.network.load_state_dict({k.removeprefix("network."): v for k, v in state.items()})
    score = best.best_model_score
    return limits.result(
        (trainer.global_step - in_time.first_step) * settings.accumulate * settings.batch_size,
        early_stopped=bool(early.stopped_epoch),
        steps=trainer.global_step,
        epochs=trainer.current_epoch,
        best_valid_log_loss=None if score is None or not validated else float(score),
        precision=precision,
        resumed=resumed,
    )
