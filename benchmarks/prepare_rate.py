"""Throughput and memory of `hjc data prepare`: ads per second, peak memory, and whether rows in = rows out + rejected.

    python benchmarks/prepare_rate.py --rows 30000 --workers 1 --workers 2 [--out experiments/prepare_rate/results.csv]

The ads are made from real ones (HJC_DATA, default ../shared/data: 6,828 Polish ads and 13,217 US vacancies, in turn)
or, where these are absent, from the ads that come with hjc: each is a mixture of sentences of three ads of one
language, so that it is as long and as varied as an ad is, and unlike all others. Into them goes what scraping gives:
mark-up (15 % of the ads), e-mail addresses and telephone numbers (30 %), broken characters (2 %), copies (2 %), copies
with a few words changed (5 %) and pages that are no ads (1 %). They are written to a file, chunk by chunk, and the
command runs as a process of its own; memory is that of the process with all its workers, looked at five times a second
(pages that processes share count in each), so Linux only.
"""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
CHUNK = 5_000
SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n")
NO_AD = "404 Not Found. The page you requested does not exist. Back to home"
Ad = tuple[str, str, str]


def real_ads() -> tuple[str, list[list[Ad]]]:
    """Where the ads are from, and (title, text, code) of each, by language."""
    folder = Path(os.environ.get("HJC_DATA", "../shared/data"))
    files = ("kzis_ads_pl/ads.csv.gz", "usajobs_opm/questionnaires.csv.gz")
    if all((folder / name).is_file() for name in files):
        pools = []
        for name in files:
            table = pd.read_csv(folder / name, dtype=str, keep_default_na=False)
            pools.append(list(table[["title", "description", "code"]].itertuples(index=False, name=None)))
        return "kzis_ads_pl + usajobs_opm", pools
    from hjc.data.sample import sample_ads

    by_language = sample_ads().groupby("language")
    return "bundled sample", [
        list(part[["title", "text", "code"]].itertuples(index=False, name=None)) for _, part in by_language
    ]


