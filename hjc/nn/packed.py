"""The layers of BERT-like encoders over the tokens of a batch without its padding, for CPUs.

All tokens of a batch are rows of one matrix: linear layers, normalisation and dropout never see a pad; only attention
lays texts of like length side by side. Matrix products are in the type of the run. In bfloat16 they are made from
copies of the float32 weights; the residual stream, softmax and normalisation stay in float32. Forward and backward of a
layer are written out below: no intermediate tensor is made twice, and dropout takes its bits from a fast generator. In
float32 it is the layer of transformers (tests compare outputs and gradients).

B texts, n tokens without padding, T tokens of the longest text of a group, H wide, h heads of d, I wide inside.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hjc.nn.light import UnsetLinear

#: layers of transformers that are computed alike: attention, add and normalise, feed-forward, add and normalise
LAYERS = ("BertLayer", "RobertaLayer", "XLMRobertaLayer", "CamembertLayer", "ElectraLayer", "LightLayer")
#: attention is padded to multiples of so many tokens (vectors of float32); the shortest text of a group, to the longest
MULTIPLE, SHARE = 16, 0.7
#: tokens from which attention is computed in one type; places in the scores of a head and group, for the caches' sake
WIDE, MOST = 64, 2**19
#: where nothing is kept for gradients: such places, and tokens that linear layers and normalisation take at once
FEWER, TOGETHER = 2**15, 512
#: random integers are drawn from [-2^15, 2^15)
HALF = 2**15


# ------------------------------------------------------------------ where tokens lie


@dataclass(frozen=True)
class Group:
    """Texts side by side for attention.

    Attributes:
        texts, width: B and T.
        gather: (B * T,) the token at each place; n for none.
        bias: (B, 1, T) float32, 0 for tokens and -inf for none; None where every place has a token.
    """

    texts: int
    width: int
    gather: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class Layout:
    """How the (B, T) tokens of a padded batch become n packed ones, longest text first, and find back.

    Attributes:
        tokens: (n,) places in the padded batch, row after row.
        groups: for attention.
        scatter: (n,) place of each token in the padded rows of all groups, one group after the other.
    """

    tokens: Tensor
    groups: list[Group]
    scatter: Tensor

    @classmethod
    def of(cls, attention_mask: Tensor, most: int = MOST) -> "Layout":
        """From (B, T) masks of texts padded on the right; a group has one text, or so many places at most."""
        lengths = attention_mask.sum(1).numpy()
        width = attention_mask.shape[1]
        order = np.argsort(-lengths, kind="stable")
        lengths = lengths[order]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
        text = np.repeat(np.arange(len(order)), lengths)
        groups, scatter, first, base = [], np.empty(starts[-1], np.int64), 0, 0
        while first < len(order):
            wide = -(-int(lengths[first]) // MULTIPLE) * MULTIPLE
            alike = int((lengths[first:] >= SHARE * lengths[first]).sum())
            last = first + min(alike, max(1, most // wide**2))
            place = np.arange(wide)
            there = place < lengths[first:last, None]
            gather = np.where(there, starts[first:last, None] + place, starts[-1])
            bias = None if there.all() else torch.from_numpy(np.where(there, 0, -np.inf).astype(np.float32))[:, None]
            groups.append(Group(last - first, wide, torch.from_numpy(gather.ravel()), bias))
            here = slice(starts[first], starts[last])
            scatter[here] = base + (text[here] - first) * wide + within[here]
            base += (last - first) * wide
            first = last
        return cls(torch.from_numpy(order[text] * width + within), groups, torch.from_numpy(scatter))


class Dropout:
    """Masks of 0 and 1 / (1 - p), from a generator of its own that is seeded by torch's.

    p is the nearest one whose 1 / (1 - p) is a bfloat16 number (0.0986 for 0.1): the mean is then exact in both types.
    """

    def __init__(self) -> None:
        self.random = np.random.SFC64(int(torch.randint(2**63 - 1, ())))

    def mask(self, like: Tensor, p: float) -> Tensor | None:
        """A mask in the shape and type of ``like``; None where nothing is dropped."""
        if not p:
            return None
        scale = float(torch.tensor(1 / (1 - p), dtype=torch.bfloat16))
        bits = torch.from_numpy(self.random.random_raw(-(-like.numel() // 4)).view(np.int16))
        out = torch.empty_like(like, memory_format=torch.contiguous_format)
        least = round((1 - 1 / scale) * 2 * HALF) - HALF
        torch.ge(bits[: like.numel()].view(like.shape), least, out=out)
        return out.mul_(scale)


def _drop(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


# ------------------------------------------------------------------ attention


def attend(qkv: Tensor, group: Group, heads: int, p: float, dropout: Dropout | None) -> tuple[Tensor, tuple[Any, ...]]:
    """(n + 1, 3H) queries, keys and values, a row of zeros last -> (B * T, H), and what the backward pass needs."""
    b, t, width = group.texts, group.width, qkv.shape[1] // 3
    split = qkv.index_select(0, group.gather).view(b, t, 3, heads, -1).permute(2, 3, 0, 1, 4).contiguous()
    q, k, v = split.view(3, heads * b, t, -1).unbind(0)
    scale = 1 / math.sqrt(width // heads)
    if t >= WIDE:  # softmax computes inside in float32, and is the faster for it on long rows of bfloat16
        bias = qkv.new_zeros(()) if group.bias is None else group.bias.to(qkv.dtype).repeat(heads, 1, 1)
        proba = torch.softmax(torch.baddbmm(bias, q, k.transpose(1, 2), alpha=scale), -1)
    else:
        scores = torch.bmm(q, k.transpose(1, 2)).view(heads, b, t, t)
        scaled = scores.float() * scale if group.bias is None else torch.add(group.bias, scores, alpha=scale)
        proba = torch.softmax(scaled, -1).to(qkv.dtype).view(heads * b, t, t)
    mask = dropout.mask(proba, p) if dropout is not None else None
    out = torch.bmm(_drop(proba, mask), v)
    return out.view(heads, b, t, -1).permute(1, 2, 0, 3).reshape(b * t, width), (split, proba, mask)


def attend_backward(grad: Tensor, group: Group, heads: int, kept: tuple[Any, ...]) -> Tensor:
    """(B * T, H) gradients of the output of :func:`attend` -> (B * T, 3H) of queries, keys and values."""
    split, proba, mask = kept
    b, t = group.texts, group.width
    scale = 1 / math.sqrt(split.shape[-1])
    q, k, v = split.view(3, heads * b, t, -1).unbind(0)
    grad = grad.view(b, t, heads, -1).permute(2, 0, 1, 3).reshape(heads * b, t, -1)
    out = torch.empty_like(split)
    dq, dk, dv = out.view(3, heads * b, t, -1).unbind(0)
    torch.bmm(_drop(proba, mask).transpose(1, 2), grad, out=dv)
    weight, toward = proba.float(), _drop(torch.bmm(grad, v.transpose(1, 2)), mask).float()
    product = weight * toward
    scores = torch.addcmul(product, weight, product.sum(-1, keepdim=True), value=-1).mul_(scale).to(proba.dtype)
    torch.bmm(scores, k, out=dq)
    torch.bmm(scores.transpose(1, 2), q, out=dk)
    return out.permute(2, 3, 0, 1, 4).reshape(b * t, -1)


# ------------------------------------------------------------------ a layer


@dataclass(frozen=True)
class Call:
    """What a layer needs beside its input and weights."""

    layout: Layout
    heads: int
    epsilon: float
    p_attention: float
    p_hidden: float
    dropout: Dropout | None
    dtype: torch.dtype


def _linear_backward(grad: Tensor, x: Tensor, needed: bool) -> tuple[Tensor | None, Tensor | None]:
    """Gradients (out, in) and (out,) of weight and bias, in the type of ``x``."""
    if not needed:
        return None, None
    return torch.mm(grad.t(), x), grad.sum(0)


def _whole(pair: tuple[Tensor | None, Tensor | None]) -> list[Tensor | None]:
    """In float32, as the weights are."""
    return [None if part is None else part.float() for part in pair]


def _thirds(pair: tuple[Tensor | None, Tensor | None]) -> list[Tensor | None]:
    """Those of query, key and value."""
    weight, bias = pair
    if weight is None or bias is None:
        return [None] * 6
    return [part.float() for both in zip(weight.chunk(3), bias.chunk(3), strict=True) for part in both]


class LayerFunction(torch.autograd.Function):
    """(n, H) float32 -> (n, H) float32. Weights: query, key, value, attention output, norm, inner, outer, norm."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Call, *weights: Tensor) -> Tensor:
        wq, bq, wk, bk, wv, bv, wo, bo, g1, c1, w1, b1, w2, b2, g2, c2 = weights
        dtype, (n, width) = call.dtype, x.shape
        with torch.autocast("cpu", enabled=False):
            qkv_weight = _beside((wq, wk, wv), dtype)
            wo16, w116, w216 = wo.to(dtype), w1.to(dtype), w2.to(dtype)
            x16 = x.to(dtype)
            qkv = torch.empty(n + 1, 3 * width, dtype=dtype)
            qkv[n] = 0
            torch.addmm(torch.cat([bq, bk, bv]).to(dtype), x16, qkv_weight.t(), out=qkv[:n])
            parts = [attend(qkv, g, call.heads, call.p_attention, call.dropout) for g in call.layout.groups]
            context = torch.cat([out for out, _ in parts]).index_select(0, call.layout.scatter)
            out = F.linear(context, wo16, bo.to(dtype))
            drop1 = call.dropout.mask(out, call.p_hidden) if call.dropout else None
            z1 = x + _drop(out, drop1)
            y, mean1, rstd1 = torch.native_layer_norm(z1, (width,), g1, c1, call.epsilon)
            y16 = y.to(dtype)
            inner = F.linear(y16, w116, b1.to(dtype))
            active = F.gelu(inner)
            out = F.linear(active, w216, b2.to(dtype))
            drop2 = call.dropout.mask(out, call.p_hidden) if call.dropout else None
            z2 = y + _drop(out, drop2)
            y2, mean2, rstd2 = torch.native_layer_norm(z2, (width,), g2, c2, call.epsilon)
        ctx.call, ctx.kept = call, [kept for _, kept in parts]
        ctx.save_for_backward(
            x16, context, drop1, z1, mean1, rstd1, y16, inner, active, drop2, z2, mean2, rstd2,
            qkv_weight, wo16, w116, w216, g1, c1, g2, c2,
        )  # fmt: skip
        return y2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        call: Call = ctx.call
        (x16, context, drop1, z1, mean1, rstd1, y16, inner, active, drop2, z2, mean2, rstd2,
         qkv_weight, wo16, w116, w216, g1, c1, g2, c2) = ctx.saved_tensors  # fmt: skip
        need = ctx.needs_input_grad[2:]
        dtype, width = call.dtype, grad.shape[1]
        backward_norm = torch.ops.aten.native_layer_norm_backward
        with torch.autocast("cpu", enabled=False):
            dz, dg2, dc2 = backward_norm(grad, z2, (width,), mean2, rstd2, g2, c2, [True, need[14], need[15]])
            d = _drop(dz.to(dtype), drop2)
            outer = _whole(_linear_backward(d, active, need[12]))
            d = torch.ops.aten.gelu_backward(torch.mm(d, w216), inner)
            wide = _whole(_linear_backward(d, y16, need[10]))
            dz += torch.mm(d, w116)
            dz, dg1, dc1 = backward_norm(dz, z1, (width,), mean1, rstd1, g1, c1, [True, need[8], need[9]])
            d = _drop(dz.to(dtype), drop1)
            output = _whole(_linear_backward(d, context, need[6]))
            d = torch.cat([torch.mm(d, wo16), d.new_zeros(1, width)])
            pieces = []
            for group, kept in zip(call.layout.groups, ctx.kept, strict=True):
                pieces.append(attend_backward(d.index_select(0, group.gather), group, call.heads, kept))
            d = torch.cat(pieces).index_select(0, call.layout.scatter)
            own = _thirds(_linear_backward(d, x16, any(need[:6])))
            if ctx.needs_input_grad[0]:
                dz += torch.mm(d, qkv_weight)
        return (dz, None, *own, *output, dg1, dc1, *wide, *outer, dg2, dc2)


