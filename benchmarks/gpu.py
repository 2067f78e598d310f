"""Rows a second of training and prediction on a GPU, and the share of its bfloat16 peak. Written, not yet run on one.

    python benchmarks/gpu.py [--device cuda:0] [--rows 20000] [--batch 256] [--steps 200]
    python benchmarks/gpu.py --device cpu --layers 1 --width 32 --rows 64 --batch 8 --steps 2     # does it run at all?

An encoder of XLM-R-base's size with random weights (a rate does not depend on what was learnt), no hub needed. On ads
of the bundled sample, repeated to ``--rows``: training steps in float32 and bfloat16, the latter also as one process of
DistributedDataParallel, and prediction in both. The peak is that of products of square matrices in bfloat16, measured
in the same run. Utilisation is what the driver says of the device after the steps (NVIDIA only).
"""

import argparse
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import XLMRobertaConfig

from hjc.classifiers.neural import NeuralClassifier
from hjc.data.sample import load_sample
from hjc.nn.architectures import of_config, wrap
from hjc.nn.batching import collate, training_batches
from hjc.nn.devices import autocast, device_of
from hjc.nn.encoder import train_tokenizer
from hjc.nn.fitting import adamw
from hjc.nn.network import Network
from hjc.nn.offline import XLMR_SPECIAL_TOKENS
from hjc.nn.settings import NeuralSettings, TrainerSettings
from hjc.nn.tokens import Reading, tokenize
from hjc.taxonomy import isco08

#: steps before those that are timed
WARM = 5


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Of work that is done when the device has finished it."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda _: None
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def peak(device: torch.device, size: int, repeats: int = 20) -> float:
    """1e12 operations a second of bfloat16 products, the best of several."""
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    return max(2 * size**3 / seconds(device, lambda: a @ a) / 1e12 for _ in range(repeats))


def utilisation(device: torch.device) -> str:
    """Per cent of the last moments in which the device computed; "" where no driver says it."""
    if device.type != "cuda":
        return ""
    try:
        return f"{torch.cuda.utilization(device)} %"
    except (ModuleNotFoundError, RuntimeError) as error:  # the package nvidia-ml-py is not there
        return f"not known ({type(error).__name__})"


class Loss(nn.Module):
    """Losses of a batch as one forward pass, which is what DistributedDataParallel wraps."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: dict[str, torch.Tensor], gold: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = self.network.head.loss(self.network.features(**batch), gold).mean()
        return loss


def layer_weights(network: Network) -> int:
    """Weights of the products of all layers."""
    return sum(p.numel() for n, p in network.encoder.named_parameters() if ".layer." in n and p.ndim == 2)


def distributed(module: nn.Module, device: torch.device) -> nn.Module:
    """The module as the only process of a group (NCCL on a GPU, gloo on a CPU)."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=0, world_size=1)
    return nn.parallel.DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    device, tree, ads = device_of(args.device), isco08(), load_sample().tests["ads"]
    # numbered, so that no text is equal to another and scored with it
    texts = [f"{ads.texts[i % len(ads)]} {i}" for i in range(args.rows)]
    settings = NeuralSettings(encoder="random")
    tokenizer = wrap(train_tokenizer(ads.texts, 8_000), XLMR_SPECIAL_TOKENS, settings.max_length)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), hidden_size=args.width, num_hidden_layers=args.layers, type_vocab_size=1,
        num_attention_heads=max(1, args.width // 64), intermediate_size=4 * args.width, max_position_embeddings=514,
    )  # fmt: skip
    corpus = tokenize(tokenizer, texts, Reading.of(settings))
    chosen = training_batches(corpus.lengths, args.batch, 1, 0)
    batches = [chosen[i % len(chosen)] for i in range(args.steps + WARM)]
    gold = torch.as_tensor(ads.gold)
    limit = peak(device, 8192 if device.type == "cuda" else 512)
    table = Table("what", "rows/s", "share of the peak", "utilisation")

    def add(name: str, rows: int, tokens: int, each: int, took: float, weights: int, busy: str = "") -> None:
        table.add_row(name, f"{rows / took:,.0f}", f"{each * weights * tokens / took / 1e12 / limit:.0%}", busy)

    def trained(name: str, *, bfloat16: bool, ddp: bool = False) -> Network:
        """Time the steps of a fresh network, which is given back."""
        torch.manual_seed(1)
        network = Network(of_config(config), tree, settings).to(device).train()
        optimizer, _ = adamw(network, network.encoder, TrainerSettings(), len(batches))
        module: Any = distributed(Loss(network), device) if ddp else Loss(network)

        def steps(part: list[Any]) -> None:
            for rows in part:
                batch = {k: v.to(device) for k, v in collate(corpus, rows, tokenizer.pad_token_id).items()}
                with autocast(device, bfloat16):
                    loss = module(batch, gold[rows % len(ads)].to(device))
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()

        steps(batches[:WARM])
        timed = batches[WARM:]
        took = seconds(device, lambda: steps(timed))
        tokens = int(sum(corpus.lengths[rows].sum() for rows in timed))
        busy = utilisation(device)
        add(f"training, {name}", sum(map(len, timed)), tokens, 6, took, layer_weights(network), busy)
        if ddp:
            torch.distributed.destroy_process_group()
        return network

    trained("float32", bfloat16=False)
    trained("bfloat16, one process of DDP", bfloat16=True, ddp=True)
    network = trained("bfloat16", bfloat16=True)
    weights = layer_weights(network)
    model = NeuralClassifier(tree, settings)
    model.network, model.tokenizer = network.eval(), tokenizer
    for precision in ("32", "bf16"):
        model.compute_on(str(device), precision).leaf_log_proba(texts[:512])
        took = seconds(device, lambda: [None for _ in model.iter_log_proba(texts)])
        add(f"prediction, {precision}", len(texts), int(corpus.lengths.sum()), 2, took, weights)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "a processor, which proves nothing"
    console = Console()
    console.print(f"{name}: {limit:.2g}e12 operations a second in bfloat16; float32 with TF32 off")
    console.print(table)


if __name__ == "__main__":
    main()
