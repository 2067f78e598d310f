"""The model directory: written so that a kill never destroys a good model, read so that damage is named.

A directory holds ``config.json``, ``taxonomy.csv`` and the classifier's own files. config.json lists size and
SHA-256 of each of them, and the SHA-256 of its own content; whatever else lies in the directory (train.yaml, metrics,
logs/, checkpoints) is left alone.

How a save stays atomic: everything is first written to ``.saving-*`` inside the directory. One rename to ``.commit``
makes the new model the valid one; its files are then linked or copied into place, config.json last, and ``.commit``
goes. A process killed before the rename leaves the old model untouched; one killed after it leaves ``.commit``, from
which the model is loaded until the next save tidies up. Reading never writes, moves or deletes anything.
"""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

import hjc
from hjc.classifiers.paths import (
    COMMIT,
    CONTENT,
    SAVING,
    check_entries,
    check_entry,
    content_hash,
    finish_commit,
    gathered,
    inside,
    make_parents,
    model_root,
    names_in,
    remove,
)
from hjc.classifiers.paths import CONFIG as CONFIG
from hjc.data.recipe import TextRecipe
from hjc.errors import ModelDirError as ModelDirError
from hjc.errors import name_some
from hjc.files import checksum, locked, read_json, sync_to_disk
from hjc.taxonomy.csvio import read_written, write_taxonomy_csv
from hjc.taxonomy.tree import Taxonomy

S = TypeVar("S")
FORMAT_VERSION = 1
TAXONOMY = "taxonomy.csv"
#: files of a run that are written again after the model, so their checksums are not kept
UNLISTED = frozenset({"metrics.json", "metrics.csv", "train.yaml", "README.md"})


@dataclass(frozen=True)
class ModelDir:
    """A verified model directory: its config.json, its tree and where its files lie."""

    path: Path
    config: Mapping[str, Any]
    taxonomy: Taxonomy

    @property
    def classifier(self) -> str:
        """The registry name of the classifier."""
        return str(self.config["classifier"])

    @property
    def parameters(self) -> dict[str, Any]:
        """What the classifier stored under ``parameters``."""
        return dict(self.config["parameters"])

    def settings(self, kind: type[S], *, but: Sequence[str] = (), **instead: Any) -> S:
        """The parameters, ``but`` some, as settings of a dataclass; ``instead`` stands in for those that are not there.

        Raises:
            ModelDirError: a parameter that this hjc does not know, or a value that it does not allow.
        """
        values = {name: value for name, value in {**instead, **self.parameters}.items() if name not in but}
        if unknown := sorted(set(values) - {f.name for f in fields(cast(Any, kind))}):
            raise ModelDirError(f"{self.path / CONFIG}: this hjc knows no setting {name_some(unknown)}: upgrade hjc")
        try:
            return kind(**values)
        except (TypeError, ValueError) as error:
            raise ModelDirError(f"{self.path / CONFIG}: {error}") from error

    def file(self, name: str) -> Path:
        """The path of a listed file.

        Raises:
            ModelDirError: the model does not list such a file.
        """
        if name not in self.config["files"]:
            raise ModelDirError(
                f"{self.path / CONFIG} lists no file {name!r}, only {name_some(self.config['files'])}; "
                "the model was not written by this classifier: save it again"
            )
        return self.path / name


# ---------------------------------------------------------------------- writing


