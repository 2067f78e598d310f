"""hjc's linear top-down model and its peers, fitted and scored in one process on the same rows.

python experiments/peers/run.py [--only usajobs|titles] [--model NAME] [--quick]

Needs the extra ``peers``. One thread; all times are CPU seconds of the process, because other work on the machine
changes wall time and not these. Predictions are timed three times, and the fastest counts.
"""

import argparse
import csv
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

import numpy as np  # noqa: E402
from common import data_folder, vacancies  # noqa: E402
from peers.adapters import (  # noqa: E402
    FastText,
    FlatLogistic,
    HiClass,
    HiClassOwn,
    HiClassPath,
    HierarchicalSoftmax,
)

from hjc.classifiers.base import Classifier  # noqa: E402
from hjc.classifiers.linear import LinearClassifier  # noqa: E402
from hjc.classifiers.linear_settings import LinearSettings  # noqa: E402
from hjc.data import DataSettings, load_job_data  # noqa: E402
from hjc.data.jobdata import JobData  # noqa: E402
from hjc.data.splitting import split_rows  # noqa: E402
from hjc.metrics import Resamples, RowScores, level_metrics, score_rows  # noqa: E402
from hjc.metrics.bootstrap import percentile_interval, replicate_metrics  # noqa: E402
from hjc.taxonomy import Taxonomy, load_taxonomy  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results.csv"
REFERENCE = "hjc topdown, same features"
#: rows to train on and to test on, so that no peer takes more than minutes on one thread (vacancies are long)
SIZES = {"titles": (4_000, 2_000), "usajobs": (1_500, 1_000)}
#: penalties that hiclass may choose from
PENALTIES = (10.0, 30.0, 100.0)
Make = Callable[[], Classifier]
# codes without training rows have a fixed floor here, because every peer gets the same one (adapters.py)
SHORT = LinearSettings(features="both", max_features=5_000, lead_weight=0, unseen="floor")
LONG = LinearSettings(features="word", max_features=10_000, lead_weight=0, unseen="floor")


def usajobs() -> tuple[JobData, JobData]:
    """Titles with texts; rows of one title, or of one text, are on one side of the split, as in experiments/usajobs."""
    data, groups = vacancies()
    side = split_rows(data.taxonomy, data.gold, groups=groups, test_fraction=0.3, valid_fraction=0.0, seed=1)
    train, test = np.flatnonzero(side == 0), np.flatnonzero(side == 2)
    sizes = SIZES["usajobs"]
    return _some(data.take(train), sizes[0]), _some(data.take(test), sizes[1])


def titles() -> tuple[JobData, JobData]:
    """English and German titles of ISCO-08; the test is held-out ESCO labels, national and example titles."""
    folder = data_folder() / "isco08_titles_24_languages"
    tree = load_taxonomy(str(folder / "hierarchy.csv"))
    names = [str(folder / f"{x}.csv.gz") for x in ("train", "validation", "test")]
    settings = DataSettings(train=names[:1], valid=names[1:2], test=names[2:], language_column="lang")
    splits = load_job_data(_with(settings, languages=["en", "de"], text_columns=["text"]), tree)
    held = JobData.concat([splits.valid, splits.tests["test"]])
    sizes = SIZES["titles"]
    return _some(splits.train.labelled(), sizes[0]), _some(held.labelled(), sizes[1])


def _with(settings: DataSettings, **changes: object) -> DataSettings:
    for key, value in changes.items():
        setattr(settings, key, value)
    return settings


def _some(data: JobData, rows: int) -> JobData:
    chosen = np.random.default_rng(1).permutation(len(data))[:rows]
    return data.take(np.sort(chosen))


def models(tree: Taxonomy, settings: LinearSettings, options: dict[str, float], penalty: float) -> dict[str, Make]:
    """Name -> constructor. ``options``: fastText's, ``penalty``: C of the regressions, as chosen."""
    tuned = replace(settings, C=penalty)
    return {
        REFERENCE: lambda: LinearClassifier(tree, settings),
        "hjc topdown, as shipped": lambda: LinearClassifier(tree, LinearSettings()),
        "fastText softmax": lambda: FastText(tree, settings, loss="softmax", **options),
        "fastText hs": lambda: FastText(tree, settings, loss="hs", **options),
        "hiclass": lambda: HiClass(tree, tuned),
        "scikit-learn flat": lambda: FlatLogistic(tree, tuned),
        "hierarchicalsoftmax": lambda: HierarchicalSoftmax(tree, settings),
    }


