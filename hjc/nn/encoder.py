"""Any Hugging Face encoder, by hub name or local folder, ready for fine-tuning; pooling; files in a model directory."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
)
from transformers.utils import logging as transformers_logging

from hjc.errors import check_range
from hjc.files import read_json
from hjc.nn.architectures import bare, encoder_class, no_pooler, of_config, read_backend, wrap
from hjc.nn.hub import EncoderNotFoundError, resolve_folder
from hjc.nn.lora import add_lora
from hjc.nn.offline import XLMR_SPECIAL_TOKENS
from hjc.nn.pruning import prune
from hjc.nn.run_encoder import CONFIG_FILE, is_run, pruned_from, run_weights, say_differences
from hjc.nn.settings import NeuralSettings
from hjc.nn.stored import max_tokens
from hjc.nn.tokens import lower_capitals
from hjc.nn.whole_vocabulary import graft

logger = logging.getLogger(__name__)

TINY = "tiny"


def load_encoder(
    settings: NeuralSettings, texts: Sequence[str] = (), extra_texts: Sequence[str] = (), seed: int = 1
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The encoder and tokenizer that ``settings`` describe, in float32, without a pooler head, in train mode.

    Args:
        texts: the training corpus, without ``settings.prefix``. The vocabulary is pruned to it, and the tokenizer of
            ``tiny`` is trained on it. Without texts nothing is pruned.
        extra_texts: further texts whose tokenisation must not change, such as the taxonomy's titles.
        seed: initial weights of ``tiny`` and of LoRA.

    Raises:
        EncoderNotFoundError: neither a folder nor the hub cache nor a bundled package nor the hub has it.
        ValueError: the folder's weights do not fit its config, or a setting does not fit the encoder.
    """
    read = lower_capitals if settings.capitals == "lower" else str
    corpus, extra = ([settings.prefix + read(text) for text in part] for part in (texts, extra_texts))
    if settings.encoder == TINY:
        model, backend = build_tiny(settings, [*corpus, *extra], seed)
        special, limit = XLMR_SPECIAL_TOKENS, settings.max_length
    else:
        folder = resolve_folder(settings.encoder, settings.revision)
        model, backend, special, limit = _read_folder(folder, settings)
        if settings.prune_vocabulary and corpus:
            before = model.get_input_embeddings().num_embeddings
            backend, mapping = prune(model, backend, corpus, extra)
            logger.info("vocabulary: %d of %d pieces kept", int((mapping >= 0).sum()), before)
    if max_tokens(model) < settings.max_length:
        raise ValueError(
            f"model.max_length: got {settings.max_length}, {settings.encoder} allows at most {max_tokens(model)}"
        )
    tokenizer = wrap(backend, special, min(limit, max_tokens(model)))
    if settings.gradient_checkpointing:
        # the second name is that of transformers before its rename
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    if settings.lora_rank:
        add_lora(model, settings, seed)
    return model.float().train(), tokenizer


def _read_folder(folder: Path, settings: NeuralSettings) -> tuple[PreTrainedModel, Tokenizer, dict[str, Any], int]:
    """The encoder of a folder, its tokenizer, special tokens and limit. A stranger may have made the files.

    Raises:
        ValueError: they are damaged or do not fit each other; the parsers of transformers and tokenizers have errors
            of every kind. OSError, ImportError: a file is missing, or a package that it needs.
    """
    try:
        backend, special, limit = read_backend(folder)
        if is_run(folder):
            model, backend = _whole(folder, _read_run(folder, settings), backend, settings.num_layers)
        else:
            model = _read_model(folder, settings.num_layers)
    except (ValueError, OSError, ImportError, MemoryError):
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:300]
        raise ValueError(
            f"{folder}: its files are damaged or do not fit each other ({type(error).__name__}: {why}); copy the "
            "encoder again"
        ) from error
    return model, backend, special, limit


# ------------------------------------------------------------------ a random small encoder

