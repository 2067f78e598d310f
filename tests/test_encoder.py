"""Encoders: every model config builds from a small random model of its own kind; pooling; files; LoRA."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from hjc.nn.encoder import load_encoder
from hjc.nn.hub import EncoderNotFoundError
from hjc.nn.lora import merge_lora
from hjc.nn.settings import POOLINGS, NeuralSettings
from hjc.nn.stored import max_tokens, pool, read_encoder, save_encoder
from tests.encoder_zoo import CONFIG_FAMILIES, FAMILIES, corpus, write_encoder

CONFIGS = Path(__file__).parents[1] / "hjc" / "configs" / "model"
TEXTS = ["spawacz", "Krankenpfleger (m/w/d) im Nachtdienst", "software developer"]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each family."""
    root = tmp_path_factory.mktemp("zoo")
    return {family: write_encoder(root / family, family) for family in FAMILIES}


def read_config(name: str) -> dict:
    content = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    assert content.pop("defaults") == ["neural_schema", "_self_"]
    return content


def encode(tokenizer, texts):
    return tokenizer(list(texts), padding=True, truncation=True, max_length=64, return_tensors="pt")


def hidden_states(model, batch):
    with torch.no_grad():
        return model.eval()(**batch).last_hidden_state


def test_every_neural_config_is_tried():
    neural = {p.stem for p in CONFIGS.glob("*.yaml") if "neural_schema" in p.read_text(encoding="utf-8")}
    assert neural == {*CONFIG_FAMILIES, "tiny"}


def test_the_default_encoder_is_e5():
    assert read_config("e5")["encoder"] == NeuralSettings().encoder == "intfloat/multilingual-e5-small"


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CONFIG_FAMILIES, "tiny"])
def test_config_builds_runs_and_reloads(name, zoo, tmp_path):
    content = read_config(name)
    assert set(content) <= {f.name for f in fields(NeuralSettings)}
    if name != "tiny":
        content["encoder"] = str(zoo[CONFIG_FAMILIES[name]])
    settings = NeuralSettings(**content)
    model, tokenizer = load_encoder(settings, corpus(200), TEXTS)
    assert model.training and getattr(model, "pooler", None) is None
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.config._attn_implementation == "sdpa"
    assert model.get_input_embeddings().num_embeddings == len(tokenizer) == model.config.vocab_size

    batch = encode(tokenizer, TEXTS)
    assert set(batch) == {"input_ids", "attention_mask"}
    hidden = hidden_states(model, batch)
    for kind in POOLINGS:
        pooled = pool(hidden, batch["attention_mask"], kind)
        assert pooled.shape == (3, model.config.hidden_size) and pooled.isfinite().all()
        for i, text in enumerate(TEXTS):  # a text's vector does not depend on its batch
            one = encode(tokenizer, [text])
            alone = pool(hidden_states(model, one), one["attention_mask"], kind)
            torch.testing.assert_close(alone[0], pooled[i], atol=2e-5, rtol=1e-4)

    save_encoder(model, tokenizer, tmp_path)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    again, reread = read_encoder(tmp_path, settings.max_length)
    again.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    assert encode(reread, TEXTS)["input_ids"].tolist() == batch["input_ids"].tolist()
    assert torch.equal(hidden_states(again, batch), hidden)
    assert max_tokens(again) == max_tokens(model) >= settings.max_length
    for file in ("encoder_config.json", "tokenizer_config.json"):
        assert str(zoo["xlmr"].parent) not in (tmp_path / file).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_pruned_table_still_scales_what_it_returns(zoo):
    """Gemma multiplies by the root of its width, in a kind of table of its own."""
    whole, tokenizer = load_encoder(NeuralSettings(encoder=str(zoo["gemma"]), prune_vocabulary=False))
    pruned, small = load_encoder(NeuralSettings(encoder=str(zoo["gemma"])), TEXTS)
    assert pruned.get_input_embeddings().num_embeddings < whole.get_input_embeddings().num_embeddings
    before, after = (hidden_states(model, encode(t, TEXTS)) for model, t in ((whole, tokenizer), (pruned, small)))
    torch.testing.assert_close(after, before)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_first_layers_only(family, zoo):
    batch = encode(load_encoder(NeuralSettings(encoder=str(zoo[family]), prune_vocabulary=False))[1], TEXTS)
    full, _ = load_encoder(NeuralSettings(encoder=str(zoo[family]), prune_vocabulary=False))
    cut, _ = load_encoder(NeuralSettings(encoder=str(zoo[family]), prune_vocabulary=False, num_layers=2))
    assert cut.config.num_hidden_layers == 2
    with torch.no_grad():
        expected = full.eval()(**batch, output_hidden_states=True).hidden_states[2]
        if (end := getattr(full, "final_norm", getattr(full, "norm", None))) is not None:
            expected = end(expected)  # pre-LayerNorm: the norm at the end belongs to what it returns
    keep = batch["attention_mask"].bool()
    torch.testing.assert_close(hidden_states(cut, batch)[keep], expected[keep], atol=1e-5, rtol=1e-5)


def test_wrong_settings_are_refused(zoo):
    folder = str(zoo["xlmr"])
    with pytest.raises(ValueError, match=r"model.num_layers: got 9, allowed are 0 \(all\) to 3"):
        load_encoder(NeuralSettings(encoder=folder, num_layers=9))
    with pytest.raises(ValueError, match=r"model.max_length: got 600, .* at most 512"):
        load_encoder(NeuralSettings(encoder=folder, max_length=600))
    with pytest.raises(ValueError, match="there are none"):
        load_encoder(NeuralSettings(encoder="tiny"))
    with pytest.raises(ValueError, match="tiny_vocabulary: got 100"):
        load_encoder(NeuralSettings(encoder="tiny", tiny_vocabulary=100), TEXTS)


