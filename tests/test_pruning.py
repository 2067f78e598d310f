"""Vocabulary pruning: the corpus keeps its tokenisation and its hidden states, other texts keep known pieces."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from hjc.nn import pruning
from hjc.nn.encoder import load_encoder, train_tokenizer
from hjc.nn.pruning import PruningError, prune, prune_tokenizer
from hjc.nn.settings import NeuralSettings
from tests.encoder_zoo import FAMILIES, corpus, family_tokenizer, write_encoder

TOKENIZERS = {
    "unigram": lambda: family_tokenizer("xlmr"),
    "wordpiece": lambda: family_tokenizer("minilm"),
    "bpe end of word": lambda: family_tokenizer("herbert"),
    "bpe byte fallback": lambda: family_tokenizer("mmbert"),
    "bpe byte level": lambda: train_tokenizer(corpus(), 900),
}
USED, EXTRA = corpus()[:60], corpus()[60:80]


def plain(tokenizer: Tokenizer) -> Tokenizer:
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


@pytest.fixture(params=TOKENIZERS)
def pruned(request):
    full = TOKENIZERS[request.param]()
    return plain(full), *prune_tokenizer(full, USED, EXTRA)


def test_corpus_keeps_its_tokenisation(pruned):
    full, small, mapping = pruned
    assert small.get_vocab_size() == (mapping >= 0).sum() < 0.9 * full.get_vocab_size()
    for text in (*USED, *EXTRA):
        before, after = full.encode(text), small.encode(text)
        assert after.tokens == before.tokens
        assert after.ids == mapping[before.ids].tolist()


def test_ids_are_ranks_and_pieces_keep_their_text(pruned):
    full, small, mapping = pruned
    kept = np.flatnonzero(mapping >= 0)
    np.testing.assert_array_equal(mapping[kept], np.arange(len(kept)))
    assert all(small.id_to_token(int(mapping[i])) == full.id_to_token(int(i)) for i in kept)
    specs = [json.loads(t.to_str()) for t in (full, small)]
    specials = [{t["content"]: t["lstrip"] for t in spec["added_tokens"]} for spec in specs]
    assert specials[0] == specials[1]


def test_merges_stay_consistent(pruned):
    model = json.loads(pruned[1].to_str())["model"]
    for a, b in model.get("merges", []):
        assert a in model["vocab"] and b in model["vocab"] and a + b in model["vocab"]


def unknown(tokenizer: Tokenizer, text: str) -> int:
    spec = json.loads(tokenizer.to_str())["model"]
    name = spec["unk_token"] if spec["type"] != "Unigram" else spec["vocab"][spec["unk_id"]][0]
    return 0 if name is None else tokenizer.encode(text).tokens.count(name)


@pytest.mark.slow
def test_other_texts_get_no_new_unknowns(pruned):
    full, small, _ = pruned
    others = [*corpus()[80:], "Lagerist im Außendienst", "електромонтер", "전기 기술자", "中文教师 ☃"]
    changed = 0
    for text in others:
        assert unknown(small, text) == unknown(full, text)
        changed += small.encode(text).tokens != full.encode(text).tokens
    assert changed  # else there was nothing to fall back from


@given(st.text(max_size=30))
def test_any_text_round_trips_as_before_unigram(text):
    full = TOKENIZERS["unigram"]()
    small = _unigram_pruned()
    assert unknown(small, text) <= unknown(full, text)
    if not unknown(full, text):
        assert small.decode(small.encode(text).ids) == full.decode(full.encode(text).ids)


def _unigram_pruned(_cache: list[Tokenizer] = []) -> Tokenizer:  # noqa: B006 - once for all examples
    if not _cache:
        _cache.append(prune_tokenizer(TOKENIZERS["unigram"](), USED)[0])
    return _cache[0]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_stay(family, tmp_path: Path):
    folder = str(write_encoder(tmp_path / family, family))
    full, full_tokenizer = load_encoder(NeuralSettings(encoder=folder, prune_vocabulary=False), USED, EXTRA)
    small, tokenizer = load_encoder(NeuralSettings(encoder=folder), USED, EXTRA)
    assert small.get_input_embeddings().num_embeddings < full.get_input_embeddings().num_embeddings
    assert small.config.pad_token_id == tokenizer.pad_token_id == tokenizer.convert_tokens_to_ids(tokenizer.pad_token)
    assert small.get_input_embeddings().padding_idx == tokenizer.pad_token_id
    a, b = (t([*USED, *EXTRA], padding=True, return_tensors="pt") for t in (full_tokenizer, tokenizer))
    assert torch.equal(a["attention_mask"], b["attention_mask"])
    with torch.no_grad():
        expected, got = full.eval()(**a).last_hidden_state, small.eval()(**b).last_hidden_state
    keep = a["attention_mask"].bool()
    torch.testing.assert_close(got[keep], expected[keep], atol=1e-5, rtol=1e-5)


def test_positions_do_not_move_with_the_pad_id():
    """RoBERTa counts positions from its pad id; here it is 7, and no text uses the pieces before it."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    words = ["ab", "ba", "abb", "aab", "bab", "bba", "aba", "<pad>", "<unk>", "nurse", "welder"]
    words += ["bb", "a", "b", "##a", "##b"]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<pad>", "<unk>"])
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=30,
        pad_token_id=7,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = XLMRobertaModel(config, add_pooling_layer=False).eval()
    text = "welder nurse welder"
    with torch.no_grad():
        before = model(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state
        small, mapping = prune(model, tokenizer, [text])
        after = model(torch.tensor([small.encode(text).ids])).last_hidden_state
    assert mapping[words.index("bb")] == -1 and mapping[7] == 7 == model.config.pad_token_id
    torch.testing.assert_close(after, before)


def test_a_changed_tokenisation_is_an_error(monkeypatch):
    monkeypatch.setattr(pruning, "_derivations", lambda pieces, model: set())  # drop the intermediate products
    with pytest.raises(PruningError, match=r"would tokenise .* instead of"):
        prune_tokenizer(TOKENIZERS["bpe end of word"](), USED)


def test_chunks_do_not_matter(monkeypatch):
    expected, _ = prune_tokenizer(TOKENIZERS["unigram"](), USED, EXTRA)
    monkeypatch.setattr(pruning, "CHUNK", 7)
    assert prune_tokenizer(TOKENIZERS["unigram"](), USED, EXTRA)[0].to_str() == expected.to_str()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_words_say_as_much_as_texts(name, monkeypatch):
    """Tokenising distinct words, where a tokenizer allows it, keeps the pieces that tokenising the texts keeps."""
    messy = ["  two  spaces\u00a0nbsp ", "tab\tand\nline <mask>x", "ﬁ ½ e\u0301 <s>", "\u3000wide\x1cspace", *USED]
    by_words, mapping = prune_tokenizer(TOKENIZERS[name](), messy)
    monkeypatch.setattr(pruning, "_splits_at_spaces", lambda _: False)
    by_texts, expected = prune_tokenizer(TOKENIZERS[name](), messy)
    monkeypatch.undo()
    monkeypatch.setattr(pruning, "CHUNK", 1)  # words alone: hardly a whole text among the units
    only_words, _ = prune_tokenizer(TOKENIZERS[name](), messy)
    np.testing.assert_array_equal(mapping, expected)
    assert by_words.to_str() == by_texts.to_str() == only_words.to_str()


def test_words_are_enough_for_these():
    local = {
        name: pruning._splits_at_spaces(json.loads(t().to_str())["pre_tokenizer"]) for name, t in TOKENIZERS.items()
    }
    assert [name for name, yes in local.items() if yes] == ["unigram", "wordpiece", "bpe end of word"]


def test_word_level_tokenizers_are_refused():
    with pytest.raises(ValueError, match="cannot prune a WordLevel tokenizer, only Unigram"):
        prune_tokenizer(Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")), ["a"])
