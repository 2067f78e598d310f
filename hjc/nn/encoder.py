"""Any Hugging Face encoder, by hub name or local folder, ready for fine-tuning; pooling; files in a model directory."""

import inspect
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
)
from transformers.utils import logging as transformers_logging

from hjc.errors import check_choice, check_range
from hjc.files import replacing
from hjc.nn.hub import resolve_folder
from hjc.nn.lora import add_lora
from hjc.nn.offline import XLMR_SPECIAL_TOKENS
from hjc.nn.pruning import prune
from hjc.nn.run_encoder import CONFIG_FILE, is_run, run_weights, say_differences
from hjc.nn.settings import POOLINGS, NeuralSettings

logger = logging.getLogger(__name__)

TOKENIZER_FILE, TOKENIZER_CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
TINY = "tiny"
UNLIMITED = 1_000_000  # tokens; files write 1e30 for it
TRIED = 64  # tokens that a stored encoder is tried out with
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


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
    corpus, extra = ([settings.prefix + text for text in part] for part in (texts, extra_texts))
    if settings.encoder == TINY:
        model, backend = build_tiny(settings, [*corpus, *extra], seed)
        special, limit = XLMR_SPECIAL_TOKENS, settings.max_length
    else:
        folder = resolve_folder(settings.encoder, settings.revision)
        backend, special, limit = _read_backend(folder)
        model = _read_run(folder, settings) if is_run(folder) else _read_model(folder, settings.num_layers)
        if settings.prune_vocabulary and corpus:
            before = model.get_input_embeddings().num_embeddings
            backend, mapping = prune(model, backend, corpus, extra)
            logger.info("vocabulary: %d of %d pieces kept", int((mapping >= 0).sum()), before)
    if max_tokens(model) < settings.max_length:
        raise ValueError(
            f"model.max_length: got {settings.max_length}, {settings.encoder} allows at most {max_tokens(model)}"
        )
    tokenizer = _wrap(backend, special, min(limit, max_tokens(model)))
    if settings.gradient_checkpointing:
        # the second name is that of transformers before its rename
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    if settings.lora_rank:
        add_lora(model, settings, seed)
    return model.float().train(), tokenizer


def pool(hidden: Tensor, mask: Tensor, kind: str) -> Tensor:
    """One vector a text.

    Args:
        hidden: (B, T, H) states of the last layer, padded on the right.
        mask: (B, T) attention mask, 1 for tokens.
        kind: ``mean`` over the tokens, computed in float32; ``max`` over the tokens; ``cls``: the first token;
            ``last``: the last one, the only one of a decoder that has read the whole text.

    Returns:
        (B, H), float32 for ``mean``, else as ``hidden``.
    """
    if kind == "cls":
        return hidden[:, 0]
    if kind == "mean":
        weight = mask.unsqueeze(-1).float()
        with torch.autocast(hidden.device.type, enabled=False):
            return (hidden.float() * weight).sum(1) / weight.sum(1).clamp(min=1)
    if kind == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    check_choice("model.pooling", kind, POOLINGS)
    lowest = torch.finfo(hidden.dtype).min
    return hidden.masked_fill(~mask.bool().unsqueeze(-1), lowest).amax(1)


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


def _encoder_class(config: Any) -> type[PreTrainedModel]:
    try:
        found = MODEL_MAPPING[type(config)]
    except KeyError as error:
        raise ValueError(
            f"{config.model_type!r} is not an encoder that transformers builds without remote code"
        ) from error
    return found[0] if isinstance(found, tuple) else found


def _no_pooler(cls: type[PreTrainedModel]) -> dict[str, bool]:
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(cls.__init__).parameters else {}


def _truncate(config: Any, num_layers: int) -> None:
    """Keep the first layers; transformers then leaves the weights of the others unread."""
    layers = config.num_hidden_layers
    check_range("model.num_layers", num_layers, 0 <= num_layers <= layers, f"0 (all) to {layers}")
    if num_layers:
        config.num_hidden_layers = num_layers
        if getattr(config, "layer_types", None):
            config.layer_types = list(config.layer_types)[:num_layers]


def _read_model(folder: Path, num_layers: int) -> PreTrainedModel:
    own = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("auto_map")
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
    cls = _encoder_class(config)
    with _quiet_transformers():
        model, report = cls.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            attn_implementation="sdpa",
            local_files_only=True,
            output_loading_info=True,
            **_no_pooler(cls),
        )
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ValueError(
            f"{folder} lacks {len(missing)} weights of {cls.__name__}, such as {missing[0]}: "
            "is model.safetensors that of this config.json?"
        )
    return _bare(model)


