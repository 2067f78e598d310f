"""LoRA: low-rank adapters on an encoder (Hu et al. 2021), and how they become part of its weights."""

import torch
from torch import nn
from transformers import PreTrainedModel

from hjc.nn.settings import NeuralSettings


def add_lora(model: PreTrainedModel, settings: NeuralSettings, seed: int) -> None:
    """Low-rank adapters (Hu et al. 2021) on every linear layer of the encoder, in place; other weights are frozen."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('model.lora_rank needs peft: pip install "hjc[lora]"', name="peft") from error
    targets = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    config = LoraConfig(
        r=settings.lora_rank, lora_alpha=settings.lora_alpha, lora_dropout=settings.lora_dropout, target_modules=targets
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)


def merge_lora(model: PreTrainedModel) -> PreTrainedModel:
    """Fold adapters into the weights they adapt, in place; the encoder is then an ordinary one. No adapters: no-op."""
    try:
        from peft.tuners.tuners_utils import BaseTunerLayer
    except ModuleNotFoundError:
        return model  # adapters cannot be there without peft
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, module.get_base_layer())
    model.requires_grad_(True)
    return model
