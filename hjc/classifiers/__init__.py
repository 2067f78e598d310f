"""Classifiers behind one contract (:mod:`hjc.classifiers.base`), found by name in a fixed registry."""

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hjc.classifiers.base import Classifier
    from hjc.taxonomy import Taxonomy

#: name in config.json and in ``model.name`` -> (module, class); imported on first use, so that the linear baseline
#: never imports torch. A name that is not here is never imported, whatever a file says.
CLASSIFIERS: dict[str, tuple[str, str]] = {
    "neural": ("hjc.classifiers.neural", "NeuralClassifier"),
    "linear": ("hjc.classifiers.linear", "LinearClassifier"),
    "prototype": ("hjc.classifiers.embedding.prototype", "PrototypeClassifier"),
    "biencoder": ("hjc.classifiers.embedding.biencoder", "BiEncoderClassifier"),
    "joint": ("hjc.classifiers.embedding.joint", "JointEmbeddingClassifier"),
    "retrieval": ("hjc.classifiers.embedding.retrieval", "RetrieveAndRerankClassifier"),
    "hybrid": ("hjc.classifiers.hybrid", "HybridClassifier"),
}

#: classifiers that take TrainerSettings
TRAINED = frozenset({"neural", "prototype", "biencoder", "joint", "retrieval"})


def classifier_class(name: str) -> "type[Classifier]":
    """The class registered under ``name``.

    Raises:
        ValueError: no such classifier.
    """
    if name not in CLASSIFIERS:
        raise ValueError(f"classifier: got {name!r}, allowed are {', '.join(sorted(CLASSIFIERS))}")
    module, attribute = CLASSIFIERS[name]
    found: type[Classifier] = getattr(import_module(module), attribute)
    return found


def stored_classifier(directory: str | os.PathLike[str]) -> str:
    """The registered name of the classifier in a model directory, before anything is imported for it.

    Raises:
        FileNotFoundError, ModelDirError: there is no model directory, or its classifier is not in the registry.
    """
    from hjc.classifiers.storage import CONFIG, ModelDirError, read_config

    name = str(read_config(directory)["classifier"])
    if name not in CLASSIFIERS:
        raise ModelDirError(
            f"{Path(directory) / CONFIG}: there is no classifier {name!r}, known are "
            f"{', '.join(sorted(CLASSIFIERS))}: upgrade hjc"
        )
    return name


def read_classifier(directory: str | os.PathLike[str]) -> "Classifier":
    """The classifier of a model directory as it was saved, without a calibration that lies beside it (``hjc.load``).

    Raises:
        FileNotFoundError, ModelDirError: as :func:`stored_classifier`; files are missing, truncated or altered.
    """
    return classifier_class(stored_classifier(directory)).from_pretrained(Path(directory))


def build(taxonomy: "Taxonomy", model: Any, trainer: Any = None) -> "Classifier":
    """An unfitted classifier from its settings dataclass; ``model.name`` says which one.

    Args:
        model: NeuralSettings, LinearSettings ...
        trainer: TrainerSettings of classifiers in ``TRAINED``; the others have no use for it.
    """
    cls: Any = classifier_class(model.name)
    found: Classifier = cls(taxonomy, model, trainer) if model.name in TRAINED else cls(taxonomy, model)
    return found
