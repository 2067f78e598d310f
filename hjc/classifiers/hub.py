"""Models on a Hugging Face hub: from ``org/name`` to a folder of this machine, and what of a folder goes there.

Only files of data are fetched, by name: config.json first, then the files that it lists, then those that are made
beside a model (calibration, metrics, card). Nothing is unpickled, imported or run; each file must have the size and
the SHA-256 that config.json gives.
"""

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from hjc.classifiers.paths import CONFIG, DERIVED, PROVENANCE
from hjc.classifiers.storage import read_config
from hjc.errors import ModelDirError, name_some

#: what a file of a model may end in
SUFFIXES = frozenset({".json", ".csv", ".safetensors", ".npy", ".npz", ".txt", ".model"})
#: folders whose .bin files are arrays of napkinXC and of indexes; elsewhere .bin may be a pickle
_BINARY = frozenset({"napkinxc", "label_index"})
#: made from the rows that the model was trained on, hashes of their texts among them
PRIVATE = ("training_texts.npz",)
#: made after a model, and useful wherever it is used
BESIDE = (*(name for name in DERIVED if name not in PRIVATE), "metrics.json", "metrics.csv", "README.md")
_NAME = re.compile(r"(?P<scheme>hf://)?(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


class HubError(ModelDirError, FileNotFoundError):
    """A model that was named by its place on the hub is not to be had. The message says what to do."""


def find_model(model: str | os.PathLike[str], revision: str | None = None) -> Path:
    """The folder of a model: ``model`` itself, or what the hub has under ``org/name``, in the hub's cache.

    A folder wins. A name is asked of the hub only where it is no path: nothing of that name is here and there is no
    folder ``org`` either; ``hf://org/name`` always means the hub. With HF_HUB_OFFLINE, or where the hub does not answer
    in three seconds, the cache alone is looked at.

    Args:
        model: a path, ``org/name``, or ``org/name@revision``.
        revision: branch, tag or commit of the hub's repository; the folder that is returned ends in the commit.

    Raises:
        FileNotFoundError: it is nowhere, or ``revision`` is given with a folder.
        ModelDirError: what the hub has is no model of hjc, or it lists files that are not data.
    """
    found = _NAME.fullmatch(os.fspath(model))
    if Path(model).exists() or found is None or (not found["scheme"] and Path(model).parent.is_dir()):
        if revision is not None:
            raise FileNotFoundError(f"{model}: revision={revision!r} is of models on the hub, given as org/name")
        return Path(model)
    if revision and found["revision"] and revision != found["revision"]:
        raise ValueError(f"{model}: the name says @{found['revision']}, revision={revision!r}; give one of them")
    return _fetch(found["repo"], revision or found["revision"])


def at_revision(directory: str | os.PathLike[str]) -> str | None:
    """``org/name@commit`` of a model in the hub's cache, None of other folders."""
    parts = Path(directory).absolute().parts[-3:]
    if len(parts) == 3 and parts[0].startswith("models--") and parts[1] == "snapshots":
        return f"{parts[0].removeprefix('models--').replace('--', '/')}@{parts[2]}"
    return None


def _fetch(repo: str, revision: str | None) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    from hjc.nn.hub import probe

    options: dict[str, Any] = {"revision": revision}
    problem: str | None = "HF_HUB_OFFLINE is set"
    try:
        if not constants.HF_HUB_OFFLINE:
            problem = probe(repo, revision)
        options["local_files_only"] = problem is not None
        folder = Path(snapshot_download(repo, allow_patterns=[CONFIG], **options))
        if not (folder / CONFIG).is_file():
            raise ModelDirError(f"{repo} on the hub has no {CONFIG}: it is no model of hjc")
        options["revision"] = folder.name  # the commit: the files are those of one state
        names = (*read_config(folder)["files"], *BESIDE, PROVENANCE)
        _check_data(repo, names)
        snapshot_download(repo, allow_patterns=[glob.escape(name) for name in names], **options)
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError) as error:
        what = repo if revision is None else f"{repo}@{revision}"
        why = problem or str(error).splitlines()[0]
        raise HubError(
            f"there is no folder {what} here, and no such model to be had from the hub: it is not in the cache "
            f"({constants.HF_HUB_CACHE}), and {why}. Check the path of a run directory; of a model on the hub check "
            "its name and your access (hf auth login), or copy its folder and give the path"
        ) from error
    return folder


def _check_data(repo: str, names: tuple[str, ...]) -> None:
    """ModelDirError where a name is not of data: a script, a pickle, a library."""
    bad = [name for name in names if name not in (*BESIDE, PROVENANCE) and not is_data(name)]
    if bad:
        raise ModelDirError(
            f"{repo}: its {CONFIG} lists {name_some(bad)}, which hjc does not fetch: allowed are files of data "
            f"({', '.join(sorted(SUFFIXES))}). If you trust the model, download it and give the folder"
        )


def is_data(name: str) -> bool:
    """Whether a file of a model is of a kind that holds data only."""
    path = PurePosixPath(name)
    return path.suffix in SUFFIXES or (path.suffix == ".bin" and path.parent.name in _BINARY)


def published_files(directory: str | os.PathLike[str], *, record: bool = False) -> Iterator[str]:
    """Names of the files of a model directory that others need: the model, what is made beside it, and its card.

    Left out are hashes of the training texts, texts of the data (report, scores, rejects), and, without ``record``,
    train.yaml, which holds paths and commands; a model of an older hjc has its recipe there and keeps it.
    """
    config = read_config(directory)
    yield CONFIG
    yield from config["files"]
    beside = [*BESIDE, *([PROVENANCE] if record or "recipe" not in config else [])]
    yield from (name for name in beside if (Path(directory) / name).is_file() and name not in config["files"])


class Published:
    """What :class:`hjc.classifiers.base.Classifier` says about the hub."""

    #: where it lies with what is kept of its training and validation rows; ``hjc.load`` sets it
    directory: Path | None = None

    @property
    def revision(self) -> str | None:
        """``org/name@commit`` where it came from the hub, else None."""
        return None if self.directory is None else at_revision(self.directory)

    def push_to_hub(self, repo: str, **options: Any) -> str:
        """Put the model on the Hugging Face hub: see :func:`hjc.push_to_hub`, which takes a directory too."""
        import hjc  # the card comes from a room above, by the name that is public there

        return str(hjc.push_to_hub(self, repo, **options))
