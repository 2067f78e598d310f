"""How cost grows: with the leaves of the tree (10^2 to 10^6), with the length of a text, with the number of rows.

    OMP_NUM_THREADS=1 python benchmarks/growth.py [--most 6] [--rounds 3] [--linear RUN_DIR] [--out experiments/growth]

Seconds of the processor, medians of rounds. An exponent is the slope of a straight line through the upper half of the
points, both axes in logarithms: 1 is proportional, 0 does not grow. Trees are synthetic and ragged: 1 to 19 children a
node. Heads have random weights on vectors of 384 numbers; their scores have a spread of ``--spread``, by which the best
of ten siblings has some 80 % of their probability, as in a trained model. Beam search costs more where a model is less
sure. The encoder has the sizes of e5-small and random weights. Titles and their words are the bundled sample's.
"""

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.load import load
from hjc.classifiers.static import StaticClassifier, StaticSettings
from hjc.classifiers.treemath import top_k_columns
from hjc.data.sample import load_sample
from hjc.nn.beam import top_leaves
from hjc.nn.devices import autocast, in_bfloat16
from hjc.nn.heads import Head, TopDownHead, build_head
from hjc.nn.light import LightConfig, LightEncoder
from hjc.nn.settings import HIERARCHIES
from hjc.taxonomy import Taxonomy

matplotlib.use("agg")
import matplotlib.pyplot as plt

HIDDEN, TOP = 384, 10
#: name -> sizes -> (seconds a row, MiB)
Points = dict[str, dict[int, tuple[float, float]]]
NAMES = ("part", "what", "size", "milliseconds a row", "MiB", "exponent of time")


def tree_of(leaves: int, seed: int = 0) -> Taxonomy:
    """A ragged tree of so many leaves: an inner node has 1 to 19 children or more, one node in twenty is a leaf."""
    rng = np.random.default_rng(seed)
    parents, level, total, ended = [np.full(10, -1)], np.arange(10), 10, 0
    while ended + len(level) < leaves:
        grows = rng.random(len(level)) > 0.05
        wanted = leaves - ended - int((~grows).sum())  # of this level, if it is the last
        children = np.where(grows, rng.integers(1, 20, len(level)), 0)
        if int(children.sum()) > wanted:  # which must have so many: every inner node one, the others anywhere
            more = rng.choice(np.flatnonzero(grows), wanted - int(grows.sum()))
            children = grows + np.bincount(more, minlength=len(level))
        ended += int((~grows).sum())
        parents.append(np.repeat(level, children))
        level = np.arange(total, total + int(children.sum()))
        total += len(level)
    return Taxonomy(tuple(f"{i:07d}" for i in range(total)), np.concatenate(parents), name=f"{leaves} leaves")


def seconds(rounds: int, run: Callable[..., Any], *given: Any) -> float:
    """Of the processor for ``run(*given)``, the median of rounds after one that warms up."""
    run(*given)
    found = []
    for _ in range(rounds):
        start = time.process_time()
        run(*given)
        found.append(time.process_time() - start)
    return statistics.median(found)


def all_leaves(head: Head, features: torch.Tensor) -> Any:
    """The ten most probable leaves from the probabilities of all."""
    return top_k_columns(head(features).numpy(), TOP)


def through(model: Any, texts: list[str]) -> None:
    """All texts, a batch in memory."""
    for _ in model.iter_log_proba(texts):
        pass


def leaves_part(most: int, rounds: int, spread: float) -> Iterator[tuple[str, int, float, float]]:
    """(what, leaves, seconds a row, MiB of the head): all leaves, and the ten most probable by beam."""
    batch = 16
    for power in range(2, most + 1):
        tree = tree_of(10**power)
        torch.manual_seed(power)
        features = torch.randn(batch, HIDDEN)
        for name in HIERARCHIES:
            head = build_head(name, tree, HIDDEN).requires_grad_(False)
            size = sum(p.numel() * p.element_size() for p in head.parameters()) / 2**20
            with torch.inference_mode():
                taken = seconds(rounds, all_leaves, head, features)
                yield f"{name}, all leaves", tree.num_leaves, taken / batch, size
                if isinstance(head, TopDownHead):
                    head.linear.weight.mul_(spread / (0.02 * HIDDEN**0.5))
                    full = head(features).numpy()
                    found = top_leaves(head, tree, features, TOP)
                    tenth = -np.partition(-full, TOP - 1, axis=1)[:, TOP - 1]
                    if not found.exact.all() or np.abs(found.log_proba[:, -1] - tenth).max() > 1e-3:
                        raise AssertionError("beam and full search differ")
                    taken = seconds(rounds, top_leaves, head, tree, features, TOP)
                    yield "topdown, ten best by beam (exact)", tree.num_leaves, taken / batch, size
            del head


