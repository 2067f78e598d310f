"""Which tokens drove a log-probability: integrated gradients (Sundararajan, Taly & Yan 2017) through captum.

Between the text and a baseline in which every token of the text is the padding token (special tokens and the prefix
stay), the gradient with respect to the token vectors is integrated along the straight line; the parts of the tokens
add up to f(text) - f(baseline) but for the error of the quadrature, which is checked.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hjc.arrays import BoolArray, Float64, IntArray
from hjc.nn.network import Network, read_texts
from hjc.nn.settings import NeuralSettings
from hjc.nn.tokens import clean, lower_capitals

#: points of the Gauss-Legendre quadrature, tried in this order until the sum is met
STEPS = (16, 48, 128)
#: nats by which the parts may miss f(text) - f(baseline), or this share of it where that is more
TOLERANCE = 0.05
#: points in one pass forward and back
ROWS = 16
#: relative difference allowed between vectors given as such and token ids: float32 rounding
_SAME = 1e-3

Target = tuple[slice, slice | None]


class AttributionError(ValueError):
    """The encoder cannot be attributed with gradients."""


@dataclass(frozen=True)
class TokenParts:
    """Parts of T tokens for K targets.

    starts, ends: (T,) characters ``text[start:end]`` of each token, -1 for special tokens and the prefix.
    parts: (K, T) float64. value, baseline: (K,) f(text) and f(baseline). error: (K,) what the sum misses.
    read: characters of the text that the encoder was given; fewer than it has where it was cut.
    """

    starts: IntArray
    ends: IntArray
    parts: Float64
    value: Float64
    baseline: Float64
    steps: int
    read: int

    @property
    def error(self) -> Float64:
        return self.parts.sum(axis=1) - (self.value - self.baseline)

    def complete(self, tolerance: float = TOLERANCE) -> BoolArray:
        """(K,) whether the parts add up."""
        return np.abs(self.error) <= tolerance * np.maximum(1.0, np.abs(self.value - self.baseline))


def integrated_gradients(
    network: Network,
    tokenizer: Any,
    settings: NeuralSettings,
    text: str,
    targets: Sequence[Target],
    *,
    steps: Sequence[int] = STEPS,
    tolerance: float = TOLERANCE,
) -> TokenParts:
    """Parts of every token.

    Args:
        targets: log of the summed probability of a slice of leaves, less that of a second slice where there is one.
        steps: numbers of points to try, until all sums are met.

    Raises:
        ModuleNotFoundError: captum is not installed.
        AttributionError: the encoder computes something else from token vectors than from token ids.
    """
    try:
        from captum.attr import IntegratedGradients
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'integrated gradients need captum: pip install "hjc[explain]"; leaving words out needs nothing: '
            "method occlusion",
            name="captum",
        ) from error
    device = next(network.parameters()).device
    ids, starts, ends, read = _encode(tokenizer, settings, text)
    _, batch = next(read_texts(tokenizer, [text], settings, device))
    if "owner" in batch:
        raise AttributionError("a text of several windows (model.windows) has no gradients here: use method occlusion")
    title = batch.get("title")
    inner = torch.from_numpy(starts >= 0).to(device)
    was_training = network.training
    network.eval()
    try:
        given = torch.from_numpy(ids)[None].to(device)
        embed = network.encoder.get_input_embeddings()  # type: ignore[operator]
        with torch.no_grad():
            here = embed(given)
            padding = embed(torch.full_like(given, tokenizer.pad_token_id))
            there = torch.where(inner[None, :, None], padding, here)

        def title_of(rows: Tensor) -> Tensor | None:
            return None if title is None else title.expand(len(rows))

        def forward(vectors: Tensor) -> Tensor:  # not network.features: the encoder may be frozen
            mask = torch.ones(vectors.shape[:2], dtype=torch.int64, device=device)
            hidden = network.encoder(inputs_embeds=vectors, attention_mask=mask).last_hidden_state
            return _of(targets, network.head(network.norm(network.pooled(hidden, mask, title_of(mask)))))

        with torch.no_grad():
            value, baseline = forward(here)[0], forward(there)[0]
            expected = _of(targets, network(given, torch.ones_like(given), title=title))[0]
        if not torch.allclose(value, expected, rtol=_SAME, atol=_SAME):
            raise AttributionError(
                f"the encoder {settings.encoder} computes something else from token vectors than from tokens, so that "
                "gradients say nothing about the words: use method occlusion"
            )
        method = IntegratedGradients(forward)
        found = None
        for n in steps:
            parts = [
                method.attribute(here, there, target=k, n_steps=n, method="gausslegendre", internal_batch_size=ROWS)
                for k in range(len(targets))
            ]
            sums = torch.stack([p[0].sum(-1) for p in parts]).double().cpu().numpy()
            found = TokenParts(starts, ends, sums, _double(value), _double(baseline), n, read)
            if found.complete(tolerance).all():
                break
    finally:
        network.train(was_training)
    if found is None:
        raise ValueError("steps: got none, expected at least one number of points")
    return found


def _double(x: Tensor) -> Float64:
    return x.double().cpu().numpy()


def _of(targets: Sequence[Target], log_proba: Tensor) -> Tensor:
    """(B, L) log-probabilities -> (B, K) targets."""
    columns = []
    for own, other in targets:
        value = log_proba[:, own].logsumexp(-1)
        columns.append(value if other is None else value - log_proba[:, other].logsumexp(-1))
    return torch.stack(columns, dim=1)


def _encode(tokenizer: Any, settings: NeuralSettings, text: str) -> tuple[IntArray, IntArray, IntArray, int]:
    """Token ids as prediction has them, with their places in the text as it stands, and how far it was read."""
    if settings.capitals == "lower":
        text = lower_capitals(text)  # every character stays in its place
    cleaned = clean(text, settings.max_length)
    place = _places(text, cleaned)
    encoded = tokenizer(
        settings.prefix + cleaned,
        truncation=True,
        max_length=settings.max_length,
        padding=False,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    ids = np.array(encoded["input_ids"], dtype=np.int64)
    spans = np.array(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2) - len(settings.prefix)
    inside = (np.array(encoded["special_tokens_mask"]) == 0) & (spans[:, 1] > 0)
    starts, ends = np.full((2, len(ids)), -1, dtype=np.int64)
    starts[inside], ends[inside] = place[np.maximum(spans[inside, 0], 0)], place[spans[inside, 1] - 1] + 1
    last = int(spans[inside, 1].max()) if inside.any() else 0
    read = len(text) if last >= len(cleaned.rstrip()) and len(cleaned) == len(" ".join(text.split())) else (
        int(place[last - 1]) + 1 if last else 0
    )  # fmt: skip
    return ids, starts, ends, read


def _places(text: str, cleaned: str) -> IntArray:
    """Where in the text each character of its cleaned form stands (blanks: where the gap begins)."""
    out: list[int] = []
    for word in re.finditer(r"\S+", text):
        out += [*([out[-1] + 1] if out else []), *range(*word.span())]
        if len(out) >= len(cleaned):
            break
    return np.array(out[: len(cleaned)], dtype=np.int64)