def write_model_dir(
    directory: str | os.PathLike[str],
    *,
    classifier: str,
    parameters: Mapping[str, Any],
    taxonomy: Taxonomy,
    recipe: TextRecipe,
    files: Callable[[Path], None] | None = None,
) -> Path:
    """Write or replace the model in ``directory``; files of the run that are not the model's stay.

    Args:
        directory: created with its parents when absent.
        classifier: the name in the registry of :mod:`hjc.classifiers`.
        parameters: plain JSON (str, int, finite float, bool, None, lists, dicts with str keys).
        taxonomy, recipe: the tree, stored as taxonomy.csv; how the texts are made that the model takes.
        files: called with an empty folder, into which the classifier writes its own files (subfolders allowed).

    Raises:
        ModelDirError: ``directory`` holds a config.json of another program, or links where files of the model go, or
            the tree does not survive its CSV.
        BusyError: another process saves a model there.
        TypeError, ValueError: ``parameters`` are not plain JSON.
        NotADirectoryError: ``directory`` is a file.
    """
    target = Path(directory)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{target} is a file; give a directory to save the model in")
    config = {
        "format_version": FORMAT_VERSION,
        "hjc_version": getattr(hjc, "__version__", "unknown"),
        "classifier": classifier,
        "parameters": _plain_json(parameters),
        "recipe": recipe.to_dict(),
        "taxonomy_name": taxonomy.name,
        "taxonomy_hash": taxonomy.hash,
    }
    target.mkdir(parents=True, exist_ok=True)
    with locked(target / ".saving.lock", f"{target}: another process is saving a model there; give another directory"):
        finish_commit(target)
        _refuse_foreign(target)
        for left_over in target.glob(SAVING + "*"):  # of a process killed while writing
            remove(left_over)
        staging = target / f"{SAVING}{secrets.token_hex(4)}"
        staging.mkdir()
        try:
            _stage(staging, config, taxonomy, files)
            for name in names_in(staging):
                make_parents(target, name)
            os.replace(staging, target / COMMIT)  # from here on the new model is the valid one
            sync_to_disk(target)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        finish_commit(target)
    return target


def _stage(
    staging: Path,
    config: Mapping[str, Any],
    taxonomy: Taxonomy,
    files: Callable[[Path], None] | None,
) -> None:
    """Write all files of a model into an empty folder, config.json last, and have them on the disk."""
    if files is not None:
        files(staging)
    if reserved := [n for n in (CONFIG, TAXONOMY) if (staging / n).exists()]:
        raise ValueError(f"the classifier wrote {name_some(reserved)}, which is reserved for the model directory")
    write_taxonomy_csv(taxonomy, staging / TAXONOMY)
    if read_written(staging / TAXONOMY, taxonomy.name).hash != taxonomy.hash:
        raise ModelDirError(
            f"taxonomy {taxonomy.name!r} changes when written to CSV and read back (order of siblings or white "
            "space in codes); build it with hjc.taxonomy.from_edges before training"
        )
    checksums = {
        name: {"sha256": checksum(staging / name), "size": (staging / name).stat().st_size}
        for name in names_in(staging)
        if name not in UNLISTED
    }
    config = json.loads(json.dumps({**config, "files": checksums}))  # as it will be read
    text = json.dumps({**config, CONTENT: content_hash(config)}, indent=2, ensure_ascii=False)
    (staging / CONFIG).write_text(text + "\n", encoding="utf-8")
    mode = (staging / CONFIG).stat().st_mode  # safetensors makes files that only their owner can read
    for name in names_in(staging):
        (staging / name).chmod(mode)
        sync_to_disk(staging / name)


def _plain_json(value: Mapping[str, Any]) -> Any:
    try:
        text = json.dumps(dict(value), allow_nan=False)
    except TypeError as error:
        raise TypeError(f"parameters must be plain JSON: {error}; convert them with float(), int() or str()") from None
    except ValueError as error:
        raise ValueError(f"parameters must be plain JSON with finite numbers: {error}") from None
    back = json.loads(text)
    if any(not isinstance(key, str) for key in value):
        raise TypeError("parameters must be plain JSON: keys must be strings")
    return back


def _refuse_foreign(target: Path) -> None:
    """A folder with the config.json of another program (a Hugging Face model, say) is not ours to overwrite."""
    if (target / CONFIG).exists():
        try:
            foreign = "format_version" not in read_json(target / CONFIG)
        except (ValueError, TypeError):
            foreign = False  # our own, damaged: replacing it is the cure
        if foreign:
            raise ModelDirError(f"{target} holds a {CONFIG} that hjc did not write; save to another directory")