def _held_out(train: JobData) -> tuple[JobData, JobData]:
    """A fifth of the training rows to choose a peer's settings on; the test is never used for it."""
    held = np.random.default_rng(2).random(len(train)) < 0.2
    return train.take(np.flatnonzero(~held)), train.take(np.flatnonzero(held))


def choose_fasttext(train: JobData, short: bool) -> dict[str, float]:
    """fastText's learning rate and epochs with the best recall@1 on held-out training rows."""
    grams = {"minn": 2, "maxn": 5} if short else {"wordNgrams": 2}
    fit, check = _held_out(train)
    found = []
    for lr, epoch in ((0.5, 25), (1.0, 25), (1.0, 100)):
        options = {"lr": lr, "epoch": epoch, **grams}
        model = FastText(train.taxonomy, SHORT, loss="softmax", **options).fit(fit)
        best = model.predict_log_proba(check.texts).argmax(axis=1)
        found.append((float((train.taxonomy.leaves[best] == check.gold).mean()), options))
        print(f"  fastText {options}: recall@1 {found[-1][0]:.3f} on held-out training rows", flush=True)
    return max(found, key=lambda pair: pair[0])[1]


def choose_penalty(train: JobData, settings: LinearSettings) -> float:
    """hiclass's C with the best log-loss on held-out training rows. hjc keeps its default."""
    fit, check = _held_out(train)
    tree, found = train.taxonomy, []
    for penalty in PENALTIES:
        model = HiClass(tree, replace(settings, C=penalty)).fit(fit)
        scores = score_rows(tree, model.predict_log_proba(check.texts), check.gold)
        found.append((level_metrics(scores, tree, tree.depth)["log_loss"], penalty))
        print(f"  hiclass C {penalty:g}: log-loss {found[-1][0]:.3f} on held-out training rows", flush=True)
    return min(found)[1]


def study(name: str, train: JobData, test: JobData, wanted: list[str]) -> Iterator[dict[str, object]]:
    """Fit, predict and score one model after the other; rows come as they are known, hjc's own first."""
    short = name == "titles"
    settings = SHORT if short else LONG
    print(f"== {name}: {len(train):,} rows to train on, {len(test):,} to test on", flush=True)
    options = choose_fasttext(train, short) if not wanted or "fastText" in " ".join(wanted) else {}
    regressions = {"hiclass", "scikit-learn flat"}
    penalty = choose_penalty(train, settings) if not wanted or regressions & set(wanted) else settings.C
    reference: Measured | None = None
    for key, make in models(train.taxonomy, settings, options, penalty).items():
        if wanted and key not in wanted and key != REFERENCE:
            continue
        started = time.process_time()
        model = make().fit(train)
        fit_seconds = time.process_time() - started
        asked: list[tuple[str, type[HiClass] | None]] = [(key, None)]
        if isinstance(model, HiClass):  # the same fit, asked in other ways
            asked += [(other.name, other) for other in (HiClassPath, HiClassOwn)]
        for label, kind in asked:
            if kind is not None:
                model.__class__ = kind
            found = measure(model, test, fit_seconds)
            reference = reference or found
            print(f"  {label}: fit {found.fit:.1f} s, predict {found.predict:.2f} s", flush=True)
            chosen = {"C": f"{settings.C if key == REFERENCE else penalty:g}"} if _same_features(model) else {}
            for level in range(1, test.taxonomy.depth + 1):
                row = {"data": name, "model": label, "level": level, "train": len(train), "test": len(test), **chosen}
                yield row | found.row(level, reference)


