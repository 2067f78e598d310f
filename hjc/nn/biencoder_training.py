"""Fitting the encoder of a bi-encoder with sentence-transformers: ranking loss, checkpoints, resume, limits, loggers.

Only training needs sentence-transformers; import this module inside functions. What is trained is the very encoder
that predicts (:class:`~hjc.nn.text_encoder.TorchTextEncoder`): tokenisation, prefix, pooling and length are the same.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import PrinterCallback

from hjc.nn.batching import Rows, TokenCorpus, collate, tokenize
from hjc.nn.biencoder_watch import BEST, STATE, Progress, Watch, resume_point
from hjc.nn.encoder import load_weights, save_weights
from hjc.nn.fitting import FitResult, Limits, adamw, resolve_precision, total_steps
from hjc.nn.loggers import open_loggers
from hjc.nn.pairs import PairBatches
from hjc.nn.settings import TrainerSettings
from hjc.nn.text_encoder import TorchTextEncoder
from hjc.progress import rows_progress

WEIGHTS = "encoder.safetensors"
#: names of the columns of a batch
ANCHOR, POSITIVE, NEGATIVE = "anchor", "positive", "negative"


class EncoderModule(nn.Module):
    """The encoder as the one module of a SentenceTransformer."""

    def __init__(self, encoder: TorchTextEncoder, bf16: bool) -> None:
        super().__init__()
        self.model = encoder.model
        self.encode = encoder.forward
        self.bf16 = bf16

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        ids, mask = features["input_ids"], features["attention_mask"]
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            vectors = self.encode(ids, mask)
        return {**features, "sentence_embedding": vectors}


def sentence_transformer(encoder: TorchTextEncoder, bf16: bool = False) -> SentenceTransformer:
    """The encoder wrapped, weights shared. Nothing is read or asked for on the network."""
    return SentenceTransformer(
        modules=[EncoderModule(encoder, bf16)], device=str(encoder.device), local_files_only=True
    )


class _EpochSampler(Sampler[list[tuple[int, int]]]):
    """Names batches: [(epoch, number)]. The collate function makes them."""

    def __init__(self, number: int) -> None:
        self.number, self.epoch = number, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Any:
        return iter([[(self.epoch, i)] for i in range(self.number)])


class _Loader(DataLoader[Any]):
    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]


@dataclass(frozen=True)
class Assembly:
    """Token ids of anchors and label texts, and the plan of the batches."""

    anchors: TokenCorpus
    texts: TokenCorpus
    batches: PairBatches
    pad_id: int

    def __call__(self, names: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """The tensors of a batch: anchor_*, positive_*, negative_0_* ..., the texts padded to one width."""
        ((epoch, number),) = names
        pairs = self.batches.batch(epoch, number)
        out = {f"{ANCHOR}_{k}": v for k, v in collate(self.anchors, pairs.rows, self.pad_id).items()}
        columns = [POSITIVE, *(f"{NEGATIVE}_{j}" for j in range(pairs.negative.shape[1]))]
        texts = collate(self.texts, np.concatenate([pairs.positive, pairs.negative.T.ravel()]), self.pad_id)
        for key, value in texts.items():
            out |= {f"{c}_{key}": v for c, v in zip(columns, value.split(len(pairs.rows)), strict=True)}
        return out


class _Arguments(SentenceTransformerTrainingArguments):
    @property
    def n_gpu(self) -> int:
        """One at most: not DataParallel over all GPUs that are there."""
        return min(super().n_gpu, 1)


class RankingTrainer(SentenceTransformerTrainer):
    """The trainer of sentence-transformers on our batches; checkpoints hold weights alone, and no model card."""

    def __init__(self, assembly: Assembly, **kwargs: Any) -> None:
        self.assembly = assembly
        super().__init__(train_dataset=Rows(len(assembly.batches)), **kwargs)
        self.remove_callback(PrinterCallback)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: hjc writes its own."""

    def preprocess_dataset(self, dataset: Any = None, dataset_name: str | None = None) -> Any:
        return dataset

    def get_train_dataloader(self) -> DataLoader[Any]:
        number = len(self.assembly.batches)
        # a loader draws a seed each time it starts: from here, or a resumed run would see other dropout
        return _Loader(
            Rows(number),
            batch_sampler=_EpochSampler(number),
            collate_fn=self.assembly,
            generator=torch.Generator(),
        )

    def _module(self) -> Any:
        return self.model[0].model

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(self._module(), folder / WEIGHTS)

    def _load_from_checkpoint(self, checkpoint_path: str, model: Any = None) -> None:
        load_weights(self._module(), Path(checkpoint_path) / WEIGHTS)