def _beside(weights: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """(out, in) weights of linear layers of the same input as those of one."""
    sizes = [len(w) for w in weights]
    found = torch.empty(sum(sizes), weights[0].shape[1], dtype=dtype)
    for place, w in zip(found.split(sizes), weights, strict=True):
        place.copy_(w)
    return found


def without_gradients(x: Tensor, call: Call, *weights: Tensor) -> Tensor:
    """What :class:`LayerFunction` gives without dropout, some tokens at a time, so that they stay in the caches."""
    wq, bq, wk, bk, wv, bv, wo, bo, g1, c1, w1, b1, w2, b2, g2, c2 = weights
    dtype, (n, width) = call.dtype, x.shape
    qkv_weight, qkv_bias = _beside((wq, wk, wv), dtype), torch.cat([bq, bk, bv]).to(dtype)
    wo, bo, w1, b1, w2, b2 = (w.to(dtype) for w in (wo, bo, w1, b1, w2, b2))
    parts = [slice(start, min(start + TOGETHER, n)) for start in range(0, n, TOGETHER)]
    qkv = torch.empty(n + 1, 3 * width, dtype=dtype)
    qkv[n] = 0
    for part in parts:
        torch.addmm(qkv_bias, x[part].to(dtype), qkv_weight.t(), out=qkv[part])
    found = [attend(qkv, group, call.heads, 0.0, None)[0] for group in call.layout.groups]
    attended, out = found[0] if len(found) == 1 else torch.cat(found), torch.empty_like(x)
    for part in parts:
        context = attended.index_select(0, call.layout.scatter[part])
        y = F.layer_norm(x[part] + F.linear(context, wo, bo), (width,), g1, c1, call.epsilon)
        inner = F.gelu(F.linear(y.to(dtype), w1, b1))
        out[part] = F.layer_norm(y.add_(F.linear(inner, w2, b2)), (width,), g2, c2, call.epsilon)
    return out


def _parameters(layer: Any) -> list[Tensor]:
    a, norm1, norm2 = layer.attention, layer.attention.output.LayerNorm, layer.output.LayerNorm
    linear = [a.self.query, a.self.key, a.self.value, a.output.dense]
    modules = [*linear, norm1, layer.intermediate.dense, layer.output.dense, norm2]
    return [p for m in modules for p in (m.weight, m.bias)]


def packs(encoder: Any) -> bool:
    """Whether this encoder is of the kind that is computed here: on the CPU, unchanged by adapters, not compiled."""
    if getattr(encoder, "_compiled_call_impl", None) is not None:  # by nn.Module.compile (`trainer.compile`)
        return False
    layers: Any = getattr(getattr(encoder, "encoder", None), "layer", None)
    if layers is None or not len(layers) or not all(type(layer).__name__ in LAYERS for layer in layers):
        return False
    config = encoder.config
    linears = [m for layer in layers for m in layer.modules() if not len(list(m.children())) and list(m.parameters())]
    return (
        encoder.device.type == "cpu"
        and config.hidden_act == "gelu"
        and not config.is_decoder
        and not config.add_cross_attention
        and getattr(config, "position_embedding_type", "absolute") == "absolute"
        and not any(getattr(layer, "gradient_checkpointing", False) for layer in layers)
        and all(type(m) in (nn.Linear, UnsetLinear, nn.LayerNorm) and m.bias is not None for m in linears)
        and all(p.dtype == torch.float32 for m in linears for p in m.parameters())
    )


def last_states(encoder: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """(B, T) tokens padded on the right -> (B, T, H) states of the last layer; those of pads mean nothing.

    On a CPU the layers are computed here where they can be, else by the encoder itself: under bfloat16 autocast always,
    in float32 where the encoder learns. (Its own layers are slow with dropout in attention: 256 tokens take them
    twice as long and more. Without gradients they are the faster ones in float32.)
    """
    if input_ids.device.type == "cpu":
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        if (dtype == torch.bfloat16 or (dtype == torch.float32 and encoder.training)) and packs(encoder):
            return packed_states(encoder, input_ids, attention_mask, dtype)
    found: Tensor = encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    return found


def packed_states(encoder: Any, input_ids: Tensor, attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, T) tokens padded on the right -> (B, T, H) float32 states of the last layer, zeros at pads.

    Dropout is at work where the encoder is in training mode. The encoder must be one that :func:`packs` accepts.
    """
    learning = encoder.training or torch.is_grad_enabled()
    layout = Layout.of(attention_mask, MOST if learning else FEWER)
    config, width = encoder.config, input_ids.shape[1]
    ids, places = input_ids.view(-1)[layout.tokens], layout.tokens % width
    first = encoder.embeddings.padding_idx + 1 if hasattr(encoder.embeddings, "padding_idx") else 0
    with torch.autocast("cpu", enabled=False):
        x = encoder.embeddings(input_ids=ids[None], position_ids=places[None] + first)[0]
        if hasattr(encoder, "embeddings_project"):
            x = encoder.embeddings_project(x)
    call = Call(
        layout,
        config.num_attention_heads,
        config.layer_norm_eps,
        config.attention_probs_dropout_prob,
        config.hidden_dropout_prob,
        Dropout() if encoder.training else None,
        dtype,
    )
    if learning:
        for layer in encoder.encoder.layer:
            x = LayerFunction.apply(x, call, *_parameters(layer))
    else:
        with torch.autocast("cpu", enabled=False):
            for layer in encoder.encoder.layer:
                x = without_gradients(x, call, *_parameters(layer))
    out = x.new_zeros(input_ids.numel(), x.shape[1])
    return out.index_copy(0, layout.tokens, x).view(*input_ids.shape, -1)
