"""Layers over packed tokens (hjc.nn.packed) against the encoder's own, as they learn: ratios of one run.

    OMP_NUM_THREADS=1 python benchmarks/packed_layers.py [--out experiments/training_rate/packed_layers.csv]

An encoder of e5-small's size with random weights (nothing is loaded) takes forward and backward passes of batches of 32
texts, both kinds in turn, so that a busy machine slows both alike. Texts of a batch are .7 to 1 times the named length,
as where batches are bucketed. The last column is the time that the operations
of both passes take at the peak of the machine, as in bulk.py, as a share of the time of the packed layers.
"""

import argparse
import csv
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from bulk import operations, peak
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import BertConfig, BertModel

from hjc.nn.devices import computes_in_bfloat16
from hjc.nn.light import LightConfig, LightEncoder
from hjc.nn.packed import packed_states

ROWS, WORDS = 32, 30_000
NAMES = ["tokens", "precision", "own_seconds", "packed_seconds", "ratio", "of_the_peak"]


def encoders() -> tuple[BertModel, LightEncoder]:
    """That of transformers, and hjc's with the same weights."""
    sizes = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 1536}
    config = BertConfig(vocab_size=WORDS, **sizes)
    theirs = BertModel(config, add_pooling_layer=False)
    ours = LightEncoder(LightConfig(**config.to_dict()))
    ours.load_state_dict(theirs.state_dict(), strict=False)
    return theirs.train(), ours.train()


def batch(tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.from_numpy(np.random.default_rng(tokens).integers(round(0.7 * tokens), tokens + 1, ROWS))
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    return torch.randint(3, WORDS, mask.shape) * mask, mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 64, 128, 256])
    parser.add_argument("--out", type=Path, default=Path("experiments/training_rate/packed_layers.csv"))
    args = parser.parse_args()
    theirs, ours = encoders()
    lines = []
    for half in (False, True) if computes_in_bfloat16() else (False,):
        dtype = torch.bfloat16 if half else torch.float32
        for tokens in args.tokens:
            ids, mask = batch(tokens)
            seconds: dict[str, list[float]] = {"own": [], "packed": []}
            for _ in track(range(args.rounds + 1), description=f"{tokens} tokens, {dtype}"):
                for kind, spent in seconds.items():
                    started = time.perf_counter()
                    if kind == "packed":
                        states = packed_states(ours, ids, mask, dtype)
                    else:
                        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                            states = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
                    states.float().sum().backward()
                    spent.append(time.perf_counter() - started)
            own, packed = (median(spent[1:]) for spent in seconds.values())
            # a pass backward has twice the operations of one forward
            floor = 3 * operations(ours, mask.sum(1).numpy()) / (1e9 * peak(dtype))
            name = str(dtype).removeprefix("torch.")
            lines.append(
                [str(tokens), name, f"{own:.2f}", f"{packed:.2f}", f"{own / packed:.2f}", f"{floor / packed:.2f}"]
            )
    table = Table(*NAMES)
    for line in lines:
        table.add_row(*line)
    console = Console()
    console.print(f"{torch.get_num_threads()} threads", table)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([NAMES, *lines])
    console.print(f"written to {args.out}")


if __name__ == "__main__":
    main()
