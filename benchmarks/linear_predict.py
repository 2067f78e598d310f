"""Leaf probabilities of a napkinXC model: its own predict_proba(top_k=all leaves) against hjc's batched product.

    python benchmarks/linear_predict.py [--rows 256] [--repeats 3] [--out experiments/linear_speed/results.csv]

Both sides have the same fitted model, the same feature rows and one thread; they alternate, and medians are compared,
so that a busy machine slows both alike. napkinXC returns lists of (label, probability) and is not charged for turning
them into an array. The tree is KZiS (2,911 leaves), fitted on its official descriptions and thesaurus titles, from the
real-data folder HJC_DATA; without it, ISCO-08 fitted on the bundled sample.
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
from napkinxc.models import HSM, OVR, PLT
from rich.console import Console
from rich.table import Table

from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.data.jobdata import JobData
from hjc.data.sample import load_sample
from hjc.taxonomy import from_edges

KZIS = Path(os.environ.get("HJC_DATA", "../shared/data")) / "kzis"
OWN = {"topdown": HSM, "plt": PLT, "bottomup": OVR}
CHUNK = 512


def read_rows() -> JobData:
    if not KZIS.is_dir():
        return load_sample().train
    tree = pd.read_csv(KZIS / "kzis_hierarchy_2023.csv", dtype=str, keep_default_na=False)
    texts = pd.read_csv(KZIS / "kzis_occupation_descriptions_2024.csv.gz", dtype=str, keep_default_na=False)
    titles = pd.read_csv(KZIS / "kzis_gus_thesaurus_titles.csv.gz", dtype=str, keep_default_na=False)
    return JobData.from_lists(
        from_edges(tree.code.tolist(), tree.parent.tolist(), name="kzis"),
        [*(texts.name + "\n" + texts.synthesis + " " + texts.tasks), *titles.title],
        [*texts.code, *titles.code],
    )


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(data: JobData, hierarchy: str, features: str, rows: int, repeats: int) -> dict[str, object]:
    # napkinXC knows neither such a scale nor what codes without training rows get
    settings = LinearSettings(hierarchy=hierarchy, features=features, score_scale=1.0, floor=0.0, unseen="floor")
    model = LinearClassifier(data.taxonomy, settings).fit(data)
    texts = [data.texts[i] for i in np.random.default_rng(0).choice(len(data), rows, replace=False).tolist()]
    assert model.features is not None
    x, tree = model.features.transform(texts), data.taxonomy
    weights = sum(np.count_nonzero(model.node_weights(node)[0]) for node in range(len(tree)))
    with tempfile.TemporaryDirectory(prefix="hjc-linear-") as folder:  # napkinXC loads what the model directory holds
        model.save_pretrained(Path(folder))
        tree_option = {} if hierarchy == "bottomup" else {"tree_structure": None}
        own = OWN[hierarchy](str(Path(folder) / "napkinxc"), threads=1, **tree_option)
        own.load()
    plain, ours, whole = [], [], []
    for _ in range(repeats):
        plain.append(seconds(lambda: own.predict_proba(x, top_k=tree.num_leaves)))
        ours.append(seconds(lambda: [model.rows_log_proba(x[i : i + CHUNK]) for i in range(0, rows, CHUNK)]))
        whole.append(seconds(lambda: model.predict_log_proba(texts)))
    difference = 0.0
    exact = np.exp(model.rows_log_proba(x).astype(np.float64))
    for i, pairs in enumerate(own.predict_proba(x, top_k=tree.num_leaves)):
        if x.indptr[i] == x.indptr[i + 1]:
            continue  # a text without any known n-gram gets the training prior, not what the estimators say of nothing
        total = sum(p for _, p in pairs)  # its rows do not sum to 1
        difference = max(difference, *(abs(exact[i, label] - p / total) for label, p in pairs if p > 0))
    speed = {name: rows / statistics.median(t) for name, t in (("plain", plain), ("ours", ours), ("text", whole))}
    return {
        "tree": tree.name,
        "leaves": tree.num_leaves,
        "hierarchy": hierarchy,
        "features": features,
        "columns": x.shape[1],
        "weights": weights,
        "training_rows": len(data),
        "rows": rows,
        "napkinxc_rows_per_second": round(speed["plain"], 1),
        "hjc_rows_per_second": round(speed["ours"], 1),
        "ratio": round(speed["ours"] / speed["plain"], 1),
        "hjc_from_text_rows_per_second": round(speed["text"], 1),
        "largest_difference": f"{difference:.1e}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hierarchies", nargs="+", default=["topdown", "plt"], choices=sorted(OWN))
    parser.add_argument("--features", nargs="+", default=["word", "both"])
    parser.add_argument("--out", type=Path, default=Path("experiments/linear_speed/results.csv"))
    arguments = parser.parse_args()
    data = read_rows()
    results = [
        measure(data, hierarchy, features, arguments.rows, arguments.repeats)
        for hierarchy in arguments.hierarchies
        for features in arguments.features
    ]
    table = Table("tree", "features", "napkinXC rows/s", "hjc rows/s", "ratio", "from text", "largest difference")
    for r in results:
        name = f"{r['hierarchy']}, {r['leaves']} leaves"
        keys = ("features", "napkinxc_rows_per_second", "hjc_rows_per_second", "ratio", "hjc_from_text_rows_per_second")
        table.add_row(name, *(str(r[k]) for k in keys), str(r["largest_difference"]))
    Console().print(table)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(results[0]))
        writer.writeheader()
        writer.writerows(results)


if __name__ == "__main__":
    main()
