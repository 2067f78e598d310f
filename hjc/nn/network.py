"""The network: encoder, pooling, normalisation, dropout, head. And how a head starts from the titles of the tree."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hjc.arrays import IntArray
from hjc.data.side import SideVocabulary
from hjc.nn.batching import text_batches
from hjc.nn.devices import autocast
from hjc.nn.fields import first_tokens, merge_windows
from hjc.nn.heads import Head, build_head
from hjc.nn.packed import last_states
from hjc.nn.settings import NeuralSettings
from hjc.nn.side import SideVectors
from hjc.nn.stored import pool
from hjc.nn.tokens import Reading
from hjc.progress import rows_progress
from hjc.taxonomy import Taxonomy


class Network(nn.Module):
    """Encoder output (B, T, H) -> pooled (B, H) -> LayerNorm -> dropout -> head -> leaf log-probabilities (B, L).

    Vectors of side variables are added after the LayerNorm, where there are any (``vocabulary``).
    """

    def __init__(
        self,
        encoder: nn.Module,
        taxonomy: Taxonomy,
        settings: NeuralSettings,
        vocabulary: SideVocabulary | None = None,
    ) -> None:
        super().__init__()
        hidden = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.encoder = encoder
        self.norm = nn.LayerNorm(hidden) if settings.head_norm else nn.Identity()
        self.dropout = nn.Dropout(settings.dropout)
        self.head: Head = build_head(settings.hierarchy, taxonomy, hidden)
        if settings.logit_adjustment:
            self.head.add_offset(in_prediction=settings.prior_in_prediction)
        self.hidden, self.pooling, self.title_share = hidden, settings.pooling, settings.title_share
        self.vocabulary = vocabulary
        self.side = None if vocabulary is None else SideVectors(vocabulary, hidden, settings.side_dropout)
        if settings.freeze_encoder:
            encoder.requires_grad_(False)
        self.freeze_encoder = settings.freeze_encoder

    def train(self, mode: bool = True) -> "Network":
        """A frozen encoder stays in evaluation mode: its features must not depend on dropout."""
        super().train(mode)
        if self.freeze_encoder:
            self.encoder.eval()
        return self

    def features(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        side: Tensor | None = None,
        title: Tensor | None = None,
        owner: Tensor | None = None,
    ) -> Tensor:
        """(B, T) tokens -> (B, H) float32 vectors that the head sees.

        Args:
            side: (B, K) tokens of side variables.
            title: (B,) tokens of the titles, for a network with a share of them.
            owner: where texts come in windows, the row of each; the tokens and titles are then of S windows.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            hidden = last_states(self.encoder, input_ids, attention_mask)
        pooled = self.pooled(hidden, attention_mask, title, owner)
        with torch.autocast(pooled.device.type, enabled=False):
            found = self.norm(pooled)
            if self.side is not None and side is not None:
                found = found + self.side(side)
            return self.dropout(found)

    def pooled(self, hidden: Tensor, mask: Tensor, title: Tensor | None = None, owner: Tensor | None = None) -> Tensor:
        """(S, T, H) states -> (B, H) float32 vectors of the texts."""

        def of_texts(kind: str, mask: Tensor) -> Tensor:
            found = pool(hidden, mask, kind).float()
            return found if owner is None else merge_windows(found, mask.sum(1), owner)

        whole = of_texts(self.pooling, mask)
        if not self.title_share:
            return whole
        if title is None:
            raise ValueError("this network needs the number of tokens of the titles beside the tokens")
        return torch.lerp(whole, of_texts("mean", first_tokens(mask, title)), self.title_share)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        side: Tensor | None = None,
        title: Tensor | None = None,
        owner: Tensor | None = None,
    ) -> Tensor:
        """As :meth:`features` -> (B, L) float32 leaf log-probabilities."""
        return self.head(self.features(input_ids, attention_mask, side, title, owner))


#: what of a batch is the input of a network
INPUTS = ("input_ids", "attention_mask", "side", "title", "owner")