# ---------------------------------------------------------------------- reading


def read_model_dir(directory: str | os.PathLike[str], expected_classifier: str | None = None) -> ModelDir:
    """Read and verify a model directory: version, presence, sizes and SHA-256 of its files, hash of its tree.

    Raises:
        FileNotFoundError: there is nothing at ``directory``.
        ModelDirError: it is no model directory, or a file is missing, truncated, altered, from another model or from a
            newer hjc, or is no plain file of its own. The message names the file and the way out.
    """
    config = read_config(directory)
    path = model_root(directory)
    if expected_classifier is not None and config["classifier"] != expected_classifier:
        raise ModelDirError(
            f"{path / CONFIG}: holds a {config['classifier']!r} classifier, not {expected_classifier!r}; "
            "hjc.load(directory) picks the right class"
        )
    if path.name == COMMIT and not ("recipe" in config and all((path / name).exists() for name in config["files"])):
        path = gathered(path, (*config["files"], "train.yaml"))  # models without a recipe have it from there
    for name, expected in config["files"].items():
        _verify(inside(path, name), expected)
    return ModelDir(path=path, config=config, taxonomy=_tree(path, config))


def stored_taxonomy(directory: str | os.PathLike[str]) -> Taxonomy:
    """The tree of a model directory, whose other files are not looked at.

    Raises:
        FileNotFoundError, ModelDirError: see :func:`read_model_dir`.
    """
    return _tree(model_root(directory), read_config(directory))


def _tree(path: Path, config: Mapping[str, Any]) -> Taxonomy:
    try:
        taxonomy = read_written(path / TAXONOMY, config["taxonomy_name"])
    except (ValueError, OSError) as error:
        raise ModelDirError(f"{path / TAXONOMY}: cannot be read ({error}); {_WAY_OUT}") from error
    if taxonomy.hash != config["taxonomy_hash"]:
        raise ModelDirError(f"{path / TAXONOMY}: is not the tree that {CONFIG} names; {_WAY_OUT}")
    return taxonomy


_WAY_OUT = "copy the whole directory again from where the model was trained, or train it again"


