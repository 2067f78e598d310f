"""Where the time of a training step goes: matrix products, the optimiser, all else; titles and ads.

    OMP_NUM_THREADS=1 python benchmarks/training_shares.py [--steps 6] [--out experiments/bulk/training_shares.csv]

Steps are those of `benchmarks/bulk.py`: multilingual-e5-small with its vocabulary pruned, bfloat16 where the processor
has it. What takes turns, step by step, is compared: titles and ads, in batches of 32 and of 128 rows. Parts of a step
are seconds of the processor, medians. The share of matrix products is that of PyTorch's profiler in further steps. If
nothing but the products took time, a step would be faster by `at_most`; if they also ran at the peak of a square
product, by `at_peak`.
"""

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bulk import ADS, CPU, Training, operations, peak
from torch import nn
from torch.profiler import ProfilerActivity, profile

from hjc.data.sample import load_sample
from hjc.nn.batching import collate, training_batches
from hjc.nn.devices import autocast, in_bfloat16
from hjc.nn.memory import keep_memory
from hjc.taxonomy import isco08

PARTS = ("batch", "forward", "head", "backward", "clip", "optimiser")
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")


def step(run: Training) -> tuple[np.ndarray, int, float]:
    """Seconds of the processor of each part, rows, operations."""
    rows = run.batches[run.at % len(run.batches)]
    run.at += 1
    at = [time.process_time()]
    batch = collate(run.corpus, rows, run.tokenizer.pad_token_id)
    at.append(time.process_time())
    with autocast(CPU, in_bfloat16("auto")):
        features = run.network.features(**batch)
    at.append(time.process_time())
    loss = run.network.head.loss(features, run.gold[rows]).mean()
    at.append(time.process_time())
    loss.backward()
    at.append(time.process_time())
    nn.utils.clip_grad_norm_(run.network.parameters(), 1.0)
    at.append(time.process_time())
    run.optimizer.step()
    run.optimizer.zero_grad()
    at.append(time.process_time())
    return np.diff(at), len(rows), 3 * operations(run.network.encoder, run.corpus.lengths[rows])


def share_of_products(run: Training, steps: int) -> float:
    """Of the time of all operators."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(steps):
            step(run)
    times = {event.key: event.self_cpu_time_total for event in found.key_averages()}
    return sum(times.get(name, 0) for name in PRODUCTS) / sum(times.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("experiments/bulk/training_shares.csv"))
    args = parser.parse_args()
    keep_memory()
    torch.manual_seed(0)
    random, sample, tree = np.random.default_rng(0), load_sample(), isco08()
    titles = [sample.train.texts[i] for i in random.permutation(len(sample.train))[:512]]
    if ADS.exists():
        table = pd.read_csv(ADS, dtype=str, keep_default_na=False)
        ads = (table["title"] + "\n" + table["description"]).tolist()
    else:
        ads = list(sample.tests["ads"].texts)
    ads = [ads[i] for i in random.permutation(len(ads))[:128]]
    runs: dict[tuple[str, int], Training] = {}
    for kind, texts, length in (("titles", titles, 64), ("ads", ads, 128)):
        gold = tree.leaves[np.random.default_rng(1).integers(0, tree.num_leaves, len(texts))]
        small = Training(texts, gold, tree, length, False, 32)
        large = copy.copy(small)  # the same network, other batches
        large.batches = training_batches(large.corpus.lengths, 128, 1, 0)
        runs |= {(kind, 32): small, (kind, 128): large}
    found: dict[tuple[str, int], list[tuple[np.ndarray, int, float]]] = {key: [] for key in runs}
    for number in range(args.steps + 1):
        for key, run in runs.items():
            one = step(run)
            if number:
                found[key].append(one)
    limit = peak(torch.bfloat16 if in_bfloat16("auto") else torch.float32)
    lines = []
    for (kind, batch), steps in found.items():
        seconds = np.median([parts for parts, _, _ in steps], axis=0)
        whole = float(np.median([parts.sum() for parts, _, _ in steps]))
        work, rows = np.median([one[2] for one in steps]), np.median([one[1] for one in steps])
        products = share_of_products(runs[kind, batch], 2)
        line = {"texts": kind, "batch": batch, "rows_per_cpu_second": round(rows / whole, 1)}
        line |= {f"{name}_%": round(100 * part / whole, 1) for name, part in zip(PARTS, seconds, strict=True)}
        line |= {"matrix_products_%": round(100 * products, 1), "at_most": round(1 / products, 2)}
        lines.append(line | {"at_peak": round(whole / (work / limit / 1e9), 2)})
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(lines).to_csv(args.out, index=False)
    print(pd.DataFrame(lines).to_string(index=False))


if __name__ == "__main__":
    main()
