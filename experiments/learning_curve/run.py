"""How many ads should be coded? The ready model with 0 to all coded ads on top, drawn at random and by ``hjc review``.

python experiments/learning_curve/run.py [--only kzis] [--size 300] [--order random]
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from ads_data import calibrated_on, federal, fitted, keep, polish_ads, polish_names

from hjc.arrays import IntArray
from hjc.classifiers.ads import AdsClassifier
from hjc.data import JobData
from hjc.decision import review_plan
from hjc.decision.selective import selective_table
from hjc.evaluation import evaluate_model
from hjc.metrics import Resamples

SIZES = (0, 100, 300, 1000, 3000)
SEED = 1
#: test rows that are scored at most
MOST_TESTED = 3000
FIGURES = ("recall@1", "log_loss", "ece")
OUT = Path(__file__).resolve().parent / "results.csv"


def drawn(order: str, n: int, pool: JobData, ready: AdsClassifier | None) -> IntArray:
    """Positions of n rows of the pool: at random, or as ``hjc review --strategy proportional`` picks by the model."""
    if ready is None or order == "random" or n >= len(pool):
        return np.random.default_rng(SEED).permutation(len(pool))[:n]
    uncertain = np.concatenate([1 - np.exp(found.max(axis=1)) for _, found in ready.iter_log_proba(pool.texts)])
    rows = review_plan(np.clip(uncertain, 0, 1), n, "proportional", seed=SEED).rows
    return np.random.default_rng(SEED).permutation(rows)


def curve(study: str, names: JobData, pool: JobData, test: JobData, part: argparse.Namespace) -> Iterator[dict]:
    """A line for each size, order, level and figure; by title and body."""
    keep = np.sort(np.random.default_rng(SEED).permutation(len(test))[:MOST_TESTED])
    test = test.take(keep)
    wanted = [min(n, len(pool)) for n in part.size or (*SIZES, len(pool))]
    ready: AdsClassifier | None = None
    if 0 in wanted or "review" in part.order:
        ready = fitted(names, None, (), cross_fit=2)
    if 0 in wanted:
        assert ready is not None
        yield from figures(study, "none", 0, ready, test, calibrated=False)
    for n in (n for n in wanted if n):
        for order in part.order if n < len(pool) else ("random",):
            rows = drawn(order, n, pool, ready)
            held = max(20, n // 5)
            valid, train = pool.take(np.sort(rows[:held])), pool.take(np.sort(rows[held:]))
            model = fitted(JobData.concat([names, train]), valid, (), cross_fit=2)
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


STUDIES: dict[str, Callable[[argparse.Namespace], Iterator[dict]]] = {"kzis": kzis, "usajobs": usajobs}

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
