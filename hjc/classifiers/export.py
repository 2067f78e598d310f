"""A trained model as files that another engine runs: without torch and without transformers.

The new directory is a model directory like any other, of a classifier ``exported``: ``hjc.load`` reads it, and what was
made from the source (calibration, validation rows, profile for drift, hashes of the training texts) goes along, tied to
the new model. Nothing is taken on trust: the titles of the tree are coded by both, and the differences are told.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hjc.classifiers import stored_classifier
from hjc.classifiers.base import Classifier
from hjc.classifiers.derived import read_derived, write_derived
from hjc.classifiers.engines import ENGINES, required
from hjc.classifiers.exported import GRAPH, PRECISIONS, ExportedSettings
from hjc.classifiers.exported_linear import FILE as ARRAYS
from hjc.classifiers.exported_linear import ExportedLinear
from hjc.classifiers.load import PROVENANCE, load
from hjc.classifiers.paths import DERIVED
from hjc.classifiers.side import write_side
from hjc.classifiers.storage import write_model_dir
from hjc.errors import check_choice
from hjc.files import check_new_folder
from hjc.nn.settings import HIERARCHIES

#: files of a run that say what it was trained on, for later commands
KEPT = (PROVENANCE, "training_counts.csv")
#: texts that both models code
TRIED = 256
#: largest difference of a probability that is allowed where nothing was rounded
ALLOWED = 1e-4


@dataclass(frozen=True)
class Exported:
    """What was written: its directory, bytes of its graph or arrays, and how it compares with its source on titles of
    the tree.

    Attributes:
        difference: largest difference of a probability of a leaf. agreement: share of equal first codes.
        texts: how many titles were tried.
    """

    directory: Path
    size: int
    difference: float
    agreement: float
    texts: int


def export_model(
    run_dir: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    engine: str = "",
    precision: str = "fp32",
) -> Exported:
    """Write the model of a run for an engine.

    Args:
        run_dir: of a neural or linear model; of a calibrated one the calibration goes along.
        output: a new or empty directory.
        engine: of a neural model ``onnx`` (onnxruntime; the default) or ``openvino``. A linear model needs none: NumPy
            runs it, with the numbers of the source.
        precision: ``fp32``: the numbers of the source; ``bf16``: weights in half the bytes (computed with in float32 by
            onnxruntime, in bfloat16 by OpenVINO where the processor has it); ``int8``: 8-bit integers, a quarter; with
            ``onnx`` alone.

    Raises:
        ImportError: the packages of the extra ``onnx`` or ``openvino`` are not there; nothing has been read then.
        FileExistsError: ``output`` holds files.
        ValueError: another kind of model, encoder or head than can be exported, or the graph computes other numbers.
    """
    linear = stored_classifier(run_dir) == "linear"
    if linear and (engine or precision != "fp32"):
        raise ValueError("a linear model is exported for NumPy, as it is: leave --engine and --precision out")
    engine = engine or "onnx"
    check_choice("engine", engine, ENGINES)
    check_choice("precision", precision, PRECISIONS)
    if engine == "openvino" and precision == "int8":
        raise ValueError(
            "--engine openvino runs these 8-bit products slower than bfloat16, and lost more than a point where it was "
            "measured: take --precision bf16, or --engine onnx"
        )
    target = Path(output)
    check_new_folder(target)
    for package in () if linear else ("onnx", {"onnx": "onnxruntime", "openvino": "openvino"}[engine]):
        required(package, engine)
    source: Any = load(run_dir)
    if linear:
        found = ExportedLinear.of(source)
        found.recipe = source.recipe
        found.save_pretrained(target)
    else:
        _write_graph(source, target, engine, precision)
    try:
        for name in DERIVED:
            if (state := read_derived(run_dir, name)) is not None:
                write_derived(target, name, state)
        for name in KEPT:
            if (file := Path(run_dir) / name).is_file():
                shutil.copyfile(file, target / name)
        size = (target / (ARRAYS if linear else GRAPH)).stat().st_size
        return _compared(source, load(target), size, precision)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _write_graph(source: Any, target: Path, engine: str, precision: str) -> None:
    """The model directory of a neural model."""
    graph, settings = _graph_of(source, engine, precision)

    def files(folder: Path) -> None:
        from hjc.nn.stored import save_tokenizer

        (folder / GRAPH).write_bytes(graph)
        save_tokenizer(source.tokenizer, folder)
        write_side(source.side, folder)

    write_model_dir(
        target, classifier="exported", parameters=asdict(settings), taxonomy=source.taxonomy, recipe=source.recipe,
        files=files,
    )  # fmt: skip


def _graph_of(source: Classifier, engine: str, precision: str) -> tuple[bytes, ExportedSettings]:
    """The graph of a neural model, and how its texts are cut."""
    network: Any = getattr(source, "network", None)
    if source.name != "neural" or network is None:
        raise ValueError(
            f"a {source.name} model cannot be exported; neural and linear models can, also those that are parts of it"
        )
    settings: Any = source.settings  # type: ignore[attr-defined]
    if settings.hierarchy not in HIERARCHIES:
        raise ValueError(
            f"the head {settings.hierarchy!r} is a plugin's, whose computation hjc does not know: "
            f"{', '.join(HIERARCHIES)} can be exported"
        )
    from hjc.nn.onnx_graph import network_graph

    state = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    graph = network_graph(
        state, network.encoder.config.to_dict(), pooling=settings.pooling, precision=precision,
        offset=network.head.offset_in_prediction,
    )  # fmt: skip
    kept = ("hierarchy", "encoder", "pooling", "prefix", "max_length", "windows", "title_share", "capitals")
    own = {name: getattr(settings, name) for name in kept}
    return graph, ExportedSettings(engine=engine, precision=precision, **own)


def _compared(source: Classifier, found: Classifier, size: int, precision: str) -> Exported:
    """Both models on titles of the tree.

    Raises:
        ValueError: nothing was rounded, and yet a probability differs.
    """
    texts = _titles(source)
    a, b = (np.exp(model.leaf_log_proba(texts)) for model in (source, found))
    difference = float(np.abs(a - b).max())
    if precision == "fp32" and not difference <= ALLOWED:
        raise ValueError(f"the exported model gives probabilities that differ by {difference:.2g}: please report this")
    assert found.directory is not None
    agreement = float((a.argmax(axis=1) == b.argmax(axis=1)).mean())
    return Exported(found.directory, size, difference, agreement, len(texts))


def _titles(source: Classifier) -> Sequence[str]:
    """Titles of leaves spread over the tree, codes where there are none; and a text that is longer than any window."""
    tree = source.taxonomy
    step = max(1, tree.num_leaves // TRIED)
    titles = [tree.title(int(node)) or tree.codes[node] for node in tree.leaves[::step].tolist()][:TRIED]
    return [*titles, "\n".join([titles[0], " ".join(titles)[:4000]])]
