"""Made tests/fixtures/models_0_1: a small directory of every kind of classifier as hjc 0.1 wrote it, and what it says.

It was run at commit abce249, with that commit's code. It is not run again: the fixtures stand for models that people
have on disk, and another code would write other ones. It is kept so that one can see how they came about:

    PYTHONPATH=. OMP_NUM_THREADS=1 python tests/make_model_fixtures.py OUT

Everything in it is named by relative paths, from OUT, so that no path of a machine is stored.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

#: code: parent, titles, description. Ragged: leaves at all three levels, a single child, a leading zero; 82 has no rows
TREE = {
    "0": ("", "soldier", "Soldat", "żołnierz", "Serve in the armed forces."),
    "2": ("", "health", "Gesundheit", "zdrowie", ""),
    "21": ("2", "nursing", "Pflege", "pielęgniarstwo", ""),
    "211": ("21", "nurse", "Krankenpflegerin", "pielęgniarka", "Care for patients on a ward. Not doctors (22)."),
    "22": ("2", "doctor", "Arzt", "lekarz", "Examine patients and treat their illnesses."),
    "5": ("", "food", "Lebensmittel", "żywność", ""),
    "51": ("5", "kitchen", "Küche", "kuchnia", ""),
    "511": ("51", "cook", "Koch", "kucharz", "Prepare meals in restaurants."),
    "512": ("51", "kitchen helper", "Küchenhilfe", "pomoc kuchenna", "Wash dishes and help cooks."),
    "52": ("5", "bakery", "Backwaren", "piekarnia", ""),
    "521": ("52", "baker", "Bäcker", "piekarz", "Bake bread and rolls."),
    "522": ("52", "confectioner", "Konditor", "cukiernik", "Make cakes and sweets."),
    "8": ("", "transport", "Verkehr", "transport", ""),
    "81": ("8", "driving", "Fahren", "jazda", ""),
    "811": ("81", "lorry driver", "LKW-Fahrer", "kierowca ciężarówki", "Drive lorries."),
    "812": ("81", "bus driver", "Busfahrer", "kierowca autobusu", "Drive buses."),
    "82": ("8", "pilot", "Pilot", "pilot", "Fly aircraft."),
}
WORDS = {
    "0": "soldier army Soldat żołnierz",
    "211": "nurse ward Pflegerin pielęgniarka",
    "22": "doctor clinic Arzt lekarz",
    "511": "cook restaurant Koch kucharz",
    "512": "helper dishes Küchenhilfe pomoc",
    "521": "baker bread Bäcker piekarz",
    "522": "cakes sugar Konditor cukiernik",
    "811": "lorry HGV Fahrer ciężarówka",
    "812": "bus passengers Busfahrer autobus",
    "5": "catering",
    "81": "driver",
}
TEXTS = [
    "registered nurse, night shifts",
    "Krankenpflegerin (m/w/d)",
    "kierowca ciężarówki C+E",
    "chef de partie / cook in a restaurant\nWe look for a cook who likes bread.",
    "",
    "   \n\t ",
    "<p>Baker <b>wanted</b></p><ul><li>bread &amp; rolls</li></ul>",
    "doctor in a clinic. " * 250,  # 5,000 characters
    "🚌🚌 bus driver 🚌",
    "LORRY DRIVER HGV CLASS 1",
    "KUCHARZ ŁÓDŹ",
    "βοηθός κουζίνας",
    "Повар в ресторан",
    "看護師",
    "ｂａｋｅｒ ﬁne bread",
    "piekarz cukiernik",
    "soldier",
    "İSTANBUL ışık aşçı",
    "1234567890 !!! ---",
    "driver\r\nbus\x00\u200bdriver",
]
#: cells with mark-up, more than 60 characters, empty ones
ROWS = [
    ("nurse", "night shifts on a ward"),
    ("<b>Koch</b>", "<p>restaurant&nbsp;in <i>Wien</i></p>"),
    ("driver", "we are a friendly company with a long tradition in the whole region; lorry lorry HGV ciężarówka"),
    ("", "<div>cakes<br>sugar</div>"),
    ("piekarz", ""),
    ("", ""),
    ("  bus   driver ", "passengers"),
    ("doctor", "<script>baker baker baker</script> clinic"),
    ("a title that is so long that nothing of what stands behind it is read", "soldier army soldier army"),
    ("HELPER", "dishes & more <3"),
]
TINY = {"encoder": "tiny", "tiny_hidden": 16, "tiny_layers": 1, "tiny_vocabulary": 300, "max_length": 24}
LINEAR = {"max_features": 60}
TRAINER: dict[str, Any] = {
    "epochs": 8, "batch_size": 16, "learning_rate": 3e-3, "head_learning_rate": 0.02, "warmup_steps": 4,
    "precision": "32", "threads": 1, "patience": 0, "loggers": [],
}  # fmt: skip
#: what stays of a run, beside the files that config.json lists
KEPT = ("train.yaml", "metrics.json", "config.json", "calibration.json", "calibration_scores.npz", "drift_profile.json")


def write_table(path: Path, header: list[str], rows: list[tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([header, *rows])


def write_data() -> None:
    """The tree and rows for it: two words of the code, in some rows those of others; a few rows of inner codes.

    The training rows are the purer ones, which makes models too sure of themselves, so that calibration has an effect.
    """
    header = ["code", "parent", "title_en", "title_de", "title_pl", "description_en"]
    write_table(Path("data/tree.csv"), header, [(code, *values) for code, values in TREE.items()])
    random = np.random.default_rng(3)
    every = " ".join(WORDS.values()).split()
    for name, per_code, pure in (("train", 14, 0.95), ("valid", 8, 0.8), ("test", 3, 0.8)):
        rows = []
        for code, words in WORDS.items():
            for _ in range(per_code if code in TREE and len(words.split()) > 1 else 2 if name == "train" else 0):
                one, two = random.choice(words.split() if random.random() < pure else every, 2)
                other = random.choice(every) if random.random() < 0.4 else "wanted"
                rows.append((f"{one} {other}", f"<p>{two} {random.choice(['job', 'team', 'now'])}</p>", code))
        rows = [(*row[:2], f"{row[0]} {re.sub('<.*?>', '', row[1])}", row[2]) for row in rows]
        write_table(Path(f"data/{name}.csv"), ["title", "description", "text", "code"], rows)


def flat(values: dict[str, Any], section: str) -> list[str]:
    return [f"{section}.{key}={repr(value) if value == '32' else value}" for key, value in values.items()]


def train(name: str, *overrides: str) -> None:
    """``hjc train`` in a process of its own."""
    data = [f"data.{part}=[data/{part}.csv]" for part in ("train", "valid", "test")]
    fixed = ["data=csv", "taxonomy=csv", "taxonomy.path=data/tree.csv", "evaluation=quick", f"run_dir={name}"]
    command = [sys.executable, "-m", "hjc.cli", "train", *overrides, *data, *fixed]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    files = json.loads(Path(name, "config.json").read_text("utf-8"))["files"]
    kept = {Path(name, file) for file in (*files, *KEPT)}
    for path in sorted(Path(name).rglob("*"), reverse=True):
        if path.is_file() and path not in kept:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def make_all() -> None:
    from hjc.classifiers.calibrated import CalibratedClassifier

    from hjc.calibration import Chain, ConditionalTemperature, Temperature, VectorScaling
    from hjc.classifiers.embedding.biencoder import BiEncoderClassifier
    from hjc.classifiers.embedding.joint import JointEmbeddingClassifier
    from hjc.classifiers.embedding.prototype import PrototypeClassifier
    from hjc.classifiers.embedding.retrieval import RetrieveAndRerankClassifier
    from hjc.classifiers.embedding.settings import (
        BiEncoderSettings,
        HybridSettings,
        JointSettings,
        PrototypeSettings,
        RetrievalSettings,
    )
    from hjc.classifiers.hybrid import HybridClassifier
    from hjc.classifiers.linear import LinearClassifier
    from hjc.classifiers.linear_settings import LinearSettings
    from hjc.classifiers.neural import NeuralClassifier
    from hjc.data import load_job_data
    from hjc.data.settings import DataSettings
    from hjc.nn.settings import NeuralSettings, TrainerSettings
    from hjc.taxonomy import load_taxonomy

    tree = load_taxonomy("data/tree.csv")
    files = {part: [f"data/{part}.csv"] for part in ("train", "valid", "test")}
    sets = load_job_data(DataSettings(**files), tree)  # type: ignore[arg-type]

    def linear(**values: Any) -> LinearClassifier:
        return LinearClassifier(tree, LinearSettings(**{**LINEAR, **values}))

    def trained(kind: Any, settings: Any, **values: Any) -> Any:
        return lambda: kind(tree, settings(**{**TINY, **values}), TrainerSettings(**TRAINER))

    saved: dict[str, Callable[[], Any]] = {
        "linear_plt": lambda: linear(hierarchy="plt"),
        "linear_flat_logreg": lambda: linear(hierarchy="flat_logreg"),
        "linear_hashing": lambda: linear(max_features=0, hashing=64, loss="l2"),
        "linear_char": lambda: linear(features="char", char_ngrams=[3, 5], lead_weight=0),
        "linear_bottomup": lambda: linear(hierarchy="bottomup"),
        "neural_bottomup": trained(NeuralClassifier, NeuralSettings, hierarchy="bottomup", head_init="random"),
        "neural_pathsum": trained(
            NeuralClassifier, NeuralSettings, hierarchy="pathsum", pooling="max", prefix="query: "
        ),
        "biencoder": trained(BiEncoderClassifier, BiEncoderSettings),
        "joint_pathsum": trained(JointEmbeddingClassifier, JointSettings, triplets=64),
        "joint_topdown": trained(
            JointEmbeddingClassifier, JointSettings, hierarchy="topdown", projection=False, triplets=64
        ),
        "prototype_average": trained(
            PrototypeClassifier, PrototypeSettings, prototype="average", label_mode="title_desc"
        ),
        "retrieval_rules": trained(RetrieveAndRerankClassifier, RetrievalSettings, candidate_grid=[2, 3], vote_level=2),
        "retrieval_cross_encoder": trained(
            RetrieveAndRerankClassifier, RetrievalSettings, candidates=3, reranker="cross_encoder"
        ),
        "retrieval_none": trained(
            RetrieveAndRerankClassifier, RetrievalSettings, candidates=3, reranker="none", decline_below=0.3
        ),
    }  # fmt: skip
    levels, groups = np.array([1.2, 0.8, 1.5]), np.linspace(0.7, 1.6, len(tree.group_slice))
    slope, bias = np.array([0.8, 1.0, 1.1, 1.3]), np.array([0.5, -0.2, 0.0, 0.1])
    calibrators = {  # kinds that the choice need not come to, on so few rows
        "biencoder": Temperature(tree, 1.7),
        "neural_bottomup": ConditionalTemperature(tree, groups, per="group"),
        "linear_bottomup": Chain(tree, [ConditionalTemperature(tree, levels), VectorScaling(tree, 1, slope, bias)]),
    }
    limits = flat(LINEAR, "model")
    tiny, trainer = flat(TINY, "model"), flat(TRAINER, "trainer")
    train("linear_topdown", "model=linear", *limits)
    recipe = [
        "data.text_columns=[title,description]",
        "data.strip_html=true",
        "data.text_joiner=' '",
        "data.max_chars=60",
    ]
    train("linear_recipe", "model=linear", *limits, *recipe)
    Path("linear_recipe/drift_profile.json").unlink()  # large, and that of linear_topdown is like it
    train("neural_topdown", "model=tiny", "hierarchy=topdown", *tiny, *trainer, "trainer.epochs=16")
    train("prototype", "model=prototype", "encoder=tiny", *tiny, *trainer)
    for name, make in saved.items():
        print(name, flush=True)
        made = make().fit(sets.train, sets.valid)
        if name == "joint_pathsum":
            made.scale = 40.0  # with leaves at several levels the fitted one is the least that is allowed: all uniform
        if name in calibrators:
            made = CalibratedClassifier(made, calibrators[name])
        made.save_pretrained(Path(name))
    train(
        "hybrid_loglinear",
        "model=hybrid",
        "model.kind=loglinear",
        "model.parts=[linear_topdown,prototype,linear_hashing]",
    )
    parts = HybridSettings(parts=["linear_plt", "neural_topdown"], kind="mixture")
    HybridClassifier(tree, parts).fit(sets.train, sets.valid).save_pretrained(Path("hybrid_mixture"))


def write_expected() -> None:
    """What the code that wrote the models says with them."""
    import hjc

    Path("texts.json").write_text(json.dumps(TEXTS, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    Path("expected").mkdir()
    for config in sorted(Path().glob("*/config.json")):
        name = config.parent.name
        classifier = hjc.load(name)
        found = {"log_proba": classifier.predict_log_proba(TEXTS)}
        if classifier.calibrator is not None:
            found["calibrated"] = classifier.calibrated().predict_log_proba(TEXTS)
        assert all(np.isfinite(v).all() and v.dtype == np.float32 for v in found.values()), name
        np.savez_compressed(f"expected/{name}.npz", **found)  # type: ignore[arg-type]
    write_table(Path("recipe_rows.csv"), ["title", "description"], ROWS)
    options = ["-q", "-l", "1", "-l", "3", "-k", "2", "--calibrated", "-o", "expected/linear_recipe_predict.csv"]
    subprocess.run(
        [sys.executable, "-m", "hjc.cli", "predict", "linear_recipe", "recipe_rows.csv", *options], check=True
    )
    jobs = [{"title": title, "description": text} for title, text in ROWS if title or text]
    values = hjc.JobClassifier("linear_recipe").predict_batch(jobs, top_k=3)
    lines = ",\n".join(
        json.dumps({"job": j, "found": f}, ensure_ascii=False) for j, f in zip(jobs, values, strict=True)
    )
    Path("expected/linear_recipe_jobs.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main() -> None:
    target = Path(sys.argv[1]).absolute()
    if target.exists():
        raise SystemExit(f"{target} is there already")
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        write_data()
        make_all()
        write_expected()
        os.chdir("/")
        shutil.copytree(scratch, target)


if __name__ == "__main__":
    main()
