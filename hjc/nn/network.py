"""The network: encoder, pooling, normalisation, dropout, head. And how a head starts from the titles of the tree."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hjc.nn.batching import TokenCorpus, collate, inference_batches, tokenize
from hjc.nn.encoder import pool
from hjc.nn.heads import Head, build_head
from hjc.nn.settings import NeuralSettings
from hjc.taxonomy import Taxonomy

#: padded tokens in one forward pass without gradients
INFERENCE_TOKENS = 8192
INFERENCE_ROWS = 512


class Network(nn.Module):
    """Encoder output (B, T, H) -> pooled (B, H) -> LayerNorm -> dropout -> head -> leaf log-probabilities (B, L)."""

    def __init__(self, encoder: nn.Module, taxonomy: Taxonomy, settings: NeuralSettings) -> None:
        super().__init__()
        hidden = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.encoder = encoder
        self.norm = nn.LayerNorm(hidden) if settings.head_norm else nn.Identity()
        self.dropout = nn.Dropout(settings.dropout)
        self.head: Head = build_head(settings.hierarchy, taxonomy, hidden)
        self.pooling = settings.pooling
        if settings.freeze_encoder:
            encoder.requires_grad_(False)
        self.freeze_encoder = settings.freeze_encoder

    def train(self, mode: bool = True) -> "Network":
        """A frozen encoder stays in evaluation mode: its features must not depend on dropout."""
        super().train(mode)
        if self.freeze_encoder:
            self.encoder.eval()
        return self

    def features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) tokens -> (B, H) float32 vectors that the head sees."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        pooled = pool(hidden, attention_mask, self.pooling).float()
        with torch.autocast(pooled.device.type, enabled=False):
            return self.dropout(self.norm(pooled))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) tokens -> (B, L) float32 leaf log-probabilities."""
        return self.head(self.features(input_ids, attention_mask))


@torch.inference_mode()
def encode_corpus(network: Network, corpus: TokenCorpus, pad_id: int, advance: Any = None) -> Tensor:
    """(n, H) features of a corpus in evaluation mode, float32, on the CPU. ``advance(rows)`` is told of progress."""
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    out: Tensor | None = None
    for rows in inference_batches(corpus.lengths, INFERENCE_TOKENS, INFERENCE_ROWS):
        batch = {k: v.to(device) for k, v in collate(corpus, rows, pad_id).items()}
        features = network.features(**batch).cpu()
        if out is None:
            out = torch.empty(len(corpus), features.shape[1])
        out[torch.from_numpy(rows)] = features
        if advance is not None:
            advance(len(rows))
    network.train(was_training)
    if out is None:
        raise ValueError("nothing to encode: got no rows")
    return out.clone()


def node_title_vectors(
    network: Network, tokenizer: Any, taxonomy: Taxonomy, settings: NeuralSettings
) -> tuple[Tensor, Tensor]:
    """Feature vectors of the node titles, averaged over the languages that have one.

    Returns:
        (N, H) vectors, and (N,) bool: which nodes have a title at all (the others are zero).
    """
    texts, nodes = [], []
    for titles in taxonomy.titles.values():
        for node, title in enumerate(titles):
            if title:
                texts.append(title)
                nodes.append(node)
    hidden = network.head.linear.in_features
    sums, counts = torch.zeros(len(taxonomy), hidden), torch.zeros(len(taxonomy), 1)
    if texts:
        corpus = tokenize(tokenizer, texts, settings.max_length, settings.prefix)
        vectors = encode_corpus(network, corpus, tokenizer.pad_token_id)
        index = torch.tensor(nodes)
        sums.index_add_(0, index, vectors)
        counts.index_add_(0, index, torch.ones(len(nodes), 1))
    return sums / counts.clamp(min=1), counts.squeeze(1) > 0


@torch.no_grad()
def initialise_head(
    network: Network,
    tokenizer: Any,
    taxonomy: Taxonomy,
    settings: NeuralSettings,
    texts: Sequence[str],
    gold: Sequence[int],
) -> float:
    """Start the head's weights from the encoder's embedding of the node titles.

    A node's weight is the direction of its title's vector, centred among the nodes that it competes with; the bias
    takes out the mean of the training vectors. One scale for all is chosen by the log-loss of a sample of the
    training rows. A node without a title keeps its random start. So a code without training rows is not a coin toss.

    Returns:
        The chosen scale (0: titles do not help here, the head keeps its random start).
    """
    vectors, titled = node_title_vectors(network, tokenizer, taxonomy, settings)
    if not titled.any():
        return 0.0
    head = network.head
    device = head.linear.weight.device
    nodes = torch.as_tensor(list(head.score_nodes(taxonomy)))
    sample = encode_corpus(
        network, tokenize(tokenizer, texts, settings.max_length, settings.prefix), tokenizer.pad_token_id
    )
    mean = sample.mean(0)
    known = titled[nodes]
    centred = vectors[nodes] - mean
    centred[~known] = 0
    directions = head.centre(centred.to(device)).cpu()
    norm = directions.norm(dim=1, keepdim=True)
    known &= norm.squeeze(1) > 1e-6
    # pathsum needs the sum over a path to stay the leaf's vector, so lengths are kept relative to their mean
    directions = directions / norm[known].mean()
    start_weight, start_bias = head.linear.weight.clone(), head.linear.bias.clone()
    target = torch.as_tensor(gold, device=device)
    spread = float((sample - mean).norm(dim=1).mean())
    best, best_loss = 0.0, float(head.loss(sample.to(device), target).mean())
    best_weight, best_bias = start_weight, start_bias
    for logit_size in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0):
        scale = logit_size / max(spread, 1e-6)
        weight, bias = start_weight.clone(), start_bias.clone()
        weight[known] = scale * directions[known].to(device)
        bias[known] = -(weight[known] @ mean.to(device))
        head.linear.weight.copy_(weight)
        head.linear.bias.copy_(bias)
        if (loss := float(head.loss(sample.to(device), target).mean())) < best_loss:
            best, best_loss, best_weight, best_bias = scale, loss, weight, bias
    head.linear.weight.copy_(best_weight)
    head.linear.bias.copy_(best_bias)
    return best
