"""Encoders and tokenizers as transformers builds them, from configurations and files."""

import inspect
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import MODEL_MAPPING, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from hjc.nn.tokenizer import TOKENIZER_FILE, UNLIMITED, names_of, special_tokens, stored_backend


def encoder_class(config: Any) -> type[PreTrainedModel]:
    try:
        found = MODEL_MAPPING[type(config)]
    except KeyError as error:
        raise ValueError(
            f"{config.model_type!r} is not an encoder that transformers builds without remote code"
        ) from error
    return found[0] if isinstance(found, tuple) else found


def no_pooler(cls: type[PreTrainedModel]) -> dict[str, bool]:
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(cls.__init__).parameters else {}


def of_config(config: Any) -> PreTrainedModel:
    options = no_pooler(encoder_class(config))
    return bare(AutoModel.from_config(config, dtype=torch.float32, attn_implementation="sdpa", **options))


def bare(model: Any) -> PreTrainedModel:
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def read_backend(folder: Path) -> tuple[Tokenizer, dict[str, Any], int]:
    """A folder's tokenizer (its tokenizer.json as it stands, else what transformers builds), special tokens, limit."""
    if not (folder / TOKENIZER_FILE).is_file():  # HerBERT has a vocabulary and merges only
        made = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, use_fast=True)
        if not made.is_fast:
            raise ValueError(f"{folder} has no {TOKENIZER_FILE}, and transformers has no fast tokenizer for it")
        return made.backend_tokenizer, special_tokens(made), min(made.model_max_length, UNLIMITED)
    return stored_backend(folder)


def wrap(backend: Tokenizer, special: dict[str, Any], max_length: int) -> PreTrainedTokenizerFast:
    """A right-padding fast tokenizer without truncation or padding of its own (some files carry both)."""
    backend.no_truncation()
    backend.no_padding()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_length,
        padding_side="right",
        truncation_side="right",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        **names_of(special),
    )
