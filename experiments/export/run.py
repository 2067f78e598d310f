"""A trained model and its exports on the same rows: recall at every level, log-loss, rows a CPU second, megabytes.

    OMP_NUM_THREADS=1 python experiments/export/run.py RUN_DIR TEST.csv -t title -t description -c code

Rows a CPU second of one thread, so that other work on the machine does not count. The figures of a
run of hjc are those of its test rows where TEST.csv holds these. `difference_level_4` is that of the recall to the
first line of the table in points, with its 95 % interval (normal; rows are pairs).
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
    return scored(model, rows)[0]


def scored(model: hjc.Classifier, rows: hjc.JobData) -> tuple[dict[str, float], np.ndarray]:
    """:func:`measured`; and (n, D) whether the first code of a row is right at each level, NaN where it has none."""
    model.leaf_log_proba(rows.texts[:8])
    start = time.process_time()
    log_proba = model.leaf_log_proba(rows.texts)
    rate = len(rows) / (time.process_time() - start)
    tree, gold = model.taxonomy, rows.gold
    out, all_right = {}, np.full((len(rows), tree.depth), np.nan)
    for level in range(1, tree.depth + 1):
        column = tree.level_column[gold, level - 1]
        known = column >= 0
        right = tree.aggregate(log_proba, level).argmax(1) == column
        all_right[known, level - 1] = right[known]
        out[f"recall@1_level_{level}"] = round(100 * float(right[known].mean()), 2)
    calibrated = log_proba if model.calibrator is None else model.calibrator.transform(log_proba)
    leaf = tree.is_leaf[gold]
    found = calibrated[np.flatnonzero(leaf), tree.leaf_slice[gold[leaf], 0]]
    return out | {"log_loss": round(float(-found.mean()), 4), "rows_per_cpu_second": round(rate, 1)}, all_right


def differences(right: np.ndarray, base: np.ndarray) -> dict[str, str]:
    """Of the recall of the same rows, (n, D) twice: points at each level, and their 95 % interval."""
    out = {}
    for level in range(right.shape[1]):
        apart = 100 * (right[:, level] - base[:, level])
        apart = apart[~np.isnan(apart)]
        mean, half = apart.mean(), 1.96 * apart.std(ddof=1) / len(apart) ** 0.5
        out[f"difference_level_{level + 1}"] = f"{mean:.2f} ({mean - half:.2f} to {mean + half:.2f})"
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir")
    parser.add_argument("test")
    parser.add_argument("-t", "--text-column", action="append", required=True)
    parser.add_argument("-c", "--code-column", default="code")
    parser.add_argument("--rows", type=int, default=0, help="so many rows, drawn at random (0: all)")
    parser.add_argument("--engines", default="onnx", help="onnx,openvino")
    parser.add_argument("--precisions", default="32,bf16,int8", help="some of them; 32 is fp32 of an export")
    parser.add_argument("-o", "--output", default=str(HERE / "results.csv"))
    given = parser.parse_args()
    source = hjc.load(given.run_dir)
    settings = DataSettings(text_columns=given.text_column, code_column=given.code_column)
    rows, _ = read_job_data(given.test, source.taxonomy, settings)
    if 0 < given.rows < len(rows):
        rows = rows.take(np.sort(np.random.default_rng(1).permutation(len(rows))[: given.rows]))
    chosen, table, rights = given.precisions.split(","), [], []

    def add(engine: str, precision: str, size: float, model: hjc.Classifier) -> None:
        found, right = scored(model, rows)
        rights.append(right)
        line = {"engine": engine, "precision": precision, "rows": len(rows), "megabytes": round(size, 1), **found}
        table.append(line | (differences(right, rights[0]) if len(rights) > 1 else {}))
        print(table[-1], flush=True)
        pd.DataFrame(table).to_csv(given.output, index=False)

    size = sum(p.stat().st_size for p in Path(given.run_dir).glob("*.safetensors")) / 1e6
    for precision in ("32", "bf16"):
        if precision in chosen:
            add("torch", precision, size, source.compute_on("cpu", precision))
    for engine in given.engines.split(","):
        for precision in ("fp32", "bf16", "int8")[: 3 if engine == "onnx" else 2]:
            if precision.removeprefix("fp") in chosen:
                with tempfile.TemporaryDirectory() as folder:
                    done = export_model(given.run_dir, Path(folder) / "out", engine=engine, precision=precision)
                    add(engine, precision, done.size / 1e6, hjc.load(Path(folder) / "out"))


if __name__ == "__main__":
    main()
