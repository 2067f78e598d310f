"""Tokenizers for prediction, without transformers and without torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from hjc.files import read_json

TOKENIZER_FILE, TOKENIZER_CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
UNLIMITED = 1_000_000  # tokens; files write 1e30 for it
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def stored_backend(folder: Path) -> tuple[Tokenizer, dict[str, Any], int]:
    """A folder's tokenizer.json as it stands, its special tokens, its limit."""
    special: dict[str, Any] = {}
    limit = UNLIMITED
    for name in ("special_tokens_map.json", TOKENIZER_CONFIG_FILE):
        if (folder / name).is_file():
            content = read_json(folder / name)
            special |= {key: content[key] for key in SPECIAL_TOKENS if content.get(key)}
            limit = min(limit, int(content.get("model_max_length") or limit))
    return Tokenizer.from_file(str(folder / TOKENIZER_FILE)), special, limit


def special_tokens(tokenizer: Any) -> dict[str, str]:
    """Of any tokenizer: ``pad_token`` and the like -> its text."""
    return {name: str(value) for name in SPECIAL_TOKENS if (value := getattr(tokenizer, name)) is not None}


def names_of(special: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens as their texts.

    Raises:
        ValueError: there is no pad.
    """
    names = {
        key: value["content"] if isinstance(value, dict) else str(value) for key, value in special.items() if value
    }
    if "pad_token" not in names:
        raise ValueError("the tokenizer names no pad_token (in tokenizer_config.json or special_tokens_map.json)")
    return names


class LightTokenizer:
    """What prediction needs of a fast tokenizer of transformers, called alike.

    Raises:
        ValueError: a special token has no number.
    """

    def __init__(self, backend: Tokenizer, special: Mapping[str, Any], max_length: int) -> None:
        backend.no_truncation()
        backend.no_padding()
        self.backend_tokenizer, self.model_max_length = backend, max_length
        self.special = names_of(special)
        self.numbers: dict[str, int] = {}
        for name, text in self.special.items():
            if (number := backend.token_to_id(text)) is None:
                raise ValueError(f"the tokenizer has no piece for its {name}, {text!r}")
            self.numbers[name] = number
        self.all_special_ids = list(dict.fromkeys(self.numbers.values()))

    def __getattr__(self, name: str) -> Any:
        """``pad_token``, ``pad_token_id`` and so on; None where it has none."""
        if name in SPECIAL_TOKENS:
            return self.special.get(name)
        if name.removesuffix("_id") in SPECIAL_TOKENS:
            return self.numbers.get(name.removesuffix("_id"))
        raise AttributeError(f"a tokenizer for prediction has no {name}")

    def get_vocab(self) -> dict[str, int]:
        return self.backend_tokenizer.get_vocab(with_added_tokens=True)

    def __call__(
        self,
        texts: str | Sequence[str],
        *,
        truncation: bool = False,
        max_length: int | None = None,
        padding: bool = False,
        return_tensors: str | None = None,
        return_offsets_mapping: bool = False,
        return_special_tokens_mask: bool = False,
        return_attention_mask: bool = True,
        return_token_type_ids: bool = False,
    ) -> dict[str, Any]:
        """``input_ids`` of texts, special tokens included, cut to ``max_length``, and what else is asked for.

        Raises:
            ValueError: types of tokens, or tensors of another library.
        """
        if return_token_type_ids or return_tensors not in (None, "pt"):
            raise ValueError("a tokenizer for prediction gives no types of tokens, and lists or tensors of torch")
        if truncation:
            self.backend_tokenizer.enable_truncation(self.model_max_length if max_length is None else max_length)
        else:
            self.backend_tokenizer.no_truncation()
        encode = (
            self.backend_tokenizer.encode_batch if return_offsets_mapping else self.backend_tokenizer.encode_batch_fast
        )
        rows = encode([texts] if isinstance(texts, str) else list(texts))
        out: dict[str, Any] = {"input_ids": [row.ids for row in rows]}
        if return_attention_mask:
            out["attention_mask"] = [[1] * len(row.ids) for row in rows]
        if return_offsets_mapping:
            out["offset_mapping"] = [row.offsets for row in rows]
        if return_special_tokens_mask:
            out["special_tokens_mask"] = [row.special_tokens_mask for row in rows]
        if padding:
            width = max(map(len, out["input_ids"]), default=0)
            for name, fill in (("input_ids", self.numbers["pad_token"]), ("attention_mask", 0)):
                out[name] = [row + [fill] * (width - len(row)) for row in out.get(name, ())]
        if return_tensors:
            import torch

            return {name: torch.tensor(values) for name, values in out.items()}
        return {name: values[0] for name, values in out.items()} if isinstance(texts, str) else out
