"""O*NET titles: the best from 20,000 rows; and the 65 to 78 % of the bi-encoder document, by kind of text.

python experiments/onet_titles/run.py [--only parts|pairs]
"""

import argparse
import os
import sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from common import data_folder, paired, write_lines  # noqa: E402
from embedding_family.onet_titles import load  # noqa: E402

from hjc.arrays import IntArray  # noqa: E402
from hjc.classifiers import build  # noqa: E402
from hjc.classifiers.linear_settings import LinearSettings  # noqa: E402
from hjc.data.jobdata import JobData  # noqa: E402
from hjc.metrics import RowScores, score_rows  # noqa: E402
from hjc.taxonomy import Taxonomy, load_taxonomy  # noqa: E402
from hjc.training.config import compose  # noqa: E402

METRICS = ("recall@1", "recall@3", "recall@5", "log_loss", "ece")
OUT = ROOT / "outputs" / "onet_titles"
#: linear label tree, MiniLM with a head and MiniLM as a bi-encoder, weighed on the validation titles
BEST = [
    "experiment=best",
    "encoder=minilm",
    "model.neural.max_length=16",
    "model.neural.title_share=0",
    "model.biencoder.max_length=16",
    "model.biencoder_epochs=2",
    "trainer.epochs=4",
    "trainer.batch_size=64",
    "trainer.learning_rate=2e-4",
    "trainer.head_learning_rate=2e-3",
    "trainer.word_dropout=0.1",
    "trainer.threads=1",
    "trainer.loggers=[]",
]


def parts() -> list[dict[str, object]]:
    """The rows of ../embedding_family/prototypes.md: 16,000 titles train, a row for each of a title's occupations."""
    tree, train, valid, test = load()
    config = compose(BEST)
    model = build(tree, config.model, config.trainer).fit_data(train, valid, run_dir=OUT / "best")
    texts = list(dict.fromkeys(test.texts))
    place = {text: i for i, text in enumerate(texts)}
    at = np.array([place[text] for text in test.texts])
    made = [part.leaf_log_proba(texts) for part in model.named_parts.values()]
    found = {"whole": model.of_parts(made)} | dict(zip(model.named_parts, made, strict=True))
    by_row = [score_rows(tree, log_proba[at], test.target) for log_proba in found.values()]
    # each title once, with all its occupations: any of them is right
    codes: list[list[str]] = [[] for _ in texts]
    for row, code in zip(at, test.gold, strict=True):
        codes[row].append(tree.codes[code])
    once = JobData.from_lists(tree, texts, codes)
    by_title = [score_rows(tree, log_proba, once.target) for log_proba in found.values()]
    lines = []
    for counted, scores in (("each occupation", by_row), ("any occupation", by_title)):
        for level in (1, 3, tree.depth):
            lines += table(f"20,000 rows, {counted}", list(found), scores, tree, level)
    return lines


def table(
    data: str, names: list[str], scores: list[RowScores], tree: Taxonomy, level: int, rows: IntArray | None = None
) -> list[dict[str, object]]:
    """Lines of results.csv for models on the same rows, the differences to the first."""
    kept = scores if rows is None else [s.take(rows) for s in scores]
    return [{"data": data, **x, "model": names[int(str(x["model"]))]} for x in paired(kept, tree, level, METRICS)]


def document_pairs() -> tuple[Taxonomy, pd.DataFrame]:
    """Pairs of text and occupation as the document makes them (its table of sources), as far as it says how.

    Its filter of generic skills names a few examples; here an element that half of the occupations have is generic.
    """
    folder = data_folder() / "onet"

    def read(name: str) -> pd.DataFrame:
        return pd.read_csv(folder / f"{name}.csv.gz", dtype=str, keep_default_na=False)

    about = read("occupations")
    title = about.set_index("code")["title"]
    tasks, technology, tools = read("tasks"), read("technology_skills"), read("tools_used")
    tasks = tasks[tasks["task"].str.len() > 20]
    kinds = {
        "alternate titles": (read("titles")["code"], read("titles")["title"]),
        "standard titles": (about["code"], about["title"]),
        "title and description": (about["code"], about["title"] + ". " + about["description"]),
        "tasks": (tasks["code"], tasks["task"]),
        "technology": (
            technology["code"],
            technology["code"].map(title) + " uses technology: " + technology["example"],
        ),
        "tools": (tools["code"], tools["code"].map(title) + " uses tool: " + tools["example"]),
    }
    for name in ("skills", "knowledge"):
        frame = read(name)
        frame = frame[frame["importance"].astype(float) >= 3]
        share = frame.groupby("element")["code"].transform("nunique") / frame["code"].nunique()
        frame = frame[share < 0.5]
        kinds[name] = (frame["code"], frame["element"])
    made = [pd.DataFrame({"code": c, "text": t, "kind": kind}) for kind, (c, t) in kinds.items()]
    pairs = pd.concat(made, ignore_index=True).drop_duplicates(["code", "text"])
    return load_taxonomy(folder / "soc2018_onet_hierarchy.csv"), pairs[pairs["code"].isin(set(about["code"]))]


def pairs() -> list[dict[str, object]]:
    """A tenth of the pairs of every occupation, at least one, tests; a linear label tree learns from the others."""
    tree, frame = document_pairs()
    frame = frame.sample(frac=1, random_state=1)
    number = frame.groupby("code").cumcount()
    size = frame.groupby("code")["code"].transform("size")
    test = (number < np.maximum(1, size // 10)).to_numpy()
    data = JobData.from_lists(tree, frame["text"].tolist(), frame["code"].tolist())
    train, held, kind = data.take(~test), data.take(test), frame["kind"].to_numpy()[test]
    print(f"{len(train):,} pairs train, {len(held):,} test", flush=True)
    model = build(tree, LinearSettings(hierarchy="plt")).fit_data(train)
    scores = [score_rows(tree, model.leaf_log_proba(held.texts), held.target)]
    lines = table("pairs of the document, all", ["linear"], scores, tree, tree.depth)
    for name in pd.unique(kind):
        rows = np.flatnonzero(kind == name)
        lines += table(f"pairs of the document, {name}", ["linear"], scores, tree, tree.depth, rows)
    # without what names the answer: "Electricians uses tool: Multimeters" is coded by its first word
    bare = np.flatnonzero(~np.isin(kind, ["technology", "tools", "title and description"]))
    return lines + table("pairs of the document, no answer in the text", ["linear"], scores, tree, tree.depth, bare)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=["parts", "pairs"])
    only = parser.parse_args().only
    for name, make in (("pairs", pairs), ("parts", parts)):
        if only in (None, name):
            write_lines("onet_titles", make(), ["data"])
