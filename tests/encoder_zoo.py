"""Small random encoders on disk, each of the architecture, tokenizer class and file layout of a real one."""

import json
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    EuroBertConfig,
    EuroBertModel,
    Gemma3TextConfig,
    Gemma3TextModel,
    ModernBertConfig,
    ModernBertModel,
    Qwen3Config,
    Qwen3Model,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from hjc.data.sample import sample_titles
from hjc.nn.offline import XLMR_SPECIAL_TOKENS

BERT_SPECIAL_TOKENS = {f"{n}_token": f"[{n.upper()}]" for n in ("unk", "sep", "pad", "cls", "mask")}


@cache
def corpus(rows: int = 400) -> tuple[str, ...]:
    """Titles of all six languages of the bundled sample."""
    titles = sample_titles()["title"]
    return tuple(titles.iloc[:: len(titles) // rows])


def common_pieces(words: Iterable[str], count: int) -> list[tuple[str, int]]:
    """Every character, then the most common parts of up to six, ties by name: the same in every process, which the
    trainers of ``tokenizers`` are not (they go over hashed words)."""
    found = Counter(
        word[i:j] for word in words for i in range(len(word)) for j in range(i + 1, min(i + 6, len(word)) + 1)
    )
    ordered = sorted(found.items(), key=lambda item: (len(item[0]) > 1, -item[1] * len(item[0]), item[0]))
    return ordered[:count]


def without_added(tokenizer: Tokenizer, special: Sequence[str]) -> Tokenizer:
    """Tokens that were given to the trainer as special are pieces like others, but for these."""
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = [token for token in spec["added_tokens"] if token["content"] in special]
    return Tokenizer.from_str(json.dumps(spec))


def unigram(texts: Sequence[str], vocabulary: int = 900) -> Tokenizer:
    """As XLM-R's: <s>, <pad>, </s>, <unk> first, <mask> last."""
    words = ["▁" + word for text in texts for word in unicodedata.normalize("NFKC", text).split()]
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = common_pieces(words, vocabulary - len(special))
    total = sum(n for _, n in pieces)
    scores = [(name, 0.0) for name in special] + [(name, math.log(n / total)) for name, n in pieces]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.add_special_tokens(special)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def wordpiece(texts: Sequence[str], vocabulary: int = 900) -> Tokenizer:
    """As all-MiniLM-L6-v2's: uncased, and with the truncation and padding that its file carries."""
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = [w for text in texts for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = sorted({letter for word in words for letter in word})
    inner = ["##" + name for name, _ in common_pieces((word[1:] for word in words), vocabulary // 2)]
    whole = [name for name, _ in sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))]
    names = list(dict.fromkeys([*special, *letters, *inner, *whole]))[:vocabulary]
    tokenizer = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8, pad_id=0, pad_token="[PAD]")
    return tokenizer


def herbert_bpe(texts: Sequence[str], vocabulary: int = 900) -> Tokenizer:
    """As HerBERT's: BPE with an end-of-word mark."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    words = [w for t in texts for w, _ in tokenizer.pre_tokenizer.pre_tokenize_str(t)]
    last = sorted({word[-1] + "</w>" for word in words})  # the trainer would number them in the order of a hash
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special + last, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer = without_added(tokenizer, special)
    tokenizer.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def gemma_bpe(texts: Sequence[str], vocabulary: int = 1200) -> Tokenizer:
    """As mmBERT's (Gemma): BPE over the whole text with ▁ for spaces, unknown characters as bytes."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special + [f"<0x{i:02X}>" for i in range(256)],
        show_progress=False,
        limit_alphabet=60,
        max_token_length=12,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer = without_added(tokenizer, special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 1)]
    )
    return tokenizer


