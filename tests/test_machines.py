"""On what a training runs: processes, machines, accelerators, compiled encoders."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hjc.classifiers.neural import NeuralClassifier
from hjc.nn import packed
from hjc.nn.devices import accelerator_of
from hjc.nn.settings import TrainerSettings
from hjc.progress import is_first_process
from tests.test_neural import settings, toy_data, toy_tree, trainer
from tests.test_training import fit_without_chance

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"strategy": "fsdp"}, r"trainer\.strategy: got 'fsdp', allowed are auto and ddp .* model\.lora_rank"),
        ({"strategy": "deepspeed"}, "holds a whole copy"),
        ({"accelerator": "mps"}, "the GPU of a Mac, computes no 64-bit numbers; use cpu"),
        ({"accelerator": "tpu"}, "trainer.accelerator: got 'tpu', allowed are auto, cpu, gpu, cuda"),
        ({"devices": 0}, "trainer.devices: got 0"),
        ({"num_nodes": 0}, "trainer.num_nodes: got 0, allowed are integers from 1"),
    ],
)
def test_what_no_training_can_be_spread_over_is_said_at_once(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TrainerSettings(**given)  # type: ignore[arg-type]


def test_auto_is_a_gpu_of_cuda_or_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning's own auto would take a Mac's GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert accelerator_of("auto", 1) == accelerator_of("auto", 2) == accelerator_of("cpu", 2) == "cpu"
    for name, devices in (("gpu", 1), ("cuda", 1), ("auto", -1)):
        with pytest.raises(ValueError, match="trainer"):
            accelerator_of(name, devices)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = [accelerator_of(name, n) for name, n in (("auto", 1), ("gpu", 2), ("cuda", -1), ("cpu", 1))]
    assert found == ["cuda", "cuda", "cuda", "cpu"]
    with pytest.raises(ValueError, match="torch finds 2 CUDA GPUs here"):
        accelerator_of("gpu", 4)


def test_a_gpu_that_is_not_there_is_known_before_the_data_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hjc.training.config import run
    from hjc.training.workflow import run_training

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    wanted = ["model=tiny", "data=csv", "data.files=[nowhere.csv]", "trainer.accelerator=gpu"]
    with pytest.raises(SystemExit) as end:
        run(lambda config: run_training(config).log_loss, [*wanted, f"run_dir={tmp_path / 'run'}"])
    assert end.value.code == 2 and "torch finds 0 CUDA GPUs here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0", "RANK": "0"}, True),  # torchrun
        ({"LOCAL_RANK": "1", "RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "RANK": "8"}, False),  # the first of the second machine
        ({"NODE_RANK": "0"}, True),  # Lightning: one command a machine
        ({"NODE_RANK": "1"}, False),
        ({"NODE_RANK": "0", "LOCAL_RANK": "1"}, False),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_one_process_reports_and_writes(place: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() is first


NODES = """
import os
import sys
import numpy as np
sys.path.insert(0, {root!r})
from tests.test_training import fit_without_chance
from tests.test_neural import toy_data, toy_tree
if __name__ == "__main__":
    model = fit_without_chance({run!r}, devices=1, num_nodes=2, strategy="ddp")
    if os.environ["NODE_RANK"] == "0":
        np.save({run!r} + "/out.npy", model.predict_log_proba(toy_data(toy_tree(), 2, 2).texts))
"""


@pytest.mark.slow
def test_two_machines_give_the_model_of_one(tmp_path: Path) -> None:
    """Two commands with NODE_RANK, as on two machines with one folder, over gloo."""
    run, script = tmp_path / "two", tmp_path / "fit.py"
    run.mkdir()
    script.write_text(NODES.format(root=str(ROOT), run=str(run)), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    nodes = [
        subprocess.Popen([sys.executable, str(script)], env={**env, "NODE_RANK": str(i)}, stderr=subprocess.PIPE)
        for i in range(2)
    ]
    errors = [node.communicate(timeout=600)[1].decode()[-2000:] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], errors
    found = fit_without_chance(tmp_path / "one").predict_log_proba(toy_data(toy_tree(), 2, 2).texts)
    np.testing.assert_allclose(np.load(run / "out.npy"), found, atol=1e-4)


def test_a_compiled_encoder_is_one_in_training_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler takes minutes and is left out here: what would be compiled runs, and prediction is as without."""
    calls: list[str] = []

    def compiler(forward: Callable[..., Any], **options: object) -> Callable[..., Any]:
        def compiled(*args: Any, **kwargs: Any) -> Any:
            calls.append(str(options))
            return forward(*args, **kwargs)

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(packed, "packs", lambda encoder: False)  # packed layers draw their dropout otherwise
    tree = toy_tree()
    rows, texts = toy_data(tree, 2), toy_data(tree, 1, 2).texts
    found = {}
    for compiled in (False, True):
        chosen = trainer(epochs=1, max_steps=3, precision="32", compile=compiled)
        model = NeuralClassifier(tree, settings(dropout=0.0), chosen).fit(rows)
        assert model.network is not None and model.network.encoder._compiled_call_impl is None
        found[compiled] = model.predict_log_proba(texts)
        model.save_pretrained(tmp_path / str(compiled))
    assert calls and set(calls) == {"{'dynamic': True}"}
    np.testing.assert_allclose(found[True], found[False], atol=1e-3)
