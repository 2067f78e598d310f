"""A static student of a model, fitted to the first so many texts that `hjc distill` would take, and both on test rows.

    OMP_NUM_THREADS=1 python experiments/export/student.py RUN_DIR TEXTS.csv TEST.csv -t text -c code --texts 98304

As `hjc distill RUN_DIR TEXTS.csv` does it, but the teacher's answers are kept part by part in a folder, so that a
killed run goes on, and several students are fitted to the same answers.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from run import measured

import hjc
from hjc.apply.distill import read_texts
from hjc.apply.step import recipe_of
from hjc.classifiers.base import Classifier
from hjc.classifiers.distill import MOST_HELD_OUT, TOP
from hjc.classifiers.static import StaticClassifier, StaticSettings
from hjc.data.reading import read_job_data
from hjc.data.settings import DataSettings
from hjc.files import open_replacing
from hjc.nn.distilling import SoftTargets, fit_static
from hjc.nn.onnx_graph import integers
from hjc.tables import ReadOptions

HERE = Path(__file__).parent
#: texts of a part
PART = 8192


def answers(teacher: Classifier, texts: list[str], folder: Path) -> SoftTargets:
    """The teacher's most probable leaves of all texts; parts that are there already are read."""
    folder.mkdir(parents=True, exist_ok=True)
    leaves, proba = [], []
    for start in range(0, len(texts), PART):
        path, part = folder / f"{start // PART:03d}.npz", texts[start : start + PART]
        if not path.exists():
            found = np.empty((2, len(part), TOP), np.float32)
            for rows, log_proba in teacher.iter_log_proba(part):
                one = SoftTargets.of(log_proba, TOP)
                found[0, rows], found[1, rows] = one.leaves, one.proba
            with open_replacing(path) as stream:
                np.savez(stream, L=found[0].astype(np.int32), P=found[1])
            print(f"coded {start + len(part):,} of {len(texts):,}", flush=True)
        with np.load(path) as stored:
            leaves.append(stored["L"])
            proba.append(stored["P"])
    return SoftTargets(np.concatenate(leaves), np.concatenate(proba))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("run_dir", "taught", "test"):
        parser.add_argument(name)
    parser.add_argument("-t", "--text-column", action="append", required=True)
    parser.add_argument("-c", "--code-column", default="code")
    parser.add_argument("--texts", type=int, default=98_304)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--widths", type=int, nargs="+", default=[128])
    parser.add_argument("--answers", type=Path, required=True, help="folder for the teacher's answers")
    parser.add_argument("-o", "--output", default=str(HERE / "student.csv"))
    given = parser.parse_args()
    recipe = recipe_of(given.run_dir, given.text_column)
    model = hjc.load(given.run_dir).compute_on("cpu", "auto")
    teacher = model.calibrated() if model.calibrator is not None else model
    found, note = read_texts(given.taught, recipe, ReadOptions())
    order = np.random.default_rng(1).permutation(len(found))[MOST_HELD_OUT:][: given.texts]
    texts = [found[i] for i in order.tolist()]
    print(note, flush=True)
    settings = DataSettings(text_columns=given.text_column, code_column=given.code_column)
    rows, _ = read_job_data(given.test, model.taxonomy, settings)
    targets = answers(teacher, texts, given.answers)
    table = [{"model": "teacher", "texts": 0, **measured(model, rows)}]
    print(table[-1], flush=True)
    for width in given.widths:
        student = StaticClassifier(model.taxonomy, StaticSettings(width=width))
        vectors, student.weights, student.bias = fit_static(
            student.reader(texts), targets, buckets=student.settings.buckets, width=width,
            leaves=model.taxonomy.num_leaves, epochs=given.epochs, seed=1, told=lambda *told: print(*told, flush=True),
        )  # fmt: skip
        student.vectors, student.scales = integers(vectors)
        table.append({"model": f"static student, {width} numbers", "texts": len(texts), **measured(student, rows)})
        print(table[-1], flush=True)
        pd.DataFrame(table).to_csv(given.output, index=False)


if __name__ == "__main__":
    main()
