"""Does the hierarchy help? One fit for each set, size, draw and system; what is there is not run again.

python experiments/does_the_hierarchy_help/run.py [--set NAME ...] [--size ROWS ...] [--part linear|encoder]
python experiments/does_the_hierarchy_help/collect.py      # results.csv, differences.csv from what is there
"""

import argparse
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from sets import MAX_CHARS, OUT, SETS, Rows, drawn, load

from hjc.arrays import Float64, FloatArray
from hjc.calibration import Calibrator, fit_calibrator
from hjc.calibration.conditionals import log_softmax, segment_logsumexp, sum_paths
from hjc.classifiers.base import Classifier
from hjc.classifiers.linear import LinearClassifier
from hjc.classifiers.linear_settings import LinearSettings
from hjc.data.jobdata import JobData
from hjc.files import open_replacing, write_json
from hjc.metrics import RowScores, score_rows
from hjc.taxonomy import Taxonomy

SIZES = (500, 2_000, 8_000, 16_000)
#: size -> draws of training rows, in the order of the work
DRAWS = {500: 3, 2_000: 3, 8_000: 2, 16_000: 1}
#: penalties that each system chooses from, on validation rows, with the first draw of so many rows
PENALTIES, CHOSEN_AT = (10.0, 30.0), 500
#: sizes at which the block of words is fitted, on the first draw alone
WORDS_AT = (2_000, 8_000)
#: codes times features that a flat regression is given at most: 1 GB
CELLS = 4_000_000
#: rows scored at a time
STEP = 1_000


@dataclass(frozen=True)
class System:
    """A linear model: how its probabilities chain, on which features. ``words``: the most frequent words alone, as many
    as the flat regression can hold, so that systems of that block see the same."""

    hierarchy: str
    words: bool = False


LINEAR = {
    "topdown": System("topdown"),
    "plt": System("plt"),
    "bottomup": System("bottomup"),
    "topdown_words": System("topdown", words=True),
    "plt_words": System("plt", words=True),
    "logreg_words": System("flat_logreg", words=True),
}
#: derived from the answers of topdown, without a fit
ADJUSTED = "topdown_adjusted"
HEADS = ("topdown", "bottomup", "pathsum")
ENCODER_SIZES = {2_000: 3, 8_000: 1, 500: 1}


