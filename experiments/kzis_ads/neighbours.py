"""Do the nearest training ads, by the encoder of ``grouped_best``, add to its label tree, encoder and bi-encoder?

python experiments/kzis_ads/neighbours.py [--outputs DIR]   (needs the run grouped_best; writes neighbours.csv)

Precision bf16. Vectors and probabilities are kept as .npy in DIR/neighbours. On the validation rows everything that is
fitted (number of neighbours, temperature, back-off, weights) is cross-fitted in five parts; for the test rows it is
fitted on all of them.
"""

import argparse
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import ROOT, paired, write_lines
from kzis_ads.paired import grouped_best, rows_of_leaves

from hjc.arrays import FloatArray, IntArray
from hjc.classifiers.combine import Candidate, Rows, folds_of, group_numbers
from hjc.classifiers.treemath import gold_log_proba
from hjc.data.codesets import first_of
from hjc.metrics import score_rows

PARTS = ("linear", "neural", "biencoder")
FOLDS = 5
WAYS = ("loglinear", "mixture", "loglinear, then neighbours")


class Setting(NamedTuple):
    """Cosines of vectors as they are, or about the mean of the training ads; k neighbours; share of the prior."""

    centred: bool
    k: int
    temperature: float
    back_off: float


GRID = [Setting(*each) for each in product((False, True), (10, 30, 100), (0.02, 0.05, 0.1, 0.2), (0.1, 0.3, 0.5))]


def neighbours(cosines: FloatArray, leaf: IntArray, prior: FloatArray, setting: Setting) -> FloatArray:
    """(n, L) log-probabilities: the k nearest vote for their codes by exp(cosine / temperature), mixed with a prior."""
    near = np.argpartition(-cosines, setting.k, axis=1)[:, : setting.k]
    own = np.take_along_axis(cosines, near, axis=1)
    weight = np.exp((own - own.max(axis=1, keepdims=True)) / setting.temperature)
    weight /= weight.sum(axis=1, keepdims=True)
    found = np.zeros((len(cosines), len(prior)), np.float32)
    np.add.at(found, (np.repeat(np.arange(len(cosines)), setting.k), leaf[near].ravel()), weight.ravel())
    return np.log((1 - setting.back_off) * found + setting.back_off * prior).astype(np.float32)


def unit(vectors: FloatArray) -> FloatArray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def kept(file: Path, make: Callable[[], FloatArray]) -> FloatArray:
    """The array in the file, made when it is not there."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, make())
    return np.load(file).astype(np.float32)


def main(outputs: Path) -> None:
    """neighbours.csv: the parts with and without neighbours, on validation and test rows, by way, level and metric."""
    taxonomy, train, valid, test, best = grouped_best(outputs)
    leaf_of = np.full(len(taxonomy), -1)
    leaf_of[taxonomy.leaves] = np.arange(taxonomy.num_leaves)
    ads = np.flatnonzero((np.asarray(train.source) == "ads") & (leaf_of[train.gold] >= 0))
    folder, encoder = outputs / "neighbours", best.named_parts["neural"]
    known = {"ads": train.take(ads), "valid": valid, "test": test}
    vectors = {
        name: kept(folder / f"vec_{name}.npy", lambda rows=rows: encoder.text_vectors(rows.texts).rows)
        for name, rows in known.items()
    }

    def answers(part: str, name: str) -> FloatArray:
        model, texts = best.named_parts[part], known[name].texts
        return kept(folder / f"{part}_{name}.npy", lambda: model.leaf_log_proba(texts))

    parts = {name: [answers(part, name) for part in PARTS] for name in ("valid", "test")}
    leaf, mean = leaf_of[train.gold[ads]], vectors["ads"].mean(axis=0)
    counts = rows_of_leaves(train) + 0.1
    prior = (counts / counts.sum()).astype(np.float32)
    cosines = {
        (centred, name): unit(vectors[name] - centred * mean) @ unit(vectors["ads"] - centred * mean).T
        for centred in (False, True)
        for name in ("valid", "test")
    }
    span = taxonomy.leaf_slice[first_of(valid.target)]
    own = {s: neighbours(cosines[s.centred, "valid"], leaf, prior, s) for s in GRID}
    loss = {s: -gold_log_proba(own[s], span) for s in GRID}
    fold = folds_of(group_numbers(valid.group, len(valid)), FOLDS, 0)
    crossed = np.empty_like(parts["valid"][0])
    for f in range(FOLDS):
        crossed[fold == f] = own[min(GRID, key=lambda s: loss[s][fold != f].mean())][fold == f]
    chosen = min(GRID, key=lambda s: loss[s].mean())
    print(f"chosen on all validation rows: {chosen}, log-loss of the neighbours alone {loss[chosen].mean():.3f}")
    of_test = neighbours(cosines[chosen.centred, "test"], leaf, prior, chosen)
    same = np.zeros(taxonomy.num_leaves, np.int64)

    def both(family: str, more: bool) -> tuple[FloatArray, FloatArray]:
        """Validation rows cross-fitted, and test rows, by the parts with or without the neighbours."""
        seen = [*parts["valid"], *([crossed] if more else [])]
        rows, candidate, found = Rows.make(taxonomy, seen, valid.target), Candidate(family), np.empty_like(crossed)
        for f in range(FOLDS):
            made = candidate.fit(rows.take(np.flatnonzero(fold != f)), same)
            found[fold == f] = made.log_proba([part[fold == f] for part in seen])
        rows = Rows.make(taxonomy, [*parts["valid"], *([own[chosen]] if more else [])], valid.target)
        last = candidate.fit(rows, same).log_proba([*parts["test"], *([of_test] if more else [])])
        return found, last

    def then(whole: FloatArray, near: FloatArray, share: float) -> FloatArray:
        return np.logaddexp(whole + np.log1p(-share), near + np.log(share))

    def share_of(whole: FloatArray, rows: IntArray) -> float:
        """Of the neighbours in a mixture with the whole, by the log-loss of these rows."""

        def value(at: FloatArray) -> float:
            share = 1 / (1 + np.exp(-at[0]))
            return -float(gold_log_proba(then(whole[rows], crossed[rows], share), span[rows]).mean())

        return float(1 / (1 + np.exp(-minimize(value, [-2.0], method="Nelder-Mead").x[0])))

    lines = []
    for way in WAYS:
        family = way.split(",")[0]
        without = both(family, False)
        if way == family:
            whole = both(family, True)
        else:
            found = np.empty_like(crossed)
            for f in range(FOLDS):
                share = share_of(without[0], np.flatnonzero(fold != f))
                found[fold == f] = then(without[0][fold == f], crossed[fold == f], share)
            whole = (found, then(without[1], of_test, share_of(without[0], np.arange(len(valid)))))
        for name, a, b in zip(("valid", "test"), without, whole, strict=True):
            scores = [score_rows(taxonomy, log_proba, known[name].target) for log_proba in (a, b)]
            for level in (4, 5):
                found_lines = paired(scores, taxonomy, level, ("recall@1", "log_loss"), draws=2000)
                lines += [
                    {"way": way, "set": name, "parts": "three and neighbours" if line.pop("model") else "three"} | line
                    for line in found_lines
                ]
    write_lines("kzis_ads", lines, (), "neighbours.csv")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--outputs", type=Path, default=ROOT / "outputs" / "kzis_ads")
    main(parser.parse_args().outputs)
