"""Shared by the studies: run train.py once per row of a plan, collect metrics.csv of every run into results.csv."""

import argparse
import csv
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import yaml

from hjc.arrays import Float64, IntArray

if TYPE_CHECKING:
    from hjc.data import JobData
    from hjc.metrics import RowScores
    from hjc.taxonomy import Taxonomy

ROOT = Path(__file__).resolve().parent.parent
METRICS = ("log_loss", "recall@1", "recall@3", "recall@5", "recall@10", "macro_recall", "hierarchical_f1", "ece_plain")


def data_folder() -> Path:
    """The folder of real data. Ends the program with a message when it is absent."""
    folder = Path(os.environ.get("HJC_DATA", "../shared/data"))
    if not folder.is_dir():
        sys.exit(f"this study needs the real-data folder; {folder} does not exist: set HJC_DATA")
    return folder


def kzis_ads_data() -> list[str]:
    """Overrides that read the Polish ads, the dictionary and the thesaurus, and split the ads."""
    kzis, ads = data_folder() / "kzis", data_folder() / "kzis_ads_pl" / "ads.csv.gz"
    return [
        "data=csv",
        "data.default_language=pl",
        # the ads are split, the dictionary and the thesaurus are only ever trained on
        "data.sources=["
        f"{{path: {ads}, role: split, text_columns: [title, description], code_column: code, default_source: ads}},"
        f"{{path: {kzis / 'kzis_occupation_descriptions_2024.csv.gz'}, text_columns: [name, synthesis], "
        "code_column: code, default_source: dictionary},"
        f"{{path: {kzis / 'kzis_occupation_descriptions_2024.csv.gz'}, text_columns: [name], code_column: code, "
        "default_source: dictionary names},"
        f"{{path: {kzis / 'kzis_gus_thesaurus_titles.csv.gz'}, text_columns: [title], code_column: code, "
        "default_source: thesaurus}]",
        "data.test_fraction=0.3",
        "data.valid_fraction=0.05",
    ]


def vacancies() -> "tuple[JobData, IntArray]":
    """Title and text of the federal vacancies, and (n,) groups of rows that share a title or a text."""
    from hjc.data import DataSettings, load_job_data
    from hjc.data.splitting import identical_groups, merge_groups
    from hjc.taxonomy import load_taxonomy

    folder = data_folder() / "usajobs_opm"
    settings = DataSettings(
        train=[str(folder / "questionnaires.csv.gz")], text_columns=["title", "description"], valid_fraction=0.0
    )
    data = load_job_data(settings, load_taxonomy(str(folder / "opm_hierarchy.csv"))).train.labelled()
    title, _, text = zip(*(row.partition("\n") for row in data.texts), strict=True)
    return data, merge_groups(identical_groups(title), identical_groups(text))


