"""Rows a second of training and prediction on a GPU, and the share of its bfloat16 peak. Written, not yet run.

    python benchmarks/gpu.py [--device cuda:0] [--encoder FacebookAI/xlm-roberta-base] [--rows 20000] [--batch 256]

No machine with a GPU was at hand when this was written: it has no figures in the documentation. It asks for what would
fill them in: training steps in bfloat16 at full length, and prediction in float32 and bfloat16, on ads of the bundled
sample repeated to ``--rows``. The peak is that of products of square matrices, measured in the same run.
"""

import argparse
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from hjc.classifiers.neural import NeuralClassifier
from hjc.data.sample import load_sample
from hjc.nn.batching import collate, training_batches
from hjc.nn.devices import autocast, device_of
from hjc.nn.encoder import load_encoder
from hjc.nn.fitting import adamw
from hjc.nn.network import Network
from hjc.nn.settings import NeuralSettings, TrainerSettings
from hjc.nn.tokens import Reading, tokenize
from hjc.taxonomy import isco08


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Of work that is done when the device has finished it."""
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started


def peak(device: torch.device, size: int = 8192, repeats: int = 20) -> float:
    """1e12 operations a second of bfloat16 products, the best of several."""
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    return max(2 * size**3 / seconds(device, lambda: a @ a) / 1e12 for _ in range(repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--encoder", default="FacebookAI/xlm-roberta-base")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    device, tree, ads = device_of(args.device), isco08(), load_sample().tests["ads"]
    if device.type != "cuda":
        raise SystemExit(f"--device {args.device}: this measures GPUs; benchmarks/bulk.py measures processors")
    # numbered, so that no text is equal to another and scored with it
    texts = [f"{ads.texts[i % len(ads)]} {i}" for i in range(args.rows)]
    settings = NeuralSettings(encoder=args.encoder)
    encoder, tokenizer = load_encoder(settings, ads.texts)
    network = Network(encoder, tree, settings).to(device).train()
    weights = sum(p.numel() for name, p in encoder.named_parameters() if ".layer." in name and p.ndim == 2)
    optimizer, _ = adamw(network, encoder, TrainerSettings(), args.steps)
    corpus = tokenize(tokenizer, texts, Reading.of(settings))
    batches = training_batches(corpus.lengths, args.batch, 1, 0)[: args.steps + 5]
    gold = torch.as_tensor(ads.gold)

    def steps(part: list) -> None:
        for rows in part:
            batch = {k: v.to(device) for k, v in collate(corpus, rows, tokenizer.pad_token_id).items()}
            with autocast(device, True):
                features = network.features(**batch)
            network.head.loss(features, gold[rows % len(ads)].to(device)).mean().backward()
            optimizer.step()
            optimizer.zero_grad()

    limit = peak(device)
    table = Table("what", "rows/s", "share of the peak")

    def add(name: str, rows: int, tokens: int, each: int, took: float) -> None:
        table.add_row(name, f"{rows / took:,.0f}", f"{each * weights * tokens / took / 1e12 / limit:.0%}")

    steps(batches[:5])
    timed = batches[5:]
    took = seconds(device, lambda: steps(timed))
    add("training, bf16", sum(map(len, timed)), int(sum(corpus.lengths[b].sum() for b in timed)), 6, took)
    model = NeuralClassifier(tree, settings)
    model.network, model.tokenizer = network.eval(), tokenizer
    for precision in ("32", "bf16"):
        model.compute_on(str(device), precision).leaf_log_proba(texts[:512])
        took = seconds(device, lambda: [None for _ in model.iter_log_proba(texts)])
        add(f"prediction, {precision}", len(texts), int(corpus.lengths.sum()), 2, took)
    console = Console()
    console.print(f"{torch.cuda.get_device_name(device)}: {limit:.0f}e12 operations a second in bfloat16")
    console.print(table)


if __name__ == "__main__":
    main()
