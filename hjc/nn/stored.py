"""Encoders in a model directory: written, and read again for prediction; one vector a text."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from hjc.errors import check_choice
from hjc.files import read_json, replacing
from hjc.nn.light import light_encoder
from hjc.nn.run_encoder import CONFIG_FILE
from hjc.nn.settings import POOLINGS
from hjc.nn.tokenizer import (
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    UNLIMITED,
    LightTokenizer,
    special_tokens,
    stored_backend,
)

TRIED = 64  # tokens that a stored encoder is tried out with
#: what takes memory in a configuration, and the positions that no encoder has
_SIZES = ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size", "type_vocab_size",
          "max_position_embeddings")  # fmt: skip
_POSITIONS = 10_000_000


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


def max_tokens(model: Any) -> int:
    """Longest input in tokens: rows of the position table, less those that RoBERTa leaves unused before its first."""
    positions = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if isinstance(positions, nn.Embedding):
        return positions.num_embeddings - (0 if positions.padding_idx is None else positions.padding_idx + 1)
    return int(getattr(model.config, "max_position_embeddings", None) or UNLIMITED)


# ------------------------------------------------------------------ model directory


def save_tokenizer(tokenizer: Any, directory: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json; no path of this machine gets into either."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    backend.save(str(directory / TOKENIZER_FILE), pretty=False)
    content: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": tokenizer.model_max_length,
    }
    content |= special_tokens(tokenizer)
    (directory / TOKENIZER_CONFIG_FILE).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def save_weights(module: nn.Module, path: Path, without: str = "") -> None:
    """Write the state dict of a module as safetensors, whole or not at all; ``without`` the part of that name."""
    kept = {k: v for k, v in module.state_dict().items() if not (without and k.startswith(f"{without}."))}
    state = {k: v.detach().cpu().contiguous() for k, v in kept.items()}
    with replacing(path) as part:
        save_file(state, part, metadata={"format": "pt"})


def load_weights(module: nn.Module, path: Path, **parts: Path) -> None:
    """Read what :func:`save_weights` wrote; of ``parts`` of the module that have files of their own, from there.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the weights are not those of such a module.
    """
    try:
        state = load_file(path)
        for name, file in parts.items():
            state |= {f"{name}.{key}": value for key, value in load_file(file).items()}
        module.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path}: does not fit {CONFIG_FILE} ({error})") from error


def save_encoder(encoder: Any, tokenizer: Any, directory: Path) -> None:
    """Write all but the weights: tokenizer, and encoder_config.json (the architecture after truncation and pruning).

    No paths or versions of origin get into the files.
    """
    content = encoder.config.to_dict()
    content = {key: value for key, value in content.items() if not key.startswith("_")} | {"dtype": "float32"}
    content.pop("quantization_config", None)
    text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True)
    (directory / CONFIG_FILE).write_text(text, encoding="utf-8")
    save_tokenizer(tokenizer, directory)


def _check_sizes(path: Path, content: Mapping[str, Any]) -> None:
    """Raise ValueError where a configuration asks for more than lies in the weights beside it: a network of a billion
    layers would be built before the weights are found not to fit, and take all memory."""
    files = [file for file in path.parent.glob("*.safetensors") if file.is_file()]
    tensors = total = 0
    for file in files:
        total += file.stat().st_size
        with safe_open(file, framework="numpy") as stored:
            tensors += len(stored.keys())
    sizes = {key: value for key in _SIZES if isinstance(value := content.get(key), int)}
    width = max(1, sizes.get("hidden_size", 1))
    most = {"num_hidden_layers": tensors, "max_position_embeddings": _POSITIONS, "hidden_size": total}
    for key, value in sizes.items():
        if files and value > (limit := most.get(key, total // width)):
            raise ValueError(f"{path}: {key} is {value}; the weights beside it have room for {limit} at most")


def read_encoder(directory: Path, max_length: int) -> tuple[Any, Any]:
    """The encoder and tokenizer that :func:`save_encoder` wrote, the weights untrained: load the state dict next.

    A text is run through them, so that files which a stranger made fail here and not at the first row.

    Raises:
        Exception: they do not fit each other; whatever transformers, tokenizers and torch raise.
    """
    path = directory / CONFIG_FILE
    content = read_json(path)
    if not isinstance(content, dict) or "model_type" not in content:
        raise ValueError(f"{path} names no model_type: not an encoder configuration")
    _check_sizes(path, content)
    model: Any = light_encoder(content)
    if model is None:  # the import takes seconds
        from transformers import AutoConfig

        from hjc.nn.architectures import of_config

        model = of_config(AutoConfig.for_model(**content))
    model.eval()
    if not (directory / TOKENIZER_FILE).is_file():
        raise FileNotFoundError(f"{directory} has no {TOKENIZER_FILE}: not a complete model directory")
    tokenizer, rows = LightTokenizer(*stored_backend(directory)), model.get_input_embeddings().num_embeddings
    if max_tokens(model) < max_length or max(tokenizer.get_vocab().values(), default=rows) >= rows:
        raise ValueError(f"{path}: its {rows} tokens and {max_tokens(model)} positions are fewer than the model uses")
    with torch.inference_mode():
        ids = torch.tensor(tokenizer(["a " * TRIED], truncation=True, max_length=min(TRIED, max_length))["input_ids"])
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return model, tokenizer
