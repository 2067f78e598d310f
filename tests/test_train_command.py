"""`python train.py` and `hjc train` as programs: what they print, loggers, several processes, an installed wheel."""

import csv
import json
import os
import re
import struct
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

import hjc
from hjc.training.config import ConfigError, compose
from hjc.training.record import command_line
from hjc.training.workflow import run_training

pytestmark = pytest.mark.slow

ROOT = Path(hjc.__file__).resolve().parent.parent
WORDS = {"11": "nurse ward", "12": "doctor clinic", "21": "lorry driver", "22": "tram rails", "23": "pilot plane"}
TINY = [
    "model=tiny", "model.tiny_hidden=32", "model.tiny_layers=1", "model.tiny_vocabulary=300", "trainer.epochs=2",
    "trainer.threads=1", "trainer.precision='32'", "trainer.batch_size=16", "trainer.warmup_steps=2",
    "evaluation=quick", "data=csv", "taxonomy=csv",
]  # fmt: skip
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")} | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that name a small tree and ads for it."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(1)
    with (folder / "tree.csv").open("w", newline="") as f:
        rows = [("1", "", "health"), ("2", "", "transport"), *((c, c[0], w) for c, w in WORDS.items())]
        csv.writer(f).writerows([("code", "parent", "title_en"), *rows])
    with (folder / "ads.csv").open("w", newline="") as f:
        codes = [list(WORDS)[int(rng.integers(5))] for _ in range(120)]
        csv.writer(f).writerows([("text", "code"), *((f"{WORDS[c]} wanted {i}", c) for i, c in enumerate(codes))])
    return [f"data.files=[{folder / 'ads.csv'}]", f"taxonomy.path={folder / 'tree.csv'}"]


def run(command: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def train_py(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), *TINY, *arguments]


def record(directory: Path) -> dict:  # type: ignore[type-arg]
    found: dict = yaml.safe_load((directory / "train.yaml").read_text("utf-8"))  # type: ignore[type-arg]
    return found


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["train.py", "seed=1"], "python train.py seed=1"),
        (["/x/bin/hjc", "data.files=[a b.csv]"], "hjc train 'data.files=[a b.csv]'"),
        (["/x/bin/hjc"], "hjc train"),
        (["/x/bin/hjc", "-m", "seed=1,2"], "hjc train -m seed=1,2"),
        (["/x/bin/hjc", "ready", "isco08", "-o", "a b"], "hjc ready isco08 -o 'a b'"),
        (["/x/bin/hjc", "--debug", "learn", "m", "coded.csv"], "hjc --debug learn m coded.csv"),
        (["/x/hjc/cli/__main__.py", "seed=1"], "python -m hjc.cli train seed=1"),
        (["/x/hjc/cli/__main__.py", "ready", "isco08"], "python -m hjc.cli ready isco08"),
        (["/x/bin/pytest", "-x"], "pytest -x"),
    ],
)
def test_the_recorded_command_can_be_typed_again(
    argv: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert command_line() == expected


def test_a_missing_encoder_is_known_before_the_data_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port is closed: a hub that does not answer."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    config = compose(["model=xlmr", "data=csv", "data.files=[nowhere.csv]", f"run_dir={tmp_path / 'run'}"])
    console = Console(record=True, width=200, file=open(os.devnull, "w"))  # noqa: SIM115
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"(?s)xlm-roberta-base was asked for.*\(1\).*\(2\).*\(3\)"):
        run_training(config, console)
    assert time.monotonic() - started < 5
    assert "training rows" not in console.export_text()


def test_two_processes_train_as_one(data: list[str], tmp_path: Path) -> None:
    """gloo on the CPU, each process with half of every batch; Lightning's own notes are not printed."""
    one = run(train_py(*data, "run_dir=one"), tmp_path)
    options = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]
    two = run(train_py(*data, "run_dir=two", *options), tmp_path)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text("utf-8")) for name in ("one", "two")]
    assert metrics[0].keys() == metrics[1].keys()
    for level in (1, 2):
        key = f"test/level_{level}/log_loss"
        # dropout draws differ; without dropout the losses are the same (test_training)
        assert metrics[0][key] == pytest.approx(metrics[1][key], abs=0.05)
    assert record(tmp_path / "two")["status"] == "finished"
    assert record(tmp_path / "two")["command"].startswith("python train.py model=tiny")
    assert two.stdout.count("run finished") == 1  # the second process is silent
    for done, name in ((one, "one"), (two, "two")):
        written = done.stdout + done.stderr + (tmp_path / name / "train.log").read_text("utf-8")
        for noise in ("litlogger", "GPU available", "TPU available", "Trainer.fit", "UserWarning"):
            assert noise not in written, noise


