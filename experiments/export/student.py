"""Students of a model, fitted to the first so many texts that `hjc distill` would take, and all of them on test rows.

    OMP_NUM_THREADS=1 python experiments/export/student.py RUN_DIR TEXTS.csv TEST.csv -t text -c code --texts 98304

As `hjc distill RUN_DIR TEXTS.csv` does it, but the teacher's answers are kept part by part in a folder, so that a
killed run goes on, and several students are fitted to the same answers: static ones of `--widths` numbers a vector, and
`--layers`. With `--also MORE.csv` each of them is fitted once more, to the texts of both files.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from run import measured

import hjc
from hjc.apply.distill import read_texts
from hjc.apply.step import recipe_of
from hjc.classifiers.base import Classifier
from hjc.classifiers.distill import MOST_HELD_OUT, TOP, fit_to_answers, layers_of, static_student
from hjc.classifiers.static import StaticSettings
from hjc.data.reading import read_job_data
from hjc.data.recipe import TextRecipe
from hjc.data.settings import DataSettings
from hjc.files import open_replacing
from hjc.nn.distilling import SoftTargets
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


class Texts:
    """The texts of a file in the order in which `hjc distill` draws them, and what the teacher says of them."""

    def __init__(self, teacher: Classifier, path: str, recipe: TextRecipe, most: int, folder: Path) -> None:
        found, note = read_texts(path, recipe, ReadOptions())
        print(note, flush=True)
        order = np.random.default_rng(1).permutation(len(found))[MOST_HELD_OUT:][:most]
        self.texts = [found[i] for i in order.tolist()]
        self.targets = answers(teacher, self.texts, folder)

    def add(self, other: "Texts") -> None:
        self.texts = self.texts + other.texts
        pairs = ((getattr(self.targets, name), getattr(other.targets, name)) for name in ("leaves", "proba"))
        self.targets = SoftTargets(*map(np.concatenate, pairs))


def told(number: int, loss: float) -> None:
    print(f"pass {number}: cross-entropy {loss:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("run_dir", "taught", "test"):
        parser.add_argument(name)
    parser.add_argument("-t", "--text-column", action="append", required=True)
    parser.add_argument("-c", "--code-column", default="code")
    parser.add_argument("--texts", type=int, default=98_304)
    parser.add_argument("--also", help="a second file of texts with the same columns")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--widths", type=int, nargs="*", default=[128])
    parser.add_argument("--layers", type=int, nargs="*", default=[])
    parser.add_argument("--answers", type=Path, required=True, help="folder for the teacher's answers")
    parser.add_argument("-o", "--output", default=str(HERE / "student.csv"))
    given = parser.parse_args()
    model = hjc.load(given.run_dir).compute_on("cpu", "auto")
    teacher = model.calibrated() if model.calibrator is not None else model
    settings = DataSettings(text_columns=given.text_column, code_column=given.code_column)
    rows, _ = read_job_data(given.test, model.taxonomy, settings)
    table = [{"model": "teacher", "texts": 0, **measured(model, rows)}]
    print(table[-1], flush=True)

    def add(name: str, student: Classifier, texts: int) -> None:
        table.append({"model": name, "texts": texts, **measured(student, rows)})
        print(table[-1], flush=True)
        pd.DataFrame(table).to_csv(given.output, index=False)

    def students(taught: Texts) -> None:
        for width in given.widths:
            own = StaticSettings(width=width)
            student: Any = static_student(teacher, taught.texts, taught.targets, own, given.epochs, 1, told)
            add(f"static student, {width} numbers", student, len(taught.texts))
        for number in given.layers:
            student = layers_of(teacher, number)
            fit_to_answers(student, taught.texts, taught.targets, given.epochs, 1, told)
            add(f"first {number} layers", student.compute_on("cpu", "auto"), len(taught.texts))

    recipe = recipe_of(given.run_dir, given.text_column)
    taught = Texts(teacher, given.taught, recipe, given.texts, given.answers)
    students(taught)
    if given.also:
        folder = given.answers / Path(given.also).stem
        taught.add(Texts(teacher, given.also, recipe, given.texts, folder))
        students(taught)


if __name__ == "__main__":
    main()
