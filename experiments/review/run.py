"""Which rows should clerks code? Errors found, what is learnt from them, and how precisely accuracy is estimated.

python experiments/review/run.py [--only SET] [--model RUN_DIR]

Linear models; with --model (a neural model trained on the bundled sample) errors found by BALD as well. Writes
results.csv.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import numpy as np
import pandas as pd
from common import ROOT, data_folder

import hjc
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.classifiers.vectors import dense
from hjc.data import JobData, load_sample
from hjc.data.reading import read_job_data
from hjc.data.settings import DataSettings
from hjc.decision.review import bald, entropy, k_center, kmeans_plus_plus, margin, review_plan
from hjc.index import normalise
from hjc.taxonomy import load_taxonomy

PICKS = ("random", "stratified", "uncertain", "margin", "entropy", "diverse", "k_center")
SAMPLES = ("random", "stratified", "proportional")
START, STEP, ROUNDS, POOL, TEST, SEEDS = 300, 300, 3, 6000, 1500, 3
CHECKED, DRAWS = 200, 400

Line = dict[str, object]


def usajobs() -> JobData:
    """US federal vacancies coded to the OPM series; titles only, for speed."""
    folder = data_folder() / "usajobs_opm"
    settings = DataSettings(text_columns=["title"], code_column="code")
    tree = load_taxonomy(folder / "opm_hierarchy.csv")
    return read_job_data(folder / "questionnaires.csv.gz", tree, settings)[0].labelled()


def kzis_ads() -> JobData:
    """Titles of Polish ads coded to KZiS, cut to four digits."""
    settings = DataSettings(text_columns=["title"], code_column="code")
    tree = load_taxonomy(data_folder() / "kzis" / "kzis_hierarchy_2023.csv")
    return read_job_data(data_folder() / "kzis_ads_pl" / "ads.csv.gz", tree, settings)[0].labelled().truncate(4)


def fit(data: JobData) -> LinearClassifier:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows coded to inner nodes
        # codes without training rows had a fixed floor when this was run; see experiments/unseen_codes
        return LinearClassifier(data.taxonomy, LinearSettings(min_df=1, unseen="floor")).fit(data)


def right(model: LinearClassifier, data: JobData) -> tuple[np.ndarray, np.ndarray]:
    """(n, L) log-probabilities and (n,) whether the most probable leaf is the gold one."""
    x = model.predict_log_proba(data.texts)
    return x, data.taxonomy.leaves[x.argmax(axis=1)] == data.gold


def pick(strategy: str, model: LinearClassifier, data: JobData, n: int, seed: int) -> np.ndarray:
    x = model.predict_log_proba(data.texts)
    u = np.clip(1 - np.exp(x.max(axis=1).astype(float)), 0, 1)
    if strategy in ("random", "stratified", "uncertain"):
        return review_plan(u, n, strategy, seed=seed).rows
    if strategy in ("margin", "entropy"):
        return np.argsort(
            -{"margin": margin, "entropy": entropy}[strategy](np.exp(x, dtype=np.float64)), kind="stable"
        )[:n]
    vectors = normalise(dense(model.text_vectors(data.texts)))
    return k_center(vectors, n) if strategy == "k_center" else kmeans_plus_plus(vectors, n, weights=u, seed=seed)


def learning(name: str, data: JobData) -> Iterator[Line]:
    """recall@1 of the leaf on rows that are never picked, after each round of labels."""
    leaves = data.take(data.taxonomy.is_leaf[data.gold])
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(leaves))[: POOL + TEST]
        test, pool = leaves.take(order[:TEST]), leaves.take(order[TEST:])
        for strategy in PICKS:
            labelled = np.arange(START)
            for step in range(ROUNDS + 1):
                model = fit(pool.take(labelled))
                x, correct = right(model, test)
                first = test.taxonomy.aggregate(x, 1).argmax(axis=1) == test.taxonomy.level_column[test.gold, 0]
                codes = len(set(pool.gold[labelled].tolist()))
                yield {"part": "learning", "set": name, "strategy": strategy, "seed": seed, "rows": len(labelled),
                       "recall@1": correct.mean(), "recall@1_level_1": first.mean(), "codes_seen": codes}  # fmt: skip
                if step < ROUNDS:
                    rest = np.setdiff1d(np.arange(len(pool)), labelled)
                    labelled = np.r_[labelled, rest[pick(strategy, model, pool.take(rest), STEP, seed)]]


def auditing(name: str, data: JobData) -> Iterator[Line]:
    """Errors among the rows checked, and the spread of the estimated share of errors over many draws."""
    leaves = data.take(data.taxonomy.is_leaf[data.gold])
    order = np.random.default_rng(0).permutation(len(leaves))[: POOL + TEST]
    model, pool = fit(leaves.take(order[:TEST])), leaves.take(order[TEST:])
    x, correct = right(model, pool)
    u, wrong = np.clip(1 - np.exp(x.max(axis=1).astype(float)), 0, 1), ~correct
    for strategy in PICKS:
        found = wrong[pick(strategy, model, pool, CHECKED, 0)].mean()
        yield {"part": "errors found", "set": name, "strategy": strategy, "rows": CHECKED, "wrong": found,
               "wrong_everywhere": wrong.mean()}  # fmt: skip
    for strategy in SAMPLES:
        estimates = []
        for seed in range(DRAWS):
            plan = review_plan(u, CHECKED, strategy, seed=seed)
            estimates.append((wrong[plan.rows] / plan.inclusion_probability).sum() / len(wrong))
        off = np.array(estimates) - wrong.mean()
        yield {"part": "estimate", "set": name, "strategy": strategy, "rows": CHECKED, "bias": off.mean(),
               "rmse": np.sqrt((off**2).mean()), "wrong_everywhere": wrong.mean()}  # fmt: skip


def neural(directory: str) -> Iterator[Line]:
    """Errors found in the sample's test titles by a neural model, with BALD."""
    model = hjc.load(directory)
    tests = load_sample(model.taxonomy).tests["titles"]
    data = tests.take(np.sort(np.random.default_rng(0).permutation(len(tests))[:800]))
    x, correct = right(model, data)
    bald_score = np.zeros(len(data))
    for rows, passes in model.iter_dropout_log_proba(data.texts, 8):
        bald_score[rows] = bald(np.exp(passes, dtype=np.float64))
    vectors, u = normalise(model.vectors(data.texts)), np.clip(1 - np.exp(x.max(axis=1).astype(float)), 0, 1)
    n, p = CHECKED // 2, np.exp(x, dtype=np.float64)
    chosen = {
        "random": review_plan(u, n, "random").rows,
        "uncertain": review_plan(u, n, "uncertain").rows,
        "margin": np.argsort(-margin(p))[:n],
        "entropy": np.argsort(-entropy(p))[:n],
        "bald": np.argsort(-bald_score)[:n],
        "diverse": kmeans_plus_plus(vectors, n, weights=u),
        "k_center": k_center(vectors, n),
    }
    for strategy, rows in chosen.items():
        yield {"part": "errors found", "set": "sample titles, e5", "strategy": strategy, "rows": n,
               "wrong": (~correct)[rows].mean(), "wrong_everywhere": (~correct).mean()}  # fmt: skip


SETS: dict[str, Callable[[], JobData]] = {"usajobs": usajobs, "kzis_ads": kzis_ads}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=list(SETS), action="append", help="these sets only (repeatable)")
    parser.add_argument("--model", help="run directory of a neural model trained on the bundled sample: that set only")
    args = parser.parse_args()
    lines: list[Line] = list(neural(args.model)) if args.model else []
    for name in [] if args.model else args.only or list(SETS):
        data = SETS[name]()
        print(name, repr(data), flush=True)
        lines += [*auditing(name, data), *learning(name, data)]
    new = pd.DataFrame(lines)
    path = ROOT / "experiments" / "review" / "results.csv"
    if path.exists():  # lines of other sets stay
        old = pd.read_csv(path)
        new = pd.concat([old[~old["set"].isin(new["set"])], new])
    new.to_csv(path, index=False, float_format="%.4f", lineterminator="\n")


if __name__ == "__main__":
    main()
