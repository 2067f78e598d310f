"""Packed layers against those of transformers: the same outputs and gradients, dropout with the right mean."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertModel,
    ElectraConfig,
    ElectraModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from hjc.nn import packed
from hjc.nn.packed import Dropout, Layout, last_states, packed_states, packs

KINDS = {
    "bert": (BertConfig, BertModel),
    "roberta": (RobertaConfig, RobertaModel),
    "xlmr": (XLMRobertaConfig, XLMRobertaModel),
    "electra": (ElectraConfig, ElectraModel),
}
LENGTHS = torch.tensor([70, 40, 3, 17, 20, 1, 39, 22, 66])


def encoder_of(kind, **options):
    config, cls = KINDS[kind]
    torch.manual_seed(0)
    wide = {"embedding_size": 24} if kind == "electra" else {}
    made = cls(
        config(
            vocab_size=100,
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=96,
            max_position_embeddings=80,
            pad_token_id=1,
            **wide,
            **options,
        ),
        **({} if kind == "electra" else {"add_pooling_layer": False}),
    )
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.15)
    return made.eval()


def batch_of(lengths=LENGTHS):
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    ids = torch.randint(3, 100, mask.shape, generator=torch.Generator().manual_seed(1))
    return ids * mask + (1 - mask), mask


def gradients(encoder, states, mask):
    encoder.zero_grad()
    toward = torch.randn(states.shape, generator=torch.Generator().manual_seed(2))
    (states.float() * toward * mask[..., None]).sum().backward()
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_gradients_are_those_of_transformers(kind):
    encoder, (ids, mask) = encoder_of(kind), batch_of()
    assert packs(encoder)
    theirs = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    ours = packed_states(encoder, ids, mask, torch.float32)
    torch.testing.assert_close(ours, theirs * mask[..., None], atol=2e-6, rtol=1e-5)
    expected = gradients(encoder, theirs, mask)
    found = gradients(encoder, packed_states(encoder, ids, mask, torch.float32), mask)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("kind", KINDS)
def test_without_gradients_it_is_the_same_a_part_at_a_time(kind, monkeypatch):
    encoder, (ids, mask) = encoder_of(kind), batch_of()
    expected = packed_states(encoder, ids, mask, torch.float32).detach()
    monkeypatch.setattr(packed, "TOGETHER", 7)  # neither one part nor whole ones
    monkeypatch.setattr(packed, "FEWER", 1)  # each text is a group
    with torch.no_grad():
        found = packed_states(encoder, ids, mask, torch.float32)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)
    assert len(ids) > 1 and mask.sum() > 14


def test_bfloat16_is_no_further_from_float32_than_autocast():
    encoder, (ids, mask) = encoder_of("xlmr"), batch_of()
    exact = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    reference = gradients(encoder, exact, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        packed = last_states(encoder, ids, mask)

    def distance(states):
        found = gradients(encoder, states, mask)
        apart = [((states - exact) * mask[..., None]).norm() / exact.norm()]
        apart += [(found[n] - g).norm() / g.norm() for n, g in reference.items() if "key.bias" not in n]
        return torch.stack(apart)  # the gradient of the bias of keys is 0: softmax does not see it

    ours, theirs = distance(packed), distance(cast)
    assert ours.max() < 0.2 and ours.mean() < theirs.mean()
    assert not torch.equal(packed, cast)


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_every_token_has_one_place_and_finds_back(lengths):
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    layout = Layout.of(mask)
    assert sorted(layout.tokens.tolist()) == mask.view(-1).nonzero().view(-1).tolist()
    n = len(layout.tokens)
    values = torch.cat([torch.arange(n), torch.tensor([-1])])
    laid_out = torch.cat([values[g.gather] for g in layout.groups])
    assert laid_out[layout.scatter].tolist() == list(range(n))
    assert (laid_out >= 0).sum() == n
    assert sum(g.texts for g in layout.groups) == len(lengths)
    for group in layout.groups:
        there = (group.gather < n).view(group.texts, 1, -1)
        assert bool(there.all()) if group.bias is None else torch.equal(group.bias == 0, there)


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5])
def test_dropout_keeps_the_mean(p):
    torch.manual_seed(3)
    mask = Dropout().mask(torch.empty(400, 501, dtype=torch.bfloat16), p).double()
    dropped = float((mask == 0).double().mean())
    assert dropped == pytest.approx(p, rel=0.02)
    scale = float(mask.max())
    assert scale == pytest.approx(1 / (1 - p), rel=0.005) and set(mask.unique().tolist()) == {0.0, scale}
    assert float(mask.mean()) == pytest.approx(1, abs=4 * np.sqrt(p / (1 - p) / mask.numel()))
    rows = mask[:, :500].reshape(-1, 2)
    assert float((rows[:, 0] * rows[:, 1]).mean()) == pytest.approx(1, abs=0.01)  # neighbours are independent
    assert Dropout().mask(torch.empty(3), 0.0) is None


def test_dropout_follows_the_seed_and_rests_in_evaluation():
    encoder, (ids, mask) = encoder_of("bert"), batch_of()

    def draw():
        torch.manual_seed(5)
        return packed_states(encoder, ids, mask, torch.bfloat16)

    still = packed_states(encoder, ids, mask, torch.bfloat16)
    encoder.train()
    first, again, other = draw(), draw(), packed_states(encoder, ids, mask, torch.bfloat16)
    assert torch.equal(first, again) and not torch.equal(first, other) and not torch.equal(first, still)


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_that_learns_in_float32_is_computed_here_and_one_that_predicts_by_itself(kind):
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    encoder, (ids, mask) = encoder_of(kind, **still), batch_of()
    theirs = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.equal(last_states(encoder, ids, mask), theirs)  # evaluation
    expected = gradients(encoder, theirs, mask)
    encoder.train()
    ours = last_states(encoder, ids, mask)
    assert not ours[mask == 0].any() and theirs[mask == 0].any()  # pads are never computed
    torch.testing.assert_close(ours, theirs * mask[..., None], atol=2e-6, rtol=1e-5)
    found = gradients(encoder, ours, mask)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


def test_an_encoder_in_float64_is_left_to_transformers():
    encoder, (ids, mask) = encoder_of("bert").double().train(), batch_of()
    assert not packs(encoder)
    assert last_states(encoder, ids, mask).dtype == torch.float64


def test_frozen_weights_get_no_gradient_and_do_not_change_those_of_others():
    encoder, (ids, mask) = encoder_of("xlmr"), batch_of()
    free = gradients(encoder, packed_states(encoder, ids, mask, torch.float32), mask)
    encoder.embeddings.requires_grad_(False)
    encoder.encoder.layer[0].requires_grad_(False)
    found = gradients(encoder, packed_states(encoder, ids, mask, torch.float32), mask)
    assert found.keys() == {name for name in free if name.startswith("encoder.layer.1.")}
    assert all(torch.equal(found[name], free[name]) for name in found)


def test_other_encoders_are_left_to_transformers():
    assert not packs(encoder_of("bert", hidden_act="relu"))
    assert not packs(encoder_of("bert", is_decoder=True))
    saving = encoder_of("bert")
    saving.gradient_checkpointing_enable({"use_reentrant": False})
    assert not packs(saving)
    compiled = encoder_of("bert")
    compiled._compiled_call_impl = compiled._call_impl  # as nn.Module.compile leaves it
    assert not packs(compiled)
    ids, mask = batch_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert last_states(saving, ids, mask).shape == (*ids.shape, 48)