def test_damaged_folders_are_refused(zoo, tmp_path):
    folder = write_encoder(tmp_path / "model", "xlmr")
    state = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in state.items() if "layer.1." not in k}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="lacks 16 weights"):
        load_encoder(NeuralSettings(encoder=str(folder)))
    (folder / "model.safetensors").unlink()
    with pytest.raises(EncoderNotFoundError, match="no weights"):
        load_encoder(NeuralSettings(encoder=str(folder)))
    (folder / "config.json").unlink()
    with pytest.raises(EncoderNotFoundError, match=r"no config\.json"):
        load_encoder(NeuralSettings(encoder=str(folder)))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("config.json", '{"a":' * 100_000, r"config\.json: not valid JSON \(nested too deeply\)"),
        (
            "config.json",
            '{"model_type": "xlm-roberta", "x": ' + '{"a":' * 400 + "1" + "}" * 401,
            "model: its files|nested",
        ),
        ("config.json", "[]", "damaged or do not fit"),
        ("tokenizer_config.json", "[" * 100_000, r"tokenizer_config\.json: not valid JSON \(nested too deeply\)"),
        ("tokenizer.json", "[" * 100_000, "damaged or do not fit"),
        ("model.safetensors.index.json", "{}", "no index of weight files"),
    ],
)
def test_folders_of_strangers_end_in_one_message(tmp_path, name, text, said):
    folder = write_encoder(tmp_path / "model", "xlmr")
    if name.endswith(".index.json"):
        (folder / "model.safetensors").unlink()
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        load_encoder(NeuralSettings(encoder=str(folder)))


def test_remote_code_is_never_run(zoo, tmp_path):
    folder = write_encoder(tmp_path / "model", "xlmr")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "unheard_of", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('run')")
    with pytest.raises(ValueError, match=r"model: the encoder needs code of its own \(evil\.Config, evil\.Model\)"):
        load_encoder(NeuralSettings(encoder=str(folder)))


def test_tiny_depends_on_seed_and_texts_alone():
    settings = NeuralSettings(encoder="tiny", tiny_vocabulary=600)
    (a, ta), (b, tb), (c, _) = (load_encoder(settings, corpus(100), seed=seed) for seed in (1, 1, 2))
    assert ta.get_vocab() == tb.get_vocab()
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.get_input_embeddings().weight, c.get_input_embeddings().weight)
    assert ta.unk_token_id not in ta("전기 기술자 ☃ ქართული")["input_ids"]


@pytest.mark.slow
def test_gradient_checkpointing_keeps_gradients(zoo):
    gradients = []
    for on in (False, True):
        model, tokenizer = load_encoder(NeuralSettings(encoder=str(zoo["xlmr"]), gradient_checkpointing=on), corpus(50))
        assert model.encoder.layer[0].gradient_checkpointing == on
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.config.attention_probs_dropout_prob = 0.0
        for layer in model.encoder.layer:
            layer.attention.self.dropout.p = 0.0
        model(**encode(tokenizer, TEXTS)).last_hidden_state.square().sum().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_lora_merges_into_an_ordinary_encoder(family, zoo):
    pytest.importorskip("peft")
    plain, tokenizer = load_encoder(NeuralSettings(encoder=str(zoo[family])), corpus(50), TEXTS)
    model, _ = load_encoder(NeuralSettings(encoder=str(zoo[family]), lora_rank=2), corpus(50), TEXTS)
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trainable and all("lora_" in name for name in trainable)
    batch = encode(tokenizer, TEXTS)
    torch.testing.assert_close(hidden_states(model, batch), hidden_states(plain, batch))  # B starts at zero
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    unmerged = hidden_states(model, batch)
    merged = merge_lora(model)
    torch.testing.assert_close(hidden_states(merged, batch), unmerged, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(unmerged, hidden_states(plain, batch), atol=1e-3)
    assert list(merged.state_dict()) == list(plain.state_dict())
    assert all(p.requires_grad for p in merged.parameters())
    assert merge_lora(plain) is plain


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**31))
def test_pooling_equals_a_loop(batch, length, seed):
    random = np.random.default_rng(seed)
    hidden = torch.from_numpy(random.normal(size=(batch, length, 3)).astype(np.float32))
    lengths = random.integers(1, length + 1, batch)
    mask = torch.from_numpy((np.arange(length) < lengths[:, None]).astype(np.int64))
    rows = [hidden[i, :n].numpy() for i, n in enumerate(lengths)]
    np.testing.assert_allclose(pool(hidden, mask, "mean"), [row.mean(0) for row in rows], atol=1e-6)
    np.testing.assert_array_equal(pool(hidden, mask, "max"), [row.max(0) for row in rows])
    np.testing.assert_array_equal(pool(hidden, mask, "cls"), [row[0] for row in rows])
    np.testing.assert_array_equal(pool(hidden, mask, "last"), [row[-1] for row in rows])


def test_mean_is_summed_in_float32():
    hidden = torch.full((1, 3000, 1), 1.0, dtype=torch.bfloat16)
    hidden[0, ::2] = 0.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = pool(hidden, torch.ones(1, 3000, dtype=torch.long), "mean")
    assert pooled.dtype == torch.float32 and pooled.item() == 0.5
    with pytest.raises(ValueError, match=r"model.pooling: got 'sum', allowed are mean, cls, max"):
        pool(hidden, torch.ones(1, 3000), "sum")
