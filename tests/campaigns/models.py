"""Altered and hostile model directories: an error or the same answers, and nothing outside (or inside) is written.

Damage: a file changed while its checksum is not. Forgery: its checksum fits, so that other answers are to be expected,
but never a stack trace or an answer that is no number. Hostile: links, pipes, names that lead out, interrupted saves.
"""

import hashlib
import json
import os
import random
import resource
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import hjc
from hjc.classifiers.derived import model_fingerprint, write_calibration
from hjc.classifiers.paths import CONTENT, DERIVED, content_hash
from hjc.evaluation.drift_profile import read_profile, write_profile
from hjc.evaluation.validation_scores import ValidationScores
from tests.campaigns.harness import MODELS, Tally, forked, here, in_time, snapshot
from tests.campaigns.kills import TRAIN
from tests.campaigns.tables import bytes_mutated

NAMES = [
    "linear_topdown", "linear_recipe", "linear_flat_logreg", "linear_plt", "linear_hashing", "neural_topdown",
    "neural_pathsum", "prototype", "biencoder", "joint_topdown", "hybrid_mixture", "hybrid_loglinear",
    "retrieval_rules", "retrieval_cross_encoder",
]  # fmt: skip
#: kinds of models that are newer than the directories of the fixtures, and the training that makes one
TODAY = {
    "linear_side": ["model=linear", "data.side=[{column: description, kind: categorical}]"],
    "lookup": ["model=lookup"],
    "lookup_linear": ["model=linear", "model.before=lookup"],
    "ads": ["model=ads", "data.text_columns=[title,description]"],
}
TEXTS = ["nurse on a ward", "", "kierowca ciężarówki 🚌", "baker bread rolls " * 60]
VALUES: list[Any] = [
    None, True, -1, 0, 1, 2, 10**12, 1e308, -0.5, float("nan"), "", "x", "../../home/thesis.txt", "/etc/passwd", [], {},
    ["a"], {"a": 1}, "hjc.cli", "\0", "gelu_new", "bert", [[[]]],
]  # fmt: skip
#: files whose content no checksum covers and no answer of ``hjc.load`` rests on
FREE = {"metrics.json", "metrics.csv", "train.yaml", "README.md"}


def json_mutated(value: Any, draw: random.Random) -> Any:
    """One value somewhere inside replaced, removed or doubled."""
    if not isinstance(value, dict | list) or not value or draw.random() < 0.1:
        return draw.choice(VALUES)
    key = draw.choice(list(value) if isinstance(value, dict) else range(len(value)))
    made = value.copy()
    if draw.random() < 0.15:
        del made[key]
    else:
        made[key] = json_mutated(value[key], draw)
    return made


def seal(file: Path, **changes: str) -> None:
    """Make a file's checksum of its own content fit; files of an older hjc get one."""
    state = {**json.loads(file.read_text("utf-8")), **changes}
    state.pop(CONTENT, None)
    file.write_text(json.dumps({**state, CONTENT: content_hash(state)}), "utf-8")


def forge(model: Path, name: str) -> None:
    """Make the checksums fit: the file's own, that in config.json, of a hybrid's part and then of the hybrid's too."""
    derived = name in DERIVED
    with suppress(ValueError, TypeError, RecursionError):  # no JSON object any more
        if Path(name).name == "config.json" or derived:
            seal(model / name)
    for folder in [model / parent for parent in Path(name).parents]:
        config = folder / "config.json"
        if not config.is_file() or config == model / name:
            continue
        content, inner = (model / name).read_bytes(), str((model / name).relative_to(folder))
        state = json.loads(config.read_text())
        if inner in state["files"]:
            state["files"][inner] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            config.write_text(json.dumps(state))
            seal(config)
        name = str(config.relative_to(model))
    if (model / "calibration.json").is_file() and not derived:  # it was made for the config.json before
        seal(model / "calibration.json", model_sha256=model_fingerprint(model))


def damage(model: Path, draw: random.Random, home: Path) -> str:
    """Alter one file; what was done."""
    files = sorted(p.relative_to(model).as_posix() for p in model.rglob("*") if p.is_file())
    name = draw.choice([n for n in files if Path(n).name not in FREE])
    path = model / name
    data = path.read_bytes()
    kind = draw.choice(["bytes", "bytes", "json", "json", "swap", "gone", "empty", "longer"])
    if kind == "json" and path.suffix == ".json":
        path.write_text(json.dumps(json_mutated(json.loads(data), draw)))
    elif kind == "swap":
        path.write_bytes((model / draw.choice(files)).read_bytes())
    elif kind == "gone":
        path.unlink()
    else:
        kind = "bytes" if kind == "json" else kind
        path.write_bytes({"empty": b"", "longer": data + draw.randbytes(9)}.get(kind, bytes_mutated(data, draw)))
    same = path.is_file() and path.read_bytes() == data
    forged = not same and draw.random() < 0.5 and path.is_file()
    if forged:
        forge(model, name)
    return "unchanged" if same else "forged" if forged else "damaged"


