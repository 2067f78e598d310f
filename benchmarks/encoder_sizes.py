"""Parameters of the encoders of docs/encoders.md, counted on the architecture of their pages; no weights are read.

    python benchmarks/encoder_sizes.py

BERT and XLM-RoBERTa kinds only: their shape (layers, width, vocabulary, positions) says all. The pooler is counted, as
hubs do; hjc drops it.
"""

import torch
from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

#: name in hjc -> (kind, layers, width, vocabulary, positions)
SHAPES = {
    "e5": ("bert", 12, 384, 250_037, 512),
    "minilm": ("bert", 6, 384, 30_522, 512),
    "herbert": ("bert", 12, 768, 50_000, 514),
    "herbert_large": ("bert", 24, 1024, 50_000, 514),
    "xlmr, e5_base, jobbert": ("xlmr", 12, 768, 250_002, 514),
    "xlmr_large, e5_large, esco_xlmr": ("xlmr", 24, 1024, 250_002, 514),
    "bge_m3": ("xlmr", 24, 1024, 250_002, 8194),
}


def sizes(kind: str, layers: int, width: int, vocabulary: int, positions: int) -> tuple[int, int]:
    """All parameters, and those besides the table of the vocabulary."""
    config = (BertConfig if kind == "bert" else XLMRobertaConfig)(
        num_hidden_layers=layers, hidden_size=width, intermediate_size=4 * width, vocab_size=vocabulary,
        num_attention_heads=width // (32 if width == 384 else 64), max_position_embeddings=positions,
        type_vocab_size=2 if kind == "bert" else 1,
    )  # fmt: skip
    with torch.device("meta"):
        model = (BertModel if kind == "bert" else XLMRobertaModel)(config, add_pooling_layer=True)
    total = sum(p.numel() for p in model.parameters())
    return total, total - vocabulary * width


def main() -> None:
    for name, shape in SHAPES.items():
        total, others = sizes(*shape)
        print(f"{name:32} {total / 1e6:6.1f}M, {others / 1e6:6.1f}M besides the vocabulary")


if __name__ == "__main__":
    main()
