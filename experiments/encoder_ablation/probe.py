"""Ideas for pooling and head on the vectors of the unchanged encoder: minutes instead of hours, validation rows only.

python experiments/encoder_ablation/probe.py [--minutes 8]

The encoder reads every text once; the vectors are kept in outputs/encoder_ablation, and a stopped run goes on there.
"""

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import ROOT
from kzis_ads.run import GROUPED

from hjc.arrays import Float32, IntArray
from hjc.metrics import RowScores, score_rows
from hjc.nn.batching import collate
from hjc.nn.encoder import load_encoder
from hjc.nn.fields import first_tokens
from hjc.nn.heads import Head, build_head
from hjc.nn.network import node_titles
from hjc.nn.packed import last_states
from hjc.nn.settings import NeuralSettings
from hjc.nn.stored import pool
from hjc.nn.tokens import Reading, inference_batches, tokenize
from hjc.taxonomy import Taxonomy, load_taxonomy
from hjc.training.config import compose
from hjc.training.workflow import load_inputs

#: a fifth of the ads validates, so that differences between ideas can be seen; the test rows are not looked at
DATA = [*GROUPED, "data.valid_fraction=0.2", "model=e5"]
SETTINGS = NeuralSettings(prefix="query: ", max_length=128, capitals="keep")  # as probe.csv was made
FOLDER = ROOT / "outputs" / "encoder_ablation" / "probe"
CHUNK = 1000
SEEDS = (1, 2, 3)
EPOCHS, BATCH, RATE = 6, 256, 2e-3