def read_config(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Read and check config.json and what kind of entries the directory has, without the files that it lists.

    Raises:
        FileNotFoundError, ModelDirError: see :func:`read_model_dir`.
    """
    path = Path(directory)
    if not path.exists():
        raise FileNotFoundError(f"no model directory at {path}: check the path (train.py prints it when it ends)")
    if not path.is_dir():
        hint = (
            "a Lightning checkpoint only resumes a training; load the run directory that contains it"
            if path.suffix in (".ckpt", ".pt", ".bin", ".safetensors")
            else "give the run directory that train.py wrote"
        )
        raise ModelDirError(f"{path} is a file, not a model directory: {hint}")
    file = model_root(path) / CONFIG
    check_entry(path, file)
    if not file.is_file():
        if any(path.glob("*.ckpt")) or (path / "train.yaml").exists():
            raise ModelDirError(
                f"{file} is missing: the training of this run has not ended; give its command again, and it goes on"
            )
        raise ModelDirError(f"{path} is no hjc model directory: {file} is missing; give the run directory of train.py")
    check_entries(path)
    try:
        config = read_json(file)
    except ValueError as error:
        why = str(error).removeprefix(f"{file}: ")
        raise ModelDirError(f"{file}: truncated or altered, {why}; {_WAY_OUT}") from None
    if not isinstance(config, dict) or "format_version" not in config:
        foreign = isinstance(config, dict) and "model_type" in config
        kind = "a Hugging Face model (an encoder, usable as model.encoder=FOLDER)" if foreign else "another program"
        raise ModelDirError(f"{file}: belongs to {kind}, not to hjc; give the run directory of train.py")
    version = config["format_version"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ModelDirError(f"{file}: format_version is {version!r}, allowed are integers from 1; {_WAY_OUT}")
    if version > FORMAT_VERSION:
        raise ModelDirError(
            f"{file}: was written by hjc {config.get('hjc_version', '?')} in format {version}; this hjc "
            f"{getattr(hjc, '__version__', '?')} reads formats up to {FORMAT_VERSION}: upgrade hjc"
        )
    kinds = {"classifier": str, "parameters": dict, "taxonomy_name": str, "taxonomy_hash": str, "files": dict}
    for key, kind_ in kinds.items():
        if not isinstance(config.get(key), kind_):
            raise ModelDirError(f"{file}: {key!r} is missing or not a {kind_.__name__}; {_WAY_OUT}")
    for name, expected in config["files"].items():
        inside(file.parent, name)
        if not isinstance(expected, dict) or {"sha256", "size"} - expected.keys():
            raise ModelDirError(f"{file}: gives no size and sha256 for {name!r}; {_WAY_OUT}")
    if TAXONOMY not in config["files"]:
        raise ModelDirError(f"{file}: lists no {TAXONOMY}; {_WAY_OUT}")
    try:
        whole = config.get(CONTENT) in (None, content_hash({k: v for k, v in config.items() if k != CONTENT}))
    except RecursionError:
        whole = False
    if not whole:
        raise ModelDirError(
            f"{file}: altered, its content is not what its {CONTENT} says; {_WAY_OUT}. If you changed it on purpose, "
            f"remove {CONTENT} from it"
        )
    return config


def _verify(file: Path, expected: Mapping[str, Any]) -> None:
    if not file.is_file():
        raise ModelDirError(f"{file} is missing; {_WAY_OUT}")
    size = file.stat().st_size
    if size != expected["size"]:
        kind = "truncated" if isinstance(expected["size"], int) and size < expected["size"] else "altered"
        raise ModelDirError(f"{file}: {kind}, got {size} bytes, expected {expected['size']}; {_WAY_OUT}")
    if checksum(file) != expected["sha256"]:
        raise ModelDirError(f"{file}: altered or of another model, its SHA-256 differs from {CONFIG}; {_WAY_OUT}")


# ---------------------------------------------------------------------- arrays


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write named numeric arrays as one safetensors file (shapes and types kept, no pickle).

    Raises:
        TypeError: an array holds text or objects.
    """
    from safetensors.numpy import save_file

    plain = {name: np.ascontiguousarray(a).reshape(np.shape(a)) for name, a in arrays.items()}
    if bad := [name for name, a in plain.items() if a.dtype.kind not in "biuf"]:
        raise TypeError(f"save_arrays: {name_some(bad)} hold no numbers; store text in a JSON file")
    save_file(plain, str(path))


def no_numbers(arrays: Mapping[str, Any], single: Collection[str] = ()) -> str:
    """What is wrong where a stranger's arrays are not rows (``single``: one value) of numbers that float32 can hold,
    or ""."""
    bad = [name for name, array in arrays.items() if not _numbers(array, 0 if name in single else 1)]
    return f"{', '.join(bad)} hold no numbers, NaN or infinite ones, or not in one row" if bad else ""


def _numbers(array: Any, axes: int) -> bool:
    """Whether these are numbers that float32 can hold, with so many axes."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or array.ndim != axes:
        return False
    return bool((np.abs(array) <= np.finfo(np.float32).max).all())


def load_array(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read a .npy file of finite numbers.

    Raises:
        ModelDirError: it is damaged, or holds text, NaN or infinite numbers.
    """
    try:
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
        finite = bool(np.isfinite(array).all())
    except Exception as error:  # NumPy's parser of headers has many
        raise ModelDirError(f"{path}: truncated or no .npy file of numbers ({error}); {_WAY_OUT}") from None
    if not finite:
        raise ModelDirError(f"{path}: holds NaN or infinite numbers; train the model again")
    return array


def load_arrays(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """Read what :func:`save_arrays` wrote.

    Raises:
        ModelDirError: the file is damaged or no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(str(path)))
    except SafetensorError as error:
        raise ModelDirError(f"{path}: truncated or no safetensors file ({error}); {_WAY_OUT}") from None