@dataclass
class Measured:
    """One fitted model on the test rows: scores, CPU seconds, and its metrics in common resamples by level."""

    taxonomy: Taxonomy
    scores: RowScores
    fit: float
    predict: float
    features: float
    probabilities: bool
    drawn: list[dict[str, Any]]

    def row(self, level: int, reference: "Measured") -> dict[str, object]:
        """The figures of a level with 95 % intervals, and hjc's advantage over it in the same resamples (paired)."""
        mine, theirs = (level_metrics(x.scores, x.taxonomy, level) for x in (self, reference))
        out: dict[str, object] = {}
        for metric in ("recall@1", "recall@5", "log_loss", "ece_plain"):
            if not self.probabilities and metric != "recall@1":
                continue  # one code a row: neither ranks nor probabilities
            out[metric] = f"{mine[metric]:.4f}"
            if metric not in ("recall@1", "log_loss"):
                continue
            drawn, other = self.drawn[level - 1][metric], reference.drawn[level - 1][metric]
            out |= _interval(metric, drawn, mine[metric])
            if self is not reference:
                gap = theirs[metric] - mine[metric]
                out[f"hjc_minus_{metric}"] = f"{gap:.4f}"
                out |= _interval(f"hjc_minus_{metric}", other - drawn, gap)
        return (
            out
            | {
                "fit_cpu_seconds": f"{self.fit:.1f}",
                "predict_rows_per_cpu_second": f"{len(self.scores) / self.predict:.0f}",
                "fit_ratio_to_hjc": f"{self.fit / reference.fit:.2f}",
                "predict_ratio_to_hjc": f"{self.predict / reference.predict:.2f}",
            }
            | self._without_features(reference)
        )

    def _without_features(self, reference: "Measured") -> dict[str, object]:
        """The same ratio without the time of the text features, where both have the same ones."""
        if not self.features:
            return {}
        own, other = self.predict - self.features, reference.predict - reference.features
        return {"predict_ratio_to_hjc_without_features": f"{own / other:.2f}"}


def _interval(name: str, drawn: Any, point: float) -> dict[str, object]:
    low, high = percentile_interval(drawn, point)
    return {f"{name}_low": f"{low:.4f}", f"{name}_high": f"{high:.4f}"}


def _same_features(model: Classifier) -> bool:
    """Whether the model was given the tf-idf rows of the study, so that the regressions' C means something."""
    return isinstance(model, (HiClass, FlatLogistic)) or (
        isinstance(model, LinearClassifier) and model.settings.lead_weight == 0
    )


def measure(model: Classifier, test: JobData, fit_seconds: float) -> Measured:
    """Predict (CPU seconds of the classifier alone, text features included) and score with hjc's metrics."""
    seconds, log_proba = _fastest(lambda: model.predict_log_proba(test.texts))
    features = getattr(model, "features", None)
    of_features = 0.0
    if features is not None and features.settings.lead_weight == 0:
        of_features = _fastest(lambda: [features.transform(test.texts[i : i + 512]) for i in range(0, len(test), 512)])[
            0
        ]
    scores = score_rows(test.taxonomy, log_proba, test.gold)
    resamples = Resamples.draw(len(test), 1000, 0, test.group)
    drawn = [replicate_metrics(scores, test.taxonomy, x, resamples) for x in range(1, test.taxonomy.depth + 1)]
    probabilities = getattr(model, "has_probabilities", True)
    return Measured(test.taxonomy, scores, fit_seconds, seconds, of_features, probabilities, drawn)


def _fastest(function: Callable[[], Any]) -> tuple[float, Any]:
    """The shortest CPU time of three calls, and the result."""
    times = []
    for _ in range(3):
        started = time.process_time()
        result = function()
        times.append(time.process_time() - started)
    return min(times), result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=list(SIZES), help="run one data set; results.csv keeps the other's rows")
    parser.add_argument(
        "--model", action="append", default=[], help="only these, beside hjc itself (repeatable); writes nothing"
    )
    parser.add_argument("--quick", action="store_true", help="800 training and 400 test rows; writes nothing")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*lbfgs failed to converge.*")
    rows: list[dict[str, object]] = []
    partial = bool(args.quick or args.model)
    if args.only and RESULTS.exists():  # the other data set keeps its rows
        with RESULTS.open(newline="", encoding="utf-8") as stream:
            rows += [row for row in csv.DictReader(stream) if row["data"] != args.only]
    for name, load in (("titles", titles), ("usajobs", usajobs)):
        if args.only not in (None, name):
            continue
        train, test = load()
        if args.quick:
            train, test = _some(train, 800), _some(test, 400)
        for row in study(name, train, test, args.model):
            rows.append(row)
            if partial:
                print({k: v for k, v in row.items() if "low" not in k and "high" not in k})
            else:
                _write(rows)


def _write(rows: list[dict[str, object]]) -> None:
    names = list(dict.fromkeys(k for row in rows for k in row))
    with RESULTS.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
