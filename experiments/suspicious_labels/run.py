"""How good is the review list of `hjc data suspicious`? Known wrong codes are planted in real ads and looked for.

python experiments/suspicious_labels/run.py [--only NAME]

For each data set: the labels as they are; 5 % of them replaced by any other code (`far`); 5 % replaced by a code of the
same parent (`near`, the mistake that coders make). A row of results.csv a run; runs that are there are not made again.
"""

import argparse
import csv
import sys
import time
from pathlib import Path
from typing import Any

from hjc.arrays import IntArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import numpy as np
import numpy.typing as npt
import pandas as pd
from common import data_folder

from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.corpus.prepare import find_groups
from hjc.corpus.suspicious import OutOfFold, find_suspicious, out_of_fold
from hjc.data import JobData
from hjc.taxonomy import Taxonomy, load_taxonomy

FOLDER = data_folder()
RESULTS = Path(__file__).resolve().parent / "results.csv"
#: words only: a fifth of the time of the default, and a point or two less accurate
#: (and the floor that codes without training rows had when this was run; see experiments/unseen_codes)
SETTINGS = LinearSettings(features="word", max_chars=3000, unseen="floor")
SHARE = 0.05
DATA = {
    "kzis_ads": ("kzis_ads_pl/ads.csv.gz", "kzis/kzis_hierarchy_2023.csv", 4),
    "usajobs": ("usajobs_opm/questionnaires.csv.gz", "usajobs_opm/opm_hierarchy.csv", 3),
}
NOISE = ("none", "far", "near")


def load(name: str) -> tuple[JobData, npt.NDArray[np.str_], int]:
    """The ads with their codes cut to the level, the codes, and the level."""
    file, hierarchy, level = DATA[name]
    ads = pd.read_csv(FOLDER / file, dtype=str, keep_default_na=False)
    tree = load_taxonomy(FOLDER / hierarchy).truncate(level)
    codes = ads["code"].str[:level].to_numpy(dtype=str) if name == "kzis_ads" else ads["code"].to_numpy(dtype=str)
    texts = (ads["title"] + "\n" + ads["description"]).tolist()
    groups = find_groups(texts).group
    return JobData.from_lists(tree, texts, codes.tolist(), groups=groups), codes, level


def plant(
    tree: Taxonomy, codes: npt.NDArray[np.str_], kind: str, seed: int = 1
) -> tuple[npt.NDArray[np.str_], IntArray]:
    """Codes of which 5 % are wrong, and the rows that are. Wrong codes are among those that occur five times."""
    rng = np.random.default_rng(seed)
    if kind == "none":
        return codes, np.empty(0, np.int64)
    names, count = np.unique(codes, return_counts=True)
    common = names[count >= 5]
    parent = {code: int(tree.parents[tree.index_of[code]]) for code in common}
    rows, new = [], codes.copy()
    for row in rng.permutation(len(codes)):
        if codes[row] not in parent:  # a rare code cannot be told wrong: the list says so itself
            continue
        pool = [c for c in common if c != codes[row] and (kind == "far" or parent[c] == parent[codes[row]])]
        if pool:
            new[row] = rng.choice(pool)
            rows.append(int(row))
        if len(rows) == round(SHARE * len(codes)):
            break
    return new, np.array(sorted(rows))


def conflicting(data: JobData) -> npt.NDArray[np.bool_]:
    """Rows whose label differs from that of most rows of their group of near-duplicates."""
    frame = pd.DataFrame({"group": data.group, "code": data.gold})
    votes = frame.groupby(["group", "code"]).size().rename("n").reset_index().sort_values(["group", "n"])
    best, total = votes.groupby("group").last(), votes.groupby("group")["n"].sum()
    major = best["code"][best["n"] > total / 2]
    return (frame["group"].isin(major.index) & (frame["group"].map(major) != frame["code"])).to_numpy()


def precision_at(order: IntArray, wrong: set[int], k: int) -> float:
    return len(wrong.intersection(order[:k].tolist())) / max(1, min(k, len(order)))


def run(name: str, kind: str) -> dict[str, Any]:
    """One row of results.csv."""
    data, codes, level = load(name)
    given, planted = plant(data.taxonomy, codes, kind)
    data = JobData.from_lists(data.taxonomy, data.texts, given.tolist(), groups=data.group)
    started = time.process_time()
    scores: OutOfFold = out_of_fold(
        data,
        lambda train: LinearClassifier(train.taxonomy, SETTINGS).fit(train).iter_log_proba,
        progress=lambda done, _: print(name, kind, "fold", done, flush=True),
    )
    seconds = time.process_time() - started
    found = find_suspicious(data, scores)
    listed, own = found.rows["row"].to_numpy(), scores.rows[np.argsort(scores.own, kind="stable")]
    known = np.intersect1d(planted, scores.rows)  # those that could be judged
    wrong, clash = set(known.tolist()), np.flatnonzero(conflicting(data))
    out: dict[str, Any] = {
        "data": name, "noise": kind, "level": level, "rows": len(data), "codes": len(np.unique(given)),
        "scored": len(scores.rows), "right out of fold": round(float((scores.top[:, 0] == scores.column).mean()), 4),
        "listed": len(listed), "planted": len(planted), "planted and scored": len(known), "cpu_seconds": round(seconds),
    }  # fmt: skip
    if kind == "none":
        judged = np.intersect1d(clash, scores.rows)
        rest = np.setdiff1d(scores.rows, judged)
        out |= {
            "outvoted in their group": len(judged), "listed of these": round(float(np.isin(judged, listed).mean()), 3),
            "listed of the others": round(float(np.isin(rest, listed).mean()), 3),
        }  # fmt: skip
    else:
        hits = found.rows[found.rows["row"].isin(known)]
        right = [row.suggested == codes[row.row] for row in hits.itertuples()]
        k = len(known)
        out |= {
            "recall": round(len(hits) / k, 3), "precision": round(len(hits) / len(listed), 3),
            "precision of the first k": round(precision_at(listed, wrong, k), 3),
            "least probable label: precision of the first k": round(precision_at(own, wrong, k), 3),
            "least probable label: recall at the list's length": round(
                len(wrong.intersection(own[: len(listed)].tolist())) / k, 3),
            "suggestion is the true code": round(float(np.mean(right)), 3),
        }  # fmt: skip
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", choices=[f"{d}/{n}" for d in DATA for n in NOISE])
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if RESULTS.exists():
        rows = pd.read_csv(RESULTS, dtype=str, keep_default_na=False).to_dict("records")
    for name in DATA:
        for kind in NOISE:
            done = any((row["data"], row["noise"]) == (name, kind) for row in rows)
            if done or (args.only and f"{name}/{kind}" not in args.only):
                continue
            rows.append(run(name, kind))
            print(rows[-1], flush=True)
            fields = list(dict.fromkeys(key for row in rows for key in row))
            with RESULTS.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, fields, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


if __name__ == "__main__":
    main()