def run_plan(study: str, plan: Mapping[str, Sequence[str]], sets: Sequence[str] = ("test",)) -> Path:
    """Train every run of a plan (name -> overrides) that is not finished yet, then write results.csv.

    Returns the folder of runs. A run that was interrupted goes on where it stopped. ``--only NAME`` runs a part,
    ``--collect`` none.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", choices=list(plan), help="run only these (repeatable)")
    parser.add_argument("--collect", action="store_true", help="train nothing, only write results.csv")
    parser.add_argument("--outputs", type=Path, default=ROOT / "outputs" / study)
    args = parser.parse_args()
    for name, overrides in plan.items():
        if args.collect or (args.only and name not in args.only):
            continue
        command = [sys.executable, str(ROOT / "train.py"), f"run_dir={args.outputs / name}", *overrides]
        print(f"== {study}: {name}", flush=True)
        subprocess.run(command, check=True)
    collect(study, {name: args.outputs / name for name in plan}, sets)
    return Path(args.outputs)


def collect(study: str, runs: Mapping[str, Path], sets: Sequence[str]) -> None:
    """experiments/STUDY/results.csv: one row per run, set, slice and level; with 95 % intervals. Lines of runs that are
    not on this machine stay."""
    rows: list[dict[str, object]] = []
    for name, directory in runs.items():
        if not (directory / "metrics.csv").exists():
            print(f"{name}: not run yet")
            continue
        record = yaml.safe_load((directory / "train.yaml").read_text(encoding="utf-8"))
        minutes = f"{record['timing'].get('fit_seconds', 0) / 60:.1f}"
        table = pd.read_csv(directory / "metrics.csv", dtype={"level": str}, keep_default_na=False)
        table = table[table["set"].isin(sets) & table["metric"].isin(METRICS)]
        calibrated = _calibrated(directory)
        keys = ["set", "slice_kind", "slice", "level"]
        for key, part in table.groupby(keys, sort=False):
            row: dict[str, object] = {"run": name, **dict(zip(keys, key, strict=True))}
            for metric, value, low, high, n in part[["metric", "value", "low", "high", "n"]].itertuples(index=False):
                row["rows"] = n
                row[metric] = _short(value)
                if metric in ("recall@1", "log_loss"):
                    row[f"{metric}_low"], row[f"{metric}_high"] = _short(low), _short(high)
            if not row["slice"] and (row["set"], row["level"]) in calibrated:
                accuracy, log_loss = calibrated[row["set"], row["level"]]
                row["calibrated_recall@1"], row["calibrated_log_loss"] = _short(accuracy), _short(log_loss)
            rows.append({**row, "fit_minutes": minutes})
    if rows:
        write_lines(study, rows, ("run",))


def _calibrated(directory: Path) -> dict[tuple[object, object], tuple[str, str]]:
    """(set, level) -> recall@1 and log-loss after the calibrator that was fitted on the validation rows."""
    path = directory / "calibration.csv"
    if not path.exists():
        return {}
    table = pd.read_csv(path, dtype=str)
    table = table[table["probabilities"] == "calibrated"]
    columns = table[["set", "level", "accuracy", "log_loss"]].itertuples(index=False)
    return {(name, level): (accuracy, loss) for name, level, accuracy, loss in columns}


def paired(
    scores: "Sequence[RowScores]", taxonomy: "Taxonomy", level: int | None, metrics: Sequence[str], *, draws: int = 300
) -> list[dict[str, object]]:
    """A line for each metric and model: value with its 95 % interval, and the difference to the first model with its
    own, all in the same bootstrap resamples of the rows."""
    from hjc.metrics import Resamples, level_metrics, replicate_metrics
    from hjc.metrics.bootstrap import percentile_interval
    from hjc.report.comparison import difference

    drawn = Resamples.draw(len(scores[0]), draws)
    values = [level_metrics(s, taxonomy, level) for s in scores]
    replicates = [replicate_metrics(s, taxonomy, level, drawn) for s in scores]
    lines: list[dict[str, object]] = []
    for metric in metrics:
        for i, value in enumerate(values):
            low, high = percentile_interval(replicates[i][metric], value[metric])
            line: dict[str, object] = {"model": i, "level": level or "overall", "metric": metric, "rows": value["n"]}
            line |= {"value": value[metric], "low": low, "high": high}
            if i:
                of_both = replicates[i][metric], replicates[0][metric]
                line |= difference(metric, value[metric], values[0][metric], *of_both)
            lines.append(line)
    return lines


def mean_difference(rows: Float64, group: IntArray | None = None, seed: int = 0, draws: int = 2000) -> Float64:
    """(1 + R,) mean of ``rows`` (runs, n), then in R resamples of rows (or of their groups) and of runs: paired values
    of two systems, a run for each draw or seed. With one run the interval covers rows alone."""
    from hjc.metrics import Resamples

    resamples = Resamples.draw(rows.shape[1], draws, seed, group)
    counts = resamples.counts[resamples.unit].astype(np.float64)  # (n, R)
    of_run = rows @ counts / counts.sum(axis=0)  # (runs, R)
    drawn = np.random.default_rng(seed).integers(0, len(rows), (len(rows), draws))
    return np.r_[rows.mean(), np.take_along_axis(of_run, drawn, axis=0).mean(axis=0)]


def write_lines(
    study: str,
    lines: Sequence[Mapping[str, object]],
    keys: Sequence[str] = (),
    name: str = "results.csv",
    digits: str = ".5f",
) -> Path:
    """experiments/STUDY/NAME, numbers in the format ``digits``, NaN as an empty cell; lines there whose ``keys`` are
    not among these stay."""
    path = ROOT / "experiments" / study / name
    old: list[dict[str, object]] = []
    if keys and path.exists():
        with path.open(newline="", encoding="utf-8") as stream:
            made = {tuple(str(line[key]) for key in keys) for line in lines}
            old = [dict(x) for x in csv.DictReader(stream) if tuple(x[key] for key in keys) not in made]
    every = [*old, *({key: _cell(value, digits) for key, value in line.items()} for line in lines)]
    names = list(dict.fromkeys(key for line in every for key in line))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(every)
    print(f"{len(every)} lines in {path}", flush=True)
    return path


def _cell(value: object, digits: str) -> object:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:{digits}}"


def _short(value: object) -> str:
    return f"{float(value):.4f}" if str(value) not in ("", "nan") else ""  # type: ignore[arg-type]
