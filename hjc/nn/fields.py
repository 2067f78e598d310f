"""What of a text goes where: the tokens of its title, and windows of long texts. And their vectors made one.

S sequences (windows of all texts of a batch), B texts, T tokens, H hidden.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hjc.arrays import IntArray


def first_line(text: str) -> str:
    """The first line that is not blank, "" where no other follows: the title, as the recipe assembles texts."""
    title, _, rest = text.strip().partition("\n")
    return title if rest.strip() else ""


def special_ends(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and behind every text."""
    ids = tokenizer("a")["input_ids"]
    special = set(tokenizer.all_special_ids)
    inner = [i for i, token in enumerate(ids) if token not in special]
    if not inner:
        raise ValueError("the tokenizer has no piece for the letter a")
    return ids[: inner[0]], ids[inner[-1] + 1 :]


def title_lengths(tokenizer: Any, titles: Sequence[str], lengths: IntArray) -> IntArray:
    """(n,) tokens at the start of each text that are of its title, special tokens and prefix before it included.

    Args:
        titles: n titles with their prefix; "" where a text has none of its own: all its tokens count.
        lengths: (n,) tokens of the texts, as they are cut.
    """
    _, behind = special_ends(tokenizer)
    out = lengths.copy()
    if rows := [i for i, title in enumerate(titles) if title]:
        found = tokenizer([titles[i] for i in rows], return_attention_mask=False, return_token_type_ids=False)
        own = np.array([len(ids) - len(behind) for ids in found["input_ids"]])
        out[rows] = np.minimum(own, lengths[rows])
    return out


def windows_of(row: Sequence[int], size: int, before: Sequence[int], behind: Sequence[int]) -> list[list[int]]:
    """The tokens of one text as windows of at most ``size``, each between the special tokens of the whole."""
    if len(row) <= size:
        return [list(row)]
    inner = row[len(before) : len(row) - len(behind)]
    step = size - len(before) - len(behind)
    return [[*before, *inner[i : i + step], *behind] for i in range(0, len(inner), step)]


def first_tokens(mask: Tensor, number: Tensor) -> Tensor:
    """(S, T) mask and (S,) -> (S, T) mask of the first tokens of each sequence alone."""
    return mask * (torch.arange(mask.shape[1], device=mask.device) < number[:, None])


def merge_windows(vectors: Tensor, tokens: Tensor, owner: Tensor) -> Tensor:
    """(S, H) vectors, (S,) tokens and (S,) numbers of texts -> (B, H) means of their windows, weighted by tokens."""
    weight = tokens.to(vectors.dtype)[:, None]
    rows = int(owner[-1]) + 1
    total = vectors.new_zeros(rows, vectors.shape[1]).index_add(0, owner, vectors * weight)
    return total / vectors.new_zeros(rows, 1).index_add(0, owner, weight).clamp(min=1)