def linear(name: str, system: System, train: JobData, penalty: float) -> LinearClassifier:
    settings = LinearSettings(hierarchy=system.hierarchy, C=penalty, max_chars=MAX_CHARS.get(name, 20_000))
    if system.words:
        codes = len(np.unique(train.gold))
        settings.features, settings.max_features = "word", max(500, CELLS // (2 * codes))  # title field: twice
    if system.hierarchy == "flat_logreg":
        settings.eps, settings.max_iter = 1e-3, 60
    return LinearClassifier(train.taxonomy, settings).fit(train)


def encoder(head: str, train: JobData, valid: JobData, seed: int) -> Classifier:
    """e5 with one of the heads: the default settings of ``model=e5`` at 64 tokens and 2 epochs."""
    from hjc.training.config import compose

    settings = ["model=e5", f"hierarchy={head}", "model.max_length=64", "trainer.epochs=2", f"trainer.seed={seed}"]
    config = compose([*settings, "trainer.loggers=[]", "trainer.threads=1"])
    from hjc.classifiers import build

    return build(train.taxonomy, config.model, config.trainer).fit(train, valid)


def adjusted(tree: Taxonomy, log_proba: FloatArray, counts: Float64) -> Float64:
    """Conditionals divided by the training prior among siblings (tau = 1), chained again: what the model says of a
    population in which siblings are equally frequent (Menon et al. 2021, section 4.1, within sibling groups as in Plaud
    et al. 2024). Counts are smoothed by one row a leaf."""
    smooth = tree.with_descendants(counts + tree.is_leaf)
    starts = tree.group_slice[:, 0]
    sizes = np.diff(np.r_[starts, len(tree)])
    scores = tree.node_log_proba(np.asarray(log_proba, dtype=np.float64)) - np.log(smooth)
    conditional = scores - np.repeat(segment_logsumexp(scores, starts), sizes, axis=-1)
    return np.asarray(log_softmax(sum_paths(conditional, tree)))


def scored(tree: Taxonomy, model: Classifier, data: JobData, calibrator: Calibrator, prior: Float64 | None) -> Any:
    """RowScores of the raw and of the calibrated probabilities, and of adjusted ones where a prior is given."""
    parts: list[list[RowScores]] = []
    for start in range(0, len(data), STEP):
        chunk = data.take(np.arange(start, min(start + STEP, len(data))))
        raw = model.leaf_log_proba(chunk.texts)
        made = [raw, calibrator.transform(raw)]
        if prior is not None:
            made.append(adjusted(tree, made[1], prior))
        parts.append([score_rows(tree, x, chunk.gold) for x in made])
    return [RowScores.concat(list(own)) for own in zip(*parts, strict=True)]


def keep(key: str, raw: RowScores, scores: RowScores, facts: dict[str, Any]) -> None:
    """Per-row arrays and what they are of, whole or not at all; the JSON comes last."""
    with open_replacing(OUT / f"{key}.npz") as stream:
        arrays = {"raw_log_p": raw.log_p.astype(np.float32), "gold": scores.gold, "valid": scores.valid}
        arrays |= {"rank": scores.rank, "top": scores.top, "sq": scores.sq.astype(np.float32)}
        arrays |= {"log_p": scores.log_p.astype(np.float32), "confidence": scores.confidence.astype(np.float32)}
        arrays["raw_confidence"] = raw.confidence.astype(np.float32)
        np.savez_compressed(stream, **arrays)
    write_json(OUT / f"{key}.json", facts)


def one(name: str, rows: Rows, size: int, draw: int, system: str, penalty: float | None) -> None:
    """Fit, calibrate on validation rows, score the test rows, keep."""
    key = f"{name}/{size}_{draw}_{system}"
    if (OUT / f"{key}.json").exists():
        return
    train = drawn(rows.pool, size, draw)
    tree, started = train.taxonomy, time.process_time()
    if penalty is not None:
        model: Classifier = linear(name, LINEAR[system], train, penalty)
    else:
        model = encoder(system.removeprefix("encoder_"), train, rows.valid, draw + 1)
    fitted = time.process_time() - started
    found = fit_calibrator(tree, model.iter_log_proba(rows.valid.texts), rows.valid.gold, groups=rows.valid.group)
    counts = np.bincount(train.gold, minlength=len(tree)).astype(np.float64)
    wanted = counts if system == "topdown" else None
    results = scored(tree, model, rows.test, found.calibrator, wanted)
    facts = {
        "set": name, "size": size, "draw": draw, "system": system, "rows": len(train), "test": len(rows.test),
        "codes": int((counts > 0).sum()), "leaves": tree.num_leaves, "C": penalty, "calibration": found.kind,
        "fit_seconds": round(fitted, 2), "cpu_seconds": round(time.process_time() - started, 2),
    }  # fmt: skip
    (OUT / name).mkdir(parents=True, exist_ok=True)
    np.save(OUT / name / f"{size}_{draw}_counts.npy", counts)
    if rows.test.group is not None:
        np.save(OUT / name / "groups.npy", rows.test.group)
    if wanted is not None:
        keep(f"{name}/{size}_{draw}_{ADJUSTED}", results[0], results[2], facts | {"system": ADJUSTED})
    keep(key, results[0], results[1], facts)
    print(f"{key}: recall@1 {results[1].correct[:, -1].mean():.4f}, {facts['cpu_seconds']:.0f} s", flush=True)


def penalty_of(name: str, rows: Rows, system: str) -> float:
    """The penalty with the least validation log-loss, raw or at its best temperature; kept in penalties.json."""
    path = OUT / name / "penalties.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    if system not in known:
        train, losses = drawn(rows.pool, CHOSEN_AT, 0), {}
        for penalty in PENALTIES:
            model = linear(name, LINEAR[system], train, penalty)
            batches = model.iter_log_proba(rows.valid.texts)
            found = fit_calibrator(train.taxonomy, batches, rows.valid.gold, kinds=["temperature"])
            losses[str(penalty)] = float(found.table["log_loss"].min())
        known[system] = {"chosen": min(PENALTIES, key=lambda c: losses[str(c)]), "log_loss": losses}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, known)
        print(f"{name} {system}: C {known[system]['chosen']} {losses}", flush=True)
    return float(known[system]["chosen"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--set", action="append", choices=list(SETS), help="only these sets (repeatable)")
    parser.add_argument("--size", action="append", type=int, choices=SIZES, help="only these sizes (repeatable)")
    parser.add_argument("--part", choices=("linear", "encoder"), default="linear")
    args = parser.parse_args()
    loaded: dict[str, Rows] = {}
    of_size = DRAWS if args.part == "linear" else ENCODER_SIZES
    for size, draw in [(n, draw) for n in args.size or of_size for draw in range(of_size.get(n, 0))]:
        for name in args.set or SETS:
            if name not in loaded:
                loaded[name] = load(name)
            rows = loaded[name]
            if size != SIZES[0] and len(rows.pool) <= SIZES[SIZES.index(size) - 1]:
                continue  # the smaller size was all of it
            if draw and len(rows.pool) <= size:
                continue  # another draw would be the same rows
            if args.part == "encoder":
                for head in HEADS:
                    one(name, rows, size, draw, f"encoder_{head}", None)
                continue
            for system in (s for s in LINEAR if not LINEAR[s].words or (draw == 0 and size in WORDS_AT)):
                one(name, rows, size, draw, system, penalty_of(name, rows, system))


if __name__ == "__main__":
    main()