TINY_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # XLM-R's ids 0-3; <mask> follows


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE over NFKC text: every input has pieces, whatever its script.

    Raises:
        ValueError: no texts, or a vocabulary smaller than the 256 bytes and the special tokens.
    """
    if not any(texts):
        raise ValueError("encoder 'tiny' learns its tokenizer from the training texts, and there are none")
    least = 256 + len(TINY_SPECIAL)
    check_range("model.tiny_vocabulary", vocabulary, vocabulary >= least, f"integers from {least}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(TINY_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
    )
    return tokenizer


def build_tiny(settings: NeuralSettings, texts: Sequence[str], seed: int) -> tuple[PreTrainedModel, Tokenizer]:
    """A random small XLM-R, its weights from ``seed`` alone, and its tokenizer: for tests and work from scratch."""
    tokenizer = train_tokenizer(texts, settings.tiny_vocabulary)
    hidden = settings.tiny_hidden
    heads = next(n for n in (4, 2, 1) if hidden % n == 0)
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=hidden,
        num_hidden_layers=settings.tiny_layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        max_position_embeddings=settings.max_length + 2,  # positions start at pad + 1 = 2
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = XLMRobertaModel(config, add_pooling_layer=False)
    return model, tokenizer


# ------------------------------------------------------------------ reading a Hugging Face folder


def _truncate(config: Any, num_layers: int) -> None:
    """Keep the first layers; transformers then leaves the weights of the others unread."""
    layers = config.num_hidden_layers
    check_range("model.num_layers", num_layers, 0 <= num_layers <= layers, f"0 (all) to {layers}")
    if num_layers:
        config.num_hidden_layers = num_layers
        if getattr(config, "layer_types", None):
            config.layer_types = list(config.layer_types)[:num_layers]


def _read_model(folder: Path, num_layers: int) -> PreTrainedModel:
    own = read_json(folder / "config.json").get("auto_map")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except ValueError as error:
        if not own:
            raise
        raise ValueError(
            f"{folder}: the encoder needs code of its own ({', '.join(map(str, own.values()))}), which hjc never runs; "
            "choose one that transformers knows, such as intfloat/multilingual-e5-small"
        ) from error
    _truncate(config, num_layers)
    cls = encoder_class(config)
    with _quiet_transformers():
        model, report = cls.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            attn_implementation="sdpa",
            local_files_only=True,
            output_loading_info=True,
            **no_pooler(cls),
        )
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ValueError(
            f"{folder} lacks {len(missing)} weights of {cls.__name__}, such as {missing[0]}: "
            "is model.safetensors that of this config.json?"
        )
    return bare(model)


def _read_run(folder: Path, settings: NeuralSettings) -> PreTrainedModel:
    """The encoder of a model directory of ours, with its trained weights."""
    say_differences(folder, pooling=settings.pooling, prefix=settings.prefix)
    config = AutoConfig.for_model(**read_json(folder / CONFIG_FILE))
    _truncate(config, settings.num_layers)
    model = of_config(config)
    missing, _ = model.load_state_dict(run_weights(folder), strict=False)  # of layers that are cut off, some are left
    if missing:
        raise ValueError(f"{folder} lacks {len(missing)} weights of {CONFIG_FILE}, such as {missing[0]}")
    return model


def _whole(
    folder: Path, trained: PreTrainedModel, backend: Tokenizer, num_layers: int
) -> tuple[PreTrainedModel, Tokenizer]:
    """The encoder of a run with the vocabulary that was pruned to the run's texts: other texts use other pieces.

    The encoder that the run started from is looked for on this machine alone: the run names it, not the user.
    """
    start = pruned_from(folder)
    if start is None or start[0] == TINY:
        return trained, backend
    try:
        source = resolve_folder(*start, ask_hub=False)
        whole, pieces = _read_model(source, num_layers), read_backend(source)[0]
        graft(whole, pieces.get_vocab(), trained, backend.get_vocab())
    except (EncoderNotFoundError, ValueError, OSError) as error:
        logger.warning(
            "the vocabulary of %s was pruned to its own texts (model.prune_vocabulary) and stays so: "
            "other texts are cut into more pieces. Where %s, which it started from, was looked for: %s",
            folder, start[0], error,
        )  # fmt: skip
        return trained, backend
    return whole, pieces


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without its progress bar, and without its list of the heads and layers that are left out on purpose."""
    verbosity, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bar:
            transformers_logging.enable_progress_bar()
