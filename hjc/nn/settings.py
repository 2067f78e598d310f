"""Typed settings of the neural classifier. Plain dataclasses: no torch, no Hydra; Hydra only fills them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hjc.errors import check_choice, check_range
from hjc.plugins import Registry

#: ``model.hierarchy`` of neural models -> the class of the head, a subclass of :class:`hjc.nn.heads.Head`
HEADS = Registry(
    "head",
    "hjc.heads",
    {
        "topdown": ("hjc.nn.heads", "TopDownHead"),
        "bottomup": ("hjc.nn.heads", "BottomUpHead"),
        "pathsum": ("hjc.nn.heads", "PathSumHead"),
    },
)
#: those of hjc
HIERARCHIES = tuple(HEADS.own)
#: how encoders read words and lines in capitals, see :func:`hjc.nn.tokens.lower_capitals`
CAPITALS = ("lower", "keep")
POOLINGS = ("mean", "cls", "max", "last")
SCHEDULES = ("linear", "cosine", "constant")
PRECISIONS = ("auto", "32", "bf16-mixed", "16-mixed")
#: called with the step and the figures of every log line of a training, as the loggers get them: ``train/loss``,
#: ``valid/log_loss``, ``valid/level_1/recall@1`` ... What it raises ends the training
Callback = Callable[[int, Mapping[str, float]], None]
HEAD_INITS = ("titles", "random")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda")
LOGGERS = ("csv", "tensorboard", "wandb", "mlflow")
CLASS_WEIGHTS = ("none", "balanced", "sqrt")
AVERAGES = ("none", "run", "start", "both")
#: shares of training texts or words that are changed in every epoch (:class:`hjc.nn.augment.Noise`)
NOISE = ("word_dropout", "typos", "field_dropout", "plain_letters")
#: trainer settings that an encoder with a head knows, a ranking loss or a frozen encoder does not, where they are off
OF_HEADS: tuple[tuple[str, object], ...] = (
    ("average", "none"),
    ("r_drop", 0),
    *((name, 0) for name in NOISE),
    ("source_share", []),
)


def register_head(name: str, cls: type[Any]) -> None:
    """Make a head of one's own known in this process: ``hierarchy=NAME`` (see docs/extending.md).

    An installed package declares it instead as an entry point of the group ``hjc.heads``.

    Args:
        cls: a subclass of :class:`hjc.nn.heads.Head`, made as ``cls(taxonomy, hidden)``.

    Raises:
        ValueError: the name is taken.
    """
    HEADS.register(name, cls)


@dataclass(kw_only=True, slots=True)
class NeuralSettings:
    """What the model is: encoder, pooling, head. Stored in config.json: a loaded model predicts as it was trained."""

    #: the kind of model
    name: str = "neural"
    #: hub name, local folder, or "tiny" (random small XLM-R with a tokenizer trained on the data)
    encoder: str = "intfloat/multilingual-e5-small"
    #: hub revision (branch, tag or commit); None is the hub's default
    revision: str | None = None
    #: mean | cls | max | last: how the vectors of tokens become that of a text
    pooling: str = "mean"
    #: text put before every input, as the encoder was pre-trained with ("query: " for the E5 family)
    prefix: str = ""
    #: tokens of a text that are read
    max_length: int = 128
    #: lower: words of five capitals and more, and lines of capitals, are read in small letters, as vocabularies know a
    #: word in capitals as loose letters alone | keep: texts are read as they stand
    capitals: str = "lower"
    #: texts longer than max_length are read as up to so many windows of that length, whose vectors are averaged
    windows: int = 1
    #: share of the mean over the title's tokens (the first line of several) in the vector of a text (0: off); needs
    #: pooling mean
    title_share: float = 0.0
    #: keep only the first n layers (0: all)
    num_layers: int = 0
    #: keep only the pieces of the vocabulary that the training texts, the tree and a safety alphabet use
    prune_vocabulary: bool = True
    #: less memory in training, about a third more time
    gradient_checkpointing: bool = False
    #: LoRA rank (0: full fine-tuning); needs the `lora` extra
    lora_rank: int = 0
    #: scale of LoRA's updates is lora_alpha / lora_rank
    lora_alpha: int = 16
    #: dropout before LoRA's matrices
    lora_dropout: float = 0.05
    #: freeze the encoder and train the head alone
    freeze_encoder: bool = False
    #: share of side variables that a training row is taught without, so that a missing one costs little later
    side_dropout: float = 0.3
    #: hash categories of side variables into so many vectors (0: those of two training rows and more are listed)
    side_hashing: int = 0
    #: how probabilities chain: topdown (softmax among siblings) | bottomup (one softmax over the leaves) | pathsum | a
    #: head of a plugin
    hierarchy: str = "bottomup"
    #: what codes a text before the model does: "" nothing | lookup: an index of titles (settings lookup.*)
    before: str = ""
    #: titles: the head begins with the vectors of the codes' titles | random
    head_init: str = "titles"
    #: strength of the training prior of each code among its siblings as an offset of the scores (0: off, 1: the prior)
    logit_adjustment: float = 0.0
    #: whether the offset counts in prediction too: true keeps the probabilities those of the population
    prior_in_prediction: bool = True
    #: of the pooled vector, in training
    dropout: float = 0.1
    #: LayerNorm on the pooled vector before the head
    head_norm: bool = True
    #: architecture of the random encoder when encoder is "tiny"
    tiny_hidden: int = 128
    #: its layers
    tiny_layers: int = 2
    #: pieces of its vocabulary
    tiny_vocabulary: int = 8000

    def __post_init__(self) -> None:
        check_choice("model.name", self.name, ("neural",))
        if self.hierarchy not in HEADS:
            allowed, absent = ", ".join(HEADS), HEADS.absent(self.hierarchy)
            raise ValueError(f"model.hierarchy: got {self.hierarchy!r}, allowed are {allowed}; {absent}")
        check_choice("model.pooling", self.pooling, POOLINGS)
        check_choice("model.capitals", self.capitals, CAPITALS)
        check_choice("model.head_init", self.head_init, HEAD_INITS)
        check_range("model.side_dropout", self.side_dropout, 0 <= self.side_dropout < 1, "numbers from 0 and below 1")
        check_range("model.side_hashing", self.side_hashing, self.side_hashing >= 0, "integers from 0 (no hashing)")
        adjusted = 0 <= self.logit_adjustment < float("inf")
        check_range("model.logit_adjustment", self.logit_adjustment, adjusted, "0 (off) and more")
        check_range("model.windows", self.windows, self.windows >= 1, "integers from 1")
        check_range("model.title_share", self.title_share, 0 <= self.title_share < 1, "0 (off) to below 1")
        if self.title_share and self.pooling != "mean":
            raise ValueError(f"model.title_share: needs model.pooling=mean, got {self.pooling!r}")
        check_range("model.max_length", self.max_length, self.max_length >= 4, "integers from 4")


@dataclass(kw_only=True, slots=True)
class SourceShare:
    """Of the rows of ``source`` an epoch goes over this ``share``."""

    #: name of the source
    source: str = ""
    #: above 0 to 1 (all rows)
    share: float = 1.0

    def __post_init__(self) -> None:
        check_range("trainer.source_share", self.share, 0 < self.share <= 1, "above 0 to 1 (all rows)")


@dataclass(kw_only=True, slots=True)
class TrainerSettings:
    """How the model is fitted. None of it changes what a saved model computes."""

    #: rates, passes and length of texts (up to model.max_length) from the rows, this machine and max_minutes, which
    #: the schedule is laid out over. Then epochs, max_steps, warmup_steps and both learning rates do not count
    auto: bool = False
    #: passes over the training rows, unless max_steps or max_minutes comes first
    epochs: int = 3
    #: stop after this many optimiser steps (0: epochs decide)
    max_steps: int = 0
    #: stop after this many minutes, wherever the schedule is by then (0: no limit); see auto
    max_minutes: float = 0.0
    #: a checkpoint at least that often, beside those after each validation: what a kill can cost (0: only those)
    checkpoint_minutes: float = 10.0
    #: rows a batch
    batch_size: int = 32
    #: tokens a batch instead of rows: many short texts, a few long ones (0: ``batch_size`` rows)
    batch_tokens: int = 0
    #: batches of a step
    accumulate: int = 1
    #: of the encoder, at its peak
    learning_rate: float = 2e-4
    #: of the head, at its peak
    head_learning_rate: float = 2e-3
    #: each layer of the encoder learns at this share of the rate of the one above it (1: all alike)
    layer_decay: float = 1.0
    #: AdamW's; biases and LayerNorms do not decay
    weight_decay: float = 0.01
    #: AdamW's
    beta1: float = 0.9
    #: AdamW's
    beta2: float = 0.999
    #: AdamW's
    epsilon: float = 1e-8
    #: linear | cosine | constant: of the learning rates after the warm-up
    schedule: str = "linear"
    #: steps in which the rates rise; at most half of all
    warmup_steps: int = 100
    #: largest norm of the gradient (0: off)
    gradient_clip: float = 1.0
    #: auto: bf16-mixed where the processor or GPU computes in bfloat16, else 32
    precision: str = "auto"
    #: validations without a better log-loss before stopping (0: never)
    patience: int = 3
    #: validations per epoch
    validate_per_epoch: int = 1
    #: decay of an exponential moving average of the weights (0: off), used for validation and for the saved model
    ema_decay: float = 0.0
    #: none | run | start | both: means of weights that are tried after training, the best by validation log-loss is
    #: kept: of the states at the validations, and of the end with the start
    average: str = "none"
    #: every row goes through the network twice; the weight of how far its two answers lie apart (0: off)
    r_drop: float = 0.0
    #: training texts are changed in every epoch: the share of words left out, of words with a typing error, and of
    #: texts that lose their first line (the title) or all others
    word_dropout: float = 0.0
    #: share of words with a typing error in training texts (0: off)
    typos: float = 0.0
    #: share of training texts that lose their first line (the title) or all others (0: off)
    field_dropout: float = 0.0
    #: share of training texts whose letters lose their marks, as many people type (0: off)
    plain_letters: float = 0.0
    #: sources (default_source or source_column) of whose rows an epoch goes over a share, other ones in each epoch
    source_share: list[SourceShare] = field(default_factory=list)
    #: share of the target that is spread over all codes (0: off); anything but 0 gives up calibration
    label_smoothing: float = 0.0
    #: none | balanced | sqrt: weights of leaf classes in the loss; anything but none gives up calibration
    class_weights: str = "none"
    #: batches of similar token length (less padding)
    bucket: bool = True
    #: processes that prepare batches (0: none beside the main one)
    workers: int = 0
    #: GPUs, or processes on a CPU, of a distributed training
    devices: int = 1
    #: machines of a distributed training, on each of which the same command is started
    num_nodes: int = 1
    #: auto (a GPU where there is one) | cpu | gpu | cuda
    accelerator: str = "auto"
    #: auto | ddp, ddp_find_unused_parameters_true ...: Lightning's words for whole copies of the model
    strategy: str = "auto"
    #: compile the encoder by torch.compile: minutes at the start, for long trainings on GPUs
    compile: bool = False
    #: threads of the CPU (0: torch decides)
    threads: int = 0
    #: of initial weights, order of rows and dropout; the run's seed
    seed: int = 1
    #: the same numbers from the same seed, where the hardware can
    deterministic: bool = True
    #: resume from this run directory's last checkpoint when there is one
    resume: bool = True
    #: csv | tensorboard | wandb | mlflow: who is told the curves, and by mlflow the results of any model; see logger=
    loggers: list[str] = field(default_factory=lambda: ["csv"])

    def __post_init__(self) -> None:
        check_range("trainer.batch_tokens", self.batch_tokens, self.batch_tokens >= 0, "0 (off) and integers above")
        check_choice("trainer.schedule", self.schedule, SCHEDULES)
        check_choice("trainer.precision", self.precision, PRECISIONS)
        check_choice("trainer.class_weights", self.class_weights, CLASS_WEIGHTS)
        check_choice("trainer.average", self.average, AVERAGES)
        self._check_machines()
        check_range("trainer.r_drop", self.r_drop, 0 <= self.r_drop < float("inf"), "0 (off) and more")
        for name in NOISE:
            share = getattr(self, name)
            check_range(f"trainer.{name}", share, 0 <= share < 1, "0 (off) to below 1")
        self.source_share = [SourceShare(**s) if isinstance(s, dict) else s for s in self.source_share]
        check_range("trainer.layer_decay", self.layer_decay, 0 < self.layer_decay <= 1, "above 0 to 1 (all alike)")
        for logger in self.loggers:
            check_choice("trainer.loggers", logger, LOGGERS)

    def _check_machines(self) -> None:
        """Raises ValueError for what no training of hjc can be spread over."""
        check_range(
            "trainer.devices", self.devices, self.devices >= 1 or self.devices == -1, "from 1, or -1 (all GPUs)"
        )
        check_range("trainer.num_nodes", self.num_nodes, self.num_nodes >= 1, "integers from 1")
        if self.accelerator == "mps":
            raise ValueError("trainer.accelerator: mps, the GPU of a Mac, computes no 64-bit numbers; use cpu")
        check_choice("trainer.accelerator", self.accelerator, ACCELERATORS)
        if self.strategy != "auto" and not self.strategy.startswith("ddp"):
            raise ValueError(
                f"trainer.strategy: got {self.strategy!r}, allowed are auto and ddp (or its variants): each process "
                "holds a whole copy. For an encoder that does not fit: model.gradient_checkpointing=true, "
                "model.lora_rank=16, model.num_layers, or a smaller trainer.batch_size with trainer.accumulate"
            )


@dataclass(frozen=True)
class Pace:
    """``trainer.max_minutes`` lays the schedule out, as with ``trainer.auto``, but rates and passes stay those given:
    at most ``trainer.epochs``, fewer where they do not fit. ``max_steps`` does not count.

    ``look``: seconds of a validation that asks a function. ``tell`` is told the plan, in a sentence, before the first
    step.
    """

    look: float = 0.0
    tell: Callable[[str], None] | None = None


@dataclass(frozen=True)
class Run:
    """How to fit, and where: ``folder`` gets checkpoints and logs (None: a temporary one, none to resume from).

    ``fingerprint`` identifies settings and data: only a run with the same one goes on from checkpoints. ``callback``
    is told what the loggers are told. ``pace`` counts where there is a ``trainer.max_minutes``.
    """

    settings: TrainerSettings
    folder: Path | None
    fingerprint: str
    callback: Callback | None = None
    pace: Pace | None = None
