"""What vocabulary pruning and bucketing by length are worth: training steps of e5-small, as ratios of one run.

    python benchmarks/training_rate.py [--rows 1500] [--out experiments/training_rate/results.csv]

The four combinations of {pruned, full vocabulary} x {bucketed, shuffled batches} train on the same rows of the bundled
sample (titles and ads together, so that lengths differ as in practice), a step of each in turn, so that a busy machine
slows all of them alike. A step is forward, backward, clipping and AdamW. Needs the `offline` extra or the hub model.
"""

import argparse
import csv
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from hjc.data import load_sample
from hjc.nn.batching import collate, training_batches
from hjc.nn.devices import computes_in_bfloat16
from hjc.nn.encoder import load_encoder
from hjc.nn.network import Network
from hjc.nn.settings import NeuralSettings
from hjc.nn.tokens import Reading, tokenize
from hjc.taxonomy import isco08


class Setup:
    """One combination: its network, optimiser, tokens and the batches still to be taken."""

    def __init__(self, texts: list[str], gold: np.ndarray, pruned: bool, bucket: bool, batch: int) -> None:
        settings = NeuralSettings(prefix="query: ", max_length=128, prune_vocabulary=pruned)
        encoder, self.tokenizer = load_encoder(settings, texts)
        self.network = Network(encoder, isco08(), settings).train()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-5, fused=True)
        self.corpus = tokenize(self.tokenizer, texts, Reading.of(settings))
        self.batches = training_batches(self.corpus.lengths, batch, seed=1, epoch=0, bucket=bucket)
        self.gold = torch.as_tensor(gold)
        self.seconds, self.rows, self.tokens, self.padded = 0.0, 0, 0, 0

    def step(self, number: int, autocast: bool, count: bool) -> None:
        rows = self.batches[number]
        started = time.perf_counter()
        batch = collate(self.corpus, rows, self.tokenizer.pad_token_id)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            features = self.network.features(**batch)
        loss = self.network.head.loss(features, self.gold[rows]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if count:
            self.seconds += time.perf_counter() - started
            self.rows += len(rows)
            self.tokens += int(batch["attention_mask"].sum())
            self.padded += batch["input_ids"].numel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("experiments/training_rate/results.csv"))
    args = parser.parse_args()
    sample = load_sample()
    ads = sample.tests["ads"]
    texts = [*ads.texts, *sample.train.texts]
    gold = np.concatenate([ads.gold, sample.train.gold])
    chosen = np.random.default_rng(0).permutation(len(texts))[: args.rows]
    texts, gold = [texts[i] for i in chosen], gold[chosen]
    autocast = computes_in_bfloat16()
    setups = {
        (pruned, bucket): Setup(texts, gold, pruned, bucket, args.batch)
        for pruned, bucket in product((True, False), (True, False))
    }
    steps = len(next(iter(setups.values())).batches)
    for number in track(range(steps), description="steps of each"):
        for setup in setups.values():
            setup.step(number, autocast, count=number > 0)
    console = Console()
    table = Table("vocabulary", "batches", "weights (M)", "padding", "rows/s", "ratio to full, shuffled")
    base = setups[False, False].rows / setups[False, False].seconds
    lines = []
    for (pruned, bucket), setup in setups.items():
        rate = setup.rows / setup.seconds
        weights = sum(p.numel() for p in setup.network.parameters()) / 1e6
        lines.append(
            [
                "pruned" if pruned else "full",
                "bucketed" if bucket else "shuffled",
                f"{weights:.1f}",
                f"{1 - setup.tokens / setup.padded:.3f}",
                f"{rate:.1f}",
                f"{rate / base:.2f}",
            ]
        )
        table.add_row(*lines[-1])
    console.print(f"{args.rows} rows, batch {args.batch}, {'bfloat16' if autocast else 'float32'}, ", end="")
    console.print(f"{torch.get_num_threads()} threads")
    console.print(table)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", newline="", encoding="utf-8") as stream:
        names = ["vocabulary", "batches", "weights_millions", "padding_share", "rows_per_second", "ratio"]
        csv.writer(stream).writerows([names, *lines])
    console.print(f"written to {args.out}")


if __name__ == "__main__":
    main()