def _read_run(folder: Path, settings: NeuralSettings) -> PreTrainedModel:
    """The encoder of a model directory of ours, with its trained weights."""
    say_differences(folder, pooling=settings.pooling, prefix=settings.prefix)
    config = AutoConfig.for_model(**json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
    _truncate(config, settings.num_layers)
    model = _of_config(config)
    missing, _ = model.load_state_dict(run_weights(folder), strict=False)  # of layers that are cut off, some are left
    if missing:
        raise ValueError(f"{folder} lacks {len(missing)} weights of {CONFIG_FILE}, such as {missing[0]}")
    return model


def _of_config(config: Any) -> PreTrainedModel:
    options = _no_pooler(_encoder_class(config))
    return _bare(AutoModel.from_config(config, dtype=torch.float32, attn_implementation="sdpa", **options))


def _bare(model: Any) -> PreTrainedModel:
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


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


def max_tokens(model: PreTrainedModel) -> int:
    """Longest input in tokens: rows of the position table, less those that RoBERTa leaves unused before its first."""
    positions = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if isinstance(positions, nn.Embedding):
        return positions.num_embeddings - (0 if positions.padding_idx is None else positions.padding_idx + 1)
    return int(getattr(model.config, "max_position_embeddings", None) or UNLIMITED)


# ------------------------------------------------------------------ tokenizers


def _read_backend(folder: Path) -> tuple[Tokenizer, dict[str, Any], int]:
    """A folder's tokenizer (its tokenizer.json as it stands, else what transformers builds), special tokens, limit."""
    if not (folder / TOKENIZER_FILE).is_file():  # HerBERT has a vocabulary and merges only
        made = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, use_fast=True)
        if not made.is_fast:
            raise ValueError(f"{folder} has no {TOKENIZER_FILE}, and transformers has no fast tokenizer for it")
        return made.backend_tokenizer, _special_tokens(made), min(made.model_max_length, UNLIMITED)
    special: dict[str, Any] = {}
    limit = UNLIMITED
    for name in ("special_tokens_map.json", TOKENIZER_CONFIG_FILE):
        if (folder / name).is_file():
            content = json.loads((folder / name).read_text(encoding="utf-8"))
            special |= {key: content[key] for key in SPECIAL_TOKENS if content.get(key)}
            limit = min(limit, int(content.get("model_max_length") or limit))
    return Tokenizer.from_file(str(folder / TOKENIZER_FILE)), special, limit


def _special_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[str, str]:
    return {name: str(value) for name in SPECIAL_TOKENS if (value := getattr(tokenizer, name)) is not None}


def _wrap(backend: Tokenizer, special: dict[str, Any], max_length: int) -> PreTrainedTokenizerFast:
    """A right-padding fast tokenizer without truncation or padding of its own (some files carry both)."""
    backend.no_truncation()
    backend.no_padding()
    names = {
        key: value["content"] if isinstance(value, dict) else str(value) for key, value in special.items() if value
    }
    if "pad_token" not in names:
        raise ValueError("the tokenizer names no pad_token (in tokenizer_config.json or special_tokens_map.json)")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_length,
        padding_side="right",
        truncation_side="right",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        **names,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json; no path of this machine gets into either."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    backend.save(str(directory / TOKENIZER_FILE), pretty=False)
    content: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": tokenizer.model_max_length,
    }
    content |= _special_tokens(tokenizer)
    (directory / TOKENIZER_CONFIG_FILE).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


# ------------------------------------------------------------------ model directory


def save_weights(module: nn.Module, path: Path) -> None:
    """Write the state dict of a module as safetensors, whole or not at all."""
    state = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    with replacing(path) as part:
        save_file(state, part, metadata={"format": "pt"})


def load_weights(module: nn.Module, path: Path) -> None:
    """Read what :func:`save_weights` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the weights are not those of such a module.
    """
    try:
        module.load_state_dict(load_file(path))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: does not fit {CONFIG_FILE} ({error})") from error


def save_encoder(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write all but the weights: tokenizer, and encoder_config.json (the architecture after truncation and pruning).

    No paths or versions of origin get into the files.
    """
    content = encoder.config.to_dict()
    content = {key: value for key, value in content.items() if not key.startswith("_")} | {"dtype": "float32"}
    content.pop("quantization_config", None)
    text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True)
    (directory / CONFIG_FILE).write_text(text, encoding="utf-8")
    save_tokenizer(tokenizer, directory)


def read_encoder(directory: Path, max_length: int) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The encoder and tokenizer that :func:`save_encoder` wrote, the weights untrained: load the state dict next.

    A text is run through them, so that files which a stranger made fail here and not at the first row.

    Raises:
        Exception: they do not fit each other; whatever transformers, tokenizers and torch raise.
    """
    path = directory / CONFIG_FILE
    content = json.loads(path.read_text(encoding="utf-8"))
    if "model_type" not in content:
        raise ValueError(f"{path} names no model_type: not an encoder configuration")
    config = AutoConfig.for_model(**content)
    model = _of_config(config).eval()
    if not (directory / TOKENIZER_FILE).is_file():
        raise FileNotFoundError(f"{directory} has no {TOKENIZER_FILE}: not a complete model directory")
    tokenizer, rows = _wrap(*_read_backend(directory)), model.get_input_embeddings().num_embeddings
    if max_tokens(model) < max_length or max(tokenizer.get_vocab().values(), default=rows) >= rows:
        raise ValueError(f"{path}: its {rows} tokens and {max_tokens(model)} positions are fewer than the model uses")
    with torch.inference_mode():
        model(**tokenizer(["a " * TRIED], truncation=True, max_length=min(TRIED, max_length), return_tensors="pt"))
    return model, tokenizer