def encode(texts: list[str], deadline: float) -> tuple[Float32, Float32] | None:
    """(n, H) means over all tokens and over those of the titles; None where the time is over before the end."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    chunks = [texts[i : i + CHUNK] for i in range(0, len(texts), CHUNK)]
    missing = [i for i in range(len(chunks)) if not (FOLDER / f"{i}.npy").exists()]
    if missing:
        encoder, tokenizer = load_encoder(SETTINGS, texts)
        encoder.eval()
    for i in missing:
        if time.monotonic() > deadline:
            print(f"{len(chunks) - len(missing) + missing.index(i)} of {len(chunks)} parts are read; start again")
            return None
        corpus = tokenize(tokenizer, chunks[i], replace(Reading.of(SETTINGS), titles=True))
        out = np.empty((2, len(chunks[i]), encoder.config.hidden_size), np.float32)
        for rows in inference_batches(corpus.lengths, 8192, 512):
            batch = collate(corpus, rows, tokenizer.pad_token_id)
            mask = batch["attention_mask"]
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                hidden = last_states(encoder, batch["input_ids"], mask)
            out[0, rows] = pool(hidden, mask, "mean").numpy()
            out[1, rows] = pool(hidden, first_tokens(mask, batch["title"]), "mean").numpy()
        np.save(FOLDER / f"{i}.npy", out)
        print(f"part {i + 1} of {len(chunks)}", flush=True)
    whole = np.concatenate([np.load(FOLDER / f"{i}.npy") for i in range(len(chunks))], axis=1)
    return whole[0], whole[1]


def prepared(
    deadline: float,
) -> tuple[Taxonomy, tuple[Float32, Float32], IntArray, IntArray, torch.Tensor] | None:
    """The tree, the vectors of all texts, the codes of training and validation rows, the nodes of the titles."""
    config, file = compose(DATA), FOLDER / "rows.npz"
    if file.exists():  # the texts are read, their codes are enough
        tree, kept = load_taxonomy(config.taxonomy.path, digits=config.taxonomy.digits), np.load(file)
        parts = [np.load(FOLDER / f"{i}.npy") for i in range(int(kept["parts"]))]
        whole = np.concatenate(parts, axis=1)
        return tree, (whole[0], whole[1]), kept["train"], kept["valid"], torch.from_numpy(kept["node"])
    tree, splits = load_inputs(config, None)
    titles, nodes = node_titles(tree)
    texts = [*splits.train.texts, *splits.valid.texts, *titles]
    vectors = encode(texts, deadline)
    if vectors is None:
        return None
    train, valid, node = np.asarray(splits.train.gold), np.asarray(splits.valid.gold), np.array(nodes)
    np.savez(file, train=train, valid=valid, node=node, parts=-(-len(texts) // CHUNK))
    return tree, vectors, train, valid, torch.from_numpy(node)


def batches(n: int, seed: int) -> Iterator[IntArray]:
    random = np.random.default_rng(seed)
    for _ in range(EPOCHS):
        order = random.permutation(n)
        yield from (order[i : i + BATCH] for i in range(0, n, BATCH))


Loss = Callable[[Head, torch.Tensor, torch.Tensor], torch.Tensor]


def plain(head: Head, vectors: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    return head.loss(vectors, gold)


def fit(
    tree: Taxonomy,
    kind: str,
    x: torch.Tensor,
    gold: torch.Tensor,
    seed: int,
    *,
    start: tuple[torch.Tensor, torch.Tensor] | None = None,
    rate: float = RATE,
    loss: Loss = plain,
    prepare: Callable[[Head], None] = lambda head: None,
) -> Head:
    torch.manual_seed(seed)
    head = build_head(kind, tree, x.shape[1])
    prepare(head)
    if start is not None:
        optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=0.01)
        random = np.random.default_rng(seed)
        for _ in range(300):
            rows = torch.from_numpy(random.integers(0, len(start[1]), 256))
            optimizer.zero_grad()
            head.loss(start[0][rows], start[1][rows]).mean().backward()
            optimizer.step()
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0.01)
    steps = EPOCHS * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for rows in batches(len(x), seed):
        optimizer.zero_grad()
        loss(head, x[rows], gold[rows]).mean().backward()
        optimizer.step()
        schedule.step()
    return head


def priors(tree: Taxonomy, gold: IntArray) -> torch.Tensor:
    """(N,) log of (n + 1) / (siblings' n + siblings), n rows at and under a node."""
    counts = np.bincount(gold, minlength=len(tree)).astype(float)
    for node in range(len(tree) - 1, 0, -1):
        if (parent := int(tree.parents[node])) >= 0:
            counts[parent] += counts[node]
    group = tree.group
    total = np.bincount(group, counts + 1)
    return torch.from_numpy(np.log((counts + 1) / total[group])).float()


def all_levels(head: Head, vectors: torch.Tensor, gold: torch.Tensor, tree: Taxonomy, weight: float) -> torch.Tensor:
    """-ln P(gold), and ``weight`` times -ln P of each of its ancestors."""
    leaf = head(vectors)
    out = 0.0
    for level in range(1, tree.depth + 1):
        node = torch.from_numpy(tree.node_path.copy())[gold][:, level - 1]
        span = torch.from_numpy(tree.leaf_slice.copy())[node.clamp(min=0)]
        place = torch.arange(leaf.shape[1])
        inside = (place >= span[:, :1]) & (place < span[:, 1:])
        here = -leaf.masked_fill(~inside, -torch.inf).logsumexp(1) * (node >= 0)
        out = out + (1.0 if level == tree.depth else weight) * here
    return out


def variants(tree: Taxonomy, train_gold: IntArray) -> dict[str, dict]:
    """name -> head, pooling (share of the title) and how it is fitted; compared with ``base``."""
    prior = priors(tree, train_gold)

    def bias(head: Head) -> None:
        with torch.no_grad():
            head.linear.bias.copy_(prior if head.linear.bias.shape == prior.shape else head.sum_paths(prior[None])[0])

    def zero(head: Head) -> None:
        with torch.no_grad():
            head.linear.weight.zero_()

    found: dict[str, dict] = {}
    found["bottomup"] = {"kind": "bottomup"}
    for kind in ("topdown", "pathsum"):
        found[kind] = {"kind": kind, "base": "bottomup"}
    for share in (0.25, 0.5, 0.75):
        found[f"bottomup, title_share {share}"] = {"kind": "bottomup", "share": share, "base": "bottomup"}
    found["topdown, title_share 0.5"] = {"kind": "topdown", "share": 0.5, "base": "topdown"}
    for kind in ("topdown", "bottomup"):
        found |= {
            f"{kind}, rate x 3": {"kind": kind, "rate": 3 * RATE, "base": kind},
            f"{kind}, started from titles": {"kind": kind, "start": True, "base": kind},
            f"{kind}, bias from priors": {"kind": kind, "prepare": bias, "base": kind},
            f"{kind}, weights from zero": {"kind": kind, "prepare": zero, "base": kind},
        }
    found["bottomup, all levels in the loss (0.3)"] = {
        "kind": "bottomup",
        "loss": lambda head, x, gold: all_levels(head, x, gold, tree, 0.3),
        "base": "bottomup",
    }
    return found


def interval(difference: np.ndarray) -> tuple[float, float]:
    """95 % of the mean over rows, by 2,000 draws; (rows,) means of the seeds."""
    random = np.random.default_rng(0)
    means = [difference[random.integers(0, len(difference), len(difference))].mean() for _ in range(2000)]
    return tuple(np.quantile(means, [0.025, 0.975]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60)
    args = parser.parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    read = prepared(deadline)
    if read is None:
        return
    tree, vectors, train_gold, valid_gold, node = read
    n, m = len(train_gold), len(valid_gold)
    gold = torch.from_numpy(train_gold)
    path = FOLDER.parent / "probe_scores.npz"
    kept = dict(np.load(path)) if path.exists() else {}
    plan = variants(tree, train_gold)
    for seed, (name, options) in product(SEEDS, plan.items()):
        key = f"{name}|{seed}"
        if key not in kept:
            if time.monotonic() > deadline:
                print("the time is over; start again")
                break
            share = options.get("share", 0.0)
            pooled = torch.from_numpy((1 - share) * vectors[0] + share * vectors[1])
            pooled = torch.nn.functional.layer_norm(pooled, pooled.shape[1:])
            fitted = {k: v for k, v in options.items() if k not in ("share", "base", "kind", "start")}
            start = (pooled[n + m :], node) if options.get("start") else None
            head = fit(tree, options["kind"], pooled[:n], gold, seed, start=start, **fitted)
            with torch.no_grad():
                kept[key] = rows_of(score_rows(tree, head(pooled[n : n + m]).numpy(), valid_gold))
            np.savez(path, **kept)
        rows = kept[key]
        print(f"{key}: {100 * rows[0, -1].mean():.2f} {rows[1, -1].mean():.3f}", flush=True)
    write(tree, plan, kept, m)


def rows_of(scores: RowScores) -> np.ndarray:
    """(2, D, rows) whether the best code is right, and the loss; every ad is coded to the deepest level."""
    return np.stack([(scores.rank == 1).T.astype(float), -scores.log_p.T])


def write(tree: Taxonomy, plan: dict[str, dict], kept: dict[str, np.ndarray], rows: int) -> None:
    lines = []
    for name, options in plan.items():
        seeds = [seed for seed in SEEDS if f"{name}|{seed}" in kept]
        if not seeds:
            continue
        mine = np.mean([kept[f"{name}|{seed}"] for seed in seeds], axis=0)
        line: dict[str, object] = {"head": name, "rows": rows, "seeds": len(seeds)}
        for level in range(tree.depth):
            line[f"recall@1 level {level + 1}"] = f"{100 * mine[0, level].mean():.2f}"
        line["log_loss"] = f"{mine[1, -1].mean():.4f}"
        if base := options.get("base"):
            other = np.mean([kept[f"{base}|{seed}"] for seed in seeds], axis=0)
            low, high = interval(100 * (mine[0, -1] - other[0, -1]))
            line |= {"against": base, "recall@1 difference": f"{100 * (mine - other)[0, -1].mean():.2f}"}
            line |= {"low": f"{low:.2f}", "high": f"{high:.2f}"}
            low, high = interval(mine[1, -1] - other[1, -1])
            line |= {"log_loss difference": f"{(mine - other)[1, -1].mean():.4f}", "log_loss low": f"{low:.4f}"}
            line["log_loss high"] = f"{high:.4f}"
        lines.append(line)
    names = list(dict.fromkeys(key for line in lines for key in line))
    with (Path(__file__).parent / "probe.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
