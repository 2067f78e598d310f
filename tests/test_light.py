"""Encoders and tokenizers without transformers: the same numbers as with it, and without its import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hjc.nn.encoder import load_encoder
from hjc.nn.light import LightEncoder, light_encoder
from hjc.nn.settings import NeuralSettings
from hjc.nn.stored import load_weights, read_encoder, save_encoder, save_weights
from hjc.nn.tokenizer import LightTokenizer
from tests.encoder_zoo import corpus, write_encoder

FIXTURES = Path(__file__).parent / "fixtures" / "models_0_1"
TEXTS = ["spawacz", "Krankenpfleger (m/w/d) im Nachtdienst auf Station 4", "", "看護師 nurse", " ".join(["nurse"] * 90)]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["xlmr", "minilm", "herbert", "e5_small"])
def test_stored_encoders_compute_as_transformers_does(family, tmp_path):
    folder = write_encoder(tmp_path / family, family)
    theirs, tokenizer = load_encoder(NeuralSettings(encoder=str(folder), max_length=32), corpus(60))
    theirs.eval()
    save_encoder(theirs, tokenizer, tmp_path)
    save_weights(theirs, tmp_path / "w.safetensors")
    ours, light = read_encoder(tmp_path, 32)
    assert isinstance(ours, LightEncoder) and isinstance(light, LightTokenizer)
    load_weights(ours, tmp_path / "w.safetensors")
    options = {"truncation": True, "max_length": 32}
    rows, expected = light(TEXTS, **options), tokenizer(TEXTS, **options)
    assert rows["input_ids"] == expected["input_ids"]
    assert (
        light("nurse", return_offsets_mapping=True)["offset_mapping"]
        == (tokenizer("nurse", return_offsets_mapping=True)["offset_mapping"])
    )
    for name in ("pad_token_id", "cls_token_id", "sep_token_id", "bos_token", "unk_token", "all_special_ids"):
        assert getattr(light, name) == getattr(tokenizer, name), name
    for texts in (TEXTS, TEXTS[:1]):  # with and without a pad
        batch = light(texts, padding=True, return_tensors="pt", **options)
        same = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False, **options)
        assert all(torch.equal(batch[key], same[key]) for key in batch)
        mask = batch["attention_mask"][..., None]
        with torch.inference_mode():
            found, wanted = (model(**batch).last_hidden_state * mask for model in (ours, theirs))
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)
        vectors = theirs.get_input_embeddings()(batch["input_ids"])
        with torch.inference_mode():
            found = ours(inputs_embeds=vectors, attention_mask=batch["attention_mask"]).last_hidden_state
        torch.testing.assert_close(found * mask, wanted, atol=1e-6, rtol=1e-6)
    # what is read can be written again
    (tmp_path / "again").mkdir()
    save_encoder(ours, light, tmp_path / "again")
    for name in ("encoder_config.json", "tokenizer_config.json", "tokenizer.json"):
        assert json.loads((tmp_path / "again" / name).read_text("utf-8")) == json.loads(
            (tmp_path / name).read_text("utf-8")
        )


def test_other_architectures_are_left_to_transformers():
    content = json.loads((FIXTURES / "neural_topdown" / "encoder_config.json").read_text("utf-8"))
    assert light_encoder(content) is not None
    for change in ({"model_type": "modernbert"}, {"hidden_act": "relu"}, {"is_decoder": True}, {"hidden_size": 33},
                   {"num_attention_heads": 0}, {"vocab_size": "many"}, {"layer_norm_eps": None}):  # fmt: skip
        assert light_encoder(content | change) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "absent"),
    [
        (
            "neural_topdown",
            ["transformers", "sklearn", "pytorch_lightning", "sympy", "torch._dynamo", "scipy", "rich"],
        ),
        ("linear_topdown", ["torch", "transformers", "sklearn"]),
    ],
)
def test_one_text_in_a_fresh_process_imports_little(model, absent):
    code = (
        "import sys, hjc\n"
        "print(hjc.load(sys.argv[1]).predict(['nurse']).shape, [n for n in sys.argv[2:] if n in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(FIXTURES / model), *absent]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith("[]"), done.stdout