class Mixer:
    """Ads like those given and unlike one another."""

    def __init__(self, pools: list[list[Ad]], seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.pools = pools
        self.sentences = [[[s for s in SENTENCE.split(text) if s.strip()] for _, text, _ in pool] for pool in pools]
        self.last: Ad = ("", "", "")

    def ad(self, number: int) -> Ad:
        """The next ad."""
        rng, which = self.rng, number % len(self.pools)
        pool, kind = self.pools[which], rng.random()
        if kind < 0.02 and number:
            return self.last
        if kind < 0.07 and number:
            words = self.last[1].split(" ")
            for at in rng.integers(0, len(words), 3):
                words[at] = str(rng.integers(10**6))
            return self.last[0], " ".join(words), self.last[2]
        if kind < 0.08:
            return "", NO_AD, pool[0][2]
        first, *others = rng.integers(0, len(pool), 3)
        lines = list(self.sentences[which][first])
        for other in others:
            given = self.sentences[which][other]
            for sentence in given[: max(1, len(given) // 2)]:
                lines[rng.integers(0, len(lines))] = sentence
        if rng.random() < 0.3:
            lines.append(f"Contact: anna.{rng.integers(10**6)}@example.org, tel. 601 {rng.integers(100, 999)} 234.")
        if rng.random() < 0.15:
            text = "<div>" + "".join(f"<p>{line} &amp; more</p><br/>" for line in lines) + "</div>"
        else:
            text = "\n".join(lines)
        if rng.random() < 0.02:
            text = text.encode("utf-8").decode("cp1252", "replace")
        self.last = (pool[first][0], text, pool[first][2])
        return self.last

    def chunks(self, rows: int) -> Iterator[pd.DataFrame]:
        """``rows`` ads as tables of at most CHUNK rows."""
        for start in range(0, rows, CHUNK):
            part = [self.ad(i) for i in range(start, min(rows, start + CHUNK))]
            frame = pd.DataFrame(part, columns=["title", "description", "code"])
            frame.insert(0, "id", [f"ad{i}" for i in range(start, start + len(part))])
            yield frame


def write_ads(path: Path, rows: int, pools: list[list[Ad]]) -> int:
    """Write the ads as Parquet or CSV; returns their words."""
    words, writer = 0, None
    for frame in Mixer(pools).chunks(rows):
        words += int(frame["description"].str.count(r"\S+").sum())
        if path.suffix == ".parquet":
            table = pa.Table.from_pandas(frame, preserve_index=False)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
        else:
            frame.to_csv(path, index=False, mode="a", header=not path.exists())
    if writer is not None:
        writer.close()
    return words


def memory_of(process: int) -> int:
    """Resident bytes of a process and all below it; 0 where it is over."""
    total, waiting = 0, [process]
    while waiting:
        number = waiting.pop()
        try:
            total += int(Path(f"/proc/{number}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for task in Path(f"/proc/{number}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (OSError, ValueError):  # it ended meanwhile
            continue
    return total


def measure(source: Path, output: Path, languages: str, workers: int) -> dict[str, float]:
    """Run the command; seconds, processor seconds, peak memory in MiB."""
    options = {"-o": output, "-c": "code", "--workers": workers, "--drop": "quality", "--languages": languages}
    command = [sys.executable, "-m", "hjc.cli", "data", "prepare", str(source), "-t", "title", "-t", "description"]
    command += [str(x) for pair in options.items() if pair[1] for x in pair]
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    before, started, peak = os.times(), time.monotonic(), 0
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}) as process:
        while process.poll() is None:
            peak = max(peak, memory_of(process.pid))
            time.sleep(0.2)
    if process.returncode:
        sys.exit(f"the command ended with {process.returncode}")
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": time.monotonic() - started, "cpu_seconds": spent, "peak_mib": peak / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, action="append", help="ads (30000; repeatable)")
    parser.add_argument("--workers", type=int, action="append", help="processes (1; repeatable)")
    parser.add_argument("--languages", default="", help="languages to choose among (24 of Europe), or none")
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    parser.add_argument("--folder", type=Path, help="where the files are written (a temporary folder)")
    parser.add_argument("--label", default="", help="a word for the column `version`")
    parser.add_argument("--out", type=Path, help="table to append to")
    args = parser.parse_args()
    origin, pools = real_ads()
    results: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="prepare-rate-") as name:
        for rows in args.rows or [30_000]:
            source = Path(name) / f"ads_{rows}.{args.format}"
            words = write_ads(source, rows, pools)
            for workers in args.workers or [1]:
                output = Path(name) / f"clean_{rows}_{workers}.{args.format}"
                took = measure(source, output, args.languages, workers)
                log = json.loads(output.with_name(f"{output.name}.log.json").read_text(encoding="utf-8"))
                if not rows == log["rows_in"] == log["rows_out"] + log["rows_rejected"]:
                    sys.exit(f"rows do not add up: {rows} written, log {log}")
                count = len(args.languages.split(",")) if args.languages else 24
                results.append({
                    "version": args.label, "ads": origin, "rows": rows, "words": round(words / rows),
                    "format": args.format, "languages": 0 if args.languages == "none" else count, "workers": workers,
                    **{key: round(value, 1) for key, value in took.items()},
                    "ads_per_second": round(rows / took["seconds"]),
                    "ads_per_cpu_second": round(rows / took["cpu_seconds"]), "rows_out": log["rows_out"],
                    "rejected": log["rows_rejected"], "groups": log["duplicates"]["groups_of_several"],
                })  # fmt: skip
    table = Table(*results[0])
    for result in results:
        table.add_row(*map(str, result.values()))
    Console(width=220).print(table)
    if args.out is not None:
        fresh = not args.out.exists()
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with args.out.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(results[0]), lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerows(results)


if __name__ == "__main__":
    main()
