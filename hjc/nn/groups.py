"""Which weights learn at which rate: encoder and head apart, lower layers slower, no decay of biases and norms."""

from typing import Any

from torch import nn

from hjc.nn.settings import TrainerSettings


def layer_depths(encoder: nn.Module) -> tuple[dict[int, int], int]:
    """id of a weight -> its layer, and the number n of layers: 0 is the embeddings, 1 to n from the bottom up.

    What stands behind the layers, such as a last norm, counts with the uppermost.

    Raises:
        ValueError: the encoder has no such list of layers (in ALBERT they share their weights).
    """
    number = getattr(getattr(encoder, "config", None), "num_hidden_layers", 0)
    lists = [m for m in encoder.modules() if isinstance(m, nn.ModuleList) and number and len(m) == number]
    if not lists:
        raise ValueError(
            f"trainer.layer_decay: {type(encoder).__name__} is not a stack of layers with weights of their own; "
            "allowed is 1 (one rate)"
        )
    inside = {id(p): i for i, layer in enumerate(lists[0], 1) for p in layer.parameters()}
    depths, reached = {}, 0
    for p in encoder.parameters():
        if id(p) in inside:
            reached = number
        depths[id(p)] = inside.get(id(p), reached)
    return depths, number


def parameter_groups(module: nn.Module, encoder: nn.Module | None, settings: TrainerSettings) -> list[dict[str, Any]]:
    """AdamW groups: encoder and the rest with rates of their own, no decay on biases and normalisation weights.

    With ``layer_decay`` d, layer k of n of the encoder learns at d^(n - k) times the encoder's rate, the embeddings at
    d^n times (Howard & Ruder 2018; Clark et al. 2020).

    Raises:
        ValueError: ``layer_decay`` for an encoder without layers of its own.
    """
    norms = {id(p) for m in module.modules() if "norm" in type(m).__name__.lower() for p in m.parameters()}
    rates: dict[int, float] = {}
    if encoder is not None:
        rates = {id(p): settings.learning_rate for p in encoder.parameters()}
        if settings.layer_decay != 1:
            depths, number = layer_depths(encoder)
            rates = {i: settings.learning_rate * settings.layer_decay ** (number - depths[i]) for i in rates}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, p in module.named_parameters():
        if p.requires_grad:
            decays = id(p) not in norms and not name.endswith("bias")
            groups.setdefault((rates.get(id(p), settings.head_learning_rate), decays), []).append(p)
    return [
        {"params": params, "lr": rate, "weight_decay": settings.weight_decay if decays else 0.0}
        for (rate, decays), params in groups.items()
    ]
