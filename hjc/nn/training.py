"""Fitting a network with Lightning: trainer, loaders, checkpoints and their resume, loggers."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint

from hjc.arrays import Float32
from hjc.data.codesets import Target
from hjc.nn.augment import Noise
from hjc.nn.averaging import KeepStates, choose, copy_of
from hjc.nn.batching import BatchLoader, EpochBatches, Rows, share
from hjc.nn.devices import accelerator_of
from hjc.nn.examples import Batchable, Examples, Noisy, assembler
from hjc.nn.fitting import FitResult, Limits, resolve_precision, resumes, seed_everything, total_steps
from hjc.nn.heads import VectorModule
from hjc.nn.loggers import log, open_loggers
from hjc.nn.memory import keep_memory
from hjc.nn.mixing import Mixture
from hjc.nn.module import (
    DivergedError,
    OptimisedModule,
    Progress,
    RandomState,
    TrainingModule,
    Watch,
    WholeFiles,
    quiet_lightning,
)
from hjc.nn.network import Network
from hjc.nn.planning import LENGTHS, plan_of
from hjc.nn.settings import NeuralSettings, Run, TrainerSettings
from hjc.nn.text_encoder import TorchTextEncoder
from hjc.nn.tokens import INFERENCE_ROWS, INFERENCE_TOKENS, Reading, TokenCorpus, inference_batches, tokenize
from hjc.taxonomy import Taxonomy

#: where the states along a training lie in its folder
STATES = Path("checkpoints", "states")
#: texts, gold nodes (n,) or sets of them, weights (n,)
TextRows = tuple[Sequence[str], Target, Float32]


class Loaders(pl.LightningDataModule):
    """Builds the loaders once the process group is known, so that each process gets its share of every batch."""

    def __init__(self, train: Examples, valid: Examples | None, settings: TrainerSettings) -> None:
        super().__init__()
        self.train, self.valid, self.settings = train, valid, settings

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _load(self, cls: Any, examples: Examples, sampler: Any, workers: int = 0) -> Any:
        return cls(
            Rows(),
            batch_sampler=sampler,
            collate_fn=assembler(examples),
            # a loader draws a seed each time it starts: from here, or a resumed run would see other dropout
            generator=torch.Generator(),
            num_workers=workers,
            persistent_workers=workers > 0,
        )

    def train_dataloader(self) -> BatchLoader:
        sampler = EpochBatches(partial(self.train.epoch, settings=self.settings), *self._place())
        return self._load(BatchLoader, self.train, sampler, self.settings.workers)

    def val_dataloader(self) -> Any:
        if self.valid is None:
            return []
        rank, world = self._place()
        rows = max(1, INFERENCE_ROWS // self.valid.parts)
        batches = inference_batches(self.valid.lengths, INFERENCE_TOKENS // self.valid.parts, rows)
        return self._load(torch.utils.data.DataLoader, self.valid, [share(rows, rank, world) for rows in batches])


def fit_network(
    network: Network,
    tokenizer: Any,
    taxonomy: Taxonomy,
    model: NeuralSettings,
    train: TextRows,
    valid: TextRows | None,
    run: Run,
    mixture: Mixture | None = None,
) -> FitResult:
    """Fit in place; afterwards the network holds the best weights by validation log-loss at the deepest level.

    Of ``model`` the length and the prefix of the texts count. ``mixture``: which rows each epoch goes over. See
    :func:`fit_module`.
    """
    settings, length = run.settings, model.max_length * model.windows
    if run.folder is None and (settings.auto or settings.average != "none"):
        with tempfile.TemporaryDirectory() as scratch:
            run = replace(run, folder=Path(scratch))
            return fit_network(network, tokenizer, taxonomy, model, train, valid, run, mixture)

    def tokens_of(texts: Sequence[str]) -> TokenCorpus:
        return tokenize(tokenizer, texts, Reading.of(model), network.vocabulary)

    def batchable(rows: TextRows) -> Batchable:
        texts, gold, weight = rows
        weight = np.asarray(weight, dtype=np.float32)
        return Batchable(tokens_of(texts), gold, weight, tokenizer.pad_token_id, taxonomy)

    examples = replace(batchable(train), mixture=mixture)
    if settings.auto:
        held = np.zeros(0, np.int64) if valid is None else batchable(valid).lengths
        most = model.max_length
        lengths = [*(n for n in LENGTHS if n < most), most] if model.windows == 1 else []
        epoch, module = examples.epoch(0, settings), partial(TrainingModule, network, taxonomy, settings)
        plan = plan_of(module, epoch, assembler(examples), examples.lengths, held, run, lengths)
        if lengths and plan.max_length < most:
            model, length = replace(model, max_length=plan.max_length), plan.max_length
            examples = replace(batchable(train), mixture=mixture)
    if noise := Noise.of(settings):

        @lru_cache(1)  # of one epoch at a time
        def written(epoch: int) -> TokenCorpus:
            found = tokens_of(noise.texts(train[0], settings.seed, epoch, length))
            return replace(found, side=examples.corpus.side)

        same = (examples.corpus, examples.gold, examples.weight, examples.pad_id, taxonomy)
        examples = Noisy(*same, written, mixture=mixture)
    if valid is None:
        return fit_module(lambda steps: TrainingModule(network, taxonomy, settings, steps), examples, None, run)
    held_out = batchable(valid)
    fit = partial(fit_module, lambda steps: TrainingModule(network, taxonomy, settings, steps, valid[1]))
    if settings.average == "none":
        return fit(examples, held_out, run)
    assert run.folder is not None
    start = copy_of(network)
    result = fit(examples, held_out, run)
    if result.status in ("interrupted", "diverged") or result.best_valid_log_loss is None:
        return result
    module = TrainingModule(network, taxonomy, settings, 0, valid[1])
    states, least = run.folder / STATES, result.best_valid_log_loss
    chosen, least = choose(
        network, partial(validate, module, held_out, result.precision), settings.average, start, states, least
    )
    return replace(result, best_valid_log_loss=least, averaged=chosen)


@torch.no_grad()
def validate(module: TrainingModule, valid: Examples, precision: str) -> float:
    """Log-loss at the deepest level, of the network as it is and where it is, in one process."""
    module.network.eval()
    device = next(module.network.parameters()).device
    assemble = assembler(valid)
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    for rows in inference_batches(valid.lengths, INFERENCE_TOKENS, INFERENCE_ROWS):
        batch = {key: value.to(device) for key, value in assemble(rows.tolist()).items()}
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
            module.validation_step(batch, 0)
    return module.validation_metrics()["valid/log_loss"]


def fit_end_to_end(
    encoder: TorchTextEncoder | Any,
    head: VectorModule,
    taxonomy: Taxonomy,
    train: TextRows,
    valid: TextRows | None,
    run: Run,
) -> FitResult:
    """Fit ``encoder`` and ``head`` in place; see :func:`fit_module`.

    The head takes the place of a classification head: it gets the pooled vectors without normalisation or dropout (that
    of the encoder itself is at work), and normalises them itself.
    """
    seed_everything(run.settings.seed)
    plain = NeuralSettings(
        pooling=encoder.pooling,
        max_length=encoder.max_length,
        prefix=encoder.prefix,
        capitals=encoder.capitals,
        hierarchy="bottomup",
        head_norm=False,
        dropout=0.0,
    )
    network = Network(encoder.model, taxonomy, plain)
    network.head = head
    result = fit_network(network, encoder.tokenizer, taxonomy, plain, train, valid, run)
    encoder.model.to(encoder.device).eval()
    head.eval()
    return result


def fit_module(
    build: Callable[[int], OptimisedModule],
    train: Examples,
    valid: Examples | None,
    run: Run,
    start: Callable[[], float] | None = None,
) -> FitResult:
    """Fit a module's ``network`` in place; afterwards it holds the best weights by the ``valid/log_loss`` it logs.

    Without validation rows it holds the last weights (or their moving average). ``checkpoints`` in the run's folder
    keeps what a resume needs: a later call with the same run goes on where a killed one stopped.

    Args:
        build: makes the module, given the optimiser steps of the whole schedule.
        start: validation log-loss of the network before the first step; it is then kept where no step is better.

    A training that diverges stops, and the network holds the last good weights (status ``diverged``).

    Raises:
        ValueError: the run directory holds checkpoints of other settings or other data.
        DivergedError: the training diverged before there were weights worth keeping.
    """
    settings = run.settings
    if run.folder is None:
        with tempfile.TemporaryDirectory() as scratch:
            return fit_module(build, train, valid, replace(run, folder=Path(scratch)), start)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    keep_memory()
    per_epoch, plan = len(train.epoch(0, settings)), None
    if settings.auto or (run.pace and settings.max_minutes):
        tokens = None if (own := getattr(train, "lengths", None)) is None else own * train.parts
        plan = plan_of(build, train.epoch(0, settings), assembler(train), tokens, np.zeros(0, np.int64), run)
        settings = plan.of(settings)
    module = build(total_steps(per_epoch, settings))
    module.mean_weight = train.mean_weight(per_epoch) if settings.batch_tokens else None
    module.settings = settings
    checkpoints = run.folder / "checkpoints"
    last = checkpoints / "last.ckpt"
    resumed = resumes(checkpoints, last.exists(), run)
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
    watch = Watch(last, settings, limits)
    callbacks: list[Callback] = [best, watch, RandomState(), Progress(per_epoch)]
    if settings.ema_decay:
        from pytorch_lightning.callbacks import EMAWeightAveraging

        callbacks.append(EMAWeightAveraging(use_buffers=False, decay=settings.ema_decay))
    if settings.average in ("run", "both") and validated:
        callbacks.append(KeepStates(run.folder / STATES))
    early = EarlyStopping("valid/log_loss", patience=settings.patience, check_on_train_epoch_end=False)
    if settings.patience and validated:
        callbacks.append(early)
    precision = resolve_precision(settings.precision)
    first, before = float("inf"), {}
    if start is not None:
        first = start()
        before = {name: value.detach().cpu().clone() for name, value in module.network.state_dict().items()}
    with limits, quiet_lightning(), open_loggers(settings.loggers, run.folder / "logs", run.callback) as loggers:
        if start is not None and not resumed:
            log(loggers, {"valid/log_loss": first}, 0)
            early.best_score = torch.tensor(first)
        trainer = pl.Trainer(
            max_epochs=settings.epochs,
            max_steps=settings.max_steps or -1,
            accelerator=accelerator_of(settings.accelerator, settings.devices),
            devices=settings.devices,
            num_nodes=settings.num_nodes,
            strategy=settings.strategy,
            precision=precision,  # type: ignore[arg-type]
            accumulate_grad_batches=settings.accumulate,
            deterministic="warn" if settings.deterministic else False,
            val_check_interval=(plan.look_every if plan else max(1, per_epoch // settings.validate_per_epoch))
            if validated
            else None,
            check_val_every_n_epoch=None if plan and validated else 1,
            limit_val_batches=None if validated else 0,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, per_epoch),
            callbacks=callbacks,
            logger=loggers,
            use_distributed_sampler=False,
            enable_model_summary=False,
            default_root_dir=str(run.folder),
            plugins=WholeFiles(),
        )
        if settings.compile:
            module.network.encoder.compile(dynamic=True)
        try:
            trainer.fit(module, datamodule=Loaders(train, valid, settings), ckpt_path=str(last) if resumed else None)
        except DivergedError as error:
            limits.diverged = True
            if not last.exists() and not before:
                raise DivergedError(
                    f"the training diverged at step {trainer.global_step} ({error}), before there were weights worth "
                    "keeping; lower trainer.learning_rate and trainer.head_learning_rate, or set trainer.precision=32"
                ) from error
        finally:
            module.network.encoder.__dict__.pop("_compiled_call_impl", None)  # prediction takes it as it was
    score = best.best_model_score if validated else None
    found = float("inf") if score is None else float(score)
    kept = best.best_model_path if validated and best.best_model_path else str(last) if limits.diverged else ""
    if before and first <= found:
        module.network.load_state_dict(before)
    elif kept:
        state = torch.load(kept, map_location="cpu", weights_only=True)["state_dict"]
        module.network.load_state_dict({k.removeprefix("network."): v for k, v in state.items()})
    least = min(first, found)
    rows_per_batch = len(train.lengths) / per_epoch if settings.batch_tokens else settings.batch_size
    return limits.result(
        (trainer.global_step - watch.first_step) * settings.accumulate * rows_per_batch,
        early_stopped=0 < settings.patience <= early.wait_count and trainer.global_step < module.total_steps,
        steps=trainer.global_step,
        epochs=trainer.current_epoch,
        best_valid_log_loss=least if np.isfinite(least) else None,
        precision=precision,
        resumed=resumed,
        plan=None if plan is None else asdict(plan),
    )