def length_part(linear: Any, words: list[str], rounds: int) -> Iterator[tuple[str, int, float, float]]:
    """(what, tokens or words, seconds a text, 0): an encoder, a linear model, a static one."""
    config = LightConfig(
        model_type="bert", vocab_size=1000, hidden_size=HIDDEN, num_hidden_layers=12, num_attention_heads=12,
        intermediate_size=4 * HIDDEN, max_position_embeddings=512, type_vocab_size=2, pad_token_id=0,
        layer_norm_eps=1e-12, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, hidden_act="gelu",
    )  # fmt: skip
    encoder = LightEncoder(config).eval().requires_grad_(False)
    for value in encoder.parameters():
        value.normal_(std=0.02)
    static = static_model(linear.taxonomy)
    rng = np.random.default_rng(0)
    for size in (8, 16, 32, 64, 128, 256, 512):
        ids = torch.randint(1, 1000, (8, size))
        with torch.inference_mode(), autocast(torch.device("cpu"), in_bfloat16("auto")):
            taken = seconds(rounds, encoder, ids, torch.ones_like(ids))
        yield "encoder of e5-small's size (tokens)", size, taken / 8, 0.0
        texts = [" ".join(rng.choice(words, size)) for _ in range(64)]
        for name, model in (("linear (words)", linear), ("static student (words)", static)):
            yield name, size, seconds(rounds, model.leaf_log_proba, texts) / 64, 0.0


def static_model(taxonomy: Taxonomy) -> StaticClassifier:
    """A static model with random vectors: what it costs does not depend on them."""
    model, rng = StaticClassifier(taxonomy, StaticSettings()), np.random.default_rng(0)
    s = model.settings
    model.vectors = rng.integers(-99, 99, (s.buckets, s.width), dtype=np.int8)
    model.scales = np.full((s.buckets, 1), 0.01, np.float32)
    model.weights[:] = rng.normal(size=model.weights.shape)
    return model


def rows_part(linear: Any, titles: list[str], rounds: int) -> Iterator[tuple[str, int, float, float]]:
    """(what, rows, seconds of all rows, 0) of titles that are all different."""
    static, rng = static_model(linear.taxonomy), np.random.default_rng(1)
    for power in (2, 3, 4, 5):
        number = 10**power
        texts = [f"{titles[a]} {titles[b]} {i}" for i, (a, b) in enumerate(rng.integers(0, len(titles), (number, 2)))]
        for name, model in (("linear", linear), ("static student", static)):
            taken = seconds(1 if power > 4 else rounds, through, model, texts)
            yield name, number, taken, 0.0


def exponent(points: dict[int, tuple[float, float]]) -> float:
    """Slope of log seconds over log size, of the upper half of the points, two at least."""
    sizes = sorted(points)
    used = sizes[-max(2, (len(sizes) + 1) // 2) :]
    return float(np.polyfit(np.log(used), np.log([points[s][0] for s in used]), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=6, help="leaves up to 10 to this power")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spread", type=float, default=4.0)
    parser.add_argument("--linear", help="a linear model (default: one is trained on the sample)")
    parser.add_argument("--parts", nargs="+", default=["leaves", "length", "rows"])
    parser.add_argument("--out", type=Path, default=Path("experiments/growth"))
    parser.add_argument("--figure", type=Path, default=Path("docs/images/growth.png"))
    args = parser.parse_args()
    data = load_sample().train
    linear = load(args.linear) if args.linear else LinearClassifier(data.taxonomy).fit(data)
    words = sorted({word for text in data.texts for word in text.split()})
    runs = {
        "leaves": lambda: leaves_part(args.most, args.rounds, args.spread),
        "length": lambda: length_part(linear, words, args.rounds),
        "rows": lambda: rows_part(linear, list(data.texts), args.rounds),
    }
    axes_of = {"leaves": ("leaves", "ms a row"), "length": ("tokens or words", "ms a text"), "rows": ("rows", "ms")}
    figure, axes = plt.subplots(1, len(args.parts), figsize=(5.5 * len(args.parts), 4), layout="constrained")
    lines: list[tuple[Any, ...]] = []
    for axis, part in zip(np.atleast_1d(axes), args.parts, strict=True):
        found: Points = {}
        for what, size, taken, memory in runs[part]():
            found.setdefault(what, {})[size] = taken, memory
            print(part, what, size, f"{1000 * taken:.3f} ms", flush=True)
        for what, points in found.items():
            slope = exponent(points) if len(points) > 1 else float("nan")
            axis.plot(list(points), [1000 * t for t, _ in points.values()], "o-", label=f"{what}: {slope:.2f}")
            lines += [
                (part, what, size, f"{1000 * taken:.4g}", f"{memory:.1f}" if memory else "", f"{slope:.2f}")
                for size, (taken, memory) in points.items()
            ]
        axis.set(xscale="log", yscale="log", xlabel=axes_of[part][0], ylabel=axes_of[part][1], title=f"cost and {part}")
        axis.legend(title="exponent", fontsize=7, title_fontsize=7)
        axis.grid(alpha=0.3)
    args.out.mkdir(parents=True, exist_ok=True)
    args.figure.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.figure, dpi=110)
    with (args.out / "results.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([NAMES, *lines])
    print(f"written to {args.out} and {args.figure}")


if __name__ == "__main__":
    main()