def hostile(model: Path, draw: random.Random, home: Path) -> str:
    """A directory made to reach files outside."""
    entries = sorted(p.relative_to(model).as_posix() for p in model.rglob("*"))
    path = model / draw.choice(entries)
    match draw.choice(["link", "pipe", "commit", "commit link", "lists", "saving", "parents"]):
        case "link":
            path.rename(model.parent / "moved")
            path.symlink_to(draw.choice([model.parent / "moved", home / "docs", home / "docs" / "thesis.txt", path]))
        case "pipe":
            path.rename(model.parent / "moved")
            os.mkfifo(path)
        case "commit link":
            (model / ".commit").symlink_to(draw.choice([home, home / "docs", model]))
        case "commit":
            (model / "x").symlink_to(home)
            (model / ".commit" / "x" / "docs").mkdir(parents=True)
            (model / ".commit" / "x" / "docs" / "thesis.txt").write_text("evil")
            if draw.random() < 0.5:
                shutil.copy(model / "config.json", model / ".commit")
        case "lists":
            state = json.loads((model / "config.json").read_text())
            name = draw.choice(["../home/docs/thesis.txt", "/etc/passwd", "..", "x/../../home", "C:\\x", "a\0b", "NUL"])
            state["files"][name] = {"sha256": "", "size": 0}
            (model / "config.json").write_text(json.dumps(state))
            seal(model / "config.json")
        case "saving":
            (model / ".saving-1").symlink_to(home)
            (model / ".saving.lock").symlink_to(home / "docs" / "thesis.txt")
        case "parents":
            with suppress(FileNotFoundError):
                (model / "parts").rename(model.parent / "moved")
            (model / "parts").symlink_to(home)
    return "hostile"


def answers(model: Path, calibrated: bool) -> Any:
    """Log-probabilities, or the error that says why there are none (also where the calibration is gone)."""
    try:
        with in_time():
            found = hjc.load(model)
            return (found.calibrated() if calibrated else found).predict_log_proba(TEXTS)
    except (ValueError, OSError, ImportError) as error:
        return error


def one(tally: Tally, number: int, home: Path, models: Path, wanted: dict[str, Any], again: bool) -> None:
    draw = tally.random(number)
    name = draw.choice(sorted(wanted))
    folder = Path(tempfile.mkdtemp(prefix="hjc-models-"))
    model = Path(shutil.copytree(models / name, folder / "model"))
    kind = draw.choice([damage, damage, damage, hostile])(model, draw, home)
    case = f"{number} ({name}, {kind})"
    tally.add(f"directories {kind}")
    before = snapshot(home), snapshot(folder)
    try:
        found = answers(model, (models / name / "calibration.json").exists())
        if isinstance(found, Exception):
            tally.add("refused by hjc.load")
        elif found.shape != wanted[name].shape or not np.isfinite(found.max(axis=1)).all():
            tally.add("answers that are no numbers (predict must refuse)")
        elif np.array_equal(found, wanted[name]):
            tally.add("loaded, same answers")
        else:
            tally.add(f"loaded, other answers ({kind})")
            if kind != "forged":
                tally.fault(case, "other answers without an error")
    except BaseException as error:
        tally.fault(case, f"hjc.load or predict: {type(error).__name__}: {str(error)[:300]}")
    table = MODELS / "data" / "test.csv"
    for arguments in (["info", model], ["predict", model, table, "-t", "text", "-q", "--calibrated", "-k", 2])[
        number % 2 :
    ]:
        ended = here(*arguments)
        tally.judge(f"{case} {arguments[0]}", ended)
        if ended.code == 0 and arguments[0] == "predict" and "nan" in ended.out:
            tally.fault(case, "NaN in the output")
    if again:
        tally.add("cases repeated in a process of their own")
        if (repeated := forked(*arguments)).code != ended.code:
            tally.fault(case, f"another end in a process of its own: rc {ended.code}", repeated)
    after = snapshot(home), snapshot(folder)
    for where, old, new in zip(("outside", "in the directory"), before, after, strict=True):
        if old != new:
            tally.fault(case, f"changed {where}: {sorted(set(old.items()) ^ set(new.items()))[:4]}")
    shutil.rmtree(folder)


def run(count: int, seed: int, *, today: bool = True) -> Tally:
    """``count`` directories, ``today``: of newer kinds too. Sizes are forged too, so the memory has a limit."""
    tally, home = Tally("models", seed), Path(tempfile.mkdtemp(prefix="hjc-canary-")) / "home"
    for name in (".ssh/authorized_keys", "docs/thesis.txt", "config.json", "taxonomy.csv"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("canary")
    models = home.parent / "models"
    names = [*NAMES, *(TODAY if today else ())]
    for name in names:  # in today's format, with checksums
        source = MODELS / name if name in NAMES else home.parent / "trained" / name
        if name in TODAY:
            ended = here(*TRAIN, *TODAY[name], f"run_dir={source}")
            if ended.code:
                tally.fault(name, "cannot be trained", ended)
                return tally
        loaded = hjc.load(source)
        loaded.save_pretrained(models / name)
        if loaded.calibrator is not None:
            write_calibration(models / name, loaded.calibrator)
        with suppress(FileNotFoundError, ValueError):
            ValidationScores.load(source, loaded.taxonomy).save(models / name)
        with suppress(FileNotFoundError, ValueError):
            write_profile(models / name, *read_profile(source, loaded.taxonomy))
    wanted = {name: answers(models / name, (models / name / "calibration.json").exists()) for name in names}
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, limits[1]))
    for number in range(count):
        one(tally, number, home, models, wanted, count >= 500 and number % (count // 50) == 0)
    resource.setrlimit(resource.RLIMIT_AS, limits)
    tally.add("watched trees outside, unchanged") if not tally.faults else None
    return tally
