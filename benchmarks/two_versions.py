"""Texts a second of a linear model by this code and by another version, and how far their probabilities lie apart.

    git worktree add ../before 3fd9a7a
    OMP_NUM_THREADS=1 python benchmarks/two_versions.py ../before MODEL_DIR ADS.csv.gz -t title -t description

Three processes take turns (this code without and with the extra `fast`). Seconds of the processor, medians of the
rounds (least and most). Texts are drawn at random; the first column alone, the titles, is measured as well.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

HERE = "this code"
LOOPS = "this code, extra fast"


def work(model_dir: str, ads: str, columns: list[str], number: int, loops: str) -> None:
    """Answers each line of standard input: the name of a set of texts by a rate, a path by a file of probabilities."""
    import hjc

    if loops:  # not in other versions
        from hjc.classifiers.compiled import COMPILED

        COMPILED.use(loops == "yes")
    table = pd.read_csv(ads, dtype=str, keep_default_na=False)
    table = table.iloc[np.random.default_rng(0).permutation(len(table))[:number]]
    sets = {"ads": table[columns].agg("\n".join, axis=1).tolist(), "titles": table[columns[0]].tolist()}
    model = hjc.load(model_dir)
    for line in sys.stdin:
        if (name := line.strip()) in sets:
            start = time.process_time()
            model.leaf_log_proba(sets[name])
            print(len(sets[name]) / (time.process_time() - start), flush=True)
        else:
            np.save(name, model.leaf_log_proba(sets["ads"]))
            print("saved", flush=True)


class Version:
    """A process with its own hjc."""

    def __init__(self, folder: str, given: list[str], loops: str) -> None:
        command = [sys.executable, __file__, *given, "--work", loops]
        environment = {**os.environ, "PYTHONPATH": folder}
        self._process = subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, text=True)

    def __call__(self, line: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("other", "model_dir", "ads"):
        parser.add_argument(name)
    parser.add_argument("-t", "--text-column", action="append", required=True)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work is not None:
        return work(given.model_dir, given.ads, given.text_column, given.texts, given.work)
    here = str(Path(__file__).parents[1])
    versions = {"before": (given.other, ""), HERE: (here, "no"), LOOPS: (here, "yes")}
    running = {name: Version(folder, sys.argv[1:], loops) for name, (folder, loops) in versions.items()}
    rates: dict[tuple[str, str], list[float]] = {}
    for number in range(given.rounds + 1):
        for texts in ("ads", "titles"):
            for name, version in running.items():
                rate = float(version(texts))
                if number:
                    rates.setdefault((texts, name), []).append(rate)
    for (texts, name), found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, rates[texts, "before"], strict=True))
        spread = f"{statistics.median(found):,.0f} a second ({min(found):,.0f}-{max(found):,.0f})"
        print(f"{texts}, {name}: {spread}, {ratio:.2f} x before")
    with tempfile.TemporaryDirectory() as scratch:
        proba = []
        for number, version in enumerate(running.values()):
            version(f"{scratch}/{number}.npy")
            proba.append(np.exp(np.load(f"{scratch}/{number}.npy").astype(np.float64)))
            version.close()
    print(f"probabilities differ by {np.abs(proba[1] - proba[0]).max():.1e} from before,", end=" ")
    print(f"with the extra by {np.abs(proba[2] - proba[1]).max():.1e}")


if __name__ == "__main__":
    main()
