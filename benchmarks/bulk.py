"""How near hjc comes to the machine's limit, and to others, in one run: training, prediction, start.

    python benchmarks/bulk.py [--rounds 3] [--ads 64] [--titles 512] [--out experiments/bulk/results.csv]

Peaks of matrix products (float32, bfloat16, int8) are measured first. Everything else is given as rows a second and,
for networks, as the share of a peak that its matrix products reach (2 operations a weight and token forward, 6 in
training, and those of attention). What is compared alternates, round by round, and medians are taken, with the least
and the most beside: a busy machine slows all of them alike. Times are seconds of the processor, of one thread with
OMP_NUM_THREADS=1.

The texts are ads of natural length from the real-data folder HJC_DATA (Polish, private), else those of the bundled
sample; titles are the bundled sample's. The encoder is multilingual-e5-small (extra `offline` or the hub) under a head
with random weights: a rate does not depend on what was learnt.
"""

import argparse
import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from hjc.classifiers.compiled import COMPILED
from hjc.classifiers.export import export_model
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.load import load
from hjc.classifiers.neural import NeuralClassifier
from hjc.classifiers.static import StaticClassifier
from hjc.data.sample import load_sample
from hjc.nn.batching import collate, training_batches
from hjc.nn.devices import autocast, in_bfloat16
from hjc.nn.encoder import load_encoder
from hjc.nn.fitting import adamw
from hjc.nn.light import LightConfig, LightEncoder
from hjc.nn.memory import keep_memory
from hjc.nn.network import Network
from hjc.nn.settings import NeuralSettings, TrainerSettings
from hjc.nn.tokens import Reading, tokenize
from hjc.taxonomy import Taxonomy, isco08

ADS = Path(os.environ.get("HJC_DATA", "../shared/data")) / "kzis_ads_pl" / "ads.csv.gz"
CPU = torch.device("cpu")
PARTS = ("training", "prediction", "linear", "starts")
AUTO, PIPE = "hjc, --precision auto", "transformers pipeline, batch 32 (vectors)"
INT8, STUDENT, BASE = "hjc export --precision int8", "static student", "hjc, auto, encoder of XLM-R-base's size"
FAST = "hjc linear, extra fast"
NAPKIN = "napkinXC's own prediction of hjc's n-grams"
NAMES = ("what", "who", "median (least-most)", "share of the peak", "ratio", "goal")
LINE = tuple[str, str, str, str, str, str]


def peak(kind: torch.dtype, size: int = 1024, repeats: int = 10) -> float:
    """1e9 operations a second of a product of square matrices, the best of several."""
    a = torch.randint(-99, 99, (size, size)).to(kind)
    product = torch._int_mm if kind == torch.int8 else torch.mm
    best = 0.0
    for _ in range(repeats):
        started = time.process_time()
        for _ in range(4):
            product(a, a)
        best = max(best, 4 * 2 * size**3 / (time.process_time() - started) / 1e9)
    return best


def operations(encoder: Any, lengths: np.ndarray) -> float:
    """Of one pass forward: 2 for each weight of the layers and token, 4 T^2 H for the attention of each layer."""
    config = encoder.config
    weights = sum(p.numel() for name, p in encoder.named_parameters() if ".layer." in name and p.ndim == 2)
    attention = 4 * config.hidden_size * config.num_hidden_layers
    return float(2 * weights * lengths.sum() + attention * (lengths.astype(float) ** 2).sum())


