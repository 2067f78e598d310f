"""How many ads should be coded? The ready model with 0 to all coded ads on top, drawn at random and by ``hjc review``.

python experiments/learning_curve/run.py [--only kzis] [--size 300] [--order random]
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from ads_data import calibrated_on, federal, fitted, keep, polish_ads, polish_names
from common import data_folder

from hjc.arrays import Float64, IntArray
from hjc.classifiers.ads import AdsClassifier
from hjc.data import JobData
from hjc.data.splitting import VALID, identical_groups, merge_groups, near_duplicate_groups, split_rows
from hjc.decision import review_plan
from hjc.decision.selective import selective_table
from hjc.evaluation import evaluate_model
from hjc.metrics import Resamples
from hjc.taxonomy import isco08

SIZES = (0, 100, 300, 1000, 3000)
SEED = 1
#: test rows that are scored at most
MOST_TESTED = 3000
#: of the titles
LANGUAGES = ("de", "pl")
FIGURES = ("recall@1", "log_loss", "ece")
OUT = Path(__file__).resolve().parent / "results.csv"


def drawn(order: str, n: int, pool: JobData, uncertain: Float64 | None) -> tuple[IntArray, Float64]:
    """Positions of n rows of the pool, and the probability that each had of being drawn: at random, or as ``hjc review
    --strategy proportional`` draws by how unsure the ready model is."""
    if uncertain is None or order == "random" or n >= len(pool):
        return np.sort(np.random.default_rng(SEED).permutation(len(pool))[:n]), np.full(n, n / len(pool))
    plan = review_plan(np.clip(uncertain, 0, 1), n, "proportional", seed=SEED)
    return plan.rows, plan.inclusion_probability


def sides(coded: JobData, inclusion: Float64) -> tuple[JobData, JobData]:
    """What trains and what is held back, as ``hjc learn`` deals: a fifth, near-duplicates on one side, and of rows that
    were drawn with unlike probabilities a fifth that is like the pool."""
    groups = merge_groups(identical_groups(coded.texts), near_duplicate_groups(coded.texts, 0.9))
    side = split_rows(
        coded.taxonomy, coded.gold, groups=groups, test_fraction=0.0, valid_fraction=0.2, singletons="sample",
        seed=SEED, size=1 / inclusion,
    )  # fmt: skip
    coded = replace(coded, group=groups)
    return coded.take(side != VALID), coded.take(side == VALID)


def curve(study: str, names: JobData, pool: JobData, test: JobData, part: argparse.Namespace) -> Iterator[dict]:
    """A line for each size, order, level and figure; by title and body."""
    test = test.take(np.sort(np.random.default_rng(SEED).permutation(len(test))[:MOST_TESTED]))
    wanted = [min(n, len(pool)) for n in part.size or (*SIZES, len(pool))]
    uncertain: Float64 | None = None
    if 0 in wanted or "review" in part.order:
        ready = fitted(names, None, (), cross_fit=2)
        if "review" in part.order:
            found = [1 - np.exp(log_proba.max(axis=1)) for _, log_proba in ready.iter_log_proba(pool.texts)]
            uncertain = np.concatenate(found).astype(np.float64)
    if 0 in wanted:
        yield from figures(study, "none", 0, ready, test, calibrated=False)
    for n in (n for n in wanted if n):
        for order in part.order if n < len(pool) else ("random",):
            rows, inclusion = drawn(order, n, pool, uncertain)
            train, valid = sides(pool.take(rows), inclusion)
            own = {"cross_fit": 2, "cross_calibrate": order == "random"}
            model = fitted(JobData.concat([names, train]), valid, (), **own)
            calibrated_on(model, valid)
            yield from figures(study, order, n, model, test, calibrated=True)


def figures(study: str, order: str, n: int, model: AdsClassifier, test: JobData, calibrated: bool) -> Iterator[dict]:
    found = evaluate_model(
        model, test, bootstrap=300, decisions=False, slices=(), progress=False, calibrated=calibrated
    )
    automatic = selective_table(
        model.taxonomy, found.scores, (0.9,), resamples=Resamples.draw(len(found.scores), 300)
    ).set_index("level")
    for level in range(1, model.taxonomy.depth + 1):
        lines = found.frame[(found.frame["level"] == str(level)) & found.frame["metric"].isin(FIGURES)]
        own = {"study": study, "drawn": order, "coded": n, "level": level}
        for line in lines.to_dict("records"):
            yield own | {k: line[k] for k in ("metric", "value", "low", "high", "n")}
        share = automatic.loc[level]
        automated = {"metric": "automation@0.9", "value": share["automation@0.9"]}
        bounds = {side: share[f"automation@0.9_{side}"] for side in ("low", "high")}
        yield own | automated | bounds | {"n": len(found.scores)}
    wanted = found.frame["level"].eq(str(min(4, model.taxonomy.depth))) & found.frame["metric"].isin(FIGURES)
    shown = found.frame[wanted]
    print(study, order, n, dict(zip(shown["metric"], shown["value"].round(3), strict=True)), flush=True)


def kzis(part: argparse.Namespace) -> Iterator[dict]:
    names = polish_names()
    yield from curve("kzis ads", names, *polish_ads(names.taxonomy, 6), part)


def usajobs(part: argparse.Namespace) -> Iterator[dict]:
    yield from curve("usajobs", *federal(), part)


def titles(part: argparse.Namespace) -> Iterator[dict]:
    """ESCO's labels and the names of the groups in two languages; national titles of one certain group, half of them
    the pool. Titles that are a label of ESCO are left out, equal ones lie on one side."""
    folder, tree = data_folder(), isco08()
    names = pd.read_csv(folder / "isco08_titles_24_languages" / "train.csv.gz", dtype=str)
    names = names[names["lang"].isin(LANGUAGES)].sample(frac=1, random_state=SEED).groupby(["code", "lang"]).head(30)
    ready = JobData.from_lists(tree, names["text"].tolist(), names["code"].tolist(), sources=["names"] * len(names))
    coded = pd.read_csv(folder / "national_titles_isco08" / "titles.csv.gz", dtype=str)
    sure = (coded["isco_depth"] == "4") & (coded["title_in_esco"] == "0") & coded["lang"].isin(LANGUAGES)
    coded = coded[sure]
    groups = identical_groups(coded["title"].tolist())
    data = JobData.from_lists(tree, coded["title"].tolist(), coded["isco08"].tolist(), groups=groups)
    side = np.random.default_rng(SEED).random(int(groups.max()) + 1)[groups] < 0.5
    yield from curve("titles", ready, data.take(side), data.take(~side), part)


STUDIES: dict[str, Callable[[argparse.Namespace], Iterator[dict]]] = {
    "kzis": kzis,
    "usajobs": usajobs,
    "titles": titles,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", choices=list(STUDIES))
    parser.add_argument("--size", action="append", type=int, help="coded ads; default: all sizes and the whole pool")
    parser.add_argument("--order", action="append", choices=["random", "review"])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    args.order = args.order or ["random", "review"]
    for key in args.only or list(STUDIES):
        for line in STUDIES[key](args):
            keep(args.out, line, ["study", "drawn", "coded", "level", "metric"])