def byte_bpe(texts: Sequence[str], special: Sequence[str], template: str, vocabulary: int = 900) -> Tokenizer:
    """Byte-level BPE, as EuroBERT's (Llama 3) and Qwen's; ``template`` is the text with its special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    used = [(name, tokenizer.token_to_id(name)) for name in special if name in template]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=used)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _xlmr(size: int, **other: Any) -> XLMRobertaModel:
    fields = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    special = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    limits = {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    return XLMRobertaModel(XLMRobertaConfig(vocab_size=size, **{**fields, **special, **limits, **other}))


def _bert(size: int, **other: Any) -> BertModel:
    fields = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    return BertModel(BertConfig(vocab_size=size, **{**fields, **other}))


def _modernbert(size: int) -> ModernBertModel:
    fields = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1, "cls_token_id": 2, "sep_token_id": 1}
    attention = {"global_attn_every_n_layers": 3, "local_attention": 8, "max_position_embeddings": 8192}
    return ModernBertModel(ModernBertConfig(vocab_size=size, **fields, **special, **attention))


#: decoders have a head width of their own; two of four heads of Q share one of K and V
_GROUPED = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}


def _roberta(size: int) -> RobertaModel:
    fields = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    special = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    return RobertaModel(
        RobertaConfig(vocab_size=size, max_position_embeddings=8194, type_vocab_size=1, **fields, **special)
    )


def _eurobert(size: int) -> EuroBertModel:
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "mask_token_id": 2}
    limits = {"intermediate_size": 64, "max_position_embeddings": 8192}
    return EuroBertModel(EuroBertConfig(vocab_size=size, **_GROUPED, **special, **limits))


def _gemma(size: int) -> Gemma3TextModel:
    special = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    attention = {"use_bidirectional_attention": True, "sliding_window": 8, "query_pre_attn_scalar": 16}
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    limits = {"head_dim": 16, "intermediate_size": 64, "max_position_embeddings": 2048, "layer_types": kinds}
    return Gemma3TextModel(Gemma3TextConfig(vocab_size=size, **_GROUPED, **special, **attention, **limits))


def _qwen(size: int) -> Qwen3Model:
    limits = {"head_dim": 16, "intermediate_size": 64, "max_position_embeddings": 32768}
    return Qwen3Model(
        Qwen3Config(vocab_size=size, bos_token_id=0, eos_token_id=0, pad_token_id=0, **_GROUPED, **limits)
    )


#: family -> (tokenizer, model, special tokens); XLM-R's table has some rows that no piece uses, as e5-small's has
FAMILIES: dict[str, tuple[Callable[..., Tokenizer], Callable[..., Any], dict[str, str]]] = {
    "xlmr": (unigram, _xlmr, XLMR_SPECIAL_TOKENS),
    "xlmr_large": (
        unigram,
        lambda n: _xlmr(n, hidden_size=64, num_hidden_layers=6, num_attention_heads=16, intermediate_size=256),
        XLMR_SPECIAL_TOKENS,
    ),
    "bge_m3": (unigram, lambda n: _xlmr(n, max_position_embeddings=8194), XLMR_SPECIAL_TOKENS),
    "e5_small": (unigram, lambda n: _bert(n + 35, pad_token_id=1, max_position_embeddings=512), XLMR_SPECIAL_TOKENS),
    "minilm": (wordpiece, lambda n: _bert(n, pad_token_id=0, max_position_embeddings=512), BERT_SPECIAL_TOKENS),
    "herbert": (herbert_bpe, lambda n: _bert(n, pad_token_id=1, max_position_embeddings=514), XLMR_SPECIAL_TOKENS),
    "mmbert": (
        gemma_bpe,
        _modernbert,
        {f"{name}_token": f"<{name}>" for name in ("bos", "eos", "pad", "unk", "mask")},
    ),
    "polish_roberta": (unigram, _roberta, XLMR_SPECIAL_TOKENS),
    "eurobert": (
        partial(
            byte_bpe,
            special=["<|begin_of_text|>", "<|end_of_text|>", "<|mask|>"],
            template="<|begin_of_text|> $A <|end_of_text|>",
        ),
        _eurobert,
        {
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|end_of_text|>",
            "pad_token": "<|end_of_text|>",
            "mask_token": "<|mask|>",
        },
    ),
    "gemma": (
        gemma_bpe,
        _gemma,
        {f"{name}_token": f"<{name}>" for name in ("bos", "eos", "pad", "unk", "mask")},
    ),
    "qwen": (
        partial(byte_bpe, special=["<|endoftext|>", "<|im_start|>", "<|im_end|>"], template="$A <|endoftext|>"),
        _qwen,
        {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    ),
}

#: configs/model/<name>.yaml -> family
CONFIG_FAMILIES = {
    "e5": "e5_small",
    "e5_base": "xlmr",
    "xlmr": "xlmr",
    "xlmr_large": "xlmr_large",
    "herbert": "herbert",
    "herbert_large": "herbert",
    "minilm": "minilm",
    "mmbert": "mmbert",
    "bge_m3": "bge_m3",
    "jobbert": "xlmr",
    "esco_xlmr": "xlmr_large",
    "e5_large": "xlmr_large",
    "polish_roberta_8k": "polish_roberta",
    "eurobert": "eurobert",
    "mmbert_small": "mmbert",
    "embeddinggemma": "gemma",
    "qwen3_embedding": "qwen",
}


@cache
def family_tokenizer(family: str) -> Tokenizer:
    return FAMILIES[family][0](corpus())


def write_encoder(folder: Path, family: str, seed: int = 0) -> Path:
    """A Hugging Face folder of the family; HerBERT's has vocab.json, merges.txt, pytorch_model.bin, as on the hub."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer, (_, build, special) = family_tokenizer(family), FAMILIES[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(tokenizer.get_vocab_size())
        for parameter in model.parameters():  # away from zeros and ones, so that nothing cancels
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    content: dict[str, Any] = {**special, "model_max_length": 512}
    if family == "herbert":
        tokenizer.model.save(str(folder))
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        content["tokenizer_class"] = "HerbertTokenizerFast"
    else:
        tokenizer.save(str(folder / "tokenizer.json"))
        model.save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