class GroupLoop(nn.Module):
    """A head as others write it: a linear layer and a softmax for each sibling group, one after the other."""

    def __init__(self, taxonomy: Taxonomy, hidden: int) -> None:
        super().__init__()
        self.taxonomy = taxonomy
        self.layers = nn.ModuleList(nn.Linear(hidden, int(b - a)) for a, b in taxonomy.group_slice)

    def loss(self, features: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
        total = features.new_zeros(len(gold))
        paths = self.taxonomy.node_path[gold.numpy()]
        for number, (start, stop) in enumerate(self.taxonomy.group_slice):
            scores = self.layers[number](features).log_softmax(-1)
            for level in range(paths.shape[1]):
                here = np.flatnonzero((paths[:, level] >= start) & (paths[:, level] < stop))
                if len(here):
                    total[here] -= scores[here, paths[here, level] - start]
        return total


class Training:
    """Steps of training on some texts: ours, or the usual recipe (whole vocabulary, 512 tokens, no buckets, a loop)."""

    def __init__(
        self, texts: list[str], gold: np.ndarray, taxonomy: Taxonomy, length: int, usual: bool, batch: int
    ) -> None:
        settings = NeuralSettings(prefix="query: ", max_length=length, prune_vocabulary=not usual, head_norm=not usual)
        encoder, self.tokenizer = load_encoder(settings, texts)
        self.network = Network(encoder, taxonomy, settings).train()
        if usual:
            self.network.head = GroupLoop(taxonomy, self.network.hidden)  # type: ignore[assignment]
        self.optimizer, _ = adamw(self.network, encoder, TrainerSettings(), 1000)
        self.corpus = tokenize(self.tokenizer, texts, Reading.of(settings))
        self.batches = training_batches(self.corpus.lengths, batch, 1, 0, bucket=not usual)
        self.gold, self.usual, self.at = torch.as_tensor(gold), usual, 0

    def __call__(self) -> tuple[int, float]:
        """One step: rows, operations."""
        rows = self.batches[self.at % len(self.batches)]
        self.at += 1
        batch = collate(self.corpus, rows, self.tokenizer.pad_token_id)
        with autocast(CPU, in_bfloat16("auto") and not self.usual):
            features = self.network.features(**batch)
        self.network.head.loss(features, self.gold[rows]).mean().backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return len(rows), 3 * operations(self.network.encoder, self.corpus.lengths[rows])


def in_turn(
    runs: dict[str, Callable[[], tuple[int, float]]], rounds: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Name -> rows a second and 1e9 operations a second, of each round but a first one that warms up."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in runs}
    for number in track(range(rounds + 1), description="rounds"):
        for name, run in runs.items():
            started = time.process_time()
            rows, work = run()
            seconds = time.process_time() - started
            if number:
                found[name][0].append(rows / seconds)
                found[name][1].append(work / seconds / 1e9)
    return found


def lines_of(
    group: str, found: dict[str, tuple[list[float], list[float]]], against: dict[str, tuple[str, str]], limit: float
) -> list[LINE]:
    """The lines of a table. ``against``: name -> name that it is compared to, and the goal of the ratio."""
    lines = []
    for name, (rates, work) in found.items():
        other, goal = against.get(name, ("", ""))
        ratio = f"{statistics.median(rates) / statistics.median(found[other][0]):.2f} x {other}" if other else ""
        share = f"{statistics.median(work) / limit:.0%}" if any(work) else ""
        spread = f"{statistics.median(rates):.1f} ({min(rates):.1f}-{max(rates):.1f})"
        lines.append((group, name, spread, share, ratio, goal))
    return lines


def training(kind: str, texts: list[str], length: int, goal: str, rounds: int, limit: float) -> list[LINE]:
    """Ours in batches of 32 and 128 rows, the usual recipe in batches of 8: 32 texts of 512 tokens need 9 GB."""
    tree = isco08()
    gold = tree.leaves[np.random.default_rng(1).integers(0, tree.num_leaves, len(texts))]
    usual = "usual recipe, float32"
    runs: dict[str, Callable[[], tuple[int, float]]] = {
        "hjc, batch 32": Training(texts, gold, tree, length, False, 32),
        "hjc, batch 128": Training(texts, gold, tree, length, False, 128),
        usual: Training(texts, gold, tree, 512, True, 8),
    }
    against = {name: (usual, goal) for name in list(runs)[:2]}
    return lines_of(f"training on {kind} (rows/s)", in_turn(runs, rounds), against, limit)


def prediction(texts: list[str], taxonomy: Taxonomy, folder: Path) -> dict[str, Callable[[], tuple[int, float]]]:
    """Ours in float32 and as the machine likes best, a padded loop, and two libraries that only give vectors."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()
    settings = NeuralSettings(prefix="query: ", max_length=256)
    encoder, tokenizer = load_encoder(settings, texts)
    encoder.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model = NeuralClassifier(taxonomy, settings)
    model.tokenizer, model.network = tokenizer, Network(encoder, taxonomy, settings).eval()
    pipe = pipeline("feature-extraction", model=encoder, tokenizer=tokenizer, device="cpu")
    transformer = Transformer(str(folder), max_seq_length=256)
    sentences = SentenceTransformer(modules=[transformer, Pooling(model.network.hidden, "mean")], device="cpu")
    lengths = tokenize(tokenizer, texts, replace(Reading.of(settings), max_length=256)).lengths
    size = len(texts), operations(encoder, lengths)
    cut = {"truncation": True, "max_length": 256}

    def ours(precision: str) -> Callable[[], tuple[int, float]]:
        def run() -> tuple[int, float]:
            model.compute_on("cpu", precision).predict_log_proba(texts)
            return size

        return run

    def padded() -> tuple[int, float]:
        for start in range(0, len(texts), 32):
            part = tokenizer(texts[start : start + 32], padding=True, return_tensors="pt", **cut)
            with torch.inference_mode():
                assert model.network is not None
                model.network(part["input_ids"], part["attention_mask"])
        return size

    def piped(**options: int) -> Callable[[], tuple[int, float]]:
        def run() -> tuple[int, float]:
            for _ in pipe(texts, **options, **cut):
                pass
            return size

        return run

    def encoded() -> tuple[int, float]:
        sentences.encode(texts, batch_size=32, show_progress_bar=False)
        return size

    return {"hjc, float32": ours("32"), AUTO: ours("auto"), **smaller(model, texts, folder), "padded loop": padded,
            PIPE: piped(batch_size=32), "transformers pipeline, defaults (vectors)": piped(),
            "sentence-transformers (vectors)": encoded, BASE: base_size(model, texts[:16])}  # fmt: skip


def smaller(model: NeuralClassifier, texts: list[str], folder: Path) -> dict[str, Callable[[], tuple[int, float]]]:
    """The same model exported as 8-bit integers, and a static student of it with random vectors."""
    model.save_pretrained(folder / "run")
    export_model(folder / "run", folder / "int8", precision="int8")
    exported, student, rng = load(folder / "int8"), StaticClassifier(model.taxonomy), np.random.default_rng(0)
    buckets, width = student.settings.buckets, student.settings.width
    student.vectors = rng.integers(-99, 99, (buckets, width), dtype=np.int8)
    student.scales = np.full((buckets, 1), 0.01, np.float32)

    def run_of(found: Any, times: int) -> Callable[[], tuple[int, float]]:
        several = texts * times

        def run() -> tuple[int, float]:
            for _ in range(times):
                found.leaf_log_proba(texts)
            return len(several), 0.0

        return run

    return {INT8: run_of(exported, 1), STUDENT: run_of(student, 8)}


def base_size(small: NeuralClassifier, texts: list[str]) -> Callable[[], tuple[int, float]]:
    """An encoder of XLM-R-base's size with random weights, as the machine likes best."""
    config = LightConfig(
        model_type="bert", vocab_size=len(small.tokenizer), hidden_size=768, num_hidden_layers=12,
        num_attention_heads=12, intermediate_size=3072, max_position_embeddings=512, type_vocab_size=2, pad_token_id=0,
        layer_norm_eps=1e-5, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, hidden_act="gelu",
        is_decoder=False, add_cross_attention=False,
    )  # fmt: skip
    encoder: Any = LightEncoder(config).eval()
    for value in encoder.parameters():
        nn.init.normal_(value, std=0.02)
    model = NeuralClassifier(small.taxonomy, small.settings)
    model.tokenizer, model.network = small.tokenizer, Network(encoder, small.taxonomy, small.settings).eval()
    lengths = tokenize(small.tokenizer, texts, Reading.of(small.settings)).lengths
    size = len(texts), operations(encoder, lengths)

    def run() -> tuple[int, float]:
        model.compute_on("cpu", "auto").predict_log_proba(texts)
        return size

    return run


def linear(texts: list[str], folder: Path) -> dict[str, Callable[[], tuple[int, float]]]:
    """A linear model of the sample and its export; napkinXC and fastText trained on the same, all leaves of each."""
    import fasttext
    from napkinxc.models import HSM

    data = load_sample().train
    model, tree = LinearClassifier(data.taxonomy).fit(data), data.taxonomy
    model.save_pretrained(folder / "linear")
    export_model(folder / "linear", folder / "linear_export")
    exported = load(folder / "linear_export")
    napkin = HSM(str(folder / "linear" / "napkinxc"), threads=1, tree_structure=None)
    napkin.load()
    labelled = [f"__label__{tree.codes[g]} {' '.join(t.split())}" for g, t in zip(data.gold, data.texts, strict=True)]
    (folder / "fasttext.txt").write_text("\n".join(labelled), encoding="utf-8")
    options = {"epoch": 2, "dim": 100, "wordNgrams": 2, "minn": 2, "maxn": 5, "bucket": 200_000, "thread": 1}
    fast = fasttext.train_supervised(str(folder / "fasttext.txt"), verbose=0, **options)
    several = [" ".join(text.split()) for text in texts] * 4

    def through(predict: Callable[[list[str]], object], loops: bool = False) -> Callable[[], tuple[int, float]]:
        def run() -> tuple[int, float]:
            COMPILED.use(loops)
            predict(several)
            return len(several), 0.0

        return run

    def plainly(given: list[str]) -> None:
        assert model.features is not None
        napkin.predict_proba(model.features.transform(given), top_k=tree.num_leaves)

    return {"hjc linear": through(model.leaf_log_proba), FAST: through(model.leaf_log_proba, True),
            "hjc linear, exported": through(exported.leaf_log_proba),
            NAPKIN: through(plainly), "fastText": through(lambda given: fast.predict(given, k=-1))}  # fmt: skip


def starts(rounds: int) -> list[LINE]:
    """Seconds of the processor until a fresh process has answered."""
    fixture = Path(__file__).parents[1] / "tests" / "fixtures" / "models_0_1"
    one = "import sys, hjc; hjc.load(sys.argv[1]).predict(['nurse'])"
    commands = {
        "import torch, transformers": ["-c", "import torch, transformers"],
        "hjc.load of a neural model and one text": ["-c", one, str(fixture / "neural_topdown")],
        "hjc.load of a linear model and one text": ["-c", one, str(fixture / "linear_topdown")],
        "hjc --help": ["-m", "hjc.cli", "--help"],
    }
    goals = {"hjc.load of a neural model and one text": "at most 1.2 x", "hjc --help": "under 0.4 s",
             "hjc.load of a linear model and one text": "under 1 s"}  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if number:
                seconds[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    base = statistics.median(seconds["import torch, transformers"])
    return [
        ("start (s)", name, f"{statistics.median(s):.2f} ({min(s):.2f}-{max(s):.2f})", "",
         f"{statistics.median(s) / base:.2f} x import torch, transformers", goals.get(name, ""))
        for name, s in seconds.items()
    ]  # fmt: skip


def write(path: Path, lines: list[LINE]) -> None:
    """After each part; those that are not run now stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept: list[list[str]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as stream:
            kept = [row for row in list(csv.reader(stream))[1:] if row[0] not in {line[0] for line in lines}]
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([NAMES, *lines, *kept])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ads", type=int, default=64)
    parser.add_argument("--titles", type=int, default=512)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=Path("experiments/bulk/results.csv"))
    args = parser.parse_args()
    keep_memory()
    torch.manual_seed(0)
    random, sample, tree = np.random.default_rng(0), load_sample(), isco08()
    titles = [sample.train.texts[i] for i in random.permutation(len(sample.train))[: args.titles]]
    if ADS.exists():
        table = pd.read_csv(ADS, dtype=str, keep_default_na=False)
        ads = (table["title"] + "\n" + table["description"]).tolist()
    else:
        ads = list(sample.tests["ads"].texts)
    ads = [ads[i] for i in random.permutation(len(ads))[: args.ads]]
    peaks = {"float32": peak(torch.float32), "bfloat16": peak(torch.bfloat16), "int8": peak(torch.int8)}
    limit = peaks["bfloat16"] if in_bfloat16("auto") else peaks["float32"]
    lines: list[LINE] = [
        ("peak (1e9 operations/s)", name, f"{found:.0f}", f"{found / limit:.0%}", "", "")
        for name, found in peaks.items()
    ]
    if "training" in args.only:
        for kind, texts, length, goal in (("titles", titles, 64, "at least 6 x"), ("ads", ads, 128, "at least 3 x")):
            lines += training(kind, texts, length, goal, args.rounds, limit)
    write(args.out, lines)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "prediction" in args.only:
            found = in_turn(prediction(ads, tree, folder), args.rounds)
            against = {
                AUTO: (PIPE, "at least 4 x; 40 % of the peak"),
                INT8: (AUTO, "at least 1.5 x, or .55 of the file"),
                STUDENT: (AUTO, "at least 50 x"),
                BASE: (AUTO, "60 % of the peak"),
            }
            lines += lines_of("prediction of ads (rows/s)", found, against, limit)
            best, plain = (statistics.median(found[name][0]) for name in (AUTO, "hjc, float32"))
            ratio = f"{best / plain:.2f} x hjc, float32"
            group = "prediction of ads (rows/s)"
            lines.append((group, "--precision auto to what hjc was", "", "", ratio, "at least 4 x"))
            write(args.out, lines)
        if "linear" in args.only:
            found = in_turn(linear(ads, folder), args.rounds)
            against = {name: (NAPKIN, "") for name in found if name != NAPKIN}
            lines += lines_of("linear prediction of ads (rows/s)", found, against, limit)
            write(args.out, lines)
        if "starts" in args.only:
            lines += starts(args.rounds)
            write(args.out, lines)
    console = Console(width=170)
    console.print(f"{torch.get_num_threads()} threads, ads: {'real' if ADS.exists() else 'of the bundled sample'}")
    shown = Table(*NAMES)
    for line in lines:
        shown.add_row(*line)
    console.print(shown)
    console.print(f"written to {args.out}")


if __name__ == "__main__":
    main()
