"""The paper's reference implementation beside ours: same rows, encoder, passes and batches. Real Polish ads.

python experiments/reference_beside_ours/run.py [--rows 2000] [--test 500] [--epochs 1] [--tokens 512] \
    [--hierarchy topdown] [--only NAME]

The reference is written again here as its source has it (OJALAB/job-ads-classifier 0.3.0): a linear layer for each
group of siblings, looped over in Python; the first token's vector; 512 tokens; shuffled batches; the whole vocabulary;
AdamW at one rate. ``reference`` learns at its own rate (1e-5), ``reference, our rates`` at those of hjc. It takes
12 GB and more.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from common import kzis_ads_data, write_lines  # noqa: E402
from kzis_ads.run import KZIS  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from hjc.classifiers import build  # noqa: E402
from hjc.data.jobdata import JobData  # noqa: E402
from hjc.metrics import level_metrics, score_rows  # noqa: E402
from hjc.nn.encoder import load_encoder  # noqa: E402
from hjc.nn.settings import NeuralSettings  # noqa: E402
from hjc.progress import rows_progress  # noqa: E402
from hjc.taxonomy import Taxonomy  # noqa: E402
from hjc.training.config import compose  # noqa: E402
from hjc.training.workflow import load_inputs  # noqa: E402

BATCH = 32
HEADS = ("topdown", "bottomup")
RATES = {"reference": (1e-5, 1e-5), "reference, our rates": (2e-4, 2e-3)}


class Reference(nn.Module):
    """Encoder, dropout, and a layer for the leaves (bottomup) or for each inner node's children (topdown)."""

    def __init__(self, encoder: nn.Module, tree: Taxonomy, hierarchy: str) -> None:
        super().__init__()
        self.encoder, self.tree, self.topdown = encoder, tree, hierarchy == "topdown"
        width = encoder.config.hidden_size  # type: ignore[union-attr]
        self.dropout = nn.Dropout(0.1)
        children: dict[int, list[int]] = {}
        for node, parent in enumerate(tree.parents.tolist()):
            children.setdefault(parent, []).append(node)
        self.groups = children if self.topdown else {-1: tree.leaves.tolist()}
        self.layers = nn.ModuleList([nn.Linear(width, len(group)) for group in self.groups.values()])

    def vectors(self, batch: dict[str, Tensor]) -> Tensor:
        return self.dropout(self.encoder(**batch).last_hidden_state[:, 0])

    def loss(self, batch: dict[str, Tensor], paths: np.ndarray) -> Tensor:
        """Mean over rows of the sum over levels; every group is looked at for every batch, as there."""
        vectors, total = self.vectors(batch), torch.zeros(())
        for layer, group in zip(self.layers, self.groups.values(), strict=True):
            place = {node: i for i, node in enumerate(group)}
            hits = [
                (row, place[node]) for row, path in enumerate(paths.tolist()) for node in set(path) if node in place
            ]
            if hits:
                rows, gold = (torch.tensor(x) for x in zip(*hits, strict=True))
                total = total + nn.functional.cross_entropy(layer(vectors[rows]).float(), gold, reduction="sum")
        return total / len(paths)

    @torch.no_grad()
    def leaf_log_proba(self, batch: dict[str, Tensor]) -> np.ndarray:
        """(B, L): logs of the products of the conditional probabilities on each leaf's path."""
        vectors = self.vectors(batch)
        own = torch.zeros(len(vectors), len(self.tree))
        for layer, group in zip(self.layers, self.groups.values(), strict=True):
            own[:, group] = layer(vectors).float().log_softmax(1)
        if self.topdown:
            for node, parent in enumerate(self.tree.parents.tolist()):  # parents come before their children
                if parent >= 0:
                    own[:, node] += own[:, parent]
        return own[:, self.tree.leaves.tolist()].numpy()


def batches(
    tokenizer: Any, texts: Sequence[str], order: np.ndarray, tokens: int
) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        made = tokenizer(
            [texts[i] for i in rows], truncation=True, max_length=tokens, padding=True, return_tensors="pt"
        )
        yield rows, {key: made[key] for key in ("input_ids", "attention_mask")}


