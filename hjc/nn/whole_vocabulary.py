"""An encoder trained with a pruned vocabulary, with the whole vocabulary of the encoder that it started from."""

from collections.abc import Mapping

import torch
from transformers import PreTrainedModel


def graft(whole: PreTrainedModel, known: Mapping[str, int], trained: PreTrainedModel, own: Mapping[str, int]) -> None:
    """Give ``whole`` the weights of ``trained``, in place; pieces that ``own`` lacks keep the vectors they have.

    Args:
        whole: the encoder that the training of ``trained`` started from, and ``known``, the ids of its pieces.
        trained: an encoder of the same shape but for its table of pieces, and ``own``, the ids of these.

    Raises:
        ValueError: it did not start from this encoder.
    """
    table = whole.get_input_embeddings().weight
    assert isinstance(table, torch.Tensor)
    name = next(name for name, p in whole.named_parameters() if p is table)
    state = {key: value.detach().cpu().float() for key, value in trained.state_dict().items()}
    if not own.keys() <= known.keys():
        raise ValueError(f"{len(own.keys() - known.keys())} pieces are none of the whole vocabulary")
    merged = table.detach().clone()
    if name not in state:
        raise ValueError(f"it has no weights {name}: another kind of encoder")
    ids = [known[piece] for piece in own], list(own.values())
    if not own or any(not 0 <= i < len(x) for x, some in zip((merged, state[name]), ids, strict=True) for i in some):
        raise ValueError(f"the ids of {len(own)} pieces are not those of {len(state[name])} vectors")
    if state[name].shape[1:] != merged.shape[1:]:
        raise ValueError(f"vectors of {tuple(state[name].shape[1:])} numbers, not {tuple(merged.shape[1:])}")
    merged[torch.tensor(ids[0])] = state[name][torch.tensor(ids[1])]
    try:
        whole.load_state_dict(state | {name: merged})
    except RuntimeError as error:
        raise ValueError(str(error)) from error
