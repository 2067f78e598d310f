"""Tiny translation models in the formats of the real ones, written for tests."""

import json
import random
from pathlib import Path

WORDS = ["cook", "nurse", "driver", "engineer", "kucharz", "pielęgniarka", "kierowca", "inżynier", "senior", "and", "w"]


def sentencepiece_model(path: Path) -> list[str]:
    """Train a SentencePiece model of a few dozen pieces; its pieces."""
    import sentencepiece

    chance = random.Random(0)
    lines = [" ".join(chance.choices(WORDS, k=6)) for _ in range(300)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(path.with_suffix("")), vocab_size=80, character_coverage=1.0,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    path.with_suffix(".vocab").unlink()
    if path.suffix != ".model":
        path.with_suffix(".model").rename(path)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return [processor.id_to_piece(i) for i in range(processor.get_piece_size())]


#: what :func:`marian` learns, word by word
DICTIONARY = {"kucharz": "cook", "pielęgniarka": "nurse", "kierowca": "driver", "inżynier": "engineer"}


def marian(folder: Path, source: str = "pl", target: str = "en", steps: int = 60) -> Path:
    """An opus-mt checkpoint with 60 positions that has learned the four words of the dictionary by heart."""
    import torch
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder.mkdir(parents=True)
    pieces = sentencepiece_model(folder / "source.spm")
    (folder / "target.spm").write_bytes((folder / "source.spm").read_bytes())
    names = ["</s>", "<unk>", *(p for p in pieces if p not in ("<s>", "</s>", "<unk>")), "<pad>"]
    vocabulary = {name: i for i, name in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    MarianTokenizer(
        source_spm=str(folder / "source.spm"), target_spm=str(folder / "target.spm"), vocab=str(folder / "vocab.json"),
        source_lang=source, target_lang=target,
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(0)
    pad = vocabulary["<pad>"]
    config = MarianConfig(
        vocab_size=len(vocabulary), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=60,
        pad_token_id=pad, eos_token_id=0, decoder_start_token_id=pad, dropout=0.0, init_std=0.2,
    )  # fmt: skip
    model = MarianMTModel(config)
    tokenizer = MarianTokenizer.from_pretrained(folder)
    batch = tokenizer(list(DICTIONARY), text_target=list(DICTIONARY.values()), return_tensors="pt", padding=True)
    batch["labels"][batch["labels"] == pad] = -100
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        loss = model(**batch).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.eval().save_pretrained(folder)
    return folder


def m2m100(folder: Path) -> Path:
    """An NLLB-like checkpoint whose tokenizer is told the languages."""
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer

    folder.mkdir(parents=True)
    pieces = sentencepiece_model(folder / "sentencepiece.bpe.model")
    names = ["<s>", "<pad>", "</s>", "<unk>", *(p for p in pieces if p not in ("<s>", "</s>", "<unk>"))]
    (folder / "vocab.json").write_text(json.dumps({n: i for i, n in enumerate(names)}), encoding="utf-8")
    tokenizer = M2M100Tokenizer(
        vocab_file=str(folder / "vocab.json"), spm_file=str(folder / "sentencepiece.bpe.model"),
        language_codes="m2m100",
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=256, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64, init_std=0.5,
    )  # fmt: skip
    M2M100ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def argos_package(folder: Path, source: str, target: str, checkpoint: Path) -> Path:
    """An Argos package from a Marian checkpoint: metadata.json, sentencepiece.model and model/ for CTranslate2."""
    import ctranslate2

    folder.mkdir(parents=True)
    meta = {"package_version": "1.0", "argos_version": "1.9", "from_code": source, "to_code": target}
    (folder / "metadata.json").write_text(json.dumps(meta), encoding="utf-8")
    (folder / "sentencepiece.model").write_bytes((checkpoint / "source.spm").read_bytes())
    ctranslate2.converters.TransformersConverter(str(checkpoint)).convert(str(folder / "model"))
    return folder
