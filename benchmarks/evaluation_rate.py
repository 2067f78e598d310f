"""What a whole evaluation costs beside coding the same rows: ``hjc evaluate`` against ``hjc predict``.

    python benchmarks/evaluation_rate.py [--repeats 3]

The linear baseline is fitted on the bundled sample, calibrated, and given its 2,616 test titles as a CSV file. Both
sides load the model, read the file and write their files (coded rows; metrics with 1,000 bootstrap resamples, tables of
calibration, selective coding, decision rules and codes, row scores; no report). They alternate, and medians are
compared. The memory that an evaluation takes is measured apart, with tracemalloc, on those rows ten times.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import hjc
from hjc.classifiers.linear import LinearClassifier
from hjc.cli import app
from hjc.data.sample import load_sample
from hjc.evaluation import evaluate_model
from hjc.evaluation.model import calibrate_model


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    sample = load_sample()
    test, tree = sample.tests["titles"], sample.train.taxonomy
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run, file = str(folder / "run"), str(folder / "titles.csv")
        model = LinearClassifier(tree).fit(sample.train, sample.valid)
        model.save_pretrained(folder / "run")
        calibrate_model(model, run, sample.train, sample.valid)
        codes = [tree.codes[i] for i in test.gold.tolist()]
        pd.DataFrame({"text": test.texts, "code": codes, "language": test.language}).to_csv(file, index=False)
        coded = ["predict", run, file, "-t", "text", "-o", str(folder / "coded.csv"), "--overwrite", "--quiet"]
        scored = ["evaluate", run, file, "-t", "text", "--code-column", "code", "--language-column", "language",
                  "--no-report", "-o", str(folder / "scores")]  # fmt: skip
        sides: dict[str, Callable[[], object]] = {
            "predict": lambda: app(coded, standalone_mode=False),
            "evaluate": lambda: app(scored, standalone_mode=False),
            "evaluate_model": lambda: evaluate_model(hjc.load(run), test, validation=run, progress=False),
        }
        for side in sides.values():
            side()  # imports and caches
        found: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(repeats):
            for side, function in sides.items():
                found[side].append(seconds(function))
        middle = {side: statistics.median(values) for side, values in found.items()}
        for side, value in middle.items():
            print(f"{side:15} {value:.2f} s, {value / middle['predict']:.2f} times predict")
        many = test.take(np.tile(np.arange(len(test)), 10))
        model = hjc.load(run)
        evaluate_model(model, test, validation=run, bootstrap=0, progress=False)
        for data in (test, many):
            tracemalloc.start()
            evaluate_model(model, data, validation=run, bootstrap=0, progress=False)
            print(f"{len(data):,} rows: peak {tracemalloc.get_traced_memory()[1] / 2**20:.1f} MiB")
            tracemalloc.stop()


if __name__ == "__main__":
    main()
