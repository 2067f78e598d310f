"""How long one query takes: load time, and milliseconds a job with JobClassifier, of any model directory.

    python benchmarks/query_latency.py RUN_DIR [RUN_DIR ...] [--queries 200] [--threads 1] [--out latency.csv]
    python benchmarks/query_latency.py --encoder intfloat/multilingual-e5-small     (an untrained bi-encoder on ISCO-08)

Each model is loaded in a process of its own (imports included and apart), which then codes titles and whole ads of the
bundled sample one at a time; the encoder is counted while loading: no label may be encoded again. The first query
(what is set up lazily) is told apart from the others. cpu: processor time, which other work on the machine hardly
changes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

PROBE = """
import json, sys, time
started = time.perf_counter()
import torch
import hjc
from hjc import JobClassifier
import hjc.classifiers.embedding.base, hjc.nn.text_encoder
run, queries, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
encode, calls = hjc.nn.text_encoder.TorchTextEncoder.encode, []
def spy(self, *args, **kwargs):
    calls.append(1)
    return encode(self, *args, **kwargs)
hjc.nn.text_encoder.TorchTextEncoder.encode = spy
imported = time.perf_counter()
jobs = JobClassifier(run)
loaded = time.perf_counter()
encoded = len(calls)
from hjc.data import load_sample
tests = load_sample(languages=["en"]).tests
out = {"import_seconds": imported - started, "load_seconds": loaded - imported, "encoded_at_load": encoded}
out["leaves"] = jobs.taxonomy.num_leaves
for name, data in tests.items():
    times, busy = [], []
    for text in (data.texts * (queries // len(data) + 1))[: queries + 1]:
        begin, cpu = time.perf_counter(), time.process_time()
        jobs.predict(job_title=text, top_k=5)
        times.append(1000 * (time.perf_counter() - begin))
        busy.append(1000 * (time.process_time() - cpu))
    rest, busy = sorted(times[1:]), sorted(busy[1:])
    middle, late = len(rest) // 2, int(0.95 * len(rest))
    out[name] = {"first": times[0], "p50": rest[middle], "p95": rest[late], "cpu_p50": busy[middle]}
print(json.dumps(out))
"""


def probe(run: Path, queries: int, threads: int) -> dict[str, object]:
    """Times of one model, measured in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(run), str(queries), str(threads)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parent.parent,
    )
    if done.returncode:
        raise SystemExit(f"{run}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    row = {"model": run.name, **{k: v for k, v in found.items() if not isinstance(v, dict)}}
    for name, times in found.items():
        if isinstance(times, dict):
            row |= {f"{name}_{k}_ms": v for k, v in times.items()}
    return row


def untrained(encoder: str, folder: Path) -> Path:
    """A bi-encoder as it is before training: the same times as a trained one."""
    from hjc.classifiers.embedding.biencoder import BiEncoderClassifier
    from hjc.classifiers.embedding.encoders import load_pretrained
    from hjc.classifiers.embedding.settings import BiEncoderSettings
    from hjc.data import load_sample
    from hjc.taxonomy import isco08

    settings = BiEncoderSettings(encoder=encoder, prefix="query: " if "e5" in encoder else "")
    model = BiEncoderClassifier(isco08(), settings)
    labels = model._label_texts()
    model.encoder = load_pretrained(settings, load_sample().train.texts, labels.texts)
    model.labels = model._index(labels)
    model.save_pretrained(folder / encoder.split("/")[-1])
    return folder / encoder.split("/")[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="*", type=Path, help="model directories")
    parser.add_argument("--encoder", action="append", default=[], help="an untrained bi-encoder with this encoder")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="CSV of the table")
    args = parser.parse_args()
    if not args.run and not args.encoder:
        parser.error("name a model directory or an --encoder")
    with tempfile.TemporaryDirectory() as scratch:
        runs = [*(p.resolve() for p in args.run), *(untrained(e, Path(scratch)) for e in args.encoder)]
        frame = pd.DataFrame([probe(run, args.queries, args.threads) for run in runs])
    table = Table(*frame.columns, title=f"{args.queries} queries, {args.threads} threads")
    for values in frame.itertuples(index=False):
        table.add_row(*(f"{v:,.2f}" if isinstance(v, float) else str(v) for v in values))
    Console().print(table)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        frame.round(3).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
