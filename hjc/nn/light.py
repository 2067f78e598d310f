"""Encoders of the BERT family for prediction, without transformers: its import takes seconds.

The modules have the names of those of transformers, so one file of weights fits both, and compute the same (tested).
Other architectures are built by :mod:`hjc.nn.architectures`.

B texts, T tokens, H wide.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: ``model_type`` -> whether its positions begin behind the id of the pad
TYPES = {"bert": False, "roberta": True, "xlm-roberta": True, "camembert": True}
#: what a configuration has to say
SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
         "max_position_embeddings", "type_vocab_size", "pad_token_id")  # fmt: skip
RATES = ("layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob")


class LightConfig(SimpleNamespace):
    """The configuration of transformers as it was stored."""

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


class _Part(nn.Module):
    """A module that only names others."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def _table(rows: int, width: int, padding_idx: int | None = None) -> nn.Embedding:
    """Vectors that are not set: nn.Embedding would draw them."""
    return nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False, padding_idx=padding_idx)


class UnsetLinear(nn.Linear):
    """Its weights are read, not drawn. (On torch's device ``meta`` nothing is drawn either, but it imports seconds.)"""

    def reset_parameters(self) -> None:
        return


class LightEmbeddings(nn.Module):
    """Words, types and positions added, then normalised."""

    def __init__(self, config: LightConfig) -> None:
        super().__init__()
        hidden, offset = config.hidden_size, TYPES[config.model_type]
        behind = config.pad_token_id if offset else None
        self.word_embeddings = _table(config.vocab_size, hidden, config.pad_token_id)
        self.token_type_embeddings = _table(config.type_vocab_size, hidden)
        self.position_embeddings = _table(config.max_position_embeddings, hidden, behind)
        if offset:
            self.padding_idx = config.pad_token_id
        self.first = config.pad_token_id + 1 if offset else 0
        self.LayerNorm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, input_ids: Tensor | None = None, position_ids: Tensor | None = None, inputs_embeds: Tensor | None = None
    ) -> Tensor:
        """(B, T) tokens, or (B, T, H) vectors in their place -> (B, T, H)."""
        words = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if position_ids is None:
            position_ids = torch.arange(words.shape[1], device=words.device).expand(words.shape[:2]) + self.first
            if self.first and input_ids is not None:  # those of pads are that of the pad
                position_ids = position_ids.where(input_ids != self.padding_idx, self.padding_idx)
        found = words + self.token_type_embeddings.weight[0] + self.position_embeddings(position_ids)
        out: Tensor = self.dropout(self.LayerNorm(found))
        return out


class LightLayer(nn.Module):
    """Attention, add and normalise, feed-forward, add and normalise."""

    def __init__(self, config: LightConfig) -> None:
        super().__init__()
        hidden, inner, epsilon = config.hidden_size, config.intermediate_size, config.layer_norm_eps
        self.heads, self.p_attention = config.num_attention_heads, config.attention_probs_dropout_prob

        def output(width: int) -> _Part:
            norm, drop = nn.LayerNorm(hidden, eps=epsilon), nn.Dropout(config.hidden_dropout_prob)
            return _Part({"dense": UnsetLinear(width, hidden), "LayerNorm": norm, "dropout": drop})

        own: dict[str, nn.Module] = {name: UnsetLinear(hidden, hidden) for name in ("query", "key", "value")}
        self.attention = _Part({"self": _Part(own), "output": output(hidden)})
        self.intermediate = _Part({"dense": UnsetLinear(hidden, inner)})
        self.output = output(inner)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, H), and (B, 1, T, T) that is true where a token is seen -> (B, T, H)."""
        own: Any = self.attention.get_submodule("self")
        q, k, v = (
            part(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2) for part in (own.query, own.key, own.value)
        )
        p = self.p_attention if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        x = _add(self.attention.output, seen.transpose(1, 2).reshape(x.shape), x)
        dense: Any = self.intermediate.dense
        return _add(self.output, F.gelu(dense(x)), x)


def _add(output: Any, found: Tensor, x: Tensor) -> Tensor:
    added: Tensor = output.LayerNorm(output.dropout(output.dense(found)) + x)
    return added


class LightEncoder(nn.Module):
    """An encoder of the BERT family; called as one of transformers."""

    def __init__(self, config: LightConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = LightEmbeddings(config)
        layers = nn.ModuleList(LightLayer(config) for _ in range(config.num_hidden_layers))
        self.encoder = _Part({"layer": layers})

    @property
    def device(self) -> torch.device:
        return self.embeddings.word_embeddings.weight.device

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings.word_embeddings

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> SimpleNamespace:
        """(B, T) tokens padded on the right, or vectors in their place -> ``last_hidden_state`` (B, T, H)."""
        x = self.embeddings(input_ids=input_ids, inputs_embeds=inputs_embeds)
        mask = None
        if attention_mask is not None and not bool(attention_mask.all()):
            mask = attention_mask.bool()[:, None, None].expand(-1, 1, x.shape[1], -1)
        for layer in self.encoder.get_submodule("layer").children():
            x = layer(x, mask)
        return SimpleNamespace(last_hidden_state=x)


def light_encoder(content: Mapping[str, Any]) -> LightEncoder | None:
    """The encoder of a stored configuration, its weights not set; None where it is of another kind."""
    plain = (
        content.get("model_type") in TYPES
        and content.get("hidden_act") == "gelu"
        and content.get("position_embedding_type", "absolute") == "absolute"
        and not content.get("is_decoder")
        and not content.get("add_cross_attention")
        and all(type(content.get(name)) is int and content[name] >= 0 for name in SIZES)
        and all(isinstance(content.get(name), int | float) for name in RATES)
        and content["num_attention_heads"] > 0
        and content["hidden_size"] % content["num_attention_heads"] == 0
    )
    if not plain:
        return None
    return LightEncoder(LightConfig(**content))
