"""A trained model and its exports on the same rows: recall at every level, log-loss, rows a CPU second, megabytes.

    OMP_NUM_THREADS=1 python experiments/export/run.py RUN_DIR TEST.csv -t title -t description -c code

Rows a CPU second of one thread, so that other work on the machine does not count. The figures of a
run of hjc are those of its test rows where TEST.csv holds these.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import hjc
from hjc.classifiers.export import export_model
from hjc.data.reading import read_job_data
from hjc.data.settings import DataSettings

HERE = Path(__file__).parent


def measured(model: hjc.Classifier, rows: hjc.JobData) -> dict[str, float]:
    """Recall@1 of each level in percent, log-loss of the calibrated model at the deepest, rows a CPU second."""
    model.leaf_log_proba(rows.texts[:8])
    start = time.process_time()
    log_proba = model.leaf_log_proba(rows.texts)
    rate = len(rows) / (time.process_time() - start)
    tree, gold = model.taxonomy, rows.gold
    out = {}
    for level in range(1, tree.depth + 1):
        column = tree.level_column[gold, level - 1]
        known = column >= 0
        right = tree.aggregate(log_proba, level).argmax(1) == column
        out[f"recall@1_level_{level}"] = round(100 * float(right[known].mean()), 2)
    calibrated = log_proba if model.calibrator is None else model.calibrator.transform(log_proba)
    leaf = tree.is_leaf[gold]
    found = calibrated[np.flatnonzero(leaf), tree.leaf_slice[gold[leaf], 0]]
    return out | {"log_loss": round(float(-found.mean()), 4), "rows_per_cpu_second": round(rate, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir")
    parser.add_argument("test")
    parser.add_argument("-t", "--text-column", action="append", required=True)
    parser.add_argument("-c", "--code-column", default="code")
    parser.add_argument("--rows", type=int, default=0, help="so many rows, drawn at random (0: all)")
    parser.add_argument("--engines", default="onnx", help="onnx,openvino")
    parser.add_argument("-o", "--output", default=str(HERE / "results.csv"))
    given = parser.parse_args()
    source = hjc.load(given.run_dir)
    settings = DataSettings(text_columns=given.text_column, code_column=given.code_column)
    rows, _ = read_job_data(given.test, source.taxonomy, settings)
    if 0 < given.rows < len(rows):
        rows = rows.take(np.sort(np.random.default_rng(1).permutation(len(rows))[: given.rows]))
    table = []
    for precision in ("32", "bf16"):
        size = sum(p.stat().st_size for p in Path(given.run_dir).glob("*.safetensors")) / 1e6
        found = measured(source.compute_on("cpu", precision), rows)
        table.append(
            {"engine": "torch", "precision": precision, "rows": len(rows), "megabytes": round(size, 1), **found}
        )
        print(table[-1], flush=True)
    for engine in given.engines.split(","):
        for precision in ("fp32", "bf16", "int8")[: 3 if engine == "onnx" else 2]:
            with tempfile.TemporaryDirectory() as folder:
                done = export_model(given.run_dir, Path(folder) / "out", engine=engine, precision=precision)
                found = measured(hjc.load(Path(folder) / "out"), rows)
            size = round(done.size / 1e6, 1)
            table.append({"engine": engine, "precision": precision, "rows": len(rows), "megabytes": size, **found})
            print(table[-1], flush=True)
            pd.DataFrame(table).to_csv(given.output, index=False)


if __name__ == "__main__":
    main()
