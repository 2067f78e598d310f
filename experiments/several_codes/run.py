"""What do all acceptable codes of a text give a model, against one of them, and what does a head for several codes
give beside it? O*NET titles, Polish ads.

python experiments/several_codes/run.py [--only "linear topdown"] [--only neural] [--only ads] [--only head] [--tune]
"""

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from common import data_folder, kzis_ads_data, paired, write_lines  # noqa: E402

from hjc.classifiers import build  # noqa: E402
from hjc.classifiers.base import Classifier  # noqa: E402
from hjc.classifiers.linear_settings import LinearSettings  # noqa: E402
from hjc.classifiers.several import SeveralHead  # noqa: E402
from hjc.data.jobdata import JobData  # noqa: E402
from hjc.evaluation import evaluate_model  # noqa: E402
from hjc.evaluation.several import HEAD, PROBABILITIES, SeveralRows, fit_several, sets_of  # noqa: E402
from hjc.metrics import LevelProba, Resamples, RowScores  # noqa: E402
from hjc.metrics.bootstrap import percentile_interval  # noqa: E402
from hjc.nn.settings import NeuralSettings, TrainerSettings  # noqa: E402
from hjc.taxonomy import Taxonomy, load_taxonomy  # noqa: E402

METRICS = ("recall@1", "recall@5", "log_loss", "brier", "ece")
#: models and how they are made; the neural one is small: a word-piece encoder without pretraining
TINY = {"encoder": "tiny", "tiny_hidden": 128, "tiny_layers": 1, "tiny_vocabulary": 8000, "max_length": 16}
QUICK = {"epochs": 4, "batch_size": 64, "learning_rate": 1e-3, "head_learning_rate": 3e-3, "precision": "32"}


def titles() -> JobData:
    """Every title of O*NET once, with all its codes in an order drawn at random: the source has no main code."""
    folder = data_folder() / "onet"
    frame = pd.read_csv(folder / "titles.csv.gz", dtype=str, keep_default_na=False)
    tree = load_taxonomy(str(folder / "soc2018_onet_hierarchy.csv"))
    rng = np.random.default_rng(1)
    codes = frame.groupby("title")["code"].agg(lambda c: [str(x) for x in rng.permutation(c.unique())])
    return JobData.from_lists(tree, codes.index.tolist(), codes.tolist())


def parts() -> tuple[JobData, JobData, JobData]:
    """Titles to test on, to validate on and to learn from."""
    rows = titles()
    order = np.random.default_rng(2).permutation(len(rows))
    test, valid, train = (rows.take(np.sort(x)) for x in np.split(order, [5_000, 6_000, 18_000])[:3])
    return test, valid, train


def fit(kind: str, train: JobData, valid: JobData) -> Classifier:
    quiet = {"loggers": [], "threads": 1, "class_weights": "none"}
    if kind == "linear topdown":
        return build(train.taxonomy, LinearSettings(features="word", max_features=20_000)).fit(train)
    return build(train.taxonomy, NeuralSettings(**TINY), TrainerSettings(**QUICK, **quiet)).fit(train, valid)


def scored(model: object, test: JobData) -> RowScores:
    return evaluate_model(model, test, bootstrap=0, decisions=False, progress=False).scores


def compare(data: str, kind: str, ways: dict[str, JobData], valid: dict[str, JobData], test: JobData) -> list[dict]:
    """All ways of training one kind of model, on the same rows."""
    found = {}
    for way, train in ways.items():
        print(f"== {data}, {kind}: {way}, {len(train):,} rows", flush=True)
        found[way] = scored(fit(kind, train, valid[way]), test)
    lines, tree = [], test.taxonomy
    some = test.sets.several
    for rows, keep in (("all", np.ones(len(test), bool)), ("several codes", some), ("one code", ~some)):
        for level in (tree.depth, 2):
            part = paired([s.take(keep) for s in found.values()], tree, level, METRICS)
            names = list(ways)
            lines += [{"data": data, "kind": kind, "scored": rows, **x, "model": names[int(x["model"])]} for x in part]
    return lines


def onet(kinds: list[str]) -> list[dict]:
    test, valid, train = parts()
    one = {"one code": replace(train, sets=None), "one code v": replace(valid, sets=None)}
    lines = []
    for kind in kinds:
        ways = {"one code": one["one code"], "all codes": train}
        held = {"one code": one["one code v"], "all codes": valid}
        if kind == "neural":  # a row for each code, of its share, beside the probability of the set
            ways, held = {**ways, "a row a code": train.spread()}, {**held, "a row a code": valid}
        lines += compare("onet titles", kind, ways, held, test)
    return lines


