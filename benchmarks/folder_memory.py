"""Peak memory of `hjc predict` over a folder, for tables of 100 thousand and of 2 million rows: it must not grow.

    python benchmarks/folder_memory.py [--rows 100000 2000000] [--formats parquet csv] [--out results.csv]

A linear model of the bundled sample's ten major groups codes titles of the sample, drawn at random (seed 0): synthetic
tables of titles that were written for hjc. Each table is coded by a process of its own, whose peak (maximum resident
set) the system counts. The memory over time is sampled from /proc and drawn beside the table.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hjc.classifiers.linear import LinearClassifier
from hjc.data.sample import load_sample

matplotlib.use("agg")
import matplotlib.pyplot as plt


def write(path: Path, kind: str, texts: list[str], rows: int) -> None:
    """A table of so many rows in row groups of 100,000, never whole in memory."""
    rng, schema = np.random.default_rng(0), pa.schema([("id", pa.int64()), ("title", pa.string())])
    titles = pa.array(texts)
    if kind == "parquet":
        with pq.ParquetWriter(path, schema) as out:
            for start in range(0, rows, 100_000):
                size = min(100_000, rows - start)
                drawn = titles.take(pa.array(rng.integers(0, len(titles), size)))
                out.write_table(pa.table([pa.array(range(start, start + size)), drawn], schema=schema))
        return
    with path.open("w", encoding="utf-8", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["id", "title"])
        for start in range(rows):
            out.writerow([start, texts[int(rng.integers(0, len(texts)))]])


def code(model: Path, source: Path, target: Path) -> tuple[float, float, list[tuple[float, float]]]:
    """Seconds, peak in MiB, and (seconds, MiB) while a process codes a folder."""
    command = [sys.executable, "-m", "hjc.cli", "predict", model, source, "-o", target, "-t", "title", "-l", "1", "-q"]
    started, seen = time.perf_counter(), list[tuple[float, float]]()
    process = subprocess.Popen(command)
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        seen.append((time.perf_counter() - started, pages * os.sysconf("SC_PAGESIZE") / 2**20))
        time.sleep(0.25)
    if status:
        raise SystemExit(f"hjc predict ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024, seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 2_000_000])
    parser.add_argument("--formats", nargs="+", default=["parquet", "csv"], choices=["parquet", "csv"])
    parser.add_argument("--out", type=Path, default=Path("experiments/bulk/folder_memory.csv"))
    options = parser.parse_args()
    sample, lines = load_sample().train.truncate(1), []
    texts = list(dict.fromkeys(sample.texts))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        LinearClassifier(sample.taxonomy).fit(sample).save_pretrained(folder / "model")
        figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
        for kind in options.formats:
            for rows in options.rows:
                source = folder / f"{kind}-{rows}"
                source.mkdir()
                write(source / f"part-0.{kind}", kind, texts, rows)
                seconds, peak, seen = code(folder / "model", source, folder / f"out-{kind}-{rows}")
                lines.append([kind, rows, f"{peak:.0f}", f"{seconds:.0f}", f"{rows / seconds:.0f}"])
                print(*lines[-1], flush=True)
                axes.plot(*np.array(seen).T, label=f"{kind}, {rows:,} rows")
    axes.set(xlabel="seconds", ylabel="resident memory (MiB)", ylim=(0, None))
    axes.legend()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out.with_suffix(".png"), dpi=120)
    with options.out.open("w", newline="") as stream:
        csv.writer(stream).writerows([["format", "rows", "peak_mib", "seconds", "rows_a_second"], *lines])


if __name__ == "__main__":
    main()
