"""Vocabulary pruning: keep the pieces that a corpus uses, and a safety alphabet so that other texts still have pieces.

A multilingual encoder's embedding table is most of its weights (96M of 118M in multilingual-e5-small) while a corpus of
job titles uses a few per cent of it. Why dropping the rest leaves the corpus's tokenisation as it was:

- Unigram takes the best-scoring path; a path whose pieces are all kept stays the best among fewer paths.
- WordPiece takes the longest piece from the left; that piece is kept, and no longer one appears.
- BPE applies merges by rank; for each kept piece the intermediate products of its own derivation are kept, so on the
  corpus the same merge is the best one at every step.

It is verified all the same: the corpus is tokenised again and compared. A tokenizer that splits its input at spaces
before anything else sees the words alone, so each distinct word is tokenised once, and whole texts only for a sample.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import PreTrainedModel

from hjc.arrays import IntArray

CHUNK = 4096


class PruningError(RuntimeError):
    """The pruned tokenizer does not tokenise the corpus as the full one does."""


def prune_tokenizer(
    tokenizer: Tokenizer, texts: Sequence[str], extra_texts: Sequence[str] = (), keep: Sequence[int] = ()
) -> tuple[Tokenizer, IntArray]:
    """A tokenizer over the pieces that ``texts`` and ``extra_texts`` use, the safety alphabet and the special tokens.

    The safety alphabet is every piece of a single character (with or without its word mark, as in ``▁a``, ``##a`` or
    ``a</w>``), every byte piece, and every piece with a character that has none of its own. Order is kept: a piece's
    new id is its rank among the kept ones.

    Args:
        keep: further ids to keep.

    Returns:
        The new tokenizer, without truncation or padding, and an array (old size,) of new ids, -1 where dropped.

    Raises:
        ValueError: a tokenizer model other than Unigram, WordPiece or BPE.
        PruningError: a text would be tokenised differently.
    """
    if tokenizer.truncation is not None or tokenizer.padding is not None:
        tokenizer = Tokenizer.from_str(tokenizer.to_str())
        tokenizer.no_truncation()
        tokenizer.no_padding()
    spec = json.loads(tokenizer.to_str())
    kind = spec["model"]["type"]
    if kind not in ("Unigram", "WordPiece", "BPE"):
        raise ValueError(
            f"cannot prune a {kind} tokenizer, only Unigram, WordPiece and BPE: set model.prune_vocabulary=false"
        )
    vocabulary = _model_vocabulary(spec["model"])
    added = {token["content"]: token["id"] for token in spec["added_tokens"]}
    size = 1 + max([*vocabulary.values(), *added.values()])
    digests: list[bytes] = []
    kept = np.zeros(size, dtype=bool)
    units = _units([*texts, *extra_texts], spec["pre_tokenizer"])
    for ids, digest in _encode(tokenizer, units):
        kept |= np.bincount(ids, minlength=size)[:size] > 0
        digests.append(digest)
    kept[[*added.values(), *keep]] = True
    kept[_alphabet(vocabulary, spec["model"])] = True
    if kind == "Unigram":
        scores = np.array([score for _, score in spec["model"]["vocab"]])
        kept[int(scores.argmin())] = True  # the score of an unknown character is derived from the least one
        if spec["model"]["unk_id"] is not None:
            kept[spec["model"]["unk_id"]] = True
    elif (unknown := spec["model"].get("unk_token")) in vocabulary:
        kept[vocabulary[unknown]] = True
    if kind == "BPE":
        pieces = {i: piece for piece, i in vocabulary.items()}
        used = [pieces[i] for i in np.flatnonzero(kept).tolist() if i in pieces]
        kept[[vocabulary[piece] for piece in _derivations(used, spec["model"]) if piece in vocabulary]] = True
    old_ids = np.flatnonzero(kept)
    mapping = np.full(size, -1, dtype=np.int64)
    mapping[old_ids] = np.arange(len(old_ids))
    pruned = _rewrite(spec, mapping)
    _verify(tokenizer, pruned, old_ids, units, digests)
    return pruned, mapping


def prune_embeddings(model: PreTrainedModel, mapping: IntArray) -> None:
    """Keep the rows of the input embeddings that ``mapping`` (old ids,) keeps, in its order; update ids in the config.

    Works in place. Rows beyond the mapping (padding of the table) are dropped.
    """
    old = model.get_input_embeddings()
    if not isinstance(old, nn.Embedding):
        raise ValueError(f"{type(model).__name__} has no embedding table to prune: set model.prune_vocabulary=false")
    rows = torch.from_numpy(np.flatnonzero(mapping >= 0))
    if int(rows[-1]) >= old.num_embeddings:
        raise ValueError(
            f"the tokenizer has ids up to {int(rows[-1])}, the embedding table has {old.num_embeddings} rows"
        )
    padding = None if old.padding_idx is None or old.padding_idx >= len(mapping) else int(mapping[old.padding_idx])
    # the same object with fewer rows: Gemma's table is of a kind that scales what it returns
    old.weight = nn.Parameter(old.weight.detach()[rows].clone(), requires_grad=old.weight.requires_grad)
    old.num_embeddings, old.padding_idx = len(rows), None if padding == -1 else padding
    model.config.vocab_size = len(rows)
    for name, value in vars(model.config).items():
        if name.endswith("_token_id") and isinstance(value, int):
            known = 0 <= value < len(mapping) and mapping[value] >= 0
            setattr(model.config, name, int(mapping[value]) if known else None)


def prune(
    model: PreTrainedModel, tokenizer: Tokenizer, texts: Sequence[str], extra_texts: Sequence[str] = ()
) -> tuple[Tokenizer, IntArray]:
    """Prune model (in place) and tokenizer together; see :func:`prune_tokenizer` for the result and the errors."""
    keep: Sequence[int] = ()
    embeddings = getattr(model, "embeddings", None)
    positions = getattr(embeddings, "position_embeddings", None)
    if positions is not None and positions.padding_idx is not None:
        keep = range(positions.padding_idx + 1)  # RoBERTa counts positions from the pad id: it must not move
    pruned, mapping = prune_tokenizer(tokenizer, texts, extra_texts, keep)
    prune_embeddings(model, mapping)
    return pruned, mapping


def _model_vocabulary(model: dict[str, Any]) -> dict[str, int]:
    if model["type"] == "Unigram":
        return {piece: i for i, (piece, _) in enumerate(model["vocab"])}
    return dict(model["vocab"])


def _symbols(piece: str, model: dict[str, Any]) -> list[str]:
    """The single-character pieces that a piece is made of: ``["▁", "a"]``, ``["a", "##b"]`` or ``["a", "b</w>"]``."""
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    starts, ends = not (prefix and piece.startswith(prefix)), bool(suffix) and piece.endswith(suffix)
    symbols = list(piece[0 if starts else len(prefix) : len(piece) - len(suffix) if ends else None])
    if prefix:
        symbols = [s if starts and i == 0 else prefix + s for i, s in enumerate(symbols)]
    if ends and symbols:
        symbols[-1] += suffix
    return symbols


def _alphabet(vocabulary: dict[str, int], model: dict[str, Any]) -> list[int]:
    """Ids of the pieces of one character, of byte pieces, and of those with a character that has none of its own."""
    ids = []
    for piece, i in vocabulary.items():
        symbols = _symbols(piece, model)
        marked = len(symbols) == 2 and symbols[0] in ("▁", "Ġ")
        byte = len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")
        if len(symbols) <= 1 or marked or byte or not all(symbol in vocabulary for symbol in symbols):
            ids.append(i)
    return ids


def _splits_at_spaces(pre_tokenizer: dict[str, Any] | None) -> bool:
    """Whether no input of the model reaches over a space of the text, wherever the word stands in it."""
    match pre_tokenizer:
        case {"type": "Sequence", "pretokenizers": [first, *rest]}:
            later = [part for part in rest if part["type"] == "Metaspace"]
            return _splits_at_spaces(first) and all(part.get("prepend_scheme") == "always" for part in later)
        case {"type": "WhitespaceSplit" | "Whitespace" | "BertPreTokenizer"}:
            return True
        case {"type": "Metaspace", "prepend_scheme": "always", "split": True}:
            return True  # a lone "▁" may come from two spaces, and is always kept
    return False


def _units(texts: Sequence[str], pre_tokenizer: dict[str, Any] | None) -> Sequence[str]:
    """What must be tokenised to know the tokens of ``texts``: distinct words and some texts, or the texts."""
    if not _splits_at_spaces(pre_tokenizer):
        return texts
    return [*texts[:CHUNK], *dict.fromkeys(word for text in texts for word in text.split(" "))]


def _encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[tuple[IntArray, bytes]]:
    """For each chunk of the texts, all its ids, and a digest of ids and lengths (memory stays that of a chunk)."""
    for start in range(0, len(texts), CHUNK):
        yield _encode_chunk(tokenizer, texts[start : start + CHUNK])


def _encode_chunk(
    tokenizer: Tokenizer, texts: Sequence[str], ids_map: IntArray | None = None
) -> tuple[IntArray, bytes]:
    encoded = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    ids = np.fromiter((i for row in encoded for i in row), np.int64, int(lengths.sum()))
    if ids_map is not None:
        ids = ids_map[ids]
    return ids, hashlib.blake2b(ids.tobytes() + lengths.tobytes(), digest_size=16).digest()


def _pair(merge: list[str] | str) -> tuple[str, str]:
    """A merge of tokenizer.json: a list in newer files, "a b" in older ones."""
    a, b = merge if isinstance(merge, list) else merge.split(" ")
    return a, b


def _derivations(pieces: Sequence[str], model: dict[str, Any]) -> set[str]:
    """Every symbol that BPE passes through on its way to each of ``pieces``."""
    prefix = model.get("continuing_subword_prefix") or ""
    ranks = {_pair(merge): rank for rank, merge in enumerate(model["merges"])}
    seen: set[str] = set()
    for piece in pieces:
        symbols = _symbols(piece, model)
        seen.update(symbols)
        while len(symbols) > 1:
            rank, at = min((ranks.get(pair, len(ranks)), i) for i, pair in enumerate(itertools.pairwise(symbols)))
            if rank == len(ranks):
                break  # a piece that no merge reaches (an added token)
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1][len(prefix) :]]
            seen.add(symbols[at])
    return seen


def _rewrite(spec: dict[str, Any], mapping: IntArray) -> Tokenizer:
    """The tokenizer of a ``tokenizer.json`` content with the ids of ``mapping``."""
    model = spec["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [entry for i, entry in enumerate(model["vocab"]) if mapping[i] >= 0]
        model["unk_id"] = None if model["unk_id"] is None else int(mapping[model["unk_id"]])
    else:
        model["vocab"] = {piece: int(mapping[i]) for piece, i in model["vocab"].items() if mapping[i] >= 0}
    if model["type"] == "BPE":
        prefix = model.get("continuing_subword_prefix") or ""
        vocabulary, merges = model["vocab"], []
        for merge in model["merges"]:
            a, b = _pair(merge)
            if a in vocabulary and b in vocabulary and a + b[len(prefix) :] in vocabulary:
                merges.append(merge)
        model["merges"] = merges
    for token in spec["added_tokens"]:
        token["id"] = int(mapping[token["id"]])
    if spec["post_processor"] is not None:
        _renumber_processor(spec["post_processor"], mapping)
    pruned = Tokenizer.from_str(json.dumps(spec, ensure_ascii=False))
    for token in spec["added_tokens"]:
        if pruned.token_to_id(token["content"]) != token["id"]:
            raise PruningError(f"the special token {token['content']!r} moved: set model.prune_vocabulary=false")
    return pruned


def _renumber_processor(processor: dict[str, Any], mapping: IntArray) -> None:
    match processor["type"]:
        case "Sequence":
            for part in processor["processors"]:
                _renumber_processor(part, mapping)
        case "TemplateProcessing":
            for token in processor["special_tokens"].values():
                token["ids"] = [int(mapping[i]) for i in token["ids"]]
        case "RobertaProcessing" | "BertProcessing":
            for name in ("sep", "cls"):
                content, i = processor[name]
                processor[name] = [content, int(mapping[i])]


def _verify(
    full: Tokenizer, pruned: Tokenizer, old_ids: IntArray, texts: Sequence[str], digests: Sequence[bytes]
) -> None:
    """Raise PruningError, with the text, unless the pruned tokenizer gives each text the pieces it had."""
    for start, expected in zip(range(0, len(texts), CHUNK), digests, strict=True):
        chunk = texts[start : start + CHUNK]
        if _encode_chunk(pruned, chunk, old_ids)[1] == expected:
            continue
        for text in chunk:
            before, after = full.encode(text).tokens, pruned.encode(text).tokens
            if before != after:
                raise PruningError(
                    f"vocabulary pruning would tokenise {text!r} as {after} instead of {before}: "
                    "set model.prune_vocabulary=false and report the tokenizer"
                )
        raise PruningError("vocabulary pruning changed ids: set model.prune_vocabulary=false and report the tokenizer")
