"""Two classifications over one encoder against one encoder each: KZiS and ISCO-08 codes of the same ads.

python experiments/two_trees/run.py [--time]
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

import numpy as np  # noqa: E402
from common import paired, write_lines  # noqa: E402
from side_variables.run import load  # noqa: E402

from hjc.classifiers.neural import NeuralClassifier  # noqa: E402
from hjc.classifiers.two import Companion  # noqa: E402
from hjc.data import JobData  # noqa: E402
from hjc.metrics import score_batches  # noqa: E402
from hjc.taxonomy import Taxonomy, isco08  # noqa: E402

TINY = {"encoder": "tiny", "tiny_hidden": 128, "tiny_layers": 1, "tiny_vocabulary": 8000, "max_length": 16}
QUICK = {"epochs": 8, "batch_size": 64, "learning_rate": 1e-3, "head_learning_rate": 3e-3, "precision": "32",
         "threads": 1, "loggers": []}  # fmt: skip
METRICS = ("log_loss", "recall@1")


def as_isco(rows: JobData, tree: Taxonomy) -> JobData:
    """The same ads with ISCO-08 codes, the first four digits of theirs; ads without such a one are left out."""
    codes = [rows.taxonomy.codes[gold][:4] for gold in rows.gold.tolist()]
    known = np.array([code in tree for code in codes])
    kept = rows.take(known)
    gold = tree.encode([code for code, there in zip(codes, known, strict=True) if there])
    return replace(kept, taxonomy=tree, gold=gold, sets=None)


ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--time", action="store_true", help="only how long a pass takes, three times in turn")
    timed = parser.parse_args().time
    recipe, kzis = load("kzis ads", "title", near=not timed)
    kzis = {side: replace(rows, texts=tuple(map(str, rows.texts)), sets=None) for side, rows in kzis.items()}
    tree = isco08()
    isco = {side: as_isco(rows, tree) for side, rows in kzis.items()}
    print({side: (len(kzis[side]), len(isco[side])) for side in kzis}, flush=True)
    recipe = replace(recipe, side=())

    def make(taxonomy: Taxonomy) -> NeuralClassifier:
        model = NeuralClassifier(taxonomy, **TINY, **(QUICK | ({"epochs": 1} if timed else {})))
        model.recipe = recipe
        return model

    if timed:
        seconds: dict[str, list[float]] = {"KZiS": [], "ISCO-08": [], "both": []}
        for _ in range(ROUNDS):
            models = {"KZiS": make(kzis["train"].taxonomy), "ISCO-08": make(tree), "both": make(kzis["train"].taxonomy)}
            models["both"].companion = Companion(make(tree), isco["train"], None)
            for name, model in models.items():
                model.fit((isco if name == "ISCO-08" else kzis)["train"])
                seconds[name].append(model.fit_result.seconds)
        half = np.median(np.array(seconds["both"]) / (np.array(seconds["KZiS"]) + np.array(seconds["ISCO-08"])))
        print({name: [round(x, 1) for x in some] for name, some in seconds.items()}, f"both / each: {half:.2f}")
        return
    alone = {"KZiS": make(kzis["train"].taxonomy), "ISCO-08": make(tree)}
    alone["KZiS"].fit(kzis["train"], kzis["valid"])
    alone["ISCO-08"].fit(isco["train"], isco["valid"])
    both = {"KZiS": make(kzis["train"].taxonomy), "ISCO-08": make(tree)}
    both["KZiS"].companion = Companion(both["ISCO-08"], isco["train"], isco["valid"])
    both["KZiS"].fit(kzis["train"], kzis["valid"])
    seconds = [model.fit_result.seconds for model in (alone["KZiS"], alone["ISCO-08"], both["KZiS"])]
    print("seconds:", *(f"{x:.0f}" for x in seconds), flush=True)
    lines = []
    for name, rows in (("KZiS", kzis["test"]), ("ISCO-08", isco["test"])):
        scores = [score_batches(rows.taxonomy, m[name].iter_log_proba(rows.texts), rows.gold) for m in (alone, both)]
        for level in (1, 2, 4, *((5,) if name == "KZiS" else ())):
            for x in paired(scores, rows.taxonomy, level, METRICS):
                way = ("an encoder each", "one encoder, two heads")[int(x["model"])]
                lines.append({"tree": name, **x, "model": way})
                print(lines[-1], flush=True)
    write_lines("two_trees", lines)


if __name__ == "__main__":
    main()
