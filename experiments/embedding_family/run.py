"""Every kind of classifier on the same rows: linear, transformer, prototypes, bi-encoder, joint, retrieval, hybrid.

python experiments/embedding_family/run.py [--only DATASET_SYSTEM ...] [--collect]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import pandas as pd
from common import ROOT, data_folder, run_plan
from data import DATASETS

STUDY = "embedding_family"
REAL = data_folder()
OUT = ROOT / "outputs" / STUDY
QUICK = ["evaluation.bootstrap=500", "evaluation.report=false", "evaluation.slices=[]"]
E5, MINILM = ["encoder=e5"], ["encoder=minilm"]
SPEED = ["model.precision=bf16"]


def _files(name: str, language: str = "") -> list[str]:
    folder = OUT / "data" / name
    sets = [f"data.{part}=[{folder / f'{part}.csv'}]" for part in ("train", "valid", "test")]
    return ["data=csv", *sets, "data.text_columns=[text]", "data.code_column=code", *([language] if language else [])]


KZIS, ADS = REAL / "kzis", REAL / "kzis_ads_pl" / "ads.csv.gz"
# as in experiments/kzis_ads, near-duplicates on one side; the dictionary and the thesaurus are trained on only
KZIS_DATA = [
    "data=csv",
    "data.default_language=pl",
    "data.sources=["
    f"{{path: {ADS}, role: split, text_columns: [title, description], code_column: code, default_source: ads}},"
    f"{{path: {KZIS / 'kzis_occupation_descriptions_2024.csv.gz'}, text_columns: [name, synthesis], "
    "code_column: code, default_source: dictionary},"
    f"{{path: {KZIS / 'kzis_occupation_descriptions_2024.csv.gz'}, text_columns: [name], code_column: code, "
    "default_source: dictionary names},"
    f"{{path: {KZIS / 'kzis_gus_thesaurus_titles.csv.gz'}, text_columns: [title], code_column: code, "
    "default_source: thesaurus}]",
    "data.test_fraction=0.3",
    "data.valid_fraction=0.05",
    "data.near_duplicates=0.9",
    "data.max_train_rows=6000",
]

#: data set -> data overrides, encoder, its tokens, label texts, encoder of the transformer with a head, its epochs
SETS = {
    "onet": (_files("onet"), MINILM, 32, "title_desc", "minilm", 3),
    "titles24": (_files("titles24", "data.language_column=lang"), E5, 32, "title", "e5", 2),
    "national": (_files("national", "data.language_column=lang"), E5, 32, "title", "e5", 2),
    "kzis": (KZIS_DATA, E5, 48, "title_desc", "e5", 1),
}


def systems(name: str) -> dict[str, list[str]]:
    """System -> overrides on a data set."""
    data, encoder, tokens, mode, neural, epochs = SETS[name]
    folder = OUT / "data" / name
    base = ["taxonomy=csv", f"taxonomy.path={folder / 'tree.csv'}", *data, *QUICK]
    labels = [] if name in ("onet", "kzis") else [f"model.label_file={folder / 'labels.csv'}"]
    length = f"model.max_length={tokens}"
    family = [*encoder, *SPEED, length, f"model.label_mode={mode}", *labels]
    run = {system: OUT / f"{name}_{system}" for system in ("linear", "neural", "biencoder", "average")}
    return {
        "linear": [*base, "model=linear"],
        "neural": [*base, f"model={neural}", "hierarchy=bottomup", length, f"trainer.epochs={epochs}"],
        "direct": [*base, "model=prototype", *family, "model.prototype=direct"],
        "average": [*base, "model=prototype", *family, "model.prototype=average"],
        "finetuned": [*base, "model=prototype", *family, "model.prototype=finetuned"],
        "joint": [*base, "model=joint", *family],
        # bounded, because a step takes three texts a row: anchor, label, hard negative
        "biencoder": [*base, "model=biencoder", *family, f"trainer.epochs={epochs}", "trainer.max_steps=400"],
        "zero_shot": [*base, "model=retrieval", *family, "model.reranker=none"],
        "rules": [*base, "model=retrieval", *family, "model.reranker=rules", f"model.start_from={run['biencoder']}"],
        "cross_encoder": [
            *base,
            "model=retrieval",
            *family,
            "model.reranker=cross_encoder",
            f"model.start_from={run['biencoder']}",
            "model.candidate_grid=[3,5,10]",
            "trainer.epochs=1",
            "trainer.batch_size=16",
            "trainer.max_steps=200",
        ],
        "hybrid": [*base, "model=hybrid", f"model.parts=[{run['linear']},{run['neural']},{run['biencoder']}]"],
    }


PLAN = {f"{name}_{system}": overrides for name in SETS for system, overrides in systems(name).items()}


def head_and_tail() -> None:
    """head_tail.csv: recall@1 and log-loss at the deepest level by the number of training rows of the gold code."""
    from hjc.report.comparison import compare_runs

    tables = []
    for name in SETS:
        runs = [OUT / run for run in PLAN if run.startswith(f"{name}_") and (OUT / run / "metrics.csv").exists()]
        if len(runs) < 2:
            continue
        found = compare_runs([str(r) for r in runs], bootstrap=200)
        table = found.frame
        table = table[(table["slice_kind"] == "training_rows") & table["metric"].isin(["recall@1", "log_loss"])]
        tables.append(table.assign(dataset=name))
    if tables:
        path = ROOT / "experiments" / STUDY / "head_tail.csv"
        pd.concat(tables).to_csv(path, index=False, float_format="%.4g")
        print(f"written: {path}")


if __name__ == "__main__":
    for dataset, make in DATASETS.items():
        if not (OUT / "data" / dataset / "tree.csv").exists():
            make(REAL, OUT / "data" / dataset)
    run_plan(STUDY, PLAN)
    head_and_tail()
