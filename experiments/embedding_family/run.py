"""Every kind of classifier on the same rows: linear, transformer, prototypes, bi-encoder, joint, retrieval, hybrid.

python experiments/embedding_family/run.py [--only DATASET_SYSTEM ...] [--collect]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import pandas as pd
import yaml
from common import ROOT, data_folder, kzis_ads_data, run_plan
from data import DATASETS

STUDY = "embedding_family"
REAL = data_folder()
OUT = ROOT / "outputs" / STUDY
QUICK = ["evaluation.bootstrap=500", "evaluation.report=false", "evaluation.slices=[]"]
E5, MINILM = ["encoder=e5"], ["encoder=minilm"]
# titles in capitals as they stand, as it was when these were run
CAPITALS = ["model.capitals=keep"]
SPEED = ["model.precision=bf16", *CAPITALS]


def _files(name: str, language: str = "") -> list[str]:
    folder = OUT / "data" / name
    sets = [f"data.{part}=[{folder / f'{part}.csv'}]" for part in ("train", "valid", "test")]
    return ["data=csv", *sets, "data.text_columns=[text]", "data.code_column=code", *([language] if language else [])]


# as in experiments/kzis_ads, near-duplicates on one side
KZIS_DATA = [
    *kzis_ads_data(),
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
        # the floor for codes without training rows as it was when this was run; see experiments/unseen_codes
        "linear": [*base, "model=linear", "model.unseen=floor"],
        "neural": [*base, f"model={neural}", *CAPITALS, "hierarchy=bottomup", length, f"trainer.epochs={epochs}"],
        "direct": [*base, "model=prototype", *family, "model.prototype=direct"],
        "average": [*base, "model=prototype", *family, "model.prototype=average"],
        "finetuned": [*base, "model=prototype", *family, "model.prototype=finetuned"],
        "joint": [*base, "model=joint", *family],
        # a step takes three texts a row: anchor, label, hard negative; one epoch for the set that came last
        "biencoder": [*base, "model=biencoder", *family, f"trainer.epochs={1 if name == 'national' else epochs}"],
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
        runs = [OUT / run for run in PLAN if run.startswith(f"{name}_") and list((OUT / run).glob("scores_*.parquet"))]
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


def write_tables() -> None:
    """table.md: for each data set a row a system, from results.csv, head_tail.csv and the runs' train.yaml."""
    folder = ROOT / "experiments" / STUDY
    results = pd.read_csv(folder / "results.csv", dtype={"level": str}, keep_default_na=False)
    results = results[(results["slice"] == "") & (results["set"] == "test")]
    tail = pd.read_csv(folder / "head_tail.csv", keep_default_na=False) if (folder / "head_tail.csv").exists() else None
    lines: list[str] = []
    for name in SETS:
        part = results[results["run"].str.startswith(f"{name}_")]
        if part.empty:
            continue
        levels = sorted((x for x in part["level"].unique() if x.isdigit()), key=int)
        groups = [] if tail is None else [str(g) for g in dict.fromkeys(tail[tail["dataset"] == name]["slice"])]
        counts = part.groupby("run")["rows"].first()
        lines += [
            f"## {name} ({int(float(counts.iloc[0])):,} test rows)",
            "",
            f"| | recall@1 at level {' '.join(levels)} | 95 % at {levels[-1]} | recall@5 | log-loss | calibrated | "
            + " | ".join(f"recall@1, {g} training rows" for g in groups)
            + (" | " if groups else "")
            + "fit, s | rows/s |",
            "|---|" + "---|" * (6 + len(groups)) + "---|",
        ]
        for system in systems(name):
            own = part[part["run"] == f"{name}_{system}"].set_index("level")
            if own.empty:
                continue
            deep = own.loc[levels[-1]]
            record = yaml.safe_load((OUT / f"{name}_{system}" / "train.yaml").read_text("utf-8"))
            rate = record.get("rows_per_second", {}).get("test")
            cells = [
                system,
                " ".join(f"{100 * float(own.loc[x, 'recall@1']):.1f}" for x in levels),
                f"{100 * float(deep['recall@1_low']):.1f} - {100 * float(deep['recall@1_high']):.1f}",
                f"{100 * float(deep['recall@5']):.1f}",
                f"{float(deep['log_loss']):.2f}",
                f"{float(deep['calibrated_log_loss']):.2f}" if deep["calibrated_log_loss"] else "",
            ]
            for g in groups:
                at = tail[(tail["dataset"] == name) & (tail["slice"] == g) & (tail["run"] == f"{name}_{system}")]
                at = at[at["metric"] == "recall@1"]
                cells.append(
                    f"{100 * float(at['value'].iloc[0]):.1f} (n={int(float(at['n'].iloc[0]))})" if len(at) else ""
                )
            cells += [f"{record['timing'].get('fit_seconds', 0):.0f}", f"{rate:.0f}" if rate else ""]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    (folder / "table.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    for dataset, make in DATASETS.items():
        if not (OUT / "data" / dataset / "tree.csv").exists():
            make(REAL, OUT / "data" / dataset)
    run_plan(STUDY, PLAN)
    head_and_tail()
    write_tables()