def ads() -> list[dict]:
    """The Polish ads: 65 of them have several codes; the main code alone against any of them, of one model."""
    from hjc.data import load_job_data
    from hjc.training.config import compose

    overrides = [x.replace("code_column: code, default_source: ads", "code_column: code, other_codes_column: "
                           "other_codes, default_source: ads") for x in kzis_ads_data()]  # fmt: skip
    path = data_folder() / "kzis" / "kzis_hierarchy_2023.csv"
    config = compose([*overrides, "taxonomy=kzis", f"taxonomy.path={path}", "model=linear"])
    tree: Taxonomy = load_taxonomy(str(path))
    splits = load_job_data(config.data, tree)
    test = splits.tests["test"]
    print(splits.counts, test, test.sets)
    model = fit("linear topdown", splits.train, splits.valid)
    main, any_of = scored(model, replace(test, sets=None)), scored(model, test)
    lines = []
    for rows, keep in (("all", np.ones(len(test), bool)), ("several codes", test.sets.several)):
        for x in paired([main.take(keep), any_of.take(keep)], tree, tree.depth, METRICS):
            way = ("scored by the main code", "scored by any code")[int(x["model"])]
            lines.append({"data": "kzis ads", "kind": "linear topdown", "scored": rows, **x, "model": way})
    return lines


def counted(model: Classifier, rows: JobData) -> SeveralRows:
    """What the head and the probabilities say of all codes of the rows."""
    found = SeveralRows(model, rows, Resamples.draw(len(rows), 300))
    for at, log_proba in model.iter_log_proba(rows.texts):
        found.update(at, LevelProba.of(model.taxonomy, log_proba))
    return found


def head() -> list[dict]:
    """A head for several codes against the probabilities of its model, of which the same is asked."""
    from hjc.report.comparison import difference

    test, valid, train = parts()
    model, lines = fit("linear topdown", train, valid), []
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(Path(folder) / "model")
        print(fit_several(model, Path(folder) / "model", train, valid), flush=True)
    for scored_rows, rows in (("all", test), ("several codes", test.take(test.sets.several))):
        found = counted(model, rows)
        for place in (test.taxonomy.depth - 1, 1, test.taxonomy.depth):
            level = place + 1 if place < test.taxonomy.depth else "all"
            values = {way: found.scores[way][place].values() for way in (PROBABILITIES, HEAD)}
            drawn = {way: found.replicates(way, place) for way in values}
            for way, metrics in values.items():
                for metric, value in metrics.items():
                    if level == "all" and metric.startswith("several"):
                        continue  # every row has a node at each level
                    line = {"data": "onet titles", "kind": "head", "scored": scored_rows, "model": way, "level": level}
                    line |= {"metric": metric, "rows": len(rows), "value": value}
                    if metric in drawn[way]:
                        low, high = percentile_interval(drawn[way][metric], value)
                        line |= {"low": low, "high": high}
                        if way == HEAD:
                            both = (drawn[way][metric], drawn[PROBABILITIES][metric])
                            line |= difference(metric, value, values[PROBABILITIES][metric], *both)
                    lines.append(line)
            print(
                scored_rows, level, {w: {k: round(v, 4) for k, v in m.items()} for w, m in values.items()}, flush=True
            )
    return lines


def tune() -> None:
    """The head on validation rows by the strength of its penalty."""
    _, valid, train = parts()
    model = fit("linear topdown", train, valid)
    vectors = model.text_vectors(list(train.texts))
    for strength in (3.0, 10.0, 30.0):
        model.several = SeveralHead.fit(model.taxonomy, vectors, sets_of(train), LinearSettings(C=strength))
        values = counted(model, valid).scores[HEAD][model.taxonomy.depth - 1].values()
        print(f"C={strength:g}", {name: round(values[name], 4) for name in ("log_loss", "lrap")}, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tune", action="store_true", help="only show validation rows by the head's penalty")
    every = ["linear topdown", "neural", "ads", "head"]
    parser.add_argument("--only", action="append", choices=every)
    args = parser.parse_args()
    if args.tune:
        return tune()
    for kind in args.only or every:
        made = {"ads": ads, "head": head}.get(kind, lambda kind=kind: onet([kind]))()
        write_lines("several_codes", made, ("data", "kind"))


if __name__ == "__main__":
    main()