def test_installed_wheel_trains_and_predicts_in_an_empty_folder(data: list[str], tmp_path: Path) -> None:
    """The wheel in an environment of its own; what hjc depends on is lent by this one."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    run(build, ROOT)
    venv, empty = tmp_path / "venv", tmp_path / "empty"
    run([sys.executable, "-m", "venv", "--without-pip", str(venv)], tmp_path)
    wheel = str(next((tmp_path / "dist").glob("*.whl")))
    python = str(venv / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "--no-input"]
    run([*pip, "install", "--no-deps", "--no-index", wheel], tmp_path)
    site = next((venv / "lib").glob("python*/site-packages"))
    # a line in a .pth file comes after the environment's own packages; the .pth files found there do not count
    (site / "lent.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    empty.mkdir()
    command = str(venv / "bin" / "hjc")
    run([command, "train", *TINY, *data, "run_dir=run"], empty)
    found = record(empty / "run")
    assert found["status"] == "finished" and found["command"].startswith("hjc train model=tiny")
    assert found["code"] is None and found["versions"]["hjc"] == hjc_version(wheel)
    ads = re.fullmatch(r"data\.files=\[(.*)\]", data[0])
    assert ads is not None
    done = run([command, "predict", "run", ads[1], "--level", "2"], empty)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert len(rows) == 120 and {row["hjc_status"] for row in rows} == {"ok"}
    assert {row["hjc_level2_code_1"] for row in rows} <= set(WORDS)


def hjc_version(wheel: str) -> str:
    return Path(wheel).name.split("-")[1]


@pytest.mark.slow
def test_tensorboard_and_wandb_write_one_finished_run_a_job(data: list[str], tmp_path: Path) -> None:
    """Alone and in a sweep of one process; wandb offline, its files read back with its own reader."""
    pytest.importorskip("wandb")
    pytest.importorskip("tensorboard")
    offline = {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    both = "trainer.loggers=[csv,tensorboard,wandb]"
    run(train_py(*data, both, "run_dir=alone"), tmp_path, **offline)
    jobs = [tmp_path / "alone"]
    sweep = [both, "seed=1,2", "hydra.sweep.dir=sweep"]
    run([sys.executable, str(ROOT / "train.py"), "-m", *TINY, *data, *sweep], tmp_path, **offline)
    jobs += sorted(path for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert len(jobs) == 3
    ids = set()
    for job in jobs:
        assert "valid/log_loss" in scalars(job / "logs")
        with (job / "logs" / "metrics.csv").open(newline="") as f:
            losses = [float(row["valid/log_loss"]) for row in csv.DictReader(f) if row["valid/log_loss"]]
        files = list((job / "logs" / "wandb").glob("offline-run-*/run-*.wandb"))
        assert len(files) == 1, files
        history, exit_code = wandb_history(files[0])
        assert history == pytest.approx(losses) and len(losses) == 2
        assert exit_code == 0  # finished, not cut off by the next job
        ids.add(files[0].name)
    assert len(ids) == 3


def scalars(folder: Path) -> set[str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = next(folder.rglob("events.out.tfevents.*"))
    reader = EventAccumulator(str(events))
    reader.Reload()
    return set(reader.Tags()["scalars"])


def wandb_records(path: Path) -> Iterator[bytes]:
    """The records of a run file: LevelDB's log format (blocks of 32 kB, pieces with checksum, length, kind)."""
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    at, record = 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:  # padding at the end of a block
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield record
            record = b""


def wandb_history(path: Path) -> tuple[list[float], int | None]:
    """Validation log-losses in order, and the exit code that a finished run has."""
    from wandb.proto import wandb_internal_pb2

    losses: list[float] = []
    exit_code = None
    for data in wandb_records(path):
        entry = wandb_internal_pb2.Record()
        entry.ParseFromString(data)
        kind = entry.WhichOneof("record_type")
        if kind == "history":
            for item in entry.history.item:
                if "valid/log_loss" in (item.key, "/".join(item.nested_key)):
                    losses.append(json.loads(item.value_json))
        elif kind == "exit":
            exit_code = entry.exit.exit_code
    return losses, exit_code
