"""Vectors of the title's tokens and of windows (:mod:`hjc.nn.tokens`) made one.

S sequences (windows of all texts of a batch), B texts, T tokens, H hidden.
"""

import torch
from torch import Tensor


def first_tokens(mask: Tensor, number: Tensor) -> Tensor:
    """(S, T) mask and (S,) -> (S, T) mask of the first tokens of each sequence alone."""
    return mask * (torch.arange(mask.shape[1], device=mask.device) < number[:, None])


def merge_windows(vectors: Tensor, tokens: Tensor, owner: Tensor) -> Tensor:
    """(S, H) vectors, (S,) tokens and (S,) numbers of texts -> (B, H) means of their windows, weighted by tokens."""
    weight = tokens.to(vectors.dtype)[:, None]
    rows = int(owner[-1]) + 1
    total = vectors.new_zeros(rows, vectors.shape[1]).index_add(0, owner, vectors * weight)
    return total / vectors.new_zeros(rows, 1).index_add(0, owner, weight).clamp(min=1)