def inputs_of(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a batch, what :class:`Network` takes."""
    return {name: batch[name] for name in INPUTS if name in batch}


def read_texts(
    tokenizer: Any,
    texts: Sequence[str],
    settings: NeuralSettings,
    device: torch.device,
    side: SideVocabulary | None = None,
) -> Iterator[tuple[IntArray, dict[str, Tensor]]]:
    """Rows (B,) and the inputs of a network of these settings for them, for a pass without gradients."""
    return text_batches(tokenizer, texts, Reading.of(settings), device, side)


@torch.no_grad()
def encode_texts(
    network: Network,
    tokenizer: Any,
    texts: Sequence[str],
    settings: NeuralSettings,
    description: str = "encoding",
    *,
    bfloat16: bool = False,
) -> Tensor:
    """(n, H) features in evaluation mode, float32, on the CPU; a bar where it takes longer.

    bfloat16: of products in it.
    """
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    out = torch.empty(len(texts), network.hidden)
    side = network.vocabulary
    with rows_progress(description, len(texts)) as bar:
        for rows, batch in read_texts(tokenizer, texts, settings, device, side):
            with autocast(device, bfloat16):
                out[torch.from_numpy(rows)] = network.features(**batch).cpu()
            bar.advance(len(rows))
    network.train(was_training)
    return out


@torch.no_grad()
def dropout_passes(network: Network, batch: dict[str, Tensor], passes: int, seed: int) -> Tensor:
    """(passes, B, L) log-probabilities with dropout at work; the network is left as it was, the generators too.

    Raises:
        ValueError: no dropout is at work in this network (a frozen encoder's never is).
    """
    was_training = network.training
    network.train()
    try:
        active = [m for m in network.modules() if isinstance(m, nn.Dropout) and m.training and m.p > 0]
        if not active:
            raise ValueError(
                "the model was trained without dropout (model.dropout=0 and none in the encoder, or a frozen encoder): "
                "passes through it do not differ"
            )
        devices = [d for d in {p.device for p in network.parameters()} if d.type == "cuda"]
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            return torch.stack([network(**batch) for _ in range(passes)])
    finally:
        network.train(was_training)


#: titles encoded at most to start a head (a tree of 3,000 codes in 26 languages has 80,000)
MAX_TITLES = 20_000
#: AdamW steps, rows a step and learning rate of a head's start
START_STEPS, START_BATCH, START_RATE = 500, 256, 2e-3


def node_titles(taxonomy: Taxonomy, most: int = MAX_TITLES) -> tuple[list[str], list[int]]:
    """Titles and their nodes, language after language, at most ``most`` (the first language comes whole)."""
    texts: list[str] = []
    nodes: list[int] = []
    for titles in taxonomy.titles.values():
        if texts and len(texts) + len(titles) > most:
            break
        for node, title in enumerate(titles):
            if title:
                texts.append(title)
                nodes.append(node)
    return texts, nodes


def initialise_head(
    network: Network,
    tokenizer: Any,
    taxonomy: Taxonomy,
    settings: NeuralSettings,
    texts: Sequence[str],
    gold: Sequence[int],
    seed: int,
    *,
    bfloat16: bool = False,
) -> int:
    """Start the head as a classifier of the titles of the codes, before the encoder is touched.

    The vectors of all node titles (inner nodes too; every language) and of some training rows are computed once by the
    unchanged encoder, and the head alone is fitted to them for 500 small steps: linear probing before fine-tuning
    (Kumar et al. 2022) with the code list as data. So a code without training rows is not a coin toss, and fine-tuning
    starts with gradients that mean something.

    Args:
        texts, gold: some training rows and their gold nodes.
        bfloat16: the vectors are of products in it, as those of the training that follows.

    Returns:
        The number of titles used; 0 (the tree has none): the head keeps its random start.
    """
    titles, nodes = node_titles(taxonomy)
    if not titles:
        return 0
    head = network.head
    device = next(head.parameters()).device
    told = "encoding titles of codes"
    vectors = encode_texts(network, tokenizer, [*titles, *texts], settings, told, bfloat16=bfloat16).to(device)
    target = torch.as_tensor([*nodes, *gold], device=device)
    optimizer = torch.optim.AdamW(head.parameters(), lr=START_RATE, weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(START_STEPS):
        if len(order) < START_BATCH:
            order = torch.cat([order, torch.randperm(len(target), generator=generator)])
        rows, order = order[:START_BATCH].to(device), order[START_BATCH:]
        optimizer.zero_grad()
        head.loss(vectors[rows], target[rows]).mean().backward()
        optimizer.step()
    optimizer.zero_grad()
    return len(titles)
