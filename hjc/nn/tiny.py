"""A random small XLM-R with a tokenizer trained on the texts: for tests, smoke runs and work from scratch."""

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import XLMRobertaConfig, XLMRobertaModel

from hjc.nn.settings import NeuralSettings

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # XLM-R's ids 0-3; <mask> follows


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE over NFKC text: every input has pieces, whatever its script.

    Raises:
        ValueError: no texts, or a vocabulary smaller than the 256 bytes and the special tokens.
    """
    if not any(texts):
        raise ValueError("encoder 'tiny' learns its tokenizer from the training texts, and there are none")
    least = 256 + len(SPECIAL)
    if vocabulary < least:
        raise ValueError(f"model.tiny_vocabulary: got {vocabulary}, allowed are integers from {least}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
    )
    return tokenizer


def build_tiny(settings: NeuralSettings, texts: Sequence[str], seed: int) -> tuple[XLMRobertaModel, Tokenizer]:
    """Model and tokenizer (with XLM-R's special tokens). The weights depend on ``seed`` alone."""
    tokenizer = train_tokenizer(texts, settings.tiny_vocabulary)
    hidden = settings.tiny_hidden
    heads = next(n for n in (4, 2, 1) if hidden % n == 0)
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=hidden,
        num_hidden_layers=settings.tiny_layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        max_position_embeddings=settings.max_length + 2,  # positions start at pad + 1 = 2
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = XLMRobertaModel(config, add_pooling_layer=False)
    return model, tokenizer
