"""An encoder that was trained with a pruned vocabulary as a Hugging Face folder with the whole one."""

from pathlib import Path

import torch

from hjc.nn.encoder import load_encoder
from hjc.nn.settings import NeuralSettings
from hjc.nn.stored import save_tokenizer
from hjc.nn.text_encoder import TorchTextEncoder


def save_whole(trained: TorchTextEncoder, start: NeuralSettings, folder: Path) -> None:
    """Write config.json, model.safetensors and the tokenizer of the encoder that ``start`` names, with the weights of
    ``trained``; pieces that its vocabulary lacks keep the vectors that they started with.

    Args:
        start: with ``prune_vocabulary=False``.
    """
    whole, tokenizer = load_encoder(start)
    table = whole.get_input_embeddings().weight
    assert isinstance(table, torch.Tensor)
    name = next(name for name, p in whole.named_parameters() if p is table)
    state = {key: value.detach().cpu().float() for key, value in trained.model.state_dict().items()}
    known, pieces, merged = tokenizer.get_vocab(), trained.tokenizer.get_vocab(), table.detach().clone()
    merged[torch.tensor([known[piece] for piece in pieces])] = state[name][torch.tensor(list(pieces.values()))]
    whole.load_state_dict(state | {name: merged})
    whole.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
