"""Engines that run an exported graph: one call from arrays to arrays, on the CPU."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hjc.errors import check_choice

ENGINES = ("onnx", "openvino")
Arrays = Mapping[str, npt.NDArray[Any]]


class Engine(Protocol):
    """A graph that was read: the names of its inputs, and what runs it."""

    inputs: tuple[str, ...]

    def __call__(self, output: str, inputs: Arrays) -> npt.NDArray[np.float32]:
        """One output of the graph."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """Threads to compute with: OMP_NUM_THREADS, as torch and NumPy take it, else the cores of this process."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdigit() and int(wanted) else cores()


class OnnxRuntime:
    """``engine=onnx``. Raises ImportError where onnxruntime is not installed."""

    def __init__(self, path: Path, precision: str) -> None:
        runtime = required("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 3
        # a thread that waits must not take the processor from others
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = tuple(value.name for value in self._session.get_inputs())

    def __call__(self, output: str, inputs: Arrays) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = self._session.run([output], {name: inputs[name] for name in self.inputs})[0]
        return found


class OpenVino:
    """``engine=openvino``. Raises ImportError where openvino is not installed."""

    def __init__(self, path: Path, precision: str) -> None:
        runtime = required("openvino", "openvino")
        core = runtime.Core()
        model = core.read_model(str(path))
        options = {"INFERENCE_NUM_THREADS": threads(), "PERFORMANCE_HINT": "LATENCY"}
        # weights in bfloat16 are computed with in bfloat16, where the processor multiplies it; all else in float32
        options["INFERENCE_PRECISION_HINT"] = "bf16" if precision == "bf16" else "f32"
        self._model = core.compile_model(model, "CPU", options)
        self._request = self._model.create_infer_request()
        self.inputs = tuple(value.any_name for value in self._model.inputs)

    def __call__(self, output: str, inputs: Arrays) -> npt.NDArray[np.float32]:
        self._request.infer({name: inputs[name] for name in self.inputs})
        return np.array(self._request.get_tensor(output).data, dtype=np.float32)


def required(package: str, extra: str) -> Any:
    """The package, imported. Raises ImportError with what to install where it is not there."""
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(f"this model needs the package {package}: pip install 'hjc[{extra}]'") from error


def open_engine(engine: str, path: Path, precision: str) -> Engine:
    """The graph in a file, ready to run.

    Raises:
        ValueError: no such engine. ImportError: its package is not installed.
    """
    check_choice("engine", engine, ENGINES)
    return OnnxRuntime(path, precision) if engine == "onnx" else OpenVino(path, precision)


def missing_inputs(engine: Engine, wanted: Sequence[str]) -> list[str]:
    """Inputs of a graph that nobody gives it, and those that it lacks."""
    return sorted(set(engine.inputs) ^ set(wanted))
