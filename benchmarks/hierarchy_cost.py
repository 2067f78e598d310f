"""What the hierarchy costs: a training step of each head, alone and on a 12-layer encoder, as ratios of one run.

    python benchmarks/hierarchy_cost.py [--tree TREE.csv] [--out experiments/hierarchy_cost/results.csv]

Steps of the three heads alternate, so that a busy machine slows all of them alike; medians are compared. The tree is
KZiS (2,911 leaves) from the real-data folder HJC_DATA, or any CSV with columns code,parent; without either, ISCO-08.
The encoder is XLM-RoBERTa-base's architecture with random weights and a small vocabulary (its cost per token is the
same; a full embedding table would only hide the head's cost).
"""

import argparse
import csv
import os
import statistics
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from transformers import XLMRobertaConfig, XLMRobertaModel

from hjc.nn.heads import build_head
from hjc.nn.network import Network
from hjc.nn.settings import HIERARCHIES, NeuralSettings
from hjc.taxonomy import Taxonomy, isco08, read_taxonomy_csv

KZIS = Path(os.environ.get("HJC_DATA", "../shared/data")) / "kzis" / "kzis_hierarchy_2023.csv"


def head_steps(taxonomy: Taxonomy, batch: int, hidden: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of forward + backward + AdamW step of each head on the same vectors."""
    torch.manual_seed(0)
    features = torch.randn(batch, hidden, requires_grad=True)  # the gradient into the encoder is part of the cost
    gold = torch.as_tensor(taxonomy.leaves)[torch.randint(0, taxonomy.num_leaves, (batch,))]
    heads = {name: build_head(name, taxonomy, hidden) for name in HIERARCHIES}
    optimizers = {name: torch.optim.AdamW(h.parameters(), fused=True) for name, h in heads.items()}
    times: dict[str, list[float]] = {name: [] for name in heads}
    for repeat in range(repeats + 5):
        for name, head in heads.items():
            started = time.perf_counter()
            optimizers[name].zero_grad()
            head.loss(features, gold).mean().backward()
            optimizers[name].step()
            if repeat >= 5:
                times[name].append(time.perf_counter() - started)
    return times


def full_steps(
    taxonomy: Taxonomy, batch: int, hidden: int, tokens: int, repeats: int, autocast: bool
) -> dict[str, list[float]]:
    """Seconds of a whole training step (12-layer encoder, pooling, head, AdamW on everything)."""
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=5000, hidden_size=hidden, num_attention_heads=hidden // 64, intermediate_size=4 * hidden
    )
    encoder = XLMRobertaModel(config, add_pooling_layer=False)
    networks = {
        name: Network(encoder, taxonomy, NeuralSettings(hierarchy=name)) for name in HIERARCHIES
    }  # one shared encoder
    optimizers = {name: torch.optim.AdamW(n.parameters(), lr=1e-6, fused=True) for name, n in networks.items()}
    ids = torch.randint(5, 5000, (batch, tokens))
    mask = torch.ones_like(ids)
    gold = torch.as_tensor(taxonomy.leaves)[torch.randint(0, taxonomy.num_leaves, (batch,))]
    times: dict[str, list[float]] = {name: [] for name in networks}
    for repeat in range(repeats + 1):
        for name, network in networks.items():
            network.train()
            started = time.perf_counter()
            optimizers[name].zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                features = network.features(ids, mask)
                loss = network.head.loss(features, gold).mean()
            loss.backward()
            optimizers[name].step()
            if repeat >= 1:
                times[name].append(time.perf_counter() - started)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=KZIS if KZIS.exists() else None)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--full-repeats", type=int, default=6)
    parser.add_argument("--autocast", action="store_true", help="bfloat16 matrix products in the encoder")
    parser.add_argument("--out", type=Path, default=Path("experiments/hierarchy_cost/results.csv"))
    args = parser.parse_args()
    taxonomy = read_taxonomy_csv(args.tree) if args.tree else isco08()
    console = Console()
    console.print(f"{taxonomy!r}, batch {args.batch}, hidden {args.hidden}, {torch.get_num_threads()} threads")
    rows = []
    with console.status("head steps"):
        measured = {"head": head_steps(taxonomy, args.batch, args.hidden, args.repeats)}
    with console.status("whole training steps with a 12-layer encoder"):
        measured["whole step"] = full_steps(
            taxonomy, args.batch, args.hidden, args.tokens, args.full_repeats, args.autocast
        )
    table = Table("what", "hierarchy", "median ms", "ratio to bottomup", title="cost of the hierarchy")
    for what, times in measured.items():
        base = statistics.median(times["bottomup"])
        for name, values in times.items():
            median = statistics.median(values)
            rows.append([what, name, f"{1e3 * median:.2f}", f"{median / base:.3f}"])
            table.add_row(*rows[-1])
    console.print(table)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["what", "hierarchy", "median_ms", "ratio_to_bottomup"], *rows])
    console.print(f"written to {args.out}")


if __name__ == "__main__":
    main()