def reference(
    hierarchy: str, rates: tuple[float, float], epochs: int, tokens: int, train: JobData, test: JobData
) -> tuple[np.ndarray, float]:
    """Log-probabilities of the test rows, and seconds a training step."""
    torch.manual_seed(1)
    tree = train.taxonomy
    encoder, tokenizer = load_encoder(NeuralSettings(prune_vocabulary=False))
    network = Reference(encoder, tree, hierarchy).train()
    groups = [{"params": encoder.parameters(), "lr": rates[0]}, {"params": network.layers.parameters(), "lr": rates[1]}]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
    steps = epochs * -(-len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1, (step + 1) / 50) * (1 - step / steps))
    paths = tree.node_path[train.gold] if network.topdown else train.gold[:, None]
    random, started = np.random.default_rng(1), time.process_time()
    with rows_progress(f"reference {hierarchy}", epochs * len(train)) as bar:
        for _ in range(epochs):
            for rows, batch in batches(tokenizer, train.texts, random.permutation(len(train)), tokens):
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = network.loss(batch, paths[rows])
                loss.backward()
                optimiser.step()
                optimiser.zero_grad()
                schedule.step()
                bar.advance(len(rows))
    seconds = (time.process_time() - started) / steps
    network.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [
            network.leaf_log_proba(batch) for _, batch in batches(tokenizer, test.texts, np.arange(len(test)), tokens)
        ]
    return np.concatenate(found), seconds


def ours(hierarchy: str, epochs: int, train: JobData, test: JobData) -> tuple[np.ndarray, float]:
    own = ["model=e5", f"hierarchy={hierarchy}", f"trainer.epochs={epochs}", f"trainer.batch_size={BATCH}"]
    config = compose([*own, "trainer.threads=1", "trainer.loggers=[]", "trainer.precision=bf16-mixed"])
    model, started = build(train.taxonomy, config.model, config.trainer), time.process_time()
    model.fit_data(train)
    seconds = (time.process_time() - started) / (epochs * -(-len(train) // BATCH))
    return model.leaf_log_proba(test.texts), seconds


def lines_of(name: str, hierarchy: str, found: np.ndarray, seconds: float, test: JobData) -> list[dict[str, object]]:
    """A line a level. ``log_loss_of_reference``: cross-entropy of probabilities in place of scores, its mistake."""
    tree, lines = test.taxonomy, []
    scores = score_rows(tree, found, test.target)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024
    for level in range(1, tree.depth + 1):
        proba, gold = np.exp(tree.aggregate(found, level)), tree.level_column[test.gold, level - 1]
        wrong = np.log(np.exp(proba).sum(axis=1)) - proba[np.arange(len(gold)), gold]
        own = level_metrics(scores, tree, level)
        lines.append(
            {"model": name, "hierarchy": hierarchy, "level": level, "rows": len(test), "recall@1": own["recall@1"],
             "recall@5": own["recall@5"], "log_loss": own["log_loss"], "log_loss_of_reference": float(wrong.mean()),
             "cpu_seconds_a_step": seconds, "peak_gib_so_far": peak}
        )  # fmt: skip
    return lines


def main(rows: int, held: int, epochs: int, tokens: int, only: list[str], heads: Sequence[str]) -> None:
    data = ["taxonomy=kzis", f"taxonomy.path={KZIS / 'kzis_hierarchy_2023.csv'}", *kzis_ads_data()]
    _, splits = load_inputs(compose([*data, "data.near_duplicates=0.9", "model=linear"]), None)
    rng, test = np.random.default_rng(1), splits.tests["test"].labelled()
    ads = np.flatnonzero(np.asarray(splits.train.source) == "ads")
    train = splits.train.take(np.sort(rng.permutation(ads)[:rows])).labelled()
    test = test.take(np.sort(rng.permutation(len(test))[:held]))
    for hierarchy in heads:
        for name in ("hjc", *RATES):  # memory grows in this order: the peak is that of the last
            if only and name not in only:
                continue
            found = ours(hierarchy, epochs, train, test) if name == "hjc" else reference(
                hierarchy, RATES[name], epochs, tokens, train, test
            )  # fmt: skip
            lines = lines_of(name, hierarchy, *found, test)
            write_lines("reference_beside_ours", lines, ["model", "hierarchy"])
            print(*lines, sep="\n", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=512, help="that the reference reads of a text")
    parser.add_argument("--only", action="append", default=[], choices=["hjc", *RATES])
    parser.add_argument("--hierarchy", action="append", default=[], choices=HEADS)
    args = parser.parse_args()
    main(args.rows, args.test, args.epochs, args.tokens, args.only, args.hierarchy or HEADS)
