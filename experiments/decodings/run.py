"""Ways to turn the same probabilities into codes, by the metrics of hierarchical-classification research: real titles.

python experiments/decodings/run.py [--only "kzis ads"]
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
from common import write_lines  # noqa: E402
from side_variables.run import load  # noqa: E402

from hjc.arrays import Float64  # noqa: E402
from hjc.classifiers.linear import LinearClassifier  # noqa: E402
from hjc.classifiers.linear_settings import LinearSettings  # noqa: E402
from hjc.evaluation.decodings import ALL, BUNDLES, LEAF, DecodingRows  # noqa: E402
from hjc.evaluation.validation import describe_validation  # noqa: E402
from hjc.metrics import LevelProba, Resamples  # noqa: E402
from hjc.metrics.bootstrap import percentile_interval  # noqa: E402
from hjc.metrics.hierarchical import node_information  # noqa: E402
from hjc.report.comparison import difference  # noqa: E402

DRAWS = 300
BETAS = (0.5, 1.0, 2.0)


def replicates(rows: DecodingRows, times: Float64) -> dict[tuple[str, str], Float64]:
    """(decoding, metric) -> values in resamples that draw the units ``times`` (U, R)."""
    out = {(ALL, "hf1_auc"): rows.curve.area(times)}
    for way, sums in rows.sums.items():
        for metric, of_unit in zip(rows.metrics, sums.T, strict=True):
            if not np.isnan(of_unit).any():
                out[way, metric] = (of_unit @ times) / (rows.total @ times)
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=("vacancies", "kzis ads"), action="append", help="a part of the data")
    for name in parser.parse_args().only or ("vacancies", "kzis ads"):
        _, data = load(name, "title", near=False)
        train, test, tree = data["train"], data["test"], data["train"].taxonomy
        model = LinearClassifier(tree, LinearSettings(features="word", max_features=20_000)).fit(train)
        calibrator = describe_validation(model, data["valid"]).calibrator
        information = node_information(tree, np.bincount(train.gold, minlength=len(tree)))
        drawn = Resamples.draw(len(test), DRAWS, max_units=BUNDLES)
        times = drawn.counts.astype(float)
        found: dict[str, tuple[DecodingRows, dict[tuple[str, str], Float64]]] = {}
        raw = model.leaf_log_proba(test.texts)
        for kind, log_proba in (("raw", raw), ("calibrated", calibrator.transform(raw))):
            rows = DecodingRows(tree, test.gold, information, drawn, betas=BETAS)
            for part in np.array_split(np.arange(len(test)), max(1, len(test) // 500)):
                rows.update(part, LevelProba.of(tree, log_proba[part]))
            found[kind] = rows, replicates(rows, times)
        lines = []
        for kind, (rows, again) in found.items():
            values = replicates(rows, np.ones((len(rows.total), 1)))
            before = replicates(found["raw"][0], np.ones((len(rows.total), 1)))
            for (way, metric), value in values.items():
                low, high = percentile_interval(again[way, metric], float(value[0]))
                line = {"data": name, "probabilities": kind, "decoding": way, "metric": metric, "rows": rows.rows,
                        "value": float(value[0]), "low": low, "high": high}  # fmt: skip
                if (LEAF, metric) in values and way != LEAF:
                    other, drawn_other = float(values[LEAF, metric][0]), again[LEAF, metric]
                    line |= {"than": LEAF, **difference(metric, line["value"], other, again[way, metric], drawn_other)}
                lines.append(line)
                if kind != "raw":
                    both = again[way, metric], found["raw"][1][way, metric]
                    change = difference(metric, line["value"], float(before[way, metric][0]), *both)
                    lines.append({**line, "than": "raw", **change})
        for line in lines:
            print({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}, flush=True)
        write_lines("decodings", lines, ("data",))


if __name__ == "__main__":
    main()
