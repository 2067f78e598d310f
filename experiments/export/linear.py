"""A linear model and its export: seconds of the processor until a fresh process has coded one text, texts a second, MB.

    OMP_NUM_THREADS=1 python experiments/export/linear.py RUN_DIR TEXTS.csv -t title -t description --rounds 5

Who is compared alternates; medians. `NumPy alone` hides SciPy, scikit-learn, pandas and pyarrow from the process.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import hjc
from hjc.apply.distill import read_texts
from hjc.apply.step import recipe_of
from hjc.classifiers.export import export_model
from hjc.classifiers.feature_weights import FeatureWeights
from hjc.tables import ReadOptions

HERE = Path(__file__).parent
HIDE = (
    "import sys\n"
    "class Hidden:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name.split('.')[0] in ('scipy', 'sklearn', 'pandas', 'pyarrow'):\n"
    "            raise ModuleNotFoundError(name)\n"
    "sys.meta_path.insert(0, Hidden())\n"
)
ONE = "import sys, hjc\nhjc.load(sys.argv[1]).predict_proba(['nurse'])\n"


def cold(program: str, directory: Path) -> float:
    """Seconds of the processor that a fresh process takes for one text."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program, str(directory)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rate(model: hjc.Classifier, texts: list[str]) -> float:
    """Texts a second of the processor."""
    model.leaf_log_proba(texts[:32])
    start = time.process_time()
    model.leaf_log_proba(texts)
    return len(texts) / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("texts")
    parser.add_argument("-t", "--text-column", action="append", required=True)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", default=str(HERE / "linear.csv"))
    given = parser.parse_args()
    texts, _ = read_texts(given.texts, recipe_of(given.run_dir, given.text_column), ReadOptions(), most=given.rows)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        export_model(given.run_dir, out)
        source, exported = hjc.load(given.run_dir), hjc.load(out)
        who = {
            "source": (ONE, given.run_dir, source, None),
            "export": (ONE, out, exported, None),
            "export, NumPy alone": (HIDE + ONE, out, exported, FeatureWeights.plain_scores),
        }
        seconds: dict[str, list[float]] = {name: [] for name in who}
        rates: dict[str, list[float]] = {name: [] for name in who}
        usual = FeatureWeights.scores
        for _ in range(given.rounds):
            for name, (program, directory, model, scores) in who.items():
                seconds[name].append(cold(program, directory))
                FeatureWeights.scores = scores or usual  # type: ignore[method-assign]
                rates[name].append(rate(model, texts))
        FeatureWeights.scores = usual  # type: ignore[method-assign]
        difference = np.abs(np.exp(source.leaf_log_proba(texts)) - np.exp(exported.leaf_log_proba(texts))).max()
        sizes = {d: sum(f.stat().st_size for f in d.rglob("*") if f.suffix in (".npz", ".npy", ".bin", ".json"))
                 for d in (given.run_dir, out)}  # fmt: skip
        table = pd.DataFrame(
            {
                "model": name,
                "megabytes": round(sizes[directory] / 1e6, 1),
                "cold_cpu_seconds": f"{statistics.median(seconds[name]):.2f}",
                "range": f"{min(seconds[name]):.2f}-{max(seconds[name]):.2f}",
                "texts_per_cpu_second": round(statistics.median(rates[name])),
                "largest_difference": f"{0 if name == 'source' else difference:.1e}",
            }
            for name, (_, directory, _, _) in who.items()
        )
    table.to_csv(given.output, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