def check_settings(settings: TrainerSettings) -> None:
    """Raise ValueError for what this training does not do, rather than doing something else."""
    wrong = [
        f"trainer.{name}={getattr(settings, name)}"
        for name, allowed in (("ema_decay", 0), ("label_smoothing", 0), ("class_weights", "none"), ("devices", 1))
        if getattr(settings, name) != allowed
    ]
    if wrong:
        raise ValueError(f"a bi-encoder is not trained with {', '.join(wrong)}; leave these settings at their defaults")


def fit_encoder(
    encoder: TorchTextEncoder,
    rows: Sequence[str],
    texts: Sequence[str],
    batches: PairBatches,
    settings: TrainerSettings,
    run_dir: Path,
    fingerprint: str,
    *,
    scale: float,
    score: Callable[[], float] | None,
) -> FitResult:
    """Fine-tune in place; afterwards the encoder has the best weights by ``score``, or the last ones without it.

    Args:
        rows: n training texts; texts: M label texts and what else ``batches`` numbers.
        scale: factor of the cosines in the loss.
        score: validation log-loss of the encoder as it is. It is asked before the first step too, so that the
            pre-trained encoder is kept where training makes it worse.

    Raises:
        ValueError: the run directory holds checkpoints of other settings or other data, or a setting is not served.
    """
    check_settings(settings)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    checkpoints = run_dir / "checkpoints"
    resume_from = resume_point(checkpoints, fingerprint, settings)
    precision = resolve_precision(settings.precision)
    length, prefix = encoder.max_length, encoder.prefix
    assembly = Assembly(
        tokenize(encoder.tokenizer, rows, length, prefix),
        tokenize(encoder.tokenizer, texts, length, prefix),
        batches,
        encoder.tokenizer.pad_token_id,
    )
    model = sentence_transformer(encoder, bf16=precision == "bf16-mixed")
    per_epoch = -(-len(batches) // settings.accumulate)
    steps = total_steps(len(batches), settings)
    arguments = _Arguments(
        output_dir=str(checkpoints),
        max_steps=steps,
        gradient_accumulation_steps=settings.accumulate,
        max_grad_norm=settings.gradient_clip,
        fp16=precision == "16-mixed",
        use_cpu=encoder.device.type == "cpu",
        seed=settings.seed,
        data_seed=settings.seed,
        logging_steps=min(10, steps),
        save_strategy="no",  # Watch says when
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    progress = Progress()
    if resume_from is not None:
        progress = Progress(**json.loads((resume_from / STATE).read_text(encoding="utf-8")))
    first_step = int(resume_from.name.rpartition("-")[2]) if resume_from else 0
    rows_per_step = batches.rows_per_epoch / per_epoch
    loss = MultipleNegativesRankingLoss(model, scale=scale)
    optimizers = adamw(encoder.model, encoder.model, settings, steps)
    with (
        Limits(settings.max_minutes) as limits,
        open_loggers(settings.loggers, run_dir / "logs") as loggers,
        rows_progress("training", round((steps - first_step) * rows_per_step)) as bar,
    ):
        watch = Watch(
            encoder.model, checkpoints, settings, per_epoch, score, limits, loggers, bar, rows_per_step, progress
        )
        trainer = RankingTrainer(
            assembly, model=model, args=arguments, loss=loss, callbacks=[watch], optimizers=optimizers
        )
        if resume_from is None:
            watch.validate(0)
        over = bool(settings.patience) and progress.waited >= settings.patience and score is not None
        watch.early_stopped = over
        if not over:
            trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    done = max(trainer.state.global_step, first_step)
    if progress.best is not None:
        load_weights(encoder.model, checkpoints / BEST)
    encoder.model.eval()
    return limits.result(
        (done - first_step) * rows_per_step,
        early_stopped=watch.early_stopped and done < steps,
        steps=done,
        epochs=done // per_epoch,
        best_valid_log_loss=progress.best,
        precision=precision,
        resumed=resume_from is not None,
    )
